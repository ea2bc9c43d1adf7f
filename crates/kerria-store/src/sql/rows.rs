//! How rows are asked for and read.

use std::{error::Error, net::IpAddr, str::FromStr};

use kerria_core::{
    CredentialVersion, Device, EmailAddress, Expiry, Grant, LogEntry, LogEvent, LogNumber, PasswordHash,
    Phase, Selector, Session, SessionId, Succession, Timestamp, TokenHash, TokenId, Transport, User, UserId,
    UserName,
    audit::AuditEntry,
    store::{Credentials, Found, SessionDetails, StoreError, Trouble},
};
use serde::de::{DeserializeOwned, IntoDeserializer, value};

use super::{Result, Row};

/// Selects sessions with the name of their user and the number of the last log entry, all of one instant.
macro_rules! select_sessions {
    ($($rest:literal),*) => {
        concat!(
            "SELECT s.id, s.user_id, s.transport, s.remembered, s.opened_at, s.last_seen_at, s.authenticated_at, \
             s.user_agent, s.address, coalesce(a.name, a.email), (SELECT number FROM log_counter), s.method, \
             s.client_id, s.scope, s.audience, s.token_hash, s.previous_hash, s.nonce, s.rotated_at, \
             s.expiry \
             FROM session s LEFT JOIN account a ON a.id = s.user_id ",
            $($rest),*
        )
    };
}
pub(super) use select_sessions;

pub(super) fn session(row: &dyn Row) -> Result<Session> {
    Ok(Session {
        id: session_id(row, 0)?,
        user: row.get::<Option<_>>(1)?.map(UserId::from_bytes),
        transport: word(row, 2)?,
        remembered: row.get(3)?,
        opened_at: instant(row, 4)?,
        last_seen_at: instant(row, 5)?,
        authenticated_at: instant(row, 6)?,
        place: device(row)?.place(),
        expiry: Expiry::from(row.get::<i64>(19)?),
    })
}

/// A session as it was found, unless that was by the token before its present one.
pub(super) fn found(row: &dyn Row) -> Result<Found> {
    let session = session(row)?;
    let other_token = previous(row)?;
    let succession = match other_token {
        Some(_) => succession(row, Phase::Unused, Phase::Present)?,
        None => Succession::first(session.authenticated_at),
    };
    found_as(row, session, succession, other_token)
}

/// A session as it was found by the token before its present one.
pub(super) fn found_by_previous(row: &dyn Row) -> Result<Found> {
    let succession = succession(row, Phase::Replaced, Phase::Outlived)?;
    found_as(row, session(row)?, succession, Some(TokenHash::from_bytes(row.get(15)?)))
}

/// A session as it was found by its handle.
pub(super) fn found_by_handle(row: &dyn Row) -> Result<Found> {
    let found = found(row)?;
    let present = Some(TokenHash::from_bytes(row.get(15)?));
    Ok(Found { other_token: present.filter(|_| found.session.transport != Transport::Tokens), ..found })
}

fn found_as(
    row: &dyn Row,
    session: Session,
    succession: Succession,
    other_token: Option<TokenHash>,
) -> Result<Found> {
    Ok(Found { session, user_name: row.get(9)?, as_of: number(row, 10)?, succession, other_token })
}

/// The session token before the present one. Refresh tokens are found by their sessions only.
fn previous(row: &dyn Row) -> Result<Option<TokenHash>> {
    let is_in_cookie = word::<Transport>(row, 2)? == Transport::Cookie;
    Ok(row.get::<Option<_>>(16)?.filter(|_| is_in_cookie).map(TokenHash::from_bytes))
}

/// One phase or the other, by whether the present token was used.
fn succession(row: &dyn Row, unused: Phase, used: Phase) -> Result<Succession> {
    let phase = if row.is_null(17)? { used } else { unused };
    Ok(Succession { phase, since: instant(row, 18)? })
}

pub(super) fn session_details(row: &dyn Row) -> Result<SessionDetails> {
    Ok(SessionDetails {
        session: session(row)?,
        token: TokenHash::from_bytes(row.get(15)?),
        previous: previous(row)?,
        user_name: row.get(9)?,
        method: optional(row, 11, word)?,
        device: device(row)?,
        client: optional(row, 12, text)?,
    })
}

