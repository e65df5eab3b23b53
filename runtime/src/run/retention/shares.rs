//! What would go from the store of blobs with a run: what no other run needs whose contents are kept.
//!
//! Never: removes anything. A sweep, which does, asks the same question of all runs at once.

use std::collections::HashMap;

use crate::doors::blobs::{BlobError, Blobs, Sizes};
use crate::rules::digest::Digest;

/// Who needs which blob.
#[derive(Default)]
pub(super) struct Shares {
    /// What each run names: trees and components.
    named: HashMap<String, Vec<Digest>>,
    /// How many runs name it.
    namers: HashMap<Digest, u64>,
    sizes: Sizes,
    /// The files of each tree that is named, by their numbers.
    trees: HashMap<Digest, Vec<u32>>,
    numbers: HashMap<Digest, u32>,
    /// By number: what a file takes on the disk, and how many trees and runs need it.
    files: Vec<(u64, u64)>,
}

impl Shares {
    /// Of these names, each with its run. Blocking.
    ///
    /// # Errors
    /// [`BlobError::Store`]: the disk fails. A tree whose document is damaged or gone has no files here; a sweep says so.
    pub fn of(named: Vec<(String, Digest)>, blobs: &Blobs) -> Result<Self, BlobError> {
        let sizes = blobs.sizes().map_err(|source| BlobError::Store { path: ".".to_owned(), source })?;
        let mut shares = Self::default();
        for (address, &bytes) in &sizes.files {
            let number = u32::try_from(shares.files.len()).unwrap_or(u32::MAX);
            shares.numbers.insert(*address, number);
            shares.files.push((bytes, 0));
        }
        shares.sizes = sizes;
        for (run, address) in named {
            shares.need(&address, blobs)?;
            shares.named.entry(run).or_default().push(address);
        }
        Ok(shares)
    }

    fn need(&mut self, address: &Digest, blobs: &Blobs) -> Result<(), BlobError> {
        let namers = self.namers.entry(*address).or_default();
        *namers += 1;
        if *namers == 1 && self.sizes.trees.contains_key(address) {
            let files = match blobs.files_of(address) {
                Err(BlobError::Missing { .. } | BlobError::Damaged { .. } | BlobError::NotATree { .. }) => vec![],
                files => files?,
            };
            let files: Vec<u32> = files.into_iter().filter_map(|file| self.numbers.get(&file).copied()).collect();
            files.iter().for_each(|&file| self.files[file as usize].1 += 1);
            self.trees.insert(*address, files);
        }
        if let Some(&number) = self.numbers.get(address) {
            self.files[number as usize].1 += 1;
        }
        Ok(())
    }

    /// Bytes of what no run needs already now.
    pub fn unneeded(&self) -> u64 {
        let trees = self.sizes.trees.iter().filter(|(address, _)| !self.trees.contains_key(address));
        let files = self.files.iter().filter(|(_, needs)| *needs == 0);
        trees.map(|(_, bytes)| bytes).chain(files.map(|(bytes, _)| bytes)).sum()
    }

    /// Bytes that go with a run. It needs nothing any more.
    pub fn release(&mut self, run: &str) -> u64 {
        let mut freed = 0;
        for address in self.named.remove(run).unwrap_or_default() {
            if let Some(&number) = self.numbers.get(&address) {
                freed += self.drop_file(number);
            }
            let Some(namers) = self.namers.get_mut(&address) else { continue };
            *namers -= 1;
            if *namers == 0
                && let Some(files) = self.trees.remove(&address)
            {
                freed += self.sizes.trees.get(&address).copied().unwrap_or(0);
                freed += files.into_iter().map(|file| self.drop_file(file)).sum::<u64>();
            }
        }
        freed
    }

    fn drop_file(&mut self, number: u32) -> u64 {
        let (bytes, needs) = &mut self.files[number as usize];
        *needs -= 1;
        if *needs == 0 { *bytes } else { 0 }
    }
}
