//! What the OpenAI dialect promises, on bodies as servers send them and as hostile ones would.

use super::*;
use crate::doors::fold::Folded;
use crate::doors::fold::tests::shown;
use crate::doors::fold::tests::{broken_message, folded, is_broken_off};
use crate::rules::effect::FailureKind;
use crate::rules::model::{Metered, Stop, ToolCall, Usage};
use crate::rules::spec::Dialect;

fn request() -> Request {
    Request {
        model: "main".into(),
        messages: vec![said(Role::System, "be brief"), said(Role::User, "hi")],
        tools: Vec::new(),
        max_output: 7,
        min_output: 1,
        schema: None,
    }
}

fn said(role: Role, content: &str) -> Message {
    Message::new(role, content)
}

fn stream(max_output: u32, events: &[&str]) -> Folded {
    let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    folded(Dialect::Openai, max_output, &body)
}

fn whole(max_output: u32, body: &str) -> Folded {
    folded(Dialect::Openai, max_output, body)
}

fn exact(tokens_in: u64, tokens_out: u64) -> Metered {
    Metered::Exact(Usage::of(tokens_in, tokens_out))
}

const HELLO: &str = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"usage":null}"#;
const HI: &str = r#"{"choices":[{"index":0,"delta":{"content":"Hi"}}],"usage":null}"#;
const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#;
const DONE: &str = "[DONE]";

#[test]
fn a_stream_always_asks_for_usage_and_a_whole_reply_never_does() {
    let body = encode(&request(), "m", "one", CapField::MaxTokens, true).unwrap();
    assert_eq!(body["stream_options"], json!({ "include_usage": true }));
    assert_eq!(body["messages"][0], json!({ "role": "system", "content": "be brief" }));
    let body = encode(&request(), "m", "one", CapField::MaxTokens, false).unwrap();
    assert_eq!((&body["stream"], body.get("stream_options")), (&json!(false), None));
}

#[test]
fn exactly_one_cap_is_on_the_wire_and_no_n() {
    for (model, field) in [
        ("some-model", "max_tokens"),
        ("gpt-4o", "max_tokens"),
        ("gpt-35-turbo", "max_tokens"),
        ("gpt-oss-20b", "max_tokens"),
        ("gpt-5.2-mini", "max_completion_tokens"),
        ("vendor/o3", "max_completion_tokens"),
    ] {
        let body = encode(&request(), model, "one", cap_field(model), true).unwrap();
        let caps: Vec<&str> = ["max_tokens", "max_completion_tokens", "max_output_tokens", "n"]
            .into_iter()
            .filter(|field| body.get(*field).is_some())
            .collect();
        assert_eq!((caps, &body[field]), (vec![field], &json!(7)), "{model}");
    }
}

#[test]
fn a_cap_of_zero_and_a_schema_that_is_no_object_are_not_sent() {
    assert_eq!(
        encode(&Request { max_output: 0, ..request() }, "m", "one", CapField::MaxTokens, true),
        Err(EncodeError::NoOutput)
    );
    let schema = Some("[]".to_owned());
    assert_eq!(
        encode(&Request { schema, ..request() }, "m", "one", CapField::MaxTokens, true),
        Err(EncodeError::Schema("the reply".into()))
    );
    let messages = vec![said(Role::Tool, "42")];
    assert_eq!(
        encode(&Request { messages, ..request() }, "m", "one", CapField::MaxTokens, true),
        Err(EncodeError::NoCallId)
    );
}

