//! A journal from hostile hands: an exported file as it is, or entries of anybody's making in a chain that holds.
//!
//! The first byte chooses. `x`: the rest is an export, read by our reader, and if that takes it by the independent one, which
//! must find the same. Any other: each line of the rest is an entry, its facts and, after a tab, its content; the body makes the
//! hashes and the head, so that what is said is reached behind what is sealed.

use std::collections::HashMap;

use jidoka::doors::chain::{self, Flaw, Head, Kept, Key, Row, story};
use jidoka::doors::export::{self, Exported};

use crate::third_party;

/// Entries of one journal: a long one says nothing that a short one does not.
const MOST_ENTRIES: usize = 64;

/// The body of the target `journal`.
pub fn run(bytes: &[u8]) {
    match bytes {
        [] => {}
        [b'x', export @ ..] => exported(export),
        [_, entries @ ..] => forged(&String::from_utf8_lossy(entries)),
    }
}

fn exported(file: &[u8]) {
    let Ok(summary) = export::check(&mut &file[..]) else { return };
    assert_eq!(summary.bytes, file.len() as u64);
    let found = third_party::check(file).expect("what we take holds for everybody");
    let last = summary.runs.last().expect("an export has a run");
    assert_eq!(found.runs, summary.runs.len());
    assert_eq!((&found.serial, found.entries), (&last.serial, last.head.entries));
    assert_eq!(found.head, last.head.hash.to_string());
}

fn forged(text: &str) {
    let key = Key::from_bytes([7; 32]);
    let mut rows: Vec<Row> = Vec::new();
    for (seq, entry) in text.lines().take(MOST_ENTRIES).enumerate() {
        let (facts, content) = entry.split_once('\t').map_or((entry, None), |(facts, content)| (facts, Some(content)));
        let mut line = format!("{{\"seq\":{seq},\"at_ms\":{seq}");
        if let Some(before) = rows.last() {
            line += &format!(",\"prev\":\"{}\"", chain::hash(&before.line));
        }
        line += &format!(",\"entry\":{facts}");
        if let Some(content) = content {
            line += &format!(",\"content\":\"{}\"", key.address(content));
        }
        rows.push(Row { line: line + "}", content: content.map(str::to_owned) });
    }
    let Some(last) = rows.last() else { return };
    let head = Head { entries: rows.len() as u64, hash: chain::hash(&last.line) };
    let kept = Kept { key: Some(key), head, rows, pieces: HashMap::new() };
    let erased = Kept {
        key: None,
        rows: kept.rows.iter().map(|row| Row { content: None, ..row.clone() }).collect(),
        ..kept.clone()
    };
    let read = read(kept.clone());
    if let (Ok(entries), Ok(without)) = (&read, erased.open()) {
        assert_eq!(entries.len(), without.len());
        let serial = match &without.first().expect("it has one").facts {
            jidoka::rules::facts::Facts::Opened(origin) => origin.serial.clone(),
            other => unreachable!("a journal begins with {other:?}"),
        };
        if let Ok(exported) = Exported::of(serial, kept) {
            drop(exported.evidence());
        }
    }
}

/// All that is ever asked of a journal, entry by entry.
fn read(kept: Kept) -> Result<Vec<String>, Flaw> {
    let count = kept.rows.len();
    let entries = kept.open()?;
    assert_eq!(entries.len(), count, "an entry is neither lost nor added");
    assert!(story(entries.clone()).len() <= count);
    entries
        .iter()
        .map(|entry| {
            let whole = entry.entry()?;
            let document = entry.document()?;
            assert!(whole.is_some(), "nothing is erased here");
            Ok(document.to_string())
        })
        .collect()
}
