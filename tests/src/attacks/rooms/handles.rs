//! Attacks on what a guest may hold of the host: handles, listings, files, the bytes of its disk.

use super::super::seen::{got, no, noted, that};
use super::super::{Attack, Family, Scene, row};
use crate::hostile;

/// More at once than `[caps] handles`, and fewer.
fn hold(name: &'static str, tries: &'static str, what: &'static str) -> Attack {
    let so_many = |count: u64| {
        move |scene: &Scene| {
            let inputs = format!("inputs = {{ what = {what:?}, count = \"{count}\" }}");
            scene.guest(hostile::HOLD).set("caps", "handles = 100").set("task", &inputs)
        }
    };
    row(Family::Handles, name, tries)
        .attack(so_many(101), "trapped", that("it never holds them", |end| end.notes().is_empty()))
        .control(so_many(30), "no-progress", noted("held 30"))
}

const DISK: u64 = 64 << 10;

/// A guest that goes for its whole disk and one byte more; with more disk, that byte is granted.
fn disk(name: &'static str, tries: &'static str, guest: &'static str, last: &'static str) -> Attack {
    let with = |disk: &'static str| {
        move |scene: &Scene| {
            let cap = format!("inputs = {{ cap = \"{DISK}\" }}");
            scene.guest(guest).set("budget", disk).set("task", &cap).no_apply()
        }
    };
    row(Family::Handles, name, tries)
        .attack(
            with("disk = \"64KiB\""),
            "accepted",
            no(last).and(that("no byte above its disk", |end| {
                let spent = end.record.ledger.attempt.spent.get(jidoka::rules::ledger::Line::DiskBytes);
                let work = end.home.state().join(&end.record.kept).join("work");
                let held: u64 = std::fs::read_dir(work)
                    .expect("is kept")
                    .map(|entry| entry.expect("can be read").metadata().expect("is there"))
                    .filter(std::fs::Metadata::is_file)
                    .map(|data| data.len())
                    .sum();
                // What the project brought along is not the guest's.
                spent <= DISK && held <= DISK + 64
            })),
        )
        .control(with("disk = \"64MiB\""), "accepted", got(last))
}

pub(super) fn attacks() -> Vec<Attack> {
    let files = |cap: u64| {
        move |scene: &Scene| {
            let bench = scene.guest(hostile::FILE_COUNT).set("caps", "files = 20");
            bench.set("task", &format!("inputs = {{ cap = \"{cap}\" }}"))
        }
    };
    let listings = |streams: u64| {
        move |scene: &Scene| {
            let inputs = format!("inputs = {{ files = \"2000\", streams = \"{streams}\" }}");
            scene.guest(hostile::LISTINGS).set("task", &inputs).no_apply()
        }
    };
    vec![
        hold("open-files", "holds more open files than it has handles", "files"),
        hold("open-streams", "holds more streams of one file than it has handles", "streams"),
        hold("open-listings", "holds more listings than it has handles", "listings"),
        hold("open-alarms", "waits for more alarms than it has handles", "alarms"),
        hold("open-outputs", "holds its own output more often than it has handles", "outputs"),
        row(Family::Handles, "open-for-ever", "opens files until something gives way")
            .attack(
                |scene| scene.guest(hostile::HANDLES).set("caps", "handles = 100"),
                "trapped",
                that("fewer than its handles", |end| (50..100).contains(&end.notes().len())),
            )
            .control(
                |scene| {
                    let inputs = "inputs = { what = \"files\", count = \"50\" }";
                    scene.guest(hostile::HOLD).set("caps", "handles = 100").set("task", inputs)
                },
                "no-progress",
                noted("held 50"),
            ),
        row(Family::Handles, "large-listings", "has the host hold a large directory, many times at once")
            .attack(listings(60), "accepted", no("refused"))
            .control(listings(40), "accepted", that("all are held", |end| end.notes().contains(&"held 80000"))),
        row(Family::Handles, "one-file-more", "makes one file more than its cap")
            .attack(files(20), "accepted", no("one file more").and(no("one directory more")).and(no("one again")))
            .control(files(10), "accepted", got("one file more").and(got("one directory more"))),
        disk("one-byte-more", "writes one byte more than its disk has", hostile::DISK_WRITE, "one more"),
        disk("one-byte-longer", "grows a file without writing to it", hostile::DISK_SET_LEN, "one more"),
        disk("one-hole-more", "writes behind a hole", hostile::DISK_HOLE, "raw one past"),
        disk("zeroes-for-free", "writes through calls that carry no bytes", hostile::DISK_RAW, "zeroes"),
        disk("splice-for-free", "has the host copy from one of its files to another", hostile::DISK_RAW, "splice"),
    ]
}
