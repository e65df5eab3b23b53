//! What a guest does to its copy, told as the files door tells it, and what something else does there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use tempfile::TempDir;

use super::*;
use crate::doors::ignored::LeaveOut;
use crate::doors::tree::{Bounds, see};

struct Bench {
    copy: TempDir,
    base: Manifest,
    ignored: Arc<Ignored>,
    trail: Trail,
}

impl Bench {
    fn new() -> Self {
        let copy = tempfile::tempdir().unwrap();
        let at = |path: &str| copy.path().join(path);
        fs::create_dir_all(at("src/deep")).unwrap();
        fs::create_dir(at("empty")).unwrap();
        for (path, text) in [("a", "one"), ("src/b", "two"), ("src/deep/c", "three"), (".gitignore", "target/\n")] {
            fs::write(at(path), text).unwrap();
        }
        symlink("src", at("way")).unwrap();
        let dir = Dir::open_ambient_dir(copy.path(), ambient_authority()).unwrap();
        let ignored = Arc::new(Ignored::of_base(&dir, &Bounds::default(), LeaveOut::of(&[".".to_owned()])).unwrap());
        let seen = see(&dir, &Bounds::default(), &ignored).unwrap();
        let trail = Trail::new(&seen, Arc::clone(&ignored));
        Self { copy, base: seen.manifest, ignored, trail }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.copy.path().join(path)
    }

    fn dir(&self) -> Dir {
        Dir::open_ambient_dir(self.copy.path(), ambient_authority()).unwrap()
    }

    fn look_after(&self, handed: &[String]) -> Result<(), String> {
        let seen = see(&self.dir(), &Bounds::default(), &self.ignored).unwrap();
        self.trail.explains(&self.dir(), &seen, &self.base, handed)
    }

    fn look(&self) -> Result<(), String> {
        self.look_after(&[])
    }

    #[track_caller]
    fn blames(&self, words: &str) {
        let why = self.look().expect_err("somebody else was here");
        assert!(why.contains(words), "{why}");
        assert!(self.look().is_err(), "it stays found");
    }

    fn inode(&self, path: &str) -> u64 {
        use std::os::unix::fs::MetadataExt;
        fs::symlink_metadata(self.at(path)).unwrap().ino()
    }

    fn stamp(&self, path: &str) -> Stamp {
        stamp(&fs::File::open(self.at(path)).unwrap()).unwrap()
    }

    /// A name as a guest says it who has the top open.
    fn spot(&self, path: &str) -> Spot {
        Spot { directory: self.inode(""), path: path.to_owned(), follow: true }
    }

    fn naming(&self, paths: &[&str]) -> Vec<Spot> {
        let spots: Vec<Spot> = paths.iter().map(|path| Spot { follow: false, ..self.spot(path) }).collect();
        self.trail.note(Touch::Naming(spots.clone()));
        spots
    }

    fn writes(&self, path: &str, text: &str) {
        let there = self.at(path).exists();
        if there {
            self.trail.note(Touch::Writing(self.stamp(path)));
            fs::write(self.at(path), text).unwrap();
            self.trail.note(Touch::Written(self.stamp(path)));
        } else {
            self.trail.note(Touch::Naming(vec![self.spot(path)]));
            fs::write(self.at(path), text).unwrap();
            self.trail.note(Touch::MadeFile(self.spot(path), self.stamp(path)));
        }
    }

    fn empties(&self, path: &str) {
        self.trail.note(Touch::Naming(vec![self.spot(path)]));
        fs::write(self.at(path), "").unwrap();
        self.trail.note(Touch::Emptied(self.stamp(path)));
    }

    fn makes(&self, path: &str) {
        let [spot] = self.naming(&[path]).try_into().unwrap();
        fs::create_dir(self.at(path)).unwrap();
        self.trail.note(Touch::MadeDirectory(spot, self.inode(path)));
    }

    fn removes(&self, path: &str) {
        let [spot] = self.naming(&[path]).try_into().unwrap();
        let at = self.at(path);
        let is_dir = fs::symlink_metadata(&at).unwrap().is_dir();
        if is_dir { fs::remove_dir(at) } else { fs::remove_file(at) }.unwrap();
        self.trail.note(Touch::Removed(spot));
    }

    fn moves(&self, from: &str, to: &str) {
        let stands = |path: &str| self.at(path).is_file().then(|| self.stamp(path));
        let [one, other] = self.naming(&[from, to]).try_into().unwrap();
        let before = stands(from);
        fs::rename(self.at(from), self.at(to)).unwrap();
        self.trail.note(Touch::Moved { from: one, to: other, before, after: stands(to) });
    }
}

/// As an editor saves.
fn saved(path: &Path, text: &str) {
    let draft = path.with_extension("draft");
    fs::write(&draft, text).unwrap();
    fs::rename(draft, path).unwrap();
}

