//! A tool that never returns from a call.

use jidoka::Result;
use jidoka::json::Value;

/// Thinks for ever.
#[jidoka::tool]
fn spin(_input: Value) -> Result<Value> {
    let mut count = 0_u64;
    loop {
        count = std::hint::black_box(count.wrapping_add(1));
    }
}
