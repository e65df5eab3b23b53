//! `[[hook]]`: what the operator has done before a run, after it, and when somebody pulls.
//!
//! Never: reads a variable, passes on one that is not named, notes what may be a key: of a command and an address only
//! the head becomes a setting, because settings are kept with every run.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::amount::{Amount, Unit};
use super::kinds::{Characters, Choice, Kind, List, Name, Repeats, Text, Wrong, wrong};
use super::mistake::Mistake;
use super::operator::{COMMAND, OperatorFile};
use super::provider::check_address;
use super::reader::{Key, Read, Reader, Section};
use super::shared;
use crate::rules::hook::{Hook, HookRun, Moment, OWN_VARIABLES};
use crate::rules::spec::{Origin, Setting};

/// A hook and its settings. With a mistake in it there is none.
pub(super) type Noted = (Option<Hook>, Vec<Setting>);

/// Hooks of a host. They run one after the other, and a run waits for them.
const MOST_HOOKS: usize = 32;
/// The longest that one hook may be given: 10 minutes. A run waits that long, and so may its item's next attempt.
const MOST_WALL_MS: u64 = 600_000;
/// Names of variables of one hook, and lines of one.
const MOST_NAMES: usize = 64;
const MOST_LINES: usize = 1_024;

const ON: Key<Choice<Moment>> = Key {
    name: "on",
    kind: Choice(&[
        (Moment::BeforeRun.name(), Moment::BeforeRun),
        (Moment::AfterRun.name(), Moment::AfterRun),
        (Moment::OnPull.name(), Moment::OnPull),
    ]),
    example: "\"after-run\"",
};
const COMMAND_KEY: Key<List<Text>> = Key { name: "command", kind: COMMAND, example: "[\"/usr/bin/notify\"]" };
const URL: Key<Address> = Key { name: "url", kind: Address, example: "\"https://host/path\"" };
const WALL: Key<Amount> = Key { name: "wall", kind: Amount::new(Unit::Duration, 1, MOST_WALL_MS), example: "\"10s\"" };
const ENV: Key<List<Name>> = Key {
    name: "env",
    kind: List {
        of: Name { characters: Characters::Variable, most: 128 },
        least: 0,
        most: MOST_NAMES,
        repeats: Repeats::Refused,
    },
    example: "[\"PATH\"]",
};
const LINES: Key<List<Name>> = Key {
    name: "lines",
    kind: List { of: shared::NAME, least: 1, most: MOST_LINES, repeats: Repeats::Refused },
    example: "[\"pages\"]",
};

/// Reads every `[[hook]]`, in the order of the file.
pub(super) fn read(file: &mut Section<'_>, reader: &mut Reader) -> Vec<Noted> {
    let sections = file.sections(reader, "hook");
    if let Some(over) = sections.get(MOST_HOOKS) {
        reader.mistake(Mistake {
            span: Some(over.place()),
            message: format!("there are {} hooks of at most {MOST_HOOKS}", sections.len()),
            label: "one too many".to_owned(),
            help: format!("allowed: at most {MOST_HOOKS} [[hook]]\nwrite: one command that does what several did"),
        });
    }
    sections.into_iter().map(|section| reader.apart(|reader| hook(section, reader))).collect()
}

fn hook(mut section: Section<'_>, reader: &mut Reader) -> Option<Hook> {
    let on = section.required(reader, &ON);
    let words = section.read(reader, &COMMAND_KEY);
    let program = match &words {
        Read::Absent | Read::Wrong => None,
        Read::Found(words) => words.value.first().cloned(),
    };
    let choices = vec![
        (COMMAND_KEY.name, words.map(|words| HookRun::Command(words.into_iter().map(|(word, _)| word).collect()))),
        (URL.name, section.read(reader, &URL).map(HookRun::Webhook)),
    ];
    let run = section.only(reader, choices, "command = [\"/usr/bin/notify\"]");
    if let Some(run) = &run {
        let (key, shown) = match run {
            HookRun::Command(words) if words.len() > 1 => {
                (COMMAND_KEY.name, format!("\"{}\" and {} more words", run.head(), words.len() - 1))
            }
            HookRun::Command(_) => (COMMAND_KEY.name, format!("\"{}\"", run.head())),
            HookRun::Webhook(_) => (URL.name, run.head()),
        };
        reader.set(section.key(key), shown, Origin::Operator);
    }
    let wall = section.required(reader, &WALL);
    let env = match &run {
        Some(HookRun::Webhook(_)) => no_environment(&mut section, reader),
        Some(HookRun::Command(_)) | None => environment(&mut section, reader, program),
    };
    let lines = section.optional(reader, &LINES, "all").found();
    section.finish(reader);
    Some(Hook {
        on: on?.value,
        run: run?,
        wall_ms: wall?.value,
        env: env?,
        lines: lines.map(|lines| lines.value.into_iter().map(|(line, _)| line).collect()),
    })
}

