//! `[policy.budget]` and `[policy.caps]`: what is written above a ceiling does not load, a default is cut down to it.

use super::*;
use crate::rules::line::Line;
use crate::rules::spec::Caps;

fn under(text: &str, policy: &str) -> Result<RunSpec, Vec<Mistake>> {
    job(text, &theirs(policy), &Overrides::default())
}

/// A ceiling, what a job writes that is just within it, and what is just above, with the message and a part of the help.
#[rustfmt::skip]
const ROWS: &[(&str, &str, &str, &str, &str)] = &[
    ("[policy.budget]\nusd = \"0.25\"", "usd = \"0.25\"", "usd = \"0.250001\"", "`budget.usd` is $0.250001, and the operator allows $0.25", "write: usd = \"$0.25\", or in [policy.budget] of the operator's file: usd = \"$0.250001\""),
    ("[policy.budget]\ntokens = 20000", "tokens = 20000", "tokens = 20001", "`budget.tokens` is 20001, and the operator allows 20000", "write: tokens = 20000, or in [policy.budget] of the operator's file: tokens = 20001"),
    ("[policy.budget]\nmodel-calls = 20", "model-calls = 20", "model-calls = 21", "`budget.model-calls` is 21, and the operator allows 20", "allowed: at most 20\n"),
    ("[policy.budget]\nwall = \"60s\"", "\nwall = \"60s\"", "\nwall = \"60001ms\"", "`budget.wall` is 60001ms, and the operator allows 1m", "or in [policy.budget] of the operator's file: wall = \"60001ms\""),
    // Of two ceilings on the time the lower one is told, once.
    ("[policy]\nmax-wall = \"60s\"\n[policy.budget]\nwall = \"61s\"", "\nwall = \"60s\"", "\nwall = \"62s\"", "`budget.wall` is 62s, and the operator allows 1m", "or in [policy] of the operator's file: max-wall = \"62s\""),
    ("[policy]\nmax-wall = \"61s\"\n[policy.budget]\nwall = \"60s\"", "\nwall = \"60s\"", "\nwall = \"62s\"", "`budget.wall` is 62s, and the operator allows 1m", "or in [policy.budget] of the operator's file: wall = \"62s\""),
];

/// What of [`JOB`] a row replaces.
fn stands(written: &str) -> &'static str {
    let lines = ["\nwall = \"60s\"", "tokens = 20000", "model-calls = 20", "usd = \"0.25\""];
    let name = written.split_once(" = ").expect("a line").0;
    lines.into_iter().find(|line| line.starts_with(&format!("{name} = "))).expect("it is in the job")
}

#[test]
fn what_an_attempt_is_given_ends_at_the_operators_ceiling() {
    for (policy, within, above, message, help) in ROWS {
        assert!(under(&with(JOB, stands(within), within), policy).is_ok(), "{policy} {within}");
        let text = with(JOB, stands(above), above);
        let mistakes = under(&text, policy).expect_err(message);
        let shown = above.split_once(" = ").expect("a line").1;
        assert_eq!(seen(&text, &mistakes), [(shown, *message)], "{policy}");
        assert!(mistakes[0].help.contains(help), "{}", mistakes[0].help);
        assert!(mistakes[0].label.starts_with("above the operator's `policy."), "{}", mistakes[0].label);
    }
}

#[test]
fn a_bound_that_an_attempt_inherits_is_held_against_the_ceiling() {
    let inherits = with(JOB, "tokens = 20000\n", "tokens = \"inherit\"\n");
    let text = with(&inherits, "[attempts]", "[budget.item]\ntokens = 20001\n[attempts]");
    let mistakes = under(&text, "[policy.budget]\ntokens = 20000\n").expect_err("above it");
    let message = "`budget.item.tokens` is 20001, and the operator allows 20000";
    assert_eq!(seen(&text, &mistakes), [("20001", message)]);
    assert_eq!(
        mistakes[0].help,
        "allowed: at most 20000\n\
         write in [budget]: tokens = 20000, or in [policy.budget] of the operator's file: tokens = 20001"
    );
    // With a bound of its own the attempt is within, whatever the item has.
    let text = with(JOB, "[attempts]", "[budget.item]\ntokens = 60000\n[attempts]");
    assert!(under(&text, "[policy.budget]\ntokens = 20000\n").is_ok());
}

