//! The contract as a guest calls it: a WIT word in, an effect through the gate, a WIT word out.
//!
//! Never: decides, performs, touches a door. Everything a guest can cause is an [`Effect`] or one of the senses.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::component::{HasData, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::rules::andon::Category;
use crate::rules::effect::{Answer, Denied, Effect, Failure, FailureKind, Heard, Level, LineLeft, Reason, Refusal};
use crate::rules::ledger::Line;
use crate::rules::model::{Message, Profile, Request, Role, Stop, ToolCall, ToolDefinition};
use crate::rules::policy::{self, MAX_RANDOM_BYTES};
use crate::rules::question::Risk;
use crate::rules::tool::{Reach, ToolOffer};

use super::RunEnd;
use super::alarms::Alarms;
use super::bindings::worker::jidoka::agent as wit;
use super::files::{FileBooks, Files};
use super::gate::Ask;
use super::http::Web;
use super::limits::Limits;
use super::senses::{Chances, GuestTime, VirtualClock};
use super::way::Way;

/// Everything that the host holds for one guest. Thrown away with its store.
pub struct Guest {
    pub gate: Way,
    pub time: Arc<VirtualClock>,
    pub alarms: Alarms,
    pub web: Web,
    pub chances: Chances,
    pub books: FileBooks,
    pub limits: Limits,
    /// Bytes of strings and lists that one call may lift into the host.
    pub lifted_bytes: usize,
    /// Handles and other resources at once.
    pub handles: usize,
    pub wasi: WasiCtx,
    pub table: ResourceTable,
}

/// Links our interfaces to the whole [`Guest`].
pub struct HasGuest;

impl HasData for HasGuest {
    type Data<'a> = &'a mut Guest;
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl Guest {
    /// The guest's filesystem, for one call.
    pub fn files(&mut self) -> Files<'_> {
        let inner =
            wasmtime_wasi::filesystem::WasiFilesystemCtxView { ctx: self.wasi.filesystem(), table: &mut self.table };
        Files { inner, books: &mut self.books }
    }

    /// Refuses a call that hands over more than one may.
    fn lift(&self, what: &str, bytes: usize) -> Result<(), wit::types::Denied> {
        if bytes <= self.lifted_bytes {
            return Ok(());
        }
        let reason = Reason::TooLarge;
        let (asked, allowed) = (format!("{what} of {bytes} bytes"), format!("at most {} bytes", self.lifted_bytes));
        Err(Denied::Refused(Refusal { reason, asked, allowed, setting: "[caps] lifted".into() }).into())
    }

    /// The same, of a call that cannot be refused.
    fn lift_all(&self, what: &str, bytes: usize) -> Result<(), RunEnd> {
        match bytes <= self.lifted_bytes {
            true => Ok(()),
            false => Err(RunEnd::Cap(format!("{what} of {bytes} bytes; [caps] lifted allows {}", self.lifted_bytes))),
        }
    }

    /// The guest's clocks and what it waits for, for one call.
    pub fn time(&mut self) -> GuestTime<'_> {
        GuestTime { clock: &self.time, alarms: &mut self.alarms, table: &mut self.table }
    }
}

/// A door answered with what another effect's answer is.
fn mismatch(answer: &Answer) -> wasmtime::Error {
    RunEnd::Fault(format!("the gate gave a wrong kind of answer: {answer:?}")).into()
}

fn model_reply(heard: Heard) -> wasmtime::Result<Result<wit::model::Reply, wit::types::Denied>> {
    match heard {
        Ok(Answer::Model { reply, usage, micro_usd }) => Ok(Ok(wit::model::Reply {
            text: reply.text,
            tool_calls: reply.tool_calls.into_iter().map(Into::into).collect(),
            stop: reply.stop.into(),
            refusal: reply.refusal,
            provider_state: reply.provider_state,
            usage: wit::model::Usage { tokens_in: usage.tokens_in, tokens_out: usage.tokens_out, micro_usd },
        })),
        Ok(other) => Err(mismatch(&other)),
        Err(denied) => Ok(Err(denied.into())),
    }
}

/// What stands in the way of a large piece of evidence besides.
const EVIDENCE_CAP: &str = ", up to the 1 MiB that one piece of evidence has at most: a fixed cap of the host";

