//! Gives its task to a child and believes what the host says of it, not what the child says of itself.

use jidoka::children::{self, Child};
use jidoka::{Line, Report, Result, Task};

/// Of the caller's tokens, as many as the child may spend: about six times what it takes.
const TOKENS: u64 = 20_000;

/// The verdict on a child that had nothing to do, and was right.
const NO_CHANGE: &str = "no-change-needed";

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let verdict = children::run(&Child::new("fixer", &task.text).may_spend(Line::Tokens, TOKENS))?;
    jidoka::info!("the child says: {}", verdict.summary);
    if verdict.is_accepted() {
        return Ok(Report::done(format!("the fixer's work was accepted in run {}", verdict.serial)));
    }
    if verdict.verdict == NO_CHANGE {
        return Ok(Report::no_change_needed(format!("the fixer had nothing to do in run {}", verdict.serial)));
    }
    Ok(Report::unable(format!("the fixer's run {} ended as {}: {}", verdict.serial, verdict.verdict, verdict.why)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jidoka::testing::{FakeHost, Judged, Outcome, Run};
    use jidoka::{Status, workspace};

    const PATH: &str = "src/basket.rhai";

    /// A host whose child changes a file, claims success, and is judged so.
    fn delegate(host: FakeHost, judged: Judged) -> Run<Report> {
        let host = host.file(PATH, "bad").child("fixer", move |_| {
            workspace::write(PATH, "changed").expect("it can be written");
            judged.clone().summary("I fixed it all.")
        });
        host.run(run, Task::new("fix it"))
    }

    #[test]
    fn work_that_the_host_accepted_is_done_and_its_run_is_named() {
        let run = delegate(FakeHost::new(), Judged::new("accepted"));
        assert_eq!(run.report().status, Status::Done);
        assert!(run.report().summary.ends_with("in run child-1"), "{}", run.report().summary);
        assert_eq!(run.file(PATH), Some("changed"));
        assert_eq!(run.children, [Child::new("fixer", "fix it").may_spend(Line::Tokens, TOKENS)]);
    }

    #[test]
    fn a_claim_that_the_host_rejected_is_never_done() {
        let run = delegate(FakeHost::new(), Judged::new("rejected").why("check tests: 2 of 5 tests fail"));
        assert_eq!(run.report().status, Status::Unable);
        assert!(run.report().summary.ends_with("ended as rejected: check tests: 2 of 5 tests fail"));
        assert!(!run.report().summary.contains("I fixed it all."));
        assert_eq!(run.file(PATH), Some("bad"));
    }

    #[test]
    fn a_child_with_nothing_to_do_is_reported_as_no_change() {
        let run = delegate(FakeHost::new(), Judged::new(NO_CHANGE));
        assert_eq!(run.report().status, Status::NoChangeNeeded);
    }

    #[test]
    fn a_child_that_the_budget_refuses_is_told() {
        let run = delegate(FakeHost::new().budget(Line::Tokens, TOKENS - 1), Judged::new("accepted"));
        let Outcome::Failed(why) = &run.outcome else { panic!("{:?}", run.outcome) };
        assert!(why.to_string().starts_with("refused: 20000 of tokens asked, 19999 left"), "{why}");
        assert_eq!((run.children.len(), run.file(PATH)), (0, Some("bad")));
    }

    #[test]
    fn without_a_grant_it_says_which_line_is_missing() {
        let run = FakeHost::new().run(run, Task::new("fix it"));
        let Outcome::Failed(why) = &run.outcome else { panic!("{:?}", run.outcome) };
        assert!(why.to_string().contains("[grants] children"), "{why}");
    }

    // The child's script answers one project only. A run of an example fixes the one in its directory.
    #[test]
    fn its_project_is_the_one_that_the_childs_script_answers() {
        let broken = |text: &str| text.replace("with_tax(net, tax)", "with_tax(after_discount(net, discount), tax)");
        let theirs = include_str!("../../fixer/project/src/basket.rhai");
        assert_eq!(broken(include_str!("../project/src/basket.rhai")), broken(theirs));
        let theirs = include_str!("../../fixer/project/tests/basket.rhai");
        assert_eq!(include_str!("../project/tests/basket.rhai"), theirs);
    }
}
