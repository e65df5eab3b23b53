//! What an attack costs those around it: resident memory of the host, and the time of innocent runs beside it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

/// How often the processes of cells are looked at.
const LOOK: Duration = Duration::from_millis(1);

/// A number of KiB that Linux tells of a process; `None` if it is gone.
fn kib_of(process: &str, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().ok()
}

/// The same of this process.
fn kib(field: &str) -> u64 {
    kib_of("self", field).expect("every process has it")
}

/// The largest of this process's children has held so much, in KiB.
fn children_kib() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let peaks =
        lists.flat_map(|list| list.split_whitespace().filter_map(|child| kib_of(child, "VmHWM")).collect::<Vec<_>>());
    peaks.max().unwrap_or(0)
}

/// Looks at this process's children until it is dropped.
struct Watch {
    largest_kib: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Watch {
    fn new() -> Self {
        let (largest_kib, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let watch = Self { largest_kib: Arc::clone(&largest_kib), is_over: Arc::clone(&is_over) };
        std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                largest_kib.fetch_max(children_kib(), Ordering::Relaxed);
                std::thread::park_timeout(LOOK);
            }
        });
        watch
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// The peak of resident memory since it was made.
pub struct Peak {
    before_kib: u64,
    cells: Watch,
}

impl Peak {
    /// Forgets earlier peaks.
    pub fn reset() -> Self {
        fs::write("/proc/self/clear_refs", "5").expect("one's own peak can be reset");
        Self { before_kib: kib("VmRSS"), cells: Watch::new() }
    }

    /// Bytes by which memory grew at most.
    pub fn growth_bytes(&self) -> u64 {
        kib("VmHWM").saturating_sub(self.before_kib) << 10
    }

    /// Bytes that the largest process of the host's own held, as far as it lived for longer than a look.
    pub fn cell_bytes(&self) -> u64 {
        self.cells.largest_kib.load(Ordering::Relaxed) << 10
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

/// An attack without a neighbour, and what the memory of the host and of the guest's process grew by.
pub async fn by_itself(attack: &Attack, wall: Wall) -> (Fate, u64) {
    let ready = attack.ready(&Scene::new(), wall).await;
    let peak = Peak::reset();
    let fate = ready.run().await;
    let cell_bytes = match wall {
        Wall::None => 0,
        Wall::Process => peak.cell_bytes(),
    };
    (fate, peak.growth_bytes() + cell_bytes)
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
