//! Access tokens: what a JWT costs a resource server, and what each way of carrying a session costs on the wire.

use std::{iter::repeat_with, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use kerria::{
    Check, Checker, SecretCookie, SystemClock, SystemEntropy,
    jwt::{AccessClaims, Header, Jwk, KeySet, NumericDate, VerificationKey, Verifier, VerifierSettings},
};
use kerria_core::{
    Algorithm, Cause, ClientId, Clock, LogEntry, LogEvent, LogNumber, Secret, Selector, SessionId, Timestamp,
    Token, TokenId, TokenKey, TokenKind, Transport, UserId, entropy::random_bytes, store::Follower,
};
use url::Url;

use crate::{
    Measure,
    checks::{checker, per_one, thread_time},
    numbers::median,
    report::Report,
    world,
};

/// Tokens and sessions of a round. They come in turns, so that none is better in the processor's caches than in a server.
const TOKENS: usize = 2_000;
/// Entries of the revocation log.
const REVOCATIONS: u64 = 100_000;
const ALGORITHMS: [Algorithm; 4] = [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256, Algorithm::Hs256];
const ISSUER: &str = "https://id.example";
const AUDIENCE: &str = "https://api.example";

/// Measures in this process. The figures are processor time of the thread that checks.
pub(crate) async fn measure(measure: &Measure, report: &mut Report) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let jwts = ALGORITHMS.map(|algorithm| Jwts::signed(algorithm, now));
    let jwts = jwts.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let sessions = Sessions::opened().await?;
    let mut of_session = Vec::new();
    let mut of_jwts = vec![Costs::default(); jwts.len()];
    for _ in 0..measure.rounds {
        of_session.push(sessions.check().await?);
        for (jwts, costs) in jwts.iter().zip(&mut of_jwts) {
            jwts.measure(now, costs)?;
        }
    }
    report.note("check of an opaque session token", median(of_session.iter().copied()), "µs");
    for (jwts, costs) in jwts.iter().zip(&of_jwts) {
        let name = jwts.algorithm.as_str();
        let times = |others: &[f64]| median(others.iter().zip(&costs.bare).map(|(other, bare)| other / bare));
        report.note(
            &format!("{name}: the bare signature check (jsonwebtoken, aws-lc-rs)"),
            costs.bare(),
            "µs",
        );
        report.note(
            &format!("{name}: a JWT for the first time, with 100,000 revocations in memory"),
            median(costs.first.iter().copied()),
            "µs",
        );
        report.at_most("  times as long as the bare check", times(&costs.first), 1.15, "×");
        report.note(
            &format!("{name}: a JWT that was seen before"),
            median(costs.again.iter().copied()),
            "µs",
        );
        report.at_most("  times as long as the bare check", times(&costs.again), 1.15, "×");
        let times_quicker =
            median(costs.bare.iter().zip(&of_session).map(|(bare, of_session)| bare / of_session));
        let what = "  the bare check, times as long as that of an opaque session token";
        match jwts.algorithm {
            Algorithm::EdDsa | Algorithm::Es256 => report.at_least(what, times_quicker, 10.0, "×"),
            Algorithm::Hs256 => report.at_least(what, times_quicker, 1.0, "×"),
            Algorithm::Rs256 => report.note(what, times_quicker, "×"),
        }
    }
    bytes_per_request(&jwts, report)
}

/// Microseconds, round by round.
#[derive(Clone, Default)]
struct Costs {
    bare: Vec<f64>,
    first: Vec<f64>,
    again: Vec<f64>,
}

impl Costs {
    fn bare(&self) -> f64 {
        median(self.bare.iter().copied())
    }
}

/// Tokens of one algorithm, each of another session.
struct Jwts {
    algorithm: Algorithm,
    texts: Vec<String>,
    keys: KeySet,
    bare_key: DecodingKey,
}

impl Jwts {
    fn signed(algorithm: Algorithm, now: Timestamp) -> anyhow::Result<Self> {
        let signer = Signer::new(algorithm)?;
        let (key, bare_key) = signer.public()?;
        let header = Header {
            typ: Some(Header::ACCESS_TOKEN.to_owned()),
            alg: algorithm,
            kid: Some(key.kid().to_owned()),
        };
        let header = serde_json::to_vec(&header)?;
        let sign = || signer.sign(&header, &serde_json::to_vec(&claims(now))?);
        let texts = repeat_with(sign).take(TOKENS).collect::<anyhow::Result<_>>()?;
        Ok(Self { algorithm, texts, keys: KeySet::of([key])?, bare_key })
    }

    fn measure(&self, now: Timestamp, costs: &mut Costs) -> anyhow::Result<()> {
        let verifier = self.verifier()?;
        costs.bare.push(self.check_bare()?);
        costs.first.push(self.verify(&verifier, now)?);
        ensure!(verifier.remembered() == TOKENS, "all of these are seen now");
        costs.again.push(self.verify(&verifier, now)?);
        Ok(())
    }

    /// One that has seen nothing yet and has heard of revocations.
    fn verifier(&self) -> anyhow::Result<Verifier> {
        let mut settings = VerifierSettings::new(ISSUER, AUDIENCE.parse()?);
        settings.algorithms = vec![self.algorithm];
        // Shards fill unevenly.
        settings.cache_entries = u32::try_from(TOKENS * 4)?;
        let verifier = Verifier::new(settings, self.keys.clone());
        let entry = |number: u64| LogEntry {
            number: LogNumber(number),
            at: SystemClock.now(),
            selector: Selector::Session { session: SessionId::from_bytes(u128::from(number).to_be_bytes()) },
            event: LogEvent::Ended { cause: Cause::SignedOut },
        };
        verifier.apply(&(1..=REVOCATIONS).map(entry).collect::<Vec<_>>());
        Ok(verifier)
    }

