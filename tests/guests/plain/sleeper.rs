//! Waits in a host call until it is stopped.

use std::time::Duration;

use jidoka::{Report, Result, Task};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    std::thread::sleep(Duration::from_secs(1_000_000));
    Ok(Report::done("slept"))
}
