//! The life of calls in a tree of scopes, example by example and in random stories.

mod races;
pub(crate) mod story;

use std::collections::BTreeMap;

use proptest::prelude::*;

use self::story::{Step, Teller};
use super::*;
use crate::rules::window::Span;

const HOUR: u64 = 3_600_000;

fn tokens(amount: u64) -> Amounts {
    Amounts::of(Line::Tokens, amount)
}

fn limit(amount: u64) -> Terms {
    Terms { limits: Limits::from_iter([(Line::Tokens, amount)]), ..Terms::default() }
}

fn carve(amount: u64) -> Terms {
    Terms { carve: vec![Line::Tokens], ..limit(amount) }
}

fn open(ledger: &mut Ledger, path: &str, terms: Terms) -> ScopeId {
    let id = ScopeId::of_path(path);
    ledger.open(&id, terms, 0).expect("opens");
    id
}

/// A tenant and one line of it.
fn two_scopes(outer: u64, inner: u64) -> (Ledger, ScopeId, ScopeId) {
    let mut ledger = Ledger::default();
    open(&mut ledger, "", Terms::default());
    let outer = open(&mut ledger, "acme", limit(outer));
    let inner = open(&mut ledger, "acme/triage", limit(inner));
    (ledger, outer, inner)
}

/// A call that was sent.
fn sent(ledger: &mut Ledger, scope: &ScopeId, id: &str, amount: u64) -> Dispatched {
    let reservation = ledger.reserve(scope, CallId::new(id), &tokens(amount), 0).expect("fits");
    ledger.dispatch(reservation, 0).expect("was reserved")
}

fn left(ledger: &Ledger, scope: &ScopeId) -> (u64, String) {
    let headroom = ledger.headroom(scope, Line::Tokens, 0).expect("is limited");
    (headroom.left, headroom.scope.path().to_owned())
}

fn short(denied: Result<Reservation, Denial>) -> Shortfall {
    match denied {
        Err(Denial::Short(shortfall)) => *shortfall,
        other => panic!("not short: {other:?}"),
    }
}

#[test]
fn the_limit_itself_fits_and_one_more_does_not() {
    let (mut ledger, _, line) = two_scopes(100, 10);
    let refused = short(ledger.reserve(&line, CallId::new("a"), &tokens(11), 0));
    assert_eq!((refused.scope.as_str(), refused.path.path()), ("line", "acme/triage"));
    assert_eq!((refused.line, refused.asked, refused.left), (Line::Tokens, 11, 10));
    assert!(ledger.reserve(&line, CallId::new("a"), &tokens(10), 0).is_ok());
}

#[test]
fn a_refusal_names_the_outermost_scope_and_changes_nothing() {
    let (mut ledger, tenant, line) = two_scopes(10, 10);
    let refused = short(ledger.reserve(&line, CallId::new("a"), &tokens(11), 0));
    assert_eq!(refused.scope, "tenant");
    assert_eq!(left(&ledger, &tenant), (10, "acme".to_owned()));
    assert!(ledger.find(&CallId::new("a")).is_none());
}

#[test]
fn a_line_that_nothing_limits_cannot_be_reserved() {
    let (mut ledger, _, line) = two_scopes(5, 5);
    let money = Amounts::of(Line::MicroUsd, 1);
    assert_eq!(short(ledger.reserve(&line, CallId::new("a"), &money, 0)).left, 0);
}

#[test]
fn a_limit_of_nothing_allows_nothing() {
    let (mut ledger, _, line) = two_scopes(0, 5);
    assert_eq!(short(ledger.reserve(&line, CallId::new("a"), &tokens(1), 0)).scope, "tenant");
}

#[test]
fn a_call_in_doubt_stays_counted_in_full_until_somebody_knows() {
    let (mut ledger, tenant, line) = two_scopes(10, 10);
    let call = sent(&mut ledger, &line, "a", 8);
    ledger.hold(call);
    assert_eq!(left(&ledger, &line), (2, "acme".to_owned()));
    assert_eq!(ledger.totals(&tenant).held, tokens(8));
    // A week later the provider's bill says what it was.
    assert_eq!(ledger.settle_id(&CallId::new("a"), &tokens(3), 200 * HOUR), Ok(Amounts::default()));
    assert_eq!(left(&ledger, &line).0, 7);
}

