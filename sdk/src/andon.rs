//! The cord. Every guest has it, and no grant can withhold it.

pub use crate::bindings::worker::jidoka::agent::andon::Category;
use crate::denied::EvidenceId;
use crate::host;

/// Stops the line: this run ends as `halted`, and no other run of the line starts until a person cleared it.
///
/// Workspace, journal and budget are kept. A false stop costs minutes; pull when in doubt.
pub fn pull(category: Category, reason: &str, evidence: &[EvidenceId]) -> ! {
    host::andon::pull(category, reason, evidence);
    // The contract says that the call does not return. A host that breaks it must not have a guest that goes on.
    unreachable!("the host returned from andon.pull")
}
