//! A run as one file that stands alone: its journal, those of its parents, and every file that they name.
//!
//! The format is written down in `runtime/FORMAT.md`; somebody who has only that can check the file. Never: takes a record
//! that nothing before it needs, or holds a file of a tree in memory. Invariants here: every byte is framing with one
//! spelling, or is covered by a hash that leads to the head of a journal; the same run is the same bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::blobs::{BlobError, Blobs, MAX_TREE_BYTES, tree_address};
use super::chain::{Flaw, Head, Kept, KeptEntry, Key, Pieces, Row, story};
use super::evidence;
use super::frames::{FrameError, Framer, Frames, Header, Kind};
use super::node;
use super::tree::{Entry, Manifest};
use crate::rules::digest::Digest;
use crate::rules::effect::{Answer, Body, RunOrigin};
use crate::rules::facts::Facts;
use crate::rules::policy::MAX_EVIDENCE_BYTES;

pub use super::frames::{MAX_FILE_BYTES, MAX_RECORDS};

/// Runs of one file: the exported one and those that it is a fork of.
pub const MAX_RUNS: usize = 64;

/// Bytes of all lines, contents and pieces of one file, all of which a reader holds: more is 64 million tokens.
pub const MAX_JOURNAL_BYTES: u64 = 256 << 20;

/// Bytes of all requests with their histories in full, which a reader goes through one by one. Histories share their
/// pieces: a hostile file could ask for a long one with each of its entries.
pub const MAX_TOLD_BYTES: u64 = 16 << 30;

/// Bytes of a run's serial, which is a directory's name.
pub const MAX_SERIAL_BYTES: usize = 64;

const KEY_BYTES: u64 = 32;
const MAX_HEAD_BYTES: u64 = 256;

/// Why a run cannot be exported, or an export is not what was written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The framing is broken, or something is in the file that nothing needs.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// What an entry says, or what it needs, is not what was written.
    #[error("run {serial}: {flaw}")]
    Run { serial: String, flaw: Flaw },
    #[error("its journals have more than {max} bytes")]
    TooLarge { max: u64 },
    /// The host does not have what the run needs.
    #[error("run {serial}, entry {seq}")]
    Blob { serial: String, seq: u64, source: BlobError },
    /// The host does not have the evidence.
    #[error("run {serial}, entry {seq}: evidence {address}")]
    Evidence { serial: String, seq: u64, address: Digest, source: io::Error },
}

impl From<io::Error> for ExportError {
    fn from(error: io::Error) -> Self {
        Self::Frame(error.into())
    }
}

/// What an export holds, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Parents before their forks: the last one is the run that was exported.
    pub runs: Vec<RunSummary>,
    /// Of the file.
    pub bytes: u64,
}

/// A run of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunSummary {
    pub serial: String,
    pub head: Head,
    /// None: it was open.
    pub verdict: Option<String>,
    pub exit_code: Option<u8>,
    /// Its contents were erased, and with them everything but what happened when and what it cost.
    pub erased: bool,
}

/// A run with its journal, whose every entry was read and holds.
pub struct Exported {
    pub serial: String,
    pub kept: Kept,
    pub entries: Vec<KeptEntry>,
    pub origin: RunOrigin,
    /// In the order in which entries need them first, which is not that of the file.
    needed_pieces: HashSet<Digest>,
}

/// What an export holds beside journals.
pub enum Part<'a> {
    /// Comes before its files.
    Tree(&'a Manifest),
    /// A component, or a file of a tree: exactly these bytes. What is not read is passed over.
    Blob {
        address: &'a Digest,
        bytes: u64,
        source: &'a mut dyn Read,
    },
    Evidence {
        address: &'a Digest,
        bytes: &'a [u8],
    },
}

/// Takes the parts of an export, in the order of the file.
pub type Take<'a> = dyn FnMut(Part<'_>) -> io::Result<()> + 'a;

