//! Programs of WASI that others wrote, under plain wasmtime and under our host: what is not the same is told, and must be expected.
//!
//! `wasi DIR EXPECTED`: DIR has a directory for each suite, with `NAME.wasm`, perhaps `NAME.json` (arguments, variables, root, what
//! is to come out), and the roots. EXPECTED is a table of the differences that are known, each with its reason. The program fails
//! if a difference is not in it, and if one that is in it is gone. `tests/peers/wasi.sh` makes DIR.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jidoka::rules::effect::{Body, OutcomeName, Stream};
use jidoka_tests::bench::{Bench, Home};
use serde_json::Value;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Engine, Store};
use wasmtime_wasi::filesystem::FsPerms;
use wasmtime_wasi::p2::bindings::Command;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

/// Bytes of output that are compared; our host keeps as many.
const OUTPUT_BYTES: usize = 64 << 10;

/// For one program; none works for longer than a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program of a suite.
struct Program {
    name: String,
    component: Vec<u8>,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    root: Option<PathBuf>,
    /// What its suite says of it.
    exit_code: i64,
    stdout: Option<String>,
}

/// What came of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Came {
    end: Ended,
    stdout: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Ended {
    Exited(i64),
    Trapped,
    /// It did not run, or our host stopped it.
    Refused(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Exited(code) => write!(formatter, "exit {code}"),
            Ended::Trapped => formatter.write_str("trap"),
            Ended::Refused(verdict) => formatter.write_str(verdict),
        }
    }
}

impl Program {
    fn read(wasm: &Path) -> Self {
        let stem = wasm.file_stem().and_then(|name| name.to_str()).expect("a name of its suite");
        let dir = wasm.parent().expect("is in its suite");
        let suite = dir.file_name().and_then(|name| name.to_str()).expect("a name of ours");
        let said = std::fs::read(wasm.with_extension("json")).unwrap_or_else(|_| b"{}".to_vec());
        let said: Value = serde_json::from_slice(&said).expect("its suite wrote JSON");
        let texts = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
        };
        let env = said["env"].as_object().into_iter().flatten();
        Self {
            name: format!("{suite}/{stem}"),
            component: std::fs::read(wasm).expect("is there"),
            args: [format!("{stem}.wasm")].into_iter().chain(texts(&said["args"])).collect(),
            env: env.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect(),
            root: said["root"].as_str().map(|root| dir.join(root)),
            exit_code: said["exit_code"].as_i64().unwrap_or(0),
            stdout: said["stdout"].as_str().map(str::to_owned),
        }
    }

    /// Whether its suite calls this a pass.
    fn passed(&self, came: &Came) -> bool {
        came.end == Ended::Exited(self.exit_code) && self.stdout.as_ref().is_none_or(|stdout| *stdout == came.stdout)
    }
}

