//! Zero work is never accepted, honest work is: whole runs, each with its positive control.
//!
//! What a worker of these does is written in its task, a command a line. Each is told again with every door shut, so that a
//! replay looks at its files by the same rules.

use std::sync::Arc;

use jidoka::doors::evidence;
use jidoka::rules::effect::Body;
use jidoka::rules::ledger::ScopeId;
use jidoka::rules::spec::MarkKind;
use jidoka_tests::bench::{self, Bench, End, Home};
use jidoka_tests::{examples, hostile, plain};

use crate::replay::cut_after;

/// What git does not track in the project that these workers get.
const RULES: &str = "target/\n*.log\n/.env\n";

/// A worker that does this to a small project, where only a change to the deliverables counts.
fn told(lines: &[&str]) -> Bench {
    project(Bench::new(plain::SCRIPT)).set("task", &format!("text = \"{}\"", lines.join("\\n")))
}

fn project(bench: Bench) -> Bench {
    bench
        .file("a.txt", "one")
        .file("src/b.txt", "two")
        .file(".gitignore", RULES)
        .file("docs/.gitattributes", "*.png binary\n")
        .file("target/old.bin", "built")
        .set("done", "marks = [\"tree\"]")
}

/// The same worker, who then also does something.
fn honest(lines: &[&str]) -> Bench {
    told(&[&lines[..lines.len() - 1], &["write src/b.txt better"], &lines[lines.len() - 1..]].concat())
}

async fn is_told_again(end: &End) {
    let replayed = end.replay().await;
    assert_eq!((replayed.divergence, replayed.fault), (None, None), "{:#?}", end.record);
    assert_eq!(replayed.record.as_ref(), Some(&end.record));
}

/// A run that earns nothing, of which nothing is applied.
async fn earns(bench: Bench, verdict: &str) -> End {
    let end = bench.run().await;
    end.expect(verdict);
    assert!(end.record.exit_code != 0 && !end.record.applied, "{:#?}", end.record);
    assert_eq!(end.real_file("src/b.txt").as_deref(), Some("two"));
    assert_eq!(end.real_file(".gitignore").as_deref(), Some(RULES));
    is_told_again(&end).await;
    end
}

