//! Plays a sequence of steps on a store and on the model.

use std::{collections::BTreeMap, fmt::Debug, num::NonZeroU32, sync::Arc};

use kerria_core::{
    ClientId, CredentialVersion, DataKey, DataLimits, DataRefused, EmailAddress, Expiry, Groups, LogNumber,
    LoginName, Method, RotationNonce, RotationRule, Selector, SessionId, SessionPolicy, Status, Store,
    Timestamp, TokenHash, TokenId, Transport, UserId, UserName,
    audit::{AuditEntry, AuditEvent},
    store::{
        AtLimit, CarryOver, DataOwner, DataWrite, Invitation, NewSession, NewUser, Overtaken, PasswordChange,
        PasswordChanged, Reference, Refresh, Renewal, Rotation, SessionLimit, SessionRotation, SignIn,
        Successor, TokenUse,
    },
    throttle::Door,
};

use super::{
    super::{
        Stage,
        doors::RULE,
        play::{self, START, data_key, grant, password},
    },
    random::{Step, What},
    state::{Model, device, minutes},
};

/// Small enough to be met.
const LIMITS: DataLimits = DataLimits { keys: 3, value_bytes: 24, total_bytes: 40 };

/// Everything is read and compared after so many steps.
const LOOK_EVERY: usize = 10;

/// Plays `steps`, and says where store and model disagree.
pub(super) async fn play(stage: &mut impl Stage, steps: &[Step]) -> Result<(), String> {
    let mut run = Run::default();
    for (count, step) in steps.iter().enumerate() {
        if matches!(step, Step::Reopen) {
            stage.reopen().await;
        } else {
            run.take(stage.store(), step).await.map_err(|what| format!("{step:?}: {what}"))?;
        }
        if count % LOOK_EVERY == 0 || count + 1 == steps.len() {
            run.look(stage.store()).await?;
        }
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "they are made to be compared")]
fn same<T: PartialEq + Debug>(what: &str, store: T, model: T) -> Result<(), String> {
    if store == model { Ok(()) } else { Err(format!("{what}\nstore: {store:?}\nmodel: {model:?}")) }
}

#[derive(Default)]
struct Run {
    model: Model,
    minutes: u64,
    /// All that were ever there, the latest last.
    users: Vec<UserId>,
    sessions: Vec<SessionId>,
    tokens: Vec<TokenHash>,
    /// All that each session ever had, the latest last.
    tokens_of: BTreeMap<SessionId, Vec<TokenHash>>,
    references: Vec<TokenHash>,
    reference_ids: Vec<TokenId>,
    invitations: Vec<TokenHash>,
}

/// The one that is so far from the latest.
fn latest<T: Copy>(all: &[T], back: usize) -> Option<T> {
    all.len().checked_sub(back + 1).map(|at| all[at])
}

impl Run {
    fn now(&self) -> Timestamp {
        START + minutes(self.minutes)
    }

    fn user(&self, back: usize) -> UserId {
        latest(&self.users, back).unwrap_or(UserId::from_bytes([0xee; 16]))
    }

    fn session(&self, back: usize) -> SessionId {
        latest(&self.sessions, back).unwrap_or(SessionId::from_bytes([0xee; 16]))
    }

    /// One that stands and is carried in tokens, if there is any.
    fn session_in_tokens(&self, back: usize) -> SessionId {
        let held = |session: &&SessionId| self.model.sessions.get(session);
        let in_tokens =
            |session: &&SessionId| held(session).is_some_and(|held| held.details.client.is_some());
        let standing: Vec<_> = self.sessions.iter().filter(in_tokens).copied().collect();
        latest(&standing, back).unwrap_or_else(|| self.session(back))
    }

    fn version(&self, user: UserId, stale: bool) -> CredentialVersion {
        let version = self.model.users.get(&user).map_or(1, |account| account.credentials.version.0);
        CredentialVersion(version + u64::from(stale))
    }

    fn new_session(&mut self, serial: u64, remembered: bool) -> NewSession {
        let id = SessionId::from_bytes(bytes(1, serial));
        self.sessions.push(id);
        NewSession {
            id,
            token: self.token(serial),
            transport: if serial.is_multiple_of(2) { Transport::Cookie } else { Transport::Bearer },
            remembered,
            device: device(serial),
            now: self.now(),
        }
    }

