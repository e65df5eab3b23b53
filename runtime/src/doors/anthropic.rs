//! The Anthropic messages dialect: a request to JSON.
//!
//! Never: does I/O, keeps state of its own. Invariants: `max_tokens` is always sent, and thoughts go back where they were.

use serde_json::{Map, Value, json};

use super::encode::{EncodeError, arguments_object, arguments_schema, call_id, cap, schema_object};
use super::kept::Kept;
use super::rates::RateHeaders;
use crate::rules::model::{Message, Request, Role, ToolCall, ToolDefinition};

/// Path below the provider's base address.
pub const PATH: &str = "messages";

/// Path of the endpoint that counts a request's input, below the provider's base address.
pub const COUNT_PATH: &str = "messages/count_tokens";

/// See <https://platform.claude.com/docs/en/api/rate-limits>. The tokens are those of the tightest limit in effect,
/// rounded to thousands.
pub const RATE_HEADERS: RateHeaders = RateHeaders {
    remaining_tokens: "anthropic-ratelimit-tokens-remaining",
    remaining_requests: "anthropic-ratelimit-requests-remaining",
    reset_tokens: None,
};

/// The version of the API that this file speaks, for the header that must name one.
pub const VERSION: &str = "2023-06-01";

/// The body of a request. `model` is the provider's own name for it.
pub fn encode(request: &Request, model: &str, provider: &str, stream: bool) -> Result<Value, EncodeError> {
    let mut body = input(request, model, provider)?;
    body.insert("max_tokens".into(), cap(request)?.into());
    body.insert("stream".into(), stream.into());
    Ok(Value::Object(body))
}

/// The body of a request to count the input of a request.
pub fn encode_count(request: &Request, model: &str, provider: &str) -> Result<Value, EncodeError> {
    input(request, model, provider).map(Value::Object)
}

/// All of a request that costs input tokens: the same for a call and for a count of it.
fn input(request: &Request, model: &str, provider: &str) -> Result<Map<String, Value>, EncodeError> {
    let mut body = Map::new();
    body.insert("model".into(), model.into());
    let system: Vec<&str> = request
        .messages
        .iter()
        .filter(|message| message.role == Role::System)
        .map(|message| message.content.as_str())
        .collect();
    if !system.is_empty() {
        body.insert("system".into(), system.join("\n\n").into());
    }
    body.insert("messages".into(), turns(&request.messages, provider)?);
    if !request.tools.is_empty() {
        body.insert("tools".into(), request.tools.iter().map(tool).collect::<Result<_, _>>()?);
    }
    if let Some(schema) = &request.schema {
        let schema = schema_object("the reply", schema)?;
        body.insert("output_config".into(), json!({ "format": { "type": "json_schema", "schema": schema } }));
    }
    Ok(body)
}

/// Turns alternate, and all results of one turn's tool calls belong into one turn: neighbours of a role become one.
fn turns(messages: &[Message], provider: &str) -> Result<Value, EncodeError> {
    let mut turns: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in messages {
        let (role, blocks) = match message.role {
            Role::System => continue,
            Role::User => ("user", text_block(&message.content).into_iter().collect()),
            Role::Tool => ("user", vec![tool_result(message)?]),
            Role::Assistant => {
                let kept = Kept::of(message, provider);
                let mut blocks: Vec<Value> = kept.thoughts(0).collect();
                blocks.extend(text_block(&message.content));
                for (place, call) in message.tool_calls.iter().enumerate() {
                    if place > 0 {
                        blocks.extend(kept.thoughts(place));
                    }
                    blocks.push(tool_use(call));
                }
                ("assistant", blocks)
            }
        };
        match turns.last_mut() {
            Some((last, all)) if *last == role => all.extend(blocks),
            _ if blocks.is_empty() => {}
            _ => turns.push((role, blocks)),
        }
    }
    Ok(turns.into_iter().map(|(role, content)| json!({ "role": role, "content": content })).collect())
}

/// The dialect refuses empty text.
fn text_block(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| json!({ "type": "text", "text": text }))
}

fn tool_result(message: &Message) -> Result<Value, EncodeError> {
    Ok(json!({ "type": "tool_result", "tool_use_id": call_id(message)?, "content": message.content }))
}

fn tool_use(call: &ToolCall) -> Value {
    json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": arguments_object(call) })
}

fn tool(tool: &ToolDefinition) -> Result<Value, EncodeError> {
    let schema = arguments_schema(&tool.name, &tool.schema)?;
    Ok(json!({ "name": tool.name, "description": tool.description, "input_schema": schema }))
}

mod reply;

pub use self::reply::{counted, event, usage, whole};

#[cfg(test)]
mod tests;
