//! From what is said to what is meant, and back.

use super::*;

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserializer, Serializer, de::Error};

impl Millis {
    /// No time at all.
    #[must_use]
    pub const fn zero() -> Self {
        Self(0)
    }
}

impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<Millis> for Duration {
    fn from(Millis(millis): Millis) -> Self {
        Self::from_millis(millis)
    }
}

impl<const N: usize> Serialize for Bytes<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Bytes<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The text itself is not repeated: it may be a key.
        let text = String::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("expected {N} bytes in base64url without padding")))
    }
}

impl<const N: usize> fmt::Debug for Bytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes<{N}>(..)")
    }
}

impl From<Profile> for ProfileShape {
    fn from(profile: Profile) -> Self {
        Self {
            user: profile.user,
            name: profile.name.map(|name| name.as_str().to_owned()),
            email: profile.email.map(|email| email.as_str().to_owned()),
            groups: profile.groups,
        }
    }
}

impl TryFrom<ProfileShape> for Profile {
    type Error = BadName;

    fn try_from(shape: ProfileShape) -> Result<Self, BadName> {
        Ok(Self {
            user: shape.user,
            name: shape.name.as_deref().map(UserName::parse).transpose()?,
            email: shape.email.as_deref().map(EmailAddress::parse).transpose()?,
            groups: shape.groups,
        })
    }
}

