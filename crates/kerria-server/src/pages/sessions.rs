//! "Your sessions".

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use kerria_core::{
    Cause, Selector, SessionId, Standing, StoreError, Timestamp, UserId, audit::AuditEvent,
    store::SessionDetails,
};
use serde::Deserialize;

use crate::{
    app::App,
    client::From,
    login,
    pages::{
        form::{Nothing, ProtectedForm},
        query::PageQuery,
        reply::{Page, failed, page, see_other},
        sign_in::signed_out_redirect,
        views::{Moment, SessionItem, SessionsPage},
        visitor::{FreshPageUser, PageUser},
        words::{count, future, how, past},
    },
};

/// How long a user is told that a refresh token of theirs was used twice.
const TOLD_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How many lines of the audit log are looked at for that.
const LINES_LOOKED_AT: u32 = 100;

/// What has just been done.
#[derive(Default, Deserialize)]
pub struct Done {
    ended: Option<u64>,
}

/// `GET /sessions`.
pub async fn show(State(app): State<Arc<App>>, user: PageUser, PageQuery(done): PageQuery<Done>) -> Page {
    let now = user.current.now();
    let details = app.sessions_of(user.user).await.map_err(|error| failed(&app, error))?;
    let own = user.checked.session.id;
    let mut sessions: Vec<_> = details.iter().filter_map(|details| item(&app, details, own, now)).collect();
    sessions.sort_by_key(|item| !item.this_device);
    let notice = done.ended.map(|ended| match ended {
        0 => "There was nothing left to end.".to_owned(),
        ended => format!("Ended {}.", count(ended, "session")),
    });
    let stolen = stolen(&app, user.user, now).await.map_err(|error| failed(&app, error))?;
    Ok(page(&app, StatusCode::OK, &SessionsPage { layout: user.layout(&app), sessions, notice, stolen }))
}

/// When the user's last refresh token was found to be in two hands, within the time in which that is told.
async fn stolen(app: &App, user: UserId, now: Timestamp) -> Result<Option<Moment>, StoreError> {
    let lines = app.store.audit(Some(user), LINES_LOOKED_AT).await?;
    let replay = lines.iter().find(|line| {
        line.event == AuditEvent::SessionsEnded && line.detail.starts_with(Cause::Replayed.as_str())
    });
    Ok(replay.filter(|line| now.since(line.at) < TOLD_FOR).map(|line| past(line.at, now)))
}

fn item(app: &App, details: &SessionDetails, own: SessionId, now: Timestamp) -> Option<SessionItem> {
    let session = &details.session;
    let Standing::Active { expires_at } = app.checker.policy().standing(session, now) else { return None };
    Some(SessionItem {
        handle: session.id.to_string(),
        device: details.device.in_words(),
        this_device: session.id == own,
        address: Some(details.device.address.to_string()),
        how: how(details.method).to_owned(),
        signed_in: past(session.opened_at, now),
        last_seen: past(session.last_seen_at, now),
        client: details.client.map(|client| client.to_string()),
        remembered: session.remembered,
        expires: future(expires_at, now),
    })
}

/// `POST /sessions/{handle}/end`.
pub async fn end_one(
    State(app): State<Arc<App>>,
    user: PageUser,
    From(device): From,
    Path(handle): Path<String>,
    ProtectedForm(Nothing {}): ProtectedForm<Nothing>,
) -> Page {
    user.still_there(&app)?;
    let theirs = app.store.sessions_of(user.user).await.map_err(|error| failed(&app, error))?;
    let chosen = theirs.iter().map(|details| details.session.id).find(|id| id.to_string() == handle);
    let Some(session) = chosen else { return Ok(done(0)) };
    let own = session == user.checked.session.id;
    let cause = if own { Cause::SignedOut } else { Cause::EndedByUser };
    let selector = Selector::Session { session };
    let revoked =
        login::end(&app, selector, cause, Some(device)).await.map_err(|error| failed(&app, error))?;
    if own {
        user.current.remove_cookie();
        return Ok(signed_out_redirect());
    }
    Ok(done(revoked.ended))
}

/// `POST /sessions/end-others`.
pub async fn end_others(
    State(app): State<Arc<App>>,
    user: PageUser,
    From(device): From,
    ProtectedForm(Nothing {}): ProtectedForm<Nothing>,
) -> Page {
    user.still_there(&app)?;
    let selector = Selector::UserExcept { user: user.user, except: user.checked.session.id };
    let revoked = login::end(&app, selector, Cause::EndedByUser, Some(device))
        .await
        .map_err(|error| failed(&app, error))?;
    Ok(done(revoked.ended))
}

/// `POST /sessions/end-all`.
pub async fn end_all(
    State(app): State<Arc<App>>,
    user: FreshPageUser,
    From(device): From,
    ProtectedForm(Nothing {}): ProtectedForm<Nothing>,
) -> Page {
    user.still_fresh(&app, "/sessions")?;
    let selector = Selector::User { user: user.user };
    login::end(&app, selector, Cause::EndedByUser, Some(device))
        .await
        .map_err(|error| failed(&app, error))?;
    user.current.remove_cookie();
    Ok(signed_out_redirect())
}

fn done(ended: u64) -> Response {
    see_other(&format!("/sessions?ended={ended}"))
}
