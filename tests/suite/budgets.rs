//! Budgets that runs share, gaps between marks, and what time and memory are to the ledger: whole runs.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jidoka::doors::clock::Clock;
use jidoka::doors::pace::{Pace, Rates};
use jidoka::doors::store::{Durability, Need, Store, transact};
use jidoka::rules::effect::{Body, Effect, Entry, Reason};
use jidoka::rules::ledger::{Amounts, CallId, Denial, LimitKind, Limits, Line, ScopeId, Terms};
use jidoka::rules::spec::Dialect;
use jidoka::run::desk::Desk;
use jidoka_tests::bench::{self, Bench, End, Home, http};
use jidoka_tests::provider::{Behaviour, Counting, FakeProvider};
use jidoka_tests::{hostile, plain};

/// The worker that does what it is told, with a model that answers what it is asked.
fn told(lines: &[&str]) -> Bench {
    let text = lines.join("\\n");
    // 50 tokens out; what is asked is 1 token in.
    let turn = format!("[[turn]]\ntext = \"{}\"\n", "yes ".repeat(50));
    Bench::new(plain::SCRIPT).set("task", &format!("text = \"{text}\"")).script(&turn.repeat(20))
}

/// Why the first refused call was refused.
fn refused(end: &End) -> (LimitKind, String, String) {
    let refusal = end.entries.iter().find_map(|entry| match &entry.body {
        Body::Refused { refusal, .. } => Some(refusal.clone()),
        _ => None,
    });
    let refusal = refusal.expect("something was refused");
    let Reason::Exhausted { shortfall } = refusal.reason else { panic!("not for lack of budget: {refusal:?}") };
    (shortfall.limit, shortfall.scope, refusal.setting)
}

