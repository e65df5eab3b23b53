//! What a run did, a line for each effect: what, tokens, money, time, how long it waited, how it ended.
//!
//! Never: decides. Everything on a line is in the entries' facts, so a run whose contents are erased has its trace too.

use std::collections::BTreeMap;

use crate::rules::effect::{Body, Effect, Kind, OutcomeName};
use crate::rules::facts::{Facts, How};
use crate::rules::ledger::{Amounts, Line};
use crate::rules::trap;
use crate::rules::units;
use crate::rules::verdict::CheckEnd;
use crate::run::past::{Flaw, KeptEntry, story};

use super::screen::{plain, plain_long};
use super::table::{Side, Table};

/// The lines of a run's trace.
///
/// # Errors
/// [`Flaw`]: a content cannot be read.
pub(super) fn lines(entries: &[KeptEntry]) -> Result<Vec<String>, Flaw> {
    let right = |name| (name, Side::Right);
    let mut table = Table::new([
        right("entry"),
        ("what", Side::Left),
        right("in"),
        right("out"),
        right("usd"),
        right("took"),
        right("waited"),
        ("how", Side::Left),
    ])
    .missing(&["waited", "in", "out", "took"]);
    let stands: std::collections::BTreeSet<u64> = story(entries.to_vec()).iter().map(|entry| entry.seq).collect();
    let mut asked: BTreeMap<(u64, Kind), (u64, String)> = BTreeMap::new();
    let mut total = Amounts::default();
    for entry in entries {
        let body = entry.entry()?.map(|entry| entry.body);
        let is_void = !stands.contains(&entry.seq) && !matches!(entry.facts, Facts::Resumed { .. });
        let mut row = |what: String, amounts: &Amounts, times: Option<(u64, u64)>, how: String| {
            let count = |line| match amounts.get(line) {
                0 => String::new(),
                amount => amount.to_string(),
            };
            let usd = match amounts.get(Line::MicroUsd) {
                0 => String::new(),
                micro_usd => units::show_usd(micro_usd),
            };
            let took = times.map_or_else(String::new, |(took, _)| units::show_duration(took));
            let waited = times.filter(|(_, waited)| *waited > 0);
            let waited = waited.map_or_else(String::new, |(_, waited)| units::show_duration(waited));
            let how = if is_void { format!("{how} (void)") } else { how };
            let (tokens_in, tokens_out) = (count(Line::TokensIn), count(Line::TokensOut));
            table.row([entry.seq.to_string(), what, tokens_in, tokens_out, usd, took, waited, how]);
        };
        let nothing = Amounts::default();
        match &entry.facts {
            Facts::Intent { call, kind, attempt, .. } => {
                let mut what = what(*kind, body.as_ref());
                if *attempt > 1 {
                    what = format!("{what} (again, attempt {attempt})");
                }
                asked.insert((*call, *kind), (entry.seq, what));
            }
            Facts::Answered { call, kind, how, cost, .. } => {
                let what = asked.remove(&(*call, *kind)).map_or_else(|| kind.name().to_owned(), |(_, what)| what);
                let amounts = cost.spent.plus(&cost.held);
                total = total.plus(&amounts);
                let doubt = if cost.held.is_nothing() { "" } else { ", held" };
                let how = match (how, &body) {
                    (How::Done, _) => format!("done{doubt}"),
                    (How::Failed | How::Refused, Some(Body::Answered { heard: Err(denied), .. })) => {
                        format!("{}{doubt}", plain_long(&super::screen::denied(denied)))
                    }
                    (How::Failed, _) => format!("failed{doubt}"),
                    (How::Refused, _) => format!("refused{doubt}"),
                };
                row(what, &amounts, Some((cost.took_ms, cost.waited_ms)), how);
            }
            Facts::Retried { call, wait_ms, cost, .. } => {
                let what = asked.get(&(*call, Kind::Model)).map_or("model", |(_, what)| what).to_owned();
                let amounts = cost.spent.plus(&cost.held);
                total = total.plus(&amounts);
                let doubt = if cost.held.is_nothing() { "" } else { ", held" };
                row(
                    what,
                    &amounts,
                    Some((cost.took_ms, cost.waited_ms)),
                    format!("{}{doubt}", retried(*wait_ms, body.as_ref())),
                );
            }
            Facts::Refused { kind, .. } => {
                let how = match &body {
                    Some(Body::Refused { refusal, .. }) => {
                        format!("refused: {}", plain_long(&super::screen::refusal(refusal)))
                    }
                    _ => "refused".to_owned(),
                };
                row(what(*kind, body.as_ref()), &nothing, None, how);
            }
            Facts::Opened(origin) => {
                let (line, attempt) = (plain(&origin.line), origin.attempt);
                let item = super::screen::item(&origin.item, &origin.serial);
                table.heading(format!("run {} · line {line}{item} · attempt {attempt}", origin.serial));
                if let Some(parent) = &origin.parent {
                    table.heading(format!("fork of run {} after its entry {}", parent.serial, parent.seq));
                }
            }
            Facts::Resumed { after, resumption } => {
                table.heading(format!("resumed, the {resumption}. time: goes on after entry {after}"));
            }
            Facts::Within { within, .. } if matches!(**within, Facts::Printed { .. }) => {
                if let Some(Body::Within { body, .. }) = &body {
                    printed(body).into_iter().for_each(|line| row("· printed".into(), &nothing, None, line));
                }
            }
            Facts::Within { within, .. } => {
                // What it cost is in the answer of its call.
                if let Some(what) = within_words(within, body.as_ref()) {
                    row(format!("· {what}"), &nothing, None, String::new());
                }
            }
            Facts::Marked { mark, .. } => row(format!("mark: {}", mark.kind.name()), &nothing, None, String::new()),
            Facts::Full { used, .. } => {
                row("write".into(), &nothing, None, format!("refused: {} are used", units::show_size(*used)));
            }
            Facts::Checked { name, passed } => {
                row(format!("check {name}"), &nothing, None, if *passed { "passed" } else { "not passed" }.into());
            }
            Facts::Stopped => row("stop".into(), &nothing, None, stopped(body.as_ref())),
            Facts::Closed { verdict, exit_code } => {
                row(format!("verdict: {}", plain(verdict)), &total, None, format!("exit code {exit_code}"));
            }
            Facts::Printed { .. } => {
                let lines = body.as_ref().map(printed).unwrap_or_default();
                lines.into_iter().for_each(|line| row("printed".into(), &nothing, None, line));
            }
            Facts::Noted { .. } | Facts::Ended { .. } | Facts::Checking { .. } | Facts::Applying => {}
        }
    }
    let open: Vec<(u64, String)> = asked.into_values().collect();
    for (seq, what) in open {
        let blank = String::new;
        let how = "nobody knows".to_owned();
        table.row([seq.to_string(), what, blank(), blank(), blank(), blank(), blank(), how]);
    }
    Ok(table.lines())
}

