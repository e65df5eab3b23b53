//! Four accidents that factories of agents had, told from end to end: none of them happens here.

use std::sync::Arc;
use std::time::Duration;

use jidoka::rules::andon::Category;
use jidoka::rules::item::State;
use jidoka::rules::ledger::Line;
use jidoka_tests::agent::{Planned, Turn};
use jidoka_tests::bench::{self, Bench, End, Home};
use jidoka_tests::{examples, plain};

fn state(home: &Home, item: &str) -> State {
    let items = bench::store(&home.state()).items().unwrap();
    items.into_iter().find(|(id, _)| id.name() == item).expect("is known").1.state
}

/// What a thoughtless orchestrator does: it starts the item again and again, whatever the verdict was.
async fn started_over(times: usize, attempt: impl AsyncFn() -> End) -> Vec<String> {
    let mut verdicts = Vec::new();
    for _ in 0..times {
        verdicts.push(attempt().await.record.verdict);
    }
    verdicts
}

/// A worker exits clean and says that it is done, and the work is shipped, empty. Here nobody ships what the host did not see.
#[tokio::test(flavor = "multi_thread")]
async fn the_silent_drop() {
    let home = Home::new();
    let attempt = async || Bench::new(examples::LIAR).file("notes.txt", "x").item("one").at(&home).run().await;
    let end = attempt().await;
    end.expect("no-progress");
    assert_eq!((end.record.exit_code, end.record.applied), (21, false));
    assert_eq!(end.record.report.as_ref().map(|report| report.status.name()), Some("done"), "its word is kept");
    assert_eq!(state(&home, "one"), State::Abandoned);
    // Nor does it get another chance by itself.
    assert_eq!(started_over(3, attempt).await, ["not-admitted"; 3]);
}

/// A provider is down, and every failed attempt is started over, all night. Here the item's attempts are few, and what its
/// calls came to is known in the next one.
#[tokio::test(flavor = "multi_thread")]
async fn the_retry_storm() {
    let home = Home::new();
    let model = Arc::new(Planned::new(|number| Turn::Fail(format!("connection {number} refused"))));
    let attempt = async || {
        let bench = Bench::new(plain::AGENT).model(Arc::clone(&model) as Arc<dyn jidoka::doors::model::Model>);
        bench.set("task", "text = \"go on\"").set("attempts", "max = 4").item("one").at(&home).run().await
    };
    let verdicts = started_over(200, attempt).await;
    assert_eq!(verdicts.iter().filter(|verdict| *verdict == "unable").count(), 4, "{verdicts:?}");
    assert!(verdicts[4..].iter().all(|verdict| verdict == "attempts-exhausted"), "{verdicts:?}");
    assert_eq!(model.asked(), 4, "two hundred starts, four calls");
    assert_eq!(state(&home, "one"), State::Abandoned);
}

/// A hook hangs after good work is done; the run is killed for it, and the worker is blamed. Here the work is applied, the
/// item is accepted, and the line stops so that somebody mends the hook.
#[tokio::test(flavor = "multi_thread")]
async fn the_hook_that_killed_good_work() {
    let home = Home::new();
    let hook = "[[hook]]\non = \"after-run\"\ncommand = [\"/bin/sh\", \"-c\", \"sleep 600\"]\nwall = \"300ms\"\nenv = [\"PATH\"]\n";
    let work = |item: &str| {
        let bench = Bench::new(plain::SCRIPT).set("task", "text = \"write a.txt better\\ndone ready\"");
        bench.file("a.txt", "bad").operator(hook).item(item).at(&home)
    };
    let end = work("one").run().await;
    end.expect("accepted");
    assert_eq!(end.real_file("a.txt").as_deref(), Some("better"));
    assert_eq!(state(&home, "one"), State::Accepted);
    assert!(end.took < Duration::from_secs(60));
    let pulls = bench::store(&home.state()).pulls().unwrap();
    assert_eq!(pulls.iter().map(|pulled| pulled.pull.category).collect::<Vec<_>>(), [Category::HookTimeout]);
    work("two").run().await.expect("not-admitted");
}

/// A worker talks to its model for as long as there is money, and nothing comes of it. Here what may be spent without
/// anything to show is a part of what may be spent, and the item is not tried again.
#[tokio::test(flavor = "multi_thread")]
async fn the_budget_burn() {
    let home = Home::new();
    let model = Arc::new(Planned::new(|number| Turn::call("look", &format!("thing {number}"))));
    let attempt = async || {
        let bench = Bench::new(plain::AGENT).model(Arc::clone(&model) as Arc<dyn jidoka::doors::model::Model>);
        let bench =
            bench.set("task", "text = \"go on\"").set("budget", "tokens = 1000000").set("budget", "model-calls = 900");
        bench
            .set("budget.first-gap", "model-calls = 12")
            .set("budget.gap", "model-calls = 40")
            .item("one")
            .at(&home)
            .run()
            .await
    };
    let end = attempt().await;
    end.expect("no-progress");
    assert_eq!(model.asked(), 12, "of nine hundred");
    assert_eq!(end.record.ledger.item.spent.get(Line::ModelCalls), 12);
    assert_eq!(state(&home, "one"), State::Abandoned);
    assert_eq!(started_over(3, attempt).await, ["not-admitted"; 3]);
}
