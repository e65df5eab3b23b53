//! What is left to spend. Reading only: a worker can neither raise a limit nor report its own usage.

pub use crate::bindings::worker::jidoka::agent::budget::LineLeft;
use crate::denied::Line;
use crate::host;

/// What is left on each budget line that the job bounds.
pub fn left() -> Vec<LineLeft> {
    host::budget::left()
}

/// What is left on one budget line, in its unit. `None` if the job does not bound it.
pub fn left_of(line: Line) -> Option<u64> {
    left().into_iter().find(|entry| entry.line == line).map(|entry| entry.left)
}