impl Exported {
    /// Reads a whole journal: each entry of it can be understood, and has all that it needs.
    ///
    /// # Errors
    /// [`ExportError::Run`] with the first entry that is wrong, [`ExportError::TooLarge`].
    pub fn of(serial: String, mut kept: Kept) -> Result<Self, ExportError> {
        let flawed = |flaw| ExportError::Run { serial: serial.clone(), flaw };
        if !is_serial(&serial) {
            return Err(flawed(wrong(0, "no run is called like this")));
        }
        let bad = match &kept.key {
            Some(key) => take_bad(key, &mut kept.pieces),
            None => HashSet::new(),
        };
        let entries = kept.clone().open().map_err(flawed)?;
        let needed_pieces = needed_pieces(&entries, &kept.pieces, &bad).map_err(|reason| match reason {
            Unreadable::Flaw(flaw) => flawed(flaw),
            Unreadable::TooLarge => ExportError::TooLarge { max: MAX_TOLD_BYTES },
        })?;
        for entry in &entries {
            if kept.key.is_some() && entry.is_erased() {
                return Err(flawed(wrong(entry.seq, "its content is missing")));
            }
            entry.entry().map_err(flawed)?;
        }
        let origin = match entries.first().map(|entry| &entry.facts) {
            Some(Facts::Opened(origin)) => (**origin).clone(),
            Some(_) | None => return Err(flawed(wrong(0, "a journal begins with an opening"))),
        };
        if origin.serial != serial {
            return Err(flawed(wrong(0, format!("it says that it is of run {}", origin.serial))));
        }
        Ok(Self { serial, kept, entries, origin, needed_pieces })
    }

    /// Whether its contents are erased.
    pub fn is_erased(&self) -> bool {
        self.kept.key.is_none()
    }

    /// The evidence that its entries name, each with the first that does.
    ///
    /// # Errors
    /// [`ExportError::Run`]: an entry names something that is no address.
    pub fn evidence(&self) -> Result<BTreeMap<Digest, u64>, ExportError> {
        let mut found = BTreeMap::new();
        for entry in self.entries.iter().filter(|entry| matches!(entry.facts, Facts::Answered { .. })) {
            let flawed = |flaw| ExportError::Run { serial: self.serial.clone(), flaw };
            let Some(entry) = entry.entry().map_err(flawed)? else { continue };
            if let Body::Answered { heard: Ok(Answer::Attached { id }), .. } = entry.body {
                let address = id.parse().map_err(|_| flawed(wrong(entry.seq, "its evidence has no address")))?;
                found.entry(address).or_insert(entry.seq);
            }
        }
        Ok(found)
    }

    fn summary(&self) -> RunSummary {
        let closed = story(self.entries.clone()).into_iter().next_back().and_then(|last| match last.facts {
            Facts::Closed { verdict, exit_code } => Some((verdict, exit_code)),
            _ => None,
        });
        let (verdict, exit_code) = closed.unzip();
        RunSummary { serial: self.serial.clone(), head: self.kept.head, verdict, exit_code, erased: self.is_erased() }
    }

    fn journal_bytes(&self) -> u64 {
        let rows = self.kept.rows.iter().map(|row| row.line.len() + row.content.as_ref().map_or(0, String::len));
        let pieces = self.needed_pieces.iter().filter_map(|address| Some(self.kept.pieces.get(address)?.len()));
        rows.chain(pieces).map(|bytes| bytes as u64).sum()
    }
}

/// Checks an export without keeping anything of it: all that is in it, and that all that it needs is in it.
///
/// # Errors
/// [`ExportError`] with the first entry that is wrong, or with the place where the framing is.
pub fn check(source: &mut dyn Read) -> Result<Summary, ExportError> {
    read(source, &mut |_| Ok(())).map(|(_, summary)| summary)
}