#[test]
fn a_call_is_settled_once() {
    let (mut ledger, _, line) = two_scopes(10, 10);
    let call = sent(&mut ledger, &line, "a", 8);
    assert!(ledger.settle(call, &tokens(5), 0).is_ok());
    let again = ledger.settle_id(&CallId::new("a"), &tokens(5), 0);
    assert!(matches!(again, Err(Denial::NotOpen { state: Some(CallState::Settled), .. })));
    assert_eq!(left(&ledger, &line).0, 5);
    assert!(matches!(ledger.reserve(&line, CallId::new("a"), &tokens(1), 0), Err(Denial::Taken(_))));
}

#[test]
fn what_was_not_sent_cannot_be_settled() {
    let (mut ledger, _, line) = two_scopes(10, 10);
    let _reservation = ledger.reserve(&line, CallId::new("a"), &tokens(8), 0).expect("fits");
    assert!(ledger.settle_id(&CallId::new("a"), &tokens(1), 0).is_err());
}

#[test]
fn closing_releases_what_was_not_sent_and_holds_what_was() {
    let (mut ledger, _, line) = two_scopes(10, 10);
    let unsent = ledger.reserve(&line, CallId::new("a"), &tokens(3), 0).expect("fits");
    let _sent = sent(&mut ledger, &line, "b", 4);
    ledger.close(&line, 0);
    assert_eq!(ledger.totals(&line).held, tokens(4));
    // Whoever still has the reservation may not send.
    assert!(matches!(ledger.dispatch(unsent, 0), Err(Denial::NotOpen { .. })));
    assert!(matches!(ledger.reserve(&line, CallId::new("c"), &tokens(1), 0), Err(Denial::Closed(_))));
    assert!(ledger.open(&line, limit(10), 0).is_err(), "a closed scope stays closed");
    ledger.audit().expect("agrees");
}

#[test]
fn an_overrun_is_booked_in_full_and_stops_the_scope() {
    let (mut ledger, tenant, line) = two_scopes(10, 10);
    let call = sent(&mut ledger, &line, "a", 8);
    assert_eq!(ledger.settle(call, &tokens(15), 0), Ok(tokens(7)));
    assert_eq!(ledger.totals(&tenant).overrun, tokens(7));
    assert_eq!(ledger.scope(&tenant).expect("open").debt(), tokens(5));
    assert!(ledger.reserve(&line, CallId::new("b"), &tokens(1), 0).is_err());
}

#[test]
fn what_is_carved_counts_whole_above_and_goes_back_when_the_child_closes() {
    let (mut ledger, _, line) = two_scopes(100, 100);
    let item = open(&mut ledger, "acme/triage/item", carve(30));
    assert_eq!(left(&ledger, &line).0, 70);
    let _call = sent(&mut ledger, &item, "a", 10);
    assert_eq!(left(&ledger, &line).0, 70, "what the child spends of its own counts only there");
    assert_eq!(left(&ledger, &item), (20, "acme/triage/item".to_owned()));
    ledger.settle_id(&CallId::new("a"), &tokens(4), 0).expect("was sent");
    let _held = sent(&mut ledger, &item, "b", 5);
    ledger.close(&item, 0);
    assert_eq!(left(&ledger, &line).0, 100 - 4 - 5);
    ledger.audit().expect("agrees");
    // The call that was in doubt is settled above the closed scope too.
    ledger.settle_id(&CallId::new("b"), &tokens(1), 0).expect("is held");
    assert_eq!(left(&ledger, &line).0, 100 - 4 - 1);
    ledger.audit().expect("agrees");
}

#[test]
fn a_child_cannot_carve_more_than_its_parent_has() {
    let (mut ledger, _, _) = two_scopes(100, 20);
    let item = ScopeId::of_path("acme/triage/item");
    let refused = ledger.open(&item, carve(21), 0).expect_err("too much");
    assert!(matches!(refused, Denial::Short(shortfall) if shortfall.left == 20));
    assert!(ledger.scope(&item).is_none());
    assert!(ledger.open(&item, carve(20), 0).is_ok());
}

#[test]
fn what_is_apart_is_limited_below_and_counts_nowhere_above() {
    let (mut ledger, _, line) = two_scopes(100, 100);
    let item = open(&mut ledger, "acme/triage/item", Terms { apart: vec![Line::Tokens], ..limit(300) });
    assert_eq!(left(&ledger, &item), (300, "acme/triage/item".to_owned()), "more than around it");
    let call = sent(&mut ledger, &item, "a", 200);
    assert!(ledger.reserve(&item, CallId::new("b"), &tokens(101), 0).is_err());
    ledger.settle(call, &tokens(150), 0).expect("was sent");
    let _held = sent(&mut ledger, &item, "c", 50);
    assert_eq!(left(&ledger, &line).0, 100);
    ledger.audit().expect("agrees");
    ledger.close(&item, 0);
    // Late, and still nobody else's.
    ledger.settle_id(&CallId::new("c"), &tokens(40), 0).expect("is held");
    assert_eq!((left(&ledger, &line).0, ledger.totals(&item).spent), (100, tokens(190)));
    ledger.audit().expect("agrees");
}

