//! What the Anthropic dialect promises, on bodies as servers send them and as hostile ones would.

use super::*;
use crate::doors::fold::Folded;
use crate::doors::fold::tests::{broken_message, folded, is_broken_off};
use crate::rules::effect::FailureKind;
use crate::rules::model::{Metered, Part, Stop, Usage};
use crate::rules::spec::Dialect;

fn request(messages: Vec<Message>) -> Request {
    Request { model: "main".into(), messages, tools: Vec::new(), max_output: 7, min_output: 1, schema: None }
}

fn said(role: Role, content: &str) -> Message {
    Message::new(role, content)
}

fn call(id: &str, arguments: &str) -> ToolCall {
    ToolCall { id: id.into(), name: "add".into(), arguments: arguments.into() }
}

fn stream(max_output: u32, events: &[&str]) -> Folded {
    let body: String = events.iter().map(|event| format!("event: e\ndata: {}\n\n", event.replace('\n', ""))).collect();
    folded(Dialect::Anthropic, max_output, &body)
}

/// Of which 20 of input were read from a cache, as [`START`] says.
fn cached(tokens_in: u64, tokens_out: u64) -> Metered {
    let part = Part { cached: 20, ..Part::default() };
    Metered::Exact(Usage { part, ..Usage::of(tokens_in, tokens_out) })
}

const START: &str = r#"{"type":"message_start","message":{"content":[],"usage":{"input_tokens":5,"output_tokens":1,
    "cache_read_input_tokens":20,"cache_creation_input_tokens":null}}}"#;
const TEXT: &str = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
const PING: &str = r#"{"type":"ping"}"#;
const HI: &str = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}"#;
const END: &str = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}"#;
const STOP: &str = r#"{"type":"message_stop"}"#;

#[test]
fn system_messages_are_hoisted_and_the_cap_is_always_there() {
    let messages = vec![said(Role::System, "be brief"), said(Role::User, "hi"), said(Role::System, "be kind")];
    let body = encode(&request(messages), "m", "one", true).unwrap();
    assert_eq!(body["system"], "be brief\n\nbe kind");
    assert_eq!(body["max_tokens"], 7);
    assert_eq!(body["messages"], json!([{ "role": "user", "content": [{ "type": "text", "text": "hi" }] }]));
    assert_eq!(encode(&Request { max_output: 0, ..request(Vec::new()) }, "m", "one", true), Err(EncodeError::NoOutput));
}

#[test]
fn all_results_of_a_turns_tool_calls_are_in_one_turn() {
    let asked =
        Message { tool_calls: vec![call("a", "{\"x\":1}"), call("b", "not json")], ..said(Role::Assistant, "") };
    let result = |id: &str| Message { tool_call_id: Some(id.into()), ..said(Role::Tool, "42") };
    let messages = vec![said(Role::User, "go"), asked, result("a"), result("b"), said(Role::User, "on")];
    let body = encode(&request(messages), "m", "one", true).unwrap();
    let turns = body["messages"].as_array().unwrap();
    assert_eq!(turns.len(), 3);
    let tool_use = |id: &str, input: Value| json!({ "type": "tool_use", "id": id, "name": "add", "input": input });
    let inputs = json!([tool_use("a", json!({ "x": 1 })), tool_use("b", json!({ "arguments": "not json" }))]);
    assert_eq!(turns[1], json!({ "role": "assistant", "content": inputs }));
    let result = |id: &str| json!({ "type": "tool_result", "tool_use_id": id, "content": "42" });
    let content = json!([result("a"), result("b"), { "type": "text", "text": "on" }]);
    assert_eq!(turns[2], json!({ "role": "user", "content": content }));
}

#[test]
fn tools_and_a_schema_are_said_as_the_dialect_says_them() {
    let tool =
        ToolDefinition { name: "add".into(), description: "adds".into(), schema: "{\"type\":\"object\"}".into() };
    let request = Request { tools: vec![tool], schema: Some("{\"type\":\"array\"}".into()), ..request(Vec::new()) };
    let body = encode(&request, "m", "one", true).unwrap();
    let schema = json!({ "type": "object", "properties": {} });
    assert_eq!(body["tools"], json!([{ "name": "add", "description": "adds", "input_schema": schema }]));
    assert_eq!(body["output_config"]["format"]["schema"], json!({ "type": "array" }));
}

