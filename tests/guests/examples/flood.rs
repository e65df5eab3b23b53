//! Does one thing of the host's so many times, and tells what came of the last one.

use std::time::Duration;

use jidoka::{Report, Result, Task, andon, budget, clock, evidence, human, log, model, progress, tools};
use jidoka_hostile_guests::{number, tell};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let count = number(&task, "count");
    let what = task.input("what").expect("the test gives it");
    for round in 1..=count {
        let last = round == count;
        let note = |text: &str, fields: &[(&str, &str)]| log::emit(log::Level::Info, text, fields);
        let mut heard = Ok(());
        match what {
            "notes" => note(&"n".repeat(1_000), &[]),
            "fields" => note("", &[("", ""); 64]),
            "control characters" => note(&"\u{1b}[31m\u{1}".repeat(100), &[]),
            "prints" => println!("{}", "p".repeat(1_000)),
            "refusals" => {
                drop(tools::call_all(&[tools::Invocation { name: "none".into(), input: "{}".into() }]));
            }
            "looks" => drop(budget::left()),
            "sleeps" => heard = clock::sleep(Duration::ZERO).map_err(|error| error.to_string()),
            "check-ins" => heard = progress::check_in("here").map(drop).map_err(|error| error.to_string()),
            "evidence" => {
                heard =
                    evidence::attach("artifact", "e", round.to_string()).map(drop).map_err(|error| error.to_string());
            }
            "asks" => {
                let request = model::Request::new("model").user(format!("hello {round}")).max_output(10);
                heard = model::ask(&request).map(drop).map_err(|error| error.to_string());
            }
            "options" => {
                let options = vec!["o"; usize::try_from(count).expect("small")];
                return question(&options);
            }
            "pulls" => andon::pull(andon::Category::Defect, "the first is the last", &[]),
            other => return Err(format!("nothing is called {other}").into()),
        }
        if last {
            tell("last", heard);
        }
    }
    Ok(Report::done("flooded"))
}

fn question(options: &[&str]) -> Result<Report> {
    tell("last", human::ask("which?", options, human::Risk::Low).map(|_| ()));
    Ok(Report::done("asked"))
}
