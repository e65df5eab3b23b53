//! What a journal says happened, told again: a guest that does the same hears the same, and nothing is performed.
//!
//! Never: performs, spends. Invariants here: arguments are always compared; entries are told in their order; the virtual
//! clock moves with each of them as it did when they were written.

use crate::doors::chain::{Comparer, KeptEntry, Key};
use crate::rules::andon::Puller;
use crate::rules::digest::Digest;
use crate::rules::divergence::{self, Divergence, DivergenceKind};
use crate::rules::effect::{Answer, Body, Class, Denied, Effect, Heard, Kind};
use crate::rules::facts::Facts;
use crate::rules::progress::Mark;
use crate::rules::record::Record;
use crate::rules::spec::MarkKind;
use crate::rules::verdict::{CheckResult, Stop, UsedUp};

use super::senses::VirtualClock;

/// What comes after the tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The run goes on.
    Live,
    /// Nothing: every door is shut.
    Shut,
}

/// What the tape knows of one effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// How it ended.
    Told {
        heard: Heard,
        passed: bool,
        /// Where the guest's tree is kept as the effect left it.
        tree: Option<Digest>,
    },
    /// It was begun so often, and nobody knows how it ended.
    Open { attempts: u32 },
    /// It was begun so often, and ended for a reason that passes by itself. The guest did not hear of it.
    Again { attempts: u32 },
    /// Nothing.
    New,
}

impl Part {
    /// How often it was begun.
    pub fn attempts(&self) -> u32 {
        match self {
            Part::Told { .. } => 1,
            Part::Open { attempts } | Part::Again { attempts } => *attempts,
            Part::New => 0,
        }
    }
}

/// What is told of the effects that a guest asked for at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retold {
    pub parts: Vec<Part>,
    /// Marks that they earned.
    pub marks: Vec<Mark>,
}

/// Why nothing is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untold {
    /// The run was stopped here from outside.
    Stopped(Stop),
    Diverged(Box<Divergence>),
    /// An effect that must not be performed twice was begun, and nobody knows how it ended.
    Unknown {
        call: u64,
        kind: Kind,
    },
}

/// The entries of a run, and how far they are told.
pub struct Tape {
    story: Vec<KeptEntry>,
    next: usize,
    /// The first entry that the host wrote when the guest had ended.
    end: usize,
    /// What ended the guest, if it was not the guest itself.
    outside: Option<Stop>,
    then: Then,
    comparer: Option<(Key, Comparer)>,
}

impl Tape {
    /// A tape with nothing on it, of a run that is new.
    pub fn blank() -> Self {
        Self { story: Vec::new(), next: 0, end: 0, outside: None, then: Then::Live, comparer: None }
    }

    /// The entries of a run's story, its opening left out.
    ///
    /// # Errors
    /// A sentence: contents that are needed were erased, or do not fit.
    pub fn of(story: Vec<KeptEntry>, then: Then) -> Result<Self, String> {
        let story: Vec<KeptEntry> =
            story.into_iter().filter(|entry| !matches!(entry.facts, Facts::Opened(_))).collect();
        if let Some(erased) = story.iter().find(|entry| entry.is_erased()) {
            return Err(format!("the content of entry {} was erased", erased.seq));
        }
        let end = story.iter().position(is_tail).unwrap_or(story.len());
        let outside = if then == Then::Shut { outside(&story[..end], &story[end..])? } else { None };
        Ok(Self { story, next: 0, end, outside, then, comparer: None })
    }

    /// Whether there is something left to tell.
    pub fn is_telling(&self) -> bool {
        self.next < self.story.len()
    }

    /// What comes after it.
    pub fn then(&self) -> Then {
        self.then
    }

    /// What ended the guest from outside, once everything that it did is told.
    pub fn cut(&self) -> Option<&Stop> {
        if self.next >= self.end { self.outside.as_ref() } else { None }
    }

    /// Entries that the host wrote when the guest had ended and that are not told yet.
    pub fn tail(&self) -> &[KeptEntry] {
        &self.story[self.next.max(self.end)..]
    }

