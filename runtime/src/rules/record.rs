//! `verdict.json`: what the host says of a run, for people and machines.
//!
//! Never: holds a clock reading beside the ledger's own lines, or anything that the worker could have forged: its report
//! stands under `report` and nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::ledger::{Amounts, Totals};
use super::progress::Mark;
use super::spec::{Grants, Wall};
use super::verdict::{CheckResult, Report, Verdict};

/// The version of `verdict.json`.
pub const RECORD_FORMAT: u32 = 1;

/// The record of one run. Fields stand in the order in which they are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub format: u32,
    pub serial: String,
    /// On whose account it was. None: the version that wrote it did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    pub line: String,
    pub item: String,
    /// 0 if nothing was admitted.
    pub attempt: u32,
    /// The verdict's name.
    pub verdict: String,
    /// The verdict's data; null if it has none.
    pub detail: serde_json::Value,
    /// Why, for a person.
    pub why: String,
    pub exit_code: u8,
    /// What the worker said. Evidence, nothing more.
    pub report: Option<Report>,
    pub marks: Vec<Mark>,
    pub evidence: Vec<Evidence>,
    pub gates: Vec<CheckResult>,
    pub changes: Vec<String>,
    /// Whether the changes were applied to the real directory.
    pub applied: bool,
    pub ledger: LedgerRecord,
    /// What this attempt spent or holds without an accepted result.
    pub waste: Amounts,
    pub capabilities: Capabilities,
    pub component: Option<Digest>,
    /// What stood between the guest and the host, beside its sandbox. None: the version that wrote it did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall: Option<Wall>,
    /// Calls that were asked again because a crash or a stop left them open: each may have been paid twice.
    pub repaid: u64,
    /// How often the run went on after a crash or a stop.
    pub resumptions: u32,
    /// Where the run's journal, evidence and tree are, below the host's directory.
    pub kept: String,
    pub host: String,
}

/// Evidence as the record shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub kind: String,
    pub name: String,
    pub id: Digest,
}

/// The ledger's totals by scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRecord {
    pub item: Totals,
    pub attempt: Totals,
}

/// What a run was allowed, and what it used of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    pub granted: Grants,
    /// Kinds of effects that passed the gate.
    pub used: BTreeSet<String>,
    /// Of these kinds, by name: the models, tools and children, and the sites on the web.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub named: BTreeMap<String, BTreeSet<String>>,
}

impl Record {
    /// The verdict that it was written with.
    pub fn verdict(&self) -> Verdict {
        let value = serde_json::json!({ "verdict": self.verdict, "detail": self.detail });
        let unit = serde_json::json!({ "verdict": self.verdict });
        serde_json::from_value(value)
            .or_else(|_| serde_json::from_value(unit))
            .unwrap_or_else(|_| Verdict::Fault { why: format!("no verdict is called {:?}", self.verdict) })
    }

    /// Why, with what the record knows and the verdict alone does not.
    fn why_of(&self, verdict: &Verdict) -> String {
        if let Verdict::Exhausted { scope, line } = verdict {
            let name = match scope.as_str() {
                "tenant" => self.tenant.as_deref(),
                "line" => Some(self.line.as_str()),
                "item" => Some(self.item.as_str()).filter(|item| *item != self.serial),
                _ => None,
            };
            return match name {
                Some(name) => format!("the limit on {} of {scope} {name} is used up", line.key()),
                None => verdict.why(),
            };
        }
        match self.gates.is_empty() {
            true if *verdict == Verdict::Accepted => "the host saw a new mark; the job has no checks".to_owned(),
            true if *verdict == Verdict::NoChangeNeeded => {
                "nothing changed, and the job allows that; it has no checks".to_owned()
            }
            true | false => verdict.why(),
        }
    }

    /// Fills in everything that follows from the verdict.
    pub fn judge(&mut self, verdict: &Verdict) {
        self.verdict = verdict.name().to_owned();
        self.exit_code = verdict.exit_code();
        self.why = self.why_of(verdict);
        self.detail = match serde_json::to_value(verdict) {
            Ok(serde_json::Value::Object(mut object)) => object.remove("detail").unwrap_or_default(),
            Ok(_) | Err(_) => serde_json::Value::Null,
        };
        self.waste = match verdict.exit_code() {
            0 => Amounts::default(),
            _ => self.ledger.attempt.spent.plus(&self.ledger.attempt.held),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Line;
    use super::*;

    /// As much of a record as its words are made of.
    fn record(gates: Vec<CheckResult>) -> Record {
        let value = serde_json::json!({
            "format": RECORD_FORMAT, "serial": "run", "tenant": "acme", "line": "pages", "item": "one", "attempt": 1,
            "verdict": "fault", "detail": null, "why": "", "exit_code": 70, "report": null, "marks": [], "evidence": [],
            "gates": gates, "changes": [], "applied": false, "ledger": LedgerRecord::default(), "waste": {},
            "capabilities": Capabilities::default(), "component": null, "wall": "none", "repaid": 0, "resumptions": 0,
            "kept": "", "host": "",
        });
        serde_json::from_value(value).expect("a record")
    }

    fn why(mut record: Record, verdict: &Verdict) -> String {
        record.judge(verdict);
        record.why
    }

    #[test]
    fn a_limit_that_is_used_up_is_named_as_the_operators_file_names_it() {
        for (scope, expected) in [
            ("tenant", "the limit on usd of tenant acme is used up"),
            ("line", "the limit on usd of line pages is used up"),
            ("item", "the limit on usd of item one is used up"),
            ("attempt", "the limit on usd of the attempt is used up"),
            ("host", "the limit on usd of the host is used up"),
        ] {
            let verdict = Verdict::Exhausted { scope: scope.to_owned(), line: Line::MicroUsd };
            assert_eq!(why(record(vec![]), &verdict), expected);
        }
    }

    #[test]
    fn a_run_without_checks_does_not_say_that_they_passed() {
        assert_eq!(why(record(vec![]), &Verdict::Accepted), "the host saw a new mark; the job has no checks");
        let end = super::super::verdict::CheckEnd::Passed { summary: "fine".into() };
        let checked = record(vec![CheckResult { name: "tests".into(), end }]);
        assert_eq!(why(checked, &Verdict::Accepted), "the host saw a new mark, and every check passed");
    }
}
