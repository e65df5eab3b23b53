//! Tools of the host: what a job says of each, what a guest is told of it, and what a call may take.
//!
//! Never: calls one. What a tool says of itself is a stranger's text: it is bounded here, shown as it is, and pinned by its
//! digest, so that it cannot change behind a job's back. Invariant here: a tool has at most what its job has.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::http::HttpGrant;
use super::pin::Pin;
use super::spec::{Caps, ComponentSource, Done, FileGrant, Grants, MarkKind, NoChange, RunSpec};

/// Tools of a job, all toolboxes together: a model reads the list with every request.
pub const MAX_OFFERS: usize = 128;
/// Bytes of a tool's name, as MCP and the providers of models take it.
pub const MAX_NAME_BYTES: usize = 64;
/// Bytes of a tool's description: a model pays for it with every request.
pub const MAX_DESCRIPTION_BYTES: usize = 16 << 10;
/// Bytes of a tool's schema of its input, and of one of its output.
pub const MAX_SCHEMA_BYTES: usize = 64 << 10;

/// `[tools.NAME]`: where the tools come from, and what a call of one may have and take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolSpec {
    pub source: ToolSource,
    /// What its component must be.
    #[serde(default, skip_serializing_if = "Pin::is_open")]
    pub pin: Pin,
    /// Of the worker's files, at most what the worker has.
    #[serde(default)]
    pub files: FileGrant,
    /// Rules of the worker's, whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpGrant>,
    /// Environment of the tool, exactly this.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Arguments of a program, before those of a call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    pub caps: ToolCaps,
}

impl ToolSpec {
    /// Whether a call can change anything outside of the run's own copy of the workspace.
    pub fn reach(&self) -> Reach {
        match (&self.source, self.http.is_empty()) {
            (ToolSource::Component(_), true) => Reach::Inside,
            (ToolSource::Component(_), false) | (ToolSource::Server(_), _) => Reach::Outside,
        }
    }

    /// Whether a call can change anything elsewhere: by a request that does more than ask, or through a server, which nobody
    /// sees.
    pub fn may_send(&self) -> bool {
        let only_asks = |grant: &HttpGrant| grant.methods.iter().all(|method| method == "GET" || method == "HEAD");
        matches!(self.source, ToolSource::Server(_)) || !self.http.iter().all(only_asks)
    }
}

/// Where tools come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolSource {
    /// A component: of world `tool`, a program, or any whose exports can be described.
    Component(ComponentSource),
    /// An MCP server of the operator's, by its name there.
    Server(String),
}

/// How far a call can reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// The run's own copies: whatever it did is done again where the run goes on.
    Inside,
    /// The world: what it did nobody can take back.
    #[default]
    Outside,
}

/// What one call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCaps {
    /// Elapsed time.
    pub wall_ms: u64,
    /// Processor time.
    pub cpu_ms: u64,
    pub memory_bytes: u64,
    /// Bytes of an output; of a program's also of each of its streams.
    pub output_bytes: u64,
    /// Bytes of bodies over HTTP, both ways.
    pub net_bytes: u64,
    /// Bytes written to files.
    pub disk_bytes: u64,
}

impl Default for ToolCaps {
    fn default() -> Self {
        Self {
            wall_ms: 30_000,
            cpu_ms: 10_000,
            memory_bytes: 64 << 20,
            output_bytes: 256 << 10,
            net_bytes: 2 << 20,
            disk_bytes: 16 << 20,
        }
    }
}

impl ToolCaps {
    /// The caps of the guest that a call is.
    pub fn of_guest(&self) -> Caps {
        let output = self.output_bytes.saturating_mul(2).saturating_add(64 << 10);
        Caps {
            memory_bytes: self.memory_bytes,
            log_bytes: 64 << 10,
            stdio_bytes: self.output_bytes,
            lifted_bytes: Caps::default().lifted_bytes.max(output),
            ..Caps::default()
        }
    }
}

