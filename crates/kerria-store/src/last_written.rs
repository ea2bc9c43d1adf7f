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
        assert_eq!(here.data_to_change(session, &other).await.unwrap(), None, "the store was asked");
    }
}
