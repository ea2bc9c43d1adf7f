//! Refresh rotation, reference tokens, and what is spent once.

use async_trait::async_trait;
use kerria_core::{
    Cause, ClientId, Grant, RotationNonce, Selector, SessionId, Standing, Timestamp, TokenHash, UserId,
    store::{Found, Reference, Refresh, Rotation, StoreError, Successor, Tokens},
};

use super::{
    Ask, Driver, Result, Root, Row, SqlStore, Step, clients, rotation,
    rows::{self, select_sessions},
    sessions,
};

#[async_trait]
impl<D: Driver> Tokens for SqlStore<D> {
    async fn rotate_refresh(&self, refresh: Refresh) -> Result<Rotation, StoreError> {
        self.write_part(move |step| rotate(step, &refresh)).await
    }

    async fn session(&self, session: SessionId) -> Result<Option<(Found, Option<Grant>)>, StoreError> {
        self.read(move |asked| {
            asked.one(select_sessions!("WHERE s.id = ?1"), [session.as_bytes()], |row| {
                Ok((rows::found_by_handle(row)?, rows::grant(row)?))
            })
        })
        .await
    }

    async fn is_present_refresh(&self, session: SessionId, token: &TokenHash) -> Result<bool, StoreError> {
        let token = *token;
        self.read(move |asked| {
            asked.the(
                "SELECT EXISTS (SELECT 1 FROM session WHERE id = ?1 AND token_hash = ?2)",
                (session.as_bytes(), token.as_bytes()),
                |row| row.get(0),
            )
        })
        .await
    }

    async fn keep_reference(&self, token: &TokenHash, reference: Reference) -> Result<bool, StoreError> {
        let token = *token;
        self.write_part(move |step| keep_reference(step, &token, &reference)).await
    }

    async fn reference(&self, token: &TokenHash) -> Result<Option<Reference>, StoreError> {
        let token = *token;
        self.read(move |asked| {
            asked.one(
                "SELECT id, session_id, client_id, scope, audience, issued_at, expires_at FROM reference_token \
                 WHERE token_hash = ?1 AND (session_id IS NULL OR session_id IN (SELECT id FROM session))",
                [token.as_bytes()],
                reference,
            )
        })
        .await
    }

    async fn spend(&self, by: ClientId, jti: &str, expires_at: Timestamp) -> Result<bool, StoreError> {
        let jti = jti.to_owned();
        self.write_part(move |step| {
            let spent = step.change(
                "INSERT INTO spent (client_id, jti, expires_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                (by.as_str(), &jti, expires_at.as_millis()),
            )?;
            Ok(spent == 1)
        })
        .await
    }

    async fn sweep_tokens(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.write(move |step| {
            let references = step.change(
                "DELETE FROM reference_token WHERE token_hash IN ( \
                     SELECT token_hash FROM reference_token WHERE expires_at <= ?1 LIMIT ?2)",
                (now.as_millis(), limit),
            )?;
            let spent = step.change(
                "DELETE FROM spent WHERE (client_id, jti) IN ( \
                     SELECT client_id, jti FROM spent WHERE expires_at <= ?1 LIMIT ?2)",
                (now.as_millis(), u64::from(limit) - references),
            )?;
            Ok(references + spent)
        })
        .await
    }
}

/// What is held of the refresh tokens of a session.
struct Held {
    found: Found,
    grant: Grant,
    present: TokenHash,
    previous: Option<TokenHash>,
    nonce: Option<RotationNonce>,
    rotated_at: Option<Timestamp>,
}

