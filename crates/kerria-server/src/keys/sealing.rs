//! Encrypting what must not lie in the database as it is: AES-256-GCM (NIST SP 800-38D) under a key in a file of its own.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use anyhow::{Context, bail, ensure};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use kerria_core::{Entropy, Secret, SigningKey, entropy::random_bytes};

const KEY_BYTES: usize = 32;

/// The key that seals private keys.
pub struct SealingKey(LessSafeKey);

/// The file of the sealing key, which may be missing.
pub struct SealingFile {
    path: PathBuf,
    key: RwLock<Option<Arc<SealingKey>>>,
}

/// What was sealed cannot be opened with this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongKey;

impl SealingFile {
    /// Reads the key, if the file is there.
    ///
    /// # Errors
    /// A message for the operator that says what to do.
    pub fn open(path: PathBuf) -> anyhow::Result<Self> {
        let key = RwLock::new(SealingKey::load(&path)?.map(Arc::new));
        Ok(Self { path, key })
    }

    /// Makes the key, unless its file is there; also if this process still knows the one that is missing, because the next one
    /// will not. Nobody can open again what was sealed with that, so nothing that is sealed may be worth keeping.
    ///
    /// # Errors
    /// A message for the operator that says what to do.
    pub fn make(&self, entropy: &dyn Entropy) -> anyhow::Result<()> {
        let mut key = self.key.write().unwrap_or_else(PoisonError::into_inner);
        if key.is_none() || !self.path.exists() {
            *key = Some(Arc::new(SealingKey::load_or_create(&self.path, entropy)?));
        }
        Ok(())
    }

    /// Where it is, or should be.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key, if it is there.
    #[must_use]
    pub fn key(&self) -> Option<Arc<SealingKey>> {
        self.key.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl SealingKey {
    /// The key with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, bytes).expect("AES-256 has keys of 32 bytes");
        Self(LessSafeKey::new(key))
    }

    /// Reads the key from a file. If there is none, makes one, for its owner alone.
    fn load_or_create(path: &Path, entropy: &dyn Entropy) -> anyhow::Result<Self> {
        let fresh: Secret<[u8; KEY_BYTES]> = Secret::new(random_bytes(entropy));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(mut file) => {
                let written = file.write_all(fresh.expose()).and_then(|()| file.sync_all());
                written.with_context(|| format!("cannot write the sealing key to {}", path.display()))?;
                Ok(Self::from_bytes(fresh.expose()))
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Self::load(path)?.with_context(|| format!("{} is gone again", path.display()))
            }
            Err(error) => {
                Err(error).with_context(|| format!("cannot make the sealing key {}", path.display()))
            }
        }
    }

    /// `None` if there is no file.
    fn load(path: &Path) -> anyhow::Result<Option<Self>> {
        let bytes = match fs::read(path) {
            Ok(bytes) => Secret::new(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read the sealing key {}", path.display()));
            }
        };
        let Ok(bytes) = <&[u8; KEY_BYTES]>::try_from(bytes.expose().as_slice()) else {
            bail!(
                "the sealing key {} has {} bytes instead of {KEY_BYTES}: restore the file from a backup, or remove it and \
                 run `kerria keys rotate --revoke`, which ends all sessions",
                path.display(),
                bytes.expose().len()
            );
        };
        Ok(Some(Self::from_bytes(bytes)))
    }

    /// Encrypts `plain`, bound to `label`: opened under another label, it is refused.
    #[must_use]
    pub fn seal(&self, plain: &[u8], label: &str, entropy: &dyn Entropy) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = random_bytes(entropy);
        let mut sealed = plain.to_vec();
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(label.as_bytes()),
                &mut sealed,
            )
            .expect("a private key is far shorter than what AES-GCM can encrypt");
        [&nonce[..], &sealed].concat()
    }

    /// Decrypts what [`SealingKey::seal`] made.
    ///
    /// # Errors
    /// If it was sealed under another key or label, or was changed.
    pub fn open(&self, sealed: &[u8], label: &str) -> Result<Secret<Vec<u8>>, WrongKey> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(WrongKey)?;
        let mut buffer = zeroize::Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self.0.open_in_place(nonce, Aad::from(label.as_bytes()), &mut buffer);
        plain.map(|plain| Secret::new(plain.to_vec())).map_err(|_| WrongKey)
    }
}

/// Whether a file holds a key that nobody can read but its owner and, where a platform mounts it so, the owner's group.
///
/// # Errors
/// What is wrong, in words for the operator.
pub fn check_file(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path)?.permissions().mode();
    ensure!(mode & 0o027 == 0, "others can read {}: run `chmod 600 {0}`", path.display());
    SealingKey::load(path).map(drop)
}

/// Whether the key in a file opens this signing key.
#[must_use]
pub fn opens(path: &Path, key: &SigningKey) -> bool {
    let sealing = SealingKey::load(path).ok().flatten();
    sealing.is_some_and(|sealing| sealing.open(&key.sealed, &key.kid).is_ok())
}

#[cfg(test)]
mod tests {
    use kerria::SystemEntropy;

    use super::*;

    #[test]
    fn what_is_sealed_is_opened_under_the_same_key_and_label_only() {
        let key = SealingKey::from_bytes(&[1; 32]);
        let sealed = key.seal(b"a private key", "kid-1", &SystemEntropy);
        assert!(!sealed.windows(7).any(|window| window == b"private"));
        assert_eq!(key.open(&sealed, "kid-1").unwrap().expose(), b"a private key");
        assert_eq!(key.open(&sealed, "kid-2").unwrap_err(), WrongKey);
        assert_eq!(SealingKey::from_bytes(&[2; 32]).open(&sealed, "kid-1").unwrap_err(), WrongKey);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open(&changed, "kid-1").is_err(), "changed at {at}");
        }
        assert!(key.open(&sealed[..5], "kid-1").is_err());
    }

    #[test]
    fn a_file_is_read_if_it_is_there_and_made_only_if_that_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kerria.key");
        let file = SealingFile::open(path.clone()).unwrap();
        assert!(file.key().is_none() && !path.exists());
        file.make(&SystemEntropy).unwrap();
        let sealed = file.key().unwrap().seal(b"x", "l", &SystemEntropy);
        file.make(&SystemEntropy).unwrap();
        let again = SealingFile::open(path).unwrap();
        again.make(&SystemEntropy).unwrap();
        assert_eq!(again.key().unwrap().open(&sealed, "l").unwrap().expose(), b"x");
    }

    #[test]
    fn the_key_is_made_once_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kerria.key");
        let sealed =
            SealingKey::load_or_create(&path, &SystemEntropy).unwrap().seal(b"x", "l", &SystemEntropy);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = SealingKey::load_or_create(&path, &SystemEntropy).unwrap();
        assert_eq!(again.open(&sealed, "l").unwrap().expose(), b"x");
        check_file(&path).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o440)).unwrap();
        check_file(&path).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(check_file(&path).unwrap_err().to_string().contains("chmod 600"));
        fs::write(&path, "short").unwrap();
        let error = SealingKey::load_or_create(&path, &SystemEntropy).err().unwrap().to_string();
        assert!(
            error.contains("5 bytes instead of 32") && error.contains("kerria keys rotate --revoke"),
            "{error}"
        );
    }
}
