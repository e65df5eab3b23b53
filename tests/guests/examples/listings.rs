//! Makes the host hold the listing of a large directory, many times at once.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{number, preopen, tell};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let (files, streams) = (number(&task, "files"), number(&task, "streams"));
    for number in 0..files {
        std::fs::write(format!("/work/{number:0200}"), "")?;
    }
    let work = preopen("/work");
    let mut held = Vec::new();
    for _ in 0..streams {
        match work.read_directory() {
            Ok(stream) => held.push(stream),
            Err(error) => {
                tell::<(), _>("refused", Err(error));
                break;
            }
        }
    }
    jidoka::info!("held {}", held.len() as u64 * files);
    Ok(Report::done("listed"))
}