/// As [`check`], handing each part of it to `take` before it is known whether the rest holds. What `take` got of a part that
/// is not what its address says is to be thrown away: an error follows.
///
/// # Errors
/// As [`check`]; and whatever `take` returns.
pub fn read(source: &mut dyn Read, take: &mut Take<'_>) -> Result<(Vec<Exported>, Summary), ExportError> {
    let mut frames = Frames::open(source)?;
    let mut runs: Vec<Exported> = Vec::new();
    let mut room = MAX_JOURNAL_BYTES;
    while let Some(header) = frames.next_if(Kind::Run) {
        if runs.len() >= MAX_RUNS {
            return Err(header.broken(format!("there are more than {MAX_RUNS} runs")).into());
        }
        let run = read_run(&mut frames, &header, &mut room)?;
        follows(&run, runs.last())?;
        if runs.iter().any(|known| known.serial == run.serial) {
            return Err(header.broken("there is a run of this serial already").into());
        }
        runs.push(run);
    }
    if runs.is_empty() {
        return Err(frames.unexpected("a run").into());
    }
    let mut needs = Needs::of(&runs)?;
    for (address, need) in needs.trees.clone() {
        let header = next(&frames, Kind::Tree, &needs.trees, &address, &need, &runs)?;
        let document = frames.bytes(&header, MAX_TREE_BYTES)?;
        let tree = tree_of(&document, &address).map_err(|problem| need.flawed(&runs, problem))?;
        needs.add_files(&tree, need).map_err(|problem| need.flawed(&runs, problem))?;
        drop(document);
        take(Part::Tree(&tree))?;
    }
    for (address, (need, bytes)) in &needs.blobs {
        let header = next(&frames, Kind::Blob, &needs.blobs, address, need, &runs)?;
        if bytes.is_some_and(|bytes| bytes != header.bytes) {
            let problem = format!("the file {address} that it needs has another length");
            return Err(need.flawed(&runs, problem));
        }
        let found = frames.hashed(&header, &mut |source| take(Part::Blob { address, bytes: header.bytes, source }))?;
        need.holds(&runs, address, found)?;
    }
    for (address, need) in &needs.evidence {
        let header = next(&frames, Kind::Evidence, &needs.evidence, address, need, &runs)?;
        let bytes = frames.bytes(&header, MAX_EVIDENCE_BYTES)?;
        need.holds(&runs, address, evidence::address(&bytes))?;
        take(Part::Evidence { address, bytes: &bytes })?;
    }
    let bytes = frames.end()?;
    let summary = Summary { runs: runs.iter().map(Exported::summary).collect(), bytes };
    Ok((runs, summary))
}

/// Writes runs into one file, parents before their forks, with all files that they need from `blobs` and all evidence.
/// `evidence` reads that of one run. The caller sees to it that nothing is swept meanwhile. After an error, what was written
/// is of no use.
///
/// # Errors
/// [`ExportError`]: something that a run needs is not there, or the file would be one that is not read.
pub fn write(
    runs: &[Exported],
    blobs: &Blobs,
    evidence: &dyn Fn(&str, &Digest) -> io::Result<Vec<u8>>,
    out: &mut dyn Write,
) -> Result<Summary, ExportError> {
    if runs.iter().map(Exported::journal_bytes).sum::<u64>() > MAX_JOURNAL_BYTES {
        return Err(ExportError::TooLarge { max: MAX_JOURNAL_BYTES });
    }
    let mut framer = Framer::open(out)?;
    for (place, run) in runs.iter().enumerate() {
        follows(run, place.checked_sub(1).map(|before| &runs[before]))?;
        write_run(&mut framer, run)?;
    }
    let mut needs = Needs::of(runs)?;
    for (address, need) in needs.trees.clone() {
        let failed = |source| need.unkept(runs, source);
        let tree = blobs.tree(&address, MAX_TREE_BYTES).map_err(failed)?;
        let document = document(&tree);
        tree_of(&document, &address).map_err(|problem| need.flawed(runs, problem))?;
        needs.add_files(&tree, need).map_err(|problem| need.flawed(runs, problem))?;
        framer.record(Kind::Tree, &address, &document)?;
    }
    for (address, (need, _)) in &needs.blobs {
        let (mut file, bytes) = blobs.open_file(address).map_err(|source| need.unkept(runs, source))?;
        let found = framer.copy(Kind::Blob, address, bytes, &mut file)?;
        if found != *address {
            return Err(need.unkept(runs, BlobError::Damaged { address: *address }));
        }
    }
    for (address, need) in &needs.evidence {
        let serial = &runs[need.run].serial;
        let missing =
            |source| ExportError::Evidence { serial: serial.clone(), seq: need.seq, address: *address, source };
        let bytes = evidence(serial, address).map_err(missing)?;
        need.holds(runs, address, evidence::address(&bytes))?;
        framer.record(Kind::Evidence, address, &bytes)?;
    }
    let bytes = framer.end()?;
    Ok(Summary { runs: runs.iter().map(Exported::summary).collect(), bytes })
}

