//! Crashes, full disks and hostile trees on the way back into the real directory.

mod crash;
mod person;

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use proptest::prelude::*;
use tempfile::TempDir;

use super::staging::SYNCED_EACH;
use super::*;
use crate::doors::ignored::LeaveOut;
use crate::doors::tree::scan;

/// What happens at the point where a hook is told to fail.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// This call and all later ones fail: the process is gone.
    Kill,
    /// This call fails.
    DiskFull,
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Fault::Kill => io::Error::other(Killed),
            Fault::DiskFull => Errno::NOSPC.into(),
        }
    }
}

#[derive(Debug)]
struct Killed;

impl fmt::Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("killed")
    }
}

impl std::error::Error for Killed {}

pub(super) fn is_killed(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Killed>())
}

/// What a test does at the points of an apply.
#[derive(Default)]
pub(super) struct AtHook {
    fault: Option<(usize, Fault)>,
    /// What somebody else does to the real directory at this point.
    saboteur: Option<(usize, Box<dyn FnMut()>)>,
    pub(super) lacks_flags: bool,
    passed: usize,
}

impl AtHook {
    pub(super) fn after(&mut self) -> io::Result<()> {
        let point = self.passed;
        self.passed += 1;
        if let Some((at, act)) = &mut self.saboteur
            && *at == point
        {
            act();
        }
        match self.fault {
            Some((at, Fault::Kill)) if point >= at => Err(Fault::Kill.error()),
            Some((at, Fault::DiskFull)) if point == at => Err(Fault::DiskFull.error()),
            Some(_) | None => Ok(()),
        }
    }
}

/// A hook at which nothing happens.
fn quiet() -> Hook<'static> {
    Hook::watched(&Watch::NOBODY)
}

fn at_point(point: usize, fault: Fault) -> Hook<'static> {
    let test = AtHook { fault: Some((point, fault)), ..AtHook::default() };
    Hook { test, ..quiet() }
}

/// A thing that a test puts somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    File(Vec<u8>),
    Program(Vec<u8>),
    Link(String),
    Directory,
}

fn text(text: &str) -> Node {
    Node::File(text.as_bytes().to_vec())
}

