//! Signing in: verify, open, recognise the device.

pub mod doors;
pub mod return_to;
pub mod step_up;

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use kerria::{CurrentSession, Refusal, SessionState, bearer, session_tokens};
use kerria_core::{
    Cause, Client, CredentialVersion, Device, Grant, LoginName, Method, PasswordHash, RefreshToken, Secret,
    Selector, SessionId, Status, StoreError, Timestamp, Token, TokenKind, Transport, UserId,
    audit::{AuditEntry, AuditEvent},
    store::{CarryOver, Credentials, Found, NewSession, Opened, Revoked, SignIn, Wait},
    throttle::Admission,
};
use tracing::{error, info};

use crate::{
    app::App,
    keys::KeyError,
    login::doors::Doors,
    passwords::{Busy, Verified},
    problem::log_store_error,
    tokens::{
        IssueError,
        access::{self, AccessToken, Subject},
        client::own_scope,
    },
};

/// Somebody who says who they are and knows a password.
pub struct Attempt {
    /// The name or e-mail address, as it is compared.
    pub login: LoginName,
    /// The password.
    pub password: Secret<String>,
    /// How the session is to be carried.
    pub carry: Carry,
    /// The token of the device cookie, if there is a genuine one.
    pub known_device: Option<Token>,
}

/// How a session is to be carried, and from where.
#[derive(Clone)]
pub struct Carry {
    /// In what.
    pub by: Carrier,
    /// Whether to stay signed in when the browser is closed.
    pub remembered: bool,
    /// From where.
    pub device: Device,
}

/// In what a session is to be carried.
#[derive(Clone)]
pub enum Carrier {
    /// In a cookie.
    Cookie,
    /// As a bearer token.
    Bearer,
    /// In a refresh token and access tokens, for this client.
    Tokens(Box<Client>, Grant),
}

impl Carrier {
    /// The way in the words of a session.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        match self {
            Self::Cookie => Transport::Cookie,
            Self::Bearer => Transport::Bearer,
            Self::Tokens(..) => Transport::Tokens,
        }
    }
}

/// What came of an attempt to sign in.
pub enum SignInOutcome {
    /// A session was opened.
    SignedIn(SignedIn),
    /// The name and the password do not belong together, or the user may not sign in. Which, nobody is told.
    Refused,
    /// Too many attempts.
    Throttled {
        /// When to try again.
        retry_at: Timestamp,
    },
    /// The user has as many sessions as they may have.
    LimitReached,
}

/// A session that was just opened or renewed, and its token on the way to the client.
pub struct SignedIn {
    /// The session.
    pub found: Found,
    /// The token. Of a session that is carried in tokens, the refresh token.
    pub token: Secret<String>,
    /// The first access token of such a session.
    pub access: Option<Box<AccessToken>>,
    /// The token for the device cookie, if the device was not known.
    pub device_token: Option<Secret<String>>,
}

/// Nothing can be said about an attempt.
pub enum Failure {
    /// The store failed.
    Store(StoreError),
    /// Too many passwords are being verified.
    Busy,
    /// No access token can be issued.
    Keys(KeyError),
}

