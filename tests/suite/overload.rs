//! A temporary failure is no failure of the work: what a provider says no to for now is asked again, and when it stays so the
//! attempt is put off, at nobody's cost.
//!
//! `JIDOKA_OUTAGE_SEEDS=N` goes through so many outages.

use std::sync::Arc;
use std::time::Duration;

use jidoka::doors::clock::Clock;
use jidoka::doors::model::Model;
use jidoka::doors::provider::HttpModel;
use jidoka::rules::effect::{Body, FailureKind};
use jidoka::rules::facts::Facts;
use jidoka::rules::item::{ItemRecord, State};
use jidoka::rules::ledger::{Line, ScopeId};
use jidoka::rules::spec::{Dialect, Provider, Wall, WireLimits};
use jidoka::rules::verdict::Stop;
use jidoka::run::desk::Desk;
use jidoka_tests::bench::{self, Bench, End, Home, http};
use jidoka_tests::chaos::Dice;
use jidoka_tests::plain;
use jidoka_tests::provider::{Behaviour, FakeProvider};

const DIALECTS: [Dialect; 3] = [Dialect::Openai, Dialect::Anthropic, Dialect::Responses];

const WORK: [&str; 4] = ["ask one", "ask two", "write a x", "done ready"];

/// The worker that does what it is told, with a model that is asked again so often.
fn told(lines: &[&str], provider: &FakeProvider, dialect: Dialect, retries: u32) -> Bench {
    let text = lines.join("\\n");
    let bench = Bench::new(plain::SCRIPT).set("task", &format!("text = \"{text}\"")).model(http(provider, dialect));
    bench.set("models.model", &format!("retries = {retries}"))
}

/// A no for now, to be asked again after so many milliseconds.
fn busy(status: u16, after_ms: u64) -> Behaviour {
    let no = Behaviour::Status(status, "Overloaded, try again".into());
    Behaviour::Headers(vec![("retry-after-ms", after_ms.to_string())], Box::new(no))
}

fn says(body: &str) -> Behaviour {
    Behaviour::Says { status: 200, kind: "application/json", body: body.to_owned() }
}

fn text() -> Behaviour {
    Behaviour::Text("hello".into())
}

fn spent(end: &End, line: Line) -> u64 {
    end.record.ledger.attempt.spent.get(line)
}

fn held(end: &End, line: Line) -> u64 {
    end.record.ledger.attempt.held.get(line)
}

fn retried(end: &End) -> Vec<(FailureKind, u64)> {
    let retried = end.entries.iter().filter_map(|entry| match &entry.body {
        Body::Retried { kind, wait_ms, .. } => Some((*kind, *wait_ms)),
        _ => None,
    });
    retried.collect()
}

fn desk(home: &Home) -> Desk {
    Desk::new(bench::store(&home.state()), bench::state(&home.state()), Clock::starting_at(bench::START_MS))
}

async fn item(home: &Home, name: &str) -> ItemRecord {
    let items = desk(home).items().await.unwrap();
    items.into_iter().find(|(id, _)| id.name() == name).expect("is known").1
}

/// The ledger says of a tenant what its provider counted.
fn agrees(home: &Home, provider: &FakeProvider) {
    let ledger = bench::store(&home.state()).survey().unwrap();
    let spent = ledger.totals(&ScopeId::of_path("default")).spent;
    let counted = provider.counters();
    assert_eq!(spent.get(Line::TokensIn), counted.tokens_in);
    assert_eq!(spent.get(Line::TokensOut), counted.tokens_out);
}

