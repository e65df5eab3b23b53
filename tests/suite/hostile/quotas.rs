//! Attacks on what a guest may hold or use up: disk, files, handles, memory, stack.

use std::fs;

use jidoka::rules::ledger::Line;
use jidoka_tests::hostile;

use super::*;

const DISK: u64 = 64 << 10;

/// A job with little disk, whose guest knows how much.
fn small_disk(guest: &str) -> Bench {
    Bench::new(guest).set("budget", "disk = \"64KiB\"").set("task", &input("cap", DISK))
}

/// Fails unless the worker's tree and the ledger agree that the quota held.
#[track_caller]
fn within_quota(end: &End) {
    let spent = end.record.ledger.attempt.spent.get(Line::DiskBytes);
    let held = bytes_below(&kept_dir(end).join("work"));
    assert!(held <= spent && spent <= DISK, "{held} bytes held, {spent} spent of {DISK}");
}

/// Every byte that is written is paid for, rewriting too: the quota holds at N and not at N + 1.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn disk_write() {
    let end = small_disk(hostile::DISK_WRITE).run().await;
    went_through(&end, "all of it");
    for step in ["one more", "one appended", "rewritten in place", "evidence"] {
        refused(&end, step);
    }
    within_quota(&end);
    assert_eq!(end.record.ledger.attempt.spent.get(Line::DiskBytes), DISK);
}

/// Growing a file without writing is paid for as if it were written.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn disk_set_len() {
    let end = small_disk(hostile::DISK_SET_LEN).run().await;
    went_through(&end, "the cap");
    went_through(&end, "shrunk");
    for step in ["to the most there is", "one more than the cap", "one more", "and again", "another file"] {
        refused(&end, step);
    }
    within_quota(&end);
}

/// A hole is paid for as if it were written.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn disk_hole() {
    let end = small_disk(hostile::DISK_HOLE).run().await;
    for step in ["far", "one past the cap", "raw far", "raw one past", "stream far", "stream far again", "one more"] {
        refused(&end, step);
    }
    went_through(&end, "stream at 0");
    went_through(&end, "exactly the cap");
    within_quota(&end);
    assert_eq!(end.record.ledger.attempt.spent.get(Line::DiskBytes), DISK);
}

/// No way of writing that WASI has is free.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn disk_raw() {
    let end = small_disk(hostile::DISK_RAW).run().await;
    went_through(&end, "write");
    for step in ["write one", "zeroes", "splice", "without a flush"] {
        refused(&end, step);
    }
    within_quota(&end);
}

/// `[caps] files` holds at N and not at N + 1, and deleting gives nothing back.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn file_count() {
    let end = Bench::new(hostile::FILE_COUNT).set("caps", "files = 20").set("task", &input("cap", 20)).run().await;
    end.expect("accepted");
    for step in ["one file more", "one directory more", "one again"] {
        refused(&end, step);
    }
    went_through(&end, "an old one");
    assert_eq!(names(kept_dir(&end).join("work")), ["made"]);
    assert_eq!(names(kept_dir(&end).join("work/made")).len(), 18);
}

/// A guest without a handle left is stopped, and its host has no more open for it than the cap.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn handles() {
    let end = Bench::new(hostile::HANDLES).file("a.txt", "a").set("caps", "handles = 100").run().await;
    end.expect("trapped");
    let opened = end.notes().len();
    assert!((50..100).contains(&opened), "{opened}");
}

/// All listings of a guest together are bounded, not only each one.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn listings() {
    let end = Bench::new(hostile::LISTINGS)
        .set("task", "inputs = { files = \"2000\", streams = \"500\" }")
        .no_apply()
        .run()
        .await;
    let max = jidoka::run::files::MAX_LISTED as u64;
    let held = end.notes().into_iter().find_map(|note| note.strip_prefix("held ")).unwrap().parse::<u64>().unwrap();
    assert!(held <= max, "the host held {held} entries of listings for one guest");
    refused(&end, "refused");
    assert_eq!(held, max);
}

/// `[caps] memory` holds at N and not at N + 1, and the guest does not live to see it.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn memory() {
    const PAGES: u64 = 100;
    let bench = |pages: u64| {
        Bench::new(hostile::MEMORY)
            .set("caps", &format!("memory = \"{}KiB\"", PAGES * 64))
            .set("task", &input("pages", pages))
    };
    let end = bench(PAGES).run().await;
    end.expect("no-progress");
    assert_eq!(end.notes(), ["grew to 100"]);
    let end = bench(PAGES + 1).run().await;
    end.expect("trapped");
    assert!(end.record.why.contains("past a cap") && end.record.why.contains("[caps] memory"), "{}", end.record.why);
    assert!(end.notes().is_empty());
}

/// A guest that only ever allocates is stopped at its cap.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn memory_heap() {
    let end = Bench::new(hostile::MEMORY_HEAP).set("caps", "memory = \"8MiB\"").run().await;
    end.expect("trapped");
    assert!(end.record.why.contains("[caps] memory"), "{}", end.record.why);
}

/// A guest that uses up its stack is stopped, not its host.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn recursion() {
    for (stack, trap) in [("memory", "out of bounds memory access"), ("machine", "call stack exhausted")] {
        let end = Bench::new(hostile::RECURSION).set("task", &input("stack", stack)).run().await;
        end.expect("trapped");
        assert!(end.record.why.contains(trap), "{}", end.record.why);
    }
}

/// The host allocates what it may, not what a guest asks for.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn zeroes() {
    for (how, verdict) in [("zeroes", "trapped"), ("random", "trapped"), ("ours", "no-progress")] {
        let end = Bench::new(hostile::ZEROES).file("a.txt", "abc").set("task", &input("how", how)).run().await;
        end.expect(verdict);
        assert_eq!(told(&end, "read"), "got 3");
        assert_eq!(told(&end, "read stream"), "got 3");
        if how == "ours" {
            refused(&end, "ours");
        }
    }
}

/// A full disk quota loses nothing: the tree is kept as far as it came.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_before_the_quota_is_kept() {
    let end = small_disk(hostile::DISK_SET_LEN).no_apply().run().await;
    assert!(fs::exists(kept_dir(&end).join("work/sparse")).unwrap());
    assert!(names(end.home.workspace()).is_empty());
}
