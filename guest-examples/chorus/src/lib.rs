//! One question in a batch: five calls at once, paid out of one budget; every answer is evidence.

use jidoka::{Report, Result, Task, evidence, model};

/// Answers to one question. The host runs them at the same time and answers in order.
const VOICES: usize = 5;

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let request = model::Request::new("writer").user(&task.text).max_output(32);
    let mut report = Report::done("asked five times");
    for (voice, reply) in model::ask_all(&vec![request; VOICES]).into_iter().enumerate() {
        // One that is refused or fails does not take the others' answers away.
        match reply {
            Ok(reply) => {
                let answer = evidence::attach("artifact", &format!("answer-{voice}.txt"), &reply.text)?;
                report = report.with_evidence(answer);
            }
            Err(denied) => jidoka::warn!("voice {voice}: {denied}"),
        }
    }
    Ok(report)
}
