//! What Redis says, in the words of the contract and of the operator.

use std::path::PathBuf;

use kerria_core::store::{StoreError, Trouble};

/// Why sessions cannot be kept in a Redis server. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// The address of the server cannot be read.
    #[error(
        "the address of the session store is no Redis URL ({0}): write one such as redis://user:password@host:6379/0, with special \
         characters in the password percent-encoded"
    )]
    Address(&'static str),
    /// The certificates that servers are to be verified against cannot be read.
    #[error("the certificates in {} cannot be read", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// TLS cannot be used at all.
    #[error("TLS cannot be used")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server is older than what we need.
    #[error(
        "the session store at {place} is {found}, and needs Redis 7 or Valkey 8, or newer: upgrade the server"
    )]
    Old {
        /// Where.
        place: String,
        /// What it says it is.
        found: String,
    },
    /// The server forgets what it likes when its memory is full.
    #[error(
        "the session store at {place} throws things away when its memory is full (maxmemory-policy is {policy}), and with them the note \
         that a session was ended: set maxmemory-policy to noeviction"
    )]
    Evicts {
        /// Where.
        place: String,
        /// Its policy.
        policy: String,
    },
    /// The server does not say what is needed to notice that it was replaced.
    #[error(
        "the session store at {place} does not say which process it is (run_id and master_replid in INFO): use a server that does"
    )]
    Unnamed {
        /// Where.
        place: String,
    },
    /// The server did not answer, or refused.
    #[error("the session store at {place} {why}")]
    Server {
        /// Where.
        place: String,
        /// What it means.
        why: &'static str,
        /// What was said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl RedisError {
    /// What has come of talking to the server at `place`.
    pub(super) fn server(place: &str, error: StoreError) -> Self {
        Self::Server { place: place.to_owned(), why: in_words(&error), source: error.source }
    }
}

fn in_words(error: &StoreError) -> &'static str {
    let source = error.source.as_ref();
    let code =
        source.and_then(|source| source.downcast_ref::<redis::RedisError>()?.code()).unwrap_or_default();
    let said = format!("{code} {}", source.map(ToString::to_string).unwrap_or_default());
    let tells = |word: &str| said.contains(word);
    match () {
        () if tells("NOAUTH") || tells("WRONGPASS") || tells("uthentication") => {
            "does not let us in (check the user and the password in its URL)"
        }
        () if tells("NOPERM") || tells("The user executing the script") => {
            "lets us in, but does not allow what is needed (give the user all commands on all keys and channels that begin with {kerria}:)"
        }
        () if tells("LOADING") => "is still reading its data from the disk (try again in a moment)",
        () if tells("certificate") || tells("TLS") || tells("tls") => {
            "cannot be reached through TLS (switch it on at the server, and name the certificate that vouches for it in the setting \
             for it)"
        }
        () if tells(NO_PRIMARY) => {
            "has no server that takes writes (name the primary, or all servers with commas between them)"
        }
        () if tells("elapsed") || tells("timed out") => {
            "does not answer in time (does it run there, and is the network open?)"
        }
        () if error.trouble == Trouble::Unavailable => {
            "cannot be reached (does it run there, and does its URL name the right place?)"
        }
        () => "cannot be used",
    }
}

/// What we say ourselves when none of the servers is a primary.
pub(super) const NO_PRIMARY: &str = "none of the servers is a primary";

/// What to do after a command has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The command failed, and nothing else.
    Command,
    /// The server does not know the script any more.
    NoScript,
    /// The server has refused it and changed nothing; another one takes it, or this one soon.
    Refused,
    /// Nothing can be done with this connection any more, and nobody knows what has become of the command.
    Connection,
}

impl Fault {
    pub(super) fn of(error: &redis::RedisError) -> Self {
        match error.code() {
            Some("NOSCRIPT") => Self::NoScript,
            Some("READONLY" | "LOADING" | "MASTERDOWN" | "MOVED" | "ASK" | "CLUSTERDOWN" | "TRYAGAIN") => {
                Self::Refused
            }
            Some(_) => Self::Command,
            None => Self::Connection,
        }
    }
}

pub(super) fn store_error(error: redis::RedisError) -> StoreError {
    let trouble = match error.code() {
        None => Trouble::Unavailable,
        Some("OOM" | "MISCONF") => Trouble::Full,
        Some("NOPERM") => Trouble::ReadOnly,
        Some(_) if Fault::of(&error) == Fault::Refused => Trouble::Unavailable,
        Some("NOAUTH" | "WRONGPASS" | "BUSY" | "NOREPLICAS") => Trouble::Unavailable,
        Some(_) => Trouble::Failed,
    };
    StoreError::new(trouble, error)
}

/// What was read is not what we have written.
pub(super) fn damaged(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::new(Trouble::Damaged, reason)
}
