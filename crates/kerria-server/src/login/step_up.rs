//! Proving again who one is, for what is sensitive.

use kerria::{Checked, CurrentSession};
use kerria_core::{
    Device, Secret, Status, Timestamp, Token, TokenKind, UserId,
    store::{Credentials, Renew, Renewal},
    throttle::Admission,
};

use crate::{
    app::App,
    login::{Failure, SignedIn, deliver, doors::Doors, record_failure},
    passwords::Verified,
};

/// What came of proving again who one is.
pub enum StepUp {
    /// The session has a new token and counts as fresh.
    Renewed(SignedIn),
    /// The password is wrong.
    Refused,
    /// Too many attempts.
    Throttled {
        /// When to try again.
        retry_at: Timestamp,
    },
    /// The session has ended meanwhile.
    Gone,
}

/// Whether the last proof of identity is recent enough for what is sensitive.
pub fn is_fresh(app: &App, checked: &Checked, now: Timestamp) -> bool {
    now.since(checked.session.authenticated_at) < app.config.session.fresh_for
}

/// Verifies the password of the user of a session once more and gives the session a new token.
pub async fn step_up(
    app: &App,
    checked: &Checked,
    user: UserId,
    password: &Secret<String>,
    device: &Device,
    current: &CurrentSession,
) -> Result<StepUp, Failure> {
    match prove(app, checked, user, password, device).await? {
        Proof::Given(_) => {}
        Proof::Refused => return Ok(StepUp::Refused),
        Proof::Throttled { retry_at } => return Ok(StepUp::Throttled { retry_at }),
    }
    let token = Token::random(TokenKind::Session, &*app.entropy);
    match app.store.renew(&checked.token, &token.hash(), Renew::Proved, app.clock.now()).await? {
        Renewal::Renewed(found) => Ok(StepUp::Renewed(deliver(app, &token, found, current))),
        Renewal::Gone => Ok(StepUp::Gone),
    }
}

/// Whether a password was the user's.
pub enum Proof {
    /// It was.
    Given(Credentials),
    /// It was not.
    Refused,
    /// Too many attempts.
    Throttled {
        /// When to try again.
        retry_at: Timestamp,
    },
}

/// Verifies the password of the user of a session.
pub async fn prove(
    app: &App,
    checked: &Checked,
    user: UserId,
    password: &Secret<String>,
    device: &Device,
) -> Result<Proof, Failure> {
    let doors = Doors::of_step_up(app, checked.session.id);
    if let Admission::Throttled { retry_at } = doors.knock(app, app.clock.now()).await? {
        return Ok(Proof::Throttled { retry_at });
    }
    let credentials = app.store.credentials_of(user).await?;
    let hash = credentials.as_ref().map(|credentials| credentials.password.clone());
    let verified = match app.passwords.verify(password, hash).await {
        Ok(verified) => verified,
        Err(busy) => {
            doors.take_back(app).await?;
            app.metrics.password_queue_busy.inc();
            return Err(busy.into());
        }
    };
    match (credentials, verified) {
        (Some(credentials), Verified::Right { .. }) if credentials.status == Status::Active => {
            doors.succeed(app).await?;
            Ok(Proof::Given(credentials))
        }
        _ => {
            record_failure(app, Some(user), Some(checked.session.id), device).await?;
            Ok(Proof::Refused)
        }
    }
}
