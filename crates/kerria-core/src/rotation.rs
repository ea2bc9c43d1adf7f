//! Rotation: a new token in the place of an old one, so that a copy of the old one becomes worthless and gives itself away.
//!
//! **A lost reply.** The successor of a token is not drawn but derived: HMAC-SHA256 under the token's secret, over random
//! bytes (the *nonce*) that the store keeps only while the successor has not been used. So whoever presents the same token
//! again in that time gets the *same* successor: parallel uses leave one lineage, and there are no forks. Neither the
//! store's content nor an old token alone tells the successor.

use std::{fmt, time::Duration};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{
    entropy::{Entropy, random_bytes},
    secret::Secret,
    time::Timestamp,
};

/// Random bytes from which, together with a token, its successor follows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RotationNonce([u8; 32]);

impl RotationNonce {
    /// A new one.
    pub fn random(entropy: &dyn Entropy) -> Self {
        Self(random_bytes(entropy))
    }

    /// The 32 bytes, as they are stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The nonce with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret that follows `secret` in a token with this `label` and `context`, each of one fixed length.
    pub(crate) fn successor_of(
        &self,
        secret: &Secret<[u8; 32]>,
        label: &str,
        context: &[u8],
    ) -> Secret<[u8; 32]> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose()).expect("HMAC takes keys of any length");
        mac.update(label.as_bytes());
        mac.update(context);
        mac.update(&self.0);
        Secret::new(mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for RotationNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RotationNonce(..)")
    }
}

/// When session tokens in cookies are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationRule {
    /// How long a token is used before the next request gets a new one. Zero for never.
    pub after: Duration,
    /// How long a token that was replaced is still accepted once its successor was used: requests that were sent with it may
    /// still be under way. After that it is a replay. Nothing is replaced before this time is over for the token before.
    pub grace: Duration,
}

impl Default for RotationRule {
    fn default() -> Self {
        Self { after: Duration::ZERO, grace: Duration::from_secs(30) }
    }
}

/// Where a session token stands in the line of those that carried its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Succession {
    /// What it is.
    pub phase: Phase,
    /// Since when.
    pub since: Timestamp,
}

/// What a session token is among those that carried its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The present one, in use.
    Present,
    /// The present one, of which nobody knows yet that its client has it. The one before it counts as much.
    Unused,
    /// It was replaced, and its successor has not been used: the reply may have been lost.
    Replaced,
    /// Its successor was first used then.
    Outlived,
}

/// What has to happen because a session token was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenStep {
    /// Nothing.
    None,
    /// Its client gets its successor.
    Rotate,
    /// Its client has shown to have it. From now on the one before it only has its grace.
    Confirm,
    /// It is used after its time: somebody has a copy. The session has to end.
    EndForReplay,
}

impl Succession {
    /// A token that was given out when its user proved who they are, and was not replaced since.
    #[must_use]
    pub const fn first(since: Timestamp) -> Self {
        Self { phase: Phase::Present, since }
    }

    /// What a use of the token at `now` asks for.
    #[must_use]
    pub fn step(&self, rule: &RotationRule, now: Timestamp) -> TokenStep {
        let is_on = !rule.after.is_zero();
        match self.phase {
            Phase::Present if is_on && now.since(self.since) >= rule.after.max(rule.grace) => {
                TokenStep::Rotate
            }
            Phase::Replaced if is_on => TokenStep::Rotate,
            Phase::Unused => TokenStep::Confirm,
            Phase::Outlived if now.since(self.since) >= rule.grace => TokenStep::EndForReplay,
            Phase::Present | Phase::Replaced | Phase::Outlived => TokenStep::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(phase: Phase, seconds: u64, after: u64) -> TokenStep {
        let rule = RotationRule { after: Duration::from_secs(after), grace: Duration::from_secs(30) };
        Succession { phase, since: Timestamp::EPOCH }
            .step(&rule, Timestamp::EPOCH + Duration::from_secs(seconds))
    }

    #[test]
    fn a_token_is_replaced_when_it_was_in_use_for_so_long() {
        assert_eq!([59, 60, 3_600].map(|seconds| step(Phase::Present, seconds, 60)), {
            [TokenStep::None, TokenStep::Rotate, TokenStep::Rotate]
        });
        assert_eq!(step(Phase::Present, 1_000_000, 0), TokenStep::None, "never, if it is off");
    }

    #[test]
    fn nothing_is_replaced_while_the_token_before_has_its_grace() {
        assert_eq!([1, 29, 30].map(|seconds| step(Phase::Present, seconds, 1)), {
            [TokenStep::None, TokenStep::None, TokenStep::Rotate]
        });
    }

    #[test]
    fn a_lost_reply_is_forgiven_however_late_and_a_use_beside_the_successor_for_the_grace() {
        assert_eq!(step(Phase::Replaced, 1_000_000, 60), TokenStep::Rotate);
        assert_eq!([0, 29, 30].map(|seconds| step(Phase::Outlived, seconds, 60)), {
            [TokenStep::None, TokenStep::None, TokenStep::EndForReplay]
        });
    }

    #[test]
    fn what_was_begun_is_ended_in_order_after_rotation_was_turned_off() {
        assert_eq!(step(Phase::Replaced, 1, 0), TokenStep::None);
        assert_eq!(step(Phase::Unused, 1, 0), TokenStep::Confirm);
        assert_eq!(step(Phase::Outlived, 30, 0), TokenStep::EndForReplay);
    }
}
