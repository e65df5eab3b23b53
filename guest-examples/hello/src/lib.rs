//! The smallest worker: no grants, one note, one piece of evidence.

use jidoka::{Report, Result, Task, evidence};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    jidoka::info!("hello, this is attempt {}", task.attempt);
    let greeting = evidence::attach("artifact", "greeting.txt", format!("Hello! {}\n", task.text))?;
    Ok(Report::done("said hello").with_evidence(greeting))
}
