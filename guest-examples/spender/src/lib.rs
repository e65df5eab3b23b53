//! Asks the model again and again until its budget line refuses. It has no limit of its own: the host's is enough.

use jidoka::{Line, Report, Result, Task, budget, model};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let request = model::Request::new("writer").user(&task.text).max_output(600).min_output(100);
    let mut calls = 0_u32;
    loop {
        match model::ask(&request) {
            Ok(reply) => {
                calls += 1;
                let left = budget::left_of(Line::Tokens).unwrap_or_default();
                jidoka::info!("call {calls}: {} tokens out, {left} tokens left", reply.usage.tokens_out);
            }
            Err(denied) if denied.shortfall().is_some() => {
                return Ok(Report::unable(format!("spent what there was in {calls} calls; then {denied}")));
            }
            Err(denied) => return Err(denied.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jidoka::Status;
    use jidoka::testing::{FakeHost, Scripted};

    #[test]
    fn the_last_call_is_shrunk_and_the_next_refused() {
        let long = || Scripted::text("word ".repeat(600)).usage(40, 600);
        let host = FakeHost::new().budget(Line::Tokens, 2400).reply(long()).reply(long()).reply(long()).reply(long());
        let run = host.reply(long()).run(run, Task::new("Write one more page of the book that nobody will read."));
        assert_eq!(run.report().status, Status::Unable);
        assert!(run.report().summary.starts_with("spent what there was in 4 calls"), "{}", run.report().summary);
        assert_eq!(run.requests.len(), 4);
        // 3 whole calls leave 480; the text is bounded by its 54 bytes, so the fourth may write 426.
        assert_eq!(run.logs[3].message, "call 4: 426 tokens out, 14 tokens left");
    }

    #[test]
    fn any_other_no_ends_it_at_once() {
        let run = FakeHost::new().run(run, Task::new("Write."));
        assert!(matches!(run.outcome, jidoka::testing::Outcome::Failed(_)));
    }
}
