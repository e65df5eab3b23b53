//! A table on the screen: columns that are as wide as their widest cell.
//!
//! Never: cuts a cell, knows what is in it. Where a terminal is too narrow, columns go that say nothing, then those that may
//! be missed, and the widest text is broken between words.

use console::{measure_text_width, style};

use super::wrap;

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
    /// Columns that may be missed, the first to go first.
    missable: &'static [&'static str],
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
        Self { columns, rows: Vec::new(), missable: &[] }
    }

    /// A table that a narrow terminal shows without these columns, the first to go first.
    pub(super) fn missing(self, missable: &'static [&'static str]) -> Self {
        Self { missable, ..self }
    }

    /// A line across all columns, above the rows that follow.
    pub(super) fn heading(&mut self, text: impl Into<String>) {
        self.rows.push(Row::Heading(text.into()));
    }

    /// A row of cells.
    pub(super) fn row(&mut self, cells: [String; COLUMNS]) {
        self.rows.push(Row::Cells(cells));
    }

    /// The table with its columns' names above it, as wide as the terminal lets it be.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines_of(wrap::stdout().unwrap_or(usize::MAX))
    }

    fn lines_of(&self, room: usize) -> Vec<String> {
        let mut widths = self.widths();
        let shown = self.shown(&widths, room);
        let wide = shown.iter().map(|&column| GAP.len() + widths[column]).sum::<usize>();
        let texts = shown.iter().copied().filter(|&column| self.columns[column].1 == Side::Left);
        if let Some(widest) = texts.max_by_key(|&column| widths[column]).filter(|_| wide > room) {
            widths[widest] = widths[widest].saturating_sub(wide - room).max(wrap::LEAST).min(widths[widest]);
        }
        let names = self.columns.map(|(name, _)| name.to_owned());
        let mut lines: Vec<String> =
            self.aligned(&names, &widths, &shown).into_iter().map(|line| style(line).dim().to_string()).collect();
        for row in &self.rows {
            match row {
                Row::Heading(text) => lines.push(style(text).bold().to_string()),
                Row::Cells(cells) => lines.extend(self.aligned(cells, &widths, &shown)),
            }
        }
        lines
    }

    fn cells(&self) -> impl Iterator<Item = &[String; COLUMNS]> {
        self.rows.iter().filter_map(|row| match row {
            Row::Cells(cells) => Some(cells),
            Row::Heading(_) => None,
        })
    }

    fn widths(&self) -> [usize; COLUMNS] {
        let mut widths = self.columns.map(|(name, _)| measure_text_width(name));
        for cells in self.cells() {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(measure_text_width(cell));
            }
        }
        widths
    }

    /// The columns for which there is room.
    fn shown(&self, widths: &[usize; COLUMNS], room: usize) -> Vec<usize> {
        let mut shown: Vec<usize> = (0..COLUMNS).collect();
        let silent = |column: &usize| self.cells().all(|cells| matches!(cells[*column].as_str(), "" | "-"));
        let silent = (0..COLUMNS).rev().filter(silent);
        let missable = self.missable.iter().filter_map(|name| self.columns.iter().position(|(own, _)| own == name));
        for column in silent.chain(missable) {
            if shown.iter().map(|&column| GAP.len() + widths[column]).sum::<usize>() <= room {
                break;
            }
            shown.retain(|&kept| kept != column);
        }
        shown
    }

    fn aligned(&self, cells: &[String; COLUMNS], widths: &[usize; COLUMNS], shown: &[usize]) -> Vec<String> {
        let broken = cells.iter().zip(widths).map(|(cell, width)| wrap::to(cell, *width, 0));
        let broken: Vec<String> = broken.collect();
        let height = shown.iter().map(|&column| broken[column].split('\n').count()).max().unwrap_or(1);
        let line = |number: usize| {
            let mut line = String::new();
            for &column in shown {
                let cell = broken[column].split('\n').nth(number).unwrap_or("");
                let blank = " ".repeat(widths[column].saturating_sub(measure_text_width(cell)));
                line += GAP;
                line += &match self.columns[column].1 {
                    Side::Left => format!("{cell}{blank}"),
                    Side::Right => format!("{blank}{cell}"),
                };
            }
            line.trim_end().to_owned()
        };
        (0..height).map(line).collect()
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

    #[test]
    fn a_narrow_terminal_sheds_what_says_nothing_then_what_may_be_missed_and_breaks_the_widest_text() {
        let columns = [("run", Side::Left), ("bytes", Side::Right), ("debt", Side::Right), ("why", Side::Left)];
        let mut table = Table::new(columns).missing(&["bytes"]);
        table.row(["01m8p5h1mh".into(), "20000".into(), "-".into(), "each of the checks passed".into()]);
        let whole = ["  run         bytes  debt  why", "  01m8p5h1mh  20000     -  each of the checks passed"];
        assert_eq!(table.lines_of(60), whole);
        let without = ["  run         bytes  why", "  01m8p5h1mh  20000  each of the checks passed"];
        assert_eq!(table.lines_of(46), without);
        assert_eq!(table.lines_of(40), ["  run         why", "  01m8p5h1mh  each of the checks passed"]);
        assert_eq!(
            table.lines_of(36),
            ["  run         why", "  01m8p5h1mh  each of the checks", "              passed"]
        );
    }
}
