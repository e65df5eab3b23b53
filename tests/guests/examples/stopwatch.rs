//! Measures how long work takes, with every clock that it has; and, as it is told, a sleep.

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use jidoka::{Report, Result, Task, clock};
use jidoka_hostile_guests::number;
use wasip2::clocks::monotonic_clock;

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let (rounds, sleep_ms) = (number(&task, "rounds"), number(&task, "sleep"));
    let readings = || (Instant::now(), SystemTime::now(), monotonic_clock::now(), clock::now_ms());
    let before = readings();
    (0..rounds).for_each(|round| {
        black_box(round);
    });
    if sleep_ms > 0 {
        std::thread::sleep(Duration::from_millis(sleep_ms));
    }
    let after = readings();
    let wall = after.1.duration_since(before.1).map_err(jidoka::Error::new)?;
    jidoka::info!("monotonic {}", after.0.duration_since(before.0).as_nanos());
    jidoka::info!("wall {}", wall.as_nanos());
    jidoka::info!("raw {}", after.2 - before.2);
    jidoka::info!("ours {}", after.3 - before.3);
    Ok(Report::done("measured"))
}
