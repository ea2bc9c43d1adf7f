//! The account of the one who asks.

use std::sync::Arc;

use axum::{Json, extract::State};
use kerria_core::{
    Cause, Secret,
    store::{Removal, Renaming},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    account::{self, PasswordOutcome},
    api::{
        extract::{ApiUser, Body, FreshUser},
        session::wrong_password,
        shapes::{Ended, UserShape},
        throttled,
    },
    app::App,
    client::From,
    field::Field,
    problem::Problem,
    sign_up::names,
};

/// `GET /api/v1/user`: the account.
pub async fn show(State(app): State<Arc<App>>, user: ApiUser) -> Result<Json<UserShape>, Problem> {
    let user = app.store.user(user.user).await?.ok_or_else(Problem::not_signed_in)?;
    Ok(Json(user.into()))
}

/// Names for an account. A member that is left out removes that name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Names {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    email: Option<String>,
}

/// `PUT /api/v1/user`: gives the account another name and e-mail address.
pub async fn rename(
    State(app): State<Arc<App>>,
    FreshUser(user): FreshUser,
    Body(wanted): Body<Names>,
) -> Result<Json<UserShape>, Problem> {
    let (name, email) =
        names(wanted.name.as_deref().unwrap_or_default(), wanted.email.as_deref().unwrap_or_default())
            .map_err(|(field, reason)| Problem::invalid(field, reason))?;
    user.still_fresh(&app)?;
    match app.store.rename(user.user, name, email, Some(user.checked.token), app.clock.now()).await? {
        Renaming::Renamed => {}
        Renaming::NameTaken => {
            return Err(Problem::conflict("name-taken", "The name is taken", "Choose another name."));
        }
        Renaming::EmailTaken => {
            return Err(Problem::conflict(
                "email-taken",
                "The e-mail address is taken",
                "Use another address.",
            ));
        }
        Renaming::Gone => return Err(Problem::not_signed_in()),
    }
    show(State(app), user).await
}

/// `DELETE /api/v1/user`: deletes the account and ends all its sessions.
pub async fn delete(State(app): State<Arc<App>>, FreshUser(user): FreshUser) -> Result<Json<Ended>, Problem> {
    user.still_fresh(&app)?;
    let by = Some(user.checked.token);
    let Removal::Removed { ended } = app.store.delete_user(user.user, by, app.clock.now()).await? else {
        return Err(Problem::not_signed_in());
    };
    app.metrics.sessions_ended.of(Cause::UserDeleted).inc_by(ended);
    user.current.remove_cookie();
    Ok(Json(Ended::sessions(ended)))
}

/// A change of password.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    current_password: Secret<String>,
    new_password: Secret<String>,
}

/// `PUT /api/v1/password`: changes the password, ends all other sessions, and gives this one a new token.
pub async fn change_password(
    State(app): State<Arc<App>>,
    user: ApiUser,
    From(device): From,
    Body(body): Body<NewPassword>,
) -> Result<Json<Map<String, Value>>, Problem> {
    user.in_person()?;
    match account::change_password(&app, &user, &body.current_password, &body.new_password, device).await? {
        PasswordOutcome::Changed { ended, signed_in } => {
            let mut answer = Map::new();
            answer.insert("ended".to_owned(), json!(ended));
            if signed_in.found.session.transport == kerria_core::Transport::Bearer {
                answer.insert("token".to_owned(), json!(signed_in.token.expose()));
            }
            Ok(Json(answer))
        }
        PasswordOutcome::WrongPassword => Err(wrong_password()),
        PasswordOutcome::Unacceptable(reason) => Err(Problem::invalid(Field::NewPassword, reason)),
        PasswordOutcome::Throttled { retry_at } => Err(throttled(&app, retry_at)),
        PasswordOutcome::Gone => Err(Problem::not_signed_in()),
    }
}