/// Bytes that a request hands over, with those of the host's own that hold its parts: as the engine counts them.
fn request_bytes(request: &wit::model::Request) -> usize {
    let call = |call: &wit::model::ToolCall| call.id.len() + call.name.len() + call.arguments.len();
    let message = |message: &wit::model::Message| {
        let id = message.tool_call_id.as_ref().map_or(0, String::len);
        let calls = message.tool_calls.iter().map(call).sum::<usize>() + size_of_val(&message.tool_calls[..]);
        message.content.len() + id + message.provider_state.as_ref().map_or(0, String::len) + calls
    };
    let tool = |tool: &wit::model::ToolDefinition| tool.name.len() + tool.description.len() + tool.schema.len();
    let parts = request.messages.iter().map(message).chain(request.tools.iter().map(tool));
    let lists = size_of_val(&request.messages[..]) + size_of_val(&request.tools[..]);
    request.model.len() + request.schema.as_ref().map_or(0, String::len) + parts.sum::<usize>() + lists
}

fn call_bytes(call: &wit::tools::Invocation) -> usize {
    call.name.len() + call.input.len()
}

fn child_bytes(child: &wit::children::Child) -> usize {
    child.name.len() + child.task.len() + size_of_val(&child.budget[..])
}

/// Bytes of texts, and of what holds them.
pub(super) fn texts_bytes(texts: &[String]) -> usize {
    texts.iter().map(String::len).sum::<usize>() + size_of_val(texts)
}

/// How far it reaches is the gate's to say.
fn tool_call(call: wit::tools::Invocation) -> Effect {
    Effect::Tool { name: call.name, input: call.input, reach: Reach::default() }
}

fn tool_output(heard: Heard) -> wasmtime::Result<Result<String, wit::types::Denied>> {
    match heard {
        Ok(Answer::Tool { output }) => Ok(Ok(output)),
        Ok(other) => Err(mismatch(&other)),
        Err(denied) => Ok(Err(denied.into())),
    }
}

/// How far it reaches is the gate's to say. Of a line that is named twice the less is meant.
fn child(child: wit::children::Child) -> Effect {
    let mut budget = BTreeMap::new();
    for (line, amount) in child.budget {
        budget.entry(line.into()).and_modify(|least: &mut u64| *least = amount.min(*least)).or_insert(amount);
    }
    Effect::Child { name: child.name, task: child.task, budget, reach: Reach::default() }
}

fn verdict(heard: Heard) -> wasmtime::Result<Result<wit::children::Verdict, wit::types::Denied>> {
    match heard {
        Ok(Answer::Judged { serial, verdict, why, summary }) => {
            Ok(Ok(wit::children::Verdict { serial, verdict, why, summary }))
        }
        Ok(other) => Err(mismatch(&other)),
        Err(denied) => Ok(Err(denied.into())),
    }
}

impl wit::types::Host for Guest {}

impl wit::work::Host for Guest {}

impl super::bindings::verifier::jidoka::agent::review::Host for Guest {}

impl super::bindings::tool::jidoka::agent::tooling::Host for Guest {}

impl wit::model::Host for Guest {
    async fn ask(
        &mut self,
        request: wit::model::Request,
    ) -> wasmtime::Result<Result<wit::model::Reply, wit::types::Denied>> {
        if let Err(denied) = self.lift("a model request", request_bytes(&request)) {
            return Ok(Err(denied));
        }
        model_reply(self.gate.pass(Effect::Model { request: request.into() }).await?)
    }

    async fn ask_all(
        &mut self,
        requests: Vec<wit::model::Request>,
    ) -> wasmtime::Result<Vec<Result<wit::model::Reply, wit::types::Denied>>> {
        if let Err(denied) =
            self.lift("model requests", requests.iter().map(request_bytes).sum::<usize>() + size_of_val(&requests[..]))
        {
            return Ok(requests.iter().map(|_| Err(denied.clone())).collect());
        }
        let asks = requests.into_iter().map(|request| Ask::from(Effect::Model { request: request.into() }));
        self.gate.pass_all(asks.collect()).await?.into_iter().map(model_reply).collect()
    }

    async fn catalogue(&mut self) -> wasmtime::Result<Vec<wit::model::Offer>> {
        let offer = |(name, profile): (String, Profile)| wit::model::Offer {
            name,
            window: profile.window,
            max_output: profile.max_output,
            micro_usd_per_mtok_in: profile.price.map_or(0, |price| price.micro_usd_per_mtok_in),
            micro_usd_per_mtok_out: profile.price.map_or(0, |price| price.micro_usd_per_mtok_out),
        };
        Ok(self.gate.offers()?.into_iter().map(offer).collect())
    }
}

