//! One run, in process, with a real component: `Bench::new(guest).wall("1s").run().await`.
//!
//! Every part of the job has a small default, so that a test says only what it is about.

mod tooled;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use jidoka::doors::cache::Cache;
use jidoka::doors::chain::KeptEntry;
use jidoka::doors::clock::Clock;
use jidoka::doors::command::CommandEnvironment;
use jidoka::doors::model::Model;
use jidoka::doors::pace::Pace;
use jidoka::doors::program::Program;
use jidoka::doors::provider::HttpModel;
use jidoka::doors::recorded::RecordedWeb;
use jidoka::doors::script::ScriptedModel;
use jidoka::doors::sqlite::{CommitPoint, Probe, SqliteStore};
use jidoka::doors::state::State;
use jidoka::doors::store::Store;
use jidoka::rules::authored::{self, OperatorFile, Overrides};
use jidoka::rules::effect::{Body, Entry};
use jidoka::rules::http::HttpGrant;
use jidoka::rules::ledger::ScopeId;
use jidoka::rules::left_out::LeftOut;
use jidoka::rules::mcp::McpSpec;
use jidoka::rules::record::Record;
use jidoka::rules::spec::{CheckRun, ComponentSource, CountedBy, Dialect, Provider, RunSpec, Wall};
use jidoka::rules::tool::ToolCall;
use jidoka::run::cord::Cord;
use jidoka::run::desk::{Because, Desk};
use jidoka::run::fork::Branch;
use jidoka::run::hooks::{HookEnvironment, Hooks};
use jidoka::run::replay::Replayed;
use jidoka::run::runner::{Account, Apply, CheckJob, Find, Job, Reached, RunHandle, Runner, WebDoor};
use jidoka::run::sandbox::Sandbox;
use tempfile::TempDir;

use crate::provider::FakeProvider;

/// The time at which every test starts, in milliseconds since 1970.
pub const START_MS: u64 = 1_700_000_000_000;

/// Guests at once in one test process.
const SLOTS: u32 = 64;

/// The sandbox of all tests in this process; compiled guests are kept between processes too.
pub fn sandbox() -> Arc<Sandbox> {
    static SANDBOX: OnceLock<Arc<Sandbox>> = OnceLock::new();
    let make = || {
        let dir = Path::new(env!("OUT_DIR")).join("cache");
        std::fs::create_dir_all(&dir).expect("a cache directory");
        let cache = Cache::open(open(&dir), [7; 32]).expect("a cache");
        Arc::new(Sandbox::new(SLOTS, Some(cache), cell()).expect("an engine"))
    };
    Arc::clone(SANDBOX.get_or_init(make))
}

/// The program of this package that stands in a process of its own. Cargo puts it beside the other programs, and a test
/// into a folder below them.
pub fn cell() -> Program {
    let this = std::env::current_exe().expect("this program");
    let folders = this.ancestors().skip(1).take(2);
    let path = folders.map(|folder| folder.join("cell")).find(|path| path.is_file()).expect("cargo built it");
    Program { path, arguments: Vec::new() }
}

/// Opens a directory by path.
pub fn open(path: &Path) -> Dir {
    Dir::open_ambient_dir(path, ambient_authority()).expect("opens a directory")
}

/// A run to be.
#[derive(Clone)]
pub struct Bench {
    component: Vec<u8>,
    tools: BTreeMap<String, Vec<u8>>,
    tool_tables: String,
    servers: BTreeMap<String, McpSpec>,
    children: BTreeMap<String, Bench>,
    call: Option<ToolCall>,
    /// Toolboxes that have all rules of the worker's.
    webbed: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
    tables: BTreeMap<&'static str, Vec<String>>,
    checks: Vec<(String, Option<Vec<u8>>)>,
    models: BTreeMap<String, Arc<dyn Model>>,
    /// What the job calls the model of `models.model`.
    model_name: String,
    item: Option<String>,
    operator: String,
    /// What the operator approves as a check.
    commands: Vec<String>,
    /// What the place of the workspace leaves out of it.
    left_out: LeftOut,
    apply: Apply,
    home: Option<Arc<Home>>,
    /// Where the books are kept, if not in the home's own store.
    books: Option<Arc<dyn Store>>,
    web: WebDoor,
    http: Vec<HttpGrant>,
    pace: Option<Arc<Pace>>,
    counted_by: CountedBy,
    serial: Option<String>,
    start_ms: u64,
    wall: Wall,
    /// What stands in processes of the host's own, if not this package's `cell`.
    program: Option<Program>,
}

