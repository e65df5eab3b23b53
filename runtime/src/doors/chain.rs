//! The journal's lines: canonical bytes, each chained to the one before by its hash, with contents that can be erased.
//!
//! The format is written down in `runtime/FORMAT.md`. Never: decides what an entry says. Invariants here: a line's bytes
//! follow from its entry alone; nothing can be changed, left out, or put in between without a line's hash failing; an
//! erased content leaves a keyed address, of which nobody can tell what it was once the run's key is erased too.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::rules::digest::Digest;
use crate::rules::effect::{Body, Denied, Effect, Entry, FORMAT, OpenedJob, Refusal};
use crate::rules::facts::{Content, Facts};
use crate::rules::model::{Message, Request, ToolDefinition};
use crate::rules::record::Record;
use crate::rules::verdict::{CheckEnd, Stop};

/// The secret of a run with which the addresses of its contents are made. Erased with them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// The key of these bytes, which nobody can guess.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The address of a content or a piece.
    pub fn address(&self, text: &str) -> Digest {
        Digest::from_bytes(*blake3::keyed_hash(&self.0, text.as_bytes()).as_bytes())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Key")
    }
}

/// The hash of a line.
pub fn hash(line: &str) -> Digest {
    Digest::from_bytes(*blake3::hash(line.as_bytes()).as_bytes())
}

/// Where a chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Number of entries, at least 1.
    pub entries: u64,
    /// The hash of the last line.
    pub hash: Digest,
}

/// A line as it is kept, with its content unless that is erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub line: String,
    pub content: Option<String>,
}

/// Parts that contents share, by address: a message after others, a list of tools, a schema.
pub type Pieces = HashMap<Digest, String>;

/// An entry that may be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub seq: u64,
    pub at_ms: u64,
    pub hash: Digest,
    pub facts: Facts,
    pub row: Row,
    /// Those that no earlier entry of the run had.
    pub pieces: Vec<(Digest, String)>,
}

impl Sealed {
    /// The bytes that keeping it costs.
    pub fn bytes(&self) -> usize {
        let pieces: usize = self.pieces.iter().map(|(_, piece)| piece.len()).sum();
        self.row.line.len() + self.row.content.as_ref().map_or(0, String::len) + pieces
    }

    /// Those of them that an erasure takes away.
    pub fn erasable_bytes(&self) -> usize {
        self.bytes() - self.row.line.len()
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    seq: u64,
    at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prev: Option<Digest>,
    entry: Facts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<Digest>,
}

/// Contents as they are written, which differ from the rules' own only in the parts that are pieces.
mod written {
    use super::*;

    #[derive(Serialize, Deserialize)]
    pub struct Asked {
        #[serde(flatten)]
        pub what: What,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub sent: Option<Ask>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum What {
        Ask(Ask),
        Effect(Effect),
    }

    #[derive(Serialize, Deserialize)]
    pub struct Ask {
        pub model: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub history: Option<Digest>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub tools: Option<Digest>,
        pub max_output: u32,
        pub min_output: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub schema: Option<Digest>,
    }

    #[derive(Serialize, Deserialize)]
    pub struct Said {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub after: Option<Digest>,
        pub message: Message,
    }

    #[derive(Serialize, Deserialize)]
    pub struct Answered {
        pub heard: Heard_,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub raw_usage: Option<String>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum Heard_ {
        Done(crate::rules::effect::Answer),
        Denied(Denied),
    }

    #[derive(Serialize, Deserialize)]
    pub struct Refused {
        #[serde(flatten)]
        pub what: What,
        pub refusal: Refusal,
    }

    #[derive(Serialize, Deserialize)]
    pub struct Note {
        pub message: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub fields: Vec<(String, String)>,
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data whose keys are texts")
}

/// Makes contents and their pieces.
#[derive(Clone)]
struct Writer {
    key: Key,
    /// The last history, so that a chat that repeats it costs what is new.
    said: Vec<(Message, Digest)>,
    known: HashSet<Digest>,
}

impl Writer {
    fn new(key: Key) -> Self {
        Self { key, said: Vec::new(), known: HashSet::new() }
    }

