//! Users and what they sign in with.

use async_trait::async_trait;
use kerria_core::{
    Cause, CredentialVersion, EmailAddress, Groups, LoginName, PasswordHash, Selector, SessionId, Status,
    StoreError, Timestamp, TokenHash, User, UserId, UserName,
    audit::{AuditEntry, AuditEvent},
    group::GROUPS,
    store::{
        Accounts, Credentials, Grouping, Invitation, KNOWN_DEVICES, NewUser, PasswordChange, PasswordChanged,
        Removal, Renaming, UserCreation,
    },
};

use super::{Ask, Driver, Result, Root, SqlStore, Step, audit, rows, sessions};
use crate::errand::Order;

/// The version of an account's first credentials.
const FIRST: CredentialVersion = CredentialVersion(1);

macro_rules! select_users {
    ($rest:literal) => {
        concat!("SELECT id, name, email, status, created_at, last_sign_in_at, member_of FROM account ", $rest)
    };
}

macro_rules! select_credentials {
    ($rest:literal) => {
        concat!("SELECT id, status, password, version FROM account ", $rest)
    };
}

#[async_trait]
impl<D: Driver> Accounts for SqlStore<D> {
    async fn create_user(
        &self,
        user: NewUser,
        invitation: Option<&TokenHash>,
    ) -> Result<UserCreation, StoreError> {
        let invitation = invitation.copied();
        self.write(move |step| create(step, &user, invitation.as_ref())).await
    }

    async fn user(&self, user: UserId) -> Result<Option<User>, StoreError> {
        self.read(move |asked| account(asked, user)).await
    }

    async fn user_called(&self, name: &LoginName) -> Result<Option<User>, StoreError> {
        let name = name.clone();
        self.read(move |asked| {
            let sql = if name.is_email() {
                select_users!("WHERE email_key = ?1")
            } else {
                select_users!("WHERE name_key = ?1")
            };
            asked.one(sql, [name.key()], rows::user)
        })
        .await
    }

    async fn users(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        self.read(move |asked| {
            asked.all(
                // Every identifier comes after the empty one.
                select_users!("WHERE id > ?1 ORDER BY id LIMIT ?2"),
                (after.as_ref().map_or(&[][..], |after| after.as_bytes()), limit),
                rows::user,
            )
        })
        .await
    }

    async fn has_users(&self) -> Result<bool, StoreError> {
        self.read(has_users).await
    }

    async fn credentials(&self, name: &LoginName) -> Result<Option<Credentials>, StoreError> {
        let name = name.clone();
        self.read(move |asked| {
            let sql = if name.is_email() {
                select_credentials!("WHERE email_key = ?1")
            } else {
                select_credentials!("WHERE name_key = ?1")
            };
            asked.one(sql, [name.key()], rows::credentials)
        })
        .await
    }

    async fn credentials_of(&self, user: UserId) -> Result<Option<Credentials>, StoreError> {
        self.read(move |asked| {
            asked.one(select_credentials!("WHERE id = ?1"), [user.as_bytes()], rows::credentials)
        })
        .await
    }

    async fn change_password(&self, change: PasswordChange) -> Result<PasswordChanged, StoreError> {
        self.write_part(move |step| change_password(step, &change)).await
    }

