//! The ledger of checkers in other processes, which follow the log of an SQLite file through the one process that uses it.
//!
//! It is in memory. A process that has just started does not know who holds a lease, so its ledger has to settle: for one
//! lease, nothing is acknowledged on its word.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use async_trait::async_trait;
use kerria_core::{
    CheckerId, LeaseTerms, LogEntry, LogNumber,
    lease::{CheckerStanding, Ledger, LedgerReading, Life, NodeStanding, Renewal, Renewed, RollCall},
    store::{Acknowledged, Follower, Leases, LogPage, StoreError},
};
use kerria_feed::Acknowledging;
use tokio::{sync::Notify, time::sleep};

use crate::{
    feed::Node,
    observer::{Observer, Watching},
};

/// Entries of the log that are held. A checker that is further behind starts over.
const HELD: usize = 10_000;

/// Entries of the log in one answer.
const PAGE: u32 = 500;

/// Waits for checkers in other processes.
pub(super) struct Checkers {
    ledger: Arc<MemoryLedger>,
    acknowledging: Acknowledging,
    observer: Arc<dyn Observer>,
}

/// The ledger, and the end of the log. Entries come as a follower hears them: after the commit, and before anybody waits for
/// them.
pub(super) struct MemoryLedger {
    /// The process that has the file.
    node: Node,
    inner: Mutex<Inner>,
    /// A checker has said how far it is.
    told: Arc<Notify>,
}

struct Inner {
    ledger: Ledger,
    names: BTreeMap<CheckerId, String>,
    log: Recent,
}

/// The last entries of the log.
#[derive(Default)]
struct Recent {
    head: LogNumber,
    /// Entries up to here are not held.
    floor: LogNumber,
    entries: VecDeque<LogEntry>,
}

impl Checkers {
    /// Waits for those in this ledger. Needs a Tokio runtime.
    pub(super) fn start(ledger: Arc<MemoryLedger>, observer: Arc<dyn Observer>) -> Self {
        // The process that has the file hears of every entry before anybody waits for it, and so is not in the ledger.
        let own = Box::new(|| None);
        let watching = Arc::new(Watching(Arc::clone(&observer)));
        let (terms, told) = (LeaseTerms::default(), Arc::clone(&ledger.told));
        let acknowledging = Acknowledging::start(Arc::clone(&ledger) as _, terms, own, told, watching);
        Self { ledger, acknowledging, observer }
    }

    pub(super) fn ledger(&self) -> Arc<dyn Leases> {
        Arc::clone(&self.ledger) as _
    }

    pub(super) async fn acknowledged(&self, number: LogNumber) -> Acknowledged {
        let acknowledged = self.acknowledging.acknowledged(number).await;
        self.observer.acknowledged(acknowledged.took, acknowledged.late.len());
        acknowledged
    }

    /// Waits until no checker can hold a lease any more. Whoever uses the file next may not know of them.
    pub(super) async fn until_leases_are_over(&self) {
        if self.ledger.may_know_of_leases() {
            sleep(LeaseTerms::default().over_after()).await;
        }
    }

    pub(super) async fn roll_call(&self) -> Result<RollCall, StoreError> {
        self.acknowledging.roll_call(self.ledger.node.id).await
    }
}

impl MemoryLedger {
    pub(super) fn new(node: Node) -> Arc<Self> {
        let ledger = Ledger::new(Life(1), false);
        let inner = Inner { ledger, names: BTreeMap::new(), log: Recent::default() };
        Arc::new(Self { node, inner: Mutex::new(inner), told: Arc::default() })
    }

    pub(super) fn follower(self: &Arc<Self>) -> Weak<dyn Follower> {
        Arc::downgrade(self) as _
    }

