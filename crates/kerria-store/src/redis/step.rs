//! A step: what it reads, what it decides, what it commits.
//!
//! A step reads all that it needs, of one instant; decides, in Rust; and commits with conditions, which are that what it has decided
//! on is still so. If one of them does not hold any more, nothing is changed, and the step begins again. In one process, steps about
//! the same thing wait for each other first, so that this happens only because of another process.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use kerria_core::{
    LogNumber, SessionId, Timestamp, TokenHash, UserId,
    store::{StoreError, Trouble},
};
use redis::{FromRedisValue, Value};
use serde::Serialize;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{sleep, timeout},
};

use super::{RedisSessions, connection::Link, errors::damaged, record::Kept, script::Script};
use crate::{
    observer::{Access, Began},
    sql::{DEADLINE, Result},
};

/// The longest pause before a step begins again.
const LONGEST_PAUSE: Duration = Duration::from_millis(32);

/// What a step asks, each with two arguments.
#[derive(Default)]
pub(super) struct Question(Vec<Vec<u8>>);

impl Question {
    fn and(mut self, kind: &str, what: &[u8], more: &[u8]) -> Self {
        self.0.extend([kind.as_bytes().to_vec(), what.to_vec(), more.to_vec()]);
        self
    }

    /// Sessions: this one, if it is there.
    pub(super) fn session(self, session: SessionId) -> Self {
        self.and("session", session.as_bytes(), b"")
    }

    /// Sessions: the one that this token carries, or has carried before its present one.
    pub(super) fn token(self, token: &TokenHash) -> Self {
        self.and("token", token.as_bytes(), b"")
    }

    /// Sessions: all of a user.
    pub(super) fn user(self, user: UserId) -> Self {
        self.and("user", user.as_bytes(), b"")
    }

    /// Sessions: some, in the order of their handles.
    pub(super) fn page(self, after: Option<SessionId>, limit: u32) -> Self {
        let after = after.as_ref().map_or(&[][..], |after| after.as_bytes());
        self.and("page", after, limit.to_string().as_bytes())
    }

    /// The data of a session: keys and values in turn.
    pub(super) fn data(self, session: SessionId) -> Self {
        self.and("data", session.as_bytes(), b"")
    }

    /// A reference token, if it is kept.
    pub(super) fn reference(self, token: &TokenHash) -> Self {
        self.and("reference", token.as_bytes(), b"")
    }

    /// What is under a key, if there is something.
    pub(super) fn key(self, key: &[u8]) -> Self {
        self.and("key", key, b"")
    }

    /// Some of the log.
    pub(super) fn log(self, after: LogNumber, limit: u32) -> Self {
        self.and("log", after.0.to_string().as_bytes(), limit.to_string().as_bytes())
    }
}

/// What a step has read.
pub(super) struct Reading {
    /// Everything that is not about this generation is over.
    generation: Vec<u8>,
    /// The last number of the log.
    pub(super) head: LogNumber,
    answers: std::vec::IntoIter<Value>,
}

impl Reading {
    fn new(answer: Value) -> Result<Self> {
        let mut answers = parsed::<Vec<Value>>(answer)?.into_iter();
        let mut next = || answers.next().ok_or_else(|| damaged("an answer is too short"));
        let (generation, head) = (parsed(next()?)?, parsed(next()?)?);
        Ok(Self { generation, head: LogNumber(head), answers })
    }

    /// What was answered next.
    pub(super) fn next<T: FromRedisValue>(&mut self) -> Result<T> {
        parsed(self.answers.next().ok_or_else(|| damaged("an answer is too short"))?)
    }

    /// The sessions that were answered next.
    pub(super) fn sessions(&mut self) -> Result<Vec<Kept>> {
        let rows: Vec<(Vec<u8>, Vec<u8>, Option<f64>)> = self.next()?;
        rows.into_iter()
            .map(|(id, record, seen)| {
                let id = id.try_into().map_err(|_| damaged("a session has no handle of 16 bytes"))?;
                let seen = seen.ok_or_else(|| damaged("a session was never seen"))?;
                #[expect(clippy::cast_possible_truncation, reason = "a whole number of milliseconds")]
                let seen = Timestamp::from_millis(seen as i64);
                Kept::read(SessionId::from_bytes(id), &record, seen)
            })
            .collect()
    }