/// A tool as a guest, a model or a client is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolOffer {
    /// As it is called.
    pub name: String,
    /// The `[tools.NAME]` that it is of.
    pub toolbox: String,
    /// Its name in there.
    pub own: String,
    /// Its author's text: not to be believed.
    pub description: String,
    /// JSON schema of its input.
    pub schema: String,
    /// JSON schema of its output, if it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    pub reach: Reach,
    /// Whether a call may change the worker's files.
    pub writes: bool,
}

/// A tool as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    pub name: String,
    pub description: String,
    pub schema: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// The one call that a run is of, in the place of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// As it is offered.
    pub name: String,
    /// JSON.
    pub input: String,
}

impl RunSpec {
    /// This job with one call of a tool in the place of its worker: nobody asks a model, no check looks, and what the tool did
    /// to the files is what is applied. It is an item of its own.
    pub fn as_call(self, call: ToolCall) -> Self {
        let marks = match self.grants.files {
            FileGrant::ReadWrite => MarkKind::Tree,
            FileGrant::None | FileGrant::ReadOnly => MarkKind::Artifact,
        };
        let tree = match marks {
            MarkKind::Tree => vec![".".to_owned()],
            MarkKind::Artifact | MarkKind::Checks => Vec::new(),
        };
        let done = Done { marks: [marks].into(), tree, no_change: NoChange::Allowed, checks: Vec::new(), ..self.done };
        let (models, below) = (BTreeSet::new(), BTreeSet::new());
        let grants = Grants { models, children: below, human_ms: None, ..self.grants };
        Self {
            item: None,
            models: BTreeMap::new(),
            grants,
            children: BTreeMap::new(),
            call: Some(call),
            max_attempts: 1,
            done,
            checks: Vec::new(),
            ..self
        }
    }
}

impl RunSpec {
    /// This job for its tools alone: nothing of it is run.
    pub fn without_worker(self) -> Self {
        self.as_call(ToolCall { name: String::new(), input: String::new() })
    }
}

/// The tools of a toolbox as they are offered: one alone by the toolbox's name, several by both names.
///
/// # Errors
/// A sentence: it offers none, too many, one twice, or one whose name or texts are past their bounds.
pub fn offers(toolbox: &str, spec: &ToolSpec, described: Vec<Described>) -> Result<Vec<ToolOffer>, String> {
    let count = described.len();
    match count {
        0 => return Err("it offers no tool".to_owned()),
        1..=MAX_OFFERS => {}
        _ => return Err(format!("it offers {count} tools; at most {MAX_OFFERS}")),
    }
    let mut offers: Vec<ToolOffer> = Vec::with_capacity(count);
    for Described { name: own, description, schema, output } in described {
        let shown = match &spec.source {
            ToolSource::Component(_) => own.clone(),
            // Servers may also have names with `.` and `/`.
            ToolSource::Server(_) => own.replace(['.', '/'], "_"),
        };
        check_own_name(&shown)?;
        let name = if count == 1 { toolbox.to_owned() } else { format!("{toolbox}-{shown}") };
        if name.len() > MAX_NAME_BYTES {
            return Err(format!("the name {name:?} has {} bytes; at most {MAX_NAME_BYTES}", name.len()));
        }
        if offers.iter().any(|offer| offer.name == name) {
            return Err(format!("it offers {own:?} twice"));
        }
        let texts = [
            ("description", description.len(), MAX_DESCRIPTION_BYTES),
            ("schema", schema.len(), MAX_SCHEMA_BYTES),
            ("output schema", output.as_deref().map_or(0, str::len), MAX_SCHEMA_BYTES),
        ];
        for (what, bytes, most) in texts {
            if bytes > most {
                return Err(format!("the {what} of {own:?} has {bytes} bytes; at most {most}"));
            }
        }
        offers.push(ToolOffer {
            name,
            toolbox: toolbox.to_owned(),
            own,
            description,
            schema,
            output,
            reach: spec.reach(),
            writes: spec.files == FileGrant::ReadWrite,
        });
    }
    Ok(offers)
}

