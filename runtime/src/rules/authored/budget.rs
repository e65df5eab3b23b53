//! `[budget]` and `[budget.item]`: after this every line has a bound.
//!
//! Never: an infinite value, a sentinel, a bound that nobody can look up. What is not written follows from what is, or
//! is 0 because nothing can spend it, and is noted as a default.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::ceiling::{Ceiling, Excess, Shown};
use super::gap;
use super::kinds::{Kind, Wrong};
use super::limit::{self, amount};
use super::mistake::Mistake;
use super::operator::Policy;
use super::reader::{Key, Read, Reader, Section};
use crate::rules::line::Line;
use crate::rules::spec::{Budget, FileGrant, Origin};

/// Bytes of network for a run with a provider: some hundred calls with a full window.
const DEFAULT_NET: u64 = 32 << 20;
/// Bytes of disk for a run that may write files.
const DEFAULT_DISK: u64 = 64 << 20;
/// Bytes of disk for a run that may not: its evidence.
const DEFAULT_EVIDENCE: u64 = 1 << 20;

/// What the granted models are, as far as the budget is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Models {
    None,
    /// Scripts only: they need no network.
    Scripts,
    Providers,
}

/// Whether requests over HTTP are granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Web {
    Closed,
    Granted,
}

/// Whether tools of the host are granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tools {
    None,
    Granted,
}

/// What decides the bounds that are not written, and how far those that are may go.
pub(super) struct Circumstances<'a> {
    /// `None`: the grant has a mistake, so nothing follows from it.
    pub models: Option<Models>,
    pub files: Option<FileGrant>,
    pub web: Option<Web>,
    pub tools: Option<Tools>,
    /// `--wall-time`.
    pub wall_ms: Option<u64>,
    pub policy: &'a Policy,
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
pub(super) fn read(mut section: Section<'_>, reader: &mut Reader, circumstances: &Circumstances<'_>) -> Budget {
    let mut draft = Draft::default();
    for line in limit::spendable() {
        draft.read(&mut section, reader, &key(line, Scope::Attempt));
    }
    limit::refuse_levels(&mut section, reader, "caps");
    if let Some(item) = section.section(reader, "item").found() {
        let mut item = item.value;
        for line in limit::spendable() {
            draft.read(&mut item, reader, &key(line, Scope::Item));
        }
        limit::refuse_levels(&mut item, reader, "caps");
        item.finish(reader);
    }
    let gaps = gap::read(&mut section, reader);
    draft.complete(&section, reader, circumstances);
    section.finish(reader);
    gaps.check(reader, |line| draft.own(line, circumstances.wall_ms));
    draft.hold(reader, circumstances.policy);
    draft.note(reader);
    let (gap, first_gap) = (gaps.gap(), gaps.first());
    gaps.note(reader);
    let amounts = |bounds: &BTreeMap<Line, Bound>| bounds.iter().map(|(&line, bound)| (line, bound.amount)).collect();
    Budget { item: amounts(&draft.item), attempt: amounts(&draft.attempt), gap, first_gap }
}

fn key(line: Line, scope: Scope) -> Key<LimitOf> {
    Key { name: line.key(), kind: LimitOf { line, scope }, example: limit::example(line) }
}

