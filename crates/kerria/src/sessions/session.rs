//! The session of a request, and what a handler does with it.

use std::{convert::Infallible, time::Duration};
#[cfg(feature = "testing")]
use std::{net::Ipv4Addr, sync::Arc};

#[cfg(feature = "testing")]
use axum::http::{HeaderMap, header};
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use kerria_core::{
    Cause, DataKey, DataRefused, Device, Expiry, Method, Secret, Selector, SessionId, Standing, StoreError,
    Timestamp, Token, TokenHash, TokenKind, Transport, UserId,
    store::{
        CarryOver, DataOwner, DataWrite, Found, NewSession, Opened, Overtaken, Renew, Renewal,
        SessionDetails, SignIn,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::MutexGuard;
use tracing::warn;

use super::{Denied, Sessions};
use crate::{
    Checked, CurrentSession,
    layer::{client, device, session_tokens},
};
#[cfg(feature = "testing")]
use crate::{ClientAddress, Consistency, SessionState, current::PresentedIn};

/// The session of a request, in an application that keeps its users itself.
///
/// A visitor has none until something is put into it: no cookie, and nothing in the store. Each method is done, and durable, when
/// it returns; a handler that fails afterwards, or whose client goes away, takes nothing back. The cookie is set with the
/// response, whatever it says.
#[derive(Clone, Debug)]
pub struct Session {
    current: CurrentSession,
    sessions: Sessions,
    device: Device,
    /// The session tokens of a request that was refused. Who signs out with it is to be told that their session has ended.
    carried: Vec<TokenHash>,
}

/// Why something could not be done with a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The store does not answer. Nothing is known, and nothing was changed, as far as is known.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was to be kept is not allowed. Nothing was changed.
    #[error(transparent)]
    Data(#[from] DataRefused),
    /// What is kept, or was to be kept, is not what it should be.
    #[error("session data is not what was expected: {0}")]
    Shape(#[from] serde_json::Error),
    /// The session has ended since the request was checked. Nothing was changed.
    #[error("the session has ended")]
    Ended,
    /// It takes somebody who is signed in.
    #[error("nobody is signed in")]
    NotSignedIn,
    /// The headers of the answer have left, and what was to be done takes a cookie: while a body is streamed, nobody can sign in, and
    /// a visitor gets no session. If they left while it was being done, the session that was opened has been ended again, and the one
    /// whose place it took is over, with what it held.
    #[error(
        "the headers of the answer have left, and with them the last chance to set a cookie: do this before the answer begins"
    )]
    Answered,
    /// The session is a program's, to which nobody would give the new token.
    #[error("a session that is carried as a bearer token keeps it: sign the program in anew instead")]
    KeepsItsToken,
    /// The user has as many sessions as they may have.
    #[error("this user has as many sessions as one may have: end one of them first")]
    TooManySessions,
}

fn read<T: DeserializeOwned>(json: Option<&str>) -> Result<Option<T>, SessionError> {
    Ok(json.map(serde_json::from_str).transpose()?)
}

impl Session {
    /// Who is signed in, if anybody.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        self.live()?.session.user
    }

    /// The public name of the session: safe to show and to log. A visitor has none yet.
    #[must_use]
    pub fn handle(&self) -> Option<SessionId> {
        self.live().map(|live| live.session.id)
    }

    /// Whether the user has proved who they are not longer than this ago.
    #[must_use]
    pub fn is_fresh(&self, within: Duration) -> bool {
        self.live().is_some_and(|live| {
            live.session.user.is_some() && self.now().since(live.session.authenticated_at) < within
        })
    }

    /// The value under `key`; `None` if there is none.
    ///
    /// # Errors
    /// If the store fails, the key is none, or the value is no `T`.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, SessionError> {
        let key = DataKey::parse(key)?;
        read(self.held(&key).await?.as_deref())
    }

    /// Whether there is a value under `key`.
    ///
    /// # Errors
    /// If the store fails, or the key is none.
    pub async fn contains(&self, key: &str) -> Result<bool, SessionError> {
        Ok(self.held(&DataKey::parse(key)?).await?.is_some())
    }

    /// The keys of all values, in their order.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn keys(&self) -> Result<Vec<String>, SessionError> {
        let Some(live) = self.known()? else { return Ok(Vec::new()) };
        let all = self.store().all_data(live.session.id).await?;
        Ok(all.into_iter().map(|(key, _)| key.as_str().to_owned()).collect())
    }

    /// Puts a value under `key`. Other keys are not touched, whoever writes them meanwhile. A visitor gets a session with it.
    ///
    /// # Errors
    /// If the store fails, the session has ended, or it is full.
    pub async fn insert<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<(), SessionError> {
        let (key, json) = (DataKey::parse(key)?, serde_json::to_string(value)?);
        let (owner, token, _turn) = self.owner().await?;
        let written = self.store().put_data(owner, &key, json, self.sessions.0.options.data).await?;
        self.written(written, &token).await
    }

    /// Puts under `key` what `change` makes of the value that is there, and returns it. Should somebody else have changed the value
    /// meanwhile, `change` is called again, with theirs: of two that add something to a list at once, none is lost. Where several processes
    /// share a store, the first call may already be with a value that was there before.
    ///
    /// # Errors
    /// If the store fails, the value is no `T`, the session has ended, or it is full.
    pub async fn update<T: Serialize + DeserializeOwned>(
        &self,
        key: &str,
        mut change: impl FnMut(Option<T>) -> T,
    ) -> Result<T, SessionError> {
        let key = DataKey::parse(key)?;
        let mut held = match self.known()? {
            Some(live) => self.store().data_to_change(live.session.id, &key).await?,
            None => None,
        };
        // Nobody is to hear that the value is no `T`, if there may be another one by now.
        let before = match read(held.as_deref()) {
            Ok(value) => value,
            Err(_) => {
                held = self.held(&key).await?;
                read(held.as_deref())?
            }
        };
        let mut value = change(before);
        while let Err(Overtaken { json }) = self.exchange(&key, held, serde_json::to_string(&value)?).await? {
            value = change(read(json.as_deref())?);
            held = json;
        }
        Ok(value)
    }

    /// Removes the value under `key`, and says whether there was one.
    ///
    /// # Errors
    /// If the store fails, or the key is none.
    pub async fn remove(&self, key: &str) -> Result<bool, SessionError> {
        let key = DataKey::parse(key)?;
        match self.known()? {
            Some(live) => Ok(self.store().remove_data(live.session.id, &key).await?.is_some()),
            None => Ok(false),
        }
    }

    /// Takes the value under `key` away, and returns it: of several who do so at once, one gets it. For what is shown once.
    ///
    /// # Errors
    /// If the store fails, the key is none, or the value is no `T`. Then it stays.
    pub async fn take<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, SessionError> {
        let key = DataKey::parse(key)?;
        let Some(live) = self.known()? else { return Ok(None) };
        while let Some(json) = self.store().data(live.session.id, &key).await? {
            let value = serde_json::from_str(&json)?;
            // If there is another one by now, that stays, unless it is a `T`, too.
            if self.store().take_data(live.session.id, &key, &json).await? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Removes all values. The session goes on.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn clear(&self) -> Result<(), SessionError> {
        if let Some(live) = self.known()? {
            self.store().clear_data(live.session.id).await?;
        }
        Ok(())
    }

    /// Signs a user in, whom the application has just verified. The session is a new one, with a new token; what a visitor's session
    /// held moves into it, and what another user's held does not. It is over when the browser is closed.
    ///
    /// Where passwords change, look again after this whether what was verified still holds, and [log out](Self::logout) if not: an
    /// [`end_all`](Sessions::end_all) in between has ended the sessions before, not this one.
    ///
    /// # Errors
    /// If the store fails, or the user has as many sessions as they may have. Then nobody is signed in by it.
    pub async fn login(&self, user: UserId) -> Result<(), SessionError> {
        self.open(user, Transport::Cookie, false).await.map(drop)
    }

    /// The same, for a user who wants to stay signed in on this device.
    ///
    /// # Errors
    /// As with [`login`](Self::login).
    pub async fn login_remembered(&self, user: UserId) -> Result<(), SessionError> {
        self.open(user, Transport::Cookie, true).await.map(drop)
    }

    /// The same for a program, which gets the token in the answer's body and sends it as a bearer token (RFC 6750, section 2.1).
    ///
    /// # Errors
    /// As with [`login`](Self::login).
    pub async fn login_with_token(&self, user: UserId) -> Result<Secret<String>, SessionError> {
        self.open(user, Transport::Bearer, false).await
    }

    /// The user has just proved again who they are: the session gets a new token, and is fresh.
    ///
    /// # Errors
    /// If the store fails, the session has ended, nobody is signed in, or the session is a program's.
    pub async fn confirm(&self) -> Result<(), SessionError> {
        let _turn = self.current.turn().await;
        let live = self.signed_in()?;
        self.renew(&live, Renew::Proved).await
    }

    /// Gives the session a new token, and nothing else: it is the same session, with all that it holds, and as fresh as before.
    /// Once this has returned, nobody accepts the old token any more, be it that of another request of the same browser. A
    /// sign-in does this by itself; a visitor without a session has no token yet.
    ///
    /// # Errors
    /// If the store fails, the session has ended or has another token by now, or it is a program's; and if the headers of the answer
    /// have left. If they left while this was under way, the old token is dead, and the client never gets the new one.
    pub async fn cycle_id(&self) -> Result<(), SessionError> {
        let _turn = self.current.turn().await;
        match self.still()? {
            Some(live) => self.renew(&live, Renew::Exchanged).await,
            None => Ok(()),
        }
    }

    /// Says when the session is to be over, if that is sooner than the [policy](super::SessionOptions::policy) says: at an instant, or
    /// after some time without use. Nothing makes it last longer. A sign-in begins again with the policy alone.
    ///
    /// From then on nobody accepts it. What it holds stays in the store until the policy says that it is over.
    ///
    /// Where several processes share a store, each writes down uses [every so often](super::SessionOptions::last_seen_precision). A
    /// session that is used in one of them may look unused for so long to the others, so a time without use should be longer than that.
    ///
    /// # Errors
    /// If the store fails, or there is no session: a visitor gets one with the first value.
    pub async fn set_expiry(&self, expiry: Expiry) -> Result<(), SessionError> {
        let _turn = self.current.turn().await;
        let live = self.still()?.ok_or(SessionError::Ended)?;
        self.store().set_expiry(live.session.id, expiry, self.now()).await?;
        // Another request may have changed it, too: what counts is what is there now.
        let checker = self.sessions.checker();
        let (mut found, _) = checker.session(live.session.id).await?.ok_or(SessionError::Ended)?;
        found.session.last_seen_at = found.session.last_seen_at.max(live.session.last_seen_at);
        checker.keep(&live.token, &found);
        self.current.becomes(Some(checker.as_checked(live.token, &found)));
        Ok(())
    }

    /// Ends the session, with all that it holds, and removes its cookie. Once this has returned, nobody accepts it any more. A visitor
    /// may call it, too, and so may a request that was refused: whatever its tokens carry ends.
    ///
    /// # Errors
    /// If the store fails. Then it is not known whether the session has ended.
    pub async fn logout(&self) -> Result<(), SessionError> {
        let _turn = self.current.turn().await;
        let to_end = match self.current.live()? {
            Some(live) => vec![live.session.id],
            None => self.sessions.checker().carried_by(self.carried.iter().copied()).await?,
        };
        if to_end.is_empty() && !self.carried.is_empty() {
            // It has ended already: here, but perhaps not yet for everybody.
            self.store().until_acknowledged().await?;
        }
        for session in to_end {
            self.end(Selector::Session { session }, Cause::SignedOut).await?;
        }
        self.is_over();
        Ok(())
    }

    /// The same as [`logout`](Self::logout), by the name that it has in tower-sessions and in Django: no data without its session.
    /// What is written after it begins a new one.
    ///
    /// # Errors
    /// As with [`logout`](Self::logout).
    pub async fn flush(&self) -> Result<(), SessionError> {
        self.logout().await
    }

    /// Ends all other sessions of the user, and says how many.
    ///
    /// # Errors
    /// If the store fails, or nobody is signed in.
    pub async fn logout_others(&self) -> Result<u64, SessionError> {
        let live = self.signed_in()?;
        let user = live.session.user.ok_or(SessionError::NotSignedIn)?;
        let others = Selector::UserExcept { user, except: live.session.id };
        self.end(others, Cause::EndedByUser).await
    }

    /// Ends all sessions of the user, this one included, and says how many.
    ///
    /// # Errors
    /// If the store fails, or nobody is signed in.
    pub async fn logout_everywhere(&self) -> Result<u64, SessionError> {
        let _turn = self.current.turn().await;
        let user = self.signed_in()?.session.user.ok_or(SessionError::NotSignedIn)?;
        let ended = self.end(Selector::User { user }, Cause::EndedByUser).await?;
        self.is_over();
        Ok(ended)
    }

    /// All sessions of the user that still count, the last used first. Of these, [`handle`](Self::handle) is the present one.
    ///
    /// # Errors
    /// If the store fails, or nobody is signed in.
    pub async fn list(&self) -> Result<Vec<SessionDetails>, SessionError> {
        let user = self.signed_in()?.session.user.ok_or(SessionError::NotSignedIn)?;
        let (policy, now) = (self.sessions.checker().policy(), self.now());
        let mut sessions = self.sessions.of(user).await?;
        sessions.retain(|details| matches!(policy.standing(&details.session, now), Standing::Active { .. }));
        Ok(sessions)
    }

    /// Ends one of the user's sessions, and says whether there was one: nobody ends those of others.
    ///
    /// # Errors
    /// If the store fails, or nobody is signed in.
    pub async fn end_one(&self, session: SessionId) -> Result<bool, SessionError> {
        let _turn = self.current.turn().await;
        let live = self.signed_in()?;
        let user = live.session.user.ok_or(SessionError::NotSignedIn)?;
        let theirs = self.store().sessions_of(user).await?;
        if !theirs.iter().any(|details| details.session.id == session) {
            return Ok(false);
        }
        let ended = self.end(Selector::Session { session }, Cause::EndedByUser).await?;
        if session == live.session.id {
            self.is_over();
        }
        Ok(ended > 0)
    }

    /// Completes when the session is ended, by whomever: for streams and WebSockets, which have to stop then. Without a session it
    /// completes at once. (An expiry is no end in this sense: nothing happens then.)
    pub async fn ended(&self) {
        self.current.ended().await;
    }

    /// What is done with the sessions of everybody.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    async fn open(
        &self,
        user: UserId,
        transport: Transport,
        remembered: bool,
    ) -> Result<Secret<String>, SessionError> {
        if transport == Transport::Cookie {
            self.can_set_cookie()?;
        }
        let options = &self.sessions.0.options;
        let token = self.new_token();
        if options.limit.is_some() {
            // The limit counts sessions that are in use; the store has to know which are.
            self.sessions.checker().flush_these(&self.store().sessions_of(user).await?).await?;
        }
        let _turn = self.current.turn().await;
        let replaces = self.current.replaced_by(transport)?;
        let sign_in = SignIn {
            session: self.new_session(&token, transport, remembered),
            user,
            version: None,
            method: Method::Application,
            replaces,
            carry_over: CarryOver::Everything,
            limit: options.limit,
            policy: options.policy,
            grant: None,
        };
        match self.store().open(sign_in).await? {
            Opened::Opened(found) => {
                if replaces.is_some() {
                    self.sessions.checker().forget_unless_applied(found.as_of);
                }
                self.is_opened(&token, &found).await
            }
            Opened::LimitReached => Err(SessionError::TooManySessions),
            Opened::CredentialsChanged => Err(SessionError::Ended),
        }
    }

    async fn renew(&self, live: &Checked, why: Renew) -> Result<(), SessionError> {
        if live.session.transport != Transport::Cookie {
            return Err(SessionError::KeepsItsToken);
        }
        self.can_set_cookie()?;
        let token = self.new_token();
        match self.store().renew(&live.token, &token.hash(), why, self.now()).await? {
            Renewal::Renewed(found) => {
                self.sessions.checker().forget_unless_applied(found.as_of);
                self.becomes(&token, &found).map(drop).ok_or(SessionError::Answered)
            }
            Renewal::Gone => Err(SessionError::Ended),
        }
    }

    async fn end(&self, selector: Selector, cause: Cause) -> Result<u64, SessionError> {
        let revoked = self.store().revoke(selector, cause, Some(self.device.clone()), self.now()).await?;
        self.sessions.checker().forget_unless_applied(revoked.number);
        Ok(revoked.ended)
    }

    async fn held(&self, key: &DataKey) -> Result<Option<String>, SessionError> {
        match self.known()? {
            Some(live) => Ok(self.store().data(live.session.id, key).await?),
            None => Ok(None),
        }
    }

    async fn exchange(
        &self,
        key: &DataKey,
        held: Option<String>,
        json: String,
    ) -> Result<Result<(), Overtaken>, SessionError> {
        let (owner, token, _turn) = self.owner().await?;
        let changed = self.store().change_data(owner, key, held, json, self.sessions.0.options.data).await?;
        Ok(match changed {
            Ok(written) => Ok(self.written(written, &token).await?),
            Err(overtaken) => Err(overtaken),
        })
    }

    /// Whose data is written: this session's, or that of one that is opened for it, with this token. Then others wait for it.
    async fn owner(&self) -> Result<(DataOwner, Token, Option<MutexGuard<'_, ()>>), SessionError> {
        let (mut live, mut turn) = (self.still()?, None);
        if live.is_none() {
            turn = Some(self.current.turn().await);
            live = self.still()?;
        }
        let token = self.new_token();
        let owner = match live {
            Some(live) => DataOwner::Session(live.session.id),
            None => {
                self.can_set_cookie()?;
                DataOwner::Visitor(self.new_session(&token, Transport::Cookie, false))
            }
        };
        Ok((owner, token, turn))
    }

    async fn written(&self, written: DataWrite, token: &Token) -> Result<(), SessionError> {
        match written {
            DataWrite::Written { opened: Some(found), .. } => self.is_opened(token, &found).await.map(drop),
            DataWrite::Written { opened: None, .. } => Ok(()),
            DataWrite::Refused(refused) => Err(refused.into()),
            DataWrite::Gone => Err(SessionError::Ended),
        }
    }

    /// The session of this request is this one from now on, which was just opened. Should the headers of the answer have left
    /// meanwhile, it ends: nobody will ever have its token. Returns the token in writing.
    async fn is_opened(&self, token: &Token, found: &Found) -> Result<Secret<String>, SessionError> {
        match self.becomes(token, found) {
            Some(text) => Ok(text),
            None => {
                self.end(Selector::Session { session: found.session.id }, Cause::SignedOut).await?;
                Err(SessionError::Answered)
            }
        }
    }

    /// The session of this request is this one from now on. Returns its token in writing, unless it does not reach the client.
    fn becomes(&self, token: &Token, found: &Found) -> Option<Secret<String>> {
        let checker = self.sessions.checker();
        let text = self.current.deliver(checker, token, found, self.now())?;
        self.current.becomes(Some(checker.as_checked(token.hash(), found)));
        Some(text)
    }

    fn is_over(&self) {
        self.current.becomes(None);
        self.current.remove_cookie();
    }

    fn can_set_cookie(&self) -> Result<(), SessionError> {
        if self.current.has_answered() { Err(SessionError::Answered) } else { Ok(()) }
    }

    fn new_token(&self) -> Token {
        Token::random(TokenKind::Session, &*self.sessions.0.options.entropy)
    }

    fn new_session(&self, token: &Token, transport: Transport, remembered: bool) -> NewSession {
        let now = self.now();
        NewSession {
            id: SessionId::new(now, &*self.sessions.0.options.entropy),
            token: token.hash(),
            transport,
            remembered,
            device: self.device.clone(),
            now,
        }
    }

    fn live(&self) -> Option<Checked> {
        self.known().ok().flatten()
    }

    /// The session, if there is one that has not ended; nobody knows while the store does not answer.
    fn known(&self) -> Result<Option<Checked>, StoreError> {
        self.current.standing()
    }

    /// The same for who changes something, which is not done in another session than the one that the request came in.
    fn still(&self) -> Result<Option<Checked>, SessionError> {
        match self.known()? {
            None if self.current.live()?.is_some() => Err(SessionError::Ended),
            known => Ok(known),
        }
    }

    fn signed_in(&self) -> Result<Checked, SessionError> {
        self.still()?.filter(|live| live.session.user.is_some()).ok_or(SessionError::NotSignedIn)
    }

    fn store(&self) -> &dyn kerria_core::Store {
        &*self.sessions.0.store
    }

    fn now(&self) -> Timestamp {
        self.sessions.0.options.clock.now()
    }
}

