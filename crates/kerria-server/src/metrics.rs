//! What is counted and measured, for whoever reads `/metrics`.
//!
//! Every label takes its values from a list in this file, but for the names of the processes that hold a lease, of which there
//! are few at once. What happens on each request is counted with one atomic
//! addition, without a look-up and without a lock.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use kerria::{CheckCounters, Checker, Refusal};
use kerria_core::{Cause, LogEntry, LogEvent, LogNumber, store::Follower};
use kerria_store::{Access, Observer};
use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets_range},
    },
    registry::{Registry, Unit},
};

/// The media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is counted and measured. One per application.
pub struct Metrics {
    registry: Registry,
    session_checks: SessionChecks,
    cache_hits: Counter,
    cache_misses: Counter,
    cache_entries: Gauge,
    moved: Counter,
    /// Attempts to sign in, by what came of them.
    pub sign_ins: SignIns,
    /// Sessions that were ended, by why.
    pub sessions_ended: SessionsEnded,
    /// Seconds from the commit of a revocation to the moment when no process accepted any more what it had ended.
    pub revocation_lag: Histogram,
    /// Processes that had not applied a revocation when their leases were over.
    pub late_checkers: Counter,
    /// The same for each process, from the commit to when it had applied the entry.
    checker_lag: ByChecker,
    without_lease: Counter,
    undecided: Counter,
    lease: Gauge,
    /// Seconds that steps of the store took, by step.
    pub store_seconds: StoreSeconds,
    /// Passwords that were turned away because too many waited.
    pub password_queue_busy: Counter,
    /// Answers to HTTP requests, by class of status.
    pub http_requests: HttpRequests,
    /// Event streams that are open.
    pub open_streams: Gauge,
}

impl Metrics {
    /// Everything at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("kerria");
        let to = &mut registry;
        let session_checks = SessionChecks::register(to);
        let [cache_hits, cache_misses] = counters(
            to,
            "session_cache",
            "Sessions that were looked for in memory",
            "result",
            ["hit", "miss"],
        );
        let cache_entries = gauge(to, "session_cache_entries", "Sessions that are held in memory");
        let moved = Counter::default();
        to.register(
            "sessions_moved",
            "Sessions that were used from another browser or network",
            moved.clone(),
        );
        let sign_ins = SignIns::register(to);
        let sessions_ended = SessionsEnded::register(to);
        let revocation_lag = Histogram::new(LAG_BUCKETS);
        to.register_with_unit(
            "revocation_lag",
            "Time from the commit of a revocation to the moment when no process accepted any more what it had ended",
            Unit::Seconds,
            revocation_lag.clone(),
        );
        let late_checkers = Counter::default();
        to.register(
            "late_checkers",
            "Processes that had not applied a revocation when their leases were over",
            late_checkers.clone(),
        );
        let checker_lag = ByChecker::new_with_constructor(|| Histogram::new(LAG_BUCKETS));
        to.register_with_unit(
            "checker_lag",
            "Time from the commit of a revocation until a process had applied it, of some of those that were waited for here",
            Unit::Seconds,
            checker_lag.clone(),
        );
        let undecided = Counter::default();
        to.register(
            "checks_undecided",
            "Checks that nobody could decide, because the store did not answer",
            undecided.clone(),
        );
        let without_lease = Counter::default();
        to.register(
            "checks_without_lease",
            "Checks that memory could have answered, if the lease had not run out",
            without_lease.clone(),
        );
        let lease =
            gauge(to, "lease_held", "Whether memory may answer: 1, or 0 if the store has to be asked");
        let store_seconds = StoreSeconds::register(to);
        let password_queue_busy = Counter::default();
        to.register(
            "password_queue_busy",
            "Passwords that were turned away because too many waited to be hashed",
            password_queue_busy.clone(),
        );
        let http_requests = HttpRequests::register(to);
        let open_streams = gauge(to, "open_streams", "Event streams that are open");
        Self {
            registry,
            session_checks,
            cache_hits,
            cache_misses,
            cache_entries,
            moved,
            sign_ins,
            sessions_ended,
            revocation_lag,
            late_checkers,
            checker_lag,
            without_lease,
            undecided,
            lease,
            store_seconds,
            password_queue_busy,
            http_requests,
            open_streams,
        }
    }

    /// All of it, in the OpenMetrics text format 1.0.
    #[must_use]
    pub fn render(&self, checker: &Checker) -> String {
        let counts = checker.counters();
        self.session_checks.show(counts);
        show(&self.cache_hits, &counts.hits);
        show(&self.cache_misses, &counts.misses);
        show(&self.moved, &counts.moved);
        show(&self.without_lease, &counts.without_lease);
        show(&self.undecided, &counts.undecided);
        self.lease.set(checker.lease().holds().into());
        self.cache_entries.set(i64::try_from(checker.cached()).unwrap_or(i64::MAX));
        self.text()
    }

    fn text(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        encode(&mut text, &self.registry).expect("a string takes any text");
        text
    }
}

