//! The OpenAI chat-completions dialect: a request to JSON, and JSON or one event of a stream into a [`Draft`].
//!
//! Never: does I/O, keeps state of its own, decides when to stop reading. Invariants: one cap field on the wire,
//! `include_usage` whenever a stream is asked for, several choices are never asked for and refused (a server was seen to
//! bill all of them and to report one), and usage is final only after the last word on output.

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
use crate::rules::model::{Message, Request, Role, Stop, ToolDefinition, Usage};

/// Path below the provider's base address.
pub const PATH: &str = "chat/completions";

/// See <https://platform.openai.com/docs/guides/rate-limits>. The reset of requests is when all of them are there again,
/// which is long after the next one may go.
pub const RATE_HEADERS: RateHeaders = RateHeaders {
    remaining_tokens: "x-ratelimit-remaining-tokens",
    remaining_requests: "x-ratelimit-remaining-requests",
    reset_tokens: Some("x-ratelimit-reset-tokens"),
};

/// Names, up to a version, of the models that refuse `max_tokens`.
const REASONING_MODELS: [&str; 5] = ["gpt-5", "gpt-6", "o1", "o3", "o4"];

/// The body of a request. `model` is the provider's own name for it.
pub fn encode(request: &Request, model: &str, stream: bool) -> Result<Value, EncodeError> {
    let mut body = Map::new();
    body.insert("model".into(), model.into());
    body.insert("messages".into(), request.messages.iter().map(message).collect::<Result<_, _>>()?);
    body.insert(cap_field(model).into(), cap(request)?.into());
    body.insert("stream".into(), stream.into());
    if stream {
        body.insert("stream_options".into(), json!({ "include_usage": true }));
    }
    if !request.tools.is_empty() {
        body.insert("tools".into(), request.tools.iter().map(tool).collect::<Result<_, _>>()?);
    }
    if let Some(schema) = &request.schema {
        let schema = schema_object("the reply", schema)?;
        let format = json!({ "type": "json_schema", "json_schema": { "name": "reply", "schema": schema } });
        body.insert("response_format".into(), format);
    }
    Ok(Value::Object(body))
}

/// The field that caps the output; never both, because servers differ on which of two wins.
///
/// `max_tokens` is the default: whoever does not take it says so with a 400, which costs nothing. A server that does
/// not know `max_completion_tokens` ignores it in silence and runs without a cap, so that is for models by name only.
fn cap_field(model: &str) -> &'static str {
    let name = model.rsplit('/').next().unwrap_or(model);
    match REASONING_MODELS.iter().any(|known| name.starts_with(known)) {
        true => "max_completion_tokens",
        false => "max_tokens",
    }
}

fn message(message: &Message) -> Result<Value, EncodeError> {
    Ok(match message.role {
        Role::System => json!({ "role": "system", "content": message.content }),
        Role::User => json!({ "role": "user", "content": message.content }),
        Role::Tool => json!({ "role": "tool", "tool_call_id": call_id(message)?, "content": message.content }),
        Role::Assistant if message.tool_calls.is_empty() => json!({ "role": "assistant", "content": message.content }),
        Role::Assistant => {
            let calls = message.tool_calls.iter().map(|call| {
                let function = json!({ "name": call.name, "arguments": call.arguments });
                json!({ "id": call.id, "type": "function", "function": function })
            });
            let content = (!message.content.is_empty()).then_some(&message.content);
            json!({ "role": "assistant", "content": content, "tool_calls": calls.collect::<Vec<_>>() })
        }
    })
}

fn tool(tool: &ToolDefinition) -> Result<Value, EncodeError> {
    let parameters = schema_object(&tool.name, &tool.schema)?;
    let function = json!({ "name": tool.name, "description": tool.description, "parameters": parameters });
    Ok(json!({ "type": "function", "function": function }))
}

/// A whole reply, or one chunk of a stream: they differ in `message` and `delta`.
#[derive(Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    error: Value,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<u64>,
    #[serde(alias = "message")]
    delta: Option<Piece>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Piece {
    content: Option<String>,
    refusal: Option<String>,
    /// Not part of the dialect, but of many servers that speak it, some under both names. Counted, not kept.
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Vec<CallPiece>>,
}

#[derive(Deserialize)]
struct CallPiece {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionPiece>,
}

