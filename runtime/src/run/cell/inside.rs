//! The inside of a process of the host's own: it takes what it needs, locks itself in, and only then lets a guest run or a
//! compiler see a component.
//!
//! Never: opens anything after that, outlives its host. Invariant here: nothing that a stranger made is looked at before
//! the lockdown, but compiled code that this host made and authenticated.

use std::io::{self, IoSliceMut, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use wasmtime_wasi::filesystem::FsPerms;

use crate::doors::launcher;
use crate::doors::lockdown::{Lockdown, Reach};
use crate::doors::program::Role;
use crate::rules::effect::Stream;
use crate::rules::verdict::Outcome;

use super::super::compiler;
use super::super::output::Output;
use super::super::sandbox::{Call, Prepared, Sandbox};
use super::super::seat::Preopen;
use super::super::senses::VirtualClock;
use super::super::way::Way;
use super::frame::{self, Ended, Order, Word};
use super::pipe::Pipe;

/// Descriptors that a cell is handed: its code, and its trees.
pub const MOST_DESCRIPTORS: usize = 8;

/// Bytes of the first frame: a task, its inputs, arguments and variables, which a job bounds.
const ORDER_BYTES: u64 = 256 << 20;

/// Bytes of memory that a cell may write to beside its guest's: its own code's data, stacks and heaps.
const OWN_BYTES: u64 = 192 << 20;

/// Descriptors of a cell beside its guest's.
const OWN_DESCRIPTORS: u64 = 64;

/// Serves in a role until the host is done, with standard input as the pipe. To be called by a
/// [`Program`](crate::doors::program::Program), first thing: no thread may have been started yet.
pub fn serve(role: Role) -> ExitCode {
    if role == Role::Launcher {
        let Err(error) = launcher::serve();
        return failed(&error);
    }
    let socket = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let served = socket.and_then(|socket| match role {
        Role::Guest => guest(socket),
        Role::Compiler => compiler::serve(socket),
        Role::Launcher => Err(io::Error::other("it is no program of ours any more")),
        Role::Probe => probe(socket),
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// The last words of this process. Whoever started it may be gone, and with it the reader.
#[expect(clippy::disallowed_methods, reason = "this process has no terminal: its host reads what it says")]
fn failed(error: &io::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "{error}");
    ExitCode::FAILURE
}

fn guest(mut socket: UnixStream) -> io::Result<()> {
    let descriptors = take_over(&socket)?;
    let (order, _) = frame::read::<Order>(&mut socket, ORDER_BYTES)?;
    let time = Arc::new(VirtualClock::starting_at_ms(order.clock_start_ms));
    time.move_to_ns(order.now.ns);
    time.hurry(order.now.hurried);
    let guard = socket.try_clone()?;
    let pipe = Arc::new(Pipe::new(socket, time));
    match Ready::make(order, descriptors, &pipe) {
        Ok((ready, landlock)) => {
            end_with(guard)?;
            pipe.say(Word::Ready { landlock }, &[])?;
            match pipe.wait_for_go() {
                Ok(()) => ready.call(&pipe),
                // The run was over before its guest began.
                Err(_) => Ok(()),
            }
        }
        Err(why) => pipe.say(Word::Unfit(why), &[]),
    }
}

/// Locks itself in as a cell does, with nothing to reach, and says what came of it.
fn probe(mut pipe: UnixStream) -> io::Result<()> {
    let lockdown = Lockdown { trees: &[], data_bytes: OWN_BYTES, descriptors: OWN_DESCRIPTORS, cpu_seconds: None };
    let found = lockdown.enter().map(|held| held.landlock).map_err(|error| error.to_string());
    frame::write(&mut pipe, &found, &[])
}

/// A guest that is locked in.
struct Ready {
    runtime: tokio::runtime::Runtime,
    sandbox: Sandbox,
    prepared: Prepared,
    guest: super::super::host::Guest,
    call: Call,
}

impl Ready {
    /// Also the version of Landlock that is in force.
    fn make(order: Order, descriptors: Vec<OwnedFd>, pipe: &Arc<Pipe>) -> Result<(Self, u32), String> {
        let shown = |error: &dyn std::fmt::Display| error.to_string();
        let Order { setup, trees, .. } = order;
        let mut descriptors = descriptors.into_iter();
        let code = descriptors.next().ok_or("no code was handed over")?;
        let names = trees.iter().map(|(name, writable)| {
            let perms = if *writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
            // The only names that there are.
            let name =
                ["/work", "/context"].into_iter().find(|known| known == name).ok_or("a tree of no known name")?;
            let dir = descriptors.next().ok_or("a tree without a descriptor")?;
            Ok(Preopen { name, dir: cap_std::fs::Dir::from_std_file(dir.into()), perms })
        });
        let preopens = names.collect::<Result<Vec<_>, &str>>()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| shown(&e))?;
        let (sandbox, prepared) = Sandbox::of_code(&code, setup.call.world()).map_err(|error| format!("{error:#}"))?;
        let output = |stream| Output::piped(setup.caps.stdio_bytes, Arc::clone(pipe), stream);
        let stdio = [output(Stream::Stdout), output(Stream::Stderr)];
        let guest = setup.guest(&preopens, Way::Piped(Arc::clone(pipe)), pipe.time(), stdio).map_err(|e| shown(&e))?;
        let reach = |tree: &Preopen| match tree.perms {
            FsPerms::ReadOnly => Reach::Read,
            FsPerms::ReadWrite => Reach::ReadAndWrite,
        };
        let trees: Vec<_> = preopens.iter().map(|tree| (tree.dir.as_fd(), reach(tree))).collect();
        let lockdown = Lockdown {
            trees: &trees,
            data_bytes: setup.caps.memory_bytes.saturating_add(OWN_BYTES),
            descriptors: setup.caps.handles.saturating_add(OWN_DESCRIPTORS),
            cpu_seconds: None,
        };
        let held = lockdown.enter().map_err(|e| shown(&e))?;
        Ok((Self { runtime, sandbox, prepared, guest, call: setup.call }, held.landlock))
    }

    fn call(self, pipe: &Pipe) -> io::Result<()> {
        let Self { runtime, sandbox, prepared, guest, call } = self;
        let ended = match runtime.block_on(sandbox.call(&prepared, guest, call, None)) {
            Ok(returned) => Ended::Returned(returned),
            Err(Outcome::Trapped(why)) => Ended::Trapped(why),
            Err(Outcome::Faulted(why)) => Ended::Faulted(why),
            // The host knows why, and does not listen any more.
            Err(Outcome::Interrupted(_) | Outcome::Diverged(_) | Outcome::Returned(_) | Outcome::Failed(_)) => {
                return Ok(());
            }
        };
        pipe.say(Word::Ended(ended), &[])
    }
}

/// Takes descriptors from a socket, with one byte.
fn take_over(socket: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let taken = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok(taken.flatten().collect())
}

/// Ends this process when the other end of the pipe is gone: a guest that spins would not notice.
fn end_with(pipe: UnixStream) -> io::Result<()> {
    let watch = move || {
        let mut watched = [PollFd::new(&pipe, PollFlags::empty())];
        while !matches!(poll(&mut watched, None), Ok(1)) {}
        std::process::exit(0);
    };
    std::thread::Builder::new().name("jidoka-parent".into()).spawn(watch).map(drop)
}
