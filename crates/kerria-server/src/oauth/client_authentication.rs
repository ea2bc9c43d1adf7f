//! Who asks: authentication of clients (RFC 6749, section 2.3), by a secret or by a JWT that they sign (RFC 7523).
//!
//! Wrong secrets are not throttled: a secret has 256 random bits, or as many as its operator chose, and nobody guesses that. A
//! lock would only let strangers lock clients out.

use std::time::Duration;

use axum::http::{HeaderMap, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use kerria::jwt::{Compact, Header, KeySet, NumericDate, VerificationKey};
use kerria_core::{Algorithm, Client, ClientAuthentication, ClientId, TokenHash};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tracing::info;

use super::{
    error::OAuthError,
    form::{Form, decoded},
};
use crate::{app::App, tokens::client};

/// The `client_assertion_type` of a JWT (RFC 7523, section 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The `typ` that says what such a JWT is for. An older client writes `JWT`, or none.
const ASSERTION: &str = "client-authentication+jwt";

/// How long an assertion may be good at most.
const ASSERTION_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// How far a client's clock may go before ours.
const LEEWAY: Duration = Duration::from_secs(10);

/// The longest `jti` of an assertion, in bytes.
const JTI_BYTES: usize = 255;

/// How a request says which client it is from.
enum Credential<'r> {
    /// A public client says only that.
    None(&'r str),
    Secret {
        id: String,
        secret: String,
    },
    Assertion(&'r str),
}

/// The client that a request is from, which has proved it in the way that it is registered for.
///
/// An unknown client, a wrong secret and another way than the registered one get the same answer.
///
/// # Errors
/// If it has not, or if the store fails. Nothing is consumed then.
pub async fn authenticate(app: &App, headers: &HeaderMap, form: &Form) -> Result<Client, OAuthError> {
    let credential = credential(headers, form)?;
    let claimed = match &credential {
        Credential::None(id) => (*id).to_owned(),
        Credential::Secret { id, .. } => id.clone(),
        Credential::Assertion(assertion) => claimed_client(assertion).ok_or(OAuthError::InvalidClient)?,
    };
    // Beside other credentials the name may be repeated, and has to be the same.
    if form.get("client_id").is_some_and(|id| id != claimed) {
        return Err(OAuthError::InvalidRequest("The client_id is not that of the credential."));
    }
    let id: ClientId = claimed.parse().map_err(|_| OAuthError::InvalidClient)?;
    let Some(client) = client::find(app, id).await? else { return refuse(id) };
    let proved = match (&credential, &client.authentication) {
        (Credential::None(_), ClientAuthentication::Public) => true,
        (Credential::Secret { secret, .. }, ClientAuthentication::Secret(hash)) => {
            secret_hash(secret).as_bytes().ct_eq(hash.as_bytes()).into()
        }
        (Credential::Assertion(assertion), ClientAuthentication::PrivateKeyJwt(jwks)) => {
            asserted(app, &client, assertion, jwks).await?
        }
        _ => false,
    };
    if proved { Ok(client) } else { refuse(id) }
}

/// The same, of a client that is no public one: whoever has a secret to keep.
///
/// # Errors
/// The same, and if the client is a public one.
pub async fn authenticate_confidential(
    app: &App,
    headers: &HeaderMap,
    form: &Form,
) -> Result<Client, OAuthError> {
    let client = authenticate(app, headers, form).await?;
    if client.authentication == ClientAuthentication::Public { refuse(client.id) } else { Ok(client) }
}

fn refuse(id: ClientId) -> Result<Client, OAuthError> {
    info!(client.id = %id, "a client did not prove to be {id}");
    Err(OAuthError::InvalidClient)
}

/// What is kept of a client's secret: SHA-256. Enough for a secret that nobody can guess.
#[must_use]
pub fn secret_hash(secret: &str) -> TokenHash {
    let mut hasher = Sha256::new();
    hasher.update("the secret of a client");
    hasher.update(secret);
    TokenHash::from_bytes(hasher.finalize().into())
}

/// The one credential of a request. More than one is refused (RFC 6749, section 2.3).
fn credential<'r>(headers: &HeaderMap, form: &'r Form) -> Result<Credential<'r>, OAuthError> {
    let mut authorizations = headers.get_all(header::AUTHORIZATION).iter();
    let basic = match (authorizations.next(), authorizations.next()) {
        (Some(value), None) => Some(basic(value.as_bytes()).ok_or(OAuthError::InvalidClient)?),
        (None, _) => None,
        (Some(_), Some(_)) => return Err(ONE_WAY),
    };
    match (basic, form.get("client_secret"), form.get("client_assertion")) {
        (Some((id, secret)), None, None) => Ok(Credential::Secret { id, secret }),
        (None, Some(secret), None) => {
            let id = form.required("client_id", "The client_id is missing.")?.to_owned();
            Ok(Credential::Secret { id, secret: secret.to_owned() })
        }
        (None, None, Some(assertion)) if form.get("client_assertion_type") == Some(JWT_BEARER) => {
            Ok(Credential::Assertion(assertion))
        }
        (None, None, Some(_)) => {
            Err(OAuthError::InvalidRequest("There is no such client_assertion_type here."))
        }
        (None, None, None) if form.get("client_assertion_type").is_some() => {
            Err(OAuthError::InvalidRequest("The client_assertion is missing."))
        }
        (None, None, None) => form.get("client_id").map(Credential::None).ok_or(OAuthError::InvalidClient),
        _ => Err(ONE_WAY),
    }
}