/// Whether a run may have this serial: it names a directory, and stands in a record's first line.
fn is_serial(serial: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=MAX_SERIAL_BYTES).contains(&serial.len()) && serial.bytes().all(is_plain)
}

fn wrong(seq: u64, problem: impl Into<String>) -> Flaw {
    Flaw::Entry { seq, problem: problem.into() }
}

/// Whether a run is a fork of the one before it, or no fork and the first.
fn follows(run: &Exported, before: Option<&Exported>) -> Result<(), ExportError> {
    let problem = match (&run.origin.parent, before) {
        (None, None) => return Ok(()),
        (Some(parent), Some(before)) if parent.serial == before.serial => {
            let shared = before.entries.iter().find(|entry| entry.seq == parent.seq);
            if shared.is_some_and(|shared| shared.hash == parent.hash) {
                return Ok(());
            }
            format!("entry {} of its parent {} is another", parent.seq, parent.serial)
        }
        (Some(parent), _) => format!("the run before it is not its parent {}", parent.serial),
        (None, Some(before)) => format!("it is no fork, and the run before it is {}", before.serial),
    };
    Err(ExportError::Run { serial: run.serial.clone(), flaw: wrong(0, problem) })
}

fn read_run<R: Read>(frames: &mut Frames<R>, run: &Header, room: &mut u64) -> Result<Exported, ExportError> {
    let serial = run.name.clone();
    let mut text = |frames: &mut Frames<R>, header: &Header| {
        let bytes = frames.bytes(header, *room)?;
        *room -= bytes.len() as u64;
        Ok::<_, FrameError>(String::from_utf8(bytes))
    };
    let head = frames.bytes(run, MAX_HEAD_BYTES)?;
    let head: Head = match serde_json::from_slice(&head) {
        Ok(read) if json(&read).as_bytes() == head => read,
        Ok(_) | Err(_) => return Err(run.broken("this is no head of a journal").into()),
    };
    let key = match frames.next_if(Kind::Key) {
        None => None,
        Some(header) => {
            if header.name != serial {
                return Err(header.broken("it is the key of another run").into());
            }
            let bytes = frames.bytes(&header, KEY_BYTES)?;
            let bytes = bytes.try_into().map_err(|_| header.broken(format!("a key has {KEY_BYTES} bytes")))?;
            Some(Key::from_bytes(bytes))
        }
    };
    let flawed = |seq, problem: &str| ExportError::Run { serial: serial.clone(), flaw: wrong(seq, problem) };
    let mut rows = Vec::new();
    while let Some(header) = frames.next_if(Kind::Entry) {
        let seq = rows.len() as u64;
        if !header.is(Kind::Entry, &seq) {
            return Err(header.broken(format!("entry {seq} is due")).into());
        }
        let line = text(frames, &header)?.map_err(|_| flawed(seq, "its line is not what was written"))?;
        let content = match frames.next_if(Kind::Content) {
            Some(header) if header.is(Kind::Content, &seq) => {
                let content = text(frames, &header)?;
                Some(content.map_err(|_| flawed(seq, "its content is not what was written"))?)
            }
            Some(header) => return Err(header.broken(format!("it is not the content of entry {seq}")).into()),
            None => None,
        };
        rows.push(Row { line, content });
    }
    let mut pieces = Pieces::new();
    let mut headers: Vec<(Digest, Header)> = Vec::new();
    while let Some(header) = frames.next_if(Kind::Piece) {
        let address = address_of(&header)?;
        if key.is_none() || headers.last().is_some_and(|(before, _)| *before >= address) {
            return Err(header.broken("no piece can stand here").into());
        }
        // What is not UTF-8 has no address, and is told with the entry that needs it.
        let piece = text(frames, &header)?.unwrap_or_default();
        pieces.insert(address, piece);
        headers.push((address, header));
    }
    let exported = Exported::of(serial, Kept { key, head, rows, pieces })?;
    match headers.iter().find(|(address, _)| !exported.needed_pieces.contains(address)) {
        Some((_, header)) => Err(header.broken("no entry needs this piece").into()),
        None => Ok(exported),
    }
}

