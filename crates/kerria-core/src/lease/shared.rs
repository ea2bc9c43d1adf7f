//! The lease of a process, for all in it who answer from memory.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use super::Moment;

/// Says whether memory may answer. All who apply the log in one process share one; whoever renews it is its
/// [keeper](LeaseKeeper).
#[derive(Clone)]
pub struct Lease(Option<Limited>);

/// Extends a [`Lease`], or ends it.
pub struct LeaseKeeper(Limited);

#[derive(Clone)]
struct Limited {
    until: Arc<AtomicU64>,
    clock: fn() -> Moment,
}

impl Lease {
    /// One that does not run out: every entry is applied in this process before the step that wrote it is answered, and no
    /// other process writes any.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self(None)
    }

    /// One that does not run out, although other processes use the same sessions: every entry is applied in this process before
    /// the step that wrote it is answered, and no other process writes any.
    #[must_use]
    pub fn lasting(clock: fn() -> Moment) -> Self {
        Self(Some(Limited { until: Arc::new(AtomicU64::new(u64::MAX)), clock }))
    }

    /// One that has run out, by this clock, until it is extended.
    #[must_use]
    pub fn limited(clock: fn() -> Moment) -> (Self, LeaseKeeper) {
        let limited = Limited { until: Arc::default(), clock };
        (Self(Some(limited.clone())), LeaseKeeper(limited))
    }

    /// Whether other processes share the store.
    #[must_use]
    pub const fn is_limited(&self) -> bool {
        self.0.is_some()
    }

    /// Whether memory may answer at this moment. To be asked when the answer is ready, not before: a process may stand still in
    /// between.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.0.as_ref().is_none_or(|limited| (limited.clock)().0 < limited.until.load(SeqCst))
    }
}

impl LeaseKeeper {
    /// The clock by which the lease runs.
    #[must_use]
    pub fn now(&self) -> Moment {
        (self.0.clock)()
    }

    /// Memory may answer until this moment, and not at it. `None` if it may not.
    pub fn set(&self, until: Option<Moment>) {
        self.0.until.store(until.map_or(0, |until| until.0), SeqCst);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("Lease(unlimited)"),
            Some(_) => write!(f, "Lease({})", if self.holds() { "holds" } else { "has run out" }),
        }
    }
}

impl fmt::Debug for LeaseKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseKeeper(..)")
    }
}
