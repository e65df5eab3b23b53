//! Chains over entries that are made by hand: one for each verdict.

use std::collections::BTreeSet;

use super::*;
use crate::rules::andon::Puller;
use crate::rules::digest::Digest;
use crate::rules::divergence::{Divergence, DivergenceKind};
use crate::rules::effect::{
    Answer, Cost, Denied, Effect, Failure, FailureKind, Kind, OutcomeName, Reason, Refusal, Stream,
};
use crate::rules::ledger::Amounts;
use crate::rules::model::{Reply, Request, Stop as ReplyStop, Usage};
use crate::rules::progress::{Mark, Standing};
use crate::rules::record::{Capabilities, LedgerRecord, RECORD_FORMAT};
use crate::rules::spec::MarkKind;
use crate::rules::verdict::{CheckResult, Report, UsedUp};

/// A journal in the making.
struct Journal(Vec<Told>);

impl Journal {
    fn new() -> Self {
        let origin = RunOrigin {
            format: 2,
            serial: "run".into(),
            tenant: "acme".into(),
            line: "pages".into(),
            item: "one".into(),
            attempt: 1,
            component: digest(1),
            checks: vec![],
            tools: Default::default(),
            children: Default::default(),
            caller: None,
            engine: "e".into(),
            seed: 1,
            start_ms: 0,
            base: None,
            tree: None,
            context: None,
            parent: None,
        };
        Self(vec![Told { seq: 0, facts: Facts::Opened(Box::new(origin)), body: None }])
    }

    fn add(mut self, body: Body) -> Self {
        let seq = self.0.len() as u64;
        let (facts, _) = body.clone().split();
        self.0.push(Told { seq, facts, body: Some(body) });
        self
    }

    fn asked(self, call: u64, tokens: u64) -> Self {
        let effect = Effect::Model {
            request: Request {
                model: "m".into(),
                messages: vec![],
                tools: vec![],
                max_output: 1,
                min_output: 1,
                schema: None,
            },
        };
        let reserved = Amounts::default();
        let reply = Reply::new("so", vec![], ReplyStop::End);
        let cost = Cost { spent: Amounts::of(Line::Tokens, tokens), ..Cost::default() };
        let heard = Ok(Answer::Model { reply, usage: Usage::default(), micro_usd: 0 });
        self.add(Body::Intent { call, attempt: 1, effect, max_output: None, sent: None, reserved })
            .add(Body::Answered { call, kind: Kind::Model, heard, cost, tree: None })
    }

    fn failed(self, message: &str) -> Self {
        let failure = Failure { kind: FailureKind::Unavailable, message: message.into() };
        let heard = Err(Denied::Failed(failure));
        self.add(Body::Answered { call: 9, kind: Kind::Model, heard, cost: Cost::default(), tree: None })
    }

    fn refused(self, reason: Reason, setting: &str) -> Self {
        let refusal = Refusal { reason, asked: "a".into(), allowed: "b".into(), setting: setting.into() };
        self.add(Body::Refused { call: 8, effect: Effect::Left, refusal })
    }

    fn marked(self) -> Self {
        let mark = Mark { kind: MarkKind::Tree, digest: digest(2) };
        self.add(Body::Marked { call: None, mark, tree: None })
    }

    fn checked(self, name: &str, end: CheckEnd) -> Self {
        self.add(Body::Checked { result: CheckResult { name: name.into(), end } })
    }

    fn ended(self) -> Self {
        self.add(Body::Ended { outcome: OutcomeName::Returned, changed: vec![], tree: None, notes_dropped: 0 })
    }

    fn why(self, verdict: &Verdict) -> Why {
        self.why_with(verdict, |_| ())
    }

    fn why_with(self, verdict: &Verdict, change: impl FnOnce(&mut Record)) -> Why {
        let mut record = record();
        change(&mut record);
        record.judge(verdict);
        let told = self.ended().add(Body::Closed { record: Box::new(record) }).0;
        of(&told, &settings())
    }
}

fn digest(byte: u8) -> Digest {
    Digest::from_bytes([byte; 32])
}

