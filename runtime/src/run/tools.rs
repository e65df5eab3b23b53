//! The tools of a run: what they offer, and one call of one, each in a sandbox of its own that is made for it and thrown away.
//!
//! Never: gives a tool more than its job says, uses a guest twice, believes what a tool says of itself. A tool that traps, spins,
//! floods or breaks its own schema is a failure that the worker hears of. Invariants here: input is checked before a tool sees
//! it, and output before anybody else does; what a call may take is bounded before it begins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};
use tokio::sync::{OnceCell, mpsc};
use wasmtime_wasi::filesystem::FsPerms;

use crate::doors::accepted::{Acceptances, Accepted};
use crate::doors::clock::Clock;
use crate::doors::fetch::Fetch;
use crate::doors::mcp::{McpServer, McpTool};
use crate::doors::program::Program;
use crate::doors::recorded::RecordedWeb;
use crate::doors::schema::Schema;
use crate::doors::store::{MemoryStore, Store};
use crate::doors::trail::Trail;
use crate::rules::digest::Digest;
use crate::rules::effect::{Body, Entry, Failure, FailureKind, Stream};
use crate::rules::ledger::{Amounts, Line};
use crate::rules::mcp::McpSpec;
use crate::rules::policy::Grantee;
use crate::rules::spec::{FileGrant, Grants, Wall};
use crate::rules::tool::{self, Described, ToolOffer, ToolSource, ToolSpec};
use crate::rules::verdict::{Outcome, Stop};

use super::RunEnd;
use super::admission::{chain, fresh_key};
use super::aside::{Aside, AsideEnd};
use super::http::MAX_HELD_BYTES;
use super::journal::{Beginning, Journal};
use super::pinned;
use super::runner::{Job, Runner};
use super::sandbox::{Call, Prepared, Returned, Sandbox, Tooling, World};
use super::seat::{Draw, Preopen, Setup};
use super::senses::VirtualClock;

/// How long a tool may take to say what it offers. It is asked once, before its run begins.
const DESCRIBE_MS: u64 = 5_000;

/// Bytes of evidence that a tool may attach that writes no files.
const EVIDENCE_BYTES: u64 = 1 << 20;

/// Characters of a message that a tool chose.
const MAX_MESSAGE_CHARS: usize = 4_000;

/// The input of a program.
const PROGRAM_INPUT: &str = r#"{"type":"object","properties":{"args":{"type":"array","items":{"type":"string"},"maxItems":256,"description":"Arguments, after the name of the program."},"stdin":{"type":"string","description":"What it reads from its standard input."}},"additionalProperties":false}"#;

/// The output of a program.
const PROGRAM_OUTPUT: &str = r#"{"type":"object","properties":{"exit":{"type":"integer"},"stdout":{"type":"string"},"stderr":{"type":"string"}},"required":["exit","stdout","stderr"],"additionalProperties":false}"#;

/// What a program is told by a call.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ProgramInput {
    args: Vec<String>,
    stdin: String,
}

/// What a program came to.
#[derive(Serialize)]
struct ProgramOutput {
    exit: i32,
    stdout: String,
    stderr: String,
}

/// Where the tools of one `[tools.NAME]` come from, opened.
#[derive(Clone)]
pub struct Toolbox {
    pub spec: ToolSpec,
    pub(super) kit: Kit,
}

/// What a toolbox is made of.
#[derive(Clone)]
pub(super) enum Kit {
    Component(Prepared),
    Server(Arc<Server>),
}

/// An MCP server of one run: started when it is needed first, and gone with the run.
pub(super) struct Server {
    /// The operator's name for it.
    name: String,
    /// `None`: it is not to be started any more, since what it said is told.
    spec: Option<McpSpec>,
    running: OnceCell<McpServer>,
}

impl Kit {
    /// A server of the operator's, not yet started.
    pub(super) fn server(name: &str, spec: Option<McpSpec>) -> Self {
        Self::Server(Arc::new(Server { name: name.to_owned(), spec, running: OnceCell::new() }))
    }
}

