//! Loops of every shape are found within the published number of calls, and honest repetition is not.

use super::cycle::{MAX_PERIOD, MIN_LIKE_PERIOD};
use super::*;
use crate::rules::model::Message;

/// A worker whose model asks for calls, one a turn, with as many words around as it likes.
struct Worker {
    memory: Memory,
    guards: Guards,
    messages: Vec<Message>,
    turn: usize,
}

impl Worker {
    fn new() -> Self {
        Self { memory: Memory::default(), guards: Guards::default(), messages: Vec::new(), turn: 0 }
    }

    /// The model asks for a call, and the worker tells it the result. Whether a guard speaks up when it asks again.
    fn call(&mut self, tool: &str, arguments: &str, result: &str) -> bool {
        self.turn += 1;
        let id = format!("call-{}", self.turn);
        let call = ToolCall { id: id.clone(), name: tool.into(), arguments: arguments.into() };
        let text = format!("thought number {}, in other words", self.turn);
        let reply = Reply::new(text, vec![call], Stop::ToolCalls);
        self.memory.replied("coder", &self.messages, &reply, true, &self.guards);
        let message = |role, content: &str, id| Message { tool_call_id: id, ..Message::new(role, content) };
        self.messages.push(message(Role::Tool, result, Some(id)));
        self.messages.push(message(Role::User, &format!("nudge {}", self.turn), None));
        self.memory.asked(&self.messages, &self.guards);
        self.memory.suspicion().is_some()
    }

    /// Calls until the attempt would end, at most `most`.
    fn calls_until_the_end(&mut self, most: usize, call: impl Fn(usize) -> (String, String, String)) -> Option<usize> {
        for number in 0..most {
            let (tool, arguments, result) = call(number);
            if self.call(&tool, &arguments, &result) && self.memory.strike(&self.guards) == Step::End {
                return Some(number + 1);
            }
        }
        None
    }
}

#[test]
fn a_cycle_of_every_period_ends_within_the_published_number_of_calls() {
    for period in 1..=MAX_PERIOD {
        let mut worker = Worker::new();
        let cycle = |number: usize| {
            let place = number % period;
            // Keys in another order and other blanks are the same arguments.
            let arguments = if number.is_multiple_of(2) {
                format!("{{\"a\":{place},\"b\":1}}")
            } else {
                format!("{{ \"b\": 1, \"a\": {place} }}")
            };
            (format!("tool-{place}"), arguments, format!("result {place}"))
        };
        let published = 3 * period + 2;
        assert_eq!(worker.calls_until_the_end(1_000, cycle), Some(published), "period {period}");
    }
}

/// The number of calls after which calls that are only alike end the attempt, for a cycle of so many.
fn published(period: usize) -> usize {
    3 * period.max(MIN_LIKE_PERIOD) + 2
}

#[test]
fn a_cycle_that_was_gone_through_twice_and_one_that_is_longer_than_the_longest_are_none() {
    let cycle = |period: usize| {
        move |number: usize| {
            (format!("tool-{}", number % period), "{}".to_owned(), format!("result {}", number % period))
        }
    };
    for period in 4..=MAX_PERIOD {
        assert_eq!(Worker::new().calls_until_the_end(3 * period - 1, cycle(period)), None, "period {period}");
    }
    assert_eq!(Worker::new().calls_until_the_end(1_000, cycle(2 * MAX_PERIOD)), None);
}