    /// The session that was answered next, if there is one.
    pub(super) fn session(&mut self) -> Result<Option<Kept>> {
        Ok(self.sessions()?.pop())
    }

    /// A commit of what is decided on this.
    pub(super) fn commit(&self) -> Commit {
        Commit { generation: self.generation.clone(), ..Commit::default() }
    }
}

/// What a step commits.
#[derive(Default)]
pub(super) struct Commit {
    /// Nothing, if any will do.
    generation: Vec<u8>,
    conditions: Vec<Vec<Vec<u8>>>,
    orders: Vec<Vec<Vec<u8>>>,
}

/// What came of a commit.
pub(super) struct Committed {
    /// The last number of the log.
    pub(super) head: LogNumber,
    /// How many sessions were ended, or other things removed.
    pub(super) removed: u64,
    /// Whose the last one of them was.
    pub(super) user: Option<UserId>,
    /// Whether something was written to the log.
    pub(super) logged: bool,
}

impl Commit {
    /// A key of what is over when everyone's sessions are ended.
    pub(super) fn key(&self, kind: &str, name: &[u8]) -> Vec<u8> {
        [b"{kerria}:", self.generation.as_slice(), b":", kind.as_bytes(), name].concat()
    }

    /// Only if this command still answers `expected`.
    pub(super) fn only_if(&mut self, expected: Option<&[u8]>, command: &[&[u8]]) {
        let expected = expected.map_or_else(|| b"-".to_vec(), |expected| [b"=", expected].concat());
        let words = std::iter::once(expected).chain(command.iter().map(|word| word.to_vec()));
        self.conditions.push(words.collect());
    }

    /// Only if there is nothing under this key.
    pub(super) fn only_if_free(&mut self, key: &[u8]) {
        self.only_if(Some(b"0"), &[b"EXISTS", key]);
    }

    /// Only if this is still all that is kept of a session.
    pub(super) fn only_if_unchanged(&mut self, kept: &Kept) -> Result<()> {
        let key = self.key("s:", kept.session.id.as_bytes());
        self.only_if(Some(&kept.record()?), &[b"GET", &key]);
        Ok(())
    }

    /// Then do this: a command, or one of the orders of the script.
    pub(super) fn order(&mut self, words: &[&[u8]]) {
        self.orders.push(words.iter().map(|word| word.to_vec()).collect());
    }

    /// A key is set.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) {
        self.order(&[b"SET", key, value]);
    }

    /// The record of a session is written anew.
    pub(super) fn write(&mut self, kept: &Kept) -> Result<()> {
        let key = self.key("s:", kept.session.id.as_bytes());
        self.set(&key, &kept.record()?);
        Ok(())
    }

    /// A session was used then.
    pub(super) fn touch(&mut self, session: SessionId, at: Timestamp) {
        self.order(&[b"touch", session.as_bytes(), &digits(at)]);
    }

    pub(super) fn words(&self) -> Vec<Vec<u8>> {
        let mut words = vec![self.generation.clone()];
        for list in [&self.conditions, &self.orders] {
            words.push(list.len().to_string().into_bytes());
            for one in list {
                words.push(one.len().to_string().into_bytes());
                words.extend(one.iter().cloned());
            }
        }
        words
    }
}

/// An instant as it is written.
pub(super) fn digits(at: Timestamp) -> Vec<u8> {
    at.as_millis().to_string().into_bytes()
}

/// JSON as it is kept.
pub(super) fn written(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| StoreError::new(Trouble::Failed, error))
}

/// An answer of a script.
pub(super) fn parsed<T: FromRedisValue>(answer: Value) -> Result<T> {
    redis::from_redis_value(answer).map_err(damaged)
}

