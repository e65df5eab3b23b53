//! Tools of the host: a sandbox for each call, on the run's account, written down, told again without the tool.

use std::sync::Arc;

use jidoka::rules::effect::{Body, Effect, Entry, Kind};
use jidoka::rules::ledger::Line;
use jidoka::rules::tool::Reach;
use jidoka_tests::bench::{Bench, End, Home};
use jidoka_tests::plain;
use jidoka_tests::web::{AT, FakeWeb, Page, grant};

/// A worker that does what these lines say, with the tools of the workbench.
fn told(lines: &[&str], settings: &[&str]) -> Bench {
    let lines: Vec<String> = lines.iter().map(|line| line.replace("AT", AT).replace('"', "\\\"")).collect();
    Bench::new(plain::SCRIPT)
        .set("task", &format!("text = \"{}\"", lines.join("\\n")))
        .set("done", "no-change = \"allowed\"")
        .tool("do", plain::WORKBENCH, settings)
}

async fn is_told_again(end: &End) {
    let replayed = end.replay().await;
    assert_eq!((replayed.divergence, replayed.fault), (None, None));
    assert_eq!(replayed.record.unwrap().verdict, end.record.verdict);
}

fn spent(end: &End, line: Line) -> u64 {
    end.record.ledger.attempt.spent.get(line)
}