impl Server {
    /// The server, started if it was not.
    async fn running(&self, program: &Program) -> Result<&McpServer, String> {
        let spec = self.spec.as_ref().ok_or_else(|| format!("the MCP server {:?} is not there", self.name))?;
        let started = self.running.get_or_try_init(|| McpServer::start(program, spec)).await;
        started.map_err(|error| error.to_string())
    }

    /// What it offers. A tool whose name or schema cannot be served is left out, and the log says so.
    async fn described(&self, program: &Program) -> Result<Vec<Described>, String> {
        let told = self.running(program).await?.tools().await.map_err(|error| error.to_string())?;
        let mut described = Vec::with_capacity(told.len());
        for McpTool { name, description, input_schema, output_schema } in told {
            // What cannot be checked here is not promised either.
            let output = output_schema.filter(|schema| Schema::compile(schema).is_ok());
            match Schema::compile(&input_schema) {
                Ok(_) => described.push(Described { name, description, schema: input_schema, output }),
                Err(why) => tracing::warn!(server = self.name, tool = name, why, "a tool of an MCP server is left out"),
            }
        }
        Ok(described)
    }

    /// One call.
    async fn call(&self, program: &Program, own: &str, input: &str, wall_ms: u64) -> Result<String, Failure> {
        let running = self.running(program).await;
        let running = running.map_err(|why| said(FailureKind::Unavailable, &why))?;
        running.call(own, input, Duration::from_millis(wall_ms)).await
    }
}

/// The tools of one run. The default has none.
#[derive(Default)]
pub struct Tools {
    offers: Vec<ToolOffer>,
    tools: BTreeMap<String, Arc<Tool>>,
}

/// One tool, ready to be called.
pub struct Tool {
    offer: ToolOffer,
    toolbox: Toolbox,
    input: Schema,
    output: Option<Schema>,
}

/// What a call is made with.
pub(super) struct Bench {
    pub sandbox: Arc<Sandbox>,
    pub clock: Clock,
    pub wall: Wall,
    pub web: Arc<dyn Fetch>,
    /// The worker's files and its context, if the tool gets any.
    pub work: Option<Dir>,
    /// What guests do there, if it may write.
    pub trail: Option<Arc<Trail>>,
    pub context: Option<Dir>,
    pub evidence: Dir,
    /// The call as it is known on the wire.
    pub id: String,
    pub number: u64,
    pub seed: u64,
    /// Where the worker's clock stands. Nanoseconds since 1970.
    pub now_ns: u64,
    /// The time that all files show. Milliseconds since 1970.
    pub start_ms: u64,
    /// What was reserved for it.
    pub reserve: Amounts,
    /// Bytes that it may write.
    pub disk_bytes: u64,
}

/// What came of a call.
pub(super) struct Called {
    pub result: Result<String, Failure>,
    /// What it used: bytes of network and disk.
    pub used: Amounts,
    pub cpu_ns: u64,
    /// What happened inside of it, in order.
    pub within: Vec<Body>,
    /// What stops the run, if the tool pulled the cord or broke its wall.
    pub stop: Option<Stop>,
}

impl Tools {
    /// The tools that were offered by toolboxes which are open now.
    ///
    /// # Errors
    /// A sentence: an offer is of no toolbox, or its schema is none that is served.
    pub fn of(offers: Vec<ToolOffer>, toolboxes: &BTreeMap<String, Toolbox>) -> Result<Self, String> {
        if offers.len() > tool::MAX_OFFERS {
            return Err(format!("{} tools are offered; at most {}", offers.len(), tool::MAX_OFFERS));
        }
        let mut tools = BTreeMap::new();
        for offer in &offers {
            let name = &offer.name;
            let toolbox = toolboxes.get(&offer.toolbox).ok_or_else(|| format!("tool {name:?} is of no toolbox"))?;
            let compiled = |what: &str, schema: &str| {
                Schema::compile(schema).map_err(|why| format!("the {what} schema of tool {name:?}: {why}"))
            };
            let input = compiled("input", &offer.schema)?;
            let output = offer.output.as_deref().map(|schema| compiled("output", schema)).transpose()?;
            let tool = Tool { offer: offer.clone(), toolbox: toolbox.clone(), input, output };
            if tools.insert(name.clone(), Arc::new(tool)).is_some() {
                return Err(format!("two tools are called {name:?}"));
            }
        }
        Ok(Self { offers, tools })
    }

