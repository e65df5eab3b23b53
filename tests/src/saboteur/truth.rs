//! What a person wrote and removed, what accepted runs wrote and removed, and whether the real directories agree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{PLACES, World};

/// What a worker's script leaves at a path; `None`: it removes it.
#[derive(Clone, Debug)]
pub struct Written {
    pub path: String,
    pub text: Option<String>,
}

/// A text of a person's.
#[derive(Debug)]
struct Token {
    place: usize,
    path: String,
    /// When it was there for certain, in milliseconds since 1970.
    at_ms: u64,
    /// A person took it away or wrote over it.
    withdrawn: bool,
}

/// A run that was accepted.
#[derive(Debug)]
struct Accepted {
    place: usize,
    written: Vec<Written>,
    opened_ms: u64,
}

#[derive(Debug, Default)]
pub struct Truth {
    tokens: BTreeMap<String, Token>,
    accepted: Vec<Accepted>,
    numbers: BTreeSet<u64>,
    next: u64,
    blobs_touched: u64,
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("before the year 500 million")
}

impl Truth {
    /// A new text that a person is about to write.
    pub fn new_token(&mut self) -> String {
        self.next += 1;
        format!("P{};", self.next)
    }

    /// A person has written a text.
    pub fn is_written(&mut self, token: String, place: usize, path: &str) {
        let told = Token { place, path: path.to_owned(), at_ms: now_ms(), withdrawn: false };
        self.tokens.insert(token, told);
    }

    /// Writes a new file of a person's, whole.
    pub fn person_writes(&mut self, dir: &Path, place: usize, path: &str) {
        let token = self.new_token();
        let target = dir.join(path);
        if std::fs::write(&target, &token).is_ok() {
            self.is_written(token, place, path);
        }
    }

    /// A person took this text away, if it is a person's.
    pub fn withdraw(&mut self, text: &str) {
        for token in text.split_inclusive(';') {
            if let Some(token) = self.tokens.get_mut(token) {
                token.withdrawn = true;
            }
        }
    }

    pub fn touch_blobs(&mut self) {
        self.blobs_touched += 1;
    }

    /// How often a blob was damaged.
    pub fn blobs_touched(&self) -> u64 {
        self.blobs_touched
    }

    pub fn accepted(&mut self, place: usize, written: &[Written], opened_ms: u64) {
        self.accepted.push(Accepted { place, written: written.to_vec(), opened_ms });
    }

    /// The run of this number was accepted; its job file says what it was to do.
    pub fn accepted_by_number(&mut self, number: u64, world: &World, opened_ms: u64) {
        if !self.numbers.insert(number) {
            return;
        }
        let job = world.dir.path().join(format!("jobs/job-{number}/jidoka.toml"));
        let text = std::fs::read_to_string(job).expect("its job is there");
        let place = (0..PLACES).find(|place| text.contains(&format!("place-{place}\"")));
        let lines = text.lines().find_map(|line| line.strip_prefix("text = ")).expect("it has a task");
        let lines: String = serde_json::from_str(lines).expect("a quoted text");
        let mut written: Vec<Written> = Vec::new();
        for line in lines.lines() {
            let words: Vec<&str> = line.splitn(3, ' ').collect();
            let one = match words[..] {
                ["write", path, text] => Written { path: path.to_owned(), text: Some(text.to_owned()) },
                ["remove", path] => Written { path: path.to_owned(), text: None },
                _ => continue,
            };
            written.retain(|earlier| earlier.path != one.path);
            written.push(one);
        }
        self.accepted(place.expect("it has a place"), &written, opened_ms);
    }

    /// Whether an apply was left in the middle.
    pub fn is_interrupted(&self, place: &Path) -> bool {
        let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(".jidoka-apply-"))
    }

    /// # Errors
    /// Which promise does not hold.
    pub fn check(&self, world: &World) -> Result<(), String> {
        for place in 0..PLACES {
            let files = files(&world.place(place));
            let all: String = files.values().map(String::as_str).collect();
            for (text, token) in self.tokens.iter().filter(|(_, token)| token.place == place && !token.withdrawn) {
                let replaced = self.accepted.iter().any(|run| {
                    run.place == place
                        && run.opened_ms >= token.at_ms
                        && run.written.iter().any(|written| written.path == token.path)
                });
                if !replaced && !all.contains(text.as_str()) {
                    return Err(format!("the person's {text} of place {place}, {}, is nowhere", token.path));
                }
            }
            for (path, text) in &files {
                self.is_explained(place, path, text)?;
            }
        }
        Ok(())
    }

    /// A file holds what a person or an accepted run wrote there.
    fn is_explained(&self, place: usize, path: &str, text: &str) -> Result<(), String> {
        if text.contains("SABOTAGE") {
            return Err(format!("place {place}, {path}: what something else wrote into a private copy was applied"));
        }
        for piece in text.split_inclusive(';').filter(|piece| piece.starts_with('W')) {
            let by_a_run = self.accepted.iter().any(|run| {
                run.place == place && run.written.iter().any(|written| written.text.as_deref() == Some(piece))
            });
            if !by_a_run {
                return Err(format!("place {place}, {path}: {piece} is there, and its run was not accepted"));
            }
        }
        Ok(())
    }
}

/// All files below a directory with their texts, by path.
fn files(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut pending: Vec<PathBuf> = vec![dir.to_owned()];
    while let Some(above) = pending.pop() {
        for entry in std::fs::read_dir(&above).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => pending.push(path),
                Ok(kind) if kind.is_file() => {
                    let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned();
                    let name = path.strip_prefix(dir).expect("below it").to_string_lossy().into_owned();
                    found.insert(name, text);
                }
                _ => {}
            }
        }
    }
    found
}
