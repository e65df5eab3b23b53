//! Questions to a person: what a worker asked, until when an answer counts, and what it was.
//!
//! Never: takes silence for consent. Invariant here: a question is answered once, within its time, with one of its options.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How bad a wrong answer would be, as the worker says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    #[default]
    Low,
    Medium,
    High,
}

impl Risk {
    /// The risk's name in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Risk::Low => "low",
            Risk::Medium => "medium",
            Risk::High => "high",
        }
    }
}

/// A question by its run and call. The same in every resumption of the run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuestionId {
    pub run: Arc<str>,
    pub call: u64,
}

impl fmt::Display for QuestionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run, self.call)
    }
}

impl FromStr for QuestionId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (run, call) = text.split_once('/').ok_or(())?;
        Ok(Self { run: run.into(), call: call.parse().map_err(|_| ())? })
    }
}

/// What a worker asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    pub question: String,
    pub options: Vec<String>,
    pub risk: Risk,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub asked_ms: u64,
    /// An answer counts before this. Milliseconds since 1970-01-01T00:00:00Z.
    pub until_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// What a person said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Index into the options.
    pub choice: u32,
    pub note: String,
    pub by: String,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub at_ms: u64,
}

/// Where a question stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing<'a> {
    /// It waits for a person.
    Open,
    Answered(&'a Decision),
    /// Nobody answered in time: that is a no.
    Lapsed,
}

/// Why an answer does not count. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AnswerError {
    #[error("it was answered already")]
    Answered,
    #[error("its time is over, which counts as a no")]
    Lapsed,
    #[error("it has {options} options, counted from 1, and {choice} is none of them")]
    NoOption { choice: u64, options: usize },
}

impl Question {
    /// Where it stands.
    pub fn standing(&self, now_ms: u64) -> Standing<'_> {
        match &self.decision {
            Some(decision) => Standing::Answered(decision),
            None if now_ms >= self.until_ms => Standing::Lapsed,
            None => Standing::Open,
        }
    }

    /// Answers it.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn answer(&mut self, decision: Decision) -> Result<(), AnswerError> {
        match self.standing(decision.at_ms) {
            Standing::Answered(_) => return Err(AnswerError::Answered),
            Standing::Lapsed => return Err(AnswerError::Lapsed),
            Standing::Open => {}
        }
        if decision.choice as usize >= self.options.len() {
            let choice = u64::from(decision.choice) + 1;
            return Err(AnswerError::NoOption { choice, options: self.options.len() });
        }
        self.decision = Some(decision);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        let options = vec!["yes".to_owned(), "no".to_owned()];
        Question { question: "?".into(), options, risk: Risk::High, asked_ms: 10, until_ms: 20, decision: None }
    }

    fn decision(choice: u32, at_ms: u64) -> Decision {
        Decision { choice, note: String::new(), by: "ada".into(), at_ms }
    }

    #[test]
    fn an_answer_counts_until_its_time_is_over_and_silence_is_no_consent() {
        let mut last = question();
        assert_eq!(last.answer(decision(1, 19)), Ok(()));
        assert!(matches!(last.standing(99), Standing::Answered(decision) if decision.choice == 1));
        assert_eq!(last.answer(decision(0, 19)), Err(AnswerError::Answered));
        let mut late = question();
        assert_eq!((late.standing(19), late.standing(20)), (Standing::Open, Standing::Lapsed));
        assert_eq!(late.answer(decision(0, 20)), Err(AnswerError::Lapsed));
    }

    #[test]
    fn the_last_option_is_one_and_the_next_is_none() {
        let refused = question().answer(decision(2, 11));
        assert_eq!(refused, Err(AnswerError::NoOption { choice: 3, options: 2 }));
    }

    #[test]
    fn a_question_is_found_again_by_its_text() {
        let id = QuestionId { run: "01m-x".into(), call: 7 };
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("x".parse::<QuestionId>(), Err(()));
    }
}
