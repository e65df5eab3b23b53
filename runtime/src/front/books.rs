//! What the books look like: a row for each limit of a scope, and the calls whose cost nobody knows.
//!
//! Never: changes them, rounds. A person sees amounts in their units, a machine integers; both see the same rows.

use console::style;
use serde::Serialize;

use crate::rules::authored::limit;
use crate::rules::calendar::utc;
use crate::rules::ledger::{Amounts, CallState, Ledger, Level, LimitKind, Line, Scope, ScopeId};
use crate::rules::units;
use crate::rules::window::LetsGo;

use super::screen;
use super::table::{Side, Table};
use super::wrap;

/// The books of some scopes at one moment.
#[derive(Debug, Serialize)]
pub(super) struct Books {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    at_ms: u64,
    /// From the host down, each scope before what is in it.
    scopes: Vec<Page>,
    held: Vec<HeldCall>,
}

/// The books of one scope.
#[derive(Debug, Serialize)]
struct Page {
    scope: String,
    level: Level,
    closed: bool,
    rows: Vec<Row>,
}

/// One limit, and what counts against it; or what was spent of a line that has none here.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    line: Line,
    limit_kind: LimitKind,
    /// As a file says it.
    limit: Option<u64>,
    /// What an operator added.
    topped_up: u64,
    /// In the window, or since the last mark, if it is the limit of one.
    spent: u64,
    reserved: u64,
    held: u64,
    carved: u64,
    left: Option<u64>,
    debt: u64,
    /// When a window next lets something go, and how much.
    #[serde(skip_serializing_if = "Option::is_none")]
    lets_go: Option<LetsGo>,
}

/// A call whose cost nobody knows.
#[derive(Debug, Serialize)]
struct HeldCall {
    call: String,
    scope: String,
    dispatched_ms: u64,
    held: Amounts,
}

/// Which scopes are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Open,
    /// Attempts that are over as well.
    All,
}

impl Books {
    /// The books of a scope and of all in it that have a limit or have spent something.
    pub(super) fn of(ledger: &Ledger, root: &ScopeId, shown: Shown, now_ms: u64) -> Self {
        let mut scopes: Vec<(&ScopeId, &Scope)> = ledger
            .scopes()
            .filter(|(id, scope)| is_within(id, root) && (!scope.closed || shown == Shown::All || *id == root))
            .collect();
        scopes.sort_by(|(one, _), (other, _)| in_tree(one).cmp(in_tree(other)));
        let pages = scopes.into_iter().map(|(id, scope)| Page {
            scope: id.to_string(),
            level: id.level(),
            closed: scope.closed,
            rows: rows(scope, now_ms),
        });
        let mut held: Vec<HeldCall> = ledger
            .calls()
            .filter(|(_, call)| call.state == CallState::Held && is_within(&call.scope, root))
            .map(|(id, call)| HeldCall {
                call: id.to_string(),
                scope: call.scope.to_string(),
                dispatched_ms: call.dispatched_ms,
                held: call.reserved,
            })
            .collect();
        held.sort_by(|one, other| (one.dispatched_ms, &one.call).cmp(&(other.dispatched_ms, &other.call)));
        Self { at_ms: now_ms, scopes: pages.filter(|page| !page.rows.is_empty()).collect(), held }
    }

    /// The ids of the held calls, the longest held first.
    pub(super) fn held(&self) -> impl Iterator<Item = &str> {
        self.held.iter().map(|held| held.call.as_str())
    }