/// What may be a tool's own name: what MCP clients and providers of models both take.
fn check_own_name(name: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(fits) {
        let shown: String = name.chars().take(MAX_NAME_BYTES).collect();
        return Err(format!("{shown:?} is no name of a tool: 1 to {MAX_NAME_BYTES} letters, digits, `-` and `_`"));
    }
    Ok(())
}

/// The text whose digest pins how a toolbox describes itself.
pub fn pinned_text(offers: &[ToolOffer]) -> String {
    let described = |offer: &ToolOffer| Described {
        name: offer.own.clone(),
        description: offer.description.clone(),
        schema: offer.schema.clone(),
        output: offer.output.clone(),
    };
    let described: Vec<Described> = offers.iter().map(described).collect();
    serde_json::to_string(&described).expect("texts and names")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ToolSpec {
        let source = ToolSource::Component(ComponentSource::File("x.wasm".into()));
        let caps = ToolCaps::default();
        let (env, args) = (BTreeMap::new(), Vec::new());
        ToolSpec { source, pin: Pin::default(), files: FileGrant::None, http: Vec::new(), env, args, caps }
    }

    fn described(name: &str) -> Described {
        Described { name: name.to_owned(), description: String::new(), schema: "{}".to_owned(), output: None }
    }

    fn named(names: &[&str]) -> Result<Vec<String>, String> {
        let offered = offers("box", &spec(), names.iter().map(|name| described(name)).collect())?;
        Ok(offered.into_iter().map(|offer| offer.name).collect())
    }

    #[test]
    fn one_tool_has_the_name_of_its_box_and_several_have_both() {
        assert_eq!(named(&["grep"]), Ok(vec!["box".to_owned()]));
        assert_eq!(named(&["grep", "sed"]), Ok(vec!["box-grep".to_owned(), "box-sed".to_owned()]));
        assert!(named(&[]).is_err());
        assert!(named(&["grep", "grep"]).is_err());
        for wrong in ["", "a b", "a/b", "ä", "a\n"] {
            assert!(named(&[wrong]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn each_bound_of_an_offer_holds_at_n_and_refuses_n_plus_1() {
        let of = |name: usize, description: usize, schema: usize, output: usize| {
            let text = |bytes: usize| "x".repeat(bytes);
            let described = Described {
                name: text(name),
                description: text(description),
                schema: text(schema),
                output: Some(text(output)),
            };
            offers("box", &spec(), vec![described]).is_ok()
        };
        let (name, description, schema) = (MAX_NAME_BYTES, MAX_DESCRIPTION_BYTES, MAX_SCHEMA_BYTES);
        assert!(of(name, description, schema, schema));
        assert!(!of(name + 1, 1, 1, 1));
        assert!(!of(1, description + 1, 1, 1));
        assert!(!of(1, 1, schema + 1, 1));
        assert!(!of(1, 1, 1, schema + 1));
        let count = |count: usize| {
            let many = (0..count).map(|number| described(&format!("t{number}"))).collect();
            offers("box", &spec(), many).is_ok()
        };
        assert!(count(MAX_OFFERS) && !count(MAX_OFFERS + 1));
        // The two names together.
        let both = |bytes: usize| named(&["a", &"x".repeat(bytes)]).is_ok();
        assert!(both(MAX_NAME_BYTES - 4) && !both(MAX_NAME_BYTES - 3));
    }

    #[test]
    fn another_word_anywhere_is_another_text_to_pin() {
        let text = |change: fn(&mut Described)| {
            let mut it = described("grep");
            change(&mut it);
            pinned_text(&offers("box", &spec(), vec![it]).expect("offers"))
        };
        let same = text(|_| {});
        assert_eq!(text(|_| {}), same);
        assert_ne!(text(|it| it.description.push('.')), same);
        assert_ne!(text(|it| it.schema.push(' ')), same);
        assert_ne!(text(|it| it.output = Some("{}".into())), same);
        assert_ne!(text(|it| it.name.push('2')), same);
    }
}
