//! What servers of this dialect send: whole, or one event of a stream.
//!
//! Never: decides when to stop reading. What is not what it should be is read as far as it can be known. Invariants: only an
//! event that says how the response ended is its end (gateways send `[DONE]` also after a server that was cut off), and only
//! its usage is the last word.

use serde_json::Value;

use super::super::draft::{CallPiece, Draft, UsageStage, broken, broken_off};
use super::super::fold::Flow;
use super::super::items::{Item, Kind, MOST_ITEMS, Name};
use super::super::json::{self, list, text};
use super::super::kept::Reasoning;
use super::super::openai;
use super::super::sse::Event;
use crate::rules::effect::Failure;
use crate::rules::model::Stop;

/// Takes one event of a stream. Kinds that this version does not know count as output, if they have any.
pub fn event(draft: &mut Draft, event: &Event) -> Result<Flow, Failure> {
    let data = event.data.trim();
    match data {
        "[DONE]" if draft.has_stopped() => return Ok(Flow::Ended),
        "[DONE]" => return Err(broken_off("the stream ended without its terminator")),
        // Some gateways send comments as data.
        _ if data.is_empty() || data.starts_with(':') => return Ok(Flow::Open),
        _ => {}
    }
    let frame = json::object(data.as_bytes())?;
    // Some gateways answer in the dialect that their server speaks.
    if frame["choices"].is_array() {
        return openai::event(draft, event);
    }
    let kind = text(&frame["type"]);
    let kind = if kind.is_empty() { event.name.as_str() } else { kind.as_str() };
    let delta = text(&frame["delta"]);
    match kind {
        "response.completed" | "response.done" | "response.incomplete" | "response.failed" | "response.cancelled" => {
            return end(draft, &frame, kind).map(|()| Flow::Ended);
        }
        "" if frame["object"] == "response" && is_over(&frame["status"]) => {
            return end(draft, &frame, kind).map(|()| Flow::Ended);
        }
        "response.output_item.added" => begin(draft, &frame)?,
        "response.output_item.done" => {
            finish(draft, &frame["item"], &name(&frame))?;
        }
        "response.output_text.delta" | "response.text.delta" => piece(draft, Kind::Message, &frame, &delta)?,
        "response.output_text.done" | "response.text.done" => part(draft, &frame, &text(&frame["text"]))?,
        "response.content_part.done" => take_part(draft, &frame)?,
        "response.refusal.delta" => refuse(draft, &delta, Refusal::Piece)?,
        "response.refusal.done" => refuse(draft, &text(&frame["refusal"]), Refusal::Whole)?,
        "response.function_call_arguments.delta" | "response.function_call.arguments.delta" => {
            let delta = json::arguments(&frame["delta"]);
            piece(draft, Kind::Call, &frame, &delta)?;
        }
        "response.function_call_arguments.done" | "response.function_call.arguments.done" => {
            finish_call(draft, &frame)?
        }
        "response.reasoning_text.delta" | "response.reasoning.delta" => {
            draft.bytes(delta.len())?;
            if let Some(item) = draft.items.open(Kind::Reasoning, &name(&frame)) {
                item.push(&delta);
            }
        }
        // Also what tools of the provider's own are given, and summaries of reasoning, which come whole when they are done.
        _ => draft.bytes(delta.len())?,
    }
    draft.usage.take(&frame);
    draft.running_count(openai::tokens_out(&draft.usage))?;
    Ok(Flow::Open)
}

/// Takes a whole reply.
pub fn whole(draft: &mut Draft, body: &[u8]) -> Result<(), Failure> {
    let frame = json::object(body)?;
    if frame["choices"].is_array() {
        return openai::whole(draft, body);
    }
    end(draft, &frame, "")
}

/// The end of a response, and all that is said of it once more.
fn end(draft: &mut Draft, frame: &Value, kind: &str) -> Result<(), Failure> {
    let response = if frame["response"].is_object() { &frame["response"] } else { frame };
    let all = reconcile(draft, response);
    if draft.usage.take(frame) {
        draft.stage = UsageStage::Final;
    }
    let is_cut = all?;
    let stop = stop(kind, response)?;
    draft.stop(if is_cut && stop == Stop::End { Stop::Withheld } else { stop });
    let text = draft.items.text();
    draft.push_text(&text);
    let calls: Vec<[String; 3]> = draft.items.calls().collect();
    for ([id, name, arguments], index) in calls.into_iter().zip(0..) {
        draft.push_call(CallPiece { index: Some(index), id, name, arguments, extra: None })?;
    }
    let kept = draft.items.kept();
    draft.kept.keep(kept);
    Ok(())
}