const ONE_WAY: OAuthError = OAuthError::InvalidRequest("Authenticate in one way, not in several.");

/// Name and secret out of `Basic …` (RFC 7617, section 2), each decoded once more (RFC 6749, section 2.3.1).
fn basic(value: &[u8]) -> Option<(String, String)> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim_ascii()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((decoded(id)?, decoded(secret)?))
}

/// The claims of an assertion (RFC 7523, section 3). A time that is no whole number is refused, and so is `null`: it does not
/// count as left out.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Sole,
    exp: NumericDate,
    #[serde(default, deserialize_with = "not_null")]
    iat: Option<NumericDate>,
    #[serde(default, deserialize_with = "not_null")]
    nbf: Option<NumericDate>,
    jti: String,
}

/// An audience that is the only one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Sole {
    Text(String),
    Array([String; 1]),
}

fn not_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NumericDate>, D::Error> {
    NumericDate::deserialize(deserializer).map(Some)
}

fn claims(assertion: &str) -> Option<Claims> {
    serde_json::from_slice(&Compact::parse(assertion.as_bytes())?.payload).ok()
}

/// Which client an assertion says that it is from. Nothing is believed of it yet.
#[must_use]
pub fn claimed_client(assertion: &str) -> Option<String> {
    claims(assertion).map(|claims| claims.sub)
}

/// Whether this assertion is the client's, is meant for us, is good now, and was not used before. It is used up with that.
async fn asserted(app: &App, client: &Client, assertion: &str, jwks: &str) -> Result<bool, OAuthError> {
    let now = app.clock.now();
    let Some(claims) = signed(assertion, jwks).then(|| claims(assertion)).flatten() else { return Ok(false) };
    // Ours and nobody else's: an assertion that names the token endpoint, or several audiences, may have been got by another
    // server that this client talks to (rfc7523bis, section 4).
    let (Sole::Text(audience) | Sole::Array([audience])) = claims.aud;
    let id = client.id.as_str();
    let begins = claims.iat.max(claims.nbf);
    let good = claims.iss == id
        && claims.sub == id
        && audience == app.issuer()
        && claims.exp.timestamp() > now
        && claims.exp.timestamp() <= now + ASSERTION_LIFETIME + LEEWAY
        && begins.is_none_or(|begins| begins.timestamp() <= now + LEEWAY)
        && (1..=JTI_BYTES).contains(&claims.jti.len());
    Ok(good && app.store.spend(client.id, &claims.jti, claims.exp.timestamp()).await?)
}

/// Whether a key of the client has signed it, as a JWT of this kind.
fn signed(assertion: &str, jwks: &str) -> bool {
    let Some(jws) = Compact::parse(assertion.as_bytes()) else { return false };
    let (Ok(header), Ok(keys)) = (Header::parse(&jws.header), KeySet::parse(jwks.as_bytes())) else {
        return false;
    };
    let is_assertion = header.typ.is_none() || header.is_of_type(ASSERTION) || header.is_of_type("JWT");
    let may_sign =
        |key: &VerificationKey| key.algorithm() == header.alg && Algorithm::ASYMMETRIC.contains(&header.alg);
    let key = match &header.kid {
        Some(kid) => keys.get(kid).filter(|key| may_sign(key)),
        // Without a name, it has to be clear which key is meant.
        None => {
            let mut candidates = keys.iter().filter(|key| may_sign(key));
            candidates.next().filter(|_| candidates.next().is_none())
        }
    };
    is_assertion && key.is_some_and(|key| key.has_signed(&jws))
}
