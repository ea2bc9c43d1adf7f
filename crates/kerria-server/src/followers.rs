//! The checkers in applications that renew their leases through this node.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use kerria::Stopwatch;
use kerria_core::{CheckerId, LeaseTerms, StoreError, store::Leases};

/// Who has renewed here lately, and is in the ledger therefore.
#[derive(Default)]
pub struct Followers(Mutex<HashMap<CheckerId, Stopwatch>>);

impl Followers {
    /// Whether there is room for this checker among so many in the ledger. Those that are in it have it. Several that come at the same
    /// instant may all find the last room free.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub async fn has_room(
        &self,
        checker: CheckerId,
        max: u32,
        ledger: &dyn Leases,
    ) -> Result<bool, StoreError> {
        if self.is_known(checker) {
            return Ok(true);
        }
        let reading = ledger.ledger().await?;
        let is_in_it = reading.checkers.iter().any(|standing| standing.checker == checker);
        Ok(is_in_it || reading.checkers.len() < max as usize)
    }

    /// It has renewed.
    pub fn note(&self, checker: CheckerId) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.insert(checker, Stopwatch::start()).is_none() {
            known.retain(|_, renewed| is_recent(renewed));
        }
    }

    fn is_known(&self, checker: CheckerId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&checker).is_some_and(is_recent)
    }
}

/// Nobody forgets a checker before that time is over.
fn is_recent(renewed: &Stopwatch) -> bool {
    renewed.elapsed() < LeaseTerms::default().length
}
