use std::{num::NonZeroU32, time::Duration};

use async_trait::async_trait;

use crate::{
    account::CredentialVersion,
    client::{ClientId, Grant},
    data::DataKey,
    device::Device,
    id::{SessionId, UserId},
    policy::SessionPolicy,
    revocation::{Cause, LogEntry, LogNumber, Selector},
    rotation::{RotationNonce, RotationRule, Succession},
    session::{Expiry, Method, Session, Transport},
    store::StoreError,
    time::Timestamp,
    token::TokenHash,
};

/// Sessions, and the revocation log.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Opens a session for a user who has just proved who they are. In one step it also ends the session that it
    /// replaces, keeps the limit of sessions, notes the sign-in with the user and in the audit log.
    async fn open(&self, sign_in: SignIn) -> Result<Opened, StoreError>;

    /// The session that this session token carries, as its present token or as the one before that. `None` if there is none; whether a session that is found still counts
    /// at this time is for the policy to say. A refresh token carries none: it buys access tokens and does nothing else, so
    /// a session that is carried in tokens is found by its handle only
    /// ([`Tokens::session`](crate::store::Tokens::session)).
    async fn find(&self, token: &TokenHash) -> Result<Option<Found>, StoreError>;

    /// Notes when sessions were last used. A later time is never replaced by an earlier one; a session that is gone
    /// stays gone.
    async fn touch(&self, seen: Vec<(SessionId, Timestamp)>) -> Result<(), StoreError>;

    /// Ends what `selector` selects, with one entry in the log. If nothing is selected, nothing is written and
    /// [`Revoked::ended`] is 0. [`Selector::Everyone`], [`Selector::Client`] and [`Selector::Token`] are always written:
    /// there may be access tokens that no store knows. Each session that ends with its client has an entry of its own with
    /// the same cause, in the order of their handles and before the one about the client: what other clients were issued
    /// in it ends, too.
    ///
    /// Whatever `wait` says, it is committed when it is answered, and this process accepts nothing any more of what has ended.
    async fn revoke_and_wait(
        &self,
        selector: Selector,
        cause: Cause,
        device: Option<Device>,
        now: Timestamp,
        wait: Wait,
    ) -> Result<Revoked, StoreError>;

    /// The same. It is answered when no checker accepts any more what has ended.
    async fn revoke(
        &self,
        selector: Selector,
        cause: Cause,
        device: Option<Device>,
        now: Timestamp,
    ) -> Result<Revoked, StoreError> {
        self.revoke_and_wait(selector, cause, device, now, Wait::Checkers).await
    }

    /// Takes note that a session token in a cookie was used, in one step with everything that follows from it:
    ///
    /// - The present token, once it was in use for as long as the rule says, is replaced by the successor.
    /// - The one before it gets the nonce of its successor, and nothing changes, until that was used.
    /// - The first use of a successor is kept, and the nonce forgotten. From then on the one before it is still accepted
    ///   for the grace of the rule, and nothing changes.
    /// - After that it is a replay. The session is ended with [`Cause::Replayed`], which is committed when the answer
    ///   arrives, and audited.
    ///
    /// Checkers hear of all that changes. Whether the session still counts at this time is for the caller to say, as with
    /// [`find`](Self::find).
    async fn rotate(&self, token: TokenUse) -> Result<SessionRotation, StoreError>;

    /// Gives a session a new token. `old` is its present token, or the one before; both are dead, and checkers hear of it. If
    /// the session is carried in tokens, these are refresh tokens, only the present one will do, and nothing is forgiven any
    /// more of what came before.
    async fn renew(
        &self,
        old: &TokenHash,
        new: &TokenHash,
        why: Renew,
        now: Timestamp,
    ) -> Result<Renewal, StoreError>;

    /// Says when a session is to be over, if the policy does not end it sooner; checkers hear of it. Says whether there is that
    /// session.
    async fn set_expiry(
        &self,
        session: SessionId,
        expiry: Expiry,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// All sessions of a user that were not ended, expired ones included, the last used first.
    async fn sessions_of(&self, user: UserId) -> Result<Vec<SessionDetails>, StoreError>;

    /// Up to `limit` sessions whose handles come after `after`, in their order.
    async fn all_sessions(
        &self,
        after: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<SessionDetails>, StoreError>;

    /// Removes up to `limit` sessions that `policy` says are over at `now`, and returns how many. Those that are to be over sooner are
    /// not looked for: nobody accepts them, and they go when the policy says.
    async fn sweep_sessions(
        &self,
        policy: SessionPolicy,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError>;

    /// Up to `limit` entries of the log after `number`.
    async fn log_after(&self, number: LogNumber, limit: u32) -> Result<LogPage, StoreError>;

    /// Removes up to `limit` entries of the log that were written before `before`, the oldest first, and returns how
    /// many.
    async fn trim_log(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}

/// A session to be.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its handle.
    pub id: SessionId,
    /// The hash of its token.
    pub token: TokenHash,
    /// How the client will carry it.
    pub transport: Transport,
    /// Whether the user asked to stay signed in.
    pub remembered: bool,
    /// From where it is opened.
    pub device: Device,
    /// When.
    pub now: Timestamp,
}

/// A successful proof of who somebody is, and what is to come of it.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// The session to be.
    pub session: NewSession,
    /// Who it is for.
    pub user: UserId,
    /// The version of the credentials that were verified; `None` if the user is not known here, because the application keeps its
    /// users itself.
    pub version: Option<CredentialVersion>,
    /// How they were verified.
    pub method: Method,
    /// The session that the same client carried before. It is ended.
    pub replaces: Option<SessionId>,
    /// What moves of the session data from the replaced session to the new one, if the replaced one was anonymous or the same
    /// user's. Nothing else does.
    pub carry_over: CarryOver,
    /// How many sessions the user may have.
    pub limit: Option<SessionLimit>,
    /// Tells which of them still count.
    pub policy: SessionPolicy,
    /// What the session is opened for, if it is carried in tokens, and only then. Its token is the first refresh token.
    pub grant: Option<Grant>,
}

/// Which session data survives a sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CarryOver {
    /// What is under these keys.
    Keys(Vec<DataKey>),
    /// All of it.
    Everything,
}

