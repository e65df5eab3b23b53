//! One run from admission to verdict: facts come up, and here is the one place that turns them into a verdict.
//!
//! Never: waits on a guest without a deadline, believes its report. Invariants here: exactly one verdict; G1 after every
//! reported success and G2 after every breach, trap and pull, before anything else is decided; what was not accepted is
//! kept and never applied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use cap_std::fs::Dir;
use wasmtime_wasi::filesystem::FsPerms;

use crate::doors::apply::{self, ApplyError, ChangeSet, Watch};
use crate::doors::blobs::tree_address;
use crate::doors::store::{Books, Durability, Need};
use crate::doors::tree::{self, Manifest, under};
use crate::doors::workspace;
use crate::rules::andon::{Category, Cause, Pull, Pulled, cut_address};
use crate::rules::digest::Digest;
use crate::rules::effect::{Answer, Body, Effect, OutcomeName, Stream};
use crate::rules::item::{ItemRecord, Retries};
use crate::rules::policy::{Grantee, MAX_EVIDENCE, MAX_SUMMARY_BYTES};
use crate::rules::progress::{Mark, Progress, judges_the_work};
use crate::rules::record::{Evidence, LedgerRecord, Record};
use crate::rules::spec::{FileGrant, MarkKind, RunSpec};
use crate::rules::tool::{Reach, ToolCall};
use crate::rules::trap;
use crate::rules::verdict::{
    APPLY_GATE, Finding, Growth, LINK_RULE, Outcome, RESERVED_RULE, Report, Sight, Status, Stop, Verdict, conclude,
    judge,
};

use super::RunEnd;
use super::admission::{Admitted, Scopes, chain, faulted};
use super::applying::{self, APPLYING};
use super::bindings::worker::jidoka::agent::work;
use super::checks;
use super::children::Children;
use super::gate::{Gate, KeptTree, ModelDoor, Passage, Workshop, WorkspaceView, keep_tree};
use super::http::MAX_HELD_BYTES;
use super::line::{self, Place};
use super::lock;
use super::output::Output;
use super::race::GuestCall;
use super::runner::{Apply, Find, Runner};
use super::sandbox::{self, Call, Prepared, Returned};
use super::seat::{CallBounds, Draw, Preopen, Seat, Setup, Ties};

/// Where the tree is kept that a guest left.
enum Kept {
    Here(KeptTree),
    Told(Digest),
}

impl Kept {
    fn address(&self) -> Digest {
        match self {
            Kept::Here(kept) => kept.address,
            Kept::Told(address) => *address,
        }
    }
}

/// What the host saw of the files when the guest was gone.
#[derive(Default)]
pub(super) struct Look {
    pub(super) end: Option<Manifest>,
    unreadable: Option<String>,
    changed: Vec<String>,
    stray: Vec<String>,
    links: Vec<String>,
    pub(super) all: Vec<(String, checks::Change)>,
    pub(super) digest: Option<Digest>,
}

