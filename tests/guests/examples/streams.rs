//! Writes through streams without a flush, and looks at once at what came of it: by other ways, by other streams.

use std::fmt::Debug;

use jidoka::{Report, Result, Task, info};
use jidoka_hostile_guests::{number, open_raw, preopen};
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags};
use wasip2::io::streams::{OutputStream, StreamError};

/// Luck does not last so long.
const ROUNDS: usize = 16;

/// Notes what was seen.
fn saw(name: &str, what: impl Debug) {
    info!("{name}: {what:?}");
}

/// What came of a call of a stream. An error's own words are not told: they are a resource's.
fn plain<T>(result: std::result::Result<T, StreamError>) -> std::result::Result<T, &'static str> {
    result.map_err(|error| match error {
        StreamError::LastOperationFailed(_) => "failed",
        StreamError::Closed => "closed",
    })
}

/// Writes as WASI wants it, and waits for nothing.
fn put(stream: &OutputStream, bytes: &[u8]) -> std::result::Result<(), &'static str> {
    plain(stream.check_write())?;
    plain(stream.write(bytes))
}

fn size(file: &Descriptor) -> u64 {
    file.stat().expect("is there").size
}

fn text(file: &Descriptor) -> String {
    String::from_utf8(file.read(1_000, 0).expect("reads").0).expect("the guest wrote it")
}

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let work = preopen("/work");
    let both = DescriptorFlags::READ | DescriptorFlags::WRITE;
    let open = |name: &str, to| open_raw(&work, name, OpenFlags::CREATE, to).expect("opens");

    let mut seen = Vec::new();
    for round in 0..ROUNDS {
        let file = open(&format!("seen-{round}"), both);
        let stream = file.write_via_stream(0).expect("a stream");
        put(&stream, &[b'a'; 4_096]).expect("is written");
        let read = file.read(8_192, 0).expect("reads").0.len();
        put(&stream, &[b'b'; 60_000]).expect("is written");
        seen.push((read, size(&file)));
    }
    seen.dedup();
    saw("seen", seen);

    let file = open("appended", both);
    let [one, other] = [(); 2].map(|()| file.append_via_stream().expect("a stream"));
    for round in 0..4 {
        put(&one, format!("a{round}").as_bytes()).expect("is written");
        put(&other, format!("b{round}").as_bytes()).expect("is written");
    }
    saw("appended", text(&file));
    file.set_size(2).expect("is cut");
    put(&one, b"!").expect("is written");
    file.write(b"end", 3).expect("is written");
    put(&other, b"?").expect("is written");
    saw("appended after a cut", text(&file));

    let file = open("placed", both);
    let [early, late] = [0, 2].map(|at| file.write_via_stream(at).expect("a stream"));
    put(&early, b"aaaa").expect("is written");
    put(&late, b"bb").expect("is written");
    put(&early, b"cc").expect("is written");
    put(&late, b"d").expect("is written");
    saw("placed", text(&file));

    let [from, end] = [1, 6].map(|at| file.read_via_stream(at).expect("a stream"));
    let first = plain(from.read(3));
    put(&late, b"e").expect("is written");
    saw("read", (first, plain(from.read(0)), plain(from.skip(1)), plain(from.read(64)), plain(from.read(64))));
    let before = plain(end.blocking_read(1));
    put(&late, b"ff").expect("is written");
    saw("read past the end", (before, plain(end.read(1)), plain(end.blocking_read(1))));

    let pieces = || open("seen-0", both).read_via_stream(0).expect("a stream");
    let bytes = pieces();
    saw("read at once", [1 << 20, 0, 1].map(|most| plain(bytes.read(most)).map(|bytes| bytes.len())));
    let (bytes, copy) = (pieces(), open("copy", both));
    let stream = copy.write_via_stream(0).expect("a stream");
    let spliced = [1_000, 1 << 20, 10].map(|most| plain(stream.splice(&bytes, most)));
    saw("spliced", (spliced, size(&copy)));

    let only_read = open_raw(&work, "placed", OpenFlags::empty(), DescriptorFlags::READ).expect("opens");
    for stream in [only_read.write_via_stream(0), only_read.append_via_stream()] {
        let stream = stream.expect("a stream");
        let told = (plain(stream.write(b"x")), plain(stream.check_write()), plain(stream.flush()));
        saw("not open for writing", (told, plain(stream.write(b"x"))));
    }
    let stream = open("placed", DescriptorFlags::WRITE).read_via_stream(0).expect("a stream");
    saw("not open for reading", (plain(stream.read(1)), plain(stream.read(1))));
    let stream = only_read.read_via_stream(u64::MAX).expect("a stream");
    saw("from nowhere", (plain(stream.read(1)), plain(stream.read(1))));
    let errors = [work.read_via_stream(0).err(), work.write_via_stream(0).err(), work.append_via_stream().err()];
    saw("of a directory", errors.each_ref().map(|error| error.as_ref().map(ErrorCode::name)));

    let file = open("large", both);
    let stream = file.write_via_stream(0).expect("a stream");
    saw("permit", plain(stream.check_write()));
    put(&stream, &vec![b'x'; number(&task, "bytes") as usize]).expect("is written");
    saw("large", size(&file));
    Ok(Report::done("looked"))
}
