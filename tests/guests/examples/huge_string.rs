//! Passes strings of several megabytes to an import.

use jidoka::model::{Request, ToolDefinition};
use jidoka::{Report, Result, Task, andon, children, evidence, human, log, model, progress, tools};
use jidoka_hostile_guests::{number, tell};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let huge = "h".repeat(number(&task, "bytes") as usize);
    let small = || Request::new("model").user("hello");
    match task.input("import").expect("the test gives it") {
        "log message" => log::emit(log::Level::Info, &huge, &[]),
        "log field" => log::emit(log::Level::Info, "m", &[("key", &huge)]),
        "andon reason" => andon::pull(andon::Category::Defect, &huge, &[]),
        "andon evidence" => andon::pull(andon::Category::Defect, "r", std::slice::from_ref(&huge)),
        "check-in note" => drop(tell("note", progress::check_in(&huge).map(|_| ()))),
        "evidence kind" => drop(tell("kind", evidence::attach(&huge, "n", "b"))),
        "evidence name" => drop(tell("name", evidence::attach("k", &huge, "b"))),
        "evidence bytes" => drop(tell("bytes", evidence::attach("k", "n", &huge))),
        "model name" => drop(tell("model", model::ask(&Request::new(huge)).map(|_| ()))),
        "model text" => drop(tell("text", model::ask(&small().user(huge)).map(|_| ()))),
        "model schema" => drop(tell("schema", model::ask(&Request { schema: Some(huge), ..small() }).map(|_| ()))),
        "model tool" => {
            let tool = ToolDefinition { name: "t".into(), description: huge, schema: "{}".into() };
            tell("tool", model::ask(&small().tool(tool)).map(|_| ()));
        }
        "tool name" => {
            drop(tell("name", tools::call_all(&[tools::Invocation { name: huge, input: "{}".into() }]).remove(0)))
        }
        "tool input" => {
            drop(tell("input", tools::call_all(&[tools::Invocation { name: "t".into(), input: huge }]).remove(0)))
        }
        "child name" => drop(tell("name", children::run(&children::Child::new(huge, "t")).map(|_| ()))),
        "child task" => drop(tell("task", children::run(&children::Child::new("c", huge)).map(|_| ()))),
        "human question" => drop(tell("question", human::ask(&huge, &["a"], human::Risk::Low).map(|_| ()))),
        "human option" => drop(tell("option", human::ask("q", &[&huge], human::Risk::Low).map(|_| ()))),
        "report" => return Ok(Report::done(huge)),
        "error" => return Err(huge.into()),
        "report evidence" => return Ok(Report::done("d").with_evidence(huge)),
        "panic" => std::panic::panic_any(huge),
        other => return Err(format!("no such import: {other}").into()),
    }
    Ok(Report::done("passed"))
}
