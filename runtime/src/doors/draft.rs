//! A model's reply while it arrives: its text, its tool calls, its usage so far, and the caps on its output.
//!
//! Never: parses a wire format. Invariants: a provider chooses no size here (a tool call's index is a label, not a
//! length), output past its cap is an error at once and not at the end, and usage that was said before the last output is not
//! final.

use super::items::Items;
use super::kept::Kept;
use super::usage::UsageSnapshot;
use crate::rules::effect::{Failure, FailureKind};
use crate::rules::model::{OVER_BY, Reply, Stop, ToolCall};

/// Tool calls of one reply. No model asks for so many at once; a hostile provider would.
const MOST_TOOL_CALLS: usize = 128;

/// Bytes of output for one token at the very most: the longest tokens of known vocabularies are runs of white space
/// of 128 bytes. A provider that counts tokens low cannot hide more than this behind a small cap.
const TOKEN_BYTES: u64 = 256;

/// Bytes that are always allowed, for names and framing of tool calls that are not made of sampled tokens.
const SPARE_BYTES: u64 = 4096;

/// How much the usage read so far can be trusted to be the whole truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UsageStage {
    /// Seen while output was still coming, or not at all.
    Running,
    /// Came with the end of the output; a last word may still follow.
    AtEnd,
    /// The dialect's last word on usage.
    Final,
}

/// How a response came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the dialect's terminator, or as one whole JSON text.
    Said,
    /// The connection was closed in good order, and nothing said that this is the end.
    Closed,
}

/// What one piece of a reply says of a tool call.
#[derive(Clone, Debug, Default)]
pub struct CallPiece {
    pub index: Option<u64>,
    /// Empty: it says none.
    pub id: String,
    pub name: String,
    /// Empty: it says none. They go on with what was said before.
    pub arguments: String,
    /// What the provider wants back with it.
    pub extra: Option<serde_json::Value>,
}

/// A tool call that is being put together.
#[derive(Debug, Default)]
struct OpenCall {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
    nesting: Nesting,
    extra: Option<serde_json::Value>,
}

/// How deep the end of a JSON text is in it, as it comes: reading all of it again with each piece would let a provider keep the
/// host busy.
#[derive(Debug, Default)]
struct Nesting {
    depth: u32,
    in_text: bool,
    is_escaped: bool,
    is_whole: bool,
}

impl Nesting {
    fn take(&mut self, piece: &str) {
        for byte in piece.bytes() {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.in_text => self.is_escaped = true,
                b'"' => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => continue,
            }
            self.is_whole = self.depth == 0 && !self.in_text;
        }
    }
}

impl OpenCall {
    /// Nothing can follow: what was said is an object or a text that has ended.
    fn is_whole(&self) -> bool {
        self.nesting.is_whole
    }

    /// Whether a piece is one of this call. Servers leave out indexes or use one for all, leave out ids or repeat them, and
    /// repeat the name with each piece.
    fn goes_on_with(&self, piece: &CallPiece) -> bool {
        let other = |own: &str, said: &str| !own.is_empty() && !said.is_empty() && own != said;
        let is_other_index = matches!((self.index, piece.index), (Some(own), Some(said)) if own != said);
        if is_other_index {
            return false;
        }
        if other(&self.id, &piece.id) {
            // Some give each piece an id of its own, and only the first has a name.
            return piece.name.is_empty() && !self.name.is_empty() && !self.is_whole();
        }
        let begins = !piece.name.is_empty() && !self.name.is_empty();
        let is_same_id = !piece.id.is_empty() && self.id == piece.id;
        match piece.index {
            // One that says its name once more and its id not, after the whole of one, is the next.
            Some(_) => is_same_id || !begins || !self.is_whole(),
            None => !begins || !self.is_whole(),
        }
    }
}

/// Which choice the text of a stream is of. Some servers count it up with each piece; who sends two goes back to the first,
/// or says of both why they end.
#[derive(Debug, Default)]
struct Choice {
    /// Of the last piece with text.
    last: Option<u64>,
    repeats: bool,
    counts_up: bool,
    ended: Option<u64>,
}

