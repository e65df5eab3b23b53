//! The guest's files: wasmtime-wasi's own filesystem below our bounds.
//!
//! | what a guest does | what it meets |
//! | --- | --- |
//! | write, extend, leave a hole | every byte is charged to `disk-bytes` before it is written |
//! | create a file or directory | one of `[caps] files` |
//! | make a link, rename between `/work` and `/context` | not permitted |
//! | make or open something deep, use a long path | at most [`MAX_DEPTH`] below its preopen, and [`MAX_PATH_BYTES`] |
//! | move a deep tree deeper | the bound of the host's own walk: the run is `unverifiable` |
//! | list a directory | sorted by name |
//! | read or write through a stream | done when the call returns; see [`streams`] |
//! | anything, on a machine that fails | the end of the run, never an error code |
//! | read times, link counts, identity | the run's start, 1, a hash of the path |
//! | change anything below `/work` | the host is told what, before and after: see [`Touch`] |
//!
//! Never: resolves a path itself; wasmtime-wasi does, below the preopened handle.

pub mod streams;
mod trouble;

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::sync::Arc;

use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, DirectoryEntryStream, ErrorCode, Filesize,
    Host, HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult, OutputStream, Pollable, StreamResult};

use self::streams::{At, Reader, Writer};
use self::trouble::heard;
use super::way::Way;
use crate::doors::trail::{self, Spot, Stamp, Touch};

/// Directories below a preopen. The host walks the tree afterwards, with a bound of its own above this.
pub const MAX_DEPTH: usize = 64;

/// Bytes of one path: Linux's own `PATH_MAX`.
pub const MAX_PATH_BYTES: usize = 4_096;

/// Entries of listings that are open at once: the host holds them all until they are read or the stream is dropped.
pub const MAX_LISTED: usize = 100_000;

/// The name of the workspace in our contract.
const WORK: &str = "/work";

/// Where a program looks that knows nothing of our contract: it opens `a.txt`, and means the directory that it was started in.
const ROOT: &str = "/";

/// What the host remembers of a guest's open files.
pub struct FileBooks {
    gate: Way,
    /// The time that every file shows.
    time: Datetime,
    max_created: u64,
    created: u64,
    places: HashMap<u32, Place>,
    listings: HashMap<u32, VecDeque<DirectoryEntry>>,
    /// The workspace as the guest knows it.
    work: &'static str,
}

/// Where an open descriptor is: its preopen, and its path below, for depth and identity.
#[derive(Clone, Debug)]
struct Place {
    root: Arc<str>,
    path: Vec<String>,
}

impl Place {
    fn join(&self, path: &str) -> Self {
        let mut joined = self.clone();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    joined.path.pop();
                }
                name => joined.path.push(name.to_owned()),
            }
        }
        joined
    }

    /// An identity that is the same on every machine and in every run.
    fn hash(&self) -> MetadataHashValue {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.root.as_bytes());
        for name in &self.path {
            hasher.update(b"/").update(name.as_bytes());
        }
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
        let hash = hasher.finalize();
        MetadataHashValue { lower: word(&hash.as_bytes()[..8]), upper: word(&hash.as_bytes()[8..16]) }
    }
}

impl FileBooks {
    /// Books for a guest that has no open file yet.
    pub fn new(gate: Way, start_ms: u64, max_created: u64) -> Self {
        let nanoseconds = u32::try_from(start_ms % 1_000).expect("below 1,000") * 1_000_000;
        Self {
            gate,
            time: Datetime { seconds: start_ms / 1_000, nanoseconds },
            max_created,
            created: 0,
            places: HashMap::new(),
            listings: HashMap::new(),
            work: WORK,
        }
    }

    /// Shows the workspace where a program looks for it.
    pub fn of_program(&mut self) {
        self.work = ROOT;
    }

    fn charge(&self, bytes: u64) -> Result<(), ErrorCode> {
        if bytes == 0 || self.gate.wrote(bytes) { Ok(()) } else { Err(ErrorCode::InsufficientSpace) }
    }

    fn count_created(&mut self) -> Result<(), ErrorCode> {
        if self.created >= self.max_created {
            return Err(ErrorCode::InsufficientSpace);
        }
        self.created += 1;
        Ok(())
    }

