//! The saboteur: scripted runs of the real program, while something else edits, removes, moves, locks, fills and kills around
//! them. After each round the promises about a person's files are checked.
//!
//! Invariants checked here: every text that a person wrote is still somewhere in the real directories, unless a run that
//! began later was accepted and replaced it, or a person removed it; nothing is there that neither a person nor an accepted
//! run wrote, and nothing is gone that neither removed; screen, exit code, `verdict.json`, journal and item agree; a missing
//! store is refused. Never: sleeps in a test's place of a condition (its pauses only spread what it does over a run).

mod acts;
mod truth;

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use self::acts::Saboteur;
use self::truth::{Truth, Written};
use crate::chaos::Dice;
use crate::plain;

/// A round that takes longer than this hangs.
const LONGEST_ROUND: Duration = Duration::from_secs(120);

/// What a session of the saboteur is.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    pub seed: u64,
    /// Runs to start.
    pub runs: u64,
    /// Processes at once.
    pub hosts: usize,
    /// State directories, which the processes take in turn.
    pub states: usize,
}

/// What happened in a session.
#[derive(Debug, Default)]
pub struct Report {
    pub runs: u64,
    /// By verdict, and `killed` for runs that could not say one.
    pub ends: std::collections::BTreeMap<String, u64>,
    /// Why runs were not admitted, without numbers.
    pub reasons: std::collections::BTreeMap<String, u64>,
    /// Lines that were stopped, and that a person let go on.
    pub cleared: Vec<String>,
    /// What the saboteur did, by name.
    pub acts: std::collections::BTreeMap<&'static str, u64>,
}

/// The real program, as the tests were built. A build from within a test would see another environment than the one around it,
/// and both would build everything anew in turn.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let this = std::env::current_exe().expect("this program");
        let release = this.ancestors().find(|path| path.ends_with("release")).expect("tests are built with --release");
        let program = release.join("jidoka");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/src");
        let built = std::fs::metadata(&program).and_then(|about| about.modified());
        let is_fresh = built.is_ok_and(|built| built >= latest(&sources));
        assert!(is_fresh, "{} is not there, or older than its sources: cargo build --release", program.display());
        program
    })
}

