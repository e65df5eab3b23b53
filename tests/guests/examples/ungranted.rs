//! Uses what its job does not grant: tools, children, a person.

use jidoka::{Report, Result, Task, children, human, tools};
use jidoka_hostile_guests::tell;

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    tell("tool", tools::call("shell", &jidoka::json::json!({ "command": "id" })));
    tell("tools", tools::call_all(&[tools::Invocation { name: "shell".into(), input: "{}".into() }]).remove(0));
    let child = children::Child::new("copy", "more").may_spend(jidoka::Line::MicroUsd, u64::MAX);
    tell("child", children::run(&child).map(|_| ()));
    tell("children", children::run_all(&[child]).remove(0).map(|_| ()));
    tell("human", human::ask("may I?", &["yes"], human::Risk::Low).map(|_| ()));
    tell("no options", human::ask("may I?", &[], human::Risk::Low).map(|_| ()));
    jidoka::info!("catalogue {}", tools::catalogue().len());
    Ok(Report::done("used"))
}
