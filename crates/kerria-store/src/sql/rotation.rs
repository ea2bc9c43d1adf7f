//! Rotation of session tokens.

use kerria_core::{
    Cause, LogEvent, Phase, RotationNonce, Selector, Session, SessionId, Timestamp, TokenHash, TokenStep,
    Transport,
    store::{Found, SessionRotation, StoreError, Successor, TokenUse, Trouble},
};

use super::{
    Ask, Result, Root, Step,
    rows::{self, select_sessions},
    sessions,
};

/// The session that a session token carries, as its present token or as the one before.
pub(super) fn find(asked: &dyn Ask, token: &TokenHash) -> Result<Option<Found>> {
    // In this order: a present token may become the one before in between, but never the other way round.
    let present = asked.one(
        select_sessions!("WHERE s.token_hash = ?1 AND s.transport <> 'tokens'"),
        [token.as_bytes()],
        rows::found,
    )?;
    match present {
        Some(found) => Ok(Some(found)),
        None => asked.one(
            select_sessions!("WHERE s.previous_hash = ?1 AND s.transport = 'cookie'"),
            [token.as_bytes()],
            rows::found_by_previous,
        ),
    }
}

/// Takes note of a use of a session token.
pub(super) fn rotate(step: &mut Step<'_>, token: &TokenUse) -> Result<SessionRotation> {
    step.hold(Root::SessionWith(&token.presented))?;
    let Some(found) = find(step, &token.presented)? else { return Ok(SessionRotation::Gone) };
    let Session { id, user, transport, .. } = found.session;
    if transport != Transport::Cookie {
        return Ok(SessionRotation::Gone);
    }
    match (found.succession.step(&token.rule, token.now), found.succession.phase) {
        (TokenStep::None, _) => Ok(SessionRotation::Unchanged),
        (TokenStep::EndForReplay, _) => {
            let (selector, device) = (Selector::Session { session: id }, token.device.as_ref());
            sessions::revoke(step, selector, Cause::Replayed, device, token.now)?;
            Ok(SessionRotation::Replayed { session: id, user })
        }
        (TokenStep::Rotate, Phase::Replaced) => nonce(step, id).map(SessionRotation::Repeated),
        (TokenStep::Confirm, _) => {
            confirm(step, id, token.now)?;
            found_again(step, token).map(SessionRotation::Confirmed)
        }
        (TokenStep::Rotate, _) => {
            let Some(successor) = token.successor else { return Ok(SessionRotation::Unchanged) };
            replace(step, id, &successor, token.now)?;
            step.write_log(Selector::Session { session: id }, LogEvent::Changed, token.now)?;
            found_again(step, token).map(SessionRotation::Rotated)
        }
    }
}

/// The present token becomes the one before, and its successor the present one. What was before is forgotten.
pub(super) fn replace(
    step: &Step<'_>,
    session: SessionId,
    successor: &Successor,
    now: Timestamp,
) -> Result<()> {
    step.change(
        "UPDATE session SET token_hash = ?2, previous_hash = token_hash, nonce = ?3, rotated_at = ?4, \
         last_seen_at = CASE WHEN last_seen_at < ?4 THEN ?4 ELSE last_seen_at END WHERE id = ?1",
        (session.as_bytes(), successor.token.as_bytes(), successor.nonce.as_bytes(), now.as_millis()),
    )?;
    Ok(())
}

/// The present token was used: its client has it, and from now on the one before only has its grace.
fn confirm(step: &mut Step<'_>, session: SessionId, now: Timestamp) -> Result<()> {
    step.change(
        "UPDATE session SET nonce = NULL, rotated_at = ?2, \
         last_seen_at = CASE WHEN last_seen_at < ?2 THEN ?2 ELSE last_seen_at END WHERE id = ?1",
        (session.as_bytes(), now.as_millis()),
    )?;
    step.write_log(Selector::Session { session }, LogEvent::Changed, now)?;
    Ok(())
}

fn nonce(step: &Step<'_>, session: SessionId) -> Result<RotationNonce> {
    step.the("SELECT nonce FROM session WHERE id = ?1", [session.as_bytes()], |row| {
        row.get(0).map(RotationNonce::from_bytes)
    })
}

fn found_again(step: &Step<'_>, token: &TokenUse) -> Result<Found> {
    find(step, &token.presented)?.ok_or_else(|| StoreError::new(Trouble::Failed, "a session is missing"))
}