#[cfg(feature = "testing")]
impl Sessions {
    /// Opens a session outside of any request, and returns the value of the header that carries it.
    pub(crate) async fn open_outside(
        &self,
        user: UserId,
        transport: Transport,
    ) -> Result<header::HeaderValue, SessionError> {
        let nowhere = ClientAddress(Ipv4Addr::UNSPECIFIED.into());
        let (now, checker) = (self.0.options.clock.now(), Some(Arc::clone(self.checker())));
        let nothing = CurrentSession::new(
            SessionState::None,
            PresentedIn::Nothing,
            now,
            Consistency::default(),
            checker,
        );
        let session = Session {
            current: nothing,
            sessions: self.clone(),
            device: device(&HeaderMap::new(), nowhere),
            carried: Vec::new(),
        };
        let token = session.open(user, transport, false).await?;
        let text = match transport {
            Transport::Cookie => format!("{}={}", self.0.cookie.name(), token.expose()),
            Transport::Bearer | Transport::Tokens => format!("Bearer {}", token.expose()),
        };
        Ok(text.try_into().expect("a token, and the name of a cookie, can stand in a header"))
    }
}

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = MissingLayer;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingLayer> {
        let sessions = parts.extensions.get::<Sessions>().cloned().ok_or(MissingLayer)?;
        let current = parts.extensions.get::<CurrentSession>().cloned().ok_or(MissingLayer)?;
        let device = device(&parts.headers, client(&parts.extensions));
        let carried = match current.checked() {
            Some(_) => Vec::new(),
            None => session_tokens(&sessions.0.cookie, sessions.checker().key(), &parts.headers).collect(),
        };
        Ok(Self { current, sessions, device, carried })
    }
}

