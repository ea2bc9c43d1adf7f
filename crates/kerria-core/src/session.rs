//! A session: what a check has to know about it.

use serde::{Deserialize, Serialize};

use crate::{
    device::Place,
    id::{SessionId, UserId},
    time::Timestamp,
};

/// One session. Small, because a checker keeps millions of them in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The handle.
    pub id: SessionId,
    /// Who is signed in; nobody in an anonymous session, which exists only because data was put into it.
    pub user: Option<UserId>,
    /// How the client carries the token.
    pub transport: Transport,
    /// Whether the user asked to stay signed in on this device.
    pub remembered: bool,
    /// When it was opened. The absolute lifetime counts from here.
    pub opened_at: Timestamp,
    /// When it was last used. The idle time counts from here.
    pub last_seen_at: Timestamp,
    /// When the user last proved who they are: at sign-in, or later in a step-up.
    pub authenticated_at: Timestamp,
    /// From where it was opened.
    pub place: Place,
}

/// How a client carries a session token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// In a cookie that scripts cannot read.
    Cookie,
    /// In the `Authorization` header, as a bearer token (RFC 6750, section 2.1).
    Bearer,
    /// As a refresh token that buys access tokens (RFC 6749, section 1.5).
    Tokens,
}

impl Transport {
    /// The word that is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cookie => "cookie",
            Self::Bearer => "bearer",
            Self::Tokens => "tokens",
        }
    }
}

/// How a user proved who they are (the `amr` of RFC 8176 in Kerria's words).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// With a password.
    Password,
    /// By the one-time link of an invitation, choosing a password on the way.
    Invitation,
    /// By signing up.
    SignUp,
    /// In a way that is the application's own: it keeps its users itself.
    Application,
}

impl Method {
    /// The word that is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Invitation => "invitation",
            Self::SignUp => "sign_up",
            Self::Application => "application",
        }
    }
}
