//! The operator's part: users, sessions, ends, invitations, the audit log.

use std::{fmt::Display, str::FromStr, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use kerria_core::{
    Cause, ClientId, GroupName, LoginName, Secret, Selector, SessionId, Status, TokenId, User, UserId,
    group::GROUPS,
    store::{Grouping, NewUser, PasswordChange, PasswordChanged, Removal, UserCreation},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::{
        ending::{self, Ending, Waiting},
        extract::{Body, Identifier, InPath, InQuery, Object},
        shapes::{AuditShape, Ended, ListedSession, Rfc3339, UserShape},
    },
    app::App,
    config::SignUp,
    field::Field,
    login::hash_password,
    problem::Problem,
    sign_up::{check_password, names},
};

/// The most rows of one page.
const PAGE: u32 = 1_000;

/// Which page of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound = "T: FromStr<Err: Display>")]
pub struct Page<T> {
    after: Option<Identifier<T>>,
    limit: Option<u32>,
}

impl<T> Page<T> {
    fn after(self) -> Option<T> {
        self.after.map(|Identifier(id)| id)
    }

    fn limit(&self) -> Result<u32, Problem> {
        at_most(self.limit)
    }
}

fn at_most(limit: Option<u32>) -> Result<u32, Problem> {
    match limit {
        None => Ok(100),
        Some(limit @ 1..=PAGE) => Ok(limit),
        Some(_) => Err(Problem::bad_request(format!("limit is a number from 1 to {PAGE}."))),
    }
}

/// A user to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    email: Option<String>,
    password: Secret<String>,
}

/// `POST /api/v1/operator/users`: creates a user.
pub async fn create_user(State(app): State<Arc<App>>, Body(body): Body<Create>) -> Result<Response, Problem> {
    let (name, email) =
        names(body.name.as_deref().unwrap_or_default(), body.email.as_deref().unwrap_or_default())
            .map_err(|(field, reason)| Problem::invalid(field, reason))?;
    check_password(&app, &body.password, name.as_ref(), email.as_ref())
        .map_err(|reason| Problem::invalid(Field::Password, reason))?;
    let now = app.clock.now();
    let password = hash_password(&app, &body.password).await?;
    let user = NewUser { id: UserId::new(now, &*app.entropy), name, email, password, device: None, now };
    let id = user.id;
    match app.store.create_user(user, None).await? {
        UserCreation::Created(_) => {
            let location = [(header::LOCATION, format!("/api/v1/operator/users/{id}"))];
            Ok((StatusCode::CREATED, location, Json(UserShape::from(user_by_id(&app, id).await?)))
                .into_response())
        }
        UserCreation::NameTaken => {
            Err(Problem::conflict("name-taken", "The name is taken", "Choose another name."))
        }
        UserCreation::EmailTaken => {
            Err(Problem::conflict("email-taken", "The e-mail address is taken", "Use another address."))
        }
        UserCreation::InvitationSpent => Err(Problem::unavailable()),
    }
}

/// `GET /api/v1/operator/users`: the users, page by page.
pub async fn users(
    State(app): State<Arc<App>>,
    InQuery(page): InQuery<Page<UserId>>,
) -> Result<Json<Value>, Problem> {
    let limit = page.limit()?;
    let users = app.store.users(page.after(), limit).await?;
    let next = (users.len() == limit as usize).then(|| users.last().map(|user| user.id)).flatten();
    let users: Vec<UserShape> = users.into_iter().map(UserShape::from).collect();
    Ok(Json(json!({ "users": users, "next": next })))
}

/// `GET /api/v1/operator/users/{user}`: one user, by identifier, name or e-mail address.
pub async fn user(
    State(app): State<Arc<App>>,
    InPath(user): InPath<String>,
) -> Result<Json<UserShape>, Problem> {
    Ok(Json(find_user(&app, &user).await?.into()))
}

/// `POST /api/v1/operator/users/{user}/disable`: ends all sessions of a user and lets them open no more.
pub async fn disable(
    State(app): State<Arc<App>>,
    InPath(user): InPath<String>,
) -> Result<Json<UserShape>, Problem> {
    set_status(&app, &user, Status::Disabled).await
}

/// `POST /api/v1/operator/users/{user}/enable`: lets a user sign in again.
pub async fn enable(
    State(app): State<Arc<App>>,
    InPath(user): InPath<String>,
) -> Result<Json<UserShape>, Problem> {
    set_status(&app, &user, Status::Active).await
}

