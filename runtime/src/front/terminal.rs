//! What the program writes: data on stdout, words for people on stderr.
//!
//! Never: panics or ends the process because a stream is closed, full or gone; waits longer than `PATIENCE` for a reader
//! of stderr; writes colours to anything but a terminal. stdout is for data (with `--json`: one document
//! and nothing else), stderr for everything else. Invariant here: no other room of the program writes to either; a lint
//! holds that.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use console::{strip_ansi_codes, style};
use indicatif::ProgressBar;
use rustix::event::{PollFd, PollFlags, poll};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::failure::{self, Kind};
use super::screen::plain_long;

/// Exit code of a command line, a job or an operator's file that does not make sense.
pub const USAGE: u8 = 2;
/// Exit code of everything that was not foreseen.
pub const UNEXPECTED: u8 = 1;
/// Exit code of a command that only shows something, when stdout does not take it.
pub const UNWRITTEN: u8 = 74;

/// Bytes of lines for stderr that wait for whoever reads it. Past it lines are dropped and counted.
const MAX_WAITING_BYTES: usize = 1 << 20;

/// Bytes of one write: a reader that takes so many is one that reads.
const CHUNK_BYTES: usize = 4 << 10;

/// How long the program waits for a reader of stderr that takes nothing: before it writes data, and before it ends.
const PATIENCE: Duration = Duration::from_secs(1);

/// Writes a line of data to stdout. Whoever reads it may stop, as `head` does; anything else that goes wrong is said when
/// the command [`ended`].
macro_rules! say {
    ($($words:tt)*) => { $crate::front::terminal::data(format_args!($($words)*)) };
}
pub(super) use say;

/// Writes a line for people to stderr. It never waits: what nobody reads is dropped.
macro_rules! note {
    ($($words:tt)*) => { $crate::front::terminal::words(format_args!($($words)*)) };
}
pub(super) use note;

/// As [`say`], which is how it is called.
pub(super) fn data(line: fmt::Arguments<'_>) {
    settle();
    if lost().is_some() {
        return;
    }
    let line = format!("{line}\n");
    // What has no escape has no colours: data stays as it is.
    let is_plain = colours().stdout || !line.contains('\u{1b}');
    let line = if is_plain { line.into() } else { strip_ansi_codes(&line) };
    #[expect(clippy::disallowed_methods, reason = "this room writes to stdout")]
    if let Err(error) = write_whole(io::stdout().as_fd(), line.as_bytes(), &mut || ()) {
        // The first reason is the reason.
        let _ = LOST.set(error);
    }
}

/// Writes bytes to stdout as they are: a patch, or a piece of evidence.
pub(super) fn bytes(bytes: &[u8]) {
    settle();
    if lost().is_some() {
        return;
    }
    #[expect(clippy::disallowed_methods, reason = "this room writes to stdout")]
    if let Err(error) = write_whole(io::stdout().as_fd(), bytes, &mut || ()) {
        let _ = LOST.set(error);
    }
}

/// Whether a person sees what stdout gets.
#[expect(clippy::disallowed_methods, reason = "this room writes to stdout")]
pub(super) fn is_shown() -> bool {
    io::stdout().is_terminal()
}

/// As `note`, which is how it is called.
pub fn words(line: fmt::Arguments<'_>) {
    stderr().push(format!("{line}\n"));
}

/// Writes what does not make sense on the command line, and returns the exit code that says so.
pub(super) fn usage(what: &str) -> u8 {
    failure::document(Kind::Usage, what, &[]);
    error(what);
    USAGE
}

/// Writes what went wrong.
pub(super) fn error(what: &str) {
    note!("{} {what}", style("error:").red().bold());
}

/// What a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// What it shows on stdout, and nothing else.
    Show,
    /// What it does. Its exit code says what came of it, whoever reads that.
    Act,
}

/// The exit code of a command that has ended, once its words are with their readers.
pub(super) fn ended(code: u8, purpose: Purpose) -> u8 {
    let lost = lost().filter(|error| error.kind() != ErrorKind::BrokenPipe);
    if let Some(why) = lost {
        error(&format!("write to stdout: {why}"));
    }
    settle();
    match (lost, purpose) {
        (Some(_), Purpose::Show) if code == 0 => UNWRITTEN,
        _ => code,
    }
}

