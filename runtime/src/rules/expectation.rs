//! What a regression test expects of a run: the verdict's name, and the parts of it that a rerun can meet.
//!
//! Never: runs anything. Numbers, digests and texts of a guest are no part of it, so that a worker may word things anew.

use serde::{Deserialize, Serialize};

use super::andon::{Category, Puller};
use super::line::Line;
use super::verdict::Verdict;

/// What is expected. A part that is not written is not compared, so a person may write less.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The verdict's name.
    pub verdict: String,
    /// Of `rejected`: the gate that said no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
    /// Of `constraint-violation`: what was broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Of `exhausted`: whose limit it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Of `exhausted`: on what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<Line>,
    /// Of `halted`: why the cord was pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
}

impl Expectation {
    /// All that is stable in a verdict.
    pub fn of(verdict: &Verdict) -> Self {
        let only = Self { verdict: verdict.name().to_owned(), ..Self::default() };
        match verdict {
            Verdict::Rejected { gate, .. } => Self { gate: Some(gate.clone()), ..only },
            Verdict::ConstraintViolation { rule, .. } => Self { rule: Some(rule.clone()), ..only },
            Verdict::Exhausted { scope, line } => Self { scope: Some(scope.clone()), line: Some(*line), ..only },
            Verdict::Halted { pull } => Self { category: Some(pull.category), ..only },
            Verdict::Accepted
            | Verdict::NoChangeNeeded
            | Verdict::Unable { .. }
            | Verdict::NeedsHuman { .. }
            | Verdict::NoProgress { .. }
            | Verdict::Trapped { .. }
            | Verdict::Unverifiable { .. }
            | Verdict::AttemptsExhausted { .. }
            | Verdict::NotAdmitted { .. }
            | Verdict::Diverged(_)
            | Verdict::Deferred { .. }
            | Verdict::Cancelled
            | Verdict::Lost
            | Verdict::Fault { .. } => only,
        }
    }

    /// Whether a verdict is as expected.
    pub fn is_met_by(&self, verdict: &Verdict) -> bool {
        fn fits<T: PartialEq>(expected: &Option<T>, got: &Option<T>) -> bool {
            expected.is_none() || expected == got
        }
        let got = Self::of(verdict);
        let Self { verdict, gate, rule, scope, line, category } = self;
        *verdict == got.verdict
            && fits(gate, &got.gate)
            && fits(rule, &got.rule)
            && fits(scope, &got.scope)
            && fits(line, &got.line)
            && fits(category, &got.category)
    }
}

impl std::fmt::Display for Expectation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { verdict, gate, rule, scope, line, category } = self;
        formatter.write_str(verdict)?;
        let parts = [
            gate.clone(),
            rule.clone(),
            scope.clone(),
            line.map(|line| line.name().to_owned()),
            category.map(|category| category.name().to_owned()),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { Ok(()) } else { write!(formatter, " ({})", parts.join(", ")) }
    }
}

/// Why no rerun of the worker alone can come to this verdict. `None`: it can.
pub fn unrepeatable(verdict: &Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Cancelled => Some("nobody gives a test up"),
        Verdict::Deferred { .. } => Some("what stood in the way has passed"),
        Verdict::Lost => Some("nobody kills a test"),
        Verdict::Fault { .. } => Some("the host failed, and not the worker"),
        Verdict::Halted { pull } => match pull.by {
            Puller::Operator => Some("nobody pulls the cord in a test"),
            Puller::Worker | Puller::Ledger | Puller::Host => None,
        },
        Verdict::AttemptsExhausted { .. } | Verdict::NotAdmitted { .. } => Some("nothing ran"),
        Verdict::Accepted
        | Verdict::NoChangeNeeded
        | Verdict::Rejected { .. }
        | Verdict::Unable { .. }
        | Verdict::NeedsHuman { .. }
        | Verdict::NoProgress { .. }
        | Verdict::Exhausted { .. }
        | Verdict::ConstraintViolation { .. }
        | Verdict::Trapped { .. }
        | Verdict::Unverifiable { .. }
        | Verdict::Diverged(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_meets_its_own_expectation_and_no_other() {
        let rejected =
            |gate: &str, finding: &str| Verdict::Rejected { gate: gate.into(), findings: vec![finding.into()] };
        let exhausted = |line| Verdict::Exhausted { scope: "attempt".into(), line };
        let expected = Expectation::of(&rejected("tests", "line 3"));
        assert!(expected.is_met_by(&rejected("tests", "line 4")), "findings are no part of it");
        assert!(!expected.is_met_by(&rejected("lint", "line 3")));
        assert!(!expected.is_met_by(&Verdict::Accepted));
        assert_eq!(expected.to_string(), "rejected (tests)");
        let expected = Expectation::of(&exhausted(Line::Tokens));
        assert!(expected.is_met_by(&exhausted(Line::Tokens)) && !expected.is_met_by(&exhausted(Line::WallMs)));
        assert_eq!(expected.to_string(), "exhausted (attempt, tokens)");
    }

    #[test]
    fn a_person_may_expect_less_and_no_word_that_nobody_knows() {
        let less: Expectation = serde_json::from_str(r#"{ "verdict": "exhausted", "line": "tokens" }"#).expect("reads");
        assert!(less.is_met_by(&Verdict::Exhausted { scope: "item".into(), line: Line::Tokens }));
        assert!(serde_json::from_str::<Expectation>(r#"{ "verdict": "accepted", "gat": "x" }"#).is_err());
    }
}
