//! What happened, and whether it may have.

use std::{collections::HashMap, fmt, ops::AddAssign};

use kerria_core::SessionId;

/// True time, in microseconds since the start of the schedule. Nobody in the schedule can see it.
pub(super) type Time = u64;

/// What was acknowledged, and what was accepted.
#[derive(Default)]
pub(super) struct History {
    /// Since when the end of a session is acknowledged.
    acknowledged: HashMap<SessionId, Time>,
    pub(super) violation: Option<Violation>,
    pub(super) tally: Tally,
}

/// Somebody was let in after their end was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The schedule in which it happened.
    pub(crate) seed: u64,
    session: SessionId,
    acknowledged: Time,
    sent: Time,
    accepted: Time,
}

/// How often what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) schedules: u64,
    pub(crate) accepted_from_memory: u64,
    pub(crate) accepted_from_store: u64,
    pub(crate) refused: u64,
    /// The lease had run out, and the store was asked.
    pub(crate) without_lease: u64,
    pub(crate) acknowledged: u64,
    /// Of these, after the leases of some had run out.
    pub(crate) waited_out: u64,
    pub(crate) started_over: u64,
    pub(crate) forgotten: u64,
    pub(crate) lives_settled: u64,
    pub(crate) crashes: u64,
    pub(crate) pauses: u64,
}

impl History {
    pub(super) fn acknowledged(&mut self, sessions: &[SessionId], now: Time) {
        self.tally.acknowledged += 1;
        for session in sessions {
            self.acknowledged.entry(*session).or_insert(now);
        }
    }

    /// A request that was sent at `sent` is let in.
    pub(super) fn accepted(&mut self, seed: u64, session: SessionId, sent: Time, now: Time) {
        let Some(acknowledged) = self.acknowledged.get(&session).copied() else { return };
        if acknowledged <= sent && self.violation.is_none() {
            self.violation = Some(Violation { seed, session, acknowledged, sent, accepted: now });
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.accepted_from_memory += other.accepted_from_memory;
        self.accepted_from_store += other.accepted_from_store;
        self.refused += other.refused;
        self.without_lease += other.without_lease;
        self.acknowledged += other.acknowledged;
        self.waited_out += other.waited_out;
        self.started_over += other.started_over;
        self.forgotten += other.forgotten;
        self.lives_settled += other.lives_settled;
        self.crashes += other.crashes;
        self.pauses += other.pauses;
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "schedule {}: session {} was ended, which was acknowledged after {} µs; a request sent after {} µs was \
             accepted after {} µs. Play it again with --first {} --schedules 1",
            self.seed, self.session, self.acknowledged, self.sent, self.accepted, self.seed
        )
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} schedules, and nobody accepted what was ended:", self.schedules)?;
        for (count, what) in [
            (self.accepted_from_memory, "requests accepted from memory"),
            (self.accepted_from_store, "accepted after asking the store"),
            (self.refused, "refused"),
            (self.without_lease, "asked of the store because the lease had run out"),
            (self.acknowledged, "ends acknowledged"),
            (self.waited_out, "of these after a lease had run out"),
            (self.started_over, "checkers that started over"),
            (self.forgotten, "checkers that were forgotten"),
            (self.lives_settled, "memories of the store that were settled"),
            (self.crashes, "crashes of processes"),
            (self.pauses, "processes that stood still"),
        ] {
            writeln!(f, "{count:>14} {what}")?;
        }
        Ok(())
    }
}
