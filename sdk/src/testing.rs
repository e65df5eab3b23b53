//! A fake host, so that a worker's own `cargo test` needs no WebAssembly.
//!
//! It denies by default like the real one: a model, the workspace, a tool, a child or a person is there only if the test
//! sets it up. It is a stand-in, not a copy: token bounds are rough, money and file quotas are not kept, and evidence
//! addresses are not BLAKE3. What holds here may still be refused by the real host.
//!
//! One fake host runs on a thread at a time, and it is gone when its worker ends.

pub(crate) mod interfaces;
mod state;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

pub use crate::andon::Category;
use crate::budget::LineLeft;
use crate::children::{Child, Verdict};
use crate::denied::{Denied, EvidenceId, Failure, FailureKind, Line};
use crate::error::Error;
use crate::fetch;
use crate::log::Level;
use crate::model::{Request, Stop, ToolCall};
use crate::tools::{Invocation, Tool};
use crate::work::{Judgement, Report};
use state::{ChildJob, HostTool, Script, State, TempDir};

/// A host that is being set up for one run.
#[must_use = "nothing happens until `run`"]
pub struct FakeHost {
    state: State,
}

/// A scripted answer of a model.
///
/// A `&str` or `String` is a reply of that text, a [`Denied`] a refusal or failure.
#[derive(Clone, Debug)]
pub struct Scripted {
    script: Script,
}

/// A scripted answer of the web: a text is a reply with status 200, a [`fetch::Error`] that there is none.
#[derive(Clone, Debug)]
pub struct Page(Result<fetch::Response, fetch::Error>);

/// How a child is judged: a text is the name of its verdict, for example `accepted`, a [`Denied`] a refusal or failure.
///
/// A verdict without a serial gets `child-N`, the N-th child of the run.
#[derive(Clone, Debug)]
pub struct Judged(Result<Verdict, Denied>);

/// A run that is over: how it ended, and what the host saw.
#[derive(Debug)]
pub struct Run<T> {
    /// How it ended.
    pub outcome: Outcome<T>,
    /// Notes, in order.
    pub logs: Vec<Note>,
    /// Evidence, in order.
    pub evidence: Vec<Evidence>,
    /// The notes of the check-ins, in order.
    pub check_ins: Vec<String>,
    /// Every model request that was not refused, in order.
    pub requests: Vec<Request>,
    /// Every tool call that was not refused, in order.
    pub tool_calls: Vec<Invocation>,
    /// Every child that was not refused, in order.
    pub children: Vec<Child>,
    /// Every HTTP request that was not refused, in order.
    pub fetches: Vec<fetch::Request>,
    /// Every question to a person that was not refused, in order.
    pub questions: Vec<String>,
    /// What is left on each budget line that was set.
    pub budget: Vec<LineLeft>,
    workspace: BTreeMap<String, Vec<u8>>,
}

/// The fact of how a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<T> {
    /// The function returned `Ok`.
    Returned(T),
    /// The function returned `Err`.
    Failed(Error),
    /// The guest pulled the cord.
    Pulled(Pull),
    /// The guest panicked; a component would have trapped.
    Trapped(String),
}

/// A pull of the cord.
#[derive(Clone, Debug, PartialEq)]
pub struct Pull {
    /// The category.
    pub category: Category,
    /// The reason, in words.
    pub reason: String,
    /// The evidence.
    pub evidence: Vec<EvidenceId>,
}

/// A note that a guest wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// How urgent.
    pub level: Level,
    /// The words.
    pub message: String,
    /// Named values.
    pub fields: Vec<(String, String)>,
}

