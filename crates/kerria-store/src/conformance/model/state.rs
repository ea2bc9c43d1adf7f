//! What a store holds, in plain collections, and what each step makes of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kerria_core::{
    Cause, ClientId, CredentialVersion, DataKey, DataLimits, Device, EmailAddress, Expiry, Grant, Groups,
    LogEntry, LogEvent, LogNumber, LoginName, PasswordHash, Phase, RotationNonce, Selector, Session,
    SessionId, SessionPolicy, Standing, Status, Succession, Timestamp, TokenHash, Transport, User, UserId,
    UserName,
    audit::AuditEvent,
    store::{
        AtLimit, Credentials, DataOwner, DataWrite, Found, Grouping, Invitation, LogPage, NewSession,
        NewUser, Opened, PasswordChange, PasswordChanged, Reference, Refresh, Removal, Renaming, Renew,
        Renewal, Rotation, SessionDetails, SessionRotation, SignIn, TokenUse, UserCreation,
    },
    throttle::{Admission, Door, DoorState, admit},
};

/// What is compared of a line of the audit log: its words are the store's own.
pub(super) type Line = (Timestamp, AuditEvent, Option<UserId>, Option<SessionId>);

#[derive(Default)]
pub(super) struct Model {
    pub(super) users: BTreeMap<UserId, Account>,
    pub(super) sessions: BTreeMap<SessionId, Held>,
    pub(super) log: Vec<LogEntry>,
    pub(super) removed: usize,
    pub(super) clients: BTreeSet<ClientId>,
    pub(super) references: BTreeMap<[u8; 32], Reference>,
    pub(super) spent: BTreeMap<(ClientId, String), Timestamp>,
    pub(super) invitations: BTreeMap<[u8; 32], Invitation>,
    pub(super) doors: BTreeMap<String, (DoorState, Timestamp)>,
    pub(super) audit: Vec<Line>,
}

pub(super) struct Account {
    pub(super) user: User,
    pub(super) credentials: Credentials,
    pub(super) devices: BTreeSet<[u8; 32]>,
}

pub(super) struct Held {
    pub(super) details: SessionDetails,
    pub(super) data: BTreeMap<DataKey, String>,
    grant: Option<Grant>,
    /// The last rotation, until the user proves again who they are.
    rotation: Option<Rotated>,
}

/// The token that was replaced, from what its successor follows, and when that was. Of a session token, the nonce goes
/// when the successor is used, and that is the time then.
struct Rotated {
    previous: TokenHash,
    nonce: Option<RotationNonce>,
    at: Timestamp,
}

impl Model {
    fn head(&self) -> LogNumber {
        LogNumber(self.log.len() as u64)
    }

    fn write_log(&mut self, selector: Selector, event: LogEvent, at: Timestamp) {
        let number = LogNumber(self.head().0 + 1);
        self.log.push(LogEntry { number, at, selector, event });
    }

    fn note(&mut self, at: Timestamp, event: AuditEvent, user: Option<UserId>, session: Option<SessionId>) {
        self.audit.push((at, event, user, session));
    }

    /// As it is read: with the present name of its user.
    pub(super) fn details(&self, session: SessionId) -> SessionDetails {
        let mut details = self.sessions[&session].details.clone();
        let account = details.session.user.and_then(|user| self.users.get(&user));
        details.user_name = account.map(|account| account.user.display_name().into());
        details
    }

    fn found(&self, session: SessionId) -> Found {
        let held = &self.sessions[&session];
        let SessionDetails { session, user_name, previous, .. } = self.details(session);
        let succession = match &held.rotation {
            Some(last) if previous.is_some() => {
                let phase = if last.nonce.is_some() { Phase::Unused } else { Phase::Present };
                Succession { phase, since: last.at }
            }
            _ => Succession::first(session.authenticated_at),
        };
        Found { session, user_name, as_of: self.head(), succession, other_token: previous }
    }

