//! A run as a person follows it: its entries as they come, what interrupts it, and the verdict.
//!
//! Never: decides about a run. The first signal stops the run, not the host: the verdict is still written. A second one before
//! the verdict ends the process at once, unless it is a hangup: a terminal that goes away sends several. Invariant here: once a
//! run has its verdict, no signal changes the exit code.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::{pending, select_all};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::rules::effect::Entry;
use crate::rules::ledger::Line;
use crate::rules::record::Record;
use crate::rules::verdict::Stop;
use crate::run::runner::RunHandle;

use super::load::LoadError;
use super::machine::Machine;
use super::screen::{self, Screen};
use super::terminal::{Spinner, note, say};

/// A signal that asks the process to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interrupt {
    /// What happened.
    pub what: &'static str,
    /// As a shell reports the signal.
    pub exit_code: u8,
    /// Whether a person, or a supervisor, means it. A terminal that goes away sends its signal more than once.
    is_meant: bool,
}

/// The signals that ask the process to end, from when this is made.
pub(super) struct Interrupts(Vec<(Signal, Interrupt)>);

impl Interrupts {
    /// Listens. What the process was told to ignore when it started, as `nohup` does with a hangup, stays ignored; an
    /// interrupt and a termination are asked for by name.
    pub(super) fn listen(machine: &dyn Machine) -> Self {
        let kinds = [
            (SignalKind::interrupt(), "interrupted", false),
            (SignalKind::terminate(), "asked to terminate", false),
            (SignalKind::hangup(), "the terminal is gone", true),
            (SignalKind::quit(), "asked to quit", true),
        ];
        let heeded = kinds.into_iter().filter(|(kind, _, may_be_ignored)| {
            !may_be_ignored || !machine.ignored_signals().contains(&kind.as_raw_value())
        });
        let listening = heeded.filter_map(|(kind, what, _)| {
            let exit_code = 128_u8.saturating_add(u8::try_from(kind.as_raw_value()).unwrap_or(0));
            let is_meant = kind != SignalKind::hangup();
            // One that the machine cannot listen for ends the process as ever.
            Some((signal(kind).ok()?, Interrupt { what, exit_code, is_meant }))
        });
        Self(listening.collect())
    }

    /// Waits for the first signal. From then on the next one ends the process at once, unless it is a hangup.
    pub(super) async fn first(mut self) -> Interrupt {
        let first = self.next().await;
        tokio::spawn(async move { std::process::exit(self.again().await.exit_code.into()) });
        first
    }

    /// Waits for a signal that is no hangup.
    async fn again(&mut self) -> Interrupt {
        loop {
            let signal = self.next().await;
            if signal.is_meant {
                return signal;
            }
        }
    }

    async fn next(&mut self) -> Interrupt {
        if self.0.is_empty() {
            return pending().await;
        }
        let received = self.0.iter_mut().map(|(signal, interrupt)| {
            Box::pin(async move {
                signal.recv().await;
                *interrupt
            })
        });
        select_all(received).await.0
    }
}

/// Does something that can be given up at any point, until it is done or a signal comes. What it had begun to make is gone
/// with it.
pub(super) async fn unless_interrupted(
    machine: &dyn Machine,
    work: impl Future<Output = Result<u8, LoadError>>,
) -> Result<u8, LoadError> {
    let interrupted = tokio::spawn(Interrupts::listen(machine).first());
    tokio::select! {
        biased;
        done = work => done,
        Ok(Interrupt { what, exit_code, .. }) = interrupted => {
            note!("{what}: given up");
            Ok(exit_code)
        }
    }
}

/// How long the process stays after a signal and the verdict of its run: for its last words, which wait for a slow reader of
/// stderr and for a store that is busy, and not for a reader of stdout that reads nothing.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Waits for a run's verdict and shows each entry; a signal stops the run.
pub(super) async fn until_verdict(
    machine: &dyn Machine,
    mut handle: RunHandle,
    interrupts: Interrupts,
    mut show: impl FnMut(&Entry),
) -> anyhow::Result<Record> {
    let (cord, (over, mut ended)) = (handle.cord(), watch::channel(None));
    tokio::spawn(async move {
        let mut interrupts = interrupts;
        let Interrupt { what, .. } = interrupts.next().await;
        if ended.borrow().is_none() {
            note!("{what}: the run is being stopped; once more ends the process at once");
            cord.pull(Stop::Cancelled);
        }
        let verdict = tokio::select! {
            biased;
            verdict = ended.wait_for(Option::is_some) => verdict.ok().and_then(|code| *code),
            again = interrupts.again() => std::process::exit(again.exit_code.into()),
        };
        if let Some(exit_code) = verdict {
            // A reader of stdout that takes nothing keeps the process for a moment only.
            tokio::time::sleep(LAST_WORDS).await;
            std::process::exit(i32::from(exit_code));
        }
    });
    while let Some(entry) = handle.next_entry().await {
        show(&entry);
    }
    let record = handle.verdict().await.context("wait for the verdict")?;
    over.send_replace(Some(record.exit_code));
    // Only what is so when it is said: a run that its worker ended, or one that left a call in the air, does not go on.
    if record.exit_code != 0
        && let Some(commands) = way_on(machine, &record.serial).await
    {
        note!("to go on: {commands}");
    }
    Ok(record)
}

async fn way_on(machine: &dyn Machine, serial: &str) -> Option<String> {
    machine.desk().ok()?.next(serial).await.ok()?.commands(serial)
}

/// Shows a run as it goes on, stops it at a signal, and shows its verdict.
pub(super) async fn follow(
    machine: &dyn Machine,
    handle: RunHandle,
    interrupts: Interrupts,
    limits: BTreeMap<Line, u64>,
    json: bool,
) -> Result<u8, LoadError> {
    let mut screen = Screen::new(limits);
    let show = |entry: &Entry| {
        if !json {
            screen.entry(entry).iter().for_each(|line| note!("{line}"));
        }
    };
    let applied = tokio::spawn(show_applied(handle.cord().applied(), json));
    let record = until_verdict(machine, handle, interrupts, show).await;
    applied.abort();
    let record = record?;
    if json {
        say!("{}", serde_json::to_string_pretty(&record).context("write the verdict")?);
    } else {
        say!("{}", screen::verdict(&record, &machine.state_dir().display().to_string()));
    }
    Ok(record.exit_code)
}

/// Changes to the disk from which on an apply takes long enough that a person wants to see how far it is.
const LONG_APPLY: u64 = 1_000;

/// Shows how far the changes of a run are applied, if that takes long, and takes the line away again.
async fn show_applied(mut applied: watch::Receiver<(u64, u64)>, quiet: bool) {
    let mut spinner = None;
    while applied.changed().await.is_ok() {
        let (made, total) = *applied.borrow_and_update();
        if total >= LONG_APPLY {
            let spinner = spinner.get_or_insert_with(|| Spinner::new(quiet));
            spinner.say(&format!("applying: {}%", made * 100 / total));
            if made == total {
                spinner.end();
            }
        }
    }
}
