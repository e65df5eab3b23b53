//! Every range at its ends and one past them.

use super::*;

/// A key of [`LEAST`], a value at the end that fits, the next one that does not, and why.
const ENDS: &[(&str, &str, &str, &str)] = &[
    ("attempts.max", "1", "0", "is below 1"),
    ("attempts.max", "100", "101", "is above 100"),
    ("attempts.backoff", "\"0ms\"", "\"-1ms\"", "does not start with a whole number"),
    ("attempts.backoff", "\"24h\"", "\"86400001ms\"", "is above 24h"),
    ("attempts.max-backoff", "\"0s\"", "\"-1s\"", "does not start with a whole number"),
    ("attempts.max-backoff", "\"24h\"", "\"86400001ms\"", "is above 24h"),
    ("guards.repeats", "2", "1", "is below 2"),
    ("guards.repeats", "20", "21", "is above 20"),
    ("guards.failures", "2", "1", "is below 2"),
    ("guards.failures", "100", "101", "is above 100"),
    ("guards.degenerate", "2", "1", "is below 2"),
    ("guards.degenerate", "20", "21", "is above 20"),
    ("guards.strikes", "1", "0", "is below 1"),
    ("guards.strikes", "10", "11", "is above 10"),
    ("guards.stall", "\"1s\"", "\"999ms\"", "is below 1s"),
    ("guards.stall", "\"24h\"", "\"86400001ms\"", "is above 24h"),
    ("guards.cluster-items", "2", "1", "is below 2"),
    ("guards.cluster-items", "100", "101", "is above 100"),
    ("guards.cluster-runs", "3", "2", "and `guards.cluster-items` is 3"),
    ("guards.cluster-runs", "1000", "1001", "is above 1000"),
    ("seed", "0", "-1", "is negative"),
    ("seed", "18446744073709551615", "18446744073709551616", "is larger than any amount"),
    ("budget.wall", "\"0s\"", "\"-1s\"", "does not start with a whole number"),
    ("budget.wall", "\"1h\"", "\"3600001ms\"", "and the operator allows 1h"),
    ("budget.work", "\"8760h\"", "\"31536000001ms\"", "is above 8760h"),
    ("budget.cpu", "\"8760h\"", "\"8761h\"", "is above 8760h"),
    ("budget.tokens", "1000000000000", "1000000000001", "is above 1000000000000"),
    ("budget.tokens-in", "1000000000000", "1000000000001", "is above 1000000000000"),
    ("budget.tokens-out", "1000000000000", "1000000000001", "is above 1000000000000"),
    ("budget.model-calls", "1000000000000", "1000000000001", "is above 1000000000000"),
    ("budget.tool-calls", "1000000000000", "1000000000001", "is above 1000000000000"),
    ("budget.usd", "\"1000000\"", "\"1000000.000001\"", "is above $1000000.00"),
    ("budget.usd", "\"$1000000\"", "\"$$1\"", "is not a decimal number"),
    ("budget.net", "\"1024GiB\"", "\"1099511627777B\"", "is above 1024GiB"),
    ("budget.disk", "\"1024GiB\"", "\"1099511627777B\"", "is above 1024GiB"),
    ("caps.memory", "\"64KiB\"", "\"65535B\"", "is below 64KiB"),
    ("caps.memory", "\"1GiB\"", "\"1073741825B\"", "is above 1GiB"),
    ("caps.log", "\"0B\"", "\"-1B\"", "does not start with a whole number"),
    ("caps.log", "\"16MiB\"", "\"16777217B\"", "is above 16MiB"),
    ("caps.stdio", "\"16MiB\"", "\"16777217B\"", "is above 16MiB"),
    ("caps.files", "100000", "100001", "is above 100000"),
    ("caps.handles", "16", "15", "is below 16"),
    ("caps.handles", "65536", "65537", "is above 65536"),
    ("caps.lifted", "\"64KiB\"", "\"65535B\"", "is below 64KiB"),
    ("caps.lifted", "\"64MiB\"", "\"67108865B\"", "is above 64MiB"),
];

/// [`LEAST`] with one more line, or with another value for a line that it has.
fn least_with(key: &str, value: &str) -> String {
    let (section, name) = key.split_once('.').unwrap_or(("", key));
    let header = format!("[{section}]\n");
    let line = format!("{name} = {value}\n");
    let old: Option<&str> = LEAST.lines().find(|line| line.starts_with(&format!("{name} = ")));
    match old {
        Some(old) => with(LEAST, &format!("{old}\n"), &line),
        None if section.is_empty() => format!("{line}{LEAST}"),
        None if LEAST.contains(&header) => with(LEAST, &header, &format!("{header}{line}")),
        None => format!("{LEAST}{header}{line}"),
    }
}

#[test]
fn each_range_ends_where_it_says() {
    for (key, inside, outside, why) in ENDS {
        let text = least_with(key, inside);
        assert!(plain(&text).is_ok(), "{key} = {inside}: {:?}", plain(&text));
        let text = least_with(key, outside);
        let mistakes = plain(&text).expect_err(outside);
        assert_eq!(mistakes.len(), 1, "{key} = {outside}: {mistakes:?}");
        assert_eq!(&text[mistakes[0].span.clone().expect("of the file")], *outside);
        assert!(mistakes[0].message.contains(why), "{key} = {outside}: {}", mistakes[0].message);
    }
}

