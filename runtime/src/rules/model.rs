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
    /// For [`Role::Assistant`]: what came with the reply that this repeats, as [`Reply::provider_state`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_state: Option<String>,
}

impl Message {
    /// A message of a role, with text only.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), tool_calls: Vec::new(), tool_call_id: None, provider_state: None }
    }
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
                    + message.provider_state.as_deref().map_or(0, length)
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

/// Tokens as the provider reported them: totals, and what of them has a price of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// With all that was read from a cache or written into one.
    pub tokens_in: u64,
    /// With reasoning.
    pub tokens_out: u64,
    #[serde(default, skip_serializing_if = "Part::is_nothing")]
    pub part: Part,
}

impl Usage {
    /// Of which nothing has a price of its own.
    pub fn of(tokens_in: u64, tokens_out: u64) -> Self {
        Self { tokens_in, tokens_out, part: Part::default() }
    }
}

/// What of a usage has a price of its own. Tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Input that was read from a cache.
    pub cached: u64,
    /// Input that was written into a cache, for minutes and for an hour.
    pub written: u64,
    pub written_hour: u64,
    /// Output that is reasoning.
    pub reasoning: u64,
}

impl Part {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Tokens by which an honest server passes a cap: some count the token that ends a reply, or round.
pub const OVER_BY: u64 = 1;

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
    /// The model's own words on why it withheld its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// What the provider wants back when the reply is repeated to it. Opaque.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_state: Option<String>,
}

impl Reply {
    /// A reply of which nothing is kept or refused.
    pub fn new(text: impl Into<String>, tool_calls: Vec<ToolCall>, stop: Stop) -> Self {
        Self { text: text.into(), tool_calls, stop, refusal: None, provider_state: None }
    }
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
    /// Tokens that the provider adds to a request with tools, and once more to one with a schema: words of its own that say
    /// how to use them.
    #[serde(default)]
    pub tools_overhead: u64,
    /// Tokens that the template adds to each message, and to each tool.
    pub message_overhead: u64,
}

/// Millionths of a US dollar for a million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    pub micro_usd_per_mtok_in: u64,
    pub micro_usd_per_mtok_out: u64,
    /// Input that is read from a cache. Without it, as other input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<u64>,
    /// Input that is written into a cache for minutes. Without it, 1.25 times other input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<u64>,
    /// Input that is written into a cache for an hour. Without it, twice other input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_hour: Option<u64>,
    /// Reasoning. Without it, as other output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<u64>,
    /// What a request of long input costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long: Option<LongPrice>,
}

/// Prices of a request whose input is longer than a provider's usual one. Those of caches and of reasoning grow alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongPrice {
    /// Tokens of input. With more than these the whole request costs this.
    pub above: u64,
    /// Millionths of a US dollar for a million tokens.
    pub micro_usd_per_mtok_in: u64,
    pub micro_usd_per_mtok_out: u64,
}

/// What it costs to write input into a cache, in hundredths of the price of input, where the operator says nothing: see
/// <https://platform.claude.com/docs/en/build-with-claude/prompt-caching#pricing>.
const WRITTEN: u64 = 125;
const WRITTEN_HOUR: u64 = 200;

impl Price {
    /// Of input and output, of which nothing has a price of its own.
    pub fn of(micro_usd_per_mtok_in: u64, micro_usd_per_mtok_out: u64) -> Self {
        Self { micro_usd_per_mtok_in, micro_usd_per_mtok_out, ..Self::default() }
    }

