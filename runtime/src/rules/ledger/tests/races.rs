//! Threads that meet at one ledger, in every order that shuttle can give them: each operation is one hold of its lock, as
//! the store has it, and what a thread keeps between two holds may be out of date by then.
//!
//! Never: a real thread, a real clock. After each operation the promises are looked at and the books are audited, and at
//! the end they say what was really spent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::rand::Rng as _;
use shuttle::sync::Mutex;
use shuttle::{check_dfs, check_pct, check_random, thread};

use super::super::*;
use super::{carve, limit, tokens};

/// The root, a line that shares it, and an item that is shared or carved.
const SCOPES: [&str; 3] = ["", "a", "a/i"];
const ROOT: u64 = 100;

/// What a thread does in one hold.
#[derive(Clone, Copy, Debug)]
enum Step {
    Open {
        scope: usize,
        limit: u64,
        carve: bool,
    },
    Reserve {
        scope: usize,
        wish: u64,
    },
    Dispatch,
    Release,
    Settle,
    Hold,
    /// Drops a call that was sent, as a cancelled future does.
    Forget,
    Renew {
        ahead: u64,
    },
    /// The first call that is held turns out to have cost what it has.
    SettleLate,
    WriteOff,
    Mark {
        scope: usize,
    },
    TopUp {
        scope: usize,
        amount: u64,
    },
    Close {
        scope: usize,
    },
}

/// What all threads share.
#[derive(Default)]
struct World {
    ledger: Ledger,
    /// What a provider spent.
    truth: u64,
    /// The part of it that no one has booked, by call.
    unbooked: BTreeMap<CallId, u64>,
}

/// What one thread keeps between two holds.
#[derive(Default)]
struct Hands {
    /// With the cap that was fitted, which goes on the wire.
    reserved: VecDeque<(Reservation, u64)>,
    sent: VecDeque<Dispatched>,
}

fn scope(number: usize) -> ScopeId {
    ScopeId::of_path(SCOPES[number])
}

impl World {
    fn open() -> Self {
        let mut world = Self::default();
        world.ledger.open(&scope(0), limit(ROOT), 0).expect("opens");
        world.ledger.open(&scope(1), limit(ROOT - 10), 0).expect("opens");
        world
    }

    /// Fits a call to what is left and reserves for it.
    fn reserve(&mut self, scope: &ScopeId, id: CallId, wish: u64) -> Option<(Reservation, u64)> {
        let left = self.ledger.headroom(scope, Line::Tokens, 0).map_or(0, |headroom| headroom.left);
        let cap = left.min(wish).max(1);
        Some((self.ledger.reserve(scope, id, &tokens(cap), 0).ok()?, cap))
    }

    /// From here on a provider may spend up to the cap, whoever closes what meanwhile; it spends three quarters.
    fn spend(&mut self, id: &CallId, cap: u64) {
        let cost = cap - cap / 4;
        self.truth += cost;
        *self.unbooked.entry(id.clone()).or_default() += cost;
    }

    fn booked(&mut self, id: &CallId) -> Amounts {
        tokens(self.unbooked.remove(id).unwrap_or(0))
    }

    fn first_held(&self) -> Option<CallId> {
        let held = self.ledger.calls().filter(|(_, call)| call.state == CallState::Held);
        held.map(|(id, _)| id.clone()).min()
    }

    fn settle(&mut self, id: &CallId) {
        let open = matches!(self.ledger.state(id), Some(CallState::Dispatched | CallState::Held));
        let cost = if open { self.booked(id) } else { tokens(1) };
        let settled = self.ledger.settle_id(id, &cost, 0);
        assert_eq!(settled.is_ok(), open, "{settled:?}");
        assert!(settled.unwrap_or_default().is_nothing());
        let before = self.ledger.totals(&scope(0));
        assert!(self.ledger.settle_id(id, &tokens(1), 0).is_err(), "a call is settled once");
        assert_eq!(self.ledger.totals(&scope(0)), before);
    }

