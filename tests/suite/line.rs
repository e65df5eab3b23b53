//! The line: what a pull stops and what it leaves alone, who may clear it, and the states of items.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jidoka::doors::clock::Clock;
use jidoka::doors::store::Store;
use jidoka::rules::andon::{Category, Puller};
use jidoka::rules::item::State;
use jidoka::rules::ledger::ScopeId;
use jidoka::rules::operate::Deed;
use jidoka::rules::question::QuestionId;
use jidoka::rules::spec::Dialect;
use jidoka::rules::verdict::Stop;
use jidoka::run::desk::{Because, Desk, DeskError};
use jidoka_tests::bench::{self, Bench, Home, http};
use jidoka_tests::provider::{Behaviour, FakeProvider};
use jidoka_tests::{examples, hostile, plain};

/// The worker that does what it is told.
fn told(lines: &[&str]) -> Bench {
    Bench::new(plain::SCRIPT).set("task", &format!("text = \"{}\"", lines.join("\\n")))
}

fn line(name: &str) -> ScopeId {
    ScopeId::of_path("default").child(name)
}

fn because(reason: &str) -> Because {
    Because { by: "ada".to_owned(), reason: reason.to_owned() }
}

/// An operator's desk over a home's books.
fn desk(home: &Home) -> Desk {
    desk_over(home, bench::store(&home.state()))
}

/// As [`desk`], so many hours later than other things.
fn desk_later(home: &Home, hours: u64) -> Desk {
    let start_ms = bench::START_MS + hours * 3_600_000;
    Desk::new(bench::store_at(&home.state(), start_ms), bench::state(&home.state()), Clock::starting_at(start_ms))
}

fn desk_over(home: &Home, store: Arc<dyn Store>) -> Desk {
    Desk::new(store, bench::state(&home.state()), Clock::starting_at(bench::START_MS))
}

async fn categories(home: &Home) -> Vec<Category> {
    desk(home).pulls().await.unwrap().into_iter().map(|pulled| pulled.pull.category).collect()
}

async fn state(home: &Home, item: &str) -> State {
    let items = desk(home).items().await.unwrap();
    items.into_iter().find(|(id, _)| id.name() == item).expect("is known").1.state
}

