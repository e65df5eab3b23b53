//! Who reads what the program writes may be slow, gone, or never have been there; and who started it may ask it to end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![expect(clippy::disallowed_methods, reason = "tests make their own files and processes")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// A host's directory, and a job in it.
struct Host(TempDir);

/// A job whose worker asks a model until its tokens are used up: a dozen lines, and exit code 20.
const SPENDER: &str = "spender";
/// A job whose worker spins until its time is over: a minute, so that whatever else the machine does, a signal comes first.
const RUNAWAY: &str = "runaway";

/// The component of an example, built once.
fn component(example: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-examples");
    BUILT.get_or_init(|| {
        for name in [SPENDER, RUNAWAY] {
            let built =
                Command::new(env!("CARGO_BIN_EXE_jidoka")).arg("build").arg(examples.join(name)).output().unwrap();
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        }
    });
    examples.join(format!("target/wasm32-wasip2/release/{example}.wasm"))
}

impl Host {
    fn new(example: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-examples").join(example);
        let job = std::fs::read_to_string(examples.join("jidoka.toml")).unwrap();
        let job =
            job.replace("crate = \".\"", "component = \"worker.wasm\"").replace("wall = \"1s\"", "wall = \"60s\"");
        std::fs::write(dir.path().join("jidoka.toml"), job).unwrap();
        std::fs::copy(component(example), dir.path().join("worker.wasm")).unwrap();
        if let Ok(transcript) = std::fs::read(examples.join("transcript.toml")) {
            std::fs::write(dir.path().join("transcript.toml"), transcript).unwrap();
        }
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A command behind words of bash, in which `"$@"` is it. What whoever started the tests ignores is not ignored here.
    fn behind(&self, bash: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP,INT,QUIT,TERM", "bash", "-c", bash, "bash", env!("CARGO_BIN_EXE_jidoka")]);
        command.args(arguments).current_dir(self.0.path());
        command.env("JIDOKA_STATE", self.path("state")).env("XDG_CONFIG_HOME", self.path("no-config"));
        command.env_remove("JIDOKA_HOST").env_remove("JIDOKA_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn jidoka(&self, arguments: &[&str]) -> Command {
        self.behind("exec \"$@\"", arguments)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.jidoka(arguments).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// The verdicts of all runs, the oldest first.
    fn verdicts(&self) -> Vec<String> {
        let runs = self.json(&["runs", "--json"]);
        runs.as_array().unwrap().iter().map(|run| run["verdict"].as_str().unwrap_or("open").to_owned()).collect()
    }
}

/// What a pipe of Linux holds unless it is asked for another.
const PIPE_BYTES: usize = 64 << 10;

/// Closes a stream after so many lines of it.
fn closed_after(stream: impl Read, lines: usize) {
    BufReader::with_capacity(1, stream).lines().take(lines).for_each(drop);
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
}

#[test]
fn whoever_reads_may_go_away_at_any_line_of_a_run() {
    let host = Host::new(SPENDER);
    let undisturbed = host.jidoka(&["run", "."]).output().unwrap();
    assert_eq!(undisturbed.status.code(), Some(20));
    let lines = undisturbed.stderr.iter().filter(|&&byte| byte == b'\n').count();
    assert!(lines > 5, "{undisturbed:?}");
    let mut runs = 1;
    for line in 0..=lines {
        for (both, arguments) in [(false, &["run", "."][..]), (true, &["run", "."]), (true, &["run", ".", "--json"])] {
            let mut child = host.jidoka(arguments).spawn().unwrap();
            let (stdout, stderr) = (child.stdout.take(), child.stderr.take().unwrap());
            if both {
                drop(stdout);
                closed_after(stderr, line);
                assert_eq!(code(child.wait().unwrap()), 20, "line {line} of {arguments:?}");
            } else {
                closed_after(stderr, line);
                let mut said = String::new();
                stdout.unwrap().read_to_string(&mut said).unwrap();
                assert_eq!(code(child.wait().unwrap()), 20, "line {line} of {arguments:?}");
                assert!(said.starts_with("exhausted: "), "{said}");
            }
            runs += 1;
        }
    }
    assert_eq!(host.verdicts(), vec!["exhausted"; runs]);
}

#[test]
fn a_stream_that_is_full_closed_or_never_read_changes_no_verdict_and_no_exit_code() {
    let host = Host::new(SPENDER);
    let streams = [
        "exec \"$@\" >/dev/full",
        "exec \"$@\" 2>/dev/full",
        "exec \"$@\" >/dev/full 2>&1",
        "exec \"$@\" >&-",
        "exec \"$@\" 2>&-",
        "exec \"$@\" >&- 2>&- <&-",
    ];
    let mut runs = 0;
    for stream in streams {
        for arguments in [&["run", "."][..], &["run", ".", "--json"]] {
            let output = host.behind(stream, arguments).output().unwrap();
            assert_eq!(code(output.status), 20, "{stream} {arguments:?}: {output:?}");
            runs += 1;
        }
    }
    // A pipe that holds as much as it can, and nobody reads it.
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[b'x'; PIPE_BYTES]).unwrap();
    let stuck = host.jidoka(&["run", "."]).stderr(writer).status().unwrap();
    assert_eq!(code(stuck), 20);
    drop(reader);
    assert_eq!(host.verdicts(), vec!["exhausted"; runs + 1]);
    for run in host.json(&["runs", "--json"]).as_array().unwrap() {
        let held = host.jidoka(&["verify", run["serial"].as_str().unwrap()]).output().unwrap();
        assert!(held.status.success(), "a file of the host was written to: {held:?}");
    }
}

#[test]
fn what_could_not_be_written_is_an_exit_code_of_its_own_for_whoever_only_looks() {
    let host = Host::new(SPENDER);
    assert_eq!(code(host.jidoka(&["run", "."]).status().unwrap()), 20);
    let serial = host.json(&["runs", "--json"])[0]["serial"].as_str().unwrap().to_owned();
    let looks: [&[&str]; 9] = [
        &["runs"],
        &["runs", "--json"],
        &["show", &serial],
        &["trace", &serial, "--json"],
        &["why", &serial],
        &["ticket", &serial],
        &["explain", "."],
        &["budget", "show"],
        &["--help"],
    ];
    for arguments in looks {
        let full = host.behind("exec \"$@\" >/dev/full", arguments).output().unwrap();
        assert_eq!(code(full.status), 74, "{arguments:?}: {full:?}");
        assert!(String::from_utf8_lossy(&full.stderr).contains("write to stdout: No space left"), "{full:?}");
        // Who stops reading has read enough.
        let mut left = host.jidoka(arguments).spawn().unwrap();
        drop((left.stdout.take(), left.stderr.take()));
        assert_eq!(code(left.wait().unwrap()), 0, "{arguments:?}");
        // Where the words go that say so is no other trouble.
        let nowhere = host.behind("exec \"$@\" >/dev/full 2>/dev/full", arguments).status().unwrap();
        assert_eq!(code(nowhere), 74, "{arguments:?}");
    }
    let wrong = host.behind("exec \"$@\" 2>/dev/full", &["no-such-command"]).status().unwrap();
    assert_eq!(code(wrong), 2);
    let missing = host.behind("exec \"$@\" 2>&-", &["show", "no-such-run"]).status().unwrap();
    assert_eq!(code(missing), 1);
}

/// What is said up to the first line of a run.
fn until_it_begins(stderr: &mut impl BufRead) -> String {
    let mut said = String::new();
    while !said.lines().last().is_some_and(|line| line.starts_with("run ")) {
        assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "it never began: {said}");
    }
    said
}

/// Starts a run that spins, sends signals once it has begun, and waits for its end.
fn signalled(host: &Host, bash: &str, signals: &[&str]) -> (ExitStatus, String) {
    let mut child = host.behind(bash, &["run", "."]).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = until_it_begins(&mut stderr);
    for signal in signals {
        send(&child, signal);
    }
    stderr.read_to_string(&mut said).unwrap();
    (child.wait().unwrap(), said)
}

fn send(child: &Child, signal: &str) {
    let sent = Command::new("bash").args(["-c", "kill -s $0 $1", signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn a_signal_that_asks_for_the_end_of_a_run_cancels_it_with_a_verdict() {
    let host = Host::new(RUNAWAY);
    for signal in ["HUP", "INT", "TERM", "QUIT"] {
        let (status, said) = signalled(&host, "exec \"$@\"", &[signal]);
        assert_eq!(status.code(), Some(24), "{signal}: {said}");
        assert_eq!(host.verdicts().last().unwrap(), "cancelled", "{signal}: {said}");
        let serial = host.json(&["runs", "--json"]).as_array().unwrap().last().unwrap()["serial"].clone();
        let resume = format!("to go on: jidoka resume {}", serial.as_str().unwrap());
        assert!(said.contains("the run is being stopped") && said.contains(&resume), "{said}");
    }
    let free = host.json(&["budget", "show", "--json"]);
    let scopes = free["scopes"].as_array().unwrap().iter();
    let rows: Vec<&serde_json::Value> = scopes.flat_map(|scope| scope["rows"].as_array().unwrap()).collect();
    assert!(!rows.is_empty() && rows.iter().all(|row| row["reserved"] == 0), "{free}");
}

#[test]
fn a_signal_after_the_verdict_leaves_the_exit_code_of_the_verdict() {
    let host = Host::new(SPENDER);
    let (reader, mut writer) = std::io::pipe().unwrap();
    // As much as a pipe takes: whoever writes next waits for a reader.
    writer.write_all(&vec![b'x'; PIPE_BYTES]).unwrap();
    let mut child = host.jidoka(&["run", "."]).stdout(writer).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    until_it_begins(&mut stderr);
    while host.verdicts().last().is_none_or(|verdict| verdict != "exhausted") {}
    send(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(20));
    drop(reader);
}

#[test]
fn a_hangup_that_was_ignored_from_the_start_stays_ignored() {
    let host = Host::new(RUNAWAY);
    let job = std::fs::read_to_string(host.path("jidoka.toml")).unwrap();
    std::fs::write(host.path("jidoka.toml"), job.replace("\"60s\"", "\"2s\"")).unwrap();
    let (status, said) = signalled(&host, "trap '' HUP; exec \"$@\"", &["HUP"]);
    assert_eq!(status.code(), Some(20), "{said}");
    assert_eq!(host.verdicts(), ["exhausted"]);
}

/// A program that never ends.
const SPINS: &str = r#"(module (memory (export "memory") 1) (func (export "_start") (loop $l (br $l))))"#;

#[test]
fn a_call_that_is_interrupted_has_a_verdict_too() {
    let host = Host::new(RUNAWAY);
    std::fs::write(host.path("spins.wasm"), wat::parse_str(SPINS).unwrap()).unwrap();
    let mut child = host.jidoka(&["call", "spins.wasm", "run", "{}"]).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    until_it_begins(&mut stderr);
    send(&child, "HUP");
    assert_eq!(code(child.wait().unwrap()), 24);
    assert_eq!(host.verdicts(), ["cancelled"]);
}

#[test]
fn a_command_that_fails_leaves_nothing_where_it_would_have_written() {
    let host = Host::new(SPENDER);
    assert_eq!(code(host.jidoka(&["run", "."]).status().unwrap()), 20);
    let serial = host.json(&["runs", "--json"])[0]["serial"].as_str().unwrap().to_owned();
    for arguments in [&["export", "no-such-run", "out"][..], &["fixture", "no-such-run", "out"]] {
        assert_eq!(code(host.jidoka(arguments).output().unwrap().status), 1);
        assert!(!host.path("out").exists(), "{arguments:?}");
    }
    // Half of it is written before something that it needs turns out to be gone.
    std::fs::rename(host.path("state/blobs"), host.path("aside")).unwrap();
    for arguments in [&["export", &serial, "out"][..], &["fixture", &serial, "out"]] {
        let half = host.jidoka(arguments).output().unwrap();
        assert_eq!(code(half.status), 1, "{half:?}");
        assert!(!host.path("out").exists(), "{arguments:?}: {half:?}");
    }
    std::fs::remove_dir_all(host.path("state/blobs")).unwrap();
    std::fs::rename(host.path("aside"), host.path("state/blobs")).unwrap();
    let whole = host.jidoka(&["export", &serial, "out"]).output().unwrap();
    assert_eq!(code(whole.status), 0, "{whole:?}");
    std::fs::create_dir_all(host.path("new/src")).unwrap();
    std::fs::write(host.path("new/transcript.toml"), "mine").unwrap();
    let new = host.jidoka(&["new", "new"]).output().unwrap();
    assert_eq!(code(new.status), 1, "{new:?}");
    let left: Vec<_> = std::fs::read_dir(host.path("new")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(std::fs::read_dir(host.path("new/src")).unwrap().count(), 0);
}

#[test]
fn warnings_are_plain_lines_and_colours_are_for_who_sees_them() {
    let host = Host::new(SPENDER);
    let misread = host.jidoka(&["runs"]).env("JIDOKA_LOG", "no=such=level").output().unwrap();
    let said = String::from_utf8(misread.stderr).unwrap();
    assert!(said.starts_with("warning: JIDOKA_LOG is not understood"), "{said}");
    for arguments in [&["run", "."][..], &["no-such-command"], &["--help"]] {
        let output = host.jidoka(arguments).output().unwrap();
        assert!(![output.stdout, output.stderr].concat().contains(&0x1b), "{arguments:?}");
    }
}
