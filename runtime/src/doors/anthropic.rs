//! The Anthropic messages dialect: a request to JSON, and JSON or one event of a stream into a [`Draft`].
//!
//! Never: does I/O, keeps state of its own, decides when to stop reading. Invariants: `max_tokens` is always sent,
//! input is the checked sum of fresh, cache-read and cache-written tokens, and output is what a `message_delta` said
//! last (the count in `message_start` is provisional), so a stream that is cut before one has no known usage.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::complaint;
use super::draft::{Draft, UsageStage, broken};
use super::encode::{EncodeError, call_id, cap, schema_object};
use super::fold::Flow;
use super::rates::RateHeaders;
use super::sse::Event;
use super::usage::UsageSnapshot;
use crate::rules::effect::{Failure, FailureKind};
use crate::rules::model::{Message, Request, Role, Stop, ToolCall, ToolDefinition, Usage};

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
pub fn encode(request: &Request, model: &str, stream: bool) -> Result<Value, EncodeError> {
    let mut body = input(request, model)?;
    body.insert("max_tokens".into(), cap(request)?.into());
    body.insert("stream".into(), stream.into());
    Ok(Value::Object(body))
}

/// The body of a request to count the input of a request.
pub fn encode_count(request: &Request, model: &str) -> Result<Value, EncodeError> {
    input(request, model).map(Value::Object)
}

