//! `verdict.json`: what the host says of a run, for people and machines.
//!
//! Never: holds a clock reading beside the ledger's own lines, or anything that the worker could have forged: its report
//! stands under `report` and nowhere else.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::ledger::{Amounts, Totals};
use super::progress::Mark;
use super::spec::Grants;
use super::verdict::{CheckResult, Report, Verdict};

/// The version of `verdict.json`.
pub const RECORD_FORMAT: u32 = 1;

/// The record of one run. Fields stand in the order in which they are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub format: u32,
    pub serial: String,
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

    /// Fills in everything that follows from the verdict.
    pub fn judge(&mut self, verdict: &Verdict) {
        self.verdict = verdict.name().to_owned();
        self.exit_code = verdict.exit_code();
        self.why = verdict.why();
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
