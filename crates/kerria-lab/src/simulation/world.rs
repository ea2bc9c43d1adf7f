//! A schedule: what happens when.

use std::{cmp::Reverse, collections::BinaryHeap};

use fastrand::Rng;
use kerria_core::{
    CheckerId, LogNumber, Moment, Selector, SessionId, UserId, Verdict,
    lease::{Asked, CheckerStanding, LedgerReading, Life, Renewed},
};

use super::{
    Flaw, Tally, Violation,
    checker::{Checker, Recalled},
    history::{History, Time},
    network::{LocalClock, Weather},
    revoker::Revoker,
    store::{Row, Store},
};

const MILLI: Time = 1_000;
const SECOND: Time = 1_000 * MILLI;
/// How long a schedule takes.
const END: Time = 5 * SECOND;
const CHECKERS: usize = 3;
const REVOKERS: usize = 2;
const USERS: u8 = 3;

/// Plays the schedule with this seed.
pub(super) fn play(seed: u64, flaw: Option<Flaw>) -> Result<Tally, Violation> {
    let mut world = World::new(seed, flaw);
    world.prepare();
    world.run();
    world.history.tally.schedules = 1;
    match world.history.violation {
        Some(violation) => Err(violation),
        None => Ok(world.history.tally),
    }
}

struct World {
    seed: u64,
    flaw: Option<Flaw>,
    random: Rng,
    weather: Weather,
    now: Time,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    store: Store,
    checkers: Vec<Process<Checker>>,
    revokers: Vec<Process<Revoker>>,
    ids: u8,
    history: History,
}

/// A process, which stands still at times, or is cut off, or begins anew.
struct Process<T> {
    state: T,
    clock: LocalClock,
    /// Counts its lives: what was meant for an earlier one is lost.
    life: u32,
    paused_until: Time,
    cut_until: Time,
}

struct Scheduled {
    at: Time,
    /// Of two at the same time, the one that was scheduled first comes first.
    order: u64,
    event: Event,
}

enum Event {
    /// A message arrives at the store.
    AtStore(From, Request),
    AtChecker(usize, u32, ForChecker),
    AtRevoker(usize, u32, ForRevoker),
    /// What was begun at the store is committed.
    Commit {
        from: From,
        number: LogNumber,
        selector: Selector,
    },
    LogIn,
    Fault(Fault),
}

/// Whose message it is, and of which life.
#[derive(Clone, Copy)]
enum From {
    Checker(usize, u32),
    Revoker(usize, u32),
}

#[derive(Clone)]
enum Request {
    Renew(Asked),
    Find { session: SessionId, sent: Time, generation: u32 },
    Revoke(Selector),
    ReadLedger { asked: Moment },
    Settle(Life),
    Forget(CheckerStanding),
}

#[derive(Clone)]
enum ForChecker {
    Tick,
    Wake,
    Renewed(Asked, Renewed),
    Check { session: SessionId, sent: Time },
    Found { row: Option<Row>, as_of: LogNumber, sent: Time, generation: u32 },
}

#[derive(Clone)]
enum ForRevoker {
    Tick,
    Look,
    End,
    Committed { number: LogNumber, ended: Vec<SessionId> },
    Ledger { reading: LedgerReading, asked: Moment },
}

#[derive(Clone, Copy)]
enum Fault {
    PauseChecker,
    PauseRevoker,
    CrashChecker,
    CrashRevoker,
    CutChecker,
    StoreStops,
    StoreStarts { forgets_leases: bool },
    TrimLog,
}

impl World {
    fn new(seed: u64, flaw: Option<Flaw>) -> Self {
        let mut random = Rng::with_seed(seed);
        let weather = Weather::of(&mut random);
        let mut world = Self {
            seed,
            flaw,
            weather,
            now: 0,
            queue: BinaryHeap::new(),
            scheduled: 0,
            store: Store::new(),
            checkers: Vec::new(),
            revokers: Vec::new(),
            ids: 0,
            history: History::default(),
            random,
        };
        for _ in 0..CHECKERS {
            let state = Checker::new(world.new_id(), flaw);
            let process = Process::new(state, &mut world.random);
            world.checkers.push(process);
        }
        for _ in 0..REVOKERS {
            let process = Process::new(Revoker::new(flaw), &mut world.random);
            world.revokers.push(process);
        }
        world
    }

