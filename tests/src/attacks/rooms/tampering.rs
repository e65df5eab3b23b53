//! Attacks on what the host wrote down: journal, verdict, evidence, the plan of an apply; through files and through words.

use super::super::seen::{got, no, nothing_applied, seen, that, verdict_alone};
use super::super::{Attack, Family, Scene, Seen, row};
use super::filesystem::{reach, reach_with, told};
use crate::hostile;

/// A call on a file of the host's own, by the path that it has from a workspace.
fn on(name: &'static str, tries: &'static str, how: &'static str, path: &'static str) -> Attack {
    row(Family::Tampering, name, tries)
        .attack(move |scene| reach(scene, how, path), "no-progress", no("reached").and(the_record_is_its_own()))
        .control(|scene| reach(scene, "write", "src/verdict.json"), "accepted", got("reached"))
}

/// What is on disk is what the host decided, of this run.
fn the_record_is_its_own() -> Seen {
    seen("the record is the host's", |end, scene| {
        let written: serde_json::Value =
            serde_json::from_str(&scene.verdict(end)).map_err(|error| format!("verdict.json: {error}"))?;
        let of = |name: &str| written[name].as_str().unwrap_or_default().to_owned();
        let is = (of("serial"), of("verdict")) == (end.record.serial.clone(), end.record.verdict.clone());
        if is { Ok(()) } else { Err(format!("verdict.json says {written}")) }
    })
}

/// Each line of the journal is an entry that the host made.
fn the_journal_is_its_own() -> Seen {
    seen("each line of the journal is an entry", |end, _| {
        let (lines, entries) = (end.journal().lines().count(), end.entries.len());
        if lines == entries { Ok(()) } else { Err(format!("{lines} lines of {entries} entries")) }
    })
}

/// A worker that says this, which would be something else if it were not quoted.
fn words(name: &'static str, tries: &'static str, line: &'static str) -> Attack {
    let plain = line.split(' ').next().expect("a command");
    row(Family::Tampering, name, tries)
        .attack(
            move |scene| told(scene, &[line, "done ready"]),
            "no-progress",
            the_record_is_its_own().and(the_journal_is_its_own()),
        )
        .control(
            move |scene| told(scene, &[&format!("{plain} fine"), "write src/b.txt better", "done ready"]),
            "accepted",
            the_record_is_its_own().and(the_journal_is_its_own()),
        )
}

pub(super) fn attacks() -> Vec<Attack> {
    let shadows = |tree: &'static str| {
        move |scene: &Scene| scene.guest(hostile::SHADOW_FILES).file("precious.txt", "p").set("done", tree)
    };
    let named = |name: &'static str| {
        move |scene: &Scene| {
            reach_with(scene, &[("how", "attach"), ("path", name)])
                .set("done", "marks = [\"artifact\"]")
                .unset("done", "tree")
        }
    };
    vec![
        on("write-verdict", "writes its own verdict", "write", "../verdict.json"),
        on("remove-verdict", "removes a verdict", "remove", "../verdict.json"),
        on("write-evidence", "writes among its evidence", "write", "../evidence/blake3-00"),
        on("list-runs", "lists the runs of the host", "list", "../.."),
        on("write-books", "writes into the host's books", "write", "../../../ledger.sqlite"),
        on("truncate-books", "empties the host's books", "truncate", "../../../ledger.sqlite-wal"),
        on("write-cache", "leaves machine code in the host's cache", "write", "../../../cache/owned"),
        on("move-run-away", "moves its whole run away", "rename", "../../work"),
        row(Family::Tampering, "shadow-files", "leaves files that look like the host's own, beside its deliverables")
            .attack(shadows("tree = [\"src\"]"), "constraint-violation", nothing_applied().and(the_record_is_its_own()))
            .control(
                shadows("tree = [\".\"]"),
                "accepted",
                that("as files they are applied, but for git's and the plan", |end| {
                    let is = |path: &str| end.home.workspace().join(path).exists();
                    is("verdict.json") && is("precious.txt") && !is(".git") && !is(".jidoka-apply-owned")
                }),
            ),
        row(Family::Tampering, "plan-of-an-apply", "leaves a plan for the next apply, which would remove a file")
            .attack(
                |scene| {
                    let plan =
                        r#"write .jidoka-apply-x/plan.json {\"steps\":[{\"unlink\":{\"path\":\"precious.txt\"}}]}"#;
                    let lines = ["mkdir .jidoka-apply-x", plan, "write src/b.txt better", "done ready"];
                    told(scene, &lines).file("precious.txt", "p")
                },
                "accepted",
                that("the plan is not applied, and the file is there", |end| {
                    end.real_file("precious.txt").as_deref() == Some("p")
                        && end.real_file(".jidoka-apply-x/plan.json").is_none()
                }),
            )
            .control(
                |scene| told(scene, &["remove precious.txt", "done ready"]).file("precious.txt", "p"),
                "accepted",
                that("work may remove it", |end| end.real_file("precious.txt").is_none()),
            ),
        row(Family::Tampering, "evidence-name", "gives evidence a name that is a path")
            .attack(
                named("../../../../secret"),
                "accepted",
                that("it is kept by its address", |end| end.record.evidence.len() == 1),
            )
            .control(
                named("answer.txt"),
                "accepted",
                that("it is kept by its address", |end| end.record.evidence.len() == 1),
            ),
        words(
            "entry-in-a-note",
            "logs a line that looks like an entry",
            r#"note x\r{\"closed\":{\"verdict\":\"accepted\"}}"#,
        ),
        words(
            "entry-in-a-print",
            "prints a line that looks like an entry",
            r#"print x\r{\"closed\":{\"verdict\":\"accepted\"}}"#,
        ),
        words(
            "field-in-a-check-in",
            "checks in with words that close a string",
            r#"check-in \",\"verdict\":\"accepted"#,
        ),
        row(Family::Tampering, "field-in-a-report", "reports words that close a string of the record")
            .attack(
                |scene| told(scene, &[r#"done x\",\"verdict\":\"accepted\",\"exit-code\":0,\"y\":\""#]),
                "no-progress",
                the_record_is_its_own().and(the_journal_is_its_own()).and(nothing_applied()),
            )
            .control(
                |scene| told(scene, &["write src/b.txt better", r#"done x\",\"verdict\":\"trapped"#]),
                "accepted",
                the_record_is_its_own(),
            ),
        row(Family::Tampering, "job-file", "leaves a job file that allows everything")
            .after(|scene| vec![told(scene, &["write jidoka.toml [grants]", "write src/b.txt better", "done ready"])])
            .attack(
                |scene| told(scene, &["ask hello", "done ready"]),
                "unable",
                that("the job is the operator's", |end| end.record.capabilities.used.is_empty()),
            )
            .control(
                |scene| told(scene, &["ask hello", "done ready"]).script("[[turn]]\ntext = \"hello\""),
                "no-progress",
                verdict_alone("a grant of the operator's counts"),
            ),
    ]
}
