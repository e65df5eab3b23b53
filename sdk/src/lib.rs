//! Guest SDK of Jidoka: write a worker, a verifier or a tool as a WebAssembly component, and test it natively.
//!
//! Depend on it under the name `jidoka`, which the attributes expect:
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [dependencies]
//! jidoka = { package = "jidoka-sdk", path = "../../sdk" }
//! ```
//!
//! A worker, whole:
//!
//! ```
//! # extern crate jidoka_sdk as jidoka;
//! use jidoka::{Report, Result, Task, evidence, model};
//!
//! #[jidoka::worker]
//! fn run(task: Task) -> Result<Report> {
//!     let request = model::Request::new("coder").user(&task.text);
//!     let reply = model::ask(&request)?;
//!     let answer = evidence::attach("artifact", "answer.txt", reply.answer()?)?;
//!     Ok(Report::done("answered").with_evidence(answer))
//! }
//! # fn main() {
//! # use jidoka::testing::FakeHost;
//! # let end = FakeHost::new().reply("42").run(run, Task::new("what is it?"));
//! # assert_eq!(end.report().summary, "answered");
//! # }
//! ```
//!
//! `cargo build --release --target wasm32-wasip2` makes the component, or `jidoka run DIR` does it. On any other target
//! the attribute leaves the plain function, and its test needs no WebAssembly:
//!
//! ```
//! # extern crate jidoka_sdk as jidoka;
//! # use jidoka::{Report, Result, Task, evidence, model};
//! # fn run(task: Task) -> Result<Report> {
//! #     let reply = model::ask(&model::Request::new("coder").user(&task.text))?;
//! #     let answer = evidence::attach("artifact", "answer.txt", reply.answer()?)?;
//! #     Ok(Report::done("answered").with_evidence(answer))
//! # }
//! use jidoka::testing::FakeHost;
//!
//! let end = FakeHost::new().reply("42").run(run, Task::new("what is it?"));
//! assert_eq!(end.report().summary, "answered");
//! assert_eq!(end.evidence[0].bytes, b"42");
//! ```
//!
//! Everything here is behaviour, not authority: what a guest may do and spend is the job's business, and the host
//! refuses the rest. A refusal is a typed [`Denied`] that says which line of `jidoka.toml` would change it.

#![warn(missing_docs)]

// The attributes name the SDK as authors do; this lets the SDK's own tests use them.
#[cfg(test)]
extern crate self as jidoka;

#[doc(hidden)]
pub mod bindings;
mod denied;
mod error;
mod host;
#[cfg(target_arch = "wasm32")]
mod web;
mod work;

pub mod andon;
pub mod budget;
pub mod children;
pub mod clock;
pub mod evidence;
pub mod fetch;
pub mod human;
pub mod log;
pub mod model;
pub mod progress;
pub mod random;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod tools;
pub mod turns;
pub mod workspace;

pub use denied::{Denied, EvidenceId, Failure, FailureKind, Line, Reason, Refusal, Shortfall};
pub use error::{Error, Result};
pub use jidoka_sdk_macros::{tool, verifier, worker};
pub use work::{Artifact, Change, ChangeKind, Judgement, Report, Status, Task};

/// JSON values and the `json!` macro, as `serde_json` has them.
pub mod json {
    pub use serde_json::{Value, json};
}

/// For the expansion of the attributes only.
#[doc(hidden)]
pub mod __tool {
    use crate::bindings::tool::jidoka::agent::tooling::{Output, Tool};
    use crate::error::Error;
    use serde_core::{Serialize, de::DeserializeOwned};

    pub fn describe(name: &str, description: &str, schema: &str) -> Tool {
        Tool { name: name.to_owned(), description: description.to_owned(), schema: schema.to_owned() }
    }

    /// Compiles if the function can be a tool.
    pub fn is_tool<I: DeserializeOwned, O: Serialize>(_: fn(I) -> Result<O, Error>) {}

    pub fn call<I, O>(tool: fn(I) -> Result<O, Error>, input: &str) -> Result<Output, String>
    where
        I: DeserializeOwned,
        O: Serialize,
    {
        let input = serde_json::from_str(input).map_err(|error| format!("bad input: {error}"))?;
        let output = tool(input).map_err(|error| error.to_string())?;
        let value = serde_json::to_string(&output).map_err(|error| format!("bad output: {error}"))?;
        Ok(Output { value })
    }

    pub fn unknown(name: &str, known: &[&str]) -> Result<Output, String> {
        Err(format!("no tool {name:?} here; there is {}", known.join(", ")))
    }
}
