//! Runs of the past on the command line, as a user types it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![expect(clippy::disallowed_methods, reason = "tests make their own files and processes")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-examples");

/// A host's directory with one run of the example `fixer`, which is accepted and not applied.
struct Host {
    state: TempDir,
    serial: String,
}

impl Host {
    fn jidoka(state: &Path, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_jidoka"))
            .args(arguments)
            .env("JIDOKA_STATE", state)
            .env("XDG_CONFIG_HOME", state.join("no-config"))
            .env_remove("JIDOKA_HOST")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let fixer = format!("{EXAMPLES}/fixer");
        let run = Self::jidoka(state.path(), &["run", &fixer, "--json", "--no-apply"]);
        let record: Value = serde_json::from_slice(&run.stdout).unwrap();
        let serial = record["serial"].as_str().unwrap().to_owned();
        Self { state, serial }
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Self::jidoka(self.state.path(), arguments);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let (_, stdout, stderr) = self.run(arguments);
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}\n{stderr}"))
    }
}

#[test]
fn a_run_is_listed_shown_traced_and_told_again() {
    let host = Host::new();
    let serial = host.serial.as_str();
    let runs = host.json(&["runs", "--json"]);
    assert_eq!((runs.as_array().unwrap().len(), &runs[0]["serial"]), (1, &Value::from(serial)));
    assert_eq!(runs[0]["exit_code"], 0);
    assert!(host.run(&["runs"]).1.contains(serial));
    assert_eq!(host.run(&["runs", "--open"]).1, "");

    let (code, trace, _) = host.run(&["trace", serial]);
    assert_eq!(code, 0);
    assert!(trace.contains("model coder") && trace.contains("verdict: "), "{trace}");
    let entries = host.run(&["trace", serial, "--json"]).1;
    let first: Value = serde_json::from_str(entries.lines().next().unwrap()).unwrap();
    assert_eq!(first["entry"]["opened"]["format"], 7);
    assert!(entries.contains("\"content\""), "{entries}");

    let shown = host.json(&["show", serial, "--json", "--tree", "--diff"]);
    let kept: Value = serde_json::from_slice(
        &std::fs::read(host.state.path().join("runs").join(serial).join("verdict.json")).unwrap(),
    )
    .unwrap();
    assert_eq!(shown["head"], kept["journal"]["hash"]);
    assert_eq!(shown["record"]["verdict"], kept["verdict"]);
    assert!(shown["tree"].as_object().unwrap().contains_key("src/basket.rhai"));
    let base = host.json(&["show", serial, "--json", "--tree", "0", "--diff"]);
    assert_eq!(base["diff"], Value::Array(vec![]));

    let target = host.state.path().join("restored");
    let restored = host.run(&["show", serial, "--restore", target.to_str().unwrap()]);
    assert_eq!(restored.0, 0, "{}", restored.2);
    assert!(target.join("src/basket.rhai").exists());

    let replayed = host.json(&["replay", serial, "--json"]);
    assert_eq!(replayed["divergence"], Value::Null);
    let (code, said, _) = host.run(&["replay", serial]);
    assert_eq!(code, 0);
    assert!(said.starts_with("the same: ") && said.contains("nothing was spent"), "{said}");
}

