//! The keyring: which keys sign access tokens, which are published, and how they follow each other.
//!
//! For each algorithm there is one active key and one next key. The next key is published from the start, so that whoever
//! verifies has it long before it signs; a retired key stays published until the last token that it signed is over.

pub mod sealing;
pub mod signer;

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use axum::body::Bytes;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kerria::jwt::{Header, KeySet, VerificationKey, Verifier, VerifierSettings};
use kerria_core::{Algorithm, Audience, Entropy, KeyState, Secret, SigningKey, Store, StoreError, Timestamp};
use serde::Serialize;
use tracing::info;

use crate::config::TokenSettings;
use sealing::{SealingFile, SealingKey};
use signer::Signer;

/// The `kid` of the secret that is shared with an audience.
const SHARED: &str = "shared";

/// The keyring of an installation, as this process knows it.
pub struct Keyring {
    store: Arc<dyn Store>,
    entropy: Arc<dyn Entropy>,
    sealing: SealingFile,
    shared: Option<Shared>,
    /// How long others may verify with keys that they fetched before.
    max_age: Duration,
    ring: RwLock<Arc<Ring>>,
    /// Verifies with what is published.
    verifier: Arc<Verifier>,
    /// Held while the keys are changed or read: what was read before a change must not be taken in after it.
    changing: tokio::sync::Mutex<()>,
}

/// A secret for HS256. Whoever has it can make tokens, so it counts for the audience that has it and for no other.
struct Shared {
    secret: Secret<String>,
    audience: Audience,
}

/// The keys at one time.
#[derive(Default)]
struct Ring {
    keys: Vec<SigningKey>,
    active: Vec<(Algorithm, String, Signer)>,
    /// The JWK Set (RFC 7517, section 5).
    published: Bytes,
    /// An active key that this sealing key does not open.
    sealed: Option<String>,
}

/// What came of turning a keyring on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turned {
    /// This key is active now.
    To(String),
    /// The next key was published too short a time ago: whoever verifies may not have it.
    TooSoon {
        /// When it can be turned.
        at: Timestamp,
    },
    /// Somebody else turned it at the same time, or it has not begun.
    Overtaken,
}

/// The keyring cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A private key cannot be opened.
    #[error(
        "the signing key {0} cannot be opened with this sealing key: copy the file of the sealing key from another node that \
         uses this database, or restore it from a backup; if it is lost, run `kerria keys rotate --revoke`, which ends all sessions"
    )]
    Sealed(String),
    /// The private keys are sealed, and the key to them is missing.
    #[error(
        "the file {} with the sealing key is missing, and the signing keys in the database can be opened with nothing else: \
         copy it from another node that uses this database, or restore it from a backup; if it is lost, run \
         `kerria keys rotate --revoke`, which ends all sessions",
        .0.display()
    )]
    NoSealingKey(PathBuf),
    /// The sealing key cannot be made.
    #[error("{0:#}")]
    CannotSeal(anyhow::Error),
    /// No key for this algorithm.
    #[error("there is no signing key for {0}")]
    Missing(&'static str),
}

