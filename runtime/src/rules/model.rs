//! The words of a model call: what is asked, what comes back, what it may cost at most.
//!
//! Never: talks to a provider, knows a wire format, holds a key. A bound here is sound: a provider that keeps its
//! own contract cannot report more than [`Profile::bound`].

use serde::{Deserialize, Serialize};

/// Who said a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    System,
    User,
    Assistant,
    /// The result of a tool call.
    Tool,
}

/// A tool that the model may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolDefinition {
    pub name: String,
    pub description: String,
    /// JSON schema of the arguments, as text.
    pub schema: String,
}

/// The model asks for a tool. `arguments` is JSON as the model wrote it, unchecked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    pub arguments: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub role: Role,
    pub content: String,
    /// For [`Role::Assistant`]; otherwise empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// For [`Role::Tool`]; otherwise none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

/// What a worker asks of a model. `max_output` is what the host puts on the wire, after fitting it to the budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The job's name for the model.
    pub model: String,
    pub messages: Vec<Message>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolDefinition>,
    /// Output tokens, at least 1.
    pub max_output: u32,
    /// Output tokens below which the call is of no use to the worker.
    pub min_output: u32,
    /// JSON schema that the reply's text must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
}

impl Request {
    /// Messages, and the tool calls in them: a provider's template adds tokens to each, even if it says nothing.
    pub fn messages_and_calls(&self) -> u64 {
        self.messages.iter().map(|message| 1 + message.tool_calls.len() as u64).sum()
    }

    /// UTF-8 bytes that a provider will tokenise: contents, tool calls and tool definitions.
    pub fn content_bytes(&self) -> u64 {
        let length = |text: &str| text.len() as u64;
        let messages: u64 = self
            .messages
            .iter()
            .map(|message| {
                length(&message.content)
                    + message.tool_call_id.as_deref().map_or(0, length)
                    + message
                        .tool_calls
                        .iter()
                        .map(|call| length(&call.id) + length(&call.name) + length(&call.arguments))
                        .sum::<u64>()
            })
            .sum();
        let tools: u64 =
            self.tools.iter().map(|tool| length(&tool.name) + length(&tool.description) + length(&tool.schema)).sum();
        messages + tools + self.schema.as_deref().map_or(0, length)
    }
}

/// Why the model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    End,
    MaxOutput,
    ToolCalls,
    Withheld,
}

/// Tokens as the provider reported them: totals, with cached input and reasoning output included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub tokens_in: u64,
    pub tokens_out: u64,
}

/// How well the usage of a call is known. Only [`Metered::Exact`] is settled at its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "certainty")]
pub enum Metered {
    /// The provider's final usage was read.
    Exact(Usage),
    /// The provider never said, or was cut off: the whole reservation is held.
    Unknown,
}

/// What came back from a model, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    pub text: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    pub stop: Stop,
}

/// What the host knows of a model: its limits, its price, and how its provider counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Context window in tokens. A provider rejects what is longer, so no call can cost more input.
    pub window: u64,
    /// The most output tokens of one call.
    pub max_output: u32,
    /// Millionths of a US dollar for a million tokens. `None` is unknown, which is not zero.
    pub price: Option<Price>,
    /// Tokens per byte of content at most, in thousandths. Byte-level tokenisers emit at most one token per byte (1000);
    /// normalisers may grow text first.
    pub norm_factor_milli: u64,
    /// Tokens that the provider's template adds to each request.
    pub request_overhead: u64,
    /// Tokens that the template adds to each message, and to each tool.
    pub message_overhead: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    pub micro_usd_per_mtok_in: u64,
    pub micro_usd_per_mtok_out: u64,
}

impl Price {
    /// Money for this many tokens, rounded up to a whole millionth of a dollar on each side. `None` on overflow.
    pub fn cost(&self, usage: Usage) -> Option<u64> {
        let part = |tokens: u64, per_mtok: u64| {
            Some(u128::from(tokens).checked_mul(u128::from(per_mtok))?.div_ceil(1_000_000))
        };
        let total = part(usage.tokens_in, self.micro_usd_per_mtok_in)?
            .checked_add(part(usage.tokens_out, self.micro_usd_per_mtok_out)?)?;
        u64::try_from(total).ok()
    }
}

/// What is added to a provider's own count of a request, as a share in thousandths and in tokens: it calls its count
/// [an estimate that may be off by a small amount](https://platform.claude.com/docs/en/build-with-claude/token-counting).
pub const COUNT_SLACK: (u64, u64) = (32, 64);

impl Profile {
    /// The most tokens that this request can cost, if its provider counted `tokens_in` of input. Never more than
    /// [`Profile::bound`]. `None` on overflow.
    pub fn bound_counted(&self, request: &Request, tokens_in: u64) -> Option<Usage> {
        let bound = self.bound(request)?;
        let slack = tokens_in.checked_mul(COUNT_SLACK.0)?.div_ceil(1_000).checked_add(COUNT_SLACK.1)?;
        Some(Usage { tokens_in: bound.tokens_in.min(tokens_in.checked_add(slack)?), ..bound })
    }

    /// The most tokens that this request can cost, with `max_output` as the request has it. `None` on overflow.
    pub fn bound(&self, request: &Request) -> Option<Usage> {
        let parts = request.messages_and_calls() + request.tools.len() as u64;
        let estimate = request
            .content_bytes()
            .checked_mul(self.norm_factor_milli)?
            .div_ceil(1000)
            .checked_add(self.request_overhead)?
            .checked_add(parts.checked_mul(self.message_overhead)?)?;
        Some(Usage {
            tokens_in: estimate.min(self.window),
            tokens_out: u64::from(request.max_output.min(self.max_output)),
        })
    }
}