/// A line for each entry, by its number, to be shown out of its table.
///
/// # Errors
/// [`Flaw`]: a content cannot be read.
pub(super) fn sentences(entries: &[KeptEntry]) -> Result<BTreeMap<u64, String>, Flaw> {
    let mut asked: BTreeMap<(u64, Kind), String> = BTreeMap::new();
    let mut sentences = BTreeMap::new();
    for entry in entries {
        let body = entry.entry()?.map(|entry| entry.body);
        let sentence = match &entry.facts {
            Facts::Opened(origin) => {
                format!("opened: line {}{}", plain(&origin.line), super::screen::item(&origin.item, &origin.serial))
            }
            Facts::Intent { call, kind, .. } => {
                let what = what(*kind, body.as_ref());
                asked.insert((*call, *kind), what.clone());
                format!("{what} · asked")
            }
            Facts::Answered { call, kind, how, cost, .. } => {
                let what = asked.remove(&(*call, *kind)).unwrap_or_else(|| kind.name().to_owned());
                let amounts = cost.spent.plus(&cost.held);
                let tokens = [(Line::TokensIn, "in"), (Line::TokensOut, "out")];
                let tokens = tokens.map(|(line, word)| (amounts.get(line), word));
                let mut parts = vec![what];
                for (amount, word) in tokens.into_iter().filter(|(amount, _)| *amount > 0) {
                    parts.push(format!("{amount} {word}"));
                }
                if amounts.get(Line::MicroUsd) > 0 {
                    parts.push(units::show_usd(amounts.get(Line::MicroUsd)));
                }
                parts.push(units::show_duration(cost.took_ms));
                let doubt = if cost.held.is_nothing() { "" } else { ", held" };
                parts.push(match (how, &body) {
                    (_, Some(Body::Answered { heard: Err(denied), .. })) => {
                        format!("{}{doubt}", plain_long(&super::screen::denied(denied)))
                    }
                    (How::Done, _) => format!("done{doubt}"),
                    (How::Failed, _) => format!("failed{doubt}"),
                    (How::Refused, _) => format!("refused{doubt}"),
                });
                parts.join(" · ")
            }
            Facts::Retried { call, wait_ms, cost, .. } => {
                let what = asked.get(&(*call, Kind::Model)).map_or("model", String::as_str);
                let doubt = if cost.held.is_nothing() { "" } else { ", held" };
                let took = units::show_duration(cost.took_ms);
                format!("{what} · {took} · {}{doubt}", retried(*wait_ms, body.as_ref()))
            }
            Facts::Refused { kind, .. } => {
                let how = match &body {
                    Some(Body::Refused { refusal, .. }) => {
                        format!("refused: {}", plain_long(&super::screen::refusal(refusal)))
                    }
                    _ => "refused".to_owned(),
                };
                format!("{} · {how}", what(*kind, body.as_ref()))
            }
            Facts::Noted { .. } => match &body {
                Some(Body::Noted { message, .. }) => format!("note {}", plain(message)),
                _ => "note".to_owned(),
            },
            Facts::Printed { .. } => match &body {
                Some(Body::Printed { text, .. }) => format!("printed {}", telling(text)),
                _ => "printed".to_owned(),
            },
            Facts::Within { call, within } => {
                let what = within_words(within, body.as_ref());
                format!("within call {call} · {}", what.unwrap_or_else(|| crate::run::tape::describe(within)))
            }
            Facts::Full { used, .. } => format!("write · refused: {} are used", units::show_size(*used)),
            Facts::Marked { mark, .. } => format!("mark: {}", mark.kind.name()),
            Facts::Stopped => format!("stop · {}", stopped(body.as_ref())),
            Facts::Ended { outcome, .. } => match &body {
                Some(Body::Ended { changed, .. }) => {
                    format!("the worker {} · {} files changed", ended(*outcome), changed.len())
                }
                _ => format!("the worker {}", ended(*outcome)),
            },
            Facts::Checking { name } => format!("check {} begins", plain(name)),
            Facts::Checked { name, passed } => {
                let how = if *passed { "passed" } else { "not passed" };
                let said = match &body {
                    Some(Body::Checked { result }) => match &result.end {
                        CheckEnd::Passed { summary } | CheckEnd::Failed { summary, .. } => summary,
                        CheckEnd::Broken { why } => why,
                    },
                    _ => "",
                };
                let said = if said.is_empty() { String::new() } else { format!(": {}", plain(said)) };
                format!("check {} · {how}{said}", plain(name))
            }
            Facts::Applying => "the changes are applied".to_owned(),
            Facts::Closed { verdict, exit_code } => format!("verdict: {} · exit code {exit_code}", plain(verdict)),
            Facts::Resumed { after, resumption } => {
                format!("resumed, the {resumption}. time: goes on after entry {after}")
            }
        };
        sentences.insert(entry.seq, sentence);
    }
    Ok(sentences)
}

