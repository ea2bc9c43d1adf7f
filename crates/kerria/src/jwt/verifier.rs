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
        let token = self.verify_issued(text, now)?;
        if !token.claims.aud.iter().any(|audience| audience == self.settings.audience.as_str()) {
            return Err(Refused::WrongAudience);
        }
        Ok(token)
    }

    /// The same for whomever it is meant. Only for the issuer, who is asked about tokens of all audiences (RFC 7662); a
    /// resource server that used this would accept what was given to another.
    ///
    /// # Errors
    /// If it is not good, with the reason.
    pub fn verify_issued(&self, text: &[u8], now: Timestamp) -> Result<AccessToken, Refused> {
        if text.len() > JWT_BYTES {
            return Err(Refused::Malformed);
        }
        let keys = self.keys();
        let fingerprint = Seen::fingerprint(text);
        if let Some(claims) = self.seen.get(&fingerprint, keys.number) {
            return match self.must_be_its_time(&claims, now) {
                Ok(()) => Ok(AccessToken { claims }),
                Err(refused) => {
                    self.seen.remove(&fingerprint);
                    Err(refused)
                }
            };
        }
        let claims = Arc::new(self.read(text, &keys.set)?);
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
}

#[cfg(test)]
mod tests {
    use kerria_core::{Cause, LogEvent, Selector, SessionId, TokenId};
    use serde_json::{Value, json};

    use super::*;
    use crate::jwt::testing::{AUDIENCE, ISSUED, Issuer, claims, claims_with, now, seconds, settings};

    fn ended(number: u64, selector: Selector) -> LogEntry {
        let event = LogEvent::Ended { cause: Cause::SignedOut };
        LogEntry { number: LogNumber(number), at: now(), selector, event }
    }

    fn issued_as_of(number: u64) -> String {
        Issuer::new(Algorithm::EdDsa).issue(&claims_with("as_of", json!(number)))
    }

    #[test]
    fn a_token_that_was_seen_is_ended_at_once_by_whatever_selects_it() {
        let bearing = AccessClaims::parse(claims().to_string().as_bytes()).unwrap().bearing();
        let (session, user) = (bearing.session.unwrap(), bearing.user.unwrap());
        let other = SessionId::from_bytes([9; 16]);
        for (selector, ends) in [
            (Selector::Token { token: bearing.token }, true),
            (Selector::Token { token: TokenId::from_bytes([9; 16]) }, false),
            (Selector::Session { session }, true),
            (Selector::Session { session: other }, false),
            (Selector::User { user }, true),
            (Selector::UserExcept { user, except: session }, false),
            (Selector::UserExcept { user, except: other }, true),
            (Selector::Client { client: bearing.client }, true),
            (Selector::Client { client: "other".parse().unwrap() }, false),
            (Selector::Everyone, true),
        ] {
            let verifier = Issuer::new(Algorithm::EdDsa).verifier();
            verifier.start_at(LogNumber(10));
            let (before, after) = (issued_as_of(10), issued_as_of(11));
            assert!(verifier.verify(before.as_bytes(), now()).is_ok());
            verifier.apply(&[ended(11, selector)]);
            let expected = if ends { Err(Refused::Revoked) } else { Ok(()) };
            for _ in 0..2 {
                assert_eq!(verifier.verify(before.as_bytes(), now()).map(|_| ()), expected, "{selector:?}");
                assert!(
                    verifier.verify(after.as_bytes(), now()).is_ok(),
                    "{selector:?}, issued in the same second"
                );
                assert!(verifier.verify_offline(before.as_bytes(), now()).is_ok());
            }
        }
    }

    #[test]
    fn a_token_from_before_what_was_heard_of_cannot_be_told() {
        let verifier = Issuer::new(Algorithm::EdDsa).verifier();
        verifier.start_at(LogNumber(10));
        assert_eq!(verifier.verify(issued_as_of(9).as_bytes(), now()), Err(Refused::CannotTell));
        assert!(verifier.verify_offline(issued_as_of(9).as_bytes(), now()).is_ok());
        assert!(verifier.verify(issued_as_of(10).as_bytes(), now()).is_ok());
    }

