//! The content of a file as lines of text, and what of a line is shown.

use std::borrow::Cow;

/// Bytes of one line in an answer: minified sources have lines of a megabyte.
pub const MAX_LINE_BYTES: usize = 400;

/// Bytes that are looked at to tell a binary file, as git does it.
const LOOKED_AT: usize = 8_000;

/// A file that is text.
pub struct Text<'a>(Cow<'a, str>);

impl<'a> Text<'a> {
    /// `None` if it is binary: a NUL byte near its start. Bytes that are no UTF-8 become `U+FFFD`.
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        let start = &bytes[..bytes.len().min(LOOKED_AT)];
        (!start.contains(&0)).then(|| Text(String::from_utf8_lossy(bytes)))
    }

    /// Without their ends; a last line without an end is one too.
    pub fn lines(&self) -> Vec<&str> {
        self.0.lines().collect()
    }
}

/// A line as it is shown: cut at a character.
pub fn shown(line: &str) -> Cow<'_, str> {
    if line.len() <= MAX_LINE_BYTES {
        return Cow::Borrowed(line);
    }
    let end = line.floor_char_boundary(MAX_LINE_BYTES);
    Cow::Owned(format!("{} [cut after {end} of {} bytes]", &line[..end], line.len()))
}