async fn is_told_again(end: &End) {
    let calls = end.replay().await;
    assert_eq!((calls.divergence, calls.fault), (None, None));
    assert_eq!(calls.record.as_ref(), Some(&end.record), "the verdict is the same to the last byte");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_is_waited_out_within_one_call() {
    for (dialect, wall) in [(Dialect::Openai, Wall::None), (Dialect::Anthropic, Wall::Process)] {
        let provider = FakeProvider::start(vec![text(), busy(429, 40), busy(529, 20), text()]).await;
        let end = told(&WORK, &provider, dialect, 4).behind(wall).run().await;
        end.expect("accepted");
        let waits = retried(&end);
        assert!(matches!(waits[..], [(_, 30..=44), (_, 10..=22)]), "{waits:?}");
        assert!(waits.iter().all(|(kind, _)| *kind == FailureKind::Overloaded));
        let count = |is: fn(&Body) -> bool| end.entries.iter().filter(|entry| is(&entry.body)).count();
        assert_eq!(count(|body| matches!(body, Body::Intent { .. })), 2);
        assert_eq!(count(|body| matches!(body, Body::Answered { .. })), 2);
        let counted = provider.counters();
        assert_eq!((counted.calls, spent(&end, Line::ModelCalls)), (4, 2), "a call is one, however often it is made");
        assert_eq!(spent(&end, Line::NetBytes), counted.bytes_in + counted.bytes_out);
        assert_eq!((held(&end, Line::Tokens), end.record.repaid), (0, 0));
        agrees(&end.home, &provider);
        is_told_again(&end).await;
        assert_eq!(provider.counters().calls, 4, "a replay asks nobody, and waits for nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_stays_overloaded_puts_the_item_off_at_no_cost() {
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let in_reply = r#"{"error":{"message":"Rate limit exceeded: free-models-per-min","code":429}}"#;
    for no in [busy(429, 5), busy(503, 5), busy(529, 5), says(overloaded), says(in_reply)] {
        for dialect in DIALECTS {
            let (home, provider) = (Home::new(), FakeProvider::start(vec![no.clone()]).await);
            let attempt = || told(&WORK, &provider, dialect, 1).item("one").set("attempts", "max = 1").at(&home);
            let end = attempt().run().await;
            end.expect("deferred");
            assert_eq!((end.record.exit_code, provider.counters().calls), (25, 2));
            let retry_at_ms = end.record.detail["retry_at_ms"].as_u64().unwrap();
            assert!(
                retry_at_ms > bench::START_MS
                    && end.record.why.contains("model \"model\" is overloaded, asked 2 times")
            );
            assert!(end.record.why.contains("tried again from 2023-11-14 22:13:"), "{}", end.record.why);
            for line in [Line::Tokens, Line::MicroUsd, Line::ModelCalls] {
                assert_eq!((spent(&end, line), held(&end, line)), (0, 0), "{line:?}");
            }
            is_told_again(&end).await;
            let put_off = item(&home, "one").await;
            assert_eq!(
                (put_off.state, put_off.rests_until_ms, put_off.tried()),
                (State::RetryWait, Some(retry_at_ms), 0)
            );
            let early = attempt().run().await;
            early.expect("deferred");
            assert_eq!((early.record.attempt, &early.record.detail["retry_at_ms"]), (0, &retry_at_ms.into()));
            let sooner = format!("jidoka resume {} continues it now", end.record.serial);
            assert!(early.record.why.contains(&sooner), "{}", early.record.why);
            assert_eq!(provider.counters().calls, 2, "nobody is asked before that");
            let well = FakeProvider::start(vec![text()]).await;
            let later = told(&WORK, &well, dialect, 1).item("one").set("attempts", "max = 1").at(&home).hours_later(1);
            let end = later.run().await;
            end.expect("accepted");
            assert_eq!(end.record.attempt, 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_run_goes_on_from_where_it_was() {
    for dialect in DIALECTS {
        let (home, provider) = (Home::new(), FakeProvider::start(vec![text(), busy(429, 5), text()]).await);
        let lines = ["write a x", "ask one", "ask two", "done ready"];
        let bench = || told(&lines, &provider, dialect, 0).item("one").set("attempts", "max = 1").at(&home);
        let end = bench().run().await;
        end.expect("deferred");
        let end = bench().resume(&end.record.serial).await;
        end.expect("accepted");
        let counted = provider.counters();
        assert_eq!(
            (counted.calls, end.record.repaid, end.record.resumptions),
            (3, 0, 1),
            "what was answered is not asked"
        );
        assert_eq!((spent(&end, Line::ModelCalls), held(&end, Line::Tokens)), (2, 0));
        assert_eq!(item(&home, "one").await.tried(), 1, "an attempt that goes on counts");
        agrees(&home, &provider);
        is_told_again(&end).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_batch_that_were_answered_are_kept_when_another_is_not() {
    let home = Home::new();
    let provider = FakeProvider::start(vec![text(), text(), busy(503, 5), text()]).await;
    let bench = || told(&["ask-all 4 hi", "write a x", "done ready"], &provider, Dialect::Openai, 0).at(&home);
    let end = bench().run().await;
    end.expect("deferred");
    assert_eq!((provider.counters().calls, held(&end, Line::Tokens)), (4, 0));
    let end = bench().resume(&end.record.serial).await;
    end.expect("accepted");
    assert_eq!((provider.counters().calls, spent(&end, Line::ModelCalls)), (5, 4), "only what failed is asked again");
    agrees(&home, &provider);
    is_told_again(&end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_before_an_answer_is_in_doubt_and_asked_again() {
    for no in [Behaviour::HangUp, Behaviour::Reset] {
        let provider = FakeProvider::start(vec![no, text()]).await;
        let end = told(&WORK, &provider, Dialect::Openai, 1).run().await;
        end.expect("accepted");
        // Nobody knows whether the first was received: it is held, and the next one is reserved for besides.
        assert!(held(&end, Line::Tokens) > 0);
        assert_eq!((provider.counters().calls, spent(&end, Line::ModelCalls)), (3, 2));
        agrees(&end.home, &provider);
        is_told_again(&end).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_by_waiting_is_told_at_once() {
    let unpaid = r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#;
    let no = Behaviour::Says { status: 429, kind: "application/json", body: unpaid.to_owned() };
    let provider = FakeProvider::start(vec![no]).await;
    let end = told(&WORK, &provider, Dialect::Openai, 4).run().await;
    end.expect("unable");
    assert_eq!((provider.counters().calls, held(&end, Line::Tokens)), (1, 0));
    assert!(end.record.why.contains("You exceeded your current quota"), "{}", end.record.why);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_would_outlast_the_run_is_not_begun() {
    let provider = FakeProvider::start(vec![busy(429, 3_600_000)]).await;
    let end = told(&WORK, &provider, Dialect::Openai, 4).wall("10s").run().await;
    end.expect("deferred");
    assert_eq!((provider.counters().calls, retried(&end)), (1, vec![]));
    let in_ms = end.record.detail["retry_at_ms"].as_u64().unwrap() - bench::START_MS;
    assert!((3_590_000..3_610_000).contains(&in_ms), "when the provider says: {in_ms}");
    assert!(end.took < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stops_a_run_while_it_waits_leaves_nothing_in_doubt() {
    let (home, provider) = (Home::new(), FakeProvider::start(vec![busy(429, 15_000), text()]).await);
    let serial = bench::fresh_serial();
    let (state, run) = (home.state(), serial.clone());
    let bench = || told(&WORK, &provider, Dialect::Openai, 1).at(&home).serial(&serial);
    let end = bench()
        .run_with(move |cord| {
            std::thread::spawn(move || {
                let store = bench::store(&state);
                let waits = || {
                    let Some(kept) = store.journal(&run).unwrap() else { return false };
                    kept.open().unwrap().iter().any(|entry| matches!(entry.facts, Facts::Retried { .. }))
                };
                while !waits() {
                    std::thread::yield_now();
                }
                cord.pull(Stop::Cancelled);
            });
        })
        .await;
    end.expect("cancelled");
    assert!(end.took < Duration::from_secs(15));
    assert_eq!((held(&end, Line::Tokens), spent(&end, Line::Tokens)), (0, 0));
    let end = bench().resume(&end.record.serial).await;
    end.expect("accepted");
    agrees(&home, &provider);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_is_the_hosts_and_no_work_of_the_workers() {
    let provider = FakeProvider::start(vec![busy(429, 600), text()]).await;
    let end = told(&WORK, &provider, Dialect::Openai, 1).run().await;
    end.expect("accepted");
    assert!(spent(&end, Line::WallMs) >= spent(&end, Line::WorkMs) + 500, "{:?}", end.record.ledger.attempt.spent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_may_have_its_worker_told() {
    let (home, provider) = (Home::new(), FakeProvider::start(vec![busy(429, 5)]).await);
    for name in ["a", "b", "c"] {
        let bench = told(&WORK, &provider, Dialect::Openai, 1).set("attempts", "on-overload = \"tell\"");
        let end = bench.item(name).at(&home).run().await;
        end.expect("unable");
        assert!(end.record.why.contains("overloaded"), "{}", end.record.why);
        assert_eq!(held(&end, Line::Tokens), 0);
        is_told_again(&end).await;
    }
    assert!(desk(&home).pulls().await.unwrap().is_empty(), "no item did that");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_put_off_with_its_child() {
    let (home, provider) = (Home::new(), FakeProvider::start(vec![busy(503, 5), text()]).await);
    let child = || told(&["done ready"], &provider, Dialect::Openai, 0);
    let lines = ["child help ask hi | write b x | done ready", "write a x", "done ready"];
    let bench = || told(&lines, &provider, Dialect::Openai, 0).child("help", child()).at(&home);
    let end = bench().run().await;
    end.expect("deferred");
    assert!(end.record.why.contains("child help: model \"model\" is overloaded"), "{}", end.record.why);
    assert_eq!(held(&end, Line::Tokens), 0);
    let end = bench().resume(&end.record.serial).await;
    assert!(end.notes()[0].starts_with("help: "), "{:?}", end.notes());
    agrees(&home, &provider);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_be_reached_is_none_of_the_items_doing() {
    // Bound and not listening: nobody else gets the port, and nobody answers on it.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let gone = format!("http://{}/v1", socket.local_addr().unwrap());
    let (home, provider) = (Home::new(), FakeProvider::start(vec![text()]).await);
    let bench = |url: &str| {
        let bench = Bench::new(plain::SCRIPT).set("task", &format!("text = \"{}\"", WORK.join("\\n")));
        let bench = bench.model(bench::http_at(url, Dialect::Openai)).set("models.model", "retries = 0");
        bench.set("attempts", "max = 1").item("one").at(&home)
    };
    let end = bench(&gone).run().await;
    end.expect("deferred");
    assert!(end.record.why.contains("model \"model\" cannot be reached, asked once"), "{}", end.record.why);
    assert_eq!((spent(&end, Line::ModelCalls), spent(&end, Line::NetBytes), held(&end, Line::Tokens)), (0, 0, 0));
    is_told_again(&end).await;
    bench(&provider.url()).resume(&end.record.serial).await.expect("accepted");
    agrees(&home, &provider);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_or_fails_is_in_doubt_and_asked_for_twice_more_at_most() {
    let failed = || Behaviour::Status(500, "Internal server error".into());
    for no in [Behaviour::Cut("hello back to you".into()), failed(), Behaviour::Status(502, "Bad Gateway".into())] {
        for dialect in DIALECTS {
            let passes = FakeProvider::start(vec![no.clone(), no.clone(), text()]).await;
            let end = told(&WORK, &passes, dialect, 4).run().await;
            end.expect("accepted");
            assert_eq!((passes.counters().calls, spent(&end, Line::ModelCalls)), (4, 2));
            assert_eq!(held(&end, Line::TokensOut), 200, "two tries of 100");
            is_told_again(&end).await;
            let stays = FakeProvider::start(vec![no.clone()]).await;
            let end = told(&WORK, &stays, dialect, 4).item("one").set("attempts", "max = 1").run().await;
            end.expect("deferred");
            assert!(end.record.why.contains("model \"model\" fails, asked 3 times"), "{}", end.record.why);
            assert_eq!((stays.counters().calls, item(&end.home, "one").await.tried()), (3, 0));
            assert_eq!(held(&end, Line::TokensOut), 300);
            is_told_again(&end).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_is_started_over_all_night_is_asked_for_some_times_only() {
    let failed = Behaviour::Status(500, "Internal server error".into());
    let (home, provider) = (Home::new(), FakeProvider::start(vec![failed]).await);
    let mut last_ms = 0;
    for _ in 0..14 {
        let bench = told(&WORK, &provider, Dialect::Openai, 0).item("one").set("attempts", "max = 1").at(&home);
        let end = bench.ms_later(last_ms).run().await;
        end.expect("deferred");
        let retry_ms = end.record.detail["retry_at_ms"].as_u64().unwrap() - bench::START_MS;
        assert!(retry_ms > 2 * last_ms || retry_ms > last_ms + 3_500_000, "{retry_ms} after {last_ms}");
        last_ms = retry_ms;
    }
    assert!(last_ms > 10_000_000, "{last_ms}");
    assert_eq!(provider.counters().calls, 14);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_deferred_attempt_asked_is_no_repetition_of_the_next_one() {
    let home = Home::new();
    for hour in 0..8 {
        let provider = FakeProvider::start(vec![text(), busy(429, 5)]).await;
        let end = told(&WORK, &provider, Dialect::Openai, 0).item("one").at(&home).hours_later(hour).run().await;
        end.expect("deferred");
    }
}

/// What a provider does in an outage, and after it for ever.
fn outage(dice: &Dice) -> Vec<Behaviour> {
    let event = "data: {\"error\":{\"message\":\"at capacity\",\"code\":\"server_overloaded\"}}\n\n";
    let stream = Behaviour::Says { status: 200, kind: "text/event-stream", body: event.to_owned() };
    let one = |number| match dice.roll(20) {
        // Too slow for anybody's patience, and seldom, because the test has to wait for it.
        _ if number % 200 == 7 => Behaviour::Stall,
        0..3 => busy(429, 1 + dice.roll(20)),
        3..5 => busy(503, 1 + dice.roll(20)),
        5..8 => busy(529, 1 + dice.roll(20)),
        8..10 => stream.clone(),
        10 => Behaviour::HangUp,
        11 => Behaviour::Reset,
        12..14 => Behaviour::Cut("hello back to you".into()),
        14 => Behaviour::Status(500, "Internal server error".into()),
        15 => Behaviour::Status(502, "Bad Gateway".into()),
        // It lies: it has counted, and says nothing of it.
        16 => Behaviour::OmitUsage("hello".into()),
        17 => Behaviour::NoTerminator("hello".into()),
        _ => text(),
    };
    (0..OUTAGE_CALLS).map(one).chain([text()]).collect()
}

/// Calls until the provider has recovered.
const OUTAGE_CALLS: u64 = 500;
const ITEMS: u64 = 40;
const LINES: [&str; 3] = ["a", "b", "c"];

/// Items that are not done: how they are run, and the serial of a run that can go on.
type Open = Vec<(u64, Option<String>)>;

async fn outlives(seed: u64) {
    let dice = Arc::new(Dice::new(seed));
    let (home, provider) = (Home::new(), FakeProvider::start(outage(&dice)).await);
    let model = |number: u64| -> Arc<dyn Model> {
        let dialect = DIALECTS[usize::try_from(number).unwrap() % DIALECTS.len()];
        let provider = Provider::new(dialect, provider.url(), "fake");
        let limits = WireLimits { idle_ms: 3_000, ..provider.limits };
        Arc::new(HttpModel::new(&Provider { limits, ..provider }, None).unwrap())
    };
    let mut open: Open = (0..ITEMS).map(|number| (number, None)).collect();
    let mut runs = 0;
    for round in 0..60 {
        runs += open.len();
        let begun: Vec<_> = std::mem::take(&mut open)
            .into_iter()
            .map(|(number, deferred)| {
                let line = LINES[usize::try_from(number).unwrap() % LINES.len()];
                let bench = Bench::new(plain::SCRIPT).set("task", &format!("text = \"{}\"", WORK.join("\\n")));
                let bench = bench.model(model(number)).set("models.model", "retries = 1");
                let bench = bench.set("", &format!("line = {line:?}")).set("attempts", "max = 1").no_apply();
                let bench = bench.item(&format!("item-{number}")).at(&home).hours_later(2 * round);
                let goes_on = dice.once_in(2);
                tokio::spawn(async move {
                    let end = match deferred.filter(|_| goes_on) {
                        Some(serial) => bench.resume(&serial).await,
                        None => bench.run().await,
                    };
                    (number, end)
                })
            })
            .collect();
        for run in begun {
            let (number, end) = run.await.unwrap();
            match end.record.verdict.as_str() {
                "accepted" => {}
                "deferred" => open.push((number, Some(end.record.serial))),
                _ => drop(end.expect("accepted or deferred")),
            }
        }
        if open.is_empty() {
            break;
        }
    }
    assert!(open.is_empty(), "seed {seed}: {open:?}");
    assert!(runs >= 200, "seed {seed}: {runs} runs");
    assert!(desk(&home).pulls().await.unwrap().is_empty(), "seed {seed}: a line was stopped");
    let items = desk(&home).items().await.unwrap();
    assert_eq!(items.len() as u64, ITEMS);
    assert!(items.iter().all(|(_, item)| item.state == State::Accepted), "seed {seed}");
    // What was told is booked once, and what was not told is held.
    let totals = bench::store(&home.state()).survey().unwrap().totals(&ScopeId::of_path("default"));
    let counted = provider.counters();
    for (line, tokens, untold) in [
        (Line::TokensIn, counted.tokens_in, counted.untold_in),
        (Line::TokensOut, counted.tokens_out, counted.untold_out),
    ] {
        assert_eq!(totals.spent.get(line), tokens - untold, "seed {seed}: {line:?}");
        assert!(totals.held.get(line) >= untold, "seed {seed}: {line:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_stops_no_line_abandons_no_item_and_charges_nothing_twice() {
    let seeds = std::env::var("JIDOKA_OUTAGE_SEEDS").ok().map_or(1, |seeds| seeds.parse::<u64>().unwrap());
    for seed in 0..seeds {
        outlives(seed).await;
    }
}