/// Lines of what a guest printed that are shown: so many first ones, and so many last ones.
const MAX_PRINTED_LINES: usize = 10;

/// What a guest printed, a line each; of much the first and the last.
fn printed(body: &Body) -> Vec<String> {
    let Body::Printed { text, dropped_bytes, .. } = body else { return Vec::new() };
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let left_out = lines.len().saturating_sub(2 * MAX_PRINTED_LINES);
    let mut shown: Vec<String> = lines.iter().map(|line| plain(line)).collect();
    if left_out > 0 {
        let words = format!("… {left_out} more lines");
        drop(shown.splice(MAX_PRINTED_LINES..MAX_PRINTED_LINES + left_out, [words]));
    }
    if *dropped_bytes > 0 {
        shown.push(format!("… {dropped_bytes} bytes that were not kept"));
    }
    shown
}

/// The line of what a guest printed that says most: why it broke, if it did.
fn telling(text: &str) -> String {
    plain(&trap::telling(text).unwrap_or_default())
}

/// What a tool did or met, if there is something to tell beside its answer.
fn within_words(within: &Facts, body: Option<&Body>) -> Option<String> {
    let body = match body {
        Some(Body::Within { body, .. }) => Some(&**body),
        _ => None,
    };
    match (within, body) {
        (Facts::Intent { kind, .. }, body) => Some(what(*kind, body)),
        (Facts::Refused { kind, .. }, Some(Body::Refused { refusal, .. })) => {
            Some(format!("{} refused: {}", what(*kind, body), plain_long(&super::screen::refusal(refusal))))
        }
        (Facts::Noted { .. }, Some(Body::Noted { message, .. })) => Some(format!("note {}", plain(message))),
        (Facts::Printed { .. }, Some(Body::Printed { text, .. })) => Some(format!("printed {}", telling(text))),
        _ => None,
    }
}

