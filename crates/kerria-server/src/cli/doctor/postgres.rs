//! The PostgreSQL server, and the database there.

use kerria_store::{ConnectError, Examined};

use super::Finding;

const SUBJECT: &str = "database";

/// What was found there, or why nothing was.
pub(super) fn judge(examined: &Result<Examined, ConnectError>) -> Vec<Finding> {
    match examined {
        Ok(found) => std::iter::once(schema(found)).chain(durability(found)).collect(),
        Err(why) => vec![Finding::fail(SUBJECT, super::in_full(why), advice(why))],
    }
}

fn schema(found: &Examined) -> Finding {
    let Examined { version, encoding, schema, known_schema, .. } = found;
    let server = format!("PostgreSQL {version}, takes writes, {encoding}");
    match schema {
        0 => Finding::ok(SUBJECT, format!("{server}; empty, and the first start fills it")),
        schema if schema < known_schema => Finding::warn(
            SUBJECT,
            format!("{server}; schema version {schema}, and this program knows {known_schema}"),
            "make a backup (`pg_dump`), then `kerria db migrate`; `kerria serve` does it too",
        ),
        schema => Finding::ok(SUBJECT, format!("{server}; schema version {schema}")),
    }
}

fn durability(found: &Examined) -> Vec<Finding> {
    let finding = |setting: &String| {
        let advice = if setting == "synchronous_commit" {
            "Kerria turns it on for itself; turn it on in the server for whatever else writes there"
        } else {
            "turn it on in the server's configuration: a machine that fails may lose what was committed, and bring back \
             sessions that were ended"
        };
        Finding::warn("durability", format!("{setting} is off at the server"), advice)
    };
    found.unsafe_settings.iter().map(finding).collect()
}

fn advice(why: &ConnectError) -> &'static str {
    match why {
        ConnectError::Server { .. } => "`psql` with the same URL may say more",
        ConnectError::Certificates { .. } | ConnectError::Tls(_) => "see the setting database.ca_file",
        ConnectError::Address(_) | ConnectError::Incomplete(_) => "see the setting database.url",
        _ => "see what is said there",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State;

    fn found(schema: u32, off: &[&str]) -> Examined {
        Examined {
            version: "15.4".to_owned(),
            encoding: "UTF8".to_owned(),
            schema,
            known_schema: 2,
            unsafe_settings: off.iter().map(ToString::to_string).collect(),
            signing_keys: Vec::new(),
            groups: None,
        }
    }

    #[test]
    fn a_server_is_judged_by_its_schema_and_by_what_it_may_lose() {
        let states = |schema, off: &[&str]| {
            judge(&Ok(found(schema, off))).iter().map(|finding| finding.state).collect::<Vec<_>>()
        };
        assert_eq!(states(0, &[]), [State::Ok]);
        assert_eq!(states(1, &[]), [State::Warn]);
        assert_eq!(states(2, &["fsync", "synchronous_commit"]), [State::Ok, State::Warn, State::Warn]);
        let [told] = &judge(&Ok(found(2, &[])))[..] else { panic!("one finding") };
        assert_eq!(told.text, "PostgreSQL 15.4, takes writes, UTF8; schema version 2");
        let old = ConnectError::Old { database: "kerria".to_owned(), found: "14.9".to_owned() };
        assert_eq!(judge(&Err(old))[0].state, State::Fail);
    }
}
