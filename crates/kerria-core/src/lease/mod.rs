//! The lease protocol: how checkers in many processes answer from their own memory, and an end is still true everywhere when
//! it is acknowledged. After Gray and Cheriton, "Leases" (1989).
//!
//! A checker [renews](Renewal) its lease every so often, at the store. One message says how far it has applied the log and
//! brings what is new, and extends the lease once that is applied. Without a lease it does not answer from memory. Whoever
//! ends something waits until every checker in the store's [`Ledger`] has applied the entry, or, at most, until every lease
//! has run out that could have been granted before the entry was there. The three parts are state machines without I/O,
//! into which times and messages are passed: [`Holder`] at the checker, [`Ledger`] at the store, [`Census`] at whoever waits.
//!
//! No two clocks are compared. A checker counts its lease from before it *sent* the request, and by its own clock; a waiter
//! counts from after the entry was *committed*, and by its own. Whatever lies between can only make the first shorter and
//! the second longer. The store needs no clock at all.

mod census;
mod holder;
mod ledger;
mod shared;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use census::{Awaited, Census, Progress};
pub use holder::{Asked, Extension, Holder, Todo};
pub use ledger::{CheckerStanding, Ledger, LedgerReading, Life, NodeStanding, RollCall};
pub use shared::{Lease, LeaseKeeper, RanOut};

use crate::{
    id::CheckerId,
    revocation::{LogEntry, LogNumber},
    store::LogPage,
};

/// A moment on the clock of one process that never goes back and goes on while the machine is suspended (`CLOCK_BOOTTIME`),
/// in nanoseconds since some start. It means nothing to another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// How long after `earlier` it is; nothing if it is not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// What all who take part have agreed on. It must be the same in every process of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseTerms {
    /// How long a lease lasts by the clock of its holder, counted from before the renewal was sent.
    pub length: Duration,
}

impl LeaseTerms {
    /// How often a lease is renewed.
    #[must_use]
    pub fn renew_every(&self) -> Duration {
        self.length / 3
    }

    /// After how long, by anybody's clock, a lease is over that was granted before. Longer than the lease by more than any two
    /// clocks drift apart in that time: a quartz is wrong by 0.01 % at most, and this allows for 3 %.
    #[must_use]
    pub fn over_after(&self) -> Duration {
        self.length + self.length / 32
    }
}

impl Default for LeaseTerms {
    /// One second.
    fn default() -> Self {
        Self { length: Duration::from_secs(1) }
    }
}

/// What a checker asks of the store, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Renewal {
    /// Who asks.
    pub checker: CheckerId,
    /// The last entry of the log that it has applied, and with it all before. `None` if it has just begun and remembers no
    /// session.
    pub applied: Option<LogNumber>,
}

/// What the store answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Renewed {
    /// The store did not know this checker, or the checker has just begun. It is known from now on. No lease is granted with
    /// this answer: whoever was waiting meanwhile may not have counted it.
    Registered {
        /// The number of the last entry of the log.
        head: LogNumber,
    },
    /// What follows in the log.
    Entries {
        /// In the order of their numbers, from the one after [`Renewal::applied`] on, without a gap.
        entries: Vec<LogEntry>,
        /// Whether these are all that there were when the store read them. Only then a lease is granted.
        complete: bool,
    },
    /// What follows is not in the log any more, or the log has lost what was in it.
    StartOver {
        /// The number of the last entry of the log.
        head: LogNumber,
    },
}

impl Renewed {
    /// The answer to a checker that is known and has applied the log up to some number, by the page that follows it, of at most
    /// `limit` entries.
    #[must_use]
    pub fn with(page: LogPage, limit: u32) -> Self {
        match page {
            LogPage::StartOver { head } => Self::StartOver { head },
            LogPage::Entries(entries) => {
                let complete = entries.len() < limit as usize;
                Self::Entries { entries, complete }
            }
        }
    }
}
