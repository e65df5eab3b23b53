//! The operator's file: providers, what runs may spend together, how far any job may go, hooks around
//! runs, and where secrets are kept.
//!
//! Never: holds a key or a secret, widens a grant. Without a file there are no providers, no approved commands and no tenants but the
//! one that every run without a name is of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeValue;

use super::amount::{Amount, Unit};
use super::hooks;
use super::kinds::{Choice, Kind, List, Name, Repeats, Text, Wrong};
use super::limit::{self, MOST_MS};
use super::mistake::Mistake;
use super::provider::{self, OperatorModel};
use super::reader::{Key, Reader, Section};
use super::shared::{self, Shared};
use super::tenant::{self, Tenant, TenantLines};
use super::{caps, document, http, mcp, models, pin, secrets};
use crate::rules::hook::Hook;
use crate::rules::http::HttpGrant;
use crate::rules::ledger::ScopeId;
use crate::rules::line::Line;
use crate::rules::mcp::McpSpec;
use crate::rules::scope::Terms;
use crate::rules::secret::SecretSpec;
use crate::rules::spec::{Caps, FileGrant, Origin, Setting, Wall};

/// What the operator says about all jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperatorFile {
    /// Providers by the operator's names for them.
    pub models: BTreeMap<String, OperatorModel>,
    /// How far jobs may go.
    pub policy: Policy,
    /// What all runs on this host may spend together.
    pub host: Shared,
    /// Who runs are for, by name. With none in the file any name is one.
    pub tenants: BTreeMap<String, Tenant>,
    /// What all runs of a line may spend together.
    pub lines: BTreeMap<String, Shared>,
    /// What is run around runs, in this order.
    pub hooks: Vec<Hook>,
    /// The settings of each hook, in the same order.
    pub hook_settings: Vec<Vec<Setting>>,
    /// What may be put into requests, by the names that jobs have for it.
    pub secrets: BTreeMap<String, SecretSpec>,
    /// Programs that serve tools, by the names that jobs have for them.
    pub mcp: BTreeMap<String, McpSpec>,
}

impl OperatorFile {
    /// The scopes that it gives a budget, from the outside in: the host, its tenants, and the lines that a tenant lists.
    pub fn scopes(&self) -> Vec<(ScopeId, Terms)> {
        let host = ScopeId::host();
        let mut scopes = vec![(host.clone(), Terms::from(&self.host.allowance))];
        for (name, tenant) in &self.tenants {
            let id = host.child(name);
            scopes.push((id.clone(), Terms::from(&tenant.allowance)));
            if let TenantLines::Listed(lines) = &tenant.lines {
                let budgeted = lines.iter().filter_map(|line| Some((line, self.lines.get(line)?)));
                scopes.extend(budgeted.map(|(line, shared)| (id.child(line), Terms::from(&shared.allowance))));
            }
        }
        scopes
    }
}

/// Ceilings. A job above one of them does not load; only a default is cut down to one, and then it is the operator's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// The most that a job may do with its files.
    pub files: FileGrant,
    /// Commands that a check may be, word for word.
    pub commands: BTreeSet<Vec<String>>,
    /// The operator's models that jobs may use.
    pub models: BTreeSet<String>,
    /// Files of the keys of which one must have signed every component that runs; with none, nobody must.
    pub signed_by: Vec<PathBuf>,
    /// The most wall time of a run, and of each of its checks.
    pub max_wall_ms: u64,
    /// The most that one attempt may be given of a line. A line that is not named has no ceiling here.
    pub budget: BTreeMap<Line, u64>,
    /// The most of each cap.
    pub caps: Caps,
    /// The least that stands between a guest and this host.
    pub wall: Wall,
    /// Which items jobs may be of.
    pub items: Items,
    /// To whom jobs may send requests, without secrets. A job's rule is within one of them.
    pub http: Vec<HttpGrant>,
    /// The settings above with their origins; of `budget` and `caps` those that are written.
    pub settings: Vec<Setting>,
}

