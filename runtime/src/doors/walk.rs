//! A walk through a tree that somebody hostile may have made.
//!
//! Depth first, names sorted by bytes, no recursion, at most one descriptor per level of depth, every amount bounded by
//! [`Bounds`]. What no worker could see (a fifo, a name that is not UTF-8, a file that is unreadable or changes while it is
//! read) is an error among the deliverables, and left out elsewhere: it is none of a run's business. Never: follows a link, opens
//! a fifo, socket or device, or trusts that a file stays what it was. Invariant: whatever is reported was reached from the
//! given handle by real directories only.

use std::fs::File;
use std::io;
use std::vec::IntoIter;

use cap_std::fs::Dir;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::ignored::Ignored;
use super::node;

/// Staging directories of an apply begin with this, at the top of the real directory.
pub(super) const STAGING_PREFIX: &str = ".jidoka-apply-";

/// How large a tree may be. The guest decides what is in its tree, so each of these is a bound on what one guest can
/// make the host spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bounds {
    /// Files, links and directories together, each of which costs an inode, host memory and time. Default 100,000:
    /// larger than most repositories without their build output, and seconds to scan.
    pub max_files: u64,
    /// Sum of the files' lengths, holes included. Default 2 GiB: about a second of hashing, and a disk that many runs
    /// share.
    pub max_bytes: u64,
    /// Components of a path. Default 128: a walk keeps one descriptor per level (a copy two), which must stay well
    /// below the usual limit of 1,024 per process.
    pub max_depth: u32,
    /// Bytes of one name. Default 255, which is `NAME_MAX` of Linux file systems.
    pub max_name_bytes: usize,
    /// Bytes of one path or link target. Default 4,096, which is `PATH_MAX`: no tool could open a longer one.
    pub max_path_bytes: usize,
    /// Sum of all paths and link targets, in bytes. Default 32 MiB: without it, 100,000 paths of 4 KiB each would hold
    /// 400 MB of the host's memory.
    pub max_listing_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_files: 100_000,
            max_bytes: 2 << 30,
            max_depth: 128,
            max_name_bytes: 255,
            max_path_bytes: 4096,
            max_listing_bytes: 32 << 20,
        }
    }
}

/// Why a tree cannot be read. Paths are relative to its top.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ScanError {
    #[error("read the tree: it has more than {max} files, links and directories, the most allowed (`max_files`)")]
    TooManyFiles { max: u64 },
    #[error("read {path:?}: with it the files have more than {max} bytes, the most allowed (`max_bytes`)")]
    TooManyBytes { path: String, max: u64 },
    #[error("read {path:?}: it is more than {max} levels deep, the most allowed (`max_depth`)")]
    TooDeep { path: String, max: u32 },
    #[error("read {path:?}: its name has more than {max} bytes, the most allowed (`max_name_bytes`)")]
    NameTooLong { path: String, max: usize },
    #[error("read {path:?}: its path or target has more than {max} bytes, the most allowed (`max_path_bytes`)")]
    PathTooLong { path: String, max: usize },
    #[error("read the tree: all paths have more than {max} bytes, the most allowed (`max_listing_bytes`)")]
    ListingTooLong { max: u64 },
    #[error("read {path:?}: its name or target is not UTF-8, which a worker could not see")]
    NotUtf8 { path: String },
    #[error("read {path:?}: it is a {kind}; only files, directories and links can be in a workspace")]
    Special { path: String, kind: &'static str },
    #[error("read the ignore rules of {path:?}: {why}")]
    Rules { path: String, why: String },
    #[error("read {path:?}: it changed while it was read; run again when nothing writes there")]
    Changed { path: String },
    #[error("read {path:?}: its permissions do not let this user")]
    Denied { path: String },
    #[error("read the tree: it is the host's own directory; name another workspace, or another --state")]
    Own,
    #[error("read {path:?}")]
    Io { path: String, source: io::Error },
}

impl ScanError {
    pub(super) fn io(path: &str, errno: Errno) -> Self {
        let path = if path.is_empty() { "." } else { path }.to_owned();
        match errno {
            // It was there, as something else, when the directory was listed.
            Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::STALE => Self::Changed { path },
            Errno::ACCESS | Errno::PERM => Self::Denied { path },
            errno => Self::Io { path, source: errno.into() },
        }
    }
}

