use async_trait::async_trait;

use crate::{
    store::StoreError,
    throttle::{Admission, Door},
    time::Timestamp,
};

/// The counters that slow down those who guess.
#[async_trait]
pub trait Doors: Send + Sync {
    /// Asks whether an attempt may go through all of `doors`, and counts it at each if it may.
    async fn knock(&self, doors: Vec<Door>, now: Timestamp) -> Result<Admission, StoreError>;

    /// Takes back one counted attempt at each of `doors`, because it succeeded.
    async fn take_back(&self, doors: Vec<Door>) -> Result<(), StoreError>;

    /// Forgets all failures at each of `doors`.
    async fn reset(&self, doors: Vec<Door>) -> Result<(), StoreError>;

    /// Removes up to `limit` doors at which nothing is left to remember at `now`, and invitations that are over, and
    /// returns how many.
    async fn sweep_doors(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError>;
}