#[test]
fn a_count_is_asked_for_with_all_input_of_the_call_and_nothing_else() {
    let tool = ToolDefinition { name: "add".into(), description: String::new(), schema: "{}".into() };
    let request = Request {
        tools: vec![tool],
        schema: Some("{\"type\":\"array\"}".into()),
        ..request(vec![said(Role::System, "be brief"), said(Role::User, "hi")])
    };
    let mut call = encode(&request, "m", "one", true).unwrap();
    let call = call.as_object_mut().unwrap();
    assert_eq!((call.remove("max_tokens"), call.remove("stream")), (Some(json!(7)), Some(json!(true))));
    let count = encode_count(&request, "m", "one").unwrap();
    assert_eq!(count.as_object().unwrap(), call);
    assert_eq!(count["system"], "be brief");
    // A cap is not said, so one that cannot be said is no reason to refuse.
    assert_eq!(encode_count(&Request { max_output: 0, ..request.clone() }, "m", "one"), Ok(count));
    let request = Request { schema: Some("7".into()), ..request };
    assert_eq!(encode_count(&request, "m", "one"), Err(EncodeError::Schema("the reply".into())));
}

#[test]
fn a_count_is_a_whole_number_above_zero_or_no_count() {
    assert_eq!(counted(br#"{"input_tokens":14,"context_management":null}"#), Ok(14));
    assert_eq!(counted(br#"{"input_tokens":18446744073709551615}"#), Ok(u64::MAX));
    assert_eq!(counted(br#"{"input_tokens":"14"}"#), Ok(14));
    for body in [
        r#"{"input_tokens":0}"#,
        r#"{"input_tokens":-1}"#,
        r#"{"input_tokens":1.5}"#,
        r#"{"input_tokens":null}"#,
        r#"{"input_tokens":18446744073709551616}"#,
        r#"{"input_tokens":[14]}"#,
        "{}",
        "14",
        "null",
    ] {
        assert_eq!(counted(body.as_bytes()).unwrap_err().kind, FailureKind::Broken, "{body}");
    }
    for cut in ["", r#"{"input_tokens":14"#] {
        assert_eq!(counted(cut.as_bytes()).unwrap_err().kind, FailureKind::Overloaded, "{cut}");
    }
    let error = counted(br#"{"type":"error","error":{"message":"no"},"input_tokens":14}"#).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (FailureKind::Rejected, "no"));
}

#[test]
fn input_is_the_sum_with_cached_tokens_and_output_is_what_was_said_last() {
    let mid = r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":2}}"#;
    let folded = stream(8, &[START, TEXT, PING, HI, mid, END, STOP]);
    assert_eq!(folded.result.unwrap().text, "Hi");
    assert_eq!(folded.metered, cached(25, 3));
}

#[test]
fn input_that_overflows_is_unknown_and_no_panic() {
    let start = format!(
        r#"{{"type":"message_start","message":{{"usage":{{"input_tokens":{},"cache_read_input_tokens":1}}}}}}"#,
        u64::MAX
    );
    let folded = stream(8, &[&start, HI, END, STOP]);
    assert!(folded.result.is_ok());
    assert_eq!(folded.metered, Metered::Unknown);
    let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":2147483647,"cache_read_input_tokens":2147483647}}}"#;
    let Metered::Exact(usage) = stream(8, &[start, HI, END, STOP]).metered else { panic!("it is known") };
    assert_eq!((usage.tokens_in, usage.tokens_out), (4_294_967_294, 3));
}

#[test]
fn input_known_from_the_start_does_not_settle_a_stream_that_is_cut() {
    for events in [&[START][..], &[START, TEXT, HI]] {
        let folded = stream(8, events);
        is_broken_off(&folded);
        assert_eq!(folded.metered, Metered::Unknown);
        assert!(folded.raw_usage.unwrap().contains("\"input_tokens\":5"));
    }
    assert_eq!(stream(8, &[START, TEXT, HI, END]).metered, cached(25, 3));
}

#[test]
fn the_provisional_count_of_the_start_is_never_taken_for_the_output() {
    let end = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#;
    let folded = stream(8, &[START, HI, end, STOP]);
    assert!(folded.result.is_ok());
    assert_eq!(folded.metered, Metered::Unknown);
}

#[test]
fn tool_use_is_put_together_from_its_pieces() {
    let events = [
        START,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"a","name":"add","input":{}}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"x\""}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":":1}"}}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"b","name":"add","input":{}}}"#,
        r#"{"type":"content_block_start","index":3,"content_block":{"type":"server_tool_use","id":"s","name":"search","input":{}}}"#,
        r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":3}}"#,
        STOP,
    ];
    let reply = stream(8, &events).result.unwrap();
    assert_eq!(reply.tool_calls, [call("a", "{\"x\":1}"), call("b", "{}")]);
    assert_eq!(reply.stop, Stop::ToolCalls);
}

#[test]
fn a_whole_reply_becomes_a_reply() {
    let body = r#"{"type":"message","content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"Hi"},
        {"type":"tool_use","id":"a","name":"add","input":{"x":1}}],"stop_reason":"tool_use",
        "usage":{"input_tokens":5,"cache_creation_input_tokens":2,"output_tokens":900}}"#;
    let folded = folded(Dialect::Anthropic, 8, body);
    let reply = folded.result.unwrap();
    assert_eq!((reply.text.as_str(), reply.stop), ("Hi", Stop::ToolCalls));
    assert_eq!(reply.tool_calls, [call("a", "{\"x\":1}")]);
    let part = Part { written: 2, ..Part::default() };
    assert_eq!(folded.metered, Metered::Exact(Usage { part, ..Usage::of(7, 900) }));
}

#[test]
fn output_past_the_cap_aborts_by_bytes_and_by_running_usage_and_not_by_the_number_of_pieces() {
    let many: Vec<&str> = [START].into_iter().chain(std::iter::repeat_n(HI, 300)).chain([END, STOP]).collect();
    assert!(stream(2, &many).result.is_ok());
    for field in ["text", "thinking", "partial_json"] {
        let delta = |bytes: usize| {
            let text = "x".repeat(bytes);
            format!(r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"t","{field}":"{text}"}}}}"#)
        };
        assert!(stream(2, &[START, HI, &delta(4606), END, STOP]).result.is_ok());
        let longer = stream(2, &[START, HI, &delta(4607), END, STOP]);
        assert_eq!(broken_message(&longer), "output ran past the cap of 2 tokens");
        assert_eq!(longer.metered, Metered::Unknown);
    }
    let running =
        |tokens: u64| format!(r#"{{"type":"message_delta","delta":{{}},"usage":{{"output_tokens":{tokens}}}}}"#);
    assert!(stream(2, &[START, HI, &running(3), END, STOP]).result.is_ok());
    broken_message(&stream(2, &[START, HI, &running(4), END, STOP]));
}