async fn set_status(app: &App, user: &str, status: Status) -> Result<Json<UserShape>, Problem> {
    let user = find_user(app, user).await?;
    let Some(ended) = app.store.set_status(user.id, status, app.clock.now()).await? else {
        return Err(no_such_user());
    };
    app.metrics.sessions_ended.of(Cause::UserDisabled).inc_by(ended);
    tracing::info!(user.id = %user.id, "user {} is {}", user.id, status.as_str());
    Ok(Json(user_by_id(app, user.id).await?.into()))
}

/// `DELETE /api/v1/operator/users/{user}`: deletes a user and ends all their sessions.
pub async fn delete_user(
    State(app): State<Arc<App>>,
    InPath(user): InPath<String>,
) -> Result<Json<Ended>, Problem> {
    let user = find_user(&app, &user).await?;
    let Removal::Removed { ended } = app.store.delete_user(user.id, None, app.clock.now()).await? else {
        return Err(no_such_user());
    };
    app.metrics.sessions_ended.of(Cause::UserDeleted).inc_by(ended);
    Ok(Json(Ended::sessions(ended)))
}

/// A password.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Password {
    password: Secret<String>,
}

/// `PUT /api/v1/operator/users/{user}/password`: sets a password and ends all sessions of its user.
pub async fn set_password(
    State(app): State<Arc<App>>,
    InPath(user): InPath<String>,
    Body(Password { password }): Body<Password>,
) -> Result<Json<Ended>, Problem> {
    let user = find_user(&app, &user).await?;
    check_password(&app, &password, user.name.as_ref(), user.email.as_ref())
        .map_err(|reason| Problem::invalid(Field::Password, reason))?;
    let change = PasswordChange {
        user: user.id,
        version: None,
        password: hash_password(&app, &password).await?,
        keep: None,
        device: None,
        now: app.clock.now(),
    };
    match app.store.change_password(change).await? {
        PasswordChanged::Changed { ended, .. } => {
            app.metrics.sessions_ended.of(Cause::PasswordChanged).inc_by(ended);
            Ok(Json(Ended::sessions(ended)))
        }
        PasswordChanged::Stale => Err(no_such_user()),
    }
}

/// Groups to put a user in, and to take them out of.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeGroups {
    #[serde(default)]
    join: Vec<Identifier<GroupName>>,
    #[serde(default)]
    leave: Vec<Identifier<GroupName>>,
}

/// `POST /api/v1/operator/users/{user}/groups`: puts a user in groups, and takes them out of others. Every rule that asks for them
/// decides by that from now on.
pub async fn change_groups(
    State(app): State<Arc<App>>,
    InPath(user): InPath<String>,
    Body(ChangeGroups { join, leave }): Body<ChangeGroups>,
) -> Result<Json<UserShape>, Problem> {
    let user = find_user(&app, &user).await?;
    let [joined, left] = [join, leave].map(|names| names.into_iter().map(|Identifier(name)| name).collect());
    match app.store.change_groups(user.id, &joined, &left, app.clock.now()).await? {
        Grouping::Grouped(groups) => Ok(Json(User { groups, ..user }.into())),
        Grouping::TooMany => Err(Problem::bad_request(format!("A user is in {GROUPS} groups at most."))),
        Grouping::Unknown => Err(no_such_user()),
    }
}

/// `GET /api/v1/operator/users/{user}/sessions`: the live sessions of a user.
pub async fn sessions_of(
    State(app): State<Arc<App>>,
    InPath(user): InPath<String>,
) -> Result<Json<Value>, Problem> {
    let user = find_user(&app, &user).await?;
    let now = app.clock.now();
    let details = app.sessions_of(user.id).await?;
    let policy = app.checker.policy();
    let sessions: Vec<_> =
        details.iter().filter_map(|details| ListedSession::of(details, policy, now)).collect();
    Ok(Json(json!({ "sessions": sessions })))
}

/// `GET /api/v1/operator/sessions`: the live sessions of everyone, page by page.
pub async fn sessions(
    State(app): State<Arc<App>>,
    InQuery(page): InQuery<Page<SessionId>>,
) -> Result<Json<Value>, Problem> {
    let limit = page.limit()?;
    let now = app.clock.now();
    let details = app.checker.with_last_uses(app.store.all_sessions(page.after(), limit).await?);
    let next =
        (details.len() == limit as usize).then(|| details.last().map(|details| details.session.id)).flatten();
    let policy = app.checker.policy();
    let sessions: Vec<_> =
        details.iter().filter_map(|details| ListedSession::of(details, policy, now)).collect();
    Ok(Json(json!({ "sessions": sessions, "next": next })))
}