    fn token(&mut self, serial: u64) -> TokenHash {
        let token = TokenHash::from_bytes(bytes(2, serial));
        self.tokens.push(token);
        token
    }

    fn owner(&mut self, owner: Option<usize>, serial: u64) -> DataOwner {
        match owner {
            Some(back) => DataOwner::Session(self.session(back)),
            None => DataOwner::Visitor(self.new_session(serial, false)),
        }
    }

    fn selector(&self, what: What) -> Selector {
        match what {
            What::Session(session) => Selector::Session { session: self.session(session) },
            What::User(user) => Selector::User { user: self.user(user) },
            What::UserExcept(user, except) => {
                Selector::UserExcept { user: self.user(user), except: self.session(except) }
            }
            What::Token(token) => {
                let nobodys = TokenId::from_bytes([0xee; 16]);
                Selector::Token { token: latest(&self.reference_ids, token).unwrap_or(nobodys) }
            }
            What::Client(which) => Selector::Client { client: client(which) },
            What::Everyone => Selector::Everyone,
        }
    }

    async fn take(&mut self, store: Arc<dyn Store>, step: &Step) -> Result<(), String> {
        let now = self.now();
        match step.clone() {
            Step::Open { serial, user, stale, replaces, carry, limit, remembered, method, client: of } => {
                let replaces = replaces.map(|back| self.session(back));
                let user = self.user(user);
                let mut session = self.new_session(serial, remembered);
                if of.is_some() {
                    session.transport = Transport::Tokens;
                }
                self.tokens_of.insert(session.id, vec![session.token]);
                let sign_in = SignIn {
                    session,
                    user,
                    version: (method != Method::Application).then(|| self.version(user, stale)),
                    method,
                    replaces,
                    carry_over: match carry {
                        Some(carry) => CarryOver::Keys(carry.into_iter().map(key).collect()),
                        None => CarryOver::Everything,
                    },
                    limit: limit.map(|(count, refuse)| SessionLimit {
                        per_user: NonZeroU32::new(count).unwrap(),
                        at_limit: if refuse { AtLimit::Refuse } else { AtLimit::EndOldest },
                    }),
                    policy: SessionPolicy::default(),
                    grant: of.map(|of| grant(client(of))),
                };
                let expected = self.model.open(&sign_in);
                same("opened", store.open(sign_in).await.unwrap(), expected)
            }
            Step::Refresh { serial, later, session, any, ago, other_client } => {
                self.minutes += later;
                let session = if any { self.session(session) } else { self.session_in_tokens(session) };
                let nobodys = TokenHash::from_bytes([0xee; 32]);
                let held = self.model.sessions.get(&session).and_then(|held| held.details.client);
                let owner = held.unwrap_or(ClientId::OWN);
                let tokens = self.tokens_of.get(&session).map_or(&[][..], Vec::as_slice);
                let refresh = Refresh {
                    session,
                    presented: latest(tokens, ago).unwrap_or(nobodys),
                    successor: TokenHash::from_bytes(bytes(6, serial)),
                    nonce: RotationNonce::from_bytes(bytes(7, serial)),
                    client: if other_client { "other".parse().unwrap() } else { owner },
                    window: minutes(2),
                    policy: SessionPolicy::default(),
                    device: None,
                    now: self.now(),
                };
                let expected = self.model.rotate(&refresh);
                if let Rotation::Rotated(..) = expected {
                    self.tokens.push(refresh.successor);
                    self.tokens_of.entry(session).or_default().push(refresh.successor);
                }
                same("rotated", store.rotate_refresh(refresh).await.unwrap(), expected)
            }
            Step::Rotate { serial, session, ago, off } => {
                let session = self.session(session);
                let tokens = self.tokens_of.get(&session).map_or(&[][..], Vec::as_slice);
                let token = TokenHash::from_bytes(bytes(10, serial));
                let successor = Successor { token, nonce: RotationNonce::from_bytes(bytes(11, serial)) };
                let used = TokenUse {
                    presented: latest(tokens, ago).unwrap_or(TokenHash::from_bytes([0xee; 32])),
                    successor: (!off).then_some(successor),
                    rule: RotationRule {
                        after: if off { minutes(0) } else { minutes(2) },
                        grace: minutes(1),
                    },
                    device: None,
                    now,
                };
                let expected = self.model.rotate_session(&used);
                if let SessionRotation::Rotated(_) = expected {
                    self.tokens.push(token);
                    self.tokens_of.entry(session).or_default().push(token);
                }
                same("rotated", store.rotate(used).await.unwrap(), expected)
            }
            Step::KeepReference { serial, session, client: of, minutes: left } => {
                let token = TokenHash::from_bytes(bytes(8, serial));
                let reference = Reference {
                    id: TokenId::from_bytes(bytes(9, serial)),
                    session: session.map(|back| self.session(back)),
                    grant: grant(client(of)),
                    issued_at: now,
                    expires_at: now + minutes(left),
                };
                self.references.push(token);
                self.reference_ids.push(reference.id);
                let expected = self.model.keep_reference(&token, &reference);
                same("kept", store.keep_reference(&token, reference).await.unwrap(), expected)
            }
            Step::Spend { client: of, jti, minutes: left } => {
                let (by, jti, expires_at) = (client(of), jti.to_string(), now + minutes(left));
                let expected = self.model.spend(by, &jti, expires_at);
                same("spent", store.spend(by, &jti, expires_at).await.unwrap(), expected)
            }
            Step::SweepTokens { limit } => {
                let expected = self.model.sweep_tokens(now);
                let first = store.sweep_tokens(now, limit).await.unwrap();
                same("swept at first", first, expected.min(u64::from(limit)))?;
                same("swept in all", first + store.sweep_tokens(now, u32::MAX).await.unwrap(), expected)
            }
            Step::AddClient { client: which } => {
                let added = play::client(client(which).as_str());
                let expected = self.model.clients.insert(added.id);
                same("added", store.add_client(&added).await.unwrap(), expected)
            }
            Step::RemoveClient { client: which } => {
                let removed = client(which);
                let expected = self.model.remove_client(removed, now);
                same("removed", store.remove_client(removed, now).await.unwrap(), expected)
            }
            Step::Touch { seen } => {
                let seen: Vec<_> = seen
                    .into_iter()
                    .map(|(session, ago)| (self.session(session), now - minutes(ago)))
                    .collect();
                self.model.touch(&seen);
                store.touch(seen).await.unwrap();
                Ok(())
            }
            Step::Revoke { what, cause, from_a_device } => {
                let selector = self.selector(what);
                let device = from_a_device.then(|| device(0));
                let expected = self.model.revoke(selector, cause, now);
                let revoked = store.revoke(selector, cause, device, now).await.unwrap();
                same("revoked", (revoked.ended, revoked.number), expected)
            }
            Step::Renew { token, why, serial } => {
                let old = latest(&self.tokens, token).unwrap_or(TokenHash::from_bytes([0xee; 32]));
                let new = self.token(serial);
                let expected = self.model.renew(&old, &new, why, now);
                if let Renewal::Renewed(found) = &expected {
                    self.tokens_of.entry(found.session.id).or_default().push(new);
                }
                same("renewed", store.renew(&old, &new, why, now).await.unwrap(), expected)
            }
            Step::SetExpiry { session, minutes: ahead } => {
                let session = self.session(session);
                let span = minutes(ahead.unsigned_abs());
                let expiry = match ahead {
                    0 => Expiry::BY_POLICY,
                    1.. => Expiry::at(now + span),
                    _ => Expiry::on_inactivity(span),
                };
                let expected = self.model.set_expiry(session, expiry, now);
                same("expiry set", store.set_expiry(session, expiry, now).await.unwrap(), expected)
            }
            Step::SweepSessions { limit } => self.sweep_sessions(&*store, limit).await,
            Step::TrimLog { minutes_ago, limit } => {
                let before = now - minutes(minutes_ago);
                let expected = self.model.trim_log(before, limit as usize);
                same("trimmed", store.trim_log(before, limit).await.unwrap(), expected)
            }
            Step::Put { serial, owner, key: name, json } => {
                let (owner, key) = (self.owner(owner, serial), key(name));
                let put = |_: Option<&str>| Ok::<_, DataRefused>(json.clone());
                let expected = self.model.write_data(&owner, &key, LIMITS, put).unwrap();
                same("written", store.put_data(owner, &key, json, LIMITS).await.unwrap(), expected)
            }
            Step::Increment { serial, owner, key: name, by } => {
                let (owner, key) = (self.owner(owner, serial), key(name));
                let sum = |held: Option<&str>| {
                    let held: i64 = held.unwrap_or("0").parse().map_err(|_| DataRefused::NotANumber)?;
                    held.checked_add(by).map(|sum| sum.to_string()).ok_or(DataRefused::NotANumber)
                };
                let expected = self.model.write_data(&owner, &key, LIMITS, sum);
                let expected = expected.unwrap_or_else(DataWrite::Refused);
                same("written", store.increment_data(owner, &key, by, LIMITS).await.unwrap(), expected)
            }
            Step::Change { serial, owner, key: name, guess, json } => {
                let (owner, key) = (self.owner(owner, serial), key(name));
                let held = match (&owner, guess) {
                    (_, Some(guess)) => guess,
                    (DataOwner::Session(session), None) => {
                        self.model.sessions.get(session).and_then(|held| held.data.get(&key).cloned())
                    }
                    (DataOwner::Visitor(_), None) => None,
                };
                let expected =
                    self.model.write_data(&owner, &key, LIMITS, |now| match now == held.as_deref() {
                        true => Ok(json.clone()),
                        false => Err(Overtaken { json: now.map(ToOwned::to_owned) }),
                    });
                same("changed", store.change_data(owner, &key, held, json, LIMITS).await.unwrap(), expected)
            }
            Step::Clear { session } => {
                let session = self.session(session);
                let expected = self.model.clear_data(session);
                same("cleared", store.clear_data(session).await.unwrap(), expected)
            }
            Step::Remove { session, key: name } => {
                let (session, key) = (self.session(session), key(name));
                let expected = self.model.remove_data(session, &key);
                same("removed", store.remove_data(session, &key).await.unwrap(), expected)
            }
            Step::Create { serial, name, email, invitation } => {
                let id = UserId::from_bytes(bytes(3, serial));
                self.users.push(id);
                let user = NewUser {
                    id,
                    name: name.map(user_name),
                    email: email.map(address),
                    password: password(&serial.to_string()),
                    device: Some(device(serial)),
                    now,
                };
                let invitation = invitation.and_then(|back| latest(&self.invitations, back));
                let expected = self.model.create(&user, invitation.as_ref());
                same("created", store.create_user(user, invitation.as_ref()).await.unwrap(), expected)
            }
            Step::ChangePassword { serial, user, stale, by_operator, keep } => {
                let user = self.user(user);
                let change = PasswordChange {
                    user,
                    version: (!by_operator).then(|| self.version(user, stale)),
                    password: password(&serial.to_string()),
                    keep: keep.map(|back| (self.session(back), self.token(serial))),
                    device: None,
                    now,
                };
                let expected = self.model.change_password(&change);
                if let (PasswordChanged::Changed { .. }, Some((session, token))) = (&expected, &change.keep) {
                    self.tokens_of.entry(*session).or_default().push(*token);
                }
                same("changed", store.change_password(change).await.unwrap(), expected)
            }
            Step::Rehash { serial, user, verified } => {
                let user = self.user(user);
                let held = self.model.users.get(&user).filter(|_| verified);
                let old = held.map_or(password("wrong"), |account| account.credentials.password.clone());
                let new = password(&serial.to_string());
                self.model.rehash(user, &old, &new);
                store.rehash_password(user, &old, &new).await.unwrap();
                Ok(())
            }
            Step::Rename { user, name, email } => {
                let (user, name, email) = (self.user(user), name.map(user_name), email.map(address));
                let expected = self.model.rename(user, name.clone(), email.clone(), now);
                same("renamed", store.rename(user, name, email, None, now).await.unwrap(), expected)
            }
            Step::ChangeGroups { user, joined, left } => {
                let (user, [joined, left]) = (self.user(user), [joined, left].map(groups));
                let expected = self.model.change_groups(user, &joined, &left, now);
                let changed = store.change_groups(user, &joined, &left, now).await.unwrap();
                same("groups", changed, expected)
            }
            Step::SetStatus { user, active } => {
                let user = self.user(user);
                let status = if active { Status::Active } else { Status::Disabled };
                let expected = self.model.set_status(user, status, now);
                same("set", store.set_status(user, status, now).await.unwrap(), expected)
            }
            Step::Delete { user } => {
                let user = self.user(user);
                let expected = self.model.delete(user, now);
                same("deleted", store.delete_user(user, None, now).await.unwrap(), expected)
            }
            Step::Invite { serial, minutes: left, first_account } => {
                let token = TokenHash::from_bytes(bytes(4, serial));
                self.invitations.push(token);
                let invitation = Invitation { expires_at: now + minutes(left), first_account };
                self.model.invite(&token, invitation, now);
                store.invite(&token, invitation, now).await.unwrap();
                Ok(())
            }
            Step::Withdraw => {
                self.model.invitations.retain(|_, invitation| !invitation.first_account);
                store.withdraw_first_account_invitations().await.unwrap();
                Ok(())
            }
            Step::KnowDevice { user, device } => {
                let (user, device) = (self.user(user), known_device(device));
                self.model.know_device(user, &device);
                store.know_device(user, &device, now).await.unwrap();
                Ok(())
            }
            Step::Knock { doors: names } => {
                let doors = doors(&names);
                let expected = self.model.knock(&doors, now);
                same("admission", store.knock(doors, now).await.unwrap(), expected)
            }
            Step::TakeBack { doors: names } => {
                self.model.take_back(&doors(&names));
                store.take_back(doors(&names)).await.unwrap();
                Ok(())
            }
            Step::Reset { doors: names } => {
                self.model.doors.retain(|name, _| !doors(&names).iter().any(|door| door.name == *name));
                store.reset(doors(&names)).await.unwrap();
                Ok(())
            }
            Step::SweepDoors { limit } => {
                let expected = self.model.sweep_doors(now);
                let first = store.sweep_doors(now, limit).await.unwrap();
                same("swept at first", first, expected.min(u64::from(limit)))?;
                same("swept in all", first + store.sweep_doors(now, u32::MAX).await.unwrap(), expected)
            }
            Step::Record { user } => {
                let (user, event) = (Some(self.user(user)), AuditEvent::SignInFailed);
                let line =
                    AuditEntry { at: now, event, user, session: None, address: None, detail: String::new() };
                self.model.audit.push((now, event, user, None));
                store.record(&line).await.unwrap();
                Ok(())
            }
            Step::Wait { minutes } => {
                self.minutes += minutes;
                Ok(())
            }
            Step::Reopen => Ok(()),
        }
    }

