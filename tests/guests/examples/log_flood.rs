//! Logs for ever: long notes, short notes, empty ones.

use jidoka::{Report, Result, Task};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    for round in 0..20_000 {
        jidoka::info!("{}", "x".repeat(round % 4096));
        jidoka::info!("");
    }
    Ok(Report::done("logged"))
}
