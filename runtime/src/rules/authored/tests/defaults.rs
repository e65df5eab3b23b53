//! What is not written: its value, its origin, and that no line of the budget is left without a bound.

use super::*;
use crate::rules::line::Line;
use crate::rules::pin::Pin;
use crate::rules::spec::{Backoff, Caps, Check, CheckRun, Done, Guards, MarkKind, NoChange, OnOverload};

fn bounded(spec: &RunSpec) -> bool {
    limit::spendable().all(|line| spec.budget.attempt.contains_key(&line) || spec.budget.item.contains_key(&line))
}

#[test]
fn a_job_means_what_it_says() {
    let spec = plain(JOB).expect("it is right");
    assert_eq!((spec.line.as_str(), spec.item.as_deref(), spec.seed), ("examples", Some("fix-basket"), None));
    assert_eq!(spec.worker, ComponentSource::Crate(".".into()));
    assert_eq!(spec.task.text, "Make the tests pass.");
    assert_eq!(spec.workspace, Some(WorkspaceSpec { dir: "project".into(), context: None }));
    assert_eq!(spec.grants.files, FileGrant::ReadWrite);
    assert_eq!(spec.grants.models, ["coder".to_owned()].into());
    assert_eq!(spec.max_attempts, 3);
    assert_eq!(spec.caps, Caps::default());
    assert_eq!((spec.guards, spec.on_pull, spec.grants.human_ms), (Guards::default(), OnPull::Drain, None));
    assert_eq!(
        spec.done,
        Done {
            marks: [MarkKind::Tree].into(),
            tree: vec!["src".to_owned()],
            ignore: Vec::new(),
            no_change: NoChange::Refused,
            checks: vec!["tests".to_owned()],
        }
    );
    let run = CheckRun::Component(ComponentSource::Crate("..".into()));
    assert_eq!(spec.checks, [Check { name: "tests".to_owned(), run, pin: Pin::default(), wall_ms: 20_000 }]);
    let profile = &spec.models["coder"].profile;
    assert_eq!((profile.window, profile.max_output, profile.norm_factor_milli), (32_768, 4_096, 1_000));
    let price = profile.price.expect("it has one");
    assert_eq!((price.micro_usd_per_mtok_in, price.micro_usd_per_mtok_out), (2_500_000, 10_000_000));
    assert_eq!(
        spec.budget.attempt,
        BTreeMap::from([
            (Line::TokensIn, 20_000),
            (Line::TokensOut, 20_000),
            (Line::Tokens, 20_000),
            (Line::MicroUsd, 250_000),
            (Line::ModelCalls, 20),
            (Line::ToolCalls, 0),
            (Line::WallMs, 60_000),
            (Line::WorkMs, 60_000),
            (Line::CpuMs, 60_000),
            (Line::NetBytes, 0),
            (Line::DiskBytes, 64 << 20),
        ])
    );
    assert!(spec.budget.item.is_empty());
}

#[test]
fn a_job_without_grants_can_spend_nothing_but_time_and_evidence() {
    let spec = plain(LEAST).expect("it is right");
    let some: Vec<(Line, u64)> =
        spec.budget.attempt.iter().map(|(&line, &limit)| (line, limit)).filter(|(_, limit)| *limit > 0).collect();
    assert_eq!(some, [(Line::WallMs, 5_000), (Line::WorkMs, 5_000), (Line::CpuMs, 5_000), (Line::DiskBytes, 1 << 20)]);
    assert!(bounded(&spec));
}

