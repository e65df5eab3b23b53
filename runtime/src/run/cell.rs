//! A cell: a process of its own for one guest, locked in before the guest begins, with one pipe to the gate of its run.
//!
//! Never: believes what comes out of it. A guest that broke out of its sandbox can say anything through the pipe, and it is
//! judged like any guest; what it does beside the pipe the kernel refuses. Invariants here: whatever ends the call ends
//! the process; the host counts the cell's processor time by itself; evidence is named by the host's own digest.

pub mod frame;
pub mod inside;
pub mod pipe;

use std::fmt::Write as _;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::Duration;

use cap_std::fs::Dir;
use nix::time::ClockId;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::process::Child;

use crate::doors::evidence;
use crate::doors::program::{FORGETFUL, FORGOTTEN, Program, Role};
use crate::rules::andon::{Category, Pull, Puller};
use crate::rules::effect::Effect;
use crate::rules::verdict::{Outcome, Stop};

use super::cord::Cord;
use super::gate::Ask;
use super::limits::CpuMeter;
use super::sandbox::{Prepared, Returned, Sandbox, ended};
use super::seat::{CallBounds, Preopen, Setup, Ties};
use super::senses::VirtualClock;

use self::frame::{Answered, Ended, Now, Order, Reply, Said, Word};

/// How long a cell may take to make itself ready: a second is much, and a loaded machine may need it.
const READY: Duration = Duration::from_secs(30);

/// Bytes of a frame beside what one call of the guest's may lift into the host: names, numbers, quotes.
const FRAME_BYTES: u64 = 1 << 20;

/// Bytes that one lifted byte can take in a frame: a control character takes six.
const WRITTEN_BYTES: u64 = 6;

/// How often the host looks at the processor time of a cell that is near its bound, and of one that is not.
const LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Bytes that are kept of what a dying cell says of itself.
const MAX_LAST_WORDS: u64 = 2_000;