/// The wall of all runs that do not say it: `process` if `JIDOKA_TEST_WALL` says so.
fn wall() -> Wall {
    match std::env::var("JIDOKA_TEST_WALL").as_deref() {
        Ok("process") => Wall::Process,
        Ok(other) => panic!("JIDOKA_TEST_WALL is {other:?}, and not \"process\""),
        Err(_) => Wall::None,
    }
}

/// Where a run's state and workspace are. Shared, it lets runs follow each other.
pub struct Home {
    dir: PathBuf,
    /// `None`: somebody else removes it.
    _owned: Option<TempDir>,
}

impl Home {
    /// A new, empty one.
    pub fn new() -> Arc<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["state", "workspace", "context"] {
            std::fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        Arc::new(Self { dir: dir.path().to_owned(), _owned: Some(dir) })
    }

    /// One that another process made, and removes.
    pub fn of(dir: &Path) -> Arc<Self> {
        Arc::new(Self { dir: dir.to_owned(), _owned: None })
    }

    /// The directory around it all.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The real directory that the worker gets a copy of.
    pub fn workspace(&self) -> PathBuf {
        self.dir.join("workspace")
    }

    /// The read-only context.
    pub fn context(&self) -> PathBuf {
        self.dir.join("context")
    }

    /// Lets an item be tried again that is at its end: the operator's to do.
    pub async fn revive(&self, item: &str) {
        let desk = Desk::new(store(&self.state()), state(&self.state()), Clock::starting_at(START_MS));
        let because = Because { by: "ada".to_owned(), reason: "another try".to_owned() };
        desk.revive(&ScopeId::of_path(&format!("default/tests/{item}")), because).await.expect("is at its end");
    }

    /// The host's own directory.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }
}

/// What came of a run.
pub struct End {
    pub record: Record,
    pub entries: Vec<Entry>,
    pub home: Arc<Home>,
    /// From the start of the run to its verdict.
    pub took: std::time::Duration,
}

impl Bench {
    /// A run of the guest at `component`, with read-write files, no models, and a mark for any change.
    pub fn new(component: &str) -> Self {
        Self::of_bytes(std::fs::read(component).expect("the build script made it"))
    }

    /// A run of these bytes.
    pub fn of_bytes(component: Vec<u8>) -> Self {
        let mut tables = BTreeMap::new();
        let mut default = |table, lines: &[&str]| {
            tables.insert(table, lines.iter().map(|&line| line.to_owned()).collect());
        };
        default("", &["line = \"tests\""]);
        default("worker", &["component = \"worker.wasm\""]);
        default("task", &["text = \"do it\""]);
        default("workspace", &["dir = \"workspace\"", "context = \"context\""]);
        default("grants", &["files = \"read-write\""]);
        default("budget", &["wall = \"20s\""]);
        default("attempts", &["max = 3", "backoff = \"0s\""]);
        default("done", &["marks = [\"tree\", \"artifact\"]", "tree = [\".\"]"]);
        Self {
            component,
            tools: BTreeMap::new(),
            tool_tables: String::new(),
            servers: BTreeMap::new(),
            children: BTreeMap::new(),
            call: None,
            webbed: Vec::new(),
            files: Vec::new(),
            tables,
            checks: Vec::new(),
            models: BTreeMap::new(),
            model_name: "model".to_owned(),
            item: None,
            operator: String::new(),
            commands: Vec::new(),
            left_out: LeftOut::default(),
            apply: Apply::Accepted,
            home: None,
            books: None,
            web: Arc::new(RecordedWeb::default()),
            http: Vec::new(),
            pace: None,
            counted_by: CountedBy::Bytes,
            serial: None,
            start_ms: START_MS,
            wall: wall(),
            program: None,
        }
    }

    /// Sets a line of a table of the job, over what was there for its key.
    pub fn set(mut self, table: &'static str, line: &str) -> Self {
        let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        let lines = self.tables.entry(table).or_default();
        lines.retain(|old| key(old) != key(line));
        lines.push(line.to_owned());
        self
    }

    /// Removes a line of a table of the job.
    pub fn unset(mut self, table: &'static str, key: &str) -> Self {
        if let Some(lines) = self.tables.get_mut(table) {
            lines.retain(|line| line.split('=').next().unwrap_or_default().trim() != key);
        }
        self
    }

    /// Limits the run's time.
    pub fn wall(self, wall: &str) -> Self {
        self.set("budget", &format!("wall = \"{wall}\""))
    }

