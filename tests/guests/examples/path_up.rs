//! Climbs out of `/work` with `..`, through the standard library and straight at the host.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{open_raw, preopen, tell};
use wasip2::filesystem::types::{DescriptorFlags, OpenFlags};

/// `secret` lies next to the workspace, `state` two above its private copy.
const PATHS: [&str; 12] = [
    "../secret",
    "../../secret",
    "../../../secret",
    "../../../../secret",
    "sub/../../secret",
    "sub/../../../../../secret",
    "./.././../secret",
    "..//..//secret",
    "../../../workspace/secret",
    "../journal.jsonl",
    "../evidence/x",
    "..",
];

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    let work = preopen("/work");
    for path in PATHS {
        tell(&format!("read {path}"), std::fs::read_to_string(format!("/work/{path}")));
        tell(&format!("write {path}"), std::fs::write(format!("/work/{path}"), "owned"));
        tell(&format!("mkdir {path}"), std::fs::create_dir(format!("/work/{path}/made")));
        tell(&format!("remove {path}"), std::fs::remove_file(format!("/work/{path}")));
        tell(&format!("list {path}"), std::fs::read_dir(format!("/work/{path}")).map(Iterator::count));
        tell(&format!("rename out {path}"), work.rename_at("mine", &work, path));
        tell(&format!("rename in {path}"), work.rename_at(path, &work, "stolen"));
        tell(&format!("stat {path}"), std::fs::symlink_metadata(format!("/work/{path}")).map(|_| ()));
        let read = open_raw(&work, path, OpenFlags::empty(), DescriptorFlags::READ);
        tell(&format!("raw read {path}"), read.and_then(|file| file.read(64, 0)));
        let write = open_raw(&work, path, OpenFlags::CREATE, DescriptorFlags::WRITE);
        tell(&format!("raw write {path}"), write.and_then(|file| file.write(b"owned", 0)));
    }
    Ok(Report::done("climbed"))
}
