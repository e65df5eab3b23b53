//! Attacks on the model door: what was not granted or does not fit the budget never reaches a model.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jidoka::doors::model::{Call, Model, Received};
use jidoka::doors::script::ScriptedModel;
use jidoka::rules::effect::Body;
use jidoka::rules::ledger::Line;
use jidoka::rules::model::Request;
use jidoka::rules::policy::{MAX_BATCH, MAX_MESSAGES, MAX_REQUEST_BYTES, MAX_SCHEMA_BYTES, MAX_TOOLS};
use jidoka_tests::hostile;

use super::*;

fn hello() -> Arc<ScriptedModel> {
    Arc::new(ScriptedModel::parse("[[turn]]\nrepeat = true\ntext = \"hello\"").unwrap())
}

/// A model that was not granted is refused by name, and nothing reaches the one that was.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn model_ungranted() {
    let model = hello();
    let end = Bench::new(hostile::MODEL_UNGRANTED).model(model.clone()).run().await;
    end.expect("no-progress");
    for note in end.notes().into_iter().filter(|note| !note.starts_with("catalogue")) {
        assert!(note.contains("no, refused model") && note.contains("[grants] models"), "{note}");
    }
    assert!(end.notes().contains(&"catalogue [\"model\"]"));
    assert_eq!(model.asked(), 0);
    assert!(end.record.capabilities.used.is_empty());
    assert_eq!(end.record.ledger.attempt.spent.get(Line::ModelCalls), 0);
}

/// A batch holds at N and is refused whole at N + 1.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn model_batch() {
    let model = hello();
    let end = Bench::new(hostile::MODEL_BATCH).model(model.clone()).set("task", &input("cap", MAX_BATCH)).run().await;
    refused(&end, "over");
    assert!(end.notes().contains(&format!("{0} of {0} refused", MAX_BATCH + 1).as_str()), "{:?}", end.notes());
    assert!(end.notes().contains(&format!("{MAX_BATCH} of {MAX_BATCH} heard").as_str()));
    assert_eq!(model.asked(), MAX_BATCH as u64);
    assert_eq!(end.record.ledger.attempt.spent.get(Line::ModelCalls), MAX_BATCH as u64);
}

/// Whatever output is asked for, what goes on the wire fits the budget.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn model_greedy() {
    let model = hello();
    let end = Bench::new(hostile::MODEL_GREEDY).model(model.clone()).set("budget", "tokens-out = 77").run().await;
    for step in ["least above the budget", "nothing", "crossed"] {
        refused(&end, step);
    }
    went_through(&end, "most");
    assert_eq!((model.asked(), model.output_requested()), (1, 77));
}

/// Each part of a request has its cap, tool calls of old messages too: the provider counts them all.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn model_oversize() {
    let model = hello();
    let caps = format!(
        "inputs = {{ bytes = \"{MAX_REQUEST_BYTES}\", messages = \"{MAX_MESSAGES}\", tools = \"{MAX_TOOLS}\", schema = \"{MAX_SCHEMA_BYTES}\" }}"
    );
    let end = Bench::new(hostile::MODEL_OVERSIZE).model(model.clone()).set("task", &caps).run().await;
    end.expect("no-progress");
    nothing_went_through(&end);
    assert!(end.notes().iter().all(|note| note.contains("an argument is larger than its cap")), "{:#?}", end.notes());
    assert_eq!(model.asked(), 0);
    assert!(written_down(&end) < 32 << 10);
}

/// A schema costs the host little, whatever it says: the run goes on or ends, and the host lives.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn schema_bomb() {
    let model = Arc::new(
        ScriptedModel::parse("[[turn]]\nrepeat = true\ntext = '{\"p1\": \"x\"}'\nusage = { in = 9, out = 9 }").unwrap(),
    );
    for bomb in ["one pattern", "many patterns", "itself", "each other", "doubling", "deep", "outside"] {
        let end = Bench::new(hostile::SCHEMA_BOMB)
            .model(model.clone())
            .set("task", &input("bomb", bomb))
            .wall("2s")
            .run()
            .await;
        println!("{bomb}: {} in {:?}: {}", end.record.verdict, end.took, end.notes().first().unwrap_or(&""));
        assert!(["no-progress", "exhausted"].contains(&end.record.verdict.as_str()), "{bomb}: {}", end.record.why);
        assert!(end.took < Duration::from_secs(30), "{bomb} took {:?}", end.took);
    }
}

/// A model that never answers.
struct Silent {
    asked: AtomicU64,
}

#[async_trait::async_trait]
impl Model for Silent {
    fn request_bytes(&self, _: &Request) -> u64 {
        0
    }

    fn uses_network(&self) -> bool {
        false
    }

    async fn ask(&self, _: &Call) -> Received {
        self.asked.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }
}

/// A call that is never answered ends at the deadline, and its whole reservation stays held.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn model_silent() {
    let model = Arc::new(Silent { asked: AtomicU64::new(0) });
    let end = Bench::new(hostile::MODEL_SILENT).model(model.clone()).wall("1s").run().await;
    end.expect("exhausted");
    assert_eq!(end.record.detail["line"], "wall-ms");
    assert_eq!(model.asked.load(Ordering::SeqCst), 1);
    let reserved = end.entries.iter().find_map(|entry| match &entry.body {
        Body::Intent { reserved, .. } => Some(*reserved),
        _ => None,
    });
    let reserved = reserved.unwrap();
    assert_eq!(reserved.get(Line::TokensOut), 100);
    assert_eq!(end.record.ledger.attempt.held, reserved);
    assert_eq!(end.record.ledger.item.held, reserved);
    assert_eq!(end.record.ledger.attempt.spent.get(Line::ModelCalls), 0);
}
