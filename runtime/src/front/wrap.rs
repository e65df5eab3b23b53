//! Lines as wide as the terminal that shows them: broken between words, and the rest hangs under its beginning.
//!
//! Never: breaks inside a word, or where no terminal is: who reads a pipe gets whole lines.

use std::sync::OnceLock;

use console::measure_text_width;

/// Columns of what stands behind each stream; none if that is no terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    pub stdout: Option<usize>,
    pub stderr: Option<usize>,
}

static COLUMNS: OnceLock<Columns> = OnceLock::new();

/// Below this a terminal breaks lines better than we do.
pub(super) const LEAST: usize = 20;

/// Says once how wide the terminal is. Without it no line is broken.
pub fn set(columns: Columns) {
    let _ = COLUMNS.set(columns);
}

/// Columns of stdout.
pub(super) fn stdout() -> Option<usize> {
    COLUMNS.get().and_then(|columns| columns.stdout)
}

/// A line for stdout; what does not fit hangs so far in.
pub(super) fn out(line: &str, hang: usize) -> String {
    stdout().map_or_else(|| line.to_owned(), |width| to(line, width, hang))
}

/// A line for stderr.
pub(super) fn err(line: &str, hang: usize) -> String {
    let width = COLUMNS.get().and_then(|columns| columns.stderr);
    width.map_or_else(|| line.to_owned(), |width| to(line, width, hang))
}

/// A line broken between words so that none has more columns, if its words let it.
pub(super) fn to(line: &str, width: usize, hang: usize) -> String {
    if width < LEAST || measure_text_width(line) <= width {
        return line.to_owned();
    }
    let hang = hang.min(width / 2);
    let (mut broken, mut column, mut rest) = (String::new(), 0, line);
    while !rest.is_empty() {
        let word_at = rest.find(|char| char != ' ').unwrap_or(rest.len());
        let (gap, from_word) = rest.split_at(word_at);
        let (word, after) = from_word.split_at(from_word.find(' ').unwrap_or(from_word.len()));
        let columns = measure_text_width(word);
        if column + gap.len() + columns > width && column > hang {
            broken.push('\n');
            broken += &" ".repeat(hang);
            column = hang + columns;
        } else {
            broken += gap;
            column += gap.len() + columns;
        }
        broken += word;
        rest = after;
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_broken_between_words_and_its_rest_hangs() {
        let line = "  why        the host saw a new mark, and every check passed";
        assert_eq!(to(line, 40, 13), "  why        the host saw a new mark,\n             and every check passed");
        assert_eq!(to(line, 200, 13), line);
        assert_eq!(to("one two three", 10, 0), "one two three", "no terminal is so narrow");
    }

    #[test]
    fn a_word_that_is_longer_than_the_line_stays_whole() {
        let word = "x".repeat(50);
        assert_eq!(to(&format!("a {word} b"), 30, 2), format!("a {word}\n  b"), "another line would not help it");
    }

    #[test]
    fn what_colours_a_word_takes_no_room() {
        let line = "\u{1b}[2mfive words are in this\u{1b}[0m and six are after them";
        assert_eq!(to(line, 30, 2), "\u{1b}[2mfive words are in this\u{1b}[0m and six\n  are after them");
    }
}
