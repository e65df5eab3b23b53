//! Compiled code by digest, authenticated: machine code that this host did not write is never loaded.
//!
//! Never: fails a run. A missing, foreign, torn or altered entry is a rebuild. Entries carry a keyed BLAKE3 over the
//! component's digest, the engine's fingerprint and the code; the key is in the same directory, for its owner only.

use std::io::{self, Read, Write};

use cap_std::fs::{Dir, File, MetadataExt, OpenOptions, OpenOptionsExt};

use crate::rules::digest::Digest;

const KEY_FILE: &str = "key";
const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 32;

/// Bytes of one entry. Cranelift makes two to three times the component's own bytes, which the shape gate bounds.
const MAX_ENTRY_BYTES: u64 = 512 << 20;

/// A directory of compiled components that only this host writes.
pub struct Cache {
    dir: Dir,
    key: [u8; KEY_BYTES],
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
            return Ok(Self { dir, key });
        }
        // None, one that somebody else could read, or one that a crash cut short: what it authenticated is built again. Two processes that start at once
        // may each write one; the last stands, and the other's entries are misses.
        let draft = format!("{KEY_FILE}.{}", std::process::id());
        let mut file = dir.open_with(&draft, OpenOptions::new().write(true).create(true).truncate(true).mode(0o600))?;
        file.write_all(&fresh_key)?;
        file.sync_all()?;
        dir.rename(&draft, &dir, KEY_FILE)?;
        Ok(Self { dir, key: fresh_key })
    }

    /// The code for a component and an engine, if this host wrote it and it is whole.
    pub fn get(&self, component: &Digest, fingerprint: &str) -> Option<Vec<u8>> {
        let file = private(&self.dir, &self.name(component, fingerprint))?;
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
        let draft = format!("draft-{}", unique.to_hex());
        let mut file =
            self.dir.open_with(&draft, OpenOptions::new().write(true).create(true).truncate(true).mode(0o600))?;
        let written = file
            .write_all(self.mac(component, fingerprint, code).as_bytes())
            .and_then(|()| file.write_all(code))
            .and_then(|()| self.dir.rename(&draft, &self.dir, &name));
        if written.is_err() {
            drop(self.dir.remove_file(&draft));
        }
        written
    }

    fn name(&self, component: &Digest, fingerprint: &str) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(component.as_bytes()).update(fingerprint.as_bytes());
        format!("{}.cwasm", hasher.finalize().to_hex())
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