    /// Tells how effects ended that the guest asks for here, as calls from `first` on.
    ///
    /// # Errors
    /// [`Untold`].
    pub fn retell(&mut self, first: u64, effects: &[Effect], clock: &VirtualClock) -> Result<Retold, Untold> {
        let mut retold = Retold { parts: vec![Part::New; effects.len()], marks: Vec::new() };
        let place = |call: u64| {
            let place = usize::try_from(call.checked_sub(first)?).ok()?;
            (place < effects.len()).then_some(place)
        };
        let is_told = |part: &Part| matches!(part, Part::Told { .. });
        let mut begun: Vec<u32> = vec![0; effects.len()];
        loop {
            // What passed by itself was asked again when the run went on.
            let is_again = |entry: &KeptEntry| match &entry.facts {
                Facts::Intent { call, .. } | Facts::Refused { call, .. } => place(*call).is_some(),
                _ => false,
            };
            if retold.parts.iter().all(is_told) && !self.story.get(self.next).is_some_and(is_again) {
                break;
            }
            let Some(entry) = self.story.get(self.next) else {
                return self.frontier(first, effects, retold, &begun);
            };
            if self.next >= self.end {
                if let Some(stop) = &self.outside {
                    return Err(Untold::Stopped(stop.clone()));
                }
                let asked = retold.parts.iter().position(|part| !is_told(part)).unwrap_or(0);
                return Err(diverged(entry, DivergenceKind::ExtraCall, effects[asked].kind().name(), vec![]));
            }
            let wrong = |got: &Effect| Err(diverged(entry, DivergenceKind::Call, got.kind().name(), vec![]));
            match &entry.facts {
                Facts::Within { call, .. } | Facts::Retried { call, .. } if place(*call).is_some() => {}
                Facts::Intent { kind: Kind::Count, call, .. } | Facts::Answered { kind: Kind::Count, call, .. }
                    if place(*call).is_some() => {}
                Facts::Intent { call, attempt, .. } => {
                    let Some(place) = place(*call) else { return wrong(&effects[0]) };
                    let attempts = *attempt;
                    same_effect(&mut self.comparer, entry, &effects[place])?;
                    begun[place] = attempts;
                    if !is_told(&retold.parts[place]) || attempts > 1 {
                        retold.parts[place] = Part::Open { attempts };
                    }
                }
                Facts::Answered { call, .. } => {
                    let Some(place) = place(*call) else { return wrong(&effects[0]) };
                    match body(entry)? {
                        Body::Answered { heard, tree, .. } => {
                            retold.parts[place] = Part::Told { heard, passed: true, tree };
                        }
                        _ => return wrong(&effects[place]),
                    }
                }
                Facts::Refused { call, .. } => {
                    let Some(place) = place(*call) else { return wrong(&effects[0]) };
                    match body(entry)? {
                        Body::Refused { effect, refusal, .. } => {
                            let asked = super::gate::shown(effects[place].clone());
                            if effect != asked {
                                let diff = divergence::of_effects(&effect, &asked);
                                return Err(diverged(entry, DivergenceKind::Arguments, "other arguments", diff));
                            }
                            let heard = Err(Denied::Refused(refusal));
                            retold.parts[place] = Part::Told { heard, passed: false, tree: None };
                        }
                        _ => return wrong(&effects[place]),
                    }
                }
                Facts::Marked { call: Some(call), mark, .. } if place(*call).is_some() => retold.marks.push(*mark),
                _ => return wrong(&effects[0]),
            }
            self.advance(clock);
        }
        self.leave_what_passes(effects, &mut retold, &begun);
        while let Some(Facts::Marked { call: Some(call), mark, .. }) = self.story.get(self.next).map(|next| &next.facts)
            && place(*call).is_some()
        {
            retold.marks.push(*mark);
            self.advance(clock);
        }
        Ok(retold)
    }

    /// What ended for a reason that passes by itself is not told where the run goes on, if nothing that the guest did came after
    /// it.
    fn leave_what_passes(&self, effects: &[Effect], retold: &mut Retold, begun: &[u32]) {
        if self.then == Then::Shut || self.is_telling() {
            return;
        }
        for ((part, &attempts), effect) in retold.parts.iter_mut().zip(begun).zip(effects) {
            if matches!(part, Part::Told { heard, .. } if passes(effect.kind(), heard)) {
                *part = Part::Again { attempts };
            }
        }
    }

