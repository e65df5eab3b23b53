//! Brings an accepted run's changes into the real directory, all or none, also across a crash.
//!
//! What is promised: after a crash or power loss at any moment, [`recover`] leaves exactly the old or exactly the new
//! state of the tree, and nothing that a person writes meanwhile is lost: what comes out of a path is looked at before it may
//! go, and if it is not what was expected, everything is taken back. What then cannot be put back where it came from is kept
//! in `.jidoka-apply-<serial>.kept/`, for a person to look at and remove. What is not promised: a reader who looks *during* an
//! apply (or between a crash and `recover`) may see some files old and some new, because no file system swaps several names at
//! once; each single file is always whole. New and changed files belong to us; a changed file keeps its permission bits, and
//! loses extended attributes and hard links. A program that keeps a file open keeps the old contents; what it writes there
//! after [`clear`] is gone.
//!
//! How: new contents are staged in `.jidoka-apply-<serial>/` inside the real directory and made durable; renaming
//! `plan.json` into place there is the commit; then the plan's steps are taken (see `apply/swap.rs`) and made durable;
//! renaming the staging to `….done` says so, and [`clear`] removes it once the run's verdict is written down. Renaming the
//! plan to `undo.json` is the commit to the way back. Never: follows a link, touches what is not under the deliverables, or
//! goes on when something at a path that it would change is not what the run started from.

use std::io;
use std::time::Duration;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FlockOperation};
use rustix::io::Errno;
use tracing::warn;

use self::error::kept_at;
use self::staging::{DONE, PLAN, UNDO, commit, read_plan, remove_staging, stagings, sync, sync_touched};
use self::swap::{KEPT, Staged, Swaps};
use super::ignored::Ignored;
use super::node;
use super::plan::{Plan, Unplannable, may_change};
use super::tree::{Change, Manifest, scan_noting, under};
use super::walk::{Bounds, STAGING_PREFIX, ScanError};

mod error;
mod staging;
mod swap;

pub use self::error::ApplyError;

/// Bytes of a serial, so that the staging's name stays a name.
const MAX_SERIAL_BYTES: usize = 128;
/// How often, and how long after each other, it is looked whether somebody else's apply or recovery in the same directory is
/// over: a minute together. Whoever is at work for longer is reported. More than once in any case: a process that is being started
/// holds all locks of ours until it is another program.
const LOCK_LOOKS: u32 = if cfg!(test) { 20 } else { 6_000 };
const LOCK_PAUSE: Duration = Duration::from_millis(10);

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

/// What an apply tells while it is at work, and asks.
pub struct Watch<'a> {
    /// Hears how many of how many changes to the disk are made, each file's staging and its placing counted apart.
    pub progress: &'a dyn Fn(u64, u64),
    /// Whether the real directory is still where a person finds it. Asked before anything is changed.
    pub is_there: &'a dyn Fn() -> bool,
}

impl Watch<'_> {
    /// Nobody watches, and the directory is where it is.
    pub const NOBODY: Watch<'static> = Watch { progress: &|_, _| {}, is_there: &|| true };
}

/// What a recovery found of the run `serial`, and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// The changes were committed, and all of them are made. Their staging stays until [`clear`].
    Applied { serial: String },
    /// The changes were committed and are taken back, because of what a person did at one of their paths.
    TakenBack { serial: String, why: String },
    /// The changes were not committed, or the last of the staging was left: nothing was changed, it was removed.
    Discarded { serial: String },
}

/// Applies the changes of a run to `real`; `from` is the worker's tree, which must be as it was scanned for `end`.
/// Holds an advisory lock (`flock`) on `real` meanwhile. The staging stays until [`clear`], so that nobody takes the
/// directory for one that the run has not come to yet.
///
/// # Errors
/// [`ApplyError`]; only with [`ApplyError::Unfinished`] something may have changed.
pub fn apply(real: &Dir, from: &Dir, set: &ChangeSet<'_>, watch: &Watch<'_>) -> Result<Applied, ApplyError> {
    apply_with(real, from, set, &mut Hook::watched(watch))
}

/// Removes the staging of changes that are made, of which the verdict is written down. What somebody wrote into a file or a
/// directory since it was replaced or removed is kept: returns where.
///
/// # Errors
/// [`ApplyError::Recover`]: what is left is removed by a later call.
pub fn clear(real: &Dir, serial: &str) -> Result<Vec<String>, ApplyError> {
    clear_with(real, serial, &mut Hook::watched(&Watch::NOBODY))
}

/// Whether there is nothing in `real` that is called as an apply's staging is.
///
/// # Errors
/// [`ApplyError::Real`]: the directory cannot be read.
pub fn is_clear(real: &Dir) -> Result<bool, ApplyError> {
    let listed = node::open_dir(real, ".").map_err(|errno| ApplyError::Real(ScanError::io("", errno)))?;
    Ok(stagings(&listed)?.is_empty())
}

