//! Work that was interrupted, and runs whose process is gone: what was not judged counts when it is done again, what the screen
//! promises is so, and nobody takes a lost run for one that is on its way.

use std::path::Path;
use std::time::Duration;

use jidoka::doors::clock::Clock;
use jidoka::rules::andon::{Category, Pull, SeenLock};
use jidoka::rules::effect::{Body, Entry};
use jidoka::rules::facts::Facts;
use jidoka::rules::item::State;
use jidoka::rules::ledger::ScopeId;
use jidoka::rules::question::QuestionId;
use jidoka::rules::verdict::Stop;
use jidoka::run::cord::Cord;
use jidoka::run::desk::{Because, Desk, DeskError};
use jidoka::run::past::{self, KeptEntry};
use jidoka::run::retention::Retention;
use jidoka::run::standing::Next;
use jidoka_tests::bench::{self, Bench, Home};
use jidoka_tests::plain;

const ITEM: &str = "one";

fn told(lines: &[&str]) -> Bench {
    Bench::new(plain::SCRIPT).set("task", &format!("text = \"{}\"", lines.join("\\n"))).item(ITEM)
}

fn desk(home: &Home) -> Desk {
    Desk::new(bench::store(&home.state()), bench::state(&home.state()), Clock::starting_at(bench::START_MS))
}

fn because(reason: &str) -> Because {
    Because { by: "ada".to_owned(), reason: reason.to_owned() }
}

fn line() -> ScopeId {
    ScopeId::of_path("default/tests")
}

async fn state(home: &Home) -> State {
    let items = desk(home).items().await.unwrap();
    items.into_iter().find(|(id, _)| id.name() == ITEM).expect("is known").1.state
}

fn verdict_file(home: &Home, serial: &str) -> serde_json::Value {
    let path = home.state().join("runs").join(serial).join("verdict.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Does something once a file is there.
fn once(path: &Path, act: impl FnOnce() + Send + 'static) {
    let path = path.to_owned();
    tokio::spawn(async move {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        act();
    });
}

/// Does something once the store has a mark of the run.
fn once_marked(home: &Home, serial: &str, act: impl FnOnce() + Send + 'static) {
    let (store, serial) = (bench::store(&home.state()), serial.to_owned());
    tokio::spawn(async move {
        let is_marked =
            |entries: Vec<KeptEntry>| entries.iter().any(|entry| matches!(entry.facts, Facts::Marked { .. }));
        while !past::entries(&*store, &serial).is_ok_and(is_marked) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        act();
    });
}

/// Runs a job until an entry is there, and takes its process away: here it is a runtime of its own.
fn lose(bench: Bench, serial: &str, at: impl Fn(&Entry) -> bool + Send + 'static) {
    let bench = bench.serial(serial);
    let lost = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let (seen, there) = std::sync::mpsc::channel();
        runtime.spawn(bench.watch(move |entry| {
            if at(entry) {
                seen.send(()).ok();
            }
        }));
        there.recv().unwrap();
        runtime.shutdown_timeout(Duration::from_secs(30));
    });
    tokio::task::block_in_place(|| lost.join().unwrap());
}

/// Work that shows a mark and then waits.
const WAITS: [&str; 4] = ["write a.txt better", "check-in look", "sleep 15000", "done ready"];

/// The same work, which comes to its end.
const WORKS: [&str; 3] = ["write a.txt better", "check-in look", "done ready"];