/// Whether a person may see what stderr gets as it comes.
#[expect(clippy::disallowed_methods, reason = "this room writes to stderr")]
pub fn is_attended() -> bool {
    io::stderr().is_terminal()
}

static LOST: OnceLock<io::Error> = OnceLock::new();

/// Why stdout takes no more.
fn lost() -> Option<&'static io::Error> {
    LOST.get()
}

/// Which streams show colours.
struct Colours {
    stdout: bool,
    stderr: bool,
}

fn colours() -> &'static Colours {
    static COLOURS: OnceLock<Colours> = OnceLock::new();
    COLOURS.get_or_init(|| {
        let colours = Colours { stdout: console::colors_enabled(), stderr: console::colors_enabled_stderr() };
        // Words are styled for whoever shows it; each stream takes out what it does not show.
        console::set_colors_enabled(colours.stdout || colours.stderr);
        colours
    })
}

/// Finds out which streams show colours. To be called before anything is styled.
pub fn begin() {
    colours();
}

static STDERR: OnceLock<Waiting> = OnceLock::new();

#[expect(clippy::disallowed_methods, reason = "this room writes to stderr")]
fn stderr() -> &'static Waiting {
    STDERR.get_or_init(|| Waiting::start(io::stderr(), colours().stderr, PATIENCE))
}

/// Waits until what was said is with its reader, if there is one.
fn settle() {
    if let Some(stderr) = STDERR.get() {
        stderr.settle();
    }
}

/// Lines on their way to a stream whose reader may be slow, or gone. A thread of its own writes them.
struct Waiting {
    shared: Arc<Shared>,
    shows_colours: bool,
    patience: Duration,
}

#[derive(Default)]
struct Shared {
    lines: Mutex<Lines>,
    moved: Condvar,
}

#[derive(Default)]
struct Lines {
    waiting: VecDeque<String>,
    bytes: usize,
    dropped: u64,
    /// A line is taken out and not written whole yet.
    is_writing: bool,
    /// Chunks that the stream took.
    taken: u64,
    /// It took nothing for as long as the patience lasts, up to this count.
    stuck_at: Option<u64>,
    is_gone: bool,
}

impl Waiting {
    fn start(stream: impl AsFd + Send + 'static, shows_colours: bool, patience: Duration) -> Self {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        let write = move || while writer.write_next(stream.as_fd()) {};
        if std::thread::Builder::new().name("jidoka-stderr".into()).spawn(write).is_err() {
            shared.lock().is_gone = true;
        }
        Self { shared, shows_colours, patience }
    }

    fn push(&self, line: String) {
        let line = if self.shows_colours { line } else { strip_ansi_codes(&line).into_owned() };
        let mut lines = self.shared.lock();
        if lines.is_gone {
            return;
        }
        // A line that is longer than all of the room still goes out alone.
        if !lines.waiting.is_empty() && lines.bytes + line.len() > MAX_WAITING_BYTES {
            lines.dropped += 1;
            return;
        }
        lines.bytes += line.len();
        lines.waiting.push_back(line);
        self.shared.moved.notify_all();
    }

