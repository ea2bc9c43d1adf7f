//! What makes a password easy to guess, whatever its length: being one that everybody tries, or being made of what
//! everybody knows of its owner. There are no rules about capitals, digits or signs (NIST SP 800-63B-4, section
//! 3.1.1.2).
//!
//! Length is measured in *steps*. A stretch that goes on as it began (`aaaa`, `4567`, `qwerty`) is one step, however
//! long; any other character is one.

use unicode_normalization::UnicodeNormalization;

use kerria_core::Secret;

use super::common::is_common;

/// What has no more steps than this is a pattern.
const PATTERN_STEPS: usize = 5;

/// What repeats a piece of fewer characters is as short as the piece.
const SHORT_PIECE: usize = 8;

/// Digits and signs of fewer steps than this do not save a common word that they stand around.
const SAVING_STEPS: usize = 10;

/// How many characters around a word are tried as a part of it: `hrenota1` is common, `hrenota` is not.
const ATTACHED: usize = 16;

/// Characters in the order in which lazy fingers find them.
const ROWS: [&str; 13] = [
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "!@#$%^&*()_+",
    "qwertyuiop[]",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl;'",
    "zxcvbnm,./",
    "йцукенгшщзхъ",
    "фывапролджэ",
    "ячсмитьбю",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/",
    "1q2w3e4r5t6y7u8i9o0p",
];

/// Whether this is among what attackers try first: a common password, one in disguise, or a pattern.
pub(super) fn is_worn(password: &Secret<String>) -> bool {
    is_worn_text(folded(password.expose()).expose())
}

/// Whether this is what is known about its owner or this place, and fewer than `enough` steps more.
pub(super) fn is_about(password: &Secret<String>, about: &[&str], enough: usize) -> bool {
    let password = folded(password.expose());
    let rest = without(password.expose(), about);
    rest.expose() != password.expose()
        && (steps(rest.expose(), enough) < enough || is_worn_text(rest.expose()))
}

/// The form in which passwords are compared with words: compatibility characters unified, in lower case.
fn folded(text: &str) -> Secret<String> {
    Secret::new(text.nfkc().flat_map(char::to_lowercase).nfkc().collect())
}

fn is_worn_text(text: &str) -> bool {
    let piece = repeated_piece(text);
    let is_short = piece.len() < text.len() && piece.chars().count() < SHORT_PIECE;
    is_short
        || steps(text, PATTERN_STEPS + 1) <= PATTERN_STEPS
        || is_common(text)
        || is_common(piece)
        || is_one_common_word(piece)
        || is_padded_common_word(piece)
}

/// The piece that the text repeats, to the end or into the midst of a last time; the text itself if it repeats none.
fn repeated_piece(text: &str) -> &str {
    let twice = text.len() / 2;
    let repeats = |length: &usize| text.as_bytes()[*length..] == text.as_bytes()[..text.len() - length];
    let starts = text.char_indices().map(|(start, _)| start);
    let length = starts.skip(1).take_while(|start| *start <= twice).find(repeats);
    &text[..length.unwrap_or(text.len())]
}

/// Whether the letters in the text are one common word, once or several times, and the rest does not make up for it.
fn is_one_common_word(text: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    let Some(word) = words.next() else { return false };
    let between: String = text.chars().filter(|c| !c.is_alphabetic()).collect();
    words.all(|other| other == word) && is_common(word) && does_not_save([Secret::new(between).expose(), ""])
}

/// Whether the text is a common word, which may have digits or signs in it, between a few more of them.
fn is_padded_common_word(text: &str) -> bool {
    let first = text.find(char::is_alphabetic).unwrap_or(text.len());
    let last = text.rfind(char::is_alphabetic).unwrap_or(text.len());
    let starts = text[..first].char_indices().rev().map(|(start, _)| start).take(ATTACHED);
    let ends = || text[last..].char_indices().map(|(end, c)| last + end + c.len_utf8()).take(ATTACHED + 1);
    std::iter::once(first).chain(starts).any(|start| {
        ends().any(|end| is_common(&text[start..end]) && does_not_save([&text[..start], &text[end..]]))
    })
}

/// Whether so few digits and signs on either side of a common word leave it common.
fn does_not_save(sides: [&str; 2]) -> bool {
    sides.map(|side| steps(side, SAVING_STEPS)).iter().sum::<usize>() < SAVING_STEPS
}

