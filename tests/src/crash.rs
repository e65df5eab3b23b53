//! The run of the crash tests: long enough to pass every kind of gate, and the same in every process.

use std::num::NonZeroU32;
use std::sync::Arc;

use jidoka::doors::model::Model;
use jidoka::doors::pace::{Pace, Rates};

use crate::bench::Bench;
use crate::plain;

/// The item that the run is an attempt of.
pub const ITEM: &str = "crash";

/// Single calls, a batch, marks, evidence and files. Its calls wait for a pace, so that a reservation is kept before the
/// call is dispatched.
pub fn job(model: Arc<dyn Model>) -> Bench {
    let lines = [
        "ask one",
        "write a.txt first",
        "check-in look",
        "ask-all 3 many",
        "attach proof",
        "ask two",
        "write a.txt second",
        "done ready",
    ];
    let rates = Rates { requests_per_minute: NonZeroU32::new(6_000), ..Rates::default() };
    Bench::new(plain::SCRIPT)
        .set("task", &format!("text = \"{}\"", lines.join("\\n")))
        .model(model)
        .set("budget.item", "tokens = 50000")
        .set("attempts", "max = 100")
        .pace(Arc::new(Pace::new(rates)))
        .item(ITEM)
}
