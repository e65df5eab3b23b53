//! The composition root: the only place with ambient authority over environment, directories and the machine's clock.

#![expect(clippy::disallowed_methods, reason = "this is the one place with ambient authority")]
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::num::{NonZeroU32, NonZeroU64};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use console::Term;
use futures_util::future::BoxFuture;
use jidoka::doors::cache::Cache;
use jidoka::doors::clock::{Clock, millis};
use jidoka::doors::command::CommandEnvironment;
use jidoka::doors::fetch::Web;
use jidoka::doors::lines::Lines;
use jidoka::doors::names::SystemNames;
use jidoka::doors::pace::{Pace, Rates};
use jidoka::doors::program::{Program, Role};
use jidoka::doors::provider::HttpModel;
use jidoka::doors::script::ScriptedModel;
use jidoka::doors::secret::{HeldSecret, Secret};
use jidoka::doors::sqlite::{self, SqliteStore};
use jidoka::doors::state::State;
use jidoka::doors::store::{MemoryStore, Store};
use jidoka::doors::toolchain::Words;
use jidoka::doors::{evidence, toolchain};
use jidoka::front::cli;
use jidoka::front::doctor::Mend;
use jidoka::front::help;
use jidoka::front::load::MAX_TEXT_BYTES;
use jidoka::front::machine::{Health, Machine, Scratch, Unfinished};
use jidoka::front::mcp::{self, MAX_MESSAGE_BYTES, ServeError, Served};
use jidoka::front::terminal;
use jidoka::front::wrap::{self, Columns};
use jidoka::rules::authored::OperatorFile;
use jidoka::rules::hook::Hook;
use jidoka::rules::secret::SecretSource;
use jidoka::rules::spec::{KeySource, ModelSpec, Provider, Reach, RunSpec, Wall};
use jidoka::run::cell::{self, inside};
use jidoka::run::desk::Desk;
use jidoka::run::hooks::{HookEnvironment, Hooks};
use jidoka::run::runner::{Account, Find, Reached, Runner, WebDoor};
use jidoka::run::sandbox::{ENGINE_NAME, Sandbox, Surface};
use jidoka::run::serial;
use rustix::fs::OFlags;
use rustix::time::{ClockId, clock_gettime};

/// Runs at once in one process of the command line: most commands start one, a server one for each call. As many slots are
/// for their tools and checks.
const RUNS: usize = 16;
const SLOTS: u32 = 32;

/// What our own program is called with to stand in a process of its own, before the role.
const CELL: &str = "cell";

fn main() -> ExitCode {
    // Before anything else: a process that is to lock itself in has one thread.
    let mut words = std::env::args().skip(1);
    if let (Some(CELL), Some(role), None) = (words.next().as_deref(), words.next(), words.next())
        && let Some(role) = Role::named(&role)
    {
        return inside::serve(role);
    }
    terminal::begin();
    std::panic::set_hook(Box::new(terminal::panicked));
    wrap::set(Columns { stdout: columns(&Term::stdout()), stderr: columns(&Term::stderr()) });
    let arguments = match help::read(std::env::args_os().collect()) {
        Ok(arguments) => arguments,
        Err(code) => return ExitCode::from(code),
    };
    log();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return ExitCode::from(cli::failed(&anyhow!(error).context("start the runtime")));
        }
    };
    let machine = RealMachine::new(arguments.host, arguments.state);
    let code = runtime.block_on(cli::run(&machine, arguments.command));
    // A guest's file operation that still blocks must not keep the process.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// Sets up the log: warnings in plain words, or what `JIDOKA_LOG` asks for, as it asks for it.
fn log() {
    const PLAIN: &str = "warn,rmcp=error";
    let asked = std::env::var("JIDOKA_LOG").ok().filter(|asked| !asked.is_empty());
    let log = tracing_subscriber::fmt().with_writer(|| terminal::Log);
    let misread = match asked.map(tracing_subscriber::EnvFilter::try_new) {
        Some(Ok(filter)) => return log.with_ansi(terminal::is_attended()).with_env_filter(filter).init(),
        Some(Err(error)) => Some(error),
        None => None,
    };
    log.with_ansi(false).event_format(terminal::Plain).with_env_filter(PLAIN).init();
    if let Some(error) = misread {
        tracing::warn!("JIDOKA_LOG is not understood, and left aside: {error}");
    }
}

