//! A model made of a transcript: the same requests get the same replies, without a network, a key or a clock.
//!
//! Never: reads a file, looks at the budget, answers what its transcript does not say. Invariants: a turn without
//! `repeat` answers once; the usage that a turn does not state is below every sound bound on its request; output past
//! the cap is cut and counted as the cap, except where the transcript asks for an overshoot.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Deserializer, de};
use thiserror::Error;
use toml::Spanned;

use super::model::{Call, Model, Received};
use super::rates::RateNews;
use crate::rules::effect::{Failure, FailureKind};
use crate::rules::model::{Message, Metered, Reply, Request, Stop, ToolCall, Usage};

/// Bytes that a script takes for one token.
const TOKEN_BYTES: u64 = 4;

/// Characters of a request that an error quotes.
const QUOTED: usize = 80;

/// A transcript in use, and what was asked of it.
#[derive(Debug)]
pub struct ScriptedModel {
    turns: Vec<(Turn, AtomicBool)>,
    asked: AtomicU64,
    output_requested: AtomicU64,
}

/// A transcript that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("read the transcript: {message}")]
#[non_exhaustive]
pub struct ScriptError {
    pub message: String,
    /// Bytes of the text that the message is about.
    pub span: Option<Range<usize>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Transcript {
    turn: Vec<Spanned<Turn>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Turn {
    when: When,
    repeat: bool,
    text: Option<String>,
    tool_calls: Vec<ScriptedCall>,
    usage: StatedUsage,
    #[serde(deserialize_with = "duration")]
    latency: Duration,
    fault: Option<Fault>,
}

/// Conditions that must all hold; none is always true.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct When {
    /// In the content of any message.
    contains: Option<String>,
    /// In the content of the last message.
    last_contains: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptedCall {
    name: String,
    /// JSON: from a table, or as text, which need not be valid.
    #[serde(default = "no_arguments", deserialize_with = "arguments")]
    arguments: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StatedUsage {
    #[serde(rename = "in")]
    tokens_in: Option<u64>,
    #[serde(rename = "out")]
    tokens_out: Option<u64>,
}

/// What goes wrong with a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Fault {
    /// Nobody is there; nothing was sent.
    Unavailable,
    /// The provider says no for now. The turn's text is its reason.
    Overloaded,
    /// No answer in time.
    TimedOut,
    /// The provider says no. The turn's text is its reason.
    Rejected,
    /// The reply breaks off.
    Cut,
    /// The reply comes without its usage.
    NoUsage,
    /// More output than was asked for, and counted.
    Overshoot,
}

impl ScriptedModel {
    /// Reads a transcript: TOML with one `[[turn]]` after the other.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let transcript: Transcript = toml::from_str(text)
            .map_err(|error| ScriptError { message: error.message().to_owned(), span: error.span() })?;
        let mut turns = Vec::with_capacity(transcript.turn.len());
        for turn in transcript.turn {
            let span = turn.span();
            let turn = turn.into_inner();
            if turn.text.is_none() && turn.tool_calls.is_empty() && turn.fault.is_none() {
                let message = "a turn needs `text`, `tool-calls` or `fault`".to_owned();
                return Err(ScriptError { message, span: Some(span) });
            }
            turns.push((turn, AtomicBool::new(false)));
        }
        Ok(Self { turns, asked: AtomicU64::new(0), output_requested: AtomicU64::new(0) })
    }

    /// Calls so far, those included that no turn answered.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// The sum of `max_output` over all calls so far.
    pub fn output_requested(&self) -> u64 {
        self.output_requested.load(Ordering::SeqCst)
    }

    /// The first turn that fits and is not used up; takes it.
    fn take(&self, messages: &[Message]) -> Option<&Turn> {
        let fits = self.turns.iter().filter(|(turn, _)| turn.when.holds(messages));
        fits.filter(|(turn, used)| turn.repeat || !used.swap(true, Ordering::SeqCst)).map(|(turn, _)| turn).next()
    }
}

#[async_trait]
impl Model for ScriptedModel {
    fn request_bytes(&self, _: &Request) -> u64 {
        0
    }

    fn uses_network(&self) -> bool {
        false
    }

    async fn ask(&self, call: &Call) -> Received {
        let request = &call.request;
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.output_requested.fetch_add(u64::from(request.max_output), Ordering::SeqCst);
        let (result, metered) = match self.take(&request.messages) {
            None => fail(FailureKind::Rejected, no_turn(&request.messages), Cost::Nothing),
            Some(turn) => {
                // Time passes only where the transcript says so.
                if !turn.latency.is_zero() {
                    tokio::time::sleep(turn.latency).await;
                }
                turn.answer(request)
            }
        };
        Received { result, metered, net_bytes: 0, raw_usage: None, rates: RateNews::default() }
    }
}

type Answer = (Result<Reply, Failure>, Metered);

impl Turn {
    fn answer(&self, request: &Request) -> Answer {
        let text = |otherwise: &str| self.text.as_deref().unwrap_or(otherwise).to_owned();
        match self.fault {
            Some(Fault::Unavailable) => {
                fail(FailureKind::Unavailable, text("the scripted provider is away"), Cost::Nothing)
            }
            Some(Fault::Overloaded) => {
                fail(FailureKind::Overloaded, text("the scripted provider is overloaded"), Cost::Nothing)
            }
            Some(Fault::TimedOut) => {
                fail(FailureKind::TimedOut, "the scripted provider is silent".into(), Cost::Unknown)
            }
            Some(Fault::Rejected) => fail(FailureKind::Rejected, text("the scripted provider says no"), Cost::Nothing),
            Some(Fault::Cut) => fail(FailureKind::Broken, "the scripted reply broke off".into(), Cost::Unknown),
            Some(Fault::NoUsage) => (Ok(self.reply(request).0), Metered::Unknown),
            Some(Fault::Overshoot) | None => {
                let (reply, tokens_out) = self.reply(request);
                let tokens_in = self.usage.tokens_in.unwrap_or_else(|| tokens(request.content_bytes()));
                (Ok(reply), Metered::Exact(Usage::of(tokens_in, tokens_out)))
            }
        }
    }

