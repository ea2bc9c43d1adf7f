//! Which doors an attempt has to go through.

use std::time::Duration;

use kerria_core::{
    Device, LoginName, Network, StoreError, Timestamp, Token, UserId,
    throttle::{Admission, Door, ThrottleRule},
};
use sha2::{Digest, Sha256};

use crate::app::App;

/// The doors of one attempt.
pub struct Doors {
    doors: Vec<Door>,
    known_device: bool,
}

impl Doors {
    /// The doors of a sign-in: on a device that the user has signed in from, the device's own alone, so that nobody
    /// else can close it; elsewhere the account's and the network's.
    ///
    /// An account has one door, whichever of its names is typed; a name that is nobody's has one like an account's.
    pub async fn of_sign_in(
        app: &App,
        login: &LoginName,
        user: Option<UserId>,
        device: &Device,
        token: Option<&Token>,
    ) -> Result<Self, StoreError> {
        if let Some(token) = token {
            // Asked for a name that is nobody's too, so that the answer takes the same time.
            let asked = user.unwrap_or(UserId::from_bytes([0; 16]));
            if app.store.knows_device(asked, &token.hash()).await? {
                let name = format!("device:{asked}:{}", hex(&token.hash().as_bytes()[..16]));
                let doors = vec![Door { name, rule: app.config.throttle.device }];
                return Ok(Self { doors, known_device: true });
            }
        }
        let account = match user {
            Some(user) => format!("account:{user}"),
            None => format!("name:{}", hex(&Sha256::digest(login.key())[..16])),
        };
        let network = format!("network:{}", Network::of(device.address));
        Ok(Self {
            doors: vec![
                Door { name: account, rule: app.config.throttle.account },
                Door { name: network, rule: app.config.throttle.network },
            ],
            known_device: false,
        })
    }

    /// The door of proving again who one is, within a session: its own, so that guesses elsewhere do not close it.
    pub fn of_step_up(app: &App, session: kerria_core::SessionId) -> Self {
        let door = Door { name: format!("step-up:{session}"), rule: app.config.throttle.device };
        Self { doors: vec![door], known_device: true }
    }

    /// The door of signing up: the network's.
    pub fn of_sign_up(app: &App, device: &Device) -> Self {
        let name = format!("sign-up:{}", Network::of(device.address));
        Self { doors: vec![Door { name, rule: app.config.throttle.network }], known_device: false }
    }

    /// The door of visitors who put data into a session: the network's. It bounds how many sessions with nobody signed in
    /// one network can open.
    pub fn of_visitor(app: &App, device: &Device) -> Self {
        let name = format!("visitor:{}", Network::of(device.address));
        let rule = ThrottleRule {
            free: app.config.throttle.visitors_free,
            delay: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            closes_after: u32::MAX,
            forget_after: Duration::from_secs(60 * 60),
        };
        Self { doors: vec![Door { name, rule }], known_device: false }
    }

    /// Asks to go through, and is counted.
    pub async fn knock(&self, app: &App, now: Timestamp) -> Result<Admission, StoreError> {
        app.store.knock(self.doors.clone(), now).await
    }

    /// The attempt was not a guess. On a known device all is forgiven; elsewhere only this attempt, or a guesser who
    /// has an account of their own could clear the way.
    pub async fn succeed(&self, app: &App) -> Result<(), StoreError> {
        if self.known_device { app.store.reset(self.doors.clone()).await } else { self.take_back(app).await }
    }

    /// The attempt does not count.
    pub async fn take_back(&self, app: &App) -> Result<(), StoreError> {
        app.store.take_back(self.doors.clone()).await
    }

    /// Whether the user has signed in from this device before.
    pub const fn is_known_device(&self) -> bool {
        self.known_device
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