/// Takes of the items in a whole response what did not come before. Whether one of them says that it was cut off.
fn reconcile(draft: &mut Draft, response: &Value) -> Result<bool, Failure> {
    let all = list(&response["output"]);
    let is_cut = all.iter().any(|item| item["status"] == "incomplete");
    let of = |wanted: Kind| all.iter().filter(move |item| kind(item) == Some(wanted));
    if draft.items.is_empty() {
        for (item, index) in all.iter().zip(0..) {
            let id = text(&item["id"]);
            // Each is an item of its own, whatever the ids say.
            if let Some(kind) = kind(item) {
                begun(draft, kind, Name { index: Some(index), id: String::new() })?;
            }
            let is_done = finish(draft, item, &Name { index: Some(index), id })?;
            // A text may lie there without a message around it.
            if !is_done && matches!(text(&item["type"]).as_str(), "output_text" | "text") {
                let said = text(item);
                draft.bytes(said.len())?;
                begun(draft, Kind::Message, Name::default())?.push(&said);
            }
        }
    } else {
        let messages: Vec<&Value> = of(Kind::Message).collect();
        let said: String = messages.iter().map(|item| message_text(item).0).collect();
        let before = draft.items.said();
        if let Some(rest) = said.strip_prefix(before.as_str()).filter(|rest| !rest.is_empty()) {
            draft.bytes(rest.len())?;
            let known = draft.items.of(Kind::Message).len();
            let new = messages.get(known..).unwrap_or_default();
            let is_new = new.iter().map(|item| message_text(item).0).collect::<String>() == rest;
            if is_new {
                for item in new {
                    let begun = begun(draft, Kind::Message, Name::default())?;
                    begun.phase = text(&item["phase"]);
                    begun.push(&message_text(item).0);
                }
            } else if let Some(last) = draft.items.of(Kind::Message).pop() {
                last.push(rest);
            } else {
                begun(draft, Kind::Message, Name::default())?.push(rest);
            }
        }
        for (known, item) in draft.items.of(Kind::Message).into_iter().zip(of(Kind::Message)) {
            if known.phase.is_empty() {
                known.phase = text(&item["phase"]);
            }
        }
        of(Kind::Message).try_for_each(|item| refuse(draft, &message_text(item).1, Refusal::Whole))?;
        reconcile_calls(draft, &of(Kind::Call).collect::<Vec<_>>())?;
        reconcile_reasoning(draft, all)?;
    }
    // What libraries add, some servers have instead.
    let said = text(&response["output_text"]);
    if draft.items.said().is_empty() && !said.is_empty() {
        draft.bytes(said.len())?;
        begun(draft, Kind::Message, Name::default())?.push(&said);
    }
    Ok(is_cut)
}

/// Calls are the same if they have one id; or if there are as many, and those at one place have one name.
fn reconcile_calls(draft: &mut Draft, all: &[&Value]) -> Result<(), Failure> {
    let known = draft.items.of(Kind::Call).len();
    for (place, item) in all.iter().enumerate() {
        let id = text(&item["call_id"]);
        let (function, arguments) = function(item);
        let mut calls = draft.items.of(Kind::Call);
        let is_same = |call: &Item| call.function.is_empty() || function.is_empty() || call.function == function;
        let by_place = (known == all.len() && calls.get(place).is_some_and(|call| is_same(call))).then_some(place);
        let by_id = calls.iter().position(|call| !id.is_empty() && call.call_id == id);
        let new = match by_place.or(by_id) {
            Some(place) => take_call(calls.swap_remove(place), &id, &function, &arguments),
            None if all.len() > known && !function.is_empty() => {
                let call = begun(draft, Kind::Call, Name { index: None, id: text(&item["id"]) })?;
                take_call(call, &id, &function, &arguments)
            }
            None => 0,
        };
        draft.bytes(new)?;
    }
    Ok(())
}

/// Some servers give it only at the end, or encrypt it only then.
fn reconcile_reasoning(draft: &mut Draft, all: &[Value]) -> Result<(), Failure> {
    let has_any = !draft.items.of(Kind::Reasoning).is_empty();
    let (mut others, mut place) = (0, 0);
    for item in all {
        if kind(item) != Some(Kind::Reasoning) {
            others += usize::from(kind(item).is_some());
            continue;
        }
        let id = text(&item["id"]);
        let mut known = draft.items.of(Kind::Reasoning);
        let by_id = known.iter().position(|known| !id.is_empty() && known.reasoning.id == id);
        match by_id.or(has_any.then_some(place)).filter(|place| *place < known.len()) {
            Some(place) => {
                let known = known.swap_remove(place);
                let is_open = known.reasoning.encrypted_content.is_empty();
                let new = if is_open { take_reasoning(known, item) } else { 0 };
                draft.bytes(new)?;
            }
            None if !has_any => {
                let inserted = draft.items.insert(Kind::Reasoning, others).ok_or_else(too_many)?;
                let new = take_reasoning(inserted, item);
                draft.bytes(new)?;
            }
            None => {}
        }
        place += 1;
    }
    Ok(())
}

