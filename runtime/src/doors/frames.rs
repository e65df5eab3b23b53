//! The framing of an export: a first line, records, and an end, each of which has one spelling.
//!
//! `KIND NAME LENGTH`, a line feed, so many bytes, a line feed; the format is written down in `runtime/FORMAT.md`.
//! Never: knows what a record is for. Invariants here: nothing is held in memory before it was read, and nothing is read
//! past its bound.

use std::fmt::Display;
use std::io::{self, BufRead, BufReader, Read, Write};

use thiserror::Error;

use crate::rules::digest::Digest;

/// The version of the framing. A reader refuses what it does not know.
pub const FORMAT: u32 = 2;

/// Records of one file. A reader remembers less than 200 bytes of each that it does not keep: whoever makes a hostile file
/// gets 200 MB of the host at most. A run of a day with an effect each second has less than 500,000.
pub const MAX_RECORDS: u64 = 1_000_000;

/// Bytes of one file. Eight trees of the largest kind.
pub const MAX_FILE_BYTES: u64 = 16 << 30;

/// Bytes of a record's first line: a kind, an address or a serial, and a number of 20 digits.
const MAX_HEADER_BYTES: u64 = 128;

/// Bytes moved at a time.
const BUFFER_BYTES: usize = 64 << 10;

const MARK: &str = "jidoka-run ";

/// Why the framing cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// At this byte of the file a record begins, or should, that is not one, or is too much.
    #[error("byte {at}: {problem}")]
    Broken { at: u64, problem: String },
    /// A later version wrote it.
    #[error("it has format {found}; this version knows up to {known}")]
    Newer { found: u32, known: u32 },
    /// A version wrote it that is no longer read.
    #[error("it has format {found}; this version reads from {oldest} on")]
    Older { found: u32, oldest: u32 },
    #[error("it cannot be read or written")]
    Io(#[from] io::Error),
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Run,
    Key,
    Entry,
    Content,
    Piece,
    Tree,
    Blob,
    Evidence,
    End,
}

impl Kind {
    const ALL: [Kind; 9] = [
        Kind::Run,
        Kind::Key,
        Kind::Entry,
        Kind::Content,
        Kind::Piece,
        Kind::Tree,
        Kind::Blob,
        Kind::Evidence,
        Kind::End,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Run => "run",
            Kind::Key => "key",
            Kind::Entry => "entry",
            Kind::Content => "content",
            Kind::Piece => "piece",
            Kind::Tree => "tree",
            Kind::Blob => "blob",
            Kind::Evidence => "evidence",
            Kind::End => "end",
        }
    }
}

/// The first line of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Where it begins in the file.
    pub at: u64,
    pub kind: Kind,
    pub name: String,
    pub bytes: u64,
}

impl Header {
    /// That this record cannot be where it is.
    pub fn broken(&self, problem: impl Into<String>) -> FrameError {
        FrameError::Broken { at: self.at, problem: problem.into() }
    }

    /// Whether it is of this kind and this name.
    pub fn is(&self, kind: Kind, name: &impl Display) -> bool {
        self.kind == kind && self.name == name.to_string()
    }

    fn parse(at: u64, line: &str) -> Option<Self> {
        let (kind, rest) = line.split_once(' ')?;
        let (name, bytes) = rest.split_once(' ')?;
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind)?;
        (!name.is_empty()).then_some(Self { at, kind, name: name.to_owned(), bytes: number(bytes)? })
    }
}

/// A number in its one spelling.
fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// The records of a file, one after another.
pub(super) struct Frames<R> {
    source: BufReader<R>,
    at: u64,
    records: u64,
    next: Option<Header>,
}

impl<R: Read> Frames<R> {
    /// Reads the first line, and the first record's.
    pub fn open(source: R) -> Result<Self, FrameError> {
        let mut frames = Self { source: BufReader::with_capacity(BUFFER_BYTES, source), at: 0, records: 0, next: None };
        let line = frames.line()?;
        let format = line.strip_prefix(MARK).and_then(number).and_then(|format| u32::try_from(format).ok());
        match format {
            None => return Err(FrameError::Broken { at: 0, problem: "it is not an exported run".into() }),
            Some(found) if found > FORMAT => return Err(FrameError::Newer { found, known: FORMAT }),
            Some(found) if found < FORMAT => return Err(FrameError::Older { found, oldest: FORMAT }),
            Some(_) => {}
        }
        frames.advance()?;
        Ok(frames)
    }

    /// The record that comes next, if it is of this kind.
    pub fn next_if(&self, kind: Kind) -> Option<Header> {
        self.next.clone().filter(|next| next.kind == kind)
    }

    /// That something else should come next.
    pub fn unexpected(&self, due: &str) -> FrameError {
        match &self.next {
            Some(next) => next.broken(format!("`{} {}` stands where {due} is due", next.kind.name(), next.name)),
            None => FrameError::Broken { at: self.at, problem: format!("the file ends where {due} is due") },
        }
    }

    /// The bytes of the record that comes next, `max` at most.
    pub fn bytes(&mut self, header: &Header, max: u64) -> Result<Vec<u8>, FrameError> {
        let mut found = Vec::new();
        self.pass(header, max, |source| source.read_to_end(&mut found).map(drop))?;
        Ok(found)
    }

    /// Lets `take` read the bytes of the record that comes next; what it leaves is passed over. Returns the address of all.
    pub fn hashed(
        &mut self,
        header: &Header,
        take: &mut dyn FnMut(&mut dyn Read) -> io::Result<()>,
    ) -> Result<Digest, FrameError> {
        let mut hasher = blake3::Hasher::new();
        self.pass(header, u64::MAX, |source| {
            let mut source = Hashed { source, hasher: &mut hasher };
            take(&mut source)?;
            io::copy(&mut source, &mut io::sink()).map(drop)
        })?;
        Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
    }

