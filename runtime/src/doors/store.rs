//! Where the entries of a run are kept.
//!
//! Never: interprets an entry, changes or removes one. Invariant here: when `append` of a [`Durability::Durable`] entry
//! returns, that entry and all before it survive a crash of the machine.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use cap_std::fs::{Dir, File, OpenOptions};

use crate::rules::effect::Entry;

/// What `append` promises when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is on disk.
    Durable,
    /// It is on disk once a durable entry is appended after it.
    Lazy,
}

/// The entries of one run, in order.
#[async_trait]
pub trait Store: Send + Sync {
    /// Appends an entry.
    ///
    /// # Errors
    /// The disk is full, read-only or broken: the entry may be lost, and the run must not go on.
    async fn append(&self, entry: &Entry, durability: Durability) -> io::Result<()>;
}

/// Keeps entries in memory: the oracle of tests, and the floor of benchmarks.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Vec<Entry>>);

impl MemoryStore {
    /// All entries so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn append(&self, entry: &Entry, _: Durability) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry.clone());
        Ok(())
    }
}

/// Bytes of lazy lines that wait in memory: what a guest makes the host write must not pile up until a durable entry.
const MAX_PENDING_BYTES: usize = 1 << 20;

/// A file of JSON lines, one an entry.
#[derive(Debug)]
pub struct FileStore {
    file: Arc<Mutex<File>>,
    /// Lines in order that are not written yet. An append that is dropped midway leaves its line here, whole.
    pending: Arc<Mutex<Vec<u8>>>,
    /// A write failed: lines are lost, and nothing may be appended after the gap.
    broken: Arc<AtomicBool>,
}

impl FileStore {
    /// Creates `name` below `dir`, durably.
    ///
    /// # Errors
    /// The file exists already or cannot be made.
    pub fn create(dir: &Dir, name: &str) -> io::Result<Self> {
        let file = dir.open_with(name, OpenOptions::new().create_new(true).append(true))?;
        file.sync_all()?;
        dir.open(".")?.sync_all()?;
        Ok(Self { file: Arc::new(Mutex::new(file)), pending: Arc::default(), broken: Arc::default() })
    }
}

#[async_trait]
impl Store for FileStore {
    async fn append(&self, entry: &Entry, durability: Durability) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        if self.broken.load(Ordering::Acquire) {
            return Err(io::Error::other("an earlier entry could not be written"));
        }
        let waiting = {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.extend_from_slice(&line);
            pending.len()
        };
        if durability == Durability::Lazy && waiting <= MAX_PENDING_BYTES {
            return Ok(());
        }
        let (file, pending, broken) = (Arc::clone(&self.file), Arc::clone(&self.pending), Arc::clone(&self.broken));
        // Goes on even if the one who waits for it is dropped: then the next append must hear how it ended.
        let flushed = move || flush(&file, &pending).inspect_err(|_| broken.store(true, Ordering::Release));
        tokio::task::spawn_blocking(flushed).await.map_err(io::Error::other)?
    }
}

/// Whoever flushes first writes all that is pending, so the file has the order of the appends.
fn flush(file: &Mutex<File>, pending: &Mutex<Vec<u8>>) -> io::Result<()> {
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    let lines = std::mem::take(&mut *pending.lock().unwrap_or_else(PoisonError::into_inner));
    file.write_all(&lines)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::effect::{Body, Level};

    fn note(seq: u64) -> Entry {
        let body = Body::Noted { level: Level::Info, message: format!("note {seq}"), fields: vec![] };
        Entry { seq, at_ms: 0, body }
    }

    #[tokio::test]
    async fn entries_are_in_the_file_in_order_once_a_durable_one_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let handle = Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority()).expect("opens");
        let store = FileStore::create(&handle, "journal.jsonl").expect("creates");
        let durability = [Durability::Lazy, Durability::Lazy, Durability::Durable];
        for (seq, durability) in durability.into_iter().enumerate() {
            store.append(&note(seq as u64), durability).await.expect("appends");
        }
        let text = handle.read_to_string("journal.jsonl").expect("reads");
        let entries: Vec<Entry> = text.lines().map(|line| serde_json::from_str(line).expect("an entry")).collect();
        assert_eq!(entries, [note(0), note(1), note(2)]);
        assert!(FileStore::create(&handle, "journal.jsonl").is_err(), "a journal is never written over");
    }

    #[tokio::test]
    async fn after_a_write_that_failed_nothing_is_appended() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device of every Linux");
        let store = FileStore {
            file: Arc::new(Mutex::new(File::from_std(full))),
            pending: Arc::default(),
            broken: Arc::default(),
        };
        store.append(&note(0), Durability::Lazy).await.expect("nothing is written yet");
        assert!(store.append(&note(1), Durability::Durable).await.is_err());
        assert!(store.append(&note(2), Durability::Lazy).await.is_err(), "there would be a gap before it");
    }
}
