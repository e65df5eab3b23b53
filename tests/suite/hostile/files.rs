//! Attacks on the walls around `/work` and `/context`.

use std::fs;
use std::os::unix::fs::symlink;

use jidoka::run::files::{MAX_DEPTH, MAX_PATH_BYTES};
use jidoka_tests::hostile;

use super::*;

const SECRET: &str = "the operator's secret";

/// A home with a secret at every place that `..` from a private copy or from the real directory leads to.
fn with_secrets() -> std::sync::Arc<Home> {
    let home = Home::new();
    fs::create_dir_all(home.state().join("runs")).unwrap();
    for dir in [around(&home), home.state(), home.state().join("runs")] {
        fs::write(dir.join("secret"), SECRET).unwrap();
    }
    home
}

/// Fails unless everything around the run is as it was made, and nothing of the secret is in what the host keeps.
#[track_caller]
fn nothing_escaped(end: &End) {
    let home = &end.home;
    assert_eq!(names(around(home)), ["context", "secret", "state", "workspace"]);
    let serial = end.record.serial.as_str();
    assert_eq!(names(home.state().join("runs")), [serial, "secret"]);
    for dir in [around(home), home.state(), home.state().join("runs")] {
        assert_eq!(fs::read_to_string(dir.join("secret")).unwrap(), SECRET);
    }
    assert!(!end.journal().contains(SECRET));
    assert!(end.kept_file("stolen").is_none());
}

/// `..` leads nowhere, however it is written, and whichever call it is given to.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn path_up() {
    let end = Bench::new(hostile::PATH_UP).at(&with_secrets()).file("mine", "m").file("sub/x", "x").run().await;
    end.expect("no-progress");
    nothing_went_through(&end);
    nothing_escaped(&end);
    assert_eq!(end.kept_file("mine").unwrap(), "m");
}

/// An absolute path of the host leads nowhere.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn path_absolute() {
    let home = with_secrets();
    let secret = around(&home).join("secret");
    let end = Bench::new(hostile::PATH_ABSOLUTE).at(&home).set("task", &input("secret", secret.display())).run().await;
    end.expect("no-progress");
    nothing_went_through(&end);
    nothing_escaped(&end);
}

/// A link that the workspace brings along is no door: the host's file behind it is neither read nor written.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn symlink_out() {
    let home = with_secrets();
    let (real, outside) = (home.workspace(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("secret"), SECRET).unwrap();
    symlink(around(&home).join("secret"), real.join("to-file")).unwrap();
    symlink("../../../../secret", real.join("to-file-by-dots")).unwrap();
    symlink("/etc", real.join("to-etc")).unwrap();
    symlink("/", real.join("to-root")).unwrap();
    symlink(outside.path(), real.join("to-dir")).unwrap();
    symlink("to-file", real.join("chain")).unwrap();
    symlink("to-dir", real.join("chain-dir")).unwrap();
    let end = Bench::new(hostile::SYMLINK_OUT).at(&home).run().await;
    end.expect("no-progress");
    nothing_went_through(&end);
    nothing_escaped(&end);
    assert_eq!(names(outside.path()), ["secret"]);
    assert_eq!(fs::read_to_string(outside.path().join("secret")).unwrap(), SECRET);
}

/// A guest makes no symbolic links, so every link in a tree came from a person.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn symlink_make() {
    let end = Bench::new(hostile::SYMLINK_MAKE).file("a.txt", "a").run().await;
    end.expect("no-progress");
    nothing_went_through(&end);
    assert_eq!(names(kept_dir(&end).join("work")), ["a.txt"]);
}

/// A guest makes no hard links: a second name would carry a file past what its first name allows.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn hardlink_make() {
    let home = with_secrets();
    fs::write(home.context().join("c.txt"), "c").unwrap();
    let end = Bench::new(hostile::HARDLINK_MAKE).at(&home).file("a.txt", "a").run().await;
    end.expect("no-progress");
    nothing_went_through(&end);
    nothing_escaped(&end);
    assert_eq!(names(kept_dir(&end).join("work")), ["a.txt"]);
}

/// A link that stays inside works, and a write through it changes the file that it names and nothing else.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn symlink_inside() {
    let home = with_secrets();
    let real = home.workspace();
    symlink("data/file.txt", real.join("inside")).unwrap();
    symlink("data", real.join("inside-dir")).unwrap();
    symlink("loop", real.join("loop")).unwrap();
    let end = Bench::new(hostile::SYMLINK_INSIDE).at(&home).file("data/file.txt", "inside").run().await;
    end.expect("accepted");
    assert_eq!(told(&end, "read inside"), "got \"inside\"");
    assert_eq!(told(&end, "read through inside-dir"), "got \"inside\"");
    went_through(&end, "write inside");
    refused(&end, "read loop");
    refused(&end, "write loop");
    nothing_escaped(&end);
    assert_eq!(end.record.changes, ["data/file.txt"]);
    assert_eq!(end.real_file("data/file.txt").unwrap(), "by the guest");
    assert_eq!(fs::read_link(real.join("inside")).unwrap().to_str(), Some("data/file.txt"));
}

