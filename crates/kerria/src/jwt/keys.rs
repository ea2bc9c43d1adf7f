use std::{collections::HashMap, fmt};

use aws_lc_rs::{
    error::KeyRejected,
    hmac,
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    },
};
use kerria_core::{Algorithm, Audience, Secret};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    compact::Compact,
    header::is_key_name,
    jwk::{Jwk, JwkRefused},
    strict::is_object,
};

/// The fewest bytes of a secret for HS256: as many as the hash has (RFC 7518, section 3.2).
const SECRET_BYTES: usize = 32;

/// The longest JWK Set that is read, in bytes.
pub(super) const JWK_SET_BYTES: usize = 256 * 1024;

/// The most keys of a set.
const KEYS: usize = 64;

/// A key with which the signatures of one algorithm are verified, under the name that tokens give for it.
#[derive(Clone)]
pub struct VerificationKey {
    kid: String,
    algorithm: Algorithm,
    material: Material,
    only_for: Option<Audience>,
}

/// A key, parsed once, and what it was made of.
#[derive(Clone)]
enum Material {
    Public(ParsedPublicKey, Jwk),
    Shared(Box<hmac::Key>, Secret<Vec<u8>>),
}

impl VerificationKey {
    /// The key of a JWK (RFC 7517). Without a `kid`, it goes by its thumbprint.
    ///
    /// # Errors
    /// If it is not a public key with which we verify signatures.
    pub fn from_jwk(json: &[u8]) -> Result<Self, JwkRefused> {
        let (jwk, kid) = Jwk::parse(json)?;
        let key = parsed(&jwk).map_err(|_| JwkRefused::Weak)?;
        let kid = kid.unwrap_or_else(|| jwk.thumbprint());
        Ok(Self { kid, algorithm: jwk.algorithm(), material: Material::Public(key, jwk), only_for: None })
    }

    /// A secret that we share with whoever signs, for HS256.
    ///
    /// # Errors
    /// If it is shorter than 32 bytes, or if the `kid` is not 1 to 128 printable ASCII characters without spaces.
    pub fn shared_secret(kid: &str, secret: &Secret<Vec<u8>>) -> Result<Self, SharedSecretRefused> {
        if secret.expose().len() < SECRET_BYTES {
            return Err(SharedSecretRefused::TooShort);
        }
        if !is_key_name(kid) {
            return Err(SharedSecretRefused::Kid);
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
        let material = Material::Shared(Box::new(key), secret.clone());
        Ok(Self { kid: kid.to_owned(), algorithm: Algorithm::Hs256, material, only_for: None })
    }

    /// The same key for tokens that are meant for this audience alone. For a secret that is shared with an audience: it can
    /// make such tokens itself, and must not make any for others.
    #[must_use]
    pub fn only_for(self, audience: Audience) -> Self {
        Self { only_for: Some(audience), ..self }
    }

    /// Whether a token that is meant for these (`aud`) may be signed with it.
    pub(super) fn may_sign_for(&self, aud: &[String]) -> bool {
        self.only_for.as_ref().is_none_or(|only| matches!(aud, [aud] if aud == only.as_str()))
    }

    /// The name that tokens give for it.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The one algorithm that it is used for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether it has signed this, with its own algorithm, whatever the header says.
    #[must_use]
    pub fn has_signed(&self, jws: &Compact<'_>) -> bool {
        match &self.material {
            Material::Public(key, _) => key.verify_sig(jws.signed, &jws.signature).is_ok(),
            Material::Shared(key, _) => hmac::verify(key, jws.signed, &jws.signature).is_ok(),
        }
    }
}

/// Fails if the numbers are no key: a point beside the curve, for instance.
fn parsed(jwk: &Jwk) -> Result<ParsedPublicKey, KeyRejected> {
    match jwk {
        Jwk::Ed25519 { x } => ParsedPublicKey::new(&ED25519, x),
        Jwk::P256 { x, y } => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, [&[4][..], x, y].concat()),
        Jwk::Rsa { n, e } => {
            RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
        }
    }
}

impl PartialEq for VerificationKey {
    fn eq(&self, other: &Self) -> bool {
        let same = match (&self.material, &other.material) {
            (Material::Public(_, own), Material::Public(_, other)) => own == other,
            (Material::Shared(_, own), Material::Shared(_, other)) => own.expose() == other.expose(),
            _ => false,
        };
        same && self.kid == other.kid && self.only_for == other.only_for
    }
}

impl Eq for VerificationKey {}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerificationKey({}, {})", self.kid, self.algorithm.as_str())
    }
}

/// Why a shared secret is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SharedSecretRefused {
    /// It could be found by trying.
    #[error("a shared secret for HS256 has at least 32 bytes")]
    TooShort,
    /// Its name could not stand in a token.
    #[error("a key's name has 1 to 128 printable ASCII characters without spaces")]
    Kid,
}

/// The keys of an issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet(HashMap<String, VerificationKey>);

