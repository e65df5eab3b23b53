//! Attacks by tools: each gives its worker a typed failure, and the run, its files and the host go on.

use std::sync::Arc;

use jidoka::doors::script::ScriptedModel;
use jidoka::rules::effect::Body;
use jidoka::rules::spec::FileGrant;
use jidoka_tests::{examples, hostile, plain};

use super::*;

/// A worker that calls the tool `it` with each input, and then does honest work.
fn calls(tool: &str, inputs: &[&str], settings: &[&str]) -> Bench {
    let calls = inputs.iter().map(|input| format!("tool it {}", input.replace('"', "\\\"")));
    let lines: Vec<String> = calls.chain(["write a.txt honest".to_owned(), "done fine".to_owned()]).collect();
    Bench::new(plain::SCRIPT)
        .set("task", &format!("text = \"{}\"", lines.join("\\n")))
        .file("kept.txt", "kept")
        .tool("it", tool, settings)
}

/// The run came to its honest end; each call was a failure that says this.
#[track_caller]
fn fails(end: &End, says: &[&str]) {
    end.expect("accepted");
    assert_eq!(end.real_file("kept.txt").as_deref(), Some("kept"));
    let notes = end.notes();
    assert_eq!(notes.len(), says.len(), "{notes:#?}");
    for (note, says) in notes.iter().zip(says) {
        assert!(note.starts_with("it: no, ") && note.contains(says), "{note}");
    }
}

#[tokio::test(flavor = "multi_thread")]
pub(super) async fn tool_spins() {
    let by_cpu = calls(hostile::TOOL_SPINS, &["{}"], &["cpu = \"200ms\""]).run().await;
    fails(&by_cpu, &["cpu"]);
    let by_wall = calls(hostile::TOOL_SPINS, &["{}"], &["wall = \"200ms\""]).run().await;
    fails(&by_wall, &["used up its"]);
    // What it burnt is the run's.
    assert!(by_cpu.record.ledger.attempt.spent.get(jidoka::rules::ledger::Line::CpuMs) >= 150);
    // A run that has less is over itself.
    let run = calls(hostile::TOOL_SPINS, &["{}"], &[]).wall("500ms").run().await;
    run.expect("exhausted");
}

#[tokio::test(flavor = "multi_thread")]
pub(super) async fn tool_floods() {
    let say = |way: &str, bytes: u64| format!("{{\"way\":\"{way}\",\"bytes\":{bytes}}}");
    let settings = ["output = \"64KiB\""];
    let inputs = [say("value", 10 << 20), say("error", 1 << 20), say("value", 65_535)];
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let end = calls(hostile::TOOL_FLOODS, &inputs, &settings).run().await;
    // Past what may be lifted into the host it traps; an error is cut; quotes around a value are two bytes of it.
    fails(&end, &["trapped", "rejected", "bytes; at most 65536"]);
    assert!(end.notes()[1].len() < 8_000, "{}", end.notes()[1].len());
    let fits = calls(hostile::TOOL_FLOODS, &[&say("value", 65_534)], &settings).run().await;
    assert!(fits.notes()[0].starts_with("it: \"xxx"), "{:.100}", fits.notes()[0]);
    let inputs = [say("print", 8 << 20), say("log", 8 << 20)];
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let end = calls(hostile::TOOL_FLOODS, &inputs, &settings).run().await;
    assert_eq!(end.expect("accepted").notes(), ["it: null", "it: null"]);
    let journal = end.journal().len();
    assert!(journal < 1 << 20, "{journal} bytes of journal");
}

#[tokio::test(flavor = "multi_thread")]
pub(super) async fn tool_lies_about_schema() {
    let end = calls(hostile::TOOL_LIES_ABOUT_SCHEMA, &["{\"a\":1}", "[1]", "{\"a\":1,\"b\":2}"], &[]).run().await;
    fails(&end, &["not JSON", "does not fit", "does not fit"]);
}

