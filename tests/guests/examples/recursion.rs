//! Calls itself until the stack is used up.

use jidoka::{Report, Result, Task};

#[expect(unconditional_recursion, reason = "the attack")]
fn deeper(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 32]);
    deeper(frame[3] + 1) + std::hint::black_box(frame)[7]
}

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    Ok(Report::done(deeper(0).to_string()))
}
