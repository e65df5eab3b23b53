//! What many runs may spend together: read, shown with its origin, and wrong where it is wrong.

use super::*;
use crate::rules::line::Line;
use crate::rules::spec::Allowance;
use crate::rules::window::Span;

fn triage() -> RunSpec {
    let text = with(LEAST, "line = \"examples\"", "line = \"triage\"");
    job(&text, &theirs(SHARED), &Overrides::default()).expect("it is right")
}

fn allowance(total: &[(Line, u64)], windows: &[(Span, Line, u64)]) -> Allowance {
    let window = |&(span, line, amount)| (span, BTreeMap::from([(line, amount)]));
    Allowance { total: total.iter().copied().collect(), windows: windows.iter().map(window).collect() }
}

#[test]
fn a_run_shares_what_its_host_its_tenant_and_its_line_are_given() {
    let shared = triage().shared;
    assert_eq!(
        shared.host,
        allowance(
            &[(Line::MicroUsd, 500_000_000), (Line::MemoryBytes, 2 << 30)],
            &[(Span::Hour, Line::Tokens, 2_000_000), (Span::Day, Line::MicroUsd, 20_000_000)]
        )
    );
    assert_eq!(shared.tenant, allowance(&[(Line::MicroUsd, 100_000_000)], &[(Span::Day, Line::Tokens, 500_000)]));
    assert_eq!(shared.line, allowance(&[(Line::ModelCalls, 1_000)], &[(Span::Week, Line::WallMs, 360_000_000)]));
    assert_eq!(shared.tenant_requests_per_minute, Some(60));
}

#[test]
fn explain_shows_the_shared_limits_of_this_run_and_no_others() {
    let spec = triage();
    let settings = spec.settings.iter().skip_while(|setting| !setting.key.starts_with("host."));
    let shown: Vec<String> = settings.map(|it| format!("{} = {} ({:?})", it.key, it.value, it.origin)).collect();
    assert_eq!(
        shown,
        [
            "host.budget.usd = $500.00 (Operator)",
            "host.budget.memory = 2GiB (Operator)",
            "host.budget.hour.tokens = 2000000 (Operator)",
            "host.budget.day.usd = $20.00 (Operator)",
            "tenants.acme.lines = [triage, review] (Operator)",
            "tenants.acme.requests-per-minute = 60 (Operator)",
            "tenants.acme.budget.usd = $100.00 (Operator)",
            "tenants.acme.budget.day.tokens = 500000 (Operator)",
            "lines.triage.budget.model-calls = 1000 (Operator)",
            "lines.triage.budget.week.wall = 100h (Operator)",
        ]
    );
    let overrides = Overrides { tenant: Some("globex".to_owned()), ..Overrides::default() };
    let spec = job(LEAST, &theirs(SHARED), &overrides).expect("it is right");
    assert_eq!(setting(&spec, "tenants.globex.lines"), ("any that no other tenant lists", Origin::Default));
    assert_eq!(setting(&spec, "tenants.globex.requests-per-minute"), ("as many as come", Origin::Default));
    assert_eq!(setting(&spec, "lines.examples.budget.disk"), ("1GiB", Origin::Operator));
    assert!(spec.settings.iter().all(|it| !it.key.contains("acme") && !it.key.contains("triage")));
    assert_eq!(spec.shared.tenant_requests_per_minute, None);
}

#[test]
fn without_an_operators_word_nothing_is_shared() {
    assert_eq!(plain(LEAST).expect("it is right").shared, Default::default());
    assert_eq!(operator("[host]\n[host.budget.week]\n[tenants]\n[lines]\n"), Ok(OperatorFile::default()));
}

#[test]
fn the_memory_of_a_run_stays_a_cap() {
    let spec = triage();
    assert!(!spec.budget.attempt.contains_key(&Line::MemoryBytes));
    assert!(!spec.budget.item.contains_key(&Line::MemoryBytes));
    assert_eq!(spec.shared.host.total[&Line::MemoryBytes], 2 << 30);
}

