//! Servers in processes of their own.

use std::{
    fmt::Display,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, ensure};
use kerria::Stopwatch;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
};

use crate::client::Client;

/// Opens the operator's API of the servers under test.
const OPERATOR_TOKEN: &str = "the-operator-of-the-lab-0123456789";

/// The core that a pinned server has for itself; the load generator has the next one.
const SERVER_CORE: &str = "0";

/// How long a clock tick of `/proc` is: Linux shows all of them as hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// A server under test.
pub(crate) struct Server {
    child: Child,
    pid: Pid,
    pub(crate) port: u16,
    /// From the start of the process to its first answer.
    pub(crate) first_answer: Duration,
}

/// Where a server runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    OneCore,
    AllCores,
}

impl Server {
    pub(crate) async fn hello() -> anyhow::Result<Self> {
        let port = free_port().await?;
        let mut command = command(On::OneCore, &std::env::current_exe()?);
        command.arg("hello").arg(port.to_string());
        Self::start(command, port, "/").await
    }

    /// One that counts its visitors, with sessions in this store.
    pub(crate) async fn counter(store: &str, folder: &Path) -> anyhow::Result<Self> {
        let port = free_port().await?;
        let mut command = command(On::OneCore, &std::env::current_exe()?);
        command.arg("count").arg(port.to_string()).arg(store).arg(folder);
        Self::start(command, port, "/read").await
    }

    /// A program that takes these arguments, and then a port and a store.
    pub(crate) async fn other(program: &Path, arguments: &[&str], store: &str) -> anyhow::Result<Self> {
        let port = free_port().await?;
        let mut command = command(On::OneCore, program);
        command.args(arguments).arg(port.to_string()).arg(store).env("NODE_ENV", "production");
        Self::start(command, port, "/read").await
    }

    /// One that asks this store at every request.
    pub(crate) async fn asking(store: &str) -> anyhow::Result<Self> {
        let port = free_port().await?;
        let mut command = command(On::OneCore, &std::env::current_exe()?);
        command.arg("ask").arg(port.to_string()).arg(store);
        Self::start(command, port, "/").await
    }

    /// The `kerria` that was built beside this program, with its defaults but for `settings`.
    pub(crate) async fn kerria(on: On, data: &Path, settings: &[&str]) -> anyhow::Result<Self> {
        Self::kerria_with(command(on, &kerria_here()?), data, settings).await
    }

    /// The same with a configuration file.
    pub(crate) async fn kerria_with_file(on: On, data: &Path, file: &Path) -> anyhow::Result<Self> {
        let mut command = command(on, &kerria_here()?);
        command.env("KERRIA_CONFIG", file);
        Self::kerria_with(command, data, &[]).await
    }

    async fn kerria_with(mut command: Command, data: &Path, settings: &[&str]) -> anyhow::Result<Self> {
        let port = free_port().await?;
        command.arg("serve").arg("--data-dir").arg(data).arg("--listen").arg(format!("127.0.0.1:{port}"));
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        command.env("KERRIA_OPERATOR_TOKEN", OPERATOR_TOKEN);
        Self::start(command, port, "/health/live").await
    }

    /// nginx, which goes by a configuration that is written for the port it gets.
    pub(crate) async fn nginx(folder: &Path, configuration: impl Fn(u16) -> String) -> anyhow::Result<Self> {
        let port = free_port().await?;
        drop(fs::remove_dir_all(folder));
        fs::create_dir_all(folder)?;
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration(port))?;
        // One process, so that its processor time is that of nginx.
        let mut command = command(On::OneCore, Path::new("nginx"));
        command.arg("-e").arg(folder.join("error.log")).arg("-p").arg(folder).arg("-c").arg(&file);
        let directives = format!("daemon off; master_process off; pid {};", folder.join("pid").display());
        command.args(["-g", &directives]);
        Self::start(command, port, "/open").await
    }

    async fn start(mut command: Command, port: u16, path: &str) -> anyhow::Result<Self> {
        let since = Stopwatch::start();
        command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let pid = child.id().and_then(|id| Pid::from_raw(id as i32)).context("it ended at once")?;
        loop {
            if let Ok(mut client) = Client::connect(port).await {
                ensure!(client.get(path, "").await?.status == 200, "{command:?} does not answer 200");
                return Ok(Self { child, pid, port, first_answer: since.elapsed() });
            }
            let ended = child.try_wait()?;
            ensure!(
                ended.is_none() && since.elapsed() < Duration::from_secs(60),
                "does not serve: {command:?}"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The processor time it has used.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        Ok(TICK * Stat::of(self.pid.as_raw_nonzero())?.own)
    }

    /// The bytes of memory it holds.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        resident(&self.proc("status"))
    }

    /// A counter or gauge of its `/metrics`.
    pub(crate) async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let authorization = format!("authorization: Bearer {OPERATOR_TOKEN}");
        let answer = Client::connect(self.port).await?.get("/metrics", &authorization).await?;
        let text = String::from_utf8(answer.body)?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.with_context(|| format!("no {name} in /metrics"))?.parse()?)
    }

    /// Stops it as an operator would.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        kill_process(self.pid, Signal::TERM)?;
        self.child.wait().await?;
        Ok(())
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.pid.as_raw_nonzero()))
    }
}

/// The processor time that this process has used.
pub(crate) fn own_cpu() -> anyhow::Result<Duration> {
    Ok(TICK * Stat::of("self")?.own)
}

/// The processor time that a process and those that it has started have used.
pub(crate) fn cpu_of_family(parent: u32) -> anyhow::Result<Duration> {
    let of_parent = Stat::of(parent)?;
    let mut ticks = of_parent.own + of_parent.of_children_gone;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // One that has just ended is counted with its parent the next time.
        if let Ok(stat) = Stat::of(process)
            && stat.parent == parent
        {
            ticks += stat.own;
        }
    }
    Ok(TICK * ticks)
}

/// What `/proc` says about a process. Times are in ticks, those of user and system together.
struct Stat {
    parent: u32,
    own: u32,
    of_children_gone: u32,
}

impl Stat {
    fn of(process: impl Display) -> anyhow::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        let after_name = stat.rsplit_once(") ").context("no name in stat")?.1;
        let fields: Vec<_> = after_name.split(' ').collect();
        // The field after the name is number 3.
        let field =
            |number: usize| anyhow::Ok(fields.get(number - 3).context("a short stat")?.parse::<u32>()?);
        Ok(Self {
            parent: field(4)?,
            own: field(14)? + field(15)?,
            of_children_gone: field(16)? + field(17)?,
        })
    }
}

/// The bytes of memory that this process holds.
pub(crate) fn own_resident() -> anyhow::Result<u64> {
    resident(Path::new("/proc/self/status"))
}

fn resident(status: &Path) -> anyhow::Result<u64> {
    let status = fs::read_to_string(status)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

fn kerria_here() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("kerria"))
}

fn command(on: On, program: &Path) -> Command {
    match on {
        On::AllCores => Command::new(program),
        On::OneCore => {
            let mut command = Command::new("taskset");
            command.arg("--cpu-list").arg(SERVER_CORE).arg(program);
            command
        }
    }
}

async fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port())
}
