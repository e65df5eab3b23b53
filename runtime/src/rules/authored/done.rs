//! `[done]` and `[[check]]`: what counts as finished, and who looks.
//!
//! Never: a default for what is done. A check that is written and not listed would never run, so it is a mistake.

use std::collections::BTreeSet;
use std::ops::Range;

use super::amount::{Amount, Unit};
use super::ceiling::{Ceiling, Excess, Shown};
use super::kinds::{Characters, Choice, HostPath, List, Name, Repeats, TreePath, Whole};
use super::limit::MOST_MS;
use super::mistake::{Mistake, nearest};
use super::operator::{COMMAND, Policy};
use super::pin;
use super::reader::{Found, Key, Read, Reader, Section};
use crate::rules::pin::Pin;
use crate::rules::spec::{Check, CheckRun, ComponentSource, Done, FileGrant, MarkKind, NoChange, Origin};
use crate::rules::verdict::HOST_GATES;

/// What an item or a check may be called.
pub(super) const NAME: Name = Name { characters: Characters::Mixed, most: 128 };

/// Checks of a job. Each is a process or a component of its own.
const MOST_CHECKS: usize = 64;

const MARKS: Key<List<Choice<MarkKind>>> = Key {
    name: "marks",
    kind: List {
        of: Choice(&[("tree", MarkKind::Tree), ("artifact", MarkKind::Artifact), ("checks", MarkKind::Checks)]),
        least: 1,
        most: 3,
        repeats: Repeats::Refused,
    },
    example: "[\"tree\"]",
};
const TREE: Key<List<TreePath>> = Key {
    name: "tree",
    kind: List { of: TreePath { whole: Whole::Allowed }, least: 1, most: 1_024, repeats: Repeats::Refused },
    example: "[\"src\"]",
};
const IGNORE: Key<List<TreePath>> = Key {
    name: "ignore",
    kind: List { of: TreePath { whole: Whole::Refused }, least: 0, most: 1_024, repeats: Repeats::Refused },
    example: "[\"target\"]",
};
const NO_CHANGE: Key<Choice<NoChange>> = Key {
    name: "no-change",
    kind: Choice(&[("allowed", NoChange::Allowed), ("refused", NoChange::Refused)]),
    example: "\"refused\"",
};
const CHECKS: Key<List<Name>> = Key {
    name: "checks",
    kind: List { of: NAME, least: 0, most: MOST_CHECKS, repeats: Repeats::Refused },
    example: "[\"tests\"]",
};
const CHECK_NAME: Key<Name> = Key { name: "name", kind: NAME, example: "\"tests\"" };
const CHECK_WALL: Key<Amount> = Key { name: "wall", kind: Amount::new(Unit::Duration, 1, MOST_MS), example: "\"20s\"" };
pub(super) const CRATE: Key<HostPath> = Key { name: "crate", kind: HostPath, example: "\".\"" };
pub(super) const COMPONENT: Key<HostPath> = Key { name: "component", kind: HostPath, example: "\"worker.wasm\"" };
const COMMAND_KEY: Key<List<super::kinds::Text>> =
    Key { name: "command", kind: COMMAND, example: "[\"cargo\", \"test\"]" };

/// What a job says of its end, with the places that [`Listed::against`] needs.
pub(super) struct Listed {
    done: Option<Done>,
    /// `None`: the list has a mistake.
    checks: Option<Vec<(String, Range<usize>)>>,
    /// Where the mark "checks" stands.
    checks_mark: Option<Range<usize>>,
}

/// A check that was read, or only its name.
pub(super) struct Written {
    name: Option<Found<String>>,
    check: Option<Check>,
}

