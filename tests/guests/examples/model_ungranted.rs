//! Asks models that it was not granted, beside the one that it was.

use jidoka::model::{Request, ask, ask_all, catalogue};
use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::tell;

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    for name in ["other", "", "model ", "MODEL", "../model", "model\0"] {
        tell(&format!("ask {name:?}"), ask(&Request::new(name).user("hello")).map(|_| ()));
    }
    for heard in ask_all(&[Request::new("other").user("a"), Request::new("another").user("b")]) {
        tell("batch", heard.map(|_| ()));
    }
    jidoka::info!("catalogue {:?}", catalogue().iter().map(|offer| offer.name.as_str()).collect::<Vec<_>>());
    Ok(Report::done("asked"))
}
