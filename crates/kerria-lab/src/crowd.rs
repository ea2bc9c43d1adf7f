//! Very many sessions in a store, made quickly: copies of one that the store has opened itself, with other handles, tokens, users
//! and times.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use kerria::{SystemClock, SystemEntropy};
use kerria_core::{
    Clock, CredentialVersion, Device, Entropy, Method, PasswordHash, SessionId, SessionPolicy, Store,
    Timestamp, Token, TokenKey, TokenKind, Transport, UserId, UserName,
    entropy::random_bytes,
    store::{CarryOver, InstallationKeys, NewSession, NewUser, Opened, SignIn, UserCreation},
};
use kerria_store::testing::{TestDatabase, TestRedis};
use redis::aio::MultiplexedConnection;

const SESSIONS_OF_A_USER: u32 = 10;
/// How long ago the first of them was opened. None is over.
const AGE: Duration = Duration::from_secs(6 * 24 * 60 * 60);
/// How long ago those were opened that are over.
const LONG_AGO: Duration = Duration::from_secs(100 * 24 * 60 * 60);
/// Sessions that are written to Redis together, and how many such lots are under way.
const LOT: u32 = 500;
const LOTS: usize = 4;

/// So many sessions, by number. Every `over_every`th of them is over, and is still there.
#[derive(Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) sessions: u32,
    pub(crate) over_every: u32,
    pub(crate) now: Timestamp,
}

/// The session that the others are copies of, and what belongs to the installation.
pub(crate) struct Original {
    pub(crate) key: TokenKey,
    pub(crate) version: CredentialVersion,
    session: SessionId,
    user: UserId,
}

impl Original {
    /// Opens it.
    pub(crate) async fn open(store: &dyn Store, now: Timestamp) -> anyhow::Result<Self> {
        let fresh =
            InstallationKeys { token: random_bytes(&SystemEntropy), form: random_bytes(&SystemEntropy) };
        let key = TokenKey::from_bytes(store.installation_keys(fresh).await?.token);
        let user = UserId::new(now, &SystemEntropy);
        let account = NewUser {
            id: user,
            name: UserName::parse("original").ok(),
            email: None,
            // As long as a true one.
            password: PasswordHash::new(format!("$argon2id$v=19$m=19456,t=2,p=1${}", "0".repeat(66))),
            device: None,
            now,
        };
        let version = match store.create_user(account, None).await? {
            UserCreation::Created(version) => version,
            refused => bail!("a user cannot be created: {refused:?}"),
        };
        let session = SessionId::new(now, &SystemEntropy);
        let token = Token::random(TokenKind::Session, &SystemEntropy);
        open(store, session, &token, Transport::Bearer, (user, version), now).await?;
        Ok(Self { key, version, session, user })
    }
}

/// Opens a session as a sign-in does, once the password is verified.
pub(crate) async fn open(
    store: &dyn Store,
    session: SessionId,
    token: &Token,
    transport: Transport,
    (user, version): (UserId, CredentialVersion),
    now: Timestamp,
) -> anyhow::Result<()> {
    let session = NewSession {
        id: session,
        token: token.hash(),
        transport,
        remembered: true,
        device: Device::new(
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            [127, 0, 0, 1].into(),
        ),
        now,
    };
    let sign_in = SignIn {
        session,
        user,
        version: Some(version),
        method: Method::Password,
        replaces: None,
        carry_over: CarryOver::default(),
        limit: None,
        policy: SessionPolicy::default(),
        grant: None,
    };
    match store.open(sign_in).await? {
        Opened::Opened(_) => Ok(()),
        refused => bail!("a session cannot be opened: {refused:?}"),
    }
}

/// Gives the same bytes for the same number, which come last.
struct Numbered(u32);

impl Entropy for Numbered {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
        let from = bytes.len() - 4;
        bytes[from..].copy_from_slice(&self.0.to_be_bytes());
    }
}

/// Handles and users are numbered in order, as new ones are; the hashes of tokens are in none.
impl Crowd {
    pub(crate) fn new(sessions: u32, over_every: u32) -> Self {
        Self { sessions, over_every, now: SystemClock.now() }
    }

    pub(crate) fn token(number: u32) -> Token {
        Token::random(TokenKind::Session, &Numbered(number))
    }

    pub(crate) fn user(self, number: u32) -> UserId {
        UserId::from_bytes(random_bytes(&Numbered(number % self.users())))
    }

    fn users(self) -> u32 {
        (self.sessions / SESSIONS_OF_A_USER).max(1)
    }

    pub(crate) const fn is_over(self, number: u32) -> bool {
        number.is_multiple_of(self.over_every)
    }

    fn opened_at(self, number: u32) -> Timestamp {
        if self.is_over(number) { self.now - LONG_AGO } else { self.now - AGE + self.pause() * number }
    }

    fn pause(self) -> Duration {
        AGE / self.sessions
    }

    /// Writes the accounts. The directory of a Redis store needs only these.
    pub(crate) fn write_accounts(self, directory: &TestDatabase) {
        let users = self.users();
        directory.run(&format!(
            "INSERT INTO account (id, name, name_key, password, version, status, created_at) \
             SELECT decode(repeat('00', 8), 'hex') || int8send(number), 'user' || number, 'user' || number, \
                 password, version, status, created_at \
             FROM generate_series(0, {users} - 1) AS number, account WHERE name = 'original'",
        ));
        directory.run("VACUUM ANALYZE account");
    }

