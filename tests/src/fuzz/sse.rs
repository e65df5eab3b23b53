//! A stream of server-sent events, compared with a second reader that has the whole text and no bounds.
//!
//! The first two bytes are the bounds on a line and on an event; the rest is the stream.

use jidoka::doors::sse::{Bounds, Event, Parser, SseError};

/// What came of a stream: its events until it ended or broke.
type Read = (Vec<Event>, Option<SseError>);

const NO_BOUNDS: Bounds = Bounds { line_bytes: usize::MAX, event_bytes: usize::MAX };

/// The body of the target `sse`.
pub fn run(bytes: &[u8]) {
    let [line_bytes, event_bytes, stream @ ..] = bytes else { return };
    let bounds = Bounds { line_bytes: usize::from(*line_bytes), event_bytes: usize::from(*event_bytes) };
    assert_eq!(read(NO_BOUNDS, stream, stream.len().max(1)), second_reading(stream));
    let whole = read(bounds, stream, stream.len().max(1));
    for size in [1, 2, 3, 17] {
        assert_eq!(read(bounds, stream, size), whole, "in pieces of {size}");
    }
    assert!(whole.0.iter().all(|event| event.data.len() <= bounds.event_bytes && !event.name.contains(['\n', '\r'])));
}

fn read(bounds: Bounds, stream: &[u8], size: usize) -> Read {
    let mut parser = Parser::new(bounds);
    let mut events = Vec::new();
    for mut piece in stream.chunks(size) {
        loop {
            match parser.next(&mut piece) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
    }
    (events, None)
}

/// The grammar, read from the page and not from our parser: lines first, then fields.
fn second_reading(stream: &[u8]) -> Read {
    let mut lines: Vec<&[u8]> = Vec::new();
    let mut rest = stream;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n' || *byte == b'\r') {
        lines.push(&rest[..end]);
        rest = rest[end..].strip_prefix(b"\r\n").unwrap_or(&rest[end + 1..]);
    }
    if let Some(first) = lines.first_mut() {
        *first = first.strip_prefix("\u{feff}".as_bytes()).unwrap_or(first);
    }
    let (mut events, mut name, mut data): (_, _, Vec<&str>) = (Vec::new(), "", Vec::new());
    for line in lines {
        if line.is_empty() {
            if !data.is_empty() {
                events.push(Event { name: name.to_owned(), data: data.join("\n") });
            }
            (name, data) = ("", Vec::new());
            continue;
        }
        let Ok(line) = std::str::from_utf8(line) else { return (events, Some(SseError::NotUtf8)) };
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        match (field, value.strip_prefix(' ').unwrap_or(value)) {
            ("data", value) => data.push(value),
            ("event", value) => name = value,
            _ => {}
        }
    }
    (events, None)
}