    fn carry_out(&mut self, step: Step, new: CallId, hands: &mut Hands) {
        match step {
            Step::Open { scope: number, limit: amount, carve: carved } => {
                let gap = Limits::from_iter([(Line::Tokens, amount * 3 / 4)]);
                let terms = Terms { gap, ..if carved { carve(amount) } else { limit(amount) } };
                // A limit that is lowered makes a debt; that is another promise.
                if self.ledger.scope(&scope(number)).is_none() {
                    drop(self.ledger.open(&scope(number), terms, 0));
                }
            }
            Step::Reserve { scope: number, wish } => hands.reserved.extend(self.reserve(&scope(number), new, wish)),
            Step::Dispatch => {
                let Some((reservation, cap)) = hands.reserved.pop_front() else { return };
                if let Ok(dispatched) = self.ledger.dispatch(reservation, 0) {
                    self.spend(dispatched.id(), cap);
                    hands.sent.push_back(dispatched);
                }
            }
            Step::Release => {
                if let Some((reservation, _)) = hands.reserved.pop_front() {
                    self.ledger.release(reservation);
                }
            }
            Step::Settle => {
                if let Some(dispatched) = hands.sent.pop_front() {
                    self.settle(dispatched.id());
                }
            }
            Step::Hold => {
                if let Some(dispatched) = hands.sent.pop_front() {
                    self.ledger.hold(dispatched);
                }
            }
            Step::Forget => drop(hands.sent.pop_front()),
            Step::Renew { ahead } => {
                let Some(dispatched) = hands.sent.front() else { return };
                let used = tokens(self.unbooked.get(dispatched.id()).copied().unwrap_or(0));
                if let Ok(renewed) = self.ledger.renew(dispatched.id(), &used, &tokens(ahead), 0) {
                    self.unbooked.remove(dispatched.id());
                    self.spend(dispatched.id(), renewed.reserved.get(Line::Tokens));
                }
            }
            Step::SettleLate => {
                if let Some(held) = self.first_held() {
                    self.settle(&held);
                }
            }
            Step::WriteOff => {
                if let Some(held) = self.first_held() {
                    let cost = self.booked(&held);
                    self.ledger.write_off(&held, &cost, 0).expect("it is held");
                }
            }
            Step::Mark { scope: number } => {
                if self.ledger.ensure_open(&scope(number)).is_ok() {
                    self.ledger.mark(&scope(number));
                }
            }
            Step::TopUp { scope: number, amount } => {
                drop(self.ledger.top_up(&scope(number), &Amounts::of(Line::Tokens, amount), 0))
            }
            Step::Close { scope: number } => self.ledger.close(&scope(number), 0),
        }
    }

    /// L1 to L4 and L7, in the hold that changed something.
    fn look(&self) {
        for (id, scope) in self.ledger.scopes() {
            self.ledger.check_promises(id).expect("holds");
            if let Some(gap) = scope.terms.gap.get(Line::Tokens) {
                let since_mark = scope.committed().less(&scope.at_mark).get(Line::Tokens);
                assert!(since_mark <= gap, "{since_mark} since the last mark: {scope:?}");
            }
        }
        self.ledger.audit().expect("agrees");
        let root = self.ledger.scope(&scope(0)).expect("open");
        assert!(root.overrun.is_nothing(), "{root:?}");
        assert!(self.truth <= root.committed().get(Line::Tokens), "{} are spent: {root:?}", self.truth);
    }

    /// All threads are gone: their scopes are closed, and what is held is booked with what it cost.
    fn end(&mut self) {
        self.ledger.close(&scope(0), 0);
        self.look();
        let root = self.ledger.totals(&scope(0));
        assert!(self.truth <= root.spent.plus(&root.held).get(Line::Tokens), "{} are spent: {root:?}", self.truth);
        while let Some(held) = self.first_held() {
            self.settle(&held);
        }
        self.look();
        let root = self.ledger.scope(&scope(0)).expect("open");
        assert_eq!(root.committed(), tokens(self.truth), "the books say what was spent");
        assert!(self.truth <= root.limit(Line::Tokens).expect("it has one"));
    }
}

/// What a thread does before the others begin, and then beside them.
#[derive(Clone, Default)]
struct Story {
    before: Vec<Step>,
    beside: Vec<Step>,
}

impl Story {
    fn new(before: &[Step], beside: &[Step]) -> Self {
        Self { before: before.to_vec(), beside: beside.to_vec() }
    }
}

/// One schedule: each thread carries out its steps, and gives way to the others before and after any of them.
fn run(stories: Vec<Story>) {
    let mut world = World::open();
    let mut begun = Vec::new();
    for (thread, story) in stories.into_iter().enumerate() {
        let mut hands = Hands::default();
        for (place, step) in story.before.into_iter().enumerate() {
            world.carry_out(step, CallId::new(format!("{thread}-before-{place}")), &mut hands);
            world.look();
        }
        begun.push((hands, story.beside));
    }
    let world = Arc::new(Mutex::new(world));
    let threads = begun.into_iter().enumerate().map(|(number, (mut hands, steps))| {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            for (place, step) in steps.into_iter().enumerate() {
                let mut world = world.lock().expect("nobody panics");
                world.carry_out(step, CallId::new(format!("{number}-{place}")), &mut hands);
                world.look();
            }
        })
    });
    let threads: Vec<_> = threads.collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    world.lock().expect("nobody panics").end();
}

/// Carries out every schedule there is, and counts them.
fn explore(once: impl Fn() + Send + Sync + 'static) -> usize {
    /// Far more than any of these has: reaching it would mean that not all were seen.
    const MOST: usize = 100_000;
    let schedules = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&schedules);
    let counted = move || {
        count.fetch_add(1, Ordering::Relaxed);
        once();
    };
    check_dfs(counted, Some(MOST));
    let schedules = schedules.load(Ordering::Relaxed);
    assert!(schedules < MOST);
    schedules
}

