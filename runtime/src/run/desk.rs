//! The operator's desk: what a person may look up in the books, and do to them by hand.
//!
//! Never: is reached by a guest, acts without a reason. Each act is kept with what it did, in the same transaction.

use std::io::{Read, Seek, Write};
use std::sync::Arc;

use crate::doors::blobs::{BlobError, MAX_TREE_BYTES};
use crate::doors::chain::KeptEntry;
use crate::doors::clock::Clock;
use crate::doors::state::State;
use crate::doors::store::{Durability, Need, RunRow, Store, StoreError, accept_clock, transact};
use crate::doors::tree::Manifest;
use crate::rules::digest::Digest;
use crate::rules::effect::Effect;
use crate::rules::explanation::{Explanation, explain};
use crate::rules::ledger::{Amounts, CallId, Denial, Ledger, Level, ScopeId};
use crate::rules::model::Request;
use crate::rules::operate::{self, Act, Deed};
use crate::rules::policy::{self, Counts};
use crate::rules::quote;
use crate::rules::spec::RunSpec;

use super::admission::Scopes;
use super::meter::Meter;
use super::past::{self, Past, PastError};
use super::recovery::{self, blocking, close_dead_runs};
use super::retention::{self, PruneError, Pruned, Retention};
use super::runner::Reached;
use super::transfer::{self, Summary, TransferError};

/// The books, for an operator.
#[derive(Clone)]
pub struct Desk {
    store: Arc<dyn Store>,
    state: State,
    clock: Clock,
}

/// Who acts, and why.
#[derive(Clone, Debug)]
pub struct Because {
    pub by: String,
    pub reason: String,
}

async fn blocking_past<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, PastError> + Send + 'static,
) -> Result<T, PastError> {
    let read = tokio::task::spawn_blocking(read).await;
    read.unwrap_or_else(|panic| Err(StoreError::Failed(panic.to_string()).into()))
}