#[test]
fn what_is_written_into_a_cache_is_told_by_its_lifetime() {
    let end = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":4,"output_tokens":3,
        "cache_creation_input_tokens":150,"cache_creation":{"ephemeral_5m_input_tokens":50,"ephemeral_1h_input_tokens":100}}}"#;
    let part = Part { written: 50, written_hour: 100, ..Part::default() };
    let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":4,"output_tokens":1}}}"#;
    assert_eq!(stream(8, &[start, HI, end, STOP]).metered, Metered::Exact(Usage { part, ..Usage::of(154, 3) }));
}

#[test]
fn a_final_usage_above_the_cap_is_the_truth_and_no_failure() {
    let end = r#"{"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":900}}"#;
    let folded = stream(2, &[START, HI, end, STOP]);
    assert_eq!(folded.result.unwrap().stop, Stop::MaxOutput);
    assert_eq!(folded.metered, cached(25, 900));
}

#[test]
fn an_unknown_reason_to_stop_is_never_taken_for_the_end() {
    for (reason, stop) in [
        ("end_turn", Stop::End),
        ("stop_sequence", Stop::End),
        ("refusal", Stop::Withheld),
        ("pause_turn", Stop::Withheld),
        ("new_reason", Stop::Withheld),
    ] {
        let end =
            format!(r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}"}},"usage":{{"output_tokens":3}}}}"#);
        assert_eq!(stream(8, &[START, HI, &end, STOP]).result.unwrap().stop, stop, "{reason}");
    }
}

#[test]
fn an_error_event_is_the_providers_no_with_its_words() {
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"overloaded"}}"#;
    let folded = stream(8, &[START, HI, error, STOP]);
    let failure = folded.result.unwrap_err();
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Overloaded, "overloaded"));
    assert_eq!(folded.metered, Metered::Unknown);
}
