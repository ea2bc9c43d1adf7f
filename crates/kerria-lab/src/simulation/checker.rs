//! A process that answers from its own memory.

use std::collections::HashMap;

use kerria_core::{
    CheckerId, LeaseTerms, LogNumber, Moment, RevokedSet, SessionId, UserId, Verdict,
    lease::{Asked, Holder, Renewed, Todo},
};

use super::{Flaw, store::Row};

pub(super) struct Checker {
    pub(super) holder: Holder,
    set: RevokedSet,
    cache: HashMap<SessionId, (UserId, LogNumber)>,
    /// Counts how often it has forgotten everything: what was asked before is not kept.
    pub(super) generation: u32,
    flaw: Option<Flaw>,
}

/// What memory says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Recalled {
    Good,
    Ended,
    Unknown,
    NoLease,
}

impl Checker {
    pub(super) fn new(id: CheckerId, flaw: Option<Flaw>) -> Self {
        let holder = Holder::new(id, LeaseTerms::default());
        Self { holder, set: RevokedSet::default(), cache: HashMap::new(), generation: 0, flaw }
    }

    /// What memory says of a session. The lease is looked at last.
    pub(super) fn recall(&mut self, session: SessionId, now: Moment) -> Recalled {
        let Some((user, as_of)) = self.cache.get_mut(&session) else { return Recalled::Unknown };
        match self.set.verdict(session, Some(*user), *as_of) {
            Verdict::Ended => {
                self.cache.remove(&session);
                Recalled::Ended
            }
            Verdict::Reread => Recalled::Unknown,
            Verdict::Stands if self.holder.holds(now) => {
                *as_of = (*as_of).max(self.set.head());
                Recalled::Good
            }
            Verdict::Stands => Recalled::NoLease,
        }
    }

    /// Takes in what the store said of a session.
    pub(super) fn fill(&mut self, row: Row, as_of: LogNumber) -> Verdict {
        let as_of = match self.flaw {
            Some(Flaw::FillWithoutTheSet) => as_of.max(self.set.head()),
            _ => as_of,
        };
        let verdict = self.set.verdict(row.id, Some(row.user), as_of);
        if verdict == Verdict::Stands {
            self.cache.insert(row.id, (row.user, as_of));
        }
        verdict
    }

    /// Takes an answer. Says whether to ask again at once, and whether it started over.
    pub(super) fn answered(&mut self, mut asked: Asked, answer: Renewed, now: Moment) -> (bool, bool) {
        let as_if_asked_now = self.holder.ask(now);
        if self.flaw == Some(Flaw::LeaseFromTheReply) && as_if_asked_now.renewal == asked.renewal {
            asked = as_if_asked_now;
        }
        let answer = match (self.flaw, answer) {
            (Some(Flaw::RenewalThatSkips), Renewed::Entries { entries, .. }) => {
                Renewed::Entries { entries, complete: true }
            }
            (Some(Flaw::LeaseAcrossAReconnect), Renewed::Registered { .. })
                if self.holder.head().is_some() =>
            {
                Renewed::Entries { entries: Vec::new(), complete: true }
            }
            (_, answer) => answer,
        };
        let has_begun = self.holder.head().is_some();
        match self.holder.answered(asked, answer) {
            Todo::Apply(entries, gained) => {
                let ask_again = gained.is_partial() || !entries.is_empty();
                if self.flaw != Some(Flaw::AcknowledgedBeforeApplied) {
                    entries.into_iter().for_each(|entry| self.set.apply(entry));
                }
                self.holder.applied(gained);
                (ask_again, false)
            }
            Todo::StartOver(head) => {
                self.cache.clear();
                self.set = RevokedSet::starting_at(head);
                self.generation += 1;
                (true, true)
            }
            Todo::AskAgain => {
                if let Some(head) = self.holder.head().filter(|_| !has_begun) {
                    self.set = RevokedSet::starting_at(head);
                }
                (true, false)
            }
            Todo::Nothing => (false, false),
        }
    }
}
