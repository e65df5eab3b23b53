//! What a person sees of a run: a line for each effect, then the verdict and why.
//!
//! Never: decides, or shows what is not in the journal or the record. Text that a guest chose is shown without control
//! characters.

use console::{Style, style};

use crate::rules::authored::limit;
use crate::rules::effect::{Answer, Body, Cost, Denied, Effect, Entry, FailureKind, Level, Refusal};
use crate::rules::ledger::{Amounts, LimitKind, Line, Totals};
use crate::rules::record::Record;
use crate::rules::units;
use crate::rules::verdict::{CheckEnd, Stop};
use crate::run::past::FileEntry;

use super::wrap;

/// Characters of a guest's text on one line.
const MAX_SHOWN_CHARS: usize = 100;

/// Where the rest of a line hangs that is wider than the terminal, and that of a value beside its key.
const HANG: usize = 4;
const VALUE: usize = 12;

/// Prints entries as they come, and keeps what a line needs of the ones before.
pub struct Screen {
    asked: std::collections::HashMap<u64, Effect>,
    /// Limits of the run and what is used of them, for the budget that is left.
    limits: std::collections::BTreeMap<Line, u64>,
    used: Amounts,
}

impl Screen {
    /// A screen for a run with these limits; without any nothing is said of what is left.
    pub fn new(limits: std::collections::BTreeMap<Line, u64>) -> Self {
        Self { asked: Default::default(), limits, used: Amounts::default() }
    }

    /// The lines for an entry, as wide as the terminal behind stderr lets them be.
    pub fn entry(&mut self, entry: &Entry) -> Vec<String> {
        self.lines(entry).iter().map(|line| wrap::err(line, HANG)).collect()
    }