    /// For a person.
    pub(super) fn screen(&self) -> Vec<String> {
        if self.scopes.is_empty() {
            return vec!["nothing is limited here, and nothing was spent".to_owned()];
        }
        let right = |name| (name, Side::Right);
        let mut table = Table::new([
            ("line", Side::Left),
            right("limit"),
            right("spent"),
            right("reserved"),
            right("held"),
            right("carved"),
            right("left"),
            right("debt"),
        ])
        .missing(&["reserved", "carved"]);
        for page in &self.scopes {
            table.heading(page.heading());
            page.rows.iter().for_each(|row| table.row(row.cells()));
        }
        let mut lines = table.lines();
        let windows = self.scopes.iter().flat_map(|page| page.rows.iter().map(|row| (&page.scope, row)));
        let letting = windows.filter_map(|(scope, row)| Some((scope, row, row.lets_go?)));
        let letting = letting.map(|(scope, row, LetsGo { at_ms, amount })| {
            let name = name(row.line, row.limit_kind);
            let line = format!("  {scope} {name} · {} more at {}", limit::show(row.line, amount), utc(at_ms));
            wrap::out(&line, 4)
        });
        let letting: Vec<String> = letting.collect();
        if !letting.is_empty() {
            lines.push(style("windows: what leaves one may be spent again").bold().to_string());
            lines.extend(letting);
        }
        if !self.held.is_empty() {
            lines.push(style("held: nobody knows what these cost, so they count in full").bold().to_string());
        }
        for call in &self.held {
            let ago = units::show_duration(self.at_ms.saturating_sub(call.dispatched_ms) / 1_000 * 1_000);
            lines.push(format!("  {} of {} · since {} ({ago})", call.call, call.scope, utc(call.dispatched_ms)));
            lines.push(format!("    {}", screen::amounts(&call.held)));
            let end = format!("jidoka budget write-off {} [--spent KEY=AMOUNT]... --reason TEXT", call.call);
            lines.push(format!("    {}", style(end).dim()));
        }
        lines
    }
}

impl Page {
    fn heading(&self) -> String {
        match self.level {
            Level::Host => self.scope.clone(),
            Level::Tenant | Level::Line | Level::Item | Level::Attempt | Level::Worker => {
                let over = if self.closed { ", over" } else { "" };
                format!("{} ({}{over})", self.scope, self.level.name())
            }
        }
    }
}

impl Row {
    fn cells(&self) -> [String; 8] {
        let show = |amount: u64| limit::show(self.line, amount);
        let some = |amount: u64| if amount == 0 { NOTHING.to_owned() } else { show(amount) };
        let limit = match (self.limit, self.topped_up) {
            (None, _) => NOTHING.to_owned(),
            (Some(limit), 0) => show(limit),
            (Some(limit), added) => format!("{}+{}", show(limit), show(added)),
        };
        [
            name(self.line, self.limit_kind),
            limit,
            some(self.spent),
            some(self.reserved),
            some(self.held),
            some(self.carved),
            self.left.map_or(NOTHING.to_owned(), show),
            some(self.debt),
        ]
    }
}

/// Stands where there is no limit, or no amount.
const NOTHING: &str = "-";

/// A limit by the key of its line, for example `tokens/hour`.
pub(super) fn name(line: Line, limit: LimitKind) -> String {
    let of = match limit {
        LimitKind::Total => return line.key().to_owned(),
        LimitKind::Hour => "hour",
        LimitKind::Day => "day",
        LimitKind::Week => "week",
        LimitKind::Gap => "gap",
        LimitKind::FirstGap => "first-gap",
    };
    format!("{}/{of}", line.key())
}

