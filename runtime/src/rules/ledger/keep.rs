//! A ledger in parts, for a store: what changed goes out, and what is needed comes back in.
//!
//! Never: decides. Invariant here: a scope or a call that is here is never replaced by what a store kept before.

use super::{Call, CallId, CallState, Entry, Ledger, Scope, ScopeId};

/// Scopes and calls as they are after a change.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    pub scopes: Vec<(ScopeId, Scope)>,
    pub calls: Vec<(CallId, Call)>,
}

impl Ledger {
    /// Puts in a scope as a store kept it, unless it is here. Its parent is put in before.
    pub fn restore_scope(&mut self, id: ScopeId, scope: Scope) {
        if !self.places.contains_key(&id) {
            self.insert(id, scope);
        }
    }

    /// Puts in a call as a store kept it, unless it is here. Its scope is put in before.
    pub fn restore_call(&mut self, id: CallId, call: Call) {
        if self.calls.contains_key(&id) {
            return;
        }
        if let (CallState::Reserved | CallState::Dispatched, Some(&place)) = (call.state, self.places.get(&call.scope))
        {
            self.nodes[place].calls.insert(id.clone());
        }
        self.calls.insert(id, Entry { call, changed: false });
    }

    /// The scopes and calls that changed since the last time, each once, for a store to keep. What is over is forgotten
    /// here: whoever needs it again restores it.
    pub fn take_changes(&mut self) -> Changes {
        let mut scopes = Vec::with_capacity(self.changed_scopes.len());
        for place in std::mem::take(&mut self.changed_scopes) {
            let node = &mut self.nodes[place];
            node.changed = false;
            scopes.push((node.id.clone(), node.scope.clone()));
        }
        if scopes.iter().any(|(_, scope)| scope.closed) {
            // With everything below, also what was closed long ago and is here for a late call.
            let (nodes, free) = (&self.nodes, &mut self.free);
            self.places.retain(|_, &mut place| {
                let closed = nodes[place].scope.closed;
                free.extend(closed.then_some(place));
                !closed
            });
        }
        let mut calls = Vec::with_capacity(self.changed_calls.len());
        for id in std::mem::take(&mut self.changed_calls) {
            let entry = self.calls.get_mut(&id).expect("only changed calls are named, once");
            entry.changed = false;
            let call = entry.call.clone();
            if !call.state.is_open() {
                self.calls.remove(&id);
            }
            calls.push((id, call));
        }
        Changes { scopes, calls }
    }
}