/// What a command gets of the operator's environment. `None`: it has a mistake.
fn environment(
    section: &mut Section<'_>,
    reader: &mut Reader,
    program: Option<(String, Range<usize>)>,
) -> Option<BTreeSet<String>> {
    let names = match section.optional(reader, &ENV, "[]") {
        Read::Absent => Vec::new(),
        Read::Wrong => return None,
        Read::Found(found) => found.value,
    };
    for (name, span) in names.iter().filter(|(name, _)| OWN_VARIABLES.contains(&name.as_str())) {
        reader.mistake(Mistake {
            span: Some(span.clone()),
            message: format!("`{}` has {name}, which the host sets", section.key(ENV.name)),
            label: "every hook has it".to_owned(),
            help: format!("allowed: any but {}\nwrite: the others, without it", OWN_VARIABLES.join(", ")),
        });
    }
    let names: BTreeSet<String> = names.into_iter().map(|(name, _)| name).collect();
    if let Some((word, span)) = program {
        let problem = match (word.starts_with('/'), word.contains('/'), names.contains("PATH")) {
            (true, _, _) | (false, false, true) => None,
            (false, true, _) => Some("is a path from nowhere: a hook has no directory of its own"),
            (false, false, false) => Some("is found by nothing: PATH is not among its variables"),
        };
        if let Some(problem) = problem {
            reader.mistake(Mistake {
                span: Some(span),
                message: format!("the program {word:?} of `{}` {problem}", section.key(COMMAND_KEY.name)),
                label: "not an absolute path".to_owned(),
                help: "allowed: an absolute path, or a name without / together with PATH\n\
                       write: command = [\"/usr/bin/notify\"], or env = [\"PATH\"] beside it"
                    .to_owned(),
            });
        }
    }
    Some(names)
}

/// A webhook runs nothing that could have variables.
fn no_environment(section: &mut Section<'_>, reader: &mut Reader) -> Option<BTreeSet<String>> {
    let Some(span) = section.misplaced(ENV.name) else { return Some(BTreeSet::new()) };
    reader.mistake(Mistake {
        span: Some(span),
        message: format!("`{}` is given, but a url has no environment", section.key(ENV.name)),
        label: "nothing gets it".to_owned(),
        help: "allowed: `env` together with `command`\nwrite: nothing; delete this key".to_owned(),
    });
    None
}

/// The address of a webhook.
struct Address;

impl Kind for Address {
    type Value = String;

    fn allowed(&self) -> String {
        "https://host/path, or http:// for this machine, without user or fragment".to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<String, Vec<Wrong>> {
        let text = Text { least: 1, most: 2_048 }.read(value)?;
        match check_address(&text) {
            Ok(()) => Ok(text),
            Err(problem) => wrong(value, problem, "not an address for a hook"),
        }
    }

    fn show(&self, value: &String) -> String {
        HookRun::Webhook(value.clone()).head()
    }
}

/// What a job's explanation shows: the hooks that are for its line.
pub(super) fn settings(operator: &OperatorFile, line: &str) -> Vec<Setting> {
    let all = operator.hooks.iter().zip(&operator.hook_settings);
    all.filter(|(hook, _)| hook.is_of(line)).flat_map(|(_, settings)| settings.iter().cloned()).collect()
}
