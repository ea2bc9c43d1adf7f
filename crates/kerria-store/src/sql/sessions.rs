//! Sessions.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use kerria_core::{
    Cause, ClientId, DataKey, Device, Expiry, Grant, LogEvent, LogNumber, Selector, Session, SessionId,
    SessionPolicy, Standing, Status, StoreError, Timestamp, TokenHash, UserId,
    audit::{AuditEntry, AuditEvent},
    session::Method,
    store::{
        AtLimit, CarryOver, Found, LogPage, NewSession, Opened, Renew, Renewal, Revoked, SessionDetails,
        SessionLimit, SessionRotation, Sessions, SignIn, TokenUse, Wait,
    },
};

use super::{
    Ask, Driver, Reach, Result, Root, SqlStore, Step, Value,
    ask::Values,
    audit, clients, ending, log, rotation,
    rows::{self, select_sessions},
};
use crate::data_cache::DataChange;

#[async_trait]
impl<D: Driver> Sessions for SqlStore<D> {
    async fn open(&self, sign_in: SignIn) -> Result<Opened, StoreError> {
        self.write_part(move |step| open(step, &sign_in)).await
    }

    async fn find(&self, token: &TokenHash) -> Result<Option<Found>, StoreError> {
        let token = *token;
        self.read(move |asked| rotation::find(asked, &token)).await
    }

    async fn touch(&self, seen: Vec<(SessionId, Timestamp)>) -> Result<(), StoreError> {
        self.write_part(move |step| touch(step, &seen)).await
    }

    async fn revoke_and_wait(
        &self,
        selector: Selector,
        cause: Cause,
        device: Option<Device>,
        now: Timestamp,
        wait: Wait,
    ) -> Result<Revoked, StoreError> {
        let step = move |step: &mut Step<'_>| {
            hold(step, selector)?;
            revoke(step, selector, cause, device.as_ref(), now)
        };
        let (revoked, acknowledged) = self.write_and_wait(Reach::of(selector), wait, step).await?;
        Ok(Revoked { acknowledged, ..revoked })
    }

    async fn rotate(&self, token: TokenUse) -> Result<SessionRotation, StoreError> {
        self.write_part(move |step| rotation::rotate(step, &token)).await
    }

    async fn renew(
        &self,
        old: &TokenHash,
        new: &TokenHash,
        why: Renew,
        now: Timestamp,
    ) -> Result<Renewal, StoreError> {
        let (old, new) = (*old, *new);
        self.write_part(move |step| renew(step, &old, &new, why, now)).await
    }

    async fn set_expiry(
        &self,
        session: SessionId,
        expiry: Expiry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write_part(move |step| set_expiry(step, session, expiry, now)).await
    }

    async fn sessions_of(&self, user: UserId) -> Result<Vec<SessionDetails>, StoreError> {
        self.read(move |asked| {
            asked.all(
                select_sessions!("WHERE s.user_id = ?1 ORDER BY s.last_seen_at DESC, s.id DESC"),
                [user.as_bytes()],
                rows::session_details,
            )
        })
        .await
    }

    async fn all_sessions(
        &self,
        after: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<SessionDetails>, StoreError> {
        self.read(move |asked| {
            asked.all(
                // Every identifier comes after the empty one.
                select_sessions!("WHERE s.id > ?1 ORDER BY s.id LIMIT ?2"),
                (after.as_ref().map_or(&[][..], |after| after.as_bytes()), limit),
                rows::session_details,
            )
        })
        .await
    }

    async fn sweep_sessions(
        &self,
        policy: SessionPolicy,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.write(move |step| sweep(step, &policy, now, limit)).await
    }

    async fn log_after(&self, number: LogNumber, limit: u32) -> Result<LogPage, StoreError> {
        self.read(move |asked| log::after(asked, number, limit)).await
    }

    async fn trim_log(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.write(move |step| log::trim(step, before, limit)).await
    }
}

