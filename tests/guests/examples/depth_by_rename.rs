//! Goes deeper than it may by moving a deep tree to the bottom of another, again and again.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{number, tell};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let cap = number(&task, "cap") as usize;
    std::fs::create_dir_all(format!("/work/{}", vec!["d"; cap].join("/")))?;
    std::fs::write(format!("/work/{}/f", vec!["d"; cap - 1].join("/")), "deep")?;
    for round in 0..8 {
        let (top, bottom) = (format!("/work/top{round}"), vec!["d"; cap - 2].join("/"));
        std::fs::create_dir_all(format!("{top}/{bottom}"))?;
        let moved = format!("{top}/{bottom}/d");
        if !tell("move", std::fs::rename("/work/d", &moved)) {
            break;
        }
        tell("and back", std::fs::rename(&top, "/work/d"));
    }
    Ok(Report::done("deeper"))
}
