//! Settings of passwords.

use std::thread;

use super::{Setting, row};
use crate::config::kind::Kind;

pub(super) static PASSWORD: &[Setting] = &[
    row(
        "password.min_length",
        "15",
        Kind::Number { least: 8, most: 128, set: |c, v| c.password.min_length = v },
        "12",
        "The fewest characters of a new password. NIST SP 800-63B-4 (section 3.1.1.2) asks for 15 where the password \
         is all there is, and for 8 beside a second factor.",
    ),
    row(
        "password.memory_kib",
        "19456",
        Kind::Number { least: 8, most: 4_194_304, set: |c, v| c.password.memory_kib = v },
        "65536",
        "The memory that hashing one password takes, in KiB (Argon2id, the `m` of RFC 9106). Old hashes are renewed \
         when their user signs in.",
    ),
    row(
        "password.iterations",
        "2",
        Kind::Number { least: 1, most: 100, set: |c, v| c.password.iterations = v },
        "3",
        "How many times that memory is gone through (the `t` of RFC 9106).",
    ),
    row(
        "password.lanes",
        "1",
        Kind::Number { least: 1, most: 64, set: |c, v| c.password.lanes = v },
        "4",
        "In how many lanes that memory is divided (the `p` of RFC 9106).",
    ),
    row(
        "password.workers",
        "0",
        Kind::Number { least: 0, most: 1024, set: |c, v| c.password.workers = workers(v) },
        "2",
        "How many passwords are hashed at once; 0 for one less than the machine has cores, and at least one.",
    ),
    row(
        "password.queue",
        "64",
        Kind::Number { least: 0, most: 100_000, set: |c, v| c.password.queue = v },
        "256",
        "How many sign-ins may wait for a worker. More are answered with 503 at once, so that a rush never becomes a \
         pile.",
    ),
];

fn workers(set: u32) -> u32 {
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    if set > 0 { set } else { u32::try_from(cores()).unwrap_or(u32::MAX).saturating_sub(1).max(1) }
}