    /// As a guest is told of them.
    pub fn offers(&self) -> &[ToolOffer] {
        &self.offers
    }

    /// The name that a person's is for: a tool's own will do where only one has it.
    pub fn named<'a>(&'a self, name: &'a str) -> &'a str {
        if self.tools.contains_key(name) {
            return name;
        }
        let mut own = self.offers.iter().filter(|offer| offer.own == name);
        match (own.next(), own.next()) {
            (Some(one), None) => &one.name,
            _ => name,
        }
    }

    /// The tool of this name.
    pub fn find(&self, name: &str) -> Option<&Arc<Tool>> {
        self.tools.get(name)
    }
}

impl Toolbox {
    /// A toolbox that is a component.
    pub fn of_component(spec: ToolSpec, prepared: Prepared) -> Self {
        Self { spec, kit: Kit::Component(prepared) }
    }

    /// BLAKE3 of its component; a server has none.
    pub(super) fn digest(&self) -> Option<Digest> {
        match &self.kit {
            Kit::Component(prepared) => Some(prepared.digest),
            Kit::Server(_) => None,
        }
    }

    /// The bytes that name it: its component's, or the name of its server.
    pub(super) fn named<'a>(&'a self, job: &'a Job) -> &'a [u8] {
        match &self.kit {
            Kit::Component(prepared) => {
                let is_it = |bytes: &&Vec<u8>| blake3::hash(bytes).as_bytes() == prepared.digest.as_bytes();
                job.tools.values().find(is_it).map_or(&[], Vec::as_slice)
            }
            Kit::Server(server) => server.name.as_bytes(),
        }
    }

    /// What it offers, by its own words or its types.
    ///
    /// # Errors
    /// A sentence: it does not say, or says what cannot be offered.
    pub(super) async fn offers(
        &self,
        name: &str,
        sandbox: &Arc<Sandbox>,
        clock: Clock,
        wall: Wall,
        evidence: Dir,
    ) -> Result<Vec<ToolOffer>, String> {
        let prepared = match &self.kit {
            Kit::Component(prepared) => prepared,
            Kit::Server(server) => {
                let program = sandbox.program().map_err(|error| error.to_string())?;
                return tool::offers(name, &self.spec, server.described(program).await?);
            }
        };
        let described = match prepared.tooling() {
            Tooling::None => return Err("it offers no tools: no `describe`, no program, no function".to_owned()),
            Tooling::Program => vec![program(&self.spec)],
            Tooling::Asked => self.asked(prepared, sandbox, clock, wall, evidence).await?,
            Tooling::Functions(described) => described,
        };
        tool::offers(name, &self.spec, described)
    }

    /// Asks a tool component what it offers: with nothing granted, always with the same seed and at the same time.
    async fn asked(
        &self,
        prepared: &Prepared,
        sandbox: &Arc<Sandbox>,
        clock: Clock,
        wall: Wall,
        evidence: Dir,
    ) -> Result<Vec<Described>, String> {
        let caps = &self.spec.caps;
        let time = Arc::new(VirtualClock::starting_at_ms(0));
        let books = Arc::new(MemoryStore::default());
        let (journal, _) = journal("describe", &books, clock, &time).map_err(|end| end.to_string())?;
        let aside = Aside {
            sandbox: Arc::clone(sandbox),
            clock,
            wall,
            grants: Grants::default(),
            grantee: Grantee::Tool,
            web: Arc::new(RecordedWeb::default()),
            limits: times(DESCRIBE_MS, DESCRIBE_MS).chain([(Line::DiskBytes, 0), (Line::NetBytes, 0)]).collect(),
            payer: None,
            books,
            journal,
            time,
            serial: "describe".to_owned(),
            evidence,
            trail: None,
        };
        let setup = Setup {
            call: Call::Describe,
            args: Vec::new(),
            stdin: String::new(),
            env: BTreeMap::new(),
            chances: Draw::Tool { seed: 0, call: 0 },
            start_ms: 0,
            max_created: 0,
            max_body_bytes: 0,
            caps: caps.of_guest(),
        };
        let end = aside.call(prepared, setup, Vec::new()).await.map_err(|end| end.to_string())?;
        match end.ended {
            Ok(Returned::Described(tools)) => Ok(tools
                .into_iter()
                .map(|tool| Described {
                    name: tool.name,
                    description: tool.description,
                    schema: tool.schema,
                    output: None,
                })
                .collect()),
            Ok(_) => Err("it answered as another guest".to_owned()),
            Err(outcome) => Err(format!("it does not say what it offers: {}", failure(&outcome).message)),
        }
    }
}

