//! A session as it is kept.
//!
//! A record begins with what the scripts have to find in it, at fixed places: a version, whether it is remembered, whether there
//! are a user and a token before, and its transport, one character each; its token, the user, the token before. JSON follows. When
//! the session was last used is not in it: that is kept in an order, and changes nothing that a step has decided.

use std::net::IpAddr;

use kerria_core::{
    Device, Expiry, Grant, LogNumber, Method, Phase, RotationNonce, Session, SessionId, Succession,
    Timestamp, TokenHash, Transport, UserId,
    store::{Found, NewSession, SessionDetails, StoreError},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::errors::damaged;
use crate::sql::Result;

/// The form in which records are written.
const VERSION: u8 = b'1';

/// A session with all that is kept of it.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) session: Session,
    pub(super) token: TokenHash,
    pub(super) previous: Option<TokenHash>,
    pub(super) nonce: Option<RotationNonce>,
    pub(super) rotated_at: Option<Timestamp>,
    pub(super) method: Option<Method>,
    pub(super) device: Device,
    pub(super) grant: Option<Grant>,
}

/// The part of a record that only we read. Short names, because there are millions of it.
#[derive(Serialize, Deserialize)]
struct Rest {
    o: Timestamp,
    a: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    m: Option<Method>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    ua: String,
    ip: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<[u8; 32]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    r: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Expiry::is_by_policy")]
    e: Expiry,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    audience: Option<String>,
}

impl Kept {
    /// A session to be, for somebody or for nobody.
    pub(super) fn new(new: &NewSession, user: Option<(UserId, Method)>, grant: Option<&Grant>) -> Self {
        Self {
            session: Session {
                id: new.id,
                user: user.map(|(user, _)| user),
                transport: new.transport,
                remembered: new.remembered,
                opened_at: new.now,
                last_seen_at: new.now,
                authenticated_at: new.now,
                place: new.device.place(),
                expiry: Expiry::BY_POLICY,
            },
            token: new.token,
            previous: None,
            nonce: None,
            rotated_at: None,
            method: user.map(|(_, method)| method),
            device: new.device.clone(),
            grant: grant.cloned(),
        }
    }

    /// As it is written.
    pub(super) fn record(&self) -> Result<Vec<u8>> {
        let Session { user, transport, remembered, .. } = self.session;
        let transport = match transport {
            Transport::Cookie => b'c',
            Transport::Bearer => b'b',
            Transport::Tokens => b't',
        };
        let is = |yes| if yes { b'1' } else { b'0' };
        let mut record =
            vec![VERSION, is(remembered), is(user.is_some()), is(self.previous.is_some()), transport];
        record.extend_from_slice(self.token.as_bytes());
        record.extend(user.iter().flat_map(UserId::as_bytes));
        record.extend(self.previous.iter().flat_map(TokenHash::as_bytes));
        let rest = Rest {
            o: self.session.opened_at,
            a: self.session.authenticated_at,
            m: self.method,
            ua: self.device.user_agent.clone(),
            ip: self.device.address,
            n: self.nonce.map(|nonce| *nonce.as_bytes()),
            r: self.rotated_at,
            e: self.session.expiry,
            client: self.grant.as_ref().map(|grant| grant.client.to_string()),
            scope: self.grant.as_ref().map(|grant| grant.scope.to_string()),
            audience: self.grant.as_ref().map(|grant| grant.audience.to_string()),
        };
        serde_json::to_writer(&mut record, &rest).map_err(damaged)?;
        Ok(record)
    }

    /// Reads a record.
    pub(super) fn read(id: SessionId, record: &[u8], last_seen_at: Timestamp) -> Result<Self> {
        let mut reader = Reader(record);
        let [version, remembered, has_user, has_previous, transport] = *reader.take::<5>()?;
        if version != VERSION {
            return Err(damaged("a session was written by a newer version of the program"));
        }
        let transport = match transport {
            b'c' => Transport::Cookie,
            b'b' => Transport::Bearer,
            b't' => Transport::Tokens,
            _ => return Err(damaged("a session has no transport that is known")),
        };
        let token = TokenHash::from_bytes(*reader.take()?);
        let user = if has_user == b'1' { Some(UserId::from_bytes(*reader.take()?)) } else { None };
        let previous = if has_previous == b'1' { Some(TokenHash::from_bytes(*reader.take()?)) } else { None };
        let rest: Rest = serde_json::from_slice(reader.0).map_err(damaged)?;
        let device = Device { user_agent: rest.ua, address: rest.ip };
        let grant = match (rest.client, rest.scope, rest.audience) {
            (Some(client), Some(scope), Some(audience)) => Some(Grant {
                client: client.parse().map_err(damaged)?,
                scope: scope.parse().map_err(damaged)?,
                audience: audience.parse().map_err(damaged)?,
            }),
            _ => None,
        };
        Ok(Self {
            session: Session {
                id,
                user,
                transport,
                remembered: remembered == b'1',
                opened_at: rest.o,
                last_seen_at,
                authenticated_at: rest.a,
                place: device.place(),
                expiry: rest.e,
            },
            token,
            previous,
            nonce: rest.n.map(RotationNonce::from_bytes),
            rotated_at: rest.r,
            method: rest.m,
            device,
            grant,
        })
    }