/// Steps that anybody may take at any time.
fn any_step() -> Step {
    let mut chance = shuttle::rand::thread_rng();
    let (scope, amount) = (chance.gen_range(0..SCOPES.len()), chance.gen_range(1..60));
    match chance.gen_range(0..20_u32) {
        0..2 => Step::Open { scope: 2, limit: amount, carve: chance.gen_range(0..2_u32) == 0 },
        2..7 => Step::Reserve { scope, wish: amount },
        7..11 => Step::Dispatch,
        11 => Step::Release,
        12..14 => Step::Settle,
        14 => Step::Hold,
        15 => Step::Forget,
        16 => Step::Renew { ahead: amount },
        17 => [Step::SettleLate, Step::WriteOff][chance.gen_range(0..2_usize)],
        18 => Step::TopUp { scope, amount: amount / 10 + 1 },
        _ => [Step::Mark { scope }, Step::Close { scope: 2 }][chance.gen_range(0..2_usize)],
    }
}

/// An item that is carved.
const ITEM: Step = Step::Open { scope: 2, limit: 40, carve: true };

/// A call of the item that was sent.
const SENT: [Step; 3] = [ITEM, Step::Reserve { scope: 2, wish: 30 }, Step::Dispatch];

#[test]
fn every_order_of_a_few_steps_holds_the_limit() {
    let reserve = |scope, wish| Step::Reserve { scope, wish };
    let close = Step::Close { scope: 2 };
    let alone = |step| Story::new(&[], &[step]);
    let stories = [
        // Three calls, of which one fits whole and one is shrunk.
        vec![alone(reserve(1, 60)); 3],
        // Something is carved while others reserve, in it and around it.
        vec![alone(ITEM), alone(reserve(2, 30)), alone(reserve(1, 70))],
        // A call is settled, its scope is closed, and somebody else settles or writes off what is held.
        vec![Story::new(&SENT, &[Step::Settle]), alone(close), alone(Step::SettleLate)],
        vec![Story::new(&SENT, &[Step::Hold]), alone(close), alone(Step::WriteOff)],
        // What was reserved is sent or given back while its scope is closed and others wait for what is left.
        vec![Story::new(&SENT[..2], &[Step::Dispatch]), alone(close), alone(reserve(1, 90))],
        vec![Story::new(&SENT[..2], &[Step::Release]), alone(close), alone(reserve(0, 90))],
        // A call is renewed while its gap starts anew, its limit is raised, or its scope is closed.
        vec![
            Story::new(&SENT, &[Step::Renew { ahead: 40 }]),
            alone(Step::TopUp { scope: 2, amount: 20 }),
            alone(reserve(1, 50)),
        ],
        vec![Story::new(&SENT, &[Step::Renew { ahead: 40 }]), alone(Step::Mark { scope: 2 }), alone(close)],
        // Whole lives of two calls beside each other.
        vec![Story::new(&[], &[reserve(1, 60), Step::Dispatch, Step::Settle]); 2],
        vec![Story::new(&[], &[reserve(1, 60), Step::Dispatch, Step::Hold]), Story::new(&[], &SENT)],
        vec![
            Story::new(&SENT, &[Step::Forget, reserve(2, 10), close]),
            Story::new(&SENT, &[close, ITEM, reserve(1, 90)]),
        ],
    ];
    let orders = stories.len();
    let schedules: usize = stories.into_iter().map(|story| explore(move || run(story.clone()))).sum();
    println!("{schedules} schedules of {orders} stories: all there are");
}

#[test]
fn three_threads_hold_the_limit_whatever_they_do() {
    let any = || Story::new(&[], &(0..16).map(|_| any_step()).collect::<Vec<_>>());
    let three = move || run((0..3).map(|_| any()).collect());
    check_random(three, 10_000);
    check_pct(three, 10_000, 5);
}

/// What the others would find: a caller who looks what is left and reserves what fits in two holds, and sends it whatever
/// the second one says.
#[test]
fn a_look_and_a_reservation_apart_are_found() {
    let overshot = Arc::new(AtomicUsize::new(0));
    let found = Arc::clone(&overshot);
    let schedules = explore(move || {
        let world = Arc::new(Mutex::new(World::open()));
        let careless = |number: usize| {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let line = scope(1);
                let left = world.lock().expect("nobody panics").ledger.headroom(&line, Line::Tokens, 0);
                let cap = left.expect("it is limited").left.min(60);
                if cap > 0 {
                    let mut world = world.lock().expect("nobody panics");
                    drop(world.ledger.reserve(&line, CallId::new(format!("{number}")), &tokens(cap), 0));
                    world.truth += cap;
                }
            })
        };
        let threads = [careless(0), careless(1)];
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        if world.lock().expect("nobody panics").truth > ROOT {
            found.fetch_add(1, Ordering::Relaxed);
        }
    });
    let overshot = overshot.load(Ordering::Relaxed);
    assert!(0 < overshot && overshot < schedules, "{overshot} of {schedules}: in some orders only");
    println!("{overshot} of {schedules} schedules pass the limit");
}
