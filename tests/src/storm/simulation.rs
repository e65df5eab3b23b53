//! The storm in one thread and without waiting: the same schedule, event by event, against a ledger of ours and against
//! three that others have, each as good as its idea allows.
//!
//! Never: lets a ledger see the future, charges a naive one for a mistake that is not its idea's: each knows ids, settles
//! a call once, and is asked by one caller at a time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use jidoka::rules::ledger::{Denial, Dispatched, Ledger, Reservation, ScopeId};

use super::{CALLS, Call, Fate, Leaving, Name, PROCESSES, Schedule, Seat, WORKERS, reserve, tokens};

/// What came of a storm.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub ledger: &'static str,
    /// Calls that were sent.
    pub sent: u64,
    pub refused: u64,
    /// What the provider counted.
    pub spent: u64,
    pub limit: u64,
}

impl Outcome {
    /// The head of a table of outcomes.
    pub const HEAD: &'static str = "ledger                            sent   refused      spent      limit  overshoot";

    /// What was spent above the limit.
    pub fn overshoot(&self) -> u64 {
        self.spent.saturating_sub(self.limit)
    }
}

/// A row of the table.
impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ledger, sent, refused, spent, limit } = self;
        write!(formatter, "{ledger:<30}{sent:>8}{refused:>10}{spent:>11}{limit:>11}{:>11}", self.overshoot())
    }
}

/// Whoever lets calls through.
trait Books {
    /// The cap to put on the wire; `None` refuses the call.
    fn admit(&mut self, name: Name, call: &Call, at_us: u64) -> Option<u64>;

    /// The call is about to leave.
    fn send(&mut self, _name: Name) {}

    /// The call was not sent, and nobody will.
    fn cancel(&mut self, name: Name, leaving: Leaving);

    /// The provider said what it cost.
    fn settle(&mut self, name: Name, cost: u64);

    /// Nobody knows what it cost.
    fn doubt(&mut self, name: Name, leaving: Leaving);

    /// The attempt of the call's worker is over, and another one begins.
    fn start_again(&mut self, _name: Name) {}

    /// The worker has made all its calls.
    fn leave(&mut self, _name: Name) {}
}

/// How long one of the ledgers believes in a reservation: twice what the longest call takes.
const TIME_TO_LIVE_US: u64 = 10_000;

/// How much later a late answer is heard, and the provider's bill.
const LATE_US: u64 = 15_000;

/// The schedule against each ledger, ours first.
pub fn outcomes(schedule: &Arc<Schedule>) -> Vec<Outcome> {
    let limit = schedule.limit;
    let ledgers: [(&'static str, Box<dyn Books>); 4] = [
        ("ours, simulated", Box::new(Ours::open(Arc::clone(schedule)))),
        ("check, then add", Box::new(CheckThenAdd { limit, spent: 0, settled: HashSet::new() })),
        ("free after a time to live", Box::new(TimeToLive { limit, spent: 0, open: HashMap::new() })),
        ("clamp the reservation only", Box::new(Clamped { limit, spent: 0, reserved: HashMap::new() })),
    ];
    ledgers.into_iter().map(|(name, books)| Simulation::new(schedule, books).run(name)).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ask(Name),
    Send(Name, u64),
    Answer(Name, u64),
    Hear(Name, u64),
}

struct Simulation<'a> {
    schedule: &'a Schedule,
    books: Box<dyn Books>,
    now_us: u64,
    /// By time, then in the order in which they were put in.
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    put: u64,
    sent: u64,
    refused: u64,
    spent: u64,
}

impl<'a> Simulation<'a> {
    fn new(schedule: &'a Schedule, books: Box<dyn Books>) -> Self {
        let events = BinaryHeap::new();
        Self { schedule, books, now_us: 0, events, put: 0, sent: 0, refused: 0, spent: 0 }
    }

    fn run(mut self, ledger: &'static str) -> Outcome {
        for process in 0..PROCESSES {
            for worker in 0..WORKERS {
                self.think(Name { process, worker, call: 0, is_retry: false });
            }
        }
        while let Some(Reverse((at_us, _, event))) = self.events.pop() {
            self.now_us = at_us;
            self.happen(event);
        }
        let Self { sent, refused, spent, .. } = self;
        Outcome { ledger, sent, refused, spent, limit: self.schedule.limit }
    }

    fn put(&mut self, in_us: u64, event: Event) {
        self.put += 1;
        self.events.push(Reverse((self.now_us + in_us, self.put, event)));
    }