#[derive(Debug)]
pub struct Draft {
    max_output: u32,
    text: String,
    /// In the order in which they began.
    calls: Vec<OpenCall>,
    output_bytes: u64,
    stop: Option<Stop>,
    withheld: bool,
    refusal: String,
    choice: Choice,
    /// What the provider calls the message.
    name: String,
    pub kept: Kept,
    /// Of a dialect that says each of them several times; they are text and calls when it ends.
    pub items: Items,
    pub usage: UsageSnapshot,
    pub stage: UsageStage,
}

impl Draft {
    pub fn new(max_output: u32) -> Self {
        Self {
            max_output,
            text: String::new(),
            calls: Vec::new(),
            output_bytes: 0,
            stop: None,
            withheld: false,
            refusal: String::new(),
            choice: Choice::default(),
            name: String::new(),
            kept: Kept::default(),
            items: Items::default(),
            usage: UsageSnapshot::default(),
            stage: UsageStage::Running,
        }
    }

    /// Counts bytes of output, hidden reasoning included. What was said of usage before is not the last word on it.
    pub fn bytes(&mut self, bytes: usize) -> Result<(), Failure> {
        if bytes == 0 {
            return Ok(());
        }
        self.stage = UsageStage::Running;
        self.output_bytes = self.output_bytes.saturating_add(bytes as u64);
        match self.output_bytes > u64::from(self.max_output) * TOKEN_BYTES + SPARE_BYTES {
            true => Err(self.past_the_cap()),
            false => Ok(()),
        }
    }

    /// Bytes of output so far, hidden reasoning included.
    pub fn output_bytes(&self) -> u64 {
        self.output_bytes
    }

    /// Tokens that the output has at the very least, whatever a provider says: none is longer than the longest.
    pub fn least_tokens(&self) -> u64 {
        self.output_bytes.saturating_sub(SPARE_BYTES).div_ceil(TOKEN_BYTES)
    }

    /// Judges what the provider says it put out so far. Only while output may still come: a final count above the cap
    /// is a truth to book and cannot be stopped any more.
    pub fn running_count(&self, tokens_out: Option<u64>) -> Result<(), Failure> {
        match tokens_out {
            Some(tokens) if self.stop.is_none() && tokens > u64::from(self.max_output) + OVER_BY => {
                Err(self.past_the_cap())
            }
            _ => Ok(()),
        }
    }

    pub fn push_text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// The text that comes next is of the choice at `index`. Whether that is the one that there is.
    pub fn is_of_choice(&mut self, index: u64) -> bool {
        let choice = &mut self.choice;
        let is_of_it = choice.ended.is_none_or(|ended| ended == index)
            && match choice.last {
                None => true,
                Some(last) if last == index => !choice.counts_up,
                Some(last) => last < index && !choice.repeats,
            };
        choice.repeats |= choice.last == Some(index);
        choice.counts_up |= choice.last.is_some_and(|last| last != index);
        choice.last = Some(index);
        is_of_it
    }

    /// The choice at `index` says why it ends. Whether that is the one that there is.
    pub fn ends_choice(&mut self, index: u64) -> bool {
        let goes_back = self.choice.counts_up && self.choice.last.is_some_and(|last| index < last);
        (*self.choice.ended.get_or_insert(index) == index && !goes_back) || !self.calls.is_empty()
    }

    /// A message begins. Whether it is the only one: a gateway that lost its provider may begin once more.
    pub fn begins(&mut self, name: &str) -> bool {
        let is_other = !self.name.is_empty() && !name.is_empty() && self.name != name;
        if self.name.is_empty() {
            name.clone_into(&mut self.name);
        }
        !is_other
    }