#[tokio::test(flavor = "multi_thread")]
pub(super) async fn tool_without_schema() {
    let end = calls(hostile::TOOL_WITHOUT_SCHEMA, &["{}"], &[]).run().await;
    end.expect("not-admitted");
    assert!(end.record.why.contains("schema"), "{}", end.record.why);
}

#[tokio::test(flavor = "multi_thread")]
pub(super) async fn tool_injects() {
    let end = calls(hostile::TOOL_INJECTS, &["{}"], &["files = \"read-write\""]).run().await;
    end.expect("accepted");
    // What it says is data of its answer, and nobody acted on it.
    assert!(end.notes()[0].starts_with("it: {") && end.notes()[0].contains("\"tool_calls\""), "{:?}", end.notes());
    assert_eq!(end.real_file("kept.txt").as_deref(), Some("kept"));
    let calls = end.entries.iter().filter(|entry| matches!(entry.body, Body::Intent { .. })).count();
    assert_eq!(calls, 1);
}

#[tokio::test(flavor = "multi_thread")]
pub(super) async fn tool_escapes() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let input = format!("{{\"address\":\"{}\"}}", listener.local_addr().unwrap());
    for files in [FileGrant::None, FileGrant::ReadOnly, FileGrant::ReadWrite] {
        let grant = match files {
            FileGrant::None => "files = \"none\"",
            FileGrant::ReadOnly => "files = \"read-only\"",
            FileGrant::ReadWrite => "files = \"read-write\"",
        };
        let home = Home::new();
        std::fs::write(home.dir().join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink("../secret", home.workspace().join("to-file")).unwrap();
        std::os::unix::fs::symlink("/etc", home.workspace().join("to-etc")).unwrap();
        let end = calls(hostile::TOOL_ESCAPES, &[&input], &[grant]).at(&home).run().await;
        let note = end.notes().last().copied().unwrap_or_default().to_owned();
        // Evidence is every tool's to attach; a tool that may write takes the workspace apart, and that is all.
        let through = match files {
            FileGrant::None | FileGrant::ReadOnly => "it: {\"through\":[\"evidence\"]}",
            FileGrant::ReadWrite => {
                "it: {\"through\":[\"evidence\",\"remove /work/kept.txt\",\"remove /work/to-etc\",\"remove /work/to-file\"]}"
            }
        };
        assert_eq!(note, through, "{files:?}");
        assert_eq!(std::fs::read_to_string(home.dir().join("secret")).unwrap(), "secret");
        assert!(listener.accept().is_err());
        end.expect("accepted");
    }
}

#[tokio::test(flavor = "multi_thread")]
pub(super) async fn tool_exhausts() {
    let settings = ["memory = \"8MiB\""];
    let end = calls(hostile::TOOL_EXHAUSTS, &["{}", "{\"pages\":129}"], &settings).run().await;
    fails(&end, &["memory", "memory"]);
    let fits = calls(hostile::TOOL_EXHAUSTS, &["{\"pages\":128}"], &settings).run().await;
    assert_eq!(fits.expect("accepted").notes(), ["it: 128"]);
}

#[tokio::test(flavor = "multi_thread")]
pub(super) async fn tool_traps() {
    let way = |way: &str| format!("{{\"way\":\"{way}\"}}");
    let inputs = [way("panic"), way("exit"), way("stack")];
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let end = calls(hostile::TOOL_TRAPS, &inputs, &[]).run().await;
    fails(&end, &["trapped", "trapped", "trapped"]);
    // A panic of a guest's leaves its stack in the journal, inside of its call.
    let printed = |body: &Body| matches!(body, Body::Within { body, .. } if matches!(**body, Body::Printed { .. }));
    assert!(end.entries.iter().any(|entry| printed(&entry.body)));
}

