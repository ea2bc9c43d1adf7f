//! A Redis server for tests, and databases in it.
//!
//! `REDIS_FOR_TESTS` names a running server with many databases, as its URL without a database. Without it, a server is started for
//! the process and stopped at its end: `redis-server`, or the program that `REDIS_SERVER_FOR_TESTS` names, such as `valkey-server`. One
//! that cannot be started is a test that fails.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use redis::{Client, FromRedisValue, cmd};
use tempfile::TempDir;

use super::{LOOKS, certify, wait};

/// Names a running server.
const VARIABLE: &str = "REDIS_FOR_TESTS";

/// Names the program that is started.
const PROGRAM: &str = "REDIS_SERVER_FOR_TESTS";

/// A database of its own for one test.
pub struct TestSessions {
    number: u32,
    server: Arc<TestRedis>,
}

impl TestSessions {
    /// An empty database.
    ///
    /// # Panics
    /// If there is no server and none can be started.
    #[must_use]
    pub fn create() -> Self {
        Self::create_on(&TestRedis::shared())
    }

    /// An empty database on this server.
    ///
    /// # Panics
    /// If it cannot be emptied.
    #[must_use]
    pub fn create_on(server: &Arc<TestRedis>) -> Self {
        let databases: Vec<u32> = server.ask::<Vec<String>>(0, &["CONFIG", "GET", "databases"])[1..]
            .iter()
            .map(|number| number.parse().unwrap())
            .collect();
        let number = 1 + server.ask::<u32>(0, &["INCR", "databases"]) % (databases[0] - 1);
        server.ask::<()>(number, &["FLUSHDB"]);
        Self { number, server: Arc::clone(server) }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url(self.number)
    }

    /// Asks for something in it.
    ///
    /// # Panics
    /// If that fails.
    pub fn ask<T: FromRedisValue>(&self, command: &[&str]) -> T {
        self.server.ask(self.number, command)
    }

    /// Lets the log begin with number 1, as one does whose numbers nobody can have seen before.
    ///
    /// # Panics
    /// If the server does not say who it is.
    pub fn begin_with_one(&self) {
        let says = |section, name: &str| {
            let info: String = self.ask(&["INFO", section]);
            let line = info.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().to_owned()
        };
        let server = says("server", "run_id:") + &says("replication", "master_replid:");
        self.ask::<()>(&[
            "HSET",
            "{kerria}:state",
            "server",
            &server,
            "life",
            "1",
            "settled",
            "1",
            "head",
            "0",
            "removed",
            "0",
        ]);
    }
}

/// A server.
pub struct TestRedis {
    /// Its URL, without a database.
    base: String,
    own: Option<OwnServer>,
}

/// A server that was started here.
struct OwnServer {
    folder: TempDir,
    port: u16,
    settings: Vec<String>,
    /// Whether it only watches over servers.
    sentinel: bool,
    process: Mutex<Option<Child>>,
}

