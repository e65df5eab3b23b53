//! HTTP for guests: granted, judged, metered, journalled, told again, and never made behind the back of the journal.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use jidoka::doors::clock::Clock;
use jidoka::rules::effect::{Body, Denied, Failure, FailureKind, Kind, Reason, Refusal};
use jidoka::rules::facts::Facts;
use jidoka::rules::http::{HttpBody, HttpGrant, HttpReply};
use jidoka::rules::ledger::Line;
use jidoka::rules::quote::NET_SETTING;
use jidoka::rules::record::Record;
use jidoka::rules::verdict::Stop;
use jidoka::run::cord::Cord;
use jidoka::run::desk::Desk;
use jidoka::run::fixture::{Draft, Opened};
use jidoka::run::fork::Branch;
use jidoka::run::retention::Retention;
use jidoka_tests::bench::{self, Bench, End, Home, fresh_serial};
use jidoka_tests::web::{AT, FakeWeb, Page, grant};
use jidoka_tests::{crash, examples, hostile, plain};

use crate::export::{agree, exported, imported};

fn told(lines: &[&str]) -> Bench {
    let lines: Vec<String> = lines.iter().map(|line| line.replace("AT", AT)).collect();
    Bench::new(plain::SCRIPT).set("task", &format!("text = \"{}\"", lines.join("\\n")))
}

/// Says what it was asked.
fn echo() -> Arc<FakeWeb> {
    Arc::new(FakeWeb::new(|request| {
        let path = request.url.trim_start_matches(AT);
        Page::ok(format!("{} {path} {}", request.method, String::from_utf8_lossy(&request.body.0)).trim_end())
    }))
}

fn everywhere() -> [HttpGrant; 1] {
    [grant(&["GET", "POST"], "/")]
}

/// What the guest noted of a step.
#[track_caller]
fn noted<'a>(end: &'a End, step: &str) -> &'a str {
    let found = end.notes().into_iter().find_map(|note| note.strip_prefix(step)?.strip_prefix(": "));
    found.unwrap_or_else(|| panic!("no note of {step:?} in {:#?}\n{:#?}", end.notes(), end.record))
}

fn net(record: &Record) -> u64 {
    record.ledger.attempt.spent.get(Line::NetBytes)
}

