//! Who may spend how much of what: a tree of scopes, and the calls that are open in it.
//!
//! Pure: no I/O, no clock (the caller says what time it is), integers only. Each operation is whole or changes nothing.
//! Never: gives anything back because time passed. Invariants here: L1 (at every grant spent + reserved + held + carved
//! is within every limit, on the scope and all around it), L2 (an overrun is booked in full and stops the scope), L3 (the
//! books of a scope are the sum of its calls and its children), L5 (a call is settled once), L7 (between two marks no
//! more than the gap).

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

pub use super::call::{Call, CallId, CallState};
pub use super::line::{Amounts, Limits, Line};
pub use super::scope::{Level, LimitKind, MAX_DEPTH, Scope, ScopeId, Terms, Totals};
use super::scope::{depth, upward};

/// What was missing: the tightest limit, the outermost of equally tight ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortfall {
    /// What the scope stands for.
    pub scope: String,
    /// Which one it is.
    pub path: ScopeId,
    pub line: Line,
    pub limit: LimitKind,
    pub asked: u64,
    pub left: u64,
}

/// What may still be spent, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headroom {
    pub left: u64,
    pub scope: ScopeId,
    pub limit: LimitKind,
    /// Until the next mark is due, if a gap is set.
    pub until_mark: Option<u64>,
}

impl Headroom {
    /// The shortfall of somebody who asks for more than is left.
    pub fn short(self, line: Line, asked: u64) -> Shortfall {
        let scope = self.scope.level().name().to_owned();
        Shortfall { scope, path: self.scope, line, limit: self.limit, asked, left: self.left }
    }
}

/// Why the ledger did nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// A limit has too little left.
    #[error("{} of {} asked, {} left in scope {}", .0.asked, .0.line.name(), .0.left, .0.path)]
    Short(Box<Shortfall>),
    /// The scope was closed, or was never opened.
    #[error("scope {0} is not open")]
    Closed(ScopeId),
    /// Too many scopes within each other.
    #[error("scope {0} is more than {MAX_DEPTH} scopes deep")]
    TooDeep(ScopeId),
    /// There is a call of this id.
    #[error("call {0} is already there")]
    Taken(CallId),
    /// No call of this id is in the state that is needed.
    #[error("call {call} is {}", .state.map_or("unknown", CallState::name))]
    NotOpen { call: CallId, state: Option<CallState> },
    /// The scope has no limit on this line that could be raised.
    #[error("scope {scope} has no limit on {}", .line.name())]
    NoLimit { scope: ScopeId, line: Line },
}

impl From<Shortfall> for Denial {
    fn from(shortfall: Shortfall) -> Self {
        Denial::Short(Box::new(shortfall))
    }
}

/// A call that has its reservation and was not sent. Dropping one leaves it reserved until its scope closes.
#[must_use = "a reservation is released or dispatched"]
#[derive(Debug, PartialEq, Eq)]
pub struct Reservation(CallId);

/// A call that may have been sent. Dropping one (a cancelled future) makes it held when its scope closes.
#[must_use = "a dispatched call is settled or held"]
#[derive(Debug, PartialEq, Eq)]
pub struct Dispatched(CallId);

impl Dispatched {
    /// The call's id.
    pub fn id(&self) -> &CallId {
        &self.0
    }
}

/// What a renewal brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// What is reserved now.
    pub reserved: Amounts,
    /// Lines that got less than was wanted, and what stood in the way.
    pub short: Vec<(Line, Headroom)>,
}

/// A tree of scopes and their open calls.
#[derive(Debug, Default)]
pub struct Ledger {
    scopes: HashMap<ScopeId, Node>,
    calls: HashMap<CallId, Entry>,
    changed_scopes: Vec<ScopeId>,
    changed_calls: Vec<CallId>,
}

#[derive(Debug, Default)]
struct Node {
    scope: Scope,
    changed: bool,
    /// Open ones, directly below.
    children: BTreeSet<ScopeId>,
    /// Reserved and dispatched ones, directly in it.
    calls: BTreeSet<CallId>,
}

#[derive(Debug)]
struct Entry {
    call: Call,
    changed: bool,
}

impl Borrow<str> for ScopeId {
    fn borrow(&self) -> &str {
        self.path()
    }
}