/// Why the response ended. An unknown word does not prove that the text is whole.
fn stop(kind: &str, response: &Value) -> Result<Stop, Failure> {
    let status = text(&response["status"]).to_ascii_lowercase();
    let reason = text(&response["incomplete_details"]["reason"]).to_ascii_lowercase();
    let early = |word: &str| Err(broken_off(&format!("the provider ended the reply early: {word}")));
    if matches!(kind, "response.failed" | "response.cancelled") {
        return early(kind);
    }
    match status.as_str() {
        "failed" | "cancelled" | "canceled" | "error" => early(&status),
        "in_progress" | "queued" if kind.is_empty() => early(&status),
        _ if !reason.is_empty() || status == "incomplete" || kind == "response.incomplete" => match reason.as_str() {
            // Servers that give no reason know no other.
            "" | "max_output_tokens" | "max_tokens" | "length" | "max_completion_tokens" => Ok(Stop::MaxOutput),
            "interrupted" | "error" | "abort" | "cancelled" => early(&reason),
            _ => Ok(Stop::Withheld),
        },
        "" | "completed" | "complete" | "done" | "success" | "succeeded" | "finished" | "in_progress" | "queued" => {
            Ok(Stop::End)
        }
        _ => Ok(Stop::Withheld),
    }
}

/// Whether a response says that nothing of it follows.
fn is_over(status: &Value) -> bool {
    !matches!(text(status).as_str(), "" | "in_progress" | "queued")
}

fn begin(draft: &mut Draft, frame: &Value) -> Result<(), Failure> {
    let item = &frame["item"];
    let Some(kind) = kind(item) else { return Ok(()) };
    let item_name = Name { id: text(&item["id"]), ..name(frame) };
    // What says itself once more is not begun again.
    let id = text(&item["call_id"]);
    if kind == Kind::Call && draft.items.has_call(&id, &item_name) {
        return Ok(());
    }
    let begun = match kind {
        Kind::Call => draft.items.begin_call(item_name),
        Kind::Message | Kind::Reasoning => draft.items.begin(kind, item_name),
    };
    let begun = begun.ok_or_else(too_many)?;
    let new = match kind {
        Kind::Call => {
            let (function, arguments) = function(item);
            take_call(begun, &id, &function, &arguments)
        }
        // What it begins with is said again in pieces or whole.
        Kind::Message => {
            begun.phase = text(&item["phase"]);
            0
        }
        Kind::Reasoning => {
            begun.reasoning.id = text(&item["id"]);
            0
        }
    };
    draft.bytes(new)
}

/// Takes an item that is whole. Whether it is one of the known kinds.
fn finish(draft: &mut Draft, item: &Value, at: &Name) -> Result<bool, Failure> {
    let Some(kind) = kind(item) else {
        // Tools of the provider's own, that were not asked for.
        draft.bytes(json::arguments(&item["arguments"]).len() + text(&item["input"]).len())?;
        return Ok(false);
    };
    let id = text(&item["id"]);
    let at = Name { index: at.index, id: if id.is_empty() { at.id.clone() } else { id } };
    let call_id = text(&item["call_id"]);
    if draft.items.known(kind, &at, &call_id).is_none() {
        begun(draft, kind, at.clone())?;
    }
    let (said, refusal, thought) = message_text(item);
    let Some(known) = draft.items.known(kind, &at, &call_id) else { return Ok(true) };
    let new = match kind {
        Kind::Message => {
            let phase = text(&item["phase"]);
            if !phase.is_empty() {
                known.phase = phase;
            }
            known.whole(&said) + thought
        }
        Kind::Call => {
            let (function, arguments) = function(item);
            take_call(known, &call_id, &function, &arguments)
        }
        Kind::Reasoning => take_reasoning(known, item),
    };
    known.finish();
    draft.bytes(new)?;
    if kind == Kind::Message {
        refuse(draft, &refusal, Refusal::Whole)?;
    }
    Ok(true)
}

fn piece(draft: &mut Draft, kind: Kind, frame: &Value, delta: &str) -> Result<(), Failure> {
    draft.bytes(delta.len())?;
    let name = name(frame);
    match draft.items.open(kind, &name) {
        Some(item) => item.push(delta),
        None => begun(draft, kind, name)?.push(delta),
    }
    Ok(())
}

