//! Why changes were not applied, or an apply not ended.
//!
//! Never: decides what becomes of a run. Paths are relative to the real directory.

use std::io;

use thiserror::Error;

use super::MAX_SERIAL_BYTES;
use super::staging::MAX_PLAN_BYTES;
use crate::doors::walk::ScanError;

/// Why changes were not applied. Unless a variant says otherwise, the real directory is as it was. Paths are relative
/// to it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ApplyError {
    #[error("apply to the real directory: {} paths changed there since the run began, the first is {:?}", paths.len(),
        paths.first().map_or("", String::as_str))]
    BaseMoved { paths: Vec<String> },
    #[error("apply to the real directory: it was moved, replaced or removed since the run began; put it back")]
    Elsewhere,
    #[error("apply to {path:?}: a file, a link or ignored files are there, which are not among the deliverables")]
    Blocked { path: String },
    #[error("apply to {path:?}: no run may change a `.git` or an apply's own staging")]
    Reserved { path: String },
    #[error(
        "apply to the real directory: entries of {path:?} may not be changed by this user: make it writable, or leave it \
        out of `[done] tree`"
    )]
    ReadOnly { path: String },
    #[error("apply to the real directory: {path:?} is on another mount, where a change cannot be made atomically")]
    OtherMount { path: String },
    #[error("apply to the real directory: another apply or recovery is at work there")]
    Busy,
    #[error(
        "apply to the real directory: {staging:?} is left from an apply that was interrupted; the next run there ends it"
    )]
    Unrecovered { staging: String },
    #[error("apply the changes of {serial:?}: a serial has 1 to {MAX_SERIAL_BYTES} ASCII letters, digits, `-` or `_`")]
    Serial { serial: String },
    #[error("apply {path:?}: the worker's tree is not what was scanned")]
    WorkerTree { path: String },
    #[error("apply the changes: their plan has {bytes} bytes, more than the {MAX_PLAN_BYTES} allowed")]
    PlanTooLong { bytes: u64 },
    #[error("scan the real directory")]
    Real(#[source] ScanError),
    #[error("stage {path:?}")]
    Stage { path: String, source: io::Error },
    /// A person was at this path while the changes were made. What could not be put back is named.
    #[error("apply to {path:?}: it changed while the changes were made; they are taken back{}", kept_at(kept))]
    Met { path: String, kept: Vec<String> },
    #[error("apply to {path:?}; the changes are taken back{}", kept_at(kept))]
    Step { path: String, kept: Vec<String>, source: io::Error },
    /// A plan is committed, forward or back, and some of it may be done: [`super::recover`] does the rest.
    #[error("end the apply in {staging:?} at {path:?}; the next run there goes on with it, once that can be done")]
    Unfinished { staging: String, path: String, source: io::Error },
    /// Somebody else wrote this plan, or another version did. Nothing was done by this call.
    #[error("recover {staging:?}: its plan cannot be obeyed, because {reason}; if it is not ours, remove {staging:?}")]
    BadPlan { staging: String, reason: String },
    #[error("recover {staging:?} at {path:?}")]
    Recover { staging: String, path: String, source: io::Error },
    #[cfg(test)]
    #[error("go on: a test stopped it, as kill -9 would")]
    Killed,
}

pub(super) fn kept_at(kept: &[String]) -> String {
    match kept {
        [] => String::new(),
        kept => format!("; what a person wrote and could not be put back is kept as {}", kept.join(", ")),
    }
}