#[test]
fn a_run_that_has_ended_is_forked_and_not_resumed() {
    let host = Host::new();
    let serial = host.serial.as_str();
    let (code, _, stderr) = host.run(&["resume", serial]);
    assert_eq!(code, 1);
    assert!(stderr.contains("fork it instead"), "{stderr}");
    let entries = host.run(&["trace", serial, "--json"]).1;
    let is_answer = |line: &str| serde_json::from_str::<Value>(line).unwrap()["entry"].get("answered").is_some();
    let answered = entries.lines().position(is_answer).unwrap().to_string();
    let fork = host.json(&["fork", serial, "--at", &answered, "--json"]);
    assert!([0, 21].contains(&fork["exit_code"].as_u64().unwrap()), "{fork}");
    // The script begins anew, so the fork may ask as often; but its first call is the second of its worker.
    let own = host.run(&["trace", fork["serial"].as_str().unwrap(), "--json"]).1;
    let first: Value = serde_json::from_str(own.lines().nth(1).unwrap()).unwrap();
    assert_eq!(first["entry"]["intent"]["call"], 2, "the first call is the parent's: {fork}");
    assert_eq!(host.run(&["replay", fork["serial"].as_str().unwrap()]).0, 0);
    let (code, _, stderr) = host.run(&["fork", serial, "--at", "100000"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("the nearest entry is"), "{stderr}");
    let (code, _, stderr) = host.run(&["fork", serial, "--at", "1", "--edit-message", "0=x"]);
    assert_eq!(code, 2, "{stderr}");
}

#[test]
fn another_component_diverges_and_says_where() {
    let host = Host::new();
    let (code, said, stderr) = host.run(&["replay", &host.serial, "--with", &format!("{EXAMPLES}/hello")]);
    assert_eq!(code, 50, "{stderr}");
    assert!(said.starts_with("diverged: entry 1 "), "{said}");
}

#[test]
fn erased_contents_leave_a_trace_and_a_chain_and_no_replay() {
    let host = Host::new();
    let serial = host.serial.as_str();
    assert_eq!(host.run(&["prune"]).0, 2);
    assert_eq!(host.run(&["prune", "--dry-run"]).1.lines().next(), Some(serial));
    let pruned = host.json(&["prune", "--older-than", "0ms", "--keep", "0B", "--json"]);
    assert_eq!(pruned["runs"][0], serial);
    assert!(pruned["after_bytes"].as_u64() < pruned["before_bytes"].as_u64(), "{pruned}");
    assert!(!host.state.path().join("runs").join(serial).exists());
    let (code, trace, _) = host.run(&["trace", serial]);
    assert_eq!(code, 0);
    assert!(trace.contains("model") && trace.contains("verdict: "), "{trace}");
    assert_eq!(host.json(&["runs", "--json"])[0]["erased"], true);
    let (code, _, stderr) = host.run(&["replay", serial]);
    assert_eq!(code, 1);
    assert!(stderr.contains("were erased"), "{stderr}");
    // What was said is gone from the file, and not only from its index.
    let store = std::fs::read(host.state.path().join("ledger.sqlite")).unwrap();
    let needle = b"discount";
    assert!(!store.windows(needle.len()).any(|window| window == needle));
}

#[test]
fn a_fetch_is_shown_in_a_trace() {
    let state = tempfile::tempdir().unwrap();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/fetched.run");
    let imported = Host::jidoka(state.path(), &["import", golden, "--json"]);
    let said = String::from_utf8_lossy(&imported.stderr).into_owned();
    assert_eq!(imported.status.code(), Some(0), "{said}");
    let runs: Value = serde_json::from_slice(&Host::jidoka(state.path(), &["runs", "--json"]).stdout).unwrap();
    let serial = runs[0]["serial"].as_str().unwrap();
    let trace = String::from_utf8(Host::jidoka(state.path(), &["trace", serial]).stdout).unwrap();
    for what in ["GET http://web.test:8080/page", "POST http://web.test:8080/form"] {
        assert!(trace.contains(what), "{trace}");
    }
}

#[test]
fn a_run_goes_from_host_to_host_in_one_file_that_can_be_checked() {
    let host = Host::new();
    let serial = host.serial.as_str();
    assert_eq!(host.run(&["verify", serial]).0, 0);
    let file = host.state.path().join("out.run");
    let path = file.to_str().unwrap();
    let (code, said, stderr) = host.run(&["export", serial, path]);
    assert_eq!(code, 0, "{stderr}");
    assert!(said.contains("holds") && said.contains("head blake3:"), "{said}");
    assert_eq!(host.run(&["export", serial, path]).0, 1, "never over a file");
    assert_eq!(host.run(&["verify", path]).0, 0);

    let other = tempfile::tempdir().unwrap();
    let there = |arguments: &[&str]| Host::jidoka(other.path(), arguments);
    assert_eq!(there(&["import", path]).status.code(), Some(0));
    assert_eq!(there(&["replay", serial]).status.code(), Some(0));
    let resumed = there(&["resume", serial]);
    assert_eq!(resumed.status.code(), Some(1));
    // What a stranger's journal says of scripts and directories is not believed.
    let fork = there(&["fork", serial, "--at", "0"]);
    let why = String::from_utf8(fork.stderr).unwrap();
    assert!(fork.status.code() == Some(1) && why.contains("--model coder=NAME"), "{why}");
    assert_eq!(there(&["fork", serial, "--at", "0", "--apply"]).status.code(), Some(2));

    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let (code, said, _) = host.run(&["verify", path]);
    assert_eq!(code, 51);
    assert!(said.starts_with("not what was written: "), "{said}");
    std::fs::write(host.state.path().join("runs").join(serial).join("verdict.json"), "{}").unwrap();
    assert_eq!(host.run(&["verify", serial]).0, 51);
}

#[test]
fn a_run_that_nobody_knows_is_a_clear_error() {
    let host = Host::new();
    for command in ["show", "trace", "replay", "resume"] {
        let (code, _, stderr) = host.run(&[command, "01aaaaaaaa-aaaaaa"]);
        assert_eq!(code, 1);
        assert!(stderr.contains("no run 01aaaaaaaa-aaaaaa is in"), "{command}: {stderr}");
    }
}
