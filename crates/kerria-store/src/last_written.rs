//! The values of sessions that this process has written last, where other processes write them, too.
//!
//! They are an answer to nobody. Whoever changes a value says which one is to be replaced, and is told if it is another one by now; to
//! guess right saves a question.

use kerria_core::{DataKey, SessionId};

use crate::data_cache::{DataCache, DataChange, Recalled};

/// The values that were written last.
#[derive(Default)]
pub struct LastWritten(DataCache);

impl LastWritten {
    /// What was written last under that key, as far as it is remembered; the inner `None` is no value.
    pub(crate) fn recall(&self, session: SessionId, key: &DataKey) -> Option<Option<String>> {
        match self.0.recall(session, key) {
            Recalled::Value(json) => Some(json.as_deref().map(ToOwned::to_owned)),
            Recalled::Unknown(_) => None,
        }
    }

    /// This is what is there, as far as anybody knows.
    pub(crate) fn note(&self, session: SessionId, key: &DataKey, json: Option<&str>) {
        let written = DataChange::Value(session, key.clone(), json.map(Into::into));
        self.0.changing(vec![written]).committed();
    }

    /// Nothing is remembered of a session.
    pub(crate) fn forget(&self, session: SessionId) {
        self.0.changing(vec![DataChange::Session(session)]).committed();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use kerria_core::{
        DataLimits,
        store::{DataOwner, DataWrite, Overtaken, SessionData},
    };

    use super::*;

    /// What the stores of two processes do in which there is this session.
    pub(crate) async fn remembers_what_it_has_written(
        here: &dyn SessionData,
        elsewhere: &dyn SessionData,
        session: SessionId,
    ) {
        let (owner, limits) = (|| DataOwner::Session(session), DataLimits::default());
        let [key, other] = ["visits", "other"].map(|key| DataKey::parse(key).unwrap());
        let put = async |store: &dyn SessionData, json: &str| {
            store.put_data(owner(), &key, json.to_owned(), limits).await.unwrap()
        };
        let change = async |held: Option<&str>, json: &str| {
            let held = held.map(ToOwned::to_owned);
            here.change_data(owner(), &key, held, json.to_owned(), limits).await.unwrap()
        };
        put(here, "1").await;
        put(elsewhere, "2").await;
        let remembered = here.data_to_change(session, &key).await.unwrap();
        assert_eq!(remembered.as_deref(), Some("1"), "nobody was asked");
        assert_eq!(
            here.data(session, &key).await.unwrap().as_deref(),
            Some("2"),
            "whoever reads is told what is true"
        );
        assert_eq!(change(Some("1"), "3").await, Err(Overtaken { json: Some("2".to_owned()) }));
        assert!(matches!(change(Some("2"), "3").await, Ok(DataWrite::Written { .. })));
        assert_eq!(here.data_to_change(session, &key).await.unwrap().as_deref(), Some("3"));
        assert_eq!(elsewhere.data(session, &key).await.unwrap().as_deref(), Some("3"));
        // What this process has removed or counted itself, it knows of.
        let to_change = async || here.data_to_change(session, &key).await.unwrap();
        here.increment_data(owner(), &key, 4, limits).await.unwrap();
        assert_eq!(to_change().await.as_deref(), Some("7"));
        here.remove_data(session, &key).await.unwrap();
        assert_eq!(to_change().await, None);
        put(here, "1").await;
        assert!(here.take_data(session, &key, "1").await.unwrap());
        assert_eq!(to_change().await, None);
        put(here, "1").await;
        here.clear_data(session).await.unwrap();
        assert_eq!(to_change().await, None);
        assert_eq!(here.data_to_change(session, &other).await.unwrap(), None, "the store was asked");
    }
}