#[test]
fn the_same_result_for_other_words_counters_and_clocks_ends_within_the_published_number_of_calls() {
    type Loop<'a> = (&'a str, &'a dyn Fn(usize) -> (String, String));
    let time = |number: usize| format!("{:02}:{:02}:{:02}", number / 3_600, number / 60 % 60, number % 60);
    let loops: [Loop; 8] = [
        ("other words", &|number| {
            let words = ["look", "check", "read", "verify", "confirm", "inspect", "open"];
            let reason = format!("Now I {} it once more, try {number}", words[number % words.len()]);
            (format!("{{\"path\":\"a.txt\",\"reason\":\"{reason}\"}}"), "let a = 1;".into())
        }),
        ("nothing each time", &|number| (format!("{{\"path\":\"a.txt\",\"n\":{number}}}"), String::new())),
        ("a counter", &|number| (format!("{{\"path\":\"a.txt\",\"try\":{number}}}"), "let a = 1;".into())),
        ("a request's id", &|number| {
            (format!("{{\"path\":\"a\",\"request\":\"0f1c22de-33ab-4e00-8c1d-{number:012}\"}}"), "x".into())
        }),
        ("a time", &|number| ("{\"path\":\"a\"}".into(), format!("x at 2026-11-21T{}Z", time(number)))),
        ("a duration", &|number| ("{\"path\":\"a\"}".into(), format!("x, in {}.{} ms", number % 7, number))),
        ("a process", &|number| ("{\"path\":\"a\"}".into(), format!("{{\"x\":1,\"pid\":{}}}", 4_711 + number))),
        ("words and a time", &|number| {
            let reason = format!("{{\"path\":\"a\",\"why\":\"so that I am sure of it {number}\"}}");
            (reason, format!("x at {}", time(number)))
        }),
    ];
    for (name, call) in loops {
        let mut worker = Worker::new();
        let looped = |number: usize| {
            let (arguments, result) = call(number);
            ("read".to_owned(), arguments, result)
        };
        assert_eq!(worker.calls_until_the_end(200, looped), Some(published(1)), "{name}");
        // Also in a cycle of several, in any order, and one after the other in other ways.
        let mut worker = Worker::new();
        let mixed = |number: usize| {
            let (arguments, result) = call(number);
            let result = format!("{result} {}", ["a", "b", "c"][number * number % 7 % 3]);
            (format!("tool-{}", number * number % 7 % 3), arguments, result)
        };
        assert!(worker.calls_until_the_end(60, mixed).is_some(), "{name}, mixed");
    }
    let mut worker = Worker::new();
    let all = |number: usize| {
        let (arguments, result) = loops[number % loops.len()].1(number);
        (format!("tool-{}", number % loops.len()), arguments, result)
    };
    assert_eq!(worker.calls_until_the_end(200, all), Some(published(loops.len())));
}

#[test]
fn what_was_seen_to_repeat_says_which_part_was_ignored() {
    let mut worker = Worker::new();
    for number in 0..30 {
        let arguments = format!("{{\"path\":\"a\",\"why\":\"so that I am sure of it {number}\"}}");
        worker.call("read", &arguments, &format!("x at 20:13:{number:02}"));
    }
    let fact = &worker.memory.suspicion().expect("thirty times").fact;
    assert_eq!(*fact, "same call, same result, 30 times: read; ignored: a time in the result, the argument why");
    let mut worker = Worker::new();
    for number in 0..30 {
        worker.call(&format!("tool-{}", number % 10), "{}", &format!("x in {number} ms"));
    }
    let fact = &worker.memory.suspicion().expect("three times").fact;
    let eight: Vec<String> = (0..8).map(|number| format!("tool-{number}")).collect();
    let expected = format!(
        "same 10 calls, same results, in 30 calls: {} and 2 more; ignored: a duration in the result",
        eight.join(", ")
    );
    assert_eq!(*fact, expected);
}

#[test]
fn what_came_otherwise_before_is_not_ignored() {
    let mut worker = Worker::new();
    let rated = |number: usize| {
        let label = if number.is_multiple_of(20) { "good" } else { "bad" };
        let text = format!("{{\"language\":\"en\",\"text\":\"This parcel number {number} was late\"}}");
        ("rate".to_owned(), text, label.to_owned())
    };
    assert_eq!(worker.calls_until_the_end(200, rated), None, "the words matter");
    let mut worker = Worker::new();
    let depth = |number: usize| {
        ("queue".to_owned(), "{}".to_owned(), format!("depth {} at 20:13:{:02}", number * number % 7, number % 60))
    };
    assert_eq!(worker.calls_until_the_end(200, depth), None);
}

