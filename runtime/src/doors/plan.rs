//! The plan of an apply: what is to be done to a real directory, step by step, so that it can be done again.
//!
//! Pure but for [`Plan::obstacle`], which looks at the directory and changes nothing. A plan is read back after a crash
//! from a directory that anybody may have prepared (a cloned repository can contain a file of that name), so it is
//! untrusted: its paths cannot leave the directory and cannot name a `.git`, and a step is taken only if what it finds
//! is what the plan says was or will be there. Invariant: the steps, taken in order from the start any number of times,
//! with a crash after any of them, end in the same tree.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use cap_std::fs::Dir;
use rustix::fs::{Access, AtFlags, FileType, StatxFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::node;
use super::tree::{Entry, FileHasher, Manifest, ancestors, has_content, under};
use super::walk::{ScanError, Source, is_reserved};

/// The format that this version writes, and the only one that it reads.
const FORMAT: u32 = 1;

/// One idempotent change of the real directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Step {
    /// Removes a file or link.
    Unlink { path: String, was: Entry },
    /// Removes a directory that the steps before emptied.
    RemoveDirectory { path: String },
    /// Makes a directory.
    MakeDirectory { path: String },
    /// Renames the staged file or link of this number to the path, over the one that was there.
    Place { path: String, staged: u64, was: Option<Entry>, now: Entry },
}

impl Step {
    pub(super) fn is_of_directory(&self) -> bool {
        match self {
            Step::Unlink { .. } | Step::Place { .. } => false,
            Step::RemoveDirectory { .. } | Step::MakeDirectory { .. } => true,
        }
    }

    pub(super) fn path(&self) -> &str {
        match self {
            Step::Unlink { path, .. }
            | Step::RemoveDirectory { path }
            | Step::MakeDirectory { path }
            | Step::Place { path, .. } => path,
        }
    }
}

/// All steps of one apply, in order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plan {
    format: u32,
    pub(super) steps: Vec<Step>,
}

/// Why changes cannot be planned.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unplannable {
    /// This path is a file or link where a directory is needed, or a directory with ignored contents in the way of a
    /// file, and is not among what may change.
    Blocked(String),
    /// This path must not be changed.
    Reserved(String),
}

/// What stands in the way of taking the steps of a plan.
#[derive(Debug)]
pub(super) enum Obstacle {
    /// These paths are neither as they were before the plan nor as they are after it.
    Moved(Vec<String>),
    /// We may not change entries of this directory.
    ReadOnly(String),
    /// This directory is on another mount, to which nothing can be renamed.
    OtherMount(String),
    Io(String, io::Error),
}

impl Plan {
    /// The steps from the tree `current` to the one in which everything under the deliverables is as in `end`, and all
    /// else as it is. `holders` are existing directories that hold something which is in neither manifest.
    pub(super) fn new<P: AsRef<str>>(
        current: &Manifest,
        end: &Manifest,
        deliverables: &[P],
        holders: &[String],
    ) -> Result<Self, Unplannable> {
        let within = |path: &str| under(deliverables, path);
        let delivered: BTreeMap<&str, &Entry> =
            end.iter().filter(|(path, entry)| within(path) && has_content(entry)).collect();
        let kept = current.iter().filter(|(path, entry)| !within(path) && has_content(entry));
        let want: BTreeMap<&str, &Entry> = kept.chain(delivered.clone()).collect();

        let before = current.directories();
        let held: BTreeSet<&str> = holders.iter().flat_map(|path| ancestors(path).chain([path.as_str()])).collect();
        let mut after: BTreeSet<String> = want.keys().flat_map(|path| ancestors(path)).map(str::to_owned).collect();
        after.extend(before.iter().filter(|path| !within(path) || held.contains(path.as_str())).cloned());
        for path in end.directories().into_iter().filter(|path| within(path)) {
            after.extend(ancestors(&path).map(str::to_owned));
            after.insert(path);
        }
        if let Some(path) = after.iter().find(|path| want.contains_key(path.as_str())) {
            return Err(Unplannable::Blocked(path.clone()));
        }

        let mut steps = Vec::new();
        for (path, was) in current.iter().filter(|(path, was)| has_content(was) && !want.contains_key(path)) {
            steps.push(Step::Unlink { path: path.to_owned(), was: was.clone() });
        }
        // A path sorts after those of the directories above it.
        let gone = before.iter().rev().filter(|path| !after.contains(*path));
        steps.extend(gone.map(|path| Step::RemoveDirectory { path: path.clone() }));
        steps.extend(after.difference(&before).map(|path| Step::MakeDirectory { path: path.clone() }));
        for (path, now) in delivered {
            let was = current.get(path).filter(|was| has_content(was));
            if was != Some(now) {
                let staged = steps.len() as u64;
                steps.push(Step::Place { path: path.to_owned(), staged, was: was.cloned(), now: now.clone() });
            }
        }
        if let Some(step) = steps.iter().find(|step| !allowed(step.path())) {
            return Err(Unplannable::Reserved(step.path().to_owned()));
        }
        Ok(Self { format: FORMAT, steps })
    }

