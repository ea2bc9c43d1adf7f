//! A PostgreSQL server for tests, and databases in it; and a Redis server, in `testing/redis.rs`.
//!
//! `POSTGRES_FOR_TESTS` names a running server, as the URL of one who may create databases. Without it, a server is
//! started for the process and stopped at its end. One that cannot be started is a test that fails.
#![expect(clippy::unwrap_used, reason = "tests")]

mod proxy;
mod redis;

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use kerria_core::CheckerId;
use tempfile::TempDir;
use tokio_postgres::NoTls;

pub use proxy::{Cable, Proxy};
pub use redis::{TestRedis, TestSessions};

use crate::Node;

/// Names a running server.
const VARIABLE: &str = "POSTGRES_FOR_TESTS";

/// How often it is looked whether a server is there, and how long there is between.
const LOOKS: (u32, Duration) = (600, Duration::from_millis(50));

/// A node that no other test is.
#[must_use]
pub fn node() -> Node {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut id = [0; 16];
    id[..4].copy_from_slice(&process.to_be_bytes());
    id[4..8].copy_from_slice(&number.to_be_bytes());
    Node { id: CheckerId::from_bytes(id), name: format!("test {process}-{number}") }
}

/// A database of its own for one test. It is dropped at the end.
pub struct TestDatabase {
    name: String,
    server: Arc<TestServer>,
}

impl TestDatabase {
    /// An empty database.
    ///
    /// # Panics
    /// If there is no server and none can be started.
    #[must_use]
    pub fn create() -> Self {
        Self::create_on(&TestServer::shared())
    }

