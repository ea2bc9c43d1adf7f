//! Several nodes of one installation, each a process of its own, and the cables between them and their database.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::join_all;
use hyper::StatusCode;
use kerria::Stopwatch;
use kerria_store::testing::{Cable, Proxy, TestDatabase, TestRedis, TestServer};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    process::Command,
    time::{sleep, timeout},
};

use crate::{
    cast::{CHECKERS_TOKEN, OPERATOR_TOKEN, PASSWORD},
    program::{Client, Program, kerria, serve},
};

/// How long a revocation may take when something is broken: a lease is one second.
pub const SOON: Duration = Duration::from_secs(3);

/// How long anything may take before a drill gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Where applications ask whether a session is good.
pub const SESSION: &str = "/api/v1/session";

/// How often it is looked whether something has happened that nobody tells of.
const LOOK: Duration = Duration::from_millis(10);

/// Nodes that share a database.
pub struct Cluster {
    pub nodes: Vec<Node>,
    // Dropped after the nodes, which use it.
    database: TestDatabase,
    _folder: TempDir,
}

/// One of them.
pub struct Node {
    /// A folder of its own.
    folder: PathBuf,
    /// Between the node and the database.
    proxy: Proxy,
    /// What the node calls the database.
    url: String,
    /// Between the node and Redis, if that keeps the sessions.
    sessions: Option<Proxy>,
    /// What the node calls Redis.
    sessions_url: Option<String>,
    /// `None` while it does not run.
    program: Mutex<Option<Arc<Program>>>,
}

impl Cluster {
    /// So many nodes, on an empty database.
    pub async fn start(count: usize) -> Self {
        Self::start_on(&TestServer::shared(), count).await
    }

    /// The same, on this server.
    pub async fn start_on(server: &Arc<TestServer>, count: usize) -> Self {
        Self::start_with(server, None, None, count).await
    }

    /// The same, on this server and its standby.
    pub async fn start_on_both(server: &Arc<TestServer>, standby: &TestServer, count: usize) -> Self {
        Self::start_with(server, Some(standby), None, count).await
    }

    /// The same, with the sessions in this Redis.
    pub async fn start_beside(redis: &TestRedis, count: usize) -> Self {
        Self::start_between(&TestServer::shared(), Some(redis), count).await
    }

    /// The same, on these servers.
    pub async fn start_between(server: &Arc<TestServer>, redis: Option<&TestRedis>, count: usize) -> Self {
        Self::start_with(server, None, redis, count).await
    }

    async fn start_with(
        server: &Arc<TestServer>,
        standby: Option<&TestServer>,
        redis: Option<&TestRedis>,
        count: usize,
    ) -> Self {
        let cluster = Self::prepare(server, standby, redis, count);
        cluster.start_all().await;
        cluster
    }

    /// The same, with the sessions in the Redis at this URL, without cables that can be broken.
    pub async fn start_beside_url(redis: &str, count: usize) -> Self {
        let mut cluster = Self::prepare(&TestServer::shared(), None, None, count);
        for node in &mut cluster.nodes {
            node.sessions_url = Some(redis.to_owned());
        }
        cluster.start_all().await;
        cluster
    }

    async fn start_all(&self) {
        // The first one makes the sealing key, which the others share.
        self.nodes[0].start().await;
        join_all(self.nodes[1..].iter().map(Node::start)).await;
    }

    /// Nodes that have not been started.
    pub fn prepare(
        server: &Arc<TestServer>,
        standby: Option<&TestServer>,
        redis: Option<&TestRedis>,
        count: usize,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = TestDatabase::create_on(server);
        let node = |number: usize| {
            let own = folder.path().join(format!("node{number}"));
            std::fs::create_dir(&own).unwrap();
            let proxy = Proxy::to(&database.url());
            let url = match (standby, proxy.url().rsplit_once('/')) {
                (Some(standby), Some((server, database))) => {
                    format!("{server},{}/{database}", standby.address())
                }
                _ => proxy.url().to_owned(),
            };
            let sessions = redis.map(|redis| Proxy::to(&redis.url(0)));
            let sessions_url = sessions.as_ref().map(|sessions| sessions.url().to_owned());
            Node { folder: own, proxy, url, sessions, sessions_url, program: Mutex::default() }
        };
        let nodes = (0..count).map(node).collect();
        Self { nodes, database, _folder: folder }
    }

    /// Creates these users: `user0`, `user1` and so on.
    pub async fn users(&self, count: usize) {
        for user in 0..count {
            let new = json!({ "name": format!("user{user}"), "password": PASSWORD });
            let (status, body) =
                self.nodes[0].operator().send("POST", "/api/v1/operator/users", &new).await.unwrap();
            assert_eq!(status, StatusCode::CREATED, "{body}");
        }
    }

    /// Lets a node stand still between two steps. In the middle of one it would hold what the step holds, and others would be
    /// refused until the database gives that one up.
    pub async fn stand_still_between_steps(&self, node: &Node) {
        until("it stands still between two steps", async || {
            node.stand_still().await;
            let is_between = self.database.transactions() == 0;
            if !is_between {
                node.go_on();
            }
            is_between
        })
        .await;
    }

    /// How many errands are to be run.
    pub fn errands(&self) -> i64 {
        self.database.count("SELECT count(*) FROM errand")
    }

    /// Runs statements in the database.
    pub fn run_sql(&self, sql: &str) {
        self.database.run(sql);
    }

    /// What a crash of the database leaves of the ledger.
    pub fn lose_the_ledger(&self) {
        self.database.run("TRUNCATE ledger, checker; ALTER SEQUENCE checker_renewal RESTART");
    }

    /// Waits until no step is under way.
    pub async fn is_quiet(&self) {
        until("no step is under way", async || self.database.transactions() == 0).await;
    }

