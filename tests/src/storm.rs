//! The storm: what 256 workers in 8 processes ask of one budget, and what becomes of each call, all drawn from a seed.
//!
//! Never: reads a clock, draws anything after the schedule is made. The same schedule drives real processes (`bin/storm`),
//! the provider that counts what they spend, and the simulation in which naive ledgers meet it.

pub mod provider;
pub mod simulation;

use std::fmt;
use std::str::FromStr;

use jidoka::rules::ledger::{Amounts, CallId, Denial, Ledger, Limits, Line, Reservation, ScopeId, Terms};

pub const PROCESSES: usize = 8;
/// In each process.
pub const WORKERS: usize = 32;
/// Of each worker.
pub const CALLS: usize = 40;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Answered,
    /// Its usage is booked twice.
    AnsweredTwice,
    /// Its worker gives up, and hears of the usage later.
    AnsweredLate(Hearing),
    /// It is answered without usage.
    Untold,
    /// Its worker vanishes in the middle of the answer.
    Disconnected(Leaving),
    /// Its worker vanishes before it was sent.
    Cancelled(Leaving),
    /// Its first try fails after it has spent; the second one is a call of its own.
    Retried {
        usage_told: bool,
    },
}

/// When a late answer is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// While the worker makes its next calls.
    InTheAttempt,
    /// When the worker's scope is closed.
    AfterTheAttempt,
}

/// How a worker leaves its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// It says so to the ledger.
    Orderly,
    /// It is dropped; the ledger learns of it when the scope closes.
    Dropped,
}

/// One call of the schedule. Tokens throughout.
#[derive(Clone, Debug)]
pub struct Call {
    pub think_us: u64,
    /// How long it waits between its reservation and its dispatch. 0: both are one transaction.
    pub pace_us: u64,
    pub latency_us: u64,
    /// At most this much is in the question; this is what is reserved for it.
    pub input_bound: u64,
    /// So much is.
    pub input: u64,
    /// The worker's wish.
    pub max_output: u64,
    /// Less is of no use to it.
    pub min_output: u64,
    /// What the model says when nothing stops it.
    pub full_output: u64,
    pub fate: Fate,
    /// Whether it is settled a second time in the same transaction.
    pub settled_again: bool,
}

impl Call {
    /// The cap to put on the wire, and to reserve for, where this much is left: they shrink together.
    pub fn fit(&self, left: u64) -> Option<u64> {
        let max_output = left.checked_sub(self.input_bound)?.min(self.max_output);
        (max_output >= self.min_output).then_some(max_output)
    }

    /// What is reserved for a call with this cap.
    pub fn bound(&self, max_output: u64) -> u64 {
        self.input_bound + max_output
    }
}

/// A call's place in the schedule; as text it is the call's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    pub process: usize,
    pub worker: usize,
    pub call: usize,
    /// It is the second try of a call that is retried.
    pub is_retry: bool,
}

impl Name {
    /// The call's id in the ledger and on the wire.
    pub fn id(self) -> CallId {
        CallId::new(self.to_string())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { process, worker, call, is_retry } = self;
        write!(formatter, "{process}-{worker}-{call}-{}", u8::from(*is_retry))
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<usize>, _> = text.split('-').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[process, worker, call, retry]) => Ok(Self { process, worker, call, is_retry: retry == 1 }),
            _ => Err(format!("{text} is no call")),
        }
    }
}

/// One worker's ways.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its attempt is carved out of its item.
    pub carves: bool,
    /// At this call its attempt is closed under it, and it goes on in another one.
    pub breaks_at: Option<usize>,
    calls: Vec<Call>,
}

/// Everything that will be asked.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub seed: u64,
    /// The root's: two fifths of what all calls together may cost as they are wished for.
    pub limit: u64,
    workers: Vec<Vec<Worker>>,
}

