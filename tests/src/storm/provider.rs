//! The provider of the storm: it books what each call really costs before it answers, and what the storm is told is
//! compared with it.
//!
//! Never: looks at the ledger, outlives its handle. One connection a process, one line a message: `hello PROCESS` is
//! answered with `from CALL ...`, where each worker goes on; `call NAME MAX-OUTPUT` with `said NAME TOKENS`, without
//! tokens where the usage is not told, or with nothing; `done NAME REFUSED` says how far a worker has come.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::{Fate, Name, PROCESSES, Schedule, WORKERS};

/// What the provider knows.
#[derive(Debug, Default)]
pub struct Books {
    /// What each call cost.
    pub calls: HashMap<Name, u64>,
    pub spent: u64,
    /// Calls that arrived a second time, which must not be.
    pub repeated: Vec<Name>,
    /// For each process and worker, the call after the last one that is over.
    pub next: [[usize; WORKERS]; PROCESSES],
    /// What workers said was refused.
    pub refused: u64,
}

impl Books {
    /// How many calls of a process are over.
    pub fn done_by(&self, process: usize) -> usize {
        self.next[process].iter().sum()
    }

    /// How many calls are over.
    pub fn done(&self) -> usize {
        (0..PROCESSES).map(|process| self.done_by(process)).sum()
    }

    /// What the calls of a process cost.
    pub fn spent_by(&self, process: usize) -> u64 {
        self.calls.iter().filter(|(name, _)| name.process == process).map(|(_, cost)| cost).sum()
    }
}

/// A running provider; dropping it closes the port and every connection.
#[derive(Debug)]
pub struct StormProvider {
    pub address: SocketAddr,
    books: watch::Sender<Books>,
    server: AbortHandle,
}

impl StormProvider {
    /// Serves a schedule on loopback.
    pub async fn start(schedule: Arc<Schedule>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let books = watch::Sender::new(Books::default());
        let server = tokio::spawn(serve(listener, schedule, books.clone())).abort_handle();
        Self { address, books, server }
    }

    /// What it knows now. Nothing is booked as long as the books are open.
    pub fn books(&self) -> watch::Ref<'_, Books> {
        self.books.borrow()
    }

    /// Waits until the books are as wanted.
    pub async fn until(&self, wanted: impl Fn(&Books) -> bool) {
        let mut books = self.books.subscribe();
        books.wait_for(|books| wanted(books)).await.expect("the sender is ours");
    }
}

impl Drop for StormProvider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Connections belong to the accepting task and end with it.
async fn serve(listener: TcpListener, schedule: Arc<Schedule>, books: watch::Sender<Books>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (schedule, books) = (Arc::clone(&schedule), books.clone());
        // A process that is killed breaks its connection; what it has spent is booked.
        connections.spawn(async move { drop(answer(stream, &schedule, &books).await) });
    }
}

async fn answer(stream: TcpStream, schedule: &Schedule, books: &watch::Sender<Books>) -> io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut lines = BufReader::new(reading).lines();
    let (say, mut said) = mpsc::unbounded_channel::<String>();
    let mut waits = JoinSet::new();
    waits.spawn(async move {
        while let Some(line) = said.recv().await {
            // Who does not listen any more is not told.
            drop(writing.write_all(line.as_bytes()).await);
        }
    });
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split(' ').collect();
        match *words.as_slice() {
            ["hello", process] => {
                let next = books.borrow().next[number(process)?].map(|call| call.to_string());
                drop(say.send(format!("from {}\n", next.join(" "))));
            }
            ["call", name, max_output] => {
                let (name, call) = named(name, schedule)?;
                let cost = schedule.truth(name, number(max_output)? as u64);
                books.send_modify(|books| match books.calls.insert(name, cost) {
                    None => books.spent += cost,
                    Some(_) => books.repeated.push(name),
                });
                let told = match call.fate {
                    Fate::Disconnected(_) => continue,
                    Fate::Untold => String::new(),
                    Fate::Retried { usage_told: false } if !name.is_retry => String::new(),
                    Fate::Answered
                    | Fate::AnsweredTwice
                    | Fate::AnsweredLate(_)
                    | Fate::Cancelled(_)
                    | Fate::Retried { .. } => cost.to_string(),
                };
                let (say, latency) = (say.clone(), Duration::from_micros(call.latency_us));
                waits.spawn(async move {
                    tokio::time::sleep(latency).await;
                    drop(say.send(format!("said {name} {told}\n")));
                });
            }
            ["done", name, refused] => {
                let ((name, _), refused) = (named(name, schedule)?, number(refused)? as u64);
                books.send_modify(|books| {
                    books.next[name.process][name.worker] = name.call + 1;
                    books.refused += refused;
                });
            }
            _ => return Err(io::Error::other(format!("nobody says {line}"))),
        }
        while waits.try_join_next().is_some() {}
    }
    Ok(())
}

fn number(word: &str) -> io::Result<usize> {
    word.parse().map_err(io::Error::other)
}

fn named<'a>(word: &str, schedule: &'a Schedule) -> io::Result<(Name, &'a super::Call)> {
    let name: Name = word.parse().map_err(io::Error::other)?;
    Ok((name, schedule.call(name)))
}
