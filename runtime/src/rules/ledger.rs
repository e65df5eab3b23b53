//! Budget lines, scopes, and the life of a call: reserve before, settle after, hold when in doubt.
//!
//! A call is `reserved -> dispatched -> settled`, or `reserved -> released`, or `dispatched -> held`. Never: does I/O,
//! reads a clock, gives anything back because time passed. Invariants here: L1 (spent + reserved + held never pass a
//! limit at a grant, on any scope), L2 (an overrun is booked in full and stops the scope), L5 (a call is settled once).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One kind of thing that a run may spend. Amounts are `u64` in the unit of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    TokensIn,
    TokensOut,
    Tokens,
    MicroUsd,
    ModelCalls,
    ToolCalls,
    WallMs,
    WorkMs,
    CpuMs,
    NetBytes,
    DiskBytes,
}

impl Line {
    /// Every line, in the order of its declaration.
    pub const ALL: [Line; 11] = [
        Line::TokensIn,
        Line::TokensOut,
        Line::Tokens,
        Line::MicroUsd,
        Line::ModelCalls,
        Line::ToolCalls,
        Line::WallMs,
        Line::WorkMs,
        Line::CpuMs,
        Line::NetBytes,
        Line::DiskBytes,
    ];

    /// The line's name in the contract, the journal and the verdict.
    pub fn name(self) -> &'static str {
        match self {
            Line::TokensIn => "tokens-in",
            Line::TokensOut => "tokens-out",
            Line::Tokens => "tokens",
            Line::MicroUsd => "micro-usd",
            Line::ModelCalls => "model-calls",
            Line::ToolCalls => "tool-calls",
            Line::WallMs => "wall-ms",
            Line::WorkMs => "work-ms",
            Line::CpuMs => "cpu-ms",
            Line::NetBytes => "net-bytes",
            Line::DiskBytes => "disk-bytes",
        }
    }

    /// The line's key in `[budget]` of a job.
    pub fn key(self) -> &'static str {
        match self {
            Line::MicroUsd => "usd",
            Line::WallMs => "wall",
            Line::WorkMs => "work",
            Line::CpuMs => "cpu",
            Line::NetBytes => "net",
            Line::DiskBytes => "disk",
            Line::TokensIn | Line::TokensOut | Line::Tokens | Line::ModelCalls | Line::ToolCalls => self.name(),
        }
    }
}

/// An amount for each line; a line that is not named is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amounts(BTreeMap<Line, u64>);

impl Amounts {
    /// The amount of a line.
    pub fn get(&self, line: Line) -> u64 {
        self.0.get(&line).copied().unwrap_or(0)
    }

    /// Sets the amount of a line.
    pub fn set(&mut self, line: Line, amount: u64) {
        if amount == 0 {
            self.0.remove(&line);
        } else {
            self.0.insert(line, amount);
        }
    }

    /// The lines that are not 0, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Line, u64)> + '_ {
        self.0.iter().map(|(&line, &amount)| (line, amount))
    }

    /// The sum with other amounts.
    pub fn plus(&self, other: &Amounts) -> Amounts {
        let mut sum = self.clone();
        sum.add(other);
        sum
    }

    fn add(&mut self, other: &Amounts) {
        // Saturating: a sum at `u64::MAX` can never fit a limit again, so it stays on the safe side.
        for (line, amount) in other.iter() {
            self.set(line, self.get(line).saturating_add(amount));
        }
    }

    fn subtract(&mut self, other: &Amounts) {
        for (line, amount) in other.iter() {
            let left = self.get(line).checked_sub(amount).expect("only what was added is subtracted");
            self.set(line, left);
        }
    }
}

impl FromIterator<(Line, u64)> for Amounts {
    fn from_iter<T: IntoIterator<Item = (Line, u64)>>(amounts: T) -> Self {
        let mut all = Self::default();
        for (line, amount) in amounts {
            all.set(line, amount);
        }
        all
    }
}

/// What was missing: the outermost scope that refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortfall {
    pub scope: String,
    pub line: Line,
    pub asked: u64,
    pub left: u64,
}

/// A scope of one ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeId(usize);

