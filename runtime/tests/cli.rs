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
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["error"]["kind"], "mistakes");
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
    assert_eq!(names, ["host", "engine", "process wall", "cargo", "guest target", "state", "store", "operator's file"]);
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

/// A process with these columns, and what it says on stdout and stderr.
fn said(state: &TempDir, columns: &str, arguments: &[&str]) -> (i32, String, String) {
    let output = jidoka(state, arguments).env("COLUMNS", columns).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn help_is_in_groups_and_no_word_of_it_is_broken() {
    let state = state();
    let (code, help, _) = said(&state, "60", &["--help"]);
    assert_eq!(code, 0);
    for group in ["Run:", "Inspect:", "Replay:", "Operate:", "Build:", "Options:"] {
        assert!(help.lines().any(|line| line == group), "{group}: {help}");
    }
    assert!(help.lines().all(|line| line.chars().count() <= 60), "{help}");
    let (_, show, _) = said(&state, "80", &["show", "--help"]);
    assert!(!show.contains("--host") && !show.contains("--state"), "said once, on the first page: {show}");
}

#[test]
fn a_variable_of_the_environment_is_no_part_of_a_usage() {
    let state = state();
    let output = jidoka(&state, &["show"]).env("JIDOKA_TENANT", "acme").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("Usage: jidoka show [OPTIONS] <RUN>"), "{stderr}");
    let output = jidoka(&state, &["run"]).env("JIDOKA_TENANT", "acme").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("Usage: jidoka run [OPTIONS] <PATH>"), "{stderr}");
}

#[test]
fn shells_and_the_manual_know_every_command() {
    let state = state();
    let (code, bash, _) = said(&state, "80", &["completions", "bash"]);
    assert!(code == 0 && bash.contains("write-off") && bash.contains("--no-policy-change"), "{bash}");
    let (code, page, _) = said(&state, "80", &["man"]);
    assert!(code == 0 && page.contains(".TH jidoka"), "{page}");
    let pages = state.path().join("man");
    assert_eq!(said(&state, "80", &["man", "--dir", pages.to_str().unwrap()]).0, 0);
    assert!(pages.join("jidoka.1").exists() && pages.join("jidoka-budget-top-up.1").exists());
}

#[test]
fn what_went_wrong_is_one_object_where_json_was_asked_for() {
    let state = state();
    let job = state.path().join("jidoka.toml");
    std::fs::write(&job, "line = \"x\"\ncolour = \"red\"\n").unwrap();
    for (arguments, code, kind) in [
        (&["runs", "--json", "--colour"][..], 2, "usage"),
        (&["answer", "@", "--json"][..], 1, "failed"),
        (&["show", "nobody", "--json"][..], 1, "failed"),
        (&["prune", "--json"][..], 2, "usage"),
        (&["run", job.to_str().unwrap(), "--json"][..], 2, "mistakes"),
    ] {
        let (exit, stdout, stderr) = said(&state, "80", arguments);
        assert_eq!(exit, code, "{arguments:?}: {stderr}");
        let document: serde_json::Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}"));
        assert_eq!(document["error"]["kind"], kind, "{document}");
        assert!(!document["error"]["message"].as_str().unwrap().is_empty(), "{document}");
        assert!(!stderr.is_empty());
    }
    let (_, stdout, _) = said(&state, "80", &["run", job.to_str().unwrap(), "--json"]);
    let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let unknown = document["error"]["mistakes"].as_array().unwrap().iter();
    let unknown = unknown.clone().find(|mistake| mistake["message"].as_str().unwrap().contains("colour")).unwrap();
    assert_eq!(unknown["line"], 2, "{document}");
    assert!(said(&state, "80", &["show", "nobody"]).1.is_empty(), "nobody asked for JSON");
}

