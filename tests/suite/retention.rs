//! What a prune leaves alone, what it frees, and what a wrong clock does not keep anybody from.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use jidoka::doors::clock::Clock;
use jidoka::doors::store::StoreError;
use jidoka::rules::andon::Category;
use jidoka::rules::item::State;
use jidoka::rules::ledger::ScopeId;
use jidoka::rules::verdict::Stop;
use jidoka::run::desk::{Because, Desk, DeskError};
use jidoka::run::retention::Retention;
use jidoka_tests::agent::{Planned, Turn};
use jidoka_tests::bench::{self, Bench, Home};
use jidoka_tests::plain;

const ALL: Retention = Retention { before_ms: Some(u64::MAX), max_bytes: None };

fn told(lines: &[&str]) -> Bench {
    Bench::new(plain::SCRIPT).set("task", &format!("text = \"{}\"", lines.join("\\n")))
}

fn because() -> Because {
    Because { by: "ada".to_owned(), reason: "a look".to_owned() }
}

fn desk(home: &Home) -> Desk {
    Desk::new(bench::store(&home.state()), bench::state(&home.state()), Clock::starting_at(bench::START_MS))
}

fn line() -> ScopeId {
    ScopeId::of_path("default/tests")
}

fn du(dir: &Path) -> u64 {
    let output = Command::new("du").args(["-s", "-B1"]).arg(dir).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split('\t').next().unwrap().parse().unwrap()
}

fn near(one: u64, other: u64) -> bool {
    one.abs_diff(other) * 20 <= one.max(other)
}

/// Prunes until so many runs are erased: which, and how many are unfinished. A run that a process has is left for the next
/// sweep, and a child that another test forks has everything of this process until it becomes its own program.
async fn swept(home: &Home, runs: usize) -> (Vec<String>, usize) {
    let mut erased = Vec::new();
    for _ in 0..100 {
        let pruned = desk(home).prune(ALL).await.unwrap();
        erased.extend(pruned.runs);
        if erased.len() >= runs {
            return (erased, pruned.unfinished);
        }
    }
    panic!("only {erased:?} went");
}