    async fn rehash_password(
        &self,
        user: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<(), StoreError> {
        let (old, new) = (old.clone(), new.clone());
        self.write(move |step| {
            step.change(
                "UPDATE account SET password = ?3 WHERE id = ?1 AND password = ?2",
                (user.as_bytes(), old.as_str(), new.as_str()),
            )?;
            Ok(())
        })
        .await
    }

    async fn rename(
        &self,
        user: UserId,
        name: Option<UserName>,
        email: Option<EmailAddress>,
        by: Option<TokenHash>,
        now: Timestamp,
    ) -> Result<Renaming, StoreError> {
        self.write(move |step| {
            if !still_asks(step, user, by)? {
                return Ok(Renaming::Gone);
            }
            rename(step, user, name.as_ref(), email.as_ref(), now)
        })
        .await
    }

    async fn change_groups(
        &self,
        user: UserId,
        joined: &Groups,
        left: &Groups,
        now: Timestamp,
    ) -> Result<Grouping, StoreError> {
        let (joined, left) = (joined.clone(), left.clone());
        self.write(move |step| change_groups(step, user, &joined, &left, now)).await
    }

    async fn set_status(
        &self,
        user: UserId,
        status: Status,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        self.write(move |step| set_status(step, user, status, now)).await
    }

    async fn delete_user(
        &self,
        user: UserId,
        by: Option<TokenHash>,
        now: Timestamp,
    ) -> Result<Removal, StoreError> {
        self.write(move |step| {
            if !still_asks(step, user, by)? {
                return Ok(Removal::Unknown);
            }
            delete(step, user, now)
        })
        .await
    }

    async fn invite(
        &self,
        token: &TokenHash,
        invitation: Invitation,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let token = *token;
        self.write(move |step| invite(step, &token, invitation, now)).await
    }

    async fn invitation(&self, token: &TokenHash, now: Timestamp) -> Result<Option<Invitation>, StoreError> {
        let token = *token;
        self.read(move |asked| good_invitation(asked, &token, now)).await
    }

    async fn withdraw_first_account_invitations(&self) -> Result<(), StoreError> {
        self.write(|step| step.change("DELETE FROM invitation WHERE first_account = 1", ()).map(drop)).await
    }

    async fn know_device(&self, user: UserId, device: &TokenHash, now: Timestamp) -> Result<(), StoreError> {
        let device = *device;
        self.write_part(move |step| {
            step.hold(Root::User(user))?;
            // Nothing is remembered of a user who was deleted meanwhile.
            step.change(
                "INSERT INTO known_device (user_id, device_hash, known_at) \
                 SELECT id, ?2, ?3 FROM account WHERE id = ?1 \
                 ON CONFLICT (user_id, device_hash) DO UPDATE SET known_at = excluded.known_at",
                (user.as_bytes(), device.as_bytes(), now.as_millis()),
            )?;
            step.change(
                "DELETE FROM known_device WHERE user_id = ?1 AND device_hash NOT IN ( \
                     SELECT device_hash FROM known_device WHERE user_id = ?1 \
                     ORDER BY known_at DESC, device_hash = ?2 DESC LIMIT ?3)",
                (user.as_bytes(), device.as_bytes(), KNOWN_DEVICES),
            )?;
            Ok(())
        })
        .await
    }

    async fn knows_device(&self, user: UserId, device: &TokenHash) -> Result<bool, StoreError> {
        let device = *device;
        self.read(move |asked| {
            asked.the(
                "SELECT EXISTS (SELECT 1 FROM known_device WHERE user_id = ?1 AND device_hash = ?2)",
                (user.as_bytes(), device.as_bytes()),
                |row| row.get(0),
            )
        })
        .await
    }
}

fn account(asked: &dyn Ask, user: UserId) -> Result<Option<User>> {
    asked.one(select_users!("WHERE id = ?1"), [user.as_bytes()], rows::user)
}

fn has_users(asked: &dyn Ask) -> Result<bool> {
    asked.the("SELECT EXISTS (SELECT 1 FROM account)", (), |row| row.get(0))
}

/// The invitation comes first: who has none is not told whose names are taken.
fn create(step: &Step<'_>, new: &NewUser, invitation: Option<&TokenHash>) -> Result<UserCreation> {
    if let Some(token) = invitation
        && good_invitation(step, token, new.now)?.is_none()
    {
        return Ok(UserCreation::InvitationSpent);
    }
    match taken(step, new.id, new.name.as_ref(), new.email.as_ref())? {
        Some(Taken::Name) => return Ok(UserCreation::NameTaken),
        Some(Taken::Email) => return Ok(UserCreation::EmailTaken),
        None => {}
    }
    step.change(
        "INSERT INTO account (id, name, email, name_key, email_key, password, version, status, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        (
            new.id.as_bytes(),
            new.name.as_ref().map(UserName::as_str),
            new.email.as_ref().map(EmailAddress::as_str),
            new.name.as_ref().map(UserName::key),
            new.email.as_ref().map(EmailAddress::key),
            new.password.as_str(),
            FIRST.0,
            Status::Active.as_str(),
            new.now.as_millis(),
        ),
    )?;
    let how = match invitation {
        Some(token) => {
            step.change("DELETE FROM invitation WHERE token_hash = ?1", [token.as_bytes()])?;
            "by invitation"
        }
        None => "without an invitation",
    };
    let created =
        audit::about_user(AuditEvent::UserCreated, new.id, new.device.as_ref(), how.to_owned(), new.now);
    audit::record(step, &created)?;
    Ok(UserCreation::Created(FIRST))
}

enum Taken {
    Name,
    Email,
}