    /// Whether some checker may hold a lease.
    fn may_know_of_leases(&self) -> bool {
        let reading = self.lock().ledger.read();
        !reading.settled || !reading.checkers.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Leases for MemoryLedger {
    async fn renew_lease(&self, renewal: Renewal, name: &str) -> Result<Renewed, StoreError> {
        let Inner { ledger, names, log } = &mut *self.lock();
        names.insert(renewal.checker, name.to_owned());
        let renewed = ledger.renew(renewal, PAGE, |applied, limit| {
            (log.head, log.after(applied.unwrap_or(log.head), limit as usize))
        });
        self.told.notify_waiters();
        Ok(renewed)
    }

    async fn ledger(&self) -> Result<LedgerReading, StoreError> {
        Ok(self.lock().ledger.read())
    }

    async fn roll_call(&self, this: CheckerId) -> Result<RollCall, StoreError> {
        let Inner { ledger, names, log } = &*self.lock();
        let reading = ledger.read();
        let own =
            NodeStanding { id: self.node.id, name: self.node.name.clone(), applied: log.head, lag: None };
        let others = reading.checkers.iter().map(|standing| NodeStanding {
            id: standing.checker,
            name: names.get(&standing.checker).cloned().unwrap_or_default(),
            applied: standing.applied,
            lag: None,
        });
        let mut nodes: Vec<_> = std::iter::once(own).chain(others).collect();
        nodes.sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
        Ok(RollCall { this, head: log.head, settled: reading.settled, nodes })
    }

    async fn settle(&self, life: Life) -> Result<(), StoreError> {
        self.lock().ledger.settle(life);
        Ok(())
    }

    async fn forget_checker(&self, seen: CheckerStanding) -> Result<(), StoreError> {
        let Inner { ledger, names, .. } = &mut *self.lock();
        ledger.forget(&seen);
        let known = ledger.read().checkers;
        names.retain(|checker, _| known.iter().any(|standing| standing.checker == *checker));
        Ok(())
    }
}

impl Follower for MemoryLedger {
    fn apply(&self, entries: &[LogEntry]) {
        self.lock().log.add(entries);
    }

    fn start_over(&self, head: LogNumber) {
        self.lock().log = Recent::starting_at(head);
    }
}

impl Recent {
    fn starting_at(head: LogNumber) -> Self {
        Self { head, floor: head, entries: VecDeque::new() }
    }

    fn add(&mut self, entries: &[LogEntry]) {
        for entry in entries {
            self.head = entry.number;
            self.entries.push_back(*entry);
        }
        while self.entries.len() > HELD {
            self.floor = self.entries.pop_front().map_or(self.floor, |oldest| oldest.number);
        }
    }

    fn after(&self, number: LogNumber, limit: usize) -> LogPage {
        if number < self.floor || number > self.head {
            return LogPage::StartOver { head: self.head };
        }
        let begin = self.entries.partition_point(|entry| entry.number <= number);
        LogPage::Entries(self.entries.iter().skip(begin).take(limit).copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kerria_core::{Cause, LogEvent, Selector, Timestamp};
    use tokio::time::timeout;

    use super::*;
    use crate::observer::Nobody;

    fn entries(numbers: std::ops::RangeInclusive<u64>) -> Vec<LogEntry> {
        let entry = |number| LogEntry {
            number: LogNumber(number),
            at: Timestamp::EPOCH,
            selector: Selector::Everyone,
            event: LogEvent::Ended { cause: Cause::Operator },
        };
        numbers.map(entry).collect()
    }

    fn numbers(page: &LogPage) -> Vec<u64> {
        let LogPage::Entries(entries) = page else { panic!("{page:?}") };
        entries.iter().map(|entry| entry.number.0).collect()
    }

    #[test]
    fn what_is_not_held_any_more_is_never_an_empty_page() {
        let mut log = Recent::starting_at(LogNumber(40));
        assert_eq!(numbers(&log.after(LogNumber(40), 9)), [0; 0]);
        assert_eq!(log.after(LogNumber(39), 9), LogPage::StartOver { head: LogNumber(40) });
        assert_eq!(log.after(LogNumber(41), 9), LogPage::StartOver { head: LogNumber(40) });
        log.add(&entries(41..=45));
        assert_eq!(numbers(&log.after(LogNumber(40), 2)), [41, 42]);
        assert_eq!(numbers(&log.after(LogNumber(43), 9)), [44, 45]);
        let last = 45 + HELD as u64;
        log.add(&entries(46..=last));
        assert_eq!(log.after(LogNumber(44), 9), LogPage::StartOver { head: LogNumber(last) });
        assert_eq!(numbers(&log.after(LogNumber(45), 2)), [46, 47]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_is_answered_as_soon_as_the_last_checker_says_that_it_has_applied_it() {
        let ledger =
            MemoryLedger::new(Node { id: CheckerId::from_bytes([1; 16]), name: "kerria".to_owned() });
        ledger.settle(Life(1)).await.unwrap();
        let checkers = Arc::new(Checkers::start(Arc::clone(&ledger), Arc::new(Nobody)));
        let checker = CheckerId::from_bytes([2; 16]);
        ledger.renew_lease(Renewal { checker, applied: None }, "shop").await.unwrap();
        for number in 1..=20 {
            ledger.apply(&entries(number..=number));
            let waiting = Arc::clone(&checkers);
            let answered = tokio::spawn(async move { waiting.acknowledged(LogNumber(number)).await });
            // By now the ledger is looked at every 16 ms.
            sleep(Duration::from_millis(400)).await;
            assert!(!answered.is_finished());
            let applied = Some(LogNumber(number));
            ledger.renew_lease(Renewal { checker, applied }, "shop").await.unwrap();
            timeout(Duration::from_millis(2), answered).await.expect("it is answered at once").unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_leaves_the_file_waits_for_leases_that_the_next_one_does_not_know_of() {
        let node = Node { id: CheckerId::from_bytes([1; 16]), name: "kerria".to_owned() };
        let ledger = MemoryLedger::new(node);
        let checkers = Checkers::start(Arc::clone(&ledger), Arc::new(Nobody));
        let waits =
            async || timeout(LeaseTerms::default().length, checkers.until_leases_are_over()).await.is_err();
        assert!(waits().await, "leases from before may run");
        ledger.settle(Life(1)).await.unwrap();
        assert!(!waits().await, "nobody follows");
        let shop = CheckerId::from_bytes([2; 16]);
        ledger.renew_lease(Renewal { checker: shop, applied: None }, "a shop").await.unwrap();
        assert!(waits().await);
    }

    #[tokio::test]
    async fn whoever_renews_is_called_by_name_beside_the_process_that_has_the_file() {
        let node = Node { id: CheckerId::from_bytes([1; 16]), name: "kerria".to_owned() };
        let ledger = MemoryLedger::new(node.clone());
        ledger.start_over(LogNumber(7));
        let shop = CheckerId::from_bytes([2; 16]);
        ledger.renew_lease(Renewal { checker: shop, applied: None }, "a shop").await.unwrap();
        ledger.apply(&entries(8..=8));
        let call = ledger.roll_call(node.id).await.unwrap();
        let called: Vec<_> = call.nodes.iter().map(|node| (node.name.as_str(), node.applied.0)).collect();
        assert_eq!((call.head.0, call.settled, called), (8, false, vec![("a shop", 7), ("kerria", 8)]));
        ledger.dismiss(shop).await.unwrap();
        assert_eq!(ledger.roll_call(node.id).await.unwrap().nodes.len(), 1);
    }
}
