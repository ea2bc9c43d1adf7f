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

    /// The value under that key.
    async fn data(&self, session: SessionId, key: &DataKey) -> Result<Option<String>, StoreError>;

    /// Removes the value under that key, and says whether there was one.
    async fn remove_data(&self, session: SessionId, key: &DataKey) -> Result<bool, StoreError>;
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
