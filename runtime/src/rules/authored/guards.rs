//! `[guards]`: when the host takes a worker for one that goes nowhere.
//!
//! Never: switches a guard off, whatever somebody writes for that. A cluster is not of more items than it looks at runs.

use toml::Spanned;
use toml::de::DeValue;

use super::amount::{Amount, Unit};
use super::kinds::{Characters, Kind, List, Name, Repeats, Wrong, wrong};
use super::limit::is_endless;
use super::mistake::Mistake;
use super::reader::{Key, Read, Reader, Section};
use crate::rules::spec::{Guards, Origin};

const REPEATS: Key<Always> = Key { name: "repeats", kind: Always::count(Guards::REPEATS), example: "3" };
const FAILURES: Key<Always> = Key { name: "failures", kind: Always::count(Guards::FAILURES), example: "5" };
const DEGENERATE: Key<Always> = Key { name: "degenerate", kind: Always::count(Guards::DEGENERATE), example: "3" };
const STRIKES: Key<Always> = Key { name: "strikes", kind: Always::count(Guards::STRIKES), example: "3" };
const STALL: Key<Always> = Key {
    name: "stall",
    kind: Always(Amount::new(Unit::Duration, Guards::STALL_MS.0, Guards::STALL_MS.1)),
    example: "\"5m\"",
};
/// More tools than a worker has that waits for something. Each call is compared with all of them.
const MOST_POLLERS: usize = 64;
/// What a tool may be called.
const TOOL: Name = Name { characters: Characters::Mixed, most: 128 };
const POLLERS: Key<List<Name>> = Key {
    name: "pollers",
    kind: List { of: TOOL, least: 0, most: MOST_POLLERS, repeats: Repeats::Refused },
    example: "[\"job_status\"]",
};
const CLUSTER_ITEMS: Key<Always> =
    Key { name: "cluster-items", kind: Always::count(Guards::CLUSTER_ITEMS), example: "3" };
const CLUSTER_RUNS: Key<Always> =
    Key { name: "cluster-runs", kind: Always::count(Guards::CLUSTER_RUNS), example: "20" };

/// The amount at which a guard speaks. There is none at which it does not.
struct Always(Amount);

impl Always {
    const fn count((least, most): (u32, u32)) -> Self {
        Self(Amount::new(Unit::Count, least as u64, most as u64))
    }
}

impl Kind for Always {
    type Value = u64;

    fn allowed(&self) -> String {
        format!("{}; no guard can be switched off", self.0.allowed())
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<u64, Vec<Wrong>> {
        if is_endless(value.get_ref()) || value.get_ref().as_bool() == Some(false) {
            return wrong(value, "cannot be switched off", "always on");
        }
        self.0.read(value)
    }

    fn show(&self, value: &u64) -> String {
        self.0.show(value)
    }
}

/// Reads `[guards]`.
pub(super) fn read(mut section: Section<'_>, reader: &mut Reader) -> Guards {
    let defaults = Guards::default();
    let mut count = |key, default: u32| narrow(section.or_default(reader, key, default.into()));
    let repeats = count(&REPEATS, defaults.repeats);
    let failures = count(&FAILURES, defaults.failures);
    let degenerate = count(&DEGENERATE, defaults.degenerate);
    let strikes = count(&STRIKES, defaults.strikes);
    let stall_ms = section.or_default(reader, &STALL, defaults.stall_ms);
    let pollers = section.or_default(reader, &POLLERS, Vec::new()).into_iter().map(|(name, _)| name).collect();
    let (cluster_items, cluster_runs) = cluster(&mut section, reader, &defaults);
    section.finish(reader);
    Guards { repeats, failures, degenerate, strikes, stall_ms, pollers, cluster_items, cluster_runs }
}

/// How many items of how many runs.
fn cluster(section: &mut Section<'_>, reader: &mut Reader, defaults: &Guards) -> (u32, u32) {
    let default = defaults.cluster_items.into();
    let read = section.optional(reader, &CLUSTER_ITEMS, &CLUSTER_ITEMS.kind.show(&default));
    let known = !matches!(read, Read::Wrong);
    let items = read.found().map_or(default, |found| found.value);
    let name = CLUSTER_RUNS.name;
    let runs = match section.if_written(reader, &CLUSTER_RUNS) {
        Read::Wrong => items,
        Read::Absent => {
            let runs = items.max(defaults.cluster_runs.into());
            reader.set(section.key(name), CLUSTER_RUNS.kind.show(&runs), Origin::Default);
            runs
        }
        Read::Found(found) => {
            if known && found.value < items {
                reader.mistake(Mistake {
                    span: Some(found.span),
                    message: format!(
                        "`{}` is {}, and `{}` is {items}",
                        section.key(name),
                        found.value,
                        section.key(CLUSTER_ITEMS.name)
                    ),
                    label: "so many items are not in so few runs".to_owned(),
                    help: format!("allowed: from {items} to {}\nwrite: {name} = {items}", CLUSTER_RUNS.kind.0.most),
                });
            }
            found.value
        }
    };
    (narrow(items), narrow(runs))
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).expect("the most of a guard fits")
}

/// What no job could say of its guards, a sentence each.
pub(super) fn wrong_of(guards: &Guards) -> Vec<String> {
    let Guards { repeats, failures, degenerate, strikes, stall_ms, pollers, cluster_items, cluster_runs } = guards;
    let amounts = [
        (&REPEATS, u64::from(*repeats)),
        (&FAILURES, u64::from(*failures)),
        (&DEGENERATE, u64::from(*degenerate)),
        (&STRIKES, u64::from(*strikes)),
        (&STALL, *stall_ms),
        (&CLUSTER_ITEMS, u64::from(*cluster_items)),
        (&CLUSTER_RUNS, u64::from(*cluster_runs)),
    ];
    let outside = |(key, amount): (&Key<Always>, u64)| key.kind.0.outside(&format!("guards.{}", key.name), amount);
    let mut all: Vec<String> = amounts.into_iter().filter_map(outside).collect();
    if cluster_runs < cluster_items {
        all.push(format!("guards.cluster-runs is {cluster_runs} in the run, and guards.cluster-items {cluster_items}"));
    }
    if pollers.len() > MOST_POLLERS {
        all.push(format!("guards.pollers are {} in the run, and at most {MOST_POLLERS} may be", pollers.len()));
    }
    // A stranger's name may be of any length.
    let start = |name: &str| name.chars().take(TOOL.most).collect::<String>();
    let nameless = |name: &String| Some(format!("guards.pollers: {:?} {}", start(name), TOOL.check(name).err()?));
    all.extend(pollers.iter().take(MOST_POLLERS).filter_map(nameless));
    all
}
