//! Sessions that are carried in tokens: issuing access tokens, and renewing them with refresh tokens.

pub mod access;
pub mod client;
pub mod refresh;

use kerria_core::{Grant, RefreshToken, Secret, StoreError, store::Found};

use crate::{app::App, keys::KeyError};
use access::{AccessToken, Subject};

/// What a client gets: an access token, and the refresh token that buys the next one.
pub struct TokenSet {
    /// The session.
    pub found: Found,
    /// For the resource server.
    pub access: AccessToken,
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

/// The first tokens of a session that was just opened. `None` if it has ended meanwhile.
///
/// # Errors
/// If the store fails.
pub async fn first(
    app: &App,
    found: Found,
    token: &RefreshToken,
    grant: &Grant,
) -> Result<Option<TokenSet>, IssueError> {
    let client = client::find(app, grant.client).await?;
    let Some(client) = client else { return Ok(None) };
    let access = access::issue(app, &client, Subject::Session(&found), grant).await?;
    Ok(access.map(|access| TokenSet { found, access, refresh: token.write(app.checker.key()) }))
}
