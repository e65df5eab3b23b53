//! A model's reply while it arrives: its text, its tool calls, its usage so far, and the caps on its output.
//!
//! Never: parses a wire format. Invariants: a provider chooses no size here (a tool call's index is a key, not a
//! length), output past its cap is an error at once and not at the end, and nothing comes after the end.

use std::collections::BTreeMap;

use super::usage::UsageSnapshot;
use crate::rules::effect::{Failure, FailureKind};
use crate::rules::model::{Reply, Stop, ToolCall};

/// Tool calls of one reply. No model asks for so many at once; a hostile provider would.
const MOST_TOOL_CALLS: u64 = 128;

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

#[derive(Debug)]
pub struct Draft {
    max_output: u32,
    text: String,
    calls: BTreeMap<u64, ToolCall>,
    output_bytes: u64,
    deltas: u64,
    stop: Option<Stop>,
    withheld: bool,
    pub usage: UsageSnapshot,
    pub stage: UsageStage,
}

impl Draft {
    pub fn new(max_output: u32) -> Self {
        Self {
            max_output,
            text: String::new(),
            calls: BTreeMap::new(),
            output_bytes: 0,
            deltas: 0,
            stop: None,
            withheld: false,
            usage: UsageSnapshot::default(),
            stage: UsageStage::Running,
        }
    }

    /// Counts one delta of a stream, hidden reasoning included. Each is at least one token if it has any bytes.
    pub fn delta(&mut self, bytes: usize) -> Result<(), Failure> {
        if bytes == 0 {
            return Ok(());
        }
        if self.stop.is_some() {
            self.stage = UsageStage::Running;
            return Err(broken("output came after its end"));
        }
        self.deltas += 1;
        if self.deltas > u64::from(self.max_output) {
            return Err(self.past_the_cap());
        }
        self.bytes(bytes)
    }

    /// Counts bytes of output, hidden reasoning included.
    pub fn bytes(&mut self, bytes: usize) -> Result<(), Failure> {
        self.output_bytes = self.output_bytes.saturating_add(bytes as u64);
        match self.output_bytes > u64::from(self.max_output) * TOKEN_BYTES + SPARE_BYTES {
            true => Err(self.past_the_cap()),
            false => Ok(()),
        }
    }

    /// Judges what the provider says it put out so far. Only while output may still come: a final count above the cap
    /// is a truth to book and cannot be stopped any more.
    pub fn running_count(&self, tokens_out: Option<u64>) -> Result<(), Failure> {
        match tokens_out {
            Some(tokens) if self.stop.is_none() && tokens > u64::from(self.max_output) => Err(self.past_the_cap()),
            _ => Ok(()),
        }
    }

    pub fn push_text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// The tool call at the provider's `index`, opened if it is new.
    pub fn call(&mut self, index: u64) -> Result<&mut ToolCall, Failure> {
        if index >= MOST_TOOL_CALLS {
            return Err(broken(&format!("a reply has tool call {index}, at most {MOST_TOOL_CALLS} are allowed")));
        }
        Ok(self.calls.entry(index).or_insert_with(|| ToolCall {
            id: String::new(),
            name: String::new(),
            arguments: String::new(),
        }))
    }

    /// The tool call at `index`, if it was opened.
    pub fn open_call(&mut self, index: u64) -> Option<&mut ToolCall> {
        self.calls.get_mut(&index)
    }

    /// The provider said why it stopped. A later, different word does not change the first.
    pub fn stop(&mut self, stop: Stop) {
        self.stop.get_or_insert(stop);
    }

    /// The provider withholds the text, whatever it will say about why it stopped.
    pub fn withhold(&mut self) {
        self.withheld = true;
    }

    /// Whether the provider put anything out, hidden reasoning included.
    pub fn has_output(&self) -> bool {
        self.output_bytes > 0 || !self.calls.is_empty()
    }

    pub fn has_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// The reply, once the dialect's terminator was seen.
    pub fn into_reply(self) -> (Result<Reply, Failure>, UsageSnapshot) {
        let Some(stop) = self.stop else {
            return (Err(broken("the reply does not say why it stopped")), self.usage);
        };
        let whole = matches!(stop, Stop::End | Stop::ToolCalls);
        let mut tool_calls = Vec::with_capacity(self.calls.len());
        for (index, mut call) in self.calls {
            if call.name.is_empty() {
                return (Err(broken("the reply has a tool call without a name")), self.usage);
            }
            // Some servers leave it out, and the result of the call needs something to refer to.
            if call.id.is_empty() {
                call.id = format!("call-{index}");
            }
            // A tool without parameters. In a cut reply it could be one whose arguments were cut off, and stays empty.
            if call.arguments.is_empty() && whole {
                call.arguments.push_str("{}");
            }
            tool_calls.push(call);
        }
        // Servers differ on what they call the end of a reply with tool calls; what is in it decides.
        let stop = match stop {
            _ if self.withheld => Stop::Withheld,
            Stop::End | Stop::ToolCalls if tool_calls.is_empty() => Stop::End,
            Stop::End | Stop::ToolCalls => Stop::ToolCalls,
            Stop::MaxOutput | Stop::Withheld => stop,
        };
        (Ok(Reply { text: self.text, tool_calls, stop }), self.usage)
    }

    fn past_the_cap(&self) -> Failure {
        broken(&format!("output ran past the cap of {} tokens", self.max_output))
    }
}

/// The other side broke its protocol or a cap.
pub fn broken(message: &str) -> Failure {
    Failure { kind: FailureKind::Broken, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_may_have_n_deltas_and_not_n_plus_1() {
        let mut draft = Draft::new(3);
        for bytes in [1, 0, 1, 0, 1] {
            draft.delta(bytes).unwrap();
        }
        let failure = draft.delta(1).unwrap_err();
        assert_eq!(failure, broken("output ran past the cap of 3 tokens"));
    }

    #[test]
    fn a_reply_may_have_256_bytes_a_token_and_4096_and_not_one_more() {
        let mut draft = Draft::new(2);
        draft.delta(2 * 256 + 4096).unwrap();
        assert_eq!(draft.delta(1).unwrap_err(), broken("output ran past the cap of 2 tokens"));
    }

    #[test]
    fn a_running_count_may_be_n_and_not_n_plus_1_and_a_count_after_the_end_is_only_booked() {
        let mut draft = Draft::new(3);
        draft.running_count(None).unwrap();
        draft.running_count(Some(3)).unwrap();
        draft.running_count(Some(4)).unwrap_err();
        draft.stop(Stop::End);
        draft.running_count(Some(4)).unwrap();
    }

    #[test]
    fn tool_call_127_is_kept_and_128_is_refused() {
        let mut draft = Draft::new(3);
        draft.call(127).unwrap().name = "last".into();
        draft.call(128).unwrap_err();
        draft.call(u64::MAX).unwrap_err();
        draft.stop(Stop::End);
        let reply = draft.into_reply().0.unwrap();
        assert_eq!(reply.tool_calls.len(), 1);
        assert_eq!((reply.tool_calls[0].id.as_str(), reply.stop), ("call-127", Stop::ToolCalls));
    }

    #[test]
    fn output_after_the_end_is_broken_and_unsettles_the_usage() {
        let mut draft = Draft::new(3);
        draft.stop(Stop::End);
        draft.stage = UsageStage::Final;
        draft.delta(0).unwrap();
        draft.delta(1).unwrap_err();
        assert_eq!(draft.stage, UsageStage::Running);
    }

    #[test]
    fn a_reply_that_does_not_say_why_it_stopped_is_broken() {
        assert!(Draft::new(1).into_reply().0.is_err());
    }
}
