//! Brings an accepted run's changes into the real directory, all or none, also across a crash.
//!
//! What is promised: after a crash or power loss at any moment, [`recover`] leaves exactly the old or exactly the new
//! state of the tree. What is not: a reader who looks *during* an apply (or between a crash and `recover`) may see some
//! files old and some new, because no file system swaps several names at once; each single file is always whole.
//! New and changed files belong to us; a changed file keeps its permission bits but for "executable", and loses
//! extended attributes and hard links. A program that keeps a file open keeps the old contents.
//!
//! How: new contents are staged in `.jidoka-apply-<serial>/` inside the real directory and made durable; renaming
//! `plan.json` into place there is the commit; then the plan's idempotent steps are taken and made durable; renaming
//! the staging to `….done` ends it. Never: follows a link, touches what is not under the deliverables, or goes on
//! when something at a path that it would change is not what the run started from.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode};
use rustix::io::Errno;
use thiserror::Error;
use tracing::warn;

use super::ignored::Ignored;
use super::node;
use super::plan::{Obstacle, Plan, Step, Unplannable};
use super::tree::{Change, Entry, FileHasher, Manifest, scan_noting, under};
use super::walk::{Bounds, STAGING_PREFIX, ScanError, Source};

/// The committed plan, in the staging.
const PLAN: &str = "plan.json";
const PLAN_DRAFT: &str = "plan.draft";
/// End of the staging's name once nothing is left to do but to remove it.
const DONE: &str = ".done";
/// Bytes of a plan. A step is two paths' worth of names and two digests; the default bounds of a tree stay below. Whoever
/// can write into the real directory could leave a larger one to fill the host's memory.
const MAX_PLAN_BYTES: u64 = 256 << 20;
/// Bytes of a serial, so that the staging's name stays a name.
const MAX_SERIAL_BYTES: usize = 128;

/// The changes of one accepted run.
#[derive(Clone, Copy, Debug)]
pub struct ChangeSet<'a> {
    /// The tree that the worker started from.
    pub base: &'a Manifest,
    /// The tree that the worker left.
    pub end: &'a Manifest,
    /// Paths at and below which changes are applied; `"."` is all. Changes elsewhere are left out, silently: whether
    /// they are a violation was judged before.
    pub deliverables: &'a [String],
    /// The `ignore` with which both trees were scanned. Nothing that it covers is touched.
    pub ignore: &'a Ignored,
    /// For the scan of the real directory.
    pub bounds: &'a Bounds,
    /// The run. ASCII letters, digits, `-` and `_`, at most 128.
    pub serial: &'a str,
}

/// What an apply changed, by path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    pub changes: Vec<Change>,
}

/// What a recovery found of the run `serial`, and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// The changes were committed: now all of them are made.
    RolledForward { serial: String },
    /// All changes had been made: their staging was removed.
    Finished { serial: String },
    /// The changes were not committed, or the last of the staging was left: nothing was changed, it was removed.
    Discarded { serial: String },
}

/// Why changes were not applied. Unless a variant says otherwise, the real directory is as it was. Paths are relative
/// to it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ApplyError {
    #[error("apply to the real directory: {} paths changed there since the run began, the first is {:?}", paths.len(),
        paths.first().map_or("", String::as_str))]
    BaseMoved { paths: Vec<String> },
    #[error("apply to {path:?}: a file, a link or ignored files are there, which are not among the deliverables")]
    Blocked { path: String },
    #[error("apply to {path:?}: no run may change a `.git` or an apply's own staging")]
    Reserved { path: String },
    #[error("apply to the real directory: entries of {path:?} may not be changed by this user")]
    ReadOnly { path: String },
    #[error("apply to the real directory: {path:?} is on another mount, where a change cannot be made atomically")]
    OtherMount { path: String },
    #[error("apply to the real directory: another apply or recovery is at work there")]
    Busy,
    #[error("apply to the real directory: {staging:?} is left from an apply that was interrupted; recover it first")]
    Unrecovered { staging: String },
    #[error("apply the changes of {serial:?}: a serial has 1 to {MAX_SERIAL_BYTES} ASCII letters, digits, `-` or `_`")]
    Serial { serial: String },
    #[error("apply {path:?}: the worker's tree is not what was scanned")]
    WorkerTree { path: String },
    #[error("apply the changes: their plan has {bytes} bytes, more than the {MAX_PLAN_BYTES} allowed")]
    PlanTooLong { bytes: u64 },
    #[error("scan the real directory")]
    Real(#[source] ScanError),
    #[error("stage {path:?}")]
    Stage { path: String, source: io::Error },
    /// The plan is committed and some of it may be done: [`recover`] does the rest.
    #[error("finish the apply in {staging:?} at {path:?}; it is committed, and recovery will go on with it")]
    Unfinished { staging: String, path: String, source: io::Error },
    /// An interrupted apply cannot be rolled forward without losing what somebody wrote since. Nothing was done by
    /// this call; the tree is partly old and partly new.
    #[error("recover {staging:?}: {} paths changed since the crash, the first is {:?}; restore them, or remove {staging:?} \
        to keep everything as it is now", paths.len(), paths.first().map_or("", String::as_str))]
    Stuck { staging: String, paths: Vec<String> },
    /// Somebody else wrote this plan, or another version did. Nothing was done by this call.
    #[error("recover {staging:?}: its plan cannot be obeyed, because {reason}; if it is not ours, remove {staging:?}")]
    BadPlan { staging: String, reason: String },
    #[error("recover {staging:?} at {path:?}")]
    Recover { staging: String, path: String, source: io::Error },
    #[cfg(test)]
    #[error("go on: a test stopped it, as kill -9 would")]
    Killed,
}