/// The signals that this process was started to ignore, as the kernel shows them.
fn ignored_signals() -> BTreeSet<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    (1..=64).filter(|signal| mask.unwrap_or(0) >> (signal - 1) & 1 == 1).collect()
}

/// Columns of a stream's terminal; of one that is none, what `COLUMNS` says, if somebody sets it for us.
fn columns(stream: &Term) -> Option<usize> {
    let said = || std::env::var("COLUMNS").ok()?.parse().ok();
    stream.size_checked().map(|(_, columns)| usize::from(columns)).or_else(said)
}

/// What to do where Rust is not installed.
const NO_RUST: &str = "install Rust (https://rustup.rs) to build workers; to run components nothing is missing";

/// This very program, whatever happened to its name since.
fn program() -> Program {
    Program { path: "/proc/self/exe".into(), arguments: vec![CELL.into()] }
}

struct RealMachine {
    /// `Err`: why nobody knows where it would be.
    operator_file: Result<Option<PathBuf>, String>,
    /// `Err`: why nobody knows which it is.
    state_dir: Result<PathBuf, String>,
    clock: OnceLock<Clock>,
    sandbox: Mutex<Option<Arc<Sandbox>>>,
    bench: Mutex<Option<Arc<Sandbox>>>,
    store: Mutex<Option<Arc<dyn Store>>>,
    paces: Mutex<HashMap<(String, Rates), Arc<Pace>>>,
    /// Before anybody listened for one.
    ignored_signals: BTreeSet<i32>,
}

impl RealMachine {
    fn new(operator_file: Option<PathBuf>, state_dir: Option<PathBuf>) -> Self {
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        // One that is relative would be another directory wherever this is started.
        let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
        let below = |name: &str, default: &str| {
            let base = absolute(name).or_else(|| Some(absolute("HOME")?.join(default)));
            base.map(|base| base.join("jidoka"))
        };
        let operator_file = match (operator_file, below("XDG_CONFIG_HOME", ".config")) {
            (Some(file), _) => Ok(Some(file)),
            (None, Some(dir)) => Ok(Some(dir.join("jidoka-host.toml")).filter(|file| file.exists())),
            (None, None) => {
                Err("nothing says where the operator's file is: name it with --host FILE or JIDOKA_HOST, or \
                                 set XDG_CONFIG_HOME or HOME to an absolute path, below which it may be missing"
                    .to_owned())
            }
        };
        let state_dir = match (state_dir, variable("JIDOKA_STATE")) {
            (Some(dir), _) => std::path::absolute(dir).map_err(|error| format!("--state: {error}")),
            (None, Some(dir)) if dir.is_absolute() => Ok(dir),
            (None, Some(dir)) => Err(format!("JIDOKA_STATE is {dir:?}, and not an absolute path")),
            (None, None) => below("XDG_STATE_HOME", ".local/state").ok_or_else(|| {
                "nothing says where the host's directory is: name it with --state DIR or JIDOKA_STATE, or set \
                 XDG_STATE_HOME or HOME to an absolute path"
                    .to_owned()
            }),
        };
        Self {
            operator_file,
            state_dir,
            clock: OnceLock::new(),
            sandbox: Mutex::default(),
            bench: Mutex::default(),
            store: Mutex::default(),
            paces: Mutex::default(),
            ignored_signals: ignored_signals(),
        }
    }

    fn clock(&self) -> Clock {
        *self.clock.get_or_init(|| {
            let unix_ms = || millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
            Clock::of_machine(unix_ms, || {
                let up = clock_gettime(ClockId::Boottime);
                Duration::try_from(up).unwrap_or_default()
            })
        })
    }