    /// The tape ends in the middle of what the guest asks for.
    fn frontier(&self, first: u64, effects: &[Effect], mut retold: Retold, begun: &[u32]) -> Result<Retold, Untold> {
        self.leave_what_passes(effects, &mut retold, begun);
        if let Some(stop) = &self.outside {
            return Err(Untold::Stopped(stop.clone()));
        }
        let open = |(_, part): &(u64, &Part)| matches!(part, Part::Open { .. });
        for (call, _) in (first..).zip(&retold.parts).filter(open) {
            let place = usize::try_from(call - first).unwrap_or(usize::MAX);
            let kind = effects[place].kind();
            if kind.class() == Class::Unsafe {
                return Err(Untold::Unknown { call, kind });
            }
        }
        Ok(retold)
    }

    /// Tells an entry that the run writes now. `false`: the tape is over, and it is new.
    ///
    /// # Errors
    /// [`Untold::Diverged`].
    pub fn expect(&mut self, run: &Body, clock: &VirtualClock) -> Result<bool, Untold> {
        let Some(entry) = self.story.get(self.next) else { return Ok(false) };
        let (facts, address) = comparer(&mut self.comparer, entry).address(run.clone());
        if facts != entry.facts || address != entry.address {
            return Err(self.difference(self.next, run, &facts));
        }
        self.advance(clock);
        Ok(true)
    }

    /// Whether a write of so many bytes is where the journal says that writes were refused from then on; if so, how much
    /// was granted, and what refused more.
    pub fn full(&mut self, used: u64, bytes: u64, clock: &VirtualClock) -> Option<(u64, UsedUp)> {
        match &self.story.get(self.next)?.facts {
            Facts::Full { used: at, granted, by } if *at == used && used.saturating_add(bytes) > *granted => {
                let told = (*granted, by.clone());
                self.advance(clock);
                Some(told)
            }
            _ => None,
        }
    }

    /// The result of a check, if it is told: all that the check wrote is told with it.
    ///
    /// # Errors
    /// [`Untold::Diverged`]: another check came next.
    pub fn check(&mut self, name: &str, clock: &VirtualClock) -> Result<Option<CheckResult>, Untold> {
        let Some(entry) = self.story.get(self.next) else { return Ok(None) };
        let Facts::Checking { name: told } = &entry.facts else {
            return Err(diverged(entry, DivergenceKind::Verdict, &format!("check {name}"), vec![]));
        };
        if told != name {
            return Err(diverged(entry, DivergenceKind::Verdict, &format!("check {name}"), vec![]));
        }
        while let Some(entry) = self.story.get(self.next) {
            let result = match &entry.facts {
                Facts::Checked { .. } => Some(body(entry)?),
                _ => None,
            };
            self.advance(clock);
            if let Some(Body::Checked { result }) = result {
                return Ok(Some(result));
            }
        }
        Ok(None)
    }

    /// Leaves the rest untold: the run went another way.
    pub fn give_up(&mut self) {
        self.next = self.story.len();
    }

    /// Whether the journal says that changes are applied next.
    pub fn applies_next(&self) -> bool {
        self.story.get(self.next).is_some_and(|next| next.facts == Facts::Applying)
    }

    /// Whether the journal says next that the guest had ended, and that the host could not see the tree that it left.
    pub fn ends_unseen(&self) -> bool {
        let next = self.story.get(self.next).map(|next| &next.facts);
        matches!(next, Some(Facts::Ended { tree: None, .. }))
    }

    /// Whether the journal says that the host saw a mark of this kind next, when the guest had ended.
    pub fn marks_next(&self, kind: MarkKind) -> bool {
        let next = self.story.get(self.next).map(|next| &next.facts);
        matches!(next, Some(Facts::Marked { call: None, mark, .. }) if mark.kind == kind)
    }

    /// The number of the entry that was told last; 0 before the first.
    pub fn last_told(&self) -> u64 {
        self.next.checked_sub(1).map_or(0, |last| self.story[last].seq)
    }

