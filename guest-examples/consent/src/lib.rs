//! Asks a person before it does what cannot be taken back, and takes silence for a no.

use jidoka::human::{self, Risk};
use jidoka::{Report, Result, Task, evidence};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let answer = human::ask(&format!("Shall I? {}", task.text), &["yes, do it", "no, leave it"], Risk::High)?;
    if answer.choice != 0 {
        return Ok(Report::unable(format!("a person said no: {}", answer.note)));
    }
    let done = evidence::attach("artifact", "done.txt", format!("{} ({})", task.text, answer.note))?;
    Ok(Report::done("did it, with a person's consent").with_evidence(done))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jidoka::testing::FakeHost;

    #[test]
    fn it_does_it_only_with_consent() {
        let run = |answer| FakeHost::new().answer(answer).run(run, Task::new("delete it"));
        assert_eq!(run(0).report().summary, "did it, with a person's consent");
        assert!(run(1).report().summary.starts_with("a person said no"));
    }

    #[test]
    fn without_an_answer_it_does_nothing() {
        let run = FakeHost::new().run(run, Task::new("delete it"));
        assert!(run.evidence.is_empty());
    }
}
