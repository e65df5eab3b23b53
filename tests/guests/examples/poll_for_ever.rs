//! Waits for alarms that never come, many at once.

use jidoka::{Report, Result, Task};
use wasip2::clocks::monotonic_clock::{subscribe_duration, subscribe_instant};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    let mut alarms = vec![subscribe_duration(u64::MAX), subscribe_instant(u64::MAX)];
    alarms.extend((0..100).map(|late| subscribe_duration(u64::MAX >> (late % 8))));
    let alarms: Vec<_> = alarms.iter().collect();
    wasip2::io::poll::poll(&alarms);
    Ok(Report::done("woke"))
}
