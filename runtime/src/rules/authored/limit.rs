//! The limit of one line, as a key holds it: its unit, its range, its example.
//!
//! Never: a word or a number for endless. Every table of limits in both files is read with these.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::DeValue;

use super::amount::{Amount, Unit};
use super::kinds::{Kind, Wrong};
use super::mistake::Mistake;
use super::reader::{Found, Key, Reader, Section};
use crate::rules::line::Line;

/// Tokens, calls and millionths of a dollar: far above any run, far below where sums of runs could overflow.
pub(super) const MOST_COUNT: u64 = 1_000_000_000_000;
/// Bytes: 1 TiB, as above.
const MOST_BYTES: u64 = 1 << 40;
/// The longest duration that anything may have: a year.
pub(super) const MOST_MS: u64 = 365 * 24 * 3_600_000;

/// Words that people write for a limit that is none.
const ENDLESS: [&str; 12] =
    ["unlimited", "unbounded", "infinite", "infinity", "inf", "none", "no", "off", "max", "-1", "no-limit", ""];

/// What a line may be bounded by.
pub(super) fn amount(line: Line) -> Amount {
    match line {
        Line::WallMs | Line::WorkMs | Line::CpuMs => Amount::new(Unit::Duration, 0, MOST_MS),
        Line::NetBytes | Line::DiskBytes | Line::MemoryBytes => Amount::new(Unit::Size, 0, MOST_BYTES),
        Line::MicroUsd => Amount::new(Unit::Usd, 0, MOST_COUNT),
        Line::TokensIn | Line::TokensOut | Line::Tokens | Line::ModelCalls | Line::ToolCalls => {
            Amount::new(Unit::Count, 0, MOST_COUNT)
        }
    }
}

/// How a limit of a line is written.
pub(super) fn example(line: Line) -> &'static str {
    match line {
        Line::WallMs | Line::WorkMs | Line::CpuMs => "\"60s\"",
        Line::NetBytes => "\"8MiB\"",
        Line::DiskBytes | Line::MemoryBytes => "\"64MiB\"",
        Line::MicroUsd => "\"0.25\"",
        Line::TokensIn | Line::TokensOut | Line::Tokens => "20000",
        Line::ModelCalls | Line::ToolCalls => "20",
    }
}

/// The lines of which something can be spent: all but the levels.
pub(super) fn spendable() -> impl Iterator<Item = Line> {
    Line::ALL.into_iter().filter(|line| !line.is_level())
}

/// Whether somebody means that there is no limit.
pub(super) fn is_endless(value: &DeValue<'_>) -> bool {
    match value.as_str() {
        Some(word) => ENDLESS.contains(&word.trim().to_lowercase().as_str()),
        None => {
            value.as_integer().is_some_and(|number| number.as_str().starts_with('-'))
                || value.as_float().is_some_and(|number| number.as_str().contains("inf"))
        }
    }
}

/// A limit that need not be there. Nothing stands above it from which it could inherit.
struct LineLimit {
    line: Line,
    least: u64,
}

impl Kind for LineLimit {
    type Value = u64;

    fn allowed(&self) -> String {
        let amount = Amount { least: self.least, ..amount(self.line) };
        format!("{}; without the key there is no such limit", amount.allowed())
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<u64, Vec<Wrong>> {
        let because = |problem: &str, label: &str| {
            Err(vec![Wrong { span: value.span(), problem: problem.to_owned(), label: label.to_owned(), fix: None }])
        };
        if is_endless(value.get_ref()) {
            return because("is no limit: there is no word and no number for endless", "unbounded");
        }
        if value.get_ref().as_str() == Some("inherit") {
            return because("cannot inherit: only [budget] of a job can", "needs an amount");
        }
        Amount { least: self.least, ..amount(self.line) }.read(value)
    }

    fn show(&self, value: &u64) -> String {
        amount(self.line).show(value)
    }
}

/// Reads the limits of some lines. Those that are written are noted.
pub(super) fn read(
    section: &mut Section<'_>,
    reader: &mut Reader,
    lines: impl IntoIterator<Item = Line>,
    least: u64,
) -> BTreeMap<Line, Found<u64>> {
    let mut limits = BTreeMap::new();
    for line in lines {
        let key = Key { name: line.key(), kind: LineLimit { line, least }, example: example(line) };
        if let Some(found) = section.if_written(reader, &key).found() {
            limits.insert(line, found);
        }
    }
    limits
}

/// The amounts alone.
pub(super) fn amounts(limits: &BTreeMap<Line, Found<u64>>) -> BTreeMap<Line, u64> {
    limits.iter().map(|(&line, found)| (line, found.value)).collect()
}

/// Reports a level among what can be spent. It is bounded in `home`.
pub(super) fn refuse_levels(section: &mut Section<'_>, reader: &mut Reader, home: &str) {
    for line in Line::ALL.into_iter().filter(|line| line.is_level()) {
        let name = line.key();
        if let Some(span) = section.misplaced(name) {
            reader.mistake(Mistake {
                span: Some(span),
                message: format!("`{}` is held and never spent", section.key(name)),
                label: format!("not a key of {}", section.title()),
                help: format!("allowed: `{name}` in [{home}]\nwrite in [{home}]: {name} = {}", example(line)),
            });
        }
    }
}
