//! The sessions that a process keeps in memory.
//!
//! Sharded; in each shard the sessions lie side by side in one vector, and a table of 32-bit positions finds them by
//! token hash. That is about a third of what a general concurrent map needs for the same content. When a shard is full, a
//! session that was not used since the clock hand last passed gives way (the CLOCK algorithm, Corbató 1968).

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hashbrown::{HashTable, hash_table::Entry};
use kerria_core::{LogNumber, Phase, Session, SessionId, Succession, Timestamp, TokenHash, store::Found};

use crate::display_name::DisplayName;

const SHARDS: usize = 64;

/// A bounded set of sessions, found by the hash of their token.
pub struct SessionCache {
    shards: Box<[Mutex<Shard>]>,
}

/// A session in memory, as its shard's lock lends it out.
pub struct Cached {
    token: TokenHash,
    /// The session. Its `last_seen_at` is exact here, and behind by the flush interval in the store.
    pub session: Session,
    /// What to call its user.
    pub user_name: DisplayName,
    /// It is known to be good as of this number of the revocation log.
    pub as_of: LogNumber,
    phase: Phase,
    since: SinceOpening,
    used: bool,
    touched: bool,
}

impl Cached {
    /// Where the token stands in its line.
    #[must_use]
    pub fn succession(&self) -> Succession {
        Succession { phase: self.phase, since: self.since.after(&self.session) }
    }
}

/// An instant in the life of a session, in five bytes: milliseconds after it was opened, up to 34 years. They fit between the
/// others; a whole [`Timestamp`] would make every session eight bytes larger.
#[derive(Clone, Copy)]
struct SinceOpening([u8; 5]);

impl SinceOpening {
    fn of(session: &Session, at: Timestamp) -> Self {
        let millis = at.since(session.opened_at).as_millis().min((1 << 40) - 1) as u64;
        let [a, b, c, d, e, ..] = millis.to_le_bytes();
        Self([a, b, c, d, e])
    }

    fn after(self, session: &Session) -> Timestamp {
        let [a, b, c, d, e] = self.0;
        session.opened_at + Duration::from_millis(u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]))
    }
}

#[derive(Default)]
struct Shard {
    positions: HashTable<u32>,
    sessions: Vec<Cached>,
    capacity: usize,
    hand: usize,
    /// Where sessions are that were used since the last flush. What a session itself says of that counts.
    touched: Vec<u32>,
    /// When sessions were used that gave way before the flush.
    departed: HashMap<SessionId, Timestamp>,
}

impl SessionCache {
    /// A cache for up to `entries` sessions. It grows as it fills.
    #[must_use]
    pub fn new(entries: u32) -> Self {
        let capacity = (entries as usize).div_ceil(SHARDS).max(1);
        let shard = || Mutex::new(Shard { capacity, ..Shard::default() });
        Self { shards: (0..SHARDS).map(|_| shard()).collect() }
    }

    /// Lends the session that this token carries to `look`, if it is here. `look` answers whether to keep it.
    pub fn look_up<T>(&self, token: &TokenHash, look: impl FnOnce(&mut Cached) -> (Keep, T)) -> Option<T> {
        let mut guard = self.shard(token);
        let shard = &mut *guard;
        let position = shard.position(token)?;
        let cached = &mut shard.sessions[position];
        cached.used = true;
        let (keep, answer) = look(cached);
        match keep {
            Keep::Untouched => {}
            Keep::Touched if cached.touched => {}
            Keep::Touched => {
                cached.touched = true;
                shard.touched.push(position as u32);
            }
            Keep::Remove => shard.remove(position),
        }
        Some(answer)
    }

    /// Keeps a session that was just read. If this session was used more recently than the store knows, that is
    /// remembered.
    pub fn insert(&self, token: TokenHash, found: &Found) {
        let mut shard = self.shard(&token);
        let mut session = found.session;
        if let Some(seen) = shard.departed.get(&session.id) {
            session.last_seen_at = session.last_seen_at.max(*seen);
        }
        let cached = Cached {
            token,
            session,
            user_name: DisplayName::of(found.user_name.as_deref()),
            as_of: found.as_of,
            phase: found.succession.phase,
            since: SinceOpening::of(&session, found.succession.since),
            used: false,
            touched: false,
        };
        shard.insert(cached);
    }

    /// When a session was last used that has given way since the last call of [`SessionCache::take_touched`].
    #[must_use]
    pub fn departed(&self, token: &TokenHash, session: SessionId) -> Option<Timestamp> {
        self.shard(token).departed.get(&session).copied()
    }

    /// When sessions were last used, for all that were used since the last call.
    pub fn take_touched(&self) -> Vec<(SessionId, Timestamp)> {
        let mut seen = Vec::new();
        for shard in &self.shards {
            let mut guard = lock(shard);
            let shard = &mut *guard;
            for position in std::mem::take(&mut shard.touched) {
                let Some(cached) = shard.sessions.get_mut(position as usize) else { continue };
                if std::mem::take(&mut cached.touched) {
                    seen.push((cached.session.id, cached.session.last_seen_at));
                }
            }
            seen.extend(std::mem::take(&mut shard.departed));
        }
        seen
    }