/// The rows of a scope, line by line: all time, the windows, the gap.
fn rows(scope: &Scope, now_ms: u64) -> Vec<Row> {
    let (committed, debt) = (scope.committed(), scope.debt());
    let mut rows = Vec::new();
    for line in Line::ALL {
        let row = |limit_kind, limit, spent, held, left| Row {
            line,
            limit_kind,
            limit,
            topped_up: 0,
            spent,
            reserved: scope.reserved.get(line),
            held,
            carved: scope.carved.get(line),
            left,
            debt: 0,
            lets_go: None,
        };
        let (spent, held) = (scope.spent.get(line), scope.held.get(line));
        let limit = scope.terms.limits.get(line);
        if limit.is_some() || committed.get(line) > 0 {
            let left = scope.limit(line).map(|limit| limit.saturating_sub(committed.get(line)));
            let total = row(LimitKind::Total, limit, spent, held, left);
            rows.push(Row { topped_up: scope.topped_up.get(line), debt: debt.get(line), ..total });
        }
        for (&span, limits) in &scope.terms.windows {
            let Some(limit) = limits.get(line) else { continue };
            let spent_in = scope.spent_in(span, now_ms).get(line);
            let counted = spent_in.saturating_add(committed.get(line) - spent);
            let left = Some(limit.saturating_sub(counted));
            let lets_go = scope.lets_go(span, line, now_ms);
            rows.push(Row { lets_go, ..row(span.into(), Some(limit), spent_in, held, left) });
        }
        if let Some((left, kind)) = scope.gap_left(line).filter(|_| !scope.closed) {
            let gap = if kind == LimitKind::FirstGap { &scope.terms.first_gap } else { &scope.terms.gap };
            // What was held at the mark may be settled by now, so only the sum is known.
            let since_mark = spent.saturating_add(held).saturating_sub(scope.at_mark.get(line));
            rows.push(row(kind, gap.get(line), since_mark, 0, Some(left)));
        }
    }
    rows
}

