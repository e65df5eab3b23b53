//! A scope: who spends, how much it may, and what it has spent, reserved, in doubt and given to children.
//!
//! Never: looks at another scope, reads a clock. Amounts change only through the ledger, which knows the tree.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::line::{Amounts, Limits, Line};
use super::window::{LetsGo, Opening, Span, Window};

/// Scopes from the host down to the innermost worker: a path longer than this is refused.
pub const MAX_DEPTH: usize = 8;

/// What a scope stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Host,
    Tenant,
    Line,
    Item,
    Attempt,
    /// A child of the attempt's worker, or of another child.
    Worker,
}

impl Level {
    /// The level's word in a refusal and in a verdict.
    pub fn name(self) -> &'static str {
        match self {
            Level::Host => "host",
            Level::Tenant => "tenant",
            Level::Line => "line",
            Level::Item => "item",
            Level::Attempt => "attempt",
            Level::Worker => "worker",
        }
    }
}

/// A scope by its path: names from the tenant down, with `/` between them. The host's path is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScopeId(Arc<str>);

impl ScopeId {
    /// The scope around all others.
    pub fn host() -> Self {
        Self("".into())
    }

    /// The scope of this path.
    pub fn of_path(path: &str) -> Self {
        Self(path.into())
    }

    /// A scope within this one. `name` has no `/`.
    pub fn child(&self, name: &str) -> Self {
        Self(if self.0.is_empty() { name.into() } else { format!("{}/{name}", self.0).into() })
    }

    /// The path.
    pub fn path(&self) -> &str {
        &self.0
    }

    /// What the scope stands for: its place in the tree says it.
    pub fn level(&self) -> Level {
        match depth(&self.0) {
            0 => Level::Host,
            1 => Level::Tenant,
            2 => Level::Line,
            3 => Level::Item,
            4 => Level::Attempt,
            _ => Level::Worker,
        }
    }

    /// The path's last name.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

impl std::fmt::Display for ScopeId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if self.0.is_empty() { Level::Host.name() } else { &self.0 })
    }
}

/// How many scopes are around this one.
pub(super) fn depth(path: &str) -> usize {
    if path.is_empty() { 0 } else { path.split('/').count() }
}

/// The paths from a scope to the host, itself included.
pub fn upward(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| match path.rsplit_once('/') {
        Some((parent, _)) => Some(parent),
        None if path.is_empty() => None,
        None => Some(""),
    })
}

/// How much a scope may spend, as files say it. Kept apart from what an operator adds later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Over all time of the scope.
    #[serde(default, skip_serializing_if = "Limits::is_nothing")]
    pub limits: Limits,
    /// In each hour, day or week, wherever it begins.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub windows: BTreeMap<Span, Limits>,
    /// Between two marks.
    #[serde(default, skip_serializing_if = "Limits::is_nothing")]
    pub gap: Limits,
    /// Before the first mark; where there is none, `gap` holds from the start.
    #[serde(default, skip_serializing_if = "Limits::is_nothing")]
    pub first_gap: Limits,
    /// Lines whose limit is taken out of the parent whole when the scope opens. Other lines are shared: what the scope
    /// spends of them counts in its ancestors as it is spent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub carve: Vec<Line>,
    /// Lines that are limited here and count nowhere above: somebody around it pays for the same use already. Of the time
    /// that a child takes its caller waits all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apart: Vec<Line>,
}

/// Which limit of a scope is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitKind {
    /// Over all time of the scope.
    #[default]
    Total,
    Hour,
    Day,
    Week,
    /// Between two marks.
    Gap,
    /// Before the first mark.
    FirstGap,
}

impl From<Span> for LimitKind {
    fn from(span: Span) -> Self {
        match span {
            Span::Hour => LimitKind::Hour,
            Span::Day => LimitKind::Day,
            Span::Week => LimitKind::Week,
        }
    }
}

