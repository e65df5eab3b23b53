//! The guards at the gate: what a worker's calls came to is remembered, and one that goes nowhere is told, refused, ended.
//!
//! Never: believes a worker that it did something. Invariants here: before a worker is told, the host looks by itself whether
//! there is something new; what a journal tells is remembered as it was when it happened, and decides nothing.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::doors::clock::Clock;
use crate::doors::store::{Durability, Need};
use crate::rules::andon::Pull;
use crate::rules::effect::{Answer, Denied, Effect, Failure, FailureKind, Heard, Refusal};
use crate::rules::guard::{self, Guard, Memory, Step, Suspicion};
use crate::rules::ledger::ScopeId;
use crate::rules::model::Request;
use crate::rules::progress::Mark;
use crate::rules::spec::{FileGrant, MarkKind, OnPull};
use crate::rules::verdict::Stop;

use super::super::RunEnd;
use super::super::lock;
use super::{Gate, Marked, blocking, keep_tree};

impl Gate {
    /// What the item's calls came to, for its next attempt.
    pub fn memory(&self) -> Memory {
        lock(&self.memory).clone().for_next_run()
    }

    /// A model or the web is about to be asked: unless there is something new, a worker that goes nowhere is told, and refused.
    ///
    /// # Errors
    /// [`RunEnd::Stopped`]: it was told often enough.
    pub(super) async fn suspects(&self, call: u64, effect: &Effect) -> Result<Option<Refusal>, RunEnd> {
        let guards = &self.passage.guards;
        self.was_asked(effect);
        let suspicion = lock(&self.memory).suspicion().cloned();
        let Some(suspicion) = suspicion else { return Ok(None) };
        if self.shows_something_new(call).await? {
            return Ok(None);
        }
        let step = lock(&self.memory).strike(guards);
        match step {
            Step::Tell => Ok(Some(guard::refusal(&suspicion, &self.since()))),
            Step::End => {
                self.passage.cord.pull(Stop::Stuck { suspicion, since: self.since() });
                Err(RunEnd::Stopped)
            }
        }
    }

    /// An effect was performed, and this came of it.
    pub(super) fn was_heard(&self, effect: &Effect, heard: &Heard, alone: bool) {
        let guards = &self.passage.guards;
        if let (Effect::Model { .. }, Ok(_) | Err(Denied::Failed(_))) = (effect, heard) {
            self.state().provider_failed = heard.as_ref().is_err_and(is_providers);
        }
        let mut memory = lock(&self.memory);
        match (effect, heard) {
            // It passes by itself, and says nothing of the worker.
            (Effect::Model { request }, Err(Denied::Failed(failure))) if self.may_pass(request, failure) => {}
            (Effect::Model { request }, Ok(Answer::Model { reply, .. })) => {
                memory.replied(&request.model, &request.messages, reply, alone, guards);
            }
            (Effect::Model { request }, Err(Denied::Failed(failure))) => {
                memory.model_failed(&request.model, &failure.message, guards);
            }
            (Effect::Tool { name, input, .. }, Ok(Answer::Tool { output })) => {
                memory.hosted(name, input, Ok(output), guards)
            }
            (Effect::Tool { name, input, .. }, Err(Denied::Failed(failure))) => {
                memory.hosted(name, input, Err(&failure.message), guards);
            }
            (Effect::Fetch { request }, Ok(Answer::Fetched { reply })) => memory.fetched(request, reply, guards),
            (Effect::Fetch { .. }, Err(Denied::Failed(failure))) => {
                memory.tool_failed(guard::FETCH, &failure.message, guards);
            }
            _ => {}
        }
    }

    /// What a journal tells may be of a model that the run has no more.
    fn may_pass(&self, request: &Request, failure: &Failure) -> bool {
        self.passage.models.get(&request.model).is_some_and(|door| door.may_pass(failure))
    }

    /// An effect is asked for, now or as the journal tells.
    pub(super) fn was_asked(&self, effect: &Effect) {
        if let Effect::Model { request } = effect {
            lock(&self.memory).asked(&request.messages, &self.passage.guards);
        }
    }

    /// An effect that the journal tells was refused.
    pub(super) fn was_struck(&self, refusal: &Refusal) {
        if guard::is_strike(refusal) {
            lock(&self.memory).strike(&self.passage.guards);
        }
    }

    /// Something new was shown.
    pub(super) fn moved_on(&self) {
        lock(&self.memory).marked();
    }

