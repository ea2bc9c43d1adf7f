use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use kerria_core::{
    Algorithm, Cause, Client, ClientId, Clock, DataKey, DataLimits, Device, EmailAddress, Expiry, Grant,
    Groups, Lease, LogEntry, LogNumber, LoginName, Moment, PasswordHash, Selector, SessionId, SessionPolicy,
    SigningKey, Status, Store, StoreError, Timestamp, TokenHash, User, UserId, UserName,
    audit::AuditEntry,
    lease::{LeaseKeeper, RollCall},
    store::{
        Accounts, Clients, Credentials, DataOwner, DataWrite, Doors, Follower, Found, Grouping,
        InstallationKeys, Invitation, Leases, LogPage, NewUser, Opened, Overtaken, PasswordChange,
        PasswordChanged, Reference, Refresh, Removal, Renaming, Renew, Renewal, Revoked, Rotation,
        SessionData, SessionDetails, SessionRotation, Sessions, SignIn, SigningKeys, TokenUse, Tokens,
        Trouble, UserCreation, Wait,
    },
    throttle::{Admission, Door},
};
use tokio::sync::{Notify, watch};

/// How long the lease of a store lasts that is as if others shared it.
const LEASE: Duration = Duration::from_secs(1);

/// To which steps of a store something happens. A step is called what its method in the storage contract is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// To all.
    All,
    /// To so many that come next, whichever they are.
    Next(u32),
    /// To this one, however often it comes.
    Of(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Fails,
    IsBusy,
    Hangs,
    Panics,
}

/// A store that fails, hangs or panics when it is told to, and counts what it is asked. Whatever else it is asked, the store
/// behind it answers.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    fault: Mutex<Option<(Fault, Steps)>>,
    mended: watch::Sender<u64>,
    asked: Mutex<HashMap<&'static str, u64>>,
    held: Mutex<HashMap<&'static str, Arc<Held>>>,
    shared: Option<Shared>,
}

/// What a store has that others share.
struct Shared {
    lease: Lease,
    keeper: LeaseKeeper,
    relays: Mutex<Vec<Arc<Relay>>>,
}

