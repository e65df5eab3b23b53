//! A process that dispatches runs of one line until it is told to stop, or pulls its line and dies in the middle.
//!
//! `dispatcher HOME PROVIDER LINE WAY`: `run` starts run after run, prints each verdict, and ends when HOME/stop exists or
//! after a hundred; `pull` and `ask` start a run whose worker pulls the cord, or asks a person, on item `one` with the serial
//! `first`, and kill themselves as soon as the journal says that it stopped.

use std::path::Path;

use jidoka::rules::effect::Body;
use jidoka::rules::spec::Dialect;
use jidoka_tests::bench::{self, Bench, Home};
use jidoka_tests::plain;

/// Runs of one process, so that it ends by itself.
const MOST_RUNS: u32 = 100;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [home, provider, line, way] = arguments.try_into().expect("HOME PROVIDER LINE WAY");
    let home = Home::of(Path::new(&home));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let lines = match way.as_str() {
        "run" => format!("ask {line}\\nattach {{}}\\ndone ready"),
        "pull" => "write a x\\npull the floor is wet".to_owned(),
        "ask" => "write a x\\nhuman may I?\\ndone ready".to_owned(),
        other => panic!("{other}: no such way"),
    };
    runtime.block_on(async {
        for number in 0..MOST_RUNS {
            let text = lines.replace("{}", &format!("{} {number}", std::process::id()));
            let bench = Bench::new(plain::SCRIPT)
                .set("task", &format!("text = \"{text}\""))
                .set("", &format!("line = \"{line}\""))
                .model(bench::http_at(&provider, Dialect::Openai))
                .at(&home)
                .no_apply();
            if way != "run" {
                let bench = bench.set("grants", "human = true").set("human", "deadline = \"24h\"").item("one");
                bench
                    .serial("first")
                    .watch(|entry| {
                        if matches!(entry.body, Body::Stopped { .. }) {
                            let me = rustix::process::getpid();
                            rustix::process::kill_process(me, rustix::process::Signal::KILL).expect("is alive");
                        }
                    })
                    .await;
                panic!("it outlived its end");
            }
            println!("{}", bench.run().await.record.verdict);
            if home.dir().join("stop").exists() {
                break;
            }
        }
    });
}
