//! `[budget]` and `[budget.item]`: after this every line has a bound.
//!
//! Never: an infinite value, a sentinel, a bound that nobody can look up. What is not written follows from what is, or
//! is 0 because nothing can spend it, and is noted as a default.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::amount::{Amount, Unit};
use super::kinds::{Kind, Wrong};
use super::mistake::Mistake;
use super::operator::MOST_MS;
use super::reader::{Key, Read, Reader, Section};
use crate::rules::ledger::Line;
use crate::rules::spec::{Budget, FileGrant, Origin};

/// Tokens, calls and millionths of a dollar: far above any run, far below where sums of runs could overflow.
const MOST_COUNT: u64 = 1_000_000_000_000;
/// Bytes: 1 TiB, as above.
const MOST_BYTES: u64 = 1 << 40;
/// Bytes of network for a run with a provider: some hundred calls with a full window.
const DEFAULT_NET: u64 = 32 << 20;
/// Bytes of disk for a run that may write files.
const DEFAULT_DISK: u64 = 64 << 20;
/// Bytes of disk for a run that may not: its evidence.
const DEFAULT_EVIDENCE: u64 = 1 << 20;

/// Words that people write for a limit that is none.
const ENDLESS: [&str; 12] =
    ["unlimited", "unbounded", "infinite", "infinity", "inf", "none", "no", "off", "max", "-1", "no-limit", ""];

/// What the granted models are, as far as the budget is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Models {
    None,
    /// Scripts only: they need no network.
    Scripts,
    Providers,
}

/// What decides the bounds that are not written.
pub(super) struct Circumstances {
    /// `None`: the grant has a mistake, so nothing follows from it.
    pub models: Option<Models>,
    pub files: Option<FileGrant>,
    /// `--wall`.
    pub wall_ms: Option<u64>,
}

/// The budget, and where the wall time of a run is bounded.
pub(super) struct Resolved {
    pub budget: Budget,
    pub wall: Option<Wall>,
}

/// The wall time of one run.
pub(super) struct Wall {
    pub key: &'static str,
    pub ms: u64,
    /// `None`: it comes from the command line.
    pub span: Option<Range<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Of(u64),
    Inherit,
}

/// Whether `inherit` means something: only one attempt has a scope around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Attempt,
    Item,
}

struct LimitOf {
    line: Line,
    scope: Scope,
}

#[derive(Clone, Debug)]
struct Bound {
    amount: u64,
    origin: Origin,
    span: Option<Range<usize>>,
}

/// Both scopes while they are completed.
#[derive(Default)]
struct Draft {
    item: BTreeMap<Line, Bound>,
    attempt: BTreeMap<Line, Bound>,
    /// Lines that the attempt leaves to the item on purpose, and where it says so.
    inherited: BTreeMap<Line, Range<usize>>,
    /// Lines with a mistake: nothing more is said of them.
    wrong: BTreeSet<Line>,
}

/// Reads and completes the budget.
pub(super) fn read(mut section: Section<'_>, reader: &mut Reader, circumstances: &Circumstances) -> Resolved {
    let mut draft = Draft::default();
    for line in Line::ALL {
        draft.read(&mut section, reader, &key(line, Scope::Attempt));
    }
    if let Some(item) = section.section(reader, "item").found() {
        let mut item = item.value;
        for line in Line::ALL {
            draft.read(&mut item, reader, &key(line, Scope::Item));
        }
        item.finish(reader);
    }
    draft.complete(&section, reader, circumstances);
    section.finish(reader);
    draft.note(reader);
    let amounts = |bounds: &BTreeMap<Line, Bound>| bounds.iter().map(|(&line, bound)| (line, bound.amount)).collect();
    let wall = |scope: &BTreeMap<Line, Bound>, key| {
        scope.get(&Line::WallMs).map(|bound| Wall { key, ms: bound.amount, span: bound.span.clone() })
    };
    Resolved {
        wall: wall(&draft.attempt, "budget.wall").or_else(|| wall(&draft.item, "budget.item.wall")),
        budget: Budget { item: amounts(&draft.item), attempt: amounts(&draft.attempt) },
    }
}

/// What a line may be bounded by.
fn amount(line: Line) -> Amount {
    match line {
        Line::WallMs | Line::WorkMs | Line::CpuMs => Amount::new(Unit::Duration, 0, MOST_MS),
        Line::NetBytes | Line::DiskBytes => Amount::new(Unit::Size, 0, MOST_BYTES),
        Line::MicroUsd => Amount::new(Unit::Usd, 0, MOST_COUNT),
        Line::TokensIn | Line::TokensOut | Line::Tokens | Line::ModelCalls | Line::ToolCalls => {
            Amount::new(Unit::Count, 0, MOST_COUNT)
        }
    }
}

