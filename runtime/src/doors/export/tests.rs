//! What an export promises to whoever has only the file, and what a hostile file cannot do.

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::super::chain::Sealer;
use super::super::chain::tests::{KEY, opened};
use super::*;
use crate::rules::effect::{Cost, Effect, Heard, Kind as Effects, Level, Parent};
use crate::rules::ledger::Amounts;
use crate::rules::model::{Message, Request, Role};
use crate::rules::progress::Mark;
use crate::rules::spec::MarkKind;

const EVIDENCE: &[u8] = b"proof";

/// A store of blobs with a component and a tree of two files.
struct Host {
    _dir: tempfile::TempDir,
    blobs: Blobs,
    component: Digest,
    tree: Digest,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let open = |name: &str| {
            std::fs::create_dir_all(dir.path().join(name)).expect("a directory");
            Dir::open_ambient_dir(dir.path().join(name), ambient_authority()).expect("opens")
        };
        let blobs = Blobs::open(open("blobs")).expect("a store");
        let work = open("work");
        work.write("a.txt", "first").expect("writes");
        work.create_dir("b").expect("writes");
        work.write("b/c.txt", "second").expect("writes");
        let keeping = blobs.keeping().expect("the lock");
        let component = keeping.keep(b"component").expect("keeps");
        let tree = super::super::tree::scan(&work, &Default::default(), &Default::default()).expect("scans");
        let tree = keeping.keep_tree(&work, &tree, None).expect("keeps");
        drop(keeping);
        Self { _dir: dir, blobs, component, tree }
    }

    fn opening(&self, serial: &str, parent: Option<Parent>) -> Body {
        let Body::Opened { mut opening } = opened(serial) else { unreachable!("an opening") };
        opening.origin.component = self.component;
        opening.origin.checks = vec![None, Some(self.component)];
        opening.origin.tools = [("search".to_owned(), self.component)].into();
        opening.origin.tree = Some(self.tree);
        opening.origin.parent = parent;
        Body::Opened { opening }
    }

    /// Asks twice with a history that grows, attaches, and shows a tree.
    fn bodies(&self, serial: &str) -> Vec<Body> {
        let heard: Heard = Ok(Answer::Attached { id: evidence::address(EVIDENCE).to_string() });
        let mark = Mark { kind: MarkKind::Tree, digest: Digest::from_bytes([2; 32]) };
        vec![
            self.opening(serial, None),
            ask(1, &["one", "two"]),
            Body::Noted { level: Level::Info, message: "n".into(), fields: vec![] },
            ask(2, &["one", "two", "three"]),
            Body::Answered { call: 3, kind: Effects::Attach, heard, cost: Cost::default(), tree: None },
            Body::Marked { call: Some(3), mark, tree: Some(self.tree) },
        ]
    }

    fn write(&self, runs: &[Exported]) -> Vec<u8> {
        let mut file = Vec::new();
        let evidence = |_: &str, _: &Digest| Ok(EVIDENCE.to_vec());
        write(runs, &self.blobs, &evidence, &mut file).expect("is exported");
        file
    }

    fn file(&self) -> Vec<u8> {
        self.write(&[run("s", self.bodies("s"))])
    }
}

fn ask(call: u64, contents: &[&str]) -> Body {
    let message = |content: &&str| Message {
        role: Role::User,
        content: (*content).into(),
        tool_calls: vec![],
        tool_call_id: None,
        provider_state: None,
    };
    let request = Request {
        model: "m".into(),
        messages: contents.iter().map(message).collect(),
        tools: vec![],
        max_output: 10,
        min_output: 1,
        schema: Some("{}".into()),
    };
    let effect = Effect::Model { request };
    Body::Intent { call, attempt: 1, effect, max_output: None, sent: None, reserved: Amounts::default() }
}

fn kept(bodies: Vec<Body>) -> Kept {
    let mut sealer = Sealer::new(KEY);
    let sealed: Vec<_> = bodies.into_iter().map(|body| sealer.seal(7, body)).collect();
    Kept {
        key: Some(KEY),
        head: sealer.head().expect("has entries"),
        pieces: sealed.iter().flat_map(|entry| entry.pieces.clone()).collect(),
        rows: sealed.into_iter().map(|entry| entry.row).collect(),
    }
}

fn run(serial: &str, bodies: Vec<Body>) -> Exported {
    Exported::of(serial.to_owned(), kept(bodies)).expect("holds")
}

fn problem(file: &[u8]) -> String {
    check(&mut &*file).expect_err("is found").to_string()
}

