//! The life of an item over all its attempts: what state it is in, how many attempts there were, what it has shown.
//!
//! What it spent is in the ledger, under its scope. Never: leaves an end by itself, forgets unless an operator revives it or its
//! checks are others. Invariants here: L10 and N6
//! (counters survive restart and re-claim), N8 (an abandoned item is refused until an operator revives it), and every pair
//! of state and event is either listed in [`State::after`] or an [`IllegalTransition`] that changes nothing.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::digest::Digest;
use super::guard::Memory;
use super::progress::{Passed, Seen};
use super::spec::Backoff;
use super::units;
use super::verdict::{APPLY_GATE, Verdict};

/// Where an item is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It may be tried.
    #[default]
    Ready,
    /// A run works on it.
    Running,
    /// A person has to say something first.
    Parked,
    /// It may be tried again when it has rested.
    RetryWait,
    /// It is done.
    Accepted,
    /// It leads nowhere, and is not tried again.
    Abandoned,
    /// A run of it was halted: it may be tried when its line goes on.
    Halted,
}

impl State {
    /// All of them.
    pub const ALL: [State; 7] = [
        State::Ready,
        State::Running,
        State::Parked,
        State::RetryWait,
        State::Accepted,
        State::Abandoned,
        State::Halted,
    ];

    /// The state's name, as the command line shows it.
    pub fn name(self) -> &'static str {
        match self {
            State::Ready => "ready",
            State::Running => "running",
            State::Parked => "parked",
            State::RetryWait => "retry-wait",
            State::Accepted => "accepted",
            State::Abandoned => "abandoned",
            State::Halted => "halted",
        }
    }

    /// The state after an event.
    ///
    /// # Errors
    /// [`IllegalTransition`]: this cannot happen to an item in this state.
    pub fn after(self, event: Event) -> Result<State, IllegalTransition> {
        use State::{Abandoned, Accepted, Halted, Parked, Ready, RetryWait, Running};
        match (self, event) {
            (Ready | Halted, Event::Start) | (Ready | Parked | RetryWait | Halted, Event::Resume) => Ok(Running),
            (Running, Event::Lost | Event::Free) | (RetryWait, Event::Due) => Ok(Ready),
            (Running, Event::Accept) => Ok(Accepted),
            (Running, Event::Retry | Event::Defer) => Ok(RetryWait),
            (Running, Event::GiveUp) => Ok(Abandoned),
            (Running, Event::Halt) => Ok(Halted),
            (Running, Event::Park) => Ok(Parked),
            (Parked | RetryWait | Accepted | Abandoned | Halted, Event::Revive) => Ok(Ready),
            (Ready | Parked | RetryWait | Halted, Event::Abandon) => Ok(Abandoned),
            (
                Ready,
                Event::Lost
                | Event::Due
                | Event::Accept
                | Event::Retry
                | Event::Defer
                | Event::GiveUp
                | Event::Halt
                | Event::Park
                | Event::Free
                | Event::Revive,
            )
            | (Running, Event::Start | Event::Resume | Event::Due | Event::Revive | Event::Abandon)
            | (
                Parked | Halted,
                Event::Lost
                | Event::Due
                | Event::Accept
                | Event::Retry
                | Event::Defer
                | Event::GiveUp
                | Event::Halt
                | Event::Park
                | Event::Free,
            )
            | (Parked, Event::Start)
            | (
                RetryWait,
                Event::Start
                | Event::Lost
                | Event::Accept
                | Event::Retry
                | Event::Defer
                | Event::GiveUp
                | Event::Halt
                | Event::Park
                | Event::Free,
            )
            | (
                Accepted | Abandoned,
                Event::Start
                | Event::Resume
                | Event::Lost
                | Event::Due
                | Event::Accept
                | Event::Retry
                | Event::Defer
                | Event::GiveUp
                | Event::Halt
                | Event::Park
                | Event::Free
                | Event::Abandon,
            ) => Err(IllegalTransition { state: self, event }),
        }
    }
}

/// What happens to an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A new attempt begins.
    Start,
    /// Its latest run goes on.
    Resume,
    /// The process that worked on it is gone.
    Lost,
    /// It has rested long enough.
    Due,
    /// Its run was accepted, or nothing was to be done.
    Accept,
    /// Its run came to nothing, and another may do better.
    Retry,
    /// Something stood in its way that passes by itself.
    Defer,
    /// Its run showed that more attempts would be waste.
    GiveUp,
    /// Its run was halted.
    Halt,
    /// Its run waits for a person.
    Park,
    /// Its run ended for no reason of its own.
    Free,
    /// An operator lets it be tried again.
    Revive,
    /// An operator gives it up.
    Abandon,
}

