//! What a person does in the directory while changes are applied to it.

use super::crash::{points, small};
use super::*;

/// All that a person's hands do in these tests has this for its contents.
const THEIRS: &str = "theirs";

/// Writes at a path, whatever is there: into a directory, if it is one, and over a file that is above it.
fn write_there(path: &Path) {
    let above = path.parent().unwrap();
    let places = [path.to_owned(), path.join(THEIRS), above.to_owned()];
    if places.iter().all(|place| fs::write(place, THEIRS).is_err()) {
        fs::create_dir_all(above).unwrap();
        fs::write(path, THEIRS).unwrap();
    }
}

/// Saves as editors do: a new file, renamed over the old one.
fn save_there(path: &Path) {
    let draft = path.with_file_name("draft");
    let saved = fs::write(&draft, THEIRS).and_then(|()| fs::rename(&draft, path));
    if saved.is_err() {
        drop(fs::remove_file(&draft));
        write_there(path);
    }
}

type Act = fn(&Path);

/// What a person may do at any moment, with the names that it is about; all else must be wholly old or wholly new.
const ACTS: [(&[&str], Act); 9] = [
    (&["edited", "draft"], |real| save_there(&real.join("edited"))),
    (&["edited"], |real| write_there(&real.join("edited"))),
    (&["removed"], |real| write_there(&real.join("removed"))),
    (&["file-to-dir", "draft"], |real| save_there(&real.join("file-to-dir"))),
    (&["dir-to-file"], |real| write_there(&real.join("dir-to-file/deep"))),
    (&["new"], |real| write_there(&real.join("new"))),
    (&["was-empty"], |real| write_there(&real.join("was-empty/full/theirs"))),
    (&["dir-to-link", "elsewhere"], |real| {
        let elsewhere = real.join("elsewhere");
        drop(fs::rename(real.join("dir-to-link"), &elsewhere));
        if elsewhere.is_symlink() {
            // It leads out of here.
            fs::remove_file(&elsewhere).unwrap();
        }
        write_there(&elsewhere);
    }),
    (&["link-to-file"], |real| {
        drop(fs::remove_file(real.join("link-to-file")));
        symlink(THEIRS, real.join("link-to-file")).unwrap();
    }),
];

/// Whether a person's words are anywhere.
fn is_found(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()).any(|entry| {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        match (kind.is_dir(), kind.is_symlink()) {
            (true, _) => is_found(&path),
            (_, true) => fs::read_link(&path).unwrap() == Path::new(THEIRS),
            _ => fs::read(&path).unwrap() == THEIRS.as_bytes(),
        }
    })
}

fn sabotaged(bench: &Bench, point: usize, act: Act, lacks_flags: bool) -> Hook<'static> {
    let real = bench.real.path().to_owned();
    let saboteur: Box<dyn FnMut()> = Box::new(move || act(&real));
    Hook { test: AtHook { saboteur: Some((point, saboteur)), lacks_flags, ..AtHook::default() }, ..quiet() }
}

/// Without what is below these names.
fn without(tree: &Manifest, names: &[&str]) -> Manifest {
    tree.only(|path, _| !under(names, path))
}

#[test]
fn nothing_that_a_person_writes_in_the_milliseconds_of_an_apply_is_lost() {
    let (mut applied, mut refused, mut taken_back) = (0, 0, 0);
    for lacks_flags in [false, true] {
        for (names, act) in ACTS {
            for point in 0.. {
                let bench = rich();
                let mut hook = sabotaged(&bench, point, act, lacks_flags);
                let came_of_it = bench.make(&all(), &mut hook);
                let over = hook.test.passed <= point;
                let what = || format!("{names:?} at {point}, {lacks_flags}: {came_of_it:?}");
                let now = match &came_of_it {
                    Ok(_) => {
                        clear(&open(&bench.real), "run-1").unwrap();
                        applied += 1;
                        assert_eq!(without(&bench.now(), names), without(&bench.end, names), "{}", what());
                        bench.now()
                    }
                    Err(ApplyError::BaseMoved { .. } | ApplyError::Met { .. } | ApplyError::Step { .. }) => {
                        match &came_of_it {
                            Err(ApplyError::BaseMoved { .. }) => refused += 1,
                            _ => taken_back += 1,
                        }
                        assert_eq!(without(&bench.now(), names), without(&bench.base, names), "{}", what());
                        bench.now()
                    }
                    other => panic!("{other:?}"),
                };
                assert!(over || is_found(bench.real.path()), "{}: {now:#?}", what());
                assert!(bench.no_staging(), "{}", what());
                if over {
                    break;
                }
            }
        }
    }
    assert!(applied > 100 && taken_back > 100, "{applied} {refused} {taken_back}");
}

