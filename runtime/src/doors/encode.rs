//! What all dialects need to turn a request into JSON, and what no dialect can express.
//!
//! Never: knows a dialect's field names, but for how a model draws and thinks. Invariant: what cannot be said on the wire as it was meant is refused before
//! anything is sent, never sent differently.

use serde_json::{Map, Value};
use thiserror::Error;

use crate::rules::model::{Message, Request, ToolCall};
use crate::rules::spec::{Dialect, Effort, Provider};

#[derive(Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Servers read a cap of zero as one token or as none at all.
    #[error("ask a model: max-output is 0, at least 1 is needed")]
    NoOutput,
    #[error("ask a model: the schema of {0} is not a JSON object")]
    Schema(String),
    #[error("ask a model: a message with a tool's result does not say which call it answers")]
    NoCallId,
}

/// The output cap as it goes on the wire.
pub fn cap(request: &Request) -> Result<u32, EncodeError> {
    match request.max_output {
        0 => Err(EncodeError::NoOutput),
        tokens => Ok(tokens),
    }
}

/// Puts how the model draws and how hard it thinks, as the operator says, into the body of a request.
pub fn put_sampling(body: &mut Value, provider: &Provider) {
    if let Some(hundredths) = provider.temperature_hundredths {
        body["temperature"] = (f64::from(hundredths) / 100.0).into();
    }
    let Some(effort) = provider.effort.map(Effort::name) else { return };
    match provider.dialect {
        Dialect::Openai => body["reasoning_effort"] = effort.into(),
        Dialect::Responses => body["reasoning"]["effort"] = effort.into(),
        // Beside the format of the reply, which may stand there.
        Dialect::Anthropic => body["output_config"]["effort"] = effort.into(),
    }
}

/// A schema's text as the object that it must be. `of` names it in the error.
pub fn schema_object(of: &str, schema: &str) -> Result<Map<String, Value>, EncodeError> {
    serde_json::from_str(schema).map_err(|_| EncodeError::Schema(of.to_owned()))
}

/// The schema of a tool's arguments, which are an object. Servers refuse an object that says nothing of its properties, which
/// is one that may have any: <https://community.openai.com/t/966043>.
pub fn arguments_schema(of: &str, schema: &str) -> Result<Value, EncodeError> {
    let mut schema = schema_object(of, schema)?;
    schema.entry("type").or_insert_with(|| "object".into());
    let mut schema = Value::Object(schema);
    name_properties(&mut schema);
    Ok(schema)
}

fn name_properties(schema: &mut Value) {
    match schema {
        Value::Array(all) => all.iter_mut().for_each(name_properties),
        Value::Object(fields) => {
            if fields.get("type").is_some_and(|kind| kind == "object") {
                fields.entry("properties").or_insert_with(|| Value::Object(Map::new()));
            }
            for (keyword, inner) in fields {
                match (keyword.as_str(), inner) {
                    // Here names are the author's, and no keywords.
                    ("properties" | "$defs" | "definitions" | "patternProperties", Value::Object(named)) => {
                        named.values_mut().for_each(name_properties);
                    }
                    // Here is data.
                    ("const" | "enum" | "default" | "examples", _) => {}
                    (_, inner) => name_properties(inner),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The arguments of a tool call as the object that they should be. A model may have written anything, and servers that read
/// the history refuse what is none: it is wrapped, so that a worker can show the model its own mistake.
pub fn arguments_object(call: &ToolCall) -> Map<String, Value> {
    let wrapped = |_| Map::from_iter([("arguments".to_owned(), call.arguments.as_str().into())]);
    serde_json::from_str(&call.arguments).unwrap_or_else(wrapped)
}

/// The same as a text: as the model wrote it, if it is an object.
pub fn arguments_text(call: &ToolCall) -> String {
    match serde_json::from_str::<Map<String, Value>>(&call.arguments) {
        Ok(_) => call.arguments.clone(),
        Err(_) => Value::from(arguments_object(call)).to_string(),
    }
}

/// The call that a tool's result answers.
pub fn call_id(message: &Message) -> Result<&str, EncodeError> {
    message.tool_call_id.as_deref().ok_or(EncodeError::NoCallId)
}
