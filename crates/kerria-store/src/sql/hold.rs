//! What a step holds while it works.
//!
//! With one writer, nothing has to be held. With several, on several machines, a step that reads, decides and writes
//! holds what its decision is about, so that it stays true until the commit. The order is always the same, or two
//! steps would wait for each other:
//!
//! 1. **The installation.** A step that is about everything, or is rare, holds all of it: it is alone, as with one
//!    writer. That is the default, so that a step is right before anybody has thought about it. A frequent step holds
//!    a part ([`Reach::Part`]) beside others that do, and goes on:
//! 2. **the user**, in a step that opens or ends sessions of a user, or changes the account;
//! 3. **the sessions**, in the order of their identifiers, before anything is read from them or their data;
//! 4. **the log's counter**, which is taken last ([`Step::write_log`](super::Step::write_log)).
//!
//! Doors are held by themselves: who knocks holds nothing else.

use kerria_core::{Selector, SessionId, TokenHash, UserId};

/// How much of the installation a step holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of it: no other step is under way.
    Everything,
    /// A part: the step says which ([`Step::hold`](super::Step::hold)), or a single row or key is all that it is about.
    Part,
    /// Nothing: it is one statement, which holds by itself what it is about, and needs no transaction around it.
    Statement,
}

impl Reach {
    /// What ending this takes.
    pub(crate) fn of(selector: Selector) -> Self {
        match selector {
            Selector::Session { .. }
            | Selector::User { .. }
            | Selector::UserExcept { .. }
            | Selector::Token { .. } => Self::Part,
            Selector::Client { .. } | Selector::Everyone => Self::Everything,
        }
    }
}

/// What a step holds of its part.
#[derive(Clone, Copy, Debug)]
pub enum Root<'r> {
    /// A user: which sessions they have, and the account.
    User(UserId),
    /// One session and its data.
    Session(SessionId),
    /// These sessions and their data.
    Sessions(&'r [SessionId]),
    /// The session that this is the present token of, or the one before.
    SessionWith(&'r TokenHash),
    /// All sessions of a user, who is held already, and another one.
    SessionsOf(UserId, Option<SessionId>),
    /// The doors of these names, whether anything is known of them or not.
    Doors(&'r [&'r str]),
}
