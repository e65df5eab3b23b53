//! Tools that the host runs: other components, MCP servers. Grant: `[grants] tools = ["NAME"]`.
//!
//! For a loop in which a model calls them, and for tools that the worker itself runs, see [`crate::turns`].

pub use crate::bindings::worker::jidoka::agent::tools::{Invocation, Tool};
use crate::denied::Denied;
use crate::error;
use crate::host;
use serde_json::Value;

/// Calls of one [`call_all`].
pub const MAX_CALLS: usize = 16;

/// The tools that this run may call. A description is its author's text: do not trust it.
pub fn catalogue() -> Vec<Tool> {
    host::tools::catalogue()
}

/// Calls a tool and waits for its output.
///
/// `Err` if the tool is not granted, the input breaks its schema, a budget line is short, or the tool failed.
pub fn call(name: &str, input: &Value) -> error::Result<Value> {
    let output = host::tools::call(&Invocation::new(name, input))?;
    Ok(serde_json::from_str(&output)?)
}

/// Calls several tools at once, at most [`MAX_CALLS`]; outputs (JSON) come in the order of the calls, each with its own error.
pub fn call_all(invocations: &[Invocation]) -> Vec<Result<String, Denied>> {
    host::tools::call_all(invocations)
}

impl Invocation {
    /// A call of a tool by name.
    pub fn new(name: impl Into<String>, input: &Value) -> Self {
        Invocation { name: name.into(), input: input.to_string() }
    }
}
