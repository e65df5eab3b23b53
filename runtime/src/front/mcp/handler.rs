//! One client's conversation: what it may ask, and how a call of its becomes an answer.
//!
//! Never: lets a call go on whose client has cancelled it or left; tells a client of our own trouble more than that there is
//! some. Invariants: a call has room before it begins; the ends of [`CallEnd`] become answers here and nowhere else.

use std::borrow::Cow;
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams, ContentBlock, CreateTaskResult,
    ErrorData, GetTaskParams, GetTaskResult, Implementation, JsonObject, ListToolsResult, PaginatedRequestParams,
    ProgressNotificationParam, ProtocolVersion, ServerCapabilities, ServerConfig, Tool, UpdateTaskParams,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::calls::{Calls, CallsOfOne, Room};
use super::listing::{self, clean};
use super::questions::{self, Brought, ELICIT_WITHIN, MOST_QUESTIONS, Seal};
use super::tasks::{Place, Tasks};
use super::{
    Answered, CallEnd, Length, MAX_OUTPUT_BYTES, Progress, Question, Reply, ServeError, Served, ServedCall, ServedTool,
    Step,
};

/// Characters of what a client calls itself.
const MAX_CLIENT_CHARS: usize = 100;

/// Characters of what a step or a refusal says.
const MAX_MESSAGE_CHARS: usize = 16 << 10;

/// What all conversations of one server have in common.
pub(super) struct Shared {
    served: Arc<dyn Served>,
    pub calls: Calls,
    pub tasks: Tasks,
    seal: Seal,
    /// Calls are given up and told.
    pub ending: CancellationToken,
    /// Conversations are over.
    pub closing: CancellationToken,
}

impl Shared {
    pub fn new(served: Arc<dyn Served>) -> Result<Arc<Self>, ServeError> {
        Ok(Arc::new(Self {
            served,
            calls: Calls::new(),
            tasks: Tasks::default(),
            seal: Seal::new().ok_or(ServeError::Randomness)?,
            ending: CancellationToken::new(),
            closing: CancellationToken::new(),
        }))
    }
}

/// One conversation.
pub(super) struct Handler {
    shared: Arc<Shared>,
    calls: CallsOfOne,
}

impl Handler {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, calls: CallsOfOne::new() }
    }

    /// Makes a call that its client waits for, with the questions that it asks.
    async fn whole(&self, order: Order, context: &RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
        let mut answer = order.answer.clone();
        for asked in 0..=MOST_QUESTIONS {
            let (progress, mut steps) = Progress::channel();
            let end = {
                let telling = async {
                    while let Some(step) = steps.recv().await {
                        tell(context, step).await;
                    }
                    pending().await
                };
                tokio::select! {
                    end = made(&self.shared, &order, answer.take(), progress) => end,
                    end = telling => end,
                }
            };
            // What was told before the end is sent before it.
            while let Ok(step) = steps.try_recv() {
                tell(context, step).await;
            }
            let question = match settled(end, context.protocol_version().as_ref()) {
                Settled::Result(result) => return result.map(CallToolResponse::Complete),
                Settled::Asks(question) => question,
            };
            if asked == MOST_QUESTIONS {
                break;
            }
            let can_ask = questions::can_ask(context.client_capabilities().as_ref());
            if is_new(context) {
                if !can_ask {
                    return Err(ErrorData::missing_required_client_capability(questions::needed()));
                }
                let asked = self.shared.seal.ask(&question, &order.tool, &order.input);
                return asked.map(CallToolResponse::InputRequired).map_err(|why| fault(&order.tool, &why));
            }
            if !can_ask {
                return Ok(denied(unasked(&question)).into());
            }
            match elicit(context, &question).await {
                Ok(reply) => answer = Some(Answered { state: question.state, reply }),
                Err(why) => return Ok(denied(why).into()),
            }
        }
        Ok(denied(format!("the tool asked more than {MOST_QUESTIONS} questions")).into())
    }

    /// Makes a call a task of its own.
    fn task(&self, order: Order, room: Room) -> Result<CallToolResponse, ErrorData> {
        let (task, mut place) = match self.shared.tasks.begin() {
            Ok(begun) => begun,
            Err(full) => return Ok(denied(full).into()),
        };
        // A task has a cap of its own.
        drop(room);
        let (shared, id) = (Arc::clone(&self.shared), place.id().to_owned());
        let call = tokio::spawn(async move {
            let result = long(&shared, &order, &mut place).await;
            place.settle(result);
        });
        self.shared.tasks.runs(&id, call.abort_handle());
        Ok(CreateTaskResult::new(task).into())
    }
}

