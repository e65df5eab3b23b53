//! Both sides of MCP for tests: tools whose calls wait until they are let go, clients that say what they like.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jidoka::doors::lines::Lines;
use jidoka::front::mcp::{
    self, Answered, CallEnd, Entry, HttpServe, Length, MAX_MESSAGE_BYTES, May, Question, Reach, Reply, ServeError,
    Served, ServedCall, ServedTool, Step, Times,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// Far above what anything here takes that is not stuck.
pub const LONG: Duration = Duration::from_secs(30);

/// Today's protocol.
pub const TODAY: &str = "2026-07-28";

/// Tools of which tests see how many calls run.
pub struct Toolbox {
    running: watch::Sender<usize>,
    is_open: watch::Sender<bool>,
}

/// A call that runs, until it is dropped.
struct Runs<'a>(&'a Toolbox);

impl Drop for Runs<'_> {
    fn drop(&mut self) {
        self.0.running.send_modify(|running| *running -= 1);
    }
}

impl Toolbox {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { running: watch::Sender::new(0), is_open: watch::Sender::new(false) })
    }

    /// Waits until so many calls run.
    pub async fn runs(&self, calls: usize) {
        let mut running = self.running.subscribe();
        let seen = tokio::time::timeout(LONG, running.wait_for(|&running| running == calls)).await;
        seen.unwrap_or_else(|_| panic!("{} calls run, not {calls}", *self.running.borrow())).expect("it is ours");
    }

    /// Lets all calls go that wait, and those to come.
    pub fn open(&self) {
        self.is_open.send_replace(true);
    }

    async fn wait(&self) {
        let _runs = Runs(self);
        self.running.send_modify(|running| *running += 1);
        self.is_open.subscribe().wait_for(|&is_open| is_open).await.expect("it is ours");
    }

    async fn answer(&self, call: ServedCall) -> CallEnd {
        match call.tool.as_str() {
            "echo" => CallEnd::Output(Value::Object(call.input).to_string()),
            "who" => CallEnd::Output(Value::from(call.client).to_string()),
            "list" => CallEnd::Output("[1,2]".to_owned()),
            "wait" | "job" => {
                self.wait().await;
                CallEnd::Output("\"let go\"".to_owned())
            }
            "steps" => {
                for done in 1..=3 {
                    call.progress.tell(Step { done, of: Some(3), message: format!("step {done}") });
                }
                CallEnd::Output("\"done\"".to_owned())
            }
            "ask" | "ask-job" => match call.answer {
                None => CallEnd::Asks(Question {
                    name: "go-on".to_owned(),
                    text: "Go on?".to_owned(),
                    options: vec!["yes".to_owned(), "no".to_owned()],
                    state: "question 1".to_owned(),
                }),
                Some(Answered { state, reply: Reply::Said(said) }) => {
                    CallEnd::Output(json!({ "state": state, "said": said }).to_string())
                }
                Some(Answered { reply: Reply::Declined, .. }) => CallEnd::Denied { message: "nobody says".to_owned() },
            },
            // As many questions as it is told to ask, one after the other.
            "curious" => {
                let asked = call.answer.map_or(0, |answer| answer.state.parse::<u64>().expect("a number"));
                match call.input.get("questions").and_then(Value::as_u64).expect("a number") {
                    questions if asked == questions => CallEnd::Output(asked.to_string()),
                    _ => CallEnd::Asks(Question {
                        name: "go-on".to_owned(),
                        text: "Go on?".to_owned(),
                        options: vec!["yes".to_owned(), "no".to_owned()],
                        state: (asked + 1).to_string(),
                    }),
                }
            }
            "no" => CallEnd::Denied { message: "it may not".to_owned() },
            "trouble" => CallEnd::Failed("/secret/path is gone".to_owned()),
            "panic" => panic!("as it is to"),
            "nonsense" => CallEnd::Output("{".to_owned()),
            "big" => {
                let bytes = call.input.get("bytes").and_then(Value::as_u64).expect("a number");
                CallEnd::Output(format!("\"{}\"", "x".repeat(usize::try_from(bytes - 2).expect("small"))))
            }
            _ => CallEnd::Unknown,
        }
    }
}

