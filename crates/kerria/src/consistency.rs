//! How sure an answer is, and what it costs.

/// On what an answer rests. Chosen for an application or a route, by the layer that is put around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// On the store, which is asked every time. Costs a query for each request. If the store does not answer, nothing is
    /// known, and the request is not authenticated.
    Strict,
    /// On this process's memory, which hears of every end before the end is answered. Costs no query and no waiting, and
    /// promises the same: what was ended is not accepted any more. Access tokens are asked about in memory, too.
    #[default]
    Leased,
    /// On the token alone: signature and expiry. What was ended stays good until it is over. Only for access tokens, and
    /// only where nobody can be asked ([`Verifier::verify_offline`](crate::jwt::Verifier::verify_offline)); an opaque token
    /// says nothing by itself, so to a session layer this is [`Consistency::Leased`].
    Offline,
}
