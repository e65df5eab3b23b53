//! The staging of an apply: filled, committed by a plan, read back after a crash, removed.
//!
//! Never: touches what is outside of the staging. Invariant here: a plan is there only once everything that it names is durable.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use cap_std::fs::Dir;
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;

use super::swap::KEPT;
use super::{ApplyError, Hook, stopped};
use crate::doors::node;
use crate::doors::plan::{Obstacle, Plan, Step, may_change};
use crate::doors::tree::{Entry, FileHasher, has_content};
use crate::doors::walk::{STAGING_PREFIX, ScanError, Source};

/// The committed plan, in the staging.
pub(super) const PLAN: &str = "plan.json";
const PLAN_DRAFT: &str = "plan.draft";
/// The plan, once its steps are to be taken back.
pub(super) const UNDO: &str = "undo.json";
/// End of the staging's name once all steps are taken and durable.
pub(super) const DONE: &str = ".done";
/// Bytes of a plan. A step is two paths' worth of names and two digests; the default bounds of a tree stay below. Whoever
/// can write into the real directory could leave a larger one to fill the host's memory.
pub(super) const MAX_PLAN_BYTES: u64 = 256 << 20;
/// Files or directories that are made durable one by one; for more the whole file system is asked once. An fsync takes some
/// milliseconds, and the whole may have much to write that is not ours.
pub(super) const SYNCED_EACH: usize = 64;
/// Stages everything and commits the plan. On any error nothing is committed.
pub(super) fn commit(real: &Dir, from: &Dir, plan: &Plan, name: &str, hook: &mut Hook<'_>) -> Result<Dir, ApplyError> {
    let at = |path: &str| {
        let path = path.to_owned();
        move |source: io::Error| stopped(source, |source| ApplyError::Stage { path, source })
    };
    may_change(real).map_err(|_| ApplyError::ReadOnly { path: ".".to_owned() })?;
    node::create_dir(real, name, 0o700).map_err(io::Error::from).map_err(at(name))?;
    hook.after().map_err(at(name))?;
    let staging = node::open_dir(real, name).map_err(io::Error::from).map_err(at(name))?;
    let mut hasher = FileHasher::new();
    let placed = plan.steps.iter().filter(|step| step.now.as_ref().is_some_and(has_content)).count();
    let durable = if placed <= SYNCED_EACH { Durable::Each } else { Durable::Together };
    for (number, Step { path, was, now }) in plan.steps.iter().enumerate() {
        let Some(now) = now else { continue };
        let mode = match was {
            Some(Entry::File { .. }) => Some(mode_of(real, path).map_err(at(path))?),
            Some(Entry::Link { .. } | Entry::EmptyDirectory {}) | None => None,
        };
        stage(from, path, now, mode, (&staging, &number.to_string()), durable, &mut hasher)?;
        hook.after().map_err(at(path))?;
    }
    // What somebody did since the scan is found here if it can be: then nothing has to be taken back.
    match plan.obstacle(real) {
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
    if durable == Durable::Together {
        rustix::fs::syncfs(&staging).map_err(io::Error::from).map_err(at(PLAN))?;
    }
    sync(&staging).and_then(|()| sync(real)).and_then(|()| hook.after()).map_err(at(PLAN))?;
    if !(hook.watch.is_there)() {
        return Err(ApplyError::Elsewhere);
    }
    rustix::fs::renameat(&staging, PLAN_DRAFT, &staging, PLAN).map_err(io::Error::from).map_err(at(PLAN))?;
    Ok(staging)
}

/// How staged contents become durable: before the plan is committed in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Durable {
    Each,
    Together,
}

