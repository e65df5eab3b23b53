//! The promises of the fake host, and of the attributes as they are natively.

use super::*;
use crate::{
    Artifact, Reason, Refusal, Task, andon, budget, children, clock, evidence, fetch, human, model, progress, random,
    workspace,
};
use std::time::Duration;

type Answer = Result<Report, Error>;

fn go(host: FakeHost, worker: impl FnOnce(Task) -> Answer) -> Run<Report> {
    host.run(worker, Task::new("go"))
}

#[test]
fn nothing_is_granted_by_default() {
    let run = go(FakeHost::new(), |_| {
        let model = model::ask(&model::Request::new("coder").user("hi")).expect_err("refused");
        assert!(model.to_string().contains("[grants] models = [\"coder\"]"), "{model}");
        let files = workspace::files().expect_err("no workspace");
        assert!(files.to_string().contains("[grants] files"), "{files}");
        let size = workspace::size("a").expect_err("no workspace");
        assert!(size.to_string().contains("[grants] files"), "{size}");
        let context = workspace::context().read("a").expect_err("no context");
        assert!(context.to_string().contains("[workspace] context"), "{context}");
        let person = human::ask("ok?", &["yes"], human::Risk::Low).expect_err("refused");
        assert!(person.to_string().contains("[grants] human = true"), "{person}");
        let child = children::run(&Child::new("fixer", "fix it")).expect_err("refused");
        assert!(child.to_string().contains("allowed: no children"), "{child}");
        assert!(child.to_string().ends_with("[grants] children, and [children.NAME]"), "{child}");
        assert!(progress::check_in("look").is_err());
        Ok(Report::unable("nothing"))
    });
    assert_eq!(run.report().status, crate::Status::Unable);
}

#[test]
fn what_is_past_the_cap_of_a_call_is_refused_with_its_setting() {
    let run = go(FakeHost::new().workspace().model("coder").reply("yes").lifted(100), |_| {
        assert!(evidence::attach("k", "n", [0; 98]).is_ok());
        for denied in [
            evidence::attach("k", "n", [0; 99]).expect_err("101 bytes"),
            progress::check_in(&"x".repeat(101)).expect_err("101 bytes"),
            model::ask(&model::Request::new("coder").user("x".repeat(101))).expect_err("more"),
            children::run(&Child::new("c", "x".repeat(101))).expect_err("more"),
        ] {
            let Denied::Refused(refusal) = denied else { panic!("{denied}") };
            assert_eq!((refusal.reason, refusal.setting.as_str()), (Reason::TooLarge, "[caps] lifted"));
        }
        Ok(Report::done("refused"))
    });
    assert_eq!(run.report().summary, "refused");
    assert_eq!((run.evidence.len(), run.requests.len(), run.check_ins.len()), (1, 0, 0));
}

#[test]
fn a_pull_ends_the_run_and_keeps_what_was_seen() {
    let run = go(FakeHost::new(), |_| {
        let id = evidence::attach("log", "trace", "x")?;
        crate::warn!("odd: {}", 1);
        andon::pull(Category::Defect, "it is broken", &[id])
    });
    assert_eq!(run.pull().reason, "it is broken");
    assert_eq!(run.pull().evidence, [run.evidence[0].id.clone()]);
    assert_eq!(run.logs[0].message, "odd: 1");
}

#[test]
fn a_panic_is_a_trap_and_an_error_a_failure() {
    let trapped = go(FakeHost::new(), |_| panic!("oh"));
    assert_eq!(trapped.outcome, Outcome::Trapped("oh".to_owned()));
    let failed = go(FakeHost::new(), |_| Err("no".into()));
    assert_eq!(failed.outcome, Outcome::Failed("no".into()));
    // Neither leaves its host behind.
    go(FakeHost::new(), |_| Ok(Report::done("")));
}

