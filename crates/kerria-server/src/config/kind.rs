//! What kinds of values there are: how one is read, what may be written, how TOML writes it.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use kerria_core::{Audience, DataKey, GroupName, Secret};
use url::Url;

use super::{Config, duration, origin};
use crate::{
    forward_auth::original::host_and_port,
    logs::{self, LogsError},
};

/// The fewest characters of a secret that is presented.
pub(super) const SECRET_CHARACTERS: usize = 20;

/// The kind of a setting's value, and where in the [`Config`] it goes.
pub(crate) enum Kind {
    /// A word or a sentence, not empty.
    Text(fn(&mut Config, String)),
    /// A path, from the current folder on.
    Path(fn(&mut Config, PathBuf)),
    /// `true` or `false`.
    Switch(fn(&mut Config, bool)),
    /// A whole number within a range.
    Number { least: u32, most: u32, set: fn(&mut Config, u32) },
    /// A duration that is not shorter than the least one.
    Duration { least: Duration, set: fn(&mut Config, Duration) },
    /// A duration that is not shorter than the least one, or zero.
    DurationOrOff { least: Duration, set: fn(&mut Config, Duration) },
    /// One of these words.
    Choice(&'static [Word]),
    /// An IP address and a port.
    Address(fn(&mut Config, SocketAddr)),
    /// The name of a host, with two labels at least.
    Domain(fn(&mut Config, String)),
    /// Scheme, host and port.
    Origin(fn(&mut Config, Url)),
    /// A list of origins.
    Origins(fn(&mut Config, Vec<Url>)),
    /// A list of networks and addresses.
    Networks(fn(&mut Config, Vec<IpNet>)),
    /// A list of keys of session data.
    DataKeys(fn(&mut Config, Vec<DataKey>)),
    /// The name of a group of users.
    Group(fn(&mut Config, GroupName)),
    /// An audience of access tokens.
    Audience(fn(&mut Config, Audience)),
    /// A list of audiences of access tokens.
    Audiences(fn(&mut Config, Vec<Audience>)),
    /// A filter for logs.
    LogFilter(fn(&mut Config, String)),
    /// The URL of a PostgreSQL database, which may hold a password.
    Postgres(fn(&mut Config, Secret<String>)),
    /// The path of a file that holds such a URL and nothing else.
    PostgresFile(fn(&mut Config, Secret<String>)),
    /// The URL of Redis, which may hold a password.
    Redis(fn(&mut Config, Secret<String>)),
    /// The path of a file that holds such a URL and nothing else.
    RedisFile(fn(&mut Config, Secret<String>)),
    /// A secret.
    Secret(fn(&mut Config, Secret<String>)),
    /// The path of a file that holds a secret of so many characters at least, and nothing else.
    SecretFile { least: usize, set: fn(&mut Config, Secret<String>) },
}

/// A word to choose, and what it does.
type Word = (&'static str, fn(&mut Config));

/// How TOML writes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    String,
    Integer,
    Boolean,
    Array,
}

impl Kind {
    /// Reads `text` and puts what it says into `config`. The error is the end of a sentence that says what to do; it
    /// never repeats a secret.
    pub(crate) fn apply(&self, config: &mut Config, text: &str) -> Result<(), String> {
        match self {
            Self::Text(set) => set(config, not_empty(text)?.to_owned()),
            Self::Path(set) => set(config, PathBuf::from(not_empty(text)?)),
            Self::Switch(set) => set(config, switch(text)?),
            Self::Number { least, most, set } => set(config, number(text, *least, *most)?),
            Self::Duration { least, set } => set(config, at_least(*least, text)?),
            Self::DurationOrOff { least, set } => set(config, at_least_or_zero(*least, text)?),
            Self::Choice(words) => choice(words, text)?(config),
            Self::Address(set) => set(config, address(text)?),
            Self::Domain(set) => set(config, domain(text)?),
            Self::Origin(set) => set(config, origin::parse(text)?),
            Self::Origins(set) => set(config, list(text, origin::parse_target)?),
            Self::Networks(set) => set(config, list(text, network)?),
            Self::DataKeys(set) => {
                set(
                    config,
                    list(text, |key| DataKey::parse(key).map_err(|why| format!("\"{key}\": {why}")))?,
                );
            }
            Self::Group(set) => set(config, group(text)?),
            Self::Audience(set) => set(config, audience(not_empty(text)?)?),
            Self::Audiences(set) => set(config, list(text, audience)?),
            Self::LogFilter(set) => set(config, log_filter(text)?),
            Self::Secret(set) => set(config, secret(text, SECRET_CHARACTERS)?),
            Self::SecretFile { least, set } => set(config, in_file(text, |line| secret(line, *least))?),
            Self::Postgres(set) => set(config, postgres(text)?),
            Self::PostgresFile(set) => set(config, in_file(text, postgres)?),
            Self::Redis(set) => set(config, redis(text)?),
            Self::RedisFile(set) => set(config, in_file(text, redis)?),
        }
        Ok(())
    }

