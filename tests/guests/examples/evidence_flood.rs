//! Attaches as many pieces of evidence as it may, and more.

use jidoka::{Report, Result, Task, evidence};
use jidoka_hostile_guests::{number, tell};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    for piece in 0..number(&task, "cap") {
        evidence::attach("artifact", "piece", piece.to_string())?;
    }
    tell("one more", evidence::attach("artifact", "piece", "one more"));
    Ok(Report::done("attached"))
}
