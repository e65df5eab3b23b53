//! Reports an error: words on stderr, and with `--json` one object on stdout.
//!
//! Never: says it in two ways; the object has the words that a person sees.

use std::sync::atomic::{AtomicBool, Ordering};

use miette::Report;
use serde::Serialize;

use super::terminal::say;

/// Whether this command line asked for JSON.
static JSON: AtomicBool = AtomicBool::new(false);

/// What kind of a failure it is. Closed: a program may match on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Words on the command line that make no sense, or not now.
    Usage,
    /// A file has mistakes.
    Mistakes,
    /// Something is missing, unreadable or broken.
    Failed,
}

#[derive(Serialize)]
struct Document<'a> {
    error: Failure<'a>,
}

#[derive(Serialize)]
struct Failure<'a> {
    kind: Kind,
    message: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mistakes: Vec<Mistake>,
}

/// A mistake of a file, where it stands.
#[derive(Serialize)]
struct Mistake {
    message: String,
    help: Option<String>,
    file: Option<String>,
    /// From 1.
    line: Option<usize>,
}

impl Mistake {
    fn of(report: &Report) -> Self {
        let span = report.labels().and_then(|mut labels| labels.next());
        let place = span.as_ref().zip(report.source_code());
        let place = place.and_then(|(span, source)| source.read_span(span.inner(), 0, 0).ok());
        Self {
            message: report.to_string(),
            help: report.help().map(|help| help.to_string()),
            file: place.as_ref().and_then(|place| place.name().map(str::to_owned)),
            line: place.map(|place| place.line() + 1),
        }
    }
}

/// Says whether failures are wanted as JSON too.
pub(super) fn expect_json(asked: bool) {
    JSON.store(asked, Ordering::Relaxed);
}

/// The failure as an object on stdout, if the command line asked for JSON.
pub(super) fn document(kind: Kind, message: &str, mistakes: &[Report]) {
    if JSON.load(Ordering::Relaxed) {
        let error = Failure { kind, message, mistakes: mistakes.iter().map(Mistake::of).collect() };
        say!("{}", serde_json::to_string_pretty(&Document { error }).unwrap_or_default());
    }
}