/// Why a JWK Set is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetRefused {
    /// It is no JSON object with an array of `keys`, is too long, or has too many.
    #[error("not a JWK Set (RFC 7517, section 5), or one of more than 256 KiB or 64 keys")]
    Malformed,
    /// Two keys have the same name, so that nobody could tell which of them is meant.
    #[error("two keys of the JWK Set have the same kid")]
    SameKid,
}

impl KeySet {
    /// Reads a JWK Set (RFC 7517, section 5). Keys that are not for us, private ones and broken ones are passed over; a set
    /// may hold keys for others, and one bad key does not take the good ones away.
    ///
    /// # Errors
    /// If the set as a whole cannot be used.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetRefused> {
        #[derive(Deserialize)]
        struct Set<'j> {
            #[serde(borrow)]
            keys: Vec<&'j RawValue>,
        }

        if json.len() > JWK_SET_BYTES || !is_object(json) {
            return Err(KeySetRefused::Malformed);
        }
        let set: Set<'_> = serde_json::from_slice(json).map_err(|_| KeySetRefused::Malformed)?;
        if set.keys.len() > KEYS {
            return Err(KeySetRefused::Malformed);
        }
        let keys = set.keys.iter().filter_map(|jwk| VerificationKey::from_jwk(jwk.get().as_bytes()).ok());
        Self::of(keys)
    }

    /// A set of these keys.
    ///
    /// # Errors
    /// If two of them have the same name.
    pub fn of(keys: impl IntoIterator<Item = VerificationKey>) -> Result<Self, KeySetRefused> {
        let mut set = HashMap::new();
        for key in keys {
            if set.insert(key.kid.clone(), key).is_some() {
                return Err(KeySetRefused::SameKid);
            }
        }
        Ok(Self(set))
    }

    /// The key of this name.
    #[must_use]
    pub fn get(&self, kid: &str) -> Option<&VerificationKey> {
        self.0.get(kid)
    }

    /// The keys, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &VerificationKey> {
        self.0.values()
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::jwt::testing::{ED25519, P256, RSA_MODULUS, bytes, rsa_jwk, text};

    fn with(jwk: &str, name: &str, value: Value) -> String {
        let mut jwk: Value = serde_json::from_str(jwk).unwrap();
        jwk[name] = value;
        jwk.to_string()
    }

    fn rsa_of(bits: usize, e: &[u8]) -> String {
        let mut n = vec![0xff; bits.div_ceil(8)];
        n[0] >>= n.len() * 8 - bits;
        rsa_jwk(&text(n), &text(e))
    }

    #[test]
    fn a_key_that_is_published_is_read_as_the_same_key() {
        for jwk in [ED25519.to_owned(), P256.to_owned(), rsa_jwk(RSA_MODULUS, "AQAB")] {
            let (key, kid) = Jwk::parse(jwk.as_bytes()).unwrap();
            assert_eq!(kid, None);
            assert_eq!(Jwk::parse(key.to_json().as_bytes()), Ok((key.clone(), Some(key.thumbprint()))));
            let published: Value = serde_json::from_str(&key.to_json()).unwrap();
            assert_eq!((&published["use"], &published["alg"]), (&json!("sig"), &json!(key.algorithm())));
            let members: Vec<_> = published.as_object().unwrap().keys().map(String::as_str).collect();
            assert!(members.iter().all(|name| !["d", "p", "q", "dp", "dq", "qi", "k", "oth"].contains(name)));
        }
    }

    #[test]
    fn keys_that_are_private_weak_or_for_something_else_are_passed_over() {
        let rsa = rsa_jwk(RSA_MODULUS, "AQAB");
        let even = [&bytes(RSA_MODULUS)[..255], &[0xa0]].concat();
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        for (jwk, why) in [
            (with(ED25519, "d", json!("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")), JwkRefused::Private),
            (with(&rsa, "p", json!("AQAB")), JwkRefused::Private),
            (with(&rsa, "oth", json!([])), JwkRefused::Private),
            (
                json!({"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T"}).to_string(),
                JwkRefused::Private,
            ),
            (with(ED25519, "use", json!("enc")), JwkRefused::NotForUs),
            (with(ED25519, "use", json!("SIG")), JwkRefused::NotForUs),
            (with(ED25519, "key_ops", json!(["sign"])), JwkRefused::NotForUs),
            (with(ED25519, "key_ops", json!([])), JwkRefused::NotForUs),
            (with(ED25519, "alg", json!("HS256")), JwkRefused::NotForUs),
            (with(ED25519, "alg", json!("ES256")), JwkRefused::NotForUs),
            (with(&rsa, "alg", json!("PS256")), JwkRefused::NotForUs),
            (with(&rsa, "alg", json!("HS256")), JwkRefused::NotForUs),
            (with(ED25519, "crv", json!("X25519")), JwkRefused::NotForUs),
            (with(ED25519, "crv", json!("Ed448")), JwkRefused::NotForUs),
            (with(ED25519, "kty", json!("EC")), JwkRefused::NotForUs),
            (with(P256, "crv", json!("P-384")), JwkRefused::NotForUs),
            (with(P256, "crv", json!("secp256k1")), JwkRefused::NotForUs),
            (with(P256, "kty", json!("AKP")), JwkRefused::NotForUs),
            (json!({"keys": []}).to_string(), JwkRefused::NotForUs),
            (with(ED25519, "x", json!(&x[..40])), JwkRefused::Weak),
            (with(P256, "y", json!("AAAA")), JwkRefused::Weak),
            (rsa_of(2047, &[1, 0, 1]), JwkRefused::Weak),
            (rsa_of(1024, &[1, 0, 1]), JwkRefused::Weak),
            (rsa_of(4097, &[1, 0, 1]), JwkRefused::Weak),
            (rsa_of(65_536, &[1, 0, 1]), JwkRefused::Weak),
            (rsa_of(2048, &[3]), JwkRefused::Weak),
            (rsa_of(2048, &[1, 0, 0]), JwkRefused::Weak),
            (rsa_of(2048, &[255, 255]), JwkRefused::Weak),
            (rsa_of(2048, &[0, 1, 0, 1]), JwkRefused::Weak),
            (rsa_of(2048, &[1, 0, 0, 0, 1]), JwkRefused::Weak),
            (rsa_jwk(&text(even), "AQAB"), JwkRefused::Weak),
            (rsa_jwk("", "AQAB"), JwkRefused::Weak),
            (with(ED25519, "x", json!(format!("{x}="))), JwkRefused::Malformed),
            (with(ED25519, "x", json!(1)), JwkRefused::Malformed),
            (with(ED25519, "kid", json!("")), JwkRefused::Malformed),
            (with(ED25519, "kid", json!("k".repeat(129))), JwkRefused::Malformed),
            (ED25519.replacen('{', r#"{"x":"AAAA","#, 1), JwkRefused::Malformed),
            (P256.replace(r#","y""#, r#","z""#), JwkRefused::Malformed),
            ("null".to_owned(), JwkRefused::Malformed),
            ("[]".to_owned(), JwkRefused::Malformed),
            (r#"["EdDSA","Ed25519"]"#.to_owned(), JwkRefused::Malformed),
        ] {
            assert_eq!(Jwk::parse(jwk.as_bytes()), Err(why), "{jwk}");
        }
        let beside_the_curve = with(P256, "y", json!(x));
        assert!(Jwk::parse(beside_the_curve.as_bytes()).is_ok());
        assert_eq!(VerificationKey::from_jwk(beside_the_curve.as_bytes()), Err(JwkRefused::Weak));
        for jwk in [
            rsa_of(2048, &[1, 0, 1]),
            rsa_of(4096, &[1, 0, 1]),
            with(ED25519, "key_ops", json!(["verify"])),
            with(&rsa, "alg", json!("RS256")),
            with(ED25519, "x5c", json!(["MIIB"])),
        ] {
            assert!(Jwk::parse(jwk.as_bytes()).is_ok(), "{jwk}");
        }
    }

    #[test]
    fn one_bad_key_does_not_take_the_good_ones_away() {
        let private = with(P256, "d", json!("AAAA"));
        let set = format!(
            r#"{{"keys":[{{"kty":"oct","k":"AA"}},{private},{ED25519},1,null,{{}},"x",{}],"x":1}}"#,
            with(P256, "kid", json!("second"))
        );
        let set = KeySet::parse(set.as_bytes()).unwrap();
        let mut kids: Vec<_> = set.iter().map(VerificationKey::kid).collect();
        kids.sort_unstable();
        assert_eq!(kids, ["kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", "second"]);
    }

    #[test]
    fn a_set_of_which_nobody_could_tell_what_it_means_is_refused() {
        let named = |jwk: &str| with(jwk, "kid", json!("same"));
        let same = format!(r#"{{"keys":[{},{}]}}"#, named(ED25519), named(P256));
        assert_eq!(KeySet::parse(same.as_bytes()), Err(KeySetRefused::SameKid));
        let keys = |count: usize| format!(r#"{{"keys":[{}]}}"#, vec!["{}"; count].join(","));
        assert!(KeySet::parse(keys(64).as_bytes()).unwrap().is_empty());
        let long = format!(r#"{{"keys":[],"pad":"{}"}}"#, "x".repeat(JWK_SET_BYTES));
        let deep = format!(r#"{{"keys":[{}{}]}}"#, "[".repeat(100_000), "]".repeat(100_000));
        for bad in
            ["", "{}", "[]", "[[]]", "null", r#"{"keys":{}}"#, r#"{"keys":null}"#, r#"{"keys":[],"keys":[]}"#]
        {
            assert_eq!(KeySet::parse(bad.as_bytes()), Err(KeySetRefused::Malformed), "{bad}");
        }
        for bad in [keys(65), long] {
            assert_eq!(KeySet::parse(bad.as_bytes()), Err(KeySetRefused::Malformed));
        }
        // Deep is nothing for us, and costs no stack.
        assert!(KeySet::parse(deep.as_bytes()).is_ok_and(|keys| keys.is_empty()));
    }
}