/// Reads `[done]`. `files` is the job's grant, if it is known.
pub(super) fn read(mut section: Section<'_>, reader: &mut Reader, files: Option<FileGrant>) -> Listed {
    let marks = section.required(reader, &MARKS);
    let kinds: Option<BTreeSet<MarkKind>> = marks.as_ref().map(|it| it.value.iter().map(|(kind, _)| *kind).collect());
    let place = |kind: MarkKind| marks.iter().flat_map(|it| &it.value).find(|it| it.0 == kind).map(|it| it.1.clone());
    let tree = section.optional(reader, &TREE, "[]");
    if let Some(kinds) = &kinds {
        let mark = place(MarkKind::Tree);
        match (&tree, kinds.contains(&MarkKind::Tree)) {
            // What a check looks at may be in the tree.
            (Read::Found(_), false) if kinds.contains(&MarkKind::Checks) => {}
            (Read::Absent, true) => {
                let missing = section.missing(&TREE);
                let label = "a tree mark needs its paths".to_owned();
                reader.mistake(Mistake { span: mark.clone(), label, ..missing });
            }
            (Read::Found(found), false) => reader.mistake(Mistake {
                span: Some(found.span.clone()),
                message: "`done.tree` is given, but a tree is no mark of this job".to_owned(),
                label: "nothing looks at it".to_owned(),
                help: "allowed: `tree` together with the mark \"tree\" or \"checks\"\nwrite: marks = [\"tree\"]"
                    .to_owned(),
            }),
            (Read::Absent | Read::Wrong | Read::Found(_), _) => {}
        }
        if let (Some(mark), Some(FileGrant::None | FileGrant::ReadOnly)) = (mark, files) {
            reader.mistake(Mistake {
                span: Some(mark),
                message: "`done.marks` has \"tree\", but the worker may not write files".to_owned(),
                label: "can never be earned".to_owned(),
                help: "allowed: \"tree\" with files = \"read-write\"\nwrite in [grants]: files = \"read-write\""
                    .to_owned(),
            });
        }
    }
    let paths = |list: Vec<(String, Range<usize>)>| list.into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    let ignore = paths(section.or_default(reader, &IGNORE, Vec::new()));
    let no_change = section.or_default(reader, &NO_CHANGE, NoChange::Refused);
    let checks = match section.optional(reader, &CHECKS, "[]") {
        Read::Absent => Some(Vec::new()),
        Read::Wrong => None,
        Read::Found(found) => Some(found.value),
    };
    section.finish(reader);
    let names = checks.clone().map(paths);
    let tree = tree.found().map(|found| paths(found.value)).unwrap_or_default();
    let done = kinds.zip(names).map(|(marks, checks)| Done { marks, tree, ignore, no_change, checks });
    Listed { done, checks, checks_mark: place(MarkKind::Checks) }
}

/// Reads every `[[check]]`.
pub(super) fn checks(file: &mut Section<'_>, reader: &mut Reader, policy: &Policy) -> Vec<Written> {
    let sections = file.sections(reader, "check");
    sections.into_iter().map(|section| check(section, reader, policy)).collect()
}

fn check(mut section: Section<'_>, reader: &mut Reader, policy: &Policy) -> Written {
    let read = section.read(reader, &CHECK_NAME);
    if let Read::Absent = read {
        reader.mistake(section.missing(&CHECK_NAME));
    }
    let name = read.found();
    if let Some(name) = &name {
        section.rename(format!("check.{}", name.value));
        if HOST_GATES.contains(&name.value.as_str()) {
            reader.mistake(Mistake {
                span: Some(name.span.clone()),
                message: format!("a check cannot be named `{}`", name.value),
                label: "the host rejects under this name itself".to_owned(),
                help: format!("allowed: any name but {}\nwrite: name = \"tests\"", HOST_GATES.join(", ")),
            });
        }
    }
    let choices = vec![
        (CRATE.name, section.read(reader, &CRATE).map(|path| CheckRun::Component(ComponentSource::Crate(path)))),
        (COMPONENT.name, section.read(reader, &COMPONENT).map(|path| CheckRun::Component(ComponentSource::File(path)))),
        (COMMAND_KEY.name, command(&mut section, reader, policy)),
    ];
    let run = section.only(reader, choices, "crate = \"check\"");
    if let Some(run) = &run {
        let (key, shown) = match run {
            CheckRun::Component(ComponentSource::Crate(path)) => (CRATE.name, path.display().to_string()),
            CheckRun::Component(ComponentSource::File(path)) => (COMPONENT.name, path.display().to_string()),
            CheckRun::Command(words) => (COMMAND_KEY.name, format!("{words:?}")),
        };
        reader.set(section.key(key), shown, Origin::Job);
    }
    let pin = match &run {
        Some(CheckRun::Component(source)) => pin::read(&mut section, reader, Some(source), policy),
        None => pin::read(&mut section, reader, None, policy),
        Some(CheckRun::Command(_)) => {
            pin::refuse(&mut section, reader);
            Pin::default()
        }
    };
    let wall = section.required(reader, &CHECK_WALL);
    if let Some(wall) = &wall {
        within_max_wall(reader, policy, &section.key(CHECK_WALL.name), wall);
    }
    section.finish(reader);
    let check =
        move |name: &Found<String>| Some(Check { name: name.value.clone(), run: run?, pin, wall_ms: wall?.value });
    let check = name.as_ref().and_then(check);
    Written { name, check }
}