    fn piece(&mut self, text: String, pieces: &mut Vec<(Digest, String)>) -> Digest {
        let address = self.key.address(&text);
        if self.known.insert(address) {
            pieces.push((address, text));
        }
        address
    }

    fn history(&mut self, messages: &[Message], pieces: &mut Vec<(Digest, String)>) -> Option<Digest> {
        let same = self.said.iter().zip(messages).take_while(|((known, _), message)| known == *message).count();
        self.said.truncate(same);
        for message in &messages[same..] {
            let after = self.said.last().map(|(_, address)| *address);
            let said = written::Said { after, message: message.clone() };
            let address = self.piece(json(&said), pieces);
            self.said.push((said.message, address));
        }
        self.said.last().map(|(_, address)| *address)
    }

    fn ask(&mut self, request: &Request, pieces: &mut Vec<(Digest, String)>) -> written::Ask {
        written::Ask {
            model: request.model.clone(),
            history: self.history(&request.messages, pieces),
            tools: (!request.tools.is_empty()).then(|| self.piece(json(&request.tools), pieces)),
            max_output: request.max_output,
            min_output: request.min_output,
            schema: request.schema.as_ref().map(|schema| self.piece(json(schema), pieces)),
        }
    }

    fn what(&mut self, effect: Effect, pieces: &mut Vec<(Digest, String)>) -> written::What {
        match effect {
            Effect::Model { request } => written::What::Ask(self.ask(&request, pieces)),
            other @ (Effect::Tool { .. }
            | Effect::Child { .. }
            | Effect::Human { .. }
            | Effect::Attach { .. }
            | Effect::CheckIn { .. }
            | Effect::Sleep { .. }
            | Effect::Left
            | Effect::Count { .. }
            | Effect::Fetch { .. }) => written::What::Effect(other),
        }
    }

    fn write(&mut self, content: Content, pieces: &mut Vec<(Digest, String)>) -> String {
        match content {
            Content::Job(job) => json(&job),
            Content::Asked { effect, sent } => {
                // What was sent after what was asked, which is what the next request begins with.
                let what = self.what(effect, pieces);
                let said = self.said.clone();
                let sent = sent.map(|request| self.ask(&request, pieces));
                self.said = said;
                json(&written::Asked { what, sent })
            }
            Content::Heard { heard, raw_usage } => {
                let heard = match heard {
                    Ok(answer) => written::Heard_::Done(answer),
                    Err(denied) => written::Heard_::Denied(denied),
                };
                json(&written::Answered { heard, raw_usage })
            }
            Content::Refused { effect, refusal } => {
                json(&written::Refused { what: self.what(effect, pieces), refusal })
            }
            Content::Note { message, fields } => json(&written::Note { message, fields }),
            Content::Text(text) => json(&text),
            Content::Stop(stop) => json(&stop),
            Content::Check(end) => json(&end),
            Content::Paths(paths) => json(&paths),
            Content::Record(record) => json(&record),
        }
    }
}

/// Seals the entries of one run, in order.
#[derive(Clone)]
pub struct Sealer {
    writer: Writer,
    head: Option<Head>,
}

impl Sealer {
    /// Of a run that has no entry yet.
    pub fn new(key: Key) -> Self {
        Self { writer: Writer::new(key), head: None }
    }

    /// Of a run that goes on after `head`.
    pub fn after(key: Key, head: Head, pieces: &Pieces) -> Self {
        let mut writer = Writer::new(key);
        writer.known = pieces.keys().copied().collect();
        Self { writer, head: Some(head) }
    }

    /// The run's key.
    pub fn key(&self) -> Key {
        self.writer.key
    }

