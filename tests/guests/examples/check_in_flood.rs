//! Checks in as often as it may, and once more.

use jidoka::{Report, Result, Task, progress};
use jidoka_hostile_guests::{number, tell};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    for _ in 0..number(&task, "cap") {
        progress::check_in("here")?;
    }
    tell("one more", progress::check_in("here").map(|_| ()));
    Ok(Report::done("checked in"))
}
