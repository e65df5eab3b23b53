//! One process of the storm: 32 workers on one store, each a task that makes its calls as the schedule says.
//!
//! Never: decides what becomes of a call (the schedule does), goes on after a broken promise, outlives the provider.
//! Usage: `storm STORE PROVIDER SEED PROCESS RUNNER`; `RUNNER` is another than `PROCESS` after that one was killed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use cap_std::fs::Dir;
use jidoka::doors::clock::{Clock, millis};
use jidoka::doors::sqlite::SqliteStore;
use jidoka::doors::store::{Durability, Need, transact};
use jidoka::rules::ledger::{CallState, Denial, Dispatched, Ledger, Reservation, ScopeId};
use jidoka_tests::storm::{CALLS, Call, Fate, Hearing, Leaving, Name, Schedule, Seat, reserve, tokens};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [store, provider, seed, process, runner] = words.as_slice() else { panic!("five words, not {words:?}") };
    let number = |word: &str| word.parse::<usize>().expect("a number");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let dir = Dir::open_ambient_dir(store, cap_std::ambient_authority()).expect("the store's directory");
    let store = SqliteStore::open(&dir, Path::new(store), Clock::starting_at(millis(now))).expect("the store opens");
    let (wire, next) = Wire::connect(provider, number(process)).await;
    let schedule = Schedule::of(seed.parse().expect("a seed"));
    let crew = Arc::new(Crew { store, schedule, wire, process: number(process), runner: number(runner) });
    let mut workers = JoinSet::new();
    for (worker, first) in next.into_iter().enumerate() {
        workers.spawn(Arc::clone(&crew).work(worker, first));
    }
    while let Some(done) = workers.join_next().await {
        done.expect("every worker keeps its promises");
    }
    crew.close(Schedule::item(crew.process)).await;
    let crew = Arc::into_inner(crew).expect("its workers are done");
    crew.wire.finish().await;
}

/// What all workers of a process share.
struct Crew {
    store: SqliteStore,
    schedule: Schedule,
    wire: Wire,
    process: usize,
    runner: usize,
}

/// What is told of a call's cost; nothing at all, if its connection breaks.
type Told = oneshot::Receiver<Option<u64>>;

/// What a worker hears later.
struct Late {
    scope: ScopeId,
    name: Name,
    told: Told,
}

/// How a call ended for its worker.
enum End {
    Over,
    Refused,
    Late(Hearing, Late),
    /// The next try is to be made.
    Failed,
}

/// How far an admitted call has come.
enum Life {
    Reserved(Reservation),
    Dispatched(Dispatched),
}

impl Crew {
    async fn work(self: Arc<Self>, worker: usize, first: usize) {
        let (process, runner) = (self.process, self.runner);
        let mut seat = Seat { runner, process, worker, attempt: 0 };
        self.open(&seat).await;
        let breaks_at = self.schedule.worker(process, worker).breaks_at;
        let (mut soon, mut after) = (Vec::new(), Vec::new());
        let mut call = first;
        while call < CALLS {
            let name = Name { process, worker, call, is_retry: false };
            let ends = if breaks_at == Some(call) {
                // Both are wherever they are when their attempt is closed.
                let next = Name { call: call + 1, ..name };
                let scope = seat.scope();
                let pause = Duration::from_micros(self.schedule.call(next).think_us);
                let close = async {
                    tokio::time::sleep(pause).await;
                    self.close(scope.clone()).await;
                };
                let (one, other, ()) = tokio::join!(self.make(&scope, name), self.make(&scope, next), close);
                seat = seat.next();
                self.open(&seat).await;
                call += 1;
                one.into_iter().chain(other).collect()
            } else {
                self.make(&seat.scope(), name).await
            };
            let mut refused = 0;
            for end in ends {
                match end {
                    End::Over | End::Failed => {}
                    End::Refused => refused += 1,
                    End::Late(Hearing::InTheAttempt, late) => soon.push(late),
                    End::Late(Hearing::AfterTheAttempt, late) => after.push(late),
                }
            }
            self.wire.say(format!("done {} {refused}\n", Name { call, ..name }));
            if call % 8 == 7 {
                self.hear(soon.drain(..)).await;
            }
            call += 1;
        }
        self.hear(soon.drain(..)).await;
        self.close(seat.scope()).await;
        self.hear(after.drain(..)).await;
    }

    /// Makes a call, and a second time if the schedule says that it is retried.
    async fn make(&self, scope: &ScopeId, name: Name) -> Vec<End> {
        let first = self.ask(scope, name).await;
        match first {
            End::Failed => vec![first, self.ask(scope, Name { is_retry: true, ..name }).await],
            End::Over | End::Refused | End::Late(..) => vec![first],
        }
    }

