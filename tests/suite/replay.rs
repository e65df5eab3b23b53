//! A run told again: with every door shut, from every one of its entries on, and from a fork.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use jidoka::doors::chain::{Kept, Sealer};
use jidoka::doors::model::{Call, Model, Received};
use jidoka::doors::rates::RateNews;
use jidoka::doors::store::{Durability, MemoryStore, transact};
use jidoka::rules::divergence::DivergenceKind;
use jidoka::rules::effect::{Body, Entry};
use jidoka::rules::item::ItemRecord;
use jidoka::rules::ledger::{Line, ScopeId};
use jidoka::rules::model::{Metered, Reply, Request, Stop as ModelStop, Usage};
use jidoka::rules::verdict::Stop;
use jidoka::run::fork::Branch;
use jidoka_tests::bench::{self, Bench, End, Home};
use jidoka_tests::plain;
use std::sync::atomic::{AtomicU64, Ordering};

/// A provider without a memory: what it says follows from what it is asked.
#[derive(Default)]
struct Echo(AtomicU64);

#[async_trait]
impl Model for Echo {
    fn request_bytes(&self, _: &Request) -> u64 {
        0
    }

    fn uses_network(&self) -> bool {
        false
    }

    async fn ask(&self, call: &Call) -> Received {
        self.0.fetch_add(1, Ordering::Relaxed);
        let text = call.request.messages.last().map_or("", |message| message.content.as_str());
        let reply = Reply::new(format!("heard {text}"), vec![], ModelStop::End);
        Received {
            result: Ok(reply),
            metered: Metered::Exact(Usage::of(1, 5)),
            net_bytes: 0,
            raw_usage: None,
            rates: RateNews::default(),
        }
    }
}

/// A run of the plain worker that does this, a line each.
fn told(lines: &[&str]) -> Bench {
    Bench::new(plain::SCRIPT).set("task", &format!("text = \"{}\"", lines.join("\\n")))
}

/// Something of everything.
const LINES: [&str; 15] = [
    "ask one",
    "write a.txt first",
    "check-in look",
    "ask-all 3 many",
    "print so far",
    "attach proof",
    "left tokens",
    "sleep 5",
    "ask two",
    "write b/c.txt second",
    "check-in again",
    "ask three",
    "write a.txt third",
    "write judge pass",
    "done ready",
];

