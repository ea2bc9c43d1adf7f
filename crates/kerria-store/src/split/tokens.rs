//! Tokens are in Redis, the clients that they are issued to in the directory.

use async_trait::async_trait;
use kerria_core::{
    Cause, ClientId, Grant, Selector, SessionId, Timestamp, TokenHash,
    store::{Found, Reference, Refresh, Rotation, Tokens},
};

use super::SplitStore;
use crate::sql::{Driver, Result};

#[async_trait]
impl<D: Driver> Tokens for SplitStore<D> {
    async fn rotate_refresh(&self, refresh: Refresh) -> Result<Rotation> {
        let (session, device, now) = (refresh.session, refresh.device.clone(), refresh.now);
        Ok(match self.sessions().rotate_refresh(&refresh).await? {
            Rotation::Rotated(found, grant) => Rotation::Rotated(self.called(found).await?, grant),
            Rotation::Repeated(found, grant, nonce) => {
                Rotation::Repeated(self.called(found).await?, grant, nonce)
            }
            Rotation::Replayed { user } => {
                self.note_replay(session, user, device.as_ref(), now).await;
                Rotation::Replayed { user }
            }
            unchanged @ (Rotation::OtherClient | Rotation::Gone) => unchanged,
        })
    }

    async fn session(&self, session: SessionId) -> Result<Option<(Found, Option<Grant>)>> {
        match self.sessions().session(session).await? {
            Some((found, grant)) => Ok(Some((self.called(found).await?, grant))),
            None => Ok(None),
        }
    }

    async fn is_present_refresh(&self, session: SessionId, token: &TokenHash) -> Result<bool> {
        self.sessions().is_present_refresh(session, token).await
    }

    /// As at a sign-in, the client is looked at after the token was kept: either it is gone then, or its removal is committed
    /// later, and its errand ends the token.
    async fn keep_reference(&self, token: &TokenHash, reference: Reference) -> Result<bool> {
        let (id, client, now) = (reference.id, reference.grant.client, reference.issued_at);
        if !self.directory().may_be_issued_to(client).await? {
            return Ok(false);
        }
        if !self.sessions().keep_reference(token, &reference).await? {
            return Ok(false);
        }
        let may_be_issued = self.directory().may_be_issued_to(client).await;
        if !matches!(may_be_issued, Ok(true)) {
            self.sessions().end(Selector::Token { token: id }, Cause::Operator, now).await?;
        }
        may_be_issued
    }

    async fn reference(&self, token: &TokenHash) -> Result<Option<Reference>> {
        self.sessions().reference(token).await
    }

    async fn spend(&self, by: ClientId, jti: &str, expires_at: Timestamp) -> Result<bool> {
        self.sessions().spend(by, jti, expires_at).await
    }

    async fn sweep_tokens(&self, now: Timestamp, limit: u32) -> Result<u64> {
        self.sessions().sweep_tokens(now, limit).await
    }
}
