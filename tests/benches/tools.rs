//! What a call of a tool costs beside bare wasmtime and beside other ways to run somebody's code, in one process and one go:
//! `cargo bench --bench tools`. With `--smoke` each figure is taken from a few rounds, to see that it can be.
//!
//! Ratios are the point; absolute times are this machine's, at this hour.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jidoka::doors::cache::Cache;
use jidoka::doors::store::MemoryStore;
use jidoka::rules::effect::{Answer, Effect};
use jidoka::rules::pin::Pin;
use jidoka::rules::spec::{ComponentSource, FileGrant, Wall};
use jidoka::rules::tool::{self, Described, Reach, ToolCaps, ToolSource, ToolSpec};
use jidoka::run::bindings::tool::ToolPre;
use jidoka::run::gate::{Gate, Workshop};
use jidoka::run::sandbox::{Sandbox, World};
use jidoka::run::tools::{Toolbox, Tools};
use jidoka_tests::open_gate::OpenGate;
use jidoka_tests::{bench, examples, plain};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

const INPUT: &str = r#"{"value":1}"#;

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--smoke");
    let rounds = |full: usize| if smoke { 3.min(full) } else { full };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        println!("{:<66} {:>10} {:>22} {:>10}", "what", "median", "p10 - p90", "p99");
        let bare = bare(rounds(2_000)).await;
        bare.print("bare wasmtime: instantiate and call a no-op tool, pooled");
        let (gate, _) = open(&bench::sandbox(), plain::WORKBENCH).await;
        let warm = warm(&gate, rounds(2_000)).await;
        warm.print("ours: the same through the gate, memory store");
        println!("{:<66} {:>9.1}x", "  ratio of medians", warm.ratio(&bare));
        let (walled, _) = open_behind(&bench::sandbox(), plain::WORKBENCH, Wall::Process).await;
        let walled = self::warm(&walled, rounds(100)).await;
        walled.print("  and behind the process wall");
        for (component, input) in [(examples::SEARCH, "{}"), (examples::JAVASCRIPT, r#"{"code":"1"}"#)] {
            let bytes = std::fs::metadata(component).expect("the build script made it").len();
            let cold = cold(component, input, rounds(30)).await;
            cold.print(&format!("cold: {:.1} MB from the compiled cache, first call", bytes as f64 / 1e6));
        }
        let (calls, took) = concurrent(&gate, if smoke { 20 } else { 1_000 }).await;
        println!("{:<66} {:>10}", format!("{calls} calls at once, all answered, in all"), show(took));
        println!("{:<66} {:>10}", "  each", show(took / u32::try_from(calls).expect("small")));
        for (what, argv) in [
            ("a plain process that does nothing", &["/bin/true"][..]),
            ("bwrap around one", &["bwrap", "--ro-bind", "/", "/", "--unshare-all", "/bin/true"]),
            ("a Python interpreter that does nothing", &["python3", "-I", "-S", "-c", "pass"]),
        ] {
            match process(argv, rounds(100)) {
                Some(times) => {
                    times.print(what);
                    println!("{:<66} {:>9.1}x", "  ratio of medians, to our warm call", times.ratio(&warm));
                }
                None => println!("{what:<66} {:>10}", "not here"),
            }
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

fn read(path: &str) -> Vec<u8> {
    std::fs::read(path).expect("the build script made it")
}

async fn bare(rounds: usize) -> Times {
    let mut config = Config::new();
    config.concurrency_support(false).epoch_interruption(true);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(64).total_core_instances(512).total_memories(128).total_tables(256).total_stacks(64);
    // As tuned as ours, or the comparison would flatter us.
    pool.linear_memory_keep_resident(512 << 10).table_keep_resident(16 << 10).pagemap_scan(Enabled::Auto);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let engine = Engine::new(&config).expect("an engine");
    let component = Component::new(&engine, read(plain::WORKBENCH)).expect("a component");
    let mut linker = Linker::<()>::new(&engine);
    linker.define_unknown_imports_as_traps(&component).expect("imports");
    let pre = ToolPre::new(linker.instantiate_pre(&component).expect("links")).expect("fits");
    let mut times = Vec::new();
    for _ in 0..rounds {
        let started = Instant::now();
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(u64::MAX / 2);
        let tool = pre.instantiate_async(&mut store).await.expect("instantiates");
        tool.call_call(&mut store, "echo", INPUT).await.expect("returns").expect("an output");
        drop(store);
        times.push(started.elapsed());
    }
    Times::of(times)
}

async fn open(sandbox: &Arc<Sandbox>, component: &str) -> (Gate, String) {
    open_behind(sandbox, component, Wall::None).await
}

/// A gate that leads to one tool of a component, and the tool's name.
async fn open_behind(sandbox: &Arc<Sandbox>, component: &str, wall: Wall) -> (Gate, String) {
    let prepared = sandbox.prepare(&read(component), World::Tool).expect("a tool");
    let spec = ToolSpec {
        source: ToolSource::Component(ComponentSource::File("tool.wasm".into())),
        pin: Pin::default(),
        files: FileGrant::None,
        http: vec![],
        env: BTreeMap::new(),
        args: vec![],
        caps: ToolCaps::default(),
    };
    let own = match component {
        examples::SEARCH => "search",
        examples::JAVASCRIPT => "javascript",
        _ => "echo",
    };
    let described =
        Described { name: own.into(), description: String::new(), schema: r#"{"type":"object"}"#.into(), output: None };
    let offers = tool::offers("tool", &spec, vec![described]).expect("one tool");
    let toolboxes = BTreeMap::from([("tool".to_owned(), Toolbox::of_component(spec, prepared))]);
    let tools = Arc::new(Tools::of(offers, &toolboxes).expect("a schema"));
    let workshop = Workshop { sandbox: Arc::clone(sandbox), wall, context: None, seed: 7, start_ms: 0 };
    let gate = OpenGate { tools, workshop: Some(workshop), ..OpenGate::default() };
    (gate.at(Arc::new(MemoryStore::default())).await.0, "tool".to_owned())
}

fn call(input: &str) -> Effect {
    Effect::Tool { name: "tool".into(), input: input.to_owned(), reach: Reach::default() }
}

async fn warm(gate: &Gate, rounds: usize) -> Times {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let started = Instant::now();
        gate.pass(call(INPUT)).await.expect("the run goes on").expect("an output");
        times.push(started.elapsed());
    }
    Times::of(times)
}

/// An engine that has never seen the component, whose code is in the cache: loaded, linked, and called once.
async fn cold(component: &str, input: &str, rounds: usize) -> Times {
    let dir = tempfile::tempdir().expect("a directory");
    let mut times = Vec::new();
    for round in 0..=rounds {
        let cache = Cache::open(bench::open(dir.path()), [7; 32]).expect("a cache");
        let sandbox = Arc::new(Sandbox::new(4, Some(cache), bench::cell()).expect("an engine"));
        let started = Instant::now();
        let (gate, _) = open(&sandbox, component).await;
        // A no of the tool's own is an answer, too.
        drop(gate.pass(call(input)).await.expect("the run goes on"));
        if round > 0 {
            times.push(started.elapsed());
        }
    }
    Times::of(times)
}

async fn concurrent(gate: &Gate, calls: usize) -> (usize, Duration) {
    let started = Instant::now();
    let heard = join_all((0..calls).map(|_| gate.pass(call(INPUT)))).await;
    let took = started.elapsed();
    for heard in heard {
        let answer = heard.expect("the run goes on").expect("an output");
        assert_eq!(answer, Answer::Tool { output: "1".into() });
    }
    (calls, took)
}

/// A process from its start to its end; none if the program is not there, or does not work here.
fn process(argv: &[&str], rounds: usize) -> Option<Times> {
    let (program, arguments) = argv.split_first()?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        let started = Instant::now();
        let ended = Command::new(program).args(arguments).output().ok()?;
        if !ended.status.success() {
            return None;
        }
        times.push(started.elapsed());
    }
    Some(Times::of(times))
}