/// Applies the changes of a run to `real`; `from` is the worker's tree, which must be as it was scanned for `end`.
/// Holds an advisory lock (`flock`) on `real` meanwhile.
///
/// # Errors
/// [`ApplyError`]; only with [`ApplyError::Unfinished`] something may have changed.
pub fn apply(real: &Dir, from: &Dir, set: &ChangeSet<'_>) -> Result<Applied, ApplyError> {
    apply_with(real, from, set, &mut Hook::none())
}

/// Whether there is nothing in `real` that is called as an apply's staging is.
///
/// # Errors
/// [`ApplyError::Real`]: the directory cannot be read.
pub fn is_clear(real: &Dir) -> Result<bool, ApplyError> {
    let listed = node::open_dir(real, ".").map_err(|errno| ApplyError::Real(ScanError::io("", errno)))?;
    Ok(stagings(&listed)?.is_empty())
}

/// Ends every apply that was interrupted in `real`: forward if it was committed, else back. To be called before a
/// directory is used by any run. May itself be interrupted and called again.
///
/// # Errors
/// [`ApplyError::Stuck`], [`ApplyError::BadPlan`], and whatever the disk says; the staging is then kept.
pub fn recover(real: &Dir) -> Result<Vec<Recovered>, ApplyError> {
    recover_with(real, &mut Hook::none())
}

fn apply_with(real: &Dir, from: &Dir, set: &ChangeSet<'_>, hook: &mut Hook) -> Result<Applied, ApplyError> {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if set.serial.is_empty() || set.serial.len() > MAX_SERIAL_BYTES || !set.serial.bytes().all(sound) {
        return Err(ApplyError::Serial { serial: set.serial.to_owned() });
    }
    let real = &lock(real)?;
    if let Some(staging) = stagings(real)?.into_iter().next() {
        return Err(ApplyError::Unrecovered { staging });
    }
    let (current, holders) = scan_noting(real, set.bounds, set.ignore).map_err(ApplyError::Real)?;
    let moved = differences(set.base, &current, set.deliverables);
    if !moved.is_empty() {
        return Err(ApplyError::BaseMoved { paths: moved });
    }
    let plan = Plan::new(&current, set.end, set.deliverables, &holders).map_err(|why| match why {
        Unplannable::Blocked(path) => ApplyError::Blocked { path },
        Unplannable::Reserved(path) => ApplyError::Reserved { path },
    })?;
    if let Some(step) = plan.steps.iter().find(|step| set.ignore.covers(step.path(), step.is_of_directory())) {
        return Err(ApplyError::Blocked { path: step.path().to_owned() });
    }
    let mut changes = Manifest::changes(set.base, set.end);
    changes.retain(|change| under(set.deliverables, &change.path));
    if plan.steps.is_empty() {
        return Ok(Applied { changes });
    }
    let name = format!("{STAGING_PREFIX}{}", set.serial);
    let staging = match commit(real, from, &plan, &name, hook) {
        Ok(staging) => staging,
        #[cfg(test)]
        Err(ApplyError::Killed) => return Err(ApplyError::Killed),
        Err(error) => {
            if let Err(left) = node::remove_tree(real, &name) {
                warn!(error = %left, staging = name, "an apply failed and its staging could not be removed");
            }
            return Err(error);
        }
    };
    finish(real, &staging, &plan, &name, hook)?;
    Ok(Applied { changes })
}

