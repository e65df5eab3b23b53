//! What servers of this dialect send: whole, or one event of a stream.
//!
//! Never: decides when to stop reading. Servers that call themselves compatible differ in nearly every field, so all of it is
//! read as it comes: what can be known is taken, and what cannot is left out or is a failure in the server's words.

use serde_json::Value;

use super::super::draft::{CallPiece, Draft, UsageStage, broken, broken_off};
use super::super::fold::Flow;
use super::super::json::{self, list, text};
use super::super::sse::Event;
use super::super::usage::{Count, METRICS_IN, METRICS_OUT, TIMED_IN, TIMED_OUT, UsageSnapshot, metered};
use crate::rules::effect::Failure;
use crate::rules::model::{Part, Stop, Usage};

/// Whose piece: a stream's, which goes on with what came before, or a whole message's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Message,
    Delta,
}

/// Takes one event of a stream.
pub fn event(draft: &mut Draft, event: &Event) -> Result<Flow, Failure> {
    match event.data.trim() {
        "[DONE]" => Ok(Flow::Ended),
        // Some gateways send comments as data.
        data if data.is_empty() || data.starts_with(':') => Ok(Flow::Open),
        data => take(draft, data.as_bytes(), Whose::Delta).map(|()| Flow::Open),
    }
}

/// Takes a whole reply.
pub fn whole(draft: &mut Draft, body: &[u8]) -> Result<(), Failure> {
    take(draft, body, Whose::Message)
}

fn take(draft: &mut Draft, bytes: &[u8], whose: Whose) -> Result<(), Failure> {
    let chunk = json::object(bytes)?;
    let choices = list(&chunk["choices"]);
    // Read first: it may be the truth about a reply that is refused below.
    let has_usage = draft.usage.take(&chunk);
    let refused = match choices {
        [choice] => take_choice(draft, choice, json::count(&choice["index"]).unwrap_or(0), whose),
        // Some put the text of one message into one choice and its calls into others.
        parts if parts.iter().filter(|part| has_text(part)).count() < 2 => {
            parts.iter().try_for_each(|part| take_choice(draft, part, 0, whose))
        }
        _ => return Err(two_choices()),
    };
    if has_usage {
        draft.stage = match whose {
            Whose::Message => UsageStage::Final,
            // Servers that give no reason to stop still say last what it cost. What follows unsettles it.
            Whose::Delta if !draft.has_stopped() && choices.is_empty() => UsageStage::AtEnd,
            Whose::Delta if !draft.has_stopped() => UsageStage::Running,
            Whose::Delta if choices.is_empty() => UsageStage::Final,
            Whose::Delta => UsageStage::AtEnd,
        };
    }
    refused?;
    match whose {
        Whose::Message => Ok(()),
        Whose::Delta => draft.running_count(tokens_out(&draft.usage)),
    }
}

fn two_choices() -> Failure {
    broken("the reply has more than one choice")
}

/// Whether a choice has a text or a refusal of its own.
fn has_text(choice: &Value) -> bool {
    let pieces = [&choice["delta"], &choice["message"]];
    let said = pieces.iter().flat_map(|piece| [&piece["content"], &piece["refusal"]]).chain([&choice["text"]]);
    said.into_iter().any(|said| json::text_bytes(said) > 0)
}

