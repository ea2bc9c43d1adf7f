//! A history of random work and faults, and what has to be true of it.
//!
//! Whatever happens at the same time may be seen in either order. So a check that finds a session good is wrong only if it
//! *began* after an end of that session *was answered with success*.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use fastrand::Rng;
use futures_util::future::join_all;
use hyper::StatusCode;
use kerria::Stopwatch;
use kerria_store::testing::{Cable, TestRedis, TestServer};
use serde_json::{Value, json};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};

use super::installation::{Cluster, PATIENCE, SESSION, until};
use crate::cast::PASSWORD;

const NODES: usize = 3;
const USERS: usize = 5;
const CLIENTS: usize = 24;

/// How long a client waits for an answer. It does not know then what has come of its request.
const DEADLINE: Duration = Duration::from_millis(2500);

/// Sessions that are still asked about. Those before have ended long ago.
const RECENT: usize = 40;

/// The longest fault. It is twice a lease, so that some are shorter and some are longer.
const LONGEST_MS: u64 = 2000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_of_random_work_and_faults_holds() {
    let server = Arc::new(spawn_blocking(TestServer::start).await.unwrap());
    let cluster = Cluster::start_on(&server, NODES).await;
    holds(cluster, move || {
        server.stop();
        server.start_again();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_of_random_work_and_faults_beside_redis_holds() {
    let server = Arc::new(spawn_blocking(TestServer::start).await.unwrap());
    // What it has answered is on its disk.
    let durable = ["--appendonly", "yes", "--appendfsync", "always"];
    let redis = Arc::new(spawn_blocking(move || TestRedis::start_with(&durable)).await.unwrap());
    let cluster = Cluster::start_between(&server, Some(&redis), NODES).await;
    let restarting = Arc::clone(&redis);
    holds(cluster, move || {
        restarting.stop();
        restarting.start_again();
        server.stop();
        server.start_again();
    })
    .await;
}

/// Plays on these nodes, and restarts in the middle what they stand on.
#[expect(clippy::print_stdout, reason = "what was found can be played again")]
async fn holds(cluster: Cluster, restart: impl FnOnce() + Send + 'static) {
    let (length, seed) = settings();
    println!("KERRIA_HISTORY_SEED={seed} KERRIA_HISTORY_SECONDS={}", length.as_secs());
    let mut random = Rng::with_seed(seed);
    let cluster = Arc::new(cluster);
    cluster.users(USERS).await;
    let play = Arc::new(Play::new(cluster));
    let mut work = JoinSet::new();
    for _ in 0..CLIENTS {
        work.spawn(Arc::clone(&play).work(random.fork()));
    }
    work.spawn(Arc::clone(&play).stop_and_kill(random.fork()));
    work.spawn(Arc::clone(&play).cut(random.fork()));
    sleep(length / 2).await;
    spawn_blocking(restart).await.unwrap();
    play.faults.fetch_add(1, SeqCst);
    sleep(length / 2).await;
    // Where the faults happen to hit hard, or others need the machine, it takes longer until something was tried.
    let enough = async {
        while !play.counts().is_enough() {
            sleep(Duration::from_millis(200)).await;
        }
    };
    let _in_vain_or_not = timeout(PATIENCE, enough).await;
    play.is_over.store(true, SeqCst);
    work.join_all().await;
    play.ask_once_more().await;
    let counts = play.counts();
    println!("{counts}");
    let wrong = play.history.lock().unwrap().wrong();
    assert!(wrong.is_empty(), "seed {seed}, {counts}:\n{}", wrong.join("\n"));
    assert!(counts.is_enough(), "it was about little: {counts}");
}

/// How long it takes, and by which numbers it is played.
#[expect(clippy::disallowed_methods, reason = "whoever looks for more says so in the environment")]
fn settings() -> (Duration, u64) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seconds = number("KERRIA_HISTORY_SECONDS").unwrap_or(15);
    (Duration::from_secs(seconds), number("KERRIA_HISTORY_SEED").unwrap_or_else(|| fastrand::u64(..)))
}

/// When an operation was sent and answered. All times are of one clock.
#[derive(Clone, Copy)]
struct Span {
    began: Duration,
    answered: Duration,
}

/// Somebody has tried to end something. Without an answer, nobody knows what has come of it, or will.
#[derive(Clone, Copy)]
struct Attempt {
    began: Duration,
    answered: Option<Duration>,
}

impl Attempt {
    /// Whether it may be the reason why a check did not find a session that was opened then.
    fn may_explain(&self, check: Span, opened: Span) -> bool {
        self.began < check.answered && self.answered.is_none_or(|answered| answered > opened.began)
    }
}

struct Session {
    user: usize,
    token: String,
    opened: Span,
    attempts: Vec<Attempt>,
    /// When an end of it was first answered with success.
    ended: Option<Duration>,
    /// Checks that found it good, and those that did not.
    good: Vec<Span>,
    refused: Vec<Span>,
}

impl Session {
    fn ended(&mut self, answered: Duration) {
        self.ended = Some(self.ended.map_or(answered, |ended| ended.min(answered)));
    }
}

#[derive(Default)]
struct History {
    sessions: Vec<Session>,
    /// Attempts to end all sessions of each user.
    of_users: [Vec<Attempt>; USERS],
    /// Answers of which nobody learned, or that said that nothing is known.
    unknown: usize,
}

struct Counts {
    sessions: usize,
    ended: usize,
    good: usize,
    refused: usize,
    unknown: usize,
    faults: u32,
}

impl Counts {
    /// Whether it was about something.
    const fn is_enough(&self) -> bool {
        self.ended > 50 && self.good > 300 && self.faults > 8
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sessions, ended, good, refused, unknown, faults } = self;
        write!(
            f,
            "{sessions} sessions, {ended} ended, {good} checks good, {refused} refused, {unknown} unknown, {faults} faults"
        )
    }
}

impl History {
    fn counts(&self, faults: u32) -> Counts {
        let sum = |count: fn(&Session) -> usize| self.sessions.iter().map(count).sum();
        Counts {
            sessions: self.sessions.len(),
            ended: sum(|session| usize::from(session.ended.is_some())),
            good: sum(|session| session.good.len()),
            refused: sum(|session| session.refused.len()),
            unknown: self.unknown,
            faults,
        }
    }

    /// What must not have happened.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (number, session) in self.sessions.iter().enumerate() {
            if let Some(ended) = session.ended {
                for Span { began, answered } in session.good.iter().filter(|check| check.began > ended) {
                    wrong.push(format!(
                        "session {number}: its end was answered at {ended:?}, and it was accepted from {began:?} to {answered:?}"
                    ));
                }
            }
            let attempts = || session.attempts.iter().chain(&self.of_users[session.user]);
            let unexplained = |check: &&Span| !attempts().any(|one| one.may_explain(**check, session.opened));
            for Span { began, answered } in session.refused.iter().filter(unexplained) {
                wrong.push(format!(
                    "session {number}: opened at {:?} and lost from {began:?} to {answered:?}; nobody had ended it",
                    session.opened.answered
                ));
            }
        }
        wrong
    }
}

