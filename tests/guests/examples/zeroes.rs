//! Makes the host allocate: a huge number of zeroes, a huge read, a huge number of random bytes.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{open_raw, preopen, tell};
use wasip2::filesystem::types::{DescriptorFlags, OpenFlags};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let file = open_raw(&preopen("/work"), "a.txt", OpenFlags::empty(), DescriptorFlags::READ).expect("opens");
    tell("read", file.read(u64::MAX >> 1, 0).map(|(bytes, _)| bytes.len()));
    tell(
        "read stream",
        file.read_via_stream(0).expect("a stream").blocking_read(u64::MAX >> 1).map(|bytes| bytes.len()),
    );
    match task.input("how").expect("the test gives it") {
        "zeroes" => tell("zeroes", wasip2::cli::stdout::get_stdout().write_zeroes(1 << 40)),
        "random" => tell("random", Ok::<_, String>(wasip2::random::random::get_random_bytes(1 << 20).len())),
        _ => tell("ours", jidoka::random::bytes(u32::MAX).map(|bytes| bytes.len())),
    };
    Ok(Report::done("allocated"))
}