    /// The end of the file, which says how many records there were.
    pub fn end(mut self) -> Result<u64, FrameError> {
        let Some(end) = self.next_if(Kind::End) else { return Err(self.unexpected("the end")) };
        let before = self.records - 1;
        if end.name != before.to_string() || end.bytes != 0 {
            return Err(end.broken(format!("the end says `{} {}` after {before} records", end.name, end.bytes)));
        }
        self.body(&end, |_| Ok(()))?;
        match self.source.fill_buf()? {
            [] => Ok(self.at),
            _ => Err(FrameError::Broken { at: self.at, problem: "the file goes on after its end".into() }),
        }
    }

    fn pass(
        &mut self,
        header: &Header,
        max: u64,
        read: impl FnOnce(&mut dyn Read) -> io::Result<()>,
    ) -> Result<(), FrameError> {
        if header.bytes > max {
            return Err(header.broken(format!("it has {} bytes; at most {max} can be here", header.bytes)));
        }
        self.body(header, read)?;
        self.advance()
    }

    fn body(&mut self, header: &Header, read: impl FnOnce(&mut dyn Read) -> io::Result<()>) -> Result<(), FrameError> {
        let mut body = (&mut self.source).take(header.bytes);
        read(&mut body)?;
        let left = body.limit();
        let mut last = [0];
        let closed = left == 0 && self.source.read_exact(&mut last).is_ok() && last == *b"\n";
        if !closed {
            return Err(header.broken(format!("`{} {}` does not end where it says", header.kind.name(), header.name)));
        }
        self.at += header.bytes + 1;
        Ok(())
    }

    fn advance(&mut self) -> Result<(), FrameError> {
        let at = self.at;
        let broken = |problem: &str| FrameError::Broken { at, problem: problem.into() };
        if self.source.fill_buf()?.is_empty() {
            return Err(broken("the file ends before its end"));
        }
        let line = self.line()?;
        let header = Header::parse(at, &line).ok_or_else(|| broken("no record begins like this"))?;
        self.records += 1;
        // The end counts too.
        if self.records > MAX_RECORDS + 1 {
            return Err(broken(&format!("the file has more than {MAX_RECORDS} records")));
        }
        if self.at.saturating_add(header.bytes) > MAX_FILE_BYTES {
            return Err(broken(&format!("the file has more than {MAX_FILE_BYTES} bytes")));
        }
        self.next = Some(header);
        Ok(())
    }

    fn line(&mut self) -> Result<String, FrameError> {
        let mut line = Vec::new();
        (&mut self.source).take(MAX_HEADER_BYTES).read_until(b'\n', &mut line)?;
        let broken = || FrameError::Broken { at: self.at, problem: "no record begins like this".into() };
        if line.pop() != Some(b'\n') {
            return Err(broken());
        }
        let line = String::from_utf8(line).map_err(|_| broken())?;
        self.at += line.len() as u64 + 1;
        Ok(line)
    }
}

/// Hashes what is read through it.
struct Hashed<'a> {
    source: &'a mut dyn Read,
    hasher: &'a mut blake3::Hasher,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// Writes a file of records.
pub(super) struct Framer<'a> {
    out: &'a mut dyn Write,
    at: u64,
    records: u64,
}

impl<'a> Framer<'a> {
    /// Writes the first line.
    pub fn open(out: &'a mut dyn Write) -> Result<Self, FrameError> {
        let mut framer = Self { out, at: 0, records: 0 };
        framer.put(format!("{MARK}{FORMAT}\n").as_bytes())?;
        Ok(framer)
    }

    /// Writes a record.
    pub fn record(&mut self, kind: Kind, name: &impl Display, bytes: &[u8]) -> Result<(), FrameError> {
        self.begin(kind, name, bytes.len() as u64)?;
        self.put(bytes)?;
        self.put(b"\n")
    }

    /// Writes a record of so many bytes, and returns the address of those that `source` had.
    pub fn copy(
        &mut self,
        kind: Kind,
        name: &impl Display,
        bytes: u64,
        source: &mut dyn Read,
    ) -> Result<Digest, FrameError> {
        self.begin(kind, name, bytes)?;
        let mut hasher = blake3::Hasher::new();
        let copied = io::copy(&mut Hashed { source: &mut source.take(bytes), hasher: &mut hasher }, &mut self.out)?;
        self.at += copied;
        self.put(b"\n")?;
        Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
    }

    /// Writes the end; returns how many records and bytes there are.
    pub fn end(mut self) -> Result<u64, FrameError> {
        let records = self.records;
        self.put(format!("{} {records} 0\n\n", Kind::End.name()).as_bytes())?;
        self.out.flush()?;
        Ok(self.at)
    }

    fn begin(&mut self, kind: Kind, name: &impl Display, bytes: u64) -> Result<(), FrameError> {
        let broken = |problem| Err(FrameError::Broken { at: self.at, problem });
        if self.records >= MAX_RECORDS {
            return broken(format!("the file would have more than {MAX_RECORDS} records"));
        }
        if self.at.saturating_add(bytes).saturating_add(2 * MAX_HEADER_BYTES) > MAX_FILE_BYTES {
            return broken(format!("the file would have more than {MAX_FILE_BYTES} bytes"));
        }
        self.records += 1;
        self.put(format!("{} {name} {bytes}\n", kind.name()).as_bytes())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        self.out.write_all(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}