struct Plain {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Plain {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// The program under wasmtime, with nothing of ours.
async fn plain(engine: &Engine, program: &Program) -> Came {
    let dir = tempfile::tempdir().expect("a directory");
    let stdout = MemoryOutputPipe::new(OUTPUT_BYTES);
    let mut wasi = WasiCtxBuilder::new();
    wasi.args(&program.args).stdout(stdout.clone());
    for (name, value) in &program.env {
        wasi.env(name, value);
    }
    if let Some(root) = &program.root {
        copy(root, dir.path());
        wasi.preopened_dir(dir.path(), "/", FsPerms::ReadWrite).expect("is there");
    }
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).expect("a linker");
    let mut store = Store::new(engine, Plain { wasi: wasi.build(), table: ResourceTable::new() });
    let ran = async {
        let component = Component::new(engine, &program.component)?;
        let command = Command::instantiate_async(&mut store, &component, &linker).await?;
        command.wasi_cli_run().call_run(&mut store).await
    };
    let end = match tokio::time::timeout(PATIENCE, ran).await {
        Ok(Ok(Ok(()))) => Ended::Exited(0),
        Ok(Ok(Err(()))) => Ended::Exited(1),
        Ok(Err(error)) => match error.downcast_ref::<I32Exit>() {
            Some(exit) => Ended::Exited(i64::from(exit.0)),
            None => Ended::Trapped,
        },
        Err(_) => Ended::Refused("endless".to_owned()),
    };
    Came { end, stdout: String::from_utf8_lossy(&stdout.contents()).into_owned() }
}

/// The program as the worker of a run.
async fn ours(program: &Program) -> Came {
    let home = Home::new();
    let list = serde_json::to_string(&program.args).expect("plain data");
    let mut bench = Bench::of_bytes(program.component.clone()).at(&home).set("worker", &format!("args = {list}"));
    if !program.env.is_empty() {
        let pairs = program
            .env
            .iter()
            .map(|(name, value)| format!("{name} = {}", serde_json::to_string(value).expect("plain data")));
        bench = bench.set("worker", &format!("env = {{ {} }}", pairs.collect::<Vec<_>>().join(", ")));
    }
    match &program.root {
        Some(root) => {
            copy(root, &home.workspace());
            bench = bench.unset("workspace", "context");
        }
        None => {
            bench = bench.set("grants", "files = \"none\"").set("done", "marks = [\"artifact\"]").unset("done", "tree");
        }
    }
    let end = bench.no_apply().run().await;
    let mut stdout = String::new();
    let mut outcome = None;
    for entry in &end.entries {
        match &entry.body {
            Body::Printed { stream: Stream::Stdout, text, .. } => stdout.clone_from(text),
            Body::Ended { outcome: found, .. } => outcome = Some(*found),
            _ => {}
        }
    }
    let end = match outcome {
        Some(OutcomeName::Returned) => Ended::Exited(0),
        Some(OutcomeName::Trapped) => Ended::Trapped,
        Some(OutcomeName::Failed) => {
            let code =
                end.record.why.split("exited with ").nth(1).and_then(|rest| {
                    rest.split(|char: char| !char.is_ascii_digit() && char != '-').next()?.parse().ok()
                });
            code.map_or_else(|| Ended::Refused(end.record.why.clone()), Ended::Exited)
        }
        Some(OutcomeName::Interrupted | OutcomeName::Faulted) | None => {
            Ended::Refused(format!("{}: {}", end.record.verdict, end.record.why))
        }
    };
    Came { end, stdout }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("the suite has it") {
        let entry = entry.expect("can be read");
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => {
                std::fs::create_dir(&target).expect("is new");
                copy(&entry.path(), &target);
            }
            false => drop(std::fs::copy(entry.path(), target).expect("can be copied")),
        }
    }
}

/// The files of a directory with this end, by name.
fn listed(dir: &Path, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("is there").map(|entry| entry.expect("can be read").path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    found.sort();
    found
}

/// Known differences: program, what plain wasmtime does, what we do, why.
fn expected(path: &Path) -> BTreeMap<String, [String; 3]> {
    let text = std::fs::read_to_string(path).expect("the table is there");
    let rows = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    rows.map(|row| {
        let cells: Vec<String> = row.split(" | ").map(|cell| cell.trim().to_owned()).collect();
        let [name, plain, ours, why] = cells.try_into().expect("program | plain wasmtime | jidoka | why");
        (name, [plain, ours, why])
    })
    .collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, table] = &arguments[..] else { panic!("wasi DIR EXPECTED; tests/peers/wasi.sh makes and gives them") };
    let mut expected = expected(Path::new(table));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let engine = Engine::new(Config::new().wasm_component_model(true)).expect("an engine");
    let (mut programs, mut same, mut passed, mut wrong) = (0, 0, [0, 0], 0);
    for suite in listed(Path::new(dir), "") {
        for wasm in listed(&suite, ".wasm") {
            let program = Program::read(&wasm);
            let (plain, ours) = runtime.block_on(async { (plain(&engine, &program).await, ours(&program).await) });
            programs += 1;
            passed[0] += u32::from(program.passed(&plain));
            passed[1] += u32::from(program.passed(&ours));
            let known = expected.remove(&program.name);
            if plain == ours {
                same += 1;
                if known.is_some() {
                    wrong += 1;
                    println!("{:56} the same now; the table has a difference", program.name);
                }
                continue;
            }
            let [by_plain, by_ours] = [&plain.end, &ours.end].map(ToString::to_string);
            let why = known.filter(|[plain, ours, _]| *plain == by_plain && *ours == by_ours).map(|[.., why]| why);
            wrong += u32::from(why.is_none());
            println!("{:56} {by_plain} | {by_ours} | {}", program.name, why.as_deref().unwrap_or("NOT EXPECTED"));
            if why.is_none() && plain.stdout != ours.stdout {
                println!("  plain: {:?}\n  ours:  {:?}", plain.stdout, ours.stdout);
            }
        }
    }
    for name in expected.keys() {
        wrong += 1;
        println!("{name:56} is in the table and not among the programs");
    }
    println!("{programs} programs: {same} the same, {} different", programs - same);
    println!("passed by their suite's word: {} under wasmtime, {} under jidoka", passed[0], passed[1]);
    assert!(programs > 0, "no program in {dir}");
    assert!(wrong == 0, "{wrong} differences that nobody expected");
}
