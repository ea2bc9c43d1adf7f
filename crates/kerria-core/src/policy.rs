//! How long a session lasts, and whether it still counts.

use std::time::Duration;

use crate::{session::Session, time::Timestamp};

/// The two limits of a session's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Without use for this long, it is over. Every use moves this limit on ("rolling").
    pub idle: Duration,
    /// After this long it is over whatever was done with it. Nothing moves this limit.
    pub absolute: Duration,
}

/// How long sessions last.
///
/// The defaults follow NIST SP 800-63B-4, section 2.1.3 (at most 30 days over all) and OWASP ASVS 5, 7.3.1 and 7.3.2
/// (both an inactivity and an absolute limit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionPolicy {
    /// Of a session that ends with the browser, and of an anonymous one.
    pub ordinary: Lifetimes,
    /// Of a session whose user asked to stay signed in.
    pub remembered: Lifetimes,
}

impl Default for SessionPolicy {
    fn default() -> Self {
        const HOUR: u64 = 60 * 60;
        const DAY: u64 = 24 * HOUR;
        Self {
            ordinary: Lifetimes {
                idle: Duration::from_secs(2 * HOUR),
                absolute: Duration::from_secs(12 * HOUR),
            },
            remembered: Lifetimes {
                idle: Duration::from_secs(7 * DAY),
                absolute: Duration::from_secs(30 * DAY),
            },
        }
    }
}

/// Whether a session still counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It counts, and would until `expires_at` if it were never used again.
    Active {
        /// The nearer of its two limits.
        expires_at: Timestamp,
    },
    /// It was not used for too long.
    Idle,
    /// Its absolute lifetime is over.
    Expired,
    /// It was ended.
    Revoked,
}

impl SessionPolicy {
    /// The limits that hold for a remembered or an ordinary session.
    #[must_use]
    pub const fn lifetimes(&self, remembered: bool) -> Lifetimes {
        if remembered { self.remembered } else { self.ordinary }
    }

    /// When `session` is over whatever is done with it.
    #[must_use]
    pub fn absolute_end(&self, session: &Session) -> Timestamp {
        let end = session.opened_at + self.lifetimes(session.remembered).absolute;
        session.expiry.instant().map_or(end, |own| own.min(end))
    }

    /// Whether `session` counts at `now`, as far as time decides it. A limit is over at its very instant.
    #[must_use]
    pub fn standing(&self, session: &Session, now: Timestamp) -> Standing {
        let absolute_end = self.absolute_end(session);
        let idle = self.lifetimes(session.remembered).idle;
        let idle_end = session.last_seen_at + session.expiry.idle().map_or(idle, |own| own.min(idle));
        if now >= absolute_end {
            Standing::Expired
        } else if now >= idle_end {
            Standing::Idle
        } else {
            Standing::Active { expires_at: idle_end.min(absolute_end) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        device::Place,
        id::SessionId,
        session::{Expiry, Transport},
    };

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn policy() -> SessionPolicy {
        let lifetimes = |idle, absolute| Lifetimes {
            idle: Duration::from_secs(idle),
            absolute: Duration::from_secs(absolute),
        };
        SessionPolicy { ordinary: lifetimes(10, 25), remembered: lifetimes(100, 250) }
    }

    fn session(remembered: bool, last_seen_after: u64) -> Session {
        Session {
            id: SessionId::from_bytes([1; 16]),
            user: None,
            transport: Transport::Cookie,
            remembered,
            opened_at: START,
            last_seen_at: START + Duration::from_secs(last_seen_after),
            authenticated_at: START,
            place: Place::default(),
            expiry: Expiry::BY_POLICY,
        }
    }

    fn at(seconds: u64) -> Timestamp {
        START + Duration::from_secs(seconds)
    }

    #[test]
    fn an_unused_session_is_over_after_its_idle_time() {
        let policy = policy();
        assert_eq!(policy.standing(&session(false, 0), at(9)), Standing::Active { expires_at: at(10) });
        assert_eq!(policy.standing(&session(false, 0), at(10)), Standing::Idle);
    }

    #[test]
    fn use_moves_the_idle_limit_but_never_past_the_absolute_one() {
        let policy = policy();
        assert_eq!(policy.standing(&session(false, 9), at(15)), Standing::Active { expires_at: at(19) });
        assert_eq!(policy.standing(&session(false, 20), at(24)), Standing::Active { expires_at: at(25) });
        assert_eq!(policy.standing(&session(false, 24), at(25)), Standing::Expired);
    }

    #[test]
    fn a_remembered_session_has_limits_of_its_own() {
        assert_eq!(policy().standing(&session(true, 0), at(50)), Standing::Active { expires_at: at(100) });
    }

    #[test]
    fn a_session_may_be_over_sooner_than_the_policy_says_and_never_later() {
        let policy = policy();
        let standing = |expiry, seconds| {
            let session = Session { expiry, ..session(false, 5) };
            match policy.standing(&session, at(seconds)) {
                Standing::Active { expires_at } => Ok(expires_at),
                over => Err(over),
            }
        };
        assert_eq!(standing(Expiry::on_inactivity(Duration::from_secs(3)), 7), Ok(at(8)));
        assert_eq!(standing(Expiry::on_inactivity(Duration::from_secs(3)), 8), Err(Standing::Idle));
        assert_eq!(standing(Expiry::on_inactivity(Duration::from_secs(11)), 14), Ok(at(15)));
        assert_eq!(standing(Expiry::on_inactivity(Duration::from_secs(11)), 15), Err(Standing::Idle));
        assert_eq!(standing(Expiry::on_inactivity(Duration::ZERO), 5 + 1), Err(Standing::Idle));
        assert_eq!(standing(Expiry::at(at(12)), 11), Ok(at(12)));
        assert_eq!(standing(Expiry::at(at(12)), 12), Err(Standing::Expired));
        assert_eq!(standing(Expiry::at(at(26)), 14), Ok(at(15)));
        assert_eq!(standing(Expiry::at(Timestamp::EPOCH), 5), Err(Standing::Expired));
    }

    #[test]
    fn a_clock_that_went_back_ends_nothing() {
        let before = START - Duration::from_secs(3_600);
        assert!(matches!(policy().standing(&session(false, 0), before), Standing::Active { .. }));
    }
}
