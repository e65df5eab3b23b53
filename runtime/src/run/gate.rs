//! The one door between a worker and the world: every effect passes here, and nothing else does.
//!
//! Cord -> told by the journal? -> policy -> bound and reserve in one transaction -> pace -> dispatch and journal INTENT in
//! one transaction -> the door performs -> validate -> settle and journal ANSWERED in one transaction -> the guest hears.
//! A model that is overloaded is asked again within one effect (`again`). Never: decides a verdict. Invariants here: L8 (no
//! byte leaves without a journalled call), intent durable before the world moves, answer durable before the guest hears, and
//! what the journal tells is not performed again.

mod again;
mod call;
mod child;
mod fetch;
mod guards;
mod human;
mod left;
mod marks;
mod retell;
mod tool;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use cap_std::fs::Dir;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};

use crate::doors::blobs::Blobs;
use crate::doors::clock::{Clock, millis};
use crate::doors::fetch::Fetch;
use crate::doors::ignored::Ignored;
use crate::doors::model::Call;
use crate::doors::pace::{Admission, Pace};
use crate::doors::rates::RateNews;
use crate::doors::schema::Schema;
use crate::doors::store::{Durability, Need};
use crate::doors::trail::{Touch, Trail};
use crate::doors::tree::{self, Bounds, Change, Manifest, Seen};
use crate::doors::workspace;
use crate::rules::andon::{Category, Pull, Puller};
use crate::rules::digest::Digest;
use crate::rules::effect::{
    Answer, Body, Cost, Denied, Effect, Failure, FailureKind, Heard, Kind, Level, Reason, Refusal, Stream,
};
use crate::rules::egress::Target;
use crate::rules::guard::Memory;
use crate::rules::http::{HttpBody, HttpRequest};
use crate::rules::ledger::{Amounts, CallId, Denial, Dispatched, Line, Reservation, ScopeId, Shortfall};
use crate::rules::model::{OVER_BY, Profile, Request};
use crate::rules::policy::{self, Counts, Grantee, MAX_BATCH, MAX_REFUSALS};
use crate::rules::progress::Progress;
use crate::rules::question::Risk;
use crate::rules::quote::Quote;
use crate::rules::spec::{CountedBy, Grants, Guards, OnOverload, OnPull};
use crate::rules::verdict::{Stop, UsedUp};

use super::RunEnd;
use super::children::Children;
use super::cord::Cord;
use super::journal::Journal;
use super::line::{self, Place, Pulls};
use super::lock;
use super::meter::Meter;
use super::runner::Reached;
use super::senses::VirtualClock;
use super::tape::Part;
use super::tools::Tools;
use super::waits::Waits;

use self::again::{Next, Tries};
use self::call::{compile, matching, priced};
use self::guards::Pulse;
use self::marks::Marked;
pub use self::marks::{KeptTree, keep_tree};
pub use self::tool::Workshop;

/// A granted model: what is known of it, and the way to it.
pub struct ModelDoor {
    pub profile: Profile,
    /// How often a call is made again if the model says no for now.
    pub retries: u32,
    pub on_overload: OnOverload,
    pub counted_by: CountedBy,
    pub way: Reached,
}

/// The worker's files as the host looks at them.
#[derive(Clone)]
pub struct WorkspaceView {
    /// The private copy.
    pub dir: Arc<Dir>,
    pub base: Arc<Manifest>,
    pub deliverables: Arc<[String]>,
    pub ignored: Arc<Ignored>,
    pub trail: Arc<Trail>,
    pub bounds: Bounds,
}

impl WorkspaceView {
    /// Reads the tree as it is now, with the executable bits of the start, if it is what the guests made of it. Blocking.
    ///
    /// # Errors
    /// A sentence: the tree is past its bounds, could not be read, or was changed by something else.
    pub fn look(&self) -> Result<Manifest, String> {
        self.look_after(&[])
    }

    /// As [`WorkspaceView::look`], after the host changed these paths for a guest.
    ///
    /// # Errors
    /// As [`WorkspaceView::look`].
    pub fn look_after(&self, handed: &[String]) -> Result<Manifest, String> {
        let seen = self.see()?;
        self.trail.explains(&self.dir, &seen, &self.base, handed)?;
        let (now, changed) = seen.manifest.with_modes_of(&self.base);
        self.keep_modes(changed.iter().map(String::as_str)).map_err(|error| error.to_string())?;
        Ok(now)
    }

