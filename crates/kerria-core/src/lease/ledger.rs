//! The store's side.

use std::collections::BTreeMap;

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
#[derive(Clone, Debug)]
pub struct Ledger {
    life: Life,
    settled: bool,
    checkers: BTreeMap<CheckerId, (LogNumber, u64)>,
}

/// What a ledger says, all of one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerReading {
    /// In which life.
    pub life: Life,
    /// Whether somebody has seen this life for long enough: every lease from before it is over.
    pub settled: bool,
    /// The checkers that are known, in the order of their identifiers.
    pub checkers: Vec<CheckerStanding>,
}

/// How far a checker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckerStanding {
    /// Which.
    pub checker: CheckerId,
    /// The last entry that it says it has applied.
    pub applied: LogNumber,
    /// How often it has renewed its lease. One that renews no more can be told by this number standing still.
    pub renewals: u64,
}

impl Ledger {
    /// An empty ledger. `settled` if there was none before it.
    #[must_use]
    pub const fn new(life: Life, settled: bool) -> Self {
        Self { life, settled, checkers: BTreeMap::new() }
    }

    /// A checker renews its lease. `read` reads the log, in the same step and after the renewal is noted: the last number, and
    /// up to `limit` entries after the given one.
    pub fn renew(
        &mut self,
        renewal: Renewal,
        limit: u32,
        read: impl FnOnce(Option<LogNumber>, u32) -> (LogNumber, LogPage),
    ) -> Renewed {
        let (head, page) = read(renewal.applied, limit);
        let applied = renewal.applied.unwrap_or(head);
        let Some((held, renewals)) = self.checkers.get_mut(&renewal.checker) else {
            // No further than the log: after it was lost, entries have numbers again that were applied in another life.
            self.checkers.insert(renewal.checker, (applied.min(head), 1));
            return Renewed::Registered { head };
        };
        (*held, *renewals) = (applied.min(head), *renewals + 1);
        Renewed::with(page, limit)
    }

    /// What the ledger says.
    #[must_use]
    pub fn read(&self) -> LedgerReading {
        let standing = |(checker, (applied, renewals)): (&CheckerId, &(LogNumber, u64))| CheckerStanding {
            checker: *checker,
            applied: *applied,
            renewals: *renewals,
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
        if self.checkers.get(&seen.checker).is_some_and(|(_, renewals)| *renewals == seen.renewals) {
            self.checkers.remove(&seen.checker);
        }
    }
}