    /// A file of the real directory. Its parents are made.
    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.files.push((path.to_owned(), text.as_bytes().to_vec()));
        self
    }

    /// Grants a scripted model named `model`, with room for its budget.
    pub fn script(self, transcript: &str) -> Self {
        let model = ScriptedModel::parse(transcript).expect("a transcript");
        self.model(Arc::new(model))
    }

    /// Grants a model named `model`, with room for its budget.
    pub fn model(self, model: Arc<dyn Model>) -> Self {
        self.model_named("model", model)
    }

    /// Grants a model under a name, with room for its budget.
    pub fn model_named(mut self, name: &str, model: Arc<dyn Model>) -> Self {
        self.models.insert(name.to_owned(), model);
        self.set("grants", &format!("models = [{name:?}]"))
            .rename_model(name)
            .set("models.model", "script = \"transcript.toml\"")
            .set("models.model", "window = 8192")
            .set("models.model", "max-output = 1024")
            .set("models.model", "usd-per-mtok-in = \"1\"")
            .set("models.model", "usd-per-mtok-out = \"2\"")
            .set("budget", "model-calls = 50")
            .set("budget", "tokens = 100000")
            .set("budget", "usd = \"1\"")
            .set("budget", "net = \"64MiB\"")
    }

    fn rename_model(mut self, name: &str) -> Self {
        self.model_name = name.to_owned();
        self
    }

    /// Adds a check that is a component.
    pub fn check(mut self, name: &str, component: &str) -> Self {
        let bytes = std::fs::read(component).expect("the build script made it");
        self.checks.push((format!("name = \"{name}\"\ncomponent = \"{name}.wasm\"\nwall = \"2s\""), Some(bytes)));
        self
    }

    /// Adds a check that is a command, which the operator approves.
    pub fn command(mut self, name: &str, argv: &[&str], wall: &str) -> Self {
        self.checks.push((format!("name = \"{name}\"\ncommand = {argv:?}\nwall = \"{wall}\""), None));
        self.commands.push(format!("{argv:?}"));
        self.operator = format!("[policy]\ncommands = [{}]\n", self.commands.join(", "));
        self
    }

    /// Names the item.
    pub fn item(mut self, item: &str) -> Self {
        self.item = Some(item.to_owned());
        self
    }

    /// Gives the run this serial.
    pub fn serial(mut self, serial: &str) -> Self {
        self.serial = Some(serial.to_owned());
        self
    }

    /// Runs so much later than other runs do.
    pub fn hours_later(self, hours: u64) -> Self {
        self.ms_later(hours * 3_600_000)
    }

    /// Runs so many milliseconds later than other runs do.
    pub fn ms_later(mut self, ms: u64) -> Self {
        self.start_ms = START_MS + ms;
        self
    }

    /// Puts the guests behind this wall.
    pub fn behind(mut self, wall: Wall) -> Self {
        self.wall = wall;
        self
    }

    /// Lets another program stand in the processes of the host's own.
    pub fn program(mut self, program: Program) -> Self {
        self.program = Some(program);
        self
    }

    /// Puts the workspace where this is left out of it.
    pub fn left_out(mut self, left_out: LeftOut) -> Self {
        self.left_out = left_out;
        self
    }

    /// Leaves the real directory alone.
    pub fn no_apply(mut self) -> Self {
        self.apply = Apply::Never;
        self
    }

    /// Keeps the books elsewhere.
    pub fn books(mut self, store: Arc<dyn Store>) -> Self {
        self.books = Some(store);
        self
    }

    /// Lets the worker speak to this web as the grants say, with room for its budget.
    pub fn web(mut self, web: WebDoor, grants: &[HttpGrant]) -> Self {
        self.web = web;
        self.http = grants.to_vec();
        self.set("budget", "net = \"64MiB\"")
    }

    /// Lets the models' calls wait for this pace.
    pub fn pace(mut self, pace: Arc<Pace>) -> Self {
        self.pace = Some(pace);
        self
    }

    /// Lets the provider count each request before it is asked.
    pub fn counted(mut self) -> Self {
        self.counted_by = CountedBy::Provider;
        self
    }

    /// Replaces the operator's file.
    pub fn operator(mut self, file: &str) -> Self {
        self.operator = file.to_owned();
        self
    }

    /// Runs where another run was.
    pub fn at(mut self, home: &Arc<Home>) -> Self {
        self.home = Some(Arc::clone(home));
        self
    }

    /// The job file.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (table, lines) in &self.tables {
            if !table.is_empty() {
                let table = table.replace("models.model", &format!("models.{}", self.model_name));
                text += &format!("[{table}]\n");
            }
            text += &(lines.join("\n") + "\n");
        }
        if !self.checks.is_empty() {
            let names = |(check, _): &(String, Option<Vec<u8>>)| {
                check.split('"').nth(1).expect("a check has a name").to_owned()
            };
            let names: Vec<String> = self.checks.iter().map(names).collect();
            text = text.replace("[done]\n", &format!("[done]\nchecks = {names:?}\n"));
            for (check, _) in &self.checks {
                text += &format!("[[check]]\n{check}\n");
            }
        }
        text + &self.tool_tables
    }

    fn operator_file(&self) -> OperatorFile {
        match self.operator.as_str() {
            "" => OperatorFile::default(),
            text => authored::operator(text).expect("an operator's file"),
        }
    }

    fn spec(&self) -> RunSpec {
        let operator = self.operator_file();
        let overrides = Overrides { item: self.item.clone(), ..Overrides::default() };
        let text = self.text();
        let spec = authored::job(&text, &operator, &overrides);
        let mut spec = spec.unwrap_or_else(|mistakes| panic!("{text}\n{mistakes:#?}"));
        spec.shared.declared = !self.operator.is_empty();
        spec.wall = spec.wall.max(self.wall);
        spec.grants.http.extend(self.http.iter().cloned());
        for name in &self.webbed {
            let tool = spec.tools.get_mut(name).expect("a granted tool");
            tool.http.clone_from(&spec.grants.http);
        }
        spec.models.values_mut().for_each(|model| model.counted_by = self.counted_by);
        for (name, child) in &self.children {
            let own = child.spec();
            assert_eq!(own.beyond(&spec), Vec::<String>::new(), "child {name}");
            spec.children.get_mut(name).expect("a granted child").spec = Some(Box::new(own));
        }
        match self.call.clone() {
            Some(call) => spec.as_call(call),
            None => spec,
        }
    }

    /// Runs to the verdict.
    pub async fn run(self) -> End {
        self.run_with(|_| {}).await
    }

    /// Runs to the verdict, with the run's cord in the hands of `operator`.
    pub async fn run_with(self, operator: impl FnOnce(Cord)) -> End {
        let (apply, serial) = (self.apply, self.serial.clone());
        let (home, runner, job) = self.prepare();
        let started = std::time::Instant::now();
        let handle = runner.start(job, serial.unwrap_or_else(fresh_serial), apply);
        operator(handle.cord());
        End::of(handle, home, started).await
    }

    /// Runs to the verdict, with each entry shown to `watcher` as soon as it is kept.
    pub async fn watch(self, mut watcher: impl FnMut(&Entry)) -> Record {
        let (apply, serial) = (self.apply, self.serial.clone());
        let (_home, runner, job) = self.prepare();
        let mut handle = runner.start(job, serial.unwrap_or_else(fresh_serial), apply);
        while let Some(entry) = handle.next_entry().await {
            watcher(&entry);
        }
        handle.verdict().await.expect("a verdict")
    }

    /// Lets a run go on that this bench ran before, in the same home.
    pub async fn resume(self, serial: &str) -> End {
        self.resume_with(serial, |_| {}).await
    }

    /// As [`Bench::resume`], with the run's cord in the hands of `operator`.
    pub async fn resume_with(self, serial: &str, operator: impl FnOnce(Cord)) -> End {
        let apply = self.apply;
        let (home, runner, job) = self.prepare();
        let past = runner.past(serial).await.expect("is there");
        let started = std::time::Instant::now();
        let handle = runner.resume(job, past, apply);
        operator(handle.cord());
        End::of(handle, home, started).await
    }

    /// Forks a run that this bench ran before, in the same home.
    pub async fn fork(self, serial: &str, branch: Branch) -> End {
        let apply = self.apply;
        let (home, runner, job) = self.prepare();
        let past = runner.past(serial).await.expect("is there");
        let started = std::time::Instant::now();
        End::of(runner.fork(job, past, branch, fresh_serial(), apply), home, started).await
    }

    fn prepare(mut self) -> (Arc<Home>, Arc<Runner>, Job) {
        let home = self.home.take().unwrap_or_else(Home::new);
        let (books, start_ms) = (self.books.take(), self.start_ms);
        let sandbox = match self.program.take() {
            Some(program) => Arc::new(Sandbox::new(2, None, program).expect("an engine")),
            None => sandbox(),
        };
        let job = self.job(&home);
        let books = books.unwrap_or_else(|| store_at(&home.state(), start_ms));
        let runner = Arc::new(new_runner(sandbox, &home.state(), books, start_ms));
        (home, runner, job)
    }

    fn job(self, home: &Home) -> Job {
        let spec = self.spec();
        let hooks = self.operator_file().hooks;
        let environment = HookEnvironment::from_variables(&hooks, std::env::vars());
        let hooks = Hooks::new(hooks, environment);
        let children = self.children.into_iter().map(|(name, child)| (name, child.job(home))).collect();
        for (path, bytes) in &self.files {
            let path = home.workspace().join(path);
            std::fs::create_dir_all(path.parent().expect("below the workspace")).expect("a directory");
            std::fs::write(path, bytes).expect("a file");
        }
        let is_component = |check: &CheckRun| match check {
            CheckRun::Component(ComponentSource::File(_) | ComponentSource::Crate(_)) => true,
            CheckRun::Command(_) => false,
        };
        let checks = spec
            .checks
            .iter()
            .zip(&self.checks)
            .map(|(check, (_, component))| {
                assert_eq!(is_component(&check.run), component.is_some());
                CheckJob { check: check.clone(), component: component.clone() }
            })
            .collect();
        let pace = self.pace.clone();
        let reached = |model: Arc<dyn Model>| Reached { model, pace: pace.clone(), max_response_bytes: 1 << 20 };
        Job {
            component: self.component,
            tools: self.tools,
            servers: self.servers,
            children: Arc::new(children),
            checks,
            workspace: spec.workspace.is_some().then(|| open(&home.workspace())),
            find: Some(finder(home)),
            context: spec
                .workspace
                .as_ref()
                .is_some_and(|files| files.context.is_some())
                .then(|| open(&home.context())),
            left_out: self.left_out,
            models: self.models.into_iter().map(|(name, model)| (name, reached(model))).collect(),
            web: self.web,
            account: Account::default(),
            hooks,
            dir: home.dir().display().to_string(),
            spec,
        }
    }
}

