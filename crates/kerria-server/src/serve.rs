//! Serving: listeners, connections, signals, and a stop that loses nothing.

use std::{
    convert::Infallible,
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};
use tracing::{debug, info, warn};

use crate::{
    app::{App, control_socket_path},
    client::Peer,
    config::Config,
    front::Front,
    maintenance::stopped,
};

/// The largest header of a request, in bytes (ASVS 5, 4.2.5; more answers 431).
const HEADER_BYTES: usize = 32 * 1024;

/// How long to wait before accepting again when the system has no more file descriptors.
pub(crate) const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);

/// Serves until the process is told to stop.
///
/// # Errors
/// A message for the operator that says what to do.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let listen = config.listen;
    let app = App::open(config).await?;
    app.keyring.check()?;
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen} (setting listen): is another program using that port?")
    })?;
    // Before anybody can know that it serves: a signal that nobody waits for would kill it in the middle of its work.
    let mut signals = Signals::heard()?;
    let server = Server::start(Arc::clone(&app), listener)?;
    announce(&app, server.address).await?;
    signals.wait().await;
    info!("stopping: requests under way have {:?} to finish", app.config.shutdown_grace);
    server.stop().await;
    info!("stopped");
    Ok(())
}

/// A server that serves in the background.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    app: Arc<App>,
    stop: watch::Sender<bool>,
    loops: Vec<JoinHandle<()>>,
}

impl Server {
    /// Serves the public routes on `listener`, and the operator's on the control socket.
    ///
    /// # Errors
    /// If the control socket cannot be made.
    pub fn start(app: Arc<App>, listener: TcpListener) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        let control = bind_control_socket(&app.config)?;
        let stop = watch::channel(false).0;
        let public = Front::public(&app);
        let operators = Front::control(&app);
        let loops = vec![
            tokio::spawn(accept(Listener::Tcp(listener), public, stop.subscribe())),
            tokio::spawn(accept(Listener::Control(control), operators, stop.subscribe())),
        ];
        Ok(Self { address, app, stop, loops })
    }

    /// Accepts nothing more, lets requests under way finish, and writes what is still to be written.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.app.begin_stop();
        for task in self.loops {
            drop(task.await);
        }
        drop(std::fs::remove_file(control_socket_path(&self.app.config.data_dir)));
        self.app.close().await;
    }
}

/// The control socket. Whoever holds the folder's lock, as we do, may replace one that a killed server left behind.
fn bind_control_socket(config: &Config) -> anyhow::Result<UnixListener> {
    let path = control_socket_path(&config.data_dir);
    // Nobody but the owner may connect, whatever the folder allows: it gets its name when its mode is right.
    let unnamed = path.with_extension("new");
    drop(std::fs::remove_file(&unnamed));
    let bind = || {
        let listener = UnixListener::bind(&unnamed)?;
        std::fs::set_permissions(&unnamed, PermissionsExt::from_mode(0o600))?;
        std::fs::rename(&unnamed, &path)?;
        Ok::<_, std::io::Error>(listener)
    };
    bind().with_context(|| {
        format!("cannot make the control socket {}: choose a data_dir with a shorter path", path.display())
    })
}

async fn announce(app: &App, address: SocketAddr) -> anyhow::Result<()> {
    info!(version = env!("CARGO_PKG_VERSION"), %address, "Kerria serves {} (listening on {address})", app.config.public_url.origin().ascii_serialization());
    if let Some(link) = app.first_account_link().await? {
        // Not through the log: the link is a secret.
        let welcome =
            "Welcome to Kerria. Create the first account here (the link is good once, for 24 hours):";
        drop(writeln!(std::io::stderr(), "\n  {welcome}\n\n  {link}\n"));
    }
    Ok(())
}

/// The signals that tell the process to stop.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on they are heard, and do not kill the process.
    pub(crate) fn heard() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Completes when one comes.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

enum Listener {
    Tcp(TcpListener),
    Control(UnixListener),
}

async fn accept(listener: Listener, front: Arc<Front>, mut stop: watch::Receiver<bool>) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept_one(&listener, &front, &graceful) => accepted,
            () = stopped(&mut stop) => break,
        };
        if let Err(error) = accepted {
            warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_BACK_OFF).await;
        }
    }
    drop(listener);
    if tokio::time::timeout(front.config().shutdown_grace, graceful.shutdown()).await.is_err() {
        warn!("some requests did not finish in time and were cut off");
    }
}

/// Accepts one connection, as soon as one more may be served.
async fn accept_one(
    listener: &Listener,
    front: &Arc<Front>,
    graceful: &GracefulShutdown,
) -> std::io::Result<()> {
    let permit = front.admit().await;
    match listener {
        Listener::Tcp(listener) => {
            let (stream, peer) = listener.accept().await?;
            stream.set_nodelay(true)?;
            serve_connection(stream, peer.ip(), Arc::clone(front), permit, graceful);
        }
        Listener::Control(listener) => {
            let (stream, _) = listener.accept().await?;
            serve_connection(stream, IpAddr::V4(Ipv4Addr::LOCALHOST), Arc::clone(front), permit, graceful);
        }
    }
    Ok(())
}

fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: IpAddr,
    front: Arc<Front>,
    permit: tokio::sync::OwnedSemaphorePermit,
    graceful: &GracefulShutdown,
) {
    let header_timeout = front.config().header_timeout;
    let peer = Peer::at(peer, &front.config().trusted_proxies);
    let service = service_fn(move |request| {
        let front = Arc::clone(&front);
        async move { Ok::<_, Infallible>(front.answer(peer, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(HEADER_BYTES)
        // Answers are small: one buffer costs the system less than several.
        .writev(false)
        .serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            debug!(%error, "a connection ended early");
        }
        drop(permit);
    });
}