fn dispatcher(home: &Home, provider: &FakeProvider, line: &str, way: &str) -> Child {
    let arguments = [home.dir().to_str().unwrap(), &provider.url(), line, way];
    let mut command = Command::new(env!("CARGO_BIN_EXE_dispatcher"));
    command.args(arguments).stdout(Stdio::piped()).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_pull_nothing_of_its_line_begins_in_any_process_and_other_lines_go_on() {
    let home = Home::new();
    let provider = FakeProvider::start(vec![Behaviour::Text("yes".into())]).await;
    let asked = |line: &str| {
        let words = format!("\"{line}\"");
        provider.seen().iter().filter(|seen| seen.body["messages"].to_string().contains(&words)).count()
    };
    let processes: Vec<Child> =
        ["a", "b"].into_iter().cycle().take(8).map(|line| dispatcher(&home, &provider, line, "run")).collect();
    while asked("a") < 8 || asked("b") < 8 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let desk = desk(&home);
    desk.pull_line(&line("a"), Category::Operator, because("wait")).await.unwrap();
    let of = async |name: &str| desk.runs().await.unwrap().iter().filter(|run| run.line == name).count();
    let (began, others) = (of("a").await, of("b").await);
    while of("b").await < others + 8 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::fs::write(home.dir().join("stop"), "").unwrap();
    let mut refused = 0;
    for process in processes {
        let said = process.wait_with_output().unwrap();
        refused += String::from_utf8_lossy(&said.stdout).matches("not-admitted").count();
    }
    assert_eq!(of("a").await, began, "a run of the line began after the pull");
    assert_eq!(asked("a"), began, "each run asks once, and drains");
    assert!(refused > 0, "and its processes heard why");
    println!(
        "{began} runs of the line began before the pull, none after; {} of the other; {refused} refused",
        of("b").await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_survives_whoever_pulled_and_only_a_person_clears_it() {
    let home = Home::new();
    let provider = FakeProvider::start(vec![Behaviour::Text("yes".into())]).await;
    let killed = dispatcher(&home, &provider, "a", "pull").wait_with_output().unwrap();
    assert!(!killed.status.success() && killed.stdout.is_empty());
    let attempt = || told(&["write a x", "done ready"]).set("", "line = \"a\"").at(&home).run();
    let end = attempt().await;
    end.expect("not-admitted");
    assert!(end.record.why.contains("the floor is wet"), "{}", end.record.why);
    assert!(end.record.why.contains("jidoka andon clear default/a"), "{}", end.record.why);

    let desk = desk(&home);
    let act =
        desk.clear_line(&line("a"), None, Some("mats at the door".into()), because("nobody looked")).await.unwrap();
    assert!(matches!(act.deed, Deed::ClearLine { lock: 1, pulls: 1, .. }), "{act:?}");
    assert!(matches!(desk.clear_line(&line("a"), None, None, because("again")).await, Err(DeskError::NotStopped(_))));
    drop(desk);
    attempt().await.expect("accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_pulls_at_once_leave_one_lock_with_every_cause() {
    let home = Home::new();
    let stores = [bench::store(&home.state()), bench::store(&home.state())];
    let desks = stores.map(|store| desk_over(&home, store));
    let pulls = (0..1_000).map(|number| {
        let desk = desks[number % 2].clone();
        tokio::spawn(async move {
            desk.pull_line(&line("a"), Category::Operator, because(&format!("cause {number}"))).await.unwrap()
        })
    });
    for pull in pulls.collect::<Vec<_>>() {
        assert_eq!(pull.await.unwrap().lock, 1);
    }
    let lines = desks[0].lines().await.unwrap();
    let lock = lines[0].1.lock.as_ref().unwrap();
    assert_eq!((lines.len(), lock.number, lock.pulls), (1, 1, 1_000));
    let mut causes: Vec<String> =
        desks[1].pulls().await.unwrap().into_iter().map(|pulled| pulled.pull.reason).collect();
    causes.sort();
    causes.dedup();
    assert_eq!(causes.len(), 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_freezes_is_halted_at_its_next_effect_and_goes_on_without_asking_again() {
    let home = Home::new();
    let provider = FakeProvider::start(vec![Behaviour::Text("yes".into())]).await;
    let job = |on_pull: &str| {
        told(&["ask one", "sleep 1500", "ask two", "write a x", "done ready"])
            .model(http(&provider, Dialect::Openai))
            .set("andon", &format!("on-pull = \"{on_pull}\""))
            .set("", "line = \"a\"")
            .item(on_pull)
            .at(&home)
    };
    let pulled_meanwhile = async |on_pull: &str, asked: u64| {
        let operator = {
            let desk = desk(&home);
            let provider = &provider;
            async move {
                provider.until(|counters| counters.calls > asked).await;
                desk.pull_line(&line("a"), Category::Operator, because("wait")).await.unwrap();
            }
        };
        tokio::join!(job(on_pull).run(), operator).0
    };
    let end = pulled_meanwhile("freeze", 0).await;
    end.expect("halted");
    assert_eq!((provider.counters().calls, end.record.exit_code), (1, 22));
    assert_eq!(end.record.detail["pull"]["by"], "operator");
    assert_eq!(state(&home, "freeze").await, State::Halted);
    assert_eq!(desk(&home).pulls().await.unwrap().len(), 1, "a run that freezes pulls nothing");

    job("freeze").resume(&end.record.serial).await.expect("not-admitted");
    desk(&home).clear_line(&line("a"), None, None, because("it was dry")).await.unwrap();
    let end = job("freeze").resume(&end.record.serial).await;
    end.expect("accepted");
    assert_eq!(provider.counters().calls, 2, "what has an answer is not asked again");
    assert_eq!(state(&home, "freeze").await, State::Accepted);

    std::fs::remove_file(home.workspace().join("a")).unwrap();
    let end = pulled_meanwhile("drain", 2).await;
    end.expect("accepted");
    assert_eq!(provider.counters().calls, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_pulls_with_its_category() {
    for (word, category) in [
        ("defect", Category::Defect),
        ("systemic-risk", Category::SystemicRisk),
        ("unsafe-request", Category::UnsafeRequest),
        ("missing-capability", Category::MissingCapability),
        ("ambiguous-spec", Category::AmbiguousSpec),
    ] {
        let home = Home::new();
        told(&[&format!("pull-as {word} look here")]).at(&home).run().await.expect("halted");
        assert_eq!(categories(&home).await, [category]);
        let pulls = desk(&home).pulls().await.unwrap();
        assert_eq!((pulls[0].pull.by, pulls[0].pull.reason.as_str()), (Puller::Worker, "look here"));
        told(&["done x"]).at(&home).run().await.expect("not-admitted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meter_that_is_overrun_pulls_the_line() {
    let overshoot = Behaviour::Overshoot { text: "too much".into(), tokens_out: 100_000 };
    let provider = FakeProvider::start(vec![overshoot]).await;
    let home = Home::new();
    told(&["ask hello", "done x"]).model(http(&provider, Dialect::Openai)).at(&home).run().await.expect("halted");
    assert_eq!(categories(&home).await, [Category::MeterOverrun]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_not_what_was_written_pulls_the_line() {
    let home = Home::new();
    let end = told(&["write a x", "unable no"]).item("one").at(&home).run().await;
    end.expect("unable");
    // A run that was killed, and whose journal somebody changed.
    let store = rusqlite::Connection::open(home.state().join("ledger.sqlite")).unwrap();
    let serial = &end.record.serial;
    let open = format!("UPDATE item SET body = json_set(body, '$.open', '{serial}', '$.state', 'running')");
    store.execute_batch(&open).unwrap();
    store.execute_batch("UPDATE entry SET line = replace(line, '\"seq\":1,', '\"seq\":2,') WHERE seq = 1").unwrap();
    drop(store);
    told(&["done x"]).item("one").at(&home).run().await.expect("not-admitted");
    assert_eq!(categories(&home).await, [Category::JournalCorrupt]);
    told(&["done x"]).item("two").at(&home).run().await.expect("not-admitted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_reaches_for_more_than_it_has_pulls_the_line() {
    let home = Home::new();
    let real = home.workspace();
    std::fs::create_dir_all(real.join("a/b")).unwrap();
    std::os::unix::fs::symlink("../../secret", real.join("a/b/link")).unwrap();
    let end = Bench::new(hostile::SYMLINK_MOVED).at(&home).file("secret", "inside").run().await;
    end.expect("constraint-violation");
    assert_eq!(categories(&home).await, [Category::CapabilityViolation]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_failure_of_three_items_pulls_the_line() {
    let home = Home::new();
    for item in ["a", "b"] {
        told(&["write x y", "panic"]).item(item).at(&home).run().await.expect("trapped");
        // Again and again the same item is no cluster.
        told(&["write x y", "panic"]).item(item).at(&home).run().await.expect("trapped");
    }
    assert_eq!(categories(&home).await, []);
    told(&["write x y", "panic"]).item("c").at(&home).run().await.expect("trapped");
    assert_eq!(categories(&home).await, [Category::RepeatFailure]);
    told(&["write x y", "done x"]).item("d").at(&home).run().await.expect("not-admitted");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_items_without_progress_pull_the_line() {
    let home = Home::new();
    for item in ["a", "b", "c"] {
        assert_eq!(categories(&home).await, []);
        Bench::new(examples::LIAR).item(item).at(&home).run().await.expect("no-progress");
    }
    assert_eq!(categories(&home).await, [Category::NoProgressCluster]);
    // Who tries things out, on no item of a name, stops nothing.
    let home = Home::new();
    for _ in 0..4 {
        Bench::new(examples::LIAR).at(&home).run().await.expect("no-progress");
    }
    assert_eq!(categories(&home).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_passes_and_fails_on_the_same_tree_pulls_the_line() {
    let home = Home::new();
    let coin = home.dir().join("coin");
    let flip = format!("test -e {0} || {{ touch {0}; exit 1; }}", coin.display());
    // The tree is the same; what is new to show is the evidence, which the check does not see.
    let attempt = |evidence: &str| {
        let lines = [format!("write a x\\nattach {evidence}"), "done ready".to_owned()];
        told(&[&lines[0], &lines[1]]).command("coin", &["sh", "-c", &flip], "10s").item("one").at(&home)
    };
    attempt("first").run().await.expect("rejected");
    let end = attempt("second").run().await;
    end.expect("unverifiable");
    assert_eq!(end.real_file("a"), None);
    assert_eq!(categories(&home).await, [Category::VerifierConflict]);
    assert_eq!(end.replay().await.divergence, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_pull_is_one_with_a_name() {
    let home = Home::new();
    desk(&home).pull_line(&line("tests"), Category::Operator, because("fire drill")).await.unwrap();
    let pulls = desk(&home).pulls().await.unwrap();
    assert_eq!((pulls[0].person.as_deref(), pulls[0].pull.category), (Some("ada"), Category::Operator));
    told(&["done x"]).at(&home).run().await.expect("not-admitted");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_goes_the_way_that_its_verdicts_say() {
    let home = Home::new();
    let attempt = |lines: &[&str]| told(lines).item("one").at(&home).set("attempts", "max = 3");
    attempt(&["write a x", "unable no"]).run().await.expect("unable");
    assert_eq!(state(&home, "one").await, State::RetryWait);
    attempt(&["write b x", "done ready"]).run().await.expect("accepted");
    assert_eq!(state(&home, "one").await, State::Accepted);
    let end = attempt(&["write c x", "done ready"]).run().await;
    end.expect("not-admitted");
    assert!(end.record.why.contains("an item that is accepted cannot be tried"), "{}", end.record.why);
    let item = line("tests").child("one");
    desk(&home).revive(&item, because("one more thing")).await.unwrap();
    attempt(&["done nothing"]).run().await.expect("no-progress");
    assert_eq!(state(&home, "one").await, State::Abandoned);
    attempt(&["write d x", "done ready"]).run().await.expect("not-admitted");
    desk(&home).revive(&item, because("it knows better now")).await.unwrap();
    desk(&home).abandon(&item, because("it does not")).await.unwrap();
    assert!(matches!(desk(&home).abandon(&item, because("twice")).await, Err(DeskError::NotNow(_))));
    assert!(matches!(desk(&home).revive(&line("tests").child("two"), because("?")).await, Err(DeskError::NoItem(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_rests_between_attempts_and_is_not_tried_before() {
    let home = Home::new();
    let attempt = || told(&["write a x", "unable no"]).item("one").at(&home).set("attempts", "backoff = \"1h\"");
    attempt().run().await.expect("unable");
    let end = attempt().run().await;
    end.expect("not-admitted");
    assert!(end.record.why.contains("rests for"), "{}", end.record.why);
    attempt().hours_later(2).run().await.expect("unable");
    attempt().hours_later(3).run().await.expect("not-admitted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_parks_the_run_until_a_person_answers_and_costs_nothing_meanwhile() {
    let home = Home::new();
    let job = || {
        told(&["ask one", "human may I?", "ask two", "write a x", "done ready"])
            .script("[[turn]]\nrepeat = true\ntext = \"yes\"\n")
            .set("grants", "human = true")
            .set("human", "deadline = \"24h\"")
            .item("one")
            .at(&home)
    };
    let end = job().run().await;
    end.expect("needs-human");
    assert!(end.record.why.contains("may I?"), "{}", end.record.why);
    assert_eq!(state(&home, "one").await, State::Parked);
    assert_eq!(end.replay().await.divergence, None);
    let serial = end.record.serial.clone();
    let before = end.record.ledger.item.clone();
    job().run().await.expect("not-admitted");
    // Nobody said anything yet.
    job().hours_later(1).resume(&serial).await.expect("needs-human");
    let desk_later = desk_later(&home, 1);
    let asked = desk_later.questions().await.unwrap();
    let (question, other) = (&asked[0].0, QuestionId { call: 99, ..asked[0].0.clone() });
    assert_eq!((asked.len(), &*question.run), (1, serial.as_str()));
    let no_such = desk_later.answer(&other, 1, String::new(), because("")).await;
    assert!(matches!(no_such, Err(DeskError::NoQuestion(_))), "{no_such:?}");
    assert!(matches!(desk_later.answer(question, 3, String::new(), because("")).await, Err(DeskError::Answer(_))));
    desk_later.answer(question, 2, "but only once".into(), because("asked and thought")).await.unwrap();
    assert!(matches!(desk_later.answer(question, 1, String::new(), because("")).await, Err(DeskError::Answer(_))));
    let end = job().hours_later(20).resume(&serial).await;
    end.expect("accepted");
    assert!(end.notes().contains(&"decided 1: but only once"), "{:?}", end.notes());
    let spent = |line| end.record.ledger.item.spent.get(line) + end.record.ledger.item.held.get(line);
    assert_eq!(spent(jidoka::rules::ledger::Line::ModelCalls), 2);
    assert!(before.spent.get(jidoka::rules::ledger::Line::ModelCalls) == 1);
    assert!(spent(jidoka::rules::ledger::Line::WorkMs) < 20_000, "the hours in between are nobody's time");
    assert_eq!(end.replay().await.divergence, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_is_where_its_run_left_it_also_if_that_was_killed_before_it_could_say_so() {
    let provider = FakeProvider::start(vec![Behaviour::Text("yes".into())]).await;
    let home = Home::new();
    let killed = dispatcher(&home, &provider, "tests", "ask").wait_with_output().unwrap();
    assert!(!killed.status.success() && killed.stdout.is_empty());
    // It waits for a person, and nobody takes its place.
    let end = told(&["write a x", "done ready"]).item("one").at(&home).run().await;
    end.expect("not-admitted");
    assert!(end.record.why.contains("an item that is parked cannot be tried"), "{}", end.record.why);
    let asked = desk(&home).questions().await.unwrap();
    desk(&home).answer(&asked[0].0, 1, String::new(), because("yes")).await.unwrap();
    let job = told(&["write a x", "human may I?", "done ready"]).model(http(&provider, Dialect::Openai)).item("one");
    let job = job.set("grants", "human = true").set("human", "deadline = \"24h\"").at(&home);
    job.resume("first").await.expect("accepted");
    assert_eq!(state(&home, "one").await, State::Accepted);

    let home = Home::new();
    dispatcher(&home, &provider, "tests", "pull").wait_with_output().unwrap();
    assert_eq!(categories(&home).await, [Category::Defect]);
    desk(&home).clear_line(&line("tests"), None, None, because("dry again")).await.unwrap();
    let end = told(&["write b x", "done ready"]).item("one").at(&home).run().await;
    end.expect("accepted");
    assert_eq!(end.record.attempt, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_before_all_of_it_is_told_again_forgets_nothing() {
    let home = Home::new();
    let job = |lines: &[&str]| told(lines).item("one").at(&home).set("attempts", "max = 9");
    let lines = ["write a x", "check-in look", "sleep 1", "left tokens", "pull wait"];
    let end = job(&lines).run().await;
    end.expect("halted");
    desk(&home).clear_line(&line("tests"), None, None, because("dry again")).await.unwrap();
    // Given up at once: perhaps nothing of it is told again.
    let end = job(&lines).resume_with(&end.record.serial, |cord| assert!(cord.pull(Stop::Cancelled))).await;
    end.expect("cancelled");
    // What it has shown was not judged, so it counts.
    let end = job(&["write a x", "check-in look", "done ready"]).run().await;
    assert_eq!(end.notes(), ["new true marks 1 changed 1"]);
    end.expect("accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_nobody_answers_in_time_is_a_no() {
    let home = Home::new();
    let job = || {
        told(&["human may I?", "write a x", "done ready"])
            .set("grants", "human = true")
            .set("human", "deadline = \"1h\"")
            .at(&home)
    };
    let serial = job().run().await.expect("needs-human").record.serial.clone();
    let end = job().hours_later(2).resume(&serial).await;
    end.expect("unable");
    assert!(end.record.why.contains("which nobody gave"), "{}", end.record.why);
    assert_eq!(end.real_file("a"), None);
    let asked = desk_later(&home, 2).questions().await.unwrap();
    let late = desk_later(&home, 2).answer(&asked[0].0, 1, String::new(), because("late")).await;
    assert!(matches!(late, Err(DeskError::Answer(_))), "{late:?}");
}