/// What is to be called.
#[derive(Clone, Debug)]
struct Order {
    tool: String,
    input: JsonObject,
    client: String,
    answer: Option<Answered>,
}

/// Calls once. A panic of whoever serves is an end as well.
async fn made(shared: &Shared, order: &Order, answer: Option<Answered>, progress: Progress) -> CallEnd {
    let call = ServedCall {
        tool: order.tool.clone(),
        input: order.input.clone(),
        client: order.client.clone(),
        answer,
        progress,
    };
    let end = AssertUnwindSafe(async { shared.served.call(call).await }).catch_unwind().await;
    end.unwrap_or_else(|_| CallEnd::Failed("it panicked".to_owned()))
}

/// All of a long call: its questions are asked through the task.
async fn long(shared: &Shared, order: &Order, place: &mut Place) -> Result<CallToolResult, ErrorData> {
    let mut answer = order.answer.clone();
    loop {
        let (progress, mut steps) = Progress::channel();
        let telling = async {
            while let Some(step) = steps.recv().await {
                place.tell(clean(&step.message, MAX_MESSAGE_CHARS));
            }
            pending().await
        };
        let end = tokio::select! {
            end = made(shared, order, answer.take(), progress) => end,
            end = telling => end,
        };
        // Only clients of today's protocol have tasks.
        match settled(end, Some(&ProtocolVersion::V_2026_07_28)) {
            Settled::Result(result) => return result,
            Settled::Asks(question) => match place.ask(&question).await {
                Ok(reply) => answer = Some(Answered { state: question.state, reply }),
                Err(why) => return Ok(denied(why)),
            },
        }
    }
}

enum Settled {
    Result(Result<CallToolResult, ErrorData>),
    Asks(Question),
}

/// The end of a call as its client is told.
fn settled(end: CallEnd, version: Option<&ProtocolVersion>) -> Settled {
    Settled::Result(match end {
        CallEnd::Output(json) => Ok(output(&json, version)),
        CallEnd::Denied { message } => Ok(denied(message)),
        CallEnd::Asks(question) => return Settled::Asks(question),
        CallEnd::Unknown => Err(unknown()),
        CallEnd::Failed(why) => Err(fault("a call", &why)),
    })
}

fn output(json: &str, version: Option<&ProtocolVersion>) -> CallToolResult {
    if json.len() > MAX_OUTPUT_BYTES {
        return denied(format!("the output has {} bytes; {MAX_OUTPUT_BYTES} are allowed", json.len()));
    }
    let value = match serde_json::from_str::<Value>(json) {
        Ok(value) => value,
        Err(error) => return denied(format!("the output is no JSON: {error}")),
    };
    let text = match &value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    // Older clients know only objects.
    let knows_any = version.is_some_and(|version| version.as_str() > listing::OBJECTS_ONLY);
    if value.is_object() || knows_any {
        result.structured_content = Some(value);
    }
    result
}

fn denied(message: impl AsRef<str>) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(clean(message.as_ref(), MAX_MESSAGE_CHARS))])
}

fn unknown() -> ErrorData {
    ErrorData::invalid_params("there is no tool of this name", None)
}

fn fault(what: &str, why: &str) -> ErrorData {
    tracing::error!("{what} failed: {why}");
    ErrorData::internal_error("the server failed; its log says why", None)
}

