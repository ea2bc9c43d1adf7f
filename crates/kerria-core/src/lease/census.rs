//! The side of whoever ends something and waits for it to be true.

use std::collections::BTreeMap;

use super::{CheckerStanding, LeaseTerms, LedgerReading, Life, Moment};
use crate::{id::CheckerId, revocation::LogNumber};

/// What a process has seen of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Census {
    terms: LeaseTerms,
    latest: Option<Latest>,
    /// Since when each checker is seen with the renewal that was its last.
    seen: BTreeMap<CheckerId, (u64, Moment)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Latest {
    reading: LedgerReading,
    /// From before it was asked for.
    asked: Moment,
    /// Since when its life is seen.
    life_since: Moment,
}

/// An entry of the log that somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Awaited {
    /// Its number.
    pub number: LogNumber,
    /// When it was known to be committed.
    pub committed: Moment,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nobody accepts any more what the entry has ended.
    Acknowledged {
        /// The checkers that have not applied it. Their leases have run out.
        late: Vec<CheckerId>,
    },
    /// Not yet so. Read the ledger again; at this moment it is over at the latest.
    Waiting {
        /// When every lease is over that may have been granted without the entry.
        until: Moment,
    },
}

impl Census {
    /// Nothing was seen yet.
    #[must_use]
    pub const fn new(terms: LeaseTerms) -> Self {
        Self { terms, latest: None, seen: BTreeMap::new() }
    }

    /// Takes note of what the ledger says. `asked` is from before the question was sent, `now` from after the answer came. Returns
    /// the checkers that are not in it any more because their leases ran out, as they were seen last, and since when they were seen
    /// so: those that leave in good order have renewed until then.
    pub fn note(
        &mut self,
        reading: LedgerReading,
        asked: Moment,
        now: Moment,
    ) -> Vec<(CheckerStanding, Moment)> {
        let is_late = |latest: &Latest| latest.asked > asked;
        if self.latest.as_ref().is_some_and(is_late) {
            return Vec::new();
        }
        let ran_out = self.ran_out(&reading, now);
        let life_since = match &self.latest {
            Some(latest) if latest.reading.life == reading.life => latest.life_since,
            _ => {
                // Numbers of another life say nothing in this one.
                self.seen.clear();
                now
            }
        };
        self.seen.retain(|checker, _| reading.checkers.iter().any(|standing| standing.checker == *checker));
        for standing in &reading.checkers {
            let seen = self.seen.entry(standing.checker).or_insert((standing.renewal, now));
            if seen.0 != standing.renewal {
                *seen = (standing.renewal, now);
            }
        }
        self.latest = Some(Latest { reading, asked, life_since });
        ran_out
    }

    /// The checkers that are not in this reading, and have not renewed their leases for as long as one lasts.
    fn ran_out(&self, reading: &LedgerReading, now: Moment) -> Vec<(CheckerStanding, Moment)> {
        let Some(latest) = self.latest.as_ref().filter(|latest| latest.reading.life == reading.life) else {
            return Vec::new();
        };
        let is_known =
            |gone: &CheckerStanding| reading.checkers.iter().any(|there| there.checker == gone.checker);
        let gone = latest.reading.checkers.iter().filter(|gone| !is_known(gone));
        gone.filter_map(|gone| {
            let (_, since) = *self.seen.get(&gone.checker)?;
            (now >= since + self.terms.length).then_some((*gone, since))
        })
        .collect()
    }

    /// Whether `awaited` is true everywhere.
    #[must_use]
    pub fn progress(&self, awaited: Awaited, now: Moment) -> Progress {
        let until = awaited.committed + self.terms.over_after();
        // A checker may have begun since a reading from before: only one that was asked for after the commit counts.
        let latest = self.latest.as_ref().filter(|latest| latest.asked >= awaited.committed);
        let behind = latest.map(|latest| {
            let behind = |standing: &&CheckerStanding| standing.applied < awaited.number;
            latest.reading.checkers.iter().filter(behind).map(|standing| standing.checker).collect::<Vec<_>>()
        });
        match behind {
            Some(behind) if behind.is_empty() && self.is_settled(now) => {
                Progress::Acknowledged { late: Vec::new() }
            }
            behind if now >= until => Progress::Acknowledged { late: behind.unwrap_or_default() },
            _ => Progress::Waiting { until },
        }
    }

    /// Whether all checkers that may hold a lease are in the ledger.
    fn is_settled(&self, now: Moment) -> bool {
        self.latest.as_ref().is_some_and(|latest| {
            latest.reading.settled || now >= latest.life_since + self.terms.over_after()
        })
    }

    /// The life that can be [settled](super::Ledger::settle): it is not yet, and every lease from before it is over.
    #[must_use]
    pub fn to_settle(&self, now: Moment) -> Option<Life> {
        let latest = self.latest.as_ref().filter(|latest| !latest.reading.settled)?;
        self.is_settled(now).then_some(latest.reading.life)
    }