/// A program says nothing of itself.
fn program(spec: &ToolSpec) -> Described {
    let before = match spec.args.is_empty() {
        true => String::new(),
        false => format!(" Its first arguments are always {:?}.", spec.args),
    };
    Described {
        name: "run".to_owned(),
        description: format!("A program. It takes arguments and an input, and prints.{before}"),
        schema: PROGRAM_INPUT.to_owned(),
        output: Some(PROGRAM_OUTPUT.to_owned()),
    }
}

impl Tool {
    /// As it is offered.
    pub fn offer(&self) -> &ToolOffer {
        &self.offer
    }

    /// What a call of it may have and take.
    pub fn spec(&self) -> &ToolSpec {
        &self.toolbox.spec
    }

    /// Whether an input is JSON that its schema takes.
    ///
    /// # Errors
    /// A sentence with the place.
    pub fn takes(&self, input: &str) -> Result<(), String> {
        self.input.check(input)
    }

    /// Makes one call, in a sandbox of its own.
    ///
    /// # Errors
    /// [`RunEnd`]: the host's own trouble.
    pub(super) async fn call(
        self: Arc<Self>,
        input: String,
        bench: Bench,
        payer: Arc<super::meter::Meter>,
    ) -> Result<Called, RunEnd> {
        let prepared = match &self.toolbox.kit {
            Kit::Component(prepared) => prepared,
            Kit::Server(server) => {
                let program = bench.sandbox.program().map_err(|error| RunEnd::Fault(error.to_string()))?;
                let result = server.call(program, &self.offer.own, &input, self.toolbox.spec.caps.wall_ms).await;
                let result = result.and_then(|output| self.accepted(output));
                return Ok(Called { result, used: Amounts::default(), cpu_ns: 0, within: Vec::new(), stop: None });
            }
        };
        let _slot = bench.sandbox.slot_aside().await;
        let spec = &self.toolbox.spec;
        let caps = spec.caps.of_guest();
        let time = Arc::new(VirtualClock::starting_at_ms(bench.start_ms));
        time.move_to_ns(bench.now_ns);
        let books = Arc::new(MemoryStore::default());
        let (journal, mut entries) = journal(&bench.id, &books, bench.clock, &time)?;
        let is_program = prepared.is_program();
        let (args, stdin) = match is_program {
            false => (Vec::new(), String::new()),
            true => {
                let ProgramInput { args, stdin } =
                    serde_json::from_str(&input).map_err(|error| RunEnd::Fault(error.to_string()))?;
                // As programs expect it, their own name comes first.
                let name = std::iter::once(self.offer.toolbox.clone());
                (name.chain(spec.args.iter().cloned()).chain(args).collect(), stdin)
            }
        };
        let aside = Aside {
            sandbox: bench.sandbox,
            clock: bench.clock,
            wall: bench.wall,
            grants: Grants { files: spec.files, http: spec.http.clone(), ..Grants::default() },
            grantee: Grantee::Tool,
            web: bench.web,
            limits: times(spec.caps.wall_ms, spec.caps.cpu_ms)
                .chain([(Line::DiskBytes, bench.disk_bytes), (Line::NetBytes, bench.reserve.get(Line::NetBytes))])
                .collect(),
            payer: Some(payer),
            books,
            journal,
            time,
            serial: bench.id,
            evidence: bench.evidence,
            trail: bench.trail,
        };
        let setup = Setup {
            call: Call::Tool { name: self.offer.own.clone(), input },
            args,
            stdin,
            env: spec.env.clone(),
            chances: Draw::Tool { seed: bench.seed, call: bench.number },
            start_ms: bench.start_ms,
            max_created: if spec.files == FileGrant::ReadWrite { caps.files } else { 0 },
            max_body_bytes: if spec.http.is_empty() { 0 } else { MAX_HELD_BYTES },
            caps,
        };
        let preopens = preopens(spec.files, bench.work, bench.context);
        let AsideEnd { ended, stdout, stderr, gate, used, cpu_ns } = aside.call(prepared, setup, preopens).await?;
        let stop = match &ended {
            Err(Outcome::Interrupted(stop @ Stop::Pulled { .. })) => Some(stop.clone()),
            _ => None,
        };
        let result = match ended {
            Ok(Returned::Output(Ok(output))) => self.accepted(output),
            Ok(Returned::Output(Err(why))) => Err(said(FailureKind::Rejected, &why)),
            Ok(Returned::Exited(exit)) => {
                let (stdout, stderr) =
                    (whole(stdout.clone(), "standard output"), whole(stderr.clone(), "standard error"));
                match (stdout, stderr) {
                    (Ok(stdout), Ok(stderr)) => {
                        let output = ProgramOutput { exit, stdout, stderr };
                        self.accepted(serde_json::to_string(&output).expect("numbers and texts"))
                    }
                    (Err(failure), _) | (_, Err(failure)) => Err(failure),
                }
            }
            Ok(Returned::Report(_) | Returned::Judgement(_) | Returned::Described(_)) => {
                return Err(RunEnd::Fault("a tool answered as another guest".into()));
            }
            Err(Outcome::Faulted(why)) => return Err(RunEnd::Fault(why)),
            Err(outcome) => Err(failure(&outcome)),
        };
        if !is_program || result.is_err() {
            // What a program prints is its answer, if it has one.
            gate.record_output([(Stream::Stdout, stdout.0, stdout.1), (Stream::Stderr, stderr.0, stderr.1)]).await?;
        }
        let used = used.only(|line| matches!(line, Line::DiskBytes | Line::NetBytes));
        drop(gate);
        let within = std::iter::from_fn(|| entries.try_recv().ok().map(|entry| entry.body)).collect();
        Ok(Called { result, used, cpu_ns, within, stop })
    }

