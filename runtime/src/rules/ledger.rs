//! Who may spend how much of what: a tree of scopes, and the calls that are open in it.
//!
//! Pure: no I/O, no clock (the caller says what time it is), integers only. Each operation is whole or changes nothing.
//! Never: gives anything back because time passed. Invariants here: L1 (at every grant spent + reserved + held + carved
//! is within every limit, on the scope and all around it), L2 (an overrun is booked in full and stops the scope), L3 (the
//! books of a scope are the sum of its calls and its children), L5 (a call is settled once), L7 (between two marks no
//! more than the gap).

mod audit;
mod keep;

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

pub use self::keep::Changes;
pub use super::call::{Call, CallId, CallState};
use super::line::LINES;
pub use super::line::{Amounts, Limits, Line};
pub use super::scope::{Level, LimitKind, MAX_DEPTH, Scope, ScopeId, Terms, Totals};
use super::scope::{depth, upward};
use super::window::Opening;

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
    /// When the limit has room for it by itself, if it has: it is of a window. Milliseconds since 1970-01-01T00:00:00Z.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens_ms: Option<u64>,
}

/// What may still be spent, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headroom {
    pub left: u64,
    pub scope: ScopeId,
    pub limit: LimitKind,
    /// Until the next mark is due, if a gap is set.
    pub until_mark: Option<u64>,
    /// How it opens, if the limit is a window's.
    pub opening: Option<Opening>,
}

impl Headroom {
    /// Of a line that nothing limits: nothing of it may be spent.
    pub fn nothing(scope: ScopeId) -> Self {
        Self { left: 0, scope, limit: LimitKind::Total, until_mark: None, opening: None }
    }

    /// The shortfall of somebody who asks for more than is left.
    pub fn short(self, line: Line, asked: u64) -> Shortfall {
        let scope = self.scope.level().name().to_owned();
        let opens_ms = self.opens_ms(asked);
        Shortfall { scope, path: self.scope, line, limit: self.limit, asked, left: self.left, opens_ms }
    }

    /// When there is room for so much by itself. `None`: never, or it is no window.
    pub fn opens_ms(&self, asked: u64) -> Option<u64> {
        self.opening.as_ref()?.room_for(asked)
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

impl Reservation {
    /// The call's id.
    pub fn id(&self) -> &CallId {
        &self.0
    }
}

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

/// What may still be spent in one scope on each line, all found in one walk up the tree.
#[derive(Clone, Debug)]
pub struct Room<'a> {
    ledger: &'a Ledger,
    now_ms: u64,
    tightest: [Option<Tight>; LINES],
}

/// The tightest limit on a line.
#[derive(Clone, Copy, Debug)]
struct Tight {
    left: u64,
    limit: LimitKind,
    place: Place,
    until_mark: Option<u64>,
}

/// A tree of scopes and their open calls.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Where each scope is in `nodes`.
    places: HashMap<ScopeId, Place>,
    nodes: Vec<Node>,
    /// Places of scopes that were forgotten.
    free: Vec<Place>,
    calls: HashMap<CallId, Entry>,
    changed_scopes: Vec<Place>,
    changed_calls: Vec<CallId>,
}

type Place = usize;

#[derive(Debug)]
struct Node {
    id: ScopeId,
    parent: Option<Place>,
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

impl Room<'_> {
    /// What may still be spent on a line; 0 if nothing limits it.
    pub fn left(&self, line: Line) -> u64 {
        self.tightest[line as usize].map_or(0, |tight| tight.left)
    }

    /// What may still be spent on a line, and who says so. `None`: nothing limits it.
    pub fn headroom(&self, line: Line) -> Option<Headroom> {
        let Tight { left, limit, place, until_mark } = self.tightest[line as usize]?;
        let Node { id, scope, .. } = &self.ledger.nodes[place];
        Some(Headroom { left, scope: id.clone(), limit, until_mark, opening: scope.opening(limit, line, self.now_ms) })
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
        if let Some(&place) = self.places.get(id) {
            self.ensure_open(id)?;
            let known = &self.nodes[place].scope.terms;
            let terms = Terms { carve: known.carve.clone(), apart: known.apart.clone(), ..terms };
            if *known != terms {
                self.scope_at(place).terms = terms;
            }
            return Ok(());
        }
        let mut counted = Amounts::default();
        if let Some(parent) = upward(id.path()).nth(1) {
            let parent = self.ensure_open(&ScopeId::of_path(parent))?;
            counted = terms.carve.iter().map(|&line| (line, terms.limits.get(line).unwrap_or(0))).collect();
            self.check(parent, &counted, now_ms)?;
            self.change(parent, &counted, |scope, counted| scope.carved = scope.carved.plus(counted));
        }
        let place = self.insert(id.clone(), Scope { terms, counted, ..Scope::default() });
        self.scope_at(place);
        Ok(())
    }

