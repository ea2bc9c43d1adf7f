//! What the API answers when it cannot do what was asked: problem details (RFC 9457).

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use kerria_core::{StoreError, Timestamp, store::Trouble};
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::error;

use crate::{field::Field, keys::KeyError, passwords::Busy, tokens::IssueError};

/// What a 401 asks for when no token was presented (RFC 6750, section 3.1: then no error is told).
const NOTHING_PRESENTED: &str = "Bearer realm=\"kerria\"";

/// What a 401 says when the token that was presented is not good.
const TOKEN_REFUSED: &str = "Bearer realm=\"kerria\", error=\"invalid_token\"";

/// What a 403 says when the access token that was presented is good, but for less than this.
const INSUFFICIENT_SCOPE: &str = "Bearer realm=\"kerria\", error=\"insufficient_scope\", scope=\"account\"";

/// A problem: what the client may know.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    retry_after: Option<u64>,
    challenge: Option<&'static str>,
    more: Map<String, Value>,
}

impl Problem {
    /// A problem of this kind. `kind` becomes the type, as in `urn:kerria:problem:sign-in-failed`; `title` is the same
    /// for every problem of the kind, `detail` is about this one.
    pub fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            kind,
            title,
            detail: detail.into(),
            retry_after: None,
            challenge: (status == StatusCode::UNAUTHORIZED).then_some(NOTHING_PRESENTED),
            more: Map::new(),
        }
    }

    /// The request is not what this endpoint takes.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "The request cannot be understood", detail)
    }

    /// A value was understood and is not allowed.
    pub fn invalid(field: Field, detail: impl Into<String>) -> Self {
        let title = "A value is not allowed";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-value", title, detail)
            .with("field", field.as_str())
    }

    /// A session is needed, and there is none.
    pub fn not_signed_in() -> Self {
        let detail =
            "Present a session token: in the cookie, or as a bearer token in the Authorization header.";
        Self::new(StatusCode::UNAUTHORIZED, "not-signed-in", "You are not signed in", detail)
    }

    /// A session is needed, and the token that was presented carries none.
    pub fn session_token_refused() -> Self {
        let detail = "The token that was presented carries no session: it has ended or expired, or never was one. Sign in again \
                      with POST /api/v1/login.";
        Self::new(StatusCode::UNAUTHORIZED, "not-signed-in", "You are not signed in", detail)
            .challenge(TOKEN_REFUSED)
    }

    /// A session is needed, and the access token that was presented is good for something else (RFC 6750, section 3.1).
    pub fn insufficient_scope() -> Self {
        let detail = "The access token does not have the word account in its scope, which this API asks for.";
        Self::new(
            StatusCode::FORBIDDEN,
            "insufficient-scope",
            "The access token is for something else",
            detail,
        )
        .challenge(INSUFFICIENT_SCOPE)
    }

    /// Nobody is signed in in this session.
    pub fn anonymous() -> Self {
        let detail =
            "Nobody is signed in in this session; it only holds data. Sign in with POST /api/v1/login.";
        Self::new(StatusCode::UNAUTHORIZED, "not-signed-in", "You are not signed in", detail)
    }

    /// The operator's credential is needed, and another one was presented.
    pub fn operator_token_refused() -> Self {
        Self::not_an_operator().challenge(TOKEN_REFUSED)
    }

    /// The operator's credential is needed.
    pub fn not_an_operator() -> Self {
        let detail = "Present the operator token that is set as operator.token or operator.token_file as a bearer token, or \
                      use the command line on the server's machine.";
        Self::new(StatusCode::UNAUTHORIZED, "not-an-operator", "This needs the operator's credential", detail)
    }

    /// The credential of checkers is needed, and another one was presented.
    pub fn checkers_token_refused() -> Self {
        Self::not_a_checker().challenge(TOKEN_REFUSED)
    }

    /// The credential of checkers is needed.
    pub fn not_a_checker() -> Self {
        let detail = "Present the token that is set as checkers.token or checkers.token_file as a bearer token. Without that \
                      setting, nobody may follow this server.";
        Self::new(StatusCode::UNAUTHORIZED, "not-a-checker", "This needs the credential of checkers", detail)
    }

    /// As many checkers follow as may.
    pub fn too_many_checkers(max: u32) -> Self {
        let detail = format!(
            "{max} processes hold a lease already, as many as checkers.max allows. Stop those that are not needed (`kerria cluster \
             status` lists them), or raise checkers.max at every node."
        );
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-checkers", "Too many checkers follow", detail)
            .retry_after(1)
    }

    /// The last proof of identity is too old for what was asked.
    pub fn not_fresh() -> Self {
        let detail = "Confirm your password with POST /api/v1/session/step-up, then try again.";
        Self::new(StatusCode::FORBIDDEN, "fresh-sign-in-required", "Confirm that it is you", detail)
    }

    /// An access token does not do.
    pub fn session_needed() -> Self {
        let detail = "An access token may not change the account. Sign in with the transport cookie or bearer for that.";
        Self::new(StatusCode::FORBIDDEN, "session-needed", "This needs a session of its own", detail)
    }

    /// The request comes from somebody else's page, or might.
    pub fn foreign(detail: &'static str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "cross-site-request",
            "The request may come from another site",
            detail,
        )
    }

    /// There is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing here", detail)
    }

    /// It stands in the way of something that is already there.
    pub fn conflict(kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, kind, title, detail)
    }

    /// Too many attempts.
    pub fn too_many_attempts(retry_at: Timestamp, now: Timestamp) -> Self {
        let seconds = seconds_until(retry_at, now);
        let unit = if seconds == 1 { "second" } else { "seconds" };
        let detail = format!("Too many attempts. Try again in {seconds} {unit}.");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-attempts", "Too many attempts", detail)
            .retry_after(seconds)
    }

    /// It cannot be decided or done right now. Says nothing about whether a session is good.
    pub fn unavailable() -> Self {
        Self::unavailable_because(
            "Nobody was signed out by this. Try again in a moment; if you changed something, look first whether it was done.",
        )
    }

    /// The same, for somebody who may know why.
    pub fn unavailable_because(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "This is not possible right now", detail)
            .retry_after(1)
    }

    /// With one more member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    fn challenge(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// The status code.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The sentence about this very problem.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// Whole seconds from `now` until `at`, at least one.