    fn think(&mut self, name: Name) {
        self.put(self.schedule.call(name).think_us, Event::Ask(name));
    }

    fn go_on(&mut self, name: Name) {
        let next = Name { call: name.call + 1, is_retry: false, ..name };
        if next.call < CALLS { self.think(next) } else { self.books.leave(name) }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Ask(name) => {
                let call = self.schedule.call(name);
                match self.books.admit(name, call, self.now_us) {
                    Some(max_output) => self.put(call.pace_us, Event::Send(name, max_output)),
                    None => {
                        self.refused += 1;
                        self.go_on(name);
                    }
                }
            }
            Event::Send(name, max_output) => {
                let call = self.schedule.call(name);
                if let Fate::Cancelled(leaving) = call.fate {
                    self.books.cancel(name, leaving);
                    return self.go_on(name);
                }
                self.books.send(name);
                self.sent += 1;
                let cost = self.schedule.truth(name, max_output);
                self.spent += cost;
                if self.schedule.worker(name.process, name.worker).breaks_at == Some(name.call) && !name.is_retry {
                    self.books.start_again(name);
                }
                self.put(call.latency_us, Event::Answer(name, cost));
            }
            Event::Answer(name, cost) => self.answer(name, cost),
            Event::Hear(name, cost) => self.books.settle(name, cost),
        }
    }

    fn answer(&mut self, name: Name, cost: u64) {
        match self.schedule.call(name).fate {
            Fate::Answered => self.books.settle(name, cost),
            Fate::AnsweredTwice => {
                self.books.settle(name, cost);
                self.books.settle(name, cost);
            }
            Fate::AnsweredLate(_) | Fate::Untold => {
                self.books.doubt(name, Leaving::Orderly);
                self.put(LATE_US, Event::Hear(name, cost));
            }
            Fate::Disconnected(leaving) => {
                self.books.doubt(name, leaving);
                self.put(LATE_US, Event::Hear(name, cost));
            }
            Fate::Retried { .. } if name.is_retry => self.books.settle(name, cost),
            Fate::Retried { usage_told } => {
                if usage_told {
                    self.books.settle(name, cost);
                } else {
                    self.books.doubt(name, Leaving::Orderly);
                    self.put(LATE_US, Event::Hear(name, cost));
                }
                return self.think(Name { is_retry: true, ..name });
            }
            Fate::Cancelled(_) => unreachable!("it was not sent"),
        }
        self.go_on(name);
    }
}

/// The ledger, with all its scopes, and after each operation its promises.
struct Ours {
    schedule: Arc<Schedule>,
    ledger: Ledger,
    seats: HashMap<(usize, usize), Seat>,
    reserved: HashMap<Name, Reservation>,
    sent: HashMap<Name, Dispatched>,
}

impl Ours {
    fn open(schedule: Arc<Schedule>) -> Self {
        let mut ledger = Ledger::default();
        for (scope, terms) in schedule.scopes() {
            ledger.open(&scope, terms, 0).expect("it fits into what is around it");
        }
        let mut seats = HashMap::new();
        for process in 0..PROCESSES {
            for worker in 0..WORKERS {
                let seat = Seat { runner: process, process, worker, attempt: 0 };
                schedule.open_attempt(&mut ledger, &seat, 0).expect("its item is open");
                seats.insert((process, worker), seat);
            }
        }
        Self { schedule, ledger, seats, reserved: HashMap::new(), sent: HashMap::new() }
    }

    fn seat(&mut self, name: Name) -> &mut Seat {
        self.seats.get_mut(&(name.process, name.worker)).expect("every worker has one")
    }

    fn close(&mut self, scope: &ScopeId) {
        self.ledger.close(scope, 0);
        self.ledger.check_promises(scope).expect("it holds");
    }
}

impl Books for Ours {
    fn admit(&mut self, name: Name, call: &Call, _at_us: u64) -> Option<u64> {
        let scope = self.seat(name).scope();
        let reserved = reserve(&mut self.ledger, &scope, name, call, 0);
        self.ledger.check_promises(&scope).expect("it holds");
        match reserved {
            Ok((reservation, max_output)) => {
                self.reserved.insert(name, reservation);
                Some(max_output)
            }
            Err(Denial::Short(_)) => None,
            Err(other) => panic!("{name}: {other}"),
        }
    }

