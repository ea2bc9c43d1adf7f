//! What a checker asks, asked of a node.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use kerria_core::{
    CheckerId, Grant, Lease, LeaseTerms, LogNumber, Profile, SessionId, Timestamp, TokenHash, UserId,
    lease::{Renewal, Renewed},
    store::{Follower, Found, LogPage, SessionRotation, Source, StoreError, TokenUse, Trouble},
};
use kerria_feed::{Following, Renews};

use super::nodes::{Nodes, Time};
use crate::protocol::{
    Answer, Find, FindProfile, FindSession, FoundShape, Leave, Millis, ProfileAnswer, ReadLog, RenewLease,
    Rotate, Rotated, USES, Use, Uses,
    heard::{LogHeard, RenewedHeard},
    paths,
};

pub(super) struct RemoteSource {
    checker: CheckerId,
    nodes: Arc<Nodes>,
    following: Following,
}

/// Renews a lease at a node.
struct Renewals {
    nodes: Arc<Nodes>,
    name: String,
    terms: LeaseTerms,
    /// Whether the last renewal has extended the lease: only then an answer may be held back.
    extended: AtomicBool,
}

impl RemoteSource {
    /// Begins to renew a lease.
    pub(super) fn start(nodes: Arc<Nodes>, checker: CheckerId, name: String, terms: LeaseTerms) -> Self {
        let renewals = Renewals { nodes: Arc::clone(&nodes), name, terms, extended: AtomicBool::new(false) };
        let following = Following::start(Arc::new(renewals), checker, terms);
        Self { checker, nodes, following }
    }

    /// Gives up the lease for good, and says so.
    pub(super) async fn leave(&self) -> Result<(), StoreError> {
        self.following.stop().await;
        self.nodes.ask(paths::LEAVE, &Leave { checker: self.checker }).await
    }
}

#[async_trait]
impl Renews for Renewals {
    async fn renew(&self, Renewal { checker, applied }: Renewal) -> Result<Renewed, StoreError> {
        let extended = self.extended.swap(false, Relaxed);
        let wait = if extended { self.terms.renew_every() } else { Duration::ZERO };
        // With other nodes to turn to, there is still time for that before the lease is over: time to ask, not to be held back.
        let length = self.terms.length;
        let first = if self.nodes.count() > 1 { wait + length / 6 } else { length };
        let time = Time { first, all: length - length / 16 };
        let renewal =
            |wait| RenewLease { checker, name: self.name.clone(), applied, wait: Millis::from(wait) };
        let (question, afterwards) = (renewal(wait), renewal(Duration::ZERO));
        let heard: RenewedHeard = self.nodes.ask_within(time, paths::RENEW, &question, &afterwards).await?;
        let renewed = heard.into();
        self.extended.store(matches!(renewed, Renewed::Entries { complete: true, .. }), Relaxed);
        Ok(renewed)
    }

    fn called(&self) -> &'static str {
        "the server"
    }
}

#[async_trait]
impl Source for RemoteSource {
    async fn find(&self, token: &TokenHash) -> Result<Option<Found>, StoreError> {
        let Answer { found } = self.nodes.ask(paths::FIND, &Find { token: (*token).into() }).await?;
        Ok(found.map(|found| found.found().0))
    }

    async fn session(&self, session: SessionId) -> Result<Option<(Found, Option<Grant>)>, StoreError> {
        let Answer { found } = self.nodes.ask(paths::SESSION, &FindSession { session }).await?;
        Ok(found.map(FoundShape::found))
    }

    async fn profile(&self, user: UserId) -> Result<Option<Profile>, StoreError> {
        let ProfileAnswer { profile } = self.nodes.ask(paths::PROFILE, &FindProfile { user }).await?;
        let profile = profile.map(Profile::try_from).transpose();
        profile.map_err(|error| StoreError::new(Trouble::Failed, error))
    }

    async fn touch(&self, seen: Vec<(SessionId, Timestamp)>) -> Result<(), StoreError> {
        for some in seen.chunks(USES) {
            let seen = some.iter().map(|(session, at)| Use { session: *session, at: *at }).collect();
            let () = self.nodes.ask(paths::TOUCH, &Uses { seen }).await?;
        }
        Ok(())
    }

    /// The node goes by its own rule and its own time.
    async fn rotate(&self, token: TokenUse) -> Result<SessionRotation, StoreError> {
        let rotate = Rotate {
            token: token.presented.into(),
            successor: token.successor.map(Into::into),
            device: token.device.map(Into::into),
        };
        let rotated: Rotated = self.nodes.ask(paths::ROTATE, &rotate).await?;
        Ok(rotated.into())
    }

    async fn log_after(&self, after: LogNumber, limit: u32) -> Result<LogPage, StoreError> {
        let log: LogHeard = self.nodes.ask(paths::LOG, &ReadLog { after, limit }).await?;
        Ok(log.into())
    }

    async fn follow(&self, follower: Weak<dyn Follower>) -> Result<LogNumber, StoreError> {
        self.following.follow(follower).await
    }

    fn lease(&self) -> Lease {
        self.following.lease()
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        self.following.catch_up().await
    }
}
