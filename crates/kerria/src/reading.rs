//! Of many who want to read the same session at once, one reads it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kerria_core::{TokenHash, store::Trouble};
use tokio::sync::watch;

/// What came of a reading, for those who have waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The session is in memory, if it is good. Whoever needs more has to ask.
    Read,
    /// There is no such session.
    Unknown,
    /// The store failed.
    Failed(Trouble),
}

/// Readings that are under way.
#[derive(Default)]
pub(crate) struct Readings(Mutex<HashMap<TokenHash, watch::Receiver<Option<Outcome>>>>);

/// Whose turn it is.
pub(crate) enum Turn<'r> {
    /// Nobody else's: read it, and say what came of it.
    Mine(UnderWay<'r>),
    /// Somebody else has read it meanwhile.
    Read(Outcome),
}

/// A reading. When it is dropped without an outcome, one of those who wait takes it over.
pub(crate) struct UnderWay<'r> {
    readings: &'r Readings,
    hash: TokenHash,
    outcome: watch::Sender<Option<Outcome>>,
}

impl Readings {
    /// Waits for whoever reads this session already. If nobody does, it is the caller's turn.
    pub(crate) async fn turn(&self, hash: TokenHash) -> Turn<'_> {
        loop {
            let mut waiting = {
                let mut under_way = self.lock();
                let Some(waiting) = under_way.get(&hash) else {
                    let (outcome, waiting) = watch::channel(None);
                    under_way.insert(hash, waiting);
                    return Turn::Mine(UnderWay { readings: self, hash, outcome });
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

    fn lock(&self) -> MutexGuard<'_, HashMap<TokenHash, watch::Receiver<Option<Outcome>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay<'_> {
    /// Tells those who wait.
    pub(crate) fn ends(self, outcome: Outcome) {
        // In this order: whoever comes now reads for themselves.
        self.readings.lock().remove(&self.hash);
        self.outcome.send_replace(Some(outcome));
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        // After an outcome, it may be somebody else's.
        if self.outcome.borrow().is_none() {
            self.readings.lock().remove(&self.hash);
        }
    }
}
