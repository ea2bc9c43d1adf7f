//! Steps to take, at random.

use kerria_core::{Cause, Method, store::Renew};

/// A step, with small numbers in place of those that it is about: the model knows who is meant. Every step stands for
/// itself, so that others can be left out.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Open {
        serial: u64,
        user: usize,
        stale: bool,
        replaces: Option<usize>,
        /// None is everything.
        carry: Option<Vec<u8>>,
        limit: Option<(u32, bool)>,
        remembered: bool,
        method: Method,
        client: Option<u8>,
    },
    /// The use of the refresh token that the session had so many uses ago: 0 is the present one. A little later, so
    /// that it comes now inside the window and now after it.
    Refresh {
        serial: u64,
        later: u64,
        session: usize,
        /// Whether any session may be meant, or one that is carried in tokens.
        any: bool,
        ago: usize,
        other_client: bool,
    },
    /// The use of the session token that the session had so many uses ago.
    Rotate {
        serial: u64,
        session: usize,
        ago: usize,
        off: bool,
    },
    KeepReference {
        serial: u64,
        session: Option<usize>,
        client: u8,
        minutes: u64,
    },
    Spend {
        client: u8,
        jti: u8,
        minutes: u64,
    },
    SweepTokens {
        limit: u32,
    },
    AddClient {
        client: u8,
    },
    RemoveClient {
        client: u8,
    },
    Touch {
        seen: Vec<(usize, u64)>,
    },
    Revoke {
        what: What,
        cause: Cause,
        from_a_device: bool,
    },
    Renew {
        token: usize,
        why: Renew,
        serial: u64,
    },
    SetExpiry {
        session: usize,
        /// Minutes: from now on if there are more than none, and without use if there are fewer.
        minutes: i64,
    },
    SweepSessions {
        limit: u32,
    },
    TrimLog {
        minutes_ago: u64,
        limit: u32,
    },
    Put {
        serial: u64,
        owner: Option<usize>,
        key: u8,
        json: String,
    },
    Increment {
        serial: u64,
        owner: Option<usize>,
        key: u8,
        by: i64,
    },
    Remove {
        session: usize,
        key: u8,
    },
    Create {
        serial: u64,
        name: Option<u8>,
        email: Option<u8>,
        invitation: Option<usize>,
    },
    ChangePassword {
        serial: u64,
        user: usize,
        stale: bool,
        by_operator: bool,
        keep: Option<usize>,
    },
    Rehash {
        serial: u64,
        user: usize,
        verified: bool,
    },
    Rename {
        user: usize,
        name: Option<u8>,
        email: Option<u8>,
    },
    Change {
        serial: u64,
        owner: Option<usize>,
        key: u8,
        /// What is said to be held; None is what is.
        guess: Option<Option<String>>,
        json: String,
    },
    Clear {
        session: usize,
    },
    ChangeGroups {
        user: usize,
        joined: Vec<u8>,
        left: Vec<u8>,
    },
    SetStatus {
        user: usize,
        active: bool,
    },
    Delete {
        user: usize,
    },
    Invite {
        serial: u64,
        minutes: u64,
        first_account: bool,
    },
    Withdraw,
    KnowDevice {
        user: usize,
        device: u8,
    },
    Knock {
        doors: Vec<u8>,
    },
    TakeBack {
        doors: Vec<u8>,
    },
    Reset {
        doors: Vec<u8>,
    },
    SweepDoors {
        limit: u32,
    },
    Record {
        user: usize,
    },
    Wait {
        minutes: u64,
    },
    Reopen,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Session(usize),
    User(usize),
    UserExcept(usize, usize),
    Token(usize),
    Client(u8),
    Everyone,
}

