//! What is compared of a call and its result: all of it, or all but what says nothing new.
//!
//! Calls are the same whatever the order of keys and the white space. They are alike if they differ in nothing but clocks in
//! the result (dates, times, durations, identifiers); or if the result is the same to the letter, and so is an argument that
//! names something, and nothing differs but sentences, identifiers, times and numbers among the others; or if the same long
//! text came of other sentences. A plain number in a result is never ignored: one that goes up is progress. Never: compares meanings, or looks for clocks in a text of more than
//! [`MAX_MASKED_BYTES`]. Invariant here: one text has one likeness, on every machine.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::model::{Message, Role};
use super::super::signature::{fnv1a, fnv1a_onto};
use super::clocks::{Clock, Found, without};

/// Bytes of a text that is read as JSON: what is parsed takes many times its size.
pub(super) const MAX_PARSED_BYTES: usize = 16 << 10;

/// Bytes of a text in which clocks are looked for. One that is larger counts as it is.
const MAX_MASKED_BYTES: usize = 64 << 10;

/// From so many words on, an argument explains and names nothing.
const MIN_WORDS: usize = 4;

/// From so many words on, a reply is an answer of its own and no label, which honest work gives to many questions.
const MIN_ANSWER_WORDS: usize = 8;

/// From so many bytes on, a result tells something of its own, and is no label and no word that nothing was found.
const MIN_TELLING_BYTES: usize = 100;

/// Arguments that are named as ignored.
const MAX_IGNORED: usize = 8;

/// Characters that are kept of what was ignored.
const MAX_IGNORED_CHARS: usize = 96;

/// What every reader of JSON keeps of a number: many have it as a float.
pub(super) const EXACT_IN_JSON: u64 = (1 << 53) - 1;

/// A call and its result as numbers, for each way to compare them.
pub(super) struct Likeness {
    /// All of it.
    pub exact: u64,
    /// Without clocks in the result, and without sentences and identifiers among the arguments.
    pub timeless: Part,
    /// Without sentences, identifiers, times and numbers among the arguments.
    pub wordless: Part,
}

/// What is left of a call.
pub(super) struct Part {
    pub halves: Halves,
    /// What is not.
    pub ignored: String,
}

/// What was asked, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Halves {
    pub asked: u64,
    pub came: u64,
}

/// The likeness of a tool's call.
pub(super) fn of_call(tool: &str, arguments: &str, result: &str) -> Likeness {
    let arguments = parsed(arguments).unwrap_or_else(|| Value::String(one_line(arguments)));
    let result = canonical(result);
    let mut clocks = Found::default();
    let (whole, timeless) = (hash([result.as_str()]), hash([masked(&result, |_| true, &mut clocks).as_str()]));
    let clocks = clocks.names().map(|clock| format!("{clock} in the result"));
    // A part that names something must be left: other arguments alone are other work, unless they lead to the same long text.
    let sentences = (result.len() >= MIN_TELLING_BYTES).then_some(Varied::Nothing);
    let (some, most) = match names_something(&arguments) {
        true => (Some(Varied::Identifiers), Some(Varied::Counters)),
        false => (sentences, sentences),
    };
    let (explained, words) = stripped(&arguments, some);
    let (bare, all) = stripped(&arguments, most);
    let asked = |arguments: &str| hash([tool, arguments]);
    Likeness {
        exact: hash([tool, arguments.to_string().as_str(), whole.to_string().as_str()]),
        timeless: Part {
            halves: Halves { asked: asked(&explained), came: timeless },
            ignored: joined(words.into_iter().chain(clocks)),
        },
        wordless: Part { halves: Halves { asked: asked(&bare), came: whole }, ignored: joined(all) },
    }
}

