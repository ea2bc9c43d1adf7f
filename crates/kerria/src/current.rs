//! What a handler knows of the session of its request, and what it can do about the cookie.

use std::{
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::extract::FromRequestParts;
use http::{HeaderValue, request::Parts};
use kerria_core::{Secret, SessionId, StoreError, Timestamp, Token, Transport, UserId, store::Found};

use crate::{
    checker::{Check, Checked, Checker, Refusal},
    consistency::Consistency,
    cookie::SecretCookie,
};

/// The session of a request, as the [`SessionLayer`](crate::SessionLayer) found it.
///
/// An extractor that never fails: whether a request needs a session is for the handler to say.
#[derive(Clone)]
pub struct CurrentSession(Arc<Inner>);

struct Inner {
    state: SessionState,
    presented_in: PresentedIn,
    now: Timestamp,
    /// On what that rests.
    consistency: Consistency,
    /// Who hears of the end of sessions.
    checker: Option<Arc<Checker>>,
    answer: Mutex<Answer>,
    /// What became of the session since.
    live: Mutex<Live>,
    /// Held by who changes what it is.
    changing: tokio::sync::Mutex<()>,
}

/// In what a session was presented, whatever it is carried in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PresentedIn {
    /// In nothing, or in what could not be told.
    Nothing,
    /// In its own token, in the session cookie.
    Cookie,
    /// In its own token, in the `Authorization` header.
    Bearer,
    /// In an access token that was issued in it.
    AccessToken { by_cookie: bool },
}

/// What was found of a request's session.
#[derive(Debug)]
pub enum SessionState {
    /// No token was presented.
    None,
    /// A token was presented that carries no good session.
    Refused(Refusal),
    /// The session.
    Good(Checked),
    /// It could not be found out, because the store failed.
    Unknown(StoreError),
}

