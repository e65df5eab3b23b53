//! What a guest senses follows from its component, its seed and its journal: a guest that looks everywhere finds the
//! same in two runs, to the byte, on every way out that it has.
//!
//! The journal's times are the host's, and move the guest's clock. So that two live runs have the same journal, tokio's
//! clock stands still here and moves only when everybody waits. The books are in memory for that reason: the thread that
//! writes a file works while the clock believes that everybody waits. Nothing else of a run is replaced.

use std::collections::BTreeSet;
use std::sync::Arc;

use jidoka::doors::store::MemoryStore;
use jidoka::rules::effect::{Body, Effect, Entry, Stream};
use jidoka_tests::bench::{Bench, End};
use jidoka_tests::hostile;

/// The probe, in surroundings of which it may see all.
fn job(seed: u64) -> Bench {
    Bench::new(hostile::PROBE)
        .set("", &format!("seed = {seed}"))
        .set("worker", "env = { ONLY = \"this\" }")
        .set("worker", "args = [\"one\", \"two\"]")
        .item("probe")
        .file("old", "from before")
        .file("deep/er", "than that")
        .script("[[turn]]\nrepeat = true\ntext = \"heard\"")
}

/// What the guest said, by the way it took.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    noted: String,
    asked: String,
    printed: String,
    reported: String,
    /// Everything of the guest's in the journal, with its times.
    entries: Vec<Entry>,
}

fn told(end: &End) -> Told {
    end.expect("accepted");
    let of_guest = |entry: &&Entry| match entry.body {
        Body::Noted { .. } | Body::Printed { .. } | Body::Intent { .. } | Body::Refused { .. } => true,
        Body::Opened { .. }
        | Body::Answered { .. }
        | Body::Full { .. }
        | Body::Marked { .. }
        | Body::Resumed { .. }
        | Body::Stopped { .. }
        | Body::Ended { .. }
        | Body::Checked { .. }
        | Body::Checking { .. }
        | Body::Applying { .. }
        | Body::Closed { .. } => false,
    };
    let find = |what: &dyn Fn(&Body) -> Option<String>| {
        end.entries.iter().find_map(|entry| what(&entry.body)).expect("the probe takes every way out")
    };
    Told {
        noted: end.notes().join("\n"),
        asked: find(&|body| match body {
            Body::Intent { effect: Effect::Model { request }, .. } => Some(request.messages[0].content.clone()),
            _ => None,
        }),
        printed: find(&|body| match body {
            Body::Printed { stream: Stream::Stdout, text, dropped_bytes: 0 } => Some(text.clone()),
            _ => None,
        }),
        reported: end.summary().to_owned(),
        entries: end.entries.iter().filter(of_guest).cloned().collect(),
    }
}

/// Runs the probe with a clock that stands still while anybody works.
async fn probed(seed: u64) -> Told {
    told(&job(seed).books(Arc::new(MemoryStore::default())).run().await)
}

/// The names of the lines.
fn names(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(|line| line.split(':').next().unwrap().to_owned())
}

/// The names of lines that differ; fails if the lines do not have the same names.
#[track_caller]
fn differing(one: &str, other: &str) -> BTreeSet<String> {
    assert!(names(one).eq(names(other)), "{one}\n{other}");
    let pairs = names(one).zip(one.lines().zip(other.lines()));
    pairs.filter(|(_, (one, other))| one != other).map(|(name, _)| name).collect()
}

/// Two runs with the same seed and the same times are the same to the byte; another seed changes what is chance, and
/// nothing else.
#[tokio::test(start_paused = true)]
pub(super) async fn probe() {
    let (first, again, other) = (probed(7).await, probed(7).await, probed(8).await);
    assert_eq!(first, again);
    assert!(first.printed.starts_with(&first.asked), "the model heard what was printed until then");
    assert!(first.noted.starts_with(first.asked.trim_end()));

    let chance: BTreeSet<String> = names(&first.noted).filter(|name| name.starts_with("chance")).collect();
    assert_eq!(chance.len(), 6);
    assert_eq!(differing(&first.noted, &other.noted), chance);
}

/// On a machine's own clock, with the books on disk and a neighbour that spins, only readings of the clock differ: they
/// follow from the times of entries, and a replay has those from the journal. What is ready, and in which order, is the
/// same, and so is the time between two waits.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_clock_that_goes_only_its_readings_differ() {
    let spinning = tokio::spawn(Bench::new(hostile::SPIN).wall("20s").set("budget", "cpu = \"20s\"").run());
    let (first, again) = (told(&job(7).run().await), told(&job(7).run().await));
    spinning.abort();
    let unequal: Vec<String> =
        differing(&first.noted, &again.noted).into_iter().filter(|name| !name.starts_with("clock")).collect();
    assert_eq!(unequal, [] as [&str; 0]);
    for line in [
        "ready: [false, true, false, false, false, true]",
        "of all: [1, 5]",
        "went off: [([2], 3001000), ([4], 6001000), ([0], 9001000)]",
        "ready after: [true, true, true, false, true, true]",
    ] {
        assert!(first.noted.lines().any(|noted| noted == line), "no line {line:?} in {}", first.noted);
    }
}