/// What a directory knows of sessions that are kept elsewhere.
impl<D: Driver> SqlStore<D> {
    /// Whether what was verified is still true.
    pub(crate) async fn may_sign_in(&self, sign_in: &SignIn) -> Result<bool> {
        let sign_in = sign_in.clone();
        self.read(move |asked| may_sign_in(asked, &sign_in)).await
    }

    /// Notes a sign-in, and writes `lines` about what ended with it, if what was verified is still true. Says whether it is.
    pub(crate) async fn note_sign_in(&self, sign_in: SignIn, lines: Vec<AuditEntry>) -> Result<bool> {
        self.write_part(move |step| {
            step.hold(Root::User(sign_in.user))?;
            if !may_sign_in(step, &sign_in)? {
                return Ok(false);
            }
            note(step, &sign_in)?;
            lines.iter().try_for_each(|line| audit::record(step, line))?;
            Ok(true)
        })
        .await
    }

    /// What to call these users.
    pub(crate) async fn names_of(&self, users: Vec<UserId>) -> Result<HashMap<UserId, Box<str>>> {
        self.read(move |asked| {
            let mut names = HashMap::new();
            for some in users.chunks(TOGETHER) {
                let mut values: Vec<Value<'_>> = some.iter().map(|user| user.as_bytes().into()).collect();
                // Nobody is called nothing.
                values.resize(TOGETHER, Value::Null);
                names.extend(asked.all(NAMES_OF_THESE, Values(values), |row| {
                    Ok((UserId::from_bytes(row.get(0)?), row.get(1)?))
                })?);
            }
            Ok(names)
        })
        .await
    }

    /// Whether something may be issued to this client: it has not been removed.
    pub(crate) async fn may_be_issued_to(&self, client: ClientId) -> Result<bool> {
        self.read(move |asked| clients::may_be_issued_to(asked, client)).await
    }
}

/// Users who are looked for by one statement.
const TOGETHER: usize = 16;

const NAMES_OF_THESE: &str = "SELECT id, coalesce(name, email) FROM account WHERE id IN ( \
     ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";

/// One statement for all of them, of each session its latest time.
fn touch(step: &Step<'_>, seen: &[(SessionId, Timestamp)]) -> Result<()> {
    let mut latest = BTreeMap::new();
    for (session, at) in seen {
        let held = latest.entry(*session).or_insert(*at);
        *held = (*held).max(*at);
    }
    let (sessions, latest): (Vec<_>, Vec<_>) = latest.iter().map(|(id, at)| (*id, (*id, *at))).unzip();
    step.hold(Root::Sessions(&sessions))?;
    step.touch(&latest)
}

/// Holds what `selector` selects.
fn hold(step: &Step<'_>, selector: Selector) -> Result<()> {
    match selector {
        Selector::Session { session } => step.hold(Root::Session(session)),
        Selector::User { user } | Selector::UserExcept { user, .. } => {
            step.hold(Root::User(user))?;
            step.hold(Root::SessionsOf(user, None))
        }
        // One row, or all of the installation.
        Selector::Token { .. } | Selector::Client { .. } | Selector::Everyone => Ok(()),
    }
}

fn open(step: &mut Step<'_>, sign_in: &SignIn) -> Result<Opened> {
    let SignIn { session, user, .. } = sign_in;
    step.hold(Root::User(*user))?;
    match (sign_in.limit, sign_in.replaces) {
        (Some(_), replaced) => step.hold(Root::SessionsOf(*user, replaced))?,
        (None, Some(replaced)) => step.hold(Root::Session(replaced))?,
        (None, None) => {}
    }
    if !may_sign_in(step, sign_in)? {
        return Ok(Opened::CredentialsChanged);
    }
    let Some(over_limit) = make_room(step, sign_in)? else { return Ok(Opened::LimitReached) };
    insert(step, session, Some((*user, sign_in.method)), sign_in.grant.as_ref())?;
    note(step, sign_in)?;
    if let Some(replaced) = sign_in.replaces {
        carry_over(step, replaced, sign_in)?;
        let selector = Selector::Session { session: replaced };
        revoke(step, selector, Cause::Replaced, Some(&session.device), session.now)?;
    }
    for oldest in over_limit {
        let selector = Selector::Session { session: oldest };
        revoke(step, selector, Cause::Limit, Some(&session.device), session.now)?;
    }
    found(step, session.id).map(Opened::Opened)
}

