//! A call in the ledger: `reserved -> dispatched -> settled`, or `reserved -> released`, or `dispatched -> held`, and a
//! held one is settled late or written off.
//!
//! Never: goes back, expires. Invariant here: L5 (a call is settled at most once, by its id).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::line::Amounts;
use super::scope::ScopeId;

/// A call by its id, for example `01m7yrddxh-f0yzp7-3`: the run's serial and the call's number in the run's journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(Arc<str>);

impl CallId {
    /// The call of this id.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for CallId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallState {
    /// Counted, and nothing was sent.
    Reserved,
    /// It may have been sent.
    Dispatched,
    /// It may have been sent, and nobody who would know waits for it any more.
    Held,
    /// What it cost is booked.
    Settled,
    /// It was never sent, and costs nothing.
    Released,
    /// A person said what it cost.
    WrittenOff,
}

impl CallState {
    /// The state's word on the screen and in the store.
    pub fn name(self) -> &'static str {
        match self {
            CallState::Reserved => "reserved",
            CallState::Dispatched => "dispatched",
            CallState::Held => "held",
            CallState::Settled => "settled",
            CallState::Released => "released",
            CallState::WrittenOff => "written-off",
        }
    }

    /// Whether something of it is still counted beside what it has spent.
    pub fn is_open(self) -> bool {
        match self {
            CallState::Reserved | CallState::Dispatched | CallState::Held => true,
            CallState::Settled | CallState::Released | CallState::WrittenOff => false,
        }
    }
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    pub scope: ScopeId,
    pub state: CallState,
    /// What is reserved for it, or held.
    #[serde(default, skip_serializing_if = "Amounts::is_nothing")]
    pub reserved: Amounts,
    /// What it cost so far.
    #[serde(default, skip_serializing_if = "Amounts::is_nothing")]
    pub spent: Amounts,
    /// Milliseconds since 1970-01-01T00:00:00Z; 0 before it was dispatched.
    pub dispatched_ms: u64,
}
