//! Pulls the cord with a large pile of evidence ids that do not exist.

use jidoka::{Report, Result, Task, andon};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    let pile = vec!["\u{1}".repeat(30_000); 40];
    andon::pull(andon::Category::Defect, &"\u{1}".repeat(10_000), &pile)
}
