//! `kerria session`.

use axum::http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    answers::{self, Ending, Session, Sessions, count},
    args::{EndArgs, Page, SessionCommand},
    failure::Failure,
    operator::{Operator, segment},
    out::Out,
    prompt, table,
    times::{in_words, now},
    users,
};

pub(super) async fn run(command: SessionCommand, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    match command {
        SessionCommand::List { user, page } => list(user.as_deref(), &page, operator, out).await,
        SessionCommand::End(args) => end(args, operator, out).await,
    }
}

async fn list(user: Option<&str>, page: &Page, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    let path = match user {
        Some(user) => format!("users/{}/sessions", segment(user)),
        None => format!("sessions?{}", page.query()),
    };
    let answer = operator.ask(Method::GET, &path, None).await?;
    if out.json {
        return out.document(&answer);
    }
    let Sessions { sessions, next } = answers::read(&answer)?;
    if !sessions.is_empty() {
        print(&sessions, now(), out)?;
    } else if next.is_none() {
        out.line(match (user, &page.after) {
            (Some(_), _) => "Signed in nowhere.",
            (None, None) => "No sessions. They appear here as soon as somebody signs in.",
            (None, Some(_)) => "No more sessions.",
        })?;
    }
    if let Some(next) = next {
        out.note(&format!("There may be more: kerria session list --after {next}"));
    }
    Ok(())
}

/// Prints sessions as a table.
pub(super) fn print(sessions: &[Session], now: Timestamp, out: &mut Out) -> Result<(), Failure> {
    table::lines(&rows(sessions, now)).iter().try_for_each(|line| out.line(line))
}

fn rows(sessions: &[Session], now: Timestamp) -> Vec<[String; 7]> {
    let head = ["USER", "DEVICE", "ADDRESS", "OPENED", "LAST SEEN", "ENDS", "HANDLE"].map(ToOwned::to_owned);
    let row = |session: &Session| {
        [
            session.user.as_ref().map_or_else(|| "(nobody)".to_owned(), |user| user.name.clone()),
            session.device.clone(),
            session.address.clone(),
            in_words(now, &session.opened_at),
            in_words(now, &session.last_seen_at),
            in_words(now, &session.expires_at),
            session.handle.clone(),
        ]
    };
    std::iter::once(head).chain(sessions.iter().map(row)).collect()
}

async fn end(args: EndArgs, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    let EndArgs { handle, user, client, token, wait, confirmation, everyone: _ } = args;
    let (answer, whose) = if let Some(handle) = handle {
        let path = format!("sessions/{}?wait={wait}", segment(&handle));
        (operator.ask(Method::DELETE, &path, None).await?, String::new())
    } else if let Some(user) = user {
        let user = users::find(operator, &user).await?;
        let selector = json!({ "kind": "user", "user": user.id });
        (revoke(&selector, &wait, operator).await?, format!(" of {}", user.called()))
    } else if let Some(client) = client {
        let selector = json!({ "kind": "client", "client": client });
        let whose = format!(" of {client}, and every token that was issued to it");
        (revoke(&selector, &wait, operator).await?, whose)
    } else if let Some(token) = token {
        let selector = json!({ "kind": "token", "token": token });
        let answer = revoke(&selector, &wait, operator).await?;
        let Ending { ended, .. } = answers::read(&answer)?;
        let said = match ended {
            Some(_) => "Ended that access token, should it exist. Its session goes on.",
            None => TAKEN_IN,
        };
        return told(said, &answer, out);
    } else {
        prompt::confirm("Everyone will be signed out everywhere.", confirmation.yes)?;
        let whose = ". Nobody is signed in".to_owned();
        (revoke(&json!({ "kind": "everyone" }), &wait, operator).await?, whose)
    };
    let said = match answers::read(&answer)? {
        Ending { ended: Some(ended), .. } => format!("Ended {}{whose}.", count(ended, "session")),
        Ending { ended: None, .. } => TAKEN_IN.to_owned(),
    };
    told(&said, &answer, out)
}

/// What is said of an end that nobody waits for.
const TAKEN_IN: &str =
    "It is done in a moment. If it fails, the log of the server says so, and nothing else.";

async fn revoke(selector: &Value, wait: &str, operator: &Operator) -> anyhow::Result<Value> {
    let selector = json!({ "selector": selector });
    operator.ask(Method::POST, &format!("revocations?wait={wait}"), Some(&selector)).await
}

/// Says what was done, and for whom that had to wait.
fn told(said: &str, answer: &Value, out: &mut Out) -> Result<(), Failure> {
    let Ending { acknowledged_in_ms, late, .. } = answers::read(answer)?;
    out.done(said, answer)?;
    if let Some(took) = acknowledged_in_ms.filter(|_| !late.is_empty()) {
        let late = late.join(", ");
        out.note(&format!("That took {took} ms: the lease of {late} had to run out."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_listed_in_words() {
        let sessions = json!({ "sessions": [
            { "handle": "s1", "user": { "id": "u1", "name": "alice" }, "transport": "cookie", "remembered": true,
              "method": "password", "opened_at": "2026-05-01T09:00:00Z", "last_seen_at": "2026-05-01T11:59:58Z",
              "authenticated_at": "2026-05-01T09:00:00Z", "expires_at": "2026-05-08T11:59:58Z",
              "device": "Firefox on Linux", "address": "192.0.2.7" },
            { "handle": "s2", "user": null, "transport": "cookie", "remembered": false, "method": null,
              "opened_at": "2026-05-01T11:00:00Z", "last_seen_at": "2026-05-01T11:00:00Z",
              "authenticated_at": "2026-05-01T11:00:00Z", "expires_at": "2026-05-01T13:00:00Z",
              "device": "", "address": "2001:db8::7" },
        ]});
        let Sessions { sessions, .. } = answers::read(&sessions).unwrap();
        assert_eq!(
            table::lines(&rows(&sessions, "2026-05-01T12:00:00Z".parse().unwrap())),
            [
                "USER      DEVICE            ADDRESS      OPENED       LAST SEEN      ENDS       HANDLE",
                "alice     Firefox on Linux  192.0.2.7    3 hours ago  2 seconds ago  in 6 days  s1",
                "(nobody)  -                 2001:db8::7  1 hour ago   1 hour ago     in 1 hour  s2",
            ]
        );
    }
}
