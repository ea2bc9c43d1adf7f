//! Reference tokens, and what is spent once.

use kerria_core::{ClientId, Grant, SessionId, Timestamp, TokenHash, TokenId, store::Reference};
use serde::{Deserialize, Serialize};

use super::{
    RedisSessions,
    errors::damaged,
    record::json,
    step::{Commit, Question, digits, written},
};
use crate::sql::Result;

/// A reference token as it is kept. The scripts read `id` and `client`.
#[derive(Serialize, Deserialize)]
struct Kept {
    id: TokenId,
    session: Option<SessionId>,
    client: String,
    scope: String,
    audience: String,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

impl Kept {
    fn new(reference: &Reference) -> Self {
        Self {
            id: reference.id,
            session: reference.session,
            client: reference.grant.client.to_string(),
            scope: reference.grant.scope.to_string(),
            audience: reference.grant.audience.to_string(),
            issued_at: reference.issued_at,
            expires_at: reference.expires_at,
        }
    }

    fn reference(self) -> Result<Reference> {
        Ok(Reference {
            id: self.id,
            session: self.session,
            grant: Grant {
                client: self.client.parse().map_err(damaged)?,
                scope: self.scope.parse().map_err(damaged)?,
                audience: self.audience.parse().map_err(damaged)?,
            },
            issued_at: self.issued_at,
            expires_at: self.expires_at,
        })
    }
}

impl RedisSessions {
    /// Keeps a reference token, unless its session has ended meanwhile. Does not look at clients.
    pub(crate) async fn keep_reference(&self, token: &TokenHash, reference: &Reference) -> Result<bool> {
        self.step(&[], || async {
            let mut question = Question::default();
            if let Some(session) = reference.session {
                question = question.session(session);
            }
            let mut reading = self.read(question).await?;
            let mut commit = reading.commit();
            if let Some(session) = reference.session {
                if reading.session()?.is_none() {
                    return Ok(Some(false));
                }
                let key = commit.key("s:", session.as_bytes());
                commit.only_if(Some(b"1"), &[b"EXISTS", &key]);
            }
            let key = commit.key("r:", token.as_bytes());
            let by_id = commit.key("ri:", reference.id.to_string().as_bytes());
            let of_client = commit.key("rc:", reference.grant.client.as_str().as_bytes());
            let by_end = commit.key("refs", b"");
            commit.only_if_free(&key);
            commit.set(&key, &written(&Kept::new(reference))?);
            commit.set(&by_id, token.as_bytes());
            commit.order(&[b"SADD", &of_client, token.as_bytes()]);
            commit.order(&[b"ZADD", &by_end, &digits(reference.expires_at), token.as_bytes()]);
            Ok(self.commit(&commit).await?.map(|_| true))
        })
        .await
    }

    /// What a reference token stands for, unless it was ended, by itself or with its session or client.
    pub(crate) async fn reference(&self, token: &TokenHash) -> Result<Option<Reference>> {
        let mut reading = self.ask(Question::default().reference(token)).await?;
        let Some(kept) = reading.next::<Vec<Vec<u8>>>()?.pop() else { return Ok(None) };
        let reference = json::<Kept>(&kept)?.reference()?;
        // Of an ended session nothing comes back: it does no harm that this is another instant.
        match reference.session {
            Some(session) if self.session(session).await?.is_none() => Ok(None),
            _ => Ok(Some(reference)),
        }
    }

    /// Spends something that may be used once until `expires_at`. Of all calls with the same `by` and `jti`, one is answered `true`.
    pub(crate) async fn spend(&self, by: ClientId, jti: &str, expires_at: Timestamp) -> Result<bool> {
        // A name of a client has no space in it.
        let spent = format!("{} {jti}", by.as_str()).into_bytes();
        let mut commit = Commit::default();
        commit.only_if(None, &[b"ZSCORE", b"{kerria}:spent", &spent]);
        commit.order(&[b"ZADD", b"{kerria}:spent", &digits(expires_at), &spent]);
        self.step(&[], || async { Ok(Some(self.commit(&commit).await?.is_some())) }).await
    }

    /// Removes up to `limit` reference tokens and spent identifiers that are over at `now`, and returns how many.
    pub(crate) async fn sweep_tokens(&self, now: Timestamp, limit: u32) -> Result<u64> {
        let limit = limit.to_string();
        let mut commit = Commit::default();
        commit.order(&[b"sweep_references", &digits(now), limit.as_bytes()]);
        commit.order(&[b"sweep_spent", &digits(now), limit.as_bytes()]);
        self.commit_always(&commit).await.map(|committed| committed.removed)
    }
}
