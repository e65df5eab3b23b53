//! Goes back and forth between two states and checks in at each.

use jidoka::{Report, Result, Task, progress, workspace};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    for state in ["two", "one", "two", "one", "two"] {
        workspace::write("a.txt", state)?;
        let standing = progress::check_in(state)?;
        jidoka::info!("{state} {} {}", standing.new_mark, standing.marks);
    }
    Ok(Report::done("progressed"))
}