impl FaultyStore {
    /// In front of this store. There is nothing wrong with it yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self::over(inner, None)
    }

    /// The same, as if other processes used the store, too: memory counts under a lease, which lasts a second by this clock. While
    /// all steps fail or hang, nobody renews it, and nothing is heard of what others end.
    #[must_use]
    pub fn shared(inner: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        let (lease, keeper) = Lease::limited(move || moment(clock.now()));
        keeper.set(Some(Moment(u64::MAX)));
        Self::over(inner, Some(Shared { lease, keeper, relays: Mutex::default() }))
    }

    fn over(inner: Arc<dyn Store>, shared: Option<Shared>) -> Self {
        Self {
            inner,
            fault: Mutex::default(),
            mended: watch::Sender::new(0),
            asked: Mutex::default(),
            held: Mutex::default(),
            shared,
        }
    }

    /// These steps fail from now on: they change nothing, and answer that the store does not answer.
    pub fn fail(&self, steps: Steps) {
        self.suffers(Fault::Fails, steps);
    }

    /// These steps find no room from now on: they change nothing, and answer that too much work waits for the store.
    pub fn busy(&self, steps: Steps) {
        self.suffers(Fault::IsBusy, steps);
    }

    /// These steps hang from now on, until the store is mended. Then they go on.
    pub fn hang(&self, steps: Steps) {
        self.suffers(Fault::Hangs, steps);
    }

    /// These steps panic from now on.
    pub fn panic(&self, steps: Steps) {
        self.suffers(Fault::Panics, steps);
    }

    /// There is nothing wrong with it any more.
    pub fn mend(&self) {
        *lock(&self.fault) = None;
        self.mended.send_modify(|times| *times += 1);
        if let Some(shared) = &self.shared {
            // In this order: a lease says that nothing was missed.
            lock(&shared.relays).iter().for_each(|relay| relay.catch_up());
            shared.keeper.set(Some(Moment(u64::MAX)));
        }
    }

    /// How often it was asked for this step.
    #[must_use]
    pub fn asked(&self, step: &str) -> u64 {
        lock(&self.asked).get(step).copied().unwrap_or_default()
    }

    /// Holds back the next answer to this step, once there is one.
    #[must_use]
    pub fn hold(&self, step: &'static str) -> Arc<Held> {
        let held = Arc::new(Held::default());
        lock(&self.held).insert(step, Arc::clone(&held));
        held
    }

    fn suffers(&self, fault: Fault, steps: Steps) {
        *lock(&self.fault) = Some((fault, steps));
        if let (Some(shared), Steps::All) = (&self.shared, steps) {
            lock(&shared.relays).iter().for_each(|relay| relay.hold());
            shared.keeper.set(Some(shared.keeper.now() + LEASE));
        }
    }

    /// What happens to this step, if anything does.
    fn fault(&self, step: &'static str) -> Option<Fault> {
        let mut fault = lock(&self.fault);
        match &mut *fault {
            Some((fault, Steps::All)) => Some(*fault),
            Some((fault, Steps::Of(named))) => (*named == step).then_some(*fault),
            Some((happens, Steps::Next(left))) => {
                let happens = *happens;
                *left = left.saturating_sub(1);
                if *left == 0 {
                    *fault = None;
                }
                Some(happens)
            }
            None => None,
        }
    }

    async fn step<T>(
        &self,
        step: &'static str,
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        *lock(&self.asked).entry(step).or_default() += 1;
        let mut mended = self.mended.subscribe();
        match self.fault(step) {
            Some(Fault::Fails) => return Err(Trouble::Unavailable.into()),
            Some(Fault::IsBusy) => return Err(Trouble::Busy.into()),
            Some(Fault::Panics) => panic!("{step} was told to panic"),
            Some(Fault::Hangs) => drop(mended.changed().await),
            None => {}
        }
        let answer = answer.await;
        let held = lock(&self.held).remove(step);
        if let Some(held) = held {
            held.reached.notify_one();
            held.released.notified().await;
        }
        answer
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({:?})", lock(&self.fault))
    }
}

/// An answer of a [`FaultyStore`] that is held back.
#[derive(Debug, Default)]
pub struct Held {
    reached: Notify,
    released: Notify,
}

impl Held {
    /// Waits until there is an answer.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Lets it through.
    pub fn release(&self) {
        self.released.notify_one();
    }
}

/// Between a store and one who follows it.
struct Relay {
    follower: Weak<dyn Follower>,
    /// What was not passed on, if nothing is at the moment.
    held: Mutex<Option<Vec<LogEntry>>>,
}

impl Relay {
    fn hold(&self) {
        lock(&self.held).get_or_insert_default();
    }

    fn catch_up(&self) {
        let mut held = lock(&self.held);
        if let (Some(missed), Some(follower)) = (held.take(), self.follower.upgrade())
            && !missed.is_empty()
        {
            follower.apply(&missed);
        }
    }
}

impl Follower for Relay {
    fn apply(&self, entries: &[LogEntry]) {
        let mut held = lock(&self.held);
        match (&mut *held, self.follower.upgrade()) {
            (Some(missed), _) => missed.extend_from_slice(entries),
            (None, Some(follower)) => follower.apply(entries),
            (None, None) => {}
        }
    }

    fn start_over(&self, head: LogNumber) {
        if let Some(follower) = self.follower.upgrade() {
            follower.start_over(head);
        }
    }
}

