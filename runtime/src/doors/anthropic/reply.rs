//! What servers of this dialect send: whole, one event of a stream, or the answer to a count.
//!
//! Never: decides when to stop reading. What is not what it should be is read as far as it can be known. Invariants: input is
//! the checked sum of fresh, cache-read and cache-written tokens, and a stream without a `message_delta` that counts its output
//! has no known usage (the count in `message_start` is provisional).

use serde_json::Value;

use super::super::complaint::Complaint;
use super::super::draft::{CallPiece, Draft, UsageStage, broken};
use super::super::fold::Flow;
use super::super::json::{self, list, text};
use super::super::sse::Event;
use super::super::usage::{Count, METRICS_IN, METRICS_OUT, TIMED_IN, TIMED_OUT, UsageSnapshot, metered};
use crate::rules::effect::Failure;
use crate::rules::model::{Part, Stop, Usage};

/// Takes one event of a stream. Kinds that this version does not know are ignored, as the API's versioning asks.
pub fn event(draft: &mut Draft, event: &Event) -> Result<Flow, Failure> {
    let data = event.data.trim();
    match data {
        // Not of this dialect, but of gateways that speak several; some send comments as data.
        "[DONE]" => return Ok(Flow::Ended),
        _ if data.is_empty() || data.starts_with(':') => return Ok(Flow::Open),
        _ => {}
    }
    let frame = json::object(data.as_bytes())?;
    let kind = text(&frame["type"]);
    draft.usage.take(&frame);
    match if kind.is_empty() { event.name.as_str() } else { kind.as_str() } {
        "message_start" => {
            if !draft.begins(&text(&frame["message"]["id"])) {
                // What the first cost is never said.
                return Err(broken("the stream begins a second message"));
            }
            draft.running_count(tokens_out(&draft.usage))?;
        }
        "content_block_start" => take_block(draft, &frame["content_block"], json::count(&frame["index"]))?,
        "content_block_delta" => take_delta(draft, &frame["delta"], json::count(&frame["index"]))?,
        "message_delta" => {
            take_reason(draft, &frame["delta"]["stop_reason"]);
            if has_output_count(&frame) && draft.has_stopped() {
                draft.stage = UsageStage::Final;
            }
            draft.running_count(tokens_out(&draft.usage))?;
        }
        "message_stop" => {
            if has_output_count(&frame) {
                draft.stage = UsageStage::Final;
            }
            return Ok(Flow::Ended);
        }
        _ => {}
    }
    Ok(Flow::Open)
}

/// Takes a whole reply.
pub fn whole(draft: &mut Draft, body: &[u8]) -> Result<(), Failure> {
    let body = json::object(body)?;
    draft.usage.take(&body);
    if let Value::String(said) = &body["content"] {
        draft.bytes(said.len())?;
        draft.push_text(said);
    }
    for (position, block) in list(&body["content"]).iter().enumerate() {
        take_block(draft, block, Some(position as u64))?;
    }
    take_reason(draft, &body["stop_reason"]);
    draft.stage = UsageStage::Final;
    Ok(())
}

fn take_block(draft: &mut Draft, block: &Value, index: Option<u64>) -> Result<(), Failure> {
    match text(&block["type"]).as_str() {
        "tool_use" => {
            // Whole in a whole reply; in a stream `{}` here, and the real input follows in deltas.
            let arguments = match &block["input"] {
                Value::Object(input) if input.is_empty() => String::new(),
                input => json::arguments(input),
            };
            draft.bytes(arguments.len())?;
            let [id, name] = ["id", "name"].map(|field| text(&block[field]));
            draft.push_call(CallPiece { index, id, name, arguments, extra: None })
        }
        "text" => {
            let said = text(&block["text"]);
            draft.bytes(said.len())?;
            draft.push_text(&said);
            Ok(())
        }
        "thinking" | "redacted_thinking" => {
            let before = draft.calls();
            draft.kept.begin_thought(block, index, before);
            draft.bytes(text(&block["thinking"]).len())
        }
        // Other kinds belong to tools that were not asked for.
        _ => draft.bytes(text(&block["thinking"]).len() + json::arguments(&block["input"]).len()),
    }
}

fn take_delta(draft: &mut Draft, delta: &Value, index: Option<u64>) -> Result<(), Failure> {
    let [said, thinking, part] = ["text", "thinking", "partial_json"].map(|field| text(&delta[field]));
    draft.bytes(said.len() + thinking.len() + part.len())?;
    draft.push_text(&said);
    draft.kept.think(index, delta);
    // Blocks of tools that the provider runs itself have input too; they were not opened and are not kept.
    if part.is_empty() || index.is_some_and(|index| !draft.has_call(index)) {
        return Ok(());
    }
    draft.push_call(CallPiece { index, arguments: part, ..CallPiece::default() })
}

