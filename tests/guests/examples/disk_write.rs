//! Writes as many bytes as it may, and one more.

use std::io::Write;

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{number, tell};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let cap = number(&task, "cap") as usize;
    tell("all of it", std::fs::write("/work/all", vec![b'x'; cap]));
    tell("one more", std::fs::write("/work/more", "y"));
    let append = std::fs::OpenOptions::new().append(true).open("/work/all").and_then(|mut file| file.write_all(b"y"));
    tell("one appended", append);
    tell("rewritten in place", std::fs::write("/work/all", "z"));
    tell("evidence", jidoka::evidence::attach("artifact", "e", "z"));
    Ok(Report::done("wrote"))
}