    /// What may still be spent on a line: the tightest limit from the scope up to whoever keeps the line.
    /// `None` if nothing limits the line; then nothing of it may be reserved.
    pub fn headroom(&self, scope: &ScopeId, line: Line, now_ms: u64) -> Option<Headroom> {
        self.room(scope, now_ms).headroom(line)
    }

    /// What may still be spent on every line.
    pub fn room(&self, scope: &ScopeId, now_ms: u64) -> Room<'_> {
        match self.places.get(scope) {
            Some(&place) => self.room_at(place, now_ms),
            None => Room { ledger: self, now_ms, tightest: [None; LINES] },
        }
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
        let place = self.ensure_open(scope)?;
        if self.calls.contains_key(&call) {
            return Err(Denial::Taken(call));
        }
        self.check(place, amounts, now_ms)?;
        self.change(place, amounts, |scope, amounts| scope.reserved = scope.reserved.plus(amounts));
        self.nodes[place].calls.insert(call.clone());
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
            self.unreserve(self.places[&call.scope], &call.reserved);
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
        let place = self.places[&scope];
        self.unreserve(place, &before.at_most(used));
        self.spend(place, used, &used.less(&before), now_ms, now_ms);
        let kept = before.less(used);
        let (mut more, mut short) = (Amounts::default(), Vec::new());
        let room = self.room_at(place, now_ms);
        for (line, wanted) in ahead.less(&kept).iter() {
            more.set(line, room.left(line).min(wanted));
            if more.get(line) < wanted
                && let Some(headroom) = room.headroom(line)
            {
                short.push((line, headroom));
            }
        }
        self.change(place, &more, |scope, more| scope.reserved = scope.reserved.plus(more));
        let reserved = kept.plus(&more);
        self.call(id).reserved = reserved;
        Ok(Renewed { reserved, short })
    }

    /// Gives back a part of what a dispatched call has reserved: whoever makes it knows that it is not used. What it has less
    /// of is given back as far as it has it.
    ///
    /// # Errors
    /// [`Denial::NotOpen`]: somebody closed the scope in the meantime.
    pub fn give_back(&mut self, id: &CallId, amounts: &Amounts) -> Result<(), Denial> {
        if self.state(id) != Some(CallState::Dispatched) {
            return Err(self.not_open(id));
        }
        let call = self.call(id);
        let back = call.reserved.at_most(amounts);
        call.reserved = call.reserved.less(&back);
        let scope = call.scope.clone();
        let place = self.places[&scope];
        self.unreserve(place, &back);
        Ok(())
    }

    /// The host verified progress: the gap of the scope starts anew.
    pub fn mark(&mut self, scope: &ScopeId) {
        let Ok(place) = self.ensure_open(scope) else { return };
        let scope = self.scope_at(place);
        scope.at_mark = scope.spent.plus(&scope.held);
        scope.marked = true;
    }

    /// Closes a scope and all below it: what was not sent is released, what may have been sent is held, and what was
    /// carved and not used goes back. A closed scope stays closed.
    pub fn close(&mut self, id: &ScopeId, now_ms: u64) {
        let Ok(place) = self.ensure_open(id) else { return };
        let (children, calls) = (self.nodes[place].children.clone(), self.nodes[place].calls.clone());
        for child in children {
            self.close(&child, now_ms);
        }
        for call in calls {
            self.release(Reservation(call.clone()));
            self.hold(Dispatched(call));
        }
        let scope = self.scope_at(place);
        scope.closed = true;
        let (counted, spent, held) = (scope.counted, scope.spent, scope.held);
        let carved = scope.terms.carve.clone();
        let Some(parent) = self.nodes[place].parent else { return };
        let own = |amounts: Amounts| amounts.only(|line| carved.contains(&line));
        self.nodes[parent].children.remove(id);
        if carved.is_empty() {
            return;
        }
        self.change(parent, &counted, |scope, counted| scope.carved = scope.carved.less(counted));
        self.change(parent, &own(held), |scope, held| scope.held = scope.held.plus(held));
        // Until now it counted in full as carved, so it is of now.
        self.spend(parent, &own(spent), &Amounts::default(), now_ms, now_ms);
    }

    /// Opens a closed scope again that nothing was carved for: what it spent and holds still counts. One that is open or
    /// not there stays so.
    pub fn reopen(&mut self, id: &ScopeId) {
        let Some(&place) = self.places.get(id) else { return };
        if !self.nodes[place].scope.closed || !self.nodes[place].scope.terms.carve.is_empty() {
            return;
        }
        self.scope_at(place).closed = false;
        if let Some(parent) = self.nodes[place].parent {
            self.nodes[parent].children.insert(id.clone());
        }
    }

    /// An operator raises limits of a scope; all of them, or none.
    ///
    /// # Errors
    /// [`Denial::NoLimit`]: there is none to raise. [`Denial::Short`]: a line was carved, and the parent has no more.
    pub fn top_up(&mut self, id: &ScopeId, amounts: &Amounts, now_ms: u64) -> Result<(), Denial> {
        let place = self.ensure_open(id)?;
        let scope = &self.nodes[place].scope;
        if let Some((line, _)) = amounts.iter().find(|&(line, _)| scope.limit(line).is_none()) {
            return Err(Denial::NoLimit { scope: id.clone(), line });
        }
        let carved = amounts.only(|line| scope.carves(line));
        if let Some(parent) = self.nodes[place].parent {
            self.check(parent, &carved, now_ms)?;
            self.change(parent, &carved, |scope, carved| scope.carved = scope.carved.plus(carved));
        }
        let scope = self.scope_at(place);
        scope.topped_up = scope.topped_up.plus(amounts);
        scope.counted = scope.counted.plus(&carved);
        Ok(())
    }

    /// Scopes that are here.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether no scope is here.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The books of a scope.
    pub fn scope(&self, id: &ScopeId) -> Option<&Scope> {
        self.places.get(id).map(|&place| &self.nodes[place].scope)
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
        self.places.iter().map(|(id, &place)| (id, &self.nodes[place].scope))
    }

    /// All calls that are here, in no order.
    pub fn calls(&self) -> impl Iterator<Item = (&CallId, &Call)> {
        self.calls.iter().map(|(id, entry)| (id, &entry.call))
    }

    /// Whether amounts fit; nothing is changed.
    fn check(&self, place: Place, amounts: &Amounts, now_ms: u64) -> Result<(), Shortfall> {
        if amounts.is_nothing() {
            return Ok(());
        }
        let room = self.room_at(place, now_ms);
        for (line, asked) in amounts.iter() {
            if asked > room.left(line) {
                let scope = self.nodes[place].id.clone();
                let nothing = || Headroom::nothing(scope);
                return Err(room.headroom(line).unwrap_or_else(nothing).short(line, asked));
            }
        }
        Ok(())
    }

    fn room_at(&self, place: Place, now_ms: u64) -> Room<'_> {
        let mut tightest: [Option<Tight>; LINES] = [None; LINES];
        // Lines that a scope keeps to itself are nothing to what is around it.
        let mut done = [false; LINES];
        for place in self.up(Some(place)) {
            let scope = &self.nodes[place].scope;
            let at = scope.at(now_ms);
            for line in Line::ALL.into_iter().filter(|&line| !done[line as usize]) {
                let tight = &mut tightest[line as usize];
                if let Some((left, limit)) = at.left(line) {
                    let until_mark = [at.until_mark(line), tight.and_then(|it| it.until_mark)];
                    let until_mark = until_mark.into_iter().flatten().min();
                    match tight {
                        Some(inner) if inner.left < left => inner.until_mark = until_mark,
                        // On a tie the outermost scope is named: raising an inner limit would not help.
                        Some(_) | None => *tight = Some(Tight { left, limit, place, until_mark }),
                    }
                }
            }
            let kept = scope.terms.carve.iter().chain(&scope.terms.apart);
            kept.filter(|&&line| scope.keeps(line)).for_each(|&line| done[line as usize] = true);
        }
        Room { ledger: self, now_ms, tightest }
    }

    /// A scope and all around it.
    fn up(&self, from: Option<Place>) -> impl Iterator<Item = Place> + '_ {
        std::iter::successors(from, |&place| self.nodes[place].parent)
    }

    fn insert(&mut self, id: ScopeId, scope: Scope) -> Place {
        let parent = upward(id.path()).nth(1).map(|parent| self.places[parent]);
        if let (Some(parent), false) = (parent, scope.closed) {
            self.nodes[parent].children.insert(id.clone());
        }
        let node =
            Node { id: id.clone(), parent, scope, changed: false, children: BTreeSet::new(), calls: BTreeSet::new() };
        let place = match self.free.pop() {
            Some(place) => {
                self.nodes[place] = node;
                place
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        self.places.insert(id, place);
        place
    }

    fn ensure_open(&self, id: &ScopeId) -> Result<Place, Denial> {
        match self.places.get(id) {
            Some(&place) if !self.nodes[place].scope.closed => Ok(place),
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
        let place = self.places[&call.scope];
        let actual = actual.only(|line| !line.is_level());
        self.call(id).spent = call.spent.plus(&actual);
        if held {
            let freed = call.reserved.less(&actual);
            self.change(place, &call.reserved, |scope, amounts| scope.held = scope.held.less(amounts));
            // What was in doubt at the last mark was counted before it; what of that is free now is not for the gap after.
            self.change(place, &freed, |scope, freed| scope.at_mark = scope.at_mark.less(freed));
        } else {
            self.unreserve(place, &call.reserved);
        }
        let overrun = actual.less(&call.reserved);
        self.spend(place, &actual, &overrun, call.dispatched_ms, now_ms);
        overrun
    }

    /// Ends a call; what it was before is returned.
    fn end(&mut self, id: &CallId, state: CallState) -> Call {
        let call = self.call(id);
        let before = call.clone();
        call.state = state;
        call.reserved = Amounts::default();
        if let Some(&place) = self.places.get(&before.scope) {
            self.nodes[place].calls.remove(id);
        }
        before
    }

    fn hold_id(&mut self, id: &CallId) {
        let call = self.end(id, CallState::Held);
        // What is a level was given back when whoever had it ended.
        let held = call.reserved.only(|line| !line.is_level());
        self.call(id).reserved = held;
        let place = self.places[&call.scope];
        self.unreserve(place, &call.reserved);
        self.change(place, &held, |scope, held| scope.held = scope.held.plus(held));
    }

    fn unreserve(&mut self, place: Place, amounts: &Amounts) {
        self.change(place, amounts, |scope, amounts| scope.reserved = scope.reserved.less(amounts));
    }

    /// Books what was spent, in the windows too, and lets a carved scope that was overrun count in full above.
    fn spend(&mut self, place: Place, actual: &Amounts, overrun: &Amounts, at_ms: u64, now_ms: u64) {
        self.change(place, actual, |scope, actual| {
            scope.spent = scope.spent.plus(actual);
            for &span in scope.terms.windows.keys() {
                scope.windows.entry(span).or_default().book(span, at_ms, now_ms, actual);
            }
        });
        if overrun.is_nothing() {
            return;
        }
        self.change(place, overrun, |scope, overrun| scope.overrun = scope.overrun.plus(overrun));
        let mut next = Some(place);
        while let Some(place) = next {
            next = self.nodes[place].parent;
            let scope = &self.nodes[place].scope;
            let grown = scope.committed().less(&scope.counted).only(|line| scope.carves(line));
            if let (Some(parent), false) = (next, grown.is_nothing()) {
                let scope = self.scope_at(place);
                scope.counted = scope.counted.plus(&grown);
                self.change(parent, &grown, |scope, grown| {
                    scope.carved = scope.carved.plus(grown);
                    scope.overrun = scope.overrun.plus(grown);
                });
            }
        }
    }

    /// Changes a scope and everything around it, each line as far as whoever keeps it.
    fn change(&mut self, from: Place, amounts: &Amounts, mut change: impl FnMut(&mut Scope, &Amounts)) {
        let (mut rest, mut next) = (*amounts, Some(from));
        while let Some(place) = next.filter(|_| !rest.is_nothing()) {
            let scope = self.scope_at(place);
            change(scope, &rest);
            if !scope.terms.carve.is_empty() || !scope.terms.apart.is_empty() {
                rest = rest.only(|line| !scope.keeps(line));
            }
            next = self.nodes[place].parent;
        }
    }

    /// A scope that is about to change.
    fn scope_at(&mut self, place: Place) -> &mut Scope {
        let node = &mut self.nodes[place];
        if !node.changed {
            node.changed = true;
            self.changed_scopes.push(place);
        }
        &mut node.scope
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
