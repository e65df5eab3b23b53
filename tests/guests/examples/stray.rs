//! Writes beside the deliverables, and perhaps in them too.

use jidoka::{Report, Result, Task, workspace};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    workspace::write("tests/check.sh", "exit 0")?;
    workspace::write("src-more/a.txt", "a name that only begins like the deliverable")?;
    if task.input("both").is_some() {
        workspace::write("src/a.txt", "done")?;
    }
    Ok(Report::done("changed"))
}