#[test]
fn a_default_above_a_ceiling_is_cut_down_and_says_whose_it_is() {
    let policy = "[policy.budget]\ncpu = \"10s\"\nwork = \"2m\"\ndisk = \"1MiB\"\ntokens-in = 100\ntool-calls = 0\n";
    let spec = under(JOB, policy).expect("nothing that is written is above");
    assert_eq!(spec.budget.attempt[&Line::CpuMs], 10_000);
    assert_eq!(spec.budget.attempt[&Line::WorkMs], 60_000);
    assert_eq!(spec.budget.attempt[&Line::DiskBytes], 1 << 20);
    assert_eq!(spec.budget.attempt[&Line::TokensIn], 100);
    assert_eq!(setting(&spec, "budget.cpu"), ("10s", Origin::Operator));
    assert_eq!(setting(&spec, "budget.work"), ("1m", Origin::Default));
    assert_eq!(setting(&spec, "budget.disk"), ("1MiB", Origin::Operator));
    assert_eq!(setting(&spec, "budget.tool-calls"), ("0", Origin::Default));
    assert_eq!(setting(&spec, "policy.budget.cpu"), ("10s", Origin::Operator));
    assert_eq!(setting(&spec, "policy.budget.disk"), ("1MiB", Origin::Operator));
}

#[test]
fn an_attempt_that_inherits_a_default_gets_the_ceiling_and_the_item_keeps_its_own() {
    let text = with(LEAST, "wall = \"5s\"", "wall = \"inherit\"\n[budget.item]\nwall = \"9s\"");
    let spec = under(&text, "[policy.budget]\ncpu = \"1s\"\n").expect("nothing that is written is above");
    assert_eq!((spec.budget.attempt[&Line::CpuMs], spec.budget.item[&Line::CpuMs]), (1_000, 9_000));
    assert_eq!(setting(&spec, "budget.cpu"), ("1s", Origin::Operator));
    assert_eq!(setting(&spec, "budget.item.cpu"), ("9s", Origin::Default));
}

#[test]
fn the_command_line_is_held_against_the_ceiling_too() {
    let file = theirs("[policy.budget]\nwall = \"60s\"\n");
    let at = |wall_ms| job(JOB, &file, &Overrides { wall_ms: Some(wall_ms), ..Overrides::default() });
    assert!(at(60_000).is_ok());
    let mistakes = at(60_001).expect_err("above it");
    assert_eq!(seen(JOB, &mistakes), [("-", "--wall-time is 60001ms, and the operator allows 1m")]);
}

#[test]
fn a_gap_that_only_the_operator_outbids_is_no_mistake_of_the_job() {
    let spec = under(GAPS, "[policy.budget]\ncpu = \"1s\"\n").expect("it is right");
    assert_eq!((spec.budget.attempt[&Line::CpuMs], spec.budget.first_gap[&Line::CpuMs]), (1_000, 5_000));
}