fn record() -> Record {
    Record {
        format: RECORD_FORMAT,
        serial: "run".into(),
        tenant: Some("acme".into()),
        line: "pages".into(),
        item: "one".into(),
        attempt: 1,
        verdict: String::new(),
        detail: serde_json::Value::Null,
        why: String::new(),
        exit_code: 0,
        report: None,
        marks: vec![],
        evidence: vec![],
        gates: vec![],
        changes: vec![],
        applied: false,
        ledger: LedgerRecord::default(),
        waste: Amounts::default(),
        capabilities: Capabilities::default(),
        component: None,
        wall: None,
        repaid: 0,
        resumptions: 0,
        kept: String::new(),
        host: String::new(),
    }
}

fn settings() -> Vec<Setting> {
    let setting = |(key, value, origin): (&str, &str, Origin)| Setting { key: key.into(), value: value.into(), origin };
    [
        ("task.text", "\"t\"", Origin::Job),
        ("grants.files", "read-write", Origin::Job),
        ("grants.models", "[m]", Origin::Job),
        ("budget.tokens", "2400", Origin::Job),
        ("budget.tokens-in", "2400", Origin::Default),
        ("budget.wall", "10s", Origin::Flag),
        ("budget.gap.tokens", "100", Origin::Job),
        ("attempts.max", "3", Origin::Job),
        ("workspace.dir", "project", Origin::Job),
        ("done.marks", "[tree]", Origin::Job),
        ("done.tree", "[src]", Origin::Job),
        ("done.ignore", "[]", Origin::Default),
        ("done.no-change", "allowed", Origin::Job),
        ("done.checks", "[tests]", Origin::Job),
        ("check.tests.crate", "../check", Origin::Job),
        ("check.tests.wall", "20s", Origin::Job),
        ("caps.memory", "64MiB", Origin::Default),
        ("tenants.acme.budget.day.tokens", "5000", Origin::Operator),
    ]
    .map(setting)
    .into()
}

fn places(why: &Why) -> Vec<&str> {
    why.settings.iter().map(|setting| setting.place.as_str()).collect()
}

fn short(scope: &str, line: Line, limit: LimitKind) -> Reason {
    let shortfall =
        Shortfall { scope: scope.into(), path: ScopeId::host(), line, limit, asked: 2, left: 1, opens_ms: None };
    Reason::Exhausted { shortfall: Box::new(shortfall) }
}

#[test]
fn a_limit_leads_to_its_setting_and_to_the_calls_that_took_most() {
    let journal = Journal::new().asked(1, 10).asked(2, 700).asked(3, 300).asked(4, 20);
    let journal = journal.refused(short("attempt", Line::Tokens, LimitKind::Total), "[budget] tokens");
    let why = journal.why(&Verdict::Exhausted { scope: "attempt".into(), line: Line::Tokens });
    assert_eq!(why.ended_by, EndedBy::Limit);
    let setting = Allowed { place: "[budget] tokens".into(), value: Some("2400".into()), origin: Some(Origin::Job) };
    assert_eq!(why.settings, [setting]);
    assert!(why.how.starts_with("entry 9 was refused"), "{}", why.how);
    assert_eq!(why.notes[0], "the calls that took most tokens: entry 4: 700, entry 6: 300, entry 8: 20");
    assert_eq!(why.entries, [2, 4, 6, 8, 9, 10]);
    assert_eq!((why.exit_code, why.turn), (Some(20), "yours: the line or a limit stopped it"));
}

#[test]
fn a_shared_limit_names_the_operators_file() {
    let limit = LimitKind::Day;
    let stop = Stop::Exhausted { scope: "tenant".into(), line: Line::Tokens, limit, opens_ms: None };
    let why = Journal::new().add(Body::Stopped { stop });
    let why = why.why(&Verdict::Exhausted { scope: "tenant".into(), line: Line::Tokens });
    assert_eq!(places(&why), ["[tenants.acme.budget.day] tokens in the operator's file"]);
    assert_eq!((why.settings[0].value.as_deref(), why.settings[0].origin), (Some("5000"), Some(Origin::Operator)));
    assert!(why.notes.iter().any(|note| note.contains("jidoka budget show")), "{:?}", why.notes);
    // One that nobody wrote is still named.
    let why = Journal::new().why(&Verdict::Exhausted { scope: "host".into(), line: Line::MicroUsd });
    assert_eq!(places(&why), ["[host.budget] usd in the operator's file"]);
    assert_eq!(why.settings[0].value, None);
}