impl Event {
    /// All of them.
    pub const ALL: [Event; 13] = [
        Event::Start,
        Event::Resume,
        Event::Lost,
        Event::Due,
        Event::Accept,
        Event::Retry,
        Event::Defer,
        Event::GiveUp,
        Event::Halt,
        Event::Park,
        Event::Free,
        Event::Revive,
        Event::Abandon,
    ];

    /// What a verdict does to the item of its run. `None`: nothing ran. `marked`: the run has shown something new.
    pub fn of(verdict: &Verdict, marked: bool) -> Option<Event> {
        match verdict {
            Verdict::Accepted | Verdict::NoChangeNeeded => Some(Event::Accept),
            // The work stands; the directory was not ready for it.
            Verdict::Rejected { gate, .. } if gate == APPLY_GATE => Some(Event::Free),
            Verdict::Rejected { .. }
            | Verdict::Unable { .. }
            | Verdict::ConstraintViolation { .. }
            | Verdict::Trapped { .. }
            | Verdict::Unverifiable { .. } => Some(Event::Retry),
            Verdict::Deferred { .. } => Some(Event::Defer),
            Verdict::NeedsHuman { .. } => Some(Event::Park),
            Verdict::NoProgress { .. } => Some(Event::GiveUp),
            // What is shared ran out, also by the item's earlier attempts: the ledger refuses the next one, until somebody
            // tops it up. All of an attempt's own without anything to show for it is waste.
            Verdict::Exhausted { scope, .. } => match scope.as_str() {
                "attempt" if !marked => Some(Event::GiveUp),
                _ => Some(Event::Retry),
            },
            Verdict::Halted { .. } | Verdict::Diverged(_) => Some(Event::Halt),
            Verdict::Cancelled | Verdict::Fault { .. } => Some(Event::Free),
            Verdict::Lost => Some(Event::Lost),
            Verdict::AttemptsExhausted { .. } | Verdict::NotAdmitted { .. } => None,
        }
    }
}

/// An event that cannot happen to an item in this state. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("an item that is {} cannot {}", state.name(), verb(*event))]
pub struct IllegalTransition {
    pub state: State,
    pub event: Event,
}

fn verb(event: Event) -> &'static str {
    match event {
        Event::Start => "be tried",
        Event::Resume => "go on",
        Event::Lost => "lose its process",
        Event::Due => "be due",
        Event::Accept => "be accepted",
        Event::Retry => "rest",
        Event::Defer => "be deferred",
        Event::GiveUp => "be given up",
        Event::Halt => "be halted",
        Event::Park => "be parked",
        Event::Free => "be freed",
        Event::Revive => "be revived",
        Event::Abandon => "be abandoned",
    }
}

/// The memory of one item.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemRecord {
    #[serde(default)]
    pub state: State,
    /// Since when. Milliseconds since 1970-01-01T00:00:00Z.
    #[serde(default)]
    pub since_ms: u64,
    /// Why it is in its state, for a person.
    #[serde(default)]
    pub why: String,
    /// Attempts started, over all causes.
    pub attempts: u32,
    /// Of these, those before an operator revived it, and those that were deferred: no cap counts them any more.
    #[serde(default)]
    pub forgiven: u32,
    /// Whether its latest attempt was deferred, and is among the forgiven: it counts again if its run goes on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deferred: bool,
    /// How often in a row its attempts were deferred: the next one is put off for longer.
    #[serde(default)]
    pub deferrals: u32,
    /// While it rests: until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rests_until_ms: Option<u64>,
    pub seen: Seen,
    /// The checks that it has passed, the base of its attempts included.
    #[serde(default, skip_serializing_if = "Passed::is_empty")]
    pub passed: Passed,
    /// The run that works on the item. Still there at the next attempt: that run ended without its books closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<String>,
    /// What its checks said of what, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judged: Vec<Judged>,
    /// The checks that said so, as one digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Digest>,
    /// Its latest run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<String>,
    /// What its calls came to before its latest attempt.
    #[serde(default)]
    pub memory: Memory,
    /// What they came to when that attempt had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Memory>,
}

