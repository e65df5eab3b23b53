//! What the official MCP conformance suite asks of a server's tools, served as the host serves tools.
//!
//! Usage: `conformance stdio`, or `conformance http ADDRESS [TOKEN-FILE]`, which prints where it listens. Ends with its
//! client, or by SIGTERM. Tools that need what the host's tools never have (images, logs, models of the client's) are not
//! here; `tests/peers/mcp/` says why for each.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jidoka::doors::lines::Lines;
use jidoka::front::mcp::token::Token;
use jidoka::front::mcp::{
    self, Answered, CallEnd, Entry, HttpServe, Length, MAX_MESSAGE_BYTES, May, Question, Reach, Reply, Served,
    ServedCall, ServedTool, Step, Times,
};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

struct Tools;

impl Served for Tools {
    fn tools(&self) -> Vec<ServedTool> {
        let any = json!({ "type": "object" });
        let short = |name: &str, input: &Value| tool(name, input, Length::Short);
        let long = |name: &str, input: &Value| tool(name, input, Length::Long);
        vec![
            short("test_simple_text", &any),
            short("test_error_handling", &any),
            short("test_tool_with_progress", &any),
            short("test_elicitation", &any),
            short("test_logging_tool", &any),
            short("test_missing_capability", &any),
            short("test_streaming_elicitation", &any),
            short("test_input_required_result_elicitation", &any),
            short("test_input_required_result_request_state", &any),
            short("test_input_required_result_tampered_state", &any),
            short("test_input_required_result_capabilities", &any),
            short("test_input_required_result_multi_round", &any),
            short("json_schema_2020_12_tool", &json_schema()),
            short("test_headers", &headers()),
            short("greet", &any),
            long("slow_compute", &any),
            long("failing_job", &any),
            long("protocol_error_job", &any),
            long("confirm_delete", &any),
        ]
    }

    fn call(&self, call: ServedCall) -> BoxFuture<'_, CallEnd> {
        answer(call).boxed()
    }
}

async fn answer(call: ServedCall) -> CallEnd {
    let asked = |name: &str, text: &str| {
        CallEnd::Asks(Question {
            name: name.to_owned(),
            text: text.to_owned(),
            options: vec![],
            state: "asked".to_owned(),
        })
    };
    let said = match &call.answer {
        Some(Answered { reply: Reply::Said(said), .. }) => Some(said.clone()),
        Some(Answered { reply: Reply::Declined, .. }) => Some("nothing".to_owned()),
        None => None,
    };
    let state = call.answer.as_ref().map(|answer| answer.state.as_str());
    match call.tool.as_str() {
        "test_simple_text" => text("This is a simple text response for testing."),
        "test_error_handling" => {
            CallEnd::Denied { message: "This tool intentionally returns an error for testing".to_owned() }
        }
        "test_tool_with_progress" => {
            for done in [0, 50, 100] {
                call.progress.tell(Step { done, of: Some(100), message: format!("{done} of 100") });
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            text("done")
        }
        "test_elicitation" => match said {
            None => asked("username", call.input.get("message").and_then(Value::as_str).unwrap_or("Who are you?")),
            Some(said) => text(&format!("User response: {said}")),
        },
        "test_input_required_result_multi_round" => match (state, said) {
            (Some("asked"), Some(said)) => CallEnd::Asks(Question {
                name: "color".to_owned(),
                text: "What is your favorite color?".to_owned(),
                options: vec![],
                state: said,
            }),
            (Some(name), Some(color)) => text(&format!("{name} likes {color}")),
            (_, _) => asked("name", "What is your name?"),
        },
        "test_input_required_result_request_state" | "test_input_required_result_tampered_state" => match said {
            None => asked("ok", "Is it?"),
            Some(_) => text("state-ok"),
        },
        "test_missing_capability"
        | "test_streaming_elicitation"
        | "test_input_required_result_elicitation"
        | "test_input_required_result_capabilities" => match said {
            None => asked("name", "What is your name?"),
            Some(said) => text(&format!("Hello, {said}!")),
        },
        // Of which the suite wants that nothing is logged to a client that asked for no log.
        "test_logging_tool" => text("ok"),
        "json_schema_2020_12_tool" | "test_headers" => text("ok"),
        "greet" => text(&format!("Hello, {}!", call.input.get("name").and_then(Value::as_str).unwrap_or("nobody"))),
        "slow_compute" => {
            let seconds = call.input.get("seconds").and_then(Value::as_u64).unwrap_or(0);
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            text("computed")
        }
        "failing_job" => {
            tokio::time::sleep(Duration::from_secs(1)).await;
            CallEnd::Denied { message: "the job failed".to_owned() }
        }
        "protocol_error_job" => CallEnd::Failed("as it is to".to_owned()),
        "confirm_delete" => match said {
            None => asked("confirm", "Delete it?"),
            Some(said) => text(&format!("the answer was {said}")),
        },
        _ => CallEnd::Unknown,
    }
}

fn text(words: &str) -> CallEnd {
    CallEnd::Output(Value::from(words).to_string())
}

fn tool(name: &str, input: &Value, length: Length) -> ServedTool {
    ServedTool {
        name: name.to_owned(),
        description: format!("The suite's {name}."),
        input_schema: input.to_string(),
        output_schema: None,
        length,
        may: May { change: false, reach_out: false },
    }
}

/// As the suite compares it.
fn json_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": { "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": { "street": { "type": "string" }, "city": { "type": "string" } }
        } },
        "properties": {
            "name": { "type": "string" },
            "address": { "$ref": "#/$defs/address" },
            "contactMethod": { "type": "string", "enum": ["phone", "email"] },
            "phone": { "type": "string" },
            "email": { "type": "string" }
        },
        "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
        "if": { "properties": { "contactMethod": { "const": "phone" } }, "required": ["contactMethod"] },
        "then": { "required": ["phone"] },
        "else": { "required": ["email"] },
        "additionalProperties": false
    })
}

fn headers() -> Value {
    json!({ "type": "object", "properties": { "region": { "type": "string", "x-mcp-header": "Region" } } })
}

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut terminated = signal(SignalKind::terminate()).expect("a signal");
    let end = async move {
        terminated.recv().await;
    };
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["stdio"] => {
            let lines = Lines::new(tokio::io::stdin(), tokio::io::stdout(), MAX_MESSAGE_BYTES);
            mcp::stdio(Arc::new(Tools), lines, end).await.expect("serves");
        }
        ["http", address, token @ ..] => {
            let entry = match token {
                [file] => Entry::Token(Token::new(&std::fs::read_to_string(file).expect("a token")).expect("a token")),
                _ => Entry::ThisMachine,
            };
            let listener = tokio::net::TcpListener::bind(address).await.expect("a free port");
            println!("http://{}/mcp", listener.local_addr().expect("an address"));
            let serve = HttpServe { listener, entry, reach: Reach::Loopback, names: vec![], times: Times::default() };
            mcp::http(Arc::new(Tools), serve, end).await.expect("serves");
        }
        _ => panic!("stdio, or http ADDRESS [TOKEN-FILE]"),
    }
    // Its standard input may be read still, by a thread that nobody can stop.
    std::process::exit(0);
}
