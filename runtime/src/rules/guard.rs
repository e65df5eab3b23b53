//! The guards against going nowhere: what a worker's calls came to, compared with what its item did before.
//!
//! G4 finds cycles of the same calls with the same results, and later cycles of calls that are only alike, G5 the same failure
//! again, G6 output that is none. Text around the calls, their identifiers and the time between them count for nothing; only
//! something new to show, or another result, breaks a cycle. Never: costs a token (N9), ends anything (the gate does).
//! Invariants here: N6 (what is known survives the attempt), and everything that is kept is bounded, whatever a guest says.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::effect::{Reason, Refusal};
use super::http::{HttpBody, HttpReply, HttpRequest};
use super::model::{Message, Reply, Role, Stop, ToolCall};
use super::signature::{fnv1a, normalised};
use super::spec::Guards;

use alike::{EXACT_IN_JSON, MAX_PARSED_BYTES, canonical};
use cycle::Calls;

/// The name of HTTP exchanges among the tools, in `[guards] pollers` too.
pub const FETCH: &str = "fetch";

/// Tools whose latest failures are remembered at once.
const MAX_TOOLS: usize = 64;

/// Calls of one reply that wait for their results at once.
const MAX_PENDING: usize = 1_024;

/// Bytes of a reply that are looked at, its last ones: a provider may send megabytes.
const LOOKED_AT_BYTES: usize = 8 << 10;

/// A reply that says the same piece of so many bytes again and again says nothing.
const CHUNK_BYTES: usize = 50;
/// How often a piece comes back in such a reply, at least.
const CHUNK_TIMES: usize = 10;
/// Within so many bytes of each other, on average.
const CHUNK_DISTANCE: usize = 250;

/// A guard, by what it looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// G4.
    Cycle,
    /// G5.
    Failures,
    /// G6.
    Degenerate,
    /// G7.
    Silence,
    /// G5 of a model: whoever is behind it is in trouble, and not the worker.
    Provider,
}

impl Guard {
    /// The guard's name.
    pub fn name(self) -> &'static str {
        match self {
            Guard::Cycle => "cycle",
            Guard::Failures => "failures",
            Guard::Degenerate => "degenerate",
            Guard::Silence => "silence",
            Guard::Provider => "provider",
        }
    }

    /// The setting that it goes by.
    pub fn setting(self) -> &'static str {
        match self {
            Guard::Cycle => "[guards] repeats",
            Guard::Failures | Guard::Provider => "[guards] failures",
            Guard::Degenerate => "[guards] degenerate",
            Guard::Silence => "[guards] stall",
        }
    }
}

/// A fact that speaks against a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    pub guard: Guard,
    /// For the worker and for a person, for example `same call, same result, 3 times: read_file`.
    pub fact: String,
}

/// What follows from a suspicion that nothing new dispelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The worker is told, and its call refused.
    Tell,
    /// The attempt ends.
    End,
}

