//! What the server says while it runs: lines of text for people, or of JSON for machines.
//!
//! A value never makes a line of its own. Names and user agents are chosen by strangers; what could end a line or
//! steer a terminal is written as an escape sequence in either format.

use std::{
    fmt::{self, Write},
    io::{self, IsTerminal},
};

use tracing::{Subscriber, field::Field, level_filters::LevelFilter, subscriber::set_global_default};
use tracing_subscriber::{
    EnvFilter, Layer,
    field::MakeExt,
    fmt::{MakeWriter, format::Writer},
    layer::SubscriberExt,
    registry::Registry,
};

use crate::config::{LogFormat, LogSettings};

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The filter is not one.
    #[error("cannot read the log filter {filter:?}: {reason}")]
    BadFilter {
        /// As it was set.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// They were set up before.
    #[error("logs are set up already")]
    AlreadySetUp,
}

/// Sends logs to standard error from now on: in colour if that is a terminal and `NO_COLOR` is not set.
///
/// # Errors
/// If the filter cannot be read, or if logs were set up before.
pub fn init(settings: &LogSettings) -> Result<(), LogsError> {
    let filter = read_filter(&settings.filter)?;
    let colour = if io::stderr().is_terminal() { Colour::UnlessRefused } else { Colour::Never };
    set_global_default(subscriber(settings.format, filter, colour, io::stderr))
        .map_err(|_| LogsError::AlreadySetUp)
}

/// Says what is wrong with a filter, if anything is, so that it is noticed when the configuration is read.
///
/// # Errors
/// What is wrong.
pub fn check_filter(filter: &str) -> Result<(), LogsError> {
    read_filter(filter).map(|_| ())
}

fn read_filter(filter: &str) -> Result<EnvFilter, LogsError> {
    let bad = |reason| LogsError::BadFilter { filter: filter.to_owned(), reason };
    // A word that is no level would be taken for the name of a module, and silence everything else.
    let parts: Vec<_> = filter.split(',').map(str::trim).collect();
    for part in parts.iter().filter(|part| !part.contains(['=', '['])) {
        if part.is_empty() || part.parse::<LevelFilter>().is_err() {
            return Err(bad(format!(
                "{part:?} is not a level. Levels are off, error, warn, info, debug and trace; for one module, write \
                 kerria_server=debug"
            )));
        }
    }
    EnvFilter::builder().with_regex(false).parse(parts.join(",")).map_err(|error| bad(error.to_string()))
}

#[derive(Clone, Copy)]
enum Colour {
    /// Unless `NO_COLOR` is set, which the formatter looks at.
    UnlessRefused,
    Never,
}

fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    colour: Colour,
    writer: W,
) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // If standard error is gone, there is nowhere left to complain.
    let layer = tracing_subscriber::fmt::layer::<Registry>().with_writer(writer).log_internal_errors(false);
    let layer = match format {
        LogFormat::Json => {
            layer.json().flatten_event(true).with_current_span(false).with_span_list(true).boxed()
        }
        LogFormat::Text => {
            let layer = match colour {
                Colour::UnlessRefused => layer,
                Colour::Never => layer.with_ansi(false),
            };
            let fields = tracing_subscriber::fmt::format::debug_fn(write_field).delimited(" ");
            layer.compact().fmt_fields(fields).boxed()
        }
    };
    Registry::default().with(layer.with_filter(filter))
}

/// Writes `name=value`, or the message alone.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(writer, "{field}=")?;
    }
    write!(Escaping(writer), "{value:?}")
}

/// Lets text pass, and escapes what would end the line, steer a terminal, or turn the direction of writing.
struct Escaping<'a, 'w>(&'a mut Writer<'w>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(is_unsafe) {
            let mut chars = piece.chars();
            match chars.next_back() {
                Some(last) if is_unsafe(last) => {
                    write!(self.0, "{}{}", chars.as_str(), last.escape_default())?;
                }
                _ => self.0.write_str(piece)?,
            }
        }
        Ok(())
    }
}

