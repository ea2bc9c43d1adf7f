use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use async_trait::async_trait;
use kerria_core::{
    CheckerId, Lease, LeaseTerms, LogNumber, Moment,
    lease::{self, Holder, LeaseKeeper, Renewal, Renewed, Todo},
    store::{Follower, StoreError, Trouble},
};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::timeout,
};
use tracing::{error, info, warn};

use crate::{Own, clock::moment, in_time, lock};

/// How long it waits after an error. Shorter than a third of a lease, which may still be saved.
const AFTER_AN_ERROR: Duration = Duration::from_millis(100);

/// How long [`Following::catch_up`] waits.
const DEADLINE: Duration = Duration::from_secs(2);

/// Whoever answers renewals: a ledger, or a node that asks its ledger.
#[async_trait]
pub trait Renews: Send + Sync {
    /// The answer to one renewal. It may be held back for a third of a lease at most, until there is news.
    async fn renew(&self, renewal: Renewal) -> Result<Renewed, StoreError>;

    /// What to call it in the log.
    fn called(&self) -> &'static str {
        "the store"
    }
}

/// Keeps the followers of this process up to date and their lease alive, for as long as it is not dropped.
pub struct Following {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    renews: Arc<dyn Renews>,
    checker: CheckerId,
    terms: LeaseTerms,
    lease: Lease,
    /// Both under one lock: who begins to follow gets every entry after the number that they are told.
    followed: Mutex<Followed>,
    /// Until when the lease has been extended.
    extended: watch::Sender<Option<Moment>>,
    news: Notify,
    /// What the last renewal failed of, unless it has succeeded.
    failed_of: Mutex<Option<String>>,
    /// Somebody has noted that this process has applied all that there is.
    told: Arc<Notify>,
    /// Whether there will be no more renewals.
    stopped: watch::Sender<bool>,
}

struct Followed {
    holder: Holder,
    keeper: LeaseKeeper,
    followers: Vec<Weak<dyn Follower>>,
    /// The lease was given up for good.
    left: bool,
}

impl Following {
    /// Starts to renew a lease for `checker`. Needs a Tokio runtime.
    #[must_use]
    pub fn start(renews: Arc<dyn Renews>, checker: CheckerId, terms: LeaseTerms) -> Self {
        let (lease, keeper) = Lease::limited(moment);
        let followed =
            Followed { holder: Holder::new(checker, terms), keeper, followers: Vec::new(), left: false };
        let shared = Arc::new(Shared {
            renews,
            checker,
            terms,
            lease,
            followed: Mutex::new(followed),
            extended: watch::Sender::new(None),
            news: Notify::new(),
            failed_of: Mutex::default(),
            told: Arc::default(),
            stopped: watch::Sender::new(false),
        });
        let task = tokio::spawn(renew_always(Arc::clone(&shared)));
        Self { shared, task }
    }

