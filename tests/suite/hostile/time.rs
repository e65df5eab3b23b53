//! Attacks on time: guests that spin, sleep or wait past their deadline.

use std::time::Duration;

use jidoka_tests::hostile;

use super::*;

/// How late a run may end in a test: the machine is shared with other tests, the benchmark measures the real bound.
const LATE: Duration = Duration::from_secs(20);

/// Fails unless the run ended by its clock, and not long after.
#[track_caller]
fn out_of(end: &End, line: &str, after: Duration) {
    end.expect("exhausted");
    assert_eq!(end.record.detail["line"], line);
    assert!(end.took >= after && end.took < after + LATE, "took {:?}", end.took);
}

/// A job whose wall clock is what ends it: its other clocks are far away.
fn wall(guest: &str) -> Bench {
    Bench::new(guest).set("budget", "cpu = \"20s\"").set("budget", "work = \"20s\"").wall("200ms")
}

const WALL: Duration = Duration::from_millis(200);

/// A guest that spins is stopped.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn spin() {
    out_of(&wall(hostile::SPIN).run().await, "wall-ms", WALL);
}

/// Processor time is a limit of its own, far below the wall's.
#[tokio::test(flavor = "multi_thread")]
async fn spinning_uses_up_the_processor_time() {
    let end = Bench::new(hostile::SPIN).set("budget", "cpu = \"50ms\"").run().await;
    out_of(&end, "cpu-ms", Duration::from_millis(50));
}

/// A guest that spins before its function is called is stopped as well.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn spin_at_start() {
    out_of(&wall(hostile::SPIN_AT_START).run().await, "wall-ms", WALL);
}

/// Host calls that are always ready do not keep a guest from being stopped.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn spin_in_calls() {
    out_of(&wall(hostile::SPIN_IN_CALLS).run().await, "wall-ms", WALL);
}

/// A guest that sleeps in WASI is stopped in its sleep.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn sleep_wasi() {
    out_of(&wall(hostile::SLEEP_WASI).run().await, "wall-ms", WALL);
}

/// An alarm at the end of time is no trouble, nor are a hundred of them.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn poll_for_ever() {
    out_of(&wall(hostile::POLL_FOR_EVER).run().await, "wall-ms", WALL);
}

/// A sleep that cannot end before the run is refused at once; one that can is cut off by the deadline.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn sleep_ours() {
    let end = wall(hostile::SLEEP_OURS).set("task", &input("wall", WALL.as_millis())).run().await;
    out_of(&end, "wall-ms", WALL);
    refused(&end, "for ever");
    refused(&end, "one too long");
    went_through(&end, "short");
}
