//! `[tools.NAME]` and `[grants] tools`: tools of the host that a worker may call, and what each call may have and take.
//!
//! Never: gives a tool what its job does not have. Its files are at most the worker's, its rules of HTTP are the worker's own,
//! named by their addresses, and its caps are below the operator's.

use std::collections::BTreeMap;
use std::ops::Range;

use super::amount::{Amount, Unit};
use super::ceiling::{Ceiling, Excess, Shown};
use super::done::{COMPONENT, CRATE};
use super::kinds::{Characters, Choice, Kind, List, Name, Repeats};
use super::mistake::{Mistake, listed};
use super::operator::{self, OperatorFile};
use super::reader::{Key, Naming, Read, Reader, Section};
use super::{ARGS, ENV, http, pin};
use crate::rules::http::HttpGrant;
use crate::rules::pin::Pin;
use crate::rules::spec::{ComponentSource, FileGrant, Origin};
use crate::rules::tool::{ToolCaps, ToolSource, ToolSpec};

/// What a toolbox may be called: it is the beginning of the name of each of its tools.
const NAME: Name = Name { characters: Characters::Lower, most: 32 };
const NAMING: Naming = Naming { noun: "tool", kind: NAME, example: "search" };

/// Toolboxes of a job: each is a component that is loaded with it.
const MOST_TOOLBOXES: usize = 32;

/// The grant, in `[grants]`.
pub(super) const TOOLS: Key<List<Name>> = Key {
    name: "tools",
    kind: List { of: NAME, least: 0, most: MOST_TOOLBOXES, repeats: Repeats::Refused },
    example: "[\"search\"]",
};

/// An MCP server, by the operator's name for it.
const SERVER: Key<Name> =
    Key { name: "server", kind: Name { characters: Characters::Mixed, most: 64 }, example: "\"tracker\"" };
const FILES: Key<Choice<FileGrant>> = Key { name: "files", kind: operator::FILE_GRANTS, example: "\"read-only\"" };

/// An hour: a tool that takes longer is a worker.
const WALL: Key<Amount> = Key { name: "wall", kind: Amount::new(Unit::Duration, 1, 3_600_000), example: "\"30s\"" };
const CPU: Key<Amount> = Key { name: "cpu", kind: Amount::new(Unit::Duration, 1, 3_600_000), example: "\"10s\"" };
const MEMORY: Key<Amount> =
    Key { name: "memory", kind: Amount::new(Unit::Size, 64 << 10, 1 << 30), example: "\"64MiB\"" };
/// The journal keeps it whole, and a guest's memory holds it.
const OUTPUT: Key<Amount> = Key { name: "output", kind: Amount::new(Unit::Size, 1, 8 << 20), example: "\"256KiB\"" };
const NET: Key<Amount> = Key { name: "net", kind: Amount::new(Unit::Size, 0, 64 << 20), example: "\"2MiB\"" };
const DISK: Key<Amount> = Key { name: "disk", kind: Amount::new(Unit::Size, 0, 1 << 30), example: "\"16MiB\"" };

/// What the tools of a job stand on.
pub(super) struct Ground<'a> {
    /// What the worker has. `None`: that has a mistake, and nothing follows from it.
    pub files: Option<FileGrant>,
    pub http: Option<&'a [HttpGrant]>,
    pub operator: &'a OperatorFile,
}

/// The granted toolboxes by their names. `None`: there is a mistake, which was reported.
pub(super) fn read(
    section: &Section<'_>,
    reader: &mut Reader,
    granted: &[(String, Range<usize>)],
    ground: &Ground<'_>,
) -> Option<BTreeMap<String, ToolSpec>> {
    let mut written = BTreeMap::new();
    for (name, section) in section.named(reader, &NAMING) {
        let is_granted = granted.iter().any(|(granted, _)| *granted == name.value);
        let (spec, settings) = reader.apart(|reader| section.and_then(|section| tool(section, reader, ground)));
        if is_granted {
            reader.adopt(settings);
        }
        written.insert(name.value, spec);
    }
    let mut tools = BTreeMap::new();
    let mut right = true;
    for (name, span) in granted {
        match written.get(name) {
            Some(Some(spec)) => drop(tools.insert(name.clone(), spec.clone())),
            Some(None) => right = false,
            None => {
                right = false;
                reader.mistake(Mistake {
                    span: Some(span.clone()),
                    message: format!("the granted tool `{name}` is not defined"),
                    label: "no [tools] of this name".to_owned(),
                    help: format!(
                        "allowed: {}\nwrite:\n[tools.{name}]\ncomponent = \"{name}.wasm\"",
                        listed(written.keys().map(String::as_str))
                    ),
                });
            }
        }
    }
    right.then_some(tools)
}

