//! The host's own directory: runs, items and compiled code. No guest reaches it.
//!
//! | below it | what |
//! | --- | --- |
//! | `ledger.sqlite` | the store: ledger, items, journals; `ledger.book` says whose it is and how far it came |
//! | `runs/SERIAL/` | `verdict.json`, `applying.json` (what becomes that once its changes are applied), `evidence/`, the worker's tree in `work/`; `lock` is held while the run is alive |
//! | `items/TENANT/LINE/ITEM.lock` | held while a run works on the item |
//! | `cache/` | compiled components |
//! | `blobs/` | trees of workspaces and components by content address, for all runs |
//! | `pace/` | when models and tenants may be asked next, of all processes |
//! | `tools/` | how tools described themselves when they were accepted |
//! | `scratch/` | trees of replays, as long as they last |
//!
//! Never: decides, is open to others than its owner. Invariants here: a record that was written is whole after a crash, the
//! old one or the new one; a directory of a run that nobody has locked is nobody's who is alive.

use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::io::{self, Write};
use std::sync::Arc;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::Serialize;
use thiserror::Error;

use super::accepted::Acceptances;
use super::blobs::Blobs;
use super::ignored::Own;
use super::{disk, node};

/// The file in a run's directory that is locked while the run is alive.
pub const LOCK: &str = "lock";

/// How often, and how long after each other, it is tried to take a run or an item that somebody else has. Somebody may only be
/// looking whether it is free; and a process that is being started holds all locks of ours until it is another program.
const LOOKS: u32 = 20;
const LOOK_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// Where the directories of runs are.
const RUNS: &str = "runs";

/// What SQLite maps into memory, as long as a process has the store open.
const MAPPED: &str = "ledger.sqlite-shm";

/// Bits of a mode: what a group and all others may, that all others write, and that they rename only what is theirs.
const OTHERS: u32 = 0o077;
const EVERYBODY_WRITES: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// The host's directory.
#[derive(Clone, Debug)]
pub struct State {
    dir: Arc<Dir>,
    blobs: Blobs,
    own: Own,
}

