//! The promises of the fake host, and of the attributes as they are natively.

use super::*;
use crate::{Artifact, Task, andon, budget, clock, evidence, fetch, human, model, progress, random, workspace};
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
        assert!(progress::check_in("look").is_err());
        Ok(Report::unable("nothing"))
    });
    assert_eq!(run.report().status, crate::Status::Unable);
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
    go(host, |_| {
        let request = model::Request::new("coder").user("hi");
        let down = model::ask(&request).expect_err("down");
        assert!(down.may_pass_later());
        assert_eq!(down.to_string(), "unavailable: down");
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