/// No layer has looked for a session, or one that opens none: the application is put together wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no session layer is around this route that can do this: add .layer(sessions.layer()) of `Sessions`. An application that \
     follows a server, or verifies access tokens, opens no sessions: it takes `CurrentSession` or `CurrentUser`"
)]
pub struct MissingLayer;

impl IntoResponse for MissingLayer {
    fn into_response(self) -> Response {
        tracing::error!("{self}");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

/// The status that says most of it, and the reason in a line. What the store has said goes into the log.
impl IntoResponse for SessionError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Store(error) => {
                let source = error.source.as_ref().map(ToString::to_string).unwrap_or_default();
                warn!(error.source = %source, "a session could not be used: {error}");
                return super::require::unavailable();
            }
            Self::Data(DataRefused::ValueTooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Data(_) | Self::TooManySessions | Self::KeepsItsToken => StatusCode::CONFLICT,
            Self::Shape(_) | Self::Answered => {
                warn!("a session could not be used as the application wants to: {self}");
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
            Self::Ended | Self::NotSignedIn => return Denied::NotSignedIn.into_response(),
        };
        (status, format!("{self}\n")).into_response()
    }
}

/// How an application finds a user of its own by the user of a session, for [`CurrentUser`]. `S` is the state of its router.
pub trait LoadUser<S>: Sized + Send {
    /// Why it cannot say.
    type Error: IntoResponse + Send;

