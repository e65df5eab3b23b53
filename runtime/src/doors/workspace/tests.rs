//! A private copy of a hostile tree.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use cap_std::ambient_authority;
use rustix::fs::Mode;
use tempfile::TempDir;

use super::*;
use crate::doors::ignored::LeaveOut;
use crate::doors::tree::scan;

fn open(dir: &TempDir) -> Dir {
    Dir::open_ambient_dir(dir.path(), ambient_authority()).unwrap()
}

fn pair() -> (TempDir, TempDir) {
    (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap())
}

fn copy_all(source: &TempDir, target: &TempDir) -> Result<Copied, CopyError> {
    copy(&open(source), &open(target), &Bounds::default(), &Ignored::default())
}

#[test]
fn a_copy_is_the_same_tree() {
    let (source, target) = pair();
    let at = |path: &str| source.path().join(path);
    fs::create_dir_all(at("a/b/empty")).unwrap();
    fs::write(at("a/b/file"), "contents").unwrap();
    fs::write(at("new\nline"), "").unwrap();
    fs::write(at("tool"), "#!").unwrap();
    fs::set_permissions(at("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("/etc", at("etc")).unwrap();
    symlink("nowhere", at("a/dangling")).unwrap();
    let copied = copy_all(&source, &target).unwrap();
    assert_eq!(copied, Copied { files: 8, bytes: 10 });
    let tree = |dir| scan(&open(dir), &Bounds::default(), &Ignored::default()).unwrap();
    assert_eq!(tree(&source), tree(&target));
    assert_eq!(fs::read_link(target.path().join("etc")).unwrap().to_str(), Some("/etc"));
    let mode = |path: &str| fs::metadata(target.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("a"), mode("tool"), mode("new\nline")), (0o700, 0o700, 0o600));
}

#[test]
fn git_staging_and_skipped_paths_are_not_copied() {
    let (source, target) = pair();
    for dir in [".git", ".jidoka-apply-x", "target", "sub/.git", "sub/cache", "sub/cache2"] {
        fs::create_dir_all(source.path().join(dir)).unwrap();
        fs::write(source.path().join(dir).join("file"), "x").unwrap();
    }
    let skip = ["target".to_owned(), "sub/cache".to_owned()];
    copy(&open(&source), &open(&target), &Bounds::default(), &Ignored::paths(&skip)).unwrap();
    let tree = scan(&open(&target), &Bounds::default(), &Ignored::default()).unwrap();
    assert_eq!(tree.iter().map(|(path, _)| path).collect::<Vec<_>>(), ["sub/cache2/file"]);
}

#[test]
fn a_fifo_and_a_socket_are_named_and_not_opened() {
    let (source, target) = pair();
    fs::create_dir(source.path().join("d")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, source.path().join("d/pipe"), rustix::fs::FileType::Fifo, Mode::RWXU, 0)
        .unwrap();
    match copy_all(&source, &target) {
        Err(CopyError::Source(ScanError::Special { path, kind: "fifo" })) => assert_eq!(path, "d/pipe"),
        other => panic!("{other:?}"),
    }
    let (source, target) = pair();
    let _listener = UnixListener::bind(source.path().join("socket")).unwrap();
    let refused = copy_all(&source, &target);
    assert!(matches!(refused, Err(CopyError::Source(ScanError::Special { kind: "socket", .. }))));
}

/// Root reads everything; without its capabilities it is a user like any other.
fn as_a_user_like_any_other(act: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sets = rustix::thread::capabilities(None).unwrap();
            sets.effective = rustix::thread::CapabilitySet::empty();
            rustix::thread::set_capabilities(None, sets).unwrap();
            act();
        });
    });
}

