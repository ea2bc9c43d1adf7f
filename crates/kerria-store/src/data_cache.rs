//! The values of sessions in memory, for a store that one process writes.
//!
//! Memory is never behind, nor ahead: of two who read one after the other, the second sees nothing older than the first. So while a
//! step that changes values is being committed, nothing is said of its sessions; and who asks the store keeps what it answers
//! only if no step has changed the value meanwhile.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kerria_core::{DataKey, SessionId};

/// What is kept, in bytes, at most.
const ROOM: usize = 16 * 1024 * 1024;

const SHARDS: usize = 16;

/// What a value takes beside its key and its text, about.
const OVERHEAD: usize = 128;

/// The values of sessions, as far as they were asked for or written lately.
pub struct DataCache {
    shards: [Mutex<Shard>; SHARDS],
    /// Half of the room of a shard.
    half: usize,
}

/// What a step changes, once it is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DataChange {
    /// The value under a key; `None` if it is removed.
    Value(SessionId, DataKey, Option<Arc<str>>),
    /// All values of a session.
    Session(SessionId),
    /// All values of all sessions.
    Everything,
}

/// What memory says of a value.
pub(crate) enum Recalled {
    /// It is this; `None` if there is none.
    Value(Option<Arc<str>>),
    /// Nothing: the store has to be asked. What it answers is to be [kept](DataCache::keep) with this, if there is one.
    Unknown(Option<Reading>),
}

/// The question to the store about one value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading(u64);

#[derive(Default)]
struct Shard {
    /// Of sessions that were asked about or written lately.
    recent: Sessions,
    /// What `recent` was before it had taken half of the room.
    earlier: Sessions,
    /// What `recent` takes.
    bytes: usize,
    /// Those whose values are being changed.
    changing: HashSet<SessionId>,
    everything_is_changing: bool,
    readings: u64,
}

type Sessions = HashMap<SessionId, Vec<Value>>;

struct Value {
    key: DataKey,
    state: State,
}

enum State {
    Known(Option<Arc<str>>),
    /// The store is being asked, in this question last.
    Asked(Reading),
}

impl Default for DataCache {
    fn default() -> Self {
        Self::new(ROOM)
    }
}

impl DataCache {
    fn new(room: usize) -> Self {
        Self { shards: Default::default(), half: room / SHARDS / 2 }
    }

    /// What memory says.
    pub(crate) fn recall(&self, session: SessionId, key: &DataKey) -> Recalled {
        let mut shard = self.shard(session);
        if shard.is_changing(session) {
            return Recalled::Unknown(None);
        }
        if let Some(State::Known(json)) = shard.state(session, key, self.half) {
            return Recalled::Value(json.clone());
        }
        shard.readings += 1;
        let reading = Reading(shard.readings);
        shard.set(session, key, State::Asked(reading), self.half);
        Recalled::Unknown(Some(reading))
    }

    /// Keeps what the store has answered, unless somebody has changed the value since, or has asked again.
    pub(crate) fn keep(&self, session: SessionId, key: &DataKey, reading: Reading, json: Option<&str>) {
        let mut shard = self.shard(session);
        if matches!(shard.state(session, key, self.half), Some(State::Asked(last)) if *last == reading) {
            shard.set(session, key, State::Known(json.map(Arc::from)), self.half);
        }
    }

    /// To be called before these changes are committed. Until what is returned is gone, the store is asked about these sessions.
    pub(crate) fn changing(&self, changes: Vec<DataChange>) -> Changing<'_> {
        for change in &changes {
            match change {
                DataChange::Value(session, key, _) => {
                    let mut shard = self.shard(*session);
                    shard.forget_value(*session, key, self.half);
                    shard.changing.insert(*session);
                }
                DataChange::Session(session) => {
                    let mut shard = self.shard(*session);
                    shard.forget(*session);
                    shard.changing.insert(*session);
                }
                DataChange::Everything => self.shards().for_each(|mut shard| {
                    shard.forget_everything();
                    shard.everything_is_changing = true;
                }),
            }
        }
        Changing { cache: self, changes }
    }

    fn shard(&self, session: SessionId) -> MutexGuard<'_, Shard> {
        lock(&self.shards[usize::from(session.as_bytes()[15]) % SHARDS])
    }

    fn shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(lock)
    }
}

/// Changes that are being committed.
pub(crate) struct Changing<'a> {
    cache: &'a DataCache,
    changes: Vec<DataChange>,
}

impl Changing<'_> {
    /// They are. To be called before anybody is told.
    pub(crate) fn committed(mut self) {
        let half = self.cache.half;
        for change in &mut self.changes {
            match change {
                DataChange::Value(session, key, json) => {
                    self.cache.shard(*session).set(*session, key, State::Known(json.take()), half);
                }
                DataChange::Session(session) => self.cache.shard(*session).forget(*session),
                DataChange::Everything => self.cache.shards().for_each(|mut shard| shard.forget_everything()),
            }
        }
    }
}

