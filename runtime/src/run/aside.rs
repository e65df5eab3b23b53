//! A guest that works for a run aside of its worker: a check's, or a tool's for one call. It has a ledger, a meter and a cord of its
//! own.
//!
//! Never: touches the run's books, its cord or its worker. Invariant here: what such a guest may use is bounded by its own
//! limits, and whoever waits for it learns what it used.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use cap_std::fs::Dir;

use crate::doors::clock::Clock;
use crate::doors::fetch::Fetch;
use crate::doors::store::{Durability, MemoryStore, Store, transact};
use crate::doors::trail::Trail;
use crate::rules::guard::Memory;
use crate::rules::ledger::{Amounts, CallId, Limits, Line, ScopeId, Terms};
use crate::rules::policy::Grantee;
use crate::rules::progress::{Progress, Seen};
use crate::rules::spec::{Grants, Guards, OnPull, Wall};
use crate::rules::verdict::Outcome;

use super::RunEnd;
use super::cord::Cord;
use super::gate::{Gate, Passage};
use super::journal::Journal;
use super::meter::Meter;
use super::output::Output;
use super::race::GuestCall;
use super::sandbox::{Prepared, Returned, Sandbox};
use super::seat::{Preopen, Seat, Setup, Ties};
use super::senses::VirtualClock;
use super::tools::Tools;

/// What a guest aside stands on.
pub(super) struct Aside {
    pub sandbox: Arc<Sandbox>,
    pub clock: Clock,
    pub wall: Wall,
    pub grants: Grants,
    pub grantee: Grantee,
    pub web: Arc<dyn Fetch>,
    /// What it may use, beside the memory of its caps.
    pub limits: Limits,
    /// Who pays for what it writes to disk, if the host does not.
    pub payer: Option<Arc<Meter>>,
    /// Its ledger. Where its effects are journalled in the same store, they are on its account.
    pub books: Arc<MemoryStore>,
    /// Where its effects are written down.
    pub journal: Arc<Journal>,
    pub time: Arc<VirtualClock>,
    /// Part of each id of its calls on the wire.
    pub serial: String,
    pub evidence: Dir,
    /// What it does to the run's files, if it may write there.
    pub trail: Option<Arc<Trail>>,
}

/// What came of it.
pub(super) struct AsideEnd {
    pub ended: Result<Returned, Outcome>,
    /// What it printed, and how many bytes were dropped.
    pub stdout: (String, u64),
    pub stderr: (String, u64),
    pub gate: Arc<Gate>,
    /// What it used: time, disk, network.
    pub used: Amounts,
    /// Processor time, in nanoseconds.
    pub cpu_ns: u64,
}

impl Aside {
    /// Calls a guest once, to its end.
    ///
    /// # Errors
    /// [`RunEnd::Fault`]: the host's own trouble, and nothing of the guest ran.
    pub async fn call(self, prepared: &Prepared, setup: Setup, preopens: Vec<Preopen>) -> Result<AsideEnd, RunEnd> {
        let Self {
            sandbox,
            clock,
            wall,
            grants,
            grantee,
            web,
            mut limits,
            payer,
            books,
            journal,
            time,
            serial,
            evidence,
            trail,
        } = self;
        let caps = setup.caps;
        limits.set(Line::MemoryBytes, caps.memory_bytes);
        let wall_ms = limits.get(Line::WallMs).unwrap_or(0);
        let store: Arc<dyn Store> = Arc::clone(&books) as Arc<dyn Store>;
        let (scope, call) = (ScopeId::host(), CallId::new("aside"));
        let (opened, metered) = (scope.clone(), call.clone());
        let begun = transact(&*store, vec![], Durability::Lazy, move |books| {
            books.ledger.open(&opened, Terms { limits, ..Terms::default() }, 0)?;
            Meter::begin(books.ledger, &opened, &metered, caps.memory_bytes, 0)
        });
        let begun = begun.await.map_err(|error| RunEnd::Fault(error.to_string()))?;
        let begun = begun.map_err(|denial| RunEnd::Fault(denial.to_string()))?;
        let meter = Arc::new(Meter::new(store, scope.clone(), call, begun).paid_by(payer));
        // A cord of its own: a guest aside that is out of time is not a stopped run.
        let cord = Cord::default();
        let gate = Arc::new(Gate::new(Passage {
            grants,
            grantee,
            models: BTreeMap::new(),
            tools: Arc::new(Tools::default()),
            workshop: None,
            children: None,
            web,
            offers: BTreeMap::new(),
            edits: BTreeMap::new(),
            scope: scope.clone(),
            line: ScopeId::host(),
            on_pull: OnPull::Drain,
            pulls: Arc::default(),
            // It has a clock of its own, and may think as long as that lets it.
            guards: Guards { stall_ms: wall_ms.saturating_mul(2), ..Guards::default() },
            memory: Memory::default(),
            deferrals: 0,
            meter: Arc::clone(&meter),
            tenant_pace: None,
            journal,
            time: Arc::clone(&time),
            serial,
            cord: cord.clone(),
            clock,
            progress: Arc::new(Mutex::new(Progress::new(Default::default(), Seen::default(), None))),
            evidence: Arc::new(evidence),
            trail,
            blobs: None,
            told_trees: None,
            workspace: None,
            log_bytes: caps.log_bytes,
        }));
        let stdio = [Output::new(caps.stdio_bytes), Output::new(caps.stdio_bytes)];
        let ties = Ties { gate: Arc::clone(&gate), time, stdio: stdio.clone() };
        let seat = Seat::take(&sandbox, prepared, setup, preopens, ties, wall).await.map_err(RunEnd::Fault)?;
        let call = GuestCall { clock, cord, gate: Arc::clone(&gate), meter: Arc::clone(&meter) };
        let ended = call.race(|bounds| seat.call(&sandbox, bounds)).await;
        let [stdout, stderr] = stdio.map(|output| output.take());
        let ended = ended.map_err(|outcome| outcome.in_words(&stderr.0));
        let (mut used, cpu_ns) = (meter.used(gate.waited_ms()), meter.cpu().total_ns());
        let totals = books.survey().map_err(|error| RunEnd::Fault(error.to_string()))?.totals(&scope);
        // What is in doubt counts as used.
        used.set(Line::NetBytes, totals.spent.plus(&totals.held).get(Line::NetBytes));
        Ok(AsideEnd { ended, stdout, stderr, gate, used, cpu_ns })
    }
}
