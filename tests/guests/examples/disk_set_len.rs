//! Grows files without writing to them.

use std::fs::{File, OpenOptions};

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{number, tell};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let cap = number(&task, "cap");
    let file = File::create("/work/sparse")?;
    tell("to the most there is", file.set_len(u64::MAX >> 1));
    tell("one more than the cap", file.set_len(cap + 1));
    tell("the cap", file.set_len(cap));
    tell("one more", file.set_len(cap + 1));
    tell("shrunk", file.set_len(0));
    tell("and again", file.set_len(1));
    tell(
        "another file",
        OpenOptions::new().create_new(true).write(true).open("/work/other").and_then(|file| file.set_len(1)),
    );
    Ok(Report::done("grew"))
}
