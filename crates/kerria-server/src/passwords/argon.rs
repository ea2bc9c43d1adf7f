//! Argon2id (RFC 9106), and the memory it works in.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{self, Output, ParamsString, Salt},
};
use kerria_core::{Entropy, PasswordHash, Secret, entropy::random_bytes};
use tracing::error;
use unicode_normalization::UnicodeNormalization;

use super::Verified;
use crate::config::PasswordSettings;

const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;
const ALGORITHM: Algorithm = Algorithm::Argon2id;
const VERSION: Version = Version::V0x13;

/// Hashes and verifies with the configured parameters.
pub(super) struct Hasher {
    params: Params,
    /// What the password of an unknown user is compared with.
    nobody: Stored,
    entropy: Arc<dyn Entropy>,
}

impl Hasher {
    pub(super) fn new(settings: &PasswordSettings, entropy: Arc<dyn Entropy>) -> Self {
        let params = Params::new(settings.memory_kib, settings.iterations, settings.lanes, None)
            .expect("the configuration admits only parameters that Argon2 can work with");
        let nobody = Stored {
            algorithm: ALGORITHM,
            version: VERSION,
            params: params.clone(),
            salt: new_salt(&*entropy),
            output: Output::new(&random_bytes::<OUTPUT_BYTES>(&*entropy)).expect("32 bytes are an output"),
        };
        Self { params, nobody, entropy }
    }

    /// Hashes a password under a new salt.
    pub(super) fn hash(
        &self,
        password: &Secret<String>,
        memory: &mut Memory,
    ) -> Result<PasswordHash, argon2::Error> {
        let salt = new_salt(&*self.entropy);
        let output = derive(
            &Argon2::new(ALGORITHM, VERSION, self.params.clone()),
            &normal_form(password),
            &salt,
            OUTPUT_BYTES,
            memory,
        )?;
        let hash = phc::PasswordHash {
            algorithm: ALGORITHM.ident(),
            version: Some(VERSION.into()),
            params: ParamsString::try_from(&self.params).expect("three numbers fit"),
            salt: Some(salt),
            hash: Some(output),
        };
        Ok(PasswordHash::new(hash.to_string()))
    }

    /// Verifies a password. Whoever is not known, or whose hash cannot be read, is verified against nobody, so that
    /// the time it takes tells nothing.
    pub(super) fn verify(
        &self,
        password: &Secret<String>,
        hash: Option<&PasswordHash>,
        memory: &mut Memory,
    ) -> Result<Verified, argon2::Error> {
        let known = hash.and_then(|hash| {
            Stored::read(hash)
                .inspect_err(|error| error!(%error, "a stored password hash cannot be read: {error}"))
                .ok()
        });
        let matches = known.as_ref().unwrap_or(&self.nobody).matches(password, memory)?;
        match known {
            Some(stored) if matches => {
                let rehash = if stored.is_as_configured(&self.params) {
                    None
                } else {
                    Some(self.hash(password, memory)?)
                };
                Ok(Verified::Right { rehash })
            }
            _ => Ok(Verified::Wrong),
        }
    }
}

/// A hash as it was stored, with the parameters of its day.
struct Stored {
    algorithm: Algorithm,
    version: Version,
    params: Params,
    salt: Salt,
    output: Output,
}

impl Stored {
    fn read(hash: &PasswordHash) -> Result<Self, argon2::password_hash::Error> {
        use argon2::password_hash::Error;
        let hash = phc::PasswordHash::new(hash.as_str())?;
        Ok(Self {
            algorithm: Algorithm::try_from(hash.algorithm.as_str())?,
            version: hash.version.map(Version::try_from).transpose()?.unwrap_or_default(),
            params: Params::try_from(&hash)?,
            salt: hash.salt.ok_or(Error::SaltInvalid)?,
            output: hash.hash.ok_or(Error::OutputSize)?,
        })
    }

