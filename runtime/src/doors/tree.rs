//! What a tree of files is, for the host: a sorted list of entries, its digest, and the changes between two of them.
//!
//! Only names, contents, the executable bit and link targets count; times, owners, other mode bits and inode numbers
//! never do. Never: follows a link, writes. Invariant: two trees have the same digest exactly if they have the same
//! entries (but for a collision of BLAKE3).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use cap_std::fs::Dir;
use rustix::fs::FileType;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::ignored::Ignored;
use super::node;
pub(super) use super::walk::ancestors;
pub use super::walk::{Bounds, ScanError, under};
use super::walk::{Source, Stamp, Step, Walk};
use crate::rules::digest::Digest;

/// Bytes read at a time: large enough for BLAKE3's widest vectors, small enough for a cache.
const BUFFER_BYTES: usize = 64 << 10;

/// Separates this use of BLAKE3 from every other; the number changes with the encoding.
const TREE_CONTEXT: &str = "jidoka workspace tree, encoding 1";

/// One thing at a path. A directory is an entry only if it is empty: others follow from the paths below them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Entry {
    /// `executable` is the owner's bit.
    File {
        digest: Digest,
        bytes: u64,
        executable: bool,
    },
    /// A symbolic link, as its text. It may lead anywhere; nothing here goes there.
    Link {
        target: String,
    },
    EmptyDirectory {},
}

/// The entries of a tree by path: relative, `/`-separated, in the order of bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Manifest(BTreeMap<String, Entry>);

/// A path whose entry differs between two trees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub path: String,
    pub kind: ChangeKind,
}

/// `Modified` includes a change of kind, as from file to link, and of the executable bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    Added,
    Modified,
    Removed,
}

/// A tree as the host sees it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub manifest: Manifest,
    /// What is at each path, directories included, but for the top.
    pub things: BTreeMap<String, Thing>,
    /// The inode of the top.
    pub inode: u64,
    /// The directories in which something was left out, without the top.
    pub(super) holders: Vec<String>,
}

/// What is at a path: enough to tell whether it was replaced or written since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thing {
    Directory { inode: u64 },
    File(Stamp),
    Link { target: String },
}

/// Reads the tree at `dir`. Every `.git`, an apply's staging at the top, and what `ignore` covers with all below, are left
/// out; a directory that holds nothing else counts as empty. Outside of the deliverables, if `ignore` knows them, so is
/// what no worker could see. Pass the `ignore` of the base to every later scan, so that a worker cannot choose what is looked
/// at.
///
/// # Errors
/// [`ScanError`] at the first thing that is too much, or that is of a wrong kind, unreadable, or changing while it is read.
pub fn scan(dir: &Dir, bounds: &Bounds, ignore: &Ignored) -> Result<Manifest, ScanError> {
    see(dir, bounds, ignore).map(|seen| seen.manifest)
}

/// As [`scan`], with what a later look can be compared with.
///
/// # Errors
/// As [`scan`].
pub fn see(dir: &Dir, bounds: &Bounds, ignore: &Ignored) -> Result<Seen, ScanError> {
    read(Walk::new(dir, bounds, ignore)?)
}

/// As [`scan`], of the deliverables and the directories above them alone, with the directories in which something was left
/// out, without the top.
pub(super) fn scan_noting(dir: &Dir, bounds: &Bounds, ignore: &Ignored) -> Result<(Manifest, Vec<String>), ScanError> {
    read(Walk::of_deliverables(dir, bounds, ignore)?).map(|seen| (seen.manifest, seen.holders))
}

fn read(mut walk: Walk<'_>) -> Result<Seen, ScanError> {
    let mut hasher = FileHasher::new();
    let mut seen = Seen { inode: walk.inode(), ..Seen::default() };
    while let Some(step) = walk.step()? {
        let (entry, thing) = match step {
            Step::Leave { empty: false } => continue,
            Step::Leave { empty: true } => (Some(Entry::EmptyDirectory {}), None),
            Step::Enter => (None, Some(Thing::Directory { inode: walk.inode() })),
            Step::Link | Step::File => match entry(&mut walk, step, &mut hasher) {
                Ok((entry, thing)) => (Some(entry), Some(thing)),
                Err(error) => {
                    walk.leave_out(error)?;
                    continue;
                }
            },
        };
        if let Some(thing) = thing {
            seen.things.insert(walk.path().to_owned(), thing);
        }
        if let Some(entry) = entry {
            seen.manifest.0.insert(walk.path().to_owned(), entry);
        }
    }
    seen.holders = walk.into_holders();
    Ok(seen)
}