impl TestRedis {
    /// The server that is named by the environment, or one for this process.
    ///
    /// # Panics
    /// If none can be started.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        static OWN: Mutex<Weak<TestRedis>> = Mutex::new(Weak::new());
        #[expect(clippy::disallowed_methods, reason = "tests are told by the environment where a server is")]
        if let Ok(url) = std::env::var(VARIABLE) {
            return Arc::new(Self { base: url.trim_end_matches('/').to_owned(), own: None });
        }
        let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
        own.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start());
            *own = Arc::downgrade(&started);
            started
        })
    }

    /// A server for one test, which may stop it. It keeps nothing on the disk.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A server with these settings, each as `--name` and its value.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start_with(settings: &[&str]) -> Self {
        let server = Self::new(settings);
        server.start_again();
        server
    }

    fn new(settings: &[&str]) -> Self {
        let own = OwnServer {
            folder: TempDir::new().unwrap(),
            port: TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(),
            settings: settings.iter().map(ToString::to_string).collect(),
            sentinel: false,
            process: Mutex::new(None),
        };
        Self { base: format!("redis://127.0.0.1:{}", own.port), own: Some(own) }
    }

    /// A server that is reached through TLS alone, with a certificate for the name `localhost`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start_with_tls() -> Self {
        let mut server = Self::new(&[]);
        let own = server.own.as_mut().expect("it was just made");
        let folder = own.folder.path().to_owned();
        let openssl = || {
            let mut openssl = Command::new("openssl");
            openssl.current_dir(&folder);
            openssl
        };
        certify(openssl, "server.key", "server.crt");
        let port = own.port.to_string();
        let settings = [
            ["--port", "0"],
            ["--tls-port", &port],
            ["--tls-key-file", "server.key"],
            ["--tls-cert-file", "server.crt"],
            ["--tls-ca-cert-file", "ca.pem"],
            ["--tls-auth-clients", "no"],
        ];
        own.settings = settings.concat().into_iter().map(str::to_owned).collect();
        server.base = format!("rediss://localhost:{}", own.port);
        server.start_again();
        server
    }

    /// The certificate of the authority that has certified it.
    ///
    /// # Panics
    /// If it is not one of ours.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.own().folder.path().join("ca.pem")
    }

    /// A replica of this server. It has all that is there when this returns.
    ///
    /// # Panics
    /// If it is not one of ours, or the replica does not start.
    #[must_use]
    pub fn replica(&self) -> Self {
        let replica = Self::start_with(&["--replicaof", "127.0.0.1", &self.port().to_string()]);
        replica.says_soon(&["INFO", "replication"], "master_link_status:up");
        replica
    }

    /// Sentinels that watch over this server, which they call `name`, and replace it by a replica when it has not answered for a second.
    /// They know of each other, and of the replica, when this returns.
    ///
    /// # Panics
    /// If they cannot be started.
    #[must_use]
    pub fn sentinels(&self, name: &str, count: usize) -> Vec<Self> {
        let (port, quorum) = (self.port(), count / 2 + 1);
        let settings = format!(
            "monitor {name} 127.0.0.1 {port} {quorum}\nsentinel down-after-milliseconds {name} 1000\n\
             sentinel failover-timeout {name} 4000"
        );
        let sentinels: Vec<_> = (0..count).map(|_| Self::start_sentinel(&settings)).collect();
        let (others, has_replica) = (format!("sentinels={count}"), "slaves=1,");
        for sentinel in &sentinels {
            sentinel.says_soon(&["INFO", "sentinel"], &others);
            sentinel.says_soon(&["INFO", "sentinel"], has_replica);
        }
        sentinels
    }

    fn says_soon(&self, command: &[&str], what: &str) {
        for _ in 0..LOOKS.0 {
            if self.try_to_ask::<String>(0, command).is_ok_and(|said| said.contains(what)) {
                return;
            }
            wait(LOOKS.1);
        }
        panic!("it never says {what}: {}", self.own().log());
    }

    /// A sentinel that does this, as in `monitor name host port quorum`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start_sentinel(does: &str) -> Self {
        let mut server = Self::new(&[]);
        let own = server.own.as_mut().expect("it was just made");
        let file = own.folder.path().join("sentinel.conf");
        fs::write(&file, format!("sentinel {does}\n")).unwrap();
        own.sentinel = true;
        server.start_again();
        server
    }

    /// The URL of a database on it.
    #[must_use]
    pub fn url(&self, database: u32) -> String {
        format!("{}/{database}", self.base)
    }

    /// Where it listens.
    ///
    /// # Panics
    /// If it is not one of ours.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.own().port
    }

    /// The number of its process.
    ///
    /// # Panics
    /// If it is not one of ours, or is stopped.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.own().process.lock().unwrap().as_ref().expect("it was not stopped").id()
    }

    /// Asks for something in a database.
    ///
    /// # Panics
    /// If that fails.
    pub fn ask<T: FromRedisValue>(&self, database: u32, command: &[&str]) -> T {
        self.try_to_ask(database, command).unwrap()
    }

    fn try_to_ask<T: FromRedisValue>(&self, database: u32, command: &[&str]) -> redis::RedisResult<T> {
        let mut connection = Client::open(self.url(database))?.get_connection()?;
        let (name, arguments) = command.split_first().unwrap();
        cmd(name).arg(arguments).query(&mut connection)
    }

    /// Stops the server, as if its machine had failed.
    ///
    /// # Panics
    /// If it is not one of ours.
    pub fn stop(&self) {
        self.own().stop();
    }

    /// Starts the server that was stopped.
    ///
    /// # Panics
    /// If it is not one of ours, or does not start.
    pub fn start_again(&self) {
        let own = self.own();
        own.start();
        for _ in 0..LOOKS.0 {
            // One that wants a password, or TLS, is there, too.
            if TcpStream::connect(("127.0.0.1", own.port)).is_ok() {
                return;
            }
            assert!(own.is_running(), "Redis does not start: {}", own.log());
            wait(LOOKS.1);
        }
        panic!("Redis does not answer: {}", own.log());
    }

    fn own(&self) -> &OwnServer {
        self.own.as_ref().expect("only of a server that was started here")
    }
}

impl OwnServer {
    fn start(&self) {
        let log = fs::File::options().create(true).append(true).open(self.log_file()).unwrap();
        let program = program();
        let mut command = Command::new(&program);
        if self.sentinel {
            command.args(["sentinel.conf", "--sentinel"]);
        } else {
            command.args(["--databases", "10000", "--save", "", "--appendonly", "no"]);
            // A replica need not wait for others that may come.
            command.args(["--repl-diskless-sync-delay", "0"]);
        }
        let started = command
            .current_dir(self.folder.path())
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(&self.settings)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
        *self.process.lock().unwrap() = Some(started);
    }

    fn log_file(&self) -> std::path::PathBuf {
        self.folder.path().join("log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn is_running(&self) -> bool {
        let mut process = self.process.lock().unwrap();
        process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    fn stop(&self) {
        if let Some(mut process) = self.process.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "tests are told by the environment what to start")]
fn program() -> String {
    std::env::var(PROGRAM).unwrap_or_else(|_| "redis-server".to_owned())
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.stop();
    }
}
