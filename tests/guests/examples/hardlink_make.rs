//! Makes hard links: within its workspace, from the context, and to a file of the host.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{preopen, tell};
use wasip2::filesystem::types::PathFlags;

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    let (work, context) = (preopen("/work"), preopen("/context"));
    tell("std", std::fs::hard_link("/work/a.txt", "/work/b.txt"));
    tell("std from context", std::fs::hard_link("/context/c.txt", "/work/c.txt"));
    tell("raw", work.link_at(PathFlags::empty(), "a.txt", &work, "b.txt"));
    tell("raw from context", context.link_at(PathFlags::empty(), "c.txt", &work, "c.txt"));
    tell("raw into context", work.link_at(PathFlags::empty(), "a.txt", &context, "a.txt"));
    tell("raw up", work.link_at(PathFlags::SYMLINK_FOLLOW, "../../secret", &work, "secret"));
    tell("raw absolute", work.link_at(PathFlags::SYMLINK_FOLLOW, "/etc/passwd", &work, "passwd"));
    Ok(Report::done("linked"))
}