    /// Since when the worker has shown nothing, in words.
    fn since(&self) -> String {
        match self.passage.journal.last_mark() {
            Some(seq) => format!("since entry {seq}"),
            None => "since the start".to_owned(),
        }
    }

    /// Looks at the worker's files, if a tree is something to show. What is new there is a mark.
    async fn shows_something_new(&self, call: u64) -> Result<bool, RunEnd> {
        let (Some(view), Some(blobs)) = (self.passage.workspace.clone(), &self.passage.blobs) else { return Ok(false) };
        if self.passage.grants.files != FileGrant::ReadWrite {
            return Ok(false);
        }
        let (view, seen) = blocking(move || {
            let now = view.look();
            (view, now)
        })
        .await?;
        // What cannot be read shows nothing.
        let Ok(now) = seen else { return Ok(false) };
        let mark = Mark { kind: MarkKind::Tree, digest: view.mark(&now) };
        if !lock(&self.passage.progress).is_new(mark) {
            return Ok(false);
        }
        let Ok(tree) = keep_tree(blobs, &view, now).await? else { return Ok(false) };
        lock(&self.passage.progress).observe(mark);
        self.earned(None, call, Marked { mark, tree: Some(tree) }).await?;
        Ok(true)
    }

    /// Stops the run here if its line is stopped and the job says that it freezes then.
    ///
    /// # Errors
    /// [`RunEnd::Stopped`].
    pub async fn stay_if_frozen(&self) -> Result<(), RunEnd> {
        if self.passage.on_pull == OnPull::Drain {
            return Ok(());
        }
        let line = self.passage.line.clone();
        let looked =
            self.passage.journal.step_at_any_time(vec![Need::Line(line.clone())], Durability::Lazy, move |step| {
                step.books.line(&line).lock.map(|lock| lock.first)
            });
        match looked.await? {
            None => Ok(()),
            Some(pull) => Err(self.freeze(pull)),
        }
    }

    pub(super) fn freeze(&self, pull: Pull) -> RunEnd {
        self.passage.cord.pull(Stop::Frozen { pull });
        RunEnd::Stopped
    }

    /// The line to look at in the transaction that dispatches, if a pull of it freezes the run.
    pub(super) fn freezes_with(&self) -> Option<ScopeId> {
        match self.passage.on_pull {
            OnPull::Drain => None,
            OnPull::Freeze => Some(self.passage.line.clone()),
        }
    }

    /// Waits for a silence (G7): no call of the guest's, and none on its way, for as long as the job says. Then the cord is
    /// pulled, and this never returns.
    pub async fn watch_for_silence(&self) -> std::convert::Infallible {
        let stall = Duration::from_millis(self.passage.guards.stall_ms);
        loop {
            let (heard, busy) = self.pulse.latest();
            // What a journal tells is not to be timed again.
            let busy = busy || self.passage.journal.is_shut() || self.passage.journal.is_telling();
            let due = if busy { self.passage.clock.now() } else { heard } + stall;
            self.passage.clock.sleep_until(due).await;
            if busy || self.pulse.latest() != (heard, false) {
                continue;
            }
            let suspicion = Suspicion {
                guard: Guard::Silence,
                fact: format!("no call of the worker's for {} ms", self.passage.guards.stall_ms),
            };
            self.passage.cord.pull(Stop::Stuck { suspicion, since: self.since() });
            std::future::pending::<()>().await;
        }
    }
}

/// Whether a call came to nothing because of the provider, and not of what was asked.
fn is_providers(denied: &Denied) -> bool {
    match denied {
        Denied::Failed(failure) => match failure.kind {
            FailureKind::Unavailable | FailureKind::Overloaded | FailureKind::TimedOut | FailureKind::Broken => true,
            FailureKind::Rejected | FailureKind::SchemaViolation => false,
        },
        Denied::Refused(_) => false,
    }
}

/// When a guest was heard last.
pub(super) struct Pulse {
    clock: Clock,
    state: Mutex<(Instant, u32)>,
}

/// A call of the guest's that is on its way.
pub(super) struct Busy<'a>(&'a Pulse);

impl Pulse {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::new((clock.now(), 0)) }
    }

    /// Until it is dropped the host is at work for the guest.
    pub(super) fn busy(&self) -> Busy<'_> {
        lock(&self.state).1 += 1;
        Busy(self)
    }

    fn latest(&self) -> (Instant, bool) {
        let (heard, busy) = *lock(&self.state);
        (heard, busy > 0)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        *state = (self.0.clock.now(), state.1.saturating_sub(1));
    }
}