    /// The record that the journal closes with, if it does.
    pub fn told_record(&self) -> Option<Box<Record>> {
        let closed = self.story.iter().rev().find(|entry| matches!(entry.facts, Facts::Closed { .. }))?;
        match closed.entry().ok()??.body {
            Body::Closed { record } => Some(record),
            _ => None,
        }
    }

    fn advance(&mut self, clock: &VirtualClock) {
        clock.move_to_ms(self.story[self.next].at_ms);
        self.next += 1;
    }

    fn difference(&self, place: usize, run: &Body, facts: &Facts) -> Untold {
        let entry = &self.story[place];
        let got = describe(facts);
        if std::mem::discriminant(facts) != std::mem::discriminant(&entry.facts) {
            let kind = match facts {
                Facts::Printed { .. } | Facts::Stopped | Facts::Ended { .. } if place < self.end => {
                    DivergenceKind::MissingCall
                }
                Facts::Noted { .. } | Facts::Full { .. } if place >= self.end => DivergenceKind::ExtraCall,
                _ => DivergenceKind::Call,
            };
            return diverged(entry, kind, &got, vec![]);
        }
        let kind = match (facts, &entry.facts) {
            (Facts::Ended { tree, .. }, Facts::Ended { tree: told, .. }) if tree != told => DivergenceKind::State,
            (Facts::Marked { .. }, _) => DivergenceKind::State,
            (Facts::Closed { .. } | Facts::Checked { .. } | Facts::Applying, _) => DivergenceKind::Verdict,
            (Facts::Noted { .. }, _) => DivergenceKind::Arguments,
            _ => DivergenceKind::Output,
        };
        match body(entry) {
            Ok(told) => diverged(entry, kind, &got, divergence::of_bodies(&told, run)),
            Err(untold) => untold,
        }
    }
}

/// Whether an answer says that something stands in the way that passes by itself.
fn passes(kind: Kind, heard: &Heard) -> bool {
    match (kind, heard) {
        (Kind::Model, Err(Denied::Failed(failure))) => failure.kind.may_pass(),
        (Kind::Child, Ok(Answer::Judged { verdict, .. })) => verdict == "deferred",
        _ => false,
    }
}

/// Whether the host wrote it when the guest had ended.
fn is_tail(entry: &KeptEntry) -> bool {
    match &entry.facts {
        Facts::Printed { .. }
        | Facts::Stopped
        | Facts::Marked { call: None, .. }
        | Facts::Ended { .. }
        | Facts::Checking { .. }
        | Facts::Checked { .. }
        | Facts::Applying
        | Facts::Closed { .. } => true,
        Facts::Opened(_)
        | Facts::Intent { .. }
        | Facts::Answered { .. }
        | Facts::Retried { .. }
        | Facts::Refused { .. }
        | Facts::Within { .. }
        | Facts::Noted { .. }
        | Facts::Full { .. }
        | Facts::Marked { call: Some(_), .. }
        | Facts::Resumed { .. } => false,
    }
}

/// What ended a guest that did not end by itself: how far it came after its last effect is not to be repeated.
fn outside(told: &[KeptEntry], tail: &[KeptEntry]) -> Result<Option<Stop>, String> {
    use crate::rules::effect::OutcomeName;
    // A worker that pulls the cord waits for nothing; what pulls while it waits is a tool of its.
    let waits = has_open_call(told);
    let mut ended = false;
    for entry in tail {
        match &entry.facts {
            Facts::Stopped => match entry.entry().map_err(|flaw| flaw.to_string())?.map(|entry| entry.body) {
                Some(Body::Stopped { stop: Stop::Pulled { pull } }) if pull.by == Puller::Worker && !waits => {
                    return Ok(None);
                }
                Some(Body::Stopped { stop }) => return Ok(Some(stop)),
                _ => return Err(format!("entry {} cannot be read", entry.seq)),
            },
            Facts::Ended { outcome: OutcomeName::Faulted, .. } => return Ok(Some(Stop::Cancelled)),
            Facts::Ended { .. } => ended = true,
            _ => {}
        }
    }
    Ok((!ended).then_some(Stop::Cancelled))
}

