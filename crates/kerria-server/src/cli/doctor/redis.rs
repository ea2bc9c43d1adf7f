//! Redis, if it keeps the sessions.

use kerria_store::{ExaminedSessions, RedisError};

use super::Finding;

const SUBJECT: &str = "sessions";

/// What was found there, or why nothing was.
pub(super) fn judge(examined: &Result<ExaminedSessions, RedisError>) -> Vec<Finding> {
    match examined {
        Ok(ExaminedSessions { place, version, warnings }) => {
            let found = Finding::ok(SUBJECT, format!("kept in {version} at {place}"));
            let doubtful = warnings.iter().map(|warning| {
                Finding::warn("durability", warning, "see docs/cluster.md on what Redis may lose")
            });
            std::iter::once(found).chain(doubtful).collect()
        }
        Err(why) => vec![Finding::fail(
            SUBJECT,
            super::in_full(why),
            "see the settings redis.url and redis.ca_file; `redis-cli` with the same URL may say more",
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State;

    #[test]
    fn a_server_is_judged_by_what_it_may_lose() {
        let warnings = vec!["nothing is written to its disk".to_owned()];
        let found = ExaminedSessions {
            place: "localhost:6379".to_owned(),
            version: "Redis 7.0.15".to_owned(),
            warnings,
        };
        let findings = judge(&Ok(found));
        assert_eq!(
            findings.iter().map(|finding| finding.state).collect::<Vec<_>>(),
            [State::Ok, State::Warn]
        );
        assert_eq!(findings[0].text, "kept in Redis 7.0.15 at localhost:6379");
    }
}
