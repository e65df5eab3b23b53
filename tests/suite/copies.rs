//! The private copy: what is applied, kept and checked is what the guests of the run did there, and nothing else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use jidoka::doors::model::{Call, Model, Received};
use jidoka::doors::script::ScriptedModel;
use jidoka::rules::effect::Body;
use jidoka::rules::left_out::{LeftOut, RulesAbove};
use jidoka::rules::model::Request;
use jidoka::rules::spec::Wall;
use jidoka::run::fork::Branch;
use jidoka_tests::bench::{self, Bench, End, Home};
use jidoka_tests::plain;

const REPLY: &str = "[[turn]]\nrepeat = true\ntext = \"an answer\"\n";

/// What something else than the worker does, given the private copy.
type Deed = fn(&Path);

/// A model that answers when something else was at the worker's files.
struct Meddler {
    script: ScriptedModel,
    copy: PathBuf,
    deed: Deed,
}

#[async_trait]
impl Model for Meddler {
    fn request_bytes(&self, request: &Request) -> u64 {
        self.script.request_bytes(request)
    }

    fn uses_network(&self) -> bool {
        false
    }

    async fn ask(&self, call: &Call) -> Received {
        (self.deed)(&self.copy);
        self.script.ask(call).await
    }
}

/// A worker that does what these lines say. At `ask`, something else does its deed.
fn told(lines: &[&str], deed: Deed) -> Bench {
    let (home, serial) = (Home::new(), bench::fresh_serial());
    let copy = home.state().join("runs").join(&serial).join("work");
    let script = ScriptedModel::parse(REPLY).expect("a transcript");
    let lines: Vec<String> = lines.iter().map(|line| line.replace('"', "\\\"")).collect();
    Bench::new(plain::SCRIPT)
        .set("task", &format!("text = \"{}\"", lines.join("\\n")))
        .model(Arc::new(Meddler { script, copy, deed }))
        .file("a.txt", "a person's")
        .file("src/b.txt", "a person's")
        .at(&home)
        .serial(&serial)
}

async fn is_told_again(end: &End) {
    let replayed = end.replay().await;
    assert_eq!((&replayed.divergence, &replayed.fault), (&None, &None));
    assert_eq!(replayed.record.unwrap().why, end.record.why);
}

/// Nothing of it is applied, kept or a mark, and the person's files are as they were.
async fn is_unverifiable(end: &End, words: &str) {
    end.expect("unverifiable");
    assert!(end.record.why.contains("something other than the worker changed its private copy"), "{}", end.record.why);
    assert!(end.record.why.contains(words), "{words}: {}", end.record.why);
    assert_eq!((end.record.applied, end.record.marks.len(), end.record.changes.len()), (false, 0, 0));
    assert_eq!(end.real_file("a.txt").as_deref(), Some("a person's"));
    assert_eq!(end.real_file("src/b.txt").as_deref(), Some("a person's"));
    assert_eq!(end.real_file("new.txt"), None);
    is_told_again(end).await;
}

