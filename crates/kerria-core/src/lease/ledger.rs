//! The store's side.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Renewal, Renewed};
use crate::{id::CheckerId, revocation::LogNumber, store::LogPage};

/// One memory of a store. A ledger that was lost begins a new one, and so whoever waits can tell that leases may run that the
/// ledger does not know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Life(pub u64);

/// What a store keeps of the checkers. Stores keep it in rows of their own; this says what each step does, and is what the
/// simulation runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ledger {
    life: Life,
    settled: bool,
    checkers: BTreeMap<CheckerId, (LogNumber, u64)>,
    /// Renewals of all checkers so far.
    renewals: u64,
}

/// What a ledger says, all of one instant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LedgerReading {
    /// In which life.
    pub life: Life,
    /// Whether somebody has seen this life for long enough: every lease from before it is over.
    pub settled: bool,
    /// The checkers that are known, in the order of their identifiers.
    pub checkers: Vec<CheckerStanding>,
}

/// How far a checker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CheckerStanding {
    /// Which.
    pub checker: CheckerId,
    /// The last entry that it says it has applied.
    pub applied: LogNumber,
    /// The number of its last renewal. One that renews no more can be told by this number standing still. A number is never
    /// given twice in a life: one that was forgotten and is back must not look as if it had not moved.
    pub renewal: u64,
}

/// The processes that share a store, all of one instant: what operators want to know of a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollCall {
    /// The process that has asked.
    pub this: CheckerId,
    /// The number of the last entry of the log.
    pub head: LogNumber,
    /// Whether the ledger is [settled](LedgerReading::settled).
    pub settled: bool,
    /// All that are in the ledger, by name.
    pub nodes: Vec<NodeStanding>,
}

/// How far a process is, and what people call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStanding {
    /// Which.
    pub id: CheckerId,
    /// What people call it.
    pub name: String,
    /// The last entry that it says it has applied.
    pub applied: LogNumber,
    /// How long after its commit the last entry was applied there that the process that has asked waited for.
    pub lag: Option<Duration>,
}

impl NodeStanding {
    /// How many entries it has not applied yet, as far as it has said so.
    #[must_use]
    pub const fn behind(&self, head: LogNumber) -> u64 {
        head.0.saturating_sub(self.applied.0)
    }
}

impl Ledger {
    /// An empty ledger. `settled` if there was none before it.
    #[must_use]
    pub const fn new(life: Life, settled: bool) -> Self {
        Self { life, settled, checkers: BTreeMap::new(), renewals: 0 }
    }

    /// A checker renews its lease, or is entered if it is not known. `read` reads the log, in the same step and after the renewal is noted: the last number, and
    /// up to `limit` entries after the given one.
    pub fn renew(
        &mut self,
        renewal: Renewal,
        limit: u32,
        read: impl FnOnce(Option<LogNumber>, u32) -> (LogNumber, LogPage),
    ) -> Renewed {
        let (head, page) = read(renewal.applied, limit);
        // No further than the log: after it was lost, entries have numbers again that were applied in another life.
        let applied = renewal.applied.map(|applied| applied.min(head));
        self.renewals += 1;
        let Some((held, number)) = self.checkers.get_mut(&renewal.checker) else {
            self.checkers.insert(renewal.checker, (applied.unwrap_or(head), self.renewals));
            return Renewed::Registered { head };
        };
        // One that says nothing may be a late copy of the first: then it is further, or not, and nobody may think it is.
        (*held, *number) = (applied.unwrap_or(*held), self.renewals);
        if applied.is_none() {
            return Renewed::Registered { head };
        }
        Renewed::with(page, limit)
    }

    /// What the ledger says.
    #[must_use]
    pub fn read(&self) -> LedgerReading {
        let standing = |(checker, (applied, renewal)): (&CheckerId, &(LogNumber, u64))| CheckerStanding {
            checker: *checker,
            applied: *applied,
            renewal: *renewal,
        };
        LedgerReading {
            life: self.life,
            settled: self.settled,
            checkers: self.checkers.iter().map(standing).collect(),
        }
    }

    /// Every lease from before this life is over, says somebody who has waited for it.
    pub fn settle(&mut self, life: Life) {
        self.settled |= self.life == life;
    }

    /// Forgets a checker, unless it has renewed its lease since it was seen.
    pub fn forget(&mut self, seen: &CheckerStanding) {
        if self.checkers.get(&seen.checker).is_some_and(|(_, renewal)| *renewal == seen.renewal) {
            self.checkers.remove(&seen.checker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKER: CheckerId = CheckerId::from_bytes([1; 16]);

    fn renew(ledger: &mut Ledger, applied: Option<u64>, head: u64) -> Renewed {
        let renewal = Renewal { checker: CHECKER, applied: applied.map(LogNumber) };
        ledger.renew(renewal, 10, |_, _| (LogNumber(head), LogPage::Entries(Vec::new())))
    }

    fn applied(ledger: &Ledger) -> u64 {
        ledger.read().checkers[0].applied.0
    }

    #[test]
    fn a_late_copy_of_the_first_renewal_does_not_say_that_more_was_applied() {
        let mut ledger = Ledger::new(Life(1), true);
        assert_eq!(renew(&mut ledger, None, 5), Renewed::Registered { head: LogNumber(5) });
        renew(&mut ledger, Some(5), 8);
        renew(&mut ledger, None, 8);
        assert_eq!(applied(&ledger), 5);
    }

    #[test]
    fn what_was_applied_in_a_log_that_was_lost_does_not_count_in_the_next() {
        let mut ledger = Ledger::new(Life(1), true);
        renew(&mut ledger, Some(500), 500);
        renew(&mut ledger, Some(500), 10);
        assert_eq!(applied(&ledger), 10);
    }

    #[test]
    fn a_checker_that_was_forgotten_and_is_back_is_not_taken_for_one_that_stands_still() {
        let mut ledger = Ledger::new(Life(1), true);
        renew(&mut ledger, Some(5), 5);
        let seen = ledger.read().checkers[0];
        ledger.forget(&seen);
        renew(&mut ledger, Some(5), 5);
        ledger.forget(&seen);
        assert_eq!(ledger.read().checkers.len(), 1);
    }
}
