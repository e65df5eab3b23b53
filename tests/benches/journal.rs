//! What the journal costs, in one process and one go: `cargo bench --bench journal`. With `--smoke` each figure is taken
//! from a few rounds, to see that it can be.
//!
//! Ratios are the point; absolute rates are this machine's, at this hour.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jidoka::doors::chain::{Key, Sealer};
use jidoka::doors::clock::Clock;
use jidoka::doors::model::{Call, Model, Received};
use jidoka::doors::rates::RateNews;
use jidoka::doors::store::{Durability, Store};
use jidoka::rules::effect::{Answer, Body, Cost, Effect, Kind, Level};
use jidoka::rules::ledger::Amounts;
use jidoka::rules::model::{Message, Metered, Reply, Request, Role, Stop as ModelStop, Usage};
use jidoka::rules::verdict::Stop;
use jidoka::run::journal::{Beginning, Journal};
use jidoka::run::senses::VirtualClock;
use jidoka_tests::bench::{self, Bench, Home};
use jidoka_tests::plain;

/// What an entry of the first figures says.
const NOTE_BYTES: usize = 400;

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--smoke");
    let time = if smoke { Duration::from_millis(50) } else { Duration::from_secs(4) };
    println!("{:<70} {:>14}", "what", "figure");
    chat();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for (disk, commit) in [("on this disk", None), ("on a disk that needs 4 ms", Some(Duration::from_millis(4)))] {
            let dir = tempfile::tempdir().expect("a directory");
            let store = bench::slow_store(dir.path(), commit);
            let mut single = None;
            for runs in [1, 8, 64] {
                let rate = appended(Arc::clone(&store) as Arc<dyn Store>, runs, time).await;
                println!("{:<70} {rate:>14.0}", format!("durable entries/s {disk}, {runs} runs at once"));
                println!("{:<70} {:>13.1}x", "  to one run", rate / *single.get_or_insert(rate));
            }
        }
        told_again(if smoke { 20 } else { 4_000 }).await;
        resumed(if smoke { 20 } else { 1_000 }).await;
    });
    runtime.shutdown_background();
}

/// Durable entries per second of so many runs at once, each with a journal of its own.
async fn appended(store: Arc<dyn Store>, runs: usize, time: Duration) -> f64 {
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..runs {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let (clock, time_of_run) = (Clock::starting_at(0), Arc::new(VirtualClock::starting_at_ms(0)));
            let beginning = Beginning::blank(Key::from_bytes([7; 32]));
            let journal = Journal::new(store, &bench::fresh_serial(), clock, time_of_run, None, beginning);
            let mut entries: u32 = 0;
            while started.elapsed() < time {
                let note = Body::Noted { level: Level::Info, message: "x".repeat(NOTE_BYTES), fields: vec![] };
                journal.append(note, Durability::Durable).await.expect("kept");
                entries += 1;
            }
            entries
        });
    }
    let mut entries = 0;
    while let Some(done) = tasks.join_next().await {
        entries += done.expect("no panic");
    }
    f64::from(entries) / started.elapsed().as_secs_f64()
}

/// What a chat of 100 calls costs whose history grows to 200,000 tokens of four bytes, beside its final history.
fn chat() {
    const CALLS: u64 = 100;
    const HISTORY_BYTES: usize = 800_000;
    let text =
        |what: &str, number: u64| format!("{what} {number} {}", "w".repeat(HISTORY_BYTES / (2 * CALLS as usize)));
    let message = |role, content: String| Message::new(role, content);
    let mut sealer = Sealer::new(Key::from_bytes([7; 32]));
    let (mut messages, mut bytes) = (Vec::new(), 0);
    for call in 1..=CALLS {
        messages.push(message(Role::User, text("question", call)));
        let request = Request {
            model: "chat".into(),
            messages: messages.clone(),
            tools: vec![],
            max_output: 4_096,
            min_output: 1,
            schema: None,
        };
        let effect = Effect::Model { request };
        let intent =
            Body::Intent { call, attempt: 1, effect, max_output: None, sent: None, reserved: Amounts::default() };
        bytes += sealer.seal(0, intent).bytes();
        let reply = Reply::new(text("answer", call), vec![], ModelStop::End);
        messages.push(message(Role::Assistant, reply.text.clone()));
        let usage = Usage::of(1, 1);
        let heard = Ok(Answer::Model { reply, usage, micro_usd: 1 });
        bytes += sealer
            .seal(0, Body::Answered { call, kind: Kind::Model, heard, cost: Cost::default(), tree: None })
            .bytes();
    }
    let history: usize = messages.iter().map(|message| message.content.len()).sum();
    println!("{:<70} {bytes:>14}", format!("bytes kept of a chat of {CALLS} calls, history {history}"));
    println!("{:<70} {:>13.2}x", "  to its final history", bytes as f64 / history as f64);
}

