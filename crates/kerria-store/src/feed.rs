//! The feed of a store that several processes share: keeps the followers of this process up to date and their lease alive, and
//! waits for those of the others.
//!
//! It carries the messages of the [lease protocol](kerria_core::lease); what they mean is decided there. Two tasks: one renews,
//! every third of a lease and whenever it is [woken](Feed::wake), and lets the followers apply what is new; the other reads the
//! ledger, as often as somebody waits for an entry to be applied everywhere, and now and then to tidy it up.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use kerria_core::{
    CheckerId, Lease, LeaseTerms, LogNumber, Moment,
    lease::{self, Awaited, Census, Holder, LeaseKeeper, Progress, Renewed, RollCall, Todo},
    store::{Follower, Leases, StoreError, Trouble},
};
use tokio::{
    sync::{Notify, oneshot, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::{debug, error, info, warn};

use crate::observer::Observer;

/// How long it waits after an error. Shorter than a third of a lease, which may still be saved.
const AFTER_AN_ERROR: Duration = Duration::from_millis(100);

/// How soon the ledger is read again while somebody waits; each time twice as late, up to the second.
const SOON: Duration = Duration::from_millis(1);
const LATER: Duration = Duration::from_millis(16);

/// How long [`Feed::catch_up`] waits.
const DEADLINE: Duration = Duration::from_secs(2);

/// The clock of leases: it never goes back, and goes on while the machine is suspended.
pub(crate) fn moment() -> Moment {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    // Elsewhere the monotonic clock does.
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    let (seconds, nanos) =
        (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    Moment(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// A process among those that share a store.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its identifier, made anew at each start.
    pub id: CheckerId,
    /// What people call it.
    pub name: String,
}

/// Keeps the followers of this process up to date, for as long as it is not dropped.
pub(crate) struct Feed {
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

struct Shared {
    ledger: Arc<dyn Leases>,
    node: Node,
    terms: LeaseTerms,
    lease: Lease,
    observer: Arc<dyn Observer>,
    /// Both under one lock: who begins to follow gets every entry after the number that they are told.
    following: Mutex<Following>,
    /// Until when the lease has been extended.
    extended: watch::Sender<Option<Moment>>,
    news: Notify,
    /// Whether there will be no more renewals.
    stopped: watch::Sender<bool>,
    census: Mutex<Census>,
    waiting: Mutex<Vec<Waiting>>,
    somebody_waits: Notify,
}

struct Following {
    holder: Holder,
    keeper: LeaseKeeper,
    followers: Vec<Weak<dyn Follower>>,
    /// The lease was given up for good.
    left: bool,
}

/// Somebody who waits for an entry to be applied everywhere.
struct Waiting {
    awaited: Awaited,
    reply: oneshot::Sender<Vec<CheckerId>>,
}

/// What it took until an entry was applied everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) took: Duration,
    /// The checkers that have not applied it. Their leases have run out.
    pub(crate) late: Vec<CheckerId>,
}

impl Feed {
    /// Starts to renew a lease for this process. Needs a Tokio runtime.
    pub(crate) fn start(
        ledger: Arc<dyn Leases>,
        node: Node,
        terms: LeaseTerms,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let (lease, keeper) = Lease::limited(moment);
        let following =
            Following { holder: Holder::new(node.id, terms), keeper, followers: Vec::new(), left: false };
        let shared = Arc::new(Shared {
            ledger,
            node,
            terms,
            lease,
            observer,
            following: Mutex::new(following),
            extended: watch::Sender::new(None),
            news: Notify::new(),
            stopped: watch::Sender::new(false),
            census: Mutex::new(Census::new(terms)),
            waiting: Mutex::default(),
            somebody_waits: Notify::new(),
        });
        let tasks = [
            tokio::spawn(renew_always(Arc::clone(&shared))),
            tokio::spawn(watch_the_ledger(Arc::clone(&shared))),
        ];
        Self { shared, tasks }
    }

    /// The lease of this process.
    pub(crate) fn lease(&self) -> Lease {
        self.shared.lease.clone()
    }

    /// There may be new entries. Costs nothing if there are none.
    pub(crate) fn wake(&self) {
        self.shared.news.notify_one();
    }

    /// The same, for somebody who hears of news.
    pub(crate) fn waker(&self) -> impl Fn() + Send + use<> {
        let shared = Arc::downgrade(&self.shared);
        move || {
            if let Some(shared) = shared.upgrade() {
                shared.news.notify_one();
            }
        }
    }

    /// Lets `follower` apply every entry after the one whose number is returned.
    pub(crate) async fn follow(&self, follower: Weak<dyn Follower>) -> Result<LogNumber, StoreError> {
        self.extended_beyond(Moment(0)).await?;
        let mut following = lock(&self.shared.following);
        following.followers.push(follower);
        following.holder.head().ok_or_else(|| Trouble::Unavailable.into())
    }

    /// Lets the followers apply all that was committed before.
    pub(crate) async fn catch_up(&self) -> Result<(), StoreError> {
        let now = moment();
        self.wake();
        self.extended_beyond(now + self.shared.terms.length).await
    }

    /// Waits until the lease was extended by a renewal that was sent late enough to reach up to `until`.
    async fn extended_beyond(&self, until: Moment) -> Result<(), StoreError> {
        let mut extended = self.shared.extended.subscribe();
        let reaches = extended.wait_for(|extended| extended.is_some_and(|extended| extended >= until));
        match timeout(DEADLINE, reaches).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(gone)) => Err(StoreError::new(Trouble::Unavailable, gone)),
            Err(elapsed) => Err(StoreError::new(Trouble::Unavailable, elapsed)),
        }
    }

    /// Waits until nobody accepts any more what the entry with this number has ended. Never longer than a lease. To be called
    /// when the entry is known to be committed.
    pub(crate) async fn acknowledged(&self, number: LogNumber) -> Acknowledged {
        let committed = moment();
        let (reply, acknowledged) = oneshot::channel();
        lock(&self.shared.waiting).push(Waiting { awaited: Awaited { number, committed }, reply });
        self.wake();
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
        let took = Duration::from_nanos(moment().0.saturating_sub(committed.0));
        self.shared.observer.acknowledged(took, late.len());
        Acknowledged { took, late }
    }

    /// Who shares the store.
    pub(crate) async fn roll_call(&self) -> Result<RollCall, StoreError> {
        let mut call = self.shared.in_time(self.shared.ledger.roll_call(self.shared.node.id)).await?;
        // Of itself it knows more than the ledger does.
        if let Some(applied) = lock(&self.shared.following).holder.head() {
            for own in call.nodes.iter_mut().filter(|node| node.id == call.this) {
                own.applied = own.applied.max(applied);
            }
        }
        Ok(call)
    }

    /// Gives up the lease for good, and takes this process out of the ledger.
    pub(crate) async fn leave(&self) -> Result<(), StoreError> {
        {
            let mut following = lock(&self.shared.following);
            following.give_up();
        }
        // A renewal that is still under way would enter this process again.
        self.wake();
        let mut stopped = self.shared.stopped.subscribe();
        drop(timeout(self.shared.terms.length, stopped.wait_for(|stopped| *stopped)).await);
        let reading = self.shared.ledger.ledger().await?;
        match reading.checkers.iter().find(|standing| standing.checker == self.shared.node.id) {
            Some(own) => self.shared.ledger.forget_checker(*own).await,
            None => Ok(()),
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        lock(&self.shared.following).keeper.set(None);
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn renew_always(shared: Arc<Shared>) {
    let mut failing = false;
    while !lock(&shared.following).left {
        let pause = match shared.renew().await {
            Ok(ask_again) => {
                if std::mem::take(&mut failing) {
                    info!("the store answers again: memory may be relied on as before");
                }
                if ask_again {
                    continue;
                }
                shared.terms.renew_every()
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!(
                        "the lease cannot be renewed, and runs out: the store is asked for every session until then: {error}"
                    );
                }
                AFTER_AN_ERROR
            }
        };
        let _woken_or_not = timeout(pause, shared.news.notified()).await;
    }
    shared.stopped.send_replace(true);
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
                pause = (pause * 2).min(LATER);
                wait
            }
        };
        if timeout(wait, shared.somebody_waits.notified()).await.is_ok() {
            pause = SOON;
        }
    }
}

impl Shared {
    /// One renewal. Says whether another one is due at once.
    async fn renew(&self) -> Result<bool, StoreError> {
        let asked = lock(&self.following).holder.ask(moment());
        let answer = self.in_time(self.ledger.renew_lease(asked.renewal, &self.node.name)).await?;
        let mut guard = lock(&self.following);
        let following = &mut *guard;
        if following.left {
            return Ok(false);
        }
        let told = catch_unwind(AssertUnwindSafe(|| following.answered(asked, answer)));
        let Ok(ask_again) = told else {
            error!("a follower has failed to apply what was committed: memory is not relied on any more");
            following.give_up();
            return Ok(false);
        };
        let until = following.holder.until();
        following.keeper.set(until);
        drop(guard);
        self.extended.send_replace(until);
        Ok(ask_again)
    }

    /// Reads the ledger once, and tidies it up.
    async fn look(&self) -> Result<(), StoreError> {
        let asked = moment();
        let mut reading = self.in_time(self.ledger.ledger()).await?;
        // Of itself it knows more than the ledger does.
        if let Some(head) = lock(&self.following).holder.head() {
            for own in reading.checkers.iter_mut().filter(|standing| standing.checker == self.node.id) {
                own.applied = own.applied.max(head);
            }
        }
        let (settle, forget) = {
            let mut census = lock(&self.census);
            let now = moment();
            census.note(reading, asked, now);
            (census.to_settle(now), census.to_forget(now))
        };
        if let Some(life) = settle {
            self.in_time(self.ledger.settle(life)).await?;
        }
        for gone in forget {
            info!(checker.id = %gone.checker, "a process renews its lease no more, and is not waited for: {}", gone.checker);
            self.in_time(self.ledger.forget_checker(gone)).await?;
        }
        Ok(())
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

    /// A store that does not answer within a lease has not answered.
    async fn in_time<T>(&self, asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        timeout(self.terms.length, asked)
            .await
            .unwrap_or_else(|elapsed| Err(StoreError::new(Trouble::Unavailable, elapsed)))
    }
}

impl Following {
    /// Takes the answer to a renewal. Says whether to renew again at once.
    fn answered(&mut self, asked: lease::Asked, answer: Renewed) -> bool {
        match self.holder.answered(asked, answer) {
            Todo::Apply(entries, gained) => {
                // What was applied is to be said at once: somebody may wait for it.
                let ask_again = gained.is_partial() || !entries.is_empty();
                if !entries.is_empty() {
                    self.each(|follower| follower.apply(&entries));
                }
                self.holder.applied(gained);
                ask_again
            }
            Todo::StartOver(head) => {
                self.keeper.set(None);
                warn!("entries of the revocation log were missed: all that was in memory is read again");
                self.each(|follower| follower.start_over(head));
                true
            }
            Todo::AskAgain => true,
            Todo::Nothing => false,
        }
    }

    fn give_up(&mut self) {
        self.left = true;
        self.holder.give_up();
        self.keeper.set(None);
    }

    fn each(&mut self, tell: impl Fn(&dyn Follower)) {
        self.followers.retain(|follower| match follower.upgrade() {
            Some(follower) => {
                tell(&*follower);
                true
            }
            None => false,
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Feed({})", self.shared.node.id)
    }
}
