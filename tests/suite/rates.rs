//! What a provider says of its rate, and how it counts a call before it is made: told as it was, whoever says it.
//!
//! Each test is one whole exchange over loopback. The provider's own books are the other side of each claim.

use std::time::{Duration, Instant};

use jidoka::doors::model::{COUNT_RESPONSE_BYTES, Call, Counted, Model as _};
use jidoka::doors::provider::HttpModel;
use jidoka::doors::rates::RateNews;
use jidoka::doors::secret::Secret;
use jidoka::rules::effect::FailureKind;
use jidoka::rules::model::{Message, Request, Role};
use jidoka::rules::spec::{Dialect, Provider, WireLimits};
use jidoka_tests::provider::{Behaviour, Counting, FakeProvider};

const KEY: &str = "sk-secret-0123456789";

fn provider(fake: &FakeProvider, dialect: Dialect) -> Provider {
    let limits = WireLimits { idle_ms: 5_000, total_ms: 10_000, ..WireLimits::default() };
    Provider { limits, ..Provider::new(dialect, fake.url(), "their-name") }
}

/// A key as main would read it, from a file of its own.
fn key() -> Secret {
    let path =
        std::env::temp_dir().join(format!("jidoka-rates-key-{}-{:?}", std::process::id(), std::thread::current().id()));
    std::fs::write(&path, format!("{KEY}\n")).expect("the temporary directory is writable");
    let key = Secret::from_file(&path).expect("the key is valid");
    std::fs::remove_file(&path).expect("the file is ours");
    key
}

fn model(provider: &Provider) -> HttpModel {
    HttpModel::new(provider, Some(key())).expect("the address is loopback")
}

fn call() -> Call {
    let message = |role, content: &str| Message::new(role, content);
    let request = Request {
        model: "main".into(),
        messages: vec![message(Role::System, "be brief"), message(Role::User, "hello you")],
        tools: Vec::new(),
        max_output: 64,
        min_output: 1,
        schema: None,
    };
    Call { id: "call-7".into(), request, max_response_bytes: 1 << 20 }
}

/// 8 and 9 bytes are said to the model.
const TOKENS_IN: u64 = 5;

/// One count by a provider that counts so.
async fn counted(counting: Counting) -> (Counted, FakeProvider) {
    let fake = FakeProvider::start_counting(vec![Behaviour::Text("hi".into())], counting).await;
    let counted = model(&provider(&fake, Dialect::Anthropic)).count(&call()).await;
    (counted.expect("this dialect counts"), fake)
}

/// The kind and the message of a count that fails.
async fn failed(counting: Counting) -> (FailureKind, String) {
    let (counted, fake) = counted(counting).await;
    assert_eq!((fake.counters().calls, fake.counters().counts), (0, 1));
    let failure = counted.result.expect_err("the count was to fail");
    (failure.kind, failure.message)
}

#[tokio::test]
async fn news_of_the_rate_is_read_whatever_the_answer_is() {
    let openai = vec![("x-ratelimit-remaining-tokens", "7".to_owned()), ("x-ratelimit-reset-tokens", "6m0s".into())];
    let anthropic = vec![("anthropic-ratelimit-tokens-remaining", "7".to_owned())];
    let reset = Some(Duration::from_secs(360));
    for (dialect, headers, reset_tokens) in [(Dialect::Openai, openai, reset), (Dialect::Anthropic, anthropic, None)] {
        for behaviour in [
            Behaviour::Text("hi".into()),
            Behaviour::Cut("half an answer".into()),
            Behaviour::Status(429, "slow down".into()),
            Behaviour::Status(529, "overloaded".into()),
        ] {
            let mut headers = headers.clone();
            headers.push(("retry-after", "1.5".into()));
            let fake = FakeProvider::start(vec![Behaviour::Headers(headers, Box::new(behaviour))]).await;
            let received = model(&provider(&fake, dialect)).ask(&call()).await;
            let retry_after = Some(Duration::from_millis(1500));
            let age = received.rates.age;
            let news = RateNews { remaining_tokens: Some(7), reset_tokens, retry_after, age, ..RateNews::default() };
            assert_eq!(received.rates, news, "{received:?}");
            assert!(age < Duration::from_secs(10), "as long as the body took: {age:?}");
        }
        let fake = FakeProvider::start(vec![Behaviour::Text("hi".into())]).await;
        let rates = model(&provider(&fake, dialect)).ask(&call()).await.rates;
        assert_eq!(RateNews { age: Duration::ZERO, ..rates }, RateNews::default());
    }
}

#[tokio::test]
async fn a_count_is_what_the_provider_would_book_and_no_call() {
    let (counted, fake) = counted(Counting::True).await;
    let counters = fake.counters();
    assert_eq!(counted.result, Ok(TOKENS_IN));
    assert_eq!(counted.net_bytes, counters.bytes_in + counters.bytes_out);
    assert_eq!((counters.counts, counters.calls, counters.tokens_in, counters.tokens_out), (1, 0, 0, 0));
    let model = model(&provider(&fake, Dialect::Anthropic));
    assert_eq!(model.count_request_bytes(&call().request), Some(counters.bytes_in));
    model.ask(&call()).await;
    assert_eq!(fake.counters().tokens_in, TOKENS_IN);
    let [count, asked] = fake.seen().try_into().unwrap();
    assert_eq!((count.path.as_str(), asked.path.as_str()), ("/v1/messages/count_tokens", "/v1/messages"));
    for name in ["x-client-request-id", "anthropic-version", "x-api-key", "content-type"] {
        assert!(count.header(name).is_some() && count.header(name) == asked.header(name), "{name}");
    }
    let fields: Vec<&String> = count.body.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["messages", "model", "system"]);
}