#[test]
fn an_unreadable_file_or_directory_is_named() {
    for unreadable in ["file", "dir"] {
        let (source, target) = pair();
        fs::create_dir(source.path().join("dir")).unwrap();
        fs::write(source.path().join("file"), "secret").unwrap();
        fs::set_permissions(source.path().join(unreadable), fs::Permissions::from_mode(0o000)).unwrap();
        as_a_user_like_any_other(|| match copy_all(&source, &target) {
            Err(CopyError::Source(error @ ScanError::Denied { .. })) => {
                assert_eq!(error.to_string(), format!("read {unreadable:?}: its permissions do not let this user"));
            }
            other => panic!("{other:?}"),
        });
        fs::set_permissions(source.path().join(unreadable), fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn a_target_that_is_not_empty_is_not_overwritten() {
    let (source, target) = pair();
    fs::write(source.path().join("a"), "new").unwrap();
    symlink("/tmp/jidoka-must-not-exist", target.path().join("a")).unwrap();
    assert!(matches!(copy_all(&source, &target), Err(CopyError::Copy { path, .. }) if path == "a"));
    assert!(target.path().join("a").is_symlink());
}

#[test]
fn bytes_are_bounded_at_n_and_n_plus_1() {
    let (source, target) = pair();
    fs::write(source.path().join("a"), "12345").unwrap();
    let bounds = |max_bytes| Bounds { max_bytes, ..Bounds::default() };
    let refused = copy(&open(&source), &open(&target), &bounds(4), &Ignored::default());
    assert!(matches!(refused, Err(CopyError::Source(ScanError::TooManyBytes { max: 4, .. }))));
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
    copy(&open(&source), &open(&target), &bounds(5), &Ignored::default()).unwrap();
}

/// A walk over a tree of one directory with two files, stopped before the second file.
fn walk_to_second<'a>(source: &TempDir, bounds: &'a Bounds, skip: &'a Ignored) -> Walk<'a> {
    fs::create_dir(source.path().join("d")).unwrap();
    fs::write(source.path().join("d/1"), "1").unwrap();
    fs::write(source.path().join("d/2"), "2").unwrap();
    let mut walk = Walk::new(&open(source), bounds, skip).unwrap();
    assert_eq!(walk.step().unwrap(), Some(Step::Enter));
    assert_eq!(walk.step().unwrap(), Some(Step::File));
    assert_eq!(walk.step().unwrap(), Some(Step::File));
    walk
}

#[test]
fn a_file_that_vanishes_or_becomes_a_link_is_named() {
    let (bounds, skip) = (Bounds::default(), Ignored::default());
    let source = tempfile::tempdir().unwrap();
    let mut walk = walk_to_second(&source, &bounds, &skip);
    fs::remove_file(source.path().join("d/2")).unwrap();
    assert!(matches!(walk.open(), Err(ScanError::Changed { path }) if path == "d/2"));
    symlink("/etc/passwd", source.path().join("d/2")).unwrap();
    assert!(matches!(walk.open(), Err(ScanError::Changed { path }) if path == "d/2"));
    // A file that becomes a fifo must not make us wait for its other end.
    fs::remove_file(source.path().join("d/2")).unwrap();
    let fifo = source.path().join("d/2");
    rustix::fs::mknodat(rustix::fs::CWD, fifo, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert!(matches!(walk.open(), Err(ScanError::Changed { path }) if path == "d/2"));
}

#[test]
fn a_file_that_grows_while_it_is_read_is_named() {
    let (bounds, skip) = (Bounds::default(), Ignored::default());
    let (source, target) = pair();
    let mut walk = walk_to_second(&source, &bounds, &skip);
    let from = walk.open().unwrap();
    fs::write(source.path().join("d/2"), "longer").unwrap();
    let to = fs::File::create(target.path().join("2")).unwrap();
    let refused = copy_file(from, to, "d/2");
    assert!(matches!(refused, Err(CopyError::Source(ScanError::Changed { path })) if path == "d/2"));
    assert_eq!(fs::read(target.path().join("2")).unwrap(), b"lo");
}

#[test]
fn a_directory_that_changes_while_it_is_read_is_named() {
    let (bounds, skip) = (Bounds::default(), Ignored::default());
    let source = tempfile::tempdir().unwrap();
    let mut walk = walk_to_second(&source, &bounds, &skip);
    // Enough names to change the directory's length, however coarse its clock is.
    for number in 0..200 {
        fs::write(source.path().join("d").join(format!("{number:0>100}")), "").unwrap();
    }
    assert!(matches!(walk.step(), Err(ScanError::Changed { path }) if path == "d"));
}

#[test]
fn a_hostile_tree_is_removed_whole() {
    let (dir, outside) = pair();
    fs::write(outside.path().join("precious"), "x").unwrap();
    let top = dir.path().join("tree");
    fs::create_dir(&top).unwrap();
    symlink(outside.path(), top.join("link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, top.join("pipe"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
    // The names that a removal moves directories to, taken.
    for number in 1..20 {
        fs::create_dir_all(top.join(format!("{number}/{number}/1"))).unwrap();
        fs::write(top.join(format!("{number}/{number}/file")), "").unwrap();
    }
    fs::create_dir_all(top.join("read-only/inner")).unwrap();
    fs::set_permissions(top.join("read-only"), fs::Permissions::from_mode(0o555)).unwrap();
    // Deeper than any path can name, as a guest with directory handles can go.
    let mut at = node::open_dir(&open(&dir), "tree").unwrap();
    for _ in 0..3_000 {
        node::create_dir(&at, "deeper", 0o700).unwrap();
        at = node::open_dir(&at, "deeper").unwrap();
        node::create_link(&at, "up", "..").unwrap();
    }
    remove_tree(&open(&dir), "tree").unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(outside.path().join("precious").exists());
    remove_tree(&open(&dir), "tree").unwrap();
}

#[test]
fn removing_a_link_leaves_what_it_leads_to() {
    let (dir, outside) = pair();
    fs::write(outside.path().join("precious"), "x").unwrap();
    symlink(outside.path(), dir.path().join("tree")).unwrap();
    remove_tree(&open(&dir), "tree").unwrap();
    assert!(!dir.path().join("tree").is_symlink() && outside.path().join("precious").exists());
}

/// Deliverables below `src`.
fn of_src(source: &TempDir) -> Ignored {
    Ignored::of_base(&open(source), &Bounds::default(), LeaveOut::of(&["src".to_owned()])).unwrap()
}

/// A thing that no worker could see.
type Odd = fn(&std::path::Path);

const ODD: [(&str, Odd); 5] = [
    ("fifo", |dir| {
        rustix::fs::mknodat(rustix::fs::CWD, dir.join("odd"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap()
    }),
    ("socket", |dir| drop(std::os::unix::net::UnixListener::bind(dir.join("odd")).unwrap())),
    ("name", |dir| {
        use std::os::unix::ffi::OsStrExt;
        fs::write(dir.join(std::ffi::OsStr::from_bytes(b"odd\xff")), "x").unwrap();
    }),
    ("directory of another name", |dir| {
        use std::os::unix::ffi::OsStrExt;
        fs::create_dir(dir.join(std::ffi::OsStr::from_bytes(b"odd\xff"))).unwrap();
    }),
    ("link to nowhere in particular", |dir| {
        use std::os::unix::ffi::OsStrExt;
        symlink(std::ffi::OsStr::from_bytes(b"odd\xff"), dir.join("odd")).unwrap();
    }),
];

#[test]
fn what_no_worker_could_see_is_left_out_beside_the_deliverables_and_named_among_them() {
    for (name, odd) in ODD {
        let (source, target) = pair();
        for dir in ["src/deep", "logs/deep"] {
            fs::create_dir_all(source.path().join(dir)).unwrap();
            fs::write(source.path().join(dir).join("file"), "x").unwrap();
        }
        let ignored = of_src(&source);
        for dir in [".", "logs", "logs/deep"] {
            odd(&source.path().join(dir));
        }
        copy(&open(&source), &open(&target), &Bounds::default(), &ignored).unwrap();
        let paths = |dir| {
            let tree = scan(&open(dir), &Bounds::default(), &ignored).unwrap();
            tree.iter().map(|(path, _)| path.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(paths(&source), ["logs/deep/file", "src/deep/file"], "{name}");
        assert_eq!(paths(&target), ["logs/deep/file", "src/deep/file"], "{name}");
        odd(&source.path().join("src/deep"));
        let refused = copy(&open(&source), &open(&pair().1), &Bounds::default(), &ignored).unwrap_err().to_string();
        assert!(refused.contains("src/deep/odd"), "{name}: {refused}");
        assert!(scan(&open(&source), &Bounds::default(), &ignored).is_err(), "{name}");
    }
}

#[test]
fn what_is_in_the_place_of_a_directory_above_a_deliverable_is_named() {
    let (source, target) = pair();
    let ignored = Ignored::of_base(&open(&source), &Bounds::default(), LeaveOut::of(&["src/app".to_owned()])).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, source.path().join("src"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
    let refused = copy(&open(&source), &open(&target), &Bounds::default(), &ignored);
    assert!(matches!(refused, Err(CopyError::Source(ScanError::Special { path, .. })) if path == "src"));
}

#[test]
fn what_changes_while_it_is_read_is_left_out_beside_the_deliverables() {
    let bounds = Bounds::default();
    let source = tempfile::tempdir().unwrap();
    let skip = of_src(&source);
    let mut walk = walk_to_second(&source, &bounds, &skip);
    fs::remove_file(source.path().join("d/2")).unwrap();
    let gone = walk.open().err().expect("it is gone");
    walk.leave_out(gone).expect("that is nobody's business");
    for number in 0..200 {
        fs::write(source.path().join("d").join(format!("{number:0>100}")), "").unwrap();
    }
    assert!(matches!(walk.step(), Ok(Some(Step::Leave { .. }))));
    assert_eq!(walk.step().unwrap(), None);

    let mut walk = walk_to_second(&tempfile::tempdir().unwrap(), &bounds, &skip);
    let full = ScanError::TooManyBytes { path: "d/2".to_owned(), max: 1 };
    assert!(walk.leave_out(full).is_err(), "a bound is a bound everywhere");
}

#[test]
fn the_hosts_own_directory_is_not_copied_wherever_it_is() {
    let (source, target) = pair();
    for dir in ["a", ".local/state/own/runs"] {
        fs::create_dir_all(source.path().join(dir)).unwrap();
        fs::write(source.path().join(dir).join("file"), "x").unwrap();
    }
    let dir = |path: &str| Dir::open_ambient_dir(source.path().join(path), ambient_authority()).unwrap();
    let own = Some(crate::doors::ignored::Own::of(&dir(".local/state/own")).unwrap());
    let all = [".".to_owned()];
    let asked = LeaveOut { own, ..LeaveOut::of(&all) };
    let ignored = Ignored::of_base(&open(&source), &Bounds::default(), asked).unwrap();
    assert_eq!(ignored.left_out().paths, [".local/state/own"]);
    copy(&open(&source), &open(&target), &Bounds::default(), &ignored).unwrap();
    let copied = scan(&open(&target), &Bounds::default(), &ignored).unwrap();
    assert_eq!(copied.iter().map(|(path, _)| path).collect::<Vec<_>>(), [".local/state", "a/file"]);
    // A worker that makes one of the same name has made nothing.
    fs::create_dir(target.path().join(".local/state/own")).unwrap();
    fs::write(target.path().join(".local/state/own/file"), "x").unwrap();
    assert_eq!(scan(&open(&target), &Bounds::default(), &ignored).unwrap(), copied);
    let itself = Ignored::of_base(&dir(".local/state/own"), &Bounds::default(), asked);
    assert!(matches!(itself, Err(ScanError::Own)));
    assert!(matches!(
        copy(&dir(".local/state/own"), &open(&pair().1), &Bounds::default(), &Ignored::of_context(own)),
        Err(CopyError::Source(ScanError::Own))
    ));
}

#[test]
fn what_may_not_be_read_is_left_out_beside_the_deliverables() {
    let (source, target) = pair();
    for path in ["src/a", "logs/a", "logs/deep/b", "c"] {
        fs::create_dir_all(source.path().join(path).parent().unwrap()).unwrap();
        fs::write(source.path().join(path), "x").unwrap();
    }
    let lock = |mode| {
        for path in ["logs/deep", "c"] {
            fs::set_permissions(source.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    lock(0o000);
    as_a_user_like_any_other(|| {
        let ignored = of_src(&source);
        copy(&open(&source), &open(&target), &Bounds::default(), &ignored).unwrap();
        let tree = scan(&open(&target), &Bounds::default(), &ignored).unwrap();
        assert_eq!(tree.iter().map(|(path, _)| path).collect::<Vec<_>>(), ["logs/a", "src/a"]);
    });
    lock(0o700);
}
