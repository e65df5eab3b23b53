//! `[budget.gap]` and `[budget.first-gap]`: what an attempt may spend between two marks, and before the first.
//!
//! Never: a gap that could not bind, or a first gap that is wider than the gap. Before the first mark the gap itself
//! applies, unless a tighter one is written; it is noted as a default.

use std::collections::BTreeMap;

use super::kinds::Kind;
use super::limit;
use super::mistake::Mistake;
use super::reader::{Found, Reader, Section};
use crate::rules::line::Line;
use crate::rules::spec::{Origin, Setting};

const GAP: &str = "gap";
const FIRST_GAP: &str = "first-gap";

/// What is shown of a table that is not there.
pub(super) const NONE: &str = "none";

/// What is spent again and again. What is on the disk or in memory stays there, whatever is marked.
const LINES: [Line; 10] = [
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
];

/// Both tables as they are written.
pub(super) struct Gaps {
    gap: BTreeMap<Line, Found<u64>>,
    first: BTreeMap<Line, Found<u64>>,
    settings: Vec<Setting>,
}

/// Reads both tables of `[budget]`. They are noted by [`Gaps::note`].
pub(super) fn read(budget: &mut Section<'_>, reader: &mut Reader) -> Gaps {
    let ((gap, first), settings) =
        reader.apart(|reader| (table(budget, reader, GAP), table(budget, reader, FIRST_GAP)));
    Gaps { gap, first, settings }
}

fn table(budget: &mut Section<'_>, reader: &mut Reader, name: &'static str) -> BTreeMap<Line, Found<u64>> {
    let Some(found) = budget.section(reader, name).found() else { return BTreeMap::new() };
    let mut section = found.value;
    // A gap of nothing would let nobody come to a mark.
    let limits = limit::read(&mut section, reader, LINES, 1);
    section.finish(reader);
    limits
}

impl Gaps {
    /// What an attempt may spend between two marks.
    pub(super) fn gap(&self) -> BTreeMap<Line, u64> {
        limit::amounts(&self.gap)
    }

    /// What an attempt may spend before its first mark.
    pub(super) fn first(&self) -> BTreeMap<Line, u64> {
        let mut all = self.gap();
        all.extend(limit::amounts(&self.first));
        all
    }

    /// Reports what could not bind. `bound` is what an attempt may spend of a line in all, where that is known.
    pub(super) fn check(&self, reader: &mut Reader, bound: impl Fn(Line) -> Option<u64>) {
        for (&line, gap) in &self.gap {
            within(reader, GAP, line, gap, bound(line));
        }
        for (&line, first) in &self.first {
            match self.gap.get(&line) {
                Some(gap) if first.value > gap.value => {
                    let [asked, most] = [first.value, gap.value].map(|amount| limit::amount(line).show(&amount));
                    reader.mistake(Mistake {
                        span: Some(first.span.clone()),
                        message: format!(
                            "`budget.first-gap.{name}` is {asked}, and `budget.gap.{name}` is {most}",
                            name = line.key()
                        ),
                        label: "before the first mark the tighter one applies".to_owned(),
                        help: help(line, gap.value),
                    });
                }
                // It is within the gap, and of that everything is said.
                Some(_) => {}
                None => within(reader, FIRST_GAP, line, first, bound(line)),
            }
        }
    }

    /// Notes what is written and what follows from it.
    pub(super) fn note(self, reader: &mut Reader) {
        reader.adopt(self.settings);
        for (name, limits) in [(GAP, &self.gap), (FIRST_GAP, &self.first)] {
            if self.gap.is_empty() && limits.is_empty() {
                reader.set(format!("budget.{name}"), NONE.to_owned(), Origin::Default);
            }
        }
        for (&line, gap) in self.gap.iter().filter(|(line, _)| !self.first.contains_key(line)) {
            let shown = limit::amount(line).show(&gap.value);
            reader.set(format!("budget.{FIRST_GAP}.{}", line.key()), shown, Origin::Default);
        }
    }
}

fn within(reader: &mut Reader, table: &str, line: Line, gap: &Found<u64>, bound: Option<u64>) {
    let Some(bound) = bound.filter(|bound| gap.value > *bound) else { return };
    let [asked, most] = [gap.value, bound].map(|amount| limit::amount(line).show(&amount));
    reader.mistake(Mistake {
        span: Some(gap.span.clone()),
        message: format!("`budget.{table}.{}` is {asked}, and an attempt may spend {most} in all", line.key()),
        label: "could never bind".to_owned(),
        help: help(line, bound),
    });
}

fn help(line: Line, most: u64) -> String {
    let kind = limit::amount(line);
    // A bound of nothing leaves no gap to write.
    let write = if most == 0 {
        "nothing; delete this key".to_owned()
    } else {
        format!("{} = {}", line.key(), kind.written(most))
    };
    format!("allowed: at most {}\nwrite: {write}", kind.show(&most))
}
