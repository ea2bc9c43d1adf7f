//! The checker's side.

use super::{LeaseTerms, Moment, Renewal, Renewed};
use crate::{
    id::CheckerId,
    revocation::{LogEntry, LogNumber},
};

/// The lease of a checker, and how far it has applied the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    checker: CheckerId,
    terms: LeaseTerms,
    applied: Option<LogNumber>,
    until: Option<Moment>,
}

/// A renewal on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    /// The message.
    pub renewal: Renewal,
    /// From before it was sent.
    at: Moment,
}

/// What an answer asks of the checker.
#[derive(Debug)]
pub enum Todo {
    /// Apply these entries, in this order, and then say so with [`Holder::applied`].
    Apply(Vec<LogEntry>, Extension),
    /// Forget every session and every entry, and begin with what comes after this number. Then ask again.
    StartOver(LogNumber),
    /// Ask again.
    AskAgain,
    /// Nothing: it is the answer to a question from before, and others have answered more.
    Nothing,
}

/// What is gained when the entries of an answer are applied.
#[derive(Debug)]
#[must_use = "a lease that is not extended runs out"]
pub struct Extension {
    applied: LogNumber,
    until: Option<Moment>,
}

impl Extension {
    /// Whether there may be more entries already: ask again at once.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        self.until.is_none()
    }
}

impl Holder {
    /// A checker that remembers nothing yet.
    #[must_use]
    pub const fn new(checker: CheckerId, terms: LeaseTerms) -> Self {
        Self { checker, terms, applied: None, until: None }
    }

    /// The last entry of the log that was applied.
    #[must_use]
    pub const fn head(&self) -> Option<LogNumber> {
        self.applied
    }

    /// Until when memory may answer.
    #[must_use]
    pub const fn until(&self) -> Option<Moment> {
        self.until
    }

    /// Whether memory may answer. To be asked when the answer is ready, not before.
    #[must_use]
    pub fn holds(&self, now: Moment) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// The next renewal. `now` is from before it is sent.
    #[must_use]
    pub const fn ask(&self, now: Moment) -> Asked {
        Asked { renewal: Renewal { checker: self.checker, applied: self.applied }, at: now }
    }

    /// Takes an answer, whenever it comes.
    pub fn answered(&mut self, asked: Asked, answer: Renewed) -> Todo {
        match (answer, asked.renewal.applied) {
            // A lease that the store has forgotten still runs: nobody is told earlier than that.
            (Renewed::Registered { head }, _) => {
                self.applied.get_or_insert(head);
                Todo::AskAgain
            }
            (Renewed::StartOver { head }, began) if began == self.applied => {
                (self.applied, self.until) = (Some(head), None);
                Todo::StartOver(head)
            }
            (Renewed::Entries { entries, complete }, Some(began)) => {
                self.entries(began, entries, complete.then(|| asked.at + self.terms.length))
            }
            (Renewed::StartOver { .. } | Renewed::Entries { .. }, _) => Todo::Nothing,
        }
    }

    fn entries(&self, began: LogNumber, mut entries: Vec<LogEntry>, until: Option<Moment>) -> Todo {
        // The answer follows what was applied when it was asked for. By now that may be more, but never less, unless it
        // started over in between.
        let Some(applied) = self.applied.filter(|applied| began <= *applied) else { return Todo::Nothing };
        let last = entries.last().map_or(began, |entry| entry.number);
        entries.retain(|entry| entry.number > applied);
        Todo::Apply(entries, Extension { applied: applied.max(last), until })
    }

    /// The entries have been applied: no check that begins now misses them.
    pub fn applied(&mut self, Extension { applied, until }: Extension) {
        self.applied = self.applied.max(Some(applied));
        self.until = self.until.max(until);
    }

    /// The lease is given up, because what is remembered cannot be relied on.
    pub const fn give_up(&mut self) {
        self.until = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        revocation::{Cause, LogEvent, Selector},
        time::Timestamp,
    };

    const SECOND: Duration = Duration::from_secs(1);
    const START: Moment = Moment(5_000_000_000);

    fn entry(number: u64) -> LogEntry {
        LogEntry {
            number: LogNumber(number),
            at: Timestamp::EPOCH,
            selector: Selector::Everyone,
            event: LogEvent::Ended { cause: Cause::Operator },
        }
    }

    fn entries(numbers: std::ops::RangeInclusive<u64>, complete: bool) -> Renewed {
        Renewed::Entries { entries: numbers.map(entry).collect(), complete }
    }

