//! Key pairs: making them, and signing with them (RFC 7515, section 5.1).

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use kerria::jwt::Jwk;
use kerria_core::{Algorithm, Secret};

/// A key pair that signs JWTs.
pub enum Signer {
    /// Ed25519.
    EdDsa(Ed25519KeyPair),
    /// ECDSA on P-256.
    Es256(EcdsaKeyPair),
    /// RSA.
    Rs256(RsaKeyPair),
}

/// A key that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl Signer {
    /// A new key pair, and its private key (PKCS #8, RFC 5958).
    ///
    /// # Panics
    /// If asked for HS256, which has no key pair, or if the system has no randomness.
    #[must_use]
    pub fn generate(algorithm: Algorithm) -> (Self, Secret<Vec<u8>>) {
        const SOUND: &str = "the system has randomness, and what was made can be written";
        match algorithm {
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::generate().expect(SOUND);
                let private = pair.to_pkcs8().expect(SOUND).as_ref().to_vec();
                (Self::EdDsa(pair), Secret::new(private))
            }
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect(SOUND);
                let private = pair.to_pkcs8v1().expect(SOUND).as_ref().to_vec();
                (Self::Es256(pair), Secret::new(private))
            }
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect(SOUND);
                let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).expect(SOUND).as_ref().to_vec();
                (Self::Rs256(pair), Secret::new(private))
            }
            Algorithm::Hs256 => panic!("a shared secret is no key pair"),
        }
    }

    /// The key pair of a private key (PKCS #8).
    ///
    /// # Errors
    /// If it is none of this algorithm.
    pub fn read(algorithm: Algorithm, private: &[u8]) -> Result<Self, Unreadable> {
        match algorithm {
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8(private).map(Self::EdDsa).map_err(|_| Unreadable),
            Algorithm::Es256 => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private)
                .map(Self::Es256)
                .map_err(|_| Unreadable),
            Algorithm::Rs256 => RsaKeyPair::from_pkcs8(private).map(Self::Rs256).map_err(|_| Unreadable),
            Algorithm::Hs256 => Err(Unreadable),
        }
    }

    /// The signature over `message`, as a JWS holds it (RFC 7518, sections 3.3 and 3.4; RFC 8037, section 3.1).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        const SOUND: &str = "a key pair that was read can sign";
        match self {
            Self::EdDsa(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Es256(pair) => pair.sign(&SystemRandom::new(), message).expect(SOUND).as_ref().to_vec(),
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).expect(SOUND);
                signature
            }
        }
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> Jwk {
        const SOUND: &str = "a key pair has a public key of its kind";
        match self {
            Self::EdDsa(pair) => Jwk::Ed25519 { x: pair.public_key().as_ref().try_into().expect(SOUND) },
            Self::Es256(pair) => {
                // 0x04, then the coordinates (SEC 1, section 2.3.3).
                let point = pair.public_key().as_ref();
                let coordinate = |at: std::ops::Range<usize>| point[at].try_into().expect(SOUND);
                Jwk::P256 { x: coordinate(1..33), y: coordinate(33..65) }
            }
            Self::Rs256(pair) => {
                let (modulus, exponent) = (pair.public_key().modulus(), pair.public_key().exponent());
                Jwk::Rsa {
                    n: modulus.big_endian_without_leading_zero().to_vec(),
                    e: exponent.big_endian_without_leading_zero().to_vec(),
                }
            }
        }
    }
}

/// The code of HS256 over `message` (RFC 7518, section 3.2).
#[must_use]
pub fn mac(secret: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_pair_is_read_back_and_is_of_its_algorithm_only() {
        for algorithm in Algorithm::ASYMMETRIC {
            let (pair, private) = Signer::generate(algorithm);
            let again = Signer::read(algorithm, private.expose()).unwrap();
            assert_eq!(pair.public(), again.public());
            for other in Algorithm::ASYMMETRIC.into_iter().filter(|other| *other != algorithm) {
                assert!(Signer::read(other, private.expose()).is_err());
            }
        }
    }
}