    /// An output that may be handed on.
    fn accepted(&self, output: String) -> Result<String, Failure> {
        let most = self.toolbox.spec.caps.output_bytes;
        // Of a program each stream was bounded, and what stands around them is ours.
        let is_program = matches!(&self.toolbox.kit, Kit::Component(prepared) if prepared.is_program());
        let most = if is_program { u64::MAX } else { most };
        if output.len() as u64 > most {
            return Err(said(FailureKind::Broken, &format!("its output has {} bytes; at most {most}", output.len())));
        }
        let fits = match &self.output {
            Some(schema) => schema.check(&output).map_err(|why| format!("its output breaks its own schema: {why}")),
            None => serde_json::from_str::<serde::de::IgnoredAny>(&output)
                .map(drop)
                .map_err(|error| format!("its output is not JSON: {error}")),
        };
        fits.map(|()| output).map_err(|why| said(FailureKind::Broken, &why))
    }
}

/// A journal of its own for one call, and what is written there.
fn journal(
    id: &str,
    books: &Arc<MemoryStore>,
    clock: Clock,
    time: &Arc<VirtualClock>,
) -> Result<(Arc<Journal>, mpsc::UnboundedReceiver<Entry>), RunEnd> {
    let (watcher, entries) = mpsc::unbounded_channel();
    let key = fresh_key().map_err(|_| RunEnd::Fault("the machine gives no randomness".into()))?;
    let store = Arc::clone(books) as Arc<dyn Store>;
    let journal = Journal::new(store, id, clock, Arc::clone(time), Some(watcher), Beginning::blank(key));
    Ok((Arc::new(journal), entries))
}