#[test]
fn what_a_call_gives_back_is_free_and_no_more_than_it_has() {
    let (mut ledger, _, line) = two_scopes(100, 100);
    let call = sent(&mut ledger, &line, "a", 30);
    ledger.give_back(call.id(), &tokens(10)).expect("was sent");
    assert_eq!(left(&ledger, &line).0, 80);
    ledger.give_back(call.id(), &tokens(u64::MAX)).expect("was sent");
    assert_eq!(left(&ledger, &line).0, 100);
    ledger.audit().expect("agrees");
    ledger.settle(call, &tokens(0), 0).expect("was sent");
    assert!(matches!(ledger.give_back(&CallId::new("a"), &tokens(1)), Err(Denial::NotOpen { .. })));
}

#[test]
fn an_overrun_of_a_carved_child_counts_above_at_once() {
    let (mut ledger, _, line) = two_scopes(100, 100);
    let item = open(&mut ledger, "acme/triage/item", carve(30));
    let call = sent(&mut ledger, &item, "a", 30);
    ledger.settle(call, &tokens(50), 0).expect("was sent");
    assert_eq!(left(&ledger, &line).0, 50);
    ledger.audit().expect("agrees");
    ledger.close(&item, 0);
    assert_eq!(left(&ledger, &line).0, 50);
    ledger.audit().expect("agrees");
}

#[test]
fn before_the_first_mark_the_tighter_gap_holds_and_each_mark_starts_it_anew() {
    let (mut ledger, _, _) = two_scopes(1_000, 1_000);
    let gaps = Terms {
        gap: Limits::from_iter([(Line::Tokens, 50)]),
        first_gap: Limits::from_iter([(Line::Tokens, 20)]),
        ..limit(1_000)
    };
    let item = open(&mut ledger, "acme/triage/item", gaps);
    let refused = short(ledger.reserve(&item, CallId::new("a"), &tokens(21), 0));
    assert_eq!((refused.limit, refused.left), (LimitKind::FirstGap, 20));
    let call = sent(&mut ledger, &item, "a", 20);
    ledger.settle(call, &tokens(15), 0).expect("was sent");
    assert_eq!(left(&ledger, &item).0, 5);
    ledger.mark(&item);
    let refused = short(ledger.reserve(&item, CallId::new("b"), &tokens(51), 0));
    assert_eq!((refused.limit, refused.left), (LimitKind::Gap, 50));
    // What is in flight at a mark counts after it.
    let call = sent(&mut ledger, &item, "b", 50);
    ledger.mark(&item);
    assert_eq!(left(&ledger, &item).0, 0);
    ledger.settle(call, &tokens(10), 0).expect("was sent");
    assert_eq!(left(&ledger, &item).0, 40);
}

#[test]
fn what_is_written_off_after_a_mark_is_not_for_the_gap_after_it() {
    let (mut ledger, _, _) = two_scopes(1_000, 1_000);
    let gap = Terms { gap: Limits::from_iter([(Line::Tokens, 40)]), ..limit(1_000) };
    let item = open(&mut ledger, "acme/triage/item", gap);
    let call = sent(&mut ledger, &item, "a", 40);
    ledger.hold(call);
    ledger.mark(&item);
    ledger.write_off(&CallId::new("a"), &tokens(5), 0).expect("is held");
    assert_eq!(left(&ledger, &item).0, 40);
}

#[test]
fn a_top_up_of_a_carved_line_is_whole_or_nothing() {
    let (mut ledger, _, line) = two_scopes(100, 100);
    let item = open(&mut ledger, "acme/triage/item", carve(90));
    assert!(ledger.top_up(&item, &tokens(11), 0).is_err());
    assert_eq!((left(&ledger, &item).0, left(&ledger, &line).0), (90, 10));
    ledger.top_up(&item, &tokens(10), 0).expect("the parent has it");
    assert_eq!((left(&ledger, &item).0, left(&ledger, &line).0), (100, 0));
    ledger.audit().expect("agrees");
}