    /// Writes down what is to happen from outside.
    fn prepare(&mut self) {
        for _ in 0..6 {
            self.log_in();
        }
        for checker in 0..CHECKERS {
            let at = self.random.u64(..SECOND / 3);
            self.at(at, Event::AtChecker(checker, 0, ForChecker::Tick));
        }
        for revoker in 0..REVOKERS {
            self.at(0, Event::AtRevoker(revoker, 0, ForRevoker::Tick));
            for _ in 0..self.random.u32(1..8) {
                let at = self.random.u64(SECOND / 5..END);
                // Sometimes several follow each other.
                for _ in 0..self.random.u64(1..5) {
                    let at = at + self.random.u64(..MILLI);
                    self.at(at, Event::AtRevoker(revoker, u32::MAX, ForRevoker::End));
                }
            }
        }
        for _ in 0..self.random.u32(..12) {
            let at = self.random.u64(..END);
            self.at(at, Event::LogIn);
        }
        let kinds = [
            Fault::PauseChecker,
            Fault::PauseChecker,
            Fault::PauseRevoker,
            Fault::CrashChecker,
            Fault::CrashRevoker,
            Fault::CutChecker,
            Fault::CutChecker,
            Fault::StoreStops,
            Fault::TrimLog,
        ];
        for _ in 0..10 {
            if self.random.u8(..100) < self.weather.trouble {
                let (at, kind) = (self.random.u64(..END), kinds[self.random.usize(..kinds.len())]);
                self.at(at, Event::Fault(kind));
            }
        }
    }

    fn run(&mut self) {
        let mut next_check = 0;
        while self.history.violation.is_none() {
            let next = self.queue.peek().map_or(END, |Reverse(scheduled)| scheduled.at);
            // People ask all the time.
            if next_check <= next && next_check < END {
                self.now = next_check;
                next_check += self.random.u64(1..30 * MILLI);
                self.ask();
                continue;
            }
            match self.queue.pop() {
                Some(Reverse(scheduled)) if scheduled.at < END => {
                    self.now = scheduled.at;
                    self.happen(scheduled.event);
                }
                _ => break,
            }
        }
    }

