//! The ledger of the checkers.
//!
//! Its questions have connections of their own: a lease must not run out because many steps wait. It belongs to a life of the server:
//! one that was restarted, promoted or emptied begins with an empty ledger.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use kerria_core::{
    CheckerId, LogNumber,
    lease::{CheckerStanding, LedgerReading, Life, NodeStanding, Renewal, Renewed, RollCall},
    store::{Leases, StoreError},
};
use redis::Value;

use super::{
    connection::{Line, Link, Servers},
    errors::{damaged, store_error},
    log,
    script::Script,
    step::parsed,
};
use crate::sql::Result;

/// Entries of the log in one answer.
const PAGE: u32 = 500;
/// How long an answer may take: about as long as until the next renewal.
const ANSWER: Duration = Duration::from_millis(400);

pub(super) struct RedisLedger {
    renewing: Link,
    reading: Link,
}

/// What the ledger says: its life, whether that is settled, the last number of the log, and how far who is.
struct Said {
    life: String,
    settled: bool,
    head: LogNumber,
    checkers: Vec<(CheckerStanding, String)>,
}

impl RedisLedger {
    pub(super) fn new(servers: &Arc<Servers>) -> Self {
        let link = || Link::new(Arc::clone(servers), None, ANSWER);
        Self { renewing: link(), reading: link() }
    }

    async fn read(&self) -> Result<Said> {
        said(self.reading.write(Script::Ledger, &[b"read"]).await?)
    }
}

/// The life that the server at the other end of this line is in.
pub(super) async fn life(line: &Line) -> Result<String> {
    let answer = line.run(Script::Ledger, &[b"read"]).await.map_err(store_error)?;
    said(answer).map(|said| said.life)
}

fn said(answer: Value) -> Result<Said> {
    let mut answers = parsed::<Vec<Value>>(answer)?.into_iter();
    let mut next = || answers.next().ok_or_else(|| damaged("the ledger says too little"));
    let (life, settled) = (parsed(next()?)?, parsed::<u8>(next()?)? == 1);
    let head = LogNumber(parsed(next()?)?);
    let mut checkers = Vec::new();
    for checker in answers {
        let (id, applied, renewal, name): (Vec<u8>, u64, u64, String) = parsed(checker)?;
        let checker = id.try_into().map(CheckerId::from_bytes);
        let checker = checker.map_err(|_| damaged("a checker has no identifier of 16 bytes"))?;
        checkers.push((CheckerStanding { checker, applied: LogNumber(applied), renewal }, name));
    }
    Ok(Said { life, settled, head, checkers })
}

/// As it is written: 13 hexadecimal digits.
fn life_of(text: &str) -> Result<Life> {
    u64::from_str_radix(text, 16).map(Life).map_err(damaged)
}

#[async_trait]
impl Leases for RedisLedger {
    async fn renew_lease(&self, renewal: Renewal, name: &str) -> Result<Renewed, StoreError> {
        let Renewal { checker, applied } = renewal;
        let number = applied.map_or_else(String::new, |LogNumber(number)| number.to_string());
        let limit = PAGE.to_string();
        let arguments: [&[u8]; 5] =
            [b"renew", checker.as_bytes(), number.as_bytes(), name.as_bytes(), limit.as_bytes()];
        // Asked again after a connection was lost, it does no harm.
        let answer = self.renewing.read(Script::Ledger, &arguments).await?;
        let (known, answer): (bool, Value) = parsed(answer)?;
        match applied {
            Some(applied) if known => {
                log::page(applied, parsed(answer)?).map(|page| Renewed::with(page, PAGE))
            }
            _ => Ok(Renewed::Registered { head: LogNumber(parsed(answer)?) }),
        }
    }

    async fn ledger(&self) -> Result<LedgerReading, StoreError> {
        let Said { life, settled, mut checkers, .. } = self.read().await?;
        checkers.sort_unstable_by_key(|(standing, _)| standing.checker);
        let checkers = checkers.into_iter().map(|(standing, _)| standing).collect();
        Ok(LedgerReading { life: life_of(&life)?, settled, checkers })
    }

    async fn roll_call(&self, this: CheckerId) -> Result<RollCall, StoreError> {
        let Said { settled, head, checkers, .. } = self.read().await?;
        let standing = |(CheckerStanding { checker: id, applied, .. }, name)| NodeStanding {
            id,
            name,
            applied,
            lag: None,
        };
        let mut nodes: Vec<_> = checkers.into_iter().map(standing).collect();
        nodes.sort_unstable_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
        Ok(RollCall { this, head, settled, nodes })
    }

    async fn settle(&self, Life(life): Life) -> Result<(), StoreError> {
        let life = format!("{life:013x}");
        self.reading.write(Script::Ledger, &[b"settle", life.as_bytes()]).await.map(drop)
    }

    async fn forget_checker(&self, seen: CheckerStanding) -> Result<(), StoreError> {
        let renewal = seen.renewal.to_string();
        let arguments: [&[u8]; 3] = [b"forget", seen.checker.as_bytes(), renewal.as_bytes()];
        self.reading.write(Script::Ledger, &arguments).await.map(drop)
    }
}