#[test]
fn what_passes_by_itself_leads_to_its_window_or_to_whoever_is_overloaded() {
    let deferred = Verdict::Deferred { why: "busy".into(), retry_at_ms: 5 };
    let stop = Stop::Exhausted { scope: "tenant".into(), line: Line::Tokens, limit: LimitKind::Day, opens_ms: Some(5) };
    let window = Journal::new().add(Body::Stopped { stop }).why(&deferred);
    assert_eq!(window.ended_by, EndedBy::Limit);
    assert_eq!(places(&window), ["[tenants.acme.budget.day] tokens in the operator's file"]);
    let stop = Stop::Deferred { why: "busy".into(), retry_at_ms: 5 };
    let provider = Journal::new().add(Body::Stopped { stop }).why(&deferred);
    assert_eq!((provider.ended_by, provider.exit_code), (EndedBy::Provider, Some(25)));
    assert!(provider.turn.starts_with("nobody's"), "{}", provider.turn);
}

#[test]
fn no_progress_says_what_was_seen_last_or_which_gap_was_spent() {
    let no_progress = |why: &str| Verdict::NoProgress { why: why.into() };
    let seen =
        Answer::CheckedIn { standing: Standing { new_mark: false, marks: 1, changed_files: 0 }, seen: digest(2) };
    let checked_in =
        Body::Answered { call: 1, kind: Kind::CheckIn, heard: Ok(seen), cost: Cost::default(), tree: None };
    let report = Report { status: Status::Done, summary: "all green".into(), evidence: vec![] };
    let why = Journal::new().marked().add(checked_in).why_with(&no_progress("nothing new"), |record| {
        record.report = Some(report);
    });
    assert_eq!((why.ended_by, places(&why)), (EndedBy::Guard, vec!["[done] marks", "[done] tree", "[done] ignore"]));
    assert_eq!(why.notes[0], "the last mark is entry 1");
    assert!(why.notes[1].contains("all green"), "{:?}", why.notes);
    assert!(why.notes[2].starts_with("what it showed last is entry 2: files blake3:"), "{:?}", why.notes);
    assert_eq!(why.entries, [1, 2, 3]);

    let gap = Stop::Exhausted { scope: "attempt".into(), line: Line::Tokens, limit: LimitKind::Gap, opens_ms: None };
    let journal = Journal::new().asked(1, 900).marked().asked(2, 60).add(Body::Stopped { stop: gap });
    let why = journal.why(&no_progress("the gap was spent"));
    assert_eq!((why.ended_by, places(&why)), (EndedBy::Limit, vec!["[budget.gap] tokens"]));
    assert_eq!(why.entries, [2, 3, 5, 6, 7]);
}

#[test]
fn a_check_that_says_no_is_named_with_its_settings() {
    let end = CheckEnd::Failed { summary: "2 failed".into(), findings: vec!["total is wrong".into()] };
    let verdict = Verdict::Rejected { gate: "tests".into(), findings: vec!["total is wrong".into()] };
    let gates = vec![CheckResult { name: "tests".into(), end: end.clone() }];
    let why = Journal::new().asked(1, 5).marked().checked("tests", end).why_with(&verdict, |record| {
        record.gates = gates;
    });
    assert_eq!((why.ended_by, why.how.as_str()), (EndedBy::Check, "check \"tests\": 2 failed"));
    assert_eq!(places(&why), ["[[check]] crate of \"tests\"", "[[check]] wall of \"tests\"", "[done] checks"]);
    assert_eq!(why.notes, ["finding: total is wrong"]);
    assert_eq!(why.entries, [2, 3, 4, 5]);
    let of_gate = |gate: &str| {
        let verdict = Verdict::Rejected { gate: gate.into(), findings: vec![] };
        let why = Journal::new().why(&verdict);
        (why.ended_by, places(&why).join(" "))
    };
    assert_eq!(of_gate("no-change"), (EndedBy::Guard, "[done] no-change".to_owned()));
    assert_eq!(of_gate("apply"), (EndedBy::Guard, "[workspace] dir".to_owned()));
    assert_eq!(of_gate("evidence"), (EndedBy::Guard, String::new()));
}