/// Whether an apply could begin: the directory and the deliverables that there are may be changed by this user.
///
/// # Errors
/// [`ApplyError::ReadOnly`], [`ApplyError::Real`].
pub fn may_begin(real: &Dir, deliverables: &[String]) -> Result<(), ApplyError> {
    let top = node::open_dir(real, ".").map_err(|errno| ApplyError::Real(ScanError::io("", errno)))?;
    let read_only = |path: &str| ApplyError::ReadOnly { path: path.to_owned() };
    may_change(&top).map_err(|_| read_only("."))?;
    for path in deliverables {
        // As far as there are directories.
        let mut at = node::open_dir(&top, ".").map_err(|errno| ApplyError::Real(ScanError::io(path, errno)))?;
        for name in node::components(path).unwrap_or_default() {
            let Ok(below) = node::open_dir(&at, name) else { break };
            at = below;
        }
        may_change(&at).map_err(|_| read_only(path))?;
    }
    Ok(())
}

/// Whether a run may be called so.
fn is_serial(text: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=MAX_SERIAL_BYTES).contains(&text.len()) && text.bytes().all(sound)
}

/// Holds the real directory still while it is read: no apply begins there until the returned handle is dropped, and one that is
/// at work is waited for.
///
/// # Errors
/// [`ApplyError::Busy`]; [`ApplyError::Unrecovered`]: an apply was interrupted since the last [`recover`].
pub fn hold_still(real: &Dir) -> Result<Dir, ApplyError> {
    let held = lock_as(real, FlockOperation::NonBlockingLockShared)?;
    match stagings(&held)?.into_iter().find(|staging| !staging.ends_with(DONE)) {
        Some(staging) => Err(ApplyError::Unrecovered { staging }),
        None => Ok(held),
    }
}

/// Ends every apply that was interrupted in `real`: forward if it was committed, else back. To be called before a
/// directory is used by any run. May itself be interrupted and called again.
///
/// # Errors
/// [`ApplyError::BadPlan`], [`ApplyError::Unfinished`], and whatever the disk says; the staging is then kept.
pub fn recover(real: &Dir) -> Result<Vec<Recovered>, ApplyError> {
    recover_with(real, &mut Hook::watched(&Watch::NOBODY))
}

