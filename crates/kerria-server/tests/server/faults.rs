//! A store that breaks when it is told to, and counts what it is asked.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
};

use async_trait::async_trait;
use kerria_core::{
    Algorithm, Cause, Client, ClientId, DataKey, DataLimits, Device, EmailAddress, Grant, Groups, Lease,
    LogNumber, LoginName, PasswordHash, Selector, SessionId, SessionPolicy, SigningKey, Status, Store,
    StoreError, Timestamp, TokenHash, User, UserId, UserName,
    audit::AuditEntry,
    lease::RollCall,
    store::{
        Accounts, Clients, Credentials, DataOwner, DataWrite, Doors, Follower, Found, Grouping,
        InstallationKeys, Invitation, Leases, LogPage, NewUser, Opened, Overtaken, PasswordChange,
        PasswordChanged, Reference, Refresh, Removal, Renaming, Renew, Renewal, Revoked, Rotation,
        SessionData, SessionDetails, SessionRotation, Sessions, SignIn, SigningKeys, TokenUse, Tokens,
        Trouble, UserCreation, Wait,
    },
    throttle::{Admission, Door},
};
use kerria_store::SqliteStore;
use tokio::sync::Notify;

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It answers nothing.
    All,
    /// This step fails.
    Of(&'static str),
    /// This step panics.
    Panic(&'static str),
}

/// The real store, with faults.
pub struct FaultyStore {
    inner: SqliteStore,
    fault: Mutex<Fault>,
    asked: Mutex<HashMap<&'static str, u64>>,
    meanwhile: Mutex<Option<(Selector, Timestamp)>>,
    held: Mutex<Option<Arc<Held>>>,
}

/// A reading of the signing keys that is held back when it has read.
#[derive(Default)]
pub struct Held {
    has_read: Notify,
    released: Notify,
}

impl Held {
    /// Waits until it has read.
    pub async fn read(&self) {
        self.has_read.notified().await;
    }

    /// Lets it go on.
    pub fn release(&self) {
        self.released.notify_one();
    }
}

impl FaultyStore {
    pub fn new(inner: SqliteStore) -> Self {
        Self {
            inner,
            fault: Mutex::new(Fault::None),
            asked: Mutex::default(),
            meanwhile: Mutex::default(),
            held: Mutex::default(),
        }
    }

    /// Breaks it, or mends it.
    pub fn suffers(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// How often it was asked for this step.
    pub fn asked(&self, step: &str) -> u64 {
        self.asked.lock().unwrap().get(step).copied().unwrap_or_default()
    }

    /// Ends this at this time, right after the next reading of a client.
    pub fn ends_meanwhile(&self, selector: Selector, at: Timestamp) {
        *self.meanwhile.lock().unwrap() = Some((selector, at));
    }

    /// Holds back the next reading of the signing keys.
    pub fn holds_next_keys(&self) -> Arc<Held> {
        let held = Arc::new(Held::default());
        *self.held.lock().unwrap() = Some(Arc::clone(&held));
        held
    }

    fn pass(&self, step: &'static str) -> Result<(), StoreError> {
        *self.asked.lock().unwrap().entry(step).or_default() += 1;
        let fault = *self.fault.lock().unwrap();
        match fault {
            Fault::All => Err(Trouble::Unavailable.into()),
            Fault::Of(broken) if broken == step => Err(Trouble::Unavailable.into()),
            Fault::Panic(broken) if broken == step => panic!("{step} was told to panic"),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Sessions for FaultyStore {
    async fn open(&self, sign_in: SignIn) -> Result<Opened, StoreError> {
        self.pass("open")?;
        self.inner.open(sign_in).await
    }

    async fn find(&self, token: &TokenHash) -> Result<Option<Found>, StoreError> {
        self.pass("find")?;
        self.inner.find(token).await
    }

    async fn touch(&self, seen: Vec<(SessionId, Timestamp)>) -> Result<(), StoreError> {
        self.pass("touch")?;
        self.inner.touch(seen).await
    }

    async fn revoke_and_wait(
        &self,
        selector: Selector,
        cause: Cause,
        device: Option<Device>,
        now: Timestamp,
        wait: Wait,
    ) -> Result<Revoked, StoreError> {
        self.pass("revoke")?;
        self.inner.revoke_and_wait(selector, cause, device, now, wait).await
    }

    async fn rotate(&self, token: TokenUse) -> Result<SessionRotation, StoreError> {
        self.pass("rotate")?;
        self.inner.rotate(token).await
    }

    async fn renew(
        &self,
        old: &TokenHash,
        new: &TokenHash,
        why: Renew,
        now: Timestamp,
    ) -> Result<Renewal, StoreError> {
        self.pass("renew")?;
        self.inner.renew(old, new, why, now).await
    }

    async fn sessions_of(&self, user: UserId) -> Result<Vec<SessionDetails>, StoreError> {
        self.pass("sessions_of")?;
        self.inner.sessions_of(user).await
    }

    async fn all_sessions(
        &self,
        after: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<SessionDetails>, StoreError> {
        self.pass("all_sessions")?;
        self.inner.all_sessions(after, limit).await
    }

    async fn sweep_sessions(
        &self,
        policy: SessionPolicy,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.pass("sweep_sessions")?;
        self.inner.sweep_sessions(policy, now, limit).await
    }

    async fn log_after(&self, number: LogNumber, limit: u32) -> Result<LogPage, StoreError> {
        self.pass("log_after")?;
        self.inner.log_after(number, limit).await
    }

    async fn trim_log(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.pass("trim_log")?;
        self.inner.trim_log(before, limit).await
    }
}

#[async_trait]
impl SessionData for FaultyStore {
    async fn put_data(
        &self,
        owner: DataOwner,
        key: &DataKey,
        json: String,
        limits: DataLimits,
    ) -> Result<DataWrite, StoreError> {
        self.pass("put_data")?;
        self.inner.put_data(owner, key, json, limits).await
    }

    async fn increment_data(
        &self,
        owner: DataOwner,
        key: &DataKey,
        by: i64,
        limits: DataLimits,
    ) -> Result<DataWrite, StoreError> {
        self.pass("increment_data")?;
        self.inner.increment_data(owner, key, by, limits).await
    }

    async fn change_data(
        &self,
        owner: DataOwner,
        key: &DataKey,
        held: Option<String>,
        json: String,
        limits: DataLimits,
    ) -> Result<Result<DataWrite, Overtaken>, StoreError> {
        self.pass("change_data")?;
        self.inner.change_data(owner, key, held, json, limits).await
    }

    async fn all_data(&self, session: SessionId) -> Result<Vec<(DataKey, String)>, StoreError> {
        self.pass("all_data")?;
        self.inner.all_data(session).await
    }

    async fn clear_data(&self, session: SessionId) -> Result<u64, StoreError> {
        self.pass("clear_data")?;
        self.inner.clear_data(session).await
    }

    async fn data(&self, session: SessionId, key: &DataKey) -> Result<Option<String>, StoreError> {
        self.pass("data")?;
        self.inner.data(session, key).await
    }

    async fn remove_data(&self, session: SessionId, key: &DataKey) -> Result<Option<String>, StoreError> {
        self.pass("remove_data")?;
        self.inner.remove_data(session, key).await
    }
}

#[async_trait]
impl Accounts for FaultyStore {
    async fn create_user(
        &self,
        user: NewUser,
        invitation: Option<&TokenHash>,
    ) -> Result<UserCreation, StoreError> {
        self.pass("create_user")?;
        self.inner.create_user(user, invitation).await
    }

    async fn user(&self, user: UserId) -> Result<Option<User>, StoreError> {
        self.pass("user")?;
        self.inner.user(user).await
    }

    async fn user_called(&self, name: &LoginName) -> Result<Option<User>, StoreError> {
        self.pass("user_called")?;
        self.inner.user_called(name).await
    }

    async fn users(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        self.pass("users")?;
        self.inner.users(after, limit).await
    }

    async fn has_users(&self) -> Result<bool, StoreError> {
        self.pass("has_users")?;
        self.inner.has_users().await
    }

    async fn credentials(&self, name: &LoginName) -> Result<Option<Credentials>, StoreError> {
        self.pass("credentials")?;
        self.inner.credentials(name).await
    }

    async fn credentials_of(&self, user: UserId) -> Result<Option<Credentials>, StoreError> {
        self.pass("credentials_of")?;
        self.inner.credentials_of(user).await
    }

    async fn change_password(&self, change: PasswordChange) -> Result<PasswordChanged, StoreError> {
        self.pass("change_password")?;
        self.inner.change_password(change).await
    }

    async fn rehash_password(
        &self,
        user: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<(), StoreError> {
        self.pass("rehash_password")?;
        self.inner.rehash_password(user, old, new).await
    }

    async fn rename(
        &self,
        user: UserId,
        name: Option<UserName>,
        email: Option<EmailAddress>,
        by: Option<TokenHash>,
        now: Timestamp,
    ) -> Result<Renaming, StoreError> {
        self.pass("rename")?;
        self.inner.rename(user, name, email, by, now).await
    }

    async fn change_groups(
        &self,
        user: UserId,
        joined: &Groups,
        left: &Groups,
        now: Timestamp,
    ) -> Result<Grouping, StoreError> {
        self.pass("change_groups")?;
        self.inner.change_groups(user, joined, left, now).await
    }

    async fn set_status(
        &self,
        user: UserId,
        status: Status,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        self.pass("set_status")?;
        self.inner.set_status(user, status, now).await
    }

    async fn delete_user(
        &self,
        user: UserId,
        by: Option<TokenHash>,
        now: Timestamp,
    ) -> Result<Removal, StoreError> {
        self.pass("delete_user")?;
        self.inner.delete_user(user, by, now).await
    }

    async fn invite(
        &self,
        token: &TokenHash,
        invitation: Invitation,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.pass("invite")?;
        self.inner.invite(token, invitation, now).await
    }

    async fn invitation(&self, token: &TokenHash, now: Timestamp) -> Result<Option<Invitation>, StoreError> {
        self.pass("invitation")?;
        self.inner.invitation(token, now).await
    }

    async fn withdraw_first_account_invitations(&self) -> Result<(), StoreError> {
        self.pass("withdraw_first_account_invitations")?;
        self.inner.withdraw_first_account_invitations().await
    }

    async fn know_device(&self, user: UserId, device: &TokenHash, now: Timestamp) -> Result<(), StoreError> {
        self.pass("know_device")?;
        self.inner.know_device(user, device, now).await
    }

    async fn knows_device(&self, user: UserId, device: &TokenHash) -> Result<bool, StoreError> {
        self.pass("knows_device")?;
        self.inner.knows_device(user, device).await
    }
}

#[async_trait]
impl Doors for FaultyStore {
    async fn knock(&self, doors: Vec<Door>, now: Timestamp) -> Result<Admission, StoreError> {
        self.pass("knock")?;
        self.inner.knock(doors, now).await
    }

    async fn take_back(&self, doors: Vec<Door>) -> Result<(), StoreError> {
        self.pass("take_back")?;
        self.inner.take_back(doors).await
    }

    async fn reset(&self, doors: Vec<Door>) -> Result<(), StoreError> {
        self.pass("reset")?;
        self.inner.reset(doors).await
    }

    async fn sweep_doors(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.pass("sweep_doors")?;
        self.inner.sweep_doors(now, limit).await
    }
}

#[async_trait]
impl Tokens for FaultyStore {
    async fn rotate_refresh(&self, refresh: Refresh) -> Result<Rotation, StoreError> {
        self.pass("rotate_refresh")?;
        self.inner.rotate_refresh(refresh).await
    }

    async fn session(&self, session: SessionId) -> Result<Option<(Found, Option<Grant>)>, StoreError> {
        self.pass("session")?;
        self.inner.session(session).await
    }

    async fn is_present_refresh(&self, session: SessionId, token: &TokenHash) -> Result<bool, StoreError> {
        self.pass("is_present_refresh")?;
        self.inner.is_present_refresh(session, token).await
    }

    async fn keep_reference(&self, token: &TokenHash, reference: Reference) -> Result<bool, StoreError> {
        self.pass("keep_reference")?;
        self.inner.keep_reference(token, reference).await
    }

    async fn reference(&self, token: &TokenHash) -> Result<Option<Reference>, StoreError> {
        self.pass("reference")?;
        self.inner.reference(token).await
    }

    async fn spend(&self, by: ClientId, jti: &str, expires_at: Timestamp) -> Result<bool, StoreError> {
        self.pass("spend")?;
        self.inner.spend(by, jti, expires_at).await
    }

    async fn sweep_tokens(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.pass("sweep_tokens")?;
        self.inner.sweep_tokens(now, limit).await
    }
}

#[async_trait]
impl Clients for FaultyStore {
    async fn add_client(&self, client: &Client) -> Result<bool, StoreError> {
        self.pass("add_client")?;
        self.inner.add_client(client).await
    }

    async fn client(&self, id: ClientId) -> Result<Option<Client>, StoreError> {
        self.pass("client")?;
        let found = self.inner.client(id).await;
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some((selector, at)) = meanwhile {
            self.inner.revoke(selector, Cause::Operator, None, at).await?;
        }
        found
    }

    async fn clients(&self) -> Result<Vec<Client>, StoreError> {
        self.pass("clients")?;
        self.inner.clients().await
    }

    async fn change_client(&self, client: &Client) -> Result<bool, StoreError> {
        self.pass("change_client")?;
        self.inner.change_client(client).await
    }

    async fn set_client_secret(&self, id: ClientId, secret: &TokenHash) -> Result<bool, StoreError> {
        self.pass("set_client_secret")?;
        self.inner.set_client_secret(id, secret).await
    }

    async fn remove_client(&self, id: ClientId, now: Timestamp) -> Result<bool, StoreError> {
        self.pass("remove_client")?;
        self.inner.remove_client(id, now).await
    }
}

#[async_trait]
impl SigningKeys for FaultyStore {
    async fn signing_keys(&self) -> Result<Vec<SigningKey>, StoreError> {
        self.pass("signing_keys")?;
        let keys = self.inner.signing_keys().await;
        let held = self.held.lock().unwrap().take();
        if let Some(held) = held {
            held.has_read.notify_one();
            held.released.notified().await;
        }
        keys
    }

    async fn begin_keyring(&self, algorithm: Algorithm, keys: Vec<SigningKey>) -> Result<(), StoreError> {
        self.pass("begin_keyring")?;
        self.inner.begin_keyring(algorithm, keys).await
    }

    async fn turn_keyring(
        &self,
        algorithm: Algorithm,
        active: &str,
        next: SigningKey,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.pass("turn_keyring")?;
        self.inner.turn_keyring(algorithm, active, next, now).await
    }

    async fn reset_keyrings(&self, keys: Vec<SigningKey>, now: Timestamp) -> Result<(), StoreError> {
        self.pass("reset_keyrings")?;
        self.inner.reset_keyrings(keys, now).await
    }

    async fn drop_retired_keys(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.pass("drop_retired_keys")?;
        self.inner.drop_retired_keys(before).await
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn installation_keys(&self, fresh: InstallationKeys) -> Result<InstallationKeys, StoreError> {
        self.pass("installation_keys")?;
        self.inner.installation_keys(fresh).await
    }

    async fn record(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.pass("record")?;
        self.inner.record(entry).await
    }

    async fn audit(&self, user: Option<UserId>, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.pass("audit")?;
        self.inner.audit(user, limit).await
    }

    async fn trim_audit(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.pass("trim_audit")?;
        self.inner.trim_audit(before, limit).await
    }

    async fn follow(&self, follower: Weak<dyn Follower>) -> Result<LogNumber, StoreError> {
        self.pass("follow")?;
        self.inner.follow(follower).await
    }

    fn lease(&self) -> Lease {
        self.inner.lease()
    }

    fn ledger(&self) -> Option<Arc<dyn Leases>> {
        self.inner.ledger()
    }

    async fn roll_call(&self) -> Result<Option<RollCall>, StoreError> {
        self.inner.roll_call().await
    }

    async fn check_health(&self) -> Result<(), StoreError> {
        self.pass("check_health")?;
        self.inner.check_health().await
    }
}
