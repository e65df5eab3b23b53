//! Children: other jobs below a worker, on its account and in its files, each judged by the host as any run is.

use std::sync::Arc;
use std::time::Duration;

use jidoka::doors::chain::KeptEntry;
use jidoka::doors::clock::Clock;
use jidoka::doors::store::Store;
use jidoka::rules::andon::Category;
use jidoka::rules::effect::{Body, Caller, Effect, Entry, Kind};
use jidoka::rules::facts::Facts;
use jidoka::rules::ledger::{Amounts, Line, ScopeId};
use jidoka::rules::spec::Dialect;
use jidoka::rules::tool::Reach;
use jidoka::rules::verdict::Stop;
use jidoka::run::desk::{Because, Desk};
use jidoka_tests::bench::{self, Bench, End, Home, http};
use jidoka_tests::provider::{Behaviour, FakeProvider};
use jidoka_tests::web::{AT, FakeWeb, Page, grant};
use jidoka_tests::{hostile, plain};

/// A worker that does what these lines say.
fn told(lines: &[&str]) -> Bench {
    let lines: Vec<String> = lines.iter().map(|line| line.replace('"', "\\\"")).collect();
    Bench::new(plain::SCRIPT)
        .set("task", &format!("text = \"{}\"", lines.join("\\n")))
        .set("done", "no-change = \"allowed\"")
}

/// A job for children, which do what their caller says.
fn helper() -> Bench {
    told(&["unable nobody said what"])
}

/// One that writes no files.
fn reader() -> Bench {
    helper().set("grants", "files = \"read-only\"").set("done", "marks = [\"artifact\"]").unset("done", "tree")
}

fn spent(end: &End, line: Line) -> u64 {
    end.record.ledger.attempt.spent.get(line)
}

/// The intents and answers of an end's children.
fn serials(end: &End) -> Vec<String> {
    let of = |entry: &Entry| match &entry.body {
        Body::Intent { call, effect: Effect::Child { .. }, .. } => Some(format!("{}-{call}", end.record.serial)),
        _ => None,
    };
    end.entries.iter().filter_map(of).collect()
}

/// How a child's journal says that it was judged.
fn verdict_of(home: &Home, serial: &str) -> String {
    let entries = bench::entries(&home.state(), serial);
    let closed = entries.iter().rev().find_map(|entry| match &entry.body {
        Body::Closed { record } => Some(record.verdict.clone()),
        _ => None,
    });
    closed.expect("it came to its end")
}

async fn is_told_again(end: &End) {
    let replayed = end.replay().await;
    assert_eq!((replayed.divergence, replayed.fault), (None, None));
    assert_eq!(replayed.record.unwrap().verdict, end.record.verdict);
}