    /// What may be written, in words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Text(_) => "text".to_owned(),
            Self::Path(_) => "a path, absolute or from the current folder on".to_owned(),
            Self::Switch(_) => "true or false".to_owned(),
            Self::Number { least, most, .. } => format!("a whole number from {least} to {most}"),
            Self::Duration { least, .. } => {
                format!("a duration such as 90s, 15m, 2h or 7d, at least {}", duration::write(*least))
            }
            Self::DurationOrOff { least, .. } => {
                format!("0s, or a duration such as 90s, 15m, 2h or 7d, at least {}", duration::write(*least))
            }
            Self::Choice(words) => one_of(words),
            Self::Address(_) => "an IP address and a port".to_owned(),
            Self::Domain(_) => "a domain".to_owned(),
            Self::Origin(_) => "an origin: scheme, host and port".to_owned(),
            Self::Origins(_) => "a list of origins (scheme, host and port)".to_owned(),
            Self::Networks(_) => "a list of networks or addresses".to_owned(),
            Self::DataKeys(_) => "a list of keys of session data".to_owned(),
            Self::Group(_) => "the name of a group of users".to_owned(),
            Self::Audience(_) => "an audience: printable ASCII without spaces, usually a URL".to_owned(),
            Self::Audiences(_) => "a list of audiences".to_owned(),
            Self::LogFilter(_) => "a level (error, warn, info, debug, trace) or a filter".to_owned(),
            Self::Secret(_) => format!("a secret of at least {SECRET_CHARACTERS} characters"),
            Self::Postgres(_) => "a URL such as postgres://user@host/database".to_owned(),
            Self::PostgresFile(_) => "the path of a file with the URL of a database".to_owned(),
            Self::Redis(_) => "a URL such as redis://host:6379".to_owned(),
            Self::RedisFile(_) => "the path of a file with the URL of Redis".to_owned(),
            Self::SecretFile { least, .. } => {
                format!("the path of a file with a secret of at least {least} characters")
            }
        }
    }

    /// How TOML writes it.
    pub(crate) const fn shape(&self) -> Shape {
        match self {
            Self::Switch(_) => Shape::Boolean,
            Self::Number { .. } => Shape::Integer,
            Self::Origins(_) | Self::Networks(_) | Self::DataKeys(_) | Self::Audiences(_) => Shape::Array,
            _ => Shape::String,
        }
    }

    /// Whether the value must not be shown.
    pub(crate) const fn is_secret(&self) -> bool {
        matches!(self, Self::Secret(_) | Self::Postgres(_) | Self::Redis(_))
    }

    /// `text` as TOML writes it.
    pub(crate) fn toml(&self, text: &str) -> String {
        match self.shape() {
            Shape::String => toml::Value::from(text).to_string(),
            Shape::Integer | Shape::Boolean => text.to_owned(),
            Shape::Array => toml::Value::Array(items(text).map(toml::Value::from).collect()).to_string(),
        }
    }
}

fn not_empty(text: &str) -> Result<&str, String> {
    match text.trim() {
        "" => Err("nothing is written there: give it a value, or remove it to get the default".to_owned()),
        text => Ok(text),
    }
}

fn group(text: &str) -> Result<GroupName, String> {
    GroupName::parse(not_empty(text)?).map_err(|why| format!("\"{text}\" names no group: {why}"))
}

fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("\"{text}\" is neither true nor false"))
}

