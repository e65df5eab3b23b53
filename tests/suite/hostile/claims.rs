//! Attacks on the verdict: what a worker says, shows or does to look as if the work were done.

use std::time::Duration;

use jidoka::doors::evidence;
use jidoka_tests::hostile;

use super::*;

/// Only a returned report is a report: an exit with 0 is no success, whatever was done before.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn exit() {
    let ends = [
        ("exit", "trapped"),
        ("exit 1", "trapped"),
        ("abort", "trapped"),
        ("panic", "trapped"),
        ("error", "unable"),
        ("unable", "unable"),
    ];
    for (how, verdict) in ends {
        let end = Bench::new(hostile::EXIT).set("task", &input("how", how)).run().await;
        end.expect(verdict);
        assert!(!end.record.applied && names(end.home.workspace()).is_empty(), "{how}");
        assert_eq!(end.record.changes, ["made.txt"], "{how}");
        assert_eq!(end.kept_file("made.txt").unwrap(), "made", "{how}");
        assert!(!end.record.why.contains('\u{1b}'));
    }
}

/// A change that was taken back is no change.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn revert() {
    let end = Bench::new(hostile::REVERT).file("a.txt", "before").run().await;
    end.expect("no-progress");
    assert!(end.record.marks.is_empty() && end.record.changes.is_empty());
}

/// Going back and forth earns one mark.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn toggle() {
    let end = Bench::new(hostile::TOGGLE).file("a.txt", "one").run().await;
    assert_eq!(end.notes(), ["two true 1", "one false 1", "two false 1", "one false 1", "two false 1"]);
    assert_eq!(end.record.marks.len(), 1);
    // A second attempt of the same item shows nothing new, although its files differ from the real ones.
    let attempt = || Bench::new(hostile::TOGGLE).item("toggle").command("no", &["false"], "10s");
    let first = attempt().file("a.txt", "one").run().await;
    first.expect("rejected");
    let second = attempt().at(&first.home).run().await;
    second.expect("no-progress");
    assert!(second.record.marks.is_empty());
}

/// Writing the same bytes is no change.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn touch() {
    let end = Bench::new(hostile::TOUCH).file("a.txt", "before").run().await;
    end.expect("no-progress");
    assert!(end.record.marks.is_empty() && end.record.changes.is_empty());
}

/// A change outside the deliverables is a violation, beside a good change too; nothing of either is applied.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn stray() {
    for both in [false, true] {
        let mut bench = Bench::new(hostile::STRAY).file("src/a.txt", "before").set("done", "tree = [\"src\"]");
        if both {
            bench = bench.set("task", &input("both", "yes"));
        }
        let end = bench.run().await;
        end.expect("constraint-violation");
        assert_eq!(end.record.detail["paths"], serde_json::json!(["src-more/a.txt", "tests/check.sh"]));
        assert!(!end.record.applied && end.record.marks.is_empty());
        assert_eq!(names(end.home.workspace()), ["src"]);
        assert_eq!(end.real_file("src/a.txt").unwrap(), "before");
    }
}

/// A report stands on evidence of its own run: an invented id and another run's id are rejected.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn evidence_cited() {
    let cite = async |home: &std::sync::Arc<Home>, id: &str| {
        Bench::new(hostile::EVIDENCE_CITED).at(home).set("task", &input("id", id)).run().await
    };
    let home = Home::new();
    let other = Bench::new(hostile::EVIDENCE_FLOOD).at(&home).set("task", &input("cap", 1)).run().await;
    let real = other.record.evidence[0].id.to_string();
    assert_eq!(real, evidence::address(b"0").to_string());
    for id in [real.as_str(), "blake3:00", "", "../../evidence/x", &real.to_uppercase()] {
        let end = cite(&home, id).await;
        end.expect("rejected");
        assert_eq!(end.record.detail["gate"], "evidence", "{id}");
        assert!(!end.record.applied && names(home.workspace()).is_empty());
    }
    // Sixty thousand of them cost the host no more than a thousand: in the journal and in `verdict.json`.
    let end = Bench::new(hostile::EVIDENCE_CITED).set("task", &input("many", "yes")).run().await;
    end.expect("rejected");
    assert!(written_down(&end) < 512 << 10, "{}", written_down(&end));
    assert!(end.took < Duration::from_secs(30), "{:?}", end.took);
}

/// A verifier sees the files and cannot change them, nor reach what the host keeps.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn judge_meddles() {
    let end = Bench::new(hostile::TOGGLE).file("a.txt", "one").check("meddles", hostile::JUDGE_MEDDLES).run().await;
    end.expect("accepted");
    for step in ["write", "create", "delete", "up", "evidence past its quota"] {
        refused(&end, step);
    }
    assert_eq!(end.real_file("a.txt").unwrap(), "two");
    assert_eq!(names(end.home.workspace()), ["a.txt"]);
    // What a verifier attaches is not the worker's evidence.
    assert!(end.record.evidence.is_empty() && end.record.marks.len() == 1);
}