/// Nobody has anything reserved, and the books agree with their calls.
fn books_are_closed(home: &Home) {
    let store = bench::sqlite(&home.state());
    store.audit().unwrap();
    let ledger = store.survey().unwrap();
    for (id, scope) in ledger.scopes() {
        assert_eq!((scope.reserved, scope.carved), (Amounts::default(), Amounts::default()), "{id}");
        assert!(scope.closed || id.path().matches('/').count() < 3, "{id} is open");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_is_a_run_of_its_own_in_its_callers_files() {
    let lines = ["write a.txt one", "child help write a.txt two | attach proof | done mine", "read a.txt", "done all"];
    let end = told(&lines).child("help", helper()).run().await;
    end.expect("accepted");
    let notes = end.notes();
    assert!(notes[0].starts_with("help: accepted · ") && notes[0].ends_with(" · mine"), "{notes:?}");
    assert_eq!(notes[1], "two");
    assert_eq!(end.real_file("a.txt").as_deref(), Some("two"));
    let child = serials(&end).remove(0);
    let opened = bench::entries(&end.home.state(), &child).into_iter().find_map(|entry| match entry.body {
        Body::Opened { opening } => Some(opening.origin),
        _ => None,
    });
    let caller = Caller { serial: end.record.serial.clone(), call: 1 };
    assert_eq!(opened.unwrap().caller, Some(caller));
    // Both are told again, each by itself: the caller without its child.
    is_told_again(&end).await;
    let replayed = bench::replay(&bench::runner(&end.home.state()), &child, None).await;
    assert_eq!((replayed.divergence, replayed.fault), (None, None));
    // Its item is its caller's.
    let items = bench::store(&end.home.state()).items().unwrap();
    assert_eq!(items.len(), 1, "{items:?}");
    books_are_closed(&end.home);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_accepted_of_a_child_is_nowhere() {
    let lines = [
        "child checked write b.txt bad | write judge fail | done believe me",
        "child checked unable no idea",
        "child checked panic",
        "child checked done nothing changed",
        "no-change-needed all",
    ];
    let checked = helper().check("judged", plain::JUDGE);
    let end = told(&lines).child("checked", checked).run().await;
    end.expect("no-change-needed");
    let notes = end.notes();
    for (note, verdict) in notes.iter().zip(["rejected", "unable", "trapped", "no-progress"]) {
        assert!(note.starts_with(&format!("checked: {verdict} · ")), "{notes:?}");
    }
    assert_eq!((end.real_file("b.txt"), end.kept_file("b.txt")), (None, None));
    is_told_again(&end).await;
    books_are_closed(&end.home);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_spends_what_was_carved_out_for_it_and_the_rest_comes_back() {
    let provider = FakeProvider::start(vec![Behaviour::Text("yes".into())]).await;
    let model = || http(&provider, Dialect::Openai);
    let child = helper().model(model()).set("budget", "tokens = 50000");
    let lines = [
        "ask of the caller",
        "left model-calls",
        "child help model-calls=2 ask one | ask two | ask three | done all",
        "left model-calls",
        "child help model-calls=0 left model-calls | ask one | no-change-needed",
        "ask again",
        "no-change-needed all",
    ];
    let end = told(&lines).model(model()).child("help", child).run().await;
    end.expect("no-change-needed");
    let notes = end.notes();
    assert!(notes[1].starts_with("left 49 "), "{notes:?}");
    // The third call is more than it has; what it had left was its caller's again before it asked anybody.
    assert!(notes[2].starts_with("help: exhausted · ") && notes[2].contains("model-calls"), "{notes:?}");
    assert!(notes[3].starts_with("left 47 "), "{notes:?}");
    assert!(notes[4].starts_with("help: exhausted · "), "{notes:?}");
    assert_eq!((spent(&end, Line::ModelCalls), provider.counters().calls), (4, 4));
    let counted = provider.counters();
    assert_eq!(spent(&end, Line::Tokens), counted.tokens_in + counted.tokens_out);
    is_told_again(&end).await;
    books_are_closed(&end.home);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_carved_is_refused_and_costs_nothing() {
    let lines = [
        "child help disk-bytes=67108865 done",
        "child help disk-bytes=60000000 attach x | no-change-needed",
        "write a.txt hello",
        "child help disk-bytes=67108864 done",
        "child help memory-bytes=1 done",
        "child other done",
        "done all",
    ];
    let end = told(&lines).set("budget", "disk = \"64MiB\"").child("help", helper()).run().await;
    end.expect("accepted");
    let notes = end.notes();
    assert!(notes[0].contains("at most 67108864") && notes[0].contains("[budget] disk"), "{notes:?}");
    assert!(notes[1].starts_with("help: "), "{notes:?}");
    assert!(notes[2].contains("disk-bytes") && notes[2].contains("left"), "{notes:?}");
    assert!(notes[3].contains("memory-bytes"), "{notes:?}");
    assert!(notes[4].contains("children: help"), "{notes:?}");
    assert_eq!(serials(&end).len(), 1);
    // What the child was lent is its caller's again.
    assert_eq!(spent(&end, Line::DiskBytes), 6);
    is_told_again(&end).await;
    books_are_closed(&end.home);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_has_as_many_children_as_are_allowed_and_a_batch_too() {
    let one = "child help no-change-needed";
    let batch = |count: usize| format!("children {}", vec!["help no-change-needed"; count].join(" ; "));
    let (whole, more) = (batch(16), batch(17));
    let lines = [whole.as_str(), &more, &whole, &whole, &batch(15), &batch(2), one, "no-change-needed all"];
    let end = told(&lines).set("budget", "wall = \"60s\"").child("help", helper()).run().await;
    end.expect("no-change-needed");
    let notes = end.notes();
    assert_eq!(notes.iter().filter(|note| note.starts_with("help: no-change-needed")).count(), 64, "{notes:#?}");
    let refused: Vec<_> = notes.iter().filter(|note| note.contains("no, ")).collect();
    assert_eq!(refused.len(), 19, "{refused:#?}");
    assert!(refused[0].contains("17 requests in one batch") && refused[17].contains("65 children"), "{refused:#?}");
    books_are_closed(&end.home);
}

#[tokio::test(flavor = "multi_thread")]
async fn children_of_children_count_for_the_run_at_the_top() {
    let batch = format!("children {}", vec!["help no-change-needed"; 16].join(" ; "));
    let one = format!("child a {batch} | {batch} | no-change-needed");
    let end = told(&[&one, &one, "no-change-needed all"]).set("budget", "wall = \"60s\"");
    let end = end.child("a", helper().set("budget", "wall = \"60s\"").child("help", helper())).run().await;
    end.expect("no-change-needed");
    let refused = |serial: &String| {
        let is_it =
            |entry: &&Entry| matches!(&entry.body, Body::Refused { refusal, .. } if refusal.asked.contains("theirs"));
        bench::entries(&end.home.state(), serial).iter().filter(is_it).count()
    };
    assert_eq!(serials(&end).iter().map(refused).collect::<Vec<_>>(), [0, 2]);
    books_are_closed(&end.home);
}

#[tokio::test(flavor = "multi_thread")]
async fn children_that_show_evidence_at_once_are_all_accepted_and_leave_no_copies() {
    let each: Vec<String> = (0..8).map(|number| format!("help attach proof {number} | done")).collect();
    let end = told(&[&format!("children {}", each.join(" ; ")), "no-change-needed all"]).file("big.txt", "x");
    let end = end.child("help", reader()).run().await;
    end.expect("no-change-needed");
    assert!(end.notes().iter().all(|note| note.starts_with("help: accepted")), "{:?}", end.notes());
    for child in serials(&end) {
        let dir = end.home.state().join("runs").join(&child);
        assert!(dir.join("verdict.json").exists() && !dir.join("work").exists() && !dir.join("context").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_obeys_what_a_caller_makes_to_look_like_the_hosts_own() {
    let lines = [
        "write kept.txt mine",
        "mkdir .jidoka-apply-x",
        "write .jidoka-apply-x/plan.json {}",
        "child help done",
        "done",
    ];
    let end = told(&lines).child("help", helper()).run().await;
    // To the host it is not there, neither as a change.
    end.expect("accepted");
    assert!(end.notes()[0].starts_with("help: not-admitted · "), "{:?}", end.notes());
    assert_eq!(end.record.changes, ["kept.txt"]);
    assert!(end.kept_file(".jidoka-apply-x/plan.json").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_is_pulled_for_stops_its_caller_too() {
    let home = Home::new();
    let judged = helper().check("judged", plain::JUDGE);
    let lines = ["child help write judge pull | done", "write a.txt x", "done all"];
    let end = told(&lines).at(&home).child("help", judged).run().await;
    end.expect("halted");
    assert!(end.record.why.contains("the verifier saw it"), "{}", end.record.why);
    assert_eq!(bench::store(&home.state()).pulls().unwrap().len(), 1);
    books_are_closed(&home);
}

#[tokio::test(flavor = "multi_thread")]
async fn children_have_children_and_each_level_has_at_most_what_is_above_it() {
    let lines = [
        "child a disk-bytes=1000 child b disk-bytes=600 child c disk-bytes=300 attach 12345 ||| child d done ||| done c || \
         attach 123 || child c disk-bytes=601 done || done b | attach 1 | done a",
        "no-change-needed all",
    ];
    // Granted, and too deep all the same.
    let c = helper().child("d", helper());
    let b = helper().child("c", c);
    let a = helper().child("b", b);
    let end = told(&lines).child("a", a).run().await;
    end.expect("no-change-needed");
    assert!(end.notes()[0].starts_with("a: accepted"), "{:?}", end.notes());
    assert_eq!(spent(&end, Line::DiskBytes), 9);
    let of = |serial: &str| bench::entries(&end.home.state(), serial);
    let notes = |entries: &[Entry]| {
        let note = |entry: &Entry| match &entry.body {
            Body::Noted { message, .. } => Some(message.clone()),
            _ => None,
        };
        entries.iter().filter_map(note).collect::<Vec<_>>()
    };
    let a = serials(&end).remove(0);
    let (of_b, of_c) = (of(&format!("{a}-1")), of(&format!("{a}-1-1")));
    // What b has left is less than what c asks for, whatever a and the run have.
    assert!(
        notes(&of_b)[1].contains("disk-bytes") && notes(&of_b)[1].contains("left in scope worker"),
        "{:?}",
        notes(&of_b)
    );
    assert!(notes(&of_c)[0].contains("4 children within each other"), "{:?}", notes(&of_c));
    books_are_closed(&end.home);
}

#[tokio::test(flavor = "multi_thread")]
async fn children_that_write_run_one_after_the_other_and_all_others_at_once() {
    let both = "children help write a.txt x | sleep 300 | done ; help read a.txt | sleep 300 | write b.txt y | done";
    let end = told(&[both, "done all"]).child("help", helper()).run().await;
    end.expect("accepted");
    assert!(end.notes().iter().all(|note| note.starts_with("help: accepted")), "{:?}", end.notes());
    is_told_again(&end).await;
    // The first is answered when all others are: one after the other they would never end.
    const READERS: usize = 6;
    let after = |path: &str| READERS - 1 - path.rsplit('/').next().and_then(|place| place.parse().ok()).unwrap_or(0);
    let web = Arc::new(FakeWeb::new(move |request| Page::ok("yes").after(after(&request.url))));
    let rule = || [grant(&["GET"], "/")];
    let each: Vec<String> = (0..READERS).map(|place| format!("help get {AT}/{place} | no-change-needed")).collect();
    let end = told(&[&format!("children {}", each.join(" ; ")), "no-change-needed all"]).web(web.clone(), &rule());
    let end = end.child("help", reader().web(web, &rule()).set("budget", "net = \"4MiB\"")).run().await;
    end.expect("no-change-needed");
    assert_eq!(end.notes().iter().filter(|note| note.starts_with("help: no-change-needed")).count(), READERS);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_passes_once_for_a_caller_and_its_child() {
    let end =
        told(&["child help sleep 3000 | no-change-needed", "no-change-needed"]).child("help", helper()).run().await;
    end.expect("no-change-needed");
    let took_ms = u64::try_from(end.took.as_millis()).unwrap();
    let spent_ms = spent(&end, Line::WallMs);
    assert!((3_000..=took_ms).contains(&spent_ms), "{spent_ms} of {took_ms}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_pulls_the_cord_stops_its_line_and_its_caller_once() {
    let home = Home::new();
    let lines = ["child help pull the drill is broken", "write a.txt x", "done all"];
    let end = told(&lines).at(&home).child("help", helper()).run().await;
    end.expect("halted");
    assert!(end.record.why.contains("the drill is broken"), "{}", end.record.why);
    assert_eq!(end.real_file("a.txt"), None);
    let pulls = bench::store(&home.state()).pulls().unwrap();
    assert_eq!(pulls.len(), 1, "{pulls:?}");
    assert_eq!(pulls[0].run, Some(serials(&end).remove(0)));
    let line = bench::store(&home.state()).lines().unwrap();
    assert!(line.iter().any(|(_, line)| line.lock.is_some()));
    // Nothing of the line begins.
    told(&["done"]).at(&home).run().await.expect("not-admitted");
    is_told_again(&end).await;
    books_are_closed(&home);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_child_begins_on_a_stopped_line() {
    let home = Home::new();
    // Somebody pulls while the caller waits for the web.
    let desk = Desk::new(bench::store(&home.state()), bench::state(&home.state()), Clock::starting_at(bench::START_MS));
    let pull = move || {
        let because = Because { by: "ada".to_owned(), reason: "wait".to_owned() };
        let line = ScopeId::of_path("default/tests");
        let pulled = desk.pull_line(&line, Category::Operator, because);
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(pulled)).unwrap();
    };
    let web = Arc::new(FakeWeb::new(|_| Page::ok("yes")).before(pull));
    let get = format!("get {AT}/");
    let caller = told(&[&get, "child help done", "no-change-needed all"]).web(web, &[grant(&["GET"], "/")]);
    let end = caller.at(&home).child("help", helper()).run().await;
    end.expect("no-change-needed");
    assert!(end.notes()[1].contains("is stopped"), "{:?}", end.notes());
    assert_eq!(serials(&end).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_is_stopped_takes_its_children_with_it() {
    let home = Home::new();
    let both = "children help sleep 10000 | done ; help sleep 10000 | done";
    let end = given_up(&home, || told(&[both, "done all"]).child("help", reader()), &["caller-1", "caller-2"]).await;
    assert_eq!(serials(&end).len(), 2);
    for child in serials(&end) {
        assert_eq!(verdict_of(&home, &child), "cancelled");
    }
    books_are_closed(&home);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_child_ends_in_a_typed_verdict_and_its_caller_goes_on() {
    let rows = [(hostile::SPIN, "exhausted"), (hostile::RECURSION, "trapped"), (hostile::EXIT, "trapped")];
    for (guest, verdict) in rows {
        let child = Bench::new(guest).set("budget", "wall = \"1s\"");
        let lines = ["child bad anything", "write a.txt fine", "done all"];
        let end = told(&lines).file("kept.txt", "kept").child("bad", child).run().await;
        end.expect("accepted");
        assert!(end.notes()[0].starts_with(&format!("bad: {verdict} · ")), "{guest}: {:?}", end.notes());
        assert_eq!(end.real_file("kept.txt").as_deref(), Some("kept"));
        books_are_closed(&end.home);
    }
}

/// Waits until a run has begun.
async fn begun(home: &Home, serial: &str) {
    let store = bench::store(&home.state());
    while store.journal(serial).unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a run has attached something.
async fn attached(home: &Home, serial: &str) {
    begun(home, serial).await;
    let is_answered = |entry: &KeptEntry| matches!(entry.facts, Facts::Answered { .. });
    while !bench::kept_entries(&home.state(), serial).iter().any(is_answered) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A caller that is given up when these children of its have begun.
async fn given_up(home: &Arc<Home>, caller: impl Fn() -> Bench, children: &'static [&str]) -> End {
    let place = Arc::clone(home);
    let end = caller().at(home).serial("caller").run_with(|cord| {
        tokio::spawn(async move {
            for child in children {
                begun(&place, child).await;
            }
            cord.pull(Stop::Cancelled);
        });
    });
    let end = end.await;
    end.expect("cancelled");
    end
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_goes_on_begins_a_child_anew_that_nobody_knows_the_end_of() {
    let home = Home::new();
    let lines = ["child help write a.txt x | done", "child help sleep 3000 | write b.txt y | done", "done all"];
    let caller = || told(&lines).child("help", helper()).item("one");
    let end = given_up(&home, caller, &["caller-2"]).await;
    assert_eq!(serials(&end).len(), 2);
    let end = caller().at(&home).resume("caller").await;
    end.expect("accepted");
    assert_eq!(end.record.repaid, 1);
    assert_eq!((end.real_file("a.txt").as_deref(), end.real_file("b.txt").as_deref()), (Some("x"), Some("y")));
    assert_eq!(verdict_of(&home, "caller-r1-2"), "accepted");
    books_are_closed(&home);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_children_of_a_crashed_run_had_reserved_is_its_own_when_it_goes_on() {
    let home = Home::new();
    let inner = "child in attach 12345 || sleep 3000 || no-change-needed | no-change-needed";
    let first = format!("child help {inner}");
    let lines = [first.as_str(), "write a.txt hello", "done all"];
    let caller = || told(&lines).child("help", helper().child("in", helper())).item("one").at(&home).serial("caller");
    // A host that is gone in the middle: nothing of it comes to its end.
    let (gone, place) = (caller(), Arc::clone(&home));
    let thread = std::thread::spawn(move || {
        let host = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        host.block_on(async {
            tokio::select! {
                end = gone.run() => panic!("it came to its end: {:?}", end.record),
                () = attached(&place, "caller-1-1") => {}
            }
        });
        host.shutdown_timeout(Duration::from_secs(5));
    });
    tokio::task::block_in_place(|| thread.join().unwrap());
    let end = caller().resume("caller").await;
    end.expect("accepted");
    assert_eq!((end.record.repaid, end.real_file("a.txt").as_deref()), (1, Some("hello")));
    let ledger = bench::sqlite(&home.state()).survey().unwrap();
    assert_eq!(ledger.totals(&ScopeId::host()).held, Amounts::default());
    // Twice attached, once by each.
    assert_eq!(spent(&end, Line::DiskBytes), 15);
    books_are_closed(&home);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_may_have_changed_the_world_is_never_begun_twice() {
    let home = Home::new();
    let web = || Arc::new(FakeWeb::new(|_| Page::ok("hello")));
    let rule = || [grant(&["GET", "POST"], "/")];
    let child = || helper().web(web(), &rule());
    let caller =
        || told(&["child help sleep 3000 | done", "done all"]).web(web(), &rule()).child("help", child()).item("one");
    let end = given_up(&home, caller, &["caller-1"]).await;
    let intent = end.entries.iter().find_map(|entry| match &entry.body {
        Body::Intent { effect: effect @ Effect::Child { reach: Reach::Outside, .. }, .. } => Some(effect.kind()),
        _ => None,
    });
    assert_eq!(intent, Some(Kind::Envoy));
    let end = caller().at(&home).resume("caller").await;
    end.expect("halted");
    assert!(end.record.why.contains("nobody knows"), "{}", end.record.why);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_is_resumed_and_forked_by_its_caller_only() {
    let home = Home::new();
    let end =
        told(&["child help sleep 10 | no-change-needed", "no-change-needed"]).at(&home).child("help", helper()).run();
    let child = serials(&end.await).remove(0);
    let past = bench::runner(&home.state()).past(&child).await.unwrap();
    let why = past.goes_on_after().expect_err("is a child").to_string();
    assert!(why.contains("it is a child"), "{why}");
    assert!(past.fork_at(0).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_makes_a_caller_and_all_its_children() {
    let drawn = |seed: u64| {
        let lines = ["child help no-change-needed", "no-change-needed"];
        told(&lines).set("", &format!("seed = {seed}")).serial("caller").child("help", helper())
    };
    let seed = async |bench: Bench| {
        let end = bench.run().await;
        bench::entries(&end.home.state(), "caller-1").into_iter().find_map(|entry| match entry.body {
            Body::Opened { opening } => Some(opening.origin.seed),
            _ => None,
        })
    };
    let [one, same, other] = [seed(drawn(1)).await, seed(drawn(1)).await, seed(drawn(2)).await];
    assert!(one.is_some() && one == same && one != other, "{one:?} {same:?} {other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_children_spend_counts_for_the_shared_books_too() {
    let provider = FakeProvider::start(vec![Behaviour::Text("yes".into())]).await;
    let model = || http(&provider, Dialect::Openai);
    let many = format!("children {}", ["help model-calls=1 ask one | no-change-needed"; 4].join(" ; "));
    let home = Home::new();
    let end = told(&[&many, "no-change-needed"]).model(model()).at(&home).child("help", helper().model(model())).run();
    end.await.expect("no-change-needed");
    let ledger = bench::sqlite(&home.state()).survey().unwrap();
    assert_eq!(ledger.totals(&ScopeId::host()).spent.get(Line::ModelCalls), 4);
}