impl Ledger {
    /// Opens a scope below an open one, or gives one that is open its terms of today: what it has spent stays, and what
    /// it carved stays carved.
    ///
    /// # Errors
    /// [`Denial::Short`]: the parent has not what is to be carved. [`Denial::Closed`]: the parent or the scope itself is
    /// closed. [`Denial::TooDeep`].
    pub fn open(&mut self, id: &ScopeId, terms: Terms, now_ms: u64) -> Result<(), Denial> {
        if depth(id.path()) >= MAX_DEPTH {
            return Err(Denial::TooDeep(id.clone()));
        }
        if let Some(node) = self.scopes.get(id) {
            if node.scope.closed {
                return Err(Denial::Closed(id.clone()));
            }
            let carve = node.scope.terms.carve.clone();
            if node.scope.terms != (Terms { carve: carve.clone(), ..terms.clone() }) {
                self.node(id.path()).scope.terms = Terms { carve, ..terms };
            }
            return Ok(());
        }
        let mut counted = Amounts::default();
        if let Some(parent) = upward(id.path()).nth(1) {
            let parent = ScopeId::of_path(parent);
            self.ensure_open(&parent)?;
            counted = terms.carve.iter().map(|&line| (line, terms.limits.get(line).unwrap_or(0))).collect();
            self.check(&parent, &counted, now_ms)?;
            self.change(parent.path(), &counted, |scope, counted| scope.carved = scope.carved.plus(counted));
            self.scopes.get_mut(&parent).expect("it is open").children.insert(id.clone());
        }
        self.changed_scopes.push(id.clone());
        let node = Node { scope: Scope { terms, counted, ..Scope::default() }, changed: true, ..Node::default() };
        self.scopes.insert(id.clone(), node);
        Ok(())
    }

    /// What may still be spent on a line: the tightest limit from the scope up to whoever the line was carved for.
    /// `None` if nothing limits the line; then nothing of it may be reserved.
    pub fn headroom(&self, scope: &ScopeId, line: Line, now_ms: u64) -> Option<Headroom> {
        let mut tightest: Option<(u64, &str, LimitKind)> = None;
        let mut until_mark: Option<u64> = None;
        for path in upward(scope.path()) {
            let scope = &self.scopes.get(path)?.scope;
            if let Some((gap, _)) = scope.gap_left(line) {
                until_mark = Some(until_mark.map_or(gap, |least| least.min(gap)));
            }
            if let Some((left, limit)) = scope.left(line, now_ms)
                // On a tie the outermost scope is named: raising an inner limit would not help.
                && tightest.is_none_or(|(least, ..)| left <= least)
            {
                tightest = Some((left, path, limit));
            }
            if scope.carves(line) {
                break;
            }
        }
        tightest.map(|(left, path, limit)| Headroom { left, scope: ScopeId::of_path(path), limit, until_mark })
    }

    /// Reserves for a call on the scope and everything around it, or changes nothing.
    ///
    /// # Errors
    /// [`Denial::Short`] for the first line that does not fit, or that nothing limits (`left` is 0); [`Denial::Closed`];
    /// [`Denial::Taken`].
    pub fn reserve(
        &mut self,
        scope: &ScopeId,
        call: CallId,
        amounts: &Amounts,
        now_ms: u64,
    ) -> Result<Reservation, Denial> {
        self.ensure_open(scope)?;
        if self.calls.contains_key(&call) {
            return Err(Denial::Taken(call));
        }
        self.check(scope, amounts, now_ms)?;
        self.change(scope.path(), amounts, |scope, amounts| scope.reserved = scope.reserved.plus(amounts));
        self.scopes.get_mut(scope).expect("it is open").calls.insert(call.clone());
        let body = Call {
            scope: scope.clone(),
            state: CallState::Reserved,
            reserved: *amounts,
            spent: Amounts::default(),
            dispatched_ms: 0,
        };
        self.calls.insert(call.clone(), Entry { call: body, changed: true });
        self.changed_calls.push(call.clone());
        Ok(Reservation(call))
    }

