//! Slowing down those who guess.
//!
//! An attempt goes through one or more *doors*: the account's, the network's, or, from a device that its user has
//! signed in from before, the door of that device alone. It is counted before the password is looked at, so that a
//! thousand parallel guesses are counted exactly, and taken back if it succeeds.

use std::time::Duration;

use crate::time::Timestamp;

/// How a door slows down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleRule {
    /// Attempts that may fail without any delay.
    pub free: u32,
    /// The delay after the next one. Each further failure doubles it.
    pub delay: Duration,
    /// The longest delay.
    pub longest: Duration,
    /// With this many failures the door is closed until they are forgotten (NIST SP 800-63B-4, section 3.2.2: at most
    /// 100 consecutive failures for one account).
    pub closes_after: u32,
    /// Without a failure for this long, all are forgotten.
    pub forget_after: Duration,
}

/// What is known of a door.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DoorState {
    /// Attempts that failed, or whose outcome is not known yet.
    pub failures: u32,
    /// When the last attempt went through.
    pub last_attempt: Option<Timestamp>,
}

/// What a door is called in the store, and how it slows down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// A name that is unique over all doors and says nothing about a password.
    pub name: String,
    /// Its rule.
    pub rule: ThrottleRule,
}

/// Whether an attempt may go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may, and has been counted.
    Admitted,
    /// It may not before `retry_at`, and has not been counted.
    Throttled {
        /// When the next attempt may go through.
        retry_at: Timestamp,
    },
}

impl DoorState {
    /// This state at `now`, with what is old enough forgotten.
    #[must_use]
    pub fn at(self, rule: &ThrottleRule, now: Timestamp) -> Self {
        match self.last_attempt {
            Some(last) if now.since(last) < rule.forget_after => self,
            _ => Self::default(),
        }
    }

    /// When the next attempt may go through.
    #[must_use]
    pub fn opens_at(&self, rule: &ThrottleRule) -> Timestamp {
        let Some(last) = self.last_attempt.filter(|_| self.failures > 0) else { return Timestamp::EPOCH };
        let delay = if self.failures >= rule.closes_after {
            rule.forget_after
        } else {
            match self.failures.checked_sub(rule.free) {
                None => Duration::ZERO,
                Some(beyond) => rule.delay.saturating_mul(2u32.saturating_pow(beyond)).min(rule.longest),
            }
        };
        if delay.is_zero() { Timestamp::EPOCH } else { last + delay }
    }

    /// This state after one more attempt at `now`.
    #[must_use]
    pub fn with_attempt(self, now: Timestamp) -> Self {
        Self { failures: self.failures.saturating_add(1), last_attempt: Some(now) }
    }

    /// This state after an attempt turned out not to be a guess.
    #[must_use]
    pub fn with_attempt_taken_back(self) -> Self {
        Self { failures: self.failures.saturating_sub(1), ..self }
    }
}

/// Whether an attempt may go through all of these doors at `now`.
pub fn admit<'a>(
    doors: impl IntoIterator<Item = (&'a ThrottleRule, DoorState)>,
    now: Timestamp,
) -> Admission {
    let opens = doors.into_iter().map(|(rule, state)| state.at(rule, now).opens_at(rule)).max();
    match opens {
        Some(retry_at) if retry_at > now => Admission::Throttled { retry_at },
        _ => Admission::Admitted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: ThrottleRule = ThrottleRule {
        free: 3,
        delay: Duration::from_secs(1),
        longest: Duration::from_secs(10),
        closes_after: 12,
        forget_after: Duration::from_secs(3_600),
    };

    fn after(failures: u32) -> DoorState {
        DoorState { failures, last_attempt: Some(Timestamp::EPOCH) }
    }

    fn delay(failures: u32) -> u64 {
        after(failures).opens_at(&RULE).since(Timestamp::EPOCH).as_secs()
    }

    #[test]
    fn the_delay_doubles_up_to_the_longest_and_then_the_door_closes() {
        assert_eq!((0..=12).map(delay).collect::<Vec<_>>(), [0, 0, 0, 1, 2, 4, 8, 10, 10, 10, 10, 10, 3_600]);
        assert_eq!(delay(u32::MAX), 3_600);
    }

    #[test]
    fn failures_are_forgotten_after_a_quiet_time() {
        let later = Timestamp::EPOCH + RULE.forget_after;
        assert_eq!(admit([(&RULE, after(12))], later), Admission::Admitted);
        assert_eq!(
            admit([(&RULE, after(12))], later - Duration::from_millis(1)),
            Admission::Throttled { retry_at: later }
        );
    }

    #[test]
    fn the_slowest_door_decides() {
        let now = Timestamp::EPOCH + Duration::from_secs(1);
        assert_eq!(admit([(&RULE, after(0)), (&RULE, after(3))], now), Admission::Admitted);
        assert_eq!(
            admit([(&RULE, after(4)), (&RULE, after(0))], now),
            Admission::Throttled { retry_at: Timestamp::EPOCH + Duration::from_secs(2) }
        );
        assert_eq!(admit([], now), Admission::Admitted);
    }
}
