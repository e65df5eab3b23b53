//! The run of the crash tests: long enough to pass every kind of gate, and the same in every process.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jidoka::doors::model::{Call, Model, Received};
use jidoka::doors::pace::{Pace, Rates};
use jidoka::rules::model::Request;
use rustix::process::{Signal, getpid, kill_process};

use crate::bench::{Bench, Home};
use crate::plain;
use crate::web::{AT, FakeWeb, Page, grant};

/// The item that the run is an attempt of.
pub const ITEM: &str = "crash";

/// Places where a crash would hurt most, by name, and how often each was passed.
pub struct Gates {
    name: String,
    number: u64,
    passed: Mutex<BTreeMap<&'static str, u64>>,
}

impl Gates {
    /// Gates of which this one, `NAME:NUMBER`, is not passed.
    pub fn until(gate: &str) -> Self {
        let (name, number) = gate.split_once(':').expect("NAME:NUMBER");
        Self { name: name.to_owned(), number: number.parse().expect("a number"), passed: Mutex::default() }
    }

    /// Passes a gate, or dies at it.
    pub fn pass(&self, name: &'static str) {
        let mut passed = self.passed.lock().expect("nobody panicked");
        let number = passed.entry(name).or_default();
        *number += 1;
        if *number == self.number && name == self.name {
            kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
        }
    }

    /// All gates that were passed: `NAME:TIMES`, with spaces between.
    pub fn passed(&self) -> String {
        let passed = self.passed.lock().expect("nobody panicked");
        let words: Vec<String> = passed.iter().map(|(name, times)| format!("{name}:{times}")).collect();
        words.join(" ")
    }
}

/// A provider behind a gate before and a gate after each send.
pub struct Gated {
    pub provider: Arc<dyn Model>,
    pub gates: Arc<Gates>,
}

#[async_trait]
impl Model for Gated {
    fn request_bytes(&self, request: &Request) -> u64 {
        self.provider.request_bytes(request)
    }

    fn uses_network(&self) -> bool {
        self.provider.uses_network()
    }

    async fn ask(&self, call: &Call) -> Received {
        self.gates.pass("before-send");
        let received = self.provider.ask(call).await;
        self.gates.pass("after-send");
        received
    }
}

/// The file in the home of a run that fetches with a line for each request that was sent.
pub const SENT: &str = "sent";

/// One exchange, and evidence that the run came past it. What was sent is written down before the gate.
pub fn fetching(home: &Arc<Home>, method: &str, gates: Arc<Gates>) -> Bench {
    let path = home.dir().join(SENT);
    let web = FakeWeb::new(|_| Page::ok("yes")).before(move || {
        let mut sent = OpenOptions::new().create(true).append(true).open(&path).expect("opens");
        writeln!(sent, "sent").expect("writes");
        gates.pass("after-send");
    });
    let text = format!("{method} {AT}/once\\nattach proof\\ndone ready");
    let bench = Bench::new(plain::SCRIPT).set("task", &format!("text = \"{text}\"")).item(ITEM).at(home);
    bench.web(Arc::new(web), &[grant(&["GET", "POST"], "/")])
}

/// Single calls, batches, marks, evidence, waits and files: over twenty effects. Its calls wait for a pace, so that a
/// reservation is kept before the call is dispatched.
pub fn job(model: Arc<dyn Model>) -> Bench {
    let lines = [
        "ask one",
        "write a.txt first",
        "check-in look",
        "ask-all 3 many",
        "attach proof",
        "left tokens",
        "ask two",
        "write a.txt second",
        "check-in again",
        "attach more proof",
        "sleep 1",
        "ask three",
        "ask-all 2 few",
        "write b/c.txt third",
        "check-in last",
        "ask four",
        "attach proof",
        "ask five",
        "left tokens",
        "write judge pass",
        "ask six",
        "done ready",
    ];
    let rates = Rates { requests_per_minute: NonZeroU32::new(6_000), ..Rates::default() };
    Bench::new(plain::SCRIPT)
        .set("task", &format!("text = \"{}\"", lines.join("\\n")))
        .model(model)
        .check("judge", plain::JUDGE)
        .set("budget.item", "tokens = 50000")
        .set("attempts", "max = 100")
        .pace(Arc::new(Pace::new(rates)))
        .item(ITEM)
}
