//! `[attempts]`: how often an item is tried, how long it rests in between, and what of it counts for nothing.
//!
//! Never: a rest that nobody wrote, or one without an end. The longest rest is at least the first.

use super::amount::{Amount, Unit};
use super::kinds::{Choice, Kind};
use super::mistake::Mistake;
use super::reader::{Found, Key, Read, Reader, Section};
use crate::rules::spec::{Backoff, OnOverload, Origin};

/// The longest rest. What should wait for longer than a day belongs to whoever starts the runs.
const MOST_REST_MS: u64 = 24 * 3_600_000;
/// The longest rest of a job that says none.
const DEFAULT_MOST_REST_MS: u64 = 3_600_000;

/// Who needs more than 100 has a job that does not work.
const MAX: Key<Amount> = Key { name: "max", kind: Amount::new(Unit::Count, 1, 100), example: "3" };
const BACKOFF: Key<Amount> =
    Key { name: "backoff", kind: Amount::new(Unit::Duration, 0, MOST_REST_MS), example: "\"10s\"" };
const MAX_BACKOFF: Key<Amount> =
    Key { name: "max-backoff", kind: Amount::new(Unit::Duration, 0, MOST_REST_MS), example: "\"1h\"" };
const ON_OVERLOAD: Key<Choice<OnOverload>> = Key {
    name: "on-overload",
    kind: Choice(&[("defer", OnOverload::Defer), ("tell", OnOverload::Tell)]),
    example: "\"tell\"",
};

/// What a job says of the attempts of its item.
pub(super) struct Attempts {
    pub max: u32,
    pub backoff: Backoff,
    pub on_overload: OnOverload,
}

/// Reads `[attempts]`. `None`: it has a mistake.
pub(super) fn read(mut section: Section<'_>, reader: &mut Reader) -> Option<Attempts> {
    let max = section.required(reader, &MAX);
    let first = section.required(reader, &BACKOFF);
    let most = section.if_written(reader, &MAX_BACKOFF);
    let backoff = first.and_then(|first| backoff(&section, reader, &first, most));
    let on_overload = section.or_default(reader, &ON_OVERLOAD, OnOverload::default());
    section.finish(reader);
    let max = u32::try_from(max?.value).expect("the most attempts fit");
    Some(Attempts { max, backoff: backoff?, on_overload })
}

fn backoff(section: &Section<'_>, reader: &mut Reader, first: &Found<u64>, most: Read<u64>) -> Option<Backoff> {
    let first_ms = first.value;
    match most {
        Read::Wrong => None,
        Read::Absent => {
            let most_ms = DEFAULT_MOST_REST_MS.max(first_ms);
            reader.set(section.key(MAX_BACKOFF.name), MAX_BACKOFF.kind.show(&most_ms), Origin::Default);
            Some(Backoff { first_ms, most_ms })
        }
        Read::Found(most) => {
            if most.value < first_ms {
                let [asked, least] = [most.value, first_ms].map(|ms| MAX_BACKOFF.kind.show(&ms));
                let (name, written) = (MAX_BACKOFF.name, MAX_BACKOFF.kind.written(first_ms));
                reader.mistake(Mistake {
                    span: Some(most.span),
                    message: format!("`{}` is {asked}, and the first rest is {least}", section.key(name)),
                    label: format!("below `{}`", section.key(BACKOFF.name)),
                    help: format!("allowed: at least {least}\nwrite: {name} = {written}"),
                });
            }
            Some(Backoff { first_ms, most_ms: most.value })
        }
    }
}

/// What no job could say of the attempts of its item, a sentence each.
pub(super) fn wrong_of(max: u32, backoff: Backoff) -> Vec<String> {
    let Backoff { first_ms, most_ms } = backoff;
    let amounts = [(&MAX, u64::from(max)), (&BACKOFF, first_ms), (&MAX_BACKOFF, most_ms)];
    let outside = |(key, amount): (&Key<Amount>, u64)| key.kind.outside(&format!("attempts.{}", key.name), amount);
    let mut all: Vec<String> = amounts.into_iter().filter_map(outside).collect();
    if most_ms < first_ms {
        let [first, most] = [first_ms, most_ms].map(|ms| MAX_BACKOFF.kind.show(&ms));
        all.push(format!("attempts.max-backoff is {most} in the run, and attempts.backoff {first}"));
    }
    all
}
