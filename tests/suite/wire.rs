//! What `HttpModel` promises against a provider that lies, stalls, cuts, floods and echoes.
//!
//! Each test is one whole exchange over loopback. The provider's own books are the other side of each claim.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jidoka::doors::model::{Call, Model as _, Received};
use jidoka::doors::provider::HttpModel;
use jidoka::doors::secret::Secret;
use jidoka::rules::effect::FailureKind;
use jidoka::rules::model::{Message, Metered, Request, Role, Stop, Usage};
use jidoka::rules::spec::{Dialect, Effort, Provider, WireLimits};
use jidoka_tests::provider::{Behaviour, Counters, FakeProvider};

const DIALECTS: [Dialect; 3] = [Dialect::Openai, Dialect::Anthropic, Dialect::Responses];
const FRAMINGS: [bool; 2] = [true, false];
const KEY: &str = "sk-secret-0123456789";

fn provider(fake: &FakeProvider, dialect: Dialect, stream: bool) -> Provider {
    let limits = WireLimits { idle_ms: 5_000, total_ms: 10_000, ..WireLimits::default() };
    Provider { stream, limits, ..Provider::new(dialect, fake.url(), "their-name") }
}

/// A key as main would read it, from a file of its own.
fn key() -> Secret {
    let path =
        std::env::temp_dir().join(format!("jidoka-wire-key-{}-{:?}", std::process::id(), std::thread::current().id()));
    std::fs::write(&path, format!("{KEY}\n")).expect("the temporary directory is writable");
    let key = Secret::from_file(&path).expect("the key is valid");
    std::fs::remove_file(&path).expect("the file is ours");
    key
}

fn call(max_output: u32) -> Call {
    let message = |role, content: &str| Message::new(role, content);
    let request = Request {
        model: "main".into(),
        messages: vec![message(Role::System, "be brief"), message(Role::User, "hello you")],
        tools: Vec::new(),
        max_output,
        min_output: 1,
        schema: None,
    };
    Call { id: "call-7".into(), request, max_response_bytes: 1 << 20 }
}

async fn ask_with(provider: &Provider, call: &Call) -> Received {
    HttpModel::new(provider, Some(key())).expect("the address is loopback").ask(call).await
}

/// One call of 64 tokens in each dialect, streamed and whole.
async fn everywhere(behaviour: Behaviour, judge: impl Fn(Received, &FakeProvider)) {
    for dialect in DIALECTS {
        for stream in FRAMINGS {
            let fake = FakeProvider::start(vec![behaviour.clone()]).await;
            let received = ask_with(&provider(&fake, dialect, stream), &call(64)).await;
            judge(received, &fake);
        }
    }
}

fn failure(received: &Received) -> (FailureKind, &str) {
    let failure = received.result.as_ref().expect_err("the call was to fail");
    (failure.kind, failure.message.as_str())
}

/// 8 and 9 bytes were said to the model.
const TOKENS_IN: u64 = 5;

fn exact(tokens_in: u64, tokens_out: u64) -> Metered {
    Metered::Exact(Usage::of(tokens_in, tokens_out))
}

#[tokio::test]
async fn an_honest_exchange_costs_what_the_provider_booked() {
    everywhere(Behaviour::Text("hello back".into()), |received, fake| {
        let Counters { tokens_in, tokens_out, bytes_in, bytes_out, output_requested, calls, .. } = fake.counters();
        assert_eq!(received.metered, exact(tokens_in, tokens_out));
        assert_eq!((tokens_in, tokens_out, output_requested, calls), (TOKENS_IN, 3, 64, 1));
        assert_eq!(received.net_bytes, bytes_in + bytes_out);
        assert!(received.raw_usage.is_some());
        let reply = received.result.unwrap();
        assert_eq!((reply.text.as_str(), reply.stop), ("hello back", Stop::End));
    })
    .await;
}

#[tokio::test]
async fn a_reply_at_the_cap_is_cut_by_the_provider_and_no_failure() {
    everywhere(Behaviour::Text("x".repeat(257)), |received, fake| {
        assert_eq!((fake.counters().tokens_out, received.metered), (64, exact(TOKENS_IN, 64)));
        assert_eq!(received.result.unwrap().stop, Stop::MaxOutput);
    })
    .await;
}