/// Whether `path` is one of `paths` or below one of them, by whole components. `"."` covers everything.
pub fn under<P: AsRef<str>>(paths: &[P], path: &str) -> bool {
    paths.iter().map(AsRef::as_ref).any(|above| {
        above == "." || path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// The paths of the directories above a path, without the top, shortest first.
pub(super) fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end])
}

/// Whether a name in a directory, which is empty for the top, is never copied, scanned or applied.
///
/// `.git` is a person's history, of the workspace or of a repository inside of it, and can run commands (hooks, filters) on that
/// person's next `git status`: a worker must neither read credentials from it nor leave anything in it. Staging directories,
/// at the top, are ours, and their plan is obeyed after a crash: a worker must not be able to write one.
pub(super) fn reserved(above: &str, name: &str) -> bool {
    name.eq_ignore_ascii_case(".git") || above.is_empty() && name.starts_with(STAGING_PREFIX)
}

/// As [`reserved`], of any part of a path.
pub(super) fn is_reserved(path: &str) -> bool {
    path.split('/').any(|name| reserved("x", name)) || path.starts_with(STAGING_PREFIX)
}

/// What a step of the walk arrived at. Where, is asked of the [`Walk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A directory. Its contents follow, then its `Leave`.
    Enter,
    /// The end of a directory; `empty` if nothing was reported between.
    Leave {
        empty: bool,
    },
    File,
    Link,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Directory,
    File,
    Link,
}

struct Level {
    dir: Dir,
    rest: IntoIter<(String, Kind)>,
    stamp: Stamp,
    path_bytes: usize,
    empty: bool,
}

/// A walk in progress. After an error it must not be continued, unless [`Walk::leave_out`] takes it.
pub(super) struct Walk<'a> {
    bounds: &'a Bounds,
    skip: &'a Ignored,
    /// Whether nothing outside of the deliverables is reported.
    delivered_only: bool,
    levels: Vec<Level>,
    path: String,
    files: u64,
    bytes: u64,
    listing_bytes: u64,
    holders: Vec<String>,
}

impl<'a> Walk<'a> {
    /// Begins at `top`, which is not reported itself. What `skip` covers is not reported, nor is what is below it.
    pub(super) fn new(top: &Dir, bounds: &'a Bounds, skip: &'a Ignored) -> Result<Self, ScanError> {
        Self::begin(top, bounds, skip, false)
    }

    /// As [`Walk::new`]; what is neither among the deliverables nor above one is not reported either.
    pub(super) fn of_deliverables(top: &Dir, bounds: &'a Bounds, skip: &'a Ignored) -> Result<Self, ScanError> {
        Self::begin(top, bounds, skip, true)
    }

    fn begin(top: &Dir, bounds: &'a Bounds, skip: &'a Ignored, delivered_only: bool) -> Result<Self, ScanError> {
        let mut walk = Self {
            bounds,
            skip,
            delivered_only,
            levels: Vec::new(),
            path: String::new(),
            files: 0,
            bytes: 0,
            listing_bytes: 0,
            holders: Vec::new(),
        };
        match walk.enter(node::open_dir(top, ".").map_err(|errno| ScanError::io("", errno))?)? {
            true => Ok(walk),
            false => Err(ScanError::Own),
        }
    }

