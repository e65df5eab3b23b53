//! Sleeps for no time at all, again and again: each is two lines of the journal.

use std::time::Duration;

use jidoka::{Report, Result, Task};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    loop {
        jidoka::clock::sleep(Duration::ZERO)?;
    }
}