impl Admitted {
    pub(super) async fn execute(mut self, runner: &Arc<Runner>, apply: Apply, record: &mut Record) -> Verdict {
        let spec = self.job.spec.clone();
        let base = self.base_mark();
        let seen = std::mem::take(&mut self.item.seen);
        let progress = Progress::new(spec.done.marks.clone(), seen.clone(), base);
        let progress = progress.having_passed(self.passed.clone());
        let progress = Arc::new(Mutex::new(progress));
        let gate = match self.gate(runner, &progress) {
            Ok(gate) => Arc::new(gate),
            Err(verdict) => {
                drop(self.meter.finish(0).await);
                return verdict;
            }
        };
        let outcome = self.call_worker(runner, &gate).await;
        // What they did, and what they spent, is its caller's.
        gate.children_ended().await;
        let all_told = !self.journal.is_telling();
        let verdict = match self.journal.cut() {
            // Only a replay is cut: how far the guest came is not in the journal, what the host saw then is.
            Some(_) => return self.retell_end(record),
            None => self.conclude(runner, &gate, &progress, outcome, apply, record).await,
        };
        record.marks = lock(&progress).earned().to_vec();
        record.repaid = gate.repaid();
        record.resumptions = self.journal.resumption();
        if self.journal.is_shut() {
            return self.compare_end(verdict, record).await;
        }
        if self.unfinished.load(Ordering::Relaxed) {
            return verdict;
        }
        // What was interrupted counts when it is done again.
        self.item.seen = seen;
        if judges_the_work(&verdict, &record.gates) {
            self.item.passed = lock(&progress).passed().clone();
            self.item.seen = lock(&progress).clone().into_seen();
        }
        self.item.left = if all_told { Some(gate.memory()) } else { self.known.take() };
        self.item.was_judged(std::mem::take(&mut lock(&self.pulls).judged));
        let (scopes, item) = (self.scopes.clone(), self.item.clone());
        let needs = vec![Need::Tree(scopes.attempt.clone()), Need::Line(scopes.line.clone())];
        let (judged, mut written) = (verdict.clone(), record.clone());
        let (due, place, spec) = (self.due_pulls(&verdict), self.place(), self.job.spec.clone());
        let cause = match verdict {
            Verdict::Unable { .. } if gate.provider_failed() => Cause::Providers,
            _ => Cause::Items,
        };
        let closed = self.journal.close(needs, move |step| {
            step.books.ledger.close(&scopes.attempt, step.books.now_ms);
            let pulls = end_item(step.books, &scopes, item, (&judged, cause), !written.marks.is_empty(), &spec);
            let pulls = due.into_iter().chain(pulls).map(|pull| line::pull(step.books, place.clone(), pull));
            let pulls: Vec<Pulled> = pulls.collect();
            let totals = |scope| step.books.ledger.totals(scope);
            let ledger = LedgerRecord { item: totals(&scopes.item), attempt: totals(&scopes.attempt) };
            written.ledger = ledger.clone();
            written.judge(&judged);
            step.write(Body::Closed { record: Box::new(written) });
            (ledger, pulls)
        });
        match closed.await {
            Ok(Some((ledger, pulls))) => {
                record.ledger = ledger;
                lock(&self.pulls).kept.extend(pulls);
                if let (true, Some(Ok(real))) = (record.applied, self.job.workspace.as_ref().map(Dir::try_clone)) {
                    applying::clear(real, self.serial.clone()).await;
                }
                verdict
            }
            // It was kept, and the store said that it was not.
            Ok(None) => match runner.past(&self.serial).await.map(|past| past.record()) {
                Ok(Some(kept)) => {
                    *record = kept;
                    record.verdict()
                }
                Ok(None) => faulted("the journal has no end, and the store said that it has"),
                Err(error) => faulted(chain(&error)),
            },
            Err(end) => unrecorded(&verdict, &end, record.applied),
        }
    }

    /// The end of a replay: what it came to is compared with what the journal says, down to the last byte.
    async fn compare_end(&self, verdict: Verdict, record: &mut Record) -> Verdict {
        if let Verdict::Diverged(_) = verdict {
            return verdict;
        }
        let Some(told) = self.journal.told_record() else { return verdict };
        // What only the live run could know.
        record.ledger = told.ledger.clone();
        record.judge(&verdict);
        record.repaid = told.repaid;
        record.resumptions = told.resumptions;
        record.host.clone_from(&told.host);
        let closed = Body::Closed { record: Box::new(record.clone()) };
        match self.journal.append(closed, Durability::Lazy).await {
            Ok(()) => verdict,
            Err(RunEnd::Diverged(divergence)) => Verdict::Diverged(divergence),
            Err(end) => faulted(end.to_string()),
        }
    }

    /// The end of a replay of a run that was stopped from outside, as the journal has it.
    fn retell_end(&self, record: &mut Record) -> Verdict {
        match self.journal.told_record() {
            Some(told) => {
                let verdict = told.verdict();
                *record = *told;
                verdict
            }
            None => Verdict::Cancelled,
        }
    }

    pub(super) fn view(&self, runner: &Runner) -> Option<WorkspaceView> {
        let trees = self.trees.as_ref()?;
        Some(WorkspaceView {
            dir: Arc::clone(&trees.work),
            base: Arc::clone(&trees.base),
            deliverables: self.job.spec.done.tree.clone().into(),
            ignored: Arc::clone(&trees.ignored),
            trail: Arc::clone(&trees.trail),
            bounds: runner.bounds,
        })
    }