#[test]
fn a_run_is_named_by_a_part_of_its_number_and_shown_though_nothing_of_it_ran() {
    let state = state();
    let (_, none, why) = said(&state, "80", &["show", "@"]);
    assert!(none.is_empty() && why.contains("no run is in"), "{why}");
    let first = run(&state, &["run", example("hello").to_str().unwrap(), "--json"]).stdout;
    let first: serde_json::Value = serde_json::from_slice(&first).unwrap();
    let serial = first["serial"].as_str().unwrap();
    let broken = state.path().join("broken.wasm");
    std::fs::write(&broken, b"\0asm broken").unwrap();
    let text = "line = \"x\"\n[worker]\ncomponent = \"broken.wasm\"\n[task]\ntext = \"t\"\n[budget]\nwall = \"5s\"\n\
                [attempts]\nmax = 1\nbackoff = \"0s\"\n[done]\nmarks = [\"artifact\"]\n";
    std::fs::write(state.path().join("jidoka.toml"), text).unwrap();
    assert_eq!(run(&state, &["run", state.path().join("jidoka.toml").to_str().unwrap()]).status.code(), Some(30));

    for part in [serial, &serial[..10], &serial[serial.len() - 6..], &format!("runs/{serial}")] {
        let (code, shown, why) = said(&state, "200", &["show", part]);
        assert!(code == 0 && shown.starts_with("accepted: the host saw a new mark; the job has no checks"), "{why}");
        assert!(shown.contains("evidence  ") && shown.contains("wall      none"), "{shown}");
    }
    let (code, latest, _) = said(&state, "200", &["show", "@"]);
    assert!(code == 0 && latest.starts_with("not-admitted: "), "{latest}");
    let (_, listed, _) = said(&state, "200", &["runs"]);
    assert_eq!(listed.matches("not-admitted").count(), 1, "{listed}");
    let (code, _, why) = said(&state, "200", &["trace", "01"]);
    assert!(code == 1 && why.contains("01 fits 2 runs: ") && why.contains(serial), "{why}");
    let (code, _, why) = said(&state, "200", &["trace", "zz"]);
    let place = state.path().display().to_string();
    assert!(code == 1 && why.contains(&place) && why.contains("jidoka runs"), "{why}");
}

#[test]
fn an_erased_run_is_shown_as_far_as_it_is_there() {
    let state = state();
    let verdict = run(&state, &["run", example("hello").to_str().unwrap(), "--json"]).stdout;
    let verdict: serde_json::Value = serde_json::from_slice(&verdict).unwrap();
    let name = verdict["evidence"][0]["name"].as_str().unwrap();
    assert!(!run(&state, &["show", "@", "--evidence", name]).stdout.is_empty());
    assert_eq!(run(&state, &["prune", "--older-than", "0ms", "--keep", "0B"]).status.code(), Some(0));
    let (code, shown, why) = said(&state, "200", &["show", "@"]);
    assert!(code == 0 && shown.starts_with("accepted") && shown.contains("erased"), "{shown}{why}");
}

#[test]
fn what_a_worker_changed_is_a_patch_and_nothing_else() {
    let state = state();
    let (fixer, check) = (example("fixer").canonicalize().unwrap(), example("fixer-check").canonicalize().unwrap());
    let job = state.path().join("job");
    for dir in ["project/src", "project/tests"] {
        std::fs::create_dir_all(job.join(dir)).unwrap();
        for file in std::fs::read_dir(fixer.join(dir)).unwrap() {
            let file = file.unwrap();
            // A person who ran the example before has a project that is fixed.
            let text = std::fs::read_to_string(file.path()).unwrap();
            let text = text.replace("with_tax(net, tax)", "with_tax(after_discount(net, discount), tax)");
            std::fs::write(job.join(dir).join(file.file_name()), text).unwrap();
        }
    }
    let text = std::fs::read_to_string(fixer.join("jidoka.toml")).unwrap();
    let text = text.replace("\".\"", &format!("{fixer:?}")).replace("\"../fixer-check\"", &format!("{check:?}"));
    std::fs::write(job.join("jidoka.toml"), text).unwrap();
    std::fs::copy(fixer.join("transcript.toml"), job.join("transcript.toml")).unwrap();
    let run_one = run(&state, &["run", job.to_str().unwrap(), "--no-apply", "--json"]);
    let verdict: serde_json::Value = serde_json::from_slice(&run_one.stdout).unwrap();
    assert_eq!(verdict["verdict"], "accepted", "{verdict}");
    let (code, patch, _) = said(&state, "60", &["show", "@", "--diff"]);
    assert_eq!(code, 0);
    assert!(patch.starts_with("diff --git a/src/basket.rhai b/src/basket.rhai\n--- a/src/basket.rhai\n"), "{patch}");
    assert!(patch.contains("\n@@ ") && !patch.contains("accepted"), "{patch}");
    std::fs::write(job.join("it.patch"), &patch).unwrap();
    let git = ["-C", job.join("project").to_str().unwrap(), "apply", "--check", "../it.patch"].map(str::to_owned);
    let applies = Command::new("git").args(git).output().unwrap();
    assert!(applies.status.success(), "{}", String::from_utf8_lossy(&applies.stderr));
}

#[test]
fn a_mistake_of_a_transcript_is_shown_where_it_stands_before_anything_is_built() {
    let state = state();
    let text = "line = \"x\"\n[worker]\ncrate = \"nowhere\"\n[task]\ntext = \"t\"\n[grants]\nmodels = [\"m\"]\n[models.m]\n\
                script = \"t.toml\"\nwindow = 100\nmax-output = 5\nusd-per-mtok-in = \"0\"\nusd-per-mtok-out = \"0\"\n\
                [budget]\nwall = \"5s\"\ntokens = 10\nmodel-calls = 1\nusd = \"0\"\n[attempts]\nmax = 1\nbackoff = \"0s\"\n\
                [done]\nmarks = [\"artifact\"]\n";
    std::fs::write(state.path().join("jidoka.toml"), text).unwrap();
    std::fs::write(state.path().join("t.toml"), "[[turn]]\ntext = \"a\"\ntool_calls = []\n").unwrap();
    let (code, _, stderr) = said(&state, "200", &["run", state.path().join("jidoka.toml").to_str().unwrap()]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("tool_calls") && stderr.contains("t.toml:3"), "{stderr}");
}

