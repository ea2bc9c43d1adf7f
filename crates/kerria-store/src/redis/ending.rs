//! Ending sessions: they are removed from wherever they are kept, and the log says so.

use kerria_core::{Cause, LogEvent, Selector, SessionId, Timestamp, store::Wait};

use super::{
    Ended, RedisSessions, log,
    step::{Commit, Question, digits},
};
use crate::sql::Result;

/// Sessions of a client that are ended in one step.
const AT_ONCE: u64 = 1_000;

/// Orders what ends the sessions that `selector` selects. With `before` it is done again, of what was opened until then. If there was
/// nothing, nothing is written to the log, unless there may be tokens that nobody keeps.
pub(super) fn order(
    commit: &mut Commit,
    selector: Selector,
    cause: Cause,
    now: Timestamp,
    before: Option<Timestamp>,
) -> Result<()> {
    let again = before.is_some();
    let before = before.map_or_else(Vec::new, digits);
    let ended = LogEvent::Ended { cause };
    match selector {
        Selector::Session { session } => {
            commit.order(&[b"end_session", session.as_bytes()]);
            commit.log_if_ended(selector, cause, now)
        }
        Selector::User { user } => {
            commit.order(&[b"end_user", user.as_bytes(), b"", &before]);
            commit.log_if_ended(selector, cause, now)
        }
        Selector::UserExcept { user, except } => {
            commit.order(&[b"end_user", user.as_bytes(), except.as_bytes(), &before]);
            commit.log_if_ended(selector, cause, now)
        }
        Selector::Token { token } => {
            commit.order(&[b"end_token", token.to_string().as_bytes()]);
            log_end(commit, selector, cause, now, again)
        }
        // Others may have been issued tokens in a session of the client (RFC 8693), which do not say for which client their
        // session was opened.
        Selector::Client { client } => {
            let of_one = log::entry_of_any_session(ended, now)?;
            let client = client.as_str().as_bytes();
            commit.order(&[b"end_client", client, &before, &digits(now), &of_one, b""]);
            log_end(commit, selector, cause, now, again)
        }
        Selector::Everyone => {
            commit.order(&[b"end_everyone", &before]);
            log_end(commit, selector, cause, now, again)
        }
    }
}

/// There may be access tokens that no store knows, so it is always written; but not again: those from before a new life of the log
/// are believed by nobody, and what was issued since must not end with them.
fn log_end(commit: &mut Commit, selector: Selector, cause: Cause, now: Timestamp, again: bool) -> Result<()> {
    if again {
        commit.log_if_ended(selector, cause, now)
    } else {
        commit.log(selector, LogEvent::Ended { cause }, now)
    }
}

impl RedisSessions {
    /// Ends what `selector` selects. Answers when that is committed, and acknowledged.
    pub(crate) async fn end(&self, selector: Selector, cause: Cause, now: Timestamp) -> Result<Ended> {
        self.end_and_wait(selector, cause, now, Wait::Checkers).await
    }

    /// The same, but that it waits for whom `wait` says.
    pub(crate) async fn end_and_wait(
        &self,
        selector: Selector,
        cause: Cause,
        now: Timestamp,
        wait: Wait,
    ) -> Result<Ended> {
        let most = self.end_most_of_client(selector, cause, now).await?;
        let mut commit = Commit::default();
        order(&mut commit, selector, cause, now, None)?;
        let committed = self.step(&[], || self.commit(&commit)).await?;
        if matches!(selector, Selector::Everyone) {
            self.leftovers.notify_one();
        }
        // What had ended before is answered when that is true everywhere: whoever has ended it may be waiting still.
        let acknowledged = self.feed.waited(committed.head, wait).await;
        let is_one = matches!(selector, Selector::Session { .. });
        Ok(Ended {
            sessions: most + committed.removed,
            number: committed.head,
            user: committed.user.filter(|_| is_one),
            logged: committed.logged,
            acknowledged,
        })
    }

    /// Ends the sessions of a client but for the last ones, some at a time: there may be very many, and the server does nothing else
    /// during a step. Each has an entry of its own anyway.
    pub(super) async fn end_most_of_client(
        &self,
        selector: Selector,
        cause: Cause,
        now: Timestamp,
    ) -> Result<u64> {
        let Selector::Client { client } = selector else { return Ok(0) };
        let of_one = log::entry_of_any_session(LogEvent::Ended { cause }, now)?;
        let (client, limit) = (client.as_str().as_bytes(), AT_ONCE.to_string());
        let mut commit = Commit::default();
        commit.order(&[b"end_client", client, b"", &digits(now), &of_one, limit.as_bytes()]);
        let mut ended = 0;
        loop {
            let removed = self.commit_always(&commit).await?.removed;
            ended += removed;
            if removed < AT_ONCE {
                return Ok(ended);
            }
        }
    }

    /// Ends one session within a step, which has read it.
    pub(super) fn end_one(
        commit: &mut Commit,
        session: SessionId,
        cause: Cause,
        now: Timestamp,
    ) -> Result<()> {
        commit.order(&[b"end_session", session.as_bytes()]);
        commit.log(Selector::Session { session }, LogEvent::Ended { cause }, now)
    }

    /// Waits until nobody accepts any more what had ended before.
    pub(crate) async fn until_acknowledged(&self) -> Result<()> {
        let head = self.ask(Question::default()).await?.head;
        self.feed.acknowledged(head).await;
        Ok(())
    }
}
