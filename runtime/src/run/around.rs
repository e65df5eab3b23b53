//! What the operator has done around a run: hooks before it, after it, and at each pull of its line.
//!
//! Never: changes a verdict, spends of a run's budget. Invariants here: a run begins only if every hook before it says yes in
//! its time, and one that was refused costs no attempt; a hook that runs out of its time stops the line.

use std::sync::Arc;

use crate::doors::state::RunDir;
use crate::rules::andon::{Pull, Pulled};
use crate::rules::hook::{HOOK_FORMAT, HookEvent, HookResult, Moment};
use crate::rules::record::Record;
use crate::rules::verdict::Verdict;

use super::admission::{Admitted, Scopes};
use super::hooks::Hooks;
use super::launch;
use super::line::{self, Place};
use super::runner::{Apply, Job, Runner};

/// The hooks around one run.
pub(super) struct Around {
    hooks: Hooks,
    /// What every hook of the run is told; the moment is another each time.
    event: HookEvent,
    place: Place,
    /// Pulls for hooks that ran out of their time.
    due: Vec<Pull>,
}

impl Around {
    /// Runs the hooks before a run.
    ///
    /// # Errors
    /// [`Verdict::NotAdmitted`]: one of them did not say yes, whatever else it did. The line of one out of time is stopped.
    pub(super) async fn begin(runner: &Arc<Runner>, job: &Job, serial: &str, item: &str) -> Result<Self, Verdict> {
        let line = Scopes::of(&job.spec, item, serial).line;
        let event = HookEvent {
            format: HOOK_FORMAT,
            moment: Moment::BeforeRun,
            serial: Some(serial.to_owned()),
            tenant: Some(job.spec.tenant.clone()),
            line: job.spec.line.clone(),
            item: Some(item.to_owned()),
            attempt: None,
            record: None,
            pull: None,
        };
        let mut around =
            Self { hooks: job.hooks.clone(), event, place: Place::of_run(&line, serial, item), due: Vec::new() };
        let mut noes = Vec::new();
        for end in around.hooks.run(&around.event).await {
            around.due.extend(end.pull());
            match end.end {
                HookResult::Done => {}
                HookResult::Refused { .. } | HookResult::Broken { .. } | HookResult::TimedOut { .. } => {
                    noes.push(format!("{}: {}", end.hook, end.end));
                }
            }
        }
        if noes.is_empty() {
            return Ok(around);
        }
        let pulls = around.pull_for_hooks(runner).await;
        around.tell(runner, pulls).await;
        Err(Verdict::NotAdmitted { why: noes })
    }

    /// Executes the run, and runs the hooks that come after.
    pub(super) async fn end(
        mut self,
        runner: &Arc<Runner>,
        admitted: Result<Admitted, Verdict>,
        apply: Apply,
        run_dir: &RunDir,
        mut record: Record,
    ) -> Record {
        let was_admitted = admitted.is_ok();
        let mut pulls = launch::execute(runner, admitted, apply, run_dir, &mut record).await;
        if was_admitted {
            self.event.attempt = Some(record.attempt);
            let event = HookEvent { moment: Moment::AfterRun, record: Some(record.clone()), ..self.event.clone() };
            let ends = self.hooks.run(&event).await;
            ends.iter().for_each(|end| {
                if let HookResult::Refused { why } | HookResult::Broken { why } = &end.end {
                    tracing::warn!(hook = end.hook, why, "a hook after a run did not do its work");
                }
            });
            self.due = ends.iter().filter_map(super::hooks::HookEnd::pull).collect();
            pulls.extend(self.pull_for_hooks(runner).await);
        }
        self.tell(runner, pulls).await;
        record
    }

    /// Stops the line for hooks that ran out of their time. Returns what was pulled.
    async fn pull_for_hooks(&mut self, runner: &Arc<Runner>) -> Vec<Pulled> {
        let mut pulled = Vec::new();
        for pull in std::mem::take(&mut self.due) {
            match line::stop(&runner.store, self.place.clone(), pull).await {
                Ok(kept) => pulled.push(kept),
                // The run's own end meets the same store, and says so.
                Err(error) => tracing::error!(%error, "the line could not be stopped for a hook out of time"),
            }
        }
        pulled
    }

    /// Runs the hooks for pulls. One of them that runs out of its time is one more pull, of which no hook is told.
    async fn tell(&mut self, runner: &Arc<Runner>, pulls: Vec<Pulled>) {
        for pulled in pulls {
            let event = HookEvent { moment: Moment::OnPull, pull: Some(pulled.pull), ..self.event.clone() };
            let ends = self.hooks.run(&event).await;
            self.due.extend(ends.iter().filter_map(super::hooks::HookEnd::pull));
        }
        self.pull_for_hooks(runner).await;
    }
}

/// Runs the hooks for a pull by hand.
pub async fn tell_of(hooks: &Hooks, pulled: &Pulled) -> Vec<super::hooks::HookEnd> {
    let mut names = pulled.line.path().split('/');
    let event = HookEvent {
        format: HOOK_FORMAT,
        moment: Moment::OnPull,
        serial: None,
        tenant: names.next().map(str::to_owned),
        line: pulled.line.name().to_owned(),
        item: None,
        attempt: None,
        record: None,
        pull: Some(pulled.pull.clone()),
    };
    hooks.run(&event).await
}