    /// Reads a plan that was found; `Err` says what is wrong with it.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let plan: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if plan.format != FORMAT {
            return Err(format!("its format is {}, this version knows {FORMAT}", plan.format));
        }
        match plan.steps.iter().find(|step| node::components(step.path()).is_none() || !allowed(step.path())) {
            Some(step) => Err(format!("it would change {:?}", step.path())),
            None => Ok(plan),
        }
    }

    /// What stands in the way of taking the steps in `real`, whether none or some were taken before.
    pub(super) fn obstacle(&self, real: &Dir, staging: &Dir) -> Option<Obstacle> {
        self.look(real, staging).err()
    }

    fn look(&self, real: &Dir, staging: &Dir) -> Result<(), Obstacle> {
        let mut hasher = FileHasher::new();
        let mut states: BTreeMap<&str, Expected<'_>> = BTreeMap::new();
        for step in &self.steps {
            let expected = states.entry(step.path()).or_default();
            match step {
                Step::Unlink { was, .. } => expected.entries.extend([None, Some(was)]),
                Step::RemoveDirectory { .. } | Step::MakeDirectory { .. } => {
                    expected.directory = true;
                    expected.entries.push(None);
                }
                Step::Place { path, staged, was, now } => {
                    let complete = Expected { entries: vec![None, Some(now)], ..Expected::default() };
                    if !complete.met(staging, &staged.to_string(), path, &mut hasher)? {
                        let error = io::Error::new(io::ErrorKind::InvalidData, "its staged contents are damaged");
                        return Err(Obstacle::Io(path.clone(), error));
                    }
                    expected.entries.extend([was.as_ref(), Some(now)]);
                    // It left the staging, so it was placed; what happened to the path since is not our business.
                    expected.anything |= node::status(staging, &staged.to_string()).is_err();
                }
            }
        }
        let mount = Mount::of(real).map_err(|errno| Obstacle::Io(".".to_owned(), errno.into()))?;
        let mut writable = BTreeSet::new();
        let mut moved = Vec::new();
        for (path, expected) in &states {
            let parts = node::components(path).ok_or_else(|| Obstacle::Moved(vec![(*path).to_owned()]))?;
            let failed = |errno: Errno| Obstacle::Io((*path).to_owned(), errno.into());
            let (parent, name) = match node::parent(real, &parts) {
                Ok(found) => found,
                Err((index, errno)) if node::no_directory(errno) => {
                    // A step makes that directory, or made it something else; otherwise somebody else did.
                    let absent = parts[..=index].join("/");
                    if !states.contains_key(absent.as_str()) {
                        moved.push(absent);
                    }
                    continue;
                }
                Err((_, errno)) => return Err(failed(errno)),
            };
            let above = parts[..parts.len() - 1].join("/");
            if !writable.contains(&above) {
                let shown = || if above.is_empty() { ".".to_owned() } else { above.clone() };
                rustix::fs::accessat(&parent, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
                    .map_err(|_| Obstacle::ReadOnly(shown()))?;
                if Mount::of(&parent).map_err(failed)? != mount {
                    return Err(Obstacle::OtherMount(shown()));
                }
                writable.insert(above);
            }
            if !expected.met(&parent, name, path, &mut hasher)? {
                moved.push((*path).to_owned());
            }
        }
        for step in &self.steps {
            if let Step::RemoveDirectory { path } = step {
                moved.extend(strangers(real, path, &states)?);
            }
        }
        if moved.is_empty() { Ok(()) } else { Err(Obstacle::Moved(moved)) }
    }
}

