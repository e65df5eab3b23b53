//! What the fake host knows during a run, and where the guest's calls find it.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::{Evidence, Note};
use crate::budget::LineLeft;
use crate::children::{Child, Verdict};
use crate::denied::{Denied, Line, Reason, Refusal, Shortfall};
use crate::model::{Request, Stop, ToolCall};
use crate::tools::{Invocation, Tool};
use crate::{fetch, workspace};

/// Where the virtual clock starts: 2001-09-09T01:46:40Z, visibly not today.
const START_MS: u64 = 1_000_000_000_000;

/// What `[caps] lifted` is unless a job sets it.
const LIFTED: usize = 2 << 20;

pub type Files = BTreeMap<String, Vec<u8>>;

/// A tool of the fake host.
pub struct HostTool {
    pub tool: Tool,
    /// `None` while it answers: it may use the SDK itself.
    pub answer: Option<ToolAnswer>,
}

pub type ToolAnswer = Box<dyn FnMut(Value) -> Result<Value, String>>;

/// A child of the fake host.
pub struct ChildJob {
    pub name: String,
    /// `None` while it answers: it may use the SDK itself.
    pub answer: Option<ChildAnswer>,
}

pub type ChildAnswer = Box<dyn FnMut(&Child) -> Result<Verdict, Denied>>;

#[derive(Clone, Debug)]
pub enum Script {
    Reply {
        text: String,
        tool_calls: Vec<ToolCall>,
        stop: Option<Stop>,
        /// Tokens in and out.
        usage: Option<(u64, u64)>,
    },
    Denied(Denied),
}

/// What is at an address of the fake web: each answer once, the last again and again.
#[derive(Default)]
pub struct Page {
    pub answers: VecDeque<Result<fetch::Response, fetch::Error>>,
}

pub struct State {
    /// `None` is not granted.
    pub work: Option<Files>,
    pub context: Option<Files>,
    pub models: Vec<String>,
    pub replies: VecDeque<Script>,
    pub asked: bool,
    pub tools: Vec<HostTool>,
    pub child_jobs: Vec<ChildJob>,
    pub pages: BTreeMap<String, Page>,
    pub answers: VecDeque<u32>,
    pub budget: Vec<LineLeft>,
    pub now_ms: u64,
    pub random: u64,
    /// Bytes that one call may hand over.
    pub lifted: usize,
    pub seen_trees: Vec<u64>,
    pub root: PathBuf,

    pub logs: Vec<Note>,
    pub evidence: Vec<Evidence>,
    pub check_ins: Vec<String>,
    pub requests: Vec<Request>,
    pub tool_calls: Vec<Invocation>,
    pub children: Vec<Child>,
    pub fetches: Vec<fetch::Request>,
    pub questions: Vec<String>,
}

thread_local! {
    static CURRENT: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// Hands the state of this thread's run to a call of the guest.
pub fn with<T>(call: impl FnOnce(&mut State) -> T) -> T {
    CURRENT.with_borrow_mut(|current| match current {
        Some(state) => call(state),
        None => panic!("there is no host on this thread: call the guest with FakeHost::run"),
    })
}

pub fn install(state: State) {
    CURRENT.with_borrow_mut(|current| {
        assert!(current.is_none(), "a fake host already runs on this thread");
        *current = Some(state);
    });
}

pub fn uninstall() -> State {
    CURRENT.with_borrow_mut(Option::take).expect("only FakeHost::run installs and uninstalls, in pairs")
}

impl State {
    pub fn new() -> Self {
        State {
            work: None,
            context: None,
            models: Vec::new(),
            replies: VecDeque::new(),
            asked: false,
            tools: Vec::new(),
            child_jobs: Vec::new(),
            pages: BTreeMap::new(),
            answers: VecDeque::new(),
            budget: Vec::new(),
            now_ms: START_MS,
            random: 0,
            lifted: LIFTED,
            seen_trees: Vec::new(),
            root: PathBuf::new(),
            logs: Vec::new(),
            evidence: Vec::new(),
            check_ins: Vec::new(),
            requests: Vec::new(),
            tool_calls: Vec::new(),
            children: Vec::new(),
            fetches: Vec::new(),
            questions: Vec::new(),
        }
    }

    /// Writes the granted directories below `root`.
    pub fn materialise(&mut self, root: &Path) {
        self.root = root.to_owned();
        for (name, files) in [("work", &self.work), ("context", &self.context)] {
            if let Some(files) = files {
                write_all(&root.join(name), files);
            }
        }
        if let Some(base) = &self.work {
            self.seen_trees.push(digest(base));
        }
    }

    /// The files of the workspace as they are now; none if it is not granted.
    pub fn read_work(&self) -> Files {
        if self.work.is_none() {
            return Files::new();
        }
        let work = workspace::Dir::at("/work", self.root.join("work"));
        let paths = work.files().unwrap_or_default();
        paths.into_iter().filter_map(|path| work.read_bytes(&path).ok().map(|bytes| (path, bytes))).collect()
    }

    /// Puts the files of the workspace back as they were.
    pub fn put_back(&self, work: &Files) {
        if self.work.is_some() {
            let directory = self.root.join("work");
            fs::remove_dir_all(&directory).expect("the temporary directory can be written");
            write_all(&directory, work);
        }
    }

    /// What is left on a line; a line that is not set has no bound.
    pub fn left(&self, line: Line) -> u64 {
        self.budget.iter().find(|entry| entry.line == line).map_or(u64::MAX, |entry| entry.left)
    }

    /// Refuses a call that hands over more than one may.
    pub fn lift(&self, what: &str, bytes: usize) -> Result<(), Denied> {
        if bytes <= self.lifted {
            return Ok(());
        }
        let (asked, allowed) = (format!("{what} of {bytes} bytes"), format!("at most {} bytes", self.lifted));
        Err(refused(Reason::TooLarge, &asked, &allowed, "[caps] lifted"))
    }

    /// Refuses if any of the amounts is not there. Changes nothing.
    pub fn fits(&self, asked: &str, amounts: &[(Line, u64)]) -> Result<(), Denied> {
        for &(line, amount) in amounts {
            let left = self.left(line);
            if amount > left {
                return Err(refused(
                    Reason::Exhausted(Shortfall { scope: "attempt".to_owned(), line, asked: amount, left }),
                    asked,
                    &format!("{left} {line} left"),
                    "[budget]",
                ));
            }
        }
        Ok(())
    }

    /// Takes amounts off their lines.
    pub fn spend(&mut self, amounts: &[(Line, u64)]) {
        for &(line, amount) in amounts {
            if let Some(entry) = self.budget.iter_mut().find(|entry| entry.line == line) {
                entry.left = entry.left.saturating_sub(amount);
            }
        }
    }
}

pub fn refused(reason: Reason, asked: &str, allowed: &str, setting: &str) -> Denied {
    Denied::Refused(Refusal {
        reason,
        asked: asked.to_owned(),
        allowed: allowed.to_owned(),
        setting: setting.to_owned(),
    })
}

/// The same value for the same files. `DefaultHasher::new` has fixed keys.
pub fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Makes a directory with these files.
fn write_all(directory: &Path, files: &Files) {
    fs::create_dir_all(directory).expect("the temporary directory can be written");
    for (path, content) in files {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("the temporary directory can be written");
        }
        fs::write(path, content).expect("the temporary directory can be written");
    }
}

/// A directory of its own for one run, removed at its end.
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("jidoka-fake-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("the temporary directory can be written");
        TempDir { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Nothing depends on it, and a destructor has nobody to tell.
        let _ = fs::remove_dir_all(&self.path);
    }
}
