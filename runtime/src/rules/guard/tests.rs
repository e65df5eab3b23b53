//! Loops of every shape are found within the published number of calls, and honest repetition is not.

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
        let reply = Reply { text, tool_calls: vec![call], stop: Stop::ToolCalls };
        self.memory.replied("coder", &self.messages, &reply, true, &self.guards);
        let message =
            |role, content: &str, id| Message { role, content: content.into(), tool_calls: vec![], tool_call_id: id };
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
        let reply = Reply { text: String::new(), tool_calls: vec![call], stop: Stop::ToolCalls };
        memory.replied("coder", &[], &reply, true, &guards);
        memory.asked(&[], &guards);
    }
    assert!(memory.suspicion().is_some());
}

#[test]
fn the_same_question_with_the_same_reply_is_a_cycle_and_samples_at_once_are_none() {
    let guards = Guards::default();
    let reply = Reply { text: "I will look into it".into(), tool_calls: vec![], stop: Stop::End };
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
    let at_its_cap =
        |number: usize| Reply { text: format!("chapter {number}"), tool_calls: vec![], stop: Stop::MaxOutput };
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
        worker.call(&format!("{number}{}", "x".repeat(1_000)), "{}", &format!("error: {}", "y".repeat(number)));
    }
    let bytes = serde_json::to_string(&worker.memory.for_next_run()).expect("plain data").len();
    assert!(bytes < 32 << 10, "{bytes}");
}

#[test]
fn a_call_of_the_hosts_tool_that_a_model_asked_for_counts_once() {
    let mut worker = Worker::new();
    let call = |worker: &mut Worker| {
        worker.turn += 1;
        let id = format!("call-{}", worker.turn);
        let asked = ToolCall { id: id.clone(), name: "search".into(), arguments: "{ \"a\": 1 }".into() };
        let reply = Reply { text: String::new(), tool_calls: vec![asked], stop: Stop::ToolCalls };
        worker.memory.replied("coder", &worker.messages, &reply, true, &worker.guards);
        // The worker has the host call it, and tells its model what came of it.
        worker.memory.hosted("search", "{\"a\":1}", Ok("found"), &worker.guards);
        worker.messages.push(Message {
            role: Role::Tool,
            content: "found".into(),
            tool_calls: vec![],
            tool_call_id: Some(id),
        });
        worker.memory.asked(&worker.messages, &worker.guards);
        worker.memory.suspicion().is_some()
    };
    let suspected: Vec<bool> = (0..3).map(|_| call(&mut worker)).collect();
    assert_eq!(suspected, [false, false, true]);
}

#[test]
fn no_number_that_is_kept_of_a_call_is_past_what_json_keeps() {
    for text in ["", "a", "look", "{\"path\":\"src\"}", &"x".repeat(1_000)] {
        assert!(hash([text, text]) < 1 << 53, "{text}");
    }
}
