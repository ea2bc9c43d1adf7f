use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use kerria_core::{
    Algorithm, Audience, Bearing, LogEntry, LogNumber, RevokedSet, Timestamp, Verdict, store::Follower,
};
use tokio::sync::Notify;

use super::{
    claims::{AccessClaims, ClaimsRefused, NumericDate},
    compact::{Compact, JWT_BYTES},
    header::{Header, HeaderRefused},
    keys::KeySet,
    seen::{Seen, Verified},
};

/// The most that clocks may differ, in whatever way a verifier is set.
const MOST_LEEWAY: Duration = Duration::from_secs(10);

/// Entries of the revocation log that are held in memory at most.
const SET_CAPACITY: usize = 100_000;

/// How long entries of the revocation log are held in memory. Longer than any access token lives.
const SET_RETENTION: Duration = Duration::from_secs(60 * 60);

/// Whose tokens a verifier accepts, and how.
#[derive(Clone, Debug)]
pub struct VerifierSettings {
    /// Who has to have issued them. Compared as it is, byte by byte (RFC 8414, section 2).
    pub issuer: String,
    /// For whom they have to be meant: us.
    pub audience: Audience,
    /// How they may be signed.
    pub algorithms: Vec<Algorithm>,
    /// How far the issuer's clock may be from ours. Ten seconds at most; more counts as ten.
    pub leeway: Duration,
    /// How many tokens are remembered, so that their signature is verified once. With 0, it is verified every time.
    pub cache_entries: u32,
}

impl VerifierSettings {
    /// Tokens of `issuer` for `audience`, signed with a public key, with five seconds of leeway and a memory of 10,000.
    #[must_use]
    pub fn new(issuer: impl Into<String>, audience: Audience) -> Self {
        Self {
            issuer: issuer.into(),
            audience,
            algorithms: Algorithm::ASYMMETRIC.to_vec(),
            leeway: Duration::from_secs(5),
            cache_entries: 10_000,
        }
    }
}

/// Tells good access tokens (RFC 9068) from others, from the memory of this process.
///
/// It hears of revocations as a [`Follower`] of a store, or from any other feed of the log. Without one, a token is good
/// until it is over.
pub struct Verifier {
    settings: VerifierSettings,
    keys: RwLock<Arc<Keys>>,
    seen: Seen,
    revoked: RwLock<RevokedSet>,
    unknown_key: Notify,
}

struct Keys {
    set: KeySet,
    /// Counts the sets.
    number: u64,
}

/// A good access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// What it says.
    pub claims: Arc<AccessClaims>,
}

/// Why an access token was refused.
///
/// For whoever operates the service; a client is told `invalid_token` (RFC 6750, section 3.1) and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum Refused {
    /// It is no signed JWT, or one that means different things to different readers.
    Malformed,
    /// There is no key of the name that it gives, or it gives none.
    UnknownKey,
    /// It is signed in a way that is not accepted, or not in the way its key is for.
    WrongAlgorithm,
    /// Nobody has signed it who has the key.
    BadSignature,
    /// It is not an access token but a JWT of another kind (RFC 8725, section 3.11).
    WrongType,
    /// A claim is missing that an access token has to have.
    MissingClaim,
    /// Somebody else has issued it.
    WrongIssuer,
    /// It is not meant for us.
    WrongAudience,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// It was ended: itself, or with its session, its user or its client.
    Revoked,
    /// It was issued before the revocations that are known here, so it may have been ended. Who can ask the issuer, asks.
    CannotTell,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Malformed,
        Self::UnknownKey,
        Self::WrongAlgorithm,
        Self::BadSignature,
        Self::WrongType,
        Self::MissingClaim,
        Self::WrongIssuer,
        Self::WrongAudience,
        Self::Expired,
        Self::NotYetValid,
        Self::Revoked,
        Self::CannotTell,
    ];

    /// The word for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::BadSignature => "bad_signature",
            Self::WrongType => "wrong_type",
            Self::MissingClaim => "missing_claim",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Revoked => "revoked",
            Self::CannotTell => "cannot_tell",
        }
    }
}

impl From<HeaderRefused> for Refused {
    fn from(refused: HeaderRefused) -> Self {
        match refused {
            HeaderRefused::Malformed => Self::Malformed,
            HeaderRefused::WrongAlgorithm => Self::WrongAlgorithm,
        }
    }
}

