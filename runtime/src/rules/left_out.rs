//! What is left out of a run's files for a reason that its job and its own tree do not have: recorded as a run begins, so that
//! the run is told again by the same.
//!
//! Never: looked for again. It says what held then.

use serde::{Deserialize, Serialize};

/// What the place of a workspace leaves out of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Paths below the workspace that are the host's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Ignore rules that git has from above the workspace or beside it, those that count most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RulesAbove>,
}

/// The ignore rules of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesAbove {
    /// The file, for messages.
    pub name: String,
    /// Where the workspace is below the directory that the rules are of; empty if it is that directory.
    pub top: String,
    pub text: String,
}

impl LeftOut {
    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.rules.is_empty()
    }
}