    async fn ask(&self, scope: &ScopeId, name: Name) -> End {
        let call = self.schedule.call(name);
        tokio::time::sleep(Duration::from_micros(call.think_us)).await;
        let (life, max_output) = match self.admit(scope, name, call).await {
            Ok(admitted) => admitted,
            Err(Denial::Short(_) | Denial::Closed(_)) => return End::Refused,
            // The one who was killed made it.
            Err(Denial::Taken(_)) if self.runner != self.process => return End::Over,
            Err(other) => panic!("{name}: {other}"),
        };
        let dispatched = match life {
            Life::Dispatched(dispatched) => dispatched,
            Life::Reserved(reservation) => {
                tokio::time::sleep(Duration::from_micros(call.pace_us)).await;
                match call.fate {
                    Fate::Cancelled(Leaving::Dropped) => return End::Over,
                    Fate::Cancelled(Leaving::Orderly) => {
                        let release = move |ledger: &mut Ledger, _| ledger.release(reservation);
                        self.change(scope, name, Durability::Lazy, release).await;
                        return End::Over;
                    }
                    Fate::Answered
                    | Fate::AnsweredTwice
                    | Fate::AnsweredLate(_)
                    | Fate::Untold
                    | Fate::Disconnected(_)
                    | Fate::Retried { .. } => {}
                }
                let dispatch = move |ledger: &mut Ledger, now_ms| ledger.dispatch(reservation, now_ms);
                match self.change(scope, name, Durability::Durable, dispatch).await {
                    Ok(dispatched) => dispatched,
                    // Its attempt was closed meanwhile, and nothing was sent.
                    Err(Denial::NotOpen { state: Some(CallState::Released), .. }) => return End::Refused,
                    Err(other) => panic!("{name}: {other}"),
                }
            }
        };
        let told = self.wire.call(name, max_output);
        self.await_answer(scope, name, dispatched, told).await
    }

    async fn await_answer(&self, scope: &ScopeId, name: Name, dispatched: Dispatched, told: Told) -> End {
        let call = self.schedule.call(name);
        match call.fate {
            Fate::Disconnected(leaving) => {
                tokio::time::sleep(Duration::from_micros(call.latency_us)).await;
                match leaving {
                    Leaving::Orderly => self.hold(scope, name, dispatched).await,
                    Leaving::Dropped => drop(dispatched),
                }
                End::Over
            }
            Fate::AnsweredLate(hearing) => {
                self.hold(scope, name, dispatched).await;
                End::Late(hearing, Late { scope: scope.clone(), name, told })
            }
            Fate::Answered | Fate::AnsweredTwice | Fate::Untold | Fate::Cancelled(_) | Fate::Retried { .. } => {
                match told.await.expect("the provider answers") {
                    Some(cost) => self.settle(scope, name, cost).await,
                    None => self.hold(scope, name, dispatched).await,
                }
                match call.fate {
                    Fate::Retried { .. } if !name.is_retry => End::Failed,
                    Fate::Answered
                    | Fate::AnsweredTwice
                    | Fate::AnsweredLate(_)
                    | Fate::Untold
                    | Fate::Disconnected(_)
                    | Fate::Cancelled(_)
                    | Fate::Retried { .. } => End::Over,
                }
            }
        }
    }

    /// Reserves, and dispatches in the same transaction what waits for no pace.
    async fn admit(&self, scope: &ScopeId, name: Name, call: &Call) -> Result<(Life, u64), Denial> {
        let (id, asked, unpaced) = (scope.clone(), call.clone(), call.pace_us == 0);
        let durability = if unpaced { Durability::Durable } else { Durability::Lazy };
        let admit = move |ledger: &mut Ledger, now_ms| {
            let (reservation, max_output) = reserve(ledger, &id, name, &asked, now_ms)?;
            let life = match unpaced {
                true => Life::Dispatched(ledger.dispatch(reservation, now_ms)?),
                false => Life::Reserved(reservation),
            };
            Ok((life, max_output))
        };
        self.change(scope, name, durability, admit).await
    }

    async fn hold(&self, scope: &ScopeId, name: Name, dispatched: Dispatched) {
        self.change(scope, name, Durability::Durable, move |ledger, _| ledger.hold(dispatched)).await;
    }

    /// Settles a call, and again where the schedule says so: the second time must change nothing.
    async fn settle(&self, scope: &ScopeId, name: Name, cost: u64) {
        let settled_again = self.schedule.call(name).settled_again;
        let settle = move |ledger: &mut Ledger, now_ms| {
            let overrun = ledger.settle_id(&name.id(), &tokens(cost), now_ms).expect("it is dispatched or held");
            assert!(overrun.is_nothing(), "{name} cost {overrun:?} more than was reserved");
            if settled_again {
                must_be_settled(ledger, name, cost, now_ms);
            }
        };
        self.change(scope, name, Durability::Durable, settle).await;
        if self.schedule.call(name).fate == Fate::AnsweredTwice {
            let again = move |ledger: &mut Ledger, now_ms| must_be_settled(ledger, name, cost, now_ms);
            self.change(scope, name, Durability::Durable, again).await;
        }
    }

    async fn hear(&self, late: impl Iterator<Item = Late>) {
        for Late { scope, name, told } in late {
            let cost = told.await.expect("the provider answers").expect("the usage of a late answer is told");
            self.settle(&scope, name, cost).await;
        }
    }

