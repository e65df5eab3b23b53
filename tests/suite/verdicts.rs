//! One whole run for each verdict, with its exit code: a real component, judged by the host.

use jidoka::rules::andon::{Category, Pull, Puller};
use jidoka::rules::effect::Body;
use jidoka::rules::ledger::Line;
use jidoka::rules::signature;
use jidoka::rules::spec::{Dialect, Wall};
use jidoka::rules::verdict::{Status, Stop};
use jidoka_tests::bench::{self, Bench, Home, http};
use jidoka_tests::provider::{Behaviour, FakeProvider};
use jidoka_tests::{examples, hostile, plain};

/// The worker that does what it is told.
fn told(lines: &[&str]) -> Bench {
    let text = lines.join("\\n");
    Bench::new(plain::SCRIPT).set("task", &format!("text = \"{text}\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_the_host_saw_and_checked_is_accepted_and_applied() {
    let bench = told(&["write judge pass", "write src/a.txt better", "done ready"]).file("src/a.txt", "bad");
    let end = bench.check("tests", plain::JUDGE).run().await;
    end.expect("accepted");
    assert_eq!(end.record.exit_code, 0);
    assert!(end.record.applied);
    assert_eq!(end.real_file("src/a.txt").as_deref(), Some("better"));
    assert_eq!(end.record.changes, ["judge", "src/a.txt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_to_do_is_no_change_needed_if_the_job_allows_it() {
    let bench = || told(&["no-change-needed all fine"]).file("a", "x");
    bench().set("done", "no-change = \"allowed\"").run().await.expect("no-change-needed");
    let end = bench().run().await;
    end.expect("rejected");
    assert_eq!(end.record.detail["gate"], "no-change");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_check_is_rejected_and_nothing_is_applied() {
    let end = told(&["write judge fail", "done ready"]).file("a", "x").check("tests", plain::JUDGE).run().await;
    end.expect("rejected");
    assert_eq!(end.record.exit_code, 10);
    assert_eq!(end.record.detail["gate"], "tests");
    assert_eq!(end.record.detail["findings"], serde_json::json!(["first", "second"]));
    assert_eq!(end.real_file("judge"), None);
    assert_eq!(end.kept_file("judge").as_deref(), Some("fail"), "the tree is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_of_the_operators_is_a_check_in_a_copy_of_the_result() {
    let job =
        |script: &str, wall| told(&["write a.txt better", "done ready"]).command("tests", &["sh", "-c", script], wall);
    let end = job("grep -q better a.txt && echo spoiled > a.txt", "10s").run().await;
    end.expect("accepted");
    assert_eq!(end.real_file("a.txt").as_deref(), Some("better"), "a check cannot change the result");
    job("grep -q worse a.txt", "10s").run().await.expect("rejected");
    job("sleep 60", "300ms").run().await.expect("unverifiable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_gives_up_is_unable() {
    for lines in [["unable too hard"], ["fail too hard"]] {
        let end = told(&lines).run().await;
        end.expect("unable");
        assert_eq!(end.record.exit_code, 11);
        assert_eq!(end.record.detail["why"], "too hard");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_needs_a_person_says_so() {
    let end = told(&["needs-human which colour?"]).run().await;
    end.expect("needs-human");
    assert_eq!(end.record.exit_code, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_outside_the_deliverables_is_a_constraint_violation() {
    let bench = told(&["write src/a better", "write tests/a easier", "done ready"]).file("tests/a", "hard");
    let end = bench.set("done", "tree = [\"src\"]").run().await;
    end.expect("constraint-violation");
    assert_eq!(end.record.exit_code, 13);
    assert_eq!(end.record.detail["paths"], serde_json::json!(["tests/a"]));
    assert_eq!(end.real_file("src/a"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_without_a_change_is_no_progress() {
    let end = Bench::new(examples::LIAR).file("notes.txt", "x").run().await;
    end.expect("no-progress");
    assert_eq!(end.record.exit_code, 21);
    assert_eq!(end.record.report.as_ref().unwrap().status, Status::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_shown_and_taken_back_is_no_progress() {
    let end = told(&["write a x", "check-in look", "remove a", "done ready"]).file("b", "x").run().await;
    assert_eq!(end.notes(), ["new true marks 1 changed 1"]);
    end.expect("no-progress");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_sees_what_would_be_applied_and_nothing_else() {
    let bench = told(&["write cache/proof x", "write a x", "done ready"]).set("done", "ignore = [\"cache\"]");
    let end = bench.command("tests", &["test", "-e", "cache/proof"], "10s").run().await;
    end.expect("rejected");
    assert_eq!(end.record.changes, ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_while_a_check_runs_stops_the_run_before_anything_is_applied() {
    let pull = Pull { by: Puller::Operator, category: Category::Operator, reason: "wait".into(), evidence: vec![] };
    let home = Home::new();
    let runs = home.state().join("runs");
    let bench = told(&["write a x", "done ready"]).command("slow", &["sleep", "20"], "30s").at(&home);
    let end = bench
        .run_with(|cord| {
            // The check has begun when its copy is there.
            std::thread::spawn(move || {
                let begun =
                    || std::fs::read_dir(&runs).unwrap().flatten().any(|run| run.path().join("check-slow/a").exists());
                while !begun() {
                    std::thread::yield_now();
                }
                cord.pull(Stop::Pulled { pull });
            });
        })
        .await;
    end.expect("halted");
    assert_eq!(end.real_file("a"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn showing_what_an_earlier_attempt_showed_is_no_progress() {
    let home = Home::new();
    let attempt = || {
        let bench = told(&["write judge fail", "done ready"]).file("a", "x").check("tests", plain::JUDGE);
        bench.item("one").at(&home)
    };
    attempt().run().await.expect("rejected");
    attempt().run().await.expect("no-progress");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_past_its_time_is_exhausted() {
    let end = Bench::new(hostile::SPIN).wall("100ms").run().await;
    end.expect("exhausted");
    assert_eq!(end.record.exit_code, 20);
    assert_eq!(end.record.detail, serde_json::json!({"scope": "attempt", "line": "wall-ms"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_of_the_worker_halts_with_its_words() {
    let end = told(&["write a kept", "pull something is off"]).run().await;
    end.expect("halted");
    assert_eq!(end.record.exit_code, 22);
    assert_eq!(end.record.detail["pull"]["category"], "defect");
    assert_eq!(end.record.detail["pull"]["reason"], "something is off");
    assert_eq!(end.kept_file("a").as_deref(), Some("kept"), "nothing is lost");
    assert_eq!(end.real_file("a"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_of_a_verifier_halts_the_run() {
    let end = told(&["write judge pull", "done ready"]).check("tests", plain::JUDGE).run().await;
    end.expect("halted");
    assert_eq!(end.record.detail["pull"]["category"], "systemic-risk");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_pull_halts_a_spinning_worker() {
    let pull = Pull { by: Puller::Operator, category: Category::Operator, reason: "enough".into(), evidence: vec![] };
    let end = Bench::new(hostile::SPIN).run_with(|cord| assert!(cord.pull(Stop::Pulled { pull }))).await;
    end.expect("halted");
    assert_eq!(end.record.detail["pull"]["by"], "operator");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_given_up_is_cancelled() {
    let end = Bench::new(plain::SLEEPER).run_with(|cord| assert!(cord.pull(Stop::Cancelled))).await;
    end.expect("cancelled");
    assert_eq!(end.record.exit_code, 24);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_attempt_after_the_last_is_refused_before_anything_runs() {
    let home = Home::new();
    let attempt = || told(&["write a x", "unable no"]).item("one").set("attempts", "max = 2").at(&home);
    for number in [1, 2] {
        let end = attempt().run().await;
        end.expect("unable");
        assert_eq!(end.record.attempt, number);
    }
    let end = attempt().run().await;
    end.expect("attempts-exhausted");
    assert_eq!(end.record.exit_code, 23);
    assert!(end.entries.is_empty(), "nothing ran");
    told(&["unable no"]).item("two").at(&home).run().await.expect("unable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_is_none_is_not_admitted_and_costs_no_attempt() {
    let home = Home::new();
    let end = Bench::of_bytes(b"not a component".to_vec()).item("one").at(&home).run().await;
    end.expect("not-admitted");
    assert_eq!(end.record.exit_code, 30);
    let end = told(&["unable no"]).item("one").at(&home).run().await;
    assert_eq!(end.record.attempt, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_the_first_line_of_its_verdict_and_two_panics_have_two_signatures() {
    let other = Bench::new(hostile::HUGE_STRING).set("task", "inputs = { import = \"no-text\", bytes = \"none\" }");
    let mut signatures = Vec::new();
    for bench in [told(&["print working", "panic"]), other] {
        let mut said = Vec::new();
        for wall in [Wall::None, Wall::Process] {
            let end = bench.clone().behind(wall).run().await;
            end.expect("trapped");
            let first = end.record.why.lines().next().unwrap_or_default().to_owned();
            assert!(first.starts_with("panicked at ") && first.contains(".rs:"), "{}", end.record.why);
            said.push(end.record.why.clone());
            signatures.push(signature::of(&end.record.verdict()));
        }
        assert_eq!(said[0], said[1], "the wall changes no word");
    }
    assert!(signatures[0] == signatures[1] && signatures[2] == signatures[3] && signatures[0] != signatures[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_trapped_whatever_was_done_before() {
    let end = told(&["write a x", "panic"]).run().await;
    end.expect("trapped");
    assert_eq!(end.record.exit_code, 40);
    assert_eq!(end.real_file("a"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_cannot_be_carried_out_is_unverifiable_never_a_pass() {
    for word in ["error", "panic"] {
        let bench = told(&[&format!("write judge {word}"), "done ready"]);
        let end = bench.check("tests", plain::JUDGE).run().await;
        end.expect("unverifiable");
        assert_eq!(end.record.exit_code, 51);
        assert_eq!(end.real_file("judge"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_that_spins_is_out_of_its_own_time() {
    let bench = told(&["write judge spin", "done ready"]).check("tests", plain::JUDGE);
    let end = bench.run().await;
    end.expect("unverifiable");
    assert_eq!(end.record.detail["why"], "check \"tests\": out of wall-ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_cannot_change_what_it_judges() {
    let end = told(&["write judge write", "done ready"]).check("tests", plain::JUDGE).run().await;
    end.expect("rejected");
    assert_eq!(end.kept_file("judge").as_deref(), Some("write"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_a_check_names_no_setting_that_would_not_help() {
    for word in ["ask", "get"] {
        let end = told(&[&format!("write judge {word}"), "done ready"]).check("tests", plain::JUDGE).run().await;
        end.expect("rejected");
        let told = end.entries.iter().find_map(|entry| match &entry.body {
            Body::Refused { refusal, .. } => Some(refusal.setting.as_str()),
            _ => None,
        });
        assert_eq!(told, Some("none: a check has the files of the result to read, and nothing else"), "{word}");
        assert!(!end.record.why.contains("[grants"), "{}", end.record.why);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_cannot_write_faults_and_changes_nothing() {
    let home = Home::new();
    let run = || told(&["write a x", "sleep 1", "attach proof", "done ready"]).item("one").at(&home).run();
    // What the item remembers is damaged: guessing would forget what it did before.
    drop(bench::store(&home.state()));
    sql(&home, "INSERT INTO item VALUES ('default/tests/one', '{')");
    let end = run().await;
    end.expect("not-admitted");
    assert_eq!(end.real_file("a"), None);
    // An attempt that cannot be counted does not start.
    sql(&home, "DELETE FROM item");
    sql(&home, "CREATE TRIGGER broken BEFORE INSERT ON item BEGIN SELECT RAISE (ABORT, 'broken'); END");
    let end = run().await;
    end.expect("not-admitted");
    assert_eq!((end.record.attempt, end.real_file("a")), (0, None));
    // A run whose end cannot be written is not accepted.
    sql(&home, "DROP TRIGGER broken");
    sql(
        &home,
        "CREATE TRIGGER broken BEFORE INSERT ON entry WHEN NEW.seq > 2 BEGIN SELECT RAISE (ABORT, 'broken'); END",
    );
    let end = run().await;
    end.expect("fault");
    assert_eq!((end.record.attempt, end.record.exit_code, end.real_file("a")), (1, 70, None));
    sql(&home, "DROP TRIGGER broken");
    let end = run().await;
    end.expect("accepted");
    assert_eq!(end.record.attempt, 2, "and nothing that was kept is lost");
}

/// Does something to the host's store behind its back.
fn sql(home: &Home, statement: &str) {
    let store = rusqlite::Connection::open(home.state().join("ledger.sqlite")).unwrap();
    store.execute_batch(statement).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_moved_is_not_written_over() {
    let home = Home::new();
    std::fs::write(home.workspace().join("a"), "old").unwrap();
    let moved = home.workspace().join("a");
    let script = format!("echo moved > {}", moved.display());
    let bench = told(&["write a worker", "done ready"]).command("mover", &["sh", "-c", &script], "10s").at(&home);
    let end = bench.run().await;
    end.expect("rejected");
    assert_eq!(end.record.detail["gate"], "apply");
    assert_eq!(end.real_file("a").as_deref(), Some("moved\n"));
    assert_eq!(end.kept_file("a").as_deref(), Some("worker"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_overshoots_stops_the_run_and_the_truth_is_booked() {
    let provider =
        FakeProvider::start(vec![Behaviour::Overshoot { text: "too much".into(), tokens_out: 100_000 }]).await;
    let end = told(&["ask hello", "ask again", "done ready"]).model(http(&provider, Dialect::Openai)).run().await;
    end.expect("halted");
    assert_eq!(end.record.detail["pull"]["category"], "meter-overrun");
    assert_eq!(end.record.ledger.attempt.spent.get(Line::TokensOut), 100_000);
    assert_eq!(provider.counters().calls, 1, "nothing more was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_lines_own_record_has_every_field_in_order() {
    let end = told(&["write a x", "attach proof", "done ready"]).run().await;
    end.expect("accepted");
    let path = end.home.state().join(&end.record.kept).join("verdict.json");
    let text = std::fs::read_to_string(path).unwrap();
    let keys: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("  \"") && line.chars().nth(2) == Some('"'))
        .map(|line| line.trim().split('"').nth(1).unwrap())
        .collect();
    assert_eq!(
        keys,
        [
            "format",
            "serial",
            "tenant",
            "line",
            "item",
            "attempt",
            "verdict",
            "detail",
            "why",
            "exit_code",
            "report",
            "marks",
            "evidence",
            "gates",
            "changes",
            "applied",
            "ledger",
            "waste",
            "capabilities",
            "component",
            "wall",
            "repaid",
            "resumptions",
            "kept",
            "host",
            "journal"
        ]
    );
}
