//! Settings of checkers in other processes.

use super::{Setting, optional, row};
use crate::config::kind::{Kind, SECRET_CHARACTERS};

pub(super) static CHECKERS: &[Setting] = &[
    optional(
        "checkers.token",
        Kind::Secret(|c, v| c.checkers_token = Some(v)),
        "a long random text",
        "The secret with which applications follow this server, to check sessions in their own memory. Whoever has it can read \
         of any session whose token they hold the hash of, and hears of every end. With it, an end waits for those applications, \
         and for a second after a start of a server on an SQLite file. Without it, nobody may follow. The same for all nodes. \
         Better kept in a file: see `checkers.token_file`.",
    ),
    optional(
        "checkers.token_file",
        Kind::SecretFile { least: SECRET_CHARACTERS, set: |c, v| c.checkers_token = Some(v) },
        "/run/secrets/kerria-checkers-token",
        "A file that holds the `checkers.token` and nothing else. A line end after it is ignored. Set one of the two.",
    ),
    row(
        "checkers.max",
        "100",
        Kind::Number { least: 1, most: 10_000, set: |c, v| c.checkers_max = v },
        "20",
        "How many processes may hold a lease at once, nodes among them. One application more is refused; a node never is. Every end \
         waits for all of them, and each renews its lease three times a second. The same for all nodes.",
    ),
];