    /// An empty database on this server.
    ///
    /// # Panics
    /// If it cannot be created.
    #[must_use]
    pub fn create_on(server: &Arc<TestServer>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("kerria_test_{}_{number}", std::process::id());
        // One of a process that was killed, and had the same number.
        let gone = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        let created = format!("CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy");
        server.run("postgres", &[&gone, &created]).unwrap();
        Self { name, server: Arc::clone(server) }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// Runs statements in it, as one who may do anything.
    ///
    /// # Panics
    /// If one fails.
    pub fn run(&self, sql: &str) {
        self.server.run(&self.name, &[sql]).unwrap();
    }

    /// How many transactions others have begun in it and not ended.
    ///
    /// # Panics
    /// If the server does not say so.
    #[must_use]
    pub fn transactions(&self) -> i64 {
        self.count(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND xact_start IS NOT NULL AND pid <> pg_backend_pid()",
        )
    }

    /// The number that this question is answered with.
    ///
    /// # Panics
    /// If it is not answered with one.
    #[must_use]
    pub fn count(&self, sql: &str) -> i64 {
        let (url, sql) = (self.url(), sql.to_owned());
        let asking = thread::spawn(move || {
            runtime().block_on(async {
                let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
                let driving = tokio::spawn(connection);
                let counted = client.query_one(&sql, &[]).await?;
                drop(client);
                let _ = driving.await;
                counted.try_get(0)
            })
        });
        asking.join().unwrap().unwrap()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // A server that was stopped has no databases to drop.
        let _ = self.server.run("postgres", &[&format!("DROP DATABASE {} WITH (FORCE)", self.name)]);
    }
}

/// A server.
pub struct TestServer {
    /// The URL of the administrator, with the name of a database left out at its end.
    base: String,
    own: Option<OwnServer>,
}

impl TestServer {
    /// The server that is named by the environment, or one for this process.
    ///
    /// # Panics
    /// If none can be started.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        static OWN: Mutex<Weak<TestServer>> = Mutex::new(Weak::new());
        #[expect(clippy::disallowed_methods, reason = "tests are told by the environment where a server is")]
        if let Ok(url) = std::env::var(VARIABLE) {
            let (base, _) = url.rsplit_once('/').expect("the URL of a server ends with a database");
            return Arc::new(Self { base: base.to_owned(), own: None });
        }
        let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
        own.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start());
            *own = Arc::downgrade(&started);
            started
        })
    }

    /// A server for one test, which may stop it.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start() -> Self {
        Self::start_own(OwnServer::create())
    }

    /// A server that waits for the disk at every commit, as one in earnest does. For those who measure.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start_durable() -> Self {
        let mut own = OwnServer::create();
        own.durable = true;
        Self::start_own(own)
    }

    /// A server for one test whose tables are on a small disk. What it writes ahead is elsewhere: without room for that, PostgreSQL stops.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start_on_a_small_disk() -> Self {
        Self::start_own(OwnServer::create_on_a_small_disk())
    }

    /// Fills the small disk.
    ///
    /// # Panics
    /// If there is none.
    pub fn fill_the_disk(&self) {
        let mut file = fs::File::create(self.ballast()).unwrap();
        for size in [64 * 1024, 1] {
            let block = vec![0; size];
            while std::io::Write::write_all(&mut file, &block).is_ok() {}
        }
    }

    /// Makes room again.
    ///
    /// # Panics
    /// If it was not full.
    pub fn free_the_disk(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    /// On the small disk, as its server sees it.
    fn ballast(&self) -> PathBuf {
        let own = self.own.as_ref().expect("only a server that was started here has a disk of its own");
        let process = own.process.lock().unwrap().as_ref().expect("it runs").id();
        PathBuf::from(format!("/proc/{process}/root{}/disk/ballast", own.folder.path().display()))
    }

    fn start_own(own: OwnServer) -> Self {
        own.start();
        let server = Self { base: format!("postgres://postgres@127.0.0.1:{}", own.port), own: Some(own) };
        server.wait();
        server
    }

    /// A server for one test, with a certificate for the name `localhost`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start_with_tls() -> Self {
        let own = OwnServer::create();
        own.certify();
        Self::start_own(own)
    }

    /// A standby of this server. From then on, every commit waits until the standby has it.
    ///
    /// # Panics
    /// If it is not one of ours, or the standby does not start.
    #[must_use]
    pub fn standby(&self) -> Self {
        let own = self.own.as_ref().expect("only a server that was started here can have a standby");
        let standby = Self::start_own(OwnServer::copy_of(own.port));
        let wait_for_it = "ALTER SYSTEM SET synchronous_standby_names = '*'";
        self.run("postgres", &[wait_for_it, "SELECT pg_reload_conf()"]).unwrap();
        standby
    }

    /// Makes a standby the primary.
    ///
    /// # Panics
    /// If it does not become that.
    pub fn promote(&self) {
        self.run("postgres", &["SELECT pg_promote()"]).unwrap();
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        self.base.rsplit_once('@').map_or("", |(_, address)| address)
    }

    /// The certificate of the authority that has certified it.
    ///
    /// # Panics
    /// If it was started without TLS.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.own.as_ref().expect("it was started here").folder.path().join("ca.pem")
    }

    /// The URL of a database on it.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("{}/{database}", self.base)
    }

    /// The number of its process, which is the parent of all its others.
    ///
    /// # Panics
    /// If it is not one of ours, or is stopped.
    #[must_use]
    pub fn process(&self) -> u32 {
        let own = self.own.as_ref().expect("only of a server that was started here");
        own.process.lock().unwrap().as_ref().expect("it was not stopped").id()
    }

    /// Stops the server, as if its machine had failed.
    ///
    /// # Panics
    /// If it is not one of ours.
    pub fn stop(&self) {
        self.own.as_ref().expect("only a server that was started here can be stopped").stop();
    }

    /// Starts the server that was stopped.
    ///
    /// # Panics
    /// If it is not one of ours, or does not start.
    pub fn start_again(&self) {
        self.own.as_ref().expect("only a server that was started here can be stopped").start();
        self.wait();
    }

    fn wait(&self) {
        let own = self.own.as_ref().unwrap();
        for _ in 0..LOOKS.0 {
            if self.run("postgres", &[]).is_ok() {
                return;
            }
            assert!(own.is_running(), "PostgreSQL does not start: {}", own.log());
            wait(LOOKS.1);
        }
        panic!("PostgreSQL does not answer: {}", own.log());
    }

    /// Runs statements in a database, one after the other.
    fn run(&self, database: &str, statements: &[&str]) -> Result<(), tokio_postgres::Error> {
        let (url, statements) =
            (self.url(database), statements.iter().map(ToString::to_string).collect::<Vec<_>>());
        // Elsewhere, because the caller may be inside of a runtime.
        let running = thread::spawn(move || {
            runtime().block_on(async {
                let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
                let driving = tokio::spawn(connection);
                for statement in &statements {
                    client.batch_execute(statement).await?;
                }
                drop(client);
                let _ = driving.await;
                Ok(())
            })
        });
        running.join().unwrap()
    }
}

/// A server that was started here.
struct OwnServer {
    folder: TempDir,
    binaries: PathBuf,
    port: u16,
    owner: Option<(u32, u32)>,
    /// Whether a commit waits for the disk.
    durable: bool,
    /// Whether its data is copied to a small disk when it starts.
    on_a_small_disk: bool,
    process: Mutex<Option<Child>>,
}

