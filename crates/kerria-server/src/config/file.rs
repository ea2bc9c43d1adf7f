//! Reads the configuration file.

use std::path::Path;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    kind::Shape,
    problem::Problem,
    rules,
    sources::{Collected, Given, Place},
    suggest, table,
};

/// Reads `text`, the content of the file at `path`: as much of it as can be understood.
pub(super) fn read(path: &Path, text: &str, collected: &mut Collected) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let file = File { path, text };
    for error in errors {
        // Its Display would quote the line, which may hold a secret.
        let place = file.place(error.span().map_or(0, |span| span.start));
        collected.problems.push(Problem::elsewhere(place, format!("this is not TOML: {}", error.message())));
    }
    file.read_table("", document.get_ref(), collected);
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn place(&self, offset: usize) -> Place {
        let before = self.text.as_bytes().iter().take(offset);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        Place::File { path: self.path.to_owned(), line: Some(line) }
    }

    fn read_table(&self, section: &str, table: &DeTable<'_>, collected: &mut Collected) {
        for (name, value) in table {
            let key = match section {
                "" => name.get_ref().to_string(),
                section => format!("{section}.{}", name.get_ref()),
            };
            self.read_entry(&key, self.place(name.span().start), value, collected);
        }
    }

    fn read_entry(&self, key: &str, place: Place, value: &Spanned<DeValue<'_>>, collected: &mut Collected) {
        if key == rules::KEY {
            let read = rules::read(value.get_ref(), &place, |at| self.place(at), &mut collected.problems);
            collected.rules = read;
            return;
        }
        let is_section = table::SECTIONS.iter().any(|section| section.name == key);
        match (table::find(key), value.get_ref()) {
            (Some(setting), value) => match text_of(setting.kind.shape(), value) {
                Ok(text) => {
                    collected.values.insert(setting.key, Given { text, place });
                }
                Err(message) => collected.problems.push(Problem::at(&place, key, message)),
            },
            (None, DeValue::Table(table)) if is_section => self.read_table(key, table, collected),
            (None, _) if is_section => {
                let message = format!("this is a group of settings: write [{key}] and the settings below it");
                collected.problems.push(Problem::at(&place, key, message));
            }
            (None, DeValue::Table(table)) if !key.contains('.') => self.read_table(key, table, collected),
            (None, _) => collected.problems.push(Problem::unknown(&place, key, &suggest::key(key))),
        }
    }
}

/// The value as a variable would write it. The error says how to write it here, and never repeats the value.
fn text_of(shape: Shape, value: &DeValue<'_>) -> Result<String, String> {
    let found = value.type_str();
    match (shape, value) {
        (Shape::String, DeValue::String(text)) => Ok(text.to_string()),
        (Shape::Boolean, DeValue::Boolean(switch)) => Ok(switch.to_string()),
        (Shape::Integer, DeValue::Integer(number)) => {
            let digits = i64::from_str_radix(number.as_str(), number.radix());
            digits.map(|number| number.to_string()).map_err(|_| "the number is too large".to_owned())
        }
        (Shape::Array, DeValue::Array(items)) => {
            let texts = items.iter().map(|item| item.get_ref().as_str());
            let texts: Option<Vec<_>> = texts.collect();
            texts.map(|texts| texts.join(", ")).ok_or_else(|| "each item of the list needs quotes".to_owned())
        }
        (Shape::String, DeValue::Integer(_)) => {
            Err("write it in quotes; a duration has a unit too, as in \"90s\"".to_owned())
        }
        (Shape::String, _) => Err(format!("write it in quotes: a text is expected, not a TOML {found}")),
        (Shape::Boolean, _) => Err(format!("write true or false, without quotes, not a TOML {found}")),
        (Shape::Integer, _) => Err(format!("write a whole number, without quotes, not a TOML {found}")),
        (Shape::Array, _) => Err(format!("write a list, as in [\"one\", \"two\"], not a TOML {found}")),
    }
}