#[test]
fn a_cap_ends_at_the_operators_ceiling() {
    for (name, most, more) in [
        ("memory", "\"128MiB\"", "\"134217729B\""),
        ("log", "\"1MiB\"", "\"1048577B\""),
        ("stdio", "\"1MiB\"", "\"1048577B\""),
        ("files", "20000", "20001"),
        ("handles", "2000", "2001"),
        ("lifted", "\"4MiB\"", "\"4194305B\""),
    ] {
        let policy = format!("[policy.caps]\n{name} = {most}\n");
        let capped = |value: &str| format!("{JOB}[caps]\n{name} = {value}\n");
        let spec = under(&capped(most), &policy).expect("just within");
        assert_eq!(setting(&spec, &format!("policy.caps.{name}")), (most.trim_matches('"'), Origin::Operator));
        let text = capped(more);
        let mistakes = under(&text, &policy).expect_err("just above");
        let [asked, most_shown] = [more, most].map(|amount| amount.trim_matches('"'));
        let message = format!("`caps.{name}` is {asked}, and the operator allows {most_shown}");
        assert_eq!(seen(&text, &mistakes), [(more, message.as_str())]);
        assert_eq!(
            mistakes[0].help,
            format!(
                "allowed: at most {most_shown}\n\
                 write: {name} = {most}, or in [policy.caps] of the operator's file: {name} = {more}"
            )
        );
    }
}

#[test]
fn a_default_cap_above_a_ceiling_is_cut_down_and_says_whose_it_is() {
    let policy = "[policy.caps]\nmemory = \"64KiB\"\nlog = \"0B\"\nstdio = \"1B\"\nfiles = 1\nhandles = 16\nlifted = \"64KiB\"\n";
    let spec = under(JOB, policy).expect("nothing is written");
    let cut =
        Caps { memory_bytes: 64 << 10, log_bytes: 0, stdio_bytes: 1, files: 1, handles: 16, lifted_bytes: 64 << 10 };
    assert_eq!(spec.caps, cut);
    assert_eq!(setting(&spec, "caps.memory"), ("64KiB", Origin::Operator));
    let spec = under(JOB, "[policy.caps]\nmemory = \"64MiB\"\n").expect("nothing is written");
    assert_eq!(spec.caps, Caps::default());
    assert_eq!(setting(&spec, "caps.memory"), ("64MiB", Origin::Default));
    assert!(spec.settings.iter().all(|setting| setting.key != "policy.caps.log"));
}

#[test]
fn each_mistake_of_a_ceiling_is_reported_where_it_is() {
    for (policy, shown, message, help) in [
        (
            "[policy.budget]\nmemory = \"1GiB\"\n",
            "memory",
            "`policy.budget.memory` is held and never spent",
            "write in [policy.caps]: memory = \"64MiB\"",
        ),
        (
            "[policy.budget]\nusd = \"unlimited\"\n",
            "\"unlimited\"",
            "`policy.budget.usd` is no limit: there is no word and no number for endless",
            "without the key there is no such limit",
        ),
        (
            "[policy.budget]\nusd = \"inherit\"\n",
            "\"inherit\"",
            "`policy.budget.usd` cannot inherit: only [budget] of a job can",
            "write: usd = \"0.25\"",
        ),
        ("[policy.budget]\nusd = 1\n", "1", "`policy.budget.usd` is an integer", "write: usd = \"1\""),
        (
            "[policy.budget]\ntokns = 1\n",
            "tokns",
            "unknown key `policy.budget.tokns`",
            "tokens-in, tokens-out, tokens, usd, model-calls, tool-calls, wall, work, cpu, net, disk\nwrite: tokens = ",
        ),
        ("[policy.budget.day]\nusd = \"1\"\n", "day", "unknown key `policy.budget.day`", "delete this key"),
        ("[policy.caps]\nmemory = \"2GiB\"\n", "\"2GiB\"", "`policy.caps.memory` is above 1GiB", "64KiB to 1GiB"),
        ("[policy.caps]\nhandles = 15\n", "15", "`policy.caps.handles` is below 16", "16 to 65536"),
        ("[policy.caps]\nmem = 1\n", "mem", "unknown key `policy.caps.mem`", "memory, log, stdio, files"),
        ("[policy]\ncaps = 1\n", "1", "`policy.caps` is an integer", "[policy.caps] on a line of its own"),
    ] {
        let mistakes = operator(policy).expect_err(message);
        assert_eq!(seen(policy, &mistakes), [(shown, message)]);
        assert!(mistakes[0].help.contains(help), "{}", mistakes[0].help);
    }
}
