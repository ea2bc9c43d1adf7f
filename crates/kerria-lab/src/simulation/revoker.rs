//! A process that ends sessions and waits until that is true everywhere.

use kerria_core::{
    LeaseTerms, LogNumber, Moment, SessionId,
    lease::{Awaited, Census, LedgerReading, Progress},
};

use super::Flaw;

pub(super) struct Revoker {
    pub(super) census: Census,
    waiting: Vec<(Awaited, Vec<SessionId>)>,
    /// Whether it is on its way to look again.
    pub(super) will_look: bool,
    flaw: Option<Flaw>,
}

impl Revoker {
    pub(super) fn new(flaw: Option<Flaw>) -> Self {
        Self { census: Census::new(LeaseTerms::default()), waiting: Vec::new(), will_look: false, flaw }
    }

    pub(super) fn committed(&mut self, number: LogNumber, ended: Vec<SessionId>, now: Moment) {
        self.waiting.push((Awaited { number, committed: now }, ended));
    }

    pub(super) const fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn note(&mut self, mut reading: LedgerReading, asked: Moment, now: Moment) {
        if self.flaw == Some(Flaw::ForgottenLeases) {
            reading.settled = true;
        }
        self.census.note(reading, asked, now);
    }

    /// The ends that are acknowledged by now, and whether some were late.
    pub(super) fn acknowledged(&mut self, now: Moment) -> Vec<(Vec<SessionId>, bool)> {
        let census = &self.census;
        let mut done = Vec::new();
        self.waiting.retain_mut(|(awaited, ended)| match census.progress(*awaited, now) {
            Progress::Waiting { .. } => true,
            Progress::Acknowledged { late } => {
                done.push((std::mem::take(ended), !late.is_empty()));
                false
            }
        });
        done
    }
}