    pub(super) fn find(&self, token: &TokenHash) -> Option<Found> {
        let session = self.carried_by(token)?;
        let held = &self.sessions[&session];
        if held.details.session.transport == Transport::Tokens {
            return None;
        }
        let mut found = self.found(session);
        if held.details.previous == Some(*token) {
            let last = held.rotation.as_ref().unwrap();
            let phase = if last.nonce.is_some() { Phase::Replaced } else { Phase::Outlived };
            found.succession = Succession { phase, since: last.at };
            found.other_token = Some(held.details.token);
        }
        Some(found)
    }

    /// The session whose present token this is, of whatever kind, or whose session token before.
    fn carried_by(&self, token: &TokenHash) -> Option<SessionId> {
        let mut sessions = self.sessions.iter();
        let carries = |held: &Held| held.details.token == *token || held.details.previous == Some(*token);
        sessions.find(|(_, held)| carries(held)).map(|(session, _)| *session)
    }

    pub(super) fn session(&self, session: SessionId) -> Option<(Found, Option<Grant>)> {
        let held = self.sessions.get(&session)?;
        let is_in_tokens = held.details.session.transport == Transport::Tokens;
        let present = Some(held.details.token).filter(|_| !is_in_tokens);
        Some((Found { other_token: present, ..self.found(session) }, held.grant.clone()))
    }