    fn place(&self, fd: u32, path: &str) -> Result<Place, ErrorCode> {
        if path.len() > MAX_PATH_BYTES {
            return Err(ErrorCode::NameTooLong);
        }
        let place = self.places.get(&fd).ok_or(ErrorCode::BadDescriptor)?.join(path);
        if place.path.len() > MAX_DEPTH {
            return Err(ErrorCode::NameTooLong);
        }
        Ok(place)
    }

    fn plain(&self, stat: DescriptorStat) -> DescriptorStat {
        let size = if stat.type_ == DescriptorType::Directory { 0 } else { stat.size };
        DescriptorStat {
            type_: stat.type_,
            link_count: 1,
            size,
            data_access_timestamp: Some(self.time),
            data_modification_timestamp: Some(self.time),
            status_change_timestamp: Some(self.time),
        }
    }
}

/// The filesystem of a guest, for one call.
pub struct Files<'a> {
    pub inner: WasiFilesystemCtxView<'a>,
    pub books: &'a mut FileBooks,
}

/// Links the WASI filesystem interfaces to [`Files`].
pub struct HasFiles;

impl HasData for HasFiles {
    type Data<'a> = Files<'a>;
}

fn again<T: 'static>(resource: &Resource<T>) -> Resource<T> {
    Resource::new_borrow(resource.rep())
}

impl Files<'_> {
    async fn size(&mut self, fd: &Resource<Descriptor>) -> FsResult<u64> {
        Ok(heard(HostDescriptor::stat(&mut self.inner, again(fd)).await)?.size)
    }

    async fn is_there(&mut self, fd: &Resource<Descriptor>, flags: PathFlags, path: String) -> FsResult<bool> {
        match heard(HostDescriptor::stat_at(&mut self.inner, again(fd), flags, path).await) {
            Ok(_) => Ok(true),
            Err(error) if error.downcast_ref().is_some() => Ok(false),
            Err(trap) => Err(trap),
        }
    }

    /// The file of a descriptor, as far as its grant lets it be written. How it was opened is the system's to look at.
    fn writable(&self, fd: &Resource<Descriptor>) -> FsResult<Arc<File>> {
        match self.inner.table.get(fd)? {
            Descriptor::File(file) if file.perms.write_not_permitted() => Err(ErrorCode::NotPermitted.into()),
            Descriptor::File(file) => Ok(Arc::clone(&file.file)),
            Descriptor::Dir(_) => Err(ErrorCode::BadDescriptor.into()),
        }
    }

    fn charged(&mut self, inner: Writer, file: Arc<File>, hole: u64) -> FsResult<Resource<DynOutputStream>> {
        let writing = Writing { file, gate: self.books.gate.clone() };
        let stream: DynOutputStream = Box::new(Charged { inner, writing, hole });
        Ok(self.inner.table.push(stream)?)
    }

    /// A file that is about to be written, if the descriptor is one.
    fn writing(&self, fd: &Resource<Descriptor>) -> FsResult<Option<Writing>> {
        match self.inner.table.get(fd)? {
            Descriptor::File(file) => Ok(Some(Writing { file: Arc::clone(&file.file), gate: self.books.gate.clone() })),
            Descriptor::Dir(_) => Ok(None),
        }
    }

    /// Names that are about to be made, moved or removed, if they are in the workspace.
    fn naming<const N: usize>(
        &self,
        names: [(&Resource<Descriptor>, &str, PathFlags); N],
    ) -> FsResult<Option<Naming<N>>> {
        let mut directories = Vec::with_capacity(N);
        let mut spots = Vec::with_capacity(N);
        for (fd, path, flags) in names {
            let in_work = self.books.places.get(&fd.rep()).is_some_and(|place| &*place.root == WORK);
            let Descriptor::Dir(dir) = self.inner.table.get(fd)? else { return Ok(None) };
            if !in_work || dir.perms.write_not_permitted() {
                return Ok(None);
            }
            let directory = heard(trail::stamp(&dir.dir).map_err(FsError::from))?.inode();
            let follow = flags.contains(PathFlags::SYMLINK_FOLLOW);
            spots.push(Spot { directory, path: path.to_owned(), follow });
            directories.push(Arc::clone(&dir.dir));
        }
        let gate = self.books.gate.clone();
        gate.touched(Touch::Naming(spots.clone()));
        let spots = spots.try_into().expect("as many as names");
        Ok(Some(Naming { spots, directories, gate }))
    }
}

/// A file while it is written. Whoever is stopped in the middle leaves it as one that is being written.
struct Writing {
    file: Arc<File>,
    gate: Way,
}

