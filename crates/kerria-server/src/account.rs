//! Changing what one signs in with.

use kerria_core::{
    Cause, Device, Secret, Timestamp, Token, TokenKind,
    store::{PasswordChange, PasswordChanged},
};

use crate::{
    api::extract::ApiUser,
    app::App,
    login::{
        Failure, SignedIn, deliver, hash_password,
        step_up::{Proof, prove},
    },
    sign_up::check_password,
};

/// What came of a change of password.
pub enum PasswordOutcome {
    /// It is changed.
    Changed {
        /// How many other sessions ended.
        ended: u64,
        /// The session of the one who changed it, with its new token.
        signed_in: SignedIn,
    },
    /// The current password is not right.
    WrongPassword,
    /// The new password is not good enough; why.
    Unacceptable(String),
    /// Too many attempts.
    Throttled {
        /// When to try again.
        retry_at: Timestamp,
    },
    /// The session or the user has gone meanwhile, or the password was changed elsewhere.
    Gone,
}

/// Changes the password of a signed-in user who knows the current one. In the same step all their other sessions end.
pub async fn change_password(
    app: &App,
    user: &ApiUser,
    current: &Secret<String>,
    new: &Secret<String>,
    device: Device,
) -> Result<PasswordOutcome, Failure> {
    let Some(account) = app.store.user(user.user).await? else { return Ok(PasswordOutcome::Gone) };
    if let Err(reason) = check_password(app, new, account.name.as_ref(), account.email.as_ref()) {
        return Ok(PasswordOutcome::Unacceptable(reason));
    }
    let credentials = match prove(app, &user.checked, user.user, current, &device).await? {
        Proof::Given(credentials) => credentials,
        Proof::Refused => return Ok(PasswordOutcome::WrongPassword),
        Proof::Throttled { retry_at } => return Ok(PasswordOutcome::Throttled { retry_at }),
    };
    let token = Token::random(TokenKind::Session, &*app.entropy);
    let change = PasswordChange {
        user: user.user,
        version: Some(credentials.version),
        password: hash_password(app, new).await?,
        keep: Some((user.checked.session.id, token.hash())),
        device: Some(device),
        now: app.clock.now(),
    };
    match app.store.change_password(change).await? {
        PasswordChanged::Changed { ended, kept: Some(found) } => {
            app.metrics.sessions_ended.of(Cause::PasswordChanged).inc_by(ended);
            let signed_in = deliver(app, &token, found, &user.current);
            Ok(PasswordOutcome::Changed { ended, signed_in })
        }
        PasswordChanged::Changed { kept: None, .. } | PasswordChanged::Stale => Ok(PasswordOutcome::Gone),
    }
}
