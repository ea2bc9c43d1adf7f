//! The key that encrypts the signing keys.

use std::path::Path;

use super::Finding;
use crate::keys::sealing::check_file;

pub(super) fn look(path: &Path, database: &Path) -> Finding {
    match (path.exists(), database.exists()) {
        (false, false) => return Finding::ok("sealing key", "not created yet; the first start does it"),
        (false, true) => {
            return Finding::warn(
                "sealing key",
                format!("{} is missing", path.display()),
                "if the database holds signing keys, restore the file from a backup, or run `kerria keys rotate --revoke`, which \
                 ends all sessions; if it holds none, the next start makes the file",
            );
        }
        (true, _) => {}
    }
    match check_file(path) {
        Ok(()) => Finding::ok("sealing key", format!("{} is there, for its owner alone", path.display())),
        Err(why) => Finding::fail(
            "sealing key",
            format!("{why:#}"),
            "keep a copy of the file apart from the database; without it no access token can be signed",
        ),
    }
}
