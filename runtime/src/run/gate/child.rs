//! The life of a child at the gate of its caller: carved out for in the transaction of its intent, run to its verdict, given
//! back what it did not spend.
//!
//! Never: tells a worker of a host's fault. Invariants here: what a child may spend is out of its caller's hands before it
//! begins; children that may write the caller's files run one after the other; who is pulled for in a child is pulled for in
//! its caller.

use std::collections::BTreeMap;

use crate::doors::store::{Durability, Need};
use crate::rules::andon::Pulled;
use crate::rules::effect::{Answer, Effect, Kind, Reason, Refusal};
use crate::rules::ledger::{Amounts, Denial, Line};
use crate::rules::quote;
use crate::rules::spec::{FileGrant, OnPull};
use crate::rules::verdict::{Stop, Verdict};

use super::super::RunEnd;
use super::super::children::{Carved, Children};
use super::super::lock;
use super::super::meter::Meter;
use super::call::No;
use super::{Admitted, Gate, Performed, blocking};

/// What was carved out for a child, by line.
pub(super) type Budget = BTreeMap<Line, u64>;

impl Gate {
    fn children(&self) -> Result<&Children, RunEnd> {
        let children = self.passage.children.as_deref();
        children.ok_or_else(|| RunEnd::Fault("a guest without children was let through to one".into()))
    }

    /// Waits until no child of the guest's is left.
    pub async fn children_ended(&self) {
        if let Some(children) = &self.passage.children {
            children.ended().await;
        }
    }

    /// Carves out what a child may spend, in one transaction with its intent. Of what its caller does not name it gets its
    /// share among `siblings` that are asked for at once and not carved out for yet, itself included.
    pub(super) async fn carve(
        &self,
        admitted: &Admitted,
        name: &str,
        asked: &Budget,
        siblings: u64,
    ) -> Result<Result<Budget, Refusal>, RunEnd> {
        let serial = self.call_id(admitted.call).to_string();
        let children = self.children()?;
        if let Err(refusal) = children.count() {
            return Ok(Err(refusal));
        }
        let Carved { job, scopes } = children.find(name, &serial)?;
        let (mut spec, asked) = (job.spec.clone(), asked.clone());
        let (scope, line, on_pull) = (self.passage.scope.clone(), self.passage.line.clone(), self.passage.on_pull);
        let meter = &self.passage.meter;
        let _renewing = meter.renewing().await;
        let (metered, used) = (meter.call().clone(), meter.used(self.waited_ms()));
        let intent = admitted.intent(None, Amounts::default());
        let needs = vec![Need::Scope(scope.clone()), Need::Call(metered.clone()), Need::Line(line.clone())];
        let carved = self.passage.journal.step(needs, Durability::Durable, move |step| {
            if let Some(lock) = step.books.line(&line).lock {
                return Ok(Err(match on_pull {
                    OnPull::Freeze => No::Frozen(lock.first),
                    OnPull::Drain => No::Refused(line_stopped(line.path(), &lock.first.reason)),
                }));
            }
            let now_ms = step.books.now_ms;
            let (carved, renewed) = Meter::lend(step.books.ledger, &metered, &used, now_ms, |ledger| {
                let left = |line: Line| {
                    let left = ledger.headroom(&scope, line, now_ms).map_or(0, |headroom| headroom.left);
                    if line.is_passing() { left } else { left / siblings.max(1) }
                };
                spec.budget.attempt = match spec.carved(&asked, left) {
                    Ok(carved) => carved,
                    Err(refusal) => return Ok(Err(refusal)),
                };
                match scopes.open(ledger, &spec, now_ms) {
                    Ok(()) => Ok(Ok(spec.budget.attempt)),
                    Err(Denial::Short(shortfall)) => Ok(Err(quote::exhausted(*shortfall))),
                    Err(denial) => Err(denial),
                }
            })?;
            if let Ok(carved) = &carved {
                let reserved: Amounts = carved.iter().map(|(&line, &amount)| (line, amount)).collect();
                step.write(super::fetch::with_reserve(intent, reserved));
            }
            Ok::<_, Denial>(Ok((carved, used, renewed)))
        });
        match carved.await?.map_err(|denial| RunEnd::Fault(denial.to_string()))? {
            Ok((carved, used, renewed)) => {
                meter.go_on(used, renewed);
                if carved.is_err() {
                    children.discount();
                }
                Ok(carved)
            }
            Err(No::Refused(refusal)) => {
                children.discount();
                Ok(Err(refusal))
            }
            Err(No::Frozen(pull)) => Err(self.freeze(pull)),
        }
    }