fn write_run(framer: &mut Framer<'_>, run: &Exported) -> Result<(), ExportError> {
    let Kept { key, head, rows, pieces } = &run.kept;
    framer.record(Kind::Run, &run.serial, json(head).as_bytes())?;
    if let Some(key) = key {
        framer.record(Kind::Key, &run.serial, key.as_bytes())?;
    }
    for (seq, row) in rows.iter().enumerate() {
        framer.record(Kind::Entry, &seq, row.line.as_bytes())?;
        if let Some(content) = &row.content {
            framer.record(Kind::Content, &seq, content.as_bytes())?;
        }
    }
    let sorted: BTreeSet<&Digest> = run.needed_pieces.iter().collect();
    for address in sorted {
        framer.record(Kind::Piece, address, pieces[address].as_bytes())?;
    }
    Ok(())
}

/// Takes out what is not what its address says.
fn take_bad(key: &Key, pieces: &mut Pieces) -> HashSet<Digest> {
    let bad: HashSet<Digest> =
        pieces.iter().filter(|(address, piece)| key.address(piece) != **address).map(|(address, _)| *address).collect();
    pieces.retain(|address, _| !bad.contains(address));
    bad
}

/// What of a content leads to pieces.
#[derive(Deserialize)]
struct Asks {
    ask: Option<Parts>,
    sent: Option<Parts>,
}

#[derive(Deserialize)]
struct Parts {
    history: Option<Digest>,
    tools: Option<Digest>,
    schema: Option<Digest>,
}

/// What of a piece leads to the one before it.
#[derive(Deserialize)]
struct Said {
    after: Option<Digest>,
}

enum Unreadable {
    Flaw(Flaw),
    TooLarge,
}

/// The pieces that entries need.
fn needed_pieces(entries: &[KeptEntry], pieces: &Pieces, bad: &HashSet<Digest>) -> Result<HashSet<Digest>, Unreadable> {
    let mut needed = HashSet::new();
    // Of a message with all before it.
    let mut lengths: HashMap<Digest, u64> = HashMap::new();
    let mut told = 0_u64;
    for entry in entries.iter().filter(|entry| matches!(entry.facts, Facts::Intent { .. } | Facts::Refused { .. })) {
        let mut piece = |address: &Digest| match pieces.get(address) {
            Some(piece) => {
                needed.insert(*address);
                Ok(piece)
            }
            None => {
                let what = if bad.contains(address) { "not what was written" } else { "missing" };
                Err(Unreadable::Flaw(wrong(entry.seq, format!("piece {address} of its content is {what}"))))
            }
        };
        // What cannot be read is told when the whole entry is.
        let Some(Ok(asks)) = entry.content().map(serde_json::from_str::<Asks>) else { continue };
        for parts in [asks.ask, asks.sent].into_iter().flatten() {
            for address in parts.tools.iter().chain(&parts.schema) {
                told = told.saturating_add(piece(address)?.len() as u64);
            }
            let (mut place, mut said) = (parts.history, Vec::new());
            while let Some(address) = place.filter(|address| !lengths.contains_key(address)) {
                let text = piece(&address)?;
                said.push((address, text.len() as u64));
                place = serde_json::from_str::<Said>(text).ok().and_then(|said| said.after);
            }
            let mut length = place.map_or(0, |address| lengths[&address]);
            for (address, bytes) in said.into_iter().rev() {
                length = length.saturating_add(bytes);
                lengths.insert(address, length);
            }
            told = told.saturating_add(length);
        }
        if told > MAX_TOLD_BYTES {
            return Err(Unreadable::TooLarge);
        }
    }
    Ok(needed)
}

/// The first entry that needs something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Need {
    run: usize,
    seq: u64,
}

impl Need {
    fn flawed(&self, runs: &[Exported], problem: impl Into<String>) -> ExportError {
        ExportError::Run { serial: runs[self.run].serial.clone(), flaw: wrong(self.seq, problem) }
    }

    fn unkept(&self, runs: &[Exported], source: BlobError) -> ExportError {
        ExportError::Blob { serial: runs[self.run].serial.clone(), seq: self.seq, source }
    }

