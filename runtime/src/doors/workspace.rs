//! The private copy of a workspace in which a worker works.
//!
//! A worker never touches the directory of a person: it gets a copy, and only an accepted run's changes go back, through
//! `apply.rs`. A worker cannot change modes: what is at the path of a program of the base is a program, and what is at the
//! path of another file is none; a new file is a program if it was one under its old name. Never: follows a link, copies owners, times or mode bits other than "executable", gives a group or
//! others any access. What a tree is and how much of one is allowed is said in `tree.rs` and `walk.rs`.

use std::fs::File;
use std::io::{self, Read};

use cap_std::fs::Dir;
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;
use thiserror::Error;

use super::ignored::Ignored;
use super::node;
pub use super::node::{is_same, remove_tree};
use super::tree::{Entry, Manifest};
use super::walk::{Bounds, ScanError, Source, Stamp, Step, Walk};

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

/// Gives the files at these paths the executable bit that the base has there. A guest can neither see nor set it: an editor that
/// writes a new file and renames it over a program did not mean to take the bit. Returns how the files stand that were changed.
///
/// # Errors
/// The first file whose mode cannot be changed.
pub fn keep_modes<'p>(work: &Dir, base: &Manifest, paths: impl Iterator<Item = &'p str>) -> io::Result<Vec<Stamp>> {
    let mut changed = Vec::new();
    for path in paths {
        let Some(Entry::File { executable, .. }) = base.get(path) else { continue };
        let parts = node::components(path).ok_or(Errno::INVAL)?;
        // What is not there, or is something else by now, has no mode to keep.
        let Ok((parent, name)) = node::parent(work, &parts) else { continue };
        let Ok(file) = node::open_file(&parent, name) else { continue };
        let status = rustix::fs::fstat(&file)?;
        if node::file_type(&status) == FileType::RegularFile && node::executable(&status) != *executable {
            let mode = if *executable { PROGRAM_MODE } else { FILE_MODE };
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
            changed.push(Stamp::of(&rustix::fs::fstat(&file)?));
        }
    }
    Ok(changed)
}

/// Whether a directory that is open was removed.
pub fn is_gone(dir: &Dir) -> bool {
    rustix::fs::fstat(dir).is_ok_and(|status| status.st_nlink == 0)
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
