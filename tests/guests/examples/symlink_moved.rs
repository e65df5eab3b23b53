//! Moves a link that stays inside to where the same text leads outside, and reads and writes through it.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::tell;

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    tell("read before", std::fs::read_to_string("/work/a/b/link"));
    tell("move", std::fs::rename("/work/a/b/link", "/work/link"));
    tell("read after", std::fs::read_to_string("/work/link"));
    tell("write after", std::fs::write("/work/link", "owned"));
    Ok(Report::done("moved"))
}