    /// The lease of this process.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.shared.lease.clone()
    }

    /// The number of the last entry that was applied.
    #[must_use]
    pub fn head(&self) -> Option<LogNumber> {
        lock(&self.shared.followed).holder.head()
    }

    /// How far this process is, for somebody who wants to know it later, too.
    #[must_use]
    pub fn own(&self) -> Own {
        let shared = Arc::downgrade(&self.shared);
        Box::new(move || {
            let shared = shared.upgrade()?;
            let head = lock(&shared.followed).holder.head()?;
            Some((shared.checker, head))
        })
    }

    /// Is notified whenever a renewal has said that all there is was applied here. The other processes, which hear of it at the same time, have
    /// said so by then, too, unless they are slower.
    #[must_use]
    pub fn told(&self) -> Arc<Notify> {
        Arc::clone(&self.shared.told)
    }

    /// There may be new entries. Costs nothing if there are none.
    pub fn wake(&self) {
        self.shared.news.notify_one();
    }

    /// The same, for somebody who hears of news.
    pub fn waker(&self) -> impl Fn() + Send + use<> {
        let shared = Arc::downgrade(&self.shared);
        move || {
            if let Some(shared) = shared.upgrade() {
                shared.news.notify_one();
            }
        }
    }

    /// Lets `follower` apply every entry after the one whose number is returned.
    ///
    /// # Errors
    /// If no lease can be got in time.
    pub async fn follow(&self, follower: Weak<dyn Follower>) -> Result<LogNumber, StoreError> {
        self.extended_beyond(Moment(0)).await?;
        let mut followed = lock(&self.shared.followed);
        followed.followers.push(follower);
        followed.holder.head().ok_or_else(|| Trouble::Unavailable.into())
    }

    /// Lets the followers apply all that was committed before.
    ///
    /// # Errors
    /// If nobody answers in time, or the lease was given up for good.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        if lock(&self.shared.followed).left {
            return Err(Trouble::Unavailable.into());
        }
        let now = moment();
        self.wake();
        self.extended_beyond(now + self.shared.terms.length).await
    }

    /// Waits until this process has applied the entry with this number, or can hold no lease any more from before it was
    /// committed.
    pub async fn applied(&self, number: LogNumber) {
        self.wake();
        let mut extended = self.shared.extended.subscribe();
        let applied = extended.wait_for(|_| self.head().is_some_and(|head| head >= number));
        drop(timeout(self.shared.terms.over_after(), applied).await);
    }

    /// Waits until the lease was extended by a renewal that was sent late enough to reach up to `until`.
    async fn extended_beyond(&self, until: Moment) -> Result<(), StoreError> {
        let mut extended = self.shared.extended.subscribe();
        let reaches = extended.wait_for(|extended| extended.is_some_and(|extended| extended >= until));
        match timeout(DEADLINE, reaches).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(gone)) => Err(StoreError::new(Trouble::Unavailable, gone)),
            Err(elapsed) => {
                let why = lock(&self.shared.failed_of).clone().unwrap_or_else(|| elapsed.to_string());
                Err(StoreError::new(Trouble::Unavailable, why))
            }
        }
    }

    /// Gives up the lease for good, and returns when no renewal is under way any more: one that is would enter this process
    /// again after somebody has taken it out of the ledger.
    pub async fn stop(&self) {
        lock(&self.shared.followed).give_up();
        self.wake();
        let mut stopped = self.shared.stopped.subscribe();
        drop(timeout(self.shared.terms.length, stopped.wait_for(|stopped| *stopped)).await);
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        lock(&self.shared.followed).keeper.set(None);
        self.task.abort();
    }
}

async fn renew_always(shared: Arc<Shared>) {
    let mut failing = false;
    let called = shared.renews.called();
    while !lock(&shared.followed).left {
        let sent = moment();
        let pause = match shared.renew().await {
            Ok(ask_again) => {
                if std::mem::take(&mut failing) {
                    *lock(&shared.failed_of) = None;
                    info!("{called} answers again: memory may be relied on as before");
                }
                if ask_again {
                    continue;
                }
                shared.told.notify_waiters();
                // An answer that was held back has used up its pause.
                let took = moment().since(sent);
                shared.terms.renew_every().saturating_sub(took)
            }
            Err(error) => {
                let why = error.source.as_ref().map_or_else(|| error.to_string(), ToString::to_string);
                if !std::mem::replace(&mut failing, true) {
                    warn!(
                        "the lease cannot be renewed: when it is over, {called} is asked for every session: {why}"
                    );
                }
                *lock(&shared.failed_of) = Some(why);
                AFTER_AN_ERROR
            }
        };
        let _woken_or_not = timeout(pause, shared.news.notified()).await;
    }
    shared.stopped.send_replace(true);
}

impl Shared {
    /// One renewal. Says whether another one is due at once.
    async fn renew(&self) -> Result<bool, StoreError> {
        let asked = lock(&self.followed).holder.ask(moment());
        let answer = in_time(self.terms.length, self.renews.renew(asked.renewal)).await?;
        let mut guard = lock(&self.followed);
        let followed = &mut *guard;
        if followed.left {
            return Ok(false);
        }
        let told = catch_unwind(AssertUnwindSafe(|| followed.answered(asked, answer)));
        let Ok(ask_again) = told else {
            error!("a follower has failed to apply what was committed: memory is not relied on any more");
            followed.give_up();
            return Ok(false);
        };
        let until = followed.holder.until();
        followed.keeper.set(until);
        drop(guard);
        self.extended.send_replace(until);
        Ok(ask_again)
    }
}

impl Followed {
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

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Following({})", self.shared.checker)
    }
}