fn rotate(step: &mut Step<'_>, refresh: &Refresh) -> Result<Rotation> {
    step.hold(Root::Session(refresh.session))?;
    let Some(held) = held(step, refresh.session)? else { return Ok(Rotation::Gone) };
    if held.grant.client != refresh.client {
        return Ok(Rotation::OtherClient);
    }
    if !matches!(refresh.policy.standing(&held.found.session, refresh.now), Standing::Active { .. }) {
        return Ok(Rotation::Gone);
    }
    if refresh.presented == held.present {
        return replace(step, refresh, held.grant);
    }
    match (held.previous, held.nonce, held.rotated_at) {
        (Some(previous), Some(nonce), Some(at))
            if previous == refresh.presented && refresh.now < at + refresh.window =>
        {
            Ok(Rotation::Repeated(held.found, held.grant, nonce))
        }
        _ => end_for_replay(step, refresh, held.found.session.user),
    }
}

fn held(step: &Step<'_>, session: SessionId) -> Result<Option<Held>> {
    step.one(select_sessions!("WHERE s.id = ?1 AND s.transport = 'tokens'"), [session.as_bytes()], |row| {
        Ok(Held {
            found: rows::found(row)?,
            grant: rows::grant(row)?.expect("a session that is carried in tokens has a grant"),
            present: TokenHash::from_bytes(row.get(15)?),
            previous: row.get::<Option<_>>(16)?.map(TokenHash::from_bytes),
            nonce: row.get::<Option<_>>(17)?.map(RotationNonce::from_bytes),
            rotated_at: row.get::<Option<_>>(18)?.map(Timestamp::from_millis),
        })
    })
}

fn replace(step: &Step<'_>, refresh: &Refresh, grant: Grant) -> Result<Rotation> {
    let successor = Successor { token: refresh.successor, nonce: refresh.nonce };
    rotation::replace(step, refresh.session, &successor, refresh.now)?;
    Ok(Rotation::Rotated(sessions::found(step, refresh.session)?, grant))
}

fn end_for_replay(step: &mut Step<'_>, refresh: &Refresh, user: Option<UserId>) -> Result<Rotation> {
    let selector = Selector::Session { session: refresh.session };
    sessions::revoke(step, selector, Cause::Replayed, refresh.device.as_ref(), refresh.now)?;
    Ok(Rotation::Replayed { user })
}

fn keep_reference(step: &Step<'_>, token: &TokenHash, kept: &Reference) -> Result<bool> {
    let Reference { id, session, grant, issued_at, expires_at } = kept;
    if !clients::may_be_issued_to(step, grant.client)? {
        return Ok(false);
    }
    if let Some(session) = session {
        step.hold(Root::Session(*session))?;
        if !sessions::exists(step, *session)? {
            return Ok(false);
        }
    }
    step.change(
        "INSERT INTO reference_token \
             (token_hash, id, session_id, client_id, scope, audience, issued_at, expires_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        (
            token.as_bytes(),
            id.as_bytes(),
            session.as_ref().map(|session| session.as_bytes()),
            grant.client.as_str(),
            grant.scope.to_string(),
            grant.audience.as_str(),
            issued_at.as_millis(),
            expires_at.as_millis(),
        ),
    )?;
    Ok(true)
}

fn reference(row: &dyn Row) -> Result<Reference> {
    Ok(Reference {
        id: rows::token_id(row, 0)?,
        session: row.get::<Option<_>>(1)?.map(SessionId::from_bytes),
        grant: Grant {
            client: rows::text(row, 2)?,
            scope: rows::text(row, 3)?,
            audience: rows::text(row, 4)?,
        },
        issued_at: rows::instant(row, 5)?,
        expires_at: rows::instant(row, 6)?,
    })
}

/// Deletes the reference tokens that `selector` selects by itself; those of ended sessions are found to be gone anyway.
pub(super) fn delete_references(asked: &dyn Ask, selector: Selector) -> Result<u64> {
    match selector {
        Selector::Token { token } => {
            asked.change("DELETE FROM reference_token WHERE id = ?1", [token.as_bytes()])
        }
        Selector::Client { client } => {
            asked.change("DELETE FROM reference_token WHERE client_id = ?1", [client.as_str()])
        }
        Selector::Everyone => asked.change("DELETE FROM reference_token", ()),
        Selector::Session { .. } | Selector::User { .. } | Selector::UserExcept { .. } => Ok(0),
    }
}
