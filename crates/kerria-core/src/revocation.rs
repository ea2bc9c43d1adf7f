//! Ending sessions: the log that a store keeps, and the set that a checker asks.
//!
//! Every change that a checker has to hear of is one entry of the log, with a number that the store takes inside the
//! transaction that makes the change. A checker remembers for each session that it holds the number up to which it
//! knows the session to be good (`as_of`), and asks its [`RevokedSet`] for everything after that. Numbers, not times,
//! decide what came first, so that no clock can make an ended session good or a new one dead.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{
    client::ClientId,
    id::{SessionId, TokenId, UserId},
    time::Timestamp,
};

/// The number of an entry in the log, and so a position in it. The first entry has number 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogNumber(pub u64);

/// Which sessions an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Selector {
    /// One session.
    Session {
        /// Its handle.
        session: SessionId,
    },
    /// All sessions of a user.
    User {
        /// Whose.
        user: UserId,
    },
    /// All sessions of a user except one.
    UserExcept {
        /// Whose.
        user: UserId,
        /// The one that stays.
        except: SessionId,
    },
    /// One access token. Its session goes on.
    Token {
        /// Its `jti`.
        token: TokenId,
    },
    /// All sessions that were opened for a client, and all that was issued to it. An entry about a client comes after one
    /// about each of those sessions: what others were issued in them, and what is kept of them, does not name that client.
    Client {
        /// Which.
        client: ClientId,
    },
    /// All sessions of everyone, anonymous ones too, and all that was issued to anybody.
    Everyone,
}

/// Why sessions were ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The user signed out.
    SignedOut,
    /// The user ended another of their sessions, or all others.
    EndedByUser,
    /// A new sign-in took the session's place in the same browser.
    Replaced,
    /// The user has more sessions than allowed, and this was the oldest.
    Limit,
    /// The password was changed.
    PasswordChanged,
    /// The user was disabled.
    UserDisabled,
    /// The user was deleted.
    UserDeleted,
    /// An operator ended it.
    Operator,
    /// A refresh token was used twice, or a session token after its time: somebody has a copy of it.
    Replayed,
    /// A client gave it back (RFC 7009).
    GivenBack,
}

impl Cause {
    /// The word that is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignedOut => "signed_out",
            Self::EndedByUser => "ended_by_user",
            Self::Replaced => "replaced",
            Self::Limit => "limit",
            Self::PasswordChanged => "password_changed",
            Self::UserDisabled => "user_disabled",
            Self::UserDeleted => "user_deleted",
            Self::Operator => "operator",
            Self::Replayed => "replayed",
            Self::GivenBack => "given_back",
        }
    }
}

/// What an entry says about the sessions that it selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum LogEvent {
    /// They are ended, for good.
    Ended {
        /// Why.
        cause: Cause,
    },
    /// What was read of them before is out of date (a new token, another name): they must be read again.
    Changed,
}

/// One entry of the revocation log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogEntry {
    /// Its number. Entries are applied in the order of their numbers, without a gap.
    pub number: LogNumber,
    /// When it was written. Says how long it has to be kept; decides nothing else.
    pub at: Timestamp,
    /// Which sessions it is about.
    pub selector: Selector,
    /// What it says about them.
    pub event: LogEvent,
}

/// What a [`RevokedSet`] says about a session that was good as of some number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing after that number is about it.
    Stands,
    /// It was ended.
    Ended,
    /// It cannot be told from here: the session changed, or entries after that number were dropped. Read it again.
    Reread,
}

/// The recent entries of the log, arranged to answer one question quickly: was this session ended since?
#[derive(Debug, Default)]
pub struct RevokedSet {
    /// Everything up to here has been applied.
    head: LogNumber,
    /// Entries up to here have been dropped.
    floor: LogNumber,
    /// The latest entry about everyone.
    everyone: LogNumber,
    clients: HashMap<ClientId, LogNumber>,
    tokens: HashMap<TokenId, LogNumber>,
    sessions: HashMap<SessionId, (LogNumber, LogEvent)>,
    users: HashMap<UserId, UserEntries>,
    /// The entries in order, so that the oldest can be dropped.
    order: VecDeque<LogEntry>,
}

