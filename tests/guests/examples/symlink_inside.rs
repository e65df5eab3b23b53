//! Follows links that stay inside its workspace, and a loop of links.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::tell;

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    tell("read inside", std::fs::read_to_string("/work/inside"));
    tell("read through inside-dir", std::fs::read_to_string("/work/inside-dir/file.txt"));
    tell("write inside", std::fs::write("/work/inside", "by the guest"));
    tell("read loop", std::fs::read_to_string("/work/loop"));
    tell("write loop", std::fs::write("/work/loop", "owned"));
    Ok(Report::done("followed"))
}