/// The books of one scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    pub terms: Terms,
    /// Added to the limits by an operator.
    #[serde(default, skip_serializing_if = "Amounts::is_nothing")]
    pub topped_up: Amounts,
    #[serde(default, skip_serializing_if = "Amounts::is_nothing")]
    pub spent: Amounts,
    #[serde(default, skip_serializing_if = "Amounts::is_nothing")]
    pub reserved: Amounts,
    /// Dispatched, and nobody knows what it cost.
    #[serde(default, skip_serializing_if = "Amounts::is_nothing")]
    pub held: Amounts,
    /// Given to children whole.
    #[serde(default, skip_serializing_if = "Amounts::is_nothing")]
    pub carved: Amounts,
    /// What calls cost above their reservation. Part of `spent`.
    #[serde(default, skip_serializing_if = "Amounts::is_nothing")]
    pub overrun: Amounts,
    /// What the parent counts as carved for this scope.
    #[serde(default, skip_serializing_if = "Amounts::is_nothing")]
    pub counted: Amounts,
    /// What was spent and held at the last mark.
    #[serde(default, skip_serializing_if = "Amounts::is_nothing")]
    pub at_mark: Amounts,
    pub marked: bool,
    pub closed: bool,
    /// What was spent in each window. Kept in rows of their own.
    #[serde(skip)]
    pub windows: BTreeMap<Span, Window>,
}

impl Scope {
    /// What counts against the limits: spent, reserved, held and carved.
    pub fn committed(&self) -> Amounts {
        self.spent.plus(&self.in_flight())
    }

    /// What is not spent yet and may still be.
    fn in_flight(&self) -> Amounts {
        self.reserved.plus(&self.held).plus(&self.carved)
    }

    /// A limit over all time, with what an operator added.
    pub fn limit(&self, line: Line) -> Option<u64> {
        Some(self.terms.limits.get(line)?.saturating_add(self.topped_up.get(line)))
    }

    /// Whether a line's limit was taken out of the parent whole.
    pub fn carves(&self, line: Line) -> bool {
        !self.closed && self.terms.carve.contains(&line)
    }

    /// What was spent in a window that ends now.
    pub fn spent_in(&self, span: Span, now_ms: u64) -> Amounts {
        self.windows.get(&span).map_or(Amounts::default(), |window| window.spent(span, now_ms))
    }

    /// When a window next lets something of a line go, and how much.
    pub fn lets_go(&self, span: Span, line: Line, now_ms: u64) -> Option<LetsGo> {
        self.windows.get(&span)?.lets_go(span, line, now_ms)
    }

    /// How a limit opens by itself. `None`: it is no window's.
    pub fn opening(&self, limit: LimitKind, line: Line, now_ms: u64) -> Option<Opening> {
        let span = Span::ALL.into_iter().find(|span| LimitKind::from(*span) == limit)?;
        let most = self.terms.windows.get(&span)?.get(line)?;
        let spent = self.spent_in(span, now_ms).get(line);
        let lets_go = self.windows.get(&span).map(|window| window.all_let_go(span, line, now_ms)).unwrap_or_default();
        Some(Opening { most, counted: spent.saturating_add(self.in_flight().get(line)), lets_go, now_ms })
    }

    /// Whether what is spent of a line here is nothing to the scopes around it: of what was carved as long as this one is
    /// open, of what is apart for ever.
    pub fn keeps(&self, line: Line) -> bool {
        self.carves(line) || self.terms.apart.contains(&line)
    }

    /// The scope at one moment.
    pub fn at(&self, now_ms: u64) -> ScopeAt<'_> {
        let in_flight = self.in_flight();
        let spent_in = self.terms.windows.keys().map(|&span| (span, self.spent_in(span, now_ms))).collect();
        ScopeAt { scope: self, committed: self.spent.plus(&in_flight), in_flight, spent_in }
    }

    /// The tightest of this scope's limits on a line, and what it leaves. `None`: it has none.
    pub fn left(&self, line: Line, now_ms: u64) -> Option<(u64, LimitKind)> {
        self.at(now_ms).left(line)
    }

    /// What may be spent until the next mark, if a gap limits it.
    pub fn gap_left(&self, line: Line) -> Option<(u64, LimitKind)> {
        self.gap_left_of(line, self.committed().get(line))
    }

    fn gap_left_of(&self, line: Line, committed: u64) -> Option<(u64, LimitKind)> {
        let (gap, kind) = match self.terms.first_gap.get(line) {
            Some(gap) if !self.marked => (gap, LimitKind::FirstGap),
            Some(_) | None => (self.terms.gap.get(line)?, LimitKind::Gap),
        };
        Some((self.at_mark.get(line).saturating_add(gap).saturating_sub(committed), kind))
    }

    /// What was spent and is held above the limits: somebody reported more than was reserved, or a limit was lowered.
    pub fn debt(&self) -> Amounts {
        let gone = self.spent.plus(&self.held);
        Line::ALL
            .into_iter()
            .map(|line| (line, gone.get(line).saturating_sub(self.limit(line).unwrap_or(u64::MAX))))
            .collect()
    }
}

