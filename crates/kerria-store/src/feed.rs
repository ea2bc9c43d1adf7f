//! The feed of a store that several processes share: keeps the followers of this process up to date and their lease alive, and
//! waits for those of the others.
//!
//! Both halves are those of [`kerria_feed`], over the ledger of the store.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use kerria_core::{
    CheckerId, Lease, LeaseTerms, LogNumber,
    lease::{Renewal, Renewed, RollCall},
    store::{Acknowledged, Follower, Leases, StoreError, Wait},
};
pub(crate) use kerria_feed::moment;
use kerria_feed::{Acknowledging, Following, Renews};

use crate::observer::{Observer, Watching};

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
    ledger: Arc<dyn Leases>,
    for_others: Arc<dyn Leases>,
    node: Node,
    observer: Arc<dyn Observer>,
    following: Following,
    acknowledging: Acknowledging,
}

/// The ledger, for the renewals of this process.
struct Own {
    ledger: Arc<dyn Leases>,
    name: String,
}

#[async_trait]
impl Renews for Own {
    async fn renew(&self, renewal: Renewal) -> Result<Renewed, StoreError> {
        self.ledger.renew_lease(renewal, &self.name).await
    }
}

impl Feed {
    /// Starts to renew a lease for this process. `for_others` is the same ledger on connections of its own: however many follow through this
    /// process, and however slow that is, its own renewals do not wait for theirs. Needs a Tokio runtime.
    pub(crate) fn start(
        ledger: Arc<dyn Leases>,
        for_others: Arc<dyn Leases>,
        node: Node,
        terms: LeaseTerms,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let own = Own { ledger: Arc::clone(&ledger), name: node.name.clone() };
        let following = Following::start(Arc::new(own), node.id, terms);
        let watching = Arc::new(Watching(Arc::clone(&observer)));
        let told = following.told();
        let acknowledging = Acknowledging::start(Arc::clone(&ledger), terms, following.own(), told, watching);
        Self { ledger, for_others, node, observer, following, acknowledging }
    }

    /// The ledger, for others who follow the log through this process.
    pub(crate) fn ledger(&self) -> Arc<dyn Leases> {
        Arc::clone(&self.for_others)
    }

    /// The lease of this process.
    pub(crate) fn lease(&self) -> Lease {
        self.following.lease()
    }

    /// There may be new entries. Costs nothing if there are none.
    pub(crate) fn wake(&self) {
        self.following.wake();
    }

    /// The same, for somebody who hears of news.
    pub(crate) fn waker(&self) -> impl Fn() + Send + use<> {
        self.following.waker()
    }

    /// Lets `follower` apply every entry after the one whose number is returned.
    pub(crate) async fn follow(&self, follower: Weak<dyn Follower>) -> Result<LogNumber, StoreError> {
        self.following.follow(follower).await
    }

    /// Lets the followers apply all that was committed before.
    pub(crate) async fn catch_up(&self) -> Result<(), StoreError> {
        self.following.catch_up().await
    }

    /// Waits for whom `wait` says, after the entry with this number was committed; for the own process in any case.
    pub(crate) async fn waited(&self, number: LogNumber, wait: Wait) -> Option<Acknowledged> {
        match wait {
            Wait::Store => {
                self.following.applied(number).await;
                None
            }
            Wait::Checkers => Some(self.acknowledged(number).await),
        }
    }

    /// What [`Acknowledging::acknowledged`] says.
    pub(crate) async fn acknowledged(&self, number: LogNumber) -> Acknowledged {
        self.following.wake();
        let acknowledged = self.acknowledging.acknowledged(number).await;
        self.observer.acknowledged(acknowledged.took, acknowledged.late.len());
        acknowledged
    }

    /// Who shares the store.
    pub(crate) async fn roll_call(&self) -> Result<RollCall, StoreError> {
        self.acknowledging.roll_call(self.node.id).await
    }

    /// Gives up the lease for good, and takes this process out of the ledger.
    pub(crate) async fn leave(&self) -> Result<(), StoreError> {
        self.following.stop().await;
        self.ledger.dismiss(self.node.id).await
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Feed({})", self.node.id)
    }
}
