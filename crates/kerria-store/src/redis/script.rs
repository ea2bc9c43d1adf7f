//! The scripts that Redis runs for us, each of which is one atomic step.

/// Which.
#[derive(Clone, Copy, Debug)]
pub(super) enum Script {
    /// Reads all that a step needs, of one instant.
    Read,
    /// Commits a step, unless what it was decided on has changed.
    Commit,
    /// Reads or changes the data of one session.
    Data,
    /// The ledger of the checkers.
    Ledger,
}

/// Their texts, in the same order.
pub(super) const SCRIPTS: [&str; 4] = [
    concat!(include_str!("lua/common.lua"), include_str!("lua/life.lua"), include_str!("lua/read.lua")),
    concat!(include_str!("lua/common.lua"), include_str!("lua/life.lua"), include_str!("lua/commit.lua")),
    concat!(include_str!("lua/common.lua"), include_str!("lua/data.lua")),
    concat!(include_str!("lua/common.lua"), include_str!("lua/life.lua"), include_str!("lua/ledger.lua")),
];
