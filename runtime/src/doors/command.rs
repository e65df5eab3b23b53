//! Commands of the operator: a check in a copy of the result, a hook around a run.
//!
//! Never: runs what the operator did not approve (the job does not load then), inherits more of the environment than it
//! is given, waits for ever. Invariants: a command has ended when its first process has; then, or when its time is up,
//! or when nobody waits for it any more, its whole process group is killed, which nothing in it can refuse. What left
//! the group on purpose (`setsid`, a daemon) is not found again: Linux ties it to us only by a setting of our whole
//! process, under which every orphan of every library would be ours to bury, or by a cgroup or a namespace, which a host
//! may not be allowed to make. Nor is a member killed that took another user's rights, nor anything by a host that is
//! killed itself. None of these keeps anybody waiting: what they still say is not read. A command is native code, for a
//! check over files that an untrusted worker wrote; approving one is the operator's decision.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::maybe_done;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::time::timeout;

use crate::rules::digest::Digest;

/// Variables of the operator's environment that a check's command sees: enough to find programs and toolchains, no
/// secrets.
pub const PASSED_ON: [&str; 7] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "CARGO_HOME", "RUSTUP_HOME"];

/// Bytes of output that are kept, of stdout and stderr each: the tail, where tools say what failed.
const MAX_OUTPUT_BYTES: usize = 16 << 10;

/// What a first process left behind may still write for this long, and the kernel has this long to bury what was
/// killed. Each is beyond the command's time, so it is short; output that was written before is there at once.
const GRACE: Duration = Duration::from_millis(200);

/// Bytes of a file that a fingerprint reads. A program may be larger, and a run waits for the fingerprint.
const MAX_CONTENTS_BYTES: u64 = 64 << 20;

/// Separates this use of BLAKE3 from every other; the number changes with the encoding.
const FINGERPRINT_CONTEXT: &str = "jidoka command fingerprint, encoding 1";

/// What is to be run, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The program and its arguments.
    pub argv: &'a [String],
    pub directory: &'a Path,
    pub environment: &'a CommandEnvironment,
    /// Text on its stdin, of which it may read as much or as little as it likes; `None`: it is empty.
    pub stdin: Option<&'a str>,
    /// Until its first process ends.
    pub time: Duration,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandEnd {
    /// Its first process exited by itself. What it left in its group was killed.
    /// Of the output the first `stdout_bytes` are its stdout.
    Exited { success: bool, status: String, output: String, stdout_bytes: usize },
    /// It ran out of time and was killed with all of its group.
    TimedOut,
    /// It could not be started or watched.
    Broken(String),
}

/// The environment that a command gets, exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandEnvironment(Vec<(String, String)>);

impl CommandEnvironment {
    /// Of the operator's variables those that [`PASSED_ON`] names.
    pub fn from_variables(variables: impl Iterator<Item = (String, String)>) -> Self {
        Self(variables.filter(|(name, _)| PASSED_ON.contains(&name.as_str())).collect())
    }

