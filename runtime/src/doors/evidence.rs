//! Evidence by content address, in a directory that no guest can reach.
//!
//! Never: interprets what it keeps. What is attached twice is kept once.

use std::io::{self, Read, Write};

use cap_std::fs::{Dir, OpenOptions};

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

/// Keeps bytes below `dir`, durably. The caller has charged for them and checked their size.
///
/// # Errors
/// The disk is full, read-only or broken: nothing is kept.
pub fn keep(dir: &Dir, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
    let name = file_name(digest);
    if dir.try_exists(&name)? {
        return Ok(());
    }
    // A torn file under a good name would pass for the evidence when the run goes on after a crash.
    let draft = format!("{name}.draft");
    let mut file = dir.open_with(&draft, OpenOptions::new().write(true).create(true).truncate(true))?;
    let kept = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| dir.rename(&draft, dir, &name))
        .and_then(|()| dir.open(".")?.sync_all());
    if kept.is_err() {
        drop(dir.remove_file(&draft));
    }
    kept
}
