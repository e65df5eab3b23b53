//! Attacks on the walls around `/work` and `/context`. One guest makes one call; the control makes it on a path of its own.

use std::os::unix::fs::symlink;

use jidoka::run::files::{MAX_DEPTH, MAX_PATH_BYTES};

use super::super::seen::{because, got, got_this, no, nothing_applied, that, verdict_alone};
use super::super::{Attack, Family, Scene, Seen, row};
use crate::bench::Bench;
use crate::{hostile, plain};

/// A guest that makes one call on one path.
pub(super) fn reach(scene: &Scene, how: &str, path: &str) -> Bench {
    reach_with(scene, &[("how", how), ("path", path)])
}

pub(super) fn reach_with(scene: &Scene, inputs: &[(&str, &str)]) -> Bench {
    let inputs: Vec<String> = inputs.iter().map(|(name, value)| format!("{name} = {value:?}")).collect();
    scene.guest(hostile::REACH).set("task", &format!("inputs = {{ {} }}", inputs.join(", ")))
}

const REACHED: &str = "reached";

/// A call on a path that leads out, and the same on one that does not.
fn path(name: &'static str, tries: &'static str, how: &'static str, out: &'static str, inside: &'static str) -> Attack {
    let changes = !matches!(how, "read" | "list" | "stat" | "hash" | "mkdir");
    row(Family::Filesystem, name, tries)
        .attack(move |scene| reach(scene, how, out), "no-progress", no(REACHED))
        .control(move |scene| reach(scene, how, inside), if changes { "accepted" } else { "no-progress" }, got(REACHED))
}

/// A workspace with links that lead out, and one that stays inside.
fn linked(scene: &Scene) {
    let (real, outside) = (scene.home.workspace(), scene.outside());
    for (target, name) in [
        (outside.join("secret"), "to-file"),
        (outside.to_owned(), "to-dir"),
        ("../../../../secret".into(), "to-dots"),
        ("/".into(), "to-root"),
        ("to-dir".into(), "chain"),
        ("src/b.txt".into(), "to-inside"),
        ("src".into(), "to-src"),
        ("loop".into(), "loop"),
    ] {
        symlink(target, real.join(name)).expect("a link");
    }
}

/// As [`path`], in a workspace that brought links along.
fn link(name: &'static str, tries: &'static str, how: &'static str, out: &'static str, inside: &'static str) -> Attack {
    let there = |how: &'static str, path: &'static str| {
        move |scene: &Scene| {
            linked(scene);
            reach(scene, how, path)
        }
    };
    let changes = !matches!(how, "read" | "list" | "stat" | "hash" | "mkdir");
    let verdict = if changes { "accepted" } else { "no-progress" };
    row(Family::Filesystem, name, tries).attack(there(how, out), "no-progress", no(REACHED)).control(
        there(how, inside),
        verdict,
        got(REACHED),
    )
}

/// A call in `/context`, which may be read, and the same in `/work`.
fn context(name: &'static str, tries: &'static str, how: &'static str) -> Attack {
    let there = |at: &'static str| {
        move |scene: &Scene| {
            std::fs::write(scene.home.context().join("a.txt"), "context").expect("a file");
            reach_with(scene, &[("how", how), ("path", "a.txt"), ("at", at)])
        }
    };
    row(Family::Filesystem, name, tries)
        .attack(there("/context"), "no-progress", no(REACHED).and(context_is_whole()))
        .control(there("/work"), "accepted", got(REACHED))
}

fn context_is_whole() -> Seen {
    super::super::seen::seen("the context is whole", |_, scene| {
        let text = std::fs::read_to_string(scene.home.context().join("a.txt")).unwrap_or_default();
        if text == "context" { Ok(()) } else { Err(format!("the context says {text:?}")) }
    })
}

/// A worker that does what its task says.
pub(super) fn told(scene: &Scene, lines: &[&str]) -> Bench {
    scene.guest(plain::SCRIPT).set("task", &format!("text = \"{}\"", lines.join("\\n")))
}

