//! A run that was: its journal opened and checked, and everything that is needed to tell it again.
//!
//! Never: runs anything. Invariant here: nothing is taken from a journal whose chain does not hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

pub use crate::doors::blobs::{BlobError, Blobs};
pub use crate::doors::chain::{Flaw, KeptEntry, story};
use crate::doors::chain::{Head, Kept, Key, Pieces};
pub use crate::doors::evidence;
pub use crate::doors::store::RunRow;
use crate::doors::store::{Store, StoreError};
pub use crate::doors::tree::{Change, ChangeKind, Entry as FileEntry, Manifest};
use crate::rules::digest::Digest;
use crate::rules::effect::{Body, Caller, Class, Kind, OpenedJob, Opening, Parts, RunOrigin};
use crate::rules::facts::Facts;
use crate::rules::progress::Mark;
use crate::rules::record::Record;
use crate::rules::spec::RunSpec;

use super::gate::call_id;
use super::shape::MAX_COMPONENT_BYTES;

/// Verdicts on a run that was not judged to its end: it goes on also where its worker had ended by itself.
pub(super) const INTERRUPTED: [&str; 5] = ["cancelled", "halted", "deferred", "fault", "lost"];

/// Forks of forks that are followed back.
const MAX_GENERATIONS: usize = 64;