#[test]
fn what_is_not_there_is_said_to_be_not_there() {
    let state = state();
    let path = |name: &str| state.path().join(name).display().to_string();
    std::fs::write(path("jidoka.toml"), "").unwrap();
    for (arguments, code, why) in [
        (&["build", &path("nope")][..], 1, "nope does not exist"),
        (&["--host", &path("nope.toml"), "runs"][..], 2, "nope.toml does not exist"),
        (&["--state", &path("jidoka.toml"), "runs"][..], 1, "jidoka.toml is a file"),
        (&["new", &path("worker"), "--sdk", &path("sdk")][..], 1, "is not the guest SDK"),
        (&["run", "x", "--seed", "abc"][..], 2, "expected a whole number"),
        (&["fork", "x", "--at", "abc"][..], 2, "expected the number of an entry"),
        (&["test", example("hello").to_str().unwrap()][..], 1, "its own tests: `cargo test`"),
    ] {
        let (exit, _, stderr) = said(&state, "400", arguments);
        assert!(exit == code && stderr.contains(why), "{arguments:?}: {exit} {stderr}");
    }
}

#[test]
fn a_worker_is_made_in_a_directory_that_is_there_and_never_twice() {
    let state = state();
    let dir = state.path().join("greeter");
    std::fs::create_dir(&dir).unwrap();
    let new = |path: &str| jidoka(&state, &["new", path]).current_dir(&dir).output().unwrap();
    let made = new(".");
    assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(std::fs::read_to_string(dir.join("Cargo.toml")).unwrap().contains("name = \"greeter\""));
    let again = new(".");
    let why = String::from_utf8(again.stderr).unwrap();
    assert!(again.status.code() == Some(1) && why.contains("is there already"), "{why}");
}

#[test]
fn doctor_opens_what_it_names() {
    let state = state();
    let host = state.path().join("host.toml");
    let text = "[models.gpt]\ndialect = \"openai\"\nurl = \"https://example.com/v1\"\nmodel = \"m\"\nkey-env = \"JIDOKA_NO_SUCH_KEY\"\n\
                window = 1000\nmax-output = 100\nusd-per-mtok-in = \"1\"\nusd-per-mtok-out = \"1\"\n\
                [[hook]]\non = \"before-run\"\ncommand = [\"/no/such/program\"]\nwall = \"5s\"\n";
    std::fs::write(&host, text).unwrap();
    let (code, found, stderr) = said(&state, "200", &["--host", host.to_str().unwrap(), "doctor"]);
    assert_eq!(code, 1, "{found}{stderr}");
    for ill in ["✗ model gpt", "JIDOKA_NO_SUCH_KEY", "✗ hook 1", "/no/such/program"] {
        assert!(found.contains(ill), "{ill}: {found}{stderr}");
    }
    std::fs::write(&host, "colour = 1\n").unwrap();
    let (code, found, stderr) = said(&state, "200", &["--host", host.to_str().unwrap(), "doctor"]);
    assert!(code == 1 && found.contains("✗ operator's file") && stderr.contains("colour"), "{found}{stderr}");
    let (code, found, _) = said(&state, "200", &["--host", "/no/such/file", "doctor"]);
    assert!(code == 1 && found.contains("✗ operator's file"), "{found}");
    std::fs::write(state.path().join("ledger.sqlite"), "this is no store, whatever its name says").unwrap();
    let (code, found, _) = said(&state, "200", &["doctor"]);
    assert!(code == 1 && found.contains("✗ store") && found.contains("ledger.sqlite"), "{found}");
}

#[test]
fn inspect_reads_a_module_that_call_takes_as_it_is() {
    let state = state();
    let file = state.path().join("noop.wasm");
    let module = wat::parse_str("(module (memory (export \"memory\") 1) (func (export \"_start\")))").unwrap();
    std::fs::write(&file, module).unwrap();
    let (code, shown, why) = said(&state, "200", &["inspect", file.to_str().unwrap()]);
    assert_eq!(code, 0, "{why}");
    assert!(shown.starts_with("module of WASI preview 1, a tool as it is blake3:"), "{shown}");
    assert!(shown.contains("  fits     tool\n") && shown.contains("memory   64KiB"), "{shown}");
    assert_eq!(run(&state, &["call", file.to_str().unwrap(), "run"]).status.code(), Some(0));
}
