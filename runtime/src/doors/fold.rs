//! Bytes of a response, in whatever pieces they come, into one outcome: a reply or a failure, and what it cost.
//!
//! Never: does I/O, waits, believes a content type: what begins with `{` or `[` is one JSON text, anything else is read as a
//! stream of events, whatever the server called it. Invariants: the same bytes give the same outcome however they are split; a
//! stream is whole only if its end is known; [`Metered::Exact`] is said only of usage that was the provider's last word and
//! that a reply like this one can have, and is never less than the bytes prove.

mod headers;

use std::ops::ControlFlow;

use reqwest::header::HeaderMap;

use super::complaint::{self, Complaint};
use super::draft::{Draft, End, UsageStage, broken, broken_off};
use super::json::SHOWN;
use super::sse::{Bounds, Event, Parser};
use super::{anthropic, openai, responses};
use crate::rules::effect::Failure;
use crate::rules::model::{Metered, Reply, Usage};
use crate::rules::spec::Dialect;

/// Bytes of one line or event of a stream. A delta has few; a tool call that comes whole may have many.
const EVENT_BYTES: usize = 1 << 20;

/// Events without output beyond two for each token of the cap: pings, starts and ends of blocks, deltas without text. Those
/// with output are bounded by its bytes.
const SPARE_EVENTS: u64 = 4096;

/// Whether a stream goes on after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Open,
    /// The dialect's terminator was seen.
    Ended,
}

/// What a response amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded {
    pub result: Result<Reply, Failure>,
    pub metered: Metered,
    /// The provider's usage object for the journal, at most 4 KiB.
    pub raw_usage: Option<String>,
}

#[derive(Debug)]
pub struct Fold {
    dialect: Dialect,
    /// Who gets back what the reply wants back.
    provider: String,
    draft: Draft,
    idle_events: u64,
    max_idle_events: u64,
    /// Whether the answer proves that no model ran.
    is_free: bool,
    /// Whether an event showed that one did.
    shows_a_model: bool,
    /// What the headers said of usage.
    said: headers::Said,
    /// Whether the response was one whole JSON text.
    is_whole: bool,
    /// The beginning of the response, as long as nothing was understood of it.
    head: Vec<u8>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing but white space came.
    Begun,
    Stream(Parser),
    Whole(Vec<u8>),
    /// A stream came to its terminator.
    Ended,
    Failed(Failure),
}

impl Fold {
    /// `max_output` is the cap that the request put on the wire; `provider` is who gets back what the reply wants back.
    pub fn new(dialect: Dialect, provider: &str, max_output: u32) -> Self {
        Self {
            dialect,
            provider: provider.to_owned(),
            draft: Draft::new(max_output),
            idle_events: 0,
            max_idle_events: u64::from(max_output) * 2 + SPARE_EVENTS,
            is_free: false,
            shows_a_model: false,
            said: headers::Said::default(),
            is_whole: false,
            head: Vec::new(),
            state: State::Begun,
        }
    }

    /// The same for a response with these headers.
    #[must_use]
    pub fn with_headers(self, headers: &HeaderMap) -> Self {
        Self { said: headers::Said::read(headers), ..self }
    }

    /// Takes the next bytes. `Break`: nothing more is wanted, either because all is known or because the response broke
    /// a rule; the caller closes the connection and asks for the outcome. The caller bounds how much a whole response
    /// may be.
    pub fn push(&mut self, mut bytes: &[u8]) -> ControlFlow<()> {
        if matches!(self.state, State::Begun) {
            // A mark of the byte order is no white space, and begins both.
            let is_blank = |byte: &u8| byte.is_ascii_whitespace() || b"\xEF\xBB\xBF".contains(byte);
            let Some(begin) = bytes.iter().position(|byte| !is_blank(byte)) else { return ControlFlow::Continue(()) };
            bytes = &bytes[begin..];
            self.state = match bytes[0] {
                b'{' | b'[' => State::Whole(Vec::new()),
                _ => State::Stream(Parser::new(Bounds { line_bytes: EVENT_BYTES, event_bytes: EVENT_BYTES })),
            };
        }
        match &mut self.state {
            State::Begun => ControlFlow::Continue(()),
            State::Whole(body) => {
                body.extend_from_slice(bytes);
                ControlFlow::Continue(())
            }
            State::Stream(_) => {
                let shown = bytes.len().min(SHOWN.saturating_sub(self.head.len()));
                self.head.extend_from_slice(&bytes[..shown]);
                self.push_events(bytes)
            }
            State::Ended | State::Failed(_) => ControlFlow::Break(()),
        }
    }

    fn push_events(&mut self, mut bytes: &[u8]) -> ControlFlow<()> {
        while let State::Stream(parser) = &mut self.state {
            let event = match parser.next(&mut bytes) {
                Ok(Some(event)) => event,
                Ok(None) => return ControlFlow::Continue(()),
                Err(error) => return self.end(State::Failed(broken(&error.to_string()))),
            };
            match self.take(&event) {
                Ok(Flow::Open) => {}
                Ok(Flow::Ended) => return self.end(State::Ended),
                Err(failure) => return self.end(State::Failed(failure)),
            }
        }
        ControlFlow::Break(())
    }

