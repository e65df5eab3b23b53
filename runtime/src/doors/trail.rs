//! What the guests of a run did to its private copy: which names they made, moved and removed, and how each file stood after
//! they wrote it last.
//!
//! The files door tells it of every operation, before and after; from that it knows what the copy must look like. A copy that
//! looks otherwise was changed by something else: a cleaner of old files, an operator, a full disk. Never: reads or writes a
//! file, believes what a path was called before a guest moved it. Invariants here: a difference between the start and now that no guest
//! made is found at the next look, and stays found; what was begun and never ended (its guest was stopped in it) is nobody
//! else's change.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType};
use serde::{Deserialize, Serialize};

use super::ignored::Ignored;
use super::node;
use super::tree::{Manifest, Seen, Thing, ancestors, under};
pub use super::walk::Stamp;
use super::walk::is_reserved;
use super::workspace::is_gone;

/// Bytes of all names that are remembered. A guest behind a wall that broke can name as many as it likes; those of a tree have
/// at most half of it by the default bounds.
pub const MAX_NAMES_BYTES: usize = 64 << 20;

/// Links that one path may lead through: what Linux follows.
const MAX_LINKS: usize = 40;

/// A name as a guest says it: below a directory that it has open, through links or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spot {
    /// The inode of the directory.
    pub directory: u64,
    pub path: String,
    /// Whether a link at the very end is followed.
    pub follow: bool,
}

/// One thing that a guest does to its files. Each name is told of twice, before anything is done and afterwards; so is each
/// write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Touch {
    /// These names are about to be made, moved or removed.
    Naming(Vec<Spot>),
    /// None of them was.
    Unchanged,
    /// A file that is new.
    MadeFile(Spot, Stamp),
    /// A directory that is new, by its inode.
    MadeDirectory(Spot, u64),
    /// A file that was there was opened and emptied.
    Emptied(Stamp),
    Removed(Spot),
    /// With how it stood before and stands now, if it is a file.
    Moved {
        from: Spot,
        to: Spot,
        before: Option<Stamp>,
        after: Option<Stamp>,
    },
    /// A file that stands so is about to be written.
    Writing(Stamp),
    /// It stands so now.
    Written(Stamp),
}

/// What the host knows of a private copy. Shared by all guests of a run that write there; they take turns.
#[derive(Debug)]
pub struct Trail {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    things: BTreeMap<String, Known>,
    names_bytes: usize,
    files: HashMap<u64, Written>,
    /// Paths of directories by their inodes.
    directories: HashMap<u64, String>,
    /// Names that somebody began to change, the latest last.
    begun: Vec<Vec<String>>,
    disturbed: Option<String>,
    /// What is done there is nobody's business.
    ignored: Arc<Ignored>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Directory { inode: u64 },
    File { inode: u64 },
    Link { target: String },
}

#[derive(Clone, Copy, Debug)]
struct Written {
    /// `None`: it is being written.
    stamp: Option<Stamp>,
    by_guest: bool,
}

/// How a file stands that a guest has open.
///
/// # Errors
/// The system's.
pub fn stamp(file: &std::fs::File) -> io::Result<Stamp> {
    Ok(Stamp::of(&rustix::fs::fstat(file)?))
}

/// What is at a name below a directory that a guest has open: its inode, and how it stands if it is a file.
///
/// # Errors
/// The system's.
pub fn stamp_at(directory: &std::fs::File, path: &str) -> io::Result<(u64, Option<Stamp>)> {
    // As short as it can be said: the system takes one byte less than a guest may say.
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let status = rustix::fs::statat(directory, parts.join("/"), AtFlags::SYMLINK_NOFOLLOW)?;
    let is_file = node::file_type(&status) == FileType::RegularFile;
    Ok((status.st_ino, is_file.then(|| Stamp::of(&status))))
}

impl Trail {
    /// Of a copy in which nothing was done since it was seen so.
    pub fn new(seen: &Seen, ignored: Arc<Ignored>) -> Self {
        Self { state: Mutex::new(State::of(seen, ignored)) }
    }