fn recover_with(real: &Dir, hook: &mut Hook) -> Result<Vec<Recovered>, ApplyError> {
    let real = &lock(real)?;
    let mut recovered = Vec::new();
    for name in stagings(real)? {
        let failed = |path: &str, source: io::Error| ApplyError::Recover {
            staging: name.clone(),
            path: path.to_owned(),
            source,
        };
        let serial = name.strip_prefix(STAGING_PREFIX).unwrap_or(&name).to_owned();
        let staging = node::open_dir(real, &name).map_err(|errno| failed(".", errno.into()))?;
        let plan = if name.ends_with(DONE) { None } else { read_plan(&staging, &name)? };
        recovered.push(match (serial.strip_suffix(DONE), plan) {
            (Some(serial), _) => Recovered::Finished { serial: serial.to_owned() },
            (None, None) => Recovered::Discarded { serial },
            (None, Some(plan)) => {
                match plan.obstacle(real, &staging) {
                    None => {}
                    Some(Obstacle::Moved(paths)) => return Err(ApplyError::Stuck { staging: name, paths }),
                    Some(Obstacle::ReadOnly(path)) => return Err(ApplyError::ReadOnly { path }),
                    Some(Obstacle::OtherMount(path)) => return Err(ApplyError::OtherMount { path }),
                    Some(Obstacle::Io(path, source)) => return Err(failed(&path, source)),
                }
                finish(real, &staging, &plan, &name, hook)?;
                recovered.push(Recovered::RolledForward { serial });
                continue;
            }
        });
        remove_staging(real, &name, hook).map_err(|source| stopped(source, |source| failed(".", source)))?;
    }
    Ok(recovered)
}

/// Stages everything and commits the plan. On any error but `Unfinished` nothing is committed.
fn commit(real: &Dir, from: &Dir, plan: &Plan, name: &str, hook: &mut Hook) -> Result<Dir, ApplyError> {
    let at = |path: &str| {
        let path = path.to_owned();
        move |source: io::Error| stopped(source, |source| ApplyError::Stage { path, source })
    };
    node::create_dir(real, name, 0o700).map_err(io::Error::from).map_err(at(name))?;
    hook.after().map_err(at(name))?;
    let staging = node::open_dir(real, name).map_err(io::Error::from).map_err(at(name))?;
    let mut hasher = FileHasher::new();
    for step in &plan.steps {
        if let Step::Place { path, staged, was, now } = step {
            let mode = match was {
                Some(Entry::File { .. }) => Some(mode_of(real, path).map_err(at(path))?),
                Some(Entry::Link { .. } | Entry::EmptyDirectory {}) | None => None,
            };
            stage(from, path, now, mode, (&staging, &staged.to_string()), &mut hasher)?;
            hook.after().map_err(at(path))?;
        }
    }
    match plan.obstacle(real, &staging) {
        None => {}
        Some(Obstacle::Moved(paths)) => return Err(ApplyError::BaseMoved { paths }),
        Some(Obstacle::ReadOnly(path)) => return Err(ApplyError::ReadOnly { path }),
        Some(Obstacle::OtherMount(path)) => return Err(ApplyError::OtherMount { path }),
        Some(Obstacle::Io(path, source)) => return Err(ApplyError::Stage { path, source }),
    }
    let json = serde_json::to_vec(plan).map_err(io::Error::from).map_err(at(PLAN))?;
    if json.len() as u64 > MAX_PLAN_BYTES {
        return Err(ApplyError::PlanTooLong { bytes: json.len() as u64 });
    }
    let mut draft = node::create_file(&staging, PLAN_DRAFT, 0o600).map_err(io::Error::from).map_err(at(PLAN))?;
    hook.after().map_err(at(PLAN))?;
    draft.write_all(&json).and_then(|()| draft.sync_all()).map_err(at(PLAN))?;
    sync(&staging).and_then(|()| sync(real)).and_then(|()| hook.after()).map_err(at(PLAN))?;
    rustix::fs::renameat(&staging, PLAN_DRAFT, &staging, PLAN).map_err(io::Error::from).map_err(at(PLAN))?;
    Ok(staging)
}

