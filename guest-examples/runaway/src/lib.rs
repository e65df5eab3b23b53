//! Spins for ever without a call to the host. Only the deadline ends it.

use jidoka::{Report, Result, Task};

#[jidoka::worker]
fn run(_task: Task) -> Result<Report> {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}