/// Notes a sign-in with the user and in the audit log.
fn note(step: &Step<'_>, sign_in: &SignIn) -> Result<()> {
    step.change(
        "UPDATE account SET last_sign_in_at = ?2 WHERE id = ?1",
        (sign_in.user.as_bytes(), sign_in.session.now.as_millis()),
    )?;
    audit::record(step, &signed_in(sign_in))
}

/// Whether what was verified is still true.
fn may_sign_in(asked: &dyn Ask, sign_in: &SignIn) -> Result<bool> {
    if let Some(grant) = &sign_in.grant
        && !clients::may_be_issued_to(asked, grant.client)?
    {
        return Ok(false);
    }
    let Some(version) = sign_in.version else { return Ok(true) };
    asked.the(
        "SELECT EXISTS (SELECT 1 FROM account WHERE id = ?1 AND version = ?2 AND status = ?3)",
        (sign_in.user.as_bytes(), version.0, Status::Active.as_str()),
        |row| row.get(0),
    )
}

/// The sessions that have to end so that one more is within the limit. `None` if it is refused.
fn make_room(step: &Step<'_>, sign_in: &SignIn) -> Result<Option<Vec<SessionId>>> {
    let Some(SessionLimit { per_user, at_limit }) = sign_in.limit else { return Ok(Some(Vec::new())) };
    let oldest_first = step.all(
        select_sessions!("WHERE s.user_id = ?1 ORDER BY s.opened_at, s.id"),
        [sign_in.user.as_bytes()],
        rows::session,
    )?;
    let counts = |session: &Session| {
        let active = matches!(sign_in.policy.standing(session, sign_in.session.now), Standing::Active { .. });
        active && sign_in.replaces != Some(session.id)
    };
    let counting: Vec<_> =
        oldest_first.iter().filter(|session| counts(session)).map(|session| session.id).collect();
    let too_many = (counting.len() + 1).saturating_sub(per_user.get() as usize);
    Ok(match at_limit {
        AtLimit::Refuse if too_many > 0 => None,
        AtLimit::Refuse | AtLimit::EndOldest => Some(counting.into_iter().take(too_many).collect()),
    })
}

/// Moves what may survive a sign-in. Nothing of another user does.
fn carry_over(step: &mut Step<'_>, replaced: SessionId, sign_in: &SignIn) -> Result<()> {
    step.data_changes.push(DataChange::Session(sign_in.session.id));
    let carry = |key: Option<&DataKey>| {
        step.change(
            "UPDATE session_data SET session_id = ?1 WHERE session_id = ?2 AND key = coalesce(?3, key) AND EXISTS ( \
                 SELECT 1 FROM session WHERE id = ?2 AND (user_id IS NULL OR user_id = ?4))",
            (
                sign_in.session.id.as_bytes(),
                replaced.as_bytes(),
                key.map(DataKey::as_str),
                sign_in.user.as_bytes(),
            ),
        )
    };
    match &sign_in.carry_over {
        CarryOver::Keys(keys) => keys.iter().try_for_each(|key| carry(Some(key)).map(drop)),
        CarryOver::Everything => carry(None).map(drop),
    }
}

fn signed_in(sign_in: &SignIn) -> AuditEntry {
    let device = &sign_in.session.device;
    AuditEntry {
        at: sign_in.session.now,
        event: AuditEvent::SignedIn,
        user: Some(sign_in.user),
        session: Some(sign_in.session.id),
        address: Some(device.address),
        detail: format!("{}, {}", sign_in.method.as_str(), device.in_words()),
    }
}

