//! Opens files until there is no handle left.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{open_raw, preopen};
use wasip2::filesystem::types::{DescriptorFlags, OpenFlags};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    let work = preopen("/work");
    let mut open = Vec::new();
    for count in 1_u32.. {
        open.push(open_raw(&work, "a.txt", OpenFlags::empty(), DescriptorFlags::READ).expect("opens"));
        jidoka::info!("{count}");
    }
    Ok(Report::done("open"))
}
