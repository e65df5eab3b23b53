//! The door to MCP servers of the operator's: native programs behind the process wall, spoken to over their pipes.
//!
//! Never: believes a server. What it says is bounded, what it asks is refused, what it is late with has failed. Invariants
//! here: a server lives no longer than its handle, with all that it started; it gets no environment but what was ordered;
//! an answer is to the request that was made, or to none.

mod client;
mod process;

use std::time::Duration;

use rmcp::RoleClient;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientRequest, ContentBlock, JsonObject, ListToolsRequest,
    PaginatedRequestParams, ServerResult, Tool,
};
use rmcp::service::{RunningService, ServiceError};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::client::Refusing;
use self::process::Process;
use super::lines::Ending;
use super::program::Program;
use crate::rules::effect::{Failure, FailureKind};
use crate::rules::mcp::McpSpec;

/// Bytes of one line of a server's.
pub const MAX_LINE_BYTES: usize = 4 << 20;

/// Requests at once, of one run to one server.
pub const MOST_REQUESTS: usize = 8;

/// Tools of one server.
pub const MOST_TOOLS: usize = 256;

/// Bytes of all that a server says of its tools: a worker's agent reads it in each of its turns.
pub const MAX_TOOLS_BYTES: usize = 1 << 20;

/// Pages of a listing: one that has no end is none.
const MOST_PAGES: usize = 64;

/// Characters of a server's words in an error.
const MAX_WORDS_CHARS: usize = 4096;

/// How long a server has to read that a request is given up.
const GOODBYE: Duration = Duration::from_millis(200);

/// A server that runs. It is killed, with all that it started, when this is dropped.
pub struct McpServer {
    // Dropped in this order: the conversation, then the process.
    service: RunningService<RoleClient, Refusing>,
    ending: Ending,
    room: Semaphore,
    start: Duration,
    process: Process,
}

/// What a server says of a tool. None of it is to be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpTool {
    pub name: String,
    pub description: String,
    /// A JSON object.
    pub input_schema: String,
    /// A JSON object; `None`: it says nothing of its output.
    pub output_schema: Option<String>,
}

/// Why a server is of no use.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum McpError {
    #[error("the server could not be started: {0}")]
    Start(#[source] std::io::Error),
    #[error("the server was not ready after {0:?}{1}")]
    Late(Duration, String),
    /// It ended, or broke its protocol or a cap.
    #[error("the server {0}")]
    Broken(String),
}

impl McpServer {
    /// Starts a server and waits until it is ready.
    ///
    /// # Errors
    /// [`McpError`]; nothing runs then.
    pub async fn start(program: &Program, spec: &McpSpec) -> Result<Self, McpError> {
        let start = Duration::from_millis(spec.limits.start_ms);
        let mut process = Process::start(program, spec).await.map_err(McpError::Start)?;
        let lines = process.lines(MAX_LINE_BYTES);
        let ending = lines.ending();
        let begun = timeout(start, client::begin(lines)).await;
        let service = match begun {
            Ok(Ok(service)) => service,
            Ok(Err(why)) => {
                let why = ending.why().map_or(why, str::to_owned);
                return Err(McpError::Broken(format!("did not begin: {why}{}", process.last_words().await)));
            }
            Err(_) => return Err(McpError::Late(start, process.last_words().await)),
        };
        Ok(Self { service, ending, room: Semaphore::new(MOST_REQUESTS), start, process })
    }

    /// All tools, as the server tells them now.
    ///
    /// # Errors
    /// [`McpError`]: it is late, or there are too many, or they are no tools.
    pub async fn tools(&self) -> Result<Vec<McpTool>, McpError> {
        match timeout(self.start, self.all_pages()).await {
            Ok(tools) => tools,
            Err(_) => Err(McpError::Late(self.start, String::new())),
        }
    }

    async fn all_pages(&self) -> Result<Vec<McpTool>, McpError> {
        let mut tools = Vec::new();
        let (mut cursor, mut bytes) = (None, 0);
        for _ in 0..MOST_PAGES {
            let params = PaginatedRequestParams::default().with_cursor(cursor.take());
            let request = ListToolsRequest { params: Some(params), ..Default::default() };
            let said = self.service.send_request(ClientRequest::ListToolsRequest(request)).await;
            let page = match said.map_err(|error| McpError::Broken(self.why(&error)))? {
                ServerResult::ListToolsResult(page) => page,
                _ => return Err(McpError::Broken("answers a listing with something else".to_owned())),
            };
            for tool in page.tools.iter().map(told) {
                bytes += tool.name.len() + tool.description.len() + tool.input_schema.len();
                bytes += tool.output_schema.as_ref().map_or(0, String::len);
                tools.push(tool);
            }
            if tools.len() > MOST_TOOLS || bytes > MAX_TOOLS_BYTES {
                return Err(McpError::Broken(format!(
                    "has more than {MOST_TOOLS} tools, or says more than {MAX_TOOLS_BYTES} bytes of them"
                )));
            }
            match page.next_cursor {
                None => return Ok(tools),
                next => cursor = next,
            }
        }
        Err(McpError::Broken(format!("lists its tools on more than {MOST_PAGES} pages")))
    }