fn ended(outcome: OutcomeName) -> &'static str {
    match outcome {
        OutcomeName::Returned => "returned its report",
        OutcomeName::Failed => "returned an error",
        OutcomeName::Trapped => "trapped",
        OutcomeName::Interrupted => "was interrupted",
        OutcomeName::Faulted => "was left: the host failed",
    }
}

fn what(kind: Kind, body: Option<&Body>) -> String {
    let effect = match body {
        Some(Body::Intent { effect, .. } | Body::Refused { effect, .. }) => effect,
        _ => return kind.name().to_owned(),
    };
    match effect {
        Effect::Model { request } => format!("model {}", plain(&request.model)),
        Effect::Attach { name, .. } => format!("attach {}", plain(name)),
        Effect::CheckIn { note } => format!("check-in {}", plain(note)),
        Effect::Sleep { ms } => format!("sleep {}", units::show_duration(*ms)),
        Effect::Count { model } => format!("count for {}", plain(model)),
        Effect::Tool { name, .. } => format!("tool {}", plain(name)),
        Effect::Child { name, .. } => format!("child {}", plain(name)),
        Effect::Fetch { request } => plain(&format!("{} {}", request.method, request.url)),
        Effect::Human { .. } | Effect::Left => kind.name().to_owned(),
    }
}

fn retried(wait_ms: u64, body: Option<&Body>) -> String {
    match body {
        Some(Body::Retried { kind, message, .. }) => plain_long(&super::screen::retried(*kind, message, wait_ms)),
        _ => format!("asked again after {}", units::show_duration(wait_ms)),
    }
}

fn stopped(body: Option<&Body>) -> String {
    match body {
        Some(Body::Stopped { stop }) => plain_long(&super::screen::stop(stop)),
        _ => String::new(),
    }
}
