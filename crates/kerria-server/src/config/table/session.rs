//! Settings of sessions.

use std::{num::NonZeroU32, time::Duration};

use kerria::{Binding, Consistency};
use kerria_core::store::{AtLimit, SessionLimit};

use super::{Setting, optional, row};
use crate::config::kind::Kind;

const SECOND: Duration = Duration::from_secs(1);

/// The quarter of the shortest idle timeout there is, and a bit less.
const SHORTEST_PRECISION: Duration = Duration::from_millis(100);

pub(super) static SESSION: &[Setting] = &[
    row(
        "session.idle_timeout",
        "2h",
        Kind::Duration { least: SECOND, set: |c, v| c.session.policy.ordinary.idle = v },
        "30m",
        "How long a session lasts without being used. Every use starts it anew. It holds for sessions that end with \
         the browser, and for anonymous ones.",
    ),
    row(
        "session.absolute_timeout",
        "12h",
        Kind::Duration { least: SECOND, set: |c, v| c.session.policy.ordinary.absolute = v },
        "8h",
        "How long a session lasts over all. No use extends it. It holds for sessions that end with the browser, and \
         for anonymous ones.",
    ),
    row(
        "session.remembered_idle_timeout",
        "7d",
        Kind::Duration { least: SECOND, set: |c, v| c.session.policy.remembered.idle = v },
        "3d",
        "How long a session lasts without being used if its user asked to stay signed in.",
    ),
    row(
        "session.remembered_absolute_timeout",
        "30d",
        Kind::Duration { least: SECOND, set: |c, v| c.session.policy.remembered.absolute = v },
        "14d",
        "How long a session lasts over all if its user asked to stay signed in. NIST SP 800-63B-4 (section 2.1.3) \
         asks for at most 30 days.",
    ),
    row(
        "session.fresh_for",
        "15m",
        Kind::Duration { least: SECOND, set: |c, v| c.session.fresh_for = v },
        "5m",
        "How old the last sign-in may be for a sensitive action, such as changing the password. After that the user \
         is asked for the password again.",
    ),
    optional(
        "session.cookie_domain",
        Kind::Domain(|c, v| c.session.cookie_domain = Some(v)),
        "example.com",
        "The domain whose hosts share the session cookie, for `forward_auth` in front of several hosts: browsers then send it to \
         this host and to all below it. Whoever serves one of them can use the sessions of all their visitors, so set it only if \
         you trust them all. Without it, no other host than that of `public_url` gets the cookie. To hosts that do not get it, `forward_auth` \
         hands the session over. A change signs everyone out.",
    ),
    row(
        "session.consistency",
        "leased",
        Kind::Choice(&[
            ("leased", |c| c.session.consistency = Consistency::Leased),
            ("strict", |c| c.session.consistency = Consistency::Strict),
        ]),
        "strict",
        "On what the answer to a check rests: `leased` on memory, which hears of every end before it is answered; `strict` on \
         the database, which is asked each time.",
    ),
    row(
        "session.rotate_after",
        "0s",
        Kind::DurationOrOff { least: SECOND, set: |c, v| c.session.rotation.after = v },
        "15m",
        "How long the token in a session's cookie is used before the next request gets a new one with its answer; 0s for \
         never. It makes a stolen cookie worthless soon, and tells of the theft. It costs two writes for each new \
         token.",
    ),
    row(
        "session.rotation_grace",
        "30s",
        Kind::Duration { least: SECOND, set: |c, v| c.session.rotation.grace = v },
        "2m",
        "How long a replaced token is still accepted once the new one was used, so that requests under way are not \
         signed out. After that, its use ends the session. No token is replaced before this time is over for the one \
         before, so `session.rotate_after` counts as this at least.",
    ),
    row(
        "session.limit_per_user",
        "0",
        Kind::Number {
            least: 0,
            most: 10_000,
            set: |c, v| {
                let limit = |per_user| SessionLimit { per_user, at_limit: AtLimit::EndOldest };
                c.session.limit = NonZeroU32::new(v).map(limit);
            },
        },
        "1",
        "How many sessions a user may have at once; 0 for no limit. With 1 and `session.at_limit` = \"end-oldest\" \
         a user is signed in at one place only.",
    ),
    row(
        "session.at_limit",
        "end-oldest",
        Kind::Choice(&[
            ("end-oldest", |c| at_limit(&mut c.session.limit, AtLimit::EndOldest)),
            ("refuse", |c| at_limit(&mut c.session.limit, AtLimit::Refuse)),
        ]),
        "refuse",
        "What happens when a user with all the sessions they may have signs in once more. \"end-oldest\" ends the \
         one that was opened first, \"refuse\" refuses the new one.",
    ),
    row(
        "session.carry_over",
        "",
        Kind::DataKeys(|c, v| c.session.carry_over = v),
        "cart, language",
        "The keys of session data that survive a sign-in. Everything else that was kept before is left behind.",
    ),
    row(
        "session.data_keys",
        "64",
        Kind::Number { least: 0, most: 10_000, set: |c, v| c.session.data.keys = v },
        "16",
        "How many keys of data a session may hold; 0 for no data.",
    ),
    row(
        "session.data_value_bytes",
        "4096",
        Kind::Number { least: 1, most: 1_048_576, set: |c, v| c.session.data.value_bytes = v },
        "1024",
        "How many bytes one value of session data may have, as compact JSON.",
    ),
    row(
        "session.data_total_bytes",
        "16384",
        Kind::Number { least: 1, most: 16_777_216, set: |c, v| c.session.data.total_bytes = v },
        "65536",
        "How many bytes all keys and values of a session may have together.",
    ),
    row(
        "session.last_seen_precision",
        "60s",
        Kind::Duration { least: SHORTEST_PRECISION, set: |c, v| c.session.last_seen_precision = v },
        "10s",
        "How exact \"last seen\" is on disk. A session is noted at most once in this time, however often it is used, \
         and a crash forgets at most this much. It may be a quarter of the shortest idle timeout; the default \
         shrinks to that by itself.",
    ),
    row(
        "session.binding",
        "off",
        Kind::Choice(&[
            ("off", |c| c.session.binding = Binding::Off),
            ("alarm", |c| c.session.binding = Binding::Alarm),
            ("refuse", |c| c.session.binding = Binding::Refuse),
        ]),
        "alarm",
        "What happens when the browser or the network of a session changes. With \"off\" nothing does, with \
         \"alarm\" it is told in the audit log, with \"refuse\" the request is not signed in. People change networks \
         often, so \"refuse\" is for places where they do not.",
    ),
    row(
        "session.cache_entries",
        "1000000",
        Kind::Number { least: 1, most: 100_000_000, set: |c, v| c.session.cache_entries = v },
        "50000",
        "How many sessions are kept in memory, where they are checked without asking the database.",
    ),
    row(
        "session.log_retention",
        "30d",
        Kind::Duration { least: SECOND, set: |c, v| c.session.log_retention = v },
        "90d",
        "How long the audit log and the log of ended sessions are kept. It must be as long as the longest absolute \
         timeout; the default grows to that by itself.",
    ),
];

fn at_limit(limit: &mut Option<SessionLimit>, at_limit: AtLimit) {
    if let Some(limit) = limit {
        limit.at_limit = at_limit;
    }
}