#[test]
fn a_loop_of_calls_that_are_alike_goes_on_over_attempts_and_ends_at_something_new() {
    let look = |worker: &mut Worker, number: usize| {
        worker.call("look", &format!("{{\"path\":\"a\",\"try\":{number}}}"), "nothing")
    };
    let mut worker = Worker::new();
    assert!((0..20).all(|number| !look(&mut worker, number)));
    let kept = serde_json::to_string(&worker.memory.for_next_run()).expect("plain data");
    let mut worker = Worker { memory: serde_json::from_str(&kept).expect("plain data"), ..Worker::new() };
    assert!((20..29).all(|number| !look(&mut worker, number)));
    assert!(look(&mut worker, 29), "the 30th time, in another attempt");
    let mut worker = Worker::new();
    for number in 0..100 {
        assert!(!look(&mut worker, number), "{number}");
        if number % 29 == 28 {
            worker.memory.marked();
        }
    }
    let mut worker = Worker::new();
    for number in 0..100 {
        assert!(!look(&mut worker, number), "{number}");
        if number % 28 == 27 {
            worker.call("look", "{\"path\":\"b\"}", &format!("{number} things"));
        }
    }
}

#[test]
fn calls_of_a_poller_are_not_counted_beside_others_that_are_alike() {
    let mut worker = Worker::new();
    worker.guards.pollers.insert("status".into());
    for number in 0..300 {
        let result = format!("running for {number} s");
        assert!(!worker.call("status", "{}", &result));
        if number % 10 == 9 {
            let log = format!("{{\"path\":\"log\",\"try\":{number}}}");
            assert_eq!(worker.call("read", &log, "compiles"), number == 299, "{number}");
        }
    }
}

#[test]
fn a_question_in_other_words_with_the_same_answer_is_a_loop_and_one_label_for_many_questions_is_none() {
    let guards = Guards::default();
    let message = |role, content: String| Message::new(role, content);
    let told_after = |question: &dyn Fn(usize) -> Vec<Message>, answer: &str| {
        let mut memory = Memory::default();
        (1..=100).find(|&number| {
            let reply = Reply::new(answer.to_owned(), vec![], Stop::End);
            // Two models in turn.
            let model = ["coder", "other"][number % 2];
            memory.replied(model, &question(number), &reply, true, &guards);
            memory.suspicion().is_some()
        })
    };
    let counted = |number: usize| vec![message(Role::User, format!("For the {number}th time: is it done?"))];
    assert_eq!(told_after(&counted, "not yet"), Some(30));
    let named = |number: usize| vec![message(Role::User, format!("file-{number}"))];
    assert_eq!(told_after(&named, "no issue"), None);
    let other = |number: usize| vec![message(Role::User, "please ".repeat(number))];
    assert_eq!(told_after(&other, "I am sorry, but I cannot help you with that."), Some(30));
    assert_eq!(told_after(&other, "no issue"), None, "a label");
    let grows = |number: usize| {
        let turn = |_| [message(Role::Assistant, "I will.".into()), message(Role::User, "Go on, do it.".into())];
        (0..number).flat_map(turn).collect()
    };
    assert_eq!(told_after(&grows, "I will."), Some(30));
}

#[test]
fn the_same_page_for_other_counters_of_a_request_is_a_loop() {
    let (mut memory, guards) = (Memory::default(), Guards::default());
    let told = (1..=100).find(|number| {
        let request = HttpRequest {
            method: "POST".into(),
            url: "http://a.test/search".into(),
            headers: vec![("x-request-id".into(), format!("0f1c22de-33ab-4e00-8c1d-{number:012}"))],
            body: HttpBody(format!("{{\"query\":\"x\",\"try\":{number}}}").into_bytes()),
        };
        let body = HttpBody(b"{\"found\":[]}".to_vec());
        memory.fetched(&request, &HttpReply { status: 200, headers: vec![], body, redirects: 0 }, &guards);
        memory.suspicion().is_some()
    });
    assert_eq!(told, Some(30));
}

#[test]
fn a_cycle_goes_on_over_attempts_and_restarts() {
    let mut worker = Worker::new();
    assert!(!worker.call("look", "{}", "nothing"));
    assert!(!worker.call("look", "{}", "nothing"));
    let kept = serde_json::to_string(&worker.memory.for_next_run()).expect("plain data");
    let mut worker = Worker { memory: serde_json::from_str(&kept).expect("plain data"), ..Worker::new() };
    assert!(worker.call("look", "{}", "nothing"), "the third time, in another attempt");
}

