//! The table of attacks, as a process of its own makes it: each refused, each control granted, eight innocents unharmed.
//!
//! Never: asserts a time. That innocents are not slowed down is what the process itself found, with the floor that it
//! publishes.

use std::collections::{BTreeMap, BTreeSet};

use jidoka_tests::attacks::{Family, all};
use serde_json::Value;
use tokio::process::Command;

/// The families by name.
fn families() -> BTreeSet<&'static str> {
    Family::ALL.into_iter().map(Family::name).collect()
}

#[test]
fn the_table_has_its_families_and_every_row_a_name_of_its_own() {
    let rows = all();
    let mut counts = BTreeMap::new();
    rows.iter().for_each(|row| *counts.entry(row.family.name()).or_insert(0) += 1);
    assert!(rows.len() >= 80, "{} attacks", rows.len());
    for family in families() {
        assert!(counts.get(family).is_some_and(|&count| count >= 8), "{family} has {:?}", counts.get(family));
    }
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    for (family, count) in &counts {
        assert!(readme.contains(&format!("\n| {family} | {count} | ")), "the readme does not say {count} of {family}");
    }
    let names: BTreeSet<String> = rows.iter().map(|row| format!("{}/{}", row.family.name(), row.name)).collect();
    assert_eq!(names.len(), rows.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attack_gives_more_than_its_refusal_and_none_disturbs_eight_innocents() {
    // One after the other: each looks at how fast innocents are.
    for wall in ["none", "process"] {
        holds(wall).await;
    }
}

/// Makes the whole table behind this wall.
async fn holds(wall: &str) {
    let mut attacks = Command::new(env!("CARGO_BIN_EXE_attacks"));
    let said = attacks.args(["--json", "--wall", wall]).kill_on_drop(true).output().await.unwrap();
    let errors = String::from_utf8_lossy(&said.stderr);
    let table: Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"));
    let rows = table["rows"].as_array().unwrap();
    assert_eq!(rows.len(), all().len());
    assert_eq!(table["innocents"], 8);
    for row in rows {
        let is = |what: &str| row[what] == true;
        assert!(is("refused"), "it got more than its refusal: {wall}: {row:#}");
        assert!(is("control"), "its control failed: {wall}: {row:#}");
        assert!(is("within-cap"), "the host grew too much: {wall}: {row:#}");
        assert_eq!(row["innocents-wrong"], serde_json::json!([]), "{wall}: {row:#}");
        // How fast they are is for the program to say, on a machine that does nothing else: three hundred tests go beside this.
    }
}