/// `DELETE /api/v1/operator/sessions/{handle}`: ends one session.
pub async fn end_session(
    State(app): State<Arc<App>>,
    InPath(text): InPath<String>,
    InQuery(Waiting { wait }): InQuery<Waiting>,
) -> Result<Response, Problem> {
    let unknown = || Problem::not_found("No session has this handle. It may have ended already.");
    let session = text.parse().map_err(|_| unknown())?;
    match ending::end(&app, Selector::Session { session }, Cause::Operator, None, wait).await? {
        Ending::Done(revoked, _) if revoked.ended == 0 => Err(unknown()),
        ending => Ok(ending.for_operators()),
    }
}

/// What to end.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    selector: Object<Which>,
}

/// A [`Selector`] that takes no member too many: `everyone` beside a forgotten `user` must not end everyone.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Which {
    Session { session: Identifier<SessionId> },
    User { user: Identifier<UserId> },
    UserExcept { user: Identifier<UserId>, except: Identifier<SessionId> },
    Token { token: Identifier<TokenId> },
    Client { client: Identifier<ClientId> },
    // With braces, because serde does not look at the members of a unit variant.
    Everyone {},
}

impl From<Which> for Selector {
    fn from(which: Which) -> Self {
        match which {
            Which::Session { session: Identifier(session) } => Self::Session { session },
            Which::User { user: Identifier(user) } => Self::User { user },
            Which::UserExcept { user: Identifier(user), except: Identifier(except) } => {
                Self::UserExcept { user, except }
            }
            Which::Token { token: Identifier(token) } => Self::Token { token },
            Which::Client { client: Identifier(client) } => Self::Client { client },
            Which::Everyone {} => Self::Everyone,
        }
    }
}

/// `POST /api/v1/operator/revocations`: ends whatever a selector selects.
pub async fn revoke(
    State(app): State<Arc<App>>,
    InQuery(Waiting { wait }): InQuery<Waiting>,
    Body(Revocation { selector: Object(which) }): Body<Revocation>,
) -> Result<Response, Problem> {
    Ok(ending::end(&app, which.into(), Cause::Operator, None, wait).await?.for_operators())
}

/// Nothing has to be said about an invitation yet.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invite {}

/// `POST /api/v1/operator/invitations`: a one-time link that creates one account.
pub async fn invite(
    State(app): State<Arc<App>>,
    Body(Invite {}): Body<Invite>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    if app.config.sign_up == SignUp::Closed {
        let detail = "With sign_up.mode = \"closed\" nobody can use an invitation. Create the user instead.";
        return Err(Problem::conflict("sign-up-closed", "Nobody may sign up", detail));
    }
    let (url, expires_at) = app.invite(app.config.invitation_lifetime, false).await?;
    Ok((StatusCode::CREATED, Json(json!({ "url": url, "expires_at": Rfc3339(expires_at) }))))
}

/// Which lines of the audit log.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    user: Option<String>,
    limit: Option<u32>,
}

/// `GET /api/v1/operator/audit`: the latest lines of the audit log.
pub async fn audit(
    State(app): State<Arc<App>>,
    InQuery(wanted): InQuery<Audit>,
) -> Result<Json<Value>, Problem> {
    let limit = at_most(wanted.limit)?;
    let user = match wanted.user {
        None => None,
        // A deleted user is known by identifier only.
        Some(text) => match text.parse() {
            Ok(id) => Some(id),
            Err(_) => Some(find_user(&app, &text).await?.id),
        },
    };
    let entries: Vec<AuditShape> =
        app.store.audit(user, limit).await?.into_iter().map(AuditShape::from).collect();
    Ok(Json(json!({ "entries": entries })))
}

/// The user whom somebody names.
pub async fn find_user(app: &App, text: &str) -> Result<User, Problem> {
    let found = match text.parse::<UserId>() {
        Ok(id) => app.store.user(id).await?,
        Err(_) => app.store.user_called(&LoginName::parse(text)).await?,
    };
    found.ok_or_else(no_such_user)
}

async fn user_by_id(app: &App, user: UserId) -> Result<User, Problem> {
    app.store.user(user).await?.ok_or_else(no_such_user)
}

fn no_such_user() -> Problem {
    Problem::not_found("No user has this identifier, name or e-mail address.")
}
