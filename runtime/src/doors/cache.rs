//! Compiled code by digest, authenticated: machine code that this host did not write is never loaded.
//!
//! Never: fails a run, is larger than `MAX_CACHE_BYTES`: the least recently used entry is evicted first. A reader reads an entry
//! whole, so an eviction costs a compilation and nothing else. A missing, foreign, torn or altered entry is a rebuild. Entries
//! carry a keyed BLAKE3 over the component's digest, the engine's fingerprint and the code; the key is in the same directory, for
//! its owner only.

use std::io::{self, Read, Write};

use cap_std::fs::{Dir, File, MetadataExt, OpenOptions, OpenOptionsExt};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW};

use super::{disk, node};
use crate::rules::digest::Digest;

const KEY_FILE: &str = "key";
const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 32;

/// Bytes of one entry. Cranelift makes two to three times the component's own bytes, which the shape gate bounds.
const MAX_ENTRY_BYTES: u64 = 512 << 20;

/// Bytes of all entries on the disk. A component in Python compiles to some 40 MB, one in Rust to less than a tenth of that.
const MAX_CACHE_BYTES: u64 = 1 << 30;

/// The end of an entry's name, and the beginning of one's that is still being written.
const ENTRY: &str = ".cwasm";
const DRAFT: &str = "draft-";

/// A directory of compiled components that only this host writes.
pub struct Cache {
    dir: Dir,
    key: [u8; KEY_BYTES],
    max_bytes: u64,
}

/// An entry of a cache, as its directory shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    pub name: String,
    /// On the disk.
    pub bytes: u64,
    /// When it was written or read last. Milliseconds since 1970-01-01T00:00:00Z.
    pub used_ms: u64,
}

/// What is in a cache, the longest unused first; what a crash left half written is older than anything.
///
/// # Errors
/// The directory cannot be read.
pub fn compiled(dir: &Dir) -> io::Result<Vec<Compiled>> {
    let mut found = Vec::new();
    for entry in dir.entries()? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let is_left = name.starts_with(DRAFT) && is_left(dir, &name);
        if !is_left && !name.ends_with(ENTRY) {
            continue;
        }
        let Ok(status) = node::status(dir, &name) else { continue };
        let millis = status.st_mtime.saturating_mul(1_000).saturating_add(status.st_mtime_nsec as i64 / 1_000_000);
        let used_ms = if is_left { 0 } else { u64::try_from(millis).unwrap_or(0) };
        found.push(Compiled { name, bytes: disk::of(&status), used_ms });
    }
    found.sort_by(|one, other| (one.used_ms, &one.name).cmp(&(other.used_ms, &other.name)));
    Ok(found)
}

