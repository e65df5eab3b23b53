//! Holds so many of the host's things at once: files, streams, listings, alarms.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{number, open_raw, preopen};
use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::filesystem::types::{DescriptorFlags, OpenFlags};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let work = preopen("/work");
    let file = || open_raw(&work, "a.txt", OpenFlags::empty(), DescriptorFlags::READ).expect("opens");
    let first = file();
    let hold = |what: &str| -> Box<dyn std::any::Any> {
        match what {
            "files" => Box::new(file()),
            "streams" => Box::new(first.read_via_stream(0).expect("a stream")),
            "listings" => Box::new(work.read_directory().expect("a listing")),
            "alarms" => Box::new(subscribe_duration(1)),
            "outputs" => Box::new(wasip2::cli::stdout::get_stdout()),
            other => panic!("nothing is called {other}"),
        }
    };
    let what = task.input("what").expect("the test gives it");
    let held: Vec<_> = (0..number(&task, "count")).map(|_| hold(what)).collect();
    jidoka::info!("held {}", held.len());
    Ok(Report::done("held"))
}