impl From<Check> for SessionState {
    fn from(check: Check) -> Self {
        match check {
            Check::Good(checked) => Self::Good(checked),
            Check::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

/// What became of a session during its request.
#[derive(Clone, Debug, Default)]
enum Live {
    /// It is as it was found.
    #[default]
    Found,
    /// It is this one now, or none.
    Became(Option<Checked>),
}

/// What the answer to a request says of the session cookie.
#[derive(Debug, Default)]
struct Answer {
    change: Option<CookieChange>,
    /// Whether its headers are on the way: nothing more can be said.
    has_left: bool,
}

/// What becomes of the session cookie.
#[derive(Debug)]
enum CookieChange {
    Set { token: Secret<String>, max_age: Option<Duration> },
    Remove,
}

impl CurrentSession {
    pub(crate) fn new(
        state: SessionState,
        presented_in: PresentedIn,
        now: Timestamp,
        consistency: Consistency,
        checker: Option<Arc<Checker>>,
    ) -> Self {
        let (answer, live, changing) = Default::default();
        Self(Arc::new(Inner { state, presented_in, now, consistency, checker, answer, live, changing }))
    }

    /// Whether the store was asked for it.
    pub(crate) fn is_strict(&self) -> bool {
        self.0.consistency == Consistency::Strict
    }

    /// What was found.
    #[must_use]
    pub fn state(&self) -> &SessionState {
        &self.0.state
    }

    /// The session, if there is a good one; a signed-in user's or an anonymous one.
    #[must_use]
    pub fn checked(&self) -> Option<&Checked> {
        match &self.0.state {
            SessionState::Good(checked) => Some(checked),
            _ => None,
        }
    }

    /// Who is signed in, if anybody. Nobody either while it cannot be said: then the [state](Self::state) is
    /// [`Unknown`](SessionState::Unknown).
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        self.standing().ok().flatten()?.session.user
    }

    /// Completes when the session is ended, by whomever: for streams and WebSockets, which have to stop then. Without a session it
    /// completes at once, and never where nobody is asked. (An expiry is no end in this sense: nothing happens then.)
    pub async fn ended(&self) {
        let Some(live) = self.standing().ok().flatten() else { return };
        match &self.0.checker {
            Some(checker) => drop(checker.ended(&live).await),
            None => std::future::pending().await,
        }
    }

    /// Whether the browser attached the session's token by itself, as it does on requests that a foreign page makes it
    /// send.
    #[must_use]
    pub fn is_by_cookie(&self) -> bool {
        let by_cookie =
            matches!(self.0.presented_in, PresentedIn::Cookie | PresentedIn::AccessToken { by_cookie: true });
        by_cookie && self.checked().is_some()
    }

    /// Whether the session was presented in its own token, not in an access token of it, which may be in other hands and
    /// mean less. A session that is carried in a cookie or as a bearer token can have access tokens, too.
    #[must_use]
    pub fn is_in_person(&self) -> bool {
        matches!(self.0.presented_in, PresentedIn::Cookie | PresentedIn::Bearer) && self.checked().is_some()
    }

    /// The instant at which this request was checked.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.now
    }

    /// Has the response set the session cookie, and says whether it does: not once its headers have left. To be called once the
    /// session is committed; of several calls in one request the last one counts.
    #[must_use = "without its cookie, nobody has the session"]
    pub fn set_cookie(&self, token: Secret<String>, max_age: Option<Duration>) -> bool {
        self.change(CookieChange::Set { token, max_age })
    }

    /// Sends a session that was just opened, or has got this new token, on the way to its client: it is kept in memory, so that its
    /// first use is quick too, and the response sets its cookie, if it is carried in one. Returns the token in writing; `None` if it
    /// does not reach the client, because the headers of the response have left.
    pub fn deliver(
        &self,
        checker: &Checker,
        token: &Token,
        found: &Found,
        now: Timestamp,
    ) -> Option<Secret<String>> {
        let text = token.write(checker.key());
        if found.session.transport == Transport::Cookie
            && !self.set_cookie(text.clone(), checker.cookie_max_age(&found.session, now))
        {
            return None;
        }
        checker.keep(&token.hash(), found);
        Some(text)
    }

    /// Has the response remove the session cookie, unless its headers have left. A session that came in another way has none to
    /// remove, and a cookie beside it is another session's: then the response sets none.
    pub fn remove_cookie(&self) {
        if self.checked().is_none() || self.0.presented_in == PresentedIn::Cookie {
            self.change(CookieChange::Remove);
        } else {
            self.answer().change = None;
        }
    }

    /// The session of this request now: as it was found, or what became of it since. Whether somebody has ended it meanwhile is
    /// another question. Fails if it could not be found out.
    pub(crate) fn live(&self) -> Result<Option<Checked>, StoreError> {
        match (&*self.0.live.lock().unwrap_or_else(PoisonError::into_inner), &self.0.state) {
            (Live::Became(now), _) => Ok(now.clone()),
            (Live::Found, SessionState::Unknown(error)) => Err(error.trouble.into()),
            (Live::Found, _) => Ok(self.checked().cloned()),
        }
    }

    /// The same, unless somebody has ended it while the request was under way. What was in time when it was checked stays so, however
    /// long the request takes.
    pub(crate) fn standing(&self) -> Result<Option<Checked>, StoreError> {
        let stands = |live: &Checked| {
            self.0.checker.as_ref().is_none_or(|checker| checker.still_stands(live, self.now()))
        };
        Ok(self.live()?.filter(stands))
    }

    /// The session whose place one takes that is opened now, and carried so. Only a cookie takes the place of another in the same
    /// browser. A session that came in an access token stays: that may be in other hands.
    ///
    /// # Errors
    /// If it could not be found out.
    pub fn replaced_by(&self, transport: Transport) -> Result<Option<SessionId>, StoreError> {
        if transport != Transport::Cookie {
            return Ok(None);
        }
        let Some(live) = self.standing()? else { return Ok(None) };
        let was_found = self.checked().is_some_and(|found| found.session.id == live.session.id);
        let by_cookie = !was_found || self.0.presented_in == PresentedIn::Cookie;
        Ok((by_cookie && live.session.transport == Transport::Cookie).then_some(live.session.id))
    }

    /// From now on it is another session, or none.
    pub(crate) fn becomes(&self, session: Option<Checked>) {
        *self.0.live.lock().unwrap_or_else(PoisonError::into_inner) = Live::Became(session);
    }

    /// The turn to change what the session of this request is: of several who do so at once, each finds what the one before has left.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.changing.lock().await
    }

