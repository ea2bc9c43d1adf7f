//! The key-value data of sessions.

use async_trait::async_trait;
use kerria_core::{
    DataKey, DataLimits, SessionId, StoreError,
    store::{DataOwner, DataWrite, Overtaken, SessionData, Trouble},
};

use super::{
    RedisSessions,
    sessions::{for_visitor, insert},
    step::{Commit, Question, Reading},
};
use crate::sql::{
    Result,
    session_data::{exchange, sum},
};

/// Under this key, which no value can have, is a number that each write changes: what was read before is out of date then.
pub(super) const STAMP: &[u8] = b"";

#[async_trait]
impl SessionData for RedisSessions {
    async fn put_data(
        &self,
        owner: DataOwner,
        key: &DataKey,
        json: String,
        limits: DataLimits,
    ) -> Result<DataWrite, StoreError> {
        Ok(self.put(&owner, key, limits, |_| Ok(json.clone())).await?.unwrap_or_else(DataWrite::Refused))
    }

    async fn increment_data(
        &self,
        owner: DataOwner,
        key: &DataKey,
        by: i64,
        limits: DataLimits,
    ) -> Result<DataWrite, StoreError> {
        Ok(self.put(&owner, key, limits, |held| sum(held, by)).await?.unwrap_or_else(DataWrite::Refused))
    }

    async fn change_data(
        &self,
        owner: DataOwner,
        key: &DataKey,
        held: Option<String>,
        json: String,
        limits: DataLimits,
    ) -> Result<Result<DataWrite, Overtaken>, StoreError> {
        self.put(&owner, key, limits, |now| exchange(now, held.as_deref(), &json)).await
    }

    async fn data(&self, session: SessionId, key: &DataKey) -> Result<Option<String>, StoreError> {
        let mut reading = self.ask(Question::default().data(session)).await?;
        Ok(Data::read(&mut reading)?.take(key))
    }

    async fn remove_data(&self, session: SessionId, key: &DataKey) -> Result<Option<String>, StoreError> {
        self.step(&[session.as_bytes()], || async {
            let mut reading = self.read(Question::default().data(session)).await?;
            let mut data = Data::read(&mut reading)?;
            let Some(json) = data.take(key) else { return Ok(Some(None)) };
            let mut commit = reading.commit();
            data.changes(&mut commit, session);
            let kept = commit.key("d:", session.as_bytes());
            commit.order(&[b"HDEL", &kept, key.as_str().as_bytes()]);
            Ok(self.commit(&commit).await?.map(|_| Some(json)))
        })
        .await
    }

    async fn all_data(&self, session: SessionId) -> Result<Vec<(DataKey, String)>, StoreError> {
        let mut reading = self.ask(Question::default().data(session)).await?;
        let read = |bytes| String::from_utf8(bytes).map_err(|error| StoreError::new(Trouble::Damaged, error));
        let values = Data::read(&mut reading)?.values.into_iter().map(|(key, json)| {
            let key =
                DataKey::parse(&read(key)?).map_err(|error| StoreError::new(Trouble::Damaged, error))?;
            Ok((key, read(json)?))
        });
        let mut all = values.collect::<Result<Vec<_>>>()?;
        all.sort_unstable();
        Ok(all)
    }

    async fn clear_data(&self, session: SessionId) -> Result<u64, StoreError> {
        self.step(&[session.as_bytes()], || async {
            let mut reading = self.read(Question::default().data(session)).await?;
            let data = Data::read(&mut reading)?;
            let mut commit = reading.commit();
            data.changes(&mut commit, session);
            let kept = commit.key("d:", session.as_bytes());
            for (key, _) in &data.values {
                commit.order(&[b"HDEL", &kept, key]);
            }
            let cleared = data.values.len() as u64;
            if cleared == 0 {
                return Ok(Some(0));
            }
            Ok(self.commit(&commit).await?.map(|_| cleared))
        })
        .await
    }
}

impl RedisSessions {
    /// Puts under `key` what `value` makes of what is held there, if that is allowed.
    async fn put<E>(
        &self,
        owner: &DataOwner,
        key: &DataKey,
        limits: DataLimits,
        value: impl Fn(Option<&str>) -> Result<String, E>,
    ) -> Result<Result<DataWrite, E>> {
        let session = match owner {
            DataOwner::Session(session) => *session,
            DataOwner::Visitor(new) => new.id,
        };
        self.step(&[session.as_bytes()], || async {
            let mut reading = self.read(Question::default().session(session).data(session)).await?;
            let there = reading.session()?.is_some();
            let mut commit = reading.commit();
            let opened = match owner {
                DataOwner::Session(_) if !there => return Ok(Some(Ok(DataWrite::Gone))),
                DataOwner::Session(_) => {
                    let record = commit.key("s:", session.as_bytes());
                    commit.only_if(Some(b"1"), &[b"EXISTS", &record]);
                    None
                }
                DataOwner::Visitor(new) => {
                    let kept = for_visitor(new);
                    insert(&mut commit, &kept)?;
                    Some(kept)
                }
            };
            let mut data = Data::read(&mut reading)?;
            let held = data.take(key);
            let json = match value(held.as_deref()) {
                Ok(json) => json,
                Err(why_not) => return Ok(Some(Err(why_not))),
            };
            if let Err(refused) = limits.admit(data.others(), key, json.len() as u64) {
                return Ok(Some(Ok(DataWrite::Refused(refused))));
            }
            data.changes(&mut commit, session);
            let kept = commit.key("d:", session.as_bytes());
            commit.order(&[b"HSET", &kept, key.as_str().as_bytes(), json.as_bytes()]);
            let committed = self.commit(&commit).await?;
            Ok(committed.map(|committed| {
                let opened = opened.map(|kept| kept.found(committed.head));
                Ok(DataWrite::Written { json, opened })
            }))
        })
        .await
    }
}

/// The data of a session, as it was read.
struct Data {
    stamp: Option<Vec<u8>>,
    values: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Data {
    fn read(reading: &mut Reading) -> Result<Self> {
        let mut values: Vec<(Vec<u8>, Vec<u8>)> = reading.next()?;
        let stamp = values.iter().position(|(key, _)| key == STAMP).map(|at| values.swap_remove(at).1);
        Ok(Self { stamp, values })
    }

    /// Takes out the value under `key`; what is left are the others.
    fn take(&mut self, key: &DataKey) -> Option<String> {
        let at = self.values.iter().position(|(held, _)| held == key.as_str().as_bytes())?;
        String::from_utf8(self.values.swap_remove(at).1).ok()
    }

    /// How many there are, and the bytes of them and their keys.
    fn others(&self) -> (u64, u64) {
        let bytes: usize = self.values.iter().map(|(key, json)| key.len() + json.len()).sum();
        (self.values.len() as u64, bytes as u64)
    }

    /// Only if nobody has changed them meanwhile; and now somebody has.
    fn changes(&self, commit: &mut Commit, session: SessionId) {
        let kept = commit.key("d:", session.as_bytes());
        commit.only_if(self.stamp.as_deref(), &[b"HGET", &kept, STAMP]);
        commit.order(&[b"HINCRBY", &kept, STAMP, b"1"]);
    }
}