/// Takes a part of a message that is whole.
fn part(draft: &mut Draft, frame: &Value, whole: &str) -> Result<(), Failure> {
    if whole.is_empty() {
        return Ok(());
    }
    let name = name(frame);
    let new = match draft.items.open(Kind::Message, &name) {
        Some(item) => item.part(whole),
        None => begun(draft, Kind::Message, name)?.part(whole),
    };
    draft.bytes(new)
}

fn take_part(draft: &mut Draft, frame: &Value) -> Result<(), Failure> {
    let of = &frame["part"];
    match text(&of["type"]).as_str() {
        "refusal" => refuse(draft, &text(&of["refusal"]), Refusal::Whole),
        "reasoning_text" | "summary_text" | "reasoning" | "thinking" => Ok(()),
        _ => part(draft, frame, &text(of)),
    }
}

fn finish_call(draft: &mut Draft, frame: &Value) -> Result<(), Failure> {
    let name = name(frame);
    let arguments = json::arguments(&frame["arguments"]);
    let [call_id, function] = ["call_id", "name"].map(|field| text(&frame[field]));
    let new = match draft.items.known(Kind::Call, &name, &call_id) {
        Some(call) => take_call(call, &call_id, &function, &arguments),
        None => take_call(begun(draft, Kind::Call, name)?, &call_id, &function, &arguments),
    };
    draft.bytes(new)
}

/// What is said of a call, and bytes of it that did not come before.
fn take_call(call: &mut Item, call_id: &str, function: &str, arguments: &str) -> usize {
    for (own, said) in [(&mut call.call_id, call_id), (&mut call.function, function)] {
        if own.is_empty() {
            said.clone_into(own);
        }
    }
    call.whole(arguments)
}

/// Id and content belong together, and some servers make up both anew each time:
/// <https://github.com/Menci/Floway/pull/119>.
fn take_reasoning(known: &mut Item, item: &Value) -> usize {
    let said = |field: &str| list(&item[field]).iter().map(text).filter(|text| !text.is_empty()).collect::<Vec<_>>();
    let (summary, content) = (said("summary"), said("content"));
    let thought = content.concat();
    let [id, encrypted_content] = ["id", "encrypted_content"].map(|field| text(&item[field]));
    known.reasoning = Reasoning { id, encrypted_content, summary, content };
    known.whole(&thought)
}

/// How much of a refusal a piece of the reply has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Piece,
    Whole,
}

fn refuse(draft: &mut Draft, words: &str, how: Refusal) -> Result<(), Failure> {
    if words.is_empty() || (how == Refusal::Whole && draft.has_refused()) {
        return Ok(());
    }
    draft.bytes(words.len())?;
    draft.withhold(words);
    Ok(())
}

fn kind(item: &Value) -> Option<Kind> {
    match text(&item["type"]).as_str() {
        "message" => Some(Kind::Message),
        "function_call" | "function" | "tool_call" => Some(Kind::Call),
        "reasoning" => Some(Kind::Reasoning),
        "" if json::is_said(&item["role"]) || json::is_said(&item["content"]) => Some(Kind::Message),
        _ => None,
    }
}

/// Name and arguments of a call, also where the dialect before has them.
fn function(item: &Value) -> (String, String) {
    let of = if item["function"].is_object() { &item["function"] } else { item };
    (text(&of["name"]), json::arguments(&of["arguments"]))
}

/// Text and refusal of a message, and bytes of it that are neither.
fn message_text(item: &Value) -> (String, String, usize) {
    let (mut said, mut refusal, mut thought) = (String::new(), String::new(), 0);
    let Value::Array(parts) = &item["content"] else { return (text(&item["content"]), refusal, thought) };
    for part in parts {
        match text(&part["type"]).as_str() {
            "refusal" => refusal.push_str(&text(&part["refusal"])),
            "reasoning_text" | "summary_text" | "reasoning" | "thinking" => thought += json::text_bytes(part),
            _ => said.push_str(&text(part)),
        }
    }
    (said, refusal, thought)
}

fn name(frame: &Value) -> Name {
    Name { index: json::count(&frame["output_index"]), id: text(&frame["item_id"]) }
}

fn begun(draft: &mut Draft, kind: Kind, name: Name) -> Result<&mut Item, Failure> {
    draft.items.begin(kind, name).ok_or_else(too_many)
}

fn too_many() -> Failure {
    broken(&format!("a reply has more than {MOST_ITEMS} items"))
}
