//! Forms that only our own pages can send.

use std::sync::Arc;

use axum::{
    Form,
    extract::{FromRequest, FromRequestParts, Request, rejection::FormRejection},
    http::{HeaderMap, Method, StatusCode},
    response::Response,
};
use kerria::{CurrentSession, OriginVerdict};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    app::App,
    pages::{
        reply::error_page,
        views::ErrorPage,
        visitor::{in_person, layout},
    },
};

/// A form that was sent by one of our own pages: the browser does not say otherwise, and in a session it came with the
/// token of that very session.
pub struct ProtectedForm<T>(pub T);

#[derive(Deserialize)]
struct Protected<T> {
    csrf_token: Option<String>,
    #[serde(flatten)]
    form: T,
}

/// A form with nothing in it but its protection.
#[derive(Deserialize)]
pub struct Nothing {}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for ProtectedForm<T> {
    type Rejection = Response;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let Ok(current) = CurrentSession::from_request_parts(&mut parts, app).await;
        let verdict = verdict(app, &parts.method, &parts.headers);
        let again = parts.uri.path().to_owned();
        if verdict == OriginVerdict::Foreign {
            return Err(error_page(app, &ErrorPage::cross_site(layout(app, &current))));
        }
        let form = Form::from_request(Request::from_parts(parts, body), app).await;
        let Form(Protected { csrf_token, form }) =
            form.map_err(|rejection| malformed(app, &current, &rejection))?;
        match in_person(&current).filter(|_| current.is_by_cookie()) {
            Some(checked)
                if !app.form_key.verify(checked.session.id, csrf_token.as_deref().unwrap_or_default()) =>
            {
                Err(error_page(
                    app,
                    &ErrorPage::form_out_of_date(layout(app, &current), &page_with_form(&again)),
                ))
            }
            _ => Ok(Self(form)),
        }
    }
}

fn verdict(app: &App, method: &Method, headers: &HeaderMap) -> OriginVerdict {
    app.own_origin.judge(method, headers)
}

fn malformed(app: &App, current: &CurrentSession, rejection: &FormRejection) -> Response {
    let layout = layout(app, current);
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return error_page(app, &ErrorPage::too_large(layout));
    }
    error_page(app, &ErrorPage::malformed_form(layout))
}

/// The page where a form can be filled in anew.
fn page_with_form(path: &str) -> String {
    match path {
        "/sign-in" | "/sign-up" | "/confirm" | "/account/password" | "/account/delete" => path.to_owned(),
        path if path.starts_with("/account") => "/account".to_owned(),
        _ => "/sessions".to_owned(),
    }
}
