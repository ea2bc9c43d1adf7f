//! A configuration before anything was put into it. Every field is replaced by its setting, or by the default.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use kerria_core::{DataLimits, RotationRule, SessionPolicy, throttle::ThrottleRule};
use url::Url;

use crate::forward_auth::rules::Rules;

use super::{
    Config, DatabaseSettings, ForwardAuthSettings, LogFormat, LogSettings, PasswordSettings, RedisSettings,
    RemoteUser, SessionSettings, SignUp, ThrottleSettings, TokenSettings,
};

const NO_RULE: ThrottleRule = ThrottleRule {
    free: 0,
    delay: Duration::ZERO,
    longest: Duration::ZERO,
    closes_after: 0,
    forget_after: Duration::ZERO,
};

pub(super) fn config() -> Config {
    Config {
        data_dir: PathBuf::new(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        public_url: Url::parse("http://localhost").expect("this is a URL"),
        allow_insecure_http: false,
        trusted_proxies: Vec::new(),
        site_name: String::new(),
        sign_up: SignUp::Closed,
        database: DatabaseSettings { url: None, ca_file: None, connections: 0, node_name: None },
        redis: RedisSettings { url: None, ca_file: None },
        return_to_origins: Vec::new(),
        clients_file: None,
        invitation_lifetime: Duration::ZERO,
        forward_auth: ForwardAuthSettings { rules: Rules::default(), remote_user: RemoteUser::Id },
        session: SessionSettings {
            cookie_domain: None,
            policy: SessionPolicy::default(),
            fresh_for: Duration::ZERO,
            limit: None,
            carry_over: Vec::new(),
            data: DataLimits::default(),
            last_seen_precision: Duration::ZERO,
            binding: kerria::Binding::default(),
            consistency: kerria::Consistency::default(),
            rotation: RotationRule::default(),
            cache_entries: 0,
            log_retention: Duration::ZERO,
        },
        tokens: TokenSettings {
            access_lifetime: Duration::ZERO,
            refresh_grace: Duration::ZERO,
            key_rotation: Duration::ZERO,
            jwks_max_age: Duration::ZERO,
            sealing_key_file: None,
            audiences: Vec::new(),
            hs256_audience: None,
            hs256_secret: None,
        },
        password: PasswordSettings {
            min_length: 0,
            memory_kib: 0,
            iterations: 0,
            lanes: 0,
            workers: 0,
            queue: 0,
        },
        throttle: ThrottleSettings { account: NO_RULE, network: NO_RULE, device: NO_RULE, visitors_free: 0 },
        log: LogSettings { format: LogFormat::Text, filter: String::new() },
        operator_token: None,
        operator_group: None,
        checkers_token: None,
        checkers_max: 0,
        request_timeout: Duration::ZERO,
        header_timeout: Duration::ZERO,
        max_connections: 0,
        shutdown_grace: Duration::ZERO,
    }
}
