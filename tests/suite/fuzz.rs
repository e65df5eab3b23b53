//! The fuzz targets without a fuzzer: each over its corpus, over what once broke it, and over inputs made of those, the same ones
//! at every run.

use std::path::{Path, PathBuf};

use jidoka_tests::fuzz::{TARGETS, Target};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/fuzz")
}

/// The files of a directory by name; none if it is not there.
fn inputs(dir: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Numbers that look like chance (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end.max(1) as u64).unwrap()
    }

    /// A place and one not before it.
    fn range(&mut self, end: usize) -> (usize, usize) {
        let from = self.below(end + 1);
        (from, (from + self.below(32)).min(end))
    }

    /// An input of the corpus with some changes, as a fuzzer makes them.
    fn changed(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(6) {
            let (from, to) = self.range(input.len());
            let other = &corpus[self.below(corpus.len())];
            let (start, end) = self.range(other.len());
            let new = match self.below(6) {
                0 => Vec::new(),
                1 => input[from..to].repeat(2),
                2 => other[start..end].to_vec(),
                3 => input[from..to].iter().map(|byte| byte ^ (1 << self.below(8))).collect(),
                4 => vec![[0, 0x7f, 0x80, 0xff, b'\n', b'"', b'{', b'/'][self.below(8)]],
                _ => (from..to).map(|_| u8::try_from(self.below(256)).unwrap()).collect(),
            };
            input.splice(from..to, new);
        }
        input
    }
}

/// Runs a target over all that is known of it.
fn over_all(name: &str) {
    let Target { run, mutations, .. } = TARGETS.into_iter().find(|target| target.name == name).unwrap();
    let corpus = inputs(&fuzz().join("corpus").join(name));
    assert!(!corpus.is_empty());
    for input in corpus.iter().chain(&inputs(&fuzz().join("regressions").join(name))) {
        run(input);
    }
    let mut dice = Dice(6);
    for number in 0..mutations {
        let input = dice.changed(&corpus);
        let ran = std::panic::catch_unwind(|| run(&input));
        assert!(ran.is_ok(), "input {number} of {name}: {:?}", String::from_utf8_lossy(&input));
    }
}

/// Any calls of a guest, with any arguments, in any order.
#[test]
pub(super) fn any_calls() {
    over_all("calls");
}

#[test]
fn http() {
    over_all("http");
}

#[test]
fn job() {
    over_all("job");
}

#[test]
fn journal() {
    over_all("journal");
}

#[test]
fn loader() {
    over_all("loader");
}

#[test]
fn paths() {
    over_all("paths");
}

#[test]
fn schema() {
    over_all("schema");
}

#[test]
fn sse() {
    over_all("sse");
}

#[test]
fn wire() {
    over_all("wire");
}

/// A body, a program and a corpus of each target, and a test of it here.
#[test]
fn every_target_is_there_whole() {
    let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let programs: Vec<&str> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""))
        .collect();
    assert_eq!(programs, TARGETS.map(|target| target.name));
    let this = include_str!("fuzz.rs");
    for name in programs {
        assert!(fuzz().join("fuzz_targets").join(format!("{name}.rs")).exists(), "{name}");
        assert!(this.contains(&format!("over_all(\"{name}\");")), "{name}");
    }
}