#[test]
fn something_new_to_show_or_another_result_breaks_a_cycle_and_a_nudge_does_not() {
    let mut worker = Worker::new();
    for number in 0..50 {
        assert!(!worker.call("poll", "{}", &format!("{number} of 50 done")));
    }
    for _ in 0..50 {
        assert!(!worker.call("test", "{}", "2 of 5 failed"));
        assert!(!worker.call("test", "{}", "2 of 5 failed"));
        worker.memory.marked();
    }
    let mut worker = Worker::new();
    let told: Vec<bool> = (0..4).map(|_| worker.call("test", "{}", "2 of 5 failed")).collect();
    assert_eq!(told, [false, false, true, true]);
}

#[test]
fn a_declared_poller_may_ask_for_ever_and_a_cycle_with_another_tool_in_it_not() {
    let mut worker = Worker::new();
    worker.guards.pollers.insert("status".into());
    assert_eq!(worker.calls_until_the_end(500, |_| ("status".into(), "{}".into(), "running".into())), None);
    let mixed = |number: usize| {
        let tool = if number.is_multiple_of(2) { "status" } else { "look" };
        (tool.to_owned(), "{}".to_owned(), "running".to_owned())
    };
    assert!(worker.calls_until_the_end(500, mixed).is_some());
}

#[test]
fn two_hundred_similar_files_are_no_cycle() {
    let mut worker = Worker::new();
    let file = |number: usize| ("write".to_owned(), format!("{{\"path\":\"{number}.txt\"}}"), "written".to_owned());
    assert_eq!(worker.calls_until_the_end(200, file), None);
}

#[test]
fn one_error_whatever_the_arguments_ends_within_the_published_number_of_calls() {
    for result in ["error: no such file \"{}\" at line {}", "Error 404: {} of {}", "{\"error\": \"code {} in {}\"}"] {
        let mut worker = Worker::new();
        let failing = |number: usize| {
            let result = result.replacen("{}", &number.to_string(), 1).replacen("{}", &(number * 7).to_string(), 1);
            ("read".to_owned(), format!("{{\"path\":\"file-{number}\"}}"), result)
        };
        assert_eq!(worker.calls_until_the_end(1_000, failing), Some(5 + 2), "{result}");
    }
}

#[test]
fn failures_of_a_tool_between_successes_of_others_count_and_its_own_success_ends_them() {
    let mut worker = Worker::new();
    let alternating = |number: usize| match number % 2 {
        0 => ("read".to_owned(), format!("{{\"path\":{number}}}"), "error: denied".to_owned()),
        _ => ("list".to_owned(), format!("{{\"page\":{number}}}"), format!("{number} files")),
    };
    // The fifth failure is the ninth call; then two more of them.
    assert_eq!(worker.calls_until_the_end(1_000, alternating), Some(9 + 4));
    let mut worker = Worker::new();
    let mending = |number: usize| {
        let result = if number % 4 == 3 { "all well" } else { "error: denied" };
        ("read".to_owned(), format!("{{\"path\":{number}}}"), result.to_owned())
    };
    assert_eq!(worker.calls_until_the_end(1_000, mending), None);
}

#[test]
fn a_result_that_only_speaks_of_errors_is_no_failure() {
    for result in ["found 3 errors in a.rs", "{\"error\": null, \"ok\": 1}", "{\"error\": false}", "", "éééé"] {
        assert!(!says_failure(result), "{result}");
    }
    for result in ["error", "  ERROR: x", "{\"isError\": true}", "{\"error\": {\"code\": 5}}"] {
        assert!(says_failure(result), "{result}");
    }
}

#[test]
fn a_worker_that_hides_the_results_has_none_that_differs() {
    let mut memory = Memory::default();
    let guards = Guards::default();
    for number in 0..3 {
        let call = ToolCall { id: format!("{number}"), name: "look".into(), arguments: "{}".into() };
        let reply = Reply::new(String::new(), vec![call], Stop::ToolCalls);
        memory.replied("coder", &[], &reply, true, &guards);
        memory.asked(&[], &guards);
    }
    assert!(memory.suspicion().is_some());
}