#[test]
fn tools_calls_results_and_a_schema_are_said_as_the_dialect_says_them() {
    let call = ToolCall { id: "c1".into(), name: "add".into(), arguments: "{\"a\":1}".into() };
    let mut asked = Message { tool_calls: vec![call], ..said(Role::Assistant, "") };
    let result = Message { tool_call_id: Some("c1".into()), ..said(Role::Tool, "42") };
    let tool =
        ToolDefinition { name: "add".into(), description: "adds".into(), schema: "{\"type\":\"object\"}".into() };
    let request = Request {
        messages: vec![asked.clone(), result],
        tools: vec![tool],
        schema: Some("{\"type\":\"array\"}".into()),
        ..request()
    };
    let body = encode(&request, "m", "one", CapField::MaxTokens, false).unwrap();
    let function = json!({ "name": "add", "arguments": "{\"a\":1}" });
    let calls = json!([{ "id": "c1", "type": "function", "function": function }]);
    assert_eq!(body["messages"][0], json!({ "role": "assistant", "content": null, "tool_calls": calls }));
    assert_eq!(body["messages"][1], json!({ "role": "tool", "tool_call_id": "c1", "content": "42" }));
    let function =
        json!({ "name": "add", "description": "adds", "parameters": { "type": "object", "properties": {} } });
    assert_eq!(body["tools"], json!([{ "type": "function", "function": function }]));
    assert_eq!(body["response_format"]["json_schema"]["schema"], json!({ "type": "array" }));
    asked.tool_calls.clear();
    assert_eq!(message(&asked, "one").unwrap(), json!({ "role": "assistant", "content": "" }));
}

#[test]
fn a_stream_becomes_a_reply_with_the_last_usage() {
    let folded = stream(8, &[HELLO, HI, HI, STOP, USAGE, DONE]);
    let reply = folded.result.unwrap();
    assert_eq!((reply.text.as_str(), reply.stop), ("HiHi", Stop::End));
    assert_eq!(folded.metered, exact(5, 2));
    assert_eq!(folded.raw_usage.unwrap(), r#"{"completion_tokens":2,"prompt_tokens":5}"#);
}

#[test]
fn a_whole_reply_becomes_a_reply() {
    let body = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi","reasoning":"hm","reasoning_content":"hm"},
        "finish_reason":"length"}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}"#;
    let folded = whole(8, body);
    let reply = folded.result.unwrap();
    assert_eq!((reply.text.as_str(), reply.stop), ("Hi", Stop::MaxOutput));
    assert_eq!(folded.metered, exact(5, 2));
    assert_eq!(whole(8, &body[..body.len() - 1]).metered, Metered::Unknown);
    assert_eq!(whole(8, "").metered, Metered::Unknown);
}

#[test]
fn tool_calls_are_joined_by_their_index() {
    let folded = stream(
        8,
        &[
            r#"{"choices":[{"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"sub","arguments":""}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"add","arguments":"{\"x\""}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"add","arguments":":1}"}}]}}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            DONE,
        ],
    );
    let reply = folded.result.unwrap();
    let call = |id: &str, name: &str, arguments: &str| ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
    };
    assert_eq!(reply.tool_calls, [call("a", "add", "{\"x\":1}"), call("b", "sub", "{}")]);
    assert_eq!(reply.stop, Stop::ToolCalls);
}

#[test]
fn a_stream_that_said_its_reason_and_its_usage_ends_with_a_clean_close_too() {
    let folded = stream(8, &[HI, STOP, USAGE]);
    assert_eq!((folded.result.unwrap().text.as_str(), folded.metered), ("Hi", exact(5, 2)));
    for events in [&[HI, STOP][..], &[HI, USAGE], &[HI]] {
        is_broken_off(&stream(8, events));
    }
    // Nor is the blank line after the last event needed.
    let body = |end: &str| format!("data: {HI}\n\ndata: {STOP}\n\ndata: {USAGE}\n\ndata: [DONE]{end}");
    for end in ["", "\n", "\n\n"] {
        assert_eq!(shown(Dialect::Openai, 8, &body(end)), "Hi · end · 5 in 2 out");
    }
}

