//! What a guest senses follows from its component, its seed and its journal: a guest that looks everywhere finds the
//! same in two runs, to the byte, on every way out that it has.
//!
//! The journal's times are the host's, and move the guest's clock. So that two live runs have the same journal, tokio's
//! clock stands still here and moves only when everybody waits. The books are in memory for that reason: the thread that
//! writes a file works while the clock believes that everybody waits. Nothing else of a run is replaced.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

use jidoka::doors::store::MemoryStore;
use jidoka::rules::effect::{Body, Effect, Entry, Stream};
use jidoka::rules::spec::Wall;
use jidoka::run::files::streams::PERMIT_BYTES;
use jidoka_tests::bench::{Bench, End};
use jidoka_tests::hostile;

/// The probe, in surroundings of which it may see all.
pub(super) fn job(seed: u64) -> Bench {
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
        | Body::Within { .. }
        | Body::Retried { .. }
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
    // A clock that jumps whenever this process waits does not wait for another one.
    told(&job(seed).behind(Wall::None).books(Arc::new(MemoryStore::default())).run().await)
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

/// Nothing of a write is on its way when the call returns: whoever looks next sees all of it, by whichever way, and two
/// streams of one file take turns as their calls do.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn streams() {
    let job = |bytes: usize| Bench::new(hostile::STREAMS).set("task", &format!("inputs = {{ bytes = \"{bytes}\" }}"));
    let end = job(PERMIT_BYTES).run().await;
    end.expect("accepted");
    let seen = [
        "seen: [(4096, 64096)]",
        "appended: \"a0b0a1b1a2b2a3b3\"",
        "appended after a cut: \"a0!end?\"",
        "placed: \"aabbdc\"",
        "read: (Ok([97, 98, 98]), Ok([]), Ok(1), Ok([101]), Err(\"closed\"))",
        "read past the end: (Err(\"closed\"), Err(\"closed\"), Err(\"closed\"))",
        "read at once: [Ok(64096), Ok(0), Err(\"closed\")]",
        "spliced: ([Ok(1000), Ok(63096), Err(\"closed\")], 64096)",
        "not open for writing: ((Ok(()), Err(\"failed\"), Err(\"closed\")), Err(\"closed\"))",
        "not open for writing: ((Ok(()), Err(\"failed\"), Err(\"closed\")), Err(\"closed\"))",
        "not open for reading: (Err(\"failed\"), Err(\"closed\"))",
        "from nowhere: (Err(\"failed\"), Err(\"closed\"))",
        "of a directory: [Some(\"is-directory\"), Some(\"bad-descriptor\"), Some(\"bad-descriptor\")]",
        "permit: Ok(65536)",
        "large: 65536",
    ];
    assert_eq!(end.notes(), seen);

    let end = job(PERMIT_BYTES + 1).run().await;
    end.expect("trapped");
    assert_eq!(end.notes(), seen[..seen.len() - 1]);
}

/// That the host's disk fails is no error code for a guest, which no replay could repeat: it ends the run. The test runs
/// itself again, in a process in which no file may grow past a bound: there a write fails as on a full disk.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn disk_full() {
    const ROOM_KIB: usize = 1 << 10;
    if std::env::var_os("JIDOKA_TEST_SMALL_FILES").is_none() {
        let script = format!("trap '' XFSZ; ulimit -f {ROOM_KIB}; exec \"$0\" \"$@\"");
        let mut again = Command::new("bash");
        again.args(["-c", &script]).arg(std::env::current_exe().unwrap()).args(["--exact", "determinism::disk_full"]);
        let output = tokio::task::block_in_place(|| again.env("JIDOKA_TEST_SMALL_FILES", "").output().unwrap());
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    for way in ["write", "grow", "stream", "append"] {
        let job = |bytes: usize| {
            let inputs = format!("inputs = {{ way = {way:?}, bytes = \"{bytes}\" }}");
            Bench::new(hostile::DISK_FULL).set("task", &inputs).run()
        };
        job(ROOM_KIB << 10).await.expect("accepted");
        let end = job((ROOM_KIB << 10) + 1).await;
        end.expect("fault");
        assert_eq!(end.notes(), [] as [&str; 0], "{way}: the guest heard of it");
        assert!(end.record.why.contains("the host's disk"), "{way}: {}", end.record.why);
    }
}
