//! The audit log: what happened to accounts and sessions, for people to read later.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    id::{SessionId, UserId},
    time::Timestamp,
};

/// One line of the audit log. It never holds a token, a password or a hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub event: AuditEvent,
    /// To whom, if that is known.
    pub user: Option<UserId>,
    /// To which session, if to one.
    pub session: Option<SessionId>,
    /// From where, if a client asked for it.
    pub address: Option<IpAddr>,
    /// More about it in a few words: the cause of an end, the number of sessions.
    pub detail: String,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditEvent {
    /// A user signed in.
    SignedIn,
    /// A sign-in failed.
    SignInFailed,
    /// A user proved again who they are.
    SteppedUp,
    /// Sessions ended.
    SessionsEnded,
    /// A session was used from another browser family or network than before.
    PlaceChanged,
    /// An account was created.
    UserCreated,
    /// A name or an e-mail address changed.
    UserRenamed,
    /// A user was put in groups, or taken out of some.
    GroupsChanged,
    /// A password changed.
    PasswordChanged,
    /// A user was disabled.
    UserDisabled,
    /// A user was enabled again.
    UserEnabled,
    /// A user was deleted.
    UserDeleted,
    /// An invitation was made.
    Invited,
}

impl AuditEvent {
    /// The word that is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignedIn => "signed_in",
            Self::SignInFailed => "sign_in_failed",
            Self::SteppedUp => "stepped_up",
            Self::SessionsEnded => "sessions_ended",
            Self::PlaceChanged => "place_changed",
            Self::UserCreated => "user_created",
            Self::UserRenamed => "user_renamed",
            Self::GroupsChanged => "groups_changed",
            Self::PasswordChanged => "password_changed",
            Self::UserDisabled => "user_disabled",
            Self::UserEnabled => "user_enabled",
            Self::UserDeleted => "user_deleted",
            Self::Invited => "invited",
        }
    }
}
