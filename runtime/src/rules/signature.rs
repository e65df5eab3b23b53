//! The signature of a verdict: two runs that ended for the same cause have the same one.
//!
//! What differs from run to run without meaning anything is taken out of a cause first: numbers, hexadecimal digits,
//! identifiers, paths and quoted text. Never: decides what a repeated signature means. It is no digest to rely on against
//! somebody hostile: who chooses the text of a failure chooses its signature too, and can repeat or vary it at will.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::trap;
use super::verdict::Verdict;

/// Bytes of one text that are looked at. A guest chooses some of them, and a cause is told in fewer.
const MAX_TEXT_BYTES: usize = 4 << 10;

/// From so many digits on, hexadecimal ones without any of 0-9 among them are no word.
const MIN_HEX: usize = 8;

/// From so many characters on, letters with digits between them are an identifier.
const MIN_IDENTIFIER: usize = 8;

/// Digits of a signature as text.
const DIGITS: usize = 16;

const NUMBER: &str = "<n>";
const HEX: &str = "<hex>";
const IDENTIFIER: &str = "<id>";
const PATH: &str = "<path>";
const QUOTED: &str = "<text>";

/// What stands for a cause. Written, also by serde, as 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Signature(u64);

/// The text is no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a signature is {DIGITS} lower-case hexadecimal digits")]
pub struct SignatureError;

impl fmt::Display for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl From<Signature> for String {
    fn from(signature: Signature) -> Self {
        signature.to_string()
    }
}

impl FromStr for Signature {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let is_digit = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != DIGITS || !text.bytes().all(is_digit) {
            return Err(SignatureError);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| SignatureError)
    }
}

impl TryFrom<String> for Signature {
    type Error = SignatureError;

    fn try_from(text: String) -> Result<Self, SignatureError> {
        text.parse()
    }
}

/// The signature of a verdict.
pub fn of(verdict: &Verdict) -> Signature {
    Signature(fnv1a(cause(verdict).as_bytes()))
}

/// What a signature is made of: the verdict's name, then a line for each part of its cause.
pub fn cause(verdict: &Verdict) -> String {
    let mut lines = vec![verdict.name().to_owned()];
    match verdict {
        Verdict::Accepted
        | Verdict::NoChangeNeeded
        | Verdict::Cancelled
        | Verdict::Lost
        | Verdict::Deferred { .. }
        | Verdict::AttemptsExhausted { .. } => {}
        Verdict::Rejected { gate, findings } => {
            lines.push(gate.clone());
            lines.extend(distinct(findings));
        }
        Verdict::Unable { why }
        | Verdict::NeedsHuman { why }
        | Verdict::NoProgress { why }
        | Verdict::Unverifiable { why }
        | Verdict::Fault { why } => lines.push(normalised(why)),
        Verdict::Trapped { why } => {
            let (what, place, function) = trap::cause(why);
            lines.push(normalised(what));
            // As it is: two places with the same words are two bugs.
            lines.extend(place);
            lines.extend(function.map(normalised));
        }
        Verdict::Exhausted { scope, line } => lines.extend([normalised(scope), line.name().to_owned()]),
        Verdict::Halted { pull } => {
            lines.extend([pull.by.name().to_owned(), pull.category.name().to_owned(), normalised(&pull.reason)]);
        }
        // Which paths is no part of the cause: they would all be one placeholder.
        Verdict::ConstraintViolation { rule, .. } => lines.push(normalised(rule)),
        Verdict::NotAdmitted { why } => lines.extend(distinct(why)),
        Verdict::Diverged(divergence) => lines.extend([
            divergence.kind.name().to_owned(),
            normalised(&divergence.expected),
            normalised(&divergence.got),
        ]),
    }
    lines.join("\n")
}

/// Each once and in one order: what a check finds comes in any.
fn distinct(texts: &[String]) -> BTreeSet<String> {
    texts.iter().map(|text| normalised(text)).filter(|text| !text.is_empty()).collect()
}

/// A text without what differs from run to run, on one line.
pub fn normalised(text: &str) -> String {
    let head = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
    let unquoted = without_quotes(head);
    let words: Vec<String> = unquoted.split_whitespace().map(word).collect();
    words.join(" ")
}

/// Quoted text as one placeholder. An apostrophe within a word and a quote that is never closed are no quotes.
fn without_quotes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        let after = &rest[char.len_utf8()..];
        match closing(char).filter(|_| !before.is_alphanumeric()).and_then(|close| end_of_quote(after, close)) {
            Some(end) => {
                out.push_str(QUOTED);
                before = '"';
                rest = &after[end..];
            }
            None => {
                out.push(char);
                before = char;
                rest = after;
            }
        }
    }
    out
}

fn closing(open: char) -> Option<char> {
    Some(match open {
        '"' | '`' | '\'' => open,
        '“' => '”',
        '‘' => '’',
        '«' => '»',
        _ => return None,
    })
}

