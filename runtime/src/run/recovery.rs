//! What runs left behind whose process is gone: their scopes are closed, so that what was not sent is free again, and what
//! may have been sent is held.
//!
//! Never: closes a run that somebody still has, guesses what a call cost. Invariant here: L4 (after a crash anywhere, what
//! is spent or held is at least what was really spent).

use std::sync::Arc;

use crate::doors::state::State;
use crate::doors::store::{Durability, Need, Store, StoreError, transact};
use crate::rules::ledger::ScopeId;
use crate::rules::progress::Mark;

/// Closes the scopes of dead runs, and returns them.
///
/// # Errors
/// [`StoreError`]: they stay as they are.
pub(super) async fn close_dead_runs(store: &Arc<dyn Store>, state: &State) -> Result<Vec<ScopeId>, StoreError> {
    let (books, state) = (Arc::clone(store), state.clone());
    let dead = blocking(move || Ok(dead(&state, books.open_attempts()?))).await?;
    if dead.is_empty() {
        return Ok(dead);
    }
    let needs = dead.iter().cloned().map(Need::Tree).collect();
    transact(&**store, needs, Durability::Durable, move |books| {
        for attempt in &dead {
            books.ledger.close(attempt, books.now_ms);
        }
        dead
    })
    .await
}

/// Those of the attempts whose process is gone. Of whom nobody can say whether it is alive, it is.
pub(super) fn dead(state: &State, mut open: Vec<ScopeId>) -> Vec<ScopeId> {
    open.retain(|attempt| state.is_dead(attempt.name()).unwrap_or(false));
    open
}

/// What the run showed that had the item and did not say how it ended, if there is one.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn what_was_left(store: &Arc<dyn Store>, item: &ScopeId) -> Result<Vec<Mark>, StoreError> {
    let id = item.clone();
    let item = transact(&**store, vec![Need::Item(id.clone())], Durability::Lazy, move |books| books.item(&id));
    let Some(left) = item.await?.open else { return Ok(Vec::new()) };
    let books = Arc::clone(store);
    blocking(move || books.marks(&left)).await
}

/// Reads away from the threads that guests run on.
pub(super) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|panic| Err(StoreError::Failed(panic.to_string())))
}
