//! The outbox: what steps of the directory have decided about sessions that are kept elsewhere.
//!
//! An errand is left in the transaction that makes it necessary, and is run after the commit. Its row stays until that is
//! done, so that somebody else can run it if the process dies in between. The line of the audit log that says how many
//! sessions ended waits in the row, and is written when the row goes: once, whoever runs the errand.

use kerria_core::{
    Cause, Selector, SessionId, Timestamp, TokenHash, UserId,
    audit::AuditEntry,
    store::{StoreError, Trouble},
};
use serde::{Deserialize, Serialize};

use super::{Ask, Driver, Result, Row, SqlStore, Step, audit, ending, rows};
use crate::errand::{Errand, Order};

impl<D: Driver> SqlStore<D> {
    /// Errands that are left, in the order of their numbers.
    pub(crate) async fn errands(&self) -> Result<Vec<Errand>> {
        self.read(all).await
    }

    /// An errand was run, and has ended so many sessions. Whoever hears of it first writes the line.
    pub(crate) async fn finish(&self, errand: &Errand, ended: u64) -> Result<()> {
        let (id, at) = (errand.id, errand.at);
        self.write_part(move |step| finish(step, id, at, ended)).await
    }

    /// Sessions are kept elsewhere from now on. If they were not before, those that are here end, and those that are there
    /// from some time before end with an errand. Says whether they were.
    pub(crate) async fn begin_elsewhere(&self, now: Timestamp) -> Result<bool> {
        if self.read(is_elsewhere).await? {
            return Ok(true);
        }
        self.write(move |step| begin_elsewhere(step, now)).await
    }
}

/// Forgets that sessions were elsewhere, for somebody who will keep them here.
pub(crate) fn end_elsewhere(asked: &dyn Ask) -> Result<()> {
    asked.change("DELETE FROM sessions_elsewhere", ()).map(drop)
}

/// Leaves an errand, with a line for the audit log.
pub(super) fn leave(
    step: &Step<'_>,
    what: Order,
    line: Option<&AuditEntry>,
    at: Timestamp,
) -> Result<Errand> {
    let (text, line) = (write(&Written::from(&what))?, line.map(write).transpose()?);
    let id = step.the(
        "INSERT INTO errand (at, what, line) VALUES (?1, ?2, ?3) RETURNING id",
        (at.as_millis(), text, line),
        |row| row.get(0),
    )?;
    Ok(Errand { id, at, what })
}

fn all(asked: &dyn Ask) -> Result<Vec<Errand>> {
    asked.all("SELECT id, at, what FROM errand ORDER BY id", (), |row| {
        let written: Written = read(row, 2)?;
        Ok(Errand { id: row.get(0)?, at: rows::instant(row, 1)?, what: written.into() })
    })
}

fn finish(step: &Step<'_>, id: i64, at: Timestamp, ended: u64) -> Result<()> {
    let line = step.one(
        "DELETE FROM errand WHERE id = ?1 AND at = ?2 RETURNING line",
        [id, at.as_millis()],
        |row| if row.is_null(0)? { Ok(None) } else { read::<AuditEntry>(row, 0).map(Some) },
    )?;
    line.flatten().map_or(Ok(()), |line| audit::record(step, &audit::counted(&line, ended)))
}

/// Whether sessions are kept elsewhere.
pub(crate) fn is_elsewhere(asked: &dyn Ask) -> Result<bool> {
    asked.the("SELECT EXISTS (SELECT 1 FROM sessions_elsewhere)", (), |row| row.get(0))
}

fn begin_elsewhere(step: &mut Step<'_>, now: Timestamp) -> Result<bool> {
    let begun = step.change(
        "INSERT INTO sessions_elsewhere (one, since) VALUES (1, ?1) ON CONFLICT DO NOTHING",
        [now.as_millis()],
    )?;
    if begun == 0 {
        return Ok(true);
    }
    let order = Order::End { selector: Selector::Everyone, cause: Cause::Operator, keep: None };
    let ended = ending::remove(step, Selector::Everyone)?;
    if ended.sessions > 0 {
        let line = ending::line_about(Cause::Operator, now);
        audit::record(step, &audit::counted(&line, ended.sessions))?;
    }
    leave(step, order, None, now)?;
    ended.log(step, Cause::Operator, now)?;
    Ok(false)
}

impl Errand {
    /// Whether it has to be run before something that is about `user`.
    pub(crate) fn concerns(&self, user: UserId) -> bool {
        self.user().is_none_or(|whose| whose == user)
    }

    /// Whether it has to be run before `later`, because both may be about one session.
    pub(crate) fn comes_before(&self, later: &Self) -> bool {
        self.id < later.id && later.user().is_none_or(|user| self.concerns(user))
    }

