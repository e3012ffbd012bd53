//! Numbers and tables for people.

use std::{collections::BTreeMap, fmt};

use comfy_table::{CellAlignment, Table, presets::NOTHING};
use indicatif::BinaryBytes;

use crate::output;

/// How wide a column is left between two others.
const GAP: u16 = 2;

/// Rows under their headings, in columns as wide as what stands in them. Those that are named in
/// `numbers`, by their place, are aligned to the right.
pub(super) fn table<const N: usize>(
    headings: [&str; N],
    numbers: &[usize],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(headings);
    for row in rows {
        // A cell is one line: what another wrote would pass for the next row. It is made harmless
        // here, since that makes it wider.
        let cell = |cell: String| output::visible(&cell.replace(['\n', '\t'], " ")).to_string();
        table.add_row(row.map(cell));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, GAP));
        if numbers.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// Bytes, in the unit that makes them short.
pub(super) fn bytes(bytes: u64) -> String {
    BinaryBytes(bytes).to_string()
}

/// A part of a whole: `12.0 MiB of 1.00 GiB`.
pub(super) fn of(part: impl fmt::Display, whole: impl fmt::Display) -> String {
    format!("{part} of {whole}")
}

/// What became of a file's size.
pub(super) fn difference(now: u64, before: u64) -> String {
    let sign = if now < before { "-" } else { "+" };
    if now == before { String::new() } else { format!("{sign}{}", bytes(now.abs_diff(before))) }
}

/// Who has how much of the traffic, the newest first: `r13 10%, r12 90%`.
pub(super) fn traffic(shares: &BTreeMap<u32, u8>) -> String {
    let shares = shares.iter().rev().filter(|(_, percent)| **percent > 0);
    let shares: Vec<_> = shares.map(|(number, percent)| format!("r{number} {percent}%")).collect();
    if shares.is_empty() { NONE.to_owned() } else { shares.join(", ") }
}

/// Milliseconds, where there are any.
pub(super) fn milliseconds(time: Option<f64>) -> String {
    time.map_or_else(|| NONE.to_owned(), |time| format!("{time:.1} ms"))
}

/// What stands where there is nothing to say.
pub(super) const NONE: &str = "-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_what_became_of_them() {
        for (size, text) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.50 KiB"), (1 << 30, "1.00 GiB")]
        {
            assert_eq!(bytes(size), text);
        }
        for (now, before, text) in
            [(5, 5, ""), (2048, 1024, "+1.00 KiB"), (1, 4, "-3 B"), (u64::MAX, 0, "+16.00 EiB")]
        {
            assert_eq!(difference(now, before), text);
        }
    }

    #[test]
    fn traffic_names_those_that_have_any() {
        assert_eq!(traffic(&BTreeMap::from([(1, 0), (12, 90), (13, 10)])), "r13 10%, r12 90%");
        assert_eq!(traffic(&BTreeMap::new()), "-");
    }

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them() {
        let rows = [["ü".to_owned(), "1".to_owned()], ["a\nb\u{1b}".to_owned(), "22".to_owned()]];
        assert_eq!(
            table(["NAME", "N"], &[1], rows),
            "NAME        N\nü           1\na b\\u{1b}  22"
        );
    }
}
