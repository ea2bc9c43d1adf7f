//! Servers in processes of their own.

use std::{
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

    /// The `kerria` that was built beside this program, with its defaults but for `settings`.
    pub(crate) async fn kerria(on: On, data: &Path, settings: &[&str]) -> anyhow::Result<Self> {
        let port = free_port().await?;
        let mut command = command(on, &std::env::current_exe()?.with_file_name("kerria"));
        command.arg("serve").arg("--data-dir").arg(data).arg("--listen").arg(format!("127.0.0.1:{port}"));
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        command.env("KERRIA_OPERATOR_TOKEN", OPERATOR_TOKEN);
        Self::start(command, port, "/health/live").await
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
        let stat = fs::read_to_string(self.proc("stat"))?;
        let after_name = stat.rsplit_once(") ").context("no name in stat")?.1;
        // utime and stime are fields 14 and 15; the one after the name is field 3.
        let ticks = after_name.split(' ').skip(11).take(2).map(str::parse::<u32>).sum::<Result<u32, _>>()?;
        Ok(TICK * ticks)
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

/// The bytes of memory that this process holds.
pub(crate) fn own_resident() -> anyhow::Result<u64> {
    resident(Path::new("/proc/self/status"))
}

fn resident(status: &Path) -> anyhow::Result<u64> {
    let status = fs::read_to_string(status)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
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
