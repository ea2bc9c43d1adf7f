//! The body of a request to an OAuth endpoint: `application/x-www-form-urlencoded`, read strictly.

use std::collections::HashMap;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use kerria_core::{Audience, Scope, Secret};
use url::form_urlencoded;

use super::error::OAuthError;

/// The most parameters of one request.
const PARAMETERS: usize = 64;

/// The parameters of a request (RFC 6749, section 3.2). Each comes once at most; one without a value counts as left out;
/// those that nobody asks for are passed over. Parameters in the URI are none: they would be in every log.
///
/// It has no `Debug`: most of its values are secrets.
pub struct Form(HashMap<String, Secret<String>>);

impl Form {
    /// Reads a body.
    ///
    /// # Errors
    /// If a parameter comes twice or is no plain text, or if there are too many.
    pub fn parse(body: &[u8]) -> Result<Self, OAuthError> {
        let mut parameters = HashMap::new();
        for (name, value) in form_urlencoded::parse(body) {
            // What is not UTF-8 was read as U+FFFD. No parameter has control characters.
            let is_plain =
                |text: &str| !text.contains(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER);
            if !is_plain(&name) || !is_plain(&value) {
                return Err(OAuthError::InvalidRequest("A parameter is not plain UTF-8."));
            }
            if parameters.len() == PARAMETERS {
                return Err(OAuthError::InvalidRequest("There are too many parameters."));
            }
            if parameters.insert(name.into_owned(), Secret::from(value.into_owned())).is_some() {
                return Err(OAuthError::InvalidRequest("A parameter comes twice."));
            }
        }
        parameters.retain(|_, value| !value.expose().is_empty());
        Ok(Self(parameters))
    }

    /// A parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.expose().as_str())
    }

    /// A parameter that has to be there. `missing` says so.
    ///
    /// # Errors
    /// If it is not.
    pub fn required(&self, name: &str, missing: &'static str) -> Result<&str, OAuthError> {
        self.get(name).ok_or(OAuthError::InvalidRequest(missing))
    }

    /// What the token may do (`scope`, RFC 6749, section 3.3).
    ///
    /// # Errors
    /// If it cannot be a scope.
    pub fn scope(&self) -> Result<Option<Scope>, OAuthError> {
        self.get("scope").map(str::parse).transpose().map_err(|_| OAuthError::InvalidScope)
    }

    /// For whom the token is meant: `audience` (RFC 8693, section 2.1) or `resource` (RFC 8707, section 2), which are the same
    /// here.
    ///
    /// # Errors
    /// If it cannot be an audience, or both are there and differ.
    pub fn audience(&self) -> Result<Option<Audience>, OAuthError> {
        match (self.get("audience"), self.get("resource")) {
            (Some(audience), Some(resource)) if audience != resource => Err(OAuthError::InvalidTarget),
            (named, other) => {
                named.or(other).map(str::parse).transpose().map_err(|_| OAuthError::InvalidTarget)
            }
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = OAuthError;

    async fn from_request(request: Request, state: &S) -> Result<Self, OAuthError> {
        if !is_form(request.headers()) {
            return Err(OAuthError::InvalidRequest(
                "Send the parameters as application/x-www-form-urlencoded.",
            ));
        }
        match Bytes::from_request(request, state).await {
            Ok(body) => Self::parse(&body),
            Err(refused) if refused.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(OAuthError::TooLarge),
            Err(_) => Err(OAuthError::InvalidRequest("The body did not arrive.")),
        }
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next().and_then(|value| value.to_str().ok()), types.next()) else {
        return false;
    };
    let essence = only.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Undoes the encoding that the parts of a Basic credential have (RFC 6749, section 2.3.1). Nothing that is not UTF-8 comes out.
pub(super) fn decoded(part: &str) -> Option<String> {
    // A client that does not encode may send these as they are; in a form they would end the value.
    let part = part.replace('&', "%26").replace('=', "%3D");
    let value = form_urlencoded::parse(part.as_bytes())
        .next()
        .map_or_else(String::new, |(name, _)| name.into_owned());
    (!value.contains(char::REPLACEMENT_CHARACTER)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_without_a_value_is_left_out() {
        let form = Form::parse(b"scope=&audience=a&empty").unwrap();
        assert_eq!((form.get("scope"), form.get("audience"), form.get("empty")), (None, Some("a"), None));
        assert_eq!(form.scope(), Ok(None));
    }

    #[test]
    fn a_parameter_comes_once() {
        for twice in ["a=1&a=2", "a=1&a=1", "a=&a=1", "token=x&t%6fken=y"] {
            assert!(Form::parse(twice.as_bytes()).is_err(), "{twice}");
        }
    }

    #[test]
    fn what_is_no_plain_text_is_refused() {
        for bad in ["a=%ff", "a=%00", "a=%0d%0a", "%01=a", "a=%ef%bf%bd"] {
            assert!(Form::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let many: Vec<_> = (0..65).map(|n| format!("p{n}=1")).collect();
        assert!(Form::parse(many.join("&").as_bytes()).is_err());
    }

    #[test]
    fn an_audience_is_named_once_or_twice_the_same() {
        let audience = |body: &str| Form::parse(body.as_bytes()).unwrap().audience();
        assert_eq!(audience("x=y"), Ok(None));
        assert_eq!(audience("audience=a"), audience("resource=a"));
        assert_eq!(audience("audience=a&resource=a"), audience("resource=a"));
        assert_eq!(audience("audience=a&resource=b"), Err(OAuthError::InvalidTarget));
        assert_eq!(audience("audience=a+b"), Err(OAuthError::InvalidTarget));
    }

    #[test]
    fn the_parts_of_a_basic_credential_are_decoded_as_in_a_form() {
        for (part, meant) in [("a%3Ab+c%25", "a:b c%"), ("p&q=r", "p&q=r"), ("", ""), ("%C3%BC", "ü")] {
            assert_eq!(decoded(part).as_deref(), Some(meant), "{part}");
        }
        assert_eq!(decoded("%ff"), None);
    }
}
