//! The clock.

use std::{fs, path::Path, time::SystemTime};

use jiff::Timestamp;

use super::Finding;
use crate::cli::times::in_words;

/// This program did not exist before.
const RELEASED: &str = "2026-01-01T00:00:00Z";

/// How far the clock may seem to have gone back, in seconds. File systems keep time a little differently.
const SLACK: i64 = 5;

pub(super) fn look(database: &Path, now: Timestamp) -> Finding {
    judge(now, last_write(database))
}

fn judge(now: Timestamp, last_write: Option<Timestamp>) -> Finding {
    let released: Timestamp = RELEASED.parse().expect("this is a time");
    if now < released {
        let text = format!("it is {now} here, before this program was released");
        return Finding::fail("clock", text, "set the clock, and keep it set (NTP): sessions end by it");
    }
    match last_write {
        Some(last) if now.as_second() + SLACK < last.as_second() => Finding::fail(
            "clock",
            format!("the database was written {}: the clock has gone back", in_words(now, &last.to_string())),
            "set the clock, and keep it set (NTP): until then sessions last longer than they should",
        ),
        _ => Finding::ok("clock", format!("{} in UTC", now.strftime("%Y-%m-%d %H:%M:%S"))),
    }
}

/// When the database was last written to.
fn last_write(database: &Path) -> Option<Timestamp> {
    let log = database.with_extension("db-wal");
    let written = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    let last: SystemTime = [written(database), written(&log)].into_iter().flatten().max()?;
    Timestamp::try_from(last).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State;

    #[test]
    fn a_clock_that_cannot_be_right_is_noticed() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = time("2026-05-01T12:00:00Z");
        assert_eq!(judge(now, None), Finding::ok("clock", "2026-05-01 12:00:00 in UTC"));
        assert_eq!(judge(now, Some(time("2026-05-01T12:00:04Z"))).state, State::Ok);
        let gone_back = judge(now, Some(time("2026-05-02T12:00:00Z")));
        assert_eq!(gone_back.state, State::Fail);
        assert_eq!(gone_back.text, "the database was written in 1 day: the clock has gone back");
        assert_eq!(judge(time("1970-01-01T00:01:00Z"), None).state, State::Fail);
    }
}
