//! Rotation of session tokens and of refresh tokens.

use kerria_core::{
    Cause, LogEvent, Phase, Selector, Session, SessionId, Standing, Timestamp, TokenHash, TokenStep,
    Transport,
    store::{Found, Refresh, Rotation, SessionRotation, Successor, TokenUse},
};

use super::{
    RedisSessions,
    record::Kept,
    sessions::missing,
    step::{Commit, Committed, Question},
};
use crate::sql::Result;

impl RedisSessions {
    /// Takes note that a session token in a cookie was used, in one step with everything that follows from it.
    pub(crate) async fn rotate(&self, token: &TokenUse) -> Result<SessionRotation> {
        let (rotation, committed) =
            self.step(&[token.presented.as_bytes()], || self.try_to_rotate(token)).await?;
        if let Some(committed) = committed {
            self.acknowledge(&committed).await;
        }
        Ok(rotation)
    }

    async fn try_to_rotate(&self, token: &TokenUse) -> Result<Option<(SessionRotation, Option<Committed>)>> {
        let unchanged = |rotation| Ok(Some((rotation, None)));
        let mut reading = self.read(Question::default().token(&token.presented)).await?;
        let head = reading.head;
        let Some(mut kept) = reading.session()? else { return unchanged(SessionRotation::Gone) };
        let Some(found) = kept.found_by(&token.presented, head) else {
            return unchanged(SessionRotation::Gone);
        };
        let Session { id, user, transport, .. } = kept.session;
        if transport != Transport::Cookie {
            return unchanged(SessionRotation::Gone);
        }
        let mut commit = reading.commit();
        commit.only_if_unchanged(&kept)?;
        let then: fn(Found) -> SessionRotation =
            match (found.succession.step(&token.rule, token.now), found.succession.phase) {
                (TokenStep::None, _) => return unchanged(SessionRotation::Unchanged),
                (TokenStep::EndForReplay, _) => {
                    Self::end_one(&mut commit, id, Cause::Replayed, token.now)?;
                    let replayed = SessionRotation::Replayed { session: id, user };
                    let committed = self.commit(&commit).await?;
                    return Ok(committed.map(|committed| (replayed, Some(committed))));
                }
                (TokenStep::Rotate, Phase::Replaced) => {
                    return unchanged(SessionRotation::Repeated(kept.nonce.ok_or_else(missing)?));
                }
                (TokenStep::Confirm, _) => {
                    // Its client has it, and from now on the one before only has its grace.
                    (kept.nonce, kept.rotated_at) = (None, Some(token.now));
                    use_now(&mut commit, &mut kept, token.now)?;
                    SessionRotation::Confirmed
                }
                (TokenStep::Rotate, _) => {
                    let Some(successor) = token.successor else {
                        return unchanged(SessionRotation::Unchanged);
                    };
                    replace(&mut commit, &mut kept, &successor, token.now)?;
                    SessionRotation::Rotated
                }
            };
        commit.log(Selector::Session { session: id }, LogEvent::Changed, token.now)?;
        let Some(committed) = self.commit(&commit).await? else { return Ok(None) };
        let found = kept.found_by(&token.presented, committed.head).ok_or_else(missing)?;
        Ok(Some((then(found), Some(committed))))
    }

    /// Uses a refresh token, in one step with everything that follows from it.
    pub(crate) async fn rotate_refresh(&self, refresh: &Refresh) -> Result<Rotation> {
        let (rotation, committed) =
            self.step(&[refresh.session.as_bytes()], || self.try_to_refresh(refresh)).await?;
        if let Some(committed) = committed {
            self.acknowledge(&committed).await;
        }
        Ok(rotation)
    }

    async fn try_to_refresh(&self, refresh: &Refresh) -> Result<Option<(Rotation, Option<Committed>)>> {
        let unchanged = |rotation| Ok(Some((rotation, None)));
        let mut reading = self.read(Question::default().session(refresh.session)).await?;
        let in_tokens = |kept: &Kept| kept.session.transport == Transport::Tokens;
        let Some(mut kept) = reading.session()?.filter(in_tokens) else { return unchanged(Rotation::Gone) };
        let Some(grant) = kept.grant.clone() else { return unchanged(Rotation::Gone) };
        if grant.client != refresh.client {
            return unchanged(Rotation::OtherClient);
        }
        if !matches!(refresh.policy.standing(&kept.session, refresh.now), Standing::Active { .. }) {
            return unchanged(Rotation::Gone);
        }
        let mut commit = reading.commit();
        commit.only_if_unchanged(&kept)?;
        if refresh.presented == kept.token {
            let successor = Successor { token: refresh.successor, nonce: refresh.nonce };
            replace(&mut commit, &mut kept, &successor, refresh.now)?;
            let committed = self.commit(&commit).await?;
            return Ok(committed
                .map(|committed| (Rotation::Rotated(kept.found(committed.head), grant), Some(committed))));
        }
        match (kept.previous, kept.nonce, kept.rotated_at) {
            (Some(previous), Some(nonce), Some(at))
                if previous == refresh.presented && refresh.now < at + refresh.window =>
            {
                unchanged(Rotation::Repeated(kept.found(reading.head), grant, nonce))
            }
            _ => {
                Self::end_one(&mut commit, refresh.session, Cause::Replayed, refresh.now)?;
                let replayed = Rotation::Replayed { user: kept.session.user };
                Ok(self.commit(&commit).await?.map(|committed| (replayed, Some(committed))))
            }
        }
    }

    /// Whether this is the hash of the present refresh token of `session`.
    pub(crate) async fn is_present_refresh(&self, session: SessionId, token: &TokenHash) -> Result<bool> {
        let kept = self.ask(Question::default().session(session)).await?.session()?;
        Ok(kept.is_some_and(|kept| kept.token == *token))
    }
}

/// The present token becomes the one before, and its successor the present one. What was before is forgotten.
fn replace(commit: &mut Commit, kept: &mut Kept, successor: &Successor, now: Timestamp) -> Result<()> {
    if let Some(forgotten) = kept.previous {
        let forgotten = commit.key("t:", forgotten.as_bytes());
        commit.order(&[b"UNLINK", &forgotten]);
    }
    if kept.session.transport != Transport::Cookie {
        let replaced = commit.key("t:", kept.token.as_bytes());
        commit.order(&[b"UNLINK", &replaced]);
    }
    let present = commit.key("t:", successor.token.as_bytes());
    commit.set(&present, kept.session.id.as_bytes());
    (kept.previous, kept.token) = (Some(kept.token), successor.token);
    (kept.nonce, kept.rotated_at) = (Some(successor.nonce), Some(now));
    use_now(commit, kept, now)
}

/// Writes a session that was used.
fn use_now(commit: &mut Commit, kept: &mut Kept, now: Timestamp) -> Result<()> {
    kept.session.last_seen_at = kept.session.last_seen_at.max(now);
    commit.write(kept)?;
    commit.touch(kept.session.id, now);
    Ok(())
}