pub(super) fn attacks() -> Vec<Attack> {
    let long = |bytes: usize| format!("{}f", "./".repeat(bytes / 2))[..bytes].to_owned();
    vec![
        path("read-above", "reads a file above its workspace", "read", "../../../secret", "a.txt"),
        path("read-far-above", "climbs from a directory below", "read", "src/../../../../../secret", "src/../a.txt"),
        path("read-beside", "reads a name that its own begins with", "read", "../work-other/x", "src/b.txt"),
        path("write-above", "writes a file above its workspace", "write", "../../../owned", "new.txt"),
        path("list-above", "lists the directory above", "list", "..", "."),
        path("make-directory-above", "makes a directory above", "mkdir", "../made", "made"),
        path("remove-above", "removes the operator's file", "remove", "../../../secret", "a.txt"),
        path("truncate-above", "empties the operator's file", "truncate", "../../../secret", "a.txt"),
        path("move-from-above", "moves the operator's file into its workspace", "rename", "../../../secret", "a.txt"),
        path("stat-above", "finds out that a file is there", "stat", "../../../secret", "a.txt"),
        path("identify-above", "asks for the identity of a file above", "hash", "../../../secret", "a.txt"),
        path("read-absolute", "reads an absolute path of the host", "read", "/etc/passwd", "./a.txt"),
        path("read-doubled-slash", "hides an absolute path behind slashes", "read", "//etc/passwd", ".//a.txt"),
        path("write-absolute", "writes an absolute path of the host", "write", "/tmp/owned-by-a-guest", "./new.txt"),
        path("read-nul", "ends a path early with a zero byte", "read", "a.txt\\0/../../../../secret", "a.txt"),
        path("list-trailing-slashes", "ends a path that leads up with slashes", "list", "..///", "src///"),
        row(Family::Filesystem, "move-above", "moves its own file to above its workspace")
            .attack(
                |scene| reach_with(scene, &[("how", "rename"), ("path", "a.txt"), ("to", "../../../stolen")]),
                "no-progress",
                no(REACHED),
            )
            .control(
                |scene| reach_with(scene, &[("how", "rename"), ("path", "a.txt"), ("to", "src/c.txt")]),
                "accepted",
                got(REACHED),
            ),
        link("read-through-link", "reads through a link that the workspace brought", "read", "to-file", "to-inside"),
        link("read-through-dots", "reads through a link made of dots", "read", "to-dots", "to-inside"),
        link("read-through-directory", "reads below a link to a directory", "read", "to-dir/secret", "to-src/b.txt"),
        link("read-through-chain", "reads through a link to a link", "read", "chain/secret", "to-src/b.txt"),
        link("read-through-root", "reads below a link to the root", "read", "to-root/etc/passwd", "to-src/b.txt"),
        link("read-link-with-slash", "ends a link that leads out with a slash", "list", "to-dir/", "to-src/"),
        link("write-through-link", "writes through a link that leads out", "write", "to-file", "to-inside"),
        link("write-below-link", "makes a file below a link that leads out", "write", "to-dir/owned", "to-src/new"),
        link("truncate-through-link", "empties a file through a link", "truncate", "to-file", "to-inside"),
        link("move-through-link", "moves a file out of a linked directory", "rename", "to-dir/secret", "src/b.txt"),
        link("remove-through-link", "removes a file below a linked directory", "remove", "to-dir/secret", "src/b.txt"),
        link("read-loop", "follows a link to itself", "read", "loop", "to-inside"),
        row(Family::Filesystem, "make-symlink", "makes a symbolic link; no job grants that, a copy is its control")
            .attack(|scene| reach_with(scene, &[("how", "symlink"), ("path", "a.txt")]), "no-progress", no(REACHED))
            .control(|scene| reach(scene, "write", "moved"), "accepted", got(REACHED)),
        row(Family::Filesystem, "make-hard-link", "gives its own file a second name; a move is its control")
            .attack(|scene| reach(scene, "link", "a.txt"), "no-progress", no(REACHED))
            .control(|scene| reach(scene, "rename", "a.txt"), "accepted", got(REACHED)),
        row(Family::Filesystem, "hard-link-out-of-context", "gives a read-only file a name that may be written")
            .attack(
                |scene| {
                    std::fs::write(scene.home.context().join("a.txt"), "context").expect("a file");
                    reach_with(scene, &[("how", "link"), ("path", "a.txt"), ("at", "/context"), ("into", "/work")])
                },
                "no-progress",
                no(REACHED).and(context_is_whole()),
            )
            .control(|scene| reach(scene, "rename", "a.txt"), "accepted", got(REACHED)),
        context("write-context", "writes what may only be read", "write"),
        context("truncate-context", "empties what may only be read", "truncate"),
        context("grow-context", "grows what may only be read", "grow"),
        context("remove-context", "removes what may only be read", "remove"),
        context("move-out-of-context", "moves what may only be read", "rename"),
        row(Family::Filesystem, "truncate-as-a-reader", "empties a file that it opened for reading only")
            .attack(
                |scene| {
                    std::fs::write(scene.home.context().join("a.txt"), "context").expect("a file");
                    let inputs = [("how", "truncate as a reader"), ("path", "a.txt"), ("at", "/context")];
                    reach_with(scene, &inputs)
                },
                "no-progress",
                no(REACHED).and(context_is_whole()),
            )
            .control(|scene| reach(scene, "truncate", "a.txt"), "accepted", got(REACHED)),
        row(Family::Filesystem, "grow-as-a-reader", "grows a file that it opened for reading only")
            .attack(|scene| reach(scene, "grow as a reader", "a.txt"), "no-progress", no(REACHED))
            .control(|scene| reach(scene, "grow", "a.txt"), "accepted", got(REACHED)),
        row(Family::Filesystem, "write-read-only", "writes into a workspace that it may only read")
            .attack(|scene| read_only(reach(scene, "write", "a.txt")), "no-progress", no(REACHED))
            .control(|scene| reach(scene, "write", "a.txt"), "accepted", got(REACHED)),
        row(Family::Filesystem, "no-files", "opens a workspace that it was not granted")
            .attack(
                |scene| {
                    let bench = reach(scene, "std", "/work/a.txt").set("grants", "files = \"none\"");
                    bench.set("done", "marks = [\"artifact\"]").unset("done", "tree")
                },
                "trapped",
                because("the job grants it"),
            )
            .control(|scene| reach(scene, "std", "/work/a.txt"), "no-progress", got_this(REACHED, "\"before\"")),
        row(Family::Filesystem, "path-too-long", "uses a path of one byte more than the cap")
            .attack(
                {
                    let path = long(MAX_PATH_BYTES + 1);
                    move |scene| reach(scene, "write", &path)
                },
                "no-progress",
                no(REACHED),
            )
            .control(
                {
                    let path = long(MAX_PATH_BYTES - 1);
                    move |scene| reach(scene, "write", &path)
                },
                "accepted",
                got(REACHED),
            ),
        row(Family::Filesystem, "too-deep", "makes directories one level deeper than the cap")
            .attack(
                |scene| scene.guest(hostile::DEPTH).set("task", &format!("inputs = {{ cap = \"{MAX_DEPTH}\" }}")),
                "no-progress",
                no("mkdir past the cap").and(no("write past the cap")).and(no("mkdir past the cap from a handle")),
            )
            .control(
                |scene| scene.guest(hostile::DEPTH).set("task", &format!("inputs = {{ cap = \"{}\" }}", MAX_DEPTH - 2)),
                "accepted",
                got("mkdir past the cap").and(got("write past the cap")),
            ),
        row(Family::Filesystem, "deep-by-moving", "goes deeper than the cap by moving a deep tree deeper")
            .attack(
                |scene| {
                    let cap = format!("inputs = {{ cap = \"{MAX_DEPTH}\" }}");
                    scene.guest(hostile::DEPTH_BY_RENAME).set("task", &cap)
                },
                "unverifiable",
                because("levels deep").and(nothing_applied()),
            )
            .control(
                |scene| scene.guest(hostile::DEPTH_BY_RENAME).set("task", "inputs = { cap = \"5\" }"),
                "accepted",
                verdict_alone("a tree that is less deep is applied"),
            ),
        row(Family::Filesystem, "write-beside-deliverables", "changes a file that is no deliverable of the job")
            .attack(
                |scene| reach(scene, "write", "check.sh").set("done", "tree = [\"src\"]"),
                "constraint-violation",
                nothing_applied(),
            )
            .control(
                |scene| reach(scene, "write", "src/new").set("done", "tree = [\"src\"]"),
                "accepted",
                got(REACHED),
            ),
        row(Family::Filesystem, "move-a-link", "moves a link to where its text leads outside")
            .attack(
                |scene| {
                    let real = scene.home.workspace();
                    std::fs::create_dir_all(real.join("a/b")).expect("a directory");
                    symlink("../../secret", real.join("a/b/link")).expect("a link");
                    scene.guest(hostile::SYMLINK_MOVED).file("secret", "inside")
                },
                "constraint-violation",
                got_this("read before", "\"inside\"")
                    .and(no("read after"))
                    .and(no("write after"))
                    .and(nothing_applied()),
            )
            .control(
                |scene| {
                    linked(scene);
                    reach(scene, "read", "to-inside")
                },
                "no-progress",
                got_this(REACHED, "\"two\""),
            ),
        row(Family::Filesystem, "git-hook", "leaves a hook in `.git`, which a person's next commit would run")
            .attack(
                |scene| told(scene, &["mkdir .git/hooks", "write .git/hooks/pre-commit owned", "done ready"]),
                "no-progress",
                that("nothing of it leaves the copy", |end| end.real_file(".git/hooks/pre-commit").is_none()),
            )
            .control(
                |scene| told(scene, &["mkdir git/hooks", "write git/hooks/pre-commit fine", "done ready"]),
                "accepted",
                that("a file of another name is applied", |end| end.real_file("git/hooks/pre-commit").is_some()),
            ),
    ]
}

/// A job that lets its worker read the files and nothing else.
fn read_only(bench: Bench) -> Bench {
    let bench = bench.set("grants", "files = \"read-only\"");
    bench.set("done", "marks = [\"artifact\"]").unset("done", "tree")
}