impl wit::tools::Host for Guest {
    async fn catalogue(&mut self) -> wasmtime::Result<Vec<wit::tools::Tool>> {
        let tool = |offer: ToolOffer| wit::tools::Tool {
            name: offer.name,
            description: offer.description,
            schema: offer.schema,
        };
        Ok(self.gate.tools()?.into_iter().map(tool).collect())
    }

    async fn call(&mut self, call: wit::tools::Invocation) -> wasmtime::Result<Result<String, wit::types::Denied>> {
        if let Err(denied) = self.lift("a tool's call", call_bytes(&call)) {
            return Ok(Err(denied));
        }
        tool_output(self.gate.pass(tool_call(call)).await?)
    }

    async fn call_all(
        &mut self,
        calls: Vec<wit::tools::Invocation>,
    ) -> wasmtime::Result<Vec<Result<String, wit::types::Denied>>> {
        if let Err(denied) =
            self.lift("calls of tools", calls.iter().map(call_bytes).sum::<usize>() + size_of_val(&calls[..]))
        {
            return Ok(calls.iter().map(|_| Err(denied.clone())).collect());
        }
        let asks = calls.into_iter().map(|call| Ask::from(tool_call(call)));
        self.gate.pass_all(asks.collect()).await?.into_iter().map(tool_output).collect()
    }
}

impl wit::children::Host for Guest {
    async fn run(
        &mut self,
        asked: wit::children::Child,
    ) -> wasmtime::Result<Result<wit::children::Verdict, wit::types::Denied>> {
        if let Err(denied) = self.lift("a child's task", child_bytes(&asked)) {
            return Ok(Err(denied));
        }
        verdict(self.gate.pass(child(asked)).await?)
    }

    async fn run_all(
        &mut self,
        children: Vec<wit::children::Child>,
    ) -> wasmtime::Result<Vec<Result<wit::children::Verdict, wit::types::Denied>>> {
        if let Err(denied) =
            self.lift("tasks of children", children.iter().map(child_bytes).sum::<usize>() + size_of_val(&children[..]))
        {
            return Ok(children.iter().map(|_| Err(denied.clone())).collect());
        }
        let asks = children.into_iter().map(|asked| Ask::from(child(asked)));
        self.gate.pass_all(asks.collect()).await?.into_iter().map(verdict).collect()
    }
}

impl wit::budget::Host for Guest {
    async fn left(&mut self) -> wasmtime::Result<Vec<wit::budget::LineLeft>> {
        let left = |left: LineLeft| wit::budget::LineLeft {
            line: left.line.into(),
            left: left.left,
            until_mark: left.until_mark,
        };
        match self.gate.pass(Effect::Left).await? {
            Ok(Answer::Left { lines }) => Ok(lines.into_iter().map(left).collect()),
            Ok(other) => Err(mismatch(&other)),
            // Past its cap: the contract has no word for a refusal here, and nobody looks so often for a reason.
            Err(denied) => Err(RunEnd::Cap(format!("{denied:?}")).into()),
        }
    }
}

impl wit::progress::Host for Guest {
    async fn check_in(
        &mut self,
        note: String,
    ) -> wasmtime::Result<Result<wit::progress::Standing, wit::types::Denied>> {
        if let Err(denied) = self.lift("a note", note.len()) {
            return Ok(Err(denied));
        }
        match self.gate.pass(Effect::CheckIn { note }).await? {
            Ok(Answer::CheckedIn { standing, .. }) => Ok(Ok(wit::progress::Standing {
                new_mark: standing.new_mark,
                marks: standing.marks,
                changed_files: standing.changed_files,
            })),
            Ok(other) => Err(mismatch(&other)),
            Err(denied) => Ok(Err(denied.into())),
        }
    }
}

impl wit::evidence::Host for Guest {
    async fn attach(
        &mut self,
        kind: String,
        name: String,
        bytes: Vec<u8>,
    ) -> wasmtime::Result<Result<String, wit::types::Denied>> {
        if let Err(mut denied) = self.lift("evidence", kind.len() + name.len() + bytes.len()) {
            if let wit::types::Denied::Refused(refusal) = &mut denied {
                // More of the setting alone would not be enough.
                refusal.setting.push_str(EVIDENCE_CAP);
            }
            return Ok(Err(denied));
        }
        let digest = crate::doors::evidence::address(&bytes).to_string();
        let effect = Effect::Attach { kind, name, digest, bytes: bytes.len() as u64 };
        match self.gate.pass(Ask { effect, bytes }).await? {
            Ok(Answer::Attached { id }) => Ok(Ok(id)),
            Ok(other) => Err(mismatch(&other)),
            Err(denied) => Ok(Err(denied.into())),
        }
    }
}

