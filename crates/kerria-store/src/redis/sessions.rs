//! Sessions: opening, finding, using and listing them.

use kerria_core::{
    Cause, Expiry, Grant, LogEvent, Method, Selector, SessionId, SessionPolicy, Standing, Timestamp,
    TokenHash, UserId,
    store::{
        AtLimit, CarryOver, Found, NewSession, Renew, Renewal, SessionDetails, SessionLimit, SignIn,
        StoreError, Trouble,
    },
};

use super::{
    Entered, RedisSessions,
    record::Kept,
    session_data::STAMP,
    step::{Commit, Question, Reading, digits},
};
use crate::sql::Result;

/// Sessions that are read, or touched, at once.
const PAGE: u32 = 500;

impl RedisSessions {
    /// Opens a session, ends the one that it replaces, and keeps the limit. Does not look at credentials or clients.
    pub(crate) async fn open(&self, sign_in: &SignIn) -> Result<Entered> {
        let (entered, committed) =
            self.step(&[sign_in.user.as_bytes()], || self.try_to_open(sign_in)).await?;
        if let Some(committed) = committed {
            self.acknowledge(&committed).await;
        }
        Ok(entered)
    }

    async fn try_to_open(
        &self,
        sign_in: &SignIn,
    ) -> Result<Option<(Entered, Option<super::step::Committed>)>> {
        let mut question = Question::default();
        if let Some(replaced) = sign_in.replaces {
            question = question.session(replaced).data(replaced);
        }
        if sign_in.limit.is_some() {
            question = question.user(sign_in.user);
        }
        let mut reading = self.read(question).await?;
        let mut commit = reading.commit();
        let kept = Kept::new(&sign_in.session, Some((sign_in.user, sign_in.method)), sign_in.grant.as_ref());
        let mut ended = Vec::new();
        let carried_over = match sign_in.replaces {
            Some(replaced) => replaced_by(&mut commit, &mut reading, replaced, sign_in, &mut ended)?,
            None => Vec::new(),
        };
        if sign_in.limit.is_some() {
            let sessions = reading.sessions()?;
            only_if_these_are_all(&mut commit, sign_in.user, &sessions);
            let Some(over_limit) = make_room(&sessions, sign_in) else {
                return Ok(Some((Entered::LimitReached, None)));
            };
            ended.extend(over_limit.into_iter().map(|oldest| (oldest, Cause::Limit)));
        }
        insert(&mut commit, &kept)?;
        for (key, json) in carried_over {
            let data = commit.key("d:", kept.session.id.as_bytes());
            commit.order(&[b"HSET", &data, &key, &json]);
        }
        for (session, cause) in &ended {
            Self::end_one(&mut commit, *session, *cause, sign_in.session.now)?;
        }
        Ok(self.commit(&commit).await?.map(|committed| {
            let found = kept.found(committed.head);
            (Entered::Entered { found, ended }, Some(committed))
        }))
    }

    /// The session that this session token carries, as its present token or as the one before.
    pub(crate) async fn find(&self, token: &TokenHash) -> Result<Option<Found>> {
        let mut reading = self.ask(Question::default().token(token)).await?;
        let head = reading.head;
        Ok(reading.session()?.and_then(|kept| kept.found_by(token, head)))
    }

    /// Notes when sessions were last used. A later time is never replaced by an earlier one; a session that is gone stays gone.
    pub(crate) async fn touch(&self, seen: Vec<(SessionId, Timestamp)>) -> Result<()> {
        for some in seen.chunks(PAGE as usize) {
            let mut commit = Commit::default();
            for (session, at) in some {
                commit.touch(*session, *at);
            }
            self.commit_always(&commit).await?;
        }
        Ok(())
    }

    /// Gives a session a new token.
    pub(crate) async fn renew(
        &self,
        old: &TokenHash,
        new: &TokenHash,
        why: Renew,
        now: Timestamp,
    ) -> Result<Renewal> {
        let renewed = self
            .step(&[old.as_bytes()], || async {
                let mut reading = self.read(Question::default().token(old)).await?;
                let Some(mut kept) = reading.session()?.filter(|kept| kept.is_carried_by(old)) else {
                    return Ok(Some(None));
                };
                let mut commit = reading.commit();
                give_new_token(&mut commit, &mut kept, new, why, now)?;
                Ok(self.commit(&commit).await?.map(|committed| Some((kept, committed))))
            })
            .await?;
        let Some((kept, committed)) = renewed else { return Ok(Renewal::Gone) };
        self.acknowledge(&committed).await;
        Ok(Renewal::Renewed(kept.found(committed.head)))
    }