/// Inserts a session, for somebody or for nobody.
pub(super) fn insert(
    step: &Step<'_>,
    session: &NewSession,
    user: Option<(UserId, Method)>,
    grant: Option<&Grant>,
) -> Result<()> {
    step.change(
        "INSERT INTO session (id, token_hash, user_id, method, transport, remembered, opened_at, last_seen_at, \
         authenticated_at, user_agent, address, client_id, scope, audience) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?7, ?8, ?9, ?10, ?11, ?12)",
        (
            session.id.as_bytes(),
            session.token.as_bytes(),
            user.as_ref().map(|(user, _)| user.as_bytes()),
            user.map(|(_, method)| method.as_str()),
            session.transport.as_str(),
            session.remembered,
            session.now.as_millis(),
            &session.device.user_agent,
            session.device.address.to_string(),
            grant.map(|grant| grant.client.as_str()),
            grant.map(|grant| grant.scope.to_string()),
            grant.map(|grant| grant.audience.as_str()),
        ),
    )?;
    Ok(())
}

/// Whether a session is there that somebody holds.
pub(super) fn exists(step: &Step<'_>, session: SessionId) -> Result<bool> {
    step.the("SELECT EXISTS (SELECT 1 FROM session WHERE id = ?1)", [session.as_bytes()], |row| row.get(0))
}

/// The session as this step leaves it.
pub(super) fn found(asked: &dyn Ask, session: SessionId) -> Result<Found> {
    asked.the(select_sessions!("WHERE s.id = ?1"), [session.as_bytes()], rows::found)
}

/// Ends what `selector` selects, with a line in the audit log. Nobody has acknowledged it yet.
pub(super) fn revoke(
    step: &mut Step<'_>,
    selector: Selector,
    cause: Cause,
    device: Option<&Device>,
    now: Timestamp,
) -> Result<Revoked> {
    let user = match selector {
        Selector::Session { session } => user_of(step, session)?,
        _ => None,
    };
    let removed = ending::remove(step, selector)?;
    if !removed.is_to_be_logged() {
        return Ok(Revoked { ended: 0, number: step.rest_on_log()?, acknowledged: None });
    }
    if let Some(line) = line_about_end(selector, user, removed.sessions, cause, device, now) {
        audit::record(step, &line)?;
    }
    Ok(Revoked { ended: removed.sessions, number: removed.log(step, cause, now)?, acknowledged: None })
}

/// The line of the audit log about an end of so many sessions. `user` is whose session it was, if it is about one.
pub(crate) fn line_about_end(
    selector: Selector,
    user: Option<UserId>,
    ended: u64,
    cause: Cause,
    device: Option<&Device>,
    at: Timestamp,
) -> Option<AuditEntry> {
    let (user, session) = match selector {
        // Anybody can open and end a session with nobody signed in; that is not worth a line each.
        Selector::Session { session } => (Some(user?), Some(session)),
        Selector::User { user } | Selector::UserExcept { user, .. } => (Some(user), None),
        Selector::Token { .. } | Selector::Client { .. } | Selector::Everyone => (None, None),
    };
    Some(AuditEntry {
        at,
        event: AuditEvent::SessionsEnded,
        user,
        session,
        address: device.map(|device| device.address),
        detail: format!("{}, {}", cause.as_str(), audit::sessions(ended)),
    })
}

/// The line about a user who has proved again who they are.
pub(crate) fn line_about_step_up(found: &Found, at: Timestamp) -> AuditEntry {
    AuditEntry {
        at,
        event: AuditEvent::SteppedUp,
        user: found.session.user,
        session: Some(found.session.id),
        address: None,
        detail: String::new(),
    }
}

fn user_of(step: &Step<'_>, session: SessionId) -> Result<Option<UserId>> {
    let user = step.one("SELECT user_id FROM session WHERE id = ?1", [session.as_bytes()], |row| {
        row.get::<Option<_>>(0)
    })?;
    Ok(user.flatten().map(UserId::from_bytes))
}