    /// Somebody sends a request to a checker.
    fn ask(&mut self) {
        let session = self.store.sessions[self.random.usize(..self.store.sessions.len())].id;
        let (checker, sent) = (self.random.usize(..CHECKERS), self.now);
        let life = self.checkers[checker].life;
        let arrives = self.now + self.random.u64(50..500);
        self.at(arrives, Event::AtChecker(checker, life, ForChecker::Check { session, sent }));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::AtStore(from, request) => {
                if !self.store.is_down {
                    self.serve(from, request);
                }
            }
            Event::AtChecker(checker, life, what) => {
                let Process { life: present, paused_until, .. } = self.checkers[checker];
                if paused_until > self.now {
                    self.at(paused_until, Event::AtChecker(checker, life, what));
                } else if life == present {
                    self.at_checker(checker, what);
                }
            }
            Event::AtRevoker(revoker, life, what) => {
                let Process { life: present, paused_until, .. } = self.revokers[revoker];
                if paused_until > self.now {
                    self.at(paused_until, Event::AtRevoker(revoker, life, what));
                } else if life == present || life == u32::MAX {
                    self.at_revoker(revoker, what);
                }
            }
            Event::Commit { from, number, selector } => self.commit(from, number, selector),
            Event::LogIn => self.log_in(),
            Event::Fault(fault) => self.break_something(fault),
        }
    }

    // --- The store ---------------------------------------------------------------------------------------------------

    fn serve(&mut self, from: From, request: Request) {
        match (from, request) {
            (From::Checker(..), Request::Renew(asked)) => {
                let answer = self.store.renew(asked.renewal);
                self.reply_to_checker(from, &ForChecker::Renewed(asked, answer));
            }
            (From::Checker(..), Request::Find { session, sent, generation }) => {
                let (row, as_of) = self.store.find(session);
                self.reply_to_checker(from, &ForChecker::Found { row, as_of, sent, generation });
            }
            (_, Request::Revoke(selector)) => {
                let number = self.store.next_number();
                if self.flaw == Some(Flaw::GapInTheSequence) {
                    let at = self.now + self.random.u64(..20 * MILLI);
                    self.at(at, Event::Commit { from, number, selector });
                } else {
                    self.commit(from, number, selector);
                }
            }
            (_, Request::ReadLedger { asked }) => {
                let reading = self.store.read_ledger();
                self.reply_to_revoker(from, &ForRevoker::Ledger { reading, asked });
            }
            (_, Request::Settle(life)) => {
                self.history.tally.lives_settled += 1;
                self.store.settle(life);
            }
            (_, Request::Forget(seen)) => {
                self.history.tally.forgotten += 1;
                self.store.forget(&seen);
            }
            (From::Revoker(..), Request::Renew(_) | Request::Find { .. }) => {}
        }
    }

    fn commit(&mut self, from: From, number: LogNumber, selector: Selector) {
        let ended = self.store.commit(number, selector);
        self.reply_to_revoker(from, &ForRevoker::Committed { number, ended });
        // A wake-up is a favour: it may be lost.
        for checker in 0..CHECKERS {
            let life = self.checkers[checker].life;
            self.reply_to_checker(From::Checker(checker, life), &ForChecker::Wake);
        }
    }

    // --- Checkers ----------------------------------------------------------------------------------------------------

    fn at_checker(&mut self, checker: usize, what: ForChecker) {
        match what {
            ForChecker::Tick => {
                let (at, life) = (self.now + SECOND / 3, self.checkers[checker].life);
                self.at(at, Event::AtChecker(checker, life, ForChecker::Tick));
                self.renew(checker);
            }
            ForChecker::Wake => self.renew(checker),
            ForChecker::Renewed(asked, answer) => {
                let process = &mut self.checkers[checker];
                let now = process.clock.at(self.now);
                let (ask_again, started_over) = process.state.answered(asked, answer, now);
                self.history.tally.started_over += u64::from(started_over);
                if ask_again {
                    self.renew(checker);
                }
            }
            ForChecker::Check { session, sent } => {
                let process = &mut self.checkers[checker];
                let now = process.clock.at(self.now);
                match process.state.recall(session, now) {
                    Recalled::Good => {
                        self.history.tally.accepted_from_memory += 1;
                        self.history.accepted(self.seed, session, sent, self.now);
                    }
                    Recalled::Ended => self.history.tally.refused += 1,
                    Recalled::NoLease => {
                        self.history.tally.without_lease += 1;
                        self.find(checker, session, sent);
                    }
                    Recalled::Unknown => self.find(checker, session, sent),
                }
            }
            ForChecker::Found { row, as_of, sent, generation } => {
                self.found(checker, row, as_of, sent, generation);
            }
        }
    }

    fn renew(&mut self, checker: usize) {
        let process = &self.checkers[checker];
        let asked = process.state.holder.ask(process.clock.at(self.now));
        self.send(From::Checker(checker, process.life), &Request::Renew(asked));
    }

    fn find(&mut self, checker: usize, session: SessionId, sent: Time) {
        let Process { life, state, .. } = &self.checkers[checker];
        let generation = state.generation;
        self.send(From::Checker(checker, *life), &Request::Find { session, sent, generation });
    }

    fn found(&mut self, checker: usize, row: Option<Row>, as_of: LogNumber, sent: Time, generation: u32) {
        let state = &mut self.checkers[checker].state;
        let Some(row) = row else {
            self.history.tally.refused += 1;
            return;
        };
        // What was asked before it forgot everything says nothing about now.
        if generation != state.generation {
            return;
        }
        match state.fill(row, as_of) {
            Verdict::Stands => {
                self.history.tally.accepted_from_store += 1;
                self.history.accepted(self.seed, row.id, sent, self.now);
            }
            Verdict::Ended => self.history.tally.refused += 1,
            Verdict::Reread => self.find(checker, row.id, sent),
        }
    }

    // --- Revokers ----------------------------------------------------------------------------------------------------

    fn at_revoker(&mut self, revoker: usize, what: ForRevoker) {
        let process = &mut self.revokers[revoker];
        let (now, life) = (process.clock.at(self.now), process.life);
        match what {
            ForRevoker::Tick => {
                self.at(self.now + SECOND / 3, Event::AtRevoker(revoker, life, ForRevoker::Tick));
                self.look(revoker);
            }
            ForRevoker::Look => {
                process.state.will_look = false;
                self.acknowledge(revoker, now);
                self.look(revoker);
            }
            ForRevoker::End => {
                let selector = self.something_to_end();
                self.send(From::Revoker(revoker, life), &Request::Revoke(selector));
            }
            ForRevoker::Committed { number, ended } => {
                process.state.committed(number, ended, now);
                self.look(revoker);
            }
            ForRevoker::Ledger { reading, asked } => {
                process.state.note(reading, asked, now);
                let (settle, forget) =
                    (process.state.census.to_settle(now), process.state.census.to_forget(now));
                if let Some(life_of_store) = settle {
                    self.send(From::Revoker(revoker, life), &Request::Settle(life_of_store));
                }
                for seen in forget {
                    self.send(From::Revoker(revoker, life), &Request::Forget(seen));
                }
                self.acknowledge(revoker, now);
            }
        }
    }

    /// Reads the ledger, and again soon, as long as something is waited for.
    fn look(&mut self, revoker: usize) {
        let process = &mut self.revokers[revoker];
        let (asked, life) = (process.clock.at(self.now), process.life);
        if process.state.is_waiting() && !process.state.will_look {
            process.state.will_look = true;
            self.at(self.now + 20 * MILLI, Event::AtRevoker(revoker, life, ForRevoker::Look));
        }
        self.send(From::Revoker(revoker, life), &Request::ReadLedger { asked });
    }

    fn acknowledge(&mut self, revoker: usize, now: Moment) {
        for (ended, late) in self.revokers[revoker].state.acknowledged(now) {
            self.history.tally.waited_out += u64::from(late);
            self.history.acknowledged(&ended, self.now);
        }
    }

    fn something_to_end(&mut self) -> Selector {
        let Row { id: session, user, .. } =
            self.store.sessions[self.random.usize(..self.store.sessions.len())];
        match self.random.u8(..10) {
            0 => Selector::Everyone,
            1 | 2 => Selector::User { user },
            3 => Selector::UserExcept { user, except: session },
            _ => Selector::Session { session },
        }
    }

    // --- The world ---------------------------------------------------------------------------------------------------

    fn log_in(&mut self) {
        let user = UserId::from_bytes([self.random.u8(..USERS); 16]);
        self.store.open(user);
    }

    fn break_something(&mut self, fault: Fault) {
        let (checker, revoker) = (self.random.usize(..CHECKERS), self.random.usize(..REVOKERS));
        let (now, until) = (self.now, self.now + self.random.u64(..3 * SECOND));
        match fault {
            Fault::PauseChecker => {
                self.history.tally.pauses += 1;
                self.checkers[checker].paused_until = until;
            }
            Fault::PauseRevoker => {
                self.history.tally.pauses += 1;
                self.revokers[revoker].paused_until = until;
            }
            Fault::CutChecker => self.checkers[checker].cut_until = until,
            Fault::CrashChecker => {
                self.history.tally.crashes += 1;
                let state = Checker::new(self.new_id(), self.flaw);
                let process = &mut self.checkers[checker];
                (process.state, process.life) = (state, process.life + 1);
                let life = process.life;
                self.at(now + MILLI, Event::AtChecker(checker, life, ForChecker::Tick));
            }
            Fault::CrashRevoker => {
                self.history.tally.crashes += 1;
                let process = &mut self.revokers[revoker];
                (process.state, process.life) = (Revoker::new(self.flaw), process.life + 1);
                let life = process.life;
                self.at(now + MILLI, Event::AtRevoker(revoker, life, ForRevoker::Tick));
            }
            Fault::StoreStops => {
                self.store.is_down = true;
                let (back, forgets_leases) = (now + self.random.u64(..SECOND), self.random.bool());
                self.at(back, Event::Fault(Fault::StoreStarts { forgets_leases }));
            }
            Fault::StoreStarts { forgets_leases } => self.store.start(forgets_leases),
            Fault::TrimLog => self.store.trim(self.random.usize(..3)),
        }
    }

    fn send(&mut self, from: From, request: &Request) {
        if let From::Checker(checker, _) = from
            && self.checkers[checker].cut_until > self.now
        {
            return;
        }
        for delay in self.weather.deliveries(&mut self.random) {
            self.at(self.now + delay, Event::AtStore(from, request.clone()));
        }
    }

    fn reply_to_checker(&mut self, to: From, what: &ForChecker) {
        let From::Checker(checker, life) = to else { return };
        if self.checkers[checker].cut_until > self.now {
            return;
        }
        for delay in self.weather.deliveries(&mut self.random) {
            self.at(self.now + delay, Event::AtChecker(checker, life, what.clone()));
        }
    }

    fn reply_to_revoker(&mut self, to: From, what: &ForRevoker) {
        let From::Revoker(revoker, life) = to else { return };
        for delay in self.weather.deliveries(&mut self.random) {
            self.at(self.now + delay, Event::AtRevoker(revoker, life, what.clone()));
        }
    }

    fn at(&mut self, at: Time, event: Event) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled { at, order: self.scheduled, event }));
    }

    fn new_id(&mut self) -> CheckerId {
        self.ids += 1;
        CheckerId::from_bytes([self.ids; 16])
    }
}

impl<T> Process<T> {
    fn new(state: T, random: &mut Rng) -> Self {
        Self { state, clock: LocalClock::of(random), life: 0, paused_until: 0, cut_until: 0 }
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
