//! Loops of every shape end within the published number of calls. Honest repetition is in `honest.rs`.
//!
//! Published: a cycle of `period` calls ends after `repeats * period + strikes - 1` of them, calls that are only alike as a
//! cycle of ten if there are not more different ones, one failure after `failures + strikes - 1`, empty replies after
//! `degenerate + strikes - 1`.

use std::sync::{Arc, OnceLock};

use jidoka::rules::verdict::Stop;
use jidoka_tests::agent::{Planned, Turn};
use jidoka_tests::bench::{Bench, End, Home};
use jidoka_tests::plain;

/// The defaults of `[guards]`.
const REPEATS: usize = 3;
const FAILURES: usize = 5;
const STRIKES: usize = 3;

pub(crate) fn agent(model: Arc<Planned<impl Fn(usize) -> Turn + Send + Sync + 'static>>) -> Bench {
    Bench::new(plain::AGENT)
        .file("a.txt", "some text")
        .model(model)
        .set("budget", "model-calls = 2000")
        .set("budget", "tokens = 2000000")
        .set("task", "text = \"go on\"")
}

async fn ends(plan: impl Fn(usize) -> Turn + Send + Sync + 'static) -> (End, usize) {
    let model = Arc::new(Planned::new(plan));
    let end = agent(Arc::clone(&model)).run().await;
    (end, model.asked())
}