    /// The user that it is about, if it is about one.
    fn user(&self) -> Option<UserId> {
        match self.what {
            Order::Changed { user }
            | Order::End { selector: Selector::User { user } | Selector::UserExcept { user, .. }, .. } => {
                Some(user)
            }
            Order::End { .. } => None,
        }
    }
}

/// An order as it is written. The names stay as they are: another version of the program may read them.
#[derive(Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
enum Written {
    End { selector: Selector, cause: Cause, keep: Option<Kept> },
    Changed { user: UserId },
}

#[derive(Serialize, Deserialize)]
struct Kept {
    session: SessionId,
    token: [u8; 32],
}

impl From<&Order> for Written {
    fn from(order: &Order) -> Self {
        match *order {
            Order::End { selector, cause, keep } => {
                let keep = keep.map(|(session, token)| Kept { session, token: *token.as_bytes() });
                Self::End { selector, cause, keep }
            }
            Order::Changed { user } => Self::Changed { user },
        }
    }
}

impl From<Written> for Order {
    fn from(written: Written) -> Self {
        match written {
            Written::End { selector, cause, keep } => {
                let keep = keep.map(|kept| (kept.session, TokenHash::from_bytes(kept.token)));
                Self::End { selector, cause, keep }
            }
            Written::Changed { user } => Self::Changed { user },
        }
    }
}

fn write(what: &impl Serialize) -> Result<String> {
    serde_json::to_string(what).map_err(|error| StoreError::new(Trouble::Failed, error))
}

