//! The key-value data of sessions.

use async_trait::async_trait;
use kerria_core::{
    DataKey, DataLimits, SessionId, StoreError,
    store::{DataOwner, DataWrite, NewSession, Overtaken, SessionData},
};
use redis::{FromRedisValue, Value};

use super::{
    RedisSessions,
    errors::damaged,
    script::Script,
    sessions::{for_visitor, insert},
    step::{Question, in_time, parsed},
};
use crate::{
    observer::{Access, Began},
    sql::{
        Result,
        session_data::{Expected, exchange, sum},
    },
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
        match owner {
            DataOwner::Visitor(new) => self.open_with(&new, key, json, limits).await,
            DataOwner::Session(session) => {
                let put = self.put(session, key, json, Expected::Anything, limits).await?;
                put.map_err(|_| damaged("a value was not replaced that anything may replace"))
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
            DataOwner::Session(session) => session,
            DataOwner::Visitor(new) => return self.open_with(&new, key, by.to_string(), limits).await,
        };
        let incrementing = async {
            // Those of this process wait for each other, so that only another process is ever in the way.
            let _held = self.locks.hold(&[session.as_bytes()]).await;
            let mut held = self.data(session, key).await?;
            loop {
                let json = match sum(held.as_deref(), by) {
                    Ok(json) => json,
                    Err(why_not) => return Ok(DataWrite::Refused(why_not)),
                };
                match self.put(session, key, json, Expected::Still(held), limits).await? {
                    Ok(written) => return Ok(written),
                    Err(overtaken) => held = overtaken.json,
                }
            }
        };
        in_time(incrementing).await
    }

    async fn change_data(
        &self,
        owner: DataOwner,
        key: &DataKey,
        held: Option<String>,
        json: String,
        limits: DataLimits,
    ) -> Result<Result<DataWrite, Overtaken>, StoreError> {
        match owner {
            DataOwner::Session(session) => self.put(session, key, json, Expected::Still(held), limits).await,
            DataOwner::Visitor(new) => match exchange(None, held.as_deref(), &json) {
                Ok(json) => Ok(Ok(self.open_with(&new, key, json, limits).await?)),
                Err(overtaken) => Ok(Err(overtaken)),
            },
        }
    }

    async fn data(&self, session: SessionId, key: &DataKey) -> Result<Option<String>, StoreError> {
        self.read_data(session, &[b"get", key.as_str().as_bytes()]).await
    }

    async fn data_to_change(&self, session: SessionId, key: &DataKey) -> Result<Option<String>, StoreError> {
        match self.last_written.recall(session, key) {
            Some(json) => Ok(json),
            None => self.data(session, key).await,
        }
    }

    async fn remove_data(&self, session: SessionId, key: &DataKey) -> Result<Option<String>, StoreError> {
        let removed = self.write_data(session, &[b"remove", key.as_str().as_bytes()]).await?;
        self.last_written.note(session, key, None);
        Ok(removed)
    }

    async fn take_data(&self, session: SessionId, key: &DataKey, held: &str) -> Result<bool, StoreError> {
        let remove = [b"remove", key.as_str().as_bytes(), held.as_bytes()];
        let taken: Option<String> = self.write_data(session, &remove).await?;
        if taken.is_some() {
            self.last_written.note(session, key, None);
        }
        Ok(taken.is_some())
    }

    async fn all_data(&self, session: SessionId) -> Result<Vec<(DataKey, String)>, StoreError> {
        let values: Vec<(String, String)> = self.read_data(session, &[b"all"]).await?;
        let values = values.into_iter().filter(|(key, _)| key.as_bytes() != STAMP);
        let values = values.map(|(key, json)| Ok((DataKey::parse(&key).map_err(damaged)?, json)));
        let mut all = values.collect::<Result<Vec<_>>>()?;
        all.sort_unstable();
        Ok(all)
    }

    async fn clear_data(&self, session: SessionId) -> Result<u64, StoreError> {
        let cleared = self.write_data(session, &[b"clear"]).await?;
        self.last_written.forget(session);
        Ok(cleared)
    }
}

impl RedisSessions {
    async fn put(
        &self,
        session: SessionId,
        key: &DataKey,
        json: String,
        expected: Expected,
        limits: DataLimits,
    ) -> Result<Result<DataWrite, Overtaken>> {
        let numbers = [limits.keys, limits.value_bytes, limits.total_bytes].map(|limit| limit.to_string());
        let [most_keys, most_of_value, most_in_all] = numbers.each_ref().map(|number| number.as_bytes());
        let expected = match expected {
            Expected::Anything => String::new(),
            Expected::Still(None) => "-".to_owned(),
            Expected::Still(Some(held)) => format!("={held}"),
        };
        let (name, text) = (key.as_str().as_bytes(), json.as_bytes());
        let put = [b"put", name, text, expected.as_bytes(), most_keys, most_of_value, most_in_all];
        let mut answers = self.write_data::<Vec<Value>>(session, &put).await?.into_iter();
        let mut next = || answers.next().unwrap_or(Value::Nil);
        match parsed::<String>(next())?.as_str() {
            "written" => {
                self.last_written.note(session, key, Some(&json));
                Ok(Ok(DataWrite::Written { json, opened: None }))
            }
            "overtaken" => Ok(Err(Overtaken { json: parsed(next())? })),
            "refused" => match limits.admit((parsed(next())?, parsed(next())?), key, json.len() as u64) {
                Err(why) => Ok(Ok(DataWrite::Refused(why))),
                Ok(()) => Err(damaged("a value was refused that is within the limits")),
            },
            "gone" => Ok(Ok(DataWrite::Gone)),
            other => Err(damaged(format!("writing a value was answered {other:?}"))),
        }
    }

    /// Opens a session for a visitor with this value.
    async fn open_with(
        &self,
        new: &NewSession,
        key: &DataKey,
        json: String,
        limits: DataLimits,
    ) -> Result<DataWrite> {
        if let Err(why) = limits.admit((0, 0), key, json.len() as u64) {
            return Ok(DataWrite::Refused(why));
        }
        let kept = for_visitor(new);
        self.step(&[new.id.as_bytes()], || async {
            let mut commit = self.read(Question::default()).await?.commit();
            insert(&mut commit, &kept)?;
            let data = commit.key("d:", new.id.as_bytes());
            commit.order(&[b"HSET", &data, STAMP, b"1", key.as_str().as_bytes(), json.as_bytes()]);
            Ok(self.commit(&commit).await?.map(|committed| DataWrite::Written {
                json: json.clone(),
                opened: Some(kept.found(committed.head)),
            }))
        })
        .await
    }

    async fn read_data<T: FromRedisValue>(&self, session: SessionId, what: &[&[u8]]) -> Result<T> {
        let words = [&[&session.as_bytes()[..]], what].concat();
        let began = Began::now();
        let answer = in_time(self.link.read(Script::Data, &words)).await;
        self.observer.answered(Access::Read, began.elapsed());
        parsed(answer?)
    }

    async fn write_data<T: FromRedisValue>(&self, session: SessionId, what: &[&[u8]]) -> Result<T> {
        let words = [&[&session.as_bytes()[..]], what].concat();
        let began = Began::now();
        let answer = in_time(self.link.write(Script::Data, &words)).await;
        self.observer.answered(Access::Write, began.elapsed());
        parsed(answer?)
    }
}