    /// These and no others. Of two with one name the later one counts.
    pub fn exactly(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// What a command is by its files: its words, and the contents of those that are absolute paths of files, such as its
/// program or its script. Blocking.
pub fn fingerprint(argv: &[String]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(FINGERPRINT_CONTEXT);
    for word in argv {
        hasher.update(&(word.len() as u64).to_le_bytes()).update(word.as_bytes());
        if Path::new(word).is_absolute() {
            // One that cannot be read is known by its name alone.
            hasher.update(contents(word).unwrap_or_default().as_bytes());
        }
    }
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// The digest of a regular file's contents; of a larger file the digest of its first bytes, its length and its modification
/// time. Empty for anything else.
fn contents(path: &str) -> io::Result<String> {
    use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
    let file = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
    let about = fstat(&file)?;
    if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
        return Ok(String::new());
    }
    let mut hasher = blake3::Hasher::new();
    let read = io::copy(&mut io::Read::take(std::fs::File::from(file), MAX_CONTENTS_BYTES), &mut hasher)?;
    if read == MAX_CONTENTS_BYTES {
        hasher.update(format!("{} {} {}", about.st_size, about.st_mtime, about.st_mtime_nsec).as_bytes());
    }
    Ok(hasher.finalize().to_string())
}

/// Runs a command. It takes at most its time and twice the grace in which output is read to its end.
pub async fn run(order: &Order<'_>) -> CommandEnd {
    let [program, arguments @ ..] = order.argv else {
        return CommandEnd::Broken("the command is empty".into());
    };
    // Before there is a child: a parent that ignores this signal has its children buried before it can look at them.
    let ends = match signal(SignalKind::child()) {
        Ok(ends) => ends,
        Err(error) => return CommandEnd::Broken(format!("{program} could not be watched: {error}")),
    };
    let spawned = Command::new(program)
        .args(arguments)
        .current_dir(order.directory)
        .env_clear()
        .envs(order.environment.0.iter().map(|(name, value)| (name, value)))
        .stdin(if order.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let child = match spawned {
        Ok(child) => child,
        Err(error) => return CommandEnd::Broken(format!("{program} could not be started: {error}")),
    };
    match watch(Group::led_by(child), ends, order).await {
        Ok(end) => end,
        Err(error) => CommandEnd::Broken(format!("{program} could not be watched: {error}")),
    }
}

async fn watch(mut group: Group, ends: Signals, order: &Order<'_>) -> io::Result<CommandEnd> {
    let leader = &mut group.leader;
    let (stdin, stdout, stderr) = (leader.stdin.take(), leader.stdout.take(), leader.stderr.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let in_time = {
        let mut reading = pin!(maybe_done(async { tokio::join!(tail(stdout, &mut out), tail(stderr, &mut err)) }));
        let talking = async {
            tokio::join!(&mut reading, tell(stdin, order.stdin));
            std::future::pending().await
        };
        let exited = async {
            tokio::select! {
                exited = group.leader_ended(ends) => exited,
                exited = talking => exited,
            }
        };
        match timeout(order.time, exited).await {
            Err(_) => false,
            Ok(exited) => {
                exited?;
                let _ = timeout(GRACE, reading).await;
                true
            }
        }
    };
    let status = group.end().await;
    if !in_time {
        return Ok(CommandEnd::TimedOut);
    }
    let status = status?;
    let text = |kept: Vec<u8>| String::from_utf8_lossy(&kept).into_owned();
    let mut output = text(out);
    let stdout_bytes = output.len();
    output.push_str(&text(err));
    Ok(CommandEnd::Exited { success: status.success(), status: status.to_string(), output, stdout_bytes })
}

/// Writes all of a text, or as much as is read. One who does not read it is no error.
async fn tell(stdin: Option<impl AsyncWriteExt + Unpin>, text: Option<&str>) {
    if let (Some(mut stdin), Some(text)) = (stdin, text) {
        let _ = stdin.write_all(text.as_bytes()).await;
    }
}

/// Keeps the last bytes of a stream, read to its end.
async fn tail(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    let mut chunk = vec![0; 8 << 10];
    // A pipe that cannot be read has no more to say.
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..read]);
        let over = kept.len().saturating_sub(MAX_OUTPUT_BYTES);
        kept.drain(..over);
    }
}

/// A process group that ends with its owner, however that comes about.
///
/// It is killed once, and its leader is buried only after that: until then the number of the group is nobody else's, so
/// the blow meets no stranger. One is enough, because the kernel lets no member fork past it.
pub(super) struct Group {
    leader: Child,
    /// `None`: it was killed.
    number: Option<Pid>,
}

impl Group {
    /// Of a child that was made the leader of a group of its own, and that nobody has waited for.
    pub(super) fn led_by(leader: Child) -> Self {
        let number = leader.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Self { leader, number }
    }

    /// Until the leader has ended. It is not buried yet then. `ends` tells of every child that ends.
    async fn leader_ended(&self, mut ends: Signals) -> io::Result<()> {
        let leader = self.number.ok_or_else(|| io::Error::other("it has no number"))?;
        let only_look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while rustix::process::waitid(WaitId::Pid(leader), only_look)?.is_none() {
            ends.recv().await;
        }
        Ok(())
    }

    /// Kills all of it and buries the leader.
    async fn end(mut self) -> io::Result<ExitStatus> {
        self.kill();
        let buried = timeout(GRACE, self.leader.wait()).await;
        // Past it the leader hangs in the kernel; tokio buries it once that lets go.
        buried.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
    }

    fn kill(&mut self) {
        let Some(number) = self.number.take() else { return };
        // It fails if nothing is left in the group that could be killed, which is what is wanted.
        let _ = rustix::process::kill_process_group(number, Signal::KILL);
        // A leader can have gone into another group.
        let _ = self.leader.start_kill();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tokio::time::Instant;

    use super::*;

    /// Far above what anything here takes that is not stuck.
    const LONG: Duration = Duration::from_secs(30);

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    fn named(variables: &[(&str, &str)]) -> CommandEnvironment {
        CommandEnvironment::exactly(variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())))
    }

