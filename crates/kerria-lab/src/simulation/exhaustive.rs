//! Every schedule there is, of a very small world: two checkers, one who ends a session, one store.
//!
//! Messages overtake each other, and take as long as the world lasts, which is how they are lost; a checker may crash; the store may
//! lose its ledger. All clocks show the same here, in steps of half a lease: what drift and pauses do is for the random schedules.

use kerria_core::{
    Cause, CheckerId, LeaseTerms, LogEntry, LogEvent, LogNumber, Moment, Selector, SessionId, Timestamp,
    lease::{Asked, Awaited, Census, Holder, Ledger, LedgerReading, Life, Progress, Renewed, Todo},
    store::LogPage,
};
use stateright::{Checker as _, Model, Property};
use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    time::Duration,
};

/// Half a lease, in nanoseconds.
const STEP: u64 = 32;
const TERMS: LeaseTerms = LeaseTerms { length: Duration::from_nanos(2 * STEP) };
const SESSION: SessionId = SessionId::from_bytes([7; 16]);

/// How large the world is.
struct World {
    steps: u8,
    /// Requests that may be sent.
    requests: u8,
    /// Whether a checker may crash and the store may lose its ledger.
    things_break: bool,
    /// Believe a ledger that was lost, to see that it shows.
    believes_a_lost_ledger: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    now: u8,
    ended: bool,
    ledger: Ledger,
    ledger_lost: bool,
    checkers: [Checker; 2],
    crashed: bool,
    census: Census,
    awaited: Option<Awaited>,
    acknowledged: bool,
    messages: Vec<Message>,
    requests_sent: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Checker {
    life: u8,
    holder: Holder,
    /// As of which number it remembers the session.
    remembers: Option<LogNumber>,
    /// Whether it has applied the end.
    knows_the_end: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Message {
    Renew(usize, u8, Asked),
    Renewed(usize, u8, Asked, Renewed),
    /// The session was there, as of this number.
    Found(usize, u8, LogNumber),
    ReadLedger(Moment),
    Ledger(Moment, LedgerReading),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Action {
    TimePasses,
    Renew(usize),
    Read(usize),
    Crash(usize),
    End,
    ReadLedger,
    Acknowledge,
    LoseLedger,
    Deliver(usize),
}

fn checker(number: usize, life: u8) -> Checker {
    let id = CheckerId::from_bytes([number as u8 * 16 + life; 16]);
    Checker { life, holder: Holder::new(id, TERMS), remembers: None, knows_the_end: false }
}

impl State {
    fn moment(&self) -> Moment {
        Moment(1_000 + u64::from(self.now) * STEP)
    }

    fn head(&self) -> LogNumber {
        LogNumber(u64::from(self.ended))
    }

    fn ask(&mut self, message: Message) {
        self.requests_sent += 1;
        self.send(message);
    }

    fn send(&mut self, message: Message) {
        // In the order of something, so that what was sent in another order is the same state.
        self.messages.push(message);
        self.messages.sort_by_key(|message| BuildHasherDefault::<DefaultHasher>::default().hash_one(message));
    }

    /// Whether a checker would accept the session now, from its memory.
    fn accepts(&self, checker: &Checker) -> bool {
        let remembers =
            checker.remembers.is_some_and(|as_of| !(checker.knows_the_end && as_of < LogNumber(1)));
        remembers && checker.holder.holds(self.moment())
    }

    fn deliver(&mut self, message: Message) {
        let now = self.moment();
        match message {
            Message::Renew(number, life, asked) => {
                let (head, ended) = (self.head(), self.ended);
                let answer = self.ledger.renew(asked.renewal, 10, |applied, _| {
                    let is_new = ended && applied.is_some_and(|applied| applied < LogNumber(1));
                    let entry = LogEntry {
                        number: LogNumber(1),
                        at: Timestamp::EPOCH,
                        selector: Selector::Session { session: SESSION },
                        event: LogEvent::Ended { cause: Cause::Operator },
                    };
                    (head, LogPage::Entries(is_new.then_some(entry).into_iter().collect()))
                });
                self.send(Message::Renewed(number, life, asked, answer));
            }
            Message::Renewed(number, life, asked, answer) => {
                let checker = &mut self.checkers[number];
                if checker.life != life {
                    return;
                }
                if let Todo::Apply(entries, gained) = checker.holder.answered(asked, answer) {
                    checker.knows_the_end |= !entries.is_empty();
                    checker.holder.applied(gained);
                }
            }
            Message::Found(number, life, as_of) => {
                let checker = &mut self.checkers[number];
                if checker.life == life && !(checker.knows_the_end && as_of < LogNumber(1)) {
                    checker.remembers = Some(as_of);
                }
            }
            Message::ReadLedger(asked) => {
                let reading = self.ledger.read();
                self.send(Message::Ledger(asked, reading));
            }
            Message::Ledger(asked, reading) => {
                self.census.note(reading, asked, now);
                if let Some(life) = self.census.to_settle(now) {
                    self.ledger.settle(life);
                }
                for seen in self.census.to_forget(now) {
                    self.ledger.forget(&seen);
                }
            }
        }
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            now: 0,
            ended: false,
            ledger: Ledger::new(Life(1), true),
            ledger_lost: false,
            checkers: [checker(1, 0), checker(2, 0)],
            crashed: false,
            census: Census::new(TERMS),
            awaited: None,
            acknowledged: false,
            messages: Vec::new(),
            requests_sent: 0,
        };
        // Both checkers have just renewed their leases, and remember the session.
        for number in 0..2 {
            for _registered_and_renewed in 0..2 {
                let asked = state.checkers[number].holder.ask(state.moment());
                state.deliver(Message::Renew(number, 0, asked));
                let answer = state.messages.remove(0);
                state.deliver(answer);
            }
            state.checkers[number].remembers = Some(LogNumber(0));
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.now < self.steps {
            actions.push(Action::TimePasses);
        }
        let there_is_room = state.requests_sent < self.requests;
        for number in 0..2 {
            if there_is_room {
                actions.push(Action::Renew(number));
                if !state.ended && state.checkers[number].remembers.is_none() {
                    actions.push(Action::Read(number));
                }
            }
            if self.things_break && !state.crashed {
                actions.push(Action::Crash(number));
            }
        }
        if !state.ended {
            actions.push(Action::End);
        }
        if there_is_room {
            actions.push(Action::ReadLedger);
        }
        if self.things_break && !state.ledger_lost {
            actions.push(Action::LoseLedger);
        }
        if state.awaited.is_some() && !state.acknowledged {
            actions.push(Action::Acknowledge);
        }
        for message in 0..state.messages.len() {
            actions.push(Action::Deliver(message));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        let now = next.moment();
        match action {
            Action::TimePasses => next.now += 1,
            Action::Renew(number) => {
                let checker = &next.checkers[number];
                let message = Message::Renew(number, checker.life, checker.holder.ask(now));
                next.ask(message);
            }
            Action::Read(number) => {
                let (life, head) = (next.checkers[number].life, next.head());
                next.ask(Message::Found(number, life, head));
            }
            Action::Crash(number) => {
                next.crashed = true;
                next.checkers[number] = checker(number + 1, 1);
            }
            Action::End => {
                next.ended = true;
                next.awaited = Some(Awaited { number: LogNumber(1), committed: now });
            }
            Action::ReadLedger => next.ask(Message::ReadLedger(now)),
            Action::LoseLedger => {
                next.ledger_lost = true;
                next.ledger = Ledger::new(Life(2), self.believes_a_lost_ledger);
            }
            Action::Acknowledge => match next.census.progress(next.awaited?, now) {
                Progress::Acknowledged { .. } => next.acknowledged = true,
                Progress::Waiting { .. } => return None,
            },
            Action::Deliver(number) => {
                let message = next.messages.remove(number);
                next.deliver(message);
            }
        }
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "what was ended is not accepted once that is acknowledged",
                |_, state: &State| {
                    !(state.acknowledged && state.checkers.iter().any(|checker| state.accepts(checker)))
                },
            ),
            Property::sometimes(
                "a checker accepts what was ended, before that is acknowledged",
                |_, state: &State| state.ended && state.checkers.iter().any(|checker| state.accepts(checker)),
            ),
            Property::sometimes("an end is acknowledged", |_, state: &State| state.acknowledged),
        ]
    }
}

fn all_is_well(world: World) {
    let checked = world.checker().threads(2).spawn_bfs().join();
    println!("{} states", checked.unique_state_count());
    checked.assert_properties();
}

#[test]
fn no_schedule_of_a_small_world_accepts_what_was_ended() {
    all_is_well(World { steps: 3, requests: 3, things_break: false, believes_a_lost_ledger: false });
}

#[test]
fn no_schedule_of_a_smaller_world_where_things_break_accepts_what_was_ended() {
    all_is_well(World { steps: 3, requests: 2, things_break: true, believes_a_lost_ledger: false });
}

#[test]
fn a_ledger_that_was_lost_and_is_believed_shows() {
    let world = World { steps: 3, requests: 2, things_break: true, believes_a_lost_ledger: true };
    let checked = world.checker().threads(2).spawn_bfs().join();
    assert!(checked.discovery("what was ended is not accepted once that is acknowledged").is_some());
}