    fn gate(&self, runner: &Arc<Runner>, progress: &Arc<Mutex<Progress>>) -> Result<Gate, Verdict> {
        let mut models = BTreeMap::new();
        for (name, spec) in &self.job.spec.models {
            let reached = self
                .job
                .models
                .get(name)
                .ok_or_else(|| faulted(format!("model \"{name}\" was granted and has no door")))?;
            let door = ModelDoor {
                profile: spec.profile.clone(),
                retries: spec.retries,
                on_overload: self.job.spec.on_overload,
                counted_by: spec.counted_by,
                way: reached.clone(),
            };
            models.insert(name.clone(), door);
        }
        let evidence = self.run_dir.subdir("evidence").map_err(|error| faulted(format!("evidence: {error}")))?;
        let context = self.context.as_ref().map(Dir::try_clone).transpose();
        let context = context.map_err(|error| faulted(format!("the context: {error}")))?;
        Ok(Gate::new(Passage {
            grants: self.job.spec.grants.clone(),
            grantee: Grantee::Worker,
            models,
            tools: Arc::clone(&self.tools),
            workshop: Some(Workshop {
                sandbox: Arc::clone(&runner.sandbox),
                wall: runner.wall(&self.job.spec),
                context: context.map(Arc::new),
                seed: self.origin.seed,
                start_ms: self.origin.start_ms,
            }),
            children: Some(Arc::new(Children::new(
                runner,
                &self.job,
                &self.scopes,
                self.origin.seed,
                &self.lineage,
                &self.pulls,
                self.trees.as_ref().map(|trees| trees.ignored.left_out().clone()).unwrap_or_default(),
            ))),
            web: Arc::clone(&self.job.web),
            offers: self.offers.clone(),
            edits: self.edits.clone(),
            scope: self.scopes.attempt.clone(),
            line: self.scopes.line.clone(),
            pulls: Arc::clone(&self.pulls),
            on_pull: self.job.spec.on_pull,
            guards: self.job.spec.guards.clone(),
            memory: self.item.memory.clone(),
            deferrals: self.item.deferrals,
            meter: Arc::clone(&self.meter),
            tenant_pace: self.job.account.pace.clone(),
            journal: Arc::clone(&self.journal),
            time: Arc::clone(&self.time),
            serial: self.serial.clone(),
            cord: self.cord.clone(),
            clock: runner.clock,
            progress: Arc::clone(progress),
            evidence: Arc::new(evidence),
            trail: self.trees.as_ref().map(|trees| Arc::clone(&trees.trail)),
            blobs: (!self.journal.is_shut()).then(|| runner.state.blobs().clone()),
            told_trees: Some(runner.state.blobs().clone()),
            workspace: self.view(runner),
            log_bytes: self.job.spec.caps.log_bytes,
        }))
    }

    async fn call_worker(&self, runner: &Arc<Runner>, gate: &Arc<Gate>) -> Outcome {
        let spec = &self.job.spec;
        let call = GuestCall {
            clock: runner.clock,
            cord: self.cord.clone(),
            gate: Arc::clone(gate),
            meter: Arc::clone(&self.meter),
        };
        if let Some(tool) = &spec.call {
            return self.make_call(runner, gate, tool, call).await;
        }
        let stdio = [Output::new(spec.caps.stdio_bytes), Output::new(spec.caps.stdio_bytes)];
        let work = match spec.grants.files {
            FileGrant::None => None,
            FileGrant::ReadOnly => Some(FsPerms::ReadOnly),
            FileGrant::ReadWrite => Some(FsPerms::ReadWrite),
        };
        let seat = match self.seat(runner, gate, &stdio, work).await {
            Ok(seat) => seat,
            Err(why) => {
                // It never ran: nothing that was reserved for it is in doubt.
                drop(self.meter.finish(0).await);
                return Outcome::Faulted(why);
            }
        };
        if let Some(stop) = self.journal.cut() {
            // It was stopped before it did anything that the journal knows of.
            self.cord.pull(stop);
        }
        let ended = call.race(|bounds| seat.call(&runner.sandbox, bounds)).await;
        let [stdout, stderr] = stdio.map(|output| output.take());
        let printed = stderr.0.clone();
        let outputs = [(Stream::Stdout, stdout.0, stdout.1), (Stream::Stderr, stderr.0, stderr.1)];
        if let Err(end) = self.record_output(gate, outputs, &ended).await {
            return match end {
                RunEnd::Diverged(divergence) => Outcome::Diverged(divergence),
                end => Outcome::Faulted(end.to_string()),
            };
        }
        match ended.map_err(|outcome| outcome.in_words(&printed)) {
            Ok(Returned::Report(Ok(report))) => Outcome::Returned(received(report)),
            Ok(Returned::Report(Err(why))) => {
                let is_program = self.prepared.as_ref().is_some_and(Prepared::is_program);
                Outcome::Failed(cut(if is_program { trap::exited(&why, &printed) } else { why }))
            }
            Ok(Returned::Judgement(_) | Returned::Described(_) | Returned::Output(_) | Returned::Exited(_)) => {
                Outcome::Faulted("a worker answered as another guest".into())
            }
            Err(outcome) => outcome,
        }
    }

