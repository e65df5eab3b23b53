//! Looks through memory that it was just given for what somebody left there, or leaves something there itself.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::number;

const PAGE: usize = 64 << 10;
const LEFT: &[u8; 16] = b"canary-of-memory";

#[jidoka::worker]
#[expect(unsafe_code, reason = "the attack: memory is read that no allocator gave out")]
fn run(task: Task) -> Result<Report> {
    let pages = number(&task, "pages") as usize;
    let start = core::arch::wasm32::memory_grow::<0>(pages) * PAGE;
    // SAFETY: these pages were added just now, and nothing else knows of them.
    let memory = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, pages * PAGE) };
    if task.input("leave").is_some() {
        memory.chunks_exact_mut(LEFT.len()).for_each(|place| place.copy_from_slice(LEFT));
    }
    let found = memory.iter().filter(|&&byte| byte != 0).count();
    jidoka::info!("found {found}");
    Ok(Report::done("peeked"))
}