/// A scope at one moment: what all its lines are judged by is added up once.
#[derive(Clone, Debug)]
pub struct ScopeAt<'a> {
    scope: &'a Scope,
    committed: Amounts,
    in_flight: Amounts,
    spent_in: Vec<(Span, Amounts)>,
}

impl ScopeAt<'_> {
    /// The tightest limit on a line, and what it leaves; of equally tight ones that over all time. `None`: there is none.
    pub fn left(&self, line: Line) -> Option<(u64, LimitKind)> {
        let committed = self.committed.get(line);
        let mut tightest = self.scope.limit(line).map(|limit| (limit.saturating_sub(committed), LimitKind::Total));
        let mut tighten = |other: (u64, LimitKind)| {
            if tightest.is_none_or(|(least, _)| other.0 < least) {
                tightest = Some(other);
            }
        };
        if let Some(gap) = self.scope.gap_left_of(line, committed) {
            tighten(gap);
        }
        for (span, spent) in &self.spent_in {
            if let Some(limit) = self.scope.terms.windows[span].get(line) {
                let counted = spent.get(line).saturating_add(self.in_flight.get(line));
                tighten((limit.saturating_sub(counted), (*span).into()));
            }
        }
        tightest
    }

    /// What may be spent until the next mark.
    pub fn until_mark(&self, line: Line) -> Option<u64> {
        Some(self.scope.gap_left_of(line, self.committed.get(line))?.0)
    }
}

/// The totals of a scope, as the verdict shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub limits: Limits,
    pub spent: Amounts,
    pub held: Amounts,
    /// What was reported above what was reserved. Part of `spent`.
    pub overrun: Amounts,
}

impl From<&Scope> for Totals {
    fn from(scope: &Scope) -> Self {
        let limits = Line::ALL.into_iter().filter_map(|line| Some((line, scope.limit(line)?))).collect();
        Self { limits, spent: scope.spent, held: scope.held, overrun: scope.overrun }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_what_a_scope_stands_for() {
        let mut scope = ScopeId::host();
        for (name, level) in [
            ("acme", Level::Tenant),
            ("triage", Level::Line),
            ("fix", Level::Item),
            ("01m", Level::Attempt),
            ("child", Level::Worker),
            ("grandchild", Level::Worker),
        ] {
            scope = scope.child(name);
            assert_eq!((scope.level(), scope.name()), (level, name));
        }
        let paths: Vec<&str> = upward("acme/triage/fix").collect();
        assert_eq!(paths, ["acme/triage/fix", "acme/triage", "acme", ""]);
    }

    #[test]
    fn the_tightest_limit_is_named() {
        let limit = |amount| Limits::from_iter([(Line::Tokens, amount)]);
        let scope = Scope {
            terms: Terms {
                limits: limit(100),
                gap: limit(40),
                first_gap: limit(20),
                windows: BTreeMap::from([(Span::Hour, limit(60))]),
                ..Terms::default()
            },
            spent: Amounts::of(Line::Tokens, 10),
            ..Scope::default()
        };
        let left = |scope: &Scope, line| scope.left(line, 0);
        assert_eq!(left(&scope, Line::Tokens), Some((10, LimitKind::FirstGap)));
        let marked = Scope { marked: true, at_mark: Amounts::of(Line::Tokens, 10), ..scope.clone() };
        assert_eq!(left(&marked, Line::Tokens), Some((40, LimitKind::Gap)));
        assert_eq!(left(&marked, Line::MicroUsd), None);
    }
}
