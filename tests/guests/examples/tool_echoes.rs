//! A tool that attacks nothing: it returns its input. What the others are measured against.

use jidoka::Result;
use jidoka::json::Value;

/// Returns its input.
#[jidoka::tool]
fn echo(input: Value) -> Result<Value> {
    Ok(input)
}