#[test]
fn files_are_real_and_stay_inside() {
    let host = FakeHost::new().file("src/a.txt", "x").context_file("b.txt", "y");
    let run = go(host, |_| {
        assert_eq!(workspace::read("src/a.txt")?, "x");
        assert_eq!(workspace::context().read("b.txt")?, "y");
        assert_eq!(workspace::size("src/a.txt")?, Some(1));
        assert_eq!((workspace::size("src")?, workspace::size("none")?), (None, None));
        workspace::write("new/deep/c.txt", "z")?;
        workspace::remove("src/a.txt")?;
        for path in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a\\b", "a\0"] {
            assert!(matches!(workspace::read(path), Err(workspace::Error::Path { .. })), "{path:?}");
        }
        let missing = workspace::read("src/none").expect_err("missing");
        assert!(missing.to_string().starts_with("cannot read /work/src/none: "), "{missing}");
        Ok(Report::done(""))
    });
    assert_eq!(run.files().collect::<Vec<_>>(), ["new/deep/c.txt"]);
    assert_eq!(run.file("new/deep/c.txt"), Some("z"));
}

#[test]
fn only_new_content_is_a_mark() {
    go(FakeHost::new().file("a", "1"), |_| {
        assert!(!progress::check_in("nothing yet")?.new_mark);
        workspace::write("a", "2")?;
        let standing = progress::check_in("changed")?;
        assert_eq!((standing.new_mark, standing.marks, standing.changed_files), (true, 1, 1));
        workspace::write("a", "1")?;
        let back = progress::check_in("back")?;
        assert_eq!((back.new_mark, back.marks, back.changed_files), (false, 1, 0));
        Ok(Report::done(""))
    })
    .report();
}

#[test]
fn model_calls_are_refused_at_exactly_their_limit() {
    let host = FakeHost::new().budget(Line::ModelCalls, 2).reply("a").reply("b").reply("c");
    let run = go(host, |_| {
        let request = model::Request::new("coder").user("hi");
        model::ask(&request)?;
        model::ask(&request)?;
        let denied = model::ask(&request).expect_err("the third is over");
        assert_eq!(denied.shortfall().map(|s| (s.asked, s.left)), Some((1, 0)));
        assert_eq!(budget::left_of(Line::ModelCalls), Some(0));
        Ok(Report::done(""))
    });
    run.report();
    assert_eq!(run.requests.len(), 2);
}

#[test]
fn output_is_shrunk_to_the_budget_and_refused_below_the_minimum() {
    // "hi" is bounded by 2 tokens of input.
    let ask = |tokens: u64, min: u32| {
        let host = FakeHost::new().budget(Line::Tokens, tokens).reply(Scripted::text("x".repeat(400)).usage(1, 100));
        let mut reply = None;
        go(host, |_| {
            let request = model::Request::new("coder").user("hi").max_output(50).min_output(min);
            reply = Some(model::ask(&request));
            Ok(Report::done(""))
        });
        reply.expect("the worker ran")
    };
    let cut = ask(22, 20).expect("fits exactly");
    assert_eq!((cut.stop, cut.usage.tokens_out, cut.text.len()), (Stop::MaxOutput, 20, 80));
    let denied = ask(21, 20).expect_err("one short");
    assert_eq!(denied.shortfall().map(|s| (s.asked, s.left)), Some((22, 21)));
}

#[test]
fn a_failure_and_an_empty_script_are_failures() {
    let host = FakeHost::new().reply(Scripted::failed(FailureKind::Unavailable, "down"));
    let host = host.reply(Scripted::failed(FailureKind::Overloaded, "try later"));
    go(host, |_| {
        let request = model::Request::new("coder").user("hi");
        let down = model::ask(&request).expect_err("down");
        assert!(down.may_pass_later());
        assert_eq!(down.to_string(), "unavailable: down");
        let busy = model::ask(&request).expect_err("busy");
        assert!(busy.may_pass_later());
        assert_eq!(busy.to_string(), "overloaded: try later");
        let empty = model::ask(&request).expect_err("no script");
        assert!(empty.to_string().contains("FakeHost::reply"), "{empty}");
        Ok(Report::done(""))
    })
    .report();
}

