//! Changes files of a workspace that it may only read.

use std::fs::{self, OpenOptions};

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{open_raw, preopen, tell};
use wasip2::filesystem::types::{DescriptorFlags, OpenFlags};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    let work = preopen("/work");
    tell("write", fs::write("/work/a.txt", "owned"));
    tell("create", fs::write("/work/new", "owned"));
    tell("append", OpenOptions::new().append(true).open("/work/a.txt").map(|_| ()));
    tell("truncate", OpenOptions::new().write(true).truncate(true).open("/work/a.txt").map(|_| ()));
    tell("truncate as a reader", open_raw(&work, "a.txt", OpenFlags::TRUNCATE, DescriptorFlags::READ).map(|_| ()));
    tell("create as a reader", open_raw(&work, "new", OpenFlags::CREATE, DescriptorFlags::READ).map(|_| ()));
    tell("delete", fs::remove_file("/work/a.txt"));
    tell("rename", fs::rename("/work/a.txt", "/work/b.txt"));
    tell("mkdir", fs::create_dir("/work/new"));
    tell("rmdir", fs::remove_dir("/work/empty"));
    let read = open_raw(&work, "a.txt", OpenFlags::empty(), DescriptorFlags::READ).expect("it may be read");
    tell("grow", read.set_size(100));
    tell("write as a reader", read.write(b"owned", 0));
    tell("stream as a reader", read.write_via_stream(0).map(|stream| stream.blocking_write_and_flush(b"owned")));
    tell("read", fs::read_to_string("/work/a.txt"));
    Ok(Report::done("changed"))
}