async fn is_told_again(end: &End) {
    let replayed = end.replay().await;
    assert_eq!((replayed.divergence, replayed.fault), (None, None));
    assert_eq!(replayed.record.unwrap().verdict, end.record.verdict);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_granted_get_and_post_are_made_journalled_metered_and_told_again_without_the_web() {
    let web = echo();
    let lines = ["get AT/page?q=1", "post AT/form hello", "attach proof", "done ready"];
    let end = told(&lines).web(web.clone(), &everywhere()).run().await;
    end.expect("accepted");
    assert_eq!(web.asked(), [format!("GET {AT}/page?q=1"), format!("POST {AT}/form hello")]);
    assert_eq!(end.notes(), ["200 GET /page?q=1", "200 POST /form hello"]);
    let moved = "GET /page?q=1".len() + "hello".len() + "POST /form hello".len();
    assert_eq!(net(&end.record), moved as u64);
    assert_eq!(end.record.ledger.attempt.held.get(Line::NetBytes), 0);
    let used: Vec<&str> = end.record.capabilities.used.iter().map(String::as_str).collect();
    assert!(used.contains(&"fetch") && used.contains(&"send"), "{used:?}");
    let kinds = end.entries.iter().filter_map(|entry| match &entry.body {
        Body::Intent { effect, reserved, .. } if reserved.get(Line::NetBytes) > 0 => Some(effect.kind()),
        _ => None,
    });
    let kinds: Vec<Kind> = kinds.collect();
    assert_eq!(kinds, [Kind::Fetch, Kind::Send]);
    is_told_again(&end).await;
    assert_eq!(web.requests().len(), 2, "nothing was asked again");
    bench::sqlite(&end.home.state()).audit().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
pub async fn http_denied() {
    let web = echo();
    let run = |grants: &[HttpGrant]| {
        let bench = Bench::new(hostile::HTTP_DENIED).web(web.clone(), grants);
        bench.set("task", &format!("inputs = {{ at = {AT:?} }}"))
    };
    let end = run(&[grant(&["GET"], "/open/")]).run().await;
    for step in ["granted", "again"] {
        assert_eq!(noted(&end, step), "got 200");
    }
    assert_eq!(web.asked(), vec![format!("GET {AT}/open/page"); 2], "nothing else left the host");
    for step in ["method", "path", "host", "port", "scheme", "metadata service"] {
        assert!(noted(&end, step).contains("the job does not grant it"), "{step}: {}", noted(&end, step));
    }
    for step in [
        "method of another case",
        "user in the address",
        "host header",
        "connection header",
        "header with a line end",
        "path without end",
    ] {
        assert!(noted(&end, step).starts_with("no, no such request"), "{step}: {}", noted(&end, step));
    }
    assert!(noted(&end, "header without end").contains("refused: 20485 bytes of headers"), "{:#?}", end.notes());
    let refused = end.entries.iter().filter_map(|entry| match &entry.body {
        Body::Refused { refusal, .. } => Some(refusal.reason.clone()),
        _ => None,
    });
    let refused: Vec<Reason> = refused.collect();
    assert_eq!(refused, [vec![Reason::NotGranted; 6], vec![Reason::TooLarge]].concat());
    is_told_again(&end).await;

    // Without a grant nothing is.
    let end = run(&[]).run().await;
    assert!(noted(&end, "granted").contains("the job does not grant it"));
    assert_eq!(web.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
pub async fn http_sizes() {
    let web = |reply: usize| Arc::new(FakeWeb::new(move |_| Page::ok(vec![b'y'; reply])));
    let run = async |web: &Arc<FakeWeb>, send: u64, times: u64, net: &str| {
        let bench = Bench::new(hostile::HTTP_SIZES).web(web.clone(), &everywhere());
        let inputs = format!("inputs = {{ at = {AT:?}, send = \"{send}\", times = \"{times}\" }}");
        bench.set("task", &inputs).set("budget", &format!("net = {net:?}")).run().await
    };
    let cap = 64 << 10;
    // The request's cap.
    let small = web(1);
    assert_eq!(noted(&run(&small, cap, 1, "64MiB").await, "exchange 1"), "got 1");
    assert_eq!(small.requests()[0].body.0.len() as u64, cap);
    let over = run(&small, cap + 1, 1, "64MiB").await;
    let said = noted(&over, "exchange 1");
    assert!(said.starts_with("no, refused: 65537 bytes of request") && said.contains("[[grants.http]]"), "{said}");
    assert_eq!(small.requests().len(), 1);
    // The reply's cap.
    assert_eq!(noted(&run(&web(64 << 10), 0, 1, "64MiB").await, "exchange 1"), "got 65536");
    let over = run(&web((64 << 10) + 1), 0, 1, "64MiB").await;
    assert_eq!(noted(&over, "exchange 1"), "no, failed: the reply has more than 65536 bytes");
    assert_eq!(net(&over.record), cap, "what was read is paid for");
    // The budget, which is for both directions.
    let end = run(&web(100), 100, 1, "200B").await;
    assert_eq!((noted(&end, "exchange 1"), net(&end.record)), ("got 100", 200));
    let end = run(&web(101), 100, 1, "200B").await;
    let said = noted(&end, "exchange 1");
    let refused = "no, refused: 65636 of net-bytes; allowed: 200 left in scope attempt; to change it: [budget] net";
    assert_eq!((said, net(&end.record)), (refused, 200));
    assert_eq!((end.record.verdict.as_str(), &end.record.detail["line"]), ("exhausted", &"net-bytes".into()));
    is_told_again(&end).await;
    // Also if the server announces a length for which there is no room.
    let announced = Arc::new(FakeWeb::new(|_| {
        let (asked, allowed) = ("101 bytes of reply".to_owned(), "100 bytes that the budget has left".to_owned());
        let setting = NET_SETTING.to_owned();
        Page::denied(Denied::Refused(Refusal { reason: Reason::TooLarge, asked, allowed, setting }))
    }));
    let end = run(&announced, 100, 1, "200B").await;
    assert_eq!((noted(&end, "exchange 1"), net(&end.record)), (refused, 100));
    end.expect("exhausted");
    // And what is left of it.
    let three = web(100);
    let end = run(&three, 0, 3, "200B").await;
    assert_eq!((noted(&end, "exchange 1"), noted(&end, "exchange 2")), ("got 100", "got 100"));
    assert!(noted(&end, "exchange 3").starts_with("no, refused: 1 of net-bytes; allowed: 0 left"), "{:?}", end.notes());
    end.expect("exhausted");
    assert_eq!(three.requests().len(), 2, "nothing is sent without a byte for its reply");
    let none = web(1);
    let end = run(&none, 200, 1, "200B").await;
    assert!(noted(&end, "exchange 1").starts_with("no, refused: 201 of net-bytes"), "{:?}", end.notes());
    assert_eq!(none.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
pub async fn http_raw() {
    let web = echo();
    let end = Bench::new(hostile::HTTP_RAW).web(web.clone(), &everywhere()).run().await;
    for (step, said) in [
        ("ready before it is finished", "got (false, false)"),
        ("ready when it is", "got true"),
        ("in pieces", "got \"200 POST /pieces one two three\""),
        ("a second time", "no, taken before"),
        ("by get alone", "got \"200 GET /get\""),
        ("ready at once", "got [0, 1, 2]"),
        ("at once", "got [\"200 GET /a\", \"200 GET /b\", \"200 GET /c\"]"),
        ("as long as it says", "got \"200 POST /length xxxxx\""),
        ("shorter", "no, ErrorCode::HttpRequestBodySize(Some(4))"),
        ("shorter, after all", "no, ErrorCode::HttpRequestBodySize(Some(4))"),
        ("longer", "no, ErrorCode::HttpRequestBodySize(Some(6))"),
        ("a length and no body", "no, ErrorCode::HttpRequestBodySize(Some(0))"),
        ("trailers", "no, ErrorCode::HttpRequestTrailerSectionSize(Some(0))"),
        ("after trailers", "no, ErrorCode::HttpRequestTrailerSectionSize(Some(0))"),
        ("a timeout", "no, not supported"),
        ("another scheme", "no, no"),
        ("an absolute path", "no, no"),
        ("a long host", "no, no"),
        ("a method in small letters", "no, ErrorCode::HttpRequestMethodInvalid"),
        ("a reply of its own", "no, no"),
    ] {
        assert_eq!(noted(&end, step), said, "{step}");
    }
    for step in ["a body that was dropped", "waited for and never finished"] {
        assert!(noted(&end, step).contains("was not finished, so nothing was sent"), "{step}: {}", noted(&end, step));
    }
    let sent = ["POST /pieces one two three", "GET /get", "GET /c", "GET /a", "GET /b", "POST /length xxxxx"];
    assert_eq!(web.asked(), sent.map(|sent| sent.replace(" /", &format!(" {AT}/"))), "in the order of the poll");
    assert_eq!(web.requests()[0].headers, [("x-name".to_owned(), "value".to_owned())]);
    is_told_again(&end).await;
}

#[tokio::test(flavor = "multi_thread")]
pub async fn http_reach() {
    let web = echo();
    let inputs = |method: &str| {
        let at = format!("url = \"{AT}/page\", header = \"x-a\", value = \"b\", send = \"3\"");
        format!("inputs = {{ method = {method:?}, {at} }}")
    };
    let bench = Bench::new(hostile::HTTP_REACH).web(web.clone(), &everywhere());
    let end = bench.clone().set("task", &inputs("POST")).run().await;
    end.expect("accepted");
    assert_eq!((noted(&end, "asked"), web.requests().len()), ("got 200", 1));
    assert_eq!(web.requests()[0].headers, [("x-a".to_owned(), "b".to_owned())]);
    let end = bench.set("task", &inputs("TRACE")).run().await;
    end.expect("no-progress");
    assert!(noted(&end, "asked").starts_with("no, "), "{:?}", end.notes());
    assert_eq!(web.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
pub async fn http_endless() {
    let web = echo();
    let end = Bench::new(hostile::HTTP_ENDLESS).web(web.clone(), &everywhere()).wall("300ms").run().await;
    end.expect("exhausted");
    assert!(end.took < std::time::Duration::from_secs(10), "{:?}", end.took);
    assert!(web.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
pub async fn http_flood() {
    let web = echo();
    let most = jidoka::rules::policy::MAX_HTTP_BODY_BYTES;
    let bench = Bench::new(hostile::HTTP_FLOOD).web(web.clone(), &everywhere());
    let inputs = |fields: u64| format!("inputs = {{ most = \"{most}\", fields = \"{fields}\" }}");
    let end = bench.clone().set("task", &inputs(100)).run().await;
    assert_eq!(noted(&end, "exchange 17"), "no, ErrorCode::ConnectionLimitReached");
    assert_eq!(noted(&end, "after some were dropped"), "got ()");
    assert_eq!(noted(&end, "the one that was kept"), "got 200");
    assert_eq!(web.asked(), [format!("GET {AT}/0")], "what was dropped was not sent");
    let body = |number: usize| -> u64 {
        noted(&end, &format!("body {number}")).strip_prefix("got ").unwrap().parse().unwrap()
    };
    // Two of the largest fill what the host holds for a worker.
    assert_eq!((body(0), body(1), body(2)), (most, most, 0));
    // One alone goes up to its own cap, once there is room again.
    assert_eq!(noted(&end, "a fresh body"), format!("got {most}"));
    assert_eq!(noted(&end, "fields"), "got 100");
    // Past the bound of one resource of headers the library ends the worker.
    let over = bench.set("task", &inputs(330)).run().await;
    over.expect("trapped");
    assert!(over.record.why.contains("size of fields exceeds limit"), "{}", over.record.why);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_made_at_once_and_answered_in_order() {
    // Each waits for all after it: one after the other they would wait for ever.
    let web = Arc::new(FakeWeb::new(|request| {
        let number: usize = request.url.rsplit('/').next().unwrap().parse().unwrap();
        Page::ok(number.to_string()).after(3 - number)
    }));
    let lines = ["get-all AT/0 AT/1 AT/2 AT/3", "attach proof", "done ready"];
    let end = told(&lines).web(web.clone(), &everywhere()).run().await;
    end.expect("accepted");
    assert_eq!(web.asked(), [0, 1, 2, 3].map(|number| format!("GET {AT}/{number}")));
    assert_eq!(end.notes(), ["200 0", "200 1", "200 2", "200 3"]);
    is_told_again(&end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_web_is_heard_and_told_again() {
    let failed = |kind, message: &str| Page::denied(Denied::Failed(Failure { kind, message: message.to_owned() }));
    let web = Arc::new(FakeWeb::new(move |request| match request.url.rsplit('/').next() {
        Some("late") => failed(FailureKind::TimedOut, "no answer within 1 s"),
        Some("gone") => failed(FailureKind::Unavailable, "the name does not resolve"),
        _ => Page::reply(HttpReply { status: 404, headers: vec![], body: HttpBody(vec![0xff, 0x00]), redirects: 0 }),
    }));
    for (path, why) in [("late", "no answer in time"), ("gone", "failed: the name does not resolve")] {
        let end = told(&[format!("get AT/{path}").as_str(), "done never"]).web(web.clone(), &everywhere()).run().await;
        assert!(end.record.why.contains(why), "{}", end.record.why);
        is_told_again(&end).await;
    }
    // What is no text is one byte for byte.
    let end = told(&["get AT/other", "attach proof", "done ready"]).web(web, &everywhere()).run().await;
    end.expect("accepted");
    assert_eq!(end.notes(), ["404 \u{fffd}\0"]);
    assert!(end.journal().contains(r#"{"hex":"ff00"}"#));
    is_told_again(&end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_answer_to_the_same_request_is_told_to_a_worker_unless_it_polls() {
    let lines = ["get AT/same", "get AT/same", "get AT/same", "get AT/same", "attach proof", "done ready"];
    let web = echo();
    let end = told(&lines).web(web.clone(), &everywhere()).run().await;
    assert!(end.record.why.contains("same call, same result, 3 times: fetch"), "{}", end.record.why);
    assert_eq!(web.requests().len(), 3, "the fourth is refused");
    is_told_again(&end).await;
    let polls = told(&lines).web(web.clone(), &everywhere()).set("guards", "pollers = [\"fetch\"]").run().await;
    polls.expect("accepted");
}

/// One run in a process of its own, which kills itself when its request was sent.
fn killed(home: &Home, way: &str, gate: &str) -> (Option<Record>, String) {
    let arguments = [home.dir().to_str().unwrap(), AT, gate, "run", way];
    let output = Command::new(env!("CARGO_BIN_EXE_one_run")).args(arguments).output().unwrap();
    (serde_json::from_slice(&output.stdout).ok(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn sent(home: &Home) -> Vec<String> {
    let text = std::fs::read_to_string(home.dir().join(crash::SENT)).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_that_a_crash_left_open_is_made_again_and_a_post_never() {
    let home = Home::new();
    let (record, said) = tokio::task::block_in_place(|| killed(&home, "get-start", "after-send:1"));
    assert!(record.is_none() && sent(&home).len() == 1, "{said}");
    let (record, said) = tokio::task::block_in_place(|| killed(&home, "get-resume", "never:0"));
    let record = record.unwrap_or_else(|| panic!("{said}"));
    assert_eq!((record.verdict.as_str(), sent(&home).len()), ("accepted", 2), "{said}");
    assert!(record.ledger.item.held.get(Line::NetBytes) > 0, "the first is in doubt");
    bench::sqlite(&home.state()).audit().unwrap();

    let home = Home::new();
    let (record, said) = tokio::task::block_in_place(|| killed(&home, "post-start", "after-send:1"));
    assert!(record.is_none() && sent(&home).len() == 1, "{said}");
    for _ in 0..2 {
        let (record, said) = tokio::task::block_in_place(|| killed(&home, "post-resume", "never:0"));
        let record = record.unwrap_or_else(|| panic!("{said}"));
        assert_ne!(record.verdict, "accepted", "{said}");
        assert_eq!(sent(&home).len(), 1, "never again");
    }
    let desk = Desk::new(bench::store(&home.state()), bench::state(&home.state()), Clock::starting_at(bench::START_MS));
    let pulls = desk.pulls().await.unwrap();
    assert!(pulls.iter().any(|pulled| pulled.pull.reason.contains("(send) was begun before a crash")), "{pulls:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_drops_its_exchange_and_holds_what_it_reserved() {
    let cord = Arc::new(OnceLock::<Cord>::new());
    let seen = Arc::clone(&cord);
    let web = FakeWeb::new(|_| Page::never()).before(move || assert!(seen.wait().pull(Stop::Cancelled)));
    let end = told(&["get AT/never", "done late"]).web(Arc::new(web), &everywhere()).run_with(|it| {
        assert!(cord.set(it).is_ok());
    });
    let end = end.await;
    end.expect("cancelled");
    assert_eq!(end.record.ledger.attempt.held.get(Line::NetBytes), 64 << 10);
    is_told_again(&end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_with_a_fetch_is_exported_imported_forked_and_erased() {
    let web = echo();
    let lines = ["get AT/one", "post AT/two x", "attach proof", "done ready"];
    let end = told(&lines).web(web.clone(), &everywhere()).run().await;
    end.expect("accepted");
    let (state, serial) = (end.home.state(), end.record.serial.clone());
    let file = exported(&state, &serial).await;
    agree(&file);
    let other = Home::new();
    imported(&other.state(), &file).await.unwrap();
    assert_eq!(exported(&other.state(), &serial).await, file);
    let desk = Desk::new(bench::store(&state), bench::state(&state), Clock::starting_at(bench::START_MS));

    // A fork behind the first answer has it, and asks for the second anew.
    let entries = desk.entries(&serial).await.unwrap();
    let first = entries.iter().find(|entry| matches!(entry.facts, Facts::Noted { .. })).unwrap();
    let branch = Branch { at: first.seq, edits: Default::default() };
    let fork = told(&lines).web(web.clone(), &everywhere()).at(&end.home).fork(&serial, branch).await;
    fork.expect("accepted");
    let count = |what: &str| web.asked().iter().filter(|asked| asked.starts_with(what)).count();
    assert_eq!((count("GET"), count("POST")), (1, 2));
    is_told_again(&fork).await;

    // Erased, it still says that something was fetched and something sent.
    let desk =
        Desk::new(bench::store(&other.state()), bench::state(&other.state()), Clock::starting_at(bench::START_MS));
    let pruned = desk.prune(Retention { before_ms: Some(u64::MAX), max_bytes: None }).await.unwrap();
    assert_eq!(pruned.runs, std::slice::from_ref(&serial));
    let kinds: Vec<Kind> = desk
        .entries(&serial)
        .await
        .unwrap()
        .iter()
        .filter_map(|entry| match entry.facts {
            Facts::Intent { kind: kind @ (Kind::Fetch | Kind::Send), .. } => {
                assert!(entry.is_erased());
                Some(kind)
            }
            _ => None,
        })
        .collect();
    assert_eq!(kinds, [Kind::Fetch, Kind::Send]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixture_has_the_web_that_its_run_had() {
    let web = echo();
    let lines = ["get AT/one", "post AT/two x", "attach proof", "done ready"];
    let mut secret = everywhere();
    secret[0].secrets = vec!["the-key".to_owned()];
    let end = told(&lines).web(web.clone(), &secret).run().await;
    end.expect("accepted");
    let state = end.home.state();
    let desk = Desk::new(bench::store(&state), bench::state(&state), Clock::starting_at(bench::START_MS));
    let past = desk.past(&end.record.serial).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    Draft::of(&past, desk.state()).unwrap().write(desk.state(), &bench::open(dir.path())).unwrap();
    assert!(!std::fs::read_to_string(dir.path().join("fixture.json")).unwrap().contains("the-key"));
    let rehearse = async |dir: &Path| {
        let scratch = Home::new();
        let opened = Opened::read(&bench::open(dir)).unwrap();
        opened.rehearse(&bench::runner(&scratch.state()), None, fresh_serial()).await.unwrap()
    };
    let again = rehearse(dir.path()).await;
    assert_eq!((again.record.verdict.as_str(), again.departures.len()), ("accepted", 0), "{}", again.record.why);
    assert_eq!(net(&again.record), net(&end.record));
    assert_eq!(web.requests().len(), 2, "nobody was asked");
    // Without what it recorded nobody is there.
    std::fs::remove_file(dir.path().join("web.json")).unwrap();
    let alone = rehearse(dir.path()).await;
    assert_eq!(alone.departures[0].0, "the web");
    assert_ne!(alone.record.verdict, "accepted");
}

#[test]
fn a_component_that_does_not_fetch_does_not_import_http() {
    let imports = |component: &str| {
        let surface = bench::sandbox().inspect(&std::fs::read(component).unwrap()).unwrap();
        surface.imports.iter().any(|import| import.starts_with("wasi:http/"))
    };
    for component in [examples::HELLO, examples::FIXER, examples::FIXER_CHECK, plain::AGENT] {
        assert!(!imports(component), "{component}");
    }
    assert!(imports(plain::SCRIPT), "and one that does, does");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_fetches_a_page_and_attaches_it() {
    let web = Arc::new(FakeWeb::new(|_| Page::ok("<h1>A page</h1>")));
    let bench = Bench::new(examples::FETCHER).set("task", &format!("inputs = {{ url = \"{AT}/page\" }}"));
    let end = bench.web(web.clone(), &everywhere()).run().await;
    end.expect("accepted");
    assert_eq!(web.asked(), [format!("GET {AT}/page")]);
    assert_eq!(end.record.evidence[0].name, "page");
    is_told_again(&end).await;
    let denied = Bench::new(examples::FETCHER).set("task", &format!("inputs = {{ url = \"{AT}/page\" }}")).run().await;
    assert!(denied.record.why.contains("[[grants.http]]"), "{}", denied.record.why);
}
