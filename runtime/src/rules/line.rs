//! The kinds of things that a run may spend, and amounts of them.
//!
//! Never: a float, an amount without its line, a wrapped sum. A sum past `u64::MAX` saturates: it can never fit a limit
//! again, so it errs on the safe side.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One kind of thing that a run may spend. Amounts are `u64` in the unit of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    TokensIn,
    TokensOut,
    Tokens,
    MicroUsd,
    ModelCalls,
    ToolCalls,
    WallMs,
    WorkMs,
    CpuMs,
    NetBytes,
    DiskBytes,
    MemoryBytes,
}

/// How many lines there are.
pub(super) const LINES: usize = 12;

impl Line {
    /// Every line, in the order of its declaration.
    pub const ALL: [Line; LINES] = [
        Line::TokensIn,
        Line::TokensOut,
        Line::Tokens,
        Line::MicroUsd,
        Line::ModelCalls,
        Line::ToolCalls,
        Line::WallMs,
        Line::WorkMs,
        Line::CpuMs,
        Line::NetBytes,
        Line::DiskBytes,
        Line::MemoryBytes,
    ];

    /// The line's name in the contract, the journal and the verdict.
    pub fn name(self) -> &'static str {
        match self {
            Line::TokensIn => "tokens-in",
            Line::TokensOut => "tokens-out",
            Line::Tokens => "tokens",
            Line::MicroUsd => "micro-usd",
            Line::ModelCalls => "model-calls",
            Line::ToolCalls => "tool-calls",
            Line::WallMs => "wall-ms",
            Line::WorkMs => "work-ms",
            Line::CpuMs => "cpu-ms",
            Line::NetBytes => "net-bytes",
            Line::DiskBytes => "disk-bytes",
            Line::MemoryBytes => "memory-bytes",
        }
    }

    /// The line's key in a table of limits.
    pub fn key(self) -> &'static str {
        match self {
            Line::MicroUsd => "usd",
            Line::WallMs => "wall",
            Line::WorkMs => "work",
            Line::CpuMs => "cpu",
            Line::NetBytes => "net",
            Line::DiskBytes => "disk",
            Line::MemoryBytes => "memory",
            Line::TokensIn | Line::TokensOut | Line::Tokens | Line::ModelCalls | Line::ToolCalls => self.name(),
        }
    }

    /// The line of this name.
    pub fn named(name: &str) -> Option<Line> {
        Line::ALL.into_iter().find(|line| line.name() == name)
    }

    /// Whether it is time that passes, for a child and its caller alike.
    pub fn is_passing(self) -> bool {
        matches!(self, Line::WallMs | Line::WorkMs)
    }

    /// What is had for a while and given back whole, and never spent: it is reserved as long as it is used.
    pub fn is_level(self) -> bool {
        match self {
            Line::MemoryBytes => true,
            Line::TokensIn
            | Line::TokensOut
            | Line::Tokens
            | Line::MicroUsd
            | Line::ModelCalls
            | Line::ToolCalls
            | Line::WallMs
            | Line::WorkMs
            | Line::CpuMs
            | Line::NetBytes
            | Line::DiskBytes => false,
        }
    }
}

/// An amount for each line; a line that is not named is 0.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts([u64; LINES]);

impl Amounts {
    /// An amount of one line.
    pub fn of(line: Line, amount: u64) -> Self {
        let mut amounts = Self::default();
        amounts.set(line, amount);
        amounts
    }

    /// The amount of a line.
    pub fn get(&self, line: Line) -> u64 {
        self.0[line as usize]
    }

    /// Sets the amount of a line.
    pub fn set(&mut self, line: Line, amount: u64) {
        self.0[line as usize] = amount;
    }