fn times(wall_ms: u64, cpu_ms: u64) -> impl Iterator<Item = (Line, u64)> {
    [(Line::WallMs, wall_ms), (Line::WorkMs, wall_ms), (Line::CpuMs, cpu_ms)].into_iter()
}

/// The directories that a tool gets.
fn preopens(files: FileGrant, work: Option<Dir>, context: Option<Dir>) -> Vec<Preopen> {
    let perms = match files {
        FileGrant::None => return Vec::new(),
        FileGrant::ReadOnly => FsPerms::ReadOnly,
        FileGrant::ReadWrite => FsPerms::ReadWrite,
    };
    let work = work.map(|dir| Preopen { name: "/work", dir, perms });
    let context = context.map(|dir| Preopen { name: "/context", dir, perms: FsPerms::ReadOnly });
    work.into_iter().chain(context).collect()
}

/// A stream of a program's that nothing was dropped of.
fn whole((text, dropped_bytes): (String, u64), stream: &str) -> Result<String, Failure> {
    match dropped_bytes {
        0 => Ok(text),
        more => Err(said(FailureKind::Broken, &format!("its {stream} is {more} bytes past what an output may have"))),
    }
}

/// What it means for whoever called that a tool gave no answer.
fn failure(outcome: &Outcome) -> Failure {
    match outcome {
        Outcome::Interrupted(Stop::Exhausted { line, .. }) => {
            said(FailureKind::TimedOut, &format!("the tool used up its {}", line.name()))
        }
        Outcome::Interrupted(stop) => {
            said(FailureKind::Broken, &format!("the tool was stopped: {}", stop.verdict().why()))
        }
        Outcome::Trapped(why) => said(FailureKind::Broken, &format!("the tool trapped: {why}")),
        Outcome::Failed(why) => said(FailureKind::Rejected, why),
        Outcome::Returned(_) => said(FailureKind::Broken, "the tool answered as a worker"),
        Outcome::Faulted(why) => said(FailureKind::Unavailable, why),
        Outcome::Diverged(divergence) => said(FailureKind::Broken, &divergence.to_string()),
    }
}

fn said(kind: FailureKind, message: &str) -> Failure {
    Failure { kind, message: message.chars().take(MAX_MESSAGE_CHARS).collect() }
}

/// Bytes that a call may write, of what its run has left.
pub(super) fn disk_bytes(spec: &ToolSpec, left: u64) -> u64 {
    match spec.files {
        FileGrant::ReadWrite => spec.caps.disk_bytes.min(left),
        FileGrant::None | FileGrant::ReadOnly => EVIDENCE_BYTES.min(spec.caps.disk_bytes).min(left),
    }
}

/// How a toolbox stands with what was accepted of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
pub enum Standing {
    /// Never seen: what it says is accepted when it is used for the first time.
    New,
    Accepted,
    /// The job says which bytes it is.
    Pinned,
    /// It describes itself otherwise than was accepted.
    Changed {
        accepted: Digest,
    },
    /// It offers nothing that could be accepted.
    Silent,
}

/// A toolbox as it describes itself now.
#[derive(Clone, Debug)]
pub struct Surveyed {
    pub toolbox: String,
    /// A sentence, if it offers nothing.
    pub offers: Result<Vec<ToolOffer>, String>,
    pub standing: Standing,
}

