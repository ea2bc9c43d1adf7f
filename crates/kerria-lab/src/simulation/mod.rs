//! The guarantee, tried: many checkers, one store, people who end sessions, and everything that goes wrong between them.
//!
//! A schedule is made from a seed: delays, loss, duplicates and reordering of messages, cut cables, processes that stand still
//! or crash, clocks that run at different speeds, a store that restarts and forgets its leases. It drives the state machines
//! that production runs ([`Holder`](kerria_core::lease::Holder), [`Ledger`](kerria_core::lease::Ledger),
//! [`Census`](kerria_core::lease::Census), [`RevokedSet`](kerria_core::RevokedSet)); only messages and times are made up.
//! The [`History`](history::History) then knows whether anybody accepted what was ended. The same seed plays the same schedule.

mod checker;
#[cfg(test)]
mod exhaustive;
mod history;
mod network;
mod revoker;
mod store;
#[cfg(test)]
mod tests;
mod world;

use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use anyhow::bail;

pub(crate) use history::{Tally, Violation};

/// A realistic mistake, planted to see that the history shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Flaw {
    /// A lease is counted from when the answer came, not from before the request was sent.
    LeaseFromTheReply,
    /// A session that was read from the store is kept as if it had been read after every entry that is known.
    FillWithoutTheSet,
    /// The log's numbers are taken before the transaction commits, so that a later one can be seen before an earlier one.
    GapInTheSequence,
    /// A lease is extended by an answer that does not bring all entries.
    RenewalThatSkips,
    /// A checker that is registered anew believes that its lease goes on.
    LeaseAcrossAReconnect,
    /// Whoever waits believes a ledger that has lost its leases.
    ForgottenLeases,
    /// What was applied is reported before it is.
    AcknowledgedBeforeApplied,
}

/// How many schedules to play, and which.
#[derive(clap::Args)]
pub(crate) struct Simulate {
    /// How many schedules.
    #[arg(long, default_value_t = 1_000_000)]
    schedules: u64,
    /// The seed of the first; the next one has the next number.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Plants a mistake.
    #[arg(long, value_enum)]
    flaw: Option<Flaw>,
}

/// Plays schedules on all cores, and says what came of them.
pub(crate) fn simulate(wanted: &Simulate) -> anyhow::Result<()> {
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let play = || {
            let mut tally = Tally::default();
            while !failed.load(Relaxed) {
                let number = next.fetch_add(1, Relaxed);
                if number >= wanted.schedules {
                    break;
                }
                match world::play(wanted.first + number, wanted.flaw) {
                    Ok(played) => tally += played,
                    Err(violation) => {
                        failed.store(true, Relaxed);
                        return Err(violation);
                    }
                }
            }
            Ok(tally)
        };
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(play)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a player does not panic")).collect()
    });
    let mut total = Tally::default();
    for outcome in outcomes {
        match outcome {
            Ok(tally) => total += tally,
            Err(violation) => bail!("{violation}"),
        }
    }
    say(&total)
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
fn say(total: &impl fmt::Display) -> anyhow::Result<()> {
    println!("{total}");
    Ok(())
}