async fn is_accepted_when_done_again(home: &std::sync::Arc<Home>, how: &str) {
    let end = told(&WORKS).at(home).run().await;
    assert_eq!(end.record.verdict, "accepted", "{how}: {}", end.record.why);
    assert_eq!(end.notes(), ["new true marks 1 changed 1"], "{how}");
    assert_eq!(end.real_file("a.txt").as_deref(), Some("better"), "{how}");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_somebody_stopped_counts_when_it_is_done_again() {
    let frozen = Pull::by_operator(Category::Operator, "wait");
    for (stop, verdict) in [(Stop::Cancelled, "cancelled"), (Stop::Frozen { pull: frozen }, "halted")] {
        let home = Home::new();
        let job = told(&WAITS).at(&home).serial("first");
        let stopped = |cord: Cord| {
            once_marked(&home, "first", move || {
                cord.pull(stop);
            })
        };
        job.run_with(stopped).await.expect(verdict);
        is_accepted_when_done_again(&home, verdict).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_broke_or_ran_out_of_time_counts_when_it_is_done_again() {
    let panics = [WORKS[0], WORKS[1], "panic"];
    let gives_up = [WORKS[0], WORKS[1], "unable no"];
    for (bench, verdict) in [
        (told(&panics), "trapped"),
        (told(&gives_up), "unable"),
        (told(&WAITS).wall("1s"), "exhausted"),
        (told(&WORKS).command("slow", &["sleep", "60"], "200ms"), "unverifiable"),
        (
            told(&["write b.txt stray", WORKS[0], WORKS[1], "done ready"]).set("done", "tree = [\"a.txt\"]"),
            "constraint-violation",
        ),
    ] {
        let home = Home::new();
        bench.at(&home).run().await.expect(verdict);
        is_accepted_when_done_again(&home, verdict).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_met_a_conflict_counts_when_it_is_done_again() {
    let home = Home::new();
    let there = home.workspace().join("somebody");
    let job = told(&["write a.txt better", "check-in look", "sleep 1500", "done ready"]).at(&home).serial("first");
    let saved = there.clone();
    let end = job.run_with(|_| once_marked(&home, "first", move || std::fs::write(saved, "saved").unwrap())).await;
    end.expect("rejected");
    assert_eq!(end.record.detail["gate"], "apply");
    std::fs::remove_file(there).unwrap();
    is_accepted_when_done_again(&home, "conflict").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_of_a_run_that_was_lost_counts_when_it_is_done_again() {
    let home = Home::new();
    lose(told(&WAITS).at(&home), "first", |entry| matches!(entry.body, Body::Marked { .. }));
    is_accepted_when_done_again(&home, "lost").await;
    // In the middle of a check: it has seen the work, and said nothing.
    let home = Home::new();
    let job = told(&WORKS).command("slow", &["sleep", "60"], "90s").at(&home);
    lose(job, "first", |entry| matches!(entry.body, Body::Checking { .. }));
    is_accepted_when_done_again(&home, "lost in a check").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_was_mended_judges_the_same_work_again() {
    let home = Home::new();
    let script = home.dir().join("check.sh");
    let path = script.display().to_string();
    let attempt = || told(&WORKS).command("tests", &["/bin/sh", &path], "10s").at(&home);
    std::fs::write(&script, "exit 1").unwrap();
    attempt().run().await.expect("rejected");
    std::fs::write(&script, "exit 0").unwrap();
    attempt().run().await.expect("accepted");
    assert!(desk(&home).pulls().await.unwrap().is_empty(), "it is another check, and contradicts nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_was_revived_may_show_the_same_work_again() {
    let home = Home::new();
    let wrong = home.dir().join("wrong");
    // What is wrong is not in the command, and nobody can see it there.
    let script = format!("test ! -e {}", wrong.display());
    let attempt = || told(&WORKS).command("tests", &["sh", "-c", &script], "10s").at(&home);
    std::fs::write(&wrong, "").unwrap();
    attempt().run().await.expect("rejected");
    attempt().run().await.expect("no-progress");
    std::fs::remove_file(&wrong).unwrap();
    attempt().run().await.expect("not-admitted");
    home.revive(ITEM).await;
    attempt().run().await.expect("accepted");
    assert!(desk(&home).pulls().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_stopped_in_a_check_goes_on_with_the_check() {
    for how in ["cancelled", "halted"] {
        let home = Home::new();
        let [begun, go] = ["begun", "go"].map(|name| home.dir().join(name));
        let script = format!("echo x >> {}; until [ -e {} ]; do sleep 0.05; done", begun.display(), go.display());
        let job = || {
            let job = told(&WORKS).command("tests", &["sh", "-c", &script], "60s").at(&home).serial("first");
            job.set("andon", "on-pull = \"freeze\"")
        };
        let (pulled, opened) = (desk(&home), go.clone());
        let end = job().run_with(|cord| {
            once(&begun, move || match how {
                "cancelled" => drop(cord.pull(Stop::Cancelled)),
                _ => drop(tokio::spawn(async move {
                    pulled.pull_line(&line(), Category::Operator, because("a look")).await.unwrap();
                    std::fs::write(opened, "").unwrap();
                })),
            });
        });
        let end = end.await;
        end.expect(how);
        assert_eq!(end.real_file("a.txt"), None, "{how}");
        if how == "halted" {
            assert_eq!(desk(&home).next("first").await.unwrap(), Next::Clear(line(), 1));
            desk(&home).clear_line(&line(), None, None, because("looked")).await.unwrap();
        }
        std::fs::write(&go, "").unwrap();
        assert_eq!(desk(&home).next("first").await.unwrap(), Next::Resume, "{how}");
        let end = job().resume("first").await;
        end.expect("accepted");
        assert_eq!((end.real_file("a.txt").as_deref(), end.record.attempt), (Some("better"), 1), "{how}");
        assert_eq!(end.replay().await.divergence, None, "{how}");
        assert_eq!(state(&home).await, State::Accepted, "{how}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_to_go_on_goes_on_and_what_does_not_is_said_to_be_over() {
    let over = async |home: &Home, serial: &str| matches!(desk(home).next(serial).await.unwrap(), Next::Over { .. });
    // A worker that ended by itself, whatever was said of it.
    for (lines, verdict) in
        [(vec!["done nothing"], "no-progress"), (vec!["unable no"], "unable"), (vec!["needs-human me"], "needs-human")]
    {
        let home = Home::new();
        told(&lines).at(&home).serial("first").run().await.expect(verdict);
        assert!(over(&home, "first").await, "{verdict}");
    }
    // All of its time is used up.
    let home = Home::new();
    told(&WAITS).wall("1s").at(&home).serial("first").run().await.expect("exhausted");
    assert!(over(&home, "first").await);
    // A question parks it.
    let home = Home::new();
    let asks = || {
        let job = told(&["human may I?", "write a.txt better", "done ready"]).at(&home).serial("first");
        job.set("grants", "human = true").set("human", "deadline = \"24h\"")
    };
    asks().run().await.expect("needs-human");
    let question = QuestionId { run: "first".into(), call: 1 };
    assert_eq!(desk(&home).next("first").await.unwrap(), Next::Answer(question.clone()));
    desk(&home).answer(&question, 1, String::new(), because("yes")).await.unwrap();
    assert_eq!(desk(&home).next("first").await.unwrap(), Next::Resume);
    asks().resume("first").await.expect("accepted");
    assert!(over(&home, "first").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_process_is_gone_is_lost_and_goes_on_until_its_item_does() {
    let home = Home::new();
    lose(told(&WAITS).at(&home), "first", |entry| matches!(entry.body, Body::Marked { .. }));
    let row = async |serial: &str| {
        let runs = desk(&home).runs().await.unwrap();
        runs.into_iter().find(|run| run.serial == serial).expect("is there")
    };
    let first = row("first").await;
    assert_eq!(first.verdict, None);
    assert_eq!(desk(&home).next("first").await.unwrap(), Next::Resume);
    // A process that another test starts just now has our locks for a moment.
    let mut looks = 0..2_000;
    while !desk(&home).is_lost(&first) {
        looks.next().expect("it is lost");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The next attempt says so, in its journal too, and the lost run has an end.
    let end = told(&WORKS).at(&home).serial("second").run().await;
    end.expect("accepted");
    let Body::Opened { opening } = &end.entries[0].body else { panic!("{:?}", end.entries[0]) };
    assert_eq!(opening.job.lost.as_deref(), Some("first"));
    let first = row("first").await;
    assert_eq!(
        (first.verdict.as_deref(), first.exit_code, desk(&home).is_lost(&first)),
        (Some("lost"), Some(71), false)
    );
    assert_eq!(verdict_file(&home, "first")["verdict"], "lost");
    desk(&home).verify("first").await.unwrap();
    assert!(matches!(desk(&home).next("first").await.unwrap(), Next::Over { .. }));
    told(&WAITS).at(&home).resume("first").await.expect("not-admitted");
    let replayed = bench::replay(&bench::runner(&home.state()), "first", None).await;
    assert_eq!((replayed.divergence, replayed.fault), (None, None));
    // A run that ended is nobody's loss.
    home.revive(ITEM).await;
    let end = told(&["write b.txt more", "done ready"]).at(&home).run().await;
    let Body::Opened { opening } = &end.expect("accepted").entries[0].body else { panic!("{:?}", end.entries[0]) };
    assert_eq!(opening.job.lost, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_run_pulls_its_line_where_its_job_wants_that_and_only_there() {
    for (on_lost, categories) in [("pull", vec![Category::RunLost]), ("leave", vec![])] {
        let home = Home::new();
        let set = format!("on-lost = \"{on_lost}\"");
        lose(told(&WAITS).set("andon", &set).at(&home), "first", |entry| matches!(entry.body, Body::Marked { .. }));
        // Who knows no hooks leaves the pull to somebody who does.
        desk(&home).survey().await.unwrap();
        desk(&home).prune(Retention { before_ms: Some(u64::MAX), max_bytes: None }).await.unwrap();
        assert_eq!(desk(&home).pulls().await.unwrap(), []);
        // Whoever is admitted next finds it, on whatever item.
        let end = told(&WORKS).item("another").at(&home).run().await;
        end.expect(if on_lost == "pull" { "not-admitted" } else { "accepted" });
        let pulls = || async { desk(&home).pulls().await.unwrap() };
        assert_eq!(pulls().await.iter().map(|pulled| pulled.pull.category).collect::<Vec<_>>(), categories);
        if on_lost != "pull" {
            continue;
        }
        assert_eq!(pulls().await[0].run.as_deref(), Some("first"));
        assert_eq!(verdict_file(&home, "first")["verdict"], "lost");
        assert_eq!(desk(&home).next("first").await.unwrap(), Next::Clear(line(), 1));
        desk(&home).clear_line(&line(), None, None, because("the machine went down")).await.unwrap();
        told(&WORKS).item("another").at(&home).run().await.expect("accepted");
        assert_eq!(pulls().await.len(), 1, "it is found once");
        assert_eq!(desk(&home).next("first").await.unwrap(), Next::Resume);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_answers_a_question_that_nobody_hears() {
    let home = Home::new();
    let asks = || {
        let job = told(&["human may I?", "write a.txt better", "done ready"]).at(&home);
        job.set("grants", "human = true").set("human", "deadline = \"24h\"")
    };
    asks().serial("first").run().await.expect("needs-human");
    let question = QuestionId { run: "first".into(), call: 1 };
    let answered = async || desk(&home).answer(&question, 1, String::new(), because("yes")).await;
    let item = line().child(ITEM);
    desk(&home).abandon(&item, because("not needed")).await.unwrap();
    let refused = answered().await.expect_err("nobody hears it");
    assert!(matches!(refused, DeskError::NobodyAsks { .. }), "{refused}");
    assert!(refused.to_string().contains("is abandoned"), "{refused}");
    home.revive(ITEM).await;
    told(&WORKS).at(&home).run().await.expect("accepted");
    assert!(matches!(answered().await, Err(DeskError::NobodyAsks { .. })), "it is accepted, by another run");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_clears_the_lock_that_they_saw_and_no_other() {
    let home = Home::new();
    let desk = desk(&home);
    let pull = async |why: &str| desk.pull_line(&line(), Category::Operator, because(why)).await.unwrap();
    let clear = async |number: u64, pulls: Option<u64>| {
        desk.clear_line(&line(), Some(SeenLock { number, pulls }), None, because("looked")).await
    };
    pull("the floor is wet").await;
    pull("and it smells").await;
    let refused = clear(1, Some(1)).await.expect_err("it was pulled since");
    assert!(refused.to_string().contains("and it smells"), "{refused}");
    clear(1, Some(2)).await.unwrap();
    pull("wet again").await;
    let refused = clear(1, None).await.expect_err("it is another lock");
    assert!(matches!(refused, DeskError::OtherLock(_)), "{refused}");
    clear(2, None).await.unwrap();
}