impl Keyring {
    /// Opens the keyring, and begins it on the first start, with a new sealing key if there is none. If keys are there already,
    /// no sealing key is made in the place of one that is missing.
    ///
    /// # Errors
    /// If the store fails, or the sealing key cannot be made. Private keys that cannot be opened are told by [`Keyring::check`].
    pub async fn open(
        store: Arc<dyn Store>,
        entropy: Arc<dyn Entropy>,
        sealing: SealingFile,
        settings: &TokenSettings,
        verifying: VerifierSettings,
        now: Timestamp,
    ) -> Result<Self, KeyError> {
        let shared = settings.hs256_secret.clone().zip(settings.hs256_audience.clone());
        let keyring = Self {
            store,
            entropy,
            sealing,
            shared: shared.map(|(secret, audience)| Shared { secret, audience }),
            max_age: settings.jwks_max_age,
            ring: RwLock::default(),
            verifier: Arc::new(Verifier::new(verifying, KeySet::default())),
            changing: tokio::sync::Mutex::default(),
        };
        keyring.reload().await?;
        if keyring.keys().is_empty() {
            keyring.make_sealing_key()?;
        }
        if keyring.sealing.key().is_some() {
            for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
                keyring.begin(algorithm, now).await?;
            }
        }
        Ok(keyring)
    }

    /// Begins the keyring of an algorithm, unless it has begun.
    ///
    /// # Errors
    /// If the store fails, or the sealing key is missing.
    pub async fn begin(&self, algorithm: Algorithm, now: Timestamp) -> Result<(), KeyError> {
        let _alone = self.changing.lock().await;
        self.load().await?;
        let begun = self.ring().keys.iter().any(|key| key.algorithm == algorithm);
        if algorithm == Algorithm::Hs256 || begun {
            return Ok(());
        }
        let keys = vec![
            self.make(algorithm, KeyState::Active, now).await?,
            self.make(algorithm, KeyState::Next, now).await?,
        ];
        self.store.begin_keyring(algorithm, keys).await?;
        self.load().await
    }

    /// Whether all active keys can sign.
    ///
    /// # Errors
    /// If the sealing key is missing, or does not open one of them.
    pub fn check(&self) -> Result<(), KeyError> {
        self.sealing_key()?;
        self.ring().sealed.clone().map_or(Ok(()), |kid| Err(KeyError::Sealed(kid)))
    }

    /// Takes in what is kept, so that what another process changed counts here, too.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn reload(&self) -> Result<(), KeyError> {
        let _alone = self.changing.lock().await;
        self.load().await
    }

    async fn load(&self) -> Result<(), KeyError> {
        let keys = self.store.signing_keys().await?;
        if self.ring().keys == keys {
            return Ok(());
        }
        let (mut active, mut sealed) = (Vec::new(), None);
        for key in keys.iter().filter(|key| key.state == KeyState::Active) {
            match self.unseal(key) {
                Some(signer) => active.push((key.algorithm, key.kid.clone(), signer)),
                None => sealed = Some(key.kid.clone()),
            }
        }
        let public: Vec<_> = keys.iter().map(|key| key.public.as_str()).collect();
        let published: Bytes = format!(r#"{{"keys":[{}]}}"#, public.join(",")).into();
        self.verifier.set_keys(self.verification_keys(&published));
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Ring { keys, active, published, sealed });
        Ok(())
    }

    /// A signed JWT of this type (`typ`), by the active key of an algorithm.
    ///
    /// # Errors
    /// If there is no such key.
    pub fn sign(&self, algorithm: Algorithm, typ: &str, claims: &impl Serialize) -> Result<String, KeyError> {
        let missing = KeyError::Missing(algorithm.as_str());
        let header =
            |kid: &str| Header { typ: Some(typ.to_owned()), alg: algorithm, kid: Some(kid.to_owned()) };
        if algorithm == Algorithm::Hs256 {
            let Some(Shared { secret, .. }) = &self.shared else { return Err(missing) };
            let message = signing_input(&header(SHARED), claims);
            return Ok(with_signature(message, |message| signer::mac(secret.expose().as_bytes(), message)));
        }
        let ring = self.ring();
        let (_, kid, signer) = ring.active.iter().find(|(of, ..)| *of == algorithm).ok_or(missing)?;
        Ok(with_signature(signing_input(&header(kid), claims), |message| signer.sign(message)))
    }

    /// Whether there is a key to sign with by this algorithm.
    #[must_use]
    pub fn can_sign(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Hs256 => self.shared.is_some(),
            _ => self.ring().active.iter().any(|(of, ..)| *of == algorithm),
        }
    }

    /// The public keys, as a JWK Set (RFC 7517, section 5).
    #[must_use]
    pub fn published(&self) -> Bytes {
        self.ring().published.clone()
    }

    /// Verifies what we have signed.
    #[must_use]
    pub const fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    fn verification_keys(&self, published: &[u8]) -> KeySet {
        const SOUND: &str =
            "what we publish is a JWK Set, and the configuration bounds how many keys are in it";
        let public = KeySet::parse(published).expect(SOUND);
        KeySet::of(public.iter().cloned().chain(self.shared_key())).expect(SOUND)
    }

    fn shared_key(&self) -> Option<VerificationKey> {
        let Shared { secret, audience } = self.shared.as_ref()?;
        let secret = Secret::new(secret.expose().clone().into_bytes());
        let key = VerificationKey::shared_secret(SHARED, &secret);
        Some(key.expect("the configuration wants 32 characters").only_for(audience.clone()))
    }

    /// All keys.
    #[must_use]
    pub fn keys(&self) -> Vec<SigningKey> {
        self.ring().keys.clone()
    }

    /// Turns the keyring of an algorithm on: the next key signs from now on.
    ///
    /// # Errors
    /// If the store fails, or the sealing key is missing.
    pub async fn turn(&self, algorithm: Algorithm, now: Timestamp) -> Result<Turned, KeyError> {
        let _alone = self.changing.lock().await;
        self.load().await?;
        let ring = self.ring();
        let of = |state| ring.keys.iter().find(move |key| key.algorithm == algorithm && key.state == state);
        let (Some(active), Some(next)) = (of(KeyState::Active), of(KeyState::Next)) else {
            return Ok(Turned::Overtaken);
        };
        let known_at = next.created_at + self.max_age;
        if now < known_at {
            return Ok(Turned::TooSoon { at: known_at });
        }
        let fresh = self.make(algorithm, KeyState::Next, now).await?;
        let turned = self.store.turn_keyring(algorithm, &active.kid, fresh, now).await?;
        self.load().await?;
        if !turned {
            return Ok(Turned::Overtaken);
        }
        info!(kid = next.kid, "{} tokens are signed by key {} from now on", algorithm.as_str(), next.kid);
        Ok(Turned::To(next.kid.clone()))
    }

    /// Turns every keyring whose active key has signed for long enough, and drops keys whose tokens are over.
    ///
    /// # Errors
    /// If the store fails, or the sealing key is missing.
    pub async fn turn_if_due(&self, settings: &TokenSettings, now: Timestamp) -> Result<(), KeyError> {
        self.reload().await?;
        for key in self.keys().iter().filter(|key| key.state == KeyState::Active) {
            if now >= key.since + settings.key_rotation {
                self.turn(key.algorithm, now).await?;
            }
        }
        let last_token_over = settings.access_lifetime + self.max_age;
        if self.store.drop_retired_keys(now - last_token_over).await? > 0 {
            self.reload().await?;
        }
        Ok(())
    }

    /// Throws all keys away, begins anew, and ends everything of everyone. If the sealing key is missing, a new one is made.
    ///
    /// # Errors
    /// If the store fails, or the sealing key cannot be made.
    pub async fn reset(&self, now: Timestamp) -> Result<(), KeyError> {
        let _alone = self.changing.lock().await;
        self.make_sealing_key()?;
        let mut algorithms: Vec<_> = self.keys().iter().map(|key| key.algorithm).collect();
        algorithms.extend([Algorithm::EdDsa, Algorithm::Es256]);
        algorithms.sort_unstable();
        algorithms.dedup();
        let mut fresh = Vec::new();
        for algorithm in algorithms {
            fresh.push(self.make(algorithm, KeyState::Active, now).await?);
            fresh.push(self.make(algorithm, KeyState::Next, now).await?);
        }
        self.store.reset_keyrings(fresh, now).await?;
        info!("all signing keys were thrown away, and all sessions ended");
        self.load().await
    }

    fn unseal(&self, key: &SigningKey) -> Option<Signer> {
        let private = self.sealing.key()?.open(&key.sealed, &key.kid).ok()?;
        Signer::read(key.algorithm, private.expose()).ok()
    }

    fn make_sealing_key(&self) -> Result<(), KeyError> {
        self.sealing.make(&*self.entropy).map_err(KeyError::CannotSeal)
    }

    fn sealing_key(&self) -> Result<Arc<SealingKey>, KeyError> {
        self.sealing.key().ok_or_else(|| KeyError::NoSealingKey(self.sealing.path().to_owned()))
    }

    async fn make(
        &self,
        algorithm: Algorithm,
        state: KeyState,
        now: Timestamp,
    ) -> Result<SigningKey, KeyError> {
        let sealing = self.sealing_key()?;
        // An RSA key takes a good part of a second, in which nobody else is to wait.
        let made = tokio::task::spawn_blocking(move || Signer::generate(algorithm)).await;
        let (signer, private) = made.expect("making a key does not panic");
        let public = signer.public();
        let kid = public.thumbprint();
        let sealed = sealing.seal(private.expose(), &kid, &*self.entropy);
        let public = public.to_json();
        Ok(SigningKey { kid, algorithm, state, sealed, public, created_at: now, since: now })
    }

    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a signature is made over (RFC 7515, section 5.1).
fn signing_input(header: &Header, claims: &impl Serialize) -> String {
    const SOUND: &str = "a header and claims are plain JSON";
    let mut message = URL_SAFE_NO_PAD.encode(serde_json::to_vec(header).expect(SOUND));
    message.push('.');
    URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims).expect(SOUND), &mut message);
    message
}

fn with_signature(mut message: String, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let signature = sign(message.as_bytes());
    message.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut message);
    message
}