    async fn sweep_sessions(&mut self, store: &dyn Store, limit: u32) -> Result<(), String> {
        let policy = SessionPolicy::default();
        let over = self.model.over(&policy, self.now());
        let swept = store.sweep_sessions(policy, self.now(), limit).await.unwrap();
        same("swept", swept, over.len().min(limit as usize) as u64)?;
        // Which of them are gone is for the store to say, as long as they were over.
        let left = store.all_sessions(None, u32::MAX).await.unwrap();
        for session in over {
            if !left.iter().any(|details| details.session.id == session) {
                self.model.sessions.remove(&session);
            }
        }
        Ok(())
    }

    /// Reads everything.
    async fn look(&self, store: Arc<dyn Store>) -> Result<(), String> {
        let model = &self.model;
        for token in &self.tokens {
            same("found", store.find(token).await.unwrap(), model.find(token))?;
        }
        let all = store.all_sessions(None, u32::MAX).await.unwrap();
        same("sessions", all, model.sessions.keys().map(|session| model.details(*session)).collect())?;
        for session in &self.sessions {
            same("session", store.session(*session).await.unwrap(), model.session(*session))?;
            for token in self.tokens_of.get(session).into_iter().flatten() {
                let expected = model.sessions.get(session).is_some_and(|held| held.details.token == *token);
                same("present", store.is_present_refresh(*session, token).await.unwrap(), expected)?;
            }
            let held = model.sessions.get(session).map(|held| held.data.clone()).unwrap_or_default();
            same("all data", store.all_data(*session).await.unwrap(), held.into_iter().collect())?;
            for key in (0..4).map(key) {
                let expected = model.sessions.get(session).and_then(|held| held.data.get(&key).cloned());
                same("data", store.data(*session, &key).await.unwrap(), expected)?;
            }
        }
        for token in &self.references {
            same("reference", store.reference(token).await.unwrap(), model.reference(token))?;
        }
        let clients = store.clients().await.unwrap().into_iter().map(|client| client.id).collect();
        same("clients", clients, model.clients.iter().copied().collect::<Vec<_>>())?;
        let users = store.users(None, u32::MAX).await.unwrap();
        same("users", users, model.users.values().map(|account| account.user.clone()).collect())?;
        for user in &self.users {
            self.look_at_user(&*store, *user).await?;
        }
        for name in (0..4).map(login).chain((0..4).map(|which| LoginName::parse(address(which).as_str()))) {
            let expected = model.called(&name);
            let called = store.user_called(&name).await.unwrap();
            same("called", called, expected.map(|account| account.user.clone()))?;
            let credentials = store.credentials(&name).await.unwrap();
            same("credentials", credentials, expected.map(|account| account.credentials.clone()))?;
        }
        for token in &self.invitations {
            let expected = model.invitation(token, self.now());
            same("invitation", store.invitation(token, self.now()).await.unwrap(), expected)?;
        }
        for number in [0, model.removed, model.removed + 2, model.log.len(), model.log.len() + 1] {
            let number = LogNumber(number as u64);
            same("log", store.log_after(number, 3).await.unwrap(), model.log_after(number, 3))?;
        }
        let lines = store.audit(None, u32::MAX).await.unwrap();
        let lines = lines.into_iter().map(|line| (line.at, line.event, line.user, line.session)).collect();
        same("audit log", lines, model.audit.iter().rev().copied().collect::<Vec<_>>())
    }

