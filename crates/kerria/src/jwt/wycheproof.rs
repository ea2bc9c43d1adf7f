//! The signatures of Project Wycheproof (C2SP, Apache-2.0) for the algorithms of our tokens: forged, malleable, truncated and
//! oddly encoded ones are refused, and the good ones are not.

use ::wycheproof::{TestResult, ecdsa, eddsa, mac, rsa_pkcs1_verify};
use kerria_core::Secret;

use super::{Compact, Jwk, VerificationKey};

/// Whether the key takes the signature, beside what Wycheproof says.
fn agrees(key: &VerificationKey, message: &[u8], signature: &[u8], result: TestResult, what: &str) {
    let jws =
        Compact { signed: message, header: Vec::new(), payload: Vec::new(), signature: signature.to_vec() };
    match result {
        TestResult::Valid => assert!(key.has_signed(&jws), "{what}: a good signature was refused"),
        TestResult::Invalid => assert!(!key.has_signed(&jws), "{what}: a bad signature was accepted"),
        // Left open by the standards: either will do.
        TestResult::Acceptable => {}
    }
}

fn key(jwk: &Jwk) -> VerificationKey {
    VerificationKey::from_jwk(jwk.to_json().as_bytes()).unwrap()
}

/// A number as 32 bytes, big-endian.
fn coordinate(bytes: &[u8]) -> [u8; 32] {
    let digits = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    let mut coordinate = [0; 32];
    coordinate[32 - digits.len()..].copy_from_slice(digits);
    coordinate
}

#[test]
fn ecdsa_on_p256() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let mut seen = 0;
    for group in set.test_groups {
        let key = key(&Jwk::P256 { x: coordinate(&group.key.affine_x), y: coordinate(&group.key.affine_y) });
        for test in group.tests {
            agrees(&key, &test.msg, &test.sig, test.result, &format!("{}: {}", test.tc_id, test.comment));
            seen += 1;
        }
    }
    assert!(seen > 200, "{seen}");
}

#[test]
fn ed25519() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut seen = 0;
    for group in set.test_groups {
        let key = key(&Jwk::Ed25519 { x: group.key.pk.as_slice().try_into().unwrap() });
        for test in group.tests {
            agrees(&key, &test.msg, &test.sig, test.result, &format!("{}: {}", test.tc_id, test.comment));
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn rsa_with_2048_bits() {
    let set = rsa_pkcs1_verify::TestSet::load(rsa_pkcs1_verify::TestName::Rsa2048Sha256).unwrap();
    let mut seen = 0;
    for group in set.test_groups {
        let without_zeros = |bytes: &[u8]| bytes.iter().skip_while(|byte| **byte == 0).copied().collect();
        let jwk = Jwk::Rsa { n: without_zeros(&group.key.n), e: without_zeros(&group.key.e) };
        // Keys with a small exponent are not taken at all.
        let Ok(key) = VerificationKey::from_jwk(jwk.to_json().as_bytes()) else { continue };
        for test in group.tests {
            agrees(&key, &test.msg, &test.sig, test.result, &format!("{}: {}", test.tc_id, test.comment));
            seen += 1;
        }
    }
    assert!(seen > 200, "{seen}");
}

#[test]
fn hmac_with_sha256() {
    let set = mac::TestSet::load(mac::TestName::HmacSha256).unwrap();
    let mut seen = 0;
    for group in set.test_groups {
        for test in group.tests {
            // A truncated code is none (RFC 7518, section 3.2), and short secrets are not taken.
            let full = group.tag_size == 256;
            let Ok(key) = VerificationKey::shared_secret("shared", &Secret::new(test.key.to_vec())) else {
                continue;
            };
            let result = if full { test.result } else { TestResult::Invalid };
            agrees(&key, &test.msg, &test.tag, result, &format!("{}: {}", test.tc_id, test.comment));
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen}");
}
