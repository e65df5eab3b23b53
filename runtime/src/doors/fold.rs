//! Bytes of a response, in whatever pieces they come, into one outcome: a reply or a failure, and what it cost.
//!
//! Never: does I/O, waits, sees a header. Invariants: the same bytes give the same outcome however they are split; a
//! stream without its dialect's terminator is broken however whole its text looks; [`Metered::Exact`] is said only of
//! usage that was the provider's last word and that a reply like this one can have.

use std::ops::ControlFlow;

use super::draft::{Draft, UsageStage, broken};
use super::sse::{Bounds, Parser};
use super::{anthropic, openai};
use crate::rules::effect::Failure;
use crate::rules::model::{Metered, Reply};
use crate::rules::spec::Dialect;

/// Bytes of one line or event of a stream. A delta has few; a tool call that comes whole may have many.
const EVENT_BYTES: usize = 1 << 20;

/// Events of a stream beyond two for each token of the cap: pings, starts and ends of blocks, deltas without text.
const SPARE_EVENTS: u64 = 4096;

/// Whether a stream goes on after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Open,
    /// The dialect's terminator was seen.
    Ended,
}

/// How a response is framed, as its content type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Stream,
    /// One JSON object.
    Whole,
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
    draft: Draft,
    state: State,
}

#[derive(Debug)]
enum State {
    Stream(Parser),
    Whole(Vec<u8>),
    /// A stream came to its terminator.
    Ended,
    Failed(Failure),
}

impl Fold {
    /// `max_output` is the cap that the request put on the wire.
    pub fn new(dialect: Dialect, framing: Framing, max_output: u32) -> Self {
        let events = u64::from(max_output) * 2 + SPARE_EVENTS;
        let state = match framing {
            Framing::Stream => {
                State::Stream(Parser::new(Bounds { line_bytes: EVENT_BYTES, event_bytes: EVENT_BYTES, events }))
            }
            Framing::Whole => State::Whole(Vec::new()),
        };
        Self { dialect, draft: Draft::new(max_output), state }
    }

    /// Takes the next bytes. `Break`: nothing more is wanted, either because all is known or because the response broke
    /// a rule; the caller closes the connection and asks for the outcome. The caller bounds how much a whole response
    /// may be.
    pub fn push(&mut self, mut bytes: &[u8]) -> ControlFlow<()> {
        match &mut self.state {
            State::Whole(body) => {
                body.extend_from_slice(bytes);
                ControlFlow::Continue(())
            }
            State::Stream(parser) => loop {
                let event = match parser.next(&mut bytes) {
                    Ok(Some(event)) => event,
                    Ok(None) => return ControlFlow::Continue(()),
                    Err(error) => return self.end(State::Failed(broken(&error.to_string()))),
                };
                let flow = match self.dialect {
                    Dialect::Openai => openai::event(&mut self.draft, event),
                    Dialect::Anthropic => anthropic::event(&mut self.draft, event),
                };
                match flow {
                    Ok(Flow::Open) => {}
                    Ok(Flow::Ended) => return self.end(State::Ended),
                    Err(failure) => return self.end(State::Failed(failure)),
                }
            },
            State::Ended | State::Failed(_) => ControlFlow::Break(()),
        }
    }

    fn end(&mut self, state: State) -> ControlFlow<()> {
        self.state = state;
        ControlFlow::Break(())
    }

