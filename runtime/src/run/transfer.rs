//! A run leaves this host as one file, or comes to it in one.
//!
//! Never: changes a ledger or an item, so what comes in is never resumed; writes anything before the whole file was checked.
//! Invariants here: a run that is here stays as it is; each run that comes in is kept whole, or not at all.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, Write};
use std::sync::Arc;

use thiserror::Error;

use crate::doors::blobs::{BlobError, Keeping};
use crate::doors::chain::Kept;
use crate::doors::evidence;
use crate::doors::export::{self, ExportError, Exported, MAX_RUNS, Part};
use crate::doors::state::{LeaseError, RunDir, State};
use crate::doors::store::{Durability, RunRow, Store, StoreError, transact};
use crate::rules::digest::Digest;
use crate::rules::effect::{Body, Entry};
use crate::rules::policy::MAX_EVIDENCE_BYTES;

use super::launch::VerdictFile;

pub use crate::doors::export::{RunSummary, Summary};

/// Why a run could not leave or come in.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransferError {
    #[error("no run {serial} has a journal here")]
    NoRun { serial: String },
    /// The run cannot be exported, or the file is not what was written.
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error("run {serial} is here already and is another: its head is {here}, that of the export is {there}")]
    Other { serial: String, here: Digest, there: Digest },
    #[error("run {serial}: its verdict.json is not what its journal says")]
    Verdict { serial: String },
    #[error("run {serial} says a time that no clock shows")]
    Time { serial: String },
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error("use the blobs")]
    Blobs(#[from] BlobError),
    #[error("{what}")]
    Io { what: &'static str, source: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> TransferError {
    move |source| TransferError::Io { what, source }
}

/// Checks an export without keeping anything of it. Blocking.
///
/// # Errors
/// [`TransferError::Export`] with the first entry that is wrong, or with the place where the framing is.
pub fn verify(source: &mut dyn Read) -> Result<Summary, TransferError> {
    Ok(export::check(source)?)
}

/// Whether `verdict.json` is what the journal closes with; a run that is open, imported or erased need not have one.
///
/// # Errors
/// [`TransferError::Verdict`] if it is another.
pub(super) fn same_verdict(store: &dyn Store, state: &State, serial: &str) -> Result<(), TransferError> {
    let kept = store.journal(serial)?.ok_or_else(|| TransferError::NoRun { serial: serial.to_owned() })?;
    let head = kept.head;
    let Ok(entries) = kept.open() else { return Ok(()) };
    let Some(Ok(Some(Entry { body: Body::Closed { record }, .. }))) = entries.last().map(|last| last.entry()) else {
        return Ok(());
    };
    let Some(dir) = state.run_dir(serial).map_err(failed("look at the run's directory"))? else { return Ok(()) };
    let found = match dir.read("verdict.json") {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("read verdict.json")(error)),
    };
    let expected = serde_json::to_value(VerdictFile { record: &record, journal: Some(head) }).ok();
    if serde_json::from_slice::<serde_json::Value>(&found).ok() != expected {
        return Err(TransferError::Verdict { serial: serial.to_owned() });
    }
    Ok(())
}

/// Writes a run into a file, with the runs that it is a fork of and everything that they need. Blocking.
///
/// # Errors
/// [`TransferError`]: what was written is of no use.
pub(super) fn export(
    store: &dyn Store,
    state: &State,
    serial: &str,
    out: &mut dyn Write,
) -> Result<Summary, TransferError> {
    // Before the journals are read: what they name then stays.
    let _keeping = state.blobs().keeping().map_err(failed("use the blobs"))?;
    let mut runs: Vec<Exported> = Vec::new();
    let mut next = Some(serial.to_owned());
    while let Some(serial) = next.filter(|_| runs.len() <= MAX_RUNS) {
        let kept = store.journal(&serial)?.ok_or_else(|| TransferError::NoRun { serial: serial.clone() })?;
        let run = Exported::of(serial, kept)?;
        next = run.origin.parent.as_ref().map(|parent| parent.serial.clone());
        runs.push(run);
    }
    runs.reverse();
    let evidence = |serial: &str, address: &Digest| {
        let dir = state.run_dir(serial)?.ok_or(io::ErrorKind::NotFound)?;
        evidence::read(&dir.open_dir("evidence")?, address, MAX_EVIDENCE_BYTES)
    };
    Ok(export::write(&runs, state.blobs(), &evidence, out)?)
}

