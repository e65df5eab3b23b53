//! What a run costs beside bare wasmtime, in one process and one go: `cargo bench`. With `--smoke` each figure is taken
//! from a few rounds, to see that it can be.
//!
//! Ratios are the point; absolute times are this machine's, at this hour.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jidoka::doors::clock::Clock;
use jidoka::doors::model::{Call as ModelCall, Model, Received};
use jidoka::doors::sqlite::SqliteStore;
use jidoka::doors::store::{MemoryStore, Store};
use jidoka::rules::effect::Effect;
use jidoka::rules::guard::Memory;
use jidoka::rules::ledger::{LimitKind, Line};
use jidoka::rules::model::{Message, Metered, Price, Profile, Reply, Request, Role, Stop, Usage};
use jidoka::rules::spec::{Caps, CountedBy, Guards, OnOverload, Wall};
use jidoka::rules::verdict::{Outcome, Stop as RunStop};
use jidoka::run::bindings::worker::WorkerPre;
use jidoka::run::bindings::worker::jidoka::agent::work::Task;
use jidoka::run::compiler;
use jidoka::run::cord::Cord;
use jidoka::run::gate::{Gate, ModelDoor};
use jidoka::run::limits::CpuMeter;
use jidoka::run::output::Output;
use jidoka::run::runner::Reached;
use jidoka::run::sandbox::{Call, Prepared, Sandbox, World};
use jidoka::run::seat::{CallBounds, Draw, Seat, Setup, Ties};
use jidoka::run::senses::VirtualClock;
use jidoka_tests::bench::{self, Bench};
use jidoka_tests::open_gate::OpenGate;
use jidoka_tests::{examples, hostile, plain};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store as WasmStore};

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--smoke");
    let rounds = |full: usize| if smoke { 3.min(full) } else { full };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        println!("{:<66} {:>10} {:>22} {:>10}", "what", "median", "p10 - p90", "p99");
        let bare = start_bare(rounds(2_000)).await;
        let ours = start_ours(rounds(2_000)).await;
        bare.print("bare wasmtime: instantiate and call, pooled, async");
        ours.print("ours: gate, store, instantiate, call");
        println!("{:<66} {:>9.2}x", "  ratio of medians", ours.ratio(&bare));
        let whole = whole_run(rounds(200)).await;
        whole.print("ours: admission to verdict.json, fsyncs included");

        let memory = gate(rounds(20_000), Arc::new(MemoryStore::default())).await;
        memory.print("gate: one effect of 1 KiB, memory store");
        guards(rounds(20_000), 1).print("guards: one tool call with a result of 1 KiB, times and numbers");
        guards(rounds(2_000), 16).print("  the same of 16 KiB");
        let dir = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(&bench::open(dir.path()), dir.path(), Clock::starting_at(0)).expect("a store");
        let durable = gate(rounds(300), Arc::new(store)).await;
        durable.print("gate: one effect of 1 KiB, two entries on disk");
        let fsync = fsyncs(rounds(300));
        fsync.print("  the disk alone: write and fsync 1 KiB");
        println!("{:<66} {:>9.2}x", "  ratio of medians, of two fsyncs", durable.ratio(&fsync) / 2.0);

        let walled = start_walled(rounds(100)).await;
        walled.print("process wall: a guest seated and called in a process of its own");
        println!("{:<66} {:>9.1}x", "  ratio of medians, to the same without it", walled.ratio(&ours));
        let [free, through] = [effect(rounds(10), Wall::None).await, effect(rounds(10), Wall::Process).await];
        free.print("one effect of a guest, its two entries in memory");
        through.print("  the same through the process wall's pipe");
        println!("{:<66} {:>9.1}x", "  ratio of medians", through.ratio(&free));
        let [here, apart] = compiles(rounds(20));
        here.print("compile an idle worker here, on one thread");
        apart.print("  the same behind the compilation wall");
        println!("{:<66} {:>9.1}x", "  ratio of medians", apart.ratio(&here));

        for (neighbours, label) in [(0, "alone"), (8, "beside 8 spinning guests")] {
            let spin = stop(rounds(200), hostile::SPIN, neighbours).await;
            spin.print(&format!("stop a spinning guest after its deadline, {label}"));
            let blocked = stop(rounds(200), plain::SLEEPER, neighbours).await;
            blocked.print(&format!("stop a blocked guest after its deadline, {label}"));
        }
    });
    runtime.shutdown_background();
}

