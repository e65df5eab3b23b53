//! What an operator says of an MCP server that workers may use: what is started, and what it may reach.
//!
//! Never: starts anything. Whoever may name one in a job is not decided here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One server of the operator's: a program of its own that speaks over its pipes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpSpec {
    /// The program, as an absolute path.
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// Directories and files that it may read and run programs from, beside the system's own.
    pub reads: Vec<PathBuf>,
    /// Directories that it may also write to. It works in the first.
    pub writes: Vec<PathBuf>,
    pub limits: McpLimits,
}

/// What a server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpLimits {
    /// Bytes of memory that it can write to.
    pub memory_bytes: u64,
    /// Bytes of one file that it writes.
    pub file_bytes: u64,
    /// Seconds of processor time, over its life.
    pub cpu_seconds: u64,
    /// Milliseconds until it is ready, and for each listing of its tools.
    pub start_ms: u64,
}

impl Default for McpLimits {
    fn default() -> Self {
        // What a server in a language with a large runtime takes, ten times over, and far from what a machine has.
        Self { memory_bytes: 1 << 30, file_bytes: 256 << 20, cpu_seconds: 600, start_ms: 30_000 }
    }
}