/// Whether they are committed or not, what is true is in the store from now on. Comes after all of them: a step may change what
/// another one in the same commit has changed.
impl Drop for Changing<'_> {
    fn drop(&mut self) {
        for change in &self.changes {
            match change {
                DataChange::Value(session, ..) | DataChange::Session(session) => {
                    self.cache.shard(*session).changing.remove(session);
                }
                DataChange::Everything => {
                    self.cache.shards().for_each(|mut shard| shard.everything_is_changing = false);
                }
            }
        }
    }
}

impl Shard {
    fn is_changing(&self, session: SessionId) -> bool {
        self.everything_is_changing || self.changing.contains(&session)
    }

    /// The values of a session, which from now on is among the recent ones.
    fn values(&mut self, session: SessionId, half: usize) -> Option<&mut Vec<Value>> {
        if let Some(values) = self.earlier.remove(&session) {
            let bytes = values.iter().map(Value::bytes).sum::<usize>();
            // One session alone gets no more than that.
            if bytes > half {
                return None;
            }
            if self.bytes + bytes > half {
                self.earlier = std::mem::take(&mut self.recent);
                self.bytes = 0;
            }
            self.bytes += bytes;
            self.recent.insert(session, values);
        }
        self.recent.get_mut(&session)
    }

    fn state(&mut self, session: SessionId, key: &DataKey, half: usize) -> Option<&State> {
        self.values(session, half)?.iter().find(|value| value.key == *key).map(|value| &value.state)
    }

    fn set(&mut self, session: SessionId, key: &DataKey, state: State, half: usize) {
        self.forget_value(session, key, half);
        let value = Value { key: key.clone(), state };
        if value.bytes() > half {
            return;
        }
        self.bytes += value.bytes();
        self.recent.entry(session).or_default().push(value);
        if self.bytes > half {
            self.earlier = std::mem::take(&mut self.recent);
            self.bytes = 0;
        }
    }

    fn forget_value(&mut self, session: SessionId, key: &DataKey, half: usize) {
        let Some(values) = self.values(session, half) else { return };
        if let Some(at) = values.iter().position(|value| value.key == *key) {
            let bytes = values.swap_remove(at).bytes();
            if values.is_empty() {
                self.recent.remove(&session);
            }
            self.bytes -= bytes;
        }
    }

    fn forget(&mut self, session: SessionId) {
        self.earlier.remove(&session);
        let values = self.recent.remove(&session).unwrap_or_default();
        self.bytes -= values.iter().map(Value::bytes).sum::<usize>();
    }

    fn forget_everything(&mut self) {
        (self.recent, self.earlier, self.bytes) = Default::default();
    }
}

impl Value {
    fn bytes(&self) -> usize {
        let json = match &self.state {
            State::Known(Some(json)) => json.len(),
            State::Known(None) | State::Asked(_) => 0,
        };
        OVERHEAD + self.key.as_str().len() + json
    }
}

