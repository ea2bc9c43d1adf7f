//! The JSON shapes that several endpoints share.

use kerria_core::{
    LogNumber, Method, Session, SessionPolicy, Standing, Status, Timestamp, Transport, User, UserId,
    audit::{AuditEntry, AuditEvent},
    store::SessionDetails,
};
use serde::{Serialize, Serializer};

/// An instant in the form of RFC 3339, in UTC, with milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339(pub Timestamp);

impl std::fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let clamped = self.0.as_millis().clamp(-62_000_000_000_000, 253_000_000_000_000);
        let instant =
            jiff::Timestamp::from_millisecond(clamped).expect("clamped to the years that RFC 3339 can write");
        write!(f, "{instant:.3}")
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A session as its own client sees it.
#[derive(Serialize)]
pub struct SessionShape<'a> {
    handle: kerria_core::SessionId,
    user: Option<UserRef<'a>>,
    transport: Transport,
    remembered: bool,
    opened_at: Rfc3339,
    authenticated_at: Rfc3339,
    expires_at: Rfc3339,
}

/// A user, in short.
#[derive(Serialize)]
pub struct UserRef<'a> {
    id: UserId,
    name: &'a str,
}

impl<'a> SessionShape<'a> {
    /// The shape of `session`, which is over at `expires_at` if it is not used again.
    pub fn new(session: &Session, user_name: Option<&'a str>, expires_at: Timestamp) -> Self {
        Self {
            handle: session.id,
            user: session.user.map(|id| UserRef { id, name: user_name.unwrap_or_default() }),
            transport: session.transport,
            remembered: session.remembered,
            opened_at: Rfc3339(session.opened_at),
            authenticated_at: Rfc3339(session.authenticated_at),
            expires_at: Rfc3339(expires_at),
        }
    }
}

/// A session as it stands in a list.
#[derive(Serialize)]
pub struct ListedSession {
    handle: kerria_core::SessionId,
    user: Option<ListedUser>,
    transport: Transport,
    remembered: bool,
    method: Option<Method>,
    opened_at: Rfc3339,
    last_seen_at: Rfc3339,
    authenticated_at: Rfc3339,
    expires_at: Rfc3339,
    device: String,
    address: std::net::IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<bool>,
}

#[derive(Serialize)]
struct ListedUser {
    id: UserId,
    name: String,
}

impl ListedSession {
    /// The shape of a session that still counts; `None` for one that is over.
    pub fn of(details: &SessionDetails, policy: &SessionPolicy, now: Timestamp) -> Option<Self> {
        let session = &details.session;
        let Standing::Active { expires_at } = policy.standing(session, now) else { return None };
        Some(Self {
            handle: session.id,
            user: session.user.map(|id| ListedUser {
                id,
                name: details.user_name.as_deref().unwrap_or_default().to_owned(),
            }),
            transport: session.transport,
            remembered: session.remembered,
            method: details.method,
            opened_at: Rfc3339(session.opened_at),
            last_seen_at: Rfc3339(session.last_seen_at),
            authenticated_at: Rfc3339(session.authenticated_at),
            expires_at: Rfc3339(expires_at),
            device: details.device.in_words(),
            address: details.device.address,
            current: None,
        })
    }

    /// The same, saying whether it is the session of the one who asks.
    #[must_use]
    pub fn with_current(mut self, current: kerria_core::SessionId) -> Self {
        self.current = Some(self.handle == current);
        self
    }
}

/// A user.
#[derive(Serialize)]
pub struct UserShape {
    id: UserId,
    name: Option<String>,
    email: Option<String>,
    status: Status,
    created_at: Rfc3339,
    last_sign_in_at: Option<Rfc3339>,
}

impl From<User> for UserShape {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            name: user.name.map(|name| name.as_str().to_owned()),
            email: user.email.map(|email| email.as_str().to_owned()),
            status: user.status,
            created_at: Rfc3339(user.created_at),
            last_sign_in_at: user.last_sign_in_at.map(Rfc3339),
        }
    }
}

/// A line of the audit log.
#[derive(Serialize)]
pub struct AuditShape {
    at: Rfc3339,
    event: AuditEvent,
    user: Option<UserId>,
    session: Option<kerria_core::SessionId>,
    address: Option<std::net::IpAddr>,
    detail: String,
}

impl From<AuditEntry> for AuditShape {
    fn from(entry: AuditEntry) -> Self {
        Self {
            at: Rfc3339(entry.at),
            event: entry.event,
            user: entry.user,
            session: entry.session,
            address: entry.address,
            detail: entry.detail,
        }
    }
}

/// How many sessions ended.
#[derive(Serialize)]
pub struct Ended {
    /// The number of sessions.
    pub ended: u64,
    /// The number of the entry in the revocation log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<LogNumber>,
}
