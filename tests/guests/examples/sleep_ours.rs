//! Sleeps through `clock.sleep`: longer than the run may take, and then almost as long.

use std::time::Duration;

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{number, tell};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let wall = number(&task, "wall");
    tell("for ever", jidoka::clock::sleep(Duration::from_millis(u64::MAX)));
    tell("one too long", jidoka::clock::sleep(Duration::from_millis(wall + 1)));
    tell("short", jidoka::clock::sleep(Duration::from_millis(1)));
    tell("just within", jidoka::clock::sleep(Duration::from_millis(wall - 1)));
    // By now the run is over.
    loop {
        std::hint::black_box(jidoka::clock::now_ms());
    }
}