/// The file with one text put in the place of another, once.
fn replaced(file: &[u8], from: &str, to: &str) -> Vec<u8> {
    let at = file.windows(from.len()).position(|window| window == from.as_bytes()).expect("is there");
    [&file[..at], to.as_bytes(), &file[at + from.len()..]].concat()
}

#[test]
fn an_export_is_read_as_it_was_written() {
    let host = Host::new();
    let file = host.file();
    assert_eq!(file, host.file());
    let (mut trees, mut blobs, mut attached) = (0, Vec::new(), 0);
    let (runs, summary) = read(&mut &*file, &mut |part| {
        match part {
            Part::Tree(tree) => trees += tree.len(),
            Part::Blob { bytes, source, .. } => {
                let mut found = Vec::new();
                source.read_to_end(&mut found)?;
                assert_eq!(found.len() as u64, bytes);
                blobs.push(String::from_utf8(found).expect("text"));
            }
            Part::Evidence { bytes, .. } => attached += bytes.len(),
        }
        Ok(())
    })
    .expect("holds");
    blobs.sort();
    assert_eq!((trees, blobs, attached), (2, vec!["component".into(), "first".into(), "second".into()], 5));
    assert_eq!(summary.bytes, file.len() as u64);
    assert_eq!((summary.runs.len(), &*summary.runs[0].serial, summary.runs[0].verdict.as_deref()), (1, "s", None));
    assert_eq!(host.write(&runs), file);
}

#[test]
fn a_flipped_byte_is_found_wherever_it_is() {
    let file = Host::new().file();
    for byte in 0..file.len() {
        for bit in [1, 0x20] {
            let mut flipped = file.clone();
            flipped[byte] ^= bit;
            assert!(check(&mut &*flipped).is_err(), "byte {byte} of {}", String::from_utf8_lossy(&file));
        }
    }
}

#[test]
fn an_erased_run_is_exported_without_what_is_erased() {
    let host = Host::new();
    let mut erased = kept(host.bodies("s"));
    erased.key = None;
    erased.pieces.clear();
    erased.rows.iter_mut().for_each(|row| row.content = None);
    let file = host.write(&[Exported::of("s".into(), erased).expect("holds")]);
    assert!(check(&mut &*file).expect("holds").runs[0].erased);
    let text = String::from_utf8(file).expect("text");
    assert!(
        !["key ", "content ", "piece ", "tree ", "blob ", "evidence "]
            .iter()
            .any(|kind| text.contains(&format!("\n{kind}")))
    );
}

#[test]
fn a_content_that_is_missing_is_no_erasure() {
    let mut part = kept(Host::new().bodies("s"));
    part.rows[2].content = None;
    let error = Exported::of("s".into(), part).err().expect("is found").to_string();
    assert_eq!(error, "run s: entry 2: its content is missing");
}

#[test]
fn a_piece_is_told_by_the_first_entry_that_needs_it() {
    let host = Host::new();
    let whole = kept(host.bodies("s"));
    for (address, text) in &whole.pieces {
        let needs =
            |seq: usize| whole.rows[seq].content.as_ref().is_some_and(|content| content.contains(&address.to_string()));
        // The first message is named by no content, only by the message after it.
        let first = if text.contains("one") || needs(1) { 1 } else { 3 };
        let with = |change: &dyn Fn(&mut Pieces)| {
            let mut changed = whole.clone();
            change(&mut changed.pieces);
            Exported::of("s".into(), changed).err().expect("is found").to_string()
        };
        let changed = with(&|pieces| drop(pieces.insert(*address, "other".into())));
        assert_eq!(changed, format!("run s: entry {first}: piece {address} of its content is not what was written"));
        let removed = with(&|pieces| drop(pieces.remove(address)));
        assert_eq!(removed, format!("run s: entry {first}: piece {address} of its content is missing"));
    }
}

#[test]
fn what_nothing_needs_cannot_be_in_the_file() {
    let host = Host::new();
    let extra = KEY.address("\"extra\"");
    let mut more = kept(host.bodies("s"));
    more.pieces.insert(extra, "\"extra\"".into());
    let file = host.write(&[Exported::of("s".into(), more).expect("holds")]);
    assert_eq!(file, host.file(), "an export leaves it out");
    let address = evidence::address(b"x");
    let with = replaced(&file, "\nevidence ", &format!("\nblob {address} 1\nx\nevidence "));
    let error = problem(&with);
    assert!(error.contains("where") || error.contains("needs") || error.contains("missing"), "{error}");
}

