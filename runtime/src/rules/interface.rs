//! What each interface that a component may import lets it do, and what of it a job has to grant.
//!
//! Never: asks the component. An interface that nobody serves is known to nobody here, and a component that imports it runs
//! nowhere. Invariant here: every interface of the worlds in `wit/` has its row.

use serde::Serialize;

use super::policy::{MAX_EVIDENCE, MAX_EVIDENCE_BYTES};
use super::spec::{FileGrant, Grants};

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Without its version.
    pub name: &'static str,
    /// What it lets a component do: completes "it may ...".
    pub lets: &'static str,
    pub gate: Gate,
}

/// What stands between an import and its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Nothing: it changes nothing outside, or no grant can withhold it.
    Open,
    /// `[grants] files`.
    Files,
    /// `[grants] models`.
    Models,
    /// `[grants] human`.
    Human,
    /// `[grants] tools`.
    Tools,
    /// `[grants] children`.
    Children,
    /// It is there so that components link, and every call of it is refused.
    Shut,
    /// Rules of HTTP.
    Http,
}

/// Whether a job lets a component do what an import is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
pub enum Standing {
    /// No grant is asked for.
    Free,
    Granted {
        by: String,
    },
    /// Every call is refused. `setting` is what to write so that it is not; none if nothing helps.
    Refused {
        setting: Option<&'static str>,
    },
}

impl Gate {
    /// The setting that opens it; none if it is open, or nothing does.
    pub fn setting(self) -> Option<&'static str> {
        match self {
            Gate::Open | Gate::Shut => None,
            Gate::Files => Some("[grants] files"),
            Gate::Models => Some("[grants] models"),
            Gate::Human => Some("[grants] human"),
            Gate::Tools => Some("[grants] tools"),
            Gate::Children => Some("[grants] children"),
            Gate::Http => Some("[[grants.http]]"),
        }
    }

    /// What a job's grants make of it.
    pub fn under(self, grants: &Grants) -> Standing {
        let refused = Standing::Refused { setting: self.setting() };
        match self {
            Gate::Open => Standing::Free,
            Gate::Shut => refused,
            Gate::Files => match grants.files {
                FileGrant::None => refused,
                FileGrant::ReadOnly => Standing::Granted { by: "files = \"read-only\"".to_owned() },
                FileGrant::ReadWrite => Standing::Granted { by: "files = \"read-write\"".to_owned() },
            },
            Gate::Models if grants.models.is_empty() => refused,
            Gate::Models => {
                let names: Vec<&str> = grants.models.iter().map(String::as_str).collect();
                Standing::Granted { by: format!("models = {names:?}") }
            }
            Gate::Tools if grants.tools.is_empty() => refused,
            Gate::Tools => {
                let names: Vec<&str> = grants.tools.iter().map(String::as_str).collect();
                Standing::Granted { by: format!("tools = {names:?}") }
            }
            Gate::Children if grants.children.is_empty() => refused,
            Gate::Children => {
                let names: Vec<&str> = grants.children.iter().map(String::as_str).collect();
                Standing::Granted { by: format!("children = {names:?}") }
            }
            Gate::Http if grants.http.is_empty() => refused,
            Gate::Http => Standing::Granted { by: format!("{} rules of [[grants.http]]", grants.http.len()) },
            Gate::Human => match grants.human_ms {
                None => refused,
                Some(_) => Standing::Granted { by: "human = true".to_owned() },
            },
        }
    }
}

/// What is known of an import, by its name with or without its version. `None`: no world here has it.
pub fn of(import: &str) -> Option<&'static Interface> {
    let name = import.split_once('@').map_or(import, |(name, _)| name);
    ALL.iter().find(|interface| interface.name == name)
}

const fn open(name: &'static str, lets: &'static str) -> Interface {
    Interface { name, lets, gate: Gate::Open }
}

const fn gated(name: &'static str, gate: Gate, lets: &'static str) -> Interface {
    Interface { name, lets, gate }
}

