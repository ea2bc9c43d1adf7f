//! Who is in the ledger: what people call them, and how long after its commit they apply an entry.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kerria_core::{
    CheckerId, LogNumber, Moment,
    lease::{Awaited, LedgerReading, RollCall},
};

/// Is told how long checkers take. Must be quick.
pub trait Watches: Send + Sync {
    /// The checker that people call so has applied an entry, so long after its commit.
    fn applied(&self, checker: &str, took: Duration);

    /// No checker that people call so is there any more.
    fn gone(&self, checker: &str);
}

/// Who is in the ledger.
pub(crate) struct Roster {
    watches: Arc<dyn Watches>,
    known: BTreeMap<CheckerId, Known>,
    /// One entry at a time is measured: enough to know how long checkers take, whatever is ended.
    measured: Option<Measured>,
    /// The last entry that was. Somebody may wait for an old one, because there was nothing left to end.
    last: LogNumber,
}

struct Known {
    name: String,
    lag: Option<Duration>,
}

struct Measured {
    awaited: Awaited,
    /// Those that have applied it.
    applied: BTreeSet<CheckerId>,
}

impl Roster {
    pub(crate) fn new(watches: Arc<dyn Watches>) -> Self {
        Self { watches, known: BTreeMap::new(), measured: None, last: LogNumber(0) }
    }

    /// Whether all in the ledger are known by name.
    pub(crate) fn knows_all(&self, reading: &LedgerReading) -> bool {
        reading.checkers.iter().all(|standing| self.known.contains_key(&standing.checker))
    }

    /// Takes note of what people call them.
    pub(crate) fn learn(&mut self, call: RollCall) {
        for node in call.nodes {
            self.known.entry(node.id).or_insert(Known { name: node.name, lag: None });
        }
    }

    /// What people call this checker.
    pub(crate) fn name(&self, checker: CheckerId) -> String {
        self.known.get(&checker).map_or_else(|| checker.to_string(), |known| known.name.clone())
    }

    /// How long it took the last time.
    pub(crate) fn lag(&self, checker: CheckerId) -> Option<Duration> {
        self.known.get(&checker)?.lag
    }

    /// Somebody waits for an entry: it is measured, unless it was before, or another one is.
    pub(crate) fn measure(&mut self, awaited: Awaited) {
        if self.measured.is_none() && awaited.number > self.last {
            self.last = awaited.number;
            self.measured = Some(Measured { awaited, applied: BTreeSet::new() });
        }
    }

    /// Takes note of how far they are, by a reading that was asked for at `asked` and came at `now`. Until the end of `length`, an
    /// entry is waited for.
    pub(crate) fn note(&mut self, reading: &LedgerReading, asked: Moment, now: Moment, length: Duration) {
        self.measure_those_who_have_applied_it(reading, asked, now, length);
        let there: BTreeSet<CheckerId> = reading.checkers.iter().map(|standing| standing.checker).collect();
        let gone: Vec<CheckerId> =
            self.known.keys().filter(|checker| !there.contains(checker)).copied().collect();
        for checker in gone {
            let Some(known) = self.known.remove(&checker) else { continue };
            if self.known.values().all(|other| other.name != known.name) {
                self.watches.gone(&known.name);
            }
        }
    }

