//! Calls itself until a stack is used up: the one in its own memory, or the machine's.

use jidoka::{Report, Result, Task};

#[expect(unconditional_recursion, reason = "the attack")]
fn in_memory(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 32]);
    in_memory(frame[3] + 1) + std::hint::black_box(frame)[7]
}

/// Keeps nothing in memory, so that only the machine's stack grows. The rotation makes it no loop.
#[expect(unconditional_recursion, reason = "the attack")]
#[inline(never)]
fn in_registers(depth: u64) -> u64 {
    in_registers(depth.wrapping_mul(3)).rotate_left(3).wrapping_sub(depth)
}

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let deep = match task.input("stack") {
        Some("memory") => in_memory(0),
        _ => in_registers(task.attempt.into()),
    };
    Ok(Report::done(deep.to_string()))
}