    pub(super) fn sessions_of(&self, user: UserId) -> Vec<SessionDetails> {
        let mut sessions: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, held)| held.details.session.user == Some(user))
            .map(|(session, _)| self.details(*session))
            .collect();
        sessions.sort_by_key(|details| std::cmp::Reverse((details.session.last_seen_at, details.session.id)));
        sessions
    }

    pub(super) fn log_after(&self, number: LogNumber, limit: usize) -> LogPage {
        if number.0 < self.removed as u64 || number > self.head() {
            return LogPage::StartOver { head: self.head() };
        }
        LogPage::Entries(self.log[number.0 as usize..].iter().take(limit).copied().collect())
    }

    pub(super) fn called(&self, name: &LoginName) -> Option<&Account> {
        let key = name.key();
        self.users.values().find(|account| {
            let User { name, email, .. } = &account.user;
            name.as_ref().is_some_and(|name| name.key() == key)
                || email.as_ref().is_some_and(|email| email.key() == key)
        })
    }

    pub(super) fn invitation(&self, token: &TokenHash, now: Timestamp) -> Option<Invitation> {
        let invitation = *self.invitations.get(token.as_bytes())?;
        let in_time = invitation.expires_at > now;
        let good = in_time && (!invitation.first_account || self.users.is_empty());
        good.then_some(invitation)
    }

    fn insert(&mut self, new: &NewSession, user: Option<&SignIn>) {
        let NewSession { id, token, transport, remembered, ref device, now } = *new;
        let session = Session {
            id,
            user: user.map(|sign_in| sign_in.user),
            transport,
            remembered,
            opened_at: now,
            last_seen_at: now,
            authenticated_at: now,
            place: device.place(),
            expiry: Expiry::BY_POLICY,
        };
        let method = user.map(|sign_in| sign_in.method);
        let grant = user.and_then(|sign_in| sign_in.grant.clone());
        let client = grant.as_ref().map(|grant| grant.client);
        let details = SessionDetails {
            session,
            token,
            previous: None,
            user_name: None,
            method,
            device: device.clone(),
            client,
        };
        self.sessions.insert(id, Held { details, data: BTreeMap::new(), grant, rotation: None });
    }

    fn end(&mut self, selector: Selector, cause: Cause, now: Timestamp) -> u64 {
        let before = self.sessions.len();
        let named: Vec<_> = match selector {
            Selector::Client { client } => {
                let of_client = self.sessions.iter().filter(|(_, held)| held.details.client == Some(client));
                of_client.map(|(id, _)| *id).collect()
            }
            _ => Vec::new(),
        };
        self.sessions.retain(|id, held| {
            let owner = held.details.session.user;
            match selector {
                Selector::Session { session } => *id != session,
                Selector::User { user } => owner != Some(user),
                Selector::UserExcept { user, except } => owner != Some(user) || *id == except,
                Selector::Token { .. } => true,
                Selector::Client { client } => held.details.client != Some(client),
                Selector::Everyone => false,
            }
        });
        let ended = (before - self.sessions.len()) as u64;
        self.references.retain(|_, reference| match selector {
            Selector::Token { token } => reference.id != token,
            Selector::Client { client } => reference.grant.client != client,
            Selector::Everyone => false,
            Selector::Session { .. } | Selector::User { .. } | Selector::UserExcept { .. } => true,
        });
        for session in named {
            self.write_log(Selector::Session { session }, LogEvent::Ended { cause }, now);
        }
        let always =
            matches!(selector, Selector::Everyone | Selector::Client { .. } | Selector::Token { .. });
        if ended > 0 || always {
            self.write_log(selector, LogEvent::Ended { cause }, now);
        }
        ended
    }

    pub(super) fn open(&mut self, sign_in: &SignIn) -> Opened {
        let SignIn { user, version, replaces, ref session, .. } = *sign_in;
        let now = session.now;
        let current = version.is_none_or(|version| {
            self.users.get(&user).is_some_and(|account| {
                account.credentials.version == version && account.credentials.status == Status::Active
            })
        });
        let has_client = sign_in.grant.as_ref().is_none_or(|grant| self.knows(grant.client));
        if !current || !has_client {
            return Opened::CredentialsChanged;
        }
        let mut counting: Vec<_> = self
            .sessions_of(user)
            .into_iter()
            .map(|details| details.session)
            .filter(|held| {
                Some(held.id) != replaces
                    && matches!(sign_in.policy.standing(held, now), Standing::Active { .. })
            })
            .collect();
        counting.sort_by_key(|held| (held.opened_at, held.id));
        let mut over_limit = 0;
        if let Some(limit) = sign_in.limit {
            over_limit = (counting.len() + 1).saturating_sub(limit.per_user.get() as usize);
            if over_limit > 0 && limit.at_limit == AtLimit::Refuse {
                return Opened::LimitReached;
            }
        }
        self.insert(session, Some(sign_in));
        self.note(now, AuditEvent::SignedIn, Some(user), Some(session.id));
        if let Some(replaced) = replaces {
            let carried = match self.sessions.get(&replaced) {
                Some(held) if held.details.session.user.is_none_or(|owner| owner == user) => {
                    held.data.clone()
                }
                _ => BTreeMap::new(),
            };
            let kept =
                carried.into_iter().filter(|(key, _)| sign_in.carry_over.takes(key.as_str())).collect();
            self.sessions.get_mut(&session.id).unwrap().data = kept;
            self.revoke(Selector::Session { session: replaced }, Cause::Replaced, now);
        }
        for oldest in &counting[..over_limit] {
            self.revoke(Selector::Session { session: oldest.id }, Cause::Limit, now);
        }
        if let Some(account) = self.users.get_mut(&user) {
            account.user.last_sign_in_at = Some(now);
        }
        Opened::Opened(self.found(session.id))
    }

    pub(super) fn touch(&mut self, seen: &[(SessionId, Timestamp)]) {
        for (session, at) in seen {
            if let Some(held) = self.sessions.get_mut(session) {
                held.details.session.last_seen_at = held.details.session.last_seen_at.max(*at);
            }
        }
    }

    pub(super) fn revoke(&mut self, selector: Selector, cause: Cause, now: Timestamp) -> (u64, LogNumber) {
        let (user, session) = match selector {
            Selector::Session { session } => {
                (self.sessions.get(&session).and_then(|held| held.details.session.user), Some(session))
            }
            Selector::User { user } | Selector::UserExcept { user, .. } => (Some(user), None),
            Selector::Token { .. } | Selector::Client { .. } | Selector::Everyone => (None, None),
        };
        let before = self.head();
        let ended = self.end(selector, cause, now);
        let is_visitors = session.is_some() && user.is_none();
        if self.head() > before && !is_visitors {
            self.note(now, AuditEvent::SessionsEnded, user, session);
        }
        (ended, self.head())
    }

    pub(super) fn renew(&mut self, old: &TokenHash, new: &TokenHash, why: Renew, now: Timestamp) -> Renewal {
        let Some(session) = self.carried_by(old) else { return Renewal::Gone };
        self.give_new_token(session, new, why, now);
        let found = self.found(session);
        if why == Renew::Proved {
            self.note(now, AuditEvent::SteppedUp, found.session.user, Some(session));
        }
        Renewal::Renewed(found)
    }

    pub(super) fn set_expiry(&mut self, session: SessionId, expiry: Expiry, now: Timestamp) -> bool {
        let Some(held) = self.sessions.get_mut(&session) else { return false };
        held.details.session.expiry = expiry;
        self.write_log(Selector::Session { session }, LogEvent::Changed, now);
        true
    }

    fn knows(&self, client: ClientId) -> bool {
        client == ClientId::OWN || self.clients.contains(&client)
    }

    pub(super) fn rotate_session(&mut self, token: &TokenUse) -> SessionRotation {
        let TokenUse { presented, now, .. } = *token;
        let Some(found) = self.find(&presented) else { return SessionRotation::Gone };
        let session = found.session.id;
        if found.session.transport != Transport::Cookie {
            return SessionRotation::Gone;
        }
        let used_for = now.since(found.succession.since);
        let is_on = token.rule.after > Duration::ZERO;
        let held = self.sessions.get_mut(&session).unwrap();
        match (found.succession.phase, token.successor) {
            (Phase::Present, Some(next))
                if is_on && used_for >= token.rule.after && used_for >= token.rule.grace =>
            {
                held.rotation = Some(Rotated { previous: presented, nonce: Some(next.nonce), at: now });
                held.details.previous = Some(presented);
                held.details.token = next.token;
            }
            (Phase::Unused, _) => {
                let last = held.rotation.as_mut().unwrap();
                (last.nonce, last.at) = (None, now);
            }
            (Phase::Replaced, _) if is_on => {
                return SessionRotation::Repeated(held.rotation.as_ref().unwrap().nonce.unwrap());
            }
            (Phase::Outlived, _) if used_for >= token.rule.grace => {
                self.revoke(Selector::Session { session }, Cause::Replayed, now);
                return SessionRotation::Replayed { session, user: found.session.user };
            }
            _ => return SessionRotation::Unchanged,
        }
        held.details.session.last_seen_at = held.details.session.last_seen_at.max(now);
        self.write_log(Selector::Session { session }, LogEvent::Changed, now);
        let now_found = self.find(&presented).unwrap();
        match found.succession.phase {
            Phase::Unused => SessionRotation::Confirmed(now_found),
            _ => SessionRotation::Rotated(now_found),
        }
    }

    pub(super) fn rotate(&mut self, refresh: &Refresh) -> Rotation {
        let Refresh { session, presented, now, .. } = *refresh;
        let Some((found, Some(grant))) = self.session(session) else { return Rotation::Gone };
        if grant.client != refresh.client {
            return Rotation::OtherClient;
        }
        if !matches!(refresh.policy.standing(&found.session, now), Standing::Active { .. }) {
            return Rotation::Gone;
        }
        let held = self.sessions.get_mut(&session).unwrap();
        if held.details.token == presented {
            held.rotation = Some(Rotated { previous: presented, nonce: Some(refresh.nonce), at: now });
            held.details.token = refresh.successor;
            held.details.session.last_seen_at = held.details.session.last_seen_at.max(now);
            return Rotation::Rotated(self.found(session), grant);
        }
        match &held.rotation {
            Some(last) if last.previous == presented && now < last.at + refresh.window => {
                Rotation::Repeated(found, grant, last.nonce.unwrap())
            }
            _ => {
                self.revoke(Selector::Session { session }, Cause::Replayed, now);
                Rotation::Replayed { user: found.session.user }
            }
        }
    }

    pub(super) fn keep_reference(&mut self, token: &TokenHash, reference: &Reference) -> bool {
        let session_stands = reference.session.is_none_or(|session| self.sessions.contains_key(&session));
        let kept = session_stands && self.knows(reference.grant.client);
        if kept {
            self.references.insert(*token.as_bytes(), reference.clone());
        }
        kept
    }

    pub(super) fn reference(&self, token: &TokenHash) -> Option<Reference> {
        let reference = self.references.get(token.as_bytes())?;
        let stands = reference.session.is_none_or(|session| self.sessions.contains_key(&session));
        stands.then(|| reference.clone())
    }

    pub(super) fn spend(&mut self, by: ClientId, jti: &str, expires_at: Timestamp) -> bool {
        let (key, known) = ((by, jti.to_owned()), self.spent.len());
        self.spent.entry(key).or_insert(expires_at);
        self.spent.len() > known
    }

    /// Removes what is over, and says how much a sweep without a limit removes.
    pub(super) fn sweep_tokens(&mut self, now: Timestamp) -> u64 {
        let before = self.references.len() + self.spent.len();
        self.references.retain(|_, reference| reference.expires_at > now);
        self.spent.retain(|_, expires_at| *expires_at > now);
        (before - self.references.len() - self.spent.len()) as u64
    }

    pub(super) fn remove_client(&mut self, client: ClientId, now: Timestamp) -> bool {
        let removed = self.clients.remove(&client);
        if removed {
            self.revoke(Selector::Client { client }, Cause::Operator, now);
        }
        removed
    }

    fn give_new_token(&mut self, session: SessionId, token: &TokenHash, why: Renew, now: Timestamp) {
        let held = self.sessions.get_mut(&session).unwrap();
        held.details.token = *token;
        held.details.previous = None;
        held.rotation = None;
        if why == Renew::Proved {
            held.details.session.authenticated_at = now;
        }
        held.details.session.last_seen_at = held.details.session.last_seen_at.max(now);
        self.write_log(Selector::Session { session }, LogEvent::Changed, now);
    }

    /// Which sessions are over. Which of them a bounded sweep removes is the store's own choice.
    pub(super) fn over(&self, policy: &SessionPolicy, now: Timestamp) -> Vec<SessionId> {
        let over = |held: &Held| {
            let by_policy = Session { expiry: Expiry::BY_POLICY, ..held.details.session };
            !matches!(policy.standing(&by_policy, now), Standing::Active { .. })
        };
        self.sessions.iter().filter(|(_, held)| over(held)).map(|(session, _)| *session).collect()
    }

    pub(super) fn trim_log(&mut self, before: Timestamp, limit: usize) -> u64 {
        let old = self.log[self.removed..].iter().take_while(|entry| entry.at < before).count().min(limit);
        self.removed += old;
        old as u64
    }

    pub(super) fn write_data<E>(
        &mut self,
        owner: &DataOwner,
        key: &DataKey,
        limits: DataLimits,
        value: impl FnOnce(Option<&str>) -> Result<String, E>,
    ) -> Result<DataWrite, E> {
        let (session, mut data) = match owner {
            DataOwner::Session(session) => match self.sessions.get(session) {
                Some(held) => (*session, held.data.clone()),
                None => return Ok(DataWrite::Gone),
            },
            DataOwner::Visitor(new) => (new.id, BTreeMap::new()),
        };
        let held = data.remove(key);
        let bytes = data.iter().map(|(key, json)| (key.as_str().len() + json.len()) as u64).sum();
        let others = (data.len() as u64, bytes);
        let json = value(held.as_deref())?;
        if let Err(refused) = limits.admit(others, key, json.len() as u64) {
            return Ok(DataWrite::Refused(refused));
        }
        if let DataOwner::Visitor(new) = owner {
            self.insert(new, None);
        }
        data.insert(key.clone(), json.clone());
        self.sessions.get_mut(&session).unwrap().data = data;
        let opened = matches!(owner, DataOwner::Visitor(_)).then(|| self.found(session));
        Ok(DataWrite::Written { json, opened })
    }

    pub(super) fn remove_data(&mut self, session: SessionId, key: &DataKey) -> Option<String> {
        self.sessions.get_mut(&session).and_then(|held| held.data.remove(key))
    }

    pub(super) fn clear_data(&mut self, session: SessionId) -> u64 {
        self.sessions.get_mut(&session).map_or(0, |held| std::mem::take(&mut held.data).len() as u64)
    }

    fn name_taken(&self, user: UserId, name: Option<&UserName>) -> bool {
        let mut others = self.users.values().filter(|account| account.user.id != user);
        name.is_some_and(|name| {
            others.any(|other| other.user.name.as_ref().map(UserName::key) == Some(name.key()))
        })
    }

    fn email_taken(&self, user: UserId, email: Option<&EmailAddress>) -> bool {
        let mut others = self.users.values().filter(|account| account.user.id != user);
        email.is_some_and(|email| {
            others.any(|other| other.user.email.as_ref().map(EmailAddress::key) == Some(email.key()))
        })
    }

    pub(super) fn create(&mut self, new: &NewUser, invitation: Option<&TokenHash>) -> UserCreation {
        if invitation.is_some_and(|token| self.invitation(token, new.now).is_none()) {
            return UserCreation::InvitationSpent;
        }
        if self.name_taken(new.id, new.name.as_ref()) {
            return UserCreation::NameTaken;
        }
        if self.email_taken(new.id, new.email.as_ref()) {
            return UserCreation::EmailTaken;
        }
        if let Some(token) = invitation {
            self.invitations.remove(token.as_bytes());
        }
        let (user, status, version) = (new.id, Status::Active, CredentialVersion(1));
        let account = Account {
            user: User {
                id: user,
                name: new.name.clone(),
                email: new.email.clone(),
                groups: Groups::default(),
                status,
                created_at: new.now,
                last_sign_in_at: None,
            },
            credentials: Credentials { user, status, password: new.password.clone(), version },
            devices: BTreeSet::new(),
        };
        self.users.insert(user, account);
        self.note(new.now, AuditEvent::UserCreated, Some(user), None);
        UserCreation::Created(version)
    }

    pub(super) fn change_password(&mut self, change: &PasswordChange) -> PasswordChanged {
        let PasswordChange { user, version, keep, now, .. } = *change;
        let owner = |session| self.sessions.get(session).and_then(|held| held.details.session.user);
        if keep.as_ref().is_some_and(|(session, _)| owner(session) != Some(user)) {
            return PasswordChanged::Stale;
        }
        let Some(account) = self.users.get_mut(&user) else { return PasswordChanged::Stale };
        if version.is_some_and(|version| version != account.credentials.version) {
            return PasswordChanged::Stale;
        }
        account.credentials.password = change.password.clone();
        account.credentials.version.0 += 1;
        account.devices.clear();
        let others = match keep {
            Some((except, _)) => Selector::UserExcept { user, except },
            None => Selector::User { user },
        };
        let ended = self.end(others, Cause::PasswordChanged, now);
        if let Some((session, token)) = &keep {
            self.give_new_token(*session, token, Renew::Proved, now);
        }
        self.note(now, AuditEvent::PasswordChanged, Some(user), keep.map(|(session, _)| session));
        PasswordChanged::Changed { ended, kept: keep.map(|(session, _)| self.found(session)) }
    }

    pub(super) fn rehash(&mut self, user: UserId, old: &PasswordHash, new: &PasswordHash) {
        if let Some(account) = self.users.get_mut(&user)
            && account.credentials.password == *old
        {
            account.credentials.password = new.clone();
        }
    }

    pub(super) fn rename(
        &mut self,
        user: UserId,
        name: Option<UserName>,
        email: Option<EmailAddress>,
        now: Timestamp,
    ) -> Renaming {
        if !self.users.contains_key(&user) {
            return Renaming::Gone;
        }
        if self.name_taken(user, name.as_ref()) {
            return Renaming::NameTaken;
        }
        if self.email_taken(user, email.as_ref()) {
            return Renaming::EmailTaken;
        }
        let account = self.users.get_mut(&user).unwrap();
        (account.user.name, account.user.email) = (name, email);
        self.write_log(Selector::User { user }, LogEvent::Changed, now);
        self.note(now, AuditEvent::UserRenamed, Some(user), None);
        Renaming::Renamed
    }

    pub(super) fn change_groups(
        &mut self,
        user: UserId,
        joined: &Groups,
        left: &Groups,
        now: Timestamp,
    ) -> Grouping {
        let Some(account) = self.users.get_mut(&user) else { return Grouping::Unknown };
        let groups = account.user.groups.changed(joined, left);
        if groups != account.user.groups {
            account.user.groups = groups.clone();
            self.write_log(Selector::User { user }, LogEvent::Changed, now);
            self.note(now, AuditEvent::GroupsChanged, Some(user), None);
        }
        Grouping::Grouped(groups)
    }

    pub(super) fn set_status(&mut self, user: UserId, status: Status, now: Timestamp) -> Option<u64> {
        let account = self.users.get_mut(&user)?;
        if account.user.status == status {
            return Some(0);
        }
        (account.user.status, account.credentials.status) = (status, status);
        match status {
            Status::Active => {
                self.note(now, AuditEvent::UserEnabled, Some(user), None);
                Some(0)
            }
            Status::Disabled => {
                account.credentials.version.0 += 1;
                let ended = self.end(Selector::User { user }, Cause::UserDisabled, now);
                self.note(now, AuditEvent::UserDisabled, Some(user), None);
                Some(ended)
            }
        }
    }

    pub(super) fn delete(&mut self, user: UserId, now: Timestamp) -> Removal {
        if self.users.remove(&user).is_none() {
            return Removal::Unknown;
        }
        let ended = self.end(Selector::User { user }, Cause::UserDeleted, now);
        self.note(now, AuditEvent::UserDeleted, Some(user), None);
        Removal::Removed { ended }
    }

    pub(super) fn invite(&mut self, token: &TokenHash, invitation: Invitation, now: Timestamp) {
        self.invitations.insert(*token.as_bytes(), invitation);
        self.note(now, AuditEvent::Invited, None, None);
    }

    pub(super) fn know_device(&mut self, user: UserId, device: &TokenHash) {
        if let Some(account) = self.users.get_mut(&user) {
            account.devices.insert(*device.as_bytes());
        }
    }

    fn door(&self, door: &Door) -> DoorState {
        self.doors.get(&door.name).map_or_else(DoorState::default, |(state, _)| *state)
    }

    pub(super) fn knock(&mut self, doors: &[Door], now: Timestamp) -> Admission {
        let admission = admit(doors.iter().map(|door| (&door.rule, self.door(door))), now);
        if admission == Admission::Admitted {
            for door in doors {
                let state = self.door(door).at(&door.rule, now).with_attempt(now);
                self.doors.insert(door.name.clone(), (state, now + door.rule.forget_after));
            }
        }
        admission
    }

    pub(super) fn take_back(&mut self, doors: &[Door]) {
        for door in doors {
            if let Some((state, _)) = self.doors.get_mut(&door.name) {
                *state = state.with_attempt_taken_back();
            }
        }
    }

    /// Removes what is over, and says how much a sweep without a limit removes.
    pub(super) fn sweep_doors(&mut self, now: Timestamp) -> u64 {
        let before = self.doors.len() + self.invitations.len();
        self.doors.retain(|_, (_, forget_at)| *forget_at > now);
        self.invitations.retain(|_, invitation| invitation.expires_at > now);
        (before - self.doors.len() - self.invitations.len()) as u64
    }
}

/// So many minutes.
pub(super) const fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

/// A device that nobody confuses with another.
pub(super) fn device(serial: u64) -> Device {
    Device::new(&format!("curl/8.{serial}"), super::super::play::ADDRESS)
}