pub fn seconds_until(at: Timestamp, now: Timestamp) -> u64 {
    at.since(now).as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX).max(1)
}

/// The members, in the order in which RFC 9457 shows them.
#[derive(Serialize)]
struct Details<'p> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'p str,
    #[serde(flatten)]
    more: &'p Map<String, Value>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let details = Details {
            kind: format!("urn:kerria:problem:{}", self.kind),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            more: &self.more,
        };
        let mut response = (self.status, Json(details)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

/// A broken store is told to the log in full and to the client not at all.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::from(&error)
    }
}

impl From<&StoreError> for Problem {
    fn from(error: &StoreError) -> Self {
        log_store_error(error);
        let problem = Self::unavailable();
        // Whoever trusts their memory in an outage is told that this is none.
        if error.trouble == Trouble::Busy { Self { kind: "busy", ..problem } } else { problem }
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Store(error) => error.into(),
            KeyError::Sealed(_)
            | KeyError::NoSealingKey(_)
            | KeyError::CannotSeal(_)
            | KeyError::Missing(_) => {
                error!("{error}");
                Self::unavailable()
            }
        }
    }
}

impl From<IssueError> for Problem {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::Store(error) => error.into(),
            IssueError::Keys(error) => error.into(),
        }
    }
}

impl From<Busy> for Problem {
    fn from(_: Busy) -> Self {
        Self::unavailable()
    }
}

/// Logs a store's error with its chain, once, where it is answered.
pub fn log_store_error(error: &StoreError) {
    let source = error.source.as_ref().map(ToString::to_string).unwrap_or_default();
    error!(error.source = %source, "{error}");
}

/// The kind of trouble that a store's error is, in one word.
pub fn trouble_word(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Unavailable => "unavailable",
        Trouble::Busy => "busy",
        Trouble::Full => "disk_full",
        Trouble::ReadOnly => "read_only",
        Trouble::Damaged => "damaged",
        Trouble::Failed => "failed",
    }
}
