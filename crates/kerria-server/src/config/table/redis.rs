//! Settings of sessions that are kept in Redis.

use super::{Setting, optional};
use crate::config::kind::Kind;

pub(super) static REDIS: &[Setting] = &[
    optional(
        "redis.url",
        Kind::Redis(|c, v| c.redis.url = Some(v)),
        "rediss://kerria@redis.example.com:6379",
        "Redis (7 or later) or Valkey (8 or later) that keeps the sessions, the tokens, the revocation log and the throttling. \
         Accounts, clients and keys stay in the database. Without it, everything is in the database. Whoever changes this signs \
         everybody out. `rediss://` is TLS; `redis+sentinel://host1,host2/name` asks Sentinels for the primary, and \
         `redis+cluster://host1,host2` a cluster. If the URL holds a password, it is better kept in a file: see \
         `redis.url_file`.",
    ),
    optional(
        "redis.url_file",
        Kind::RedisFile(|c, v| c.redis.url = Some(v)),
        "/run/secrets/kerria-redis",
        "A file that holds the `redis.url` and nothing else. A line end after it is ignored. Set one of the two.",
    ),
    optional(
        "redis.ca_file",
        Kind::Path(|c, v| c.redis.ca_file = Some(v)),
        "/etc/kerria/redis-ca.pem",
        "The certificates that vouch for the one of Redis, in PEM, instead of those of the system.",
    ),
];