/// Removes an entry. One that is gone is fine.
///
/// # Errors
/// The directory cannot be written.
pub fn remove(dir: &Dir, name: &str) -> io::Result<()> {
    match dir.remove_file(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Whether nobody writes a draft any more.
fn is_left(dir: &Dir, name: &str) -> bool {
    dir.open(name).is_ok_and(|file| file.into_std().try_lock().is_ok())
}

impl Cache {
    /// Opens a cache in `dir`, with a new key if it has none.
    ///
    /// # Errors
    /// The directory cannot be read or written.
    pub fn open(dir: Dir, fresh_key: [u8; KEY_BYTES]) -> io::Result<Self> {
        let kept = private(&dir, KEY_FILE).and_then(|file| {
            let mut bytes = Vec::new();
            file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes).ok()?;
            <[u8; KEY_BYTES]>::try_from(bytes).ok()
        });
        if let Some(key) = kept {
            return Ok(Self { dir, key, max_bytes: MAX_CACHE_BYTES });
        }
        // None, one that somebody else could read, or one that a crash cut short: what it authenticated is built again. Two processes that start at once
        // may each write one; the last stands, and the other's entries are misses.
        let draft = format!("{KEY_FILE}.{}", std::process::id());
        let mut file = dir.open_with(&draft, OpenOptions::new().write(true).create(true).truncate(true).mode(0o600))?;
        file.write_all(&fresh_key)?;
        file.sync_all()?;
        dir.rename(&draft, &dir, KEY_FILE)?;
        Ok(Self { dir, key: fresh_key, max_bytes: MAX_CACHE_BYTES })
    }

    /// The code for a component and an engine, if this host wrote it and it is whole.
    pub fn get(&self, component: &Digest, fingerprint: &str) -> Option<Vec<u8>> {
        let file = private(&self.dir, &self.name(component, fingerprint))?;
        // Whoever cannot note that it was used has it all the same.
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let _ = rustix::fs::futimens(&file, &Timestamps { last_access: now, last_modification: now });
        let mut entry = Vec::new();
        file.take(MAX_ENTRY_BYTES + 1).read_to_end(&mut entry).ok()?;
        if entry.len() as u64 > MAX_ENTRY_BYTES {
            return None;
        }
        let (mac, code) = entry.split_at_checked(MAC_BYTES)?;
        let expected = self.mac(component, fingerprint, code);
        let mac = blake3::Hash::from_slice(mac).ok()?;
        // `Hash` compares in constant time.
        (mac == expected).then(|| code.to_vec())
    }

    /// Keeps code. Whole or not at all: readers see the old entry, the new one, or none.
    ///
    /// # Errors
    /// The disk is full, read-only or broken.
    pub fn put(&self, component: &Digest, fingerprint: &str, code: &[u8]) -> io::Result<()> {
        let name = self.name(component, fingerprint);
        let unique =
            blake3::hash(format!("{name} {} {:?}", std::process::id(), std::thread::current().id()).as_bytes());
        let draft = format!("{DRAFT}{}", unique.to_hex());
        let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).clone();
        let mut file = self.dir.open_with(&draft, &options)?.into_std();
        let written = file
            .lock()
            .and_then(|()| file.write_all(self.mac(component, fingerprint, code).as_bytes()))
            .and_then(|()| file.write_all(code))
            .and_then(|()| self.dir.rename(&draft, &self.dir, &name));
        if written.is_err() {
            drop(self.dir.remove_file(&draft));
        }
        written.and_then(|()| self.keep_to_bound())
    }

    fn keep_to_bound(&self) -> io::Result<()> {
        let all = compiled(&self.dir)?;
        let mut kept: u64 = all.iter().map(|entry| entry.bytes).sum();
        for entry in &all {
            if kept <= self.max_bytes {
                break;
            }
            remove(&self.dir, &entry.name)?;
            kept -= entry.bytes;
        }
        Ok(())
    }

    fn name(&self, component: &Digest, fingerprint: &str) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(component.as_bytes()).update(fingerprint.as_bytes());
        format!("{}{ENTRY}", hasher.finalize().to_hex())
    }

    fn mac(&self, component: &Digest, fingerprint: &str, code: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(component.as_bytes());
        hasher.update(&(fingerprint.len() as u64).to_le_bytes()).update(fingerprint.as_bytes());
        hasher.update(code);
        hasher.finalize()
    }
}