    fn take(&mut self, event: &Event) -> Result<Flow, Failure> {
        if let Some(complaint) = Complaint::of_event(&event.name, event.data.as_bytes()) {
            return Err(self.complained(complaint));
        }
        self.shows_a_model = self.shows_a_model || complaint::shows_it(event.data.as_bytes());
        let before = self.draft.output_bytes();
        let flow = match self.dialect {
            Dialect::Openai => openai::event(&mut self.draft, event),
            Dialect::Anthropic => anthropic::event(&mut self.draft, event),
            Dialect::Responses => responses::event(&mut self.draft, event),
        }?;
        if self.draft.output_bytes() == before {
            self.idle_events += 1;
            if self.idle_events > self.max_idle_events {
                return Err(broken(&format!(
                    "the stream has more than {} events without output",
                    self.max_idle_events
                )));
            }
        }
        Ok(flow)
    }

    /// Before any output an error is the whole answer; after it, it is how a model's answer ended.
    fn complained(&mut self, complaint: Complaint) -> Failure {
        let has_run = self.shows_a_model || self.draft.has_output() || !self.draft.usage.is_empty();
        self.is_free = complaint.is_free && !has_run && !self.said.shows_a_model();
        if !complaint.is_free {
            // What it says of a cost is not read.
            self.draft.stage = UsageStage::Running;
        }
        complaint.failure
    }

    fn end(&mut self, state: State) -> ControlFlow<()> {
        self.state = state;
        ControlFlow::Break(())
    }

    /// The outcome, when the response ended by itself or [`Fold::push`] wanted no more.
    pub fn finish(mut self) -> Folded {
        let (end, failure) = match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => (End::Said, None),
            State::Begun => (End::Closed, Some(broken_off("the response is empty"))),
            State::Whole(body) => {
                self.is_whole = true;
                let failure = match (Complaint::of_reply(&body), self.dialect) {
                    (Some(complaint), _) => Some(self.complained(complaint)),
                    (None, Dialect::Openai) => openai::whole(&mut self.draft, &body).err(),
                    (None, Dialect::Anthropic) => anthropic::whole(&mut self.draft, &body).err(),
                    (None, Dialect::Responses) => responses::whole(&mut self.draft, &body).err(),
                };
                (End::Said, failure)
            }
            State::Stream(parser) => self.close(parser),
            State::Failed(failure) => (End::Closed, Some(failure)),
        };
        self.outcome(end, failure)
    }

    /// The last event of a stream, which may be without the blank line that should end it.
    fn close(&mut self, mut parser: Parser) -> (End, Option<Failure>) {
        let last = match parser.last() {
            Ok(last) => last,
            Err(error) => return (End::Closed, Some(broken(&error.to_string()))),
        };
        if !parser.has_events() {
            let head = String::from_utf8_lossy(&self.head);
            return (
                End::Closed,
                Some(broken(&format!("the response is neither JSON nor a stream of events: {head}"))),
            );
        }
        match last.map(|event| self.take(&event)) {
            Some(Ok(Flow::Ended)) => (End::Said, None),
            // What was cut within an event is no JSON.
            Some(Err(failure)) => (End::Closed, Some(failure)),
            Some(Ok(Flow::Open)) | None => (End::Closed, None),
        }
    }

    /// The outcome, when the response was cut: by a timeout, a lost connection or a cap of the caller's.
    pub fn cut(mut self, failure: Failure) -> Folded {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Failed(earlier) => self.outcome(End::Closed, Some(earlier)),
            State::Begun | State::Stream(_) | State::Whole(_) | State::Ended => {
                self.outcome(End::Closed, Some(failure))
            }
        }
    }

    fn outcome(self, end: End, failure: Option<Failure>) -> Folded {
        let usage = match self.dialect {
            Dialect::Openai | Dialect::Responses => openai::usage(&self.draft.usage),
            Dialect::Anthropic => anthropic::usage(&self.draft.usage),
        };
        let alone = self.said.alone().filter(|_| self.is_whole && failure.is_none() && self.draft.usage.is_empty());
        let usage = usage.map(|usage| self.said.at_least(usage)).or(alone);
        // A server that does not count says zero. Every request has input, and what was put out is not nothing.
        let usage = usage.filter(|usage| usage.tokens_in > 0 && (usage.tokens_out > 0 || !self.draft.has_output()));
        let enough = match failure {
            None => UsageStage::AtEnd,
            Some(_) => UsageStage::Final,
        };
        let metered = match usage {
            _ if self.is_free => Metered::Exact(Usage::default()),
            Some(usage) if self.draft.stage >= enough || alone.is_some() => {
                Metered::Exact(Usage { tokens_out: usage.tokens_out.max(self.draft.least_tokens()), ..usage })
            }
            _ => Metered::Unknown,
        };
        let (reply, usage) = self.draft.into_reply(end, &self.provider);
        Folded { result: failure.map_or(reply, Err), metered, raw_usage: usage.into_raw() }
    }
}

#[cfg(test)]
pub(super) mod tests;
