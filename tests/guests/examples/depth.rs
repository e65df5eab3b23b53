//! Makes directories inside each other, one level deeper than it may.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{number, open_raw, preopen, tell};
use wasip2::filesystem::types::{DescriptorFlags, OpenFlags};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let cap = number(&task, "cap") as usize;
    let at = |levels: usize| vec!["d"; levels].join("/");
    tell("mkdir at the cap", std::fs::create_dir_all(format!("/work/{}", at(cap))));
    tell("mkdir past the cap", std::fs::create_dir(format!("/work/{}", at(cap + 1))));
    tell("write past the cap", std::fs::write(format!("/work/{}/f", at(cap)), "x"));
    // From a handle in the middle, so that the path itself is short.
    let work = preopen("/work");
    let middle =
        open_raw(&work, &at(cap / 2), OpenFlags::DIRECTORY, DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY);
    let middle = middle.expect("it is there");
    tell("mkdir past the cap from a handle", middle.create_directory_at(&at(cap - cap / 2 + 1)));
    Ok(Report::done("deep"))
}
