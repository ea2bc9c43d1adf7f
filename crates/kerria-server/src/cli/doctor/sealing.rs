//! The key that encrypts the signing keys.

use std::path::Path;

use kerria_core::SigningKey;

use super::Finding;
use crate::keys::sealing::{check_file, opens};

const SUBJECT: &str = "sealing key";

/// Where the signing keys are.
pub(super) enum SigningKeys<'a> {
    /// Nowhere: there is no database yet.
    Nowhere,
    /// In a database that was not looked into, if there are any.
    Perhaps,
    /// These are all.
    These(&'a [SigningKey]),
}

pub(super) fn look(path: &Path, keys: &SigningKeys<'_>) -> Finding {
    if !path.exists() {
        return missing(path, keys);
    }
    let sealed = match keys {
        SigningKeys::These(keys) => keys.first(),
        _ => None,
    };
    match check_file(path) {
        Ok(()) if sealed.is_some_and(|key| !opens(path, key)) => Finding::fail(
            SUBJECT,
            format!("{} does not open the signing keys in the database", path.display()),
            "all nodes need the same file: copy it from one that runs on this database",
        ),
        Ok(()) => Finding::ok(SUBJECT, format!("{} is there, for its owner alone", path.display())),
        Err(why) => Finding::fail(
            SUBJECT,
            format!("{why:#}"),
            "keep a copy of the file apart from the database; without it no access token can be signed",
        ),
    }
}

fn missing(path: &Path, keys: &SigningKeys<'_>) -> Finding {
    match keys {
        SigningKeys::Nowhere | SigningKeys::These([]) => {
            Finding::ok(SUBJECT, "not created yet; the first start does it")
        }
        SigningKeys::Perhaps => Finding::warn(
            SUBJECT,
            format!("{} is missing", path.display()),
            "if the database holds signing keys, restore the file from a backup, or run `kerria keys rotate --revoke`, which \
             ends all sessions; if it holds none, the next start makes the file",
        ),
        SigningKeys::These(_) => Finding::fail(
            SUBJECT,
            format!("{} is missing, and nothing else opens the signing keys in the database", path.display()),
            "copy the file from another node that uses this database, or from a backup",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use kerria_core::{Algorithm, KeyState, Timestamp};

    use super::*;
    use crate::{cli::doctor::State, keys::sealing::SealingKey};

    fn sealed_with(key: &[u8; 32]) -> SigningKey {
        SigningKey {
            kid: "kid-1".to_owned(),
            algorithm: Algorithm::EdDsa,
            state: KeyState::Active,
            sealed: SealingKey::from_bytes(key).seal(b"private", "kid-1", &kerria::SystemEntropy),
            public: "{}".to_owned(),
            created_at: Timestamp::from_millis(0),
            since: Timestamp::from_millis(0),
        }
    }

    #[test]
    fn a_node_needs_the_sealing_key_of_the_others() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kerria.key");
        let keys = [sealed_with(&[7; 32])];
        let state = |keys: &[SigningKey]| look(&path, &SigningKeys::These(keys)).state;
        assert_eq!((state(&[]), state(&keys)), (State::Ok, State::Fail), "there is no file");
        for (key, expected) in [([8; 32], State::Fail), ([7; 32], State::Ok)] {
            fs::write(&path, key).unwrap();
            fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            assert_eq!(state(&keys), expected);
        }
    }
}
