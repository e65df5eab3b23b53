//! Guests that attack, one test each, named as the guest: the macro at the end fails to compile without it.
//!
//! What a test asserts is what the host saw: the record, the journal, the real directory, what lies outside. What the
//! guest says is asserted too, as the place where an attack was refused.

use std::path::Path;

use jidoka_tests::bench::{Bench, End, Home};
use jidoka_tests::for_each_hostile_guest;

mod claims;
mod components;
mod files;
mod floods;
mod instruments;
mod models;
mod quotas;
mod senses;
mod time;
mod tools;

use self::claims::*;
use self::files::*;
use self::floods::*;
use self::instruments::*;
use self::models::*;
use self::quotas::*;
use self::senses::*;
use self::time::*;
use self::tools::*;
use crate::determinism::{disk_full, probe, streams};
use crate::fuzz::any_calls;
use crate::http::{http_denied, http_endless, http_flood, http_raw, http_reach, http_sizes};

/// What the guest noted of a step: `got VALUE` or `no, ERROR`.
#[track_caller]
fn told<'a>(end: &'a End, step: &str) -> &'a str {
    let found = end.notes().into_iter().find_map(|note| note.strip_prefix(step)?.strip_prefix(": "));
    found.unwrap_or_else(|| panic!("no note of {step:?} in {:#?}\n{:#?}", end.notes(), end.record))
}

#[track_caller]
fn refused(end: &End, step: &str) {
    assert!(told(end, step).starts_with("no, "), "{step} went through: {}", told(end, step));
}

#[track_caller]
fn went_through(end: &End, step: &str) {
    assert!(told(end, step).starts_with("got "), "{step}: {}", told(end, step));
}

/// Fails unless every step that the guest noted was refused.
#[track_caller]
fn nothing_went_through(end: &End) {
    let through: Vec<&str> = end.notes().into_iter().filter(|note| !note.contains(": no, ")).collect();
    assert!(through.is_empty() && !end.notes().is_empty(), "{through:#?}");
}

/// An input of the task.
fn input(name: &str, value: impl std::fmt::Display) -> String {
    format!("inputs = {{ {name} = {:?} }}", value.to_string())
}

/// The names in a directory, sorted.
fn names(dir: impl AsRef<Path>) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Bytes of all files below a directory, holes included; links are not followed.
fn bytes_below(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => bytes_below(&entry.path()),
            false => entry.metadata().unwrap().len(),
        })
        .sum()
}

/// What the host kept of a run: journal, verdict, evidence, trees.
fn kept_dir(end: &End) -> std::path::PathBuf {
    end.home.state().join(&end.record.kept)
}

/// Bytes that the host wrote down about a run, the guest's own files not counted.
fn written_down(end: &End) -> u64 {
    let verdict = std::fs::metadata(kept_dir(end).join("verdict.json")).map_or(0, |data| data.len());
    end.journal().len() as u64 + verdict
}

/// The directory around a home's own three.
fn around(home: &Home) -> std::path::PathBuf {
    home.workspace().parent().unwrap().to_owned()
}

macro_rules! has_a_test {
    ($name:ident) => {
        const _: fn() = $name;
    };
}
for_each_hostile_guest!(has_a_test);
