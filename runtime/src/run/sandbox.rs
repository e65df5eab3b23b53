//! The one engine, and one guest in it: a store that is made, called once and thrown away.
//!
//! Never: reuses a store, lets a guest past its cord. A guest that spins is stopped at an epoch tick, one that waits in
//! a host call by dropping its future; both end in the same typed outcome. Invariants here: one engine configuration;
//! the same bytes in the same configuration behave the same (the determinism switches).

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::{Component, HasData, InstancePre, Linker, Resource, ResourceTable};
use wasmtime::{
    Config, Enabled, Engine, FrameInfo, InstanceAllocationStrategy, PoolConcurrencyLimitError, PoolingAllocationConfig,
    Store, UpdateDeadline, WasmBacktrace,
};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::p2::{IoError, bindings as wasi};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};
use wasmtime_wasi_io::bindings::wasi::io::{error, streams};

use crate::doors::cache::Cache;
use crate::doors::program::{self, Program};
use crate::rules::digest::Digest;
use crate::rules::policy::MAX_CHILD_DEPTH;
use crate::rules::tool::Described;
use crate::rules::trap;
use crate::rules::verdict::Outcome;

use super::RunEnd;
use super::absent;
use super::bindings::tool::jidoka::agent::tooling;
use super::bindings::tool::{self, Tool, ToolPre};
use super::bindings::verifier::{Verifier, VerifierPre};
use super::bindings::worker::jidoka::agent::work;
use super::bindings::worker::{Worker, WorkerPre};
use super::bindings::{verifier, worker};
use super::bridge::{self, Exported};
use super::cell;
use super::compiler::{self, CompileError};
use super::cord::Cord;
use super::files::HasFiles;
use super::host::{Guest, HasGuest, texts_bytes};
use super::http;
use super::limits::{MAX_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES};
use super::seat::CallBounds;
use super::senses::{HasChances, HasTime};
use super::shape::{self, ShapeError};

/// One tick of the epoch clock: how long a spinning guest keeps its thread, and how late it may be stopped.
pub const TICK: Duration = Duration::from_millis(1);

/// Wasm stack of a guest. Rust and C guests use a few KiB, interpreters some hundred.
const MAX_WASM_STACK: usize = 512 << 10;

/// Stack of a guest's fiber. The host's own frames get what the guest does not: overflowing them would abort the process.
const FIBER_STACK: usize = 2 << 20;

/// The largest memory that `[caps] memory` can allow; the pool reserves address space for it.
pub const MAX_MEMORY_BYTES: usize = 1 << 30;

/// Times `[caps] lifted` that are copied out of a guest before anybody can count: what is past the cap is refused with the
/// setting, and who is past this is ended. It is one copy, where `Held` counts as many of what is let through.
const LIFTED_ROOM: usize = 16;

/// Characters of a guest's trap message that are kept: a guest chooses its function names.
const MAX_TRAP_CHARS: usize = 2_000;

/// Imports that a refusal names: a component may have thousands, each with a long name.
const MAX_NAMED_IMPORTS: usize = 16;

/// Compiled components that are kept in memory.
const MAX_PREPARED: usize = 64;

/// Bytes of the engine's version in the journal and in the cache's key.
pub const ENGINE_NAME: &str = concat!("wasmtime 48, jidoka ", env!("CARGO_PKG_VERSION"));

/// Makes guests from components.
pub struct Sandbox {
    engine: Engine,
    workers: Linker<Guest>,
    verifiers: Linker<Guest>,
    tools: Linker<Guest>,
    cache: Option<Cache>,
    /// Stands where a process of its own is wanted.
    program: Option<Program>,
    /// What the process wall would be: the version of Landlock's interface, or what is missing.
    process_wall: OnceLock<Result<u32, String>>,
    prepared: Mutex<HashMap<(Digest, World), Prepared>>,
    /// Slots for guests that work aside of others: whoever has none waits, and its worker has one already.
    aside: Arc<Semaphore>,
    /// Slots of children, by their depth.
    children: [Arc<Semaphore>; MAX_CHILD_DEPTH],
    /// Moves the epoch, where others wait for the guest's thread.
    _ticker: Option<Ticker>,
}

/// What a component must export. A program of `wasi:cli/command` is a worker too, which is done if it ends well; and a tool,
/// as is any component whose exports can be described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum World {
    Worker,
    Verifier,
    Tool,
}

impl World {
    fn name(self) -> &'static str {
        match self {
            World::Worker => "worker",
            World::Verifier => "verifier",
            World::Tool => "tool",
        }
    }
}

