//! Registering clients: what may be said of one, by an operator or in the file of clients.

pub mod file;

use kerria::jwt::{KeySet, VerificationKey};
use kerria_core::{
    AccessTokenForm, Algorithm, Audience, Client, ClientAuthentication, ClientId, Entropy, GrantType, Scope,
    Secret, Timestamp, Token, TokenHash, TokenKey, TokenKind,
};
use serde_json::Value;

use crate::{
    config::TokenSettings,
    field::Field,
    keys::{KeyError, Keyring},
    oauth::client_authentication::secret_hash,
};

/// The longest name, in characters.
const NAME_CHARACTERS: usize = 100;

/// The most audiences of one client.
const AUDIENCES: usize = 32;

/// The fewest characters of a secret that an operator has chosen.
const SECRET_CHARACTERS: usize = 32;

/// The most bytes of a JWK Set.
const JWKS_BYTES: usize = 32 * 1024;

/// The word for opaque access tokens.
const REFERENCE: &str = "reference";

/// A client as somebody describes it, in the words of the standards.
#[derive(Default)]
pub struct Description {
    /// What to call it; its identifier, if nothing is said.
    pub name: Option<String>,
    /// `none`, `client_secret` or `private_key_jwt`; `none`, if nothing is said.
    pub authentication: Option<String>,
    /// The JSON of its JWK Set.
    pub jwks: Option<String>,
    /// What it may ask for; what fits its authentication, if nothing is said.
    pub grants: Option<Vec<String>>,
    /// The most that its tokens may do.
    pub scope: Option<String>,
    /// For whom its access tokens may be meant.
    pub audiences: Vec<String>,
    /// `EdDSA`, `ES256`, `RS256`, `HS256` or `reference`; `EdDSA`, if nothing is said.
    pub access_tokens: Option<String>,
}

/// A client as it can be registered: everything but its secret.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Its identifier.
    pub id: ClientId,
    name: String,
    /// How it proves that it is this client.
    pub proof: Proof,
    grants: Vec<GrantType>,
    scope: Scope,
    audiences: Vec<Audience>,
    /// The form of its access tokens.
    pub access_tokens: AccessTokenForm,
}

/// How a client is to prove that it is this client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Not at all.
    None,
    /// By a secret, which is given or kept apart from this.
    Secret,
    /// By a JWT, checked with this JWK Set.
    PrivateKeyJwt(String),
}

/// One thing that is wrong with a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The member.
    pub member: Field,
    /// What is wrong and what to do, in a sentence.
    pub message: String,
}

impl Registration {
    /// The client, with this secret if it has one.
    #[must_use]
    pub fn client(self, secret: TokenHash, created_at: Timestamp) -> Client {
        Client {
            id: self.id,
            name: self.name,
            authentication: match self.proof {
                Proof::None => ClientAuthentication::Public,
                Proof::Secret => ClientAuthentication::Secret(secret),
                Proof::PrivateKeyJwt(jwks) => ClientAuthentication::PrivateKeyJwt(jwks),
            },
            grants: self.grants,
            scope: self.scope,
            audiences: self.audiences,
            access_tokens: self.access_tokens,
            created_at,
        }
    }
}

/// A new secret for a client: the text, which it gets once, and what is kept of it.
pub fn new_secret(key: &TokenKey, entropy: &dyn Entropy) -> (Secret<String>, TokenHash) {
    let text = Token::random(TokenKind::ClientSecret, entropy).write(key);
    let hash = secret_hash(text.expose());
    (text, hash)
}

/// Begins what the access tokens of a client are signed with, should nobody have needed it before.
///
/// # Errors
/// If the store fails.
pub async fn begin(keyring: &Keyring, form: AccessTokenForm, now: Timestamp) -> Result<(), KeyError> {
    match form {
        AccessTokenForm::Jwt(algorithm) => keyring.begin(algorithm, now).await,
        AccessTokenForm::Reference => Ok(()),
    }
}

/// Reads a description.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn read(id: &str, described: Description, settings: &TokenSettings) -> Result<Registration, Vec<Wrong>> {
    let mut wrong = Vec::new();
    let id = noted(client_id(id), Field::Id, &mut wrong);
    let name = noted(name(described.name, id), Field::Name, &mut wrong);
    let proof = noted_at(proof(described.authentication.as_deref(), described.jwks), &mut wrong);
    let grants = noted(grants(described.grants.as_deref(), proof.as_ref()), Field::Grants, &mut wrong);
    let scope = described.scope.unwrap_or_default().parse::<Scope>().map_err(|bad| format!("{bad}."));
    let scope = noted(scope, Field::Scope, &mut wrong);
    let audiences = noted(audiences(&described.audiences), Field::Audiences, &mut wrong);
    let form = form(described.access_tokens.as_deref(), audiences.as_deref(), settings);
    let access_tokens = noted(form, Field::AccessTokens, &mut wrong);
    match (id, name, proof, grants, scope, audiences, access_tokens) {
        (
            Some(id),
            Some(name),
            Some(proof),
            Some(grants),
            Some(scope),
            Some(audiences),
            Some(access_tokens),
        ) => Ok(Registration { id, name, proof, grants, scope, audiences, access_tokens }),
        _ => Err(wrong),
    }
}

fn noted<T>(read: Result<T, String>, member: Field, wrong: &mut Vec<Wrong>) -> Option<T> {
    noted_at(read.map_err(|message| Wrong { member, message }), wrong)
}

fn noted_at<T>(read: Result<T, Wrong>, wrong: &mut Vec<Wrong>) -> Option<T> {
    read.map_err(|found| wrong.push(found)).ok()
}

