//! Uses links of its workspace that lead out of it: to a secret file, to a directory, by absolute and relative paths.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{open_raw, preopen, tell};
use wasip2::filesystem::types::{DescriptorFlags, OpenFlags};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    let work = preopen("/work");
    for path in [
        "to-file",
        "to-file-by-dots",
        "to-etc/passwd",
        "to-dir/secret",
        "chain",
        "chain-dir/secret",
        "to-root/etc/passwd",
    ] {
        tell(&format!("read {path}"), std::fs::read_to_string(format!("/work/{path}")));
        tell(&format!("write {path}"), std::fs::write(format!("/work/{path}"), "owned"));
        tell(&format!("stat {path}"), std::fs::metadata(format!("/work/{path}")).map(|_| ()));
        let read = open_raw(&work, path, OpenFlags::empty(), DescriptorFlags::READ);
        tell(&format!("raw read {path}"), read.and_then(|file| file.read(64, 0)));
        let write = open_raw(&work, path, OpenFlags::CREATE | OpenFlags::TRUNCATE, DescriptorFlags::WRITE);
        tell(&format!("raw write {path}"), write.and_then(|file| file.write(b"owned", 0)));
    }
    for path in ["to-etc", "to-dir", "to-root", "chain-dir"] {
        tell(&format!("list {path}"), std::fs::read_dir(format!("/work/{path}")).map(Iterator::count));
        tell(&format!("list {path}/"), std::fs::read_dir(format!("/work/{path}/")).map(Iterator::count));
        tell(&format!("mkdir {path}"), std::fs::create_dir(format!("/work/{path}/owned")));
        tell(&format!("create {path}"), std::fs::write(format!("/work/{path}/owned"), "owned"));
        tell(&format!("remove {path}"), std::fs::remove_file(format!("/work/{path}/secret")));
        tell(&format!("rename {path}"), work.rename_at(&format!("{path}/secret"), &work, "stolen"));
    }
    Ok(Report::done("followed"))
}