    /// Money for this many tokens, rounded up to a whole millionth of a dollar on each side. `None` on overflow.
    pub fn cost(&self, usage: Usage) -> Option<u64> {
        let Usage { tokens_in, tokens_out, part } = usage;
        let [price_in, price_out] = [self.micro_usd_per_mtok_in, self.micro_usd_per_mtok_out];
        // What is said of parts is no more than the whole: of more, the dearest holds.
        let written_hour = part.written_hour.min(tokens_in);
        let written = part.written.min(tokens_in - written_hour);
        let cached = part.cached.min(tokens_in - written_hour - written);
        let reasoning = part.reasoning.min(tokens_out);
        let share = |hundredths: u64| price_in.checked_mul(hundredths).map(|price| price.div_ceil(100));
        let input = [
            (tokens_in - written_hour - written - cached, price_in),
            (cached, self.cached.unwrap_or(price_in)),
            (written, self.written.or_else(|| share(WRITTEN))?),
            (written_hour, self.written_hour.or_else(|| share(WRITTEN_HOUR))?),
        ];
        let output = [(tokens_out - reasoning, price_out), (reasoning, self.reasoning.unwrap_or(price_out))];
        let [times_in, times_out] = match self.long.filter(|long| tokens_in > long.above) {
            Some(long) => [(long.micro_usd_per_mtok_in, price_in), (long.micro_usd_per_mtok_out, price_out)],
            None => [(1, 1), (1, 1)],
        };
        let total = side(&input, times_in)?.checked_add(side(&output, times_out)?)?;
        u64::try_from(total).ok()
    }

    /// Money for this many tokens at most: whatever the provider says that they are, of what the operator set.
    pub fn most(&self, usage: Usage) -> Option<u64> {
        let dearest = |price: u64, others: &[Option<u64>]| others.iter().flatten().copied().fold(price, u64::max);
        let price = Self {
            micro_usd_per_mtok_in: dearest(self.micro_usd_per_mtok_in, &[self.cached, self.written, self.written_hour]),
            micro_usd_per_mtok_out: dearest(self.micro_usd_per_mtok_out, &[self.reasoning]),
            ..Self::default()
        };
        let usual = price.cost(usage)?;
        let Some(long) = self.long.filter(|long| usage.tokens_in > long.above) else { return Some(usual) };
        let grown = |most: u64, long: u64, usual: u64| match usual {
            0 => Some(long),
            usual => u64::try_from((u128::from(most) * u128::from(long)).div_ceil(u128::from(usual))).ok(),
        };
        let price = Self::of(
            grown(price.micro_usd_per_mtok_in, long.micro_usd_per_mtok_in, self.micro_usd_per_mtok_in)?,
            grown(price.micro_usd_per_mtok_out, long.micro_usd_per_mtok_out, self.micro_usd_per_mtok_out)?,
        );
        // The input may turn out to be shorter than it could be.
        Some(usual.max(price.cost(usage)?))
    }
}

/// Millionths of a dollar for tokens at their prices, times a fraction, rounded up.
fn side(parts: &[(u64, u64)], (times, of): (u64, u64)) -> Option<u128> {
    let parts = parts.iter().map(|&(tokens, price)| u128::from(tokens).checked_mul(u128::from(price)));
    let sum = parts.sum::<Option<u128>>()?;
    // Of a price of nothing there is no share.
    let (times, of) = if of == 0 { (1, 1) } else { (times, of) };
    Some(sum.checked_mul(u128::from(times))?.div_ceil(u128::from(of) * 1_000_000))
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

    /// Tokens that the provider adds to this request as a whole.
    pub fn overhead(&self, request: &Request) -> u64 {
        let times = u64::from(!request.tools.is_empty()) + u64::from(request.schema.is_some());
        self.request_overhead.saturating_add(self.tools_overhead.saturating_mul(times))
    }

    /// The most tokens that this request can cost, with `max_output` as the request has it. `None` on overflow.
    pub fn bound(&self, request: &Request) -> Option<Usage> {
        let parts = request.messages_and_calls() + request.tools.len() as u64;
        let estimate = request
            .content_bytes()
            .checked_mul(self.norm_factor_milli)?
            .div_ceil(1000)
            .checked_add(self.overhead(request))?
            .checked_add(parts.checked_mul(self.message_overhead)?)?;
        Some(Usage::of(estimate.min(self.window), u64::from(request.max_output.min(self.max_output))))
    }
}