#[tokio::test(flavor = "multi_thread")]
async fn spending_the_first_gap_without_a_mark_is_no_progress() {
    let bench = |lines: &[&str]| told(lines).set("budget.first-gap", "tokens = 150").set("budget.gap", "tokens = 200");
    // The third is shrunk to what is left, the fourth refused.
    let end = bench(&["ask 1", "ask 2", "ask 3", "ask 4", "write a x", "done ready"]).run().await;
    end.expect("no-progress");
    assert_eq!(refused(&end), (LimitKind::FirstGap, "attempt".into(), "[budget.first-gap] tokens".into()));
    // A mark starts the gap anew, and the wider one holds from there.
    let lines = ["ask 1", "ask 2", "write a x", "check-in look", "ask 3", "ask 4", "ask 5", "done ready"];
    bench(&lines).run().await.expect("accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn showing_the_same_again_does_not_start_the_gap_anew() {
    let mut lines = vec!["write a x", "check-in look"];
    lines.extend(["ask 1", "check-in look", "ask 2", "check-in look", "ask 3", "check-in look"].repeat(2));
    lines.push("done ready");
    let end = told(&lines).set("budget.gap", "tokens = 200").run().await;
    end.expect("no-progress");
    assert_eq!(refused(&end).0, LimitKind::Gap);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_sees_what_is_left_until_its_next_mark() {
    let lines = ["ask 1", "left tokens", "write a x", "check-in look", "left tokens", "done ready"];
    let end = told(&lines).set("budget.first-gap", "tokens = 150").set("budget.gap", "tokens = 200").run().await;
    end.expect("accepted");
    let looks: Vec<&str> = end.notes().into_iter().filter(|note| note.starts_with("left")).collect();
    assert_eq!(looks, ["left 99 until mark Some(99)", "left 200 until mark Some(200)"]);
    let journalled = |entry: &&Entry| matches!(&entry.body, Body::Intent { effect: Effect::Left, .. });
    assert_eq!(end.entries.iter().filter(journalled).count(), 2, "a look is an effect, so that a replay has it");
}

#[tokio::test(flavor = "multi_thread")]
async fn time_without_a_mark_is_a_gap_like_any_other() {
    let end = Bench::new(hostile::SPIN_AT_START).wall("20s").set("budget.first-gap", "wall = \"300ms\"").run().await;
    end.expect("no-progress");
    assert!(end.took < Duration::from_secs(10), "{:?}", end.took);
    let lines = [
        "sleep 200",
        "write a x",
        "check-in look",
        "sleep 200",
        "write a y",
        "check-in look",
        "sleep 200",
        "done ready",
    ];
    told(&lines).set("budget.gap", "wall = \"350ms\"").run().await.expect("accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_memory_is_shared_by_all_runs_at_once() {
    let home = Home::new();
    let bench = |lines: &[&str]| told(lines).operator("[host.budget]\nmemory = \"100MiB\"\n").at(&home);
    let first = tokio::spawn(bench(&["sleep 1500", "write a x", "done ready"]).run());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let second = bench(&["write b x", "done ready"]).run().await;
    second.expect("exhausted");
    assert_eq!(second.record.detail, serde_json::json!({ "scope": "host", "line": "memory-bytes" }));
    assert_eq!(second.record.attempt, 0, "nothing ran, and no attempt is counted");
    first.await.unwrap().expect("accepted");
    bench(&["write b x", "done ready"]).run().await.expect("accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenant_may_spend_in_a_day_is_shared_by_its_runs() {
    let home = Home::new();
    let operator = "[tenants.default.budget.day]\ntokens = 160\n[host.budget]\ntokens = 10000\n";
    let bench = |lines: &[&str]| told(lines).operator(operator).at(&home);
    bench(&["ask 1", "ask 2", "write a x", "done ready"]).run().await.expect("accepted");
    let lines = ["ask 3", "ask 4", "ask 5", "write b x", "done ready"];
    let end = bench(&lines).run().await;
    end.expect("deferred");
    let opens_ms = end.record.detail["retry_at_ms"].as_u64().unwrap() - bench::START_MS;
    assert!((24 * 3_600_000..25 * 3_600_000).contains(&opens_ms), "a day, and a bucket at most: {opens_ms}");
    let setting = "[tenants.default.budget.day] tokens in the operator's file";
    assert_eq!(refused(&end), (LimitKind::Day, "tenant".into(), setting.into()));
    let ledger = bench::store(&home.state()).survey().unwrap();
    for path in ["", "default", "default/tests"] {
        let spent = ledger.scope(&ScopeId::of_path(path)).unwrap().spent.get(Line::Tokens);
        assert_eq!(spent, 160, "of scope {path:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_fitted_part_by_part_and_never_past_the_limit() {
    let provider = FakeProvider::start(vec![Behaviour::Text("word ".repeat(1_000))]).await;
    let bench = told(&["ask-all 8 tell", "write a x", "done ready"]).model(http(&provider, Dialect::Openai));
    let end = bench.set("budget", "tokens = 700").run().await;
    end.expect("exhausted");
    let counted = provider.counters();
    assert!(counted.calls > 0 && counted.calls < 8, "{counted:?}");
    assert!(counted.tokens_in + counted.output_requested <= 700, "{counted:?}");
    let spent = end.record.ledger.attempt.spent;
    assert_eq!(spent.get(Line::Tokens), counted.tokens_in + counted.tokens_out);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_pace_is_wall_time_and_not_work_time() {
    let rates = Rates { requests_per_minute: NonZeroU32::new(100), ..Rates::default() };
    let bench = told(&["ask 1", "ask 2", "ask 3", "write a x", "done ready"]).pace(Arc::new(Pace::new(rates)));
    let end = bench.set("budget", "work = \"900ms\"").run().await;
    end.expect("accepted");
    let spent = end.record.ledger.attempt.spent;
    assert!(spent.get(Line::WallMs) >= 1_150, "two waits of 600 ms: {spent:?}");
    assert!(spent.get(Line::WorkMs) < 900, "{spent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_providers_own_count_bounds_a_call_more_tightly() {
    let reserved = |end: &End| {
        let of_model = |entry: &Entry| match &entry.body {
            Body::Intent { effect: Effect::Model { .. }, reserved, .. } => Some(reserved.get(Line::TokensIn)),
            _ => None,
        };
        end.entries.iter().find_map(of_model).unwrap()
    };
    let ask = format!("ask {}", "many words ".repeat(100));
    let lines = [ask.as_str(), "write a x", "done ready"];
    let provider = FakeProvider::start_counting(vec![Behaviour::Text("yes".into())], Counting::True).await;
    let bench = || told(&lines).model(http(&provider, Dialect::Anthropic));
    let plain = bench().run().await;
    plain.expect("accepted");
    let counted = bench().counted().run().await;
    counted.expect("accepted");
    assert_eq!(provider.counters().counts, 1);
    let truth = counted.record.ledger.attempt.spent.get(Line::TokensIn);
    assert!(truth <= reserved(&counted) && reserved(&counted) < reserved(&plain), "{truth} {}", reserved(&counted));
    let [one, other] = [&plain, &counted].map(|end| end.record.ledger.attempt.spent.get(Line::NetBytes));
    assert!(other > one, "the count's bytes are metered too");
    // A provider that cannot count leaves the bytes to bound the call.
    let broken = Counting::Does(Behaviour::Status(500, "no".into()));
    let provider = FakeProvider::start_counting(vec![Behaviour::Text("yes".into())], broken).await;
    let end = told(&lines).model(http(&provider, Dialect::Anthropic)).counted().run().await;
    end.expect("accepted");
    assert_eq!(reserved(&end), reserved(&plain));
}

/// Workers within workers, on disk: 8 children everywhere, half of them carved, until the tree is eight scopes deep. Each
/// asks for more than it has, and hears of it in a word that names the scope, well within a deadline.
#[tokio::test(flavor = "multi_thread")]
async fn a_childs_exhaustion_reaches_its_parent_as_a_typed_refusal() {
    const ROOT: u64 = 40_000;
    let home = Home::new();
    let store = bench::store(&home.state());
    let limit = |amount| Limits::from_iter([(Line::Tokens, amount)]);
    let root = ["acme", "line", "item", "attempt"].into_iter().fold(ScopeId::host(), |scope, name| scope.child(name));
    let mut paths = vec![ScopeId::host()];
    for name in root.path().split('/') {
        paths.push(paths.last().unwrap().child(name));
    }
    let opened = transact(&*store, vec![Need::Scope(root.clone())], Durability::Durable, move |books| {
        paths.iter().try_for_each(|path| books.ledger.open(path, Terms { limits: limit(ROOT), ..Terms::default() }, 0))
    });
    opened.await.unwrap().unwrap();
    let (granted, refused) = child(Arc::clone(&store), root.clone(), ROOT / 4, 0).await.unwrap();
    assert!(granted <= ROOT && granted > ROOT / 2, "{granted}");
    assert!(refused > 300, "{refused}");
    let ledger = store.survey().unwrap();
    ledger.check_promises(&root).unwrap();
    let books = ledger.scope(&root).unwrap();
    assert_eq!(books.spent.plus(&books.held), Amounts::of(Line::Tokens, granted), "all children are closed");
    assert!(books.reserved.is_nothing() && books.carved.is_nothing());
    drop(store);
    bench::sqlite(&home.state()).audit().unwrap();
}

/// One worker: runs its children, each with a part of what it has, and spends what it can. Returns what was granted
/// below, and how often somebody was refused.
fn child(store: Arc<dyn Store>, scope: ScopeId, share: u64, depth: u32) -> tokio::task::JoinHandle<(u64, u64)> {
    tokio::spawn(async move {
        let (mut granted, mut refused) = (0, 0);
        if depth < 3 {
            let mut children = Vec::new();
            for number in 0..8_u64 {
                let id = scope.child(&format!("{number}"));
                let limits = Limits::from_iter([(Line::Tokens, share)]);
                let carve = if number % 2 == 0 { vec![Line::Tokens] } else { vec![] };
                let (opening, terms) = (id.clone(), Terms { limits, carve, ..Terms::default() });
                let opened = transact(&*store, vec![Need::Scope(id.clone())], Durability::Lazy, move |books| {
                    books.ledger.open(&opening, terms, books.now_ms)
                });
                match opened.await.unwrap() {
                    Ok(()) => children.push(child(Arc::clone(&store), id, share / 4, depth + 1)),
                    Err(Denial::Short(_)) => refused += 1,
                    Err(other) => panic!("{other}"),
                }
            }
            for child in children {
                let (below, short) = tokio::time::timeout(Duration::from_secs(60), child).await.unwrap().unwrap();
                granted += below;
                refused += short;
            }
        }
        // More than it may have: the last call is refused, by a limit that is named.
        for number in 0.. {
            let asked = Amounts::of(Line::Tokens, share.div_ceil(4));
            let (spender, id) = (scope.clone(), CallId::new(format!("{scope}-{number}")));
            let called = transact(&*store, vec![Need::Scope(scope.clone())], Durability::Lazy, move |books| {
                let reservation = books.ledger.reserve(&spender, id, &asked, books.now_ms)?;
                let sent = books.ledger.dispatch(reservation, books.now_ms)?;
                books.ledger.check_promises(&spender).unwrap();
                // Every third is never heard of again.
                if number % 3 == 2 {
                    books.ledger.hold(sent)
                } else {
                    books.ledger.settle(sent, &asked, 0)?;
                }
                Ok::<_, Denial>(())
            });
            match tokio::time::timeout(Duration::from_secs(5), called).await.unwrap().unwrap() {
                Ok(()) => granted += asked.get(Line::Tokens),
                Err(Denial::Short(short)) => {
                    assert_eq!((short.line, short.limit), (Line::Tokens, LimitKind::Total));
                    assert!(scope.path().starts_with(short.path.path()), "{short:?} is around {scope}");
                    refused += 1;
                    break;
                }
                Err(other) => panic!("{other}"),
            }
        }
        if depth > 0 {
            let closing = scope.clone();
            let closed = transact(&*store, vec![Need::Tree(scope)], Durability::Lazy, move |books| {
                books.ledger.close(&closing, books.now_ms);
            });
            closed.await.unwrap();
        }
        (granted, refused)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_is_used_up_puts_items_off_and_stops_no_line() {
    let home = Home::new();
    let operator = "[tenants.default.budget.day]\ntokens = 160\n";
    let bench = |lines: &[&str]| told(lines).operator(operator).set("attempts", "max = 1").no_apply().at(&home);
    let lines = ["ask 1", "ask 2", "ask 3", "ask 4", "ask 5", "write a x", "done ready"];
    for item in ["one", "two", "three", "four"] {
        let end = bench(&lines).item(item).run().await;
        end.expect("deferred");
        assert_eq!((end.record.exit_code, end.record.attempt), (25, 1));
        assert!(end.record.why.starts_with("the daily limit on tokens of the tenant is used up"), "{}", end.record.why);
        let replayed = end.replay().await;
        assert_eq!((replayed.divergence, replayed.record.as_ref()), (None, Some(&end.record)));
    }
    let first = bench(&lines).item("five").run().await;
    first.expect("deferred");
    let desk = Desk::new(bench::store(&home.state()), bench::state(&home.state()), Clock::starting_at(bench::START_MS));
    assert!(desk.pulls().await.unwrap().is_empty());
    drop(desk);
    // A day later there is room again: one is tried anew, and one goes on from where it was.
    bench(&["ask 1", "write a x", "done ready"]).item("one").hours_later(25).run().await.expect("accepted");
    let end = bench(&lines).item("five").hours_later(49).resume(&first.record.serial).await;
    assert_eq!(end.record.resumptions, 1);
    // A request that the window never has room for does not open by itself.
    let never =
        told(&["ask 1", "done x"]).operator("[tenants.default.budget.day]\ntokens = 1\n").item("never").run().await;
    never.expect("exhausted");
}
