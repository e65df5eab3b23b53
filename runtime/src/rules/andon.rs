//! Pulls: who stopped a run, and why. The categories are closed.
//!
//! Never: stops anything itself (the cord does), clears anything (only a person does).

use serde::{Deserialize, Serialize};

/// Bytes of a pull's reason that are kept. A guest chooses the text; more than a paragraph is evidence, not a reason.
pub const MAX_REASON_BYTES: usize = 4 << 10;

/// Evidence addresses that are kept of one pull.
pub const MAX_PULL_EVIDENCE: usize = 32;

/// Characters of an evidence address that are kept: a real one has 71, and whatever is cut is not one.
pub const MAX_ADDRESS_CHARS: usize = 80;

/// Who pulled the cord.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Puller {
    Worker,
    Ledger,
    Host,
    Operator,
}

impl Puller {
    /// The puller's name in the journal and on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Puller::Worker => "worker",
            Puller::Ledger => "ledger",
            Puller::Host => "host",
            Puller::Operator => "operator",
        }
    }
}

/// Why the cord was pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    Defect,
    SystemicRisk,
    UnsafeRequest,
    MissingCapability,
    AmbiguousSpec,
    MeterOverrun,
    JournalCorrupt,
    CapabilityViolation,
    RepeatFailure,
    NoProgressCluster,
    HookTimeout,
    Divergence,
    VerifierConflict,
    Operator,
}

impl Category {
    /// The category's name in the contract, the journal and on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Category::Defect => "defect",
            Category::SystemicRisk => "systemic-risk",
            Category::UnsafeRequest => "unsafe-request",
            Category::MissingCapability => "missing-capability",
            Category::AmbiguousSpec => "ambiguous-spec",
            Category::MeterOverrun => "meter-overrun",
            Category::JournalCorrupt => "journal-corrupt",
            Category::CapabilityViolation => "capability-violation",
            Category::RepeatFailure => "repeat-failure",
            Category::NoProgressCluster => "no-progress-cluster",
            Category::HookTimeout => "hook-timeout",
            Category::Divergence => "divergence",
            Category::VerifierConflict => "verifier-conflict",
            Category::Operator => "operator",
        }
    }
}

/// One pull of the cord.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    pub by: Puller,
    pub category: Category,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
}

impl Pull {
    /// A pull by a guest: the reason and the evidence are cut to their caps, because a guest chose them.
    pub fn by_worker(category: Category, reason: &str, evidence: Vec<String>) -> Self {
        let mut end = reason.len().min(MAX_REASON_BYTES);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        Self {
            by: Puller::Worker,
            category,
            reason: reason[..end].to_owned(),
            evidence: evidence.iter().take(MAX_PULL_EVIDENCE).map(|id| cut_address(id)).collect(),
        }
    }
}

/// An address that a guest gave, cut: it stays unknown if it was longer than any real one.
pub fn cut_address(id: &str) -> String {
    id.chars().take(MAX_ADDRESS_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_at_its_cap_and_never_inside_a_character() {
        let exact = "x".repeat(MAX_REASON_BYTES);
        assert_eq!(Pull::by_worker(Category::Defect, &exact, vec![]).reason.len(), MAX_REASON_BYTES);
        let over = format!("{}é", "x".repeat(MAX_REASON_BYTES - 1));
        assert_eq!(Pull::by_worker(Category::Defect, &over, vec![]).reason.len(), MAX_REASON_BYTES - 1);
    }
}