    /// Gives back a reservation whose call was never sent. One that was given back already is left alone.
    pub fn release(&mut self, reservation: Reservation) {
        if self.state(&reservation.0) == Some(CallState::Reserved) {
            let call = self.end(&reservation.0, CallState::Released);
            self.unreserve(&call.scope, &call.reserved);
        }
    }

    /// Marks a call as sent. From here on it is settled or held, never released.
    ///
    /// # Errors
    /// [`Denial::NotOpen`]: somebody closed the scope in the meantime, and the call must not be sent.
    pub fn dispatch(&mut self, reservation: Reservation, now_ms: u64) -> Result<Dispatched, Denial> {
        let Reservation(id) = reservation;
        if self.state(&id) != Some(CallState::Reserved) {
            return Err(self.not_open(&id));
        }
        let call = self.call(&id);
        call.state = CallState::Dispatched;
        call.dispatched_ms = now_ms;
        Ok(Dispatched(id))
    }

    /// Books what a call really cost. Returns what it cost above its reservation, which is booked all the same.
    ///
    /// # Errors
    /// As [`Ledger::settle_id`].
    pub fn settle(&mut self, dispatched: Dispatched, actual: &Amounts, now_ms: u64) -> Result<Amounts, Denial> {
        self.settle_id(&dispatched.0, actual, now_ms)
    }

    /// Books what a dispatched or held call really cost, however late that is known.
    ///
    /// # Errors
    /// [`Denial::NotOpen`]: it was settled before, or never dispatched. Nothing is booked twice.
    pub fn settle_id(&mut self, id: &CallId, actual: &Amounts, now_ms: u64) -> Result<Amounts, Denial> {
        match self.state(id) {
            Some(CallState::Dispatched | CallState::Held) => Ok(self.book(id, CallState::Settled, actual, now_ms)),
            Some(CallState::Reserved | CallState::Settled | CallState::Released | CallState::WrittenOff) | None => {
                Err(self.not_open(id))
            }
        }
    }

    /// Nobody knows what the call cost: its whole reservation stays counted until somebody does.
    pub fn hold(&mut self, dispatched: Dispatched) {
        if self.state(&dispatched.0) == Some(CallState::Dispatched) {
            self.hold_id(&dispatched.0);
        }
    }

    /// A person says what a held call cost.
    ///
    /// # Errors
    /// [`Denial::NotOpen`]: the call is not held.
    pub fn write_off(&mut self, id: &CallId, actual: &Amounts, now_ms: u64) -> Result<(), Denial> {
        if self.state(id) != Some(CallState::Held) {
            return Err(self.not_open(id));
        }
        self.book(id, CallState::WrittenOff, actual, now_ms);
        Ok(())
    }

    /// Books what a dispatched call has used so far, and sees to it that `ahead` is reserved for what comes: less, where
    /// less is left.
    ///
    /// # Errors
    /// [`Denial::NotOpen`]: somebody closed the scope in the meantime.
    pub fn renew(&mut self, id: &CallId, used: &Amounts, ahead: &Amounts, now_ms: u64) -> Result<Renewed, Denial> {
        if self.state(id) != Some(CallState::Dispatched) {
            return Err(self.not_open(id));
        }
        let call = self.call(id);
        let (scope, before) = (call.scope.clone(), call.reserved);
        call.spent = call.spent.plus(used);
        self.unreserve(&scope, &before.at_most(used));
        self.spend(&scope, used, &used.less(&before), now_ms, now_ms);
        let mut reserved = before.less(used);
        let mut short = Vec::new();
        for (line, ahead) in ahead.iter() {
            let wanted = ahead.saturating_sub(reserved.get(line));
            let headroom = self.headroom(&scope, line, now_ms);
            let granted = headroom.as_ref().map_or(0, |headroom| headroom.left.min(wanted));
            if granted < wanted
                && let Some(headroom) = headroom
            {
                short.push((line, headroom));
            }
            let granted = Amounts::of(line, granted);
            self.change(scope.path(), &granted, |scope, granted| scope.reserved = scope.reserved.plus(granted));
            reserved = reserved.plus(&granted);
        }
        self.call(id).reserved = reserved;
        Ok(Renewed { reserved, short })
    }

    /// The host verified progress: the gap of the scope starts anew.
    pub fn mark(&mut self, scope: &ScopeId) {
        let scope = &mut self.node(scope.path()).scope;
        scope.at_mark = scope.spent.plus(&scope.held);
        scope.marked = true;
    }