impl Schedule {
    /// The schedule of a seed.
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let worker = |chance: &mut Chance| Worker {
            carves: chance.below(2) == 0,
            // Never the last call: the one after it is in flight at the same time.
            breaks_at: (chance.below(4) == 0).then(|| chance.index(CALLS - 1)),
            calls: (0..CALLS).map(|_| chance.call()).collect(),
        };
        let process = |chance: &mut Chance| (0..WORKERS).map(|_| worker(chance)).collect::<Vec<_>>();
        let workers: Vec<Vec<Worker>> = (0..PROCESSES).map(|_| process(&mut chance)).collect();
        let calls = workers.iter().flatten().flat_map(|worker| &worker.calls);
        let limit = calls.map(|call| call.bound(call.max_output)).sum::<u64>() * 2 / 5;
        Self { seed, limit, workers }
    }

    pub fn worker(&self, process: usize, worker: usize) -> &Worker {
        &self.workers[process][worker]
    }

    pub fn call(&self, name: Name) -> &Call {
        &self.worker(name.process, name.worker).calls[name.call]
    }

    /// What a call with this cap really costs: an honest provider's truth.
    pub fn truth(&self, name: Name, max_output: u64) -> u64 {
        let call = self.call(name);
        let output = call.full_output.min(max_output);
        call.input
            + match call.fate {
                Fate::Disconnected(_) => output / 2,
                Fate::Retried { .. } if !name.is_retry => output / 3,
                Fate::Answered
                | Fate::AnsweredTwice
                | Fate::AnsweredLate(_)
                | Fate::Untold
                | Fate::Cancelled(_)
                | Fate::Retried { .. } => output,
            }
    }

    /// Whether nobody tells what a call cost before the provider's bill does.
    pub fn is_billed(&self, name: Name) -> bool {
        match self.call(name).fate {
            Fate::Untold | Fate::Disconnected(_) => true,
            Fate::Retried { usage_told } => !usage_told && !name.is_retry,
            Fate::Answered | Fate::AnsweredTwice | Fate::AnsweredLate(_) | Fate::Cancelled(_) => false,
        }
    }

    /// The item of a process.
    pub fn item(process: usize) -> ScopeId {
        ScopeId::host().child(&format!("tenant-{}", process % 2)).child("line").child(&format!("item-{process}"))
    }

    /// The scopes around all attempts, from the outside in. Two tenants share the root and are allowed more than it has
    /// together; the items of every other pair of processes are carved.
    pub fn scopes(&self) -> Vec<(ScopeId, Terms)> {
        let limit = self.limit;
        let mut scopes = vec![(ScopeId::host(), shared(limit))];
        for tenant in 0..2 {
            let tenant = ScopeId::host().child(&format!("tenant-{tenant}"));
            scopes.push((tenant.clone(), shared(limit * 3 / 5)));
            scopes.push((tenant.child("line"), Terms::default()));
        }
        for process in 0..PROCESSES {
            let terms = if process % 4 < 2 { carved(limit / 10) } else { Terms::default() };
            scopes.push((Self::item(process), terms));
        }
        scopes
    }

    /// Opens an attempt of a worker. Where the item has too little left to carve it out of, it is shared.
    ///
    /// # Errors
    /// [`Denial`]: the item is closed.
    pub fn open_attempt(&self, ledger: &mut Ledger, at: &Seat, now_ms: u64) -> Result<(), Denial> {
        if self.worker(at.process, at.worker).carves {
            match ledger.open(&at.scope(), carved(self.limit / 400), now_ms) {
                Err(Denial::Short(_)) => {}
                opened => return opened,
            }
        }
        ledger.open(&at.scope(), Terms::default(), now_ms)
    }
}

/// A worker in one of its attempts.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Who carries out the schedule of `process`; not itself, after it was killed.
    pub runner: usize,
    pub process: usize,
    pub worker: usize,
    pub attempt: usize,
}

impl Seat {
    /// The attempt's scope.
    pub fn scope(&self) -> ScopeId {
        let Self { runner, process, worker, attempt } = self;
        Schedule::item(*process).child(&format!("{runner}-{worker}-{attempt}"))
    }

    /// The same worker's next attempt.
    pub fn next(&self) -> Self {
        Self { attempt: self.attempt + 1, ..self.clone() }
    }
}

/// Fits a call to what is left and reserves for it, as the gate does; the cap is returned with the reservation.
///
/// # Errors
/// [`Denial`]: the ledger's.
pub fn reserve(
    ledger: &mut Ledger,
    scope: &ScopeId,
    name: Name,
    call: &Call,
    now_ms: u64,
) -> Result<(Reservation, u64), Denial> {
    let left = ledger.headroom(scope, Line::Tokens, now_ms).map_or(0, |headroom| headroom.left);
    // What does not fit is asked for all the same, so that the refusal is the ledger's.
    let max_output = call.fit(left).unwrap_or(call.min_output);
    let reservation = ledger.reserve(scope, name.id(), &tokens(call.bound(max_output)), now_ms)?;
    Ok((reservation, max_output))
}

pub fn tokens(amount: u64) -> Amounts {
    Amounts::of(Line::Tokens, amount)
}

fn shared(limit: u64) -> Terms {
    Terms { limits: Limits::from_iter([(Line::Tokens, limit)]), ..Terms::default() }
}

fn carved(limit: u64) -> Terms {
    Terms { carve: vec![Line::Tokens], ..shared(limit) }
}

/// splitmix64: <https://prng.di.unimi.it/splitmix64.c>.
struct Chance(u64);

impl Chance {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; that some are a little likelier than others does not matter here.
    fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).expect("it is below an index")
    }

    fn either<T>(&mut self, one: T, other: T) -> T {
        if self.below(2) == 0 { one } else { other }
    }

    fn call(&mut self) -> Call {
        let fate = match self.below(20) {
            0..9 => Fate::Answered,
            9..11 => Fate::AnsweredTwice,
            11..14 => Fate::AnsweredLate(self.either(Hearing::InTheAttempt, Hearing::AfterTheAttempt)),
            14 => Fate::Untold,
            15 => Fate::Disconnected(self.either(Leaving::Orderly, Leaving::Dropped)),
            16..18 => Fate::Cancelled(self.either(Leaving::Orderly, Leaving::Dropped)),
            _ => Fate::Retried { usage_told: self.either(true, false) },
        };
        let unpaced = self.below(2) == 0 && !matches!(fate, Fate::Cancelled(_));
        let input_bound = 100 + self.below(200);
        let max_output = 200 + self.below(800);
        Call {
            think_us: self.below(3_000),
            pace_us: if unpaced { 0 } else { 1 + self.below(2_000) },
            latency_us: self.below(3_000),
            input_bound,
            input: input_bound - self.below(input_bound / 4),
            max_output,
            min_output: max_output / 4,
            full_output: max_output / 2 + self.below(max_output * 4),
            fate,
            settled_again: self.below(4) == 0,
        }
    }
}