    /// Forgets all sessions, but not when they were used.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut guard = lock(shard);
            let shard = &mut *guard;
            shard.positions.clear();
            shard.touched.clear();
            for cached in shard.sessions.drain(..).filter(|cached| cached.touched) {
                note(&mut shard.departed, cached.session.id, cached.session.last_seen_at);
            }
        }
    }

    /// How many sessions are here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).sessions.len()).sum()
    }

    /// Whether no session is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, token: &TokenHash) -> MutexGuard<'_, Shard> {
        lock(&self.shards[usize::from(token.as_bytes()[31]) % SHARDS])
    }
}

/// What to do with a session that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Untouched,
    /// It was used: tell the store at the next flush.
    Touched,
    /// It is not good any more.
    Remove,
}

/// Notes a use. An earlier one never replaces a later one.
pub(crate) fn note(seen: &mut HashMap<SessionId, Timestamp>, session: SessionId, at: Timestamp) {
    seen.entry(session).and_modify(|known| *known = at.max(*known)).or_insert(at);
}

/// A panic while a shard was locked cannot leave it half changed in a way that makes a dead session good.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Token hashes are uniform already: eight of their bytes are as good a hash as any.
fn table_hash(token: &TokenHash) -> u64 {
    u64::from_le_bytes(*token.as_bytes().first_chunk().expect("a hash has 32 bytes"))
}

impl Shard {
    fn position(&self, token: &TokenHash) -> Option<usize> {
        let here = |position: &u32| self.sessions[*position as usize].token == *token;
        self.positions.find(table_hash(token), here).map(|position| *position as usize)
    }

    fn insert(&mut self, cached: Cached) {
        if let Some(position) = self.position(&cached.token) {
            let held = &mut self.sessions[position];
            if held.as_of <= cached.as_of {
                let (used, touched, seen) = (held.used, held.touched, held.session.last_seen_at);
                *held = Cached { used, touched, ..cached };
                held.session.last_seen_at = held.session.last_seen_at.max(seen);
            }
            return;
        }
        if self.sessions.len() >= self.capacity {
            self.evict_one();
        }
        if self.sessions.len() == self.sessions.capacity() {
            // A vector doubles; at a million sessions that would waste as much as it holds.
            self.sessions.reserve_exact((self.sessions.len() / 8).max(16));
        }
        let position = u32::try_from(self.sessions.len()).expect("a shard holds fewer than 2^32 sessions");
        let hash = table_hash(&cached.token);
        self.sessions.push(cached);
        let sessions = &self.sessions;
        self.positions.insert_unique(hash, position, |at| table_hash(&sessions[*at as usize].token));
    }

    fn evict_one(&mut self) {
        loop {
            self.hand = if self.hand >= self.sessions.len() { 0 } else { self.hand };
            let cached = &mut self.sessions[self.hand];
            if !std::mem::take(&mut cached.used) {
                if cached.touched {
                    note(&mut self.departed, cached.session.id, cached.session.last_seen_at);
                }
                return self.remove(self.hand);
            }
            self.hand += 1;
        }
    }

    /// Takes out the session at `position`; the last one moves into its place.
    fn remove(&mut self, position: usize) {
        let last = self.sessions.len() - 1;
        self.unlink(position);
        if position != last {
            let hash = table_hash(&self.sessions[last].token);
            let moved = self.positions.find_mut(hash, |at| *at as usize == last);
            *moved.expect("every session has its position in the table") = position as u32;
        }
        self.sessions.swap_remove(position);
        if self.sessions.get(position).is_some_and(|moved| moved.touched) {
            self.touched.push(position as u32);
        }
    }

