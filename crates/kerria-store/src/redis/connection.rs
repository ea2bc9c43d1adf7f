//! The connection to the server that takes writes, found and kept.
//!
//! All that is asked goes through one connection, one after the other without waiting for answers in between. One that fails is
//! replaced by whoever asks next; everybody else waits for that, and nobody tries again at once after it has failed.

use std::{sync::Arc, time::Duration};

use kerria_core::{
    Moment,
    store::{StoreError, Trouble},
};
use redis::{
    AsyncConnectionConfig, Cmd, FromRedisValue, ProtocolVersion, PushInfo, Value, aio::MultiplexedConnection,
    cmd,
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{Mutex, mpsc},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;
use tracing::{debug, info, warn};

use super::{
    errors::{Fault, NO_PRIMARY, damaged, store_error},
    memory::Memory,
    options::{RedisOptions, Setting},
    script::{SCRIPTS, Script},
};
use crate::{feed::moment, sql::Result};

/// How long a server may take to let us in, and to answer.
const CONNECT: Duration = Duration::from_secs(2);
pub(super) const ANSWER: Duration = Duration::from_secs(2);
/// How long nobody tries again after a connection has failed.
const PAUSE: Duration = Duration::from_millis(100);
/// How much earlier each host is tried than the one named after it. One that is silent must not cost the lease.
const HEAD_START: Duration = Duration::from_millis(200);

/// Where news of the log are told.
pub(super) const CHANNEL: &str = "{kerria}:log";

/// A way to the server that takes writes.
pub(super) struct Link {
    servers: Arc<Servers>,
    /// What has to be done again on a server that may have lost it, before anything is asked of that.
    memory: Option<Arc<Memory>>,
    /// How long an answer may take. Less than whoever asks waits: who does not wait any more does not notice that it is silent.
    answer: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    line: Option<Arc<Line>>,
    failed: Option<Failed>,
}

/// The last attempt, if it failed.
struct Failed {
    at: Moment,
    trouble: Trouble,
    said: String,
    /// Whether there was no connection at all, and the operator was told.
    was_told: bool,
}

impl Link {
    pub(super) fn new(servers: Arc<Servers>, memory: Option<Arc<Memory>>, answer: Duration) -> Self {
        Self { servers, memory, answer, state: Mutex::default() }
    }

    /// Asks what changes nothing. Once more on another connection, if one has failed.
    pub(super) async fn read(&self, script: Script, arguments: &[&[u8]]) -> Result<Value> {
        let line = self.line().await?;
        match line.run(script, arguments).await {
            Err(error) if Fault::of(&error) != Fault::Command => {
                self.put_away(&line, &error).await;
                self.run_on(&*self.line().await?, script, arguments).await
            }
            answer => answer.map_err(store_error),
        }
    }

    /// Asks what changes something. Once more only if it is certain that nothing was changed.
    pub(super) async fn write(&self, script: Script, arguments: &[&[u8]]) -> Result<Value> {
        let line = self.line().await?;
        match line.run(script, arguments).await {
            Err(error) if Fault::of(&error) == Fault::Refused => {
                self.put_away(&line, &error).await;
                self.run_on(&*self.line().await?, script, arguments).await
            }
            Err(error) if Fault::of(&error) == Fault::Connection => {
                self.put_away(&line, &error).await;
                Err(store_error(error))
            }
            answer => answer.map_err(store_error),
        }
    }

    /// The second time. If that fails as well, nobody tries again at once.
    async fn run_on(&self, line: &Line, script: Script, arguments: &[&[u8]]) -> Result<Value> {
        let error = match line.run(script, arguments).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let fault = Fault::of(&error);
        if fault != Fault::Command {
            self.put_away(line, &error).await;
        }
        let (said, error) = (error.to_string(), store_error(error));
        if fault == Fault::Refused {
            let failed = Failed { at: moment(), trouble: error.trouble, said, was_told: false };
            self.state.lock().await.failed.get_or_insert(failed);
        }
        Err(error)
    }

    /// Does again what may have been lost.
    pub(super) async fn see_to_it(&self) -> Result<()> {
        let line = self.line().await?;
        match &self.memory {
            Some(memory) => memory.see_to_it(&line).await.map(drop),
            None => Ok(()),
        }
    }

    /// A connection that is there, or a new one.
    async fn line(&self) -> Result<Arc<Line>> {
        let mut state = self.state.lock().await;
        if let Some(line) = state.line.as_ref().filter(|line| line.is_open()) {
            return Ok(Arc::clone(line));
        }
        state.line = None;
        if let Some(failed) = &state.failed
            && moment() < failed.at + PAUSE
        {
            return Err(StoreError::new(failed.trouble, failed.said.clone()));
        }
        match self.open().await {
            Ok(line) => {
                if state.failed.take().is_some_and(|failed| failed.was_told) {
                    info!("the session store answers again");
                }
                let line = Arc::new(line);
                state.line = Some(Arc::clone(&line));
                Ok(line)
            }
            Err(error) => {
                let said = error.source.as_ref().map_or_else(|| error.to_string(), ToString::to_string);
                if !state.failed.as_ref().is_some_and(|failed| failed.was_told) {
                    warn!("the session store cannot be reached: {said}");
                }
                state.failed = Some(Failed { at: moment(), trouble: error.trouble, said, was_told: true });
                Err(error)
            }
        }
    }

    async fn open(&self) -> Result<Line> {
        let mut line = self.servers.open(None).await?;
        line.connection.set_response_timeout(self.answer);
        if let Some(memory) = &self.memory {
            line.life = memory.see_to_it(&line).await?;
        }
        Ok(line)
    }

    /// Nobody is to use this connection any more.
    async fn put_away(&self, broken: &Line, error: &redis::RedisError) {
        debug!("a connection to the session store has failed: {error}");
        let mut state = self.state.lock().await;
        state.line.take_if(|line| std::ptr::eq(&raw const **line, broken));
    }
}

/// An open connection to a server that takes writes.
pub(super) struct Line {
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
    /// What the server calls our scripts.
    names: Vec<String>,
    /// The life that the server was in when this was opened, and the latest ends had been done. Nothing is read in another one.
    life: String,
}

impl Line {
    fn is_open(&self) -> bool {
        !self.driver.is_finished()
    }

    /// Runs a script. A server that has forgotten it gets it anew.
    pub(super) async fn run(&self, script: Script, arguments: &[&[u8]]) -> redis::RedisResult<Value> {
        let life = matches!(script, Script::Read).then_some(self.life.as_bytes());
        let arguments: Vec<&[u8]> = life.into_iter().chain(arguments.iter().copied()).collect();
        let by_name = call("EVALSHA", &self.names[script as usize], &arguments);
        match self.ask(&by_name).await {
            Err(error) if Fault::of(&error) == Fault::NoScript => {
                self.ask(&call("EVAL", SCRIPTS[script as usize], &arguments)).await
            }
            answer => answer,
        }
    }

    /// Hears from now on what is published there.
    pub(super) async fn subscribe(&self, channel: &str) -> redis::RedisResult<()> {
        self.connection.clone().subscribe(channel).await
    }

    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> redis::RedisResult<T> {
        command.query_async(&mut self.connection.clone()).await
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// In a cluster, the one key says where a script is to be run.
fn call(how: &str, script: &str, arguments: &[&[u8]]) -> Cmd {
    let mut call = cmd(how);
    call.arg(script).arg(1).arg("{kerria}:state");
    for argument in arguments {
        call.arg(*argument);
    }
    call
}

/// Where servers are, and how they are asked which of them takes writes.
pub(super) struct Servers {
    pub(super) options: RedisOptions,
    tls: Option<TlsConnector>,
}

impl Servers {
    pub(super) fn new(options: RedisOptions) -> Result<Self, super::RedisError> {
        let tls = options.tls()?;
        Ok(Self { options, tls })
    }

    /// Connects to the server that takes writes. `news` is told what is published there, of the channels that are listened to.
    pub(super) async fn open(
        self: &Arc<Self>,
        news: Option<mpsc::UnboundedSender<PushInfo>>,
    ) -> Result<Line> {
        let mut trying = JoinSet::new();
        for (place, host) in self.options.hosts.iter().cloned().enumerate() {
            let (servers, news) = (Arc::clone(self), news.clone());
            trying.spawn(async move {
                sleep(HEAD_START * u32::try_from(place).unwrap_or(u32::MAX)).await;
                servers.open_by(host, news).await
            });
        }
        let mut last = None;
        while let Some(tried) = trying.join_next().await {
            match tried {
                Ok(Ok(line)) => return Ok(line),
                Ok(Err(error)) => last = Some(error),
                Err(stopped) => last = Some(StoreError::new(Trouble::Unavailable, stopped)),
            }
        }
        Err(last.unwrap_or_else(|| Trouble::Unavailable.into()))
    }

    /// The same, by asking one of the hosts.
    async fn open_by(
        &self,
        (host, port): (String, u16),
        news: Option<mpsc::UnboundedSender<PushInfo>>,
    ) -> Result<Line> {
        let (host, port) = match &self.options.setting {
            Setting::Servers => (host, port),
            Setting::Sentinels { primary } => self.ask_sentinel(&host, port, primary).await?,
            Setting::Cluster => self.ask_cluster(&host, port).await?,
        };
        self.open_primary(&host, port, news).await
    }

    async fn open_primary(
        &self,
        host: &str,
        port: u16,
        news: Option<mpsc::UnboundedSender<PushInfo>>,
    ) -> Result<Line> {
        let mut line = self.dial(host, port, true, news).await?;
        let replication: String = line.ask(cmd("INFO").arg("replication")).await.map_err(store_error)?;
        if field(&replication, "role") != Some("master") {
            return Err(StoreError::new(Trouble::Unavailable, NO_PRIMARY));
        }
        for text in SCRIPTS {
            let name = line.ask(cmd("SCRIPT").arg("LOAD").arg(text)).await.map_err(store_error)?;
            line.names.push(name);
        }
        Ok(line)
    }

    async fn ask_sentinel(&self, host: &str, port: u16, primary: &str) -> Result<(String, u16)> {
        let line = self.dial(host, port, false, None).await?;
        let address: Option<(String, u16)> = line
            .ask(cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(primary))
            .await
            .map_err(store_error)?;
        address.ok_or_else(|| {
            StoreError::new(Trouble::Unavailable, "the sentinel knows no primary of that name")
        })
    }

    /// Who has the slot of our keys.
    async fn ask_cluster(&self, host: &str, port: u16) -> Result<(String, u16)> {
        let line = self.dial(host, port, true, None).await?;
        let ours: i64 = line.ask(cmd("CLUSTER").arg("KEYSLOT").arg("{kerria}")).await.map_err(store_error)?;
        let ranges: Vec<Vec<Value>> = line.ask(cmd("CLUSTER").arg("SLOTS")).await.map_err(store_error)?;
        for range in ranges {
            let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = range.as_slice() else {
                return Err(damaged("the cluster does not say who has which slot"));
            };
            if (*first..=*last).contains(&ours)
                && let [Value::BulkString(name), Value::Int(its_port), ..] = primary.as_slice()
            {
                let name = String::from_utf8_lossy(name);
                // A node that does not know its own name is the one that was asked.
                let name = if name.is_empty() || name == "?" { host.into() } else { name };
                return Ok((name.into_owned(), u16::try_from(*its_port).unwrap_or(port)));
            }
        }
        Err(StoreError::new(Trouble::Unavailable, "nobody in the cluster has our slot"))
    }

    /// Connects to one server, and signs in if that is asked for.
    async fn dial(
        &self,
        host: &str,
        port: u16,
        sign_in: bool,
        news: Option<mpsc::UnboundedSender<PushInfo>>,
    ) -> Result<Line> {
        let unavailable = |error: std::io::Error| StoreError::new(Trouble::Unavailable, error);
        let dialling = async {
            let stream = TcpStream::connect((host, port)).await.map_err(unavailable)?;
            stream.set_nodelay(true).map_err(unavailable)?;
            let info = if sign_in { self.options.sign_in() } else { redis::RedisConnectionInfo::default() };
            match &self.tls {
                None => greet(stream, info, news).await,
                Some(tls) => {
                    let name = ServerName::try_from(host.to_owned())
                        .map_err(|error| StoreError::new(Trouble::Unavailable, error))?;
                    let stream = tls.connect(name, stream).await.map_err(|error| {
                        let said = format!("TLS: {error}");
                        StoreError::new(Trouble::Unavailable, said)
                    })?;
                    greet(stream, info, news).await
                }
            }
        };
        timeout(CONNECT, dialling)
            .await
            .unwrap_or_else(|elapsed| Err(StoreError::new(Trouble::Unavailable, elapsed)))
    }
}

async fn greet(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    info: redis::RedisConnectionInfo,
    news: Option<mpsc::UnboundedSender<PushInfo>>,
) -> Result<Line> {
    let mut config = AsyncConnectionConfig::new().set_response_timeout(Some(ANSWER));
    let mut info = info.set_lib_name("kerria", env!("CARGO_PKG_VERSION"));
    if let Some(news) = news {
        config = config.set_push_sender(news);
        info = info.set_protocol(ProtocolVersion::RESP3);
    }
    let (connection, driving) =
        MultiplexedConnection::new_with_config(&info, stream, config).await.map_err(store_error)?;
    Ok(Line { connection, driver: tokio::spawn(driving), names: Vec::new(), life: String::new() })
}

/// What a server says of itself under this name.
pub(super) fn field<'t>(info: &'t str, name: &str) -> Option<&'t str> {
    info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
}
