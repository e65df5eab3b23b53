//! Budgets against providers with books of their own: what the verdict says is what the provider counted, and no token
//! beyond a limit is ever asked for.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jidoka::doors::model::{Call, Model, Received};
use jidoka::doors::provider::HttpModel;
use jidoka::doors::rates::RateNews;
use jidoka::doors::secret::Secret;
use jidoka::rules::effect::{Body, Entry};
use jidoka::rules::ledger::Line;
use jidoka::rules::model::{Metered, Reply, Request, Stop, Usage};
use jidoka::rules::spec::{Dialect, KeySource, Provider};
use jidoka_tests::bench::{self, Bench, End, Home, http};
use jidoka_tests::provider::{Behaviour, FakeProvider};
use jidoka_tests::{examples, plain};

const DIALECTS: [Dialect; 3] = [Dialect::Openai, Dialect::Anthropic, Dialect::Responses];

fn told(lines: &[&str]) -> Bench {
    let text = lines.join("\\n");
    Bench::new(plain::SCRIPT).set("task", &format!("text = \"{text}\""))
}

fn spent(end: &End, line: Line) -> u64 {
    end.record.ledger.attempt.spent.get(line)
}

fn held(end: &End, line: Line) -> u64 {
    end.record.ledger.attempt.held.get(line)
}