/// The likeness of a question to a model with its reply. What is new in the question is what follows the model's latest words.
pub(super) fn of_question(messages: &[Message], reply: &str) -> Likeness {
    let texts = messages.iter().map(|message| message.content.as_str());
    let exact = hash(texts.chain([reply]));
    let said = messages.iter().rposition(|message| message.role == Role::Assistant).map_or(0, |place| place + 1);
    let bare = |text: &str| masked(&one_line(text), |_| true, &mut Found::default());
    let question: Vec<String> = messages[said..].iter().map(|message| bare(&message.content)).collect();
    let question = question.join("\n");
    // A number in a sentence counts, one in a name is a part of it.
    let question = if is_prose(&question) { numberless(&question) } else { question };
    let counted = Halves { asked: hash([question.as_str()]), came: hash([bare(reply).as_str()]) };
    let answered = Halves { asked: 0, came: hash([one_line(reply).as_str()]) };
    let is_answer = words(reply).0 >= MIN_ANSWER_WORDS;
    Likeness {
        exact,
        timeless: Part { halves: counted, ignored: "numbers and clocks in the question".to_owned() },
        wordless: Part { halves: if is_answer { answered } else { counted }, ignored: "the question".to_owned() },
    }
}

/// A text in one spelling, whatever the order of its keys and the blanks in it.
pub(super) fn canonical(text: &str) -> String {
    parsed(text).map_or_else(|| one_line(text), |value| value.to_string())
}

/// A text as JSON, if it is one and not too large.
pub(super) fn parsed(text: &str) -> Option<Value> {
    let may_be = text.len() <= MAX_PARSED_BYTES && text.trim_start().starts_with(['{', '[']);
    may_be.then(|| serde_json::from_str(text).ok()).flatten()
}

fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

fn masked(text: &str, ignores: impl Fn(Clock) -> bool, found: &mut Found) -> String {
    match text.len() > MAX_MASKED_BYTES {
        true => text.to_owned(),
        false => without(text, ignores, found),
    }
}

/// What is ignored of arguments beside sentences.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Varied {
    Nothing,
    Identifiers,
    /// And numbers, times and durations. A day is none: work is done day by day.
    Counters,
}

impl Varied {
    fn has(self, clock: Clock) -> bool {
        match clock {
            Clock::Identifier => self != Varied::Nothing,
            Clock::Time | Clock::Duration => self == Varied::Counters,
            Clock::Date => false,
        }
    }
}

/// Arguments without what explains and what varies, and the names of those that this changes.
fn stripped(arguments: &Value, varied: Option<Varied>) -> (String, Vec<String>) {
    let (mut out, mut ignored) = (String::new(), Vec::new());
    match varied {
        Some(varied) => strip(arguments, "", varied, &mut out, &mut ignored),
        None => out = arguments.to_string(),
    }
    (out, ignored)
}

