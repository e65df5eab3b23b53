//! Hooks around whole runs: they see what happened, and none of them can harm a run.

use std::time::Duration;

use jidoka::doors::clock::Clock;
use jidoka::rules::andon::Category;
use jidoka::rules::ledger::ScopeId;
use jidoka::rules::verdict::Stop;
use jidoka::run::desk::{Because, Desk};
use jidoka::run::fork::Branch;
use jidoka_tests::bench::{self, Bench, End, Home};
use jidoka_tests::plain;

fn told(lines: &[&str]) -> Bench {
    Bench::new(plain::SCRIPT).set("task", &format!("text = \"{}\"", lines.join("\\n")))
}

/// A hook that is a script of the shell.
fn hook(on: &str, script: &str, wall: &str) -> String {
    format!(
        "[[hook]]\non = \"{on}\"\ncommand = [\"/bin/sh\", \"-c\", {script:?}]\nwall = \"{wall}\"\nenv = [\"PATH\"]\n"
    )
}

fn desk(home: &Home) -> Desk {
    Desk::new(bench::store(&home.state()), bench::state(&home.state()), Clock::starting_at(bench::START_MS))
}

fn because(reason: &str) -> Because {
    Because { by: "ada".to_owned(), reason: reason.to_owned() }
}

fn categories(end: &End) -> Vec<Category> {
    let pulls = bench::store(&end.home.state()).pulls().unwrap();
    pulls.into_iter().map(|pulled| pulled.pull.category).collect()
}

fn item_state(home: &Home, item: &str) -> (&'static str, u32) {
    let items = bench::store(&home.state()).items().unwrap();
    let (_, record) = items.into_iter().find(|(id, _)| id.name() == item).expect("is known");
    (record.state.name(), record.attempts)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_hangs_with_a_grandchild_leaves_the_verdict_and_the_item_alone_and_stops_the_line() {
    let home = Home::new();
    let child = home.dir().join("grandchild");
    let script = format!("sleep 600 & echo $! > {}; sleep 600", child.display());
    let job = || told(&["write a.txt better", "done ready"]).item("one").at(&home);
    let end = job().operator(&hook("after-run", &script, "500ms")).run().await;
    end.expect("accepted");
    assert_eq!((end.record.exit_code, end.real_file("a.txt").as_deref()), (0, Some("better")));
    assert_eq!(item_state(&home, "one"), ("accepted", 1));
    assert_eq!(categories(&end), [Category::HookTimeout]);
    let grandchild = std::fs::read_to_string(&child).unwrap();
    let stat = format!("/proc/{}/stat", grandchild.trim());
    for _ in 0..200 {
        if std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z ")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z ")), "the grandchild lives on");
    assert_eq!(end.replay().await.divergence, None, "a hook is no part of what is told again");
    // Nothing more begins until a person has looked.
    told(&["write b x", "done x"]).item("two").at(&home).run().await.expect("not-admitted");
}

/// A server that takes a request and never answers it: its address, and what keeps it up.
fn silent_server() -> (String, std::net::TcpListener) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    (format!("http://{}/", listener.local_addr().unwrap()), listener)
}