    fn holds(&self, runs: &[Exported], address: &Digest, found: Digest) -> Result<(), ExportError> {
        if found == *address {
            return Ok(());
        }
        Err(self.flawed(runs, format!("{address}, which it needs, is not what was kept")))
    }
}

/// What runs need beside their journals, in the order of the file.
struct Needs {
    trees: BTreeMap<Digest, Need>,
    /// With their lengths, if a tree says them.
    blobs: BTreeMap<Digest, (Need, Option<u64>)>,
    evidence: BTreeMap<Digest, Need>,
}

impl Needs {
    fn of(runs: &[Exported]) -> Result<Self, ExportError> {
        let mut needs = Self { trees: BTreeMap::new(), blobs: BTreeMap::new(), evidence: BTreeMap::new() };
        // With its contents an erased run has lost its files.
        for (place, run) in runs.iter().enumerate().filter(|(_, run)| !run.is_erased()) {
            for entry in &run.entries {
                let need = Need { run: place, seq: entry.seq };
                let trees = match &entry.facts {
                    Facts::Opened(origin) => {
                        for component in origin.parts().components() {
                            needs.blobs.entry(component).or_insert((need, None));
                        }
                        [origin.tree, origin.context]
                    }
                    Facts::Answered { tree, .. } | Facts::Marked { tree, .. } | Facts::Ended { tree, .. } => {
                        [*tree, None]
                    }
                    _ => [None, None],
                };
                for tree in trees.into_iter().flatten() {
                    needs.trees.entry(tree).or_insert(need);
                }
            }
            for (address, seq) in run.evidence()? {
                needs.evidence.entry(address).or_insert(Need { run: place, seq });
            }
        }
        Ok(needs)
    }

    fn add_files(&mut self, tree: &Manifest, need: Need) -> Result<(), String> {
        for (path, entry) in tree.iter() {
            let Entry::File { digest, bytes, .. } = entry else { continue };
            let (first, length) = self.blobs.entry(*digest).or_insert((need, Some(*bytes)));
            if *length.get_or_insert(*bytes) != *bytes {
                return Err(format!("a tree that it needs says another length of {path:?} than another tree"));
            }
            *first = need.min(*first);
            if self.blobs.len() as u64 > MAX_RECORDS {
                return Err(format!("its trees have more than {MAX_RECORDS} files"));
            }
        }
        Ok(())
    }
}

/// The record of a file that is due, if it is what comes next.
fn next<R: Read, T>(
    frames: &Frames<R>,
    kind: Kind,
    needed: &BTreeMap<Digest, T>,
    address: &Digest,
    need: &Need,
    runs: &[Exported],
) -> Result<Header, ExportError> {
    let missing = || need.flawed(runs, format!("{} {address}, which it needs, is missing", kind.name()));
    let header = frames.next_if(kind).ok_or_else(missing)?;
    let found = address_of(&header)?;
    if found == *address {
        return Ok(header);
    }
    if needed.contains_key(&found) && found > *address {
        Err(missing())
    } else {
        Err(header.broken("no entry needs this").into())
    }
}

fn address_of(header: &Header) -> Result<Digest, FrameError> {
    header.name.parse().map_err(|_| header.broken("its name is no address"))
}

/// A tree by its document: one that a host has written, and whose paths lead nowhere else.
fn tree_of(document: &[u8], address: &Digest) -> Result<Manifest, String> {
    if evidence::address(document) != *address {
        return Err(format!("tree {address}, which it needs, is not what was kept"));
    }
    let tree: Manifest = serde_json::from_slice(document)
        .map_err(|error| format!("tree {address}, which it needs, cannot be read: {error}"))?;
    if tree_address(&tree) != *address {
        return Err(format!("tree {address}, which it needs, is not canonical"));
    }
    if let Some((path, _)) = tree.iter().find(|(path, _)| node::components(path).is_none()) {
        return Err(format!("tree {address}, which it needs, has a path that cannot be: {path:?}"));
    }
    Ok(tree)
}

fn document(tree: &Manifest) -> Vec<u8> {
    json(tree).into_bytes()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data whose keys are texts")
}

#[cfg(test)]
mod tests;
