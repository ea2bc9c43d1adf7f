//! The configuration: what an operator can set, and what holds otherwise.
//!
//! Every setting is one row of the `table`. The file, the environment, the command line, the sample file and the
//! reference all come from it.

mod blank;
mod checks;
pub(crate) mod duration;
pub(crate) mod explain;
mod file;
mod kind;
mod origin;
mod problem;
mod rules;
mod sources;
mod suggest;
mod survey;
mod table;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use kerria_core::{
    Audience, DataKey, DataLimits, GroupName, RotationRule, Secret, SessionPolicy, store::SessionLimit,
    throttle::ThrottleRule,
};
use url::Url;

use crate::forward_auth::rules::Rules;

pub(crate) use checks::is_insecure;
pub(crate) use origin::{NO_WAY_BACK, is_loopback};
pub use problem::{Problem, Problems};
pub use sources::{Flag, Place, Sources};
pub(crate) use suggest::likeliest;
pub use survey::Survey;

/// Puts the configuration together: defaults, over them the file, over it the environment, over it the command line.
///
/// # Errors
/// Everything that is wrong, at once, each with where it is written and what to do.
pub fn load(sources: &Sources) -> Result<Config, Problems> {
    Survey::of(sources).into_config()
}

/// Everything that can be configured, checked and ready for use.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder that holds the database, its lock and the control socket.
    pub data_dir: PathBuf,
    /// Where to listen for HTTP.
    pub listen: SocketAddr,
    /// What people type to get here: scheme, host and port. Links, cookies and and cookies come from it, never from a `Host`
    /// header.
    pub public_url: Url,
    /// Serves a public address without TLS.
    pub allow_insecure_http: bool,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What the pages call this place.
    pub site_name: String,
    /// Who may create an account.
    pub sign_up: SignUp,
    /// Where things are kept, if not in an SQLite file.
    pub database: DatabaseSettings,
    /// Where sessions are kept, if not in the database.
    pub redis: RedisSettings,
    /// Other origins that a sign-in may return to.
    pub return_to_origins: Vec<Url>,
    /// The file of clients, if there is one.
    pub clients_file: Option<PathBuf>,
    /// How long an invitation is good.
    pub invitation_lifetime: Duration,
    /// What reverse proxies let through.
    pub forward_auth: ForwardAuthSettings,
    /// Sessions.
    pub session: SessionSettings,
    /// Access tokens and refresh tokens.
    pub tokens: TokenSettings,
    /// Passwords.
    pub password: PasswordSettings,
    /// Throttling.
    pub throttle: ThrottleSettings,
    /// Logs.
    pub log: LogSettings,
    /// What opens the operator's API over HTTP; without it, that API is reached through the control socket only.
    pub operator_token: Option<Secret<String>>,
    /// The group of users who see the operator's page; without it, nobody does.
    pub operator_group: Option<GroupName>,
    /// What lets applications follow this server; without it, nobody may.
    pub checkers_token: Option<Secret<String>>,
    /// How many processes may hold a lease before one more application is refused.
    pub checkers_max: u32,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How long a client may take to send its request header.
    pub header_timeout: Duration,
    /// How many connections are served at once.
    pub max_connections: u32,
    /// How long requests under way may go on when the server stops.
    pub shutdown_grace: Duration,
}

impl Config {
    /// Whether browsers send the session cookie to this host.
    #[must_use]
    pub fn session_cookie_reaches(&self, host: &str) -> bool {
        match &self.session.cookie_domain {
            Some(domain) => host
                .strip_suffix(domain.as_str())
                .is_some_and(|front| front.is_empty() || front.ends_with('.')),
            None => self.public_url.host_str() == Some(host),
        }
    }
}

/// What is set for the database.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// The PostgreSQL database; without it, an SQLite file in the data folder.
    pub url: Option<Secret<String>>,
    /// The certificates that vouch for its own.
    pub ca_file: Option<PathBuf>,
    /// How many connections are opened at most.
    pub connections: u32,
    /// What this process is called among all that share it.
    pub node_name: Option<String>,
}