/// Which of these belongs to somebody other than `user`.
fn taken(
    step: &Step<'_>,
    user: UserId,
    name: Option<&UserName>,
    email: Option<&EmailAddress>,
) -> Result<Option<Taken>> {
    let name_taken = "SELECT EXISTS (SELECT 1 FROM account WHERE name_key = ?2 AND id <> ?1)";
    let email_taken = "SELECT EXISTS (SELECT 1 FROM account WHERE email_key = ?2 AND id <> ?1)";
    if step.the(name_taken, (user.as_bytes(), name.map(UserName::key)), |row| row.get(0))? {
        Ok(Some(Taken::Name))
    } else if step.the(email_taken, (user.as_bytes(), email.map(EmailAddress::key)), |row| row.get(0))? {
        Ok(Some(Taken::Email))
    } else {
        Ok(None)
    }
}

/// Whether the session that is to be kept is there is for others to say if it is kept elsewhere, and how it is afterwards.
pub(crate) fn change_password(step: &mut Step<'_>, change: &PasswordChange) -> Result<PasswordChanged> {
    let PasswordChange { user, now, .. } = *change;
    step.hold(Root::User(user))?;
    step.hold(Root::SessionsOf(user, None))?;
    if let Some((kept, _)) = change.keep
        && !step.is_without_sessions()
        && !is_session_of(step, kept, user)?
    {
        return Ok(PasswordChanged::Stale);
    }
    let changed = step.change(
        "UPDATE account SET password = ?2, version = version + 1 WHERE id = ?1 AND version = coalesce(?3, version)",
        (user.as_bytes(), change.password.as_str(), change.version.map(|version| version.0)),
    )?;
    if changed == 0 {
        return Ok(PasswordChanged::Stale);
    }
    // Whoever knew the old password may have made a device known.
    step.change("DELETE FROM known_device WHERE user_id = ?1", [user.as_bytes()])?;
    let selector = match change.keep {
        Some((except, _)) => Selector::UserExcept { user, except },
        None => Selector::User { user },
    };
    let line = AuditEntry {
        session: change.keep.map(|(kept, _)| kept),
        ..audit::about_user(AuditEvent::PasswordChanged, user, change.device.as_ref(), so_many_ended(), now)
    };
    let order = Order::End { selector, cause: Cause::PasswordChanged, keep: change.keep };
    let ended = step.order(order, &line, now)?;
    let kept = change.keep.filter(|_| !step.is_without_sessions());
    let kept = kept.map(|(kept, _)| sessions::found(step, kept)).transpose()?;
    Ok(PasswordChanged::Changed { ended, kept })
}

fn is_session_of(step: &Step<'_>, session: SessionId, user: UserId) -> Result<bool> {
    step.the(
        "SELECT EXISTS (SELECT 1 FROM session WHERE id = ?1 AND user_id = ?2)",
        (session.as_bytes(), user.as_bytes()),
        |row| row.get(0),
    )
}

/// Whether the session that asks, if one does, is still there and the user's.
fn still_asks(step: &Step<'_>, user: UserId, by: Option<TokenHash>) -> Result<bool> {
    let Some(token) = by else { return Ok(true) };
    match sessions::carried_by(step, &token)? {
        Some(session) => is_session_of(step, session, user),
        None => Ok(false),
    }
}

pub(crate) fn rename(
    step: &mut Step<'_>,
    user: UserId,
    name: Option<&UserName>,
    email: Option<&EmailAddress>,
    now: Timestamp,
) -> Result<Renaming> {
    if account(step, user)?.is_none() {
        return Ok(Renaming::Gone);
    }
    match taken(step, user, name, email)? {
        Some(Taken::Name) => return Ok(Renaming::NameTaken),
        Some(Taken::Email) => return Ok(Renaming::EmailTaken),
        None => {}
    }
    step.change(
        "UPDATE account SET name = ?2, email = ?3, name_key = ?4, email_key = ?5 WHERE id = ?1",
        (
            user.as_bytes(),
            name.map(UserName::as_str),
            email.map(EmailAddress::as_str),
            name.map(UserName::key),
            email.map(EmailAddress::key),
        ),
    )?;
    let line = audit::about_user(AuditEvent::UserRenamed, user, None, String::new(), now);
    step.order(Order::Changed { user }, &line, now)?;
    Ok(Renaming::Renamed)
}

