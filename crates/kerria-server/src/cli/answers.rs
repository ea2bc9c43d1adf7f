//! What the operator's API answers.

use anyhow::Context;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

#[derive(Deserialize)]
pub(super) struct Users {
    pub(super) users: Vec<User>,
    pub(super) next: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct User {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) email: Option<String>,
    pub(super) groups: Vec<String>,
    pub(super) status: String,
    pub(super) created_at: String,
    pub(super) last_sign_in_at: Option<String>,
}

impl User {
    /// What to call the user.
    pub(super) fn called(&self) -> &str {
        self.name.as_deref().or(self.email.as_deref()).unwrap_or(&self.id)
    }
}

#[derive(Deserialize)]
pub(super) struct Sessions {
    pub(super) sessions: Vec<Session>,
    #[serde(default)]
    pub(super) next: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Session {
    pub(super) handle: String,
    pub(super) user: Option<UserInShort>,
    pub(super) opened_at: String,
    pub(super) last_seen_at: String,
    pub(super) expires_at: String,
    pub(super) device: String,
    pub(super) address: String,
}

#[derive(Deserialize)]
pub(super) struct UserInShort {
    pub(super) name: String,
}

#[derive(Deserialize)]
pub(super) struct Clients {
    pub(super) clients: Vec<Client>,
}

#[derive(Deserialize)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) authentication: String,
    pub(super) grants: Vec<String>,
    pub(super) scope: String,
    pub(super) audiences: Vec<String>,
    pub(super) access_tokens: String,
    pub(super) created_at: String,
}

#[derive(Deserialize)]
pub(super) struct Ended {
    pub(super) ended: u64,
}

/// What came of an end that waited for whom it was told to.
#[derive(Deserialize)]
pub(super) struct Ending {
    /// Nothing is known of what is done later.
    pub(super) ended: Option<u64>,
    pub(super) acknowledged_in_ms: Option<u64>,
    #[serde(default)]
    pub(super) late: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct Invitation {
    pub(super) url: String,
    pub(super) expires_at: String,
}

#[derive(Deserialize)]
pub(super) struct Audit {
    pub(super) entries: Vec<AuditEntry>,
}

#[derive(Deserialize)]
pub(super) struct AuditEntry {
    pub(super) at: String,
    pub(super) event: String,
    pub(super) user: Option<String>,
    pub(super) address: Option<String>,
    pub(super) detail: String,
}

#[derive(Deserialize)]
pub(super) struct Keys {
    pub(super) keys: Vec<Key>,
}

#[derive(Deserialize)]
pub(super) struct Key {
    pub(super) kid: String,
    pub(super) algorithm: String,
    pub(super) state: String,
    pub(super) created_at: String,
    pub(super) since: String,
}

#[derive(Deserialize)]
pub(super) struct Cluster {
    pub(super) shared: bool,
    pub(super) head: Option<u64>,
    pub(super) settled: bool,
    pub(super) lease: String,
    pub(super) nodes: Vec<Node>,
}

#[derive(Deserialize)]
pub(super) struct Node {
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) applied: Option<u64>,
    pub(super) behind: u64,
    pub(super) lag_in_ms: Option<u64>,
    pub(super) answers: bool,
}

/// Reads an answer.
pub(super) fn read<T: DeserializeOwned>(answer: &Value) -> anyhow::Result<T> {
    T::deserialize(answer)
        .context("the server's answer is not understood: is it the same version as this command line?")
}

/// So many of something: "no sessions", "1 session", "2 sessions".
pub(super) fn count(count: u64, thing: &str) -> String {
    match count {
        0 => format!("no {thing}s"),
        1 => format!("1 {thing}"),
        count => format!("{count} {thing}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!([0, 1, 2].map(|n| count(n, "session")), ["no sessions", "1 session", "2 sessions"]);
    }
}
