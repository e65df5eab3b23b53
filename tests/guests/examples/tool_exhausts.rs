//! A tool that takes all memory, by its heap or at once.

use jidoka::Result;
use jidoka::json::Value;

/// Grows to so many `pages` at once, or without them for ever.
#[jidoka::tool]
fn exhaust(input: Value) -> Result<Value> {
    if let Some(pages) = input["pages"].as_u64() {
        let pages = usize::try_from(pages).unwrap_or(usize::MAX);
        let more = pages.saturating_sub(core::arch::wasm32::memory_size::<0>());
        let before = core::arch::wasm32::memory_grow::<0>(more);
        return Ok(Value::from(before.wrapping_add(more)));
    }
    let mut held: Vec<Vec<u8>> = Vec::new();
    loop {
        held.push(std::hint::black_box(vec![1; 1 << 20]));
    }
}