fn renew(
    step: &mut Step<'_>,
    old: &TokenHash,
    new: &TokenHash,
    why: Renew,
    now: Timestamp,
) -> Result<Renewal> {
    step.hold(Root::SessionWith(old))?;
    let Some(session) = carried_by(step, old)? else { return Ok(Renewal::Gone) };
    give_new_token(step, session, new, why, now)?;
    let found = found(step, session)?;
    if why == Renew::Proved {
        audit::record(step, &line_about_step_up(&found, now))?;
    }
    Ok(Renewal::Renewed(found))
}

/// The session whose present token this is, or whose session token before. A request that was let in with a token may go on
/// after that was replaced.
pub(super) fn carried_by(asked: &dyn Ask, token: &TokenHash) -> Result<Option<SessionId>> {
    asked.one(
        "SELECT id FROM session WHERE token_hash = ?1 \
         UNION ALL SELECT id FROM session WHERE previous_hash = ?1 AND transport = 'cookie'",
        [token.as_bytes()],
        |row| rows::session_id(row, 0),
    )
}

/// Gives a session a new token. The old one is dead, and so is the one before it, and checkers hear of it.
pub(super) fn give_new_token(
    step: &mut Step<'_>,
    session: SessionId,
    token: &TokenHash,
    why: Renew,
    now: Timestamp,
) -> Result<()> {
    let proved_at = (why == Renew::Proved).then(|| now.as_millis());
    step.change(
        "UPDATE session SET token_hash = ?2, previous_hash = NULL, nonce = NULL, rotated_at = NULL, \
         authenticated_at = coalesce(?4, authenticated_at), last_seen_at = CASE WHEN last_seen_at < ?3 THEN ?3 ELSE last_seen_at END \
         WHERE id = ?1",
        (session.as_bytes(), token.as_bytes(), now.as_millis(), proved_at),
    )?;
    step.write_log(Selector::Session { session }, LogEvent::Changed, now)?;
    Ok(())
}

fn set_expiry(step: &mut Step<'_>, session: SessionId, expiry: Expiry, now: Timestamp) -> Result<bool> {
    step.hold(Root::Session(session))?;
    let is_there = step
        .change("UPDATE session SET expiry = ?2 WHERE id = ?1", (session.as_bytes(), i64::from(expiry)))?
        > 0;
    if is_there {
        step.write_log(Selector::Session { session }, LogEvent::Changed, now)?;
    }
    Ok(is_there)
}

/// No entry in the log: what time ends, every checker sees by itself.
fn sweep(step: &mut Step<'_>, policy: &SessionPolicy, now: Timestamp, limit: u32) -> Result<u64> {
    // A session that was last seen, or opened, at this instant or before is over.
    let (ordinary, remembered) = (policy.ordinary, policy.remembered);
    // In the order of an index each: with any order, a planner may take it that some will soon be found, and read all sessions if
    // there are none.
    let over = step.all(
        "DELETE FROM session WHERE id IN ( \
             SELECT id FROM (SELECT id FROM session WHERE remembered = 0 AND last_seen_at <= ?1 \
                             ORDER BY last_seen_at LIMIT ?5) AS idle \
             UNION SELECT id FROM (SELECT id FROM session WHERE remembered = 0 AND opened_at <= ?2 \
                                   ORDER BY opened_at LIMIT ?5) AS old \
             UNION SELECT id FROM (SELECT id FROM session WHERE remembered = 1 AND last_seen_at <= ?3 \
                                   ORDER BY last_seen_at LIMIT ?5) AS remembered_idle \
             UNION SELECT id FROM (SELECT id FROM session WHERE remembered = 1 AND opened_at <= ?4 \
                                   ORDER BY opened_at LIMIT ?5) AS remembered_old \
             LIMIT ?5) \
         RETURNING id",
        (
            (now - ordinary.idle).as_millis(),
            (now - ordinary.absolute).as_millis(),
            (now - remembered.idle).as_millis(),
            (now - remembered.absolute).as_millis(),
            limit,
        ),
        |row| rows::session_id(row, 0),
    )?;
    ending::delete_data(step, &over)?;
    Ok(over.len() as u64)
}
