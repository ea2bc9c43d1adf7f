//! Times in words.

use kerria_core::{Method, Timestamp};

use crate::{api::shapes::Rfc3339, pages::views::Moment};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A moment before `now`: "just now", "3 minutes ago", "on 12 March 2026".
pub fn past(at: Timestamp, now: Timestamp) -> Moment {
    let words = match now.since(at).as_secs() {
        0..MINUTE => "just now".to_owned(),
        seconds @ ..HOUR => format!("{} ago", count(seconds / MINUTE, "minute")),
        seconds @ ..DAY => format!("{} ago", count(seconds / HOUR, "hour")),
        seconds if seconds < 7 * DAY => format!("{} ago", count(seconds / DAY, "day")),
        _ => format!("on {}", date(at)),
    };
    Moment { words, datetime: Rfc3339(at).to_string() }
}

/// A moment after `now`, rounded: "in less than a minute", "in 2 hours", "in 29 days".
pub fn future(at: Timestamp, now: Timestamp) -> Moment {
    let seconds = at.since(now).as_secs();
    let rounded = |unit: u64| (seconds + unit / 2) / unit;
    let words = if seconds < MINUTE {
        "in less than a minute".to_owned()
    } else if rounded(MINUTE) < 60 {
        format!("in {}", count(rounded(MINUTE), "minute"))
    } else if rounded(HOUR) < 48 {
        format!("in {}", count(rounded(HOUR), "hour"))
    } else {
        format!("in {}", count(rounded(DAY), "day"))
    };
    Moment { words, datetime: Rfc3339(at).to_string() }
}

/// How a user signed in, as it goes on after "Signed in yesterday".
pub const fn how(method: Option<Method>) -> &'static str {
    match method {
        Some(Method::Password) => "with a password",
        Some(Method::Invitation) => "by an invitation",
        Some(Method::Application) => "in an application",
        Some(Method::SignUp) => "when the account was created",
        None => "",
    }
}

/// "1 session", "2 sessions".
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn date(at: Timestamp) -> String {
    let instant = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default();
    instant.strftime("%-d %B %Y").to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn ago(seconds: u64) -> String {
        past(NOW - Duration::from_secs(seconds), NOW).words
    }

    #[test]
    fn the_past_in_words() {
        assert_eq!(ago(0), "just now");
        assert_eq!(ago(59), "just now");
        assert_eq!(ago(60), "1 minute ago");
        assert_eq!(ago(3 * HOUR + 5), "3 hours ago");
        assert_eq!(ago(DAY), "1 day ago");
        assert_eq!(ago(30 * DAY), "on 16 December 2026");
        assert_eq!(past(NOW + Duration::from_secs(60), NOW).words, "just now");
    }

    #[test]
    fn the_future_in_words() {
        let in_ = |seconds| future(NOW + Duration::from_secs(seconds), NOW).words;
        assert_eq!(in_(5), "in less than a minute");
        assert_eq!(in_(2 * HOUR), "in 2 hours");
        assert_eq!(in_(2 * HOUR - 1), "in 2 hours");
        assert_eq!(in_(HOUR - 1), "in 1 hour");
        assert_eq!(in_(2 * DAY - 1), "in 2 days");
        assert_eq!(in_(29 * DAY + 5), "in 29 days");
        assert_eq!(future(NOW, NOW).datetime, "2027-01-15T08:00:00.000Z");
    }
}
