//! A provider on loopback that keeps its own books and does what a test tells it, lies included.
//!
//! Never: imports the runtime (what it speaks is written down here a second time, on purpose), talks to anyone but its
//! clients, outlives its handle. It counts what it was asked and what it spent, so that a test can compare the ledger
//! with somebody who does not share its code.

use std::io;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What the provider does with one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers, cut at the call's cap. One token is 4 bytes, one delta is one token.
    Text(String),
    /// Asks for a tool; the arguments are JSON.
    ToolCall { name: String, arguments: String },
    /// Answers and reports this many output tokens, whatever the cap.
    Overshoot { text: String, tokens_out: u64 },
    /// Answers without any usage.
    OmitUsage(String),
    /// Reads the call and stays silent.
    Stall,
    /// Breaks the connection in the middle of the answer.
    Cut(String),
    /// Ends the answer properly, but for the dialect's terminator. Streams only.
    NoTerminator(String),
    /// Streams tokens until the client hangs up. Streams only.
    Endless,
    /// A header of this many bytes.
    HugeHeader(usize),
    /// A body of this many bytes that are no output: comments in a stream, white space in a whole reply.
    HugeBody(usize),
    /// A status with this JSON as the error's message.
    Status(u16, String),
    /// Answers with this status and this body as it is; the kind is the content type.
    Says { status: u16, kind: &'static str, body: String },
    /// Reads the call and hangs up before a byte of an answer.
    HangUp,
    /// Reads the call and resets the connection before a byte of an answer.
    Reset,
    /// Sends the client elsewhere.
    Redirect(String),
    /// Answers with the key that it was given, as text and as arguments of a tool call.
    EchoKey,
    /// A status with the key that it was given in the error's message.
    EchoKeyInError(u16),
    /// Answers twice in one reply. OpenAI dialect only.
    TwoChoices(String),
    /// Thinks aloud before it writes a file, for so many turns, then says that it is done. Whoever does not bring every
    /// thought back as it was, signature and all, is refused.
    Thinks(u64),
    /// Refuses to be asked for reasoning, and does the other thing if it is not. Responses dialect only.
    Plain(Box<Behaviour>),
    /// Does something, with these headers besides.
    Headers(Vec<(&'static str, String)>, Box<Behaviour>),
}

/// What the provider does with requests to count the input of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counting {
    /// Says what the call would be booked with.
    True,
    /// Answers 200 with this body.
    Says(String),
    /// One of those that are no answer of a model's: a status, a redirect, silence, a flood, the key in an error.
    Does(Behaviour),
}

/// The provider's books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub calls: u64,
    /// Requests to count a call's input; they are no calls.
    pub counts: u64,
    /// The sum of the output caps that clients asked for.
    pub output_requested: u64,
    /// Bodies of requests.
    pub bytes_in: u64,
    /// Bodies of responses, framing of chunks excluded.
    pub bytes_out: u64,
    /// Clients that hung up before the answer was over.
    pub aborted: u64,
    /// What was really spent, whether it was reported or not.
    pub tokens_in: u64,
    pub tokens_out: u64,
    /// Of these, what no client was told.
    pub untold_in: u64,
    pub untold_out: u64,
}

/// A call as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn key(&self) -> &str {
        self.header("authorization").or_else(|| self.header("x-api-key")).unwrap_or_default()
    }

    fn cap(&self) -> u64 {
        let fields = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
        fields.iter().find_map(|field| self.body[field].as_u64()).unwrap_or(u64::MAX)
    }

    fn dialect(&self) -> Dialect {
        match self.path.rsplit('/').next() {
            Some("messages" | "count_tokens") => Dialect::Anthropic,
            Some("responses") => Dialect::Responses,
            Some(_) | None => Dialect::Openai,
        }
    }

    /// Whether the model's own turn number `number` came back with its thought.
    fn has_thought(&self, number: u64) -> bool {
        let (thought, signature) = thought(number);
        let turns = self.body["messages"].as_array().into_iter().flatten();
        let mut turns = turns.filter(|turn| turn["role"] == "assistant");
        let turn = turns.nth(usize::try_from(number).unwrap_or(usize::MAX)).unwrap_or(&Value::Null);
        match self.dialect() {
            Dialect::Openai => {
                let signed = &turn["tool_calls"][0]["extra_content"]["google"]["thought_signature"];
                turn["reasoning_content"] == thought.as_str() && *signed == signature.as_str()
            }
            // Its items are no messages: see `Answer::demand`.
            Dialect::Responses => false,
            Dialect::Anthropic => {
                turn["content"][0] == json!({ "type": "thinking", "thinking": thought, "signature": signature })
            }
        }
    }

    fn is_count(&self) -> bool {
        self.path.ends_with("/messages/count_tokens")
    }
}

