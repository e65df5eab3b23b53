//! What goes back into a person's real directory, and when: whole runs, also killed ones.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use jidoka::rules::item::State;
use jidoka_tests::bench::{self, Bench, Home};
use jidoka_tests::crash;
use jidoka_tests::plain;
use jidoka_tests::provider::{Behaviour, FakeProvider};
use serde_json::{Value, json};

/// The worker that does what it is told.
fn told(lines: &[&str]) -> Bench {
    Bench::new(plain::SCRIPT).set("task", &format!("text = \"{}\"", lines.join("\\n")))
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A home with a program in its workspace.
fn with_program() -> std::sync::Arc<Home> {
    let home = Home::new();
    let program = home.workspace().join("run.sh");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(home.workspace().join("plain"), "text").unwrap();
    home
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_saved_stays_one_and_a_mode_alone_is_no_mark() {
    let home = with_program();
    // A check runs it as it will be.
    let end =
        told(&["save run.sh #!/bin/sh -e", "done ready"]).command("runs", &["./run.sh"], "10s").at(&home).run().await;
    end.expect("accepted");
    assert_eq!(mode(&home.workspace().join("run.sh")), 0o755);
    assert_eq!(end.replay().await.divergence, None);

    // Saved with the bytes that it had, and seen on the way.
    let home = with_program();
    let end = told(&["touch-by-save run.sh", "check-in look", "done ready"]).at(&home).run().await;
    end.expect("no-progress");
    assert_eq!(end.record.marks, []);

    // A program in the place of a text is the text's; one with a new name stays a program.
    let home = with_program();
    told(&["rename run.sh plain", "done ready"]).at(&home).run().await.expect("accepted");
    assert_eq!(mode(&home.workspace().join("plain")) & 0o111, 0);
    let home = with_program();
    told(&["rename run.sh moved.sh", "done ready"]).at(&home).run().await.expect("accepted");
    assert_eq!(mode(&home.workspace().join("moved.sh")) & 0o100, 0o100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_one_to_a_child_and_after_it() {
    let home = with_program();
    let child = told(&["unused"]).command("runs", &["./run.sh"], "10s");
    let task = "save run.sh #!/bin/sh -u | done saved";
    let end = told(&["save run.sh #!/bin/sh -e", &format!("child editor {task}"), "done ready"])
        .child("editor", child)
        .at(&home)
        .run()
        .await;
    end.expect("accepted");
    assert!(end.notes().iter().any(|note| note.starts_with("editor: accepted")), "{:?}", end.notes());
    assert_eq!(mode(&home.workspace().join("run.sh")), 0o755);
}

type Move = fn(&Path);

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_elsewhere_by_the_end_is_left_alone_and_the_work_is_applied_later() {
    let moves: [(&str, Move); 4] = [
        ("mv workspace away", |_| {}),
        ("mv workspace away && mkdir workspace && echo bad > workspace/a", |home| {
            std::fs::remove_dir_all(home.join("workspace")).unwrap();
        }),
        ("mv workspace away && mkdir other && echo bad > other/a && ln -s other workspace", |home| {
            std::fs::remove_file(home.join("workspace")).unwrap();
        }),
        ("cp -r workspace away && rm -r workspace", |_| {}),
    ];
    for (script, back) in moves {
        let home = Home::new();
        std::fs::write(home.workspace().join("a"), "bad").unwrap();
        let script = format!("cd {} && test ! -e away && {script}", home.dir().display());
        let argv = ["sh", "-c", &format!("{script} || true")];
        let bench = || told(&["write a good", "done ready"]).command("mover", &argv, "10s").item("one").at(&home);
        let end = bench().run().await;
        end.expect("rejected");
        assert_eq!(end.record.detail["gate"], "apply");
        assert!(end.record.why.contains("it was moved, replaced or removed"), "{}", end.record.why);
        for dir in ["away", "other", "workspace"] {
            if let Ok(text) = std::fs::read_to_string(home.dir().join(dir).join("a")) {
                assert_eq!(text.trim(), "bad", "{script}: {dir}");
            }
        }
        // It is nobody's fault, and nothing is lost.
        let items = bench::store(&home.state()).items().unwrap();
        assert_eq!(items[0].1.state, State::Ready);
        back(home.dir());
        std::fs::rename(home.dir().join("away"), home.workspace()).unwrap();
        let end = bench().resume(&end.record.serial).await;
        end.expect("accepted");
        assert_eq!(end.real_file("a").as_deref(), Some("good"), "{script}");
        assert_eq!(end.replay().await.divergence, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_on_the_way_to_the_directory_that_leads_elsewhere_is_noticed() {
    let home = Home::new();
    let (real, other) = (home.dir().join("real"), home.dir().join("other"));
    for dir in [&real, &other] {
        std::fs::create_dir(dir).unwrap();
        std::fs::write(dir.join("a"), "bad").unwrap();
    }
    std::fs::remove_dir(home.workspace()).unwrap();
    symlink("real", home.workspace()).unwrap();
    let script = format!("ln -sfn other {}", home.workspace().display());
    let end =
        told(&["write a good", "done ready"]).command("mover", &["sh", "-c", &script], "10s").at(&home).run().await;
    end.expect("rejected");
    for dir in [real, other] {
        assert_eq!(std::fs::read_to_string(dir.join("a")).unwrap(), "bad");
    }
}

/// What is in the real directory, the host's own included.
fn staged(home: &Home) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(home.workspace()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(".jidoka-apply-")).collect()
}

/// A home in which run `run` was killed with its changes applied, before it could say so; or half applied.
async fn killed(half: bool) -> std::sync::Arc<Home> {
    let provider = FakeProvider::start(vec![Behaviour::Text("yes, that is so".into())]).await;
    let home = Home::new();
    let arguments = [home.dir().to_str().unwrap(), &provider.url(), "before-verdict:1", "run", "start"];
    let run = || Command::new(env!("CARGO_BIN_EXE_one_run")).args(arguments).output().unwrap();
    let output = tokio::task::block_in_place(run);
    let said = String::from_utf8_lossy(&output.stderr);
    let [done] = &staged(&home)[..] else { panic!("{said}") };
    assert!(done.ends_with(".jidoka-apply-run.done"), "{done:?}");
    if half {
        let staging = home.workspace().join(".jidoka-apply-run");
        std::fs::rename(done, &staging).unwrap();
        let plan: Value = serde_json::from_slice(&std::fs::read(staging.join("plan.json")).unwrap()).unwrap();
        let steps = plan["steps"].as_array().unwrap();
        let last = steps.len() - 1;
        let placed = home.workspace().join(steps[last]["path"].as_str().unwrap());
        std::fs::rename(placed, staging.join(last.to_string())).unwrap();
    }
    home
}

/// All files of the real directory.
fn files(home: &Home) -> BTreeMap<String, String> {
    let read = |name: &str| (name.to_owned(), std::fs::read_to_string(home.workspace().join(name)).unwrap());
    ["a.txt", "b/c.txt", "judge"].map(read).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_killed_in_its_apply_is_accepted_before_anything_else_begins_there() {
    for half in [false, true] {
        for way in ["same item", "another item", "resume"] {
            let home = killed(half).await;
            let what = format!("half: {half}, {way}");
            let bench = || told(&["write mine x", "done ready"]).at(&home);
            match way {
                "same item" => {
                    let end = bench().item(crash::ITEM).run().await;
                    end.expect("not-admitted");
                    assert!(end.record.why.contains("an item that is accepted"), "{}", end.record.why);
                    assert_eq!(end.real_file("mine"), None);
                }
                "another item" => drop(bench().item("other").run().await.expect("accepted")),
                _ => {
                    let end = bench().resume("run").await;
                    end.expect("accepted");
                    assert_eq!(end.record.serial, "run");
                }
            }
            assert_eq!(files(&home)["a.txt"], "second", "{what}");
            assert_eq!(files(&home)["b/c.txt"], "third", "{what}");
            assert_eq!(staged(&home), Vec::<PathBuf>::new(), "{what}");
            let store = bench::store(&home.state());
            let item = store.items().unwrap().into_iter().find(|(id, _)| id.name() == crash::ITEM).unwrap().1;
            assert_eq!((item.state, item.open), (State::Accepted, None), "{what}");
            let run = store.runs().unwrap().into_iter().find(|run| run.serial == "run").unwrap();
            assert_eq!(run.verdict.as_deref(), Some("accepted"), "{what}");
            let verdict = std::fs::read(home.state().join("runs/run/verdict.json")).unwrap();
            let verdict: Value = serde_json::from_slice(&verdict).unwrap();
            assert_eq!((&verdict["verdict"], &verdict["applied"]), (&json!("accepted"), &json!(true)), "{what}");
            assert!(verdict["report"]["summary"].is_string() && verdict["marks"] != json!([]), "{what}: {verdict}");
            assert_eq!(store.open_attempts().unwrap(), [], "{what}");
            drop(store);
            bench::sqlite(&home.state()).audit().unwrap();
            let replayed = bench::replay(&bench::runner(&home.state()), "run", None).await;
            assert_eq!((replayed.divergence, replayed.fault), (None, None), "{what}");
            // Once more is as good as once.
            bench().item("third").run().await;
            assert_eq!(staged(&home), Vec::<PathBuf>::new(), "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_is_accepted_also_if_whoever_ended_it_was_killed_before_that_was_written_down() {
    let home = killed(true).await;
    // The changes are made, and nothing is written down.
    let real = bench::open(&home.workspace());
    jidoka::doors::apply::recover(&real).unwrap();
    assert_eq!(staged(&home).len(), 1);
    let end = told(&["write mine x", "done ready"]).at(&home).item(crash::ITEM).run().await;
    end.expect("not-admitted");
    assert_eq!(staged(&home), Vec::<PathBuf>::new());
    let items = bench::store(&home.state()).items().unwrap();
    assert_eq!(items[0].1.state, State::Accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_a_person_was_in_the_way_of_after_the_crash_is_taken_back_and_its_run_is_not_accepted() {
    let home = killed(true).await;
    let staging = home.workspace().join(".jidoka-apply-run");
    let plan: Value = serde_json::from_slice(&std::fs::read(staging.join("plan.json")).unwrap()).unwrap();
    let last = plan["steps"].as_array().unwrap().last().unwrap()["path"].as_str().unwrap().to_owned();
    std::fs::write(home.workspace().join(&last), "theirs").unwrap();
    let end = told(&["write mine x", "done ready"]).at(&home).item("other").run().await;
    end.expect("accepted");
    assert_eq!(end.real_file(&last).as_deref(), Some("theirs"));
    assert_eq!(end.real_file("mine").as_deref(), Some("x"));
    let left = std::fs::read_dir(home.workspace()).unwrap().count();
    assert_eq!(left, 2, "all else is as it was before the run");
}