/// The file or link of the current step.
fn entry(walk: &mut Walk<'_>, step: Step, hasher: &mut FileHasher) -> Result<(Entry, Thing), ScanError> {
    if step == Step::Link {
        let target = walk.target()?;
        return Ok((Entry::Link { target: target.clone() }, Thing::Link { target }));
    }
    let mut source = walk.open()?;
    let (digest, bytes) = hasher
        .read(&mut source.file, source.bytes, &mut io::sink())
        .map_err(|source| ScanError::Io { path: walk.path().to_owned(), source })?;
    let (executable, stamp) = (source.executable, source.stamp);
    source.finish(walk.path(), bytes)?;
    Ok((Entry::File { digest, bytes, executable }, Thing::File(stamp)))
}

impl Manifest {
    /// The entry at exactly this path.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.0.get(path)
    }

    /// All entries, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// The entries that are wanted.
    pub fn only(&self, wanted: impl Fn(&str, &Entry) -> bool) -> Self {
        let entries = self.0.iter().filter(|(path, entry)| wanted(path, entry));
        Self(entries.map(|(path, entry)| (path.clone(), entry.clone())).collect())
    }

    /// The paths of the programs.
    pub fn programs(&self) -> impl Iterator<Item = &str> {
        self.iter().filter(|(_, entry)| matches!(entry, Entry::File { executable: true, .. })).map(|(path, _)| path)
    }

    /// The entries with the executable bits of `base`, and the paths at which that is another.
    pub fn with_modes_of(mut self, base: &Manifest) -> (Self, Vec<String>) {
        let mut changed = Vec::new();
        for (path, entry) in &mut self.0 {
            if let (Entry::File { executable, .. }, Some(Entry::File { executable: was, .. })) = (entry, base.get(path))
                && executable != was
            {
                *executable = *was;
                changed.push(path.clone());
            }
        }
        (self, changed)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the tree is an empty directory.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Digest of the entries at and below the deliverables; `"."` is all of them. The list itself does not count, so
    /// two lists that cover the same entries have the same digest.
    pub fn digest<P: AsRef<str>>(&self, deliverables: &[P]) -> Digest {
        self.digest_of(|path, _| under(deliverables, path))
    }

    /// The digest that a tree mark is made of: that of the deliverables, as far as they can be somebody's work. Where the
    /// base's own rules hold, a change to bookkeeping alone (see [`is_bookkeeping`]) leaves it as it is, and so does an
    /// empty directory: one that holds nothing but ignored files is the same.
    pub fn mark<P: AsRef<str>>(&self, deliverables: &[P], ignored: &Ignored) -> Digest {
        if !ignored.asks_base() {
            return self.digest(deliverables);
        }
        self.digest_of(|path, entry| under(deliverables, path) && has_content(entry) && !is_bookkeeping(path))
    }

    fn digest_of(&self, counts: impl Fn(&str, &Entry) -> bool) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key(TREE_CONTEXT);
        for (path, entry) in self.0.iter().filter(|(path, entry)| counts(path, entry)) {
            // A tag, then fields of fixed length or after their length: no two lists of entries have the same bytes.
            match entry {
                Entry::File { digest, bytes, executable } => {
                    hasher.update(&[1]);
                    put_text(&mut hasher, path);
                    hasher.update(&[u8::from(*executable)]).update(&bytes.to_le_bytes()).update(digest.as_bytes());
                }
                Entry::Link { target } => {
                    hasher.update(&[2]);
                    put_text(&mut hasher, path);
                    put_text(&mut hasher, target);
                }
                Entry::EmptyDirectory {} => {
                    hasher.update(&[3]);
                    put_text(&mut hasher, path);
                }
            }
        }
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }

    /// What changed from `base` to `end`, sorted by path; nothing exactly if the two are equal. A directory that got
    /// its first entry or lost its last is not listed itself: it was there before and after.
    pub fn changes(base: &Manifest, end: &Manifest) -> Vec<Change> {
        let paths: BTreeSet<&String> = base.0.keys().chain(end.0.keys()).collect();
        let kind = |path: &str| match (base.get(path), end.get(path)) {
            (Some(Entry::EmptyDirectory {}), None) if end.has_below(path) => None,
            (None, Some(Entry::EmptyDirectory {})) if base.has_below(path) => None,
            (Some(before), Some(after)) => (before != after).then_some(ChangeKind::Modified),
            (None, Some(_)) => Some(ChangeKind::Added),
            (Some(_), None) => Some(ChangeKind::Removed),
            (None, None) => None,
        };
        let change = |path: &String| kind(path).map(|kind| Change { path: path.clone(), kind });
        paths.into_iter().filter_map(change).collect()
    }

    /// As [`Manifest::changes`]; where the base's own rules hold, without directories that came or went empty: one that
    /// holds nothing but ignored files is the same, and neither progress nor a violation.
    pub fn changes_of_work(base: &Manifest, end: &Manifest, ignored: &Ignored) -> Vec<Change> {
        let mut changes = Self::changes(base, end);
        if ignored.asks_base() {
            let has_content = |tree: &Manifest, path: &str| tree.get(path).is_some_and(has_content);
            changes.retain(|change| has_content(base, &change.path) || has_content(end, &change.path));
        }
        changes
    }

    /// The paths of all directories, empty or not, without the top.
    pub(super) fn directories(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for (path, entry) in &self.0 {
            all.extend(ancestors(path).map(str::to_owned));
            if *entry == (Entry::EmptyDirectory {}) {
                all.insert(path.clone());
            }
        }
        all
    }

    fn has_below(&self, path: &str) -> bool {
        let from = format!("{path}/");
        self.0.range(from.clone()..).next().is_some_and(|(found, _)| found.starts_with(&from))
    }
}

