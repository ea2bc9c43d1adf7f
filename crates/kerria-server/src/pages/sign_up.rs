//! Creating an account.

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use kerria::CurrentSession;
use kerria_core::Secret;
use serde::Deserialize;

use crate::{
    api::login::device_cookie,
    app::App,
    client::From,
    config::SignUp,
    field::Field,
    login::{Carrier, Carry, return_to::HOME},
    pages::{
        form::ProtectedForm,
        query::PageQuery,
        reply::{Page, error_page, failed, page, see_other},
        sign_in::throttled,
        views::{ErrorPage, FieldErrors, SignUpBy, SignUpPage},
        visitor::layout,
    },
    sign_up::{NewAccount, SignUpOutcome, good_invitation, invitation_hash, sign_up},
};

/// `GET /sign-up`.
pub async fn show(State(app): State<Arc<App>>, current: CurrentSession) -> Page {
    if app.config.sign_up != SignUp::Open {
        return Err(not_invited(&app, &current));
    }
    Ok(page(&app, StatusCode::OK, &blank(&app, &current, SignUpBy::Everyone)))
}

/// An invitation.
#[derive(Default, Deserialize)]
pub struct Join {
    invitation: Option<Secret<String>>,
}

/// `GET /join?invitation=…`. Looking does not use the invitation up.
pub async fn join(
    State(app): State<Arc<App>>,
    current: CurrentSession,
    PageQuery(Join { invitation }): PageQuery<Join>,
) -> Page {
    let by = by(&app, invitation).await.map_err(|error| failed(&app, error))?;
    let Some(by) = by else { return Err(not_invited(&app, &current)) };
    Ok(page(&app, StatusCode::OK, &blank(&app, &current, by)))
}

/// What the sign-up form sends.
#[derive(Deserialize)]
pub struct SignUpForm {
    #[serde(default)]
    name: String,
    #[serde(default)]
    email: String,
    password: Secret<String>,
    invitation: Option<Secret<String>>,
}

/// `POST /sign-up`.
pub async fn submit(
    State(app): State<Arc<App>>,
    current: CurrentSession,
    From(device): From,
    ProtectedForm(form): ProtectedForm<SignUpForm>,
) -> Page {
    let by = match &form.invitation {
        None => Some(SignUpBy::Everyone),
        invitation => by(&app, invitation.clone()).await.map_err(|error| failed(&app, error))?,
    };
    let Some(by) = by else { return Err(not_invited(&app, &current)) };
    let account = NewAccount {
        name: form.name.clone(),
        email: form.email.clone(),
        password: form.password,
        invitation: form.invitation,
    };
    let carry = Carry { by: Carrier::Cookie, remembered: false, device };
    let outcome = sign_up(&app, account, carry, &current).await.map_err(|failure| failed(&app, failure))?;
    let again = |status, errors| {
        let view = SignUpPage { name: form.name, email: form.email, errors, ..blank(&app, &current, by) };
        page(&app, status, &view)
    };
    const INVALID: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
    Ok(match outcome {
        SignUpOutcome::SignedUp(signed_in) => {
            (device_cookie(&app, &signed_in), see_other(HOME)).into_response()
        }
        SignUpOutcome::Invalid { field, reason } => again(INVALID, error_of(field, reason)),
        SignUpOutcome::NameTaken => again(
            StatusCode::CONFLICT,
            error_of(Field::Name, "This name is taken. Choose another one.".to_owned()),
        ),
        SignUpOutcome::EmailTaken => again(
            StatusCode::CONFLICT,
            error_of(Field::Email, "There is an account with this address. Sign in instead.".to_owned()),
        ),
        SignUpOutcome::NotInvited => not_invited(&app, &current),
        SignUpOutcome::Throttled { retry_at } => throttled(&app, retry_at, |status, reason| {
            again(status, FieldErrors { form: Some(reason), ..FieldErrors::default() })
        }),
    })
}

async fn by(
    app: &App,
    invitation: Option<Secret<String>>,
) -> Result<Option<SignUpBy>, kerria_core::StoreError> {
    let Some(text) = invitation else { return Ok(None) };
    let Some(hash) = invitation_hash(app, Some(&text)) else { return Ok(None) };
    Ok(good_invitation(app, &hash, app.clock.now()).await?.map(|found| {
        let text = text.expose().trim().to_owned();
        if found.first_account { SignUpBy::FirstAccount(text) } else { SignUpBy::Invitation(text) }
    }))
}

fn blank(app: &App, current: &CurrentSession, by: SignUpBy) -> SignUpPage {
    SignUpPage {
        layout: layout(app, current),
        by,
        name: String::new(),
        email: String::new(),
        min_length: app.config.password.min_length,
        errors: FieldErrors::default(),
    }
}

fn error_of(field: Field, reason: String) -> FieldErrors {
    let mut errors = FieldErrors::default();
    match field {
        Field::Name => errors.name = Some(reason),
        Field::Email => errors.email = Some(reason),
        Field::Password => errors.password = Some(reason),
        _ => errors.form = Some(reason),
    }
    errors
}

fn not_invited(app: &App, current: &CurrentSession) -> Response {
    error_page(app, &ErrorPage::not_invited(layout(app, current)))
}
