//! What runs left behind whose process is gone: their scopes are closed, so that what was not sent is free again, and what
//! may have been sent is held.
//!
//! Never: closes a run that somebody still has, guesses what a call cost. Invariant here: L4 (after a crash anywhere, what
//! is spent or held is at least what was really spent).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::doors::chain::{Flaw, KeptEntry, story};
use crate::doors::state::State;
use crate::doors::store::{AtClock, Durability, Need, Store, StoreError, transact, transact_at};
use crate::rules::andon::{Category, Pull, Pulled};
use crate::rules::effect::{Answer, Body, Denied, Effect, Kind};
use crate::rules::facts::Facts;
use crate::rules::guard::{self, Memory};
use crate::rules::ledger::ScopeId;
use crate::rules::spec::Guards;
use crate::rules::verdict::Stop;

use super::admission::Scopes;
use super::line::{self, Place};
use super::lost::{self, Dead};

/// Closes the scopes of dead runs. Returns the pulls of lines whose jobs want that.
///
/// # Errors
/// [`StoreError`]: they stay as they are.
pub(super) async fn close_dead_runs(store: &Arc<dyn Store>, state: &State) -> Result<Vec<Pulled>, StoreError> {
    let (books, host) = (Arc::clone(store), state.clone());
    let dead = blocking(move || Ok(dead(&host, books.open_attempts()?))).await?;
    let pulled = lost::pull_for_lost(store, state, &dead).await?;
    close_scopes(store, dead).await?;
    Ok(pulled)
}

/// As [`close_dead_runs`], for a caller that has no hooks to run: it skips runs whose jobs pull their line when they are lost. The
/// next admission closes those and runs its hooks.
///
/// # Errors
/// [`StoreError`]: they stay as they are.
pub(super) async fn close_quiet_dead_runs(store: &Arc<dyn Store>, state: &State) -> Result<(), StoreError> {
    let (books, host) = (Arc::clone(store), state.clone());
    let quiet = move || {
        let mut dead = dead(&host, books.open_attempts()?);
        dead.retain(|attempt| !Dead::read(&books, attempt.name()).is_some_and(|dead| dead.wants_pull()));
        Ok(dead)
    };
    close_scopes(store, blocking(quiet).await?).await
}

async fn close_scopes(store: &Arc<dyn Store>, dead: Vec<ScopeId>) -> Result<(), StoreError> {
    if dead.is_empty() {
        return Ok(());
    }
    let needs = dead.iter().cloned().map(Need::Tree).collect();
    transact_at(&**store, needs, Durability::Durable, AtClock::Any, move |books| {
        dead.iter().for_each(|attempt| books.ledger.close(attempt, books.now_ms));
    })
    .await
}

/// Those of the attempts whose process is gone. Of whom nobody can say whether it is alive, it is.
pub(super) fn dead(state: &State, mut open: Vec<ScopeId>) -> Vec<ScopeId> {
    open.retain(|attempt| state.is_dead(attempt.name()).unwrap_or(false));
    open
}

/// What the latest run of an item left that did not say how it ended.
#[derive(Default)]
pub(super) struct Left {
    /// What the item is to remember of it.
    pub(super) behind: Option<Behind>,
    /// The run, which has no end.
    pub(super) dead: Option<Box<Dead>>,
}

/// What a run left that had the item and did not say how it ended.
pub(super) struct Behind {
    /// It has shown something.
    pub(super) marked: bool,
    pub(super) memory: Memory,
    /// What stopped it, if something did: it was killed before it could say how it ended.
    pub(super) stop: Option<Stop>,
}

/// What the latest run of the item left, if it did not say how it ended. If its journal is not what was
/// written, the line is pulled.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn what_was_left(store: &Arc<dyn Store>, scopes: &Scopes) -> Result<Left, StoreError> {
    let id = scopes.item.clone();
    let item = transact(&**store, vec![Need::Item(id.clone())], Durability::Lazy, move |books| books.item(&id));
    let item = item.await?;
    let (books, latest) = (Arc::clone(store), item.latest.clone());
    let dead = blocking(move || Ok(latest.and_then(|latest| Dead::read(&books, &latest)).map(Box::new))).await?;
    let Some(run) = item.open else { return Ok(Left { behind: None, dead }) };
    let (books, serial) = (Arc::clone(store), run.clone());
    let opened = blocking(move || {
        let Some(kept) = books.journal(&serial)? else { return Ok(Ok((false, Memory::default(), None))) };
        Ok(kept.open().and_then(|entries| recalled(&entries, item.memory)))
    });
    match opened.await? {
        Ok((marked, memory, stop)) => Ok(Left { behind: Some(Behind { marked, memory, stop }), dead }),
        Err(flaw) => {
            let place = Place::of_run(&scopes.line, &run, scopes.item.name());
            let pull = Pull::by_host(Category::JournalCorrupt, format!("the journal of run {run}: {flaw}"));
            line::stop(store, place, pull).await?;
            Err(StoreError::Corrupt(format!("the journal of run {run}: {flaw}")))
        }
    }
}