/// What an access token says of itself, as far as a revocation can select it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bearing {
    /// Its `jti`.
    pub token: TokenId,
    /// Its `client_id`.
    pub client: ClientId,
    /// Its `sid`; none in a token of a client itself.
    pub session: Option<SessionId>,
    /// Its `sub`, if that is a user.
    pub user: Option<UserId>,
}

#[derive(Debug, Default)]
struct UserEntries {
    ended: LogNumber,
    changed: LogNumber,
    /// For each session that was spared, the latest entry that spared it alone.
    ended_except: Vec<(SessionId, LogNumber)>,
}

impl RevokedSet {
    /// A set that knows nothing of what happened up to `head`, and everything after it.
    #[must_use]
    pub fn starting_at(head: LogNumber) -> Self {
        Self { head, floor: head, ..Self::default() }
    }

    /// The number of the last entry that was applied.
    #[must_use]
    pub const fn head(&self) -> LogNumber {
        self.head
    }

    /// The entries that are held, in order.
    pub fn entries(&self) -> impl Iterator<Item = &LogEntry> {
        self.order.iter()
    }

    /// How many entries are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether no entry is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Takes in the next entry of the log. One that was applied before changes nothing. An entry that leaves a gap
    /// moves the floor up to it: sessions known from before the gap have to be read again.
    pub fn apply(&mut self, entry: LogEntry) {
        if entry.number <= self.head {
            return;
        }
        if entry.number.0 > self.head.0 + 1 {
            self.floor = LogNumber(entry.number.0 - 1);
        }
        self.head = entry.number;
        self.order.push_back(entry);
        match (entry.selector, entry.event) {
            (Selector::Session { session }, event) => {
                let held = self.sessions.entry(session).or_insert((entry.number, event));
                // An end is final; a later change cannot soften it.
                if held.1 == LogEvent::Changed {
                    *held = (entry.number, event);
                }
            }
            (Selector::User { user }, LogEvent::Ended { .. }) => {
                self.users.entry(user).or_default().ended = entry.number;
            }
            (Selector::UserExcept { user, except }, LogEvent::Ended { .. }) => {
                let spared = &mut self.users.entry(user).or_default().ended_except;
                spared.retain(|(session, _)| *session != except);
                spared.push((except, entry.number));
            }
            (Selector::User { user } | Selector::UserExcept { user, .. }, LogEvent::Changed) => {
                self.users.entry(user).or_default().changed = entry.number;
            }
            (Selector::Token { token }, LogEvent::Ended { .. }) => {
                self.tokens.insert(token, entry.number);
            }
            (Selector::Client { client }, LogEvent::Ended { .. }) => {
                self.clients.insert(client, entry.number);
            }
            (Selector::Everyone, LogEvent::Ended { .. }) => self.everyone = entry.number,
            // Nothing that is kept of a token or of a client can be out of date.
            (Selector::Token { .. } | Selector::Client { .. }, LogEvent::Changed) => {}
            (Selector::Everyone, LogEvent::Changed) => self.floor = entry.number,
        }
    }

    /// What became of a session that was good as of `as_of`.
    #[must_use]
    pub fn verdict(&self, session: SessionId, user: Option<UserId>, as_of: LogNumber) -> Verdict {
        if as_of >= self.head {
            return Verdict::Stands;
        }
        if self.everyone > as_of {
            return Verdict::Ended;
        }
        let of_session = match self.sessions.get(&session) {
            Some((number, event)) if *number > as_of => Some(*event),
            _ => None,
        };
        let of_user = user.and_then(|user| self.users.get(&user)).map_or(Verdict::Stands, |entries| {
            if entries.ended_after(as_of, Some(session)) {
                Verdict::Ended
            } else if entries.changed > as_of {
                Verdict::Reread
            } else {
                Verdict::Stands
            }
        });
        match (of_session, of_user) {
            (Some(LogEvent::Ended { .. }), _) | (_, Verdict::Ended) => Verdict::Ended,
            (Some(LogEvent::Changed), _) | (_, Verdict::Reread) => Verdict::Reread,
            _ if as_of < self.floor => Verdict::Reread,
            _ => Verdict::Stands,
        }
    }

