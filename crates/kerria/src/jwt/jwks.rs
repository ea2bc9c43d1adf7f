use std::{convert::Infallible, error::Error, sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};
use tracing::warn;

use super::{keys::KeySet, verifier::Verifier};

/// The longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(10);

/// The first wait after a failure. It doubles with every further one.
const BACK_OFF: Duration = Duration::from_secs(1);

/// Where a JWK Set comes from.
pub trait KeySource: Send + Sync {
    /// Fetches the JSON of the set.
    fn fetch(&self) -> impl Future<Output = Result<Vec<u8>, FetchError>> + Send;
}

/// A JWK Set could not be fetched, or not be used.
#[derive(Debug, thiserror::Error)]
#[error("the JWK Set could not be fetched: {0}")]
pub struct FetchError(#[source] pub Box<dyn Error + Send + Sync>);

/// How often a JWK Set is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// After so long, in any case.
    pub every: Duration,
    /// After so long at the soonest, if a token names a key that is not known.
    pub cool_down: Duration,
    /// The longest wait between attempts that fail.
    pub most_back_off: Duration,
}

impl Default for Pace {
    /// Every 5 minutes; 30 seconds after the last time at the soonest; at least once a minute while it fails.
    fn default() -> Self {
        Self {
            every: Duration::from_secs(5 * 60),
            cool_down: Duration::from_secs(30),
            most_back_off: Duration::from_secs(60),
        }
    }
}

/// Keeps the keys of a verifier up to date, for as long as the future is polled: spawn it, and abort the task in the end.
///
/// Fetches at once, then as `pace` says, and sooner when a token names an unknown key; however many do, once per cool-down.
/// While the source fails, or answers with something else than a set that has a key for us, the last good keys stay.
pub async fn follow_jwks(verifier: Arc<Verifier>, source: impl KeySource, pace: Pace) -> Infallible {
    let mut failures = 0;
    loop {
        match fetch(&source).await {
            Ok(keys) => {
                verifier.set_keys(keys);
                failures = 0;
                sleep(pace.cool_down).await;
                // Whichever comes first.
                let _ = timeout(pace.every.saturating_sub(pace.cool_down), verifier.unknown_key()).await;
            }
            Err(error) => {
                let wait = pace.most_back_off.min(BACK_OFF.saturating_mul(1 << failures.min(16)));
                warn!("{error}; trying again in {wait:?}");
                failures += 1;
                sleep(wait).await;
            }
        }
    }
}

async fn fetch(source: &impl KeySource) -> Result<KeySet, FetchError> {
    let json = timeout(ANSWER, source.fetch()).await.map_err(|elapsed| FetchError(elapsed.into()))??;
    let keys = KeySet::parse(&json).map_err(|refused| FetchError(refused.into()))?;
    if keys.is_empty() {
        return Err(FetchError("it has no key for us".into()));
    }
    Ok(keys)
}
