//! What is done in the background: writing "last seen", and removing what is over, in bounded batches.

use std::{sync::Arc, time::Duration};

use kerria::upkeep::{Kept, SWEEP_EVERY, sweep, tell};
use kerria_core::StoreError;
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::app::App;

/// How often it is looked whether another key has to sign.
const LOOK_AT_KEYS_EVERY: Duration = Duration::from_secs(60);

/// How soon the keys are read again at the earliest.
const RELOAD_KEYS_AFTER: Duration = Duration::from_millis(250);

/// Works until `stop` becomes true.
pub async fn run(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let precision = app.config.session.last_seen_precision;
    let mut flush = tokio::time::interval(precision);
    // A sweep writes "last seen" first, which must not make that more frequent than it is set to be.
    let mut sweep = tokio::time::interval(SWEEP_EVERY.max(precision));
    let mut keys = tokio::time::interval(LOOK_AT_KEYS_EVERY);
    loop {
        let work = async {
            tokio::select! {
                _ = flush.tick() => app.checker.flush(app.clock.now()).await.map(|sessions| {
                    debug!(sessions, "wrote when {sessions} sessions were last seen");
                }),
                _ = sweep.tick() => sweep_all(&app).await,
                _ = keys.tick() => { turn_keys(&app).await; Ok(()) }
                moves = app.checker.moves() => tell(&*app.store, &app.checker, moves).await,
            }
        };
        // Every step is whole by itself, so a stop waits for none but the one under way.
        let done = tokio::select! {
            done = work => done,
            () = stopped(&mut stop) => return,
        };
        if let Err(error) = done {
            let source = error.source.as_ref().map(ToString::to_string).unwrap_or_default();
            warn!(error.source = %source, "background work was put off: {error}");
        }
    }
}

/// Takes in signing keys that another process has made, until `stop` becomes true: when everyone's sessions were ended, which
/// goes with new keys, and when a token names a key that is not known here.
pub async fn follow_keys(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = app.keys_may_have_changed() => {}
            () = stopped(&mut stop) => return,
        }
        // Whoever names keys that never were does not make the store busy.
        let pause = match app.keyring.reload().await {
            Ok(()) => RELOAD_KEYS_AFTER,
            Err(error) => {
                warn!("the signing keys cannot be read, and will be again: {error}");
                app.verifier.look_for_keys();
                RELOAD_KEYS_AFTER * 4
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

/// Completes when `stop` has become true.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// Removes everything that is over.
///
/// # Errors
/// If the store fails. What was removed stays removed; the rest is found the next time.
pub async fn sweep_all(app: &App) -> Result<(), StoreError> {
    let session = &app.config.session;
    let kept =
        Kept { last_seen_precision: session.last_seen_precision, log_retention: session.log_retention };
    sweep(&*app.store, &app.checker, kept, app.clock.now()).await
}

/// Turns the keyrings that are due.
pub async fn turn_keys(app: &App) {
    if let Err(error) = app.keyring.turn_if_due(&app.config.tokens, app.clock.now()).await {
        warn!("the signing keys were left as they are: {error}");
    }
}
