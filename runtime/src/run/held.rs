//! What one run can make its host hold in memory at once, at the very most.
//!
//! Never: measures. It is the sum of the bounds of `BOUNDS.md`, part by part, so that who watches the memory of a host can
//! say of a run that took more: this is a bug. An honest run holds a small part of it. Not in here is what compiling its
//! component takes, which happens before and is bounded by itself, and the host's own memory without any run.

use serde::Serialize;

use crate::doors::tree::Bounds;
use crate::rules::policy::MAX_BATCH;
use crate::rules::spec::{Caps, FileGrant, ModelSpec, Reach, RunSpec};

use super::files::{MAX_DEPTH, MAX_LISTED};
use super::limits::MAX_TABLE_ELEMENTS;

/// Bytes of a table's element in the host.
const ELEMENT_BYTES: u64 = 16;

/// The fiber's stack, the instances' own state, and the frames of a call: of a guest, and of a check after it.
const STORE_BYTES: u64 = 8 << 20;

/// Copies of what one call lifts that are there at once: lifted, as an effect, as it is sent, in the journal's words, where
/// a byte may take six, and in the store's.
const LIFTED_COPIES: u64 = 16;

/// A value of JSON in memory, for a byte of it: `0,` is two bytes and a value of 32, in a list that doubles as it grows.
const JSON_FACTOR: u64 = 32;

/// Copies of what is printed or noted: as it came, as text, where a byte that is none takes three, and in the journal's words.
const TEXT_COPIES: u64 = 12;

/// Bytes of one name in a directory, and of what stands around it in a listing.
const NAME_BYTES: u64 = 255 + 96;

/// What the host remembers of an open descriptor besides its path.
const HANDLE_BYTES: u64 = 1 << 10;

/// Trees that are there at once: at the start, now, at the end, to be applied; and one as a document, where a byte may take
/// six.
const TREE_COPIES: u64 = 4 + 6;

/// What an entry of a tree takes besides its path.
const ENTRY_BYTES: u64 = 160;

/// The most that a run can make its host hold, in bytes, part by part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Linear memory.
    pub memory: u64,
    /// Tables, stacks, instances.
    pub store: u64,
    /// What a call hands over, and what is made of it.
    pub lifted: u64,
    /// What models answer at once, and what is made of it.
    pub replies: u64,
    /// Listings of directories that are open.
    pub listings: u64,
    /// Descriptors and other resources.
    pub handles: u64,
    /// What is printed and noted.
    pub output: u64,
    /// Trees of files.
    pub trees: u64,
}

impl Held {
    /// The most of a run of this job.
    pub fn of(spec: &RunSpec) -> Self {
        let Caps { memory_bytes, log_bytes, stdio_bytes, handles, lifted_bytes, .. } = spec.caps;
        let Bounds { max_files, max_listing_bytes, .. } = Bounds::default();
        let files = u64::from(spec.grants.files != FileGrant::None || spec.workspace.is_some());
        let paths = MAX_DEPTH as u64 * 256;
        let response = |model: &ModelSpec| match &model.reach {
            Reach::Script { .. } => 0,
            Reach::Provider(provider) => provider.limits.max_response_bytes,
        };
        let response = spec.models.values().map(response).max().unwrap_or(0);
        Self {
            memory: memory_bytes,
            store: STORE_BYTES + MAX_TABLE_ELEMENTS * ELEMENT_BYTES,
            lifted: lifted_bytes.saturating_mul(LIFTED_COPIES),
            replies: response.saturating_mul(MAX_BATCH as u64).saturating_mul(JSON_FACTOR),
            listings: files * MAX_LISTED as u64 * NAME_BYTES,
            handles: handles.saturating_mul(HANDLE_BYTES + files * paths),
            output: log_bytes.saturating_add(2 * stdio_bytes).saturating_mul(TEXT_COPIES),
            trees: files * TREE_COPIES * (max_listing_bytes + max_files * ENTRY_BYTES),
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        let Self { memory, store, lifted, replies, listings, handles, output, trees } = *self;
        [memory, store, lifted, replies, listings, handles, output, trees].into_iter().fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::authored::{self, Overrides};

    fn held(more: &str) -> Held {
        let job = format!(
            "line = \"l\"\n[worker]\ncomponent = \"w.wasm\"\n[task]\ntext = \"t\"\n[budget]\nwall = \"10s\"\n\
             [attempts]\nmax = 1\nbackoff = \"0s\"\n[done]\nmarks = [\"artifact\"]\n{more}"
        );
        let spec = authored::job(&job, &Default::default(), &Overrides::default());
        Held::of(&spec.unwrap_or_else(|mistakes| panic!("{mistakes:#?}")))
    }

    #[test]
    fn the_published_sums_are_these() {
        let mib = |held: Held| held.total() >> 20;
        assert_eq!(mib(held("")), 109);
        assert_eq!(mib(held("[grants]\nfiles = \"read-write\"\n[workspace]\ndir = \"p\"\n")), 631);
    }

    #[test]
    fn each_cap_counts() {
        let plain = held("").total();
        for (cap, more) in [
            ("memory = \"128MiB\"", 64 << 20),
            ("lifted = \"3MiB\"", 16 << 20),
            ("handles = 2048", 1 << 20),
            ("log = \"512KiB\"", 3 << 20),
            ("stdio = \"128KiB\"", 3 << 19),
        ] {
            assert_eq!(held(&format!("[caps]\n{cap}\n")).total() - plain, more, "{cap}");
        }
    }
}
