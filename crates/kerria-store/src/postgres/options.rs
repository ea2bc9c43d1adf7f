//! How the server is reached.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio_postgres::config::{Config, Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::errors::ConnectError;
use crate::tls::{self, TlsError};

/// How long one server may take to let us in.
pub(super) const CONNECT: Duration = Duration::from_secs(2);
/// Steps that are under way at once, each with a connection of its own.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// How a PostgreSQL server is reached.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    config: Config,
    authorities: Option<PathBuf>,
    connections: NonZeroUsize,
}

impl PostgresOptions {
    /// Reads a URL: `postgres://user:password@host:5432/database`. Several hosts may be named, with commas between
    /// them; the one that takes writes is used.
    ///
    /// A server on another machine is reached through TLS, and its certificate and name are verified, as `libpq` does
    /// with `sslmode=verify-full`; only `sslmode=disable` goes without. On this machine, nothing is encrypted unless
    /// `sslmode=require` says so.
    ///
    /// # Errors
    /// If it is no such URL.
    pub fn parse(url: &str) -> Result<Self, ConnectError> {
        // All of them mean the same here.
        let url = ["verify-full", "verify-ca"]
            .iter()
            .fold(url.to_owned(), |url, mode| url.replace(&format!("sslmode={mode}"), "sslmode=require"));
        let config: Config =
            url.parse().map_err(|source: tokio_postgres::Error| ConnectError::Address(source.into()))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(ConnectError::Incomplete("server"));
        }
        if config.get_dbname().is_none() {
            return Err(ConnectError::Incomplete("database"));
        }
        Ok(Self { config, authorities: None, connections: CONNECTIONS })
    }

    /// Whether the URL holds a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.config.get_password().is_some()
    }

    /// Verifies servers against the certificates in this PEM file instead of the system's.
    #[must_use]
    pub fn authorities(mut self, path: &Path) -> Self {
        self.authorities = Some(path.to_owned());
        self
    }

    /// How many connections are used at most, besides the one that listens.
    #[must_use]
    pub fn connections(mut self, connections: NonZeroUsize) -> Self {
        self.connections = connections;
        self
    }

    /// What the database is called, and where it is, for people.
    pub(super) fn place(&self) -> String {
        let (hosts, addresses, ports) =
            (self.config.get_hosts(), self.config.get_hostaddrs(), self.config.get_ports());
        let servers = (0..hosts.len().max(addresses.len())).map(|at| {
            let port = ports.get(at).or_else(|| ports.first()).copied().unwrap_or(5432);
            match (hosts.get(at), addresses.get(at)) {
                (Some(Host::Tcp(name)), _) => format!("{name}:{port}"),
                #[cfg(unix)]
                (Some(Host::Unix(path)), _) => format!("{}:{port}", path.display()),
                (None, Some(address)) => SocketAddr::new(*address, port).to_string(),
                (None, None) => String::new(),
            }
        });
        let database = self.config.get_dbname().unwrap_or_default();
        format!("{database} at {}", servers.collect::<Vec<_>>().join(", "))
    }

    pub(super) fn most_connections(&self) -> usize {
        self.connections.get()
    }

    /// The servers, in the order in which they are tried.
    pub(super) fn servers(&self) -> Result<Vec<Server>, ConnectError> {
        let (hosts, addresses, ports) =
            (self.config.get_hosts(), self.config.get_hostaddrs(), self.config.get_ports());
        let mut tls = None;
        (0..hosts.len().max(addresses.len()))
            .map(|at| {
                let port = ports.get(at).or_else(|| ports.first()).copied().unwrap_or(5432);
                let config = self.for_server(hosts.get(at), addresses.get(at).copied(), port);
                let tls = match config.get_ssl_mode() {
                    SslMode::Require if tls.is_none() => {
                        tls = Some(self.tls()?);
                        tls.clone()
                    }
                    SslMode::Require => tls.clone(),
                    _ => None,
                };
                Ok(Server { config, tls })
            })
            .collect()
    }

    /// Everything for one server, so that each has a time-out of its own.
    fn for_server(&self, host: Option<&Host>, address: Option<IpAddr>, port: u16) -> Config {
        let all = &self.config;
        let mut one = Config::new();
        match host {
            Some(Host::Tcp(name)) => {
                one.host(name);
            }
            #[cfg(unix)]
            Some(Host::Unix(path)) => {
                one.host_path(path);
            }
            None => {}
        }
        if let Some(address) = address {
            one.hostaddr(address);
        }
        one.port(port);
        if let Some(user) = all.get_user() {
            one.user(user);
        }
        if let Some(password) = all.get_password() {
            one.password(password);
        }
        if let Some(database) = all.get_dbname() {
            one.dbname(database);
        }
        if let Some(options) = all.get_options() {
            one.options(options);
        }
        one.application_name(all.get_application_name().unwrap_or("kerria"));
        one.ssl_mode(strict(all.get_ssl_mode(), host, address));
        one.ssl_negotiation(all.get_ssl_negotiation());
        one.channel_binding(all.get_channel_binding());
        one.target_session_attrs(TargetSessionAttrs::ReadWrite);
        one.connect_timeout(CONNECT);
        one.keepalives_idle(Duration::from_secs(10));
        one.keepalives_interval(Duration::from_secs(3));
        one.keepalives_retries(3);
        one.tcp_user_timeout(Duration::from_secs(5));
        one
    }

    fn tls(&self) -> Result<MakeRustlsConnect, ConnectError> {
        tls::client_config(self.authorities.as_deref()).map(MakeRustlsConnect::new).map_err(|error| {
            match error {
                TlsError::Certificates { path, source } => ConnectError::Certificates { path, source },
                TlsError::Tls(error) => ConnectError::Tls(error.into()),
            }
        })
    }
}