#[test]
fn all_that_a_guest_does_is_its_own() {
    let bench = Bench::new();
    bench.writes("a", "one and more");
    bench.empties("src/b");
    bench.writes("src/b", "two");
    bench.writes("new", "x");
    bench.makes("made");
    bench.writes("made/x", "y");
    bench.look().unwrap();
    bench.moves("made", "src/made");
    bench.writes("src/made/x", "z");
    bench.moves("a", "new");
    bench.writes("new", "zz");
    bench.removes("src/deep/c");
    bench.removes("src/deep");
    bench.makes("target");
    bench.writes("target/out", "ignored");
    bench.look().unwrap();
    bench.moves("target", "built");
    bench.look().unwrap();
    bench.moves("src", "lib");
    bench.removes("way");
    bench.writes("lib/made/x", "");
    bench.removes("empty");
    bench.makes("empty");
    bench.look().unwrap();
}

#[test]
fn what_a_guest_does_through_a_link_is_done_where_it_leads() {
    let bench = Bench::new();
    bench.writes("way/new", "x");
    bench.writes("way/../b", "y");
    bench.removes("way/deep/c");
    bench.look().unwrap();
    bench.moves("way", "other");
    bench.writes("other/new", "xx");
    bench.look().unwrap();
}

#[test]
fn a_directory_that_is_open_is_known_by_itself_wherever_it_was_moved() {
    let bench = Bench::new();
    let src = bench.inode("src");
    bench.moves("src", "lib");
    let spot = Spot { directory: src, path: "deep/../new".to_owned(), follow: false };
    bench.trail.note(Touch::Naming(vec![spot.clone()]));
    fs::write(bench.at("lib/new"), "x").unwrap();
    bench.trail.note(Touch::MadeFile(spot, bench.stamp("lib/new")));
    bench.look().unwrap();
}

#[test]
fn what_something_else_does_is_found_whatever_it_is() {
    type Deed = fn(&Bench);
    let deeds: [(&str, &str, Deed); 14] = [
        ("removed", "\"a\" is gone", |bench| fs::remove_file(bench.at("a")).unwrap()),
        ("emptied", "\"a\" was changed", |bench| fs::write(bench.at("a"), "").unwrap()),
        ("saved", "\"src/b\" was changed", |bench| saved(&bench.at("src/b"), "other")),
        ("added", "\"more\" was added", |bench| fs::write(bench.at("more"), "x").unwrap()),
        ("added below", "\"src/x\" was added", |bench| fs::create_dir(bench.at("src/x")).unwrap()),
        ("an empty directory", "\"empty\" is gone", |bench| fs::remove_dir(bench.at("empty")).unwrap()),
        ("a link", "\"way\" was changed", |bench| {
            fs::remove_file(bench.at("way")).unwrap();
            symlink("empty", bench.at("way")).unwrap();
        }),
        ("moved", "\"src\" is gone", |bench| fs::rename(bench.at("src"), bench.at("target")).unwrap()),
        ("another kind", "\"a\" was changed", |bench| {
            fs::remove_file(bench.at("a")).unwrap();
            fs::create_dir(bench.at("a")).unwrap();
        }),
        ("made a program", "\"a\" was changed", |bench| {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(bench.at("a"), fs::Permissions::from_mode(0o755)).unwrap();
        }),
        ("after the guest wrote", "\"a\" was changed", |bench| {
            bench.writes("a", "mine");
            fs::write(bench.at("a"), "theirs").unwrap();
        }),
        ("after the guest moved", "\"z\" was changed", |bench| {
            bench.moves("a", "z");
            saved(&bench.at("z"), "theirs");
        }),
        ("back after the guest removed", "\"a\" was added", |bench| {
            bench.removes("a");
            fs::write(bench.at("a"), "one").unwrap();
        }),
        ("all of it", "is gone", |bench| {
            bench.writes("a", "mine");
            ["a", "src/b", "src/deep/c"].iter().for_each(|path| fs::remove_file(bench.at(path)).unwrap());
        }),
    ];
    for (name, words, deed) in deeds {
        let bench = Bench::new();
        deed(&bench);
        let why = bench.look().expect_err(name);
        assert!(why.starts_with("something other than the worker changed its private copy: "), "{name}: {why}");
        assert!(why.contains(words), "{name}: {why}");
    }
}

#[test]
fn a_guest_that_builds_on_what_something_else_did_does_not_hide_it() {
    let bench = Bench::new();
    fs::write(bench.at("a"), "theirs").unwrap();
    bench.writes("a", "theirs and mine");
    bench.blames("\"a\" was changed");

    let bench = Bench::new();
    fs::remove_file(bench.at("a")).unwrap();
    bench.writes("a", "mine alone");
    bench.blames("\"a\" was gone");

    let bench = Bench::new();
    bench.writes("a", "mine");
    fs::write(bench.at("a"), "theirs").unwrap();
    bench.writes("a", "theirs and mine");
    bench.blames("\"a\" was changed");

    let bench = Bench::new();
    fs::remove_file(bench.at("src/deep/c")).unwrap();
    bench.removes("src/deep");
    bench.blames("\"src/deep/c\" is gone");

    let bench = Bench::new();
    fs::write(bench.at("a"), "theirs").unwrap();
    bench.moves("a", "z");
    bench.blames("\"a\" was changed");
}