/// A file that nobody but this host's own user can read or write; anything else is as good as none.
fn private(dir: &Dir, name: &str) -> Option<File> {
    let file = dir.open(name).ok()?;
    let about = file.metadata().ok()?;
    let ours = about.is_file() && about.uid() == rustix::process::geteuid().as_raw() && about.mode() & 0o077 == 0;
    ours.then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &tempfile::TempDir) -> Cache {
        let handle = Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority()).expect("opens");
        Cache::open(handle, [7; KEY_BYTES]).expect("a cache")
    }

    #[test]
    fn what_was_kept_comes_back_for_the_same_component_and_engine_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let component = Digest::from_bytes([1; 32]);
        open(&dir).put(&component, "engine 1", b"code").expect("kept");
        let again = open(&dir);
        assert_eq!(again.get(&component, "engine 1").as_deref(), Some(&b"code"[..]));
        assert_eq!(again.get(&component, "engine 2"), None);
        assert_eq!(again.get(&Digest::from_bytes([2; 32]), "engine 1"), None);
    }

    #[test]
    fn compiled_code_is_kept_up_to_n_bytes_and_the_longest_unused_goes_at_n_plus_1() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut cache = open(&dir);
        let component = |number| Digest::from_bytes([number; 32]);
        let code = vec![7; 100_000];
        for number in 1..=3_u8 {
            cache.put(&component(number), "engine", &code).expect("kept");
            let file =
                std::fs::File::open(dir.path().join(cache.name(&component(number), "engine"))).expect("is there");
            let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(number.into());
            file.set_modified(long_ago).expect("is ours");
        }
        let left = || compiled(&cache.dir).expect("reads");
        let bytes = left().iter().map(|entry| entry.bytes).max().expect("three");
        // The first is used again: the second is the longest unused then.
        assert!(cache.get(&component(1), "engine").is_some());
        cache.max_bytes = 4 * bytes;
        cache.put(&component(4), "engine", &code).expect("kept");
        assert_eq!(compiled(&cache.dir).expect("reads").len(), 4);
        cache.put(&component(5), "engine", &code).expect("kept");
        assert_eq!(compiled(&cache.dir).expect("reads").len(), 4);
        assert!(cache.get(&component(2), "engine").is_none());
        assert!([1, 3, 4, 5].iter().all(|&number| cache.get(&component(number), "engine").is_some()));
    }

    #[test]
    fn what_a_crash_left_half_written_goes_and_what_is_being_written_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = open(&dir);
        std::fs::write(dir.path().join("draft-left"), b"half").expect("writes");
        let written = std::fs::File::create(dir.path().join("draft-written")).expect("made");
        written.lock().expect("is free");
        let names = |all: Vec<Compiled>| all.into_iter().map(|entry| entry.name).collect::<Vec<_>>();
        assert_eq!(names(compiled(&cache.dir).expect("reads")), ["draft-left"]);
    }

    #[test]
    fn what_others_could_touch_is_a_miss() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let component = Digest::from_bytes([1; 32]);
        let cache = open(&dir);
        cache.put(&component, "engine", b"code").expect("kept");
        assert!(cache.get(&component, "engine").is_some());
        let touch = |name: &str, mode| {
            let open_to_others = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(dir.path().join(name), open_to_others).expect("ours");
        };
        touch(&cache.name(&component, "engine"), 0o620);
        assert_eq!(cache.get(&component, "engine"), None);
        touch(&cache.name(&component, "engine"), 0o600);
        assert!(cache.get(&component, "engine").is_some());
        // A key that somebody else could read authenticates nothing any more.
        touch(KEY_FILE, 0o604);
        let handle = Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority()).expect("opens");
        let again = Cache::open(handle, [8; KEY_BYTES]).expect("a cache");
        assert_eq!(again.get(&component, "engine"), None);
    }

    #[test]
    fn an_altered_or_torn_or_foreign_entry_is_a_miss() {
        let dir = tempfile::tempdir().expect("a directory");
        let (cache, component) = (open(&dir), Digest::from_bytes([1; 32]));
        cache.put(&component, "engine", b"code").expect("kept");
        let name = cache.name(&component, "engine");
        let entry = cache.dir.read(&name).expect("reads");
        for at in 0..entry.len() {
            let mut altered = entry.clone();
            altered[at] ^= 1;
            cache.dir.write(&name, &altered).expect("writes");
            assert_eq!(cache.get(&component, "engine"), None, "byte {at}");
            cache.dir.write(&name, &entry[..at]).expect("writes");
            assert_eq!(cache.get(&component, "engine"), None, "cut at {at}");
        }
    }
}