#[test]
fn each_shared_limit_ends_where_it_says() {
    for scope in ["host", "tenants.acme", "lines.triage"] {
        for (table, name, inside, outside, why) in [
            ("", "memory", "\"0B\"", "\"-1B\"", "does not start with a whole number"),
            ("", "memory", "\"1024GiB\"", "\"1099511627777B\"", "is above 1024GiB"),
            ("", "usd", "\"1000000\"", "\"1000000.000001\"", "is above $1000000.00"),
            (".hour", "tokens", "0", "-1", "is no limit: there is no word and no number for endless"),
            (".day", "tokens-in", "1000000000000", "1000000000001", "is above 1000000000000"),
            (".day", "tool-calls", "1000000000000", "1000000000001", "is above 1000000000000"),
            (".week", "cpu", "\"8760h\"", "\"31536000001ms\"", "is above 8760h"),
            (".week", "net", "\"1024GiB\"", "\"1099511627777B\"", "is above 1024GiB"),
        ] {
            let text = |value: &str| format!("[{scope}.budget{table}]\n{name} = {value}\n");
            assert!(operator(&text(inside)).is_ok(), "{}", text(inside));
            let (text, message) = (text(outside), format!("`{scope}.budget{table}.{name}` {why}"));
            let mistakes = operator(&text).expect_err(&message);
            assert_eq!(seen(&text, &mistakes), [(outside, message.as_str())]);
        }
    }
    let pace = |requests: &str| format!("[tenants.acme]\nrequests-per-minute = {requests}\n");
    for (requests, right) in [("1", true), ("1000000", true), ("0", false), ("1000001", false)] {
        assert_eq!(operator(&pace(requests)).is_ok(), right, "{requests}");
    }
}

#[test]
fn no_word_is_a_limit_without_an_end() {
    for value in ["\"unlimited\"", "\"Infinity\"", "\"none\"", "\"off\"", "\"\"", "\"-1\"", "-1", "inf", "+inf"] {
        let text = format!("[host.budget.day]\nusd = {value}\n");
        let mistakes = operator(&text).expect_err(value);
        let message = "`host.budget.day.usd` is no limit: there is no word and no number for endless";
        assert_eq!(seen(&text, &mistakes), [(value, message)]);
    }
}