#[tokio::test]
async fn a_tool_call_arrives_whole() {
    let arguments = r#"{"path":"a/b.txt","line":7}"#.to_owned();
    everywhere(Behaviour::ToolCall { name: "read".into(), arguments }, |received, _| {
        let reply = received.result.unwrap();
        assert_eq!(reply.stop, Stop::ToolCalls);
        assert_eq!((reply.tool_calls[0].id.as_str(), reply.tool_calls[0].name.as_str()), ("call-a", "read"));
        let arguments: serde_json::Value = serde_json::from_str(&reply.tool_calls[0].arguments).unwrap();
        assert_eq!(arguments, serde_json::json!({ "path": "a/b.txt", "line": 7 }));
    })
    .await;
}

#[tokio::test]
async fn each_call_names_itself_and_carries_the_key_in_its_dialects_headers_only() {
    for dialect in DIALECTS {
        let fake = FakeProvider::start(vec![Behaviour::Text("hi".into())]).await;
        let provider = provider(&fake, dialect, true);
        ask_with(&provider, &call(64)).await;
        HttpModel::new(&provider, None).unwrap().ask(&call(64)).await;
        let [with_key, without] = fake.seen().try_into().unwrap();
        assert_eq!(with_key.header("x-client-request-id"), Some("call-7"));
        assert_eq!(with_key.body["model"], "their-name");
        let headers = |name: &str| with_key.header(name).map(str::to_owned);
        match dialect {
            Dialect::Openai | Dialect::Responses => {
                let path = if dialect == Dialect::Openai { "/v1/chat/completions" } else { "/v1/responses" };
                assert_eq!(with_key.path, path);
                assert_eq!((headers("authorization"), headers("x-api-key")), (Some(format!("Bearer {KEY}")), None));
            }
            Dialect::Anthropic => {
                assert_eq!(with_key.path, "/v1/messages");
                // A server that is not Anthropic's own may want either.
                let both = (Some(format!("Bearer {KEY}")), Some(KEY.to_owned()));
                assert_eq!((headers("authorization"), headers("x-api-key")), both);
                assert_eq!(headers("anthropic-version").as_deref(), Some("2023-06-01"));
            }
        }
        let places = if dialect == Dialect::Anthropic { 2 } else { 1 };
        assert_eq!(with_key.headers.iter().filter(|(_, value)| value.contains(KEY)).count(), places);
        assert!(!without.headers.iter().any(|(name, _)| name == "authorization" || name == "x-api-key"));
    }
}

#[tokio::test]
async fn how_a_model_draws_and_thinks_is_sent_only_if_the_operator_says_so() {
    for dialect in DIALECTS {
        let fake = FakeProvider::start(vec![Behaviour::Text("hi".into())]).await;
        let plain = provider(&fake, dialect, true);
        ask_with(&plain, &call(64)).await;
        let chosen = Provider { temperature_hundredths: Some(70), effort: Some(Effort::High), ..plain };
        ask_with(&chosen, &call(64)).await;
        let [plain, chosen] = fake.seen().try_into().unwrap();
        let effort = |body: &serde_json::Value| match dialect {
            Dialect::Openai => body["reasoning_effort"].clone(),
            Dialect::Responses => body["reasoning"]["effort"].clone(),
            Dialect::Anthropic => body["output_config"]["effort"].clone(),
        };
        assert_eq!(
            (&chosen.body["temperature"], effort(&chosen.body)),
            (&serde_json::json!(0.7), serde_json::json!("high"))
        );
        assert!(plain.body.get("temperature").is_none() && effort(&plain.body).is_null());
    }
}

#[tokio::test]
async fn the_bytes_foretold_are_the_bytes_sent() {
    for dialect in DIALECTS {
        let fake = FakeProvider::start(vec![Behaviour::Text("hi".into())]).await;
        let model = HttpModel::new(&provider(&fake, dialect, true), None).unwrap();
        model.ask(&call(64)).await;
        assert_eq!(model.request_bytes(&call(64).request), fake.counters().bytes_in);
        assert!(model.uses_network());
    }
}

#[tokio::test]
async fn an_overshoot_is_told_as_the_truth() {
    everywhere(Behaviour::Overshoot { text: "hi".into(), tokens_out: 5_000_000_000 }, |received, fake| {
        assert!(received.result.is_ok());
        assert_eq!(received.metered, exact(TOKENS_IN, fake.counters().tokens_out));
    })
    .await;
}