/// Durations of the rounds, sorted.
struct Times(Vec<Duration>);

impl Times {
    fn of(mut rounds: Vec<Duration>) -> Self {
        rounds.sort();
        Self(rounds)
    }

    fn at(&self, percent: usize) -> Duration {
        self.0[(self.0.len() - 1) * percent / 100]
    }

    fn ratio(&self, other: &Times) -> f64 {
        self.at(50).as_secs_f64() / other.at(50).as_secs_f64()
    }

    fn print(&self, what: &str) {
        let spread = format!("{} - {}", show(self.at(10)), show(self.at(90)));
        println!("{what:<66} {:>10} {spread:>22} {:>10}", show(self.at(50)), show(self.at(99)));
    }
}

fn show(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 1_000.0 { format!("{micros:.1} us") } else { format!("{:.2} ms", micros / 1_000.0) }
}

fn task() -> Task {
    Task { item: "item".into(), attempt: 1, text: "text".into(), inputs: vec![] }
}

/// The guest of the starts: it returns at once and calls nothing.
fn idle() -> Vec<u8> {
    std::fs::read(plain::IDLE).expect("the build script made it")
}

async fn start_bare(rounds: usize) -> Times {
    let mut config = Config::new();
    config.concurrency_support(false).epoch_interruption(true);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(64).total_core_instances(512).total_memories(128).total_tables(256).total_stacks(64);
    // As tuned as ours, or the comparison would flatter us.
    pool.linear_memory_keep_resident(512 << 10).table_keep_resident(16 << 10).pagemap_scan(Enabled::Auto);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let engine = Engine::new(&config).expect("an engine");
    let component = Component::new(&engine, idle()).expect("a component");
    let mut linker = Linker::<()>::new(&engine);
    linker.define_unknown_imports_as_traps(&component).expect("imports");
    let pre = WorkerPre::new(linker.instantiate_pre(&component).expect("links")).expect("fits");
    let mut times = Vec::new();
    for round in 0..rounds + rounds / 10 {
        let started = Instant::now();
        let mut store = WasmStore::new(&engine, ());
        store.set_epoch_deadline(u64::MAX / 2);
        let worker = pre.instantiate_async(&mut store).await.expect("instantiates");
        worker.call_run(&mut store, &task()).await.expect("returns").expect("a report");
        drop(store);
        if round >= rounds / 10 {
            times.push(started.elapsed());
        }
    }
    Times::of(times)
}

async fn start_ours(rounds: usize) -> Times {
    let sandbox = bench::sandbox();
    let prepared = sandbox.prepare(&idle(), World::Worker).expect("a worker");
    let mut times = Vec::new();
    for round in 0..rounds + rounds / 10 {
        let started = Instant::now();
        let (gate, time) = new_gate(Arc::new(MemoryStore::default())).await;
        let returned = seat(&sandbox, &prepared, gate, time, Wall::None).await.call(&sandbox, bounds(Cord::default()));
        assert!(returned.await.is_ok());
        if round >= rounds / 10 {
            times.push(started.elapsed());
        }
    }
    Times::of(times)
}

async fn whole_run(rounds: usize) -> Times {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let end = Bench::new(examples::HELLO).run().await;
        end.expect("accepted");
        times.push(end.took);
    }
    Times::of(times)
}