/// Why a guest got no cell. Nothing of it ran.
#[derive(Debug, thiserror::Error)]
pub enum CellError {
    #[error("the guest's process could not be started: {0}")]
    Start(#[source] std::io::Error),
    #[error("the guest's process could not be spoken to: {0}")]
    Pipe(#[source] std::io::Error),
    /// The wall does not stand: what the kernel lacks, or our own trouble.
    #[error("the guest's process could not lock itself in: {0}")]
    Unfit(String),
}

/// A process that is locked in, with a guest that was not called yet.
pub struct Cell {
    child: Child,
    socket: UnixStream,
    /// Bytes of one frame that it may send.
    most_bytes: u64,
    /// The clock of its processor time, and where that stood when it was ready.
    clock: ClockId,
    ready_ns: u64,
    /// The version of Landlock that holds it.
    landlock: u32,
}

impl Cell {
    /// Starts a cell and lets it lock itself in.
    pub(super) async fn open(
        sandbox: &Sandbox,
        prepared: &Prepared,
        setup: Setup,
        preopens: &[Preopen],
        time: &VirtualClock,
    ) -> Result<Self, CellError> {
        let guests = setup.caps.lifted_bytes.saturating_add(setup.max_body_bytes);
        let most_bytes = guests.saturating_mul(WRITTEN_BYTES).saturating_add(FRAME_BYTES);
        let code = prepared.code().await.map_err(CellError::Start)?;
        let trees = preopens.iter().map(|tree| (tree.name.to_owned(), !tree.perms.write_not_permitted())).collect();
        let order = Order { setup, trees, now: now(time), clock_start_ms: time.start_ms() };
        let program = sandbox.program().map_err(CellError::Start)?.clone();
        let trees = preopens.iter().map(|tree| tree.dir.try_clone()).collect::<Result<Vec<_>, _>>();
        let trees = trees.map_err(CellError::Start)?;
        // Away from the threads that guests run on, and by the machine's own clock.
        let made = tokio::task::spawn_blocking(move || make_ready(&program, &code, &trees, &order));
        let (child, ours, landlock) = made.await.map_err(|error| CellError::Start(std::io::Error::other(error)))??;
        let socket = ours.set_nonblocking(true).and_then(|()| UnixStream::from_std(ours)).map_err(CellError::Pipe)?;
        let clock = clock_of(&child).map_err(CellError::Start)?;
        Ok(Self { child, socket, most_bytes, clock, ready_ns: time_of(clock).unwrap_or(0), landlock })
    }

    /// The version of Landlock that holds this cell.
    pub fn landlock(&self) -> u32 {
        self.landlock
    }

    /// The cell's process.
    pub fn process(&self) -> Option<u32> {
        self.child.id()
    }

    /// Calls the guest once, and ends the process.
    pub(super) async fn call(mut self, ties: &Ties, bounds: CallBounds) -> Result<Returned, Outcome> {
        let CallBounds { cord, cpu } = bounds;
        let (clock, ready_ns) = (self.clock, self.ready_ns);
        let talk = self.talk(ties, &cord);
        let outcome = tokio::select! {
            biased;
            stop = cord.pulled() => Err(Outcome::Interrupted(stop)),
            stop = watch(clock, ready_ns, &cpu) => {
                cord.pull(stop.clone());
                Err(Outcome::Interrupted(stop))
            }
            outcome = talk => outcome,
        };
        if let Some(used) = time_of(clock) {
            cpu.count(used.saturating_sub(ready_ns));
        }
        // Gone, whatever it would still like to do; an error says that it is gone already.
        drop(self.child.start_kill());
        outcome
    }

    /// Answers what the cell says until it has no more to say.
    async fn talk(&mut self, ties: &Ties, cord: &Cord) -> Result<Returned, Outcome> {
        let go = Answered { now: now(&ties.time), answer: Reply::Go };
        if let Err(error) = frame::send(&mut self.socket, &go, &[]).await {
            return Err(self.died(&error, cord).await);
        }
        loop {
            let received = frame::receive::<Said>(&mut self.socket, self.most_bytes).await;
            let (Said { now_ns, touched, word }, bytes) = match received {
                Ok(received) => received,
                Err(error) => return Err(self.died(&error, cord).await),
            };
            ties.time.move_to_ns(now_ns);
            touched.into_iter().for_each(|touch| ties.gate.touched(touch));
            let answer = match word {
                Word::Pass(effects) => {
                    let asks = asks(effects, bytes).map_err(|why| violated(cord, &why))?;
                    Reply::Heard(ties.gate.pass_all(asks).await.map_err(|end| ended(&end, cord))?)
                }
                Word::Note { level, message, fields } => {
                    ties.gate.note(level, message, fields).await.map_err(|end| ended(&end, cord))?;
                    Reply::Go
                }
                Word::Pull { category, reason, evidence } => {
                    return Err(ended(&ties.gate.pulled_by_guest(category, &reason, evidence), cord));
                }
                Word::Wrote(more) => Reply::Wrote(ties.gate.wrote(more)),
                Word::Touched => Reply::Go,
                Word::Offers => Reply::Offers(ties.gate.offers().clone()),
                Word::Tools => Reply::Tools(ties.gate.tools().to_vec()),
                Word::Printed { stream, dropped_bytes } => {
                    ties.printed(stream, &bytes, dropped_bytes);
                    continue;
                }
                Word::Ended(Ended::Returned(returned)) => return Ok(returned),
                Word::Ended(Ended::Trapped(why)) => return Err(Outcome::Trapped(plain(&why))),
                Word::Ended(Ended::Faulted(why)) => return Err(Outcome::Faulted(plain(&why))),
                Word::Ready { .. } | Word::Unfit(_) => return Err(violated(cord, "it says twice that it is ready")),
            };
            let answered = Answered { now: now(&ties.time), answer };
            if let Err(error) = frame::send(&mut self.socket, &answered, &[]).await {
                return Err(self.died(&error, cord).await);
            }
        }
    }

    /// What a cell came to that ended in the middle of a word.
    async fn died(&mut self, error: &std::io::Error, cord: &Cord) -> Outcome {
        if error.kind() == std::io::ErrorKind::Other || error.kind() == std::io::ErrorKind::InvalidData {
            return violated(cord, &error.to_string());
        }
        // One that closes its pipe and stays is ended with its run.
        let Ok(status) = self.child.wait().await else { return violated(cord, "it closed its pipe") };
        if status.signal() == Some(libc::SIGSYS) {
            return violated(cord, "it made a call to the kernel that no guest needs, and was ended");
        }
        let mut words = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            drop(stderr.take(MAX_LAST_WORDS).read_to_end(&mut words).await);
        }
        let mut why = format!("the guest's process ended: {status}");
        if !words.is_empty() {
            // To a string.
            let _ = write!(why, ": {}", plain(&String::from_utf8_lossy(&words)));
        }
        match status.signal() {
            Some(_) => Outcome::Trapped(why),
            None => Outcome::Faulted(why),
        }
    }
}

/// Starts a cell and waits until it is locked in. Blocking.
fn make_ready(
    program: &Program,
    code: &OwnedFd,
    trees: &[Dir],
    order: &Order,
) -> Result<(Child, std::os::unix::net::UnixStream, u32), CellError> {
    let (child, mut ours) = program.start_owned(Role::Guest).map_err(CellError::Start)?;
    let descriptors: Vec<BorrowedFd<'_>> = std::iter::once(code.as_fd()).chain(trees.iter().map(AsFd::as_fd)).collect();
    hand_over(&ours, &descriptors).map_err(CellError::Pipe)?;
    ours.set_read_timeout(Some(READY)).map_err(CellError::Pipe)?;
    frame::write(&mut ours, order, &[]).map_err(CellError::Pipe)?;
    let said = frame::read(&mut ours, FRAME_BYTES);
    let (Said { word, .. }, _) = said.map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
            CellError::Unfit(format!("it was not ready after {} s", READY.as_secs()))
        }
        _ => CellError::Pipe(error),
    })?;
    match word {
        Word::Ready { landlock } => Ok((child, ours, landlock)),
        Word::Unfit(why) => Err(CellError::Unfit(plain(&why))),
        _ => Err(CellError::Unfit("it did not say that it is ready".to_owned())),
    }
}