/// Which items jobs may be of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Items {
    /// Also of one that has no name, which each run is for itself.
    #[default]
    Any,
    /// Only of one that the job or the command line names.
    Named,
}

impl Default for Policy {
    fn default() -> Self {
        let mut policy = Self {
            files: FileGrant::ReadWrite,
            commands: BTreeSet::new(),
            models: BTreeSet::new(),
            signed_by: Vec::new(),
            max_wall_ms: DEFAULT_MAX_WALL_MS,
            budget: BTreeMap::new(),
            caps: caps::WIDEST,
            wall: Wall::None,
            items: Items::Any,
            http: Vec::new(),
            settings: Vec::new(),
        };
        policy.settings = [
            (FILES.name, FILES.kind.show(&policy.files)),
            (COMMANDS.name, "[]".to_owned()),
            (MODELS.name, "[]".to_owned()),
            (pin::POLICY.name, "[]".to_owned()),
            (MAX_WALL.name, MAX_WALL.kind.show(&policy.max_wall_ms)),
            (WALL.name, WALL.kind.show(&policy.wall)),
            (ITEMS.name, ITEMS.kind.show(&policy.items)),
            (http::HTTP, http::NONE.to_owned()),
        ]
        .map(|(key, value)| Setting { key: format!("policy.{key}"), value, origin: Origin::Default })
        .into();
        policy
    }
}

/// What a job's files may be.
pub(super) const FILE_GRANTS: Choice<FileGrant> =
    Choice(&[("none", FileGrant::None), ("read-only", FileGrant::ReadOnly), ("read-write", FileGrant::ReadWrite)]);

/// An argument vector.
pub(super) const COMMAND: List<Text> =
    List { of: Text { least: 1, most: 4_096 }, least: 1, most: 64, repeats: Repeats::Allowed };

/// A run without an operator's word on it should end within the hour that somebody waits for it.
const DEFAULT_MAX_WALL_MS: u64 = 3_600_000;

const FILES: Key<Choice<FileGrant>> = Key { name: "files", kind: FILE_GRANTS, example: "\"read-write\"" };
const COMMANDS: Key<List<Words>> = Key {
    name: "commands",
    kind: List { of: Words, least: 0, most: 256, repeats: Repeats::Refused },
    example: "[[\"cargo\", \"test\"]]",
};
const MODELS: Key<List<Name>> = Key {
    name: "models",
    kind: List { of: models::NAME, least: 0, most: 256, repeats: Repeats::Refused },
    example: "[\"gpt\"]",
};
const MAX_WALL: Key<Amount> =
    Key { name: "max-wall", kind: Amount::new(Unit::Duration, 1, MOST_MS), example: "\"1h\"" };
const WALL: Key<Choice<Wall>> =
    Key { name: "wall", kind: Choice(&[("none", Wall::None), ("process", Wall::Process)]), example: "\"process\"" };

const ITEMS: Key<Choice<Items>> =
    Key { name: "items", kind: Choice(&[("any", Items::Any), ("named", Items::Named)]), example: "\"named\"" };