/// Sessions that end on the way of a sign-in are not counted where it is handled: the log tells of each.
impl Follower for Metrics {
    fn apply(&self, entries: &[LogEntry]) {
        for entry in entries {
            if let LogEvent::Ended { cause: cause @ (Cause::Replaced | Cause::Limit | Cause::Replayed) } =
                entry.event
            {
                self.sessions_ended.of(cause).inc();
            }
        }
    }

    /// What was missed is not counted.
    fn start_over(&self, _: LogNumber) {}
}

impl Observer for Metrics {
    fn answered(&self, access: Access, took: Duration) {
        let step = match access {
            Access::Read => StoreStep::Read,
            Access::Write => StoreStep::Write,
        };
        self.store_seconds.of(step).observe(took.as_secs_f64());
    }

    fn announced(&self, took: Duration) {
        self.revocation_lag.observe(took.as_secs_f64());
    }

    fn acknowledged(&self, took: Duration, late: usize) {
        self.revocation_lag.observe(took.as_secs_f64());
        self.late_checkers.inc_by(late as u64);
    }

    fn applied(&self, checker: &str, took: Duration) {
        self.checker_lag.get_or_create(&[("checker", checker.to_owned())]).observe(took.as_secs_f64());
    }

    fn gone(&self, checker: &str) {
        self.checker_lag.remove(&[("checker", checker.to_owned())]);
    }
}

