//! The process wall: a guest behind it comes to the same end, what broke out of its sandbox gets nowhere, and a machine
//! without the wall runs nothing that asks for it.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use jidoka::doors::program::Program;
use jidoka::rules::effect::Body;
use jidoka::rules::spec::Wall;
use jidoka_tests::bench::{Bench, End};
use jidoka_tests::{examples, hostile, plain};
use serde_json::Value;

fn told(lines: &[&str]) -> Bench {
    let text = lines.join("\\n");
    Bench::new(plain::SCRIPT).set("task", &format!("text = \"{text}\""))
}

#[test]
fn a_program_that_forgets_what_it_was_started_for_starts_no_more_of_itself() {
    let forgetful = jidoka_tests::bench::cell().path.with_file_name("forgetful");
    let remedy = "begins with `inside::serve`";
    let first = Command::new(&forgetful).output().unwrap();
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    assert!(first.status.success() && said.contains(remedy), "{first:?}");
    // As the one that it started: with words, before it starts another.
    let next = Command::new(&forgetful).arg("compiler").env("JIDOKA_CELL", "compiler").output().unwrap();
    let said = String::from_utf8_lossy(&next.stderr).into_owned();
    assert!(next.status.code() == Some(113) && said.contains("started as `compiler`"), "{next:?}");
    assert!(said.contains(remedy), "{said}");
}

/// What a run came to, without what differs between any two runs: when, how long, how much of the machine.
fn essence(end: &End) -> Value {
    let mut record = serde_json::to_value(&end.record).unwrap();
    let told = record.as_object_mut().unwrap();
    told.retain(|name, _| {
        ["verdict", "detail", "exit_code", "report", "marks", "evidence", "gates", "used"].contains(&name.as_str())
    });
    let journal: Vec<String> = end.entries.iter().filter_map(|entry| word(&entry.body)).collect();
    serde_json::json!({ "record": record, "journal": journal })
}

