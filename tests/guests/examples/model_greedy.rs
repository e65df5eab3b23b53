//! Asks for more output than the budget has, and for amounts that make no sense.

use jidoka::model::{Request, ask};
use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::tell;

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    let request = || Request::new("model").user("hello");
    tell("least above the budget", ask(&request().max_output(u32::MAX).min_output(u32::MAX)).map(|_| ()));
    tell("nothing", ask(&request().max_output(0).min_output(0)).map(|_| ()));
    tell("crossed", ask(&request().max_output(1).min_output(2)).map(|_| ()));
    tell("most", ask(&request().max_output(u32::MAX)).map(|reply| reply.usage.tokens_out));
    Ok(Report::done("asked"))
}
