//! What is known of users in memory: their names and groups.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use kerria_core::{LogNumber, Profile, UserId};

/// A bounded set of profiles. Those of users who have not been asked about for longest give way, half of them at a time.
pub(crate) struct Profiles {
    halves: RwLock<Halves>,
    /// How many one half holds.
    capacity: usize,
}

#[derive(Default)]
struct Halves {
    /// Whoever was asked about since the halves changed places.
    recent: HashMap<UserId, Arc<Kept>>,
    /// Whoever was asked about before.
    before: HashMap<UserId, Arc<Kept>>,
}

/// A profile in memory.
struct Kept {
    profile: Arc<Profile>,
    /// The number of the revocation log up to which it is known to be true.
    as_of: AtomicU64,
}

impl Profiles {
    /// Room for so many users.
    pub(crate) fn new(users: usize) -> Self {
        Self { halves: RwLock::default(), capacity: users.div_ceil(2).max(1) }
    }

    /// The profile of a user, if it is in memory, and `is_true` of one that is known to be true as of some number. If so,
    /// it is known to be true as of `head` from now on.
    pub(crate) fn get(
        &self,
        user: UserId,
        head: LogNumber,
        is_true: impl FnOnce(LogNumber) -> bool,
    ) -> Option<Arc<Profile>> {
        let (kept, is_recent) = {
            let halves = self.halves.read().unwrap_or_else(PoisonError::into_inner);
            match halves.recent.get(&user) {
                Some(kept) => (Arc::clone(kept), true),
                None => (Arc::clone(halves.before.get(&user)?), false),
            }
        };
        if !is_true(LogNumber(kept.as_of.load(Relaxed))) {
            return None;
        }
        kept.as_of.fetch_max(head.0, Relaxed);
        let profile = Arc::clone(&kept.profile);
        if !is_recent {
            self.put(user, kept);
        }
        Some(profile)
    }

    /// Keeps a profile that was read when the log had at least `as_of` entries.
    pub(crate) fn keep(&self, profile: &Arc<Profile>, as_of: LogNumber) {
        let kept = Kept { profile: Arc::clone(profile), as_of: AtomicU64::new(as_of.0) };
        self.put(profile.user, Arc::new(kept));
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        *self.halves.write().unwrap_or_else(PoisonError::into_inner) = Halves::default();
    }

    /// What is newer stays: of two that read the same user, the slower one may have read first.
    fn put(&self, user: UserId, kept: Arc<Kept>) {
        let mut halves = self.halves.write().unwrap_or_else(PoisonError::into_inner);
        let Halves { recent, before } = &mut *halves;
        let known = recent.get(&user).or_else(|| before.get(&user));
        let newer = known.filter(|known| known.as_of.load(Relaxed) > kept.as_of.load(Relaxed));
        let newest = newer.map_or(kept, Arc::clone);
        if recent.len() >= self.capacity && !recent.contains_key(&user) {
            *before = mem::take(recent);
        }
        recent.insert(user, newest);
    }
}

#[cfg(test)]
mod tests {
    use kerria_core::{Groups, UserName};

    use super::*;

    fn profile(number: u8, name: &str) -> Arc<Profile> {
        let name = Some(UserName::parse(name).unwrap());
        Arc::new(Profile { user: user(number), name, email: None, groups: Groups::default() })
    }

    fn user(number: u8) -> UserId {
        UserId::from_bytes([number; 16])
    }

    fn name_of(profiles: &Profiles, number: u8, as_of: u64) -> Option<String> {
        let found = profiles.get(user(number), LogNumber(as_of), |known| known.0 >= as_of);
        found.map(|profile| profile.display_name().to_owned())
    }

    #[test]
    fn what_may_be_out_of_date_is_not_told() {
        let profiles = Profiles::new(10);
        profiles.keep(&profile(1, "Alice"), LogNumber(7));
        assert_eq!(name_of(&profiles, 1, 7).as_deref(), Some("Alice"));
        assert_eq!(name_of(&profiles, 1, 8), None);
        assert_eq!(name_of(&profiles, 2, 0), None);
    }

    #[test]
    fn what_was_found_to_be_true_is_true_as_of_then() {
        let profiles = Profiles::new(10);
        profiles.keep(&profile(1, "Alice"), LogNumber(7));
        assert!(profiles.get(user(1), LogNumber(9), |_| true).is_some());
        assert_eq!(name_of(&profiles, 1, 9).as_deref(), Some("Alice"));
    }

    #[test]
    fn a_slow_reader_does_not_bring_back_what_was() {
        let profiles = Profiles::new(10);
        profiles.keep(&profile(1, "Alina"), LogNumber(8));
        profiles.keep(&profile(1, "Alice"), LogNumber(7));
        assert_eq!(name_of(&profiles, 1, 8).as_deref(), Some("Alina"));
    }

    #[test]
    fn who_is_asked_about_stays_when_others_give_way() {
        let profiles = Profiles::new(4);
        for number in 1..=100 {
            profiles.keep(&profile(number, "somebody"), LogNumber(1));
            profiles.keep(&profile(200, "Alice"), LogNumber(1));
            assert_eq!(name_of(&profiles, 200, 1).as_deref(), Some("Alice"));
        }
        let others = (1..=100).filter(|number| profiles.get(user(*number), LogNumber(1), |_| true).is_some());
        assert!((1..=3).contains(&others.count()), "there is room for four");
    }
}
