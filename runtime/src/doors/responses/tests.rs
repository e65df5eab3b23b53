//! What the Responses dialect promises, on bodies as servers send them and as hostile ones would.

use super::super::items::MOST_ITEMS;
use super::*;
use crate::doors::draft::{Draft, End};
use crate::doors::fold::Folded;
use crate::doors::fold::tests::{broken_message, folded, shown};
use crate::rules::effect::FailureKind;
use crate::rules::model::{Metered, Part, Stop, Usage};
use crate::rules::spec::Dialect;

const WAY: Way = Way { stream: true, reasoning: true };

fn request(messages: Vec<Message>) -> Request {
    Request { model: "main".into(), messages, tools: Vec::new(), max_output: 7, min_output: 1, schema: None }
}

fn message(role: Role, content: &str) -> Message {
    Message::new(role, content)
}

fn stream(max_output: u32, events: &[&str]) -> Folded {
    let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    folded(Dialect::Responses, max_output, &body)
}

/// A turn that a reply becomes when a worker repeats it, in a request to the provider that gave it.
fn returned(body: &str, change: impl Fn(&mut Message)) -> Value {
    let mut draft = Draft::new(64);
    whole(&mut draft, body.as_bytes()).unwrap();
    let reply = draft.into_reply(End::Said, "one").0.unwrap();
    let mut turn = Message {
        tool_calls: reply.tool_calls,
        provider_state: reply.provider_state,
        ..message(Role::Assistant, &reply.text)
    };
    change(&mut turn);
    encode(&request(vec![turn]), "m", "one", WAY).unwrap()["input"].take()
}

fn fold_shown(body: &str) -> String {
    shown(Dialect::Responses, 8, body)
}

const HI: &str = r#"{"type":"response.output_text.delta","item_id":"m","output_index":0,"delta":"Hi"}"#;
const END: &str = r#"{"type":"response.completed","response":{"status":"completed","output":[],"usage":{"input_tokens":5,"output_tokens":2,"total_tokens":7}}}"#;

#[test]
fn nothing_is_stored_and_exactly_one_cap_is_on_the_wire() {
    let asked =
        request(vec![message(Role::System, "be brief"), message(Role::User, "hi"), message(Role::System, "now")]);
    let body = encode(&asked, "m", "one", WAY).unwrap();
    assert_eq!(
        body,
        json!({
            "model": "m", "instructions": "be brief\n\nnow", "max_output_tokens": 7, "stream": true, "store": false,
            "include": ["reasoning.encrypted_content"],
            "input": [{ "type": "message", "role": "user", "content": "hi" }],
        })
    );
    let plain = encode(&asked, "m", "one", Way { stream: false, reasoning: false }).unwrap();
    assert_eq!((plain.get("include"), &plain["stream"]), (None, &json!(false)));
    assert_eq!(encode(&Request { max_output: 0, ..asked }, "m", "one", WAY), Err(EncodeError::NoOutput));
}

#[test]
fn tools_calls_results_and_a_schema_are_said_as_the_dialect_says_them() {
    let call = |id: &str, arguments: &str| ToolCall { id: id.into(), name: "add".into(), arguments: arguments.into() };
    let asked = Message {
        tool_calls: vec![call("a", "{\"a\": 1}"), call("b", "{\"a\": 1")],
        ..message(Role::Assistant, "I add.")
    };
    let result = Message { tool_call_id: Some("a".into()), ..message(Role::Tool, "42") };
    let tool = ToolDefinition { name: "add".into(), description: "adds".into(), schema: "{}".into() };
    let request =
        Request { tools: vec![tool], schema: Some("{\"type\":\"array\"}".into()), ..request(vec![asked, result]) };
    let body = encode(&request, "m", "one", WAY).unwrap();
    assert_eq!(
        body["input"],
        json!([
            { "type": "message", "role": "assistant", "content": "I add." },
            { "type": "function_call", "call_id": "a", "name": "add", "arguments": "{\"a\": 1}" },
            { "type": "function_call", "call_id": "b", "name": "add", "arguments": "{\"arguments\":\"{\\\"a\\\": 1\"}" },
            { "type": "function_call_output", "call_id": "a", "output": "42" },
        ])
    );
    let parameters = json!({ "type": "object", "properties": {} });
    assert_eq!(
        body["tools"],
        json!([{ "type": "function", "name": "add", "description": "adds", "parameters": parameters, "strict": false }])
    );
    let format = json!({ "type": "json_schema", "name": "reply", "schema": { "type": "array" } });
    assert_eq!(body["text"], json!({ "format": format }));
}

