//! The OpenAI chat-completions dialect: a request to JSON.
//!
//! Never: does I/O, keeps state of its own. Invariants: one cap field on the wire, `include_usage` whenever a stream is asked
//! for, several choices are never asked for (a server was seen to bill all of them and to report one), and what goes back of
//! a model's own turn is what it gave, its arguments being JSON whatever it wrote.

use serde_json::{Map, Value, json};

use super::encode::{EncodeError, arguments_schema, arguments_text, call_id, cap, schema_object};
use super::kept::Kept;
use super::rates::RateHeaders;
use crate::rules::model::{Message, Request, Role, ToolDefinition};
use crate::rules::spec::CapField;

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

/// The body of a request. `model` is the provider's own name for it; `field` is what the cap is called; what came from
/// `provider` goes back to it.
pub fn encode(
    request: &Request,
    model: &str,
    provider: &str,
    field: CapField,
    stream: bool,
) -> Result<Value, EncodeError> {
    let mut body = Map::new();
    body.insert("model".into(), model.into());
    body.insert(
        "messages".into(),
        request.messages.iter().map(|each| message(each, provider)).collect::<Result<_, _>>()?,
    );
    body.insert(field.name().into(), cap(request)?.into());
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
/// not know `max_completion_tokens` ignores it in silence and runs without a cap, so that is for models by name, and for
/// servers that ask for it.
pub fn cap_field(model: &str) -> CapField {
    let name = model.rsplit('/').next().unwrap_or(model);
    match REASONING_MODELS.iter().any(|known| name.starts_with(known)) {
        true => CapField::MaxCompletionTokens,
        false => CapField::MaxTokens,
    }
}

fn message(message: &Message, provider: &str) -> Result<Value, EncodeError> {
    let mut wire = match message.role {
        Role::System => json!({ "role": "system", "content": message.content }),
        Role::User => json!({ "role": "user", "content": message.content }),
        Role::Tool => json!({ "role": "tool", "tool_call_id": call_id(message)?, "content": message.content }),
        Role::Assistant if message.tool_calls.is_empty() => json!({ "role": "assistant", "content": message.content }),
        Role::Assistant => {
            let calls = message.tool_calls.iter().map(|call| {
                let function = json!({ "name": call.name, "arguments": arguments_text(call) });
                json!({ "id": call.id, "type": "function", "function": function })
            });
            let content = (!message.content.is_empty()).then_some(&message.content);
            json!({ "role": "assistant", "content": content, "tool_calls": calls.collect::<Vec<_>>() })
        }
    };
    if message.role == Role::Assistant {
        Kept::of(message, provider).put(&mut wire);
    }
    Ok(wire)
}

fn tool(tool: &ToolDefinition) -> Result<Value, EncodeError> {
    let parameters = arguments_schema(&tool.name, &tool.schema)?;
    let function = json!({ "name": tool.name, "description": tool.description, "parameters": parameters });
    Ok(json!({ "type": "function", "function": function }))
}

mod reply;

pub use self::reply::{event, tokens_out, usage, whole};

#[cfg(test)]
mod tests;