#[test]
fn usage_on_the_finish_chunk_is_overruled_by_the_final_one_and_enough_with_an_end() {
    let finish =
        r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":1}}"#;
    assert_eq!(stream(8, &[HI, finish, USAGE, DONE]).metered, exact(5, 2));
    assert_eq!(stream(8, &[HI, finish, DONE]).metered, exact(5, 1));
    assert_eq!(stream(8, &[HI, finish]).metered, exact(5, 1));
}

#[test]
fn usage_from_before_the_end_or_none_at_all_settles_nothing() {
    let early = r#"{"choices":[{"delta":{"content":"Hi"}}],"usage":{"prompt_tokens":5,"completion_tokens":1}}"#;
    for events in [&[early, HI, STOP, DONE][..], &[HI, STOP, DONE]] {
        let folded = stream(8, events);
        assert!(folded.result.is_ok());
        assert_eq!(folded.metered, Metered::Unknown);
    }
}

#[test]
fn a_missing_count_is_not_zero_and_one_past_64_bits_is_unknown() {
    let usage = |usage: &str| {
        let chunk = format!(r#"{{"choices":[],"usage":{usage}}}"#);
        stream(8, &[HI, STOP, &chunk, DONE]).metered
    };
    assert_eq!(usage(r#"{"prompt_tokens":5}"#), Metered::Unknown);
    assert_eq!(usage(r#"{"prompt_tokens":5,"total_tokens":9}"#), exact(5, 4));
    assert_eq!(usage(r#"{"completion_tokens":4,"total_tokens":9}"#), exact(5, 4));
    assert_eq!(usage(r#"{"prompt_tokens":5000000000,"completion_tokens":1}"#), exact(5_000_000_000, 1));
    assert_eq!(usage(r#"{"prompt_tokens":5,"completion_tokens":18446744073709551616}"#), Metered::Unknown);
    assert_eq!(usage(r#"{"prompt_tokens":-5,"completion_tokens":1}"#), Metered::Unknown);
}

#[test]
fn output_past_the_cap_aborts_by_bytes_and_by_running_usage_and_not_by_the_number_of_pieces() {
    let many: Vec<&str> = std::iter::repeat_n(HI, 300).chain([STOP, USAGE, DONE]).collect();
    assert!(stream(2, &many).result.is_ok());

    let text = |bytes: usize| format!(r#"{{"choices":[{{"delta":{{"content":"{}"}}}}]}}"#, "x".repeat(bytes));
    assert!(stream(2, &[&text(4608), STOP, DONE]).result.is_ok());
    let longer = stream(2, &[&text(4609), STOP, DONE]);
    assert_eq!(broken_message(&longer), "output ran past the cap of 2 tokens");
    assert_eq!(longer.metered, Metered::Unknown);

    let running = |tokens: u64| {
        format!(r#"{{"choices":[{{"delta":{{"content":"x"}}}}],"usage":{{"completion_tokens":{tokens}}}}}"#)
    };
    assert!(stream(2, &[&running(3), STOP, DONE]).result.is_ok());
    broken_message(&stream(2, &[&running(4), STOP, DONE]));
}

#[test]
fn reasoning_and_arguments_count_as_output() {
    let long = "x".repeat(4352);
    for delta in [
        r#"{"reasoning_content":"LONG"}"#,
        r#"{"reasoning":"LONG","reasoning_content":"LONG"}"#,
        r#"{"refusal":"LONG"}"#,
        r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"LONG"}]}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"LONG"}}]}"#,
    ] {
        let chunk = format!(r#"{{"choices":[{{"delta":{}}}]}}"#, delta.replace("LONG", &long));
        broken_message(&stream(1, &[&chunk, &chunk, STOP, DONE]));
    }
}

#[test]
fn a_final_usage_above_the_cap_is_the_truth_and_no_failure() {
    let over = r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":900}}"#;
    let folded = stream(2, &[HI, STOP, over, DONE]);
    assert!(folded.result.is_ok());
    assert_eq!(folded.metered, exact(5, 900));
    let body = r#"{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":900}}"#;
    assert_eq!(whole(2, body).metered, exact(5, 900));
}

#[test]
fn several_choices_are_refused_and_their_usage_is_not_believed() {
    let second = r#"{"choices":[{"index":1,"delta":{"content":"Hi"}}]}"#;
    assert!(broken_message(&stream(8, &[HI, second, HI])).contains("more than one choice"));
    assert!(broken_message(&stream(8, &[HI, HI, second])).contains("more than one choice"));
    assert!(broken_message(&stream(8, &[HI, STOP, second])).contains("more than one choice"));
    let body = r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"},{"message":{"content":"b"},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":5,"completion_tokens":2}}"#;
    let folded = whole(8, body);
    assert!(broken_message(&folded).contains("more than one choice"));
    assert_eq!(folded.metered, Metered::Unknown);
}

#[test]
fn an_unknown_reason_to_stop_or_a_refusal_is_never_taken_for_the_end() {
    for (reason, stop) in [
        ("stop", Stop::End),
        ("length", Stop::MaxOutput),
        ("content_filter", Stop::Withheld),
        ("tool_calls", Stop::End),
        ("new_reason", Stop::Withheld),
    ] {
        let finish = format!(r#"{{"choices":[{{"delta":{{}},"finish_reason":"{reason}"}}]}}"#);
        assert_eq!(stream(8, &[HI, &finish, DONE]).result.unwrap().stop, stop, "{reason}");
    }
    let refusal = r#"{"choices":[{"delta":{"refusal":"no"}}]}"#;
    assert_eq!(stream(8, &[refusal, refusal, STOP, DONE]).result.unwrap().stop, Stop::Withheld);
    // With its terminator a stream is whole also if it gives no reason.
    assert_eq!(stream(8, &[HI, DONE]).result.unwrap().stop, Stop::End);
    broken_message(&stream(8, &[DONE]));
    // Some say so themselves.
    let early = r#"{"choices":[{"delta":{},"finish_reason":"network_error"}]}"#;
    let early = stream(8, &[HI, early, DONE]).result.unwrap_err();
    assert_eq!(early.kind, FailureKind::Overloaded);
    assert!(early.message.contains("network_error"), "{early:?}");
}

#[test]
fn an_error_within_a_stream_is_the_providers_no_with_its_words() {
    let folded = stream(8, &[HI, r#"{"error":{"message":"overloaded"}}"#, DONE]);
    let failure = folded.result.unwrap_err();
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Overloaded, "overloaded"));
    assert_eq!(folded.metered, Metered::Unknown);
}

#[test]
fn what_is_cached_in_anthropics_names_is_beside_the_input_and_a_total_below_its_parts_is_none() {
    let metered = |usage: &str| {
        let body =
            format!(r#"{{"choices":[{{"message":{{"content":"Hi"}},"finish_reason":"stop"}}],"usage":{usage}}}"#);
        match whole(100, &body).metered {
            Metered::Exact(usage) => (usage.tokens_in, usage.tokens_out),
            Metered::Unknown => panic!("{body}"),
        }
    };
    assert_eq!(metered(r#"{"input_tokens":100,"cache_read_input_tokens":80,"output_tokens":5}"#), (180, 5));
    assert_eq!(metered(r#"{"input_tokens":100,"cache_creation_input_tokens":90,"output_tokens":5}"#), (190, 5));
    assert_eq!(
        metered(r#"{"input_tokens":100,"cache_read_input_tokens":80,"output_tokens":5,"total_tokens":105}"#),
        (100, 5)
    );
    assert_eq!(metered(r#"{"prompt_tokens":100,"cache_read_input_tokens":80,"completion_tokens":5}"#), (100, 5));
    let beside = r#""completion_tokens_details":{"reasoning_tokens":100}"#;
    assert_eq!(metered(&format!(r#"{{"prompt_tokens":5,"completion_tokens":2,"total_tokens":0,{beside}}}"#)), (5, 102));
}