/// Puts the new contents of one path into the staging, and checks that they are what was scanned.
fn stage(
    from: &Dir,
    path: &str,
    now: &Entry,
    mode: Option<u32>,
    (staging, name): (&Dir, &str),
    durable: Durable,
    hasher: &mut FileHasher,
) -> Result<(), ApplyError> {
    let other = || ApplyError::WorkerTree { path: path.to_owned() };
    let failed = |source: io::Error| ApplyError::Stage { path: path.to_owned(), source };
    if *now == (Entry::EmptyDirectory {}) {
        return node::create_dir(staging, name, 0o777).map_err(|errno| failed(errno.into()));
    }
    let parts = node::components(path).ok_or_else(other)?;
    let (parent, last) = node::parent(from, &parts).map_err(|(_, errno)| match node::no_directory(errno) {
        true => other(),
        false => failed(errno.into()),
    })?;
    match now {
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
            match durable {
                Durable::Each => file.sync_all().map_err(failed),
                Durable::Together => Ok(()),
            }
        }
    }
}

/// Makes the names durable that the steps of a plan changed.
pub(super) fn sync_touched(real: &Dir, plan: &Plan, hook: &mut Hook<'_>) -> io::Result<()> {
    let above = plan.steps.iter().map(|step| step.path.rsplit_once('/').map_or("", |(above, _)| above));
    let own = plan.steps.iter().filter(|step| step.is_of_directory()).map(|step| step.path.as_str());
    let touched: BTreeSet<&str> = above.chain(own).collect();
    if touched.len() > SYNCED_EACH {
        rustix::fs::syncfs(real)?;
        return hook.after();
    }
    for path in touched.iter().rev() {
        sync_path(real, path).and_then(|()| hook.after())?;
    }
    Ok(())
}

/// A plan in a staging, if it is there.
pub(super) fn read_plan(staging: &Dir, name: &str, file: &str) -> Result<Option<Plan>, ApplyError> {
    let bad = |reason: String| ApplyError::BadPlan { staging: name.to_owned(), reason };
    let failed = |source: io::Error| ApplyError::Recover { staging: name.to_owned(), path: file.to_owned(), source };
    match node::status(staging, file) {
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(failed(errno.into())),
        Ok(status) if node::file_type(&status) != FileType::RegularFile => {
            return Err(bad("it is no regular file".to_owned()));
        }
        Ok(_) => {}
    }
    let mut json = Vec::new();
    let file = node::open_file(staging, file).map_err(|errno| failed(errno.into()))?;
    file.take(MAX_PLAN_BYTES + 1).read_to_end(&mut json).map_err(failed)?;
    if json.len() as u64 > MAX_PLAN_BYTES {
        return Err(bad(format!("it has more than {MAX_PLAN_BYTES} bytes")));
    }
    Plan::parse(&json).map(Some).map_err(bad)
}

/// Names of the staging directories in `real`, sorted. A file or link of such a name is not ours, and what is kept is no
/// staging.
pub(super) fn stagings(real: &Dir) -> Result<Vec<String>, ApplyError> {
    let mut found = Vec::new();
    node::list::<Errno>(real, |name, kind| {
        match std::str::from_utf8(name) {
            Ok(name) if !name.starts_with(STAGING_PREFIX) || name.ends_with(KEPT) => {}
            Ok(name) if kind == FileType::Directory => found.push(name.to_owned()),
            Ok(_) | Err(_) => {}
        }
        Ok(())
    })
    .map_err(|errno| ApplyError::Real(ScanError::io("", errno)))?;
    found.sort_unstable();
    Ok(found)
}

/// Permission bits of a file of the real directory.
fn mode_of(real: &Dir, path: &str) -> io::Result<u32> {
    let parts = node::components(path).ok_or(Errno::INVAL)?;
    let (parent, name) = node::parent(real, &parts).map_err(|(_, errno)| errno)?;
    Ok(node::status(&parent, name)?.st_mode & 0o777)
}

pub(super) fn sync(dir: &Dir) -> io::Result<()> {
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

pub(super) fn remove_staging(real: &Dir, name: &str, hook: &mut Hook<'_>) -> io::Result<()> {
    node::remove_tree(real, name)?;
    hook.after()?;
    sync(real)
}
