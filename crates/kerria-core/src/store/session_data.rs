use async_trait::async_trait;

use crate::{
    data::{DataKey, DataLimits, DataRefused},
    id::SessionId,
    store::{Found, NewSession, StoreError},
};

/// The key-value data of sessions. Values are compact JSON texts (RFC 8259).
#[async_trait]
pub trait SessionData: Send + Sync {
    /// Writes one value, replacing the one under that key. Other keys are not touched, whoever writes them meanwhile.
    async fn put_data(
        &self,
        owner: DataOwner,
        key: &DataKey,
        json: String,
        limits: DataLimits,
    ) -> Result<DataWrite, StoreError>;

    /// Adds `by` to the whole number under that key (to 0, if there is none) and answers the sum as JSON.
    async fn increment_data(
        &self,
        owner: DataOwner,
        key: &DataKey,
        by: i64,
        limits: DataLimits,
    ) -> Result<DataWrite, StoreError>;

    /// Replaces the value under that key, if it is still `held`; `None` is no value.
    async fn change_data(
        &self,
        owner: DataOwner,
        key: &DataKey,
        held: Option<String>,
        json: String,
        limits: DataLimits,
    ) -> Result<Result<DataWrite, Overtaken>, StoreError>;

    /// The value under that key.
    async fn data(&self, session: SessionId, key: &DataKey) -> Result<Option<String>, StoreError>;

    /// A value that was under that key, and may be another one by now: for who is going to [change](Self::change_data) it, and is told
    /// then. A store that remembers what it has written need not look.
    async fn data_to_change(&self, session: SessionId, key: &DataKey) -> Result<Option<String>, StoreError> {
        self.data(session, key).await
    }

    /// Removes the value under that key, and returns it: of several who do so at once, one gets it.
    async fn remove_data(&self, session: SessionId, key: &DataKey) -> Result<Option<String>, StoreError>;

    /// All values, in the order of their keys.
    async fn all_data(&self, session: SessionId) -> Result<Vec<(DataKey, String)>, StoreError>;

    /// Removes all values, and says how many there were.
    async fn clear_data(&self, session: SessionId) -> Result<u64, StoreError>;
}

/// Whose data it is.
#[derive(Clone, Debug)]
pub enum DataOwner {
    /// A session that exists.
    Session(SessionId),
    /// A visitor without a session: one is opened in the same step, with nobody signed in.
    Visitor(NewSession),
}

/// What came of writing a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataWrite {
    /// It is written.
    Written {
        /// The value that now stands under the key.
        json: String,
        /// The session that was opened for it, if the owner was a visitor.
        opened: Option<Found>,
    },
    /// It is not allowed. Nothing was changed, and no session was opened.
    Refused(DataRefused),
    /// The session was ended. Nothing was changed.
    Gone,
}

/// Another value stands there than the one that was to be replaced. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overtaken {
    /// That value; `None` if there is none.
    pub json: Option<String>,
}