#[tokio::test(flavor = "multi_thread")]
pub(super) async fn tool_shifts() {
    // Whatever it draws, it draws the same each time that it is asked: two runs find what was accepted.
    let home = Home::new();
    let run = || calls(hostile::TOOL_SHIFTS, &["{}"], &[]).at(&home).run();
    let [one, other] = [run().await, run().await];
    for end in [&one, &other] {
        // Two tools: neither is called like the box.
        assert!(
            end.notes()[0].contains("not granted") || end.notes()[0].contains("tools: it-shift"),
            "{:?}",
            end.notes()
        );
    }
    assert_eq!(one.notes(), other.notes());
}

#[tokio::test(flavor = "multi_thread")]
pub(super) async fn tool_echoes() {
    let end = calls(hostile::TOOL_ECHOES, &["{\"a\":[1,2]}"], &[]).run().await;
    assert_eq!(end.expect("accepted").notes(), ["it: {\"a\":[1,2]}"]);
}

/// The job that a model works through with three tools, with a hostile one in the place of each.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_works_with_a_hostile_tool_ends_in_a_typed_outcome_and_harms_nothing() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-examples/toolsmith");
    let read = |path: &str| std::fs::read_to_string(example.join(path)).unwrap();
    let bench = || {
        let home = Home::new();
        std::fs::write(home.context().join("parcel.rhai"), read("project/tests/parcel.rhai")).unwrap();
        Bench::new(examples::TOOLSMITH)
            .at(&home)
            .set("task", "text = \"The tests of this project fail. Find the bug and fix it.\"")
            .set("done", "marks = [\"tree\"]")
            .set("done", "tree = [\"src\"]")
            .file("src/parcel.rhai", &read("project/src/parcel.rhai"))
            .file("tests/parcel.rhai", &read("project/tests/parcel.rhai"))
            .model_named("coder", Arc::new(ScriptedModel::parse(&read("transcript.toml")).unwrap()))
            .check("tests", examples::FIXER_CHECK)
            .wall("20s")
    };
    let honest = [
        ("search", examples::SEARCH, "files = \"read-only\""),
        ("patch", examples::PATCH, "files = \"read-write\""),
        ("javascript", examples::JAVASCRIPT, "files = \"none\""),
    ];
    let hostiles = [
        ("spins", hostile::TOOL_SPINS),
        ("floods", hostile::TOOL_FLOODS),
        ("lies", hostile::TOOL_LIES_ABOUT_SCHEMA),
        ("injects", hostile::TOOL_INJECTS),
        ("escapes", hostile::TOOL_ESCAPES),
        ("exhausts", hostile::TOOL_EXHAUSTS),
        ("traps", hostile::TOOL_TRAPS),
    ];
    let all = |bench: Bench, replaced: Option<(&str, &str)>| {
        honest.iter().fold(bench, |bench, (name, component, files)| match replaced {
            // The model calls the one of the two that writes.
            Some((place, hostile)) if place == *name => {
                let name = if place == "patch" { "patch-apply" } else { place };
                bench.tool(name, hostile, &[files, "cpu = \"200ms\""])
            }
            _ => bench.tool(name, component, &[files, "memory = \"64MiB\""]),
        })
    };
    let good = all(bench(), None).run().await;
    good.expect("accepted");
    assert!(good.real_file("src/parcel.rhai").unwrap().contains("(weight + step_grams() - 1)"));
    for (what, hostile) in hostiles {
        for (place, ..) in honest {
            let end = all(bench(), Some((place, hostile))).run().await;
            let typed = ["unable", "no-progress", "rejected", "constraint-violation", "exhausted"];
            assert!(typed.contains(&end.record.verdict.as_str()), "{what} as {place}: {:#?}", end.record);
            let now = end.real_file("src/parcel.rhai");
            assert_eq!(now.as_deref(), Some(&*read("project/src/parcel.rhai")), "{what} as {place}");
            assert!(end.real_file("tests/parcel.rhai").is_some(), "{what} as {place}");
        }
    }
}