#[derive(Deserialize)]
struct FunctionPiece {
    name: Option<String>,
    arguments: Option<String>,
}

impl Piece {
    fn output_bytes(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let calls = self.tool_calls.iter().flatten().filter_map(|call| call.function.as_ref());
        length(&self.content)
            + length(&self.refusal)
            + length(&self.reasoning_content).max(length(&self.reasoning))
            + calls.map(|function| length(&function.arguments)).sum::<usize>()
    }

    fn add_to(self, draft: &mut Draft, whose: Whose) -> Result<(), Failure> {
        draft.push_text(&self.content.unwrap_or_default());
        if self.refusal.is_some_and(|refusal| !refusal.is_empty()) {
            draft.withhold();
        }
        for (position, piece) in self.tool_calls.into_iter().flatten().enumerate() {
            let index = match whose {
                Whose::Message => position as u64,
                Whose::Delta => piece.index.ok_or_else(|| broken("a piece of a tool call has no index"))?,
            };
            let call = draft.call(index)?;
            if call.id.is_empty() {
                call.id = piece.id.unwrap_or_default();
            }
            if let Some(function) = piece.function {
                // Some servers repeat the name with each piece.
                if call.name.is_empty() {
                    call.name = function.name.unwrap_or_default();
                }
                call.arguments.push_str(&function.arguments.unwrap_or_default());
            }
        }
        Ok(())
    }
}

/// Whose tool calls: those of a whole message count by position, those of a delta say which call they go on with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Message,
    Delta,
}

/// Takes one event of a stream.
pub fn event(draft: &mut Draft, event: Event) -> Result<Flow, Failure> {
    if event.data.trim() == "[DONE]" {
        return Ok(Flow::Ended);
    }
    take(draft, event.data.as_bytes(), Whose::Delta)?;
    Ok(Flow::Open)
}

/// Takes a whole reply.
pub fn whole(draft: &mut Draft, body: &[u8]) -> Result<(), Failure> {
    take(draft, body, Whose::Message)
}

fn take(draft: &mut Draft, json: &[u8], whose: Whose) -> Result<(), Failure> {
    let chunk: Chunk =
        serde_json::from_slice(json).map_err(|error| broken(&format!("the reply is not of its dialect: {error}")))?;
    if !chunk.error.is_null() {
        return Err(Failure { kind: FailureKind::Rejected, message: complaint::in_json(&chunk.error) });
    }
    let mut choices = chunk.choices.unwrap_or_default().into_iter();
    let choice = choices.next();
    let only_usage = choice.is_none();
    // Read first: it may be the truth about a reply that is refused below.
    let has_usage = !chunk.usage.is_null();
    draft.usage.merge(chunk.usage);
    let mut refused = Ok(());
    if let Some(choice) = choice {
        if choices.next().is_some() || choice.index.unwrap_or(0) != 0 {
            return Err(broken("the reply has more than one choice"));
        }
        let piece = choice.delta.unwrap_or_default();
        let bytes = piece.output_bytes();
        refused = match whose {
            Whose::Delta => draft.delta(bytes),
            Whose::Message => draft.bytes(bytes),
        };
        if refused.is_ok() {
            refused = piece.add_to(draft, whose);
        }
        if let Some(reason) = choice.finish_reason {
            draft.stop(stop(&reason));
        }
    }
    if has_usage {
        draft.stage = match whose {
            Whose::Message => UsageStage::Final,
            Whose::Delta if !draft.has_stopped() => UsageStage::Running,
            Whose::Delta if only_usage => UsageStage::Final,
            Whose::Delta => UsageStage::AtEnd,
        };
    }
    refused?;
    match whose {
        Whose::Message => Ok(()),
        Whose::Delta => draft.running_count(draft.usage.count("completion_tokens")),
    }
}

/// A reason that nobody here knows is no proof that the text is whole.
fn stop(reason: &str) -> Stop {
    match reason {
        "stop" => Stop::End,
        "length" => Stop::MaxOutput,
        "tool_calls" | "function_call" => Stop::ToolCalls,
        _ => Stop::Withheld,
    }
}

/// Totals: cached input and reasoning output are already within them in this dialect.
pub fn usage(usage: &UsageSnapshot) -> Option<Usage> {
    Some(Usage { tokens_in: usage.count("prompt_tokens")?, tokens_out: usage.count("completion_tokens")? })
}

#[cfg(test)]
mod tests;