fn number(text: &str, least: u32, most: u32) -> Result<u32, String> {
    let whole = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    match number {
        Some(number) if whole => Ok(number),
        _ if whole => Err(format!("{text} is out of range: write a whole number from {least} to {most}")),
        _ => Err(format!("\"{text}\" is not a whole number: write one from {least} to {most}")),
    }
}

fn at_least(least: Duration, text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text.trim())?;
    if duration < least {
        return Err(format!("{text} is too short: it must be at least {}", duration::write(least)));
    }
    Ok(duration)
}

fn at_least_or_zero(least: Duration, text: &str) -> Result<Duration, String> {
    match duration::parse(text.trim())? {
        Duration::ZERO => Ok(Duration::ZERO),
        _ => at_least(least, text),
    }
}

fn choice(words: &'static [Word], text: &str) -> Result<fn(&mut Config), String> {
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, set)| *set).ok_or_else(|| format!("\"{text}\" is not a choice: write {}", one_of(words)))
}

fn one_of(words: &[Word]) -> String {
    let words: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    words.join(" or ")
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.trim().parse().map_err(|_| {
        format!(
            "\"{text}\" is not an IP address with a port: write 127.0.0.1:8080 for this machine only, \
             0.0.0.0:8080 or [::]:8080 for all its addresses"
        )
    })
}

fn domain(text: &str) -> Result<String, String> {
    let wrong = || format!("\"{text}\" is not a domain with a dot inside: write one such as example.com");
    let (host, port) = host_and_port(text.trim()).ok_or_else(wrong)?;
    let is_address = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    if is_address || port.is_some() || !host.contains('.') { Err(wrong()) } else { Ok(host.into_owned()) }
}

fn network(text: &str) -> Result<IpNet, String> {
    text.parse().or_else(|_| text.parse().map(|address: std::net::IpAddr| IpNet::from(address))).map_err(
        |_| {
            format!(
                "\"{text}\" is not a network: write one such as 10.0.0.0/8 or fd00::/8, or a single address"
            )
        },
    )
}

fn log_filter(text: &str) -> Result<String, String> {
    let text = not_empty(text)?;
    logs::check_filter(text).map_err(|why| match why {
        LogsError::BadFilter { reason, .. } => format!("\"{text}\" is not a filter: {reason}"),
        other => other.to_string(),
    })?;
    Ok(text.to_owned())
}

fn audience(text: &str) -> Result<Audience, String> {
    text.parse().map_err(|why| format!("\"{text}\": {why}"))
}

fn secret(text: &str, least: usize) -> Result<Secret<String>, String> {
    let length = text.chars().count();
    if length < least {
        return Err(format!(
            "it has {length} characters, and needs at least {least}: make one with \
             `openssl rand -base64 32`"
        ));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("it has white space or control characters inside: make one with \
                    `openssl rand -base64 32`"
            .to_owned());
    }
    Ok(Secret::from(text))
}

/// Never repeats the URL, which may hold a password.
fn postgres(text: &str) -> Result<Secret<String>, String> {
    let url = not_empty(text)?;
    kerria_store::PostgresOptions::parse(url).map_err(|why| why.to_string())?;
    Ok(Secret::from(url))
}

/// Never repeats the URL, which may hold a password.
fn redis(text: &str) -> Result<Secret<String>, String> {
    let url = not_empty(text)?;
    kerria_store::RedisOptions::from_url(url).map_err(|why| why.to_string())?;
    Ok(Secret::from(url))
}

/// What is in a file, without the line end after it.
fn in_file(
    path: &str,
    read: impl FnOnce(&str) -> Result<Secret<String>, String>,
) -> Result<Secret<String>, String> {
    let path = not_empty(path)?;
    let content = fs::read_to_string(path)
        .map(Secret::new)
        .map_err(|why| format!("cannot read the file {path}: {why}; check its path and permissions"))?;
    let line = content.expose();
    let line = line.strip_suffix('\n').unwrap_or(line);
    read(line.strip_suffix('\r').unwrap_or(line)).map_err(|why| format!("in the file {path}: {why}"))
}

fn list<T>(text: &str, item: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    items(text).map(item).collect()
}

/// The items of a list as variables and flags write it: with commas between.
fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}
