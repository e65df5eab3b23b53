//! One run in a process of its own, which kills itself at the gate that it was told.
//!
//! `one_run HOME PROVIDER GATE`: the run's home, the address of its provider, and the number of the gate (from 1; each
//! commit has one before and one after) at which the process gets SIGKILL; 0 is never. Never: cleans up, as a killed
//! process does not.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jidoka::doors::clock::Clock;
use jidoka::doors::sqlite::{Probe, SqliteStore};
use jidoka::rules::spec::Dialect;
use jidoka_tests::bench::{self, Home};
use jidoka_tests::crash;
use rustix::process::{Signal, getpid, kill_process};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [home, provider, gate] = arguments.try_into().expect("HOME PROVIDER GATE");
    let gate: u64 = gate.parse().expect("a number");
    let home = Home::of(Path::new(&home));
    let passed = AtomicU64::new(0);
    let probe: Probe = Arc::new(move |_| {
        if passed.fetch_add(1, Ordering::Relaxed) + 1 == gate {
            kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
        }
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let record = runtime.block_on(async {
        let state = home.state();
        let clock = Clock::starting_at(bench::START_MS);
        let store = SqliteStore::open_probed(&bench::open(&state), &state, clock, probe).expect("a store");
        crash::job(bench::http_at(&provider, Dialect::Openai)).at(&home).books(Arc::new(store)).run().await.record
    });
    eprintln!("{}", record.why);
    println!("{}", record.verdict);
}
