//! The counters that slow down those who guess.

use async_trait::async_trait;
use kerria_core::{
    StoreError, Timestamp,
    store::Doors,
    throttle::{Admission, Door, DoorState, admit},
};

use super::{
    RedisSessions,
    errors::damaged,
    step::{Commit, Question, digits},
};
use crate::sql::Result;

/// When which door has nothing to remember any more.
const FORGET: &[u8] = b"{kerria}:doors";

#[async_trait]
impl Doors for RedisSessions {
    async fn knock(&self, doors: Vec<Door>, now: Timestamp) -> Result<Admission, StoreError> {
        self.step(&names(&doors), || async {
            let (states, mut commit) = self.states(&doors).await?;
            let admission = admit(doors.iter().map(|door| &door.rule).zip(states.iter().copied()), now);
            if admission != Admission::Admitted {
                return Ok(Some(admission));
            }
            for (door, state) in doors.iter().zip(states) {
                commit.set(&key(door), &text(state.at(&door.rule, now).with_attempt(now)));
                let forget_at = digits(now + door.rule.forget_after);
                commit.order(&[b"ZADD", FORGET, &forget_at, door.name.as_bytes()]);
            }
            Ok(self.commit(&commit).await?.map(|_| admission))
        })
        .await
    }

    async fn take_back(&self, doors: Vec<Door>) -> Result<(), StoreError> {
        self.step(&names(&doors), || async {
            let (states, mut commit) = self.states(&doors).await?;
            for (door, state) in doors.iter().zip(states) {
                if state.last_attempt.is_some() {
                    commit.set(&key(door), &text(state.with_attempt_taken_back()));
                }
            }
            Ok(self.commit(&commit).await?.map(drop))
        })
        .await
    }

    async fn reset(&self, doors: Vec<Door>) -> Result<(), StoreError> {
        let mut commit = Commit::default();
        for door in &doors {
            commit.order(&[b"UNLINK", &key(door)]);
            commit.order(&[b"ZREM", FORGET, door.name.as_bytes()]);
        }
        self.step(&names(&doors), || async { Ok(self.commit(&commit).await?.map(drop)) }).await
    }

    /// Sweeps its doors only.
    async fn sweep_doors(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let mut commit = Commit::default();
        commit.order(&[b"sweep_doors", &digits(now), limit.to_string().as_bytes()]);
        self.commit_always(&commit).await.map(|committed| committed.removed)
    }
}

impl RedisSessions {
    /// What is known of each door, and a commit that holds only if that is still so.
    async fn states(&self, doors: &[Door]) -> Result<(Vec<DoorState>, Commit)> {
        let question = doors.iter().fold(Question::default(), |question, door| question.key(&key(door)));
        let mut reading = self.read(question).await?;
        let mut commit = Commit::default();
        let mut states = Vec::with_capacity(doors.len());
        for door in doors {
            let held = reading.next::<Vec<Vec<u8>>>()?.pop();
            commit.only_if(held.as_deref(), &[b"GET", &key(door)]);
            states.push(held.as_deref().map_or(Ok(DoorState::default()), state)?);
        }
        Ok((states, commit))
    }
}

fn names(doors: &[Door]) -> Vec<&[u8]> {
    doors.iter().map(|door| door.name.as_bytes()).collect()
}

fn key(door: &Door) -> Vec<u8> {
    [b"{kerria}:door:", door.name.as_bytes()].concat()
}

/// A state as it is kept: the failures, and when the last attempt was.
fn text(state: DoorState) -> Vec<u8> {
    let last_attempt = state.last_attempt.unwrap_or(Timestamp::EPOCH).as_millis();
    format!("{} {last_attempt}", state.failures).into_bytes()
}

fn state(text: &[u8]) -> Result<DoorState> {
    let parts = std::str::from_utf8(text).ok().and_then(|text| text.split_once(' '));
    let read = parts.and_then(|(failures, at)| {
        let last_attempt = Some(Timestamp::from_millis(at.parse().ok()?));
        Some(DoorState { failures: failures.parse().ok()?, last_attempt })
    });
    read.ok_or_else(|| damaged("the state of a door cannot be read"))
}