/// Evidence that a guest attached.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// Its address.
    pub id: EvidenceId,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl FakeHost {
    /// A host that grants nothing, with no budget lines.
    pub fn new() -> Self {
        FakeHost { state: State::new() }
    }

    /// Grants the workspace and puts a file in it.
    pub fn file(mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        self.state.work.get_or_insert_default().insert(path.into(), content.into());
        self
    }

    /// Grants the workspace, with no file in it.
    pub fn workspace(mut self) -> Self {
        self.state.work.get_or_insert_default();
        self
    }

    /// Puts a file into `/context`.
    pub fn context_file(mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        self.state.context.get_or_insert_default().insert(path.into(), content.into());
        self
    }

    /// Grants a model. If none is named, [`FakeHost::reply`] grants every name.
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.state.models.push(name.into());
        self
    }

    /// Adds the next answer of the models. They are used in order, whichever model is asked.
    pub fn reply(mut self, answer: impl Into<Scripted>) -> Self {
        self.state.replies.push_back(answer.into().script);
        self
    }

    /// Bounds a budget line. A call that needs more than is left is refused, as the real host does.
    pub fn budget(mut self, line: Line, amount: u64) -> Self {
        self.state.budget.retain(|entry| entry.line != line);
        self.state.budget.push(LineLeft { line, left: amount, until_mark: None });
        self
    }

    /// Grants a host tool that is answered by a closure. `schema` is told to the guest; nothing is checked against it.
    pub fn tool(
        mut self,
        name: impl Into<String>,
        description: impl Into<String>,
        schema: Value,
        answer: impl FnMut(Value) -> Result<Value, String> + 'static,
    ) -> Self {
        let tool = Tool { name: name.into(), description: description.into(), schema: schema.to_string() };
        self.state.tools.push(HostTool { tool, answer: Some(Box::new(answer)) });
        self
    }

    /// Grants a child whose work is done and judged by a closure, which may use the SDK in the child's place.
    ///
    /// It costs what the closure spends, which no carved budget holds. What it writes is in the caller's files if the
    /// verdict is `accepted`, and is put back if it is any other.
    pub fn child<V: Into<Judged>>(
        mut self,
        name: impl Into<String>,
        mut answer: impl FnMut(&Child) -> V + 'static,
    ) -> Self {
        let answer = Box::new(move |child: &Child| answer(child).into().0);
        self.state.child_jobs.push(ChildJob { name: name.into(), answer: Some(answer) });
        self
    }

    /// Grants requests to an address and adds what is answered there: each answer once, the last again and again.
    pub fn page(mut self, url: impl Into<String>, answer: impl Into<Page>) -> Self {
        self.state.pages.entry(url.into()).or_default().answers.push_back(answer.into().0);
        self
    }

    /// Grants questions to a person and adds the next choice.
    pub fn answer(mut self, choice: u32) -> Self {
        self.state.answers.push_back(choice);
        self
    }

    /// Sets `[caps] lifted`: the bytes that one call may hand over; 2 MiB unless set.
    pub fn lifted(mut self, bytes: usize) -> Self {
        self.state.lifted = bytes;
        self
    }

    /// Sets the virtual clock, in milliseconds since 1970.
    pub fn clock_ms(mut self, now: u64) -> Self {
        self.state.now_ms = now;
        self
    }

    /// Seeds the random stream; 0 unless set.
    pub fn seed(mut self, seed: u64) -> Self {
        self.state.random = seed;
        self
    }

    /// Runs a worker (or verifier, or any function of a guest) to its end.
    ///
    /// # Panics
    /// If a fake host runs on this thread already, or the temporary directory cannot be written.
    pub fn run<I, O>(self, guest: impl FnOnce(I) -> Result<O, Error>, input: I) -> Run<O> {
        let directory = TempDir::new();
        let mut state = self.state;
        state.materialise(directory.path());
        state::install(state);
        let ended = catch_unwind(AssertUnwindSafe(|| guest(input)));
        let state = state::uninstall();
        let outcome = match ended {
            Ok(Ok(output)) => Outcome::Returned(output),
            Ok(Err(error)) => Outcome::Failed(error),
            Err(payload) => Outcome::from_panic(payload),
        };
        Run {
            outcome,
            workspace: state.read_work(),
            logs: state.logs,
            evidence: state.evidence,
            check_ins: state.check_ins,
            requests: state.requests,
            tool_calls: state.tool_calls,
            children: state.children,
            fetches: state.fetches,
            questions: state.questions,
            budget: state.budget,
        }
    }
}

impl Default for FakeHost {
    fn default() -> Self {
        FakeHost::new()
    }
}

impl Scripted {
    /// A reply of this text.
    pub fn text(text: impl Into<String>) -> Self {
        Scripted { script: Script::Reply { text: text.into(), tool_calls: Vec::new(), stop: None, usage: None } }
    }

    /// A reply that asks for a tool.
    pub fn call(name: impl Into<String>, arguments: Value) -> Self {
        Scripted::text("").and_call(name, arguments)
    }

    /// A reply that asks for a tool with arguments as the model wrote them, which may be no JSON.
    pub fn raw_call(name: impl Into<String>, arguments: impl Into<String>) -> Self {
        Scripted::text("").with_call(name.into(), arguments.into())
    }

    /// A failure of the world.
    pub fn failed(kind: FailureKind, message: impl Into<String>) -> Self {
        Denied::Failed(Failure { kind, message: message.into() }).into()
    }

    /// Asks for one more tool in the same reply.
    #[must_use]
    pub fn and_call(self, name: impl Into<String>, arguments: Value) -> Self {
        self.with_call(name.into(), arguments.to_string())
    }

    /// Sets what the reply says of its stop. Unless set it follows from the tool calls.
    #[must_use]
    pub fn stop(mut self, as_said: Stop) -> Self {
        if let Script::Reply { stop, .. } = &mut self.script {
            *stop = Some(as_said);
        }
        self
    }

