//! What waits for a worker.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// A job that may lose the one who waits for it.
pub(super) trait Job {
    /// Whether somebody still waits for it.
    fn is_wanted(&self) -> bool;
}

/// A bounded queue in front of a fixed number of workers.
pub(super) struct Queue<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
    bound: usize,
}

struct State<J> {
    waiting: VecDeque<J>,
    idle_workers: usize,
    closed: bool,
}

impl<J: Job> Queue<J> {
    /// A queue in which `bound` jobs may wait while all workers are at work.
    pub(super) const fn new(bound: usize, workers: usize) -> Self {
        let state = State { waiting: VecDeque::new(), idle_workers: workers, closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), bound }
    }

    /// Puts a job at the end. Gives it back if there is no room.
    pub(super) fn push(&self, job: J) -> Result<(), J> {
        let mut state = self.lock();
        if state.waiting.len() >= self.bound + state.idle_workers {
            state.waiting.retain(Job::is_wanted);
        }
        if state.closed || state.waiting.len() >= self.bound + state.idle_workers {
            return Err(job);
        }
        state.waiting.push_back(job);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes the next job that is wanted, does it, and answers, when its worker has time again for whoever hears the answer. `false` if
    /// there was none.
    pub(super) fn work<A>(&self, work: impl FnOnce(J) -> A, answer: impl FnOnce(A)) -> bool {
        let job = {
            let mut state = self.lock();
            let job = loop {
                match state.waiting.pop_front() {
                    Some(job) if job.is_wanted() => break job,
                    Some(_) => {}
                    None => return false,
                }
            };
            state.idle_workers -= 1;
            job
        };
        let done = work(job);
        self.lock().idle_workers += 1;
        answer(done);
        true
    }

    /// Waits until there may be work. `false` if the queue was closed.
    pub(super) fn wait(&self) -> bool {
        let nothing_new = |state: &mut State<J>| state.waiting.is_empty() && !state.closed;
        let state = self.changed.wait_while(self.lock(), nothing_new).unwrap_or_else(PoisonError::into_inner);
        !state.closed
    }

    /// Drops what waits, and sends the workers home.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.clear();
        drop(state);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Errand {
        number: u8,
        wanted: bool,
    }

    impl Job for Errand {
        fn is_wanted(&self) -> bool {
            self.wanted
        }
    }

    const fn errand(number: u8) -> Errand {
        Errand { number, wanted: true }
    }

    fn next(queue: &Queue<Errand>) -> Option<u8> {
        let mut number = None;
        queue.work(|errand| number = Some(errand.number), drop);
        number
    }

    #[test]
    fn one_job_more_than_workers_and_places_is_refused() {
        let queue = Queue::new(2, 1);
        for number in 0..3 {
            assert_eq!(queue.push(errand(number)), Ok(()));
        }
        assert_eq!(queue.push(errand(3)), Err(errand(3)));
        let work = |first: Errand| {
            assert_eq!(first.number, 0);
            assert_eq!(queue.push(errand(4)), Err(errand(4)), "two wait, and the worker is at work");
        };
        queue.work(work, drop);
        assert_eq!(queue.push(errand(5)), Ok(()));
    }

    #[test]
    fn whoever_is_answered_finds_the_worker_at_leisure() {
        let queue = Queue::new(0, 1);
        queue.push(errand(1)).unwrap();
        let work = |_| assert_eq!(queue.push(errand(2)), Err(errand(2)));
        queue.work(work, |()| assert_eq!(queue.push(errand(3)), Ok(())));
        assert_eq!(next(&queue), Some(3));
    }

    #[test]
    fn what_nobody_waits_for_is_skipped() {
        let queue = Queue::new(1, 1);
        queue.push(Errand { number: 1, wanted: false }).unwrap();
        queue.push(errand(2)).unwrap();
        assert_eq!([next(&queue), next(&queue)], [Some(2), None]);
    }

    #[test]
    fn what_nobody_waits_for_takes_no_place() {
        let queue = Queue::new(1, 1);
        queue.push(errand(1)).unwrap();
        queue.push(Errand { number: 2, wanted: false }).unwrap();
        queue.push(errand(3)).unwrap();
        assert_eq!(queue.push(errand(4)), Err(errand(4)));
        assert_eq!([next(&queue), next(&queue), next(&queue)], [Some(1), Some(3), None]);
    }

    #[test]
    fn a_closed_queue_takes_nothing_and_lets_go_of_everything() {
        let queue = Queue::new(1, 1);
        queue.push(errand(1)).unwrap();
        queue.close();
        assert!(!queue.wait());
        assert_eq!(queue.push(errand(2)), Err(errand(2)));
        assert_eq!(next(&queue), None);
    }
}