    /// Makes the one call that the run is of, in the place of a worker. It passes the gate like any guest's.
    async fn make_call(&self, runner: &Runner, gate: &Arc<Gate>, tool: &ToolCall, call: GuestCall) -> Outcome {
        let name = self.tools.named(&tool.name).to_owned();
        let effect = Effect::Tool { name, input: tool.input.clone(), reach: Reach::default() };
        if let Some(stop) = self.journal.cut() {
            self.cord.pull(stop);
        }
        let made = call.race(async |CallBounds { cord, .. }| {
            let heard = tokio::select! {
                biased;
                stop = cord.pulled() => return Err(Outcome::Interrupted(stop)),
                heard = gate.pass(effect) => heard.map_err(|end| sandbox::ended(&end, &cord))?,
            };
            match heard {
                Ok(Answer::Tool { output }) => Ok(Returned::Output(Ok(output))),
                Ok(other) => Err(Outcome::Faulted(format!("the gate gave a wrong kind of answer: {other:?}"))),
                Err(denied) => Ok(Returned::Output(Err(denied.to_string()))),
            }
        });
        match made.await {
            Ok(Returned::Output(Ok(output))) => {
                // What it says of itself nobody needs: the host looks whether files changed.
                let changed = !self.look(runner).await.changed.is_empty();
                let status = if changed { Status::Done } else { Status::NoChangeNeeded };
                Outcome::Returned(Report { status, summary: cut(output), evidence: Vec::new() })
            }
            Ok(Returned::Output(Err(why))) => Outcome::Failed(cut(why)),
            Ok(_) => Outcome::Faulted("a tool's call came to another answer".into()),
            Err(outcome) => outcome,
        }
    }

    /// Unless the guest went another way than its journal, or the journal does not say how far it came.
    async fn record_output(
        &self,
        gate: &Gate,
        outputs: [(Stream, String, u64); 2],
        ended: &Result<Returned, Outcome>,
    ) -> Result<(), RunEnd> {
        match ended {
            Err(Outcome::Diverged(_)) => Ok(()),
            _ if self.journal.cut().is_some() => Ok(()),
            _ => gate.record_output(outputs).await,
        }
    }

    /// A guest with its files. `work` is `None` for no files at all.
    async fn seat(
        &self,
        runner: &Runner,
        gate: &Arc<Gate>,
        stdio: &[Output; 2],
        work: Option<FsPerms>,
    ) -> Result<Seat, String> {
        let spec = &self.job.spec;
        let task = work::Task {
            item: self.told.item.clone(),
            attempt: self.told.attempt,
            text: spec.task.text.clone(),
            inputs: spec.task.inputs.clone().into_iter().collect(),
        };
        let setup = Setup {
            call: Call::Run(task),
            args: spec.args.clone(),
            stdin: String::new(),
            env: spec.env.clone(),
            chances: Draw::Worker { seed: self.origin.seed },
            start_ms: self.origin.start_ms,
            max_created: spec.caps.files,
            max_body_bytes: if spec.grants.http.is_empty() { 0 } else { MAX_HELD_BYTES },
            caps: spec.caps,
        };
        let preopens =
            self.preopens(work).map_err(|error| format!("the guest's files could not be opened: {error}"))?;
        let ties = Ties { gate: Arc::clone(gate), time: Arc::clone(&self.time), stdio: stdio.clone() };
        let prepared = self.prepared.as_ref().ok_or("there is no worker")?;
        Seat::take(&runner.sandbox, prepared, setup, preopens, ties, runner.wall(spec)).await
    }

    /// The directories that a guest gets, by the name that it sees.
    fn preopens(&self, work: Option<FsPerms>) -> std::io::Result<Vec<Preopen>> {
        let mut preopens = Vec::new();
        if let (Some(perms), Some(trees)) = (work, &self.trees) {
            preopens.push(Preopen { name: "/work", dir: trees.work.try_clone()?, perms });
        }
        if let (Some(_), Some(context)) = (work, &self.context) {
            preopens.push(Preopen { name: "/context", dir: context.try_clone()?, perms: FsPerms::ReadOnly });
        }
        Ok(preopens)
    }

