//! What a checker hears of the log. A node that is newer than this program may tell of an entry that it cannot read, which may be
//! about anything.

use kerria_core::{LogEntry, LogNumber, lease::Renewed, store::LogPage};
use serde::Deserialize;

/// The answer to a renewal.
#[derive(Debug, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum RenewedHeard {
    Registered { head: LogNumber },
    Entries { entries: Vec<Heard>, complete: bool },
    StartOver { head: LogNumber },
}

/// A stretch of the log.
#[derive(Debug, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum LogHeard {
    Entries { entries: Vec<Heard> },
    StartOver { head: LogNumber },
}

/// An entry.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Heard {
    Readable(LogEntry),
    Unreadable { number: LogNumber },
}

/// The entries; or the number of the last one that cannot be read. Whoever forgets all that is known up to there has applied it.
fn read(entries: Vec<Heard>) -> Result<Vec<LogEntry>, LogNumber> {
    let unreadable = entries.iter().rev().find_map(|entry| match entry {
        Heard::Unreadable { number } => Some(*number),
        Heard::Readable(_) => None,
    });
    let readable = entries.into_iter().filter_map(|entry| match entry {
        Heard::Readable(entry) => Some(entry),
        Heard::Unreadable { .. } => None,
    });
    unreadable.map_or_else(|| Ok(readable.collect()), Err)
}

impl From<RenewedHeard> for Renewed {
    fn from(heard: RenewedHeard) -> Self {
        match heard {
            RenewedHeard::Registered { head } => Self::Registered { head },
            RenewedHeard::StartOver { head } => Self::StartOver { head },
            RenewedHeard::Entries { entries, complete } => match read(entries) {
                Ok(entries) => Self::Entries { entries, complete },
                Err(head) => Self::StartOver { head },
            },
        }
    }
}

impl From<LogHeard> for LogPage {
    fn from(heard: LogHeard) -> Self {
        match heard {
            LogHeard::StartOver { head } => Self::StartOver { head },
            LogHeard::Entries { entries } => {
                read(entries).map_or_else(|head| Self::StartOver { head }, Self::Entries)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kerria_core::{Cause, LogEvent, Selector, Timestamp};
    use serde_json::{Value, json};

    use super::*;

    fn renewed(entries: &Value) -> Renewed {
        let answer = json!({ "answer": "entries", "entries": entries, "complete": true });
        serde_json::from_value::<RenewedHeard>(answer).unwrap().into()
    }

    fn entry(number: u64, selector: &Value, event: &Value) -> Value {
        json!({ "number": number, "at": 1_800_000_000_000_u64, "selector": selector, "event": event })
    }

    #[test]
    fn an_entry_that_cannot_be_read_makes_who_hears_of_it_start_over_behind_it() {
        let ended = json!({ "event": "ended", "cause": "operator" });
        let everyone = json!({ "kind": "everyone" });
        let good = |number| entry(number, &everyone, &ended);
        assert!(
            matches!(renewed(&json!([good(41), good(42)])), Renewed::Entries { entries, .. } if entries.len() == 2)
        );
        for unreadable in [
            entry(42, &json!({ "kind": "tenant", "tenant": "t1" }), &ended),
            entry(42, &everyone, &json!({ "event": "paused" })),
            entry(42, &everyone, &json!({ "event": "ended", "cause": "tired" })),
            json!({ "number": 42 }),
        ] {
            let answer = renewed(&json!([good(41), unreadable, good(43)]));
            assert_eq!(answer, Renewed::StartOver { head: LogNumber(42) }, "what follows is asked for next");
            let log = json!({ "answer": "entries", "entries": [unreadable, good(43)] });
            let log: LogPage = serde_json::from_value::<LogHeard>(log).unwrap().into();
            assert_eq!(log, LogPage::StartOver { head: LogNumber(42) });
        }
    }

    #[test]
    fn what_a_node_says_is_heard_as_it_is_meant() {
        let entry = LogEntry {
            number: LogNumber(7),
            at: Timestamp::from_millis(5),
            selector: Selector::Everyone,
            event: LogEvent::Ended { cause: Cause::Operator },
        };
        for said in [
            Renewed::Registered { head: LogNumber(1) },
            Renewed::StartOver { head: LogNumber(2) },
            Renewed::Entries { entries: vec![entry], complete: false },
            Renewed::Entries { entries: Vec::new(), complete: true },
        ] {
            let heard: RenewedHeard = serde_json::from_value(json!(said)).unwrap();
            assert_eq!(Renewed::from(heard), said);
        }
        let numberless = json!({ "answer": "entries", "entries": [{ "at": 1 }], "complete": true });
        assert!(serde_json::from_value::<RenewedHeard>(numberless).is_err(), "nobody knows what to forget");
    }
}
