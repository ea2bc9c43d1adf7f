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

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
    };

    use kerria_core::Algorithm;
    use serde_json::json;
    use tokio::{task::JoinHandle, time::sleep as pass};

    use super::*;
    use crate::jwt::{
        Refused,
        testing::{ED25519, Issuer, claims, now, settings},
    };

    /// Answers as the script says, and its last line for ever.
    struct Script(&'static [Answer], AtomicUsize);

    #[derive(Clone, Copy)]
    enum Answer {
        Key,
        Text(&'static str),
        Failure,
        Nothing,
    }

    impl KeySource for Arc<Script> {
        async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
            let turn = self.1.fetch_add(1, SeqCst);
            match self.0[turn.min(self.0.len() - 1)] {
                Answer::Key => Ok(format!(r#"{{"keys":[{ED25519}]}}"#).into_bytes()),
                Answer::Text(text) => Ok(text.into()),
                Answer::Failure => Err(FetchError("no route".into())),
                Answer::Nothing => pending().await,
            }
        }
    }

    struct Stage {
        verifier: Arc<Verifier>,
        script: Arc<Script>,
        follower: JoinHandle<Infallible>,
    }

    impl Stage {
        fn with(script: &'static [Answer]) -> Self {
            let verifier = Arc::new(Verifier::new(settings(), KeySet::default()));
            let script = Arc::new(Script(script, AtomicUsize::new(0)));
            let follower =
                tokio::spawn(follow_jwks(Arc::clone(&verifier), Arc::clone(&script), Pace::default()));
            Self { verifier, script, follower }
        }

        fn fetched(&self) -> usize {
            self.script.1.load(SeqCst)
        }

        fn knows_the_key(&self) -> bool {
            let token = Issuer::new(Algorithm::EdDsa).issue(&claims());
            self.verifier.verify(token.as_bytes(), now()).is_ok()
        }

        fn show_unknown_key(&self) {
            let issuer = Issuer::new(Algorithm::EdDsa);
            let mut header = issuer.header();
            header["kid"] = json!("new");
            let token = issuer.sign(&header.to_string(), &claims().to_string());
            assert_eq!(self.verifier.verify(token.as_bytes(), now()), Err(Refused::UnknownKey));
        }
    }

    impl Drop for Stage {
        fn drop(&mut self) {
            self.follower.abort();
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn keys_are_fetched_at_once_and_every_five_minutes() {
        let stage = Stage::with(&[Answer::Key]);
        pass(SECOND).await;
        assert!(stage.knows_the_key());
        assert_eq!(stage.fetched(), 1);
        pass(SECOND * 298).await;
        assert_eq!(stage.fetched(), 1);
        pass(SECOND * 2).await;
        assert_eq!(stage.fetched(), 2);
        pass(SECOND * 300).await;
        assert_eq!(stage.fetched(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_key_makes_them_come_sooner_but_no_flood_makes_them_come_often() {
        let stage = Stage::with(&[Answer::Key]);
        pass(SECOND * 100).await;
        stage.show_unknown_key();
        pass(SECOND).await;
        assert_eq!(stage.fetched(), 2);
        for _ in 0..290 {
            stage.show_unknown_key();
            stage.show_unknown_key();
            pass(SECOND).await;
        }
        assert_eq!(stage.fetched(), 2 + 9, "once in 30 seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_source_fails_the_last_keys_stay_and_it_is_asked_less_and_less() {
        let stage = Stage::with(&[Answer::Key, Answer::Failure]);
        pass(SECOND * 301).await;
        assert_eq!(stage.fetched(), 2);
        // After 1, 2, 4, 8, 16, 32 seconds, then after 60 each.
        for (after, fetched) in
            [(1, 3), (2, 4), (4, 5), (8, 6), (16, 7), (32, 8), (60, 9), (60, 10), (600, 20)]
        {
            stage.show_unknown_key();
            pass(SECOND * after).await;
            assert_eq!(stage.fetched(), fetched);
        }
        assert!(stage.knows_the_key());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_set_with_a_key_for_us_takes_no_key_away() {
        const TOO_LONG: Answer = Answer::Text(match std::str::from_utf8(&[b' '; 256 * 1024 + 1]) {
            Ok(spaces) => spaces,
            Err(_) => "",
        });
        let stage = Stage::with(&[
            Answer::Key,
            Answer::Text(r#"{"keys":[]}"#),
            Answer::Text("<html>"),
            TOO_LONG,
            Answer::Nothing,
            Answer::Key,
        ]);
        pass(SECOND * 301).await;
        for fetched in 3..=6 {
            assert!(stage.knows_the_key());
            pass(SECOND * (1 << (fetched - 3)) + if fetched == 6 { ANSWER } else { Duration::ZERO }).await;
            assert_eq!(stage.fetched(), fetched);
        }
        pass(SECOND * 299).await;
        assert_eq!(stage.fetched(), 6, "the old pace again");
    }
}
