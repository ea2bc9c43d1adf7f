//! What becomes of the sessions in memory while whoever knows more does not answer.

use std::{
    sync::atomic::{
        AtomicU8, AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
    time::Duration,
};

use kerria_core::{
    Moment,
    lease::RanOut,
    store::{StoreError, Trouble},
};
use tracing::{info, warn};

/// After a question that nobody has answered, memory is trusted for so long without another one. Or else each request would wait
/// for a source that keeps silent.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a question may take whose answer is in memory. Who waits for longer is accepted on trust.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// How long one question may take, and more. Who has heard of no silence for longer than this asks.
const LATELY: Duration = Duration::from_secs(10);

/// What happens when the lease has run out and the source does not answer: a store that other processes use too, or a server.
///
/// It does not answer if it was asked and kept silent, for a second at least if memory has an answer. A question that found no room among
/// those that wait was not asked, and says nothing of the source.
///
/// It does not concern an SQLite file, whose lease does not run out, nor routes whose answers are
/// [`Strict`](crate::Consistency::Strict): they always want an answer from the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outage {
    /// Nothing is known then, and so nobody is let through. What was ended is never accepted.
    #[default]
    Refuse,
    /// A session in memory goes on being accepted, for at most this long after the lease ran out, unless this process has heard of
    /// its end. **A session that is ended meanwhile is accepted until then**, although its end has been answered.
    ///
    /// What is not in memory is not accepted, and what nobody can tell without asking isn't either.
    TrustFor(Duration),
}

/// Whether memory is trusted at the moment.
pub(crate) struct Trust {
    outage: Outage,
    /// When the source last did not answer, by the clock of the lease. 0 if it has since.
    silent_at: AtomicU64,
    stage: AtomicU8,
}

/// Memory is relied on under the lease alone.
const QUIET: u8 = 0;
/// Somebody was accepted without one.
const TRUSTING: u8 = 1;
/// For too long.
const OVER: u8 = 2;

impl Trust {
    pub(crate) const fn new(outage: Outage) -> Self {
        Self { outage, silent_at: AtomicU64::new(0), stage: AtomicU8::new(QUIET) }
    }

    /// Whether memory may answer, because it is not too long ago that the lease ran out.
    pub(crate) fn lasts(&self, RanOut { at, now }: RanOut) -> bool {
        let Outage::TrustFor(limit) = self.outage else { return false };
        let lasts = now.since(at) < limit;
        if !lasts && self.turns(TRUSTING, OVER) {
            warn!("the source has not answered for too long: nobody is accepted on trust any more");
        }
        lasts
    }

    /// Whether the source was asked a moment ago, and did not answer. Of those who come later than that, one asks again.
    pub(crate) fn is_silent(&self, RanOut { now, .. }: RanOut) -> bool {
        let Some(silent_at) = self.silent_lately(now) else { return false };
        let asked = || self.silent_at.compare_exchange(silent_at.0, now.0, SeqCst, SeqCst).is_err();
        now.since(silent_at) < PAUSE || asked()
    }

    /// The source was to be asked, and that has failed so. Says whether it keeps silent.
    pub(crate) fn has_failed(&self, error: &StoreError, RanOut { now, .. }: RanOut) -> bool {
        match error.trouble {
            Trouble::Unavailable => {
                self.silent_at.store(now.0, SeqCst);
                true
            }
            // It was not asked. What others have heard counts.
            Trouble::Busy => self.silent_lately(now).is_some(),
            _ => {
                self.silent_at.store(0, SeqCst);
                false
            }
        }
    }

    /// When it did not answer, if that is not too long ago to count.
    fn silent_lately(&self, now: Moment) -> Option<Moment> {
        let silent_at = Moment(self.silent_at.load(SeqCst));
        (silent_at != Moment(0) && now.since(silent_at) < LATELY).then_some(silent_at)
    }

    /// The source was asked, and has answered.
    pub(crate) fn has_answered(&self) {
        if self.silent_at.load(Relaxed) != 0 {
            self.silent_at.store(0, SeqCst);
        }
    }

    /// Somebody is accepted on trust.
    pub(crate) fn begins(&self) {
        if self.turns(QUIET, TRUSTING)
            && let Outage::TrustFor(limit) = self.outage
        {
            warn!(
                "the source does not answer: sessions in memory are accepted on trust, for {limit:?} at most"
            );
        }
    }

    /// Memory is relied on under a lease.
    pub(crate) fn ends(&self) {
        if self.stage.load(Relaxed) != QUIET && self.stage.swap(QUIET, SeqCst) != QUIET {
            info!("the source answers again: nobody is accepted on trust any more");
        }
    }

    fn turns(&self, from: u8, to: u8) -> bool {
        self.stage.compare_exchange(from, to, SeqCst, SeqCst).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Moment = Moment(1_000_000_000_000);

    fn after(time: Duration) -> RanOut {
        RanOut { at: AT, now: AT + time }
    }

    #[test]
    fn whoever_has_heard_of_no_silence_asks() {
        let trust = Trust::new(Outage::TrustFor(Duration::from_secs(3_600)));
        let silence = StoreError::from(Trouble::Unavailable);
        assert!(!trust.is_silent(after(Duration::ZERO)));
        assert!(trust.has_failed(&silence, after(Duration::ZERO)));
        assert!(trust.is_silent(after(PAUSE / 2)));
        assert!(!trust.is_silent(after(PAUSE)), "one asks");
        assert!(trust.is_silent(after(PAUSE)), "and the others do not wait for that");
        // The process was suspended meanwhile.
        for _ in 0..3 {
            assert!(!trust.is_silent(after(PAUSE + LATELY)));
        }
        trust.has_failed(&silence, after(PAUSE + LATELY));
        assert!(trust.is_silent(after(PAUSE + LATELY)));
        trust.has_answered();
        assert!(!trust.is_silent(after(PAUSE + LATELY)));
    }

    #[test]
    fn an_answer_that_something_is_wrong_is_no_silence() {
        let trust = Trust::new(Outage::TrustFor(PAUSE));
        assert!(!trust.has_failed(&Trouble::Damaged.into(), after(Duration::ZERO)));
        assert!(!trust.is_silent(after(Duration::ZERO)));
    }

    #[test]
    fn a_question_that_found_no_room_says_nothing_of_silence() {
        let (trust, busy) = (Trust::new(Outage::TrustFor(PAUSE)), StoreError::from(Trouble::Busy));
        assert!(!trust.has_failed(&busy, after(Duration::ZERO)));
        assert!(!trust.is_silent(after(Duration::ZERO)), "nor does anybody else take it for that");
        trust.has_failed(&Trouble::Unavailable.into(), after(Duration::ZERO));
        assert!(trust.has_failed(&busy, after(PAUSE / 2)), "what was heard before still counts");
        assert!(trust.is_silent(after(PAUSE / 2)));
        assert!(!trust.has_failed(&busy, after(LATELY)), "for its time");
    }

    #[test]
    fn trust_lasts_as_long_as_is_set_and_is_not_the_default() {
        assert!(!Trust::new(Outage::default()).lasts(after(Duration::ZERO)));
        let trust = Trust::new(Outage::TrustFor(PAUSE));
        assert!(trust.lasts(after(PAUSE - Duration::from_nanos(1))));
        assert!(!trust.lasts(after(PAUSE)));
    }
}
