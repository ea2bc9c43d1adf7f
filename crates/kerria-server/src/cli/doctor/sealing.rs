//! The key that encrypts the signing keys.

use std::path::Path;

use super::Finding;
use crate::keys::sealing::check_file;

pub(super) fn look(path: &Path) -> Finding {
    if !path.exists() {
        return Finding::ok("sealing key", "not created yet; the first start does it");
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