impl Served for Toolbox {
    fn tools(&self) -> Vec<ServedTool> {
        let short =
            ["echo", "who", "list", "wait", "steps", "ask", "curious", "no", "trouble", "panic", "nonsense", "big"];
        let tool = |name: &str, length| ServedTool {
            name: name.to_owned(),
            description: format!("The test's {name}."),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: None,
            length,
            may: May { change: false, reach_out: false },
        };
        let short = short.iter().map(|name| tool(name, Length::Short));
        short.chain(["job", "ask-job"].iter().map(|name| tool(name, Length::Long))).collect()
    }

    fn call(&self, call: ServedCall) -> BoxFuture<'_, CallEnd> {
        self.answer(call).boxed()
    }
}

/// A server at the other end of two pipes.
pub struct Piped {
    pub end: oneshot::Sender<()>,
    pub served: JoinHandle<Result<(), ServeError>>,
}

impl Piped {
    /// Serves these tools, and gives the client's end.
    pub fn serve(tools: &Arc<Toolbox>) -> (Self, DuplexStream) {
        let (theirs, ours) = tokio::io::duplex(64 << 10);
        let (read, write) = tokio::io::split(ours);
        let (end, ended) = oneshot::channel();
        let lines = Lines::new(read, write, MAX_MESSAGE_BYTES);
        let tools: Arc<dyn Served> = Arc::clone(tools) as _;
        let served = tokio::spawn(async move {
            mcp::stdio(tools, lines, async {
                // Dropped: never.
                if ended.await.is_err() {
                    std::future::pending::<()>().await;
                }
            })
            .await
        });
        (Self { end, served }, theirs)
    }
}

/// A client that writes what it likes.
pub struct Raw {
    reader: BufReader<ReadHalf<DuplexStream>>,
    writer: WriteHalf<DuplexStream>,
}

impl Raw {
    pub fn new(pipe: DuplexStream) -> Self {
        let (reader, writer) = tokio::io::split(pipe);
        Self { reader: BufReader::new(reader), writer }
    }

    /// Writes these bytes.
    pub async fn write(&mut self, bytes: &[u8]) {
        let written = tokio::time::timeout(LONG, self.writer.write_all(bytes)).await;
        written.expect("it is read").expect("it is open");
    }

    /// Writes a message.
    pub async fn send(&mut self, message: &Value) {
        self.write(format!("{message}\n").as_bytes()).await;
    }

    /// The next message; `None`: the server hung up.
    pub async fn receive(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = tokio::time::timeout(LONG, self.reader.read_line(&mut line)).await;
        let read = read.expect("the server says something").expect("text");
        (read > 0).then(|| serde_json::from_str(&line).expect("a line of JSON"))
    }

    /// Begins as clients before today's protocol do.
    pub async fn begin(&mut self) {
        self.send(&begin(&json!({}))).await;
        let begun = self.receive().await.expect("an answer");
        assert_eq!(begun["result"]["protocolVersion"], "2025-11-25", "{begun}");
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    }
}

/// The first message of a client before today's protocol.
pub fn begin(capabilities: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": { "name": "old", "version": "1" },
    } })
}

/// A call as clients before today's protocol make it.
pub fn old_call(id: u64, tool: &str, arguments: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool, "arguments": arguments } })
}

/// A request of today's protocol, from a client with these capabilities.
pub fn request(id: u64, method: &str, params: &Value, capabilities: &Value) -> Value {
    let mut params = params.clone();
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": TODAY,
        "io.modelcontextprotocol/clientInfo": { "name": "new", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    });
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// A server of HTTP on a port of this machine.
pub struct Listening {
    pub address: SocketAddr,
    end: Mutex<Option<oneshot::Sender<()>>>,
    served: JoinHandle<()>,
}

/// An answer that goes on.
pub struct Answering {
    connection: JoinHandle<hyper::Result<()>>,
    pub response: Response<Incoming>,
}

