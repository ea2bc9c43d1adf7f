//! A check without HTTP: parse, hash, cache, revocations, expiry; and a JWT beside it.

use std::{sync::Arc, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use kerria::{Binding, Check, Checker, CheckerSettings, Outage, SystemClock, SystemEntropy};
use kerria_core::{
    Cause, Clock, LogEntry, LogEvent, LogNumber, RotationRule, Selector, SessionId, SessionPolicy, Timestamp,
    TokenKey, Transport, entropy::random_bytes, store::Follower,
};
use kerria_store::SqliteStore;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::{Measure, numbers::median, report::Report, world};

/// Checks of one hot session in a round.
const HOT: usize = 300_000;
/// Entries of the revocation log.
const REVOCATIONS: u64 = 100_000;
/// One revocation comes in for so many checks.
const CHECKS_PER_REVOCATION: usize = 10;

/// Measures checks in this process. The figures are processor time of the thread that checks.
pub(crate) async fn measure(measure: &Measure, report: &mut Report) -> anyhow::Result<()> {
    let lab = Lab::with(measure.sessions).await?;
    let mut revocations = Revocations::default();
    let jwt = Jwt::signed()?;
    let one = lab.tokens.one().repeat(HOT);
    let (hot, all) = (Tokens(one), &lab.tokens);
    let (mut of_hot, mut of_all, mut of_jwt) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..measure.rounds {
        of_hot.push(lab.check(&hot).await);
        of_jwt.push(jwt.check(HOT));
        of_all.push(lab.check(all).await);
    }
    let times_quicker = median(of_jwt.iter().zip(&of_hot).map(|(jwt, hot)| jwt / hot));
    report.at_most("check in process, one session", median(of_hot), 0.5, "µs");
    report.at_most(&format!("check in process, {} sessions at random", all.len()), median(of_all), 1.0, "µs");
    report.note("for comparison: check of an HS256 JWT (jsonwebtoken, aws-lc-rs)", median(of_jwt), "µs");
    report.note("  times as long as the check of one session", times_quicker, "×");

    revocations.send(&lab.checker, REVOCATIONS);
    let (mut of_hot, mut of_all, mut arriving) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..measure.rounds {
        revocations.send(&lab.checker, 1);
        of_hot.push(lab.check(&hot).await);
        of_all.push(lab.check(all).await);
        arriving.push(lab.check_while_revocations_arrive(&hot, &mut revocations).await);
    }
    report.at_most("  with 100,000 revocations in memory, one session", median(of_hot), 0.5, "µs");
    report.at_most(
        "  with them, at random, each session's first check since the last",
        median(of_all),
        1.0,
        "µs",
    );
    report.at_most(
        "  while one more comes in for every 10 checks, one session, both together",
        median(arriving),
        1.0,
        "µs",
    );
    Ok(())
}

struct Lab {
    checker: Arc<Checker>,
    /// In no order that the cache knows.
    tokens: Tokens,
    now: Timestamp,
}

/// Tokens behind each other: a request's token has just arrived, so reading it must not cost a trip to main memory.
struct Tokens(String);

impl Tokens {
    /// The length of each.
    const LENGTH: usize = 58;

    fn one(&self) -> &str {
        &self.0[..Self::LENGTH]
    }

    fn len(&self) -> usize {
        self.0.len() / Self::LENGTH
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.as_bytes().chunks_exact(Self::LENGTH)
    }
}

impl Lab {
    async fn with(sessions: u32) -> anyhow::Result<Self> {
        let (checker, key, now) = checker(sessions).await?;
        let keep = |number| {
            let (token, found) = world::found(number, now);
            checker.keep(&token.hash(), &found);
            token.write(&key).expose().clone()
        };
        let mut tokens: Vec<_> = (0..sessions).map(keep).collect();
        tokens.sort_unstable();
        Ok(Self { checker, tokens: Tokens(tokens.concat()), now })
    }

    /// Microseconds for a check.
    async fn check(&self, tokens: &Tokens) -> f64 {
        let since = thread_time();
        for token in tokens.iter() {
            self.must_be_good(token).await;
        }
        per_one(since, tokens.len())
    }

    async fn check_while_revocations_arrive(&self, tokens: &Tokens, revocations: &mut Revocations) -> f64 {
        let since = thread_time();
        for (number, token) in tokens.iter().enumerate() {
            if number % CHECKS_PER_REVOCATION == 0 {
                revocations.send(&self.checker, 1);
            }
            self.must_be_good(token).await;
        }
        per_one(since, tokens.len())
    }

    async fn must_be_good(&self, token: &[u8]) {
        let now = SystemClock.now().max(self.now);
        let check = self.checker.check(token, Transport::Cookie, None, now).await;
        assert!(matches!(check, Ok(Check::Good(_))), "all of these sessions are good");
    }
}

/// A checker over an empty store, with room for so many sessions.
pub(crate) async fn checker(sessions: u32) -> anyhow::Result<(Arc<Checker>, TokenKey, Timestamp)> {
    let settings = CheckerSettings {
        policy: SessionPolicy::default(),
        binding: Binding::Off,
        // Shards fill unevenly.
        cache_entries: sessions + sessions / 8 + 1_000,
        rotation: RotationRule::default(),
        outage: Outage::Refuse,
    };
    let key = TokenKey::from_bytes(random_bytes(&SystemEntropy));
    let checker = Checker::start(Arc::new(SqliteStore::open_in_memory()?), key.clone(), settings).await?;
    Ok((checker, key, SystemClock.now()))
}

/// Ends of sessions that nobody here has.
#[derive(Default)]
struct Revocations(u64);

impl Revocations {
    fn send(&mut self, checker: &Checker, count: u64) {
        for _ in 0..count {
            self.0 += 1;
            let session = SessionId::from_bytes(u128::from(self.0).wrapping_mul(u128::MAX / 7).to_le_bytes());
            checker.apply(&[LogEntry {
                number: LogNumber(self.0),
                at: SystemClock.now(),
                selector: Selector::Session { session },
                event: LogEvent::Ended { cause: Cause::SignedOut },
            }]);
        }
    }
}

/// What a session says, in a JWT.
#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    sid: String,
    name: String,
    iat: u64,
    exp: u64,
}