#[test]
fn a_window_lets_through_no_more_than_its_limit_wherever_it_begins() {
    let mut ledger = Ledger::default();
    let windows = BTreeMap::from([(Span::Hour, Limits::from_iter([(Line::Tokens, 100)]))]);
    let host = open(&mut ledger, "", Terms { windows, ..Terms::default() });
    let mut spent: Vec<(u64, u64)> = Vec::new();
    for minute in 0..600 {
        let now = minute * 60_000;
        let id = CallId::new(format!("{minute}"));
        if let Ok(reservation) = ledger.reserve(&host, id, &tokens(30), now) {
            let call = ledger.dispatch(reservation, now).expect("was reserved");
            ledger.settle(call, &tokens(30), now).expect("was sent");
            spent.push((now, 30));
        }
    }
    for &(start, _) in &spent {
        let inside: u64 =
            spent.iter().filter(|(at, _)| (start..start + HOUR).contains(at)).map(|(_, tokens)| tokens).sum();
        assert!(inside <= 100, "{inside} from {start}");
    }
    assert!(spent.len() >= 3 * 9, "and it does let through: {}", spent.len());
}

#[test]
fn what_is_in_doubt_counts_in_every_window_until_somebody_knows() {
    let mut ledger = Ledger::default();
    let windows = BTreeMap::from([(Span::Hour, Limits::from_iter([(Line::Tokens, 100)]))]);
    let host = open(&mut ledger, "", Terms { windows, ..Terms::default() });
    let call = sent(&mut ledger, &host, "a", 60);
    ledger.hold(call);
    assert_eq!(ledger.headroom(&host, Line::Tokens, 50 * HOUR).map(|it| it.left), Some(40));
    ledger.write_off(&CallId::new("a"), &tokens(60), 50 * HOUR).expect("is held");
    assert_eq!(ledger.headroom(&host, Line::Tokens, 50 * HOUR).map(|it| it.left), Some(100), "it was of long ago");
}

#[test]
fn a_level_is_given_back_and_never_spent() {
    let mut ledger = Ledger::default();
    let memory = |amount| Amounts::of(Line::MemoryBytes, amount);
    let terms = Terms { limits: Limits::from_iter([(Line::MemoryBytes, 64)]), ..Terms::default() };
    let host = open(&mut ledger, "", terms);
    let reservation = ledger.reserve(&host, CallId::new("a"), &memory(64), 0).expect("fits");
    let call = ledger.dispatch(reservation, 0).expect("was reserved");
    assert!(ledger.reserve(&host, CallId::new("b"), &memory(1), 0).is_err());
    // Whoever had it is gone, and so is what it had.
    ledger.hold(call);
    assert!(ledger.reserve(&host, CallId::new("b"), &memory(64), 0).is_ok());
    assert_eq!(ledger.totals(&host).spent, Amounts::default());
}

#[test]
fn a_renewal_books_what_was_used_and_reserves_what_is_left() {
    let (mut ledger, _, line) = two_scopes(100, 25);
    let call = sent(&mut ledger, &line, "a", 10);
    let renewed = ledger.renew(call.id(), &tokens(6), &tokens(10), 0).expect("is sent");
    assert_eq!((renewed.reserved, renewed.short.len()), (tokens(10), 0));
    let renewed = ledger.renew(call.id(), &tokens(10), &tokens(10), 0).expect("is sent");
    assert_eq!(renewed.reserved, tokens(9), "25 less 16");
    assert_eq!(renewed.short[0].1.scope.path(), "acme/triage");
    ledger.settle(call, &tokens(2), 0).expect("is sent");
    assert_eq!(ledger.totals(&line).spent, tokens(18));
    ledger.audit().expect("agrees");
}

#[test]
fn a_limit_that_was_lowered_refuses_and_refunds_nothing() {
    let (mut ledger, tenant, line) = two_scopes(100, 100);
    let call = sent(&mut ledger, &line, "a", 50);
    ledger.settle(call, &tokens(50), 0).expect("was sent");
    ledger.open(&tenant, limit(40), 0).expect("new terms");
    assert_eq!(ledger.scope(&tenant).expect("open").debt(), tokens(10));
    assert_eq!(left(&ledger, &line), (0, "acme".to_owned()));
    ledger.top_up(&tenant, &tokens(15), 0).expect("has a limit");
    assert_eq!(left(&ledger, &line), (5, "acme".to_owned()));
    ledger.open(&tenant, limit(50), 0).expect("new terms");
    assert_eq!(left(&ledger, &line).0, 15, "what an operator added stays");
    assert!(matches!(ledger.top_up(&tenant, &Amounts::of(Line::MicroUsd, 1), 0), Err(Denial::NoLimit { .. })));
}

