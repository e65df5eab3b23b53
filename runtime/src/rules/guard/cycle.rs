//! The calls that are remembered, and the cycles among the latest.
//!
//! A cycle of the same calls is told at its `repeats`-th time. Calls that are only alike are told when, of the latest, each came
//! to the same as the one before that asked the same, in whatever order, as often as `repeats` cycles of them would have it.
//! Never: knows what a call was. Invariant here: what is kept is bounded, in number and each by itself.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::super::spec::Guards;
use super::alike::{Halves, Likeness, Part};
use super::shown;

/// The longest cycle that is looked for, in calls.
pub(super) const MAX_PERIOD: usize = 40;

/// Calls that are only alike count as a cycle of so many at least: honest work looks like that for a while.
pub(super) const MIN_LIKE_PERIOD: usize = 10;

/// Names of calls in one fact.
const MAX_NAMED: usize = 8;

/// The latest calls, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Calls(VecDeque<Call>);

/// A call and its result, as numbers, and whether it is one that is made again and again on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Call {
    exact: u64,
    timeless: Halves,
    wordless: Halves,
    /// Stands for all calls that are like this one.
    kind: u64,
    name: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    polls: bool,
    /// It came to the same as the one before that asked the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    again: bool,
    /// What it differs in from that one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    ignored: String,
}

impl Calls {
    /// Whether none is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Remembers one, and says whether the latest go round in a cycle.
    pub(super) fn push(&mut self, name: &str, likeness: Likeness, guards: &Guards) -> Option<String> {
        remember(&mut self.0, name, likeness, guards);
        same_again(&self.0, guards).or_else(|| alike_again(&self.0, guards))
    }
}

fn remember(calls: &mut VecDeque<Call>, name: &str, likeness: Likeness, guards: &Guards) {
    let Likeness { exact, timeless, wordless } = likeness;
    let before = |halves: fn(&Call) -> Halves, part: &Part| {
        let latest = calls.iter().rev().find(|call| halves(call).asked == part.halves.asked)?;
        let ignored = if latest.exact == exact { "" } else { part.ignored.as_str() };
        (halves(latest) == part.halves).then(|| (latest.kind, ignored.to_owned()))
    };
    let known = before(|call| call.timeless, &timeless).or_else(|| before(|call| call.wordless, &wordless));
    let again = known.is_some();
    let (kind, ignored) = known.unwrap_or((exact, String::new()));
    let (name, polls) = (shown(name), guards.pollers.contains(name));
    let (timeless, wordless) = (timeless.halves, wordless.halves);
    calls.push_back(Call { exact, timeless, wordless, kind, name, polls, again, ignored });
    // Each kind for itself: a poller that asks a hundred times must not hide what goes on beside it.
    let of_its_kind = |calls: &VecDeque<Call>| calls.iter().filter(|call| call.polls == polls).count();
    while of_its_kind(calls) > MAX_PERIOD * guards.repeats as usize {
        let oldest = calls.iter().position(|call| call.polls == polls);
        oldest.and_then(|oldest| calls.remove(oldest));
    }
}

/// Whether the latest calls are so many repetitions of the latest `period`.
fn repeats_at_the_end(calls: &VecDeque<Call>, period: usize, times: usize) -> bool {
    let Some(start) = calls.len().checked_sub(period * times) else { return false };
    (start + period..calls.len()).all(|place| calls[place].exact == calls[place - period].exact)
}

/// The latest calls are a cycle of the same ones.
fn same_again(calls: &VecDeque<Call>, guards: &Guards) -> Option<String> {
    let repeats = guards.repeats as usize;
    let period = (1..=MAX_PERIOD).find(|&period| repeats_at_the_end(calls, period, repeats))?;
    let cycle: Vec<&Call> = calls.range(calls.len() - period..).collect();
    if cycle.iter().all(|call| call.polls) {
        return None;
    }
    let times = (repeats..).take_while(|&times| repeats_at_the_end(calls, period, times)).last().unwrap_or(repeats);
    Some(match period {
        1 => format!("same call, same result, {times} times: {}", names(&cycle)),
        _ => format!("same {period} calls, same results, {times} times: {}", names(&cycle)),
    })
}

/// Each of the latest calls is like one before, in whatever order, and they would fill `repeats` cycles.
fn alike_again(calls: &VecDeque<Call>, guards: &Guards) -> Option<String> {
    let again: Vec<&Call> = calls.iter().rev().filter(|call| !call.polls).take_while(|call| call.again).collect();
    let mut different = BTreeSet::new();
    let cycle: Vec<&Call> = again.iter().copied().filter(|call| different.insert(call.kind)).collect();
    // The first of each is not among them.
    let seen = again.len() + cycle.len();
    if seen < guards.repeats as usize * cycle.len().max(MIN_LIKE_PERIOD) {
        return None;
    }
    let ignored: BTreeSet<&str> =
        again.iter().flat_map(|call| call.ignored.split(", ")).filter(|it| !it.is_empty()).collect();
    let ignored = match ignored.is_empty() {
        true => String::new(),
        false => format!("; ignored: {}", ignored.into_iter().take(MAX_NAMED).collect::<Vec<_>>().join(", ")),
    };
    let cycle: Vec<&Call> = cycle.into_iter().rev().collect();
    Some(match cycle.len() {
        1 => format!("same call, same result, {seen} times: {}{ignored}", names(&cycle)),
        period => format!("same {period} calls, same results, in {seen} calls: {}{ignored}", names(&cycle)),
    })
}

fn names(calls: &[&Call]) -> String {
    let named: Vec<String> = calls.iter().take(MAX_NAMED).map(|call| shown(&call.name)).collect();
    match calls.len().saturating_sub(MAX_NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
