//! Asking the host to look at the workspace. What counts as progress is the host's decision, by digest.

pub use crate::bindings::worker::jidoka::agent::progress::Standing;
use crate::denied::Denied;
use crate::host;

/// Asks the host to look at the workspace now.
///
/// `Err` with `refused`: the workspace is not granted, the note is too large, or it was called 1,000 times.
pub fn check_in(note: &str) -> Result<Standing, Denied> {
    host::progress::check_in(note)
}
