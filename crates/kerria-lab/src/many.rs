//! What becomes of the store's work when it holds very many sessions.
//!
//! Each step is asked of the store itself, in this process: what HTTP and the hash of a password take is the same with one session.
//! Steps follow each other, so that times are those of a store with nothing else to do. Everything that the store holds is in
//! its memory or the system's.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use kerria::{Binding, Check, Checker, CheckerSettings, Outage, Stopwatch, SystemClock, SystemEntropy};
use kerria_core::{
    Cause, Clock, RotationRule, Selector, SessionId, SessionPolicy, Store, Token, TokenKind, Transport,
};
use kerria_store::{
    Nobody, PostgresOptions, PostgresStore, RedisOptions, SplitStore,
    testing::{TestDatabase, TestRedis, TestServer, node},
};

use crate::{
    Measure,
    crowd::{Crowd, Original, open},
    numbers::{median, percentile},
    process::{cpu_of_family, own_cpu},
    report::Report,
};

const FEW: u32 = 10_000;
/// Steps of each kind.
const STEPS: u32 = 2_000;
/// Sessions that are over, in any crowd.
const OVER: u32 = 5_000;
/// What one step of cleaning up removes, as in the server.
const SWEPT_AT_ONCE: u32 = 500;
/// Processor time is shown in hundredths of a second. Less than this is a guess.
const VISIBLE: Duration = Duration::from_millis(100);
/// Looks for something to clean up that find nothing.
const LOOKS: u32 = 20;