async fn is_told_again(end: &End) {
    let replayed = end.replay().await;
    assert_eq!(replayed.divergence, None);
    assert_eq!(replayed.fault, None);
    assert_eq!(replayed.record.as_ref(), Some(&end.record), "the verdict is the same to the last byte");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_told_again_to_the_last_byte_of_its_verdict() {
    let echo = Arc::new(Echo::default());
    let end = told(&LINES).model(echo.clone()).check("judge", plain::JUDGE).run().await;
    let asked = echo.0.load(Ordering::Relaxed);
    assert_eq!(asked, 6, "{:?}", end.record);
    is_told_again(&end).await;
    assert_eq!(echo.0.load(Ordering::Relaxed), asked, "a replay asks nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_end_is_told_again() {
    let echo = || Arc::new(Echo::default());
    let ask = ["ask one", "write a x"];
    let with = |last: &[&str]| told(&[&ask[..], last].concat()).model(echo());
    for (bench, verdict) in [
        (with(&["done ready"]), "accepted"),
        (with(&["unable sorry"]), "unable"),
        (with(&["needs-human help"]), "needs-human"),
        (with(&["fail why"]), "unable"),
        (with(&["panic"]), "trapped"),
        (with(&["pull stop"]), "halted"),
        (with(&["cite blake3:00", "done ready"]), "rejected"),
        (with(&["done ready"]).set("budget", "model-calls = 0"), "exhausted"),
        (with(&["done ready"]).set("budget", "disk = \"0B\""), "exhausted"),
        (told(&["ask one", "done nothing"]).model(echo()), "no-progress"),
        (
            told(&["ask one", "no-change-needed fine"]).model(echo()).set("done", "no-change = \"allowed\""),
            "no-change-needed",
        ),
        (with(&["done ready"]).command("false", &["/bin/false"], "5s"), "rejected"),
        (with(&["print out", "sleep 400", "sleep 400", "done ready"]).wall("500ms"), "exhausted"),
        (with(&["done ready"]).no_apply(), "accepted"),
    ] {
        let end = bench.run().await;
        end.expect(verdict);
        is_told_again(&end).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_stopped_from_outside_is_told_up_to_there() {
    let end = told(&["ask one", "write a x", "sleep 10000", "done late"]).model(Arc::new(Echo::default()));
    let end = end
        .run_with(|cord| {
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                cord.pull(Stop::Cancelled);
            });
        })
        .await;
    end.expect("cancelled");
    is_told_again(&end).await;
}

/// The journal of a run up to one of its entries, in a store of its own, as a crash would leave it.
pub(super) async fn cut_after(kept: &Kept, entries: &[Entry], last: usize, scope: &ScopeId) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::default());
    store.set_now_ms(bench::START_MS);
    let key = kept.key.unwrap();
    let mut sealer = Sealer::new(key);
    let sealed: Vec<_> = entries[..=last].iter().map(|entry| sealer.seal(entry.at_ms, entry.body.clone())).collect();
    assert!(
        sealed.iter().zip(&kept.rows).all(|(sealed, row)| sealed.row == *row),
        "the same entries are the same bytes"
    );
    let serial: Arc<str> = match &entries[0].body {
        Body::Opened { opening } => opening.origin.serial.as_str().into(),
        other => panic!("{other:?}"),
    };
    let (item, open) = (scope.clone(), serial.to_string());
    let written = transact(&*store, vec![], Durability::Durable, move |books| {
        sealed.into_iter().for_each(|entry| books.append(&serial, key, entry));
        books.remember(&item, ItemRecord { attempts: 1, open: Some(open), ..ItemRecord::default() });
    });
    written.await.unwrap();
    store
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_from_every_one_of_its_entries_to_the_same_verdict() {
    let home = Home::new();
    let bench =
        |echo: &Arc<Echo>| told(&LINES).model(echo.clone()).item("prefix").check("judge", plain::JUDGE).at(&home);
    let echo = Arc::new(Echo::default());
    let whole = bench(&echo).run().await;
    let asked = echo.0.load(Ordering::Relaxed);
    let serial = whole.record.serial.clone();
    let kept = bench::store(&home.state()).journal(&serial).unwrap().unwrap();
    let entries = bench::entries(&home.state(), &serial);
    let scope = ScopeId::host().child("default").child("tests").child("prefix");
    for last in 0..entries.len() - 1 {
        let store = cut_after(&kept, &entries, last, &scope).await;
        for file in std::fs::read_dir(home.workspace()).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
        }
        let echo = Arc::new(Echo::default());
        let end = bench(&echo).books(store.clone()).resume(&serial).await;
        let what = format!("cut after entry {last}: {:?}", entries[last].body);
        assert_eq!(end.record.verdict, whole.record.verdict, "{what}: {}", end.record.why);
        assert_eq!(end.record.report, whole.record.report, "{what}");
        assert_eq!(end.record.marks, whole.record.marks, "{what}");
        assert_eq!(end.record.gates, whole.record.gates, "{what}");
        assert_eq!(end.record.changes, whole.record.changes, "{what}");
        assert_eq!(end.record.evidence, whole.record.evidence, "{what}");
        assert!(end.record.applied, "{what}");
        assert_eq!(end.real_file("a.txt").as_deref(), Some("third"), "{what}");
        assert_eq!(end.record.resumptions, 1);
        let answered = |entry: &&Entry| matches!(&entry.body, Body::Answered { kind, .. } if kind.name() == "model");
        let before = entries[..=last].iter().filter(answered).count() as u64;
        assert_eq!(echo.0.load(Ordering::Relaxed), asked - before, "{what}: nothing with an answer is asked again");
        let open =
            |entry: &&Entry| matches!(&entry.body, Body::Intent { effect, .. } if effect.kind().name() == "model");
        let in_flight = entries[..=last].iter().filter(open).count() as u64 - before;
        assert_eq!(end.record.repaid, in_flight, "{what}");
        let runner = bench::runner_with(&home.state(), store);
        let replayed = bench::replay(&runner, &serial, None).await;
        assert_eq!((replayed.divergence, replayed.fault), (None, None), "{what}");
        assert_eq!(replayed.record.as_ref(), Some(&end.record), "{what}");
    }
    println!("cut after each of {} entries", entries.len() - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_stopped_goes_on_where_it_was() {
    let home = Home::new();
    let bench = |echo: &Arc<Echo>| {
        let lines = ["ask one", "write a x", "check-in so far", "sleep 700", "ask two", "write a y", "done late"];
        told(&lines).model(echo.clone()).item("stopped").at(&home)
    };
    let echo = Arc::new(Echo::default());
    let stopped = bench(&echo)
        .run_with(|cord| {
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                cord.pull(Stop::Cancelled);
            });
        })
        .await;
    stopped.expect("cancelled");
    let spent = stopped.record.ledger.attempt.spent.get(Line::ModelCalls);
    assert_eq!((spent, echo.0.load(Ordering::Relaxed)), (1, 1));
    let end = bench(&echo).resume(&stopped.record.serial).await;
    end.expect("accepted");
    assert_eq!(end.real_file("a").as_deref(), Some("y"));
    assert_eq!(echo.0.load(Ordering::Relaxed), 2, "the first call was not made again");
    assert_eq!(end.record.ledger.attempt.spent.get(Line::ModelCalls), 2);
    assert_eq!((end.record.resumptions, end.record.repaid), (1, 0));
    bench::sqlite(&home.state()).audit().unwrap();
    is_told_again(&end).await;
    // It is over now.
    let again = bench(&echo).resume(&stopped.record.serial).await;
    again.expect("not-admitted");
    assert!(again.record.why.contains("fork it instead"), "{}", again.record.why);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_run_that_goes_another_way_pulls_the_cord_and_stops() {
    let home = Home::new();
    let echo = Arc::new(Echo::default());
    let bench = |text: &str| {
        told(&["ask one", &format!("ask {text}"), "sleep 10000", "done late"]).model(echo.clone()).item("i").at(&home)
    };
    let stopped = bench("two")
        .run_with(|cord| {
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                cord.pull(Stop::Cancelled);
            });
        })
        .await;
    stopped.expect("cancelled");
    assert_eq!(echo.0.load(Ordering::Relaxed), 2);
    // The job in the journal is not what this guest is told.
    let end = bench("something else").resume(&stopped.record.serial).await;
    end.expect("diverged");
    assert_eq!(end.record.exit_code, 50);
    assert_eq!(echo.0.load(Ordering::Relaxed), 2, "nothing more is asked");
    let pulled = end.entries.iter().find_map(|entry| match &entry.body {
        Body::Stopped { stop: Stop::Pulled { pull } } => Some(pull.category),
        _ => None,
    });
    assert_eq!(pulled.unwrap().name(), "divergence");
    let diff = end.record.detail["diff"].to_string();
    assert!(diff.contains("message 1 of 1 (user)") && diff.contains("something else"), "{diff}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_told_again_by_another_process_in_another_place() {
    let home = Home::new();
    let end = crate::determinism::job(7).at(&home).serial("probe").run().await;
    end.expect("accepted");
    let script = "umask 000; cd /; export TZ=Pacific/Kiritimati LANG=tr_TR.UTF-8 LC_ALL=tr_TR.UTF-8 HOME=/nowhere \
        RUST_BACKTRACE=1; unset PATH; exec \"$0\" \"$@\"";
    let replayed = tokio::task::block_in_place(|| {
        std::process::Command::new("bash")
            .args(["-c", script, env!("CARGO_BIN_EXE_one_run")])
            .args([home.dir().to_str().unwrap(), "http://127.0.0.1:1", "never:0", "probe", "replay"])
            .output()
            .unwrap()
    });
    let said = String::from_utf8_lossy(&replayed.stdout).into_owned();
    assert!(said.starts_with("None None "), "{said}{}", String::from_utf8_lossy(&replayed.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_component_is_told_where_it_first_differs() {
    let end = told(&["ask one", "write a x", "done ready"]).model(Arc::new(Echo::default())).run().await;
    end.expect("accepted");
    let runner = bench::runner(&end.home.state());
    let other = std::fs::read(plain::IDLE).unwrap();
    let replayed = bench::replay(&runner, &end.record.serial, Some(other)).await;
    let divergence = replayed.divergence.expect("it does something else");
    assert_eq!((divergence.seq, divergence.kind), (1, DivergenceKind::MissingCall), "{divergence:?}");
    assert!(divergence.expected.contains("call 1: model"), "{divergence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_costs_nothing_up_to_where_it_leaves_and_is_an_item_of_its_own() {
    let home = Home::new();
    let echo = Arc::new(Echo::default());
    let bench = || {
        let lines = ["ask one", "write a x", "ask two", "write a y", "done ready"];
        told(&lines).model(echo.clone()).item("parent").at(&home)
    };
    let parent = bench().run().await;
    parent.expect("accepted");
    let serial = parent.record.serial.clone();
    let at = parent.entries.iter().find(|entry| matches!(entry.body, Body::Answered { .. })).unwrap().seq;
    let edits = BTreeMap::from([(1, "something else".to_owned())]);
    let fork = bench().no_apply().fork(&serial, Branch { at, edits }).await;
    fork.expect("accepted");
    assert_eq!(echo.0.load(Ordering::Relaxed), 3, "the fork asked once, its parent twice");
    assert_eq!(fork.record.ledger.attempt.spent.get(Line::ModelCalls), 1);
    assert_eq!(fork.record.item, fork.record.serial);
    assert_eq!(fork.notes(), ["heard one", "heard something else"], "below the guest");
    assert_eq!(parent.notes(), ["heard one", "heard two"]);
    is_told_again(&fork).await;
    is_told_again(&parent).await;
    // Where a call has no answer nobody can leave.
    let fork = bench().no_apply().fork(&serial, Branch { at: at - 1, edits: BTreeMap::new() }).await;
    fork.expect("not-admitted");
    assert!(fork.record.why.contains("nearest entry"), "{}", fork.record.why);
}