impl From<TokenHash> for Bytes<32> {
    fn from(hash: TokenHash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl From<Bytes<32>> for TokenHash {
    fn from(Bytes(bytes): Bytes<32>) -> Self {
        Self::from_bytes(bytes)
    }
}

impl From<SessionPolicy> for PolicyShape {
    fn from(policy: SessionPolicy) -> Self {
        let shape = |lifetimes: Lifetimes| LifetimesShape {
            idle: lifetimes.idle.into(),
            absolute: lifetimes.absolute.into(),
        };
        Self { ordinary: shape(policy.ordinary), remembered: shape(policy.remembered) }
    }
}

impl From<PolicyShape> for SessionPolicy {
    fn from(shape: PolicyShape) -> Self {
        let lifetimes =
            |shape: LifetimesShape| Lifetimes { idle: shape.idle.into(), absolute: shape.absolute.into() };
        Self { ordinary: lifetimes(shape.ordinary), remembered: lifetimes(shape.remembered) }
    }
}

impl From<RotationRule> for RotationShape {
    fn from(rule: RotationRule) -> Self {
        Self { after: rule.after.into(), grace: rule.grace.into() }
    }
}

impl From<RotationShape> for RotationRule {
    fn from(shape: RotationShape) -> Self {
        Self { after: shape.after.into(), grace: shape.grace.into() }
    }
}

macro_rules! words {
    ($word:ident for $meant:ident: $($name:ident)*) => {
        impl From<$meant> for $word {
            fn from(meant: $meant) -> Self {
                match meant {
                    $($meant::$name => Self::$name,)*
                }
            }
        }

        impl From<$word> for $meant {
            fn from(word: $word) -> Self {
                match word {
                    $($word::$name => Self::$name,)*
                }
            }
        }
    };
}

words!(BindingWord for Binding: Off Alarm Refuse);
words!(PhaseWord for Phase: Present Unused Replaced Outlived);

impl FoundShape {
    /// What is told of a session. `grant` is what it was opened for, if that is told.
    #[must_use]
    pub fn of(found: Found, grant: Option<Grant>) -> Self {
        let Found { session, user_name, as_of, succession, other_token } = found;
        let place = PlaceShape { browser: session.place.browser, network: session.place.network };
        let grant = grant.map(|Grant { client, scope, audience }| GrantShape { client, scope, audience });
        Self {
            session: session.id,
            user: session.user,
            user_name,
            transport: session.transport,
            remembered: session.remembered,
            opened_at: session.opened_at,
            last_seen_at: session.last_seen_at,
            authenticated_at: session.authenticated_at,
            place,
            expiry: ExpiryShape::of(session.expiry),
            as_of,
            phase: succession.phase.into(),
            since: succession.since,
            other_token: other_token.map(Bytes::from),
            grant,
        }
    }

    /// What was told.
    #[must_use]
    pub fn found(self) -> (Found, Option<Grant>) {
        let session = Session {
            id: self.session,
            user: self.user,
            transport: self.transport,
            remembered: self.remembered,
            opened_at: self.opened_at,
            last_seen_at: self.last_seen_at,
            authenticated_at: self.authenticated_at,
            place: Place { browser: self.place.browser, network: self.place.network },
            expiry: self.expiry.map_or(Expiry::BY_POLICY, Expiry::from),
        };
        let found = Found {
            session,
            user_name: self.user_name,
            as_of: self.as_of,
            succession: Succession { phase: self.phase.into(), since: self.since },
            other_token: self.other_token.map(TokenHash::from),
        };
        let grant =
            self.grant.map(|GrantShape { client, scope, audience }| Grant { client, scope, audience });
        (found, grant)
    }
}

impl ExpiryShape {
    fn of(expiry: Expiry) -> Option<Self> {
        let idle = expiry.idle().map(|idle| Self::Idle(idle.into()));
        expiry.instant().map(Self::At).or(idle)
    }
}

impl From<ExpiryShape> for Expiry {
    fn from(shape: ExpiryShape) -> Self {
        match shape {
            ExpiryShape::At(instant) => Self::at(instant),
            ExpiryShape::Idle(idle) => Self::on_inactivity(idle.into()),
        }
    }
}

impl From<Successor> for SuccessorShape {
    fn from(Successor { token, nonce }: Successor) -> Self {
        Self { token: token.into(), nonce: Bytes(*nonce.as_bytes()) }
    }
}

impl From<SuccessorShape> for Successor {
    fn from(SuccessorShape { token, nonce }: SuccessorShape) -> Self {
        Self { token: token.into(), nonce: RotationNonce::from_bytes(nonce.0) }
    }
}

impl From<Device> for DeviceShape {
    fn from(Device { user_agent, address }: Device) -> Self {
        Self { user_agent, address }
    }
}

impl From<DeviceShape> for Device {
    fn from(DeviceShape { user_agent, address }: DeviceShape) -> Self {
        Self::new(&user_agent, address)
    }
}

impl From<SessionRotation> for Rotated {
    fn from(rotation: SessionRotation) -> Self {
        match rotation {
            SessionRotation::Rotated(found) => Self::Rotated { found: FoundShape::of(found, None) },
            SessionRotation::Repeated(nonce) => Self::Repeated { nonce: Bytes(*nonce.as_bytes()) },
            SessionRotation::Confirmed(found) => Self::Confirmed { found: FoundShape::of(found, None) },
            SessionRotation::Unchanged => Self::Unchanged,
            SessionRotation::Replayed { session, user } => Self::Replayed { session, user },
            SessionRotation::Gone => Self::Gone,
        }
    }
}

impl From<Rotated> for SessionRotation {
    fn from(rotated: Rotated) -> Self {
        match rotated {
            Rotated::Rotated { found } => Self::Rotated(found.found().0),
            Rotated::Repeated { nonce } => Self::Repeated(RotationNonce::from_bytes(nonce.0)),
            Rotated::Confirmed { found } => Self::Confirmed(found.found().0),
            Rotated::Unchanged => Self::Unchanged,
            Rotated::Replayed { session, user } => Self::Replayed { session, user },
            Rotated::Gone => Self::Gone,
        }
    }
}

impl From<LogPage> for LogShape {
    fn from(page: LogPage) -> Self {
        match page {
            LogPage::Entries(entries) => Self::Entries { entries },
            LogPage::StartOver { head } => Self::StartOver { head },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_session_comes_back_as_it_was_told() {
        let session = Session {
            id: SessionId::from_bytes([1; 16]),
            user: Some(UserId::from_bytes([2; 16])),
            transport: Transport::Tokens,
            remembered: true,
            opened_at: Timestamp::from_millis(1),
            last_seen_at: Timestamp::from_millis(2),
            authenticated_at: Timestamp::from_millis(3),
            place: Device::new("Mozilla/5.0 Firefox/145.0", "2001:db8:1:2::9".parse().unwrap()).place(),
            expiry: Expiry::BY_POLICY,
        };
        let found = Found {
            session,
            user_name: Some("alice".into()),
            as_of: LogNumber(41),
            succession: Succession { phase: Phase::Outlived, since: Timestamp::from_millis(4) },
            other_token: Some(TokenHash::from_bytes([5; 32])),
        };
        let grant = Grant {
            client: "shop".parse().unwrap(),
            scope: "read write".parse().unwrap(),
            audience: "https://shop.example.com".parse().unwrap(),
        };
        for grant in [None, Some(grant)] {
            let told = serde_json::to_string(&FoundShape::of(found.clone(), grant.clone())).unwrap();
            let heard: FoundShape = serde_json::from_str(&told).unwrap();
            assert_eq!(heard.found(), (found.clone(), grant), "{told}");
        }
        let at = Timestamp::from_millis(1_800_000_000_000);
        for (expiry, told) in [
            (Expiry::BY_POLICY, Value::Null),
            (Expiry::at(at), json!({ "at": 1_800_000_000_000_u64 })),
            (Expiry::on_inactivity(Duration::from_secs(90)), json!({ "idle": 90_000 })),
        ] {
            let found = Found { session: Session { expiry, ..session }, ..found.clone() };
            let shape = serde_json::to_value(FoundShape::of(found.clone(), None)).unwrap();
            assert_eq!(shape.get("expiry").unwrap_or(&Value::Null), &told);
            let heard: FoundShape = serde_json::from_value(shape).unwrap();
            assert_eq!(heard.found().0, found);
        }
    }

    #[test]
    fn bytes_are_read_from_exactly_what_is_written() {
        let read = |text: &str| serde_json::from_value::<Bytes<16>>(json!(text)).ok();
        assert_eq!(read("AQEBAQEBAQEBAQEBAQEBAQ"), Some(Bytes([1; 16])));
        for other in ["", "AQEBAQEBAQEBAQEBAQEBAQ==", "AQEBAQEBAQEBAQEBAQEBAR", "AQEBAQEBAQEBAQEBAQEBAQE"] {
            assert_eq!(read(other), None, "{other}");
        }
        assert_eq!(format!("{:?}", Bytes([1; 16])), "Bytes<16>(..)");
    }

    #[test]
    fn identifiers_are_read_in_the_form_in_which_they_are_written() {
        let find =
            |session: &str| serde_json::from_value::<FindSession>(json!({ "session": session })).is_ok();
        assert!(find("01931c2e-7d3f-7f21-8a5b-0c1d2e3f4a5b"));
        assert!(!find("01931c2e7d3f7f218a5b0c1d2e3f4a5b"));
    }
}