/// Finds the real directory by its name.
fn finder(home: &Home) -> Find {
    let path = home.workspace();
    Arc::new(move || Dir::open_ambient_dir(&path, ambient_authority()))
}

/// A runner with its state in `dir`.
pub fn runner(dir: &Path) -> Arc<Runner> {
    runner_with(dir, store(dir))
}

/// A runner with its state in `dir` whose guests are at least behind this wall.
pub fn runner_behind(dir: &Path, wall: Wall) -> Arc<Runner> {
    Arc::new(new_runner(sandbox(), dir, store(dir), START_MS).behind(wall))
}

/// A runner with its state in `dir` and its books in `store`.
pub fn runner_with(dir: &Path, store: Arc<dyn Store>) -> Arc<Runner> {
    runner_at(dir, store, START_MS)
}

/// As [`runner_with`], at another time.
pub fn runner_at(dir: &Path, store: Arc<dyn Store>, start_ms: u64) -> Arc<Runner> {
    Arc::new(new_runner(sandbox(), dir, store, start_ms))
}

fn new_runner(sandbox: Arc<Sandbox>, dir: &Path, store: Arc<dyn Store>, start_ms: u64) -> Runner {
    let state = state(dir);
    let clock = Clock::starting_at(start_ms);
    let commands = CommandEnvironment::from_variables(std::env::vars());
    Runner::new(sandbox, state, store, clock, commands, 64)
}