/// A link that was moved to where its text leads outside leads nowhere for the guest.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn symlink_moved() {
    let home = with_secrets();
    let real = home.workspace();
    fs::create_dir_all(real.join("a/b")).unwrap();
    symlink("../../secret", real.join("a/b/link")).unwrap();
    let end = Bench::new(hostile::SYMLINK_MOVED).at(&home).file("secret", "inside").run().await;
    assert_eq!(told(&end, "read before"), "got \"inside\"");
    refused(&end, "read after");
    refused(&end, "write after");
    nothing_escaped(&end);
    end.expect("constraint-violation");
    assert_eq!(end.record.detail["paths"], serde_json::json!(["link"]));
    assert!(real.join("link").symlink_metadata().is_err(), "nothing of it is in the real directory");
}

/// A tree is at most as deep as the cap, from a handle in the middle too.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn depth() {
    let end = Bench::new(hostile::DEPTH).set("task", &input("cap", MAX_DEPTH)).run().await;
    // The host could look at all of it, and empty directories are no progress.
    end.expect("no-progress");
    went_through(&end, "mkdir at the cap");
    for step in ["mkdir past the cap", "write past the cap", "mkdir past the cap from a handle"] {
        refused(&end, step);
    }
    let mut deepest = kept_dir(&end).join("work");
    for _ in 0..MAX_DEPTH {
        deepest.push("d");
    }
    assert!(deepest.is_dir() && names(deepest).is_empty());
}

/// A tree that was made deeper by moving is past what the host looks at: unverifiable, and never applied.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn depth_by_rename() {
    let end = Bench::new(hostile::DEPTH_BY_RENAME).set("task", &input("cap", MAX_DEPTH)).run().await;
    end.expect("unverifiable");
    assert!(end.record.why.contains("levels deep"), "{}", end.record.why);
    assert!(!end.record.applied && names(end.home.workspace()).is_empty());
}

/// A path is at most as long as the cap.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn path_long() {
    let end = Bench::new(hostile::PATH_LONG).file("a.txt", "a").set("task", &input("cap", MAX_PATH_BYTES)).run().await;
    for bytes in [MAX_PATH_BYTES + 1, 100_000] {
        for step in ["open", "stat", "mkdir", "rename"] {
            refused(&end, &format!("{step} {bytes}"));
        }
    }
    refused(&end, "name 256");
    went_through(&end, &format!("open {}", MAX_PATH_BYTES - 1));
    end.expect("accepted");
}

/// Nothing gets into `/context`, and nothing crosses between it and `/work`.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn rename_across() {
    let home = with_secrets();
    fs::write(home.context().join("c.txt"), "context").unwrap();
    let end = Bench::new(hostile::RENAME_ACROSS).at(&home).file("a.txt", "work").run().await;
    end.expect("no-progress");
    assert_eq!(told(&end, "read"), "got 7");
    for note in end.notes() {
        assert!(note.contains(": no, ") || note == "read: got 7" || note.contains("got Err("), "{note}");
    }
    nothing_escaped(&end);
    for context in [home.context(), kept_dir(&end).join("context")] {
        assert_eq!(names(&context), ["c.txt"]);
        assert_eq!(fs::read_to_string(context.join("c.txt")).unwrap(), "context");
    }
    assert_eq!(names(kept_dir(&end).join("work")), ["a.txt"]);
    assert_eq!(end.kept_file("a.txt").unwrap(), "work");
}

/// A workspace that may only be read stays as it is, against a reader who truncates too.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn read_only() {
    let home = Home::new();
    fs::create_dir(home.workspace().join("empty")).unwrap();
    let end = Bench::new(hostile::READ_ONLY)
        .at(&home)
        .file("a.txt", "work")
        .set("grants", "files = \"read-only\"")
        .set("done", "marks = [\"artifact\"]")
        .unset("done", "tree")
        .run()
        .await;
    end.expect("no-progress");
    assert_eq!(told(&end, "read"), "got \"work\"");
    for note in end.notes() {
        assert!(note.contains(": no, ") || note == "read: got \"work\"" || note.contains("got Err("), "{note}");
    }
    for work in [home.workspace(), kept_dir(&end).join("work")] {
        assert_eq!(names(&work), ["a.txt", "empty"]);
        assert_eq!(fs::read_to_string(work.join("a.txt")).unwrap(), "work");
    }
}

/// Files that look like the host's own change nothing: git's and the apply's never leave the copy, the others are
/// plain changes that the job's deliverables do not allow.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn shadow_files() {
    let home = with_secrets();
    let bench = || Bench::new(hostile::SHADOW_FILES).at(&home).file("precious.txt", "p").file("src/a.txt", "a");
    let end = bench().set("done", "tree = [\"src\"]").run().await;
    end.expect("constraint-violation");
    assert_eq!(end.record.changes, [".gitignore", "jidoka.toml", "journal.jsonl", "verdict.json"]);
    assert_eq!(names(home.workspace()), ["precious.txt", "src"]);

    let end = bench().run().await;
    end.expect("accepted");
    let after = [".gitignore", "jidoka.toml", "journal.jsonl", "precious.txt", "src", "verdict.json"];
    assert_eq!(names(home.workspace()), after);
    // The next run meets no plan of the worker's making, and the host's own verdict is its own.
    let next = bench().set("attempts", "max = 1").run().await;
    assert_eq!(next.record.verdict, "no-progress");
    assert_eq!(end.real_file("precious.txt").unwrap(), "p");
    let verdict = fs::read_to_string(kept_dir(&end).join("verdict.json")).unwrap();
    assert!(verdict.contains(&end.record.serial));
}