#[test]
fn a_fork_stands_behind_its_parent() {
    let host = Host::new();
    let parent = run("s", host.bodies("s"));
    let last = &parent.entries[2];
    let at = Parent { serial: "s".into(), seq: last.seq, hash: last.hash };
    let fork = |parent| run("f", vec![host.opening("f", Some(parent)), ask(1, &["one"])]);
    let file = host.write(&[run("s", host.bodies("s")), fork(at.clone())]);
    let serials: Vec<String> = check(&mut &*file).expect("holds").runs.into_iter().map(|run| run.serial).collect();
    assert_eq!(serials, ["s", "f"]);
    let wrong = |runs: &[Exported]| {
        let evidence = |_: &str, _: &Digest| Ok(EVIDENCE.to_vec());
        write(runs, &host.blobs, &evidence, &mut io::sink()).expect_err("is found").to_string()
    };
    let other = Parent { seq: 3, ..at.clone() };
    assert_eq!(wrong(&[run("s", host.bodies("s")), fork(other)]), "run f: entry 0: entry 3 of its parent s is another");
    assert_eq!(wrong(&[fork(at)]), "run f: entry 0: the run before it is not its parent s");
    let two = [run("s", host.bodies("s")), run("t", host.bodies("t"))];
    assert_eq!(wrong(&two), "run t: entry 0: it is no fork, and the run before it is s");
}

#[test]
fn a_file_that_says_more_than_it_has_costs_what_it_has() {
    let file = Host::new().file();
    let entry =
        String::from_utf8_lossy(&file).lines().find(|line| line.starts_with("entry 0 ")).expect("is there").to_owned();
    for length in ["99999999", "99999999999999", "18446744073709551615", "18446744073709551616", "012", "+1", "", "-1"]
    {
        let error = problem(&replaced(&file, &entry, &format!("entry 0 {length}")));
        assert!(error.starts_with("byte "), "{length}: {error}");
    }
    let at_most = MAX_JOURNAL_BYTES + 1;
    let error = problem(&replaced(&file, &entry, &format!("entry 0 {at_most}")));
    assert!(error.contains(&format!("at most {MAX_JOURNAL_BYTES}")), "{error}");
    let long = format!("jidoka-run 2\nrun {} 1\n", "s".repeat(1 << 20));
    assert!(problem(long.as_bytes()).starts_with("byte 13: "));
    let long = format!("jidoka-run 2\nrun {} 84\n", "s".repeat(MAX_SERIAL_BYTES + 1));
    assert!(check(&mut long.as_bytes()).is_err());
}

#[test]
fn a_serial_leads_nowhere_else() {
    for serial in ["", "..", "a/b", "a.b", "a\u{e9}", &"s".repeat(MAX_SERIAL_BYTES + 1)] {
        assert!(Exported::of(serial.into(), kept(Host::new().bodies(serial))).is_err(), "{serial}");
    }
    let longest = "s".repeat(MAX_SERIAL_BYTES);
    assert!(Exported::of(longest.clone(), kept(Host::new().bodies(&longest))).is_ok());
}

#[test]
fn a_tree_leads_nowhere_else_and_has_one_spelling() {
    for (document, why) in [
        (r#"{"../a":{"kind":"link","target":"b"}}"#, "a path that cannot be"),
        (r#"{"/a":{"kind":"link","target":"b"}}"#, "a path that cannot be"),
        (r#"{ "a":{"kind":"link","target":"b"}}"#, "not canonical"),
        (r#"{"b":{"kind":"empty-directory"},"a":{"kind":"empty-directory"}}"#, "not canonical"),
        (r#"{"a":{"kind":"fifo"}}"#, "cannot be read"),
    ] {
        let address = evidence::address(document.as_bytes());
        let error = tree_of(document.as_bytes(), &address).expect_err("is found");
        assert!(error.contains(why), "{document}: {error}");
    }
}

#[test]
fn another_version_of_the_framing_says_so() {
    let file = Host::new().file();
    assert!(problem(&replaced(&file, "jidoka-run 2", "jidoka-run 3")).contains("format 3; this version knows up to 2"));
    assert!(
        problem(&replaced(&file, "jidoka-run 2", "jidoka-run 1")).contains("format 1; this version reads from 2 on")
    );
    assert_eq!(problem(b"SQLite format 3\n"), "byte 0: it is not an exported run");
    assert_eq!(problem(b""), "byte 0: no record begins like this");
}
