//! Makes symbolic links, to inside and to outside.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{preopen, tell};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    let work = preopen("/work");
    for (target, link) in [("a.txt", "inside"), ("../../secret", "up"), ("/etc/passwd", "absolute"), ("a.txt", "a.txt")]
    {
        tell(&format!("make {link}"), work.symlink_at(target, link));
    }
    Ok(Report::done("linked"))
}
