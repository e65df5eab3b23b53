//! What an operator does to the ledger by hand: each act has a reason, and is kept for ever.
//!
//! Never: is reached by a guest. Invariant here: L6 (nothing inside a run widens, clears or reports).

use serde::{Deserialize, Serialize};

use super::item::State;
use super::ledger::{Amounts, CallId, Denial, Ledger, ScopeId};

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "act")]
pub enum Deed {
    /// A limit was raised.
    TopUp { scope: ScopeId, amounts: Amounts },
    /// A held call was ended with what it cost, as far as a person knows.
    WriteOff { call: CallId, held: Amounts, spent: Amounts },
    /// A line goes on.
    ClearLine {
        line: ScopeId,
        lock: u64,
        /// How often it was pulled.
        pulls: u64,
        /// What is other from now on; none, if nothing is, which a person has to say.
        policy_change: Option<String>,
    },
    /// An item may be tried again.
    Revive { item: ScopeId, was: State },
    /// An item is given up.
    Abandon { item: ScopeId, was: State },
    /// A question was answered.
    Answer { run: String, call: u64, question: String, answer: String },
    /// The host's clock was believed although it is behind what the store had seen.
    AcceptClock,
}

/// What was done, by whom, when and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub at_ms: u64,
    pub by: String,
    pub reason: String,
    pub deed: Deed,
}

/// Raises limits of a scope; all of them, or none.
///
/// # Errors
/// As [`Ledger::top_up`].
pub fn top_up(ledger: &mut Ledger, scope: &ScopeId, amounts: &Amounts, now_ms: u64) -> Result<Deed, Denial> {
    ledger.top_up(scope, amounts, now_ms)?;
    Ok(Deed::TopUp { scope: scope.clone(), amounts: *amounts })
}

/// Ends a held call.
///
/// # Errors
/// [`Denial::NotOpen`]: it is not held.
pub fn write_off(ledger: &mut Ledger, call: &CallId, spent: &Amounts, now_ms: u64) -> Result<Deed, Denial> {
    let held = ledger.find(call).map(|call| call.reserved).unwrap_or_default();
    ledger.write_off(call, spent, now_ms)?;
    Ok(Deed::WriteOff { call: call.clone(), held, spent: *spent })
}