impl From<ClaimsRefused> for Refused {
    fn from(refused: ClaimsRefused) -> Self {
        match refused {
            ClaimsRefused::Malformed => Self::Malformed,
            ClaimsRefused::Missing => Self::MissingClaim,
        }
    }
}

impl Verifier {
    /// A verifier with these keys. It knows of no revocation, and believes that there was none: see
    /// [`Verifier::start_at`].
    #[must_use]
    pub fn new(settings: VerifierSettings, keys: KeySet) -> Self {
        let settings = VerifierSettings { leeway: settings.leeway.min(MOST_LEEWAY), ..settings };
        Self {
            seen: Seen::new(settings.cache_entries),
            settings,
            keys: RwLock::new(Arc::new(Keys { set: keys, number: 0 })),
            revoked: RwLock::default(),
            unknown_key: Notify::new(),
        }
    }

    /// Whether this is an access token that is good at `now`, as far as revocations have been heard of. Asks nobody.
    ///
    /// A token that does not say as of which number of the log it was issued (`as_of`) may be older than anything: every
    /// revocation that selects it ends it, and if entries were dropped or never heard of, the answer is
    /// [`Refused::CannotTell`].
    ///
    /// # Errors
    /// If it is not good, with the reason.
    pub fn verify(&self, text: &[u8], now: Timestamp) -> Result<AccessToken, Refused> {
        let token = self.verify_offline(text, now)?;
        self.must_stand(&token.claims.bearing(), token.claims.as_of)?;
        Ok(token)
    }

    /// The same without revocations: signature, claims and times only. What was ended stays good until it is over.
    ///
    /// # Errors
    /// If it is not good, with the reason.
    pub fn verify_offline(&self, text: &[u8], now: Timestamp) -> Result<AccessToken, Refused> {
        self.look_at(text, Some(&self.settings.audience), now)
    }

    /// The same for whoever the token is meant for: for the issuer itself, who is asked about tokens for others (RFC 7662).
    /// A resource server must not use it.
    ///
    /// # Errors
    /// If it is not good, with the reason. [`Refused::WrongAudience`] only if its key may not sign for its audience.
    pub fn verify_issued(&self, text: &[u8], now: Timestamp) -> Result<AccessToken, Refused> {
        self.look_at(text, None, now)
    }

    /// The same whatever time it is: for those who sign out with a token that is over, and whose session may not be. It opens
    /// nothing.
    ///
    /// # Errors
    /// If it was never good, with the reason.
    pub fn verify_whenever(&self, text: &[u8]) -> Result<AccessToken, Refused> {
        if text.len() > JWT_BYTES {
            return Err(Refused::Malformed);
        }
        let claims = self.read(text, &self.keys().set)?;
        must_be_meant_for(&claims, Some(&self.settings.audience))?;
        Ok(AccessToken { claims: Arc::new(claims) })
    }

    fn look_at(
        &self,
        text: &[u8],
        meant_for: Option<&Audience>,
        now: Timestamp,
    ) -> Result<AccessToken, Refused> {
        if text.len() > JWT_BYTES {
            return Err(Refused::Malformed);
        }
        let keys = self.keys();
        let fingerprint = Seen::fingerprint(text);
        if let Some(claims) = self.seen.get(&fingerprint, keys.number) {
            must_be_meant_for(&claims, meant_for)?;
            return match self.must_be_its_time(&claims, now) {
                Ok(()) => Ok(AccessToken { claims }),
                Err(refused) => {
                    self.seen.remove(&fingerprint);
                    Err(refused)
                }
            };
        }
        let claims = Arc::new(self.read(text, &keys.set)?);
        must_be_meant_for(&claims, meant_for)?;
        self.must_be_its_time(&claims, now)?;
        self.seen.insert(fingerprint, Verified { claims: Arc::clone(&claims), keys: keys.number });
        Ok(AccessToken { claims })
    }

