//! Hooks: what an operator has done around runs, what a hook is told, and how it ended.
//!
//! Never: decides a verdict, runs anything. A hook is on the operator's side of the wall: what comes of it is told of the
//! hook, never of the worker. Of an address or a command only its head is ever shown: the rest often is a key.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::andon::{Category, Pull, Puller};
use super::record::Record;
use super::units;

/// The version of [`HookEvent`] as JSON.
pub const HOOK_FORMAT: u32 = 1;

/// Variables that the host sets for a command itself, from the [`HookEvent`]. What an event does not have is not set.
pub const OWN_VARIABLES: [&str; 5] = ["JIDOKA_MOMENT", "JIDOKA_RUN", "JIDOKA_LINE", "JIDOKA_ITEM", "JIDOKA_ATTEMPT"];

/// One hook of the operator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    pub on: Moment,
    pub run: HookRun,
    /// Time for this hook. Its own clock: nobody's budget is touched.
    pub wall_ms: u64,
    /// Variables of the operator's environment that a command gets, beside [`OWN_VARIABLES`]. Nothing else is inherited.
    pub env: BTreeSet<String>,
    /// The lines that it is for; `None`: all.
    pub lines: Option<BTreeSet<String>>,
}

/// When a hook is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// A run was admitted, and its worker has not begun.
    BeforeRun,
    /// A run has its verdict.
    AfterRun,
    /// Somebody pulled the andon of a line.
    OnPull,
}

impl Moment {
    /// The moment's name in the operator's file, in an event and on the screen.
    pub const fn name(self) -> &'static str {
        match self {
            Moment::BeforeRun => "before-run",
            Moment::AfterRun => "after-run",
            Moment::OnPull => "on-pull",
        }
    }
}

/// What a hook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookRun {
    /// A program and its arguments.
    Command(Vec<String>),
    /// An address that is posted to. Plain `http` only for loopback.
    Webhook(String),
}

impl HookRun {
    /// What may be shown of it, on one line: the program, or the server.
    pub fn head(&self) -> String {
        match self {
            HookRun::Command(words) => words.first().map(|word| word.escape_debug().to_string()).unwrap_or_default(),
            HookRun::Webhook(url) => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
                let server = rest.split(['/', '?', '#']).next().unwrap_or_default();
                format!("{scheme}://{server}")
            }
        }
    }
}

impl Hook {
    /// Whether it is run at this moment of a run, or a pull, of this line.
    pub fn is_for(&self, moment: Moment, line: &str) -> bool {
        self.on == moment && self.is_of(line)
    }

    /// Whether it is run at any moment of this line.
    pub fn is_of(&self, line: &str) -> bool {
        self.lines.as_ref().is_none_or(|lines| lines.contains(line))
    }
}

/// What a hook is told, as one object of JSON: on stdin of a command, in the body of a webhook's request.
///
/// Fields are added in later versions and never change their meaning within one. A pull by hand, with no run on its way,
/// has null in the place of what belongs to a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookEvent {
    /// [`HOOK_FORMAT`].
    pub format: u32,
    pub moment: Moment,
    /// The run's serial number.
    pub serial: Option<String>,
    pub tenant: Option<String>,
    pub line: String,
    pub item: Option<String>,
    /// From 1.
    pub attempt: Option<u32>,
    /// After a run: what `verdict.json` says. Its `report` is the worker's word; all else is the host's. Else null.
    pub record: Option<Record>,
    /// On a pull: who pulled, and why. Else null.
    pub pull: Option<Pull>,
}

impl HookEvent {
    /// [`OWN_VARIABLES`] with their values.
    pub fn variables(&self) -> Vec<(String, String)> {
        let attempt = self.attempt.map(|attempt| attempt.to_string());
        let values = [
            Some(self.moment.name().to_owned()),
            self.serial.clone(),
            Some(self.line.clone()),
            self.item.clone(),
            attempt,
        ];
        OWN_VARIABLES.iter().zip(values).filter_map(|(name, value)| Some(((*name).to_owned(), value?))).collect()
    }
}

/// How one hook ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookEnd {
    /// Which one, for a person: its place in the operator's file, its moment, its head.
    pub hook: String,
    pub end: HookResult,
}

/// What came of a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookResult {
    Done,
    /// It said no: an exit status other than 0, or an answer other than 2xx.
    Refused {
        why: String,
    },
    /// It ran out of its time and was stopped with all of its process group.
    TimedOut {
        wall_ms: u64,
    },
    /// It could not be started or reached.
    Broken {
        why: String,
    },
}

impl fmt::Display for HookResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HookResult::Done => f.write_str("done"),
            HookResult::Refused { why } => write!(f, "it says no: {why}"),
            HookResult::TimedOut { wall_ms } => {
                write!(f, "it ran out of its time of {}", units::show_duration(*wall_ms))
            }
            HookResult::Broken { why } => write!(f, "it could not be run: {why}"),
        }
    }
}

impl HookEnd {
    /// The pull of the line's andon that this end calls for. A hook out of time stops the line, and no run.
    pub fn pull(&self) -> Option<Pull> {
        match &self.end {
            HookResult::TimedOut { wall_ms } => Some(Pull {
                by: Puller::Host,
                category: Category::HookTimeout,
                reason: format!("{} ran out of its time of {}", self.hook, units::show_duration(*wall_ms)),
                evidence: Vec::new(),
            }),
            HookResult::Done | HookResult::Refused { .. } | HookResult::Broken { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(lines: Option<&[&str]>) -> Hook {
        Hook {
            on: Moment::AfterRun,
            run: HookRun::Command(vec!["/bin/true".to_owned()]),
            wall_ms: 1_000,
            env: BTreeSet::new(),
            lines: lines.map(|lines| lines.iter().map(|&line| line.to_owned()).collect()),
        }
    }

    #[test]
    fn a_hook_is_for_its_moment_and_its_lines() {
        assert!(hook(None).is_for(Moment::AfterRun, "pages"));
        assert!(!hook(None).is_for(Moment::BeforeRun, "pages"));
        assert!(hook(Some(&["pages"])).is_for(Moment::AfterRun, "pages"));
        assert!(!hook(Some(&["pages"])).is_for(Moment::AfterRun, "page"));
    }

    #[test]
    fn what_may_be_a_key_is_not_shown() {
        let words = ["/bin/curl", "-H", "canary"].map(str::to_owned).to_vec();
        assert_eq!(HookRun::Command(words).head(), "/bin/curl");
        for url in ["https://host:8443/services/canary", "https://host:8443?sig=canary", "https://host:8443"] {
            assert_eq!(HookRun::Webhook(url.to_owned()).head(), "https://host:8443", "{url}");
        }
    }

    #[test]
    fn only_a_hook_out_of_time_pulls() {
        let end = |end| HookEnd { hook: "hook[2] after-run /bin/notify".to_owned(), end };
        let pull = end(HookResult::TimedOut { wall_ms: 1_500 }).pull().expect("pulls");
        assert_eq!((pull.by, pull.category), (Puller::Host, Category::HookTimeout));
        assert_eq!(pull.reason, "hook[2] after-run /bin/notify ran out of its time of 1500ms");
        let why = || "no".to_owned();
        for other in [HookResult::Done, HookResult::Refused { why: why() }, HookResult::Broken { why: why() }] {
            assert_eq!(end(other).pull(), None);
        }
    }
}
