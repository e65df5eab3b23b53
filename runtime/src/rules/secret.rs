//! What an operator says of a secret: where it is kept, to whom it may be sent, and where in a request it stands.
//!
//! Never: the secret itself. A job names it; whoever holds one of these still has nothing to steal.

use std::path::PathBuf;

use super::http::Site;

/// One secret of the operator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSpec {
    pub source: SecretSource,
    /// The only servers that it may be sent to.
    pub sites: Vec<Site>,
    pub placement: Placement,
}

/// Where a secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A variable of the host's environment.
    Environment(String),
    /// A file of the operator's, from the directory of the operator's file.
    File(PathBuf),
    /// What a command of the operator's writes to its stdout.
    Command(Vec<String>),
}

/// Where in a request a secret stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// A header, with a text before the secret, such as `Bearer `. The name is in lower case.
    Header { name: String, prefix: String },
    /// A key of the query.
    Query { name: String },
}

impl Placement {
    /// Whether two secrets would stand in the same place.
    pub fn collides(&self, other: &Placement) -> bool {
        match (self, other) {
            (Placement::Header { name, .. }, Placement::Header { name: other, .. })
            | (Placement::Query { name }, Placement::Query { name: other }) => name == other,
            (Placement::Header { .. }, Placement::Query { .. })
            | (Placement::Query { .. }, Placement::Header { .. }) => false,
        }
    }
}