/// What is set for sessions that are kept in Redis.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// Redis; without it, sessions are in the database.
    pub url: Option<Secret<String>>,
    /// The certificates that vouch for its own.
    pub ca_file: Option<PathBuf>,
}

/// Who may create an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignUp {
    /// Everyone.
    Open,
    /// Those with an invitation.
    Invitation,
    /// Nobody; operators create accounts. The link to the first account works all the same.
    Closed,
}

/// What is set for reverse proxies that ask whether requests may pass.
#[derive(Clone, Debug)]
pub struct ForwardAuthSettings {
    /// The rules.
    pub rules: Rules,
    /// What the header `Remote-User` tells.
    pub remote_user: RemoteUser,
}

/// What the header `Remote-User` tells of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteUser {
    /// The identifier, which never changes and never becomes another user's.
    Id,
    /// The name, which its user may change.
    Name,
}

/// What is set for sessions.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// How long they last.
    pub policy: SessionPolicy,
    /// How old the last proof of identity may be for a sensitive action.
    pub fresh_for: Duration,
    /// How many a user may have.
    pub limit: Option<SessionLimit>,
    /// Which keys of session data survive a sign-in.
    pub carry_over: Vec<DataKey>,
    /// How much data a session may hold.
    pub data: DataLimits,
    /// How exact "last seen" is on disk.
    pub last_seen_precision: Duration,
    /// What happens when a session is used from another place.
    pub binding: kerria::Binding,
    /// The hosts that share the session cookie: this one and all below it. Without it, only our own has it.
    pub cookie_domain: Option<String>,
    /// On what the answer to a check rests.
    pub consistency: kerria::Consistency,
    /// When the token in a session's cookie is replaced.
    pub rotation: RotationRule,
    /// How many sessions are kept in memory.
    pub cache_entries: u32,
    /// How long entries of the revocation log and of the audit log are kept.
    pub log_retention: Duration,
}

/// What is set for access tokens and refresh tokens.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// How long an access token is good.
    pub access_lifetime: Duration,
    /// How long after its use a refresh token gets the same successor once more.
    pub refresh_grace: Duration,
    /// How long a key signs.
    pub key_rotation: Duration,
    /// How long whoever verifies may keep the published keys (the `max-age` of the JWK Set).
    pub jwks_max_age: Duration,
    /// The file with the key that encrypts the signing keys, if it is not in the data folder.
    pub sealing_key_file: Option<PathBuf>,
    /// For whom signed-in users may have access tokens without any client.
    pub audiences: Vec<Audience>,
    /// The one audience that gets HS256.
    pub hs256_audience: Option<Audience>,
    /// The secret that is shared with it.
    pub hs256_secret: Option<Secret<String>>,
}

/// What is set for passwords.
#[derive(Clone, Debug)]
pub struct PasswordSettings {
    /// The fewest characters.
    pub min_length: u32,
    /// Argon2id's memory in KiB (`m` of RFC 9106).
    pub memory_kib: u32,
    /// Argon2id's passes (`t` of RFC 9106).
    pub iterations: u32,
    /// Argon2id's lanes (`p` of RFC 9106).
    pub lanes: u32,
    /// How many hashes are computed at once.
    pub workers: u32,
    /// How many may wait for a worker.
    pub queue: u32,
}

/// What is set for throttling.
#[derive(Clone, Debug)]
pub struct ThrottleSettings {
    /// Of one account, from devices it is not known from.
    pub account: ThrottleRule,
    /// Of one network, over all accounts.
    pub network: ThrottleRule,
    /// Of one account on a device that it is known from.
    pub device: ThrottleRule,
    /// How many visitors of one network may put data into a session within an hour before they are slowed down.
    pub visitors_free: u32,
}

/// What is set for logs.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// How they look.
    pub format: LogFormat,
    /// What is logged: a level, or a filter such as `info,kerria_server=debug`.
    pub filter: String,
}

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests;