/// Where the text after an opening quote goes on behind its closing one.
fn end_of_quote(text: &str, close: char) -> Option<usize> {
    let mut escaped = false;
    for (at, char) in text.char_indices() {
        if escaped {
            escaped = false;
            continue;
        }
        match char {
            '\\' => escaped = true,
            _ if char == close => {
                let end = at + char.len_utf8();
                // `'twas the worker's` has no quote that closes.
                let within = text[end..].chars().next().is_some_and(char::is_alphanumeric);
                if !within {
                    return Some(end);
                }
            }
            _ => {}
        }
    }
    None
}

/// One word, with the punctuation around it as it is.
fn word(word: &str) -> String {
    let is_edge = |char: char| !char.is_alphanumeric() && !matches!(char, '/' | '\\' | '.' | '~');
    let core = word.trim_start_matches(is_edge);
    let (front, core) = (&word[..word.len() - core.len()], core.trim_end_matches(|char| is_edge(char) || char == '.'));
    let back = &word[front.len() + core.len()..];
    format!("{front}{}{back}", inner(core))
}

fn inner(core: &str) -> String {
    if core.contains(['/', '\\']) && core.contains(char::is_alphabetic) {
        return PATH.to_owned();
    }
    if is_serial(core) {
        return IDENTIFIER.to_owned();
    }
    let dashed_hex = |char: char| char.is_ascii_hexdigit() || char == '-';
    if core.len() >= 2 * MIN_HEX && core.chars().all(dashed_hex) && core.contains(|char: char| char.is_ascii_digit()) {
        return HEX.to_owned();
    }
    let mut out = String::with_capacity(core.len());
    let mut rest = core;
    while let Some(first) = rest.chars().next() {
        let within = first.is_alphanumeric();
        let end = rest.find(|char: char| char.is_alphanumeric() != within).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        match within {
            true => out.push_str(&letters(run)),
            false => out.push_str(run),
        }
        rest = after;
    }
    for between in [".", ","] {
        let (parted, whole) = (format!("{NUMBER}{between}{NUMBER}"), NUMBER);
        while out.contains(&parted) {
            out = out.replace(&parted, whole);
        }
    }
    out
}

/// The serial number of a run, or the name of one of its calls.
fn is_serial(core: &str) -> bool {
    let is_part = |part: Option<&str>, letters: usize| {
        let is_digit = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
        part.is_some_and(|part| part.len() == letters && part.bytes().all(is_digit))
    };
    let mut parts = core.split('-');
    is_part(parts.next(), 10) && is_part(parts.next(), 6) && core.contains(|char: char| char.is_ascii_digit())
}

/// A run of letters and digits.
fn letters(run: &str) -> String {
    let digits = run.chars().filter(char::is_ascii_digit).count();
    let chars = run.chars().count();
    if digits == chars {
        return NUMBER.to_owned();
    }
    let is_hex = |text: &str| !text.is_empty() && text.chars().all(|char| char.is_ascii_hexdigit());
    let prefixed = run.strip_prefix("0x").is_some_and(is_hex);
    // A digit tells a short one from a word such as `face`.
    if prefixed || (is_hex(run) && (chars >= MIN_HEX || (digits > 0 && chars >= MIN_HEX / 2))) {
        return HEX.to_owned();
    }
    if chars >= MIN_IDENTIFIER && digits > 1 {
        return IDENTIFIER.to_owned();
    }
    let mut out = String::with_capacity(run.len());
    let mut in_number = false;
    for char in run.chars() {
        let is_digit = char.is_ascii_digit();
        match (is_digit, in_number) {
            (true, true) => {}
            (true, false) => out.push_str(NUMBER),
            (false, _) => out.push(char),
        }
        in_number = is_digit;
    }
    out
}

/// [FNV-1a](https://datatracker.ietf.org/doc/html/rfc9923) with 64 bits: the same in every version of this host.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    fnv1a_onto(0xcbf2_9ce4_8422_2325, bytes)
}

