//! Attacks by quantity: what a guest can make the host write down or remember is bounded, whatever it repeats.

use jidoka::rules::effect::{Body, Stream};
use jidoka::rules::policy::{MAX_CHECK_INS, MAX_EVIDENCE, MAX_REFUSALS, MAX_SUMMARY_BYTES};
use jidoka_tests::hostile;

use super::*;

/// What the host writes down beside what a cap is about: the opening, the verdict, the report.
const FRAME_BYTES: u64 = 32 << 10;

/// Notes past `[caps] log` are dropped and counted.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn log_flood() {
    let end = Bench::new(hostile::LOG_FLOOD).set("caps", "log = \"64KiB\"").run().await;
    end.expect("no-progress");
    assert_eq!(end.notes_dropped() + end.notes().len() as u64, 40_000);
    // A short note's line in the journal is about twice what it is charged.
    assert!(written_down(&end) < 3 * (64 << 10) + FRAME_BYTES, "{}", written_down(&end));
}

/// Each note costs its text and 64 bytes: two hold at N, and the second is dropped at N - 1.
#[tokio::test(flavor = "multi_thread")]
async fn notes_hold_at_n_and_are_dropped_at_n_plus_1() {
    let bench = |log: u64| {
        let note = "x".repeat(36);
        let text = format!("note {note}\\nnote {note}\\ndone");
        Bench::new(jidoka_tests::plain::SCRIPT)
            .set("task", &format!("text = \"{text}\""))
            .set("caps", &format!("log = \"{log}B\""))
    };
    let at = bench(200).run().await;
    assert_eq!((at.notes().len(), at.notes_dropped()), (2, 0));
    let over = bench(199).run().await;
    assert_eq!((over.notes().len(), over.notes_dropped()), (1, 1));
}

/// Fields and characters that grow when they are written down are charged for what they grow to.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn log_fields() {
    let end = Bench::new(hostile::LOG_FIELDS).set("caps", "log = \"1MiB\"").run().await;
    end.expect("no-progress");
    assert!(end.notes_dropped() > 0);
    assert!(end.notes().len() > 2);
    assert!(written_down(&end) < (1 << 20) + FRAME_BYTES, "{}", written_down(&end));
}

/// What is printed past `[caps] stdio` is dropped and counted, and the rest is plain text in the journal.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn print_flood() {
    let end = Bench::new(hostile::PRINT_FLOOD).set("caps", "stdio = \"4KiB\"").run().await;
    end.expect("no-progress");
    let printed = |wanted: Stream| {
        let mut found = end.entries.iter().filter_map(|entry| match &entry.body {
            Body::Printed { stream, text, dropped_bytes } if *stream == wanted => Some((text.clone(), *dropped_bytes)),
            _ => None,
        });
        found.next().unwrap()
    };
    let (out, dropped) = printed(Stream::Stdout);
    assert_eq!(out.chars().count(), 4096);
    assert_eq!(dropped, 1_000 * (4096 + "\u{1b}[2J\n".len() as u64) - 4096);
    assert_eq!(printed(Stream::Stderr).1, 1_000 * 4096 - 4096);
    assert!(!end.journal().contains('\u{1b}'));
}

