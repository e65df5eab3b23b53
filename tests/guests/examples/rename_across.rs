//! Writes where only reading is granted: `/context`, by every way there is.

use std::fs::{self, OpenOptions};

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{open_raw, preopen, tell};
use wasip2::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    let (work, context) = (preopen("/work"), preopen("/context"));
    tell("rename in", fs::rename("/work/a.txt", "/context/a.txt"));
    tell("rename out", fs::rename("/context/c.txt", "/work/c.txt"));
    tell("rename over", fs::rename("/work/a.txt", "/context/c.txt"));
    tell("raw rename in", work.rename_at("a.txt", &context, "a.txt"));
    tell("raw rename within", context.rename_at("c.txt", &context, "d.txt"));
    tell("write", fs::write("/context/c.txt", "owned"));
    tell("create", fs::write("/context/new", "owned"));
    tell("mkdir", fs::create_dir("/context/new"));
    tell("delete", fs::remove_file("/context/c.txt"));
    tell("truncate", OpenOptions::new().write(true).truncate(true).open("/context/c.txt").map(|_| ()));
    let read_only_truncate = open_raw(&context, "c.txt", OpenFlags::TRUNCATE, DescriptorFlags::READ);
    tell("truncate as a reader", read_only_truncate.map(|_| ()));
    let read = open_raw(&context, "c.txt", OpenFlags::empty(), DescriptorFlags::READ).expect("it may be read");
    tell("grow as a reader", read.set_size(100));
    tell("write as a reader", read.write(b"owned", 0));
    tell("stream as a reader", read.write_via_stream(0).map(|stream| stream.blocking_write_and_flush(b"owned")));
    tell("append as a reader", read.append_via_stream().map(|stream| stream.blocking_write_and_flush(b"owned")));
    tell("from below", open_raw(&context, "../work/a.txt", OpenFlags::empty(), DescriptorFlags::READ).map(|_| ()));
    tell("read", context.stat_at(PathFlags::empty(), "c.txt").map(|stat| stat.size));
    Ok(Report::done("moved"))
}