    /// Verifies with these keys from now on. What was verified with others is verified again.
    pub fn set_keys(&self, set: KeySet) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.set == set {
            return;
        }
        let number = keys.number + 1;
        *keys = Arc::new(Keys { set, number });
        drop(keys);
        // Only for the memory: what is in there bears the number of the keys before.
        self.seen.clear();
    }

    /// The log is heard of from the entry after `head` on; to be called with what [`follow`](kerria_core::Store::follow)
    /// answers. Tokens that were issued before it cannot be told then. Changes nothing if later entries were applied
    /// meanwhile.
    pub fn start_at(&self, head: LogNumber) {
        let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
        if revoked.head() < head {
            *revoked = RevokedSet::starting_at(head);
        }
    }

    /// The number of the last entry of the log that was applied.
    #[must_use]
    pub fn head(&self) -> LogNumber {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).head()
    }

    /// Completes when a token has named a key that is not here; at once, if one has since the last call. However many
    /// there are, it completes once.
    pub async fn unknown_key(&self) {
        self.unknown_key.notified().await;
    }

    /// Has [`Verifier::unknown_key`] complete once more.
    pub fn look_for_keys(&self) {
        self.unknown_key.notify_one();
    }

    /// How many tokens are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.seen.len()
    }

    /// Whose tokens are accepted, and how.
    #[must_use]
    pub const fn settings(&self) -> &VerifierSettings {
        &self.settings
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// All that does not change with time. Nothing of a token is believed, nor read further than its header, before its
    /// signature is good.
    fn read(&self, text: &[u8], keys: &KeySet) -> Result<AccessClaims, Refused> {
        let jws = Compact::parse(text).ok_or(Refused::Malformed)?;
        let header = Header::parse(&jws.header)?;
        if !self.settings.algorithms.contains(&header.alg) {
            return Err(Refused::WrongAlgorithm);
        }
        let Some(key) = keys.get(header.kid.as_deref().ok_or(Refused::UnknownKey)?) else {
            self.unknown_key.notify_one();
            return Err(Refused::UnknownKey);
        };
        if key.algorithm() != header.alg {
            return Err(Refused::WrongAlgorithm);
        }
        if !key.has_signed(&jws) {
            return Err(Refused::BadSignature);
        }
        if !header.is_of_type(Header::ACCESS_TOKEN) {
            return Err(Refused::WrongType);
        }
        let claims = AccessClaims::parse(&jws.payload)?;
        if claims.iss != self.settings.issuer {
            return Err(Refused::WrongIssuer);
        }
        // Whoever shares a secret with us can sign, too, and for itself alone.
        if !key.may_sign_for(&claims.aud) {
            return Err(Refused::WrongAudience);
        }
        Ok(claims)
    }

    fn must_be_its_time(&self, claims: &AccessClaims, now: Timestamp) -> Result<(), Refused> {
        let leeway = self.settings.leeway;
        if claims.exp.timestamp() + leeway <= now {
            return Err(Refused::Expired);
        }
        let begins = claims.iat.max(claims.nbf.unwrap_or(claims.iat));
        if NumericDate::timestamp(begins) > now + leeway {
            return Err(Refused::NotYetValid);
        }
        Ok(())
    }

    fn must_stand(&self, bearing: &Bearing, as_of: Option<LogNumber>) -> Result<(), Refused> {
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        match revoked.verdict_on(bearing, as_of.unwrap_or_default()) {
            Verdict::Stands => Ok(()),
            Verdict::Ended => Err(Refused::Revoked),
            Verdict::Reread => Err(Refused::CannotTell),
        }
    }
}

fn must_be_meant_for(claims: &AccessClaims, audience: Option<&Audience>) -> Result<(), Refused> {
    let is_meant = |audience: &Audience| claims.aud.iter().any(|aud| aud == audience.as_str());
    if audience.is_none_or(is_meant) { Ok(()) } else { Err(Refused::WrongAudience) }
}

impl Follower for Verifier {
    fn apply(&self, entries: &[LogEntry]) {
        let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
        for entry in entries {
            revoked.apply(*entry);
        }
        if let Some(last) = entries.last() {
            revoked.drop_old(last.at - SET_RETENTION, SET_CAPACITY);
        }
    }