fn tool(mut section: Section<'_>, reader: &mut Reader, ground: &Ground<'_>) -> Option<ToolSpec> {
    let component = |source| ToolSource::Component(source);
    let choices = vec![
        (CRATE.name, section.read(reader, &CRATE).map(|path| component(ComponentSource::Crate(path)))),
        (COMPONENT.name, section.read(reader, &COMPONENT).map(|path| component(ComponentSource::File(path)))),
        (SERVER.name, server(&mut section, reader, ground.operator)),
    ];
    let source = section.only(reader, choices, "component = \"search.wasm\"");
    if let Some(source) = &source {
        let (key, value) = match source {
            ToolSource::Component(ComponentSource::Crate(path)) => (CRATE.name, path.display().to_string()),
            ToolSource::Component(ComponentSource::File(path)) => (COMPONENT.name, path.display().to_string()),
            ToolSource::Server(name) => (SERVER.name, name.clone()),
        };
        reader.set(section.key(key), value, Origin::Job);
    }
    let pin = match &source {
        Some(ToolSource::Server(_)) => Pin::default(),
        Some(ToolSource::Component(source)) => pin::read(&mut section, reader, Some(source), &ground.operator.policy),
        None => pin::read(&mut section, reader, None, &ground.operator.policy),
    };
    let (place, title) = (section.place(), section.title().to_owned());
    let files = files(&mut section, reader, ground.files);
    let http = http::of_the_jobs(&mut section, reader, ground.http);
    let env = section.or_default(reader, &ENV, BTreeMap::new());
    let args = section.or_default(reader, &ARGS, Vec::new());
    let caps = caps(&mut section, reader, ground.operator);
    section.finish(reader);
    let args = args.into_iter().map(|(argument, _)| argument).collect();
    if let (Some(ToolSource::Server(_)), true) =
        (&source, files != Some(FileGrant::None) || http.as_ref().is_none_or(|http| !http.is_empty()))
    {
        reader.mistake(Mistake {
            span: Some(place),
            message: format!("{title} gives files or rules of http to an MCP server"),
            label: "a server has what the operator gives it".to_owned(),
            help: "allowed: `files` and `http` together with `component`\nwrite: nothing; delete these keys".to_owned(),
        });
        return None;
    }
    Some(ToolSpec { source: source?, pin, files: files?, http: http?, env, args, caps })
}

/// The operator's server that a toolbox names.
fn server(section: &mut Section<'_>, reader: &mut Reader, operator: &OperatorFile) -> Read<ToolSource> {
    let found = match section.read(reader, &SERVER) {
        Read::Absent => return Read::Absent,
        Read::Wrong => return Read::Wrong,
        Read::Found(found) => found,
    };
    if operator.mcp.contains_key(&found.value) {
        return Read::Found(found).map(ToolSource::Server);
    }
    reader.mistake(Mistake {
        span: Some(found.span),
        message: format!(
            "`{}` names `{}`, which is no MCP server of the operator's",
            section.key(SERVER.name),
            found.value
        ),
        label: "no [mcp] of this name".to_owned(),
        help: format!(
            "allowed: {}\nwrite in the operator's file: [mcp.{}] with its command",
            listed(operator.mcp.keys().map(String::as_str)),
            found.value
        ),
    });
    Read::Wrong
}