/// Everything that those who play share.
struct Play {
    cluster: Arc<Cluster>,
    clock: Stopwatch,
    history: Mutex<History>,
    is_over: AtomicBool,
    faults: AtomicU32,
}

impl Play {
    fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            clock: Stopwatch::start(),
            history: Mutex::default(),
            is_over: AtomicBool::new(false),
            faults: AtomicU32::new(0),
        }
    }

    fn counts(&self) -> Counts {
        self.history.lock().unwrap().counts(self.faults.load(SeqCst))
    }

    fn is_over(&self) -> bool {
        self.is_over.load(SeqCst)
    }

    /// One client. It does one thing after the other.
    async fn work(self: Arc<Self>, mut random: Rng) {
        while !self.is_over() {
            match random.u8(0..100) {
                0..15 => self.sign_in(&mut random).await,
                15..30 => {
                    if let Some(session) = self.any(&mut random) {
                        self.sign_out(session, &mut random).await;
                    }
                }
                30..33 => {
                    if let Some(session) = self.any(&mut random) {
                        self.end_all(session, &mut random).await;
                    }
                }
                _ => {
                    if let Some(session) = self.any(&mut random) {
                        self.check(session, random.usize(0..NODES)).await;
                    }
                }
            }
        }
    }

    /// A session that was opened not long ago.
    fn any(&self, random: &mut Rng) -> Option<usize> {
        let sessions = self.history.lock().unwrap().sessions.len();
        (sessions > 0).then(|| random.usize(sessions.saturating_sub(RECENT)..sessions))
    }

    /// The answer to a request, if there is one in time, and when it was sent and answered.
    async fn ask(
        &self,
        node: usize,
        token: Option<&str>,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Option<(StatusCode, Value, Span)> {
        let Some(client) = self.cluster.nodes[node].client_if_it_runs() else {
            // Until it is back, others do the work.
            sleep(Duration::from_millis(5)).await;
            return self.nobody_knows();
        };
        let client = token.map_or_else(|| client.clone(), |token| client.with(token));
        let began = self.clock.elapsed();
        let answer = timeout(DEADLINE, client.send(method, path, body)).await.ok().flatten();
        let answered = self.clock.elapsed();
        match answer {
            Some((status, _)) if status == StatusCode::SERVICE_UNAVAILABLE => self.nobody_knows(),
            Some((status, body)) => Some((status, body, Span { began, answered })),
            None => self.nobody_knows(),
        }
    }

    fn nobody_knows<T>(&self) -> Option<T> {
        self.history.lock().unwrap().unknown += 1;
        None
    }

    async fn sign_in(&self, random: &mut Rng) {
        let (user, node) = (random.usize(0..USERS), random.usize(0..NODES));
        let login = json!({ "login": format!("user{user}"), "password": PASSWORD, "transport": "bearer" });
        let Some((status, body, span)) = self.ask(node, None, "POST", "/api/v1/login", &login).await else {
            return;
        };
        assert_eq!(status, StatusCode::OK, "{body}");
        let token = body["token"].as_str().unwrap().to_owned();
        let session = {
            let mut history = self.history.lock().unwrap();
            history.sessions.push(Session {
                user,
                token,
                opened: span,
                attempts: Vec::new(),
                ended: None,
                good: Vec::new(),
                refused: Vec::new(),
            });
            history.sessions.len() - 1
        };
        self.check_everywhere(session).await;
    }

    async fn check(&self, session: usize, node: usize) {
        let token = self.history.lock().unwrap().sessions[session].token.clone();
        let Some((status, body, span)) = self.ask(node, Some(&token), "GET", SESSION, &json!({})).await
        else {
            return;
        };
        let session = &mut self.history.lock().unwrap().sessions[session];
        match status {
            StatusCode::OK => session.good.push(span),
            StatusCode::UNAUTHORIZED => session.refused.push(span),
            other => panic!("{other}: {body}"),
        }
    }

    /// Nodes that stand still answer when they go on: that is when they are wrong, if ever.
    async fn check_everywhere(&self, session: usize) {
        let nodes: [usize; NODES] = std::array::from_fn(|node| node);
        join_all(nodes.map(|node| self.check(session, node))).await;
    }

    /// Signs out, at another node if the first does not answer, until one does.
    async fn sign_out(&self, session: usize, random: &mut Rng) {
        let first = random.usize(0..NODES);
        for further in 0..NODES {
            let token = {
                let session = &mut self.history.lock().unwrap().sessions[session];
                session.attempts.push(Attempt { began: self.clock.elapsed(), answered: None });
                session.token.clone()
            };
            let node = (first + further) % NODES;
            let answer = self.ask(node, Some(&token), "POST", "/api/v1/logout", &json!({})).await;
            if let Some((status, body, span)) = answer {
                assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
                self.history.lock().unwrap().sessions[session].ended(span.answered);
                break;
            }
        }
        self.check_everywhere(session).await;
    }

    /// Ends all sessions of a user, by one of them.
    async fn end_all(&self, session: usize, random: &mut Rng) {
        let (user, token, attempt) = {
            let mut history = self.history.lock().unwrap();
            let (user, token) = (history.sessions[session].user, history.sessions[session].token.clone());
            let attempts = &mut history.of_users[user];
            attempts.push(Attempt { began: self.clock.elapsed(), answered: None });
            (user, token, attempts.len() - 1)
        };
        let path = "/api/v1/sessions?scope=all";
        let answer = self.ask(random.usize(0..NODES), Some(&token), "DELETE", path, &json!({})).await;
        let Some((status, body, span)) = answer else { return };
        let ended: Vec<_> = {
            let mut history = self.history.lock().unwrap();
            history.of_users[user][attempt].answered = Some(span.answered);
            if status == StatusCode::UNAUTHORIZED {
                // It had ended already, and nothing else has.
                return;
            }
            assert_eq!(status, StatusCode::OK, "{body}");
            // Of those that were opened meanwhile, nobody can say whether they were meant.
            let theirs = |session: &Session| session.user == user && session.opened.answered < span.began;
            let sessions = history.sessions.iter_mut().enumerate();
            sessions
                .filter(|(_, session)| theirs(session))
                .map(|(number, session)| {
                    session.ended(span.answered);
                    number
                })
                .collect()
        };
        for session in ended.into_iter().rev().take(3) {
            self.check_everywhere(session).await;
        }
    }

    /// Lets nodes stand still, and kills some.
    async fn stop_and_kill(self: Arc<Self>, mut random: Rng) {
        while !self.is_over() {
            let node = &self.cluster.nodes[random.usize(0..NODES)];
            let fault = Duration::from_millis(random.u64(0..=LONGEST_MS));
            self.faults.fetch_add(1, SeqCst);
            if random.u8(0..4) == 0 {
                node.kill().await;
                sleep(fault / 4).await;
                // It may be cut off from the database, or that may be down.
                while node.try_start().await.is_err() {}
            } else {
                node.stand_still().await;
                sleep(fault).await;
                node.go_on();
            }
            sleep(Duration::from_millis(random.u64(200..1200))).await;
        }
    }

    /// Breaks the cables to the database, and to where the sessions are, one at a time.
    async fn cut(self: Arc<Self>, mut random: Rng) {
        while !self.is_over() {
            let node = &self.cluster.nodes[random.usize(0..NODES)];
            self.faults.fetch_add(1, SeqCst);
            let broken = *random.choice(&[Cable::Cut, Cable::BlackHole]).unwrap();
            if random.bool() {
                node.cable(broken);
            } else {
                node.cable_to_sessions(broken);
            }
            sleep(Duration::from_millis(random.u64(0..=LONGEST_MS))).await;
            node.cable(Cable::Whole);
            node.cable_to_sessions(Cable::Whole);
            sleep(Duration::from_millis(random.u64(300..1500))).await;
        }
    }

    /// When everything is whole again, nothing that was ended is back, and nothing else is gone.
    async fn ask_once_more(&self) {
        for node in &self.cluster.nodes {
            until("it recovers by itself", async || {
                node.client().status("/health/ready").await == StatusCode::OK
            })
            .await;
        }
        let sessions = self.history.lock().unwrap().sessions.len();
        for session in sessions.saturating_sub(2 * RECENT)..sessions {
            self.check_everywhere(session).await;
        }
    }
}
