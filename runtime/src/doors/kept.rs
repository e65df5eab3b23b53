//! What a provider gives with a reply and wants back with it: signatures of thoughts, reasoning, redacted thoughts.
//!
//! Never: reads what is in it, gives it to another provider than the one that it came from. Invariants: it is bounded; of what
//! a worker hands back only fields of these kinds get on the wire, and only in the message that they belong to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::draft::broken;
use super::json::text;
use crate::rules::effect::Failure;
use crate::rules::model::Message;

/// Bytes of it for one reply: the reasoning of a long turn has some hundred kilobytes.
pub(super) const MAX_KEPT_BYTES: usize = 1 << 20;

/// What came with one reply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// `reasoning_content`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reasoning: String,
    /// `reasoning_details`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    details: Vec<Value>,
    /// `extra_content` of the message, and of its tool calls by their places.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    extra: Value,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    of_calls: BTreeMap<usize, Value>,
    /// Blocks of thoughts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    thoughts: Vec<Thought>,
    /// Items of the Responses dialect, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    items: Vec<KeptItem>,
}

/// An item of a reply in the Responses dialect. Text and calls themselves are the worker's to hand back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeptItem {
    Reasoning(Reasoning),
    /// So many bytes of the text, and what part of the turn they are, if the provider said so.
    Said {
        bytes: usize,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        phase: String,
    },
    /// What the model said on the way to its answer, which is no part of the text.
    Aside {
        text: String,
        phase: String,
    },
    /// The next call.
    Call,
}

/// Reasoning as an item. A server that stores nothing knows it again by its content alone, and checks its id against it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reasoning {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub encrypted_content: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub summary: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub content: Vec<String>,
}

impl Reasoning {
    /// Whether it has what a server needs to know it again. Without, it would be looked up and not found:
    /// <https://github.com/vercel/ai/pull/13234>.
    pub fn is_wanted(&self) -> bool {
        !self.encrypted_content.is_empty() || !self.content.is_empty()
    }

    /// The item as it goes back.
    pub fn wire(&self) -> Value {
        let parts = |kind: &str, texts: &[String]| -> Value {
            texts.iter().map(|text| json!({ "type": kind, "text": text })).collect()
        };
        let mut item = json!({ "type": "reasoning", "summary": parts("summary_text", &self.summary) });
        for (field, said) in [("id", &self.id), ("encrypted_content", &self.encrypted_content)] {
            if !said.is_empty() {
                item[field] = said.as_str().into();
            }
        }
        if !self.content.is_empty() {
            item["content"] = parts("reasoning_text", &self.content);
        }
        item
    }
}

/// A block of thoughts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Thought {
    /// Where the provider put it; only until the reply is whole.
    #[serde(skip)]
    index: Option<u64>,
    /// How many tool calls come before it.
    before: usize,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    thinking: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    signature: String,
    /// Of one that is redacted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    data: String,
}

/// As a worker hands it on.
#[derive(Serialize, Deserialize)]
struct Handed {
    /// Who gave it.
    of: String,
    kept: Kept,
}

impl Kept {
    /// What a worker brought back with a message, if it is of this provider.
    pub fn of(message: &Message, provider: &str) -> Self {
        let state = message.provider_state.as_deref().filter(|state| state.len() <= 2 * MAX_KEPT_BYTES);
        let handed = state.and_then(|state| serde_json::from_str::<Handed>(state).ok());
        handed.filter(|handed| handed.of == provider).map(|handed| handed.kept).unwrap_or_default()
    }

    /// For a worker to hand on. `None`: there is nothing.
    ///
    /// # Errors
    /// [`FailureKind::Broken`](crate::rules::effect::FailureKind::Broken): it is too much.
    pub fn handed(self, provider: &str) -> Result<Option<String>, Failure> {
        if self == Self::default() {
            return Ok(None);
        }
        let handed = serde_json::to_string(&Handed { of: provider.to_owned(), kept: self });
        let handed = handed.map_err(|error| broken(&error.to_string()))?;
        if handed.len() > MAX_KEPT_BYTES {
            return Err(broken(&format!("a reply wants more than {MAX_KEPT_BYTES} bytes of its own back")));
        }
        Ok(Some(handed))
    }

