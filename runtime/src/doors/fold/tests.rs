//! What holds for every dialect: cuts, ends, zeros, bounds.

mod mutations;
mod rows;

use super::*;
use crate::rules::model::{Part, Usage};

/// The outcome of a body, which must be the same for pieces of 1, 2, 3, ... bytes and for one piece.
pub fn folded(dialect: Dialect, max_output: u32, body: &str) -> Folded {
    let in_pieces = |size: usize| {
        let mut fold = Fold::new(dialect, "one", max_output);
        for piece in body.as_bytes().chunks(size) {
            if fold.push(piece).is_break() {
                break;
            }
        }
        fold.finish()
    };
    let whole = in_pieces(body.len().max(1));
    for size in [1, 2, 3, 5, 17, 64] {
        assert_eq!(in_pieces(size), whole, "in pieces of {size}");
    }
    whole
}

/// A whole outcome in a line: text, calls, stop, usage.
pub fn shown(dialect: Dialect, max_output: u32, body: &str) -> String {
    let Folded { result, metered, .. } = folded(dialect, max_output, body);
    let said = match result {
        Ok(Reply { text, tool_calls, stop, .. }) => {
            let calls = tool_calls.iter().map(|call| format!(" {}:{}({})", call.id, call.name, call.arguments));
            let stop = serde_json::to_value(stop).unwrap();
            format!("{}{} · {}", text.escape_debug(), calls.collect::<String>(), stop.as_str().unwrap())
        }
        Err(failure) => format!("{:?}: {}", failure.kind, failure.message),
    };
    match metered {
        Metered::Exact(usage) => format!("{said} · {}", cost(usage)),
        Metered::Unknown => format!("{said} · unknown"),
    }
}

/// A cost, with what of it has a price of its own, which is within the whole.
fn cost(Usage { tokens_in, tokens_out, part }: Usage) -> String {
    let Part { cached, written, written_hour, reasoning } = part;
    assert!(cached + written + written_hour <= tokens_in && reasoning <= tokens_out, "{part:?} of {tokens_in}");
    let side = |whole: u64, name: &str, parts: &[(u64, &str)]| {
        let parts = parts.iter().filter(|(tokens, _)| *tokens > 0).map(|(tokens, name)| format!("{tokens} {name}"));
        match parts.collect::<Vec<_>>().join(", ") {
            parts if parts.is_empty() => format!("{whole} {name}"),
            parts => format!("{whole} {name} ({parts})"),
        }
    };
    let input = side(tokens_in, "in", &[(cached, "cached"), (written, "written"), (written_hour, "written-hour")]);
    format!("{input} {}", side(tokens_out, "out", &[(reasoning, "reasoning")]))
}

/// Holds if the outcome is that the answer broke off.
pub fn is_broken_off(folded: &Folded) {
    let failure = folded.result.as_ref().unwrap_err();
    assert_eq!(failure.kind, crate::rules::effect::FailureKind::Overloaded, "{failure:?}");
    assert!(failure.message.contains("ended without its terminator"), "{failure:?}");
}

/// The message of an outcome that is broken.
pub fn broken_message(folded: &Folded) -> &str {
    let failure = folded.result.as_ref().unwrap_err();
    assert_eq!(failure.kind, crate::rules::effect::FailureKind::Broken, "{failure:?}");
    &failure.message
}

#[test]
fn any_prefix_of_a_reply_is_broken_and_costs_nobody_knows_what_until_its_end_is_known() {
    let openai = concat!(
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\n",
        "data: [DONE]\n\n"
    );
    let anthropic = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\n",
        "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n",
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":1}}\n\n",
        "data: {\"type\":\"message_stop\"}\n\n"
    );
    for (dialect, body, last) in
        [(Dialect::Openai, openai, "\"prompt_tokens\""), (Dialect::Anthropic, anthropic, "\"message_delta\"")]
    {
        let last_word = body.find(last).unwrap();
        // From here on the last word is there, and a clean close is an end.
        let known_from = last_word + body[last_word..].find("\n\n").unwrap();
        // What is cut within its terminator is no clean close.
        let terminator = body.rfind("data: ").unwrap() + "data: ".len()..body.len() - "\n\n".len();
        for end in 0..body.len() {
            let folded = folded(dialect, 8, &body[..end]);
            let is_known = end >= known_from;
            let is_whole = is_known && (!terminator.contains(&end) || end == terminator.start);
            let came = (folded.result.is_ok(), folded.metered != Metered::Unknown);
            assert_eq!(came, (is_whole, is_known), "{dialect:?} {end}");
        }
        assert_eq!(folded(dialect, 8, body).result.unwrap().text, "Hi");
    }
}

#[test]
fn a_cut_is_told_as_the_caller_tells_it_unless_a_rule_was_broken_before() {
    let timed_out = Failure { kind: crate::rules::effect::FailureKind::TimedOut, message: "too late".into() };
    let fold = Fold::new(Dialect::Openai, "one", 8);
    assert_eq!(fold.cut(timed_out.clone()).result, Err(timed_out.clone()));
    let mut fold = Fold::new(Dialect::Openai, "one", 8);
    assert!(fold.push(b"data: nonsense\n\n").is_break());
    assert!(broken_message(&fold.cut(timed_out)).contains("not of its dialect"));
}

