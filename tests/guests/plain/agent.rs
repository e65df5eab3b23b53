//! An agent loop with a few tools, for as many turns as it is let: what its model asks for is the test's to say, and what
//! some of the tools answer is in the lines of `answers.txt`, one a call, the last one for ever.

use std::cell::Cell;
use std::time::Duration;

use jidoka::json::{Value, json};
use jidoka::turns::{End, Turns, argument};
use jidoka::{Report, Result, Task, clock, progress, workspace};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let any = || json!({"type": "object"});
    let words = |error: jidoka::Error| error.to_string();
    let path = |arguments: &Value| argument(arguments, "path").map(str::to_owned);
    let (answers, told) = (workspace::read("answers.txt").unwrap_or_default(), Cell::new(0));
    let next = || {
        let line = answers.lines().nth(told.replace(told.get() + 1)).or(answers.lines().last());
        line.unwrap_or_default().to_owned()
    };
    let turns = Turns::new("model")
        .max_turns(2_000)
        .max_output(100)
        .tool("read", "Reads a file.", any(), |arguments| {
            workspace::read(&path(&arguments)?).map_err(|error| words(error.into()))
        })
        .tool("write", "Writes a file.", any(), |arguments| {
            let text = argument(&arguments, "text")?;
            workspace::write(&path(&arguments)?, text).map_err(|error| words(error.into()))?;
            Ok("written".to_owned())
        })
        .tool("look", "Finds nothing.", any(), |_| Ok("nothing".to_owned()))
        .tool("status", "Says how far something is.", any(), |_| Ok("running".to_owned()))
        .tool("break", "Fails.", any(), |arguments| Err(format!("no such thing: {:?}", path(&arguments)?)))
        .tool("rest", "Waits.", any(), |_| {
            clock::sleep(Duration::from_millis(1)).map_err(|error| words(error.into()))?;
            Ok("rested".to_owned())
        })
        .tool("show", "Shows the files to the host.", any(), |_| {
            let standing = progress::check_in("shown").map_err(|error| words(error.into()))?;
            Ok(format!("new: {}", standing.new_mark))
        });
    let answering = ["build", "delete", "list", "open", "post", "query", "search", "shell"];
    let turns = answering.into_iter().fold(turns, |turns, name| turns.tool(name, "Answers.", any(), |_| Ok(next())));
    let talk = turns.run(&task.text)?;
    Ok(match talk.end {
        End::Finished => Report::done(talk.text),
        end => Report::unable(end.to_string()),
    })
}