#[test]
fn what_a_person_wrote_survives_a_crash_after_it() {
    for (lacks_flags, acts) in [(false, [&ACTS[0], &ACTS[4]]), (true, [&ACTS[0], &ACTS[3]])] {
        for (names, act) in acts {
            for point in 5..points(small) {
                for killed in point.. {
                    let bench = small();
                    let mut hook = sabotaged(&bench, point, *act, lacks_flags);
                    hook.test.fault = Some((killed, Fault::Kill));
                    let stopped = matches!(bench.apply_to(&all(), &mut hook), Err(ApplyError::Killed));
                    if hook.test.passed <= point {
                        break;
                    }
                    bench.recover();
                    let what =
                        || format!("{names:?} at {point}, killed at {killed}, {lacks_flags}: {:#?}", bench.now());
                    let others = without(&bench.now(), names);
                    assert!([without(&bench.base, names), without(&bench.end, names)].contains(&others), "{}", what());
                    assert!(is_found(bench.real.path()), "{}", what());
                    assert!(bench.no_staging(), "{}", what());
                    if !stopped {
                        break;
                    }
                }
            }
        }
    }
}

#[test]
fn what_could_not_be_put_back_is_kept_and_named() {
    let bench = Bench::new(&[("a", text("1"))], &[("a", text("2"))]);
    // The exchange is the sixth change to the disk. A person saves before it, and removes what they find after it.
    bench.apply_to(&all(), &mut at_point(5, Fault::Kill)).unwrap_err();
    let (real, slot) = (bench.real.path(), bench.real.path().join(".jidoka-apply-run-1/0"));
    fs::write(&slot, THEIRS).unwrap();
    fs::write(real.join("a"), "later").unwrap();
    let recovered = bench.recover();
    let [Recovered::TakenBack { serial, why }] = &recovered[..] else { panic!("{recovered:?}") };
    assert_eq!(serial, "run-1");
    assert!(why.contains("kept as .jidoka-apply-run-1.kept/1/a"), "{why}");
    assert_eq!(fs::read(real.join(".jidoka-apply-run-1.kept/1/a")).unwrap(), THEIRS.as_bytes());
    assert_eq!(fs::read(real.join("a")).unwrap(), b"later");
    // It belongs to no workspace and blocks nothing.
    assert!(bench.no_staging());
    assert_eq!(bench.now().len(), 1);
}

#[test]
fn what_is_written_into_a_replaced_file_before_its_verdict_is_kept() {
    let bench = Bench::new(&[("a", text("1")), ("d", Node::Directory)], &[("a", text("2"))]);
    let mut open_file = fs::OpenOptions::new().append(true).open(bench.real.path().join("a")).unwrap();
    bench.make(&all(), &mut quiet()).unwrap();
    io::Write::write_all(&mut open_file, THEIRS.as_bytes()).unwrap();
    assert_eq!(clear(&open(&bench.real), "run-1").unwrap(), [".jidoka-apply-run-1.kept/1/a"]);
    assert_eq!(fs::read(bench.real.path().join(".jidoka-apply-run-1.kept/1/a")).unwrap(), b"1theirs");
    assert_eq!(bench.now(), bench.end);
    assert_eq!(clear(&open(&bench.real), "never was").unwrap(), [""; 0]);
}