/// What a check said of all that it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    pub of: Digest,
    pub passed: bool,
}

/// Judgements that an item remembers: attempts are few, and so are checks.
const MAX_JUDGED: usize = 256;

/// Why an item is not worked on now. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotNow {
    /// It has used all its attempts.
    #[error("it had {attempts} of {max} attempts")]
    Spent { attempts: u32, max: u32 },
    /// It rests after an attempt.
    #[error("it rests for {} more, and then it may be tried again: {why}", units::show_duration(*for_ms))]
    Resting { for_ms: u64, why: String },
    /// It waits until something has passed that stood in its way.
    #[error("it is deferred; jidoka resume {run} continues it now: {why}")]
    PutOff { until_ms: u64, run: String, why: String },
    #[error("{illegal}: {why}")]
    Illegal { illegal: IllegalTransition, why: String },
    /// It has had other runs since.
    #[error("its item has had {attempts} attempts since")]
    MovedOn { attempts: u32 },
}

/// How often an item is tried, and how long it rests in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    pub max: u32,
    pub backoff: Backoff,
}

impl ItemRecord {
    /// Remembers what the calls of a run came to that ended without saying so. What it has shown was not judged.
    pub fn recover(&mut self, left: Memory) {
        self.left = Some(left);
    }

    /// The process that worked on it is gone, and its run was closed by whoever found that. The run may go on.
    pub fn lost(&mut self, serial: &str, now_ms: u64) {
        if self.step(Event::Lost, now_ms).is_ok() {
            self.why = format!("run {serial} was lost: its process is gone");
        }
    }

    /// An attempt is to be judged by these checks. What others refused is not judged yet.
    pub fn judged_by(&mut self, checks: Digest) {
        if self.checks.replace(checks).is_some_and(|before| before != checks) {
            (self.seen, self.passed, self.judged) = Default::default();
        }
    }

    /// A run goes on. The caller has the item to itself.
    ///
    /// # Errors
    /// [`NotNow`].
    pub fn resume(&mut self, serial: &str, attempt: u32, now_ms: u64) -> Result<(), NotNow> {
        if self.attempts != attempt || self.open.as_deref().is_some_and(|open| open != serial) {
            return Err(NotNow::MovedOn { attempts: self.attempts });
        }
        let was_lost = self.state == State::Running;
        if was_lost {
            self.step(Event::Lost, now_ms)?;
        }
        self.step(Event::Resume, now_ms)?;
        if std::mem::take(&mut self.deferred) {
            self.forgiven = self.forgiven.saturating_sub(1);
        }
        // What its own calls came to it will be told again.
        self.left = None;
        self.work(serial);
        Ok(())
    }

    /// What the checks of its run said.
    pub fn was_judged(&mut self, judged: Vec<Judged>) {
        for one in judged {
            self.judged.retain(|known| known.of != one.of);
            self.judged.push(one);
        }
        let over = self.judged.len().saturating_sub(MAX_JUDGED);
        self.judged.drain(..over);
    }

    /// Counts one more attempt and returns its number, from 1. The caller has the item to itself.
    ///
    /// # Errors
    /// [`NotNow`], with nothing counted.
    pub fn start(&mut self, serial: &str, max: u32, now_ms: u64) -> Result<u32, NotNow> {
        let mut next = self.clone();
        if next.state == State::Running {
            next.step(Event::Lost, now_ms)?;
        }
        if let Some(until_ms) = next.rests_until_ms.filter(|_| next.state == State::RetryWait) {
            if now_ms < until_ms && next.deferred {
                let run = self.latest.clone().unwrap_or_default();
                return Err(NotNow::PutOff { until_ms, run, why: self.why.clone() });
            }
            if now_ms < until_ms {
                return Err(NotNow::Resting { for_ms: until_ms - now_ms, why: self.why.clone() });
            }
            next.step(Event::Due, now_ms)?;
        }
        let spent = self.tried() >= max;
        match next.step(Event::Start, now_ms) {
            Ok(()) if !spent => {}
            Err(illegal) if !(spent && self.state == State::Abandoned) => return Err(illegal),
            Ok(()) | Err(_) => return Err(NotNow::Spent { attempts: self.attempts, max }),
        }
        (next.attempts, next.deferred) = (next.attempts + 1, false);
        next.memory = next.left.take().unwrap_or(next.memory);
        next.work(serial);
        *self = next;
        Ok(self.attempts)
    }