/// Tells a run again with every door shut, perhaps with another component.
pub async fn replay(runner: &Arc<Runner>, serial: &str, component: Option<Vec<u8>>) -> Replayed {
    let past = runner.past(serial).await.expect("is there");
    runner.replay(past, component, &fresh_serial()).await.expect("can be told")
}

/// The books in `dir`.
pub fn store(dir: &Path) -> Arc<dyn Store> {
    Arc::new(sqlite(dir))
}

/// The books in `dir`, at another time.
pub fn store_at(dir: &Path, start_ms: u64) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(&open(dir), dir, Clock::starting_at(start_ms)).expect("a store"))
}

/// The books in `dir`, as the file that they are.
pub fn sqlite(dir: &Path) -> SqliteStore {
    SqliteStore::open(&open(dir), dir, Clock::starting_at(START_MS)).expect("a store")
}

/// The journal of a run whose books are in `dir`, checked.
pub fn kept_entries(dir: &Path, serial: &str) -> Vec<KeptEntry> {
    let kept = store(dir).journal(serial).expect("reads").expect("is there");
    kept.open().expect("the chain holds")
}

/// The entries of that journal.
pub fn entries(dir: &Path, serial: &str) -> Vec<Entry> {
    let entries = kept_entries(dir, serial);
    entries.iter().map(|entry| entry.entry().expect("can be read").expect("is not erased")).collect()
}

