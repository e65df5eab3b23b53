//! A new worker: what `jidoka new` writes.

use std::path::Path;

/// One file of a new worker, relative to its directory.
pub struct NewFile {
    pub name: &'static str,
    pub text: String,
}

/// The files of a worker named after the whole path of its directory, that depends on the SDK in `sdk`.
///
/// # Errors
/// A sentence: the directory's name cannot be a crate's name, or the SDK's path is not UTF-8.
pub fn worker(path: &Path, sdk: &Path) -> Result<Vec<NewFile>, String> {
    let name = path_name(path);
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || !name.bytes().all(sound) || !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Err(format!("name the worker with lower-case letters, digits and `-`, a letter first; not {name:?}"));
    }
    let sdk = sdk.to_str().ok_or("the SDK's path is not UTF-8")?;
    let file = |name, text: &str| NewFile { name, text: text.replace("{NAME}", path_name(path)).replace("{SDK}", sdk) };
    Ok(vec![
        file("Cargo.toml", CARGO),
        file("src/lib.rs", SOURCE),
        file("jidoka.toml", JOB),
        file("transcript.toml", TRANSCRIPT),
        file(".gitignore", "/target\n"),
    ])
}

fn path_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

const CARGO: &str = r#"[package]
name = "{NAME}"
version = "0.1.0"
edition = "2024"

[lib]
crate-type = ["cdylib", "rlib"]

[dependencies]
jidoka = { package = "jidoka-sdk", path = "{SDK}" }

[profile.release]
opt-level = "s"
# Names stay, so that a trap says where it was.
strip = "debuginfo"

[workspace]
"#;

const SOURCE: &str = r#"//! Asks a model once and shows its answer as evidence.

use jidoka::{Report, Result, Task, evidence, model};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let reply = model::ask(&model::Request::new("writer").user(&task.text).max_output(200))?;
    let answer = evidence::attach("answer", "answer.txt", reply.answer()?)?;
    Ok(Report::done("asked once").with_evidence(answer))
}

#[cfg(test)]
mod tests {
    use jidoka::Task;
    use jidoka::testing::FakeHost;

    #[test]
    fn the_answer_becomes_evidence() {
        let run = FakeHost::new().reply("hello").run(super::run, Task::new("greet"));
        assert_eq!(run.report().evidence.len(), 1);
    }
}
"#;

const JOB: &str = r#"line = "{NAME}"

[worker]
crate = "."

[task]
text = "Say hello in one sentence."

[grants]
models = ["writer"]

# A scripted model: no key, no network. To use a real one, define it in the operator's file and run with
# `--model writer=NAME`.
[models.writer]
script = "transcript.toml"
window = 8192
max-output = 1024
usd-per-mtok-in = "0"
usd-per-mtok-out = "0"

[budget]
wall = "30s"
model-calls = 2
tokens = 4000
usd = "0.01"

[attempts]
max = 3
# How long an item rests after its first attempt that may be tried again; doubled after each further one.
backoff = "10s"

[done]
marks = ["artifact"]
"#;

const TRANSCRIPT: &str = r#"[[turn]]
text = "Hello, and welcome to the line."
"#;
