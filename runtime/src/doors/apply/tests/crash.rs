//! An apply that is killed, or whose disk is full, at any point, and its recovery.

use super::*;

/// The changes of kind, which must be in order, and a plain one; small, because it is crashed in every pair of points.
pub(super) fn small() -> Bench {
    Bench::new(
        &[("file-to-dir", text("file")), ("dir-to-file/deep", text("x")), ("edited", text("old"))],
        &[("file-to-dir/inner", text("i")), ("dir-to-file", text("file")), ("edited", text("new"))],
    )
}

/// Number of points at which an apply can be stopped.
pub(super) fn points(bench: fn() -> Bench) -> usize {
    let stopped = |point: &usize| match bench().apply_to(&all(), &mut at_point(*point, Fault::Kill)) {
        Ok(_) => false,
        Err(ApplyError::Killed) => true,
        Err(other) => panic!("{other:?}"),
    };
    (0..).take_while(stopped).count()
}

#[test]
fn a_crash_at_any_point_leaves_the_old_or_the_new_state() {
    let (mut old, mut new) = (0, 0);
    for point in 0..points(rich) {
        let bench = rich();
        let stopped = bench.apply_to(&all(), &mut at_point(point, Fault::Kill));
        assert!(matches!(stopped, Err(ApplyError::Killed)), "{point}: {stopped:?}");
        bench.recover();
        let now = bench.now();
        assert!(now == bench.base || now == bench.end, "{point}: {now:#?}");
        assert!(bench.no_staging(), "{point}");
        if now == bench.base {
            old += 1
        } else {
            new += 1
        }
        assert!(new == 0 || now == bench.end, "{point}: once committed, always new");
        assert_eq!(recover(&open(&bench.real)).unwrap(), []);
        assert_eq!(bench.now(), now);
    }
    assert!(old > 10 && new > 20, "{old} {new}");
}

#[test]
fn a_crash_at_any_point_of_a_recovery_is_recovered_from() {
    for point in 0..points(small) {
        for second in 0.. {
            let bench = small();
            bench.apply_to(&all(), &mut at_point(point, Fault::Kill)).unwrap_err();
            let finished = match recover_with(&open(&bench.real), &mut at_point(second, Fault::Kill)) {
                Ok(_) => true,
                Err(ApplyError::Killed) => false,
                Err(other) => panic!("{other:?}"),
            };
            bench.recover();
            let now = bench.now();
            assert!(now == bench.base || now == bench.end, "{point} {second}: {now:#?}");
            assert!(bench.no_staging(), "{point} {second}");
            if finished {
                break;
            }
        }
    }
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let (mut refused, mut taken_back) = (0, 0);
    for point in 0..points(rich) {
        let bench = rich();
        match bench.apply_to(&all(), &mut at_point(point, Fault::DiskFull)) {
            Err(ApplyError::Stage { source, .. }) => {
                assert_eq!(source.kind(), io::ErrorKind::StorageFull);
                assert!(bench.untouched(), "{point}");
                refused += 1;
            }
            Err(ApplyError::Step { source, kept, .. }) => {
                assert_eq!((source.kind(), kept), (io::ErrorKind::StorageFull, vec![]));
                assert!(bench.untouched(), "{point}");
                taken_back += 1;
            }
            // After all of it was made.
            Ok(_) | Err(ApplyError::Recover { .. }) => {
                bench.recover();
                assert_eq!(bench.now(), bench.end, "{point}");
                assert!(bench.no_staging(), "{point}");
            }
            other => panic!("{point}: {other:?}"),
        }
    }
    assert!(refused > 10 && taken_back > 20, "{refused} {taken_back}");
}

#[test]
fn recovery_says_what_it_did() {
    let serial = || "run-1".to_owned();
    let after = |point| {
        let bench = rich();
        bench.apply_to(&all(), &mut at_point(point, Fault::Kill)).unwrap_err();
        bench.recover()
    };
    let last = points(rich) - 1;
    assert_eq!(after(0), [Recovered::Discarded { serial: serial() }]);
    assert_eq!(after(last - 2), [Recovered::Applied { serial: serial() }]);
    assert_eq!(after(last - 1), [Recovered::Applied { serial: serial() }]);
    assert_eq!(after(last), []);
}

#[test]
fn a_crash_at_any_point_without_an_exchange_leaves_the_old_or_the_new_state() {
    for point in 0.. {
        let bench = rich();
        let mut hook = at_point(point, Fault::Kill);
        hook.test.lacks_flags = true;
        let done = bench.apply_to(&all(), &mut hook).is_ok();
        let recovered = recover_with(
            &open(&bench.real),
            &mut Hook { test: AtHook { lacks_flags: true, ..AtHook::default() }, ..quiet() },
        );
        recovered.unwrap();
        bench.recover();
        let now = bench.now();
        assert!(now == bench.end || (!done && now == bench.base), "{point}: {now:#?}");
        if done {
            break;
        }
    }
}
