//! The revocation log.

use kerria_core::{Cause, LogEntry, LogEvent, LogNumber, Selector, Timestamp, store::LogPage};
use redis::Value;
use serde::{Deserialize, Serialize};

use super::{
    RedisSessions,
    errors::damaged,
    record::json,
    step::{Commit, Question, digits, parsed, written},
};
use crate::sql::Result;

/// An entry as it is kept under its number.
#[derive(Serialize, Deserialize)]
struct Entry {
    at: Timestamp,
    selector: Selector,
    event: LogEvent,
}

/// What an entry about this says, without its number.
pub(super) fn entry(selector: Selector, event: LogEvent, at: Timestamp) -> Result<Vec<u8>> {
    written(&Entry { at, selector, event })
}

impl Commit {
    /// Writes an entry to the log, with the next number.
    pub(super) fn log(&mut self, selector: Selector, event: LogEvent, at: Timestamp) -> Result<()> {
        self.order(&[b"log", &digits(at), &entry(selector, event, at)?]);
        Ok(())
    }

    /// The same, if a session was ended before in this commit.
    pub(super) fn log_if_ended(&mut self, selector: Selector, cause: Cause, at: Timestamp) -> Result<()> {
        let entry = entry(selector, LogEvent::Ended { cause }, at)?;
        self.order(&[b"log_if_ended", &digits(at), &entry]);
        Ok(())
    }
}

impl RedisSessions {
    /// Up to `limit` entries of the log after `number`.
    pub(crate) async fn log_after(&self, number: LogNumber, limit: u32) -> Result<LogPage> {
        let mut reading = self.ask(Question::default().log(number, limit)).await?;
        page(number, reading.next()?)
    }

    /// Removes up to `limit` entries from before `before`, from the oldest on, and returns how many.
    pub(crate) async fn trim_log(&self, before: Timestamp, limit: u32) -> Result<u64> {
        let mut commit = Commit::default();
        commit.order(&[b"trim_log", &digits(before), limit.to_string().as_bytes()]);
        self.commit_always(&commit).await.map(|committed| committed.removed)
    }
}

/// The stretch of the log after `number`, from the head, the last number that was removed, and numbers and entries in turn.
pub(super) fn page(number: LogNumber, answer: Vec<Value>) -> Result<LogPage> {
    let mut answers = answer.into_iter();
    let mut next = || answers.next().map(parsed::<u64>).transpose();
    let (Some(head), Some(removed)) = (next()?, next()?) else {
        return Err(damaged("the log has no last number"));
    };
    // A number that was never given is from another life.
    if number.0 < removed || number.0 > head {
        return Ok(LogPage::StartOver { head: LogNumber(head) });
    }
    let mut entries = Vec::new();
    while let (Some(number), Some(entry)) = (answers.next(), answers.next()) {
        let Entry { at, selector, event } = json(&parsed::<Vec<u8>>(entry)?)?;
        entries.push(LogEntry { number: LogNumber(parsed(number)?), at, selector, event });
    }
    Ok(LogPage::Entries(entries))
}

/// What an entry about one session says, whichever: `@` stands for its handle.
pub(super) fn entry_of_any_session(event: LogEvent, at: Timestamp) -> Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Template {
        at: Timestamp,
        selector: AnySession,
        event: LogEvent,
    }
    #[derive(Serialize)]
    #[serde(tag = "kind", rename = "session")]
    struct AnySession {
        session: &'static str,
    }
    written(&Template { at, selector: AnySession { session: "@" }, event })
}

#[cfg(test)]
mod tests {
    use kerria_core::SessionId;

    use super::*;

    #[test]
    fn an_entry_about_any_session_is_one_about_a_session_with_its_handle_filled_in() {
        let (at, event) = (Timestamp::from_millis(7), LogEvent::Ended { cause: Cause::Operator });
        let session = SessionId::from_bytes([7; 16]);
        let filled = String::from_utf8(entry_of_any_session(event, at).unwrap()).unwrap();
        let filled = filled.replace('@', &session.to_string());
        assert_eq!(filled.into_bytes(), entry(Selector::Session { session }, event, at).unwrap());
    }
}
