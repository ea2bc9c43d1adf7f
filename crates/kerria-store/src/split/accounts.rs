//! Users are in the directory. What is decided about their sessions there is done in Redis.

use async_trait::async_trait;
use kerria_core::{
    Algorithm, Client, ClientId, EmailAddress, Groups, LoginName, PasswordHash, SigningKey, Status,
    Timestamp, TokenHash, User, UserId, UserName,
    store::{
        Accounts, Clients, Credentials, Grouping, Invitation, NewUser, PasswordChange, PasswordChanged,
        Removal, Renaming, SigningKeys, Store, UserCreation,
    },
};

use super::SplitStore;
use crate::{
    redis::Done,
    sql::{Driver, Reach, Result, Step, accounts, clients, keys},
};

impl<D: Driver> SplitStore<D> {
    /// Decides in the directory what ends or changes sessions, and does it. If there was nothing left to decide, somebody has decided it before,
    /// and it may not be done yet: that is seen to before anybody is told so.
    async fn end_by<T: Send + 'static>(
        &self,
        step: impl Fn(&mut Step<'_>) -> Result<T> + Send + 'static,
    ) -> Result<(T, Done)> {
        let (decided, errands) = self.directory().write_with_errands(Reach::Everything, step).await?;
        if errands.is_empty() {
            self.until_acknowledged().await?;
        }
        Ok((decided, self.shared.run(errands).await?))
    }
}

#[async_trait]
impl<D: Driver> Accounts for SplitStore<D> {
    async fn create_user(&self, user: NewUser, invitation: Option<&TokenHash>) -> Result<UserCreation> {
        self.directory().create_user(user, invitation).await
    }

    async fn user(&self, user: UserId) -> Result<Option<User>> {
        self.directory().user(user).await
    }

    async fn user_called(&self, name: &LoginName) -> Result<Option<User>> {
        self.directory().user_called(name).await
    }

