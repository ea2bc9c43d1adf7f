//! Who looks at a page.

use std::{ops::Deref, sync::Arc};

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{Method, request::Parts},
    response::Response,
};
use kerria::{Checked, CurrentSession, SessionState};
use kerria_core::UserId;

use crate::{
    api::extract::ApiUser,
    app::App,
    login::step_up::is_fresh,
    pages::{
        reply::{see_other, unavailable},
        views::{Layout, SignedIn},
    },
    problem::log_store_error,
};

/// The signed-in user of a page. Somebody who is not signed in is sent to do so and comes back afterwards.
pub struct PageUser(pub ApiUser);

/// The signed-in user of a page that is sensitive. Somebody whose last proof of identity is too old confirms it first.
pub struct FreshPageUser(pub PageUser);

impl PageUser {
    /// What is around their page.
    pub fn layout(&self, app: &App) -> Layout {
        layout_of(app, &self.0.checked)
    }
}

impl PageUser {
    /// Whether the session has not ended since it was checked; otherwise where to go. To be asked once the whole form has
    /// arrived: a client may take its time over it.
    #[expect(clippy::result_large_err, reason = "it is answered at once, like every page")]
    pub fn still_there(&self, app: &App) -> Result<(), Response> {
        self.0.still_there(app).map_err(|_| see_other("/sign-in"))
    }

    /// The same, and whether the last proof of identity is still recent enough.
    #[expect(clippy::result_large_err, reason = "it is answered at once, like every page")]
    pub fn still_fresh(&self, app: &App, path: &str) -> Result<(), Response> {
        self.still_there(app)?;
        self.0.still_fresh(app).map_err(|_| see_other(&and_back("/confirm", path)))
    }
}

impl Deref for PageUser {
    type Target = ApiUser;

    fn deref(&self) -> &ApiUser {
        &self.0
    }
}

impl Deref for FreshPageUser {
    type Target = PageUser;

    fn deref(&self) -> &PageUser {
        &self.0
    }
}

/// What is around a page for whoever looks at it.
pub fn layout(app: &App, current: &CurrentSession) -> Layout {
    match in_person(current) {
        Some(checked) if checked.session.user.is_some() => layout_of(app, checked),
        Some(checked) => {
            let mut layout = Layout::visitor(&app.config.site_name);
            layout.visitor_csrf = Some(app.form_key.token(checked.session.id));
            layout
        }
        None => Layout::visitor(&app.config.site_name),
    }
}

fn layout_of(app: &App, checked: &Checked) -> Layout {
    let signed_in = SignedIn {
        user_name: checked.user_name.as_deref().unwrap_or_default().to_owned(),
        session: checked.session.id.to_string(),
        csrf: app.form_key.token(checked.session.id),
    };
    Layout::signed_in(&app.config.site_name, signed_in)
}

/// The session of a page, a user's or an anonymous one. The pages change the account, so an access token opens none of them.
pub fn in_person(current: &CurrentSession) -> Option<&Checked> {
    current.checked().filter(|_| current.is_in_person())
}

/// The signed-in user of a page, if there is one.
pub fn signed_in(current: &CurrentSession) -> Option<(UserId, &Checked)> {
    in_person(current).and_then(|checked| Some((checked.session.user?, checked)))
}

impl FromRequestParts<Arc<App>> for PageUser {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let Ok(current) = CurrentSession::from_request_parts(parts, app).await;
        if let SessionState::Unknown(error) = current.state() {
            log_store_error(error);
            return Err(unavailable(app));
        }
        match signed_in(&current).map(|(user, checked)| (user, checked.clone())) {
            Some((user, checked)) => Ok(Self(ApiUser { user, checked, current })),
            None => Err(see_other(&with_return_to("/sign-in", parts))),
        }
    }
}

impl OptionalFromRequestParts<Arc<App>> for PageUser {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Option<Self>, Response> {
        let Ok(current) = CurrentSession::from_request_parts(parts, app).await;
        let found = signed_in(&current).map(|(user, checked)| (user, checked.clone()));
        Ok(found.map(|(user, checked)| Self(ApiUser { user, checked, current })))
    }
}

impl FromRequestParts<Arc<App>> for FreshPageUser {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let user = <PageUser as FromRequestParts<_>>::from_request_parts(parts, app).await?;
        if is_fresh(app, &user.checked, user.current.now()) {
            Ok(Self(user))
        } else {
            Err(see_other(&with_return_to("/confirm", parts)))
        }
    }
}

/// `path`, with a note where to come back to: the page that was asked for, or the one whose form was sent.
fn with_return_to(path: &str, parts: &Parts) -> String {
    let target = if parts.method == Method::GET {
        parts.uri.path_and_query().map_or("/", |target| target.as_str())
    } else {
        page_of_form(parts.uri.path())
    };
    and_back(path, target)
}

/// `path`, with a note to come back to `target`.
fn and_back(path: &str, target: &str) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("return_to", target);
    format!("{path}?{}", query.finish())
}

/// The page on which the form stands that is sent to `path`.
fn page_of_form(path: &str) -> &str {
    match path {
        "/account/name" => "/account",
        path if path.starts_with("/account/") => path,
        _ => "/sessions",
    }
}