    /// Guards, checks, verdict, apply.
    async fn conclude(
        &self,
        runner: &Arc<Runner>,
        gate: &Arc<Gate>,
        progress: &Arc<Mutex<Progress>>,
        outcome: Outcome,
        apply: Apply,
        record: &mut Record,
    ) -> Verdict {
        let spec = &self.job.spec;
        if let Outcome::Diverged(divergence) = &outcome
            && self.journal.is_shut()
        {
            return Verdict::Diverged(divergence.clone());
        }
        if let Some(stop) = stop_of(&outcome) {
            if let Outcome::Diverged(_) = &outcome {
                self.journal.give_up_tape();
                self.cord.pull(stop.clone());
            }
            if !self.journal.is_shut() {
                // Whoever stops a run that is still told what it did stops it here, whatever comes next in its journal.
                self.journal.give_up_tape();
            }
            if let Err(end) = self.stop_line(stop).await {
                return self.ended_early(end);
            }
        }
        // G1 and G2 in one: whatever the outcome, the host looks before anything is decided.
        let mut look = self.look(runner).await;
        let kept = match self.keep(runner, &look).await {
            Ok(kept) => kept,
            Err(end) => {
                // What was seen may be gone before it is kept.
                look = self.look(runner).await;
                if look.unreadable.is_none() {
                    return self.ended_early(end);
                }
                None
            }
        };
        let tree = kept.as_ref().map(Kept::address);
        if let Some(digest) = look.digest {
            let mark = Mark { kind: MarkKind::Tree, digest };
            let new = look.stray.is_empty() && self.is_new(progress, mark);
            // Kept before the checks begin: a crash in the middle must not let the item show it again as new.
            let marked = Body::Marked { call: None, mark, tree };
            if new && let Err(end) = self.journal.append(marked, Durability::Durable).await {
                return self.ended_early(end);
            }
        }
        record.changes = look.changed.iter().chain(&look.stray).cloned().collect();
        record.evidence =
            gate.kept().into_iter().map(|kept| Evidence { kind: kept.kind, name: kept.name, id: kept.id }).collect();
        record.capabilities.used = gate.used().into_keys().collect();
        record.capabilities.named = gate.used().into_iter().filter(|(_, names)| !names.is_empty()).collect();
        if let Outcome::Returned(report) = &outcome {
            record.report = Some(report.clone());
        }
        let ended = Body::Ended {
            outcome: name(&outcome),
            changed: record.changes.clone(),
            tree,
            notes_dropped: gate.notes_dropped(),
        };
        if let Err(end) = self.journal.append(ended, Durability::Durable).await {
            return self.ended_early(end);
        }
        drop(kept);
        let unknown_evidence = unknown_evidence(&outcome, &record.evidence);
        // A check that looks at what it was shown at the start can say nothing new of it.
        let may_grow = spec.done.marks.contains(&MarkKind::Checks)
            && (look.digest != self.base_mark() || !record.evidence.is_empty());
        let sight = Sight {
            exhausted: gate.exhausted(),
            new_marks: marks_at_the_end(lock(progress).earned(), look.digest),
            may_grow,
            changed: &look.changed,
            stray: &look.stray,
            links: &look.links,
            unknown_evidence: &unknown_evidence,
            unreadable: look.unreadable.as_deref(),
            no_change: spec.done.no_change,
        };
        let finding = judge(&outcome, &sight);
        if let Finding::Decided(verdict) = finding {
            return verdict;
        }
        match self.check(runner, &look, &record.evidence).await {
            Ok(results) => record.gates = results,
            Err(end) => return self.stopped(end),
        }
        let growth = match may_grow && finding != Finding::CheckNoChange {
            true => match self.growth(runner, &record.gates, progress).await {
                Ok(growth) => growth,
                Err(end) => return self.stopped(end),
            },
            false => Growth::Same,
        };
        let verdict = conclude(finding, &record.gates, growth);
        if self.cord.is_pulled() {
            // Somebody stopped the run while it was judged: nothing is applied after that.
            return self.stopped(RunEnd::Stopped);
        }
        let told = self.journal.told_record();
        // A replay applies nothing; what came of it is in the journal.
        let apply = match (self.journal.is_shut(), &told) {
            (true, _) if self.journal.applies_next() => Apply::Accepted,
            (true, _) => Apply::Never,
            (false, _) => apply,
        };
        if verdict == Verdict::Accepted && apply == Apply::Accepted {
            if !self.journal.is_shut()
                && let Err(end) = gate.stay_if_frozen().await
            {
                return self.stopped(end);
            }
            let applying = Body::Applying { paths: look.changed.clone() };
            if let Err(end) = self.journal.append(applying, Durability::Durable).await {
                return self.ended_early(end);
            }
            if let (true, Some(told)) = (self.journal.is_shut(), told) {
                record.applied = told.applied;
                return told.verdict();
            }
            record.marks = lock(progress).earned().to_vec();
            record.repaid = gate.repaid();
            record.resumptions = self.journal.resumption();
            return self.apply(runner, look.end, record).await;
        }
        verdict
    }