/// A call that has its reservation and was not sent. Dropping one keeps the amount reserved until the ledger closes.
#[must_use = "a reservation is released or dispatched"]
#[derive(Debug, PartialEq, Eq)]
pub struct Reservation(u64);

/// A call that may have been sent. Dropping one (a cancelled future) makes it held when the ledger closes.
#[must_use = "a dispatched call is settled or held"]
#[derive(Debug, PartialEq, Eq)]
pub struct Dispatched(u64);

/// Who may spend how much of what, and what has been spent, reserved or is in doubt.
#[derive(Debug, Default)]
pub struct Ledger {
    scopes: Vec<Scope>,
    calls: BTreeMap<u64, OpenCall>,
    next_call: u64,
}

#[derive(Debug)]
struct Scope {
    name: String,
    parent: Option<ScopeId>,
    limits: BTreeMap<Line, u64>,
    spent: Amounts,
    reserved: Amounts,
    held: Amounts,
    overrun: Amounts,
}

#[derive(Debug)]
struct OpenCall {
    scope: ScopeId,
    amounts: Amounts,
    sent: bool,
}

/// The totals of a scope, as the verdict shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub limits: BTreeMap<Line, u64>,
    pub spent: Amounts,
    pub held: Amounts,
    /// What providers reported above what was reserved. Part of `spent`.
    pub overrun: Amounts,
}

impl Ledger {
    /// Opens a scope. A child shares: what it spends counts in every ancestor.
    pub fn open(&mut self, name: &str, parent: Option<ScopeId>, limits: BTreeMap<Line, u64>) -> ScopeId {
        self.scopes.push(Scope {
            name: name.to_owned(),
            parent,
            limits,
            spent: Amounts::default(),
            reserved: Amounts::default(),
            held: Amounts::default(),
            overrun: Amounts::default(),
        });
        ScopeId(self.scopes.len() - 1)
    }

    /// Books what a scope had spent and held before this process, without asking its limits: it is the truth.
    pub fn restore(&mut self, scope: ScopeId, spent: &Amounts, held: &Amounts) {
        self.scopes[scope.0].spent.add(spent);
        self.scopes[scope.0].held.add(held);
    }

    /// What may still be spent on a line: the smallest over the scope and its ancestors, with the scope's name.
    /// `None` if no scope bounds the line; then nothing of it may be reserved.
    pub fn headroom(&self, scope: ScopeId, line: Line) -> Option<(u64, &str)> {
        self.path(scope)
            .filter_map(|scope| Some((scope.left(line)?, scope.name.as_str())))
            // On a tie the outermost scope is named: raising an inner limit would not help.
            .reduce(|inner, outer| if outer.0 <= inner.0 { outer } else { inner })
    }

    /// Reserves on the scope and every ancestor, or changes nothing.
    ///
    /// # Errors
    /// The [`Shortfall`] of the first line that does not fit, or of an unbounded line (`left` is 0).
    pub fn reserve(&mut self, scope: ScopeId, amounts: Amounts) -> Result<Reservation, Shortfall> {
        for (line, asked) in amounts.iter() {
            let (left, name) = self.headroom(scope, line).unwrap_or((0, "none"));
            if asked > left {
                return Err(Shortfall { scope: name.to_owned(), line, asked, left });
            }
        }
        self.each(scope, |scope| scope.reserved.add(&amounts));
        self.next_call += 1;
        self.calls.insert(self.next_call, OpenCall { scope, amounts, sent: false });
        Ok(Reservation(self.next_call))
    }

    /// Gives back a reservation whose call was never sent.
    pub fn release(&mut self, reservation: Reservation) {
        let call = self.take(reservation.0);
        self.each(call.scope, |scope| scope.reserved.subtract(&call.amounts));
    }

    /// Marks a call as sent. From here on it is settled or held, never released.
    pub fn dispatch(&mut self, reservation: Reservation) -> Dispatched {
        let call = self.calls.get_mut(&reservation.0).expect("a reservation is of an open call");
        call.sent = true;
        Dispatched(reservation.0)
    }