/// The store has seen a time that this machine's clock has not.
fn put_clock_back(home: &Home) {
    let store = rusqlite::Connection::open(home.state().join("ledger.sqlite")).unwrap();
    store.execute_batch("UPDATE clock SET latest_ms = latest_ms + 86400000").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_go_on_stays_until_it_went_on_and_then_goes() {
    let home = Home::new();
    let parked = || {
        let job = told(&["write a x", "human may I?", "done ready"]).item("parked").no_apply().at(&home);
        job.set("grants", "human = true").set("human", "deadline = \"24h\"")
    };
    let cancelled = || told(&["write b x", "sleep 600000", "done ready"]).item("cancelled").no_apply().at(&home);
    let first = parked().run().await;
    first.expect("needs-human");
    let second = cancelled().run_with(|cord| assert!(cord.pull(Stop::Cancelled))).await;
    second.expect("cancelled");
    // What a stopped line names is needed by whoever is to clear it.
    let pulled = told(&["write c x", "pull the floor is wet"]).item("pulled").at(&home).run().await;
    pulled.expect("halted");
    let over = told(&["write d x", "done ready"]).set("", "line = \"other\"").item("over").at(&home).run().await;
    over.expect("accepted");

    assert_eq!(swept(&home, 1).await, (vec![over.record.serial.clone()], 3));
    assert!(!home.state().join("runs").join(&over.record.serial).exists());

    let desk = desk(&home);
    desk.clear_line(&line(), None, None, because()).await.unwrap();
    let question = desk.questions().await.unwrap()[0].0.clone();
    desk.answer(&question, 1, String::new(), because()).await.unwrap();
    parked().resume(&first.record.serial).await.expect("accepted");
    // An item that is tried anew has moved on, and so has one that is given up.
    told(&["write b x", "done ready"]).item("cancelled").no_apply().at(&home).run().await.expect("accepted");
    desk.abandon(&line().child("pulled"), because()).await.unwrap();
    let (erased, unfinished) = swept(&home, 4).await;
    assert_eq!((erased.len(), unfinished), (4, 0), "{erased:?}");
    assert_eq!(std::fs::read_dir(home.state().join("runs")).unwrap().count(), 0);
    assert_eq!(desk.rehearse_prune(ALL).await.unwrap().runs, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_could_not_be_applied_stays_until_it_is() {
    let home = Home::new();
    let away = home.dir().join("away");
    let move_away = format!("test -e {0} || mv {1} {0}", away.display(), home.workspace().display());
    let job = || told(&["write a x", "done ready"]).command("mover", &["sh", "-c", &move_away], "10s").at(&home);
    let end = job().item("one").run().await;
    end.expect("rejected");
    let pruned = desk(&home).prune(ALL).await.unwrap();
    assert_eq!((pruned.runs.len(), pruned.unfinished), (0, 1));
    std::fs::rename(&away, home.workspace()).unwrap();
    std::fs::create_dir(&away).unwrap();
    let end = job().item("one").resume(&end.record.serial).await;
    assert_eq!(end.expect("accepted").real_file("a").as_deref(), Some("x"));
    assert_eq!(swept(&home, 1).await.0.len(), 1);
    // What a check rejected does not go on.
    let rejected =
        told(&["write b x", "done ready"]).command("no", &["false"], "10s").item("two").at(&home).run().await;
    rejected.expect("rejected");
    assert_eq!(swept(&home, 1).await.0, [rejected.record.serial]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_tree_of_a_kept_run_keeps_no_other_from_being_erased() {
    let home = Home::new();
    std::fs::write(home.workspace().join("a"), "one").unwrap();
    let asks = told(&["write a two", "human may I?", "done ready"]).item("parked").no_apply().at(&home);
    asks.set("grants", "human = true").set("human", "deadline = \"24h\"").run().await.expect("needs-human");
    let trees = home.state().join("blobs/trees");
    let mut damaged = 0;
    for room in std::fs::read_dir(&trees).unwrap() {
        for tree in std::fs::read_dir(room.unwrap().path()).unwrap() {
            let path = tree.unwrap().path();
            let mut permissions = std::fs::metadata(&path).unwrap().permissions();
            std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
            std::fs::set_permissions(&path, permissions).unwrap();
            std::fs::write(&path, "{").unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0);
    std::fs::write(home.workspace().join("b"), "other").unwrap();
    let over = told(&["write c three", "done ready"]).item("over").at(&home).run().await;
    over.expect("accepted");
    let plan = desk(&home).rehearse_prune(ALL).await.unwrap();
    assert_eq!((plan.runs.as_slice(), plan.unfinished), ([over.record.serial.clone()].as_slice(), 1));
    // The sweep says what is damaged, once everything else is done.
    desk(&home).prune(ALL).await.unwrap_err();
    let erased = desk(&home).runs().await.unwrap().into_iter().filter(|run| run.erased);
    assert_eq!(erased.map(|run| run.serial).collect::<Vec<_>>(), std::slice::from_ref(&over.record.serial));
    assert!(!home.state().join("runs").join(&over.record.serial).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_frees_on_the_disk_what_its_rehearsal_said() {
    let home = Home::new();
    std::fs::write(home.workspace().join("large"), bench::words(1 << 20)).unwrap();
    for number in 0..6 {
        let own = format!("write own-{number} {}", bench::words(5_000));
        let note = format!("note {}", bench::words(3_000));
        let lines: Vec<&str> = std::iter::once(own.as_str()).chain(std::iter::repeat_n(note.as_str(), 20)).collect();
        let lines = [lines.as_slice(), &["attach proof", "done ready"]].concat();
        told(&lines).set("caps", "log = \"1MiB\"").at(&home).run().await.expect("accepted");
    }
    // Killed while it was admitted, and not admitted at all.
    let state = bench::state(&home.state());
    state.create_run("01aaaaaaaa-aaaaaa").unwrap().write("verdict.json", &"not admitted").unwrap();
    state.create_run("01aaaaaaab-aaaaaa").unwrap().subdir("work").unwrap();
    let alive = state.create_run("01aaaaaaac-aaaaaa").unwrap();
    let before = du(&home.state());
    for most in [before / 2, 0] {
        let retention = Retention { before_ms: None, max_bytes: Some(most) };
        let before = du(&home.state());
        let said = desk(&home).rehearse_prune(retention).await.unwrap();
        assert_eq!(du(&home.state()), before, "nothing went");
        let done = desk(&home).prune(retention).await.unwrap();
        let after = du(&home.state());
        assert_eq!((&said.runs, &said.leftovers), (&done.runs, &done.leftovers));
        let all = [(said.before_bytes, before), (done.before_bytes, before), (said.after_bytes, after)];
        assert!(all.into_iter().all(|(one, other)| near(one, other)), "{said:?} {done:?} {before} {after}");
        assert!(near(done.after_bytes, after), "{done:?} {after}");
        assert!(most == 0 || after <= most, "{after} of {most}");
    }
    let left: Vec<String> = std::fs::read_dir(home.state().join("runs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(left, ["01aaaaaaac-aaaaaa"], "somebody is about to begin it");
    drop(alive);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_looks_at_each_run_once() {
    let home = Home::new();
    told(&["write a x", "done ready"]).at(&home).run().await.expect("accepted");
    let store = rusqlite::Connection::open(home.state().join("ledger.sqlite")).unwrap();
    let columns = "head, entries, key, tenant, line, item, attempt, opened_ms, latest_ms, verdict, exit_code, settled, \
                   parent, caller, imported, bytes";
    let copies = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
         INSERT INTO run SELECT printf('00copy%05d', i), {columns} FROM run, n"
    );
    store.execute_batch(&copies).unwrap();
    drop(store);
    // To look at all of them for each took minutes.
    let desk = desk(&home);
    let plan = desk.rehearse_prune(ALL);
    let plan = tokio::time::timeout(std::time::Duration::from_secs(60), plan).await.expect("it takes no minute");
    assert_eq!(plan.unwrap().runs.len(), 5_001);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_stopped_and_an_item_is_given_up_whatever_the_clock_shows() {
    let home = Home::new();
    told(&["write a x", "unable no"]).item("one").at(&home).run().await.expect("unable");
    put_clock_back(&home);
    let desk = desk(&home);
    desk.pull_line(&line(), Category::Operator, because()).await.unwrap();
    desk.abandon(&line().child("one"), because()).await.unwrap();
    assert_eq!(desk.items().await.unwrap()[0].1.state, State::Abandoned);
    // Nothing is let go on.
    let cleared = desk.clear_line(&line(), None, None, because()).await;
    assert!(matches!(cleared, Err(DeskError::Store(StoreError::ClockBehind { .. }))), "{cleared:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_says_so_whatever_the_clock_shows() {
    for (last, verdict) in
        [("pull the floor is wet", "halted"), ("ask again and again", "fault"), ("unable no", "unable")]
    {
        let home = Home::new();
        let state = Arc::clone(&home);
        let model = Planned::new(move |_| {
            put_clock_back(&state);
            Turn::Say("yes".into())
        });
        let end = told(&["ask hello, is it wet", last]).model(Arc::new(model)).item("one").at(&home).run().await;
        end.expect(verdict);
        let kept = desk(&home).runs().await.unwrap();
        assert_eq!(kept[0].verdict.as_deref(), Some(verdict), "its end is in the books too");
        let stopped = desk(&home).pulls().await.unwrap().len();
        assert_eq!(stopped, usize::from(verdict == "halted"));
    }
}
