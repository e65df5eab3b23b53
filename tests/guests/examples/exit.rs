//! Ends the process with success instead of returning.

use jidoka::{Report, Result, Task};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    std::fs::write("/work/made.txt", "made")?;
    match task.input("how").expect("the test gives it") {
        "exit" => std::process::exit(0),
        "exit 1" => std::process::exit(1),
        "abort" => std::process::abort(),
        "panic" => panic!("on purpose\u{1b}[31m"),
        "error" => Err("I give up".into()),
        _ => Ok(Report::unable("I cannot")),
    }
}
