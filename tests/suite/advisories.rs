//! The advisories that are claimed as replayed are rows of the table of attacks, and the page says what the code says.

use std::collections::BTreeSet;

use jidoka_tests::advisories::{Advisory, ENGINE, Outcome, PEERS, page};
use jidoka_tests::attacks::all;

#[test]
fn every_advisory_names_rows_that_are_there() {
    let rows: BTreeSet<String> = all().iter().map(|row| format!("{}/{}", row.family.name(), row.name)).collect();
    let mut ids = BTreeSet::new();
    for Advisory { id, outcome, .. } in ENGINE.iter().chain(PEERS) {
        assert!(ids.insert(id), "{id} stands there twice");
        match outcome {
            Outcome::Replayed(by) | Outcome::Off(by) => {
                assert!(!by.is_empty(), "{id}");
                by.iter().for_each(|row| assert!(rows.contains(*row), "{id}: no attack is called {row}"));
            }
            Outcome::NotHere(why) => assert!(!why.is_empty(), "{id}"),
        }
    }
    let replayed = |advisory: &&Advisory| matches!(advisory.outcome, Outcome::Replayed(_) | Outcome::Off(_));
    assert!(ENGINE.iter().filter(replayed).count() > 40 && PEERS.iter().filter(replayed).count() > 20);
}

#[test]
fn the_page_of_advisories_says_what_the_code_says() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("ADVISORIES.md");
    let written = std::fs::read_to_string(path).unwrap();
    assert!(
        written == page(),
        "cargo run --release -p jidoka-tests --bin attacks -- --advisories > tests/ADVISORIES.md"
    );
    println!("{written}");
}
