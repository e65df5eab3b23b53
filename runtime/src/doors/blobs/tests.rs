//! What a store of blobs promises to whoever names its addresses in a journal.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use cap_std::ambient_authority;
use tempfile::TempDir;

use super::*;
use crate::doors::ignored::Ignored;
use crate::doors::tree::{Bounds, scan};

const ENOUGH: u64 = 1 << 20;

fn open(dir: &TempDir) -> Dir {
    Dir::open_ambient_dir(dir.path(), ambient_authority()).unwrap()
}

fn tree_of(dir: &TempDir) -> Manifest {
    scan(&open(dir), &Bounds::default(), &Ignored::default()).unwrap()
}

/// A store, and a workspace with one of everything.
struct Bench {
    home: TempDir,
    work: TempDir,
    blobs: Blobs,
}

impl Bench {
    fn new() -> Self {
        let (home, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |path: &str| work.path().join(path);
        fs::create_dir_all(at("a/b/empty")).unwrap();
        fs::write(at("a/b/file"), "contents").unwrap();
        fs::write(at("a-b"), "contents").unwrap();
        fs::write(at("new\nline"), "").unwrap();
        fs::write(at("tool"), "#!").unwrap();
        fs::set_permissions(at("tool"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("/etc", at("etc")).unwrap();
        symlink("nowhere", at("a/dangling")).unwrap();
        let blobs = Blobs::open(open(&home)).unwrap();
        Self { home, work, blobs }
    }

    fn keep_tree(&self) -> Result<Digest, BlobError> {
        self.blobs.keeping().unwrap().keep_tree(&open(&self.work), &tree_of(&self.work), None)
    }

    fn keep(&self, bytes: &[u8]) -> Digest {
        self.blobs.keeping().unwrap().keep(bytes).unwrap()
    }

    fn sweep(&self, keep: &[Digest]) -> Result<Swept, BlobError> {
        self.blobs.sweeping().unwrap().sweep(&|address| keep.contains(address))
    }

    fn place(&self, room: Room, address: &Digest) -> PathBuf {
        self.home.path().join(room.place(address))
    }

    /// Blobs of a room, by walking the disk.
    fn count(&self, room: Room) -> usize {
        let drawers = fs::read_dir(self.home.path().join(room.name())).unwrap();
        drawers.map(|drawer| fs::read_dir(drawer.unwrap().path()).unwrap().count()).sum()
    }

    fn staged(&self) -> usize {
        fs::read_dir(self.home.path().join(STAGING)).unwrap().count()
    }
}

#[test]
fn bytes_are_kept_once_and_read_back() {
    let bench = Bench::new();
    let address = bench.keep(b"evidence");
    assert_eq!(bench.keep(b"evidence"), address);
    assert_eq!(bench.count(Room::Files), 1);
    assert_eq!(bench.blobs.read(&address, 8).unwrap(), b"evidence");
    assert!(bench.blobs.has(&address).unwrap());
    assert_eq!(bench.staged(), 0);
    assert_eq!(bench.keep(b""), evidence::address(b""));
    assert_eq!(bench.blobs.read(&evidence::address(b""), 0).unwrap(), b"");
}

#[test]
fn a_read_takes_as_many_bytes_as_allowed_and_no_more() {
    let bench = Bench::new();
    let address = bench.keep(b"evidence");
    assert!(bench.blobs.read(&address, 8).is_ok());
    let refused = bench.blobs.read(&address, 7);
    assert!(matches!(refused, Err(BlobError::TooLarge { bytes: 8, max: 7, .. })), "{refused:?}");
    let missing = bench.blobs.read(&evidence::address(b"other"), 7);
    assert!(matches!(missing, Err(BlobError::Missing { .. })), "{missing:?}");
    assert!(!bench.blobs.has(&evidence::address(b"other")).unwrap());
}

#[test]
fn a_damaged_blob_is_refused_and_brought_anew_when_it_is_kept_again() {
    let bench = Bench::new();
    let address = bench.keep(b"evidence");
    let place = bench.place(Room::Files, &address);
    let keep_from = || bench.blobs.keeping().unwrap().keep_from(&address, 8, &mut &b"evidence"[..]);
    for damaged in ["evidencE", "evi", "evidence and more", "\0\0\0\0\0\0\0\0"] {
        for kept in [&|| assert_eq!(bench.keep(b"evidence"), address), &|| keep_from().unwrap()] as [&dyn Fn(); 2] {
            fs::remove_file(&place).unwrap();
            fs::write(&place, damaged).unwrap();
            let read = bench.blobs.read(&address, ENOUGH);
            assert!(matches!(read, Err(BlobError::Damaged { .. })), "{read:?}");
            kept();
            assert_eq!(bench.blobs.read(&address, ENOUGH).unwrap(), b"evidence", "{damaged:?}");
        }
    }
    fs::remove_file(&place).unwrap();
    symlink("/etc/hostname", &place).unwrap();
    assert!(matches!(bench.blobs.read(&address, ENOUGH), Err(BlobError::Damaged { .. })));
    assert!(!bench.blobs.has(&address).unwrap());
    bench.keep(b"evidence");
    assert_eq!(bench.blobs.read(&address, ENOUGH).unwrap(), b"evidence");
}

#[test]
fn a_damaged_part_of_a_tree_is_brought_anew_when_the_tree_is_kept_again() {
    type Damage = fn(&std::path::Path);
    let damages: [(&str, Damage); 3] = [
        ("gone", |place| fs::remove_file(place).unwrap()),
        ("zeros", |place| {
            let length = fs::metadata(place).unwrap().len();
            fs::remove_file(place).unwrap();
            fs::write(place, vec![0; usize::try_from(length).unwrap()]).unwrap();
        }),
        ("empty", |place| {
            fs::remove_file(place).unwrap();
            fs::write(place, "").unwrap();
        }),
    ];
    for (name, damage) in damages {
        let bench = Bench::new();
        let tree = tree_of(&bench.work);
        let address = bench.keep_tree().unwrap();
        for place in [bench.place(Room::Files, &evidence::address(b"contents")), bench.place(Room::Trees, &address)] {
            damage(&place);
            assert_eq!(bench.keep_tree().unwrap(), address, "{name}");
            let kept = bench.blobs.tree(&address, ENOUGH).unwrap();
            assert_eq!(kept, tree, "{name}");
            bench.blobs.restore(&kept, &open(&tempfile::tempdir().unwrap())).unwrap();
        }
        assert_eq!(bench.staged(), 0, "{name}");
    }
}

#[test]
fn a_kept_tree_is_restored_as_it_was() {
    let bench = Bench::new();
    let tree = tree_of(&bench.work);
    let address = bench.keep_tree().unwrap();
    assert_eq!(address, tree_address(&tree));
    assert_eq!((bench.count(Room::Files), bench.count(Room::Trees), bench.staged()), (3, 1, 0));
    let kept = bench.blobs.tree(&address, ENOUGH).unwrap();
    assert_eq!(kept, tree);
    let target = tempfile::tempdir().unwrap();
    bench.blobs.restore(&kept, &open(&target)).unwrap();
    assert_eq!(tree_of(&target), tree);
    let mode = |path: &str| fs::metadata(target.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("a"), mode("a/b/empty"), mode("tool"), mode("a-b")), (0o700, 0o700, 0o700, 0o600));
    assert_eq!(fs::read_link(target.path().join("etc")).unwrap().to_str(), Some("/etc"));
}

#[test]
fn the_address_of_a_tree_does_not_change_with_the_version() {
    let file = Entry::File { digest: evidence::address(b""), bytes: 0, executable: true };
    let link = Entry::Link { target: "b\"".to_owned() };
    let entries = [("a/b", file), ("a", link), ("c", Entry::EmptyDirectory {})];
    let tree: Manifest = entries.into_iter().map(|(path, entry)| (path.to_owned(), entry)).collect();
    let expected = concat!(
        r#"{"a":{"kind":"link","target":"b\""},"a/b":{"kind":"file","digest":"#,
        r#""blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262","bytes":0,"executable":true},"#,
        r#""c":{"kind":"empty-directory"}}"#
    );
    assert_eq!(String::from_utf8(document(&tree)).unwrap(), expected);
    assert_eq!(tree_address(&tree), evidence::address(expected.as_bytes()));
}

#[test]
fn a_tree_and_a_file_with_its_document_are_not_mistaken_for_each_other() {
    let bench = Bench::new();
    let tree = tree_of(&bench.work);
    let address = bench.keep(&document(&tree));
    assert_eq!(address, tree_address(&tree));
    assert!(!bench.blobs.has_tree(&address).unwrap());
    assert!(matches!(bench.blobs.tree(&address, ENOUGH), Err(BlobError::Missing { .. })));
    bench.keep_tree().unwrap();
    assert!(bench.blobs.has_tree(&address).unwrap());
}

#[test]
fn a_document_of_no_tree_is_refused() {
    let bench = Bench::new();
    let address = bench.keep(b"[]");
    let place = bench.place(Room::Trees, &address);
    fs::create_dir(place.parent().unwrap()).unwrap();
    fs::rename(bench.place(Room::Files, &address), place).unwrap();
    assert!(matches!(bench.blobs.tree(&address, ENOUGH), Err(BlobError::NotATree { .. })));
}

#[test]
fn a_file_that_is_not_as_scanned_is_named_and_no_tree_is_kept() {
    type Change = fn(&std::path::Path);
    let changes: [(&str, Change); 7] = [
        ("other bytes", |file| fs::write(file, "Contents").unwrap()),
        ("longer", |file| fs::write(file, "contents, and more").unwrap()),
        ("shorter", |file| fs::write(file, "cont").unwrap()),
        ("gone", |file| fs::remove_file(file).unwrap()),
        ("a link to equal bytes", |file| {
            fs::rename(file, file.with_file_name("equal")).unwrap();
            symlink("equal", file).unwrap();
        }),
        ("a fifo that nobody writes", |file| {
            fs::remove_file(file).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, file, FileType::Fifo, Mode::RWXU, 0).unwrap();
        }),
        ("below a link", |file| {
            let above = file.parent().unwrap();
            fs::rename(above, above.with_file_name("moved")).unwrap();
            symlink("moved", above).unwrap();
        }),
    ];
    for (name, change) in changes {
        let bench = Bench::new();
        fs::remove_file(bench.work.path().join("a-b")).unwrap();
        let tree = tree_of(&bench.work);
        change(&bench.work.path().join("a/b/file"));
        match bench.blobs.keeping().unwrap().keep_tree(&open(&bench.work), &tree, None) {
            Err(BlobError::Moved { path }) => assert_eq!(path, "a/b/file", "{name}"),
            other => panic!("{name}: {other:?}"),
        }
        assert!(!bench.blobs.has_tree(&tree_address(&tree)).unwrap(), "{name}");
        assert_eq!((bench.count(Room::Files), bench.staged()), (0, 0), "{name}");
    }
}

#[test]
fn a_tree_whose_paths_lead_out_is_neither_kept_nor_restored() {
    let bench = Bench::new();
    let address = bench.keep(b"x");
    for path in ["../x", "/x", "a//x", "."] {
        let file =
            |digest, bytes| Manifest::from_iter([(path.to_owned(), Entry::File { digest, bytes, executable: false })]);
        let kept =
            bench.blobs.keeping().unwrap().keep_tree(&open(&bench.work), &file(evidence::address(b"y"), 1), None);
        assert!(matches!(kept, Err(BlobError::Path { .. })), "{kept:?}");
        let target = tempfile::tempdir().unwrap();
        let restored = bench.blobs.restore(&file(address, 1), &open(&target));
        assert!(matches!(restored, Err(BlobError::Path { .. })), "{restored:?}");
    }
}

#[test]
fn a_restore_does_not_go_through_a_link_of_its_own_tree() {
    let bench = Bench::new();
    let outside = tempfile::tempdir().unwrap();
    let file = Entry::File { digest: bench.keep(b"x"), bytes: 1, executable: false };
    let link = Entry::Link { target: outside.path().to_str().unwrap().to_owned() };
    let tree = Manifest::from_iter([("a".to_owned(), link), ("a/x".to_owned(), file)]);
    let target = tempfile::tempdir().unwrap();
    match bench.blobs.restore(&tree, &open(&target)) {
        Err(BlobError::Restore { path, .. }) => assert_eq!(path, "a/x"),
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_restore_refuses_a_damaged_or_missing_file() {
    let bench = Bench::new();
    let tree = tree_of(&bench.work);
    bench.keep_tree().unwrap();
    let place = bench.place(Room::Files, &evidence::address(b"contents"));
    fs::remove_file(&place).unwrap();
    let restore = || bench.blobs.restore(&tree, &open(&tempfile::tempdir().unwrap()));
    assert!(matches!(restore(), Err(BlobError::Missing { .. })));
    fs::write(&place, "Contents").unwrap();
    assert!(matches!(restore(), Err(BlobError::Damaged { .. })));
}

#[test]
fn what_is_kept_or_known_is_not_read_again() {
    let bench = Bench::new();
    let before = tree_of(&bench.work);
    bench.keep_tree().unwrap();
    fs::write(bench.work.path().join("fresh"), "fresh").unwrap();
    let after = tree_of(&bench.work);
    for gone in ["a/b/file", "a-b", "tool", "new\nline"] {
        fs::remove_file(bench.work.path().join(gone)).unwrap();
    }
    // Known: not even the store is asked.
    fs::remove_file(bench.place(Room::Files, &evidence::address(b"contents"))).unwrap();
    let keeping = bench.blobs.keeping().unwrap();
    let unknown = keeping.keep_tree(&open(&bench.work), &after, None);
    assert!(matches!(unknown, Err(BlobError::Moved { .. })), "{unknown:?}");
    assert_eq!(keeping.keep_tree(&open(&bench.work), &after, Some(&before)).unwrap(), tree_address(&after));
    assert_eq!(bench.blobs.read(&evidence::address(b"fresh"), ENOUGH).unwrap(), b"fresh");
}

#[test]
fn a_tree_that_is_kept_whole_is_not_kept_again() {
    let bench = Bench::new();
    let tree = tree_of(&bench.work);
    let address = bench.keep_tree().unwrap();
    let nothing = tempfile::tempdir().unwrap();
    let kept = || bench.blobs.keeping().unwrap().keep_tree(&open(&nothing), &tree, None);
    assert_eq!(kept().unwrap(), address);
    fs::remove_file(bench.place(Room::Files, &evidence::address(b"contents"))).unwrap();
    assert!(matches!(kept(), Err(BlobError::Moved { .. })));
}

#[test]
fn an_empty_tree_can_be_kept() {
    let bench = Bench::new();
    let nothing = tempfile::tempdir().unwrap();
    let address = bench.blobs.keeping().unwrap().keep_tree(&open(&nothing), &Manifest::default(), None).unwrap();
    assert!(bench.blobs.tree(&address, 2).unwrap().is_empty());
}

#[test]
fn what_a_crash_left_in_the_staging_is_removed_by_open_but_not_while_somebody_keeps() {
    let bench = Bench::new();
    let left = bench.home.path().join("staging/00ff");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("torn"), "to").unwrap();
    let keeping = bench.blobs.keeping().unwrap();
    Blobs::open(open(&bench.home)).unwrap();
    assert_eq!(bench.staged(), 1);
    drop(keeping);
    Blobs::open(open(&bench.home)).unwrap();
    assert_eq!(bench.staged(), 0);
}

#[test]
fn a_file_under_its_final_name_without_its_tree_is_no_tree() {
    // As after a crash between the files of a tree and its document.
    let bench = Bench::new();
    let address = bench.keep_tree().unwrap();
    fs::remove_file(bench.place(Room::Trees, &address)).unwrap();
    assert!(!bench.blobs.has_tree(&address).unwrap());
    assert_eq!(bench.keep_tree().unwrap(), address);
    assert!(bench.blobs.has_tree(&address).unwrap());
}

#[test]
fn a_sweep_removes_only_what_nobody_keeps() {
    let bench = Bench::new();
    let (evidence, garbage) = (bench.keep(b"evidence"), bench.keep(b"garbage"));
    let first = bench.keep_tree().unwrap();
    fs::write(bench.work.path().join("tool"), "#!/bin/sh").unwrap();
    let second = bench.keep_tree().unwrap();
    fs::write(bench.place(Room::Files, &garbage).with_file_name("README"), "not ours").unwrap();
    fs::create_dir(bench.home.path().join("staging/left")).unwrap();
    let document_bytes = fs::metadata(bench.place(Room::Trees, &first)).unwrap().len();
    let count = || bench.blobs.sizes().map(|sizes| sizes.trees.len() + sizes.files.len()).unwrap();
    let before = count();

    let swept = bench.sweep(&[evidence, second]).unwrap();
    assert_eq!(swept, Swept { blobs: 3, bytes: document_bytes + 2 + 7 });
    assert_eq!(count(), before - 3);
    assert!(!bench.blobs.has_tree(&first).unwrap() && !bench.blobs.has(&garbage).unwrap());
    assert!(!bench.blobs.has(&evidence::address(b"#!")).unwrap());
    assert_eq!(bench.blobs.read(&evidence, ENOUGH).unwrap(), b"evidence");
    let target = tempfile::tempdir().unwrap();
    bench.blobs.restore(&bench.blobs.tree(&second, ENOUGH).unwrap(), &open(&target)).unwrap();
    assert_eq!(tree_of(&target), tree_of(&bench.work));
    assert!(bench.place(Room::Files, &garbage).with_file_name("README").exists());
    assert_eq!(bench.staged(), 0);

    assert_eq!(bench.sweep(&[evidence, second]).unwrap(), Swept::default());
    bench.sweep(&[]).unwrap();
    assert_eq!(count(), 0);
}

#[test]
fn a_sweep_removes_trees_before_it_asks_for_any_file() {
    let bench = Bench::new();
    let address = bench.keep_tree().unwrap();
    let trees_left = RefCell::new(Vec::new());
    let keep = |asked: &Digest| {
        if *asked != address {
            trees_left.borrow_mut().push(bench.blobs.has_tree(&address).unwrap());
        }
        false
    };
    bench.blobs.sweeping().unwrap().sweep(&keep).unwrap();
    assert_eq!(trees_left.into_inner(), [false; 3]);
}

#[test]
fn a_sweep_that_cannot_read_a_tree_to_keep_removes_nothing() {
    let bench = Bench::new();
    bench.keep(b"garbage");
    let address = bench.keep_tree().unwrap();
    let place = bench.place(Room::Trees, &address);
    fs::remove_file(&place).unwrap();
    fs::write(&place, "{}").unwrap();
    let swept = bench.sweep(&[address]);
    assert!(matches!(swept, Err(BlobError::Damaged { address: found }) if found == address), "{swept:?}");
    assert_eq!(bench.count(Room::Files), 4);
}

#[test]
fn a_sweep_is_refused_while_somebody_keeps_and_waits_for_them() {
    let bench = Bench::new();
    let (one, another) = (bench.blobs.keeping().unwrap(), Blobs::open(open(&bench.home)).unwrap().keeping().unwrap());
    assert!(matches!(bench.blobs.sweeping_within(2), Err(BlobError::Busy)));
    drop(one);
    assert!(matches!(bench.blobs.sweeping_within(1), Err(BlobError::Busy)));
    let waiting = std::thread::spawn({
        let blobs = bench.blobs.clone();
        move || blobs.sweeping().map(drop)
    });
    drop(another);
    waiting.join().unwrap().unwrap();
}

#[test]
fn two_sweeps_do_not_meet_and_nobody_keeps_during_one() {
    let bench = Bench::new();
    let sweeping = bench.blobs.sweeping().unwrap();
    assert!(matches!(bench.blobs.sweeping_within(1), Err(BlobError::Busy)));
    let lock = bench.blobs.open_lock().unwrap();
    let shared = FlockOperation::NonBlockingLockShared;
    assert_eq!(rustix::fs::flock(&lock, shared), Err(Errno::WOULDBLOCK));
    drop(sweeping);
    assert_eq!(rustix::fs::flock(&lock, shared), Ok(()));
}

#[test]
fn many_may_keep_the_same_tree_at_once() {
    let bench = Bench::new();
    let address = tree_address(&tree_of(&bench.work));
    std::thread::scope(|scope| {
        for kept in [0; 8].map(|_| scope.spawn(|| bench.keep_tree())) {
            assert_eq!(kept.join().unwrap().unwrap(), address);
        }
    });
    assert_eq!((bench.count(Room::Files), bench.count(Room::Trees), bench.staged()), (3, 1, 0));
}