/// Puts the new contents of one path into the staging, checks that they are what was scanned, and makes them durable.
fn stage(
    from: &Dir,
    path: &str,
    now: &Entry,
    mode: Option<u32>,
    (staging, name): (&Dir, &str),
    hasher: &mut FileHasher,
) -> Result<(), ApplyError> {
    let other = || ApplyError::WorkerTree { path: path.to_owned() };
    let failed = |source: io::Error| ApplyError::Stage { path: path.to_owned(), source };
    let parts = node::components(path).ok_or_else(other)?;
    let (parent, last) = node::parent(from, &parts).map_err(|(_, errno)| match node::no_directory(errno) {
        true => other(),
        false => failed(errno.into()),
    })?;
    match now {
        // Never staged: it is made by a step.
        Entry::EmptyDirectory {} => Ok(()),
        Entry::Link { target } => match node::read_link(&parent, last) {
            Ok(found) if found == target.as_bytes() => {
                node::create_link(staging, name, target).map_err(|errno| failed(errno.into()))
            }
            _ => Err(other()),
        },
        Entry::File { bytes, executable, .. } => {
            let mut source = Source::open(&parent, last, path).map_err(|error| match error {
                ScanError::Io { source, .. } => failed(source),
                _ => other(),
            })?;
            let fresh = if *executable { 0o777 } else { 0o666 };
            let mut file = node::create_file(staging, name, fresh).map_err(|errno| failed(errno.into()))?;
            let (digest, read) = hasher.read(&mut source.file, *bytes, &mut file).map_err(failed)?;
            if *now != (Entry::File { digest, bytes: read, executable: source.executable }) {
                return Err(other());
            }
            if let Some(old) = mode {
                // Whoever may read it may run it, and nobody else.
                let bits = if *executable { old | (old & 0o444) >> 2 | 0o100 } else { old & !0o111 };
                rustix::fs::fchmod(&file, Mode::from_raw_mode(bits)).map_err(|errno| failed(errno.into()))?;
            }
            file.sync_all().map_err(failed)
        }
    }
}

/// Takes the steps of a committed plan, makes them durable, and ends the apply.
fn finish(real: &Dir, staging: &Dir, plan: &Plan, name: &str, hook: &mut Hook) -> Result<(), ApplyError> {
    let at = |path: &str| {
        let (staging, path) = (name.to_owned(), path.to_owned());
        move |source: io::Error| stopped(source, |source| ApplyError::Unfinished { staging, path, source })
    };
    // Also when recovering: who was killed before this had a plan that a power loss could still take back.
    sync(staging).and_then(|()| sync(real)).and_then(|()| hook.after()).map_err(at(PLAN))?;
    let mut touched = BTreeSet::new();
    for step in &plan.steps {
        take(real, staging, step).map_err(io::Error::from).map_err(at(step.path()))?;
        touched.insert(step.path().rsplit_once('/').map_or("", |(above, _)| above));
        if let Step::MakeDirectory { path } = step {
            touched.insert(path);
        }
        hook.after().map_err(at(step.path()))?;
    }
    for path in touched.iter().rev() {
        sync_path(real, path).and_then(|()| hook.after()).map_err(at(path))?;
    }
    let done = format!("{name}{DONE}");
    rustix::fs::renameat(real, name, real, &done).map_err(io::Error::from).map_err(at("."))?;
    hook.after().and_then(|()| sync(real)).map_err(at("."))?;
    remove_staging(real, &done, hook).map_err(at("."))
}

/// Takes one step, which may have been taken before, as may some that come after it.
fn take(real: &Dir, staging: &Dir, step: &Step) -> Result<(), Errno> {
    let parts = node::components(step.path()).ok_or(Errno::INVAL)?;
    let (parent, name) = match (node::parent(real, &parts), step) {
        (Ok(found), _) => found,
        // What held it was removed since, or replaced.
        (Err((_, errno)), Step::Unlink { .. } | Step::RemoveDirectory { .. }) if node::no_directory(errno) => {
            return Ok(());
        }
        (Err((_, errno)), _) => return Err(errno),
    };
    let (done, already) = match step {
        // `ISDIR`: a directory was made there since.
        Step::Unlink { .. } => (rustix::fs::unlinkat(&parent, name, AtFlags::empty()), [Errno::NOENT, Errno::ISDIR]),
        // `NOTDIR`: a file was placed there since.
        Step::RemoveDirectory { .. } => {
            (rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR), [Errno::NOENT, Errno::NOTDIR])
        }
        Step::MakeDirectory { .. } => (node::create_dir(&parent, name, 0o777), [Errno::EXIST, Errno::EXIST]),
        Step::Place { staged, .. } => {
            // `NOENT`: it left the staging, so it was placed.
            (rustix::fs::renameat(staging, staged.to_string(), &parent, name), [Errno::NOENT, Errno::NOENT])
        }
    };
    match done {
        Err(errno) if already.contains(&errno) => Ok(()),
        done => done,
    }
}