    fn matches(&self, password: &Secret<String>, memory: &mut Memory) -> Result<bool, argon2::Error> {
        let argon2 = Argon2::new(self.algorithm, self.version, self.params.clone());
        let output = derive(&argon2, &normal_form(password), &self.salt, self.output.len(), memory)?;
        Ok(output == self.output) // in constant time
    }

    fn is_as_configured(&self, params: &Params) -> bool {
        let costs = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
        self.algorithm == ALGORITHM
            && self.version == VERSION
            && costs(&self.params) == costs(params)
            && self.salt.len() == SALT_BYTES
            && self.output.len() == OUTPUT_BYTES
    }
}

fn new_salt(entropy: &dyn Entropy) -> Salt {
    Salt::new(&random_bytes::<SALT_BYTES>(entropy)).expect("16 bytes are a salt")
}

/// The form in which a password is hashed: all of it, in Unicode's Normalization Form C, because one keyboard sends
/// `é` as one code point and another as two.
pub(super) fn normal_form(password: &Secret<String>) -> Secret<String> {
    Secret::new(password.expose().nfc().collect())
}

fn derive(
    argon2: &Argon2<'_>,
    password: &Secret<String>,
    salt: &Salt,
    length: usize,
    memory: &mut Memory,
) -> Result<Output, argon2::Error> {
    let blocks = memory.blocks(argon2.params().block_count())?;
    let mut output = [0; Output::MAX_LENGTH];
    argon2.hash_password_into_with_memory(
        password.expose().as_bytes(),
        salt,
        &mut output[..length],
        blocks,
    )?;
    Ok(Output::new(&output[..length]).expect("its length is that of an output"))
}

/// The memory that a worker fills. It is kept from one password to the next, and given back when none waits.
#[derive(Default)]
pub(super) struct Memory {
    blocks: Vec<Block>,
    /// How often it was filled.
    #[cfg(test)]
    fills: u32,
}

impl Memory {
    /// glibc gives an allocation back to the kernel when it is freed only if it lies above a threshold, and raises
    /// the threshold, up to 32 MiB, with each that it frees: the second hash of 19 MiB would stay resident for ever.
    /// Above 32 MiB there is no such memory of the past, and what is not touched costs nothing.
    const ALWAYS_GIVEN_BACK: usize = 33 * 1024 * 1024 / Block::SIZE;

    fn blocks(&mut self, count: usize) -> Result<&mut [Block], argon2::Error> {
        #[cfg(test)]
        {
            self.fills += 1;
        }
        if self.blocks.len() < count {
            self.give_back();
            self.blocks
                .try_reserve_exact(count.max(Self::ALWAYS_GIVEN_BACK))
                .map_err(|_| argon2::Error::OutOfMemory)?;
            self.blocks.resize(count, Block::new());
        }
        Ok(&mut self.blocks[..count])
    }

