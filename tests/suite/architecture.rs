//! The house: floors are imported only downwards, and the README names what is there.

use std::path::{Path, PathBuf};

const FLOORS: [(&str, &[&str]); 4] = [
    // What a floor must never name.
    (
        "rules",
        &[
            "crate::doors",
            "crate::run",
            "crate::front",
            "tokio",
            "wasmtime",
            "reqwest",
            "cap_std",
            "std::fs",
            "std::env",
        ],
    ),
    ("doors", &["crate::run", "crate::front", "wasmtime"]),
    ("run", &["crate::front", "clap", "reqwest"]),
    ("front", &["crate::doors", "crate::run::gate", "wasmtime", "reqwest"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs")
}

/// The part of a source before its unit tests.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned()
}

#[test]
fn floors_are_imported_only_downwards() {
    for (floor, forbidden) in FLOORS {
        let dir = root().join("runtime/src").join(floor);
        for path in sources(&dir).iter().filter(|path| !is_test(path.strip_prefix(&dir).unwrap())) {
            for line in code(path).lines().filter(|line| line.trim_start().starts_with("use ")) {
                for name in forbidden {
                    let named = line.split(|char: char| !char.is_alphanumeric() && char != '_' && char != ':');
                    let hit = named.into_iter().any(|word| word == *name || word.starts_with(&format!("{name}::")));
                    assert!(!hit, "{} must not know {name}: {line}", path.display());
                }
            }
        }
    }
}

#[test]
fn wasmtime_is_known_where_guests_are_and_nowhere_else() {
    let rooms = [
        "absent",
        "component",
        "random",
        "alarms",
        "arguments",
        "bindings",
        "bridge",
        "catalogue",
        "checks",
        "drafts",
        "files",
        "host",
        "http",
        "limits",
        "output",
        "inside",
        "kinds",
        "resources",
        "results",
        "sandbox",
        "seat",
        "senses",
        "streams",
        "supervisor",
        "tools",
        "trouble",
        "words",
    ];
    for path in sources(&root().join("runtime/src")) {
        let room = path.file_stem().unwrap().to_str().unwrap();
        let knows = code(&path).lines().any(|line| line.trim_start().starts_with("use wasmtime"));
        assert!(!knows || rooms.contains(&room), "{}", path.display());
    }
}

#[test]
fn the_readme_names_every_source_and_nothing_else() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let base = root().join("runtime/src");
    for path in sources(&base) {
        let name = path.strip_prefix(&base).unwrap();
        if !is_test(name) {
            assert!(readme.contains(&format!("| `{}` |", name.display())), "the map lacks {}", name.display());
        }
    }
    for name in readme.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()) {
        let is_source = name.ends_with(".rs") && !name.starts_with("runtime/") && !name.starts_with("tests/");
        assert!(!is_source || base.join(name).exists(), "the map names {name}, which is not there");
    }
}

#[test]
fn every_promise_of_the_readme_has_its_test() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let table = readme.split("## Promises").nth(1).unwrap().split("\n## ").next().unwrap();
    let promised: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .filter_map(|line| line.trim_end_matches(" |").rsplit(" | ").next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(|name| !name.contains('/'))
        .collect();
    assert!(promised.len() > 30);
    let mut all = sources(&root().join("runtime"));
    all.extend(sources(&root().join("tests/suite")));
    let tests: String = all.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    for name in promised {
        assert!(tests.contains(&format!("fn {name}(")), "no test {name}");
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for part in ["runtime/src", "sdk/src", "sdk/macros/src", "tests/src", "tests/suite", "tests/guests/examples"] {
        for path in sources(&root().join(part)) {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("//!"), "{} does not open with its purpose", path.display());
        }
    }
}
