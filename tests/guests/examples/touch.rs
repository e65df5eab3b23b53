//! Rewrites a file with the same bytes.

use jidoka::{Report, Result, Task, workspace};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    workspace::write("a.txt", workspace::read("a.txt")?)?;
    std::fs::File::open("/work/a.txt")?.sync_all()?;
    Ok(Report::done("changed"))
}