    /// The session of this token is in the memory of every node.
    pub async fn is_good_everywhere(&self, token: &str) {
        assert_eq!(self.everywhere(token).await, vec![StatusCode::OK; self.nodes.len()]);
    }

    /// The very next request at every node is refused.
    pub async fn is_refused_everywhere(&self, token: &str) {
        let refused = vec![StatusCode::UNAUTHORIZED; self.nodes.len()];
        assert_eq!(self.everywhere(token).await, refused, "what was ended is accepted");
    }

    /// What every node says of a token, all asked at once.
    pub async fn everywhere(&self, token: &str) -> Vec<StatusCode> {
        join_all(self.nodes.iter().map(|node| node.check(token))).await
    }
}

impl Node {
    /// Its own folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts it.
    pub async fn start(&self) {
        assert_eq!(self.try_start().await, Ok(()));
    }

    /// Starts it; what it has said, if it does not start.
    pub async fn try_start(&self) -> Result<(), String> {
        let mut command = self.command_of(kerria(&self.folder));
        command.env("KERRIA_CHECKERS_TOKEN", CHECKERS_TOKEN);
        self.spawn(command).await
    }

    /// The same, of this program, which may be an older one.
    pub async fn try_start_of(&self, program: &Path) -> Result<(), String> {
        let mut command = Command::new(program);
        command.current_dir(&self.folder);
        self.spawn(self.command_of(command)).await
    }

    async fn spawn(&self, command: Command) -> Result<(), String> {
        let program = Program::try_spawn(command).await?;
        *self.program.lock().unwrap() = Some(Arc::new(program));
        Ok(())
    }

    fn command_of(&self, program: Command) -> Command {
        let mut command = serve(program, "127.0.0.1:0");
        let name = self.folder.file_name().unwrap().to_str().unwrap();
        command.env("KERRIA_DATABASE_URL", &self.url).args([
            // Of all of them, so that tokens name one issuer.
            "--set=public_url=http://localhost:8080",
            "--set=tokens.sealing_key_file=../kerria.key",
            "--set=database.connections=4",
            &format!("--set=database.node_name={name}"),
        ]);
        if let Some(url) = &self.sessions_url {
            command.env("KERRIA_REDIS_URL", url);
        }
        command
    }

    /// Runs the program on the command line, as an operator of this node.
    pub async fn run(&self, arguments: &str) -> Value {
        let mut command = kerria(&self.folder);
        command.args(arguments.split(' ')).args(["--data-dir=data", "--json"]);
        let ran = command.output().await.unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        serde_json::from_slice(&ran.stdout).unwrap()
    }

    pub fn program(&self) -> Arc<Program> {
        Arc::clone(self.program.lock().unwrap().as_ref().expect("it runs"))
    }

    fn take(&self) -> Program {
        let program = self.program.lock().unwrap().take().expect("it runs");
        Arc::into_inner(program).expect("nobody holds it for long")
    }

    /// Kills it in the middle of its work.
    pub async fn kill(&self) {
        self.take().kill().await;
    }

    /// Lets it stop in good order.
    pub async fn stop(&self) {
        self.take().stop().await;
    }

    /// Lets it stand still, and waits until all of it does.
    pub async fn stand_still(&self) {
        let program = self.program();
        program.signal(Signal::STOP);
        while !stands_still(program.id()) {
            sleep(LOOK).await;
        }
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.program().signal(Signal::CONT);
    }

    /// Breaks the cable to the database, or mends it.
    pub fn cable(&self, cable: Cable) {
        self.proxy.set(cable);
    }

    /// Breaks the cable to where the sessions are, or mends it.
    pub fn cable_to_sessions(&self, cable: Cable) {
        self.sessions.as_ref().unwrap_or(&self.proxy).set(cable);
    }

    pub fn client(&self) -> Client {
        self.program().client()
    }

    pub fn client_if_it_runs(&self) -> Option<Client> {
        self.program.lock().unwrap().as_ref().map(|program| program.client())
    }

    pub fn operator(&self) -> Client {
        self.client().with(OPERATOR_TOKEN)
    }

    /// What it says of a token.
    pub async fn check(&self, token: &str) -> StatusCode {
        self.client().with(token).status(SESSION).await
    }

    /// A new session in a bearer token.
    pub async fn sign_in(&self, user: usize) -> String {
        self.client().login(user).await.expect("the node answers")
    }

    /// A new session in this transport, and what was answered.
    pub async fn sign_in_by(&self, transport: &str, user: usize) -> crate::program::Answered {
        let login = json!({ "login": format!("user{user}"), "password": PASSWORD, "transport": transport });
        let answer = self.client().ask("POST", "/api/v1/login", &login).await.expect("the node answers");
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer
    }

    /// Signs out, and says how long that took.
    pub async fn sign_out(&self, token: &str) -> Duration {
        let watch = Stopwatch::start();
        let (status, body) =
            self.client().with(token).send("POST", "/api/v1/logout", &json!({})).await.unwrap();
        assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
        watch.elapsed()
    }

    /// How many leases it has waited for until they were over.
    pub async fn late(&self) -> u64 {
        let metrics = self.operator().ask("GET", "/metrics", &json!({})).await.unwrap();
        let value = metrics.text.lines().find_map(|line| line.strip_prefix("kerria_late_checkers_total "));
        value.expect("it is measured").parse().unwrap()
    }
}

/// Waits until something is true.
pub async fn until(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_true().await {
            sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

/// Whether every thread of a process is stopped.
pub fn stands_still(process: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads.flatten().all(|thread| {
        // One that has ended meanwhile does nothing.
        let Ok(stat) = std::fs::read_to_string(thread.path().join("stat")) else { return true };
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't', 'Z', 'X']))
    })
}