/// The same, of bytes that follow others.
pub(super) fn fnv1a_onto(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::andon::{Category, Pull, Puller};
    use crate::rules::line::Line;

    fn rejected(findings: &[&str]) -> Verdict {
        let findings = findings.iter().map(|&finding| finding.to_owned()).collect();
        Verdict::Rejected { gate: "tests".into(), findings }
    }

    fn halted(category: Category, reason: &str) -> Verdict {
        Verdict::Halted { pull: Pull { by: Puller::Worker, category, reason: reason.into(), evidence: vec![] } }
    }

    #[test]
    fn what_differs_from_run_to_run_is_taken_out() {
        for (text, expected) in [
            ("took 12 ms and 1,234.5 s", "took <n> ms and <n> s"),
            ("after 50ms, line 3", "after <n>ms, line <n>"),
            ("no such file: /tmp/a/b.txt", "no such file: <path>"),
            ("src/main.rs:12:5: expected", "<path>: expected"),
            ("at C:\\work\\a.rs (again)", "at <path> (again)"),
            ("3 of 5 passed, 2/5 failed.", "<n> of <n> passed, <n>/<n> failed."),
            ("tool \"read_file\" says 'no such' `thing`", "tool <text> says <text> <text>"),
            (r#"{"a \"quoted\" name"}"#, "{<text>}"),
            ("it doesn't know the worker's name", "it doesn't know the worker's name"),
            ("an \"unclosed one", "an \"unclosed one"),
            ("blake3:297719c7fcbc and 0xff01 and deadbeef", "blake<n>:<hex> and <hex> and <hex>"),
            ("a face of 7 words", "a face of <n> words"),
            ("id 9f1c22de-33ab-4e00-8c1d-0123456789ab!", "id <hex>!"),
            ("run 01m7yrddxh-f0yzp7 and call 01m7z68hfe-40bawa-meter", "run <id> and call <id>"),
            ("function core::run::h3f2a9c77aa01bb99", "function core::run::<id>"),
            (" many\n\tspaces  ", "many spaces"),
            ("", ""),
        ] {
            assert_eq!(normalised(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_and_never_inside_a_character() {
        let long = format!("{}é and more", "x".repeat(MAX_TEXT_BYTES - 1));
        assert_eq!(normalised(&long).len(), MAX_TEXT_BYTES - 1);
    }

    #[test]
    fn a_cause_that_comes_again_has_the_same_signature() {
        let one = rejected(&["case 1 failed in /tmp/a/x: 4 is not 5", "total \"a\" is wrong"]);
        let other =
            rejected(&["total \"b\" is wrong", "case 7 failed in /tmp/b/y: 0 is not 1", "total \"c\" is wrong"]);
        assert_eq!(of(&one), of(&other));
        assert_eq!(cause(&one), "rejected\ntests\ncase <n> failed in <path>: <n> is not <n>\ntotal <text> is wrong");
    }

    #[test]
    fn two_panics_are_two_causes_and_one_in_another_run_or_another_build_is_the_same() {
        let trapped = |why: &str| of(&Verdict::Trapped { why: why.into() });
        let one =
            trapped("panicked at other/build/src/lib.rs:10:5: index 5 is past 3\n  at fixer::pick\n  at fixer::run");
        assert_eq!(one, trapped("panicked at src/lib.rs:10:5: index 9 is past 4\n  at fixer::pick"));
        for other in [
            "panicked at src/lib.rs:11:5: index 5 is past 3\n  at fixer::pick",
            "panicked at src/main.rs:10:5: index 5 is past 3\n  at fixer::pick",
            "panicked at src/lib.rs:10:5: no price\n  at fixer::pick",
            "panicked at src/lib.rs:10:5: index 5 is past 3\n  at fixer::run",
        ] {
            assert_ne!(one, trapped(other), "{other}");
        }
    }

    #[test]
    fn another_verdict_gate_line_or_category_is_another_cause() {
        let exhausted = |line| Verdict::Exhausted { scope: "attempt".into(), line };
        let why = || "the same words".to_owned();
        let all = [
            Verdict::Accepted,
            Verdict::NoChangeNeeded,
            rejected(&["it is wrong"]),
            Verdict::Rejected { gate: "evidence".into(), findings: vec!["it is wrong".into()] },
            Verdict::Unable { why: why() },
            Verdict::NeedsHuman { why: why() },
            Verdict::NoProgress { why: why() },
            Verdict::Trapped { why: why() },
            Verdict::Unverifiable { why: why() },
            Verdict::Fault { why: why() },
            exhausted(Line::Tokens),
            exhausted(Line::WallMs),
            halted(Category::Defect, "the same words"),
            halted(Category::UnsafeRequest, "the same words"),
            Verdict::ConstraintViolation { rule: why(), paths: vec!["a".into()] },
            Verdict::AttemptsExhausted { attempts: 3, max: 3 },
            Verdict::NotAdmitted { why: vec![why()] },
            Verdict::Cancelled,
            Verdict::Deferred { why: why(), retry_at_ms: 5 },
            Verdict::Lost,
        ];
        let signatures: BTreeSet<Signature> = all.iter().map(of).collect();
        assert_eq!(signatures.len(), all.len());
        let other = Verdict::ConstraintViolation { rule: why(), paths: vec!["b".into(), "c".into()] };
        assert!(signatures.contains(&of(&other)), "paths are no part of it");
        assert!(signatures.contains(&of(&Verdict::AttemptsExhausted { attempts: 5, max: 4 })));
    }

    #[test]
    fn a_signature_has_one_spelling_and_is_the_same_in_every_version() {
        let signature = of(&Verdict::Cancelled);
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(signature.to_string().parse(), Ok(signature));
        let json = serde_json::to_string(&signature).expect("writes");
        assert_eq!(json, format!("\"{signature}\""));
        assert_eq!(serde_json::from_str::<Signature>(&json).expect("reads"), signature);
        for wrong in ["", "0123", "0123456789ABCDEF", "+123456789abcdef", "0123456789abcdef0"] {
            assert_eq!(wrong.parse::<Signature>(), Err(SignatureError), "{wrong}");
        }
    }
}
