//! Seeks past the end of a file and writes there, through streams and without.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{number, open_raw, preopen, tell};
use wasip2::filesystem::types::{DescriptorFlags, OpenFlags};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let cap = number(&task, "cap");
    let hole = |name: &str, at: u64| {
        let mut file = File::create(format!("/work/{name}"))?;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(b"x")
    };
    tell("far", hole("far", 1 << 40));
    tell("one past the cap", hole("past", cap));
    let file = open_raw(&preopen("/work"), "raw", OpenFlags::CREATE, DescriptorFlags::WRITE).expect("opens");
    tell("raw far", file.write(b"x", u64::MAX - 1));
    tell("raw one past", file.write(b"x", cap));
    let stream = file.write_via_stream(1 << 40).expect("a stream");
    tell("stream far", stream.blocking_write_and_flush(b"x"));
    tell("stream far again", stream.blocking_write_and_flush(b"x"));
    // The stream was made when there was no hole, and used when there is one.
    let early = file.write_via_stream(0).expect("a stream");
    tell("stream at 0", early.blocking_write_and_flush(b"x"));
    tell("exactly the cap", hole("exact", cap - 2));
    tell("one more", hole("more", 0));
    Ok(Report::done("holes"))
}