/// The committed plan of a staging, if there is one.
fn read_plan(staging: &Dir, name: &str) -> Result<Option<Plan>, ApplyError> {
    let bad = |reason: String| ApplyError::BadPlan { staging: name.to_owned(), reason };
    let failed = |source: io::Error| ApplyError::Recover { staging: name.to_owned(), path: PLAN.to_owned(), source };
    match node::status(staging, PLAN) {
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(failed(errno.into())),
        Ok(status) if node::file_type(&status) != FileType::RegularFile => {
            return Err(bad("it is no regular file".to_owned()));
        }
        Ok(_) => {}
    }
    let mut json = Vec::new();
    let file = node::open_file(staging, PLAN).map_err(|errno| failed(errno.into()))?;
    file.take(MAX_PLAN_BYTES + 1).read_to_end(&mut json).map_err(failed)?;
    if json.len() as u64 > MAX_PLAN_BYTES {
        return Err(bad(format!("it has more than {MAX_PLAN_BYTES} bytes")));
    }
    Plan::parse(&json).map(Some).map_err(bad)
}

/// Paths at and below the deliverables at which two trees differ, empty directories included.
fn differences(base: &Manifest, current: &Manifest, deliverables: &[String]) -> Vec<String> {
    let changes = Manifest::changes(base, current).into_iter();
    changes.map(|change| change.path).filter(|path| under(deliverables, path)).collect()
}

/// Names of the staging directories in `real`, sorted. A file or link of such a name is not ours.
fn stagings(real: &Dir) -> Result<Vec<String>, ApplyError> {
    let mut found = Vec::new();
    node::list::<Errno>(real, |name, kind| {
        match std::str::from_utf8(name) {
            Ok(name) if name.starts_with(STAGING_PREFIX) && kind == FileType::Directory => found.push(name.to_owned()),
            _ => {}
        }
        Ok(())
    })
    .map_err(|errno| ApplyError::Real(ScanError::io("", errno)))?;
    found.sort_unstable();
    Ok(found)
}

/// A handle that locks a directory against other applies and recoveries, in every process, until it is dropped. It can
/// also be listed and synced, which a handle from `open_ambient_dir` (`O_PATH`) cannot.
fn lock(real: &Dir) -> Result<Dir, ApplyError> {
    // Opened anew: the lock belongs to the open file, which clones of `real` share.
    let held = node::open_dir(real, ".").map_err(|errno| ApplyError::Real(ScanError::io("", errno)))?;
    match rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(held),
        Err(Errno::WOULDBLOCK) => Err(ApplyError::Busy),
        Err(errno) => Err(ApplyError::Real(ScanError::io("", errno))),
    }
}

/// Permission bits of a file of the real directory.
fn mode_of(real: &Dir, path: &str) -> io::Result<u32> {
    let parts = node::components(path).ok_or(Errno::INVAL)?;
    let (parent, name) = node::parent(real, &parts).map_err(|(_, errno)| errno)?;
    Ok(node::status(&parent, name)?.st_mode & 0o777)
}

fn sync(dir: &Dir) -> io::Result<()> {
    Ok(rustix::fs::fsync(dir)?)
}

/// Makes the entries of a directory durable. One that was removed meanwhile has none.
fn sync_path(real: &Dir, path: &str) -> io::Result<()> {
    let Some(parts) = node::components(path) else { return sync(real) };
    let opened = node::parent(real, &parts).map_err(|(_, errno)| errno);
    match opened.and_then(|(parent, name)| node::open_dir(&parent, name)) {
        Ok(dir) => sync(&dir),
        Err(errno) if node::no_directory(errno) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn remove_staging(real: &Dir, name: &str, hook: &mut Hook) -> io::Result<()> {
    node::remove_tree(real, name)?;
    hook.after()?;
    sync(real)
}

/// The error for a failure, unless a test stopped us.
fn stopped(source: io::Error, error: impl FnOnce(io::Error) -> ApplyError) -> ApplyError {
    #[cfg(test)]
    if source.get_ref().is_some_and(|inner| inner.is::<tests::Killed>()) {
        return ApplyError::Killed;
    }
    error(source)
}

/// Is told after every change that reaches the disk, in order. Only a test makes anything of it.
struct Hook {
    #[cfg(test)]
    fault: Option<(usize, tests::Fault)>,
}

impl Hook {
    fn none() -> Self {
        Self {
            #[cfg(test)]
            fault: None,
        }
    }

    fn after(&mut self) -> io::Result<()> {
        #[cfg(test)]
        if let Some((left, fault)) = &mut self.fault {
            if *left == 0 {
                return Err(fault.error());
            }
            *left -= 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
