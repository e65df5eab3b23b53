//! Grows its memory to so many pages.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::number;

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let pages = number(&task, "pages") as usize;
    let more = pages - core::arch::wasm32::memory_size::<0>();
    // A host that lets the guest see a refusal would answer `usize::MAX` here.
    let before = core::arch::wasm32::memory_grow::<0>(more);
    jidoka::info!("grew to {}", before.wrapping_add(more));
    Ok(Report::done("grew"))
}