/// Whether a call has no answer there.
fn has_open_call(told: &[KeptEntry]) -> bool {
    let mut open = std::collections::BTreeSet::new();
    for entry in told {
        match &entry.facts {
            Facts::Intent { call, kind, .. } => drop(open.insert((*call, *kind))),
            Facts::Answered { call, kind, .. } => drop(open.remove(&(*call, *kind))),
            _ => {}
        }
    }
    !open.is_empty()
}

fn comparer<'a>(comparer: &'a mut Option<(Key, Comparer)>, entry: &KeptEntry) -> &'a mut Comparer {
    // An entry without a key has no content either, so any key will do.
    let key = entry.key().unwrap_or(Key::from_bytes([0; 32]));
    if comparer.as_ref().is_none_or(|(known, _)| *known != key) {
        *comparer = Some((key, Comparer::new(key)));
    }
    &mut comparer.as_mut().expect("just made").1
}

fn same_effect(cache: &mut Option<(Key, Comparer)>, entry: &KeptEntry, asked: &Effect) -> Result<(), Untold> {
    let run = Body::Intent {
        call: 0,
        attempt: 1,
        effect: asked.clone(),
        max_output: None,
        sent: None,
        reserved: Default::default(),
    };
    let (_, address) = comparer(cache, entry).address(run);
    if address == entry.address {
        return Ok(());
    }
    let Body::Intent { effect, .. } = body(entry)? else {
        return Err(diverged(entry, DivergenceKind::Call, asked.kind().name(), vec![]));
    };
    if effect == *asked {
        return Ok(());
    }
    if effect.kind() != asked.kind() {
        return Err(diverged(entry, DivergenceKind::Call, asked.kind().name(), vec![]));
    }
    Err(diverged(entry, DivergenceKind::Arguments, "other arguments", divergence::of_effects(&effect, asked)))
}

fn body(entry: &KeptEntry) -> Result<Body, Untold> {
    match entry.entry() {
        Ok(Some(entry)) => Ok(entry.body),
        Ok(None) => Err(diverged(entry, DivergenceKind::Call, "something that cannot be compared", vec![])),
        Err(flaw) => Err(diverged(entry, DivergenceKind::Call, &flaw.to_string(), vec![])),
    }
}

fn diverged(entry: &KeptEntry, kind: DivergenceKind, got: &str, diff: Vec<String>) -> Untold {
    let (expected, got) = (describe(&entry.facts), got.to_owned());
    Untold::Diverged(Box::new(Divergence { seq: entry.seq, kind, expected, got, diff }))
}

/// An entry in a few words.
pub fn describe(facts: &Facts) -> String {
    match facts {
        Facts::Opened(_) => "the opening".into(),
        Facts::Intent { call, kind, .. } => format!("call {call}: {}", kind.name()),
        Facts::Answered { call, kind, .. } => format!("the answer to call {call}: {}", kind.name()),
        Facts::Retried { call, .. } => format!("call {call}, asked again"),
        Facts::Within { call, within } => format!("within call {call}: {}", describe(within)),
        Facts::Refused { call, kind } => format!("call {call}, refused: {}", kind.name()),
        Facts::Noted { .. } => "a note".into(),
        Facts::Printed { stream, .. } => format!("the guest's end, with this on {stream:?}").to_lowercase(),
        Facts::Full { used, .. } => format!("a write refused after {used} bytes"),
        Facts::Marked { mark, .. } => format!("a mark: {}", mark.kind.name()),
        Facts::Stopped => "a stop".into(),
        Facts::Ended { outcome, .. } => format!("the guest's end: {outcome:?}").to_lowercase(),
        Facts::Checking { name } => format!("check {name}"),
        Facts::Checked { name, passed } => format!("check {name}: {}", if *passed { "passed" } else { "not passed" }),
        Facts::Applying => "the changes applied".into(),
        Facts::Closed { verdict, .. } => format!("the verdict {verdict}"),
        Facts::Resumed { resumption, .. } => format!("resumption {resumption}"),
    }
}