impl From<IssueError> for Failure {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::Store(error) => Self::Store(error),
            IssueError::Keys(error) => Self::Keys(error),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Busy> for Failure {
    fn from(_: Busy) -> Self {
        Self::Busy
    }
}

/// Verifies an attempt and opens a session.
///
/// An unknown name, a disabled user and a wrong password take the same steps and get the same answer.
pub async fn sign_in(
    app: &App,
    attempt: Attempt,
    current: &CurrentSession,
) -> Result<SignInOutcome, Failure> {
    let now = app.clock.now();
    let credentials = app.store.credentials(&attempt.login).await?;
    let user = credentials.as_ref().map(|credentials| credentials.user);
    let doors =
        Doors::of_sign_in(app, &attempt.login, user, &attempt.carry.device, attempt.known_device.as_ref())
            .await?;
    if let Admission::Throttled { retry_at } = doors.knock(app, now).await? {
        app.metrics.sign_ins.throttled.inc();
        info!(address = %attempt.carry.device.address, "sign-in throttled");
        return Ok(SignInOutcome::Throttled { retry_at });
    }
    let Some(verified) = verify(app, credentials, &attempt.password, &doors).await? else {
        record_failure(app, user, None, &attempt.carry.device).await?;
        return Ok(SignInOutcome::Refused);
    };
    doors.succeed(app).await?;
    // A mark that no cookie carries away would never be seen again.
    let marks_device = attempt.carry.by.transport() == Transport::Cookie && !doors.is_known_device();
    match open(app, verified.user, verified.version, Method::Password, attempt.carry, current).await? {
        Opening::Opened(mut signed_in) => {
            if marks_device {
                let presented = attempt.known_device;
                signed_in.device_token = know_device(app, verified.user, presented, now).await;
            }
            app.metrics.sign_ins.succeeded.inc();
            Ok(SignInOutcome::SignedIn(*signed_in))
        }
        Opening::LimitReached => {
            app.metrics.sign_ins.limit_reached.inc();
            Ok(SignInOutcome::LimitReached)
        }
        Opening::Overtaken => {
            app.metrics.sign_ins.failed.inc();
            Ok(SignInOutcome::Refused)
        }
    }
}

/// A password that was verified.
struct VerifiedUser {
    user: UserId,
    version: CredentialVersion,
}

/// Verifies a password. If it is right and its hash has other parameters than are set now, it is hashed anew.
async fn verify(
    app: &App,
    credentials: Option<Credentials>,
    password: &Secret<String>,
    doors: &Doors,
) -> Result<Option<VerifiedUser>, Failure> {
    let hash = credentials.as_ref().map(|credentials| credentials.password.clone());
    let verified = match app.passwords.verify(password, hash).await {
        Ok(verified) => verified,
        Err(Busy) => {
            // Nobody looked at the password, so the attempt does not count.
            doors.take_back(app).await?;
            app.metrics.password_queue_busy.inc();
            return Err(Failure::Busy);
        }
    };
    let (Some(credentials), Verified::Right { rehash }) = (credentials, verified) else { return Ok(None) };
    if credentials.status != Status::Active {
        return Ok(None);
    }
    if let Some(new) = rehash {
        app.store.rehash_password(credentials.user, &credentials.password, &new).await?;
        info!(user.id = %credentials.user, "password of {} hashed anew with the parameters that are set", credentials.user);
    }
    Ok(Some(VerifiedUser { user: credentials.user, version: credentials.version }))
}

/// Notes that somebody did not prove who they are: at sign-in, or within a session.
pub async fn record_failure(
    app: &App,
    user: Option<UserId>,
    session: Option<SessionId>,
    device: &Device,
) -> Result<(), StoreError> {
    app.metrics.sign_ins.failed.inc();
    info!(address = %device.address, "sign-in failed");
    let entry = AuditEntry {
        at: app.clock.now(),
        event: AuditEvent::SignInFailed,
        user,
        session,
        address: Some(device.address),
        detail: device.in_words(),
    };
    app.store.record(&entry).await
}

/// Marks a device. The session stands already, so a store that fails here takes nothing but the mark.
///
/// A browser that is marked already keeps its mark: several people may sign in from it, and it is known to each.
pub async fn know_device(
    app: &App,
    user: UserId,
    presented: Option<Token>,
    now: Timestamp,
) -> Option<Secret<String>> {
    let token = presented.unwrap_or_else(|| Token::random(TokenKind::Device, &*app.entropy));
    match app.store.know_device(user, &token.hash(), now).await {
        Ok(()) => Some(token.write(app.checker.key())),
        Err(error) => {
            log_store_error(&error);
            None
        }
    }
}

/// What came of opening a session for a verified user.
pub enum Opening {
    /// It stands.
    Opened(Box<SignedIn>),
    /// The user has as many sessions as they may have.
    LimitReached,
    /// The credentials changed since they were verified.
    Overtaken,
}

/// Opens a session for somebody who has just proved who they are. The session that the same browser carried before is
/// ended.
pub async fn open(
    app: &App,
    user: UserId,
    version: CredentialVersion,
    method: Method,
    carry: Carry,
    current: &CurrentSession,
) -> Result<Opening, Failure> {
    let now = app.clock.now();
    let id = SessionId::new(now, &*app.entropy);
    let token = Token::random(TokenKind::Session, &*app.entropy);
    let refresh = RefreshToken::random(id, &*app.entropy);
    if app.config.session.limit.is_some() {
        // The limit counts sessions that are in use; the store has to know which are.
        app.checker.flush_these(&app.store.sessions_of(user).await?).await?;
    }
    let sign_in = SignIn {
        session: NewSession {
            id,
            token: if carry.by.transport() == Transport::Tokens { refresh.hash() } else { token.hash() },
            transport: carry.by.transport(),
            remembered: carry.remembered,
            device: carry.device,
            now,
        },
        user,
        version: Some(version),
        method,
        replaces: current.replaced_by(carry.by.transport())?,
        carry_over: CarryOver::Keys(app.config.session.carry_over.clone()),
        limit: app.config.session.limit,
        policy: app.config.session.policy,
        grant: match &carry.by {
            Carrier::Tokens(_, grant) => Some(grant.clone()),
            Carrier::Cookie | Carrier::Bearer => None,
        },
    };
    let found = match app.store.open(sign_in).await? {
        Opened::Opened(found) => found,
        Opened::LimitReached => return Ok(Opening::LimitReached),
        Opened::CredentialsChanged => return Ok(Opening::Overtaken),
    };
    let session = found.session.id;
    info!(session.id = %session, user.id = %user, "session {session} opened for user {user}");
    let Carrier::Tokens(client, grant) = &carry.by else {
        return Ok(Opening::Opened(Box::new(deliver(app, &token, found, current))));
    };
    let access = access::issue(app, client, Subject::Session(&found.session, found.as_of), grant).await?;
    let token = refresh.write(app.checker.key());
    Ok(access.map_or(Opening::Overtaken, |access| {
        Opening::Opened(Box::new(SignedIn { found, token, access: Some(access), device_token: None }))
    }))
}

/// Keeps a committed session in memory and sends its token on the way to the client.
pub fn deliver(app: &App, token: &Token, found: Found, current: &CurrentSession) -> SignedIn {
    let text = current.deliver(&app.checker, token, &found, app.clock.now());
    let token = text.expect("no handler here opens a session after its answer has left");
    SignedIn { found, token, access: None, device_token: None }
}

/// Creates the hash of a new password.
pub async fn hash_password(app: &App, password: &Secret<String>) -> Result<PasswordHash, Failure> {
    app.passwords.hash(password).await.map_err(|busy| {
        app.metrics.password_queue_busy.inc();
        Failure::from(busy)
    })
}

/// Signs out: ends what [`to_sign_out`] names.
pub async fn sign_out(
    app: &App,
    current: &CurrentSession,
    headers: &HeaderMap,
    device: &Device,
) -> Result<(), StoreError> {
    for session in to_sign_out(app, current, headers, true).await? {
        end(app, Selector::Session { session }, Cause::SignedOut, Some(device.clone())).await?;
    }
    current.remove_cookie();
    Ok(())
}

/// The sessions that end when the one who asks signs out: the session of the request. If that was refused here, because it is bound to
/// another place or came in company, whatever good sessions the request carries end all the same: ending is safe from anywhere. If all
/// has ended already, and `wait` says so, it is waited until that is true everywhere.
pub async fn to_sign_out(
    app: &App,
    current: &CurrentSession,
    headers: &HeaderMap,
    wait: bool,
) -> Result<Vec<SessionId>, StoreError> {
    let mut carried = match current.checked() {
        Some(checked) => vec![checked.session.id],
        None => carried(app, headers).await?,
    };
    // A refresh token that was used before would end its session, too.
    let refreshing = app.refresh_cookie.values(headers);
    carried.extend(
        refreshing
            .filter_map(|text| RefreshToken::parse(text, app.checker.key()))
            .map(|token| token.session()),
    );
    carried.dedup();
    let has_ended = matches!(current.state(), SessionState::Refused(Refusal::Revoked | Refusal::Unknown));
    if carried.is_empty() && has_ended && wait {
        app.store.until_acknowledged().await?;
    }
    Ok(carried)
}

/// The sessions whose tokens a request carries, wherever it comes from and whatever time it is. An access token may be over that its
/// session outlives, and so may a session by a clock that is wrong: who signs out is told that it has ended.
async fn carried(app: &App, headers: &HeaderMap) -> Result<Vec<SessionId>, StoreError> {
    let tokens = session_tokens(&app.session_cookie, app.checker.key(), headers);
    let mut sessions = app.checker.carried_by(tokens).await?;
    let bearers = headers.get_all(header::AUTHORIZATION).iter().filter_map(bearer);
    for text in app.access_cookie.values(headers).chain(bearers) {
        // One that is for less than the session must not end it.
        if let Ok(token) = app.verifier.verify_whenever(text)
            && own_scope().is_within(&token.claims.scope)
        {
            sessions.extend(token.claims.bearing().session);
        }
    }
    Ok(sessions)
}

/// Ends what `selector` selects and says how many sessions that were. No checker accepts them any more.
pub async fn end(
    app: &App,
    selector: Selector,
    cause: Cause,
    device: Option<Device>,
) -> Result<Revoked, StoreError> {
    end_and_wait(app, selector, cause, device, Wait::Checkers).await
}

/// The same, but that it waits for whom `wait` says.
pub async fn end_and_wait(
    app: &App,
    selector: Selector,
    cause: Cause,
    device: Option<Device>,
    wait: Wait,
) -> Result<Revoked, StoreError> {
    let revoked = app.store.revoke_and_wait(selector, cause, device, app.clock.now(), wait).await?;
    app.metrics.sessions_ended.of(cause).inc_by(revoked.ended);
    info!(log.number = revoked.number.0, "{} sessions ended: {}", revoked.ended, cause.as_str());
    Ok(revoked)
}

/// The same in a moment. If it fails, the log alone says so.
///
/// # Errors
/// If too many wait already.
pub fn end_later(
    app: &Arc<App>,
    selector: Selector,
    cause: Cause,
    device: Option<Device>,
) -> Result<(), StoreError> {
    let ending = Arc::clone(app);
    app.do_later(async move {
        if let Err(error) = end(&ending, selector, cause, device).await {
            log_store_error(&error);
            error!("an end that was taken in was not done: {selector:?}");
        }
    })
}
