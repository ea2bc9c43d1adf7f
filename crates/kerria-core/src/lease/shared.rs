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

/// A lease that has run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RanOut {
    /// When.
    pub at: Moment,
    /// What time it is, by the same clock.
    pub now: Moment,
}

/// Extends a [`Lease`], or ends it.
pub struct LeaseKeeper(Limited);

#[derive(Clone)]
struct Limited {
    until: Arc<AtomicU64>,
    clock: Arc<dyn Fn() -> Moment + Send + Sync>,
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
    pub fn lasting(clock: impl Fn() -> Moment + Send + Sync + 'static) -> Self {
        Self(Some(Limited { until: Arc::new(AtomicU64::new(u64::MAX)), clock: Arc::new(clock) }))
    }

    /// One that has run out, by this clock, until it is extended.
    #[must_use]
    pub fn limited(clock: impl Fn() -> Moment + Send + Sync + 'static) -> (Self, LeaseKeeper) {
        let limited = Limited { until: Arc::default(), clock: Arc::new(clock) };
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

    /// If it has run out, and was not taken away: when. What was in memory then was true until then.
    #[must_use]
    pub fn ran_out(&self) -> Option<RanOut> {
        let limited = self.0.as_ref()?;
        let (at, now) = (Moment(limited.until.load(SeqCst)), (limited.clock)());
        (at != Moment(0) && at <= now).then_some(RanOut { at, now })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_runs_out_when_its_time_is_over_and_not_when_it_is_taken_away() {
        let now = Moment(5_000_000_000);
        let (lease, keeper) = Lease::limited(|| Moment(5_000_000_000));
        assert_eq!((lease.holds(), lease.ran_out()), (false, None), "there was none yet");
        keeper.set(Some(Moment(5_000_000_001)));
        assert_eq!((lease.holds(), lease.ran_out()), (true, None));
        keeper.set(Some(Moment(4_000_000_000)));
        assert_eq!(lease.ran_out(), Some(RanOut { at: Moment(4_000_000_000), now }));
        keeper.set(None);
        assert_eq!((lease.holds(), lease.ran_out()), (false, None));
        assert_eq!(Lease::unlimited().ran_out(), None);
    }
}