    fn unlink(&mut self, position: usize) {
        let hash = table_hash(&self.sessions[position].token);
        let sessions = &self.sessions;
        let entry = self.positions.entry(
            hash,
            |at| *at as usize == position,
            |at| table_hash(&sessions[*at as usize].token),
        );
        if let Entry::Occupied(occupied) = entry {
            occupied.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use kerria_core::{Place, Transport};

    use super::*;

    fn token(n: u32) -> TokenHash {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_le_bytes());
        bytes[28..].copy_from_slice(&n.to_be_bytes());
        TokenHash::from_bytes(bytes)
    }

    fn found(n: u32, as_of: u64) -> Found {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        Found {
            session: Session {
                id: SessionId::from_bytes(id),
                user: None,
                transport: Transport::Cookie,
                remembered: false,
                opened_at: Timestamp::EPOCH,
                last_seen_at: Timestamp::EPOCH,
                authenticated_at: Timestamp::EPOCH,
                place: Place::default(),
                expiry: kerria_core::Expiry::BY_POLICY,
            },
            user_name: None,
            as_of: LogNumber(as_of),
            succession: Succession::first(Timestamp::EPOCH),
            other_token: None,
        }
    }

    fn holds(cache: &SessionCache, n: u32) -> bool {
        cache.look_up(&token(n), |cached| (Keep::Untouched, cached.session.id))
            == Some(found(n, 0).session.id)
    }

    #[test]
    fn what_is_kept_is_found_and_what_is_removed_is_not() {
        let cache = SessionCache::new(100_000);
        for n in 0..10_000 {
            cache.insert(token(n), &found(n, 1));
        }
        assert!((0..10_000).all(|n| holds(&cache, n)));
        for n in (0..10_000).step_by(3) {
            cache.look_up(&token(n), |_| (Keep::Remove, ()));
        }
        assert!((0..10_000).all(|n| holds(&cache, n) == (n % 3 != 0)));
        assert_eq!(cache.len(), 6_666);
    }

    #[test]
    fn it_stays_within_its_bounds_and_keeps_what_is_in_use() {
        let cache = SessionCache::new(640);
        cache.insert(token(0), &found(0, 1));
        for n in 1..10_000 {
            assert!(holds(&cache, 0), "the session in use gave way to session {n}");
            cache.insert(token(n), &found(n, 1));
        }
        assert_eq!(cache.len(), 640);
    }

    #[test]
    fn a_session_takes_little_memory() {
        assert!(size_of::<Cached>() <= 144, "{}", size_of::<Cached>());
    }

    #[test]
    fn where_a_token_stands_is_kept_to_the_millisecond() {
        let cache = SessionCache::new(10);
        for millis in [0, 1, 255, 256, 1_799_999_999, 4_294_967_296, 3_153_600_000_000 / 10] {
            let mut found = found(1, millis);
            found.session.opened_at = Timestamp::from_millis(1_800_000_000_000);
            let since = found.session.opened_at + Duration::from_millis(millis);
            found.succession = Succession { phase: Phase::Outlived, since };
            cache.insert(token(1), &found);
            let kept = cache.look_up(&token(1), |cached| (Keep::Untouched, cached.succession()));
            assert_eq!(kept, Some(found.succession));
        }
    }

    #[test]
    fn a_use_is_told_of_a_session_that_took_the_place_of_another() {
        let cache = SessionCache::new(1_000);
        for n in [0, 64, 128] {
            cache.insert(token(n), &found(n, 1)); // all in the same shard
        }
        cache.look_up(&token(128), |_| (Keep::Touched, ()));
        cache.look_up(&token(0), |_| (Keep::Remove, ()));
        cache.look_up(&token(64), |_| (Keep::Touched, ()));
        let mut seen: Vec<_> = cache.take_touched().into_iter().map(|(session, _)| session).collect();
        seen.sort_unstable();
        assert_eq!(seen, [found(64, 1).session.id, found(128, 1).session.id]);
        assert_eq!(cache.take_touched(), []);
    }

    #[test]
    fn many_uses_are_told_once_with_the_latest_time() {
        let cache = SessionCache::new(10);
        cache.insert(token(1), &found(1, 1));
        for second in 1..=1_000 {
            let seen = Timestamp::EPOCH + Duration::from_secs(second);
            cache.look_up(&token(1), |cached| {
                cached.session.last_seen_at = seen;
                (Keep::Touched, ())
            });
        }
        let seen = Timestamp::EPOCH + Duration::from_secs(1_000);
        assert_eq!(cache.take_touched(), [(found(1, 1).session.id, seen)]);
        assert_eq!(cache.take_touched(), []);
    }

    #[test]
    fn a_use_is_not_lost_when_the_session_gives_way_before_the_flush() {
        let cache = SessionCache::new(1);
        let seen = Timestamp::EPOCH + Duration::from_secs(5);
        cache.insert(token(0), &found(0, 1));
        cache.look_up(&token(0), |cached| {
            cached.session.last_seen_at = seen;
            (Keep::Touched, ())
        });
        // Token 64 shares the shard of token 0, which has room for one.
        cache.insert(token(64), &found(64, 1));
        assert!(!holds(&cache, 0));
        cache.insert(token(0), &found(0, 1));
        let kept = cache.look_up(&token(0), |cached| (Keep::Untouched, cached.session.last_seen_at));
        assert_eq!(kept, Some(seen));
        assert_eq!(cache.take_touched(), [(found(0, 1).session.id, seen)]);
    }

    #[test]
    fn what_is_cleared_is_gone_but_its_use_is_not_lost() {
        let cache = SessionCache::new(100);
        let seen = Timestamp::EPOCH + Duration::from_secs(5);
        for n in 0..50 {
            cache.insert(token(n), &found(n, 1));
        }
        cache.look_up(&token(7), |cached| {
            cached.session.last_seen_at = seen;
            (Keep::Touched, ())
        });
        cache.clear();
        assert!(cache.is_empty() && !(0..50).any(|n| holds(&cache, n)));
        assert_eq!(cache.take_touched(), [(found(7, 1).session.id, seen)]);
        cache.insert(token(7), &found(7, 1));
        assert!(holds(&cache, 7));
    }

    #[test]
    fn an_older_reading_does_not_replace_a_newer_one() {
        let cache = SessionCache::new(10);
        cache.insert(token(1), &found(1, 7));
        cache.insert(token(1), &found(1, 5));
        assert_eq!(cache.look_up(&token(1), |cached| (Keep::Untouched, cached.as_of)), Some(LogNumber(7)));
    }
}