impl FromIterator<(String, Entry)> for Manifest {
    fn from_iter<T: IntoIterator<Item = (String, Entry)>>(entries: T) -> Self {
        Self(entries.into_iter().collect())
    }
}

/// Whether an entry is more than an empty directory, which has nothing to be staged: it is made or removed.
pub(super) fn has_content(entry: &Entry) -> bool {
    match entry {
        Entry::File { .. } | Entry::Link { .. } => true,
        Entry::EmptyDirectory {} => false,
    }
}

/// Whether a path is bookkeeping about the work and not the work: files that say what git and search tools leave out or how
/// they see files, and whatever is in a `.git`. They may be applied; alone they are no progress.
pub fn is_bookkeeping(path: &str) -> bool {
    let names = [".gitignore", ".ignore", ".gitattributes", ".git"];
    path.split('/').any(|part| names.iter().any(|name| part.eq_ignore_ascii_case(name)))
}

fn put_text(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
}

/// Hashes files one after another through one buffer.
pub(super) struct FileHasher {
    buffer: Vec<u8>,
}

impl FileHasher {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; BUFFER_BYTES] }
    }

    /// Digest and number of the bytes of `file`, which also go to `copy`. Reads at most one byte more than `expected`:
    /// a file that grows for ever ends here, with a count that is too large.
    pub(super) fn read(
        &mut self,
        file: &mut impl Read,
        expected: u64,
        copy: &mut impl Write,
    ) -> io::Result<(Digest, u64)> {
        let mut hasher = blake3::Hasher::new();
        let mut read = 0_u64;
        let mut file = file.take(expected.saturating_add(1));
        loop {
            match file.read(&mut self.buffer) {
                Ok(0) => return Ok((Digest::from_bytes(*hasher.finalize().as_bytes()), read)),
                Ok(some) => {
                    hasher.update(&self.buffer[..some]);
                    copy.write_all(&self.buffer[..some])?;
                    read += some as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether exactly this is at a name; `None` is nothing, and a directory has to be empty. What changes while it is read is not.
pub(super) fn holds(dir: &Dir, name: &str, expected: Option<&Entry>, hasher: &mut FileHasher) -> io::Result<bool> {
    let status = match node::status(dir, name) {
        Ok(status) => status,
        Err(Errno::NOENT) => return Ok(expected.is_none()),
        Err(errno) => return Err(errno.into()),
    };
    match (expected, node::file_type(&status)) {
        (Some(Entry::EmptyDirectory {}), FileType::Directory) => Ok(node::is_empty(dir, name)?),
        (Some(Entry::Link { target }), FileType::Symlink) => Ok(node::read_link(dir, name)? == target.as_bytes()),
        (Some(Entry::File { digest, bytes, executable }), FileType::RegularFile) => {
            let unread = |error: ScanError| match error {
                ScanError::Io { source, .. } => Err(source),
                _ => Ok(false),
            };
            let mut source = match Source::open(dir, name, name) {
                Ok(source) => source,
                Err(error) => return unread(error),
            };
            // Not hashed unless it can matter: it may be a huge file of a person's by now.
            if source.bytes != *bytes || source.executable != *executable {
                return Ok(false);
            }
            let (found, read) = hasher.read(&mut source.file, *bytes, &mut io::sink())?;
            match source.finish(name, read) {
                Ok(()) => Ok(found == *digest),
                Err(error) => unread(error),
            }
        }
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests;
