//! For those who measure how long the store takes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kerria_feed::Watches;

/// Is told how long the work of a store took. Must be quick: it is called on the way to the answer.
pub trait Observer: Send + Sync {
    /// A question was answered, from when it was asked until its answer was there.
    fn answered(&self, access: Access, took: Duration);

    /// Entries of the revocation log were announced: from their commit until all followers had applied them.
    fn announced(&self, took: Duration);

    /// An entry of the revocation log is true everywhere: so long after its commit, and with so many checkers that were late, so
    /// that their leases had to run out.
    fn acknowledged(&self, took: Duration, late: usize);

    /// The checker that people call so has applied an entry, so long after its commit. Of those entries alone that this process waits
    /// for, and not of each.
    fn applied(&self, _checker: &str, _took: Duration) {}

    /// No checker that people call so is there any more.
    fn gone(&self, _checker: &str) {}
}

/// Passes on what a feed has to tell.
pub(crate) struct Watching(pub(crate) Arc<dyn Observer>);

impl Watches for Watching {
    fn applied(&self, checker: &str, took: Duration) {
        self.0.applied(checker, took);
    }

    fn gone(&self, checker: &str) {
        self.0.gone(checker);
    }
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read.
    Read,
    /// To change something, durably.
    Write,
}

/// The observer of who does not want to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Observer for Nobody {
    fn answered(&self, _: Access, _: Duration) {}
    fn announced(&self, _: Duration) {}
    fn acknowledged(&self, _: Duration, _: usize) {}
}

/// When something began.
pub(crate) struct Began(Instant);

impl Began {
    #[expect(
        clippy::disallowed_methods,
        reason = "measures how long something took; no decision depends on it"
    )]
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