#[test]
fn models_that_do_not_reason_are_known_by_their_names_and_refusals_by_their_words() {
    for (model, is_asked) in
        [("gpt-5.2", true), ("o3", true), ("mine", true), ("gpt-4o", false), ("openai/gpt-4.1-mini", false)]
    {
        assert_eq!(reasons(model), is_asked, "{model}");
    }
    assert!(refuses_reasoning("the provider answered 400: Encrypted content is not supported with this model."));
    assert!(refuses_reasoning("unknown include value: 'reasoning.encrypted_content'"));
    assert!(!refuses_reasoning("The encrypted content for item rs_1 could not be verified."));
}

const REASONED: &str = r#"{"status":"completed","output":[
    {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"s"}],"encrypted_content":"x"},
    {"type":"message","id":"m1","role":"assistant","phase":"commentary","content":[{"type":"output_text","text":"I look."}]},
    {"type":"function_call","id":"fc_1","call_id":"a","name":"look","arguments":"{}"},
    {"type":"reasoning","id":"rs_2","summary":[],"encrypted_content":"y"},
    {"type":"function_call","id":"fc_2","call_id":"b","name":"look","arguments":"{}"},
    {"type":"reasoning","id":"rs_3","summary":[],"encrypted_content":"z"}]}"#;

#[test]
fn a_turn_goes_back_in_its_order_with_its_reasoning_and_its_phase_and_no_other_id() {
    let call = |id: &str| json!({ "type": "function_call", "call_id": id, "name": "look", "arguments": "{}" });
    let said = json!({ "type": "message", "role": "assistant", "content": "I look.", "phase": "commentary" });
    let summary = json!([{ "type": "summary_text", "text": "s" }]);
    let first = json!({ "type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "x" });
    let second = json!({ "type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "y" });
    // The last has nothing after it.
    assert_eq!(returned(REASONED, |_| {}), json!([first, said, call("a"), second, call("b")]));
    // A text that a worker changed has no phase any more, and a call that it took away takes its reasoning along if that would
    // be last.
    let changed = json!({ "type": "message", "role": "assistant", "content": "Other." });
    assert_eq!(
        returned(REASONED, |turn| turn.content = "Other.".into()),
        json!([first, changed, call("a"), second, call("b")])
    );
    assert_eq!(returned(REASONED, |turn| drop(turn.tool_calls.pop())), json!([first, said, call("a")]));
    assert_eq!(returned(REASONED, |turn| turn.provider_state = None)[0]["content"], "I look.");
}

#[test]
fn what_is_said_aside_of_an_answer_is_no_part_of_it_and_goes_back() {
    let body = r#"{"status":"completed","output":[
        {"type":"message","role":"assistant","phase":"commentary","content":[{"type":"output_text","text":"I look."}]},
        {"type":"message","role":"assistant","phase":"final_answer","content":[{"type":"output_text","text":"{}"}]}]}"#;
    let said =
        |text: &str, phase: &str| json!({ "type": "message", "role": "assistant", "content": text, "phase": phase });
    assert_eq!(
        returned(body, |turn| assert_eq!(turn.content, "{}")),
        json!([said("I look.", "commentary"), said("{}", "final_answer")])
    );
}

#[test]
fn reasoning_that_a_server_cannot_know_again_does_not_go_back_and_readable_reasoning_does() {
    let body = |reasoning: &str| {
        format!(
            r#"{{"status":"completed","output":[{{"type":"reasoning","id":"rs_1",{reasoning}}},
            {{"type":"function_call","call_id":"a","name":"look","arguments":"{{}}"}}]}}"#
        )
    };
    let summary = body(r#""summary":[{"type":"summary_text","text":"s"}],"encrypted_content":null"#);
    assert_eq!(returned(&summary, |turn| assert_eq!(turn.provider_state, None)).as_array().unwrap().len(), 1);
    let content = body(r#""summary":[],"content":[{"type":"reasoning_text","text":"hm"}]"#);
    let content = &returned(&content, |_| {})[0];
    assert_eq!((&content["id"], &content["content"][0]["text"]), (&json!("rs_1"), &json!("hm")));
}

#[test]
fn what_a_worker_made_up_of_a_turn_is_no_failure() {
    for items in [
        r#"[{"said":{"bytes":18446744073709551615}},{"said":{"bytes":7}}]"#,
        r#"[{"said":{"bytes":1}},{"said":{"bytes":2}}]"#,
        r#"["call","call","call"]"#,
        r#"[{"reasoning":{"id":"rs_9"}}]"#,
        r#"[{"other":{}}]"#,
    ] {
        let state = Some(format!(r#"{{"of":"one","kept":{{"items":{items}}}}}"#));
        let turn = Message { provider_state: state, ..message(Role::Assistant, "häh") };
        let body = encode(&request(vec![turn]), "m", "one", WAY).unwrap();
        let said: String =
            body["input"].as_array().unwrap().iter().filter_map(|item| item["content"].as_str()).collect();
        assert_eq!(said, "häh", "{items}");
    }
}

#[test]
fn id_and_content_of_reasoning_are_of_one_event_and_its_place_is_known_from_the_end() {
    let done = r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"x"}}"#;
    let call = r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"function_call","call_id":"a","name":"look","arguments":"{}"}}"#;
    let end = r#"{"type":"response.completed","response":{"status":"completed","output":[
        {"type":"reasoning","id":"rs_2","summary":[],"encrypted_content":"y"},
        {"type":"function_call","call_id":"a","name":"look","arguments":"{}"}]}}"#
        .replace('\n', "");
    let kept = |events: &[&str]| -> String {
        let state = stream(8, events).result.unwrap().provider_state.unwrap();
        serde_json::from_str::<Value>(&state).unwrap()["kept"]["items"].to_string()
    };
    assert_eq!(kept(&[done, call, &end]), r#"[{"reasoning":{"encrypted_content":"x","id":"rs_1"}},"call"]"#);
    assert_eq!(kept(&[call, &end]), r#"[{"reasoning":{"encrypted_content":"y","id":"rs_2"}},"call"]"#);
    let late = done.replace(r#""encrypted_content":"x""#, r#""encrypted_content":null"#);
    assert_eq!(kept(&[&late, call, &end]), r#"[{"reasoning":{"encrypted_content":"y","id":"rs_2"}},"call"]"#);
}

#[test]
fn any_prefix_of_a_stream_is_broken_and_costs_nobody_knows_what() {
    let body: String = [HI, END].iter().map(|event| format!("data: {event}\n\n")).collect();
    for end in 0..body.len() - "\n\n".len() {
        let folded = folded(Dialect::Responses, 8, &body[..end]);
        assert_eq!((folded.result.is_err(), folded.metered), (true, Metered::Unknown), "{end}");
    }
    assert_eq!(shown(Dialect::Responses, 8, &body), "Hi · end · 5 in 2 out");
}

#[test]
fn totals_are_compared_with_parts_and_the_larger_holds_wherever_they_stand() {
    let metered = |usage: &str| {
        stream(
            8,
            &[HI, &format!(r#"{{"type":"response.completed","response":{{"status":"completed"}},"usage":{usage}}}"#)],
        )
        .metered
    };
    let part = Part { cached: 3, reasoning: 4, ..Part::default() };
    assert_eq!(
        metered(
            r#"{"input_tokens":5,"input_tokens_details":{"cached_tokens":3},"output_tokens":6,"output_tokens_details":{"reasoning_tokens":4},"total_tokens":15}"#
        ),
        Metered::Exact(Usage { part, ..Usage::of(5, 10) })
    );
    assert_eq!(metered(r#"{"input_tokens":"5","output_tokens":"2"}"#), Metered::Exact(Usage::of(5, 2)));
    assert_eq!(metered(r#"{"input_tokens":0,"output_tokens":0,"total_tokens":0}"#), Metered::Unknown);
    assert_eq!(metered("null"), Metered::Unknown);
}

#[test]
fn usage_that_is_said_before_the_end_is_not_the_last_word_on_it() {
    let early = r#"{"type":"response.in_progress","response":{"usage":{"input_tokens":5,"output_tokens":1}}}"#;
    let end = r#"{"type":"response.completed","response":{"status":"completed"}}"#;
    assert_eq!(stream(8, &[early, HI, end]).metered, Metered::Unknown);
    assert_eq!(stream(8, &[early, HI, END]).metered, Metered::Exact(Usage::of(5, 2)));
    let running = early.replace("\"output_tokens\":1", "\"output_tokens\":10");
    broken_message(&stream(8, &[HI, &running, END]));
}

#[test]
fn a_failure_is_free_only_if_nothing_shows_that_a_model_ran() {
    let failed = |more: &str| {
        format!(
            r#"{{"type":"response.failed","response":{{"status":"failed","error":{{"code":"server_is_overloaded","message":"busy"}}{more}}}}}"#
        )
    };
    let folded = |events: &[&str]| {
        let folded = stream(8, events);
        (folded.result.unwrap_err().kind, folded.metered)
    };
    let free = Metered::Exact(Usage::default());
    let begun = r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning","id":"rs_1"}}"#;
    assert_eq!(folded(&[&failed("")]), (FailureKind::Overloaded, free));
    assert_eq!(folded(&[begun, &failed("")]), (FailureKind::Overloaded, Metered::Unknown));
    for more in [r#","usage":{"input_tokens":5,"output_tokens":2}"#, r#","output":[{"type":"reasoning","id":"rs_1"}]"#]
    {
        assert_eq!(folded(&[&failed(more)]), (FailureKind::Overloaded, Metered::Unknown), "{more}");
    }
    let whole = r#"{"object":"response","status":"failed","error":{"code":"rate_limit_exceeded","message":"wait"},"output":[],"usage":null}"#;
    assert_eq!(shown(Dialect::Responses, 8, whole), "Overloaded: wait · 0 in 0 out");
}

#[test]
fn an_end_that_is_none_is_never_taken_for_one() {
    let shown = |status: &str, reason: &str| {
        let body = format!(
            r#"{{"object":"response","status":"{status}","incomplete_details":{{"reason":{reason}}},"output":[]}}"#
        );
        shown(Dialect::Responses, 8, &body)
    };
    for status in ["failed", "cancelled", "in_progress", "queued"] {
        assert_eq!(
            shown(status, "null"),
            format!("Overloaded: the provider ended the reply early: {status} · unknown")
        );
    }
    assert_eq!(shown("incomplete", "null"), " · max-output · unknown");
    assert_eq!(shown("completed", "\"max_output_tokens\""), " · max-output · unknown");
    assert_eq!(shown("incomplete", "\"new_reason\""), " · withheld · unknown");
    assert_eq!(shown("new_status", "null"), " · withheld · unknown");
    let cut = r#"{"status":"completed","output":[{"type":"message","status":"incomplete","role":"assistant","content":"Hi"}]}"#;
    assert_eq!(fold_shown(cut), "Hi · withheld · unknown");
}

#[test]
fn output_past_the_cap_aborts_whatever_it_is_called() {
    for kind in
        ["output_text", "reasoning_text", "reasoning_summary_text", "function_call_arguments", "refusal", "new_kind"]
    {
        let delta = |bytes: usize| format!(r#"{{"type":"response.{kind}.delta","delta":"{}"}}"#, "x".repeat(bytes));
        assert!(
            !stream(2, &[&delta(4608), END]).result.is_err_and(|failure| failure.message.contains("cap")),
            "{kind}"
        );
        let longer = stream(2, &[&delta(4609), END]);
        assert_eq!(broken_message(&longer), "output ran past the cap of 2 tokens", "{kind}");
        assert_eq!(longer.metered, Metered::Unknown);
    }
    let whole = |bytes: usize| {
        let text = "x".repeat(bytes);
        let item =
            format!(r#"{{"type":"message","role":"assistant","content":[{{"type":"output_text","text":"{text}"}}]}}"#);
        stream(
            2,
            &[&format!(r#"{{"type":"response.completed","response":{{"status":"completed","output":[{item}]}}}}"#)],
        )
    };
    assert_eq!(whole(4608).result.unwrap().stop, Stop::End);
    broken_message(&whole(4609));
}

#[test]
fn a_reply_with_too_many_items_is_broken() {
    let added = r#"{"type":"response.output_item.added","item":{"type":"message","role":"assistant"}}"#;
    let events = |count: usize| [vec![added; count], vec![END]].concat();
    assert!(stream(512, &events(MOST_ITEMS)).result.is_ok());
    assert_eq!(broken_message(&stream(512, &events(MOST_ITEMS + 1))), "a reply has more than 512 items");
}

#[test]
fn items_of_one_id_are_as_many_as_there_are() {
    let calls = r#"{"object":"response","status":"completed","output":[{"type":"function_call","id":"fc_1","call_id":"c","name":"read","arguments":"{\"p\":\"a\"}"},{"type":"function_call","id":"fc_2","call_id":"c","name":"write","arguments":"{\"p\":\"b\"}"}],"usage":{"input_tokens":5,"output_tokens":9,"total_tokens":14}}"#;
    let two = r#"c:read({"p":"a"}) c-1:write({"p":"b"}) · tool-calls · 5 in 9 out"#;
    assert_eq!(shown(Dialect::Responses, 100, calls).trim_start(), two);
    let events = [
        r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","id":"fc_1","call_id":"c","name":"read","arguments":""}}"#,
        r#"{"type":"response.function_call_arguments.delta","item_id":"fc_1","output_index":0,"delta":"{\"p\":\"a\"}"}"#,
        r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"function_call","id":"fc_1","call_id":"c","name":"read","arguments":"{\"p\":\"a\"}"}}"#,
        r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"function_call","id":"fc_2","call_id":"c","name":"read","arguments":""}}"#,
        r#"{"type":"response.function_call_arguments.delta","item_id":"fc_2","output_index":1,"delta":"{\"p\":\"b\"}"}"#,
        r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"function_call","id":"fc_2","call_id":"c","name":"read","arguments":"{\"p\":\"b\"}"}}"#,
        r#"{"type":"response.completed","response":{"status":"completed","output":[{"type":"function_call","id":"fc_1","call_id":"c","name":"read","arguments":"{\"p\":\"a\"}"},{"type":"function_call","id":"fc_2","call_id":"c","name":"read","arguments":"{\"p\":\"b\"}"}],"usage":{"input_tokens":5,"output_tokens":9,"total_tokens":14}}}"#,
    ];
    let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    let two = r#"c:read({"p":"a"}) c-1:read({"p":"b"}) · tool-calls · 5 in 9 out"#;
    assert_eq!(shown(Dialect::Responses, 100, &body).trim_start(), two);
    let message =
        |text: &str| format!(r#"{{"type":"message","id":"m","content":[{{"type":"output_text","text":"{text}"}}]}}"#);
    let texts = format!(
        r#"{{"object":"response","status":"completed","output":[{},{}],"usage":{{"input_tokens":5,"output_tokens":2}}}}"#,
        message("Hello "),
        message("world")
    );
    assert_eq!(fold_shown(&texts), "Hello world · end · 5 in 2 out");
}

#[test]
fn an_answer_that_comes_only_at_the_end_is_no_part_of_what_was_said_on_the_way() {
    let said = r#"{"type":"response.output_text.delta","item_id":"m","output_index":0,"delta":"I look."}"#;
    let item = |phase: &str, text: &str| {
        format!(r#"{{"type":"message","phase":"{phase}","content":[{{"type":"output_text","text":"{text}"}}]}}"#)
    };
    let end = format!(
        r#"{{"type":"response.completed","response":{{"status":"completed","output":[{},{}],"usage":{{"input_tokens":5,"output_tokens":4}}}}}}"#,
        item("commentary", "I look."),
        item("final_answer", "7")
    );
    let reply = stream(8, &[said, &end]).result.unwrap();
    assert_eq!(reply.text, "7");
}
