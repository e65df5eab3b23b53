//! A run as a person follows it: its entries as they come, an interrupt, and the verdict.
//!
//! Never: decides about a run. An interrupt stops the run, not the host: the verdict is still written.

use std::collections::BTreeMap;

use anyhow::Context;

use crate::rules::ledger::Line;
use crate::rules::verdict::Stop;
use crate::run::runner::RunHandle;

use super::load::LoadError;
use super::machine::Machine;
use super::screen::{self, Screen};
use super::terminal::say;

/// Exit code of a second interrupt: as a shell reports the signal.
const INTERRUPTED: i32 = 130;

/// Waits for somebody to interrupt the process. `None`: the machine cannot tell.
pub(super) async fn interrupt() -> Option<&'static str> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok()?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.ok().map(|()| "interrupted on the terminal"),
        terminated = terminate.recv() => terminated.map(|()| "asked to terminate"),
    }
}

/// Shows a run as it goes on, stops it at an interrupt, and tells its verdict.
pub(super) async fn follow(
    machine: &dyn Machine,
    mut handle: RunHandle,
    limits: BTreeMap<Line, u64>,
    json: bool,
) -> Result<u8, LoadError> {
    let cord = handle.cord();
    let interrupts = tokio::spawn(async move {
        // The first interrupt stops the run, not the host: the verdict is still written. A second one ends the process.
        let mut second = false;
        while let Some(reason) = interrupt().await {
            if second {
                std::process::exit(INTERRUPTED);
            }
            second = true;
            eprintln!("{reason}: the run is given up, and `jidoka resume` lets it go on");
            cord.pull(Stop::Cancelled);
        }
    });
    let mut screen = Screen::new(limits);
    while let Some(entry) = handle.next_entry().await {
        if !json {
            for line in screen.entry(&entry) {
                eprintln!("{line}");
            }
        }
    }
    let record = handle.verdict().await.context("wait for the verdict")?;
    interrupts.abort();
    if json {
        say!("{}", serde_json::to_string_pretty(&record).context("write the verdict")?);
    } else {
        say!("{}", screen::verdict(&record, &machine.state_dir().display().to_string()));
    }
    Ok(record.exit_code)
}