    /// Takes a piece of a tool call: it goes on with one that was begun, or begins one.
    pub fn push_call(&mut self, piece: CallPiece) -> Result<(), Failure> {
        // Most servers send one call after the other; some send the pieces of several in turn, each with its index.
        let is_named = |call: &OpenCall| !piece.id.is_empty() && call.id == piece.id && !call.is_whole();
        let begins = !piece.id.is_empty() || !piece.name.is_empty();
        let place = match self.calls.iter().rposition(|call| is_named(call) && at_index_of(call, &piece)) {
            Some(place) => Some(place),
            None => self.calls.iter().rposition(|call| at_index_of(call, &piece)),
        };
        // Some count the index up with each piece: what says neither an id nor a name begins nothing.
        let place = place.or_else(|| self.calls.len().checked_sub(1).filter(|_| !begins));
        let call = match place.map(|place| &mut self.calls[place]) {
            Some(call) if !begins || call.goes_on_with(&piece) => call,
            _ => {
                if self.calls.len() == MOST_TOOL_CALLS {
                    return Err(broken(&format!("a reply has more than {MOST_TOOL_CALLS} tool calls")));
                }
                self.calls.push(OpenCall::default());
                self.calls.last_mut().ok_or_else(|| broken("a reply has no tool calls"))?
            }
        };
        call.index = call.index.or(piece.index);
        call.extra = piece.extra.or(call.extra.take());
        if call.id.is_empty() {
            call.id = piece.id;
        }
        // Most say the name once; some with each piece, and some in pieces.
        match piece.name {
            name if name.starts_with(&call.name) => call.name = name,
            name if call.name == name => {}
            rest => call.name.push_str(&rest),
        }
        // A beginning that only says that there will be an object.
        if call.arguments == "{}" && piece.arguments.starts_with('{') {
            call.arguments.clear();
        }
        call.nesting.take(&piece.arguments);
        call.arguments.push_str(&piece.arguments);
        Ok(())
    }

    /// Tool calls that were begun.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Whether a tool call was begun at `index`.
    pub fn has_call(&self, index: u64) -> bool {
        self.calls.iter().any(|call| call.index == Some(index))
    }

    /// The provider said why it stopped. A later, different word does not change the first, unless only it says that
    /// something is missing.
    pub fn stop(&mut self, stop: Stop) {
        let is_whole = |stop: Stop| matches!(stop, Stop::End | Stop::ToolCalls);
        if self.stop.is_none_or(|first| is_whole(first) && !is_whole(stop)) {
            self.stop = Some(stop);
        }
    }

    /// The provider withholds the text, in these words, whatever it will say about why it stopped.
    pub fn withhold(&mut self, words: &str) {
        self.withheld = true;
        self.refusal.push_str(words);
    }

    /// Whether the provider said in words that it withholds the text.
    pub fn has_refused(&self) -> bool {
        !self.refusal.is_empty()
    }

    /// Whether the provider put anything out, hidden reasoning included.
    pub fn has_output(&self) -> bool {
        self.output_bytes > 0 || !self.calls.is_empty() || !self.items.is_empty()
    }

    pub fn has_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// The reply. An end is known if the dialect's terminator was seen; or if the provider said why it stopped and what it
    /// cost, and closed the connection in good order. `provider` is who gets back what the reply wants back.
    pub fn into_reply(self, end: End, provider: &str) -> (Result<Reply, Failure>, UsageSnapshot) {
        let Self { text, mut calls, stop, withheld, refusal, mut kept, usage, stage, .. } = self;
        let failed = |message: &str| Err(broken(message));
        let stop = match (stop, end) {
            (Some(stop), End::Said) => stop,
            (Some(stop), End::Closed) if stage > UsageStage::Running => stop,
            (_, End::Closed) => return (Err(broken_off("the stream ended without its terminator")), usage),
            (None, End::Said) if text.is_empty() && calls.is_empty() && !withheld => {
                return (failed("the reply is empty and does not say why it stopped"), usage);
            }
            (None, End::Said) => Stop::End,
        };
        let whole = matches!(stop, Stop::End | Stop::ToolCalls);
        // Of those that say an index, or the same one, the order in which they began holds.
        calls.sort_by_key(|call| call.index.unwrap_or(u64::MAX));
        let mut tool_calls: Vec<ToolCall> = Vec::with_capacity(calls.len());
        for (position, call) in calls.into_iter().enumerate() {
            let OpenCall { mut id, name, mut arguments, extra, .. } = call;
            if let Some(extra) = extra {
                kept.take_of_call(position, extra);
            }
            if name.is_empty() {
                return (failed("the reply has a tool call without a name"), usage);
            }
            // Some servers leave it out or repeat it, and the result of the call needs something to refer to.
            if id.is_empty() {
                id = format!("call-{position}");
            }
            while tool_calls.iter().any(|known| known.id == id) {
                id = format!("{id}-{position}");
            }
            // A tool without parameters. In a cut reply it could be one whose arguments were cut off, and stays empty.
            if arguments.is_empty() && whole {
                arguments.push_str("{}");
            }
            tool_calls.push(ToolCall { id, name, arguments });
        }
        // Servers differ on what they call the end of a reply with tool calls; what is in it decides.
        let stop = match stop {
            _ if withheld => Stop::Withheld,
            Stop::End | Stop::ToolCalls if tool_calls.is_empty() => Stop::End,
            Stop::End | Stop::ToolCalls => Stop::ToolCalls,
            Stop::MaxOutput | Stop::Withheld => stop,
        };
        let refusal = (!refusal.is_empty()).then_some(refusal);
        let reply = kept.handed(provider).map(|state| Reply {
            refusal,
            provider_state: state,
            ..Reply::new(text, tool_calls, stop)
        });
        (reply, usage)
    }

