//! What checkers in other processes ask: `docs/checker-protocol.md`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use kerria::protocol::{
    Answer, Bytes, Find, FindProfile, FindSession, FoundShape, LOG_ENTRIES, Leave, LogShape, NAME_CHARACTERS,
    ProfileAnswer, ReadLog, RenewLease, Rotate, Rotated, Settings, USES, Uses,
};
use kerria_core::{
    LeaseTerms, LogNumber, SessionId, StoreError, Timestamp,
    lease::{Renewal, Renewed},
    store::{Leases, TokenUse, Trouble},
};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::{api::extract::Body, app::App, problem::Problem};

/// `GET /api/v1/checker/settings`: what a checker has to know.
pub async fn settings(State(app): State<Arc<App>>) -> Json<Settings> {
    let session = &app.config.session;
    Json(Settings {
        issuer: app.issuer(),
        cookie: app.session_cookie.name().to_owned(),
        token_key: Bytes(app.token_key),
        lease: LeaseTerms::default().length.into(),
        touch_every: session.last_seen_precision.into(),
        policy: session.policy.into(),
        rotation: session.rotation.into(),
        binding: session.binding.into(),
    })
}

/// `POST /api/v1/checker/renew`: notes how far a checker has applied the log, and answers what follows. If nothing does, the
/// answer may wait for it.
pub async fn renew(
    State(app): State<Arc<App>>,
    Body(asked): Body<RenewLease>,
) -> Result<Json<Renewed>, Problem> {
    let RenewLease { checker, name, applied, wait } = asked;
    name_is_fit(&name)?;
    let renewal = Renewal { checker, applied };
    let wait = Duration::from(wait).min(LeaseTerms::default().renew_every());
    let ledger = ledger(&app)?;
    let max = app.config.checkers_max;
    if !app.followers.has_room(checker, max, &*ledger).await? {
        warn!("{name} is refused: {max} processes hold a lease already, as many as checkers.max allows");
        return Err(Problem::too_many_checkers(max));
    }
    let renewed = renew_once(&*ledger, renewal, &name).await?;
    app.followers.note(checker);
    if matches!(renewed, Renewed::Registered { .. }) {
        info!(checker.id = %checker, "{name} follows from now on");
    }
    // Noted, and read, as of before: that is still the right answer if nothing comes.
    match applied.filter(|_| has_no_news(&renewed)) {
        Some(applied) if comes_within(&app, applied, wait).await => {
            Ok(Json(renew_once(&*ledger, renewal, &name).await?))
        }
        _ => Ok(Json(renewed)),
    }
}

async fn renew_once(ledger: &dyn Leases, renewal: Renewal, name: &str) -> Result<Renewed, StoreError> {
    // Longer than a lease, the answer is of no use.
    let renewed = timeout(LeaseTerms::default().length, ledger.renew_lease(renewal, name)).await;
    renewed.unwrap_or_else(|late| Err(StoreError::new(Trouble::Unavailable, late)))
}

fn has_no_news(renewed: &Renewed) -> bool {
    matches!(renewed, Renewed::Entries { entries, complete: true } if entries.is_empty())
}

/// Whether an entry after this one is heard of in time. A server that is about to stop keeps nobody waiting.
async fn comes_within(app: &App, applied: LogNumber, wait: Duration) -> bool {
    tokio::select! {
        news = timeout(wait, app.news.after(applied)) => news.is_ok(),
        () = app.stopping() => false,
    }
}

/// `POST /api/v1/checker/find`: the session that a token carries.
pub async fn find(State(app): State<Arc<App>>, Body(asked): Body<Find>) -> Result<Json<Answer>, Problem> {
    let found = app.checker.find(&asked.token.into()).await?;
    Ok(Json(Answer { found: found.map(|found| FoundShape::of(found, None)) }))
}

/// `POST /api/v1/checker/session`: a session by its handle, and what it was opened for.
pub async fn session(
    State(app): State<Arc<App>>,
    Body(asked): Body<FindSession>,
) -> Result<Json<Answer>, Problem> {
    let found = app.checker.session(asked.session).await?;
    Ok(Json(Answer { found: found.map(|(found, grant)| FoundShape::of(found, grant)) }))
}

/// `POST /api/v1/checker/profile`: what applications are told of a user. From the store: the checker that asks keeps it in memory
/// itself, and counts from its own place in the log.
pub async fn profile(
    State(app): State<Arc<App>>,
    Body(FindProfile { user }): Body<FindProfile>,
) -> Result<Json<ProfileAnswer>, Problem> {
    let profile = app.store.user(user).await?.map(|user| user.into_profile().into());
    Ok(Json(ProfileAnswer { profile }))
}

/// `POST /api/v1/checker/touch`: when sessions were used. What lies in the future by our clock counts as now.
pub async fn touch(State(app): State<Arc<App>>, Body(uses): Body<Uses>) -> Result<StatusCode, Problem> {
    if uses.seen.len() > USES {
        return Err(Problem::bad_request(format!("One request tells {USES} uses at most.")));
    }
    let now = app.clock.now();
    let mut seen: BTreeMap<SessionId, Timestamp> = BTreeMap::new();
    for used in uses.seen {
        let latest = seen.entry(used.session).or_insert(used.at);
        *latest = used.at.min(now).max((*latest).min(now));
    }
    app.store.touch(seen.into_iter().collect()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/checker/rotate`: a session token in a cookie was used, and may have to be replaced. By our rule and our clock.
pub async fn rotate(
    State(app): State<Arc<App>>,
    Body(asked): Body<Rotate>,
) -> Result<Json<Rotated>, Problem> {
    let used = TokenUse {
        presented: asked.token.into(),
        successor: asked.successor.map(Into::into),
        rule: app.config.session.rotation,
        device: asked.device.map(Into::into),
        now: app.clock.now(),
    };
    Ok(Json(app.store.rotate(used).await?.into()))
}

/// `POST /api/v1/checker/log`: a stretch of the revocation log. Says nothing about how far the checker is.
pub async fn log(State(app): State<Arc<App>>, Body(asked): Body<ReadLog>) -> Result<Json<LogShape>, Problem> {
    if !(1..=LOG_ENTRIES).contains(&asked.limit) {
        return Err(Problem::bad_request(format!("One answer holds 1 to {LOG_ENTRIES} entries.")));
    }
    Ok(Json(app.store.log_after(asked.after, asked.limit).await?.into()))
}

/// `POST /api/v1/checker/leave`: a checker has given up its lease for good.
pub async fn leave(
    State(app): State<Arc<App>>,
    Body(Leave { checker }): Body<Leave>,
) -> Result<StatusCode, Problem> {
    ledger(&app)?.dismiss(checker).await?;
    info!(checker.id = %checker, "a checker follows no more: {checker}");
    Ok(StatusCode::NO_CONTENT)
}

fn ledger(app: &App) -> Result<Arc<dyn Leases>, Problem> {
    app.store.ledger().ok_or_else(Problem::unavailable)
}

fn name_is_fit(name: &str) -> Result<(), Problem> {
    let fits = (1..=NAME_CHARACTERS).contains(&name.chars().count()) && !name.contains(char::is_control);
    if fits { Ok(()) } else { Err(Problem::bad_request("A name has 1 to 100 characters that can be shown.")) }
}