fn command(section: &mut Section<'_>, reader: &mut Reader, policy: &Policy) -> Read<CheckRun> {
    let read = section.read(reader, &COMMAND_KEY).map(|words| words.into_iter().map(|(word, _)| word).collect());
    let Read::Found(Found { value, span }) = read else { return read.map(CheckRun::Command) };
    let words: Vec<String> = value;
    if policy.commands.contains(&words) {
        return Read::Found(Found { value: CheckRun::Command(words), span });
    }
    let approved: Vec<String> = policy.commands.iter().map(|words| format!("{words:?}")).collect();
    let approved = if approved.is_empty() { "none".to_owned() } else { approved.join(", ") };
    reader.mistake(Mistake {
        span: Some(span),
        message: format!("`{}` is not approved by the operator", section.key(COMMAND_KEY.name)),
        label: "not in the operator's `policy.commands`".to_owned(),
        help: format!("allowed: {approved}\nwrite in [policy] of the operator's file: commands = [{words:?}]"),
    });
    Read::Wrong
}

/// Reports a wall time above the operator's ceiling.
fn within_max_wall(reader: &mut Reader, policy: &Policy, key: &str, wall: &Found<u64>) {
    if wall.value > policy.max_wall_ms {
        let [asked, most] = [wall.value, policy.max_wall_ms].map(|ms| Shown::amount(&CHECK_WALL.kind, ms));
        let (span, ceiling) = (Some(wall.span.clone()), Ceiling { section: "policy", name: "max-wall" });
        reader.mistake(Excess { key, span, asked, most, ceiling, instead: None }.mistake());
    }
}

impl Listed {
    /// Matches the list with what is written, both ways. Returns the checks in the order of the list.
    pub(super) fn against(self, reader: &mut Reader, written: Vec<Written>) -> (Option<Done>, Vec<Check>) {
        let names: Vec<&Found<String>> = written.iter().filter_map(|it| it.name.as_ref()).collect();
        for (position, name) in names.iter().enumerate() {
            if names[..position].iter().any(|other| other.value == name.value) {
                reader.mistake(Mistake {
                    span: Some(name.span.clone()),
                    message: format!("two checks are named `{}`", name.value),
                    label: "the second one".to_owned(),
                    help: "allowed: each name once\nwrite: another name, and list it in `done.checks`".to_owned(),
                });
            }
        }
        if let (Some(mark), Some([]), []) = (self.checks_mark, self.checks.as_deref(), written.as_slice()) {
            reader.mistake(Mistake {
                span: Some(mark),
                message: "`done.marks` has \"checks\", but the job has no checks".to_owned(),
                label: "can never be earned".to_owned(),
                help: "allowed: \"checks\" with at least one check\nwrite in [done]: checks = [\"tests\"], and:\n\
                       [[check]]\nname = \"tests\"\ncrate = \"check\"\nwall = \"20s\""
                    .to_owned(),
            });
        }
        if let Some(listed) = &self.checks {
            self::compare(reader, listed, &names, written.len());
        }
        let order = self.checks.unwrap_or_default();
        let position = |name: &str| order.iter().position(|(listed, _)| listed == name);
        let mut checks: Vec<Check> = written.into_iter().filter_map(|it| it.check).collect();
        checks.sort_by_key(|check| position(&check.name));
        (self.done, checks)
    }
}

fn compare(reader: &mut Reader, listed: &[(String, Range<usize>)], names: &[&Found<String>], written: usize) {
    // A check whose name has a mistake could be any of those that are missed.
    let all_named = names.len() == written;
    for (name, span) in listed.iter().filter(|(name, _)| all_named && names.iter().all(|it| it.value != *name)) {
        let meant = nearest(name, names.iter().map(|it| it.value.as_str()));
        let known: Vec<&str> = names.iter().map(|it| it.value.as_str()).collect();
        let known = if known.is_empty() { "none is written".to_owned() } else { known.join(", ") };
        reader.mistake(Mistake {
            span: Some(span.clone()),
            message: format!("`done.checks` lists `{name}`, which is not written"),
            label: meant.map_or("no [[check]] of this name".to_owned(), |meant| format!("did you mean `{meant}`?")),
            help: format!("allowed: {known}\nwrite:\n[[check]]\nname = {name:?}\ncrate = \"check\"\nwall = \"20s\""),
        });
    }
    for name in names.iter().filter(|name| listed.iter().all(|(listed, _)| *listed != name.value)) {
        let mut all: Vec<&str> = listed.iter().map(|(listed, _)| listed.as_str()).collect();
        all.push(&name.value);
        reader.mistake(Mistake {
            span: Some(name.span.clone()),
            message: format!("the check `{}` is not listed in `done.checks`", name.value),
            label: "would never run".to_owned(),
            help: format!("allowed: every check is listed\nwrite in [done]: checks = {all:?}"),
        });
    }
}