/// A component that fits a world, compiled and linked, ready to be called any number of times.
#[derive(Clone)]
pub struct Prepared {
    /// BLAKE3 of the component's bytes.
    pub digest: Digest,
    pre: Pre,
    component: Component,
    /// Its code as a file, once a cell needed it.
    code: Arc<OnceLock<Arc<OwnedFd>>>,
}

impl Prepared {
    /// How its tools are found out, if it is prepared as a tool.
    pub(super) fn tooling(&self) -> Tooling {
        match &self.pre {
            Pre::Tool(_) => Tooling::Asked,
            Pre::Command(_) => Tooling::Program,
            Pre::Functions(_, functions) => Tooling::Functions(functions.iter().map(described).collect()),
            Pre::Worker(_) | Pre::Verifier(_) => Tooling::None,
        }
    }

    /// Whether it is a program, prepared as a worker or as a tool.
    pub(super) fn is_program(&self) -> bool {
        matches!(self.pre, Pre::Command(_))
    }

    /// The compiled code as a file that nobody can change.
    ///
    /// # Errors
    /// The machine has no memory for it.
    pub(super) async fn code(&self) -> std::io::Result<Arc<OwnedFd>> {
        if let Some(code) = self.code.get() {
            return Ok(Arc::clone(code));
        }
        let component = self.component.clone();
        let sealed = tokio::task::spawn_blocking(move || {
            let code = component.serialize().map_err(std::io::Error::other)?;
            cell::sealed(&code)
        });
        let sealed = sealed.await.map_err(std::io::Error::other)??;
        Ok(Arc::clone(self.code.get_or_init(|| sealed)))
    }
}

#[derive(Clone)]
enum Pre {
    Worker(WorkerPre<Guest>),
    Command(wasi::CommandPre<Guest>),
    Verifier(VerifierPre<Guest>),
    Tool(ToolPre<Guest>),
    /// Any other component, and the functions that it exports.
    Functions(InstancePre<Guest>, Arc<[Exported]>),
}

/// How one knows what a component offers as tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tooling {
    /// It is no tool.
    None,
    /// It says so itself.
    Asked,
    /// It is a program: arguments and an input there, an exit code and what it printed back.
    Program,
    /// Each function that it exports is one.
    Functions(Vec<Described>),
}