fn take_reason(draft: &mut Draft, reason: &Value) {
    match text(reason).trim() {
        "" => {}
        reason => draft.stop(stop(reason)),
    }
}

/// A reason that nobody here knows is no proof that the text is whole.
fn stop(reason: &str) -> Stop {
    match reason.to_ascii_lowercase().as_str() {
        "end_turn" | "stop_sequence" | "stop" => Stop::End,
        "max_tokens" | "model_context_window_exceeded" | "length" => Stop::MaxOutput,
        "tool_use" | "tool_calls" => Stop::ToolCalls,
        _ => Stop::Withheld,
    }
}

/// The input tokens that the answer to a count states. Every request has input, so zero is no count.
pub fn counted(body: &[u8]) -> Result<u64, Failure> {
    if let Some(complaint) = Complaint::of_reply(body) {
        return Err(complaint.failure);
    }
    let count = json::object(body)?;
    let tokens = json::count(&count["input_tokens"]).filter(|tokens| *tokens > 0);
    tokens.ok_or_else(|| broken("the answer to a count has no count"))
}

/// Whether a frame says how much was put out.
fn has_output_count(frame: &Value) -> bool {
    let mut said = UsageSnapshot::default();
    said.take(frame);
    tokens_out(&said).is_some()
}

/// Totals: this dialect counts cached input apart, and reasoning within the output. What a turn used besides its message,
/// to shorten what it was given, is said only step by step: see
/// <https://platform.claude.com/docs/en/build-with-claude/compaction#understanding-usage>.
pub fn usage(usage: &UsageSnapshot) -> Option<Usage> {
    let of_message = one(usage)?;
    let steps = usage.each("iterations");
    let steps = steps.iter().map(one).try_fold(Usage::default(), |sum, step| add(sum, step?))?;
    let [part, step] = [of_message.part, steps.part];
    let part = Part {
        cached: part.cached.max(step.cached),
        written: part.written.max(step.written),
        written_hour: part.written_hour.max(step.written_hour),
        ..Part::default()
    };
    let of_cache = part.cached.checked_add(part.written)?.checked_add(part.written_hour)?;
    let tokens_in = of_message.tokens_in.max(steps.tokens_in).max(of_cache);
    Some(Usage { part, ..Usage::of(tokens_in, of_message.tokens_out.max(steps.tokens_out)) })
}

fn add(one: Usage, other: Usage) -> Option<Usage> {
    let part = Part {
        cached: one.part.cached.checked_add(other.part.cached)?,
        written: one.part.written.checked_add(other.part.written)?,
        written_hour: one.part.written_hour.checked_add(other.part.written_hour)?,
        ..Part::default()
    };
    let tokens_in = one.tokens_in.checked_add(other.tokens_in)?;
    Some(Usage { part, ..Usage::of(tokens_in, one.tokens_out.checked_add(other.tokens_out)?) })
}

/// Of one step. Gateways leave names and sums of the other dialect in it, whose input has the cached one within.
fn one(usage: &UsageSnapshot) -> Option<Usage> {
    let foreign = usage.largest(&["/prompt_tokens"]);
    let fresh = match usage.largest(&["/input_tokens", METRICS_IN[0]]) {
        Count::Is(fresh) => fresh,
        Count::Absent if foreign != Count::Absent => 0,
        Count::Absent | Count::Unreadable => return None,
    };
    let tokens_out = tokens_out(usage)?;
    let by_lifetime = ["/cache_creation/ephemeral_5m_input_tokens", "/cache_creation/ephemeral_1h_input_tokens"];
    let [minutes, hour] = by_lifetime.map(|place| usage.largest(&[place]).or(0));
    let written = usage.largest(&["/cache_creation_input_tokens", METRICS_IN[2]]).or(0)?;
    let written = written.max(minutes?.checked_add(hour?)?);
    let cached = usage.largest(&["/cache_read_input_tokens", METRICS_IN[1]]).or(0)?;
    let part = Part { cached, written: written - hour?, written_hour: hour?, ..Part::default() };
    let tokens_in = fresh.checked_add(cached)?.checked_add(written)?.max(foreign.or(0)?);
    let tokens_in = tokens_in.max(metered(usage, &TIMED_IN)?);
    let total = usage.largest(&["/total_tokens"]).or(0)?;
    Some(Usage { part, ..Usage::of(tokens_in, tokens_out.max(total.saturating_sub(tokens_in))) })
}

/// Output so far, as far as it is said.
fn tokens_out(usage: &UsageSnapshot) -> Option<u64> {
    match usage.largest(&["/output_tokens", "/completion_tokens", METRICS_OUT, TIMED_OUT]) {
        Count::Is(tokens) => Some(tokens),
        Count::Absent | Count::Unreadable => None,
    }
}
