//! `kerria session`.

use axum::http::Method;
use jiff::Timestamp;
use serde_json::json;

use super::{
    answers::{self, Ended, Session, Sessions, count},
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
        SessionCommand::End(EndArgs { handle: Some(handle), .. }) => end_one(&handle, operator, out).await,
        SessionCommand::End(EndArgs { user: Some(user), .. }) => end_all_of(&user, operator, out).await,
        SessionCommand::End(EndArgs { client: Some(client), .. }) => {
            end_all_of_client(&client, operator, out).await
        }
        SessionCommand::End(EndArgs { token: Some(token), .. }) => end_token(&token, operator, out).await,
        SessionCommand::End(args) => end_everyones(args.confirmation.yes, operator, out).await,
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

async fn end_one(handle: &str, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    let answer = operator.ask(Method::DELETE, &format!("sessions/{}", segment(handle)), None).await?;
    let Ended { ended } = answers::read(&answer)?;
    out.done(&format!("Ended {}.", count(ended, "session")), &answer)
}

async fn end_all_of(user: &str, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    let user = users::find(operator, user).await?;
    let selector = json!({ "selector": { "kind": "user", "user": user.id } });
    let answer = operator.ask(Method::POST, "revocations", Some(&selector)).await?;
    let Ended { ended } = answers::read(&answer)?;
    out.done(&format!("Ended {} of {}.", count(ended, "session"), user.called()), &answer)
}

async fn end_all_of_client(client: &str, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    let selector = json!({ "selector": { "kind": "client", "client": client } });
    let answer = operator.ask(Method::POST, "revocations", Some(&selector)).await?;
    let Ended { ended } = answers::read(&answer)?;
    let ended = count(ended, "session");
    out.done(&format!("Ended {ended} of {client}, and every token that was issued to it."), &answer)
}

async fn end_token(token: &str, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    let selector = json!({ "selector": { "kind": "token", "token": token } });
    let answer = operator.ask(Method::POST, "revocations", Some(&selector)).await?;
    out.done("Ended that access token, should it exist. Its session goes on.", &answer)
}

async fn end_everyones(yes: bool, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    prompt::confirm("Everyone will be signed out everywhere.", yes)?;
    let selector = json!({ "selector": { "kind": "everyone" } });
    let answer = operator.ask(Method::POST, "revocations", Some(&selector)).await?;
    let Ended { ended } = answers::read(&answer)?;
    out.done(&format!("Ended {}. Nobody is signed in.", count(ended, "session")), &answer)
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