    /// Runs a child to its verdict.
    pub(super) async fn judged(&self, admitted: &Admitted) -> Result<Performed, RunEnd> {
        let (Effect::Child { name, task, .. }, Some(budget)) = (&admitted.ask.effect, &admitted.carved) else {
            return Err(RunEnd::Fault("a child was let through with nothing carved out for it".into()));
        };
        let serial = self.call_id(admitted.call).to_string();
        let children = self.children()?;
        let child = children.find(name, &serial)?;
        let files = child.job.spec.grants.files;
        let (_writing, _reading) = match files {
            FileGrant::ReadWrite => (Some(self.files.write().await), None),
            FileGrant::ReadOnly => (None, Some(self.files.read().await)),
            FileGrant::None => (None, None),
        };
        let fault = |error: std::io::Error| RunEnd::Fault(format!("the files of a child could not be opened: {error}"));
        let workspace = self.passage.workspace.as_ref().filter(|_| files != FileGrant::None);
        if let Some(view) = workspace.cloned() {
            // Programs that the caller has edited are programs to the child as well.
            let kept = super::blocking(move || view.keep_modes(view.base.programs()));
            kept.await?.map_err(fault)?;
        }
        let workspace = workspace.map(|view| view.dir.try_clone()).transpose().map_err(fault)?;
        // What was told again is paid for before anything is written.
        drop(self.catch_up());
        if let (FileGrant::ReadWrite, Some(view)) = (files, self.passage.workspace.clone()) {
            // What something else changed until now is remembered, and not taken for the child's.
            drop(blocking(move || view.look()).await?);
        }
        let call = admitted.call;
        let record = children.run(child, (&serial, call), (task.clone(), budget.clone()), workspace).await?;
        let (spent, held) = self.give_back_carved(&serial).await?;
        let below = format!("{serial}-");
        let is_its = |run: &String| *run == serial || run.starts_with(&below);
        let pulled = lock(&self.passage.pulls).kept.iter().find(|kept| kept.run.as_ref().is_some_and(is_its)).cloned();
        if let Some(Pulled { pull, .. }) = pulled {
            self.passage.cord.pull(Stop::Pulled { pull });
            return Err(RunEnd::Stopped);
        }
        match record.verdict() {
            // Its line was stopped by somebody else.
            Verdict::Halted { pull } => return Err(self.freeze(pull)),
            // One that may have changed the world is not run twice: its caller hears of it.
            Verdict::Deferred { why, retry_at_ms } if admitted.ask.effect.kind() == Kind::Child => {
                self.defer_until(format!("child {name}: {why}"), retry_at_ms);
            }
            Verdict::Fault { why } => return Err(RunEnd::Fault(format!("in child {serial}: {why}"))),
            _ => {}
        }
        let heard = Ok(Answer::Judged {
            serial,
            verdict: record.verdict,
            why: super::super::supervisor::cut(record.why),
            summary: record.report.map(|report| report.summary).unwrap_or_default(),
        });
        let tree = match record.applied {
            true => {
                let kept = self.keep_after(record.changes).await?;
                match kept {
                    Ok(tree) => tree,
                    // The run comes to nothing, whatever it does from here.
                    Err(_) if self.is_disturbed() => None,
                    // They are applied: a journal without them would tell another story.
                    Err(why) => {
                        return Err(RunEnd::Fault(format!("what a child was accepted for cannot be kept: {why}")));
                    }
                }
            }
            false => None,
        };
        Ok(Performed { spent: Some(spent), held, tree, ..Performed::free(heard) })
    }

    /// Ends the scope of a child: what it did not spend is its caller's again. Returns what it spent and what it holds.
    pub(super) async fn give_back_carved(&self, serial: &str) -> Result<(Amounts, Amounts), RunEnd> {
        let scope = self.passage.scope.child(serial);
        let meter = &self.passage.meter;
        let _renewing = meter.renewing().await;
        let (metered, used) = (meter.call().clone(), meter.used(self.waited_ms()));
        let needs = vec![Need::Tree(scope.clone()), Need::Call(metered.clone())];
        let closed = self.passage.journal.step_at_any_time(needs, Durability::Durable, move |step| {
            let now_ms = step.books.now_ms;
            let (totals, renewed) = Meter::lend(step.books.ledger, &metered, &used, now_ms, |ledger| {
                ledger.close(&scope, now_ms);
                Ok(ledger.totals(&scope))
            })?;
            Ok::<_, Denial>((totals, used, renewed))
        });
        let closed = closed.await?.map_err(|denial| RunEnd::Fault(denial.to_string()))?;
        let (totals, used, renewed) = closed;
        meter.go_on(used, renewed);
        Ok((totals.spent, totals.held))
    }
}

/// Nothing begins on a stopped line, a child neither.
fn line_stopped(line: &str, why: &str) -> Refusal {
    Refusal {
        reason: Reason::LineStopped,
        asked: "a child".to_owned(),
        allowed: format!("none as long as line {line} is stopped: {why}"),
        setting: "none: a person clears it with jidoka andon clear".to_owned(),
    }
}
