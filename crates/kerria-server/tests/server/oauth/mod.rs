//! The OAuth endpoints, as clients and resource servers meet them.

mod client_authentication;
mod confusion;
mod exchange;
mod introspection;
mod revocation;
mod token;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper::StatusCode;
use kerria_core::{Algorithm, Clock, Timestamp};
use kerria_server::keys::signer::Signer;
use serde_json::{Value, json};

use crate::cast::{Answer, Kerria, PASSWORD, unique};

/// For whom access tokens are meant in the tests.
pub const SHOP: &str = "https://shop.example.com";
/// Another one.
pub const WIKI: &str = "https://wiki.example.com";

pub const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
pub const SESSION_TOKEN: &str = "urn:kerria:params:oauth:token-type:session";

/// What a session that is carried in tokens is carried in.
#[derive(Clone)]
pub struct Tokens {
    pub access: String,
    pub refresh: String,
    pub handle: String,
}

/// A client as a program: how it proves who it is.
#[derive(Clone)]
pub struct Party {
    pub id: String,
    pub secret: Option<String>,
}

impl Party {
    /// A client that proves nothing.
    pub fn public(id: &str) -> Self {
        Self { id: id.to_owned(), secret: None }
    }

    /// Sends a form, with the secret in the `Authorization` header if there is one.
    pub async fn post(&self, kerria: &Kerria, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut fields = fields.to_vec();
        let mut program = kerria.program();
        match &self.secret {
            Some(secret) => program = program.with("authorization", &basic(&self.id, secret)),
            None => fields.push(("client_id", &self.id)),
        }
        program.post_form(path, &fields).await
    }

    pub async fn refresh(&self, kerria: &Kerria, token: &str) -> Answer {
        self.post(kerria, "/oauth2/token", &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    pub async fn introspect(&self, kerria: &Kerria, token: &str) -> Value {
        let answer = self.post(kerria, "/oauth2/introspect", &[("token", token)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()
    }

    pub async fn is_active(&self, kerria: &Kerria, token: &str) -> bool {
        let answer = self.introspect(kerria, token).await;
        let active = answer["active"].as_bool().unwrap();
        assert!(active || answer == json!({ "active": false }), "{answer}");
        active
    }

    pub async fn revoke(&self, kerria: &Kerria, token: &str) -> StatusCode {
        self.post(kerria, "/oauth2/revoke", &[("token", token)]).await.status
    }
}

pub fn basic(id: &str, secret: &str) -> String {
    use base64::engine::general_purpose::STANDARD;
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// Registers a client.
pub async fn register(kerria: &Kerria, client: &Value) -> Party {
    let answer = kerria.operator().send("POST", "/api/v1/operator/clients", client).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let told = answer.json();
    let secret = told["secret"].as_str().map(str::to_owned);
    Party { id: told["id"].as_str().unwrap().to_owned(), secret }
}

/// A public client whose access tokens are JWTs for the shop.
pub async fn app_of(kerria: &Kerria, id: &str) -> Party {
    register(kerria, &json!({ "id": id, "scope": "read write", "audiences": [SHOP] })).await
}

/// The shop itself: it asks about tokens.
pub async fn shop_of(kerria: &Kerria) -> Party {
    let shop = json!({ "id": "shop", "authentication": "client_secret", "grants": [], "audiences": [SHOP] });
    register(kerria, &shop).await
}

/// Signs `name` in with tokens of this client.
pub async fn sign_in(kerria: &Kerria, name: &str, client: &str) -> Tokens {
    let login = json!({ "login": name, "password": PASSWORD, "transport": "tokens", "client_id": client });
    let answer = kerria.program().send("POST", "/api/v1/login", &login).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let told = answer.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Tokens {
        access: text(&told["access_token"]),
        refresh: text(&told["refresh_token"]),
        handle: text(&told["session"]["handle"]),
    }
}

/// What a JWT says, without asking whether it is true.
pub fn claims(jwt: &str) -> Value {
    let payload = jwt.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// The `error` of an answer, whose form is that of RFC 6749, section 5.2.
pub fn error(answer: &Answer) -> String {
    assert!(!answer.status.is_success(), "{}", answer.text);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let told = answer.json();
    let description = told["error_description"].as_str().unwrap();
    assert!(!description.contains(['"', '\\', '\r', '\n', '\t']), "{description}");
    assert_eq!(told.as_object().unwrap().len(), 2, "{told}");
    told["error"].as_str().unwrap().to_owned()
}

/// A client with a key, and its assertions.
pub struct Keyed {
    pub party: Party,
    pub signer: Signer,
    pub algorithm: Algorithm,
}

impl Keyed {
    pub async fn register(kerria: &Kerria, id: &str, algorithm: Algorithm) -> Self {
        let (signer, _) = Signer::generate(algorithm);
        let jwk: Value = serde_json::from_str(&signer.public().to_json()).unwrap();
        let client = json!({
            "id": id, "authentication": "private_key_jwt", "jwks": { "keys": [jwk] },
            "grants": ["client_credentials"], "scope": "read", "audiences": [SHOP],
        });
        Self { party: register(kerria, &client).await, signer, algorithm }
    }

    pub fn header(&self) -> Value {
        json!({ "alg": self.algorithm.as_str(), "typ": "client-authentication+jwt", "kid": self.signer.public().thumbprint() })
    }

    pub fn claims(&self, kerria: &Kerria) -> Value {
        let now = seconds(kerria.clock.now());
        json!({
            "iss": self.party.id, "sub": self.party.id, "aud": kerria.app.issuer(),
            "iat": now, "exp": now + 60, "jti": format!("assertion-{}", unique()),
        })
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(self.signer.sign(message.as_bytes())))
    }

    /// Presents an assertion at the token endpoint.
    pub async fn present(&self, kerria: &Kerria, assertion: &str) -> Answer {
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion),
        ];
        kerria.program().post_form("/oauth2/token", &fields).await
    }
}

pub fn seconds(at: Timestamp) -> u64 {
    at.since(Timestamp::EPOCH).as_secs()
}
