//! Sessions that are carried in tokens: issuing access tokens, and renewing them with refresh tokens.

pub mod access;
pub mod client;
pub mod inspection;
pub mod refresh;

use kerria_core::{Secret, StoreError, store::Found};

use crate::keys::KeyError;
use access::AccessToken;

/// What a client gets: an access token, and the refresh token that buys the next one.
pub struct TokenSet {
    /// The session.
    pub found: Found,
    /// For the resource server.
    pub access: Box<AccessToken>,
    /// For us.
    pub refresh: Secret<String>,
}

/// Nothing can be issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no key to sign with.
    #[error(transparent)]
    Keys(#[from] KeyError),
}
