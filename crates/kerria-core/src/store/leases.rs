use async_trait::async_trait;

use crate::{
    id::CheckerId,
    lease::{CheckerStanding, LedgerReading, Life, Renewal, Renewed, RollCall},
    store::StoreError,
};

/// The ledger of the checkers ([`lease`](crate::lease)), in a store that several processes share.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Notes how far a checker has applied the log, and answers what follows. Both are one step, the note first: whoever reads
    /// the ledger afterwards finds a checker that may have been granted a lease. `name` says to people which process it is.
    async fn renew_lease(&self, renewal: Renewal, name: &str) -> Result<Renewed, StoreError>;

    /// What the ledger says, of one instant.
    async fn ledger(&self) -> Result<LedgerReading, StoreError>;

    /// What the ledger says to people, of one instant. `this` is who asks.
    async fn roll_call(&self, this: CheckerId) -> Result<RollCall, StoreError>;

    /// Notes that every lease from before this life of the ledger is over. Of another life it says nothing.
    async fn settle(&self, life: Life) -> Result<(), StoreError>;

    /// Forgets a checker, unless it has renewed its lease since it was seen like this.
    async fn forget_checker(&self, seen: CheckerStanding) -> Result<(), StoreError>;

    /// Forgets a checker that has given up its lease for good, and has no renewal under way.
    async fn dismiss(&self, checker: CheckerId) -> Result<(), StoreError> {
        let reading = self.ledger().await?;
        match reading.checkers.iter().find(|standing| standing.checker == checker) {
            Some(seen) => self.forget_checker(*seen).await,
            None => Ok(()),
        }
    }
}
