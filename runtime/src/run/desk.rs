//! The operator's desk: what a person may look up in the books, and do to them by hand.
//!
//! Never: is reached by a guest, acts without a reason. Each act is kept with what it did, in the same transaction.

use std::collections::HashSet;
use std::io::{Read, Seek, Write};
use std::sync::Arc;

use crate::doors::blobs::{BlobError, MAX_TREE_BYTES};
use crate::doors::chain::KeptEntry;
use crate::doors::clock::Clock;
use crate::doors::state::{LeaseError, State};
use crate::doors::store::{AtClock, Books, Durability, Need, RunRow, Store, StoreError, accept_clock, transact_at};
use crate::doors::tree::Manifest;
use crate::rules::andon::{Category, LineRecord, Lock, NotStopped, OtherLock, Pull, Pulled, SeenLock};
use crate::rules::digest::Digest;
use crate::rules::effect::Effect;
use crate::rules::explanation::{Explanation, explain};
use crate::rules::item::{self, ItemRecord, NotNow};
use crate::rules::ledger::{Amounts, CallId, Denial, Ledger, Level, ScopeId, Terms};
use crate::rules::model::Request;
use crate::rules::operate::{self, Act, Deed};
use crate::rules::policy::{self, Counts};
use crate::rules::question::{AnswerError, Decision, Question, QuestionId};
use crate::rules::quote;
use crate::rules::record::Record;
use crate::rules::scope::upward;
use crate::rules::spec::RunSpec;

use super::admission::Scopes;
use super::line::{self, Place};
use super::meter::Meter;
use super::past::{self, Past, PastError};
use super::recovery::{self, blocking, close_quiet_dead_runs};
use super::retention::{self, PruneError, Pruned, Retention};
use super::runner::Reached;
use super::transfer::{self, Summary, TransferError};