const DEEDS: [(&str, Deed); 8] = [
    ("was removed", |copy| std::fs::remove_dir_all(copy).unwrap()),
    ("\"a.txt\" is gone", |copy| std::fs::remove_file(copy.join("a.txt")).unwrap()),
    ("is gone", |copy| {
        std::fs::remove_dir_all(copy.join("src")).unwrap();
        std::fs::remove_file(copy.join("a.txt")).unwrap();
    }),
    ("\"a.txt\" was changed", |copy| std::fs::write(copy.join("a.txt"), "").unwrap()),
    ("\"src/b.txt\" was changed", |copy| {
        std::fs::write(copy.join("src/draft"), "a stranger's").unwrap();
        std::fs::rename(copy.join("src/draft"), copy.join("src/b.txt")).unwrap();
    }),
    ("\"c.txt\" was added", |copy| std::fs::write(copy.join("c.txt"), "a stranger's").unwrap()),
    ("\"src\" is gone", |copy| std::fs::rename(copy.join("src"), copy.with_file_name("away")).unwrap()),
    ("\"empty\" was added", |copy| std::fs::create_dir(copy.join("empty")).unwrap()),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_something_else_does_to_the_copy_is_never_applied() {
    for (words, deed) in DEEDS {
        for wall in [Wall::None, Wall::Process] {
            let idle = told(&["ask anything", "done nothing"], deed).behind(wall).run().await;
            is_unverifiable(&idle, words).await;
            let busy = told(&["write mine.txt x", "ask anything", "done it"], deed).behind(wall).run().await;
            is_unverifiable(&busy, "").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_goes_on_from_what_something_else_did_does_not_make_it_its_own() {
    let edit: Deed = |copy| std::fs::write(copy.join("a.txt"), "a stranger's").unwrap();
    for wall in [Wall::None, Wall::Process] {
        let after = told(&["write a.txt mine", "ask anything", "done it"], edit).behind(wall).run().await;
        is_unverifiable(&after, "\"a.txt\" was changed").await;
        let between = ["write a.txt mine", "ask anything", "write new.txt x", "done it"];
        is_unverifiable(&told(&between, edit).behind(wall).run().await, "\"a.txt\" was changed").await;
        let gone: Deed = |copy| std::fs::remove_file(copy.join("a.txt")).unwrap();
        let again = told(&["ask anything", "write a.txt all of it", "done it"], gone).behind(wall).run().await;
        is_unverifiable(&again, "\"a.txt\" was gone").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_something_else_does_is_no_mark_of_a_run_that_is_stopped_either() {
    let edit: Deed = |copy| std::fs::write(copy.join("a.txt"), "a stranger's").unwrap();
    let end = told(&["write src/b.txt mine", "ask anything", "pull enough"], edit).run().await;
    end.expect("halted");
    assert_eq!((end.record.marks.len(), end.record.changes.len()), (0, 0));
    assert!(!end.entries.iter().any(|entry| matches!(entry.body, Body::Marked { .. })));
    is_told_again(&end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_and_a_child_write_for_the_worker_and_nothing_else_does() {
    let add: Deed = |copy| std::fs::write(copy.join("c.txt"), "a stranger's").unwrap();
    let nothing: Deed = |_| {};
    let lines = [
        "tool do-write {\"path\":\"src/b.txt\",\"text\":\"a tool's\"}",
        "tool do-append {\"path\":\"src/b.txt\",\"text\":\", twice\"}",
        "child helper write src/c.txt a child's | remove a.txt | write deep/d.txt x | done helped",
        "ask anything",
        "write src/c.txt mine",
        "tool do-remove {\"path\":\"deep/d.txt\"}",
        "done it",
    ];
    let helper = || Bench::new(plain::SCRIPT).set("done", "no-change = \"allowed\"");
    for wall in [Wall::None, Wall::Process] {
        let job = |deed| {
            let job = told(&lines, deed).tool("do", plain::WORKBENCH, &["files = \"read-write\""]);
            job.child("helper", helper()).behind(wall)
        };
        let end = job(nothing).run().await;
        end.expect("accepted");
        assert_eq!(end.record.changes, ["a.txt", "src/b.txt", "src/c.txt"]);
        assert_eq!(end.real_file("src/b.txt").as_deref(), Some("a tool's, twice"));
        assert_eq!(end.real_file("src/c.txt").as_deref(), Some("mine"));
        let replayed = end.replay().await;
        assert_eq!((&replayed.divergence, &replayed.fault), (&None, &None));
        is_unverifiable(&job(add).run().await, "\"c.txt\" was added").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_knows_what_its_worker_did_and_what_is_told_of_its_tools() {
    let lines = [
        "write a.txt mine",
        "tool do-write {\"path\":\"src/b.txt\",\"text\":\"a tool's\"}",
        "ask once",
        "check-in look",
        "done it",
    ];
    let home = Home::new();
    let job = || told(&lines, |_| {}).tool("do", plain::WORKBENCH, &["files = \"read-write\""]).at(&home);
    let end = job().no_apply().run().await;
    end.expect("accepted");
    let told_until = end.entries.iter().find(|entry| matches!(entry.body, Body::Marked { .. })).expect("a mark").seq;
    let fork = job().fork(&end.record.serial, Branch { at: told_until, edits: Default::default() }).await;
    fork.expect("accepted");
    assert_eq!(fork.record.changes, ["a.txt", "src/b.txt"]);
    assert_eq!(fork.real_file("src/b.txt").as_deref(), Some("a tool's"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_is_shown_what_is_applied_whatever_happens_beside_it() {
    let home = Home::new();
    let serial = bench::fresh_serial();
    let work = home.state().join("runs").join(&serial).join("work");
    let spoil = format!("echo spoiled > {}", work.join("src/b.txt").display());
    let end = Bench::new(plain::SCRIPT)
        .set("task", "text = \"write src/b.txt mine\\ndone it\"")
        .file("src/b.txt", "a person's")
        .command("spoils", &["sh", "-c", &spoil], "10s")
        .at(&home)
        .serial(&serial)
        .run()
        .await;
    end.expect("unverifiable");
    assert_eq!(end.real_file("src/b.txt").as_deref(), Some("a person's"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_loses_its_copy_proves_nothing() {
    let lines = ["write src/b.txt mine", "done it"];
    let job = Bench::new(plain::SCRIPT).set("task", &format!("text = \"{}\"", lines.join("\\n")));
    let end = job.command("blind", &["sh", "-c", "rm -rf ../check-blind"], "10s").run().await;
    end.expect("unverifiable");
    assert!(end.record.why.contains("its copy of the result was removed while it ran"), "{}", end.record.why);
    assert_eq!(end.real_file("src/b.txt"), None);
    is_told_again(&end).await;
}

/// The rules that a repository has above a workspace that is `packages/app` in it.
fn above() -> LeftOut {
    let rules = |text: &str, top: &str| RulesAbove { name: "x".into(), top: top.into(), text: text.into() };
    LeftOut {
        paths: vec![],
        rules: vec![rules("!kept.env\nnode_modules/\n", "app"), rules("*.env\n/packages/app/secret\n", "packages/app")],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_above_the_workspace_hold_in_every_run_of_it() {
    let lines = [
        "write node_modules/x/made x",
        "write .env mine",
        "child helper write .env a child's | write src/c.txt x | done helped",
        "write src/b.txt mine",
        "done it",
    ];
    let helper = Bench::new(plain::SCRIPT).set("done", "no-change = \"allowed\"");
    let home = Home::new();
    let files = [(".env", "secret"), ("kept.env", "x"), ("node_modules/m/a", "x"), ("src/b.txt", "1"), ("secret", "x")];
    let job = Bench::new(plain::SCRIPT)
        .set("task", &format!("text = \"{}\"", lines.join("\\n")))
        .child("helper", helper)
        .left_out(above())
        .at(&home);
    let job = files.iter().fold(job, |job, (path, text)| job.file(path, text));
    let end = job.clone().run().await;
    end.expect("accepted");
    assert_eq!(end.record.changes, ["src/b.txt", "src/c.txt"]);
    assert_eq!(end.real_file(".env").as_deref(), Some("secret"));
    assert_eq!(end.real_file("node_modules/x/made"), None);
    is_told_again(&end).await;
    for (hidden, seen) in [(".env", false), ("secret", false), ("node_modules/m/a", false), ("kept.env", true)] {
        let read = job.clone().set("task", &format!("text = \"read {hidden}\\nno-change-needed fine\""));
        let end = read.set("done", "no-change = \"allowed\"").at(&Home::new()).run().await;
        end.expect(if seen { "no-change-needed" } else { "unable" });
    }
    // A fork begins with the rules that its parent began with, wherever it runs.
    let opened = end.entries.iter().find(|entry| matches!(entry.body, Body::Opened { .. })).expect("it began").seq;
    let branch = Branch { at: opened, edits: Default::default() };
    let fork = job.left_out(LeftOut::default()).no_apply().fork(&end.record.serial, branch).await;
    fork.expect("accepted");
    assert_eq!(fork.record.changes, ["src/b.txt", "src/c.txt"]);
}

fn socket(path: &Path) {
    drop(std::os::unix::net::UnixListener::bind(path).expect("a socket"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_worker_could_see_is_nobodys_business_beside_the_deliverables() {
    let home = Home::new();
    std::fs::create_dir_all(home.workspace().join("run")).unwrap();
    std::os::unix::fs::symlink("nowhere", home.workspace().join("dangling")).unwrap();
    socket(&home.workspace().join("run/before.sock"));
    let real = home.workspace().join("later.fifo");
    let lines = ["write src/b.txt mine", "done it"];
    let job = |home: &Arc<Home>| {
        Bench::new(plain::SCRIPT)
            .set("task", &format!("text = \"{}\"", lines.join("\\n")))
            .set("done", "tree = [\"src\"]")
            .file("src/b.txt", "1")
            .at(home)
    };
    // One that comes while the run is under way is in nobody's way either.
    let comes = format!("mkfifo {}", real.display());
    let end = job(&home).command("comes", &["sh", "-c", &comes], "10s").run().await;
    end.expect("accepted");
    assert!(real.exists());
    assert_eq!(end.real_file("src/b.txt").as_deref(), Some("mine"));
    is_told_again(&end).await;

    let home = Home::new();
    std::fs::create_dir_all(home.workspace().join("src")).unwrap();
    socket(&home.workspace().join("src/x.sock"));
    let end = job(&home).run().await;
    end.expect("not-admitted");
    assert!(end.record.why.contains("read \"src/x.sock\": it is a socket"), "{}", end.record.why);
    assert!(end.entries.is_empty(), "nothing ran");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_own_directory_in_a_workspace_is_left_out_of_it() {
    let home = Home::new();
    let place = home.workspace().join("deep/state");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::remove_dir(home.state()).unwrap();
    std::os::unix::fs::symlink(&place, home.state()).unwrap();
    let lines = ["write a.txt mine", "write deep/state/ledger.sqlite owned", "write deep/state/evil x", "done it"];
    let job = Bench::new(plain::SCRIPT)
        .set("task", &format!("text = \"{}\"", lines.join("\\n")))
        .file("a.txt", "1")
        .item("it")
        .at(&home);
    let end = job.run().await;
    end.expect("accepted");
    assert_eq!(end.record.changes, ["a.txt"]);
    assert!(!place.join("evil").exists());
    assert!(!place.join("runs").join(&end.record.serial).join("work/deep/state/runs").exists());
    is_told_again(&end).await;
}
