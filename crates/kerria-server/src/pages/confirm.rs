//! "Confirm it's you": proving again who one is before something sensitive.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use kerria_core::Secret;
use serde::Deserialize;

use crate::{
    app::App,
    client::From,
    login::step_up::{StepUp, step_up},
    pages::{
        form::ProtectedForm,
        query::PageQuery,
        reply::{Page, failed, page, see_other},
        sign_in::{Target, kept_target, safe_target, throttled},
        views::ConfirmPage,
        visitor::PageUser,
    },
};

/// `GET /confirm`.
pub async fn show(
    State(app): State<Arc<App>>,
    user: PageUser,
    PageQuery(target): PageQuery<Target>,
) -> Response {
    page(&app, StatusCode::OK, &blank(&app, &user, target.return_to.as_deref()))
}

/// What the form sends.
#[derive(Deserialize)]
pub struct ConfirmForm {
    password: Secret<String>,
    return_to: Option<String>,
}

/// `POST /confirm`.
pub async fn submit(
    State(app): State<Arc<App>>,
    user: PageUser,
    From(device): From,
    ProtectedForm(form): ProtectedForm<ConfirmForm>,
) -> Page {
    let outcome = step_up(&app, &user.checked, user.user, &form.password, &device, &user.current)
        .await
        .map_err(|failure| failed(&app, failure))?;
    let wanted = form.return_to.as_deref();
    let again =
        |status, error| page(&app, status, &ConfirmPage { error: Some(error), ..blank(&app, &user, wanted) });
    Ok(match outcome {
        StepUp::Renewed(_) => see_other(&safe_target(&app, wanted)),
        StepUp::Refused => again(StatusCode::UNPROCESSABLE_ENTITY, "This is not your password.".to_owned()),
        StepUp::Throttled { retry_at } => throttled(&app, retry_at, again),
        StepUp::Gone => see_other("/sign-in"),
    })
}

fn blank(app: &App, user: &PageUser, wanted: Option<&str>) -> ConfirmPage {
    ConfirmPage {
        layout: user.layout(app),
        login: user.checked.user_name.as_deref().unwrap_or_default().to_owned(),
        return_to: kept_target(app, wanted),
        error: None,
    }
}