impl Listening {
    /// Serves these tools.
    pub async fn serve(tools: &Arc<Toolbox>, entry: Entry, times: Times) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (end, ended) = oneshot::channel();
        let tools: Arc<dyn Served> = Arc::clone(tools) as _;
        let names = vec!["tools.test".to_owned()];
        let served = tokio::spawn(async move {
            let serve = HttpServe { listener, entry, reach: Reach::Loopback, names, times };
            let end = async {
                if ended.await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            mcp::http(tools, serve, end).await.expect("it serves");
        });
        Self { address, end: Mutex::new(Some(end)), served }
    }

    /// Lets the server end.
    pub fn end(&self) {
        let end = self.end.lock().expect("nobody panicked").take().expect("it is ended once");
        end.send(()).expect("it serves");
    }

    /// Waits until the server has ended.
    pub async fn ended(self) {
        tokio::time::timeout(LONG, self.served).await.expect("it ends").expect("it ends well");
    }

    /// Serves whoever is on this machine.
    pub async fn for_anybody(tools: &Arc<Toolbox>) -> Self {
        Self::serve(tools, Entry::ThisMachine, Times::default()).await
    }

    /// Sends a message of today's protocol and gives what came back.
    pub async fn ask(&self, message: &Value) -> Heard {
        self.post(message, &headers(message)).await
    }

    /// Sends a message with these headers beside those that every client has.
    pub async fn post(&self, message: &Value, headers: &[(&str, String)]) -> Heard {
        self.send("POST", "/mcp", headers, message.to_string().into()).await
    }

    /// Makes any request.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, String)], body: Bytes) -> Heard {
        let heard = async {
            let Answering { connection, response } = self.open(method, path, headers, body).await;
            let (head, body) = response.into_parts();
            let body = body.collect().await.expect("a whole answer").to_bytes();
            connection.abort();
            let session = head.headers.get("mcp-session-id").map(|id| id.to_str().expect("text").to_owned());
            Heard { status: head.status, session, text: String::from_utf8(body.to_vec()).expect("text") }
        };
        tokio::time::timeout(LONG, heard).await.expect("it answers")
    }

    /// Makes any request, as far as the head of its answer.
    pub async fn open(&self, method: &str, path: &str, headers: &[(&str, String)], body: Bytes) -> Answering {
        let stream = TcpStream::connect(self.address).await.expect("it listens");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("it speaks HTTP");
        let connection = tokio::spawn(connection);
        let host = self.address.to_string();
        let mut request = Request::builder().method(method).uri(path);
        let own = [
            ("host", host.as_str()),
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
        ];
        for (name, value) in own.into_iter().filter(|(name, _)| headers.iter().all(|(given, _)| given != name)) {
            request = request.header(name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = sender.send_request(request.body(Full::new(body)).expect("a request"));
        let response = tokio::time::timeout(LONG, response).await.expect("it answers").expect("an answer");
        Answering { connection, response }
    }
}

/// The headers that go with a message of today's protocol.
pub fn headers(message: &Value) -> Vec<(&'static str, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let mut headers = vec![("mcp-protocol-version", TODAY.to_owned()), ("mcp-method", text(&message["method"]))];
    for name in ["name", "taskId"] {
        if let Some(value) = message["params"].get(name) {
            headers.push(("mcp-name", text(value)));
        }
    }
    headers
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Heard {
    pub status: StatusCode,
    pub session: Option<String>,
    pub text: String,
}

impl Heard {
    /// All messages, of either kind of body.
    pub fn messages(&self) -> Vec<Value> {
        if self.text.starts_with('{') {
            return vec![serde_json::from_str(&self.text).expect("JSON")];
        }
        let data = self.text.lines().filter_map(|line| line.strip_prefix("data:"));
        data.filter(|data| !data.trim().is_empty()).map(|data| serde_json::from_str(data).expect("JSON")).collect()
    }

    /// The last message: the answer.
    pub fn answer(&self) -> Value {
        self.messages().pop().unwrap_or_else(|| panic!("no message in {self:?}"))
    }
}

/// The text of a result.
pub fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text in {answer}"))
}
