//! What counts in a tree, and each bound at N and N+1.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use cap_std::ambient_authority;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::doors::ignored::LeaveOut;

fn read(dir: &TempDir, bounds: &Bounds) -> Result<Manifest, ScanError> {
    read_but(dir, bounds, &[])
}

fn read_but(dir: &TempDir, bounds: &Bounds, ignore: &[&str]) -> Result<Manifest, ScanError> {
    let ignore = Ignored::paths(&ignore.iter().map(|&path| path.to_owned()).collect::<Vec<_>>());
    scan(&Dir::open_ambient_dir(dir.path(), ambient_authority()).unwrap(), bounds, &ignore)
}

fn all(dir: &TempDir) -> Manifest {
    read(dir, &Bounds::default()).unwrap()
}

fn file(contents: &str) -> Entry {
    let digest = Digest::from_bytes(*blake3::hash(contents.as_bytes()).as_bytes());
    Entry::File { digest, bytes: contents.len() as u64, executable: false }
}

fn manifest(entries: &[(&str, Entry)]) -> Manifest {
    entries.iter().map(|(path, entry)| ((*path).to_owned(), entry.clone())).collect()
}

fn link(target: &str) -> Entry {
    Entry::Link { target: target.to_owned() }
}

fn write(dir: &TempDir, path: &str, contents: &str) {
    let path = dir.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}

#[test]
fn a_tree_is_its_names_contents_programs_links_and_empty_directories() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["b", "a/b/c", "a-b", "Case", "case", "new\nline"] {
        write(&dir, path, path);
    }
    write(&dir, "tool", "#!");
    fs::set_permissions(dir.path().join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(dir.path().join("e/mpty")).unwrap();
    symlink("/etc", dir.path().join("etc")).unwrap();
    let tool = match file("#!") {
        Entry::File { digest, bytes, .. } => Entry::File { digest, bytes, executable: true },
        other => other,
    };
    let expected = manifest(&[
        ("b", file("b")),
        ("a/b/c", file("a/b/c")),
        ("a-b", file("a-b")),
        ("Case", file("Case")),
        ("case", file("case")),
        ("new\nline", file("new\nline")),
        ("tool", tool),
        ("e/mpty", Entry::EmptyDirectory {}),
        ("etc", link("/etc")),
    ]);
    assert_eq!(all(&dir), expected);
    let json = serde_json::to_string(&expected).unwrap();
    assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), expected);
}

#[test]
fn a_time_never_matters() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir, "a", "1");
    let before = all(&dir);
    let old = std::time::SystemTime::UNIX_EPOCH;
    fs::File::options().write(true).open(dir.path().join("a")).unwrap().set_modified(old).unwrap();
    fs::File::open(dir.path()).unwrap().set_modified(old).unwrap();
    assert_eq!(all(&dir), before);
    assert_eq!(all(&dir).digest(&["."]), before.digest(&["."]));
}

#[test]
fn git_is_left_out_at_any_depth_and_staging_at_the_top_only() {
    let dir = tempfile::tempdir().unwrap();
    let left_out = [".git/HEAD", ".jidoka-apply-x/plan.json", "sub/.git/HEAD", "sub/deep/.GIT/config", "module/.git"];
    let kept = ["sub/.jidoka-apply-x/a", ".gitignore", "sub/.github/a", "module/a", "sub/a.git/HEAD"];
    for path in left_out.iter().chain(&kept) {
        write(&dir, path, "x");
    }
    let paths: Vec<String> = all(&dir).iter().map(|(path, _)| path.to_owned()).collect();
    let mut expected = [&kept[..], &["sub/deep"]].concat();
    expected.sort_unstable();
    assert_eq!(paths, expected);
}

#[test]
fn ignored_paths_are_left_out_by_whole_components() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["target/x", "target2", "a/cache", "a/b/target"] {
        write(&dir, path, "x");
    }
    let expected = manifest(&[("target2", file("x")), ("a/b/target", file("x"))]);
    assert_eq!(read_but(&dir, &Bounds::default(), &["target", "a/cache"]).unwrap(), expected);
}

