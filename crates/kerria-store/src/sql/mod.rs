//! The storage contract in SQL: one text and one function for each step, whichever the engine.
//!
//! A step is a plain function over a [`Step`]: it asks, decides and writes, and knows no engine. What an engine does in
//! its own way is behind two small traits: [`Ask`] for what a step needs of a connection, and [`Driver`] for how steps
//! come to run, are committed and announced.

pub(crate) mod accounts;
mod ask;
mod audit;
pub(crate) mod clients;
mod doors;
mod ending;
pub(crate) mod errands;
mod hold;
pub(crate) mod keys;
pub(crate) mod log;
mod rotation;
mod rows;
pub(crate) mod session_data;
pub(crate) mod sessions;
mod tokens;

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use kerria_core::{
    Lease, LogEntry, LogEvent, LogNumber, Selector, SessionId, Timestamp, UserId,
    audit::AuditEntry,
    lease::RollCall,
    store::{Acknowledged, Follower, InstallationKeys, Leases, Store, StoreError, Trouble, Wait},
};
use tokio::time::timeout;

pub(crate) use ask::{Ask, Held, Read, Row, Value};
pub(crate) use hold::{Reach, Root};

use crate::{
    data_cache::{DataCache, DataChange},
    errand::{Errand, Order},
    last_written::LastWritten,
    observer::{Access, Began, Observer},
    queue::{Answer, Asked, Job, Query},
};

/// What came of asking.
pub(crate) type Result<T, E = StoreError> = std::result::Result<T, E>;

/// How long a caller waits for an answer. A step whose caller gave up may still be committed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// A store that speaks SQL, through the driver of an engine.
///
/// Needs a Tokio runtime with timers. Dropping it waits for the steps that were sent, and closes what is open.
pub struct SqlStore<D> {
    pub(crate) driver: D,
    observer: Arc<dyn Observer>,
}

/// How steps come to run on an engine. Everything is taken at once, or refused; the answer comes when it is there.
#[async_trait]
pub trait Driver: Send + Sync + 'static {
    /// What a store with this driver is called.
    const NAME: &'static str;

    /// Whether the database has the function `put_session_data`.
    const PUTS_BY_ONE_STATEMENT: bool = false;

    /// Runs a step in a transaction of its own, or one that can be undone to where it began; commits it; lets the
    /// followers apply what it wrote to the log; and answers.
    ///
    /// # Errors
    /// If nothing more is taken.
    fn write(&self, reach: Reach, job: Box<dyn Job>) -> Result<()>;

    /// Asks one question. A query of several statements may see several states.
    ///
    /// # Errors
    /// If nothing more is taken.
    fn read(&self, query: Box<dyn Query>) -> Result<()>;

    /// What [`Store::follow`] says.
    async fn follow(&self, follower: Weak<dyn Follower>) -> Result<LogNumber>;

    /// Waits until the entry with this number, which is committed, has been applied by whoever answers from memory: by those whom
    /// `wait` says, and by this process in any case. Says what it took, if everybody was waited for.
    async fn waited(&self, number: LogNumber, wait: Wait) -> Option<Acknowledged>;

    /// What [`Store::lease`] says.
    fn lease(&self) -> Lease;

    /// What [`Store::catch_up`] says.
    async fn catch_up(&self) -> Result<()>;

    /// What [`Store::roll_call`] says.
    async fn roll_call(&self) -> Result<Option<RollCall>>;

    /// What [`Store::leave`] says.
    async fn leave(&self) -> Result<()>;

    /// What [`Store::ledger`] says.
    fn ledger(&self) -> Option<Arc<dyn Leases>> {
        None
    }

    /// The values of sessions in memory, if no other process writes them.
    fn data_cache(&self) -> Option<&DataCache> {
        None
    }

    /// The values that this process has written last, if others write them, too.
    fn last_written(&self) -> Option<&LastWritten> {
        None
    }
}

impl<D: Driver> SqlStore<D> {
    pub(crate) fn new(driver: D, observer: Arc<dyn Observer>) -> Self {
        Self { driver, observer }
    }