    /// The session token before the present one. Refresh tokens are found by their sessions only.
    pub(super) fn previous_session_token(&self) -> Option<TokenHash> {
        self.previous.filter(|_| self.session.transport == Transport::Cookie)
    }

    /// The session as it is found, unless that is by the token before its present one.
    pub(super) fn found(&self, as_of: LogNumber) -> Found {
        let other_token = self.previous_session_token();
        let succession = match other_token {
            Some(_) => self.succession(Phase::Unused, Phase::Present),
            None => Succession::first(self.session.authenticated_at),
        };
        Found { session: self.session, user_name: None, as_of, succession, other_token }
    }

    /// The session as its handle finds it.
    pub(super) fn found_by_handle(&self, as_of: LogNumber) -> Found {
        let present = Some(self.token).filter(|_| self.session.transport != Transport::Tokens);
        Found { other_token: present, ..self.found(as_of) }
    }

    /// The session as a session token finds it, if it carries it.
    pub(super) fn found_by(&self, token: &TokenHash, as_of: LogNumber) -> Option<Found> {
        if self.token == *token && self.session.transport != Transport::Tokens {
            return Some(self.found(as_of));
        }
        self.previous_session_token().filter(|previous| previous == token)?;
        let succession = self.succession(Phase::Replaced, Phase::Outlived);
        Some(Found {
            session: self.session,
            user_name: None,
            as_of,
            succession,
            other_token: Some(self.token),
        })
    }

    /// Whether this is its present token, or its session token before.
    pub(super) fn is_carried_by(&self, token: &TokenHash) -> bool {
        self.token == *token || self.previous_session_token() == Some(*token)
    }

    /// One phase or the other, by whether the present token was used.
    fn succession(&self, unused: Phase, used: Phase) -> Succession {
        let phase = if self.nonce.is_none() { used } else { unused };
        Succession { phase, since: self.rotated_at.unwrap_or(self.session.authenticated_at) }
    }

    pub(super) fn details(self) -> SessionDetails {
        SessionDetails {
            session: self.session,
            token: self.token,
            previous: self.previous_session_token(),
            user_name: None,
            method: self.method,
            device: self.device,
            client: self.grant.map(|grant| grant.client),
        }
    }
}

/// Takes one piece after the other.
struct Reader<'r>(&'r [u8]);

impl<'r> Reader<'r> {
    fn take<const N: usize>(&mut self) -> Result<&'r [u8; N], StoreError> {
        let (piece, rest) =
            self.0.split_first_chunk().ok_or_else(|| damaged("the record of a session is cut off"))?;
        self.0 = rest;
        Ok(piece)
    }
}

/// Reads JSON that we have written.
pub(super) fn json<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(transport: Transport) -> Kept {
        let new = NewSession {
            id: SessionId::from_bytes([1; 16]),
            token: TokenHash::from_bytes([2; 32]),
            transport,
            remembered: true,
            device: Device::new("Firefox", [192, 0, 2, 1].into()),
            now: Timestamp::from_millis(1_800_000_000_000),
        };
        Kept::new(&new, None, None)
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut full = kept(Transport::Tokens);
        full.session.user = Some(UserId::from_bytes([3; 16]));
        full.method = Some(Method::Password);
        full.previous = Some(TokenHash::from_bytes([4; 32]));
        full.nonce = Some(RotationNonce::from_bytes([5; 32]));
        full.rotated_at = Some(Timestamp::from_millis(7));
        full.session.expiry = Expiry::at(Timestamp::from_millis(8));
        let (client, scope) = ("app".parse().unwrap(), "openid".parse().unwrap());
        full.grant = Some(Grant { client, scope, audience: "https://api.example.com".parse().unwrap() });
        for kept in [kept(Transport::Cookie), kept(Transport::Bearer), full] {
            let (id, seen) = (kept.session.id, kept.session.last_seen_at);
            let read = Kept::read(id, &kept.record().unwrap(), seen).unwrap();
            assert_eq!(format!("{read:?}"), format!("{kept:?}"));
        }
    }

    #[test]
    fn a_record_that_is_cut_off_or_newer_is_damage() {
        let record = kept(Transport::Cookie).record().unwrap();
        let read = |record: &[u8]| Kept::read(SessionId::from_bytes([1; 16]), record, Timestamp::EPOCH);
        for end in 0..record.len() {
            assert!(read(&record[..end]).is_err());
        }
        let newer = [b"2", &record[1..]].concat();
        assert!(read(&newer).is_err());
    }
}
