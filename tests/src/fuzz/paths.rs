//! A workspace with hostile names, links and rules: copied, worked on, scanned, applied; and a plan of anybody's making that a
//! recovery finds.
//!
//! Each line of the bytes is one act: its first letter says what, then come a path and, after a tab, what to write or where to
//! link. `f` a file, `d` a directory, `l` a link, `x` a program, `r` removed, `g` rules, `i` a path that the job ignores, `t` a
//! deliverable, `p` a plan. What stands before a line `-` is the base, what stands after it the work.

use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use jidoka::doors::apply::{self, ChangeSet, Watch};
use jidoka::doors::ignored::{Ignored, LeaveOut};
use jidoka::doors::tree::{self, Bounds, Manifest};
use jidoka::doors::workspace;

use crate::bench::open;

/// Acts of one input: each is a call to the kernel.
const MOST_ACTS: usize = 48;

/// What lies beside the workspace, and must stay.
const SECRET: &str = "what nobody may touch";

/// The body of the target `paths`.
pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let acts: Vec<&str> = text.split('\n').take(MOST_ACTS).collect();
    let (base, work) = match acts.iter().position(|act| *act == "-") {
        Some(at) => (&acts[..at], &acts[at + 1..]),
        None => (&acts[..], &[][..]),
    };
    let place = Place::new();
    base.iter().for_each(|act| place.act("real", act));
    place.plan(base);
    let named = |letter: char| -> Vec<String> {
        let paths = acts.iter().filter_map(|act| act.strip_prefix(letter));
        paths.filter(|path| is_plain(path)).map(str::to_owned).collect()
    };
    let (ignored, mut delivered) = (named('i'), named('t'));
    if delivered.is_empty() {
        delivered.push(".".to_owned());
    }
    let bounds = Bounds::default();
    let real = place.dir("real");
    let asked = LeaveOut { paths: &ignored, ..LeaveOut::of(&delivered) };
    if let Ok(rules) = Ignored::of_base(&real, &bounds, asked) {
        worked(&place, &real, &rules, &delivered, work);
    }
    place.hold();
}

/// A run's life with its files. `None`: somebody said no on the way, which is never a finding.
fn worked(place: &Place, real: &Dir, rules: &Ignored, delivered: &[String], work: &[&str]) -> Option<()> {
    let bounds = Bounds::default();
    let copy = place.dir("copy");
    workspace::copy(real, &copy, &bounds, rules).ok()?;
    let base = tree::scan(real, &bounds, rules).ok()?;
    assert_eq!(tree::scan(&copy, &bounds, rules).expect("it was just written"), base, "a copy is what was copied");
    for (path, _) in base.iter() {
        assert!(is_plain(path), "{path:?}");
        assert!(!rules.covers(path, false) || rules.covers(path, true), "{path:?}");
    }
    work.iter().for_each(|act| place.act("copy", act));
    let end = tree::scan(&copy, &bounds, rules).ok()?;
    let set =
        ChangeSet { base: &base, end: &end, deliverables: delivered, ignore: rules, bounds: &bounds, serial: "fuzzed" };
    let before = everything(&place.path("real"));
    match apply::apply(real, &copy, &set, &Watch::NOBODY) {
        Ok(applied) => {
            let now = tree::scan(real, &bounds, rules).expect("it was just applied");
            assert_eq!(
                Manifest::changes(&now, &end).iter().filter(|change| tree_covers(delivered, &change.path)).count(),
                0
            );
            let changed = Manifest::changes(&base, &now);
            assert!(
                changed.iter().all(|change| applied.changes.contains(change) || !tree_covers(delivered, &change.path))
            );
        }
        Err(error) => assert_eq!(everything(&place.path("real")), before, "{error}"),
    }
    Some(())
}

/// Whether one of these paths is the path, or above it.
fn tree_covers(paths: &[String], path: &str) -> bool {
    paths.iter().any(|above| {
        above == "." || path.strip_prefix(&above[..]).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// As a job may name a path.
fn is_plain(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.contains('\0')
}

/// All that is below, links not followed.
fn everything(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("is there") {
        let entry = entry.expect("can be read");
        let path = entry.path();
        let kind = entry.file_type().expect("has a kind");
        if kind.is_dir() {
            found.push((path.clone(), Vec::new()));
            found.extend(everything(&path));
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&path).expect("is a link");
            found.push((path, target.into_os_string().into_encoded_bytes()));
        } else {
            found.push((path.clone(), std::fs::read(&path).expect("is ours")));
        }
    }
    found.sort();
    found
}

/// A directory of its own, with a workspace, a copy, and something beside them.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(super::place());
        for name in ["real", "copy", "beside"] {
            std::fs::create_dir(place.path(name)).expect("a directory");
        }
        std::fs::write(place.path("beside/secret"), SECRET).expect("a file");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn dir(&self, name: &str) -> Dir {
        open(&self.path(name))
    }

    /// Does what a line says, if it can be done; what a line says of a path outside is not done: the guest's own filesystem does
    /// not let it out either.
    fn act(&self, top: &str, act: &str) {
        let mut letters = act.chars();
        let Some(letter) = letters.next() else { return };
        let (path, text) = letters.as_str().split_once('\t').unwrap_or((letters.as_str(), ""));
        let dir = self.dir(top);
        let write = |path: &str| {
            if let Some((above, _)) = path.rsplit_once('/') {
                drop(dir.create_dir_all(above));
            }
            drop(dir.write(path, text));
        };
        match letter {
            'f' => write(path),
            'g' => write(&if path.is_empty() { ".gitignore".to_owned() } else { format!("{path}/.gitignore") }),
            'x' => {
                use cap_std::fs::PermissionsExt;
                write(path);
                if dir.symlink_metadata(path).is_ok_and(|data| data.is_file()) {
                    drop(dir.set_permissions(path, cap_std::fs::Permissions::from_mode(0o755)));
                }
            }
            'd' => drop(dir.create_dir_all(path)),
            'l' => drop(dir.symlink_contents(text, path)),
            'r' if is_plain(path) => {
                drop(dir.remove_file(path));
                drop(dir.remove_dir_all(path));
            }
            _ => {}
        }
    }

    /// Plans that a recovery finds, as somebody with the real directory in his hands may leave them. They are gone afterwards.
    fn plan(&self, acts: &[&str]) {
        for plan in acts.iter().filter_map(|act| act.strip_prefix('p')) {
            let staging = self.path("real/.jidoka-apply-hostile");
            std::fs::create_dir(&staging).expect("is not there yet");
            std::fs::write(staging.join("0"), "staged").expect("a file");
            std::fs::write(staging.join("plan.json"), plan).expect("a file");
            drop(apply::recover(&self.dir("real")));
            drop(apply::clear(&self.dir("real"), "hostile"));
            self.hold();
            drop(std::fs::remove_dir_all(&staging));
            drop(std::fs::remove_dir_all(self.path("real/.jidoka-apply-hostile.done")));
            drop(std::fs::remove_dir_all(self.path("real/.jidoka-apply-hostile.kept")));
        }
    }

    /// Nothing outside was touched.
    fn hold(&self) {
        let beside = everything(&self.path("beside"));
        assert_eq!(beside, [(self.path("beside/secret"), SECRET.as_bytes().to_vec())]);
        let top: Vec<PathBuf> = ["beside", "copy", "real"].map(|name| self.path(name)).to_vec();
        let mut found: Vec<PathBuf> = std::fs::read_dir(self.0.path())
            .expect("is there")
            .map(|entry| entry.expect("can be read").path())
            .collect();
        found.sort();
        assert_eq!(found, top);
    }
}
