//! What the directory has decided, and the sessions have to follow, where the two are kept in different places.

use kerria_core::{Cause, Selector, SessionId, Timestamp, TokenHash, UserId};

/// Something that is to be done to sessions, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Errand {
    /// Its number in the directory.
    pub(crate) id: i64,
    /// When the directory decided.
    pub(crate) at: Timestamp,
    /// What is to be done.
    pub(crate) what: Order,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// End sessions.
    End {
        /// Which.
        selector: Selector,
        /// Why.
        cause: Cause,
        /// The session that stays gets this new token.
        keep: Option<(SessionId, TokenHash)>,
    },
    /// Tell checkers that what they have read of a user's sessions is out of date.
    Changed {
        /// Whose.
        user: UserId,
    },
}
