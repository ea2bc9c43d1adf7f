//! The people and sessions that are measured with.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::bail;
use futures_util::future::try_join_all;
use kerria::{SystemClock, SystemEntropy};
use kerria_core::{
    Clock, CredentialVersion, Device, LogNumber, PasswordHash, Session, SessionId, Store, Succession,
    Timestamp, Token, TokenKey, TokenKind, Transport, UserId, UserName,
    entropy::random_bytes,
    store::{Found, InstallationKeys, NewUser, UserCreation},
};
use kerria_store::SqliteStore;

use crate::crowd;

const USERS: u32 = 1_000;
const DATABASE: &str = "kerria.db";
/// A file system in memory.
const MEMORY: &str = "/dev/shm";
/// Steps that are sent to the store together.
const AT_ONCE: u32 = 1_000;
/// Within this time no remembered session of a prepared folder has expired.
const USABLE: Duration = Duration::from_secs(5 * 24 * 60 * 60);

/// A data folder with live sessions, and their tokens beside it.
pub(crate) struct World {
    /// The data folder.
    pub(crate) data: PathBuf,
    /// The tokens, one a line.
    pub(crate) tokens: PathBuf,
}

impl World {
    /// A folder with this many live sessions of a thousand users. One that an earlier run has left is taken.
    pub(crate) async fn prepare(folder: &Path, sessions: u32) -> anyhow::Result<Self> {
        let data = folder.join(format!("{sessions}-sessions"));
        let world = Self { tokens: data.join("tokens"), data };
        let made = fs::metadata(&world.tokens).and_then(|file| file.modified());
        let age = made.ok().and_then(|made| made.elapsed().ok());
        if age.is_none_or(|age| age > USABLE) {
            world.fill(sessions).await?;
        }
        Ok(world)
    }

    #[expect(clippy::print_stderr, reason = "a million takes minutes, and somebody waits")]
    async fn fill(&self, sessions: u32) -> anyhow::Result<()> {
        eprintln!("preparing {sessions} sessions in {}", self.data.display());
        drop(fs::remove_dir_all(&self.data));
        fs::create_dir_all(&self.data)?;
        // In memory first: thousands of commits are quick where nothing has to reach a disk.
        let scratch = Path::new(MEMORY).join(format!("kerria-lab-{}", std::process::id()));
        fs::create_dir_all(&scratch)?;
        let tokens = open_sessions(&scratch.join(DATABASE), sessions).await;
        let copied = fs::copy(scratch.join(DATABASE), self.data.join(DATABASE));
        fs::remove_dir_all(&scratch)?;
        copied?;
        Ok(fs::write(&self.tokens, tokens?)?)
    }

    /// The tokens.
    pub(crate) fn tokens(&self) -> anyhow::Result<Vec<String>> {
        Ok(fs::read_to_string(&self.tokens)?.lines().map(str::to_owned).collect())
    }
}

async fn open_sessions(database: &Path, sessions: u32) -> anyhow::Result<String> {
    let (store, now) = (SqliteStore::open(database)?, SystemClock.now());
    let fresh = InstallationKeys { token: random_bytes(&SystemEntropy), form: random_bytes(&SystemEntropy) };
    let key = TokenKey::from_bytes(store.installation_keys(fresh).await?.token);
    let users = try_join_all((0..USERS).map(|number| create_user(&store, number, now))).await?;
    let mut tokens = String::new();
    for first in (0..sessions).step_by(AT_ONCE as usize) {
        let batch = first..sessions.min(first + AT_ONCE);
        let opened = batch.map(|number| open_session(&store, &key, users[(number % USERS) as usize], now));
        for token in try_join_all(opened).await? {
            tokens.push_str(&token);
            tokens.push('\n');
        }
    }
    Ok(tokens)
}

async fn create_user(
    store: &impl Store,
    number: u32,
    now: Timestamp,
) -> anyhow::Result<(UserId, CredentialVersion)> {
    let id = UserId::new(now, &SystemEntropy);
    let user = NewUser {
        id,
        name: UserName::parse(&user_name(number)).ok(),
        email: None,
        password: PasswordHash::new("nobody signs in with a password here".to_owned()),
        device: None,
        now,
    };
    match store.create_user(user, None).await? {
        UserCreation::Created(version) => Ok((id, version)),
        refused => bail!("a user cannot be created: {refused:?}"),
    }
}

async fn open_session(
    store: &impl Store,
    key: &TokenKey,
    user: (UserId, CredentialVersion),
    now: Timestamp,
) -> anyhow::Result<String> {
    let token = Token::random(TokenKind::Session, &SystemEntropy);
    let session = SessionId::new(now, &SystemEntropy);
    crowd::open(store, session, &token, Transport::Cookie, user, now).await?;
    Ok(token.write(key).expose().clone())
}

/// A session that was read just now, as a store would give it, with its token.
pub(crate) fn found(number: u32, now: Timestamp) -> (Token, Found) {
    let session = Session {
        id: SessionId::new(now, &SystemEntropy),
        user: Some(UserId::new(now, &SystemEntropy)),
        transport: Transport::Cookie,
        remembered: false,
        opened_at: now,
        last_seen_at: now,
        authenticated_at: now,
        place: Device::new("Firefox", [127, 0, 0, 1].into()).place(),
        expiry: kerria_core::Expiry::BY_POLICY,
    };
    let found = Found {
        session,
        user_name: Some(user_name(number).into()),
        as_of: LogNumber(0),
        succession: Succession::first(now),
        other_token: None,
    };
    (Token::random(TokenKind::Session, &SystemEntropy), found)
}

/// Eleven characters.
fn user_name(number: u32) -> String {
    format!("user{number:07}")
}

/// A token like that of a session, with a tag that was not made with the installation's key.
pub(crate) fn garbage() -> String {
    Token::random(TokenKind::Session, &SystemEntropy).write(&TokenKey::from_bytes([0; 16])).expose().clone()
}