impl wit::andon::Host for Guest {
    async fn pull(
        &mut self,
        category: wit::andon::Category,
        reason: String,
        evidence: Vec<String>,
    ) -> wasmtime::Result<()> {
        self.lift_all("a pull", reason.len() + texts_bytes(&evidence))?;
        Err(self.gate.pulled_by_guest(category.into(), &reason, evidence).into())
    }
}

impl wit::human::Host for Guest {
    async fn ask(
        &mut self,
        question: String,
        options: Vec<String>,
        risk: wit::human::Risk,
    ) -> wasmtime::Result<Result<wit::human::Answer, wit::types::Denied>> {
        if let Err(denied) = self.lift("a question", question.len() + texts_bytes(&options)) {
            return Ok(Err(denied));
        }
        match self.gate.pass(Effect::Human { question, options, risk: risk.into() }).await? {
            Ok(Answer::Decided { choice, note }) => Ok(Ok(wit::human::Answer { choice, note })),
            Ok(other) => Err(mismatch(&other)),
            Err(denied) => Ok(Err(denied.into())),
        }
    }
}

impl wit::log::Host for Guest {
    async fn emit(
        &mut self,
        level: wit::log::Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        let bytes = fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        self.lift_all("a note", message.len() + bytes + size_of_val(&fields[..]))?;
        Ok(self.gate.note(level.into(), message, fields).await?)
    }
}

impl wit::clock::Host for Guest {
    async fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.time.read_ns() / 1_000_000)
    }

    async fn sleep(&mut self, ms: u64) -> wasmtime::Result<Result<(), wit::types::Denied>> {
        match self.gate.pass(Effect::Sleep { ms }).await? {
            Ok(Answer::Slept) => Ok(Ok(())),
            Ok(other) => Err(mismatch(&other)),
            Err(denied) => Ok(Err(denied.into())),
        }
    }
}

impl wit::random::Host for Guest {
    async fn bytes(&mut self, count: u32) -> wasmtime::Result<Result<Vec<u8>, wit::types::Denied>> {
        let capped = policy::at_most("random bytes", u64::from(count), u64::from(MAX_RANDOM_BYTES));
        Ok(capped.map(|()| self.chances.ours.bytes(count as usize)).map_err(|refusal| Denied::Refused(refusal).into()))
    }
}

impl From<wit::model::Request> for Request {
    fn from(request: wit::model::Request) -> Self {
        Self {
            model: request.model,
            messages: request.messages.into_iter().map(Into::into).collect(),
            tools: request.tools.into_iter().map(Into::into).collect(),
            max_output: request.max_output,
            min_output: request.min_output,
            schema: request.schema,
        }
    }
}

impl From<wit::model::Message> for Message {
    fn from(message: wit::model::Message) -> Self {
        Self {
            role: match message.role {
                wit::model::Role::System => Role::System,
                wit::model::Role::User => Role::User,
                wit::model::Role::Assistant => Role::Assistant,
                wit::model::Role::Tool => Role::Tool,
            },
            content: message.content,
            tool_calls: message.tool_calls.into_iter().map(Into::into).collect(),
            tool_call_id: message.tool_call_id,
            provider_state: message.provider_state,
        }
    }
}

impl From<wit::model::ToolDefinition> for ToolDefinition {
    fn from(tool: wit::model::ToolDefinition) -> Self {
        Self { name: tool.name, description: tool.description, schema: tool.schema }
    }
}

impl From<wit::model::ToolCall> for ToolCall {
    fn from(call: wit::model::ToolCall) -> Self {
        Self { id: call.id, name: call.name, arguments: call.arguments }
    }
}

impl From<ToolCall> for wit::model::ToolCall {
    fn from(call: ToolCall) -> Self {
        Self { id: call.id, name: call.name, arguments: call.arguments }
    }
}

impl From<Stop> for wit::model::Stop {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::End => Self::End,
            Stop::MaxOutput => Self::MaxOutput,
            Stop::ToolCalls => Self::ToolCalls,
            Stop::Withheld => Self::Withheld,
        }
    }
}

