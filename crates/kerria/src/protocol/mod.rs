//! What a checker in another process and a node say to each other, in JSON. `docs/checker-protocol.md` describes it.
//!
//! Times are in milliseconds since 1970-01-01T00:00:00Z, durations in milliseconds. Hashes, keys and nonces are in base64url
//! without padding.

use std::{net::IpAddr, time::Duration};

use kerria_core::{
    Browser, CheckerId, Device, EmailAddress, Expiry, Grant, Groups, Lifetimes, LogEntry, LogNumber, Network,
    Phase, Place, Profile, RotationNonce, RotationRule, Session, SessionId, SessionPolicy, Succession,
    Timestamp, TokenHash, Transport, UserId, UserName,
    account::BadName,
    store::{Found, LogPage, SessionRotation, Successor},
};
use serde::{Deserialize, Serialize};

use crate::binding::Binding;

/// Where nodes answer checkers.
pub mod paths {
    /// What a checker has to know: [`Settings`](super::Settings).
    pub const SETTINGS: &str = "/api/v1/checker/settings";
    /// A renewal of its lease.
    pub const RENEW: &str = "/api/v1/checker/renew";
    /// A session by its token.
    pub const FIND: &str = "/api/v1/checker/find";
    /// A session by its handle.
    pub const SESSION: &str = "/api/v1/checker/session";
    /// What applications are told of a user.
    pub const PROFILE: &str = "/api/v1/checker/profile";
    /// When sessions were used.
    pub const TOUCH: &str = "/api/v1/checker/touch";
    /// The use of a session token that may have to be replaced.
    pub const ROTATE: &str = "/api/v1/checker/rotate";
    /// A stretch of the revocation log.
    pub const LOG: &str = "/api/v1/checker/log";
    /// The end of a checker.
    pub const LEAVE: &str = "/api/v1/checker/leave";
}

/// How many uses one request may tell.
pub const USES: usize = 500;

/// How many entries of the log one answer holds at most.
pub const LOG_ENTRIES: u32 = 10_000;

/// How many characters the name of a checker may have.
pub const NAME_CHARACTERS: usize = 100;

/// What a checker has to know of the installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The origin of the server, which issues the access tokens (`iss`).
    pub issuer: String,
    /// The name of the session cookie.
    pub cookie: String,
    /// The key of the tag of tokens.
    pub token_key: Bytes<16>,
    /// How long a lease lasts, counted from before a renewal is sent.
    pub lease: Millis,
    /// How often uses of sessions are to be told.
    pub touch_every: Millis,
    /// How long sessions last.
    pub policy: PolicyShape,
    /// When session tokens in cookies are replaced.
    pub rotation: RotationShape,
    /// What happens when a session is used from another place.
    pub binding: BindingWord,
}

/// A span of time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Millis(u64);

/// How long sessions last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyShape {
    /// Of a session that ends with the browser, and of an anonymous one.
    pub ordinary: LifetimesShape,
    /// Of a session whose user asked to stay signed in.
    pub remembered: LifetimesShape,
}

/// The two limits of a session's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifetimesShape {
    /// Without use.
    pub idle: Millis,
    /// In any case.
    pub absolute: Millis,
}

/// When session tokens in cookies are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationShape {
    /// How long one is used; 0 for ever.
    pub after: Millis,
    /// How long one is accepted once its successor was used.
    pub grace: Millis,
}

/// What happens when a session is used from another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BindingWord {
    /// Nothing.
    Off,
    /// It goes on, and the change is told.
    Alarm,
    /// The request is not authenticated.
    Refuse,
}

/// A renewal of a lease. The answer is a [`Renewed`](kerria_core::lease::Renewed).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewLease {
    /// Who asks: an identifier that it has made up when it started.
    #[serde(with = "text")]
    pub checker: CheckerId,
    /// What people call it.
    pub name: String,
    /// The last entry that it has applied; `null` if it has just begun and remembers no session.
    #[serde(deserialize_with = "whole::log_number_or_null")]
    pub applied: Option<LogNumber>,
    /// How long the answer may be held back, until there is news.
    #[serde(default = "Millis::zero")]
    pub wait: Millis,
}

/// A checker that goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leave {
    /// Which.
    #[serde(with = "text")]
    pub checker: CheckerId,
}

/// Asks for the session that a token carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Find {
    /// The hash of the token.
    pub token: Bytes<32>,
}

/// Asks for a session by its handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FindSession {
    /// The handle.
    #[serde(with = "text")]
    pub session: SessionId,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The session; `null` if there is none.
    pub found: Option<FoundShape>,
}

