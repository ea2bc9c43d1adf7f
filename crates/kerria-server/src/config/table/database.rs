//! Settings of the database.

use super::{Setting, optional, row};
use crate::config::kind::Kind;

pub(super) static DATABASE: &[Setting] = &[
    optional(
        "database.url",
        Kind::Postgres(|c, v| c.database.url = Some(v)),
        "postgres://kerria@db.example.com/kerria",
        "A PostgreSQL database (15 or later) that several Kerria processes share. Without it, everything is in an SQLite \
         file in the data folder, which one process uses. Several hosts may be named, with commas between them. A database \
         on another machine is reached through TLS, and its certificate is verified. If the URL holds a password, it is \
         better kept in a file: see `database.url_file`.",
    ),
    optional(
        "database.url_file",
        Kind::PostgresFile(|c, v| c.database.url = Some(v)),
        "/run/secrets/kerria-database",
        "A file that holds the `database.url` and nothing else. A line end after it is ignored. Set one of the two.",
    ),
    optional(
        "database.ca_file",
        Kind::Path(|c, v| c.database.ca_file = Some(v)),
        "/etc/kerria/database-ca.pem",
        "The certificates that vouch for the database's own, in PEM, instead of those of the system.",
    ),
    row(
        "database.connections",
        "8",
        Kind::Number { least: 1, most: 200, set: |c, v| c.database.connections = v },
        "16",
        "How many connections to PostgreSQL are opened at most. Three more are kept for the revocations.",
    ),
    optional(
        "database.node_name",
        Kind::Text(|c, v| c.database.node_name = Some(v)),
        "kerria-1",
        "What this process is called where all that share a database are listed. Without it, the name of the machine and \
         the number of the process.",
    ),
];
