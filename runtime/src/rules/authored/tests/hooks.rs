//! The operator's hooks: read in their order, shown without what may be a key, and wrong where they are wrong.

use std::collections::BTreeSet;

use super::*;
use crate::rules::hook::{Hook, HookRun, Moment};

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn hooks_mean_what_they_say_in_the_order_of_the_file() {
    let [before, after, pulled]: [Hook; 3] = theirs(HOOKS).hooks.try_into().expect("three");
    assert_eq!(
        before,
        Hook {
            on: Moment::BeforeRun,
            run: HookRun::Command(words(&["/usr/bin/notify", "--token", "canary"])),
            wall_ms: 5_000,
            env: BTreeSet::new(),
            lines: None,
        }
    );
    assert_eq!(
        after,
        Hook {
            on: Moment::AfterRun,
            run: HookRun::Command(words(&["notify"])),
            wall_ms: 600_000,
            env: names(&["NOTIFY_KEY", "PATH"]),
            lines: Some(names(&["examples", "pages"])),
        }
    );
    assert_eq!(
        pulled,
        Hook {
            on: Moment::OnPull,
            run: HookRun::Webhook("https://chat.example:8443/services/canary?sig=canary".to_owned()),
            wall_ms: 1,
            env: BTreeSet::new(),
            lines: Some(names(&["pages"])),
        }
    );
}

#[test]
fn explain_shows_the_hooks_of_this_line_and_nothing_that_may_be_a_key() {
    let shown = |line: &str| -> Vec<String> {
        let text = with(LEAST, "line = \"examples\"", &format!("line = {line:?}"));
        let spec = job(&text, &theirs(HOOKS), &Overrides::default()).expect("it is right");
        let hooks = spec.settings.iter().filter(|setting| setting.key.starts_with("hook["));
        hooks.map(|it| format!("{} = {} ({:?})", it.key, it.value, it.origin)).collect()
    };
    let first = [
        "hook[1].on = before-run (Operator)",
        "hook[1].command = \"/usr/bin/notify\" and 2 more words (Operator)",
        "hook[1].wall = 5s (Operator)",
        "hook[1].env = [] (Default)",
        "hook[1].lines = all (Default)",
    ];
    let second = [
        "hook[2].on = after-run (Operator)",
        "hook[2].command = \"notify\" (Operator)",
        "hook[2].wall = 10m (Operator)",
        "hook[2].env = [PATH, NOTIFY_KEY] (Operator)",
        "hook[2].lines = [examples, pages] (Operator)",
    ];
    let third = [
        "hook[3].on = on-pull (Operator)",
        "hook[3].url = https://chat.example:8443 (Operator)",
        "hook[3].wall = 1ms (Operator)",
        "hook[3].lines = [pages] (Operator)",
    ];
    assert_eq!(shown("triage"), first);
    assert_eq!(shown("examples"), [first, second].concat());
    assert_eq!(shown("pages"), [&first[..], &second, &third].concat());
}

