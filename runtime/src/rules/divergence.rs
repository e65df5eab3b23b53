//! Where a replay went another way than its journal, and how.
//!
//! Never: judges; a difference is told as it is. What was long is cut, what is equal is left out.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::effect::{Body, Effect};
use super::model::{Message, Request};

/// Characters of a text that a difference shows.
const MAX_SHOWN_CHARS: usize = 160;

/// Characters that are shown before the first that differs.
const SHOWN_BEFORE: usize = 40;

/// What kind of difference it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DivergenceKind {
    /// The run did something else than the journal says came next.
    Call,
    /// It did the same, with other arguments.
    Arguments,
    /// It did something where the journal says that the guest had ended.
    ExtraCall,
    /// It ended where the journal says that it did more.
    MissingCall,
    /// What it printed, left or reported differs.
    Output,
    /// The files differ.
    State,
    /// The host judges otherwise.
    Verdict,
}

impl DivergenceKind {
    /// The kind in one word.
    pub fn name(self) -> &'static str {
        match self {
            DivergenceKind::Call => "call",
            DivergenceKind::Arguments => "arguments",
            DivergenceKind::ExtraCall => "extra-call",
            DivergenceKind::MissingCall => "missing-call",
            DivergenceKind::Output => "output",
            DivergenceKind::State => "state",
            DivergenceKind::Verdict => "verdict",
        }
    }
}

/// The first difference between a run and its journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divergence {
    /// The entry that was expected.
    pub seq: u64,
    pub kind: DivergenceKind,
    pub expected: String,
    pub got: String,
    /// Line by line what differs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diff: Vec<String>,
}

impl std::fmt::Display for Divergence {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seq, kind, expected, got, .. } = self;
        write!(formatter, "entry {seq} ({}): the journal has {expected}, the run did {got}", kind.name())
    }
}

/// What differs between what a journal says was asked and what a run asks.
pub fn of_effects(recorded: &Effect, asked: &Effect) -> Vec<String> {
    match (recorded, asked) {
        (Effect::Model { request: recorded }, Effect::Model { request: asked }) => of_requests(recorded, asked),
        (recorded, asked) => lines("effect", &plain(recorded), &plain(asked)),
    }
}

/// What differs between two bodies of one kind.
pub fn of_bodies(recorded: &Body, run: &Body) -> Vec<String> {
    match (recorded, run) {
        (Body::Printed { text: recorded, .. }, Body::Printed { text: run, .. }) => lines("text", recorded, run),
        (Body::Noted { message: recorded, .. }, Body::Noted { message: run, .. }) if recorded != run => {
            lines("note", recorded, run)
        }
        (Body::Closed { record: recorded }, Body::Closed { record: run }) => {
            of_values(serde_json::to_value(recorded).ok(), serde_json::to_value(run).ok())
        }
        (recorded, run) => lines("entry", &format!("{recorded:?}"), &format!("{run:?}")),
    }
}

/// Field by field, for two objects.
fn of_values(recorded: Option<serde_json::Value>, run: Option<serde_json::Value>) -> Vec<String> {
    let (Some(serde_json::Value::Object(recorded)), Some(serde_json::Value::Object(run))) = (recorded, run) else {
        return Vec::new();
    };
    let text = |value: Option<&serde_json::Value>| value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    let names: std::collections::BTreeSet<&String> = recorded.keys().chain(run.keys()).collect();
    let differ = names.into_iter().filter(|name| recorded.get(*name) != run.get(*name));
    differ.flat_map(|name| lines(name, &text(recorded.get(name)), &text(run.get(name)))).collect()
}

fn of_requests(recorded: &Request, asked: &Request) -> Vec<String> {
    let mut diff = Vec::new();
    let mut field = |name: &str, recorded: String, asked: String| {
        if recorded != asked {
            diff.extend(lines(name, &recorded, &asked));
        }
    };
    field("model", recorded.model.clone(), asked.model.clone());
    field("max-output", recorded.max_output.to_string(), asked.max_output.to_string());
    field("min-output", recorded.min_output.to_string(), asked.min_output.to_string());
    field("schema", plain(&recorded.schema), plain(&asked.schema));
    field("tools", plain(&recorded.tools), plain(&asked.tools));
    let most = recorded.messages.len().max(asked.messages.len());
    for place in 0..most {
        let name = format!("message {} of {most}", place + 1);
        match (recorded.messages.get(place), asked.messages.get(place)) {
            (Some(one), Some(other)) if one == other => {}
            (Some(one), Some(other)) if one.role == other.role && one.content != other.content => {
                diff.extend(lines(&format!("{name} ({})", role(one)), &one.content, &other.content));
            }
            (one, other) => {
                let text = |message: Option<&Message>| message.map_or_else(|| "nothing".to_owned(), plain);
                diff.extend(lines(&name, &text(one), &text(other)));
            }
        }
    }
    diff
}

fn role(message: &Message) -> String {
    plain(&message.role).trim_matches('"').to_owned()
}

fn plain(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Both texts from shortly before the first character that differs.
fn lines(what: &str, recorded: &str, run: &str) -> Vec<String> {
    let same = recorded.chars().zip(run.chars()).take_while(|(one, other)| one == other).count();
    let from = same.saturating_sub(SHOWN_BEFORE);
    let shown = |text: &str| {
        let mut shown = String::new();
        if from > 0 {
            shown.push('…');
        }
        let mut rest = text.chars().skip(from);
        shown.extend(rest.by_ref().take(MAX_SHOWN_CHARS));
        if rest.next().is_some() {
            shown.push('…');
        }
        shown
    };
    let mut heading = what.to_owned();
    if same > 0 {
        // Writing to a text does not fail.
        let _ = write!(heading, ", from character {}", same + 1);
    }
    vec![heading, format!("- {:?}", shown(recorded)), format!("+ {:?}", shown(run))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::model::Role;

    fn request(contents: &[&str]) -> Effect {
        let message = |content: &&str| Message {
            role: Role::User,
            content: (*content).to_owned(),
            tool_calls: vec![],
            tool_call_id: None,
            provider_state: None,
        };
        Effect::Model {
            request: Request {
                model: "m".into(),
                messages: contents.iter().map(message).collect(),
                tools: vec![],
                max_output: 10,
                min_output: 1,
                schema: None,
            },
        }
    }

    #[test]
    fn a_changed_prompt_is_told_by_its_message() {
        let diff = of_effects(&request(&["same", "fix the bug"]), &request(&["same", "fix the cat", "more"]));
        assert_eq!(diff[0], "message 2 of 3 (user), from character 9");
        assert_eq!(diff[1], r#"- "fix the bug""#);
        assert_eq!(diff[2], r#"+ "fix the cat""#);
        assert!(diff[3].starts_with("message 3 of 3") && diff[4].contains("nothing"), "{diff:?}");
    }

    #[test]
    fn equal_requests_have_no_difference() {
        assert!(of_effects(&request(&["same"]), &request(&["same"])).is_empty());
    }

    #[test]
    fn a_long_text_is_shown_around_its_first_difference() {
        let (one, other) = (format!("{}b{}", "a".repeat(500), "c".repeat(500)), format!("{}d", "a".repeat(500)));
        let diff = of_effects(&request(&[&one]), &request(&[&other]));
        assert!(diff[0].ends_with("from character 501"), "{diff:?}");
        assert!(diff[1].chars().count() <= MAX_SHOWN_CHARS + 6, "{diff:?}");
    }
}
