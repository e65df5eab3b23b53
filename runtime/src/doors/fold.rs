//! Bytes of a response, in whatever pieces they come, into one outcome: a reply or a failure, and what it cost.
//!
//! Never: does I/O, waits, sees a header: what begins with `{` or `[` is one JSON text, anything else is read as a stream of
//! events, whatever the server called it. Invariants: the same bytes give the same outcome however they are split; a stream
//! is whole only if its end is known; [`Metered::Exact`] is said only of usage that was the provider's last word and that a
//! reply like this one can have, and is never less than the bytes prove.

use std::ops::ControlFlow;

use super::complaint::Complaint;
use super::draft::{Draft, End, UsageStage, broken};
use super::json::SHOWN;
use super::sse::{Bounds, Event, Parser};
use super::{anthropic, openai};
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
            head: Vec::new(),
            state: State::Begun,
        }
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
        if let Some(complaint) = Complaint::of_reply(event.data.as_bytes()) {
            return Err(self.complained(complaint));
        }
        let before = self.draft.output_bytes();
        let flow = match self.dialect {
            Dialect::Openai => openai::event(&mut self.draft, event),
            Dialect::Anthropic => anthropic::event(&mut self.draft, event),
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
        self.is_free = complaint.is_free && !self.draft.has_output() && self.draft.usage.is_empty();
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
            State::Begun => (End::Closed, Some(broken("the response is empty"))),
            State::Whole(body) => {
                let failure = match (Complaint::of_reply(&body), self.dialect) {
                    (Some(complaint), _) => Some(self.complained(complaint)),
                    (None, Dialect::Openai) => openai::whole(&mut self.draft, &body).err(),
                    (None, Dialect::Anthropic) => anthropic::whole(&mut self.draft, &body).err(),
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
            _ if self.is_free => Metered::Exact(Usage::default()),
            Some(usage) if self.draft.stage >= enough => {
                Metered::Exact(Usage { tokens_out: usage.tokens_out.max(self.draft.least_tokens()), ..usage })
            }
            _ => Metered::Unknown,
        };
        let (reply, usage) = self.draft.into_reply(end, &self.provider);
        Folded { result: failure.map_or(reply, Err), metered, raw_usage: usage.into_raw() }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::rules::model::Usage;

    /// The outcome of a body, which must be the same for pieces of 1, 2, 3, ... bytes and for one piece.
    pub fn folded(dialect: Dialect, max_output: u32, body: &str) -> Folded {
        let in_pieces = |size: usize| {
            let mut fold = Fold::new(dialect, "one", max_output);
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

    /// A whole outcome in a line: text, calls, stop, usage.
    pub fn shown(dialect: Dialect, max_output: u32, body: &str) -> String {
        let Folded { result, metered, .. } = folded(dialect, max_output, body);
        let said = match result {
            Ok(Reply { text, tool_calls, stop, .. }) => {
                let calls = tool_calls.iter().map(|call| format!(" {}:{}({})", call.id, call.name, call.arguments));
                let stop = serde_json::to_value(stop).unwrap();
                format!("{}{} · {}", text.escape_debug(), calls.collect::<String>(), stop.as_str().unwrap())
            }
            Err(failure) => format!("{:?}: {}", failure.kind, failure.message),
        };
        match metered {
            Metered::Exact(usage) => format!("{said} · {} in {} out", usage.tokens_in, usage.tokens_out),
            Metered::Unknown => format!("{said} · unknown"),
        }
    }

    /// The message of an outcome that is broken.
    pub fn broken_message(folded: &Folded) -> &str {
        let failure = folded.result.as_ref().unwrap_err();
        assert_eq!(failure.kind, crate::rules::effect::FailureKind::Broken, "{failure:?}");
        &failure.message
    }

    #[test]
    fn any_prefix_of_a_reply_is_broken_and_costs_nobody_knows_what_until_its_end_is_known() {
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
            // From here on the last word is there, and a clean close is an end.
            let known_from = last_word + body[last_word..].find("\n\n").unwrap();
            // What is cut within its terminator is no clean close.
            let terminator = body.rfind("data: ").unwrap() + "data: ".len()..body.len() - "\n\n".len();
            for end in 0..body.len() {
                let folded = folded(dialect, 8, &body[..end]);
                let is_known = end >= known_from;
                let is_whole = is_known && (!terminator.contains(&end) || end == terminator.start);
                let came = (folded.result.is_ok(), folded.metered != Metered::Unknown);
                assert_eq!(came, (is_whole, is_known), "{dialect:?} {end}");
            }
            assert_eq!(folded(dialect, 8, body).result.unwrap().text, "Hi");
        }
    }

    #[test]
    fn a_cut_is_told_as_the_caller_tells_it_unless_a_rule_was_broken_before() {
        let timed_out = Failure { kind: crate::rules::effect::FailureKind::TimedOut, message: "too late".into() };
        let fold = Fold::new(Dialect::Openai, "one", 8);
        assert_eq!(fold.cut(timed_out.clone()).result, Err(timed_out.clone()));
        let mut fold = Fold::new(Dialect::Openai, "one", 8);
        assert!(fold.push(b"data: nonsense\n\n").is_break());
        assert!(broken_message(&fold.cut(timed_out)).contains("not of its dialect"));
    }

    #[test]
    fn what_comes_after_the_terminator_is_not_read() {
        let mut fold = Fold::new(Dialect::Anthropic, "one", 8);
        let body = b"data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\ndata: {\"type\":\"message_stop\"}\n\nnonsense";
        assert!(fold.push(body).is_break());
        assert!(fold.push(b"data: nonsense\n\n").is_break());
        assert!(fold.finish().result.is_ok());
    }

    #[test]
    fn a_server_that_does_not_count_says_zero_and_that_is_no_usage() {
        let metered = |dialect: Dialect, body: &str| folded(dialect, 8, body).metered;
        let exact = |tokens_in, tokens_out| Metered::Exact(Usage::of(tokens_in, tokens_out));
        let openai = |message: &str, tokens_in: u64, tokens_out: u64| {
            let usage = format!(r#"{{"prompt_tokens":{tokens_in},"completion_tokens":{tokens_out}}}"#);
            let body = format!(r#"{{"choices":[{{"message":{message},"finish_reason":"stop"}}],"usage":{usage}}}"#);
            metered(Dialect::Openai, &body)
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
        assert_eq!(metered(Dialect::Anthropic, anthropic), Metered::Unknown);
    }

    #[test]
    fn events_without_output_cannot_go_on_for_ever() {
        let ping = "data: {\"type\":\"ping\"}\n\n";
        let most = usize::try_from(2 * 8 + SPARE_EVENTS).unwrap();
        let push = |count: usize| {
            let mut fold = Fold::new(Dialect::Anthropic, "one", 8);
            fold.push(ping.repeat(count).as_bytes())
        };
        assert!(push(most).is_continue());
        assert!(push(most + 1).is_break());
    }

    /// Bodies up to so many bytes are cut at each of them, larger ones at some.
    const CUT_EVERYWHERE: usize = 700;

    /// The body of a row of `replies.txt`.
    fn body(form: &str, lines: &[&str]) -> String {
        let event = |line: &&str| match line.split_once(' ') {
            Some(("d", delta)) => format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#),
            Some(("f", reason)) => format!(r#"{{"choices":[{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}]}}"#),
            Some(("u", counts)) => {
                let (tokens_in, tokens_out) = counts.split_once(' ').unwrap();
                let total = tokens_in.parse::<u64>().unwrap() + tokens_out.parse::<u64>().unwrap();
                format!(
                    r#"{{"choices":[],"usage":{{"prompt_tokens":{tokens_in},"completion_tokens":{tokens_out},"total_tokens":{total}}}}}"#
                )
            }
            _ => (*line).to_owned(),
        };
        match form {
            "stream" => lines.iter().map(|line| format!("data: {}\n\n", event(line))).collect(),
            "whole" => lines.concat(),
            "raw" => lines.concat().replace("\\n", "\n").replace("\\r", "\r"),
            other => panic!("no such form: {other}"),
        }
    }

    #[test]
    fn what_servers_are_reported_to_send_is_read_as_far_as_it_can_be_known() {
        let rows = include_str!("fold/replies.txt").split("\n\n").filter(|row| !row.starts_with('#'));
        let (mut read, mut wrong) = (0, String::new());
        for row in rows {
            let lines: Vec<&str> = row.trim_end_matches('\n').lines().collect();
            let [title, kind, lines @ .., expected] = lines.as_slice() else { panic!("{row}") };
            assert!(title.contains(" · https://"), "who sends it, and where that was reported: {title}");
            let (dialect, form) = kind.split_once(' ').unwrap();
            let dialect = match dialect {
                "openai" => Dialect::Openai,
                "anthropic" => Dialect::Anthropic,
                other => panic!("no such dialect: {other}"),
            };
            let body = body(form, lines);
            let came = format!("=> {}", shown(dialect, 100, &body));
            if came != *expected {
                wrong += &format!("{title}\n expected {expected}\n came     {came}\n");
            }
            // In every cut it is the same.
            let whole = folded(dialect, 100, &body);
            for place in (1..body.len()).step_by(body.len() / CUT_EVERYWHERE + 1) {
                let mut fold = Fold::new(dialect, "one", 100);
                let (head, tail) = body.as_bytes().split_at(place);
                if fold.push(head).is_continue() {
                    let _ = fold.push(tail);
                }
                assert_eq!(fold.finish(), whole, "{title}: cut at {place}");
            }
            read += 1;
        }
        assert!(wrong.is_empty(), "{wrong}");
        assert!(read >= 118, "{read} rows");
    }
}