/// The groups that somebody is in.
pub(crate) fn groups_in_use(asked: &dyn Ask) -> Result<Groups> {
    let all = asked.all("SELECT DISTINCT member_of FROM account WHERE member_of <> ''", (), |row| {
        rows::text::<Groups>(row, 0)
    })?;
    Ok(all.iter().flat_map(Groups::iter).cloned().collect())
}

pub(crate) fn change_groups(
    step: &mut Step<'_>,
    user: UserId,
    joined: &Groups,
    left: &Groups,
    now: Timestamp,
) -> Result<Grouping> {
    let Some(held) = account(step, user)? else { return Ok(Grouping::Unknown) };
    let groups = held.groups.changed(joined, left);
    if groups.len() > GROUPS {
        return Ok(Grouping::TooMany);
    }
    if groups == held.groups {
        step.rest_on_log()?;
        return Ok(Grouping::Grouped(groups));
    }
    step.change(
        "UPDATE account SET member_of = ?2 WHERE id = ?1",
        (user.as_bytes(), groups.to_string().as_str()),
    )?;
    let line = audit::about_user(AuditEvent::GroupsChanged, user, None, in_words(&groups), now);
    step.order(Order::Changed { user }, &line, now)?;
    Ok(Grouping::Grouped(groups))
}

fn in_words(groups: &Groups) -> String {
    if groups.is_empty() { "in no group".to_owned() } else { format!("in {groups}") }
}

pub(crate) fn set_status(
    step: &mut Step<'_>,
    user: UserId,
    status: Status,
    now: Timestamp,
) -> Result<Option<u64>> {
    let Some(held) = account(step, user)? else { return Ok(None) };
    if held.status == status {
        step.rest_on_log()?;
        return Ok(Some(0));
    }
    // Disabling is a change of credentials: a sign-in that verified the password just before must not get through.
    let (event, versions) = match status {
        Status::Active => (AuditEvent::UserEnabled, 0_u32),
        Status::Disabled => (AuditEvent::UserDisabled, 1),
    };
    step.change(
        "UPDATE account SET status = ?2, version = version + ?3 WHERE id = ?1",
        (user.as_bytes(), status.as_str(), versions),
    )?;
    match status {
        Status::Active => {
            audit::record(step, &audit::about_user(event, user, None, String::new(), now))?;
            Ok(Some(0))
        }
        Status::Disabled => {
            let line = audit::about_user(event, user, None, so_many_ended(), now);
            step.order(all_of(user, Cause::UserDisabled), &line, now).map(Some)
        }
    }
}

fn all_of(user: UserId, cause: Cause) -> Order {
    Order::End { selector: Selector::User { user }, cause, keep: None }
}

fn so_many_ended() -> String {
    format!("{} ended", audit::COUNT)
}

pub(crate) fn delete(step: &mut Step<'_>, user: UserId, now: Timestamp) -> Result<Removal> {
    step.change("DELETE FROM known_device WHERE user_id = ?1", [user.as_bytes()])?;
    if step.change("DELETE FROM account WHERE id = ?1", [user.as_bytes()])? == 0 {
        step.rest_on_log()?;
        return Ok(Removal::Unknown);
    }
    let line = audit::about_user(AuditEvent::UserDeleted, user, None, so_many_ended(), now);
    let ended = step.order(all_of(user, Cause::UserDeleted), &line, now)?;
    Ok(Removal::Removed { ended })
}

fn invite(step: &Step<'_>, token: &TokenHash, invitation: Invitation, now: Timestamp) -> Result<()> {
    step.change(
        "INSERT INTO invitation (token_hash, expires_at, first_account) VALUES (?1, ?2, ?3)",
        (token.as_bytes(), invitation.expires_at.as_millis(), invitation.first_account),
    )?;
    let detail = if invitation.first_account { "for the first account" } else { "" }.to_owned();
    audit::record(
        step,
        &AuditEntry { at: now, event: AuditEvent::Invited, user: None, session: None, address: None, detail },
    )
}

/// The invitation, if it is good at `now`. One for the first account is good only as long as there is none.
fn good_invitation(asked: &dyn Ask, token: &TokenHash, now: Timestamp) -> Result<Option<Invitation>> {
    asked.one(
        "SELECT expires_at, first_account FROM invitation WHERE token_hash = ?1 AND expires_at > ?2 \
         AND (first_account = 0 OR NOT EXISTS (SELECT 1 FROM account))",
        (token.as_bytes(), now.as_millis()),
        |row| Ok(Invitation { expires_at: rows::instant(row, 0)?, first_account: row.get(1)? }),
    )
}