impl Writing {
    fn begin(&self) -> std::io::Result<()> {
        trail::stamp(&self.file).map(|before| self.gate.touched(Touch::Writing(before)))
    }

    /// Also if it failed: a part may be written.
    fn end(&self) -> std::io::Result<()> {
        trail::stamp(&self.file).map(|after| self.gate.touched(Touch::Written(after)))
    }
}

/// Names while they are changed. Whoever is stopped in the middle leaves them as names that are being changed.
struct Naming<const N: usize> {
    spots: [Spot; N],
    directories: Vec<Arc<File>>,
    gate: Way,
}

impl<const N: usize> Naming<N> {
    /// What is at a name now: its inode, and how it stands if it is a file.
    fn at(&self, index: usize) -> Option<(u64, Option<Stamp>)> {
        trail::stamp_at(self.directories.get(index)?, &self.spots.get(index)?.path).ok()
    }

    /// Says what came of it. Names of which that cannot be seen stay names that are being changed.
    fn end<T>(self, result: &FsResult<T>, done: impl FnOnce(&Self) -> Option<Touch>) {
        let touch = if result.is_ok() { done(&self) } else { Some(Touch::Unchanged) };
        if let Some(touch) = touch {
            self.gate.touched(touch);
        }
    }
}

impl preopens::Host for Files<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let mut directories = preopens::Host::get_directories(&mut self.inner)?;
        for (fd, name) in &mut directories {
            let place = Place { root: Arc::from(name.as_str()), path: Vec::new() };
            self.books.places.insert(fd.rep(), place);
            if name == WORK {
                self.books.work.clone_into(name);
            }
        }
        Ok(directories)
    }
}

impl Host for Files<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        Host::convert_error_code(&mut self.inner, error)
    }

    fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        Host::filesystem_error_code(&mut self.inner, error)
    }
}

