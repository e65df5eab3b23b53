//! Asks for what it is not granted, again and again: each refusal is a line of the journal.

use jidoka::{Report, Result, Task, human, tools};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    let call = tools::Invocation { name: "t".repeat(10_000), input: "i".repeat(10_000) };
    loop {
        drop(tools::call_all(std::slice::from_ref(&call)));
        drop(human::ask(&"q".repeat(10_000), &["a"], human::Risk::Low));
    }
}
