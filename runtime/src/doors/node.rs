//! One name below a directory handle: opened, listed, linked or removed, never through a symbolic link.
//!
//! Every call resolves one path component and refuses to follow it, so a tree in which a guest left any link at all
//! cannot lead us out. cap-std's own calls would follow links that stay inside; here none is followed. A path of
//! several components is walked one handle at a time by [`parent`], after [`components`] has refused `..`, an absolute
//! path and an empty name.

use std::fs::File;
use std::io;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// The owner's execute bit: what "executable" means here, as in git.
const OWNER_EXECUTES: u32 = 0o100;

/// The components of a `/`-separated relative path, or `None` if it is empty, absolute or has an empty, `.` or `..`
/// component or a NUL.
pub(super) fn components(path: &str) -> Option<Vec<&str>> {
    let parts: Vec<&str> = path.split('/').collect();
    let sound = |part: &&str| !matches!(*part, "" | "." | "..") && !part.contains('\0');
    parts.iter().all(sound).then_some(parts)
}

/// Opens a directory of `dir`. `"."` is a second handle of `dir` itself, with its own position and lock.
pub(super) fn open_dir(dir: &Dir, name: impl rustix::path::Arg) -> Result<Dir, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(Dir::from(rustix::fs::openat(dir, name, flags, Mode::empty())?))
}

/// Opens a file of `dir` for reading. Never waits for the other end of a fifo, never becomes a terminal's owner.
pub(super) fn open_file(dir: &Dir, name: &str) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?.into())
}

/// Creates a file that must not exist, with `mode` less the umask.
pub(super) fn create_file(dir: &Dir, name: &str, mode: u32) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode))?.into())
}

/// Creates a directory that must not exist, with `mode` less the umask.
pub(super) fn create_dir(dir: &Dir, name: &str, mode: u32) -> Result<(), Errno> {
    rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(mode))
}

/// Creates a symbolic link that must not exist.
pub(super) fn create_link(dir: &Dir, name: &str, target: &str) -> Result<(), Errno> {
    rustix::fs::symlinkat(target, dir, name)
}

/// The bytes of a symbolic link.
pub(super) fn read_link(dir: &Dir, name: &str) -> Result<Vec<u8>, Errno> {
    Ok(rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes())
}

/// The status of the name itself.
pub(super) fn status(dir: &Dir, name: &str) -> Result<Stat, Errno> {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// What kind of thing a status describes.
pub(super) fn file_type(status: &Stat) -> FileType {
    FileType::from_raw_mode(status.st_mode)
}

/// Whether the owner may execute the file.
pub(super) fn executable(status: &Stat) -> bool {
    status.st_mode & OWNER_EXECUTES != 0
}

/// Each name of `dir` with its type, in the order of the disk, as long as `each` returns `Ok`.
///
/// # Errors
/// What `each` returned, or the failure to read on.
pub(super) fn list<E: From<Errno>>(dir: &Dir, mut each: impl FnMut(&[u8], FileType) -> Result<(), E>) -> Result<(), E> {
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems do not say.
            FileType::Unknown => file_type(&rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?),
            known => known,
        };
        each(name.to_bytes(), kind)?;
    }
    Ok(())
}

/// Opens the directory that holds the last of `components`, and returns that last name with it.
///
/// # Errors
/// The first component that is absent, a link or no directory, by its index.
pub(super) fn parent<'p>(dir: &Dir, components: &[&'p str]) -> Result<(Dir, &'p str), (usize, Errno)> {
    let mut at = open_dir(dir, ".").map_err(|errno| (0, errno))?;
    let (last, above) = components.split_last().ok_or((0, Errno::INVAL))?;
    for (index, name) in above.iter().enumerate() {
        at = open_dir(&at, *name).map_err(|errno| (index, errno))?;
    }
    Ok((at, last))
}

/// Whether two handles are of one directory.
///
/// # Errors
/// One of them cannot be asked.
pub fn is_same(one: &Dir, other: &Dir) -> io::Result<bool> {
    let (one, other) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// Whether an error of opening a directory says that no directory of that name is there (absent, a link, a file).
pub(super) fn no_directory(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

/// The directory that holds a path, and its last name. `None`: there is no such directory, or a link or a file in its place.
pub(super) fn place<'p>(real: &Dir, path: &'p str) -> io::Result<Option<(Dir, &'p str)>> {
    let parts = components(path).ok_or(Errno::INVAL)?;
    match parent(real, &parts) {
        Ok(found) => Ok(Some(found)),
        Err((_, errno)) if no_directory(errno) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Whether a name is of an empty directory.
pub(super) fn is_empty(dir: &Dir, name: &str) -> Result<bool, Errno> {
    let opened = match open_dir(dir, name) {
        Ok(opened) => opened,
        Err(errno) if no_directory(errno) => return Ok(false),
        Err(errno) => return Err(errno),
    };
    let mut empty = true;
    list::<Errno>(&opened, |_, _| {
        empty = false;
        Ok(())
    })?;
    Ok(empty)
}

/// Whether anything is at a name.
pub(super) fn is_there(dir: &Dir, name: &str) -> io::Result<bool> {
    match status(dir, name) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes `name` from `dir` with all that is below it, whatever a guest made of it: any depth, any names, any types.
/// Absent is fine. Uses a fixed number of descriptors and no recursion: a directory found below another is first moved
/// up, so the tree is never more than two levels deep where we work. For use on trees that nobody writes any more.
///
/// # Errors
/// The first failure; what was removed until then stays removed, and a second call goes on.
pub fn remove_tree(dir: &Dir, name: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // POSIX says EPERM and Linux says EISDIR when it is a directory.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    let top = open_writable(dir, name.as_bytes())?;
    let mut fresh = 0_u64;
    loop {
        let below = unlink_all(&top)?;
        if below.is_empty() {
            break;
        }
        for child in below {
            let inner = open_writable(&top, &child)?;
            for grandchild in unlink_all(&inner)? {
                move_up(&inner, &grandchild, &top, &mut fresh)?;
            }
            rustix::fs::unlinkat(&top, child.as_slice(), AtFlags::REMOVEDIR)?;
        }
    }
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?;
    Ok(())
}

/// Opens a directory that is to be emptied. A build may have left it read-only, as Go's module cache is.
fn open_writable(dir: &Dir, name: &[u8]) -> Result<Dir, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    if rustix::fs::fstat(&opened)?.st_mode & 0o700 != 0o700 {
        rustix::fs::fchmod(&opened, Mode::RWXU)?;
    }
    Ok(Dir::from(opened))
}

/// Unlinks all but the directories of `dir`, and returns their names.
fn unlink_all(dir: &Dir) -> Result<Vec<Vec<u8>>, Errno> {
    let mut directories = Vec::new();
    let mut others = Vec::new();
    list::<Errno>(dir, |name, kind| {
        if kind == FileType::Directory { &mut directories } else { &mut others }.push(name.to_vec());
        Ok(())
    })?;
    for name in others {
        rustix::fs::unlinkat(dir, name.as_slice(), AtFlags::empty())?;
    }
    Ok(directories)
}

/// Moves a directory to a free name of `top`. `fresh` only grows, so hostile names cost one try each, once.
fn move_up(from: &Dir, name: &[u8], top: &Dir, fresh: &mut u64) -> Result<(), Errno> {
    loop {
        *fresh += 1;
        // An empty directory of that name is replaced, which is as good: it was to go as well.
        match rustix::fs::renameat(from, name, top, fresh.to_string()) {
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
            done => return done,
        }
    }
}
