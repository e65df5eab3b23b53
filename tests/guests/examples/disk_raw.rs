//! Writes by every other way of WASI: descriptor writes, zeroes, splices; without a flush.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{number, open_raw, preopen, tell};
use wasip2::filesystem::types::{DescriptorFlags, OpenFlags};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let cap = number(&task, "cap");
    let work = preopen("/work");
    let open = |name: &str| {
        open_raw(&work, name, OpenFlags::CREATE, DescriptorFlags::WRITE | DescriptorFlags::READ).expect("opens")
    };
    let full = open("full");
    tell("write", full.write(&vec![b'x'; cap as usize], 0));
    tell("write one", full.write(b"y", cap));
    let stream = open("zeroes").write_via_stream(0).expect("a stream");
    tell("zeroes", stream.blocking_write_zeroes_and_flush(4096));
    let spliced = open("spliced").write_via_stream(0).expect("a stream");
    let source = full.read_via_stream(0).expect("a stream");
    tell("splice", spliced.blocking_splice(&source, 4096));
    let lazy = open("lazy").write_via_stream(0).expect("a stream");
    tell("ready", lazy.check_write());
    tell("without a flush", lazy.write(b"lazy"));
    drop(lazy);
    Ok(Report::done("wrote"))
}