    /// Writes down what stopped the guest. A pull stops its line in the same transaction.
    async fn stop_line(&self, stop: Stop) -> Result<(), RunEnd> {
        let body = Body::Stopped { stop: stop.clone() };
        let Stop::Pulled { pull } = stop else { return self.journal.append(body, Durability::Durable).await };
        if lock(&self.pulls).kept.iter().any(|kept| kept.pull == pull) {
            return self.journal.append(body, Durability::Durable).await;
        }
        let (place, kept) = (self.place(), Arc::clone(&self.pulls));
        let needs = vec![Need::Line(place.line.clone())];
        let pulled = move |books: &mut Books<'_>| lock(&kept).kept.push(line::pull(books, place, pull));
        self.journal.append_with(body, needs, pulled).await
    }

    /// Pulls that were not written when they came about: a check's, one while a check ran, and the host's own.
    fn due_pulls(&self, verdict: &Verdict) -> Vec<Pull> {
        let mut pulls = lock(&self.pulls);
        let mut due = std::mem::take(&mut pulls.due);
        if let (Verdict::Halted { pull }, Some(Stop::Pulled { .. }), true) =
            (verdict, self.cord.stop(), is_due(&pulls.kept, verdict))
        {
            due.push(pull.clone());
        }
        if let Verdict::ConstraintViolation { rule, paths } = verdict
            && [LINK_RULE, RESERVED_RULE].contains(&rule.as_str())
        {
            let reason = format!("the worker reached for more than it was given: {rule}: {}", paths.join(", "));
            due.push(Pull::by_host(Category::CapabilityViolation, reason));
        }
        due
    }

    fn place(&self) -> Place {
        Place::of_run(&self.scopes.line, &self.serial, self.scopes.item.name())
    }

    /// Keeps the tree that the guest left, so that anybody can look at it later. A replay only says where it would be.
    async fn keep(&self, runner: &Runner, look: &Look) -> Result<Option<Kept>, RunEnd> {
        let (Some(end), Some(view)) = (&look.end, self.view(runner)) else { return Ok(None) };
        if self.journal.is_shut() {
            return Ok(Some(Kept::Told(tree_address(end))));
        }
        match keep_tree(runner.state.blobs(), &view, end.clone()).await? {
            Ok(kept) => Ok(Some(Kept::Here(kept))),
            Err(why) => Err(RunEnd::Fault(format!("the worker's tree could not be kept: {why}"))),
        }
    }

    /// A run whose journal could not be written, or went another way.
    fn ended_early(&self, end: RunEnd) -> Verdict {
        match end {
            RunEnd::Diverged(divergence) => Verdict::Diverged(divergence),
            end => faulted(end.to_string()),
        }
    }

    /// A run that ended while it was being judged.
    fn stopped(&self, end: RunEnd) -> Verdict {
        match (end, self.cord.stop()) {
            (RunEnd::Stopped, Some(stop)) => stop.verdict(),
            (end, _) => self.ended_early(end),
        }
    }

    async fn look(&self, runner: &Runner) -> Look {
        let Some(view) = self.view(runner) else { return Look::default() };
        if self.journal.is_shut() && self.journal.ends_unseen() {
            // Whatever else changed the worker's files then is not here.
            let why = match self.journal.told_record().map(|told| told.verdict()) {
                Some(Verdict::Unverifiable { why }) => why,
                Some(_) | None => "the workspace could not be read".to_owned(),
            };
            return Look { unreadable: Some(why), ..Look::default() };
        }
        let trail = Arc::clone(&view.trail);
        let unread = |why: String| Look {
            unreadable: Some(trail.disturbed().unwrap_or_else(|| format!("the workspace could not be read: {why}"))),
            ..Look::default()
        };
        let seen = tokio::task::spawn_blocking(move || {
            let end = view.look();
            (view, end)
        })
        .await;
        let (view, end) = match seen {
            Ok((view, Ok(end))) => (view, end),
            Ok((_, Err(why))) => return unread(why),
            Err(panic) => return unread(panic.to_string()),
        };
        let all = view.changes(&end);
        let (changed, stray) =
            all.iter().map(|change| change.path.clone()).partition(|path| under(&view.deliverables, path));
        let is_link = |path: &String| matches!(end.get(path), Some(tree::Entry::Link { .. }));
        let links = all.iter().map(|change| change.path.clone()).filter(is_link).collect();
        Look {
            links,
            digest: Some(view.mark(&end)),
            end: Some(end),
            unreadable: None,
            changed,
            stray,
            all: all.into_iter().map(|change| (change.path, change.kind)).collect(),
        }
    }

