//! The queue of what waits for a worker.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use kerria_core::store::{StoreError, Trouble};

/// A bounded queue for a few workers. Whoever became idle last is woken first: its connection is warm, and what little
/// there is to do takes few connections.
pub(super) struct Queue<T> {
    bound: usize,
    state: Mutex<State<T>>,
    /// One for each worker.
    wake: Box<[Condvar]>,
}

struct State<T> {
    waiting: VecDeque<T>,
    /// The workers that have nothing to do, in the order in which they became so.
    idle: Vec<usize>,
    is_closed: bool,
}

impl<T> Queue<T> {
    pub(super) fn new(bound: usize, workers: usize) -> Self {
        let state = State { waiting: VecDeque::new(), idle: Vec::new(), is_closed: false };
        Self { bound, state: Mutex::new(state), wake: (0..workers).map(|_| Condvar::new()).collect() }
    }

    /// Puts something at its end.
    pub(super) fn put(&self, something: T) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.waiting.len() >= self.bound {
            return Err(Trouble::Busy.into());
        }
        state.waiting.push_back(something);
        if let Some(worker) = state.idle.pop() {
            self.wake[worker].notify_one();
        }
        Ok(())
    }

    /// Takes what is at its beginning, and waits until there is something. `None` when it is closed and empty.
    pub(super) fn take(&self, worker: usize) -> Option<T> {
        let mut state = self.state();
        loop {
            if let Some(first) = state.waiting.pop_front() {
                return Some(first);
            }
            if state.is_closed {
                return None;
            }
            state.idle.push(worker);
            state = self.wake[worker].wait(state).unwrap_or_else(PoisonError::into_inner);
            // Woken up by nobody, it is there still.
            state.idle.retain(|idle| *idle != worker);
        }
    }

    /// Lets the workers go once nothing is waiting.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.wake.iter().for_each(Condvar::notify_one);
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
