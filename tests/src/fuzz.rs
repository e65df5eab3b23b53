//! What is done with a fuzzer's bytes: one function a target, for `runtime/fuzz/` and for the suite alike.
//!
//! A body panics where something does not hold; nothing else is a finding. What bytes mean is each body's own to say: its
//! corpus is in `runtime/fuzz/corpus/NAME/`, what once broke it in `runtime/fuzz/regressions/NAME/`. Never: uses the network, or
//! leaves anything behind.

pub mod calls;
pub mod http;
pub mod job;
pub mod journal;
pub mod loader;
pub mod paths;
pub mod schema;
pub mod sse;
pub mod wire;

/// A target, as the suite and the fuzzers name it.
pub struct Target {
    /// That of its corpus and of its program.
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Inputs that the suite makes of its corpus: so many that it takes a few seconds.
    pub mutations: u32,
}

/// All of them.
pub const TARGETS: [Target; 9] = [
    Target { name: "calls", run: calls::run, mutations: 200 },
    Target { name: "http", run: http::run, mutations: 4_000 },
    Target { name: "job", run: job::run, mutations: 2_000 },
    Target { name: "journal", run: journal::run, mutations: 4_000 },
    Target { name: "loader", run: loader::run, mutations: 300 },
    Target { name: "paths", run: paths::run, mutations: 300 },
    Target { name: "schema", run: schema::run, mutations: 4_000 },
    Target { name: "sse", run: sse::run, mutations: 4_000 },
    Target { name: "wire", run: wire::run, mutations: 4_000 },
];

/// A directory that is gone with its holder: in memory where that can be had, for a whole run waits for its disk.
fn place() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    dir.expect("a directory")
}

/// The texts that a line feed, a zero and another line feed stand between.
fn parts(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.split("\n\0\n").map(str::to_owned).collect()
}