/// What has come in but for the journals. As long as it is here, nobody sweeps it and nobody else brings the same runs in.
pub(super) struct Unpacked {
    summary: Summary,
    runs: Vec<(RunRow, Kept)>,
    _keeping: Option<Keeping>,
    _dirs: BTreeMap<String, RunDir>,
}

/// Checks an export, then keeps all of it but the journals. Blocking.
///
/// # Errors
/// [`TransferError`]: no run came in.
pub(super) fn unpack(
    store: &dyn Store,
    state: &State,
    source: &mut (impl Read + Seek),
) -> Result<Unpacked, TransferError> {
    let (runs, summary) = export::read(source, &mut |_| Ok(()))?;
    let new = new_runs(store, &runs)?;
    if new.is_empty() {
        return Ok(Unpacked { summary, runs: Vec::new(), _keeping: None, _dirs: BTreeMap::new() });
    }
    let mut dirs = BTreeMap::new();
    for serial in new {
        let dir = match state.run_dir(&serial).map_err(failed("look at the run's directory"))? {
            // One that an import has left that was cut short.
            Some(_) => state.reopen_run(&serial)?,
            None => state.create_run(&serial).map_err(failed("make the run's directory"))?,
        };
        dirs.insert(serial, dir);
    }
    // Nobody but us writes these journals from here on; somebody may have until now.
    if new_runs(store, &runs)?.len() != dirs.len() {
        return Err(StoreError::Failed("another process brought the same run in".into()).into());
    }
    drop(runs);
    let keeping = state.blobs().keeping().map_err(failed("use the blobs"))?;
    // Trees come before their files in the export and may only be kept after them.
    source.rewind().map_err(failed("read the export again"))?;
    let (runs, _) = export::read(source, &mut |part| match part {
        Part::Blob { address, bytes, source } => keeping.keep_from(address, bytes, source).map_err(io::Error::other),
        Part::Tree(_) | Part::Evidence { .. } => Ok(()),
    })?;
    let mut named = Vec::new();
    for run in runs {
        if let Some(dir) = dirs.get(&run.serial) {
            named.push((run.evidence()?, dir.subdir("evidence").map_err(failed("make a directory for evidence"))?));
        }
    }
    source.rewind().map_err(failed("read the export again"))?;
    let (runs, summary) = export::read(source, &mut |part| match part {
        Part::Blob { .. } => Ok(()),
        // The files are there, so nothing is looked for in any directory.
        Part::Tree(tree) => match dirs.values().next() {
            Some(dir) => keeping.keep_tree(dir.dir(), tree, None).map(drop).map_err(io::Error::other),
            None => Ok(()),
        },
        Part::Evidence { address, bytes } => named
            .iter()
            .filter(|(named, _)| named.contains_key(address))
            .try_for_each(|(_, dir)| evidence::keep(dir, address, bytes)),
    })?;
    let new = runs.into_iter().filter(|run| dirs.contains_key(&run.serial));
    let rows = new.map(|run| match RunRow::imported(&run.entries, &run.kept) {
        Some(row) => Ok((row, run.kept)),
        None => Err(TransferError::Time { serial: run.serial }),
    });
    let runs = rows.collect::<Result<_, _>>()?;
    Ok(Unpacked { summary, runs, _keeping: Some(keeping), _dirs: dirs })
}

/// Keeps the journals of what was unpacked, parents before their forks: one transaction for each.
///
/// # Errors
/// [`TransferError::Store`]: this run and its forks are not here.
pub(super) async fn import(store: &Arc<dyn Store>, unpacked: Unpacked) -> Result<Summary, TransferError> {
    let Unpacked { summary, runs, _keeping, _dirs } = unpacked;
    for (row, kept) in runs {
        transact(&**store, vec![], Durability::Durable, move |books| books.import(row, kept)).await?;
    }
    Ok(summary)
}

/// The serials of those runs that are not here.
///
/// # Errors
/// [`TransferError::Other`]: one of them is here, and another.
fn new_runs(store: &dyn Store, runs: &[Exported]) -> Result<Vec<String>, TransferError> {
    let mut new = Vec::new();
    for run in runs {
        match store.journal(&run.serial)? {
            None => new.push(run.serial.clone()),
            Some(here) if here.head == run.kept.head => {}
            Some(here) => {
                let (here, there) = (here.head.hash, run.kept.head.hash);
                return Err(TransferError::Other { serial: run.serial.clone(), here, there });
            }
        }
    }
    Ok(new)
}