/// The most that one attempt may be given. Of two ceilings on its time the lower one is.
fn ceilings(policy: &Policy) -> BTreeMap<Line, (u64, Ceiling)> {
    let of = |(&line, &most)| (line, (most, Ceiling { section: "policy.budget", name: Line::key(line) }));
    let mut all: BTreeMap<Line, (u64, Ceiling)> = policy.budget.iter().map(of).collect();
    if policy.budget.get(&Line::WallMs).is_none_or(|most| *most > policy.max_wall_ms) {
        all.insert(Line::WallMs, (policy.max_wall_ms, Ceiling { section: "policy", name: "max-wall" }));
    }
    all
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
        if limit::is_endless(raw) {
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

    fn complete(&mut self, section: &Section<'_>, reader: &mut Reader, circumstances: &Circumstances<'_>) {
        if let Some(amount) = circumstances.wall_ms {
            self.inherited.remove(&Line::WallMs);
            self.attempt.insert(Line::WallMs, Bound { amount, origin: Origin::Flag, span: None });
        }
        self.follow(Line::WorkMs, Line::WallMs);
        self.follow(Line::CpuMs, Line::WallMs);
        self.follow(Line::TokensIn, Line::Tokens);
        self.follow(Line::TokensOut, Line::Tokens);
        match circumstances.tools {
            Some(Tools::None) => self.otherwise(Line::ToolCalls, 0),
            Some(Tools::Granted) => {
                self.need(section, reader, Line::ToolCalls, "a tool is granted, so this needs a bound");
            }
            None => {}
        }
        if let Some(files) = circumstances.files {
            let disk = match files {
                FileGrant::ReadWrite => DEFAULT_DISK,
                FileGrant::None | FileGrant::ReadOnly => DEFAULT_EVIDENCE,
            };
            self.otherwise(Line::DiskBytes, disk);
        }
        match (circumstances.web, circumstances.models) {
            // What a worker fetches is its own choice: no default would fit.
            (Some(Web::Granted), _) => {
                self.need(section, reader, Line::NetBytes, "http is granted, so this needs a bound")
            }
            (Some(Web::Closed), Some(Models::None | Models::Scripts)) => self.otherwise(Line::NetBytes, 0),
            (Some(Web::Closed), Some(Models::Providers)) => self.otherwise(Line::NetBytes, DEFAULT_NET),
            (None, _) | (_, None) => {}
        }
        match circumstances.models {
            None => self.sum(),
            Some(Models::None) => {
                let unused = [Line::ModelCalls, Line::TokensIn, Line::TokensOut, Line::MicroUsd];
                unused.into_iter().for_each(|line| self.otherwise(line, 0));
                self.sum();
            }
            Some(Models::Scripts | Models::Providers) => {
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

    /// What an attempt may spend of a line by the job's own words. `None`: the command line says it, and may well say
    /// less than the job reckons with.
    fn own(&self, line: Line, wall_ms: Option<u64>) -> Option<u64> {
        let bound = self.attempt.get(&line).or(self.item.get(&line))?;
        let follows = [Line::WorkMs, Line::CpuMs].contains(&line) && wall_ms.is_some();
        match bound.origin {
            Origin::Flag => None,
            Origin::Default if follows => None,
            Origin::Default | Origin::Job | Origin::Operator => Some(bound.amount),
        }
    }

    /// Holds what one attempt may spend against the operator's ceilings.
    fn hold(&mut self, reader: &mut Reader, policy: &Policy) {
        for (line, (most, ceiling)) in ceilings(policy) {
            let (section, bound, instead) = match (self.attempt.get(&line), self.item.get(&line)) {
                (Some(bound), _) => ("budget", bound, None),
                (None, Some(bound)) => ("budget.item", bound, Some("budget")),
                (None, None) => continue,
            };
            if bound.amount <= most {
                continue;
            }
            match bound.origin {
                Origin::Default => {
                    self.attempt.insert(line, Bound { amount: most, origin: Origin::Operator, span: None });
                }
                Origin::Job | Origin::Flag | Origin::Operator => {
                    let [asked, most] = [bound.amount, most].map(|shown| Shown::amount(&amount(line), shown));
                    let (key, span) = (format!("{section}.{}", line.key()), bound.span.clone());
                    reader.mistake(Excess { key: &key, span, asked, most, ceiling, instead }.mistake());
                }
            }
        }
    }

    fn note(&self, reader: &mut Reader) {
        for line in limit::spendable() {
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
        if self.item.is_empty() {
            reader.set("budget.item".to_owned(), gap::NONE.to_owned(), Origin::Default);
        }
        for (line, bound) in &self.item {
            reader.set(format!("budget.item.{}", line.key()), amount(*line).show(&bound.amount), bound.origin);
        }
    }
}