async fn accepted(bench: Bench) -> End {
    let end = bench.run().await;
    end.expect("accepted");
    assert_eq!(end.real_file("src/b.txt").as_deref(), Some("better"));
    is_told_again(&end).await;
    end
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_exit_is_no_success() {
    earns(project(Bench::new(hostile::EXIT)).set("task", "inputs = { how = \"exit\" }"), "trapped").await;
    accepted(honest(&["done ready"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_alone_is_no_success() {
    earns(project(Bench::new(examples::LIAR)), "no-progress").await;
    earns(told(&["done everything, and all tests pass"]), "no-progress").await;
    accepted(honest(&["done everything, and all tests pass"])).await;
}

/// What a worker that only writes does: to the log, to stdout, as evidence, in its report.
const ESSAY: [&str; 4] = [
    "note first I looked at the code",
    "print then I thought about it",
    "attach and this is what I would do",
    "done a long story about work",
];

#[tokio::test(flavor = "multi_thread")]
async fn an_essay_is_no_success() {
    let end = earns(told(&ESSAY), "no-progress").await;
    assert_eq!(end.record.evidence.len(), 1, "it is kept");
    accepted(honest(&ESSAY)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn touched_files_are_no_progress() {
    let lines = ["touch a.txt", "touch src/b.txt", "touch .gitignore", "check-in look", "done touched"];
    let end = earns(told(&lines), "no-progress").await;
    assert_eq!(end.notes(), ["new false marks 0 changed 0"]);
    assert!(end.record.changes.is_empty());
    accepted(honest(&lines)).await;
}

/// A worker that changes everything and takes it back.
const TAKEN_BACK: [&str; 8] = [
    "write a.txt other",
    "write src/b.txt other",
    "write new/c.txt new",
    "check-in look",
    "remove new/c.txt",
    "write src/b.txt two",
    "write a.txt one",
    "done edited",
];

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_is_taken_back_is_no_progress() {
    // Of the directory that it made, an empty one is left.
    let end = earns(told(&TAKEN_BACK), "no-progress").await;
    assert!(end.record.changes.is_empty());
    accepted(honest(&TAKEN_BACK)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_and_forth_earns_what_is_left_in_the_end_and_only_once() {
    let toggled = ["write a.txt two", "check-in x", "write a.txt one", "check-in x", "write a.txt two", "check-in x"];
    let back = [&toggled[..], &["write a.txt one", "done toggled"]].concat();
    let end = earns(told(&back), "no-progress").await;
    assert_eq!(end.record.marks.len(), 1);
    let home = Home::new();
    let left = [&toggled[..], &["done toggled"]].concat();
    let attempt = || told(&left).item("one").at(&home).command("no", &["false"], "10s");
    attempt().run().await.expect("rejected");
    // Another attempt of the item shows what it has seen.
    earns(attempt(), "no-progress").await;
    accepted(honest(&back)).await;
}

/// Whatever git ignores in the project as it began, and what says so.
const IGNORED: [&str; 10] = [
    "write target/out.bin made",
    "write target/deep/out.bin made",
    "write src/trace.log made",
    "write src/cache/trace.log made",
    "write .env KEY=1",
    "write src/.gitignore *.tmp",
    "write docs/.gitattributes *.png text",
    "write src/.ignore *",
    "mkdir src/empty/deep",
    "done built",
];

#[tokio::test(flavor = "multi_thread")]
async fn ignored_and_harness_paths_alone_are_no_progress() {
    let end = earns(told(&IGNORED), "no-progress").await;
    assert_eq!(end.record.changes, ["docs/.gitattributes", "src/.gitignore", "src/.ignore"]);
    assert_eq!(end.real_file("target/old.bin").as_deref(), Some("built"));
    let end = accepted(honest(&IGNORED)).await;
    assert_eq!(end.record.changes, ["docs/.gitattributes", "src/.gitignore", "src/.ignore", "src/b.txt"]);
    assert_eq!(end.real_file("src/.gitignore").as_deref(), Some("*.tmp"), "a change of rules is applied with the work");
    for ignored in ["target/out.bin", "src/trace.log", "src/cache/trace.log", ".env"] {
        assert_eq!(end.real_file(ignored), None, "{ignored}");
    }
    assert_eq!(end.real_file("target/old.bin").as_deref(), Some("built"));
    // Nor are they a violation, where only `src` is deliverable.
    let lines = ["write target/out.bin made", "write docs/cache/trace.log made", "write a.log made", "done built"];
    earns(told(&lines).set("done", "tree = [\"src\"]"), "no-progress").await;
    accepted(honest(&lines).set("done", "tree = [\"src\"]")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ignored_is_not_seen_by_the_worker_nor_by_a_check() {
    let bench = told(&["touch target/old.bin", "done ready"]);
    earns(bench, "unable").await;
    let check = ["test", "!", "-e", "target/old.bin"];
    let lines = ["write target/out.bin made", "done ready"];
    let end = accepted(honest(&lines).command("clean", &check, "10s")).await;
    assert_eq!(end.record.gates.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ignore_rules_of_the_workers_own_change_nothing() {
    let hidden = ["write .gitignore *", "write a.txt other", "done hidden"];
    earns(told(&hidden).set("done", "tree = [\"src\"]"), "constraint-violation").await;
    // Nor do they make work of what is ignored.
    earns(told(&["write .gitignore !target", "write target/out.bin made", "done shown"]), "no-progress").await;
    earns(told(&["remove .gitignore", "write target/out.bin made", "done shown"]), "no-progress").await;
    let end = accepted(honest(&["write src/.gitignore *", "done ready"])).await;
    assert_eq!(end.record.changes, ["src/.gitignore", "src/b.txt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deliverable_that_the_job_names_is_not_ignored() {
    let lines = ["write target/app.bin made", "write target/other.bin made", "done built"];
    let job = |lines: &[&str]| told(lines).set("done", "tree = [\"src\", \"target/app.bin\"]");
    let end = job(&lines).run().await;
    end.expect("accepted");
    assert_eq!(end.record.changes, ["target/app.bin"]);
    assert_eq!(end.real_file("target/app.bin").as_deref(), Some("made"));
    assert_eq!(end.real_file("target/other.bin"), None);
    assert_eq!(end.real_file("target/old.bin").as_deref(), Some("built"));
    is_told_again(&end).await;
    earns(job(&lines[1..]), "no-progress").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ignore_rules_that_are_too_much_are_not_admitted() {
    let end = told(&["done ready"]).file("src/.gitignore", &"#".repeat((64 << 10) + 1)).run().await;
    end.expect("not-admitted");
    assert!(end.record.why.contains("read the ignore rules of \"src/.gitignore\""), "{}", end.record.why);
    assert!(end.entries.is_empty(), "nothing ran");
}

/// What git writes for a commit of nothing, also in a directory below.
const COMMIT: [&str; 6] = [
    "write .git/HEAD ref: refs/heads/main",
    "write .git/refs/heads/main 0123",
    "write .git/objects/01/23 nothing",
    "write src/.git/HEAD ref: refs/heads/main",
    "check-in look",
    "done committed",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_nothing_is_no_progress() {
    for applied in [true, false] {
        let bench = told(&COMMIT);
        let end = earns(if applied { bench } else { bench.no_apply() }, "no-progress").await;
        assert_eq!((end.record.marks.len(), end.real_file(".git/HEAD")), (0, None));
    }
    accepted(honest(&[&COMMIT[..3], &COMMIT[4..]].concat())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_the_worker_committed_itself_is_accepted() {
    let lines = ["write src/b.txt better", "write src/new.txt new", COMMIT[0], COMMIT[1], COMMIT[2], COMMIT[5]];
    let end = accepted(told(&lines).file(".git/HEAD", "ref: refs/heads/ours")).await;
    assert_eq!(end.record.changes, ["src/b.txt", "src/new.txt"]);
    assert_eq!(end.real_file(".git/HEAD").as_deref(), Some("ref: refs/heads/ours"));
    assert_eq!(end.real_file(".git/objects/01/23"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_no_change_with_evidence_is_a_good_end() {
    let lines = ["attach I ran all tests, and they pass", "no-change-needed it works already"];
    let job = |lines: &[&str]| told(lines).set("done", "no-change = \"allowed\"");
    let end = job(&lines).command("tests", &["test", "-e", "a.txt"], "10s").run().await;
    end.expect("no-change-needed");
    assert_eq!((end.record.exit_code, end.record.evidence.len()), (0, 1));
    is_told_again(&end).await;
    // It is no way around: the job must allow it, its checks must pass, and nothing may have changed.
    earns(told(&lines), "rejected").await;
    earns(job(&lines).command("tests", &["test", "-e", "absent"], "10s"), "rejected").await;
    earns(job(&["write src/.gitignore *", lines[1]]), "rejected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn research_without_a_file_change_is_accepted_for_its_artifact() {
    let research = |text: &str| {
        let lines = [format!("attach {text}"), "done found out".to_owned()];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        told(&lines).set("done", "marks = [\"artifact\"]").unset("done", "tree").item("question")
    };
    let home = Home::new();
    let end = research("the answer").at(&home).run().await;
    end.expect("accepted");
    assert_eq!(end.record.evidence[0].id, evidence::address(b"the answer"));
    assert!(end.record.changes.is_empty());
    is_told_again(&end).await;
    // The same again is nothing where it was refused, and so is none.
    let home = Home::new();
    let refused = || research("the answer").at(&home).command("no", &["false"], "10s");
    refused().run().await.expect("rejected");
    earns(refused(), "no-progress").await;
    earns(told(&["done found out"]).set("done", "marks = [\"artifact\"]").unset("done", "tree"), "no-progress").await;
}

/// Every way to do nothing, with every way to count progress: none is ever accepted, applied or not.
#[tokio::test(flavor = "multi_thread")]
async fn no_zero_work_is_ever_accepted() {
    let guests = [examples::LIAR, hostile::TOUCH, hostile::REVERT, hostile::EXIT];
    let scripts: [&[&str]; 9] = [
        &["done nothing"],
        &ESSAY,
        &["touch a.txt", "done touched"],
        &TAKEN_BACK,
        &["write a.txt two", "check-in x", "write a.txt one", "check-in x", "done toggled"],
        &IGNORED,
        &["write .gitignore *", "done hidden"],
        &["mkdir new/deep", "done made"],
        &COMMIT,
    ];
    let workers = guests.map(|guest| project(Bench::new(guest)).set("task", "inputs = { how = \"exit\" }"));
    let workers = workers.into_iter().map(|bench| (bench, false));
    let workers = workers.chain(scripts.into_iter().map(|lines| (told(lines), lines.contains(&ESSAY[2]))));
    let workers: Vec<_> = workers.collect();
    assert_eq!(workers.len(), 13);
    for (number, (bench, attaches)) in workers.into_iter().enumerate() {
        // Evidence is a mark only where the job says that it is what it wants.
        let marks = ["[\"tree\"]", "[\"checks\"]", "[\"tree\", \"checks\"]"];
        for (marks, no_apply) in [(marks[number % 3], false), (marks[(number + 1) % 3], true)] {
            // A check that passes at the base already, and one that passes whenever it is asked for the second time.
            let home = Home::new();
            let flag = home.dir().join("asked");
            let flaky = format!("test -e {0} || {{ touch {0}; exit 1; }}", flag.display());
            let bench = bench.clone().set("done", &format!("marks = {marks}")).at(&home);
            let bench = bench.command("passes", &["test", "-e", "a.txt"], "10s");
            let bench = if attaches { bench } else { bench.command("flaky", &["sh", "-c", &flaky], "10s") };
            let end = if no_apply { bench.no_apply() } else { bench }.run().await;
            let what = format!("worker {number}, marks {marks}: {:#?}", end.record);
            assert!(["no-progress", "trapped"].contains(&end.record.verdict.as_str()), "{what}");
            assert!(end.record.exit_code != 0 && !end.record.applied, "{what}");
            is_told_again(&end).await;
        }
    }
}

/// A job whose only progress are its checks: one for each of two files.
fn counted(lines: &[&str]) -> Bench {
    let exists = |name: &'static str| ["test", "-e", name];
    told(lines).set("done", "marks = [\"checks\"]").command("one", &exists("one"), "10s").command(
        "two",
        &exists("two"),
        "10s",
    )
}

/// The checks in the order in which they were run.
fn checked(end: &End) -> Vec<&str> {
    let name = |entry: &jidoka::rules::effect::Entry| match &entry.body {
        Body::Checked { result } => Some(result.name.clone()),
        _ => None,
    };
    let names: Vec<String> = end.entries.iter().filter_map(name).collect();
    let known = ["one", "two", "base:one", "base:two"];
    names.iter().map(|name| *known.iter().find(|known| *known == name).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_that_pass_at_the_start_already_earn_nothing() {
    let both = || counted(&["write src/b.txt worse", "done ready"]).file("one", "").file("two", "");
    let end = earns(both(), "no-progress").await;
    assert_eq!(checked(&end), ["one", "two", "base:one", "base:two"]);
    assert!(end.record.marks.is_empty() && end.record.gates.iter().all(|gate| gate.passed()));
    let end = accepted(counted(&["write src/b.txt better", "write two x", "done ready"]).file("one", "")).await;
    assert_eq!(end.record.marks.iter().map(|mark| mark.kind).collect::<Vec<_>>(), [MarkKind::Checks]);
    assert_eq!(checked(&end), ["one", "two", "base:one", "base:two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_growth_of_what_passes_counts_and_what_an_attempt_gained_stays_gained() {
    let home = Home::new();
    let attempt = |lines: &[&str]| counted(lines).item("one").set("attempts", "max = 9").at(&home);
    // One more passes: it is a mark, and the other says no.
    let end = earns(attempt(&["write one x", "done half"]), "rejected").await;
    assert_eq!((end.record.detail["gate"].as_str(), end.record.marks.len()), (Some("two"), 1));
    assert_eq!(checked(&end), ["one", "two", "base:one"], "all are run, and of the base only what passes now");
    // The same again is nothing new, and the base is not asked again.
    let end = earns(attempt(&["write one y", "done half"]), "no-progress").await;
    assert_eq!((checked(&end), end.record.marks.len()), (vec!["one", "two"], 0));
    // A person lets it be judged anew.
    home.revive("one").await;
    let end = earns(attempt(&["write one z", "done half"]), "rejected").await;
    assert_eq!((checked(&end), end.record.marks.len()), (vec!["one", "two", "base:one"], 1));
    // The other one counts, although the first is lost.
    let end = earns(attempt(&["write two x", "done half"]), "rejected").await;
    assert_eq!((end.record.detail["gate"].as_str(), end.record.marks.len()), (Some("one"), 1));
    // Now there is nothing left to gain by checks alone.
    earns(attempt(&["write one x", "write two x", "done whole"]), "no-progress").await;
    let end = counted(&["write one x", "write two x", "done whole"]).item("two").at(&home).run().await;
    end.expect("accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_cannot_be_carried_out_at_the_start_proves_nothing() {
    let slow = |path: &str| told(&["write new x", "done ready"]).command("slow", &["sh", "-c", path], "500ms");
    let slow = |path: &str| slow(path).set("done", "marks = [\"checks\"]");
    let end = earns(slow("test -e new || sleep 60"), "unverifiable").await;
    assert!(end.record.why.starts_with("check \"base:slow\": out of time"), "{}", end.record.why);
    slow("test -e new").run().await.expect("accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_counts_its_checks_goes_on_from_every_one_of_its_entries_to_the_same_verdict() {
    let home = Home::new();
    let lines = ["write one x", "write target/out x", "check-in look", "done half"];
    let bench = || counted(&lines).item("prefix").at(&home);
    let whole = bench().run().await;
    whole.expect("rejected");
    let serial = whole.record.serial.clone();
    let kept = bench::store(&home.state()).journal(&serial).unwrap().unwrap();
    let entries = bench::entries(&home.state(), &serial);
    let scope = ScopeId::host().child("default").child("tests").child("prefix");
    for last in 0..entries.len() - 1 {
        let store = cut_after(&kept, &entries, last, &scope).await;
        let end = bench().books(Arc::clone(&store) as _).resume(&serial).await;
        let what = format!("cut after entry {last}: {:?}", entries[last].body);
        assert_eq!(end.record.verdict, whole.record.verdict, "{what}: {}", end.record.why);
        assert_eq!((&end.record.marks, &end.record.gates), (&whole.record.marks, &whole.record.gates), "{what}");
        let runner = bench::runner_with(&home.state(), store);
        let replayed = bench::replay(&runner, &serial, None).await;
        assert_eq!((replayed.divergence, replayed.fault), (None, None), "{what}");
        assert_eq!(replayed.record.as_ref(), Some(&end.record), "{what}");
    }
}
