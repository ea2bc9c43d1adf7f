//! `kerria audit`.

use axum::http::Method;
use jiff::Timestamp;

use super::{
    answers::{self, Audit, AuditEntry},
    args::AuditCommand,
    failure::Failure,
    operator::{Operator, segment},
    out::Out,
    table,
    times::{exact, in_words, now},
};

pub(super) async fn run(command: AuditCommand, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    let AuditCommand::List { user, limit } = command;
    let user = user.map(|user| format!("&user={}", segment(&user))).unwrap_or_default();
    let answer = operator.ask(Method::GET, &format!("audit?limit={limit}{user}"), None).await?;
    if out.json {
        return out.document(&answer);
    }
    let Audit { entries } = answers::read(&answer)?;
    if entries.is_empty() {
        return out.line("Nothing has been noted yet.");
    }
    table::lines(&rows(&entries, now())).iter().try_for_each(|line| out.line(line))
}

/// The exact time too: what happened here is compared with what other logs say.
fn rows(entries: &[AuditEntry], now: Timestamp) -> Vec<[String; 6]> {
    let head = ["WHEN", "TIME (UTC)", "EVENT", "ADDRESS", "DETAIL", "USER"].map(ToOwned::to_owned);
    let row = |entry: &AuditEntry| {
        [
            in_words(now, &entry.at),
            exact(&entry.at),
            entry.event.replace('_', " "),
            entry.address.clone().unwrap_or_default(),
            entry.detail.clone(),
            entry.user.clone().unwrap_or_default(),
        ]
    };
    std::iter::once(head).chain(entries.iter().map(row)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entries_are_listed_with_their_exact_time() {
        let audit = json!({ "entries": [
            { "at": "2026-05-01T11:57:00.123Z", "event": "signed_in", "user": "u1", "session": "s1",
              "address": "192.0.2.7", "detail": "password" },
            { "at": "2026-05-01T11:00:00.000Z", "event": "sessions_ended", "user": null, "session": null,
              "address": null, "detail": "" },
        ]});
        let Audit { entries } = answers::read(&audit).unwrap();
        assert_eq!(
            table::lines(&rows(&entries, "2026-05-01T12:00:00Z".parse().unwrap())),
            [
                "WHEN           TIME (UTC)           EVENT           ADDRESS    DETAIL    USER",
                "3 minutes ago  2026-05-01 11:57:00  signed in       192.0.2.7  password  u1",
                "1 hour ago     2026-05-01 11:00:00  sessions ended  -          -         -",
            ]
        );
    }
}