    /// Writes the sessions to PostgreSQL. Its indexes are built afterwards, which is quicker.
    pub(crate) fn write_to_postgres(self, database: &TestDatabase) {
        let Self { sessions, over_every, now } = self;
        let (first, long_ago) = ((now - AGE).as_millis(), (now - LONG_AGO).as_millis());
        let (span, users, kind) = (AGE.as_millis(), self.users(), TokenKind::Session.prefix());
        database.run(&format!(
            "SET maintenance_work_mem = '512MB'; \
             CREATE TEMPORARY TABLE rebuilt AS \
                 SELECT format('ALTER TABLE session DROP CONSTRAINT %I', conname) AS dropped, \
                     format('ALTER TABLE session ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid)) AS made \
                 FROM pg_constraint WHERE conrelid = 'session'::regclass AND contype IN ('p', 'u') \
                 UNION ALL SELECT format('DROP INDEX %s', indexrelid::regclass), pg_get_indexdef(indexrelid) \
                 FROM pg_index WHERE indrelid = 'session'::regclass \
                     AND indexrelid NOT IN (SELECT conindid FROM pg_constraint WHERE conrelid = 'session'::regclass); \
             DO $$ DECLARE one record; BEGIN FOR one IN SELECT * FROM rebuilt LOOP EXECUTE one.dropped; END LOOP; END $$; \
             INSERT INTO session (id, token_hash, user_id, method, transport, remembered, opened_at, last_seen_at, \
                 authenticated_at, user_agent, address) \
             SELECT decode(repeat('00', 8), 'hex') || int8send(number), \
                 sha256('{kind}'::bytea || decode(repeat('00', 24), 'hex') || int8send(number)), \
                 decode(repeat('00', 8), 'hex') || int8send(number % {users}), \
                 method, transport, remembered, at, at, at, user_agent, address \
             FROM session, generate_series(0, {sessions} - 1) AS number, \
                 LATERAL (SELECT CASE number % {over_every} WHEN 0 THEN {long_ago} \
                     ELSE {first} + number * {span}::bigint / {sessions} END AS at) AS times; \
             DO $$ DECLARE one record; BEGIN FOR one IN SELECT * FROM rebuilt LOOP EXECUTE one.made; END LOOP; END $$;",
        ));
        database.run("VACUUM ANALYZE session");
        database.run("CHECKPOINT");
    }

    /// Writes the sessions to Redis, where they are kept as `crates/kerria-store/src/redis/record.rs` says.
    pub(crate) async fn write_to_redis(self, redis: &TestRedis, original: &Original) -> anyhow::Result<()> {
        let client = redis::Client::open(redis.url(0))?;
        let connection = client.get_multiplexed_async_connection().await?;
        let generation: Option<u32> = redis.ask(0, &["HGET", "{kerria}:state", "generation"]);
        let prefix = format!("{{kerria}}:{}:", generation.unwrap_or(0)).into_bytes();
        let key = [prefix.as_slice(), b"s:", original.session.as_bytes()].concat();
        let record: Option<Vec<u8>> = redis::cmd("GET").arg(key).query_async(&mut connection.clone()).await?;
        let copies = Arc::new(Copies {
            crowd: self,
            record: record.context("the original is not where it is expected")?,
            prefix,
        });
        ensure!(copies.record.get(37..53) == Some(original.user.as_bytes()), "a record looks different");
        let lots = (0..self.sessions).step_by(LOT as usize).map(|first| {
            let lot = first..self.sessions.min(first + LOT);
            let (copies, connection) = (Arc::clone(&copies), connection.clone());
            async move { tokio::spawn(async move { copies.write(lot, connection).await }).await? }
        });
        stream::iter(lots).buffer_unordered(LOTS).try_collect::<()>().await
    }
}

/// Copies of a record of Redis.
struct Copies {
    crowd: Crowd,
    record: Vec<u8>,
    prefix: Vec<u8>,
}

impl Copies {
    async fn write(
        &self,
        lot: std::ops::Range<u32>,
        mut connection: MultiplexedConnection,
    ) -> anyhow::Result<()> {
        let key = |kind: &[u8], name: &[u8]| [self.prefix.as_slice(), kind, name].concat();
        let (mut pipe, mut handles, mut times) = (redis::pipe(), redis::cmd("ZADD"), Vec::new());
        handles.arg(key(b"all", b""));
        for number in lot {
            let session: [u8; 16] = random_bytes(&Numbered(number));
            let (token, user) = (Crowd::token(number).hash(), self.crowd.user(number));
            let mut record = self.record.clone();
            record[5..37].copy_from_slice(token.as_bytes());
            record[37..53].copy_from_slice(user.as_bytes());
            pipe.cmd("SET").arg(key(b"s:", &session)).arg(record).ignore();
            pipe.cmd("SET").arg(key(b"t:", token.as_bytes())).arg(&session).ignore();
            pipe.cmd("ZADD").arg(key(b"u:", user.as_bytes())).arg(0).arg(&session).ignore();
            handles.arg(0).arg(&session);
            times.push((self.crowd.opened_at(number).as_millis(), session));
        }
        pipe.add_command(handles).ignore();
        for list in [b"seen:1".as_slice(), b"opened:1"] {
            let mut order = redis::cmd("ZADD");
            order.arg(key(list, b""));
            for (at, session) in &times {
                order.arg(*at).arg(session);
            }
            pipe.add_command(order).ignore();
        }
        Ok(pipe.query_async(&mut connection).await?)
    }
}
