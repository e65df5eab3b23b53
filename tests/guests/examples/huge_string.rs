//! Passes strings of several megabytes to an import.

use jidoka::model::{Request, ToolDefinition};
use jidoka::{Report, Result, Task, andon, children, evidence, human, log, model, progress, tools};
use jidoka_hostile_guests::{number, tell};

fn note<T, E: std::fmt::Display>(step: &str, result: Result<T, E>) {
    tell(step, result.map(|_| ()));
}

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let huge = "h".repeat(number(&task, "bytes") as usize);
    let small = || Request::new("model").user("hello");
    match task.input("import").expect("the test gives it") {
        "log message" => log::emit(log::Level::Info, &huge, &[]),
        "log field" => log::emit(log::Level::Info, "m", &[("key", &huge)]),
        "andon reason" => andon::pull(andon::Category::Defect, &huge, &[]),
        "andon evidence" => andon::pull(andon::Category::Defect, "r", std::slice::from_ref(&huge)),
        "check-in note" => note("note", progress::check_in(&huge)),
        "evidence kind" => note("kind", evidence::attach(&huge, "n", "b")),
        "evidence name" => note("name", evidence::attach("k", &huge, "b")),
        "evidence bytes" => note("bytes", evidence::attach("k", "n", &huge)),
        "model name" => note("model", model::ask(&Request::new(huge))),
        "model text" => note("text", model::ask(&small().user(huge))),
        "model schema" => note("schema", model::ask(&Request { schema: Some(huge), ..small() })),
        "model tool" => {
            let tool = ToolDefinition { name: "t".into(), description: huge, schema: "{}".into() };
            note("tool", model::ask(&small().tool(tool)));
        }
        "tool name" => note("name", tools::call_all(&[tools::Invocation { name: huge, input: "{}".into() }]).remove(0)),
        "tool input" => {
            note("input", tools::call_all(&[tools::Invocation { name: "t".into(), input: huge }]).remove(0))
        }
        "child name" => note("name", children::run(&children::Child::new(huge, "t"))),
        "child task" => note("task", children::run(&children::Child::new("c", huge))),
        "human question" => note("question", human::ask(&huge, &["a"], human::Risk::Low)),
        "human option" => note("option", human::ask("q", &[&huge], human::Risk::Low)),
        "report" => return Ok(Report::done(huge)),
        "error" => return Err(huge.into()),
        "report evidence" => return Ok(Report::done("d").with_evidence(huge)),
        "panic" => std::panic::panic_any(huge),
        other => return Err(format!("no such import: {other}").into()),
    }
    Ok(Report::done("passed"))
}