    async fn look_at_user(&self, store: &dyn Store, user: UserId) -> Result<(), String> {
        let account = self.model.users.get(&user);
        let sessions = store.sessions_of(user).await.unwrap();
        same("sessions of a user", sessions, self.model.sessions_of(user))?;
        let credentials = store.credentials_of(user).await.unwrap();
        same("credentials of a user", credentials, account.map(|account| account.credentials.clone()))?;
        for device in (0..4).map(known_device) {
            let expected = account.is_some_and(|account| account.devices.contains(device.as_bytes()));
            same("known device", store.knows_device(user, &device).await.unwrap(), expected)?;
        }
        Ok(())
    }
}

/// Unique bytes of one kind. In no order: what is opened later does not sort later.
fn bytes<const N: usize>(kind: u8, serial: u64) -> [u8; N] {
    let mut bytes = [kind; N];
    bytes[..8].copy_from_slice(&serial.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes
}

/// The first stands for the installation itself, and needs no registration.
fn client(which: u8) -> ClientId {
    ["kerria", "app", "shop"][usize::from(which)].parse().unwrap()
}

fn key(which: u8) -> DataKey {
    data_key(&format!("key{which}"))
}

fn user_name(which: u8) -> UserName {
    UserName::parse(["Alice", "alice", "Bob", "Zoë"][usize::from(which)]).unwrap()
}

fn groups(which: Vec<u8>) -> Groups {
    which.into_iter().map(|which| format!("g{which}").parse().unwrap()).collect()
}

fn login(which: u8) -> LoginName {
    LoginName::parse(["ALICE", "bob", "zoë", "nobody"][usize::from(which)])
}

fn address(which: u8) -> EmailAddress {
    EmailAddress::parse(&format!("{}@Example.com", ["a", "A", "b", "c"][usize::from(which)])).unwrap()
}

fn known_device(which: u8) -> TokenHash {
    TokenHash::from_bytes(bytes(5, u64::from(which)))
}

fn doors(which: &[u8]) -> Vec<Door> {
    which.iter().map(|which| Door { name: format!("door{which}"), rule: RULE }).collect()
}
