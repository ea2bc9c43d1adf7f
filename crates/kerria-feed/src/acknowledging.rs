use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use kerria_core::{
    CheckerId, LeaseTerms, LogNumber, Moment,
    lease::{Awaited, Census, LedgerReading, Progress, RollCall},
    store::{Leases, StoreError},
};
use tokio::{
    sync::{Notify, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::{debug, info};

use crate::{clock::moment, in_time, lock};

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
    waiting: Mutex<Vec<Waiting>>,
    somebody_waits: Notify,
    told: Arc<Notify>,
}

/// Somebody who waits for an entry to be applied everywhere.
struct Waiting {
    awaited: Awaited,
    reply: oneshot::Sender<Vec<CheckerId>>,
}

/// What it took until an entry was applied everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// How long.
    pub took: Duration,
    /// The checkers that have not applied it. Their leases have run out.
    pub late: Vec<CheckerId>,
}

impl Acknowledging {
    /// Starts to read the ledger: while somebody waits, at once when `told` is notified, and again and again without that. Needs a Tokio
    /// runtime.
    #[must_use]
    pub fn start(ledger: Arc<dyn Leases>, terms: LeaseTerms, own: Own, told: Arc<Notify>) -> Self {
        let shared = Arc::new(Shared {
            ledger,
            terms,
            own,
            census: Mutex::new(Census::new(terms)),
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
        lock(&self.shared.waiting).push(Waiting { awaited: Awaited { number, committed }, reply });
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
        Acknowledged { took: Duration::from_nanos(moment().0.saturating_sub(committed.0)), late }
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
                let left = Duration::from_nanos(until.0.saturating_sub(moment().0));
                let wait = pause.min(left).max(Duration::from_micros(100));
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
        let (settle, forget) = {
            let mut census = lock(&self.census);
            let now = moment();
            census.note(reading, asked, now);
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
                    // Whoever does not wait any more does not want to know.
                    let _ = one.reply.send(late);
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