    /// Calls a tool: JSON in, JSON out. The output is the structured content, or `{"content": [..]}` where there is none.
    /// Dropping the future gives the call up.
    ///
    /// # Errors
    /// `rejected`: the tool said no, or too many calls are running. `timed-out`: no answer in this time. `broken`: the server
    /// ended, broke the protocol or a cap, or asks for what it is not given. `unavailable`: it had ended before.
    pub async fn call(&self, name: &str, input: &str, wall: Duration) -> Result<String, Failure> {
        let failed = |kind, message: String| Failure { kind, message };
        let arguments: JsonObject = serde_json::from_str(input)
            .map_err(|error| failed(FailureKind::Rejected, format!("the input is no JSON object: {error}")))?;
        let _room = self.room.try_acquire().map_err(|_| {
            failed(FailureKind::Rejected, format!("{MOST_REQUESTS} calls of this server run, which is the most"))
        })?;
        if self.service.is_transport_closed() {
            return Err(failed(FailureKind::Unavailable, format!("the server has ended{}", self.ended())));
        }
        let params = CallToolRequestParams::new(name.to_owned()).with_arguments(arguments);
        let response = match timeout(wall, self.service.peer().call_tool_once(params)).await {
            Ok(response) => response,
            Err(_) => {
                // It is told in a task of the conversation's.
                return Err(failed(FailureKind::TimedOut, format!("no answer came in {wall:?}")));
            }
        };
        match response {
            Ok(CallToolResponse::Complete(result)) => output(result),
            Ok(_) => Err(failed(FailureKind::Broken, "the server asks for something instead of answering".to_owned())),
            Err(ServiceError::McpError(error)) => Err(failed(FailureKind::Rejected, bounded(&error.message))),
            Err(error) => Err(failed(FailureKind::Broken, format!("the server {}", self.why(&error)))),
        }
    }

    /// Ends the server: it is told by the end of its input, and killed.
    pub async fn end(self) {
        let Self { service, process, .. } = self;
        let _ = timeout(GOODBYE, service.cancel()).await;
        drop(process);
    }

    /// What went wrong, as far as it is known.
    fn why(&self, error: &ServiceError) -> String {
        match error {
            ServiceError::McpError(error) => format!("said: {}", bounded(&error.message)),
            ServiceError::TransportClosed | ServiceError::TransportSend(_) => format!("ended{}", self.ended()),
            ServiceError::UnexpectedResponse => "answered what was not asked".to_owned(),
            other => bounded(&other.to_string()),
        }
    }

    fn ended(&self) -> String {
        let why = self.ending.why().map(|why| format!(": {why}"));
        format!("{}{}", why.unwrap_or_default(), self.process.words())
    }
}

fn told(tool: &Tool) -> McpTool {
    let text = |schema: &JsonObject| Value::Object(schema.clone()).to_string();
    McpTool {
        name: tool.name.clone().into_owned(),
        description: tool.description.clone().unwrap_or_default().into_owned(),
        input_schema: text(&tool.input_schema),
        output_schema: tool.output_schema.as_deref().map(text),
    }
}

fn output(result: CallToolResult) -> Result<String, Failure> {
    if result.is_error == Some(true) {
        let words: Vec<&str> = result.content.iter().filter_map(words).collect();
        return Err(Failure { kind: FailureKind::Rejected, message: bounded(&words.join("\n")) });
    }
    Ok(match result.structured_content {
        Some(value) => value.to_string(),
        None => json!({ "content": result.content }).to_string(),
    })
}

fn words(content: &ContentBlock) -> Option<&str> {
    match content {
        ContentBlock::Text(text) => Some(&text.text),
        _ => None,
    }
}

/// A server's words, cut and cleaned.
fn bounded(text: &str) -> String {
    let clean = |char: char| if char.is_control() && char != '\n' { '\u{fffd}' } else { char };
    text.chars().take(MAX_WORDS_CHARS).map(clean).collect()
}
