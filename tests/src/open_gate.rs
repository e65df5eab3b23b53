//! A gate without a run around it, with room for everything: what a benchmark measures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use jidoka::doors::chain::Key;
use jidoka::doors::clock::Clock;
use jidoka::doors::recorded::RecordedWeb;
use jidoka::doors::store::{Durability, Store, transact};
use jidoka::rules::guard::Memory;
use jidoka::rules::ledger::{CallId, Denial, Limits, Line, ScopeId, Terms};
use jidoka::rules::policy::Grantee;
use jidoka::rules::progress::{Progress, Seen};
use jidoka::rules::spec::{Grants, Guards, OnPull};
use jidoka::run::cord::Cord;
use jidoka::run::gate::{Gate, ModelDoor, Passage, Workshop};
use jidoka::run::journal::{Beginning, Journal};
use jidoka::run::meter::Meter;
use jidoka::run::senses::VirtualClock;
use jidoka::run::tools::Tools;

use crate::bench;

/// What the gate leads to. The default is nothing.
#[derive(Default)]
pub struct OpenGate {
    /// A granted model, by its name.
    pub model: Option<(&'static str, ModelDoor)>,
    pub tools: Arc<Tools>,
    pub workshop: Option<Workshop>,
}

impl OpenGate {
    /// The gate, with its books and its journal in `store`, and the clock of its guest.
    pub async fn at(self, store: Arc<dyn Store>) -> (Gate, Arc<VirtualClock>) {
        let clock = Clock::starting_at(0);
        let time = Arc::new(VirtualClock::starting_at_ms(0));
        let (call, begun) = (CallId::new("bench-meter"), CallId::new("bench-meter"));
        let opened = transact(&*store, vec![], Durability::Lazy, move |books| {
            let limits: Limits = Line::ALL.into_iter().map(|line| (line, u64::MAX / 4)).collect();
            let mut scope = ScopeId::host();
            books.ledger.open(&scope, Terms { limits, ..Terms::default() }, 0)?;
            for name in ["tenant", "line", "item", "attempt"] {
                scope = scope.child(name);
                books.ledger.open(&scope, Terms { limits, ..Terms::default() }, 0)?;
            }
            let begun = Meter::begin(books.ledger, &scope, &begun, 1, 0)?;
            Ok::<_, Denial>((scope, begun))
        });
        let (scope, begun) = opened.await.expect("kept").expect("opens");
        let meter = Meter::new(Arc::clone(&store), scope.clone(), call, begun);
        // The same question again and again is what is measured.
        let pollers: BTreeSet<String> = self.tools.offers().iter().map(|offer| offer.name.clone()).collect();
        let model = self.model.as_ref().map(|(name, _)| (*name).to_owned());
        let pollers = pollers.into_iter().chain(model.clone()).collect();
        let toolboxes = self.tools.offers().iter().map(|offer| offer.toolbox.clone());
        let grants = Grants { models: model.into_iter().collect(), tools: toolboxes.collect(), ..Grants::default() };
        let journal =
            Journal::new(store, "bench", clock, Arc::clone(&time), None, Beginning::blank(Key::from_bytes([7; 32])));
        let gate = Gate::new(Passage {
            grants,
            grantee: Grantee::Worker,
            models: self.model.into_iter().map(|(name, door)| (name.to_owned(), door)).collect(),
            tools: self.tools,
            workshop: self.workshop,
            children: None,
            web: Arc::new(RecordedWeb::default()),
            offers: BTreeMap::new(),
            edits: BTreeMap::new(),
            line: scope.clone(),
            scope,
            on_pull: OnPull::Drain,
            pulls: Arc::default(),
            guards: Guards { pollers, ..Guards::default() },
            memory: Memory::default(),
            deferrals: 0,
            meter: Arc::new(meter),
            tenant_pace: None,
            journal: Arc::new(journal),
            time: Arc::clone(&time),
            serial: "bench".to_owned(),
            cord: Cord::default(),
            clock,
            progress: Arc::new(Mutex::new(Progress::new(BTreeSet::new(), Seen::default(), None))),
            evidence: Arc::new(bench::open(&std::env::temp_dir())),
            blobs: None,
            told_trees: None,
            workspace: None,
            trail: None,
            log_bytes: 0,
        });
        (gate, time)
    }
}