/// `None`: more than the worker has, which was reported.
fn files(section: &mut Section<'_>, reader: &mut Reader, most: Option<FileGrant>) -> Option<FileGrant> {
    let key = section.key(FILES.name);
    match section.optional(reader, &FILES, "none") {
        Read::Absent => Some(FileGrant::None),
        Read::Wrong => None,
        Read::Found(found) => {
            let most = most?;
            if found.value <= most {
                return Some(found.value);
            }
            reader.mistake(Mistake {
                span: Some(found.span),
                message: format!(
                    "`{key}` is {}, and the worker itself has {}",
                    FILES.kind.show(&found.value),
                    FILES.kind.show(&most)
                ),
                label: "more than the worker has".to_owned(),
                help: format!(
                    "allowed: at most {}\nwrite: files = {:?}, or in [grants]: files = {:?}",
                    FILES.kind.show(&most),
                    FILES.kind.show(&most),
                    FILES.kind.show(&found.value)
                ),
            });
            None
        }
    }
}

fn caps(section: &mut Section<'_>, reader: &mut Reader, operator: &OperatorFile) -> ToolCaps {
    let (defaults, policy) = (ToolCaps::default(), &operator.policy);
    let mut cap = |key: &Key<Amount>, default: u64, most: Option<(u64, Ceiling)>| {
        let whole = section.key(key.name);
        match (section.if_written(reader, key), most) {
            (Read::Wrong, _) => default,
            (Read::Found(found), Some((most, ceiling))) if found.value > most => {
                let [asked, most] = [found.value, most].map(|amount| Shown::amount(&key.kind, amount));
                let span = Some(found.span);
                reader.mistake(Excess { key: &whole, span, asked, most, ceiling, instead: None }.mistake());
                default
            }
            (Read::Found(found), _) => found.value,
            (Read::Absent, most) => {
                let value = most.map_or(default, |(most, _)| default.min(most));
                let origin = if value < default { Origin::Operator } else { Origin::Default };
                reader.set(whole, key.kind.show(&value), origin);
                value
            }
        }
    };
    let time = || Some((policy.max_wall_ms, Ceiling { section: "policy", name: "max-wall" }));
    let memory = Some((policy.caps.memory_bytes, Ceiling { section: "policy.caps", name: "memory" }));
    ToolCaps {
        wall_ms: cap(&WALL, defaults.wall_ms, time()),
        cpu_ms: cap(&CPU, defaults.cpu_ms, time()),
        memory_bytes: cap(&MEMORY, defaults.memory_bytes, memory),
        output_bytes: cap(&OUTPUT, defaults.output_bytes, None),
        net_bytes: cap(&NET, defaults.net_bytes, None),
        disk_bytes: cap(&DISK, defaults.disk_bytes, None),
    }
}

/// The tools of a run of the past under its grants of today, which may be narrower.
///
/// # Errors
/// Every reason why not, a sentence each.
pub(super) fn again(
    tools: &mut BTreeMap<String, ToolSpec>,
    files: FileGrant,
    http: &[HttpGrant],
    operator: &OperatorFile,
) -> Vec<String> {
    let mut wrong = Vec::new();
    if tools.len() > MOST_TOOLBOXES {
        wrong.push(format!("there are {} toolboxes in the run, and at most {MOST_TOOLBOXES} may be", tools.len()));
    }
    for (name, tool) in tools {
        if let Err(problem) = NAME.check(name) {
            wrong.push(format!("tool {name:?} {problem}"));
        }
        if tool.files > files {
            wrong.push(format!("files of tool {name:?} are {:?} in the run, and {files:?} of its worker", tool.files));
        }
        for rule in &mut tool.http {
            let same = |grant: &&HttpGrant| {
                (grant.site(), &grant.path, &grant.methods) == (rule.site(), &rule.path, &rule.methods)
            };
            match http.iter().find(same) {
                // With the networks of today.
                Some(grant) => *rule = grant.clone(),
                None => wrong.push(format!("tool {name:?} has {rule}, which its worker does not have")),
            }
        }
        if let ToolSource::Server(server) = &tool.source
            && !operator.mcp.contains_key(server)
        {
            wrong
                .push(format!("tool {name:?} is of the MCP server {server:?}, which the operator does not have today"));
        }
        let caps = &tool.caps;
        let times = [caps.wall_ms, caps.cpu_ms].into_iter().any(|time| time > operator.policy.max_wall_ms);
        if times || caps.memory_bytes > operator.policy.caps.memory_bytes || caps.output_bytes > OUTPUT.kind.most {
            wrong.push(format!("a call of tool {name:?} may take more in the run than the operator allows today"));
        }
    }
    wrong
}