#[test]
fn a_worker_that_gives_up_is_shown_with_what_it_was_refused() {
    let journal = Journal::new().failed("away").refused(Reason::NotGranted, "[grants] models = [\"gpt\"]");
    let journal = journal.refused(Reason::TooLarge, "none: a fixed cap of the host");
    let why = journal.why(&Verdict::Unable { why: "no model".into() });
    assert_eq!((why.ended_by, places(&why)), (EndedBy::Worker, vec!["[grants] models = [\"gpt\"]"]));
    assert_eq!(why.settings[0].value.as_deref(), Some("[m]"));
    assert_eq!(why.entries, [1, 2, 3, 4]);
    let why = Journal::new().why(&Verdict::Unable { why: "no idea".into() });
    assert!(why.notes[0].contains("gave up by itself"), "{:?}", why.notes);
    let why = Journal::new().asked(1, 1).why(&Verdict::NeedsHuman { why: "which one?".into() });
    assert_eq!((why.ended_by, why.entries), (EndedBy::Worker, vec![2, 3]));
}

#[test]
fn a_pull_says_who_why_and_which_entry() {
    let pull = Pull {
        by: Puller::Worker,
        category: Category::AmbiguousSpec,
        reason: "2 or 20?".into(),
        evidence: vec!["blake3:1".into()],
    };
    let stop = Stop::Pulled { pull: pull.clone() };
    let why = Journal::new().asked(1, 1).add(Body::Stopped { stop }).why(&Verdict::Halted { pull });
    assert_eq!(why.how, "the worker pulled (ambiguous-spec): 2 or 20?");
    assert_eq!((why.ended_by, why.entries.clone(), places(&why)), (EndedBy::Pull, vec![2, 3, 4], vec!["[task] text"]));
    assert_eq!(why.notes, ["evidence: blake3:1"]);
}

#[test]
fn every_other_verdict_has_its_chain() {
    let broken = CheckEnd::Broken { why: "out of time".into() };
    let rule = "changed outside the deliverables of [done] tree";
    let divergence =
        Divergence { seq: 7, kind: DivergenceKind::Call, expected: "a".into(), got: "b".into(), diff: vec![] };
    let why = |verdict: &Verdict| Journal::new().asked(1, 1).why(verdict);

    let stray = why(&Verdict::ConstraintViolation { rule: rule.into(), paths: vec!["README.md".into()] });
    assert_eq!((stray.ended_by, places(&stray)), (EndedBy::Guard, vec!["[done] tree", "[done] ignore"]));
    assert_eq!(stray.notes, ["path: README.md"]);
    let trapped = why(&Verdict::Trapped { why: "past a cap: 99 bytes of memory; [caps] memory allows 9".into() });
    assert_eq!((trapped.ended_by, places(&trapped)), (EndedBy::Trap, vec!["[caps] memory"]));
    let printed = Body::Printed { stream: Stream::Stderr, text: "panicked".into(), dropped_bytes: 0 };
    let panicked = Journal::new().add(printed).why(&Verdict::Trapped { why: "unreachable".into() });
    assert_eq!((panicked.entries, panicked.settings), (vec![1, 2], vec![]));
    let unseen = Journal::new().checked("tests", broken.clone());
    let unseen = unseen.why_with(&Verdict::Unverifiable { why: "check \"tests\": out of time".into() }, |record| {
        record.gates = vec![CheckResult { name: "tests".into(), end: broken }];
    });
    assert_eq!(unseen.ended_by, EndedBy::Check);
    assert!(places(&unseen).contains(&"[[check]] wall of \"tests\""));
    let accepted = Journal::new().marked().checked("tests", CheckEnd::Passed { summary: "fine".into() });
    let accepted = accepted.why_with(&Verdict::Accepted, |record| {
        record.marks = vec![Mark { kind: MarkKind::Tree, digest: digest(2) }];
        record.gates = vec![CheckResult { name: "tests".into(), end: CheckEnd::Passed { summary: "fine".into() } }];
    });
    assert_eq!(accepted.how, "new marks: tree; checks passed: tests");
    assert_eq!((accepted.ended_by, accepted.entries, accepted.turn), (EndedBy::Success, vec![1, 2], "nobody's"));
    for (verdict, ended_by) in [
        (Verdict::NoChangeNeeded, EndedBy::Success),
        (Verdict::AttemptsExhausted { attempts: 3, max: 3 }, EndedBy::Limit),
        (Verdict::NotAdmitted { why: vec!["no".into()] }, EndedBy::Admission),
        (Verdict::Diverged(Box::new(divergence)), EndedBy::Host),
        (Verdict::Deferred { why: "busy".into(), retry_at_ms: 5 }, EndedBy::Provider),
        (Verdict::Cancelled, EndedBy::Person),
        (Verdict::Lost, EndedBy::Host),
        (Verdict::Fault { why: "the disk".into() }, EndedBy::Host),
    ] {
        let why = why(&verdict);
        assert_eq!((why.verdict.as_deref(), why.ended_by), (Some(verdict.name()), ended_by));
    }
}

