//! Durations as people write them: `90s`, `15m`, `1h30m`.

use std::time::Duration;

/// The units and their milliseconds, the largest first.
const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Longer than any lifetime that makes sense, short enough for every calculation.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

const EXAMPLES: &str = "write a duration such as 90s, 15m, 2h, 7d or 1h30m";

/// Reads a duration: whole numbers, each with its unit (w, d, h, m, s, ms), larger units before smaller ones.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    if text.is_empty() {
        return Err(format!("nothing is written there: {EXAMPLES}"));
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!(
            "\"{text}\" has no unit: write \"{text}s\" if you mean seconds, \"{text}m\" for minutes"
        ));
    }
    let wrong = || format!("\"{text}\" is not a duration: {EXAMPLES}");
    let mut rest = text;
    let mut millis: u64 = 0;
    let mut larger = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (name, tail) = tail.split_at(letters);
        let (_, unit) = UNITS.into_iter().find(|(unit, _)| *unit == name).ok_or_else(wrong)?;
        if digits == 0 || unit >= larger {
            return Err(wrong());
        }
        let too_long = || format!("\"{text}\" is too long: at most 100 years (36500d)");
        let number: u64 = number.parse().map_err(|_| too_long())?;
        millis = number.checked_mul(unit).and_then(|part| millis.checked_add(part)).ok_or_else(too_long)?;
        if Duration::from_millis(millis) > LONGEST {
            return Err(too_long());
        }
        (rest, larger) = (tail, unit);
    }
    Ok(Duration::from_millis(millis))
}

/// Writes a duration so that [`parse`] reads it back, to the millisecond. Weeks are written as days.
pub(crate) fn write(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, unit) in UNITS.into_iter().skip(1) {
        if rest >= unit {
            text.push_str(&format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [
            ("90s", 90_000),
            ("15m", 900_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
            ("1w", 604_800_000),
            ("1h30m", 5_400_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("250ms", 250),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused_with_examples() {
        for bad in ["x", "2x", "h", "-1s", "1.5h", "1h 30m", "30m1h", "1h1h", "１h", "2hours"] {
            let message = parse(bad).unwrap_err();
            assert_eq!(message, format!("\"{bad}\" is not a duration: {EXAMPLES}"));
        }
        assert_eq!(
            parse("90").unwrap_err(),
            "\"90\" has no unit: write \"90s\" if you mean seconds, \"90m\" for minutes"
        );
        assert!(parse("").unwrap_err().starts_with("nothing is written there"));
        for long in ["36501d", "99999999999999999999s", "18446744073709551615w"] {
            assert!(parse(long).unwrap_err().contains("at most 100 years"), "{long}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["0s", "1s", "250ms", "1m30s", "12h", "30d", "1d2h3m4s5ms"] {
            assert_eq!(write(parse(text).unwrap()), text);
        }
        assert_eq!(write(parse("2w").unwrap()), "14d");
    }
}