/// Edits of [`HOOKS`] that make one mistake each: what stands there, what stands there instead, what the span shows, the
/// message, a part of the help. One row a line, to be read as a table.
#[rustfmt::skip]
const ROWS: &[(&str, &str, &str, &str, &str)] = &[
    ("on = \"before-run\"\n", "", "[[hook]]", "`hook[1].on` is missing", "write in [[hook]]: on = \"after-run\""),
    ("on = \"before-run\"\n", "on = \"beforerun\"\n", "\"beforerun\"", "`hook[1].on` is \"beforerun\", which it cannot be", "write: on = \"before-run\""),
    ("command = [\"/usr/bin/notify\", \"--token\", \"canary\"]\n", "", "[[hook]]", "[[hook]] has none of `command`, `url`", "write in [[hook]]: command = [\"/usr/bin/notify\"]"),
    ("command = [\"/usr/bin/notify\", \"--token\", \"canary\"]\n", "command = [\"/a\"]\nurl = \"https://a\"\n", "\"https://a\"", "[[hook]] has both `command` and `url`", "exactly one of `command`, `url`"),
    ("command = [\"/usr/bin/notify\", \"--token\", \"canary\"]\n", "command = []\n", "[]", "`hook[1].command` is too short: 0 of at least 1", "write: command = [\"/usr/bin/notify\"]"),
    ("command = [\"/usr/bin/notify\", \"--token\", \"canary\"]\n", "command = \"/usr/bin/notify\"\n", "\"/usr/bin/notify\"", "`hook[1].command` is a text", "write: command = [\"/usr/bin/notify\"]"),
    ("\"/usr/bin/notify\"", "\"notify\"", "\"notify\"", "the program \"notify\" of `hook[1].command` is found by nothing: PATH is not among its variables", "write: command = [\"/usr/bin/notify\"], or env = [\"PATH\"] beside it"),
    ("\"/usr/bin/notify\"", "\"bin/notify\"", "\"bin/notify\"", "the program \"bin/notify\" of `hook[1].command` is a path from nowhere: a hook has no directory of its own", "allowed: an absolute path"),
    ("[\"notify\"]", "[\"./notify\"]", "\"./notify\"", "the program \"./notify\" of `hook[2].command` is a path from nowhere: a hook has no directory of its own", "allowed: an absolute path"),
    ("env = [\"PATH\", \"NOTIFY_KEY\"]", "env = [\"NOTIFY_KEY\"]", "\"notify\"", "the program \"notify\" of `hook[2].command` is found by nothing: PATH is not among its variables", "a name without / together with PATH"),
    ("wall = \"5s\"\n", "", "[[hook]]", "`hook[1].wall` is missing", "write in [[hook]]: wall = \"10s\""),
    ("wall = \"5s\"", "wall = \"0s\"", "\"0s\"", "`hook[1].wall` is below 1ms", "from 1ms to 10m"),
    ("wall = \"10m\"", "wall = \"600001ms\"", "\"600001ms\"", "`hook[2].wall` is above 10m", "from 1ms to 10m"),
    ("\"NOTIFY_KEY\"", "\"NOTIFY=1\"", "\"NOTIFY=1\"", "`hook[2].env` has the character '='", "A-Z, a-z, 0-9 and _"),
    ("\"NOTIFY_KEY\"", "\"PATH\"", "\"PATH\"", "`hook[2].env` has PATH twice", "write: env = [\"PATH\"]"),
    ("\"NOTIFY_KEY\"", "\"JIDOKA_ITEM\"", "\"JIDOKA_ITEM\"", "`hook[2].env` has JIDOKA_ITEM, which the host sets", "JIDOKA_MOMENT, JIDOKA_RUN, JIDOKA_LINE, JIDOKA_ITEM, JIDOKA_ATTEMPT"),
    ("wall = \"1ms\"", "wall = \"1ms\"\nenv = [\"PATH\"]", "env", "`hook[3].env` is given, but a url has no environment", "delete this key"),
    ("lines = [\"pages\"]", "lines = []", "[]", "`hook[3].lines` is too short: 0 of at least 1", "write: lines = [\"pages\"]"),
    ("lines = [\"pages\"]", "lines = [\"Pages\"]", "\"Pages\"", "`hook[3].lines` has the character 'P'", "a-z, 0-9 and -"),
    ("lines = [\"pages\"]", "line = \"pages\"", "line", "unknown key `hook[3].line`", "write: lines = [\"pages\"]"),
    ("lines = [\"pages\"]\n", "[hooks]\n", "hooks", "unknown key `hooks`", "write: [[hook]]"),
];

#[test]
fn each_mistake_of_a_hook_is_shown_where_it_stands() {
    for (old, new, span, message, help) in ROWS {
        let text = with(HOOKS, old, new);
        let mistakes = operator(&text).expect_err(message);
        assert_eq!(seen(&text, &mistakes), [(*span, *message)]);
        assert!(mistakes[0].help.contains(help), "{message}: {}", mistakes[0].help);
    }
}

#[test]
fn a_hook_is_posted_to_over_https_or_on_this_machine() {
    let with_url = |url: &str| with(HOOKS, "https://chat.example:8443/services/canary?sig=canary", url);
    for url in ["https://host", "https://host?a=b", "http://127.0.0.1:9/a?b", "http://[::1]:9", "http://localhost/a"] {
        assert!(operator(&with_url(url)).is_ok(), "{url}");
    }
    for (url, why) in [
        ("http://host/a", "would be sent in plain text"),
        ("http://host?@127.0.0.1/", "would be sent in plain text"),
        ("http://127.0.0.1.example.com", "would be sent in plain text"),
        ("https://user:canary@host/", "has a user in it"),
        ("https://host/#a", "has a fragment or a backslash"),
        ("https://?a", "has no host"),
        ("https://host:0/", "has a port that is not one"),
        ("ftp://host/", "starts with neither https:// nor http://"),
    ] {
        let mistakes = operator(&with_url(url)).expect_err(url);
        assert_eq!(mistakes.len(), 1, "{url}");
        assert!(mistakes[0].message.contains(why), "{url}: {}", mistakes[0].message);
    }
}

#[test]
fn the_number_of_hooks_ends_where_it_says() {
    let hook = "[[hook]]\non = \"on-pull\"\ncommand = [\"/bin/true\"]\nwall = \"1s\"\n";
    assert_eq!(theirs(&hook.repeat(32)).hooks.len(), 32);
    let mistakes = operator(&hook.repeat(33)).expect_err("one too many");
    assert_eq!(mistakes.len(), 1);
    assert_eq!(mistakes[0].message, "there are 33 hooks of at most 32");
    let names = |count: usize| {
        let names: Vec<String> = (0..count).map(|number| format!("\"V{number}\"")).collect();
        operator(&format!("{hook}env = [{}]\n", names.join(", ")))
    };
    assert!(names(64).is_ok());
    assert_eq!(names(65).expect_err("one too many")[0].message, "`hook[1].env` is too long: 65 of at most 64");
}
