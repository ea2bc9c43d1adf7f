//! Times in words.

use jiff::Timestamp;

/// Seconds, and what to call that many.
const UNITS: [(i64, &str); 4] = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];

/// From this many days on, a date says more than a number of days.
const DAYS: i64 = 60;

/// The current instant, for people to read other times from.
#[expect(clippy::disallowed_methods, reason = "the command line is an edge, and no server runs here")]
pub(super) fn now() -> Timestamp {
    Timestamp::now()
}

/// How long before or after `now` a time in RFC 3339 is: "3 minutes ago", "in 2 hours". What is no time stays as it is.
pub(super) fn in_words(now: Timestamp, time: &str) -> String {
    let Ok(then) = time.parse::<Timestamp>() else { return time.to_owned() };
    let seconds = now.as_second() - then.as_second();
    if seconds.abs() >= DAYS * 86_400 {
        return then.strftime("%Y-%m-%d").to_string();
    }
    let unit = UNITS.into_iter().find(|(unit, _)| seconds.abs() >= *unit);
    match unit {
        None => "now".to_owned(),
        Some((unit, name)) => {
            let count = seconds.abs() / unit;
            let plural = if count == 1 { "" } else { "s" };
            if seconds > 0 {
                format!("{count} {name}{plural} ago")
            } else {
                format!("in {count} {name}{plural}")
            }
        }
    }
}

/// A time in RFC 3339 to the second, in UTC: "2026-05-01 09:30:00". What is no time stays as it is.
pub(super) fn exact(time: &str) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_from_now() {
        let now: Timestamp = "2026-05-01T12:00:00Z".parse().unwrap();
        for (time, words) in [
            ("2026-05-01T12:00:00.400Z", "now"),
            ("2026-05-01T11:59:59Z", "1 second ago"),
            ("2026-05-01T11:57:00Z", "3 minutes ago"),
            ("2026-05-01T11:00:00+00:00", "1 hour ago"),
            ("2026-04-30T12:00:01Z", "23 hours ago"),
            ("2026-04-29T12:00:00Z", "2 days ago"),
            ("2026-05-01T14:00:00Z", "in 2 hours"),
            ("2026-05-08T12:00:00Z", "in 7 days"),
            ("2025-05-01T12:00:00Z", "2025-05-01"),
            ("2031-05-01T12:00:00Z", "2031-05-01"),
            ("soon", "soon"),
        ] {
            assert_eq!(in_words(now, time), words, "{time}");
        }
    }

    #[test]
    fn exact_times_are_in_utc_to_the_second() {
        assert_eq!(exact("2026-05-01T14:00:00.123+02:00"), "2026-05-01 12:00:00");
        assert_eq!(exact("soon"), "soon");
    }
}
