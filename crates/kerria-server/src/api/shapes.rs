//! The JSON shapes that several endpoints share.

use kerria::Checked;
use kerria_core::{
    Groups, LogNumber, Method, Session, SessionPolicy, Standing, Status, Timestamp, Transport, User, UserId,
    audit::{AuditEntry, AuditEvent},
    store::{Revoked, SessionDetails, Wait},
};
use serde::{Serialize, Serializer};

/// An instant in the form of RFC 3339, in UTC, with milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339(pub Timestamp);

impl Rfc3339 {
    /// Digit by digit: there are three instants in the answer to every check.
    fn write(self) -> [u8; 24] {
        let clamped = self.0.as_millis().clamp(-62_000_000_000_000, 253_000_000_000_000);
        let instant =
            jiff::Timestamp::from_millisecond(clamped).expect("clamped to the years that RFC 3339 can write");
        let utc = jiff::tz::Offset::UTC.to_datetime(instant);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        write_digits(&mut text[..4], utc.year().unsigned_abs());
        write_digits(&mut text[5..7], utc.month().unsigned_abs().into());
        write_digits(&mut text[8..10], utc.day().unsigned_abs().into());
        write_digits(&mut text[11..13], utc.hour().unsigned_abs().into());
        write_digits(&mut text[14..16], utc.minute().unsigned_abs().into());
        write_digits(&mut text[17..19], utc.second().unsigned_abs().into());
        write_digits(&mut text[20..23], utc.millisecond().unsigned_abs());
        text
    }
}

fn as_text(digits: &[u8]) -> &str {
    std::str::from_utf8(digits).expect("digits are ASCII")
}

fn write_digits(places: &mut [u8], mut number: u16) {
    for place in places.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

impl std::fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(as_text(&self.write()))
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(as_text(&self.write()))
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

    /// The shape of the session that a check has found.
    pub fn of(checked: &'a Checked) -> Self {
        Self::new(&checked.session, checked.user_name.as_deref(), checked.expires_at)
    }

    /// The same JSON that serde writes, in a fraction of the time: it is the answer to every check.
    pub fn to_json(&self) -> Vec<u8> {
        // More than it is long, but for the longest names.
        let mut json = Vec::with_capacity(512);
        let mut put = |piece: &[u8]| json.extend_from_slice(piece);
        put(br#"{"handle":""#);
        put(self.handle.write(&mut [0; 36]).as_bytes());
        match &self.user {
            None => put(br#"","user":null"#),
            Some(UserRef { id, name }) => {
                put(br#"","user":{"id":""#);
                put(id.write(&mut [0; 36]).as_bytes());
                put(br#"","name":"#);
                serde_json::to_writer(&mut json, name).expect("a vector takes everything");
                json.push(b'}');
            }
        }
        let mut put = |piece: &[u8]| json.extend_from_slice(piece);
        put(br#","transport":""#);
        put(self.transport.as_str().as_bytes());
        put(if self.remembered { br#"","remembered":true"# } else { br#"","remembered":false"# });
        put(br#","opened_at":""#);
        put(&self.opened_at.write());
        put(br#"","authenticated_at":""#);
        put(&self.authenticated_at.write());
        put(br#"","expires_at":""#);
        put(&self.expires_at.write());
        put(br#""}"#);
        json
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
    groups: Groups,
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
            groups: user.groups,
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
#[derive(Default, Serialize)]
pub struct Ended {
    /// The number of sessions.
    pub ended: u64,
    /// The number of the entry in the revocation log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<LogNumber>,
    /// For whom the answer waited, if that can be chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waited_for: Option<&'static str>,
    /// How long it took until no checker accepted it any more, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged_in_ms: Option<u64>,
    /// What people call the checkers whose leases had to run out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late: Option<Vec<String>>,
}

impl Ended {
    /// So many sessions, and nothing more to say.
    #[must_use]
    pub fn sessions(ended: u64) -> Self {
        Self { ended, ..Self::default() }
    }

    /// What an end came to that has waited for `wait`.
    #[must_use]
    pub fn of(revoked: Revoked, wait: Wait) -> Self {
        let (acknowledged_in_ms, late) = match revoked.acknowledged {
            Some(acknowledged) => {
                (u64::try_from(acknowledged.took.as_millis()).ok(), Some(acknowledged.late))
            }
            None => (None, None),
        };
        Self {
            ended: revoked.ended,
            number: Some(revoked.number),
            waited_for: Some(match wait {
                Wait::Store => "store",
                Wait::Checkers => "checkers",
            }),
            acknowledged_in_ms,
            late,
        }
    }
}

#[cfg(test)]
mod tests {
    use kerria_core::{Place, SessionId};

    use super::*;

    #[test]
    fn the_quick_json_is_that_of_serde() {
        let [user, nobody] = [Some(UserId::from_bytes([7; 16])), None];
        for (user, transport) in
            [(user, Transport::Cookie), (user, Transport::Bearer), (nobody, Transport::Cookie)]
        {
            let session = Session {
                id: SessionId::from_bytes([1; 16]),
                user,
                transport,
                remembered: transport == Transport::Bearer,
                opened_at: Timestamp::EPOCH,
                last_seen_at: Timestamp::from_millis(1),
                authenticated_at: Timestamp::from_millis(2),
                place: Place::default(),
                expiry: kerria_core::Expiry::BY_POLICY,
            };
            for name in ["alice", "\"quoted\\\"@example.org", "Zoë O'Neil", "\u{1}\u{2028}"] {
                let shape = SessionShape::new(&session, user.map(|_| name), Timestamp::from_millis(3));
                assert_eq!(shape.to_json(), serde_json::to_vec(&shape).unwrap());
            }
        }
    }

    #[test]
    fn instants_are_written_as_jiff_writes_them() {
        let edges = [-62_000_000_000_000, -1, 0, 1, 951_782_399_999, 951_782_400_000, 253_000_000_000_000];
        let steps = (0..100_000).map(|step| step * 40_000_003);
        for millis in edges.into_iter().chain(steps) {
            let jiff = jiff::Timestamp::from_millisecond(millis).unwrap();
            assert_eq!(Rfc3339(Timestamp::from_millis(millis)).to_string(), format!("{jiff:.3}"));
        }
        assert_eq!(Rfc3339(Timestamp::from_millis(i64::MIN)).to_string().len(), 24);
    }
}
