//! Asks more at once than it may.

use jidoka::model::{Request, ask_all};
use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{number, tell};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let cap = number(&task, "cap") as usize;
    let batch = |size: usize| ask_all(&vec![Request::new("model").user("hello").max_output(1); size]);
    let over = batch(cap + 1);
    jidoka::info!("{} of {} refused", over.iter().filter(|heard| heard.is_err()).count(), over.len());
    tell("over", over.into_iter().next().expect("one").map(|_| ()));
    let within = batch(cap);
    jidoka::info!("{} of {} heard", within.iter().filter(|heard| heard.is_ok()).count(), within.len());
    jidoka::info!("none: {}", batch(0).len());
    Ok(Report::done("asked"))
}
