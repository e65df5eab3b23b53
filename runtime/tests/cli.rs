//! The command line as a user types it, against the examples that users see first.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![expect(clippy::disallowed_methods, reason = "tests make their own files and processes")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-examples").join(name)
}

fn jidoka(state: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jidoka"));
    command
        .args(arguments)
        .env("JIDOKA_STATE", state.path())
        .env("XDG_CONFIG_HOME", state.path().join("no-config"))
        .env_remove("JIDOKA_HOST")
        .stdin(Stdio::null());
    command
}

fn state() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn run(state: &TempDir, arguments: &[&str]) -> Output {
    jidoka(state, arguments).output().unwrap()
}

fn run_example(name: &str) -> (i32, serde_json::Value, String) {
    let state = state();
    let output = run(&state, &["run", example(name).to_str().unwrap(), "--json", "--no-apply"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let document = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}\n{stderr}", String::from_utf8_lossy(&output.stdout)));
    (output.status.code().unwrap(), document, stderr)
}

#[test]
fn liar_exits_21_with_no_progress_while_its_report_says_done() {
    let (code, verdict, _) = run_example("liar");
    assert_eq!(code, 21);
    assert_eq!(verdict["verdict"], "no-progress");
    assert_eq!(verdict["report"]["status"], "done");
}

#[test]
fn fixer_is_accepted_by_a_check_that_the_host_ran() {
    let (code, verdict, _) = run_example("fixer");
    assert_eq!(code, 0);
    // A person who ran the example before has a project that is fixed.
    assert!(["accepted", "no-change-needed"].contains(&verdict["verdict"].as_str().unwrap()), "{verdict}");
    assert_eq!(verdict["gates"][0]["name"], "tests");
    assert_eq!(verdict["gates"][0]["end"]["end"], "passed");
}

#[test]
fn foreman_gives_its_work_to_a_child_that_the_host_judged() {
    let state = state();
    let foreman = example("foreman");
    let output = run(&state, &["run", foreman.to_str().unwrap(), "--json", "--no-apply"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    // A person who ran the example before has a project that is fixed.
    assert!(["accepted", "no-change-needed"].contains(&verdict["verdict"].as_str().unwrap()), "{verdict}");
    assert!(verdict["ledger"]["attempt"]["spent"]["model-calls"].as_u64() >= Some(2), "{verdict}");
    let child = format!("{}-1", verdict["serial"].as_str().unwrap());
    let traced = run(&state, &["trace", verdict["serial"].as_str().unwrap()]).stdout;
    assert!(String::from_utf8_lossy(&traced).contains("child fixer"));
    for serial in [verdict["serial"].as_str().unwrap(), &child] {
        let told = run(&state, &["replay", serial]);
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    }
    let explained = run(&state, &["explain", foreman.to_str().unwrap()]).stdout;
    assert_eq!(String::from_utf8_lossy(&explained).matches("children.fixer.job").count(), 1);
    let resumed = run(&state, &["resume", &child]);
    assert!(String::from_utf8_lossy(&resumed.stderr).contains("it is a child"), "{resumed:?}");
}

#[test]
fn a_child_that_grants_more_than_its_caller_does_not_load() {
    let state = state();
    let text = |grants: &str, more: &str| {
        format!(
            "line = \"l\"\n[worker]\ncomponent = \"w.wasm\"\n[task]\ntext = \"t\"\n[grants]\n{grants}\n{more}\n\
             [attempts]\nmax = 1\nbackoff = \"0s\"\n[done]\nmarks = [\"artifact\"]\n"
        )
    };
    let write = |name: &str, text: &str| {
        std::fs::create_dir_all(state.path().join(name)).unwrap();
        std::fs::write(state.path().join(name).join("jidoka.toml"), text).unwrap();
    };
    let caller = "children = [\"wide\"]\n[children.wide]\njob = \"../wide\"";
    write("caller", &text(caller, "[budget]\nwall = \"1s\""));
    let wide = "[workspace]\ndir = \".\"\n[budget]\nwall = \"1s\"\ntool-calls = 1";
    let itself = "children = [\"again\"]\n[children.again]\njob = \".\"";
    write("itself", &text(itself, "[budget]\nwall = \"1s\""));
    let explained = run(&state, &["explain", state.path().join("itself").to_str().unwrap()]);
    assert!(explained.status.success(), "{}", String::from_utf8_lossy(&explained.stderr));
    write("wide", &text("files = \"read-only\"", wide));
    let explained = run(&state, &["explain", state.path().join("caller").to_str().unwrap()]);
    let said = String::from_utf8_lossy(&explained.stderr).replace('\n', " ");
    assert!(!explained.status.success());
    for what in ["at most what its caller has", "files are ReadOnly", "write tool-calls in [budget]"] {
        assert!(said.contains(what), "{what}: {said}");
    }
}

#[test]
fn the_other_examples_end_as_they_say() {
    for (name, code, verdict) in [
        ("hello", 0, "accepted"),
        ("ask", 0, "accepted"),
        ("runaway", 20, "exhausted"),
        ("spender", 20, "exhausted"),
        ("cord", 22, "halted"),
        ("consent", 12, "needs-human"),
    ] {
        let (exit, document, stderr) = run_example(name);
        assert_eq!((exit, document["verdict"].as_str().unwrap()), (code, verdict), "{name}: {stderr}");
    }
}

#[test]
fn without_json_a_person_sees_each_effect_and_why() {
    let state = state();
    let output = run(&state, &["run", example("ask").to_str().unwrap()]);
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(stderr.contains("model writer") && stderr.contains("left "), "{stderr}");
    assert!(stdout.starts_with("accepted: the host saw a new mark"), "{stdout}");
    assert!(!stdout.contains('\u{1b}') && !stderr.contains("\u{1b}[3"), "no colours without a terminal");
}

#[test]
fn a_malformed_job_shows_every_mistake_where_it_stands_and_nothing_runs() {
    let state = state();
    let job = state.path().join("jidoka.toml");
    let text = r#"line = "x"
colour = "red"
[worker]
component = "worker.wasm"
[task]
text = "t"
[grants]
models = ["m"]
[models.m]
script = "t.toml"
window = 10
max-output = 5
[budget]
wall = "10 parsecs"
tokens = "unlimited"
model-calls = 1
usd = "1"
"#;
    std::fs::write(&job, text).unwrap();
    let output = run(&state, &["run", job.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8(output.stderr).unwrap();
    for expected in ["colour", "[done]", "[attempts]", "10 parsecs", "unlimited", "usd-per-mtok-in", "nothing ran"] {
        assert!(stderr.contains(expected), "{expected} is not in\n{stderr}");
    }
    assert!(!state.path().join("runs").exists());
}

#[test]
fn a_missing_component_and_an_unreadable_workspace_are_clear_errors_and_lose_nothing() {
    let state = state();
    let job = |worker: &str, workspace: &str| {
        let text = format!(
            "line = \"x\"\n[worker]\ncomponent = {worker:?}\n[task]\ntext = \"t\"\n[workspace]\ndir = {workspace:?}\n\
             [grants]\nfiles = \"read-write\"\n[budget]\nwall = \"5s\"\n[attempts]\nmax = 1\nbackoff = \"0s\"\n\
             [done]\nmarks = [\"tree\"]\ntree = [\".\"]\n"
        );
        let file = state.path().join("jidoka.toml");
        std::fs::write(&file, text).unwrap();
        let output = run(&state, &["run", file.to_str().unwrap()]);
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(),
        )
    };
    std::fs::create_dir(state.path().join("project")).unwrap();
    let (code, said) = job("missing.wasm", "project");
    assert_eq!(code, 1);
    assert!(said.contains("load the worker") && said.contains("missing.wasm"), "{said}");

    std::fs::write(state.path().join("broken.wasm"), b"\0asm broken").unwrap();
    let (code, said) = job("broken.wasm", "project");
    assert_eq!(code, 30);
    assert!(said.contains("not-admitted") && said.contains("not a WebAssembly component"), "{said}");

    let (code, said) = job("broken.wasm", "nowhere");
    assert_eq!(code, 1);
    assert!(said.contains("open the workspace") && said.contains("nowhere"), "{said}");
}

#[test]
fn an_interrupt_on_the_terminal_gives_the_run_up_and_the_verdict_is_still_written() {
    let state = state();
    let job = state.path().join("jidoka.toml");
    let crate_dir = example("runaway").canonicalize().unwrap();
    let text = format!(
        "line = \"x\"\n[worker]\ncrate = {:?}\n[task]\ntext = \"t\"\n[budget]\nwall = \"60s\"\n\
         [attempts]\nmax = 1\nbackoff = \"0s\"\n[done]\nmarks = [\"artifact\"]\n",
        crate_dir.display().to_string()
    );
    std::fs::write(&job, text).unwrap();
    let child = jidoka(&state, &["run", job.to_str().unwrap(), "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&state, "opened");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(24));
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdict["verdict"], "cancelled");
    let kept = state.path().join(verdict["kept"].as_str().unwrap());
    assert!(kept.join("verdict.json").exists());
}

#[test]
fn what_a_killed_run_spent_counts_for_the_items_next_attempt() {
    let state = state();
    let job = state.path().join("jidoka.toml");
    let crate_dir = example("ask").canonicalize().unwrap();
    let text = format!(
        "line = \"x\"\nitem = \"one\"\n[worker]\ncrate = {:?}\n[task]\ntext = \"t\"\n[grants]\nmodels = [\"writer\"]\n\
         [models.writer]\nscript = \"transcript.toml\"\nwindow = 8192\nmax-output = 100\nusd-per-mtok-in = \"1\"\n\
         usd-per-mtok-out = \"1\"\n[budget]\nwall = \"60s\"\nmodel-calls = 2\ntokens = 1000\nusd = \"1\"\n\
         [budget.item]\nmodel-calls = 1\n[attempts]\nmax = 5\nbackoff = \"0s\"\n[done]\nmarks = [\"artifact\"]\n",
        crate_dir.display().to_string()
    );
    std::fs::write(&job, text).unwrap();
    std::fs::write(state.path().join("transcript.toml"), "[[turn]]\ntext = \"late\"\nlatency = \"50s\"\n").unwrap();
    let mut child = jidoka(&state, &["run", job.to_str().unwrap(), "--json"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&state, "\"intent\"");
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::write(state.path().join("transcript.toml"), "[[turn]]\ntext = \"now\"\n").unwrap();
    let output = run(&state, &["run", job.to_str().unwrap(), "--json"]);
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdict["attempt"], 2);
    assert_eq!(verdict["verdict"], "exhausted", "the call in flight is held, and the item has one: {verdict}");
    assert_eq!(verdict["detail"]["scope"], "item");
}

#[test]
fn a_full_disk_is_a_clear_error_and_loses_nothing() {
    let state = state();
    let job = state.path().join("jidoka.toml");
    let text = format!(
        "line = \"x\"\nitem = \"one\"\n[worker]\ncrate = {:?}\n[task]\ntext = \"t\"\n[workspace]\ndir = \"project\"\n\
         [grants]\nfiles = \"read-write\"\n[budget]\nwall = \"20s\"\n[attempts]\nmax = 1\nbackoff = \"0s\"\n\
         [done]\nmarks = [\"tree\"]\ntree = [\".\"]\n",
        example("liar").canonicalize().unwrap().display().to_string()
    );
    std::fs::write(&job, text).unwrap();
    std::fs::create_dir(state.path().join("project")).unwrap();
    let large = vec![b'x'; 24 << 20];
    std::fs::write(state.path().join("project/large"), &large).unwrap();
    assert_eq!(run(&state, &["build", example("liar").to_str().unwrap()]).status.code(), Some(0));
    // No file may grow past 16 MiB: writes fail as they do on a full disk, for whoever runs this.
    let output = Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f 16384; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_jidoka")])
        .args(["run", job.to_str().unwrap()])
        .env("JIDOKA_STATE", state.path())
        .env("XDG_CONFIG_HOME", state.path().join("no-config"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(30), "{said}");
    assert!(said.contains("the workspace: copy \"large\" into the worker's tree"), "{said}");
    assert_eq!(std::fs::read(state.path().join("project/large")).unwrap(), large);
    let again = run(&state, &["run", job.to_str().unwrap(), "--json"]);
    let verdict: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((again.status.code(), &verdict["attempt"]), (Some(21), &serde_json::json!(1)), "no attempt was lost");
}

/// Waits until the journal of the only run has this text.
fn wait_for(state: &TempDir, text: &str) {
    let journal = || {
        let runs = std::fs::read_dir(state.path().join("runs")).ok()?;
        let serial = runs.flatten().next()?.file_name().into_string().ok()?;
        let trace = run(state, &["trace", &serial, "--json"]);
        String::from_utf8(trace.stdout).ok().filter(|journal| journal.contains(text))
    };
    for _ in 0..6_000 {
        if journal().is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the run has no {text}");
}

#[test]
fn explain_shows_each_setting_and_where_it_comes_from() {
    let state = state();
    let output = run(&state, &["explain", example("fixer").to_str().unwrap(), "--seed", "7"]);
    assert_eq!(output.status.code(), Some(0));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let row =
        |key: &str| stdout.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}: {stdout}"));
    assert!(row("budget.wall").ends_with("jidoka.toml"));
    assert!(row("caps.memory").ends_with("default"));
    assert!(row("seed").ends_with("command line"));
}

#[test]
fn inspect_shows_what_a_component_could_ask_for() {
    let state = state();
    let output = run(&state, &["inspect", example("ask").to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["fits"], serde_json::json!(["worker"]));
    let imports = document["imports"]["listed"].as_array().unwrap();
    assert!(imports.iter().any(|import| import == "jidoka:agent/model@0.1.0"));
    assert!(!imports.iter().any(|import| import == "jidoka:agent/human@0.1.0"), "what it does not use is not there");
    assert_eq!(document["job"]["grants"]["models"], serde_json::json!(["writer"]));
}

#[test]
fn a_new_worker_runs_at_once_and_its_own_test_passes() {
    let state = state();
    let worker = state.path().join("greeter");
    let created = run(&state, &["new", worker.to_str().unwrap()]);
    assert_eq!(created.status.code(), Some(0), "{}", String::from_utf8_lossy(&created.stderr));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-worker");
    let output = jidoka(&state, &["run", worker.to_str().unwrap(), "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let tested = Command::new(env!("CARGO"))
        .args(["test", "--quiet"])
        .current_dir(&worker)
        .env("CARGO_TARGET_DIR", target)
        .output()
        .unwrap();
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
    let again = run(&state, &["new", worker.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1), "nothing is written over");
}

#[test]
fn doctor_finds_what_a_run_needs() {
    let state = state();
    let output = run(&state, &["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<&str> =
        findings.as_array().unwrap().iter().map(|finding| finding["what"].as_str().unwrap()).collect();
    assert_eq!(names, ["host", "engine", "process wall", "state", "store", "operator's file", "cargo", "guest target"]);
}

#[test]
fn nothing_depends_on_where_it_was_started() {
    let here = state();
    let bare = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jidoka"));
        let unset = ["HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "JIDOKA_STATE", "JIDOKA_HOST"];
        for name in unset {
            command.env_remove(name);
        }
        let output = command.args(arguments).envs(variables.iter().copied()).current_dir(here.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let pull = ["andon", "pull", "default/lab", "--reason", "wait"];
    for variables in [&[][..], &[("HOME", "")], &[("HOME", "here")], &[("XDG_STATE_HOME", "here"), ("HOME", ".")]] {
        let (code, said) = bare(variables, &pull);
        assert_eq!(code, Some(1), "{said}");
        assert!(
            ["--state DIR", "JIDOKA_STATE", "XDG_STATE_HOME or HOME"].iter().all(|way| said.contains(way)),
            "{said}"
        );
    }
    for relative in ["", "here"] {
        let (code, said) = bare(&[("JIDOKA_STATE", relative)], &pull);
        assert!(code == Some(1) && said.contains("not an absolute path"), "{said}");
    }
    // A file of this name in the directory where it was started is nobody's word.
    std::fs::create_dir_all(here.path().join(".config/jidoka")).unwrap();
    std::fs::write(here.path().join(".config/jidoka/jidoka-host.toml"), "").unwrap();
    let elsewhere = state();
    let dir = elsewhere.path().to_str().unwrap();
    let (code, said) = bare(&[], &["--state", dir, "explain", example("fixer").to_str().unwrap()]);
    assert!(code == Some(1) && said.contains("--host FILE"), "{said}");
    let (code, said) =
        bare(&[("XDG_CONFIG_HOME", dir)], &["--state", dir, "explain", example("fixer").to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    std::fs::remove_dir_all(here.path().join(".config")).unwrap();
    assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 0);
}

#[test]
fn words_that_make_no_sense_are_usage() {
    let state = state();
    assert_eq!(run(&state, &["rum"]).status.code(), Some(2));
    assert_eq!(run(&state, &["run", "x", "--model", "coder"]).status.code(), Some(2));
}