#[derive(Debug, Default)]
struct Books {
    counters: Counters,
    seen: Vec<Seen>,
    /// Turns of [`Behaviour::Thinks`].
    thoughts: u64,
}

/// A running provider; dropping it closes the port and every connection.
#[derive(Debug)]
pub struct FakeProvider {
    address: std::net::SocketAddr,
    books: watch::Sender<Books>,
    server: AbortHandle,
}

impl FakeProvider {
    /// The first call meets the first behaviour, and so on; the last one is for all further calls. Counts are true.
    pub async fn start(behaviours: Vec<Behaviour>) -> Self {
        Self::start_counting(behaviours, Counting::True).await
    }

    /// As [`FakeProvider::start`], and every count meets `counting`.
    pub async fn start_counting(behaviours: Vec<Behaviour>, counting: Counting) -> Self {
        assert!(!behaviours.is_empty(), "a provider needs a behaviour");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let books = watch::Sender::new(Books::default());
        let server = tokio::spawn(serve(listener, behaviours, counting, books.clone())).abort_handle();
        Self { address, books, server }
    }

    /// The base address, for all dialects.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn counters(&self) -> Counters {
        self.books.borrow().counters
    }

    /// Every call so far, and every count.
    pub fn seen(&self) -> Vec<Seen> {
        self.books.borrow().seen.clone()
    }

    /// Waits until the books are as wanted: what a client did last is booked a moment after the client returned.
    pub async fn until(&self, wanted: impl Fn(&Counters) -> bool) -> Counters {
        let mut books = self.books.subscribe();
        let books = books.wait_for(|books| wanted(&books.counters)).await;
        books.expect("the sender is ours").counters
    }
}

