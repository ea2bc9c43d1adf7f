//! What is true about sessions: types, decisions and the storage contract.
//!
//! Nothing in this crate reads a clock, draws randomness, touches a file or a socket. Time and random bytes are
//! passed in, so that every decision can be tested at any date and repeated exactly.
//!
//! The words used here: a *session* belongs to a *user* and is carried by a *token* (the secret), of which only a
//! *hash* is kept. Its *handle* ([`SessionId`]) is safe to show and to log. What ends a session is a *revocation*: an
//! entry of the *log*, which a checker applies to its *set*. Whether a session still counts is its *standing*.

pub mod account;
pub mod audit;
pub mod client;
pub mod data;
pub mod device;
pub mod entropy;
pub mod group;
pub mod id;
pub mod keys;
pub mod lease;
pub mod policy;
pub mod refresh;
pub mod revocation;
pub mod rotation;
pub mod secret;
pub mod session;
pub mod store;
pub mod throttle;
pub mod time;
pub mod token;

pub use account::{
    CredentialVersion, EmailAddress, LoginName, PasswordHash, Profile, Status, User, UserName,
};
pub use client::{
    AccessTokenForm, Audience, Client, ClientAuthentication, ClientId, Grant, GrantType, Scope,
};
pub use data::{DataKey, DataLimits, DataRefused};
pub use device::{Browser, Device, Network, Place};
pub use entropy::Entropy;
pub use group::{GroupName, Groups};
pub use id::{CheckerId, SessionId, TokenId, UserId};
pub use keys::{Algorithm, KeyState, SigningKey};
pub use lease::{Lease, LeaseTerms, Moment};
pub use policy::{Lifetimes, SessionPolicy, Standing};
pub use refresh::RefreshToken;
pub use revocation::{Bearing, Cause, LogEntry, LogEvent, LogNumber, RevokedSet, Selector, Verdict};
pub use rotation::{Phase, RotationNonce, RotationRule, Succession, TokenStep};
pub use secret::Secret;
pub use session::{Expiry, Method, Session, Transport};
pub use store::{Store, StoreError};
pub use time::{Clock, Timestamp};
pub use token::{Token, TokenHash, TokenKey, TokenKind};