    /// Gives what is at these paths the executable bit of the start. Blocking.
    ///
    /// # Errors
    /// A mode cannot be changed.
    pub fn keep_modes<'p>(&self, paths: impl Iterator<Item = &'p str>) -> std::io::Result<()> {
        let changed = workspace::keep_modes(&self.dir, &self.base, paths)?;
        changed.into_iter().for_each(|stamp| self.trail.note(Touch::Written(stamp)));
        Ok(())
    }

    /// Makes the copy the tree of an address, as a guest left it who is told and not called again. Blocking.
    ///
    /// # Errors
    /// A sentence: the copy could not be read or written, or the tree is not kept.
    pub fn bring(&self, blobs: &Blobs, address: &Digest) -> Result<(), String> {
        let seen = self.see()?;
        // What something else changed until now is remembered, and told at the end.
        drop(self.trail.explains(&self.dir, &seen, &self.base, &[]));
        blobs.bring_to(&seen.manifest, address, &self.dir).map_err(|error| error.to_string())?;
        self.trail.reset(&self.see()?);
        Ok(())
    }

    fn see(&self) -> Result<Seen, String> {
        tree::see(&self.dir, &self.bounds, &self.ignored).map_err(|error| error.to_string())
    }

    /// The digest that shows whether a tree is progress.
    pub fn mark(&self, tree: &Manifest) -> Digest {
        tree.mark(&self.deliverables, &self.ignored)
    }

    /// What differs from the start, deliverable or not.
    pub fn changes(&self, now: &Manifest) -> Vec<Change> {
        Manifest::changes_of_work(&self.base, now, &self.ignored)
    }
}

/// Everything that a gate needs; moved in, so that nothing passes beside it.
pub struct Passage {
    pub grants: Grants,
    pub grantee: Grantee,
    pub models: BTreeMap<String, ModelDoor>,
    /// The tools of the host that the guest can call, and what they are made with.
    pub tools: Arc<Tools>,
    pub workshop: Option<Workshop>,
    /// What the guest needs to have children, if it can have any.
    pub children: Option<Arc<Children>>,
    pub web: Arc<dyn Fetch>,
    /// The models as the guest can look them up.
    pub offers: BTreeMap<String, Profile>,
    /// Messages that are replaced in what is sent: from 1, by their text.
    pub edits: BTreeMap<usize, String>,
    /// Who spends.
    pub scope: ScopeId,
    /// The line of the run, and what a pull of it does to the run.
    pub line: ScopeId,
    pub on_pull: OnPull,
    /// Pulls of the line in this run.
    pub pulls: Arc<Mutex<Pulls>>,
    pub guards: Guards,
    /// What the item's calls came to before.
    pub memory: Memory,
    /// How often in a row the item was deferred.
    pub deferrals: u32,
    pub meter: Arc<Meter>,
    /// The pace of all that the tenant asks of any model.
    pub tenant_pace: Option<Arc<Pace>>,
    pub journal: Arc<Journal>,
    /// The run's clock as its guest sees it.
    pub time: Arc<VirtualClock>,
    /// The run's serial number: part of each call's id on the wire.
    pub serial: String,
    pub cord: Cord,
    pub clock: Clock,
    pub progress: Arc<Mutex<Progress>>,
    pub evidence: Arc<Dir>,
    /// What the guest does to its files, if it may write any that somebody looks at.
    pub trail: Option<Arc<Trail>>,
    /// Where trees are kept that the guest has shown.
    pub blobs: Option<Blobs>,
    /// Where trees are that the journal names.
    pub told_trees: Option<Blobs>,
    pub workspace: Option<WorkspaceView>,
    /// Bytes of notes that are kept.
    pub log_bytes: u64,
}

/// The gate of one guest.
pub struct Gate {
    passage: Passage,
    state: Mutex<State>,
    waits: Mutex<Waits>,
    memory: Mutex<Memory>,
    /// For G7: when the guest was heard last.
    pulse: Pulse,
    /// The worker's files, as tools share them while the worker waits.
    files: tokio::sync::RwLock<()>,
}

#[derive(Default)]
struct State {
    counts: Counts,
    refusals: u64,
    log_bytes: u64,
    notes_dropped: u64,
    /// Bytes that the guest has written to its files, told ones included.
    written_bytes: u64,
    /// Of these, what was told.
    told_bytes: u64,
    /// More than this it may not write, since a write was refused.
    full: Option<u64>,
    exhausted: Option<UsedUp>,
    /// What ends the run when all that it asked for at once has its answer.
    deferral: Option<Stop>,
    /// Whether its latest call of a model came to nothing because of the provider.
    provider_failed: bool,
    repaid: u64,
    kept: Vec<Kept>,
    /// The kinds of effects that passed, with the names that they were about.
    used: BTreeMap<String, BTreeSet<String>>,
}

/// A piece of evidence that this run attached.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Kept {
    pub kind: String,
    pub name: String,
    pub id: Digest,
}

/// An effect with what only the host needs to perform it.
pub struct Ask {
    pub effect: Effect,
    /// For [`Effect::Attach`]: the bytes, which the journal does not hold.
    pub bytes: Vec<u8>,
}

