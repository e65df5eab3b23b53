//! Claims success and changes nothing. The report is evidence; the verdict is the host's.

use jidoka::{Report, Result, Task};

#[jidoka::worker]
fn run(_task: Task) -> Result<Report> {
    Ok(Report::done("fixed the bug, all tests are green now"))
}