/// Nothing panics while a shard is locked.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SessionId = SessionId::from_bytes([1; 16]);
    const OTHER: SessionId = SessionId::from_bytes([2; 16]);

    fn key(name: &str) -> DataKey {
        DataKey::parse(name).unwrap()
    }

    fn value(session: SessionId, name: &str, json: &str) -> DataChange {
        DataChange::Value(session, key(name), Some(json.into()))
    }

    /// What memory knows; the outer `None` is nothing.
    fn known(cache: &DataCache, session: SessionId, name: &str) -> Option<Option<String>> {
        match cache.recall(session, &key(name)) {
            Recalled::Value(json) => Some(json.as_deref().map(ToOwned::to_owned)),
            Recalled::Unknown(_) => None,
        }
    }

    fn some(json: &str) -> Option<Option<String>> {
        Some(Some(json.to_owned()))
    }

    fn asking(cache: &DataCache, session: SessionId, name: &str) -> Reading {
        match cache.recall(session, &key(name)) {
            Recalled::Unknown(Some(reading)) => reading,
            _ => panic!("it is known, or being changed"),
        }
    }

    fn commit(cache: &DataCache, changes: impl IntoIterator<Item = DataChange>) {
        cache.changing(changes.into_iter().collect()).committed();
    }

    #[test]
    fn what_was_read_or_written_is_known_until_it_changes() {
        let cache = DataCache::default();
        let reading = asking(&cache, ONE, "a");
        cache.keep(ONE, &key("a"), reading, None);
        assert_eq!(known(&cache, ONE, "a"), Some(None));
        commit(&cache, [value(ONE, "a", "1"), value(ONE, "b", "2"), value(OTHER, "a", "3")]);
        assert_eq!(known(&cache, ONE, "a"), some("1"));
        commit(&cache, [DataChange::Value(ONE, key("b"), None)]);
        assert_eq!((known(&cache, ONE, "a"), known(&cache, ONE, "b")), (some("1"), Some(None)));
        commit(&cache, [DataChange::Session(ONE)]);
        assert_eq!((known(&cache, ONE, "a"), known(&cache, OTHER, "a")), (None, some("3")));
        commit(&cache, [DataChange::Everything]);
        assert_eq!(known(&cache, OTHER, "a"), None);
    }

    #[test]
    fn of_the_changes_of_one_commit_the_last_counts() {
        let cache = DataCache::default();
        commit(&cache, [value(ONE, "a", "1"), value(ONE, "a", "2"), DataChange::Session(ONE)]);
        assert_eq!(known(&cache, ONE, "a"), None);
        commit(&cache, [DataChange::Session(ONE), value(ONE, "a", "1"), value(ONE, "a", "2")]);
        assert_eq!(known(&cache, ONE, "a"), some("2"));
    }

    #[test]
    fn while_values_are_being_committed_nothing_is_said_of_their_sessions() {
        let cache = DataCache::default();
        commit(&cache, [value(ONE, "a", "1"), value(ONE, "b", "1"), value(OTHER, "a", "1")]);
        for change in [value(ONE, "a", "2"), DataChange::Session(ONE), DataChange::Everything] {
            let changing = cache.changing(vec![change.clone()]);
            for name in ["a", "b"] {
                assert!(matches!(cache.recall(ONE, &key(name)), Recalled::Unknown(None)), "{change:?}");
            }
            if change != DataChange::Everything {
                assert_eq!(known(&cache, OTHER, "a"), some("1"));
            }
            drop(changing);
            // It was not committed, or nobody can tell: the store knows.
            assert!(matches!(cache.recall(ONE, &key("a")), Recalled::Unknown(Some(_))), "{change:?}");
        }
    }

    #[test]
    fn whoever_asked_before_a_change_or_before_another_who_asked_keeps_nothing() {
        for (change, after) in [
            (value(ONE, "a", "2"), some("2")),
            (DataChange::Session(ONE), None),
            (DataChange::Everything, None),
        ] {
            let cache = DataCache::default();
            let before = asking(&cache, ONE, "a");
            commit(&cache, [change.clone()]);
            cache.keep(ONE, &key("a"), before, Some("1"));
            assert_eq!(known(&cache, ONE, "a"), after, "{change:?}");
            let cache = DataCache::default();
            let meanwhile = asking(&cache, ONE, "a");
            let changing = cache.changing(vec![change.clone()]);
            cache.keep(ONE, &key("a"), meanwhile, Some("1"));
            drop(changing);
            assert_eq!(known(&cache, ONE, "a"), None, "{change:?}");
        }
        let cache = DataCache::default();
        let (first, second) = (asking(&cache, ONE, "a"), asking(&cache, ONE, "a"));
        cache.keep(ONE, &key("a"), first, Some("1"));
        assert!(matches!(cache.recall(ONE, &key("b")), Recalled::Unknown(Some(_))));
        cache.keep(ONE, &key("a"), second, Some("2"));
        assert_eq!(known(&cache, ONE, "a"), some("2"));
    }

    #[test]
    fn it_takes_no_more_than_its_room_and_keeps_what_is_used() {
        let room = SHARDS * 100_000;
        let cache = DataCache::new(room);
        let json = "x".repeat(1_000);
        commit(&cache, [value(ONE, "used", "1")]);
        for number in 0_u128..10_000 {
            commit(&cache, [value(SessionId::from_bytes((number << 8).to_be_bytes()), "a", &json)]);
            commit(&cache, [value(SessionId::from_bytes(((number << 8) + 1).to_be_bytes()), "a", &json)]);
            assert_eq!(known(&cache, ONE, "used"), some("1"));
        }
        let taken = |sessions: &Sessions| sessions.values().flatten().map(Value::bytes).sum::<usize>();
        for shard in cache.shards() {
            assert!(taken(&shard.recent) + taken(&shard.earlier) <= room / SHARDS);
            assert_eq!(taken(&shard.recent), shard.bytes);
        }
        assert!(taken(&cache.shard(ONE).earlier) > 0, "there was more than room for");
        // Nor does one session that asks for ever more, or one who reads all that was there before they write.
        for number in 0..20_000 {
            let key = format!("absent-{number}");
            let asked = asking(&cache, ONE, &key);
            cache.keep(ONE, &self::key(&key), asked, None);
        }
        for number in 0_u128..10_000 {
            for read in 0..number.min(200) {
                known(&cache, SessionId::from_bytes(((number - read) << 8).to_be_bytes()), "a");
            }
            commit(&cache, [value(SessionId::from_bytes((number << 8).to_be_bytes()), "a", &json)]);
        }
        for shard in cache.shards() {
            assert!(taken(&shard.recent) + taken(&shard.earlier) <= room / SHARDS);
            assert_eq!(taken(&shard.recent), shard.bytes);
        }
        // What is too large for it is not kept, and leaves nothing of what was there before.
        commit(&cache, [value(ONE, "used", &"x".repeat(100_000))]);
        assert_eq!(known(&cache, ONE, "used"), None);
    }
}
