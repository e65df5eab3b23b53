//! One model call; its answer is the artifact.

use jidoka::{Report, Result, Task, evidence, model};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let request = model::Request::new("writer").user(&task.text).max_output(256);
    let reply = model::ask(&request)?;
    let answer = evidence::attach("artifact", "answer.txt", reply.answer()?)?;
    Ok(Report::done("answered").with_evidence(answer))
}