    /// Takes an answer and applies what it brings. Says which entries that were.
    fn take(holder: &mut Holder, asked: Asked, answer: Renewed) -> Vec<u64> {
        match holder.answered(asked, answer) {
            Todo::Apply(entries, gained) => {
                let numbers = entries.iter().map(|entry| entry.number.0).collect();
                holder.applied(gained);
                numbers
            }
            _ => Vec::new(),
        }
    }

    /// A checker that has applied the log up to 10, and has a lease from `START` on.
    fn holder() -> Holder {
        let mut holder = Holder::new(CheckerId::from_bytes([1; 16]), LeaseTerms::default());
        let asked = holder.ask(START);
        assert!(matches!(
            holder.answered(asked, Renewed::Registered { head: LogNumber(10) }),
            Todo::AskAgain
        ));
        assert!(!holder.holds(START), "to be known is not to have a lease");
        let asked = holder.ask(START);
        take(&mut holder, asked, Renewed::Entries { entries: Vec::new(), complete: true });
        holder
    }

    #[test]
    fn a_lease_is_counted_from_before_the_request_was_sent() {
        let holder = holder();
        assert!(holder.holds(Moment((START + SECOND).0 - 1)));
        assert!(!holder.holds(START + SECOND));
    }

    #[test]
    fn a_lease_is_extended_only_when_the_entries_are_applied() {
        let mut holder = holder();
        let asked = holder.ask(START + SECOND);
        let Todo::Apply(brought, gained) = holder.answered(asked, entries(11..=12, true)) else { panic!() };
        assert_eq!(brought.len(), 2);
        assert!(!holder.holds(START + SECOND));
        holder.applied(gained);
        assert!(holder.holds(START + SECOND));
        assert_eq!(holder.ask(START).renewal.applied, Some(LogNumber(12)));
    }

    #[test]
    fn a_page_that_is_not_the_last_extends_nothing() {
        let mut holder = holder();
        let asked = holder.ask(START + SECOND);
        assert_eq!(take(&mut holder, asked, entries(11..=12, false)), [11, 12]);
        assert!(!holder.holds(START + SECOND));
        let asked = holder.ask(START + SECOND);
        assert_eq!(take(&mut holder, asked, entries(13..=13, true)), [13]);
        assert!(holder.holds(START + SECOND));
    }

    #[test]
    fn answers_may_come_twice_and_in_any_order() {
        let mut holder = holder();
        let (first, second) = (holder.ask(START), holder.ask(START + SECOND));
        assert_eq!(take(&mut holder, second, entries(11..=13, true)), [11, 12, 13]);
        assert_eq!(take(&mut holder, first, entries(11..=12, true)), [0_u64; 0]);
        assert_eq!(take(&mut holder, second, entries(11..=13, true)), [0_u64; 0]);
        assert_eq!(holder.head(), Some(LogNumber(13)));
        assert!(holder.holds(START + SECOND), "an older answer does not shorten the lease");
    }

    #[test]
    fn who_starts_over_has_no_lease_until_the_next_answer() {
        let mut holder = holder();
        let (before, asked) = (holder.ask(START), holder.ask(START));
        let Todo::StartOver(head) = holder.answered(asked, Renewed::StartOver { head: LogNumber(90) }) else {
            panic!()
        };
        assert_eq!((head, holder.holds(START)), (LogNumber(90), false));
        assert!(
            matches!(holder.answered(before, Renewed::StartOver { head: LogNumber(90) }), Todo::Nothing),
            "once is enough"
        );
        let asked = holder.ask(START);
        take(&mut holder, asked, Renewed::Entries { entries: Vec::new(), complete: true });
        assert!(holder.holds(START));
    }

    #[test]
    fn an_answer_to_a_question_from_before_the_start_over_is_not_believed_when_the_log_went_back() {
        let mut holder = holder();
        let (late, asked) = (holder.ask(START), holder.ask(START));
        holder.answered(asked, Renewed::StartOver { head: LogNumber(3) });
        assert!(matches!(holder.answered(late, entries(11..=12, true)), Todo::Nothing));
        assert_eq!(holder.head(), Some(LogNumber(3)));
        assert!(!holder.holds(START));
    }

    #[test]
    fn a_checker_that_was_forgotten_goes_on_where_it_was() {
        let mut holder = holder();
        let asked = holder.ask(START + SECOND);
        assert!(matches!(
            holder.answered(asked, Renewed::Registered { head: LogNumber(40) }),
            Todo::AskAgain
        ));
        assert_eq!(holder.head(), Some(LogNumber(10)), "what lies between has not been applied");
        assert!(!holder.holds(START + SECOND));
    }
}
