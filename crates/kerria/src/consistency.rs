//! How sure an answer is, and what it costs.

/// On what the answer of a session layer rests. Chosen for an application or a route, by the layer that is put around it.
///
/// There is a third level, *offline*: on the token alone, by signature and expiry. It is for access tokens where nobody can be
/// asked: [`SessionLayer::offline`](crate::SessionLayer::offline).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// On the store, which is asked every time. Costs a query for each request. If the store does not answer, nothing is
    /// known, and the request is not authenticated.
    Strict,
    /// On this process's memory, which hears of every end before the end is answered. Costs no query and no waiting, and
    /// promises the same: what was ended is not accepted any more.
    #[default]
    Leased,
}
