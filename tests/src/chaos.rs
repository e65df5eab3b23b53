//! Chaos: the doors of a run as they are on the worst day of a year, drawn from a seed.
//!
//! Models fail, stall, lie about their usage, cut their replies, answer twice; the store refuses, is slow, keeps a work and
//! says that it did not; files vanish below the host's hands; hooks say no, hang, and leave children behind. Never: reads a clock, draws anything but from the seed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jidoka::doors::chain::Kept;
use jidoka::doors::model::{Call, Model, Received};
use jidoka::doors::store::{RunRow, Store, StoreError, Work};
use jidoka::rules::andon::{LineRecord, Pulled};
use jidoka::rules::digest::Digest;
use jidoka::rules::effect::{Failure, FailureKind};
use jidoka::rules::item::ItemRecord;
use jidoka::rules::ledger::{Ledger, ScopeId};
use jidoka::rules::model::{Metered, Request, Stop, ToolCall, Usage};
use jidoka::rules::operate::Act;
use jidoka::rules::question::{Question, QuestionId};

/// A stream of numbers that is fixed by its seed. Threads may draw from it; who draws what is theirs to race for.
#[derive(Debug)]
pub struct Dice(AtomicU64);

impl Dice {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// The next number below `sides`. SplitMix64: <https://prng.di.unimi.it/splitmix64.c>.
    pub fn roll(&self, sides: u64) -> u64 {
        let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    /// Whether something happens that happens once in `times`.
    pub fn once_in(&self, times: u64) -> bool {
        self.roll(times) == 0
    }
}

/// What can happen to one call of a model.
const MODEL_MISHAPS: u64 = 9;

/// A model on a bad day.
pub struct ChaosModel {
    pub model: Arc<dyn Model>,
    pub dice: Arc<Dice>,
    /// A call in so many goes wrong.
    pub rate: u64,
}

#[async_trait]
impl Model for ChaosModel {
    fn request_bytes(&self, request: &Request) -> u64 {
        self.model.request_bytes(request)
    }

    fn uses_network(&self) -> bool {
        self.model.uses_network()
    }

    async fn ask(&self, call: &Call) -> Received {
        if !self.dice.once_in(self.rate) {
            return self.model.ask(call).await;
        }
        let mishap = self.dice.roll(MODEL_MISHAPS);
        let failed = |received: Received, kind, metered| Received {
            result: Err(Failure { kind, message: "chaos".to_owned() }),
            metered,
            ..received
        };
        let mut received = self.model.ask(call).await;
        match mishap {
            // It fails: before it was sent, and with nobody knowing.
            0 => failed(received, FailureKind::Unavailable, Metered::Exact(Usage::of(0, 0))),
            1 => failed(received, FailureKind::TimedOut, Metered::Unknown),
            2 => failed(received, FailureKind::Rejected, Metered::Exact(Usage::of(1, 0))),
            // It is late.
            3 => {
                tokio::time::sleep(Duration::from_millis(1 + self.dice.roll(20))).await;
                received
            }
            // It lies: about what it cost, and about what was asked.
            4 => {
                received.metered = Metered::Exact(Usage::of(1 << 30, 1 << 30));
                received
            }
            5 => {
                if let Ok(reply) = &mut received.result {
                    "I have done it all, and every test passes.".clone_into(&mut reply.text);
                    reply.tool_calls.clear();
                    reply.stop = Stop::End;
                }
                received
            }
            // It is cut.
            6 => {
                if let Ok(reply) = &mut received.result {
                    let half = reply.text.floor_char_boundary(reply.text.len() / 2);
                    reply.text.truncate(half);
                    reply.tool_calls.iter_mut().for_each(|call| {
                        let half = call.arguments.floor_char_boundary(call.arguments.len() / 2);
                        call.arguments.truncate(half);
                    });
                }
                received
            }
            // It says everything twice.
            7 => {
                if let Ok(reply) = &mut received.result {
                    let again: Vec<ToolCall> = reply.tool_calls.clone();
                    reply.tool_calls.extend(again);
                    reply.text = reply.text.repeat(2);
                }
                received
            }
            // It is asked twice, and the first answer is lost.
            _ => self.model.ask(call).await,
        }
    }
}

/// What can happen to one work of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// It refuses, and nothing was changed.
    Refuses,
    /// The disk is full.
    Full,
    /// It is slow, by so many milliseconds.
    Slow(u64),
    /// It keeps the work, and says that it did not.
    KeepsAndSaysNo,
}