/// A string of several megabytes gets through no import: a call past `[caps] lifted` is refused with that setting; where the
/// contract has no word for a refusal, and far past it, the run is over, and says so.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn huge_string() {
    const IMPORTS: [&str; 22] = [
        "log message",
        "log field",
        "andon reason",
        "andon evidence",
        "check-in note",
        "evidence kind",
        "evidence name",
        "evidence bytes",
        "model name",
        "model text",
        "model schema",
        "model tool",
        "tool name",
        "tool input",
        "child name",
        "child task",
        "human question",
        "human option",
        "report",
        "error",
        "report evidence",
        "panic",
    ];
    let bench = |import: &str, bytes: usize| {
        Bench::new(hostile::HUGE_STRING)
            .script("[[turn]]\nrepeat = true\ntext = \"hello\"")
            .set("task", &format!("inputs = {{ import = \"{import}\", bytes = \"{bytes}\" }}"))
    };
    for import in IMPORTS {
        let end = bench(import, 3 << 20).run().await;
        let has_no_refusal = ["log", "andon", "report", "error", "panic"].iter().any(|word| import.starts_with(word));
        end.expect(if has_no_refusal { "trapped" } else { "no-progress" });
        let said = if has_no_refusal { end.record.why.clone() } else { end.notes().join("\n") };
        assert!(import == "panic" || said.contains("[caps] lifted"), "{import}: {said}");
        // A panic's message is printed: up to `[caps] stdio` of it.
        let printed = if import == "panic" { 2 * MAX_SUMMARY_BYTES as u64 } else { 0 };
        assert!(written_down(&end) < printed + FRAME_BYTES, "{import}: {}", written_down(&end));
        assert!(end.record.evidence.is_empty() && end.record.capabilities.used.is_empty(), "{import}");
    }
    for import in ["evidence bytes", "check-in note", "log message"] {
        let end = bench(import, 33 << 20).run().await;
        assert!(end.expect("trapped").record.why.contains("[caps] lifted"), "{import}: {}", end.record.why);
    }
    // Below that cap each import has its own. Only the log keeps notes up to 256 KiB, so it drops this one.
    for import in IMPORTS {
        let end = bench(import, 1500 << 10).run().await;
        let verdict = match import {
            "andon reason" | "andon evidence" => "halted",
            "panic" => "trapped",
            "error" => "unable",
            "report evidence" => "rejected",
            _ => "no-progress",
        };
        end.expect(verdict);
        assert!(end.record.evidence.is_empty() && end.record.capabilities.used.is_empty(), "{import}");
        // A text stands in the record once or twice, and the record in the journal and in `verdict.json`.
        let kept = if matches!(import, "report" | "error" | "panic") { 4 * MAX_SUMMARY_BYTES as u64 } else { 0 };
        assert!(written_down(&end) < kept + FRAME_BYTES, "{import}: {}", written_down(&end));
    }
}

/// A pull's reason and its evidence are cut: the line stops, and the lock stays small.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn andon_evidence() {
    let end = Bench::new(hostile::ANDON_EVIDENCE).run().await;
    end.expect("halted");
    // The reason is 4 KiB of characters that take six bytes each, in the verdict twice and in the journal twice.
    assert!(written_down(&end) < 4 * 6 * (8 << 10) + FRAME_BYTES, "{}", written_down(&end));
}

/// Evidence is capped by number, at N and not at N + 1.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn evidence_flood() {
    let end = Bench::new(hostile::EVIDENCE_FLOOD).set("task", &input("cap", MAX_EVIDENCE)).run().await;
    end.expect("accepted");
    refused(&end, "one more");
    assert_eq!(end.record.evidence.len() as u64, MAX_EVIDENCE);
    assert_eq!(names(kept_dir(&end).join("evidence")).len() as u64, MAX_EVIDENCE);
}

/// Check-ins are capped, at N and not at N + 1: each makes the host read the tree.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn check_in_flood() {
    let end = Bench::new(hostile::CHECK_IN_FLOOD).set("task", &input("cap", MAX_CHECK_INS)).run().await;
    end.expect("no-progress");
    refused(&end, "one more");
    let passed = |entry: &&jidoka::rules::effect::Entry| matches!(entry.body, Body::Intent { .. });
    assert_eq!(end.entries.iter().filter(passed).count() as u64, MAX_CHECK_INS);
}

/// A guest that only ever asks for what it is refused is stopped before the refusals fill the disk.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn refusal_flood() {
    let end = Bench::new(hostile::REFUSAL_FLOOD).run().await;
    end.expect("trapped");
    assert!(end.record.why.contains("past a cap") && end.record.why.contains("refused"), "{}", end.record.why);
    let refused = end.entries.iter().filter(|entry| matches!(entry.body, Body::Refused { .. })).count() as u64;
    assert_eq!(refused, MAX_REFUSALS + 1, "the one that ends the run is written down, too");
    assert!(written_down(&end) < 2 << 20, "{}", written_down(&end));
}

/// A sleep of no time takes some all the same, so that a second of them is a small journal; `policy.rs` caps their
/// number.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn sleep_flood() {
    let end = Bench::new(hostile::SLEEP_FLOOD).set("budget", "cpu = \"20s\"").wall("1s").run().await;
    end.expect("exhausted");
    assert!(end.entries.len() > 20, "{}", end.entries.len());
    assert!(written_down(&end) < 1 << 20, "{}", written_down(&end));
}