    /// The reply within the request's cap, and its output tokens.
    fn reply(&self, request: &Request) -> (Reply, u64) {
        let cap = u64::from(request.max_output);
        let text = self.text.clone().unwrap_or_default();
        let calls = self.calls(request);
        let call_bytes = calls.iter().map(|call| (call.name.len() + call.arguments.len()) as u64).sum::<u64>();
        let wanted = self.usage.tokens_out.unwrap_or_else(|| tokens(text.len() as u64 + call_bytes));
        let stop = match calls.is_empty() {
            true => Stop::End,
            false => Stop::ToolCalls,
        };
        if self.fault == Some(Fault::Overshoot) {
            return (Reply::new(text, calls, stop), wanted.max(cap + 1));
        }
        if wanted <= cap {
            return (Reply::new(text, calls, stop), wanted);
        }
        // A provider writes the text before the tool calls, so a cut reply has none of them.
        let end = usize::try_from(cap * TOKEN_BYTES).unwrap_or(usize::MAX);
        let text = text[..text.floor_char_boundary(end)].to_owned();
        (Reply::new(text, Vec::new(), Stop::MaxOutput), cap)
    }

    /// The number of messages makes a call's id differ from those of earlier replies, and the same at each replay.
    fn calls(&self, request: &Request) -> Vec<ToolCall> {
        let scripted = self.tool_calls.iter().enumerate();
        scripted
            .map(|(position, call)| ToolCall {
                id: format!("call-{}-{position}", request.messages.len()),
                name: call.name.clone(),
                arguments: call.arguments.clone(),
            })
            .collect()
    }
}

impl When {
    fn holds(&self, messages: &[Message]) -> bool {
        let in_any = |part: &String| messages.iter().any(|message| message.content.contains(part.as_str()));
        let in_last = |part: &String| messages.last().is_some_and(|message| message.content.contains(part.as_str()));
        self.contains.as_ref().is_none_or(in_any) && self.last_contains.as_ref().is_none_or(in_last)
    }
}

enum Cost {
    Nothing,
    Unknown,
}

fn fail(kind: FailureKind, message: String, cost: Cost) -> Answer {
    let metered = match cost {
        Cost::Nothing => Metered::Exact(Usage::default()),
        Cost::Unknown => Metered::Unknown,
    };
    (Err(Failure { kind, message }), metered)
}

/// A quarter of the bytes: deterministic, and below the bound of every profile with at least 250 thousandths of a token
/// for a byte, whatever its overheads.
fn tokens(bytes: u64) -> u64 {
    bytes.div_ceil(TOKEN_BYTES)
}

fn no_turn(messages: &[Message]) -> String {
    let request = match messages.last() {
        None => "it has no messages".to_owned(),
        Some(last) => {
            let mut head: String = last.content.chars().take(QUOTED).collect();
            if head.len() < last.content.len() {
                head.push('…');
            }
            format!("message {} of {} ends it: {head:?}", messages.len(), messages.len())
        }
    };
    format!("the transcript has no turn for this request: {request}")
}

fn no_arguments() -> String {
    "{}".to_owned()
}

fn arguments<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match toml::Value::deserialize(deserializer)? {
        toml::Value::String(text) => Ok(text),
        table @ toml::Value::Table(_) => json(table).map(|table| table.to_string()),
        other => Err(de::Error::custom(format!("arguments are a table or a text, not {}", other.type_str()))),
    }
}

/// TOML's own values as JSON has them; a date is its text.
fn json<E: de::Error>(value: toml::Value) -> Result<serde_json::Value, E> {
    Ok(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) if !number.is_finite() => return Err(E::custom("JSON has no such number")),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(date) => date.to_string().into(),
        toml::Value::Array(values) => values.into_iter().map(json).collect::<Result<_, _>>()?,
        toml::Value::Table(table) => {
            let fields = table.into_iter().map(|(name, value)| Ok((name, json(value)?)));
            serde_json::Value::Object(fields.collect::<Result<_, _>>()?)
        }
    })
}

/// `50ms` or `2s`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => number.parse().ok().map(Duration::from_millis),
        (None, Some(number)) => number.parse().ok().map(Duration::from_secs),
        (None, None) => None,
    };
    parsed.ok_or_else(|| de::Error::custom(format!("{text:?} is no duration: write for example \"50ms\" or \"2s\"")))
}

#[cfg(test)]
mod tests;