/// When something below a directory was changed for the last time.
fn latest(dir: &Path) -> SystemTime {
    let entries = std::fs::read_dir(dir).expect("the sources");
    let changed = entries.map(|entry| {
        let path = entry.expect("an entry").path();
        let own = std::fs::metadata(&path).and_then(|about| about.modified()).expect("its time");
        if path.is_dir() { own.max(latest(&path)) } else { own }
    });
    changed.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Real directories, state directories and jobs below one directory.
pub struct World {
    dir: tempfile::TempDir,
    session: Session,
}

impl World {
    pub fn place(&self, place: usize) -> PathBuf {
        self.dir.path().join(format!("place-{place}"))
    }

    pub fn state(&self, host: usize) -> PathBuf {
        self.dir.path().join(format!("state-{}", host % self.session.states))
    }

    fn states(&self) -> impl Iterator<Item = PathBuf> {
        (0..self.session.states).map(|state| self.state(state))
    }

    fn command(&self, state: &Path) -> Command {
        let mut command = Command::new(program());
        command.env_clear().env("HOME", self.dir.path()).env("NO_COLOR", "1").env("PATH", "/usr/bin:/bin");
        command.arg("--state").arg(state).stdin(Stdio::null());
        command
    }

    /// What a command prints as JSON.
    fn json(&self, state: &Path, arguments: &[&str]) -> Value {
        let output = self.command(state).args(arguments).output().expect("the program starts");
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
    }
}

/// Real directories that runs and persons share.
pub const PLACES: usize = 3;
/// Files of a person's that each of them begins with.
const SEEDS: usize = 10;

/// A run to be: its job, and what its worker does.
#[derive(Clone, Debug)]
struct Work {
    number: u64,
    place: usize,
    item: String,
    written: Vec<Written>,
    lines: Vec<String>,
}

/// A run on its way.
struct Running {
    work: Work,
    host: usize,
    state: PathBuf,
    child: Child,
    /// Whether it was told to end before its time.
    killed: bool,
    blobs_touched: u64,
}

/// Plays a session.
///
/// # Panics
/// If a promise does not hold; the message says which, and how to play the session again.
pub fn play(session: Session) -> Report {
    let world = World { dir: tempfile::tempdir().expect("a directory"), session };
    let dice = Dice::new(session.seed);
    let mut truth = Truth::default();
    for place in 0..PLACES {
        std::fs::create_dir_all(world.place(place)).expect("a directory");
        for seed in 0..SEEDS {
            let path = format!("seed-{seed}.txt");
            truth.person_writes(&world.place(place), place, &path);
        }
    }
    let mut report = Report::default();
    let mut again: Vec<Work> = Vec::new();
    while report.runs < session.runs {
        let mut running: Vec<Running> = Vec::new();
        for host in 0..session.hosts {
            let work = match again.pop().filter(|_| !dice.once_in(3)) {
                Some(work) => work,
                None => work(report.runs, &dice),
            };
            report.runs += 1;
            running.push(start(&world, &dice, Peace::No, work, host, truth.blobs_touched()));
        }
        let mut saboteur = Saboteur { world: &world, dice: &dice, truth: &mut truth, acts: &mut report.acts };
        let ended = saboteur.disturb(&mut running);
        let mut killed = Vec::new();
        for (run, status, stdout, stderr) in ended {
            let context = format!("{session:?}: run {} on {}: {stderr}", run.work.number, run.state.display());
            let end = judge(&world, &mut truth, &run, status, &stdout, &context);
            if end == "not-admitted" {
                *report.reasons.entry(reason(&stdout)).or_default() += 1;
            }
            match end.as_str() {
                "accepted" => {}
                "killed" => killed.push((run.work, run.host)),
                _ => again.push(run.work),
            }
            *report.ends.entry(end).or_default() += 1;
        }
        settle(&world, &mut truth, &report, killed);
        world.states().for_each(|state| report.cleared.extend(clear(&world, &state)));
        truth.check(&world).unwrap_or_else(|broken| panic!("{session:?}: after run {}: {broken}", report.runs));
        if report.runs % 20 < session.hosts as u64 {
            refuses_without_its_store(&world, &format!("{session:?}"));
        }
    }
    report
}

/// A worker's script: what it writes and removes, with pauses in which others may come.
fn work(number: u64, dice: &Dice) -> Work {
    let place = usize::try_from(dice.roll(PLACES as u64)).expect("small");
    let (mut written, mut lines) = (Vec::new(), Vec::new());
    for line in 0..2 + dice.roll(5) {
        let text = format!("W{number}.{line};");
        let path = match dice.roll(6) {
            0 | 1 => format!("own-{number}-{line}.txt"),
            2 => format!("dir-{number}/below-{line}.txt"),
            3 => format!("shared-{}.txt", dice.roll(4)),
            4 => format!("seed-{}.txt", dice.roll(SEEDS as u64)),
            _ => {
                let path = format!("seed-{}.txt", dice.roll(SEEDS as u64));
                lines.push(format!("write {path} doomed"));
                lines.push(format!("remove {path}"));
                written.retain(|earlier: &Written| earlier.path != path);
                written.push(Written { path, text: None });
                continue;
            }
        };
        if let Some((above, _)) = path.split_once('/') {
            lines.push(format!("mkdir {above}"));
        }
        lines.push(format!("write {path} {text}"));
        written.retain(|earlier| earlier.path != path);
        written.push(Written { path, text: Some(text) });
        match dice.roll(3) {
            0 => lines.push(format!("sleep {}", 10 + dice.roll(120))),
            1 => lines.push("check-in going on".to_owned()),
            _ => {}
        }
    }
    lines.push("done as told".to_owned());
    Work { number, place, item: format!("item-{number}"), written, lines }
}

/// Whether a run is left alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Peace {
    Yes,
    No,
}

