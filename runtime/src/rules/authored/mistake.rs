//! A mistake in a file that a person wrote: where, what, what is allowed, and the line to write instead.
//!
//! Never: prints, colours, wraps. The front end does that, from these parts.

use std::ops::Range;

use thiserror::Error;

/// One mistake of a file or of the command line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Mistake {
    /// Bytes of the text that it is about. `None`: it is about the command line.
    pub span: Option<Range<usize>>,
    /// What is wrong, with the whole name of the key.
    pub message: String,
    /// A few words for the place that the span shows.
    pub label: String,
    /// What is allowed, then the line to write.
    pub help: String,
}

impl Mistake {
    /// A mistake of the command line: what is allowed, and what to write instead.
    pub fn of_flag(message: String, allowed: String, write: &str) -> Self {
        let help = format!("allowed: {allowed}\nwrite: {write}");
        Self { span: None, message, label: String::new(), help }
    }
}

/// In the order of the text; what is about the command line comes last.
pub(super) fn sorted(mut mistakes: Vec<Mistake>) -> Vec<Mistake> {
    mistakes.sort_by_key(|mistake| match &mistake.span {
        Some(span) => (false, span.start, span.end),
        None => (true, 0, 0),
    });
    mistakes
}

/// What may be chosen from, for a help.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The known name that an unknown one was probably meant to be.
pub(super) fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may be wrong: more than that is another word.
    let most = (unknown.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|known| (distance(unknown, known), known))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Levenshtein: letters to insert, delete or replace.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (deleted, from) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = deleted + 1;
        for (column, to) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word_and_another_word_finds_none() {
        let known = ["max-output", "model-calls", "tokens", "tokens-in", "usd", "wall"];
        for (unknown, expected) in [
            ("max_output", Some("max-output")),
            ("token", Some("tokens")),
            ("tokens-inn", Some("tokens-in")),
            ("walls", Some("wall")),
            ("USD", None),
            ("memory", None),
            ("", None),
        ] {
            assert_eq!(nearest(unknown, known), expected, "{unknown}");
        }
    }

    #[test]
    fn distances_count_letters() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("ä", "a"), 1);
    }
}