    /// Books what a call really cost. Returns what it cost above its reservation, which is booked all the same.
    pub fn settle(&mut self, dispatched: Dispatched, actual: &Amounts) -> Amounts {
        let call = self.take(dispatched.0);
        let overrun: Amounts =
            actual.iter().map(|(line, amount)| (line, amount.saturating_sub(call.amounts.get(line)))).collect();
        self.each(call.scope, |scope| {
            scope.reserved.subtract(&call.amounts);
            scope.spent.add(actual);
            scope.overrun.add(&overrun);
        });
        overrun
    }

    /// Nobody knows what the call cost: its whole reservation stays counted until an operator says otherwise.
    pub fn hold(&mut self, dispatched: Dispatched) {
        let call = self.take(dispatched.0);
        self.each(call.scope, |scope| {
            scope.reserved.subtract(&call.amounts);
            scope.held.add(&call.amounts);
        });
    }

    /// Books what a meter of the host measured (time, bytes written). It has happened, so it is booked past a limit
    /// too; who measures is who enforces.
    pub fn meter(&mut self, scope: ScopeId, line: Line, amount: u64) {
        let measured: Amounts = [(line, amount)].into_iter().collect();
        self.each(scope, |scope| scope.spent.add(&measured));
    }

    /// Ends every open call: what was not sent is released, what may have been sent is held.
    pub fn close(&mut self) {
        let open: Vec<(u64, bool)> = self.calls.iter().map(|(&id, call)| (id, call.sent)).collect();
        for (id, sent) in open {
            if sent {
                self.hold(Dispatched(id));
            } else {
                self.release(Reservation(id));
            }
        }
    }

    /// The totals of a scope.
    pub fn totals(&self, scope: ScopeId) -> Totals {
        let scope = &self.scopes[scope.0];
        Totals {
            limits: scope.limits.clone(),
            spent: scope.spent.clone(),
            held: scope.held.clone(),
            overrun: scope.overrun.clone(),
        }
    }

    fn path(&self, from: ScopeId) -> impl Iterator<Item = &Scope> {
        std::iter::successors(Some(&self.scopes[from.0]), |scope| scope.parent.map(|parent| &self.scopes[parent.0]))
    }

    fn each(&mut self, from: ScopeId, mut change: impl FnMut(&mut Scope)) {
        let mut next = Some(from);
        while let Some(id) = next {
            let scope = &mut self.scopes[id.0];
            change(scope);
            next = scope.parent;
        }
    }

    fn take(&mut self, id: u64) -> OpenCall {
        self.calls.remove(&id).expect("a call is ended once: its token was moved here")
    }
}

impl Scope {
    fn committed(&self, line: Line) -> u64 {
        self.spent.get(line).saturating_add(self.reserved.get(line)).saturating_add(self.held.get(line))
    }

