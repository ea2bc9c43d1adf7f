//! Hearing at once of what other processes write to the log. Without it everything is as right, and later.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use kerria_core::{
    LogNumber,
    store::{StoreError, Trouble},
};
use tokio::{runtime::Runtime, sync::Notify, time::timeout};
use tracing::{debug, info, warn};

use super::{connection::Connection, options::Server, workers::runtime};
use crate::{queue::join, sql::Result};

/// How long it waits before it looks whether the connection is still there.
const LOOK: Duration = Duration::from_secs(5);
/// How long it waits before it connects again: at first, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Tells those who listen, once the transaction is committed, that the log has grown to `number`.
pub(super) fn notify(number: LogNumber) -> String {
    format!("SELECT pg_notify('kerria_log', '{}'); ", number.0)
}

/// The thread that listens.
pub(super) struct Listener {
    heard: Arc<Notify>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens, and calls `wake` whenever there may be something new.
    pub(super) fn start(servers: Arc<[Server]>, wake: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let (heard, stop) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let runtime = runtime()?;
        let (told, stopped) = (Arc::clone(&heard), Arc::clone(&stop));
        let thread = thread::Builder::new()
            .name("kerria-listener".to_owned())
            .spawn(move || listen(&Rc::new(runtime), &servers, &wake, &told, &stopped))?;
        Ok(Self { heard, stop, thread: Some(thread) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.heard.notify_one();
        if let Some(thread) = self.thread.take() {
            join(thread);
        }
    }
}

fn listen(
    runtime: &Rc<Runtime>,
    servers: &[Server],
    wake: &dyn Fn(),
    heard: &Arc<Notify>,
    stop: &AtomicBool,
) {
    let (mut wait, mut failing) = (BACK_OFF.0, false);
    while !stop.load(Ordering::Acquire) {
        let listened = Connection::open(runtime, servers, heard).and_then(|connection| {
            connection.batch("LISTEN kerria_log")?;
            wait = BACK_OFF.0;
            if std::mem::take(&mut failing) {
                info!("listening to the revocation log again");
            }
            let heard = hear_until(&connection, wake, heard, stop);
            connection.close();
            heard
        });
        if let Err(error) = listened {
            if std::mem::replace(&mut failing, true) {
                debug!(error = &error as &dyn std::error::Error, "still not listening to the revocation log");
            } else {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "not listening to the revocation log, which is read less often until then; trying again"
                );
            }
            // Woken up by a connection that breaks, it would not wait at all.
            let until = || async {
                while !stop.load(Ordering::Acquire) {
                    heard.notified().await;
                }
            };
            let _ = runtime.block_on(async { timeout(wait, until()).await });
            wait = (wait * 2).min(BACK_OFF.1);
        }
    }
    debug!("no longer listening to the revocation log");
}

fn hear_until(connection: &Connection, wake: &dyn Fn(), heard: &Notify, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Acquire) {
        wake();
        if !connection.is_open() {
            return Err(StoreError::new(Trouble::Unavailable, "the connection was closed"));
        }
        connection.listen(heard, LOOK);
    }
    Ok(())
}
