//! Signing keys.

use async_trait::async_trait;
use kerria_core::{
    Algorithm, Cause, Selector, SigningKey, Timestamp,
    store::{SigningKeys, StoreError},
};

use super::{Ask, Driver, Result, Row, SqlStore, Step, ending, rows};
use crate::errand::Order;

#[async_trait]
impl<D: Driver> SigningKeys for SqlStore<D> {
    async fn signing_keys(&self) -> Result<Vec<SigningKey>, StoreError> {
        self.read(all).await
    }

    async fn begin_keyring(&self, algorithm: Algorithm, keys: Vec<SigningKey>) -> Result<(), StoreError> {
        self.write(move |step| {
            let begun = step.the(
                "SELECT EXISTS (SELECT 1 FROM signing_key WHERE algorithm = ?1 AND state = 'active')",
                [algorithm.as_str()],
                |row| row.get(0),
            )?;
            if begun { Ok(()) } else { keys.iter().try_for_each(|key| insert(step, key)) }
        })
        .await
    }

    async fn turn_keyring(
        &self,
        algorithm: Algorithm,
        active: &str,
        next: SigningKey,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let active = active.to_owned();
        self.write(move |step| {
            let retired = step.change(
                "UPDATE signing_key SET state = 'retired', since = ?3 \
                 WHERE kid = ?1 AND algorithm = ?2 AND state = 'active' AND EXISTS ( \
                     SELECT 1 FROM signing_key WHERE algorithm = ?2 AND state = 'next')",
                (&active, algorithm.as_str(), now.as_millis()),
            )?;
            if retired == 0 {
                return Ok(false);
            }
            step.change(
                "UPDATE signing_key SET state = 'active', since = ?2 WHERE algorithm = ?1 AND state = 'next'",
                (algorithm.as_str(), now.as_millis()),
            )?;
            insert(step, &next)?;
            Ok(true)
        })
        .await
    }

    async fn reset_keyrings(&self, keys: Vec<SigningKey>, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |step| reset(step, &keys, now)).await
    }

    async fn drop_retired_keys(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.write(move |step| {
            step.change(
                "DELETE FROM signing_key WHERE state = 'retired' AND since < ?1",
                [before.as_millis()],
            )
        })
        .await
    }
}

/// All keys.
pub(crate) fn all(asked: &dyn Ask) -> Result<Vec<SigningKey>> {
    asked.all(
        "SELECT kid, algorithm, state, sealed, public, created_at, since FROM signing_key \
         ORDER BY algorithm, since, kid",
        (),
        key,
    )
}

pub(crate) fn reset(step: &mut Step<'_>, keys: &[SigningKey], now: Timestamp) -> Result<()> {
    step.change("DELETE FROM signing_key", ())?;
    keys.iter().try_for_each(|key| insert(step, key))?;
    let order = Order::End { selector: Selector::Everyone, cause: Cause::Operator, keep: None };
    step.order(order, &ending::line_about(Cause::Operator, now), now).map(drop)
}

fn insert(step: &Step<'_>, key: &SigningKey) -> Result<()> {
    step.change(
        "INSERT INTO signing_key (kid, algorithm, state, sealed, public, created_at, since) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        (
            &key.kid,
            key.algorithm.as_str(),
            key.state.as_str(),
            key.sealed.as_slice(),
            &key.public,
            key.created_at.as_millis(),
            key.since.as_millis(),
        ),
    )?;
    Ok(())
}

fn key(row: &dyn Row) -> Result<SigningKey> {
    Ok(SigningKey {
        kid: row.get(0)?,
        algorithm: rows::word(row, 1)?,
        state: rows::word(row, 2)?,
        sealed: row.get(3)?,
        public: row.get(4)?,
        created_at: rows::instant(row, 5)?,
        since: rows::instant(row, 6)?,
    })
}
