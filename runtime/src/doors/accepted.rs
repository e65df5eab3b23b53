//! How tools described themselves when they were accepted: a tool that says something else of itself is not used until an
//! operator accepts that too.
//!
//! Never: decides what a description may say. A toolbox that was never seen is accepted as it is, and from then on held to it. In
//! a directory that only the host writes, a file for each tenant, line and toolbox.

use std::io;

use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};

use super::state::write_whole;
use crate::rules::digest::Digest;
use crate::rules::tool::ToolOffer;

/// Bytes of a file: 128 tools with their texts.
const MAX_BYTES: u64 = 32 << 20;

/// A toolbox as it was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    pub tenant: String,
    pub line: String,
    pub toolbox: String,
    /// Of the descriptions.
    pub digest: Digest,
    pub offers: Vec<ToolOffer>,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub at_ms: u64,
    /// Why, if a person accepted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// All that was accepted on this host.
#[derive(Debug)]
pub struct Acceptances {
    dir: Dir,
}

impl Acceptances {
    /// Those in a directory.
    pub fn new(dir: Dir) -> Self {
        Self { dir }
    }

    /// How a toolbox of a line was accepted. Blocking.
    ///
    /// # Errors
    /// The file cannot be read, or is not what the host wrote.
    pub fn get(&self, tenant: &str, line: &str, toolbox: &str) -> io::Result<Option<Accepted>> {
        use std::io::Read;
        let file = match self.dir.open(name(tenant, line, toolbox)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut text)?;
        let accepted: Accepted = serde_json::from_slice(&text).map_err(io::Error::other)?;
        let same = (accepted.tenant.as_str(), accepted.line.as_str(), accepted.toolbox.as_str());
        if same != (tenant, line, toolbox) {
            return Err(io::Error::other("the file is of another toolbox"));
        }
        Ok(Some(accepted))
    }

    /// Accepts, durably, in the place of what was accepted before. Blocking.
    ///
    /// # Errors
    /// The disk is full, read-only or broken.
    pub fn put(&self, accepted: &Accepted) -> io::Result<()> {
        let Accepted { tenant, line, toolbox, .. } = accepted;
        write_whole(&self.dir, &name(tenant, line, toolbox), accepted)
    }
}

/// Names of tenants, lines and toolboxes may be longer together than a name of a file.
fn name(tenant: &str, line: &str, toolbox: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [tenant, line, toolbox] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    format!("{}.json", hasher.finalize().to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_accepted_is_found_again_by_all_three_names() {
        let dir = tempfile::tempdir().expect("a directory");
        let handle = Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority()).expect("opens");
        let acceptances = Acceptances::new(handle);
        let accepted = |digest: u8| Accepted {
            tenant: "a".into(),
            line: "b".into(),
            toolbox: "c".into(),
            digest: Digest::from_bytes([digest; 32]),
            offers: Vec::new(),
            at_ms: 1,
            reason: None,
        };
        let get = |tenant: &str, line: &str, toolbox: &str| acceptances.get(tenant, line, toolbox).expect("reads");
        assert_eq!(get("a", "b", "c"), None);
        acceptances.put(&accepted(1)).expect("kept");
        assert_eq!(get("a", "b", "c"), Some(accepted(1)));
        for (tenant, line, toolbox) in [("x", "b", "c"), ("a", "x", "c"), ("a", "b", "x"), ("ab", "", "c")] {
            assert_eq!(get(tenant, line, toolbox), None);
        }
        acceptances.put(&accepted(2)).expect("kept");
        assert_eq!(get("a", "b", "c"), Some(accepted(2)));
    }
}
