//! The ledger of the checkers, in tables that a crash empties.
//!
//! Its questions have connections of their own: a lease must not run out because many steps wait.

use std::sync::Arc;

use async_trait::async_trait;
use kerria_core::{
    CheckerId, LogNumber,
    lease::{CheckerStanding, LedgerReading, Life, NodeStanding, Renewal, Renewed, RollCall},
    store::{Leases, StoreError, Trouble},
};

use super::{
    options::Server,
    workers::{Task, Workers},
};
use crate::{
    queue::Asked,
    sql::{Ask, Result, log},
};

/// One that renews, and one that reads what others have renewed. Each is made when it is first needed.
const CONNECTIONS: usize = 2;
/// How many numbers of the log a new life leaves out: more than a server can have given and lost. Few enough that a number
/// always fits into 53 bits of JSON.
const NUMBERS_LEFT_OUT: u64 = 1 << 32;
/// Entries of the log in one answer.
const PAGE: u32 = 500;

pub(super) struct PostgresLedger(Workers);

impl PostgresLedger {
    pub(super) fn start(servers: &Arc<[Server]>) -> std::io::Result<Self> {
        Workers::start("kerria-ledger", CONNECTIONS, servers).map(Self)
    }

    /// Each statement is a step of its own. Asked again after a connection was lost, it does no harm.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl Fn(&dyn Ask) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (asked, answer) = Asked::new(question);
        self.0.send(Task::Read(Box::new(asked)))?;
        answer.await.unwrap_or_else(|stopped| Err(StoreError::new(Trouble::Unavailable, stopped)))
    }
}

#[async_trait]
impl Leases for PostgresLedger {
    async fn renew_lease(&self, renewal: Renewal, name: &str) -> Result<Renewed> {
        let name = name.to_owned();
        self.ask(move |asked| renew(asked, renewal, &name)).await
    }

    async fn ledger(&self) -> Result<LedgerReading> {
        self.ask(read).await
    }

    async fn roll_call(&self, this: CheckerId) -> Result<RollCall> {
        self.ask(move |asked| roll_call(asked, this)).await
    }

    async fn settle(&self, Life(life): Life) -> Result<()> {
        self.ask(move |asked| asked.change("UPDATE ledger SET settled = TRUE WHERE life = ?1", [life]))
            .await
            .map(drop)
    }

    async fn forget_checker(&self, seen: CheckerStanding) -> Result<()> {
        self.ask(move |asked| {
            asked.change(
                "DELETE FROM checker WHERE id = ?1 AND renewal = ?2",
                (seen.checker.as_bytes(), seen.renewal),
            )
        })
        .await
        .map(drop)
    }
}

/// What [`Ledger::renew`](kerria_core::lease::Ledger::renew) says. The note is committed before the log is read.
fn renew(asked: &dyn Ask, renewal: Renewal, name: &str) -> Result<Renewed> {
    let Renewal { checker, applied } = renewal;
    let applied_number = applied.map(|LogNumber(number)| number);
    let known = asked.change(
        "UPDATE checker SET renewal = nextval('checker_renewal'), \
         applied = coalesce(least(?2::bigint, (SELECT number FROM log_counter)), applied) WHERE id = ?1",
        (checker.as_bytes(), applied_number),
    )?;
    if known == 0 {
        begin_life(asked)?;
        asked.change(
            "INSERT INTO checker (id, name, applied, renewal) \
             SELECT ?1, ?3, coalesce(least(?2::bigint, number), number), nextval('checker_renewal') FROM log_counter \
             ON CONFLICT (id) DO NOTHING",
            (checker.as_bytes(), applied_number, name),
        )?;
        return Ok(Renewed::Registered { head: log::last_number(asked)? });
    }
    match applied {
        Some(applied) => log::after(asked, applied, PAGE).map(|page| Renewed::with(page, PAGE)),
        // A late copy of its first renewal. It is told nothing that it could rely on.
        None => Ok(Renewed::Registered { head: log::last_number(asked)? }),
    }
}

fn read(asked: &dyn Ask) -> Result<LedgerReading> {
    if let Some(reading) = read_if_there(asked)? {
        return Ok(reading);
    }
    begin_life(asked)?;
    read_if_there(asked)?.ok_or_else(|| Trouble::Failed.into())
}

/// Begins a life of the ledger, if it has none. A server that has lost the ledger may have lost the end of the log, too, and would
/// give its numbers again: to who has applied the old ones, the new ones would be nothing new. So the log goes on far behind them, and
/// everybody starts over.
fn begin_life(asked: &dyn Ask) -> Result<()> {
    asked
        .change(
            "WITH begun AS ( \
                 INSERT INTO ledger (one, life, settled) VALUES (1, floor(random() * 9e15)::bigint, FALSE) \
                 ON CONFLICT DO NOTHING RETURNING one) \
             UPDATE log_counter SET number = number + ?1, removed = number + ?1 WHERE EXISTS (SELECT 1 FROM begun)",
            [NUMBERS_LEFT_OUT],
        )
        .map(drop)
}

/// In one statement, so that it is of one instant.
fn read_if_there(asked: &dyn Ask) -> Result<Option<LedgerReading>> {
    let mut reading: Option<LedgerReading> = None;
    asked.all(
        "SELECT l.life, l.settled, c.id, c.applied, c.renewal FROM ledger l LEFT JOIN checker c ON TRUE ORDER BY c.id",
        (),
        |row| {
            let reading = match &mut reading {
                Some(reading) => reading,
                None => reading.insert(LedgerReading {
                    life: Life(row.get(0)?),
                    settled: row.get(1)?,
                    checkers: Vec::new(),
                }),
            };
            if let Some(id) = row.get::<Option<[u8; 16]>>(2)? {
                reading.checkers.push(CheckerStanding {
                    checker: CheckerId::from_bytes(id),
                    applied: LogNumber(row.get(3)?),
                    renewal: row.get(4)?,
                });
            }
            Ok(())
        },
    )?;
    Ok(reading)
}

/// In one statement, too. A ledger that has not begun is not settled.
fn roll_call(asked: &dyn Ask, this: CheckerId) -> Result<RollCall> {
    let mut call = RollCall { this, head: LogNumber(0), settled: false, nodes: Vec::new() };
    asked.all(
        "SELECT h.number, coalesce(l.settled, FALSE), c.id, c.name, c.applied \
         FROM log_counter h LEFT JOIN ledger l ON TRUE LEFT JOIN checker c ON TRUE ORDER BY c.name, c.id",
        (),
        |row| {
            call.head = LogNumber(row.get(0)?);
            call.settled = row.get(1)?;
            if let Some(id) = row.get::<Option<[u8; 16]>>(2)? {
                let (name, applied) = (row.get(3)?, LogNumber(row.get(4)?));
                call.nodes.push(NodeStanding { id: CheckerId::from_bytes(id), name, applied, lag: None });
            }
            Ok(())
        },
    )?;
    Ok(call)
}