/// Why a component cannot run here. Nothing of it ran.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is not what it says, or larger than a component may be.
    #[error("the component is refused before compiling: {0}")]
    Shape(#[from] ShapeError),
    /// The compiler refused it.
    #[error("the component does not compile: {0}")]
    Compile(#[from] CompileError),
    /// It imports or exports what the world does not have.
    #[error("the component does not fit world `{world}`: {problem}")]
    World { world: &'static str, problem: String },
    /// The host's own trouble.
    #[error("the component could not be loaded: {0}")]
    Host(String),
}

/// What a guest is asked.
#[derive(Serialize, Deserialize)]
pub enum Call {
    Run(worker::jidoka::agent::work::Task),
    Judge(verifier::jidoka::agent::review::Artifact),
    /// What a tool component offers.
    Describe,
    /// One call of a tool by its own name, with JSON. Of a program the arguments and the input are the setup's.
    Tool {
        name: String,
        input: String,
    },
}

impl Call {
    /// The world of the guest that is asked so.
    pub(super) fn world(&self) -> World {
        match self {
            Call::Run(_) => World::Worker,
            Call::Judge(_) => World::Verifier,
            Call::Describe | Call::Tool { .. } => World::Tool,
        }
    }
}

/// What a guest answered.
#[derive(Serialize, Deserialize)]
pub enum Returned {
    Report(Result<worker::jidoka::agent::work::Report, String>),
    Judgement(Result<verifier::jidoka::agent::review::Judgement, String>),
    Described(Vec<tooling::Tool>),
    /// A tool's output as JSON, or its own no.
    Output(Result<String, String>),
    /// A program's exit code.
    Exited(i32),
}

impl Returned {
    /// The same, if it has no more than one call may lift.
    fn within(self, lifted_bytes: usize) -> Result<Self, Outcome> {
        let bytes = match &self {
            Returned::Report(Ok(report)) => report.summary.len() + texts_bytes(&report.evidence),
            Returned::Judgement(Ok(judgement)) => judgement.summary.len() + texts_bytes(&judgement.findings),
            Returned::Report(Err(why)) | Returned::Judgement(Err(why)) => why.len(),
            Returned::Output(Ok(text) | Err(text)) => text.len(),
            Returned::Described(tools) => {
                let texts = tools.iter().map(|tool| tool.name.len() + tool.description.len() + tool.schema.len());
                texts.sum::<usize>() + size_of_val(&tools[..])
            }
            Returned::Exited(_) => 0,
        };
        match bytes <= lifted_bytes {
            true => Ok(self),
            false => {
                let why = format!("past a cap: an answer of {bytes} bytes; [caps] lifted allows {lifted_bytes}");
                Err(Outcome::Trapped(why))
            }
        }
    }
}

impl Sandbox {
    /// An engine for `slots` guests at once, half of them for tools and checks, and some children beside, with compiled code
    /// kept in `cache` if there is one. `program` stands where a process of its own is wanted: to compile, and for guests
    /// behind the process wall. A process that was started as such a program, and did not serve, ends here.
    ///
    /// # Errors
    /// The machine cannot give what the engine needs; most likely address space or mappings for this many slots.
    pub fn new(slots: u32, cache: Option<Cache>, program: Program) -> wasmtime::Result<Self> {
        program::end_if_forgetful();
        let engine = engine(slots.saturating_add(children_at_depth(slots).saturating_mul(DEPTHS)))?;
        let ticker = Some(Ticker::start(&engine)?);
        Self::of_engine(engine, slots, cache, Some(program), ticker)
    }

    /// For one guest in a process of its own, whose code is handed over.
    ///
    /// # Errors
    /// As [`Sandbox::new`]; or the code is not of this engine.
    pub(super) fn of_code(code: &OwnedFd, world: World) -> wasmtime::Result<(Self, Prepared)> {
        let sandbox = Self::of_engine(engine(1)?, 1, None, None, None)?;
        let component = load_file(&sandbox.engine, code)?;
        // Whose it is, is the host's to know.
        let prepared = sandbox.linked(component, Digest::from_bytes([0; 32]), world)?;
        Ok((sandbox, prepared))
    }

    fn of_engine(
        engine: Engine,
        slots: u32,
        cache: Option<Cache>,
        program: Option<Program>,
        ticker: Option<Ticker>,
    ) -> wasmtime::Result<Self> {
        let mut workers = wasi_linker(&engine)?;
        worker::Worker::add_to_linker::<_, HasGuest>(&mut workers, |guest| guest)?;
        let mut verifiers = wasi_linker(&engine)?;
        verifier::Verifier::add_to_linker::<_, HasGuest>(&mut verifiers, |guest| guest)?;
        let mut tools = wasi_linker(&engine)?;
        tool::Tool::add_to_linker::<_, HasGuest>(&mut tools, |guest| guest)?;
        Ok(Self {
            engine,
            workers,
            verifiers,
            tools,
            cache,
            program,
            process_wall: OnceLock::new(),
            prepared: Mutex::default(),
            aside: Arc::new(Semaphore::new((slots / 2).max(1) as usize)),
            children: std::array::from_fn(|_| Arc::new(Semaphore::new(children_at_depth(slots) as usize))),
            _ticker: ticker,
        })
    }

    /// Waits for a slot for a guest that works aside of another: half of them are for such. The longest waiting is next.
    pub(super) async fn slot_aside(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        Arc::clone(&self.aside).acquire_owned().await.ok()
    }

    /// The slots of children with so many callers above them, from 1 on. Each depth has its own: a caller waits for a child
    /// with its own slot in hand.
    pub(super) fn slots_at_depth(&self, depth: usize) -> Arc<Semaphore> {
        Arc::clone(&self.children[depth.clamp(1, MAX_CHILD_DEPTH) - 1])
    }

    /// The program that stands where a process of its own is wanted.
    pub(super) fn program(&self) -> std::io::Result<&Program> {
        self.program
            .as_ref()
            .ok_or_else(|| std::io::Error::other("there is no program for processes of the host's own"))
    }

    /// Whether guests can be put behind the process wall: tried once, in a process that locks itself in. Blocking.
    ///
    /// # Errors
    /// A sentence: what this machine lacks.
    pub(super) fn process_wall(&self) -> Result<u32, String> {
        let tried = || cell::probe(self.program().map_err(|error| error.to_string())?);
        self.process_wall.get_or_init(tried).clone()
    }

    /// Compiles and links a component for a world, or takes it from memory or the cache. Blocking.
    ///
    /// # Errors
    /// [`LoadError`]: the component cannot run here.
    pub fn prepare(&self, bytes: &[u8], world: World) -> Result<Prepared, LoadError> {
        let digest = Digest::from_bytes(*blake3::hash(bytes).as_bytes());
        let key = (digest, world);
        if let Some(prepared) = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(prepared.clone());
        }
        let component = match self.cached(&digest) {
            // What was compiled has passed the gate to the compiler.
            Some(component) => component,
            None => {
                match world {
                    World::Worker | World::Verifier => shape::check(bytes)?,
                    World::Tool => shape::check_tool(bytes)?,
                }
                self.compile(bytes, &digest)?
            }
        };
        let prepared = self.linked(component, digest, world)?;
        let mut known = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_PREPARED {
            known.clear();
        }
        known.insert(key, prepared.clone());
        Ok(prepared)
    }

    /// The imports and exports of a component, as its type says.
    ///
    /// # Errors
    /// As [`Sandbox::prepare`], except that any world will do. A module of WASI preview 1 can only be a tool.
    pub fn inspect(&self, bytes: &[u8]) -> Result<Surface, LoadError> {
        shape::check_tool(bytes)?;
        let worlds: &[World] = match shape::is_module(bytes) {
            true => &[World::Tool],
            false => &[World::Worker, World::Verifier, World::Tool],
        };
        let digest = Digest::from_bytes(*blake3::hash(bytes).as_bytes());
        let component = self.cached(&digest).map_or_else(|| self.compile(bytes, &digest), Ok)?;
        let ty = component.component_type();
        Ok(Surface {
            imports: ty.imports(&self.engine).map(|(name, _)| name.to_owned()).collect(),
            exports: ty.exports(&self.engine).map(|(name, _)| name.to_owned()).collect(),
            fits: worlds
                .iter()
                .copied()
                .filter(|&world| self.link(&component, world).is_ok())
                .map(World::name)
                .collect(),
        })
    }

    /// The component as it was compiled before, if it was and the code is whole and ours.
    fn cached(&self, digest: &Digest) -> Option<Component> {
        let code = self.cache.as_ref()?.get(digest, &self.fingerprint())?;
        match load(&self.engine, &code) {
            Ok(component) => Some(component),
            // Whole and ours, and still of no use: built again.
            Err(error) => {
                tracing::warn!(%error, "cached code could not be loaded");
                None
            }
        }
    }

    fn compile(&self, bytes: &[u8], digest: &Digest) -> Result<Component, LoadError> {
        let fingerprint = self.fingerprint();
        let program = self.program().map_err(|error| LoadError::Host(error.to_string()))?;
        let code = compiler::compile(program, bytes)?;
        let component = load(&self.engine, &code).map_err(|error| LoadError::Host(error.to_string()))?;
        if let Some(cache) = &self.cache
            && let Err(error) = cache.put(digest, &fingerprint, &code)
        {
            // A cache that cannot be written costs time, not correctness.
            tracing::warn!(%error, "compiled code could not be cached");
        }
        Ok(component)
    }

    /// Everything that compiled code depends on besides the component.
    fn fingerprint(&self) -> String {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.engine.precompile_compatibility_hash().hash(&mut hasher);
        format!("{ENGINE_NAME} {:016x}", hasher.finish())
    }

    fn linked(&self, component: Component, digest: Digest, world: World) -> Result<Prepared, LoadError> {
        let pre = self.link(&component, world)?;
        Ok(Prepared { digest, pre, component, code: Arc::default() })
    }

    fn link(&self, component: &Component, world: World) -> Result<Pre, LoadError> {
        let linker = match world {
            World::Worker => &self.workers,
            World::Verifier => &self.verifiers,
            World::Tool => &self.tools,
        };
        let misfit = |problem: String| LoadError::World { world: world.name(), problem };
        let missing = self.missing_imports(component);
        let pre = match (missing.is_empty(), world) {
            (true, _) => linker.instantiate_pre(component),
            // What somebody else's component could ask of somebody else's host: it may be there, and nobody answers.
            (false, World::Tool) => {
                absent::linked(linker, &self.engine, component).and_then(|it| it.instantiate_pre(component))
            }
            (false, World::Worker | World::Verifier) => {
                return Err(misfit(format!("the world has no import {}", named(&missing))));
            }
        };
        let pre = pre.map_err(|error| misfit(plain(&error)))?;
        match world {
            World::Worker | World::Tool if self.is_command(component) => wasi::CommandPre::new(pre).map(Pre::Command),
            World::Worker => WorkerPre::new(pre).map(Pre::Worker),
            World::Verifier => VerifierPre::new(pre).map(Pre::Verifier),
            World::Tool if self.has_contract(component) => ToolPre::new(pre).map(Pre::Tool),
            World::Tool => {
                let functions = bridge::exported(component, &self.engine).functions;
                if functions.is_empty() {
                    return Err(misfit(NO_TOOL.to_owned()));
                }
                Ok(Pre::Functions(pre, functions.into()))
            }
        }
        .map_err(|error| misfit(plain(&error)))
    }

    /// Whether it is a program as `main` makes one, and nothing that knows our contract.
    fn is_command(&self, component: &Component) -> bool {
        let ty = component.component_type();
        let exports = |what: &dyn Fn(&str) -> bool| ty.exports(&self.engine).any(|(name, _)| what(name));
        exports(&|name| name.starts_with(COMMAND)) && !exports(&|name| name == "run" || name == "describe")
    }

    /// Whether it describes its tools by itself.
    fn has_contract(&self, component: &Component) -> bool {
        let ty = component.component_type();
        ["describe", "call"].iter().all(|wanted| ty.exports(&self.engine).any(|(name, _)| name == *wanted))
    }

    /// Named here rather than by the linker, so that a person reads all of them at once.
    fn missing_imports(&self, component: &Component) -> Vec<String> {
        component
            .component_type()
            .imports(&self.engine)
            .map(|(name, _)| name)
            .filter(|name| !is_served(name))
            .map(str::to_owned)
            .collect()
    }

    /// Calls a guest once, to its end or until its cord is pulled. The guest's store is gone when this returns. Without
    /// bounds nobody else waits for this thread, and whoever wants the guest gone ends the process.
    pub(super) async fn call(
        &self,
        prepared: &Prepared,
        guest: Guest,
        call: Call,
        bounds: Option<CallBounds>,
    ) -> Result<Returned, Outcome> {
        let (lifted_bytes, handles) = (guest.lifted_bytes, guest.handles);
        let mut store = Store::new(&self.engine, guest);
        store.limiter(|guest| &mut guest.limits);
        store.set_hostcall_fuel(lifted_bytes.saturating_mul(LIFTED_ROOM));
        store.set_max_component_handles(handles);
        store.data_mut().table.set_max_capacity(handles);
        store.set_epoch_deadline(1);
        let Some(bounds) = bounds else {
            let ended = enter(&mut store, prepared, call).await.map_err(|error| fate(&error, None, lifted_bytes));
            return ended.and_then(|returned| returned.within(lifted_bytes));
        };
        heed(&mut store, &bounds);
        let CallBounds { cord, cpu } = bounds;
        let ended = tokio::select! {
            biased;
            stop = cord.pulled() => return Err(Outcome::Interrupted(stop)),
            ended = cpu.measure(enter(&mut store, prepared, call)) => ended,
        };
        ended
            .map_err(|error| fate(&error, Some(&cord), lifted_bytes))
            .and_then(|returned| returned.within(lifted_bytes))
    }
}

/// Stops a guest at a tick that is out of time or whose cord is pulled, and lets others have the thread.
fn heed(store: &mut Store<Guest>, bounds: &CallBounds) {
    let (ticks, meter) = (bounds.cord.clone(), bounds.cpu.clone());
    store.epoch_deadline_callback(move |_| {
        if let Some(stop) = meter.used_up() {
            ticks.pull(stop);
        }
        if ticks.is_pulled() {
            return Err(RunEnd::Stopped.into());
        }
        // Plain `Yield` starves neighbours: https://github.com/bytecodealliance/wasmtime/issues/10667
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
}

async fn enter(store: &mut Store<Guest>, prepared: &Prepared, call: Call) -> wasmtime::Result<Returned> {
    match (&prepared.pre, call) {
        (Pre::Worker(pre), Call::Run(task)) => {
            let worker: Worker = pre.instantiate_async(&mut *store).await?;
            worker.call_run(store, &task).await.map(Returned::Report)
        }
        (Pre::Verifier(pre), Call::Judge(artifact)) => {
            let verifier: Verifier = pre.instantiate_async(&mut *store).await?;
            verifier.call_judge(store, &artifact).await.map(Returned::Judgement)
        }
        (Pre::Command(pre), Call::Run(_)) => {
            store.data_mut().books.of_program();
            let command: wasi::Command = pre.instantiate_async(&mut *store).await?;
            exited(command.wasi_cli_run().call_run(store).await).map(Returned::Report)
        }
        (Pre::Tool(pre), Call::Describe) => {
            let tool: Tool = pre.instantiate_async(&mut *store).await?;
            tool.call_describe(store).await.map(Returned::Described)
        }
        (Pre::Tool(pre), Call::Tool { name, input }) => {
            let tool: Tool = pre.instantiate_async(&mut *store).await?;
            let output = tool.call_call(store, &name, &input).await?;
            Ok(Returned::Output(output.map(|output| output.value)))
        }
        (Pre::Command(pre), Call::Tool { .. }) => {
            store.data_mut().books.of_program();
            let command: wasi::Command = pre.instantiate_async(&mut *store).await?;
            exit_code(command.wasi_cli_run().call_run(store).await).map(Returned::Exited)
        }
        (Pre::Functions(pre, functions), Call::Tool { name, input }) => {
            let function = functions.iter().find(|function| function.name == name);
            let function = function.ok_or_else(|| RunEnd::Fault(format!("no function is the tool {name:?}")))?;
            let input = serde_json::from_str(&input).map_err(|error| RunEnd::Fault(error.to_string()))?;
            let instance = pre.instantiate_async(&mut *store).await?;
            let most = store.data().lifted_bytes;
            let output = function.call(store, &instance, &input, most).await?;
            Ok(Returned::Output(output.map_err(|rejected| rejected.to_string())))
        }
        (Pre::Worker(_) | Pre::Verifier(_) | Pre::Command(_) | Pre::Tool(_) | Pre::Functions(..), _) => {
            Err(RunEnd::Fault("a component was called for another world".into()).into())
        }
    }
}

/// Why nothing of a component is a tool.
const NO_TOOL: &str = "it has no `describe` and `call`, is no program, and exports no function that could be a tool";

fn described(function: &Exported) -> Described {
    Described {
        name: function.name.clone(),
        description: function.description.clone(),
        schema: function.schema.to_string(),
        output: Some(function.output.to_string()),
    }
}

/// What a component could ask for, and what it offers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Surface {
    pub imports: Vec<String>,
    pub exports: Vec<String>,
    /// The worlds that it fits.
    pub fits: Vec<&'static str>,
}

/// Prefixes of the interfaces that the worlds have.
const SERVED: [&str; 8] = [
    "jidoka:agent/",
    "wasi:io/",
    "wasi:clocks/",
    "wasi:random/",
    "wasi:cli/",
    "wasi:filesystem/",
    "wasi:sockets/",
    "wasi:http/",
];

/// Whether a world has an import.
pub(super) fn is_served(import: &str) -> bool {
    SERVED.iter().any(|prefix| import.starts_with(prefix))
}

/// Imports for a person, each cut, and the first of many.
fn named(imports: &[String]) -> String {
    let shown = |name: &String| format!("`{}`", name.chars().take(128).collect::<String>());
    let mut shown: Vec<String> = imports.iter().take(MAX_NAMED_IMPORTS).map(shown).collect();
    if let Some(more) = imports.len().checked_sub(MAX_NAMED_IMPORTS).filter(|more| *more > 0) {
        shown.push(format!("{more} more"));
    }
    shown.join(", ")
}

/// The start of a program's one export, before its version.
const COMMAND: &str = "wasi:cli/run@0.2.";

fn exit_code(ended: wasmtime::Result<Result<(), ()>>) -> wasmtime::Result<i32> {
    Ok(match ended {
        Ok(Ok(())) => 0,
        Ok(Err(())) => 1,
        Err(error) => error.downcast_ref::<I32Exit>().map(|exit| exit.0).ok_or(error)?,
    })
}

/// What a program says of its run: nothing but how it exited.
fn exited(ended: wasmtime::Result<Result<(), ()>>) -> wasmtime::Result<Result<work::Report, String>> {
    Ok(match exit_code(ended)? {
        0 => Ok(work::Report { status: work::Status::Done, summary: "exited with 0".into(), evidence: Vec::new() }),
        code => Err(format!("exited with {code}")),
    })
}

/// What an error out of a guest's call means.
fn fate(error: &wasmtime::Error, cord: Option<&Cord>, lifted_bytes: usize) -> Outcome {
    if let Some(end) = error.downcast_ref::<RunEnd>() {
        return match cord {
            Some(cord) => ended(end, cord),
            None => ended(end, &Cord::default()),
        };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Outcome::Faulted(format!("no room for one more guest: {}", plain(error)));
    }
    let why = causes(error);
    if why.contains(FUEL) {
        let copied = lifted_bytes.saturating_mul(LIFTED_ROOM);
        return Outcome::Trapped(format!(
            "past a cap: more than {copied} bytes in one call; [caps] lifted allows {lifted_bytes}"
        ));
    }
    let named = |frame: &FrameInfo| frame.func_name().map(|name| format!("{:#}", rustc_demangle::demangle(name)));
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    Outcome::Trapped(trap::told(&why, frames.iter().map(named)))
}

/// The causes of an error in words, without the frames that wasmtime puts among them.
fn causes(error: &wasmtime::Error) -> String {
    let causes = error.chain().map(|cause| cause.to_string());
    let mut causes: Vec<String> = causes.filter(|cause| !cause.starts_with(BACKTRACE)).collect();
    causes.dedup();
    causes.join(": ")
}

/// What wasmtime's own words say of a call that hands over more than it copies; they have no type to be known by.
const FUEL: &str = "fuel allocated for hostcalls has been exhausted";

/// How wasmtime's own words about frames begin.
const BACKTRACE: &str = "error while executing at wasm backtrace";

/// What it means that a host call did not return.
pub(super) fn ended(end: &RunEnd, cord: &Cord) -> Outcome {
    match end {
        RunEnd::Stopped => match cord.stop() {
            Some(stop) => Outcome::Interrupted(stop),
            None => Outcome::Faulted("a guest was stopped and nobody pulled its cord".into()),
        },
        RunEnd::Cap(cap) => Outcome::Trapped(format!("past a cap: {cap}")),
        RunEnd::Fault(fault) => Outcome::Faulted(fault.clone()),
        RunEnd::Diverged(divergence) => Outcome::Diverged(divergence.clone()),
    }
}

/// An error's whole chain as plain text: a guest may have put control characters into its names.
pub(super) fn plain(error: &wasmtime::Error) -> String {
    let text = format!("{error:#}");
    let clean = text.chars().map(|char| if char.is_control() && char != '\n' { '\u{fffd}' } else { char });
    clean.take(MAX_TRAP_CHARS).collect()
}

/// The one engine configuration. Every switch that a replay depends on is set here, and nowhere else.
fn configuration() -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .wasm_threads(false)
        .wasm_memory64(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_relaxed_simd(false)
        .wasm_exceptions(false)
        .shared_memory(false)
        .cranelift_nan_canonicalization(true)
        .epoch_interruption(true)
        .max_wasm_stack(MAX_WASM_STACK)
        .async_stack_size(FIBER_STACK)
        .wasm_backtrace_max_frames(NonZeroUsize::new(20))
        .memory_reservation(4 << 30)
        .memory_init_cow(true);
    config
}

/// An engine that compiles and runs nothing: it keeps no room for guests.
pub(super) fn compiling_engine() -> wasmtime::Result<Engine> {
    let mut config = configuration();
    // One thread, so that its processor time is the time that it takes.
    config.parallel_compilation(false);
    Engine::new(&config)
}

/// [`MAX_CHILD_DEPTH`], as slots are counted.
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const DEPTHS: u32 = MAX_CHILD_DEPTH as u32;

/// Children at once of each depth, on a host with so many slots.
fn children_at_depth(slots: u32) -> u32 {
    (slots / 4).max(1)
}

fn engine(slots: u32) -> wasmtime::Result<Engine> {
    let mut config = configuration();
    let for_each_slot = |most: usize| slots.saturating_mul(u32::try_from(most).expect("small"));
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        // What one guest may take, for every slot: else a few guests with many tables leave their neighbours without.
        .total_core_instances(for_each_slot(MAX_INSTANCES))
        .total_memories(for_each_slot(MAX_MEMORIES))
        .total_tables(for_each_slot(MAX_TABLES))
        .total_stacks(slots)
        .total_gc_heaps(1)
        .max_core_instances_per_component(u32::try_from(MAX_INSTANCES).expect("small"))
        .max_memories_per_component(u32::try_from(MAX_MEMORIES).expect("small"))
        .max_tables_per_component(u32::try_from(MAX_TABLES).expect("small"))
        // A Python guest of componentize-py has a third of it.
        .max_component_instance_size(1 << 20)
        .table_elements(usize::try_from(MAX_TABLE_ELEMENTS).expect("small"))
        .max_memory_size(MAX_MEMORY_BYTES)
        .linear_memory_keep_resident(512 << 10)
        .table_keep_resident(16 << 10)
        .pagemap_scan(Enabled::Auto)
        .max_unused_warm_slots(100)
        .decommit_batch_size(1);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

#[expect(unsafe_code, reason = "compiled code is machine code; the cache authenticated that this host wrote it")]
fn load(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `Cache::get` returns only bytes that carry a MAC made with this host's own key over this fingerprint.
    unsafe { Component::deserialize(engine, code) }
}

/// As [`load`], of a file that a cell was handed: mapped, not copied.
#[expect(unsafe_code, reason = "compiled code is machine code; the host that handed it over authenticated it")]
fn load_file(engine: &Engine, code: &OwnedFd) -> wasmtime::Result<Component> {
    let path = format!("/proc/self/fd/{}", code.as_raw_fd());
    // SAFETY: the file is sealed, and the host that made it has checked what is in it as `load` says.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Moves the epoch. A thread of its own: a task could not tick while guests spin on every worker thread.
struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: &Engine) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (engine, stopped) = (engine.weak(), Arc::clone(&stop));
        let tick = move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name("jidoka-epoch".into()).spawn(tick)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It only sleeps and counts; there is no result to lose.
            drop(thread.join());
        }
    }
}