    /// The user; `None` if there is none any more.
    fn load(user: UserId, state: &S) -> impl Future<Output = Result<Option<Self>, Self::Error>> + Send;
}

/// Their number alone, which the session says.
impl<S: Sync> LoadUser<S> for UserId {
    type Error = Infallible;

    async fn load(user: UserId, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(Some(user))
    }
}

/// The user who is signed in, as the application knows them.
///
/// As an extractor, it answers 401 for everybody else. `Option<CurrentUser<U>>` takes everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentUser<U>(pub U);

/// Why there is no user.
#[derive(Debug)]
pub enum UserError<E> {
    /// No layer has looked for a session.
    MissingLayer(MissingLayer),
    /// Whether somebody is signed in cannot be said, or nobody is.
    Session(SessionError),
    /// The application cannot say who the user is.
    Load(E),
}

impl<E: IntoResponse> IntoResponse for UserError<E> {
    fn into_response(self) -> Response {
        match self {
            Self::MissingLayer(missing) => missing.into_response(),
            Self::Session(error) => error.into_response(),
            Self::Load(error) => error.into_response(),
        }
    }
}

impl<S: Sync, U: LoadUser<S>> OptionalFromRequestParts<S> for CurrentUser<U> {
    type Rejection = UserError<U::Error>;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Self::Rejection> {
        let current =
            parts.extensions.get::<CurrentSession>().ok_or(UserError::MissingLayer(MissingLayer))?;
        let live = current.standing().map_err(|error| UserError::Session(error.into()))?;
        let Some(user) = live.and_then(|live| live.session.user) else { return Ok(None) };
        Ok(U::load(user, state).await.map_err(UserError::Load)?.map(Self))
    }
}

impl<S: Sync, U: LoadUser<S>> FromRequestParts<S> for CurrentUser<U> {
    type Rejection = UserError<U::Error>;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let user = <Self as OptionalFromRequestParts<S>>::from_request_parts(parts, state).await?;
        user.ok_or(UserError::Session(SessionError::NotSignedIn))
    }
}