impl From<Effect> for Ask {
    fn from(effect: Effect) -> Self {
        Self { effect, bytes: Vec::new() }
    }
}

/// Where one part of a batch stands among those of which nothing is told.
#[derive(Clone, Copy)]
struct Turn {
    /// As it will be when those before it are counted.
    counts: Counts,
    /// How many are not admitted yet, itself included.
    siblings: u64,
    /// It was made before, and nobody knows how it ended.
    repays: bool,
}

/// An effect that policy and ledger let through.
struct Admitted {
    call: u64,
    /// From 1; more if a crash or a stop left the call open before.
    attempt: u32,
    ask: Ask,
    /// What is sent instead of what the guest asked.
    sent: Option<Box<Request>>,
    /// For what the ledger knows of.
    paid: Option<Paid>,
    /// For a child: what was carved out for it.
    carved: Option<child::Budget>,
    schema: Option<Arc<Schema>>,
}

/// An effect of which it is known how it ended, or that may go on.
enum Passed {
    Told(Heard),
    Admitted(Box<Admitted>),
}

/// A call's reservation, and how far it has come.
struct Paid {
    quote: Quote,
    life: Life,
}

enum Life {
    /// It waits for its pace, and nothing was sent.
    Reserved(Reservation),
    Dispatched(Dispatched),
}

/// What a door brought back.
struct Performed {
    heard: Heard,
    /// `None`: nobody knows, and the reservation is held.
    spent: Option<Amounts>,
    /// In doubt, beside that.
    held: Amounts,
    raw_usage: Option<String>,
    took_ms: u64,
    waited_ms: u64,
    marked: Option<Marked>,
    /// Where the guest's tree is kept as the effect left it, if it may have changed it.
    tree: Option<KeptTree>,
    /// What the provider said of its rate.
    rates: RateNews,
}

impl Passage {
    /// The item of the run, by its scope's place.
    fn item(&self) -> &str {
        self.scope.path().split('/').nth(2).unwrap_or_default()
    }
}

impl Gate {
    /// A gate that nothing has passed yet.
    pub fn new(mut passage: Passage) -> Self {
        let memory = Mutex::new(std::mem::take(&mut passage.memory));
        // A journal of a stranger's may say anything.
        passage.guards = passage.guards.bounded();
        let pulse = Pulse::new(passage.clock);
        Self {
            passage,
            state: Mutex::default(),
            waits: Mutex::default(),
            memory,
            pulse,
            files: tokio::sync::RwLock::default(),
        }
    }

    /// Passes one effect.
    ///
    /// # Errors
    /// [`RunEnd`]: the run is over. What the guest may hear of is in [`Heard`].
    pub async fn pass(&self, ask: impl Into<Ask>) -> Result<Heard, RunEnd> {
        let mut heard = self.pass_all(vec![ask.into()]).await?;
        Ok(heard.pop().expect("one effect, one answer"))
    }