/// What a selected session was opened for, if it is carried in tokens.
pub(super) fn grant(row: &dyn Row) -> Result<Option<Grant>> {
    optional(row, 12, |row, at| {
        Ok(Grant { client: text(row, at)?, scope: text(row, at + 1)?, audience: text(row, at + 2)? })
    })
}

fn device(row: &dyn Row) -> Result<Device> {
    Ok(Device { user_agent: row.get(7)?, address: parsed(row, 8, IpAddr::from_str)? })
}

pub(super) fn user(row: &dyn Row) -> Result<User> {
    Ok(User {
        id: UserId::from_bytes(row.get(0)?),
        name: optional(row, 1, |row, at| parsed(row, at, UserName::parse))?,
        email: optional(row, 2, |row, at| parsed(row, at, EmailAddress::parse))?,
        status: word(row, 3)?,
        created_at: instant(row, 4)?,
        last_sign_in_at: optional(row, 5, instant)?,
        groups: text(row, 6)?,
    })
}

pub(super) fn credentials(row: &dyn Row) -> Result<Credentials> {
    Ok(Credentials {
        user: UserId::from_bytes(row.get(0)?),
        status: word(row, 1)?,
        password: PasswordHash::new(row.get(2)?),
        version: version(row, 3)?,
    })
}

pub(super) fn log_entry(row: &dyn Row) -> Result<LogEntry> {
    let user = || row.get(3).map(UserId::from_bytes);
    let session = || session_id(row, 4);
    let selector = match row.text(2)? {
        "session" => Selector::Session { session: session()? },
        "user" => Selector::User { user: user()? },
        "user_except" => Selector::UserExcept { user: user()?, except: session()? },
        "token" => Selector::Token { token: token_id(row, 8)? },
        "client" => Selector::Client { client: text(row, 9)? },
        "everyone" => Selector::Everyone,
        unknown => {
            let reason = format!("{unknown:?} selects nothing that is known");
            return Err(StoreError::new(Trouble::Damaged, reason));
        }
    };
    let event = match optional(row, 5, word)? {
        Some(cause) => LogEvent::Ended { cause },
        None => LogEvent::Changed,
    };
    Ok(LogEntry { number: number(row, 0)?, at: instant(row, 1)?, selector, event })
}

pub(super) fn audit_entry(row: &dyn Row) -> Result<AuditEntry> {
    Ok(AuditEntry {
        at: instant(row, 0)?,
        event: word(row, 1)?,
        user: row.get::<Option<_>>(2)?.map(UserId::from_bytes),
        session: optional(row, 3, session_id)?,
        address: optional(row, 4, |row, at| parsed(row, at, IpAddr::from_str))?,
        detail: row.get(5)?,
    })
}

pub(super) fn session_id(row: &dyn Row, at: usize) -> Result<SessionId> {
    row.get(at).map(SessionId::from_bytes)
}

pub(super) fn token_id(row: &dyn Row, at: usize) -> Result<TokenId> {
    row.get(at).map(TokenId::from_bytes)
}

/// What is kept in the form in which it is written.
pub(super) fn text<T>(row: &dyn Row, at: usize) -> Result<T>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    parsed(row, at, T::from_str)
}

pub(super) fn instant(row: &dyn Row, at: usize) -> Result<Timestamp> {
    row.get(at).map(Timestamp::from_millis)
}

pub(super) fn number(row: &dyn Row, at: usize) -> Result<LogNumber> {
    row.get(at).map(LogNumber)
}

pub(super) fn version(row: &dyn Row, at: usize) -> Result<CredentialVersion> {
    row.get(at).map(CredentialVersion)
}

fn optional<T>(
    row: &dyn Row,
    at: usize,
    read: impl FnOnce(&dyn Row, usize) -> Result<T>,
) -> Result<Option<T>> {
    if row.is_null(at)? { Ok(None) } else { read(row, at).map(Some) }
}

/// A state or a cause, by the word that is stored.
pub(super) fn word<T: DeserializeOwned>(row: &dyn Row, at: usize) -> Result<T> {
    parsed(row, at, named)
}

/// What has this name.
pub(super) fn named<T: DeserializeOwned>(name: &str) -> Result<T, value::Error> {
    T::deserialize(name.into_deserializer())
}

pub(super) fn parsed<T, E: Error + Send + Sync + 'static>(
    row: &dyn Row,
    at: usize,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T> {
    parse(row.text(at)?).map_err(|error| StoreError::new(Trouble::Damaged, error))
}
