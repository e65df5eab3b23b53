//! Random stories of a small tree of scopes, for every test that compares two ledgers or looks for a broken promise.

use proptest::prelude::*;

use super::super::*;
use crate::rules::window::Span;

/// One operation. Scopes and calls are meant by number; a number that means nothing yet is a step without effect.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Open { scope: usize, limit: u64, carve: bool },
    Reserve { scope: usize, tokens: u64, memory: u64 },
    Release(usize),
    Dispatch(usize),
    Settle(usize, u64),
    Hold(usize),
    WriteOff(usize, u64),
    Renew(usize, u64, u64),
    Mark(usize),
    Close(usize),
    TopUp(usize, u64),
    Wait(u64),
}

/// The scopes of a story, each after its parent.
pub(crate) const SCOPES: [&str; 9] = ["", "a", "b", "a/l", "a/l/i", "a/l/i/x", "a/l/i/y", "a/l/i/x/c", "a/l/i/x/d"];

/// A story as it is told: what time it is, and the calls so far.
#[derive(Default)]
pub(crate) struct Teller {
    pub(crate) now_ms: u64,
    calls: usize,
}

/// The id of the n-th call.
pub(crate) fn call(number: usize) -> CallId {
    CallId::new(format!("call-{number}"))
}

fn tokens(amount: u64) -> Amounts {
    Amounts::of(Line::Tokens, amount)
}

/// The terms of a scope: the outer ones have windows, the attempts gaps.
fn terms(scope: usize, limit: u64, carve: bool) -> Terms {
    let limits = Limits::from_iter([(Line::Tokens, limit), (Line::MemoryBytes, limit)]);
    let window = |span, limit| (span, Limits::from_iter([(Line::Tokens, limit)]));
    let attempt = ScopeId::of_path(SCOPES[scope]).level() == Level::Attempt;
    let gap = if attempt { Limits::from_iter([(Line::Tokens, limit / 2)]) } else { Limits::default() };
    Terms {
        limits,
        windows: if scope < 2 { [window(Span::Hour, limit / 2), window(Span::Day, limit)].into() } else { [].into() },
        gap,
        first_gap: if attempt { Limits::from_iter([(Line::Tokens, limit / 3)]) } else { Limits::default() },
        carve: if carve && scope > 0 { vec![Line::Tokens, Line::MemoryBytes] } else { vec![] },
        apart: if !carve && attempt { vec![Line::MemoryBytes] } else { vec![] },
    }
}

impl Teller {
    /// Tells a step to a ledger, and what came of it in words.
    pub(crate) fn tell(&mut self, ledger: &mut Ledger, step: &Step) -> String {
        let now_ms = self.now_ms;
        let id = |scope: &usize| ScopeId::of_path(SCOPES[*scope]);
        let dispatched = |number: &usize| Dispatched(call(*number));
        match step {
            Step::Open { scope, limit, carve } => {
                format!("{:?}", ledger.open(&id(scope), terms(*scope, *limit, *carve), now_ms))
            }
            Step::Reserve { scope, tokens, memory } => {
                let amounts = [(Line::Tokens, *tokens), (Line::MemoryBytes, *memory)].into_iter().collect();
                let reserved = ledger.reserve(&id(scope), call(self.calls), &amounts, now_ms);
                self.calls += 1;
                format!("{reserved:?}")
            }
            Step::Release(number) => {
                ledger.release(Reservation(call(*number)));
                String::new()
            }
            Step::Dispatch(number) => format!("{:?}", ledger.dispatch(Reservation(call(*number)), now_ms)),
            Step::Settle(number, actual) => {
                format!("{:?}", ledger.settle(dispatched(number), &tokens(*actual), now_ms))
            }
            Step::Hold(number) => {
                ledger.hold(dispatched(number));
                String::new()
            }
            Step::WriteOff(number, actual) => {
                format!("{:?}", ledger.write_off(&call(*number), &tokens(*actual), now_ms))
            }
            Step::Renew(number, used, ahead) => {
                format!("{:?}", ledger.renew(&call(*number), &tokens(*used), &tokens(*ahead), now_ms))
            }
            Step::Mark(scope) => {
                if ledger.ensure_open(&id(scope)).is_ok() {
                    ledger.mark(&id(scope));
                }
                String::new()
            }
            Step::Close(scope) => {
                ledger.close(&id(scope), now_ms);
                String::new()
            }
            Step::TopUp(scope, amount) => format!("{:?}", ledger.top_up(&id(scope), &tokens(*amount), now_ms)),
            Step::Wait(ms) => {
                self.now_ms += ms;
                String::new()
            }
        }
    }
}

/// The scope that a step is about, if it is about one.
pub(crate) fn scope_of(step: &Step) -> Option<ScopeId> {
    match step {
        Step::Open { scope, .. }
        | Step::Reserve { scope, .. }
        | Step::Mark(scope)
        | Step::Close(scope)
        | Step::TopUp(scope, _) => Some(ScopeId::of_path(SCOPES[*scope])),
        Step::Release(_)
        | Step::Dispatch(_)
        | Step::Settle(..)
        | Step::Hold(_)
        | Step::WriteOff(..)
        | Step::Renew(..)
        | Step::Wait(_) => None,
    }
}

/// The call that a step is about, if it is about one.
pub(crate) fn call_of(step: &Step) -> Option<CallId> {
    match step {
        Step::Release(number)
        | Step::Dispatch(number)
        | Step::Settle(number, _)
        | Step::Hold(number)
        | Step::WriteOff(number, _)
        | Step::Renew(number, ..) => Some(call(*number)),
        Step::Open { .. } | Step::Reserve { .. } | Step::Mark(_) | Step::Close(_) | Step::TopUp(..) | Step::Wait(_) => {
            None
        }
    }
}

/// A story that opens the outer scopes first, so that most of its steps have an effect.
pub(crate) fn stories(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let open = |scope: usize, limit: u64| Step::Open { scope, limit, carve: false };
    let begin = [open(0, 2_000), open(1, 1_000), open(3, 1_000), open(4, 800), open(5, 400), open(6, 300)];
    let scope = || 0..SCOPES.len();
    let number = || 0..24_usize;
    let step = prop_oneof![
        3 => (scope(), 1..500_u64, any::<bool>()).prop_map(|(scope, limit, carve)| Step::Open { scope, limit, carve }),
        8 => (scope(), 0..150_u64, 0..50_u64)
            .prop_map(|(scope, tokens, memory)| Step::Reserve { scope, tokens, memory }),
        2 => number().prop_map(Step::Release),
        6 => number().prop_map(Step::Dispatch),
        5 => (number(), 0..120_u64).prop_map(|(number, actual)| Step::Settle(number, actual)),
        2 => number().prop_map(Step::Hold),
        1 => (number(), 0..120_u64).prop_map(|(number, actual)| Step::WriteOff(number, actual)),
        2 => (number(), 0..60_u64, 0..100_u64).prop_map(|(number, used, ahead)| Step::Renew(number, used, ahead)),
        1 => scope().prop_map(Step::Mark),
        1 => (3..SCOPES.len()).prop_map(Step::Close),
        1 => (scope(), 1..50_u64).prop_map(|(scope, amount)| Step::TopUp(scope, amount)),
        2 => (1..4_000_000_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..most).prop_map(move |steps| begin.iter().cloned().chain(steps).collect())
}