    /// Sets what the reply costs. Unless set it is a quarter of the bytes.
    #[must_use]
    pub fn usage(mut self, tokens_in: u64, tokens_out: u64) -> Self {
        if let Script::Reply { usage, .. } = &mut self.script {
            *usage = Some((tokens_in, tokens_out));
        }
        self
    }

    fn with_call(mut self, name: String, arguments: String) -> Self {
        if let Script::Reply { tool_calls, .. } = &mut self.script {
            let id = format!("call-{}", tool_calls.len() + 1);
            tool_calls.push(ToolCall { id, name, arguments });
        }
        self
    }
}

impl From<&str> for Scripted {
    fn from(text: &str) -> Self {
        Scripted::text(text)
    }
}

impl From<String> for Scripted {
    fn from(text: String) -> Self {
        Scripted::text(text)
    }
}

impl From<&str> for Page {
    fn from(text: &str) -> Self {
        Page(Ok(fetch::Response { status: 200, headers: Vec::new(), body: text.as_bytes().to_vec() }))
    }
}

impl From<fetch::Response> for Page {
    fn from(response: fetch::Response) -> Self {
        Page(Ok(response))
    }
}

impl From<fetch::Error> for Page {
    fn from(error: fetch::Error) -> Self {
        Page(Err(error))
    }
}

impl Judged {
    /// A verdict by its name, for example `rejected`, with no words yet.
    pub fn new(verdict: impl Into<String>) -> Self {
        let (serial, why, summary) = (String::new(), String::new(), String::new());
        Judged(Ok(Verdict { serial, verdict: verdict.into(), why, summary }))
    }

    /// Sets why, in the host's words.
    #[must_use]
    pub fn why(mut self, words: impl Into<String>) -> Self {
        if let Ok(verdict) = &mut self.0 {
            verdict.why = words.into();
        }
        self
    }

    /// Sets what the child says of itself.
    #[must_use]
    pub fn summary(mut self, words: impl Into<String>) -> Self {
        if let Ok(verdict) = &mut self.0 {
            verdict.summary = words.into();
        }
        self
    }
}

impl From<&str> for Judged {
    fn from(verdict: &str) -> Self {
        Judged::new(verdict)
    }
}

impl From<Verdict> for Judged {
    fn from(verdict: Verdict) -> Self {
        Judged(Ok(verdict))
    }
}

impl From<Denied> for Judged {
    fn from(denied: Denied) -> Self {
        Judged(Err(denied))
    }
}

impl From<Denied> for Scripted {
    fn from(denied: Denied) -> Self {
        Scripted { script: Script::Denied(denied) }
    }
}

impl<T: fmt::Debug> Run<T> {
    /// What the guest returned.
    ///
    /// # Panics
    /// If it did not return `Ok`; the message says how it ended.
    pub fn returned(&self) -> &T {
        match &self.outcome {
            Outcome::Returned(output) => output,
            other => panic!("the guest did not return a result: {other:?}"),
        }
    }

    /// The pull of the cord.
    ///
    /// # Panics
    /// If the guest did not pull; the message says how it ended.
    pub fn pull(&self) -> &Pull {
        match &self.outcome {
            Outcome::Pulled(pull) => pull,
            other => panic!("the guest did not pull the cord: {other:?}"),
        }
    }
}

impl<T> Run<T> {
    /// A text file of the workspace at the end. `None` if there is none, or it is not UTF-8.
    pub fn file(&self, path: &str) -> Option<&str> {
        std::str::from_utf8(self.workspace.get(path)?).ok()
    }

    /// Every file of the workspace at the end.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.workspace.keys().map(String::as_str)
    }

    /// What is left on a budget line. `None` if it was not set.
    pub fn left_of(&self, line: Line) -> Option<u64> {
        self.budget.iter().find(|entry| entry.line == line).map(|entry| entry.left)
    }
}

impl Run<Report> {
    /// The worker's report.
    ///
    /// # Panics
    /// If it did not return one; the message says how it ended.
    pub fn report(&self) -> &Report {
        self.returned()
    }
}

impl Run<Judgement> {
    /// The verifier's judgement.
    ///
    /// # Panics
    /// If it did not return one; the message says how it ended.
    pub fn judgement(&self) -> &Judgement {
        self.returned()
    }
}

impl<T> Outcome<T> {
    fn from_panic(payload: Box<dyn Any + Send>) -> Self {
        let payload = match payload.downcast::<Pull>() {
            Ok(pull) => return Outcome::Pulled(*pull),
            Err(payload) => payload,
        };
        let words = payload
            .downcast_ref::<&str>()
            .map(|words| (*words).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned());
        Outcome::Trapped(words.unwrap_or_else(|| "a panic without words".to_owned()))
    }
}

#[cfg(test)]
mod tests;