/// Bytes of a `verdict.json` that are read: the host writes it, and a report in it has its own bounds.
const MAX_RECORD_BYTES: u64 = 64 << 20;

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
    /// The line goes on already.
    #[error(transparent)]
    NotStopped(#[from] NotStopped),
    /// A run works on the item, or its lock cannot be taken.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The item is in another state.
    #[error(transparent)]
    NotNow(#[from] NotNow),
    /// Nobody knows such an item.
    #[error("there is no item {0}; `jidoka items list` has them all, as TENANT/LINE/ITEM")]
    NoItem(String),
    /// The run asks nothing.
    #[error("there is no question {0}; `jidoka answer` lists those that are open")]
    NoQuestion(String),
    /// Its run does not go on, so nobody would hear the answer.
    #[error("run {run} does not go on: its item {item} {why}; nothing was answered")]
    NobodyAsks { run: String, item: ScopeId, why: String },
    /// The lock is not the one that was looked at.
    #[error("{0}; look at it: jidoka andon list")]
    OtherLock(#[from] OtherLock),
    /// The answer does not count.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The run has no such model.
    #[error("the job grants no model {0:?}")]
    NoModel(String),
}

/// Opens a scope and those around it, if they are defined and nothing ever ran in them.
fn open_around(
    ledger: &mut Ledger,
    scope: &ScopeId,
    defined: Vec<(ScopeId, Terms)>,
    now_ms: u64,
) -> Result<(), Denial> {
    for (id, terms) in defined {
        if ledger.scope(&id).is_none() && upward(scope.path()).any(|around| around == id.path()) {
            ledger.open(&id, terms, now_ms)?;
        }
    }
    Ok(())
}

impl Desk {
    /// A desk over these books.
    pub fn new(store: Arc<dyn Store>, state: State, clock: Clock) -> Self {
        Self { store, state, clock }
    }

    /// A past run of which nothing is erased, as it is: one that is not what was written stops no line.
    pub(super) async fn look_at(&self, serial: &str) -> Result<Past, PastError> {
        let (store, run) = (Arc::clone(&self.store), serial.to_owned());
        blocking_past(move || Past::open(&store, &run)).await
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
        let past = self.look_at(serial).await;
        line::stop_for_flaw(&self.store, serial, past).await
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

    /// What `verdict.json` says of a run. `None`: there is none that can be read. Blocking.
    pub fn record_alone(&self, serial: &str) -> Option<Record> {
        let file = self.state.run_dir(serial).ok()??.open("verdict.json").ok()?;
        let mut text = String::new();
        file.take(MAX_RECORD_BYTES).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// The records of the runs beside these: of those that have a verdict and no journal, because nothing of them ran.
    /// Blocking.
    ///
    /// # Errors
    /// The directories cannot be read.
    pub fn records_alone(&self, beside: &[RunRow]) -> std::io::Result<Vec<Record>> {
        let known: HashSet<&str> = beside.iter().map(|run| run.serial.as_str()).collect();
        let names = self.state.run_names()?.into_iter().filter(|name| !known.contains(name.as_str()));
        Ok(names.filter_map(|name| self.record_alone(&name)).collect())
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

    /// Says what [`Desk::prune`] would do, and does nothing.
    ///
    /// # Errors
    /// [`PruneError`].
    pub async fn rehearse_prune(&self, retention: Retention) -> Result<Pruned, PruneError> {
        retention::rehearse(&self.store, &self.state, retention).await
    }

    /// The host's directory.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The whole ledger as it is now, without calls that are over. What runs left behind whose process is gone is closed
    /// first, unless their jobs want their line pulled for it: the next admission does that, and its hooks hear of it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn survey(&self) -> Result<Ledger, StoreError> {
        close_quiet_dead_runs(&self.store, &self.state).await?;
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

    /// Raises limits of a scope; all of them, or none. A run that is on its way has them at once. A scope of `defined` need
    /// not be open yet.
    ///
    /// # Errors
    /// [`DeskError`]: nothing was raised.
    pub async fn top_up(
        &self,
        scope: &ScopeId,
        defined: Vec<(ScopeId, Terms)>,
        amounts: Amounts,
        because: Because,
    ) -> Result<Act, DeskError> {
        let (needs, scope) = (vec![Need::Scope(scope.clone())], scope.clone());
        self.act(needs, because, move |ledger, now_ms| {
            open_around(ledger, &scope, defined, now_ms)?;
            operate::top_up(ledger, &scope, &amounts, now_ms)
        })
        .await
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

    /// All items, in the order of their paths.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn items(&self) -> Result<Vec<(ScopeId, ItemRecord)>, StoreError> {
        let store = Arc::clone(&self.store);
        blocking(move || store.items()).await
    }

    /// All lines that were ever pulled or had a run.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lines(&self) -> Result<Vec<(ScopeId, LineRecord)>, StoreError> {
        let store = Arc::clone(&self.store);
        blocking(move || store.lines()).await
    }

    /// All pulls, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn pulls(&self) -> Result<Vec<Pulled>, StoreError> {
        let store = Arc::clone(&self.store);
        blocking(move || store.pulls()).await
    }

    /// All questions to people, answered ones included.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn questions(&self) -> Result<Vec<(QuestionId, Question)>, StoreError> {
        let store = Arc::clone(&self.store);
        blocking(move || store.questions()).await
    }

    /// Stops a line: from when this returns nothing of it begins, in any process.
    ///
    /// # Errors
    /// [`StoreError`]: it is not stopped.
    pub async fn pull_line(&self, line: &ScopeId, category: Category, because: Because) -> Result<Pulled, StoreError> {
        let pull = Pull::by_operator(category, &because.reason);
        line::stop(&self.store, Place::of_person(line, &because.by), pull).await
    }

    /// Lets a line go on, with the cause of the stop as the reason and what is other from now on. `seen` is the lock that is
    /// meant; without it, it is the one that is there.
    ///
    /// # Errors
    /// [`DeskError::NotStopped`]. [`DeskError::OtherLock`]: another lock is there, or it was pulled since.
    pub async fn clear_line(
        &self,
        line: &ScopeId,
        seen: Option<SeenLock>,
        policy_change: Option<String>,
        because: Because,
    ) -> Result<Act, DeskError> {
        let line = line.clone();
        let needs = vec![Need::Line(line.clone())];
        let mut pulls = if seen.is_some() { self.pulls().await? } else { vec![] };
        pulls.retain(|pulled| pulled.line == line);
        self.act_on(needs, AtClock::NotBehind, because, move |books| {
            let mut record = books.line(&line);
            if let (Some(seen), Some(lock)) = (seen, &record.lock) {
                seen.is(lock, &pulls)?;
            }
            let Lock { number: lock, pulls, .. } = record.clear()?;
            books.remember_line(&line, record);
            Ok(Deed::ClearLine { line, lock, pulls, policy_change })
        })
        .await
    }

    /// Lets an item be tried again, with all its attempts before it, and forgets what it has shown.
    ///
    /// # Errors
    /// [`DeskError`]: a run works on it, or there is nothing to revive.
    pub async fn revive(&self, item: &ScopeId, because: Because) -> Result<Act, DeskError> {
        let reason = because.reason.clone();
        let revive = move |record: &mut ItemRecord, now_ms| record.revive(&reason, now_ms);
        self.act_on_item(item, AtClock::NotBehind, because, revive, |item, was| Deed::Revive { item, was }).await
    }

    /// Gives an item up.
    ///
    /// # Errors
    /// [`DeskError`]: a run works on it, or it is at its end.
    pub async fn abandon(&self, item: &ScopeId, because: Because) -> Result<Act, DeskError> {
        let reason = because.reason.clone();
        self.act_on_item(
            item,
            AtClock::Any,
            because,
            move |record, now_ms| record.abandon(&reason, now_ms),
            |item, was| Deed::Abandon { item, was },
        )
        .await
    }

    async fn act_on_item(
        &self,
        item: &ScopeId,
        clock: AtClock,
        because: Because,
        change: impl FnOnce(&mut ItemRecord, u64) -> Result<(), NotNow> + Send + 'static,
        deed: impl FnOnce(ScopeId, item::State) -> Deed + Send + 'static,
    ) -> Result<Act, DeskError> {
        let path: Vec<&str> = item.path().split('/').collect();
        let [tenant, line, name] = path.as_slice() else { return Err(DeskError::NoItem(item.path().to_owned())) };
        // As long as it is held no run works on the item.
        let _lease = self.state.lease(tenant, line, name)?;
        let id = item.clone();
        self.act_on(vec![Need::Item(id.clone())], clock, because, move |books| {
            if !books.knows(&id) {
                return Err(DeskError::NoItem(id.path().to_owned()));
            }
            let mut record = books.item(&id);
            let was = record.state;
            change(&mut record, books.now_ms)?;
            books.remember(&id, record);
            Ok(deed(id, was))
        })
        .await
    }

    /// Answers a question: this one, and no other that its run may ask meanwhile. `choice` counts from 1.
    ///
    /// # Errors
    /// [`DeskError`]: there is none, its time is over, or it has no such option.
    pub async fn answer(&self, id: &QuestionId, choice: u32, note: String, because: Because) -> Result<Act, DeskError> {
        let (id, by) = (id.clone(), because.by.clone());
        let (store, run) = (Arc::clone(&self.store), id.run.to_string());
        let row = blocking(move || store.run(&run)).await?;
        let item = row.map(|row| ScopeId::host().child(&row.tenant).child(&row.line).child(&row.item));
        let needs = item.iter().cloned().map(Need::Item).chain([Need::Question(id.clone())]).collect();
        self.act_on(needs, AtClock::NotBehind, because, move |books| {
            if let Some(item) = item.filter(|item| books.knows(item)) {
                let record = books.item(&item);
                if let Some(why) = record.gone_from(&id.run) {
                    return Err(DeskError::NobodyAsks { run: id.run.to_string(), item, why });
                }
            }
            let Some(mut question) = books.question(&id).cloned() else {
                return Err(DeskError::NoQuestion(id.to_string()));
            };
            let at_ms = books.now_ms;
            // One less than nothing is none of the options either.
            question.answer(Decision { choice: choice.wrapping_sub(1), note, by, at_ms })?;
            let answer = question.options.get(choice.wrapping_sub(1) as usize).cloned().unwrap_or_default();
            let deed =
                Deed::Answer { run: id.run.to_string(), call: id.call, question: question.question.clone(), answer };
            books.remember_question(&id, question);
            Ok(deed)
        })
        .await
    }

    async fn act(
        &self,
        needs: Vec<Need>,
        because: Because,
        deed: impl FnOnce(&mut Ledger, u64) -> Result<Deed, Denial> + Send + 'static,
    ) -> Result<Act, DeskError> {
        self.act_on(needs, AtClock::NotBehind, because, move |books| Ok(deed(books.ledger, books.now_ms)?)).await
    }

    async fn act_on(
        &self,
        needs: Vec<Need>,
        clock: AtClock,
        because: Because,
        deed: impl FnOnce(&mut Books<'_>) -> Result<Deed, DeskError> + Send + 'static,
    ) -> Result<Act, DeskError> {
        let done = transact_at(&*self.store, needs, Durability::Durable, clock, move |books| {
            let deed = deed(books)?;
            let act = Act { at_ms: books.now_ms, by: because.by, reason: because.reason, deed };
            books.record(act.clone());
            Ok::<_, DeskError>(act)
        });
        done.await?
    }
}
