//! The latest ends that this process has applied, so that it can do them again.
//!
//! A replica that is promoted may not have heard of the last ends that the primary has acknowledged, and a server that has crashed may
//! come back with an older file. Then sessions are back that were ended. Whoever has applied an end, and that is every process that could have accepted the session, remembers it for a
//! while, and ends the same once more on a server that has begun another life, before it asks that server for anything.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kerria_core::{LogEntry, LogEvent, LogNumber, Moment, store::Follower};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::{
    connection::Line,
    ending,
    errors::store_error,
    ledger,
    script::Script,
    step::{Commit, committed},
};
use crate::{feed::moment, sql::Result};

/// For how long an end is remembered, and how many are.
const REMEMBERED: Duration = Duration::from_secs(3_600);
const AT_MOST: usize = 4_096;

/// For how long it is noted on a server that an end was done again, in seconds.
const NOTED: &[u8] = b"3600";

/// The latest ends, and the life of the log that they belong to.
#[derive(Default)]
pub(super) struct Memory {
    state: Mutex<State>,
    /// Something may have been lost.
    pub(super) lost: Notify,
}

#[derive(Default)]
struct State {
    ends: VecDeque<(Moment, LogEntry)>,
    life: Option<String>,
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the latest ends again, if the server at the other end of this line is in another life than the last one was. Returns the life
    /// that it is in.
    pub(super) async fn see_to_it(&self, line: &Line) -> Result<String> {
        let life = ledger::life(line).await?;
        let ends: Vec<LogEntry> = {
            let state = self.state();
            match &state.life {
                Some(known) if *known != life => state.ends.iter().map(|(_, entry)| *entry).collect(),
                _ => Vec::new(),
            }
        };
        if !ends.is_empty() {
            warn!(
                "the session store has lost its memory, or is another one: the latest {} ends are done again",
                ends.len()
            );
        }
        let mut ended = 0;
        for entry in &ends {
            ended += again(line, &life, entry).await?;
        }
        if ended > 0 {
            info!("{ended} sessions that had come back were ended again");
        }
        self.state().life = Some(life.clone());
        Ok(life)
    }
}

/// Ends once more what this entry has ended, of what was there before it. Once in a life, whoever does it.
async fn again(line: &Line, life: &str, entry: &LogEntry) -> Result<u64> {
    let LogEntry { number: LogNumber(number), at, selector, event } = *entry;
    let LogEvent::Ended { cause } = event else { return Ok(0) };
    let noted = format!("{{kerria}}:again:{life}:{number}").into_bytes();
    let mut commit = Commit::default();
    commit.only_if_free(&noted);
    ending::order(&mut commit, selector, cause, at, Some(at))?;
    commit.order(&[b"mark", &noted, NOTED]);
    let words = commit.words();
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let answer = line.run(Script::Commit, &words).await.map_err(store_error)?;
    // Nothing, if somebody else was first.
    Ok(committed(answer)?.map_or(0, |committed| committed.removed))
}

impl Follower for Memory {
    fn apply(&self, entries: &[LogEntry]) {
        let now = moment();
        let mut state = self.state();
        let ends = entries.iter().filter(|entry| matches!(entry.event, LogEvent::Ended { .. }));
        state.ends.extend(ends.map(|entry| (now, *entry)));
        let superfluous = state.ends.len().saturating_sub(AT_MOST);
        state.ends.drain(..superfluous);
        while state.ends.front().is_some_and(|(at, _)| *at + REMEMBERED < now) {
            state.ends.pop_front();
        }
    }

    fn start_over(&self, _: LogNumber) {
        self.lost.notify_one();
    }
}