    /// Why a run of it will not go on. `None`: it may.
    pub fn gone_from(&self, serial: &str) -> Option<String> {
        if self.latest.as_deref().is_some_and(|latest| latest != serial) {
            return Some(format!("has had {} attempts since", self.attempts));
        }
        match self.state {
            State::Accepted | State::Abandoned => Some(format!("is {}", self.state.name())),
            State::Ready | State::Running | State::Parked | State::RetryWait | State::Halted => None,
        }
    }

    /// Attempts that the cap counts.
    pub fn tried(&self) -> u32 {
        self.attempts.saturating_sub(self.forgiven)
    }

    /// Its run has ended. `marked`: with something new to show.
    ///
    /// # Errors
    /// [`NotNow::Illegal`].
    pub fn end(&mut self, verdict: &Verdict, marked: bool, retries: Retries, now_ms: u64) -> Result<(), NotNow> {
        let Some(event) = Event::of(verdict, marked) else { return Ok(()) };
        self.deferrals = if event == Event::Defer { self.deferrals.saturating_add(1) } else { 0 };
        let is_last = event == Event::Retry && self.tried() >= retries.max;
        self.step(if is_last { Event::GiveUp } else { event }, now_ms)?;
        self.open = None;
        self.why = format!("{}: {}", verdict.name(), verdict.why());
        if is_last {
            self.why = format!("attempt {} of {} was the last, {}", self.tried(), retries.max, self.why);
        }
        if let Verdict::Deferred { why, retry_at_ms } = verdict {
            // Until when stands beside it.
            self.why = format!("{}: {why}", verdict.name());
            (self.forgiven, self.deferred) = (self.forgiven.saturating_add(1), true);
            // The next attempt begins anew, and asks what this one has asked.
            self.left = None;
            self.rests_until_ms = Some(*retry_at_ms);
        } else if self.state == State::RetryWait {
            self.rests_until_ms = Some(now_ms.saturating_add(retries.backoff.after(self.tried())));
        }
        Ok(())
    }

    /// An operator lets it be tried again, with all its attempts before it. What it has shown is forgotten, so that the same
    /// work is judged again. The caller has the item to itself.
    ///
    /// # Errors
    /// [`NotNow::Illegal`].
    pub fn revive(&mut self, why: &str, now_ms: u64) -> Result<(), NotNow> {
        self.open = None;
        match self.state {
            State::Running => self.step(Event::Lost, now_ms)?,
            State::Ready | State::Parked | State::RetryWait | State::Accepted | State::Abandoned | State::Halted => {
                self.step(Event::Revive, now_ms)?
            }
        }
        (self.forgiven, self.deferred, self.deferrals) = (self.attempts, false, 0);
        self.why = format!("revived: {why}");
        (self.memory, self.left) = (Memory::default(), None);
        (self.seen, self.passed, self.judged) = Default::default();
        Ok(())
    }

    /// An operator gives it up. The caller has the item to itself.
    ///
    /// # Errors
    /// [`NotNow::Illegal`].
    pub fn abandon(&mut self, why: &str, now_ms: u64) -> Result<(), NotNow> {
        if self.state == State::Running {
            self.step(Event::Lost, now_ms)?;
        }
        self.step(Event::Abandon, now_ms)?;
        self.why = format!("abandoned by an operator: {why}");
        Ok(())
    }

    fn work(&mut self, serial: &str) {
        self.why = format!("run {serial} works on it");
        (self.open, self.latest) = (Some(serial.to_owned()), Some(serial.to_owned()));
    }

    fn step(&mut self, event: Event, now_ms: u64) -> Result<(), NotNow> {
        let next = self.state.after(event);
        let next = next.map_err(|illegal| NotNow::Illegal { illegal, why: self.why.clone() })?;
        (self.state, self.since_ms, self.rests_until_ms) = (next, now_ms, None);
        Ok(())
    }
}

impl Backoff {
    /// How long an item rests after so many attempts. Milliseconds.
    pub fn after(self, attempts: u32) -> u64 {
        let doublings = attempts.saturating_sub(1).min(63);
        self.first_ms.saturating_mul(1 << doublings).min(self.most_ms.max(self.first_ms))
    }
}

#[cfg(test)]
mod tests;
