//! What is taken on the disk, as `du` counts it: the blocks that are allocated, directories included, a file of several
//! names once.
//!
//! Never: follows a link, opens a file. What goes away meanwhile takes nothing, and what is deeper than [`MAX_DEPTH`] is not
//! counted.

use std::collections::HashSet;
use std::io;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::node;

/// The unit of `st_blocks`, whatever the file system's own blocks are.
const BLOCK_BYTES: u64 = 512;

/// Bytes that a file or a directory itself takes.
pub(super) fn of(status: &Stat) -> u64 {
    u64::try_from(status.st_blocks).unwrap_or(0) * BLOCK_BYTES
}

/// Directories below each other that are looked into: each costs a descriptor, and a guest makes any number of them by renames.
const MAX_DEPTH: usize = 256;

/// Files that have several names and were counted.
#[derive(Default)]
pub(super) struct Counted(HashSet<(u64, u64)>);

impl Counted {
    /// Bytes that a name of `dir` takes, with all that is below it.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn taken(&mut self, dir: &Dir, name: &[u8]) -> io::Result<u64> {
        self.taken_at(dir, name, 0)
    }

    fn taken_at(&mut self, dir: &Dir, name: &[u8], depth: usize) -> io::Result<u64> {
        let status = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(0),
            status => status?,
        };
        let is_dir = node::file_type(&status) == FileType::Directory;
        if !is_dir && status.st_nlink > 1 && !self.0.insert((status.st_dev, status.st_ino)) {
            return Ok(0);
        }
        let mut bytes = of(&status);
        if is_dir && depth < MAX_DEPTH {
            match node::open_dir(dir, name) {
                Ok(below) => node::list::<io::Error>(&below, |name, _| {
                    bytes += self.taken_at(&below, name, depth + 1)?;
                    Ok(())
                })?,
                // Gone, or made unreadable by a command: whoever removes it can open it.
                Err(Errno::NOENT | Errno::ACCESS) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_what_du_counts() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(path("a/b")).expect("made");
        std::fs::write(path("a/file"), vec![7; 100_000]).expect("written");
        std::fs::write(path("a/b/small"), b"x").expect("written");
        std::fs::hard_link(path("a/file"), path("a/b/again")).expect("linked");
        std::os::unix::fs::symlink("/usr", path("a/link")).expect("linked");
        // A hole takes nothing.
        std::fs::File::create(path("a/hole")).and_then(|file| file.set_len(1 << 30)).expect("made");
        let handle = Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority()).expect("opens");
        let ours = Counted::default().taken(&handle, b"a").expect("counts");
        let du = std::process::Command::new("du").args(["-s", "-B1"]).arg(path("a")).output().expect("runs");
        let said = String::from_utf8(du.stdout).expect("text");
        assert_eq!(Some(ours.to_string().as_str()), said.split('\t').next());
    }

    #[test]
    fn a_tree_of_any_depth_is_counted_in_bounds() {
        let dir = tempfile::tempdir().expect("a directory");
        let top = Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority()).expect("opens");
        top.create_dir("tree").expect("made");
        // As a guest makes it: each step puts the tree that there is below a new directory.
        for _ in 0..2_000 {
            top.create_dir("above").expect("made");
            top.rename("tree", &top, "above/tree").expect("moved");
            top.rename("above", &top, "tree").expect("moved");
        }
        let taken = Counted::default().taken(&top, b"tree").expect("counts");
        assert_eq!(taken, of(&node::status(&top, "tree").expect("is there")) * (MAX_DEPTH as u64 + 1));
        node::remove_tree(&top, "tree").expect("goes");
    }
}