/// A server, and how to talk to it.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) config: Config,
    /// `None` if nothing is encrypted.
    pub(super) tls: Option<MakeRustlsConnect>,
}

/// With TLS or without; never "if it happens to be there", which a thief would see to.
fn strict(mode: SslMode, host: Option<&Host>, address: Option<IpAddr>) -> SslMode {
    let is_here = match (host, address) {
        (_, Some(address)) => address.is_loopback(),
        (Some(Host::Tcp(name)), None) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        #[cfg(unix)]
        (Some(Host::Unix(_)), None) => true,
        (None, None) => false,
    };
    match mode {
        SslMode::Prefer if is_here => SslMode::Disable,
        SslMode::Disable => SslMode::Disable,
        _ => SslMode::Require,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modes(url: &str) -> Vec<SslMode> {
        let options = PostgresOptions::parse(url).unwrap();
        options.servers().unwrap().iter().map(|server| server.config.get_ssl_mode()).collect()
    }

    #[test]
    fn another_machine_is_reached_through_tls_unless_somebody_says_otherwise() {
        use SslMode::{Disable, Require};
        for (url, expected) in [
            ("postgres://kerria@localhost/kerria", [Disable].as_slice()),
            ("postgres://kerria@127.0.0.1/kerria", &[Disable]),
            ("postgres://kerria@[::1]/kerria", &[Disable]),
            ("postgres://kerria@%2Fvar%2Frun%2Fpostgresql/kerria", &[Disable]),
            ("postgres://kerria@localhost/kerria?sslmode=require", &[Require]),
            ("postgres://kerria@db.example.com/kerria", &[Require]),
            ("postgres://kerria@192.0.2.1/kerria?sslmode=prefer", &[Require]),
            ("postgres://kerria@db.example.com/kerria?sslmode=verify-full", &[Require]),
            ("postgres://kerria@db.example.com/kerria?sslmode=disable", &[Disable]),
            ("postgres://kerria@localhost,db.example.com/kerria", &[Disable, Require]),
        ] {
            assert_eq!(modes(url), expected, "{url}");
        }
    }

    #[test]
    fn people_are_told_where_a_database_is_and_not_how_to_get_in() {
        for (url, expected) in [
            ("postgres://kerria:secret@db.example.com/sessions", "sessions at db.example.com:5432"),
            ("postgres://kerria:secret@a:1,b:2/kerria", "kerria at a:1, b:2"),
            ("postgres://kerria:secret@[::1]:5433/kerria", "kerria at ::1:5433"),
            ("postgres://kerria:secret@%2Frun%2Fpostgresql/kerria", "kerria at /run/postgresql:5432"),
        ] {
            assert_eq!(PostgresOptions::parse(url).unwrap().place(), expected);
        }
    }

    #[test]
    fn what_is_no_address_of_a_database_is_refused() {
        for url in ["", "kerria.db", "mysql://localhost/kerria", "postgres:///kerria", "postgres://localhost"]
        {
            assert!(PostgresOptions::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn debug_output_shows_no_password() {
        let options = PostgresOptions::parse("postgres://kerria:secret@localhost/kerria").unwrap();
        assert!(!format!("{options:?}").contains("secret"));
    }
}