    fn check_bare(&self) -> anyhow::Result<f64> {
        let algorithm = match self.algorithm {
            Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
        };
        let since = thread_time();
        for text in &self.texts {
            let (message, signature) = text.rsplit_once('.').context("a JWT has dots")?;
            let good =
                jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.bare_key, algorithm)?;
            ensure!(good, "the signature is good");
        }
        Ok(per_one(since, self.texts.len()))
    }

    fn verify(&self, verifier: &Verifier, now: Timestamp) -> anyhow::Result<f64> {
        let since = thread_time();
        for text in &self.texts {
            verifier.verify(text.as_bytes(), now)?;
        }
        Ok(per_one(since, self.texts.len()))
    }
}

/// What Kerria puts into a token, issued when the log had not yet begun.
fn claims(now: Timestamp) -> AccessClaims {
    AccessClaims {
        iss: ISSUER.to_owned(),
        sub: UserId::new(now, &SystemEntropy).to_string(),
        aud: vec![AUDIENCE.to_owned()],
        exp: NumericDate::at(now + Duration::from_secs(300)),
        iat: NumericDate::at(now),
        nbf: None,
        jti: TokenId::new(now, &SystemEntropy),
        sid: Some(SessionId::new(now, &SystemEntropy)),
        client_id: ClientId::OWN,
        scope: "read write".parse().expect("these are two words"),
        auth_time: Some(NumericDate::at(now)),
        amr: vec!["pwd".to_owned()],
        acr: Some("1".to_owned()),
        as_of: Some(LogNumber(0)),
    }
}

/// A private key.
enum Signer {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
    Secret([u8; 32]),
}

impl Signer {
    fn new(algorithm: Algorithm) -> anyhow::Result<Self> {
        Ok(match algorithm {
            Algorithm::EdDsa => Self::Ed25519(Ed25519KeyPair::generate()?),
            Algorithm::Es256 => Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?),
            Algorithm::Rs256 => Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048)?),
            Algorithm::Hs256 => Self::Secret(random_bytes(&SystemEntropy)),
        })
    }

    fn sign(&self, header: &[u8], claims: &[u8]) -> anyhow::Result<String> {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let bytes = message.as_bytes();
        let signature = match self {
            Self::Ed25519(key) => key.sign(bytes).as_ref().to_vec(),
            Self::P256(key) => key.sign(&SystemRandom::new(), bytes)?.as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), bytes, &mut signature)?;
                signature
            }
            Self::Secret(secret) => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), bytes).as_ref().to_vec()
            }
        };
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The key to verify with, ours and theirs.
    fn public(&self) -> anyhow::Result<(VerificationKey, DecodingKey)> {
        let (jwk, bare) = match self {
            Self::Ed25519(key) => {
                let x = key.public_key().as_ref();
                (Jwk::Ed25519 { x: x.try_into()? }, DecodingKey::from_ed_der(x))
            }
            Self::P256(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = point[1..].split_at(32);
                (Jwk::P256 { x: x.try_into()?, y: y.try_into()? }, DecodingKey::from_ec_der(point))
            }
            Self::Rsa(key) => {
                let key = key.public_key();
                let n = key.modulus().big_endian_without_leading_zero().to_vec();
                let e = key.exponent().big_endian_without_leading_zero().to_vec();
                let bare = DecodingKey::from_rsa_raw_components(&n, &e);
                (Jwk::Rsa { n, e }, bare)
            }
            Self::Secret(secret) => {
                let key = VerificationKey::shared_secret("api", &Secret::new(secret.to_vec()))?;
                return Ok((key, DecodingKey::from_secret(secret)));
            }
        };
        Ok((VerificationKey::from_jwk(jwk.to_json().as_bytes())?, bare))
    }
}

/// Sessions in memory, and their tokens.
struct Sessions {
    checker: Arc<Checker>,
    tokens: Vec<String>,
    now: Timestamp,
}

impl Sessions {
    async fn opened() -> anyhow::Result<Self> {
        let count = u32::try_from(TOKENS)?;
        let (checker, key, now) = checker(count).await?;
        let keep = |number| {
            let (token, found) = world::found(number, now);
            checker.keep(&token.hash(), &found);
            token.write(&key).expose().clone()
        };
        let tokens = (0..count).map(keep).collect();
        Ok(Self { checker, tokens, now })
    }

    /// Microseconds for a check.
    async fn check(&self) -> anyhow::Result<f64> {
        let since = thread_time();
        for token in &self.tokens {
            let check = self.checker.check(token.as_bytes(), Transport::Cookie, None, self.now).await?;
            ensure!(matches!(check, Check::Good(_)), "all of these sessions are good");
        }
        Ok(per_one(since, self.tokens.len()))
    }
}

/// The header line with which a request carries its session.
fn bytes_per_request(jwts: &[Jwts], report: &mut Report) -> anyhow::Result<()> {
    let key = TokenKey::from_bytes([0; 16]);
    let opaque = |kind| Token::random(kind, &SystemEntropy).write(&key).expose().clone();
    let cookie = SecretCookie::new("kerria", &Url::parse(ISSUER)?);
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let cookie = format!("Cookie: {}={}\r\n", cookie.name(), opaque(TokenKind::Session));
    let mut note = |what: &str, line: &str| {
        report.note(&format!("bytes of a request: {what}"), line.len() as f64, "bytes");
    };
    note("opaque token in a cookie", &cookie);
    note("opaque token as bearer", &bearer(&opaque(TokenKind::Session)));
    note("reference token", &bearer(&opaque(TokenKind::Access)));
    for jwts in jwts {
        note(&format!("JWT, {}", jwts.algorithm.as_str()), &bearer(&jwts.texts[0]));
    }
    Ok(())
}
