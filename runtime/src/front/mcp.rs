//! Tools for anybody's agent: an MCP server over what somebody else serves.
//!
//! Never: decides about a call, runs one itself, keeps more calls, tasks or sessions than their caps, lets a call go on that
//! nobody waits for. Invariants: every request is answered, or its connection is ended; a call that is beyond a cap is
//! refused with words that say so, at once; a name, a description or a schema that is told was bounded first.
//!
//! Protocol 2026-07-28 and those before it, as far as `rmcp` speaks them (<https://modelcontextprotocol.io/specification>):
//! a call that may take long is a task, a question to a person is an answer that asks for input; clients of older versions
//! are asked by elicitation, and wait for long calls.

mod calls;
mod handler;
mod http;
mod listing;
mod questions;
mod sessions;
mod tasks;
pub mod token;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rmcp::transport::Transport;
use rmcp::{RoleServer, ServiceExt};
use serde_json::{Map, Value};
use thiserror::Error;
use tokio::sync::mpsc;

pub use self::calls::{MOST_CALLS, MOST_CALLS_OF_ONE};
pub use self::http::{Entry, HttpError, HttpServe, MOST_CONNECTIONS, Reach, Times, http};
pub use self::listing::{MAX_DESCRIPTION_CHARS, MAX_SCHEMA_BYTES};
pub use self::questions::MOST_QUESTIONS;
pub use self::sessions::MOST_SESSIONS;
pub use self::tasks::MOST_TASKS;

use self::handler::{Handler, Shared};

/// Bytes of one message of a client's. Arguments of a call are its bulk; a journal keeps them.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// Bytes of one output, which goes out twice: as text and as data.
pub const MAX_OUTPUT_BYTES: usize = 4 << 20;

/// How long running calls have to tell their clients that they were given up, once the server is to end.
pub const GOODBYE: Duration = Duration::from_secs(2);

/// Steps of one call that nobody has sent on yet. Past it the newest are dropped: they are news, not results.
const MOST_STEPS: usize = 32;

/// What is served: tools, and calls of them. One who is asked for both at once by many.
pub trait Served: Send + Sync + 'static {
    /// All tools, in the order in which they are told. Asked for each listing and for each call: not to be slow.
    fn tools(&self) -> Vec<ServedTool>;

    /// Performs a call. Dropping the future gives the call up: its client has left, has cancelled it, or the server ends.
    fn call(&self, call: ServedCall) -> BoxFuture<'_, CallEnd>;
}

/// A tool as whoever made it describes it. None of it is trusted: what cannot be told is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedTool {
    /// ASCII letters, digits, `_`, `-`, `.`, at most 128.
    pub name: String,
    pub description: String,
    /// A JSON schema of an object.
    pub input_schema: String,
    /// A JSON schema; `None`: any JSON.
    pub output_schema: Option<String>,
    pub length: Length,
    pub may: May,
}

/// What the host lets a call do. Whoever made the tool has no word in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct May {
    /// Change something, in files or elsewhere.
    pub change: bool,
    /// Speak to anybody outside of this host.
    pub reach_out: bool,
}

/// How long a tool may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Its client waits for it.
    Short,
    /// It is a task for clients that know tasks: they ask how it stands.
    Long,
}

/// One call.
#[derive(Debug)]
pub struct ServedCall {
    pub tool: String,
    pub input: Map<String, Value>,
    /// What the client calls itself. Bounded, not to be believed.
    pub client: String,
    /// What a person answered to what this call asked before. The call is made anew with it.
    pub answer: Option<Answered>,
    /// To tell how it goes.
    pub progress: Progress,
}

/// The answer to a question of an earlier [`CallEnd::Asks`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The state of that question, as it was given. It came back signed, for the same tool and the same input; it can
    /// come back more than once.
    pub state: String,
    pub reply: Reply,
}

/// What a person said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// One of the options, or any text where there were none.
    Said(String),
    /// Nothing: the question was turned down.
    Declined,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// JSON. A JSON string is told as its text.
    Output(String),
    /// An expected no, in words for the client's agent.
    Denied { message: String },
    /// A person must answer first; the call is made again with the answer.
    Asks(Question),
    /// There is no such tool.
    Unknown,
    /// Our own trouble. The client is not told what, the log is.
    Failed(String),
}

/// A question to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What the answer is called in the form that a person fills in: a word.
    pub name: String,
    pub text: String,
    /// What may be answered; empty: any text.
    pub options: Vec<String>,
    /// What comes back with the answer. The client can read it.
    pub state: String,
}

/// Tells a client how its call goes. Telling never waits; what nobody reads is dropped.
#[derive(Clone, Debug)]
pub struct Progress(mpsc::Sender<Step>);

/// How far a call is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub done: u64,
    /// Of how many; `None`: nobody knows.
    pub of: Option<u64>,
    pub message: String,
}

impl Progress {
    /// One end to tell, the other to read.
    pub fn channel() -> (Self, mpsc::Receiver<Step>) {
        let (sender, receiver) = mpsc::channel(MOST_STEPS);
        (Self(sender), receiver)
    }

    /// Tells a step. Steps of one call go up.
    pub fn tell(&self, step: Step) {
        // Full or not read: nobody waits for it.
        let _ = self.0.try_send(step);
    }
}

/// Why a server could not serve, or stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    #[error("make a key for what clients are to bring back: the machine gives no randomness")]
    Randomness,
    /// The client did not begin as the protocol wants it.
    #[error("begin with the client: {0}")]
    Begin(String),
    /// A bug of ours or of the library's.
    #[error("serve the client: {0}")]
    Broken(String),
}

/// Serves one client over a transport, usually its pipes, until it hangs up or `end` comes. What still runs then is given
/// up, and its client is told.
///
/// # Errors
/// [`ServeError`]. A client that hangs up is none.
pub async fn stdio(
    served: Arc<dyn Served>,
    transport: impl Transport<RoleServer> + 'static,
    end: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let shared = Shared::new(served)?;
    let mut end = std::pin::pin!(end);
    let ending = shared.ending.clone();
    let beginning = Handler::new(Arc::clone(&shared)).serve_with_ct(transport, shared.closing.clone());
    let service = tokio::select! {
        begun = beginning => match begun {
            Ok(service) => service,
            Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
            // What it began with instead is the client's, and not told.
            Err(rmcp::service::ServerInitializeError::ExpectedInitializeRequest(_)) => {
                return Err(ServeError::Begin("its first message asks for nothing".to_owned()));
            }
            Err(error) => return Err(ServeError::Begin(error.to_string())),
        },
        () = &mut end => return Ok(()),
    };
    let closing = shared.closing.clone();
    let mut waiting = std::pin::pin!(service.waiting());
    let quit = tokio::select! {
        quit = &mut waiting => quit,
        () = &mut end => {
            ending.cancel();
            // The answers of the calls that were given up are on their way.
            let _ = tokio::time::timeout(GOODBYE, shared.calls.idle()).await;
            closing.cancel();
            waiting.await
        }
    };
    shared.tasks.end();
    match quit {
        Ok(rmcp::service::QuitReason::JoinError(error)) | Err(error) => Err(ServeError::Broken(error.to_string())),
        Ok(_) => Ok(()),
    }
}
