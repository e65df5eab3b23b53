//! Bytes by content address, each kept once for all runs: the trees of workspaces, components, evidence.
//!
//! In a directory that only the host writes: `files/` holds bytes, `trees/` the documents of manifests, `staging/` what
//! is being written, `blobs.lock` the lock of [`Keeping`] (shared) and [`Sweeping`] (exclusive).
//! Never: interprets bytes, follows a link, waits for a fifo, or returns bytes that are not what their address says.
//! Invariants here: what has its final name was durable before it got it; a tree's document is there only while the
//! files of the tree are, durably; nothing is swept while somebody holds a [`Keeping`].

mod bring;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;
use tracing::warn;

use super::disk;
use super::evidence;
use super::node;
use super::tree::{Entry, FileHasher, Manifest};
use super::walk::{ScanError, Source};
use crate::rules::digest::Digest;

const LOCK: &str = "blobs.lock";
const STAGING: &str = "staging";

/// Nobody writes a blob a second time.
const BLOB_MODE: u32 = 0o400;
/// As of a worker's copy: the owner's alone.
const FILE_MODE: u32 = 0o600;
const PROGRAM_MODE: u32 = 0o700;
const DIRECTORY_MODE: u32 = 0o700;

/// Bytes of a tree's document. An entry is its path and less than 150 bytes more; the default bounds of a tree stay
/// below. A guest decides what is in its tree, and a sweep holds one whole document in memory.
pub const MAX_TREE_BYTES: u64 = 256 << 20;

/// How often, and after how long each, a sweep asks for its lock: for a second in all. Whoever keeps holds a
/// [`Keeping`] until the journal is written, so a guest with a large tree can make a sweep fail, which is then tried
/// again later.
const SWEEP_TRIES: u32 = 50;
const SWEEP_PAUSE: Duration = Duration::from_millis(20);

/// A store of blobs. Clones share it, as do processes that open the same directory.
#[derive(Clone, Debug)]
pub struct Blobs {
    dir: Arc<Dir>,
}

/// The right to keep: while it lives, in any process, nothing is swept. To be held until what names the addresses it
/// returned is durable, and no longer.
#[derive(Debug)]
#[must_use = "what is kept may be swept once this is dropped"]
pub struct Keeping {
    blobs: Blobs,
    _lock: Lock,
}

/// The right to remove: while it lives nobody keeps. What is to stay must be looked up after it was granted, since until
/// then others may keep and name new blobs.
#[derive(Debug)]
#[must_use = "nothing is removed until `sweep` is called"]
pub struct Sweeping {
    blobs: Blobs,
    _lock: Lock,
}

/// What each blob takes on the disk, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    pub trees: HashMap<Digest, u64>,
    pub files: HashMap<Digest, u64>,
}

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// Files and documents of trees.
    pub blobs: u64,
    /// Sum of their lengths.
    pub bytes: u64,
}

/// Why bytes were not kept, read, restored or swept. Paths are relative: to the tree, or in `Store` to the store.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BlobError {
    #[error("read {address}: the store does not have it")]
    Missing { address: Digest },
    #[error("read {address}: what the store has there is not what was kept; the disk or somebody changed it")]
    Damaged { address: Digest },
    #[error("read or keep {address}: it has {bytes} bytes, more than the {max} allowed")]
    TooLarge { address: Digest, bytes: u64, max: u64 },
    #[error("read {address} as a tree: its document is not one that this version writes")]
    NotATree { address: Digest, source: serde_json::Error },
    #[error("keep {path:?}: it is no longer what was scanned")]
    Moved { path: String },
    #[error("keep or restore {path:?}: no such path can be in a tree")]
    Path { path: String },
    #[error("sweep the blobs: somebody is keeping or sweeping; try again later")]
    Busy,
    #[error("keep {path:?}")]
    Keep { path: String, source: io::Error },
    #[error("restore {path:?}")]
    Restore { path: String, source: io::Error },
    #[error("use {path:?} in the store of blobs")]
    Store { path: String, source: io::Error },
}