/// SplitMix64 (Steele, Lea and Flood, 2014): enough to draw a test by lot, and the same everywhere.
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn maybe<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.one_in(2) { Some(draw(self)) } else { None }
    }

    fn some<T>(&mut self, most: u64, mut draw: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| draw(self)).collect()
    }

    /// Somebody among those who were ever there. Mostly of late: long ago is mostly gone.
    fn pick(&mut self) -> usize {
        self.below(6) as usize
    }

    /// A user: one of few, so that each has several sessions.
    fn user(&mut self) -> usize {
        self.below(3) as usize
    }

    /// A client: one of few, the first of which is always there.
    fn client(&mut self) -> u8 {
        self.below(3) as u8
    }

    fn small(&mut self) -> u8 {
        self.below(4) as u8
    }

    pub(super) fn step(&mut self, serial: usize) -> Step {
        let serial = serial as u64;
        match self.below(88) {
            0..=11 => Step::Open {
                serial,
                user: self.user(),
                stale: self.one_in(8),
                replaces: self.maybe(Self::pick),
                carry: self.maybe(|random| random.some(3, Self::small)),
                limit: self.maybe(|random| (1 + random.below(3) as u32, random.one_in(3))),
                remembered: self.one_in(3),
                method: [Method::Password, Method::Invitation, Method::SignUp, Method::Application]
                    [self.below(4) as usize],
                client: self.maybe(Self::client),
            },
            12 => Step::SetExpiry { session: self.pick(), minutes: self.below(200) as i64 - 100 },
            13..=14 => Step::Touch { seen: self.some(4, |random| (random.pick(), random.below(90))) },
            15..=17 => Step::Revoke { what: self.what(), cause: self.cause(), from_a_device: self.one_in(2) },
            18..=19 => Step::Renew {
                token: self.pick(),
                why: [Renew::Proved, Renew::Exchanged][self.below(2) as usize],
                serial,
            },
            20 => Step::SweepSessions { limit: self.below(4) as u32 },
            21 => Step::TrimLog { minutes_ago: self.below(400), limit: self.below(4) as u32 },
            22..=26 => {
                Step::Put { serial, owner: self.maybe(Self::pick), key: self.small(), json: self.json() }
            }
            27..=28 => {
                let by = [1, -7, i64::MAX][self.below(3) as usize];
                Step::Increment { serial, owner: self.maybe(Self::pick), key: self.small(), by }
            }
            29 => Step::Remove { session: self.pick(), key: self.small() },
            30..=33 => {
                let (name, email) = self.names();
                Step::Create { serial, name, email, invitation: self.maybe(Self::pick) }
            }
            34..=36 => Step::ChangePassword {
                serial,
                user: self.user(),
                stale: self.one_in(5),
                by_operator: self.one_in(4),
                keep: self.maybe(Self::pick),
            },
            37 => Step::Rehash { serial, user: self.user(), verified: self.one_in(2) },
            38 => {
                let (name, email) = self.names();
                Step::Rename { user: self.user(), name, email }
            }
            39 => Step::SetStatus { user: self.user(), active: self.one_in(2) },
            40 => Step::Delete { user: self.user() },
            41 => Step::Invite { serial, minutes: self.below(200), first_account: self.one_in(3) },
            42 => match self.below(3) {
                0 => Step::Withdraw,
                1 => Step::Record { user: self.user() },
                _ => Step::SweepDoors { limit: self.below(4) as u32 },
            },
            43..=44 => Step::KnowDevice { user: self.user(), device: self.small() },
            45 => Step::Knock { doors: self.doors() },
            46 => Step::TakeBack { doors: self.doors() },
            47 => Step::Reset { doors: self.doors() },
            48 => Step::Wait { minutes: self.below(200) },
            49 => Step::Reopen,
            50..=58 => Step::Refresh {
                serial,
                later: self.below(3),
                session: self.below(2) as usize,
                any: self.one_in(4),
                ago: [0, 0, 0, 1, 1, 2][self.below(6) as usize],
                other_client: self.one_in(8),
            },
            59..=60 => Step::KeepReference {
                serial,
                session: self.maybe(Self::pick),
                client: self.client(),
                minutes: self.below(90),
            },
            61 => Step::Spend { client: self.client(), jti: self.small(), minutes: self.below(90) },
            62 => Step::SweepTokens { limit: self.below(4) as u32 },
            63..=68 => Step::AddClient { client: self.client() },
            69 => Step::RemoveClient { client: self.client() },
            // A short while, so that a token comes again inside its grace and after it.
            70..=71 => Step::Wait { minutes: self.below(4) },
            74..=76 => Step::Change {
                serial,
                owner: self.maybe(Self::pick),
                key: self.small(),
                guess: if self.one_in(3) { Some(self.maybe(Self::json)) } else { None },
                json: self.json(),
            },
            77 => Step::Clear { session: self.pick() },
            72..=73 => Step::ChangeGroups {
                user: self.user(),
                joined: self.some(2, Self::small),
                left: self.some(2, Self::small),
            },
            _ => Step::Rotate {
                serial,
                session: self.pick(),
                ago: [0, 0, 0, 1, 1, 2][self.below(6) as usize],
                off: self.one_in(8),
            },
        }
    }

    fn what(&mut self) -> What {
        match self.below(10) {
            8 => What::Token(self.pick()),
            9 => What::Client(self.client()),
            0..=3 => What::Session(self.pick()),
            4..=5 => What::User(self.user()),
            6 => What::UserExcept(self.user(), self.pick()),
            _ => What::Everyone,
        }
    }

    fn cause(&mut self) -> Cause {
        use Cause::{
            EndedByUser, GivenBack, Limit, Operator, PasswordChanged, Replaced, Replayed, SignedOut,
            UserDeleted, UserDisabled,
        };
        let causes = [
            SignedOut,
            EndedByUser,
            Replaced,
            Limit,
            PasswordChanged,
            UserDisabled,
            UserDeleted,
            Operator,
            Replayed,
            GivenBack,
        ];
        causes[self.below(causes.len() as u64) as usize]
    }

    fn json(&mut self) -> String {
        match self.below(5) {
            0 => self.below(100).to_string(),
            1 => "\"é\"".to_owned(),
            2 => i64::MAX.to_string(),
            _ => format!("\"{}\"", "x".repeat(self.below(30) as usize)),
        }
    }

    /// A name, an address, or both.
    fn names(&mut self) -> (Option<u8>, Option<u8>) {
        match (self.small(), self.maybe(Self::small)) {
            (either, None) if self.one_in(2) => (None, Some(either)),
            (name, email) => (Some(name), email),
        }
    }

    /// Up to three different doors.
    fn doors(&mut self) -> Vec<u8> {
        (0..3).filter(|_| self.one_in(2)).collect()
    }
}
