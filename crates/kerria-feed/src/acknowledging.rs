use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use kerria_core::{
    CheckerId, LeaseTerms, LogNumber, Moment,
    lease::{Awaited, Census, CheckerStanding, LedgerReading, Progress, RollCall},
    store::{Acknowledged, Leases, StoreError},
};
use tokio::{
    sync::{Notify, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::{debug, info};

use crate::{
    clock::moment,
    in_time, lock,
    roster::{Roster, Watches},
};

/// How soon the ledger is read again while somebody waits; each time a quarter later, up to the second. An end is answered at the
/// next reading, so that what it takes is never much longer than it has to be.
const SOON: Duration = Duration::from_millis(1);
const LATER: Duration = Duration::from_millis(16);

/// How far this process is, of which it knows more than the ledger does. `None` if it does not follow the log, or not yet.
pub type Own = Box<dyn Fn() -> Option<(CheckerId, LogNumber)> + Send + Sync>;

/// Waits until entries of the log are applied everywhere, and tidies up the ledger, for as long as it is not dropped.
pub struct Acknowledging {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    ledger: Arc<dyn Leases>,
    terms: LeaseTerms,
    own: Own,
    census: Mutex<Census>,
    roster: Mutex<Roster>,
    waiting: Mutex<Vec<Waiting>>,
    somebody_waits: Notify,
    told: Arc<Notify>,
}

/// Somebody who waits for an entry to be applied everywhere.
struct Waiting {
    awaited: Awaited,
    /// Those whose leases ran out meanwhile, and who are not in the ledger any more.
    gone: Vec<String>,
    reply: oneshot::Sender<Vec<String>>,
}

impl Acknowledging {
    /// Starts to read the ledger: while somebody waits, at once when `told` is notified, and again and again without that. Needs a Tokio
    /// runtime.
    #[must_use]
    pub fn start(
        ledger: Arc<dyn Leases>,
        terms: LeaseTerms,
        own: Own,
        told: Arc<Notify>,
        watches: Arc<dyn Watches>,
    ) -> Self {
        let shared = Arc::new(Shared {
            ledger,
            terms,
            own,
            census: Mutex::new(Census::new(terms)),
            roster: Mutex::new(Roster::new(watches)),
            waiting: Mutex::default(),
            somebody_waits: Notify::new(),
            told,
        });
        let task = tokio::spawn(watch_the_ledger(Arc::clone(&shared)));
        Self { shared, task }
    }

    /// Waits until nobody accepts any more what the entry with this number has ended: a lease at most; or twice that, should the
    /// ledger not answer. To be called when the entry is known to be committed.
    pub async fn acknowledged(&self, number: LogNumber) -> Acknowledged {
        let committed = moment();
        let (reply, acknowledged) = oneshot::channel();
        let awaited = Awaited { number, committed };
        lock(&self.shared.roster).measure(awaited);
        lock(&self.shared.waiting).push(Waiting { awaited, gone: Vec::new(), reply });
        self.shared.somebody_waits.notify_one();
        // Should the task that answers be gone, a lease is waited for all the same.
        let late = match timeout(self.shared.terms.over_after() * 2, acknowledged).await {
            Ok(Ok(late)) => late,
            Ok(Err(_)) => {
                sleep(self.shared.terms.over_after()).await;
                Vec::new()
            }
            Err(_) => Vec::new(),
        };
        Acknowledged { took: moment().since(committed), late }
    }

    /// Who shares the store. `this` is who asks.
    ///
    /// # Errors
    /// If the ledger cannot be read in time.
    pub async fn roll_call(&self, this: CheckerId) -> Result<RollCall, StoreError> {
        let mut call = in_time(self.shared.terms.length, self.shared.ledger.roll_call(this)).await?;
        if let Some((own, applied)) = (self.shared.own)() {
            for node in call.nodes.iter_mut().filter(|node| node.id == own) {
                node.applied = node.applied.max(applied);
            }
        }
        let roster = lock(&self.shared.roster);
        for node in &mut call.nodes {
            node.lag = roster.lag(node.id);
        }
        drop(roster);
        Ok(call)
    }
}

impl Drop for Acknowledging {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch_the_ledger(shared: Arc<Shared>) {
    let mut pause = SOON;
    loop {
        let looked = shared.look().await;
        if let Err(error) = &looked {
            debug!("the ledger of the checkers cannot be read: {error}");
        }
        let next = shared.answer_those_who_waited();
        let wait = match next {
            None => {
                pause = SOON;
                shared.terms.over_after()
            }
            Some(until) => {
                let wait = pause.min(until.since(moment())).max(Duration::from_micros(100));
                pause = (pause * 5 / 4).min(LATER);
                wait
            }
        };
        let woken = async {
            tokio::select! {
                () = shared.somebody_waits.notified() => {}
                () = shared.told.notified(), if next.is_some() => {}
            }
        };
        if timeout(wait, woken).await.is_ok() {
            pause = SOON;
        }
    }
}

impl Shared {
    /// Reads the ledger once, and tidies it up.
    async fn look(&self) -> Result<(), StoreError> {
        let asked = moment();
        let mut reading = in_time(self.terms.length, self.ledger.ledger()).await?;
        self.add_own(&mut reading);
        self.learn_names(&reading).await;
        let (settle, forget) = {
            let mut census = lock(&self.census);
            let now = moment();
            let ran_out = census.note(reading.clone(), asked, now);
            self.note_late(&ran_out);
            lock(&self.roster).note(&reading, asked, now, self.terms.over_after());
            (census.to_settle(now), census.to_forget(now))
        };
        if let Some(life) = settle {
            in_time(self.terms.length, self.ledger.settle(life)).await?;
        }
        for gone in forget {
            info!(checker.id = %gone.checker, "a process renews its lease no more, and is not waited for: {}", gone.checker);
            in_time(self.terms.length, self.ledger.forget_checker(gone)).await?;
        }
        Ok(())
    }

    /// Asks what people call those who are new. Nothing depends on it.
    async fn learn_names(&self, reading: &LedgerReading) {
        if lock(&self.roster).knows_all(reading) {
            return;
        }
        let nobody = CheckerId::from_bytes([0; 16]);
        match in_time(self.terms.length, self.ledger.roll_call(nobody)).await {
            Ok(call) => lock(&self.roster).learn(call),
            Err(error) => debug!("what the checkers are called cannot be read: {error}"),
        }
    }

    /// Those whose leases ran out are late for every entry that they have not applied, and that was committed while their leases
    /// ran.
    fn note_late(&self, ran_out: &[(CheckerStanding, Moment)]) {
        for (gone, since) in ran_out {
            let name = lock(&self.roster).name(gone.checker);
            let is_late = |one: &&mut Waiting| {
                gone.applied < one.awaited.number && one.awaited.committed < *since + self.terms.length
            };
            lock(&self.waiting).iter_mut().filter(is_late).for_each(|one| one.gone.push(name.clone()));
        }
    }

    fn add_own(&self, reading: &mut LedgerReading) {
        if let Some((own, head)) = (self.own)() {
            for standing in reading.checkers.iter_mut().filter(|standing| standing.checker == own) {
                standing.applied = standing.applied.max(head);
            }
        }
    }

    /// Answers those whose entry is applied everywhere. Says until when the next one has to wait at most.
    fn answer_those_who_waited(&self) -> Option<Moment> {
        let census = lock(&self.census);
        let mut waiting = lock(&self.waiting);
        let now = moment();
        let mut next: Option<Moment> = None;
        let still_waiting = std::mem::take(&mut *waiting).into_iter().filter_map(|one| {
            match census.progress(one.awaited, now) {
                Progress::Acknowledged { late } => {
                    let roster = lock(&self.roster);
                    let late = late.into_iter().map(|late| roster.name(late));
                    // Whoever does not wait any more does not want to know.
                    let _ = one.reply.send(one.gone.into_iter().chain(late).collect());
                    None
                }
                Progress::Waiting { until } => {
                    next = Some(next.map_or(until, |next| next.min(until)));
                    Some(one)
                }
            }
        });
        *waiting = still_waiting.collect();
        next
    }
}

impl fmt::Debug for Acknowledging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acknowledging(..)")
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use kerria_core::{
        lease::{Ledger, Life, NodeStanding, Renewal, Renewed},
        store::LogPage,
    };

    use super::*;

    const TERMS: LeaseTerms = LeaseTerms { length: Duration::from_millis(200) };

    /// A ledger in memory. Who is in it is called by its identifier.
    struct InMemory(Mutex<Ledger>);

    #[async_trait]
    impl Leases for InMemory {
        async fn renew_lease(&self, renewal: Renewal, _: &str) -> Result<Renewed, StoreError> {
            Ok(lock(&self.0).renew(renewal, 9, |_, _| (LogNumber(0), LogPage::Entries(Vec::new()))))
        }

        async fn ledger(&self) -> Result<LedgerReading, StoreError> {
            Ok(lock(&self.0).read())
        }

        async fn roll_call(&self, this: CheckerId) -> Result<RollCall, StoreError> {
            let standing = |standing: &CheckerStanding| NodeStanding {
                id: standing.checker,
                name: format!("number {}", standing.checker.as_bytes()[0]),
                applied: standing.applied,
                lag: None,
            };
            let nodes = lock(&self.0).read().checkers.iter().map(standing).collect();
            Ok(RollCall { this, head: LogNumber(0), settled: true, nodes })
        }

        async fn settle(&self, life: Life) -> Result<(), StoreError> {
            lock(&self.0).settle(life);
            Ok(())
        }

        async fn forget_checker(&self, seen: CheckerStanding) -> Result<(), StoreError> {
            lock(&self.0).forget(&seen);
            Ok(())
        }
    }

    struct Nobody;

    impl Watches for Nobody {
        fn applied(&self, _: &str, _: Duration) {}
        fn gone(&self, _: &str) {}
    }

    fn start() -> (Arc<InMemory>, Acknowledging) {
        let ledger = Arc::new(InMemory(Mutex::new(Ledger::new(Life(1), true))));
        let own: Own = Box::new(|| None);
        let acknowledging =
            Acknowledging::start(Arc::clone(&ledger) as _, TERMS, own, Arc::default(), Arc::new(Nobody));
        (ledger, acknowledging)
    }

    fn silent() -> Renewal {
        Renewal { checker: CheckerId::from_bytes([9; 16]), applied: None }
    }

    #[tokio::test]
    async fn whoever_was_silent_before_already_is_named_when_the_lease_is_over() {
        let (ledger, acknowledging) = start();
        ledger.renew_lease(silent(), "").await.unwrap();
        // It is seen now, so its lease is known to be over before that of somebody who renews just before the next commit.
        let first = acknowledging.acknowledged(LogNumber(0)).await;
        assert_eq!(first.late, [""; 0]);
        sleep(TERMS.length / 2).await;
        let second = acknowledging.acknowledged(LogNumber(1)).await;
        assert_eq!(second.late, ["number 9"]);
        assert!(second.took < TERMS.length, "{second:?}");
    }

    #[tokio::test]
    async fn whoever_leaves_in_good_order_is_not_late() {
        let (ledger, acknowledging) = start();
        ledger.renew_lease(silent(), "").await.unwrap();
        let leaves = async {
            sleep(TERMS.length / 4).await;
            ledger.dismiss(silent().checker).await.unwrap();
        };
        let (acknowledged, ()) = tokio::join!(acknowledging.acknowledged(LogNumber(1)), leaves);
        assert_eq!(acknowledged.late, [""; 0]);
    }
}
