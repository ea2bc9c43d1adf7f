//! Of many who want to read the same thing at once, one reads it.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kerria_core::store::Trouble;
use tokio::sync::watch;

/// What came of a reading, for those who have waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in memory, if it is good. Whoever needs more has to ask.
    Read,
    /// There is no such thing.
    Unknown,
    /// The store failed.
    Failed(Trouble),
}

/// Readings that are under way.
pub(crate) struct Readings<K>(Mutex<HashMap<K, watch::Receiver<Option<Outcome>>>>);

/// Whose turn it is.
pub(crate) enum Turn<'r, K: Copy + Eq + Hash> {
    /// Nobody else's: read it, and say what came of it.
    Mine(UnderWay<'r, K>),
    /// Somebody else has read it meanwhile.
    Read(Outcome),
}

/// A reading. When it is dropped without an outcome, one of those who wait takes it over.
pub(crate) struct UnderWay<'r, K: Copy + Eq + Hash> {
    readings: &'r Readings<K>,
    what: K,
    outcome: watch::Sender<Option<Outcome>>,
}

impl<K> Default for Readings<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Copy + Eq + Hash> Readings<K> {
    /// Waits for whoever reads this already. If nobody does, it is the caller's turn.
    pub(crate) async fn turn(&self, what: K) -> Turn<'_, K> {
        loop {
            let mut waiting = {
                let mut under_way = self.lock();
                let Some(waiting) = under_way.get(&what) else {
                    let (outcome, waiting) = watch::channel(None);
                    under_way.insert(what, waiting);
                    return Turn::Mine(UnderWay { readings: self, what, outcome });
                };
                waiting.clone()
            };
            if let Ok(outcome) = waiting.wait_for(Option::is_some).await
                && let Some(outcome) = *outcome
            {
                return Turn::Read(outcome);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, watch::Receiver<Option<Outcome>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> UnderWay<'_, K> {
    /// Tells those who wait.
    pub(crate) fn ends(self, outcome: Outcome) {
        // In this order: whoever comes now reads for themselves.
        self.readings.lock().remove(&self.what);
        self.outcome.send_replace(Some(outcome));
    }
}

impl<K: Copy + Eq + Hash> Drop for UnderWay<'_, K> {
    fn drop(&mut self) {
        // After an outcome, it may be somebody else's.
        if self.outcome.borrow().is_none() {
            self.readings.lock().remove(&self.what);
        }
    }
}