    /// The lines that are not 0, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Line, u64)> + '_ {
        Line::ALL.into_iter().map(|line| (line, self.get(line))).filter(|&(_, amount)| amount > 0)
    }

    /// The sum with other amounts.
    pub fn plus(&self, other: &Amounts) -> Amounts {
        self.with(other, u64::saturating_add)
    }

    /// What is left when other amounts are taken away; less than nothing is nothing.
    pub fn less(&self, other: &Amounts) -> Amounts {
        self.with(other, u64::saturating_sub)
    }

    /// The smaller amount of each line.
    pub fn at_most(&self, other: &Amounts) -> Amounts {
        self.with(other, u64::min)
    }

    /// The lines for which `keep` holds.
    pub fn only(&self, keep: impl Fn(Line) -> bool) -> Amounts {
        self.iter().filter(|&(line, _)| keep(line)).collect()
    }

    /// Whether there is nothing at all.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    fn with(&self, other: &Amounts, of: impl Fn(u64, u64) -> u64) -> Amounts {
        let mut result = Amounts::default();
        for ((result, one), other) in result.0.iter_mut().zip(self.0).zip(other.0) {
            *result = of(one, other);
        }
        result
    }
}

/// A limit for some lines. A line that is not named has none here; a limit of 0 allows nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits([Option<u64>; LINES]);

impl Limits {
    /// The limit of a line.
    pub fn get(&self, line: Line) -> Option<u64> {
        self.0[line as usize]
    }

    /// Sets the limit of a line.
    pub fn set(&mut self, line: Line, limit: u64) {
        self.0[line as usize] = Some(limit);
    }

    /// Whether no line has a limit.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// The lines that have a limit, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Line, u64)> + '_ {
        Line::ALL.into_iter().filter_map(|line| Some((line, self.get(line)?)))
    }
}

impl FromIterator<(Line, u64)> for Limits {
    fn from_iter<T: IntoIterator<Item = (Line, u64)>>(limits: T) -> Self {
        let mut all = Self::default();
        for (line, limit) in limits {
            all.set(line, limit);
        }
        all
    }
}

impl From<&BTreeMap<Line, u64>> for Limits {
    fn from(limits: &BTreeMap<Line, u64>) -> Self {
        limits.iter().map(|(&line, &limit)| (line, limit)).collect()
    }
}

/// By name, without the lines that have none.
impl std::fmt::Debug for Limits {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_map().entries(self.iter().map(|(line, limit)| (line.name(), limit))).finish()
    }
}

impl Serialize for Limits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Limits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::<Line, u64>::deserialize(deserializer)?.into_iter().collect())
    }
}

impl FromIterator<(Line, u64)> for Amounts {
    fn from_iter<T: IntoIterator<Item = (Line, u64)>>(amounts: T) -> Self {
        let mut all = Self::default();
        for (line, amount) in amounts {
            all.set(line, amount);
        }
        all
    }
}

/// By name, without the lines that are 0.
impl std::fmt::Debug for Amounts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_map().entries(self.iter().map(|(line, amount)| (line.name(), amount))).finish()
    }
}

impl Serialize for Amounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Amounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::<Line, u64>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_stands_at_its_own_place_and_is_found_by_its_name() {
        for (place, line) in Line::ALL.into_iter().enumerate() {
            assert_eq!(line as usize, place);
            assert_eq!(Line::named(line.name()), Some(line));
        }
        assert_eq!(Line::named("nothing"), None);
    }

    #[test]
    fn a_sum_that_no_number_holds_stays_at_the_top() {
        let most = Amounts::of(Line::Tokens, u64::MAX);
        assert_eq!(most.plus(&Amounts::of(Line::Tokens, 1)), most);
        assert!(Amounts::default().less(&most).is_nothing());
    }

    #[test]
    fn amounts_are_written_by_name_and_read_back() {
        let amounts: Amounts = [(Line::Tokens, 3), (Line::MemoryBytes, 5)].into_iter().collect();
        let text = serde_json::to_string(&amounts).expect("plain data");
        assert_eq!(text, r#"{"tokens":3,"memory-bytes":5}"#);
        assert_eq!(serde_json::from_str::<Amounts>(&text).expect("reads back"), amounts);
    }
}
