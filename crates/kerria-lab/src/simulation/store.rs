//! The store, with a step for each request, and nothing that is not in the contract.

use kerria_core::{
    Cause, LogEntry, LogEvent, LogNumber, Selector, SessionId, Timestamp, UserId,
    lease::{CheckerStanding, Ledger, LedgerReading, Life, Renewal, Renewed},
    store::LogPage,
};

/// Entries in one answer. Few, so that answers are often not complete.
const PAGE: u32 = 3;

pub(super) struct Store {
    pub(super) sessions: Vec<Row>,
    log: Vec<LogEntry>,
    /// Numbers given, whether their entries are there already or not.
    numbers: u64,
    removed: LogNumber,
    ledger: Ledger,
    lives: u64,
    pub(super) is_down: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) id: SessionId,
    pub(super) user: UserId,
    pub(super) ended: bool,
}

impl Store {
    pub(super) fn new() -> Self {
        Self {
            sessions: Vec::new(),
            log: Vec::new(),
            numbers: 0,
            removed: LogNumber(0),
            ledger: Ledger::new(Life(1), true),
            lives: 1,
            is_down: false,
        }
    }

    pub(super) fn open(&mut self, user: UserId) -> SessionId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(self.sessions.len() as u64 + 1).to_be_bytes());
        let id = SessionId::from_bytes(id);
        self.sessions.push(Row { id, user, ended: false });
        id
    }

    /// Up to which number everything that can be read is accounted for.
    pub(super) fn head(&self) -> LogNumber {
        self.log.last().map_or(self.removed, |entry| entry.number)
    }

    /// The session, and as of which number that is so.
    pub(super) fn find(&self, session: SessionId) -> (Option<Row>, LogNumber) {
        let row = self.sessions.iter().find(|row| row.id == session && !row.ended);
        (row.copied(), self.head())
    }

    pub(super) fn next_number(&mut self) -> LogNumber {
        self.numbers += 1;
        LogNumber(self.numbers)
    }

    /// Ends what `selector` selects. Says which sessions that were.
    pub(super) fn commit(&mut self, number: LogNumber, selector: Selector) -> Vec<SessionId> {
        let selects = |row: &Row| match selector {
            Selector::Session { session } => row.id == session,
            Selector::User { user } => row.user == user,
            Selector::UserExcept { user, except } => row.user == user && row.id != except,
            Selector::Everyone => true,
            Selector::Token { .. } | Selector::Client { .. } => false,
        };
        let mut ended = Vec::new();
        for row in self.sessions.iter_mut().filter(|row| !row.ended && selects(row)) {
            row.ended = true;
            ended.push(row.id);
        }
        let event = LogEvent::Ended { cause: Cause::Operator };
        self.log.push(LogEntry { number, at: Timestamp::EPOCH, selector, event });
        self.log.sort_by_key(|entry| entry.number);
        ended
    }

    pub(super) fn renew(&mut self, renewal: Renewal) -> Renewed {
        let (head, removed, log) = (self.head(), self.removed, &self.log);
        self.ledger.renew(renewal, PAGE, |applied, limit| {
            let applied = applied.unwrap_or(head);
            if applied < removed || applied > head {
                return (head, LogPage::StartOver { head });
            }
            let after = log.iter().filter(|entry| entry.number > applied).take(limit as usize);
            (head, LogPage::Entries(after.copied().collect()))
        })
    }

    pub(super) fn read_ledger(&self) -> LedgerReading {
        self.ledger.read()
    }

    pub(super) fn settle(&mut self, life: Life) {
        self.ledger.settle(life);
    }

    pub(super) fn forget(&mut self, seen: &CheckerStanding) {
        self.ledger.forget(seen);
    }

    pub(super) fn trim(&mut self, keep: usize) {
        let drop = self.log.len().saturating_sub(keep);
        if let Some(last) = self.log.drain(..drop).next_back() {
            self.removed = last.number;
        }
    }

    pub(super) fn start(&mut self, forgets_leases: bool) {
        self.is_down = false;
        if forgets_leases {
            self.lives += 1;
            self.ledger = Ledger::new(Life(self.lives), false);
        }
    }
}
