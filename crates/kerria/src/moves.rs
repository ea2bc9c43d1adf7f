//! Sessions that turn up in another place: noted once for each session and place, for somebody to tell.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use kerria_core::{Device, Place, SessionId, Timestamp, UserId};
use tokio::sync::Notify;

/// How many changes are remembered as told. One that was forgotten is told once more.
const TOLD: usize = 16_384;

/// How many changes wait to be told. One more is told when the session is used from there again.
const WAITING: usize = 1_024;

/// A session was used from another place than the one that it was opened from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// When.
    pub at: Timestamp,
    /// Which session.
    pub session: SessionId,
    /// Whose.
    pub user: Option<UserId>,
    /// From where it was used.
    pub device: Device,
    /// Whether the request was refused.
    pub refused: bool,
}

/// The moves that are to be told, and those that were.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    memory: Mutex<Memory>,
    noted: Notify,
}

#[derive(Debug, Default)]
struct Memory {
    told: HashSet<(SessionId, Place)>,
    /// The same, the oldest first.
    order: VecDeque<(SessionId, Place)>,
    waiting: Vec<Move>,
}

impl Moves {
    /// Notes a move, unless this session was noted in this place before, and says whether it was new.
    pub(crate) fn note(&self, place: Place, moved: impl FnOnce() -> Move, session: SessionId) -> bool {
        let mut memory = self.lock();
        if memory.told.contains(&(session, place)) || memory.waiting.len() >= WAITING {
            return false;
        }
        memory.remember((session, place));
        memory.waiting.push(moved());
        drop(memory);
        self.noted.notify_one();
        true
    }

    /// The moves that wait to be told. From now on they count as told.
    pub(crate) fn take(&self) -> Vec<Move> {
        std::mem::take(&mut self.lock().waiting)
    }

    /// The same, as soon as there is one.
    pub(crate) async fn next(&self) -> Vec<Move> {
        loop {
            let moves = self.take();
            if !moves.is_empty() {
                return moves;
            }
            self.noted.notified().await;
        }
    }

    /// A move could not be told: it is noted again when the session is next used from there.
    pub(crate) fn forget(&self, moved: &Move) {
        let key = (moved.session, moved.device.place());
        let mut memory = self.lock();
        memory.told.remove(&key);
        memory.order.retain(|told| *told != key);
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn remember(&mut self, key: (SessionId, Place)) {
        if self.order.len() >= TOLD
            && let Some(oldest) = self.order.pop_front()
        {
            self.told.remove(&oldest);
        }
        self.told.insert(key);
        self.order.push_back(key);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn note(moves: &Moves, session: u8, address: u32) -> bool {
        let device = Device::new("curl/8.5.0", IpAddr::V4(Ipv4Addr::from_bits(address)));
        let session = SessionId::from_bytes([session; 16]);
        let place = device.place();
        let moved = Move { at: Timestamp::EPOCH, session, user: None, device, refused: false };
        moves.note(place, || moved, session)
    }

    #[test]
    fn a_move_is_told_once_for_each_session_and_place() {
        let moves = Moves::default();
        assert!(note(&moves, 1, 1) && note(&moves, 1, 2) && note(&moves, 2, 1));
        assert!(!note(&moves, 1, 1) && !note(&moves, 2, 1));
        assert_eq!(moves.take().len(), 3);
        assert!(!note(&moves, 1, 1));
        assert!(moves.take().is_empty());
    }

    #[test]
    fn a_move_that_could_not_be_told_is_noted_again() {
        let moves = Moves::default();
        note(&moves, 1, 1);
        moves.forget(&moves.take()[0]);
        assert!(note(&moves, 1, 1));
    }

    #[test]
    fn what_is_remembered_and_what_waits_is_bounded() {
        let moves = Moves::default();
        for address in 0..40_000 {
            note(&moves, 1, address);
            if address % 1_000 == 0 {
                moves.take();
            }
        }
        assert!(moves.lock().told.len() <= TOLD && moves.lock().order.len() <= TOLD);
        for address in 40_000..50_000 {
            note(&moves, 1, address);
        }
        assert_eq!(moves.take().len(), WAITING);
    }
}
