//! `kerria token`.

use axum::http::Method;
use kerria_core::Secret;
use serde_json::{Value, json};

use super::{failure::Failure, operator::Operator, out::Out, times};

/// Says what a token is. The token itself is not shown.
pub(super) async fn inspect(
    token: &Secret<String>,
    operator: &Operator,
    out: &mut Out,
) -> Result<(), Failure> {
    let body = json!({ "token": token.expose() });
    let answer = operator.ask(Method::POST, "tokens/inspect", Some(&body)).await?;
    if out.json {
        return out.document(&answer);
    }
    sentences(&answer).iter().try_for_each(|line| out.line(line))
}

/// What an inspection says, a line each.
fn sentences(answer: &Value) -> Vec<String> {
    let text = |member: &str| answer[member].as_str().unwrap_or_default();
    let mut lines = vec![text("summary").to_owned()];
    let now = times::now();
    for (member, what) in [
        ("session", "Session"),
        ("user", "User"),
        ("client", "Client"),
        ("scope", "Scope"),
        ("audience", "Audience"),
        ("key", "Signed by key"),
        ("issued_at", "Issued"),
        ("expires_at", "Over"),
    ] {
        let value = text(member);
        if value.is_empty() {
            continue;
        }
        let when = if member.ends_with("_at") {
            format!(" ({})", times::in_words(now, value))
        } else {
            String::new()
        };
        lines.push(format!("{what}: {value}{when}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inspection_is_told_in_lines() {
        let answer =
            json!({ "summary": "This is an access token, and it is good.", "session": "s1", "user": null });
        assert_eq!(sentences(&answer), ["This is an access token, and it is good.", "Session: s1"]);
    }
}
