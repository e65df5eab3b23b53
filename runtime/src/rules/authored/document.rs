//! A TOML text as a table with spans, and the mistakes of its syntax.
//!
//! Never: knows a key. A value that only lacks its quotes, or a key that stands twice, does not hide the rest of the
//! file: everything else is still read and judged. After a bracket or a quote that never closes the rest is guesswork,
//! and is left alone.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;

use super::mistake::Mistake;

/// A text as far as it could be read.
pub(super) struct Document<'a> {
    pub table: Spanned<DeTable<'a>>,
    /// Mistakes of syntax that leave the rest of the table readable.
    pub local: Vec<Mistake>,
}

/// How far a mistake of syntax reaches.
enum Reach {
    Value,
    Rest,
}

/// Reads a text.
///
/// # Errors
/// The mistakes up to and including the first that makes the rest unreadable.
pub(super) fn read(text: &str) -> Result<Document<'_>, Vec<Mistake>> {
    let (table, mut errors) = DeTable::parse_recoverable(text);
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    let mut local = Vec::new();
    for error in errors {
        let span = place(text, error.span());
        let (mistake, reach) = describe(text, error.message(), span);
        local.push(mistake);
        match reach {
            Reach::Value => {}
            Reach::Rest => return Err(local),
        }
    }
    Ok(Document { table, local })
}

/// The span within the text, on a boundary of characters: the parser may point past an unfinished line.
fn place(text: &str, span: Option<Range<usize>>) -> Range<usize> {
    let span = span.unwrap_or(text.len()..text.len());
    let end = text.floor_char_boundary(span.end.min(text.len()));
    text.floor_char_boundary(span.start.min(end))..end
}

/// The parser has no codes, only messages; one that is not known here reaches to the end, which is the safe side.
fn describe(text: &str, message: &str, span: Range<usize>) -> (Mistake, Reach) {
    let written = &text[span.clone()];
    let (message, label, help, reach) = if message.starts_with("string values must be quoted") {
        if written.is_empty() {
            let help = "allowed: a text in quotes, a number, true, false, a list or a table".to_owned();
            ("a key has no value".to_owned(), "a value is missing here", help, Reach::Value)
        } else {
            let help = format!("allowed: a text stands in quotes\nwrite: {written:?}");
            (format!("`{}` has no quotes", written.escape_debug()), "not quoted", help, Reach::Value)
        }
    } else if message == "duplicate key" {
        let help = "allowed: each key once in its table\nwrite: one of the two, and delete the other".to_owned();
        (format!("`{}` stands twice", written.escape_debug()), "the second one", help, Reach::Value)
    } else {
        let help = "allowed: TOML, see https://toml.io/en/v1.0.0; what follows was not read".to_owned();
        (message.to_owned(), "not TOML from here on", help, Reach::Rest)
    };
    (Mistake { span: Some(span), message, label: label.to_owned(), help }, reach)
}
