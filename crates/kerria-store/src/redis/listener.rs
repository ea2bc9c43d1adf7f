//! Hearing at once of what other processes write to the log. Without it everything is as right, and later.

use std::{sync::Arc, time::Duration};

use kerria_core::store::{StoreError, Trouble};
use redis::{PushInfo, PushKind, cmd};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{
    connection::{CHANNEL, Line, Servers},
    errors::store_error,
};
use crate::sql::Result;

/// How long it waits before it looks whether the connection is still there.
const LOOK: Duration = Duration::from_secs(5);
/// How long it waits before it connects again: at first, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Listens, and calls `wake` whenever there may be something new, until it is aborted.
pub(super) fn start(servers: Arc<Servers>, wake: impl Fn() + Send + Sync + 'static) -> JoinHandle<()> {
    tokio::spawn(async move {
        let (mut wait, mut failing) = (BACK_OFF.0, false);
        loop {
            let error = match listen(&servers).await {
                Ok((line, news)) => {
                    wait = BACK_OFF.0;
                    if std::mem::take(&mut failing) {
                        info!("listening to the revocation log again");
                    }
                    hear(&line, news, &wake).await
                }
                Err(error) => error,
            };
            if std::mem::replace(&mut failing, true) {
                debug!(error = &error as &dyn std::error::Error, "still not listening to the revocation log");
            } else {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "not listening to the revocation log, which is read less often until then; trying again"
                );
            }
            sleep(wait).await;
            wait = (wait * 2).min(BACK_OFF.1);
        }
    })
}

async fn listen(servers: &Arc<Servers>) -> Result<(Line, mpsc::UnboundedReceiver<PushInfo>)> {
    let (told, news) = mpsc::unbounded_channel();
    let line = servers.open(Some(told)).await?;
    line.subscribe(CHANNEL).await.map_err(store_error)?;
    Ok((line, news))
}

/// Hears until the connection is gone, and says why.
async fn hear(line: &Line, mut news: mpsc::UnboundedReceiver<PushInfo>, wake: &impl Fn()) -> StoreError {
    wake();
    loop {
        match timeout(LOOK, news.recv()).await {
            Ok(Some(PushInfo { kind: PushKind::Disconnection, .. }) | None) => {
                return StoreError::new(Trouble::Unavailable, "the connection was closed");
            }
            Ok(Some(_)) => wake(),
            Err(_) => {
                if let Err(error) = line.ask::<()>(&cmd("PING")).await {
                    return store_error(error);
                }
            }
        }
    }
}
