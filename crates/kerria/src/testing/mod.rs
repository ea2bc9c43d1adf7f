//! For the tests of an application: sessions in memory, a clock that is moved, a store that breaks when it is told to, and
//! requests of somebody who is signed in.
//!
//! The page on the library in `docs` shows a test with all of it.

mod faulty;

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;
use kerria_core::{Clock, Entropy, Timestamp, Transport, UserId};
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
    /// Their store, which is in memory, and breaks when it is told to.
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
    let clock = Arc::new(ManualClock::new(START));
    let memory = SqliteStore::open_in_memory().expect("SQLite can be opened in memory");
    let store = Arc::new(FaultyStore::new(Arc::new(memory)));
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