impl RedisSessions {
    /// Asks one question, outside of a step.
    pub(super) async fn ask(&self, question: Question) -> Result<Reading> {
        let began = Began::now();
        let reading = in_time(self.read(question)).await;
        self.observer.answered(Access::Read, began.elapsed());
        reading
    }

    pub(super) async fn read(&self, question: Question) -> Result<Reading> {
        let words: Vec<&[u8]> = question.0.iter().map(Vec::as_slice).collect();
        Reading::new(self.link.read(Script::Read, &words).await?)
    }

    /// Commits. `None` if a condition does not hold any more.
    pub(super) async fn commit(&self, commit: &Commit) -> Result<Option<Committed>> {
        let committed = commit_on(&self.link, commit).await?;
        if committed.as_ref().is_some_and(|committed| committed.logged) {
            self.feed.wake();
        }
        Ok(committed)
    }

    /// Commits what nothing has to hold for.
    pub(super) async fn commit_always(&self, commit: &Commit) -> Result<Committed> {
        in_time(self.commit(commit)).await?.ok_or_else(|| Trouble::Failed.into())
    }

    /// Takes a step until nobody is in its way, and says how long it took. What is about the same `roots` waits meanwhile.
    pub(super) async fn step<T, Taken>(&self, roots: &[&[u8]], step: impl Fn() -> Taken) -> Result<T>
    where
        Taken: Future<Output = Result<Option<T>>>,
    {
        let began = Began::now();
        let taking = async {
            let _held = self.locks.hold(roots).await;
            let mut pause = Duration::from_millis(1);
            loop {
                if let Some(done) = step().await? {
                    return Ok(done);
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        };
        let done = in_time(taking).await;
        self.observer.answered(Access::Write, began.elapsed());
        done
    }

    /// Waits until nobody accepts any more what was logged with this commit.
    pub(super) async fn acknowledge(&self, committed: &Committed) {
        if committed.logged {
            self.feed.acknowledged(committed.head).await;
        }
    }
}

/// Commits. `None` if a condition does not hold any more.
pub(super) async fn commit_on(link: &Link, commit: &Commit) -> Result<Option<Committed>> {
    let words = commit.words();
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    committed(link.write(Script::Commit, &words).await?)
}

/// What the script says came of a commit.
pub(super) fn committed(answer: Value) -> Result<Option<Committed>> {
    let mut answers = parsed::<Vec<Value>>(answer)?.into_iter();
    let mut next = || answers.next().ok_or_else(|| damaged("an answer is too short"));
    if !parsed::<bool>(next()?)? {
        return Ok(None);
    }
    let (head, removed) = (parsed(next()?)?, parsed(next()?)?);
    let user: Vec<u8> = parsed(next()?)?;
    Ok(Some(Committed {
        head: LogNumber(head),
        removed,
        user: user.try_into().ok().map(UserId::from_bytes),
        logged: parsed(next()?)?,
    }))
}

/// The answer, if it comes in time.
pub(super) async fn in_time<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(DEADLINE, answer)
        .await
        .unwrap_or_else(|elapsed| Err(StoreError::new(Trouble::Unavailable, elapsed)))
}

/// Lets steps of this process that are about the same thing wait for each other.
pub(super) struct Locks {
    locks: [Mutex<()>; 64],
    hasher: RandomState,
}

impl Locks {
    pub(super) fn new() -> Self {
        Self { locks: std::array::from_fn(|_| Mutex::new(())), hasher: RandomState::new() }
    }

    /// Waits until nobody else in this process is at work on the same `roots`.
    pub(super) async fn hold(&self, roots: &[&[u8]]) -> Vec<MutexGuard<'_, ()>> {
        #[expect(clippy::cast_possible_truncation, reason = "any of the bits will do")]
        let at = |root: &&[u8]| self.hasher.hash_one(root) as usize % self.locks.len();
        let mut places: Vec<usize> = roots.iter().map(at).collect();
        // In one order, so that nobody waits for somebody who waits for them.
        places.sort_unstable();
        places.dedup();
        let mut held = Vec::with_capacity(places.len());
        for place in places {
            held.push(self.locks[place].lock().await);
        }
        held
    }
}