    fn send(&mut self, name: Name) {
        let reservation = self.reserved.remove(&name).expect("it was admitted");
        let dispatched = self.ledger.dispatch(reservation, 0).expect("its attempt is open");
        self.sent.insert(name, dispatched);
    }

    fn cancel(&mut self, name: Name, leaving: Leaving) {
        let reservation = self.reserved.remove(&name).expect("it was admitted");
        match leaving {
            Leaving::Orderly => self.ledger.release(reservation),
            Leaving::Dropped => drop(reservation),
        }
    }

    fn settle(&mut self, name: Name, cost: u64) {
        let first = self.ledger.find(&name.id()).is_some_and(|call| call.state.is_open());
        let settled = self.ledger.settle_id(&name.id(), &tokens(cost), 0);
        assert_eq!(settled.is_ok(), first, "{name} is settled once: {settled:?}");
        let scope = self.ledger.find(&name.id()).expect("it was sent").scope.clone();
        self.ledger.check_promises(&scope).expect("it holds");
    }

    fn doubt(&mut self, name: Name, leaving: Leaving) {
        let dispatched = self.sent.remove(&name).expect("it was sent");
        match leaving {
            Leaving::Orderly => self.ledger.hold(dispatched),
            Leaving::Dropped => drop(dispatched),
        }
    }

    fn start_again(&mut self, name: Name) {
        let seat = self.seat(name).clone();
        self.close(&seat.scope());
        let next = seat.next();
        self.schedule.open_attempt(&mut self.ledger, &next, 0).expect("its item is open");
        *self.seat(name) = next;
    }

    fn leave(&mut self, name: Name) {
        let scope = self.seat(name).scope();
        self.close(&scope);
        self.ledger.audit().expect("it agrees");
    }
}

/// Looks at what was booked, lets the call through, and books it when it is over.
struct CheckThenAdd {
    limit: u64,
    spent: u64,
    settled: HashSet<Name>,
}

impl Books for CheckThenAdd {
    fn admit(&mut self, _name: Name, call: &Call, _at_us: u64) -> Option<u64> {
        call.fit(self.limit.saturating_sub(self.spent))
    }

    fn cancel(&mut self, _name: Name, _leaving: Leaving) {}

    fn settle(&mut self, name: Name, cost: u64) {
        if self.settled.insert(name) {
            self.spent += cost;
        }
    }

    fn doubt(&mut self, _name: Name, _leaving: Leaving) {}
}

/// Reserves as we do, and takes a reservation back that was not settled in time.
struct TimeToLive {
    limit: u64,
    spent: u64,
    /// What is reserved, and since when.
    open: HashMap<Name, (u64, u64)>,
}

impl Books for TimeToLive {
    fn admit(&mut self, name: Name, call: &Call, at_us: u64) -> Option<u64> {
        let alive = self.open.values().filter(|(_, since_us)| at_us < since_us + TIME_TO_LIVE_US);
        let reserved: u64 = alive.map(|(amount, _)| amount).sum();
        let max_output = call.fit(self.limit.saturating_sub(self.spent + reserved))?;
        self.open.insert(name, (call.bound(max_output), at_us));
        Some(max_output)
    }

    fn cancel(&mut self, name: Name, _leaving: Leaving) {
        self.open.remove(&name);
    }

    fn settle(&mut self, name: Name, cost: u64) {
        // The truth is booked however late it comes; by then somebody else may have spent what was free.
        if self.open.remove(&name).is_some() {
            self.spent += cost;
        }
    }

    fn doubt(&mut self, _name: Name, _leaving: Leaving) {}
}

/// Reserves what is left if that is less than the call's bound, and lets the whole call through.
struct Clamped {
    limit: u64,
    spent: u64,
    reserved: HashMap<Name, u64>,
}

impl Books for Clamped {
    fn admit(&mut self, name: Name, call: &Call, _at_us: u64) -> Option<u64> {
        let left = self.limit.saturating_sub(self.spent + self.reserved.values().sum::<u64>());
        if left == 0 {
            return None;
        }
        self.reserved.insert(name, left.min(call.bound(call.max_output)));
        Some(call.max_output)
    }

    fn cancel(&mut self, name: Name, _leaving: Leaving) {
        self.reserved.remove(&name);
    }

    fn settle(&mut self, name: Name, cost: u64) {
        if self.reserved.remove(&name).is_some() {
            self.spent += cost;
        }
    }

    fn doubt(&mut self, _name: Name, _leaving: Leaving) {}
}