#[test]
fn host_tools_are_answered_by_closures_that_may_use_the_sdk() {
    let host = FakeHost::new().budget(Line::ToolCalls, 1).tool("now", "Says when.", serde_json::json!({}), |input| {
        Ok(serde_json::json!({"at": clock::now_ms(), "echo": input}))
    });
    let run = go(host, |_| {
        let offered = crate::tools::catalogue();
        assert_eq!((offered[0].name.as_str(), offered[0].description.as_str()), ("now", "Says when."));
        let output = crate::tools::call("now", &serde_json::json!(1))?;
        assert_eq!(output["echo"], 1);
        assert!(crate::tools::call("now", &serde_json::json!(1)).is_err());
        assert!(crate::tools::call("other", &serde_json::json!(1)).is_err());
        Ok(Report::done(""))
    });
    run.report();
    assert_eq!(run.tool_calls.len(), 1);
}

#[test]
fn a_batch_of_tool_calls_holds_at_n_and_is_refused_whole_at_n_plus_1() {
    let host = FakeHost::new().tool("echo", "Echoes.", serde_json::json!({}), Ok);
    let run = go(host, |_| {
        let calls = |count| vec![crate::tools::Invocation::new("echo", &serde_json::json!(1)); count];
        assert!(crate::tools::call_all(&calls(16)).iter().all(|output| output == &Ok("1".to_owned())));
        let refused = crate::tools::call_all(&calls(17));
        assert_eq!(refused.len(), 17);
        assert!(refused.iter().all(Result::is_err));
        Ok(Report::done(""))
    });
    run.report();
    assert_eq!(run.tool_calls.len(), 16);
}