impl Drop for FakeProvider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Connections belong to the accepting task and end with it.
async fn serve(listener: TcpListener, behaviours: Vec<Behaviour>, counting: Counting, books: watch::Sender<Books>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (behaviours, counting, books) = (behaviours.clone(), counting.clone(), books.clone());
        connections.spawn(async move {
            // A client that hangs up is what some tests are about; it is booked where the answer is written.
            let connection = Connection { stream: BufReader::new(stream), books, headers: String::new() };
            let _ = connection.answer_one(&behaviours, &counting).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Openai,
    Anthropic,
    Responses,
}

/// One call, then the connection is closed.
struct Connection {
    stream: BufReader<TcpStream>,
    books: watch::Sender<Books>,
    /// Lines that every head has besides its own.
    headers: String,
}

impl Connection {
    async fn answer_one(mut self, behaviours: &[Behaviour], counting: &Counting) -> io::Result<()> {
        let Some((seen, body_bytes)) = self.read_call().await? else { return Ok(()) };
        let tokens_in = tokens(text_bytes(&seen.body));
        let mut earlier_calls = 0;
        self.book(|books| {
            books.seen.push(seen.clone());
            books.counters.bytes_in += body_bytes;
            if seen.is_count() {
                books.counters.counts += 1;
                return;
            }
            earlier_calls = books.counters.calls;
            books.counters.calls += 1;
            books.counters.output_requested = books.counters.output_requested.saturating_add(seen.cap());
        });
        let number = usize::try_from(earlier_calls).unwrap_or(usize::MAX);
        let behaviour = &behaviours[number.min(behaviours.len() - 1)];
        let written = match (seen.is_count(), counting) {
            (true, Counting::True) => self.say(&json!({ "input_tokens": tokens_in }).to_string()).await,
            (true, Counting::Says(body)) => self.say(body).await,
            (true, Counting::Does(behaviour)) => self.answer(&seen, behaviour, 0).await,
            (false, _) => self.answer(&seen, behaviour, tokens_in).await,
        };
        if written.is_err() {
            self.book(|books| books.counters.aborted += 1);
        }
        if *behaviour == Behaviour::Reset {
            // Closed with nothing said and nothing waited for: the kernel resets it.
            return self.stream.get_ref().set_zero_linger();
        }
        self.stream.shutdown().await
    }

    fn book(&self, entry: impl FnOnce(&mut Books)) {
        self.books.send_modify(entry);
    }

    async fn read_call(&mut self) -> io::Result<Option<(Seen, u64)>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match self.stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return Ok(None),
            }
        }
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.lines();
        let path = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let seen = Seen { path, headers, body: Value::Null };
        let length = seen.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok(Some((Seen { body: serde_json::from_slice(&body)?, ..seen }, length as u64)))
    }

    async fn answer(&mut self, seen: &Seen, behaviour: &Behaviour, tokens_in: u64) -> io::Result<()> {
        let mut answer = Answer::new(tokens_in);
        match behaviour {
            Behaviour::Text(text) => answer.say(text, seen.cap()),
            Behaviour::ToolCall { name, arguments } => answer.call(name, arguments),
            Behaviour::Overshoot { text, tokens_out } => {
                answer.say(text, seen.cap());
                answer.tokens_out = *tokens_out;
            }
            Behaviour::OmitUsage(text) => {
                answer.say(text, seen.cap());
                answer.reports_usage = false;
            }
            Behaviour::Cut(text) | Behaviour::NoTerminator(text) => answer.say(text, seen.cap()),
            Behaviour::TwoChoices(text) => {
                answer.say(text, seen.cap());
                answer.choices = 2;
            }
            Behaviour::EchoKey => {
                answer.say(seen.key(), u64::MAX);
                answer.call("echo", &json!({ "key": seen.key() }).to_string());
            }
            Behaviour::Thinks(turns) if seen.dialect() == Dialect::Responses => {
                if let Err(missing) = answer.demand(&seen.body, *turns) {
                    return self.complain(400, &missing).await;
                }
            }
            Behaviour::Thinks(turns) => {
                let given = self.books.borrow().thoughts;
                if let Some(lost) = (0..given).find(|number| !seen.has_thought(*number)) {
                    return self.complain(400, &format!("thought {lost} is missing or not as it was")).await;
                }
                self.book(|books| books.thoughts += 1);
                answer.thought = Some(given);
                match given < *turns {
                    true => answer.call("write", &json!({ "path": format!("{given}.txt"), "text": "x" }).to_string()),
                    false => answer.say("all is written", seen.cap()),
                }
            }
            Behaviour::Headers(headers, then) => {
                self.headers.extend(headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
                return Box::pin(self.answer(seen, then, tokens_in)).await;
            }
            Behaviour::Plain(then) if seen.body["include"].is_null() => {
                return Box::pin(self.answer(seen, then, tokens_in)).await;
            }
            Behaviour::Plain(_) => {
                return self.complain(400, "Encrypted content is not supported with this model.").await;
            }
            Behaviour::HangUp | Behaviour::Reset => return Ok(()),
            Behaviour::Says { status, kind, body } => {
                self.head(*status, kind, &format!("content-length: {}\r\n", body.len())).await?;
                return self.body(body.as_bytes()).await;
            }
            Behaviour::Stall => return self.stall().await,
            Behaviour::Endless => return self.endless(seen).await,
            Behaviour::HugeBody(bytes) => return self.huge_body(seen, *bytes).await,
            Behaviour::Status(status, message) => return self.complain(*status, message).await,
            Behaviour::EchoKeyInError(status) => {
                return self.complain(*status, &format!("bad key {}", seen.key())).await;
            }
            Behaviour::Redirect(to) => return self.head(307, "text/plain", &format!("location: {to}\r\n")).await,
            Behaviour::HugeHeader(bytes) => {
                let filler = format!("x-filler: {}\r\n", "x".repeat(*bytes));
                return self.head(200, "application/json", &filler).await;
            }
        }
        self.book(|books| {
            let counters = &mut books.counters;
            counters.tokens_in += answer.tokens_in;
            counters.tokens_out += answer.tokens_out;
            let is_cut = match behaviour {
                Behaviour::Cut(_) => true,
                // In this dialect usage comes with the terminator.
                Behaviour::NoTerminator(_) => seen.dialect() == Dialect::Responses,
                _ => false,
            };
            if !answer.reports_usage || is_cut {
                counters.untold_in += answer.tokens_in;
                counters.untold_out += answer.tokens_out;
            }
        });
        if seen.body["stream"] != json!(true) {
            let body = answer.whole(seen.dialect()).to_string();
            let sent = match behaviour {
                Behaviour::Cut(_) => &body[..body.len() / 2],
                _ => &body,
            };
            self.head(200, "application/json", &format!("content-length: {}\r\n", body.len())).await?;
            return self.body(sent.as_bytes()).await;
        }
        let events = answer.events(seen.dialect());
        let sent = match behaviour {
            Behaviour::Cut(_) => events.len() / 2,
            Behaviour::NoTerminator(_) => events.len() - 1,
            _ => events.len(),
        };
        self.stream_head().await?;
        for event in &events[..sent] {
            self.chunk(event).await?;
        }
        match behaviour {
            Behaviour::Cut(_) => Ok(()),
            _ => self.stream.write_all(b"0\r\n\r\n").await,
        }
    }

    async fn head(&mut self, status: u16, kind: &str, more: &str) -> io::Result<()> {
        let besides = &self.headers;
        let head =
            format!("HTTP/1.1 {status} Told\r\ncontent-type: {kind}\r\nconnection: close\r\n{besides}{more}\r\n");
        self.stream.write_all(head.as_bytes()).await
    }

    async fn stream_head(&mut self) -> io::Result<()> {
        self.head(200, "text/event-stream", "transfer-encoding: chunked\r\n").await
    }

    async fn body(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Booked first: a client that has the bytes must find them in the books.
        self.book(|books| books.counters.bytes_out += bytes.len() as u64);
        self.stream.write_all(bytes).await
    }

    async fn chunk(&mut self, text: &str) -> io::Result<()> {
        self.book(|books| books.counters.bytes_out += text.len() as u64);
        self.stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await
    }

    async fn say(&mut self, body: &str) -> io::Result<()> {
        self.head(200, "application/json", "").await?;
        self.body(body.as_bytes()).await
    }

    async fn complain(&mut self, status: u16, message: &str) -> io::Result<()> {
        self.head(status, "application/json", "").await?;
        self.body(json!({ "error": { "message": message } }).to_string().as_bytes()).await
    }

    /// Nothing more can come from a client that waits, so what ends the read is the client's leaving.
    async fn stall(&mut self) -> io::Result<()> {
        match self.stream.read_u8().await {
            Ok(_) => Ok(()),
            Err(left) => Err(left),
        }
    }

    async fn endless(&mut self, seen: &Seen) -> io::Result<()> {
        self.stream_head().await?;
        let mut answer = Answer::new(0);
        answer.say("on ", u64::MAX);
        let events = answer.events(seen.dialect());
        let delta = events.iter().find(|event| event.contains("on ")).expect("the text is in an event");
        loop {
            self.chunk(delta).await?;
            self.book(|books| books.counters.tokens_out += 1);
        }
    }

    async fn huge_body(&mut self, seen: &Seen, bytes: usize) -> io::Result<()> {
        let line = match seen.body["stream"] == json!(true) {
            true => {
                self.stream_head().await?;
                format!(":{}\n", "x".repeat(1022))
            }
            false => {
                self.head(200, "application/json", "transfer-encoding: chunked\r\n").await?;
                " ".repeat(1024)
            }
        };
        for _ in 0..bytes / line.len() {
            self.chunk(&line).await?;
        }
        self.stream.write_all(b"0\r\n\r\n").await
    }
}