/// Hooks before a run that do not say yes, and whether each stops the line, too.
fn gates_that_do_not_say_yes(server: &str) -> [(String, bool); 6] {
    let command = |path: &str| format!("[[hook]]\non = \"before-run\"\ncommand = [\"{path}\"]\nwall = \"10s\"\n");
    [
        (hook("before-run", "sleep 60", "200ms"), true),
        (hook("before-run", "echo yes; sleep 60", "200ms"), true),
        (format!("[[hook]]\non = \"before-run\"\nurl = \"{server}\"\nwall = \"200ms\"\n"), true),
        (hook("before-run", "kill -9 $$", "10s"), false),
        (hook("before-run", "head -c 100000 /dev/urandom; exit 1", "10s"), false),
        (command("/no/such/gate"), false),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_begins_only_if_every_hook_before_it_says_yes_in_its_time() {
    let (server, _listener) = silent_server();
    for (gate, stops) in gates_that_do_not_say_yes(&server) {
        let home = Home::new();
        let job = || told(&["write a.txt better", "done ready"]).item("one").at(&home);
        let end = job().operator(&gate).run().await;
        end.expect("not-admitted");
        assert_eq!((end.record.attempt, end.real_file("a.txt")), (0, None), "{gate}");
        let pulled = if stops { vec![Category::HookTimeout] } else { vec![] };
        assert_eq!(categories(&end), pulled, "{gate}");
        assert!(bench::store(&home.state()).items().unwrap().is_empty(), "{gate}: no attempt is counted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_or_is_forked_only_if_every_hook_before_it_says_yes_in_its_time() {
    let (server, _listener) = silent_server();
    for (gate, stops) in gates_that_do_not_say_yes(&server) {
        let home = Home::new();
        let clear = async || {
            let cleared =
                desk(&home).clear_line(&ScopeId::of_path("default/tests"), None, None, because("it hung")).await;
            assert_eq!(cleared.is_ok(), stops, "{gate}: {cleared:?}");
        };
        let job = || told(&["left tokens", "sleep 1", "write a.txt better", "done ready"]).item("one").at(&home);
        let end = job()
            .run_with(|cord| {
                cord.pull(Stop::Cancelled);
            })
            .await;
        let serial = end.expect("cancelled").record.serial.clone();
        let branch = Branch { at: 0, edits: Default::default() };
        let fork = job().operator(&gate).fork(&serial, branch).await;
        fork.expect("not-admitted");
        clear().await;
        let resumed = job().operator(&gate).resume(&serial).await;
        resumed.expect("not-admitted");
        assert_eq!((resumed.entries.len(), resumed.real_file("a.txt")), (0, None), "{gate}");
        clear().await;
        job().resume(&serial).await.expect("accepted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_says_no_before_a_run_costs_no_attempt() {
    let home = Home::new();
    let job = || told(&["write a.txt better", "done ready"]).item("one").at(&home);
    let end = job().operator(&hook("before-run", "echo the disk is being changed; exit 3", "10s")).run().await;
    end.expect("not-admitted");
    assert!(end.record.why.contains("the disk is being changed"), "{}", end.record.why);
    let end = job().run().await;
    end.expect("accepted");
    assert_eq!(end.record.attempt, 1);
    assert_eq!(categories(&end), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_are_told_what_happened_in_json() {
    let home = Home::new();
    let keep = |name: &str| format!("cat > {}", home.dir().join(name).display());
    let hooks = [
        hook("before-run", &keep("before"), "10s"),
        hook("after-run", &keep("after"), "10s"),
        hook(
            "on-pull",
            &format!("{0}; echo $JIDOKA_RUN $JIDOKA_LINE >{0}", keep("pull")).replace(">cat >", ">>"),
            "10s",
        ),
    ];
    let operator = hooks.concat();
    let end = told(&["write a x", "pull the floor is wet"]).at(&home).operator(&operator).run().await;
    end.expect("halted");
    let read = |name: &str| std::fs::read_to_string(home.dir().join(name)).unwrap();
    let before: serde_json::Value = serde_json::from_str(&read("before")).unwrap();
    assert_eq!((&before["moment"], &before["serial"]), (&"before-run".into(), &end.record.serial.as_str().into()));
    let after: serde_json::Value = serde_json::from_str(&read("after")).unwrap();
    assert_eq!(after["record"]["verdict"], "halted");
    let pull = read("pull");
    let (event, variables) = pull.rsplit_once('}').unwrap();
    let event: serde_json::Value = serde_json::from_str(&format!("{event}}}")).unwrap();
    assert_eq!(event["pull"]["reason"], "the floor is wet");
    assert_eq!(variables.trim(), format!("{} tests", end.record.serial));
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_hear_of_a_pull_also_where_nothing_runs() {
    let home = Home::new();
    let heard = home.dir().join("heard");
    let operator = [
        hook("before-run", "sleep 60", "200ms"),
        hook("before-run", "exit 3", "10s"),
        hook("on-pull", &format!("cat > {}", heard.display()), "10s"),
    ];
    let end = told(&["write a.txt better", "done ready"]).at(&home).operator(&operator.concat()).run().await;
    end.expect("not-admitted");
    assert_eq!(categories(&end), [Category::HookTimeout]);
    assert!(std::fs::read_to_string(heard).unwrap().contains("hook-timeout"));
}