    async fn apply(&self, runner: &Runner, end: Option<Manifest>, record: &mut Record) -> Verdict {
        let (Some(end), Some(trees), Some(real)) = (end, &self.trees, &self.job.workspace) else {
            return Verdict::Accepted;
        };
        let (real, work) = match real.try_clone().and_then(|real| Ok((real, trees.work.try_clone()?))) {
            Ok(dirs) => dirs,
            Err(error) => return faulted(format!("the workspace could not be opened again: {error}")),
        };
        let (base, deliverables) = (Arc::clone(&trees.base), self.job.spec.done.tree.clone());
        let is_resumed = self.journal.resumption() > 0;
        let (ignored, serial, bounds) = (Arc::clone(&trees.ignored), self.serial.clone(), runner.bounds);
        let (run_dir, mut accepted) = (self.run_dir.clone(), record.clone());
        (accepted.applied, accepted.verdict) = (true, Verdict::Accepted.name().to_owned());
        let (find, cord) = (self.job.find.clone(), self.cord.clone());
        let applied = tokio::task::spawn_blocking(move || {
            let set = ChangeSet {
                base: &base,
                end: &end,
                deliverables: &deliverables,
                ignore: &ignored,
                bounds: &bounds,
                serial: &serial,
            };
            // Whoever finds that the changes are made finds the record that goes with them.
            run_dir.write(APPLYING, &accepted).map_err(|source| ApplyError::Stage { path: APPLYING.into(), source })?;
            let is_there = || find.as_ref().is_none_or(|find| is_found(&real, find));
            let watch = Watch { progress: &|made, total| cord.shows(made, total), is_there: &is_there };
            match apply::apply(&real, &work, &set, &watch) {
                // A crash came after the changes were made, and before anybody could say so.
                Err(ApplyError::BaseMoved { .. }) if is_resumed && is_applied(&real, &set) => Ok(()),
                applied => applied.map(drop),
            }
        })
        .await;
        match applied {
            Ok(Ok(())) => {
                record.applied = true;
                Verdict::Accepted
            }
            Ok(Err(ApplyError::Reserved { path })) => {
                Verdict::ConstraintViolation { rule: RESERVED_RULE.to_owned(), paths: vec![path] }
            }
            Ok(Err(error @ ApplyError::WorkerTree { .. })) => Verdict::Unverifiable { why: chain(&error) },
            Ok(Err(error @ ApplyError::Unfinished { .. })) => {
                self.unfinished.store(true, Ordering::Relaxed);
                faulted(format!("the accepted changes are committed and not all made: {}", chain(&error)))
            }
            // All else is about the directory, and a person can mend it.
            Ok(Err(error)) => {
                let later = match self.scopes.is_childs() {
                    true => String::new(),
                    false => format!(
                        "; the work is kept: mend that, and `jidoka resume {}` applies it, if nothing else changed there",
                        self.serial
                    ),
                };
                let findings = vec![format!("{}{later}", chain(&error))];
                Verdict::Rejected { gate: APPLY_GATE.to_owned(), findings }
            }
            Err(panic) => faulted(format!("the accepted changes could not be applied: {panic}")),
        }
    }
}

/// Whether the real directory is the one that its name leads to.
fn is_found(real: &Dir, find: &Find) -> bool {
    find().and_then(|found| workspace::is_same(&found, real)).unwrap_or(false)
}

/// The verdict on a run whose end could not be written down: the store says that it is open, so nobody may say that it ended
/// well. What is applied stays, and whoever goes on with the run finds it so.
fn unrecorded(verdict: &Verdict, end: &RunEnd, applied: bool) -> Verdict {
    let (what, then) = match (applied, verdict) {
        (true, _) => ("its changes are applied", "that it was accepted"),
        (false, Verdict::Fault { why }) => (why.as_str(), "that"),
        (false, _) => ("it ended", "its verdict"),
    };
    faulted(format!(
        "{what}, and {then} ({}) could not be written down: {end}; when the store can be written, the run goes on from its journal",
        verdict.name()
    ))
}

/// Whether the pull that a run was halted by is not among those that are kept: a child's may be.
fn is_due(kept: &[Pulled], verdict: &Verdict) -> bool {
    !kept.iter().any(|kept| matches!(verdict, Verdict::Halted { pull } if *pull == kept.pull))
}

