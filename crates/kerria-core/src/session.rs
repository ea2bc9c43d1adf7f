//! A session: what a check has to know about it.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    device::Place,
    id::{SessionId, UserId},
    time::Timestamp,
};

/// One session. Small, because a checker keeps millions of them in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The handle.
    pub id: SessionId,
    /// Who is signed in; nobody in an anonymous session, which exists only because data was put into it.
    pub user: Option<UserId>,
    /// How the client carries the token.
    pub transport: Transport,
    /// Whether the user asked to stay signed in on this device.
    pub remembered: bool,
    /// When it was opened. The absolute lifetime counts from here.
    pub opened_at: Timestamp,
    /// When it was last used. The idle time counts from here.
    pub last_seen_at: Timestamp,
    /// When the user last proved who they are: at sign-in, or later in a step-up.
    pub authenticated_at: Timestamp,
    /// From where it was opened.
    pub place: Place,
    /// When it is to be over, if the policy does not end it sooner.
    pub expiry: Expiry,
}

/// When a session is to be over, if the policy does not end it sooner: at an instant, or when it was not used for so long, in whole
/// seconds. Without either, by the policy alone.
///
/// Four bytes, which fit between the others: 0 for neither, or the seconds; with the highest bit those without use, and without it
/// those since 2020.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "i64", into = "i64")]
pub struct Expiry(u32);

const IDLE: u32 = 1 << 31;
const MOST: u32 = IDLE - 1;
const SINCE: Timestamp = Timestamp::from_millis(1_577_836_800_000);

impl Expiry {
    /// By the policy alone.
    pub const BY_POLICY: Self = Self(0);

    /// At this instant.
    #[must_use]
    pub fn at(instant: Timestamp) -> Self {
        Self(seconds(instant.since(SINCE)))
    }

    /// After this time without use.
    #[must_use]
    pub fn on_inactivity(idle: Duration) -> Self {
        Self(IDLE | seconds(idle))
    }

    /// The instant, if it is one.
    #[must_use]
    pub fn instant(self) -> Option<Timestamp> {
        (1..=MOST).contains(&self.0).then(|| SINCE + Duration::from_secs(self.0.into()))
    }

    /// The idle time, if it is one.
    #[must_use]
    pub fn idle(self) -> Option<Duration> {
        (self.0 >= IDLE).then(|| Duration::from_secs((self.0 & MOST).into()))
    }

    /// Whether it is by the policy alone.
    #[must_use]
    pub fn is_by_policy(&self) -> bool {
        *self == Self::BY_POLICY
    }
}

/// At least one, and at most those of 68 years.
fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(MOST).clamp(1, MOST)
}

/// As it is kept: 0 for neither, the instant in milliseconds, or the idle time in negative ones.
impl From<Expiry> for i64 {
    fn from(expiry: Expiry) -> Self {
        match (expiry.instant(), expiry.idle()) {
            (Some(instant), _) => instant.as_millis(),
            (_, Some(idle)) => -Self::try_from(idle.as_millis()).unwrap_or(Self::MAX),
            (None, None) => 0,
        }
    }
}

impl From<i64> for Expiry {
    fn from(kept: i64) -> Self {
        match kept {
            0 => Self::BY_POLICY,
            1.. => Self::at(Timestamp::from_millis(kept)),
            _ => Self::on_inactivity(Duration::from_millis(kept.unsigned_abs())),
        }
    }
}

impl fmt::Debug for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.instant(), self.idle()) {
            (Some(instant), _) => write!(f, "Expiry::at({instant:?})"),
            (_, Some(idle)) => write!(f, "Expiry::on_inactivity({idle:?})"),
            (None, None) => f.write_str("Expiry::BY_POLICY"),
        }
    }
}

/// How a client carries a session token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// In a cookie that scripts cannot read.
    Cookie,
    /// In the `Authorization` header, as a bearer token (RFC 6750, section 2.1).
    Bearer,
    /// As a refresh token that buys access tokens (RFC 6749, section 1.5).
    Tokens,
}

impl Transport {
    /// The word that is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cookie => "cookie",
            Self::Bearer => "bearer",
            Self::Tokens => "tokens",
        }
    }
}

/// How a user proved who they are (the `amr` of RFC 8176 in Kerria's words).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// With a password.
    Password,
    /// By the one-time link of an invitation, choosing a password on the way.
    Invitation,
    /// By signing up.
    SignUp,
    /// In a way that is the application's own: it keeps its users itself.
    Application,
}

impl Method {
    /// The word that is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Invitation => "invitation",
            Self::SignUp => "sign_up",
            Self::Application => "application",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_kept_and_read_as_it_is_in_whole_seconds() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        for (expiry, kept) in [
            (Expiry::BY_POLICY, 0),
            (Expiry::at(now), 1_800_000_000_000),
            (Expiry::at(now + Duration::from_millis(999)), 1_800_000_000_000),
            (Expiry::on_inactivity(Duration::from_secs(90)), -90_000),
            (Expiry::on_inactivity(Duration::ZERO), -1_000),
            // Long ago, and never in our time.
            (Expiry::at(Timestamp::EPOCH), 1_577_836_801_000),
            (Expiry::at(now + Duration::from_secs(1 << 40)), 1_577_836_800_000 + 2_147_483_647_000),
            (Expiry::on_inactivity(Duration::MAX), -2_147_483_647_000),
        ] {
            assert_eq!(i64::from(expiry), kept, "{expiry:?}");
            assert_eq!(Expiry::from(kept), expiry);
        }
        assert_eq!(Expiry::at(now).instant(), Some(now));
        assert_eq!(
            (Expiry::at(now).idle(), Expiry::BY_POLICY.idle(), Expiry::BY_POLICY.instant()),
            (None, None, None)
        );
    }
}
