//! Makes as many files and directories as it may, and more.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{number, tell};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let cap = number(&task, "cap");
    std::fs::create_dir("/work/made")?;
    for number in 1..cap {
        std::fs::write(format!("/work/made/{number:06}"), "")?;
    }
    tell("one file more", std::fs::write("/work/made/more", ""));
    tell("one directory more", std::fs::create_dir("/work/more"));
    tell("an old one", std::fs::write("/work/made/000001", ""));
    // Deleting does not give any back: else the disk could be worn out.
    tell("delete", std::fs::remove_file("/work/made/000001"));
    tell("one again", std::fs::write("/work/made/000001", ""));
    Ok(Report::done("many"))
}