#[test]
fn what_comes_after_the_terminator_is_not_read() {
    let mut fold = Fold::new(Dialect::Anthropic, "one", 8);
    let body = b"data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\ndata: {\"type\":\"message_stop\"}\n\nnonsense";
    assert!(fold.push(body).is_break());
    assert!(fold.push(b"data: nonsense\n\n").is_break());
    assert!(fold.finish().result.is_ok());
}

#[test]
fn a_server_that_does_not_count_says_zero_and_that_is_no_usage() {
    let metered = |dialect: Dialect, body: &str| folded(dialect, 8, body).metered;
    let exact = |tokens_in, tokens_out| Metered::Exact(Usage::of(tokens_in, tokens_out));
    let openai = |message: &str, tokens_in: u64, tokens_out: u64| {
        let usage = format!(r#"{{"prompt_tokens":{tokens_in},"completion_tokens":{tokens_out}}}"#);
        let body = format!(r#"{{"choices":[{{"message":{message},"finish_reason":"stop"}}],"usage":{usage}}}"#);
        metered(Dialect::Openai, &body)
    };
    let text = r#"{"content":"Hi"}"#;
    let call = r#"{"tool_calls":[{"id":"a","function":{"name":"look","arguments":""}}]}"#;
    for message in [text, call] {
        assert_eq!(openai(message, 5, 1), exact(5, 1));
        assert_eq!(openai(message, 0, 0), Metered::Unknown);
        assert_eq!(openai(message, 0, 1), Metered::Unknown);
        assert_eq!(openai(message, 5, 0), Metered::Unknown);
    }
    assert_eq!(openai(r#"{"content":""}"#, 5, 0), exact(5, 0));
    // What aimock 1.43.0 sends for a fixture without usage.
    let anthropic = concat!(
        "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":0,\"output_tokens\":0}}}\n\n",
        "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n",
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":0}}\n\n",
        "data: {\"type\":\"message_stop\"}\n\n"
    );
    assert_eq!(metered(Dialect::Anthropic, anthropic), Metered::Unknown);
}

#[test]
fn events_without_output_cannot_go_on_for_ever() {
    let ping = "data: {\"type\":\"ping\"}\n\n";
    let most = usize::try_from(2 * 8 + SPARE_EVENTS).unwrap();
    let push = |count: usize| {
        let mut fold = Fold::new(Dialect::Anthropic, "one", 8);
        fold.push(ping.repeat(count).as_bytes())
    };
    assert!(push(most).is_continue());
    assert!(push(most + 1).is_break());
}

#[test]
fn a_header_is_a_cost_of_a_whole_reply_and_only_a_least_one_of_a_stream() {
    let metered = |names: [&'static str; 2], dialect: Dialect, counts: [&str; 2], body: &str| {
        let mut headers = HeaderMap::new();
        for (name, count) in names.into_iter().zip(counts) {
            headers.insert(name, count.parse().unwrap());
        }
        let mut fold = Fold::new(dialect, "one", 8).with_headers(&headers);
        let _ = fold.push(body.as_bytes());
        fold.finish().metered
    };
    let exact = |tokens_in, tokens_out| Metered::Exact(Usage::of(tokens_in, tokens_out));
    let chat = r#"{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]USAGE}"#;
    let messages = r#"{"type":"message","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn"USAGE}"#;
    let streamed =
        "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]USAGE}\n\ndata: [DONE]\n\n";
    let of_chat = r#","usage":{"prompt_tokens":5,"completion_tokens":9}"#;
    let of_messages = r#","usage":{"input_tokens":5,"output_tokens":9}"#;
    let broken = r#","usage":{"prompt_tokens":"many","input_tokens":"many"}"#;
    for names in [
        ["x-amzn-bedrock-input-token-count", "x-amzn-bedrock-output-token-count"],
        ["x-prompt-tokens", "x-generated-tokens"],
    ] {
        for (dialect, body, usage) in [
            (Dialect::Openai, chat, of_chat),
            (Dialect::Anthropic, messages, of_messages),
            (Dialect::Openai, streamed, of_chat),
        ] {
            let [with, without, unread] = [usage, "", broken].map(|usage| body.replace("USAGE", usage));
            let is_whole = body != streamed;
            assert_eq!(metered(names, dialect, ["7", "2"], &with), exact(7, 9));
            assert_eq!(metered(names, dialect, ["3", "12"], &with), exact(5, 12));
            let alone = if is_whole { exact(7, 2) } else { Metered::Unknown };
            assert_eq!(metered(names, dialect, ["7", "2"], &without), alone, "{body}");
            assert_eq!(metered(names, dialect, ["7", "0"], &without), Metered::Unknown);
            assert_eq!(metered(names, dialect, ["7", "2"], &unread), Metered::Unknown);
        }
        let error = r#"{"error":{"message":"busy"}}"#;
        assert_eq!(metered(names, Dialect::Openai, ["7", "2"], error), Metered::Unknown);
        assert_eq!(metered(names, Dialect::Openai, ["0", "0"], error), exact(0, 0));
    }
}