#[tokio::test(flavor = "multi_thread")]
async fn cycles_of_every_period_end_within_the_published_number_of_calls() {
    for period in (1..=8).chain([9, 12, 30, 40]) {
        let names = ["look", "show", "status", "rest"];
        let plan = move |number: usize| Turn::call(names[number % period % 4], &format!("{}.txt", number % period));
        let (end, calls) = ends(plan).await;
        end.expect("no-progress");
        assert_eq!(calls, REPEATS * period + STRIKES - 1, "period {period}: {}", end.record.why);
        assert!(end.record.why.contains("nothing new since the start"), "{}", end.record.why);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_told_before_it_is_stopped_and_the_journal_says_so() {
    let (end, _) = ends(|_| Turn::call("look", "x")).await;
    end.expect("no-progress");
    assert_eq!(end.record.why, "same call, same result, 5 times: look; nothing new since the start");
    let told: Vec<&str> = end
        .entries
        .iter()
        .filter_map(|entry| match &entry.body {
            jidoka::rules::effect::Body::Refused { refusal, .. } => Some(refusal.asked.as_str()),
            _ => None,
        })
        .collect();
    let expected =
        [3, 4].map(|times| format!("same call, same result, {times} times: look; nothing new since the start"));
    assert_eq!(told, expected);
    assert!(
        end.entries
            .iter()
            .any(|entry| matches!(&entry.body, jidoka::rules::effect::Body::Stopped { stop: Stop::Stuck { .. } }))
    );
    let words = "The host says: refused, because this leads nowhere: same call, same result, 3 times: look";
    let heard = end.entries.iter().any(|entry| match &entry.body {
        jidoka::rules::effect::Body::Intent { effect: jidoka::rules::effect::Effect::Model { request }, .. } => {
            request.messages.iter().any(|message| message.content.starts_with(words))
        }
        _ => false,
    });
    assert!(heard, "the loop of the SDK hands it to the model");
    assert_eq!(end.replay().await.divergence, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_listens_goes_on() {
    let plan = |number: usize| match number {
        0..3 => Turn::call("look", "x"),
        3 => Turn::write("a.txt", "better"),
        _ => Turn::Say("mended".into()),
    };
    let (end, calls) = ends(plan).await;
    end.expect("accepted");
    assert_eq!(calls, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_error_whatever_the_arguments_ends_within_the_published_number_of_calls() {
    let (end, calls) = ends(|number| Turn::call("break", &format!("file-{number}"))).await;
    end.expect("no-progress");
    assert_eq!(calls, FAILURES + STRIKES - 1, "{}", end.record.why);
    // A tool that is not there is told to the model as an error, too.
    let (end, calls) = ends(|number| Turn::call("invented", &format!("{number}"))).await;
    end.expect("no-progress");
    assert_eq!(calls, FAILURES + STRIKES - 1, "{}", end.record.why);
}

#[tokio::test(flavor = "multi_thread")]
async fn alternating_tools_and_text_between_hide_nothing() {
    let plan = |number: usize| match number % 2 {
        0 => Turn::call("look", "x"),
        _ => Turn::call("status", "y"),
    };
    let (end, calls) = ends(plan).await;
    end.expect("no-progress");
    assert_eq!(calls, REPEATS * 2 + STRIKES - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_goes_on_over_attempts_and_ends_there() {
    // One call an attempt, an hour apart; between two calls it gives up.
    let home = Home::new();
    let attempt = async |number: u64| {
        let model = Arc::new(Planned::new(|turn| match turn {
            0 => Turn::call("look", "x"),
            _ => Turn::Fail("gone".into()),
        }));
        let bench = agent(model).at(&home).item("one").set("attempts", "max = 20");
        bench.hours_later(number).run().await
    };
    let mut verdicts = Vec::new();
    for number in 0..8 {
        let end = attempt(number).await;
        verdicts.push(end.record.verdict.clone());
        if end.record.verdict == "no-progress" {
            break;
        }
    }
    let published = REPEATS + STRIKES - 1;
    assert_eq!(verdicts.last().map(String::as_str), Some("no-progress"), "{verdicts:?}");
    assert!(verdicts.len() <= published + 1, "{verdicts:?}");
    // And it is not tried again.
    attempt(20).await.expect("not-admitted");
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_replies_end_within_the_published_number_of_calls() {
    let text = |number: usize| format!("{number}: I will now really do it");
    let model = Arc::new(Planned::new(move |number| Turn::Babble(text(number))));
    let home = Home::new();
    // The loop of the SDK ends at a reply that was cut, so each attempt has one.
    let mut asked = Vec::new();
    for _ in 0..10 {
        let bench = agent(Arc::clone(&model)).at(&home).item("one").set("attempts", "max = 20");
        let end = bench.run().await;
        asked.push(end.record.verdict.clone());
        if end.record.verdict == "no-progress" {
            break;
        }
    }
    assert_eq!(asked.last().map(String::as_str), Some("no-progress"), "{asked:?}");
    assert!(model.asked() < 3 + STRIKES, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_fails_again_and_again_is_not_asked_for_ever() {
    let home = Home::new();
    let model = Arc::new(Planned::new(|number| Turn::Fail(format!("connection {number} refused"))));
    let mut whys = Vec::new();
    for _ in 0..10 {
        let bench = agent(Arc::clone(&model)).at(&home).item("one").set("attempts", "max = 20");
        let end = bench.run().await;
        // It is no fault of the worker's: the item rests, and is tried again.
        end.expect("unable");
        whys.push(end.record.why.clone());
        if end.record.why.contains("failed in the same way") {
            break;
        }
    }
    assert!(whys.last().unwrap().contains("model failed in the same way"), "{whys:?}");
    assert!(model.asked() < FAILURES + STRIKES, "{} calls", model.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_worker_is_stopped_and_one_that_waits_for_the_host_is_not() {
    let end = Bench::new(plain::SCRIPT).set("task", "text = \"sleep 3000\\ndone x\"").set("guards", "stall = \"1s\"");
    let end = end.run().await;
    end.expect("no-progress");
    assert!(end.record.why.starts_with("the worker reports done"), "the host made it wait: {}", end.record.why);
    let end = Bench::new(jidoka_tests::hostile::SPIN).set("guards", "stall = \"1s\"").run().await;
    end.expect("no-progress");
    assert!(end.record.why.contains("no call of the worker's for 1000 ms"), "{}", end.record.why);
}

/// A call with these arguments.
fn call(tool: &str, arguments: &str) -> Turn {
    Turn::Call(tool.to_owned(), arguments.to_owned())
}

/// A call of one file, with other words each time.
fn again(number: usize) -> Turn {
    let words = ["look at", "read", "check", "open", "verify"];
    let reason = format!("Now I {} it once more, for the {number}th time", words[number % words.len()]);
    call("open", &format!("{{\"path\": \"src/a.txt\", \"reason\": \"{reason}\"}}"))
}

/// Calls that are only alike end after so many, for so many different ones.
const fn alike(different: usize) -> usize {
    REPEATS * if different < 10 { 10 } else { different } + STRIKES - 1
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_result_with_other_words_counters_or_clocks_ends_within_the_published_number_of_calls() {
    type Answers = fn(usize) -> String;
    type Loop = (&'static str, fn(usize) -> Turn, Answers, &'static str);
    let same: Answers = |_| "let a = 1;".to_owned();
    let one: fn(usize) -> Turn = |_| call("build", "{\"job\": \"release\"}");
    let counted: fn(usize) -> Turn =
        |number| call("open", &format!("{{\"path\": \"a.txt\", \"options\": {{\"try\": {number}}}}}"));
    let loops: [Loop; 9] = [
        ("words", again, same, "the argument reason"),
        ("words and nothing", again, |_| String::new(), "the argument reason"),
        ("a counter", counted, same, "the argument try"),
        ("a time", one, |number| format!("waits, 2026-11-21T20:13:{number:02}.5Z"), "a time in the result"),
        ("a date", one, |number| format!("waits since {} Nov 2026", number % 28 + 1), "a date in the result"),
        (
            "a duration",
            one,
            |number| format!("{{\"waits\": true, \"took_ms\": {}}}", number * 7),
            "a duration in the result",
        ),
        (
            "an id",
            one,
            |number| format!("{{\"waits\": true, \"request_id\": \"r{number}\"}}"),
            "an identifier in the result",
        ),
        ("a process", one, |number| format!("waits (pid {})", 4_711 + number), "an identifier in the result"),
        (
            "keys and white space",
            one,
            |number| {
                let blanks = " ".repeat(number);
                match number % 3 {
                    0 => format!("{{\"a\": [1,{blanks}2], \"at\": \"20:13:{number:02}\"}}"),
                    _ => format!("{{{blanks}\"at\":\"20:14:{number:02}\",{blanks}\"a\":[1,2]}}"),
                }
            },
            "a time in the result",
        ),
    ];
    for (name, plan, answers, ignored) in loops {
        let model = Arc::new(Planned::new(plan));
        let answers: Vec<String> = (0..60).map(answers).collect();
        let end = agent(Arc::clone(&model)).file("answers.txt", &answers.join("\n")).run().await;
        end.expect("no-progress");
        assert_eq!(model.asked(), alike(1), "{name}: {}", end.record.why);
        assert!(end.record.why.contains(&format!("; ignored: {ignored}; nothing new")), "{name}: {}", end.record.why);
        assert_eq!(end.replay().await.divergence, None, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_cycles_with_clocks_and_calls_at_once_hide_nothing() {
    for period in [2, 9, 12, 30] {
        let names = ["build", "list", "open", "search", "query", "shell"];
        let plan = move |number: usize| {
            let place = number % period;
            call(names[place % names.len()], &format!("{{\"path\": \"{place}.txt\"}}"))
        };
        let answers: Vec<String> = (0..100).map(|number| format!("{} in {number} ms", number % period)).collect();
        let model = Arc::new(Planned::new(plan));
        let end = agent(Arc::clone(&model)).file("answers.txt", &answers.join("\n")).run().await;
        end.expect("no-progress");
        assert_eq!(model.asked(), alike(period), "period {period}: {}", end.record.why);
    }
    // Three calls a turn, each time in another order.
    let plan = |number: usize| {
        let one = |place: usize| ("open".to_owned(), format!("{{\"path\": \"{}.txt\", \"try\": {number}}}", place % 3));
        Turn::Calls(vec![one(number), one(number + 1), one(number + 2)])
    };
    let model = Arc::new(Planned::new(plan));
    let end = agent(Arc::clone(&model)).file("answers.txt", "nothing to see").run().await;
    end.expect("no-progress");
    assert_eq!(model.asked(), 10 + STRIKES - 1, "{}", end.record.why);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_of_calls_that_are_alike_goes_on_over_attempts_and_over_a_resume() {
    let home = Home::new();
    let (mut asked, mut verdicts) = (0, Vec::new());
    for _ in 0..10 {
        let before = asked;
        let model = Arc::new(Planned::new(move |turn| match turn {
            7 => Turn::Fail("gone".into()),
            _ => again(before + turn),
        }));
        let bench = agent(Arc::clone(&model)).at(&home).item("one").set("attempts", "max = 20");
        let end = bench.file("answers.txt", "let a = 1;").run().await;
        asked += model.asked();
        verdicts.push(end.record.verdict.clone());
        if end.record.verdict == "no-progress" {
            break;
        }
    }
    assert_eq!(verdicts.last().map(String::as_str), Some("no-progress"), "{verdicts:?}");
    assert!(asked < 40, "{asked} calls in {verdicts:?}");

    let home = Home::new();
    let cord: Arc<OnceLock<jidoka::run::cord::Cord>> = Arc::default();
    let held = Arc::clone(&cord);
    let model = Arc::new(Planned::new(move |number| {
        if number == 20 {
            held.get().unwrap().pull(Stop::Cancelled);
        }
        again(number)
    }));
    let job = || agent(Arc::clone(&model)).at(&home).item("one").file("answers.txt", "let a = 1;");
    let stopped = job().run_with(|pulled| drop(cord.set(pulled))).await;
    stopped.expect("cancelled");
    assert_eq!(model.asked(), 21);
    let end = job().resume(&stopped.record.serial).await;
    end.expect("no-progress");
    assert!((alike(1)..=alike(1) + 1).contains(&model.asked()), "{}: {}", model.asked(), end.record.why);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_in_a_child_ends_the_child() {
    let model = Arc::new(Planned::new(again));
    let child = agent(Arc::clone(&model)).file("answers.txt", "let a = 1;");
    let end = Bench::new(plain::SCRIPT)
        .file("answers.txt", "let a = 1;")
        .model(Arc::new(Planned::new(|_| Turn::Say("never asked".into()))))
        .set("budget", "model-calls = 2000")
        .set("budget", "tokens = 2000000")
        .set("task", "text = \"child help model-calls=100 go on\\ndone x\"")
        .child("help", child)
        .run()
        .await;
    assert!(end.notes()[0].starts_with("help: no-progress"), "{:?}", end.notes());
    assert_eq!(model.asked(), alike(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_question_in_other_words_with_the_same_reply_ends_within_the_published_number_of_calls() {
    let lines: Vec<String> = (0..60).map(|number| format!("ask For the {number}th time: is it done?")).collect();
    for reply in ["not yet", "I am afraid that I cannot say whether it is done."] {
        let model = Arc::new(Planned::new(move |_| Turn::Say(reply.into())));
        let end = agent_of(&lines, Arc::clone(&model)).run().await;
        assert_eq!(model.asked(), REPEATS * 10, "the next is refused, and this worker ends: {}", end.record.why);
        assert!(end.record.why.contains("; ignored: "), "{}", end.record.why);
    }
}

/// A worker that does what these lines say.
fn agent_of(lines: &[String], model: Arc<Planned<impl Fn(usize) -> Turn + Send + Sync + 'static>>) -> Bench {
    Bench::new(plain::SCRIPT)
        .model(model)
        .set("budget", "model-calls = 2000")
        .set("budget", "tokens = 2000000")
        .set("task", &format!("text = \"{}\\ndone x\"", lines.join("\\n")))
}