    /// The outcome, when the response ended by itself or [`Fold::push`] wanted no more.
    pub fn finish(mut self) -> Folded {
        let failure = match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => None,
            State::Whole(body) => match self.dialect {
                Dialect::Openai => openai::whole(&mut self.draft, &body),
                Dialect::Anthropic => anthropic::whole(&mut self.draft, &body),
            }
            .err(),
            State::Stream(_) => Some(broken("the stream ended without its terminator")),
            State::Failed(failure) => Some(failure),
        };
        self.outcome(failure)
    }

    /// The outcome, when the response was cut: by a timeout, a lost connection or a cap of the caller's.
    pub fn cut(mut self, failure: Failure) -> Folded {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Failed(earlier) => self.outcome(Some(earlier)),
            State::Stream(_) | State::Whole(_) | State::Ended => self.outcome(Some(failure)),
        }
    }

    fn outcome(self, failure: Option<Failure>) -> Folded {
        let usage = match self.dialect {
            Dialect::Openai => openai::usage(&self.draft.usage),
            Dialect::Anthropic => anthropic::usage(&self.draft.usage),
        };
        // A server that does not count says zero. Every request has input, and what was put out is not nothing.
        let usage = usage.filter(|usage| usage.tokens_in > 0 && (usage.tokens_out > 0 || !self.draft.has_output()));
        let enough = match failure {
            None => UsageStage::AtEnd,
            Some(_) => UsageStage::Final,
        };
        let metered = match usage {
            Some(usage) if self.draft.stage >= enough => Metered::Exact(usage),
            _ => Metered::Unknown,
        };
        let (reply, usage) = self.draft.into_reply();
        Folded { result: failure.map_or(reply, Err), metered, raw_usage: usage.into_raw() }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::rules::model::Usage;

    /// The outcome of a body, which must be the same for pieces of 1, 2, 3, ... bytes and for one piece.
    pub fn folded(dialect: Dialect, framing: Framing, max_output: u32, body: &str) -> Folded {
        let in_pieces = |size: usize| {
            let mut fold = Fold::new(dialect, framing, max_output);
            for piece in body.as_bytes().chunks(size) {
                if fold.push(piece).is_break() {
                    break;
                }
            }
            fold.finish()
        };
        let whole = in_pieces(body.len().max(1));
        for size in [1, 2, 3, 5, 17, 64] {
            assert_eq!(in_pieces(size), whole, "in pieces of {size}");
        }
        whole
    }

    /// The message of an outcome that is broken.
    pub fn broken_message(folded: &Folded) -> &str {
        let failure = folded.result.as_ref().unwrap_err();
        assert_eq!(failure.kind, crate::rules::effect::FailureKind::Broken, "{failure:?}");
        &failure.message
    }

    #[test]
    fn any_prefix_of_a_reply_is_broken_and_costs_nobody_knows_what_until_the_last_word_on_usage() {
        let openai = concat!(
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\n",
            "data: [DONE]\n\n"
        );
        let anthropic = concat!(
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\n",
            "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
            "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n",
            "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":1}}\n\n",
            "data: {\"type\":\"message_stop\"}\n\n"
        );
        for (dialect, body, last) in
            [(Dialect::Openai, openai, "\"prompt_tokens\""), (Dialect::Anthropic, anthropic, "\"message_delta\"")]
        {
            let last_word = body.find(last).unwrap();
            let known_from = last_word + body[last_word..].find("\n\n").unwrap() + 2;
            for end in 0..body.len() {
                let folded = folded(dialect, Framing::Stream, 8, &body[..end]);
                assert_eq!(broken_message(&folded), "the stream ended without its terminator");
                assert_eq!(folded.metered != Metered::Unknown, end >= known_from, "{dialect:?} cut at {end}");
            }
            assert_eq!(folded(dialect, Framing::Stream, 8, body).result.unwrap().text, "Hi");
        }
    }

    #[test]
    fn a_cut_is_told_as_the_caller_tells_it_unless_a_rule_was_broken_before() {
        let timed_out = Failure { kind: crate::rules::effect::FailureKind::TimedOut, message: "too late".into() };
        let fold = Fold::new(Dialect::Openai, Framing::Stream, 8);
        assert_eq!(fold.cut(timed_out.clone()).result, Err(timed_out.clone()));
        let mut fold = Fold::new(Dialect::Openai, Framing::Stream, 8);
        assert!(fold.push(b"data: nonsense\n\n").is_break());
        assert!(broken_message(&fold.cut(timed_out)).contains("not of its dialect"));
    }

    #[test]
    fn what_comes_after_the_terminator_is_not_read() {
        let mut fold = Fold::new(Dialect::Anthropic, Framing::Stream, 8);
        let body = b"data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\ndata: {\"type\":\"message_stop\"}\n\nnonsense";
        assert!(fold.push(body).is_break());
        assert!(fold.push(b"data: nonsense\n\n").is_break());
        assert!(fold.finish().result.is_ok());
    }

    #[test]
    fn a_server_that_does_not_count_says_zero_and_that_is_no_usage() {
        let metered = |framing: Framing, dialect: Dialect, body: &str| folded(dialect, framing, 8, body).metered;
        let exact = |tokens_in, tokens_out| Metered::Exact(Usage { tokens_in, tokens_out });
        let openai = |message: &str, tokens_in: u64, tokens_out: u64| {
            let usage = format!(r#"{{"prompt_tokens":{tokens_in},"completion_tokens":{tokens_out}}}"#);
            let body = format!(r#"{{"choices":[{{"message":{message},"finish_reason":"stop"}}],"usage":{usage}}}"#);
            metered(Framing::Whole, Dialect::Openai, &body)
        };
        let text = r#"{"content":"Hi"}"#;
        let call = r#"{"tool_calls":[{"id":"a","function":{"name":"look","arguments":""}}]}"#;
        for message in [text, call] {
            assert_eq!(openai(message, 5, 1), exact(5, 1));
            assert_eq!(openai(message, 0, 0), Metered::Unknown);
            assert_eq!(openai(message, 0, 1), Metered::Unknown);
            assert_eq!(openai(message, 5, 0), Metered::Unknown);
        }
        assert_eq!(openai(r#"{"content":""}"#, 5, 0), exact(5, 0));
        // What aimock 1.43.0 sends for a fixture without usage.
        let anthropic = concat!(
            "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":0,\"output_tokens\":0}}}\n\n",
            "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
            "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n",
            "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":0}}\n\n",
            "data: {\"type\":\"message_stop\"}\n\n"
        );
        assert_eq!(metered(Framing::Stream, Dialect::Anthropic, anthropic), Metered::Unknown);
    }

    #[test]
    fn events_without_output_cannot_go_on_for_ever() {
        let ping = "data: {\"type\":\"ping\"}\n\n";
        let most = usize::try_from(2 * 8 + SPARE_EVENTS).unwrap();
        let push = |count: usize| {
            let mut fold = Fold::new(Dialect::Anthropic, Framing::Stream, 8);
            fold.push(ping.repeat(count).as_bytes())
        };
        assert!(push(most).is_continue());
        assert!(push(most + 1).is_break());
    }
}