async fn gate(rounds: usize, store: Arc<dyn Store>) -> Times {
    let (gate, _) = new_gate(store).await;
    let message = Message::new(Role::User, "x".repeat(1024));
    let request = Request {
        model: "instant".into(),
        messages: vec![message],
        tools: vec![],
        max_output: 10,
        min_output: 1,
        schema: None,
    };
    let mut times = Vec::new();
    for _ in 0..rounds {
        let effect = Effect::Model { request: request.clone() };
        let started = Instant::now();
        gate.pass(effect).await.expect("the run goes on").expect("a reply");
        times.push(started.elapsed());
    }
    Times::of(times)
}

/// Calls of a tool that differ in a counter and in the clocks of their results, compared with all that are remembered.
fn guards(rounds: usize, kib: usize) -> Times {
    let (mut memory, guards) = (Memory::default(), Guards::default());
    let mut times = Vec::new();
    for number in 0..rounds {
        let arguments =
            format!("{{\"path\":\"src/a.rs\",\"reason\":\"once more, to be sure of it\",\"try\":{number}}}");
        let line = format!("2026-11-21T20:13:04Z worker[{number}]: 12 of 80 files in {number} ms, all well so far\n");
        let result = line.repeat(kib * 1024 / line.len());
        let started = Instant::now();
        memory.called("read", &arguments, &result, &guards);
        times.push(started.elapsed());
    }
    Times::of(times)
}

fn fsyncs(rounds: usize) -> Times {
    use std::io::Write;
    let dir = tempfile::tempdir().expect("a directory");
    let mut file = std::fs::File::create(dir.path().join("file")).expect("a file");
    let mut times = Vec::new();
    for _ in 0..rounds {
        let started = Instant::now();
        file.write_all(&[b'x'; 1024]).and_then(|()| file.sync_data()).expect("written");
        times.push(started.elapsed());
    }
    Times::of(times)
}

/// How long after its deadline a guest is gone, with other guests spinning all the while.
async fn stop(rounds: usize, component: &str, neighbours: usize) -> Times {
    let sandbox = bench::sandbox();
    let bytes = std::fs::read(component).expect("the build script made it");
    let prepared = sandbox.prepare(&bytes, World::Worker).expect("a worker");
    let crowd: Vec<Cord> = (0..neighbours).map(|_| Cord::default()).collect();
    let spin = std::fs::read(hostile::SPIN).expect("the build script made it");
    let spin = sandbox.prepare(&spin, World::Worker).expect("a worker");
    let spinning: Vec<_> =
        crowd.iter().map(|cord| tokio::spawn(run_one(Arc::clone(&sandbox), spin.clone(), cord.clone()))).collect();
    let mut late = Vec::new();
    for _ in 0..rounds {
        let cord = Cord::default();
        let running = tokio::spawn(run_one(Arc::clone(&sandbox), prepared.clone(), cord.clone()));
        let deadline = tokio::time::Instant::now() + Duration::from_millis(20);
        tokio::time::sleep_until(deadline).await;
        cord.pull(RunStop::Exhausted {
            scope: "attempt".into(),
            line: Line::WallMs,
            limit: LimitKind::Total,
            opens_ms: None,
        });
        let outcome = running.await.expect("no panic");
        late.push(deadline.elapsed());
        assert!(matches!(outcome, Some(Outcome::Interrupted(_))), "{outcome:?}");
    }
    for (cord, guest) in crowd.iter().zip(spinning) {
        cord.pull(RunStop::Cancelled);
        guest.await.expect("no panic");
    }
    Times::of(late)
}

async fn run_one(sandbox: Arc<Sandbox>, prepared: Prepared, cord: Cord) -> Option<Outcome> {
    let (gate, time) = new_gate(Arc::new(MemoryStore::default())).await;
    seat(&sandbox, &prepared, gate, time, Wall::None).await.call(&sandbox, bounds(cord)).await.err()
}

fn bounds(cord: Cord) -> CallBounds {
    CallBounds { cord, cpu: CpuMeter::default() }
}