#[tokio::test]
async fn a_dialect_that_cannot_count_sends_nothing() {
    let fake = FakeProvider::start(vec![Behaviour::Text("hi".into())]).await;
    let model = model(&provider(&fake, Dialect::Openai));
    assert_eq!(model.count_request_bytes(&call().request), None);
    assert_eq!(model.count(&call()).await, None);
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn what_is_no_count_is_a_failure() {
    assert_eq!(failed(Counting::Says(String::new())).await.0, FailureKind::Overloaded);
    for body in ["{}", "7", "{\"input_tokens\":-7}", "{\"input_tokens\":0}", "data: {\"input_tokens\":7}\n\n"] {
        assert_eq!(failed(Counting::Says(body.into())).await.0, FailureKind::Broken, "{body}");
    }
    for (status, kind) in [(404, FailureKind::Rejected), (429, FailureKind::Overloaded), (504, FailureKind::TimedOut)] {
        let (failed, message) = failed(Counting::Does(Behaviour::Status(status, "no".into()))).await;
        assert_eq!((failed, message), (kind, format!("the provider answered {status}: no")));
    }
}

#[tokio::test]
async fn the_answer_to_a_count_may_have_n_bytes_and_not_n_plus_1() {
    let answer = |bytes: u64| {
        let count = "{\"input_tokens\":7}";
        Counting::Says(format!("{count}{}", " ".repeat(usize::try_from(bytes).unwrap() - count.len())))
    };
    assert_eq!(counted(answer(COUNT_RESPONSE_BYTES)).await.0.result, Ok(7));
    let (kind, message) = failed(answer(COUNT_RESPONSE_BYTES + 1)).await;
    assert_eq!((kind, message.as_str()), (FailureKind::Broken, "the response is longer than 65536 bytes"));
    assert_eq!(failed(Counting::Does(Behaviour::HugeBody(1 << 24))).await.0, FailureKind::Broken);
    // The budget may allow less.
    let fake = FakeProvider::start_counting(vec![Behaviour::Text("hi".into())], answer(101)).await;
    let counted = model(&provider(&fake, Dialect::Anthropic)).count(&Call { max_response_bytes: 100, ..call() }).await;
    let failure = counted.unwrap().result.unwrap_err();
    assert_eq!(failure.message, "the response is longer than 100 bytes");
}

#[tokio::test]
async fn a_count_is_left_at_the_wires_limits() {
    let fake = FakeProvider::start_counting(vec![Behaviour::Text("hi".into())], Counting::Does(Behaviour::Stall)).await;
    let mut provider = provider(&fake, Dialect::Anthropic);
    provider.limits.idle_ms = 100;
    let start = Instant::now();
    let counted = model(&provider).count(&call()).await.unwrap();
    assert_eq!(counted.result.unwrap_err().kind, FailureKind::TimedOut);
    assert_eq!(counted.net_bytes, fake.counters().bytes_in, "what may have left counts");
    assert!(start.elapsed() < Duration::from_secs(4));
    fake.until(|counters| counters.aborted == 1).await;
}

#[tokio::test]
async fn a_count_is_never_redirected() {
    let elsewhere = FakeProvider::start(vec![Behaviour::Text("hi".into())]).await;
    let (kind, message) = failed(Counting::Does(Behaviour::Redirect(elsewhere.url()))).await;
    assert_eq!(
        (kind, message.as_str()),
        (FailureKind::Broken, "the provider answered 307: redirects are never followed")
    );
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn the_key_is_in_no_failure_of_a_count() {
    for counting in [
        Counting::Does(Behaviour::EchoKeyInError(401)),
        Counting::Says(format!("{{\"error\":{{\"message\":\"bad key {KEY}\"}}}}")),
    ] {
        let (kind, message) = failed(counting).await;
        assert_eq!(kind, FailureKind::Rejected);
        assert!(message.contains("[key]") && !message.contains(KEY), "{message}");
    }
}

#[tokio::test]
async fn a_count_that_cannot_be_sent_costs_nothing() {
    let fake = FakeProvider::start(vec![Behaviour::Text("hi".into())]).await;
    let provider = provider(&fake, Dialect::Anthropic);
    let mut unsayable = call();
    unsayable.request.schema = Some("no schema".into());
    let counted = model(&provider).count(&unsayable).await.unwrap();
    assert_eq!((counted.result.unwrap_err().kind, counted.net_bytes), (FailureKind::Rejected, 0));
    assert_eq!(model(&provider).count_request_bytes(&unsayable.request), Some(0));
    assert!(fake.seen().is_empty());
    // Bound and not listening: nobody else gets the port, and nobody answers on it.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let provider = Provider { url: format!("http://{}/v1", socket.local_addr().unwrap()), ..provider };
    let counted = model(&provider).count(&call()).await.unwrap();
    assert_eq!((counted.result.unwrap_err().kind, counted.net_bytes), (FailureKind::Unavailable, 0));
}
