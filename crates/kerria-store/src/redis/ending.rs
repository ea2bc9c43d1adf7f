//! Ending sessions: they are removed from wherever they are kept, and the log says so.

use kerria_core::{Cause, LogEvent, Selector, SessionId, Timestamp};

use super::{
    Ended, RedisSessions, log,
    step::{Commit, Question, digits},
};
use crate::sql::Result;

/// Orders what ends the sessions that `selector` selects, of those that were opened until `before`, if that is given. If there was
/// nothing, nothing is written to the log, unless there may be tokens that nobody keeps.
pub(super) fn order(
    commit: &mut Commit,
    selector: Selector,
    cause: Cause,
    now: Timestamp,
    before: Option<Timestamp>,
) -> Result<()> {
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
            commit.log(selector, ended, now)
        }
        // Others may have been issued tokens in a session of the client (RFC 8693), which do not say for which client their
        // session was opened.
        Selector::Client { client } => {
            let of_one = log::entry_of_any_session(ended, now)?;
            let client = client.as_str().as_bytes();
            commit.order(&[b"end_client", client, &before, &digits(now), &of_one]);
            commit.log(selector, ended, now)
        }
        Selector::Everyone => {
            commit.order(&[b"end_everyone", &before]);
            commit.log(selector, ended, now)
        }
    }
}

impl RedisSessions {
    /// Ends what `selector` selects. Answers when that is committed, and acknowledged.
    pub(crate) async fn end(&self, selector: Selector, cause: Cause, now: Timestamp) -> Result<Ended> {
        let mut commit = Commit::default();
        order(&mut commit, selector, cause, now, None)?;
        let committed = self.step(&[], || self.commit(&commit)).await?;
        if matches!(selector, Selector::Everyone) {
            self.leftovers.notify_one();
        }
        // What had ended before is answered when that is true everywhere: whoever has ended it may be waiting still.
        self.feed.acknowledged(committed.head).await;
        let is_one = matches!(selector, Selector::Session { .. });
        Ok(Ended {
            sessions: committed.removed,
            number: committed.head,
            user: committed.user.filter(|_| is_one),
            logged: committed.logged,
        })
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