    async fn users(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>> {
        self.directory().users(after, limit).await
    }

    async fn has_users(&self) -> Result<bool> {
        self.directory().has_users().await
    }

    async fn credentials(&self, name: &LoginName) -> Result<Option<Credentials>> {
        self.directory().credentials(name).await
    }

    async fn credentials_of(&self, user: UserId) -> Result<Option<Credentials>> {
        self.directory().credentials_of(user).await
    }

    /// Should the session that is to be kept end in between, the password is changed, and none is kept.
    async fn change_password(&self, change: PasswordChange) -> Result<PasswordChanged> {
        if let Some((kept, _)) = change.keep {
            let found = self.sessions().session(kept).await?;
            if found.is_none_or(|(found, _)| found.session.user != Some(change.user)) {
                return Ok(PasswordChanged::Stale);
            }
        }
        let (changed, errands) = self
            .directory()
            .write_with_errands(Reach::Part, move |step| accounts::change_password(step, &change))
            .await?;
        let done = self.shared.run(errands).await?;
        Ok(match changed {
            PasswordChanged::Changed { .. } => {
                PasswordChanged::Changed { ended: done.ended, kept: self.named(done.kept).await? }
            }
            PasswordChanged::Stale => PasswordChanged::Stale,
        })
    }

    async fn rehash_password(&self, user: UserId, old: &PasswordHash, new: &PasswordHash) -> Result<()> {
        self.directory().rehash_password(user, old, new).await
    }

    async fn rename(
        &self,
        user: UserId,
        name: Option<UserName>,
        email: Option<EmailAddress>,
        by: Option<TokenHash>,
        now: Timestamp,
    ) -> Result<Renaming> {
        if !self.still_asks(user, by).await? {
            return Ok(Renaming::Gone);
        }
        let (renamed, errands) = self
            .directory()
            .write_with_errands(Reach::Everything, move |step| {
                accounts::rename(step, user, name.as_ref(), email.as_ref(), now)
            })
            .await?;
        self.shared.run(errands).await?;
        Ok(renamed)
    }

    async fn change_groups(
        &self,
        user: UserId,
        joined: &Groups,
        left: &Groups,
        now: Timestamp,
    ) -> Result<Grouping> {
        let (joined, left) = (joined.clone(), left.clone());
        let change = move |step: &mut Step<'_>| accounts::change_groups(step, user, &joined, &left, now);
        Ok(self.end_by(change).await?.0)
    }

    async fn set_status(&self, user: UserId, status: Status, now: Timestamp) -> Result<Option<u64>> {
        let (set, done) = self.end_by(move |step| accounts::set_status(step, user, status, now)).await?;
        Ok(set.map(|_| done.ended))
    }

    async fn delete_user(&self, user: UserId, by: Option<TokenHash>, now: Timestamp) -> Result<Removal> {
        if !self.still_asks(user, by).await? {
            return Ok(Removal::Unknown);
        }
        let (removal, done) = self.end_by(move |step| accounts::delete(step, user, now)).await?;
        Ok(match removal {
            Removal::Removed { .. } => Removal::Removed { ended: done.ended },
            Removal::Unknown => Removal::Unknown,
        })
    }

    async fn invite(&self, token: &TokenHash, invitation: Invitation, now: Timestamp) -> Result<()> {
        self.directory().invite(token, invitation, now).await
    }

    async fn invitation(&self, token: &TokenHash, now: Timestamp) -> Result<Option<Invitation>> {
        self.directory().invitation(token, now).await
    }

    async fn withdraw_first_account_invitations(&self) -> Result<()> {
        self.directory().withdraw_first_account_invitations().await
    }

    async fn know_device(&self, user: UserId, device: &TokenHash, now: Timestamp) -> Result<()> {
        self.directory().know_device(user, device, now).await
    }

    async fn knows_device(&self, user: UserId, device: &TokenHash) -> Result<bool> {
        self.directory().knows_device(user, device).await
    }
}

impl<D: Driver> SplitStore<D> {
    /// Whether the session that asks, if one does, is still there and the user's. It may end before what it asks for is done.
    async fn still_asks(&self, user: UserId, by: Option<TokenHash>) -> Result<bool> {
        match by {
            Some(token) => self.sessions().carries(&token, user).await,
            None => Ok(true),
        }
    }
}

#[async_trait]
impl<D: Driver> Clients for SplitStore<D> {
    async fn add_client(&self, client: &Client) -> Result<bool> {
        self.directory().add_client(client).await
    }

    async fn client(&self, id: ClientId) -> Result<Option<Client>> {
        self.directory().client(id).await
    }

    async fn clients(&self) -> Result<Vec<Client>> {
        self.directory().clients().await
    }

    async fn change_client(&self, client: &Client) -> Result<bool> {
        self.directory().change_client(client).await
    }

    async fn set_client_secret(&self, id: ClientId, secret: &TokenHash) -> Result<bool> {
        self.directory().set_client_secret(id, secret).await
    }

    async fn remove_client(&self, id: ClientId, now: Timestamp) -> Result<bool> {
        let (removed, _) = self.end_by(move |step| clients::remove(step, id, now)).await?;
        Ok(removed)
    }
}

#[async_trait]
impl<D: Driver> SigningKeys for SplitStore<D> {
    async fn signing_keys(&self) -> Result<Vec<SigningKey>> {
        self.directory().signing_keys().await
    }

    async fn begin_keyring(&self, algorithm: Algorithm, keys: Vec<SigningKey>) -> Result<()> {
        self.directory().begin_keyring(algorithm, keys).await
    }

    async fn turn_keyring(
        &self,
        algorithm: Algorithm,
        active: &str,
        next: SigningKey,
        now: Timestamp,
    ) -> Result<bool> {
        self.directory().turn_keyring(algorithm, active, next, now).await
    }

    async fn reset_keyrings(&self, keys: Vec<SigningKey>, now: Timestamp) -> Result<()> {
        let ((), errands) = self
            .directory()
            .write_with_errands(Reach::Everything, move |step| keys::reset(step, &keys, now))
            .await?;
        self.shared.run(errands).await.map(drop)
    }

    async fn drop_retired_keys(&self, before: Timestamp) -> Result<u64> {
        self.directory().drop_retired_keys(before).await
    }
}