    /// Takes what a piece of a message in the OpenAI dialect has.
    pub fn take(&mut self, piece: &Value) {
        self.reasoning.push_str(&text(&piece["reasoning_content"]));
        for detail in super::json::list(&piece["reasoning_details"]) {
            let is_next = |last: &Value| last["type"] == detail["type"] && last["index"] == detail["index"];
            match self.details.last_mut().filter(|last| is_next(last)) {
                Some(last) => go_on(last, detail),
                None => self.details.push(detail.clone()),
            }
        }
        if piece["extra_content"].is_object() {
            self.extra = piece["extra_content"].clone();
        }
    }

    /// Takes what belongs to the tool call at a place.
    pub fn take_of_call(&mut self, place: usize, extra: Value) {
        self.of_calls.insert(place, extra);
    }

    /// Puts it where it was, into a message in the OpenAI dialect.
    pub fn put(&self, message: &mut Value) {
        let has_calls = message.get("tool_calls").is_some();
        // Some servers want it with the calls that it led to, and refuse it without any.
        if has_calls && !self.reasoning.is_empty() {
            message["reasoning_content"] = self.reasoning.as_str().into();
        }
        if !self.details.is_empty() {
            message["reasoning_details"] = self.details.clone().into();
        }
        if self.extra.is_object() {
            message["extra_content"] = self.extra.clone();
        }
        for (place, extra) in &self.of_calls {
            let calls = message.get_mut("tool_calls");
            if let Some(call) = calls.and_then(|calls| calls.get_mut(*place)).filter(|_| extra.is_object()) {
                call["extra_content"] = extra.clone();
            }
        }
    }

    /// Keeps the items of a reply in the Responses dialect.
    pub fn keep(&mut self, items: Vec<KeptItem>) {
        self.items = items;
    }

    /// The items of a reply in the Responses dialect, as far as a server can know them again.
    pub fn items(&self) -> impl Iterator<Item = &KeptItem> {
        self.items.iter().filter(|item| match item {
            KeptItem::Reasoning(reasoning) => reasoning.is_wanted(),
            KeptItem::Said { .. } | KeptItem::Aside { .. } | KeptItem::Call => true,
        })
    }

    /// Bytes of the text that the items share.
    pub fn text_bytes(&self) -> usize {
        self.items.iter().fold(0, |all: usize, item| match item {
            KeptItem::Said { bytes, .. } => all.saturating_add(*bytes),
            KeptItem::Reasoning(_) | KeptItem::Aside { .. } | KeptItem::Call => all,
        })
    }

    /// Begins a block of thoughts, before which there are so many tool calls.
    pub fn begin_thought(&mut self, block: &Value, index: Option<u64>, before: usize) {
        let [thinking, signature, data] = ["thinking", "signature", "data"].map(|field| text(&block[field]));
        self.thoughts.push(Thought { index, before, thinking, signature, data });
    }

    /// Goes on with the block at an index, or with the last one.
    pub fn think(&mut self, index: Option<u64>, delta: &Value) {
        let thought = self.thoughts.iter_mut().rev().find(|thought| index.is_none() || thought.index == index);
        let Some(thought) = thought else { return };
        thought.thinking.push_str(&text(&delta["thinking"]));
        thought.signature.push_str(&text(&delta["signature"]));
    }

    /// The blocks of thoughts that come after so many tool calls, in the Anthropic dialect.
    pub fn thoughts(&self, before: usize) -> impl Iterator<Item = Value> {
        self.thoughts.iter().filter(move |thought| thought.before == before).map(|thought| {
            match thought.data.is_empty() {
                true => json!({ "type": "thinking", "thinking": thought.thinking, "signature": thought.signature }),
                false => json!({ "type": "redacted_thinking", "data": thought.data }),
            }
        })
    }
}

