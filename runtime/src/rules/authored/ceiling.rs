//! A ceiling of the operator's: a job or a command line that says more does not load.
//!
//! Never: narrows what somebody wrote. A default that nobody wrote is cut down to the ceiling by those who read it, and
//! noted as the operator's.

use std::ops::Range;

use super::amount::Amount;
use super::kinds::Kind;
use super::mistake::Mistake;

/// A ceiling by its section of the operator's file and its key in there.
pub(super) struct Ceiling {
    pub section: &'static str,
    pub name: &'static str,
}

/// A value for a person, and as it is written into a file.
pub(super) struct Shown {
    pub text: String,
    pub written: String,
}

impl Shown {
    /// One of a few words.
    pub(super) fn word(word: String) -> Self {
        Self { written: format!("{word:?}"), text: word }
    }

    /// An amount with its unit.
    pub(super) fn amount(kind: &Amount, amount: u64) -> Self {
        Self { text: kind.show(&amount), written: kind.written(amount) }
    }
}

/// Something that is above its ceiling.
pub(super) struct Excess<'a> {
    /// The whole key in the job, for example `budget.wall`.
    pub key: &'a str,
    /// `None`: the command line says it.
    pub span: Option<Range<usize>>,
    pub asked: Shown,
    pub most: Shown,
    pub ceiling: Ceiling,
    /// The section where a value within the ceiling would be written, if it is another one.
    pub instead: Option<&'static str>,
}

impl Excess<'_> {
    /// What is told to a person.
    pub(super) fn mistake(self) -> Mistake {
        let Self { key, span, asked, most, ceiling: Ceiling { section, name: theirs }, instead } = self;
        let write = instead.map_or("write".to_owned(), |section| format!("write in [{section}]"));
        let (_, name) = key.rsplit_once('.').unwrap_or(("", key));
        let subject = if span.is_some() { format!("`{key}`") } else { format!("--{name}-time") };
        Mistake {
            span,
            message: format!("{subject} is {}, and the operator allows {}", asked.text, most.text),
            label: format!("above the operator's `{section}.{theirs}`"),
            help: format!(
                "allowed: at most {}\n\
                 {write}: {name} = {}, or in [{section}] of the operator's file: {theirs} = {}",
                most.text, most.written, asked.written
            ),
        }
    }
}