/// What happened inside of calls.
fn within(end: &End) -> Vec<&Body> {
    fn inner(entry: &Entry) -> Option<&Body> {
        match &entry.body {
            Body::Within { body, .. } => Some(body),
            _ => None,
        }
    }
    end.entries.iter().filter_map(inner).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_granted_tool_is_called_metered_journalled_and_told_again() {
    let end = told(&["tool do-echo {\"value\":[1,\"x\"]}", "no-change-needed fine"], &[]).run().await;
    end.expect("no-change-needed");
    assert_eq!(end.notes(), ["do-echo: [1,\"x\"]"]);
    assert_eq!((spent(&end, Line::ToolCalls), spent(&end, Line::NetBytes)), (1, 0));
    let intent = end.entries.iter().find_map(|entry| match &entry.body {
        Body::Intent { effect: effect @ Effect::Tool { .. }, .. } => Some(effect.clone()),
        _ => None,
    });
    let input = "{\"value\":[1,\"x\"]}".to_owned();
    assert_eq!(intent, Some(Effect::Tool { name: "do-echo".into(), input, reach: Reach::Inside }));
    is_told_again(&end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_told_of_its_tools_and_of_no_other() {
    let end = told(&["catalogue", "no-change-needed fine"], &[]).run().await;
    end.expect("no-change-needed");
    let names = "do-echo do-refuse do-write do-append do-remove do-read do-get do-talk do-draw do-pull do-count";
    assert_eq!(end.notes(), [names]);
    is_told_again(&end).await;
    let none = Bench::new(plain::SCRIPT).set("task", "text = \"catalogue\\nno-change-needed\"");
    let none = none.set("done", "no-change = \"allowed\"").run().await;
    assert_eq!(none.expect("no-change-needed").notes(), [""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_before_anything_runs() {
    let lines = [
        "tool do-echo {\"valeu\":1}",
        "tool do-echo not json",
        "tool do-nothing {}",
        "tool other {}",
        "no-change-needed fine",
    ];
    let end = told(&lines, &[]).run().await;
    end.expect("no-change-needed");
    let notes = end.notes();
    assert!(notes[0].contains("do not fit") || notes[0].contains("does not fit"), "{notes:?}");
    assert!(notes[1].contains("not JSON"), "{notes:?}");
    assert!(notes[2].contains("tools: do-echo") && notes[3].contains("[tools.NAME]"), "{notes:?}");
    assert_eq!(spent(&end, Line::ToolCalls), 0);
    is_told_again(&end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_of_the_tool_is_a_failure_that_is_paid_for() {
    let end = told(&["tool do-refuse {\"why\":\"closed on sundays\"}", "no-change-needed fine"], &[]).run().await;
    end.expect("no-change-needed");
    assert!(end.notes()[0].contains("closed on sundays"), "{:?}", end.notes());
    assert_eq!(spent(&end, Line::ToolCalls), 1);
    is_told_again(&end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_call_that_is_granted_is_made_and_one_more_is_not() {
    let call = "tool do-echo {\"value\":1}";
    let end = told(&[call, call, call, "no-change-needed fine"], &[]).set("budget", "tool-calls = 2").run().await;
    let notes = end.expect("no-change-needed").notes();
    assert_eq!(notes[..2], ["do-echo: 1", "do-echo: 1"]);
    assert!(notes[2].contains("tool-calls"), "{notes:?}");
    assert_eq!(spent(&end, Line::ToolCalls), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_is_of_an_instance_of_its_own() {
    let end = told(&["tool do-count", "tool do-count", "no-change-needed fine"], &[]).run().await;
    assert_eq!(end.expect("no-change-needed").notes(), ["do-count: 1", "do-count: 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tool_writes_is_the_workers_work_and_is_told_again_without_the_tool() {
    let lines = [
        "tool do-write {\"path\":\"a/b.txt\",\"text\":\"by a tool\"}",
        "read a/b.txt",
        "write c.txt by the worker",
        "tool do-remove {\"path\":\"old.txt\"}",
        "check-in now",
        "tool do-append {\"path\":\"c.txt\",\"text\":\" and by a tool\"}",
        "read c.txt",
        "done written",
    ];
    let end = told(&lines, &["files = \"read-write\""]).file("old.txt", "old").run().await;
    end.expect("accepted");
    assert_eq!(end.notes()[1], "by a tool");
    assert_eq!(end.real_file("a/b.txt").as_deref(), Some("by a tool"));
    assert_eq!(end.real_file("c.txt").as_deref(), Some("by the worker and by a tool"));
    assert_eq!(end.real_file("old.txt"), None);
    is_told_again(&end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_once_that_write_are_made_one_after_the_other() {
    let append = |text: &str| format!("do-append {{\"path\":\"log.txt\",\"text\":\"{text}\"}}");
    let line = format!("tools {} ; {} ; {} ; {}", append("a"), append("b"), append("c"), append("d"));
    let end = told(&[&line, "done written"], &["files = \"read-write\""]).run().await;
    end.expect("accepted");
    let befores = ["do-append: \"\"", "do-append: \"a\"", "do-append: \"ab\"", "do-append: \"abc\""];
    assert_eq!(end.notes(), befores);
    assert_eq!(end.real_file("log.txt").as_deref(), Some("abcd"));
    is_told_again(&end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_has_no_files_but_those_that_it_was_granted() {
    let lines = [
        "write a.txt here",
        "tool do-read {\"path\":\"a.txt\"}",
        "tool do-write {\"path\":\"b.txt\",\"text\":\"x\"}",
        "done fine",
    ];
    let none = told(&lines, &[]).run().await;
    let notes = none.expect("accepted").notes();
    assert!(notes[0].starts_with("do-read: no,") && notes[1].starts_with("do-write: no,"), "{notes:?}");
    let read = told(&lines, &["files = \"read-only\""]).run().await;
    let notes = read.expect("accepted").notes();
    assert_eq!(notes[0], "do-read: \"here\"");
    assert!(notes[1].starts_with("do-write: no,"), "{notes:?}");
    assert_eq!(read.real_file("b.txt"), None);
    is_told_again(&read).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tool_writes_is_of_the_runs_disk_and_of_its_own() {
    let write = |bytes: usize| format!("tool do-write {{\"path\":\"a.txt\",\"text\":\"{}\"}}", "x".repeat(bytes));
    let own = &["files = \"read-write\"", "disk = \"1000B\""];
    let fits = told(&[&write(1_000), "done fine"], own).run().await;
    assert_eq!(fits.expect("accepted").notes(), ["do-write: \"written\""]);
    assert_eq!(spent(&fits, Line::DiskBytes), 1_000);
    let over = told(&[&write(1_001), "no-change-needed fine"], own).run().await;
    assert!(over.notes()[0].starts_with("do-write: no,"), "{:?}", over.notes());
    let of_run = told(&[&write(1_001), "unable full"], &["files = \"read-write\""]).set("budget", "disk = \"1000B\"");
    let of_run = of_run.run().await;
    assert!(of_run.notes()[0].starts_with("do-write: no,"), "{:?}", of_run.notes());
    assert!(spent(&of_run, Line::DiskBytes) <= 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tool_does_stands_in_the_journal_of_the_run() {
    let end = told(&["tool do-talk {\"text\":\"inside\"}", "no-change-needed fine"], &[]).run().await;
    end.expect("no-change-needed");
    let inside = within(&end);
    let noted = inside.iter().any(|body| matches!(body, Body::Noted { message, .. } if message == "inside"));
    let printed = inside.iter().any(|body| matches!(body, Body::Printed { text, .. } if text == "inside\n"));
    let attached = inside.iter().any(|body| matches!(body, Body::Answered { kind: Kind::Attach, .. }));
    assert!(noted && printed && attached, "{inside:#?}");
    // What a tool attaches is not the worker's evidence.
    assert!(end.record.evidence.is_empty());
    is_told_again(&end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_fetches_where_its_worker_may_and_on_the_runs_account() {
    let web = Arc::new(FakeWeb::new(|_| Page::ok("twelve bytes")));
    let lines = ["tool do-get {\"url\":\"AT/page\"}", "no-change-needed fine"];
    let rules = [grant(&["GET"], "/")];
    let end = told(&lines, &[]).web(web.clone(), &rules).webbed("do").run().await;
    end.expect("no-change-needed");
    assert_eq!(end.notes(), ["do-get: {\"body\":\"twelve bytes\",\"status\":200}"]);
    assert_eq!((web.asked().len(), spent(&end, Line::NetBytes)), (1, 12));
    let outward = |body: &Body| matches!(body, Body::Intent { effect, .. } if effect.kind() == Kind::Tool);
    assert!(end.entries.iter().any(|entry| outward(&entry.body)));
    assert!(within(&end).iter().any(|body| matches!(body, Body::Answered { kind: Kind::Fetch, .. })));
    is_told_again(&end).await;
    assert_eq!(web.asked().len(), 1);
    let without = told(&lines, &[]).web(web.clone(), &rules).run().await;
    assert!(without.notes()[0].starts_with("do-get: no,"), "{:?}", without.notes());
    assert_eq!(web.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tool_draws_is_of_the_runs_seed_and_of_its_call() {
    let lines = ["tool do-draw", "tool do-draw", "no-change-needed fine"];
    let drawn =
        |end: &End| end.notes().iter().map(|note| note.split("\"now\"").next().unwrap().to_owned()).collect::<Vec<_>>();
    let one = told(&lines, &[]).set("", "seed = 7").run().await;
    let same = told(&lines, &[]).set("", "seed = 7").run().await;
    let other = told(&lines, &[]).set("", "seed = 8").run().await;
    assert_eq!(drawn(&one), drawn(&same));
    assert_ne!(drawn(&one), drawn(&other));
    assert_ne!(drawn(&one)[0], drawn(&one)[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_pulls_the_cord_stops_the_line() {
    let home = Home::new();
    let end = told(&["tool do-pull {\"why\":\"smoke\"}", "done fine"], &[]).at(&home).run().await;
    end.expect("halted");
    let next = told(&["no-change-needed fine"], &[]).at(&home).run().await;
    next.expect("not-admitted");
    is_told_again(&end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_call_with_the_same_result_again_and_again_is_told_and_ends_the_attempt() {
    let calls = vec!["tool do-echo {\"value\":1}"; 20];
    let lines: Vec<&str> = calls.into_iter().chain(["no-change-needed fine"]).collect();
    let end = told(&lines, &[]).run().await;
    end.expect("no-progress");
    let given = end.notes().iter().filter(|note| **note == "do-echo: 1").count();
    // Three times, and once more after each of two refusals.
    assert_eq!(given, 5, "{:?}", end.notes());
    let polls = told(&lines, &[]).set("guards", "pollers = [\"do-echo\"]").run().await;
    polls.expect("no-change-needed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_describes_itself_otherwise_is_not_used_until_it_is_accepted() {
    let home = Home::new();
    let one = told(&["tool do-echo {\"value\":1}", "no-change-needed fine"], &[]).at(&home).run().await;
    one.expect("no-change-needed");
    // The same toolbox, and another component in it.
    let other = Bench::new(plain::SCRIPT)
        .set("task", "text = \"no-change-needed\"")
        .set("done", "no-change = \"allowed\"")
        .tool_of_bytes("do", twice(), &[])
        .at(&home);
    let other = other.run().await;
    other.expect("not-admitted");
    assert!(other.record.why.contains("jidoka tools accept"), "{}", other.record.why);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_can_be_a_run_of_its_own() {
    let call = |input: &str| {
        told(&["unable never"], &["files = \"read-write\""]).calling("append", input).file("a.txt", "before")
    };
    let end = call("{\"path\":\"a.txt\",\"text\":\" and after\"}").run().await;
    end.expect("accepted");
    assert_eq!(end.summary(), "\"before\"");
    assert_eq!(end.real_file("a.txt").as_deref(), Some("before and after"));
    is_told_again(&end).await;
    let nothing = call("{\"path\":\"a.txt\",\"text\":\"\"}").run().await;
    nothing.expect("no-change-needed");
    is_told_again(&nothing).await;
    let wrong = call("{\"path\":\"../a.txt\",\"text\":\"\"}").run().await;
    wrong.expect("unable");
    is_told_again(&wrong).await;
}

/// A component that nobody here wrote a contract for: one function of numbers.
fn twice() -> Vec<u8> {
    let text = r#"(component
        (core module $m
            (func (export "twice") (param i32) (result i32) local.get 0 i32.const 2 i32.mul))
        (core instance $i (instantiate $m))
        (func (export "twice") (param "n" u32) (result u32) (canon lift (core func $i "twice"))))"#;
    wat::parse_str(text).unwrap()
}

/// A module of WASI preview 1 that prints what it reads, and fails. WASI 0.2 knows of no other exit than well and not well.
fn preview_1() -> Vec<u8> {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (i32.store (i32.const 0) (i32.const 64))
            (i32.store (i32.const 4) (i32.const 1000))
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
            (i32.store (i32.const 4) (i32.load (i32.const 8)))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (call $exit (i32.const 3))))"#;
    wat::parse_str(text).unwrap()
}

fn with_tool(component: Vec<u8>, settings: &[&str]) -> Bench {
    let bench = Bench::new(plain::SCRIPT).set("task", "text = \"unable never\"");
    bench.set("done", "no-change = \"allowed\"").tool_of_bytes("it", component, settings)
}

#[tokio::test(flavor = "multi_thread")]
async fn any_component_is_a_tool_by_its_types() {
    let call = |input: &str| with_tool(twice(), &[]).calling("it", input).run();
    let end = call("{\"n\":21}").await;
    assert_eq!(end.expect("no-change-needed").summary(), "42");
    is_told_again(&end).await;
    for wrong in ["{\"n\":-1}", "{\"n\":\"1\"}", "{}", "{\"n\":1,\"m\":2}", "[]", "{\"n\":4294967296}"] {
        call(wrong).await.expect("unable");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_of_preview_1_is_a_tool_as_it_is() {
    let call = |input: &str, settings: &[&str]| with_tool(preview_1(), settings).calling("run", input).run();
    let end = call("{\"stdin\":\"to be read\"}", &[]).await;
    assert_eq!(end.expect("no-change-needed").summary(), "{\"exit\":1,\"stdout\":\"to be read\",\"stderr\":\"\"}");
    is_told_again(&end).await;
    // A stream has as many bytes as an output may have, and not one more.
    let long = |bytes: usize| format!("{{\"stdin\":\"{}\"}}", "x".repeat(bytes));
    call(&long(100), &["output = \"100B\""]).await.expect("no-change-needed");
    call(&long(101), &["output = \"100B\""]).await.expect("unable");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_of_a_tool_holds_at_n_and_is_refused_at_n_plus_1() {
    use jidoka::rules::policy::MAX_TOOL_INPUT_BYTES;
    // `{"value":""}` has twelve bytes of its own.
    let input = |bytes: usize| format!("{{\"value\":\"{}\"}}", "x".repeat(bytes - 12));
    let call = |bytes: usize| {
        let bench = told(&["unable never"], &["output = \"2MiB\""]).set("caps", "lifted = \"8MiB\"");
        bench.calling("do-echo", &input(bytes)).run()
    };
    call(MAX_TOOL_INPUT_BYTES).await.expect("no-change-needed");
    call(MAX_TOOL_INPUT_BYTES + 1).await.expect("unable");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_mcp_server_is_a_tool_and_is_told_again_without_it() {
    let server = |words: &[&str]| {
        let lines = ["tool srv-structured {\"a\":[1]}", "tool srv-nothing {}", "no-change-needed fine"];
        told(&lines, &[]).server("srv", crate::mcp_servers::spec(words))
    };
    let end = server(&["well"]).run().await;
    end.expect("no-change-needed");
    assert_eq!(end.notes()[0], "srv-structured: {\"a\":[1]}");
    assert!(end.notes()[1].contains("srv-echo"), "{:?}", end.notes());
    let outward = |body: &Body| matches!(body, Body::Intent { effect, .. } if effect.kind() == Kind::Tool);
    assert!(end.entries.iter().any(|entry| outward(&entry.body)));
    is_told_again(&end).await;
    let dead = server(&["dies"]).run().await;
    dead.expect("not-admitted");
    assert!(dead.record.why.contains("srv"), "{}", dead.record.why);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_serves_ends_the_call_that_asks_for_it() {
    let text = r#"(component
        (import "somebody:elses/host" (instance $host (export "ask" (func (param "n" u32) (result u32)))))
        (core func $ask (canon lower (func $host "ask")))
        (core module $m
            (import "host" "ask" (func $ask (param i32) (result i32)))
            (func (export "relay") (param i32) (result i32)
                (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 7)) (else (call $ask (local.get 0))))))
        (core instance $i (instantiate $m (with "host" (instance (export "ask" (func $ask))))))
        (func (export "relay") (param "n" u32) (result u32) (canon lift (core func $i "relay"))))"#;
    let component = wat::parse_str(text).unwrap();
    let call = |input: &str| with_tool(component.clone(), &[]).calling("it", input).run();
    assert_eq!(call("{\"n\":0}").await.expect("no-change-needed").summary(), "7");
    let asked = call("{\"n\":1}").await;
    asked.expect("unable");
    assert!(
        asked.record.why.contains("nobody here serves")
            || format!("{:?}", asked.record.detail).contains("nobody here serves"),
        "{:#?}",
        asked.record
    );
}