fn key(line: Line, scope: Scope) -> Key<LimitOf> {
    let example = match line {
        Line::WallMs | Line::WorkMs | Line::CpuMs => "\"60s\"",
        Line::NetBytes => "\"8MiB\"",
        Line::DiskBytes => "\"64MiB\"",
        Line::MicroUsd => "\"0.25\"",
        Line::TokensIn | Line::TokensOut | Line::Tokens => "20000",
        Line::ModelCalls | Line::ToolCalls => "20",
    };
    Key { name: line.key(), kind: LimitOf { line, scope }, example }
}

impl Kind for LimitOf {
    type Value = Limit;

    fn allowed(&self) -> String {
        let amount = amount(self.line).allowed();
        match self.scope {
            Scope::Attempt => format!("{amount}; or \"inherit\" if [budget.item] bounds it"),
            Scope::Item => amount,
        }
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Limit, Vec<Wrong>> {
        let because = |problem: &str, label: &str| Wrong {
            span: value.span(),
            problem: problem.to_owned(),
            label: label.to_owned(),
            fix: None,
        };
        let raw = value.get_ref();
        match (raw.as_str(), self.scope) {
            (Some("inherit"), Scope::Attempt) => return Ok(Limit::Inherit),
            (Some("inherit"), Scope::Item) => {
                return Err(vec![because("cannot inherit: nothing above the item bounds it", "needs an amount")]);
            }
            (Some(_) | None, _) => {}
        }
        let endless = match raw.as_str() {
            Some(word) => ENDLESS.contains(&word.trim().to_lowercase().as_str()),
            None => {
                raw.as_integer().is_some_and(|number| number.as_str().starts_with('-'))
                    || raw.as_float().is_some_and(|number| number.as_str().contains("inf"))
            }
        };
        if endless {
            let problem = "is no limit, and every line has one: there is no word and no number for endless";
            return Err(vec![because(problem, "unbounded")]);
        }
        amount(self.line).read(value).map(Limit::Of)
    }

    fn show(&self, value: &Limit) -> String {
        match value {
            Limit::Of(limit) => amount(self.line).show(limit),
            Limit::Inherit => INHERIT.to_owned(),
        }
    }
}

const INHERIT: &str = "inherit";

impl Draft {
    fn read(&mut self, section: &mut Section<'_>, reader: &mut Reader, key: &Key<LimitOf>) {
        let LimitOf { line, scope } = key.kind;
        match section.read(reader, key) {
            Read::Absent => {}
            Read::Wrong => {
                self.wrong.insert(line);
            }
            Read::Found(found) => match found.value {
                Limit::Inherit => {
                    self.inherited.insert(line, found.span);
                }
                Limit::Of(amount) => {
                    let bound = Bound { amount, origin: Origin::Job, span: Some(found.span) };
                    self.scope(scope).insert(line, bound);
                }
            },
        }
    }

    fn scope(&mut self, scope: Scope) -> &mut BTreeMap<Line, Bound> {
        match scope {
            Scope::Attempt => &mut self.attempt,
            Scope::Item => &mut self.item,
        }
    }

    /// Whether the job says something of a line, right or wrong.
    fn said(&self, line: Line) -> bool {
        self.attempt.contains_key(&line) || self.item.contains_key(&line) || self.wrong.contains(&line)
    }

    /// Bounds a line by what another one says, in each scope that says it.
    fn follow(&mut self, line: Line, other: Line) {
        if self.said(line) {
            return;
        }
        for scope in [Scope::Attempt, Scope::Item] {
            if scope == Scope::Attempt && self.inherited.contains_key(&line) {
                continue;
            }
            if let Some(bound) = self.scope(scope).get(&other).cloned() {
                self.scope(scope).insert(line, Bound { origin: Origin::Default, span: None, ..bound });
            }
        }
    }

