//! Lines, tables and JSON files, as every verb writes them.
use anyhow::{Context, Result};
use comfy_table::{CellAlignment, LineStyle, Table, presets};
use serde::Serialize;
use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::Once;

/// A text as it may be printed: names and labels come from files, and must not steer the terminal.
fn shown(text: Arguments<'_>) -> String {
    let text = text.to_string();
    let lines: Vec<_> = text.split('\n').map(yolo::printable).collect();
    lines.join("\n")
}

/// Prints a line of the result. The work is done and its files are written all the same, so what cannot be printed decides
/// nothing: a reader that has read enough (`| head`) is no error, anything else is reported once.
pub(crate) fn line(text: Arguments<'_>) {
    static REPORTED: Once = Once::new();
    match writeln!(io::stdout().lock(), "{}", shown(text)) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => REPORTED.call_once(|| {
            note!("warning: the result could not be printed: {error} (--json FILE keeps it)");
        }),
        _ => {}
    }
}

/// Prints a line beside the result, on stderr, where somebody reads it.
pub(crate) fn note(text: Arguments<'_>) {
    // Where stderr is closed, nobody reads it.
    let _ = writeln!(io::stderr().lock(), "{}", shown(text));
}

/// Refuses a file that cannot be written, before the work.
pub(crate) fn check_writable(path: Option<&Path>) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    yolo::check_writable(path).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a record as JSON, if a file was asked for.
pub(crate) fn write_json(path: Option<&Path>, record: &impl Serialize) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    yolo::write_file(path, serde_json::to_string_pretty(record)?.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// An empty table, one line a row.
pub(crate) fn table(header: &[&str]) -> Table {
    let style = presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none());
    let mut table = Table::new();
    table.load_style(style).set_header(header.to_vec());
    table
}

/// Aligns the columns from `from` on to the right.
pub(crate) fn align_right(table: &mut Table, from: usize) {
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// A row of a table that compares models: what is measured, how it reads, and the number that changes are made of.
pub(crate) struct Row<T> {
    pub(crate) name: &'static str,
    pub(crate) text: fn(&T) -> String,
    pub(crate) number: fn(&T) -> Option<f64>,
}

/// A row of a const list.
pub(crate) const fn row<T>(
    name: &'static str,
    text: fn(&T) -> String,
    number: fn(&T) -> Option<f64>,
) -> Row<T> {
    Row { name, text, number }
}

impl<T> Row<T> {
    /// The numbers before and after, where both are known and one can be divided by the other.
    pub(crate) fn pair(&self, before: &T, after: &T) -> Option<(f64, f64)> {
        let before = (self.number)(before).filter(|v| *v > 0.0);
        before.zip((self.number)(after))
    }
}
