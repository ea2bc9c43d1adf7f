//! The account: names, password, and the end of it.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use kerria_core::{
    Cause, Secret, User,
    store::{Removal, Renaming},
};
use serde::Deserialize;

use crate::{
    account::{PasswordOutcome, change_password},
    app::App,
    client::From,
    field::Field,
    pages::{
        form::ProtectedForm,
        query::PageQuery,
        reply::{Page, failed, page, see_other},
        sign_in::{signed_out_redirect, throttled},
        views::{AccountPage, DeleteAccountPage, FieldErrors, PasswordErrors, PasswordPage},
        visitor::{FreshPageUser, PageUser},
        words::{count, past},
    },
    sign_up::names,
};

/// What has just been done.
#[derive(Default, Deserialize)]
pub struct Done {
    saved: Option<String>,
    ended: Option<u64>,
}

/// `GET /account`.
pub async fn show(State(app): State<Arc<App>>, user: PageUser, PageQuery(done): PageQuery<Done>) -> Page {
    let account = account(&app, &user).await?;
    let notice = match (done.saved.as_deref(), done.ended) {
        (Some("name"), _) => Some("Saved.".to_owned()),
        (Some("password"), None | Some(0)) => Some("Your password is changed.".to_owned()),
        (Some("password"), Some(ended)) => {
            Some(format!("Your password is changed. Ended {}.", count(ended, "other session")))
        }
        _ => None,
    };
    Ok(page(&app, StatusCode::OK, &AccountPage { notice, ..account_page(&app, &user, &account) }))
}

/// Names for the account.
#[derive(Deserialize)]
pub struct NamesForm {
    #[serde(default)]
    name: String,
    #[serde(default)]
    email: String,
}

/// `POST /account/name`.
pub async fn rename(
    State(app): State<Arc<App>>,
    user: FreshPageUser,
    ProtectedForm(form): ProtectedForm<NamesForm>,
) -> Page {
    user.still_fresh(&app, "/account")?;
    let account = account(&app, &user).await?;
    let again = |status, errors| {
        let filled = AccountPage {
            name: form.name.clone(),
            email: form.email.clone(),
            errors,
            ..account_page(&app, &user, &account)
        };
        page(&app, status, &filled)
    };
    let (name, email) = match names(&form.name, &form.email) {
        Ok(names) => names,
        Err((Field::Email, reason)) => {
            return Ok(again(
                StatusCode::UNPROCESSABLE_ENTITY,
                FieldErrors { email: Some(reason), ..FieldErrors::default() },
            ));
        }
        Err((_, reason)) => {
            return Ok(again(
                StatusCode::UNPROCESSABLE_ENTITY,
                FieldErrors { name: Some(reason), ..FieldErrors::default() },
            ));
        }
    };
    let renaming = app
        .store
        .rename(user.user, name, email, Some(user.checked.token), app.clock.now())
        .await
        .map_err(|error| failed(&app, error))?;
    Ok(match renaming {
        Renaming::Renamed => see_other("/account?saved=name"),
        Renaming::NameTaken => {
            let reason = Some("This name is taken. Choose another one.".to_owned());
            again(StatusCode::CONFLICT, FieldErrors { name: reason, ..FieldErrors::default() })
        }
        Renaming::EmailTaken => {
            let reason = Some("This address belongs to another account.".to_owned());
            again(StatusCode::CONFLICT, FieldErrors { email: reason, ..FieldErrors::default() })
        }
        Renaming::Gone => see_other("/sign-in"),
    })
}

/// `GET /account/password`.
pub async fn password(State(app): State<Arc<App>>, user: PageUser) -> Response {
    page(&app, StatusCode::OK, &password_page(&app, &user))
}

/// What the password form sends.
#[derive(Deserialize)]
pub struct PasswordForm {
    current_password: Secret<String>,
    new_password: Secret<String>,
}

/// `POST /account/password`.
pub async fn submit_password(
    State(app): State<Arc<App>>,
    user: PageUser,
    From(device): From,
    ProtectedForm(form): ProtectedForm<PasswordForm>,
) -> Page {
    let outcome = change_password(&app, &user, &form.current_password, &form.new_password, device)
        .await
        .map_err(|failure| failed(&app, failure))?;
    let again = |status, errors| page(&app, status, &PasswordPage { errors, ..password_page(&app, &user) });
    const INVALID: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
    Ok(match outcome {
        PasswordOutcome::Changed { ended, .. } => {
            see_other(&format!("/account?saved=password&ended={ended}"))
        }
        PasswordOutcome::WrongPassword => {
            let reason = Some("This is not your current password.".to_owned());
            again(INVALID, PasswordErrors { current_password: reason, ..PasswordErrors::default() })
        }
        PasswordOutcome::Unacceptable(reason) => {
            again(INVALID, PasswordErrors { new_password: Some(reason), ..PasswordErrors::default() })
        }
        PasswordOutcome::Throttled { retry_at } => throttled(&app, retry_at, |status, reason| {
            again(status, PasswordErrors { form: Some(reason), ..PasswordErrors::default() })
        }),
        PasswordOutcome::Gone => see_other("/sign-in"),
    })
}

/// `GET /account/delete`.
pub async fn delete(State(app): State<Arc<App>>, user: FreshPageUser) -> Response {
    page(&app, StatusCode::OK, &DeleteAccountPage { layout: user.layout(&app), error: None })
}

/// What the form sends that deletes an account.
#[derive(Deserialize)]
pub struct DeleteForm {
    confirm: Option<String>,
}

/// `POST /account/delete`.
pub async fn submit_delete(
    State(app): State<Arc<App>>,
    user: FreshPageUser,
    ProtectedForm(form): ProtectedForm<DeleteForm>,
) -> Page {
    user.still_fresh(&app, "/account/delete")?;
    if form.confirm.as_deref() != Some("delete") {
        let error = Some("Tick the box to say that you mean it.".to_owned());
        let view = DeleteAccountPage { layout: user.layout(&app), error };
        return Ok(page(&app, StatusCode::UNPROCESSABLE_ENTITY, &view));
    }
    let removal = app
        .store
        .delete_user(user.user, Some(user.checked.token), app.clock.now())
        .await
        .map_err(|error| failed(&app, error))?;
    if let Removal::Removed { ended } = removal {
        app.metrics.sessions_ended.of(Cause::UserDeleted).inc_by(ended);
    }
    user.current.remove_cookie();
    Ok(signed_out_redirect())
}

async fn account(app: &App, user: &PageUser) -> Result<User, Response> {
    let account = app.store.user(user.user).await.map_err(|error| failed(app, error))?;
    account.ok_or_else(|| see_other("/sign-in"))
}

fn account_page(app: &App, user: &PageUser, account: &User) -> AccountPage {
    AccountPage {
        layout: user.layout(app),
        name: account.name.as_ref().map(|name| name.as_str().to_owned()).unwrap_or_default(),
        email: account.email.as_ref().map(|email| email.as_str().to_owned()).unwrap_or_default(),
        created: past(account.created_at, user.current.now()),
        notice: None,
        errors: FieldErrors::default(),
    }
}

fn password_page(app: &App, user: &PageUser) -> PasswordPage {
    PasswordPage {
        layout: user.layout(app),
        login: user.checked.user_name.as_deref().unwrap_or_default().to_owned(),
        min_length: app.config.password.min_length,
        errors: PasswordErrors::default(),
    }
}