fn unasked(question: &Question) -> String {
    let options = match question.options.as_slice() {
        [] => String::new(),
        options => format!(" Answers: {}.", options.join(", ")),
    };
    format!("a person must answer first, and this client cannot ask one: {}{options}", question.text)
}

/// Whether a client speaks the protocol in which servers ask nothing by themselves.
fn is_new(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version().is_some_and(|version| version.as_str() > listing::OBJECTS_ONLY)
}

async fn tell(context: &RequestContext<RoleServer>, step: Step) {
    let Some(token) = context.meta.get_progress_token() else { return };
    // 2^53 steps are counted exactly.
    let mut progress = ProgressNotificationParam::new(token, step.done as f64);
    progress.total = step.of.map(|of| of as f64);
    progress.message = (!step.message.is_empty()).then(|| clean(&step.message, MAX_MESSAGE_CHARS));
    // One who has left is told nothing.
    let _ = context.peer.notify_progress(progress).await;
}

/// Asks a person through a client of an older protocol.
async fn elicit(context: &RequestContext<RoleServer>, question: &Question) -> Result<Reply, String> {
    let form = questions::form(question)?;
    let said = context.peer.create_elicitation_with_timeout(form, Some(ELICIT_WITHIN)).await;
    let said = said.map_err(|_| format!("nobody answered: {}", question.text))?;
    questions::reply(question, &said).ok_or_else(|| format!("the answer is none that was asked for: {}", question.text))
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::new(ServerCapabilities::builder().enable_tools().enable_tasks().build());
        info.server_info = Implementation::new("jidoka", env!("CARGO_PKG_VERSION"));
        info
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(ProtocolVersion::KNOWN_VERSIONS)
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let version = context.protocol_version();
        let version = version.as_ref().map_or(listing::OBJECTS_ONLY, ProtocolVersion::as_str);
        let cursor = request.and_then(|request| request.cursor);
        let page = listing::page(&self.shared.served.tools(), cursor.as_deref(), version);
        page.ok_or_else(|| ErrorData::invalid_params("there is no such page", None))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        listing::told(&self.find(name)?, ProtocolVersion::V_2026_07_28.as_str())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let tool = self.find(&request.name).ok_or_else(unknown)?;
        let room = match self.shared.calls.enter(&self.calls) {
            Ok(room) => room,
            Err(full) => return Ok(denied(full).into()),
        };
        let input = request.arguments.unwrap_or_default();
        let client = context.client_info().map(|client| clean(&client.name, MAX_CLIENT_CHARS)).unwrap_or_default();
        let answer = match &request.request_state {
            None => None,
            Some(state) => match self.shared.seal.open(state, request.input_responses.as_ref(), &tool.name, &input)? {
                Brought::Answer(answer) => Some(answer),
                Brought::Again(question) => {
                    let again = self.shared.seal.ask(&question, &tool.name, &input);
                    return again.map(CallToolResponse::InputRequired).map_err(|why| fault(&tool.name, &why));
                }
            },
        };
        let order = Order { tool: tool.name, input, client, answer };
        let knows_tasks = context.client_capabilities().is_some_and(|client| client.supports_tasks());
        if tool.length == Length::Long && knows_tasks {
            return self.task(order, room);
        }
        let mut whole = pin!(self.whole(order, &context));
        let end = tokio::select! {
            biased;
            // Not sent to anybody: whoever cancelled does not listen.
            () = context.ct.cancelled() => Err(ErrorData::internal_error("the call was cancelled", None)),
            () = self.shared.ending.cancelled() => {
                Ok(denied("the call was given up: the server is ending").into())
            }
            end = &mut whole => end,
        };
        drop(room);
        end
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        self.shared.tasks.get(&request.task_id).map(GetTaskResult::new)
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.shared.tasks.update(&request.task_id, &request.input_responses)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.shared.tasks.cancel(&request.task_id)
    }
}

impl Handler {
    fn find(&self, name: &str) -> Option<ServedTool> {
        self.shared.served.tools().into_iter().find(|tool| tool.name == name)
    }
}
