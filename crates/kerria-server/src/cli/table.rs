//! Aligned tables.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Between two columns.
const GAP: &str = "  ";

/// Lays out rows in columns, as wide as their widest cell. The last column is not filled up, control characters are
/// made visible, and an empty cell is a dash.
pub(super) fn lines<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| plain(cell))).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    rows.iter().map(|row| line(row, &widths)).collect()
}

fn line(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        line.push_str(cell);
        line.push_str(&" ".repeat(width - cell.width()));
        line.push_str(GAP);
    }
    line.truncate(line.trim_end().len());
    line
}

/// What a terminal cannot take for a command.
fn plain(cell: &str) -> String {
    if cell.is_empty() {
        return "-".to_owned();
    }
    cell.chars().map(|c| if c.width().is_none() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows<const N: usize>(rows: &[[&str; N]]) -> Vec<[String; N]> {
        rows.iter().map(|row| row.map(ToOwned::to_owned)).collect()
    }

    #[test]
    fn columns_line_up_whatever_the_script() {
        let table = rows(&[["NAME", "STATUS", "ID"], ["山田", "active", "1"], ["Zoe\u{308}", "", "2"]]);
        assert_eq!(lines(&table), ["NAME  STATUS  ID", "山田  active  1", "Zoe\u{308}   -       2"]);
    }

    #[test]
    fn a_cell_cannot_command_the_terminal() {
        assert_eq!(lines(&rows(&[["a\u{1b}[31mb\r\n\u{9b}"]])), ["a\u{fffd}[31mb\u{fffd}\u{fffd}\u{fffd}"]);
    }

    #[test]
    fn no_line_ends_in_spaces() {
        assert_eq!(lines(&rows(&[["a", "long"], ["b", "c"]])), ["a  long", "b  c"]);
        assert_eq!(lines::<2>(&[]), Vec::<String>::new());
    }
}