/// Texts go on, everything else is replaced.
fn go_on(last: &mut Value, next: &Value) {
    for (name, value) in next.as_object().into_iter().flatten() {
        match (last[name].as_str(), value.as_str()) {
            (Some(before), Some(more)) if matches!(name.as_str(), "text" | "summary" | "data") => {
                last[name] = format!("{before}{more}").into();
            }
            (_, _) if value.is_null() => {}
            _ => last[name] = value.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::model::Role;

    fn message(state: Option<String>) -> Message {
        Message {
            role: Role::Assistant,
            content: String::new(),
            tool_calls: vec![],
            tool_call_id: None,
            provider_state: state,
        }
    }

    #[test]
    fn it_goes_back_to_whoever_gave_it_and_to_nobody_else() {
        let mut kept = Kept::default();
        kept.take(&json!({ "reasoning_content": "h" }));
        kept.take(&json!({ "reasoning_content": "m", "extra_content": { "google": { "thought_signature": "s" } } }));
        kept.take_of_call(1, json!({ "google": { "thought_signature": "t" } }));
        let handed = message(kept.clone().handed("one").unwrap());
        assert_eq!(Kept::of(&handed, "one"), kept);
        assert_eq!(Kept::of(&handed, "two"), Kept::default());
        assert_eq!(Kept::default().handed("one"), Ok(None));
        let mut wire = json!({ "role": "assistant", "tool_calls": [{ "id": "a" }, { "id": "b" }] });
        kept.put(&mut wire);
        assert_eq!(wire["reasoning_content"], "hm");
        assert_eq!(wire["extra_content"]["google"]["thought_signature"], "s");
        assert_eq!(
            (&wire["tool_calls"][0], &wire["tool_calls"][1]["extra_content"]["google"]["thought_signature"]),
            (&json!({ "id": "a" }), &json!("t"))
        );
    }

    #[test]
    fn what_a_worker_made_up_gets_nowhere_else() {
        let made_up = json!({ "of": "one", "model": "dearer", "kept": { "extra": "text", "of_calls": { "7": {}, "0": "x" }, "reasoning": "r" } });
        let kept = Kept::of(&message(Some(made_up.to_string())), "one");
        let mut wire = json!({ "role": "assistant", "content": "hi" });
        kept.put(&mut wire);
        assert_eq!(wire, json!({ "role": "assistant", "content": "hi" }));
        for junk in ["", "7", "null", "[]", r#"{"of":"one","kept":{"thoughts":7}}"#] {
            assert_eq!(Kept::of(&message(Some(junk.to_owned())), "one"), Kept::default(), "{junk}");
        }
    }

    #[test]
    fn it_may_have_n_bytes_and_not_n_plus_1() {
        let of = |bytes: usize| Kept { reasoning: "x".repeat(bytes), ..Kept::default() };
        let around = of(1).handed("one").unwrap().unwrap().len() - 1;
        assert!(of(MAX_KEPT_BYTES - around).handed("one").is_ok());
        assert!(of(MAX_KEPT_BYTES - around + 1).handed("one").is_err());
    }

    #[test]
    fn details_that_come_in_pieces_are_put_together() {
        let mut kept = Kept::default();
        let detail = |text: &str| json!({ "reasoning_details": [{ "type": "reasoning.text", "index": 0, "text": text, "signature": null }] });
        kept.take(&detail("h"));
        kept.take(&detail("m"));
        kept.take(&json!({ "reasoning_details": [{ "type": "reasoning.text", "index": 0, "signature": "s" }] }));
        kept.take(&json!({ "reasoning_details": [{ "type": "reasoning.encrypted", "index": 1, "data": "d" }] }));
        let mut wire = json!({ "role": "assistant" });
        kept.put(&mut wire);
        assert_eq!(
            wire["reasoning_details"],
            json!([
                { "type": "reasoning.text", "index": 0, "text": "hm", "signature": "s" },
                { "type": "reasoning.encrypted", "index": 1, "data": "d" }
            ])
        );
    }
}
