//! What must hold between settings.

use std::time::Duration;

use url::Url;

use super::{Config, origin, sources::Place, survey::Survey};

/// The longest lifetime of an access token: for so long a checker remembers what was ended.
const LONGEST_ACCESS: Duration = Duration::from_secs(60 * 60);

/// A rule between settings.
pub(super) struct Rule {
    /// The settings it is about. It is skipped if one of them could not be read, and reported at the first one that was
    /// set.
    pub(super) keys: &'static [&'static str],
    /// Whether it is broken.
    pub(super) is_broken: fn(&Survey, &Config) -> bool,
    /// What is wrong and what to do, for these keys.
    pub(super) message: fn(&Survey, &[&str]) -> String,
}

pub(super) static RULES: &[Rule] = &[
    Rule {
        keys: &["public_url", "allow_insecure_http"],
        is_broken: |_, c| !c.allow_insecure_http && is_insecure(&c.public_url),
        message: |s, _| {
            format!(
                "with {} everyone on the way could read passwords and cookies. Put TLS in front (a reverse proxy) and \
                 set public_url to https://…, or set allow_insecure_http = true in a network that you trust",
                s.text("public_url")
            )
        },
    },
    Rule {
        keys: &["session.cookie_domain", "public_url"],
        is_broken: |_, c| c.public_url.host_str().is_some_and(|host| !c.session_cookie_reaches(host)),
        message: |s, keys| {
            format!("{}: the host of the second must be the first or lie below it", tell(s, keys))
        },
    },
    Rule {
        keys: &["operator.token", "operator.token_file"],
        is_broken: |s, _| s.is_set("operator.token") && s.is_set("operator.token_file"),
        message: |s, _| {
            format!(
                "operator.token is set in {} and operator.token_file in {}: remove one of them",
                s.place("operator.token"),
                s.place("operator.token_file")
            )
        },
    },
    Rule {
        keys: &["checkers.token", "checkers.token_file"],
        is_broken: |s, _| s.is_set("checkers.token") && s.is_set("checkers.token_file"),
        message: |s, _| {
            format!(
                "checkers.token is set in {} and checkers.token_file in {}: remove one of them",
                s.place("checkers.token"),
                s.place("checkers.token_file")
            )
        },
    },
    Rule {
        keys: &["database.url", "database.url_file"],
        is_broken: |s, _| s.is_set("database.url") && s.is_set("database.url_file"),
        message: |s, _| {
            format!(
                "database.url is set in {} and database.url_file in {}: remove one of them",
                s.place("database.url"),
                s.place("database.url_file")
            )
        },
    },
    Rule {
        keys: &["redis.url", "redis.url_file"],
        is_broken: |s, _| s.is_set("redis.url") && s.is_set("redis.url_file"),
        message: |s, _| {
            format!(
                "redis.url is set in {} and redis.url_file in {}: remove one of them",
                s.place("redis.url"),
                s.place("redis.url_file")
            )
        },
    },
    at_most(&["session.idle_timeout", "session.absolute_timeout"], |_, c| {
        c.session.policy.ordinary.idle > c.session.policy.ordinary.absolute
    }),
    at_most(&["session.remembered_idle_timeout", "session.remembered_absolute_timeout"], |_, c| {
        c.session.policy.remembered.idle > c.session.policy.remembered.absolute
    }),
    Rule {
        keys: &["session.last_seen_precision", "session.idle_timeout", "session.remembered_idle_timeout"],
        is_broken: |_, c| c.session.last_seen_precision > coarsest_precision(c),
        message: |s, keys| {
            let told = tell(s, keys);
            format!("{told}: the first may be a quarter of the shorter timeout; remove it to get what fits")
        },
    },
    Rule {
        keys: &["session.log_retention", "session.absolute_timeout", "session.remembered_absolute_timeout"],
        is_broken: |_, c| c.session.log_retention < longest_lifetime(c),
        message: |s, keys| {
            let told = tell(s, keys);
            format!("{told}: the first must be as long as the longer timeout; remove it to get what fits")
        },
    },
    at_most(&["session.data_value_bytes", "session.data_total_bytes"], |_, c| {
        c.session.data.value_bytes > c.session.data.total_bytes
    }),
    at_most(&["tokens.access_lifetime", "session.idle_timeout"], |_, c| {
        c.tokens.access_lifetime > c.session.policy.ordinary.idle
    }),
    at_most(&["tokens.access_lifetime", "session.remembered_idle_timeout"], |_, c| {
        c.tokens.access_lifetime > c.session.policy.remembered.idle
    }),
    Rule {
        keys: &["tokens.access_lifetime"],
        is_broken: |_, c| c.tokens.access_lifetime > LONGEST_ACCESS,
        message: |s, keys| {
            format!("{}: an hour is the most; a session lasts longer by being refreshed", tell(s, keys))
        },
    },
    Rule {
        keys: &["tokens.key_rotation", "tokens.access_lifetime", "tokens.jwks_max_age"],
        is_broken: |_, c| c.tokens.key_rotation < (c.tokens.access_lifetime + c.tokens.jwks_max_age) / 8,
        message: |s, keys| {
            let told = tell(s, keys);
            format!(
                "{told}: a key is published until its last token is over, and they would be too many; raise the first"
            )
        },
    },
    Rule {
        keys: &["tokens.hs256_audience", "tokens.hs256_secret_file"],
        is_broken: |s, _| s.is_set("tokens.hs256_audience") != s.is_set("tokens.hs256_secret_file"),
        message: |_, _| {
            "tokens.hs256_audience and tokens.hs256_secret_file belong together: set both, or remove the one"
                .to_owned()
        },
    },
    Rule {
        keys: &["tokens.hs256_audience", "public_url"],
        is_broken: |_, c| {
            c.tokens
                .hs256_audience
                .as_ref()
                .is_some_and(|audience| audience.as_str() == c.public_url.origin().ascii_serialization())
        },
        message: |s, _| {
            format!(
                "{} is Kerria itself: whoever shares the secret could make tokens that open it. Name the other service",
                s.text("tokens.hs256_audience")
            )
        },
    },
    Rule {
        keys: &["password.memory_kib", "password.lanes"],
        is_broken: |_, c| c.password.memory_kib < 8 * c.password.lanes,
        message: |s, keys| {
            format!("{}: Argon2id needs at least 8 KiB for each lane (RFC 9106, section 3.1)", tell(s, keys))
        },
    },
    at_most(&["throttle.account_free", "throttle.account_closes_after"], |_, c| {
        c.throttle.account.free > c.throttle.account.closes_after
    }),
    at_most(&["throttle.account_delay", "throttle.account_longest"], |_, c| {
        c.throttle.account.delay > c.throttle.account.longest
    }),
    at_most(&["throttle.account_longest", "throttle.forget_after"], |_, c| {
        c.throttle.account.longest > c.throttle.account.forget_after
    }),
    at_most(&["throttle.network_free", "throttle.network_closes_after"], |_, c| {
        c.throttle.network.free > c.throttle.network.closes_after
    }),
    at_most(&["throttle.network_delay", "throttle.network_longest"], |_, c| {
        c.throttle.network.delay > c.throttle.network.longest
    }),
    at_most(&["throttle.network_longest", "throttle.forget_after"], |_, c| {
        c.throttle.network.longest > c.throttle.network.forget_after
    }),
    at_most(&["throttle.device_free", "throttle.device_closes_after"], |_, c| {
        c.throttle.device.free > c.throttle.device.closes_after
    }),
    at_most(&["throttle.device_delay", "throttle.device_longest"], |_, c| {
        c.throttle.device.delay > c.throttle.device.longest
    }),
    at_most(&["throttle.device_longest", "throttle.forget_after"], |_, c| {
        c.throttle.device.longest > c.throttle.device.forget_after
    }),
];

