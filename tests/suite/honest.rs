//! Honest repetition is never stopped: sixty jobs that do nearly the same again and again, and get somewhere.

use std::sync::Arc;

use jidoka_tests::agent::{Planned, Turn};

use super::loops::agent;

/// What a model says at each of its turns.
type Plan = Box<dyn Fn(usize) -> Turn + Send + Sync>;

/// Twenty jobs with the tools that answer always the same, each with its number of calls.
fn with_one_answer() -> Vec<(&'static str, usize, Plan)> {
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

/// A job of which each call has its answer: its name, its number of calls, the tool, the arguments and the answer of a call.
type Job = (&'static str, usize, &'static str, fn(usize) -> String, fn(usize) -> String);

/// Forty jobs whose answers tell that something happened, or whose arguments name another thing each time.
const ANSWERED: [Job; 40] = [
    // Something is waited for.
    ("polls a build", 60, "build", |_| r#"{"job":"b"}"#.into(), |n| format!("{n} of 60 crates, {} s so far", n * 30)),
    (
        "polls a build by percent",
        60,
        "build",
        |_| r#"{"job":"b"}"#.into(),
        |n| format!("{{\"at\":\"{}\",\"percent\":{n}}}", time(n)),
    ),
    (
        "polls with a clock only, for a while",
        25,
        "build",
        |_| r#"{"job":"b"}"#.into(),
        |n| format!("running for {n} s"),
    ),
    (
        "waits for what gets less",
        60,
        "build",
        |_| r#"{"job":"b"}"#.into(),
        |n| format!("{} left, about {} s", 60 - n, 600 - n),
    ),
    ("watches a queue", 60, "query", |_| r#"{"queue":"q"}"#.into(), |n| format!("depth {} at {}", n * n % 7, time(n))),
    (
        "hunts for a flaky test",
        60,
        "shell",
        |_| r#"{"command":"cargo test"}"#.into(),
        |n| format!("{} in {n} ms", if n * n % 11 < 5 { "passed" } else { "1 failed" }),
    ),
    (
        "downloads",
        60,
        "shell",
        |_| r#"{"url":"http://a.test/f"}"#.into(),
        |n| format!("{} of 3000000000 bytes, {} s left", n * 50_000_000, 60 - n),
    ),
    ("follows a log", 60, "open", |_| r#"{"path":"a.log"}"#.into(), |n| format!("{} request {n} served", time(n))),
    // Retries.
    (
        "retries with backoff",
        60,
        "query",
        |n| format!("{{\"item\":\"i-{}\"}}", n / 4),
        |n| match n % 4 {
            3 => format!("item {}", n / 4),
            wait => format!("busy, again in {} s", 1 << wait),
        },
    ),
    (
        "retries what fails a few times",
        60,
        "query",
        |n| format!("{{\"item\":\"i-{}\"}}", n / 5),
        |n| match n % 5 {
            4 => format!("item {}", n / 5),
            _ => format!("error: timeout after {n} ms"),
        },
    ),
    (
        "bisects",
        20,
        "shell",
        |_| r#"{"command":"git bisect good"}"#.into(),
        |n| format!("{} revisions left\t[{n:08x}ab]", 20 - n),
    ),
    // Pages.
    (
        "pages",
        60,
        "query",
        |n| format!("{{\"query\":\"open issues\",\"page\":{n}}}"),
        |n| format!("[{},{}]", n * 2, n * 2 + 1),
    ),
    (
        "pages by cursor",
        60,
        "query",
        |n| format!("{{\"query\":\"all\",\"after\":\"{n:08x}ab\"}}"),
        |n| format!("{{\"items\":[{n}],\"next\":\"{:08x}ab\"}}", n + 1),
    ),
    (
        "pages by offset",
        60,
        "query",
        |n| format!("{{\"table\":\"t\",\"offset\":{}}}", n * 100),
        |n| format!("rows {} to {}", n * 100, n * 100 + 99),
    ),
    ("pages that have nothing", 60, "query", |n| format!("{{\"page\":{n}}}"), |_| "[]".into()),
    ("a few pages that have nothing", 25, "query", |n| format!("{{\"query\":\"x\",\"page\":{n}}}"), |_| "[]".into()),
    // Logs and files in parts.
    (
        "reads a log in parts",
        60,
        "open",
        |n| format!("{{\"path\":\"a.log\",\"from\":{}}}", n * 100),
        |n| format!("{} heartbeat", time(n)),
    ),
    ("reads a log by lines", 60, "open", |n| format!("{{\"path\":\"a.log\",\"line\":{n}}}"), |n| format!("line {n}")),
    (
        "reads a log by its days",
        60,
        "open",
        |n| format!("{{\"service\":\"a\",\"day\":\"2026-{:02}-{:02}\"}}", n / 28 + 1, n % 28 + 1),
        |_| "no errors".into(),
    ),
    (
        "reads a log by its hours",
        48,
        "open",
        |n| format!("{{\"from\":\"2026-11-{:02}T{:02}:00:00Z\"}}", n / 24 + 1, n % 24),
        |_| "no errors".into(),
    ),
    (
        "reads a file by ranges",
        60,
        "open",
        |n| format!("{{\"url\":\"http://a.test/f\",\"range\":\"bytes={}-{}\"}}", n * 9, n * 9 + 8),
        |_| "9 bytes".into(),
    ),
    (
        "reads many equal files",
        60,
        "open",
        |n| format!("{{\"path\":\"crates/c{n}/LICENSE\"}}"),
        |_| "MIT License, as everywhere".into(),
    ),
    ("lists empty directories", 60, "list", |n| format!("{{\"path\":\"d{n}\"}}"), |_| String::new()),
    // Searches.
    (
        "searches for names in vain",
        60,
        "search",
        |n| format!("{{\"dir\":\"src\",\"pattern\":\"old_name_{n}\"}}"),
        |_| "no matches".into(),
    ),
    (
        "searches for answers in vain",
        60,
        "search",
        |n| format!("{{\"query\":\"how does part {n} handle errors\",\"limit\":10}}"),
        |_| "no results".into(),
    ),
    (
        "searches where it was told nothing is, a few times",
        25,
        "search",
        |n| format!("{{\"path\":\"a.txt\",\"question\":\"is there a word like number {n}\"}}"),
        |_| String::new(),
    ),
    (
        "greps the same in other files",
        60,
        "search",
        |n| format!("{{\"pattern\":\"todo\",\"path\":\"src/f{n}.rs\"}}"),
        |_| "no matches".into(),
    ),
    // Edits and calls of the same kind.
    (
        "edits many files in the same way",
        60,
        "post",
        |n| format!("{{\"path\":\"src/f{n}.rs\",\"old\":\"a\",\"new\":\"b\"}}"),
        |_| "1 replacement".into(),
    ),
    ("deletes rows", 60, "delete", |n| format!("{{\"id\":{n}}}"), |_| "ok".into()),
    (
        "deletes rows by their keys",
        60,
        "delete",
        |n| format!("{{\"table\":\"t\",\"key\":\"row-{n}\"}}"),
        |_| "ok".into(),
    ),
    (
        "files issues",
        60,
        "post",
        |n| format!("{{\"repo\":\"a/b\",\"title\":\"The price of item {n} is wrong\"}}"),
        |n| format!("{{\"number\":{}}}", 100 + n),
    ),
    (
        "posts a few messages",
        25,
        "post",
        |n| format!("{{\"channel\":\"c\",\"text\":\"The parcel number {n} is late\"}}"),
        |n| format!("{{\"ok\":true,\"ts\":\"17645274{n:02}.0\"}}"),
    ),
    (
        "uploads parts",
        60,
        "post",
        |n| format!("{{\"upload\":\"u\",\"part\":{n}}}"),
        |n| format!("{{\"etag\":\"{n:08x}ab\"}}"),
    ),
    // Maps.
    (
        "maps near-equal inputs",
        60,
        "query",
        |n| format!("{{\"text\":\"The customer with number {n} says that it is late\"}}"),
        |_| "it is late".into(),
    ),
    (
        "rates near-equal inputs",
        60,
        "query",
        |n| format!("{{\"language\":\"en\",\"text\":\"The parcel with number {n} is late\"}}"),
        |n| (if n % 5 == 0 { "good" } else { "bad" }).into(),
    ),
    (
        "tries parameters",
        60,
        "shell",
        |n| format!("{{\"rate\":0.{n:02},\"depth\":{}}}", n % 5),
        |_| "did not converge".into(),
    ),
    (
        "fuzzes",
        60,
        "shell",
        |n| format!("{{\"target\":\"parse\",\"seed\":{n}}}"),
        |n| format!("no crash in {} runs", 1_000 + n),
    ),
    ("asks many hosts", 60, "query", |n| format!("{{\"host\":\"h{n}.test\"}}"), |n| format!("up, {n} ms")),
    (
        "tests each crate",
        60,
        "shell",
        |n| format!("{{\"command\":\"cargo test -p c{n}\"}}"),
        |n| format!("ok in {n} s"),
    ),
    (
        "talks to an interpreter",
        60,
        "shell",
        |n| format!("{{\"session\":\"s\",\"code\":\"x{n} = f({n})\"}}"),
        |_| String::new(),
    ),
];

fn time(number: usize) -> String {
    format!("2026-11-21T20:{:02}:{:02}Z", number / 60, number % 60)
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_honest_jobs_that_repeat_themselves_are_stopped_never() {
    let pollers = "pollers = [\"status\", \"rest\"]";
    let mut jobs: Vec<_> = with_one_answer().into_iter().map(|job| (job, pollers, String::new())).collect();
    for (name, calls, tool, arguments, answer) in ANSWERED {
        let plan: Plan = Box::new(move |number| Turn::Call(tool.to_owned(), arguments(number)));
        let answers: Vec<String> = (0..calls).map(answer).collect();
        jobs.push(((name, calls, plan), "pollers = []", answers.join("\n")));
    }
    assert_eq!(jobs.len(), 60);
    for ((name, calls, plan), pollers, answers) in jobs {
        let plan = move |number: usize| match number {
            number if number < calls => plan(number),
            number if number == calls => Turn::write("end.txt", "done"),
            _ => Turn::Say("done".into()),
        };
        let model = Arc::new(Planned::new(plan));
        let bench = agent(Arc::clone(&model)).file("answers.txt", &answers).set("guards", pollers).wall("60s");
        let end = bench.set("caps", "lifted = \"8MiB\"").run().await;
        assert_eq!(end.record.verdict, "accepted", "{name}: {}", end.record.why);
        assert_eq!(model.asked(), calls + 2, "{name}: nothing was refused on the way");
    }
}