struct Jwt {
    text: String,
    key: DecodingKey,
    validation: Validation,
}

impl Jwt {
    fn signed() -> anyhow::Result<Self> {
        let secret: [u8; 32] = random_bytes(&SystemEntropy);
        let iat = u64::try_from(SystemClock.now().as_millis() / 1_000)?;
        let claims = Claims {
            sub: "01931c2e-7d1a-7b3c-9d4e-5f60718293a4".to_owned(),
            sid: "01931c2e-7d1a-7b3c-9d4e-5f60718293a5".to_owned(),
            name: "user0000001".to_owned(),
            iat,
            exp: iat + 60 * 60,
        };
        let text = encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(&secret))?;
        let (key, validation) = (DecodingKey::from_secret(&secret), Validation::new(Algorithm::HS256));
        Ok(Self { text, key, validation })
    }

    /// Microseconds for a check.
    fn check(&self, times: usize) -> f64 {
        let since = thread_time();
        for _ in 0..times {
            let claims = decode::<Claims>(&self.text, &self.key, &self.validation);
            assert!(claims.is_ok_and(|claims| claims.claims.name == "user0000001"), "the JWT is good");
        }
        per_one(since, times)
    }
}

/// Processor time of this thread: what others do on the machine counts less than on the wall clock.
pub(crate) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Microseconds since then, for each of so many.
pub(crate) fn per_one(since: Duration, count: usize) -> f64 {
    (thread_time() - since).as_secs_f64() * 1e6 / count as f64
}