fn moment(now: Timestamp) -> Moment {
    Moment(u64::try_from(now.as_millis()).unwrap_or_default().saturating_mul(1_000_000))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Sessions for FaultyStore {
    async fn open(&self, sign_in: SignIn) -> Result<Opened, StoreError> {
        self.step("open", self.inner.open(sign_in)).await
    }

    async fn find(&self, token: &TokenHash) -> Result<Option<Found>, StoreError> {
        self.step("find", self.inner.find(token)).await
    }

    async fn touch(&self, seen: Vec<(SessionId, Timestamp)>) -> Result<(), StoreError> {
        self.step("touch", self.inner.touch(seen)).await
    }

    async fn revoke_and_wait(
        &self,
        selector: Selector,
        cause: Cause,
        device: Option<Device>,
        now: Timestamp,
        wait: Wait,
    ) -> Result<Revoked, StoreError> {
        self.step("revoke", self.inner.revoke_and_wait(selector, cause, device, now, wait)).await
    }

    async fn rotate(&self, token: TokenUse) -> Result<SessionRotation, StoreError> {
        self.step("rotate", self.inner.rotate(token)).await
    }

    async fn renew(
        &self,
        old: &TokenHash,
        new: &TokenHash,
        why: Renew,
        now: Timestamp,
    ) -> Result<Renewal, StoreError> {
        self.step("renew", self.inner.renew(old, new, why, now)).await
    }

    async fn set_expiry(
        &self,
        session: SessionId,
        expiry: Expiry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.step("set_expiry", self.inner.set_expiry(session, expiry, now)).await
    }

    async fn sessions_of(&self, user: UserId) -> Result<Vec<SessionDetails>, StoreError> {
        self.step("sessions_of", self.inner.sessions_of(user)).await
    }

    async fn all_sessions(
        &self,
        after: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<SessionDetails>, StoreError> {
        self.step("all_sessions", self.inner.all_sessions(after, limit)).await
    }

    async fn sweep_sessions(
        &self,
        policy: SessionPolicy,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.step("sweep_sessions", self.inner.sweep_sessions(policy, now, limit)).await
    }

    async fn log_after(&self, number: LogNumber, limit: u32) -> Result<LogPage, StoreError> {
        self.step("log_after", self.inner.log_after(number, limit)).await
    }

    async fn trim_log(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.step("trim_log", self.inner.trim_log(before, limit)).await
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
        self.step("put_data", self.inner.put_data(owner, key, json, limits)).await
    }

    async fn increment_data(
        &self,
        owner: DataOwner,
        key: &DataKey,
        by: i64,
        limits: DataLimits,
    ) -> Result<DataWrite, StoreError> {
        self.step("increment_data", self.inner.increment_data(owner, key, by, limits)).await
    }

    async fn change_data(
        &self,
        owner: DataOwner,
        key: &DataKey,
        held: Option<String>,
        json: String,
        limits: DataLimits,
    ) -> Result<Result<DataWrite, Overtaken>, StoreError> {
        self.step("change_data", self.inner.change_data(owner, key, held, json, limits)).await
    }

    async fn all_data(&self, session: SessionId) -> Result<Vec<(DataKey, String)>, StoreError> {
        self.step("all_data", self.inner.all_data(session)).await
    }

    async fn clear_data(&self, session: SessionId) -> Result<u64, StoreError> {
        self.step("clear_data", self.inner.clear_data(session)).await
    }

    async fn data(&self, session: SessionId, key: &DataKey) -> Result<Option<String>, StoreError> {
        self.step("data", self.inner.data(session, key)).await
    }

    async fn data_to_change(&self, session: SessionId, key: &DataKey) -> Result<Option<String>, StoreError> {
        self.step("data_to_change", self.inner.data_to_change(session, key)).await
    }

    async fn remove_data(&self, session: SessionId, key: &DataKey) -> Result<Option<String>, StoreError> {
        self.step("remove_data", self.inner.remove_data(session, key)).await
    }
}

#[async_trait]
impl Accounts for FaultyStore {
    async fn create_user(
        &self,
        user: NewUser,
        invitation: Option<&TokenHash>,
    ) -> Result<UserCreation, StoreError> {
        self.step("create_user", self.inner.create_user(user, invitation)).await
    }

    async fn user(&self, user: UserId) -> Result<Option<User>, StoreError> {
        self.step("user", self.inner.user(user)).await
    }

    async fn user_called(&self, name: &LoginName) -> Result<Option<User>, StoreError> {
        self.step("user_called", self.inner.user_called(name)).await
    }

    async fn users(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        self.step("users", self.inner.users(after, limit)).await
    }

    async fn has_users(&self) -> Result<bool, StoreError> {
        self.step("has_users", self.inner.has_users()).await
    }

    async fn credentials(&self, name: &LoginName) -> Result<Option<Credentials>, StoreError> {
        self.step("credentials", self.inner.credentials(name)).await
    }

    async fn credentials_of(&self, user: UserId) -> Result<Option<Credentials>, StoreError> {
        self.step("credentials_of", self.inner.credentials_of(user)).await
    }

    async fn change_password(&self, change: PasswordChange) -> Result<PasswordChanged, StoreError> {
        self.step("change_password", self.inner.change_password(change)).await
    }

    async fn rehash_password(
        &self,
        user: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<(), StoreError> {
        self.step("rehash_password", self.inner.rehash_password(user, old, new)).await
    }

    async fn rename(
        &self,
        user: UserId,
        name: Option<UserName>,
        email: Option<EmailAddress>,
        by: Option<TokenHash>,
        now: Timestamp,
    ) -> Result<Renaming, StoreError> {
        self.step("rename", self.inner.rename(user, name, email, by, now)).await
    }

    async fn change_groups(
        &self,
        user: UserId,
        joined: &Groups,
        left: &Groups,
        now: Timestamp,
    ) -> Result<Grouping, StoreError> {
        self.step("change_groups", self.inner.change_groups(user, joined, left, now)).await
    }

    async fn set_status(
        &self,
        user: UserId,
        status: Status,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        self.step("set_status", self.inner.set_status(user, status, now)).await
    }

    async fn delete_user(
        &self,
        user: UserId,
        by: Option<TokenHash>,
        now: Timestamp,
    ) -> Result<Removal, StoreError> {
        self.step("delete_user", self.inner.delete_user(user, by, now)).await
    }

    async fn invite(
        &self,
        token: &TokenHash,
        invitation: Invitation,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.step("invite", self.inner.invite(token, invitation, now)).await
    }

    async fn invitation(&self, token: &TokenHash, now: Timestamp) -> Result<Option<Invitation>, StoreError> {
        self.step("invitation", self.inner.invitation(token, now)).await
    }

    async fn withdraw_first_account_invitations(&self) -> Result<(), StoreError> {
        self.step("withdraw_first_account_invitations", self.inner.withdraw_first_account_invitations()).await
    }

    async fn know_device(&self, user: UserId, device: &TokenHash, now: Timestamp) -> Result<(), StoreError> {
        self.step("know_device", self.inner.know_device(user, device, now)).await
    }

    async fn knows_device(&self, user: UserId, device: &TokenHash) -> Result<bool, StoreError> {
        self.step("knows_device", self.inner.knows_device(user, device)).await
    }
}

#[async_trait]
impl Doors for FaultyStore {
    async fn knock(&self, doors: Vec<Door>, now: Timestamp) -> Result<Admission, StoreError> {
        self.step("knock", self.inner.knock(doors, now)).await
    }

    async fn take_back(&self, doors: Vec<Door>) -> Result<(), StoreError> {
        self.step("take_back", self.inner.take_back(doors)).await
    }

    async fn reset(&self, doors: Vec<Door>) -> Result<(), StoreError> {
        self.step("reset", self.inner.reset(doors)).await
    }

    async fn sweep_doors(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.step("sweep_doors", self.inner.sweep_doors(now, limit)).await
    }
}

#[async_trait]
impl Tokens for FaultyStore {
    async fn rotate_refresh(&self, refresh: Refresh) -> Result<Rotation, StoreError> {
        self.step("rotate_refresh", self.inner.rotate_refresh(refresh)).await
    }

    async fn session(&self, session: SessionId) -> Result<Option<(Found, Option<Grant>)>, StoreError> {
        self.step("session", self.inner.session(session)).await
    }

    async fn is_present_refresh(&self, session: SessionId, token: &TokenHash) -> Result<bool, StoreError> {
        self.step("is_present_refresh", self.inner.is_present_refresh(session, token)).await
    }

    async fn keep_reference(&self, token: &TokenHash, reference: Reference) -> Result<bool, StoreError> {
        self.step("keep_reference", self.inner.keep_reference(token, reference)).await
    }

    async fn reference(&self, token: &TokenHash) -> Result<Option<Reference>, StoreError> {
        self.step("reference", self.inner.reference(token)).await
    }

    async fn spend(&self, by: ClientId, jti: &str, expires_at: Timestamp) -> Result<bool, StoreError> {
        self.step("spend", self.inner.spend(by, jti, expires_at)).await
    }

    async fn sweep_tokens(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.step("sweep_tokens", self.inner.sweep_tokens(now, limit)).await
    }
}

#[async_trait]
impl Clients for FaultyStore {
    async fn add_client(&self, client: &Client) -> Result<bool, StoreError> {
        self.step("add_client", self.inner.add_client(client)).await
    }

    async fn client(&self, id: ClientId) -> Result<Option<Client>, StoreError> {
        self.step("client", self.inner.client(id)).await
    }

    async fn clients(&self) -> Result<Vec<Client>, StoreError> {
        self.step("clients", self.inner.clients()).await
    }

    async fn change_client(&self, client: &Client) -> Result<bool, StoreError> {
        self.step("change_client", self.inner.change_client(client)).await
    }

    async fn set_client_secret(&self, id: ClientId, secret: &TokenHash) -> Result<bool, StoreError> {
        self.step("set_client_secret", self.inner.set_client_secret(id, secret)).await
    }

    async fn remove_client(&self, id: ClientId, now: Timestamp) -> Result<bool, StoreError> {
        self.step("remove_client", self.inner.remove_client(id, now)).await
    }
}

#[async_trait]
impl SigningKeys for FaultyStore {
    async fn signing_keys(&self) -> Result<Vec<SigningKey>, StoreError> {
        self.step("signing_keys", self.inner.signing_keys()).await
    }

    async fn begin_keyring(&self, algorithm: Algorithm, keys: Vec<SigningKey>) -> Result<(), StoreError> {
        self.step("begin_keyring", self.inner.begin_keyring(algorithm, keys)).await
    }

    async fn turn_keyring(
        &self,
        algorithm: Algorithm,
        active: &str,
        next: SigningKey,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.step("turn_keyring", self.inner.turn_keyring(algorithm, active, next, now)).await
    }

    async fn reset_keyrings(&self, keys: Vec<SigningKey>, now: Timestamp) -> Result<(), StoreError> {
        self.step("reset_keyrings", self.inner.reset_keyrings(keys, now)).await
    }

    async fn drop_retired_keys(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.step("drop_retired_keys", self.inner.drop_retired_keys(before)).await
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn installation_keys(&self, fresh: InstallationKeys) -> Result<InstallationKeys, StoreError> {
        self.step("installation_keys", self.inner.installation_keys(fresh)).await
    }

    async fn record(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.step("record", self.inner.record(entry)).await
    }

    async fn audit(&self, user: Option<UserId>, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.step("audit", self.inner.audit(user, limit)).await
    }

    async fn trim_audit(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.step("trim_audit", self.inner.trim_audit(before, limit)).await
    }

    async fn follow(&self, follower: Weak<dyn Follower>) -> Result<LogNumber, StoreError> {
        let Some(shared) = &self.shared else {
            return self.step("follow", self.inner.follow(follower)).await;
        };
        let relay = Arc::new(Relay { follower, held: Mutex::default() });
        let passing_on: Weak<dyn Follower> = Arc::downgrade(&relay) as _;
        lock(&shared.relays).push(relay);
        self.step("follow", self.inner.follow(passing_on)).await
    }

    fn lease(&self) -> Lease {
        self.shared.as_ref().map_or_else(|| self.inner.lease(), |shared| shared.lease.clone())
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        self.step("catch_up", self.inner.catch_up()).await
    }

    async fn roll_call(&self) -> Result<Option<RollCall>, StoreError> {
        self.step("roll_call", self.inner.roll_call()).await
    }

    fn ledger(&self) -> Option<Arc<dyn Leases>> {
        self.inner.ledger()
    }

    async fn until_acknowledged(&self) -> Result<(), StoreError> {
        self.step("until_acknowledged", self.inner.until_acknowledged()).await
    }

    async fn leave(&self) -> Result<(), StoreError> {
        self.step("leave", self.inner.leave()).await
    }

    async fn check_health(&self) -> Result<(), StoreError> {
        self.step("check_health", self.inner.check_health()).await
    }
}
