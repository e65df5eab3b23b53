//! A verdict that nobody has thought of does not compile: every place that decides by verdicts names each of them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a verdict is decided by, as far as the rules go. Whoever adds such a place adds it here.
const HANDLERS: [&str; 7] =
    ["andon.rs", "expectation.rs", "item.rs", "progress.rs", "signature.rs", "verdict.rs", "why.rs"];

fn sources(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.path().is_dir() {
            true => sources(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// The rules alone, as a crate of their own: they know no other floor, and so they compile without the rest.
fn rules(dir: &Path) -> PathBuf {
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime");
    sources(&runtime.join("src/rules"), &dir.join("src/rules"));
    let lib = std::fs::read_to_string(runtime.join("src/lib.rs")).unwrap();
    let (_, rooms) = lib.split_once("pub mod rules {").unwrap();
    let (rooms, _) = rooms.split_once("\n}").unwrap();
    std::fs::write(dir.join("src/lib.rs"), format!("pub mod rules {{{rooms}\n}}\n")).unwrap();
    let manifest = "[package]\nname = \"rules\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n\
        serde = { version = \"1\", features = [\"derive\", \"rc\"] }\nserde_json = \"1\"\nthiserror = \"2\"\ntoml = \"1.2\"\nurl = \"2\"\n";
    std::fs::write(dir.join("Cargo.toml"), manifest).unwrap();
    std::fs::copy(runtime.join("../Cargo.lock"), dir.join("Cargo.lock")).unwrap();
    dir.join("src/rules/verdict.rs")
}

/// Errors of the compiler by file. Each is E0004: a match that does not name all.
fn check(dir: &Path) -> Vec<(String, String)> {
    let output = Command::new(std::env::var("CARGO").unwrap_or("cargo".into()))
        .args(["check", "--release", "--offline", "--message-format", "json"])
        .current_dir(dir)
        // Its own, kept between runs of the test.
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("alphabet"))
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let messages = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let messages = messages.filter(|message| message["message"]["level"] == "error");
    let errors: Vec<(String, String)> = messages
        .filter_map(|message| {
            let span = message["message"]["spans"].as_array()?.iter().find(|span| span["is_primary"] == true)?.clone();
            let file = Path::new(span["file_name"].as_str()?).file_name()?.to_str()?.to_owned();
            Some((file, message["message"]["code"]["code"].as_str().unwrap_or("").to_owned()))
        })
        .collect();
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || !errors.is_empty(), "cargo itself failed: {failed}");
    errors
}

#[test]
fn a_new_verdict_breaks_the_build_wherever_one_is_handled() {
    let dir = tempfile::tempdir().unwrap();
    let verdicts = rules(dir.path());
    assert_eq!(check(dir.path()), [], "the rules compile by themselves");
    let text = std::fs::read_to_string(&verdicts).unwrap();
    let added = text.replacen("pub enum Verdict {\n", "pub enum Verdict {\n    Tomorrow,\n", 1);
    assert_ne!(text, added);
    std::fs::write(&verdicts, added).unwrap();
    let errors = check(dir.path());
    assert!(errors.iter().all(|(_, code)| code == "E0004"), "{errors:?}");
    let mut files: Vec<&str> = errors.iter().map(|(file, _)| file.as_str()).collect();
    files.dedup();
    files.sort_unstable();
    files.dedup();
    assert_eq!(files, HANDLERS);
    // Its name, its exit code and its words.
    assert_eq!(errors.iter().filter(|(file, _)| file == "verdict.rs").count(), 3, "{errors:?}");
}