fn read<T: for<'t> Deserialize<'t>>(row: &dyn Row, at: usize) -> Result<T> {
    rows::parsed(row, at, |text| serde_json::from_str(text))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kerria_core::{
        CredentialVersion, Method, PasswordHash, SessionPolicy, Transport, UserName,
        audit::AuditEvent,
        device::Device,
        store::{
            Accounts, CarryOver, NewSession, NewUser, PasswordChange, Sessions, SignIn, Store, UserCreation,
        },
    };
    use tempfile::TempDir;

    use super::*;
    use crate::{
        OpenError, SqliteStore, keep_sessions_here,
        observer::Nobody,
        sql::{Reach, accounts},
    };

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const ALICE: UserId = UserId::from_bytes([1; 16]);
    const BOB: UserId = UserId::from_bytes([2; 16]);

    async fn with_alice(store: &SqliteStore) {
        let alice = NewUser {
            id: ALICE,
            name: Some(UserName::parse("Alice").unwrap()),
            email: None,
            password: PasswordHash::new("first".to_owned()),
            device: None,
            now: NOW,
        };
        let created = store.create_user(alice, None).await.unwrap();
        assert_eq!(created, UserCreation::Created(CredentialVersion(1)));
    }

    async fn signed_in(store: &SqliteStore) -> TokenHash {
        let token = TokenHash::from_bytes([7; 32]);
        let session = NewSession {
            id: SessionId::from_bytes([7; 16]),
            token,
            transport: Transport::Cookie,
            remembered: false,
            device: Device { user_agent: String::new(), address: [127, 0, 0, 1].into() },
            now: NOW,
        };
        let sign_in = SignIn {
            session,
            user: ALICE,
            version: Some(CredentialVersion(1)),
            method: Method::Password,
            replaces: None,
            carry_over: CarryOver::default(),
            limit: None,
            policy: SessionPolicy::default(),
            grant: None,
        };
        store.open(sign_in).await.unwrap();
        token
    }

    fn change(version: u64) -> PasswordChange {
        PasswordChange {
            user: ALICE,
            version: Some(CredentialVersion(version)),
            password: PasswordHash::new("second".to_owned()),
            keep: Some((SessionId::from_bytes([3; 16]), TokenHash::from_bytes([4; 32]))),
            device: None,
            now: NOW,
        }
    }

    async fn lines(store: &SqliteStore) -> Vec<(AuditEvent, String)> {
        let lines = store.audit(None, 10).await.unwrap();
        lines.into_iter().map(|line| (line.event, line.detail)).collect()
    }

    #[tokio::test]
    async fn an_errand_is_left_with_the_decision_and_its_line_is_written_once_when_it_is_done() {
        let store = SqliteStore::open_in_memory().unwrap();
        with_alice(&store).await;
        let before = lines(&store).await;
        let (_, left) = store
            .write_with_errands(Reach::Part, |step| accounts::change_password(step, &change(1)))
            .await
            .unwrap();
        let found = store.errands().await.unwrap();
        assert_eq!(found, left);
        let [errand] = &found[..] else { panic!("{found:?}") };
        let PasswordChange { keep, .. } = change(1);
        let selector = Selector::UserExcept { user: ALICE, except: keep.unwrap().0 };
        assert_eq!(errand.what, Order::End { selector, cause: Cause::PasswordChanged, keep });
        assert_eq!(lines(&store).await, before, "nobody knows yet how many sessions end");

        store.finish(errand, 2).await.unwrap();
        store.finish(errand, 2).await.unwrap();
        assert_eq!(store.errands().await.unwrap(), []);
        let after = lines(&store).await;
        assert_eq!(after.len(), before.len() + 1);
        assert_eq!(after[0], (AuditEvent::PasswordChanged, "2 sessions ended".to_owned()));
    }

    #[tokio::test]
    async fn what_is_not_decided_leaves_no_errand() {
        let store = SqliteStore::open_in_memory().unwrap();
        with_alice(&store).await;
        let (_, left) = store
            .write_with_errands(Reach::Part, |step| accounts::change_password(step, &change(9)))
            .await
            .unwrap();
        assert_eq!((left, store.errands().await.unwrap()), (vec![], vec![]));
    }

    #[tokio::test]
    async fn whoever_moves_the_sessions_elsewhere_and_back_ends_those_that_were_left_behind() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("kerria.db");
        let directory = || SqliteStore::open_directory(&path, Arc::new(Nobody)).unwrap();
        let store = SqliteStore::open(&path).unwrap();
        with_alice(&store).await;
        let token = signed_in(&store).await;
        drop(store);

        let store = directory();
        assert!(!store.begin_elsewhere(NOW).await.unwrap());
        assert_eq!(store.find(&token).await.unwrap(), None);
        let [errand] = &store.errands().await.unwrap()[..] else { panic!("what is there ends, too") };
        assert!(matches!(errand.what, Order::End { selector: Selector::Everyone, .. }));
        store.finish(errand, 0).await.unwrap();
        assert!(store.begin_elsewhere(NOW).await.unwrap());
        assert_eq!(store.errands().await.unwrap(), []);
        drop(store);
        assert!(directory().begin_elsewhere(NOW).await.unwrap(), "over a restart, too");

        let refused = SqliteStore::open(&path).unwrap_err();
        assert!(matches!(refused, OpenError::Elsewhere { .. }), "{refused}");
        keep_sessions_here(&path).unwrap();
        drop(SqliteStore::open(&path).unwrap());
        let store = directory();
        assert!(!store.begin_elsewhere(NOW).await.unwrap());
        assert_eq!(store.errands().await.unwrap().len(), 1);
    }

    #[test]
    fn errands_about_one_user_have_an_order_and_those_about_everything_with_all() {
        let errand = |id, what| Errand { id, at: NOW, what };
        let end = |selector| Order::End { selector, cause: Cause::Operator, keep: None };
        let alices = errand(1, end(Selector::User { user: ALICE }));
        let bobs = errand(2, Order::Changed { user: BOB });
        let everyones = errand(3, end(Selector::Everyone));
        let alices_last = errand(4, Order::Changed { user: ALICE });
        assert!(alices.comes_before(&alices_last) && !alices_last.comes_before(&alices));
        assert!(!alices.comes_before(&bobs) && !bobs.comes_before(&alices_last));
        assert!(alices.comes_before(&everyones) && bobs.comes_before(&everyones));
        assert!(everyones.comes_before(&alices_last));
        assert!(everyones.concerns(BOB) && alices.concerns(ALICE) && !alices.concerns(BOB));
    }

    /// Another version of the program may have left them.
    #[test]
    fn what_is_written_stays_readable() {
        let user = "01010101-0101-0101-0101-010101010101";
        let session = "03030303-0303-0303-0303-030303030303";
        let token = serde_json::to_string(&[4_u8; 32]).unwrap();
        let end = |selector: String, keep: String| {
            format!(r#"{{"order":"end","selector":{selector},"cause":"password_changed","keep":{keep}}}"#)
        };
        let PasswordChange { keep, .. } = change(1);
        for (text, order) in [
            (format!(r#"{{"order":"changed","user":"{user}"}}"#), Order::Changed { user: ALICE }),
            (
                end(format!(r#"{{"kind":"user","user":"{user}"}}"#), "null".to_owned()),
                Order::End {
                    selector: Selector::User { user: ALICE },
                    cause: Cause::PasswordChanged,
                    keep: None,
                },
            ),
            (
                end(
                    format!(r#"{{"kind":"user_except","user":"{user}","except":"{session}"}}"#),
                    format!(r#"{{"session":"{session}","token":{token}}}"#),
                ),
                Order::End {
                    selector: Selector::UserExcept { user: ALICE, except: keep.unwrap().0 },
                    cause: Cause::PasswordChanged,
                    keep,
                },
            ),
        ] {
            assert_eq!(write(&Written::from(&order)).unwrap(), text);
            assert_eq!(Order::from(serde_json::from_str::<Written>(&text).unwrap()), order);
        }
    }
}