    fn left(&self, line: Line) -> Option<u64> {
        self.limits.get(&line).map(|limit| limit.saturating_sub(self.committed(line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(line: Line, amount: u64) -> Amounts {
        [(line, amount)].into_iter().collect()
    }

    fn two_scopes(item: u64, attempt: u64) -> (Ledger, ScopeId, ScopeId) {
        let mut ledger = Ledger::default();
        let outer = ledger.open("item", None, BTreeMap::from([(Line::Tokens, item)]));
        let inner = ledger.open("attempt", Some(outer), BTreeMap::from([(Line::Tokens, attempt)]));
        (ledger, outer, inner)
    }

    #[test]
    fn the_limit_itself_fits_and_one_more_does_not() {
        let (mut ledger, _, attempt) = two_scopes(100, 10);
        assert_eq!(
            ledger.reserve(attempt, of(Line::Tokens, 11)),
            Err(Shortfall { scope: "attempt".into(), line: Line::Tokens, asked: 11, left: 10 })
        );
        assert!(ledger.reserve(attempt, of(Line::Tokens, 10)).is_ok());
    }

    #[test]
    fn a_refusal_names_the_outermost_scope_and_changes_nothing() {
        let (mut ledger, item, attempt) = two_scopes(5, 10);
        let refused = ledger.reserve(attempt, of(Line::Tokens, 6)).expect_err("over the item's limit");
        assert_eq!((refused.scope.as_str(), refused.left), ("item", 5));
        assert_eq!(ledger.headroom(item, Line::Tokens), Some((5, "item")));
    }

    #[test]
    fn a_line_that_nothing_bounds_cannot_be_reserved() {
        let (mut ledger, _, attempt) = two_scopes(5, 5);
        assert!(ledger.reserve(attempt, of(Line::MicroUsd, 1)).is_err());
        assert!(ledger.reserve(attempt, of(Line::MicroUsd, 0)).is_ok());
    }

    #[test]
    fn a_call_in_doubt_stays_counted_in_full() {
        let (mut ledger, item, attempt) = two_scopes(10, 10);
        let reservation = ledger.reserve(attempt, of(Line::Tokens, 8)).expect("fits");
        let dispatched = ledger.dispatch(reservation);
        ledger.hold(dispatched);
        assert_eq!(ledger.headroom(attempt, Line::Tokens), Some((2, "item")));
        assert_eq!(ledger.totals(item).held.get(Line::Tokens), 8);
    }

    #[test]
    fn closing_releases_what_was_not_sent_and_holds_what_was() {
        let (mut ledger, item, attempt) = two_scopes(10, 10);
        let unsent = ledger.reserve(attempt, of(Line::Tokens, 3)).expect("fits");
        let sent = ledger.reserve(attempt, of(Line::Tokens, 4)).expect("fits");
        drop((unsent, ledger.dispatch(sent)));
        ledger.close();
        assert_eq!(ledger.totals(item).held.get(Line::Tokens), 4);
        assert_eq!(ledger.headroom(attempt, Line::Tokens), Some((6, "item")));
    }

    #[test]
    fn an_overrun_is_booked_in_full_and_stops_the_scope() {
        let (mut ledger, _, attempt) = two_scopes(10, 10);
        let reservation = ledger.reserve(attempt, of(Line::Tokens, 8)).expect("fits");
        let dispatched = ledger.dispatch(reservation);
        let overrun = ledger.settle(dispatched, &of(Line::Tokens, 15));
        assert_eq!(overrun.get(Line::Tokens), 7);
        assert_eq!(ledger.totals(attempt).overrun.get(Line::Tokens), 7);
        assert!(ledger.reserve(attempt, of(Line::Tokens, 1)).is_err());
    }

    #[test]
    fn what_an_item_spent_before_counts() {
        let (mut ledger, item, attempt) = two_scopes(10, 10);
        ledger.restore(item, &of(Line::Tokens, 4), &of(Line::Tokens, 3));
        assert_eq!(ledger.headroom(attempt, Line::Tokens), Some((3, "item")));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Reserve(u64),
        Release,
        Settle(u64),
        Hold,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..60u64).prop_map(Step::Reserve),
            Just(Step::Release),
            (0..=100u64).prop_map(Step::Settle),
            Just(Step::Hold),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn no_order_of_operations_passes_a_limit(steps in steps(), item in 0..200u64, attempt in 0..200u64) {
            let (mut ledger, outer, inner) = two_scopes(item, attempt);
            let mut open = Vec::new();
            let (mut spent, mut held) = (0u64, 0u64);
            for step in steps {
                match step {
                    Step::Reserve(amount) => {
                        if let Ok(reservation) = ledger.reserve(inner, of(Line::Tokens, amount)) {
                            open.push((reservation, amount));
                        }
                    }
                    Step::Release => {
                        if let Some((reservation, _)) = open.pop() {
                            ledger.release(reservation);
                        }
                    }
                    Step::Settle(percent) => {
                        if let Some((reservation, amount)) = open.pop() {
                            let dispatched = ledger.dispatch(reservation);
                            let actual = amount * percent / 100;
                            prop_assert_eq!(ledger.settle(dispatched, &of(Line::Tokens, actual)), Amounts::default());
                            spent += actual;
                        }
                    }
                    Step::Hold => {
                        if let Some((reservation, amount)) = open.pop() {
                            let dispatched = ledger.dispatch(reservation);
                            ledger.hold(dispatched);
                            held += amount;
                        }
                    }
                }
                let reserved: u64 = open.iter().map(|(_, amount)| amount).sum();
                for (scope, limit) in [(outer, item), (inner, attempt)] {
                    prop_assert!(spent + held + reserved <= limit);
                    let totals = ledger.totals(scope);
                    prop_assert_eq!(totals.spent.get(Line::Tokens), spent);
                    prop_assert_eq!(totals.held.get(Line::Tokens), held);
                }
            }
        }
    }
}
