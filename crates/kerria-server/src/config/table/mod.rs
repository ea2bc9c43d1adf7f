//! The table of all settings. Everything that knows a setting, knows it from here.

mod checkers;
mod database;
mod door;
mod forward_auth;
mod password;
mod redis;
mod server;
mod session;
mod tokens;

use super::kind::Kind;

/// One setting: one row.
pub(crate) struct Setting {
    /// Its name, as in `session.idle_timeout`.
    pub(crate) key: &'static str,
    /// What holds if it is not set; `None` if it then has no value.
    pub(crate) default: Option<&'static str>,
    /// What its value may be.
    pub(crate) kind: Kind,
    /// A value that is not the default.
    pub(crate) example: &'static str,
    /// What it is for, in sentences; the first one says it alone.
    pub(crate) meaning: &'static str,
}

/// Settings that belong together.
pub(crate) struct Section {
    /// The group in the file; empty for the settings at its top.
    pub(crate) name: &'static str,
    /// The heading over them.
    pub(crate) title: &'static str,
    /// The rows.
    pub(crate) settings: &'static [Setting],
}

/// All settings, in the order in which they are shown and applied.
pub(crate) static SECTIONS: &[Section] = &[
    Section { name: "", title: "Where Kerria is", settings: server::TOP },
    Section { name: "database", title: "The database", settings: database::DATABASE },
    Section { name: "redis", title: "Sessions in Redis", settings: redis::REDIS },
    Section { name: "sign_up", title: "Signing up", settings: server::SIGN_UP },
    Section { name: "session", title: "Sessions", settings: session::SESSION },
    Section { name: "tokens", title: "Access tokens and refresh tokens", settings: tokens::TOKENS },
    Section { name: "password", title: "Passwords", settings: password::PASSWORD },
    Section { name: "throttle", title: "Slowing down those who guess", settings: door::THROTTLE },
    Section { name: "operator", title: "The operator's API", settings: server::OPERATOR },
    Section { name: "forward_auth", title: "Reverse proxies that ask", settings: forward_auth::FORWARD_AUTH },
    Section { name: "checkers", title: "Checkers in applications", settings: checkers::CHECKERS },
    Section { name: "server", title: "The HTTP server", settings: server::SERVER },
    Section { name: "log", title: "Logs", settings: server::LOG },
];

/// All rows, in order.
pub(crate) fn settings() -> impl Iterator<Item = &'static Setting> {
    SECTIONS.iter().flat_map(|section| section.settings)
}

/// The row of a key.
pub(crate) fn find(key: &str) -> Option<&'static Setting> {
    settings().find(|setting| setting.key == key)
}

impl Setting {
    /// Its environment variable, as in `KERRIA_SESSION_IDLE_TIMEOUT`.
    pub(crate) fn variable(&self) -> String {
        format!("KERRIA_{}", self.key.to_ascii_uppercase().replace('.', "_"))
    }

    /// Its name within its section of the file.
    pub(crate) fn name(&self) -> &'static str {
        self.key.rsplit_once('.').map_or(self.key, |(_, name)| name)
    }

    /// The first sentence of its meaning.
    pub(crate) fn summary(&self) -> &'static str {
        self.meaning.split_inclusive(". ").next().unwrap_or_default().trim_end()
    }
}

/// A row with a default.
const fn row(
    key: &'static str,
    default: &'static str,
    kind: Kind,
    example: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting { key, default: Some(default), kind, example, meaning }
}

/// A row without a default.
const fn optional(key: &'static str, kind: Kind, example: &'static str, meaning: &'static str) -> Setting {
    Setting { key, default: None, kind, example, meaning }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_row_says_what_it_means_and_how_to_write_it() {
        for Setting { key, default, kind, example, meaning } in settings() {
            assert!(meaning.ends_with('.') && meaning.len() > 20, "{key}: {meaning}");
            assert!(!meaning.contains('\n') && !meaning.contains("  "), "{key}: {meaning}");
            assert!(
                !example.is_empty() && Some(*example) != *default,
                "{key}: an example that is not the default"
            );
            assert!(!kind.words().is_empty(), "{key}");
        }
    }

    #[test]
    fn keys_and_variables_are_unique_and_in_their_section() {
        let keys: HashSet<_> = settings().map(|setting| setting.key).collect();
        let variables: HashSet<_> = settings().map(Setting::variable).collect();
        assert_eq!((keys.len(), variables.len()), (settings().count(), settings().count()));
        for section in SECTIONS {
            for setting in section.settings {
                let prefix = setting.key.strip_suffix(setting.name()).unwrap().trim_end_matches('.');
                assert_eq!(prefix, section.name, "{}", setting.key);
            }
        }
    }
}