    /// Goes one step on; `None` at the end.
    pub(super) fn step(&mut self) -> Result<Option<Step>, ScanError> {
        loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            self.path.truncate(level.path_bytes);
            let Some((name, kind)) = level.rest.next() else { return self.leave() };
            if !self.path.is_empty() {
                self.path.push('/');
            }
            self.path.push_str(&name);
            match kind {
                Kind::File => return Ok(Some(Step::File)),
                Kind::Link => return Ok(Some(Step::Link)),
                Kind::Directory => {
                    let opened = node::open_dir(&level.dir, &name).map_err(|errno| ScanError::io(&self.path, errno));
                    match opened.and_then(|opened| self.enter(opened)) {
                        Ok(true) => return Ok(Some(Step::Enter)),
                        Ok(false) => self.hold(),
                        Err(error) => self.leave_out(error)?,
                    }
                }
            }
        }
    }

    /// Goes on past what could not be read, if it is none of the run's business.
    ///
    /// # Errors
    /// The error, if it is.
    pub(super) fn leave_out(&mut self, error: ScanError) -> Result<(), ScanError> {
        match error {
            ScanError::Changed { .. }
            | ScanError::Denied { .. }
            | ScanError::NotUtf8 { .. }
            | ScanError::Special { .. }
                if self.skip.is_outside(&self.path) =>
            {
                self.hold();
                Ok(())
            }
            error => Err(error),
        }
    }

    /// Notes that something in the directory of the current step is left out.
    fn hold(&mut self) {
        let above = self.path.rsplit_once('/').map_or("", |(above, _)| above);
        if !above.is_empty() && self.holders.last().is_none_or(|last| last != above) {
            self.holders.push(above.to_owned());
        }
    }

    /// Path of the current step, relative to the top.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Last component of the path.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Files, links and directories so far.
    pub(super) fn files(&self) -> u64 {
        self.files
    }

    /// Sum of the lengths of the files that were opened so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The inode of the directory of the latest [`Step::Enter`], or of the top before the first step.
    pub(super) fn inode(&self) -> u64 {
        self.levels.last().map_or(0, |level| level.stamp.inode)
    }

    /// The directories, without the top, in which something was left out. Not what was left out: of that there may be more than
    /// any bound.
    pub(super) fn into_holders(self) -> Vec<String> {
        self.holders
    }

    /// Opens the file of the current step.
    pub(super) fn open(&mut self) -> Result<Source, ScanError> {
        let source = Source::open(self.dir()?, self.name(), &self.path)?;
        self.bytes = self.bytes.saturating_add(source.bytes);
        if self.bytes > self.bounds.max_bytes {
            return Err(ScanError::TooManyBytes { path: self.path.clone(), max: self.bounds.max_bytes });
        }
        Ok(source)
    }

    /// Reads the target of the link of the current step.
    pub(super) fn target(&mut self) -> Result<String, ScanError> {
        let bytes = node::read_link(self.dir()?, self.name()).map_err(|errno| match errno {
            // No longer a link.
            Errno::INVAL => ScanError::Changed { path: self.path.clone() },
            errno => ScanError::io(&self.path, errno),
        })?;
        let target = String::from_utf8(bytes).map_err(|_| ScanError::NotUtf8 { path: self.path.clone() })?;
        self.charge_listing(target.len(), &self.path.clone())?;
        Ok(target)
    }

    fn dir(&self) -> Result<&Dir, ScanError> {
        self.levels.last().map(|level| &level.dir).ok_or_else(|| ScanError::Changed { path: self.path.clone() })
    }

    /// Whether a directory was entered: the host's own is not.
    fn enter(&mut self, dir: Dir) -> Result<bool, ScanError> {
        let status = rustix::fs::fstat(&dir).map_err(|errno| ScanError::io(&self.path, errno))?;
        if self.skip.is_own(&status) {
            return Ok(false);
        }
        let mut found = Vec::new();
        let mut empty = true;
        let above = self.path.clone();
        let listed = node::list::<Stopped>(&dir, |name, kind| {
            if let Some(kind) = self.admit(&above, name, kind)? {
                empty = false;
                found.push(kind);
            }
            Ok(())
        });
        self.path.clone_from(&above);
        listed.map_err(|stopped| match stopped {
            Stopped::Refused(error) => error,
            Stopped::Failed(errno) => ScanError::io(&above, errno),
        })?;
        found.sort_unstable();
        let stamp = Stamp::of(&status);
        self.levels.push(Level { dir, rest: found.into_iter(), stamp, path_bytes: above.len(), empty });
        Ok(true)
    }

    /// Judges one listed name, before memory is spent on it.
    fn admit(&mut self, above: &str, name: &[u8], kind: FileType) -> Result<Option<(String, Kind)>, ScanError> {
        let shown = String::from_utf8_lossy(name);
        let path = if above.is_empty() { shown.clone().into_owned() } else { format!("{above}/{shown}") };
        if self.delivered_only && self.skip.is_outside(&path) {
            return Ok(None);
        }
        self.path.clone_from(&path);
        if reserved(above, &shown) || self.skip.covers_here(&path, kind == FileType::Directory) {
            self.hold();
            return Ok(None);
        }
        let special = |kind| Err(ScanError::Special { path: path.clone(), kind });
        let judged = match kind {
            _ if std::str::from_utf8(name).is_err() => Err(ScanError::NotUtf8 { path: path.clone() }),
            FileType::RegularFile => Ok(Kind::File),
            FileType::Directory => Ok(Kind::Directory),
            FileType::Symlink => Ok(Kind::Link),
            FileType::Fifo => special("fifo"),
            FileType::Socket => special("socket"),
            FileType::CharacterDevice | FileType::BlockDevice => special("device"),
            _ => special("thing of unknown type"),
        };
        let kind = match judged {
            Ok(kind) => kind,
            Err(error) => return self.leave_out(error).map(|()| None),
        };
        self.files += 1;
        if self.files > self.bounds.max_files {
            return Err(ScanError::TooManyFiles { max: self.bounds.max_files });
        }
        if self.levels.len() as u64 + 1 > u64::from(self.bounds.max_depth) {
            return Err(ScanError::TooDeep { path, max: self.bounds.max_depth });
        }
        if name.len() > self.bounds.max_name_bytes {
            return Err(ScanError::NameTooLong { path, max: self.bounds.max_name_bytes });
        }
        self.charge_listing(path.len(), &path)?;
        Ok(Some((shown.into_owned(), kind)))
    }

    fn charge_listing(&mut self, bytes: usize, path: &str) -> Result<(), ScanError> {
        if bytes > self.bounds.max_path_bytes {
            return Err(ScanError::PathTooLong { path: path.to_owned(), max: self.bounds.max_path_bytes });
        }
        self.listing_bytes = self.listing_bytes.saturating_add(bytes as u64);
        if self.listing_bytes > self.bounds.max_listing_bytes {
            return Err(ScanError::ListingTooLong { max: self.bounds.max_listing_bytes });
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<Option<Step>, ScanError> {
        let Some(level) = self.levels.pop() else { return Ok(None) };
        let now = rustix::fs::fstat(&level.dir).map_err(|errno| ScanError::io(&self.path, errno))?;
        // What comes and goes beside the deliverables changes nothing of them.
        if Stamp::of(&now) != level.stamp && self.skip.is_within(&self.path) {
            return Err(ScanError::io(&self.path, Errno::NOENT));
        }
        Ok((!self.levels.is_empty()).then_some(Step::Leave { empty: level.empty }))
    }
}

enum Stopped {
    Refused(ScanError),
    Failed(Errno),
}

impl From<Errno> for Stopped {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno)
    }
}