#[test]
fn bookkeeping_and_empty_directories_are_no_part_of_a_mark_where_the_base_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir, "src/a", "1");
    fs::create_dir(dir.path().join("src/empty")).unwrap();
    let top = Dir::open_ambient_dir(dir.path(), ambient_authority()).unwrap();
    let asked = Ignored::of_base(&top, &Bounds::default(), LeaveOut::of(&[".".to_owned()])).unwrap();
    let unasked = Ignored::default();
    let base = all(&dir);
    assert_eq!(base.mark(&["."], &unasked), base.digest(&["."]));
    let files: Manifest =
        base.iter().filter(|(path, _)| *path == "src/a").map(|(p, e)| (p.into(), e.clone())).collect();
    assert_eq!(base.mark(&["."], &asked), files.digest(&["."]));
    for path in [".gitignore", "src/empty/.ignore", "b/.gitattributes", "b/.git/HEAD", "c/.GitIgnore", ".ignore/x"] {
        write(&dir, path, "x");
        assert!(is_bookkeeping(path), "{path}");
    }
    fs::create_dir_all(dir.path().join("d/e")).unwrap();
    let end = all(&dir);
    assert_eq!(end.mark(&["."], &asked), base.mark(&["."], &asked));
    assert_ne!(end.mark(&["."], &unasked), base.mark(&["."], &unasked));
    let paths = |ignored| Manifest::changes_of_work(&base, &end, ignored).into_iter().map(|it| it.path);
    assert!(paths(&asked).all(|path| is_bookkeeping(&path)) && paths(&asked).count() == 5, "a `.git` is not looked at");
    assert!(paths(&unasked).any(|path| path == "d/e"));
    for path in ["gitignore", "src/a.gitignore", "src/.gitignored", ".github/x", "src/git"] {
        assert!(!is_bookkeeping(path), "{path}");
    }
    write(&dir, "src/a", "2");
    assert_ne!(all(&dir).mark(&["."], &asked), base.mark(&["."], &asked));
}

#[test]
fn under_goes_by_whole_components() {
    assert!(under(&["src"], "src") && under(&["src"], "src/a") && under(&["."], "x/y"));
    assert!(!under(&["src"], "src2") && !under(&["src/a"], "src") && !under::<&str>(&[], "x"));
}

/// Whether a tree is within a bound, whatever else.
fn fits(dir: &TempDir, bounds: Bounds) -> bool {
    read(dir, &bounds).is_ok()
}

#[test]
fn each_bound_holds_at_n_and_not_at_n_plus_1() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir, "a/b/cc", "12345");
    write(&dir, "d", "678");
    symlink("target", dir.path().join("l")).unwrap();
    let bounds = Bounds::default;
    // a, a/b, a/b/cc, d, l.
    assert!(fits(&dir, Bounds { max_files: 5, ..bounds() }));
    assert!(matches!(read(&dir, &Bounds { max_files: 4, ..bounds() }), Err(ScanError::TooManyFiles { max: 4 })));
    assert!(fits(&dir, Bounds { max_bytes: 8, ..bounds() }));
    assert!(matches!(read(&dir, &Bounds { max_bytes: 7, ..bounds() }), Err(ScanError::TooManyBytes { max: 7, .. })));
    assert!(fits(&dir, Bounds { max_depth: 3, ..bounds() }));
    let deep = read(&dir, &Bounds { max_depth: 2, ..bounds() });
    assert!(matches!(deep, Err(ScanError::TooDeep { path, max: 2 }) if path == "a/b/cc"));
    assert!(fits(&dir, Bounds { max_name_bytes: 2, ..bounds() }));
    let name = read(&dir, &Bounds { max_name_bytes: 1, ..bounds() });
    assert!(matches!(name, Err(ScanError::NameTooLong { path, max: 1 }) if path == "a/b/cc"));
    assert!(fits(&dir, Bounds { max_path_bytes: 6, ..bounds() }));
    assert!(matches!(
        read(&dir, &Bounds { max_path_bytes: 5, ..bounds() }),
        Err(ScanError::PathTooLong { max: 5, .. })
    ));
    // 1 + 3 + 6 + 1 + 1, and the link's target.
    assert!(fits(&dir, Bounds { max_listing_bytes: 18, ..bounds() }));
    let listing = read(&dir, &Bounds { max_listing_bytes: 17, ..bounds() });
    assert!(matches!(listing, Err(ScanError::ListingTooLong { max: 17 })));
}