#[test]
fn a_path_of_eight_scopes_is_the_longest() {
    let mut ledger = Ledger::default();
    let mut scope = open(&mut ledger, "", limit(1));
    for _ in 1..MAX_DEPTH {
        scope = scope.child("x");
        ledger.open(&scope, limit(1), 0).expect("not too deep");
    }
    assert!(matches!(ledger.open(&scope.child("x"), limit(1), 0), Err(Denial::TooDeep(_))));
}

/// Depth 5 and 8 children everywhere, the children of every other scope carved: whatever the leaves ask, the root's limit
/// holds, and each refusal says who was short.
#[test]
fn nested_budgets_never_pass_the_root() {
    const ROOT: u64 = 2_000_000;
    const ASKED: u64 = 90;
    let mut ledger = Ledger::default();
    let root = open(&mut ledger, "", limit(ROOT));
    let mut level = vec![root.clone()];
    for depth in 0..5_u32 {
        let share = ROOT / 8_u64.pow(depth + 1) * 2;
        let mut next = Vec::new();
        for (number, parent) in level.iter().enumerate() {
            for child in 0..8 {
                let id = parent.child(&format!("{child}"));
                let terms = if number % 2 == 0 { carve(share / 2) } else { limit(share) };
                if ledger.open(&id, terms, 0).is_ok() {
                    next.push(id);
                }
            }
        }
        level = next;
    }
    assert!(level.len() > 8_000, "{}", level.len());
    let (mut granted, mut refused) = (0, 0);
    for (number, leaf) in level.iter().enumerate() {
        match ledger.reserve(leaf, CallId::new(format!("{number}")), &tokens(ASKED), 0) {
            Ok(reservation) => {
                granted += ASKED;
                let call = ledger.dispatch(reservation, 0).expect("was reserved");
                match number % 3 {
                    0 => drop(call),
                    1 => ledger.hold(call),
                    _ => drop(ledger.settle(call, &tokens(ASKED), 0)),
                }
            }
            Err(Denial::Short(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(granted <= ROOT && granted > 0, "{granted}");
    assert!(refused > 0);
    ledger.audit().expect("agrees");
    ledger.check_promises(&root).expect("holds");
    for tenant in 0..8 {
        ledger.close(&root.child(&format!("{tenant}")), 0);
    }
    let totals = ledger.totals(&root);
    assert_eq!(totals.spent.plus(&totals.held), tokens(granted));
    assert_eq!(left(&ledger, &root).0, ROOT - granted);
    ledger.audit().expect("agrees");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_order_of_operations_passes_a_limit(steps in story::stories(60)) {
        let (mut ledger, mut teller) = (Ledger::default(), Teller::default());
        let lowered = |step: &Step, ledger: &Ledger| {
            let Step::Open { scope, limit, .. } = step else { return false };
            let known = ledger.scope(&ScopeId::of_path(story::SCOPES[*scope]));
            known.is_some_and(|scope| scope.terms.limits.get(Line::Tokens) > Some(*limit))
        };
        for step in &steps {
            // An operator who lowers a limit below what is spent makes a debt; that is another promise.
            if lowered(step, &ledger) {
                continue;
            }
            teller.tell(&mut ledger, step);
            if let Err(broken) = ledger.audit() {
                prop_assert!(false, "{step:?}: {broken}");
            }
            let scopes: Vec<ScopeId> = ledger.scopes().map(|(id, _)| id.clone()).collect();
            for scope in scopes {
                if let Err(broken) = ledger.check_promises(&scope) {
                    prop_assert!(false, "{step:?}: {broken}");
                }
            }
        }
    }

    #[test]
    fn what_a_store_kept_and_put_back_goes_on_the_same(steps in story::stories(40), at in 0..40_usize) {
        let (mut whole, mut teller) = (Ledger::default(), Teller::default());
        let mut parted = Ledger::default();
        let mut other = Teller::default();
        for (number, step) in steps.iter().enumerate() {
            if number == at {
                let mut again = Ledger::default();
                let mut scopes: Vec<_> = parted.scopes().map(|(id, scope)| (id.clone(), scope.clone())).collect();
                scopes.sort_by(|(one, _), (two, _)| one.cmp(two));
                scopes.into_iter().for_each(|(id, scope)| again.restore_scope(id, scope));
                for (id, call) in parted.calls() {
                    again.restore_call(id.clone(), call.clone());
                }
                parted = again;
            }
            prop_assert_eq!(teller.tell(&mut whole, step), other.tell(&mut parted, step));
        }
        for path in story::SCOPES {
            let id = ScopeId::of_path(path);
            prop_assert_eq!(whole.scope(&id), parted.scope(&id));
        }
    }
}