/// What is said in one answer, in no dialect yet.
struct Answer {
    text: String,
    call: Option<(String, String)>,
    /// The number of the thought that comes before it.
    thought: Option<u64>,
    cut: bool,
    choices: usize,
    reports_usage: bool,
    tokens_in: u64,
    tokens_out: u64,
}

impl Answer {
    fn new(tokens_in: u64) -> Self {
        Self {
            text: String::new(),
            call: None,
            thought: None,
            cut: false,
            choices: 1,
            reports_usage: true,
            tokens_in,
            tokens_out: 0,
        }
    }

    fn say(&mut self, text: &str, cap: u64) {
        let end = usize::try_from(cap.saturating_mul(4)).unwrap_or(usize::MAX);
        self.text = text[..text.floor_char_boundary(end)].to_owned();
        self.cut = self.text.len() < text.len();
        self.tokens_out += tokens(self.text.len());
    }

    fn call(&mut self, name: &str, arguments: &str) {
        self.tokens_out += tokens(name.len() + arguments.len());
        self.call = Some((name.to_owned(), arguments.to_owned()));
    }

    /// The next turn, if the input has all that the turns before it want back.
    fn demand(&mut self, body: &Value, turns: u64) -> Result<(), String> {
        let input = body["input"].as_array().ok_or("no input")?;
        let calls: Vec<usize> = (0..input.len()).filter(|place| input[*place]["type"] == "function_call").collect();
        let turn = calls.len() as u64;
        let reasoning = input.iter().filter(|item| item["type"] == "reasoning").count();
        if reasoning as u64 != turn || body["store"] != json!(false) {
            return Err(format!("{reasoning} reasoning items for {turn} calls"));
        }
        for (number, place) in (0..).zip(calls) {
            let [wanted, before] = [&reasoned(number), &input[place.saturating_sub(1)]];
            if before != wanted {
                return Err(format!("call {number} was provided without its required reasoning item: {before}"));
            }
            if input[place]["call_id"] != json!(format!("call-{number}")) || !input[place]["id"].is_null() {
                return Err(format!("call {number} is not what it was"));
            }
        }
        match turn == turns {
            true => self.say("done", u64::MAX),
            false => {
                self.call("write", &json!({ "path": format!("{turn}.txt"), "text": "x" }).to_string());
                self.thought = Some(turn);
            }
        }
        Ok(())
    }

