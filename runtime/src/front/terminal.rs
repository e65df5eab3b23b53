//! What the program writes: data on stdout, words for people on stderr.
//!
//! Never: decides anything. stdout is for data (with `--json`: one document and nothing else), stderr for everything else.

use std::io::{ErrorKind, IsTerminal, Write};
use std::time::Duration;

use console::style;
use indicatif::ProgressBar;

/// Exit code of a command line, a job or an operator's file that does not make sense.
pub const USAGE: u8 = 2;
/// Exit code of everything that was not foreseen.
pub const UNEXPECTED: u8 = 1;

/// Writes a line of data to stdout. Whoever reads it may stop, as `head` does; anything else that goes wrong is told.
macro_rules! say {
    ($($words:tt)*) => { $crate::front::terminal::data(format_args!($($words)*)) };
}
pub(super) use say;

/// As [`say`], which is how it is called.
pub(super) fn data(line: std::fmt::Arguments<'_>) {
    if let Err(error) = writeln!(std::io::stdout(), "{line}")
        && error.kind() != ErrorKind::BrokenPipe
    {
        eprintln!("{} write to stdout: {error}", style("error:").red().bold());
        std::process::exit(i32::from(UNEXPECTED));
    }
}

/// Tells what does not make sense on the command line, and returns the exit code that says so.
pub(super) fn usage(what: &str) -> u8 {
    eprintln!("{} {what}", style("error:").red().bold());
    USAGE
}

/// Shows that something takes a while; on a terminal only, and never with `--json`.
pub(super) struct Spinner(Option<ProgressBar>);

impl Spinner {
    pub(super) fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(ProgressBar::new_spinner);
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
