//! What a run did, a line for each effect: what, tokens, money, time, how long it waited, how it ended.
//!
//! Never: decides. Everything on a line is in the entries' facts, so a run whose contents are erased has its trace too.

use std::collections::BTreeMap;

use crate::rules::effect::{Body, Effect, Kind};
use crate::rules::facts::{Facts, How};
use crate::rules::ledger::{Amounts, Line};
use crate::rules::units;
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
    ]);
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
            Facts::Answered { call, kind, how, cost } => {
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
                let (line, item, attempt) = (&origin.line, &origin.item, origin.attempt);
                table.heading(format!("run {} · line {line} · item {item} · attempt {attempt}", origin.serial));
                if let Some(parent) = &origin.parent {
                    table.heading(format!("fork of run {} after its entry {}", parent.serial, parent.seq));
                }
            }
            Facts::Resumed { after, resumption } => {
                table.heading(format!("resumed, the {resumption}. time: goes on after entry {after}"));
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
                row(format!("verdict: {verdict}"), &total, None, format!("exit code {exit_code}"));
            }
            Facts::Noted { .. }
            | Facts::Printed { .. }
            | Facts::Ended { .. }
            | Facts::Checking { .. }
            | Facts::Applying => {}
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
        Effect::Human { .. } | Effect::Left => kind.name().to_owned(),
    }
}

fn stopped(body: Option<&Body>) -> String {
    match body {
        Some(Body::Stopped { stop }) => plain_long(&super::screen::stop(stop)),
        _ => String::new(),
    }
}