    #[test]
    fn a_token_that_does_not_say_as_of_when_may_be_older_than_anything() {
        let mut undated = claims();
        undated.as_object_mut().unwrap().remove("as_of");
        let undated = Issuer::new(Algorithm::EdDsa).issue(&undated);
        let verdict = |verifier: &Verifier| verifier.verify(undated.as_bytes(), now()).map(|_| ());
        let verifier = Issuer::new(Algorithm::EdDsa).verifier();
        assert_eq!(verdict(&verifier), Ok(()), "nothing was ever revoked, as far as is known");
        verifier.apply(&[ended(1, Selector::Session { session: SessionId::from_bytes([9; 16]) })]);
        assert_eq!(verdict(&verifier), Ok(()), "all is known, and nothing concerns it");
        verifier.apply(&[ended(2, Selector::Everyone)]);
        assert_eq!(verdict(&verifier), Err(Refused::Revoked));
        let verifier = Issuer::new(Algorithm::EdDsa).verifier();
        verifier.start_at(LogNumber(10));
        assert_eq!(verdict(&verifier), Err(Refused::CannotTell), "what was before may concern it");
    }

    #[test]
    fn what_was_applied_before_the_start_is_kept() {
        let verifier = Issuer::new(Algorithm::EdDsa).verifier();
        verifier.apply(&[ended(11, Selector::Everyone)]);
        verifier.start_at(LogNumber(10));
        assert_eq!(verifier.head(), LogNumber(11));
        assert_eq!(verifier.verify(issued_as_of(10).as_bytes(), now()), Err(Refused::Revoked));
    }

    #[test]
    fn the_set_stays_within_its_bounds() {
        let verifier = Issuer::new(Algorithm::EdDsa).verifier();
        let session = |number: u64| SessionId::from_bytes(u128::from(number).to_be_bytes());
        let flood: Vec<_> = (1..=SET_CAPACITY as u64 + 100)
            .map(|number| ended(number, Selector::Session { session: session(number) }))
            .collect();
        verifier.apply(&flood);
        assert_eq!(verifier.revoked.read().unwrap().len(), SET_CAPACITY);
        let much_later = LogEntry { at: now() + SET_RETENTION * 2, ..ended(200_000, Selector::Everyone) };
        verifier.apply(&[much_later]);
        assert_eq!(verifier.revoked.read().unwrap().len(), 1);
    }

    #[test]
    fn a_token_that_comes_again_is_not_verified_again_but_its_time_is() {
        let verifier = Issuer::new(Algorithm::EdDsa).verifier();
        let good = verifier.verify(issued_as_of(10).as_bytes(), now()).unwrap();
        // What nobody has signed, put where only what was verified is put.
        let text = b"a.b.c";
        let verified = Verified { claims: Arc::clone(&good.claims), keys: 0 };
        verifier.seen.insert(Seen::fingerprint(text), verified);
        assert_eq!(verifier.verify(text, now()), Ok(good));
        assert_eq!(verifier.remembered(), 2);
        for token in [text, issued_as_of(10).as_bytes()] {
            assert_eq!(verifier.verify(token, seconds(ISSUED + 305)), Err(Refused::Expired));
        }
        assert_eq!(verifier.remembered(), 0, "what is over is forgotten");
        assert!(verifier.verify(issued_as_of(10).as_bytes(), now()).is_ok());
        let before = seconds(ISSUED - 60);
        assert_eq!(verifier.verify(issued_as_of(10).as_bytes(), before), Err(Refused::NotYetValid));
    }