/// A session as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundShape {
    /// The handle.
    pub session: SessionId,
    /// Who is signed in.
    pub user: Option<UserId>,
    /// What to call them.
    pub user_name: Option<Box<str>>,
    /// How the client carries the token.
    pub transport: Transport,
    /// Whether the user asked to stay signed in.
    pub remembered: bool,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was last used, as far as is known.
    pub last_seen_at: Timestamp,
    /// When the user last proved who they are.
    pub authenticated_at: Timestamp,
    /// From where it was opened.
    pub place: PlaceShape,
    /// When it is to be over, if the policy does not end it sooner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<ExpiryShape>,
    /// The number of the last log entry when it was read.
    pub as_of: LogNumber,
    /// What the token is among those that carried the session.
    pub phase: PhaseWord,
    /// Since when it is that.
    pub since: Timestamp,
    /// The hash of the other token under which it may be in use.
    pub other_token: Option<Bytes<32>>,
    /// What it was opened for, if it was asked for by its handle and is carried in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantShape>,
}

/// What a session that is carried in tokens was opened for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantShape {
    /// The client.
    pub client: kerria_core::ClientId,
    /// The most that its access tokens may do.
    pub scope: kerria_core::Scope,
    /// For whom they are meant.
    pub audience: kerria_core::Audience,
}

/// When a session is to be over that has an expiry of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiryShape {
    /// At this instant.
    At(Timestamp),
    /// When it was not used for so long.
    Idle(Millis),
}

/// From where a session was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceShape {
    /// The browser family.
    pub browser: Browser,
    /// The IPv4 address, or the /64 of the IPv6 address.
    #[serde(with = "text")]
    pub network: Network,
}

/// What a session token is among those that carried its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseWord {
    /// The present one, in use.
    Present,
    /// The present one, of which nobody knows yet that its client has it.
    Unused,
    /// It was replaced, and its successor has not been used.
    Replaced,
    /// Its successor was used.
    Outlived,
}

/// Asks what applications are told of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FindProfile {
    /// Which.
    #[serde(with = "text")]
    pub user: UserId,
}

/// What applications are told of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileAnswer {
    /// The user; `null` if there is none.
    pub profile: Option<ProfileShape>,
}

/// A user, as applications know them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileShape {
    /// Who it is.
    pub user: UserId,
    /// The name to sign in with.
    pub name: Option<String>,
    /// The e-mail address to sign in with.
    pub email: Option<String>,
    /// The names of their groups.
    pub groups: Groups,
}

/// When sessions were used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uses {
    /// Each session once.
    pub seen: Vec<Use>,
}

/// When a session was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Use {
    /// Which session.
    #[serde(with = "text")]
    pub session: SessionId,
    /// When.
    #[serde(deserialize_with = "whole::timestamp")]
    pub at: Timestamp,
}

/// The use of a session token in a cookie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// The hash of the token.
    pub token: Bytes<32>,
    /// What takes its place when it has been in use for long enough; `null` if nothing does.
    pub successor: Option<SuccessorShape>,
    /// From where it is presented.
    pub device: Option<DeviceShape>,
}

/// What takes a token's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuccessorShape {
    /// Its hash.
    pub token: Bytes<32>,
    /// From what it was derived.
    pub nonce: Bytes<32>,
}

/// From where a token is presented.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceShape {
    /// The `User-Agent` header; empty if there was none.
    pub user_agent: String,
    /// The address.
    pub address: IpAddr,
}

/// What came of using a session token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Rotated {
    /// The successor is the present token now.
    Rotated {
        /// The session, as the token that was presented finds it.
        found: FoundShape,
    },
    /// The token was replaced before.
    Repeated {
        /// The nonce of its successor.
        nonce: Bytes<32>,
    },
    /// The token is a successor, and was used for the first time.
    Confirmed {
        /// The session.
        found: FoundShape,
    },
    /// The token is good, and nothing was changed.
    Unchanged,
    /// The token was used after its time. The session has been ended for it.
    Replayed {
        /// The session.
        session: SessionId,
        /// Whose it was.
        user: Option<UserId>,
    },
    /// It carries no session that is carried in a cookie, or not any more.
    Gone,
}

/// Asks for a stretch of the revocation log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadLog {
    /// From the entry after this number on.
    #[serde(deserialize_with = "whole::log_number")]
    pub after: LogNumber,
    /// So many entries at most.
    #[serde(deserialize_with = "whole::limit")]
    pub limit: u32,
}

/// A stretch of the revocation log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum LogShape {
    /// The entries that follow, in order.
    Entries {
        /// None if there are none yet.
        entries: Vec<LogEntry>,
    },
    /// Entries after that number were removed.
    StartOver {
        /// The number of the last entry.
        head: LogNumber,
    },
}

/// So many bytes, written in base64url.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bytes<const N: usize>(pub [u8; N]);

#[cfg(feature = "remote")]
pub(crate) mod heard;
mod shapes;
mod text;
mod whole;
