//! Processes of the host's own: for a guest behind the process wall, and to compile what strangers made.
//!
//! Never: gives one anything of the host's environment, or a descriptor beside its pipe; starts one from within another.
//! Invariants here: what starts one lives as long as the host, because the kernel ends it with the thread that started it; a
//! program that forgets what it was started for ends when it would start others.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{OnceLock, mpsc};

/// The program that is started where a process of its own is wanted; it serves in the role that is its last argument.
#[derive(Clone, Debug)]
pub struct Program {
    pub path: PathBuf,
    /// What comes before the role.
    pub arguments: Vec<OsString>,
}

/// What a process of the host's own is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A guest.
    Guest,
    /// To compile a component.
    Compiler,
    /// To become a native program behind a wall.
    Launcher,
    /// To say what this kernel has.
    Probe,
}

impl Role {
    const ALL: [Role; 4] = [Role::Guest, Role::Compiler, Role::Launcher, Role::Probe];

    /// The role's name, as the program is told it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Guest => "guest",
            Role::Compiler => "compiler",
            Role::Launcher => "launcher",
            Role::Probe => "probe",
        }
    }

    /// The role of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// The variable that such a process has and no other: its role.
const ROLE: &str = "JIDOKA_CELL";

/// Exit code of a process of the host's own that does not serve.
pub const FORGETFUL: i32 = 113;

/// Ends this process, with words on its standard error, if it was started to serve in a role and is about to be a host
/// instead: it would start processes that start processes, without end.
#[expect(clippy::disallowed_methods, reason = "what this process is for is in its environment, and nowhere else")]
pub fn end_if_forgetful() {
    if let Some(role) = std::env::var_os(ROLE) {
        let _ = writeln!(io::stderr(), "this process was started as `{}`: {FORGOTTEN}", role.to_string_lossy());
        std::process::exit(FORGETFUL);
    }
}

/// What a program has to do that processes of the host's own are started from.
pub const FORGOTTEN: &str = "the `main` of a program that is given to `Sandbox::new` begins with `inside::serve` for the \
    role that is its last argument, before it does anything else";

/// Starts something on a thread that ends with this process and not before: a process that asked to end with its parent ends with
/// the thread that started it (`PR_SET_PDEATHSIG`), and those of a runtime come and go.
fn on_lasting_thread<T: Send + 'static>(start: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    type Start = Box<dyn FnOnce() + Send>;
    static THREAD: OnceLock<Result<mpsc::Sender<Start>, io::ErrorKind>> = OnceLock::new();
    let thread = THREAD.get_or_init(|| {
        let (starts, due) = mpsc::channel::<Start>();
        let work = move || due.into_iter().for_each(|start| start());
        let made = std::thread::Builder::new().name("jidoka-starter".into()).spawn(work);
        made.map(|_| starts).map_err(|error| error.kind())
    });
    let thread = thread.as_ref().map_err(|kind| io::Error::from(*kind))?;
    let (done, result) = mpsc::sync_channel(1);
    let gone = |_| io::Error::other("the thread that starts processes is gone");
    thread
        .send(Box::new(move || {
            // Whoever asked waits for it.
            drop(done.send(start()));
        }))
        .map_err(|_| gone(mpsc::RecvError))?;
    result.recv().map_err(gone)
}

impl Program {
    /// Starts it in a role. Its standard input is the other end of the pipe.
    ///
    /// # Errors
    /// The machine cannot start it.
    pub fn start(&self, role: Role) -> io::Result<(std::process::Child, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        let theirs = Stdio::from(std::os::fd::OwnedFd::from(theirs));
        let mut command = self.command(role);
        command.stdin(theirs).stderr(Stdio::null());
        Ok((on_lasting_thread(move || command.spawn())??, ours))
    }

    /// As [`Program::start`], of a process that is gone when its handle is dropped, and whose last words can be read.
    ///
    /// # Errors
    /// As [`Program::start`].
    pub fn start_owned(&self, role: Role) -> io::Result<(tokio::process::Child, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        let theirs = Stdio::from(std::os::fd::OwnedFd::from(theirs));
        let mut command = tokio::process::Command::from(self.command(role));
        command.stdin(theirs).stderr(Stdio::piped()).kill_on_drop(true);
        let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let started = on_lasting_thread(move || {
            let _entered = runtime.enter();
            command.spawn()
        });
        Ok((started??, ours))
    }

    /// As [`Program::start_owned`], with pipes for all of its streams. It ends with the
    /// thread that calls this.
    ///
    /// # Errors
    /// As [`Program::start`].
    pub(super) fn start_piped(&self, role: Role) -> io::Result<tokio::process::Child> {
        let mut command = tokio::process::Command::from(self.command(role));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true).spawn()
    }

    #[expect(clippy::disallowed_methods, reason = "these processes are the host's own, and this is where they start")]
    fn command(&self, role: Role) -> std::process::Command {
        end_if_forgetful();
        let mut command = std::process::Command::new(&self.path);
        command.args(&self.arguments).arg(role.name()).env_clear().env(ROLE, role.name());
        // A terminal's signals are the host's: it ends what it started.
        command.current_dir("/").stdout(Stdio::null()).process_group(0);
        command
    }
}