/// Whether a plan may name this path. A `.git` at any depth runs commands for whoever enters it with git, which is why
/// git itself refuses to check one out, in any case of letters.
fn allowed(path: &str) -> bool {
    !is_reserved(path)
}

/// What may be found at a path while the steps are taken. `None` among the entries is nothing at all.
#[derive(Default)]
struct Expected<'a> {
    entries: Vec<Option<&'a Entry>>,
    directory: bool,
    anything: bool,
}

impl Expected<'_> {
    fn met(&self, parent: &Dir, name: &str, path: &str, hasher: &mut FileHasher) -> Result<bool, Obstacle> {
        let failed = |errno: Errno| Obstacle::Io(path.to_owned(), errno.into());
        if self.anything {
            return Ok(true);
        }
        let status = match node::status(parent, name) {
            Ok(status) => status,
            Err(Errno::NOENT) => return Ok(self.entries.contains(&None)),
            Err(errno) => return Err(failed(errno)),
        };
        match node::file_type(&status) {
            FileType::Directory => Ok(self.directory),
            FileType::Symlink => {
                let found = node::read_link(parent, name).map_err(failed)?;
                Ok(self.entries.iter().flatten().any(|entry| match entry {
                    Entry::Link { target } => target.as_bytes() == found,
                    Entry::File { .. } | Entry::EmptyDirectory {} => false,
                }))
            }
            FileType::RegularFile => self.met_by_file(parent, name, path, hasher),
            _ => Ok(false),
        }
    }

    fn met_by_file(&self, parent: &Dir, name: &str, path: &str, hasher: &mut FileHasher) -> Result<bool, Obstacle> {
        let unreadable = |error: ScanError| match error {
            ScanError::Io { source, .. } => Obstacle::Io(path.to_owned(), source),
            _ => Obstacle::Moved(vec![path.to_owned()]),
        };
        let mut source = Source::open(parent, name, path).map_err(unreadable)?;
        let alike = |entry: &&Entry| match entry {
            Entry::File { bytes, executable, .. } => *bytes == source.bytes && *executable == source.executable,
            Entry::Link { .. } | Entry::EmptyDirectory {} => false,
        };
        // Not hashed unless it can matter: it may be a huge file of somebody else by now.
        if !self.entries.iter().flatten().any(alike) {
            return Ok(false);
        }
        let (digest, bytes) = hasher
            .read(&mut source.file, source.bytes, &mut io::sink())
            .map_err(|error| Obstacle::Io(path.to_owned(), error))?;
        let found = Entry::File { digest, bytes, executable: source.executable };
        source.finish(path, bytes).map_err(unreadable)?;
        Ok(self.entries.contains(&Some(&found)))
    }
}

/// The entries of a directory to be removed that no step mentions.
fn strangers(real: &Dir, path: &str, states: &BTreeMap<&str, Expected<'_>>) -> Result<Vec<String>, Obstacle> {
    let failed = |errno: Errno| Obstacle::Io(path.to_owned(), errno.into());
    let parts = node::components(path).unwrap_or_default();
    let opened = node::parent(real, &parts).map_err(|(_, errno)| errno);
    let dir = match opened.and_then(|(parent, name)| node::open_dir(&parent, name)) {
        Ok(dir) => dir,
        Err(errno) if node::no_directory(errno) => return Ok(Vec::new()),
        Err(errno) => return Err(failed(errno)),
    };
    let mut found = Vec::new();
    node::list::<Errno>(&dir, |name, _| {
        let below = format!("{path}/{}", String::from_utf8_lossy(name));
        if !states.contains_key(below.as_str()) {
            found.push(below);
        }
        Ok(())
    })
    .map_err(failed)?;
    Ok(found)
}

/// Identity of a mount: renames work only within one.
#[derive(PartialEq, Eq)]
struct Mount {
    device: (u32, u32),
    /// Tells bind mounts of one file system apart; 0 on kernels before 5.8.
    id: u64,
}

impl Mount {
    fn of(dir: &Dir) -> Result<Self, Errno> {
        let status = rustix::fs::statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
        Ok(Self { device: (status.stx_dev_major, status.stx_dev_minor), id: status.stx_mnt_id })
    }
}
