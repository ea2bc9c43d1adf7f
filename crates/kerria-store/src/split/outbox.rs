//! Running errands, and what others have left of them.

use std::{sync::Weak, time::Duration};

use kerria_core::UserId;
use tokio::time::sleep;
use tracing::{info, warn};

use super::Shared;
use crate::{
    errand::Errand,
    redis::Done,
    sql::{Driver, Result},
};

/// How often it is looked for errands that nobody runs.
const LOOK: Duration = Duration::from_secs(1);

/// Runs the errands that somebody has left for longer than it takes to run one, and writes the lines that could not be
/// written. Ends when the store is gone.
pub(super) async fn run_what_is_left<D: Driver>(shared: Weak<Shared<D>>) {
    let (mut known, mut failing) = (None, false);
    loop {
        sleep(LOOK).await;
        let Some(shared) = shared.upgrade() else { return };
        let ran = match shared.run_known_errands(&mut known).await {
            Ok(()) => shared.write_late_lines().await,
            failed => failed,
        };
        match &ran {
            Ok(()) if failing => info!("what the directory has decided about sessions is done again"),
            Ok(()) => {}
            Err(error) if !failing => {
                warn!(
                    "what the directory has decided about sessions is not done yet, and is tried every second: {error}"
                );
            }
            Err(_) => {}
        }
        failing = ran.is_err();
    }
}

impl<D: Driver> Shared<D> {
    /// Runs what a step has ordered, and all that has to come before it. Answers when nobody accepts any more what it has ended.
    pub(super) async fn run(&self, errands: Vec<Errand>) -> Result<Done> {
        let mut done = Done { ended: 0, kept: None };
        if let Some(first) = errands.first() {
            for earlier in self.directory.errands().await? {
                if earlier.comes_before(first) {
                    self.carry_out(&earlier).await?;
                }
            }
        }
        for errand in &errands {
            let Done { ended, kept } = self.carry_out(errand).await?;
            done = Done { ended: done.ended + ended, kept: kept.or(done.kept) };
        }
        Ok(done)
    }

    /// Runs all errands that are there.
    pub(super) async fn run_all_errands(&self) -> Result<()> {
        for errand in self.directory.errands().await? {
            self.carry_out(&errand).await?;
        }
        Ok(())
    }

    /// Runs the errands that have to come before a sign-in of this user.
    pub(super) async fn run_errands_about(&self, user: UserId) -> Result<()> {
        for errand in self.directory.errands().await? {
            if errand.concerns(user) {
                self.carry_out(&errand).await?;
            }
        }
        Ok(())
    }

    /// Runs the errands that were there already when it was looked before. A younger one is about to be run by whoever left it.
    async fn run_known_errands(&self, known: &mut Option<i64>) -> Result<()> {
        let errands = self.directory.errands().await?;
        let before = std::mem::replace(known, errands.last().map(|last| last.id));
        for errand in errands.iter().filter(|errand| before.is_some_and(|before| errand.id <= before)) {
            self.carry_out(errand).await?;
        }
        Ok(())
    }

    /// Runs one errand, whoever else does. Redis has done it when this answers; should its row stay, it is run again and does
    /// nothing more.
    async fn carry_out(&self, errand: &Errand) -> Result<Done> {
        let done = self.sessions.run(errand).await?;
        if let Err(error) = self.directory.finish(errand, done.ended).await {
            warn!("an errand is done, but not noted in the directory yet: {error}");
        }
        Ok(done)
    }
}
