//! The key-value data of sessions.

use async_trait::async_trait;
use kerria_core::{
    DataKey, DataLimits, DataRefused, SessionId, StoreError,
    store::{DataOwner, DataWrite, Overtaken, SessionData, Trouble},
};

use super::{Ask, Driver, Reach, Result, Root, SqlStore, Step, rows, sessions};
use crate::data_cache::{DataChange, Recalled};

#[async_trait]
impl<D: Driver> SessionData for SqlStore<D> {
    async fn put_data(
        &self,
        owner: DataOwner,
        key: &DataKey,
        json: String,
        limits: DataLimits,
    ) -> Result<DataWrite, StoreError> {
        match self.replace(owner, key, Expected::Anything, json, limits).await? {
            Ok(written) => Ok(written),
            Err(_) => {
                Err(StoreError::new(Trouble::Damaged, "a value was not replaced that anything may replace"))
            }
        }
    }

    async fn increment_data(
        &self,
        owner: DataOwner,
        key: &DataKey,
        by: i64,
        limits: DataLimits,
    ) -> Result<DataWrite, StoreError> {
        let session = match owner {
            DataOwner::Session(session) => Some(session),
            DataOwner::Visitor(_) => None,
        };
        let name = key.clone();
        let put = move |step: &mut Step<'_>| put(step, &owner, &name, limits, |held| sum(held, by));
        let put = self.write_part(put).await?.unwrap_or_else(DataWrite::Refused);
        if let (Some(session), DataWrite::Written { json, .. }) = (session, &put) {
            self.is_written(session, key, Some(json));
        }
        Ok(put)
    }

    async fn change_data(
        &self,
        owner: DataOwner,
        key: &DataKey,
        held: Option<String>,
        json: String,
        limits: DataLimits,
    ) -> Result<Result<DataWrite, Overtaken>, StoreError> {
        self.replace(owner, key, Expected::Still(held), json, limits).await
    }

    async fn data(&self, session: SessionId, key: &DataKey) -> Result<Option<String>, StoreError> {
        let Some(cache) = self.driver.data_cache() else { return self.read_data(session, key).await };
        match cache.recall(session, key) {
            Recalled::Value(json) => Ok(json.as_deref().map(ToOwned::to_owned)),
            Recalled::Unknown(None) => self.read_data(session, key).await,
            Recalled::Unknown(Some(reading)) => {
                let json = self.read_data(session, key).await?;
                cache.keep(session, key, reading, json.as_deref());
                Ok(json)
            }
        }
    }

    async fn data_to_change(&self, session: SessionId, key: &DataKey) -> Result<Option<String>, StoreError> {
        match self.driver.last_written().and_then(|written| written.recall(session, key)) {
            Some(json) => Ok(json),
            None => self.data(session, key).await,
        }
    }

    async fn remove_data(&self, session: SessionId, key: &DataKey) -> Result<Option<String>, StoreError> {
        let name = key.clone();
        let remove = move |step: &mut Step<'_>| {
            step.hold(Root::Session(session))?;
            step.data_changes.push(DataChange::Value(session, name.clone(), None));
            step.one(
                "DELETE FROM session_data WHERE session_id = ?1 AND key = ?2 RETURNING json",
                (session.as_bytes(), name.as_str()),
                |row| row.get(0),
            )
        };
        let removed = self.write_part(remove).await?;
        self.is_written(session, key, None);
        Ok(removed)
    }

    async fn take_data(&self, session: SessionId, key: &DataKey, held: &str) -> Result<bool, StoreError> {
        let (name, held) = (key.clone(), held.to_owned());
        let take = move |step: &mut Step<'_>| {
            step.hold(Root::Session(session))?;
            let taken = step.change(
                "DELETE FROM session_data WHERE session_id = ?1 AND key = ?2 AND json = ?3",
                (session.as_bytes(), name.as_str(), &held),
            )?;
            if taken > 0 {
                step.data_changes.push(DataChange::Value(session, name.clone(), None));
            }
            Ok(taken > 0)
        };
        let taken = self.write_part(take).await?;
        if taken {
            self.is_written(session, key, None);
        }
        Ok(taken)
    }

    async fn all_data(&self, session: SessionId) -> Result<Vec<(DataKey, String)>, StoreError> {
        self.read(move |asked| {
            let mut all = asked.all(
                "SELECT key, json FROM session_data WHERE session_id = ?1",
                [session.as_bytes()],
                |row| Ok((rows::parsed(row, 0, DataKey::parse)?, row.get(1)?)),
            )?;
            // Engines have orders of their own.
            all.sort_unstable();
            Ok(all)
        })
        .await
    }

    async fn clear_data(&self, session: SessionId) -> Result<u64, StoreError> {
        let clear = move |step: &mut Step<'_>| {
            step.hold(Root::Session(session))?;
            step.data_changes.push(DataChange::Session(session));
            step.change("DELETE FROM session_data WHERE session_id = ?1", [session.as_bytes()])
        };
        let cleared = self.write_part(clear).await?;
        if let Some(written) = self.driver.last_written() {
            written.forget(session);
        }
        Ok(cleared)
    }
}

/// What a value may replace.
pub(crate) enum Expected {
    /// Whatever is there.
    Anything,
    /// This value, or none, if that is still so.
    Still(Option<String>),
}