/// What is refused, in the words of the host.
fn no(child: &Child) -> Refusal {
    match children::run(child) {
        Err(Denied::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_child_is_answered_by_a_closure_that_may_use_the_sdk() {
    let host = FakeHost::new().file("a", "old").budget(Line::ModelCalls, 5).reply("new").child("fixer", |child| {
        let reply = model::ask(&model::Request::new("coder").user(&child.task)).expect("a reply");
        workspace::write("a", &reply.text).expect("it can be written");
        Judged::new("accepted").why("every check passed").summary("I did it")
    });
    let run = go(host, |task| {
        let verdict = children::run(&Child::new("fixer", task.text).may_spend(Line::ModelCalls, 2))?;
        assert!(verdict.is_accepted());
        assert_eq!((verdict.serial.as_str(), verdict.why.as_str()), ("child-1", "every check passed"));
        assert_eq!(workspace::read("a")?, "new");
        Ok(Report::done(verdict.summary))
    });
    assert_eq!(run.report().summary, "I did it");
    assert_eq!(run.children, [Child::new("fixer", "go").may_spend(Line::ModelCalls, 2)]);
    assert_eq!(run.left_of(Line::ModelCalls), Some(4));
}

#[test]
fn only_what_was_accepted_of_a_child_is_in_its_callers_files() {
    let cases = [("accepted", &["a", "made"][..]), ("rejected", &["a", "b/c"]), ("no-change-needed", &["a", "b/c"])];
    for (verdict, left) in cases {
        let host = FakeHost::new().file("a", "old").file("b/c", "kept").child("fixer", move |_| {
            workspace::write("a", "new").expect("it can be written");
            workspace::write("made", "new").expect("it can be written");
            workspace::remove("b/c").expect("it is there");
            verdict
        });
        let run = go(host, move |_| {
            let judged = children::run(&Child::new("fixer", "fix it"))?;
            assert_eq!((judged.verdict.as_str(), judged.is_accepted()), (verdict, verdict == "accepted"));
            Ok(Report::done(""))
        });
        run.report();
        assert_eq!(run.files().collect::<Vec<_>>(), left, "{verdict}");
        assert_eq!(run.file("a"), Some(if verdict == "accepted" { "new" } else { "old" }), "{verdict}");
    }
}

#[test]
fn a_child_that_is_not_granted_is_told_which_are() {
    let run = go(FakeHost::new().child("fixer", |_| "accepted").child("critic", |_| "accepted"), |_| {
        let refusal = no(&Child::new("writer", "write it"));
        assert_eq!(refusal.reason, Reason::NotGranted);
        assert_eq!((refusal.asked.as_str(), refusal.allowed.as_str()), ("child \"writer\"", "children: fixer, critic"));
        assert_eq!(refusal.setting, "[grants] children, and [children.NAME]");
        Ok(Report::done(""))
    });
    run.report();
    assert_eq!(run.children, []);
}

#[test]
fn a_batch_of_children_holds_at_n_and_is_refused_whole_at_n_plus_1_and_so_are_those_of_a_run() {
    let run = go(FakeHost::new().child("one", |_| "accepted"), |_| {
        let batch = |count: usize| {
            let children: Vec<Child> = (0..count).map(|number| Child::new("one", number.to_string())).collect();
            children::run_all(&children)
        };
        let refused = batch(17);
        assert_eq!(refused.len(), 17);
        for verdict in refused {
            let why = verdict.expect_err("too many").to_string();
            assert!(why.starts_with("refused 17 children at once: "), "{why}");
        }
        let serials: Vec<String> = batch(16).into_iter().map(|verdict| verdict.expect("it fits").serial).collect();
        assert_eq!((serials[0].as_str(), serials[15].as_str()), ("child-1", "child-16"));
        for _ in 0..3 {
            assert!(batch(16).iter().all(Result::is_ok));
        }
        let refusal = no(&Child::new("one", "65"));
        assert_eq!((refusal.reason, refusal.asked.as_str()), (Reason::TooLarge, "65 children"));
        assert_eq!(refusal.allowed, "at most 64");
        Ok(Report::done(""))
    });
    run.report();
    assert_eq!(run.children.len(), 64);
    assert_eq!(run.children[15].task, "15");
}

#[test]
fn a_childs_task_holds_at_its_cap_and_is_refused_one_byte_above() {
    let run = go(FakeHost::new().child("one", |_| "accepted"), |_| {
        children::run(&Child::new("one", "x".repeat(256 << 10)))?;
        let refusal = no(&Child::new("one", "x".repeat((256 << 10) + 1)));
        assert_eq!((refusal.reason, refusal.allowed.as_str()), (Reason::TooLarge, "at most 262144"));
        Ok(Report::done(""))
    });
    run.report();
    assert_eq!(run.children.len(), 1);
}

#[test]
fn a_line_that_is_named_for_a_child_must_be_left_and_must_be_spent() {
    let run = go(FakeHost::new().budget(Line::Tokens, 100).child("one", |_| "accepted"), |_| {
        let may_spend = |line, amount| Child::new("one", "go").may_spend(line, amount);
        children::run(&may_spend(Line::Tokens, 100))?;
        let short = no(&may_spend(Line::Tokens, 101));
        assert_eq!(short.shortfall().map(|s| (s.line, s.asked, s.left)), Some((Line::Tokens, 101, 100)));
        let held = no(&may_spend(Line::MemoryBytes, 1));
        assert_eq!((held.reason, held.asked.as_str()), (Reason::Invalid, "a child with a budget of memory-bytes"));
        Ok(Report::done(""))
    });
    run.report();
    assert_eq!((run.children.len(), run.left_of(Line::Tokens)), (1, Some(100)));
}

#[test]
fn what_a_child_is_denied_reaches_its_caller_and_its_files_are_put_back() {
    let stopped = Refusal {
        reason: Reason::LineStopped,
        asked: "a child".to_owned(),
        allowed: "none as long as the line is stopped".to_owned(),
        setting: String::new(),
    };
    let denied = Denied::Refused(stopped.clone());
    let host = FakeHost::new().file("a", "old").child("fixer", move |_| {
        workspace::write("a", "new").expect("it can be written");
        denied.clone()
    });
    let run = go(host, move |_| {
        assert_eq!(no(&Child::new("fixer", "fix it")), stopped);
        Ok(Report::done(""))
    });
    run.report();
    assert_eq!(run.file("a"), Some("old"));
}

#[test]
fn a_child_that_pulls_the_cord_stops_its_caller_too() {
    let host = FakeHost::new().child("fixer", |_| -> Judged { andon::pull(Category::Defect, "it is broken", &[]) });
    let run = go(host, |_| {
        children::run(&Child::new("fixer", "fix it"))?;
        Ok(Report::done("went on"))
    });
    assert_eq!(run.pull().reason, "it is broken");
}

#[test]
fn time_and_randomness_are_fixed_by_the_test() {
    let numbers = |seed| {
        let mut numbers = Vec::new();
        go(FakeHost::new().seed(seed), |_| {
            numbers = vec![random::number()?, random::number()?];
            Ok(Report::done(""))
        })
        .report();
        numbers
    };
    assert_eq!(numbers(1), numbers(1));
    assert_ne!(numbers(1), numbers(2));
    go(FakeHost::new().clock_ms(5).budget(Line::WallMs, 10), |_| {
        clock::sleep(Duration::from_millis(10))?;
        assert_eq!(clock::now_ms(), 15);
        assert!(clock::sleep(Duration::from_millis(1)).is_err());
        assert!(random::bytes(65_536).is_ok());
        assert!(random::bytes(65_537).is_err());
        Ok(Report::done(""))
    })
    .report();
}

#[test]
fn the_attributes_leave_a_plain_function() {
    #[jidoka::worker]
    fn run(task: Task) -> crate::Result<Report> {
        Ok(Report::done(task.input("key").unwrap_or("none")))
    }
    #[jidoka::verifier]
    fn judge(artifact: Artifact) -> Result<Judgement, Error> {
        Ok(Judgement::fail(artifact.task).with_finding("x"))
    }
    #[jidoka::tool]
    mod tools {
        use crate::Result;

        /// Halves.
        #[schema(r#"{"type": "integer"}"#)]
        pub fn half(number: u64) -> Result<u64> {
            rounded(number)
        }

        fn rounded(number: u64) -> Result<u64> {
            Ok(number / 2)
        }
    }
    /// Doubles.
    #[jidoka::tool(schema = r#"{"type": "integer"}"#)]
    fn double(number: u64) -> crate::Result<u64> {
        Ok(number * 2)
    }
    let task = Task::new("go").with_input("key", "value");
    assert_eq!(FakeHost::new().run(run, task).report().summary, "value");
    let judged = FakeHost::new().run(judge, Artifact::new("go"));
    assert!(!judged.judgement().pass);
    assert_eq!(FakeHost::new().run(double, 2).returned(), &4);
    assert_eq!(FakeHost::new().run(tools::half, 5).returned(), &2);
    assert_eq!(crate::__tool::call(double, "2").expect("doubles").value, "4");
    assert!(crate::__tool::call(double, "\"x\"").is_err());
}

#[test]
fn the_web_is_what_the_test_put_there() {
    let missing = fetch::Response { status: 404, headers: vec![("x-why".into(), "gone".into())], body: vec![] };
    let host = FakeHost::new().page("http://a/1", "first").page("http://a/1", "second").page("http://a/2", missing);
    let host = host.page("http://a/3", fetch::Error::TimedOut).budget(Line::NetBytes, 20);
    let run = go(host, |_| {
        assert_eq!(fetch::get("http://a/1")?.text()?, "first");
        let posted = fetch::Request::new("POST", "http://a/1").header("accept", "*").body("123").send()?;
        assert_eq!((posted.status, posted.body.as_slice()), (200, &b"second"[..]));
        let each = fetch::all(&[fetch::Request::new("GET", "http://a/2"), fetch::Request::new("GET", "nowhere")]);
        assert_eq!(each[0].as_ref().expect("a reply").header("x-why"), Some("gone"));
        assert!(matches!(each[1], Err(fetch::Error::Invalid(_))));
        assert_eq!(fetch::get("http://a/3"), Err(fetch::Error::TimedOut));
        let other = fetch::get("http://b/").expect_err("not granted");
        assert_eq!(
            other.to_string(),
            "refused GET http://b/: the job does not grant it; to change it: [[grants.http]]"
        );
        let short = fetch::get("http://a/1").and_then(|_| fetch::get("http://a/1")).expect_err("the budget is short");
        assert!(matches!(&short, fetch::Error::Refused(why) if why.contains("net-bytes")), "{short}");
        Ok(Report::unable("done"))
    });
    assert_eq!(run.returned().summary, "done");
    assert_eq!(run.fetches[1].headers, [("accept".to_owned(), "*".to_owned())]);
    assert_eq!(run.left_of(Line::NetBytes), Some(0));
}