#[test]
fn explain_knows_every_setting_of_a_job_and_where_it_comes_from() {
    let shown: Vec<String> = plain(LEAST)
        .expect("it is right")
        .settings
        .iter()
        .map(|it| format!("{} = {} ({:?})", it.key, it.value, it.origin))
        .collect();
    assert_eq!(
        shown,
        [
            "line = examples (Job)",
            "tenant = default (Default)",
            "item = each run is an item of its own (Default)",
            "seed = drawn fresh and recorded (Default)",
            "worker.component = worker.wasm (Job)",
            "worker.digest = any (Default)",
            "worker.signed-by = nobody (Default)",
            "worker.env = {} (Default)",
            "worker.args = [] (Default)",
            "task.text = \"Say hello.\" (Job)",
            "task.inputs = {} (Default)",
            "workspace = none (Default)",
            "grants.files = none (Default)",
            "grants.models = [] (Default)",
            "grants.tools = [] (Default)",
            "grants.children = [] (Default)",
            "grants.human = false (Default)",
            "grants.http = none (Default)",
            "budget.tokens-in = 0 (Default)",
            "budget.tokens-out = 0 (Default)",
            "budget.tokens = 0 (Default)",
            "budget.usd = $0.00 (Default)",
            "budget.model-calls = 0 (Default)",
            "budget.tool-calls = 0 (Default)",
            "budget.wall = 5s (Job)",
            "budget.work = 5s (Default)",
            "budget.cpu = 5s (Default)",
            "budget.net = 0B (Default)",
            "budget.disk = 1MiB (Default)",
            "budget.item = none (Default)",
            "budget.gap = none (Default)",
            "budget.first-gap = none (Default)",
            "attempts.max = 1 (Job)",
            "attempts.backoff = 0s (Job)",
            "attempts.max-backoff = 1h (Default)",
            "attempts.on-overload = defer (Default)",
            "guards.repeats = 3 (Default)",
            "guards.failures = 5 (Default)",
            "guards.degenerate = 3 (Default)",
            "guards.strikes = 3 (Default)",
            "guards.stall = 5m (Default)",
            "guards.pollers = [] (Default)",
            "guards.cluster-items = 3 (Default)",
            "guards.cluster-runs = 20 (Default)",
            "andon.on-pull = drain (Default)",
            "andon.on-lost = leave (Default)",
            "done.marks = [artifact] (Job)",
            "done.tree = [] (Default)",
            "done.ignore = [] (Default)",
            "done.no-change = refused (Default)",
            "done.checks = [] (Default)",
            "caps.memory = 64MiB (Default)",
            "caps.log = 256KiB (Default)",
            "caps.stdio = 64KiB (Default)",
            "caps.files = 10000 (Default)",
            "caps.handles = 1024 (Default)",
            "caps.lifted = 2MiB (Default)",
            "wall = none (Default)",
            "policy.files = read-write (Default)",
            "policy.commands = [] (Default)",
            "policy.models = [] (Default)",
            "policy.signed-by = [] (Default)",
            "policy.max-wall = 1h (Default)",
            "policy.wall = none (Default)",
            "policy.items = any (Default)",
            "policy.http = none (Default)",
        ]
    );
}

#[test]
fn a_setting_of_the_command_line_wins_and_says_so() {
    let overrides =
        Overrides { item: Some("other".into()), seed: Some(7), wall_ms: Some(1_500), ..Overrides::default() };
    let spec = job(JOB, &nobody(), &overrides).expect("it is right");
    assert_eq!((spec.item.as_deref(), spec.seed), (Some("other"), Some(7)));
    assert_eq!(spec.budget.attempt[&Line::WallMs], 1_500);
    assert_eq!(spec.budget.attempt[&Line::CpuMs], 1_500);
    assert_eq!(setting(&spec, "item"), ("other", Origin::Flag));
    assert_eq!(setting(&spec, "seed"), ("7", Origin::Flag));
    assert_eq!(setting(&spec, "budget.wall"), ("1500ms", Origin::Flag));
    assert_eq!(setting(&spec, "budget.cpu"), ("1500ms", Origin::Default));
}

#[test]
fn a_line_may_be_bounded_by_the_item_alone() {
    let budget =
        "[budget]\nwall = \"inherit\"\n[budget.item]\nwall = \"9s\"\ntokens = 5\nmodel-calls = 2\nusd = \"0\"\n";
    let text = with(JOB, "[budget]\nwall = \"60s\"\ntokens = 20000\nmodel-calls = 20\nusd = \"0.25\"\n", budget);
    let spec = plain(&text).expect("it is right");
    assert!(bounded(&spec));
    for line in [Line::WallMs, Line::WorkMs, Line::CpuMs] {
        assert_eq!((spec.budget.item[&line], spec.budget.attempt.get(&line)), (9_000, None));
    }
    for line in [Line::Tokens, Line::TokensIn, Line::TokensOut] {
        assert_eq!((spec.budget.item[&line], spec.budget.attempt.get(&line)), (5, None));
    }
    assert_eq!(setting(&spec, "budget.wall"), ("inherit", Origin::Job));
    assert_eq!(setting(&spec, "budget.item.wall"), ("9s", Origin::Job));
    assert_eq!(setting(&spec, "budget.item.cpu"), ("9s", Origin::Default));
    assert_eq!(setting(&spec, "budget.tokens"), ("inherit", Origin::Default));
}

#[test]
fn tokens_are_the_sum_of_both_sides() {
    for (attempt, item, expected) in [
        ("tokens-in = 3\ntokens-out = 4", "", (Some(7), None)),
        ("tokens-in = 3", "tokens-out = 4", (Some(7), None)),
        ("", "tokens-in = 3\ntokens-out = 4", (None, Some(7))),
        ("tokens-in = 1", "tokens-in = 3\ntokens-out = 4", (Some(5), Some(7))),
        ("tokens-in = 3\ntokens-out = 4", "tokens = 9", (None, Some(9))),
    ] {
        let text = with(JOB, "tokens = 20000\n", &format!("{attempt}\n"));
        let text = with(&text, "[attempts]", &format!("[budget.item]\n{item}\n[attempts]"));
        let spec = plain(&text).expect("it is right");
        let tokens = |scope: &BTreeMap<Line, u64>| scope.get(&Line::Tokens).copied();
        assert_eq!((tokens(&spec.budget.attempt), tokens(&spec.budget.item)), expected, "{attempt} | {item}");
        assert!(bounded(&spec));
    }
}