fn start(world: &World, dice: &Dice, peace: Peace, work: Work, host: usize, blobs_touched: u64) -> Running {
    let job = world.dir.path().join("jobs").join(format!("job-{}", work.number));
    std::fs::create_dir_all(&job).expect("a directory");
    let worker = job.join("worker.wasm");
    if !worker.exists() {
        std::fs::copy(plain::SCRIPT, &worker).expect("the build script made it");
    }
    let text = format!(
        "line = \"sabotage\"\nitem = {:?}\n[worker]\ncomponent = \"worker.wasm\"\n[task]\ntext = {:?}\n\
         [workspace]\ndir = {:?}\n[grants]\nfiles = \"read-write\"\n[budget]\nwall = \"20s\"\n\
         [attempts]\nmax = 100\nbackoff = \"0s\"\n[done]\nmarks = [\"tree\"]\ntree = [\".\"]\n",
        work.item,
        work.lines.join("\n"),
        world.place(work.place).to_str().expect("a text"),
    );
    std::fs::write(job.join("jidoka.toml"), text).expect("writes");
    let state = world.state(host);
    let mut command = match peace == Peace::No && dice.once_in(12) {
        // No file may grow past this: writes fail as they do on a full disk.
        true => {
            let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", 200 + dice.roll(2_000));
            let mut command = Command::new("bash");
            command.env_clear().env("HOME", world.dir.path()).env("PATH", "/usr/bin:/bin");
            command.args(["-c", &script]).arg(program()).arg("--state").arg(&state).stdin(Stdio::null());
            command
        }
        false => world.command(&state),
    };
    command.args(["run", "--json"]).arg(&job).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the program starts");
    Running { work, host, state, child, killed: false, blobs_touched }
}

/// What the run came to, if all who say it say the same.
fn judge(
    world: &World,
    truth: &mut Truth,
    run: &Running,
    status: std::process::ExitStatus,
    stdout: &[u8],
    context: &str,
) -> String {
    let Some(code) = status.code() else {
        // In its first moments a process has not asked to be told of signals yet.
        let ended_by = status.signal();
        assert!(matches!(ended_by, Some(1 | 9 | 15)) && run.killed, "{context}: ended by signal {ended_by:?}");
        return "killed".to_owned();
    };
    assert!(!matches!(code, 2 | 101 | 134), "{context}: exit code {code}");
    let record: Value = serde_json::from_slice(stdout).unwrap_or_default();
    if record["verdict"].is_null() {
        // 129 and 143: it was told to end before its run had begun.
        let is_told = matches!(code, 129 | 143) && run.killed;
        assert!(code == 1 || is_told, "{context}: exit code {code} without a verdict");
        return "nothing".to_owned();
    }
    let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
    let (verdict, serial) = (text("verdict"), text("serial"));
    assert_eq!(record["exit_code"].as_i64(), Some(i64::from(code)), "{context}: the exit code is the verdict's");
    let kept = run.state.join("runs").join(&serial).join("verdict.json");
    if let Ok(kept) = std::fs::read(&kept) {
        let kept: Value = serde_json::from_slice(&kept).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(kept["verdict"], record["verdict"], "{context}: verdict.json says what the screen says");
    }
    let rows = world.json(&run.state, &["runs", "--json"]);
    let row = rows.as_array().into_iter().flatten().find(|row| row["serial"] == record["serial"]);
    match (row, verdict.as_str()) {
        // A store that could not be written says nothing, and the screen has said so.
        (None, "not-admitted" | "fault" | "attempts-exhausted") => {}
        (None, _) => panic!("{context}: {verdict} on the screen, and no run in the store"),
        (Some(row), "fault") if row["verdict"].is_null() => {}
        (Some(row), _) => assert_eq!(row["verdict"], record["verdict"], "{context}: the journal says the same"),
    }
    if verdict == "accepted" {
        let opened_ms = row.and_then(|row| row["opened_ms"].as_u64()).unwrap_or(0);
        truth.accepted(run.work.place, &run.work.written, opened_ms);
        let items = world.json(&run.state, &["items", "list", "--json"]);
        let item = items.as_array().into_iter().flatten().find(|item| {
            item["item"]
                .as_str()
                .is_some_and(|name| name == run.work.item || name.ends_with(&format!("/{}", run.work.item)))
        });
        assert_eq!(item.map(|item| &item["state"]), Some(&Value::from("accepted")), "{context}: {items}");
        if truth.blobs_touched() == run.blobs_touched {
            let verified = world.command(&run.state).args(["verify", &serial]).output().expect("starts");
            let said = String::from_utf8_lossy(&verified.stdout);
            assert!(verified.status.success(), "{context}: accepted, and cannot be verified: {said}");
        }
    }
    verdict
}