impl OwnServer {
    /// One without data.
    fn prepare() -> Self {
        let folder = TempDir::new().unwrap();
        let owner = owner();
        if let Some((user, group)) = owner {
            std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self {
            folder,
            binaries: binaries(),
            port,
            owner,
            durable: false,
            on_a_small_disk: false,
            process: Mutex::new(None),
        }
    }

    fn create() -> Self {
        let server = Self::prepare();
        server.make(
            "initdb",
            &["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8"],
        );
        server
    }

    /// A disk of its own is in a namespace of its own: no rights are needed for it, and nothing is left behind.
    fn create_on_a_small_disk() -> Self {
        let mut server = Self::prepare();
        let ahead = server.folder.path().join("ahead");
        server.make(
            "initdb",
            &[
                "--no-sync",
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                &format!("--waldir={}", ahead.display()),
            ],
        );
        fs::create_dir(server.folder.path().join("disk")).unwrap();
        if server.owner.take().is_some() {
            // In that namespace there is one user.
            let made = Command::new("chown").args(["-R", "0:0"]).arg(server.folder.path()).status().unwrap();
            assert!(made.success());
        }
        server.on_a_small_disk = true;
        server
    }

    /// A standby of the server at this port.
    fn copy_of(port: u16) -> Self {
        let server = Self::prepare();
        let from = format!("--dbname=host=127.0.0.1 port={port} user=postgres");
        server.make("pg_basebackup", &[&from, "--no-sync", "--checkpoint=fast", "--write-recovery-conf"]);
        server
    }

    /// Makes its data.
    fn make(&self, program: &str, arguments: &[&str]) {
        let made = self.command(program).args(arguments).arg("--pgdata").arg(self.data()).output();
        let made = made.unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
        assert!(made.status.success(), "{program}: {}", String::from_utf8_lossy(&made.stderr));
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Gives it a certificate, and makes it use that.
    fn certify(&self) {
        certify(|| self.program(Path::new("openssl")), "data/server.key", "data/server.crt");
        let setting = fs::File::options().append(true).open(self.data().join("postgresql.auto.conf"));
        std::io::Write::write_all(&mut setting.unwrap(), b"ssl = on\n").unwrap();
    }

    fn command(&self, name: &str) -> Command {
        self.program(&self.binaries.join(name))
    }

    fn program(&self, path: &Path) -> Command {
        let mut command = Command::new(path);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    fn start(&self) {
        let log = fs::File::options().create(true).append(true).open(self.log_file()).unwrap();
        let mut command = if self.on_a_small_disk {
            let mut command = self.program(Path::new("unshare"));
            // PostgreSQL does not want to be root, and needs not be: it was root who has mounted.
            let mount = "mount -t tmpfs -o size=72m disk disk && cp -a data disk && chmod 700 disk/data && \
                         exec unshare --map-user=1000 --map-group=1000 \"$@\"";
            command.args(["--map-root-user", "--mount", "sh", "-c", mount, "sh"]);
            command.arg(self.binaries.join("postgres")).args(["-D", "disk/data"]);
            command
        } else {
            let mut command = self.command("postgres");
            command.arg("-D").arg(self.data());
            command
        };
        let started = command
            .args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories="])
            // What happens when the power fails is not what is tested.
            .args(if self.durable {
                [].as_slice()
            } else {
                &["-c", "fsync=off", "-c", "full_page_writes=off"]
            })
            .args(["-c", "max_connections=200"])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("postgres can be run");
        *self.process.lock().unwrap() = Some(started);
    }

    fn is_running(&self) -> bool {
        let mut process = self.process.lock().unwrap();
        process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    fn stop(&self) {
        if let Some(mut process) = self.process.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let stopping = self
                .command("pg_ctl")
                .args(["stop", "--mode=immediate", "--pgdata"])
                .arg(self.data())
                .stdout(Stdio::null())
                .status();
            if !stopping.is_ok_and(|status| status.success()) {
                let _ = process.kill();
            }
            let _ = process.wait();
        }
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes a key and a certificate for the name `localhost`, and of the authority that has certified it, `ca.pem`. `openssl` runs in the
/// folder that the names are relative to.
fn certify(openssl: impl Fn() -> Command, key: &str, certificate: &str) {
    let run = |arguments: &str| {
        let certified = openssl().args(arguments.split_whitespace()).output().expect("openssl can be run");
        assert!(certified.status.success(), "openssl: {}", String::from_utf8_lossy(&certified.stderr));
        openssl().get_current_dir().expect("it runs in a folder").to_owned()
    };
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    run(&format!("req -x509 {new} -subj /CN=authority -days 2 -keyout ca.key -out ca.pem"));
    let folder = run(&format!("req {new} -subj /CN=localhost -keyout {key} -out server.csr"));
    fs::write(folder.join("names"), "subjectAltName=DNS:localhost").unwrap();
    run(&format!(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out {certificate}"
    ));
}

/// PostgreSQL refuses to run as root. As root, it runs as the user whom its package has created.
fn owner() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let fields = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields[0] == "postgres")
        .expect("as root, PostgreSQL is run as the user postgres, and there is none");
    Some((fields[2].parse().unwrap(), fields[3].parse().unwrap()))
}

/// Where Debian keeps the programs of the newest version, or where anybody finds them.
fn binaries() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = versions
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .map(|newest| Path::new("/usr/lib/postgresql").join(newest.to_string()).join("bin"));
    debian.filter(|folder| folder.join("initdb").exists()).unwrap_or_default()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Waits, whatever the clock of the test says.
fn wait(time: Duration) {
    let waiting = thread::spawn(move || runtime().block_on(async { tokio::time::sleep(time).await }));
    waiting.join().unwrap();
}