impl CarryOver {
    /// Whether what is under this key does.
    #[must_use]
    pub fn takes(&self, key: &str) -> bool {
        match self {
            Self::Keys(keys) => keys.iter().any(|wanted| wanted.as_str() == key),
            Self::Everything => true,
        }
    }
}

/// None of it.
impl Default for CarryOver {
    fn default() -> Self {
        Self::Keys(Vec::new())
    }
}

/// How many sessions a user may have, this one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimit {
    /// The number.
    pub per_user: NonZeroU32,
    /// What happens to one more.
    pub at_limit: AtLimit,
}

/// What happens when a user who has all the sessions they may have signs in once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtLimit {
    /// The sign-in is refused.
    Refuse,
    /// The session that was opened first is ended.
    EndOldest,
}

/// What came of a sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// The session stands.
    Opened(Found),
    /// The user has as many sessions as they may have. Nothing was changed.
    LimitReached,
    /// The user was disabled or deleted, their password changed, or the client of the grant removed, since it was
    /// verified. Nothing was changed.
    CredentialsChanged,
}

/// A session as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The session.
    pub session: Session,
    /// What to call its user.
    pub user_name: Option<Box<str>>,
    /// The number of the last log entry when it was read: everything up to there is accounted for.
    pub as_of: LogNumber,
    /// Where the session token by which it was found stands; of a session that was found otherwise, the present one.
    pub succession: Succession,
    /// Another token under which it may be in use: the one before the present one, or the present one, if it was found by
    /// the one before or by its handle. No refresh token.
    pub other_token: Option<TokenHash>,
}

/// A session with what people want to know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionDetails {
    /// The session.
    pub session: Session,
    /// The hash of its present token.
    pub token: TokenHash,
    /// The hash of the session token before, under which it may still be in use.
    pub previous: Option<TokenHash>,
    /// What to call its user.
    pub user_name: Option<Box<str>>,
    /// How the user signed in; `None` for an anonymous session.
    pub method: Option<Method>,
    /// From where.
    pub device: Device,
    /// Whose tokens carry it, if tokens do.
    pub client: Option<ClientId>,
}

/// For whom an end waits once it is committed and true in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// For nobody: checkers in other processes hear of it within milliseconds, and no later than their leases run out.
    Store,
    /// For every checker, in whatever process.
    #[default]
    Checkers,
}

/// What an end came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// How many sessions it ended.
    pub ended: u64,
    /// The last number of the log afterwards.
    pub number: LogNumber,
    /// What it took until no checker accepted it any more; `None` if that was not waited for.
    pub acknowledged: Option<Acknowledged>,
}

/// What it took until no checker accepted any more what had ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// How long, from the moment when the end was known to be committed.
    pub took: Duration,
    /// What people call the checkers that did not say in time that they had applied it: their leases had to run out.
    pub late: Vec<String>,
}

/// Why a session gets a new token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renew {
    /// Its user has just proved again who they are: from now on that is when they did, and the audit log has a line about it.
    Proved,
    /// Nobody is to have anything of the old one. The rest stays as it is; so to rotation, the new token is as old as the last proof.
    Exchanged,
}

/// What came of giving a session a new token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It has the new token.
    Renewed(Found),
    /// The session was ended, or has another token by now. Nothing was changed.
    Gone,
}

/// The use of a session token.
#[derive(Clone, Debug)]
pub struct TokenUse {
    /// The hash of the token.
    pub presented: TokenHash,
    /// What takes its place when it has been in use for long enough; `None` if nothing does.
    pub successor: Option<Successor>,
    /// When tokens are replaced, and how long one is accepted beside its successor.
    pub rule: RotationRule,
    /// From where it is presented, for the audit log, should that end the session.
    pub device: Option<Device>,
    /// When.
    pub now: Timestamp,
}

/// What takes a token's place.
#[derive(Clone, Copy, Debug)]
pub struct Successor {
    /// Its hash.
    pub token: TokenHash,
    /// From what it was derived.
    pub nonce: RotationNonce,
}

/// What came of using a session token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionRotation {
    /// The successor is the present token now. The session, as the token that was presented finds it.
    Rotated(Found),
    /// The token was replaced before, and its successor has not been used. This is the successor's nonce.
    Repeated(RotationNonce),
    /// The token is a successor, and was used for the first time.
    Confirmed(Found),
    /// The token is good, and nothing was changed.
    Unchanged,
    /// The token was used after its time. The session has been ended for it.
    Replayed {
        /// The session.
        session: SessionId,
        /// Whose it was.
        user: Option<UserId>,
    },
    /// It carries no session that is carried in a cookie, or not any more. Nothing was changed.
    Gone,
}

/// A stretch of the revocation log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPage {
    /// The entries that follow, in order; none if there are none yet.
    Entries(Vec<LogEntry>),
    /// Entries after that number were removed. Forget what you know, and go on from `head`.
    StartOver {
        /// The number of the last entry.
        head: LogNumber,
    },
}