async fn seat(sandbox: &Sandbox, prepared: &Prepared, gate: Gate, time: Arc<VirtualClock>, wall: Wall) -> Seat {
    let setup = Setup {
        call: Call::Run(task()),
        args: vec![],
        stdin: String::new(),
        env: BTreeMap::new(),
        chances: Draw::Worker { seed: 7 },
        start_ms: 0,
        max_created: 0,
        max_body_bytes: 0,
        caps: Caps::default(),
    };
    let ties = Ties { gate: Arc::new(gate), time, stdio: [Output::new(0), Output::new(0)] };
    Seat::take(sandbox, prepared, setup, vec![], ties, wall).await.expect("the wall stands")
}

/// A guest seated and called behind the process wall.
async fn start_walled(rounds: usize) -> Times {
    let sandbox = bench::sandbox();
    let prepared = sandbox.prepare(&idle(), World::Worker).expect("a worker");
    let mut times = Vec::new();
    for _ in 0..rounds {
        let (gate, time) = new_gate(Arc::new(MemoryStore::default())).await;
        let started = Instant::now();
        let seat = seat(&sandbox, &prepared, gate, time, Wall::Process).await;
        assert!(seat.call(&sandbox, bounds(Cord::default())).await.is_ok());
        times.push(started.elapsed());
    }
    Times::of(times)
}

/// One effect of a guest, of the cheapest kind, with its two entries: what a run with many takes more than one with none.
async fn effect(rounds: usize, wall: Wall) -> Times {
    const EFFECTS: u32 = 10_000;
    let run = async |effects: usize| {
        let lines = vec!["left nothing"; effects].join("\\n");
        let text = format!("text = \"{lines}\\nnote done\\nunable\"");
        let bench = Bench::new(plain::SCRIPT).books(Arc::new(MemoryStore::default())).set("task", &text).behind(wall);
        let end = bench.run().await;
        end.expect("unable");
        end.took
    };
    let mut times = Vec::new();
    for _ in 0..rounds {
        let (with, without) = (run(EFFECTS as usize).await, run(0).await);
        times.push(with.saturating_sub(without) / EFFECTS);
    }
    Times::of(times)
}

/// A small component compiled where the caller is, and in a process of its own.
fn compiles(rounds: usize) -> [Times; 2] {
    let (bytes, program) = (idle(), bench::cell());
    let mut config = Config::new();
    config.concurrency_support(false).epoch_interruption(true).parallel_compilation(false);
    let engine = Engine::new(&config).expect("an engine");
    let timed = |work: &dyn Fn()| {
        let rounds = (0..rounds).map(|_| {
            let started = Instant::now();
            work();
            started.elapsed()
        });
        Times::of(rounds.collect())
    };
    let here = timed(&|| drop(engine.precompile_component(&bytes).expect("compiles")));
    let apart = timed(&|| drop(compiler::compile(&program, &bytes).expect("compiles")));
    [here, apart]
}

async fn new_gate(store: Arc<dyn Store>) -> (Gate, Arc<VirtualClock>) {
    let price = Price::of(1, 1);
    let profile = Profile {
        window: 100_000,
        max_output: 1_000,
        price: Some(price),
        norm_factor_milli: 1_000,
        request_overhead: 0,
        tools_overhead: 0,
        message_overhead: 0,
    };
    let way = Reached { model: Arc::new(Instantly), max_response_bytes: 0, pace: None };
    let door = ModelDoor { profile, counted_by: CountedBy::Bytes, way, retries: 0, on_overload: OnOverload::Defer };
    OpenGate { model: Some(("instant", door)), ..OpenGate::default() }.at(store).await
}

/// What it says: made once, and nothing that a guard would take for empty.
static REPLY: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| bench::words(1024));

/// A model that answers at once, so that the gate is all that is measured.
struct Instantly;

#[async_trait]
impl Model for Instantly {
    fn request_bytes(&self, _: &Request) -> u64 {
        0
    }

    fn uses_network(&self) -> bool {
        false
    }

    async fn ask(&self, _: &ModelCall) -> Received {
        let reply = Reply::new(REPLY.clone(), vec![], Stop::End);
        let metered = Metered::Exact(Usage::of(10, 10));
        Received { result: Ok(reply), metered, net_bytes: 0, raw_usage: None, rates: Default::default() }
    }
}