/// Why a past run cannot be told again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PastError {
    #[error("no run {serial} has a journal here")]
    NoRun { serial: String },
    #[error("run {serial}: {flaw}")]
    Flawed { serial: String, flaw: Flaw },
    #[error("run {serial}: its contents were erased")]
    Erased { serial: String },
    #[error("run {serial} is a fork of {parent}, which is not what it was: {why}")]
    Parent { serial: String, parent: String, why: String },
    #[error("run {serial}: its component cannot be read")]
    Component { serial: String, source: BlobError },
    #[error("run {serial} was closed as {verdict}, and its worker had ended by itself: fork it instead")]
    Ended { serial: String, verdict: String },
    #[error("run {serial}: {why}")]
    NotResumable { serial: String, why: String },
    #[error("run {serial} cannot be forked at entry {at}: {why}; the nearest entry is {nearest}")]
    NoFork { serial: String, at: u64, why: String, nearest: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A run that was.
#[derive(Debug)]
pub struct Past {
    pub serial: String,
    pub origin: RunOrigin,
    pub job: OpenedJob,
    /// All entries, those that are void included.
    pub entries: Vec<KeptEntry>,
    pub head: Head,
    pub key: Key,
    pub pieces: Pieces,
    /// It came from elsewhere, and its calls are not in this host's ledger.
    imported: bool,
    /// So did it, or a run that it is a fork of.
    foreign: bool,
    /// What the run shares with its parents, without their openings.
    inherited: Vec<KeptEntry>,
    /// When the first of all parents was opened: the guest's clock begins there.
    first_ms: u64,
}

/// The bytes of a run's components.
#[derive(Clone)]
pub struct Components {
    pub worker: Vec<u8>,
    /// In the order of the checks; none for a command.
    pub checks: Vec<Option<Vec<u8>>>,
    /// By the job's names for them.
    pub tools: BTreeMap<String, Vec<u8>>,
    pub children: BTreeMap<String, Components>,
}

/// Reads a journal and checks it. Blocking.
///
/// # Errors
/// [`PastError::NoRun`], [`PastError::Flawed`], [`PastError::Store`].
pub fn entries(store: &dyn Store, serial: &str) -> Result<Vec<KeptEntry>, PastError> {
    let flawed = |flaw| PastError::Flawed { serial: serial.to_owned(), flaw };
    kept(store, serial)?.open().map_err(flawed)
}

fn kept(store: &dyn Store, serial: &str) -> Result<Kept, PastError> {
    store.journal(serial)?.ok_or_else(|| PastError::NoRun { serial: serial.to_owned() })
}

impl Past {
    /// Opens a run of which nothing is erased. Blocking.
    ///
    /// # Errors
    /// [`PastError`].
    pub fn open(store: &Arc<dyn Store>, serial: &str) -> Result<Self, PastError> {
        Self::open_generation(store, serial, 0)
    }

    fn open_generation(store: &Arc<dyn Store>, serial: &str, generation: usize) -> Result<Self, PastError> {
        let kept = kept(&**store, serial)?;
        let imported = store.run(serial)?.is_some_and(|run| run.imported);
        let erased = || PastError::Erased { serial: serial.to_owned() };
        let key = kept.key.ok_or_else(erased)?;
        let (head, pieces) = (kept.head, kept.pieces.clone());
        let flawed = |flaw| PastError::Flawed { serial: serial.to_owned(), flaw };
        let entries = kept.open().map_err(flawed)?;
        if entries.iter().any(KeptEntry::is_erased) {
            return Err(erased());
        }
        let opened = match entries.first().map(KeptEntry::entry) {
            Some(opened) => opened.map_err(flawed)?,
            None => None,
        };
        let Some(Body::Opened { opening }) = opened.as_ref().map(|entry| &entry.body) else { return Err(erased()) };
        let Opening { origin, job } = (**opening).clone();
        let mut first_ms = entries.first().map_or(0, |opened| opened.at_ms);
        let mut inherited = Vec::new();
        let mut foreign = imported;
        if let Some(parent) = &origin.parent {
            let wrong =
                |why: String| PastError::Parent { serial: serial.to_owned(), parent: parent.serial.clone(), why };
            if generation >= MAX_GENERATIONS {
                return Err(wrong(format!("more than {MAX_GENERATIONS} generations")));
            }
            let before = Self::open_generation(store, &parent.serial, generation + 1)
                .map_err(|error| wrong(error.to_string()))?;
            let last = before.entries.iter().find(|entry| entry.seq == parent.seq);
            if last.is_none_or(|last| last.hash != parent.hash) {
                return Err(wrong(format!("its entry {} is another", parent.seq)));
            }
            // Nobody forks where a call has no answer; whoever wrote that the fork does is not to be believed.
            before.fork_at(parent.seq).map_err(|error| wrong(error.to_string()))?;
            foreign |= before.foreign;
            first_ms = before.first_ms;
            inherited = before.told_until(parent.seq);
        }
        Ok(Self {
            serial: serial.to_owned(),
            origin,
            job,
            entries,
            head,
            key,
            pieces,
            imported,
            foreign,
            inherited,
            first_ms,
        })
    }

    /// Whether a stranger wrote a part of it: then nothing is believed that it says of directories, scripts and models.
    pub fn is_foreign(&self) -> bool {
        self.foreign
    }

    /// When the guest's clock was moved for the first time. Milliseconds since 1970-01-01T00:00:00Z.
    pub fn first_ms(&self) -> u64 {
        self.first_ms
    }

    /// Everything that the run stands on, its parents' part first, without openings and without what is void.
    pub fn told(&self) -> Vec<KeptEntry> {
        self.told_until(u64::MAX)
    }

    /// As [`Past::told`], up to an entry of the run's own.
    pub fn told_until(&self, last: u64) -> Vec<KeptEntry> {
        let own = story(self.entries.clone()).into_iter().filter(|entry| entry.seq <= last);
        let own = own.filter(|entry| !matches!(entry.facts, Facts::Opened(_)));
        self.inherited.iter().cloned().chain(own).collect()
    }

    /// The run's verdict, unless it is open.
    pub fn record(&self) -> Option<Record> {
        let closed = story(self.entries.clone()).into_iter().next_back()?;
        match closed.entry().ok()??.body {
            Body::Closed { record } => Some(*record),
            _ => None,
        }
    }

    /// How often it was resumed.
    pub fn resumptions(&self) -> u32 {
        let resumption = |entry: &KeptEntry| match entry.facts {
            Facts::Resumed { resumption, .. } => Some(resumption),
            _ => None,
        };
        self.entries.iter().filter_map(resumption).max().unwrap_or(0)
    }

    /// How long the process worked on it that had it last, as far as its journal knows. Milliseconds.
    pub fn worked_ms(&self) -> u64 {
        let begun = |entry: &&KeptEntry| matches!(entry.facts, Facts::Opened(_) | Facts::Resumed { .. });
        let begun_ms = self.entries.iter().rev().find(begun).map_or(0, |entry| entry.at_ms);
        self.entries.last().map_or(0, |last| last.at_ms.saturating_sub(begun_ms))
    }

    /// All marks that it has shown, void ones included.
    pub fn marks(&self) -> Vec<Mark> {
        let mark = |entry: &KeptEntry| match entry.facts {
            Facts::Marked { mark, .. } => Some(mark),
            _ => None,
        };
        self.inherited.iter().chain(&self.entries).filter_map(mark).collect()
    }

    /// The last entry of the run's own that a resume goes on from. Where the worker had ended by itself, that is the last of
    /// what the host then found out; else the last that the worker caused.
    ///
    /// # Errors
    /// [`PastError::Ended`]: there is nothing to go on with. [`PastError::NotResumable`]: another host has its books.
    pub fn goes_on_after(&self) -> Result<u64, PastError> {
        if self.imported {
            let why = "it was imported, and what it spent is in the books of another host: fork it instead".to_owned();
            return Err(PastError::NotResumable { serial: self.serial.clone(), why });
        }
        self.is_nobodys_child()?;
        let own = story(self.entries.clone());
        let verdict = own.iter().find_map(|entry| match &entry.facts {
            Facts::Closed { verdict, .. } => Some(verdict.clone()),
            _ => None,
        });
        let ended = |entry: &KeptEntry| matches!(&entry.facts, Facts::Ended { outcome, .. } if outcome.is_own());
        let by_itself = own.iter().any(ended);
        let was_applied = own.iter().any(|entry| matches!(entry.facts, Facts::Applying));
        if let (Some("deferred"), true) = (verdict.as_deref(), by_itself) {
            let before = before_the_last_refusal(&own);
            return before.ok_or_else(|| PastError::Ended { serial: self.serial.clone(), verdict: "deferred".into() });
        }
        match verdict {
            // What could not be applied may be, once a person has mended what was in the way.
            Some(verdict)
                if by_itself && !INTERRUPTED.contains(&verdict.as_str()) && !(verdict == "rejected" && was_applied) =>
            {
                return Err(PastError::Ended { serial: self.serial.clone(), verdict });
            }
            _ => {}
        }
        let mut checking = false;
        let stands = own.iter().filter(|entry| match &entry.facts {
            Facts::Checking { .. } => {
                checking = true;
                false
            }
            Facts::Checked { .. } => {
                checking = false;
                by_itself
            }
            Facts::Opened(_) => true,
            Facts::Intent { .. }
            | Facts::Answered { .. }
            | Facts::Retried { .. }
            | Facts::Within { .. }
            | Facts::Refused { .. }
            | Facts::Noted { .. }
            | Facts::Full { .. }
            | Facts::Marked { call: Some(_), .. } => !checking,
            Facts::Printed { .. } | Facts::Marked { call: None, .. } | Facts::Ended { .. } => by_itself && !checking,
            Facts::Stopped | Facts::Applying | Facts::Closed { .. } | Facts::Resumed { .. } => false,
        });
        Ok(stands.last().map_or(0, |entry| entry.seq))
    }

    /// Whether it was accepted and its changes were about to be applied when it was last heard of.
    pub fn is_applying(&self) -> bool {
        let last = story(self.entries.clone()).into_iter().next_back();
        !self.imported && last.is_some_and(|last| matches!(last.facts, Facts::Applying))
    }

    /// Whether a resume goes on with it: there is something to go on with, and no call of which nobody knows how it ended and
    /// that must not be made twice.
    ///
    /// # Errors
    /// As [`Past::goes_on_after`].
    pub fn can_go_on(&self) -> Result<(), PastError> {
        let after = self.goes_on_after()?;
        let mut open = BTreeMap::new();
        for entry in self.told_until(after) {
            match &entry.facts {
                Facts::Intent { call, kind, .. } => drop(open.insert(*call, *kind)),
                Facts::Answered { call, .. } => drop(open.remove(call)),
                _ => {}
            }
        }
        match open.into_iter().find(|(_, kind)| kind.class() == Class::Unsafe) {
            None => Ok(()),
            Some((call, kind)) => {
                let why = format!(
                    "call {call} ({}) has no recorded result and must not be made twice: fork it instead",
                    kind.name()
                );
                Err(PastError::NotResumable { serial: self.serial.clone(), why })
            }
        }
    }

    /// The entry at which a fork leaves this run: `at` itself, where every call has its answer.
    ///
    /// # Errors
    /// [`PastError::NoFork`] with the nearest entry that will do. [`PastError::NotResumable`]: it is a child.
    pub fn fork_at(&self, at: u64) -> Result<&KeptEntry, PastError> {
        self.is_nobodys_child()?;
        let mut open = std::collections::BTreeSet::new();
        let (mut nearest, mut found) = (0, None);
        let own = story(self.entries.clone());
        for entry in &own {
            match &entry.facts {
                Facts::Intent { call, kind, .. } => drop(open.insert((*call, *kind))),
                Facts::Answered { call, kind, .. } => drop(open.remove(&(*call, *kind))),
                Facts::Opened(_)
                | Facts::Retried { .. }
                | Facts::Within { .. }
                | Facts::Refused { .. }
                | Facts::Noted { .. }
                | Facts::Full { .. }
                | Facts::Marked { call: Some(_), .. } => {}
                _ => break,
            }
            if open.is_empty() && entry.seq <= at {
                nearest = entry.seq;
            }
            if entry.seq == at {
                found = Some(open.is_empty());
            }
        }
        let why = match found {
            Some(true) => {
                let place = usize::try_from(at).unwrap_or(usize::MAX);
                return self.entries.get(place).ok_or_else(|| PastError::NoRun { serial: self.serial.clone() });
            }
            Some(false) => "a call has no answer there".to_owned(),
            None => "the worker has nothing to do with it".to_owned(),
        };
        Err(PastError::NoFork { serial: self.serial.clone(), at, why, nearest })
    }

    /// The runs of children that have no answer here: a crash or a stop took them with it.
    pub fn lost_children(&self) -> Vec<String> {
        let (mut resumption, mut lost) = (0, Vec::new());
        for entry in &self.entries {
            match &entry.facts {
                Facts::Resumed { resumption: number, .. } => resumption = *number,
                Facts::Intent { call, kind: Kind::Child | Kind::Envoy, .. } => {
                    lost.push((*call, call_id(&self.serial, resumption, *call).to_string()));
                }
                Facts::Answered { call, .. } => lost.retain(|(asked, _)| asked != call),
                _ => {}
            }
        }
        lost.into_iter().map(|(_, serial)| serial).collect()
    }

    /// A child works in the files of its caller, as they were when it was called.
    fn is_nobodys_child(&self) -> Result<(), PastError> {
        let Some(Caller { serial, call }) = &self.origin.caller else { return Ok(()) };
        let why = format!("it is a child, of call {call} of run {serial}: resume or fork that run");
        Err(PastError::NotResumable { serial: self.serial.clone(), why })
    }

    /// The component's bytes, and those of its checks and its tools. Blocking.
    ///
    /// # Errors
    /// [`PastError::Component`].
    pub fn components(&self, blobs: &Blobs) -> Result<Components, PastError> {
        self.read(&Parts { children: BTreeMap::new(), ..self.origin.parts() }, &self.job.spec, blobs)
    }

    /// As [`Past::components`], with those of the children that this job has. Blocking.
    ///
    /// # Errors
    /// [`PastError::Component`].
    pub fn all_components(&self, job: &RunSpec, blobs: &Blobs) -> Result<Components, PastError> {
        self.read(&self.origin.parts(), job, blobs)
    }

    fn read(&self, parts: &Parts, job: &RunSpec, blobs: &Blobs) -> Result<Components, PastError> {
        let read = |digest: &Digest| {
            let bytes = blobs.read(digest, MAX_COMPONENT_BYTES as u64);
            bytes.map_err(|source| PastError::Component { serial: self.serial.clone(), source })
        };
        let checks = parts.checks.iter().map(|check| check.as_ref().map(read).transpose());
        let tools = parts.tools.iter().map(|(name, digest)| Ok((name.clone(), read(digest)?)));
        let children = parts.children.iter().filter_map(|(name, parts)| Some((name, parts, job.child(name)?)));
        let children = children.map(|(name, parts, job)| Ok((name.clone(), self.read(parts, job, blobs)?)));
        Ok(Components {
            worker: read(&parts.worker)?,
            children: children.collect::<Result<_, PastError>>()?,
            checks: checks.collect::<Result<_, PastError>>()?,
            tools: tools.collect::<Result<_, PastError>>()?,
        })
    }
}

/// The entry before the last refusal of a run whose worker gave up at it: what was refused fits when its window has opened.
/// `None`: the worker did something else after it, and that is not to be done twice.
fn before_the_last_refusal(own: &[KeptEntry]) -> Option<u64> {
    let refused = own.iter().rposition(|entry| matches!(entry.facts, Facts::Refused { .. }))?;
    let is_call = |entry: &KeptEntry| matches!(entry.facts, Facts::Intent { .. } | Facts::Answered { .. });
    if own[refused..].iter().any(is_call) {
        return None;
    }
    own[..refused].last().map(|entry| entry.seq)
}
