//! Whether a ledger holds what it promises, and agrees with its calls.
//!
//! Never: mends anything. What is found here is a bug of ours, or somebody else changed the store.

use super::super::scope::upward;
use super::{Amounts, CallState, Entry, Ledger, Line, Node, Place, ScopeId};

impl Ledger {
    /// Whether the scope and everything around it hold what was promised: with no limit lowered, no scope has committed
    /// more than its limits and what was overrun.
    ///
    /// # Errors
    /// A sentence: this is a bug of ours.
    pub fn check_promises(&self, id: &ScopeId) -> Result<(), String> {
        for path in upward(id.path()) {
            let place = *self.places.get(path).ok_or_else(|| format!("scope {path} is not here"))?;
            let scope = &self.nodes[place].scope;
            for line in Line::ALL {
                let Some(limit) = scope.limit(line) else { continue };
                let (committed, overrun) = (scope.committed().get(line), scope.overrun.get(line));
                if committed > limit.saturating_add(overrun) {
                    return Err(format!(
                        "scope {:?}: {committed} of {} committed, limit {limit}, overrun {overrun}",
                        path,
                        line.name()
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether the books agree with the calls: each scope has spent, reserved and holds what its own calls and its
    /// children have. All scopes and all calls, the ended ones too, must be here.
    ///
    /// # Errors
    /// A sentence: this is a bug of ours, or the store was changed by somebody else.
    pub fn audit(&self) -> Result<(), String> {
        let mut sums = vec![[Amounts::default(); 4]; self.nodes.len()];
        let mut add = |from: Option<Place>, parts: [Amounts; 4]| {
            let mut rest = parts;
            for place in self.up(from) {
                for (sum, part) in sums[place].iter_mut().zip(&rest) {
                    *sum = sum.plus(part);
                }
                rest = rest.map(|part| part.only(|line| !self.nodes[place].scope.keeps(line)));
            }
        };
        for Entry { call, .. } in self.calls.values() {
            let (reserved, held) = match call.state {
                CallState::Reserved | CallState::Dispatched => (call.reserved, Amounts::default()),
                CallState::Held => (Amounts::default(), call.reserved),
                CallState::Settled | CallState::Released | CallState::WrittenOff => Default::default(),
            };
            add(self.places.get(&call.scope).copied(), [call.spent, reserved, held, Amounts::default()]);
        }
        let nodes = || self.places.values().map(|&place| (place, &self.nodes[place]));
        for (_, node) in nodes().filter(|(_, node)| !node.scope.closed) {
            let none = Amounts::default();
            add(node.parent, [none, none, none, node.scope.counted]);
        }
        for (place, Node { id, scope, .. }) in nodes() {
            let (books, sums) = ([scope.spent, scope.reserved, scope.held, scope.carved], sums[place]);
            if books != sums {
                return Err(format!("scope {id}: the books say {books:?}, its calls {sums:?}"));
            }
        }
        Ok(())
    }
}