/// Puts things below `dir`, with the directories above them.
fn put(dir: &Path, nodes: &[(&str, Node)]) {
    for (path, node) in nodes {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match node {
            Node::File(bytes) | Node::Program(bytes) => {
                fs::write(&path, bytes).unwrap();
                let mode = if matches!(node, Node::Program(_)) { 0o755 } else { 0o644 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
            Node::Link(target) => symlink(target, &path).unwrap(),
            Node::Directory => fs::create_dir_all(&path).unwrap(),
        }
    }
}

fn all() -> Vec<String> {
    vec![".".to_owned()]
}

/// A real directory and the tree of a worker who started from it.
struct Bench {
    real: TempDir,
    work: TempDir,
    base: Manifest,
    end: Manifest,
    ignore: Ignored,
}

fn open(dir: &TempDir) -> Dir {
    Dir::open_ambient_dir(dir.path(), ambient_authority()).unwrap()
}

impl Bench {
    fn new(before: &[(&str, Node)], after: &[(&str, Node)]) -> Self {
        Self::ignoring(before, after, &[])
    }

    fn ignoring(before: &[(&str, Node)], after: &[(&str, Node)], ignore: &[&str]) -> Self {
        let (real, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        put(real.path(), before);
        put(work.path(), after);
        let ignore = Ignored::paths(&ignore.iter().map(|&path| path.to_owned()).collect::<Vec<_>>());
        let base = scan(&open(&real), &Bounds::default(), &ignore).unwrap();
        let end = scan(&open(&work), &Bounds::default(), &ignore).unwrap();
        Self { real, work, base, end, ignore }
    }

    /// With the rules that stand in the real directory.
    fn by_rules(before: &[(&str, Node)], after: &[(&str, Node)]) -> Self {
        let bench = Self::ignoring(before, after, &[]);
        let ignore = Ignored::of_base(&open(&bench.real), &Bounds::default(), LeaveOut::of(&all())).unwrap();
        let base = scan(&open(&bench.real), &Bounds::default(), &ignore).unwrap();
        let end = scan(&open(&bench.work), &Bounds::default(), &ignore).unwrap();
        Self { base, end, ignore, ..bench }
    }

    /// Applies the changes, and leaves the staging.
    fn make(&self, deliverables: &[String], hook: &mut Hook<'_>) -> Result<Applied, ApplyError> {
        let bounds = Bounds::default();
        let (base, end, ignore) = (&self.base, &self.end, &self.ignore);
        let set = ChangeSet { base, end, deliverables, ignore, bounds: &bounds, serial: "run-1" };
        apply_with(&open(&self.real), &open(&self.work), &set, hook)
    }

    fn apply_to(&self, deliverables: &[String], hook: &mut Hook<'_>) -> Result<Applied, ApplyError> {
        let applied = self.make(deliverables, hook)?;
        assert!(clear_with(&open(&self.real), "run-1", hook)?.is_empty(), "nobody wrote into what was replaced");
        Ok(applied)
    }

    /// Ends what was interrupted, and what was ended.
    fn recover(&self) -> Vec<Recovered> {
        let recovered = recover(&open(&self.real)).unwrap();
        for one in &recovered {
            if let Recovered::Applied { serial } = one {
                clear(&open(&self.real), serial).unwrap();
            }
        }
        recovered
    }

    fn apply(&self) -> Result<Applied, ApplyError> {
        self.apply_to(&all(), &mut quiet())
    }

    fn apply_only(&self, deliverables: &[&str]) -> Result<Applied, ApplyError> {
        let deliverables: Vec<String> = deliverables.iter().map(|&path| path.to_owned()).collect();
        self.apply_to(&deliverables, &mut quiet())
    }

    fn now(&self) -> Manifest {
        scan(&open(&self.real), &Bounds::default(), &self.ignore).unwrap()
    }

    fn no_staging(&self) -> bool {
        stagings(&lock(&open(&self.real)).unwrap()).unwrap().is_empty()
    }

    /// Nothing was changed and nothing was left.
    fn untouched(&self) -> bool {
        self.now() == self.base && self.no_staging()
    }
}

/// Every kind of change at once.
fn rich() -> Bench {
    Bench::new(
        &[
            ("same", text("same")),
            ("edited", text("old")),
            ("removed", text("gone")),
            ("to-program", text("#!")),
            ("file-to-dir", text("file")),
            ("dir-to-file/deep/er", text("x")),
            ("dir-to-file/empty", Node::Directory),
            ("dir-to-link/a", text("a")),
            ("file-to-link", text("f")),
            ("link-to-file", Node::Link("same".into())),
            ("link-to-dir", Node::Link("/etc".into())),
            ("link-moved", Node::Link("a".into())),
            ("gone/with/all", text("g")),
            ("was-empty", Node::Directory),
        ],
        &[
            ("same", text("same")),
            ("edited", text("new")),
            ("to-program", Node::Program(b"#!".to_vec())),
            ("file-to-dir/inner", text("i")),
            ("dir-to-file", text("now a file")),
            ("dir-to-link", Node::Link("/etc".into())),
            ("file-to-link", Node::Link("edited".into())),
            ("link-to-file", text("real")),
            ("link-to-dir/passwd", text("not the host's")),
            ("link-moved", Node::Link("b".into())),
            ("new/deep/file", text("n")),
            ("new/empty", Node::Directory),
            ("was-empty/full", text("w")),
            ("a\nname", text("newline")),
            ("Case", text("1")),
            ("case", text("2")),
        ],
    )
}

#[test]
fn every_kind_of_change_arrives() {
    let bench = rich();
    let applied = bench.apply().unwrap();
    assert_eq!(bench.now(), bench.end);
    assert!(bench.no_staging());
    assert_eq!(applied.changes, Manifest::changes(&bench.base, &bench.end));
}

#[test]
fn a_directory_that_is_elsewhere_by_now_is_left_alone() {
    let bench = Bench::new(&[("a", text("1"))], &[("a", text("2"))]);
    let asked = std::cell::Cell::new(0);
    for moves_at in [0, 1] {
        asked.set(0);
        let is_there = || asked.replace(asked.get() + 1) != moves_at;
        let watch = Watch { is_there: &is_there, ..Watch::NOBODY };
        assert!(matches!(bench.apply_to(&all(), &mut Hook::watched(&watch)), Err(ApplyError::Elsewhere)));
        assert!(bench.untouched());
    }
}

#[test]
fn many_files_are_as_durable_and_their_progress_is_told() {
    let many: Vec<(String, Node)> =
        (0..=SYNCED_EACH).map(|number| (format!("d{number}/f"), text(&number.to_string()))).collect();
    let bench = bench_of(&[], &many);
    let told = std::cell::RefCell::new(Vec::new());
    let watch = Watch { progress: &|made, total| told.borrow_mut().push((made, total)), ..Watch::NOBODY };
    bench.apply_to(&all(), &mut Hook::watched(&watch)).unwrap();
    assert_eq!(bench.now(), bench.end);
    let told = told.into_inner();
    assert!(told.is_sorted() && told.last().is_some_and(|(made, total)| made == total), "{told:?}");
}

#[test]
fn only_changes_under_the_deliverables_are_applied() {
    let bench = Bench::new(
        &[("src/a", text("1")), ("src2/b", text("1")), ("c", text("1")), ("only/x", text("x"))],
        &[("src/a", text("2")), ("src/new", text("2")), ("src2/b", text("2")), ("d", text("2"))],
    );
    bench.apply_only(&["src", "only/x"]).unwrap();
    let expected = Bench::new(
        &[
            ("src/a", text("2")),
            ("src/new", text("2")),
            ("src2/b", text("1")),
            ("c", text("1")),
            ("only", Node::Directory),
        ],
        &[],
    );
    assert_eq!(bench.now(), expected.base);
}

#[test]
fn a_base_that_moved_is_not_overwritten() {
    type Edit = fn(&Path);
    let edits: [(&str, Edit); 6] = [
        ("edited", |real| fs::write(real.join("edited"), "theirs").unwrap()),
        ("removed", |real| fs::remove_file(real.join("removed")).unwrap()),
        ("same", |real| fs::set_permissions(real.join("same"), fs::Permissions::from_mode(0o755)).unwrap()),
        ("new", |real| fs::write(real.join("new"), "theirs").unwrap()),
        ("edited", |real| {
            fs::remove_file(real.join("edited")).unwrap();
            symlink("/etc/passwd", real.join("edited")).unwrap();
        }),
        ("gone/with/all", |real| {
            fs::rename(real.join("gone"), real.join("elsewhere")).unwrap();
            symlink("elsewhere", real.join("gone")).unwrap();
        }),
    ];
    for (path, edit) in edits {
        let bench = rich();
        edit(bench.real.path());
        let moved = bench.now();
        match bench.apply() {
            Err(ApplyError::BaseMoved { paths }) => assert!(paths.iter().any(|moved| moved == path), "{paths:?}"),
            other => panic!("{path}: {other:?}"),
        }
        assert_eq!(bench.now(), moved);
        assert!(bench.no_staging());
    }
}

#[test]
fn an_edit_elsewhere_does_not_count_as_a_moved_base() {
    let bench =
        Bench::new(&[("src/a", text("1")), ("notes", text("1"))], &[("src/a", text("2")), ("notes", text("1"))]);
    fs::write(bench.real.path().join("notes"), "theirs").unwrap();
    bench.apply_only(&["src"]).unwrap();
    assert_eq!(fs::read(bench.real.path().join("src/a")).unwrap(), b"2");
    assert_eq!(fs::read(bench.real.path().join("notes")).unwrap(), b"theirs");
}

#[test]
fn nothing_is_written_through_a_link_in_the_base() {
    let outside = tempfile::tempdir().unwrap();
    let link = Node::Link(outside.path().to_str().unwrap().to_owned());
    let bench = Bench::new(&[("out", link)], &[("out/file", text("escaped"))]);
    // The link itself is not among the deliverables.
    match bench.apply_only(&["out/file"]) {
        Err(ApplyError::Blocked { path }) => assert_eq!(path, "out"),
        other => panic!("{other:?}"),
    }
    assert!(bench.untouched());
    // With it, it is replaced, not followed.
    bench.apply().unwrap();
    assert_eq!(bench.now(), bench.end);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_file_in_place_of_a_parent_blocks() {
    let bench = Bench::new(&[("a", text("file"))], &[("a/b", text("x"))]);
    assert!(matches!(bench.apply_only(&["a/b"]), Err(ApplyError::Blocked { path }) if path == "a"));
    assert!(bench.untouched());
}

#[test]
fn a_parent_that_became_a_link_after_the_crash_is_not_followed() {
    let bench = Bench::new(&[("d/a", text("1"))], &[("d/a", text("1")), ("d/new", text("2"))]);
    // Points: staging made, one file staged, draft made, draft durable, committed.
    bench.apply_to(&all(), &mut at_point(4, Fault::Kill)).unwrap_err();
    let outside = tempfile::tempdir().unwrap();
    fs::remove_dir_all(bench.real.path().join("d")).unwrap();
    symlink(outside.path(), bench.real.path().join("d")).unwrap();
    assert!(matches!(&bench.recover()[..], [Recovered::TakenBack { why, .. }] if why.contains("\"d/new\"")));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert!(bench.real.path().join("d").is_symlink() && bench.no_staging());
}

#[test]
fn what_somebody_wrote_after_the_crash_is_not_overwritten() {
    let bench = Bench::new(&[("a", text("1")), ("b", text("1"))], &[("a", text("2")), ("b", text("2"))]);
    // The first of the two is placed.
    bench.apply_to(&all(), &mut at_point(6, Fault::Kill)).unwrap_err();
    assert!(matches!(bench.apply(), Err(ApplyError::Unrecovered { .. })));
    fs::write(bench.real.path().join("b"), "theirs").unwrap();
    assert!(matches!(&bench.recover()[..], [Recovered::TakenBack { why, .. }] if why.contains("\"b\"")));
    assert_eq!(fs::read(bench.real.path().join("a")).unwrap(), b"1");
    assert_eq!(fs::read(bench.real.path().join("b")).unwrap(), b"theirs");
    assert_eq!(recover(&open(&bench.real)).unwrap(), []);
}

#[test]
fn a_plan_that_somebody_planted_cannot_leave_the_directory_or_touch_git() {
    for path in ["../outside", "/etc/x", "a/../../x", ".git/hooks/post-checkout", "sub/.Git/config", "", "a//b"] {
        let real = tempfile::tempdir().unwrap();
        let json = serde_json::json!({ "format": 2, "steps": [{ "path": path,
            "was": null, "now": { "kind": "link", "target": "x" } }] });
        for name in ["plan.json", "undo.json"] {
            let planted = real.path().join(".jidoka-apply-x").join(name);
            put(real.path(), &[(planted.to_str().unwrap(), text(&json.to_string()))]);
            drop(symlink("x", real.path().join(".jidoka-apply-x/0")));
            match recover(&open(&real)) {
                Err(ApplyError::BadPlan { .. }) => {}
                other => panic!("{path}: {other:?}"),
            }
            assert!(real.path().join(".jidoka-apply-x/0").is_symlink());
            fs::remove_file(planted).unwrap();
        }
    }
}

#[test]
fn a_plan_of_another_format_or_with_damaged_contents_is_not_obeyed() {
    let step = r#"{"path":"a","was":null,"now":{"kind":"link","target":"x"}}"#;
    let nothing = r#"{"path":"a","was":null,"now":null}"#;
    let both = r#"{"path":"a","was":{"kind":"empty-directory"},"now":{"kind":"link","target":"x"}}"#;
    let of = |steps: &str| format!(r#"{{"format":2,"steps":[{steps}]}}"#);
    let real = tempfile::tempdir().unwrap();
    let plan = real.path().join(".jidoka-apply-x/plan.json");
    put(real.path(), &[(".jidoka-apply-x/0", text("not the link"))]);
    let bads = ["", "{}", r#"{"format":1,"steps":[]}"#, r#"{"format":2,"steps":[],"more":1}"#];
    for bad in bads.map(str::to_owned).into_iter().chain([of(nothing), of(both)]) {
        fs::write(&plan, &bad).unwrap();
        assert!(matches!(recover(&open(&real)), Err(ApplyError::BadPlan { .. })), "{bad}");
    }
    fs::write(&plan, of(step)).unwrap();
    assert!(matches!(recover(&open(&real)).as_deref(), Ok([Recovered::TakenBack { .. }])));
    assert!(!real.path().join("a").exists());
}

#[test]
fn a_link_that_looks_like_a_staging_is_not_followed() {
    let (real, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    put(outside.path(), &[("precious", text("x"))]);
    symlink(outside.path(), real.path().join(".jidoka-apply-x")).unwrap();
    assert_eq!(recover(&open(&real)).unwrap(), []);
    assert!(outside.path().join("precious").exists());
}

#[test]
fn a_worker_cannot_change_git_or_plant_a_plan() {
    let top = Bench::new(
        &[("a", text("1"))],
        &[("a", text("1")), (".git/hooks/post-checkout", text("evil")), (".jidoka-apply-x/plan.json", text("evil"))],
    );
    assert_eq!(top.apply().unwrap().changes, []);
    assert_eq!(fs::read_dir(top.real.path()).unwrap().count(), 1);
    let nested = Bench::new(&[("sub/a", text("1"))], &[("sub/a", text("1")), ("sub/.git/config", text("evil"))]);
    assert_eq!(nested.apply().unwrap().changes, []);
    assert!(nested.untouched());
    let mut told = Bench::new(&[], &[("sub/a", text("evil"))]);
    told.end = told.end.iter().map(|(_, entry)| ("sub/.Git/config".to_owned(), entry.clone())).collect();
    assert!(matches!(told.apply(), Err(ApplyError::Reserved { path }) if path.starts_with("sub/.Git")));
    assert!(told.untouched());
}

#[test]
fn a_repository_inside_stays_when_all_that_a_worker_saw_of_it_goes() {
    let bench =
        Bench::new(&[("sub/.git/HEAD", text("ref")), ("sub/a", text("1")), ("b", text("2"))], &[("b", text("2"))]);
    bench.apply().unwrap();
    assert!(bench.real.path().join("sub/.git/HEAD").exists() && !bench.real.path().join("sub/a").exists());
}

#[test]
fn the_workers_tree_must_be_what_was_scanned() {
    type Edit = fn(&Path);
    let edits: [Edit; 4] = [
        |work| fs::write(work.join("d/a"), "3").unwrap(),
        |work| fs::remove_file(work.join("d/a")).unwrap(),
        |work| {
            fs::remove_file(work.join("d/a")).unwrap();
            symlink("/etc/passwd", work.join("d/a")).unwrap();
        },
        |work| {
            fs::rename(work.join("d"), work.join("e")).unwrap();
            symlink("e", work.join("d")).unwrap();
        },
    ];
    for edit in edits {
        let bench = Bench::new(&[("d/a", text("1"))], &[("d/a", text("2"))]);
        edit(bench.work.path());
        assert!(matches!(bench.apply(), Err(ApplyError::WorkerTree { path }) if path == "d/a"));
        assert!(bench.untouched());
    }
}

#[test]
fn ignored_files_survive_the_removal_of_their_directory() {
    let bench =
        Bench::ignoring(&[("d/f", text("1")), ("d/cache/x", text("ignored"))], &[("g", text("1"))], &["d/cache"]);
    bench.apply().unwrap();
    assert_eq!(fs::read(bench.real.path().join("d/cache/x")).unwrap(), b"ignored");
    assert!(!bench.real.path().join("d/f").exists());
    assert!(bench.real.path().join("g").exists());
}

#[test]
fn ignored_files_are_not_replaced_by_a_file() {
    let bench = Bench::ignoring(&[("d/f", text("1")), ("d/cache/x", text("i"))], &[("d", text("file"))], &["d/cache"]);
    assert!(matches!(bench.apply(), Err(ApplyError::Blocked { path }) if path == "d"));
    assert!(bench.untouched());
}

#[test]
fn what_a_rule_ignores_survives_whatever_is_applied_around_it() {
    let rules = (".gitignore", text("*.log\nbuild/\n"));
    let bench = Bench::by_rules(
        &[rules.clone(), ("d/f", text("1")), ("d/e/x.log", text("kept")), ("build/y", text("kept"))],
        &[rules.clone(), ("g", text("1")), ("d/e/x.log", text("other")), ("z.log", text("other"))],
    );
    bench.apply().unwrap();
    let real = |path: &str| fs::read_to_string(bench.real.path().join(path)).ok();
    assert_eq!((real("d/e/x.log"), real("build/y")), (Some("kept".into()), Some("kept".into())));
    assert_eq!((real("d/f"), real("g"), real("z.log")), (None, Some("1".into()), None));
    // A file of the name is not what the rule ignores, and the directory that is there stays.
    let bench = Bench::by_rules(&[rules.clone(), ("build/y", text("kept"))], &[rules, ("build", text("file"))]);
    assert!(matches!(bench.apply(), Err(ApplyError::BaseMoved { paths }) if paths == ["build"]));
    assert_eq!(fs::read(bench.real.path().join("build/y")).unwrap(), b"kept");
    assert!(bench.untouched());
}

#[test]
fn a_changed_file_keeps_its_permissions_but_for_the_executable_bit() {
    let bench = Bench::new(
        &[("secret", text("1")), ("tool", text("1")), ("plain", Node::Program(b"1".to_vec()))],
        &[("secret", text("2")), ("tool", Node::Program(b"2".to_vec())), ("plain", text("2"))],
    );
    let mode = |path: &str| fs::metadata(bench.real.path().join(path)).unwrap().permissions().mode() & 0o7777;
    let set = |path: &str, mode| fs::set_permissions(bench.real.path().join(path), fs::Permissions::from_mode(mode));
    set("secret", 0o600).unwrap();
    set("tool", 0o640).unwrap();
    set("plain", 0o4755).unwrap();
    bench.apply().unwrap();
    assert_eq!((mode("secret"), mode("tool"), mode("plain")), (0o600, 0o750, 0o644));
}

#[test]
fn two_applies_do_not_meet() {
    let bench = Bench::new(&[("a", text("1"))], &[("a", text("2"))]);
    let held = lock(&open(&bench.real)).unwrap();
    assert!(matches!(bench.apply(), Err(ApplyError::Busy)));
    assert!(matches!(recover(&open(&bench.real)), Err(ApplyError::Busy)));
    drop(held);
    bench.apply().unwrap();
}

#[test]
fn a_serial_is_a_plain_name() {
    let bench = Bench::new(&[], &[]);
    let apply = |serial: &str| {
        let (base, end, bounds) = (&bench.base, &bench.end, Bounds::default());
        let set = ChangeSet { base, end, deliverables: &all(), ignore: &Ignored::default(), bounds: &bounds, serial };
        apply(&open(&bench.real), &open(&bench.work), &set, &Watch::NOBODY)
    };
    for bad in ["", "../x", "a/b", "a.done", "ä", &"x".repeat(129)] {
        assert!(matches!(apply(bad), Err(ApplyError::Serial { .. })), "{bad}");
    }
    apply(&"x".repeat(128)).unwrap();
}

/// Root passes every permission check; without its capabilities it is a user like any other.
fn without_privileges(body: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sets = rustix::thread::capabilities(None).unwrap();
            sets.effective = rustix::thread::CapabilitySet::empty();
            rustix::thread::set_capabilities(None, sets).unwrap();
            body();
        });
    });
}

#[test]
fn a_read_only_directory_is_not_half_changed() {
    for (read_only, reported) in [("", "."), ("sub", "sub")] {
        let bench = Bench::new(
            &[("a", text("1")), ("sub/b", text("1"))],
            &[("a", text("2")), ("sub/b", text("2")), ("sub/new/c", text("2"))],
        );
        let dir = bench.real.path().join(read_only);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o555)).unwrap();
        let seen_before = |deliverables: &[&str]| {
            let deliverables: Vec<String> = deliverables.iter().map(|&path| path.to_owned()).collect();
            may_begin(&open(&bench.real), &deliverables)
        };
        without_privileges(|| {
            for error in [bench.apply().unwrap_err(), seen_before(&["sub/b", "a"]).unwrap_err()] {
                assert!(matches!(&error, ApplyError::ReadOnly { path } if path.starts_with(reported)), "{error:?}");
            }
            assert_eq!(seen_before(&["a", "new/x"]).is_ok(), read_only == "sub");
        });
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(bench.untouched(), "{read_only}");
    }
}

#[test]
fn a_message_counts_and_names_the_paths() {
    let error = ApplyError::BaseMoved { paths: vec!["a\nb".into(), "c".into()] };
    let expected = r#"apply to the real directory: 2 paths changed there since the run began, the first is "a\nb""#;
    assert_eq!(error.to_string(), expected);
}

/// Trees of few names, so that random edits meet.
fn tree() -> impl Strategy<Value = Vec<(String, Node)>> {
    let name = prop::sample::select(vec!["a", "b", "a-", "B", "\n"]);
    let path = prop::collection::vec(name, 1..4).prop_map(|parts| parts.join("/"));
    let node = prop_oneof![
        4 => prop::collection::vec(0_u8..3, 0..3).prop_map(Node::File),
        1 => prop::collection::vec(0_u8..3, 0..3).prop_map(Node::Program),
        1 => prop::sample::select(vec!["a", "/etc", "../b"]).prop_map(|target| Node::Link(target.to_owned())),
        2 => Just(Node::Directory),
    ];
    prop::collection::btree_map(path, node, 0..8).prop_map(|nodes| {
        let mut kept: Vec<(String, Node)> = Vec::new();
        for (path, node) in nodes {
            // What is below a file or link cannot be.
            let beneath = |above: &(String, Node)| {
                above.1 != Node::Directory && path.strip_prefix(&above.0).is_some_and(|rest| rest.starts_with('/'))
            };
            if !kept.iter().any(beneath) {
                kept.push((path, node));
            }
        }
        kept
    })
}

fn bench_of(before: &[(String, Node)], after: &[(String, Node)]) -> Bench {
    let before: Vec<(&str, Node)> = before.iter().map(|(path, node)| (path.as_str(), node.clone())).collect();
    let after: Vec<(&str, Node)> = after.iter().map(|(path, node)| (path.as_str(), node.clone())).collect();
    Bench::new(&before, &after)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn any_change_set_turns_the_base_into_the_end(before in tree(), after in tree()) {
        let bench = bench_of(&before, &after);
        let applied = bench.apply().unwrap();
        prop_assert_eq!(bench.now(), bench.end.clone());
        prop_assert!(bench.no_staging());
        let equal = bench.base == bench.end;
        prop_assert_eq!(applied.changes.is_empty(), equal);
        prop_assert_eq!(bench.base.digest(&["."]) == bench.end.digest(&["."]), equal);
    }

    #[test]
    fn any_change_set_survives_a_crash(before in tree(), after in tree(), point in 0_usize..30) {
        let bench = bench_of(&before, &after);
        let done = bench.apply_to(&all(), &mut at_point(point, Fault::Kill)).is_ok();
        bench.recover();
        let now = bench.now();
        prop_assert!(now == bench.end || (!done && now == bench.base));
        prop_assert!(bench.no_staging());
    }

    #[test]
    fn what_is_not_delivered_stays(before in tree(), after in tree(), only in prop::sample::select(vec!["a", "a/b", "b"])) {
        let bench = bench_of(&before, &after);
        match bench.apply_only(&[only]) {
            Ok(_) => {
                let now = bench.now();
                for change in Manifest::changes(&bench.base, &now) {
                    prop_assert!(under(&[only], &change.path), "{:?}", change);
                }
                prop_assert_eq!(now.digest(&[only]), bench.end.digest(&[only]));
            }
            Err(ApplyError::Blocked { .. }) => prop_assert!(bench.untouched()),
            Err(other) => prop_assert!(false, "{:?}", other),
        }
    }
}
