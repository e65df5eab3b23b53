//! What an attack costs those around it: resident memory of the host, and the time of innocent runs beside it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Attack, Fate, Scene, Wall};
use crate::bench::{Bench, Home};
use crate::plain;

/// Innocent runs at once.
pub const INNOCENTS: usize = 8;

/// How much slower an innocent may become by its neighbour.
pub const SLOWEST: f64 = 2.0;

/// Below this much more, a run was not slowed down: on two shared cores a run that waits for a disk varies by as much.
pub const FLOOR: Duration = Duration::from_millis(250);

/// Resident memory of this process.
fn kib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("every process has it");
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("a number of KiB")
}

/// The peak of resident memory since it was made.
pub struct Peak {
    before_kib: u64,
}

impl Peak {
    /// Forgets earlier peaks.
    pub fn reset() -> Self {
        fs::write("/proc/self/clear_refs", "5").expect("one's own peak can be reset");
        Self { before_kib: kib("VmRSS") }
    }

    /// Bytes by which memory grew at most.
    pub fn growth_bytes(&self) -> u64 {
        kib("VmHWM").saturating_sub(self.before_kib) << 10
    }
}

/// What came of innocent runs.
#[derive(Default)]
pub struct Innocents {
    took: Vec<Duration>,
    /// Verdicts other than theirs.
    pub wrong: Vec<String>,
}

impl Innocents {
    /// The median time of one.
    pub fn median(&self) -> Duration {
        let mut took = self.took.clone();
        took.sort();
        took.get(took.len() / 2).copied().unwrap_or_default()
    }

    fn add(&mut self, other: Innocents) {
        self.took.extend(other.took);
        self.wrong.extend(other.wrong);
    }
}

/// Honest work: a file, a model, a wait, a look.
fn innocent() -> Bench {
    Bench::new(plain::SCRIPT)
        .at(&Home::new())
        .wall("120s")
        .set("task", "text = \"write b.txt better\\nask hello\\nsleep 20\\ncheck-in look\\ndone ready\"")
        .file("b.txt", "two")
        .script("[[turn]]\nrepeat = true\ntext = \"hello\"")
}

/// Eight at once, again and again until `done`, and each at least once.
async fn innocents(done: Arc<AtomicBool>, wall: Wall) -> Innocents {
    let one = |done: Arc<AtomicBool>| async move {
        let mut innocents = Innocents::default();
        loop {
            let bench = wall.around(innocent());
            let started = Instant::now();
            let end = bench.run().await;
            innocents.took.push(started.elapsed());
            if end.record.verdict != "accepted" {
                innocents.wrong.push(format!("{}: {}", end.record.verdict, end.record.why));
            }
            if done.load(Ordering::Relaxed) {
                return innocents;
            }
        }
    };
    let tasks: Vec<_> = (0..INNOCENTS).map(|_| tokio::spawn(one(Arc::clone(&done)))).collect();
    let mut all = Innocents::default();
    for task in tasks {
        all.add(task.await.expect("an innocent run ends"));
    }
    all
}

/// Innocents without a neighbour.
pub async fn alone(wall: Wall) -> Innocents {
    innocents(Arc::new(AtomicBool::new(true)), wall).await
}

/// An attack with innocents beside it.
pub async fn beside(attack: &Attack, wall: Wall) -> (Fate, Innocents) {
    let ready = attack.ready(&Scene::new(), wall).await;
    let done = Arc::new(AtomicBool::new(false));
    let neighbours = tokio::spawn(innocents(Arc::clone(&done), wall));
    let fate = ready.run().await;
    done.store(true, Ordering::Relaxed);
    (fate, neighbours.await.expect("innocent runs end"))
}

/// An attack without a neighbour, and what the host's memory grew by.
pub async fn by_itself(attack: &Attack, wall: Wall) -> (Fate, u64) {
    let ready = attack.ready(&Scene::new(), wall).await;
    let peak = Peak::reset();
    let fate = ready.run().await;
    (fate, peak.growth_bytes())
}

/// How much slower innocents were than alone. Less than [`FLOOR`] more is not slower.
pub fn slowdown(beside: &Innocents, alone: &Innocents) -> f64 {
    let (beside, alone) = (beside.median(), alone.median());
    beside.as_secs_f64() / alone.as_secs_f64().max(0.001)
}

/// Whether innocents were slower than they may be.
pub fn is_disturbed(beside: &Innocents, alone: &Innocents) -> bool {
    slowdown(beside, alone) > SLOWEST && beside.median() > alone.median() + FLOOR
}