/// The text without the words that are known about its owner.
fn without(text: &str, about: &[&str]) -> Secret<String> {
    let about: Vec<_> = about.iter().map(|known| folded(known)).collect();
    let mut names: Vec<&str> = about
        .iter()
        .flat_map(|known| {
            let known = known.expose();
            known.split(|c: char| !c.is_alphanumeric()).chain(known.split('@').take(1))
        })
        .filter(|name| name.len() >= 3)
        .collect();
    names.sort_unstable_by_key(|name| std::cmp::Reverse(name.len()));
    names.iter().fold(Secret::from(text), |rest, name| Secret::new(rest.expose().replace(name, "")))
}

/// How many steps the text takes. The count stops at `most`, because a row of unrelated characters may be long.
fn steps(text: &str, most: usize) -> usize {
    let (mut steps, mut last, mut ways) = (0, None, EVERY_WAY);
    for next in text.chars() {
        if steps == most {
            break;
        }
        if last == Some(next) {
            continue;
        }
        ways &= last.map_or(0, |last| ways_from(last, next));
        if ways == 0 {
            steps += 1;
            ways = EVERY_WAY;
        }
        last = Some(next);
    }
    steps
}

/// The ways along the rows that lead from one character to the next, one bit for each row and direction.
fn ways_from(last: char, next: char) -> u32 {
    let leads = |row: &str, from, to| row.chars().zip(row.chars().skip(1)).any(|pair| pair == (from, to));
    ROWS.iter().fold(0, |ways, row| {
        ways << 2 | u32::from(leads(row, last, next)) << 1 | u32::from(leads(row, next, last))
    })
}

const EVERY_WAY: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn worn(text: &str) -> bool {
        is_worn(&Secret::from(text))
    }

    #[test]
    fn common_passwords_are_recognised_in_any_disguise() {
        for text in [
            "michaeljackson",
            "MichaelJackson",
            "ｍｉｃｈａｅｌｊａｃｋｓｏｎ",
            "passwordpassword",
            "iloveyouiloveyouilove",
            "password1234567",
            "Password2024!!!",
            "!!!dragon!!!2025",
            "123456789qwerty",
            "p@ssw0rd9999999",
            "monkey-monkey-monkey",
            "password1password2password3",
            "hrenota1!!!!!!!",
            "abc123abc123abc123",
            "familiyafamiliya",
            "пароль123456789",
        ] {
            assert!(worn(text), "{text}");
        }
    }

    #[test]
    fn patterns_are_recognised() {
        for text in [
            "aaaaaaaaaaaaaaa",
            "aaaaaaaaaaaaaab",
            "abcdefghijklmnop",
            "zyxwvutsrqponml",
            "123456789012345",
            "098765432109876",
            "112233445566778",
            "qwertyuiopasdfgh",
            "QWERTYUIOP1234567890",
            "1qaz2wsx3edc4rfv",
            "1q2w3e4r5t6y7u8i",
            "!@#$%^&*()!@#$%",
            "abcdefgh12345678",
            "ababababababababab",
            "xk3q9zxk3q9zxk3q9z",
            "ééééééééééééééééé",
            "                ",
            "🔑🔑🔑🔑🔑🔑🔑🔑🔑🔑🔑🔑🔑🔑🔑",
        ] {
            assert!(worn(text), "{text}");
        }
    }

    #[test]
    fn words_in_a_row_are_welcome_even_if_each_is_common() {
        for text in [
            "correct horse battery staple",
            "monkey dragon purple",
            "mississippi-river",
            "un café très chaud",
            "サクラサクラやよいの空は",
            "83641957201358164",
            "dragon8364195720164",
            "tr0ub4dor&3 is short",
            "my dog eats the sofa",
            "passwords are a nuisance",
        ] {
            assert!(!worn(text), "{text}");
        }
    }

    #[test]
    fn what_is_known_of_the_owner_counts_for_nothing() {
        let about = |text: &str| {
            is_about(&Secret::from(text), &["Alice", "alice.smith@example.com", "Kerria", "山田"], 7)
        };
        for text in [
            "alicealicealice",
            "Alice.Smith.1234567",
            "kerria-kerria-alice!",
            "smith-alice-2024",
            "alicepassword99!",
            "alice@example.com",
            "山田山田山田12345",
            "ALICE1234567890",
        ] {
            assert!(about(text), "{text}");
        }
        for text in ["alice loves old cheese", "correct horse battery", "kerrianthropology!"] {
            assert!(!about(text), "{text}");
        }
    }

    #[test]
    fn steps_count_what_does_not_follow_from_what_came_before() {
        for (text, expected) in [
            ("", 0),
            ("a", 1),
            ("aaa", 1),
            ("abc", 1),
            ("abcba", 2),
            ("xq7", 3),
            ("4321", 1),
            ("x1234", 2),
            ("anything long", 9),
        ] {
            assert_eq!(steps(text, 9), expected, "{text}");
        }
    }
}