/// The item's state after its run, and the line's pull if so many items ended alike.
pub(super) fn end_item(
    books: &mut Books<'_>,
    scopes: &Scopes,
    mut item: ItemRecord,
    (verdict, cause): (&Verdict, Cause),
    marked: bool,
    spec: &RunSpec,
) -> Option<Pull> {
    let retries = Retries { max: spec.max_attempts, backoff: spec.backoff };
    if let Err(illegal) = item.end(verdict, marked, retries, books.now_ms) {
        // Whoever has the item to itself finds it running; if not, somebody wrote into the store behind our back.
        tracing::error!(%illegal, item = scopes.item.path(), "the state of an item is not what it was");
    }
    if scopes.is_childs() {
        // It was its caller's all along.
        return None;
    }
    books.remember(&scopes.item, item);
    // An item that nobody named is nobody's piece of work: somebody is trying things out.
    spec.item.as_ref()?;
    let mut line = books.line(&scopes.line);
    let pull = line.ended(scopes.item.name(), verdict, cause, &spec.guards.clone().bounded());
    books.remember_line(&scopes.line, line);
    pull
}

/// Whether the real directory already is what the worker left.
fn is_applied(real: &Dir, set: &ChangeSet<'_>) -> bool {
    let Ok(now) = tree::scan(real, set.bounds, set.ignore) else { return false };
    Manifest::changes(set.end, &now).iter().all(|change| !under(set.deliverables, &change.path))
}

/// Marks that count for a success: a tree that was shown on the way and taken back is not delivered.
fn marks_at_the_end(earned: &[Mark], end: Option<Digest>) -> usize {
    let counts = |mark: &&Mark| match mark.kind {
        MarkKind::Tree => Some(mark.digest) == end,
        MarkKind::Artifact | MarkKind::Checks => true,
    };
    earned.iter().filter(counts).count()
}

fn unknown_evidence(outcome: &Outcome, kept: &[Evidence]) -> Vec<String> {
    let Outcome::Returned(report) = outcome else { return Vec::new() };
    let known: BTreeSet<String> = kept.iter().map(|evidence| evidence.id.to_string()).collect();
    report.evidence.iter().filter(|id| !known.contains(*id)).cloned().collect()
}

fn name(outcome: &Outcome) -> OutcomeName {
    match outcome {
        Outcome::Returned(_) => OutcomeName::Returned,
        Outcome::Failed(_) => OutcomeName::Failed,
        Outcome::Trapped(_) => OutcomeName::Trapped,
        Outcome::Interrupted(_) | Outcome::Diverged(_) => OutcomeName::Interrupted,
        Outcome::Faulted(_) => OutcomeName::Faulted,
    }
}

/// What stopped a guest that did not end by itself.
fn stop_of(outcome: &Outcome) -> Option<Stop> {
    match outcome {
        Outcome::Interrupted(stop) => Some(stop.clone()),
        Outcome::Diverged(divergence) => {
            let pull = Pull::by_host(Category::Divergence, divergence.to_string());
            Some(Stop::Pulled { pull })
        }
        Outcome::Returned(_) | Outcome::Failed(_) | Outcome::Trapped(_) | Outcome::Faulted(_) => None,
    }
}

fn received(report: work::Report) -> Report {
    Report {
        status: match report.status {
            work::Status::Done => Status::Done,
            work::Status::NoChangeNeeded => Status::NoChangeNeeded,
            work::Status::Unable => Status::Unable,
            work::Status::NeedsHuman => Status::NeedsHuman,
        },
        summary: cut(report.summary),
        evidence: cited(&report.evidence),
    }
}

/// The evidence that a report cites, each once and each cut. One more than a run can have is enough to keep: among those
/// is one that the run does not have.
fn cited(ids: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let ids = ids.iter().map(|id| cut_address(id)).filter(|id| seen.insert(id.clone()));
    ids.take(MAX_EVIDENCE as usize + 1).collect()
}

/// A guest's text, cut to what the record keeps.
pub(super) fn cut(mut text: String) -> String {
    let mut end = text.len().min(MAX_SUMMARY_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_kept_up_to_n_bytes_and_cut_at_n_plus_1() {
        let text = |bytes: usize| "x".repeat(bytes);
        assert_eq!(cut(text(MAX_SUMMARY_BYTES)).len(), MAX_SUMMARY_BYTES);
        assert_eq!(cut(text(MAX_SUMMARY_BYTES + 1)).len(), MAX_SUMMARY_BYTES);
        // Never inside a character.
        assert_eq!(cut(format!("{}ä", text(MAX_SUMMARY_BYTES - 1))).len(), MAX_SUMMARY_BYTES - 1);
    }

    #[test]
    fn a_report_cites_one_piece_of_evidence_more_than_there_can_be_and_no_more() {
        let ids = |count: u64| (0..count).map(|number| number.to_string()).collect::<Vec<_>>();
        let most = usize::try_from(MAX_EVIDENCE).expect("small") + 1;
        assert_eq!(cited(&ids(MAX_EVIDENCE + 1)).len(), most);
        assert_eq!(cited(&ids(MAX_EVIDENCE + 2)).len(), most);
    }
}
