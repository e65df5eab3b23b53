//! The host's own directory: runs, items and compiled code. No guest reaches it.
//!
//! | below it | what |
//! | --- | --- |
//! | `ledger.sqlite` | the store: ledger, items, journals |
//! | `runs/SERIAL/` | `verdict.json`, `evidence/`, the worker's tree in `work/`; `lock` is held while the run is alive |
//! | `items/TENANT/LINE/ITEM.lock` | held while a run works on the item |
//! | `cache/` | compiled components |
//! | `blobs/` | trees of workspaces and components by content address, for all runs |
//! | `tools/` | how tools described themselves when they were accepted |
//! | `scratch/` | trees of replays, as long as they last |
//!
//! Never: decides. Invariant here: a record that was written is whole after a crash, the old one or the new one.

use std::fs::TryLockError;
use std::io::{self, Write};
use std::sync::Arc;

use cap_std::fs::{Dir, OpenOptions};
use serde::Serialize;
use thiserror::Error;

use super::accepted::Acceptances;
use super::blobs::Blobs;
use super::ignored::Own;

/// The file in a run's directory that is locked while the run is alive.
pub const LOCK: &str = "lock";

/// How often, and how long after each other, it is tried to take a run or an item that somebody else has. Somebody may only be
/// looking whether it is free; and a process that is being started holds all locks of ours until it is another program.
const LOOKS: u32 = 20;
const LOOK_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// The host's directory.
#[derive(Clone, Debug)]
pub struct State {
    dir: Arc<Dir>,
    blobs: Blobs,
    own: Own,
}

/// The directory of one run.
#[derive(Clone, Debug)]
pub struct RunDir {
    dir: Arc<Dir>,
    /// The kernel lets it go when the process ends, however it ends.
    _alive: Arc<std::fs::File>,
}

/// An item that this process works on. Dropping it lets others.
#[derive(Debug)]
pub struct ItemLease {
    _lock: std::fs::File,
}

/// Why an item cannot be worked on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Another run works on it.
    #[error("item {item:?} is being worked on by another run")]
    Taken { item: String },
    /// The disk is full, read-only or broken.
    #[error("lease item {item:?}")]
    Io { item: String, source: io::Error },
    /// A process still works on the run.
    #[error("run {serial} is being worked on by another process")]
    Alive { serial: String },
    /// The run's directory is gone, or the disk is full, read-only or broken.
    #[error("open the directory of run {serial}")]
    Run { serial: String, source: io::Error },
}