    async fn bash(script: &str, stdin: Option<&str>, time: Duration) -> CommandEnd {
        let environment = CommandEnvironment::from_variables(std::env::vars());
        let argv = argv(&["bash", "-c", script]);
        run(&Order { argv: &argv, directory: Path::new("/"), environment: &environment, stdin, time }).await
    }

    async fn run_in(environment: &CommandEnvironment, words: &[&str]) -> CommandEnd {
        let argv = argv(words);
        run(&Order { argv: &argv, directory: Path::new("/"), environment, stdin: None, time: LONG }).await
    }

    /// A place where a script leaves the number of a process.
    struct Note(tempfile::TempDir);

    impl Note {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a directory"))
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("number")
        }

        fn number(&self) -> String {
            let number = std::fs::read_to_string(self.path()).expect("the process started");
            number.trim().to_owned()
        }

        /// Waits until the process does nothing any more.
        async fn gone(&self) {
            let stat = format!("/proc/{}/stat", self.number());
            for _ in 0..500 {
                if std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z ")) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("the process lives on");
        }
    }

    #[tokio::test]
    async fn the_exit_status_decides_and_the_output_is_kept() {
        let end = bash("echo out; echo err >&2; exit 3", None, LONG).await;
        let CommandEnd::Exited { success, output, .. } = end else { panic!("{end:?}") };
        assert!(!success);
        assert_eq!(output, "out\nerr\n");
    }

    #[tokio::test]
    async fn only_the_named_variables_are_passed_on() {
        let variables = [("PATH", "/bin:/usr/bin"), ("OPENAI_API_KEY", "canary")];
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = CommandEnvironment::from_variables(variables);
        let end = run_in(&environment, &["env"]).await;
        let CommandEnd::Exited { output, .. } = end else { panic!("{end:?}") };
        assert!(output.contains("PATH=") && !output.contains("canary"), "{output}");
    }

    #[tokio::test]
    async fn an_exact_environment_is_exactly_that() {
        assert!(std::env::var_os("PATH").is_some(), "there is something to inherit");
        for (variables, expected) in [
            (named(&[]), ""),
            (named(&[("A", "1"), ("B", "")]), "A=1\nB=\n"),
            (named(&[("A", "theirs"), ("A", "ours")]), "A=ours\n"),
        ] {
            let end = run_in(&variables, &["/usr/bin/env"]).await;
            let CommandEnd::Exited { output, .. } = end else { panic!("{end:?}") };
            assert_eq!(output, expected);
        }
    }

    #[tokio::test]
    async fn a_command_reads_its_whole_text() {
        let text = "x".repeat(1 << 20);
        let end = bash("wc -c", Some(&text), LONG).await;
        let CommandEnd::Exited { success: true, output, .. } = end else { panic!("{end:?}") };
        assert_eq!(output.trim(), "1048576");
    }

    #[tokio::test]
    async fn a_text_that_is_not_read_keeps_nobody_waiting() {
        // More than any pipe holds.
        let text = "x".repeat(4 << 20);
        for script in ["true", "exec <&-; sleep 0.1", "head -c 9 >/dev/null"] {
            let end = bash(script, Some(&text), LONG).await;
            assert!(matches!(end, CommandEnd::Exited { success: true, .. }), "{script}: {end:?}");
        }
        assert_eq!(bash("sleep 60", Some(&text), Duration::from_millis(300)).await, CommandEnd::TimedOut);
    }

    #[tokio::test]
    async fn a_command_out_of_time_is_killed_with_its_children() {
        let note = Note::new();
        let script = format!("(sleep 60 & echo $! > {}; wait)", note.path().display());
        assert_eq!(bash(&script, None, Duration::from_millis(500)).await, CommandEnd::TimedOut);
        note.gone().await;
    }

    #[tokio::test]
    async fn a_command_that_refuses_to_end_is_killed() {
        let end = bash("trap '' TERM INT HUP; while :; do sleep 0.05; done", None, Duration::from_millis(300)).await;
        assert_eq!(end, CommandEnd::TimedOut);
    }

