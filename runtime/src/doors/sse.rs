//! Server-sent events from bytes, bounded: what a hostile stream can make us hold is known beforehand.
//!
//! Never: reads a socket, knows what an event means. Invariants: memory stays below [`Bounds::line_bytes`] +
//! [`Bounds::event_bytes`], however the bytes are split. The grammar is
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>, but for the end of a stream:
//! servers leave out the last blank line, so [`Parser::last`] hands out what it would have ended. `id` and `retry` are
//! dropped, because nothing here reconnects.

use thiserror::Error;

/// What one stream may make us hold or handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of one line, its end excluded.
    pub line_bytes: usize,
    /// Bytes of the data of one event.
    pub event_bytes: usize,
}

/// One event with data; events without any are dropped, as the grammar says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Empty if the stream gave none.
    pub name: String,
    pub data: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SseError {
    #[error("a line of the stream is longer than {0} bytes")]
    LongLine(usize),
    #[error("an event of the stream is longer than {0} bytes")]
    LongEvent(usize),
    #[error("the stream is not UTF-8")]
    NotUtf8,
}

/// A stream in progress.
#[derive(Debug)]
pub struct Parser {
    bounds: Bounds,
    line: Vec<u8>,
    /// The last byte was CR: an LF right after it belongs to the same line end.
    after_cr: bool,
    first_line: bool,
    name: String,
    /// Lines of data, each with an LF at its end.
    data: String,
    has_events: bool,
}

impl Parser {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            line: Vec::new(),
            after_cr: false,
            first_line: true,
            name: String::new(),
            data: String::new(),
            has_events: false,
        }
    }

    /// Takes bytes off the front of `input` up to the end of the next event. `None`: the input is used up and the
    /// event is still open. After an error the stream is useless; events handed out before it were sound.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Event>, SseError> {
        while let Some(&first) = input.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                *input = &input[1..];
                continue;
            }
            let end = input.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = &input[..end.unwrap_or(input.len())];
            if self.line.len() + part.len() > self.bounds.line_bytes {
                return Err(SseError::LongLine(self.bounds.line_bytes));
            }
            self.line.extend_from_slice(part);
            let Some(end) = end else {
                *input = &[];
                break;
            };
            self.after_cr = input[end] == b'\r';
            *input = &input[end + 1..];
            let line = std::mem::take(&mut self.line);
            if let Some(event) = self.line(&line)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<Event>, SseError> {
        let line = match std::mem::take(&mut self.first_line) {
            true => line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line),
            false => line,
        };
        if line.is_empty() {
            return self.dispatch();
        }
        let line = std::str::from_utf8(line).map_err(|_| SseError::NotUtf8)?;
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.data.len() + value.len() > self.bounds.event_bytes {
                    return Err(SseError::LongEvent(self.bounds.event_bytes));
                }
                self.data.push_str(value);
                self.data.push('\n');
            }
            "event" => self.name = value.to_owned(),
            // A comment has an empty field name; the grammar ignores every name that it does not know.
            _ => {}
        }
        Ok(None)
    }

    fn dispatch(&mut self) -> Result<Option<Event>, SseError> {
        let name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        if data.pop().is_none() {
            return Ok(None);
        }
        self.has_events = true;
        Ok(Some(Event { name, data }))
    }

    /// The event that is open when the stream has ended: its last line end, and the blank line, may be missing.
    pub fn last(&mut self) -> Result<Option<Event>, SseError> {
        let line = std::mem::take(&mut self.line);
        match self.line(&line)? {
            Some(event) => Ok(Some(event)),
            None => self.dispatch(),
        }
    }

    /// Whether any event was handed out.
    pub fn has_events(&self) -> bool {
        self.has_events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { line_bytes: 64, event_bytes: 64 };

    fn parse_in_parts(text: &[u8], part: usize) -> Result<Vec<Event>, SseError> {
        let mut parser = Parser::new(BOUNDS);
        let mut events = Vec::new();
        for mut bytes in text.chunks(part) {
            while let Some(event) = parser.next(&mut bytes)? {
                events.push(event);
            }
        }
        Ok(events)
    }

    fn data(text: &str) -> Vec<String> {
        let events = parse_in_parts(text.as_bytes(), text.len().max(1)).unwrap();
        events.into_iter().map(|event| event.data).collect()
    }

    #[test]
    fn every_split_and_every_line_end_gives_the_same_events() {
        let text = "\u{feff}: hello\nevent: delta\ndata: ä1\ndata:2\nid: 9\n\ndata\n\ndata: x\n\n";
        let expected = parse_in_parts(text.as_bytes(), text.len()).unwrap();
        assert_eq!(expected.len(), 3);
        assert_eq!(expected[0], Event { name: "delta".into(), data: "ä1\n2".into() });
        assert_eq!(expected[1], Event { name: String::new(), data: String::new() });
        for end in ["\n", "\r", "\r\n"] {
            let text = text.replace('\n', end);
            for part in 1..=text.len() {
                assert_eq!(parse_in_parts(text.as_bytes(), part).unwrap(), expected, "{end:?} in parts of {part}");
            }
        }
    }

    #[test]
    fn only_one_space_after_the_colon_is_dropped_and_only_the_first_line_loses_a_mark() {
        assert_eq!(data("data:  two\n\n"), [" two"]);
        assert_eq!(data("data: a\n\n\u{feff}data: b\n\ndata: c\n\n"), ["a", "c"]);
    }

    #[test]
    fn an_event_without_data_is_never_handed_out_and_one_without_its_blank_line_only_at_the_end() {
        for end in ["", "\n", "\r\n"] {
            let mut parser = Parser::new(BOUNDS);
            let text = format!("data: a\n\ndata: [DONE]{end}");
            let mut bytes = text.as_bytes();
            assert_eq!(parser.next(&mut bytes).unwrap().unwrap().data, "a");
            assert_eq!(parser.next(&mut bytes).unwrap(), None);
            assert_eq!(parser.last().unwrap().unwrap().data, "[DONE]", "{end:?}");
            assert_eq!(parser.last().unwrap(), None);
        }
        assert!(data("event: ping\n\n: comment\n\n\n").is_empty());
    }

    #[test]
    fn a_line_may_have_n_bytes_and_not_n_plus_1() {
        let line = |bytes: usize| format!("data:{}", "x".repeat(bytes - 5));
        assert_eq!(data(&format!("{}\n\n", line(64))).len(), 1);
        for part in [1, 7, 1000] {
            let endless = line(65);
            assert_eq!(parse_in_parts(endless.as_bytes(), part), Err(SseError::LongLine(64)));
        }
    }

    #[test]
    fn an_event_may_have_n_bytes_and_not_n_plus_1() {
        // Each line counts with the line feed that joins it to the next.
        let event = |last: usize| format!("data:{}\ndata:{}\n\n", "x".repeat(31), "y".repeat(last));
        assert_eq!(data(&event(32))[0].len(), 64);
        assert_eq!(parse_in_parts(event(33).as_bytes(), 9), Err(SseError::LongEvent(64)));
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_an_error_and_not_a_guess() {
        assert_eq!(parse_in_parts(b"data: \xff\n\n", 3), Err(SseError::NotUtf8));
    }
}