#[test]
fn the_default_depth_and_number_of_files_hold_at_n_and_not_at_n_plus_1() {
    let dir = tempfile::tempdir().unwrap();
    let path = |depth: usize| vec!["d"; depth].join("/");
    fs::create_dir_all(dir.path().join(path(128))).unwrap();
    assert_eq!(all(&dir).iter().count(), 1);
    fs::create_dir(dir.path().join(path(129))).unwrap();
    assert!(matches!(read(&dir, &Bounds::default()), Err(ScanError::TooDeep { max: 128, .. })));
    fs::remove_dir_all(dir.path().join("d")).unwrap();

    // Links to one file: an inode each would only be slower.
    fs::write(dir.path().join("0"), "").unwrap();
    for number in 1..50_000 {
        fs::hard_link(dir.path().join("0"), dir.path().join(number.to_string())).unwrap();
    }
    let many = Bounds { max_files: 50_000, ..Bounds::default() };
    assert_eq!(read(&dir, &many).unwrap().len(), 50_000);
    fs::write(dir.path().join("one more"), "").unwrap();
    assert!(matches!(read(&dir, &many), Err(ScanError::TooManyFiles { max: 50_000 })));
}

#[test]
fn a_sparse_file_costs_its_length() {
    let dir = tempfile::tempdir().unwrap();
    fs::File::create(dir.path().join("huge")).unwrap().set_len((2 << 30) + 1).unwrap();
    assert!(matches!(read(&dir, &Bounds::default()), Err(ScanError::TooManyBytes { path, .. }) if path == "huge"));
}

#[test]
fn names_and_targets_that_are_not_utf_8_are_refused() {
    use std::ffi::OsStr;
    let bad = Path::new(OsStr::from_bytes(b"a\xffb"));
    let dir = tempfile::tempdir().unwrap();
    symlink(bad, dir.path().join("link")).unwrap();
    assert!(matches!(read(&dir, &Bounds::default()), Err(ScanError::NotUtf8 { path }) if path == "link"));
    fs::remove_file(dir.path().join("link")).unwrap();
    fs::write(dir.path().join(bad), "x").unwrap();
    assert!(matches!(read(&dir, &Bounds::default()), Err(ScanError::NotUtf8 { path }) if path == "a\u{fffd}b"));
}

#[test]
fn the_digest_covers_exactly_the_deliverables() {
    let tree = manifest(&[("a", file("1")), ("b/c", file("2")), ("b2", file("3"))]);
    let part = manifest(&[("b/c", file("2"))]);
    assert_eq!(tree.digest(&["b"]), part.digest(&["."]));
    assert_eq!(tree.digest(&["a", "b", "b2"]), tree.digest(&["."]));
    assert_ne!(tree.digest(&["b"]), tree.digest(&["b2"]));
}

#[test]
fn the_encoding_of_a_digest_does_not_change() {
    let tree = manifest(&[("a", file("1")), ("e", Entry::EmptyDirectory {}), ("l", link("/x"))]);
    assert_eq!(
        tree.digest(&["."]).to_string(),
        "blake3:0ad5878dff5fc0ec33b0959f8923dd5d8ae5f2c71516fff124d97f919e3fcfd1"
    );
}

#[test]
fn changes_are_named_and_sorted() {
    let base = manifest(&[("a", file("1")), ("b", file("1")), ("d", Entry::EmptyDirectory {}), ("e/f", file("1"))]);
    let end = manifest(&[("a", link("x")), ("c", file("1")), ("d/x", file("1")), ("e", Entry::EmptyDirectory {})]);
    let changes: Vec<_> = Manifest::changes(&base, &end).into_iter().map(|change| (change.path, change.kind)).collect();
    let expected = [
        ("a", ChangeKind::Modified),
        ("b", ChangeKind::Removed),
        ("c", ChangeKind::Added),
        ("d/x", ChangeKind::Added),
        ("e/f", ChangeKind::Removed),
    ];
    assert_eq!(changes, expected.map(|(path, kind)| (path.to_owned(), kind)));
}

fn entries() -> impl Strategy<Value = Manifest> {
    let entry = prop_oneof![
        ("[ab]{0,2}", any::<bool>()).prop_map(|(contents, executable)| match file(&contents) {
            Entry::File { digest, bytes, .. } => Entry::File { digest, bytes, executable },
            other => other,
        }),
        "[ab]{0,2}".prop_map(|target| link(&target)),
        Just(Entry::EmptyDirectory {}),
    ];
    prop::collection::btree_map("[ab\u{1}]{1,3}", entry, 0..4).prop_map(|entries| entries.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn digests_are_equal_exactly_if_the_trees_are(one in entries(), other in entries()) {
        prop_assert_eq!(one.digest(&["."]) == other.digest(&["."]), one == other);
        prop_assert_eq!(Manifest::changes(&one, &other).is_empty(), one == other);
        prop_assert_eq!(one.digest(&["."]), one.clone().digest(&["."]));
    }
}
