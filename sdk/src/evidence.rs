//! Things that a worker shows for its claims. A claim without evidence is not a claim.

use crate::denied::{Denied, EvidenceId};
use crate::host;

/// Stores bytes by content address, outside the workspace, and returns the address for the report.
///
/// `Err` with `refused`: `disk-bytes` is short, or `kind`, `name`, the bytes or their number are past their cap.
pub fn attach(kind: &str, name: &str, bytes: impl AsRef<[u8]>) -> Result<EvidenceId, Denied> {
    host::evidence::attach(kind, name, bytes.as_ref())
}
