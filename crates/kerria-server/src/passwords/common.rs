//! The list of passwords that attackers try first.

/// Lower-case, sorted by bytes, one a line. See `data/README.md`.
static LIST: &[u8] = include_bytes!("../../data/common-passwords.txt");

/// Whether the list has this word, which must be in lower case.
///
/// The search halves the text itself, so that the list costs no memory beyond the pages of the binary it touches.
pub(super) fn is_common(word: &str) -> bool {
    let mut rest = LIST;
    while !rest.is_empty() {
        let middle = rest.len() / 2;
        let start = rest[..middle].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let end = rest[middle..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(rest.len(), |length| middle + length);
        match word.as_bytes().cmp(&rest[start..end]) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => rest = &rest[..start],
            std::cmp::Ordering::Greater => rest = rest.get(end + 1..).unwrap_or_default(),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> impl Iterator<Item = &'static str> {
        std::str::from_utf8(LIST).unwrap().lines()
    }

    #[test]
    fn the_list_is_sorted_in_lower_case_and_without_duplicates() {
        assert!(lines().count() > 10_000);
        assert!(lines().zip(lines().skip(1)).all(|(word, next)| word.as_bytes() < next.as_bytes()));
        assert!(lines().all(|word| !word.is_empty() && word.trim() == word && word.to_lowercase() == word));
    }

    #[test]
    fn every_word_is_found_and_its_neighbours_are_not() {
        for word in lines() {
            assert!(is_common(word), "{word}");
            assert!(!is_common(&format!("{word}\u{1}")) && !is_common(&format!("{word}\n")), "{word}");
        }
        for word in ["", "\n", "\0", "correct horse", "\u{10ffff}", "password\nq"] {
            assert!(!is_common(word), "{word:?}");
        }
    }
}
