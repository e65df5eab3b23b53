//! What is left out, beside what git itself would leave out.

use std::fs;
use std::os::unix::fs::symlink;

use cap_std::ambient_authority;
use tempfile::TempDir;

use super::*;
use crate::doors::tree::{Manifest, scan};
use crate::doors::workspace;

fn open(dir: &TempDir) -> Dir {
    Dir::open_ambient_dir(dir.path(), ambient_authority()).unwrap()
}

fn tree(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(&dir, files);
    dir
}

fn write(dir: &TempDir, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn read(dir: &TempDir, deliverables: &[&str]) -> Result<Ignored, ScanError> {
    let deliverables: Vec<String> = deliverables.iter().map(|&path| path.to_owned()).collect();
    Ignored::of_base(&open(dir), &Bounds::default(), LeaveOut::of(&deliverables))
}

fn of(files: &[(&str, &str)], deliverables: &[&str]) -> Ignored {
    read(&tree(files), deliverables).unwrap()
}

fn seen(dir: &TempDir, ignored: &Ignored) -> Manifest {
    scan(&open(dir), &Bounds::default(), ignored).unwrap()
}

#[test]
fn rules_are_read_as_git_reads_them() {
    let top = "target/\n*.log\n!keep.log\n/only-here\n# a comment\n\\#odd\nsp ace  \n{a,b}\na/**/z\n[\nnode_modules\n\
        !\n/\n!/\nv[[:digit:]]\n[!v][:digit:]\n";
    let ignored = of(&[(".gitignore", top), ("sub/.gitignore", "!again.log\n/mine\n")], &["."]);
    for (path, is_directory) in [
        ("target", true),
        ("deep/down/target", true),
        ("target/x/y", false),
        ("a.log", false),
        ("sub/b.log", false),
        ("only-here", false),
        ("#odd", false),
        ("sp ace", false),
        ("{a,b}", false),
        ("a/z", false),
        ("a/b/c/z", false),
        ("sub/mine", false),
        ("node_modules/keep.log", false),
        ("x/node_modules", false),
        ("v7", false),
        ("wt", false),
    ] {
        assert!(ignored.covers(path, is_directory), "{path}");
    }
    for (path, is_directory) in [
        ("target", false),
        ("targets", true),
        ("keep.log", false),
        ("sub/again.log", false),
        ("deep/only-here", false),
        ("a comment", false),
        ("a", false),
        ("b", false),
        ("mine", false),
        ("x/mine", false),
        ("vt", false),
        ("x7", false),
        (".gitignore", false),
    ] {
        assert!(!ignored.covers(path, is_directory), "{path}");
    }
}

#[test]
fn a_file_with_rules_is_in_the_base_whatever_the_rules_say() {
    let files =
        [(".gitignore", "*\n!/src\n.gitignore\n"), ("src/.gitignore", "*\n"), ("src/a", "x"), ("b/.gitignore", "")];
    let (real, copy) = (tree(&files), tempfile::tempdir().unwrap());
    let ignored = read(&real, &["."]).unwrap();
    assert_eq!(
        seen(&real, &ignored).iter().map(|(path, _)| path).collect::<Vec<_>>(),
        [".gitignore", "src/.gitignore"]
    );
    // So a copy has the same rules as what it is a copy of.
    workspace::copy(&open(&real), &open(&copy), &Bounds::default(), &ignored).unwrap();
    let again = read(&copy, &["."]).unwrap();
    assert!(again.has_rules_of(&ignored));
    assert_eq!(seen(&copy, &again), seen(&real, &ignored));
    write(&copy, &[("src/.gitignore", "")]);
    assert!(!read(&copy, &["."]).unwrap().has_rules_of(&ignored));
}

#[test]
fn a_deliverable_beats_a_rule_and_a_rule_what_is_beside_it() {
    let ignored = of(&[(".gitignore", "dist/\n*.tmp\n")], &["dist/app.js", "out.tmp", "dist/lib"]);
    for path in ["dist/app.js", "out.tmp", "dist/lib", "dist/lib/a.js", "dist"] {
        assert!(!ignored.covers(path, path == "dist"), "{path}");
        assert!(!ignored.covers_here(path, path == "dist"), "{path}");
    }
    for path in ["dist/app.css", "dist/other/a.js", "a.tmp", "dist/lib/a.tmp", "dist/app.js.tmp"] {
        assert!(ignored.covers(path, false) && ignored.covers_here(path, false), "{path}");
    }
    let dir = tree(&[("dist/app.js", "1"), ("dist/app.css", "2"), ("a", "3")]);
    assert_eq!(seen(&dir, &ignored).iter().map(|(path, _)| path).collect::<Vec<_>>(), ["a", "dist/app.js"]);
}

#[test]
fn a_path_of_the_job_beats_everything() {
    let dir = tree(&[("a/.gitignore", "*\n"), ("b/x", "1"), ("a/x", "2")]);
    let (paths, deliverables) = (["a".to_owned()], ["a/x".to_owned()]);
    let asked = LeaveOut { paths: &paths, ..LeaveOut::of(&deliverables) };
    let ignored = Ignored::of_base(&open(&dir), &Bounds::default(), asked).unwrap();
    assert!(ignored.covers("a", true) && ignored.covers("a/x", false) && !ignored.covers("b/x", false));
    assert!(Ignored::default().rules.is_none() && !Ignored::default().covers("target", true));
}

#[test]
fn a_link_is_no_file_with_rules_and_git_itself_is_not_asked() {
    let dir = tree(&[("rules", "*\n"), (".git/info/exclude", "*\n"), ("sub/.gitignore/file", "*\n")]);
    symlink("rules", dir.path().join(".gitignore")).unwrap();
    let ignored = read(&dir, &["."]).unwrap();
    assert!(!ignored.covers("x", false) && !ignored.covers("sub/x", false));
}

#[test]
fn files_with_rules_are_bounded_at_n_and_not_at_n_plus_1() {
    let bytes = |count: u64| "#".repeat(usize::try_from(count).unwrap());
    let said = |dir: &TempDir| read(dir, &["."]).map(drop).map_err(|error| error.to_string());
    let dir = tree(&[(".gitignore", &bytes(MAX_RULE_FILE_BYTES))]);
    assert_eq!(said(&dir), Ok(()));
    write(&dir, &[(".gitignore", &bytes(MAX_RULE_FILE_BYTES + 1))]);
    assert!(said(&dir).unwrap_err().contains("more than 65536 bytes"), "{:?}", said(&dir));

    let dir = tempfile::tempdir().unwrap();
    for number in 0..MAX_RULE_FILES {
        write(&dir, &[(&format!("d{number}/.gitignore"), "x\n")]);
    }
    assert_eq!(said(&dir), Ok(()));
    write(&dir, &[(".gitignore", "")]);
    assert!(said(&dir).unwrap_err().contains("more than 1024 files"), "{:?}", said(&dir));

    let dir = tempfile::tempdir().unwrap();
    for number in 0..MAX_RULE_BYTES / MAX_RULE_FILE_BYTES {
        write(&dir, &[(&format!("d{number}/.gitignore"), &bytes(MAX_RULE_FILE_BYTES))]);
    }
    assert_eq!(said(&dir), Ok(()));
    write(&dir, &[("e/.gitignore", "#")]);
    assert!(said(&dir).unwrap_err().contains("more than 1048576 bytes"), "{:?}", said(&dir));

    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(".gitignore"), b"\xff\n").unwrap();
    assert_eq!(said(&dir).unwrap_err(), "read the ignore rules of \".gitignore\": it is not UTF-8");
}