impl From<ScanError> for Stopped {
    fn from(error: ScanError) -> Self {
        Self::Refused(error)
    }
}

/// A regular file that was opened to be read once, from start to end.
pub(super) struct Source {
    pub(super) file: File,
    pub(super) bytes: u64,
    pub(super) executable: bool,
    pub(super) stamp: Stamp,
}

impl Source {
    /// Opens a file of `dir`; `path` is for messages.
    pub(super) fn open(dir: &Dir, name: &str, path: &str) -> Result<Self, ScanError> {
        let failed = |errno| ScanError::io(path, errno);
        let file = node::open_file(dir, name).map_err(failed)?;
        let status = rustix::fs::fstat(&file).map_err(failed)?;
        if node::file_type(&status) != FileType::RegularFile {
            return Err(failed(Errno::NOENT));
        }
        let bytes = u64::try_from(status.st_size).unwrap_or(u64::MAX);
        Ok(Self { file, bytes, executable: node::executable(&status), stamp: Stamp::of(&status) })
    }

    /// Says whether the `read` bytes are one state of the file: its length, and nothing written meanwhile.
    pub(super) fn finish(self, path: &str, read: u64) -> Result<(), ScanError> {
        let status = rustix::fs::fstat(&self.file).map_err(|errno| ScanError::io(path, errno))?;
        if read != self.bytes || Stamp::of(&status) != self.stamp {
            return Err(ScanError::Changed { path: path.to_owned() });
        }
        Ok(())
    }
}

/// What the kernel changes whenever contents, mode or entries change, and nobody else can set: two that are equal say that nothing
/// was touched between, as far as the clock of the file system is fine enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub(super) inode: u64,
    seconds: i64,
    nanoseconds: u64,
    bytes: i64,
}

impl Stamp {
    /// Which file or directory it is of.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    pub(super) fn of(status: &Stat) -> Self {
        Self {
            inode: status.st_ino,
            seconds: status.st_ctime,
            nanoseconds: status.st_ctime_nsec,
            bytes: status.st_size,
        }
    }
}
