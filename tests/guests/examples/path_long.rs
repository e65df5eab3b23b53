//! Uses paths of the longest length and of one byte more.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{number, open_raw, preopen, tell};
use wasip2::filesystem::types::{DescriptorFlags, OpenFlags};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let cap = number(&task, "cap") as usize;
    let work = preopen("/work");
    let padded =
        |bytes: usize| format!("{}{}", "./".repeat(bytes / 2), if bytes % 2 == 1 { "f" } else { "ff" })[..].to_owned();
    for bytes in [cap - 1, cap + 1, 100_000] {
        let mut path = padded(bytes);
        path.truncate(bytes);
        let open = open_raw(&work, &path, OpenFlags::CREATE, DescriptorFlags::WRITE);
        tell(&format!("open {bytes}"), open.map(|_| path.len()));
        tell(&format!("stat {bytes}"), work.stat_at(wasip2::filesystem::types::PathFlags::empty(), &path).map(|_| ()));
        tell(&format!("mkdir {bytes}"), work.create_directory_at(&format!("{path}x")));
        tell(&format!("rename {bytes}"), work.rename_at("a.txt", &work, &format!("{path}y")));
    }
    tell("name 256", std::fs::write(format!("/work/{}", "n".repeat(256)), "x"));
    Ok(Report::done("long"))
}