    #[tokio::test]
    async fn what_a_command_leaves_behind_is_killed_and_keeps_nobody_waiting() {
        // With the command's pipes and without them, and as an orphan of an orphan.
        for left in
            ["sleep 60 &", "sleep 60 </dev/null >/dev/null 2>&1 &", "(bash -c 'echo $$ > {}; exec sleep 60' &) ;"]
        {
            let note = Note::new();
            let path = note.path().display().to_string();
            let left = left.replace("{}", &path);
            let script =
                format!("{left} [ -s {path} ] || echo $! > {path}; while [ ! -s {path} ]; do :; done; echo out");
            let began = Instant::now();
            let end = bash(&script, None, LONG).await;
            assert!(began.elapsed() < LONG / 2, "{left}");
            let CommandEnd::Exited { success: true, output, .. } = end else { panic!("{end:?}") };
            assert_eq!(output, "out\n", "{left}");
            note.gone().await;
        }
    }

    #[tokio::test]
    async fn what_left_the_group_keeps_nobody_waiting() {
        let note = Note::new();
        // With job control each job is a group of its own. It holds the command's pipes.
        let script = format!("set -m; sleep 60 & echo $! > {}; echo out", note.path().display());
        let began = Instant::now();
        let end = bash(&script, None, LONG).await;
        assert!(began.elapsed() < LONG / 2);
        assert!(matches!(&end, CommandEnd::Exited { success: true, output, .. } if output == "out\n"), "{end:?}");
        let number = note.number().parse().expect("a number");
        // It lives, which the head of this file says; this test ends it.
        let stranger = Pid::from_raw(number).expect("a number of a process");
        rustix::process::kill_process(stranger, Signal::KILL).expect("it is there");
        note.gone().await;
    }

    #[tokio::test]
    async fn a_command_that_nobody_waits_for_any_more_is_killed() {
        let note = Note::new();
        let script = format!("sleep 60 & echo $! > {}; wait", note.path().display());
        {
            let mut running = pin!(bash(&script, None, LONG));
            while !note.path().exists() || note.number().is_empty() {
                let _ = timeout(Duration::from_millis(10), &mut running).await;
            }
        }
        note.gone().await;
    }

    #[test]
    fn a_fingerprint_is_of_the_words_and_of_the_files_that_they_name() {
        let note = Note::new();
        let script = note.path().display().to_string();
        let of = |words: &[&str]| fingerprint(&argv(words));
        let absent = of(&["/bin/sh", &script]);
        std::fs::write(note.path(), "exit 1").expect("writes");
        let first = of(&["/bin/sh", &script]);
        std::fs::write(note.path(), "exit 0").expect("writes");
        let second = of(&["/bin/sh", &script]);
        std::fs::write(note.path(), "exit 1").expect("writes");
        assert_eq!(of(&["/bin/sh", &script]), first);
        let others = [absent, second, of(&["/bin/sh", "-e", &script]), of(&["sh", &script]), of(&["sh", "note"])];
        assert!(!others.contains(&first));
        assert_ne!(of(&["a", "b"]), of(&["ab"]));
        assert_eq!(of(&["cat", "/dev/zero"]), of(&["cat", "/dev/zero"]), "what is no file is not read");
    }

    #[test]
    fn a_file_is_known_by_its_beginning_its_length_and_its_time_from_n_bytes_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("program");
        let of = |bytes: u64, at_s: u64| {
            let file = std::fs::File::create(&path).expect("made");
            file.set_len(bytes).expect("grown");
            file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(at_s)).expect("set");
            fingerprint(&argv(&[&path.display().to_string()]))
        };
        assert_eq!(of(MAX_CONTENTS_BYTES - 1, 1), of(MAX_CONTENTS_BYTES - 1, 2));
        let first = of(MAX_CONTENTS_BYTES, 1);
        assert_ne!(first, of(MAX_CONTENTS_BYTES, 2));
        assert_eq!(first, of(MAX_CONTENTS_BYTES, 1));
        assert_ne!(of(MAX_CONTENTS_BYTES + 1, 1), first);
    }

    #[tokio::test]
    async fn a_missing_program_is_broken_not_passed() {
        let end = run_in(&CommandEnvironment::default(), &["/no/such/program"]).await;
        assert!(matches!(end, CommandEnd::Broken(_)));
    }

    #[tokio::test]
    async fn output_is_kept_up_to_n_bytes_and_what_is_over_is_dropped() {
        let printed = async |bytes: usize| {
            let script = format!("printf 'a%.0s' {{1..{bytes}}}; printf end >&2");
            let CommandEnd::Exited { success: true, output, .. } = bash(&script, None, LONG).await else {
                panic!("it prints");
            };
            output.len() - "end".len()
        };
        assert_eq!(printed(MAX_OUTPUT_BYTES).await, MAX_OUTPUT_BYTES);
        assert_eq!(printed(MAX_OUTPUT_BYTES + 1).await, MAX_OUTPUT_BYTES);
    }
}