    /// The number of the next entry.
    pub fn next_seq(&self) -> u64 {
        self.head.map_or(0, |head| head.entries)
    }

    /// Where the chain ends, once there is an entry.
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    /// The next entry, as it is kept.
    pub fn seal(&mut self, at_ms: u64, body: Body) -> Sealed {
        let (facts, content) = body.split();
        let mut pieces = Vec::new();
        let content = content.map(|content| self.writer.write(content, &mut pieces));
        let address = content.as_deref().map(|content| self.writer.key.address(content));
        let seq = self.next_seq();
        let line = Line { seq, at_ms, prev: self.head.map(|head| head.hash), entry: facts, content: address };
        let text = json(&line);
        let hash = hash(&text);
        self.head = Some(Head { entries: seq + 1, hash });
        Sealed { seq, at_ms, hash, facts: line.entry, row: Row { line: text, content }, pieces }
    }
}

/// Makes the contents of a run again, to compare them with what is kept.
pub struct Comparer(Writer);

impl Comparer {
    /// For contents with this key.
    pub fn new(key: Key) -> Self {
        Self(Writer::new(key))
    }

    /// The facts and the content's address that this body would be kept with.
    pub fn address(&mut self, body: Body) -> (Facts, Option<Digest>) {
        let (facts, content) = body.split();
        let content = content.map(|content| self.0.write(content, &mut Vec::new()));
        self.0.known.clear();
        (facts, content.map(|content| self.0.key.address(&content)))
    }
}

/// What is wrong with a journal, and with which entry.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Flaw {
    /// A later version wrote it.
    #[error("the journal has format {found}; this version knows up to {known}")]
    Newer { found: u32, known: u32 },
    /// An earlier version wrote it.
    #[error("the journal has format {found}; this version reads {known} alone")]
    Older { found: u32, known: u32 },
    /// It does not say what it must.
    #[error("entry {seq}: {problem}")]
    Entry { seq: u64, problem: String },
    /// Entries are missing at the end, or are too many.
    #[error("the journal ends after {found} entries, its head says {expected}")]
    Length { found: u64, expected: u64 },
    /// The last line is not the one that the head names.
    #[error("entry {seq}: its hash is not that of the head")]
    Head { seq: u64 },
}

impl Flaw {
    fn entry(seq: u64, problem: impl Into<String>) -> Self {
        Flaw::Entry { seq, problem: problem.into() }
    }

