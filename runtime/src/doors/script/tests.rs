//! What a transcript promises to the tests that use it.

use futures_util::FutureExt as _;

use super::*;
use crate::rules::model::{Profile, Role};

fn said(role: Role, content: &str) -> Message {
    Message::new(role, content)
}

fn call(messages: &[&str], max_output: u32) -> Call {
    let messages = messages.iter().map(|content| said(Role::User, content)).collect();
    let request =
        Request { model: "main".into(), messages, tools: Vec::new(), max_output, min_output: 1, schema: None };
    Call { id: "1".into(), request, max_response_bytes: 1 << 20 }
}

fn script(text: &str) -> ScriptedModel {
    ScriptedModel::parse(text).unwrap()
}

/// A script without latency answers at once.
fn ask(model: &ScriptedModel, messages: &[&str], max_output: u32) -> Received {
    model.ask(&call(messages, max_output)).now_or_never().unwrap()
}

fn text(received: &Received) -> &str {
    &received.result.as_ref().unwrap().text
}

fn exact(tokens_in: u64, tokens_out: u64) -> Metered {
    Metered::Exact(Usage::of(tokens_in, tokens_out))
}

/// The part of the text that the error points at.
fn mistake(text: &str) -> (String, &str) {
    let error = ScriptedModel::parse(text).unwrap_err();
    (error.message, &text[error.span.unwrap()])
}

#[test]
fn the_first_fitting_unused_turn_answers_once_and_a_repeating_one_for_ever() {
    let model = script(
        r#"
        [[turn]]
        when = { last-contains = "b" }
        text = "last"
        [[turn]]
        when = { contains = "a", last-contains = "c" }
        text = "both"
        [[turn]]
        text = "any"
        repeat = true
        "#,
    );
    assert_eq!(text(&ask(&model, &["a", "b"], 9)), "last");
    assert_eq!(text(&ask(&model, &["a", "b"], 9)), "any");
    assert_eq!(text(&ask(&model, &["x", "c"], 9)), "any");
    assert_eq!(text(&ask(&model, &["a", "c"], 9)), "both");
    assert_eq!(text(&ask(&model, &["a", "c"], 9)), "any");
    assert_eq!((model.asked(), model.output_requested()), (5, 45));
}

#[test]
fn a_request_without_a_turn_is_rejected_with_its_last_message_and_counted() {
    let model = script("[[turn]]\ntext = \"once\"");
    ask(&model, &["one"], 9);
    let received = ask(&model, &["one", &"two ".repeat(40)], 9);
    let failure = received.result.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Rejected);
    assert!(failure.message.starts_with("the transcript has no turn for this request: message 2 of 2 "));
    assert!(failure.message.contains("two two") && failure.message.len() < 200, "{}", failure.message);
    assert_eq!(received.metered, exact(0, 0));
    assert_eq!(model.asked(), 2);
}

#[test]
fn usage_that_a_turn_does_not_state_is_the_same_each_time_and_within_the_bound() {
    let model = script("[[turn]]\ntext = \"12345\"\nrepeat = true");
    let profile = Profile {
        window: 1000,
        max_output: 100,
        price: None,
        norm_factor_milli: 1000,
        request_overhead: 0,
        tools_overhead: 0,
        message_overhead: 0,
    };
    for content in ["", "1", "12345", "a longer message"] {
        let call = call(&[content], 9);
        let bound = profile.bound(&call.request).unwrap();
        let Metered::Exact(usage) = ask(&model, &[content], 9).metered else { unreachable!() };
        assert_eq!(usage, Usage::of((content.len() as u64).div_ceil(4), 2));
        assert!(usage.tokens_in <= bound.tokens_in && usage.tokens_out <= bound.tokens_out);
    }
}

#[test]
fn text_of_n_tokens_is_whole_and_of_n_plus_1_is_cut_and_counted_as_the_cap() {
    let model = script("[[turn]]\ntext = \"12345678\"\nrepeat = true");
    let whole = ask(&model, &[""], 2);
    assert_eq!((text(&whole), whole.metered), ("12345678", exact(0, 2)));
    let cut = ask(&model, &[""], 1);
    assert_eq!((text(&cut), cut.metered), ("1234", exact(0, 1)));
    assert_eq!(cut.result.unwrap().stop, Stop::MaxOutput);
}

#[test]
fn stated_usage_is_taken_as_it_is_up_to_the_cap() {
    let model = script("[[turn]]\ntext = \"hi\"\nusage = { in = 70, out = 30 }\nrepeat = true");
    let whole = ask(&model, &[""], 30);
    assert_eq!((whole.result.unwrap().stop, whole.metered), (Stop::End, exact(70, 30)));
    let cut = ask(&model, &[""], 29);
    assert_eq!((cut.result.unwrap().stop, cut.metered), (Stop::MaxOutput, exact(70, 29)));
}

