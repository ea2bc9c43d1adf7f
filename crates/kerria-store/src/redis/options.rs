//! How the server is reached.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use kerria_core::Secret;
use percent_encoding::percent_decode_str;
use redis::RedisConnectionInfo;
use tokio_rustls::TlsConnector;

use super::errors::RedisError;
use crate::tls::{self, TlsError};

/// Where a server listens, unless its address says otherwise; and where a sentinel does.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// How a Redis or Valkey server is reached.
#[derive(Clone)]
pub struct RedisOptions {
    pub(super) setting: Setting,
    /// Whom to ask first: servers, sentinels, or some nodes of a cluster.
    pub(super) hosts: Vec<(String, u16)>,
    user: Option<String>,
    password: Option<Secret<String>>,
    database: i64,
    encrypted: bool,
    authorities: Option<PathBuf>,
}

/// How the server that takes writes is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    /// It is the one of those named that is a primary.
    Servers,
    /// Sentinels know it by this name.
    Sentinels { primary: String },
    /// It is the one in a cluster that has our slot.
    Cluster,
}

impl RedisOptions {
    /// Reads a URL. User and password may be left out; special characters in them are percent-encoded.
    ///
    /// - `redis://user:password@host:6379/0`: one server and the number of a database in it. Several may be named, with commas
    ///   between them; the primary among them is used.
    /// - `redis+sentinel://user:password@host1:26379,host2:26379/name/0`: sentinels, and what they call the primary. The user
    ///   and the password are those of the servers; sentinels are asked without.
    /// - `redis+cluster://user:password@host1:6379,host2:6379`: some nodes of a cluster.
    ///
    /// With `rediss` instead of `redis`, each of them is reached through TLS, and its certificate and name are verified.
    ///
    /// # Errors
    /// If it is no such URL.
    pub fn from_url(url: &str) -> Result<Self, RedisError> {
        let (scheme, rest) = url.split_once("://").ok_or(RedisError::Address("it has no scheme"))?;
        let encrypted = scheme.starts_with("rediss");
        let kind = scheme.strip_prefix("rediss").or_else(|| scheme.strip_prefix("redis"));
        if rest.contains(['?', '#']) {
            return Err(RedisError::Address("nothing comes after its path"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        let (setting, database, port) = match kind {
            Some("") => (Setting::Servers, path, PORT),
            Some("+sentinel") => {
                let (primary, database) = path.split_once('/').unwrap_or((path, ""));
                if primary.is_empty() {
                    return Err(RedisError::Address("it does not say what the sentinels call the primary"));
                }
                (Setting::Sentinels { primary: decoded(primary)? }, database, SENTINEL_PORT)
            }
            Some("+cluster") if path.is_empty() => (Setting::Cluster, "", PORT),
            Some("+cluster") => return Err(RedisError::Address("a cluster has one database")),
            _ => return Err(RedisError::Address("it begins with something else")),
        };
        let database = match database {
            "" => 0,
            number => number.parse().map_err(|_| RedisError::Address("a database has a number"))?,
        };
        let (user, password) = match credentials.map(|both| both.split_once(':').unwrap_or((both, ""))) {
            Some((user, password)) => (Some(decoded(user)?), Some(decoded(password)?)),
            None => (None, None),
        };
        Ok(Self {
            setting,
            hosts: hosts.split(',').map(|host| host_and_port(host, port)).collect::<Result<_, _>>()?,
            user: user.filter(|user| !user.is_empty()),
            password: password.filter(|password| !password.is_empty()).map(Secret::new),
            database,
            encrypted,
            authorities: None,
        })
    }

    /// Verifies servers against the certificates in this PEM file instead of the system's.
    #[must_use]
    pub fn with_ca_file(mut self, path: &Path) -> Self {
        self.authorities = Some(path.to_owned());
        self
    }

    /// Where it is, for people.
    #[must_use]
    pub fn place(&self) -> String {
        let hosts: Vec<_> = self.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        let hosts = hosts.join(", ");
        match &self.setting {
            Setting::Servers => hosts,
            Setting::Sentinels { primary } => format!("{primary}, by the sentinels {hosts}"),
            Setting::Cluster => format!("the cluster of {hosts}"),
        }
    }

    /// Whether what is sent can be read on the way to another machine.
    pub(super) fn is_in_the_clear(&self) -> bool {
        let is_here = |(host, _): &(String, u16)| {
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        };
        !self.encrypted && !self.hosts.iter().all(is_here)
    }

    /// What a server has to know of us.
    pub(super) fn sign_in(&self) -> RedisConnectionInfo {
        let mut info = RedisConnectionInfo::default().set_db(self.database);
        if let Some(user) = &self.user {
            info = info.set_username(user);
        }
        if let Some(password) = &self.password {
            info = info.set_password(password.expose());
        }
        info
    }

    /// How to speak TLS; `None` if nothing is encrypted.
    pub(super) fn tls(&self) -> Result<Option<TlsConnector>, RedisError> {
        if !self.encrypted {
            return Ok(None);
        }
        match tls::client_config(self.authorities.as_deref()) {
            Ok(config) => Ok(Some(Arc::new(config).into())),
            Err(TlsError::Certificates { path, source }) => Err(RedisError::Certificates { path, source }),
            Err(TlsError::Tls(error)) => Err(RedisError::Tls(error.into())),
        }
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisOptions({})", self.place())
    }
}

fn decoded(text: &str) -> Result<String, RedisError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| RedisError::Address("what is percent-encoded in it is no UTF-8"))
}

fn host_and_port(text: &str, default: u16) -> Result<(String, u16), RedisError> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, rest)) => (address, rest.strip_prefix(':')),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(default), str::parse).map_err(|_| RedisError::Address("a port is a number"))?;
    if host.is_empty() || host.contains(':') && !text.starts_with('[') {
        return Err(RedisError::Address("it names no server"));
    }
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> RedisOptions {
        RedisOptions::from_url(url).unwrap()
    }

    #[test]
    fn people_are_told_where_it_is_and_not_how_to_get_in() {
        for (url, expected) in [
            ("redis://localhost", "localhost:6379"),
            ("redis://kerria:secret@a:1,b:2/3", "a:1, b:2"),
            ("rediss://:secret@[::1]:5/3", "::1:5"),
            ("rediss+sentinel://secret:secret@a,b:1/kerria/2", "kerria, by the sentinels a:26379, b:1"),
            ("redis+cluster://secret:secret@a,b:1", "the cluster of a:6379, b:1"),
        ] {
            assert_eq!(read(url).place(), expected);
            assert!(!format!("{:?}", read(url)).contains("secret"));
        }
    }

    #[test]
    fn what_is_percent_encoded_in_a_password_is_decoded() {
        let sign_in = read("redis://me:p%40ss%3A%2Fword@localhost/7").sign_in();
        assert_eq!((sign_in.username(), sign_in.password()), (Some("me"), Some("p@ss:/word")));
        assert_eq!(sign_in.db(), 7);
    }

    #[test]
    fn what_is_no_address_of_a_server_is_refused() {
        for url in [
            "",
            "localhost:6379",
            "postgres://localhost/0",
            "redis://",
            "redis:///0",
            "redis://localhost/kerria",
            "redis://localhost/0?x=1",
            "redis://localhost:port",
            "redis+sentinel://localhost",
            "redis+cluster://localhost/1",
            "redis+other://localhost",
        ] {
            assert!(RedisOptions::from_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn what_leaves_the_machine_unencrypted_is_noticed() {
        let in_the_clear = |url| read(url).is_in_the_clear();
        assert!(!in_the_clear("redis://127.0.0.1,localhost,[::1]"));
        assert!(in_the_clear("redis://localhost,sessions.example.com"));
        assert!(!in_the_clear("rediss://sessions.example.com"));
    }
}
