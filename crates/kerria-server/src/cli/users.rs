//! `kerria user`.

use axum::http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    answers::{self, Ended, Invitation, Sessions, User, Users, count},
    args::{AddArgs, GroupsArgs, Page, UserCommand, Who},
    failure::Failure,
    operator::{Missing, Operator, segment},
    out::Out,
    prompt, sessions, table,
    times::{in_words, now},
};

impl UserCommand {
    /// Whether it makes sense where nothing is yet.
    pub(super) const fn missing(&self) -> Missing {
        match self {
            Self::Add(_) | Self::Invite => Missing::Create,
            _ => Missing::Refuse,
        }
    }
}

pub(super) async fn run(command: UserCommand, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    match command {
        UserCommand::Add(AddArgs { invite: true, .. }) | UserCommand::Invite => invite(operator, out).await,
        UserCommand::Add(args) => add(args, operator, out).await,
        UserCommand::List(page) => list(&page, operator, out).await,
        UserCommand::Show(who) => show(&who, operator, out).await,
        UserCommand::Groups { who, change } => change_groups(&who, &change, operator, out).await,
        UserCommand::Disable(who) => disable(&who, operator, out).await,
        UserCommand::Enable(who) => enable(&who, operator, out).await,
        UserCommand::Delete { who, confirmation } => delete(&who, confirmation.yes, operator, out).await,
        UserCommand::SetPassword { who, password } => {
            set_password(&who, password.password_stdin, operator, out).await
        }
    }
}

async fn add(args: AddArgs, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    let password = prompt::new_password(args.password.password_stdin)?;
    let user = json!({ "name": args.name, "email": args.email, "password": password.expose() });
    let answer = operator.ask(Method::POST, "users", Some(&user)).await?;
    let user: User = answers::read(&answer)?;
    out.done(&format!("Created {} ({}).", user.called(), user.id), &answer)
}

async fn invite(operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    let answer = operator.ask(Method::POST, "invitations", Some(&json!({}))).await?;
    let Invitation { url, expires_at } = answers::read(&answer)?;
    if !out.json {
        // Beside the output, so that a script gets the link alone.
        out.note(&format!("This link creates one account. It is over {}.", in_words(now(), &expires_at)));
    }
    out.done(&url, &answer)
}

async fn list(page: &Page, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    let answer = operator.ask(Method::GET, &format!("users?{}", page.query()), None).await?;
    if out.json {
        return out.document(&answer);
    }
    let Users { users, next } = answers::read(&answer)?;
    if users.is_empty() {
        return out.line(match page.after {
            None => "No users yet. Create one with `kerria user add NAME`, or send somebody the link of `kerria user invite`.",
            Some(_) => "No more users.",
        });
    }
    for line in table::lines(&rows(&users, now())) {
        out.line(&line)?;
    }
    if let Some(next) = next {
        out.note(&format!("There may be more: kerria user list --after {next}"));
    }
    Ok(())
}

fn rows(users: &[User], now: Timestamp) -> Vec<[String; 7]> {
    let head = ["NAME", "E-MAIL", "GROUPS", "STATUS", "CREATED", "LAST SIGN-IN", "ID"].map(ToOwned::to_owned);
    let row = |user: &User| {
        let signed_in = user.last_sign_in_at.as_deref();
        [
            user.name.clone().unwrap_or_default(),
            user.email.clone().unwrap_or_default(),
            user.groups.join(" "),
            user.status.clone(),
            in_words(now, &user.created_at),
            signed_in.map_or_else(|| "never".to_owned(), |time| in_words(now, time)),
            user.id.clone(),
        ]
    };
    std::iter::once(head).chain(users.iter().map(row)).collect()
}

async fn show(who: &Who, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    let path = path_of(who);
    let mut answer = operator.ask(Method::GET, &path, None).await?;
    let list = operator.ask(Method::GET, &format!("{path}/sessions"), None).await?;
    if out.json {
        answer["sessions"] = list["sessions"].clone();
        return out.document(&answer);
    }
    let user: User = answers::read(&answer)?;
    let Sessions { sessions, .. } = answers::read(&list)?;
    let (now, signed_in) = (now(), user.last_sign_in_at.as_deref());
    let facts = [
        ["Name", user.name.as_deref().unwrap_or_default()],
        ["E-mail", user.email.as_deref().unwrap_or_default()],
        ["Groups", &user.groups.join(" ")],
        ["Status", &user.status],
        ["Created", &in_words(now, &user.created_at)],
        ["Last sign-in", &signed_in.map_or_else(|| "never".to_owned(), |time| in_words(now, time))],
        ["ID", &user.id],
    ];
    for line in table::lines(&facts.map(|fact| fact.map(ToOwned::to_owned))) {
        out.line(&line)?;
    }
    out.line("")?;
    if sessions.is_empty() {
        return out.line("Signed in nowhere.");
    }
    sessions::print(&sessions, now, out)
}