/// Whether a journal has marks, and what the calls in it came to, after what was known before. What is erased is forgotten.
pub(super) fn recalled(entries: &[KeptEntry], mut memory: Memory) -> Result<(bool, Memory, Option<Stop>), Flaw> {
    let mut guards = Guards::default();
    let mut tools = BTreeMap::new();
    let (mut asked, mut fetched, mut stopped, mut open_question) = (BTreeMap::new(), BTreeMap::new(), None, None);
    for entry in story(entries.to_vec()) {
        let Some(entry) = entry.entry()? else { continue };
        match entry.body {
            Body::Opened { opening } => guards = opening.job.spec.guards.bounded(),
            Body::Marked { .. } => memory.marked(),
            Body::Stopped { stop } => stopped = Some(stop),
            // Killed between the two: it waits for a person, and could not say so.
            Body::Intent { call, effect: Effect::Human { question, .. }, .. } => open_question = Some((call, question)),
            Body::Answered { call, .. } if open_question.as_ref().is_some_and(|(asked, _)| *asked == call) => {
                open_question = None;
            }
            Body::Intent { call, effect: Effect::Model { request }, .. } => {
                memory.asked(&request.messages, &guards);
                asked.insert(call, request);
            }
            Body::Intent { call, effect: Effect::Fetch { request }, .. } => drop(fetched.insert(call, request)),
            Body::Intent { call, effect: Effect::Tool { name, input, .. }, .. } => {
                drop(tools.insert(call, (name, input)))
            }
            Body::Answered { call, kind: Kind::Tool | Kind::Compute, heard, .. } => {
                match (tools.remove(&call), heard) {
                    (Some((name, input)), Ok(Answer::Tool { output })) => {
                        memory.hosted(&name, &input, Ok(&output), &guards);
                    }
                    (Some((name, input)), Err(Denied::Failed(failure))) => {
                        memory.hosted(&name, &input, Err(&failure.message), &guards);
                    }
                    (None, _) | (Some(_), Ok(_) | Err(Denied::Refused(_))) => {}
                }
            }
            Body::Answered { call, kind: Kind::Fetch | Kind::Send, heard, .. } => {
                match (fetched.remove(&call), heard) {
                    (Some(request), Ok(Answer::Fetched { reply })) => memory.fetched(&request, &reply, &guards),
                    (Some(_), Err(Denied::Failed(failure))) => {
                        memory.tool_failed(guard::FETCH, &failure.message, &guards)
                    }
                    (None, _) | (Some(_), Ok(_) | Err(Denied::Refused(_))) => {}
                }
            }
            Body::Answered { call, heard, .. } => {
                // Nobody can tell from a journal whether it was one of several at once, of which the same is no cycle.
                let alone = false;
                let Some(request) = asked.remove(&call) else { continue };
                match heard {
                    Ok(Answer::Model { reply, .. }) => {
                        memory.replied(&request.model, &request.messages, &reply, alone, &guards);
                    }
                    Err(Denied::Failed(failure)) if failure.kind.may_pass() => {}
                    Err(Denied::Failed(failure)) => memory.model_failed(&request.model, &failure.message, &guards),
                    Ok(_) | Err(Denied::Refused(_)) => {}
                }
            }
            Body::Refused { refusal, .. } if guard::is_strike(&refusal) => memory.was_struck(),
            _ => {}
        }
    }
    let parked = open_question.map(|(_, question)| Stop::Parked { question });
    // Marks are facts, also where contents are erased.
    let marked = entries.iter().any(|entry| matches!(entry.facts, Facts::Marked { .. }));
    Ok((marked, memory.for_next_run(), stopped.or(parked)))
}

/// Reads away from the threads that guests run on.
pub(super) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|panic| Err(StoreError::Failed(panic.to_string())))
}