/// What the host's directory takes on the disk. Bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// All of it.
    pub total: u64,
    /// Each name among the directories of runs, with all that is below it.
    pub runs: BTreeMap<String, u64>,
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
    /// The host's directory, made ready and closed to others.
    ///
    /// # Errors
    /// It cannot be written, or cannot be closed to others.
    pub fn open(dir: Dir) -> io::Result<Self> {
        make_private(&dir)?;
        for name in ["runs", "items", "cache", "blobs", "scratch", "tools"] {
            make_dirs(&dir, name)?;
        }
        let blobs = Blobs::open(dir.open_dir("blobs")?)?;
        let state = Self { own: Own::of(&dir)?, dir: Arc::new(dir), blobs };
        state.clear_scratch()?;
        Ok(state)
    }

    /// Removes what replays left whose process is gone.
    fn clear_scratch(&self) -> io::Result<()> {
        let scratch = self.dir.open_dir("scratch")?;
        let making = scratch.open(".")?.into_std();
        // Somebody makes one, or clears: the next one who comes does it.
        if making.try_lock().is_err() {
            return Ok(());
        }
        let cleared = scratch.entries()?.try_for_each(|entry| {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { return Ok(()) };
            let is_free = match scratch.open(format!("{name}/{LOCK}")) {
                Ok(lock) => lock.into_std().try_lock().is_ok(),
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            };
            if is_free { node::remove_tree(&scratch, name) } else { Ok(()) }
        });
        drop(making.unlock());
        cleared
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
        node::remove_tree(&self.dir.open_dir("scratch")?, name)
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
        make_dirs(&self.dir, "tools/describing")?;
        self.dir.open_dir("tools/describing")
    }

    /// What the host's directory takes on the disk, as `du` counts it. What the store maps into memory, and removes when the
    /// last process closes it, is left out. Blocking, and as long as there are files.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn disk(&self) -> io::Result<Disk> {
        let dir = node::open_dir(&self.dir, ".")?;
        let mut counted = disk::Counted::default();
        let mut found = Disk { total: disk::of(&rustix::fs::fstat(&dir)?), runs: BTreeMap::new() };
        node::list::<io::Error>(&dir, |name, _| {
            if name == RUNS.as_bytes() {
                found.total += disk::of(&node::status(&dir, RUNS)?);
                let runs = node::open_dir(&dir, RUNS)?;
                node::list::<io::Error>(&runs, |run, _| {
                    let bytes = counted.taken(&runs, run)?;
                    found.total += bytes;
                    found.runs.extend(std::str::from_utf8(run).ok().map(|run| (run.to_owned(), bytes)));
                    Ok(())
                })?;
            } else if name != MAPPED.as_bytes() {
                found.total += counted.taken(&dir, name)?;
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Takes the directory of a run that nobody works on, or begins. `None`: somebody does, or it is gone. Blocking.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn take_left(&self, serial: &str) -> io::Result<Option<RunDir>> {
        if !self.is_dead(serial)? {
            return Ok(None);
        }
        let making = self.dir.open_dir(RUNS)?.open(".")?.into_std();
        making.lock()?;
        let taken = self.reopen_run(serial);
        drop(making.unlock());
        match taken {
            Ok(taken) => Ok(Some(taken)),
            Err(LeaseError::Run { source, .. }) if source.kind() != io::ErrorKind::NotFound => Err(source),
            Err(_) => Ok(None),
        }
    }

    /// Removes the directory of a run that the caller has to itself, with all that is in it.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove_run(&self, serial: &str, _taken: &RunDir) -> io::Result<()> {
        // First away, so that nobody takes what is half removed for a run's directory.
        let (runs, scratch) = (self.dir.open_dir(RUNS)?, self.dir.open_dir("scratch")?);
        let gone = format!("{serial}.gone");
        // Meanwhile nobody else clears there.
        let making = scratch.open(".")?.into_std();
        making.lock_shared()?;
        let removed =
            node::remove_tree(&scratch, &gone).and_then(|()| runs.rename(serial, &scratch, &gone)).and_then(|()| {
                match node::remove_tree(&scratch, &gone) {
                    // Another process that looked whether it is free has created a lock in it.
                    Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                        node::remove_tree(&scratch, &gone)
                    }
                    removed => removed,
                }
            });
        drop(making.unlock());
        removed
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
        let alive = dir.open_with(LOCK, &lock_options()).map_err(failed)?.into_std();
        if is_taken(&alive).map_err(failed)? {
            return Err(LeaseError::Alive { serial: serial.to_owned() });
        }
        // Whoever had it may have removed it.
        match self.dir.try_exists(format!("runs/{serial}/{LOCK}")).map_err(failed)? {
            true => Ok(RunDir { dir: Arc::new(dir), _alive: Arc::new(alive) }),
            false => Err(failed(io::ErrorKind::NotFound.into())),
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

    /// The serials of all runs that have a directory.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn run_names(&self) -> io::Result<Vec<String>> {
        let names = self.dir.open_dir("runs")?.entries()?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    fn new_run_dir(&self, below: &str, name: &str) -> io::Result<RunDir> {
        let runs = self.dir.open_dir(below)?;
        // Until it is locked, whoever clears must not take it for one that a crash has left. Opened anew: a lock is one of
        // whoever opened it.
        let making = runs.open(".")?.into_std();
        making.lock_shared()?;
        let made = (|| {
            node::create_dir(&runs, name, 0o700)?;
            let dir = runs.open_dir(name)?;
            let alive = dir.open_with(LOCK, &lock_options())?.into_std();
            // Another process may hold the lock for a moment, to look whether the run is alive.
            if is_taken(&alive)? {
                return Err(io::ErrorKind::ResourceBusy.into());
            }
            node::create_dir(&dir, "evidence", 0o700)?;
            making.sync_all()?;
            Ok(RunDir { dir: Arc::new(dir), _alive: Arc::new(alive) })
        })();
        drop(making.unlock());
        made
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
        make_dirs(&self.dir, &place).map_err(failed)?;
        let lock = self.dir.open_with(format!("{place}/{item}.lock"), &lock_options()).map_err(failed)?.into_std();
        match is_taken(&lock).map_err(failed)? {
            true => Err(LeaseError::Taken { item: item.to_owned() }),
            false => Ok(ItemLease { _lock: lock }),
        }
    }
}

fn lock_options() -> OpenOptions {
    OpenOptions::new().write(true).create(true).mode(0o600).clone()
}

/// Makes directories below the host's, for their owner alone whatever the umask lets through. Those that are there stay.
fn make_dirs(dir: &Dir, path: &str) -> io::Result<()> {
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    for end in ends {
        match node::create_dir(dir, &path[..end], 0o700) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Closes the host's directory to others: journals and evidence hold what workers read. What is below it is then as good as
/// closed too. A link that leads to it is followed; where it leads is what is looked at.
///
/// # Errors
/// It is another user's, its file system has no modes, or others could put another one in its place.
fn make_private(dir: &Dir) -> io::Result<()> {
    let other = |why: String| io::Error::new(io::ErrorKind::PermissionDenied, why);
    let dir = node::open_dir(dir, ".")?;
    let (about, user) = (rustix::fs::fstat(&dir)?, rustix::process::geteuid().as_raw());
    if about.st_uid != user {
        let owner = about.st_uid;
        return Err(other(format!(
            "it is user {owner}'s, and this is user {user}: run as its owner, or name another directory"
        )));
    }
    if about.st_mode & OTHERS != 0 {
        let closed = rustix::fs::fchmod(&dir, Mode::RWXU).and_then(|()| rustix::fs::fstat(&dir));
        if closed.is_err() || closed.is_ok_and(|about| about.st_mode & OTHERS != 0) {
            return Err(other("others may enter it, and its file system does not let that be changed".to_owned()));
        }
    }
    let mut below = rustix::fs::fstat(&dir)?;
    let mut at = dir;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // As far up as we may look.
    while let Ok(above) = rustix::fs::openat(&at, "..", flags, Mode::empty()) {
        let about = rustix::fs::fstat(&above)?;
        if (about.st_dev, about.st_ino) == (below.st_dev, below.st_ino) {
            break;
        }
        if about.st_mode & EVERYBODY_WRITES != 0 && about.st_mode & STICKY == 0 {
            return Err(other(
                "everybody may rename what is in a directory above it: take that right away there (chmod o-w, or chmod \
                 +t), or name another directory"
                    .to_owned(),
            ));
        }
        (below, at) = (about, Dir::from(above));
    }
    Ok(())
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
        make_dirs(&self.dir, name)?;
        self.dir.open_dir(name)
    }

    /// Reads a JSON document of the run, if it is there.
    ///
    /// # Errors
    /// It cannot be read, or is another document.
    pub fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        match self.dir.read(name) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
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
    let mut file = dir.open_with(&draft, OpenOptions::new().write(true).create(true).truncate(true).mode(0o600))?;
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

    fn mode(path: &std::path::Path) -> u32 {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).expect("is there").permissions().mode() & 0o7777
    }

    fn set_mode(path: &std::path::Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("is ours");
    }

    fn open(path: &std::path::Path) -> io::Result<State> {
        State::open(Dir::open_ambient_dir(path, cap_std::ambient_authority()).expect("opens"))
    }

    #[test]
    fn a_directory_that_others_may_enter_is_closed_to_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state");
        std::fs::create_dir(&path).expect("made");
        for others in [0o755, 0o770, 0o701, 0o1777, 0o2750] {
            set_mode(&path, others);
            let state = open(&path).expect("made ready");
            assert_eq!(mode(&path) & 0o777, 0o700, "{others:o}");
            let run = state.create_run(&format!("run-{others:o}")).expect("new");
            run.write("verdict.json", &"words").expect("written");
            drop(run.subdir("evidence").expect("there"));
            drop(state.lease("acme", "line", "item").expect("free"));
        }
        let mut open_to_others = Vec::new();
        let mut next = vec![path];
        while let Some(path) = next.pop() {
            if mode(&path) & 0o077 != 0 {
                open_to_others.push(path.clone());
            }
            let entries = std::fs::read_dir(&path).into_iter().flatten();
            next.extend(entries.map(|entry| entry.expect("reads").path()).filter(|path| !path.is_symlink()));
        }
        assert_eq!(open_to_others, Vec::<std::path::PathBuf>::new());
    }

    #[test]
    fn a_directory_that_others_could_replace_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("shared/below/state");
        std::fs::create_dir_all(&path).expect("made");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        let shared = dir.path().join("shared");
        set_mode(&shared, 0o777);
        assert_eq!(open(&path).expect_err("anybody could").kind(), io::ErrorKind::PermissionDenied);
        assert!(open(&link).is_err(), "it counts where a link leads");
        set_mode(&shared, 0o1777);
        assert!(open(&path).is_ok() && open(&link).is_ok());
    }

    #[test]
    fn what_is_removed_of_a_run_is_nobodys_run_any_more() {
        let (dir, state) = state();
        let run = state.create_run("run").expect("new");
        assert!(state.take_left("run").expect("can be told").is_none(), "somebody has it");
        drop(run);
        let taken = state.take_left("run").expect("can be told").expect("is free");
        std::thread::scope(|threads| {
            let late = threads.spawn(|| state.reopen_run("run"));
            state.remove_run("run", &taken).expect("removed");
            drop(taken);
            assert!(late.join().expect("no panic").is_err());
        });
        assert!(!dir.path().join("runs/run").exists());
        assert_eq!(std::fs::read_dir(dir.path().join("scratch")).expect("reads").count(), 0);
        assert!(state.take_left("run").expect("can be told").is_none());
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