fn client_id(text: &str) -> Result<ClientId, String> {
    match text.parse() {
        Ok(ClientId::OWN) => Err(format!("The name {} is reserved for Kerria itself.", ClientId::OWN)),
        Ok(id) => Ok(id),
        Err(bad) => Err(format!("This is not possible: {bad}.")),
    }
}

fn name(name: Option<String>, id: Option<ClientId>) -> Result<String, String> {
    let Some(name) = name else { return Ok(id.map(|id| id.to_string()).unwrap_or_default()) };
    let characters = name.chars().count();
    if characters > NAME_CHARACTERS || name.trim().is_empty() || name.contains(char::is_control) {
        return Err(format!("A name has 1 to {NAME_CHARACTERS} characters, and no control characters."));
    }
    Ok(name)
}

fn proof(method: Option<&str>, jwks: Option<String>) -> Result<Proof, Wrong> {
    let at = |member, message: &str| Err(Wrong { member, message: message.to_owned() });
    match (method.unwrap_or("none"), jwks) {
        ("private_key_jwt", Some(jwks)) => match check_jwks(&jwks) {
            Ok(()) => Ok(Proof::PrivateKeyJwt(jwks)),
            Err(message) => at(Field::Jwks, &message),
        },
        ("private_key_jwt", None) => {
            at(Field::Jwks, "With private_key_jwt, its JWK Set with the public keys is needed.")
        }
        (_, Some(_)) => at(Field::Jwks, "A JWK Set is for private_key_jwt only."),
        ("none", None) => Ok(Proof::None),
        ("client_secret", None) => Ok(Proof::Secret),
        _ => at(Field::Authentication, "Write \"none\", \"client_secret\" or \"private_key_jwt\"."),
    }
}

/// Every key of the set has to be one that we can use: one that is passed over would be missed later.
fn check_jwks(jwks: &str) -> Result<(), String> {
    let keys = serde_json::from_str::<Value>(jwks).ok().and_then(|set| set["keys"].as_array().cloned());
    let Some(keys) = keys.filter(|keys| !keys.is_empty() && jwks.len() <= JWKS_BYTES) else {
        return Err("It is no JWK Set with at least one key (RFC 7517, section 5).".to_owned());
    };
    for (number, key) in keys.iter().enumerate() {
        VerificationKey::from_jwk(key.to_string().as_bytes())
            .map_err(|refused| format!("Key {} cannot be used: {refused}.", number + 1))?;
    }
    KeySet::parse(jwks.as_bytes()).map(drop).map_err(|refused| format!("It cannot be used: {refused}."))
}

fn grants(words: Option<&[String]>, proof: Option<&Proof>) -> Result<Vec<GrantType>, String> {
    let is_public = proof == Some(&Proof::None);
    let Some(words) = words else {
        return Ok(vec![if is_public { GrantType::RefreshToken } else { GrantType::ClientCredentials }]);
    };
    let known = |word: &String| GrantType::ALL.into_iter().find(|grant| grant.as_str() == word);
    let Some(mut grants) = words.iter().map(known).collect::<Option<Vec<_>>>() else {
        let all = GrantType::ALL.map(GrantType::as_str).join(", ");
        return Err(format!("There are these grants: {all}."));
    };
    grants.sort_unstable_by_key(|grant| grant.as_str());
    grants.dedup();
    if is_public && grants.iter().any(|grant| *grant != GrantType::RefreshToken) {
        return Err("A client that proves nothing may use the grant refresh_token only.".to_owned());
    }
    Ok(grants)
}

fn audiences(texts: &[String]) -> Result<Vec<Audience>, String> {
    if texts.is_empty() || texts.len() > AUDIENCES {
        return Err(format!(
            "Name 1 to {AUDIENCES} audiences; the first one counts where a request names none."
        ));
    }
    texts.iter().map(|text| text.parse().map_err(|bad| format!("This is not possible: {bad}."))).collect()
}

fn form(
    word: Option<&str>,
    audiences: Option<&[Audience]>,
    settings: &TokenSettings,
) -> Result<AccessTokenForm, String> {
    let word = word.unwrap_or(Algorithm::EdDsa.as_str());
    if word == REFERENCE {
        return Ok(AccessTokenForm::Reference);
    }
    let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.as_str() == word);
    let Some(algorithm) = algorithm else {
        let all = Algorithm::ALL.map(Algorithm::as_str).join(", ");
        return Err(format!("Write one of {all}, or {REFERENCE}."));
    };
    let shares = |audience: &Audience| settings.hs256_audience.as_ref() == Some(audience);
    let may_share = settings.hs256_secret.is_some() && audiences.is_none_or(|all| all.iter().all(shares));
    if algorithm == Algorithm::Hs256 && !may_share {
        return Err("HS256 is for the one audience that shares the secret: set tokens.hs256_audience and \
                    tokens.hs256_secret_file, and name that audience alone."
            .to_owned());
    }
    Ok(AccessTokenForm::Jwt(algorithm))
}

/// The word for a form of access tokens.
#[must_use]
pub const fn form_word(form: AccessTokenForm) -> &'static str {
    match form {
        AccessTokenForm::Jwt(algorithm) => algorithm.as_str(),
        AccessTokenForm::Reference => REFERENCE,
    }
}

/// The word for how a client proves that it is this client.
#[must_use]
pub const fn authentication_word(authentication: &ClientAuthentication) -> &'static str {
    match authentication {
        ClientAuthentication::Public => "none",
        ClientAuthentication::Secret(_) => "client_secret",
        ClientAuthentication::PrivateKeyJwt(_) => "private_key_jwt",
    }
}
