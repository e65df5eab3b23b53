//! Spins in host calls that cost nothing.

use jidoka::{Report, Result, Task};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    loop {
        jidoka::clock::now_ms();
        jidoka::random::bytes(65_536)?;
        jidoka::budget::left();
        jidoka::model::catalogue();
    }
}
