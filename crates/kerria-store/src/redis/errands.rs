//! Errands of the directory, each of which is done once.

use kerria_core::{LogEvent, Selector, store::Renew};

use super::{
    Done, RedisSessions, ending,
    sessions::give_new_token,
    step::{Committed, Question},
};
use crate::{
    errand::{Errand, Order},
    sql::Result,
};

/// For how long it is noted that an errand was done, in seconds. The directory asks again within moments, or not for as long as
/// neither of the two can be reached; then, what was done before is done once more, and what was opened since ends with it.
const NOTED: &[u8] = b"86400";

impl RedisSessions {
    /// Does what an errand asks for, unless that was done before. Answers when it is acknowledged.
    pub(crate) async fn run(&self, errand: &Errand) -> Result<Done> {
        let most = match errand.what {
            Order::End { selector, cause, .. } => self.end_most_of_client(selector, cause, errand.at).await?,
            Order::Changed { .. } => 0,
        };
        let (mut done, committed) = self.step(&[], || self.try_to_run(errand)).await?;
        done.ended += most;
        match committed {
            Some(committed) => {
                self.acknowledge(&committed).await;
                if matches!(errand.what, Order::End { selector: Selector::Everyone, .. }) {
                    self.leftovers.notify_one();
                }
            }
            // Whoever has done it may be waiting still.
            None => self.until_acknowledged().await?,
        }
        Ok(done)
    }

    async fn try_to_run(&self, errand: &Errand) -> Result<Option<(Done, Option<Committed>)>> {
        let noted = format!("{{kerria}}:done:{}:{}", errand.id, errand.at.as_millis()).into_bytes();
        let keep = match errand.what {
            Order::End { keep, .. } => keep,
            Order::Changed { .. } => None,
        };
        let mut question = Question::default().key(&noted);
        if let Some((session, _)) = keep {
            question = question.session(session);
        }
        let mut reading = self.read(question).await?;
        let before = reading.next::<Vec<String>>()?.pop();
        let kept = if keep.is_some() { reading.session()? } else { None };
        if let Some(ended) = before {
            let ended = ended.parse().unwrap_or(0);
            let kept = kept.filter(|kept| keep.is_some_and(|(_, token)| kept.token == token));
            return Ok(Some((Done { ended, kept: kept.map(|kept| kept.found(reading.head)) }, None)));
        }
        let mut commit = reading.commit();
        commit.only_if_free(&noted);
        match errand.what {
            Order::End { selector, cause, .. } => {
                ending::order(&mut commit, selector, cause, errand.at, None)?;
            }
            Order::Changed { user } => {
                commit.log(Selector::User { user }, LogEvent::Changed, errand.at)?;
            }
        }
        commit.order(&[b"mark", &noted, NOTED]);
        let kept = match (kept, keep) {
            (Some(mut kept), Some((_, token))) => {
                give_new_token(&mut commit, &mut kept, &token, Renew::Proved, errand.at)?;
                Some(kept)
            }
            _ => None,
        };
        Ok(self.commit(&commit).await?.map(|committed| {
            let kept = kept.map(|kept| kept.found(committed.head));
            (Done { ended: committed.removed, kept }, Some(committed))
        }))
    }
}
