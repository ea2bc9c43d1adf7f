use std::time::Duration;

use async_trait::async_trait;

use crate::{
    client::{Client, ClientId, Grant},
    device::Device,
    id::{SessionId, TokenId, UserId},
    keys::{Algorithm, SigningKey},
    policy::SessionPolicy,
    rotation::RotationNonce,
    store::{Found, StoreError},
    time::Timestamp,
    token::TokenHash,
};

/// Refresh tokens, reference tokens and what is spent once.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// Uses a refresh token, in one step with everything that follows from it:
    ///
    /// - The present token of its session is replaced by the successor, and the use counts as a use of the session.
    /// - The one before it, for less than `window` after it was replaced, gets the nonce of its successor once more, and
    ///   nothing changes. (The present token not having been used is what makes the other the one before it.)
    /// - Any other token that names a live session was used before. The session is ended with
    ///   [`Cause::Replayed`](crate::Cause::Replayed), which is committed when the answer arrives, and audited with the address
    ///   of who presented it.
    ///
    /// A token of another client changes nothing, and neither does one whose session is over by `policy`.
    async fn rotate_refresh(&self, refresh: Refresh) -> Result<Rotation, StoreError>;

    /// The session with this handle and, if it is carried in tokens, what it was opened for.
    async fn session(&self, session: SessionId) -> Result<Option<(Found, Option<Grant>)>, StoreError>;

    /// Whether this is the hash of the present refresh token of `session`.
    async fn is_present_refresh(&self, session: SessionId, token: &TokenHash) -> Result<bool, StoreError>;

    /// Keeps a reference token. If its session has ended meanwhile, or its client was removed, it is not kept, and the
    /// answer is `false`.
    async fn keep_reference(&self, token: &TokenHash, reference: Reference) -> Result<bool, StoreError>;

    /// What a reference token stands for. `None` if it was never kept, was ended with its session or client, or was
    /// revoked itself. Whether it is over by time is for the caller to say.
    async fn reference(&self, token: &TokenHash) -> Result<Option<Reference>, StoreError>;

    /// Spends something that may be used once until `expires_at`: the `jti` of a client's assertion (RFC 7523, section 3).
    /// Of all calls with the same `by` and `jti`, one is answered `true`. It is remembered until `expires_at` at least.
    async fn spend(&self, by: ClientId, jti: &str, expires_at: Timestamp) -> Result<bool, StoreError>;

    /// Removes up to `limit` reference tokens and spent identifiers that are over at `now`, and returns how many.
    async fn sweep_tokens(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError>;
}

/// The use of a refresh token.
#[derive(Clone, Debug)]
pub struct Refresh {
    /// The session that the token names.
    pub session: SessionId,
    /// The hash of the token.
    pub presented: TokenHash,
    /// The hash of its successor by `nonce`.
    pub successor: TokenHash,
    /// From what the successor was derived.
    pub nonce: RotationNonce,
    /// Who presents it.
    pub client: ClientId,
    /// How long a lost reply is forgiven.
    pub window: Duration,
    /// Tells whether the session still counts.
    pub policy: SessionPolicy,
    /// From where it is presented, for the audit log, should that end the session.
    pub device: Option<Device>,
    /// When.
    pub now: Timestamp,
}

/// What came of using a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The successor is the present token now.
    Rotated(Found, Grant),
    /// The token was used a moment ago, and its successor was not. This is the successor's nonce.
    Repeated(Found, Grant, RotationNonce),
    /// The token was used before. The session has been ended for it.
    Replayed {
        /// Whose session it was.
        user: Option<UserId>,
    },
    /// The session belongs to another client. Nothing was changed.
    OtherClient,
    /// There is no such session any more, or its time is over. Nothing was changed.
    Gone,
}

/// What a reference token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its `jti`.
    pub id: TokenId,
    /// Its session; none for a token of a client itself.
    pub session: Option<SessionId>,
    /// Whose it is, for whom it is meant, and what it may do.
    pub grant: Grant,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it is over.
    pub expires_at: Timestamp,
}

/// Clients, as operators register them.
#[async_trait]
pub trait Clients: Send + Sync {
    /// Registers a client. `false`, and nothing is changed, if there is one of that name.
    async fn add_client(&self, client: &Client) -> Result<bool, StoreError>;

    /// The client of this name.
    async fn client(&self, id: ClientId) -> Result<Option<Client>, StoreError>;

    /// All clients, by name.
    async fn clients(&self) -> Result<Vec<Client>, StoreError>;

    /// Changes everything of a client but its name. A client that authenticates by a secret, before and after, keeps the one
    /// that it has, so that what was read earlier cannot bring back a secret that was replaced meanwhile. `false` if there is
    /// no such client.
    async fn change_client(&self, client: &Client) -> Result<bool, StoreError>;

    /// Gives a client another secret. `false`, and nothing is changed, if it does not authenticate by one, or there is none.
    async fn set_client_secret(&self, id: ClientId, secret: &TokenHash) -> Result<bool, StoreError>;

    /// Removes a client, and ends everything that was issued to it. `false` if there is none.
    async fn remove_client(&self, id: ClientId, now: Timestamp) -> Result<bool, StoreError>;
}

/// Signing keys.
#[async_trait]
pub trait SigningKeys: Send + Sync {
    /// All keys that are published.
    async fn signing_keys(&self) -> Result<Vec<SigningKey>, StoreError>;

    /// Begins the keyring of an algorithm with these keys. If it has begun already, from any process, nothing is changed.
    async fn begin_keyring(&self, algorithm: Algorithm, keys: Vec<SigningKey>) -> Result<(), StoreError>;

    /// Turns the keyring of an algorithm on: the active key retires, the next one becomes active, and `next` comes in. Only
    /// if `active` is still the active key, and there is one to follow it; else nothing is changed, and the answer is
    /// `false`.
    async fn turn_keyring(
        &self,
        algorithm: Algorithm,
        active: &str,
        next: SigningKey,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Throws away all keys, begins again with `keys`, and ends everything of everyone.
    async fn reset_keyrings(&self, keys: Vec<SigningKey>, now: Timestamp) -> Result<(), StoreError>;

    /// Removes keys that retired before `before`, and returns how many.
    async fn drop_retired_keys(&self, before: Timestamp) -> Result<u64, StoreError>;
}
