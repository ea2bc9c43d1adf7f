//! Sessions are in Redis. What their users are called, and what is noted about them, is in the directory.

use std::collections::HashSet;

use async_trait::async_trait;
use kerria_core::{
    Cause, DataKey, DataLimits, Device, Expiry, LogNumber, Selector, SessionId, SessionPolicy, Timestamp,
    TokenHash, UserId,
    store::{
        DataOwner, DataWrite, Found, LogPage, Opened, Overtaken, Renew, Renewal, Revoked, SessionData,
        SessionDetails, SessionRotation, Sessions, SignIn, TokenUse, Wait,
    },
};

use super::SplitStore;
use crate::{
    redis::Entered,
    sql::{
        Driver, Result,
        sessions::{line_about_end, line_about_step_up},
    },
};

#[async_trait]
impl<D: Driver> Sessions for SplitStore<D> {
    async fn open(&self, sign_in: SignIn) -> Result<Opened> {
        if !self.directory().may_sign_in(&sign_in).await? {
            return Ok(Opened::CredentialsChanged);
        }
        // What was ended for a change from before this sign-in must not end what it opens.
        self.shared.run_errands_about(sign_in.user).await?;
        let whose = self.whose(sign_in.replaces).await?;
        let (found, ended) = match self.sessions().open(&sign_in).await? {
            Entered::Entered { found, ended } => (found, ended),
            Entered::LimitReached => return Ok(Opened::LimitReached),
        };
        let (user, device, now) = (sign_in.user, sign_in.session.device.clone(), sign_in.session.now);
        let lines = ended.into_iter().filter_map(|(session, cause)| {
            let whose = if sign_in.replaces == Some(session) { whose } else { Some(user) };
            line_about_end(Selector::Session { session }, whose, 1, cause, Some(&device), now)
        });
        let noted = self.directory().note_sign_in(sign_in.clone(), lines.collect()).await;
        if !matches!(noted, Ok(true)) {
            // Nobody was given its token.
            let selector = Selector::Session { session: found.session.id };
            let undone = self.sessions().end(selector, Cause::PasswordChanged, now).await;
            noted?;
            undone?;
            return Ok(Opened::CredentialsChanged);
        }
        let name = self.directory().names_of(vec![user]).await?.remove(&user);
        Ok(Opened::Opened(Found { user_name: name, ..found }))
    }

    /// The name is read after the session: a user who is renamed in between is heard of in the log.
    async fn find(&self, token: &TokenHash) -> Result<Option<Found>> {
        self.named(self.sessions().find(token).await?).await
    }

    async fn touch(&self, seen: Vec<(SessionId, Timestamp)>) -> Result<()> {
        self.sessions().touch(seen).await
    }

    async fn revoke_and_wait(
        &self,
        selector: Selector,
        cause: Cause,
        device: Option<Device>,
        now: Timestamp,
        wait: Wait,
    ) -> Result<Revoked> {
        let ended = self.sessions().end_and_wait(selector, cause, now, wait).await?;
        if ended.logged {
            let line = line_about_end(selector, ended.user, ended.sessions, cause, device.as_ref(), now);
            self.shared.record(line).await;
        }
        Ok(Revoked { ended: ended.sessions, number: ended.number, acknowledged: ended.acknowledged })
    }

    async fn rotate(&self, token: TokenUse) -> Result<SessionRotation> {
        let (device, now) = (token.device.clone(), token.now);
        Ok(match self.sessions().rotate(&token).await? {
            SessionRotation::Rotated(found) => SessionRotation::Rotated(self.called(found).await?),
            SessionRotation::Confirmed(found) => SessionRotation::Confirmed(self.called(found).await?),
            SessionRotation::Replayed { session, user } => {
                self.note_replay(session, user, device.as_ref(), now).await;
                SessionRotation::Replayed { session, user }
            }
            unchanged @ (SessionRotation::Repeated(_)
            | SessionRotation::Unchanged
            | SessionRotation::Gone) => unchanged,
        })
    }

    async fn renew(&self, old: &TokenHash, new: &TokenHash, why: Renew, now: Timestamp) -> Result<Renewal> {
        let Renewal::Renewed(found) = self.sessions().renew(old, new, why, now).await? else {
            return Ok(Renewal::Gone);
        };
        let line = (why == Renew::Proved).then(|| line_about_step_up(&found, now));
        self.shared.record(line).await;
        self.called(found).await.map(Renewal::Renewed)
    }