/// The store in `dir`, whose every commit takes so much longer: how fast a disk is differs more than anything else, and
/// some answer before they have written.
pub fn slow_store(dir: &Path, commit: Option<std::time::Duration>) -> Arc<SqliteStore> {
    let probe: Probe = Arc::new(move |point| {
        if let (CommitPoint::Before, Some(commit)) = (point, commit) {
            std::thread::sleep(commit);
        }
    });
    let store = SqliteStore::open_probed(&open(dir), dir, Clock::starting_at(START_MS), probe);
    Arc::new(store.expect("a store"))
}

/// The host's directory at `dir`.
pub fn state(dir: &Path) -> State {
    State::open(open(dir)).expect("a state directory")
}

/// A way to a fake provider, without a key.
pub fn http(provider: &FakeProvider, dialect: Dialect) -> Arc<dyn Model> {
    http_at(&provider.url(), dialect)
}

/// A way to a provider by its address, without a key.
pub fn http_at(url: &str, dialect: Dialect) -> Arc<dyn Model> {
    Arc::new(HttpModel::new(&Provider::new(dialect, url, "fake"), None).expect("loopback is allowed"))
}

/// A text of so many bytes that does not repeat itself, as a guard would find it.
pub fn words(bytes: usize) -> String {
    let mut text = String::new();
    let mut number = 0_u32;
    while text.len() < bytes {
        text += &format!("{number} ");
        number += 1;
    }
    text.truncate(bytes);
    text
}

/// The serial that belongs to a seed.
pub fn serial_of(seed: u32) -> String {
    jidoka::run::serial(START_MS, seed)
}

/// A serial that no other run of this process has, and hardly one of another.
pub fn fresh_serial() -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    jidoka::run::serial(START_MS, std::process::id().wrapping_mul(1 << 12).wrapping_add(number))
}

impl End {
    async fn of(mut handle: RunHandle, home: Arc<Home>, started: std::time::Instant) -> Self {
        let mut entries = Vec::new();
        while let Some(entry) = handle.next_entry().await {
            entries.push(entry);
        }
        let record = handle.verdict().await.expect("a verdict");
        Self { record, entries, home, took: started.elapsed() }
    }

    /// Tells the run again with every door shut.
    pub async fn replay(&self) -> Replayed {
        replay(&runner(&self.home.state()), &self.record.serial, None).await
    }

    /// What the worker said.
    pub fn summary(&self) -> &str {
        self.record.report.as_ref().map_or("", |report| report.summary.as_str())
    }

    /// The messages that the guest logged.
    pub fn notes(&self) -> Vec<&str> {
        self.entries
            .iter()
            .filter_map(|entry| match &entry.body {
                Body::Noted { message, .. } => Some(message.as_str()),
                _ => None,
            })
            .collect()
    }

    /// How many notes were dropped.
    pub fn notes_dropped(&self) -> u64 {
        let dropped = self.entries.iter().find_map(|entry| match &entry.body {
            Body::Ended { notes_dropped, .. } => Some(*notes_dropped),
            _ => None,
        });
        dropped.expect("the guest ended")
    }

    /// The journal as it is on disk, one entry a line.
    pub fn journal(&self) -> String {
        let kept = store(&self.home.state()).journal(&self.record.serial).expect("reads");
        let entries = kept.map_or_else(Vec::new, |kept| kept.open().expect("the chain holds"));
        entries.iter().map(|entry| entry.document().expect("can be read").to_string() + "\n").collect()
    }

    /// A file of the real directory.
    pub fn real_file(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.home.workspace().join(path)).ok()
    }

    /// A file of the worker's own tree.
    pub fn kept_file(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.home.state().join(&self.record.kept).join("work").join(path)).ok()
    }

    /// Fails unless the verdict has this name; shows everything if so.
    #[track_caller]
    pub fn expect(&self, verdict: &str) -> &Self {
        let shown = || {
            let entries: Vec<String> = self.entries.iter().map(|entry| format!("{:?}", entry.body)).collect();
            format!("{:#?}\n{}", self.record, entries.join("\n"))
        };
        assert_eq!(self.record.verdict, verdict, "{}", shown());
        self
    }
}