    pub(super) fn give_back(&mut self) {
        self.blocks = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    /// Gives other bytes each time.
    #[derive(Default)]
    struct Counting(AtomicU8);

    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0.fetch_add(1, Ordering::Relaxed));
        }
    }

    fn hasher(memory_kib: u32, iterations: u32) -> Hasher {
        let settings =
            PasswordSettings { min_length: 15, memory_kib, iterations, lanes: 1, workers: 1, queue: 1 };
        Hasher::new(&settings, Arc::new(Counting::default()))
    }

    fn hash(hasher: &Hasher, password: &str) -> PasswordHash {
        hasher.hash(&password.into(), &mut Memory::default()).unwrap()
    }

    fn verify(hasher: &Hasher, password: &str, hash: &PasswordHash) -> Verified {
        hasher.verify(&password.into(), Some(hash), &mut Memory::default()).unwrap()
    }

    const RIGHT: Verified = Verified::Right { rehash: None };

    #[test]
    fn the_whole_password_is_verified_and_nothing_else() {
        let hasher = hasher(8, 1);
        let tail = "x".repeat(72);
        let long = "y".repeat(4096);
        for (password, other) in [
            (format!("{tail}a"), format!("{tail}b")),
            (tail.clone(), format!("{tail}x")),
            ("before\0after".to_owned(), "before\0".to_owned()),
            (" spaces stay ".to_owned(), "spaces stay".to_owned()),
            ("🔑🦀👩‍👩‍👧".to_owned(), "🔑🦀👩👩👧".to_owned()),
            ("z".repeat(64), "z".repeat(63)),
            ("z".repeat(128), "z".repeat(127)),
            (long.clone(), long[1..].to_owned()),
            ("Case".to_owned(), "case".to_owned()),
            (String::new(), "\0".to_owned()),
        ] {
            let hash = hash(&hasher, &password);
            assert_eq!(verify(&hasher, &password, &hash), RIGHT, "{password:?}");
            assert_eq!(verify(&hasher, &other, &hash), Verified::Wrong, "{other:?}");
        }
    }

    #[test]
    fn composed_and_decomposed_letters_are_one_password() {
        let hasher = hasher(8, 1);
        let (composed, decomposed) =
            ("na\u{ef}ve caf\u{e9} \u{d55c}", "nai\u{308}ve cafe\u{301} \u{1112}\u{1161}\u{11ab}");
        assert_eq!(verify(&hasher, composed, &hash(&hasher, decomposed)), RIGHT);
        assert_eq!(verify(&hasher, decomposed, &hash(&hasher, composed)), RIGHT);
        assert_eq!(verify(&hasher, "ﬁne", &hash(&hasher, "fine")), Verified::Wrong);
    }

    #[test]
    fn a_hash_says_how_it_was_made_and_has_its_own_salt() {
        let hasher = hasher(16, 3);
        let (one, other) = (hash(&hasher, "correct horse"), hash(&hasher, "correct horse"));
        assert!(one.as_str().starts_with("$argon2id$v=19$m=16,t=3,p=1$"), "{}", one.as_str());
        assert_ne!(one, other);
        let parsed = phc::PasswordHash::new(one.as_str()).unwrap();
        assert_eq!((parsed.salt.unwrap().len(), parsed.hash.unwrap().len()), (16, 32));
    }

    /// The first test vector of the reference implementation for version 0x13 of Argon2id, at its smallest memory.
    #[test]
    fn a_hash_of_another_implementation_is_verified() {
        let known = PasswordHash::new(
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4".to_owned(),
        );
        let Verified::Right { rehash: Some(rehash) } = verify(&hasher(8, 1), "password", &known) else {
            panic!("the password is right, and the hash is outdated");
        };
        assert!(rehash.as_str().starts_with("$argon2id$v=19$m=8,t=1,p=1$"));
    }

    #[test]
    fn a_right_password_gets_a_new_hash_when_the_parameters_have_changed() {
        let (old, new) = (hasher(8, 1), hasher(16, 2));
        let outdated = hash(&old, "correct horse");
        assert_eq!(verify(&new, "wrong horse", &outdated), Verified::Wrong);
        let Verified::Right { rehash: Some(rehash) } = verify(&new, "correct horse", &outdated) else {
            panic!("a hash with other parameters is replaced");
        };
        assert_eq!(verify(&new, "correct horse", &rehash), RIGHT);
    }

    #[test]
    fn an_unknown_user_and_an_unreadable_hash_cost_what_a_wrong_password_costs() {
        let hasher = hasher(8, 1);
        let mut hashes = vec![None, Some(hash(&hasher, "correct horse"))];
        for malformed in [
            "",
            "plaintext",
            "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
            "$argon2id$v=19$m=8,t=1,p=1",
            "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ",
            "$argon2id$v=77$m=8,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=1,t=0,p=9$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4$",
        ] {
            hashes.push(Some(PasswordHash::new(malformed.to_owned())));
        }
        for hash in hashes {
            let mut memory = Memory::default();
            let verified = hasher.verify(&"wrong horse".into(), hash.as_ref(), &mut memory);
            assert_eq!(
                (verified, memory.fills),
                (Ok(Verified::Wrong), 1),
                "{:?}",
                hash.as_ref().map(PasswordHash::as_str)
            );
        }
    }
}
