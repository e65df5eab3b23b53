//! Evidence by content address, in a directory that no guest can reach.
//!
//! Never: interprets what it keeps. What is attached twice is kept once.

use std::io::{self, Read, Write};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};

use crate::rules::digest::Digest;

/// The address of these bytes.
pub fn address(bytes: &[u8]) -> Digest {
    Digest::from_bytes(*blake3::hash(bytes).as_bytes())
}

/// The file that keeps what a digest names: its hexadecimal digits.
pub fn file_name(digest: &Digest) -> String {
    digest.to_string().trim_start_matches("blake3:").to_owned()
}

/// What is kept below `dir` under a digest, unchecked, of at most `max_bytes`.
///
/// # Errors
/// It is not there, is larger, or cannot be read.
pub fn read(dir: &Dir, digest: &Digest, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut found = Vec::new();
    dir.open(file_name(digest))?.take(max_bytes.saturating_add(1)).read_to_end(&mut found)?;
    if found.len() as u64 > max_bytes { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(found) }
}

/// Keeps bytes below `dir`, durably. The caller has charged for them and checked their size. What is there already, and
/// whole, is not written again. Whoever keeps something in the same directory at the same time waits: two calls of one run
/// may attach the same.
///
/// # Errors
/// The disk is full, read-only or broken: nothing is kept.
pub fn keep(dir: &Dir, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
    let name = file_name(digest);
    // Opened anew: a lock is one of whoever opened it. It ends with the file.
    let directory = dir.open(".")?.into_std();
    directory.lock()?;
    if read(dir, digest, bytes.len() as u64).is_ok_and(|found| address(&found) == *digest) {
        return Ok(());
    }
    // A torn file under a good name would pass for the evidence when the run goes on after a crash.
    let draft = format!("{name}.draft");
    let mut file = dir.open_with(&draft, OpenOptions::new().write(true).create(true).truncate(true).mode(0o600))?;
    let kept = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| dir.rename(&draft, dir, &name))
        .and_then(|()| directory.sync_all());
    if kept.is_err() {
        drop(dir.remove_file(&draft));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crash_left_half_written_does_not_pass_for_the_evidence() {
        let dir = tempfile::tempdir().expect("a directory");
        let handle = Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority()).expect("opens");
        let digest = address(b"the proof");
        let name = dir.path().join(file_name(&digest));
        std::fs::write(name.with_extension("draft"), b"the pr").expect("writes");
        keep(&handle, &digest, b"the proof").expect("kept");
        assert_eq!(read(&handle, &digest, 9).expect("reads"), b"the proof");
        keep(&handle, &digest, b"the proof").expect("is there");
        assert_eq!(std::fs::read_dir(dir.path()).expect("reads").count(), 1, "once, and no draft");
    }

    #[test]
    fn evidence_that_was_damaged_is_kept_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let handle = Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority()).expect("opens");
        let digest = address(b"the proof");
        for damage in [&b"the pro0f"[..], b"", b"the proof and more"] {
            std::fs::write(dir.path().join(file_name(&digest)), damage).expect("writes");
            keep(&handle, &digest, b"the proof").expect("kept");
            assert_eq!(read(&handle, &digest, 9).expect("reads"), b"the proof");
        }
    }

    #[test]
    fn what_is_kept_by_many_at_once_is_kept_for_each() {
        for _ in 0..50 {
            let dir = tempfile::tempdir().expect("a directory");
            let handle = Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority()).expect("opens");
            let digest = address(b"the proof");
            std::thread::scope(|threads| {
                for _ in 0..8 {
                    threads.spawn(|| {
                        keep(&handle, &digest, b"the proof").expect("kept");
                        assert_eq!(read(&handle, &digest, 9).expect("reads"), b"the proof");
                    });
                }
            });
            assert_eq!(std::fs::read_dir(dir.path()).expect("reads").count(), 1, "once, and no draft");
        }
    }

    #[test]
    fn evidence_is_read_up_to_n_bytes_and_not_n_plus_1() {
        let dir = tempfile::tempdir().expect("a directory");
        let handle = Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority()).expect("opens");
        let digest = address(b"123456789");
        keep(&handle, &digest, b"123456789").expect("kept");
        assert_eq!(read(&handle, &digest, 9).expect("as many as allowed").len(), 9);
        assert!(read(&handle, &digest, 8).is_err());
    }
}
