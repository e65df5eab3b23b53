//! The limit of one line, as a key holds it: its unit, its range, its example.
//!
//! Never: a word or a number for endless. Every table of limits in both files is read with these.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::amount::{Amount, Unit};
use super::kinds::{Kind, Wrong};
use super::mistake::{Mistake, listed, nearest};
use super::reader::{Found, Key, Reader, Section};
use crate::rules::line::{Amounts, Limits, Line};

/// Tokens, calls and millionths of a dollar: far above any run, far below where sums of runs could overflow.
pub(super) const MOST_COUNT: u64 = 1_000_000_000_000;
/// Bytes: 1 TiB, as above.
const MOST_BYTES: u64 = 1 << 40;
/// The longest duration that anything may have: a year.
pub(super) const MOST_MS: u64 = 365 * 24 * 3_600_000;

/// Words that people write for a limit that is none.
const ENDLESS: [&str; 12] =
    ["unlimited", "unbounded", "infinite", "infinity", "inf", "none", "no", "off", "max", "-1", "no-limit", ""];

/// An amount of a line, close to how a file says it.
pub fn show(line: Line, amount: u64) -> String {
    self::amount(line).show(&amount)
}

/// What an operator adds to limits: `KEY=AMOUNT` each, as a file says it but without quotes. Nothing is added of 0.
///
/// # Errors
/// A sentence: what is wrong, and what is allowed. What a file refuses is refused here too.
pub fn added(pairs: &[String]) -> Result<Amounts, String> {
    pairs_of(pairs, &Line::ALL, 1)
}

/// What a call cost, as an operator says it: as [`added`], of lines of which something can be spent.
///
/// # Errors
/// As [`added`].
pub fn cost(pairs: &[String]) -> Result<Amounts, String> {
    pairs_of(pairs, &spendable().collect::<Vec<_>>(), 0)
}

fn pairs_of(pairs: &[String], lines: &[Line], least: u64) -> Result<Amounts, String> {
    let mut read = Limits::default();
    for pair in pairs {
        let wrong = |what: String| format!("{:?} {what}", pair);
        let (key, text) =
            pair.split_once('=').ok_or_else(|| wrong("has no `=`; write KEY=AMOUNT, such as usd=0.25".to_owned()))?;
        let keys = || lines.iter().map(|line| line.key());
        let line = lines.iter().copied().find(|line| line.key() == key).ok_or_else(|| {
            let meant = nearest(key, keys()).map(|meant| format!("; did you mean {meant:?}?"));
            wrong(format!("has the key {key:?}{}; allowed: {}", meant.unwrap_or_default(), listed(keys())))
        })?;
        if read.get(line).is_some() {
            return Err(wrong(format!("says {key} a second time")));
        }
        read.set(line, pair_amount(line, least, text).map_err(wrong)?);
    }
    Ok(read.iter().collect())
}

/// The amount of a pair, read as a file's value would be.
fn pair_amount(line: Line, least: u64, text: &str) -> Result<u64, String> {
    let kind = Amount { least, ..amount(line) };
    // A shell has taken the quotes.
    let allowed = || {
        let example = example(line).trim_matches('"');
        format!("; allowed: {}, such as {}={example}", kind.allowed().replace(" in quotes", ""), line.key())
    };
    let quoted = || Spanned::new(Range::default(), DeValue::String(text.into()));
    let value = match kind.unit {
        Unit::Count if is_endless(quoted().get_ref()) => quoted(),
        Unit::Count => match DeValue::parse(text) {
            Ok(value) if value.get_ref().is_integer() => value,
            Ok(_) | Err(_) => return Err(format!("has no whole number{}", allowed())),
        },
        Unit::Duration | Unit::Size | Unit::Usd | Unit::Factor => quoted(),
    };
    LineLimit { line, least }.read(&value).map_err(|wrongs| {
        let problems: Vec<String> = wrongs.into_iter().map(|wrong| wrong.problem).collect();
        format!("{}{}", problems.join(" and "), allowed())
    })
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn pairs_are_read_in_the_units_of_the_files() {
        let read = added(&pairs(&["usd=0.25", "tokens=20_000", "wall=90s", "memory=1GiB"])).expect("they are right");
        let expected =
            [(Line::MicroUsd, 250_000), (Line::Tokens, 20_000), (Line::WallMs, 90_000), (Line::MemoryBytes, 1 << 30)];
        assert_eq!(read, expected.into_iter().collect());
        assert_eq!(cost(&pairs(&["usd=0", "tokens=0"])), Ok(Amounts::default()));
        for (line, amount) in expected {
            assert_eq!(added(&[format!("{}={}", line.key(), show(line, amount))]), Ok(Amounts::of(line, amount)));
        }
    }

    #[test]
    fn what_a_file_refuses_is_refused_with_what_is_allowed() {
        for (pair, expected) in [
            ("usd", "has no `=`"),
            ("=5", "has the key \"\""),
            ("token=5", "did you mean \"tokens\"?"),
            ("tokens-in-all=5", "allowed: tokens-in, tokens-out"),
            ("wall=60", "has no unit"),
            ("wall=-60s", "does not start with a whole number"),
            ("wall=1.5h", "unknown unit"),
            ("disk=5MB", "unknown unit"),
            ("usd=-1", "is no limit"),
            ("usd=1e3", "is not a decimal number"),
            ("usd=", "is no limit"),
            ("usd=unlimited", "is no limit"),
            ("usd=0.0000001", "more than 6 decimals"),
            ("usd=inherit", "cannot inherit"),
            ("tokens=unlimited", "is no limit"),
            ("tokens=inf", "is no limit"),
            ("tokens=-5", "is no limit"),
            ("tokens=5.0", "has no whole number"),
            ("tokens=5k", "has no whole number"),
            ("tokens=\"5\"", "has no whole number"),
            ("tokens=0", "is below 1"),
            ("tokens=1000000000001", "is above 1000000000000"),
        ] {
            let error = added(&pairs(&[pair])).expect_err(pair);
            assert!(error.contains(expected), "{pair}: {error}");
        }
        let error = added(&pairs(&["wall=5"])).expect_err("no unit");
        assert_eq!(
            error,
            "\"wall=5\" has no unit; allowed: a whole number and ms, s, m or h, from 1ms to 8760h, such as wall=60s"
        );
        assert!(added(&pairs(&["usd=1", "usd=2"])).expect_err("twice").contains("a second time"));
        assert!(cost(&pairs(&["memory=1MiB"])).expect_err("a level").contains("allowed: tokens-in"));
    }
}
