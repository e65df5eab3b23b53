//! A tool that breaks instead of answering: by a panic, an exit, or a stack that overflows.

use jidoka::Result;
use jidoka::json::Value;

#[expect(unconditional_recursion, reason = "the attack")]
fn deeper(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 32]);
    deeper(frame[3] + 1) + std::hint::black_box(frame)[7]
}

/// Breaks, by the `way` `panic`, `exit` or `stack`.
#[jidoka::tool]
fn trap(input: Value) -> Result<Value> {
    match input["way"].as_str() {
        Some("exit") => std::process::exit(0),
        Some("stack") => Ok(Value::from(deeper(0))),
        _ => panic!("the attack"),
    }
}
