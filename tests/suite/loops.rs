//! Loops of every shape end within the published number of calls, and honest repetition is never stopped.
//!
//! Published: a cycle of `period` calls ends after `repeats * period + strikes - 1` of them, one failure after `failures +
//! strikes - 1`, empty replies after `degenerate + strikes - 1`.

use std::sync::Arc;

use jidoka::rules::verdict::Stop;
use jidoka_tests::agent::{Planned, Turn};
use jidoka_tests::bench::{Bench, End, Home};
use jidoka_tests::plain;

/// The defaults of `[guards]`.
const REPEATS: usize = 3;
const FAILURES: usize = 5;
const STRIKES: usize = 3;

fn agent(model: Arc<Planned<impl Fn(usize) -> Turn + Send + Sync + 'static>>) -> Bench {
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
    for period in 1..=8 {
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

/// What a model says at each of its turns.
type Plan = Box<dyn Fn(usize) -> Turn + Send + Sync>;

/// Twenty honest jobs that repeat themselves, each with its number of calls.
fn honest() -> Vec<(&'static str, usize, Plan)> {
    let mut jobs: Vec<(&'static str, usize, Plan)> = vec![
        ("polls a declared poller", 120, Box::new(|_| Turn::call("status", "build"))),
        (
            "polls with rests between",
            60,
            Box::new(|number| match number % 2 {
                0 => Turn::call("status", "build"),
                _ => Turn::call("rest", "a while"),
            }),
        ),
        ("writes two hundred similar files", 200, Box::new(|number| Turn::write(&format!("{number}.txt"), "same"))),
        (
            "reads one file between writes",
            60,
            Box::new(|number| match number % 2 {
                0 => Turn::call("read", "a.txt"),
                _ => Turn::write(&format!("{number}.txt"), "x"),
            }),
        ),
        (
            "retries with a real change",
            60,
            Box::new(|number| match number % 2 {
                0 => Turn::call("break", "tests"),
                _ => Turn::write("a.txt", &format!("version {number}")),
            }),
        ),
        ("writes the same file anew", 60, Box::new(|number| Turn::write("a.txt", &format!("version {number}")))),
        (
            "shows what it writes",
            60,
            Box::new(|number| match number % 2 {
                0 => Turn::write("a.txt", &format!("version {number}")),
                _ => Turn::call("show", "x"),
            }),
        ),
        (
            "looks twice and changes something",
            90,
            Box::new(|number| match number % 3 {
                0 | 1 => Turn::call("look", "x"),
                _ => Turn::write("a.txt", &format!("version {number}")),
            }),
        ),
        (
            "fails four times and then not",
            50,
            Box::new(|number| match number % 5 {
                4 => Turn::call("look", &format!("{number}")),
                3 => Turn::call("read", "a.txt"),
                _ => Turn::call("read", &format!("missing-{number}.txt")),
            }),
        ),
        ("asks for other things each time", 100, Box::new(|number| Turn::call("look", &format!("thing {number}")))),
    ];
    for (name, step) in [("reads pages of one", 1), ("of two", 2), ("of three", 3), ("of five", 5), ("of seven", 7)] {
        jobs.push((name, 70, Box::new(move |number| Turn::call("look", &format!("page {}", number * step)))));
    }
    for (name, period) in
        [("walks rooms of nine", 9), ("of ten", 10), ("of twelve", 12), ("of twenty", 20), ("of thirty", 30)]
    {
        jobs.push((name, 2 * period, Box::new(move |number| Turn::call("look", &format!("room {}", number % period)))));
    }
    jobs
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_honest_jobs_that_repeat_themselves_are_stopped_never() {
    let jobs = honest();
    assert_eq!(jobs.len(), 20);
    for (name, calls, plan) in jobs {
        let plan = move |number: usize| match number {
            number if number < calls => plan(number),
            number if number == calls => Turn::write("end.txt", "done"),
            _ => Turn::Say("done".into()),
        };
        let model = Arc::new(Planned::new(plan));
        let bench = agent(Arc::clone(&model)).set("guards", "pollers = [\"status\", \"rest\"]").wall("60s");
        let end = bench.set("caps", "lifted = \"8MiB\"").run().await;
        assert_eq!(end.record.verdict, "accepted", "{name}: {}", end.record.why);
        assert_eq!(model.asked(), calls + 2, "{name}: nothing was refused on the way");
    }
}