/// A provider that answers at once, up to a call that it never answers.
struct Prompt {
    asked: AtomicU64,
    silent_from: u64,
    /// When it was asked last.
    last: Mutex<Option<Instant>>,
}

impl Prompt {
    fn until(silent_from: u64) -> Arc<Self> {
        Arc::new(Self { asked: AtomicU64::new(0), silent_from, last: Mutex::default() })
    }
}

#[async_trait]
impl Model for Prompt {
    fn request_bytes(&self, _: &Request) -> u64 {
        0
    }

    fn uses_network(&self) -> bool {
        false
    }

    async fn ask(&self, _: &Call) -> Received {
        *self.last.lock().expect("nobody panicked") = Some(Instant::now());
        if self.asked.fetch_add(1, Ordering::Relaxed) + 1 >= self.silent_from {
            std::future::pending::<()>().await;
        }
        let reply = Reply::new("y".repeat(200), vec![], ModelStop::End);
        Received {
            result: Ok(reply),
            metered: Metered::Exact(Usage::of(1, 1)),
            net_bytes: 0,
            raw_usage: None,
            rates: RateNews::default(),
        }
    }
}

/// A run of so many single calls.
fn asking(calls: u64, model: Arc<dyn Model>) -> Bench {
    let lines: Vec<String> = (0..calls).map(|number| format!("ask q{number}")).collect();
    let text = format!("{}\\nwrite a x\\ndone ready", lines.join("\\n"));
    Bench::new(plain::SCRIPT)
        .model(model)
        .set("task", &format!("text = \"{text}\""))
        .set("budget", "model-calls = 100000")
        .set("budget", "tokens = 100000000")
        .set("budget", "usd = \"1000\"")
        .set("caps", "log = \"16MiB\"")
        .wall("10m")
        .item("bench")
}

/// Recorded effects that are told again per second, the start and the end of the replay included.
async fn told_again(calls: u64) {
    let end = asking(calls, Prompt::until(u64::MAX)).run().await;
    end.expect("accepted");
    let runner = bench::runner(&end.home.state());
    let mut best = Duration::MAX;
    let mut effects = 0;
    for _ in 0..3 {
        let started = Instant::now();
        let replayed = bench::replay(&runner, &end.record.serial, None).await;
        best = best.min(started.elapsed());
        assert_eq!(replayed.divergence, None);
        effects = replayed.effects;
    }
    let rate = effects as f64 / best.as_secs_f64();
    println!("{:<70} {rate:>14.0}", format!("recorded effects/s told again, a run of {effects} (and as many notes)"));
    println!("{:<70} {:>13.1}x", "  to the run itself", end.took.as_secs_f64() / best.as_secs_f64());
}

/// From asking for a resume to the first call that goes out.
async fn resumed(calls: u64) {
    let home = Home::new();
    let model = Prompt::until(calls + 1);
    let stopped = asking(calls + 1, Arc::clone(&model) as Arc<dyn Model>).at(&home);
    let watched = Arc::clone(&model);
    let stopped = stopped
        .run_with(|cord| {
            tokio::spawn(async move {
                while watched.asked.load(Ordering::Relaxed) <= calls {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                cord.pull(Stop::Cancelled);
            });
        })
        .await;
    stopped.expect("cancelled");
    let model = Prompt::until(u64::MAX);
    let started = Instant::now();
    let end = asking(calls + 1, Arc::clone(&model) as Arc<dyn Model>).at(&home).resume(&stopped.record.serial).await;
    end.expect("accepted");
    let first = model.last.lock().expect("nobody panicked").expect("it was asked");
    assert_eq!(model.asked.load(Ordering::Relaxed), 1, "what has an answer is not asked again");
    let took = first.duration_since(started).as_secs_f64() * 1e3;
    println!("{:<70} {took:>11.1} ms", format!("a run of {calls} calls resumes, to its first live call"));
}
