//! Writes more than the machine has room for, in the way that it is told, and tells what it heard.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{number, open_raw, preopen, tell};
use wasip2::filesystem::types::{DescriptorFlags, OpenFlags};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let bytes = vec![b'x'; number(&task, "bytes") as usize];
    let file = open_raw(&preopen("/work"), "large", OpenFlags::CREATE, DescriptorFlags::WRITE).expect("opens");
    match task.input("way").expect("the test gives it") {
        "write" => tell("heard", file.write(&bytes, 0)),
        "grow" => tell("heard", file.set_size(bytes.len() as u64)),
        "stream" => {
            let stream = file.write_via_stream(0).expect("a stream");
            tell("heard", bytes.chunks(4_096).try_for_each(|piece| stream.blocking_write_and_flush(piece)))
        }
        "append" => {
            let stream = file.append_via_stream().expect("a stream");
            let put = |piece| {
                while stream.check_write()? == 0 {
                    stream.subscribe().block();
                }
                stream.write(piece)
            };
            tell("heard", bytes.chunks(65_536).try_for_each(put).and_then(|()| stream.blocking_flush()))
        }
        way => panic!("no way {way}"),
    };
    Ok(Report::done("wrote"))
}
