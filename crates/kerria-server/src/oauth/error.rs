//! What an OAuth endpoint answers when it does not do what was asked (RFC 6749, section 5.2).

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use kerria_core::StoreError;
use serde_json::json;
use tracing::error;

use crate::{
    keys::KeyError,
    problem::log_store_error,
    tokens::{IssueError, client::NotGranted},
};

/// An error, with a sentence for whoever programs the client. The sentences are ours: nothing of a request is repeated, so
/// they hold no character that the standard forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OAuthError {
    /// A parameter is missing, comes twice, or is not what it should be.
    InvalidRequest(&'static str),
    /// The body is longer than any such request is.
    TooLarge,
    /// The client is not known, or did not prove to be that client. Which, nobody is told.
    InvalidClient,
    /// The token is not good, or not this client's.
    InvalidGrant,
    /// The client may not use this grant.
    UnauthorizedClient,
    /// There is no such grant here.
    UnsupportedGrantType,
    /// More than the client may do, or more than was granted.
    InvalidScope,
    /// Not an audience that the client may have tokens for (RFC 8707, section 2).
    InvalidTarget,
    /// It cannot be decided or done right now.
    Unavailable,
}

impl OAuthError {
    const fn status(self) -> StatusCode {
        match self {
            Self::InvalidClient => StatusCode::UNAUTHORIZED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest(_) | Self::TooLarge => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::Unavailable => "temporarily_unavailable",
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::InvalidRequest(description) => description,
            Self::TooLarge => "The body is too large.",
            Self::InvalidClient => "There is no such client, or it did not prove to be that client.",
            Self::InvalidGrant => "The token is not good, was used before, or belongs to another client.",
            Self::UnauthorizedClient => "The client is not registered for this grant.",
            Self::UnsupportedGrantType => "There is no such grant here; the metadata lists those there are.",
            Self::InvalidScope => "This is no scope, or more than the client may do or was granted.",
            Self::InvalidTarget => "The client may not have this token for this audience.",
            Self::Unavailable => {
                "This cannot be done right now. Try again within a few seconds, a refresh with the same refresh token."
            }
        }
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.code(), "error_description": self.description() });
        let mut response = (self.status(), Json(body)).into_response();
        let headers = response.headers_mut();
        match self {
            // Every 401 names a scheme (RFC 9110, section 11.6.1), also to a client that used none.
            Self::InvalidClient => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"kerria\""));
            }
            Self::Unavailable => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

/// A broken store is told to the log in full and to the client not at all.
impl From<StoreError> for OAuthError {
    fn from(error: StoreError) -> Self {
        log_store_error(&error);
        Self::Unavailable
    }
}

impl From<KeyError> for OAuthError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Store(error) => error.into(),
            KeyError::Sealed(_)
            | KeyError::NoSealingKey(_)
            | KeyError::CannotSeal(_)
            | KeyError::Missing(_) => {
                error!("{error}");
                Self::Unavailable
            }
        }
    }
}

impl From<IssueError> for OAuthError {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::Store(error) => error.into(),
            IssueError::Keys(error) => error.into(),
        }
    }
}

impl From<NotGranted> for OAuthError {
    fn from(refused: NotGranted) -> Self {
        match refused {
            NotGranted::Grant => Self::UnauthorizedClient,
            NotGranted::Scope => Self::InvalidScope,
            NotGranted::Audience => Self::InvalidTarget,
        }
    }
}
