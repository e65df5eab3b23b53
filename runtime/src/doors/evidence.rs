//! Evidence by content address, in a directory that no guest can reach.
//!
//! Never: interprets what it keeps. What is attached twice is kept once.

use std::io::{self, Write};

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

/// Keeps bytes below `dir`, durably. The caller has charged for them and checked their size.
///
/// # Errors
/// The disk is full, read-only or broken: nothing is kept.
pub fn keep(dir: &Dir, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
    let name = file_name(digest);
    let mut file = match dir.open_with(&name, OpenOptions::new().create_new(true).write(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    };
    let kept = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| dir.open(".")?.sync_all());
    if kept.is_err() {
        // A torn file under a good name would later pass for the evidence.
        dir.remove_file(&name)?;
    }
    kept
}