/// The address of a tree's document: BLAKE3 of its JSON as serde_json writes it, without spaces, entries in the order of
/// the bytes of their paths and fields in the order in which [`Entry`] declares them. Equal trees therefore have equal
/// documents; another order of fields, or another field, is another address for every tree.
pub fn tree_address(tree: &Manifest) -> Digest {
    evidence::address(&document(tree))
}

impl Blobs {
    /// Opens a store in `dir`, its alone, and makes what is missing of its directories. What a crash left in the
    /// staging is removed, unless somebody is keeping just now: then a later call or a sweep does it.
    ///
    /// # Errors
    /// The directory cannot be read, written or made durable.
    pub fn open(dir: Dir) -> io::Result<Self> {
        // `open_ambient_dir` returns a handle that cannot be synced (`O_PATH`).
        let dir = node::open_dir(&dir, ".")?;
        for name in [STAGING, Room::Trees.name(), Room::Files.name()] {
            make_dir(&dir, name)?;
        }
        rustix::fs::fsync(&dir)?;
        let blobs = Self { dir: Arc::new(dir) };
        if let Some(_lock) = blobs.try_lock_alone()? {
            blobs.empty_staging()?;
        }
        Ok(blobs)
    }

    /// Whether bytes of this address are kept. Does not look at them.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn has(&self, address: &Digest) -> io::Result<bool> {
        Ok(self.length(Room::Files, address)?.is_some())
    }

    /// Whether a tree of this address is kept, and so all its files. Not the same question as [`Blobs::has`]: a guest
    /// can make a file whose bytes are the document of a tree that nobody kept.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn has_tree(&self, address: &Digest) -> io::Result<bool> {
        Ok(self.length(Room::Trees, address)?.is_some())
    }

    /// Waits for a sweep that is under way, on this thread, then keeps others out.
    ///
    /// # Errors
    /// The lock cannot be opened or taken.
    pub fn keeping(&self) -> io::Result<Keeping> {
        let lock = self.open_lock()?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, FlockOperation::LockShared))?;
        Ok(Keeping { blobs: self.clone(), _lock: Lock(lock) })
    }

    /// Waits, on this thread, for those who keep, a second at most.
    ///
    /// # Errors
    /// [`BlobError::Busy`] after that second; [`BlobError::Store`] if the lock cannot be opened or taken.
    pub fn sweeping(&self) -> Result<Sweeping, BlobError> {
        self.sweeping_within(SWEEP_TRIES)
    }

    /// The bytes of this address, `max_bytes` at most.
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::Damaged`], [`BlobError::TooLarge`]; [`BlobError::Store`] if the disk fails.
    pub fn read(&self, address: &Digest, max_bytes: u64) -> Result<Vec<u8>, BlobError> {
        self.read_from(Room::Files, address, max_bytes)
    }

    /// The bytes of this address to read one after another, and how many they are. They are not checked: whoever reads them
    /// hashes them.
    ///
    /// # Errors
    /// As [`Blobs::read`].
    pub fn open_file(&self, address: &Digest) -> Result<(File, u64), BlobError> {
        self.open_blob(Room::Files, address)
    }

    /// The tree of this address, whose document may have `max_bytes`.
    ///
    /// # Errors
    /// As [`Blobs::read`], and [`BlobError::NotATree`].
    pub fn tree(&self, address: &Digest, max_bytes: u64) -> Result<Manifest, BlobError> {
        let document = self.read_from(Room::Trees, address, max_bytes)?;
        serde_json::from_slice(&document).map_err(|source| BlobError::NotATree { address: *address, source })
    }

    /// Writes a tree into `target`, an empty directory that nobody else writes: files and programs for their owner
    /// alone, links as links wherever they lead, directories. Not durable. Each file is checked while it is copied.
    /// The caller sees to it that the tree is not swept meanwhile.
    ///
    /// # Errors
    /// [`BlobError`] at the first entry that cannot be restored; `target` then holds a part, to be removed by the caller.
    pub fn restore(&self, tree: &Manifest, target: &Dir) -> Result<(), BlobError> {
        let mut hasher = FileHasher::new();
        for (path, entry) in tree.iter() {
            let failed = |source: io::Error| BlobError::Restore { path: path.to_owned(), source };
            let os_failed = |errno: Errno| failed(errno.into());
            let (parent, name) = make_parent(target, &parts_of(path)?).map_err(os_failed)?;
            match entry {
                Entry::EmptyDirectory {} => node::create_dir(&parent, name, DIRECTORY_MODE).map_err(os_failed)?,
                Entry::Link { target } => node::create_link(&parent, name, target).map_err(os_failed)?,
                Entry::File { digest, bytes, executable } => {
                    let (mut blob, _) = self.open_blob(Room::Files, digest)?;
                    let mode = if *executable { PROGRAM_MODE } else { FILE_MODE };
                    let mut file = node::create_file(&parent, name, mode).map_err(os_failed)?;
                    let copied = hasher.read(&mut blob, *bytes, &mut file).map_err(failed)?;
                    if copied != (*digest, *bytes) {
                        return Err(BlobError::Damaged { address: *digest });
                    }
                }
            }
        }
        Ok(())
    }

    /// What each blob takes on the disk. Asks for each: as long as the store is large.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn sizes(&self) -> io::Result<Sizes> {
        let sizes = |room: Room| {
            let mut sizes = HashMap::new();
            for address in self.addresses(room)? {
                match node::status(&self.dir, &room.place(&address)) {
                    Ok(status) => drop(sizes.insert(address, disk::of(&status))),
                    // It was swept meanwhile.
                    Err(Errno::NOENT) => {}
                    Err(errno) => return Err(io::Error::from(errno)),
                }
            }
            Ok(sizes)
        };
        Ok(Sizes { trees: sizes(Room::Trees)?, files: sizes(Room::Files)? })
    }

    /// The files of a tree, as often as they are in it.
    ///
    /// # Errors
    /// As [`Blobs::tree`].
    pub fn files_of(&self, tree: &Digest) -> Result<Vec<Digest>, BlobError> {
        Ok(self.tree(tree, MAX_TREE_BYTES)?.iter().filter_map(|(_, entry)| digest_of(entry)).collect())
    }

    fn sweeping_within(&self, tries: u32) -> Result<Sweeping, BlobError> {
        for tried in 0..tries {
            if tried > 0 {
                std::thread::sleep(SWEEP_PAUSE);
            }
            if let Some(lock) = self.try_lock_alone().map_err(store(LOCK))? {
                return Ok(Sweeping { blobs: self.clone(), _lock: lock });
            }
        }
        Err(BlobError::Busy)
    }

    /// The lock without others, or `None` if somebody has it.
    fn try_lock_alone(&self) -> io::Result<Option<Lock>> {
        let lock = self.open_lock()?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock(lock))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opened anew each time, since a lock belongs to the open file (flock(2)).
    fn open_lock(&self) -> Result<File, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.dir, LOCK, flags, Mode::from_raw_mode(FILE_MODE))?.into())
    }

    /// For whoever holds the lock alone: only those who keep have anything in the staging.
    fn empty_staging(&self) -> io::Result<()> {
        let staging = node::open_dir(&self.dir, STAGING)?;
        let mut left = Vec::new();
        node::list::<Errno>(&staging, |name, _| {
            left.push(String::from_utf8_lossy(name).into_owned());
            Ok(())
        })?;
        left.iter().try_for_each(|name| node::remove_tree(&staging, name))
    }

    fn length(&self, room: Room, address: &Digest) -> io::Result<Option<u64>> {
        match node::status(&self.dir, &room.place(address)) {
            Ok(status) if node::file_type(&status) == FileType::RegularFile => Ok(u64::try_from(status.st_size).ok()),
            Ok(_) | Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether a blob is there and whole, by reading it: a length says nothing of what a power loss or a person left. One
    /// that is damaged, or cannot be read, is to be replaced.
    fn stands(&self, room: Room, address: &Digest, bytes: u64, hasher: &mut FileHasher) -> Result<bool, BlobError> {
        let (mut file, length) = match self.open_blob(room, address) {
            Ok(opened) => opened,
            Err(BlobError::Missing { .. } | BlobError::Damaged { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        Ok(length == bytes
            && hasher.read(&mut file, bytes, &mut io::sink()).is_ok_and(|read| read == (*address, bytes)))
    }

    fn open_blob(&self, room: Room, address: &Digest) -> Result<(File, u64), BlobError> {
        let place = room.place(address);
        let file = node::open_file(&self.dir, &place).map_err(|errno| match errno {
            Errno::NOENT => BlobError::Missing { address: *address },
            Errno::LOOP => BlobError::Damaged { address: *address },
            errno => store(&place)(errno),
        })?;
        let status = rustix::fs::fstat(&file).map_err(store(&place))?;
        match u64::try_from(status.st_size) {
            Ok(bytes) if node::file_type(&status) == FileType::RegularFile => Ok((file, bytes)),
            Ok(_) | Err(_) => Err(BlobError::Damaged { address: *address }),
        }
    }

    fn read_from(&self, room: Room, address: &Digest, max_bytes: u64) -> Result<Vec<u8>, BlobError> {
        let (file, bytes) = self.open_blob(room, address)?;
        if bytes > max_bytes {
            return Err(BlobError::TooLarge { address: *address, bytes, max: max_bytes });
        }
        let mut found = Vec::new();
        file.take(bytes).read_to_end(&mut found).map_err(store(&room.place(address)))?;
        if evidence::address(&found) != *address {
            return Err(BlobError::Damaged { address: *address });
        }
        Ok(found)
    }

    /// The addresses of all blobs of a room, drawer by drawer. Names that are none are not ours.
    fn addresses(&self, room: Room) -> io::Result<Vec<Digest>> {
        let mut found = Vec::new();
        for first in 0..=u8::MAX {
            let drawer = match node::open_dir(&self.dir, room.drawer(first)) {
                Err(Errno::NOENT) => continue,
                opened => opened?,
            };
            node::list::<Errno>(&drawer, |name, kind| {
                let address = std::str::from_utf8(name).ok().and_then(|name| format!("blake3:{name}").parse().ok());
                let ours = |address: &Digest| kind == FileType::RegularFile && address.as_bytes()[0] == first;
                found.extend(address.filter(ours));
                Ok(())
            })?;
        }
        Ok(found)
    }

    /// Makes the name of a blob durable, whoever gave it, and whoever made its drawer.
    fn sync_name(&self, room: Room, address: &Digest) -> Result<(), BlobError> {
        let sync = |path: &str| node::open_dir(&self.dir, path).and_then(rustix::fs::fsync).map_err(store(path));
        sync(&room.drawer(address.as_bytes()[0]))?;
        sync(room.name())
    }
}

impl Keeping {
    /// Keeps bytes, durably when it returns. What is there already, and whole, is not written again. The caller has bounded
    /// them.
    ///
    /// # Errors
    /// [`BlobError::Store`]: the disk is full, read-only or broken, and nothing is kept.
    pub fn keep(&self, bytes: &[u8]) -> Result<Digest, BlobError> {
        let address = evidence::address(bytes);
        if !self.blobs.stands(Room::Files, &address, bytes.len() as u64, &mut FileHasher::new())? {
            let staging = Staging::new(&self.blobs)?;
            staging.write(&address, bytes)?.sync_all().map_err(store(STAGING))?;
            staging.place(Room::Files, &address)?;
        }
        // Also if it was there: whoever renamed it may not have come to this yet.
        self.blobs.sync_name(Room::Files, &address)?;
        Ok(address)
    }

    /// As [`Keeping::keep`], of bytes that are read one after another: `bytes` of them, with this address.
    ///
    /// # Errors
    /// [`BlobError::Damaged`]: they are others. [`BlobError::Store`] as for `keep`, or if they cannot be read.
    pub fn keep_from(&self, address: &Digest, bytes: u64, mut source: &mut dyn Read) -> Result<(), BlobError> {
        let mut hasher = FileHasher::new();
        if !self.blobs.stands(Room::Files, address, bytes, &mut hasher)? {
            let staging = Staging::new(&self.blobs)?;
            let mut file = staging.create(address)?;
            let copied = hasher.read(&mut source, bytes, &mut file).map_err(store(STAGING))?;
            if copied != (*address, bytes) {
                return Err(BlobError::Damaged { address: *address });
            }
            file.sync_all().map_err(store(STAGING))?;
            staging.place(Room::Files, address)?;
        }
        self.blobs.sync_name(Room::Files, address)
    }

    /// Keeps the files of `tree`, read from `dir` and checked while they are copied, then its document; returns the
    /// document's address, with everything durable. Of a file that the store has, the blob is read and not the file, so
    /// that one that is damaged is brought anew; a file at the same path in `known`, a tree that the caller knows to be kept
    /// whole, is not even looked for. Whatever a guest makes of `dir` meanwhile, no link is followed and no fifo waited for.
    ///
    /// Takes two syncs of the whole file system, as [syncfs(2)] costs less than an fsync of each of many files. Kernels
    /// before 5.8 do not report through it that data could not be written.
    ///
    /// [syncfs(2)]: https://man7.org/linux/man-pages/man2/syncfs.2.html
    ///
    /// # Errors
    /// [`BlobError::Moved`] if a file is not what `tree` says; [`BlobError::Path`], [`BlobError::TooLarge`] for a tree
    /// that no scan returns; [`BlobError::Keep`], [`BlobError::Store`] if the disk fails. The tree is then not kept,
    /// though some of its files may be, for a sweep to remove.
    pub fn keep_tree(&self, dir: &Dir, tree: &Manifest, known: Option<&Manifest>) -> Result<Digest, BlobError> {
        let document = document(tree);
        let (address, bytes) = (evidence::address(&document), document.len() as u64);
        if bytes > MAX_TREE_BYTES {
            return Err(BlobError::TooLarge { address, bytes, max: MAX_TREE_BYTES });
        }
        let mut hasher = FileHasher::new();
        let stands = self.blobs.stands(Room::Trees, &address, bytes, &mut hasher)?;
        let staging = Staging::new(&self.blobs)?;
        let staged = staging.copy_files(dir, tree, known, &mut hasher)?;
        if !staged.is_empty() {
            staging.sync_all()?;
            staged.iter().try_for_each(|file| staging.place(Room::Files, file))?;
        }
        if !stands {
            staging.write(&address, &document)?;
        }
        if !stands || !staged.is_empty() {
            // The names of all files, too, of which others may have given some a moment ago.
            staging.sync_all()?;
        }
        if !stands {
            staging.place(Room::Trees, &address)?;
        }
        self.blobs.sync_name(Room::Trees, &address)?;
        Ok(address)
    }
}

impl Sweeping {
    /// Removes what nobody keeps: trees for whose address `keep` says no, and files for which it says no that are in no
    /// tree that stays. Holds the addresses of all files of those trees in memory.
    ///
    /// # Errors
    /// [`BlobError`] for a tree to be kept whose document cannot be read: nothing is removed, as its files would be
    /// lost. [`BlobError::Store`] if the disk fails: a part is removed, and a second call goes on.
    pub fn sweep(&self, keep: &dyn Fn(&Digest) -> bool) -> Result<Swept, BlobError> {
        let blobs = &self.blobs;
        blobs.empty_staging().map_err(store(STAGING))?;
        let trees = blobs.addresses(Room::Trees).map_err(store(Room::Trees.name()))?;
        let (stay, go): (Vec<Digest>, Vec<Digest>) = trees.into_iter().partition(keep);
        let mut needed = HashSet::new();
        for address in &stay {
            needed.extend(blobs.files_of(address)?);
        }
        let mut swept = Swept::default();
        go.iter().try_for_each(|address| self.remove(Room::Trees, address, &mut swept))?;
        // Before any file, and also for a sweep that was cut short here: after a power loss no tree may be there without
        // its files.
        node::open_dir(&blobs.dir, ".").and_then(rustix::fs::syncfs).map_err(store(Room::Trees.name()))?;
        for address in blobs.addresses(Room::Files).map_err(store(Room::Files.name()))? {
            if !needed.contains(&address) && !keep(&address) {
                self.remove(Room::Files, &address, &mut swept)?;
            }
        }
        Ok(swept)
    }

    fn remove(&self, room: Room, address: &Digest, swept: &mut Swept) -> Result<(), BlobError> {
        let place = room.place(address);
        let bytes = self.blobs.length(room, address).map_err(store(&place))?.unwrap_or(0);
        rustix::fs::unlinkat(&self.blobs.dir, &place, AtFlags::empty()).map_err(store(&place))?;
        swept.blobs += 1;
        swept.bytes = swept.bytes.saturating_add(bytes);
        Ok(())
    }
}

/// A lock that was taken.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a process that is just being started has a copy until it runs its program.
        if let Err(error) = rustix::fs::flock(&self.0, FlockOperation::Unlock) {
            warn!(%error, "the lock of the blobs could not be released before it was closed");
        }
    }
}

/// Where blobs are, by what is known of them.
#[derive(Clone, Copy)]
enum Room {
    Trees,
    Files,
}

impl Room {
    fn name(self) -> &'static str {
        match self {
            Self::Trees => "trees",
            Self::Files => "files",
        }
    }

    /// A 256th of the room, so that no directory grows very large.
    fn drawer(self, first: u8) -> String {
        format!("{}/{first:02x}", self.name())
    }

    fn place(self, address: &Digest) -> String {
        format!("{}/{}", self.drawer(address.as_bytes()[0]), evidence::file_name(address))
    }
}

/// A directory of one call's own below `staging/`, removed with what is left in it when the call ends.
struct Staging<'a> {
    blobs: &'a Blobs,
    path: String,
    /// Opened before anything is written and by nobody else: syncfs(2) reports a failed write once per open file, to
    /// those that were open.
    dir: Dir,
}

impl<'a> Staging<'a> {
    fn new(blobs: &'a Blobs) -> Result<Self, BlobError> {
        let mut chance = [0; 16];
        getrandom::fill(&mut chance).map_err(|error| store(STAGING)(io::Error::other(error)))?;
        let path = format!("{STAGING}/{:032x}", u128::from_le_bytes(chance));
        node::create_dir(&blobs.dir, &path, DIRECTORY_MODE).map_err(store(STAGING))?;
        let dir = node::open_dir(&blobs.dir, &path).map_err(store(STAGING))?;
        Ok(Self { blobs, path, dir })
    }

    fn create(&self, address: &Digest) -> Result<File, BlobError> {
        node::create_file(&self.dir, &evidence::file_name(address), BLOB_MODE).map_err(store(STAGING))
    }

    fn write(&self, address: &Digest, bytes: &[u8]) -> Result<File, BlobError> {
        let mut file = self.create(address)?;
        file.write_all(bytes).map_err(store(STAGING))?;
        Ok(file)
    }

    /// Copies the files of a tree that the store has not, or not whole.
    fn copy_files(
        &self,
        dir: &Dir,
        tree: &Manifest,
        known: Option<&Manifest>,
        hasher: &mut FileHasher,
    ) -> Result<BTreeSet<Digest>, BlobError> {
        let (mut staged, mut whole) = (BTreeSet::new(), HashSet::new());
        for (path, entry) in tree.iter() {
            let Entry::File { digest, bytes, .. } = entry else { continue };
            if known.is_some_and(|known| known.get(path) == Some(entry))
                || staged.contains(digest)
                || whole.contains(digest)
            {
                continue;
            }
            if self.blobs.stands(Room::Files, digest, *bytes, hasher)? {
                whole.insert(*digest);
                continue;
            }
            let other = |error: ScanError| match error {
                ScanError::Io { path, source } => BlobError::Keep { path, source },
                _ => BlobError::Moved { path: path.to_owned() },
            };
            let (parent, name) =
                node::parent(dir, &parts_of(path)?).map_err(|(_, errno)| other(ScanError::io(path, errno)))?;
            let mut source = Source::open(&parent, name, path).map_err(other)?;
            let copied = hasher
                .read(&mut source.file, *bytes, &mut self.create(digest)?)
                .map_err(|source| BlobError::Keep { path: path.to_owned(), source })?;
            if copied != (*digest, *bytes) {
                return Err(BlobError::Moved { path: path.to_owned() });
            }
            staged.insert(*digest);
        }
        Ok(staged)
    }

    /// Makes all that was written to this file system durable.
    fn sync_all(&self) -> Result<(), BlobError> {
        rustix::fs::syncfs(&self.dir).map_err(store(STAGING))
    }

    /// Gives what is staged and durable its final name. One that is there is equal, or damaged.
    fn place(&self, room: Room, address: &Digest) -> Result<(), BlobError> {
        let place = room.place(address);
        let rename = || rustix::fs::renameat(&self.dir, evidence::file_name(address), &self.blobs.dir, &place);
        let placed = match rename() {
            Err(Errno::NOENT) => make_dir(&self.blobs.dir, &room.drawer(address.as_bytes()[0])).and_then(|()| rename()),
            renamed => renamed,
        };
        placed.map_err(store(&place))
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        if let Err(error) = node::remove_tree(&self.blobs.dir, &self.path) {
            warn!(%error, staging = self.path, "a staging could not be removed; a sweep will do it");
        }
    }
}

/// The directory that holds the last of `parts`, made with those above it where they are not there.
fn make_parent<'p>(top: &Dir, parts: &[&'p str]) -> Result<(Dir, &'p str), Errno> {
    let (last, above) = parts.split_last().ok_or(Errno::INVAL)?;
    let mut at = node::open_dir(top, ".")?;
    for name in above {
        at = match node::open_dir(&at, *name) {
            Err(Errno::NOENT) => {
                node::create_dir(&at, name, DIRECTORY_MODE)?;
                node::open_dir(&at, *name)?
            }
            opened => opened?,
        };
    }
    Ok((at, last))
}

fn parts_of(path: &str) -> Result<Vec<&str>, BlobError> {
    node::components(path).ok_or_else(|| BlobError::Path { path: path.to_owned() })
}

fn make_dir(dir: &Dir, name: &str) -> Result<(), Errno> {
    match node::create_dir(dir, name, DIRECTORY_MODE) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn document(tree: &Manifest) -> Vec<u8> {
    serde_json::to_vec(tree).expect("a map of texts to plain data can be written as JSON")
}

fn digest_of(entry: &Entry) -> Option<Digest> {
    match entry {
        Entry::File { digest, .. } => Some(*digest),
        Entry::Link { .. } | Entry::EmptyDirectory {} => None,
    }
}

fn store<E: Into<io::Error>>(path: &str) -> impl FnOnce(E) -> BlobError {
    |error| BlobError::Store { path: path.to_owned(), source: error.into() }
}

#[cfg(test)]
mod tests;