/// What an item's calls came to since it showed something new.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Calls of tools with their results, the oldest first.
    #[serde(default, skip_serializing_if = "Calls::is_empty")]
    calls: Calls,
    /// Questions to models with replies that ask for no tool.
    #[serde(default, skip_serializing_if = "Calls::is_empty")]
    asks: Calls,
    /// The latest failure of each tool, and how often it came in a row.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    failing: VecDeque<Failing>,
    #[serde(default, skip_serializing_if = "is_zero")]
    degenerate: u32,
    /// How often the worker was refused for this.
    #[serde(default, skip_serializing_if = "is_zero")]
    strikes: u32,
    /// What was found since, and not yet told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suspicion: Option<Suspicion>,
    /// Calls of the latest reply whose results were not seen yet. Of one run: the next begins without.
    #[serde(skip)]
    pending: Vec<ToolCall>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Failing {
    tool: String,
    signature: u64,
    times: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Memory {
    /// A request to a model: what it says of the calls that the model asked for last.
    pub fn asked(&mut self, messages: &[Message], guards: &Guards) {
        for call in std::mem::take(&mut self.pending) {
            let answer = messages.iter().rev().find(|message| {
                message.role == Role::Tool && message.tool_call_id.as_deref() == Some(call.id.as_str())
            });
            // Whoever hides a result has none that differs.
            let result = answer.map_or("", |message| message.content.as_str());
            self.called(&call.name, &call.arguments, result, guards);
        }
    }

    /// A model's reply to a request with these messages. `alone`: it was not one of several at once, which may be samples.
    pub fn replied(&mut self, model: &str, messages: &[Message], reply: &Reply, alone: bool, guards: &Guards) {
        self.succeeded(model);
        if !alone {
            // Samples, of which each may be short on purpose.
        } else if reply.stop == Stop::MaxOutput || repeats_itself(&reply.text) {
            self.degenerate = self.degenerate.saturating_add(1);
            if self.degenerate >= guards.degenerate {
                let fact = format!("{} replies in a row reached their cap or repeat themselves", self.degenerate);
                self.suspicion = Some(Suspicion { guard: Guard::Degenerate, fact });
            }
        } else {
            self.degenerate = 0;
        }
        if !reply.tool_calls.is_empty() {
            self.pending = reply.tool_calls.iter().take(MAX_PENDING).cloned().collect();
        } else if alone {
            let fact = self.asks.push(model, alike::of_question(messages, &reply.text), guards);
            self.went_round(fact);
        }
    }

    /// A tool was called and answered.
    pub fn called(&mut self, tool: &str, arguments: &str, result: &str, guards: &Guards) {
        match says_failure(result) {
            true => self.failed(Guard::Failures, tool, result, guards),
            false => self.succeeded(tool),
        }
        self.came_to(tool, arguments, result, guards);
    }

    /// A tool of the host was called: it answered, or failed with these words. What the worker goes on to tell its model of the
    /// same call is the same call, and does not count again.
    pub fn hosted(&mut self, tool: &str, arguments: &str, came: Result<&str, &str>, guards: &Guards) {
        let same = canonical(arguments);
        let asked = self.pending.iter().position(|call| call.name == tool && canonical(&call.arguments) == same);
        if let Some(asked) = asked {
            self.pending.remove(asked);
        }
        match came {
            Ok(output) => self.called(tool, arguments, output, guards),
            Err(message) => {
                self.tool_failed(tool, message, guards);
                self.came_to(tool, arguments, message, guards);
            }
        }
    }

    /// Remembers what a call came to.
    fn came_to(&mut self, tool: &str, arguments: &str, result: &str, guards: &Guards) {
        let fact = self.calls.push(tool, alike::of_call(tool, arguments, result), guards);
        self.went_round(fact);
    }

    /// A call of a model failed.
    pub fn model_failed(&mut self, model: &str, message: &str, guards: &Guards) {
        self.failed(Guard::Provider, model, message, guards);
    }

    /// An HTTP exchange was made. It counts as a call of the tool [`FETCH`].
    pub fn fetched(&mut self, request: &HttpRequest, reply: &HttpReply, guards: &Guards) {
        let body = |bytes: &HttpBody| {
            let text = String::from_utf8_lossy(&bytes.0);
            alike::parsed(&text).unwrap_or_else(|| text.into())
        };
        let HttpRequest { method, url, headers, body: sent } = request;
        let asked = json!({ "method": method, "url": url, "headers": headers, "body": body(sent) }).to_string();
        // Not its headers: a date is no news.
        let result = json!({ "status": reply.status, "body": body(&reply.body) }).to_string();
        self.called(FETCH, &asked, &result, guards);
    }

    /// A call of a tool failed, whatever its arguments.
    pub fn tool_failed(&mut self, tool: &str, message: &str, guards: &Guards) {
        self.failed(Guard::Failures, tool, message, guards);
    }

    fn failed(&mut self, guard: Guard, tool: &str, message: &str, guards: &Guards) {
        let tool = shown(tool);
        let signature = fnv1a(normalised(message).as_bytes()) & EXACT_IN_JSON;
        let known = self.failing.iter().position(|failing| failing.tool == tool);
        let before = known.and_then(|known| self.failing.remove(known));
        let times = match before {
            Some(before) if before.signature == signature => before.times.saturating_add(1),
            Some(_) | None => 1,
        };
        self.failing.push_back(Failing { tool: tool.clone(), signature, times });
        if self.failing.len() > MAX_TOOLS {
            self.failing.pop_front();
        }
        if times >= guards.failures {
            let fact = format!("{tool} failed in the same way {times} times, whatever was asked");
            self.suspicion = Some(Suspicion { guard, fact });
        }
    }

    fn succeeded(&mut self, tool: &str) {
        let tool = shown(tool);
        self.failing.retain(|failing| failing.tool != tool);
    }

    /// Something new was shown: nothing before counts any more.
    pub fn marked(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        *self = Self { pending, ..Self::default() };
    }

    /// What speaks against the worker, and was not told yet.
    pub fn suspicion(&self) -> Option<&Suspicion> {
        self.suspicion.as_ref()
    }

    /// The worker is told what speaks against it.
    pub fn strike(&mut self, guards: &Guards) -> Step {
        let suspicion = self.suspicion.take();
        self.strikes = self.strikes.saturating_add(1);
        if self.strikes < guards.strikes {
            return Step::Tell;
        }
        if suspicion.is_some_and(|suspicion| suspicion.guard == Guard::Provider) {
            // The item's next attempt may find it mended.
            (self.strikes, self.failing) = (0, VecDeque::new());
        }
        Step::End
    }

    /// As [`Memory::strike`], of a call of which only the refusal is known.
    pub fn was_struck(&mut self) {
        (self.suspicion, self.pending) = (None, Vec::new());
        self.strikes = self.strikes.saturating_add(1);
    }

    /// As it is for the item's next run.
    pub fn for_next_run(mut self) -> Self {
        self.pending = Vec::new();
        self
    }

    fn went_round(&mut self, fact: Option<String>) {
        if let Some(fact) = fact {
            self.suspicion = Some(Suspicion { guard: Guard::Cycle, fact });
        }
    }
}

/// The refusal that tells a worker, and how a journal's reader knows it again.
pub fn refusal(suspicion: &Suspicion, since: &str) -> Refusal {
    Refusal {
        reason: Reason::Invalid,
        asked: format!("{}; nothing new {since}", suspicion.fact),
        allowed: "another call, other arguments, or something new to show".to_owned(),
        setting: suspicion.guard.setting().to_owned(),
    }
}

/// Whether a guard refused.
pub fn is_strike(refusal: &Refusal) -> bool {
    let guards = [Guard::Cycle, Guard::Failures, Guard::Degenerate, Guard::Silence, Guard::Provider];
    refusal.reason == Reason::Invalid && guards.iter().any(|guard| guard.setting() == refusal.setting)
}

/// Whether a tool's result is an error. A tool that a worker runs itself has no other way to say so.
fn says_failure(result: &str) -> bool {
    if result.len() > MAX_PARSED_BYTES {
        return false;
    }
    if result.trim_start().get(..5).is_some_and(|head| head.eq_ignore_ascii_case("error")) {
        return true;
    }
    // The host's own tools and many others answer with an object.
    let error = |value: serde_json::Value| match value.get("error") {
        None | Some(serde_json::Value::Null | serde_json::Value::Bool(false)) => {
            value.get("isError") == Some(&serde_json::Value::Bool(true))
        }
        Some(_) => true,
    };
    result.trim_start().starts_with('{') && serde_json::from_str(result).is_ok_and(error)
}

/// Whether a text says one piece again and again: one of four pieces of it, the last of which is its end, where a model that
/// goes round in circles is cut off.
fn repeats_itself(text: &str) -> bool {
    let text = &text[text.ceil_char_boundary(text.len().saturating_sub(LOOKED_AT_BYTES))..];
    if text.len() < CHUNK_BYTES * CHUNK_TIMES {
        return false;
    }
    (1..=4).rev().any(|quarter| {
        let end = text.floor_char_boundary(text.len() * quarter / 4);
        let chunk = &text[text.floor_char_boundary(end.saturating_sub(CHUNK_BYTES))..end];
        if is_ruled(chunk.as_bytes()) {
            return false;
        }
        let mut places = text.match_indices(chunk).map(|(place, _)| place);
        let Some(first) = places.next() else { return false };
        let (last, more) = places.fold((first, 0), |(_, more), place| (place, more + 1));
        more + 1 >= CHUNK_TIMES && (last - first) / more <= CHUNK_DISTANCE
    })
}

/// A line across the page, or blanks: layout, of which any text has much.
fn is_ruled(chunk: &[u8]) -> bool {
    !chunk.iter().any(u8::is_ascii_alphanumeric) && chunk.is_ascii()
}

/// A name that a guest or a model chose, cut.
fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

mod alike;
mod clocks;
mod cycle;
#[cfg(test)]
mod tests;