    fn lines(&mut self, entry: &Entry) -> Vec<String> {
        match &entry.body {
            Body::Opened { opening } => {
                let origin = &opening.origin;
                let item = item(&origin.item, &origin.serial);
                let (run, attempt) = (style("run").bold(), origin.attempt);
                let run = format!("{run} {} · line {}{item} · attempt {attempt}", origin.serial, origin.line);
                let lost = opening.job.lost.as_ref();
                let lost =
                    lost.map(|lost| warn(&format!("the attempt before, run {lost}, was lost: its process is gone")));
                [run].into_iter().chain(lost).collect()
            }
            Body::Intent { call, effect, .. } => {
                self.asked.insert(*call, effect.clone());
                vec![]
            }
            Body::Answered { call, heard, cost, .. } => {
                self.used = self.used.plus(&cost.spent).plus(&cost.held);
                let effect = self.asked.remove(call);
                if effect == Some(Effect::Left) {
                    return vec![];
                }
                let mut lines = vec![self.effect(effect.as_ref(), cost)];
                match heard {
                    Err(denied) => lines.push(warn(&self::denied(denied))),
                    Ok(Answer::Model { reply, .. }) => {
                        for call in &reply.tool_calls {
                            lines.push(dim(&format!("asks for {}({})", call.name, call.arguments)));
                        }
                        if !reply.text.is_empty() {
                            lines.push(dim(&format!("says {}", reply.text)));
                        }
                    }
                    Ok(Answer::Fetched { reply }) => {
                        lines.push(dim(&format!("status {} · {} bytes", reply.status, reply.body.0.len())));
                    }
                    Ok(Answer::Tool { output }) => lines.push(dim(&format!("gives {output}"))),
                    Ok(Answer::Judged { serial, verdict, why, .. }) => {
                        lines.push(dim(&format!("{verdict} · {why} · jidoka trace {serial}")));
                    }
                    Ok(
                        Answer::Attached { .. }
                        | Answer::CheckedIn { .. }
                        | Answer::Slept
                        | Answer::Left { .. }
                        | Answer::Counted { .. }
                        | Answer::Decided { .. },
                    ) => {}
                }
                lines
            }
            Body::Retried { kind, message, wait_ms, .. } => vec![warn(&self::retried(*kind, message, *wait_ms))],
            Body::Within { body, .. } => match &**body {
                Body::Noted { message, .. } => vec![dim(&format!("· note {message}"))],
                Body::Intent { effect: Effect::Fetch { request }, .. } => {
                    vec![dim(&format!("· {} {}", request.method, request.url))]
                }
                Body::Refused { effect, refusal, .. } => {
                    vec![warn(&format!("· {} refused: {}", effect.kind().name(), self::refusal(refusal)))]
                }
                _ => vec![],
            },
            Body::Refused { effect, refusal, .. } => {
                vec![warn(&format!("{} refused: {}", effect.kind().name(), self::refusal(refusal)))]
            }
            Body::Noted { level, message, .. } => vec![match level {
                Level::Debug | Level::Info => dim(&format!("note {message}")),
                Level::Warn | Level::Error => warn(&format!("note {message}")),
            }],
            Body::Printed { text, dropped_bytes, .. } => {
                let mut lines: Vec<String> = text.lines().take(20).map(|line| dim(&format!("print {line}"))).collect();
                if *dropped_bytes > 0 {
                    lines.push(warn(&format!("print … {dropped_bytes} bytes dropped")));
                }
                lines
            }
            Body::Marked { mark, .. } => {
                vec![
                    format!("  {} new mark: {:?} {}", good("◆"), mark.kind, short(&mark.digest.to_string()))
                        .to_lowercase(),
                ]
            }
            Body::Checked { result } => vec![match &result.end {
                CheckEnd::Passed { summary } => format!("  {} check {}: {}", good("✓"), result.name, plain(summary)),
                CheckEnd::Failed { summary, .. } => format!("  {} check {}: {}", bad("✗"), result.name, plain(summary)),
                CheckEnd::Broken { why } => format!("  {} check {}: {}", bad("✗"), result.name, plain(why)),
            }],
            Body::Stopped { stop } => vec![warn(&self::stop(stop))],
            Body::Full { used, granted, .. } => {
                vec![warn(&format!("files full: {used} bytes written, {granted} granted"))]
            }
            Body::Resumed { after, resumption } => {
                vec![format!("  {} resumed (number {resumption}): goes on after entry {after}", good("↻"))]
            }
            Body::Ended { notes_dropped, .. } if *notes_dropped > 0 => {
                vec![warn(&format!("{notes_dropped} notes dropped: past [caps] log"))]
            }
            Body::Checking { .. } | Body::Applying { .. } | Body::Ended { .. } | Body::Closed { .. } => vec![],
        }
    }

    fn effect(&self, effect: Option<&Effect>, cost: &Cost) -> String {
        let what = match effect {
            Some(Effect::Model { request }) => format!("model {}", plain(&request.model)),
            Some(Effect::Attach { kind, name, bytes, .. }) => {
                format!("evidence {} {} ({bytes} bytes)", plain(kind), plain(name))
            }
            Some(Effect::CheckIn { note }) => format!("check-in {}", plain(note)),
            Some(Effect::Sleep { ms }) => format!("sleep {ms} ms"),
            Some(Effect::Fetch { request }) => plain(&format!("{} {}", request.method, request.url)),
            Some(Effect::Tool { name, input, .. }) => format!("tool {}({})", plain(name), plain(input)),
            Some(Effect::Child { name, .. }) => format!("child {}", plain(name)),
            Some(other) => other.kind().name().to_owned(),
            None => "effect".to_owned(),
        };
        let (amounts, doubt) = if cost.held == Amounts::default() { (&cost.spent, "") } else { (&cost.held, " held") };
        let mut parts = Vec::new();
        if amounts.get(Line::ModelCalls) > 0 {
            parts.push(format!("{} in {} out", amounts.get(Line::TokensIn), amounts.get(Line::TokensOut)));
            parts.push(format!("{}{doubt}", dollars(amounts.get(Line::MicroUsd))));
        }
        parts.push(format!("{} ms", cost.took_ms));
        if amounts.get(Line::ModelCalls) > 0 && !self.limits.is_empty() {
            parts.push(format!("left {} tokens {}", self.left(Line::Tokens), dollars(self.left(Line::MicroUsd))));
        }
        format!("  {} {what}  {}", style("▸").cyan(), style(parts.join(" · ")).dim())
    }