/// The first may be as much as the second, and not more.
const fn at_most(keys: &'static [&'static str; 2], is_broken: fn(&Survey, &Config) -> bool) -> Rule {
    let message = |s: &Survey, keys: &[&str]| {
        format!("{}: the first must not be more; lower it or raise the second", tell(s, keys))
    };
    Rule { keys, is_broken, message }
}

/// A public address without TLS that is reached from elsewhere.
pub(crate) fn is_insecure(public_url: &Url) -> bool {
    public_url.scheme() == "http" && !origin::is_loopback(public_url)
}

/// The coarsest precision of "last seen" that the idle timeouts allow.
pub(super) fn coarsest_precision(config: &Config) -> Duration {
    shortest_idle(config) / 4
}

/// The shortest idle timeout: no access token may outlive its session's.
pub(super) fn shortest_idle(config: &Config) -> Duration {
    let policy = &config.session.policy;
    policy.ordinary.idle.min(policy.remembered.idle)
}

/// How long a session lasts at most.
pub(super) fn longest_lifetime(config: &Config) -> Duration {
    let policy = &config.session.policy;
    policy.ordinary.absolute.max(policy.remembered.absolute)
}

/// Each of `keys` with its value and where that comes from.
fn tell(survey: &Survey, keys: &[&str]) -> String {
    let told: Vec<_> = keys
        .iter()
        .map(|key| match survey.place(key) {
            Place::Default => format!("{key} is {} by default", survey.text(key)),
            place => format!("{key} is {} ({place})", survey.text(key)),
        })
        .collect();
    told.join(", ")
}
