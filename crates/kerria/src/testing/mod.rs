//! For the tests of an application: sessions in memory, a clock that is moved, a store that breaks when it is told to, and
//! requests of somebody who is signed in.
//!
//! The page on the library in `docs` shows a test with all of it.

mod faulty;

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;
use kerria_core::{Clock, Entropy, Store, Timestamp, Transport, UserId};
use kerria_store::SqliteStore;
use sha2::{Digest, Sha256};

pub use faulty::{FaultyStore, Held, Steps};

pub use crate::system::ManualClock;
use crate::{SessionOptions, Sessions};

/// What the clock of [`sessions`] shows first: a day in 2027, so that no test depends on today.
pub const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Sessions for one test.
#[derive(Debug)]
pub struct TestSessions {
    /// The sessions themselves.
    pub sessions: Sessions,
    /// Their clock. It stands still until it is moved.
    pub clock: Arc<ManualClock>,
    /// Their store, which breaks when it is told to. What is behind it is in memory, unless it was said otherwise.
    pub store: Arc<FaultyStore>,
    options: SessionOptions,
}

impl TestSessions {
    /// What they were started with: for others over the same store, which remember nothing, as after a restart.
    #[must_use]
    pub fn options(&self) -> SessionOptions {
        self.options.clone()
    }
}

/// Sessions in memory, for `http://localhost:3000`.
///
/// # Panics
/// If they cannot be started.
pub async fn sessions() -> TestSessions {
    sessions_with(SessionOptions::new("http://localhost:3000".parse().expect("it is an address"))).await
}

/// The same with the options of the application, but for the clock.
///
/// # Panics
/// If they cannot be started.
pub async fn sessions_with(options: SessionOptions) -> TestSessions {
    sessions_over(Arc::new(SqliteStore::open_in_memory().expect("SQLite can be opened in memory")), options)
        .await
}

/// The same over a store of the application's own.
///
/// # Panics
/// If they cannot be started.
pub async fn sessions_over(store: Arc<dyn Store>, options: SessionOptions) -> TestSessions {
    let clock = Arc::new(ManualClock::new(START));
    let store = Arc::new(FaultyStore::new(store));
    let options = options.clock(Arc::clone(&clock) as Arc<dyn Clock>);
    let sessions = Sessions::start(Arc::clone(&store) as _, options.clone()).await;
    TestSessions { sessions: sessions.expect("the sessions start"), clock, store, options }
}

/// Signs a user in, and returns what their browser sends from then on in the header `Cookie`.
///
/// # Panics
/// If it does not succeed.
pub async fn login_as(sessions: &Sessions, user: UserId) -> HeaderValue {
    sessions.open_outside(user, Transport::Cookie).await.expect("the user is signed in")
}

/// Signs a program in, and returns what it sends from then on in the header `Authorization`.
///
/// # Panics
/// If it does not succeed.
pub async fn login_program_as(sessions: &Sessions, user: UserId) -> HeaderValue {
    sessions.open_outside(user, Transport::Bearer).await.expect("the user is signed in")
}

/// Bytes that look random and are the same in each run, for [`SessionOptions::entropy`]. Anybody can guess what is made of them.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<(u64, u64)>);

impl SeededEntropy {
    /// Those of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(Mutex::new((seed, 0)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(32) {
            let (seed, number) = *state;
            state.1 += 1;
            let block = Sha256::digest([seed.to_be_bytes(), number.to_be_bytes()].concat());
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kerria_core::store::{Sessions as _, Trouble};

    use super::*;
    use crate::Timestamp;

    const ALICE: UserId = UserId::from_number(1);

    async fn sessions_seeded(seed: u64) -> TestSessions {
        let options = SessionOptions::new("http://localhost:3000".parse().unwrap());
        sessions_with(options.entropy(Arc::new(SeededEntropy::new(seed)))).await
    }

    #[tokio::test]
    async fn tokens_of_one_seed_are_the_same_in_each_run_and_never_twice_in_one() {
        let (one, same, other) =
            (sessions_seeded(7).await, sessions_seeded(7).await, sessions_seeded(8).await);
        let first = login_as(&one.sessions, ALICE).await;
        assert_eq!(first, login_as(&same.sessions, ALICE).await);
        assert_ne!(first, login_as(&other.sessions, ALICE).await);
        assert_ne!(first, login_as(&one.sessions, ALICE).await);
        let mut bytes = [[0; 80]; 2];
        bytes.iter_mut().for_each(|bytes| SeededEntropy::new(1).fill(bytes));
        assert!(bytes[0] == bytes[1] && bytes[0][..32] != bytes[0][32..64]);
    }

    /// Whether a step fails.
    async fn fails(store: &FaultyStore) -> bool {
        let error = store.sessions_of(ALICE).await.err();
        error.is_some_and(|error| error.trouble == Trouble::Unavailable)
    }

    #[tokio::test]
    async fn the_next_steps_fail_or_those_of_one_name_or_all_until_it_is_mended() {
        let TestSessions { store, .. } = sessions().await;
        store.fail(Steps::Next(2));
        assert!(fails(&store).await && fails(&store).await && !fails(&store).await);
        store.fail(Steps::Of("find"));
        assert!(!fails(&store).await);
        store.fail(Steps::Of("sessions_of"));
        assert!(fails(&store).await && fails(&store).await);
        store.fail(Steps::All);
        assert!(fails(&store).await && store.trim_log(Timestamp::EPOCH, 1).await.is_err());
        store.mend();
        assert!(!fails(&store).await);
        assert_eq!(store.asked("sessions_of"), 8);
    }

    #[tokio::test]
    async fn what_hangs_goes_on_when_the_store_is_mended() {
        let TestSessions { store, .. } = sessions().await;
        store.hang(Steps::Of("sessions_of"));
        let hanging = tokio::spawn({
            let store = Arc::clone(&store);
            async move { fails(&store).await }
        });
        let in_vain = tokio::time::timeout(Duration::from_millis(5), fails(&store)).await;
        assert!(in_vain.is_err() && !hanging.is_finished());
        store.mend();
        assert!(!hanging.await.unwrap());
    }

    #[tokio::test]
    async fn an_answer_is_held_back_once_and_after_the_step_is_done() {
        let TestSessions { sessions, store, .. } = sessions().await;
        let held = store.hold("open");
        let signing_in = tokio::spawn({
            let sessions = sessions.clone();
            async move { login_as(&sessions, ALICE).await }
        });
        held.reached().await;
        assert_eq!(sessions.of(ALICE).await.unwrap().len(), 1, "it is committed");
        assert!(!signing_in.is_finished());
        held.release();
        signing_in.await.unwrap();
        login_as(&sessions, ALICE).await;
        assert_eq!(sessions.of(ALICE).await.unwrap().len(), 2);
    }
}
