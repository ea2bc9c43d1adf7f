//! Messages that are shown once: on the page that comes next.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};

use super::{Session, SessionError};

/// Where the messages wait.
const KEY: &str = "kerria.flash";

impl Session {
    /// Leaves a message for whichever page [takes](Self::take_flashes) it. Of several that are left at once, none is lost; should
    /// more wait than fit into one value of a session, the oldest are dropped. A visitor gets a session with it.
    ///
    /// # Errors
    /// If the store fails, the session has ended, it is full, or the message alone is too large.
    pub async fn flash<T: Serialize + ?Sized>(&self, message: &T) -> Result<(), SessionError> {
        let message = to_raw_value(message)?;
        let room = self.sessions().data_limits().value_bytes as usize;
        let add = |waiting: Option<Vec<Box<RawValue>>>| {
            let mut waiting = waiting.unwrap_or_default();
            waiting.push(message.clone());
            while waiting.len() > 1 && bytes(&waiting) > room {
                waiting.remove(0);
            }
            waiting
        };
        self.update(KEY, add).await.map(drop)
    }

    /// Takes all messages that wait, the oldest first. Each is shown once: of several pages that ask at once, one gets them.
    ///
    /// # Errors
    /// If the store fails, or one of them is no `T`. Then all of them stay.
    pub async fn take_flashes<T: DeserializeOwned>(&self) -> Result<Vec<T>, SessionError> {
        Ok(self.take(KEY).await?.unwrap_or_default())
    }
}

/// What they take as a JSON array: each has a comma or the closing bracket behind it.
fn bytes(messages: &[Box<RawValue>]) -> usize {
    1 + messages.iter().map(|message| message.get().len() + 1).sum::<usize>()
}