    #[test]
    fn what_is_refused_is_not_remembered() {
        let verifier = Issuer::new(Algorithm::EdDsa).verifier();
        verifier.start_at(LogNumber(10));
        verifier.apply(&[ended(11, Selector::Everyone)]);
        for (token, at, why) in [
            (issued_as_of(10), ISSUED + 400, Refused::Expired),
            (issued_as_of(10), ISSUED - 60, Refused::NotYetValid),
            (issued_as_of(10) + "A", ISSUED, Refused::BadSignature),
            (Issuer::new(Algorithm::Es256).issue(&claims()), ISSUED, Refused::UnknownKey),
        ] {
            assert_eq!(verifier.verify(token.as_bytes(), seconds(at)), Err(why));
            assert_eq!(verifier.remembered(), 0);
        }
    }

    #[test]
    fn a_key_that_was_taken_away_verifies_nothing_any_more() {
        let (old, new) = (Issuer::new(Algorithm::EdDsa), Issuer::new(Algorithm::Es256));
        let both = KeySet::of(old.keys().iter().chain(new.keys().iter()).cloned()).unwrap();
        let [old_token, new_token] = [&old, &new].map(|issuer| issuer.issue(&claims()));
        let verifier = Verifier::new(settings(), both.clone());
        let verify = |token: &str| verifier.verify(token.as_bytes(), now()).map(|_| ());
        assert_eq!((verify(&old_token), verify(&new_token)), (Ok(()), Ok(())));
        verifier.set_keys(both);
        assert_eq!(verifier.remembered(), 2, "the same keys change nothing");
        verifier.set_keys(new.keys());
        assert_eq!((verify(&old_token), verify(&new_token)), (Err(Refused::UnknownKey), Ok(())));
        verifier.set_keys(KeySet::default());
        assert_eq!(verify(&new_token), Err(Refused::UnknownKey));
    }

    #[test]
    fn without_a_memory_every_token_is_verified() {
        let issuer = Issuer::new(Algorithm::EdDsa);
        let verifier = Verifier::new(VerifierSettings { cache_entries: 0, ..settings() }, issuer.keys());
        for _ in 0..2 {
            assert!(verifier.verify(issuer.issue(&claims()).as_bytes(), now()).is_ok());
            assert_eq!(verifier.remembered(), 0);
        }
    }

    #[test]
    fn a_client_whose_name_looks_like_a_user_is_none() {
        let user = "01931c2e-7d1a-7b3c-9d4e-5f60718293a4";
        let read = |claims: &Value| AccessClaims::parse(claims.to_string().as_bytes()).unwrap();
        assert_eq!(read(&claims()).user(), user.parse().ok());
        let mut of_client = claims_with("client_id", json!(user));
        of_client.as_object_mut().unwrap().remove("sid");
        assert_eq!(read(&of_client).user(), None);
        assert_eq!(read(&claims_with("sub", json!("somebody"))).user(), None);
        assert_eq!(read(&claims_with("aud", json!([AUDIENCE]))).aud, [AUDIENCE]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_unknown_key_of_an_accepted_algorithm_rings_and_only_once() {
        let rung = async |verifier: &Verifier| {
            tokio::time::timeout(Duration::from_secs(1), verifier.unknown_key()).await.is_ok()
        };
        let issuer = Issuer::new(Algorithm::EdDsa);
        let verifier = issuer.verifier();
        let mut header = issuer.header();
        header["kid"] = json!("new");
        let of_new_key = issuer.sign(&header.to_string(), &claims().to_string());
        header["alg"] = json!("none");
        let unsigned = issuer.sign(&header.to_string(), &claims().to_string());
        for quiet in [issuer.issue(&claims()), unsigned, "a.b.c".to_owned()] {
            drop(verifier.verify(quiet.as_bytes(), now()));
            assert!(!rung(&verifier).await);
        }
        for _ in 0..1_000 {
            assert_eq!(verifier.verify(of_new_key.as_bytes(), now()), Err(Refused::UnknownKey));
        }
        assert!(rung(&verifier).await);
        assert!(!rung(&verifier).await);
    }
}