/// What the tools of a job offer now. Nothing is accepted, and nothing runs but what describes.
///
/// # Errors
/// A sentence: a component is not what it must be, does not compile, or the disk fails.
pub async fn survey(runner: &Arc<Runner>, job: &Job) -> Result<Vec<Surveyed>, String> {
    let wall = runner.wall(&job.spec);
    let mut all = Vec::new();
    pinned::check(job).map_err(|verdict| verdict.why())?;
    for (name, spec) in &job.spec.tools {
        let kit = match &spec.source {
            ToolSource::Server(server) => Ok(Kit::server(server, job.servers.get(name).cloned())),
            ToolSource::Component(_) => {
                let bytes = job.tools.get(name).ok_or_else(|| format!("tool {name:?} has no component"))?.clone();
                let sandbox = Arc::clone(&runner.sandbox);
                let prepared = tokio::task::spawn_blocking(move || sandbox.prepare(&bytes, World::Tool));
                prepared.await.map_err(|error| error.to_string())?.map(Kit::Component)
            }
        };
        let offers = match kit {
            Ok(kit) => {
                let toolbox = Toolbox { spec: spec.clone(), kit };
                toolbox
                    .offers(
                        name,
                        &runner.sandbox,
                        runner.clock,
                        wall,
                        runner.state.describing().map_err(|error| error.to_string())?,
                    )
                    .await
            }
            Err(error) => Err(chain(&error)),
        };
        let (state, tenant, line, toolbox) =
            (runner.state.clone(), job.spec.tenant.clone(), job.spec.line.clone(), name.clone());
        let known = tokio::task::spawn_blocking(move || state.acceptances()?.get(&tenant, &line, &toolbox));
        let known = known.await.map_err(|error| error.to_string())?;
        let known = known.map_err(|error| format!("what was accepted cannot be read: {error}"))?;
        let standing = match (&offers, known) {
            (Err(_), _) => Standing::Silent,
            (Ok(_), _) if spec.pin.digest.is_some() => Standing::Pinned,
            (Ok(_), None) => Standing::New,
            (Ok(offers), Some(accepted)) if accepted.digest == pin_of(offers) => Standing::Accepted,
            (Ok(_), Some(Accepted { digest: accepted, .. })) => Standing::Changed { accepted },
        };
        all.push(Surveyed { toolbox: name.clone(), offers, standing });
    }
    Ok(all)
}

/// Accepts how a toolbox of a job describes itself.
///
/// # Errors
/// A sentence: it offers nothing, or the disk fails.
pub async fn accept(runner: &Arc<Runner>, job: &Job, surveyed: Surveyed, reason: &str) -> Result<Digest, String> {
    let offers = surveyed.offers?;
    let digest = pin_of(&offers);
    let accepted = Accepted {
        tenant: job.spec.tenant.clone(),
        line: job.spec.line.clone(),
        toolbox: surveyed.toolbox,
        digest,
        offers,
        at_ms: runner.clock.unix_ms(),
        reason: Some(reason.to_owned()),
    };
    let state = runner.state.clone();
    let kept = tokio::task::spawn_blocking(move || state.acceptances()?.put(&accepted));
    let kept = kept.await.map_err(|error| error.to_string())?;
    kept.map(|()| digest).map_err(|error| format!("it could not be kept: {error}"))
}

/// Holds a toolbox to what was accepted of it. One that was never seen is accepted as it is. Blocking.
///
/// # Errors
/// A sentence: it describes itself otherwise, or the disk.
pub(super) fn held(acceptances: &Acceptances, offered: Accepted) -> Result<(), String> {
    let Accepted { tenant, line, toolbox, digest, .. } = &offered;
    match acceptances.get(tenant, line, toolbox) {
        Ok(Some(accepted)) if accepted.digest == *digest => Ok(()),
        Ok(Some(accepted)) => Err(format!(
            "it describes itself otherwise than was accepted: {digest}, and accepted is {}; look at it with jidoka tools \
             inspect, and accept it with jidoka tools accept JOB {toolbox} --reason TEXT",
            accepted.digest
        )),
        Ok(None) => acceptances.put(&offered).map_err(|error| format!("what it says could not be kept: {error}")),
        Err(error) => Err(format!("what was accepted cannot be read: {error}")),
    }
}

/// The digest by which an operator accepts how a toolbox describes itself.
pub fn pin_of(offers: &[ToolOffer]) -> Digest {
    Digest::from_bytes(*blake3::hash(tool::pinned_text(offers).as_bytes()).as_bytes())
}
