//! Access tokens: short-lived, for resource servers (RFC 9068), or opaque, to be asked about (RFC 7662).

use kerria::jwt::{AccessClaims, Header, NumericDate};
use kerria_core::{
    AccessTokenForm, Algorithm, Client, Grant, LogNumber, Secret, Session, Timestamp, Token, TokenId,
    TokenKind, UserId, store::Reference,
};

use super::{IssueError, client::lifetime};
use crate::{app::App, keys::KeyError};

/// Authenticator assurance level 1 (NIST SP 800-63B-4, section 2.1): a password alone.
pub const SINGLE_FACTOR: &str = "aal1";

/// A password (RFC 8176, section 2).
pub const PASSWORD: &str = "pwd";

/// An access token on its way to the client.
pub struct AccessToken {
    /// The token.
    pub text: Secret<String>,
    /// What it says, whether it says it itself or is asked about.
    pub grant: Grant,
    /// Its `jti`.
    pub id: TokenId,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it is over.
    pub expires_at: Timestamp,
}

/// Whose access token it is.
#[derive(Clone, Copy)]
pub enum Subject<'s> {
    /// A user's, in a session, as of this number of the revocation log.
    Session(&'s Session, LogNumber),
    /// The client's own, as of this number of the revocation log.
    Client(LogNumber),
}

impl AccessToken {
    /// How many whole seconds it is good (`expires_in`, RFC 6749, section 5.1).
    #[must_use]
    pub fn expires_in(&self) -> u64 {
        self.expires_at.since(self.issued_at).as_secs()
    }
}

/// Issues an access token in the form that its client has. `None` if its session has ended meanwhile.
///
/// # Errors
/// If the store fails, or there is no key to sign with.
pub async fn issue(
    app: &App,
    client: &Client,
    subject: Subject<'_>,
    grant: &Grant,
) -> Result<Option<Box<AccessToken>>, IssueError> {
    issue_until(app, client, subject, grant, None).await
}

/// The same, of a token that is over at `until` at the latest.
///
/// # Errors
/// The same.
pub async fn issue_until(
    app: &App,
    client: &Client,
    subject: Subject<'_>,
    grant: &Grant,
    until: Option<Timestamp>,
) -> Result<Option<Box<AccessToken>>, IssueError> {
    let now = app.clock.now();
    let end = match subject {
        Subject::Session(session, _) => Some(app.checker.policy().absolute_end(session)),
        Subject::Client(_) => None,
    };
    let end = end.into_iter().chain(until).min();
    let mut token = Box::new(AccessToken {
        text: Secret::from(""),
        grant: grant.clone(),
        id: TokenId::new(now, &*app.entropy),
        issued_at: now,
        expires_at: now + lifetime(app, now, end),
    });
    match client.access_tokens {
        AccessTokenForm::Jwt(algorithm) => {
            let algorithm = allowed(app, algorithm, grant);
            token.text =
                app.keyring.sign(algorithm, Header::ACCESS_TOKEN, &claims(app, subject, &token))?.into();
            Ok(Some(token))
        }
        AccessTokenForm::Reference => {
            let text = Token::random(TokenKind::Access, &*app.entropy);
            token.text = text.write(app.checker.key());
            let reference = Reference {
                id: token.id,
                session: match subject {
                    Subject::Session(session, _) => Some(session.id),
                    Subject::Client(_) => None,
                },
                grant: grant.clone(),
                issued_at: now,
                expires_at: token.expires_at,
            };
            Ok(app.store.keep_reference(&text.hash(), reference).await?.then_some(token))
        }
    }
}

/// Whether access tokens can be issued to this client, for any audience, as far as it depends on keys. To be asked before
/// something is used up for one.
///
/// # Errors
/// If there is no key to sign with.
pub fn can_issue(app: &App, client: &Client) -> Result<(), KeyError> {
    let AccessTokenForm::Jwt(algorithm) = client.access_tokens else { return Ok(()) };
    let shares_secret = app.config.tokens.hs256_audience.is_some();
    let needed: &[Algorithm] = match algorithm {
        Algorithm::Hs256 if shares_secret => &[Algorithm::Hs256, Algorithm::EdDsa],
        Algorithm::Hs256 => &[Algorithm::EdDsa],
        _ => &[algorithm],
    };
    match needed.iter().find(|algorithm| !app.keyring.can_sign(**algorithm)) {
        Some(missing) => Err(KeyError::Missing(missing.as_str())),
        None => Ok(()),
    }
}

/// HS256 is for the audience that shares the secret, and for no other: whoever has it can make such tokens.
fn allowed(app: &App, algorithm: Algorithm, grant: &Grant) -> Algorithm {
    let shares_secret = app.config.tokens.hs256_audience.as_ref() == Some(&grant.audience);
    if algorithm == Algorithm::Hs256 && !shares_secret { Algorithm::EdDsa } else { algorithm }
}

fn claims(app: &App, subject: Subject<'_>, token: &AccessToken) -> AccessClaims {
    let session = match subject {
        Subject::Session(session, _) => Some(session),
        Subject::Client(_) => None,
    };
    let user = session.and_then(|session| session.user);
    AccessClaims {
        iss: app.issuer(),
        sub: user.as_ref().map_or_else(|| token.grant.client.to_string(), UserId::to_string),
        aud: vec![token.grant.audience.to_string()],
        exp: NumericDate::at(token.expires_at),
        iat: NumericDate::at(token.issued_at),
        nbf: None,
        jti: token.id,
        sid: session.map(|session| session.id),
        client_id: token.grant.client,
        scope: token.grant.scope.clone(),
        auth_time: session.map(|session| NumericDate::at(session.authenticated_at)),
        amr: session.map(|_| PASSWORD.to_owned()).into_iter().collect(),
        acr: session.map(|_| SINGLE_FACTOR.to_owned()),
        as_of: Some(match subject {
            Subject::Session(_, as_of) => as_of,
            Subject::Client(as_of) => as_of,
        }),
    }
}
