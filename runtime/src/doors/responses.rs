//! The OpenAI Responses dialect: a request to JSON.
//!
//! Never: does I/O, keeps state of its own, asks the server to keep any. Invariants: `max_output_tokens` is always sent;
//! reasoning goes back as it came and where it was, and never as the last item of a turn; no other item has an id on the wire,
//! because servers look up what they never stored: <https://github.com/vercel/ai/issues/7543>.

use serde_json::{Map, Value, json};

use super::encode::{EncodeError, arguments_schema, arguments_text, call_id, cap, schema_object};
use super::kept::{Kept, KeptItem};
use crate::rules::model::{Message, Request, Role, ToolCall, ToolDefinition};

/// Path below the provider's base address.
pub const PATH: &str = "responses";

/// Beginnings of names of models that do not reason, and refuse to be asked for it:
/// <https://github.com/pydantic/pydantic-ai/issues/2865>.
const PLAIN_MODELS: [&str; 2] = ["gpt-3", "gpt-4"];

/// How a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    pub stream: bool,
    /// Ask for reasoning, encrypted, so that it can go back.
    pub reasoning: bool,
}

/// The body of a request. `model` is the provider's own name for it; what came from `provider` goes back to it.
pub fn encode(request: &Request, model: &str, provider: &str, way: Way) -> Result<Value, EncodeError> {
    let mut body = Map::new();
    body.insert("model".into(), model.into());
    let system = request.messages.iter().filter(|message| message.role == Role::System);
    let system: Vec<&str> = system.map(|message| message.content.as_str()).collect();
    if !system.is_empty() {
        body.insert("instructions".into(), system.join("\n\n").into());
    }
    body.insert("input".into(), input(&request.messages, provider)?.into());
    body.insert("max_output_tokens".into(), cap(request)?.into());
    body.insert("stream".into(), way.stream.into());
    body.insert("store".into(), false.into());
    if way.reasoning {
        body.insert("include".into(), json!(["reasoning.encrypted_content"]));
    }
    if !request.tools.is_empty() {
        body.insert("tools".into(), request.tools.iter().map(tool).collect::<Result<_, _>>()?);
    }
    if let Some(schema) = &request.schema {
        let schema = schema_object("the reply", schema)?;
        body.insert("text".into(), json!({ "format": { "type": "json_schema", "name": "reply", "schema": schema } }));
    }
    Ok(Value::Object(body))
}

/// Whether a model is asked for its reasoning, until its server refuses that.
pub fn reasons(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    !PLAIN_MODELS.iter().any(|known| name.starts_with(known))
}

/// Whether a refusal is one of being asked for reasoning.
pub fn refuses_reasoning(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    words.contains("encrypted content is not supported") || words.contains("reasoning.encrypted_content")
}

fn input(messages: &[Message], provider: &str) -> Result<Vec<Value>, EncodeError> {
    let mut items = Vec::new();
    for message in messages {
        match message.role {
            Role::System => {}
            Role::User => items.push(said("user", &message.content, "")),
            Role::Tool => items.push(json!({
                "type": "function_call_output", "call_id": call_id(message)?, "output": message.content,
            })),
            Role::Assistant => items.extend(turn(message, &Kept::of(message, provider))),
        }
    }
    Ok(items)
}

/// A turn of the model's own, in the order in which it put it out. A text that a worker changed stands in one piece where it
/// began; calls that it added stand at the end.
fn turn(message: &Message, kept: &Kept) -> Vec<Value> {
    let mut calls = message.tool_calls.iter();
    let mut text = message.content.as_str();
    let is_as_given = kept.text_bytes() == text.len();
    let mut items = Vec::new();
    for item in kept.items() {
        match item {
            KeptItem::Reasoning(reasoning) => items.push(reasoning.wire()),
            KeptItem::Aside { text, phase } => items.push(said("assistant", text, phase)),
            KeptItem::Call => items.extend(calls.next().map(call)),
            KeptItem::Said { bytes, phase } => {
                let split = text.split_at_checked(*bytes).filter(|_| is_as_given);
                let (piece, rest, phase) = split.map_or((text, "", ""), |(piece, rest)| (piece, rest, phase.as_str()));
                items.extend((!piece.is_empty()).then(|| said("assistant", piece, phase)));
                text = rest;
            }
        }
    }
    items.extend((!text.is_empty()).then(|| said("assistant", text, "")));
    items.extend(calls.map(call));
    // Reasoning that nothing follows is refused: <https://github.com/vercel/ai/issues/7099>.
    while items.pop_if(|last| last["type"] == "reasoning").is_some() {}
    items
}

fn said(role: &str, text: &str, phase: &str) -> Value {
    let mut item = json!({ "type": "message", "role": role, "content": text });
    if !phase.is_empty() {
        item["phase"] = phase.into();
    }
    item
}

fn call(call: &ToolCall) -> Value {
    json!({ "type": "function_call", "call_id": call.id, "name": call.name, "arguments": arguments_text(call) })
}

/// Without `strict: false` the dialect takes a schema as one that allows nothing else, and refuses most.
fn tool(tool: &ToolDefinition) -> Result<Value, EncodeError> {
    let parameters = arguments_schema(&tool.name, &tool.schema)?;
    let ToolDefinition { name, description, .. } = tool;
    Ok(json!({
        "type": "function", "name": name, "description": description, "parameters": parameters, "strict": false,
    }))
}

mod reply;

pub use self::reply::{event, whole};

#[cfg(test)]
mod tests;