    /// Closes a scope and all below it: what was not sent is released, what may have been sent is held, and what was
    /// carved and not used goes back. A closed scope stays closed.
    pub fn close(&mut self, id: &ScopeId, now_ms: u64) {
        let Some(node) = self.scopes.get(id).filter(|node| !node.scope.closed) else { return };
        let (children, calls) = (node.children.clone(), node.calls.clone());
        for child in children {
            self.close(&child, now_ms);
        }
        for call in calls {
            self.release(Reservation(call.clone()));
            self.hold(Dispatched(call));
        }
        let scope = &mut self.node(id.path()).scope;
        scope.closed = true;
        let (counted, spent, held) = (scope.counted, scope.spent, scope.held);
        let carved = scope.terms.carve.clone();
        let Some(parent) = upward(id.path()).nth(1) else { return };
        let own = |amounts: Amounts| amounts.only(|line| carved.contains(&line));
        self.scopes.get_mut(parent).expect("a parent is there as long as its children").children.remove(id);
        if carved.is_empty() {
            return;
        }
        self.change(parent, &counted, |scope, counted| scope.carved = scope.carved.less(counted));
        self.change(parent, &own(held), |scope, held| scope.held = scope.held.plus(held));
        // Until now it counted in full as carved, so it is of now.
        self.spend(&ScopeId::of_path(parent), &own(spent), &Amounts::default(), now_ms, now_ms);
    }

    /// An operator raises a limit of a scope.
    ///
    /// # Errors
    /// [`Denial::NoLimit`]: there is none to raise. [`Denial::Short`]: the line was carved, and the parent has no more.
    pub fn top_up(&mut self, id: &ScopeId, line: Line, amount: u64, now_ms: u64) -> Result<(), Denial> {
        self.ensure_open(id)?;
        let scope = &self.scopes[id].scope;
        if scope.limit(line).is_none() {
            return Err(Denial::NoLimit { scope: id.clone(), line });
        }
        let carved = if scope.carves(line) { Amounts::of(line, amount) } else { Amounts::default() };
        if let Some(parent) = upward(id.path()).nth(1) {
            self.check(&ScopeId::of_path(parent), &carved, now_ms)?;
            self.change(parent, &carved, |scope, carved| scope.carved = scope.carved.plus(carved));
        }
        let scope = &mut self.node(id.path()).scope;
        scope.topped_up = scope.topped_up.plus(&Amounts::of(line, amount));
        scope.counted = scope.counted.plus(&carved);
        Ok(())
    }

    /// The books of a scope.
    pub fn scope(&self, id: &ScopeId) -> Option<&Scope> {
        self.scopes.get(id).map(|node| &node.scope)
    }

    /// The totals of a scope; nothing, if it was never opened.
    pub fn totals(&self, id: &ScopeId) -> Totals {
        self.scope(id).map(Totals::from).unwrap_or_default()
    }

    /// A call by its id.
    pub fn find(&self, id: &CallId) -> Option<&Call> {
        self.calls.get(id).map(|entry| &entry.call)
    }

    /// All scopes that are here, in no order.
    pub fn scopes(&self) -> impl Iterator<Item = (&ScopeId, &Scope)> {
        self.scopes.iter().map(|(id, node)| (id, &node.scope))
    }

    /// All calls that are here, in no order.
    pub fn calls(&self) -> impl Iterator<Item = (&CallId, &Call)> {
        self.calls.iter().map(|(id, entry)| (id, &entry.call))
    }

    /// Puts in a scope as a store kept it, unless it is here. Its parent is put in before.
    pub fn restore_scope(&mut self, id: ScopeId, scope: Scope) {
        if self.scopes.contains_key(&id) {
            return;
        }
        let parent = upward(id.path()).nth(1).and_then(|parent| self.scopes.get_mut(parent));
        if let (Some(parent), false) = (parent, scope.closed) {
            parent.children.insert(id.clone());
        }
        self.scopes.insert(id, Node { scope, ..Node::default() });
    }