/// The example asks for a model named `writer`.
fn spender(provider: &FakeProvider, dialect: Dialect, limit: &str) -> Bench {
    let bench = Bench::new(examples::SPENDER).model_named("writer", http(provider, dialect));
    // It asks the same again and again, and has always more to say.
    let bench = bench.set("guards", "pollers = [\"writer\"]").set("guards", "degenerate = 20");
    bench.set("budget", limit).set("task", "text = \"Write one more page of the book that nobody will read.\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spender_is_refused_before_the_call_that_would_pass_the_limit() {
    for dialect in DIALECTS {
        let provider = FakeProvider::start(vec![Behaviour::Text("word ".repeat(2_000))]).await;
        let end = spender(&provider, dialect, "tokens = 2400").run().await;
        end.expect("exhausted");
        assert_eq!(end.record.detail["line"], "tokens");
        let counted = provider.counters();
        assert!(counted.calls >= 3, "{counted:?}");
        assert!(counted.tokens_in + counted.output_requested <= 2_400, "asked for more than the limit: {counted:?}");
        assert_eq!(spent(&end, Line::TokensIn), counted.tokens_in, "{dialect:?}");
        assert_eq!(spent(&end, Line::TokensOut), counted.tokens_out, "{dialect:?}");
        assert_eq!(spent(&end, Line::ModelCalls), counted.calls);
        assert_eq!(held(&end, Line::Tokens), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn money_is_a_limit_like_any_other() {
    let provider = FakeProvider::start(vec![Behaviour::Text("word ".repeat(2_000))]).await;
    // At 2 dollars for a million, 1,000 tokens out cost 2,000 millionths.
    let end = spender(&provider, Dialect::Openai, "usd = \"0.003\"").run().await;
    end.expect("exhausted");
    assert_eq!(end.record.detail["line"], "micro-usd");
    let counted = provider.counters();
    assert!(counted.tokens_in + 2 * counted.output_requested <= 3_000, "{counted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_never_answered_stays_held_in_full() {
    let provider = FakeProvider::start(vec![Behaviour::Stall]).await;
    let end = told(&["ask hello", "done ready"]).model(http(&provider, Dialect::Openai)).wall("2s").run().await;
    end.expect("exhausted");
    assert_eq!(end.record.detail["line"], "wall-ms");
    assert_eq!(held(&end, Line::ModelCalls), 1);
    assert_eq!(held(&end, Line::TokensOut), 100);
    assert_eq!(spent(&end, Line::ModelCalls), 0);
    provider.until(|counters| counters.aborted == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_held_for_the_items_next_attempt_too() {
    let home = Home::new();
    let attempt = |provider: &FakeProvider, hours| {
        let bench = told(&["ask hello", "unable no"]).model(http(provider, Dialect::Openai)).item("one").at(&home);
        bench.set("budget.item", "tokens = 110").hours_later(hours)
    };
    let provider = FakeProvider::start(vec![Behaviour::Cut("half an answer".into())]).await;
    let end = attempt(&provider, 0).run().await;
    end.expect("deferred");
    assert_eq!(provider.counters().calls, 1, "there is no room to ask again");
    assert!(held(&end, Line::Tokens) > 100);
    let provider = FakeProvider::start(vec![Behaviour::Text("fine".into())]).await;
    let end = attempt(&provider, 1).run().await;
    end.expect("exhausted");
    assert_eq!(end.record.detail["scope"], "item");
    assert_eq!(provider.counters().calls, 0, "the item's budget is in doubt, nothing more is asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_usage_is_delivered_and_held() {
    let provider = FakeProvider::start(vec![Behaviour::OmitUsage("hello".into())]).await;
    let end = told(&["ask hi", "write a x", "done ready"]).model(http(&provider, Dialect::Openai)).run().await;
    end.expect("accepted");
    assert!(end.notes().contains(&"hello"));
    assert_eq!(held(&end, Line::TokensOut), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_call_costs_no_tokens_and_a_server_error_is_in_doubt() {
    for (status, in_doubt) in [(400, false), (401, false), (500, true), (502, true)] {
        let provider = FakeProvider::start(vec![Behaviour::Status(status, "no".into())]).await;
        let end = told(&["ask hi", "done ready"]).model(http(&provider, Dialect::Openai)).run().await;
        end.expect(if in_doubt { "deferred" } else { "unable" });
        assert_eq!(held(&end, Line::Tokens) > 0, in_doubt, "{status}");
        assert_eq!(spent(&end, Line::Tokens), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_past_its_cap_is_cut_off_and_held() {
    let provider = FakeProvider::start(vec![Behaviour::Endless]).await;
    let end = told(&["ask hi", "done ready"]).model(http(&provider, Dialect::Anthropic)).run().await;
    end.expect("unable");
    assert_eq!(held(&end, Line::TokensOut), 100);
    provider.until(|counters| counters.aborted == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_on_the_network_are_metered_and_limited() {
    let provider = FakeProvider::start(vec![Behaviour::Text("hello".into())]).await;
    let bench = || told(&["ask hi", "write a x", "done ready"]).model(http(&provider, Dialect::Openai));
    let end = bench().run().await;
    end.expect("accepted");
    let counted = provider.counters();
    assert_eq!(spent(&end, Line::NetBytes), counted.bytes_in + counted.bytes_out);
    let end = bench().set("budget", "net = \"4KiB\"").run().await;
    end.expect("exhausted");
    assert_eq!(end.record.detail["line"], "net-bytes");
    assert_eq!(provider.counters().calls, 1, "not one byte of the second call left");
}

/// A model that looks into the journal on disk at the moment it is asked.
struct Witness {
    state: PathBuf,
    saw: Mutex<Vec<bool>>,
}

#[async_trait]
impl Model for Witness {
    fn request_bytes(&self, _: &Request) -> u64 {
        0
    }

    fn uses_network(&self) -> bool {
        false
    }

    async fn ask(&self, call: &Call) -> Received {
        let (serial, number) = call.id.rsplit_once('-').unwrap();
        let entries = bench::entries(&self.state, serial);
        let intent = |entry: &Entry| matches!(&entry.body, Body::Intent { call, .. } if call.to_string() == number);
        self.saw.lock().unwrap().push(entries.last().is_some_and(intent));
        let reply = Reply::new("seen", vec![], Stop::End);
        let metered = Metered::Exact(Usage::of(1, 1));
        Received { result: Ok(reply), metered, net_bytes: 0, raw_usage: None, rates: RateNews::default() }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_leaves_before_its_intent_is_on_disk() {
    let home = Home::new();
    let witness = Arc::new(Witness { state: home.state(), saw: Mutex::default() });
    let end = told(&["ask one", "ask two", "write a x", "done ready"]).model(witness.clone()).at(&home).run().await;
    end.expect("accepted");
    assert_eq!(*witness.saw.lock().unwrap(), [true, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_reaches_the_provider_and_nobody_else() {
    const KEY: &str = "sk-canary-7f3a9b2c4d";
    for behaviour in [Behaviour::EchoKey, Behaviour::EchoKeyInError(401), Behaviour::EchoKeyInError(500)] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), KEY).unwrap();
        let provider = FakeProvider::start(vec![behaviour]).await;
        let key = KeySource::File(dir.path().join("key"));
        let spec = Provider { key, ..Provider::new(Dialect::Openai, provider.url(), "fake") };
        let model = HttpModel::new(&spec, Some(Secret::from_file(&dir.path().join("key")).unwrap())).unwrap();
        let end = told(&["ask hi", "write a x", "done ready"]).model(Arc::new(model)).run().await;
        assert_eq!(provider.seen()[0].header("authorization"), Some(format!("Bearer {KEY}").as_str()));
        let said = format!("{}{:?}{}", end.journal(), end.entries, serde_json::to_string(&end.record).unwrap());
        assert!(!said.contains(KEY), "{said}");
    }
}