/// Hands descriptors through a socket, with one byte.
fn hand_over(socket: &std::os::unix::net::UnixStream, descriptors: &[BorrowedFd<'_>]) -> std::io::Result<()> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(inside::MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(std::io::Error::other("too many descriptors for one message"));
    }
    sendmsg(socket, &[IoSlice::new(&[0])], &mut control, SendFlags::empty())?;
    Ok(())
}

/// Effects as the gate takes them. What the cell says of bytes that it sent is not taken from it.
fn asks(effects: Vec<Effect>, bytes: Vec<u8>) -> Result<Vec<Ask>, String> {
    let mut left = bytes;
    let mut asks = Vec::with_capacity(effects.len());
    for effect in effects {
        match effect {
            Effect::Attach { kind, name, bytes, .. } => {
                let length = usize::try_from(bytes).ok().filter(|&length| length <= left.len());
                let length = length.ok_or_else(|| format!("it attaches {bytes} bytes and sends {}", left.len()))?;
                let rest = left.split_off(length);
                let bytes = std::mem::replace(&mut left, rest);
                let digest = evidence::address(&bytes).to_string();
                let effect = Effect::Attach { kind, name, digest, bytes: bytes.len() as u64 };
                asks.push(Ask { effect, bytes });
            }
            other => asks.push(other.into()),
        }
    }
    Ok(asks)
}

/// Stops the line: a guest in a sandbox cannot do this, so something broke out of one.
fn violated(cord: &Cord, what: &str) -> Outcome {
    let reason = format!("the guest's process broke its wall: {what}");
    let pull = Pull { by: Puller::Host, category: Category::CapabilityViolation, reason, evidence: vec![] };
    cord.pull(Stop::Pulled { pull: pull.clone() });
    Outcome::Interrupted(cord.stop().unwrap_or(Stop::Pulled { pull }))
}