    /// Takes in what a guest does.
    pub fn note(&self, touch: Touch) {
        self.state().note(touch);
    }

    /// The host itself made the copy what was seen: no guest's deed counts before that. A change that was found stays found.
    pub fn reset(&self, seen: &Seen) {
        let mut state = self.state();
        let ignored = Arc::clone(&state.ignored);
        *state = State { disturbed: state.disturbed.take(), ..State::of(seen, ignored) };
    }

    /// What something other than a guest changed, if that was seen: a sentence.
    pub fn disturbed(&self) -> Option<String> {
        self.state().disturbed.clone()
    }

    /// Compares the copy as it is seen now with what the guests did since the start, when it was `base`. `handed` are paths
    /// that the host changed there for a guest.
    ///
    /// # Errors
    /// A sentence: what something else changed, now or at an earlier look.
    pub fn explains(&self, copy: &Dir, seen: &Seen, base: &Manifest, handed: &[String]) -> Result<(), String> {
        let mut state = self.state();
        if state.disturbed.is_none() {
            match is_gone(copy) {
                true => state.disturb(".", "was removed"),
                false => state.compare(seen, base, handed),
            }
        }
        state.disturbed.clone().map_or(Ok(()), Err)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn of(seen: &Seen, ignored: Arc<Ignored>) -> Self {
        let mut state = Self {
            things: BTreeMap::new(),
            names_bytes: 0,
            files: HashMap::new(),
            directories: HashMap::from([(seen.inode, String::new())]),
            begun: Vec::new(),
            disturbed: None,
            ignored,
        };
        for (path, thing) in &seen.things {
            state.learn(path, thing);
        }
        state
    }

    /// Something else was here, unless what is there is ignored.
    fn disturb(&mut self, path: &str, what: &str) {
        if !self.is_left_out(path, false) {
            let words = || format!("something other than the worker changed its private copy: {path:?} {what}");
            self.disturbed.get_or_insert_with(words);
        }
    }

    fn is_left_out(&self, path: &str, is_directory: bool) -> bool {
        is_reserved(path) || self.ignored.covers(path, is_directory)
    }

    /// Remembers what is at a path, as it was seen.
    fn learn(&mut self, path: &str, thing: &Thing) {
        match thing {
            Thing::Directory { inode } => self.put(path.to_owned(), Known::Directory { inode: *inode }),
            Thing::Link { target } => self.put(path.to_owned(), Known::Link { target: target.clone() }),
            Thing::File(stamp) => {
                self.put(path.to_owned(), Known::File { inode: stamp.inode });
                self.files.insert(stamp.inode, Written { stamp: Some(*stamp), by_guest: false });
            }
        }
    }

    fn put(&mut self, path: String, known: Known) {
        if let Known::Directory { inode } = known {
            self.directories.insert(inode, path.clone());
        }
        self.names_bytes += path.len();
        if let Some(_replaced) = self.things.insert(path.clone(), known) {
            self.names_bytes -= path.len();
        }
        if self.names_bytes > MAX_NAMES_BYTES {
            self.disturb(&path, "is one name too many to keep account of");
            self.things.clear();
            self.names_bytes = 0;
        }
    }

    fn take(&mut self, path: &str) -> Option<Known> {
        let known = self.things.remove(path)?;
        self.names_bytes = self.names_bytes.saturating_sub(path.len());
        Some(known)
    }

    /// As `take`, for good.
    fn forget(&mut self, path: &str) -> Option<Known> {
        let known = self.take(path)?;
        match &known {
            Known::Directory { inode } => drop(self.directories.remove(inode)),
            Known::File { inode } => drop(self.files.remove(inode)),
            Known::Link { .. } => {}
        }
        Some(known)
    }

    /// The path of a spot, by the links and directories that are known. `None`: it is below nothing that is.
    fn resolve(&self, spot: &Spot) -> Option<String> {
        let parts = |path: &str| -> Vec<String> {
            path.split('/').rev().filter(|part| !matches!(*part, "" | ".")).map(str::to_owned).collect()
        };
        let (mut at, mut links) = (self.directories.get(&spot.directory)?.clone(), 0);
        let mut rest = parts(&spot.path);
        while let Some(part) = rest.pop() {
            if part == ".." {
                at.truncate(at.rfind('/').unwrap_or(0));
                continue;
            }
            let next = if at.is_empty() { part } else { format!("{at}/{part}") };
            match self.things.get(&next) {
                Some(Known::Link { target }) if spot.follow || !rest.is_empty() => {
                    links += 1;
                    if links > MAX_LINKS || target.starts_with('/') {
                        return None;
                    }
                    rest.extend(parts(target));
                }
                Some(_) | None => at = next,
            }
        }
        Some(at)
    }

    fn note(&mut self, touch: Touch) {
        if self.disturbed.is_some() {
            return;
        }
        match touch {
            Touch::Naming(spots) => {
                let paths: Vec<String> = spots.iter().filter_map(|spot| self.resolve(spot)).collect();
                self.names_bytes += paths.iter().map(String::len).sum::<usize>();
                self.begun.push(paths);
                if self.names_bytes > MAX_NAMES_BYTES {
                    self.disturb(".", "has more names than are kept account of");
                    self.begun.clear();
                }
            }
            Touch::Unchanged => self.named(),
            Touch::MadeFile(spot, stamp) => {
                self.named();
                let Some(path) = self.resolve(&spot) else { return };
                self.is_free(&path);
                self.put(path, Known::File { inode: stamp.inode });
                self.files.insert(stamp.inode, Written { stamp: Some(stamp), by_guest: true });
            }
            Touch::MadeDirectory(spot, inode) => {
                self.named();
                let Some(path) = self.resolve(&spot) else { return };
                self.is_free(&path);
                self.put(path, Known::Directory { inode });
            }
            Touch::Emptied(stamp) => {
                self.named();
                self.written(stamp);
            }
            Touch::Removed(spot) => {
                self.named();
                let Some(path) = self.resolve(&spot) else { return };
                if let Some(Known::Directory { .. }) = self.forget(&path) {
                    let lost = self.below(&path).next().cloned();
                    // A guest can only remove one that is empty.
                    lost.iter().for_each(|lost| self.disturb(lost, "is gone"));
                }
            }
            Touch::Moved { from, to, before, after } => {
                self.named();
                let (Some(from), Some(to)) = (self.resolve(&from), self.resolve(&to)) else { return };
                self.moved(&from, &to, before, after);
            }
            Touch::Writing(before) => {
                if self.stands(&before)
                    && let Some(file) = self.files.get_mut(&before.inode)
                {
                    file.stamp = None;
                }
            }
            Touch::Written(after) => self.written(after),
        }
    }

    /// The latest change of names is over.
    fn named(&mut self) {
        let begun = self.begun.pop().unwrap_or_default();
        self.names_bytes = self.names_bytes.saturating_sub(begun.iter().map(String::len).sum());
    }

    /// A guest made something at a path where the system had nothing. If something is known there, somebody took it away.
    fn is_free(&mut self, path: &str) {
        if self.things.contains_key(path) && !self.is_begun(path) {
            self.disturb(path, "was gone");
        }
    }

    /// Whether a file stands as it was left; if not, somebody else changed it, and a guest is about to build on that.
    fn stands(&mut self, now: &Stamp) -> bool {
        let left = self.files.get(&now.inode).and_then(|file| file.stamp);
        if left.is_none_or(|left| left == *now) {
            return true;
        }
        let is_it = |known: &Known| *known == Known::File { inode: now.inode };
        let path = self.things.iter().find(|(_, known)| is_it(known)).map(|(path, _)| path.clone());
        self.disturb(&path.unwrap_or_default(), "was changed");
        self.disturbed.is_none()
    }

    /// One that is not known has no name any more, or is somebody else's, and is found by that.
    fn written(&mut self, after: Stamp) {
        if let Some(file) = self.files.get_mut(&after.inode) {
            *file = Written { stamp: Some(after), by_guest: true };
        }
    }

    fn below(&self, path: &str) -> impl Iterator<Item = &String> {
        let prefix = format!("{path}/");
        self.things.range(prefix.clone()..).map(|(path, _)| path).take_while(move |below| below.starts_with(&prefix))
    }

    fn moved(&mut self, from: &str, to: &str, before: Option<Stamp>, after: Option<Stamp>) {
        if before.is_some_and(|before| !self.stands(&before)) {
            return;
        }
        let Some(known) = self.things.get(from).cloned() else { return };
        if from != to {
            let below: Vec<String> = self.below(from).cloned().collect();
            drop(self.forget(to));
            drop(self.take(from));
            self.put(to.to_owned(), known.clone());
            for path in below {
                if let Some(known) = self.take(&path) {
                    self.put(format!("{to}{}", &path[from.len()..]), known);
                }
            }
        }
        if let (Known::File { inode }, Some(after)) = (known, after)
            && let Some(file) = self.files.get_mut(&inode)
            && file.stamp.is_some()
            && after.inode == inode
        {
            file.stamp = Some(after);
        }
    }

    /// Whether somebody began to change the name of a path, or of a directory above it, and was stopped in it.
    fn is_begun(&self, path: &str) -> bool {
        self.begun.iter().any(|paths| under(paths, path))
    }

    fn compare(&mut self, seen: &Seen, base: &Manifest, handed: &[String]) {
        let above: HashSet<&str> = handed.iter().flat_map(|path| ancestors(path)).collect();
        let is_handed = |path: &str, is_directory: bool| {
            !handed.is_empty() && (under(handed, path) || is_directory && above.contains(path))
        };
        for (path, thing) in &seen.things {
            let differs = match (self.things.get(path), thing) {
                (Some(Known::Directory { .. }), Thing::Directory { .. }) => continue,
                (Some(Known::Link { target: known }), Thing::Link { target }) if known == target => continue,
                (Some(&Known::File { inode }), Thing::File(stamp)) => {
                    let file = self.files.get(&inode).copied();
                    let is_left = |file: Written| file.stamp.is_none_or(|left| left == *stamp);
                    // Whoever replaced it by the same changed nothing.
                    let is_same = |file: Written| !file.by_guest && base.get(path) == seen.manifest.get(path);
                    match file {
                        Some(file) if inode == stamp.inode && is_left(file) => continue,
                        Some(file) if is_same(file) => {
                            self.learn(path, thing);
                            continue;
                        }
                        Some(_) | None => "was changed",
                    }
                }
                (Some(_), _) => "was changed",
                (None, _) => "was added",
            };
            if is_handed(path, matches!(thing, Thing::Directory { .. })) {
                drop(self.forget(path));
                self.learn(path, thing);
            } else if !self.is_begun(path) {
                return self.disturb(path, differs);
            }
        }
        let mut gone = Vec::new();
        let mut covered: Option<String> = None;
        for (path, known) in &self.things {
            let is_directory = matches!(known, Known::Directory { .. });
            if seen.things.contains_key(path) || covered.as_ref().is_some_and(|above| under(&[above], path)) {
                continue;
            }
            // What a guest does there is its own business, and is not looked at.
            if self.is_left_out(path, is_directory) {
                covered = Some(path.clone());
                continue;
            }
            match is_handed(path, is_directory) {
                true => gone.push(path.clone()),
                false if self.is_begun(path) => {}
                false => {
                    let path = path.clone();
                    return self.disturb(&path, "is gone");
                }
            }
        }
        for path in gone {
            drop(self.forget(&path));
        }
    }
}

#[cfg(test)]
mod tests;