fn apply_with(real: &Dir, from: &Dir, set: &ChangeSet<'_>, hook: &mut Hook<'_>) -> Result<Applied, ApplyError> {
    if !is_serial(set.serial) {
        return Err(ApplyError::Serial { serial: set.serial.to_owned() });
    }
    let real = &lock(real)?;
    if !(hook.watch.is_there)() {
        return Err(ApplyError::Elsewhere);
    }
    if let Some(staging) = stagings(real)?.into_iter().find(|staging| !staging.ends_with(DONE)) {
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
    if let Some(step) = plan.steps.iter().find(|step| set.ignore.covers(&step.path, step.is_of_directory())) {
        return Err(ApplyError::Blocked { path: step.path.clone() });
    }
    let mut changes = Manifest::changes(set.base, set.end);
    changes.retain(|change| under(set.deliverables, &change.path));
    if plan.steps.is_empty() {
        return Ok(Applied { changes });
    }
    let name = format!("{STAGING_PREFIX}{}", set.serial);
    hook.total = 2 * plan.steps.len() as u64;
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
    finish(real, (&staging, Staged::Now), &plan, &name, hook)?;
    Ok(Applied { changes })
}

fn recover_with(real: &Dir, hook: &mut Hook<'_>) -> Result<Vec<Recovered>, ApplyError> {
    let real = &lock(real)?;
    let mut recovered = Vec::new();
    for name in stagings(real)? {
        let failed = |path: &str, source: io::Error| ApplyError::Recover {
            staging: name.clone(),
            path: path.to_owned(),
            source,
        };
        let serial = name.strip_prefix(STAGING_PREFIX).unwrap_or(&name).to_owned();
        if let Some(serial) = serial.strip_suffix(DONE) {
            recovered.push(Recovered::Applied { serial: serial.to_owned() });
            continue;
        }
        let staging = node::open_dir(real, &name).map_err(|errno| failed(".", errno.into()))?;
        if let Some(plan) = read_plan(&staging, &name, UNDO)? {
            let kept = take_back(real, &staging, &plan, &name, hook)?;
            recovered.push(Recovered::TakenBack {
                serial,
                why: format!("a person had changed something{}", kept_at(&kept)),
            });
            continue;
        }
        let Some(plan) = read_plan(&staging, &name, PLAN)? else {
            remove_staging(real, &name, hook).map_err(|source| stopped(source, |source| failed(".", source)))?;
            recovered.push(Recovered::Discarded { serial });
            continue;
        };
        recovered.push(match finish(real, (&staging, Staged::Before), &plan, &name, hook) {
            Ok(()) => Recovered::Applied { serial },
            Err(error @ (ApplyError::Met { .. } | ApplyError::Step { .. })) => {
                let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
                Recovered::TakenBack { serial, why: format!("{error}{}", source.unwrap_or_default()) }
            }
            Err(error) => return Err(error),
        });
    }
    Ok(recovered)
}

fn clear_with(real: &Dir, serial: &str, hook: &mut Hook<'_>) -> Result<Vec<String>, ApplyError> {
    let real = &lock(real)?;
    let name = format!("{STAGING_PREFIX}{serial}{DONE}");
    let at = |path: &str| {
        let (staging, path) = (name.clone(), path.to_owned());
        move |source: io::Error| stopped(source, |source| ApplyError::Recover { staging, path, source })
    };
    let staging = match node::open_dir(real, &name) {
        Ok(staging) => staging,
        // Nothing was changed, or another call was here before.
        Err(errno) if node::no_directory(errno) => return Ok(Vec::new()),
        Err(errno) => return Err(at(".")(errno.into())),
    };
    if let Some(plan) = read_plan(&staging, &name, PLAN)? {
        let mut swaps = Swaps::new(real, &staging, serial, hook);
        for (number, step) in plan.steps.iter().enumerate().filter(|(_, step)| step.was.is_some()) {
            swaps.keep_stranger(number, step).map_err(at(&step.path))?;
        }
    }
    remove_staging(real, &name, hook).map_err(at("."))?;
    kept(real, serial).map_err(at("."))
}

/// Takes the steps of a committed plan, makes them durable, and says so by the staging's name. If something else than expected
/// is at a path, or a step fails, all of them are taken back.
fn finish(
    real: &Dir,
    (staging, staged): (&Dir, Staged),
    plan: &Plan,
    name: &str,
    hook: &mut Hook<'_>,
) -> Result<(), ApplyError> {
    let at = |path: &str| {
        let (staging, path) = (name.to_owned(), path.to_owned());
        move |source: io::Error| stopped(source, |source| ApplyError::Unfinished { staging, path, source })
    };
    let (path, error) = match forward(real, (staging, staged), plan, name, hook) {
        Ok(None) => {
            // All steps are durable, and whoever finds the staging by its old name after a power loss takes none of them again.
            return match hook.after().and_then(|()| sync(real)) {
                #[cfg(test)]
                Err(error) if tests::is_killed(&error) => Err(ApplyError::Killed),
                Err(error) => {
                    warn!(%error, staging = name, "the end of an apply could not be made durable");
                    Ok(())
                }
                Ok(()) => Ok(()),
            };
        }
        #[cfg(test)]
        Err((_, error)) if tests::is_killed(&error) => return Err(ApplyError::Killed),
        Ok(Some(path)) => (path, None),
        Err((path, error)) => (path, Some(error)),
    };
    rustix::fs::renameat(staging, PLAN, staging, UNDO).map_err(io::Error::from).map_err(at(&path))?;
    sync(staging).and_then(|()| hook.after()).map_err(at(&path))?;
    let kept = take_back(real, staging, plan, name, hook)?;
    Err(match error {
        None => ApplyError::Met { path, kept },
        Some(source) => ApplyError::Step { path, kept, source },
    })
}

/// As [`finish`], as long as all goes well. Returns the path at which it does not.
fn forward(
    real: &Dir,
    (staging, staged): (&Dir, Staged),
    plan: &Plan,
    name: &str,
    hook: &mut Hook<'_>,
) -> Result<Option<String>, (String, io::Error)> {
    let at = |path: &str| {
        let path = path.to_owned();
        move |error: io::Error| (path, error)
    };
    // Also when recovering: who was killed before this had a plan that a power loss could still take back.
    sync(staging).and_then(|()| sync(real)).and_then(|()| hook.after()).map_err(at("."))?;
    let mut swaps = Swaps { staged, ..Swaps::new(real, staging, serial_of(name), hook) };
    for (number, step) in plan.steps.iter().enumerate() {
        if !swaps.take(number, step).map_err(at(&step.path))? {
            return Ok(Some(step.path.clone()));
        }
    }
    sync_touched(real, plan, hook).map_err(at("."))?;
    let done = format!("{name}{DONE}");
    rustix::fs::renameat(real, name, real, &done).map_err(io::Error::from).map_err(at("."))?;
    Ok(None)
}

/// Takes the steps back, from the last to the first, makes that durable and removes the staging. Returns where that is kept
/// which could not be put back.
fn take_back(
    real: &Dir,
    staging: &Dir,
    plan: &Plan,
    name: &str,
    hook: &mut Hook<'_>,
) -> Result<Vec<String>, ApplyError> {
    let at = |path: &str| {
        let (staging, path) = (name.to_owned(), path.to_owned());
        move |source: io::Error| stopped(source, |source| ApplyError::Unfinished { staging, path, source })
    };
    let mut swaps = Swaps::new(real, staging, serial_of(name), hook);
    for (number, step) in plan.steps.iter().enumerate().rev() {
        swaps.take_back(number, step).map_err(at(&step.path))?;
    }
    sync_touched(real, plan, hook).map_err(at("."))?;
    // Without a plan it is a staging that came to nothing.
    rustix::fs::unlinkat(staging, UNDO, AtFlags::empty()).map_err(io::Error::from).map_err(at("."))?;
    sync(staging).and_then(|()| hook.after()).map_err(at("."))?;
    remove_staging(real, name, hook).map_err(at("."))?;
    kept(real, serial_of(name)).map_err(at("."))
}

/// The run whose staging has this name.
fn serial_of(name: &str) -> &str {
    name.strip_prefix(STAGING_PREFIX).unwrap_or(name)
}

/// Where things of a person's are kept that a run's apply came upon.
fn kept(real: &Dir, serial: &str) -> io::Result<Vec<String>> {
    let top = format!("{STAGING_PREFIX}{serial}{KEPT}");
    let dir = match node::open_dir(real, &top) {
        Ok(dir) => dir,
        Err(errno) if node::no_directory(errno) => return Ok(Vec::new()),
        Err(errno) => return Err(errno.into()),
    };
    let mut numbers = Vec::new();
    node::list::<Errno>(&dir, |name, _| {
        numbers.push(String::from_utf8_lossy(name).into_owned());
        Ok(())
    })?;
    numbers.sort_unstable();
    let mut found = Vec::new();
    for number in numbers {
        let below = node::open_dir(&dir, &number)?;
        node::list::<Errno>(&below, |name, _| {
            found.push(format!("{top}/{number}/{}", String::from_utf8_lossy(name)));
            Ok(())
        })?;
    }
    Ok(found)
}

/// Paths at and below the deliverables at which two trees differ, empty directories included.
fn differences(base: &Manifest, current: &Manifest, deliverables: &[String]) -> Vec<String> {
    let changes = Manifest::changes(base, current).into_iter();
    changes.map(|change| change.path).filter(|path| under(deliverables, path)).collect()
}

/// A handle that locks a directory against other applies and recoveries, in every process, until it is dropped. It can
/// also be listed and synced, which a handle from `open_ambient_dir` (`O_PATH`) cannot.
fn lock(real: &Dir) -> Result<Dir, ApplyError> {
    lock_as(real, FlockOperation::NonBlockingLockExclusive)
}

fn lock_as(real: &Dir, how: FlockOperation) -> Result<Dir, ApplyError> {
    // Opened anew: the lock belongs to the open file, which clones of `real` share.
    let held = node::open_dir(real, ".").map_err(|errno| ApplyError::Real(ScanError::io("", errno)))?;
    for _ in 0..LOCK_LOOKS {
        match rustix::fs::flock(&held, how) {
            Ok(()) => return Ok(held),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            Err(errno) => return Err(ApplyError::Real(ScanError::io("", errno))),
        }
    }
    Err(ApplyError::Busy)
}

/// The error for a failure, unless a test stopped us.
fn stopped(source: io::Error, error: impl FnOnce(io::Error) -> ApplyError) -> ApplyError {
    #[cfg(test)]
    if tests::is_killed(&source) {
        return ApplyError::Killed;
    }
    error(source)
}

/// Is told after every change that reaches the disk, in order.
struct Hook<'a> {
    watch: &'a Watch<'a>,
    made: u64,
    total: u64,
    #[cfg(test)]
    test: tests::AtHook,
}

impl<'a> Hook<'a> {
    fn watched(watch: &'a Watch<'a>) -> Self {
        Self {
            watch,
            made: 0,
            total: 0,
            #[cfg(test)]
            test: tests::AtHook::default(),
        }
    }

    fn after(&mut self) -> io::Result<()> {
        self.made += 1;
        (self.watch.progress)(self.made.min(self.total), self.total);
        #[cfg(test)]
        self.test.after()?;
        Ok(())
    }

    /// Whether the file system is to be taken for one without the flags of a rename.
    fn lacks_flags(&self) -> bool {
        #[cfg(test)]
        return self.test.lacks_flags;
        #[cfg(not(test))]
        false
    }
}

#[cfg(test)]
mod tests;