/// Reads an operator's file.
///
/// # Errors
/// Every mistake, in the order of the text.
pub fn operator(text: &str) -> Result<OperatorFile, Vec<Mistake>> {
    let document = document::read(text)?;
    let mut reader = Reader::new(Origin::Operator, document.local);
    let mut file = Section::file(&document.table, "the operator's file");
    let models = file.optional_section(&mut reader, "models");
    let models = models.map(|section| provider::read(&section, &mut reader)).unwrap_or_default();
    let policy = file.optional_section(&mut reader, "policy");
    let policy = policy.map(|section| policy_of(section, &mut reader, &models)).unwrap_or_default();
    let host = file.optional_section(&mut reader, "host");
    let host = host.map(|section| shared::read(section, &mut reader)).unwrap_or_default();
    let tenants = file.optional_section(&mut reader, "tenants");
    let tenants = tenants.map(|section| tenant::read(&section, &mut reader)).unwrap_or_default();
    let lines = file.optional_section(&mut reader, "lines");
    let lines = lines.map(|section| shared::lines(&section, &mut reader)).unwrap_or_default();
    let hooks = hooks::read(&mut file, &mut reader);
    let secrets = file.optional_section(&mut reader, "secrets");
    let secrets = secrets.map(|section| secrets::read(&section, &mut reader)).unwrap_or_default();
    let mcp = file.optional_section(&mut reader, "mcp");
    let mcp = mcp.map(|section| mcp::read(&section, &mut reader)).unwrap_or_default();
    file.finish(&mut reader);
    reader.finish()?;
    let models = models.into_iter().filter_map(|(name, model)| Some((name, model?))).collect();
    let (hooks, hook_settings) = hooks.into_iter().filter_map(|(hook, settings)| Some((hook?, settings))).unzip();
    Ok(OperatorFile { models, policy, host, tenants, lines, hooks, hook_settings, secrets, mcp })
}

fn policy_of(
    mut section: Section<'_>,
    reader: &mut Reader,
    models: &BTreeMap<String, Option<OperatorModel>>,
) -> Policy {
    let (mut policy, settings) = reader.apart(|reader| {
        let files = section.or_default(reader, &FILES, FileGrant::ReadWrite);
        let commands = section.or_default(reader, &COMMANDS, Vec::new());
        let defined: BTreeSet<String> = models.keys().cloned().collect();
        let named = section.optional(reader, &MODELS, &shown_names(&defined)).found();
        for (name, span) in named.iter().flat_map(|named| &named.value) {
            if !defined.contains(name) {
                reader.mistake(Mistake {
                    span: Some(span.clone()),
                    message: format!("`policy.models` names `{name}`, which is not defined"),
                    label: "no [models] section of this name".to_owned(),
                    help: format!("allowed: {}\nwrite: [models.{name}] with its keys", shown_names(&defined)),
                });
            }
        }
        let signed_by = section.or_default(reader, &pin::POLICY, Vec::new());
        let names = named.map(|named| named.value.into_iter().map(|(name, _)| name).collect());
        Policy {
            files,
            commands: commands.into_iter().map(|(command, _)| command).collect(),
            models: names.unwrap_or(defined),
            signed_by: signed_by.into_iter().map(|(path, _)| path).collect(),
            max_wall_ms: section.or_default(reader, &MAX_WALL, DEFAULT_MAX_WALL_MS),
            budget: budget_ceilings(&mut section, reader),
            caps: section
                .section(reader, "caps")
                .found()
                .map_or(caps::WIDEST, |found| caps::ceilings(found.value, reader)),
            wall: section.or_default(reader, &WALL, Wall::None),
            items: section.or_default(reader, &ITEMS, Items::Any),
            http: http::rules(&mut section, reader),
            settings: Vec::new(),
        }
    });
    policy.settings = settings;
    section.finish(reader);
    policy
}

/// Reads `[policy.budget]`.
fn budget_ceilings(policy: &mut Section<'_>, reader: &mut Reader) -> BTreeMap<Line, u64> {
    let Some(found) = policy.section(reader, "budget").found() else { return BTreeMap::new() };
    let mut section = found.value;
    let ceilings = limit::read(&mut section, reader, limit::spendable(), 0);
    limit::refuse_levels(&mut section, reader, "policy.caps");
    section.finish(reader);
    limit::amounts(&ceilings)
}

fn shown_names(names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    format!("[{}]", names.join(", "))
}

/// A command, without the places of its words.
struct Words;

impl Kind for Words {
    type Value = Vec<String>;

    fn allowed(&self) -> String {
        COMMAND.allowed()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Self::Value, Vec<Wrong>> {
        Ok(COMMAND.read(value)?.into_iter().map(|(word, _)| word).collect())
    }

    fn show(&self, value: &Self::Value) -> String {
        format!("{value:?}")
    }
}