    fn past_the_cap(&self) -> Failure {
        broken(&format!("output ran past the cap of {} tokens", self.max_output))
    }
}

/// Whether a call is at the index that a piece says, or a piece says none.
fn at_index_of(call: &OpenCall, piece: &CallPiece) -> bool {
    piece.index.is_none_or(|index| call.index == Some(index))
}

/// The other side ended before its answer did.
pub fn broken_off(message: &str) -> Failure {
    Failure { kind: FailureKind::Overloaded, message: message.to_owned() }
}

/// The other side broke its protocol or a cap.
pub fn broken(message: &str) -> Failure {
    Failure { kind: FailureKind::Broken, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(index: Option<u64>, id: &str, name: &str, arguments: &str) -> CallPiece {
        CallPiece { index, id: id.into(), name: name.into(), arguments: arguments.into(), extra: None }
    }

    /// The calls that pieces become, as `id name arguments`.
    fn calls(pieces: &[CallPiece]) -> Vec<String> {
        let mut draft = Draft::new(3);
        pieces.iter().for_each(|piece| draft.push_call(piece.clone()).unwrap());
        let reply = draft.into_reply(End::Said, "one").0.unwrap();
        reply.tool_calls.into_iter().map(|call| format!("{} {} {}", call.id, call.name, call.arguments)).collect()
    }

    #[test]
    fn a_reply_may_have_256_bytes_a_token_and_4096_and_not_one_more() {
        let mut draft = Draft::new(2);
        draft.bytes(2 * 256 + 4096).unwrap();
        assert_eq!(draft.least_tokens(), 2);
        assert_eq!(draft.bytes(1).unwrap_err(), broken("output ran past the cap of 2 tokens"));
    }

    #[test]
    fn a_running_count_may_be_one_over_and_not_two_and_a_count_after_the_end_is_only_booked() {
        let mut draft = Draft::new(3);
        draft.running_count(None).unwrap();
        draft.running_count(Some(4)).unwrap();
        draft.running_count(Some(5)).unwrap_err();
        draft.stop(Stop::End);
        draft.running_count(Some(5)).unwrap();
    }

    #[test]
    fn a_reply_may_have_128_tool_calls_and_not_129_whatever_their_indexes() {
        let mut draft = Draft::new(3);
        for index in 0..128 {
            draft.push_call(piece(Some(u64::MAX - index), "", "look", "")).unwrap();
        }
        draft.push_call(piece(Some(7), "", "look", "")).unwrap_err();
        let reply = draft.into_reply(End::Said, "one").0.unwrap();
        assert_eq!((reply.tool_calls.len(), reply.stop), (128, Stop::ToolCalls));
        assert_eq!(reply.tool_calls[127].id, "call-127");
    }

    #[test]
    fn another_id_is_another_call_and_the_same_index_with_none_goes_on() {
        let (a, b) = (Some(0), Some(1));
        // As the dialect has it, and with the pieces of two calls in turn.
        assert_eq!(
            calls(&[piece(a, "x", "add", ""), piece(a, "", "", "{\"n\""), piece(a, "", "", ":1}")]),
            ["x add {\"n\":1}"]
        );
        let mixed =
            [piece(b, "y", "sub", ""), piece(a, "x", "add", "{"), piece(b, "", "", "{}"), piece(a, "", "", "}")];
        assert_eq!(calls(&mixed), ["x add {}", "y sub {}"]);
        // One index for all.
        assert_eq!(calls(&[piece(a, "x", "add", "{}"), piece(a, "y", "add", "{}")]), ["x add {}", "y add {}"]);
        assert_eq!(calls(&[piece(a, "", "add", "{}"), piece(a, "", "sub", "{}")]), ["call-0 add {}", "call-1 sub {}"]);
        // None at all, whole and in pieces.
        assert_eq!(calls(&[piece(None, "x", "add", "{}"), piece(None, "y", "add", "{}")]), ["x add {}", "y add {}"]);
        assert_eq!(
            calls(&[piece(None, "", "add", "{}"), piece(None, "", "add", "{\"n\":1}")]),
            ["call-0 add {}", "call-1 add {\"n\":1}"]
        );
        assert_eq!(calls(&[piece(None, "x", "add", "{\"n\""), piece(None, "", "", ":1}")]), ["x add {\"n\":1}"]);
        // The id late, with each piece, or the same for two.
        assert_eq!(calls(&[piece(a, "", "add", "{"), piece(a, "x", "", "}")]), ["x add {}"]);
        assert_eq!(calls(&[piece(a, "x", "add", "{"), piece(a, "x", "add", "}")]), ["x add {}"]);
        assert_eq!(calls(&[piece(a, "x", "add", "{}"), piece(b, "x", "add", "{}")]), ["x add {}", "x-1 add {}"]);
        // An object that is announced, and then written.
        assert_eq!(calls(&[piece(a, "x", "add", "{}"), piece(a, "", "", "{\"n\":1}")]), ["x add {\"n\":1}"]);
    }

    #[test]
    fn output_after_what_was_said_of_usage_unsettles_it() {
        let mut draft = Draft::new(3);
        draft.stop(Stop::End);
        draft.stage = UsageStage::Final;
        draft.bytes(0).unwrap();
        assert_eq!(draft.stage, UsageStage::Final);
        draft.bytes(1).unwrap();
        assert_eq!(draft.stage, UsageStage::Running);
    }

    #[test]
    fn an_end_is_known_by_a_terminator_or_by_a_reason_a_usage_and_a_clean_close() {
        let end = |stop: Option<Stop>, stage: UsageStage, text: &str, end: End| {
            let mut draft = Draft { stage, stop, ..Draft::new(1) };
            draft.push_text(text);
            draft.into_reply(end, "one").0.map(|reply| reply.stop).map_err(|failure| failure.message)
        };
        let (none, running, last) = (None, UsageStage::Running, UsageStage::AtEnd);
        assert_eq!(end(Some(Stop::End), running, "", End::Said), Ok(Stop::End));
        assert_eq!(end(Some(Stop::MaxOutput), last, "", End::Closed), Ok(Stop::MaxOutput));
        assert_eq!(end(none, running, "hi", End::Said), Ok(Stop::End));
        end(none, running, "", End::Said).unwrap_err();
        end(Some(Stop::End), running, "hi", End::Closed).unwrap_err();
        end(none, last, "hi", End::Closed).unwrap_err();
    }

    #[test]
    fn a_text_of_json_is_whole_when_all_that_was_opened_is_closed() {
        let is_whole = |pieces: &[&str]| {
            let mut nesting = Nesting::default();
            pieces.iter().for_each(|piece| nesting.take(piece));
            nesting.is_whole
        };
        for whole in [&["{}"][..], &["{\"a\":[1,", "{}]} \n"], &["{\"a\":\"}\\", "\"{\"}"], &["\"text\""]] {
            assert!(is_whole(whole), "{whole:?}");
        }
        for open in [&[""][..], &["{"], &["{\"a\":\"}"], &["{\"a\":\"\\", "\"}"], &["{}{"], &["[[]"]] {
            assert!(!is_whole(open), "{open:?}");
        }
    }
}