impl State {
    /// The host's directory, made ready.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn open(dir: Dir) -> io::Result<Self> {
        for name in ["runs", "items", "cache", "blobs", "scratch", "tools"] {
            dir.create_dir_all(name)?;
        }
        let blobs = Blobs::open(dir.open_dir("blobs")?)?;
        let state = Self { own: Own::of(&dir)?, dir: Arc::new(dir), blobs };
        state.clear_scratch()?;
        Ok(state)
    }

    /// Removes what replays left whose process is gone.
    fn clear_scratch(&self) -> io::Result<()> {
        let scratch = self.dir.open_dir("scratch")?;
        for entry in scratch.entries()? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            let Ok(lock) = scratch.open(format!("{name}/{LOCK}")) else { continue };
            if lock.into_std().try_lock().is_ok() {
                super::node::remove_tree(&scratch, name)?;
            }
        }
        Ok(())
    }

    /// Which directory this is, wherever it is seen.
    pub fn own(&self) -> Own {
        self.own
    }

    /// Trees and components of all runs.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// A directory for a replay, which nobody else has. The caller removes it with [`State::remove_scratch`].
    ///
    /// # Errors
    /// There is one of this name already, or the disk is full or read-only.
    pub fn scratch(&self, name: &str) -> io::Result<RunDir> {
        self.new_run_dir("scratch", name)
    }

    /// Removes a directory that [`State::scratch`] made.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove_scratch(&self, name: &str) -> io::Result<()> {
        super::node::remove_tree(&self.dir.open_dir("scratch")?, name)
    }

    /// How tools described themselves when they were accepted.
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub fn acceptances(&self) -> io::Result<Acceptances> {
        self.dir.open_dir("tools").map(Acceptances::new)
    }

    /// Where a tool's evidence would go while it only says what it offers. It may attach nothing that has a byte.
    ///
    /// # Errors
    /// The disk is full or read-only.
    pub fn describing(&self) -> io::Result<Dir> {
        self.dir.create_dir_all("tools/describing")?;
        self.dir.open_dir("tools/describing")
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
        self.new_run_dir("runs", serial)
    }

    /// Takes the directory of a run that nobody works on any more.
    ///
    /// # Errors
    /// [`LeaseError::Alive`] if somebody does.
    pub fn reopen_run(&self, serial: &str) -> Result<RunDir, LeaseError> {
        let failed = |source| LeaseError::Run { serial: serial.to_owned(), source };
        let dir = self.dir.open_dir(format!("runs/{serial}")).map_err(failed)?;
        let options = || OpenOptions::new().write(true).create(true).clone();
        let alive = dir.open_with("lock", &options()).map_err(failed)?.into_std();
        match is_taken(&alive).map_err(failed)? {
            true => Err(LeaseError::Alive { serial: serial.to_owned() }),
            false => Ok(RunDir { dir: Arc::new(dir), _alive: Arc::new(alive) }),
        }
    }

    /// The directory of a run, to look at. `None`: it has none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn run_dir(&self, serial: &str) -> io::Result<Option<Dir>> {
        match self.dir.open_dir(format!("runs/{serial}")) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn new_run_dir(&self, below: &str, name: &str) -> io::Result<RunDir> {
        let runs = self.dir.open_dir(below)?;
        runs.create_dir(name)?;
        let dir = runs.open_dir(name)?;
        let alive = dir.create("lock")?.into_std();
        alive.try_lock()?;
        dir.create_dir("evidence")?;
        runs.open(".")?.sync_all()?;
        Ok(RunDir { dir: Arc::new(dir), _alive: Arc::new(alive) })
    }

    /// Whether the process that had this run is gone, or the run's directory is.
    ///
    /// # Errors
    /// Nobody can say.
    pub fn is_dead(&self, serial: &str) -> io::Result<bool> {
        let lock = match self.dir.open(format!("runs/{serial}/lock")) {
            Ok(lock) => lock.into_std(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(error),
        };
        // Shared, so that two who look do not take each other for the one who has it.
        match lock.try_lock_shared() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Takes an item for one run.
    ///
    /// # Errors
    /// [`LeaseError`]: nothing was changed.
    pub fn lease(&self, tenant: &str, line: &str, item: &str) -> Result<ItemLease, LeaseError> {
        let failed = |source| LeaseError::Io { item: item.to_owned(), source };
        let place = format!("items/{tenant}/{line}");
        self.dir.create_dir_all(&place).map_err(failed)?;
        let lock = self
            .dir
            .open_with(format!("{place}/{item}.lock"), OpenOptions::new().write(true).create(true))
            .map_err(failed)?
            .into_std();
        match is_taken(&lock).map_err(failed)? {
            true => Err(LeaseError::Taken { item: item.to_owned() }),
            false => Ok(ItemLease { _lock: lock }),
        }
    }
}

/// Locks a file, unless somebody else has it for good. Blocking, for a moment.
fn is_taken(file: &std::fs::File) -> io::Result<bool> {
    for _ in 0..LOOKS {
        match file.try_lock() {
            Ok(()) => return Ok(false),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK_PAUSE),
            Err(TryLockError::Error(source)) => return Err(source),
        }
    }
    Ok(true)
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

pub(super) fn write_whole(dir: &Dir, name: &str, document: &impl Serialize) -> io::Result<()> {
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
        let lease = state.lease("acme", "line", "item").expect("free");
        assert!(matches!(state.lease("acme", "line", "item"), Err(LeaseError::Taken { .. })));
        assert!(state.lease("acme", "line", "other").is_ok());
        assert!(state.lease("globex", "line", "item").is_ok());
        drop(lease);
        assert!(state.lease("acme", "line", "item").is_ok());
    }

    #[test]
    fn an_item_that_somebody_has_for_a_moment_is_waited_for() {
        let (_dir, state) = state();
        let lease = state.lease("acme", "line", "item").expect("free");
        let gone = std::thread::spawn(move || {
            std::thread::sleep(LOOK_PAUSE / 2);
            drop(lease);
        });
        assert!(state.lease("acme", "line", "item").is_ok());
        gone.join().expect("does not panic");
    }

    #[test]
    fn a_run_is_dead_when_whoever_had_it_is_gone() {
        let (_dir, state) = state();
        let run = state.create_run("a").expect("new");
        let shared = run.clone();
        drop(run);
        assert!(!state.is_dead("a").expect("can be told"));
        drop(shared);
        assert!(state.is_dead("a").expect("can be told"));
        assert!(state.is_dead("never was").expect("can be told"));
    }

    #[test]
    fn what_a_replay_left_goes_when_its_process_is_gone() {
        let (dir, state) = state();
        let living = state.scratch("living").expect("new");
        drop(state.scratch("dead").expect("new"));
        let handle = Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority()).expect("opens");
        State::open(handle).expect("opens again");
        assert!(dir.path().join("scratch/living").exists() && !dir.path().join("scratch/dead").exists());
        drop(living);
    }

    #[test]
    fn a_run_is_taken_again_only_when_nobody_has_it() {
        let (_dir, state) = state();
        let run = state.create_run("a").expect("new");
        assert!(matches!(state.reopen_run("a"), Err(LeaseError::Alive { .. })));
        drop(run);
        assert!(state.reopen_run("a").is_ok());
        assert!(matches!(state.reopen_run("b"), Err(LeaseError::Run { .. })));
    }

    #[test]
    fn a_serial_is_used_once() {
        let (_dir, state) = state();
        state.create_run("a").expect("new");
        assert!(state.create_run("a").is_err());
    }
}