fn word(body: &Body) -> Option<String> {
    match body {
        Body::Intent { effect, .. } => Some(format!("asks {effect:?}")),
        Body::Answered { heard, .. } => Some(format!("hears {heard:?}")),
        Body::Refused { refusal, .. } => Some(format!("is refused {refusal:?}")),
        Body::Noted { message, fields, .. } => Some(format!("notes {message} {fields:?}")),
        Body::Printed { text, dropped_bytes, .. } => Some(format!("prints {text} and {dropped_bytes} more")),
        Body::Marked { mark, .. } => Some(format!("earns {mark:?}")),
        Body::Ended { outcome, changed, .. } => Some(format!("ends {outcome:?} with {changed:?}")),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_comes_to_the_same_end_on_both_sides_of_the_wall() {
    let ask = include_str!("../../guest-examples/ask/transcript.toml");
    let benches: Vec<(&str, Bench)> = vec![
        ("files", told(&["write a x", "sleep 5", "write b x", "done ready"])),
        ("a model", Bench::new(examples::ASK).script(ask)),
        ("streams", Bench::new(hostile::STREAMS)),
        ("print flood", Bench::new(hostile::PRINT_FLOOD)),
        ("log flood", Bench::new(hostile::LOG_FLOOD)),
        ("handles", Bench::new(hostile::HANDLES)),
        ("recursion", Bench::new(hostile::RECURSION)),
        ("evidence", Bench::new(hostile::EVIDENCE_CITED)),
        ("a pull", Bench::new(examples::CORD)),
    ];
    for (name, bench) in benches {
        let bench = bench.set("", "seed = 7");
        let none = bench.clone().behind(Wall::None).run().await;
        let process = bench.behind(Wall::Process).run().await;
        assert_ne!(none.record.verdict, "fault", "{name}: {:?}", none.record);
        assert_eq!(essence(&none), essence(&process), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_behind_the_wall_is_told_again_the_same() {
    let end = told(&["write a x", "sleep 5", "done ready"]).behind(Wall::Process).run().await;
    end.expect("accepted");
    let replayed = end.replay().await;
    assert_eq!((&replayed.divergence, &replayed.fault), (&None, &None));
}

/// Everything that a guest can sense of clocks, chance and files, to the last digit.
#[tokio::test(flavor = "multi_thread")]
async fn what_ran_without_the_wall_is_told_again_the_same_behind_it() {
    for guest in [hostile::PROBE, hostile::STREAMS, hostile::SLEEP_WASI, hostile::SPIN_IN_CALLS] {
        let end = Bench::new(guest).wall("1s").run().await;
        let runner = jidoka_tests::bench::runner_behind(&end.home.state(), Wall::Process);
        let replayed = jidoka_tests::bench::replay(&runner, &end.record.serial, None).await;
        assert_eq!((&replayed.divergence, &replayed.fault), (&None, &None), "{guest}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn time_and_memory_are_bounded_behind_the_wall_too() {
    let wall = |bench: Bench| bench.behind(Wall::Process);
    let spinning = wall(Bench::new(hostile::SPIN)).wall("300ms").run().await;
    spinning.expect("exhausted");
    assert_eq!(spinning.record.detail["line"], "wall-ms");
    let spinning = wall(Bench::new(hostile::SPIN)).set("budget", "cpu = \"100ms\"").run().await;
    spinning.expect("exhausted");
    assert_eq!(spinning.record.detail["line"], "cpu-ms");
    let waiting = wall(Bench::new(plain::SLEEPER)).wall("200ms").run().await;
    waiting.expect("exhausted");
    wall(Bench::new(hostile::MEMORY)).run().await.expect("trapped");
}

/// Lets a program of this package lock itself in and try something, below a fresh directory.
fn try_out(words: &[&str]) -> Output {
    let trees = tempfile::tempdir().unwrap();
    for name in ["work", "context"] {
        std::fs::create_dir(trees.path().join(name)).unwrap();
        std::fs::write(trees.path().join(name).join("file"), "text").unwrap();
    }
    std::fs::write(trees.path().join("secret"), "text").unwrap();
    let program = env!("CARGO_BIN_EXE_breakout");
    Command::new(program).args(words).arg(trees.path()).stdin(Stdio::null()).output().unwrap()
}

/// What a cell can do, and what it cannot: the same program can do all of it before it locks itself in.
#[test]
fn a_cell_reaches_its_trees_and_nothing_else() {
    const SIGSYS: i32 = 31;
    const SIGXCPU: i32 = 24;
    const SIGKILL: i32 = 9;
    for word in ["nothing", "write-own", "read-context", "a-thread", "speak"] {
        let out = try_out(&[word]);
        assert!(out.status.success(), "{word}: {out:?}");
    }
    let refused = [
        "write-context",
        "truncate-context",
        "read-beside",
        "read-passwords",
        "read-environment-of-another",
        "list-root",
        "much-memory",
        "many-descriptors",
    ];
    for word in refused {
        let out = try_out(&[word]);
        assert_eq!(out.status.code(), Some(1), "{word}: {out:?}");
        assert!(try_out(&["free", word]).status.success(), "{word} is possible without the wall");
    }
    let ended = [
        "symlink",
        "hardlink",
        "socket",
        "unix-socket",
        "start-a-program",
        "kill-parent",
        "change-owner",
        "change-mode",
    ];
    for word in ended {
        let out = try_out(&[word]);
        assert_eq!(out.status.signal(), Some(SIGSYS), "{word}: {out:?}");
        assert!(try_out(&["free", word]).status.success(), "{word} is possible without the wall");
    }
    let out = try_out(&["spin"]);
    assert!(matches!(out.status.signal(), Some(SIGXCPU | SIGKILL)), "{out:?}");
    assert!(try_out(&["free", "spin"]).status.success());
}

/// A run whose cell says `lie`.
async fn lied_to(lie: &str) -> End {
    let beside = jidoka_tests::bench::cell();
    let path = beside.path.with_file_name("lying_cell");
    let program = Program { path, arguments: vec![lie.into()] };
    told(&["done ready"]).behind(Wall::Process).wall("2s").program(program).run().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_out_of_a_broken_cell_is_not_believed() {
    for lie in ["ready-twice", "no-words", "endless-frame", "missing-bytes"] {
        let end = lied_to(lie).await;
        end.expect("halted");
        assert_eq!(end.record.detail["pull"]["category"], "capability-violation", "{lie}: {:?}", end.record);
    }
    // It says something that any guest could say, and is treated like one.
    let end = lied_to("false-digest").await;
    let kept: Vec<_> = end.record.evidence.iter().map(|kept| kept.id).collect();
    assert_eq!(kept, [jidoka::doors::evidence::address(b"true")], "the host's own digest");
    let end = lied_to("counted-by-itself").await;
    assert!(end.entries.iter().any(|entry| matches!(entry.body, Body::Refused { .. })));
    for lie in ["counted-by-itself", "future", "flood", "false-digest"] {
        lied_to(lie).await.expect("exhausted");
    }
    lied_to("killed").await.expect("trapped");
    lied_to("gone").await.expect("fault");
    lied_to("never-ready").await.expect("fault");
}

/// The compiler's own limits end it, and a compiler that is broken is not believed: the run is not admitted, and says why.
#[tokio::test(flavor = "multi_thread")]
async fn what_costs_too_much_to_compile_is_stopped() {
    let too_much = "compiling it takes more than 120 s of processor time, 300 s or 3072 MiB";
    for (lie, why) in [
        ("compiler-out-of-time", too_much),
        ("compiler-killed", too_much),
        ("compiler-out-of-memory", too_much),
        ("compiler-too-long", "it makes 536870913 bytes of code; at most 536870912"),
        // One less would have been taken, if it had come.
        ("compiler-long", "the compiler's process failed"),
        ("compiler-gone", "the compiler's process failed"),
        ("compiler-refuses", "it is no"),
    ] {
        let end = lied_to(lie).await;
        end.expect("not-admitted");
        assert!(end.record.why.contains(why), "{lie}: {}", end.record.why);
        assert!(end.entries.is_empty(), "{lie}: nothing ran");
    }
    assert_ne!(lied_to("compiler-nonsense").await.record.verdict, "accepted");
    let beside = jidoka_tests::bench::cell();
    let honest = told(&["write a x", "done ready"]).program(beside).run().await;
    honest.expect("accepted");
}

/// A process on this machine that is a cell below `parent`.
fn cells_of(parent: u32) -> Vec<u32> {
    let children = format!("/proc/{parent}/task");
    let tasks = std::fs::read_dir(children).map(|tasks| tasks.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let listed = tasks.iter().filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    listed.flat_map(|line| line.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>()).collect()
}

fn is_there(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

/// A guest that spins does not notice that its host is gone; its cell does.
#[test]
fn a_cell_ends_with_its_host() {
    let home = tempfile::tempdir().unwrap();
    let mut host = Command::new(env!("CARGO_BIN_EXE_walled")).arg(hostile::SPIN).arg(home.path()).spawn().unwrap();
    let mut cell = None;
    until("the host has a cell", || {
        cell = cells_of(host.id()).first().copied();
        cell.is_some()
    });
    let cell = cell.unwrap();
    host.kill().unwrap();
    host.wait().unwrap();
    until("the cell is gone", || !is_there(cell));
}

#[test]
fn a_kernel_without_the_wall_runs_nothing_that_asks_for_it() {
    let start = |without: bool, wall: &str| {
        let home = tempfile::tempdir().unwrap();
        let walled = env!("CARGO_BIN_EXE_walled");
        let mut command = match without {
            true => Command::new(env!("CARGO_BIN_EXE_without_landlock")),
            false => Command::new(Path::new(walled)),
        };
        if without {
            command.arg(walled);
        }
        let out = command.arg(plain::IDLE).arg(home.path()).arg(wall).output().unwrap();
        serde_json::from_slice::<Value>(&out.stdout).unwrap_or_else(|_| panic!("{out:?}"))
    };
    let record = start(true, "process");
    assert_eq!(record["verdict"], "not-admitted");
    assert!(record["detail"].to_string().contains("Landlock"), "{record}");
    let same = start(true, "none");
    assert_ne!(same["verdict"], "not-admitted", "without the wall it runs");
    assert_eq!(start(false, "process")["verdict"], same["verdict"], "and with it on a kernel that has it");
}

/// A guest's process asks to end with its parent, which for the kernel is the thread that started it.
#[test]
fn a_guest_behind_the_wall_outlives_the_thread_that_asked_for_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_keep_alive(std::time::Duration::from_millis(1))
        .enable_all()
        .build()
        .unwrap();
    let bench = Bench::new(plain::SCRIPT).set("task", "text = \"sleep 300\\nunable slept\"");
    let end = runtime.block_on(bench.behind(Wall::Process).run());
    end.expect("unable");
    assert_eq!(end.summary(), "slept");
}