async fn change_groups(
    who: &Who,
    change: &GroupsArgs,
    operator: &Operator,
    out: &mut Out,
) -> Result<(), Failure> {
    let GroupsArgs { join, leave } = change;
    let path = format!("{}/groups", path_of(who));
    let answer = operator.ask(Method::POST, &path, Some(&json!({ "join": join, "leave": leave }))).await?;
    let user: User = answers::read(&answer)?;
    let groups = match &user.groups[..] {
        [] => "no group".to_owned(),
        groups => groups.join(", "),
    };
    out.done(&format!("{} is in {groups}.", user.called()), &answer)
}

async fn disable(who: &Who, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    let (user, answer) = change(operator, who, "disable").await?;
    out.done(
        &format!("Disabled {}. Their sessions have ended, and they cannot sign in.", user.called()),
        &answer,
    )
}

async fn enable(who: &Who, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    let (user, answer) = change(operator, who, "enable").await?;
    out.done(&format!("Enabled {}. They can sign in.", user.called()), &answer)
}

async fn change(operator: &Operator, who: &Who, how: &str) -> anyhow::Result<(User, Value)> {
    let answer = operator.ask(Method::POST, &format!("{}/{how}", path_of(who)), None).await?;
    Ok((answers::read(&answer)?, answer))
}

async fn delete(who: &Who, yes: bool, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    let user = find(operator, &who.user).await?;
    prompt::confirm(
        &format!("{} ({}) will be deleted and signed out everywhere, for good.", user.called(), user.id),
        yes,
    )?;
    // By identifier: the name may have become somebody else's meanwhile.
    let answer = operator.ask(Method::DELETE, &format!("users/{}", user.id), None).await?;
    let Ended { ended } = answers::read(&answer)?;
    out.done(&format!("Deleted {}, and ended {}.", user.called(), count(ended, "session")), &answer)
}

async fn set_password(
    who: &Who,
    from_stdin: bool,
    operator: &Operator,
    out: &mut Out,
) -> Result<(), Failure> {
    let user = find(operator, &who.user).await?;
    let password = json!({ "password": prompt::new_password(from_stdin)?.expose() });
    let answer = operator.ask(Method::PUT, &format!("users/{}/password", user.id), Some(&password)).await?;
    let Ended { ended } = answers::read(&answer)?;
    out.done(&format!("{} has a new password. Ended {}.", user.called(), count(ended, "session")), &answer)
}

/// The user with this name, e-mail address or identifier.
pub(super) async fn find(operator: &Operator, text: &str) -> anyhow::Result<User> {
    answers::read(&operator.ask(Method::GET, &format!("users/{}", segment(text)), None).await?)
}

fn path_of(who: &Who) -> String {
    format!("users/{}", segment(&who.user))
}

impl Page {
    /// As a query.
    pub(super) fn query(&self) -> String {
        let after = self.after.as_deref().map(|after| format!("&after={}", segment(after)));
        format!("limit={}{}", self.limit, after.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_listed_in_words() {
        let users = json!({ "next": null, "users": [
            { "id": "u1", "name": "alice", "email": null, "groups": ["admins", "staff"], "status": "active",
              "created_at": "2026-04-01T12:00:00Z", "last_sign_in_at": "2026-05-01T11:57:00.250Z" },
            { "id": "u2", "name": null, "email": "bob@example.com", "groups": [], "status": "disabled",
              "created_at": "2024-05-01T12:00:00Z", "last_sign_in_at": null },
        ]});
        let Users { users, .. } = answers::read(&users).unwrap();
        assert_eq!(
            table::lines(&rows(&users, "2026-05-01T12:00:00Z".parse().unwrap())),
            [
                "NAME   E-MAIL           GROUPS        STATUS    CREATED      LAST SIGN-IN   ID",
                "alice  -                admins staff  active    30 days ago  3 minutes ago  u1",
                "-      bob@example.com  -             disabled  2024-05-01   never          u2",
            ]
        );
    }

    #[test]
    fn a_page_is_asked_for_safely() {
        let page = Page { limit: 5, after: Some("a&b".to_owned()) };
        assert_eq!(page.query(), "limit=5&after=a%26b");
    }
}