    async fn open(&self, seat: &Seat) {
        let (schedule, at) = (self.schedule.clone(), seat.clone());
        let needs = vec![Need::Tree(seat.scope())];
        let open = move |ledger: &mut Ledger, now_ms| schedule.open_attempt(ledger, &at, now_ms);
        let opened = self.transact(&seat.scope(), needs, Durability::Durable, open).await;
        opened.expect("its item is open");
    }

    async fn close(&self, scope: ScopeId) {
        let (needs, id) = (vec![Need::Tree(scope.clone())], scope.clone());
        let close = move |ledger: &mut Ledger, now_ms| ledger.close(&id, now_ms);
        self.transact(&scope, needs, Durability::Durable, close).await;
    }

    async fn change<T: Send + 'static>(
        &self,
        scope: &ScopeId,
        name: Name,
        durability: Durability,
        change: impl FnOnce(&mut Ledger, u64) -> T + Send + 'static,
    ) -> T {
        let needs = vec![Need::Scope(scope.clone()), Need::Call(name.id())];
        self.transact(scope, needs, durability, change).await
    }

    /// One event: what was promised of the scope and all around it is looked at in the same transaction.
    async fn transact<T: Send + 'static>(
        &self,
        scope: &ScopeId,
        needs: Vec<Need>,
        durability: Durability,
        change: impl FnOnce(&mut Ledger, u64) -> T + Send + 'static,
    ) -> T {
        let touched = scope.clone();
        let kept = transact(&self.store, needs, durability, move |books| {
            let result = change(books.ledger, books.now_ms);
            (result, books.ledger.check_promises(&touched))
        });
        let (result, promises) = kept.await.expect("the store keeps it");
        promises.expect("a promise holds after every event");
        result
    }
}

/// Asks to settle a call that is settled, and looks whether anything changed.
fn must_be_settled(ledger: &mut Ledger, name: Name, cost: u64, now_ms: u64) {
    let scope = ledger.find(&name.id()).map(|call| call.scope.clone());
    let totals = |ledger: &Ledger| [scope.clone(), Some(ScopeId::host())].map(|id| id.map(|id| ledger.totals(&id)));
    let before = totals(ledger);
    let again = ledger.settle_id(&name.id(), &tokens(cost), now_ms);
    assert!(matches!(again, Err(Denial::NotOpen { state: Some(CallState::Settled), .. })), "{name}: {again:?}");
    assert_eq!(totals(ledger), before, "{name} is booked once");
}

/// The connection to the provider.
struct Wire {
    say: mpsc::UnboundedSender<String>,
    writer: JoinHandle<()>,
    waiting: Waiting,
}

/// Who waits for the cost of which call.
type Waiting = Arc<Mutex<HashMap<Name, oneshot::Sender<Option<u64>>>>>;

impl Wire {
    /// Connects, and hears where each worker goes on.
    async fn connect(provider: &str, process: usize) -> (Self, Vec<usize>) {
        let stream = TcpStream::connect(provider).await.expect("the provider is there");
        stream.set_nodelay(true).expect("a socket of ours");
        let (reading, mut writing) = stream.into_split();
        let (say, mut said) = mpsc::unbounded_channel::<String>();
        let writer = tokio::spawn(async move {
            while let Some(line) = said.recv().await {
                writing.write_all(line.as_bytes()).await.expect("the provider listens");
            }
        });
        drop(say.send(format!("hello {process}\n")));
        let mut lines = BufReader::new(reading).lines();
        let from = lines.next_line().await.expect("the provider answers").expect("a line");
        let next = from.split(' ').skip(1).map(|call| call.parse().expect("a number")).collect();
        let waiting = Waiting::default();
        tokio::spawn(listen(lines, Arc::clone(&waiting)));
        (Self { say, writer, waiting }, next)
    }

    /// Sends what was said.
    async fn finish(self) {
        drop(self.say);
        self.writer.await.expect("the provider listens");
    }

    fn say(&self, line: String) {
        drop(self.say.send(line));
    }

    /// Sends a call; what is told of its cost comes later.
    fn call(&self, name: Name, max_output: u64) -> Told {
        let (tell, told) = oneshot::channel();
        lock(&self.waiting).insert(name, tell);
        self.say(format!("call {name} {max_output}\n"));
        told
    }
}

async fn listen(
    mut lines: Lines<BufReader<OwnedReadHalf>>,
    waiting: Arc<Mutex<HashMap<Name, oneshot::Sender<Option<u64>>>>>,
) {
    while let Ok(Some(line)) = lines.next_line().await {
        let mut words = line.split(' ').skip(1);
        let name = words.next().and_then(|word| word.parse().ok()).expect("a call's name");
        let cost = words.next().and_then(|word| word.parse().ok());
        if let Some(tell) = lock(&waiting).remove(&name) {
            // Who has left is not told.
            let _ = tell.send(cost);
        }
    }
    // Nobody counts any more what this process spends.
    std::process::exit(1);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