    /// The first entry that is wrong.
    pub fn seq(&self) -> u64 {
        match self {
            Flaw::Newer { .. } | Flaw::Older { .. } => 0,
            Flaw::Entry { seq, .. } | Flaw::Head { seq } => *seq,
            Flaw::Length { found, expected } => *found.min(expected),
        }
    }
}

/// A journal as it is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// `None`: erased, with all contents.
    pub key: Option<Key>,
    pub head: Head,
    pub rows: Vec<Row>,
    pub pieces: Pieces,
}

/// An entry that was kept, and whose place in the chain was checked.
#[derive(Clone, Debug)]
pub struct KeptEntry {
    pub seq: u64,
    pub at_ms: u64,
    pub hash: Digest,
    pub facts: Facts,
    /// The address of its content.
    pub address: Option<Digest>,
    /// Its content; none if it has none or if it was erased.
    content: Option<String>,
    source: Arc<Source>,
}

/// What reading contents needs.
#[derive(Debug)]
struct Source {
    key: Option<Key>,
    pieces: Pieces,
}

#[derive(Deserialize)]
struct AnyFormat {
    entry: AnyOpened,
}

#[derive(Deserialize)]
struct AnyOpened {
    opened: AnyOrigin,
}

#[derive(Deserialize)]
struct AnyOrigin {
    format: u32,
}

impl Kept {
    /// Checks the whole journal: the chain, and every content and piece that is not erased.
    ///
    /// # Errors
    /// The first [`Flaw`].
    pub fn open(self) -> Result<Vec<KeptEntry>, Flaw> {
        let Self { key, head, rows, pieces } = self;
        if let Some(key) = &key {
            check_pieces(key, &pieces, &rows)?;
        }
        let source = Arc::new(Source { key, pieces });
        let mut entries: Vec<KeptEntry> = Vec::with_capacity(rows.len());
        let mut rows = rows.into_iter().peekable();
        while let Some(row) = rows.next() {
            let own = hash(&row.line);
            let vouched = || match rows.peek() {
                Some(next) => names(next, own),
                None => own == head.hash,
            };
            let entry = KeptEntry::of(row, own, entries.last(), &source, vouched)?;
            entries.push(entry);
        }
        let found = entries.len() as u64;
        if found != head.entries {
            return Err(Flaw::Length { found, expected: head.entries });
        }
        match entries.last() {
            Some(last) if last.hash == head.hash => Ok(entries),
            Some(last) => Err(Flaw::Head { seq: last.seq }),
            None => Err(Flaw::Length { found: 0, expected: head.entries }),
        }
    }
}

/// A piece that is not what its address says is told by the first entry that could need it.
fn check_pieces(key: &Key, pieces: &Pieces, rows: &[Row]) -> Result<(), Flaw> {
    let bad = pieces.iter().find(|(address, piece)| key.address(piece) != **address);
    let Some((address, _)) = bad else { return Ok(()) };
    let text = address.to_string();
    let user = rows.iter().position(|row| row.content.as_ref().is_some_and(|content| content.contains(&text)));
    let seq = user.unwrap_or(0) as u64;
    Err(Flaw::entry(seq, format!("piece {address} of its content is not what was written")))
}

/// Whether a line says that it follows one of this hash.
fn names(next: &Row, hash: Digest) -> bool {
    #[derive(Deserialize)]
    struct Link {
        prev: Option<Digest>,
    }
    serde_json::from_str::<Link>(&next.line).is_ok_and(|link| link.prev == Some(hash))
}

impl KeptEntry {
    /// `vouched` says whether what comes after this line names its hash: if so, and it does not follow the one before, that
    /// one is wrong.
    fn of(
        row: Row,
        hash: Digest,
        before: Option<&KeptEntry>,
        source: &Arc<Source>,
        vouched: impl FnOnce() -> bool,
    ) -> Result<Self, Flaw> {
        let seq = before.map_or(0, |before| before.seq + 1);
        let line = match serde_json::from_str::<Line>(&row.line) {
            Ok(line) => line,
            Err(error) => return Err(unreadable(seq, &row.line, &error)),
        };
        if let Facts::Opened(origin) = &line.entry {
            known_format(origin.format)?;
        }
        if line.seq != seq {
            return Err(Flaw::entry(seq, format!("it says that it is entry {}", line.seq)));
        }
        if line.prev != before.map(|before| before.hash) {
            return Err(match before {
                Some(before) if vouched() => Flaw::entry(before.seq, "its line is not what was written"),
                _ => Flaw::entry(seq, "it does not follow the entry before it"),
            });
        }
        // What was parsed is what was hashed: no second spelling of the same entry is taken.
        if json(&line) != row.line {
            return Err(Flaw::entry(seq, "its line is not canonical"));
        }
        if (seq == 0) != matches!(line.entry, Facts::Opened(_)) {
            return Err(Flaw::entry(seq, "a journal begins with an opening, and has one"));
        }
        if line.content.is_some() != line.entry.has_content() {
            return Err(Flaw::entry(seq, "its kind and its content do not fit"));
        }
        if let Some(content) = &row.content {
            let address = source.key.map(|key| key.address(content));
            if address.is_none() || address != line.content {
                return Err(Flaw::entry(seq, "its content is not what was written"));
            }
        }
        Ok(Self {
            seq,
            at_ms: line.at_ms,
            hash,
            facts: line.entry,
            address: line.content,
            content: row.content,
            source: Arc::clone(source),
        })
    }

