//! The tool `javascript`: runs a script and says what it came to.
//!
//! Never: gives the script anything of the host's. It has the language, `input` and `console`; no files, no network, no timers.
//! A script without end is stopped here by its steps, and by the host in any case.

mod console;
mod engine;
mod guards;
mod json;
mod nesting;

use jidoka::Result;
use jidoka::json::Value;
use serde::{Deserialize, Serialize};

/// Bytes of a script: a program of a thousand lines.
const MAX_CODE_BYTES: usize = 64 << 10;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    code: String,
    #[serde(default)]
    input: Value,
}

#[derive(Debug, PartialEq, Serialize)]
struct Output {
    /// The value of the last expression: as JSON, or as text where JSON has no such value.
    value: Value,
    /// As `typeof` says it.
    r#type: String,
    /// What it wrote to the console.
    #[serde(skip_serializing_if = "String::is_empty")]
    printed: String,
}

/// Runs a JavaScript program and returns the value of its last expression as JSON, and what it wrote with console.log. An
/// exception is an error with its message and stack. There is no network, no file system, no timer and no module; a promise
/// is awaited if it can settle by itself. Good for calculations, for text and JSON, and for trying out an algorithm.
#[jidoka::tool(schema = r#"{
    "type": "object",
    "properties": {
        "code": {
            "type": "string", "maxLength": 65536,
            "description": "A script (ECMAScript 2024). Its last expression is the result, for example: const a = [3, 1, 2]; a.sort()"
        },
        "input": {"description": "Any JSON. The script has it as the global `input`; null if it is not given."}
    },
    "required": ["code"],
    "additionalProperties": false
}"#)]
fn javascript(input: Input) -> Result<Output> {
    if input.code.len() > MAX_CODE_BYTES {
        return Err(format!("`code` has {} bytes; at most {MAX_CODE_BYTES}", input.code.len()).into());
    }
    let ended = engine::run(&input.code, &input.input);
    match ended.result {
        Ok((value, r#type)) => Ok(Output { value, r#type, printed: ended.printed }),
        Err(words) if ended.printed.is_empty() => Err(words.into()),
        Err(words) => Err(format!("{words}\nprinted before:\n{}", ended.printed).into()),
    }
}

#[cfg(test)]
mod tests;