    /// Passes a batch, whose parts run at the same time and are answered in order.
    ///
    /// # Errors
    /// As [`Gate::pass`].
    pub fn pass_all(&self, asks: Vec<Ask>) -> BoxFuture<'_, Result<Vec<Heard>, RunEnd>> {
        // On the heap, or each import of a guest's would have a copy of the whole gate in its own future.
        self.pass_batch(asks).boxed()
    }

    async fn pass_batch(&self, asks: Vec<Ask>) -> Result<Vec<Heard>, RunEnd> {
        let asks: Vec<Ask> = asks.into_iter().map(|ask| self.with_reach(ask)).collect();
        let _busy = self.pulse.busy();
        if self.passage.cord.is_pulled() {
            return Err(RunEnd::Stopped);
        }
        let first = self.passage.journal.next_calls(asks.len());
        let told = self.retell(first, &asks).await?;
        if let Err(refusal) = policy::at_most("requests in one batch", asks.len() as u64, MAX_BATCH as u64) {
            let mut heard = Vec::with_capacity(asks.len());
            for ((call, ask), told) in (first..).zip(asks).zip(told) {
                if let Part::Told { heard: told, .. } = told {
                    heard.push(told);
                } else if let Err(refusal) = self.refuse::<Answer>(call, ask.effect, refusal.clone()).await? {
                    heard.push(Err(Denied::Refused(refusal)));
                }
            }
            return Ok(heard);
        }
        // In the order in which they were asked: each takes its place in the store's queue before the next one.
        let alone = asks.len() == 1;
        let turns = self.turns(&told);
        let admitted = join_all((first..).zip(asks).zip(told).zip(turns).map(async |(((call, ask), told), turn)| {
            match told {
                Part::Told { heard, .. } => Ok(Ok(Passed::Told(heard))),
                told @ (Part::Open { .. } | Part::Again { .. } | Part::New) => Ok(self
                    .admit(call, told.attempts().saturating_add(1), ask, turn)
                    .await?
                    .map(|admitted| Passed::Admitted(Box::new(admitted)))),
            }
        }))
        .await;
        if admitted.iter().any(Result::is_err) {
            return Err(self.give_back(admitted).await);
        }
        let admitted = admitted.into_iter().collect::<Result<Vec<_>, _>>()?;
        // Each part is booked when it is done, whatever becomes of the others.
        let heard = join_all(admitted.into_iter().map(async |passed| match passed {
            Ok(Passed::Told(heard)) => Ok(heard),
            Ok(Passed::Admitted(admitted)) => self.carry_out(*admitted, alone).await,
            Err(refusal) => Ok(Err(Denied::Refused(refusal))),
        }))
        .await;
        let heard = heard.into_iter().collect::<Result<_, _>>()?;
        self.end_if_deferred()?;
        Ok(heard)
    }

    /// The turn of each part of a batch. Those before one are on their way when it is admitted, and counted only later.
    fn turns(&self, told: &[Part]) -> Vec<Turn> {
        let counts = self.state().counts;
        let is_untold = |part: &Part| !matches!(part, Part::Told { .. });
        let all = told.iter().filter(|part| is_untold(part)).count() as u64;
        let turn = |before: &mut u64, part: &Part| {
            let repays = matches!(part, Part::Open { .. });
            let turn = Turn { counts: counts.after(*before), siblings: all.saturating_sub(*before), repays };
            *before += u64::from(is_untold(part));
            Some(turn)
        };
        told.iter().scan(0, turn).collect()
    }

    /// The run ends while a batch is admitted: of its other parts nothing was sent, so they cost nothing.
    async fn give_back(&self, batch: Vec<Result<Result<Passed, Refusal>, RunEnd>>) -> RunEnd {
        let mut end = RunEnd::Stopped;
        for part in batch {
            match part {
                Err(why) => end = why,
                Ok(Err(_) | Ok(Passed::Told(_))) => {}
                Ok(Ok(Passed::Admitted(mut admitted))) => {
                    let message = "another part of the batch ended the run".to_owned();
                    let failure = Failure { kind: FailureKind::Unavailable, message };
                    let unsent = Performed::free(Err(Denied::Failed(failure)));
                    if admitted.carved.is_some() {
                        let serial = self.call_id(admitted.call).to_string();
                        if self.give_back_carved(&serial).await.is_ok() {
                            drop(self.settle(*admitted, None, unsent).await);
                        }
                        continue;
                    }
                    let Some(Paid { quote, life: Life::Dispatched(dispatched) }) = admitted.paid.take() else {
                        continue;
                    };
                    // If this fails too, it stays held, which is safe.
                    drop(self.settle(*admitted, Some((quote, dispatched)), unsent).await);
                }
            }
        }
        end
    }

    /// Writes a note of the guest's. Past the byte cap notes are dropped and counted.
    ///
    /// # Errors
    /// [`RunEnd::Fault`]: the journal could not be written.
    pub async fn note(&self, level: Level, message: String, fields: Vec<(String, String)>) -> Result<(), RunEnd> {
        let _busy = self.pulse.busy();
        let field = |(key, value): &(String, String)| written(key) + written(value) + FIELD_OVERHEAD_BYTES;
        let bytes = written(&message).saturating_add(fields.iter().map(field).sum());
        {
            let mut state = self.state();
            // Every note costs the journal a line of its own, so an empty one counts too.
            let total = state.log_bytes.saturating_add(bytes).saturating_add(NOTE_OVERHEAD_BYTES);
            if total > self.passage.log_bytes {
                state.notes_dropped += 1;
                return Ok(());
            }
            state.log_bytes = total;
        }
        self.passage.journal.append(Body::Noted { level, message, fields }, Durability::Lazy).await
    }

    /// Takes in what the guest does to its files.
    pub fn touched(&self, touch: Touch) {
        if let Some(trail) = &self.passage.trail {
            trail.note(touch);
        }
    }

    /// Records what the guest printed.
    ///
    /// # Errors
    /// [`RunEnd::Fault`]: the journal could not be written.
    pub async fn record_output(&self, outputs: [(Stream, String, u64); 2]) -> Result<(), RunEnd> {
        for (stream, text, dropped_bytes) in outputs {
            if !text.is_empty() || dropped_bytes > 0 {
                let body = Body::Printed { stream, text, dropped_bytes };
                self.passage.journal.append(body, Durability::Lazy).await?;
            }
        }
        Ok(())
    }

    /// Stops the run for a guest who pulled the cord. Always an error: the guest does not go on.
    pub fn pulled_by_guest(&self, category: Category, reason: &str, evidence: Vec<String>) -> RunEnd {
        let pull = Pull::by_worker(category, reason, evidence);
        self.passage.cord.pull(Stop::Pulled { pull });
        RunEnd::Stopped
    }

    /// The granted models, as the guest may know them.
    pub fn offers(&self) -> &BTreeMap<String, Profile> {
        &self.passage.offers
    }

    /// Notes that were dropped because they were past their cap.
    pub fn notes_dropped(&self) -> u64 {
        self.state().notes_dropped
    }

    /// Milliseconds that the host made this guest wait for a pace, a wait that goes on included.
    pub fn waited_ms(&self) -> u64 {
        lock(&self.waits).total_ms()
    }

    /// The first budget line that refused something, if any.
    pub fn exhausted(&self) -> Option<UsedUp> {
        self.state().exhausted.clone()
    }

    /// Whether the guest's latest call of a model came to nothing because of the provider, and not of what was asked.
    pub fn provider_failed(&self) -> bool {
        self.state().provider_failed
    }

    /// Model calls that were made again, because nobody knows whether they were answered.
    pub fn repaid(&self) -> u64 {
        self.state().repaid
    }

    /// All evidence of this guest, in order.
    pub fn kept(&self) -> Vec<Kept> {
        self.state().kept.clone()
    }

    /// The kinds of effects that passed, with the models, tools, children and sites that they were about.
    pub fn used(&self) -> BTreeMap<String, BTreeSet<String>> {
        self.state().used.clone()
    }

    /// Policy, bound, reservation, and the intent of what need not wait. A refusal is journalled too.
    async fn admit(&self, call: u64, attempt: u32, ask: Ask, turn: Turn) -> Result<Result<Admitted, Refusal>, RunEnd> {
        if let Err(refusal) = policy::rule(&self.passage.grants, turn.counts, &ask.effect) {
            let refusal = self.passage.grantee.told(&ask.effect, refusal);
            return self.refuse(call, ask.effect, refusal).await;
        }
        if let Effect::Model { .. } | Effect::Fetch { .. } | Effect::Tool { .. } = &ask.effect
            && let Some(refusal) = self.suspects(call, &ask.effect).await?
        {
            return self.refuse(call, ask.effect, refusal).await;
        }
        let prepared = match &ask.effect {
            Effect::Model { request } => compile(request),
            Effect::Attach { bytes, .. } => self.room_for(*bytes).map(|()| None),
            Effect::Sleep { ms } => self.enough_time(*ms).await?.map(|()| None),
            Effect::Tool { name, input, .. } => self.fits_tool(name, input).await?.map(|()| None),
            Effect::CheckIn { .. }
            | Effect::Left
            | Effect::Count { .. }
            | Effect::Child { .. }
            | Effect::Human { .. }
            | Effect::Fetch { .. } => Ok(None),
        };
        let schema = match prepared {
            Ok(schema) => schema,
            Err(refusal) => return self.refuse(call, ask.effect, refusal).await,
        };
        let mut admitted = Admitted { call, attempt, ask, sent: None, paid: None, carved: None, schema };
        if let Effect::Child { name, budget, .. } = &admitted.ask.effect {
            match self.carve(&admitted, name, budget, turn.siblings).await? {
                Ok(carved) => admitted.carved = Some(carved),
                Err(refusal) => return self.refuse(call, admitted.ask.effect, refusal).await,
            }
            self.state().repaid += u64::from(turn.repays);
            self.count(&admitted.ask.effect);
            return Ok(Ok(admitted));
        }
        let paid = match &admitted.ask.effect {
            Effect::Model { request } => {
                admitted.sent = self.edited(request).map(Box::new);
                let paid = self.reserve(&admitted).await?;
                self.state().repaid += u64::from(turn.repays && paid.is_ok());
                Some(paid)
            }
            Effect::Fetch { request } => Some(self.reserve_exchange(&admitted, request).await?),
            Effect::Tool { name, .. } => Some(self.reserve_tool(&admitted, name).await?),
            Effect::Attach { .. }
            | Effect::CheckIn { .. }
            | Effect::Sleep { .. }
            | Effect::Left
            | Effect::Count { .. }
            | Effect::Child { .. }
            | Effect::Human { .. } => None,
        };
        match paid {
            Some(Ok(paid)) => admitted.paid = Some(paid),
            Some(Err(refusal)) => return self.refuse(call, admitted.ask.effect, refusal).await,
            None => {
                self.stay_if_frozen().await?;
                // It stays in the host: a crash in the middle leaves nothing to settle.
                let intent = admitted.intent(None, Amounts::default());
                self.passage.journal.append(intent, Durability::Lazy).await?;
            }
        }
        self.count(&admitted.ask.effect);
        Ok(Ok(admitted))
    }

    fn count(&self, effect: &Effect) {
        let mut state = self.state();
        match effect {
            Effect::CheckIn { .. } => state.counts.check_ins += 1,
            Effect::Attach { .. } => state.counts.evidence += 1,
            Effect::Sleep { .. } => state.counts.sleeps += 1,
            Effect::Left => state.counts.looks += 1,
            Effect::Human { .. } => state.counts.questions += 1,
            Effect::Fetch { .. } => state.counts.fetches += 1,
            Effect::Model { .. } | Effect::Count { .. } | Effect::Tool { .. } | Effect::Child { .. } => {}
        }
        state.used.entry(effect.kind().name().to_owned()).or_default().extend(named(effect));
    }

    /// A call's name in the ledger and on the wire. One that is made again in a resumption is another.
    fn call_id(&self, call: u64) -> CallId {
        call_id(&self.passage.serial, self.passage.journal.resumption(), call)
    }

    /// Waits for the pace, sends, settles. Until it is sent, a dropped call costs nothing; afterwards it is held.
    async fn carry_out(&self, mut admitted: Admitted, alone: bool) -> Result<Heard, RunEnd> {
        let paid = admitted.paid.take();
        let (mut paid, mut paces) = match paid {
            Some(Paid { quote, life: Life::Reserved(reservation) }) => {
                let paces = self.wait_for_pace(&admitted.ask.effect, quote.reserve.get(Line::Tokens)).await;
                let dispatched = self.dispatch(&admitted, &quote, reservation).await?;
                (Some((quote, dispatched)), paces)
            }
            Some(Paid { quote, life: Life::Dispatched(dispatched) }) => (Some((quote, dispatched)), vec![]),
            None => (None, vec![]),
        };
        let mut tries = Tries::default();
        let performed = loop {
            let quote = paid.as_ref().map(|(quote, _)| quote);
            let mut performed = self.perform(&admitted, quote).await?;
            performed.waited_ms = millis(paces.iter().map(Admission::waited).sum());
            if let Some(spent) = &performed.spent {
                // Of what nobody knows nothing goes back.
                paces.into_iter().for_each(|pace| pace.settle(spent.get(Line::Tokens)));
            }
            if let Effect::Model { request } = &admitted.ask.effect
                && let Some(pace) = &self.door(request).way.pace
            {
                // After what goes back: the provider counted without it.
                pace.observe(&performed.rates);
            }
            match self.next_try(&admitted, &performed, &mut tries, paid).await? {
                Next::Ends(left) => {
                    paid = left;
                    break performed;
                }
                Next::Again(quote, reservation) => {
                    paces = self.wait_for_pace(&admitted.ask.effect, quote.reserve.get(Line::Tokens)).await;
                    paid = Some((quote, self.dispatch_again(reservation).await?));
                }
            }
        };
        self.was_heard(&admitted.ask.effect, &performed.heard, alone);
        self.settle(admitted, paid, performed).await
    }

    async fn refuse<T>(&self, call: u64, effect: Effect, refusal: Refusal) -> Result<Result<T, Refusal>, RunEnd> {
        let body = Body::Refused { call, effect: shown(effect), refusal: refusal.clone() };
        self.passage.journal.append(body, Durability::Lazy).await?;
        self.was_refused(&refusal)?;
        Ok(Err(refusal))
    }

    /// Counts a refusal.
    fn was_refused(&self, refusal: &Refusal) -> Result<(), RunEnd> {
        if let Reason::Exhausted { shortfall } = &refusal.reason {
            self.ran_out(shortfall);
        }
        let mut state = self.state();
        state.refusals += 1;
        match state.refusals {
            refusals if refusals > MAX_REFUSALS => {
                Err(RunEnd::Cap(format!("{refusals} refused calls; at most {MAX_REFUSALS}")))
            }
            _ => Ok(()),
        }
    }

    fn ran_out(&self, shortfall: &Shortfall) {
        self.state().exhausted.get_or_insert_with(|| UsedUp::of(shortfall));
    }

    /// An exchange ran out of what was left of the budget while it was made.
    fn was_cut_short(&self, refusal: &Refusal) {
        if let Reason::Exhausted { shortfall } = &refusal.reason {
            self.ran_out(shortfall);
        }
    }

    fn door(&self, request: &Request) -> &ModelDoor {
        self.passage.models.get(&request.model).expect("every granted model has a door: the runner built them")
    }

    async fn perform(&self, admitted: &Admitted, quote: Option<&Quote>) -> Result<Performed, RunEnd> {
        let started = self.passage.clock.now();
        let mut performed = match &admitted.ask.effect {
            Effect::Model { request } => {
                let mut request = admitted.sent.as_deref().unwrap_or(request).clone();
                request.max_output = quote.map_or(request.max_output, |quote| quote.max_output);
                let call = Call {
                    id: self.call_id(admitted.call).to_string(),
                    request,
                    max_response_bytes: quote.map_or(0, |quote| quote.max_response_bytes),
                };
                let door = self.door(&call.request);
                let mut received = door.way.model.ask(&call).await;
                if let Some(schema) = &admitted.schema {
                    received.result = matching(schema, received.result).await?;
                }
                priced(received, door, quote)
            }
            Effect::Attach { kind, name, .. } => self.attach(kind, name, &admitted.ask.bytes).await?,
            Effect::CheckIn { .. } => self.check_in().await?,
            Effect::Sleep { ms } => {
                let until = started + std::time::Duration::from_millis(*ms);
                self.passage.clock.sleep_until(until).await;
                Performed::free(Ok(Answer::Slept))
            }
            Effect::Left => Performed::free(Ok(Answer::Left { lines: self.left().await? })),
            Effect::Human { .. } => self.decided(admitted.call, &admitted.ask.effect).await?,
            Effect::Fetch { request } => self.fetched(admitted.call, request, quote).await?,
            Effect::Tool { name, input, .. } => self.called(admitted.call, name, input, quote).await?,
            Effect::Child { .. } => self.judged(admitted).await?,
            Effect::Count { .. } => {
                return Err(RunEnd::Fault("policy let through an effect that has no door".into()));
            }
        };
        performed.took_ms = millis(started.elapsed());
        Ok(performed)
    }

    /// Books what was brought back, and writes it down, in one transaction.
    async fn settle(
        &self,
        admitted: Admitted,
        paid: Option<(Quote, Dispatched)>,
        performed: Performed,
    ) -> Result<Heard, RunEnd> {
        let Performed { heard, spent, held, raw_usage, took_ms, waited_ms, marked, tree: kept, rates: _ } = performed;
        let tree = kept.as_ref().map(|kept| kept.address);
        let mut cost = Cost { took_ms, waited_ms, raw_usage, ..Cost::default() };
        let (call, kind, told) = (admitted.call, admitted.ask.effect.kind(), heard.clone());
        let Some((quote, dispatched)) = paid else {
            (cost.spent, cost.held) = (spent.unwrap_or_default(), held);
            if let Kind::Child | Kind::Envoy = kind {
                // Nobody runs a child twice for want of a line.
                let answered = Body::Answered { call, kind, heard: told, cost, tree };
                self.passage.journal.append(answered, Durability::Durable).await?;
                return Ok(heard);
            }
            self.answer(Body::Answered { call, kind, heard: told, cost, tree }, call, marked).await?;
            return Ok(heard);
        };
        let id = dispatched.id().clone();
        let (pulls, line) = (Arc::clone(&self.passage.pulls), self.passage.line.clone());
        let place = Place::of_run(&line, &self.passage.serial, self.passage.item());
        let is_script = match &admitted.ask.effect {
            Effect::Model { request } => !self.door(request).way.model.uses_network(),
            _ => false,
        };
        let needs = vec![Need::Call(id), Need::Line(line)];
        let durability = match kind {
            // It is made again if its answer is lost, unless somebody could sweep away the tree that the answer names.
            Kind::Compute if tree.is_none() => Durability::Lazy,
            _ => Durability::Durable,
        };
        let settled = self.passage.journal.step_at_any_time(needs, durability, move |step| {
            let overrun = match spent {
                Some(spent) => {
                    cost.spent = spent;
                    step.books.ledger.settle(dispatched, &spent, step.books.now_ms)?
                }
                None => {
                    cost.held = quote.reserve;
                    step.books.ledger.hold(dispatched);
                    Amounts::default()
                }
            };
            step.write(Body::Answered { call, kind, heard: told, cost, tree });
            let unexplained = overrun.iter().find(|&(line, amount)| !is_rounding(line, amount, &overrun));
            let Some((line, amount)) = unexplained else { return Ok(None) };
            // The provider broke the cap that the host put on the wire: its numbers cannot bound the next call either.
            let mut reason = format!("call {call} cost {amount} of {} more than was reserved for it", line.name());
            if is_script {
                reason += ": the transcript's `usage` says more than the prompt and its cap can have";
            }
            let pull = Pull { by: Puller::Ledger, category: Category::MeterOverrun, reason, evidence: vec![] };
            lock(&pulls).kept.push(line::pull(step.books, place, pull.clone()));
            Ok::<_, Denial>(Some(pull))
        });
        let settled = settled.await?.map_err(|denial| RunEnd::Fault(denial.to_string()))?;
        drop(kept);
        match settled {
            Some(pull) => {
                self.passage.cord.pull(Stop::Pulled { pull });
                Err(RunEnd::Stopped)
            }
            None => Ok(heard),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Whether an overrun is what honest servers differ by: the token that ends a reply, and what it costs, or a sum rounded up. It
/// is booked all the same.
fn is_rounding(line: Line, amount: u64, overrun: &Amounts) -> bool {
    let tokens = overrun.get(Line::TokensIn).max(overrun.get(Line::TokensOut));
    match line {
        Line::TokensIn | Line::TokensOut => amount <= OVER_BY,
        Line::Tokens => amount <= 2 * OVER_BY,
        Line::MicroUsd => (1..=OVER_BY).contains(&tokens) || amount <= 2,
        _ => false,
    }
}

impl Admitted {
    fn intent(&self, max_output: Option<u32>, reserved: Amounts) -> Body {
        let Self { call, attempt, ask, sent, .. } = self;
        let (effect, sent) = (ask.effect.clone(), sent.clone());
        Body::Intent { call: *call, attempt: *attempt, effect, max_output, sent, reserved }
    }
}

impl Performed {
    fn free(heard: Heard) -> Self {
        Self {
            heard,
            spent: Some(Amounts::default()),
            held: Amounts::default(),
            raw_usage: None,
            took_ms: 0,
            waited_ms: 0,
            marked: None,
            tree: None,
            rates: RateNews::default(),
        }
    }
}

/// The name of a run's call after so many resumptions. A child's run is called so too.
pub fn call_id(serial: &str, resumption: u32, call: u64) -> CallId {
    CallId::new(match resumption {
        0 => format!("{serial}-{call}"),
        resumption => format!("{serial}-r{resumption}-{call}"),
    })
}

/// What a note costs the log beside its text: the line's own frame in the journal.
const NOTE_OVERHEAD_BYTES: u64 = 64;

/// What a field costs the log beside its texts: its brackets, quotes and commas in the journal.
const FIELD_OVERHEAD_BYTES: u64 = 8;

/// Bytes of a text in the journal, where a control character takes six.
fn written(text: &str) -> u64 {
    let byte = |byte: u8| match byte {
        0..=0x1f => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    };
    text.bytes().map(byte).sum()
}

/// What an effect is about, if the grants name such: a model, a tool, a child, or a site on the web.
fn named(effect: &Effect) -> Option<String> {
    match effect {
        Effect::Model { request } => Some(request.model.clone()),
        Effect::Count { model: name } | Effect::Tool { name, .. } | Effect::Child { name, .. } => Some(name.clone()),
        Effect::Fetch { request } => Target::read(&request.url).ok().map(|target| target.site().to_string()),
        Effect::Human { .. } | Effect::Attach { .. } | Effect::CheckIn { .. } | Effect::Sleep { .. } | Effect::Left => {
            None
        }
    }
}

/// Bytes of an effect's texts that a refusal keeps in the journal: what was refused need not be kept whole.
const MAX_REFUSED_BYTES: usize = 1 << 10;

/// A refused effect as the journal shows it: a guest that repeats a refused megabyte must not fill the disk.
pub(super) fn shown(effect: Effect) -> Effect {
    let cut = |text: String| match text.char_indices().nth(MAX_REFUSED_BYTES / 4) {
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    };
    match effect {
        Effect::Model { request } => Effect::Model {
            request: Request { model: cut(request.model), messages: vec![], tools: vec![], schema: None, ..request },
        },
        Effect::Tool { name, reach, .. } => Effect::Tool { name: cut(name), input: String::new(), reach },
        Effect::Child { name, reach, .. } => {
            Effect::Child { name: cut(name), task: String::new(), budget: BTreeMap::new(), reach }
        }
        Effect::Human { question, .. } => {
            Effect::Human { question: cut(question), options: vec![], risk: Risk::default() }
        }
        Effect::Attach { kind, name, digest, bytes } => {
            Effect::Attach { kind: cut(kind), name: cut(name), digest, bytes }
        }
        Effect::CheckIn { note } => Effect::CheckIn { note: cut(note) },
        Effect::Sleep { ms } => Effect::Sleep { ms },
        Effect::Left => Effect::Left,
        Effect::Count { model } => Effect::Count { model: cut(model) },
        Effect::Fetch { request: HttpRequest { method, url, .. } } => Effect::Fetch {
            request: HttpRequest { method: cut(method), url: cut(url), headers: vec![], body: HttpBody::default() },
        },
    }
}

/// Runs host work that blocks, away from the threads that guests run on.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, RunEnd> {
    tokio::task::spawn_blocking(work).await.map_err(|error| RunEnd::Fault(format!("host work failed: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_kept_up_to_n_and_cut_at_n_plus_1() {
        // A character may take four bytes.
        let most = MAX_REFUSED_BYTES / 4;
        let kept = |chars: usize| match shown(Effect::CheckIn { note: "ä".repeat(chars) }) {
            Effect::CheckIn { note } => note.chars().count(),
            other => panic!("{other:?}"),
        };
        assert_eq!((kept(most), kept(most + 1)), (most, most));
    }
}