    /// Whether what was read of a user as of `as_of` is still so. If it cannot be told from here, it is not.
    #[must_use]
    pub fn is_unchanged(&self, user: UserId, as_of: LogNumber) -> bool {
        let is_after = |entries: &UserEntries| entries.changed.max(entries.ended) > as_of;
        as_of >= self.floor && !self.users.get(&user).is_some_and(is_after)
    }

    /// What became of an access token that was issued as of `as_of`. A change of its session does not concern it.
    /// [`Verdict::Reread`] says that entries after that number were dropped.
    #[must_use]
    pub fn verdict_on(&self, bearing: &Bearing, as_of: LogNumber) -> Verdict {
        if as_of >= self.head {
            return Verdict::Stands;
        }
        let is_after = |number: &LogNumber| *number > as_of;
        let of_session = bearing.session.and_then(|session| self.sessions.get(&session));
        let of_user = bearing.user.and_then(|user| self.users.get(&user));
        let ended = is_after(&self.everyone)
            || self.tokens.get(&bearing.token).is_some_and(is_after)
            || self.clients.get(&bearing.client).is_some_and(is_after)
            || matches!(of_session, Some((number, LogEvent::Ended { .. })) if is_after(number))
            || of_user.is_some_and(|entries| entries.ended_after(as_of, bearing.session));
        match ended {
            true => Verdict::Ended,
            false if as_of < self.floor => Verdict::Reread,
            false => Verdict::Stands,
        }
    }

    /// Drops entries written before `limit`, and the oldest ones beyond `capacity`. A session that was last known to be
    /// good before what was dropped has to be read again; nothing is forgotten in silence.
    pub fn drop_old(&mut self, limit: Timestamp, capacity: usize) {
        while let Some(oldest) = self.order.front() {
            if oldest.at >= limit && self.order.len() <= capacity {
                break;
            }
            let number = oldest.number;
            self.floor = self.floor.max(number);
            self.forget(*oldest);
            self.order.pop_front();
        }
    }

    fn forget(&mut self, entry: LogEntry) {
        match entry.selector {
            Selector::Session { session } => {
                if self.sessions.get(&session).is_some_and(|(number, _)| *number <= entry.number) {
                    self.sessions.remove(&session);
                }
            }
            Selector::User { user } | Selector::UserExcept { user, .. } => {
                if let Some(entries) = self.users.get_mut(&user) {
                    entries.ended_except.retain(|(_, number)| *number > entry.number);
                    let latest = entries.ended.max(entries.changed);
                    if latest <= entry.number && entries.ended_except.is_empty() {
                        self.users.remove(&user);
                    }
                }
            }
            Selector::Token { token } => {
                if self.tokens.get(&token).is_some_and(|number| *number <= entry.number) {
                    self.tokens.remove(&token);
                }
            }
            Selector::Client { client } => {
                if self.clients.get(&client).is_some_and(|number| *number <= entry.number) {
                    self.clients.remove(&client);
                }
            }
            Selector::Everyone => {}
        }
    }
}