/// Control characters, the line and paragraph separators, and the marks of the Unicode Bidirectional Algorithm.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use kerria_core::{Entropy, PasswordHash, Secret, Token, TokenKey, TokenKind};
    use tracing::{info, info_span, subscriber::with_default, trace};

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str, say: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        let filter = read_filter(filter).unwrap();
        with_default(subscriber(format, filter, Colour::Never, move || writer.clone()), say);
        String::from_utf8(page.0.lock().unwrap().clone()).unwrap()
    }

    const EVIL: &str =
        "mallory\n2026-01-01T00:00:00Z  INFO kerria: all is well\r\u{1b}[2J\u{85}\u{2028}\u{202e}\0";

    fn say_evil() {
        let _span = info_span!("request", agent = %EVIL, name = EVIL).entered();
        info!(subject = %EVIL, quoted = EVIL, debug = ?EVIL, error = &io::Error::other(EVIL) as &dyn std::error::Error, "hello {EVIL}");
    }

    #[test]
    fn a_value_cannot_forge_a_line_of_text() {
        let text = logged(LogFormat::Text, "info", say_evil);
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        assert!(!text.trim_end_matches('\n').contains(is_unsafe), "{text:?}");
        assert!(text.contains("hello mallory\\n2026-01-01"), "{text}");
        assert!(text.contains(" subject=mallory\\n2026-01-01"), "{text}");
        assert!(text.contains("all is well\\r\\u{1b}[2J\\u{85}\\u{2028}\\u{202e}"), "{text}");
    }

    #[test]
    fn a_value_cannot_forge_a_line_of_json() {
        let text = logged(LogFormat::Json, "info", say_evil);
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["subject"], EVIL);
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["spans"][0]["name"], "request");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_line_of_text_reads_aloud_and_says_when_in_utc() {
        let text = logged(LogFormat::Text, "info", || {
            let (id, subject) = (17, "alice");
            info!(session.id = %id, %subject, "session {id} opened for {subject}");
        });
        let (time, rest) = text.split_once(' ').unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok() && time.ends_with('Z'), "{time}");
        assert_eq!(
            rest,
            " INFO kerria_server::logs::tests: session 17 opened for alice session.id=17 subject=alice\n"
        );
    }

    #[test]
    fn the_filter_lets_pass_what_it_says() {
        let say = || {
            trace!("a trace");
            info!("some information");
        };
        assert_eq!(logged(LogFormat::Text, "warn", say), "");
        assert_eq!(logged(LogFormat::Text, "info", say).lines().count(), 1);
        assert_eq!(logged(LogFormat::Text, "off,kerria_server::logs=trace", say).lines().count(), 2);
    }

    #[test]
    fn a_filter_that_would_say_nothing_is_refused_with_a_reason() {
        for good in [
            "info",
            "WARN",
            "off",
            "info,kerria_server=debug",
            " info , kerria=trace",
            "info,[request]=debug",
        ] {
            assert!(check_filter(good).is_ok(), "{good}");
        }
        for bad in ["", "inof", "info,kerria_server", "kerria=loud", "info,,debug", "kerria=[", "info,a=b=c"]
        {
            assert!(check_filter(bad).is_err(), "{bad}");
        }
        assert_eq!(
            check_filter("inof").unwrap_err().to_string(),
            "cannot read the log filter \"inof\": \"inof\" is not a level. Levels are off, error, warn, info, debug \
             and trace; for one module, write kerria_server=debug"
        );
    }

    #[test]
    fn no_secret_is_shown_however_it_is_logged() {
        struct Known;
        impl Entropy for Known {
            fn fill(&self, bytes: &mut [u8]) {
                bytes.fill(0xAB);
            }
        }
        let key = TokenKey::from_bytes([0xCD; 16]);
        let token = Token::random(TokenKind::Session, &Known);
        let written = token.write(&key);
        let password = Secret::from("hunter2");
        let hash = PasswordHash::new("$argon2id$v=19$hunter2".to_owned());
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged(format, "trace", || {
                trace!(
                    ?password,
                    ?hash,
                    ?token,
                    ?written,
                    ?key,
                    "{password:?} {hash:?} {token:?} {written:?} {key:?}"
                );
                trace!(whole = ?(&password, Some(&hash), [&token]), "nested");
            });
            assert_eq!(text.lines().count(), 2);
            for secret in [
                "hunter2",
                "argon2",
                &written.expose()[4..12],
                "171, 171",
                "205, 205",
                "abab",
                "ABAB",
                "cdcd",
            ] {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
        }
    }
}
