//! Does what its task says, a command a line: the worker of tests that are not about the worker.
//!
//! `write PATH TEXT`, `remove PATH`, `touch PATH`, `save PATH LINE`, `touch-by-save PATH`, `rename
//! FROM TO`, `mkdir PATH`, `note TEXT`, `ask TEXT`, `ask-all COUNT TEXT`, `attach TEXT`,
//! `check-in`, `cite ID`, `left LINE`, `sleep MS`, `print TEXT`, `panic`, `pull TEXT`, `pull-as CATEGORY TEXT`, `human TEXT`,
//! `get URL`, `post URL TEXT`, `get-all URL URL..`, `read PATH`, `catalogue`, `tool NAME JSON`, `tools NAME JSON ; NAME JSON`,
//! `child NAME LINE=AMOUNT.. TASK`, `children NAME LINE=AMOUNT.. TASK ; NAME ..` (in a task ` | ` ends a line, and each level of
//! children has one `|` more), `fail TEXT`; the last line says the report: `done`, `no-change-needed`, `unable` or
//! `needs-human`.

use std::time::Duration;

use jidoka::{
    Line, Report, Result, Task, andon, budget, children, clock, evidence, fetch, human, model, progress, tools,
    workspace,
};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let mut evidence_ids = Vec::new();
    for line in task.text.lines() {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        match command {
            "write" => {
                let (path, text) = rest.split_once(' ').unwrap_or((rest, ""));
                workspace::write(path, text)?;
            }
            "remove" => workspace::remove(rest)?,
            "touch" => workspace::write(rest, workspace::read(rest)?)?,
            // As editors do: a new file, renamed over the old one.
            "save" | "touch-by-save" => {
                let (path, text) = rest.split_once(' ').unwrap_or((rest, ""));
                let text = if command == "save" { format!("{text}\n") } else { workspace::read(path)? };
                workspace::write("draft~", text)?;
                std::fs::rename("/work/draft~", format!("/work/{path}"))?;
            }
            "rename" => {
                let (from, to) = rest.split_once(' ').unwrap_or((rest, ""));
                std::fs::rename(format!("/work/{from}"), format!("/work/{to}"))?;
            }
            "mkdir" => std::fs::create_dir_all(format!("/work/{rest}"))?,
            "note" => jidoka::info!("{rest}"),
            "ask" => {
                let reply = model::ask(&model::Request::new("model").user(rest).max_output(100))?;
                jidoka::info!("{}", reply.text);
            }
            "ask-all" => {
                let (count, text) = rest.split_once(' ').unwrap_or((rest, ""));
                let request = || model::Request::new("model").user(text).max_output(100);
                let requests: Vec<_> = (0..count.parse().unwrap_or(0)).map(|_| request()).collect();
                for reply in model::ask_all(&requests) {
                    jidoka::info!("{}", reply?.text);
                }
            }
            "left" => {
                for line in budget::left().iter().filter(|line| line.line.to_string() == rest) {
                    jidoka::info!("left {} until mark {:?}", line.left, line.until_mark);
                }
            }
            "attach" => evidence_ids.push(evidence::attach("artifact", "a.txt", rest)?),
            "check-in" => {
                let standing = progress::check_in(rest)?;
                jidoka::info!("new {} marks {} changed {}", standing.new_mark, standing.marks, standing.changed_files);
            }
            "cite" => evidence_ids.push(rest.to_owned()),
            "sleep" => clock::sleep(Duration::from_millis(rest.parse().unwrap_or(0)))?,
            "print" => println!("{rest}"),
            "panic" => panic!("as told"),
            "pull" => andon::pull(andon::Category::Defect, rest, &[]),
            "pull-as" => {
                let (category, reason) = rest.split_once(' ').unwrap_or((rest, ""));
                let category = match category {
                    "defect" => andon::Category::Defect,
                    "systemic-risk" => andon::Category::SystemicRisk,
                    "unsafe-request" => andon::Category::UnsafeRequest,
                    "missing-capability" => andon::Category::MissingCapability,
                    "ambiguous-spec" => andon::Category::AmbiguousSpec,
                    other => return Err(format!("no such category: {other}").into()),
                };
                andon::pull(category, reason, &[])
            }
            "human" => {
                let answer = human::ask(rest, &["yes", "no"], human::Risk::High)?;
                jidoka::info!("decided {}: {}", answer.choice, answer.note);
            }
            "get" => note(&fetch::get(rest)?),
            "post" => {
                let (url, text) = rest.split_once(' ').unwrap_or((rest, ""));
                note(&fetch::Request::new("POST", url).body(text).send()?);
            }
            "get-all" => {
                let requests: Vec<_> = rest.split(' ').map(|url| fetch::Request::new("GET", url)).collect();
                for reply in fetch::all(&requests) {
                    note(&reply?);
                }
            }
            "read" => jidoka::info!("{}", workspace::read(rest)?),
            "catalogue" => {
                let names: Vec<String> = tools::catalogue().into_iter().map(|tool| tool.name).collect();
                jidoka::info!("{}", names.join(" "));
            }
            "tool" | "tools" => {
                let call = |call: &str| {
                    let (name, input) = call.split_once(' ').unwrap_or((call, "{}"));
                    tools::Invocation { name: name.to_owned(), input: input.to_owned() }
                };
                let calls: Vec<_> = match command {
                    "tool" => vec![call(rest)],
                    _ => rest.split(" ; ").map(call).collect(),
                };
                for (call, came) in calls.iter().zip(tools::call_all(&calls)) {
                    match came {
                        Ok(output) => jidoka::info!("{}: {output}", call.name),
                        Err(denied) => jidoka::info!("{}: no, {denied}", call.name),
                    }
                }
            }
            "child" | "children" => {
                let asked: Vec<_> = match command {
                    "child" => vec![child(rest)],
                    _ => rest.split(" ; ").map(child).collect(),
                };
                for (asked, came) in asked.iter().zip(children::run_all(&asked)) {
                    match came {
                        Ok(came) => jidoka::info!("{}: {} · {} · {}", asked.name, came.verdict, came.why, came.summary),
                        Err(denied) => jidoka::info!("{}: no, {denied}", asked.name),
                    }
                }
            }
            "fail" => return Err(rest.into()),
            status => {
                let report = match status {
                    "done" => Report::done(rest),
                    "no-change-needed" => Report::no_change_needed(rest),
                    "unable" => Report::unable(rest),
                    "needs-human" => Report::needs_human(rest),
                    other => return Err(format!("no such command: {other}").into()),
                };
                return Ok(evidence_ids.into_iter().fold(report, Report::with_evidence));
            }
        }
    }
    Err("the task has no report".into())
}

fn child(told: &str) -> children::Child {
    let (name, mut rest) = told.split_once(' ').unwrap_or((told, ""));
    let mut budget = Vec::new();
    while let Some((setting, after)) = rest.split_once(' ')
        && let Some((line, amount)) = setting.split_once('=')
        && let (Some(line), Ok(amount)) = (named(line), amount.parse())
    {
        budget.push((line, amount));
        rest = after;
    }
    let task = rest.replace(" ||| ", " \u{2} ").replace(" || ", " \u{1} ").replace(" | ", "\n");
    let task = task.replace(" \u{1} ", " | ").replace(" \u{2} ", " || ");
    children::Child { name: name.to_owned(), task, budget }
}

fn named(line: &str) -> Option<Line> {
    let lines = [
        Line::Tokens,
        Line::ModelCalls,
        Line::MicroUsd,
        Line::ToolCalls,
        Line::CpuMs,
        Line::WallMs,
        Line::DiskBytes,
        Line::MemoryBytes,
    ];
    lines.into_iter().find(|known| known.to_string() == line)
}

fn note(reply: &fetch::Response) {
    jidoka::info!("{} {}", reply.status, String::from_utf8_lossy(&reply.body));
}
