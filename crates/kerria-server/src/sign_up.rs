//! Creating an account: open to everyone, by invitation, or for the very first one.

use kerria::CurrentSession;
use kerria_core::{
    EmailAddress, Method, Secret, StoreError, Timestamp, Token, TokenHash, TokenKind, Transport, UserId,
    UserName,
    store::{Invitation, NewUser, UserCreation},
    throttle::Admission,
};
use tracing::info;

use crate::{
    app::App,
    config,
    field::Field,
    login::{Carry, Failure, Opening, SignedIn, doors::Doors, hash_password, know_device, open},
};

/// What somebody filled in for an account.
pub struct NewAccount {
    /// The name; may be empty if there is an e-mail address.
    pub name: String,
    /// The e-mail address; may be empty if there is a name.
    pub email: String,
    /// The password.
    pub password: Secret<String>,
    /// The token of an invitation.
    pub invitation: Option<Secret<String>>,
}

/// What came of it.
pub enum SignUpOutcome {
    /// The account exists and its user is signed in.
    SignedUp(SignedIn),
    /// A field is not as it has to be.
    Invalid {
        /// Which.
        field: Field,
        /// Why, in a sentence for the person.
        reason: String,
    },
    /// Somebody else has that name.
    NameTaken,
    /// Somebody else has that e-mail address.
    EmailTaken,
    /// An invitation is needed, and there is no good one.
    NotInvited,
    /// Too many attempts from this network.
    Throttled {
        /// When to try again.
        retry_at: Timestamp,
    },
}

/// Creates an account and signs its user in.
pub async fn sign_up(
    app: &App,
    account: NewAccount,
    carry: Carry,
    current: &CurrentSession,
) -> Result<SignUpOutcome, Failure> {
    let now = app.clock.now();
    let invitation = invitation_hash(app, account.invitation.as_ref());
    if !may_sign_up(app, invitation.as_ref(), now).await? {
        return Ok(SignUpOutcome::NotInvited);
    }
    let (name, email) = match names(&account.name, &account.email) {
        Ok(names) => names,
        Err((field, reason)) => return Ok(SignUpOutcome::Invalid { field, reason }),
    };
    if let Err(reason) = check_password(app, &account.password, name.as_ref(), email.as_ref()) {
        return Ok(SignUpOutcome::Invalid { field: Field::Password, reason });
    }
    if let Admission::Throttled { retry_at } = Doors::of_sign_up(app, &carry.device).knock(app, now).await? {
        return Ok(SignUpOutcome::Throttled { retry_at });
    }
    let user = NewUser {
        id: UserId::new(now, &*app.entropy),
        name,
        email,
        password: hash_password(app, &account.password).await?,
        device: Some(carry.device.clone()),
        now,
    };
    let id = user.id;
    let version = match app.store.create_user(user, invitation.as_ref()).await? {
        UserCreation::Created(version) => version,
        UserCreation::NameTaken => return Ok(SignUpOutcome::NameTaken),
        UserCreation::EmailTaken => return Ok(SignUpOutcome::EmailTaken),
        UserCreation::InvitationSpent => return Ok(SignUpOutcome::NotInvited),
    };
    info!(user.id = %id, "user {id} signed up");
    let method = if invitation.is_some() { Method::Invitation } else { Method::SignUp };
    match open(app, id, version, method, carry, current).await? {
        Opening::Opened(mut signed_in) => {
            if signed_in.found.session.transport == Transport::Cookie {
                signed_in.device_token = know_device(app, id, None, now).await;
            }
            Ok(SignUpOutcome::SignedUp(*signed_in))
        }
        // An operator was quicker and has disabled or deleted the account.
        Opening::LimitReached | Opening::Overtaken => Ok(SignUpOutcome::NotInvited),
    }
}

/// Whether somebody with this invitation, or with none, may create an account.
pub async fn may_sign_up(
    app: &App,
    invitation: Option<&TokenHash>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    match invitation {
        Some(invitation) => Ok(good_invitation(app, invitation, now).await?.is_some()),
        None => Ok(app.config.sign_up == config::SignUp::Open),
    }
}

/// The invitation, if it is good. Where nobody may sign up, only the one to the first account is.
pub async fn good_invitation(
    app: &App,
    invitation: &TokenHash,
    now: Timestamp,
) -> Result<Option<Invitation>, StoreError> {
    let found = app.store.invitation(invitation, now).await?;
    Ok(found.filter(|found| found.first_account || app.config.sign_up != config::SignUp::Closed))
}

/// The hash of an invitation's token. A text that is no token gets the hash of one that nobody was given.
pub fn invitation_hash(app: &App, text: Option<&Secret<String>>) -> Option<TokenHash> {
    let parse = |text: &Secret<String>| {
        Token::parse(TokenKind::Invitation, text.expose().trim().as_bytes(), app.checker.key())
    };
    text.map(|text| parse(text).map_or(TokenHash::from_bytes([0; 32]), |token| token.hash()))
}

/// A field that is not as it has to be, and why, in a sentence for the person.
type BadField = (Field, String);

/// Reads the names of an account, of which at least one has to be there.
pub fn names(name: &str, email: &str) -> Result<(Option<UserName>, Option<EmailAddress>), BadField> {
    let (has_name, has_email) = (!name.trim().is_empty(), !email.trim().is_empty());
    if !has_name && !has_email {
        return Err((Field::Name, "Enter a name or an e-mail address to sign in with.".to_owned()));
    }
    let name =
        has_name.then(|| UserName::parse(name)).transpose().map_err(|bad| (Field::Name, bad.to_string()))?;
    let email = has_email
        .then(|| EmailAddress::parse(email))
        .transpose()
        .map_err(|bad| (Field::Email, bad.to_string()))?;
    Ok((name, email))
}

/// Whether a new password is good enough for the one who is called so; otherwise why not.
pub fn check_password(
    app: &App,
    password: &Secret<String>,
    name: Option<&UserName>,
    email: Option<&EmailAddress>,
) -> Result<(), String> {
    let about = [
        name.map(UserName::as_str).unwrap_or_default(),
        email.map(EmailAddress::as_str).unwrap_or_default(),
        app.config.site_name.as_str(),
    ];
    app.passwords.check(password, &about).map_err(|bad| bad.to_string())
}