    /// Says when a session is to be over, if the policy does not end it sooner.
    pub(crate) async fn set_expiry(
        &self,
        session: SessionId,
        expiry: Expiry,
        now: Timestamp,
    ) -> Result<bool> {
        let committed = self
            .step(&[session.as_bytes()], || async {
                let mut reading = self.read(Question::default().session(session)).await?;
                let Some(mut kept) = reading.session()? else { return Ok(Some(None)) };
                let mut commit = reading.commit();
                commit.only_if_unchanged(&kept)?;
                kept.session.expiry = expiry;
                commit.write(&kept)?;
                commit.log(Selector::Session { session }, LogEvent::Changed, now)?;
                Ok(self.commit(&commit).await?.map(Some))
            })
            .await?;
        let Some(committed) = committed else { return Ok(false) };
        self.acknowledge(&committed).await;
        Ok(true)
    }

    /// All sessions of a user that were not ended, expired ones included, the last used first.
    pub(crate) async fn sessions_of(&self, user: UserId) -> Result<Vec<SessionDetails>> {
        let mut sessions = self.ask(Question::default().user(user)).await?.sessions()?;
        let last_used = |kept: &Kept| std::cmp::Reverse((kept.session.last_seen_at, kept.session.id));
        sessions.sort_unstable_by_key(last_used);
        Ok(sessions.into_iter().map(Kept::details).collect())
    }