impl<D: Driver> SqlStore<D> {
    /// Puts a value in the place of another one: any, or what is expected to be there.
    async fn replace(
        &self,
        owner: DataOwner,
        key: &DataKey,
        expected: Expected,
        json: String,
        limits: DataLimits,
    ) -> Result<Result<DataWrite, Overtaken>> {
        let name = key.clone();
        let session = match owner {
            DataOwner::Session(session) if D::PUTS_BY_ONE_STATEMENT => session,
            owner => {
                let value = move |now: Option<&str>| match &expected {
                    Expected::Still(expected) => exchange(now, expected.as_deref(), &json),
                    Expected::Anything => Ok(json.clone()),
                };
                return self.write_part(move |step| put(step, &owner, &name, limits, &value)).await;
            }
        };
        let put =
            move |step: &mut Step<'_>| put_by_one_statement(step, session, &name, &expected, &json, limits);
        let put = self.write_within(Reach::Statement, put).await?;
        if let Ok(DataWrite::Written { json, .. }) = &put {
            self.is_written(session, key, Some(json));
        }
        Ok(put)
    }

    /// Where others write, too, this is what was written last.
    fn is_written(&self, session: SessionId, key: &DataKey, json: Option<&str>) {
        if let Some(written) = self.driver.last_written() {
            written.note(session, key, json);
        }
    }

    async fn read_data(&self, session: SessionId, key: &DataKey) -> Result<Option<String>, StoreError> {
        let key = key.clone();
        self.read(move |asked| {
            asked.one(
                "SELECT json FROM session_data WHERE session_id = ?1 AND key = ?2",
                (session.as_bytes(), key.as_str()),
                |row| row.get(0),
            )
        })
        .await
    }
}

/// Puts under `key` what `value` makes of what is held there, if that is allowed.
fn put<E>(
    step: &mut Step<'_>,
    owner: &DataOwner,
    key: &DataKey,
    limits: DataLimits,
    value: impl FnOnce(Option<&str>) -> Result<String, E>,
) -> Result<Result<DataWrite, E>> {
    if let DataOwner::Session(session) = owner {
        step.hold(Root::Session(*session))?;
    }
    let session = match owner {
        DataOwner::Visitor(new) => new.id,
        DataOwner::Session(session) if sessions::exists(step, *session)? => *session,
        DataOwner::Session(_) => return Ok(Ok(DataWrite::Gone)),
    };
    let held = step.one(
        "SELECT json FROM session_data WHERE session_id = ?1 AND key = ?2",
        (session.as_bytes(), key.as_str()),
        |row| row.get::<String>(0),
    )?;
    let others = others(step, session, key)?;
    let json = match value(held.as_deref()) {
        Ok(json) => json,
        Err(why_not) => return Ok(Err(why_not)),
    };
    if let Err(refused) = limits.admit(others, key, json.len() as u64) {
        return Ok(Ok(DataWrite::Refused(refused)));
    }
    if let DataOwner::Visitor(new) = owner {
        sessions::insert(step, new, None, None)?;
    }
    step.change(
        "INSERT INTO session_data (session_id, key, json) VALUES (?1, ?2, ?3) \
         ON CONFLICT (session_id, key) DO UPDATE SET json = excluded.json",
        (session.as_bytes(), key.as_str(), &json),
    )?;
    step.data_changes.push(DataChange::Value(session, key.clone(), Some(json.as_str().into())));
    let opened = match owner {
        DataOwner::Visitor(_) => Some(sessions::found(step, session)?),
        DataOwner::Session(_) => None,
    };
    Ok(Ok(DataWrite::Written { json, opened }))
}

/// The same for a session that is there, in a database with the function `put_session_data`.
fn put_by_one_statement(
    asked: &dyn Ask,
    session: SessionId,
    key: &DataKey,
    expected: &Expected,
    json: &str,
    limits: DataLimits,
) -> Result<Result<DataWrite, Overtaken>> {
    let (anything, expected) = match expected {
        Expected::Anything => (true, None),
        Expected::Still(held) => (false, held.as_deref()),
    };
    let (outcome, held, others) = asked.the(
        "SELECT outcome, held, keys, bytes FROM put_session_data(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        (
            session.as_bytes(),
            key.as_str(),
            json,
            anything,
            expected,
            limits.keys,
            limits.value_bytes,
            limits.total_bytes,
        ),
        |row| {
            Ok((row.get::<String>(0)?, row.get(1)?, (row.get::<Option<u64>>(2)?, row.get::<Option<u64>>(3)?)))
        },
    )?;
    Ok(match (outcome.as_str(), others) {
        ("gone", _) => Ok(DataWrite::Gone),
        ("overtaken", _) => Err(Overtaken { json: held }),
        ("refused", (Some(keys), Some(bytes)))
            if let Err(why) = limits.admit((keys, bytes), key, json.len() as u64) =>
        {
            Ok(DataWrite::Refused(why))
        }
        ("written", _) => Ok(DataWrite::Written { json: json.to_owned(), opened: None }),
        _ => return Err(StoreError::new(Trouble::Damaged, format!("writing a value came to {outcome:?}"))),
    })
}

/// The number of keys other than `key`, and the bytes of them and their values.
fn others(step: &Step<'_>, session: SessionId, key: &DataKey) -> Result<(u64, u64)> {
    step.the(
        "SELECT count(*), coalesce(sum(octet_length(key) + octet_length(json)), 0) \
         FROM session_data WHERE session_id = ?1 AND key <> ?2",
        (session.as_bytes(), key.as_str()),
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// The sum of what is held and `by`.
pub(crate) fn sum(held: Option<&str>, by: i64) -> Result<String, DataRefused> {
    let held: i64 = serde_json::from_str(held.unwrap_or("0")).map_err(|_| DataRefused::NotANumber)?;
    held.checked_add(by).map(|sum| sum.to_string()).ok_or(DataRefused::NotANumber)
}

/// The new value, if the one that is there is the one that was expected.
pub(crate) fn exchange(now: Option<&str>, expected: Option<&str>, json: &str) -> Result<String, Overtaken> {
    if now == expected { Ok(json.to_owned()) } else { Err(Overtaken { json: now.map(ToOwned::to_owned) }) }
}
