//! A table on the screen: columns that are as wide as their widest cell.
//!
//! Never: cuts a cell, knows what is in it.

use console::{measure_text_width, style};

/// On which side of its column a cell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// Columns by name, and what stands in them.
pub(super) struct Table<const COLUMNS: usize> {
    columns: [(&'static str, Side); COLUMNS],
    rows: Vec<Row<COLUMNS>>,
}

enum Row<const COLUMNS: usize> {
    /// Across all columns.
    Heading(String),
    Cells([String; COLUMNS]),
}

/// Before the first column, and between two.
const GAP: &str = "  ";

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// A table without rows.
    pub(super) fn new(columns: [(&'static str, Side); COLUMNS]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// A line across all columns, above the rows that follow.
    pub(super) fn heading(&mut self, text: impl Into<String>) {
        self.rows.push(Row::Heading(text.into()));
    }

    /// A row of cells.
    pub(super) fn row(&mut self, cells: [String; COLUMNS]) {
        self.rows.push(Row::Cells(cells));
    }

    /// The table with its columns' names above it.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut widths = self.columns.map(|(name, _)| measure_text_width(name));
        for row in &self.rows {
            let Row::Cells(cells) = row else { continue };
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(measure_text_width(cell));
            }
        }
        let aligned = |cells: &[String; COLUMNS]| {
            let mut line = String::new();
            for ((cell, width), (_, side)) in cells.iter().zip(widths).zip(self.columns) {
                let blank = " ".repeat(width - measure_text_width(cell));
                line += GAP;
                line += &match side {
                    Side::Left => format!("{cell}{blank}"),
                    Side::Right => format!("{blank}{cell}"),
                };
            }
            line.trim_end().to_owned()
        };
        let names = self.columns.map(|(name, _)| name.to_owned());
        let mut lines = vec![style(aligned(&names)).dim().to_string()];
        lines.extend(self.rows.iter().map(|row| match row {
            Row::Heading(text) => style(text).bold().to_string(),
            Row::Cells(cells) => aligned(cells),
        }));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([("line", Side::Left), ("left", Side::Right), ("where", Side::Left)]);
        table.heading("a heading that is wider than all of it");
        table.row(["tokens".into(), "5".into(), "here".into()]);
        table.row(["x".into(), "20000".into(), String::new()]);
        assert_eq!(
            table.lines(),
            [
                "  line     left  where",
                "a heading that is wider than all of it",
                "  tokens      5  here",
                "  x       20000",
            ]
        );
    }
}