async fn blocking_transfer<T: Send + 'static>(
    transfer: impl FnOnce() -> Result<T, TransferError> + Send + 'static,
) -> Result<T, TransferError> {
    let done = tokio::task::spawn_blocking(transfer).await;
    done.unwrap_or_else(|panic| Err(StoreError::Failed(panic.to_string()).into()))
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeskError {
    /// The books could not be read or changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger does not allow it.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The run has no such model.
    #[error("the job grants no model {0:?}")]
    NoModel(String),
}

impl Desk {
    /// A desk over these books.
    pub fn new(store: Arc<dyn Store>, state: State, clock: Clock) -> Self {
        Self { store, state, clock }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z: windows are told at this time.
    pub fn now_ms(&self) -> u64 {
        self.clock.unix_ms()
    }

    /// The journal of a run, checked, also if its contents are erased.
    ///
    /// # Errors
    /// [`PastError`].
    pub async fn entries(&self, serial: &str) -> Result<Vec<KeptEntry>, PastError> {
        let (store, serial) = (Arc::clone(&self.store), serial.to_owned());
        blocking_past(move || past::entries(&*store, &serial)).await
    }

    /// A past run of which nothing is erased.
    ///
    /// # Errors
    /// [`PastError`].
    pub async fn past(&self, serial: &str) -> Result<Past, PastError> {
        let (store, serial) = (Arc::clone(&self.store), serial.to_owned());
        blocking_past(move || Past::open(&store, &serial)).await
    }

    /// Writes a run into one file, with the runs that it is a fork of and everything that they need.
    ///
    /// # Errors
    /// [`TransferError`]: what was written is of no use.
    pub async fn export(&self, serial: &str, mut out: impl Write + Send + 'static) -> Result<Summary, TransferError> {
        let (store, state, serial) = (Arc::clone(&self.store), self.state.clone(), serial.to_owned());
        blocking_transfer(move || transfer::export(&*store, &state, &serial, &mut out)).await
    }

    /// Brings in the runs of an export, after all of it was checked. Those that are here already stay as they are.
    ///
    /// # Errors
    /// [`TransferError`]: the export is not what was written, or a run of its serial is here and is another.
    pub async fn import(&self, mut source: impl Read + Seek + Send + 'static) -> Result<Summary, TransferError> {
        let (store, state) = (Arc::clone(&self.store), self.state.clone());
        let unpacked = blocking_transfer(move || transfer::unpack(&*store, &state, &mut source)).await?;
        transfer::import(&self.store, unpacked).await
    }

    /// All runs, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn runs(&self) -> Result<Vec<RunRow>, StoreError> {
        let store = Arc::clone(&self.store);
        blocking(move || store.runs()).await
    }

    /// A tree that a run left. Blocking.
    ///
    /// # Errors
    /// It is gone or damaged.
    pub fn tree(&self, address: &Digest) -> Result<Manifest, BlobError> {
        self.state.blobs().tree(address, MAX_TREE_BYTES)
    }

    /// Checks a run as anybody could who has its export: the chain, everything that it names, and those of its parents;
    /// and that `verdict.json` is what the journal says.
    ///
    /// # Errors
    /// [`TransferError`] with the first entry that is wrong.
    pub async fn verify(&self, serial: &str) -> Result<Summary, TransferError> {
        let (store, state, name) = (Arc::clone(&self.store), self.state.clone(), serial.to_owned());
        let checked = tokio::task::spawn_blocking(move || {
            transfer::same_verdict(&*store, &state, &name)?;
            let (mut read, mut write) =
                std::io::pipe().map_err(|source| TransferError::Io { what: "make a pipe", source })?;
            std::thread::scope(|scope| {
                // Dropped with the thread, so that the reader comes to an end.
                let writer = scope.spawn(move || transfer::export(&*store, &state, &name, &mut write));
                let checked = transfer::verify(&mut read);
                drop(read);
                match writer.join() {
                    Ok(Err(error)) => Err(error),
                    Ok(Ok(_)) | Err(_) => checked,
                }
            })
        });
        checked.await.unwrap_or_else(|panic| Err(StoreError::Failed(panic.to_string()).into()))
    }

    /// Erases contents of runs that are over.
    ///
    /// # Errors
    /// [`PruneError`].
    pub async fn prune(&self, retention: Retention) -> Result<Pruned, PruneError> {
        retention::prune(&self.store, &self.state, retention).await
    }

    /// The host's directory.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The whole ledger as it is now, without calls that are over. What runs left behind whose process is gone is closed
    /// first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn survey(&self) -> Result<Ledger, StoreError> {
        close_dead_runs(&self.store, &self.state).await?;
        let store = Arc::clone(&self.store);
        blocking(move || store.survey()).await
    }

    /// What the first call of a run would meet, if the run began now under this serial: what others have spent, have
    /// reserved and hold counts. `way` leads to the model of the request. Nothing is written, and nothing leaves.
    ///
    /// # Errors
    /// [`DeskError`]: the books could not be read, or the run could not be opened for another reason than a limit.
    pub async fn quote(
        &self,
        spec: &RunSpec,
        serial: &str,
        request: &Request,
        way: &Reached,
    ) -> Result<Explanation, DeskError> {
        let store = Arc::clone(&self.store);
        let mut ledger = blocking(move || store.survey()).await?;
        let now_ms = self.now_ms();
        // As an admission does it, but in our copy alone.
        let open = ledger.scopes().filter(|(id, scope)| id.level() == Level::Attempt && !scope.closed);
        let dead = recovery::dead(&self.state, open.map(|(id, _)| id.clone()).collect());
        dead.iter().for_each(|attempt| ledger.close(attempt, now_ms));

        let scopes = Scopes::of(spec, spec.item.as_deref().unwrap_or(serial), serial);
        scopes.open(&mut ledger, spec, now_ms)?;
        let begun = Meter::begin(&mut ledger, &scopes.attempt, &Meter::id(serial), spec.caps.memory_bytes, now_ms);
        let left = |line| ledger.headroom(&scopes.attempt, line, now_ms);
        let profile =
            &spec.models.get(&request.model).ok_or_else(|| DeskError::NoModel(request.model.clone()))?.profile;
        let explanation = explain(request, profile, way.net_need(request), left);
        let allowed = policy::rule(&spec.grants, Counts::default(), &Effect::Model { request: request.clone() });
        // In the order in which the run would meet them.
        Ok(match (begun, allowed) {
            (Err(Denial::Short(short)), _) => explanation.refused(quote::exhausted(*short)),
            (Err(denial), _) => return Err(denial.into()),
            (Ok(_), Err(refusal)) => explanation.refused(refusal),
            (Ok(_), Ok(())) => explanation,
        })
    }

    /// What operators did, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn acts(&self) -> Result<Vec<Act>, StoreError> {
        let store = Arc::clone(&self.store);
        blocking(move || store.acts()).await
    }

    /// Raises limits of a scope; all of them, or none. A run that is on its way has them at once.
    ///
    /// # Errors
    /// [`DeskError`]: nothing was raised.
    pub async fn top_up(&self, scope: &ScopeId, amounts: Amounts, because: Because) -> Result<Act, DeskError> {
        let (needs, scope) = (vec![Need::Scope(scope.clone())], scope.clone());
        self.act(needs, because, move |ledger, now_ms| operate::top_up(ledger, &scope, &amounts, now_ms)).await
    }

    /// Ends a held call with what it cost.
    ///
    /// # Errors
    /// [`DeskError`]: it is held as before, or never was.
    pub async fn write_off(&self, call: &CallId, spent: Amounts, because: Because) -> Result<Act, DeskError> {
        let (needs, call) = (vec![Need::Call(call.clone())], call.clone());
        self.act(needs, because, move |ledger, now_ms| operate::write_off(ledger, &call, &spent, now_ms)).await
    }

    /// Believes the clock although it is behind what the store has seen: rolling windows count from it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn accept_clock(&self, because: Because) -> Result<Act, StoreError> {
        let act = Act { at_ms: self.now_ms(), by: because.by, reason: because.reason, deed: Deed::AcceptClock };
        accept_clock(&*self.store, act.clone()).await?;
        Ok(act)
    }

    async fn act(
        &self,
        needs: Vec<Need>,
        because: Because,
        deed: impl FnOnce(&mut Ledger, u64) -> Result<Deed, Denial> + Send + 'static,
    ) -> Result<Act, DeskError> {
        let done = transact(&*self.store, needs, Durability::Durable, move |books| {
            let deed = deed(books.ledger, books.now_ms)?;
            let act = Act { at_ms: books.now_ms, by: because.by, reason: because.reason, deed };
            books.record(act.clone());
            Ok::<_, Denial>(act)
        });
        Ok(done.await??)
    }
}