    async fn set_expiry(&self, session: SessionId, expiry: Expiry, now: Timestamp) -> Result<bool> {
        self.sessions().set_expiry(session, expiry, now).await
    }

    async fn sessions_of(&self, user: UserId) -> Result<Vec<SessionDetails>> {
        let sessions = self.sessions().sessions_of(user).await?;
        self.all_called(sessions).await
    }

    async fn all_sessions(&self, after: Option<SessionId>, limit: u32) -> Result<Vec<SessionDetails>> {
        let sessions = self.sessions().all_sessions(after, limit).await?;
        self.all_called(sessions).await
    }

    async fn sweep_sessions(&self, policy: SessionPolicy, now: Timestamp, limit: u32) -> Result<u64> {
        self.sessions().sweep_sessions(policy, now, limit).await
    }

    async fn log_after(&self, number: LogNumber, limit: u32) -> Result<LogPage> {
        self.sessions().log_after(number, limit).await
    }

    async fn trim_log(&self, before: Timestamp, limit: u32) -> Result<u64> {
        self.sessions().trim_log(before, limit).await
    }
}

impl<D: Driver> SplitStore<D> {
    /// What was found, with what its user is called.
    pub(super) async fn named(&self, found: Option<Found>) -> Result<Option<Found>> {
        match found {
            Some(found) => self.called(found).await.map(Some),
            None => Ok(None),
        }
    }

    pub(super) async fn called(&self, found: Found) -> Result<Found> {
        let Some(user) = found.session.user else { return Ok(found) };
        let name = self.directory().names_of(vec![user]).await?.remove(&user);
        Ok(Found { user_name: name, ..found })
    }

    async fn all_called(&self, mut sessions: Vec<SessionDetails>) -> Result<Vec<SessionDetails>> {
        let users: HashSet<_> = sessions.iter().filter_map(|details| details.session.user).collect();
        if users.is_empty() {
            return Ok(sessions);
        }
        let names = self.directory().names_of(users.into_iter().collect()).await?;
        for details in &mut sessions {
            details.user_name = details.session.user.and_then(|user| names.get(&user).cloned());
        }
        Ok(sessions)
    }

    /// The user of a session that is to be replaced.
    async fn whose(&self, replaced: Option<SessionId>) -> Result<Option<UserId>> {
        let Some(session) = replaced else { return Ok(None) };
        let found = self.sessions().session(session).await?;
        Ok(found.and_then(|(found, _)| found.session.user))
    }

    /// A session was ended because a token of it was used after its time.
    pub(super) async fn note_replay(
        &self,
        session: SessionId,
        user: Option<UserId>,
        device: Option<&Device>,
        now: Timestamp,
    ) {
        let line = line_about_end(Selector::Session { session }, user, 1, Cause::Replayed, device, now);
        self.shared.record(line).await;
    }
}

#[async_trait]
impl<D: Driver> SessionData for SplitStore<D> {
    async fn put_data(
        &self,
        owner: DataOwner,
        key: &DataKey,
        json: String,
        limits: DataLimits,
    ) -> Result<DataWrite> {
        self.sessions().put_data(owner, key, json, limits).await
    }

    async fn increment_data(
        &self,
        owner: DataOwner,
        key: &DataKey,
        by: i64,
        limits: DataLimits,
    ) -> Result<DataWrite> {
        self.sessions().increment_data(owner, key, by, limits).await
    }

    async fn change_data(
        &self,
        owner: DataOwner,
        key: &DataKey,
        held: Option<String>,
        json: String,
        limits: DataLimits,
    ) -> Result<Result<DataWrite, Overtaken>> {
        self.sessions().change_data(owner, key, held, json, limits).await
    }

    async fn data(&self, session: SessionId, key: &DataKey) -> Result<Option<String>> {
        self.sessions().data(session, key).await
    }

    async fn data_to_change(&self, session: SessionId, key: &DataKey) -> Result<Option<String>> {
        self.sessions().data_to_change(session, key).await
    }

    async fn remove_data(&self, session: SessionId, key: &DataKey) -> Result<Option<String>> {
        self.sessions().remove_data(session, key).await
    }

    async fn all_data(&self, session: SessionId) -> Result<Vec<(DataKey, String)>> {
        self.sessions().all_data(session).await
    }

    async fn clear_data(&self, session: SessionId) -> Result<u64> {
        self.sessions().clear_data(session).await
    }
}
