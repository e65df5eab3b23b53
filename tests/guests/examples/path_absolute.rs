//! Asks for absolute paths of the host.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{open_raw, preopen, tell};
use wasip2::filesystem::types::{DescriptorFlags, OpenFlags};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let secret = task.input("secret").expect("the test gives it");
    let work = preopen("/work");
    for path in
        [secret, "/etc/passwd", "/proc/self/environ", "/", "//etc/passwd", "/work/../etc/passwd", "/tmp/../etc/passwd"]
    {
        tell(&format!("read {path}"), std::fs::read(path).map(|bytes| bytes.len()));
        tell(&format!("write {path}"), std::fs::write(format!("{path}.owned"), "owned"));
        tell(&format!("list {path}"), std::fs::read_dir(path).map(Iterator::count));
        let read = open_raw(&work, path, OpenFlags::empty(), DescriptorFlags::READ);
        tell(&format!("raw read {path}"), read.and_then(|file| file.read(64, 0)));
        let write = open_raw(&work, &format!("{path}.owned"), OpenFlags::CREATE, DescriptorFlags::WRITE);
        tell(&format!("raw write {path}"), write.and_then(|file| file.write(b"owned", 0)));
        tell(&format!("raw rename {path}"), work.rename_at(path, &work, "stolen"));
    }
    Ok(Report::done("asked"))
}