#[test]
fn the_same_question_with_the_same_reply_is_a_cycle_and_samples_at_once_are_none() {
    let guards = Guards::default();
    let reply = Reply::new("I will look into it", vec![], Stop::End);
    let mut memory = Memory::default();
    for _ in 0..16 {
        memory.replied("coder", &[], &reply, false, &guards);
    }
    assert_eq!(memory.suspicion(), None);
    for _ in 0..3 {
        memory.replied("coder", &[], &reply, true, &guards);
    }
    assert_eq!(memory.suspicion().map(|suspicion| suspicion.guard), Some(Guard::Cycle));
}

#[test]
fn replies_that_say_nothing_are_told_after_as_many_as_the_job_says() {
    let guards = Guards::default();
    let at_its_cap = |number: usize| Reply::new(format!("chapter {number}"), vec![], Stop::MaxOutput);
    let mut memory = Memory::default();
    for number in 0..2 {
        memory.replied("coder", &[], &at_its_cap(number), true, &guards);
        assert_eq!(memory.suspicion(), None);
    }
    memory.replied("coder", &[], &at_its_cap(2), true, &guards);
    assert_eq!(memory.suspicion().map(|suspicion| suspicion.guard), Some(Guard::Degenerate));

    assert!(repeats_itself(&"I am sorry, I will now really do what you asked me to do. ".repeat(12)));
    assert!(!repeats_itself(&"I am sorry, I will now really do what you asked me to do. ".repeat(9)));
    let ends_well = format!(
        "{} There it is: done.",
        "Ich überlege noch einmal, was zu tun wäre, und dann höre ich auf. ".repeat(40)
    );
    assert!(repeats_itself(&ends_well), "also if it stops in the end");
    let table: String = (0..200).map(|row| format!("| row {row} | {} | {} |\n", row * 31, row * 7)).collect();
    assert!(!repeats_itself(&table));
    assert!(!repeats_itself(&"-".repeat(4_000)), "a ruled line");
}

#[test]
fn what_a_worker_is_told_names_the_setting_and_is_known_again() {
    let mut worker = Worker::new();
    for _ in 0..3 {
        worker.call("look", "{}", "nothing");
    }
    let refusal = refusal(worker.memory.suspicion().expect("three times"), "since entry 41");
    assert_eq!(refusal.asked, "same call, same result, 3 times: look; nothing new since entry 41");
    assert_eq!(refusal.setting, "[guards] repeats");
    assert!(is_strike(&refusal));
    assert!(!is_strike(&Refusal { reason: Reason::TooLarge, ..refusal }));
}

#[test]
fn what_is_remembered_is_bounded_whatever_a_guest_says() {
    let mut worker = Worker::new();
    for number in 0..2_000 {
        let tool = if number < 1_000 { number } else { number % 40 };
        let arguments = format!("{{\"a\":\"b\",\"{}\":\"one two three four {number}\"}}", "é".repeat(1_000));
        worker.call(&format!("{tool}{}", "x".repeat(1_000)), &arguments, &format!("error: {}", "y".repeat(tool)));
    }
    assert_eq!(worker.memory.calls.len(), 3 * MAX_PERIOD);
    assert!(worker.memory.suspicion().expect("a loop").fact.len() < 4 << 10);
    let bytes = serde_json::to_string(&worker.memory.for_next_run()).expect("plain data").len();
    assert!(bytes < 64 << 10, "{bytes}");
}

#[test]
fn a_call_of_the_hosts_tool_that_a_model_asked_for_counts_once() {
    let mut worker = Worker::new();
    let call = |worker: &mut Worker| {
        worker.turn += 1;
        let id = format!("call-{}", worker.turn);
        let asked = ToolCall { id: id.clone(), name: "search".into(), arguments: "{ \"a\": 1 }".into() };
        let reply = Reply::new(String::new(), vec![asked], Stop::ToolCalls);
        worker.memory.replied("coder", &worker.messages, &reply, true, &worker.guards);
        // The worker has the host call it, and tells its model what came of it.
        worker.memory.hosted("search", "{\"a\":1}", Ok("found"), &worker.guards);
        worker.messages.push(Message { tool_call_id: Some(id), ..Message::new(Role::Tool, "found") });
        worker.memory.asked(&worker.messages, &worker.guards);
        worker.memory.suspicion().is_some()
    };
    let suspected: Vec<bool> = (0..3).map(|_| call(&mut worker)).collect();
    assert_eq!(suspected, [false, false, true]);
}
