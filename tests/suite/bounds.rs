//! `BOUNDS.md` says what the sources say: every constant with its value, every setting with its default, every test.

use std::path::{Path, PathBuf};

use jidoka::rules::authored::{self, OperatorFile, Overrides};

/// A row of a table: its cells, and the words in backquotes of each.
struct Row {
    cells: Vec<String>,
}

impl Row {
    fn quoted(&self, cell: usize) -> Vec<&str> {
        self.cells[cell].split('`').skip(1).step_by(2).collect()
    }

    fn first(&self, cell: usize) -> &str {
        self.quoted(cell).first().copied().unwrap_or_else(|| panic!("nothing is quoted in {:?}", self.cells))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn document() -> String {
    std::fs::read_to_string(root().join("runtime/BOUNDS.md")).unwrap()
}

/// The rows of all tables whose first column is called so.
fn rows(first: &str) -> Vec<Row> {
    let document = document();
    let mut rows = Vec::new();
    let mut is_open = false;
    for line in document.lines() {
        if !line.starts_with("| ") {
            is_open = false;
        } else if line.starts_with(&format!("| {first} |")) {
            is_open = true;
        } else if is_open && !line.starts_with("| ---") {
            let cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
            rows.push(Row { cells });
        }
    }
    rows
}

fn sources() -> String {
    fn below(dir: &Path, all: &mut String) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                below(&path, all);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                all.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut all = String::new();
    for part in ["runtime/src", "runtime/tests", "tests/suite"] {
        below(&root().join(part), &mut all);
    }
    all
}

#[test]
fn every_bound_stands_in_its_file_with_its_value() {
    let rows = rows("bound");
    assert!(rows.len() > 60, "{} rows", rows.len());
    for row in &rows {
        let (name, value, file) = (row.first(0), row.first(1), row.first(4));
        let text = std::fs::read_to_string(root().join("runtime/src").join(file)).unwrap_or_else(|_| panic!("{file}"));
        let is_it = |line: &str| {
            let line = line.trim().trim_start_matches("pub ").trim_start_matches("pub(super) ");
            let constant = line.strip_prefix(&format!("const {name}: "));
            let constant = constant.is_some_and(|rest| rest.ends_with(&format!(" = {value};")));
            // A field of a default.
            constant
                || line.split(", ").any(|field| {
                    field.ends_with(&format!("{name}: {value},"))
                        || field == format!("{name}: {value}")
                        || field.ends_with(&format!("{{ {name}: {value}"))
                })
        };
        assert!(text.lines().any(is_it), "{file} has no {name} = {value}");
    }
}

#[test]
fn every_setting_has_the_default_and_the_most_that_are_written() {
    let job = |caps: &str| {
        let text = format!(
            "line = \"l\"\n[worker]\ncomponent = \"w.wasm\"\n[task]\ntext = \"t\"\n[budget]\nwall = \"10s\"\n[attempts]\n\
             max = 1\nbackoff = \"0s\"\n[done]\nmarks = [\"artifact\"]\n[caps]\n{caps}\n"
        );
        authored::job(&text, &OperatorFile::default(), &Overrides::default())
    };
    let settings = job("").unwrap().settings;
    let caps: Vec<&str> = settings.iter().filter_map(|it| it.key.strip_prefix("caps.")).collect();
    let rows = rows("setting");
    let named: Vec<&str> = rows.iter().filter_map(|row| row.first(0).strip_prefix("caps.")).collect();
    for cap in &caps {
        assert!(named.contains(cap), "caps.{cap} is not in the table");
    }
    assert_eq!(named.len(), caps.len());
    for row in &rows {
        let (key, default, most) = (row.first(0), &row.cells[1], &row.cells[2]);
        let setting = settings.iter().find(|setting| setting.key == key).unwrap();
        assert_eq!(&setting.value, default, "{key}");
        let name = key.strip_prefix("caps.").unwrap();
        let written = if most.parse::<u64>().is_ok() { most.clone() } else { format!("{most:?}") };
        let set = job(&format!("{name} = {written}")).unwrap_or_else(|mistakes| panic!("{key}: {mistakes:?}"));
        assert_eq!(&set.settings.iter().find(|setting| setting.key == key).unwrap().value, most);
        let doubled =
            if let Ok(count) = most.parse::<u64>() { (2 * count).to_string() } else { format!("\"1{most}\"") };
        assert!(job(&format!("{name} = {doubled}")).is_err(), "{key} ends at {most}");
        let file = row.first(5);
        assert!(root().join("runtime/src").join(file).exists(), "{file}");
    }
}

#[test]
fn every_bound_has_a_test_that_is_there() {
    let all = sources();
    let tests: Vec<String> = rows("bound")
        .iter()
        .map(|row| (row, 5))
        .chain(rows("setting").iter().map(|row| (row, 6)))
        .flat_map(|(row, cell)| {
            let names: Vec<String> = row.quoted(cell).into_iter().map(str::to_owned).collect();
            assert!(!names.is_empty(), "{:?} has no test", row.cells);
            names
        })
        .collect();
    assert!(tests.len() > 60);
    let mut missing: Vec<&String> = tests.iter().filter(|name| !all.contains(&format!("fn {name}("))).collect();
    missing.dedup();
    assert!(missing.is_empty(), "there are no tests {missing:#?}");
}

/// What has a name like a bound and is in no table: somebody forgot it, or it bounds nothing that others cause.
#[test]
fn no_bound_is_forgotten() {
    let named: Vec<(String, String)> =
        rows("bound").iter().map(|row| (row.first(4).to_owned(), row.first(0).to_owned())).collect();
    let mut forgotten = Vec::new();
    for floor in [
        "rules/policy.rs",
        "run/shape.rs",
        "run/limits.rs",
        "run/files.rs",
        "doors/draft.rs",
        "doors/fold.rs",
        "doors/schema.rs",
    ] {
        let text = std::fs::read_to_string(root().join("runtime/src").join(floor)).unwrap();
        for line in text.lines() {
            let Some(rest) = line.trim_start_matches("pub ").strip_prefix("const ") else { continue };
            let Some((name, _)) = rest.split_once(": u").or_else(|| rest.split_once(": usize")) else { continue };
            if !named.contains(&(floor.to_owned(), name.to_owned())) {
                forgotten.push(format!("{floor}: {name}"));
            }
        }
    }
    assert!(forgotten.is_empty(), "{forgotten:#?}");
}