    fn state(&self) -> anyhow::Result<State> {
        let path = self.state_path()?;
        if path.is_file() {
            return Err(anyhow!("{} is a file, and the host's directory is none: --state DIR", path.display()));
        }
        let open = || {
            // The journals hold what workers read: for the owner alone.
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            State::open(Dir::open_ambient_dir(path, ambient_authority())?)
        };
        open().with_context(|| format!("open the host's directory {}", path.display()))
    }

    fn state_path(&self) -> anyhow::Result<&Path> {
        self.state_dir.as_deref().map_err(|why| anyhow!("{why}"))
    }

    fn operator_path(&self) -> anyhow::Result<Option<&Path>> {
        self.operator_file.as_ref().map(Option::as_deref).map_err(|why| anyhow!("{why}"))
    }

    fn sandbox(&self) -> anyhow::Result<Arc<Sandbox>> {
        let mut made = self.sandbox.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sandbox) = &*made {
            return Ok(Arc::clone(sandbox));
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| anyhow!("the machine gives no randomness: {error}"))?;
        let cache = Cache::open(self.state()?.cache()?, key).context("open the cache of compiled components")?;
        let sandbox = Sandbox::new(SLOTS, Some(cache), program());
        let sandbox = Arc::new(sandbox.map_err(anyhow::Error::from).context("start the engine")?);
        *made = Some(Arc::clone(&sandbox));
        Ok(sandbox)
    }

    /// An engine that leaves nothing behind, for all scratch hosts.
    fn bench(&self) -> anyhow::Result<Arc<Sandbox>> {
        let mut made = self.bench.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sandbox) = &*made {
            return Ok(Arc::clone(sandbox));
        }
        let sandbox = Sandbox::new(SLOTS, None, program()).map_err(anyhow::Error::from).context("start the engine")?;
        let sandbox = Arc::new(sandbox);
        *made = Some(Arc::clone(&sandbox));
        Ok(sandbox)
    }

    fn store(&self) -> anyhow::Result<Arc<dyn Store>> {
        let mut opened = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = &*opened {
            return Ok(Arc::clone(store));
        }
        self.state()?;
        let path = self.state_path()?;
        let dir = Dir::open_ambient_dir(path, ambient_authority()).context("open the host's directory")?;
        let store = SqliteStore::open(&dir, path, self.clock());
        let store: Arc<dyn Store> =
            Arc::new(store.with_context(|| format!("open the store {}", path.join(sqlite::FILE).display()))?);
        *opened = Some(Arc::clone(&store));
        Ok(store)
    }

    /// One pace for all who share a model of the operator's, whatever jobs call it, or a tenant; in all processes of the
    /// host's directory.
    fn pace(&self, shared: String, rates: Rates) -> Arc<Pace> {
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let state_dir = self.state_dir.clone();
        let open = move || {
            let path = state_dir.as_ref().map_err(|why| std::io::Error::other(why.clone()))?;
            Dir::open_ambient_dir(path, ambient_authority())
        };
        let pace = || Arc::new(Pace::shared(rates, self.clock(), Box::new(open), shared.clone()));
        Arc::clone(paces.entry((shared.clone(), rates)).or_insert_with(pace))
    }

    fn key(&self, source: &KeySource) -> anyhow::Result<Option<Secret>> {
        Ok(match source {
            KeySource::None => None,
            KeySource::Environment(name) => Some(Secret::from_environment(name)?),
            KeySource::File(path) => Some(Secret::from_file(&self.beside().join(path))?),
        })
    }

    /// From where paths of the operator's file start: its own directory.
    fn beside(&self) -> &Path {
        self.operator_path().ok().flatten().and_then(Path::parent).unwrap_or(Path::new(""))
    }

    fn secret(&self, source: &SecretSource) -> anyhow::Result<Secret> {
        Ok(match source {
            SecretSource::Environment(name) => Secret::from_environment(name)?,
            SecretSource::File(path) => Secret::from_file(&self.beside().join(path))?,
            SecretSource::Command(argv) => {
                let (directory, environment) = (Path::new(".").join(self.beside()), commands());
                let said = Secret::from_command(argv, &directory, &environment);
                // A front end asks from within the runtime, which has other threads.
                tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(said))?
            }
        })
    }

    /// The operator's file of today.
    fn operator(&self) -> anyhow::Result<OperatorFile> {
        let Some(path) = self.operator_path()? else { return Ok(OperatorFile::default()) };
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let read = jidoka::rules::authored::operator(&text);
        read.map_err(|mistakes| anyhow!("read {}: {} mistakes", path.display(), mistakes.len()))
    }
}

