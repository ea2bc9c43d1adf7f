//! The key-value data of sessions.

use async_trait::async_trait;
use kerria_core::{
    DataKey, DataLimits, DataRefused, SessionId, StoreError,
    store::{DataOwner, DataWrite, SessionData},
};

use super::{Driver, Result, Root, SqlStore, Step, sessions};

#[async_trait]
impl<D: Driver> SessionData for SqlStore<D> {
    async fn put_data(
        &self,
        owner: DataOwner,
        key: &DataKey,
        json: String,
        limits: DataLimits,
    ) -> Result<DataWrite, StoreError> {
        let key = key.clone();
        self.write_part(move |step| put(step, &owner, &key, limits, |_| Ok(json.clone()))).await
    }

    async fn increment_data(
        &self,
        owner: DataOwner,
        key: &DataKey,
        by: i64,
        limits: DataLimits,
    ) -> Result<DataWrite, StoreError> {
        let key = key.clone();
        self.write_part(move |step| put(step, &owner, &key, limits, |held| sum(held, by))).await
    }

    async fn data(&self, session: SessionId, key: &DataKey) -> Result<Option<String>, StoreError> {
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

    async fn remove_data(&self, session: SessionId, key: &DataKey) -> Result<bool, StoreError> {
        let key = key.clone();
        self.write_part(move |step| {
            step.hold(Root::Session(session))?;
            let removed = step.change(
                "DELETE FROM session_data WHERE session_id = ?1 AND key = ?2",
                (session.as_bytes(), key.as_str()),
            )?;
            Ok(removed > 0)
        })
        .await
    }
}

/// Puts under `key` what `value` makes of what is held there, if that is allowed.
fn put(
    step: &Step<'_>,
    owner: &DataOwner,
    key: &DataKey,
    limits: DataLimits,
    value: impl FnOnce(Option<&str>) -> Result<String, DataRefused>,
) -> Result<DataWrite> {
    if let DataOwner::Session(session) = owner {
        step.hold(Root::Session(*session))?;
    }
    let session = match owner {
        DataOwner::Visitor(new) => new.id,
        DataOwner::Session(session) if sessions::exists(step, *session)? => *session,
        DataOwner::Session(_) => return Ok(DataWrite::Gone),
    };
    let held = step.one(
        "SELECT json FROM session_data WHERE session_id = ?1 AND key = ?2",
        (session.as_bytes(), key.as_str()),
        |row| row.get::<String>(0),
    )?;
    let others = others(step, session, key)?;
    let admitted =
        value(held.as_deref()).and_then(|json| limits.admit(others, key, json.len() as u64).map(|()| json));
    let json = match admitted {
        Ok(json) => json,
        Err(refused) => return Ok(DataWrite::Refused(refused)),
    };
    if let DataOwner::Visitor(new) = owner {
        sessions::insert(step, new, None, None)?;
    }
    step.change(
        "INSERT INTO session_data (session_id, key, json) VALUES (?1, ?2, ?3) \
         ON CONFLICT (session_id, key) DO UPDATE SET json = excluded.json",
        (session.as_bytes(), key.as_str(), &json),
    )?;
    let opened = match owner {
        DataOwner::Visitor(_) => Some(sessions::found(step, session)?),
        DataOwner::Session(_) => None,
    };
    Ok(DataWrite::Written { json, opened })
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

fn sum(held: Option<&str>, by: i64) -> Result<String, DataRefused> {
    let held: i64 = serde_json::from_str(held.unwrap_or("0")).map_err(|_| DataRefused::NotANumber)?;
    held.checked_add(by).map(|sum| sum.to_string()).ok_or(DataRefused::NotANumber)
}
