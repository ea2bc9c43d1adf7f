use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

use super::claims::AccessClaims;

const SHARDS: usize = 16;

/// The tokens whose signature was verified, by the SHA-256 of their text, so that one that comes again costs no second
/// verification. Says nothing about time or revocation.
///
/// Bounded by two halves: what comes in goes into the young one. When that is full, the old one is dropped and the young
/// one takes its place; what is used in the old one moves over. So what is used stays.
pub(super) struct Seen {
    shards: Box<[Mutex<Shard>]>,
    /// How many entries half a shard has.
    half: usize,
}

pub(super) type Fingerprint = [u8; 32];

/// A verified token, and the number of the keys by which it was.
#[derive(Clone)]
pub(super) struct Verified {
    pub(super) claims: Arc<AccessClaims>,
    pub(super) keys: u64,
}

#[derive(Default)]
struct Shard {
    young: HashMap<Fingerprint, Verified>,
    old: HashMap<Fingerprint, Verified>,
}

impl Seen {
    /// Room for about `entries`; none at all for 0.
    pub(super) fn new(entries: u32) -> Self {
        let shards = if entries == 0 { 0 } else { SHARDS };
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            half: (entries as usize).div_ceil(SHARDS * 2),
        }
    }

    pub(super) fn fingerprint(text: &[u8]) -> Fingerprint {
        Sha256::digest(text).into()
    }

    /// The token, if it was verified by these keys.
    pub(super) fn get(&self, text: &Fingerprint, keys: u64) -> Option<Arc<AccessClaims>> {
        let shard = &mut *self.shard(text)?.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(verified) = shard.young.get(text) {
            return (verified.keys == keys).then(|| Arc::clone(&verified.claims));
        }
        let verified = shard.old.remove(text).filter(|verified| verified.keys == keys)?;
        shard.insert(*text, verified.clone(), self.half);
        Some(verified.claims)
    }

    pub(super) fn insert(&self, text: Fingerprint, verified: Verified) {
        if let Some(shard) = self.shard(&text) {
            shard.lock().unwrap_or_else(PoisonError::into_inner).insert(text, verified, self.half);
        }
    }

    pub(super) fn remove(&self, text: &Fingerprint) {
        if let Some(shard) = self.shard(text) {
            let shard = &mut *shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.young.remove(text);
            shard.old.remove(text);
        }
    }

    pub(super) fn clear(&self) {
        for shard in &self.shards {
            *shard.lock().unwrap_or_else(PoisonError::into_inner) = Shard::default();
        }
    }

    pub(super) fn len(&self) -> usize {
        let count = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.young.len() + shard.old.len()
        };
        self.shards.iter().map(count).sum()
    }

    fn shard(&self, text: &Fingerprint) -> Option<&Mutex<Shard>> {
        self.shards.get(usize::from(text[0]) % SHARDS)
    }
}

impl Shard {
    fn insert(&mut self, text: Fingerprint, verified: Verified, half: usize) {
        if self.young.len() >= half {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(text, verified);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::testing::claims;

    fn verified(keys: u64) -> Verified {
        Verified { claims: Arc::new(AccessClaims::parse(claims().to_string().as_bytes()).unwrap()), keys }
    }

    fn number(number: u32) -> Fingerprint {
        Seen::fingerprint(&number.to_be_bytes())
    }

    #[test]
    fn it_stays_within_its_bounds_and_keeps_what_is_in_use() {
        let seen = Seen::new(1_000);
        for other in 1..10_000 {
            seen.insert(number(other), verified(0));
            if other == 1 || other % 10 == 0 {
                assert!(other == 1 || seen.get(&number(0), 0).is_some(), "{other}");
                seen.insert(number(0), verified(0));
            }
            assert!(seen.len() <= 1_024);
        }
        assert!(seen.len() > 500);
        assert!(seen.get(&number(9_999), 0).is_some());
        assert!(seen.get(&number(1), 0).is_none());
    }

    #[test]
    fn what_was_verified_by_other_keys_is_not_found() {
        let seen = Seen::new(10);
        seen.insert(number(1), verified(1));
        assert!(seen.get(&number(1), 2).is_none());
        assert!(seen.get(&number(1), 1).is_some());
        // In the old half, too.
        for other in 2..100 {
            seen.insert(number(other), verified(2));
            if !seen.shard(&number(1)).unwrap().lock().unwrap().young.contains_key(&number(1)) {
                break;
            }
        }
        assert!(seen.get(&number(1), 2).is_none());
        seen.insert(number(1), verified(1));
        seen.clear();
        assert!(seen.get(&number(1), 1).is_none());
    }
}
