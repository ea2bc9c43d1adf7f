//! The database.

use std::path::Path;

use kerria_store::Checked;

use super::Finding;
use crate::cli::answers::count;

pub(super) fn look(path: &Path) -> Finding {
    if !path.exists() {
        return Finding::ok("database", "not created yet; the first start does it");
    }
    match kerria_store::pending_migrations(path) {
        Ok(pending) if !pending.is_empty() => {
            return Finding::warn(
                "database",
                format!("waits for migrations: {}", pending.join(", ")),
                "make a backup (`kerria db backup`), then `kerria db migrate`; `kerria serve` does it too",
            );
        }
        _ => {}
    }
    match kerria_store::check(path) {
        Ok(Checked { problems, schema, users, sessions, .. }) if problems.is_empty() => Finding::ok(
            "database",
            format!(
                "sound: schema version {schema}, {}, {}",
                count(users, "user"),
                count(sessions, "session")
            ),
        ),
        Ok(Checked { problems, .. }) => Finding::fail(
            "database",
            format!("damaged: {}", problems.join("; ")),
            "stop the server, keep a copy of the folder, and restore the latest backup",
        ),
        Err(why) => {
            let text = format!("{:#}", anyhow::Error::new(why));
            Finding::fail("database", text, "see what is said there; `kerria db check` tells it again")
        }
    }
}
