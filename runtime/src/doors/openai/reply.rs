//! What servers of this dialect send: whole, or one event of a stream.
//!
//! Never: decides when to stop reading. Servers that call themselves compatible differ in nearly every field, so all of it is
//! read as it comes: what can be known is taken, and what cannot is left out or is a failure in the server's words.

use serde_json::Value;

use super::super::draft::{CallPiece, Draft, UsageStage, broken};
use super::super::fold::Flow;
use super::super::json::{self, list, text};
use super::super::sse::Event;
use super::super::usage::{Count, UsageSnapshot};
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
    let usages = [&chunk["usage"], &chunk["x_groq"]["usage"], &choices.first().unwrap_or(&Value::Null)["usage"]];
    let has_usage = usages.iter().any(|usage| json::is_said(usage));
    usages.into_iter().for_each(|usage| draft.usage.merge(usage));
    let refused = match choices {
        [] => Ok(()),
        [choice] if json::count(&choice["index"]).unwrap_or(0) == 0 => take_choice(draft, choice, whose),
        _ => return Err(broken("the reply has more than one choice")),
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

fn take_choice(draft: &mut Draft, choice: &Value, whose: Whose) -> Result<(), Failure> {
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
    let calls = calls(piece, whose);
    let arguments: usize = calls.iter().map(|call| call.arguments.len()).sum();
    draft.bytes(content.len() + refusal.len() + thought + reasoning + arguments)?;
    draft.push_text(&content);
    if !refusal.is_empty() {
        draft.withhold(&refusal);
    }
    calls.into_iter().try_for_each(|call| draft.push_call(call))?;
    // Servers that have not stopped say nothing, null, or an empty word.
    match text(&choice["finish_reason"]).trim() {
        "" => Ok(()),
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

fn calls(piece: &Value, whose: Whose) -> Vec<CallPiece> {
    let call = |position: usize, call: &Value| {
        let function = &call["function"];
        let index = match whose {
            Whose::Message => Some(position as u64),
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
        "length" | "max_tokens" | "model_length" => Stop::MaxOutput,
        "tool_calls" | "tool_call" | "tool_use" | "function_call" => Stop::ToolCalls,
        "error" | "abort" | "network_error" | "insufficient_system_resource" => {
            return Err(broken(&format!("the provider ended the reply early: {reason}")));
        }
        _ => Stop::Withheld,
    })
}

/// Totals. Cached input is within them in this dialect; reasoning is within the output with some servers and beside it with
/// others, and only the total says which.
pub fn usage(usage: &UsageSnapshot) -> Option<Usage> {
    let input = usage.largest(&["/prompt_tokens", "/input_tokens"]);
    let output = usage.largest(&["/completion_tokens", "/output_tokens"]);
    let total = usage.largest(&["/total_tokens"]);
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
        _ => return None,
    };
    let cached = ["/prompt_tokens_details/cached_tokens", "/input_tokens_details/cached_tokens"];
    let cached = usage.largest(&[&cached[..], &["/prompt_cache_hit_tokens", "/cached_tokens"]].concat());
    // What cannot be read has no price of its own.
    let part = Part { cached: cached.or(0).unwrap_or(0), reasoning, ..Part::default() };
    Some(Usage { part, ..Usage::of(tokens_in.max(fresh_and_cached), tokens_out) })
}

/// Output so far, as far as it is said.
pub fn tokens_out(usage: &UsageSnapshot) -> Option<u64> {
    match usage.largest(&["/completion_tokens", "/output_tokens"]) {
        Count::Is(tokens) => Some(tokens),
        Count::Absent | Count::Unreadable => None,
    }
}