/// A histogram for each process that holds a lease, by what people call it.
type ByChecker = Family<[(&'static str, String); 1], Histogram, fn() -> Histogram>;

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// 10 µs to 5 s.
const LAG_BUCKETS: [f64; 14] =
    [1e-5, 2.5e-5, 1e-4, 2.5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 5.0];

/// Counters with one label, all of whose values are known.
fn counters<const N: usize>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    label: &'static str,
    values: [&'static str; N],
) -> [Counter; N] {
    let family = Family::<[(&str, &str); 1], Counter>::default();
    registry.register(name, help, family.clone());
    values.map(|value| family.get_or_create_owned(&[(label, value)]))
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

/// Session checks by what came of them. The checker counts; this shows its counts.
struct SessionChecks {
    good: Counter,
    refused: [Counter; Refusal::ALL.len()],
}

impl SessionChecks {
    fn register(registry: &mut Registry) -> Self {
        let help = "Checks of a session token, by what came of them";
        let outcomes = Refusal::ALL.map(Refusal::as_str);
        let [good] = counters(registry, "session_checks", help, "outcome", ["good"]);
        let refused = counters(
            registry,
            "session_checks_refused",
            "Session tokens that were refused, by why",
            "reason",
            outcomes,
        );
        Self { good, refused }
    }

    fn show(&self, counts: &CheckCounters) {
        show(&self.good, &counts.good);
        for (shown, count) in self.refused.iter().zip(&counts.refused) {
            show(shown, count);
        }
    }
}

/// Has `shown` say what was counted elsewhere.
fn show(shown: &Counter, counted: &AtomicU64) {
    shown.inner().store(counted.load(Relaxed), Relaxed);
}

/// Counts attempts to sign in by what came of them.
pub struct SignIns {
    /// A session was opened.
    pub succeeded: Counter,
    /// The name or the password was wrong.
    pub failed: Counter,
    /// The attempt came too soon after others.
    pub throttled: Counter,
    /// The user has as many sessions as they may have.
    pub limit_reached: Counter,
}

impl SignIns {
    fn register(registry: &mut Registry) -> Self {
        let [succeeded, failed, throttled, limit_reached] = counters(
            registry,
            "sign_ins",
            "Attempts to sign in, by what came of them",
            "outcome",
            ["succeeded", "failed", "throttled", "limit_reached"],
        );
        Self { succeeded, failed, throttled, limit_reached }
    }
}

/// Counts the sessions that were ended by why.
pub struct SessionsEnded([Counter; CAUSES.len()]);

const CAUSES: [Cause; 10] = [
    Cause::SignedOut,
    Cause::EndedByUser,
    Cause::Replaced,
    Cause::Limit,
    Cause::PasswordChanged,
    Cause::UserDisabled,
    Cause::UserDeleted,
    Cause::Operator,
    Cause::Replayed,
    Cause::GivenBack,
];

impl SessionsEnded {
    fn register(registry: &mut Registry) -> Self {
        let help = "Sessions that were ended, by why";
        Self(counters(registry, "sessions_ended", help, "cause", CAUSES.map(Cause::as_str)))
    }

    /// The counter for this cause.
    #[must_use]
    pub const fn of(&self, cause: Cause) -> &Counter {
        &self.0[match cause {
            Cause::SignedOut => 0,
            Cause::EndedByUser => 1,
            Cause::Replaced => 2,
            Cause::Limit => 3,
            Cause::PasswordChanged => 4,
            Cause::UserDisabled => 5,
            Cause::UserDeleted => 6,
            Cause::Operator => 7,
            Cause::Replayed => 8,
            Cause::GivenBack => 9,
        }]
    }
}

/// Measures steps of the store, in seconds.
pub struct StoreSeconds([Histogram; StoreStep::ALL.len()]);

/// What a store is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreStep {
    /// To read.
    Read,
    /// To change something, durably.
    Write,
}

impl StoreStep {
    const ALL: [Self; 2] = [Self::Read, Self::Write];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl StoreSeconds {
    fn register(registry: &mut Registry) -> Self {
        let family = Family::<[(&str, &str); 1], Histogram, _>::new_with_constructor(|| {
            Histogram::new(exponential_buckets_range(2e-5, 2.0, 11))
        });
        registry.register_with_unit(
            "store",
            "Time that a step of the store took",
            Unit::Seconds,
            family.clone(),
        );
        Self(StoreStep::ALL.map(|step| family.get_or_create_owned(&[("step", step.as_str())])))
    }

    /// The histogram for this step.
    #[must_use]
    pub const fn of(&self, step: StoreStep) -> &Histogram {
        &self.0[step as usize]
    }
}

/// Counts answers to HTTP requests by class of status.
pub struct HttpRequests([Counter; 5]);

impl HttpRequests {
    fn register(registry: &mut Registry) -> Self {
        let help = "Answers to HTTP requests, by class of status";
        Self(counters(registry, "http_requests", help, "status", ["1xx", "2xx", "3xx", "4xx", "5xx"]))
    }

    /// The counter for this status. What is no status counts as an error of the server.
    #[must_use]
    pub fn of(&self, status: u16) -> &Counter {
        let class = usize::from(status / 100).wrapping_sub(1);
        self.0.get(class).unwrap_or(&self.0[4])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// A sample's name, labels and value.
    fn sample(line: &str) -> (&str, &str, f64) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.strip_suffix('}').map_or((series, ""), |s| s.split_once('{').unwrap());
        (name, labels, value.parse().unwrap())
    }

    /// Reads the OpenMetrics text, and refuses what is not in its form.
    fn parse(text: &str) -> BTreeMap<String, f64> {
        let (mut families, mut samples) = (BTreeMap::<&str, BTreeSet<&str>>::new(), BTreeMap::new());
        let mut family = "";
        let body = text.strip_suffix("# EOF\n").expect("the text says where it ends");
        for line in body.lines() {
            if let Some(description) = line.strip_prefix("# ") {
                let mut words = description.splitn(3, ' ');
                let (keyword, name, rest) =
                    (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
                assert!(["HELP", "TYPE", "UNIT"].contains(&keyword) && !rest.is_empty(), "{line}");
                assert!(families.entry(name).or_default().insert(keyword), "{line}: said twice");
                family = name;
            } else {
                let (name, labels, value) = sample(line);
                let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line} is in no family"));
                assert!(["", "_total", "_sum", "_count", "_bucket"].contains(&suffix), "{line}");
                assert!(samples.insert(format!("{name}{{{labels}}}"), value).is_none(), "{line}: said twice");
            }
        }
        for (name, described) in families {
            assert!(described.contains("HELP") && described.contains("TYPE"), "{name}");
            assert_eq!(name.ends_with("_seconds"), described.contains("UNIT"), "{name}");
            assert!(name.starts_with("kerria_"), "{name}");
        }
        samples
    }

    #[test]
    fn everything_is_there_from_the_start() {
        let samples = parse(&Metrics::new().text());
        for series in [
            "kerria_session_checks_total{outcome=\"good\"}",
            "kerria_session_checks_refused_total{reason=\"no_token\"}",
            "kerria_session_checks_refused_total{reason=\"moved\"}",
            "kerria_session_cache_total{result=\"hit\"}",
            "kerria_session_cache_total{result=\"miss\"}",
            "kerria_session_cache_entries{}",
            "kerria_sign_ins_total{outcome=\"limit_reached\"}",
            "kerria_sessions_ended_total{cause=\"password_changed\"}",
            "kerria_revocation_lag_seconds_count{}",
            "kerria_revocation_lag_seconds_bucket{le=\"0.00001\"}",
            "kerria_revocation_lag_seconds_bucket{le=\"5.0\"}",
            "kerria_store_seconds_count{step=\"read\"}",
            "kerria_password_queue_busy_total{}",
            "kerria_http_requests_total{status=\"5xx\"}",
            "kerria_open_streams{}",
        ] {
            assert_eq!(samples.get(series), Some(&0.0), "{series} in {samples:#?}");
        }
        assert!(samples.len() < 300, "{} series", samples.len());
    }

    #[test]
    fn what_is_counted_is_told_and_adds_no_series() {
        let metrics = Metrics::new();
        let before = parse(&metrics.text());
        let counts = CheckCounters::default();
        counts.good.store(1, Relaxed);
        counts.refused[Refusal::Revoked as usize].store(2, Relaxed);
        metrics.session_checks.show(&counts);
        metrics.cache_misses.inc();
        metrics.cache_entries.set(17);
        metrics.sign_ins.throttled.inc();
        metrics.revocation_lag.observe(0.0007);
        metrics.open_streams.inc();
        for cause in CAUSES {
            metrics.sessions_ended.of(cause).inc();
        }
        for step in StoreStep::ALL {
            metrics.store_seconds.of(step).observe(0.003);
        }
        for status in [101, 204, 303, 404, 503, 0, 999] {
            metrics.http_requests.of(status).inc();
        }
        let after = parse(&metrics.text());
        assert!(after.keys().eq(before.keys()));
        for (series, value) in [
            ("kerria_session_checks_total{outcome=\"good\"}", 1.0),
            ("kerria_session_checks_refused_total{reason=\"revoked\"}", 2.0),
            ("kerria_session_cache_total{result=\"hit\"}", 0.0),
            ("kerria_session_cache_total{result=\"miss\"}", 1.0),
            ("kerria_session_cache_entries{}", 17.0),
            ("kerria_sign_ins_total{outcome=\"throttled\"}", 1.0),
            ("kerria_revocation_lag_seconds_bucket{le=\"0.00025\"}", 0.0),
            ("kerria_revocation_lag_seconds_bucket{le=\"0.001\"}", 1.0),
            ("kerria_http_requests_total{status=\"4xx\"}", 1.0),
            ("kerria_http_requests_total{status=\"5xx\"}", 3.0),
            ("kerria_open_streams{}", 1.0),
        ] {
            assert_eq!(after[series], value, "{series}");
        }
        for cause in CAUSES {
            let series = format!("kerria_sessions_ended_total{{cause=\"{}\"}}", cause.as_str());
            assert_eq!(after[&series], 1.0, "{series}");
        }
        for step in StoreStep::ALL {
            let series = format!("kerria_store_seconds_count{{step=\"{}\"}}", step.as_str());
            assert_eq!(after[&series], 1.0, "{series}");
        }
    }

    #[test]
    fn two_applications_count_apart() {
        let (one, other) = (Metrics::new(), Metrics::new());
        one.sign_ins.failed.inc();
        assert_eq!((one.sign_ins.failed.get(), other.sign_ins.failed.get()), (1, 0));
    }
}