#[tokio::test]
async fn a_reply_without_usage_has_an_unknown_cost() {
    everywhere(Behaviour::OmitUsage("hi".into()), |received, _| {
        assert_eq!((received.result.unwrap().text.as_str(), received.metered), ("hi", Metered::Unknown));
    })
    .await;
}

#[tokio::test]
async fn a_provider_that_stays_silent_is_left_at_the_idle_limit_and_at_the_total_limit() {
    for (idle_ms, total_ms) in [(100, 60_000), (60_000, 100)] {
        let fake = FakeProvider::start(vec![Behaviour::Stall]).await;
        let provider = provider(&fake, Dialect::Openai, true);
        let limits = WireLimits { idle_ms, total_ms, ..provider.limits };
        let begun = Instant::now();
        let received = ask_with(&Provider { limits, ..provider }, &call(64)).await;
        assert_eq!((failure(&received).0, received.metered), (FailureKind::TimedOut, Metered::Unknown));
        let waited = begun.elapsed();
        assert!(waited >= Duration::from_millis(100) && waited < Duration::from_secs(30), "{waited:?}");
        fake.until(|counters| counters.aborted == 1).await;
    }
}

#[tokio::test]
async fn a_dropped_call_closes_its_connection() {
    let fake = FakeProvider::start(vec![Behaviour::Stall]).await;
    let model = HttpModel::new(&provider(&fake, Dialect::Openai, true), None).unwrap();
    let asked = tokio::spawn(async move { model.ask(&call(64)).await });
    fake.until(|counters| counters.calls == 1).await;
    asked.abort();
    fake.until(|counters| counters.aborted == 1).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_has_an_unknown_cost() {
    everywhere(Behaviour::Cut("hello back to you".into()), |received, _| {
        assert_eq!((failure(&received).0, received.metered), (FailureKind::Overloaded, Metered::Unknown));
    })
    .await;
}

#[tokio::test]
async fn an_answer_without_its_terminator_is_whole_if_it_said_why_it_stopped_and_what_it_cost() {
    // In the third the word on both is the terminator.
    for dialect in [Dialect::Openai, Dialect::Anthropic] {
        let fake = FakeProvider::start(vec![Behaviour::NoTerminator("hello back".into())]).await;
        let received = ask_with(&provider(&fake, dialect, true), &call(64)).await;
        assert_eq!(received.metered, exact(TOKENS_IN, 3));
        assert_eq!(received.result.unwrap().text, "hello back");
    }
}

#[tokio::test]
async fn an_endless_stream_is_left_at_the_cap() {
    for dialect in DIALECTS {
        let fake = FakeProvider::start(vec![Behaviour::Endless]).await;
        let received = ask_with(&provider(&fake, dialect, true), &call(64)).await;
        assert_eq!(failure(&received), (FailureKind::Broken, "output ran past the cap of 64 tokens"));
        assert_eq!(received.metered, Metered::Unknown);
        fake.until(|counters| counters.aborted == 1).await;
    }
}

#[tokio::test]
async fn a_body_is_read_up_to_the_lower_of_both_byte_caps() {
    for (of_call, of_provider) in [(16 << 10, 1 << 30), (1 << 30, 16 << 10)] {
        for stream in FRAMINGS {
            let fake = FakeProvider::start(vec![Behaviour::HugeBody(256 << 20)]).await;
            let provider = provider(&fake, Dialect::Openai, stream);
            let limits = WireLimits { max_response_bytes: of_provider, ..provider.limits };
            let call = Call { max_response_bytes: of_call, ..call(64) };
            let received = ask_with(&Provider { limits, ..provider }, &call).await;
            assert_eq!(failure(&received), (FailureKind::Broken, "the response is longer than 16384 bytes"));
            assert_eq!(received.metered, Metered::Unknown);
            fake.until(|counters| counters.aborted == 1).await;
        }
    }
}

#[tokio::test]
async fn a_body_may_have_n_bytes_and_not_n_plus_1() {
    for dialect in DIALECTS {
        for stream in FRAMINGS {
            let fake = FakeProvider::start(vec![Behaviour::Text("hello back".into())]).await;
            let provider = provider(&fake, dialect, stream);
            ask_with(&provider, &call(64)).await;
            let bytes = fake.counters().bytes_out;
            let fits = ask_with(&provider, &Call { max_response_bytes: bytes, ..call(64) }).await;
            assert!(fits.result.is_ok());
            let cut = ask_with(&provider, &Call { max_response_bytes: bytes - 1, ..call(64) }).await;
            assert_eq!(failure(&cut).0, FailureKind::Broken);
        }
    }
}

#[tokio::test]
async fn a_huge_header_is_refused() {
    let fake = FakeProvider::start(vec![Behaviour::HugeHeader(8 << 20)]).await;
    let received = ask_with(&provider(&fake, Dialect::Openai, true), &call(64)).await;
    assert_eq!((failure(&received).0, received.metered), (FailureKind::Broken, Metered::Unknown));
}

#[tokio::test]
async fn a_4xx_and_an_overload_cost_nothing_but_408_and_499_and_any_other_5xx_costs_nobody_knows_what() {
    for (status, kind, metered) in [
        (400, FailureKind::Rejected, exact(0, 0)),
        (429, FailureKind::Overloaded, exact(0, 0)),
        (408, FailureKind::TimedOut, Metered::Unknown),
        (499, FailureKind::Rejected, Metered::Unknown),
        (500, FailureKind::Overloaded, Metered::Unknown),
        (501, FailureKind::Rejected, Metered::Unknown),
        (502, FailureKind::Overloaded, Metered::Unknown),
        (503, FailureKind::Overloaded, exact(0, 0)),
        (529, FailureKind::Overloaded, exact(0, 0)),
        (504, FailureKind::TimedOut, Metered::Unknown),
        (204, FailureKind::Broken, Metered::Unknown),
    ] {
        let fake = FakeProvider::start(vec![Behaviour::Status(status, "no, and that is it".into())]).await;
        let received = ask_with(&provider(&fake, Dialect::Anthropic, true), &call(64)).await;
        assert_eq!((failure(&received).0, received.metered), (kind, metered), "{status}");
        assert!(failure(&received).1.contains(&status.to_string()));
        if status != 204 {
            assert!(failure(&received).1.contains("no, and that is it"));
        }
        assert_eq!(fake.counters().calls, 1, "nothing is retried");
    }
}

#[tokio::test]
async fn a_connection_that_ends_before_an_answer_is_told_from_one_that_breaks_in_it() {
    for behaviour in [Behaviour::HangUp, Behaviour::Reset] {
        everywhere(behaviour, |received, fake| {
            assert_eq!((failure(&received).0, received.metered), (FailureKind::Overloaded, Metered::Unknown));
            assert_eq!(fake.counters().calls, 1);
        })
        .await;
    }
}

#[tokio::test]
async fn an_error_instead_of_a_reply_costs_nothing_and_after_output_nobody_knows_what() {
    let error = r#"{"error":{"message":"Rate limit exceeded","code":429}}"#;
    let whole = Behaviour::Says { status: 200, kind: "application/json", body: error.to_owned() };
    let event = format!("data: {error}\n\n");
    let stream = Behaviour::Says { status: 200, kind: "text/event-stream", body: event.clone() };
    for behaviour in [whole, stream] {
        everywhere(behaviour, |received, _| {
            assert_eq!(failure(&received), (FailureKind::Overloaded, "Rate limit exceeded"));
            assert_eq!(received.metered, exact(0, 0));
        })
        .await;
    }
    let hello = r#"data: {"choices":[{"index":0,"delta":{"content":"Hel"}}]}"#;
    let body = format!("{hello}\n\n{event}");
    let fake = FakeProvider::start(vec![Behaviour::Says { status: 200, kind: "text/event-stream", body }]).await;
    let received = ask_with(&provider(&fake, Dialect::Openai, true), &call(64)).await;
    assert_eq!((failure(&received).0, received.metered), (FailureKind::Overloaded, Metered::Unknown));
}

#[tokio::test]
async fn a_long_complaint_is_cut() {
    let fake = FakeProvider::start(vec![Behaviour::Status(400, "no ".repeat(100_000))]).await;
    let received = ask_with(&provider(&fake, Dialect::Openai, true), &call(64)).await;
    assert!(failure(&received).1.chars().count() <= 501);
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let elsewhere = FakeProvider::start(vec![Behaviour::Text("hi".into())]).await;
    let to = format!("{}/chat/completions", elsewhere.url());
    everywhere(Behaviour::Redirect(to), |received, _| {
        assert_eq!((failure(&received).0, received.metered), (FailureKind::Broken, Metered::Unknown));
    })
    .await;
    assert_eq!(elsewhere.counters().calls, 0);
}

#[tokio::test]
async fn two_choices_are_refused_and_their_usage_is_not_believed() {
    for stream in FRAMINGS {
        let fake = FakeProvider::start(vec![Behaviour::TwoChoices("hi".into())]).await;
        let received = ask_with(&provider(&fake, Dialect::Openai, stream), &call(64)).await;
        assert_eq!(failure(&received), (FailureKind::Broken, "the reply has more than one choice"));
        assert_eq!(received.metered, Metered::Unknown);
    }
}

/// What Bedrock says of usage before a reply.
const INPUT: &str = "x-amzn-bedrock-input-token-count";
const OUTPUT: &str = "x-amzn-bedrock-output-token-count";

#[tokio::test]
async fn usage_in_headers_is_the_cost_of_a_whole_reply_that_says_none_and_never_lowers_another() {
    let with = |counts: [&str; 2], then: Behaviour| {
        let headers = [INPUT, OUTPUT].into_iter().zip(counts.map(str::to_owned)).collect();
        Behaviour::Headers(headers, Box::new(then))
    };
    for dialect in DIALECTS {
        for stream in FRAMINGS {
            let metered = async |behaviour: Behaviour| {
                let fake = FakeProvider::start(vec![behaviour]).await;
                let received = ask_with(&provider(&fake, dialect, stream), &call(64)).await;
                (received.result.is_ok(), received.metered)
            };
            let says_nothing = metered(with(["7", "3"], Behaviour::OmitUsage("hello back".into()))).await.1;
            // Of a stream they came before its end.
            assert_eq!(says_nothing, if stream { Metered::Unknown } else { exact(7, 3) }, "{dialect:?}");
            let text = || Behaviour::Text("hello back".into());
            assert_eq!(metered(with(["7", "1"], text())).await, (true, exact(7, 3)));
            assert_eq!(metered(with(["1", "9"], text())).await, (true, exact(TOKENS_IN, 9)));
        }
    }
}

#[tokio::test]
async fn who_is_not_there_costs_nothing() {
    let fake = FakeProvider::start(vec![Behaviour::Stall]).await;
    // Bound and not listening: nobody else gets the port, and nobody answers on it.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/v1", socket.local_addr().unwrap());
    let provider = Provider { url, ..provider(&fake, Dialect::Openai, true) };
    let received = ask_with(&provider, &call(64)).await;
    assert_eq!((failure(&received).0, received.metered), (FailureKind::Unavailable, exact(0, 0)));
    assert_eq!(received.net_bytes, 0);
    assert!(!failure(&received).1.contains("/v1"), "the address is the operator's: {}", failure(&received).1);
}

#[tokio::test]
async fn what_cannot_be_said_is_not_sent() {
    let fake = FakeProvider::start(vec![Behaviour::Text("hi".into())]).await;
    let provider = provider(&fake, Dialect::Openai, true);
    for call in [call(0), Call { id: "two\r\nlines".into(), ..call(64) }] {
        let received = ask_with(&provider, &call).await;
        assert_eq!((failure(&received).0, received.metered), (FailureKind::Rejected, exact(0, 0)));
    }
    assert_eq!(fake.counters().calls, 0);
}

/// What a subscriber at its most talkative writes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics while logging").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_key_is_in_no_reply_no_failure_and_no_log() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    // The complaint is cut within the key, of which no half may stay.
    let long = format!("{} {KEY}", "x".repeat(460));
    for behaviour in [
        Behaviour::EchoKey,
        Behaviour::EchoKeyInError(401),
        Behaviour::EchoKeyInError(500),
        Behaviour::Status(400, long),
        Behaviour::Cut(KEY.into()),
        Behaviour::HugeHeader(8 << 20),
        Behaviour::Redirect(format!("http://127.0.0.1:1/{KEY}")),
    ] {
        everywhere(behaviour.clone(), |received, fake| {
            assert!(fake.seen()[0].headers.iter().any(|(_, value)| value.contains(KEY)), "the key was sent");
            let told = format!("{received:?}");
            assert!(!told.contains("0123456") && !told.contains("sk-secret"), "{behaviour:?}: {told}");
        })
        .await;
    }
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(log.contains("call-7"), "the log has the call: {log}");
    assert!(!log.contains("sk-secret"), "the log has the key");
}