#[test]
fn an_open_run_says_which_calls_have_no_answer_and_an_erased_one_only_facts() {
    let effect = Effect::Sleep { ms: 1 };
    let reserved = Amounts::default();
    let intent = Body::Intent { call: 2, attempt: 1, effect, max_output: None, sent: None, reserved };
    let open = Journal::new().asked(1, 1).add(intent).0;
    let why = of(&open, &settings());
    assert_eq!((why.verdict, why.exit_code, why.ended_by), (None, None, EndedBy::Nothing));
    assert_eq!((why.how.as_str(), why.entries), ("1 calls have no answer yet", vec![2, 3]));

    let by = UsedUp { scope: "attempt".into(), line: Line::WallMs, limit: LimitKind::Total, opens_ms: None };
    let full = Body::Full { used: 1, granted: 1, by };
    let told = Journal::new().asked(1, 1).add(full).ended();
    let mut record = record();
    record.judge(&Verdict::Unable { why: "secret".into() });
    let mut told = told.add(Body::Closed { record: Box::new(record) }).0;
    told.iter_mut().filter(|entry| entry.facts.has_content()).for_each(|entry| entry.body = None);
    let why = of(&told, &[]);
    assert_eq!((why.verdict.as_deref(), why.exit_code), (Some("unable"), Some(11)));
    assert!(!why.why.contains("secret") && places(&why) == ["[budget] wall"], "{why:?}");
    assert_eq!(why.entries, [2, 3, 4]);
}

#[test]
fn a_chain_is_never_longer_than_its_cap_and_keeps_what_is_most_telling() {
    let mut journal = Journal::new().refused(short("attempt", Line::Tokens, LimitKind::Total), "[budget] tokens");
    for call in 0..40 {
        journal = journal.asked(call, 1_000 - call);
    }
    let why = journal.why(&Verdict::Exhausted { scope: "attempt".into(), line: Line::Tokens });
    assert!(why.entries.len() <= MAX_ENTRIES && why.entries[0] == 1, "{:?}", why.entries);
    assert!(why.entries.is_sorted());
}

#[test]
fn a_key_and_its_place_are_two_spellings_of_one_setting() {
    for (place, key) in [
        ("[budget] tokens", Some("budget.tokens")),
        ("[grants] models = [\"gpt\"]", Some("grants.models")),
        ("[models.gpt] usd-per-mtok-in and usd-per-mtok-out", Some("models.gpt.usd-per-mtok-in")),
        ("[lines.pages.budget.hour] model-calls in the operator's file", Some("lines.pages.budget.hour.model-calls")),
        ("none: a fixed cap of the host", None),
        ("the worker's own request", None),
        ("[", None),
        ("[a]", None),
    ] {
        assert_eq!(key_of(place).as_deref(), key, "{place}");
    }
    let keys: BTreeSet<String> = settings().into_iter().map(|setting| setting.key).collect();
    for key in keys.iter().filter(|key| !key.starts_with("check.")) {
        assert_eq!(key_of(&place_of(key)).as_ref(), Some(key));
    }
    assert_eq!(place_of("line"), "line");
    assert_eq!(place_of("policy.max-wall"), "[policy] max-wall in the operator's file");
}