#[test]
fn each_mistake_of_a_shared_limit_is_reported_where_it_is() {
    for (old, new, shown, message, help) in [
        (
            "[host.budget.hour]\n",
            "[host.budget.hour]\nmemory = \"1GiB\"\n",
            "memory",
            "`host.budget.hour.memory` is held and never spent",
            "allowed: `memory` in [host.budget]\nwrite in [host.budget]: memory = ",
        ),
        (
            "[lines.triage.budget.week]\n",
            "[lines.triage.budget.week]\nmemory = \"1GiB\"\n",
            "memory",
            "`lines.triage.budget.week.memory` is held and never spent",
            "write in [lines.triage.budget]: memory = ",
        ),
        (
            "usd = \"500\"",
            "usd = \"inherit\"",
            "\"inherit\"",
            "`host.budget.usd` cannot inherit: only [budget] of a job can",
            "write: usd = \"0.25\"",
        ),
        ("usd = \"500\"", "usd = 500", "500", "`host.budget.usd` is an integer", "write: usd = \"500\""),
        (
            "usd = \"500\"",
            "money = 5",
            "money",
            "unknown key `host.budget.money`",
            "disk, memory, hour, day, week\nwrite: nothing",
        ),
        (
            "tokens = 2000000",
            "tokns = 2000000",
            "tokns",
            "unknown key `host.budget.hour.tokns`",
            "cpu, net, disk\nwrite: tokens = 20000",
        ),
        ("[host.budget.week]", "[host.budget.month]", "month", "unknown key `host.budget.month`", "hour, day, week"),
        ("[host.budget.week]", "[host.limits]", "limits", "unknown key `host.limits`", "allowed in [host]: budget"),
        (
            "[tenants.globex]",
            "[tenants.globex]\nline = []",
            "line",
            "unknown key `tenants.globex.line`",
            "allowed in [tenants.globex]: lines, requests-per-minute, budget\nwrite: lines = [\"triage\"]",
        ),
        ("[tenants.globex]", "[tenants]\nglobex = 1", "1", "`tenants.globex` is an integer", "[tenants.globex] on a"),
        (
            "[tenants.globex]",
            "[tenants.Globex]",
            "Globex",
            "the tenant name `Globex` has the character 'G'",
            "allowed: 1 to 64 of a-z, 0-9 and -\nwrite: [tenants.acme]",
        ),
        (
            "[lines.examples.budget]",
            "[lines.ex_amples.budget]",
            "ex_amples",
            "the line name `ex_amples` has the character '_'",
            "write: [lines.triage]",
        ),
        (
            "[lines.examples.budget]",
            "[lines.examples]\npace = 1\n[lines.examples.budget]",
            "pace",
            "unknown key `lines.examples.pace`",
            "allowed in [lines.examples]: budget",
        ),
        (
            "[tenants.globex]",
            "[tenants.globex]\nlines = [\"a b\"]",
            "\"a b\"",
            "`tenants.globex.lines` has the character ' '",
            "write: lines = [\"triage\"]",
        ),
        (
            "[tenants.globex]",
            "[tenants.globex]\nlines = [\"other\", \"review\"]",
            "\"review\"",
            "`tenants.globex.lines` has `review`, which is `acme`'s",
            "each line in one list",
        ),
        ("[host.budget]", "[hosts.budget]", "hosts", "unknown key `hosts`", "models, policy, host, tenants, lines"),
    ] {
        let text = if new.starts_with("[hosts") {
            SHARED.replace("[host.", "[hosts.")
        } else if new == "[tenants]\nglobex = 1" {
            // A table of the file cannot follow what it holds.
            format!("{new}\n{}", with(SHARED, old, ""))
        } else {
            with(SHARED, old, new)
        };
        let mistakes = operator(&text).expect_err(message);
        assert_eq!(seen(&text, &mistakes), [(shown, message)], "{old:?} -> {new:?}");
        assert!(mistakes[0].help.contains(help), "{message}: {}", mistakes[0].help);
    }
}

#[test]
fn the_later_of_two_tenants_in_the_text_is_told_of_a_line_that_both_list() {
    let text = "[tenants.zeta]\nlines = [\"a\"]\n[tenants.acme]\nlines = [\"b\", \"a\"]\n";
    let mistakes = operator(text).expect_err("two owners");
    assert_eq!(seen(text, &mistakes), [("\"a\"", "`tenants.acme.lines` has `a`, which is `zeta`'s")]);
    assert_eq!(mistakes[0].span, text.rfind("\"a\"").map(|at| at..at + 3));
    assert_eq!(mistakes[0].label, "`tenants.zeta.lines` has it already");
}

#[test]
fn a_name_that_a_terminal_would_obey_is_not_repeated_as_it_is() {
    let text =
        "[tenants.\"a\\u001b\"]\nlines = [\"x\"]\n[tenants.\"b\\u001b\"]\nlines = [\"x\"]\n[lines.\"\\u001b\"]\n";
    let mistakes = operator(text).expect_err("three names and two owners");
    assert_eq!(mistakes.len(), 4);
    for Mistake { message, label, help, .. } in mistakes {
        assert!(![message, label, help.replace('\n', " ")].concat().contains(char::is_control));
    }
}

#[test]
fn names_end_where_they_say() {
    let file = |length: usize| {
        let name = "a".repeat(length);
        operator(&format!("[tenants.{name}]\nlines = [{name:?}]\n[lines.{name}]\n"))
    };
    assert!(file(64).is_ok());
    let mistakes = file(65).expect_err("too long three times");
    assert_eq!(mistakes.len(), 3, "{mistakes:?}");
    let lines = |count: usize| {
        let names: Vec<String> = (0..count).map(|number| format!("\"l{number}\"")).collect();
        operator(&format!("[tenants.acme]\nlines = [{}]\n", names.join(", ")))
    };
    assert!(lines(0).is_ok() && lines(1_024).is_ok());
    assert!(lines(1_025).is_err());
}
