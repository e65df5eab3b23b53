//! The host's own directory: runs, items and compiled code. No guest reaches it.
//!
//! | below it | what |
//! | --- | --- |
//! | `runs/SERIAL/` | `journal.jsonl`, `verdict.json`, `evidence/`, and the worker's tree in `work/` |
//! | `items/LINE/ITEM.json` | what the item remembers; `ITEM.lock` is held while a run works on it |
//! | `cache/` | compiled components |
//!
//! Never: decides. Invariant here: a record that was written is whole after a crash, the old one or the new one.

use std::fs::TryLockError;
use std::io::{self, Write};
use std::sync::Arc;

use cap_std::fs::{Dir, OpenOptions};
use serde::Serialize;
use thiserror::Error;

use crate::rules::effect::Entry;
use crate::rules::item::ItemRecord;

/// The host's directory.
#[derive(Clone, Debug)]
pub struct State {
    dir: Arc<Dir>,
}

/// The directory of one run.
#[derive(Clone, Debug)]
pub struct RunDir {
    dir: Arc<Dir>,
}

/// An item that this process works on. Dropping it lets others.
#[derive(Debug)]
pub struct ItemLease {
    dir: Dir,
    name: String,
    _lock: std::fs::File,
}

/// Why an item cannot be worked on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Another run works on it.
    #[error("item {item:?} is being worked on by another run")]
    Taken { item: String },
    /// What the item remembers is not readable; guessing would forget attempts and spend.
    #[error("the memory of item {item:?} is damaged")]
    Damaged { item: String, source: serde_json::Error },
    #[error("reach the memory of item {item:?}")]
    Io { item: String, source: io::Error },
}

impl State {
    /// The host's directory, made ready.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn open(dir: Dir) -> io::Result<Self> {
        for name in ["runs", "items", "cache"] {
            dir.create_dir_all(name)?;
        }
        Ok(Self { dir: Arc::new(dir) })
    }

    /// Where compiled components are kept.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn cache(&self) -> io::Result<Dir> {
        self.dir.open_dir("cache")
    }

    /// Makes the directory of a new run.
    ///
    /// # Errors
    /// There is one of this serial already, or the disk is full or read-only.
    pub fn create_run(&self, serial: &str) -> io::Result<RunDir> {
        let runs = self.dir.open_dir("runs")?;
        runs.create_dir(serial)?;
        let dir = runs.open_dir(serial)?;
        dir.create_dir("evidence")?;
        runs.open(".")?.sync_all()?;
        Ok(RunDir { dir: Arc::new(dir) })
    }

    /// The entries of a run, as far as they are whole: a crash may have torn the last one. None at all if the run never
    /// came to have a journal; `None` if there is one that cannot be read.
    pub fn entries(&self, serial: &str) -> Option<Vec<Entry>> {
        let path = format!("runs/{serial}/journal.jsonl");
        match self.dir.read_to_string(path) {
            Ok(text) => Some(text.lines().map_while(|line| serde_json::from_str(line).ok()).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Vec::new()),
            Err(_) => None,
        }
    }

    /// Takes an item for one run and reads what it remembers.
    ///
    /// # Errors
    /// [`LeaseError`]: nothing was changed.
    pub fn lease(&self, line: &str, item: &str) -> Result<(ItemLease, ItemRecord), LeaseError> {
        let failed = |source| LeaseError::Io { item: item.to_owned(), source };
        let items = self.dir.open_dir("items").map_err(failed)?;
        items.create_dir_all(line).map_err(failed)?;
        let dir = items.open_dir(line).map_err(failed)?;
        let lock = dir
            .open_with(format!("{item}.lock"), OpenOptions::new().write(true).create(true))
            .map_err(failed)?
            .into_std();
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LeaseError::Taken { item: item.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let lease = ItemLease { dir, name: format!("{item}.json"), _lock: lock };
        let record = match lease.dir.read(&lease.name) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| LeaseError::Damaged { item: item.to_owned(), source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => ItemRecord::default(),
            Err(error) => return Err(failed(error)),
        };
        Ok((lease, record))
    }
}

impl ItemLease {
    /// Writes what the item remembers, durably.
    ///
    /// # Errors
    /// The disk is full, read-only or broken: the old record stands.
    pub fn remember(&self, record: &ItemRecord) -> io::Result<()> {
        write_whole(&self.dir, &self.name, record)
    }
}

impl RunDir {
    /// The directory itself, for its journal.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// A directory of the run, made if it is not there.
    ///
    /// # Errors
    /// The disk is full or read-only.
    pub fn subdir(&self, name: &str) -> io::Result<Dir> {
        self.dir.create_dir_all(name)?;
        self.dir.open_dir(name)
    }

    /// Writes a JSON document of the run, durably.
    ///
    /// # Errors
    /// The disk is full, read-only or broken.
    pub fn write(&self, name: &str, document: &impl Serialize) -> io::Result<()> {
        write_whole(&self.dir, name, document)
    }
}

fn write_whole(dir: &Dir, name: &str, document: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(document)?;
    bytes.push(b'\n');
    let draft = format!("{name}.draft");
    let mut file = dir.open_with(&draft, OpenOptions::new().write(true).create(true).truncate(true))?;
    let written = file
        .write_all(&bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| dir.rename(&draft, dir, name))
        .and_then(|()| dir.open(".")?.sync_all());
    if written.is_err() {
        drop(dir.remove_file(&draft));
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, State) {
        let dir = tempfile::tempdir().expect("a directory");
        let handle = Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority()).expect("opens");
        let state = State::open(handle).expect("made ready");
        (dir, state)
    }

    #[test]
    fn an_item_is_worked_on_by_one_run_at_a_time() {
        let (_dir, state) = state();
        let (lease, _) = state.lease("line", "item").expect("free");
        assert!(matches!(state.lease("line", "item"), Err(LeaseError::Taken { .. })));
        assert!(state.lease("line", "other").is_ok());
        drop(lease);
        assert!(state.lease("line", "item").is_ok());
    }

    #[test]
    fn an_item_remembers_and_a_damaged_memory_is_not_a_fresh_one() {
        let (_dir, state) = state();
        let (lease, mut record) = state.lease("line", "item").expect("free");
        record.attempts = 3;
        lease.remember(&record).expect("written");
        drop(lease);
        assert_eq!(state.lease("line", "item").expect("free").1.attempts, 3);
        state.dir.write("items/line/item.json", b"{").expect("writes");
        assert!(matches!(state.lease("line", "item"), Err(LeaseError::Damaged { .. })));
    }

    #[test]
    fn a_serial_is_used_once() {
        let (_dir, state) = state();
        state.create_run("a").expect("new");
        assert!(state.create_run("a").is_err());
    }
}