    /// The checkers that can be [forgotten](super::Ledger::forget): they have stopped to renew, and their leases are over.
    #[must_use]
    pub fn to_forget(&self, now: Moment) -> Vec<CheckerStanding> {
        let Some(latest) = &self.latest else { return Vec::new() };
        let is_over = |standing: &&CheckerStanding| {
            self.seen.get(&standing.checker).is_some_and(|(_, since)| now >= *since + self.terms.over_after())
        };
        latest.reading.checkers.iter().filter(is_over).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TERMS: LeaseTerms = LeaseTerms { length: Duration::from_secs(1) };
    const COMMITTED: Moment = Moment(10_000_000_000);
    const AWAITED: Awaited = Awaited { number: LogNumber(7), committed: COMMITTED };

    fn standing(name: u8, applied: u64, renewal: u64) -> CheckerStanding {
        CheckerStanding { checker: CheckerId::from_bytes([name; 16]), applied: LogNumber(applied), renewal }
    }

    fn reading(checkers: &[CheckerStanding]) -> LedgerReading {
        LedgerReading { life: Life(1), settled: true, checkers: checkers.to_vec() }
    }

    fn after(commit: u64) -> Moment {
        COMMITTED + Duration::from_millis(commit)
    }

    #[test]
    fn an_entry_that_all_have_applied_is_acknowledged_at_once() {
        let mut census = Census::new(TERMS);
        census.note(reading(&[standing(1, 7, 3), standing(2, 9, 3)]), after(0), after(1));
        assert_eq!(census.progress(AWAITED, after(1)), Progress::Acknowledged { late: Vec::new() });
    }

    #[test]
    fn one_that_is_behind_is_waited_for_until_its_lease_is_over() {
        let mut census = Census::new(TERMS);
        census.note(reading(&[standing(1, 7, 3), standing(2, 6, 3)]), after(0), after(1));
        let Progress::Waiting { until } = census.progress(AWAITED, after(1)) else { panic!() };
        assert!(until > after(1_000), "longer than the lease, because clocks drift");
        assert_eq!(
            census.progress(AWAITED, until),
            Progress::Acknowledged { late: vec![standing(2, 6, 3).checker] }
        );
    }

    #[test]
    fn a_reading_from_before_the_commit_says_nothing() {
        let mut census = Census::new(TERMS);
        census.note(reading(&[]), Moment(COMMITTED.0 - 1), after(5));
        assert!(matches!(census.progress(AWAITED, after(5)), Progress::Waiting { .. }));
        census.note(reading(&[]), after(6), after(7));
        assert!(matches!(census.progress(AWAITED, after(7)), Progress::Acknowledged { .. }));
    }

    #[test]
    fn a_ledger_that_may_have_forgotten_somebody_acknowledges_nothing_for_a_lease() {
        let mut census = Census::new(TERMS);
        let forgotten = LedgerReading { life: Life(2), settled: false, checkers: Vec::new() };
        census.note(forgotten.clone(), after(0), after(10));
        assert!(matches!(census.progress(AWAITED, after(900)), Progress::Waiting { .. }));
        assert_eq!(census.to_settle(after(1_040)), None);
        assert_eq!(census.to_settle(after(1_050)), Some(Life(2)));

        // Seen for long enough, it is trusted with the next entry.
        let next = Awaited { number: LogNumber(8), committed: after(2_000) };
        census.note(forgotten, after(2_000), after(2_001));
        assert_eq!(census.progress(next, after(2_001)), Progress::Acknowledged { late: Vec::new() });
    }

    #[test]
    fn a_checker_that_renews_no_more_can_be_forgotten_and_one_that_does_cannot() {
        let mut census = Census::new(TERMS);
        census.note(reading(&[standing(1, 7, 3), standing(2, 7, 3)]), after(0), after(1));
        census.note(reading(&[standing(1, 7, 4), standing(2, 7, 3)]), after(1_000), after(1_001));
        assert_eq!(census.to_forget(after(1_002)), []);
        census.note(reading(&[standing(1, 7, 5), standing(2, 7, 3)]), after(1_040), after(1_041));
        assert_eq!(census.to_forget(after(1_041)), [standing(2, 7, 3)]);
    }

    #[test]
    fn a_checker_whose_lease_ran_out_is_told_from_one_that_left_in_good_order() {
        let mut census = Census::new(TERMS);
        census.note(reading(&[standing(1, 6, 3), standing(2, 6, 3)]), after(0), after(1));
        census.note(reading(&[standing(1, 6, 3), standing(2, 6, 4)]), after(900), after(901));
        let ran_out = census.note(reading(&[]), after(1_001), after(1_002));
        assert_eq!(ran_out, [(standing(1, 6, 3), after(1))]);
        assert_eq!(census.note(reading(&[]), after(1_003), after(1_004)), [], "it is told once");
    }

    #[test]
    fn an_older_reading_that_comes_late_changes_nothing() {
        let mut census = Census::new(TERMS);
        census.note(reading(&[standing(1, 6, 3)]), after(5), after(6));
        census.note(reading(&[]), after(4), after(7));
        assert!(matches!(census.progress(AWAITED, after(8)), Progress::Waiting { .. }));
    }
}
