//! Time: a guest past its deadline is stopped wherever it is, others go on, and what a guest can sense of time and
//! chance is the run's own. How fast a guest is stopped is measured by `cargo bench`, not asserted here.

use jidoka::rules::ledger::Line;
use jidoka_tests::bench::Bench;
use jidoka_tests::{examples, hostile, plain};

fn told(lines: &[&str]) -> Bench {
    let text = lines.join("\\n");
    Bench::new(plain::SCRIPT).set("task", &format!("text = \"{text}\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runaway_is_stopped_and_another_run_goes_on_unaffected() {
    let runaway = Bench::new(examples::RUNAWAY).wall("3s").run();
    let other = told(&["write a x", "sleep 50", "write b x", "sleep 50", "done ready"]).run();
    let (runaway, other) = tokio::join!(tokio::spawn(runaway), tokio::spawn(other));
    let (runaway, other) = (runaway.unwrap(), other.unwrap());
    runaway.expect("exhausted");
    other.expect("accepted");
    assert!(runaway.took >= other.took, "the other did not wait for the runaway");
}

#[tokio::test(flavor = "multi_thread")]
async fn spinning_and_blocked_guests_end_in_the_same_typed_outcome() {
    let spinning = Bench::new(hostile::SPIN).wall("200ms").run().await;
    let blocked = Bench::new(plain::SLEEPER).wall("200ms").run().await;
    for end in [&spinning, &blocked] {
        end.expect("exhausted");
        assert_eq!(end.record.detail, serde_json::json!({"scope": "attempt", "line": "wall-ms"}));
    }
    let cpu = |end: &jidoka_tests::bench::End| end.record.ledger.attempt.spent.get(Line::CpuMs);
    assert!(cpu(&spinning) > 2 * cpu(&blocked), "waiting is not work");
}

#[tokio::test(flavor = "multi_thread")]
async fn processor_time_is_a_line_of_its_own() {
    let end = Bench::new(hostile::SPIN).set("budget", "cpu = \"50ms\"").run().await;
    end.expect("exhausted");
    assert_eq!(end.record.detail["line"], "cpu-ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_time_is_a_line_of_its_own() {
    let end = Bench::new(plain::SLEEPER).set("budget", "work = \"100ms\"").run().await;
    end.expect("exhausted");
    assert_eq!(end.record.detail["line"], "work-ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn time_that_an_item_used_before_counts() {
    let home = jidoka_tests::bench::Home::new();
    let attempt = |wall: &str| Bench::new(plain::SLEEPER).item("one").at(&home).wall(wall);
    let limit = "wall = \"300ms\"";
    let end = attempt("200ms").set("budget.item", limit).run().await;
    assert_eq!(end.record.detail["scope"], "attempt");
    home.revive("one").await;
    let end = attempt("200ms").set("budget.item", limit).run().await;
    end.expect("exhausted");
    assert_eq!(end.record.detail["scope"], "item");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_runaways_do_not_keep_a_ninth_run_from_its_end() {
    let runaways: Vec<_> = (0..8).map(|_| tokio::spawn(Bench::new(hostile::SPIN).wall("2s").run())).collect();
    let end = tokio::spawn(told(&["write a x", "check-in one", "write b x", "check-in two", "done ready"]).run())
        .await
        .unwrap();
    end.expect("accepted");
    assert_eq!(end.notes(), ["new true marks 1 changed 1", "new true marks 2 changed 2"]);
    for runaway in runaways {
        runaway.await.unwrap().expect("exhausted");
    }
}