    fn stop(&self, dialect: Dialect) -> &'static str {
        match (dialect, self.call.is_some(), self.cut) {
            (Dialect::Openai, _, true) => "length",
            (Dialect::Openai, true, false) => "tool_calls",
            (Dialect::Openai, false, false) => "stop",
            (Dialect::Anthropic, _, true) => "max_tokens",
            (Dialect::Anthropic, true, false) => "tool_use",
            (Dialect::Anthropic, false, false) => "end_turn",
            (Dialect::Responses, _, true) => "incomplete",
            (Dialect::Responses, _, false) => "completed",
        }
    }

    fn openai_usage(&self) -> Value {
        json!({
            "prompt_tokens": self.tokens_in,
            "completion_tokens": self.tokens_out,
            "total_tokens": self.tokens_in.saturating_add(self.tokens_out),
        })
    }

    fn whole(&self, dialect: Dialect) -> Value {
        let mut body = match dialect {
            Dialect::Openai => {
                let mut message = json!({ "role": "assistant", "content": self.text });
                if let Some((name, arguments)) = &self.call {
                    let function = json!({ "name": name, "arguments": arguments });
                    let extra = self.thought.map(signed);
                    let call =
                        json!({ "id": "call-a", "type": "function", "function": function, "extra_content": extra });
                    message["tool_calls"] = json!([call]);
                }
                if let Some(number) = self.thought {
                    message["reasoning_content"] = thought(number).0.into();
                }
                let choice = |index| json!({ "index": index, "message": message, "finish_reason": self.stop(dialect) });
                let choices: Vec<Value> = (0..self.choices).map(choice).collect();
                json!({ "id": "chat-1", "object": "chat.completion", "choices": choices, "usage": self.openai_usage() })
            }
            Dialect::Anthropic => {
                let mut content = Vec::new();
                if let Some((thought, signature)) = self.thought.map(thought) {
                    content.push(json!({ "type": "thinking", "thinking": thought, "signature": signature }));
                }
                content.push(json!({ "type": "text", "text": self.text }));
                if let Some((name, arguments)) = &self.call {
                    let input: Value = serde_json::from_str(arguments).expect("a test's arguments are JSON");
                    content.push(json!({ "type": "tool_use", "id": "call-a", "name": name, "input": input }));
                }
                json!({
                    "id": "msg-1", "type": "message", "role": "assistant", "content": content,
                    "stop_reason": self.stop(dialect),
                    "usage": { "input_tokens": self.tokens_in, "output_tokens": self.tokens_out },
                })
            }
            Dialect::Responses => self.response(),
        };
        if !self.reports_usage {
            body["usage"].take();
        }
        body
    }

    /// The events of a stream; the last one is the terminator.
    fn events(&self, dialect: Dialect) -> Vec<String> {
        match dialect {
            Dialect::Openai => self.openai_events(),
            Dialect::Anthropic => self.anthropic_events(),
            Dialect::Responses => self.responses_events(),
        }
    }

    fn openai_events(&self) -> Vec<String> {
        let event = |choices: Value, usage: Value| {
            format!("data: {}\n\n", json!({ "id": "chat-1", "choices": choices, "usage": usage }))
        };
        let delta = |delta: Value| event(json!([{ "index": 0, "delta": delta }]), Value::Null);
        let mut events = vec![delta(json!({ "role": "assistant", "content": "" }))];
        if let Some(number) = self.thought {
            let thought = thought(number).0;
            events.extend(pieces(&thought).map(|piece| delta(json!({ "reasoning_content": piece }))));
        }
        for (index, piece) in (0..self.choices).flat_map(|index| pieces(&self.text).map(move |piece| (index, piece))) {
            events.push(event(json!([{ "index": index, "delta": { "content": piece } }]), Value::Null));
        }
        if let Some((name, arguments)) = &self.call {
            let call = |call: Value| delta(json!({ "tool_calls": [call] }));
            let function = json!({ "name": name, "arguments": "" });
            let extra = self.thought.map(signed);
            events.push(call(
                json!({ "index": 0, "id": "call-a", "type": "function", "function": function, "extra_content": extra }),
            ));
            let part = |piece| call(json!({ "index": 0, "function": { "arguments": piece } }));
            events.extend(pieces(arguments).map(part));
        }
        let finish = json!([{ "index": 0, "delta": {}, "finish_reason": self.stop(Dialect::Openai) }]);
        events.push(event(finish, Value::Null));
        if self.reports_usage {
            events.push(event(json!([]), self.openai_usage()));
        }
        events.push("data: [DONE]\n\n".to_owned());
        events
    }

    /// Items of the Responses dialect.
    fn items(&self) -> Vec<Value> {
        let mut items: Vec<Value> = self.thought.map(reasoned).into_iter().collect();
        if !self.text.is_empty() || self.call.is_none() {
            let content = json!([{ "type": "output_text", "text": self.text, "annotations": [] }]);
            items.push(json!({ "type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content }));
        }
        if let Some((name, arguments)) = &self.call {
            let id = self.thought.map_or("call-a".to_owned(), |turn| format!("call-{turn}"));
            items.push(json!({
                "type": "function_call", "id": "fc_1", "call_id": id, "name": name, "arguments": arguments,
                "status": "completed",
            }));
        }
        items
    }

    fn response(&self) -> Value {
        let status = self.stop(Dialect::Responses);
        let reason = if self.cut { json!({ "reason": "max_output_tokens" }) } else { Value::Null };
        json!({
            "id": "resp_1", "object": "response", "status": status, "error": null, "incomplete_details": reason,
            "output": self.items(),
            "usage": {
                "input_tokens": self.tokens_in, "output_tokens": self.tokens_out,
                "total_tokens": self.tokens_in.saturating_add(self.tokens_out),
            },
        })
    }

    fn responses_events(&self) -> Vec<String> {
        let event = |kind: &str, mut data: Value| {
            data["type"] = kind.into();
            format!("event: {kind}\ndata: {data}\n\n")
        };
        let begun = json!({ "id": "resp_1", "status": "in_progress", "error": null, "output": [], "usage": null });
        let mut events = vec![event("response.created", json!({ "response": begun }))];
        for (index, item) in self.items().into_iter().enumerate() {
            let mut begun = item.clone();
            for (field, empty) in [("content", json!([])), ("arguments", json!("")), ("summary", json!([]))] {
                if !begun[field].is_null() {
                    begun[field] = empty;
                }
            }
            begun["encrypted_content"].take();
            events.push(event("response.output_item.added", json!({ "output_index": index, "item": begun })));
            let (kind, whole) = match item["type"].as_str() {
                Some("message") => ("response.output_text.delta", self.text.as_str()),
                Some("function_call") => {
                    ("response.function_call_arguments.delta", item["arguments"].as_str().unwrap_or_default())
                }
                _ => ("response.reasoning_summary_text.delta", item["summary"][0]["text"].as_str().unwrap_or_default()),
            };
            let place = |piece: &str| json!({ "item_id": item["id"], "output_index": index, "delta": piece });
            events.extend(pieces(whole).map(|piece| event(kind, place(piece))));
            events.push(event("response.output_item.done", json!({ "output_index": index, "item": item })));
        }
        let mut response = self.response();
        if !self.reports_usage {
            response["usage"].take();
        }
        events.push(event(&format!("response.{}", self.stop(Dialect::Responses)), json!({ "response": response })));
        events
    }

    fn anthropic_events(&self) -> Vec<String> {
        let event = |kind: &str, mut data: Value| {
            data["type"] = kind.into();
            format!("event: {kind}\ndata: {data}\n\n")
        };
        let usage = |usage: Value| if self.reports_usage { usage } else { Value::Null };
        let start = json!({ "role": "assistant", "content": [],
            "usage": usage(json!({ "input_tokens": self.tokens_in, "output_tokens": 1 })) });
        let open =
            |index: u64, block: Value| event("content_block_start", json!({ "index": index, "content_block": block }));
        let delta = |index: u64, delta: Value| event("content_block_delta", json!({ "index": index, "delta": delta }));
        let close = |index: u64| event("content_block_stop", json!({ "index": index }));

        let mut events = vec![event("message_start", json!({ "message": start })), event("ping", json!({}))];
        if let Some((thought, signature)) = self.thought.map(thought) {
            events.push(open(0, json!({ "type": "thinking", "thinking": "", "signature": "" })));
            events.extend(pieces(&thought).map(|text| delta(0, json!({ "type": "thinking_delta", "thinking": text }))));
            events.push(delta(0, json!({ "type": "signature_delta", "signature": signature })));
            events.push(close(0));
        }
        events.push(open(1, json!({ "type": "text", "text": "" })));
        events.extend(pieces(&self.text).map(|text| delta(1, json!({ "type": "text_delta", "text": text }))));
        events.push(close(1));
        if let Some((name, arguments)) = &self.call {
            events.push(open(2, json!({ "type": "tool_use", "id": "call-a", "name": name, "input": {} })));
            let part = |piece| delta(2, json!({ "type": "input_json_delta", "partial_json": piece }));
            events.extend(pieces(arguments).map(part));
            events.push(close(2));
        }
        let end = json!({ "delta": { "stop_reason": self.stop(Dialect::Anthropic) },
            "usage": usage(json!({ "output_tokens": self.tokens_out })) });
        events.push(event("message_delta", end));
        events.push(event("message_stop", json!({})));
        events
    }
}

/// A thought, and what signs it.
fn thought(number: u64) -> (String, String) {
    (format!("I had better write file {number}"), format!("signature-{number}=="))
}

/// As Gemini signs a call.
fn signed(number: u64) -> Value {
    json!({ "google": { "thought_signature": thought(number).1 } })
}

/// The reasoning of a turn, as it is given and as it must come back.
fn reasoned(turn: u64) -> Value {
    let summary = json!([{ "type": "summary_text", "text": format!("I look for the {turn}th time.") }]);
    json!({
        "type": "reasoning", "id": format!("rs_{turn}"), "summary": summary, "encrypted_content": format!("sealed {turn}"),
    })
}

/// One token for each 4 bytes begun.
fn tokens(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}

/// The text token by token.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        // A letter of 4 bytes may begin inside a token; a token never ends inside a letter and is never empty.
        let end = rest.floor_char_boundary(4);
        let (piece, left) = rest.split_at(end);
        rest = left;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Bytes of what was said to the model, so that the count stays below a bound on contents.
fn text_bytes(value: &Value) -> usize {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| match (name.as_str(), value) {
                ("content" | "text" | "system" | "instructions" | "output", Value::String(text)) => text.len(),
                _ => text_bytes(value),
            })
            .sum(),
        Value::Array(values) => values.iter().map(text_bytes).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