/// The errors of a guest's streams.
struct Errors<'a>(&'a mut ResourceTable);

struct HasErrors;

impl HasData for HasErrors {
    type Data<'a> = Errors<'a>;
}

impl error::Host for Errors<'_> {}

impl error::HostError for Errors<'_> {
    /// The error and its causes. Wasmtime's own words end with the host's stack if `RUST_BACKTRACE` is set: that is the
    /// machine's, and no two are alike.
    fn to_debug_string(&mut self, error: Resource<IoError>) -> wasmtime::Result<String> {
        Ok(plain(self.0.get(&error)?))
    }

    fn drop(&mut self, error: Resource<IoError>) -> wasmtime::Result<()> {
        error::HostError::drop(self.0, error)
    }
}

/// Streams need the resource table and nothing else.
struct HasTable;

impl HasData for HasTable {
    type Data<'a> = &'a mut ResourceTable;
}

/// WASI 0.2, interface by interface. Sockets are linked and denied: interpreters import what they never use.
fn wasi_linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    let l = &mut linker;
    error::add_to_linker::<_, HasErrors>(l, |guest: &mut Guest| Errors(&mut guest.table))?;
    streams::add_to_linker::<_, HasTable>(l, |guest: &mut Guest| &mut guest.table)?;

    wasi::clocks::wall_clock::add_to_linker::<_, HasTime>(l, Guest::time)?;
    wasi::clocks::monotonic_clock::add_to_linker::<_, HasTime>(l, Guest::time)?;
    wasi::random::random::add_to_linker::<_, HasChances>(l, |guest| &mut guest.chances)?;
    wasi::random::insecure::add_to_linker::<_, HasChances>(l, |guest| &mut guest.chances)?;
    wasi::random::insecure_seed::add_to_linker::<_, HasChances>(l, |guest| &mut guest.chances)?;
    wasi::filesystem::preopens::add_to_linker::<_, HasFiles>(l, Guest::files)?;
    wasi::filesystem::types::add_to_linker::<_, HasFiles>(l, Guest::files)?;

    wasi::cli::exit::add_to_linker::<_, WasiCli>(l, Guest::cli)?;
    wasi::cli::environment::add_to_linker::<_, WasiCli>(l, Guest::cli)?;
    wasi::cli::stdin::add_to_linker::<_, WasiCli>(l, Guest::cli)?;
    wasi::cli::stdout::add_to_linker::<_, WasiCli>(l, Guest::cli)?;
    wasi::cli::stderr::add_to_linker::<_, WasiCli>(l, Guest::cli)?;
    wasi::cli::terminal_input::add_to_linker::<_, WasiCli>(l, Guest::cli)?;
    wasi::cli::terminal_output::add_to_linker::<_, WasiCli>(l, Guest::cli)?;
    wasi::cli::terminal_stdin::add_to_linker::<_, WasiCli>(l, Guest::cli)?;
    wasi::cli::terminal_stdout::add_to_linker::<_, WasiCli>(l, Guest::cli)?;
    wasi::cli::terminal_stderr::add_to_linker::<_, WasiCli>(l, Guest::cli)?;

    let options = wasi::LinkOptions::default();
    wasi::sockets::network::add_to_linker::<_, WasiSockets>(l, &(&options).into(), Guest::sockets)?;
    wasi::sockets::instance_network::add_to_linker::<_, WasiSockets>(l, Guest::sockets)?;
    wasi::sockets::ip_name_lookup::add_to_linker::<_, WasiSockets>(l, Guest::sockets)?;
    wasi::sockets::tcp_create_socket::add_to_linker::<_, WasiSockets>(l, Guest::sockets)?;
    wasi::sockets::tcp::add_to_linker::<_, WasiSockets>(l, Guest::sockets)?;
    wasi::sockets::udp_create_socket::add_to_linker::<_, WasiSockets>(l, Guest::sockets)?;
    wasi::sockets::udp::add_to_linker::<_, WasiSockets>(l, Guest::sockets)?;
    // With it comes `wasi:io/poll`: whoever waits may wait for an exchange.
    http::link(l)?;
    Ok(linker)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Run with `RUST_BACKTRACE=1` this is sharpest: the words are the same.
    #[test]
    fn an_errors_words_are_the_same_on_every_host() {
        let mut table = ResourceTable::new();
        let full = IoError::from(std::io::Error::from_raw_os_error(28)).context("a write");
        let full = table.push(full).expect("there is room");
        let words = error::HostError::to_debug_string(&mut Errors(&mut table), full).expect("is there");
        assert_eq!(words, "a write: No space left on device (os error 28)");
    }
}
