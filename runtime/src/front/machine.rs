//! The machine as a front end needs it: what `main` alone may reach.
//!
//! Never: decides. `main` implements it; a front end asks for what a job names.

use std::any::Any;
use std::collections::BTreeSet;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::Dir;
use futures_util::future::BoxFuture;

use crate::rules::hook::Hook;
use crate::rules::secret::SecretSource;
use crate::rules::spec::{ModelSpec, RunSpec, Wall};
use crate::run::desk::Desk;
use crate::run::hooks::Hooks;
use crate::run::runner::{Account, Find, Reached, Runner, WebDoor};
use crate::run::sandbox::Surface;

use super::doctor::Mend;
use super::mcp::{ServeError, Served};

/// What a front end may ask of the machine.
pub trait Machine {
    /// Reads a file that the operator or a job named, if it is one and has at most so many bytes.
    ///
    /// # Errors
    /// It is not there, not readable, no regular file, or larger.
    fn read_at_most(&self, path: &Path, most: u64) -> std::io::Result<Vec<u8>>;

    /// Opens a directory that the operator or a job named.
    ///
    /// # Errors
    /// It is not there or not readable.
    fn open(&self, path: &Path) -> std::io::Result<Dir>;

    /// A way to open such a directory again by its name, later.
    fn find(&self, path: &Path) -> Find;

    /// Opens a file that the operator named.
    ///
    /// # Errors
    /// It is not there or not readable.
    fn open_file(&self, path: &Path) -> std::io::Result<File>;

    /// Makes a new file, for its owner alone. Never over an existing one.
    ///
    /// # Errors
    /// It exists, or the disk is full or read-only.
    fn new_file(&self, path: &Path) -> std::io::Result<(File, Unfinished)>;

    /// Makes a new, empty directory and opens it.
    ///
    /// # Errors
    /// It exists, or the disk is full or read-only.
    fn make_dir(&self, path: &Path) -> std::io::Result<(Dir, Unfinished)>;

    /// Writes a new file, with the directories above it. Never over an existing one.
    ///
    /// # Errors
    /// It exists, or the disk is full or read-only.
    fn write_new(&self, path: &Path, text: &str) -> std::io::Result<Unfinished>;

    /// Builds a worker crate and returns its component's path.
    ///
    /// # Errors
    /// The toolchain's.
    fn build(&self, crate_dir: &Path) -> anyhow::Result<PathBuf>;

    /// Where the operator's file is, if there is one.
    ///
    /// # Errors
    /// Nothing says where to look for one.
    fn operator_file(&self) -> anyhow::Result<Option<PathBuf>>;

    /// The host's own directory.
    fn state_dir(&self) -> PathBuf;

    /// Where the guest SDK is, for new workers.
    fn sdk_dir(&self) -> Option<PathBuf>;

    /// A way to a model, with its key if it needs one.
    ///
    /// # Errors
    /// The transcript is wrong, the key is missing, or the address is not allowed.
    fn reach(&self, name: &str, spec: &ModelSpec, job_dir: &Path) -> anyhow::Result<Reached>;

    /// A way to the web with the secrets that the job's grants name, and no others.
    ///
    /// # Errors
    /// The operator's file has no such secret today, or it cannot be read from where it is kept. No error shows one.
    fn web(&self, spec: &RunSpec) -> anyhow::Result<WebDoor>;

    /// What the run shares with all others of its tenant.
    fn account(&self, spec: &RunSpec) -> Account;

    /// The operator's hooks, with the variables that they name.
    fn hooks(&self, hooks: Vec<Hook>) -> Hooks;

    /// The books, for an operator.
    ///
    /// # Errors
    /// The host's directory cannot be written, or the store is damaged.
    fn desk(&self) -> anyhow::Result<Desk>;

    /// Who acts, as the machine knows them.
    fn user(&self) -> String;

    /// The runner.
    ///
    /// # Errors
    /// The host's directory cannot be written, or the engine cannot start.
    fn runner(&self, least: Wall) -> anyhow::Result<Arc<Runner>>;

    /// A host that has no history and no books but its own, and is gone when it is dropped. Its clock shows `unix_ms`.
    ///
    /// # Errors
    /// There is no room for it, or the engine cannot start.
    fn scratch(&self, unix_ms: u64, least: Wall) -> anyhow::Result<Scratch>;

    /// What a component could ask for.
    ///
    /// # Errors
    /// It is no component, or larger than a component may be.
    fn inspect(&self, component: &[u8]) -> anyhow::Result<(String, Surface)>;

    /// Serves one client of MCP over this process's standard input and output, until it hangs up or `end` comes.
    ///
    /// # Errors
    /// [`ServeError`].
    fn serve_pipes<'a>(
        &'a self,
        served: Arc<dyn Served>,
        end: BoxFuture<'a, ()>,
    ) -> BoxFuture<'a, Result<(), ServeError>>;

    /// A listener at an address that the operator named.
    ///
    /// # Errors
    /// It is taken, or not this machine's.
    fn listen(&self, address: SocketAddr) -> std::io::Result<TcpListener>;

    /// A variable of the environment that the operator named.
    fn variable(&self, name: &str) -> Option<String>;

    /// The signals that the process was told to ignore when it was started.
    fn ignored_signals(&self) -> &BTreeSet<i32>;

    /// A new run's serial number: sortable by time.
    ///
    /// # Errors
    /// The machine gives no randomness.
    fn serial(&self) -> anyhow::Result<String>;

    /// Whether a program of the operator's is here: on the path, or where its word leads from the operator's file.
    fn has_program(&self, word: &str) -> bool;

    /// Whether a secret of the operator's can be read where it is kept.
    ///
    /// # Errors
    /// It cannot. No error shows one.
    fn has_secret(&self, source: &SecretSource) -> anyhow::Result<()>;

    /// What the machine has, for `doctor`: name, finding, and whether it will do.
    fn health(&self, mend: Mend) -> Vec<Health>;
}

/// What a command has made that is not whole yet. It is gone with this, unless it is kept.
#[must_use = "what was made is gone again"]
pub struct Unfinished(Option<Box<dyn FnOnce() + Send>>);

impl Unfinished {
    /// `remove` takes it away.
    pub fn new(remove: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(remove)))
    }

    /// It is whole.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(remove) = self.0.take() {
            remove();
        }
    }
}

/// A host for one run.
pub struct Scratch {
    pub runner: Arc<Runner>,
    /// Dropping it removes the host's files.
    pub files: Box<dyn Any + Send + Sync>,
}

/// One finding about the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub what: String,
    pub found: String,
    /// What to do about it; `None` if it will do.
    pub remedy: Option<String>,
}