    fn start_over(&self, head: LogNumber) {
        *self.revoked.write().unwrap_or_else(PoisonError::into_inner) = RevokedSet::starting_at(head);
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use kerria_core::Secret;

    use super::{super::keys::VerificationKey, *};

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const SECRET: [u8; 32] = [7; 32];

    fn verifier() -> Verifier {
        with_key(shared_key())
    }

    fn shared_key() -> VerificationKey {
        VerificationKey::shared_secret("shared", &Secret::new(SECRET.to_vec())).unwrap()
    }

    fn with_key(key: VerificationKey) -> Verifier {
        let audience = "https://us.example.com".parse().unwrap();
        let settings = VerifierSettings {
            algorithms: vec![Algorithm::Hs256],
            ..VerifierSettings::new("https://issuer.example.com", audience)
        };
        Verifier::new(settings, KeySet::of([key]).unwrap())
    }

    fn signed(iss: &str, aud: &str, exp: u64) -> String {
        signed_for(iss, &format!(r#""{aud}""#), exp)
    }

    fn signed_for(iss: &str, aud: &str, exp: u64) -> String {
        let header = r#"{"typ":"at+jwt","alg":"HS256","kid":"shared"}"#;
        let claims = format!(
            r#"{{"iss":"{iss}","sub":"app","aud":{aud},"exp":{exp},"iat":1800000000,"client_id":"app",
                "jti":"01931c2e-7d5a-7c11-8f2b-1a2b3c4d5e6f"}}"#
        );
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let key = jsonwebtoken::EncodingKey::from_secret(&SECRET);
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
        format!("{message}.{signature}")
    }

    #[test]
    fn the_issuer_verifies_tokens_for_others_and_a_resource_server_does_not() {
        let verifier = verifier();
        let text = signed("https://issuer.example.com", "https://others.example.com", 1_800_000_300);
        let text = text.as_bytes();
        // In this order: what the issuer has looked at is remembered, and still for others.
        assert_eq!(verifier.verify_offline(text, NOW).unwrap_err(), Refused::WrongAudience);
        assert!(verifier.verify_issued(text, NOW).is_ok());
        assert_eq!(verifier.remembered(), 1);
        assert_eq!(verifier.verify_offline(text, NOW).unwrap_err(), Refused::WrongAudience);
        assert_eq!(verifier.verify(text, NOW).unwrap_err(), Refused::WrongAudience);
        assert!(verifier.verify_issued(text, NOW).is_ok());
    }

    #[test]
    fn a_key_for_one_audience_signs_for_that_one_alone() {
        let (issuer, us, shop) =
            ("https://issuer.example.com", "https://us.example.com", "https://shop.example.com");
        let for_shop = shared_key().only_for(shop.parse().unwrap());
        assert_ne!(for_shop, shared_key());
        let verifier = with_key(for_shop.clone());
        let both = format!(r#"{shop}","{us}"#);
        for aud in [us, "https://shop.example.com/", &both] {
            let text = signed_for(issuer, &format!(r#"["{aud}"]"#), 1_800_000_300);
            for looked_at in [
                verifier.verify_issued(text.as_bytes(), NOW),
                verifier.verify_offline(text.as_bytes(), NOW),
                verifier.verify(text.as_bytes(), NOW),
            ] {
                assert_eq!(looked_at.unwrap_err(), Refused::WrongAudience, "{aud}");
            }
        }
        assert!(verifier.verify_issued(signed(issuer, shop, 1_800_000_300).as_bytes(), NOW).is_ok());
        // What was remembered while the key was for everybody is forgotten.
        let verifier = with_key(shared_key());
        let text = signed(issuer, us, 1_800_000_300);
        assert!(verifier.verify_offline(text.as_bytes(), NOW).is_ok());
        verifier.set_keys(KeySet::of([for_shop]).unwrap());
        assert_eq!(verifier.verify_offline(text.as_bytes(), NOW).unwrap_err(), Refused::WrongAudience);
    }

    #[test]
    fn everything_but_the_audience_counts_for_the_issuer_too() {
        let verifier = verifier();
        let (issuer, us) = ("https://issuer.example.com", "https://us.example.com");
        let late = NOW + Duration::from_secs(305);
        let good = signed(issuer, us, 1_800_000_300);
        assert!(verifier.verify_issued(good.as_bytes(), NOW).is_ok());
        assert_eq!(verifier.verify_issued(good.as_bytes(), late).unwrap_err(), Refused::Expired);
        let foreign = signed("https://elsewhere.example.com", us, 1_800_000_300);
        assert_eq!(verifier.verify_issued(foreign.as_bytes(), NOW).unwrap_err(), Refused::WrongIssuer);
        let (message, _) = good.rsplit_once('.').unwrap();
        let unsigned = format!("{message}.{}", "A".repeat(43));
        assert_eq!(verifier.verify_issued(unsigned.as_bytes(), NOW).unwrap_err(), Refused::BadSignature);
    }
}