/// A store on a bad day.
pub struct ChaosStore {
    store: Arc<dyn Store>,
    works: AtomicU64,
    fails: Box<dyn Fn(u64) -> Option<Failing> + Send + Sync>,
}

impl ChaosStore {
    /// A work in `rate` goes wrong.
    pub fn new(store: Arc<dyn Store>, dice: Arc<Dice>, rate: u64) -> Self {
        Self::failing(store, move |_| {
            dice.once_in(rate).then(|| match dice.roll(4) {
                0 => Failing::Refuses,
                1 => Failing::Full,
                2 => Failing::Slow(1 + dice.roll(10)),
                _ => Failing::KeepsAndSaysNo,
            })
        })
    }

    /// What happens to each work is said by its number, from 0.
    pub fn failing(store: Arc<dyn Store>, fails: impl Fn(u64) -> Option<Failing> + Send + Sync + 'static) -> Self {
        Self { store, works: AtomicU64::new(0), fails: Box::new(fails) }
    }

    /// Works that were submitted.
    pub fn works(&self) -> u64 {
        self.works.load(Ordering::Relaxed)
    }
}

impl Store for ChaosStore {
    fn submit(&self, work: Work) {
        let error = || StoreError::Failed("chaos".to_owned());
        match (self.fails)(self.works.fetch_add(1, Ordering::Relaxed)) {
            None => self.store.submit(work),
            Some(Failing::Refuses) => (work.change)(Err(error()))(Err(error())),
            Some(Failing::Full) => (work.change)(Err(StoreError::Full))(Err(StoreError::Full)),
            Some(Failing::Slow(ms)) => {
                std::thread::sleep(Duration::from_millis(ms));
                self.store.submit(work);
            }
            Some(Failing::KeepsAndSaysNo) => {
                let Work { change, needs, durability, clock } = work;
                let change = Box::new(move |books: Result<&mut jidoka::doors::store::Books<'_>, StoreError>| {
                    let done = change(books);
                    let done: jidoka::doors::store::Done =
                        Box::new(move |kept| done(kept.and(Err(StoreError::Failed("chaos".to_owned())))));
                    done
                });
                self.store.submit(Work { needs, durability, clock, change });
            }
        }
    }

    fn journal(&self, serial: &str) -> Result<Option<Kept>, StoreError> {
        self.store.journal(serial)
    }

    fn runs(&self) -> Result<Vec<RunRow>, StoreError> {
        self.store.runs()
    }

    fn named(&self) -> Result<Vec<(String, Digest)>, StoreError> {
        self.store.named()
    }

    fn run(&self, serial: &str) -> Result<Option<RunRow>, StoreError> {
        self.store.run(serial)
    }

    fn contents_bytes(&self) -> Result<u64, StoreError> {
        self.store.contents_bytes()
    }

    fn free_bytes(&self) -> Result<u64, StoreError> {
        self.store.free_bytes()
    }

    fn open_attempts(&self) -> Result<Vec<ScopeId>, StoreError> {
        self.store.open_attempts()
    }

    fn survey(&self) -> Result<Ledger, StoreError> {
        self.store.survey()
    }

    fn acts(&self) -> Result<Vec<Act>, StoreError> {
        self.store.acts()
    }

    fn items(&self) -> Result<Vec<(ScopeId, ItemRecord)>, StoreError> {
        self.store.items()
    }

    fn lines(&self) -> Result<Vec<(ScopeId, LineRecord)>, StoreError> {
        self.store.lines()
    }

    fn pulls(&self) -> Result<Vec<Pulled>, StoreError> {
        self.store.pulls()
    }

    fn questions(&self) -> Result<Vec<(QuestionId, Question)>, StoreError> {
        self.store.questions()
    }
}

/// Takes something away below the host's hands: a part of the run's own directory, or what is kept of trees. Returns what.
pub fn sabotage(state: &Path, serial: &str, dice: &Dice) -> PathBuf {
    let run = state.join("runs").join(serial);
    let target = match dice.roll(4) {
        0 => run.join("evidence"),
        1 => run.join("work"),
        2 => state.join("blobs"),
        _ => run,
    };
    match dice.roll(3) {
        0 => drop(std::fs::remove_dir_all(&target)),
        1 => drop(std::fs::rename(&target, target.with_extension("gone"))),
        // A file stands where a directory was.
        _ => {
            drop(std::fs::rename(&target, target.with_extension("gone")));
            drop(std::fs::write(&target, "chaos"));
        }
    }
    target
}
