//! Fixes a failing project: reads it, asks the model, writes what the model decides. The host's check has the last word.

use std::cell::RefCell;
use std::collections::BTreeMap;

use jidoka::json::{Value, json};
use jidoka::turns::{End, Turns, argument};
use jidoka::{Report, Result, Task, evidence, progress, workspace};

const SYSTEM: &str = "You fix small projects. Look at the files with the tools before you change anything, and change as \
    little as you can. Only files below src/ can be written; the tests are right. When you are done, answer with one \
    sentence that says what was wrong. If nothing needs to be changed, start that sentence with `No change needed`.";

/// What the model says if it finds nothing to do, in lower case.
const NO_CHANGE: &str = "no change needed";

/// The only directory that this worker writes in. The host holds the same wall by `[done] tree`.
const WRITABLE: &str = "src/";

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    // Each file that was written, as it was before; `None` if it is new.
    let before = RefCell::new(BTreeMap::new());
    let path_only = json!({
        "type": "object",
        "properties": {"path": {"type": "string"}},
        "required": ["path"],
    });
    let path_and_content = json!({
        "type": "object",
        "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
        "required": ["path", "content"],
    });
    let talk = Turns::new("coder")
        .system(SYSTEM)
        .max_turns(8)
        .max_output(2048)
        .tool("list_files", "Lists every file of the project.", json!({"type": "object"}), list_files)
        .tool("read_file", "Reads a file.", path_only, read_file)
        .tool("write_file", "Replaces a file with new content.", path_and_content, |arguments| {
            write_file(&arguments, &before)
        })
        .run(&task.text)?;

    let changed = changed_files(before.into_inner())?;
    jidoka::info!("{} turns, {} tool calls, {} files changed", talk.turns, talk.tool_calls, changed.len());
    if talk.end != End::Finished {
        return Ok(Report::unable(talk.end.to_string()));
    }
    if !changed.is_empty() {
        progress::check_in("the model is done")?;
        let note = format!("{}\n\nchanged: {}\n", talk.text, changed.join(", "));
        let note = evidence::attach("note", "change.txt", note)?;
        return Ok(Report::done(talk.text).with_evidence(note));
    }
    if talk.text.to_lowercase().starts_with(NO_CHANGE) {
        return Ok(Report::no_change_needed(talk.text));
    }
    Ok(Report::unable(format!("the model changed nothing: {}", talk.text)))
}

fn list_files(_arguments: Value) -> Result<String, String> {
    let files = workspace::files().map_err(|error| error.to_string())?;
    Ok(files.join("\n"))
}

fn read_file(arguments: Value) -> Result<String, String> {
    workspace::read(argument(&arguments, "path")?).map_err(|error| error.to_string())
}

fn write_file(arguments: &Value, before: &RefCell<BTreeMap<String, Option<String>>>) -> Result<String, String> {
    let path = argument(arguments, "path")?;
    let content = argument(arguments, "content")?;
    if !path.starts_with(WRITABLE) {
        return Err(format!("only files below {WRITABLE} can be written"));
    }
    before.borrow_mut().entry(path.to_owned()).or_insert_with(|| workspace::read(path).ok());
    workspace::write(path, content).map_err(|error| error.to_string())?;
    Ok(format!("wrote {path}"))
}

/// What really differs now: writing the same content, or writing back, is no change.
fn changed_files(before: BTreeMap<String, Option<String>>) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    for (path, old) in before {
        if Some(workspace::read(&path)?) != old {
            changed.push(path);
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jidoka::testing::{FakeHost, Run, Scripted};
    use jidoka::{Line, Status};

    fn fix(host: FakeHost) -> Run<Report> {
        host.file("src/a.rhai", "bad").file("tests/a.rhai", "test").run(run, Task::new("fix it"))
    }

    fn write(path: &str, content: &str) -> Scripted {
        Scripted::call("write_file", json!({"path": path, "content": content}))
    }

    #[test]
    fn a_change_is_reported_as_done_with_evidence() {
        let look = Scripted::call("list_files", json!({})).and_call("read_file", json!({"path": "src/a.rhai"}));
        let run = fix(FakeHost::new().reply(look).reply(write("src/a.rhai", "good")).reply("It was bad."));
        assert_eq!((run.report().status, run.report().summary.as_str()), (Status::Done, "It was bad."));
        assert_eq!(run.file("src/a.rhai"), Some("good"));
        assert_eq!(run.report().evidence, [run.evidence[0].id.clone()]);
        let told: Vec<&str> = run.requests[1].messages.iter().map(|message| message.content.as_str()).collect();
        assert_eq!(told[3..], ["src/a.rhai\ntests/a.rhai", "bad"]);
    }

    #[test]
    fn a_model_that_finds_nothing_is_reported_as_no_change() {
        let run = fix(FakeHost::new().reply("No change needed: it is right."));
        assert_eq!(run.report().status, Status::NoChangeNeeded);
    }

    #[test]
    fn a_claim_without_a_change_is_never_done() {
        let claim = fix(FakeHost::new().reply("I fixed it all."));
        assert_eq!(claim.report().status, Status::Unable);
        let same = fix(FakeHost::new().reply(write("src/a.rhai", "bad")).reply("I fixed it all."));
        assert_eq!(same.report().status, Status::Unable);
    }

    #[test]
    fn the_tests_are_not_written() {
        let run = fix(FakeHost::new().reply(write("tests/a.rhai", "none")).reply("I fixed the tests."));
        assert_eq!(run.report().status, Status::Unable);
        assert_eq!(run.file("tests/a.rhai"), Some("test"));
    }

    #[test]
    fn a_budget_that_runs_out_is_told() {
        let host = FakeHost::new().budget(Line::ModelCalls, 1).reply(write("src/a.rhai", "half"));
        let run = fix(host);
        assert_eq!(run.report().status, Status::Unable);
        assert!(run.report().summary.contains("model-calls"), "{}", run.report().summary);
    }
}