    /// Whether a handler has decided what becomes of the session cookie.
    pub(crate) fn changes_cookie(&self) -> bool {
        self.answer().change.is_some()
    }

    /// Whether the headers of the answer have left, so that a cookie does not reach the client any more.
    pub(crate) fn has_answered(&self) -> bool {
        self.answer().has_left
    }

    /// Says whether the answer still tells of it.
    fn change(&self, change: CookieChange) -> bool {
        let mut answer = self.answer();
        if !answer.has_left {
            answer.change = Some(change);
        }
        !answer.has_left
    }

    /// What the answer says of the cookie, which leaves now.
    pub(crate) fn take_header(&self, cookie: &SecretCookie) -> Option<HeaderValue> {
        let change = {
            let mut answer = self.answer();
            answer.has_left = true;
            answer.change.take()?
        };
        Some(match change {
            CookieChange::Set { token, max_age } => cookie.set(&token, max_age),
            CookieChange::Remove => cookie.remove(),
        })
    }

    fn answer(&self) -> MutexGuard<'_, Answer> {
        self.0.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CurrentSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CurrentSession").field(&self.0.state).finish()
    }
}

impl<S: Sync> FromRequestParts<S> for CurrentSession {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let current = parts.extensions.get::<Self>().cloned();
        Ok(current.unwrap_or_else(|| {
            Self::new(
                SessionState::None,
                PresentedIn::Nothing,
                Timestamp::EPOCH,
                Consistency::default(),
                None,
            )
        }))
    }
}

#[cfg(test)]
mod tests {
    use kerria_core::{Expiry, LogNumber, Place, Session, TokenHash, TokenStep};

    use super::*;
    use crate::DisplayName;

    fn session(number: u8, transport: Transport) -> Checked {
        let id = SessionId::from_bytes([number; 16]);
        let session = Session {
            id,
            user: None,
            transport,
            remembered: false,
            opened_at: Timestamp::EPOCH,
            last_seen_at: Timestamp::EPOCH,
            authenticated_at: Timestamp::EPOCH,
            place: Place::default(),
            expiry: Expiry::BY_POLICY,
        };
        Checked {
            token: TokenHash::of_handle(id),
            session,
            user_name: DisplayName::of(None),
            as_of: LogNumber(0),
            expires_at: Timestamp::EPOCH,
            moved: false,
            token_step: TokenStep::None,
        }
    }

    #[test]
    fn a_sign_in_takes_the_place_of_what_is_in_the_cookie_and_of_nothing_else() {
        use Transport::{Bearer, Cookie, Tokens};
        let by_access_token = PresentedIn::AccessToken { by_cookie: true };
        for (carried, presented_in, opened, is_replaced) in [
            (Cookie, PresentedIn::Cookie, Cookie, true),
            (Cookie, PresentedIn::Cookie, Bearer, false),
            (Cookie, PresentedIn::Cookie, Tokens, false),
            (Bearer, PresentedIn::Bearer, Cookie, false),
            (Cookie, by_access_token, Cookie, false),
        ] {
            let found = session(1, carried);
            let (state, now) = (SessionState::Good(found.clone()), Timestamp::EPOCH);
            let current = CurrentSession::new(state, presented_in, now, Consistency::Leased, None);
            let replaced = current.replaced_by(opened).unwrap();
            assert_eq!(replaced.is_some(), is_replaced, "{carried:?} in {presented_in:?}, {opened:?}");
            // What it knows of it now changes nothing.
            current.becomes(Some(found));
            assert_eq!(current.replaced_by(opened).unwrap(), replaced);
            // The cookie of one that was opened meanwhile leaves with the same answer.
            let another = session(2, Cookie);
            current.becomes(Some(another.clone()));
            assert_eq!(current.replaced_by(Cookie).unwrap(), Some(another.session.id));
        }
    }
}
