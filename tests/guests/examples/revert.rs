//! Changes a file, shows it, and changes it back.

use jidoka::{Report, Result, Task, workspace};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    let before = workspace::read("a.txt")?;
    workspace::write("a.txt", "changed")?;
    workspace::write("new.txt", "new")?;
    workspace::write("a.txt", before)?;
    workspace::remove("new.txt")?;
    Ok(Report::done("changed"))
}
