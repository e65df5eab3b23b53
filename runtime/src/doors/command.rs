//! Commands of the operator, run for a check in a copy of the result.
//!
//! Never: runs what the operator did not approve (the job does not load then), inherits more of the environment than
//! [`PASSED_ON`], outlives its time: its whole process group is killed, which a program that makes a group of its own can leave. A command is native code over files that an
//! untrusted worker wrote; approving one is the operator's decision.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

/// Variables of the operator's environment that a command sees: enough to find programs and toolchains, no secrets.
pub const PASSED_ON: [&str; 7] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "CARGO_HOME", "RUSTUP_HOME"];

/// Bytes of output that are kept, of stdout and stderr each: the tail, where tools say what failed.
const MAX_OUTPUT_BYTES: usize = 16 << 10;

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandEnd {
    /// It exited by itself.
    Exited { success: bool, status: String, output: String },
    /// It ran out of time and was killed with all that it started.
    TimedOut,
    /// It could not be started or watched.
    Broken(String),
}

/// The environment that commands get, as the operator's process had it.
#[derive(Clone, Debug, Default)]
pub struct CommandEnvironment(Vec<(String, String)>);

impl CommandEnvironment {
    /// Keeps what [`PASSED_ON`] names.
    pub fn from_variables(variables: impl Iterator<Item = (String, String)>) -> Self {
        Self(variables.filter(|(name, _)| PASSED_ON.contains(&name.as_str())).collect())
    }
}

/// Runs a command in `directory` for at most `time`.
pub async fn run(argv: &[String], directory: &Path, time: Duration, environment: &CommandEnvironment) -> CommandEnd {
    let [program, arguments @ ..] = argv else {
        return CommandEnd::Broken("the command is empty".into());
    };
    let spawned = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .envs(environment.0.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return CommandEnd::Broken(format!("{program} could not be started: {error}")),
    };
    let group = Group(child.id());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    match tokio::time::timeout(time, finish(&mut child, stdout, stderr)).await {
        Err(_) => {
            drop(group);
            CommandEnd::TimedOut
        }
        Ok(Err(error)) => CommandEnd::Broken(format!("{program} could not be watched: {error}")),
        Ok(Ok((success, status, output))) => CommandEnd::Exited { success, status, output },
    }
}

async fn finish(
    child: &mut Child,
    stdout: Option<impl AsyncRead + Unpin>,
    stderr: Option<impl AsyncRead + Unpin>,
) -> std::io::Result<(bool, String, String)> {
    let (out, err, status) = tokio::join!(tail(stdout), tail(stderr), child.wait());
    let status = status?;
    Ok((status.success(), status.to_string(), format!("{}{}", out?, err?)))
}

/// The last bytes of a stream, read to its end.
async fn tail(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<String> {
    let Some(mut stream) = stream else { return Ok(String::new()) };
    let (mut kept, mut chunk) = (Vec::new(), vec![0; 8 << 10]);
    loop {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Ok(String::from_utf8_lossy(&kept).into_owned());
        }
        kept.extend_from_slice(&chunk[..read]);
        let over = kept.len().saturating_sub(MAX_OUTPUT_BYTES);
        kept.drain(..over);
    }
}

/// A process group that ends with its owner, however that comes about.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let leader = self.0.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(leader) = leader {
            // It fails if the group is already empty, which is what is wanted.
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    async fn sh(script: &str, time: Duration) -> CommandEnd {
        let environment = CommandEnvironment::from_variables(std::env::vars());
        run(&argv(&["sh", "-c", script]), Path::new("/"), time, &environment).await
    }

    #[tokio::test]
    async fn the_exit_status_decides_and_the_output_is_kept() {
        let end = sh("echo out; echo err >&2; exit 3", Duration::from_secs(20)).await;
        let CommandEnd::Exited { success, output, .. } = end else { panic!("{end:?}") };
        assert!(!success);
        assert_eq!(output, "out\nerr\n");
    }

    #[tokio::test]
    async fn only_the_named_variables_are_passed_on() {
        let variables = [("PATH", "/bin:/usr/bin"), ("OPENAI_API_KEY", "canary")];
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = CommandEnvironment::from_variables(variables);
        let end = run(&argv(&["env"]), Path::new("/"), Duration::from_secs(20), &environment).await;
        let CommandEnd::Exited { output, .. } = end else { panic!("{end:?}") };
        assert!(output.contains("PATH=") && !output.contains("canary"), "{output}");
    }

    #[tokio::test]
    async fn a_command_out_of_time_is_killed_with_its_children() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("child");
        let script = format!("(sleep 60 & echo $! > {}; wait)", file.display());
        assert_eq!(sh(&script, Duration::from_millis(500)).await, CommandEnd::TimedOut);
        let child = std::fs::read_to_string(&file).expect("the child started");
        let stat = format!("/proc/{}/stat", child.trim());
        let gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        for _ in 0..100 {
            if gone() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the child lives on");
    }

    #[tokio::test]
    async fn a_missing_program_is_broken_not_passed() {
        let environment = CommandEnvironment::default();
        let end = run(&argv(&["/no/such/program"]), Path::new("/"), Duration::from_secs(1), &environment).await;
        assert!(matches!(end, CommandEnd::Broken(_)));
    }
}
