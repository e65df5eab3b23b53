//! Prints for ever to both of its streams, with control characters and broken UTF-8.

use std::io::Write;

use jidoka::{Report, Result, Task};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    let page = [0xff_u8; 4096];
    for _ in 0..1_000 {
        std::io::stdout().write_all(&page)?;
        std::io::stderr().write_all(&page)?;
        println!("\u{1b}[2J");
    }
    Ok(Report::done("printed"))
}