impl From<wit::andon::Category> for Category {
    fn from(category: wit::andon::Category) -> Self {
        match category {
            wit::andon::Category::Defect => Self::Defect,
            wit::andon::Category::SystemicRisk => Self::SystemicRisk,
            wit::andon::Category::UnsafeRequest => Self::UnsafeRequest,
            wit::andon::Category::MissingCapability => Self::MissingCapability,
            wit::andon::Category::AmbiguousSpec => Self::AmbiguousSpec,
        }
    }
}

impl From<wit::human::Risk> for Risk {
    fn from(risk: wit::human::Risk) -> Self {
        match risk {
            wit::human::Risk::Low => Self::Low,
            wit::human::Risk::Medium => Self::Medium,
            wit::human::Risk::High => Self::High,
        }
    }
}

impl From<wit::log::Level> for Level {
    fn from(level: wit::log::Level) -> Self {
        match level {
            wit::log::Level::Debug => Self::Debug,
            wit::log::Level::Info => Self::Info,
            wit::log::Level::Warn => Self::Warn,
            wit::log::Level::Error => Self::Error,
        }
    }
}

impl From<wit::types::Line> for Line {
    fn from(line: wit::types::Line) -> Self {
        match line {
            wit::types::Line::TokensIn => Line::TokensIn,
            wit::types::Line::TokensOut => Line::TokensOut,
            wit::types::Line::Tokens => Line::Tokens,
            wit::types::Line::MicroUsd => Line::MicroUsd,
            wit::types::Line::ModelCalls => Line::ModelCalls,
            wit::types::Line::ToolCalls => Line::ToolCalls,
            wit::types::Line::WallMs => Line::WallMs,
            wit::types::Line::WorkMs => Line::WorkMs,
            wit::types::Line::CpuMs => Line::CpuMs,
            wit::types::Line::NetBytes => Line::NetBytes,
            wit::types::Line::DiskBytes => Line::DiskBytes,
            wit::types::Line::MemoryBytes => Line::MemoryBytes,
        }
    }
}

impl From<Line> for wit::types::Line {
    fn from(line: Line) -> Self {
        match line {
            Line::TokensIn => Self::TokensIn,
            Line::TokensOut => Self::TokensOut,
            Line::Tokens => Self::Tokens,
            Line::MicroUsd => Self::MicroUsd,
            Line::ModelCalls => Self::ModelCalls,
            Line::ToolCalls => Self::ToolCalls,
            Line::WallMs => Self::WallMs,
            Line::WorkMs => Self::WorkMs,
            Line::CpuMs => Self::CpuMs,
            Line::NetBytes => Self::NetBytes,
            Line::DiskBytes => Self::DiskBytes,
            Line::MemoryBytes => Self::MemoryBytes,
        }
    }
}

impl From<Denied> for wit::types::Denied {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Refused(refusal) => Self::Refused(refusal.into()),
            Denied::Failed(failure) => Self::Failed(failure.into()),
        }
    }
}

impl From<Refusal> for wit::types::Refusal {
    fn from(refusal: Refusal) -> Self {
        let reason = match refusal.reason {
            Reason::NotGranted => wit::types::Reason::NotGranted,
            Reason::Exhausted { shortfall } => wit::types::Reason::Exhausted(wit::types::Shortfall {
                scope: shortfall.scope,
                line: shortfall.line.into(),
                asked: shortfall.asked,
                left: shortfall.left,
            }),
            Reason::Unbounded => wit::types::Reason::Unbounded,
            Reason::Unpriced => wit::types::Reason::Unpriced,
            Reason::TooLarge => wit::types::Reason::TooLarge,
            Reason::Invalid => wit::types::Reason::Invalid,
            Reason::LineStopped => wit::types::Reason::LineStopped,
        };
        Self { reason, asked: refusal.asked, allowed: refusal.allowed, setting: refusal.setting }
    }
}

impl From<Failure> for wit::types::Failure {
    fn from(failure: Failure) -> Self {
        let kind = match failure.kind {
            FailureKind::Unavailable => wit::types::FailureKind::Unavailable,
            FailureKind::Overloaded => wit::types::FailureKind::Overloaded,
            FailureKind::TimedOut => wit::types::FailureKind::TimedOut,
            FailureKind::Rejected => wit::types::FailureKind::Rejected,
            FailureKind::Broken => wit::types::FailureKind::Broken,
            FailureKind::SchemaViolation => wit::types::FailureKind::SchemaViolation,
        };
        Self { kind, message: failure.message }
    }
}
