//! Carries the messages of the [lease protocol](kerria_core::lease); what they mean is decided there.
//!
//! Two halves, each a task. [`Following`] renews the lease of this process and lets its followers apply what is new: every
//! process that answers from memory has one. [`Acknowledging`] reads the ledger for those who wait until an entry is applied
//! everywhere: every process that ends something has one.

mod acknowledging;
mod clock;
mod following;
mod roster;

pub use acknowledging::{Acknowledging, Own};
pub use clock::moment;
pub use following::{Following, Renews};
pub use roster::Watches;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kerria_core::store::{StoreError, Trouble};
use tokio::time::timeout;

/// Whoever does not answer within a lease has not answered.
async fn in_time<T>(
    lease: Duration,
    asked: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(lease, asked).await.unwrap_or_else(|elapsed| Err(StoreError::new(Trouble::Unavailable, elapsed)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
