//! MCP for clients: over pipes and HTTP, today's protocol and the one before it; clients that break it, flood, leave, forge
//! and come from elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jidoka::front::mcp::token::Token;
use jidoka::front::mcp::{
    self, Entry, HttpError, HttpServe, MAX_MESSAGE_BYTES, MAX_OUTPUT_BYTES, MOST_CALLS, MOST_CALLS_OF_ONE,
    MOST_CONNECTIONS, MOST_QUESTIONS, MOST_SESSIONS, MOST_TASKS, Reach, Served, Times,
};
use jidoka_tests::mcp::{LONG, Listening, Piped, Raw, TODAY, Toolbox, begin, headers, old_call, request, text};
use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult, ElicitationAction,
    ErrorData, Implementation, ProtocolVersion,
};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt, RequestContext};
use rmcp::{ClientHandler, RoleClient, ServiceExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn call(id: u64, tool: &str, arguments: &Value) -> Value {
    request(id, "tools/call", &json!({ "name": tool, "arguments": arguments }), &json!({}))
}

fn params(tool: &str) -> CallToolRequestParams {
    CallToolRequestParams::new(tool.to_owned())
}

fn said(result: &rmcp::model::CallToolResult) -> &str {
    &result.content[0].as_text().unwrap().text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_pipes_lists_and_calls_tools_in_both_protocols() {
    for lifecycle in [
        ClientLifecycleMode::Initialize,
        ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] },
    ] {
        let tools = Toolbox::new();
        let (piped, pipe) = Piped::serve(&tools);
        let client = ().serve_with_lifecycle(pipe, lifecycle.clone()).await.unwrap();
        let listed = client.list_all_tools().await.unwrap();
        let names: Vec<&str> = listed.iter().map(|tool| &*tool.name).collect();
        assert_eq!(names, tools.tools().iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>());
        let arguments = json!({ "a": [1, "x"] });
        let echo = params("echo").with_arguments(arguments.as_object().unwrap().clone());
        let result = client.call_tool(echo).await.unwrap();
        assert_eq!((result.is_error, result.structured_content.as_ref()), (Some(false), Some(&arguments)));
        assert_eq!(serde_json::from_str::<Value>(said(&result)).unwrap(), arguments);
        // Older clients know only objects.
        let list = client.call_tool(params("list")).await.unwrap();
        assert_eq!(list.structured_content.is_some(), lifecycle != ClientLifecycleMode::Initialize);
        assert_eq!(said(&list), "[1,2]");
        let no = client.call_tool(params("no")).await.unwrap();
        assert_eq!((no.is_error, said(&no)), (Some(true), "it may not"));
        let unknown = client.call_tool(params("no-such")).await.unwrap_err();
        assert!(unknown.to_string().contains("no tool of this name"), "{unknown}");
        client.cancel().await.unwrap();
        piped.served.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_trouble_is_an_error_that_tells_nothing_of_the_host() {
    let tools = Toolbox::new();
    let http = Listening::for_anybody(&tools).await;
    for tool in ["trouble", "panic"] {
        let heard = http.ask(&call(1, tool, &json!({}))).await;
        assert_eq!(heard.answer()["error"]["code"], -32603, "{heard:?}");
        assert!(!heard.text.contains("secret") && !heard.text.contains("as it is to"), "{heard:?}");
    }
    let nonsense = http.ask(&call(1, "nonsense", &json!({}))).await.answer();
    assert!(nonsense["result"]["isError"] == true && text(&nonsense).contains("no JSON"), "{nonsense}");
    assert_eq!(text(&http.ask(&call(1, "who", &json!({}))).await.answer()), "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_is_told_up_to_its_cap() {
    let tools = Toolbox::new();
    let http = Listening::for_anybody(&tools).await;
    let big = async |bytes| http.ask(&call(1, "big", &json!({ "bytes": bytes }))).await.answer();
    assert_eq!(text(&big(MAX_OUTPUT_BYTES).await).len(), MAX_OUTPUT_BYTES - 2);
    let over = big(MAX_OUTPUT_BYTES + 1).await;
    assert_eq!(over["result"]["isError"], true);
    assert!(text(&over).contains("4194304 are allowed"), "{}", text(&over));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_its_client_cancels_is_dropped() {
    let tools = Toolbox::new();
    let (piped, pipe) = Piped::serve(&tools);
    let mut raw = Raw::new(pipe);
    raw.begin().await;
    raw.send(&old_call(7, "wait", &json!({}))).await;
    tools.runs(1).await;
    raw.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 7 } })).await;
    tools.runs(0).await;
    // Not answered; the next one is.
    raw.send(&old_call(8, "echo", &json!({}))).await;
    let next = raw.receive().await.unwrap();
    assert_eq!((&next["id"], text(&next)), (&json!(8), "{}"));
    drop(raw);
    piped.served.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_client_hangs_up_is_dropped() {
    let tools = Toolbox::new();
    let http = Listening::for_anybody(&tools).await;
    let wait = call(1, "wait", &json!({}));
    {
        let mut asking = std::pin::pin!(http.ask(&wait));
        tokio::select! {
            heard = &mut asking => panic!("{heard:?}"),
            () = tools.runs(1) => {}
        }
    }
    tools.runs(0).await;
    let (piped, pipe) = Piped::serve(&tools);
    let mut raw = Raw::new(pipe);
    raw.begin().await;
    raw.send(&old_call(1, "wait", &json!({}))).await;
    tools.runs(1).await;
    drop(raw);
    tools.runs(0).await;
    piped.served.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_as_many_calls_as_are_allowed_and_is_told_of_the_next() {
    let tools = Toolbox::new();
    let (_piped, pipe) = Piped::serve(&tools);
    let mut raw = Raw::new(pipe);
    raw.begin().await;
    for id in 1..=MOST_CALLS_OF_ONE as u64 {
        raw.send(&old_call(id, "wait", &json!({}))).await;
    }
    tools.runs(MOST_CALLS_OF_ONE).await;
    raw.send(&old_call(100, "wait", &json!({}))).await;
    let refused = raw.receive().await.unwrap();
    assert_eq!((&refused["id"], &refused["result"]["isError"]), (&json!(100), &json!(true)));
    assert!(text(&refused).contains("16 calls of this connection"), "{refused}");
    // Other requests are answered meanwhile.
    raw.send(&json!({ "jsonrpc": "2.0", "id": 101, "method": "ping" })).await;
    assert_eq!(raw.receive().await.unwrap()["id"], 101);
    tools.open();
    for _ in 0..MOST_CALLS_OF_ONE {
        assert_eq!(text(&raw.receive().await.unwrap()), "let go");
    }
    raw.send(&old_call(102, "wait", &json!({}))).await;
    assert_eq!(text(&raw.receive().await.unwrap()), "let go");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_has_as_many_calls_as_are_allowed_and_tells_of_the_next() {
    let tools = Toolbox::new();
    let http = Listening::for_anybody(&tools).await;
    let wait = call(1, "wait", &json!({}));
    let mut waiting: Vec<_> = (0..MOST_CALLS).map(|_| Box::pin(http.ask(&wait))).collect();
    let all = futures_util::future::select_all(waiting.iter_mut());
    tokio::select! {
        (heard, ..) = all => panic!("{heard:?}"),
        () = tools.runs(MOST_CALLS) => {}
    }
    let refused = http.ask(&wait).await.answer();
    assert!(text(&refused).contains("64 calls of all clients"), "{refused}");
    tools.open();
    for heard in futures_util::future::join_all(waiting).await {
        assert_eq!(text(&heard.answer()), "let go");
    }
    assert_eq!(text(&http.ask(&wait).await.answer()), "let go");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_has_at_most_its_bytes_and_a_longer_one_is_told_of() {
    let tools = Toolbox::new();
    let (piped, pipe) = Piped::serve(&tools);
    let mut raw = Raw::new(pipe);
    raw.begin().await;
    let ping = |bytes: usize| {
        let start = r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":""#;
        format!("{start}{}\"}}}}\n", "x".repeat(bytes - start.len() - 3)).into_bytes()
    };
    assert_eq!(ping(100).len(), 101);
    raw.write(&ping(MAX_MESSAGE_BYTES)).await;
    let fits = raw.receive().await.unwrap();
    assert!(fits["id"] == 1 && fits.get("result").is_some(), "{fits}");
    for over in [1, 3 * MAX_MESSAGE_BYTES] {
        raw.write(&ping(MAX_MESSAGE_BYTES + over)).await;
        let told = raw.receive().await.unwrap();
        assert_eq!(told["error"]["code"], -32600, "{told}");
        assert!(told["error"]["message"].as_str().unwrap().contains("larger than 4194304 bytes"), "{told}");
    }
    raw.write(&ping(100)).await;
    assert_eq!(raw.receive().await.unwrap()["id"], 1);
    drop(raw);
    piped.served.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_garbage_is_told_and_then_left() {
    let tools = Toolbox::new();
    let (piped, pipe) = Piped::serve(&tools);
    let mut raw = Raw::new(pipe);
    raw.begin().await;
    // Nothing, and notifications that nobody knows, are no breach.
    raw.write(b"\n \r\n{\"jsonrpc\":\"2.0\",\"method\":\"notifications/no-such\"}\n").await;
    let deep = format!("{}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    let garbage: [&[u8]; 8] = [
        b"hello\n",
        b"{\n",
        b"\xff\xfe\x00\n",
        b"7\n",
        b"{\"id\":1}\n",
        b"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"ping\"}\n",
        b"[]\n",
        deep.as_bytes(),
    ];
    for line in garbage.iter().cycle().take(16) {
        raw.write(line).await;
        let told = raw.receive().await.unwrap();
        assert!(told.get("error").is_some() && told.get("result").is_none(), "{told}");
    }
    raw.send(&json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" })).await;
    assert_eq!(raw.receive().await.unwrap()["id"], 1);
    raw.write(b"one more\n").await;
    assert_eq!(raw.receive().await, None);
    piped.served.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_uses_an_id_twice_is_left() {
    let tools = Toolbox::new();
    let (piped, pipe) = Piped::serve(&tools);
    let mut raw = Raw::new(pipe);
    raw.begin().await;
    raw.send(&old_call(1, "wait", &json!({}))).await;
    tools.runs(1).await;
    raw.send(&old_call(1, "wait", &json!({}))).await;
    tools.open();
    // What ran may still end; then nothing more comes.
    while let Some(message) = raw.receive().await {
        assert_eq!(text(&message), "let go");
    }
    piped.served.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_in_the_middle_of_a_line_is_gone() {
    let tools = Toolbox::new();
    for bytes in [&b""[..], b"{\"jsonrpc\":\"2.0\",\"id\":0,\"meth", b"\n\n"] {
        let (piped, pipe) = Piped::serve(&tools);
        let mut raw = Raw::new(pipe);
        raw.write(bytes).await;
        drop(raw);
        piped.served.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_read_no_further() {
    let tools = Toolbox::new();
    let (piped, mut pipe) = Piped::serve(&tools);
    pipe.write_all(format!("{}\n", begin(&json!({}))).as_bytes()).await.unwrap();
    // Its pipes hold 64 KiB each way, and it would send more than that for ever.
    let mut sent = 0;
    let flood = async {
        for id in 1_u64.. {
            let line = format!("{}\n", json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list" }));
            pipe.write_all(line.as_bytes()).await.unwrap();
            sent += 1;
        }
    };
    let stuck = tokio::time::timeout(Duration::from_secs(1), flood).await;
    assert!(stuck.is_err());
    // What the server has taken: its requests that are open, what lies in the pipe, and what was answered into it.
    assert!(sent < 5_000, "{sent}");
    drop(pipe);
    piped.served.await.unwrap().unwrap();
}

struct Person(&'static str);

impl ClientHandler for Person {
    fn get_info(&self) -> ClientConfig {
        let capabilities = ClientCapabilities::builder().enable_elicitation().build();
        ClientConfig::new(capabilities, Implementation::new("person", "1"))
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let ElicitRequestParams::FormElicitationParams { message, requested_schema, .. } = request else {
            panic!("a form")
        };
        assert_eq!(message, "Go on?");
        let schema = serde_json::to_value(requested_schema).unwrap();
        assert_eq!(schema["properties"]["go-on"]["enum"], json!(["yes", "no"]), "{schema}");
        if self.0.is_empty() {
            return Ok(ElicitResult::new(ElicitationAction::Decline));
        }
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "go-on": self.0 })))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_asked_through_clients_of_both_protocols() {
    for lifecycle in [
        ClientLifecycleMode::Initialize,
        ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] },
    ] {
        for (answer, is_error, expected) in
            [("yes", false, r#"{"said":"yes","state":"question 1"}"#), ("", true, "nobody says")]
        {
            let tools = Toolbox::new();
            let (_piped, pipe) = Piped::serve(&tools);
            let client = Person(answer).serve_with_lifecycle(pipe, lifecycle.clone()).await.unwrap();
            let result = client.call_tool(params("ask")).await.unwrap();
            assert_eq!((result.is_error, said(&result)), (Some(is_error), expected), "{lifecycle:?}");
        }
    }
    // An answer that is none of the options.
    let tools = Toolbox::new();
    let (_piped, pipe) = Piped::serve(&tools);
    let client = Person("perhaps").serve(pipe).await.unwrap();
    let result = client.call_tool(params("ask")).await.unwrap();
    assert!(result.is_error == Some(true) && said(&result).contains("none that was asked for"), "{result:?}");
    // A client that cannot ask.
    let (_piped, pipe) = Piped::serve(&tools);
    let client = ().serve(pipe).await.unwrap();
    let result = client.call_tool(params("ask")).await.unwrap();
    assert!(result.is_error == Some(true) && said(&result).contains("cannot ask one: Go on?"), "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_asks_as_many_questions_as_are_allowed() {
    let tools = Toolbox::new();
    let (_piped, pipe) = Piped::serve(&tools);
    let client = Person("yes").serve(pipe).await.unwrap();
    for (questions, is_error) in [(MOST_QUESTIONS, false), (MOST_QUESTIONS + 1, true)] {
        let arguments = json!({ "questions": questions }).as_object().unwrap().clone();
        let result = client.call_tool(params("curious").with_arguments(arguments)).await.unwrap();
        assert_eq!(result.is_error, Some(is_error), "{result:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_comes_back_signed_or_not_at_all() {
    let tools = Toolbox::new();
    let http = Listening::for_anybody(&tools).await;
    let person = json!({ "elicitation": {} });
    let ask = async |tool: &str, arguments: Value, more: Value| {
        let mut params = json!({ "name": tool, "arguments": arguments });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        http.ask(&request(1, "tools/call", &params, &person)).await.answer()
    };
    let asked = ask("ask", json!({ "n": 1 }), json!({})).await;
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let state = asked["result"]["requestState"].as_str().unwrap().to_owned();
    let yes = json!({ "answer": { "action": "accept", "content": { "go-on": "yes" } } });
    let with = |state: &str, responses: &Value| json!({ "requestState": state, "inputResponses": responses });
    let answered = ask("ask", json!({ "n": 1 }), with(&state, &yes)).await;
    assert_eq!(answered["result"]["structuredContent"], json!({ "state": "question 1", "said": "yes" }));
    // Of another input, of another tool, changed, or made up.
    let mut changed = state.clone();
    changed.replace_range(10..11, if &state[10..11] == "A" { "B" } else { "A" });
    for (tool, n, state) in [("ask", 2, &state), ("echo", 1, &state), ("ask", 1, &changed), ("ask", 1, &"x".to_owned())]
    {
        let refused = ask(tool, json!({ "n": n }), with(state, &yes)).await;
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
    }
    // Without an answer it is asked again.
    let again = ask("ask", json!({ "n": 1 }), with(&state, &json!({}))).await;
    assert_eq!(again["result"]["inputRequests"], asked["result"]["inputRequests"], "{again}");
    // One that cannot ask is told what it lacks.
    let lacks = http.ask(&call(1, "ask", &json!({}))).await.answer();
    assert_eq!(lacks["error"]["code"], -32021, "{lacks}");
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_of_a_call_are_told_before_its_end() {
    let tools = Toolbox::new();
    let (_piped, pipe) = Piped::serve(&tools);
    let mut raw = Raw::new(pipe);
    raw.begin().await;
    let mut call = old_call(1, "steps", &json!({}));
    call["params"]["_meta"] = json!({ "progressToken": "p" });
    raw.send(&call).await;
    for step in 1..=3 {
        let told = raw.receive().await.unwrap();
        let expected = json!({ "progressToken": "p", "progress": f64::from(step), "total": 3.0, "message": format!("step {step}") });
        assert_eq!(told["params"], expected, "{told}");
    }
    assert_eq!(text(&raw.receive().await.unwrap()), "done");
    // Who did not ask for them is not told.
    raw.send(&old_call(2, "steps", &json!({}))).await;
    assert_eq!(raw.receive().await.unwrap()["id"], 2);
}

fn tasks() -> Value {
    json!({ "extensions": { "io.modelcontextprotocol/tasks": {} }, "elicitation": {} })
}

fn job(tool: &str) -> Value {
    request(1, "tools/call", &json!({ "name": tool, "arguments": {} }), &tasks())
}

async fn task(http: &Listening, method: &str, id: &str, more: Value) -> Value {
    let mut params = json!({ "taskId": id });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    http.ask(&request(2, method, &params, &tasks())).await.answer()
}

/// Asks until a task stands like this.
async fn stands(http: &Listening, id: &str, status: &str) -> Value {
    let asking = async {
        loop {
            let told = task(http, "tasks/get", id, json!({})).await;
            if told["result"]["status"] == status {
                return told["result"].clone();
            }
            assert_eq!(told["result"]["status"], "working", "{told}");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, asking).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_call_is_a_task_for_clients_that_know_tasks() {
    let tools = Toolbox::new();
    let http = Listening::for_anybody(&tools).await;
    let begun = http.ask(&job("job")).await.answer();
    assert_eq!((&begun["result"]["resultType"], &begun["result"]["status"]), (&json!("task"), &json!("working")));
    let id = begun["result"]["taskId"].as_str().unwrap().to_owned();
    tools.runs(1).await;
    stands(&http, &id, "working").await;
    tools.open();
    let done = stands(&http, &id, "completed").await;
    assert_eq!(done["result"]["content"][0]["text"], "let go", "{done}");
    // To one that does not know them it is a call like another.
    assert_eq!(text(&http.ask(&call(1, "job", &json!({}))).await.answer()), "let go");
    // Nobody else's name is one.
    for method in ["tasks/get", "tasks/cancel"] {
        assert_eq!(task(&http, method, "no-such", json!({})).await["error"]["code"], -32602);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_cancelled_is_dropped() {
    let tools = Toolbox::new();
    let http = Listening::for_anybody(&tools).await;
    let begun = http.ask(&job("job")).await.answer();
    let id = begun["result"]["taskId"].as_str().unwrap().to_owned();
    tools.runs(1).await;
    let cancelled = task(&http, "tasks/cancel", &id, json!({})).await;
    assert_eq!(cancelled["result"]["resultType"], "complete", "{cancelled}");
    tools.runs(0).await;
    stands(&http, &id, "cancelled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_asks_a_person_and_goes_on() {
    let tools = Toolbox::new();
    let http = Listening::for_anybody(&tools).await;
    let begun = http.ask(&job("ask-job")).await.answer();
    let id = begun["result"]["taskId"].as_str().unwrap().to_owned();
    let asks = stands(&http, &id, "input_required").await;
    let (name, form) = asks["inputRequests"].as_object().unwrap().iter().next().unwrap();
    assert_eq!(form["params"]["message"], "Go on?", "{asks}");
    // What answers nothing changes nothing.
    for wrong in
        [json!({}), json!({ "other": {} }), json!({ name: { "action": "accept", "content": { "go-on": "perhaps" } } })]
    {
        task(&http, "tasks/update", &id, json!({ "inputResponses": wrong })).await;
        stands(&http, &id, "input_required").await;
    }
    let yes = json!({ "inputResponses": { name: { "action": "accept", "content": { "go-on": "yes" } } } });
    task(&http, "tasks/update", &id, yes).await;
    let done = stands(&http, &id, "completed").await;
    assert_eq!(done["result"]["structuredContent"]["said"], "yes", "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_keeps_as_many_tasks_as_are_allowed_and_forgets_ended_ones_first() {
    let tools = Toolbox::new();
    let http = Listening::for_anybody(&tools).await;
    let mut ids = Vec::new();
    for _ in 0..MOST_TASKS {
        let begun = http.ask(&job("job")).await.answer();
        ids.push(begun["result"]["taskId"].as_str().unwrap().to_owned());
    }
    tools.runs(MOST_TASKS).await;
    let refused = http.ask(&job("job")).await.answer();
    assert!(text(&refused).contains("64 tasks are running"), "{refused}");
    task(&http, "tasks/cancel", &ids[7], json!({})).await;
    stands(&http, &ids[7], "cancelled").await;
    let begun = http.ask(&job("job")).await.answer();
    assert_eq!(begun["result"]["status"], "working", "{begun}");
    assert_eq!(task(&http, "tasks/get", &ids[7], json!({})).await["error"]["code"], -32602);
    stands(&http, &ids[8], "working").await;
}

fn token() -> (String, Entry) {
    let word = "0123456789abcdef0123456789abcdef".to_owned();
    let token = Token::new(&word).unwrap();
    (word, Entry::Token(token))
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_served_without_the_token() {
    let tools = Toolbox::new();
    let (word, entry) = token();
    let http = Listening::serve(&tools, entry, Times::default()).await;
    let echo = call(1, "echo", &json!({}));
    let with = async |brought: &[String]| {
        let mut all = headers(&echo);
        all.extend(brought.iter().map(|brought| ("authorization", brought.clone())));
        http.post(&echo, &all).await
    };
    let right = format!("Bearer {word}");
    assert_eq!(text(&with(std::slice::from_ref(&right)).await.answer()), "{}");
    for brought in [
        vec![],
        vec![String::new()],
        vec!["Bearer".to_owned()],
        vec![word.clone()],
        vec![format!("Basic {word}")],
        vec![format!("Bearer {word}x")],
        vec![format!("Bearer {}", &word[1..])],
        vec![right.clone(), right.clone()],
    ] {
        let heard = with(&brought).await;
        assert_eq!(heard.status, 401, "{brought:?}");
        assert!(!heard.text.contains("jsonrpc"), "{heard:?}");
    }
    for method in ["GET", "DELETE", "OPTIONS", "PUT"] {
        assert_eq!(http.send(method, "/mcp", &[], "".into()).await.status, 401, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_web_and_other_names_are_refused() {
    let tools = Toolbox::new();
    let http = Listening::for_anybody(&tools).await;
    let port = http.address.port();
    let echo = call(1, "echo", &json!({}));
    let with = async |name: &'static str, value: String| {
        let mut all = headers(&echo);
        all.push((name, value));
        http.post(&echo, &all).await.status.as_u16()
    };
    for (host, status) in [
        (format!("localhost:{port}"), 200),
        ("127.0.0.1".to_owned(), 200),
        (format!("[::1]:{port}"), 200),
        ("tools.test".to_owned(), 200),
        (format!("evil.test:{port}"), 403),
        (format!("127.0.0.1.evil.test:{port}"), 403),
        ("localhost.evil.test".to_owned(), 403),
        ("10.0.0.1".to_owned(), 403),
    ] {
        assert_eq!(with("host", host.clone()).await, status, "{host}");
    }
    for (origin, status) in [
        (format!("http://localhost:{port}"), 200),
        ("http://127.0.0.1:6274".to_owned(), 200),
        ("https://tools.test".to_owned(), 200),
        ("https://evil.test".to_owned(), 403),
        ("http://localhost.evil.test".to_owned(), 403),
        (format!("http://evil.test:{port}"), 403),
        ("null".to_owned(), 403),
        ("file://".to_owned(), 403),
        (String::new(), 403),
    ] {
        assert_eq!(with("origin", origin.clone()).await, status, "{origin}");
    }
    for path in ["/", "/mcp/", "/mcp/x", "/mcpx", "//mcp"] {
        assert_eq!(http.send("POST", path, &[], "{}".into()).await.status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_of_the_network_are_served_only_where_that_was_said() {
    let tools = Toolbox::new();
    let serve = async |reach, entry| {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let serve = HttpServe { listener, entry, reach, names: vec![], times: Times::default() };
        mcp::http(Arc::clone(&tools) as Arc<dyn Served>, serve, async {}).await
    };
    assert!(matches!(serve(Reach::Loopback, token().1).await, Err(HttpError::Strangers(_))));
    assert!(matches!(serve(Reach::Loopback, Entry::ThisMachine).await, Err(HttpError::Strangers(_))));
    assert!(matches!(serve(Reach::Anywhere, Entry::ThisMachine).await, Err(HttpError::NoToken(_))));
    assert!(serve(Reach::Anywhere, token().1).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_at_most_its_bytes() {
    let tools = Toolbox::new();
    let http = Listening::for_anybody(&tools).await;
    let sized = |bytes: usize| {
        let empty = call(1, "echo", &json!({ "x": "" })).to_string().len();
        call(1, "echo", &json!({ "x": "x".repeat(bytes - empty) }))
    };
    let fits = sized(MAX_MESSAGE_BYTES);
    assert_eq!(fits.to_string().len(), MAX_MESSAGE_BYTES);
    assert_eq!(http.ask(&fits).await.answer()["result"]["isError"], false);
    let over = http.ask(&sized(MAX_MESSAGE_BYTES + 1)).await;
    assert_eq!(over.status, 413);
    assert!(over.text.contains("larger than 4194304 bytes"), "{over:?}");
}

/// A client of the protocol before today's, which has a session.
async fn session(http: &Listening) -> jidoka_tests::mcp::Heard {
    http.post(&begin(&json!({})), &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_as_many_sessions_as_are_allowed() {
    let tools = Toolbox::new();
    let http = Listening::for_anybody(&tools).await;
    let mut ids = Vec::new();
    for _ in 0..MOST_SESSIONS {
        let begun = session(&http).await;
        assert_eq!(begun.answer()["result"]["protocolVersion"], "2025-11-25");
        ids.push(begun.session.unwrap());
    }
    let refused = session(&http).await;
    assert_eq!(refused.status, 503);
    assert!(refused.text.contains("64 sessions are open"), "{refused:?}");
    // Those that are open go on, and clients of today need none.
    let of = |id: &String| vec![("mcp-session-id", id.clone()), ("mcp-protocol-version", "2025-11-25".to_owned())];
    let called = http.post(&old_call(1, "echo", &json!({})), &of(&ids[0])).await;
    assert_eq!(text(&called.answer()), "{}");
    assert_eq!(text(&http.ask(&call(1, "echo", &json!({}))).await.answer()), "{}");
    let ended = http.send("DELETE", "/mcp", &of(&ids[1]), "".into()).await;
    assert!(ended.status.is_success(), "{ended:?}");
    assert_eq!(session(&http).await.status, 200);
    let gone = http.post(&old_call(1, "echo", &json!({})), &of(&ids[1])).await;
    assert_eq!(gone.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_in_which_nothing_is_said_ends() {
    let tools = Toolbox::new();
    let times = Times { session: Duration::from_millis(50), ..Times::default() };
    let http = Listening::serve(&tools, Entry::ThisMachine, times).await;
    let id = session(&http).await.session.unwrap();
    let of = [("mcp-session-id", id), ("mcp-protocol-version", "2025-11-25".to_owned())];
    // Its end is seen by a stream of news that ends.
    let news = http.send("GET", "/mcp", &of, "".into()).await;
    assert!(news.status == 200 || news.status == 404, "{news:?}");
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    let gone = async {
        while http.post(&ping, &of).await.status != 404 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, gone).await.unwrap();
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// All that a server says until it hangs up.
async fn rest(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    // A reset is an end as well.
    let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut said)).await.expect("it ends");
    String::from_utf8(said).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_as_many_connections_as_are_allowed() {
    let tools = Toolbox::new();
    let http = Listening::for_anybody(&tools).await;
    let mut open = Vec::new();
    for _ in 0..MOST_CONNECTIONS {
        open.push(connect(http.address).await);
    }
    // The last one that is let in is served.
    let mut last = open.pop().unwrap();
    last.write_all(b"POST /nowhere HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let mut begin = [0; 12];
    last.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 404");
    let refused = rest(connect(http.address).await).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("128 connections are open"), "{refused}");
    drop((last, open));
    let served = async {
        loop {
            let mut stream = connect(http.address).await;
            let _ = stream.write_all(b"GET /nowhere HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
            if rest(stream).await.starts_with("HTTP/1.1 404") {
                return;
            }
        }
    };
    tokio::time::timeout(LONG, served).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_slow_is_left() {
    let tools = Toolbox::new();
    let short = Duration::from_millis(100);
    let times = Times { head: short, body: short, ..Times::default() };
    let http = Listening::serve(&tools, Entry::ThisMachine, times).await;
    // Nothing, half a head, half a body, and nothing after an answer.
    for (sent, heard) in [
        ("", ""),
        ("POST /mcp HT", ""),
        ("POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n12345", "HTTP/1.1 408"),
        ("GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n", "HTTP/1.1 404"),
    ] {
        let mut stream = connect(http.address).await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        let said = rest(stream).await;
        assert!(said.starts_with(heard), "{sent:?}: {said:?}");
        assert!(!heard.is_empty() || said.is_empty() || said.starts_with("HTTP/1.1 408"), "{sent:?}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_when_its_time_is_over() {
    let tools = Toolbox::new();
    let times = Times { connection: Duration::from_millis(200), ..Times::default() };
    let http = Listening::serve(&tools, Entry::ThisMachine, times).await;
    let wait = call(1, "wait", &json!({}));
    let body = wait.to_string();
    let mut stream = connect(http.address).await;
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\naccept: application/json, text/event-stream\r\n\
         content-type: application/json\r\nmcp-protocol-version: {TODAY}\r\nmcp-method: tools/call\r\nmcp-name: wait\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    tools.runs(1).await;
    rest(stream).await;
    tools.runs(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_at_most_its_bytes() {
    let tools = Toolbox::new();
    let http = Listening::for_anybody(&tools).await;
    let with = async |bytes: usize| {
        let mut stream = connect(http.address).await;
        let head = format!(
            "GET /nowhere HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx: {}\r\n\r\n",
            "x".repeat(bytes)
        );
        // It may hang up before it has read all of it.
        let _ = stream.write_all(head.as_bytes()).await;
        rest(stream).await
    };
    assert!(with(8 << 10).await.starts_with("HTTP/1.1 404"));
    let over = with(64 << 10).await;
    assert!(over.is_empty() || over.starts_with("HTTP/1.1 431"), "{over}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_gives_its_calls_up_and_says_so() {
    let tools = Toolbox::new();
    let http = Listening::for_anybody(&tools).await;
    let wait = call(1, "wait", &json!({}));
    let _task = http.ask(&job("job")).await;
    // A stream that waits for news does not keep the server.
    let id = session(&http).await.session.unwrap();
    let of = [("mcp-session-id", id), ("mcp-protocol-version", "2025-11-25".to_owned())];
    let _stream = http.open("GET", "/mcp", &of, "".into()).await;
    let heard = {
        let mut asked = std::pin::pin!(http.ask(&wait));
        tokio::select! {
            heard = &mut asked => panic!("{heard:?}"),
            () = tools.runs(2) => {}
        }
        http.end();
        asked.await
    };
    assert!(text(&heard.answer()).contains("the server is ending"), "{heard:?}");
    tools.runs(0).await;
    http.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipes_that_end_give_their_calls_up_and_say_so() {
    let tools = Toolbox::new();
    let (piped, pipe) = Piped::serve(&tools);
    let mut raw = Raw::new(pipe);
    raw.begin().await;
    raw.send(&old_call(1, "wait", &json!({}))).await;
    tools.runs(1).await;
    piped.end.send(()).unwrap();
    let told = raw.receive().await.unwrap();
    assert!(text(&told).contains("the server is ending"), "{told}");
    assert_eq!(raw.receive().await, None);
    tools.runs(0).await;
    piped.served.await.unwrap().unwrap();
}