    /// Runs a step that is about everything, or is rare. No other step is under way meanwhile.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        step: impl Fn(&mut Step<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write_within(Reach::Everything, step).await
    }

    /// Runs a step that holds what it is about, beside others.
    pub(crate) async fn write_part<T: Send + 'static>(
        &self,
        step: impl Fn(&mut Step<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write_within(Reach::Part, step).await
    }

    /// Runs a step in a transaction, and answers when it is committed, and whoever answers from memory has applied what it
    /// wrote to the log. It may run more than once: an engine with
    /// several writers may undo it to let another one go first.
    pub(crate) async fn write_within<T: Send + 'static>(
        &self,
        reach: Reach,
        step: impl Fn(&mut Step<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write_and_wait(reach, Wait::Checkers, step).await.map(|(outcome, _)| outcome)
    }

    /// The same, but that it waits for whom `wait` says. Says what it took, if everybody was waited for.
    pub(crate) async fn write_and_wait<T: Send + 'static>(
        &self,
        reach: Reach,
        wait: Wait,
        step: impl Fn(&mut Step<'_>) -> Result<T> + Send + 'static,
    ) -> Result<(T, Option<Acknowledged>)> {
        let began = Began::now();
        let (asked, answer) = Asked::new(move |open: &mut Step<'_>| Ok((step(open)?, open.to_wait_for())));
        self.driver.write(reach, Box::new(asked))?;
        let answer = in_time(answer).await;
        self.observer.answered(Access::Write, began.elapsed());
        let (outcome, number) = answer?;
        let acknowledged = match number {
            Some(number) => self.driver.waited(number, wait).await,
            None => None,
        };
        Ok((outcome, acknowledged))
    }

    /// Runs a step of a directory whose sessions are kept elsewhere: what it orders about them is left as errands, which are
    /// answered with its outcome, and are to be run.
    pub(crate) async fn write_with_errands<T: Send + 'static>(
        &self,
        reach: Reach,
        step: impl Fn(&mut Step<'_>) -> Result<T> + Send + 'static,
    ) -> Result<(T, Vec<Errand>)> {
        self.write_within(reach, move |open| {
            open.errands = Some(Vec::new());
            let outcome = step(open)?;
            Ok((outcome, open.errands.take().unwrap_or_default()))
        })
        .await
    }

    /// Asks one question. A query of several statements would see several states; use one.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        query: impl Fn(&dyn Ask) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let began = Began::now();
        let (asked, answer) = Asked::new(query);
        self.driver.read(Box::new(asked))?;
        let answer = in_time(answer).await;
        self.observer.answered(Access::Read, began.elapsed());
        answer
    }
}

/// The answer, if it comes in time. A thread that has stopped answers nothing.
pub(crate) async fn in_time<T>(answer: Answer<T>) -> Result<T> {
    match timeout(DEADLINE, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(stopped)) => Err(StoreError::new(Trouble::Unavailable, stopped)),
        Err(elapsed) => Err(StoreError::new(Trouble::Unavailable, elapsed)),
    }
}

#[async_trait]
impl<D: Driver> Store for SqlStore<D> {
    async fn installation_keys(&self, fresh: InstallationKeys) -> Result<InstallationKeys> {
        self.write(move |step| {
            step.change(
                "INSERT INTO installation (one, token_key, form_key) VALUES (1, ?1, ?2) ON CONFLICT DO NOTHING",
                (&fresh.token, &fresh.form),
            )?;
            step.the("SELECT token_key, form_key FROM installation", (), |row| {
                Ok(InstallationKeys { token: row.get(0)?, form: row.get(1)? })
            })
        })
        .await
    }

    async fn record(&self, entry: &AuditEntry) -> Result<()> {
        let entry = entry.clone();
        self.write_part(move |step| audit::record(step, &entry)).await
    }

    async fn audit(&self, user: Option<UserId>, limit: u32) -> Result<Vec<AuditEntry>> {
        self.read(move |asked| audit::latest(asked, user, limit)).await
    }

    async fn trim_audit(&self, before: Timestamp, limit: u32) -> Result<u64> {
        self.write(move |step| audit::trim(step, before, limit)).await
    }

    async fn follow(&self, follower: Weak<dyn Follower>) -> Result<LogNumber> {
        self.driver.follow(follower).await
    }

    fn lease(&self) -> Lease {
        self.driver.lease()
    }

    async fn catch_up(&self) -> Result<()> {
        self.driver.catch_up().await
    }