    /// Tokens are the sum of both sides, where both are bounded and the sum is not.
    fn sum(&mut self) {
        if self.said(Line::Tokens) {
            return;
        }
        let of = |scope: &BTreeMap<Line, Bound>, line| scope.get(&line).map(|bound: &Bound| bound.amount);
        let [in_item, out_item] = [Line::TokensIn, Line::TokensOut].map(|line| of(&self.item, line));
        let [in_attempt, out_attempt] = [Line::TokensIn, Line::TokensOut].map(|line| of(&self.attempt, line));
        let sum = |one: Option<u64>, other: Option<u64>| {
            Some(Bound { amount: one?.saturating_add(other?), origin: Origin::Default, span: None })
        };
        if let Some(bound) = sum(in_item, out_item) {
            self.item.insert(Line::Tokens, bound);
        }
        let inherits = self.inherited.contains_key(&Line::Tokens) || (in_attempt.is_none() && out_attempt.is_none());
        if let Some(bound) = sum(in_attempt.or(in_item), out_attempt.or(out_item)).filter(|_| !inherits) {
            self.attempt.insert(Line::Tokens, bound);
        }
    }

    fn otherwise(&mut self, line: Line, amount: u64) {
        if !self.said(line) && !self.inherited.contains_key(&line) {
            self.attempt.insert(line, Bound { amount, origin: Origin::Default, span: None });
        }
    }

    fn complete(&mut self, section: &Section<'_>, reader: &mut Reader, circumstances: &Circumstances) {
        if let Some(amount) = circumstances.wall_ms {
            self.inherited.remove(&Line::WallMs);
            self.attempt.insert(Line::WallMs, Bound { amount, origin: Origin::Flag, span: None });
        }
        self.follow(Line::WorkMs, Line::WallMs);
        self.follow(Line::CpuMs, Line::WallMs);
        self.follow(Line::TokensIn, Line::Tokens);
        self.follow(Line::TokensOut, Line::Tokens);
        self.otherwise(Line::ToolCalls, 0);
        if let Some(files) = circumstances.files {
            let disk = match files {
                FileGrant::ReadWrite => DEFAULT_DISK,
                FileGrant::None | FileGrant::ReadOnly => DEFAULT_EVIDENCE,
            };
            self.otherwise(Line::DiskBytes, disk);
        }
        match circumstances.models {
            None => self.sum(),
            Some(Models::None) => {
                let unused = [Line::ModelCalls, Line::TokensIn, Line::TokensOut, Line::MicroUsd, Line::NetBytes];
                unused.into_iter().for_each(|line| self.otherwise(line, 0));
                self.sum();
            }
            Some(models @ (Models::Scripts | Models::Providers)) => {
                self.otherwise(Line::NetBytes, if models == Models::Scripts { 0 } else { DEFAULT_NET });
                self.sum();
                let [tokens_in, tokens_out] = [Line::TokensIn, Line::TokensOut].map(|line| self.said(line));
                let tokens: &[Line] = match (tokens_in, tokens_out) {
                    (true, true) => &[],
                    (false, false) => &[Line::Tokens],
                    (true, false) => &[Line::TokensOut],
                    (false, true) => &[Line::TokensIn],
                };
                for &line in [Line::ModelCalls, Line::MicroUsd].iter().chain(tokens) {
                    self.need(section, reader, line, "a model is granted, so this needs a bound");
                }
            }
        }
        self.need(section, reader, Line::WallMs, "every run needs a bound on its time");
        for (line, span) in &self.inherited {
            if !self.item.contains_key(line) && !self.wrong.contains(line) {
                let key = key(*line, Scope::Item);
                reader.mistake(Mistake {
                    span: Some(span.clone()),
                    message: format!("budget line `{}` is unbounded: it inherits from nothing", line.key()),
                    label: format!("[budget.item] does not bound `{}`", line.key()),
                    help: format!(
                        "allowed: {}\nwrite in [budget.item]: {} = {}",
                        key.kind.allowed(),
                        line.key(),
                        key.example
                    ),
                });
            }
        }
    }

    fn need(&self, section: &Section<'_>, reader: &mut Reader, line: Line, label: &str) {
        if !self.said(line) && !self.inherited.contains_key(&line) {
            reader.mistake(Mistake {
                message: format!("budget line `{}` is unbounded", line.key()),
                label: label.to_owned(),
                ..section.missing(&key(line, Scope::Attempt))
            });
        }
    }

    fn note(&self, reader: &mut Reader) {
        for line in Line::ALL {
            match self.attempt.get(&line) {
                Some(bound) => {
                    reader.set(format!("budget.{}", line.key()), amount(line).show(&bound.amount), bound.origin)
                }
                None => {
                    let origin = if self.inherited.contains_key(&line) { Origin::Job } else { Origin::Default };
                    reader.set(format!("budget.{}", line.key()), INHERIT, origin);
                }
            }
        }
        for (line, bound) in &self.item {
            reader.set(format!("budget.item.{}", line.key()), amount(*line).show(&bound.amount), bound.origin);
        }
    }
}