/// All of a request that costs input tokens: the same for a call and for a count of it.
fn input(request: &Request, model: &str) -> Result<Map<String, Value>, EncodeError> {
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
    body.insert("messages".into(), turns(&request.messages)?);
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
fn turns(messages: &[Message]) -> Result<Value, EncodeError> {
    let mut turns: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in messages {
        let (role, blocks) = match message.role {
            Role::System => continue,
            Role::User => ("user", text_block(&message.content).into_iter().collect()),
            Role::Tool => ("user", vec![tool_result(message)?]),
            Role::Assistant => {
                let calls = message.tool_calls.iter().map(tool_use);
                ("assistant", text_block(&message.content).into_iter().chain(calls).collect())
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

/// The dialect wants an object where a model may have written anything: what is none is wrapped, so that a worker can
/// show the model its own mistake.
fn tool_use(call: &ToolCall) -> Value {
    let input: Map<String, Value> = serde_json::from_str(&call.arguments)
        .unwrap_or_else(|_| Map::from_iter([("arguments".to_owned(), call.arguments.as_str().into())]));
    json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": input })
}

fn tool(tool: &ToolDefinition) -> Result<Value, EncodeError> {
    let schema = schema_object(&tool.name, &tool.schema)?;
    Ok(json!({ "name": tool.name, "description": tool.description, "input_schema": schema }))
}

/// The data of one event; `kind` says which of the rest is there.
#[derive(Deserialize)]
struct Frame {
    #[serde(rename = "type")]
    kind: String,
    message: Option<Body>,
    index: Option<u64>,
    content_block: Option<Block>,
    delta: Option<Delta>,
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    error: Value,
}

/// A whole reply, and what `message_start` carries.
#[derive(Deserialize)]
struct Body {
    content: Option<Vec<Block>>,
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    error: Value,
}

#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    thinking: Option<String>,
    id: Option<String>,
    name: Option<String>,
    #[serde(default)]
    input: Value,
}

#[derive(Deserialize)]
struct Delta {
    text: Option<String>,
    thinking: Option<String>,
    partial_json: Option<String>,
    stop_reason: Option<String>,
}

/// Takes one event of a stream. Kinds that this version does not know are ignored, as the API's versioning asks.
pub fn event(draft: &mut Draft, event: Event) -> Result<Flow, Failure> {
    let frame: Frame = parse(event.data.as_bytes())?;
    match frame.kind.as_str() {
        "message_start" => {
            let body = frame.message.ok_or_else(|| broken("message_start has no message"))?;
            draft.usage.merge(body.usage);
            draft.running_count(draft.usage.count("output_tokens"))?;
        }
        "content_block_start" => {
            let block = frame.content_block.ok_or_else(|| broken("content_block_start has no block"))?;
            draft.delta(block.output_bytes())?;
            block.add_to(draft, index(frame.index)?)?;
        }
        "content_block_delta" => {
            let delta = frame.delta.ok_or_else(|| broken("content_block_delta has no delta"))?;
            let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
            draft.delta(length(&delta.text) + length(&delta.thinking) + length(&delta.partial_json))?;
            draft.push_text(&delta.text.unwrap_or_default());
            // Blocks of tools that the provider runs itself have input too; they were not opened and are not kept.
            if let (Some(part), Some(call)) = (delta.partial_json, draft.open_call(index(frame.index)?)) {
                call.arguments.push_str(&part);
            }
        }
        "message_delta" => {
            if let Some(reason) = frame.delta.and_then(|delta| delta.stop_reason) {
                draft.stop(stop(&reason));
            }
            let counts_output = frame.usage.get("output_tokens").is_some_and(|count| !count.is_null());
            draft.usage.merge(frame.usage);
            if counts_output && draft.has_stopped() {
                draft.stage = UsageStage::Final;
            }
            draft.running_count(draft.usage.count("output_tokens"))?;
        }
        "message_stop" => return Ok(Flow::Ended),
        "error" => return Err(rejected(&frame.error)),
        _ => {}
    }
    Ok(Flow::Open)
}

/// Takes a whole reply.
pub fn whole(draft: &mut Draft, body: &[u8]) -> Result<(), Failure> {
    let body: Body = parse(body)?;
    if !body.error.is_null() {
        return Err(rejected(&body.error));
    }
    draft.usage.merge(body.usage);
    draft.stage = UsageStage::Final;
    for (position, block) in body.content.unwrap_or_default().into_iter().enumerate() {
        draft.bytes(block.output_bytes())?;
        block.add_to(draft, position as u64)?;
    }
    if let Some(reason) = body.stop_reason {
        draft.stop(stop(&reason));
    }
    Ok(())
}

/// The answer to a count.
#[derive(Deserialize)]
struct Count {
    #[serde(default)]
    input_tokens: Value,
    #[serde(default)]
    error: Value,
}

/// The input tokens that the answer to a count states. Every request has input, so zero is no count.
pub fn counted(body: &[u8]) -> Result<u64, Failure> {
    let count: Count = parse(body)?;
    if !count.error.is_null() {
        return Err(rejected(&count.error));
    }
    let tokens = count.input_tokens.as_u64().filter(|tokens| *tokens > 0);
    tokens.ok_or_else(|| broken("the answer to a count has no count"))
}

impl Block {
    fn output_bytes(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        length(&self.text) + length(&self.thinking) + self.arguments().len()
    }

    /// Whole in a whole reply; in a stream `{}` here, and the real input follows in deltas.
    fn arguments(&self) -> String {
        match &self.input {
            Value::Object(input) if !input.is_empty() => self.input.to_string(),
            _ => String::new(),
        }
    }

    fn add_to(self, draft: &mut Draft, index: u64) -> Result<(), Failure> {
        match self.kind.as_str() {
            "text" => draft.push_text(&self.text.unwrap_or_default()),
            "tool_use" => {
                let arguments = self.arguments();
                let call = draft.call(index)?;
                call.id = self.id.unwrap_or_default();
                call.name = self.name.unwrap_or_default();
                call.arguments = arguments;
            }
            // Thinking is counted, not kept; other kinds belong to tools that were not asked for.
            _ => {}
        }
        Ok(())
    }
}

fn parse<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, Failure> {
    serde_json::from_slice(json).map_err(|error| broken(&format!("the reply is not of its dialect: {error}")))
}

fn rejected(error: &Value) -> Failure {
    Failure { kind: FailureKind::Rejected, message: complaint::in_json(error) }
}

fn index(index: Option<u64>) -> Result<u64, Failure> {
    index.ok_or_else(|| broken("a content block has no index"))
}

/// A reason that nobody here knows is no proof that the text is whole.
fn stop(reason: &str) -> Stop {
    match reason {
        "end_turn" | "stop_sequence" => Stop::End,
        "max_tokens" | "model_context_window_exceeded" => Stop::MaxOutput,
        "tool_use" => Stop::ToolCalls,
        _ => Stop::Withheld,
    }
}

/// Totals: this dialect counts cached input apart, and reasoning within the output.
pub fn usage(usage: &UsageSnapshot) -> Option<Usage> {
    let tokens_in = usage
        .count("input_tokens")?
        .checked_add(usage.count_if_any("cache_read_input_tokens")?)?
        .checked_add(usage.count_if_any("cache_creation_input_tokens")?)?;
    Some(Usage { tokens_in, tokens_out: usage.count("output_tokens")? })
}

#[cfg(test)]
mod tests;