    fn left(&self, line: Line) -> u64 {
        self.limits.get(&line).map_or(0, |limit| limit.saturating_sub(self.used.get(line)))
    }
}

/// The item of a run in a line of words. A run whose item nobody named is its own, and nothing is said of it.
pub(super) fn item(item: &str, serial: &str) -> String {
    if item == serial { String::new() } else { format!(" · item {}", plain(item)) }
}

/// A file of a kept tree.
pub(super) fn file(path: &str, entry: &FileEntry) -> String {
    let path = plain_long(path);
    match entry {
        FileEntry::File { bytes, executable, .. } => {
            format!("{} {bytes:>10}  {path}", if *executable { "x" } else { "-" })
        }
        FileEntry::Link { target } => format!("l {:>10}  {path} -> {}", "", plain_long(target)),
        FileEntry::EmptyDirectory {} => format!("d {:>10}  {path}/", ""),
    }
}

/// The end of a run.
pub fn verdict(record: &Record, state_dir: &str) -> String {
    let heading = match record.exit_code {
        0 => Style::new().green().bold(),
        10..=19 | 25 => Style::new().yellow().bold(),
        _ => Style::new().red().bold(),
    };
    let (why, frames) = why_and_frames(&record.verdict, &record.why);
    let mut lines = vec![wrap::out(&format!("{}: {why}", heading.apply_to(&record.verdict)), HANG)];
    lines.extend(frames.iter().map(|line| format!("  {line}")));
    let mut row = |key: &str, value: String| lines.push(wrap::out(&format!("  {key:<9} {value}"), VALUE));
    if let Some(report) = &record.report {
        row("report", format!("{}: {}", report.status.name(), plain(&report.summary)));
    }
    if !record.changes.is_empty() {
        let applied = if record.applied { "applied" } else { "not applied" };
        row("changed", format!("{} ({applied})", plain(&record.changes.join(", "))));
    }
    row("spent", totals(&record.ledger.attempt));
    row("kept", format!("{state_dir}/{}", record.kept));
    if let Some(wall) = record.wall {
        row("wall", wall.name().to_owned());
    }
    row("exit code", record.exit_code.to_string());
    lines.join("\n")
}

/// Why a run ended, on one line; of a trap the frames, too, a line each. A guest's text makes no line of its own.
pub(super) fn why_and_frames(verdict: &str, why: &str) -> (String, Vec<String>) {
    match why.split_once('\n').filter(|_| verdict == "trapped") {
        Some((first, frames)) => (plain_long(first), frames.lines().map(plain_long).collect()),
        None => (plain_long(why), Vec::new()),
    }
}

fn totals(totals: &Totals) -> String {
    let mut parts = Vec::new();
    let both = totals.spent.plus(&totals.held);
    for (line, amount) in both.iter() {
        let held = totals.held.get(line);
        let shown = match line {
            Line::MicroUsd => dollars(amount),
            Line::TokensIn
            | Line::TokensOut
            | Line::Tokens
            | Line::ModelCalls
            | Line::ToolCalls
            | Line::WallMs
            | Line::WorkMs
            | Line::CpuMs
            | Line::NetBytes
            | Line::DiskBytes
            | Line::MemoryBytes => format!("{amount} {}", line.name()),
        };
        let held = (held > 0).then(|| if line == Line::MicroUsd { dollars(held) } else { held.to_string() });
        parts.push(held.map_or(shown.clone(), |held| format!("{shown} (of which in doubt: {held})")));
    }
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(" · ") }
}