    /// The key that its content's address was made with. `None`: erased.
    pub fn key(&self) -> Option<Key> {
        self.source.key
    }

    /// Whether it had content that is erased.
    pub fn is_erased(&self) -> bool {
        self.address.is_some() && self.content.is_none()
    }

    /// The whole entry. `None`: its content is erased.
    ///
    /// # Errors
    /// [`Flaw::Entry`]: the content is not that of such an entry, or a piece of it is missing.
    pub fn entry(&self) -> Result<Option<Entry>, Flaw> {
        if self.is_erased() {
            return Ok(None);
        }
        let content = match &self.content {
            None => None,
            Some(text) => Some(self.read(text).map_err(|problem| Flaw::entry(self.seq, problem))?),
        };
        match self.facts.clone().with(content) {
            Some(body) => Ok(Some(Entry { seq: self.seq, at_ms: self.at_ms, body })),
            None => Err(Flaw::entry(self.seq, "its facts and its content are of two kinds")),
        }
    }

    /// Its content's text as it was written.
    pub fn content(&self) -> Option<&str> {
        self.content.as_deref()
    }

    /// The entry as one JSON document: its facts, and its content with all its pieces in their places.
    ///
    /// # Errors
    /// As [`KeptEntry::entry`].
    pub fn document(&self) -> Result<serde_json::Value, Flaw> {
        let mut document = serde_json::json!({
            "seq": self.seq,
            "at_ms": self.at_ms,
            "hash": self.hash,
            "entry": self.facts,
        });
        let content = match self.entry()?.map(|entry| entry.body) {
            None => serde_json::json!({ "erased": true }),
            Some(Body::Intent { effect, sent, .. }) => serde_json::json!({ "effect": effect, "sent": sent }),
            Some(Body::Refused { effect, refusal, .. }) => {
                serde_json::json!({ "effect": effect, "refusal": refusal })
            }
            Some(_) => match &self.content {
                None => return Ok(document),
                Some(text) => serde_json::from_str(text)
                    .map_err(|error| Flaw::entry(self.seq, format!("its content cannot be read: {error}")))?,
            },
        };
        document["content"] = content;
        Ok(document)
    }

    fn read(&self, text: &str) -> Result<Content, String> {
        self.read_as(&self.facts, text)
    }

    fn read_as(&self, facts: &Facts, text: &str) -> Result<Content, String> {
        fn of<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, String> {
            serde_json::from_str(text).map_err(|error| format!("its content cannot be read: {error}"))
        }
        Ok(match facts {
            Facts::Within { within, .. } => self.read_as(within, text)?,
            Facts::Opened(_) => Content::Job(of::<Box<OpenedJob>>(text)?),
            Facts::Intent { .. } => {
                let asked = of::<written::Asked>(text)?;
                let sent = asked.sent.map(|ask| self.request(ask)).transpose()?;
                Content::Asked { effect: self.effect(asked.what)?, sent: sent.map(Box::new) }
            }
            Facts::Answered { .. } => {
                let answered = of::<written::Answered>(text)?;
                let heard = match answered.heard {
                    written::Heard_::Done(answer) => Ok(answer),
                    written::Heard_::Denied(denied) => Err(denied),
                };
                Content::Heard { heard, raw_usage: answered.raw_usage }
            }
            Facts::Refused { .. } => {
                let refused = of::<written::Refused>(text)?;
                Content::Refused { effect: self.effect(refused.what)?, refusal: refused.refusal }
            }
            Facts::Noted { .. } => {
                let note = of::<written::Note>(text)?;
                Content::Note { message: note.message, fields: note.fields }
            }
            Facts::Printed { .. } | Facts::Retried { .. } => Content::Text(of(text)?),
            Facts::Stopped => Content::Stop(of::<Stop>(text)?),
            Facts::Checked { .. } => Content::Check(of::<CheckEnd>(text)?),
            Facts::Ended { .. } | Facts::Applying => Content::Paths(of(text)?),
            Facts::Closed { .. } => Content::Record(of::<Box<Record>>(text)?),
            Facts::Full { .. } | Facts::Marked { .. } | Facts::Checking { .. } | Facts::Resumed { .. } => {
                return Err("it has no content".into());
            }
        })
    }

