//! Which run a person means: by its whole serial number, a beginning that only it has, its last characters, or as the latest.
//!
//! Never: guesses. A word that fits several runs is answered with them.

use anyhow::{Context, anyhow, bail};

use crate::rules::record::Record;
use crate::run::desk::Desk;
use crate::run::past::RunRow;

use super::machine::Machine;
use super::screen::plain;

/// Characters after the last dash that name a run alone: what differs between runs of the same minute.
const LAST_CHARS: usize = 6;

/// Runs of an answer.
const MAX_LISTED: usize = 10;

/// The serial number of the run that is meant.
///
/// # Errors
/// None is, or several are; the message names them, and where they were looked for.
pub(super) async fn of(machine: &dyn Machine, desk: &Desk, said: &str) -> anyhow::Result<String> {
    // As `kept` shows it.
    let word = said.trim_end_matches('/');
    let word = word.rsplit_once("runs/").map_or(word, |(_, serial)| serial);
    let runs = all(desk).await?;
    let place = machine.state_dir();
    let place = place.display();
    if let "@" | "last" = word {
        // A child is its caller's.
        let latest = runs.iter().rfind(|run| run.caller.is_none()).map(|run| run.serial.clone());
        return latest.ok_or_else(|| anyhow!("no run is in {place} yet"));
    }
    let serials: Vec<&str> = runs.iter().map(|run| run.serial.as_str()).collect();
    match meant(&serials, word).as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => bail!("no run {} is in {place}; `jidoka runs` lists them", plain(said)),
        several => {
            let more = match several.len().saturating_sub(MAX_LISTED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let listed = several[..several.len().min(MAX_LISTED)].join(", ");
            bail!("{} fits {} runs: {listed}{more}", plain(said), several.len())
        }
    }
}

/// The serials that a word fits.
fn meant<'a>(serials: &[&'a str], word: &str) -> Vec<&'a str> {
    if let Some(whole) = serials.iter().find(|serial| **serial == word) {
        return vec![whole];
    }
    let ends = |serial: &&&str| {
        word.len() >= LAST_CHARS && serial.strip_suffix(word).is_some_and(|before| before.ends_with('-'))
    };
    let fits = |serial: &&&str| !word.is_empty() && (serial.starts_with(word) || ends(serial));
    let fitting: Vec<&str> = serials.iter().filter(fits).copied().collect();
    // A child has its caller's number before its own: who names both means the caller.
    let is_child =
        |serial: &str| fitting.iter().any(|caller| serial.strip_prefix(caller).is_some_and(|own| own.starts_with('-')));
    fitting.iter().copied().filter(|serial| !is_child(serial)).collect()
}

/// All runs, the oldest first: those with a journal, and those of which nothing ran.
pub(super) async fn all(desk: &Desk) -> anyhow::Result<Vec<RunRow>> {
    let mut runs = desk.runs().await.context("read the runs")?;
    let alone = desk.records_alone(&runs).context("read the runs")?;
    runs.extend(alone.into_iter().map(row));
    runs.sort_by(|one, other| (one.opened_ms, &one.serial).cmp(&(other.opened_ms, &other.serial)));
    Ok(runs)
}

/// The row of a run that has a verdict and no journal.
fn row(record: Record) -> RunRow {
    let opened_ms = begun_ms(&record.serial);
    RunRow {
        tenant: record.tenant.unwrap_or_default(),
        line: record.line,
        item: record.item,
        attempt: record.attempt,
        opened_ms,
        latest_ms: opened_ms,
        entries: 0,
        verdict: Some(record.verdict),
        exit_code: Some(record.exit_code),
        parent: None,
        caller: None,
        settled: false,
        imported: false,
        erased: false,
        bytes: 0,
        serial: record.serial,
    }
}

/// When a run was begun, as its serial number has it. Milliseconds since 1970-01-01T00:00:00Z; 0 if it has none.
fn begun_ms(serial: &str) -> u64 {
    let time = serial.split('-').next().unwrap_or_default();
    let digit = |char: char| "0123456789abcdefghjkmnpqrstvwxyz".find(char).map(|digit| digit as u64);
    time.chars().try_fold(0_u64, |ms, char| ms.checked_mul(32)?.checked_add(digit(char)?)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNS: [&str; 4] = ["01m8p5h1mh-y22b13", "01m8p5h1mh-y22b13-1", "01m8p5h9zz-8bz8j9", "01m8p6ds79-y22c00"];

    #[test]
    fn a_run_is_named_by_what_only_it_has() {
        for (word, expected) in [
            ("01m8p5h1mh-y22b13", "01m8p5h1mh-y22b13"),
            ("01m8p5h1", "01m8p5h1mh-y22b13"),
            ("y22b13", "01m8p5h1mh-y22b13"),
            ("y22b13-1", "01m8p5h1mh-y22b13-1"),
            ("8bz8j9", "01m8p5h9zz-8bz8j9"),
            ("01m8p6", "01m8p6ds79-y22c00"),
        ] {
            assert_eq!(meant(&RUNS, word), [expected], "{word}");
        }
    }

    #[test]
    fn a_word_that_fits_several_runs_or_none_is_not_guessed() {
        assert_eq!(meant(&RUNS, "01m8p5h"), ["01m8p5h1mh-y22b13", "01m8p5h9zz-8bz8j9"]);
        for word in ["", "1", "y22", "02", "22b13"] {
            assert!(meant(&RUNS, word).is_empty(), "{word}");
        }
    }

    #[test]
    fn a_serial_says_when_its_run_was_begun() {
        assert_eq!(begun_ms(&crate::run::serial(1_795_266_548_000, 7)), 1_795_266_548_000);
        assert_eq!(begun_ms("not one"), 0);
    }
}