#[test]
fn the_longest_rest_is_an_hour_or_the_first_if_that_is_longer() {
    for (written, first_ms, most_ms, shown, origin) in [
        ("backoff = \"0s\"", 0, 3_600_000, "1h", Origin::Default),
        ("backoff = \"1h\"", 3_600_000, 3_600_000, "1h", Origin::Default),
        ("backoff = \"3600001ms\"", 3_600_001, 3_600_001, "3600001ms", Origin::Default),
        ("backoff = \"2s\"\nmax-backoff = \"2s\"", 2_000, 2_000, "2s", Origin::Job),
        ("backoff = \"2s\"\nmax-backoff = \"9s\"", 2_000, 9_000, "9s", Origin::Job),
    ] {
        let spec = plain(&with(LEAST, "backoff = \"0s\"", written)).expect("it is right");
        assert_eq!(spec.backoff, Backoff { first_ms, most_ms }, "{written}");
        assert_eq!(setting(&spec, "attempts.max-backoff"), (shown, origin), "{written}");
    }
}

#[test]
fn guards_andon_and_questions_mean_what_they_say() {
    let text = format!(
        "{LEAST}[grants]\nhuman = true\n[human]\ndeadline = \"2h\"\n[andon]\non-pull = \"freeze\"\n[guards]\n\
         repeats = 4\nfailures = 6\ndegenerate = 7\nstrikes = 8\nstall = \"90s\"\npollers = [\"b\", \"a.b\"]\n\
         cluster-items = 9\ncluster-runs = 10\n"
    );
    let text = with(&text, "[attempts]", "[attempts]\non-overload = \"tell\"");
    let spec = plain(&text).expect("it is right");
    assert_eq!(spec.on_overload, OnOverload::Tell);
    let guards = Guards {
        repeats: 4,
        failures: 6,
        degenerate: 7,
        strikes: 8,
        stall_ms: 90_000,
        pollers: ["a.b".to_owned(), "b".to_owned()].into(),
        cluster_items: 9,
        cluster_runs: 10,
    };
    assert_eq!((&spec.guards, spec.on_pull, spec.grants.human_ms), (&guards, OnPull::Freeze, Some(7_200_000)));
    for (key, value) in [
        ("grants.human", "true"),
        ("human.deadline", "2h"),
        ("andon.on-pull", "freeze"),
        ("guards.repeats", "4"),
        ("guards.stall", "90s"),
        ("guards.pollers", "[b, a.b]"),
        ("guards.cluster-runs", "10"),
    ] {
        assert_eq!(setting(&spec, key), (value, Origin::Job));
    }
    let unasked = format!("{LEAST}[grants]\nhuman = false\n[guards]\n[andon]\n");
    assert_eq!(plain(&unasked).expect("it is right").grants.human_ms, None);
}

#[test]
fn a_cluster_is_looked_for_in_twenty_runs_or_as_many_as_it_has_items() {
    for (items, runs) in [(2, 20), (20, 20), (21, 21), (100, 100)] {
        let spec = plain(&format!("{LEAST}[guards]\ncluster-items = {items}\n")).expect("it is right");
        assert_eq!((spec.guards.cluster_items, spec.guards.cluster_runs), (items, runs));
        assert_eq!(setting(&spec, "guards.cluster-runs"), (runs.to_string().as_str(), Origin::Default));
    }
}

#[test]
fn checks_may_be_the_only_mark() {
    let text = with(JOB, "marks = [\"tree\"]\ntree = [\"src\"]\n", "marks = [\"checks\"]\n");
    assert_eq!(plain(&text).expect("it is right").done.marks, [MarkKind::Checks].into());
    let text = with(JOB, "marks = [\"tree\"]", "marks = [\"tree\", \"artifact\", \"checks\"]");
    assert_eq!(plain(&text).expect("it is right").done.marks.len(), 3);
}

#[test]
fn the_checks_come_in_the_order_of_the_list() {
    let text = with(JOB, "checks = [\"tests\"]", "checks = [\"lint\", \"tests\"]");
    let text = format!("{text}[[check]]\nname = \"lint\"\ncomponent = \"lint.wasm\"\nwall = \"1s\"\n");
    let names: Vec<String> = plain(&text).expect("it is right").checks.into_iter().map(|check| check.name).collect();
    assert_eq!(names, ["lint", "tests"]);
}
