//! JSON as servers write it, read without believing in its shape.
//!
//! Never: fails because a field has another type than it should; what is not what it should be is not there. Invariant: what
//! is read is no larger than what came.

use serde_json::Value;

use super::draft::{broken, broken_off};
use crate::rules::effect::Failure;

/// Characters that are shown of what is no reply.
pub(super) const SHOWN: usize = 200;

/// Values below each other that are looked into.
const MAX_DEPTH: usize = 8;

/// One JSON object. Some servers put it into a list of one.
///
/// # Errors
/// [`FailureKind::Broken`](crate::rules::effect::FailureKind::Broken), with the beginning of what came; if it ended before the
/// object did, [`FailureKind::Overloaded`](crate::rules::effect::FailureKind::Overloaded).
pub(super) fn object(bytes: &[u8]) -> Result<Value, Failure> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| match error.is_eof() {
        true => broken_off(&format!("the reply ended early, as {}", shown(bytes))),
        false => strange(&error.to_string(), bytes),
    })?;
    match value {
        Value::Array(mut list) if list.len() == 1 && list[0].is_object() => Ok(list.remove(0)),
        value if value.is_object() => Ok(value),
        _ => Err(strange("it is no object", bytes)),
    }
}

fn strange(why: &str, bytes: &[u8]) -> Failure {
    broken(&format!("the reply is not of its dialect: {why}: {}", shown(bytes)))
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(SHOWN).collect()
}

/// Whether there is anything: not null, false or empty.
pub(super) fn is_said(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// The elements of a list; none of anything else.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A number, also one that is written as text.
pub(super) fn count(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// A text, or what it is wrapped in: a list of texts or of objects with a `text` or a `content`.
pub(super) fn text(value: &Value) -> String {
    text_at(value, MAX_DEPTH)
}

fn text_at(value: &Value, depth: usize) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) if depth > 0 => parts.iter().map(|part| text_at(part, depth - 1)).collect(),
        Value::Object(fields) if depth > 0 => {
            let inner = fields.get("text").or_else(|| fields.get("content"));
            inner.map(|inner| text_at(inner, depth - 1)).unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// Bytes of all texts in a value.
pub(super) fn text_bytes(value: &Value) -> usize {
    bytes_at(value, MAX_DEPTH)
}

fn bytes_at(value: &Value, depth: usize) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(parts) if depth > 0 => parts.iter().map(|part| bytes_at(part, depth - 1)).sum(),
        Value::Object(fields) if depth > 0 => fields.values().map(|part| bytes_at(part, depth - 1)).sum(),
        _ => 0,
    }
}

/// The arguments of a tool call: a text as it is, an object as its text.
pub(super) fn arguments(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(_) | Value::Array(_) => value.to_string(),
        Value::Null | Value::Bool(_) | Value::Number(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_may_be_alone_in_a_list_and_nothing_else_is_one() {
        for text in [r#"{"a":1}"#, r#" [{"a":1}] "#] {
            assert_eq!(object(text.as_bytes()).unwrap()["a"], 1, "{text}");
        }
        for text in ["[]", "[1]", r#"[{"a":1},{"a":2}]"#, "7", "", "<html>", "{"] {
            let failure = object(text.as_bytes()).unwrap_err();
            assert!(failure.message.ends_with(text), "{text}: {failure:?}");
        }
        let long = object("x".repeat(10_000).as_bytes()).unwrap_err().message;
        assert!(long.len() < 300, "{long}");
    }

    #[test]
    fn a_text_is_found_in_what_it_is_wrapped_in() {
        for value in [
            json!("Hi"),
            json!(["H", "i"]),
            json!([{"type": "text", "text": "Hi"}]),
            json!([{"type": "text", "text": "H"}, {"type": "output_text", "text": {"content": "i"}}]),
            json!({"text": "Hi"}),
        ] {
            assert_eq!(text(&value), "Hi", "{value}");
        }
        for value in [json!(null), json!(7), json!({}), json!([7]), json!({"image": "x"})] {
            assert_eq!(text(&value), "", "{value}");
        }
    }
}