/// Compares a crowd with a small one, in both stores.
pub(crate) async fn measure(measure: &Measure, report: &mut Report) -> anyhow::Result<()> {
    for kind in [Kind::Redis, Kind::Postgres] {
        let (few, many) = (Costs::of(kind, FEW).await?, Costs::of(kind, measure.many).await?);
        few.beside(&many, kind, measure.many, report);
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Postgres,
    Redis,
}

/// A store with its servers.
struct Place {
    store: Arc<dyn Store>,
    database: TestDatabase,
    postgres: Arc<TestServer>,
    redis: Option<TestRedis>,
}

impl Place {
    async fn of(kind: Kind) -> anyhow::Result<Self> {
        let postgres = Arc::new(TestServer::start_durable());
        let database = TestDatabase::create_on(&postgres);
        let options = PostgresOptions::parse(&database.url())?;
        let (store, redis): (Arc<dyn Store>, _) = match kind {
            Kind::Postgres => {
                (Arc::new(PostgresStore::connect(options, node(), Arc::new(Nobody)).await?), None)
            }
            Kind::Redis => {
                let redis = TestRedis::start();
                let (sessions, now) = (RedisOptions::from_url(&redis.url(0))?, SystemClock.now());
                let store = SplitStore::on_postgres(options, sessions, node(), Arc::new(Nobody), now).await?;
                (Arc::new(store), Some(redis))
            }
        };
        Ok(Self { store, database, postgres, redis })
    }

    /// The processor time that was used until now, here and in the servers.
    fn cpu(&self) -> anyhow::Result<Duration> {
        let of_redis = self.redis.as_ref().map(|redis| cpu_of_family(redis.process())).transpose()?;
        Ok(own_cpu()? + cpu_of_family(self.postgres.process())? + of_redis.unwrap_or_default())
    }

    /// The bytes that sessions take.
    fn bytes(&self) -> anyhow::Result<i64> {
        match &self.redis {
            None => Ok(self.database.count("SELECT pg_total_relation_size('session')")),
            Some(redis) => {
                let info: String = redis.ask(0, &["INFO", "memory"]);
                let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
                Ok(used.context("Redis does not say what it uses")?.trim().parse()?)
            }
        }
    }
}

/// What one step takes, in microseconds.
struct Cost {
    p50: f64,
    p99: f64,
    /// Processor time, the store's included. `None` if that was too little to be seen.
    cpu: Option<f64>,
}

struct Costs {
    /// Of a session.
    bytes: f64,
    /// With the name of each.
    steps: Vec<(&'static str, Cost)>,
}

impl Costs {
    #[expect(clippy::print_stderr, reason = "ten millions take minutes, and somebody waits")]
    async fn of(kind: Kind, sessions: u32) -> anyhow::Result<Self> {
        ensure!(sessions.is_multiple_of(FEW) && sessions > 0, "a crowd has a multiple of {FEW} sessions");
        eprintln!("writing {sessions} sessions to {kind:?}");
        let place = Place::of(kind).await?;
        let crowd = Crowd::new(sessions, sessions / OVER);
        let original = Original::open(&*place.store, crowd.now).await?;
        let before = place.bytes()?;
        tokio::task::block_in_place(|| crowd.write_accounts(&place.database));
        match &place.redis {
            None => tokio::task::block_in_place(|| crowd.write_to_postgres(&place.database)),
            Some(redis) => crowd.write_to_redis(redis, &original).await?,
        }
        let bytes = (place.bytes()? - before) as f64 / f64::from(sessions);
        let steps = steps(&place, crowd, &original).await?;
        place.store.leave().await?;
        Ok(Self { bytes, steps })
    }

    fn beside(&self, many: &Self, kind: Kind, sessions: u32, report: &mut Report) {
        report.note(&format!("{kind:?}, {sessions} sessions: what one takes"), many.bytes, "bytes");
        for ((name, few), (_, many)) in self.steps.iter().zip(&many.steps) {
            report.note(&format!("{kind:?}, {name}: p50 with {sessions} sessions"), many.p50, "µs");
            report.note(&format!("  times that with {FEW}"), many.p50 / few.p50, "×");
            report.note("  p99", many.p99, "µs");
            if let (Some(few), Some(many)) = (few.cpu, many.cpu) {
                report.note("  processor time, the store's included", many, "µs");
                report.note(&format!("  times that with {FEW}"), many / few, "×");
            }
        }
    }
}

/// Takes every kind of step.
async fn steps(
    place: &Place,
    crowd: Crowd,
    original: &Original,
) -> anyhow::Result<Vec<(&'static str, Cost)>> {
    let (store, now) = (&place.store, SystemClock.now());
    let settings = CheckerSettings {
        policy: SessionPolicy::default(),
        binding: Binding::Off,
        cache_entries: 4 * STEPS,
        rotation: RotationRule::default(),
        outage: Outage::Refuse,
    };
    let checker = Checker::start(Arc::clone(store), original.key.clone(), settings).await?;
    let numbers: Vec<u32> = (0..)
        .map(|_| fastrand::u32(..crowd.sessions))
        .filter(|n| !crowd.is_over(*n))
        .take(STEPS as usize)
        .collect();
    let check = async |number: u32| {
        let token = Crowd::token(number).write(&original.key);
        let check = checker.check(token.expose().as_bytes(), Transport::Bearer, None, now).await?;
        ensure!(matches!(check, Check::Good(_)), "a session that was just written is good");
        Ok(())
    };
    let mut steps = Vec::new();
    // Connections are made, and statements prepared.
    cost(place, &numbers[..100], &check).await?;
    steps.push(("check of a session that is not in memory", cost(place, &numbers[100..], &check).await?));
    steps.push(("check of a session that is in memory", cost(place, &numbers, &check).await?));

    let fresh: Vec<SessionId> = numbers.iter().map(|_| SessionId::new(now, &SystemEntropy)).collect();
    let sign_in = async |at: u32| {
        let user = (crowd.user(numbers[at as usize]), original.version);
        let token = Token::random(TokenKind::Session, &SystemEntropy);
        open(&**store, fresh[at as usize], &token, Transport::Bearer, user, now).await
    };
    let places: Vec<u32> = (0..STEPS).collect();
    steps.push(("sign-in without its hash", cost(place, &places, &sign_in).await?));
    let end = async |at: u32| {
        let selector = Selector::Session { session: fresh[at as usize] };
        let revoked = store.revoke(selector, Cause::SignedOut, None, now).await?;
        ensure!(revoked.ended == 1, "a session that was just opened is ended");
        Ok(())
    };
    steps.push(("sign-out", cost(place, &places, &end).await?));

    let sweep = async |expected: u32| {
        let removed = store.sweep_sessions(SessionPolicy::default(), now, SWEPT_AT_ONCE).await?;
        ensure!(removed == u64::from(expected), "{removed} sessions are removed, and not {expected}");
        Ok(())
    };
    let sweeps = vec![SWEPT_AT_ONCE; (OVER / SWEPT_AT_ONCE) as usize];
    steps.push(("removing 500 sessions that are over", cost(place, &sweeps, &sweep).await?));
    let looks = [0; LOOKS as usize];
    steps
        .push(("looking for sessions that are over, and there are none", cost(place, &looks, &sweep).await?));
    Ok(steps)
}

/// Takes a step with each of these numbers, one after the other.
async fn cost(
    place: &Place,
    numbers: &[u32],
    step: &impl AsyncFn(u32) -> anyhow::Result<()>,
) -> anyhow::Result<Cost> {
    let (before, mut times) = (place.cpu()?, Vec::new());
    for number in numbers {
        let since = Stopwatch::start();
        step(*number).await?;
        times.push(since.elapsed().as_secs_f64() * 1e6);
    }
    let used = place.cpu()?.saturating_sub(before);
    let cpu = (used >= VISIBLE).then(|| used.as_secs_f64() * 1e6 / numbers.len() as f64);
    Ok(Cost { p50: median(times.iter().copied()), p99: percentile(times, 99.0), cpu })
}
