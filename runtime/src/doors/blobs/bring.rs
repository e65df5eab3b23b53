//! A directory brought from one tree to another that is kept: what differs is removed or written, and the rest stays as it is, so
//! that whoever has the directory open goes on with it.
//!
//! Never: follows a link, touches what neither tree has.

use std::io;

use cap_std::fs::Dir;
use rustix::io::Errno;

use super::{BlobError, Blobs, parts_of};
use crate::doors::node;
use crate::doors::tree::{Entry, Manifest};
use crate::rules::digest::Digest;

impl Blobs {
    /// Makes `target`, which holds the tree `from`, hold the tree `to`. Nobody else writes there meanwhile. Not durable.
    ///
    /// # Errors
    /// [`BlobError`] at the first entry that cannot be changed; `target` is then neither of both.
    pub fn bring(&self, from: &Manifest, to: &Manifest, target: &Dir) -> Result<(), BlobError> {
        let differs = |path: &str| from.get(path) != to.get(path);
        for (path, entry) in from.iter().filter(|(path, _)| differs(path)) {
            remove(target, path, entry).map_err(|source| BlobError::Restore { path: path.to_owned(), source })?;
        }
        // A directory that only holds what is in neither tree is there already.
        let is_there = |path: &str, entry: &Entry| {
            matches!(entry, Entry::EmptyDirectory {}) && target.symlink_metadata(path).is_ok_and(|it| it.is_dir())
        };
        self.restore(&to.only(|path, entry| differs(path) && !is_there(path, entry)), target)
    }

    /// As [`Blobs::bring`], to the tree of an address.
    ///
    /// # Errors
    /// As [`Blobs::bring`], and as [`Blobs::tree`].
    pub fn bring_to(&self, from: &Manifest, address: &Digest, target: &Dir) -> Result<(), BlobError> {
        self.bring(from, &self.tree(address, super::MAX_TREE_BYTES)?, target)
    }
}

/// Removes an entry, and the directories above that hold nothing any more.
fn remove(target: &Dir, path: &str, entry: &Entry) -> io::Result<()> {
    let parts = parts_of(path).map_err(io::Error::other)?;
    let (parent, name) = node::parent(target, &parts).map_err(|(_, errno)| io::Error::from(errno))?;
    match entry {
        Entry::File { .. } | Entry::Link { .. } => parent.remove_file(name)?,
        Entry::EmptyDirectory {} => remove_if_empty(&parent, name)?,
    }
    for end in (1..parts.len()).rev() {
        let (parent, name) = node::parent(target, &parts[..end]).map_err(|(_, errno)| io::Error::from(errno))?;
        remove_if_empty(&parent, name)?;
    }
    Ok(())
}

fn remove_if_empty(parent: &Dir, name: &str) -> io::Result<()> {
    match parent.remove_dir(name) {
        Ok(()) => Ok(()),
        Err(error)
            if [Errno::NOTEMPTY, Errno::EXIST]
                .iter()
                .any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) =>
        {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doors::ignored::Ignored;
    use crate::doors::tree::{Bounds, scan};

    fn dir(of: &tempfile::TempDir) -> Dir {
        Dir::open_ambient_dir(of.path(), cap_std::ambient_authority()).expect("opens")
    }

    fn seen(dir: &Dir) -> Manifest {
        scan(dir, &Bounds::default(), &Ignored::default()).expect("scans")
    }

    #[test]
    fn a_directory_is_brought_there_and_back_and_what_is_the_same_stays() {
        let (store, place) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
        let blobs = Blobs::open(dir(&store)).expect("opens");
        let work = dir(&place);
        let write = |path: &str, text: &str| {
            let path = std::path::Path::new(path);
            if let Some(parent) = path.parent() {
                work.create_dir_all(parent).expect("made");
            }
            work.write(path, text).expect("written");
        };
        write("same/a.txt", "same");
        write("gone/deep/b.txt", "gone");
        write("file", "a file that becomes a directory");
        write("dir/inside", "a directory that becomes a file");
        work.create_dir("empty").expect("made");
        write("changed", "before");
        let before = seen(&work);
        let keeping = blobs.keeping().expect("kept");
        let first = keeping.keep_tree(&work, &before, None).expect("kept");
        let same = work.metadata("same/a.txt").expect("is there");

        work.remove_dir_all("gone").expect("removed");
        work.remove_file("file").expect("removed");
        write("file/now/c.txt", "inside");
        work.remove_dir_all("dir").expect("removed");
        write("dir", "a file");
        write("empty/d.txt", "not any more");
        write("changed", "after");
        let after = seen(&work);
        let second = keeping.keep_tree(&work, &after, None).expect("kept");

        blobs.bring_to(&after, &first, &work).expect("brought back");
        assert_eq!(seen(&work), before);
        blobs.bring_to(&before, &second, &work).expect("brought there");
        assert_eq!(seen(&work), after);
        let now = work.metadata("same/a.txt").expect("is there");
        assert_eq!(now.modified().expect("a time"), same.modified().expect("a time"));
    }
}
