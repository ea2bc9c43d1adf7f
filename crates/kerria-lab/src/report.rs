//! The table of results.

use std::{fmt::Write, path::Path};

/// What was measured, row by row.
#[derive(Default)]
pub(crate) struct Report(Vec<Row>);

struct Row {
    what: String,
    figure: String,
    target: String,
    met: Option<bool>,
}

impl Report {
    /// A figure with nothing to reach.
    pub(crate) fn note(&mut self, what: &str, figure: f64, unit: &str) {
        self.row(what, figure, unit, String::new(), None);
    }

    /// A figure that has to be `limit` or less.
    pub(crate) fn at_most(&mut self, what: &str, figure: f64, limit: f64, unit: &str) {
        self.row(what, figure, unit, format!("≤ {} {unit}", number(limit)), Some(figure <= limit));
    }

    /// A figure that has to be `limit` or more.
    pub(crate) fn at_least(&mut self, what: &str, figure: f64, limit: f64, unit: &str) {
        self.row(what, figure, unit, format!("≥ {} {unit}", number(limit)), Some(figure >= limit));
    }

    #[expect(clippy::print_stderr, reason = "whoever waits sees how far it has got")]
    fn row(&mut self, what: &str, figure: f64, unit: &str, target: String, met: Option<bool>) {
        let row = Row { what: what.to_owned(), figure: format!("{} {unit}", number(figure)), target, met };
        eprintln!("{:<90} {:>16}", row.what, row.figure);
        self.0.push(row);
    }

    /// Prints the table and writes it to a file.
    #[expect(clippy::print_stdout, reason = "the table is what the command is run for")]
    pub(crate) fn publish(&self, file: &Path) -> anyhow::Result<()> {
        let table = self.table();
        println!("{table}");
        Ok(std::fs::write(file, table)?)
    }

    fn table(&self) -> String {
        let width =
            |cell: fn(&Row) -> &str| self.0.iter().map(|row| cell(row).chars().count()).max().unwrap_or(0);
        let (what, figure, target) =
            (width(|row| &row.what), width(|row| &row.figure), width(|row| &row.target));
        let mut table = String::new();
        let mut line = |a: &str, b: &str, c: &str, d: &str| {
            writeln!(table, "| {a:<what$} | {b:>figure$} | {c:>target$} | {d:<3} |")
                .expect("a string takes any text");
        };
        line("what", "figure", "target", "met");
        line(&"-".repeat(what), &"-".repeat(figure), &"-".repeat(target), "---");
        for row in &self.0 {
            let met = match row.met {
                None => "",
                Some(true) => "yes",
                Some(false) => "NO",
            };
            line(&row.what, &row.figure, &row.target, met);
        }
        table
    }
}

/// With as many digits as it deserves.
fn number(figure: f64) -> String {
    match figure.abs() {
        size if size == size.trunc() && size < 1000.0 => format!("{figure}"),
        size if size < 10.0 => format!("{figure:.2}"),
        size if size < 1_000.0 => format!("{figure:.1}"),
        _ => in_groups(figure.round() as i64),
    }
}

fn in_groups(figure: i64) -> String {
    let digits = figure.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}