/// Says of what should be gone again that it is not.
fn removed(path: &Path, removed: std::io::Result<()>) {
    if let Err(error) = removed {
        tracing::warn!("{} could not be removed: {error}", path.display());
    }
}

/// Shows a line of a process that we started.
fn tell(line: &str) {
    terminal::words(format_args!("{line}"));
}

/// The variables of this process that are text.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// What commands of the operator's get of our own environment to choose from.
fn commands() -> CommandEnvironment {
    CommandEnvironment::from_variables(variables())
}

/// A directory that is removed with its contents.
struct ScratchFiles(PathBuf);

impl Drop for ScratchFiles {
    fn drop(&mut self) {
        removed(&self.0, std::fs::remove_dir_all(&self.0));
    }
}

impl Machine for RealMachine {
    fn read_at_most(&self, path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
        // A pipe or a device is opened without waiting for whoever is at its other end, and is no file.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("a small flag");
        let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let other = |why: String| std::io::Error::new(std::io::ErrorKind::InvalidInput, why);
        if !file.metadata()?.is_file() {
            return Err(other("it is no regular file".to_owned()));
        }
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(other(format!("it is larger than {most} bytes")));
        }
        Ok(bytes)
    }

    fn open(&self, path: &Path) -> std::io::Result<Dir> {
        Dir::open_ambient_dir(path, ambient_authority())
    }

    fn find(&self, path: &Path) -> Find {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Arc::new(move || Dir::open_ambient_dir(&path, ambient_authority()))
    }

    fn open_file(&self, path: &Path) -> std::io::Result<std::fs::File> {
        std::fs::File::open(path)
    }

    fn new_file(&self, path: &Path) -> std::io::Result<(std::fs::File, Unfinished)> {
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let path = path.to_owned();
        Ok((file, Unfinished::new(move || removed(&path, std::fs::remove_file(&path)))))
    }

    fn make_dir(&self, path: &Path) -> std::io::Result<(Dir, Unfinished)> {
        std::fs::DirBuilder::new().mode(0o700).create(path)?;
        let made = path.to_owned();
        let unfinished = Unfinished::new(move || removed(&made, std::fs::remove_dir_all(&made)));
        Ok((Dir::open_ambient_dir(path, ambient_authority())?, unfinished))
    }

    fn write_new(&self, path: &Path, text: &str) -> std::io::Result<Unfinished> {
        let missing: Vec<PathBuf> =
            path.ancestors().skip(1).take_while(|above| !above.exists()).map(Path::to_owned).collect();
        let above = Unfinished::new(move || {
            // One that somebody put something into stays.
            missing.iter().take_while(|above| std::fs::remove_dir(above).is_ok()).for_each(drop);
        });
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut file = std::fs::File::create_new(path)?;
        let path = path.to_owned();
        let unfinished = Unfinished::new(move || {
            removed(&path, std::fs::remove_file(&path));
            drop(above);
        });
        file.write_all(text.as_bytes())?;
        Ok(unfinished)
    }

    fn build(&self, crate_dir: &Path) -> anyhow::Result<PathBuf> {
        let words = if terminal::is_attended() { Words::Terminal } else { Words::Told(&tell) };
        Ok(toolchain::build(crate_dir, words)?)
    }

    fn operator_file(&self) -> anyhow::Result<Option<PathBuf>> {
        Ok(self.operator_path()?.map(Path::to_owned))
    }

    fn state_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_default()
    }

    fn sdk_dir(&self) -> Option<PathBuf> {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk");
        beside.canonicalize().ok()
    }

    fn reach(&self, _: &str, spec: &ModelSpec, job_dir: &Path) -> anyhow::Result<Reached> {
        let rates = Rates {
            requests_per_minute: spec.requests_per_minute.and_then(NonZeroU32::new),
            tokens_per_minute: spec.tokens_per_minute.and_then(NonZeroU64::new),
        };
        // Also without rates of ours: a provider may say when to come back.
        let pace = |provider: &Provider| {
            Some(self.pace(format!("model {} {:?} {}", provider.url, provider.key, provider.model), rates))
        };
        Ok(match &spec.reach {
            Reach::Script { transcript } => {
                let path = job_dir.join(transcript);
                let text =
                    self.read_at_most(&path, MAX_TEXT_BYTES).with_context(|| format!("read {}", path.display()))?;
                let text = String::from_utf8(text).with_context(|| format!("read {}", path.display()))?;
                let model = ScriptedModel::parse(&text).with_context(|| format!("read {}", path.display()))?;
                Reached { model: Arc::new(model), pace: None, max_response_bytes: 0 }
            }
            Reach::Provider(provider) => {
                let model = HttpModel::new(provider, self.key(&provider.key)?)?.at(self.clock());
                let max_response_bytes = provider.limits.max_response_bytes;
                Reached { model: Arc::new(model), pace: pace(provider), max_response_bytes }
            }
        })
    }

    fn web(&self, spec: &RunSpec) -> anyhow::Result<WebDoor> {
        let names: BTreeSet<&String> = spec.grants.http.iter().flat_map(|grant| &grant.secrets).collect();
        let mut secrets = BTreeMap::new();
        let operator = if names.is_empty() { OperatorFile::default() } else { self.operator()? };
        for name in names {
            let found = operator.secrets.get(name);
            let found = found.with_context(|| format!("the operator's file has no secret {name:?} today"))?;
            let secret = self.secret(&found.source).with_context(|| format!("read the secret {name:?}"))?;
            let (origins, placement) = (found.sites.clone(), found.placement.clone());
            secrets.insert(name.clone(), HeldSecret { secret, origins, placement });
        }
        Ok(Arc::new(Web::new(Arc::new(SystemNames), secrets)))
    }

    fn account(&self, spec: &RunSpec) -> Account {
        let requests_per_minute = spec.shared.tenant_requests_per_minute.and_then(NonZeroU32::new);
        let rates = Rates { requests_per_minute, ..Rates::default() };
        let paced = requests_per_minute.is_some();
        Account { pace: paced.then(|| self.pace(format!("tenant {}", spec.tenant), rates)) }
    }

    fn hooks(&self, hooks: Vec<Hook>) -> Hooks {
        let environment = HookEnvironment::from_variables(&hooks, variables());
        Hooks::new(hooks, environment)
    }

    fn desk(&self) -> anyhow::Result<Desk> {
        Ok(Desk::new(self.store()?, self.state()?, self.clock()))
    }

    fn user(&self) -> String {
        let said = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok().filter(|name| !name.is_empty());
        said.unwrap_or_else(|| {
            let id = nix::unistd::getuid();
            let known = nix::unistd::User::from_uid(id).ok().flatten();
            known.map_or_else(|| format!("user {id}"), |user| user.name)
        })
    }

    fn runner(&self, least: Wall) -> anyhow::Result<Arc<Runner>> {
        let runner = Runner::new(self.sandbox()?, self.state()?, self.store()?, self.clock(), commands(), RUNS);
        Ok(Arc::new(runner.behind(least)))
    }

    fn scratch(&self, unix_ms: u64, least: Wall) -> anyhow::Result<Scratch> {
        let files = ScratchFiles(std::env::temp_dir().join(format!("jidoka-test-{}", self.serial()?)));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&files.0);
        let dir = made.and_then(|()| Dir::open_ambient_dir(&files.0, ambient_authority()));
        let state = dir.and_then(State::open).with_context(|| format!("make {}", files.0.display()))?;
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let clock = Clock::starting_at(unix_ms);
        let runner = Runner::new(self.bench()?, state, store, clock, commands(), RUNS);
        Ok(Scratch { runner: Arc::new(runner.behind(least)), files: Box::new(files) })
    }

    fn inspect(&self, component: &[u8]) -> anyhow::Result<(String, Surface)> {
        let surface = self.sandbox()?.inspect(component)?;
        Ok((evidence::address(component).to_string(), surface))
    }

    fn serve_pipes<'a>(
        &'a self,
        served: Arc<dyn Served>,
        end: BoxFuture<'a, ()>,
    ) -> BoxFuture<'a, Result<(), ServeError>> {
        let pipes = Lines::new(tokio::io::stdin(), tokio::io::stdout(), MAX_MESSAGE_BYTES);
        Box::pin(mcp::stdio(served, pipes, end))
    }

    fn listen(&self, address: SocketAddr) -> std::io::Result<TcpListener> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn ignored_signals(&self) -> &BTreeSet<i32> {
        &self.ignored_signals
    }

    fn serial(&self) -> anyhow::Result<String> {
        let mut chance = [0; 4];
        getrandom::fill(&mut chance).map_err(|error| anyhow!("the machine gives no randomness: {error}"))?;
        Ok(serial(self.clock().unix_ms(), u32::from_le_bytes(chance)))
    }

    fn has_program(&self, word: &str) -> bool {
        if word.contains('/') {
            return self.beside().join(word).is_file();
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| directory.join(word).is_file())
    }

    fn has_secret(&self, source: &SecretSource) -> anyhow::Result<()> {
        self.secret(source).map(drop)
    }

    fn health(&self, mend: Mend) -> Vec<Health> {
        let fine = |what: &str, found: String| Health { what: what.to_owned(), found, remedy: None };
        let ill =
            |what: &str, found: String, remedy: &str| Health { remedy: Some(remedy.to_owned()), ..fine(what, found) };
        let mut health = vec![fine("host", ENGINE_NAME.to_owned())];
        // Without a directory for its cache: that is another finding.
        health.push(match self.bench() {
            Ok(_) => fine("engine", format!("starts with {SLOTS} slots")),
            Err(error) => ill("engine", format!("{error:#}"), "the machine needs address space: check `ulimit -v`"),
        });
        health.push(match cell::probe(&program()) {
            Ok(version) => fine("process wall", format!("Landlock {version}, seccomp: --wall process works here")),
            Err(error) => match self.operator().is_ok_and(|file| file.policy.wall == Wall::Process) {
                true => ill("process wall", error, "Linux 6.2 or later with Landlock and seccomp"),
                false => fine("process wall", format!("none, and nothing asks for it: {error}")),
            },
        });
        health.push(match toolchain::version_of("cargo") {
            Some(version) => fine("cargo", version),
            None => ill("cargo", "not found".to_owned(), NO_RUST),
        });
        if mend == Mend::Yes
            && let Err(error) = toolchain::install_target(Words::Told(&tell))
        {
            health.push(ill("installation", format!("{:#}", anyhow!(error)), "rustup target add wasm32-wasip2"));
        }
        health.push(match toolchain::has_target() {
            Ok(true) => fine("guest target", toolchain::TARGET.to_owned()),
            Ok(false) => ill(
                "guest target",
                format!("{} is not installed", toolchain::TARGET),
                match mend {
                    Mend::Yes => "rustup target add wasm32-wasip2",
                    Mend::No => "jidoka doctor --fix installs it",
                },
            ),
            Err(_) => ill("guest target", "nobody knows: there is no `rustc`".to_owned(), NO_RUST),
        });
        health.push(match self.state() {
            Ok(_) => fine("state", self.state_dir().display().to_string()),
            Err(error) => ill("state", format!("{error:#}"), "name a directory that you can write: --state DIR"),
        });
        health
    }
}
