//! Tables of results in Markdown. Redis' counterpart: none.

use std::fmt::Write;

/// A Markdown table that is readable as text, too.
pub fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| &row[column]).chain([&head[column]]);
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(2)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let mut text = String::from("|");
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let _ = if column == 0 { write!(text, " {cell:<width$} |") } else { write!(text, " {cell:>width$} |") };
        }
        text + "\n"
    };
    let mut text = line(head) + "|";
    for (column, width) in widths.iter().enumerate() {
        text += &format!(" {}{} |", "-".repeat(width - 1), if column == 0 { "-" } else { ":" });
    }
    text.push('\n');
    rows.iter().for_each(|row| text += &line(row));
    text
}