/// What stopped a run.
pub(super) fn stop(stop: &Stop) -> String {
    match stop {
        Stop::Pulled { pull } => format!("cord pulled ({}): {}", pull.category.name(), pull.reason),
        Stop::Exhausted { scope, line, limit, .. } => match limit {
            LimitKind::Gap | LimitKind::FirstGap => {
                format!("stopped: the gap of {} was spent without a mark", line.key())
            }
            LimitKind::Total | LimitKind::Hour | LimitKind::Day | LimitKind::Week => {
                format!("stopped: the limit on {} of the {scope} is used up", line.key())
            }
        },
        Stop::Deferred { .. } => format!("deferred: {}", stop.verdict().why()),
        Stop::Cancelled => "cancelled".to_owned(),
        Stop::Frozen { pull } => format!("frozen: its line was pulled ({}): {}", pull.category.name(), pull.reason),
        Stop::Parked { question } => format!("parked until a person answers: {question}"),
        Stop::Stuck { suspicion, since } => format!("stopped: {}; nothing new {since}", suspicion.fact),
    }
}

/// Why there is no answer.
pub(super) fn denied(denied: &Denied) -> String {
    match denied {
        Denied::Failed(failure) => format!("failed: {}", failure.message),
        Denied::Refused(refusal) => format!("refused: {}", refusal.asked),
    }
}

/// That a model said no for now, and is asked again.
pub(super) fn retried(kind: FailureKind, message: &str, wait_ms: u64) -> String {
    format!("{}: {message}; asked again after {}", kind.name(), units::show_duration(wait_ms))
}

/// What a refusal says.
pub(super) fn refusal(refusal: &Refusal) -> String {
    format!("asked {}; allowed {}; to change it: {}", refusal.asked, refusal.allowed, refusal.setting)
}

/// Amounts in their units and by the keys of their lines, for example `480 tokens · $0.25 usd`.
pub(super) fn amounts(amounts: &Amounts) -> String {
    let parts: Vec<String> =
        amounts.iter().map(|(line, amount)| format!("{} {}", limit::show(line, amount), line.key())).collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(" · ") }
}

/// Millionths of a dollar as dollars, exactly.
pub fn dollars(micro_usd: u64) -> String {
    format!("${}.{:06}", micro_usd / 1_000_000, micro_usd % 1_000_000)
}

fn good(text: &str) -> impl std::fmt::Display + use<> {
    style(text.to_owned()).green()
}

fn bad(text: &str) -> impl std::fmt::Display + use<> {
    style(text.to_owned()).red()
}

fn dim(text: &str) -> String {
    format!("    {}", style(plain(text)).dim())
}

fn warn(text: &str) -> String {
    format!("  {} {}", style("!").yellow(), plain_long(text))
}

fn short(digest: &str) -> String {
    digest.chars().take(19).collect()
}

/// One line of text that a guest may have chosen.
pub(super) fn plain(text: &str) -> String {
    let clean: String = text.chars().map(|char| if misleading(char) { ' ' } else { char }).collect();
    match clean.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean,
    }
}

/// Characters that move the cursor, start a line of their own, or show text in another order than it has.
fn misleading(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Text of ours that may hold a guest's: whole, but on one line and harmless to a terminal.
pub(super) fn plain_long(text: &str) -> String {
    text.chars().map(|char| if misleading(char) { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_exactly() {
        assert_eq!(dollars(0), "$0.000000");
        assert_eq!(dollars(1_234_567), "$1.234567");
    }

    #[test]
    fn money_in_doubt_is_money() {
        let held = Amounts::of(Line::MicroUsd, 2_063);
        let totals = Totals { held, spent: Amounts::of(Line::MicroUsd, 78), ..Totals::default() };
        assert_eq!(self::totals(&totals), "$0.002141 (of which in doubt: $0.002063)");
    }

    #[test]
    fn a_guests_text_cannot_move_the_cursor() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a [2Jb c");
        assert_eq!(plain(&"x".repeat(200)).chars().count(), MAX_SHOWN_CHARS + 1);
    }
}