fn strip(value: &Value, name: &str, varied: Varied, out: &mut String, ignored: &mut Vec<String>) {
    let mut ignore = |what: &str| {
        out.push_str(what);
        let name: String = name.chars().take(32).collect();
        let name = if name.is_empty() { "the arguments".to_owned() } else { format!("the argument {name}") };
        if ignored.len() < MAX_IGNORED && !ignored.contains(&name) {
            ignored.push(name);
        }
    };
    match value {
        Value::String(text) if is_prose(text) => ignore("<words>"),
        Value::String(text) if varied == Varied::Counters && is_number(text) => ignore("<number>"),
        Value::Number(_) if varied == Varied::Counters => ignore("<number>"),
        Value::String(text) => {
            let bare = masked(text, |clock| varied.has(clock), &mut Found::default());
            match bare == *text {
                true => out.push_str(&value.to_string()),
                false => ignore(&bare),
            }
        }
        Value::Array(parts) => {
            out.push('[');
            parts.iter().for_each(|part| strip(part, name, varied, out, ignored));
            out.push(']');
        }
        Value::Object(parts) => {
            out.push('{');
            for (name, part) in parts {
                out.push_str(name);
                out.push(':');
                strip(part, name, varied, out, ignored);
            }
            out.push('}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}

/// Whether a text among the arguments stays whatever is ignored: a path, a name, a command.
fn names_something(arguments: &Value) -> bool {
    match arguments {
        Value::String(text) => {
            let bare = || masked(text, |clock| Varied::Counters.has(clock), &mut Found::default());
            !text.is_empty() && !is_prose(text) && !is_number(text) && bare() == *text
        }
        Value::Array(parts) => parts.iter().any(names_something),
        Value::Object(parts) => parts.values().any(names_something),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Sentences, of any language: at least [`MIN_WORDS`], and three of four pieces between blanks are words.
fn is_prose(text: &str) -> bool {
    let (words, pieces) = words(text);
    words >= MIN_WORDS && words * 4 >= pieces * 3
}

/// Words and pieces between blanks. A sign of a script without blanks is a word.
fn words(text: &str) -> (usize, usize) {
    let head = &text[..text.floor_char_boundary(MAX_PARSED_BYTES)];
    let is_unspaced = |char: char| char >= '\u{e00}' && char.is_alphabetic();
    head.split_whitespace().fold((0, 0), |(words, pieces), piece| {
        let unspaced = piece.chars().filter(|&char| is_unspaced(char)).count();
        if unspaced > 1 {
            return (words + unspaced, pieces + unspaced);
        }
        let core = piece.trim_matches(|char: char| ",.;:!?\"'()…".contains(char));
        let is_word = !core.is_empty() && core.chars().all(|char| char.is_alphabetic() || "'’-".contains(char));
        (words + usize::from(is_word), pieces + 1)
    })
}

/// A text with one sign for each number.
fn numberless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_ascii_digit() {
            true if out.ends_with('#') => {}
            true => out.push('#'),
            false => out.push(char),
        }
    }
    out
}

fn joined(parts: impl IntoIterator<Item = String>) -> String {
    parts.into_iter().collect::<Vec<_>>().join(", ").chars().take(MAX_IGNORED_CHARS).collect()
}

/// Texts as one number: each after its length, so that none runs into the next.
pub(super) fn hash<'a>(texts: impl IntoIterator<Item = &'a str>) -> u64 {
    let hash = texts.into_iter().fold(fnv1a(&[]), |hash, text| {
        let hash = fnv1a_onto(hash, &(text.len() as u64).to_le_bytes());
        fnv1a_onto(hash, text.as_bytes())
    });
    hash & EXACT_IN_JSON
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alike(one: (&str, &str), other: (&str, &str)) -> bool {
        let [one, other] = [one, other].map(|(arguments, result)| of_call("tool", arguments, result));
        let are = |one: &Part, other: &Part| one.halves == other.halves;
        one.exact == other.exact || are(&one.timeless, &other.timeless) || are(&one.wordless, &other.wordless)
    }

    #[test]
    fn calls_are_alike_if_they_differ_in_clocks_words_and_counters() {
        let read = r#"{"path":"a.txt"}"#;
        for (one, other) in [
            // Keys and white space.
            ((read, r#"{"a":1,"b":[2, 3]}"#), (read, "{ \"b\": [2,3],\n \"a\": 1 }")),
            ((read, "one  two\n"), (read, " one\ttwo")),
            // Words.
            (
                (r#"{"path":"a.txt","reason":"I look once more, for the 3rd time"}"#, "x"),
                (r#"{"path":"a.txt","reason":"Let me be sure what is in it"}"#, "x"),
            ),
            (
                (r#"{"path":"a.txt","why":"我再看一次文件"}"#, "x"),
                (r#"{"path":"a.txt","why":"还要确认一下内容"}"#, "x"),
            ),
            (
                (r#"{"query":"how are prices rounded here","most":3}"#, &*"src/price.rs rounds. ".repeat(5)),
                (r#"{"query":"where does it round a price","most":3}"#, &*"src/price.rs rounds. ".repeat(5)),
            ),
            // Counters and identifiers.
            ((r#"{"path":"a.txt","try":1}"#, "x"), (r#"{"path":"a.txt","try":2}"#, "x")),
            ((r#"{"path":"a.txt","try":"1"}"#, "x"), (r#"{"path":"a.txt","try":"12"}"#, "x")),
            (
                (
                    r#"{"path":"a.txt","id":"9f1c22de-33ab-4e00-8c1d-0123456789ab"}"#,
                    "id 9f1c22de-33ab-4e00-8c1d-0123456789ab",
                ),
                (
                    r#"{"path":"a.txt","id":"0f1c22de-33ab-4e00-8c1d-0123456789ab"}"#,
                    "id 0f1c22de-33ab-4e00-8c1d-0123456789ab",
                ),
            ),
            // Clocks.
            ((read, "x at 20:13:04, in 12 ms"), (read, "x at 20:13:05, in 9 ms")),
            (
                (r#"{"path":"a.txt","reason":"I look once more at it"}"#, r#"{"x":1,"pid":4711}"#),
                (r#"{"path":"a.txt","reason":"Is it still as it was"}"#, r#"{"pid":4712,"x":1}"#),
            ),
        ] {
            assert!(alike(one, other), "{one:?} {other:?}");
        }
    }

    #[test]
    fn calls_are_not_alike_if_something_that_names_or_counts_differs() {
        let read = r#"{"path":"a.txt"}"#;
        for (one, other) in [
            // A number in a result is progress.
            ((read, "12 of 80 done"), (read, "13 of 80 done")),
            (
                (read, r#"{"done":12,"at":"2026-11-21T20:13:04Z"}"#),
                (read, r#"{"done":13,"at":"2026-11-21T20:13:05Z"}"#),
            ),
            // Another thing is asked for.
            ((read, "x"), (r#"{"path":"b.txt"}"#, "x")),
            ((r#"{"dir":"src","pattern":"fn a"}"#, "no matches"), (r#"{"dir":"src","pattern":"fn b"}"#, "no matches")),
            ((r#"{"path":"1.txt","text":"same"}"#, "written"), (r#"{"path":"2.txt","text":"same"}"#, "written")),
            ((r#"{"page":1}"#, "[]"), (r#"{"page":2}"#, "[]")),
            (
                (r#"{"text":"The first parcel is late","most":3}"#, "bad"),
                (r#"{"text":"The second parcel is late","most":3}"#, "bad"),
            ),
            ((r#"{"id":"9f1c22de33"}"#, "ok"), (r#"{"id":"9f1c22de34"}"#, "ok")),
            ((r#"{"service":"a","day":"2026-11-21"}"#, "0"), (r#"{"service":"a","day":"2026-11-22"}"#, "0")),
            ((r#"{"code":"x = f(1)"}"#, ""), (r#"{"code":"y = f(x)"}"#, "")),
            ((r#"{"command":"cargo test -p a --lib"}"#, ""), (r#"{"command":"cargo test -p b --lib"}"#, "")),
            // The parts of a log, which differ in their times.
            (
                (r#"{"path":"a.log","from":0}"#, "20:13:04 started"),
                (r#"{"path":"a.log","from":100}"#, "20:14:04 started"),
            ),
        ] {
            assert!(!alike(one, other), "{one:?} {other:?}");
        }
        let large = |time: &str| format!("{time} {}", "x".repeat(MAX_MASKED_BYTES - 9));
        assert!(alike((read, &large("20:13:04")), (read, &large("20:13:05"))));
        let larger = |time: &str| format!("{}y", large(time));
        assert!(!alike((read, &larger("20:13:04")), (read, &larger("20:13:05"))), "it counts as it is");
        let long = |number: usize| format!("{{\"path\":\"a\",\"n\":{number}{}}}", " ".repeat(MAX_PARSED_BYTES - 18));
        assert!(alike((&long(1), "x"), (&long(2), "x")));
        let longer = |number: usize| format!("{}\n", long(number));
        assert!(!alike((&longer(1), "x"), (&longer(2), "x")), "it is no JSON");
    }

    #[test]
    fn what_was_ignored_is_named_and_bounded() {
        let call = of_call("tool", r#"{"path":"a","reason":"so that I know it"}"#, "x at 20:13:04 after 3 s");
        assert_eq!(call.timeless.ignored, "the argument reason, a time in the result, a duration in the result");
        assert_eq!(call.wordless.ignored, "the argument reason");
        let name = "x".repeat(1_000);
        let many: String = (0..9).map(|number| format!("\"{number}{name}\":{number},")).collect();
        let call = of_call("tool", &format!("{{{many}\"path\":\"a\"}}"), "x");
        assert!(call.wordless.ignored.chars().count() <= MAX_IGNORED_CHARS, "{}", call.wordless.ignored);
    }

    #[test]
    fn no_number_that_is_kept_of_a_call_is_past_what_json_keeps() {
        for text in ["", "a", "look", "{\"path\":\"src\"}", &"x".repeat(1_000)] {
            assert!(hash([text, text]) < 1 << 53, "{text}");
        }
    }
}