#[test]
fn an_overshoot_is_always_more_than_was_asked_for() {
    let model = script("[[turn]]\ntext = \"hi\"\nfault = \"overshoot\"\nrepeat = true");
    assert_eq!(ask(&model, &[""], 30).metered, exact(0, 31));
    let model = script("[[turn]]\ntext = \"hi\"\nusage = { out = 900 }\nfault = \"overshoot\"");
    let received = ask(&model, &[""], 30);
    assert_eq!((text(&received), received.metered), ("hi", exact(0, 900)));
}

#[test]
fn each_fault_fails_as_the_wire_would() {
    for (fault, kind, metered) in [
        ("unavailable", FailureKind::Unavailable, exact(0, 0)),
        ("overloaded", FailureKind::Overloaded, exact(0, 0)),
        ("timed-out", FailureKind::TimedOut, Metered::Unknown),
        ("rejected", FailureKind::Rejected, exact(0, 0)),
        ("cut", FailureKind::Broken, Metered::Unknown),
    ] {
        let received = ask(&script(&format!("[[turn]]\nfault = {fault:?}")), &[""], 9);
        assert_eq!((received.result.unwrap_err().kind, received.metered), (kind, metered), "{fault}");
    }
    let received = ask(&script("[[turn]]\ntext = \"hi\"\nfault = \"no-usage\""), &[""], 9);
    assert_eq!((text(&received), received.metered), ("hi", Metered::Unknown));
    let received = ask(&script("[[turn]]\ntext = \"too long\"\nfault = \"rejected\""), &[""], 9);
    assert_eq!(received.result.unwrap_err().message, "too long");
}

#[test]
fn tool_calls_have_arguments_from_a_table_or_from_text_and_ids_of_their_own() {
    let model = script(
        r#"
        [[turn]]
        tool-calls = [
            { name = "add", arguments = { b = [1, 2.5, true], a = "x" } },
            { name = "add", arguments = "not json" },
            { name = "now" },
        ]
        repeat = true
        "#,
    );
    let reply = ask(&model, &["a"], 99).result.unwrap();
    let arguments: Vec<&str> = reply.tool_calls.iter().map(|call| call.arguments.as_str()).collect();
    assert_eq!(arguments, [r#"{"a":"x","b":[1,2.5,true]}"#, "not json", "{}"]);
    assert_eq!((reply.stop, reply.tool_calls[1].id.as_str()), (Stop::ToolCalls, "call-1-1"));
    let later = ask(&model, &["a", "b"], 99).result.unwrap();
    assert_eq!(later.tool_calls[1].id, "call-2-1");
    let cut = ask(&model, &["a"], 1).result.unwrap();
    assert_eq!((cut.tool_calls.len(), cut.stop), (0, Stop::MaxOutput));
}

#[tokio::test]
async fn a_turn_with_latency_does_not_answer_at_once() {
    for latency in ["30000ms", "30s"] {
        let model = script(&format!("[[turn]]\ntext = \"late\"\nlatency = {latency:?}"));
        assert!(model.ask(&call(&[""], 9)).now_or_never().is_none());
    }
    let model = script("[[turn]]\ntext = \"soon\"\nlatency = \"1ms\"");
    assert_eq!(text(&model.ask(&call(&[""], 9)).await), "soon");
}

#[test]
fn a_script_uses_no_network() {
    let model = script("[[turn]]\ntext = \"hi\"");
    assert!(!model.uses_network());
    assert_eq!(model.request_bytes(&call(&["a"], 9).request), 0);
    assert_eq!(ask(&model, &["a"], 9).net_bytes, 0);
}

#[test]
fn a_mistake_in_a_transcript_is_pointed_at() {
    let (message, place) = mistake("[[turn]]\ntext = \"a\"\nlatency = \"5 minutes\"");
    assert!(message.contains("no duration") && place == "\"5 minutes\"", "{message} at {place}");
    let (message, place) = mistake("[[turn]]\ntetx = \"a\"");
    assert!(message.contains("tetx") && message.contains("tool-calls") && place == "tetx", "{message} at {place}");
    let (message, place) = mistake("[[turn]]\nfault = \"slow\"");
    assert!(message.contains("overshoot") && place == "\"slow\"", "{message} at {place}");
    let (message, _) = mistake("[[turn]]\ntext = \"a\"\nusage = { out = -1 }");
    assert!(message.contains("-1"), "{message}");
    let (message, _) = mistake("[[turn]]\ntool-calls = [{ name = \"a\", arguments = 7 }]");
    assert!(message.contains("table or a text"), "{message}");
    let (message, place) = mistake("[[turn]]\ntext = \"a\"\n\n[[turn]]\nrepeat = true\n");
    assert!(message.contains("needs `text`") && place.contains("[[turn]]"), "{message} at {place:?}");
}