impl HostDescriptor for Files<'_> {
    fn read_via_stream(&mut self, fd: Resource<Descriptor>, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        let file = match self.inner.table.get(&fd)? {
            Descriptor::File(file) => Arc::clone(&file.file),
            Descriptor::Dir(_) => return Err(ErrorCode::IsDirectory.into()),
        };
        let stream: DynInputStream = Box::new(Reader::new(file, offset));
        Ok(self.inner.table.push(stream)?)
    }

    fn write_via_stream(&mut self, fd: Resource<Descriptor>, offset: Filesize) -> FsResult<Resource<DynOutputStream>> {
        let file = self.writable(&fd)?;
        let data = heard(file.metadata().map_err(FsError::from))?;
        self.charged(Writer::new(Arc::clone(&file), At::Position(offset)), file, offset.saturating_sub(data.len()))
    }

    fn append_via_stream(&mut self, fd: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        let file = self.writable(&fd)?;
        self.charged(Writer::new(Arc::clone(&file), At::End), file, 0)
    }

    async fn advise(
        &mut self,
        fd: Resource<Descriptor>,
        offset: Filesize,
        length: Filesize,
        advice: Advice,
    ) -> FsResult<()> {
        heard(HostDescriptor::advise(&mut self.inner, fd, offset, length, advice).await)
    }

    /// A private copy needs no durability of its own, and a guest must not keep the disk busy.
    async fn sync_data(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.inner.table.get(&fd)?;
        Ok(())
    }

    async fn sync(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.inner.table.get(&fd)?;
        Ok(())
    }

    async fn get_flags(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        heard(HostDescriptor::get_flags(&mut self.inner, fd).await)
    }

    async fn get_type(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorType> {
        heard(HostDescriptor::get_type(&mut self.inner, fd).await)
    }

    async fn set_size(&mut self, fd: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        let growth = size.saturating_sub(self.size(&fd).await?);
        let writing = self.writing(&fd)?;
        if let Some(writing) = &writing {
            heard(writing.begin().map_err(FsError::from))?;
        }
        let set = match self.books.charge(growth) {
            Ok(()) => heard(HostDescriptor::set_size(&mut self.inner, fd, size).await),
            Err(full) => Err(full.into()),
        };
        if let Some(writing) = &writing {
            heard(writing.end().map_err(FsError::from))?;
        }
        set
    }

    /// Accepted and without effect: every file shows the run's start.
    async fn set_times(&mut self, fd: Resource<Descriptor>, _: NewTimestamp, _: NewTimestamp) -> FsResult<()> {
        self.inner.table.get(&fd)?;
        Ok(())
    }

    async fn read(
        &mut self,
        fd: Resource<Descriptor>,
        length: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        heard(HostDescriptor::read(&mut self.inner, fd, length, offset).await)
    }

    async fn write(&mut self, fd: Resource<Descriptor>, bytes: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        let hole = offset.saturating_sub(self.size(&fd).await?);
        let length = bytes.len() as u64;
        let writing = self.writing(&fd)?;
        if let Some(writing) = &writing {
            heard(writing.begin().map_err(FsError::from))?;
        }
        let written = match self.books.charge(hole.saturating_add(length)) {
            Ok(()) => heard(HostDescriptor::write(&mut self.inner, fd, bytes, offset).await),
            Err(full) => Err(full.into()),
        };
        if let Some(writing) = &writing {
            heard(writing.end().map_err(FsError::from))?;
        }
        let written = written?;
        // A file takes all of it, unless the machine runs out of room on the way.
        if written < length {
            return Err(FsError::trap(trouble::fault(format_args!("{written} of {length} bytes were written"))));
        }
        Ok(written)
    }

    async fn read_directory(&mut self, fd: Resource<Descriptor>) -> FsResult<Resource<DirectoryEntryStream>> {
        let stream = heard(HostDescriptor::read_directory(&mut self.inner, fd).await)?;
        let held: usize = self.books.listings.values().map(VecDeque::len).sum();
        let mut entries = Vec::new();
        while let Some(entry) = heard(self.inner.read_directory_entry(again(&stream)).await)? {
            if held + entries.len() >= MAX_LISTED {
                HostDirectoryEntryStream::drop(&mut self.inner, stream).map_err(FsError::trap)?;
                return Err(ErrorCode::InsufficientMemory.into());
            }
            entries.push(entry);
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        self.books.listings.insert(stream.rep(), entries.into());
        Ok(stream)
    }

    async fn create_directory_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.books.place(fd.rep(), &path)?;
        self.books.count_created()?;
        let naming = self.naming([(&fd, path.as_str(), PathFlags::empty())])?;
        let made = heard(HostDescriptor::create_directory_at(&mut self.inner, fd, path).await);
        if let Some(naming) = naming {
            naming.end(&made, |naming| {
                let (inode, _) = naming.at(0)?;
                Some(Touch::MadeDirectory(naming.spots[0].clone(), inode))
            });
        }
        made
    }

    async fn stat(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        let stat = heard(HostDescriptor::stat(&mut self.inner, fd).await)?;
        Ok(self.books.plain(stat))
    }

    async fn stat_at(&mut self, fd: Resource<Descriptor>, flags: PathFlags, path: String) -> FsResult<DescriptorStat> {
        self.books.place(fd.rep(), &path)?;
        let stat = heard(HostDescriptor::stat_at(&mut self.inner, fd, flags, path).await)?;
        Ok(self.books.plain(stat))
    }

    async fn set_times_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        _: NewTimestamp,
        _: NewTimestamp,
    ) -> FsResult<()> {
        heard(HostDescriptor::stat_at(&mut self.inner, fd, flags, path).await)?;
        Ok(())
    }

    async fn link_at(
        &mut self,
        _: Resource<Descriptor>,
        _: PathFlags,
        _: String,
        _: Resource<Descriptor>,
        _: String,
    ) -> FsResult<()> {
        Err(ErrorCode::NotPermitted.into())
    }

    async fn open_at(
        &mut self,
        fd: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let place = self.books.place(fd.rep(), &path)?;
        let makes = open_flags.contains(OpenFlags::CREATE) && !self.is_there(&fd, path_flags, path.clone()).await?;
        if makes {
            self.books.count_created()?;
        }
        let naming = match makes || open_flags.contains(OpenFlags::TRUNCATE) {
            true => self.naming([(&fd, path.as_str(), path_flags)])?,
            false => None,
        };
        let opened = heard(HostDescriptor::open_at(&mut self.inner, fd, path_flags, path, open_flags, flags).await);
        if let Some(naming) = naming {
            let file = opened.as_ref().ok().map(|fd| self.writing(fd)).transpose()?.flatten();
            naming.end(&opened, |naming| {
                let stamp = trail::stamp(&file?.file).ok()?;
                Some(if makes { Touch::MadeFile(naming.spots[0].clone(), stamp) } else { Touch::Emptied(stamp) })
            });
        }
        let opened = opened?;
        self.books.places.insert(opened.rep(), place);
        Ok(opened)
    }

    async fn readlink_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<String> {
        self.books.place(fd.rep(), &path)?;
        heard(HostDescriptor::readlink_at(&mut self.inner, fd, path).await)
    }

    async fn remove_directory_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.books.place(fd.rep(), &path)?;
        let naming = self.naming([(&fd, path.as_str(), PathFlags::empty())])?;
        let removed = heard(HostDescriptor::remove_directory_at(&mut self.inner, fd, path).await);
        if let Some(naming) = naming {
            naming.end(&removed, |naming| Some(Touch::Removed(naming.spots[0].clone())));
        }
        removed
    }

    async fn rename_at(
        &mut self,
        fd: Resource<Descriptor>,
        old_path: String,
        new_fd: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        let from = self.books.place(fd.rep(), &old_path)?;
        let to = self.books.place(new_fd.rep(), &new_path)?;
        if from.root != to.root {
            return Err(ErrorCode::NotPermitted.into());
        }
        let none = PathFlags::empty();
        let naming = self.naming([(&fd, old_path.as_str(), none), (&new_fd, new_path.as_str(), none)])?;
        let before = naming.as_ref().and_then(|naming| naming.at(0)?.1);
        let moved = heard(HostDescriptor::rename_at(&mut self.inner, fd, old_path, new_fd, new_path).await);
        if let Some(naming) = naming {
            naming.end(&moved, |naming| {
                let ([from, to], after) = (naming.spots.clone(), naming.at(1).and_then(|(_, stamp)| stamp));
                Some(Touch::Moved { from, to, before, after })
            });
        }
        moved
    }

    async fn symlink_at(&mut self, _: Resource<Descriptor>, _: String, _: String) -> FsResult<()> {
        Err(ErrorCode::NotPermitted.into())
    }

    async fn unlink_file_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.books.place(fd.rep(), &path)?;
        let naming = self.naming([(&fd, path.as_str(), PathFlags::empty())])?;
        let removed = heard(HostDescriptor::unlink_file_at(&mut self.inner, fd, path).await);
        if let Some(naming) = naming {
            naming.end(&removed, |naming| Some(Touch::Removed(naming.spots[0].clone())));
        }
        removed
    }

    async fn is_same_object(&mut self, a: Resource<Descriptor>, b: Resource<Descriptor>) -> wasmtime::Result<bool> {
        let same = HostDescriptor::is_same_object(&mut self.inner, a, b).await;
        same.map_err(|error| match error.downcast_ref().and_then(trouble::ending) {
            Some(end) => end.into(),
            None => error,
        })
    }

    async fn metadata_hash(&mut self, fd: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        Ok(self.books.place(fd.rep(), "")?.hash())
    }

    async fn metadata_hash_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        let place = self.books.place(fd.rep(), &path)?;
        heard(HostDescriptor::stat_at(&mut self.inner, fd, flags, path).await)?;
        Ok(place.hash())
    }

    fn drop(&mut self, fd: Resource<Descriptor>) -> wasmtime::Result<()> {
        self.books.places.remove(&fd.rep());
        HostDescriptor::drop(&mut self.inner, fd)
    }
}

impl HostDirectoryEntryStream for Files<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        self.inner.table.get(&stream)?;
        Ok(self.books.listings.get_mut(&stream.rep()).and_then(VecDeque::pop_front))
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        self.books.listings.remove(&stream.rep());
        HostDirectoryEntryStream::drop(&mut self.inner, stream)
    }
}

/// An output stream into a file that pays for what it takes, before it takes it.
struct Charged {
    inner: Writer,
    writing: Writing,
    /// Bytes between the end of the file and the first write, paid with it.
    hole: u64,
}

#[async_trait::async_trait]
impl Pollable for Charged {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait::async_trait]
impl OutputStream for Charged {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        let cost = self.hole.saturating_add(bytes.len() as u64);
        self.writing.begin().map_err(streams::failed)?;
        let written = if cost > 0 && !self.writing.gate.wrote(cost) {
            let full = std::io::Error::from(rustix::io::Errno::NOSPC);
            Err(wasmtime_wasi::p2::StreamError::LastOperationFailed(full.into()))
        } else {
            // Only now: a hole that was refused is still to be paid.
            self.hole = 0;
            self.inner.write(bytes)
        };
        self.writing.end().map_err(streams::failed)?;
        written
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.inner.check_write()
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}