/// Whether a scope is `root` or somewhere in it.
pub(super) fn is_within(id: &ScopeId, root: &ScopeId) -> bool {
    match id.path().strip_prefix(root.path()) {
        Some(rest) => root.path().is_empty() || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// By names, so that what is in a scope follows it: in the order of characters `a-b` is before `a/b`.
fn in_tree(id: &ScopeId) -> impl Iterator<Item = &str> {
    id.path().split('/')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rules::ledger::{CallId, Limits, Terms};
    use crate::rules::window::Span;

    const NOW_MS: u64 = 1_795_266_548_000;

    fn tokens(amount: u64) -> Limits {
        Limits::from_iter([(Line::Tokens, amount)])
    }

    fn cost(tokens: u64, micro_usd: u64) -> Amounts {
        [(Line::Tokens, tokens), (Line::MicroUsd, micro_usd)].into_iter().collect()
    }

    /// A tenant with a daily limit and a top-up, and in it an attempt with a settled, a reserved and a held call.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        let ids = ["", "acme", "acme/triage", "acme/triage/fix", "acme/triage/fix/run"].map(ScopeId::of_path);
        let windows = BTreeMap::from([(Span::Day, tokens(300))]);
        let money = Limits::from_iter([(Line::MicroUsd, 1_000_000)]);
        let terms = [
            Terms::default(),
            Terms { limits: tokens(500), windows, ..Terms::default() },
            Terms::default(),
            Terms::default(),
            Terms { limits: money, gap: tokens(200), ..Terms::default() },
        ];
        for (id, terms) in ids.iter().zip(terms) {
            ledger.open(id, terms, NOW_MS).expect("opens");
        }
        ledger.top_up(&ids[1], &Amounts::of(Line::Tokens, 50), NOW_MS).expect("has a limit");
        let mut reserve = |call: &str, amounts| ledger.reserve(&ids[4], CallId::new(call), &amounts, NOW_MS);
        let [settled, _reserved, held] = [("a", cost(100, 5)), ("b", cost(20, 1)), ("c", cost(30, 0))]
            .map(|(id, it)| reserve(id, it).expect("fits"));
        let settled = ledger.dispatch(settled, NOW_MS).expect("open");
        ledger.settle(settled, &cost(90, 5), NOW_MS).expect("open");
        let held = ledger.dispatch(held, NOW_MS - 61_500).expect("open");
        ledger.hold(held);
        ledger
    }

    fn screen(root: &str, shown: Shown, ledger: &Ledger) -> Vec<String> {
        Books::of(ledger, &ScopeId::of_path(root), shown, NOW_MS).screen()
    }

    #[test]
    fn each_scope_has_a_row_for_each_limit_and_each_line_of_which_it_spent() {
        assert_eq!(
            screen("", Shown::Open, &ledger()),
            [
                "  line         limit      spent   reserved  held  carved       left  debt",
                "host",
                "  tokens           -         90         20    30       -          -     -",
                "  usd              -  $0.000005  $0.000001     -       -          -     -",
                "acme (tenant)",
                "  tokens      500+50         90         20    30       -        410     -",
                "  tokens/day     300         90         20    30       -        160     -",
                "  usd              -  $0.000005  $0.000001     -       -          -     -",
                "acme/triage (line)",
                "  tokens           -         90         20    30       -          -     -",
                "  usd              -  $0.000005  $0.000001     -       -          -     -",
                "acme/triage/fix (item)",
                "  tokens           -         90         20    30       -          -     -",
                "  usd              -  $0.000005  $0.000001     -       -          -     -",
                "acme/triage/fix/run (attempt)",
                "  tokens           -         90         20    30       -          -     -",
                "  tokens/gap     200        120         20     -       -         60     -",
                "  usd          $1.00  $0.000005  $0.000001     -       -  $0.999994     -",
                "windows: what leaves one may be spent again",
                "  acme tokens/day · 90 more at 2026-11-22 13:15:00 UTC",
                "held: nobody knows what these cost, so they count in full",
                "  c of acme/triage/fix/run · since 2026-11-21 13:08:06 UTC (61s)",
                "    30 tokens",
                "    jidoka budget write-off c [--spent KEY=AMOUNT]... --reason TEXT",
            ]
        );
    }

    #[test]
    fn the_least_that_is_left_is_what_the_ledger_leaves() {
        let ledger = ledger();
        let books = Books::of(&ledger, &ScopeId::host(), Shown::Open, NOW_MS);
        for line in Line::ALL {
            let rows = books.scopes.iter().flat_map(|page| &page.rows).filter(|row| row.line == line);
            let least = rows.filter_map(|row| row.left).min();
            let headroom = ledger.headroom(&ScopeId::of_path("acme/triage/fix/run"), line, NOW_MS);
            assert_eq!(least, headroom.map(|headroom| headroom.left), "{}", line.name());
        }
    }

    #[test]
    fn an_attempt_that_is_over_is_shown_when_somebody_asks_for_it() {
        let mut ledger = ledger();
        let attempt = ScopeId::of_path("acme/triage/fix/run");
        ledger.close(&attempt, NOW_MS);
        let has = |lines: &[String]| lines.contains(&"acme/triage/fix/run (attempt, over)".to_owned());
        assert!(!has(&screen("acme", Shown::Open, &ledger)));
        assert!(has(&screen("acme", Shown::All, &ledger)));
        assert!(has(&screen(attempt.path(), Shown::Open, &ledger)));
    }

    #[test]
    fn a_scope_is_shown_with_what_is_in_it_and_nothing_else() {
        let mut ledger = ledger();
        ledger
            .open(&ScopeId::of_path("acme-two"), Terms { limits: tokens(1), ..Terms::default() }, NOW_MS)
            .expect("opens");
        let scopes = |root: &str| -> Vec<String> {
            let books = Books::of(&ledger, &ScopeId::of_path(root), Shown::Open, NOW_MS);
            books.scopes.into_iter().map(|page| page.scope).collect()
        };
        assert_eq!(scopes("acme/triage/fix"), ["acme/triage/fix", "acme/triage/fix/run"]);
        assert_eq!(scopes(""), ["host", "acme", "acme/triage", "acme/triage/fix", "acme/triage/fix/run", "acme-two"]);
        assert!(Books::of(&ledger, &ScopeId::of_path("acme-two"), Shown::Open, NOW_MS).held().next().is_none());
    }

    #[test]
    fn a_lowered_limit_shows_as_debt() {
        let mut ledger = ledger();
        let acme = ScopeId::of_path("acme");
        ledger.open(&acme, Terms { limits: tokens(10), ..Terms::default() }, NOW_MS).expect("is open");
        let books = Books::of(&ledger, &acme, Shown::Open, NOW_MS);
        let Row { limit, topped_up, left, debt, .. } = &books.scopes[0].rows[0];
        assert_eq!((*limit, *topped_up, *left, *debt), (Some(10), 50, Some(0), 60));
    }
}