fn take_choice(draft: &mut Draft, choice: &Value, index: u64, whose: Whose) -> Result<(), Failure> {
    let [delta, message] = [&choice["delta"], &choice["message"]];
    // A stream may repeat the whole message at its end; a whole reply may call it a delta.
    let piece = match whose {
        Whose::Delta if json::is_said(delta) || draft.has_output() => delta,
        Whose::Message if !json::is_said(message) => delta,
        Whose::Delta | Whose::Message => message,
    };
    let (content, thought) = content(&piece["content"]);
    let content = if content.is_empty() { text(&choice["text"]) } else { content };
    let refusal = text(&piece["refusal"]);
    draft.kept.take(piece);
    // Not part of the dialect, but of many servers that speak it, some under both names.
    let reasoning = text(&piece["reasoning_content"]).len().max(text(&piece["reasoning"]).len());
    let calls = calls(piece, whose, draft.calls() as u64);
    let arguments: usize = calls.iter().map(|call| call.arguments.len()).sum();
    let said = content.len() + refusal.len() + thought + reasoning;
    draft.bytes(said + arguments)?;
    if said > 0 && !draft.is_of_choice(index) {
        return Err(two_choices());
    }
    draft.push_text(&content);
    if !refusal.is_empty() {
        draft.withhold(&refusal);
    }
    calls.into_iter().try_for_each(|call| draft.push_call(call))?;
    // Servers that have not stopped say nothing, null, or an empty word.
    match text(&choice["finish_reason"]).trim() {
        "" => Ok(()),
        _ if !draft.ends_choice(index) => Err(two_choices()),
        reason => stop(reason).map(|stop| draft.stop(stop)),
    }
}

/// The text of a content, and bytes of it that are no text: a text itself, or parts, some of which are thoughts.
fn content(content: &Value) -> (String, usize) {
    let Value::Array(parts) = content else { return (text(content), 0) };
    let (mut all, mut thought) = (String::new(), 0);
    for part in parts {
        match text(&part["type"]).as_str() {
            "thinking" | "reasoning" => thought += json::text_bytes(part),
            _ => all.push_str(&text(part)),
        }
    }
    (all, thought)
}

fn calls(piece: &Value, whose: Whose, before: u64) -> Vec<CallPiece> {
    let call = |position: usize, call: &Value| {
        let function = &call["function"];
        let index = match whose {
            Whose::Message => Some(before + position as u64),
            Whose::Delta => json::count(&call["index"]),
        };
        let arguments = json::arguments(&function["arguments"]);
        let extra = Some(&call["extra_content"]).filter(|extra| extra.is_object()).cloned();
        CallPiece { index, id: text(&call["id"]), name: text(&function["name"]), arguments, extra }
    };
    let all = list(&piece["tool_calls"]).iter().enumerate().map(|(position, each)| call(position, each));
    // What the dialect had before.
    let function = &piece["function_call"];
    let one = json::is_said(function).then(|| CallPiece {
        name: text(&function["name"]),
        arguments: json::arguments(&function["arguments"]),
        ..CallPiece::default()
    });
    all.chain(one).collect()
}

/// A reason that nobody here knows is no proof that the text is whole, and some say that it is not.
fn stop(reason: &str) -> Result<Stop, Failure> {
    Ok(match reason.to_ascii_lowercase().as_str() {
        "stop" | "stop_sequence" | "stop_str" | "eos" | "eos_token" | "end" | "end_turn" | "done" | "complete"
        | "completed" | "finish" | "finished" => Stop::End,
        "length" | "max_tokens" | "model_length" | "model_context_window_exceeded" => Stop::MaxOutput,
        "tool_calls" | "tool_call" | "tool_use" | "function_call" => Stop::ToolCalls,
        "error" | "abort" | "network_error" | "insufficient_system_resource" => {
            return Err(broken_off(&format!("the provider ended the reply early: {reason}")));
        }
        _ => Stop::Withheld,
    })
}

/// Input that was written into a cache.
const WRITTEN: [&str; 4] = [
    "/prompt_tokens_details/cache_write_tokens",
    "/input_tokens_details/cache_write_tokens",
    "/prompt_tokens_details/cache_creation_input_tokens",
    "/cache_creation_input_tokens",
];

/// The same by lifetime.
const WRITTEN_MINUTES: [&str; 2] = [
    "/prompt_tokens_details/cache_creation_token_details/ephemeral_5m_input_tokens",
    "/cache_creation/ephemeral_5m_input_tokens",
];
const WRITTEN_HOUR: [&str; 2] = [
    "/prompt_tokens_details/cache_creation_token_details/ephemeral_1h_input_tokens",
    "/cache_creation/ephemeral_1h_input_tokens",
];