#[test]
fn texts_and_names_end_where_they_say() {
    let quoted = |length: usize| format!("\"{}\"", "a".repeat(length));
    for (key, most) in [("line", 64), ("item", 128), ("task.text", 256 << 10)] {
        assert!(plain(&least_with(key, &quoted(most))).is_ok(), "{key}");
        let mistakes = plain(&least_with(key, &quoted(most + 1))).expect_err(key);
        assert_eq!(mistakes[0].message, format!("`{key}` is too long: {} bytes of at most {most}", most + 1));
    }
    for (line, most) in [("tree = [\"src\"]", 4_095), ("dir = \"project\"", 4_095), ("\"fix-basket\"", 128)] {
        let job = |length: usize| {
            let value = line[line.find('"').expect("is quoted")..].trim_end_matches(']');
            with(JOB, line, &line.replace(value, &quoted(length)))
        };
        assert!(plain(&job(most)).is_ok(), "{line}");
        assert!(plain(&job(most + 1)).is_err(), "{line}");
    }
    let argument = |length: usize| least_with("worker.args", &format!("[{}]", quoted(length)));
    assert!(plain(&argument(64 << 10)).is_ok());
    assert!(plain(&argument((64 << 10) + 1)).is_err());
}

#[test]
fn lists_and_tables_end_where_they_say() {
    let list = |count: usize| format!("[{}]", vec!["\"a\""; count].join(", "));
    let table = |count: usize| {
        let entries: Vec<String> = (0..count).map(|number| format!("k{number} = \"\"")).collect();
        format!("{{ {} }}", entries.join(", "))
    };
    for (key, value) in [("worker.args", list as fn(usize) -> String), ("worker.env", table), ("task.inputs", table)] {
        assert!(plain(&least_with(key, &value(256))).is_ok(), "{key}");
        assert!(plain(&least_with(key, &value(257))).is_err(), "{key}");
    }
}

#[test]
fn the_pollers_of_a_job_end_where_they_say() {
    let names = |count: usize| (0..count).map(|number| format!("\"t{number}\"")).collect::<Vec<_>>().join(", ");
    let name = |length: usize| format!("\"{}\"", "a".repeat(length));
    for (inside, outside) in [(names(64), names(65)), (name(128), name(129))] {
        assert!(plain(&least_with("guards.pollers", &format!("[{inside}]"))).is_ok());
        assert_eq!(plain(&least_with("guards.pollers", &format!("[{outside}]"))).expect_err("too much").len(), 1);
    }
}

#[test]
fn the_deadline_of_an_answer_ends_where_it_says() {
    let asks = |deadline: &str| format!("{LEAST}[grants]\nhuman = true\n[human]\ndeadline = \"{deadline}\"\n");
    for (deadline, ms) in [("1s", 1_000), ("720h", 2_592_000_000)] {
        assert_eq!(plain(&asks(deadline)).expect("it is right").grants.human_ms, Some(ms));
    }
    for (deadline, why) in [("999ms", "is below 1s"), ("2592000001ms", "is above 720h")] {
        let mistakes = plain(&asks(deadline)).expect_err(why);
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert_eq!(mistakes[0].message, format!("`human.deadline` {why}"));
    }
}

#[test]
fn a_model_of_the_job_ends_where_it_says() {
    for (old, inside, outside) in [
        ("window = 32768", "window = 1", "window = 0"),
        ("window = 32768", "window = 100000000", "window = 100000001"),
        ("max-output = 4096", "max-output = 1", "max-output = 0"),
        ("max-output = 4096", "max-output = 100000000", "max-output = 100000001"),
        ("usd-per-mtok-in = \"2.50\"", "usd-per-mtok-in = \"0\"", "usd-per-mtok-in = \"-0.1\""),
        ("usd-per-mtok-in = \"2.50\"", "usd-per-mtok-in = \"1000000\"", "usd-per-mtok-in = \"1000000.000001\""),
        ("window = 32768", "window = 9\nnorm-factor = \"0.25\"", "window = 9\nnorm-factor = \"0.249\""),
        ("window = 32768", "window = 9\nnorm-factor = \"16\"", "window = 9\nnorm-factor = \"16.001\""),
    ] {
        assert!(plain(&with(JOB, old, inside)).is_ok(), "{inside}: {:?}", plain(&with(JOB, old, inside)));
        assert_eq!(plain(&with(JOB, old, outside)).expect_err(outside).len(), 1, "{outside}");
    }
}

#[test]
fn values_are_nested_80_deep_and_not_deeper() {
    let nested = |depth: usize| least_with("worker.args", &("[".repeat(depth) + &"]".repeat(depth)));
    // Far from a stack that is too small: what is nested further is no TOML here.
    for (depth, said) in [(80, "is a list"), (81, "max recursion depth"), (100_000, "max recursion depth")] {
        let mistakes = plain(&nested(depth)).expect_err("no argument");
        assert!(mistakes[0].message.contains(said), "{depth}: {}", mistakes[0].message);
    }
}

#[test]
fn the_keys_of_an_operator_end_where_they_say() {
    let keys = |count: usize| {
        let keys: Vec<String> = (0..count).map(|number| format!("{number}.pub")).collect();
        operator(&format!("[policy]\nsigned-by = {keys:?}\n"))
    };
    assert_eq!(keys(16).expect("as many as allowed").policy.signed_by.len(), 16);
    assert!(keys(17).expect_err("one too many")[0].message.contains("17 of at most 16"));
}

#[test]
fn a_job_names_sixteen_children_and_not_seventeen() {
    let named = |count: usize| {
        let names: Vec<String> = (0..count).map(|number| format!("c{number}")).collect();
        let tables: String = names.iter().map(|name| format!("[children.{name}]\njob = \"{name}\"\n")).collect();
        plain(&with(JOB, "[models.coder]", &format!("children = {names:?}\n{tables}[models.coder]")))
    };
    assert_eq!(named(16).expect("as many as allowed").children.len(), 16);
    assert!(named(17).expect_err("one more")[0].message.contains("`grants.children`"));
}