    fn effect(&self, what: written::What) -> Result<Effect, String> {
        match what {
            written::What::Ask(ask) => Ok(Effect::Model { request: self.request(ask)? }),
            written::What::Effect(Effect::Model { .. }) => Err("a model call is written as `ask`".into()),
            written::What::Effect(effect) => Ok(effect),
        }
    }

    fn request(&self, ask: written::Ask) -> Result<Request, String> {
        let mut messages = Vec::new();
        let mut place = ask.history;
        while let Some(address) = place {
            let said: written::Said = self.piece(&address)?;
            messages.push(said.message);
            place = said.after;
        }
        messages.reverse();
        let tools = ask.tools.map(|address| self.piece::<Vec<ToolDefinition>>(&address)).transpose()?;
        Ok(Request {
            model: ask.model,
            messages,
            tools: tools.unwrap_or_default(),
            max_output: ask.max_output,
            min_output: ask.min_output,
            schema: ask.schema.map(|address| self.piece::<String>(&address)).transpose()?,
        })
    }

    fn piece<'a, T: Deserialize<'a>>(&'a self, address: &Digest) -> Result<T, String> {
        let text =
            self.source.pieces.get(address).ok_or_else(|| format!("piece {address} of its content is missing"))?;
        serde_json::from_str(text).map_err(|error| format!("piece {address} of its content cannot be read: {error}"))
    }
}

/// Why a line cannot be read: perhaps another version wrote the journal, which its first line then says.
fn unreadable(seq: u64, line: &str, error: &serde_json::Error) -> Flaw {
    if seq == 0
        && let Ok(any) = serde_json::from_str::<AnyFormat>(line)
        && let Err(flaw) = known_format(any.entry.opened.format)
    {
        return flaw;
    }
    Flaw::entry(seq, format!("its line cannot be read: {error}"))
}

fn known_format(found: u32) -> Result<(), Flaw> {
    match found.cmp(&FORMAT) {
        Ordering::Equal => Ok(()),
        Ordering::Greater => Err(Flaw::Newer { found, known: FORMAT }),
        Ordering::Less => Err(Flaw::Older { found, known: FORMAT }),
    }
}

/// The addresses of trees and components that a line names; none, if it cannot be read.
pub(super) fn named_in(line: &str) -> Vec<Digest> {
    serde_json::from_str::<Line>(line).map(|line| named_by(&line.entry)).unwrap_or_default()
}

/// The addresses of trees and components that an entry names.
pub(super) fn named_by(facts: &Facts) -> Vec<Digest> {
    match facts {
        Facts::Opened(origin) => {
            origin.parts().components().into_iter().chain(origin.tree).chain(origin.context).collect()
        }
        Facts::Answered { tree, .. } | Facts::Marked { tree, .. } | Facts::Ended { tree, .. } => {
            tree.iter().copied().collect()
        }
        _ => Vec::new(),
    }
}

/// The entries that a run stands on: what was void when it was resumed is left out.
pub fn story(entries: Vec<KeptEntry>) -> Vec<KeptEntry> {
    let mut story: Vec<KeptEntry> = Vec::with_capacity(entries.len());
    for entry in entries {
        if let Facts::Resumed { after, .. } = entry.facts {
            story.truncate(story.partition_point(|before| before.seq <= after));
        } else {
            story.push(entry);
        }
    }
    story
}

#[cfg(test)]
pub(crate) mod tests;