/// All that a world here can have.
const ALL: &[Interface] = &[
    open("jidoka:agent/types", "use the words of the contract"),
    open("jidoka:agent/work", "use the words of a worker's task and report"),
    // What a world says of its own function, by name.
    open("task", "use the word for its task"),
    open("report", "use the word for its report"),
    open("artifact", "use the word for what it judges"),
    open("judgement", "use the word for its judgement"),
    open("described", "use the word for what it offers"),
    open("output", "use the word for its output"),
    gated("wasi:http/types", Gate::Http, "make requests over HTTP and read their replies"),
    gated("wasi:http/outgoing-handler", Gate::Http, "send requests over HTTP to whom the job's rules name"),
    open("jidoka:agent/review", "use the words of a check"),
    open("jidoka:agent/tooling", "use the words of a tool"),
    open("jidoka:agent/admission", "use the words of a policy"),
    gated("jidoka:agent/model", Gate::Models, "ask language models, which costs tokens and money of the budget"),
    gated("jidoka:agent/tools", Gate::Tools, "call tools that the host serves"),
    gated("jidoka:agent/children", Gate::Children, "start other workers below itself"),
    open("jidoka:agent/budget", "read what is left of its budget"),
    gated("jidoka:agent/progress", Gate::Files, "have the host look at its files for progress"),
    open("jidoka:agent/evidence", "attach up to 256 pieces of evidence of 1 MiB each"),
    open("jidoka:agent/andon", "stop its line, which ends its run"),
    gated("jidoka:agent/human", Gate::Human, "ask a person and wait for the answer"),
    open("jidoka:agent/log", "write notes into the run's journal"),
    open("jidoka:agent/clock", "read the run's own clock and sleep"),
    open("jidoka:agent/random", "draw random bytes that a replay draws again"),
    open("wasi:io/error", "read the words of an error"),
    open("wasi:io/poll", "wait for its own streams and timers"),
    open("wasi:io/streams", "read and write streams that it was given"),
    open("wasi:clocks/wall-clock", "read the run's own clock"),
    open("wasi:clocks/monotonic-clock", "read the run's own clock and sleep"),
    open("wasi:random/random", "draw random bytes that a replay draws again"),
    open("wasi:random/insecure", "draw random bytes that a replay draws again"),
    open("wasi:random/insecure-seed", "draw a random seed that a replay draws again"),
    open("wasi:cli/environment", "read the variables and arguments that the job gives it, and no others"),
    open("wasi:cli/exit", "end itself"),
    open("wasi:cli/stdin", "read an input that is empty"),
    open("wasi:cli/stdout", "print, up to a cap, into the run's journal"),
    open("wasi:cli/stderr", "print, up to a cap, into the run's journal"),
    open("wasi:cli/terminal-input", "ask about a terminal that is not there"),
    open("wasi:cli/terminal-output", "ask about a terminal that is not there"),
    open("wasi:cli/terminal-stdin", "ask about a terminal that is not there"),
    open("wasi:cli/terminal-stdout", "ask about a terminal that is not there"),
    open("wasi:cli/terminal-stderr", "ask about a terminal that is not there"),
    gated("wasi:filesystem/types", Gate::Files, "read and change files of its own copy of the workspace"),
    gated("wasi:filesystem/preopens", Gate::Files, "find its own copy of the workspace and the context"),
    gated("wasi:sockets/network", Gate::Shut, "reach a network by itself"),
    gated("wasi:sockets/instance-network", Gate::Shut, "reach a network by itself"),
    gated("wasi:sockets/ip-name-lookup", Gate::Shut, "look up names of a network"),
    gated("wasi:sockets/tcp", Gate::Shut, "open TCP connections"),
    gated("wasi:sockets/tcp-create-socket", Gate::Shut, "open TCP connections"),
    gated("wasi:sockets/udp", Gate::Shut, "send UDP datagrams"),
    gated("wasi:sockets/udp-create-socket", Gate::Shut, "send UDP datagrams"),
];

// The sentence above is in words.
const _: () = assert!(MAX_EVIDENCE == 256 && MAX_EVIDENCE_BYTES == 1 << 20);

#[cfg(test)]
mod tests {
    use super::*;

    const WORLDS: &str = include_str!("../../../wit/worlds.wit");

    #[test]
    fn every_interface_of_the_worlds_has_its_row() {
        let named = |line: &str| {
            let line = line.trim();
            let import = line.strip_prefix("import ")?.trim_end_matches(';').to_owned();
            Some(if import.contains(':') { import } else { format!("jidoka:agent/{import}") })
        };
        let imports: Vec<String> = WORLDS.lines().filter_map(named).collect();
        assert!(imports.len() > 20, "{imports:?}");
        for import in imports {
            assert!(of(&import).is_some(), "{import}");
        }
        for interface in WORLDS.lines().filter_map(|line| line.strip_prefix("interface ")?.strip_suffix(" {")) {
            assert!(of(&format!("jidoka:agent/{interface}@0.1.0")).is_some(), "{interface}");
        }
        assert_eq!(of("jidoka:agent/escape"), None);
        assert_eq!(of("wasi:sockets/tcp@0.2.6").map(|known| known.gate), Some(Gate::Shut));
    }

    #[test]
    fn a_gate_opens_by_its_own_grant_and_by_no_other() {
        let grants = |change: fn(&mut Grants)| {
            let mut grants = Grants::default();
            change(&mut grants);
            grants
        };
        let opened = |grants: &Grants| {
            let open = |gate: &Gate| matches!(gate.under(grants), Standing::Granted { .. });
            [Gate::Open, Gate::Files, Gate::Models, Gate::Human, Gate::Shut]
                .into_iter()
                .filter(open)
                .collect::<Vec<_>>()
        };
        assert_eq!(opened(&Grants::default()), []);
        assert_eq!(opened(&grants(|it| it.files = FileGrant::ReadOnly)), [Gate::Files]);
        assert_eq!(opened(&grants(|it| it.models = ["coder".to_owned()].into())), [Gate::Models]);
        assert_eq!(opened(&grants(|it| it.human_ms = Some(1))), [Gate::Human]);
        assert_eq!(Gate::Models.under(&Grants::default()), Standing::Refused { setting: Some("[grants] models") });
        let files = grants(|it| it.files = FileGrant::ReadWrite);
        assert_eq!(Gate::Shut.under(&files), Standing::Refused { setting: None });
        assert_eq!(Gate::Open.under(&Grants::default()), Standing::Free);
    }
}
