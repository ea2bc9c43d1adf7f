//! Guesses what somebody meant to write.

use std::fmt;

use super::table;

/// How alike two names must be, from 0 to 1.
const ALIKE: f64 = 0.75;

/// What was probably meant, if anything is close enough.
pub(crate) struct Guess(Option<String>);

impl fmt::Display for Guess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(name) => write!(f, "did you mean {name}?"),
            None => f.write_str("`kerria config explain` lists them all"),
        }
    }
}

/// Guesses a key. A name that lacks its section, or stands in a wrong one, is found too.
pub(crate) fn key(wrong: &str) -> Guess {
    let name = wrong.rsplit_once('.').map_or(wrong, |(_, name)| name);
    let same_name = table::settings().filter(|setting| setting.name() == name).map(|setting| setting.key);
    let mut same_name = same_name.collect::<Vec<_>>();
    match same_name.as_mut_slice() {
        [key] => Guess(Some((*key).to_owned())),
        _ => nearest(wrong, table::settings().map(|setting| setting.key.to_owned())),
    }
}

/// Guesses an environment variable.
pub(super) fn variable(wrong: &str) -> Guess {
    // All of them begin alike, which must not count.
    let bare = |name: &str| name.trim_start_matches("KERRIA_").to_owned();
    let Guess(name) = nearest(
        &bare(wrong),
        table::settings().map(|setting| bare(&setting.variable())).chain(["CONFIG".into()]),
    );
    Guess(name.map(|name| format!("KERRIA_{name}")))
}

fn nearest(wrong: &str, names: impl Iterator<Item = String>) -> Guess {
    Guess(likeliest(wrong, names))
}

/// The name that is most like what was written, if any is close enough.
pub(crate) fn likeliest(wrong: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let likeness = |name: &String| {
        strsim::jaro_winkler(wrong, name).max(strsim::normalized_damerau_levenshtein(wrong, name))
    };
    let best = names.map(|name| (likeness(&name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(alike, _)| *alike >= ALIKE).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_guessed() {
        for (wrong, meant) in [
            ("session.idle_timout", "session.idle_timeout"),
            ("idle_timeout", "session.idle_timeout"),
            ("sessions.idle_timeout", "session.idle_timeout"),
            ("public-url", "public_url"),
            ("listne", "listen"),
            ("server.listen", "listen"),
        ] {
            assert_eq!(key(wrong).0.as_deref(), Some(meant), "{wrong}");
        }
        assert_eq!(variable("KERRIA_PUBLICURL").to_string(), "did you mean KERRIA_PUBLIC_URL?");
        assert_eq!(
            variable("KERRIA_SESSION__FRESH_FOR").to_string(),
            "did you mean KERRIA_SESSION_FRESH_FOR?"
        );
    }

    #[test]
    fn nothing_is_guessed_that_is_far_away() {
        assert_eq!(key("zzz").to_string(), "`kerria config explain` lists them all");
        assert_eq!(variable("KERRIA_XQ").to_string(), "`kerria config explain` lists them all");
    }
}
