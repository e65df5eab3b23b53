//! One run in a process of its own, which kills itself at the gate that it was told.
//!
//! `one_run HOME PROVIDER GATE SERIAL WAY`: the run's home, the address of its provider, the gate as `NAME:NUMBER` (from 1;
//! `never:0` is none) at which the process gets SIGKILL, the run's serial, and `start`, `resume` or `replay`; with `get-` or
//! `post-` before it, a run that fetches once. Gates are before and
//! after each commit of the store, before the commit that comes once the changes are applied, and before and after each send to
//! the provider. Never: cleans up, as a killed process
//! does not.

use std::path::Path;
use std::sync::Arc;

use jidoka::doors::clock::Clock;
use jidoka::doors::sqlite::{CommitPoint, Probe, SqliteStore};
use jidoka::rules::spec::Dialect;
use jidoka_tests::bench::{self, Home};
use jidoka_tests::crash::{self, Gates};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [home, provider, gate, serial, way] = arguments.try_into().expect("HOME PROVIDER GATE SERIAL WAY");
    let home = Home::of(Path::new(&home));
    let gates = Arc::new(Gates::until(&gate));
    let commits = Arc::clone(&gates);
    let applied = home.workspace().join(format!(".jidoka-apply-{serial}.done"));
    let probe: Probe = Arc::new(move |point| {
        if matches!(point, CommitPoint::Before) && applied.exists() {
            commits.pass("before-verdict");
        }
        commits.pass(match point {
            CommitPoint::Before => "before-commit",
            CommitPoint::After => "after-commit",
        });
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if way == "replay" {
        let replayed = runtime.block_on(async { bench::replay(&bench::runner(&home.state()), &serial, None).await });
        println!("{:?} {:?} {}", replayed.divergence, replayed.fault, replayed.effects);
        return;
    }
    let record = runtime.block_on(async {
        let state = home.state();
        let clock = Clock::starting_at(bench::START_MS);
        let store = SqliteStore::open_probed(&bench::open(&state), &state, clock, probe).expect("a store");
        let (bench, way) = match way.split_once('-') {
            Some((method, way)) => (crash::fetching(&home, method, Arc::clone(&gates)), way),
            None => {
                let provider = bench::http_at(&provider, Dialect::Openai);
                let model = Arc::new(crash::Gated { provider, gates: Arc::clone(&gates) });
                (crash::job(model).at(&home), way.as_str())
            }
        };
        let bench = bench.books(Arc::new(store));
        match way {
            "start" => bench.serial(&serial).run().await.record,
            "resume" => bench.resume(&serial).await.record,
            other => panic!("{other}: no such way"),
        }
    });
    eprintln!("{}", record.why);
    println!("{}", serde_json::to_string(&record).expect("plain data"));
    eprintln!("gates {}", gates.passed());
}
