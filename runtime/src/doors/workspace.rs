//! The private copy of a workspace in which a worker works.
//!
//! A worker never touches the directory of a person: it gets a copy, and only an accepted run's changes go back, through
//! `apply.rs`. Never: follows a link, copies owners, times or mode bits other than "executable", gives a group or
//! others any access. What a tree is and how much of one is allowed is said in `tree.rs` and `walk.rs`.

use std::fs::File;
use std::io::{self, Read};

use cap_std::fs::Dir;
use rustix::io::Errno;
use thiserror::Error;

use super::ignored::Ignored;
use super::node;
pub use super::node::remove_tree;
use super::walk::{Bounds, ScanError, Source, Step, Walk};

/// The owner's alone: a person's unreadable file must not become readable by being copied.
const FILE_MODE: u32 = 0o600;
const PROGRAM_MODE: u32 = 0o700;
const DIRECTORY_MODE: u32 = 0o700;

/// What was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// Files, links and directories.
    pub files: u64,
    /// Contents of the files.
    pub bytes: u64,
}

/// Why a workspace was not copied. Paths are relative to it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CopyError {
    #[error(transparent)]
    Source(#[from] ScanError),
    #[error("copy {path:?} into the worker's tree")]
    Copy { path: String, source: io::Error },
}

/// Copies the tree at `source` into `target`, an empty directory: files with their executable bit, directories, and
/// links as links, wherever they lead. What `skip` covers, with all below, is left out, and every `.git` and an apply's
/// staging: a worker gets neither a person's history nor our own bookkeeping; outside of the deliverables, if `skip` knows
/// them, what no worker could see. Hard links become separate files.
///
/// # Errors
/// [`CopyError`] at the first thing that cannot be copied; `target` then holds a part, to be removed by the caller.
pub fn copy(source: &Dir, target: &Dir, bounds: &Bounds, skip: &Ignored) -> Result<Copied, CopyError> {
    let written = |path: &str, source: io::Error| CopyError::Copy { path: path.to_owned(), source };
    let failed = |path: &str, errno: Errno| written(path, errno.into());
    let mut walk = Walk::new(source, bounds, skip)?;
    let mut targets = vec![node::open_dir(target, ".").map_err(|errno| failed(".", errno))?];
    while let Some(step) = walk.step()? {
        let path = walk.path().to_owned();
        let Some(target) = targets.last() else { break };
        match step {
            Step::Enter => {
                node::create_dir(target, walk.name(), DIRECTORY_MODE).map_err(|errno| failed(&path, errno))?;
                let below = node::open_dir(target, walk.name()).map_err(|errno| failed(&path, errno))?;
                targets.push(below);
            }
            Step::Leave { .. } => {
                targets.pop();
            }
            Step::Link => match walk.target() {
                Ok(leads_to) => {
                    node::create_link(target, walk.name(), &leads_to).map_err(|errno| failed(&path, errno))?;
                }
                Err(error) => walk.leave_out(error)?,
            },
            Step::File => match walk.open() {
                Ok(from) => {
                    let mode = if from.executable { PROGRAM_MODE } else { FILE_MODE };
                    let file = node::create_file(target, walk.name(), mode).map_err(|errno| failed(&path, errno))?;
                    match copy_file(from, file, &path) {
                        Ok(()) => {}
                        Err(CopyError::Source(error)) => {
                            walk.leave_out(error)?;
                            node::remove_tree(target, walk.name()).map_err(|error| written(&path, error))?;
                        }
                        Err(error) => return Err(error),
                    }
                }
                Err(error) => walk.leave_out(error)?,
            },
        }
    }
    Ok(Copied { files: walk.files(), bytes: walk.bytes() })
}

/// By `copy_file_range` where the kernel can, which shares blocks on file systems that do.
fn copy_file(from: Source, mut to: File, path: &str) -> Result<(), CopyError> {
    // One byte more than it should have: a file that grows for ever must end, and be noticed.
    let copied = io::copy(&mut (&from.file).take(from.bytes.saturating_add(1)), &mut to)
        .map_err(|source| CopyError::Copy { path: path.to_owned(), source })?;
    Ok(from.finish(path, copied)?)
}

#[cfg(test)]
mod tests;
