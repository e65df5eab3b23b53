//! Logs notes without a text but with many empty fields, and control characters that grow when they are written down.

use jidoka::log::{Level, emit};
use jidoka::{Report, Result, Task};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    let fields = vec![("", ""); 20_000];
    for _ in 0..200 {
        emit(Level::Info, "", &fields);
        emit(Level::Info, &"\u{1}".repeat(20_000), &[]);
    }
    Ok(Report::done("logged"))
}
