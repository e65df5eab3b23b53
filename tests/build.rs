//! Builds every guest that the tests run: `guests/` (hostile ones, one file an attack) and `guest-examples/`.
//!
//! Their paths become constants, and `for_each_hostile_guest!` names each of them, so that a guest without a test does
//! not compile. A missing toolchain is an error here, never a skipped test.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";

fn main() {
    let tests = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let root = tests.parent().expect("the project's root");
    for watched in [
        "guests/examples",
        "guests/plain",
        "guests/lib.rs",
        "guests/Cargo.toml",
        "../guest-examples",
        "../sdk",
        "../wit",
    ] {
        watch(&tests.join(watched));
    }
    run(Command::new("bash").arg(root.join("runtime/wasm-target.sh")));

    let out = PathBuf::from(variable("OUT_DIR"));
    let mut code = String::new();
    let hostile = build(&tests.join("guests"), &out.join("guests"), &["--examples"], "examples");
    let (hostile, plain): (Vec<_>, Vec<_>) =
        hostile.into_iter().partition(|path| tests.join("guests/examples").join(format!("{}.rs", stem(path))).exists());
    code += "/// Guests of tests that are not about the guest.\npub mod plain {\n";
    constants(&mut code, &plain);
    code += "}\n\n/// Guests that attack, one file each.\npub mod hostile {\n";
    constants(&mut code, &hostile);
    code += "}\n\n/// The examples that users see first.\npub mod examples {\n";
    // The folder that `jidoka run` builds them in too, so that they are built once.
    let examples = root.join("guest-examples");
    constants(&mut code, &build(&examples, &examples.join("target"), &[], ""));
    code += "}\n\n/// Calls a macro with the name of every hostile guest.\n#[macro_export]\n";
    code += "macro_rules! for_each_hostile_guest {\n    ($call:ident) => {\n";
    for name in names(&hostile) {
        writeln!(code, "        $call!({});", name.to_lowercase()).expect("to a string");
    }
    code += "    };\n}\n";
    std::fs::write(out.join("guests.rs"), code).expect("writes into OUT_DIR");
}

/// Rebuilds when a source changes; cargo would watch build output below these folders too.
fn watch(path: &Path) {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).expect("reads a folder of the project");
        for entry in entries {
            let entry = entry.expect("reads a folder of the project").path();
            if entry.file_name().is_some_and(|name| name != "target") {
                watch(&entry);
            }
        }
    } else {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

/// Builds a workspace of guests into a target folder of their own: nested cargo must not wait for its parent's lock.
fn build(workspace: &Path, target: &Path, arguments: &[&str], folder: &str) -> Vec<PathBuf> {
    let mut cargo = Command::new(variable("CARGO"));
    cargo.args(["build", "--release", "--target", TARGET, "--locked"]).args(arguments).current_dir(workspace);
    for (name, _) in std::env::vars() {
        // What the outer cargo set for this build script would change how the guests are built.
        if name.starts_with("CARGO_") && name != "CARGO_HOME" && !name.starts_with("CARGO_REGISTRIES")
            || name == "RUSTFLAGS"
        {
            cargo.env_remove(name);
        }
    }
    run(cargo.env("CARGO_TARGET_DIR", target));
    let made = target.join(TARGET).join("release").join(folder);
    let mut components: Vec<PathBuf> = std::fs::read_dir(&made)
        .expect("cargo built something")
        .map(|entry| entry.expect("reads a folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        // Cargo keeps a second copy of each example under a name with a hash.
        .filter(|path| !stem(path).contains('-'))
        .collect();
    components.sort();
    assert!(!components.is_empty(), "no component in {}", made.display());
    components
}

fn names(components: &[PathBuf]) -> impl Iterator<Item = String> + '_ {
    components.iter().map(|path| stem(path).to_uppercase())
}

fn constants(code: &mut String, components: &[PathBuf]) {
    for (name, path) in names(components).zip(components) {
        writeln!(code, "    pub const {name}: &str = {:?};", path.display().to_string()).expect("to a string");
    }
}

fn stem(path: &Path) -> &str {
    path.file_stem().and_then(|stem| stem.to_str()).expect("a name of ours")
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?} could not be started: {error}"));
    assert!(status.success(), "{command:?} failed: {status}");
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}