    fn measure_those_who_have_applied_it(
        &mut self,
        reading: &LedgerReading,
        asked: Moment,
        now: Moment,
        length: Duration,
    ) {
        let Some(measured) = self.measured.as_mut().filter(|measured| asked >= measured.awaited.committed)
        else {
            return;
        };
        let took = now.since(measured.awaited.committed);
        let mut all = true;
        for standing in &reading.checkers {
            if standing.applied < measured.awaited.number {
                all = false;
            } else if measured.applied.insert(standing.checker)
                && let Some(known) = self.known.get_mut(&standing.checker)
            {
                known.lag = Some(took);
                self.watches.applied(&known.name, took);
            }
        }
        if all || took >= length {
            self.measured = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use kerria_core::lease::{CheckerStanding, Life, NodeStanding};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const COMMITTED: Moment = Moment(10_000_000_000);

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Watches for Heard {
        fn applied(&self, checker: &str, took: Duration) {
            self.0.lock().unwrap().push(format!("{checker} {} ms", took.as_millis()));
        }

        fn gone(&self, checker: &str) {
            self.0.lock().unwrap().push(format!("{checker} is gone"));
        }
    }

    impl Heard {
        fn now(&self) -> Vec<String> {
            std::mem::take(&mut *self.0.lock().unwrap())
        }
    }

    const fn id(number: u8) -> CheckerId {
        CheckerId::from_bytes([number; 16])
    }

    fn reading(applied: &[(u8, u64)]) -> LedgerReading {
        let standing = |&(checker, applied): &(u8, u64)| CheckerStanding {
            checker: id(checker),
            applied: LogNumber(applied),
            renewal: 1,
        };
        LedgerReading { life: Life(1), settled: true, checkers: applied.iter().map(standing).collect() }
    }

    fn roster(heard: &Arc<Heard>, names: &[(u8, &str)]) -> Roster {
        let mut roster = Roster::new(Arc::clone(heard) as _);
        let node = |&(number, name): &(u8, &str)| NodeStanding {
            id: id(number),
            name: name.to_owned(),
            applied: LogNumber(0),
            lag: None,
        };
        let nodes = names.iter().map(node).collect();
        roster.learn(RollCall { this: id(1), head: LogNumber(0), settled: true, nodes });
        roster
    }

    fn after(millis: u64) -> Moment {
        COMMITTED + Duration::from_millis(millis)
    }

    #[test]
    fn each_checker_is_measured_once_when_it_has_applied_the_entry() {
        let heard = Arc::new(Heard::default());
        let mut roster = roster(&heard, &[(1, "kerria-1"), (2, "shop")]);
        roster.measure(Awaited { number: LogNumber(7), committed: COMMITTED });
        roster.note(&reading(&[(1, 7), (2, 7)]), Moment(COMMITTED.0 - 1), after(0), SECOND);
        assert_eq!(heard.now(), [""; 0], "a reading from before the commit says nothing");
        roster.note(&reading(&[(1, 7), (2, 6)]), after(1), after(2), SECOND);
        roster.note(&reading(&[(1, 7), (2, 7)]), after(8), after(9), SECOND);
        roster.measure(Awaited { number: LogNumber(7), committed: after(9) });
        roster.note(&reading(&[(1, 7), (2, 7)]), after(10), after(11), SECOND);
        assert_eq!(heard.now(), ["kerria-1 2 ms", "shop 9 ms"]);
        assert_eq!(roster.lag(id(2)), Some(Duration::from_millis(9)));
    }

    #[test]
    fn one_that_never_applies_it_does_not_keep_the_next_entry_from_being_measured() {
        let heard = Arc::new(Heard::default());
        let mut roster = roster(&heard, &[(1, "kerria-1"), (2, "shop")]);
        roster.measure(Awaited { number: LogNumber(7), committed: COMMITTED });
        roster.note(&reading(&[(1, 7), (2, 6)]), after(1), after(1_000), SECOND);
        roster.measure(Awaited { number: LogNumber(8), committed: after(2_000) });
        roster.note(&reading(&[(1, 8), (2, 6)]), after(2_001), after(2_003), SECOND);
        assert_eq!(heard.now(), ["kerria-1 1000 ms", "kerria-1 3 ms"]);
    }

    #[test]
    fn a_name_is_gone_with_the_last_that_is_called_so() {
        let heard = Arc::new(Heard::default());
        let mut roster = roster(&heard, &[(1, "shop"), (2, "shop")]);
        assert!(!roster.knows_all(&reading(&[(1, 7), (3, 7)])));
        roster.note(&reading(&[(1, 7)]), after(1), after(2), SECOND);
        assert_eq!(heard.now(), [""; 0]);
        roster.note(&reading(&[]), after(3), after(4), SECOND);
        assert_eq!(heard.now(), ["shop is gone"]);
        assert_eq!(roster.name(id(1)), id(1).to_string());
    }
}