    /// Up to `limit` sessions whose handles come after `after`, in their order.
    pub(crate) async fn all_sessions(
        &self,
        after: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<SessionDetails>> {
        let (mut after, mut found) = (after, Vec::new());
        while found.len() < limit as usize {
            let some = PAGE.min(limit - u32::try_from(found.len()).unwrap_or(limit));
            let page = self.ask(Question::default().page(after, some)).await?.sessions()?;
            let is_last = page.len() < some as usize;
            found.extend(page.into_iter().map(Kept::details));
            after = found.last().map(|details| details.session.id);
            if is_last {
                break;
            }
        }
        Ok(found)
    }

    /// The session with this handle and, if it is carried in tokens, what it was opened for.
    pub(crate) async fn session(&self, session: SessionId) -> Result<Option<(Found, Option<Grant>)>> {
        let mut reading = self.ask(Question::default().session(session)).await?;
        let head = reading.head;
        Ok(reading.session()?.map(|kept| (kept.found_by_handle(head), kept.grant)))
    }

    /// Whether this token carries a session of that user.
    pub(crate) async fn carries(&self, token: &TokenHash, user: UserId) -> Result<bool> {
        let kept = self.ask(Question::default().token(token)).await?.session()?;
        Ok(kept.is_some_and(|kept| kept.is_carried_by(token) && kept.session.user == Some(user)))
    }

    /// Removes up to `limit` sessions that `policy` says are over at `now`, and returns how many. No entry in the log: what time ends,
    /// every checker sees by itself.
    pub(crate) async fn sweep_sessions(
        &self,
        policy: SessionPolicy,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64> {
        let mut swept = 0;
        while swept < u64::from(limit) {
            let some = u64::from(limit - u32::try_from(swept).unwrap_or(limit)).min(u64::from(PAGE));
            let mut commit = Commit::default();
            for (remembered, lifetimes) in [("0", policy.ordinary), ("1", policy.remembered)] {
                // A session that was last seen, or opened, at this instant or before is over.
                for (list, bound) in [("seen:", now - lifetimes.idle), ("opened:", now - lifetimes.absolute)]
                {
                    let list = [list, remembered].concat();
                    commit.order(&[
                        b"sweep_sessions",
                        list.as_bytes(),
                        &digits(bound),
                        some.to_string().as_bytes(),
                    ]);
                }
            }
            let removed = self.commit_always(&commit).await?.removed;
            swept += removed;
            if removed < some {
                break;
            }
        }
        Ok(swept)
    }
}

/// Ends the session that is replaced, if it is there, and returns the data that may survive. Nothing of another user does.
fn replaced_by(
    commit: &mut Commit,
    reading: &mut Reading,
    replaced: SessionId,
    sign_in: &SignIn,
    ended: &mut Vec<(SessionId, Cause)>,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let (kept, data) = (reading.session()?, reading.next::<Vec<(Vec<u8>, Vec<u8>)>>()?);
    let Some(kept) = kept else {
        let key = commit.key("s:", replaced.as_bytes());
        commit.only_if_free(&key);
        return Ok(Vec::new());
    };
    commit.only_if_unchanged(&kept)?;
    ended.push((replaced, Cause::Replaced));
    if kept.session.user.is_some_and(|user| user != sign_in.user) {
        return Ok(Vec::new());
    }
    let hash = commit.key("d:", replaced.as_bytes());
    if sign_in.carry_over == CarryOver::Everything {
        let stamp = data.iter().find(|(key, _)| key == STAMP).map(|(_, stamp)| &stamp[..]);
        commit.only_if(stamp, &[b"HGET", &hash, STAMP]);
    }
    let moves = |(key, _): &(Vec<u8>, Vec<u8>)| {
        key != STAMP && std::str::from_utf8(key).is_ok_and(|key| sign_in.carry_over.takes(key))
    };
    let carried_over: Vec<_> = data.into_iter().filter(moves).collect();
    for (key, json) in &carried_over {
        commit.only_if(Some(json), &[b"HGET", &hash, key]);
    }
    Ok(carried_over)
}

/// Only if the user has these sessions still, and no others.
fn only_if_these_are_all(commit: &mut Commit, user: UserId, sessions: &[Kept]) {
    let mut handles: Vec<_> = sessions.iter().map(|kept| kept.session.id).collect();
    handles.sort_unstable();
    let expected: Vec<u8> = handles.iter().flat_map(SessionId::as_bytes).copied().collect();
    let list = commit.key("u:", user.as_bytes());
    commit.only_if(Some(&expected), &[b"ZRANGE", &list, b"0", b"-1"]);
}

/// The sessions that have to end so that one more is within the limit. `None` if it is refused.
fn make_room(sessions: &[Kept], sign_in: &SignIn) -> Option<Vec<SessionId>> {
    let SessionLimit { per_user, at_limit } = sign_in.limit?;
    let counts = |kept: &&Kept| {
        let standing = sign_in.policy.standing(&kept.session, sign_in.session.now);
        matches!(standing, Standing::Active { .. }) && sign_in.replaces != Some(kept.session.id)
    };
    let mut counting: Vec<_> = sessions.iter().filter(counts).map(|kept| &kept.session).collect();
    counting.sort_unstable_by_key(|session| (session.opened_at, session.id));
    let too_many = (counting.len() + 1).saturating_sub(per_user.get() as usize);
    match at_limit {
        AtLimit::Refuse if too_many > 0 => None,
        AtLimit::Refuse | AtLimit::EndOldest => {
            Some(counting.into_iter().take(too_many).map(|session| session.id).collect())
        }
    }
}

/// Opens a session for somebody, or for nobody.
pub(super) fn insert(commit: &mut Commit, kept: &Kept) -> Result<()> {
    let session = &kept.session;
    let id = session.id.as_bytes();
    let (record, token) = (commit.key("s:", id), commit.key("t:", kept.token.as_bytes()));
    commit.only_if_free(&record);
    commit.only_if_free(&token);
    commit.write(kept)?;
    commit.set(&token, id);
    let remembered = if session.remembered { "1" } else { "0" };
    for (list, score) in [
        (commit.key("all", b""), b"0".to_vec()),
        (commit.key("seen:", remembered.as_bytes()), digits(session.last_seen_at)),
        (commit.key("opened:", remembered.as_bytes()), digits(session.opened_at)),
    ] {
        commit.order(&[b"ZADD", &list, &score, id]);
    }
    if let Some(user) = session.user {
        let list = commit.key("u:", user.as_bytes());
        commit.order(&[b"ZADD", &list, b"0", id]);
    }
    if let Some(grant) = &kept.grant {
        let list = commit.key("c:", grant.client.as_str().as_bytes());
        commit.order(&[b"ZADD", &list, b"0", id]);
    }
    Ok(())
}

/// A session that nobody owns yet.
pub(super) fn for_visitor(new: &NewSession) -> Kept {
    Kept::new(new, None::<(UserId, Method)>, None)
}

/// Gives a session a new token. The old one is dead, and so is the one before it, and checkers hear of it.
pub(super) fn give_new_token(
    commit: &mut Commit,
    kept: &mut Kept,
    token: &TokenHash,
    why: Renew,
    now: Timestamp,
) -> Result<()> {
    commit.only_if_unchanged(kept)?;
    for dead in [Some(kept.token), kept.previous].into_iter().flatten() {
        let dead = commit.key("t:", dead.as_bytes());
        commit.order(&[b"UNLINK", &dead]);
    }
    let id = kept.session.id;
    let new = commit.key("t:", token.as_bytes());
    commit.set(&new, id.as_bytes());
    (kept.token, kept.previous, kept.nonce, kept.rotated_at) = (*token, None, None, None);
    if why == Renew::Proved {
        kept.session.authenticated_at = now;
    }
    kept.session.last_seen_at = kept.session.last_seen_at.max(now);
    commit.write(kept)?;
    commit.touch(id, now);
    commit.log(Selector::Session { session: id }, LogEvent::Changed, now)
}

/// What was there a moment ago.
pub(super) fn missing() -> StoreError {
    StoreError::new(Trouble::Failed, "a session is missing")
}
