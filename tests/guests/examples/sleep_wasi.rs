//! Sleeps for an hour through the standard library.

use std::time::Duration;

use jidoka::{Report, Result, Task};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    std::thread::sleep(Duration::from_secs(3600));
    Ok(Report::done("slept"))
}
