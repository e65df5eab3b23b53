//! What only the Responses dialect has: nothing is stored at the server, and reasoning is demanded back.

use jidoka::doors::model::{Call, Model as _};
use jidoka::doors::provider::HttpModel;
use jidoka::rules::effect::FailureKind;
use jidoka::rules::model::{Message, Reply, Request, Role, ToolDefinition};
use jidoka::rules::spec::{Dialect, Provider};
use jidoka_tests::provider::{Behaviour, FakeProvider};

fn model(fake: &FakeProvider, name: &str, stream: bool) -> HttpModel {
    let provider = Provider { stream, ..Provider::new(Dialect::Responses, fake.url(), name) };
    HttpModel::new(&provider, None).expect("the address is loopback")
}

fn call(messages: Vec<Message>) -> Call {
    let write = ToolDefinition { name: "write".into(), description: "writes".into(), schema: "{}".into() };
    let (tools, schema) = (vec![write], None);
    let request = Request { model: "main".into(), messages, tools, max_output: 64, min_output: 1, schema };
    Call { id: "call-7".into(), request, max_response_bytes: 1 << 20 }
}

/// A reply as a worker repeats it.
fn repeated(reply: &Reply) -> Message {
    Message {
        tool_calls: reply.tool_calls.clone(),
        provider_state: reply.provider_state.clone(),
        ..Message::new(Role::Assistant, reply.text.clone())
    }
}

#[tokio::test]
async fn reasoning_goes_to_no_other_provider_and_is_missed_by_the_one_that_gave_it() {
    let fakes =
        [FakeProvider::start(vec![Behaviour::Thinks(2)]).await, FakeProvider::start(vec![Behaviour::Thinks(2)]).await];
    let [one, other] = [&fakes[0], &fakes[1]].map(|fake| model(fake, "their-name", true));
    let user = Message::new(Role::User, "look");
    let reply = one.ask(&call(vec![user.clone()])).await.result.expect("it asks for a tool");
    let answer = Message { tool_call_id: Some("call-0".into()), ..Message::new(Role::Tool, "nothing") };
    let messages = vec![user, repeated(&reply), answer];
    assert!(one.ask(&call(messages.clone())).await.result.is_ok());
    let missed = other.ask(&call(messages)).await.result.expect_err("it is another's");
    assert_eq!(missed.kind, FailureKind::Rejected);
    assert!(missed.message.contains("0 reasoning items for 1 calls"), "{missed:?}");
}

#[tokio::test]
async fn a_server_that_refuses_to_be_asked_for_reasoning_is_asked_without_and_from_then_on() {
    let fake = FakeProvider::start(vec![Behaviour::Plain(Box::new(Behaviour::Text("hi".into())))]).await;
    let asked = model(&fake, "their-name", true);
    for calls in [2, 3] {
        let received = asked.ask(&call(vec![Message::new(Role::User, "hello")])).await;
        assert_eq!(received.result.expect("it answers").text, "hi");
        assert_eq!(fake.counters().calls, calls);
    }
    // Known by its name.
    model(&fake, "gpt-4o-mini", true)
        .ask(&call(vec![Message::new(Role::User, "hello")]))
        .await
        .result
        .expect("answers");
    assert_eq!(fake.counters().calls, 4);
}
