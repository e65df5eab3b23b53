//! The Rust toolchain of the operator's machine: makes components out of worker crates.
//!
//! Never: runs for a job that names a component file. A crate is the operator's own code: building it runs its build
//! scripts natively, which is what `cargo build` always does.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use thiserror::Error;

/// The target that components are built for.
pub const TARGET: &str = "wasm32-wasip2";

/// Installs the target's standard library if it is missing: by rustup, else from Debian's archive.
const TARGET_SCRIPT: &str = include_str!("../../wasm-target.sh");

/// Why there is no component.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    #[error("start `{program}`, which must be on the PATH: install Rust (https://rustup.rs) to build workers")]
    Rust { program: &'static str, source: std::io::Error },
    #[error("start `{program}`, which must be on the PATH")]
    Start { program: &'static str, source: std::io::Error },
    /// Nothing is installed unasked.
    #[error("find the Rust target {TARGET}: `jidoka doctor --fix` installs it, or `rustup target add {TARGET}`")]
    Target,
    /// The script said why.
    #[error("install the Rust target {TARGET}")]
    Install,
    /// Cargo said why.
    #[error("build {crate_dir:?}")]
    Cargo { crate_dir: PathBuf },
    #[error("find a component in what {crate_dir:?} builds: its Cargo.toml needs `[lib] crate-type = [\"cdylib\"]`")]
    NoComponent { crate_dir: PathBuf },
}

/// Who shows what a process of the toolchain says.
#[derive(Clone, Copy)]
pub enum Words<'a> {
    /// It writes to our terminal by itself, as it does for a person.
    Terminal,
    /// Line by line this does. A reader that is gone or slow is not the process's trouble then.
    Told(&'a (dyn Fn(&str) + Sync)),
}

/// Whether the target is installed.
///
/// # Errors
/// There is no Rust compiler.
#[expect(clippy::disallowed_methods, reason = "this door is where toolchain processes are started")]
pub fn has_target() -> Result<bool, BuildError> {
    let mut rustc = Command::new("rustc");
    let asked = rustc.args(["--print", "target-libdir", "--target", TARGET]).stdin(Stdio::null()).output();
    let output = asked.map_err(|source| BuildError::Rust { program: "rustc", source })?;
    let libraries = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let is_std = |name: &str| name.starts_with("libstd-") && name.ends_with(".rlib");
    let mut names = std::fs::read_dir(&libraries).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let has_std = output.status.success() && names.any(|name| name.to_str().is_some_and(is_std));
    Ok(has_std && libraries.join("self-contained/libc.a").is_file())
}

/// Installs the target. At once if it is there.
///
/// # Errors
/// It cannot be installed here; the script said why.
#[expect(clippy::disallowed_methods, reason = "this door is where toolchain processes are started")]
pub fn install_target(words: Words<'_>) -> Result<(), BuildError> {
    if has_target()? {
        return Ok(());
    }
    let mut bash = Command::new("bash");
    // Output goes where errors do: stdout is for data.
    bash.args(["-c", "exec bash -s 1>&2"]).stdout(Stdio::null());
    let ended = finished(bash, TARGET_SCRIPT, words);
    let ended = ended.map_err(|source| BuildError::Start { program: "bash", source })?;
    if ended.status.success() { Ok(()) } else { Err(BuildError::Install) }
}

/// Runs a process to its end, with a text on its standard input. Its standard output is kept if it is piped.
fn finished(mut command: Command, input: &str, words: Words<'_>) -> io::Result<Output> {
    command.stdin(Stdio::piped()).stderr(match words {
        Words::Terminal => Stdio::inherit(),
        Words::Told(_) => Stdio::piped(),
    });
    let mut child = command.spawn()?;
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    std::thread::scope(|scope| {
        if let (Some(stderr), Words::Told(tell)) = (stderr, words) {
            scope.spawn(move || {
                let mut lines = BufReader::new(stderr).split(b'\n');
                while let Some(Ok(line)) = lines.next() {
                    tell(&String::from_utf8_lossy(&line));
                }
            });
        }
        if let Some(mut stdin) = stdin {
            stdin.write_all(input.as_bytes())?;
        }
        child.wait_with_output()
    })
}

/// Builds a worker crate and returns its component. Cargo decides what is newer; nothing to do takes a moment.
///
/// # Errors
/// [`BuildError`]; the compiler's own words say more.
#[expect(clippy::disallowed_methods, reason = "this door is where toolchain processes are started")]
pub fn build(crate_dir: &Path, words: Words<'_>) -> Result<PathBuf, BuildError> {
    if !has_target()? {
        return Err(BuildError::Target);
    }
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"])
        .current_dir(crate_dir)
        // A cargo that runs us must not hand its own folders to the guest's build, which would wait on its lock.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .stdout(Stdio::piped());
    let output = finished(cargo, "", words).map_err(|source| BuildError::Rust { program: "cargo", source })?;
    if !output.status.success() {
        return Err(BuildError::Cargo { crate_dir: crate_dir.to_owned() });
    }
    let manifest = crate_dir.join("Cargo.toml");
    let manifest = manifest.canonicalize().unwrap_or(manifest);
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| component(line, &manifest))
        .next_back()
        .ok_or_else(|| BuildError::NoComponent { crate_dir: crate_dir.to_owned() })
}

/// The component that one of cargo's messages names, if it is of the crate that was asked for.
fn component(message: &str, manifest: &Path) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let of_crate = message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest);
    if message["reason"] != "compiler-artifact" || !of_crate {
        return None;
    }
    let files = message["filenames"].as_array()?;
    let wasm = files.iter().filter_map(|file| file.as_str()).find(|file| file.ends_with(".wasm"))?;
    Some(PathBuf::from(wasm))
}

/// A program's own words about its version; `None` if it is not there.
#[expect(clippy::disallowed_methods, reason = "this door is where toolchain processes are started")]
pub fn version_of(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
