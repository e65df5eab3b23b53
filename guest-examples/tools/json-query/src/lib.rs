//! The tool `json-query`: what a JSONPath query selects of a document, which is given or is a file of `/work`.
//!
//! Never: writes, or lets a query select more than its document's size explains (see `bounds`). Answers come in the order of
//! the document, and what is left out is told.

mod bounds;

use jidoka::json::Value;
use jidoka::{Error, Result, workspace};
use serde::{Deserialize, Serialize};
use serde_json_path::JsonPath;

/// Bytes of a file. Read, it takes some twenty times as much memory at worst.
const MAX_FILE_BYTES: u64 = 2 << 20;
/// Values in an answer.
const MAX_RESULTS: usize = 1_000;
/// Values in an answer unless the call says otherwise.
const DEFAULT_RESULTS: usize = 100;
/// Bytes of all values in an answer.
const MAX_VALUE_BYTES: usize = 64 << 10;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    query: String,
    document: Option<Value>,
    path: Option<String>,
    max_results: Option<usize>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Output {
    /// How many values the query selects.
    found: usize,
    /// The first of them.
    values: Vec<Value>,
    /// Why these are not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<String>,
}

/// Selects values of a JSON document by a JSONPath query (RFC 9535). The document is given, or is a file of the workspace.
/// Examples of queries: $.store.book[0].title, $..price, $.book[?@.price < 10].title, $.book[-1:], $[?search(@.name, "^a")].
#[jidoka::tool(schema = r#"{
    "type": "object",
    "properties": {
        "query": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "JSONPath; begins with $."},
        "path": {"type": "string", "minLength": 1, "description": "A JSON file, relative to the workspace."},
        "document": {"description": "Any JSON, in place of a file."},
        "max_results": {
            "type": "integer", "minimum": 1, "maximum": 1000,
            "description": "Values in the answer, at most. Default 100."
        }
    },
    "required": ["query"],
    "additionalProperties": false
}"#)]
fn json_query(input: Input) -> Result<Output> {
    let most = input.max_results.unwrap_or(DEFAULT_RESULTS);
    if most == 0 || most > MAX_RESULTS {
        return Err(format!("`max_results` is {most}; allowed are 1 to {MAX_RESULTS}").into());
    }
    bounds::query(&input.query)?;
    let query = JsonPath::parse(&input.query).map_err(|error| wrong(&input.query, &error))?;
    let document = match (input.document, input.path) {
        (Some(document), None) => document,
        (None, Some(path)) => read(&path)?,
        (None, None) => return Err("give a `document` or the `path` of one".into()),
        (Some(_), Some(_)) => return Err("give a `document` or the `path` of one, not both".into()),
    };
    bounds::both(&input.query, &document)?;
    let found = query.query(&document);
    let mut output = Output { found: found.len(), values: Vec::new(), cut: None };
    let mut bytes = 0_usize;
    for value in found.iter().take(most) {
        bytes = bytes.saturating_add(value.to_string().len());
        if bytes > MAX_VALUE_BYTES {
            let shown = output.values.len();
            output.cut =
                Some(format!("after {shown} values: the answer has at most {MAX_VALUE_BYTES} bytes; select less"));
            return Ok(output);
        }
        output.values.push((*value).clone());
    }
    if output.found > most {
        output.cut = Some(format!("after {most} values, which is `max_results`"));
    }
    Ok(output)
}

fn wrong(query: &str, error: &serde_json_path::ParseError) -> Error {
    // A position counts from 1 in some of its errors, and may be the end.
    let rest = query.get(error.position().saturating_sub(1)..).unwrap_or_default();
    Error::new(format!("`query` is not JSONPath: {} (at {rest:?})", error.message()))
}

fn read(path: &str) -> Result<Value> {
    let Some(bytes) = workspace::size(path)? else {
        return Err(format!("there is no file {path:?}").into());
    };
    if bytes > MAX_FILE_BYTES {
        return Err(format!("{path} has {bytes} bytes; at most {MAX_FILE_BYTES}").into());
    }
    let text = workspace::read(path)?;
    text.parse().map_err(|error| Error::new(format!("{path} is not JSON: {error}")))
}

#[cfg(test)]
mod tests;