    async fn roll_call(&self) -> Result<Option<RollCall>> {
        self.driver.roll_call().await
    }

    fn ledger(&self) -> Option<Arc<dyn Leases>> {
        self.driver.ledger()
    }

    async fn until_acknowledged(&self) -> Result<()> {
        if self.driver.lease().is_limited() {
            let number = self.read(log::last_number).await?;
            self.driver.waited(number, Wait::Checkers).await;
        }
        Ok(())
    }

    async fn leave(&self) -> Result<()> {
        self.driver.leave().await
    }

    async fn check_health(&self) -> Result<()> {
        // It writes what was there already, through to the disk: nothing less tells whether there is space.
        self.write_part(|step| step.change("UPDATE log_counter SET number = number", ())).await?;
        self.read(log::last_number).await?;
        Ok(())
    }
}

impl<D: Driver> fmt::Debug for SqlStore<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(..)", D::NAME)
    }
}

/// The inside of a transaction: a connection, and what will be announced after the commit.
pub struct Step<'a> {
    asked: &'a dyn Ask,
    entries: &'a mut Vec<LogEntry>,
    /// What it has changed of session data.
    pub(crate) data_changes: Vec<DataChange>,
    rests_on: Option<LogNumber>,
    /// What it has left to do where the sessions are; `None` if that is here.
    errands: Option<Vec<Errand>>,
}

impl<'a> Step<'a> {
    pub(crate) fn new(asked: &'a dyn Ask, entries: &'a mut Vec<LogEntry>) -> Self {
        Self { asked, entries, data_changes: Vec::new(), rests_on: None, errands: None }
    }

    /// Writes an entry to the revocation log, with the next number. Comes last in a step: where there are several
    /// writers, the counter is what they wait at.
    pub(crate) fn write_log(
        &mut self,
        selector: Selector,
        event: LogEvent,
        at: Timestamp,
    ) -> Result<LogNumber> {
        let entry = log::append(self.asked, selector, event, at)?;
        self.entries.push(entry);
        Ok(entry.number)
    }

    /// Does what was decided about sessions, and adds `line` to the audit log, with the number of sessions that ended where
    /// it has `{}`. Returns that number. If the sessions are kept elsewhere, all this is left to an errand, and the number is 0.
    /// Comes last in a step, as [`write_log`](Self::write_log) does.
    pub(crate) fn order(&mut self, order: Order, line: &AuditEntry, at: Timestamp) -> Result<u64> {
        if self.errands.is_none() {
            return ending::carry_out(self, &order, line, at);
        }
        let errand = errands::leave(self, order, Some(line), at)?;
        self.errands.get_or_insert_default().push(errand);
        Ok(0)
    }

    /// Whether sessions are kept elsewhere: nothing can be asked of them in this step.
    pub(crate) fn is_without_sessions(&self) -> bool {
        self.errands.is_some()
    }

    /// What it was to end had ended before. It is answered when that is true everywhere: the step that ended it may be waiting
    /// still. Returns the last number of the log.
    pub(crate) fn rest_on_log(&mut self) -> Result<LogNumber> {
        let number = log::last_number(self.asked)?;
        self.rests_on = Some(number);
        Ok(number)
    }

    /// The number of the last entry that it wrote, or rests on.
    fn to_wait_for(&self) -> Option<LogNumber> {
        self.entries.last().map(|entry| entry.number).or(self.rests_on)
    }

    /// Holds what the step is about, until it is committed. Comes before anything is read of it.
    pub(crate) fn hold(&self, root: Root<'_>) -> Result<()> {
        self.asked.hold(&root)
    }
}

/// What takes a connection takes the inside of a transaction, too.
impl Ask for Step<'_> {
    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64> {
        self.asked.execute(sql, values)
    }

    fn query(&self, sql: &str, values: &[Value<'_>], read: &mut Read<'_>) -> Result<()> {
        self.asked.query(sql, values, read)
    }

    fn hold(&self, root: &Root<'_>) -> Result<()> {
        self.asked.hold(root)
    }

    fn touch(&self, seen: &[(SessionId, Timestamp)]) -> Result<()> {
        self.asked.touch(seen)
    }
}

impl<'a> Deref for Step<'a> {
    type Target = dyn Ask + 'a;

    fn deref(&self) -> &Self::Target {
        self.asked
    }
}