impl UserEntries {
    /// Whether all sessions, or all but others than this one, were ended after `as_of`.
    fn ended_after(&self, as_of: LogNumber, session: Option<SessionId>) -> bool {
        let spared_for_another =
            |(spared, number): &(SessionId, LogNumber)| *number > as_of && Some(*spared) != session;
        self.ended > as_of || self.ended_except.iter().any(spared_for_another)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: UserId = UserId::from_bytes([1; 16]);
    const BOB: UserId = UserId::from_bytes([2; 16]);
    const PHONE: SessionId = SessionId::from_bytes([3; 16]);
    const LAPTOP: SessionId = SessionId::from_bytes([4; 16]);
    const ENDED: LogEvent = LogEvent::Ended { cause: Cause::SignedOut };

    fn entry(number: u64, selector: Selector, event: LogEvent) -> LogEntry {
        LogEntry { number: LogNumber(number), at: Timestamp::from_millis(number as i64), selector, event }
    }

    fn set(entries: &[(Selector, LogEvent)]) -> RevokedSet {
        let mut set = RevokedSet::starting_at(LogNumber(10));
        for (index, (selector, event)) in entries.iter().enumerate() {
            set.apply(entry(11 + index as u64, *selector, *event));
        }
        set
    }

    fn verdict(set: &RevokedSet, session: SessionId, as_of: u64) -> Verdict {
        set.verdict(session, Some(ALICE), LogNumber(as_of))
    }

    #[test]
    fn ending_a_session_ends_it_and_no_other() {
        let set = set(&[(Selector::Session { session: PHONE }, ENDED)]);
        assert_eq!(verdict(&set, PHONE, 10), Verdict::Ended);
        assert_eq!(verdict(&set, LAPTOP, 10), Verdict::Stands);
    }

    #[test]
    fn ending_all_of_a_user_spares_what_was_opened_afterwards_and_other_users() {
        let set = set(&[(Selector::User { user: ALICE }, ENDED)]);
        assert_eq!(verdict(&set, PHONE, 10), Verdict::Ended);
        assert_eq!(verdict(&set, PHONE, 11), Verdict::Stands);
        assert_eq!(set.verdict(PHONE, Some(BOB), LogNumber(10)), Verdict::Stands);
    }

    #[test]
    fn two_sessions_that_each_end_all_others_end_each_other() {
        let except = |except| Selector::UserExcept { user: ALICE, except };
        let set = set(&[(except(PHONE), ENDED), (except(LAPTOP), ENDED)]);
        assert_eq!(verdict(&set, PHONE, 10), Verdict::Ended);
        assert_eq!(verdict(&set, LAPTOP, 10), Verdict::Ended);
        assert_eq!(verdict(&set, LAPTOP, 11), Verdict::Stands);
    }

    #[test]
    fn ending_everyone_ends_anonymous_sessions_too() {
        let set = set(&[(Selector::Everyone, ENDED)]);
        assert_eq!(set.verdict(PHONE, None, LogNumber(10)), Verdict::Ended);
    }

    #[test]
    fn a_user_is_unchanged_until_an_entry_says_otherwise_or_could() {
        let alices = Selector::User { user: ALICE };
        let unchanged = |set: &RevokedSet, as_of| set.is_unchanged(ALICE, LogNumber(as_of));
        let mut changed =
            set(&[(Selector::User { user: BOB }, LogEvent::Changed), (alices, LogEvent::Changed)]);
        assert!(!unchanged(&changed, 11) && unchanged(&changed, 12));
        assert!(!unchanged(&set(&[(alices, ENDED)]), 10), "the user may be gone");
        let phone = Selector::Session { session: PHONE };
        assert!(unchanged(&set(&[(phone, LogEvent::Changed)]), 10));
        assert!(!unchanged(&set(&[]), 9), "before what is known");
        changed.drop_old(Timestamp::from_millis(1_000), 100);
        assert!(!unchanged(&changed, 11) && unchanged(&changed, 12));
        changed.apply(entry(20, phone, ENDED));
        assert!(!unchanged(&changed, 12), "there is a gap");
    }

    #[test]
    fn a_changed_session_is_read_again_and_an_end_outweighs_a_change() {
        let phone = Selector::Session { session: PHONE };
        assert_eq!(verdict(&set(&[(phone, LogEvent::Changed)]), PHONE, 10), Verdict::Reread);
        assert_eq!(verdict(&set(&[(phone, ENDED), (phone, LogEvent::Changed)]), PHONE, 10), Verdict::Ended);
        assert_eq!(verdict(&set(&[(phone, LogEvent::Changed), (phone, ENDED)]), PHONE, 10), Verdict::Ended);
    }

    #[test]
    fn an_access_token_is_ended_by_each_selector_that_selects_it() {
        let bearing = Bearing {
            token: TokenId::from_bytes([5; 16]),
            client: ClientId::OWN,
            session: Some(PHONE),
            user: Some(ALICE),
        };
        let other_token = TokenId::from_bytes([6; 16]);
        let other_client = "shop".parse().unwrap();
        for (selector, ends) in [
            (Selector::Token { token: bearing.token }, true),
            (Selector::Token { token: other_token }, false),
            (Selector::Client { client: bearing.client }, true),
            (Selector::Client { client: other_client }, false),
            (Selector::Session { session: PHONE }, true),
            (Selector::Session { session: LAPTOP }, false),
            (Selector::User { user: ALICE }, true),
            (Selector::User { user: BOB }, false),
            (Selector::UserExcept { user: ALICE, except: LAPTOP }, true),
            (Selector::UserExcept { user: ALICE, except: PHONE }, false),
            (Selector::Everyone, true),
        ] {
            let set = set(&[(selector, ENDED)]);
            let verdict = if ends { Verdict::Ended } else { Verdict::Stands };
            assert_eq!(set.verdict_on(&bearing, LogNumber(10)), verdict, "{selector:?}");
            assert_eq!(
                set.verdict_on(&bearing, LogNumber(11)),
                Verdict::Stands,
                "{selector:?}, issued later"
            );
        }
        let changed = set(&[(Selector::Session { session: PHONE }, LogEvent::Changed)]);
        assert_eq!(changed.verdict_on(&bearing, LogNumber(10)), Verdict::Stands);
    }

    #[test]
    fn an_access_token_from_before_what_was_dropped_is_not_believed() {
        let bearing =
            Bearing { token: TokenId::from_bytes([5; 16]), client: ClientId::OWN, session: None, user: None };
        let mut set = set(&[
            (Selector::Token { token: bearing.token }, ENDED),
            (Selector::Client { client: ClientId::OWN }, ENDED),
        ]);
        set.drop_old(Timestamp::EPOCH, 0);
        assert_eq!(set.verdict_on(&bearing, LogNumber(10)), Verdict::Reread);
        assert_eq!(set.verdict_on(&bearing, LogNumber(12)), Verdict::Stands);
    }

    #[test]
    fn a_client_that_is_ended_takes_the_sessions_along_that_are_named_before_it_and_no_others() {
        let shop: ClientId = "shop".parse().unwrap();
        let set =
            set(&[(Selector::Session { session: PHONE }, ENDED), (Selector::Client { client: shop }, ENDED)]);
        assert_eq!(verdict(&set, PHONE, 10), Verdict::Ended);
        assert_eq!(verdict(&set, LAPTOP, 10), Verdict::Stands, "nothing has to be read again");
        let exchanged = |session| Bearing {
            token: TokenId::from_bytes([5; 16]),
            client: ClientId::OWN,
            session: Some(session),
            user: Some(ALICE),
        };
        assert_eq!(set.verdict_on(&exchanged(PHONE), LogNumber(10)), Verdict::Ended);
        assert_eq!(set.verdict_on(&exchanged(LAPTOP), LogNumber(10)), Verdict::Stands);
    }

    #[test]
    fn a_gap_in_the_log_makes_older_knowledge_worthless() {
        let mut set = RevokedSet::starting_at(LogNumber(10));
        set.apply(entry(13, Selector::Session { session: PHONE }, ENDED));
        assert_eq!(verdict(&set, LAPTOP, 10), Verdict::Reread);
        assert_eq!(verdict(&set, LAPTOP, 12), Verdict::Stands);
    }

    #[test]
    fn what_was_dropped_is_not_forgotten_in_silence() {
        let mut set = set(&[
            (Selector::Session { session: PHONE }, ENDED),
            (Selector::Session { session: LAPTOP }, LogEvent::Changed),
        ]);
        set.drop_old(Timestamp::from_millis(12), usize::MAX);
        assert_eq!(set.len(), 1);
        assert_eq!(verdict(&set, PHONE, 10), Verdict::Reread);
        assert_eq!(verdict(&set, PHONE, 11), Verdict::Stands);
        set.drop_old(Timestamp::EPOCH, 0);
        assert!(set.is_empty());
        assert_eq!(verdict(&set, LAPTOP, 11), Verdict::Reread);
    }

    #[test]
    fn an_entry_that_comes_twice_changes_nothing() {
        let mut set = set(&[(Selector::User { user: ALICE }, ENDED)]);
        set.apply(entry(11, Selector::Everyone, ENDED));
        assert_eq!(set.verdict(PHONE, Some(BOB), LogNumber(10)), Verdict::Stands);
        assert_eq!(set.len(), 1);
    }
}