#[test]
fn a_copy_that_is_gone_is_no_empty_one() {
    let bench = Bench::new();
    let dir = bench.dir();
    ["a", "src/b", "src/deep/c", ".gitignore", "way"].iter().for_each(|path| bench.removes(path));
    ["src/deep", "src", "empty"].iter().for_each(|path| bench.removes(path));
    bench.look().unwrap();
    fs::remove_dir(bench.copy.path()).unwrap();
    let seen = see(&dir, &Bounds::default(), &bench.ignored).unwrap();
    let why = bench.trail.explains(&dir, &seen, &bench.base, &[]).expect_err("it is gone");
    assert!(why.contains("was removed"), "{why}");
}

#[test]
fn whoever_changes_nothing_is_nobody() {
    let bench = Bench::new();
    saved(&bench.at("a"), "one");
    fs::hard_link(bench.at("src/b"), bench.at("target")).unwrap();
    fs::remove_file(bench.at("target")).unwrap();
    bench.look().unwrap();
    // From now on it is this file that stands there.
    bench.writes("a", "mine");
    bench.look().unwrap();
    fs::create_dir(bench.at("target")).unwrap();
    fs::write(bench.at("target/out"), "ignored").unwrap();
    fs::create_dir_all(bench.at("src/.git")).unwrap();
    bench.look().unwrap();
    // Nor is it anybody's business what becomes of ignored files, a guest's own among them.
    bench.writes("target/mine", "x");
    fs::remove_file(bench.at("target/mine")).unwrap();
    bench.writes("target/mine", "x");
    fs::write(bench.at("target/mine"), "theirs").unwrap();
    bench.writes("target/mine", "y");
    bench.look().unwrap();
}

#[test]
fn a_guest_that_is_stopped_in_the_middle_is_not_taken_for_something_else() {
    let bench = Bench::new();
    drop(bench.naming(&["a", "z"]));
    fs::rename(bench.at("a"), bench.at("z")).unwrap();
    bench.trail.note(Touch::Writing(bench.stamp("src/b")));
    fs::write(bench.at("src/b"), "half").unwrap();
    bench.look().unwrap();
    // Those who come after it have names of their own.
    bench.writes("new", "x");
    bench.look().unwrap();
    fs::write(bench.at("other"), "x").unwrap();
    bench.blames("\"other\" was added");
}

#[test]
fn what_the_host_did_for_a_guest_is_the_guests_and_nothing_else_is() {
    let handed = ["src/b".to_owned(), "sub/new".to_owned(), "src/deep/c".to_owned()];
    let change = |bench: &Bench| {
        saved(&bench.at("src/b"), "a child's");
        fs::create_dir(bench.at("sub")).unwrap();
        fs::write(bench.at("sub/new"), "a child's").unwrap();
        fs::remove_dir_all(bench.at("src/deep")).unwrap();
    };
    let bench = Bench::new();
    change(&bench);
    bench.look_after(&handed).unwrap();
    bench.look().unwrap();
    bench.writes("sub/new", "mine");
    bench.look().unwrap();

    let bench = Bench::new();
    change(&bench);
    fs::write(bench.at("src/more"), "theirs").unwrap();
    assert!(bench.look_after(&handed).unwrap_err().contains("\"src/more\" was added"));
}

#[test]
fn a_copy_that_the_host_laid_out_again_begins_anew_but_what_was_found_stays_found() {
    let bench = Bench::new();
    let see = || see(&bench.dir(), &Bounds::default(), &bench.ignored).unwrap();
    fs::write(bench.at("a"), "as the journal says").unwrap();
    bench.trail.reset(&see());
    bench.look().unwrap();
    fs::write(bench.at("a"), "theirs").unwrap();
    assert!(bench.look().is_err());
    bench.trail.reset(&see());
    assert!(bench.look().is_err() && bench.trail.disturbed().is_some());
}

#[test]
fn names_are_kept_account_of_up_to_n_bytes_and_not_n_plus_1() {
    let bench = Bench::new();
    let known: usize = {
        let state = bench.trail.state();
        state.things.keys().map(String::len).sum()
    };
    let made = |bytes: usize| {
        let spot = Spot { path: "n".repeat(bytes), ..bench.spot("") };
        bench.trail.note(Touch::MadeDirectory(spot, 1));
    };
    made(MAX_NAMES_BYTES - known);
    assert_eq!(bench.trail.disturbed(), None);
    made(1);
    assert!(bench.trail.disturbed().is_some_and(|why| why.contains("one name too many")));
}