/// Text of a cell's as it may be shown: bounded, without control characters.
fn plain(text: &str) -> String {
    let clean = text.chars().map(|char| if char.is_control() && char != '\n' { '\u{fffd}' } else { char });
    clean.take(usize::try_from(MAX_LAST_WORDS).expect("small")).collect()
}

fn now(time: &VirtualClock) -> Now {
    Now { ns: time.now_ns(), hurried: time.is_hurried() }
}

fn clock_of(child: &Child) -> std::io::Result<ClockId> {
    let process = child.id().and_then(|id| i32::try_from(id).ok());
    let process = process.ok_or_else(|| std::io::Error::other("the process is gone"))?;
    Ok(ClockId::pid_cpu_clock_id(nix::unistd::Pid::from_raw(process))?)
}

/// Nanoseconds; `None`: the process is gone.
fn time_of(clock: ClockId) -> Option<u64> {
    let time = Duration::from(clock.now().ok()?);
    u64::try_from(time.as_nanos()).ok()
}

/// Counts the cell's processor time until it is used up.
async fn watch(clock: ClockId, ready_ns: u64, cpu: &CpuMeter) -> Stop {
    loop {
        let Some(used_ns) = time_of(clock).map(|used| used.saturating_sub(ready_ns)) else {
            return std::future::pending().await;
        };
        cpu.count(used_ns);
        let Some(left_ns) = cpu.left_ns(used_ns) else {
            if let Some(stop) = cpu.stop() {
                return stop;
            }
            return std::future::pending().await;
        };
        // One thread uses no more than time goes by, and a guest has one.
        tokio::time::sleep(Duration::from_nanos(left_ns).clamp(LOOK.0, LOOK.1)).await;
    }
}

/// What the process wall would be on this machine: the version of Landlock's interface. Blocking.
///
/// # Errors
/// A sentence: what is missing.
pub fn probe(program: &Program) -> Result<u32, String> {
    let (mut child, mut pipe) = program.start(Role::Probe).map_err(|error| error.to_string())?;
    let found = pipe.set_read_timeout(Some(READY)).and_then(|()| frame::read(&mut pipe, FRAME_BYTES));
    // It is at its end, or no good.
    drop(child.kill());
    let status = child.wait();
    let (found, _): (Result<u32, String>, _) = found.map_err(|error| match status {
        Ok(status) if status.code() == Some(FORGETFUL) => FORGOTTEN.to_owned(),
        _ => format!("the probe failed: {error}"),
    })?;
    found
}

/// The code of a component as a file that nobody can change, for any number of cells.
///
/// # Errors
/// The machine has no memory for it.
pub(super) fn sealed(code: &[u8]) -> std::io::Result<Arc<OwnedFd>> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let file = std::fs::File::from(memfd_create("jidoka-code", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    std::io::Write::write_all(&mut &file, code)?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(Arc::new(file.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cell_says_of_its_evidence_is_not_believed() {
        let lie = |bytes| Effect::Attach { kind: "k".into(), name: "n".into(), digest: "blake3:00".into(), bytes };
        let asked = asks(vec![lie(2), lie(1)], b"abc".to_vec()).expect("fits");
        let digests: Vec<&str> = asked
            .iter()
            .map(|ask| match &ask.effect {
                Effect::Attach { digest, .. } => digest.as_str(),
                _ => "",
            })
            .collect();
        assert_eq!(digests, [evidence::address(b"ab").to_string(), evidence::address(b"c").to_string()]);
        assert!(asks(vec![lie(4)], b"abc".to_vec()).is_err());
    }

    #[test]
    fn sealed_code_cannot_be_changed() {
        let code = sealed(b"code").expect("a file");
        let file = std::fs::File::from(code.try_clone().expect("once more"));
        assert!(std::os::unix::fs::FileExt::write_at(&file, b"x", 0).is_err());
        assert!(file.set_len(0).is_err());
    }
}
