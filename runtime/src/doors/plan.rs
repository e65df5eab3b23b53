//! The plan of an apply: what is to be done to a real directory, step by step, so that it can be done again or taken back.
//!
//! Pure but for [`Plan::obstacle`], which looks at the directory and changes nothing. A plan is read back after a crash
//! from a directory that anybody may have prepared (a cloned repository can contain a file of that name), so it is
//! untrusted: its paths cannot leave the directory and cannot name a `.git`, and a step stands only if what came out of its
//! path is what the plan says was there. Invariant: the steps, taken in order from the start any number of times, with a
//! crash after any of them, end in the same tree; and so do they, taken back from the end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use cap_std::fs::Dir;
use rustix::fs::{Access, AtFlags, StatxFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::node;
use super::node::place;
use super::tree::{Entry, FileHasher, Manifest, ancestors, has_content, holds, under};
use super::walk::is_reserved;

/// The format that this version writes, and the only one that it reads.
const FORMAT: u32 = 2;

/// One change of the real directory: what is at a path and what lies in the slot of the step change places. The slot is called
/// as the number of the step is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) path: String,
    /// What is at the path before. A directory has been emptied by the steps before.
    pub(super) was: Option<Entry>,
    /// What is at the path after.
    pub(super) now: Option<Entry>,
}

impl Step {
    pub(super) fn is_of_directory(&self) -> bool {
        [&self.was, &self.now].into_iter().flatten().any(|entry| !has_content(entry))
    }

    /// Whether something changes, and a directory changes places with nothing else.
    fn is_sound(&self) -> bool {
        match (&self.was, &self.now) {
            (None, None) => false,
            (Some(_), None) | (None, Some(_)) => true,
            (Some(was), Some(now)) => has_content(was) && has_content(now),
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
    /// These paths are not as they were when the plan was made.
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

        let directory = || Some(Entry::EmptyDirectory {});
        let gone = current.iter().filter(|(path, was)| has_content(was) && !want.contains_key(path));
        let gone = gone.map(|(path, was)| Step { path: path.to_owned(), was: Some(was.clone()), now: None });
        let mut steps: Vec<Step> = gone.collect();
        // A path sorts after those of the directories above it.
        let emptied = before.iter().rev().filter(|path| !after.contains(*path));
        steps.extend(emptied.map(|path| Step { path: path.clone(), was: directory(), now: None }));
        steps.extend(after.difference(&before).map(|path| Step { path: path.clone(), was: None, now: directory() }));
        for (path, now) in delivered {
            let was = current.get(path).filter(|was| has_content(was));
            if was != Some(now) {
                steps.push(Step { path: path.to_owned(), was: was.cloned(), now: Some(now.clone()) });
            }
        }
        if let Some(step) = steps.iter().find(|step| !allowed(&step.path)) {
            return Err(Unplannable::Reserved(step.path.clone()));
        }
        Ok(Self { format: FORMAT, steps })
    }

    /// Reads a plan that was found; `Err` says what is wrong with it.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let plan: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if plan.format != FORMAT {
            return Err(format!("its format is {}, this version knows {FORMAT}", plan.format));
        }
        match plan
            .steps
            .iter()
            .find(|step| node::components(&step.path).is_none() || !allowed(&step.path) || !step.is_sound())
        {
            Some(step) => Err(format!("it would change {:?}", step.path)),
            None => Ok(plan),
        }
    }

    /// What stands in the way of taking the steps in `real`, of which none was taken.
    pub(super) fn obstacle(&self, real: &Dir) -> Option<Obstacle> {
        self.look(real).err()
    }

    fn look(&self, real: &Dir) -> Result<(), Obstacle> {
        let mount = Mount::of(real).map_err(|errno| Obstacle::Io(".".to_owned(), errno.into()))?;
        let mut hasher = FileHasher::new();
        let made = self.steps.iter().filter(|step| step.now == Some(Entry::EmptyDirectory {}));
        let made: BTreeSet<&str> = made.map(|step| step.path.as_str()).collect();
        let (mut seen, mut writable, mut moved) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for Step { path, was, .. } in &self.steps {
            // A later step at the same path finds what the earlier one leaves.
            if !seen.insert(path.as_str()) {
                continue;
            }
            let failed = |error: io::Error| Obstacle::Io(path.clone(), error);
            let Some((parent, name)) = place(real, path).map_err(failed)? else {
                if was.is_some() || !ancestors(path).any(|above| made.contains(above)) {
                    moved.push(path.clone());
                }
                continue;
            };
            let above = path.rsplit_once('/').map_or("", |(above, _)| above);
            if writable.insert(above) {
                let shown = || if above.is_empty() { ".".to_owned() } else { above.to_owned() };
                may_change(&parent).map_err(|_| Obstacle::ReadOnly(shown()))?;
                if Mount::of(&parent).map_err(|errno| failed(errno.into()))? != mount {
                    return Err(Obstacle::OtherMount(shown()));
                }
            }
            let as_planned = match was {
                Some(Entry::EmptyDirectory {}) => match node::open_dir(&parent, name) {
                    Ok(dir) => {
                        // Who moves a directory changes what it says of where it is.
                        may_change(&dir).map_err(|_| Obstacle::ReadOnly(path.clone()))?;
                        true
                    }
                    Err(errno) if node::no_directory(errno) => false,
                    Err(errno) => return Err(failed(errno.into())),
                },
                was => holds(&parent, name, was.as_ref(), &mut hasher).map_err(failed)?,
            };
            if !as_planned {
                moved.push(path.clone());
            }
        }
        if moved.is_empty() { Ok(()) } else { Err(Obstacle::Moved(moved)) }
    }
}

/// Whether this user may change entries of a directory; also of a file system that is mounted read-only.
pub(super) fn may_change(dir: &Dir) -> Result<(), Errno> {
    rustix::fs::accessat(dir, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
}

/// Whether a plan may name this path. A `.git` at any depth runs commands for whoever enters it with git, which is why
/// git itself refuses to check one out, in any case of letters.
fn allowed(path: &str) -> bool {
    !is_reserved(path)
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
