//! `[budget.gap]` and `[budget.first-gap]`: what they mean, where they end, and what could never bind.

use super::*;
use crate::rules::line::Line;

/// [`GAPS`] with other tables.
fn gaps(gap: &str, first: &str) -> String {
    let text = with(GAPS, "wall = \"20s\"\ntool-calls = 5\n", &format!("{gap}\n"));
    with(&text, "wall = \"10s\"\ncpu = \"5s\"\n", &format!("{first}\n"))
}

#[test]
fn a_gap_means_what_it_says_and_the_first_is_the_tighter_one() {
    let spec = plain(GAPS).expect("it is right");
    assert_eq!(spec.budget.gap, BTreeMap::from([(Line::ToolCalls, 5), (Line::WallMs, 20_000)]));
    assert_eq!(
        spec.budget.first_gap,
        BTreeMap::from([(Line::ToolCalls, 5), (Line::WallMs, 10_000), (Line::CpuMs, 5_000)])
    );
    assert_eq!(setting(&spec, "budget.gap.wall"), ("20s", Origin::Job));
    assert_eq!(setting(&spec, "budget.first-gap.wall"), ("10s", Origin::Job));
    assert_eq!(setting(&spec, "budget.first-gap.cpu"), ("5s", Origin::Job));
    assert_eq!(setting(&spec, "budget.first-gap.tool-calls"), ("5", Origin::Default));
    assert!(spec.settings.iter().all(|setting| setting.key != "budget.gap.cpu"));
}

#[test]
fn a_job_without_gaps_has_none_and_says_so() {
    let spec = plain(JOB).expect("it is right");
    assert!(spec.budget.gap.is_empty() && spec.budget.first_gap.is_empty());
    for key in ["budget.gap", "budget.first-gap", "budget.item"] {
        assert_eq!(setting(&spec, key), ("none", Origin::Default), "{key}");
    }
}

#[test]
fn each_line_that_is_spent_again_may_have_a_gap() {
    let all = "tokens-in = 1\ntokens-out = 1\ntokens = 1\nusd = \"0.000001\"\nmodel-calls = 1\ntool-calls = 1\n\
               wall = \"1ms\"\nwork = \"1ms\"\ncpu = \"1ms\"\nnet = \"1B\"";
    let lines = with(GAPS, "tool-calls = 9", "tool-calls = 9\ntokens = 9\nusd = \"1\"\nmodel-calls = 1\nnet = \"1B\"");
    for table in ["gap", "first-gap"] {
        let text = with(&lines, "wall = \"20s\"\ntool-calls = 5\n", "");
        let text = with(&text, "wall = \"10s\"\ncpu = \"5s\"\n", "");
        let text = with(&text, &format!("[budget.{table}]"), &format!("[budget.{table}]\n{all}"));
        let spec = plain(&text).expect("it is right");
        let lines = if table == "gap" { spec.budget.gap } else { spec.budget.first_gap };
        assert_eq!(lines.len(), 10, "{lines:?}");
        assert!(lines.values().all(|amount| *amount == 1), "{lines:?}");
    }
}

#[test]
fn a_gap_ends_at_the_attempts_bound_and_a_first_gap_at_the_gap() {
    for (gap, first) in [
        ("wall = \"60s\"\ntool-calls = 9", "wall = \"60s\""),
        ("wall = \"20s\"", "wall = \"20s\"\ntool-calls = 9"),
        ("cpu = \"60s\"\nwork = \"60s\"", ""),
    ] {
        assert!(plain(&gaps(gap, first)).is_ok(), "{gap} | {first}");
    }
    for (gap, first, shown, message) in [
        ("wall = \"60001ms\"", "", "\"60001ms\"", "`budget.gap.wall` is 60001ms, and an attempt may spend 1m in all"),
        ("tool-calls = 10", "", "10", "`budget.gap.tool-calls` is 10, and an attempt may spend 9 in all"),
        ("cpu = \"61s\"", "", "\"61s\"", "`budget.gap.cpu` is 61s, and an attempt may spend 1m in all"),
        ("tokens = 1", "", "1", "`budget.gap.tokens` is 1, and an attempt may spend 0 in all"),
        ("", "tool-calls = 10", "10", "`budget.first-gap.tool-calls` is 10, and an attempt may spend 9 in all"),
        (
            "wall = \"20s\"",
            "wall = \"20001ms\"",
            "\"20001ms\"",
            "`budget.first-gap.wall` is 20001ms, and `budget.gap.wall` is 20s",
        ),
        ("tool-calls = 0", "", "0", "`budget.gap.tool-calls` is below 1"),
        ("", "wall = \"0s\"", "\"0s\"", "`budget.first-gap.wall` is below 1ms"),
        ("usd = \"0\"", "", "\"0\"", "`budget.gap.usd` is below $0.000001"),
        (
            "wall = \"none\"",
            "",
            "\"none\"",
            "`budget.gap.wall` is no limit: there is no word and no number for endless",
        ),
        ("wall = \"inherit\"", "", "\"inherit\"", "`budget.gap.wall` cannot inherit: only [budget] of a job can"),
        ("disk = \"1MiB\"", "", "disk", "unknown key `budget.gap.disk`"),
        ("", "memory = \"1MiB\"", "memory", "unknown key `budget.first-gap.memory`"),
        ("wal = \"1s\"", "", "wal", "unknown key `budget.gap.wal`"),
    ] {
        let text = gaps(gap, first);
        let mistakes = plain(&text).expect_err(message);
        assert_eq!(seen(&text, &mistakes), [(shown, message)], "{gap} | {first}");
        assert!(mistakes[0].help.starts_with("allowed"), "{}", mistakes[0].help);
    }
}

#[test]
fn what_a_gap_could_be_is_told() {
    let help = |gap, first| plain(&gaps(gap, first)).expect_err("one mistake").remove(0).help;
    assert_eq!(help("wall = \"2m\"", ""), "allowed: at most 1m\nwrite: wall = \"1m\"");
    assert_eq!(help("tool-calls = 3", "tool-calls = 4"), "allowed: at most 3\nwrite: tool-calls = 3");
    assert_eq!(help("tokens = 1", ""), "allowed: at most 0\nwrite: nothing; delete this key");
    let known = "allowed in [budget.gap]: tokens-in, tokens-out, tokens, usd, model-calls, tool-calls, wall, work, \
                 cpu, net\nwrite: nothing; delete this key";
    assert_eq!(help("disk = \"1MiB\"", ""), known);
}

#[test]
fn a_gap_is_held_against_the_item_where_the_attempt_inherits() {
    let text = with(GAPS, "tool-calls = 9", "tool-calls = \"inherit\"\n[budget.item]\ntool-calls = 4");
    let mistakes = plain(&text).expect_err("above it");
    let message = "`budget.gap.tool-calls` is 5, and an attempt may spend 4 in all";
    assert_eq!(seen(&text, &mistakes), [("5", message)]);
}

#[test]
fn a_shorter_time_on_the_command_line_is_no_mistake_of_the_job() {
    let overrides = Overrides { wall_ms: Some(1_000), ..Overrides::default() };
    let spec = job(GAPS, &nobody(), &overrides).expect("it is right");
    assert_eq!((spec.budget.attempt[&Line::CpuMs], spec.budget.first_gap[&Line::CpuMs]), (1_000, 5_000));
}