    /// Puts in a call as a store kept it, unless it is here. Its scope is put in before.
    pub fn restore_call(&mut self, id: CallId, call: Call) {
        if self.calls.contains_key(&id) {
            return;
        }
        if let (CallState::Reserved | CallState::Dispatched, Some(node)) =
            (call.state, self.scopes.get_mut(&call.scope))
        {
            node.calls.insert(id.clone());
        }
        self.calls.insert(id, Entry { call, changed: false });
    }

    /// The scopes and calls that changed since the last time, each once, for a store to keep. What is over is forgotten
    /// here: whoever needs it again restores it.
    pub fn take_changes(&mut self) -> (Vec<(ScopeId, Scope)>, Vec<(CallId, Call)>) {
        let mut scopes = Vec::with_capacity(self.changed_scopes.len());
        for id in std::mem::take(&mut self.changed_scopes) {
            let node = self.scopes.get_mut(&id).expect("only changed scopes are named, once");
            node.changed = false;
            let scope = node.scope.clone();
            if scope.closed {
                self.scopes.remove(&id);
            }
            scopes.push((id, scope));
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
        (scopes, calls)
    }

    /// Whether the scope and everything around it hold what was promised: with no limit lowered, no scope has committed
    /// more than its limits and what was overrun.
    ///
    /// # Errors
    /// A sentence: this is a bug of ours.
    pub fn check_promises(&self, id: &ScopeId) -> Result<(), String> {
        for path in upward(id.path()) {
            let scope = &self.scopes.get(path).ok_or_else(|| format!("scope {path} is not here"))?.scope;
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
        let mut sums: HashMap<&str, [Amounts; 4]> = HashMap::new();
        let mut add = |from: &ScopeId, parts: [Amounts; 4]| {
            let mut rest = parts;
            for path in upward(from.path()) {
                let sum = sums.entry(self.scopes.get_key_value(path).map_or("", |(id, _)| id.path())).or_default();
                for (sum, part) in sum.iter_mut().zip(&rest) {
                    *sum = sum.plus(part);
                }
                let Some(node) = self.scopes.get(path) else { continue };
                rest = rest.map(|part| part.only(|line| !node.scope.carves(line)));
            }
        };
        for Entry { call, .. } in self.calls.values() {
            let (reserved, held) = match call.state {
                CallState::Reserved | CallState::Dispatched => (call.reserved, Amounts::default()),
                CallState::Held => (Amounts::default(), call.reserved),
                CallState::Settled | CallState::Released | CallState::WrittenOff => Default::default(),
            };
            add(&call.scope, [call.spent, reserved, held, Amounts::default()]);
        }
        for (id, node) in &self.scopes {
            if let (Some(parent), false) = (upward(id.path()).nth(1), node.scope.closed) {
                let counted = [Amounts::default(), Amounts::default(), Amounts::default(), node.scope.counted];
                add(&ScopeId::of_path(parent), counted);
            }
        }
        for (id, Node { scope, .. }) in &self.scopes {
            let [spent, reserved, held, carved] = sums.get(id.path()).copied().unwrap_or_default();
            let books = [scope.spent, scope.reserved, scope.held, scope.carved];
            if books != [spent, reserved, held, carved] {
                return Err(format!(
                    "scope {id}: the books say {books:?}, its calls {:?}",
                    [spent, reserved, held, carved]
                ));
            }
        }
        Ok(())
    }

    /// Whether amounts fit; nothing is changed.
    fn check(&self, scope: &ScopeId, amounts: &Amounts, now_ms: u64) -> Result<(), Shortfall> {
        for (line, asked) in amounts.iter() {
            let nothing = || Headroom { left: 0, scope: scope.clone(), limit: LimitKind::Total, until_mark: None };
            let headroom = self.headroom(scope, line, now_ms).unwrap_or_else(nothing);
            if asked > headroom.left {
                return Err(headroom.short(line, asked));
            }
        }
        Ok(())
    }

    fn ensure_open(&self, id: &ScopeId) -> Result<(), Denial> {
        match self.scopes.get(id) {
            Some(node) if !node.scope.closed => Ok(()),
            Some(_) | None => Err(Denial::Closed(id.clone())),
        }
    }

    fn state(&self, id: &CallId) -> Option<CallState> {
        self.find(id).map(|call| call.state)
    }

    fn not_open(&self, id: &CallId) -> Denial {
        Denial::NotOpen { call: id.clone(), state: self.state(id) }
    }

    /// Books the cost of a call that is dispatched or held, and ends it.
    fn book(&mut self, id: &CallId, state: CallState, actual: &Amounts, now_ms: u64) -> Amounts {
        let held = self.state(id) == Some(CallState::Held);
        let call = self.end(id, state);
        let actual = actual.only(|line| !line.is_level());
        self.call(id).spent = call.spent.plus(&actual);
        if held {
            self.change(call.scope.path(), &call.reserved, |scope, amounts| scope.held = scope.held.less(amounts));
        } else {
            self.unreserve(&call.scope, &call.reserved);
        }
        let overrun = actual.less(&call.reserved);
        self.spend(&call.scope, &actual, &overrun, call.dispatched_ms, now_ms);
        overrun
    }

    /// Ends a call; what it was before is returned.
    fn end(&mut self, id: &CallId, state: CallState) -> Call {
        let call = self.call(id);
        let before = call.clone();
        call.state = state;
        call.reserved = Amounts::default();
        if let Some(node) = self.scopes.get_mut(&before.scope) {
            node.calls.remove(id);
        }
        before
    }

    fn hold_id(&mut self, id: &CallId) {
        let call = self.end(id, CallState::Held);
        // What is a level was given back when whoever had it ended.
        let held = call.reserved.only(|line| !line.is_level());
        self.call(id).reserved = held;
        self.unreserve(&call.scope, &call.reserved);
        self.change(call.scope.path(), &held, |scope, held| scope.held = scope.held.plus(held));
    }

    fn unreserve(&mut self, scope: &ScopeId, amounts: &Amounts) {
        self.change(scope.path(), amounts, |scope, amounts| scope.reserved = scope.reserved.less(amounts));
    }

    /// Books what was spent, in the windows too, and lets a carved scope that was overrun count in full above.
    fn spend(&mut self, scope: &ScopeId, actual: &Amounts, overrun: &Amounts, at_ms: u64, now_ms: u64) {
        self.change(scope.path(), actual, |scope, actual| {
            scope.spent = scope.spent.plus(actual);
            for &span in scope.terms.windows.keys() {
                scope.windows.entry(span).or_default().book(span, at_ms, now_ms, actual);
            }
        });
        if overrun.is_nothing() {
            return;
        }
        self.change(scope.path(), overrun, |scope, overrun| scope.overrun = scope.overrun.plus(overrun));
        for path in upward(scope.path()) {
            let scope = &self.scopes[path].scope;
            let grown = scope.committed().less(&scope.counted).only(|line| scope.carves(line));
            if let (Some(parent), false) = (upward(path).nth(1), grown.is_nothing()) {
                self.node(path).scope.counted = self.scopes[path].scope.counted.plus(&grown);
                self.change(parent, &grown, |scope, grown| {
                    scope.carved = scope.carved.plus(grown);
                    scope.overrun = scope.overrun.plus(grown);
                });
            }
        }
    }

    /// Changes a scope and everything around it, each line as far as whoever it was carved for.
    fn change(&mut self, from: &str, amounts: &Amounts, mut change: impl FnMut(&mut Scope, &Amounts)) {
        let mut rest = *amounts;
        for path in upward(from) {
            if rest.is_nothing() {
                return;
            }
            let scope = &mut self.node(path).scope;
            change(scope, &rest);
            if !scope.terms.carve.is_empty() {
                rest = rest.only(|line| !scope.carves(line));
            }
        }
    }

    /// A scope that is about to change.
    fn node(&mut self, path: &str) -> &mut Node {
        let node = self.scopes.get_mut(path).expect("a scope is here as long as anything in it");
        if !node.changed {
            node.changed = true;
            self.changed_scopes.push(ScopeId::of_path(path));
        }
        node
    }

    /// A call that is about to change.
    fn call(&mut self, id: &CallId) -> &mut Call {
        let entry = self.calls.get_mut(id).expect("its state was looked at before");
        if !entry.changed {
            entry.changed = true;
            self.changed_calls.push(id.clone());
        }
        &mut entry.call
    }
}

#[cfg(test)]
pub(crate) mod tests;
