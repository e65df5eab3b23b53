//! Waits for a model that never answers.

use jidoka::model::{Request, ask};
use jidoka::{Report, Result, Task};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    ask(&Request::new("model").user("hello").max_output(100))?;
    Ok(Report::done("heard"))
}