/// Totals. Cached input is within them in this dialect, unless it is more than they are; reasoning is within the output with
/// some servers and beside it with others, and only the total says which.
pub fn usage(usage: &UsageSnapshot) -> Option<Usage> {
    let counts = |places: &[&str]| usage.largest(places).or(0);
    let timed = metered(usage, &TIMED_IN)?;
    let in_metrics = metered(usage, &METRICS_IN)?;
    let input = usage.largest(&["/prompt_tokens", "/input_tokens"]).at_least(timed.max(in_metrics));
    let output = usage.largest(&["/completion_tokens", "/output_tokens", TIMED_OUT, METRICS_OUT]);
    let total = match (usage.largest(&["/total_tokens"]), input, output) {
        // It cannot be less than its parts.
        (Count::Is(total), Count::Is(input), Count::Is(output)) if total < input.saturating_add(output) => {
            Count::Absent
        }
        (total, ..) => total,
    };
    let reasoning = usage
        .largest(&[
            "/completion_tokens_details/reasoning_tokens",
            "/output_tokens_details/reasoning_tokens",
            "/reasoning_tokens",
        ])
        .or(0)?;
    let fresh_and_cached = usage
        .largest(&["/prompt_cache_hit_tokens"])
        .or(0)?
        .checked_add(usage.largest(&["/prompt_cache_miss_tokens"]).or(0)?)?;
    let (tokens_in, tokens_out) = match (input, output, total) {
        (Count::Unreadable, ..) | (_, Count::Unreadable, _) | (.., Count::Unreadable) => return None,
        (Count::Is(input), Count::Is(output), Count::Is(total)) => (input, output.max(total.saturating_sub(input))),
        (Count::Is(input), Count::Is(output), Count::Absent) => (input, output.checked_add(reasoning)?),
        (Count::Is(input), Count::Absent, Count::Is(total)) => (input, total.checked_sub(input)?),
        (Count::Absent, Count::Is(output), Count::Is(total)) => (total.checked_sub(output)?, output),
        (Count::Absent, Count::Absent, _) | (Count::Is(_), Count::Absent, _) | (Count::Absent, Count::Is(_), _) => {
            return None;
        }
    };
    let cached = ["/prompt_tokens_details/cached_tokens", "/input_tokens_details/cached_tokens"];
    let alone = ["/prompt_cache_hit_tokens", "/cached_tokens", "/cache_read_input_tokens", METRICS_IN[1]];
    let cached = usage.largest(&[&cached[..], &alone].concat());
    // What cannot be read may be more than the input.
    let cached = cached.or(0)?;
    let hour = counts(&WRITTEN_HOUR)?;
    let by_lifetime = counts(&WRITTEN_MINUTES)?.checked_add(hour)?;
    let written = counts(&WRITTEN)?.max(counts(&METRICS_IN[2..])?).max(by_lifetime);
    let of_cache = cached.checked_add(written)?;
    // Some report it beside the input. What is more than the input cannot be within it, nor what has the names that Anthropic
    // gives to what is beside it, where no total says otherwise.
    let beside = ["/cache_read_input_tokens", "/cache_creation_input_tokens"];
    let has_these_names = total == Count::Absent
        && usage.largest(&["/prompt_tokens"]) == Count::Absent
        && usage.largest(&beside) != Count::Absent;
    let tokens_in = if of_cache > tokens_in || has_these_names { tokens_in.checked_add(of_cache)? } else { tokens_in };
    let part = Part { cached, written: written - hour, written_hour: hour, reasoning };
    Some(Usage { part, ..Usage::of(tokens_in.max(fresh_and_cached), tokens_out.max(reasoning)) })
}

/// Output so far, as far as it is said.
pub fn tokens_out(usage: &UsageSnapshot) -> Option<u64> {
    match usage.largest(&["/completion_tokens", "/output_tokens", TIMED_OUT]) {
        Count::Is(tokens) => Some(tokens),
        Count::Absent | Count::Unreadable => None,
    }
}
