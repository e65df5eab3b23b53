//! An agent's loop with a provider that wants its thoughts back: signatures, reasoning, blocks of thoughts.

use std::sync::Arc;

use jidoka::doors::provider::HttpModel;
use jidoka::rules::spec::{Dialect, Provider};
use jidoka_tests::bench::Bench;
use jidoka_tests::plain;
use jidoka_tests::provider::{Behaviour, FakeProvider};

const TURNS: u64 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn ten_turns_with_tools_bring_every_thought_back_as_it_was() {
    for dialect in [Dialect::Openai, Dialect::Anthropic, Dialect::Responses] {
        for stream in [true, false] {
            let fake = FakeProvider::start(vec![Behaviour::Thinks(TURNS)]).await;
            let provider = Provider { stream, ..Provider::new(dialect, fake.url(), "fake") };
            let model = Arc::new(HttpModel::new(&provider, None).unwrap());
            let bench = Bench::new(plain::AGENT).set("task", "text = \"write the files\"").model(model);
            let end = bench.run().await;
            end.expect("accepted");
            assert_eq!(fake.counters().calls, TURNS + 1, "{dialect:?}, stream {stream}");
            let last = format!("{}.txt", TURNS - 1);
            assert_eq!(end.real_file(&last).as_deref(), Some("x"));
            let calls = end.replay().await;
            assert_eq!((calls.divergence, calls.fault), (None, None));
        }
    }
}