    /// Waits until all is written, or the stream takes nothing any more.
    fn settle(&self) {
        let mut lines = self.shared.lock();
        while !lines.is_gone && (lines.is_writing || !lines.waiting.is_empty()) {
            let taken = lines.taken;
            if lines.stuck_at == Some(taken) {
                return;
            }
            // Lines that are added meanwhile do not prolong the wait.
            let waits = |lines: &mut Lines| lines.taken == taken && !lines.is_gone;
            let waited = self.shared.moved.wait_timeout_while(lines, self.patience, waits);
            let (left, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            lines = left;
            if waited.timed_out() && lines.taken == taken {
                lines.stuck_at = Some(taken);
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the next line once there is one. Whether the stream takes more.
    fn write_next(&self, stream: BorrowedFd<'_>) -> bool {
        let mut lines = self.lock();
        let mut line = loop {
            match lines.waiting.pop_front() {
                Some(line) => break line,
                None => lines = self.moved.wait(lines).unwrap_or_else(PoisonError::into_inner),
            }
        };
        lines.bytes -= line.len();
        lines.is_writing = true;
        if lines.waiting.is_empty() && lines.dropped > 0 {
            line.push_str(&format!("({} lines were left out: nobody read them)\n", std::mem::take(&mut lines.dropped)));
        }
        drop(lines);
        let written = write_whole(stream, line.as_bytes(), &mut || {
            self.lock().taken += 1;
            self.moved.notify_all();
        });
        let mut lines = self.lock();
        lines.is_writing = false;
        lines.is_gone = written.is_err();
        self.moved.notify_all();
        written.is_ok()
    }
}

/// Writes all of it, and says of each part that it was taken. A stream that somebody else made non-blocking is waited for.
fn write_whole(stream: BorrowedFd<'_>, mut bytes: &[u8], taken: &mut dyn FnMut()) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(stream, &bytes[..bytes.len().min(CHUNK_BYTES)]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                taken();
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let mut room = [PollFd::from_borrowed_fd(stream, PollFlags::OUT)];
                match poll(&mut room, None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Where the log goes: to stderr, as words do.
pub struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        stderr().push(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line of the log as people read it: how bad it is, and what it is about.
pub struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let how_bad = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            _ => "note",
        };
        let mut what = String::new();
        context.field_format().format_fields(Writer::new(&mut what), event)?;
        // What it is about may be named by a stranger.
        writeln!(to, "{how_bad}: {}", plain_long(&what))
    }
}

/// Writes that the program met a bug of its own. To be the hook of all panics.
pub fn panicked(panic: &std::panic::PanicHookInfo<'_>) {
    let trace = std::backtrace::Backtrace::capture();
    let trace = match trace.status() {
        std::backtrace::BacktraceStatus::Captured => format!("\n{trace}"),
        _ => String::new(),
    };
    error(&format!("a bug in jidoka: {panic}{trace}"));
    // The process may end with this panic.
    settle();
}

/// Shows that something takes a while; on a terminal only, and never with `--json`.
pub(super) struct Spinner(Option<ProgressBar>);

impl Spinner {
    pub(super) fn new(quiet: bool) -> Self {
        let bar = (!quiet && is_attended()).then(ProgressBar::new_spinner);
        if let Some(bar) = &bar {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Self(bar)
    }

    pub(super) fn say(&self, what: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(what.to_owned());
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::os::unix::net::UnixStream;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_reader_that_never_reads_holds_nobody_up_and_hears_later_what_was_left_out() {
        let (ours, theirs) = UnixStream::pair().expect("a pipe");
        let waiting = Waiting::start(ours, false, SHORT);
        let line = "x".repeat(1 << 10) + "\n";
        for _ in 0..3 * MAX_WAITING_BYTES / line.len() {
            waiting.push(line.clone());
        }
        waiting.settle();
        waiting.settle();
        let dropped = waiting.shared.lock().dropped;
        let bytes = waiting.shared.lock().bytes;
        assert!(dropped > 0 && bytes <= MAX_WAITING_BYTES, "{dropped} {bytes}");
        let mut lines = BufReader::new(theirs).lines().map(|line| line.expect("text"));
        let said = lines.find(|line| line.starts_with('('));
        assert_eq!(said, Some(format!("({dropped} lines were left out: nobody read them)")));
    }

    #[test]
    fn a_reader_that_is_gone_is_no_trouble() {
        let (ours, theirs) = UnixStream::pair().expect("a pipe");
        drop(theirs);
        let waiting = Waiting::start(ours, false, LONG);
        waiting.push("nobody reads this\n".into());
        waiting.settle();
        waiting.push("nor this\n".into());
        waiting.settle();
        assert!(waiting.shared.lock().is_gone);
    }

    #[test]
    fn a_stream_that_does_not_block_gets_all_of_it() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pipe");
        ours.set_nonblocking(true).expect("a setting");
        let text = "y".repeat(4 << 20);
        let reader = std::thread::spawn(move || {
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).map(|_| read.len())
        });
        write_whole(ours.as_fd(), text.as_bytes(), &mut || ()).expect("all of it");
        drop(ours);
        assert_eq!(reader.join().expect("no panic").expect("reads"), text.len());
    }

    #[test]
    fn colours_are_taken_out_where_nobody_sees_them() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pipe");
        let waiting = Waiting::start(ours, false, LONG);
        waiting.push("\u{1b}[31mred\u{1b}[0m\n".into());
        let mut read = [0; 4];
        theirs.read_exact(&mut read).expect("words");
        assert_eq!(&read, b"red\n");
    }
}
