//! Probes of time: a guest that can measure can tell what its neighbours do, and no replay would be exact.

use super::super::seen::{got, noted, seen, that};
use super::super::{Attack, Family, Scene, Seen, row};
use super::filesystem::reach;
use crate::bench::{Bench, End};
use crate::by_hand::worker;
use crate::hostile;

fn measure(scene: &Scene, rounds: u64, sleep_ms: u64) -> Bench {
    let inputs = format!("inputs = {{ rounds = \"{rounds}\", sleep = \"{sleep_ms}\" }}");
    scene.guest(hostile::STOPWATCH).set("task", &inputs)
}

fn reading(end: &End, clock: &str) -> Option<u64> {
    end.notes().into_iter().find_map(|note| note.strip_prefix(clock)?.trim().parse().ok())
}

/// A reading in nanoseconds, or milliseconds of our own clock.
fn between(clock: &'static str, least: u64, most: u64) -> Seen {
    seen(&format!("{clock} moved by {least} to {most}"), move |end, _| match reading(end, clock) {
        Some(moved) if (least..=most).contains(&moved) => Ok(()),
        moved => Err(format!("{clock} moved by {moved:?}")),
    })
}

/// Ten million rounds of work take no time by this clock, and a sleep of 20 ms does.
fn stopwatch(name: &'static str, clock: &'static str, unit: u64) -> Attack {
    row(Family::Clocks, name, "measures its own work with a clock")
        .attack(|scene| measure(scene, 10_000_000, 0), "no-progress", between(clock, 0, 100_000 / unit))
        .control(|scene| measure(scene, 0, 20), "no-progress", between(clock, 20_000_000 / unit, u64::MAX))
}

pub(super) fn attacks() -> Vec<Attack> {
    let shared = |kind: &str| {
        let inside = format!("(core module $x (memory 1 1 {kind})) (core instance (instantiate $x))");
        move |scene: &Scene| scene.bytes(worker(&inside, "", ""))
    };
    vec![
        stopwatch("measure-with-instants", "monotonic", 1),
        stopwatch("measure-with-dates", "wall", 1),
        stopwatch("measure-with-raw-calls", "raw", 1),
        stopwatch("measure-with-our-clock", "ours", 1_000_000),
        row(Family::Clocks, "shared-counter", "builds a clock from a memory that two threads share")
            .attack(shared("shared"), "not-admitted", super::super::seen::never_ran("thread"))
            .control(shared(""), "no-progress", super::super::seen::verdict_alone("its own memory is admitted")),
        row(Family::Clocks, "file-times", "reads the host's clock from the times of files")
            .attack(|scene| scene.guest(hostile::TIMES), "accepted", noted("distinct times 1").and(noted("links {1}")))
            .control(
                |scene| reach(scene, "stat", "a.txt"),
                "no-progress",
                super::super::seen::got_this("reached", "\"6\""),
            ),
        row(Family::Clocks, "set-file-times", "sets a file's time to now, and reads it back")
            .attack(
                |scene| reach(scene, "times", "a.txt"),
                "no-progress",
                that("nothing changed", |end| end.record.changes.is_empty()),
            )
            .control(|scene| reach(scene, "write", "a.txt"), "accepted", got("reached")),
        row(Family::Clocks, "directory-order", "tells machines apart by the order of a directory")
            .attack(|scene| scene.guest(hostile::TIMES), "accepted", noted("names a,a.txt,b,dir,k,m,src,z"))
            .control(|scene| reach(scene, "list", "."), "no-progress", got("reached")),
    ]
}