/// Runs in peace: each that was killed once more, and one in each place in which an apply was left in the middle. What was
/// committed is finished, and is accepted.
fn settle(world: &World, truth: &mut Truth, report: &Report, killed: Vec<(Work, usize)>) {
    let session = world.session;
    let in_peace = |work: Work, host: usize| {
        let run = start(world, &Dice::new(session.seed), Peace::Yes, work, host, 0);
        let output = run.child.wait_with_output().expect("ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code().is_some_and(|code| code != 101), "{session:?}: a run in peace: {said}");
    };
    killed.into_iter().for_each(|(work, host)| in_peace(work, host));
    for place in (0..PLACES).filter(|place| truth.is_interrupted(&world.place(*place))) {
        for host in 0..session.states {
            let number = 1_000_000 + report.runs * 10 + host as u64;
            let lines = vec!["no-change-needed nothing to do".to_owned()];
            in_peace(Work { number, place, item: format!("calm-{number}"), written: Vec::new(), lines }, host);
        }
        assert!(!truth.is_interrupted(&world.place(place)), "{session:?}: place {place}: an apply is never finished");
    }
    // What others finished for a run that was killed is accepted: the store says so.
    for state in world.states() {
        if !state.join("ledger.sqlite").exists() {
            continue;
        }
        let rows = world.json(&state, &["runs", "--json"]);
        for row in rows.as_array().into_iter().flatten() {
            let item = row["item"].as_str().unwrap_or_default();
            let number = item.strip_prefix("item-").and_then(|number| number.parse().ok());
            if let (Some(number), Some("accepted")) = (number, row["verdict"].as_str()) {
                truth.accepted_by_number(number, world, row["opened_ms"].as_u64().unwrap_or(0));
            }
        }
    }
}

/// Why a run was not admitted, without what is another each time.
fn reason(stdout: &[u8]) -> String {
    let record: Value = serde_json::from_slice(stdout).unwrap_or_default();
    let why = record["why"].as_str().unwrap_or_default();
    let words = why.split(' ').filter(|word| !word.contains(|char: char| char.is_ascii_digit()));
    words.take(14).collect::<Vec<_>>().join(" ")
}

/// What a person does about a line that was stopped. Returns what it was stopped for.
fn clear(world: &World, state: &Path) -> Option<String> {
    if !state.join("ledger.sqlite").exists() {
        return None;
    }
    let pulls = world.json(state, &["andon", "list", "--json"]);
    pulls.as_array().filter(|stopped| !stopped.is_empty())?;
    let clear = ["andon", "clear", "default/sabotage", "--cause", "the saboteur", "--no-policy-change"];
    let cleared = world.command(state).args(clear).output().expect("starts");
    let said = String::from_utf8_lossy(&cleared.stderr);
    assert!(cleared.status.success(), "{:?}: a stopped line cannot be cleared: {said}", world.session);
    Some(pulls[0]["lock"]["first"]["category"].as_str().unwrap_or_default().to_owned())
}

/// Without its store a state directory that has runs is refused, and no new store is made.
fn refuses_without_its_store(world: &World, context: &str) {
    for state in world.states().filter(|state| state.join("ledger.sqlite").exists()) {
        let (store, aside) = (state.join("ledger.sqlite"), state.join("aside.sqlite"));
        std::fs::rename(&store, &aside).expect("nobody has it open");
        let output = world.command(&state).args(["runs"]).output().expect("starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && !store.exists(), "{context}: a new store in silence: {said}");
        std::fs::rename(&aside, &store).expect("goes back");
    }
}

fn until(deadline: Instant, context: &str) {
    assert!(Instant::now() < deadline, "{context}: it hangs");
}
