//! Attacks by what a guest says: too much of it, or characters that do something on the screen of who reads it.

use jidoka::rules::effect::{Body, Stream};
use jidoka::rules::policy::MAX_SUMMARY_BYTES;

use super::super::seen::{because, noted, that, verdict_alone, written_at_most};
use super::super::{Attack, Family, Scene, row};
use super::filesystem::{reach, told};
use super::flooding::flood;
use super::memory::take;
use crate::bench::{Bench, End};
use crate::hostile;

/// What was kept of an output, and what was dropped.
fn printed(end: &End, wanted: Stream) -> (usize, u64) {
    let found = end.entries.iter().find_map(|entry| match &entry.body {
        Body::Printed { stream, text, dropped_bytes } if *stream == wanted => {
            Some((text.chars().count(), *dropped_bytes))
        }
        _ => None,
    });
    found.unwrap_or_default()
}

fn says(scene: &Scene, import: &str, bytes: u64) -> Bench {
    let inputs = format!("inputs = {{ import = {import:?}, bytes = \"{bytes}\" }}");
    scene.guest(hostile::HUGE_STRING).set("task", &inputs).script("[[turn]]\nrepeat = true\ntext = \"hello\"")
}

/// A text of three megabytes, which no call may carry; and a short one. Where there is no refusal to hear, the guest ends.
fn too_long(import: &'static str, verdict: &'static str) -> Attack {
    let has_no_refusal = ["log", "andon", "report", "error"].iter().any(|word| import.starts_with(word));
    let refused = if has_no_refusal { "trapped" } else { "no-progress" };
    row(Family::Output, format!("huge-{}", import.replace(' ', "-")), "hands over three megabytes in one text")
        .attack(move |scene| says(scene, import, 3 << 20), refused, written_at_most(64 << 10))
        .control(move |scene| says(scene, import, 50), verdict, verdict_alone("a short one is heard"))
}

/// A text below that, which the host cuts.
fn cut(import: &'static str, verdict: &'static str) -> Attack {
    let bound = 6 * MAX_SUMMARY_BYTES as u64;
    row(Family::Output, format!("long-{import}"), "has the host keep a text of a megabyte and a half")
        .attack(move |scene| says(scene, import, 1_500 << 10), verdict, written_at_most(bound))
        .control(
            move |scene| says(scene, import, 50),
            verdict,
            that("a short one is kept whole", |end| {
                end.record.why.contains(&"h".repeat(50)) || end.summary().len() == 50
            }),
        )
}

pub(super) fn attacks() -> Vec<Attack> {
    let dropped = |end: &End| end.notes_dropped();
    let log = "log = \"64KiB\"";
    vec![
        row(Family::Output, "log-flood", "logs past its cap")
            .attack(
                move |scene| flood(scene, "notes", 2_000).set("caps", log),
                "no-progress",
                that("notes past the cap are dropped", move |end| dropped(end) > 1_900).and(written_at_most(256 << 10)),
            )
            .control(
                move |scene| flood(scene, "notes", 20).set("caps", log),
                "no-progress",
                that("each note is kept", move |end| dropped(end) == 0),
            ),
        row(Family::Output, "log-fields", "logs notes without a text, but with many empty fields")
            .attack(
                move |scene| flood(scene, "fields", 5_000).set("caps", log),
                "no-progress",
                that("notes past the cap are dropped", move |end| dropped(end) > 4_000).and(written_at_most(256 << 10)),
            )
            .control(
                move |scene| flood(scene, "fields", 5).set("caps", log),
                "no-progress",
                that("each note is kept", move |end| dropped(end) == 0),
            ),
        row(Family::Output, "log-control-characters", "logs characters that grow sixfold when they are written down")
            .attack(
                move |scene| flood(scene, "control characters", 2_000).set("caps", log),
                "no-progress",
                that("notes past the cap are dropped", move |end| dropped(end) > 1_900).and(written_at_most(256 << 10)),
            )
            .control(
                move |scene| flood(scene, "control characters", 2).set("caps", log),
                "no-progress",
                that("each note is kept", move |end| dropped(end) == 0),
            ),
        row(Family::Output, "print-flood", "prints bytes that are no text, on both of its outputs")
            .attack(
                |scene| scene.guest(hostile::PRINT_FLOOD).set("caps", "stdio = \"4KiB\""),
                "no-progress",
                that("4 KiB are kept and the rest is counted", |end| {
                    let (out, error) = (printed(end, Stream::Stdout), printed(end, Stream::Stderr));
                    out.0 == 4_096 && out.1 > 4_000_000 && error.1 > 4_000_000
                }),
            )
            .control(
                |scene| flood(scene, "prints", 2).set("caps", "stdio = \"4KiB\""),
                "no-progress",
                that("all is kept", |end| printed(end, Stream::Stdout) == (2_002, 0)),
            ),
        row(Family::Output, "print-at-once", "prints a megabyte in one call, past what it was told it may")
            .attack(
                |scene| take(scene, "print", 1 << 20).set("caps", "stdio = \"4KiB\""),
                "no-progress",
                that("4 KiB are kept and the rest is counted", |end| {
                    printed(end, Stream::Stdout) == (4_096, (1 << 20) - 4_096)
                }),
            )
            .control(
                |scene| take(scene, "print", 100).set("caps", "stdio = \"4KiB\""),
                "no-progress",
                that("all is kept", |end| printed(end, Stream::Stdout) == (100, 0)),
            ),
        too_long("log message", "no-progress"),
        too_long("log field", "no-progress"),
        too_long("check-in note", "no-progress"),
        too_long("model text", "no-progress"),
        too_long("tool input", "no-progress"),
        too_long("human question", "no-progress"),
        too_long("andon reason", "halted"),
        too_long("report evidence", "rejected"),
        cut("report", "no-progress"),
        cut("error", "unable"),
        row(Family::Output, "pull-with-a-pile", "pulls the cord with a pile of evidence that is not there")
            .attack(|scene| scene.guest(hostile::ANDON_EVIDENCE), "halted", written_at_most(256 << 10))
            .control(|scene| told(scene, &["pull the belt is torn"]), "halted", because("the belt is torn")),
        row(
            Family::Output,
            "panic-in-colour",
            "panics with control characters, for the screen of who reads the verdict",
        )
        .attack(
            |scene| scene.guest(hostile::EXIT).set("task", "inputs = { how = \"panic\" }"),
            "trapped",
            that("no control character in why", |end| !end.record.why.contains('\u{1b}')),
        )
        .control(
            |scene| scene.guest(hostile::EXIT).set("task", "inputs = { how = \"unable\" }"),
            "unable",
            because("I cannot"),
        ),
        row(Family::Output, "name-in-colour", "gives a file a name of control characters, outside its deliverables")
            .attack(
                |scene| told(scene, &["write \\u001b[31m\\u0007red x", "done ready"]).set("done", "tree = [\"src\"]"),
                "constraint-violation",
                verdict_alone("on disk its name is quoted"),
            )
            .control(|scene| reach(scene, "write", "src/red"), "accepted", verdict_alone("a plain name is applied")),
        row(Family::Output, "note-in-colour", "logs control characters")
            .attack(
                |scene| told(scene, &["note \\u001b[2Jcleared", "done ready"]),
                "no-progress",
                verdict_alone("none of them is on disk"),
            )
            .control(|scene| told(scene, &["note plain", "done ready"]), "no-progress", noted("plain")),
    ]
}