#[test]
fn patterns_of_a_stranger_are_refused_or_read_and_never_break_the_host() {
    let nested = "{".repeat(60_000);
    assert!(of(&[(".gitignore", &nested)], &["."]).covers(&nested, false));
    let classes = "[".repeat(60_000);
    let stars = format!("{}\n", "*a".repeat(200)).repeat(100);
    for text in [classes, stars, "**/".repeat(20_000), "[a-z".repeat(15_000)] {
        drop(read(&tree(&[(".gitignore", &text)]), &["."]));
    }
}

#[test]
fn the_directories_of_a_base_are_bounded() {
    let dir = tree(&[("a/b/c", "1"), ("d/e", "2")]);
    let read = |bounds: Bounds| Ignored::of_base(&open(&dir), &bounds, LeaveOut::of(&[".".to_owned()])).map(drop);
    read(Bounds { max_files: 3, ..Bounds::default() }).unwrap();
    let many = read(Bounds { max_files: 2, ..Bounds::default() });
    assert!(matches!(many, Err(ScanError::TooManyFiles { max: 2 })));
    read(Bounds { max_depth: 2, ..Bounds::default() }).unwrap();
    let deep = read(Bounds { max_depth: 1, ..Bounds::default() });
    assert!(matches!(deep, Err(ScanError::TooDeep { path, max: 1 }) if path == "a/b"));
}

/// What rules above a tree leave out of it, by the file that they are of and where the tree is below.
fn below(rules: &[(&str, &str)], deliverables: &[&str]) -> Ignored {
    let rules = rules.iter().map(|(top, text)| {
        let [top, text] = [top, text].map(|text| (*text).to_owned());
        RulesAbove { name: "/repo/.gitignore".to_owned(), top, text }
    });
    let left_out = LeftOut { paths: vec![], rules: rules.collect() };
    let deliverables: Vec<String> = deliverables.iter().map(|&path| path.to_owned()).collect();
    let dir = tree(&[(".gitignore", "!seen.env\n"), ("a", "x")]);
    let leave_out = LeaveOut { left_out: &left_out, ..LeaveOut::of(&deliverables) };
    Ignored::of_base(&open(&dir), &Bounds::default(), leave_out).unwrap()
}

#[test]
fn rules_above_count_where_those_of_the_tree_say_nothing_the_nearest_first() {
    let rules =
        [("app", "!near.env\n/app/anchored\nnode_modules/\n"), ("packages/app", "*.env\n/packages/app/far\n/app\n")];
    let ignored = below(&rules, &[".", "made.env"]);
    for (path, is_directory) in
        [(".env", false), ("sub/x.env", false), ("anchored", false), ("far", false), ("x/node_modules", true)]
    {
        assert!(ignored.covers(path, is_directory) && ignored.covers_here(path, is_directory), "{path}");
    }
    for path in ["seen.env", "near.env", "made.env", "sub/anchored", "app", "node_modules"] {
        assert!(!ignored.covers(path, false), "{path}");
    }
    assert_eq!(ignored.left_out().rules.len(), 2);
}

#[test]
fn a_tree_that_its_repository_ignores_is_no_part_of_it() {
    for (rules, holds) in [
        ([("project/src", "*\n"), ("project/src", "")], false),
        ([("project/src", "project/\n"), ("project/src", "")], false),
        ([("src", "/src/\n"), ("project/src", "")], false),
        ([("project/src", "*.env\n"), ("project/src", "")], true),
        ([("src", "!/src/\n*.env\n"), ("project/src", "src/\n")], true),
        ([("", "*.env\n"), ("", "")], true),
    ] {
        let ignored = below(&rules, &["."]);
        assert_eq!(
            (ignored.covers("x.env", false), ignored.left_out().rules.len()),
            (holds, if holds { 2 } else { 0 })
        );
        assert!(!ignored.covers("a", false), "{rules:?}");
    }
}
