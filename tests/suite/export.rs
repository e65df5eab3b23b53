//! A run as one file: two checkers that share no code agree on it, no byte of it can be changed, and it comes back whole.
//!
//! `tests/golden/*.run` are exports of journals, made by `cargo test --release -p jidoka-tests --test suite -- --ignored
//! golden_journals_are_made`: only when the format changes on purpose.

use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jidoka::doors::chain::{Key, Sealer};
use jidoka::doors::clock::Clock;
use jidoka::doors::export::{self, ExportError};
use jidoka::doors::recorded::RecordedWeb;
use jidoka::doors::script::ScriptedModel;
use jidoka::rules::effect::{Body, Effect, FORMAT, Level};
use jidoka::rules::ledger::{Amounts, Line, ScopeId};
use jidoka::rules::model::{Message, Request, Role};
use jidoka::run::desk::{Because, Desk};
use jidoka::run::fork::Branch;
use jidoka::run::hooks::Hooks;
use jidoka::run::past::{Components, Past};
use jidoka::run::runner::{Account, Apply, CheckJob, Job, Reached};
use jidoka::run::transfer::{Summary, TransferError};
use jidoka_tests::bench::{self, Bench, End, Home, fresh_serial};
use jidoka_tests::plain;
use jidoka_tests::third_party::{self, Record};
use jidoka_tests::web::{AT, FakeWeb, Page, grant};

const REPLY: &str = "[[turn]]\nrepeat = true\ntext = \"an answer\"\n";

fn told(lines: &[&str]) -> Bench {
    Bench::new(plain::SCRIPT).set("task", &format!("text = \"{}\"", lines.join("\\n")))
}

/// Something of everything that can be in a journal of an accepted run.
fn everything() -> Bench {
    let lines = [
        "ask one",
        "ask-all 3 many",
        "write src/a.txt first",
        "check-in look",
        "attach proof",
        "left tokens",
        "print hello",
        "write judge pass",
        "done ready",
    ];
    told(&lines).script(REPLY).file("old.txt", "old").check("tests", plain::JUDGE)
}

fn desk(state: &Path) -> Desk {
    Desk::new(bench::store(state), bench::state(state), Clock::starting_at(bench::START_MS))
}

pub(super) async fn exported(state: &Path, serial: &str) -> Vec<u8> {
    let mut file = tempfile::tempfile().unwrap();
    let summary = desk(state).export(serial, file.try_clone().unwrap()).await.unwrap();
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    assert_eq!(summary.bytes, bytes.len() as u64);
    bytes
}

pub(super) async fn imported(state: &Path, bytes: &[u8]) -> Result<Summary, TransferError> {
    desk(state).import(std::io::Cursor::new(bytes.to_vec())).await
}

async fn past(state: &Path, serial: &str) -> Past {
    desk(state).past(serial).await.unwrap()
}

/// The journal as a person reads it.
fn trace(state: &Path, serial: &str) -> Vec<String> {
    bench::kept_entries(state, serial).iter().map(|entry| entry.document().unwrap().to_string()).collect()
}

/// Replays the run; it comes to what the journal says.
async fn replays(state: &Path, serial: &str) {
    let past = past(state, serial).await;
    let verdict = past.record().map(|record| record.verdict);
    let replayed = bench::runner(state).replay(past, None, &fresh_serial()).await.unwrap();
    assert_eq!((replayed.divergence, replayed.fault), (None, None));
    assert_eq!(replayed.record.map(|record| record.verdict), verdict);
}

/// A job to go on with from a past run, whose model answers like this.
fn job(home: &Home, past: &Past, transcript: &str) -> Job {
    let Components { worker: component, checks, tools, children: _ } =
        past.components(bench::state(&home.state()).blobs()).unwrap();
    let checks = past.job.spec.checks.iter().cloned().zip(checks);
    let model = || Reached {
        model: Arc::new(ScriptedModel::parse(transcript).unwrap()),
        pace: None,
        max_response_bytes: 1 << 20,
    };
    Job {
        component,
        checks: checks.map(|(check, component)| CheckJob { check, component }).collect(),
        tools,
        servers: Default::default(),
        children: Default::default(),
        workspace: Some(bench::open(&home.workspace())),
        find: None,
        context: Some(bench::open(&home.context())),
        left_out: Default::default(),
        models: past.job.spec.models.keys().map(|name| (name.clone(), model())).collect(),
        web: Arc::new(RecordedWeb::default()),
        account: Account::default(),
        hooks: Hooks::default(),
        dir: past.job.dir.clone(),
        spec: past.job.spec.clone(),
    }
}

/// A fork of an accepted run.
async fn forked() -> (End, String) {
    let end = told(&["ask one", "ask two", "write a.txt x", "attach proof", "done ready"]).script(REPLY).run().await;
    end.expect("accepted");
    let state = end.home.state();
    let past = past(&state, &end.record.serial).await;
    let noted = past.entries.iter().find(|entry| matches!(entry.facts, jidoka::rules::facts::Facts::Noted { .. }));
    let branch = Branch { at: noted.unwrap().seq, edits: [(1, "three".to_owned())].into() };
    let job = job(&end.home, &past, "[[turn]]\nrepeat = true\ntext = \"another answer\"\n");
    let serial = fresh_serial();
    let handle = bench::runner(&state).fork(job, past, branch, serial.clone(), Apply::Never);
    let record = handle.verdict().await.unwrap();
    assert_eq!(record.verdict, "accepted", "{}", record.why);
    (end, serial)
}

/// A run and its entry; nothing if it is the framing that is wrong.
type Named = Option<(String, u64)>;

/// What our own checker says is wrong.
fn named(error: &ExportError) -> Named {
    match error {
        ExportError::Run { serial, flaw } => Some((serial.clone(), flaw.seq())),
        _ => None,
    }
}

/// What the other checker says.
fn named_by_third_party(error: &str) -> Named {
    let words: Vec<&str> = error.split([' ', ':']).collect();
    match words[..] {
        ["run", serial, "entry", seq, ..] => Some((serial.to_owned(), seq.parse().unwrap())),
        _ => None,
    }
}

fn refused_by_both(bytes: &[u8], what: &str) -> (Named, Named) {
    let ours = export::check(&mut &*bytes).err().unwrap_or_else(|| panic!("ours takes {what}"));
    let theirs = third_party::check(bytes).err().unwrap_or_else(|| panic!("theirs takes {what}"));
    (named(&ours), named_by_third_party(&theirs))
}

/// A file of these records, whose end is right.
fn file(records: &[Record<'_>]) -> Vec<u8> {
    let mut file = b"jidoka-run 2\n".to_vec();
    for record in records {
        writeln!(file, "{} {} {}", record.kind, record.name, record.bytes.len()).unwrap();
        file.extend_from_slice(record.bytes);
        file.push(b'\n');
    }
    writeln!(file, "end {} 0\n", records.len()).unwrap();
    file
}

pub(super) fn agree(bytes: &[u8]) -> Summary {
    let summary = export::check(&mut &*bytes).unwrap();
    let found = third_party::check(bytes).unwrap();
    let last = summary.runs.last().unwrap();
    assert_eq!(found.runs, summary.runs.len());
    assert_eq!((&found.serial, found.entries), (&last.serial, last.head.entries));
    assert_eq!((found.head, found.verdict), (last.head.hash.to_string(), last.verdict.clone()));
    summary
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_the_same_every_time_and_two_checkers_agree_on_it() {
    let end = everything().run().await;
    end.expect("accepted");
    let bytes = exported(&end.home.state(), &end.record.serial).await;
    assert_eq!(bytes, exported(&end.home.state(), &end.record.serial).await);
    let summary = agree(&bytes);
    assert_eq!(summary.runs[0].verdict.as_deref(), Some("accepted"));
    let verdict = std::fs::read(end.home.state().join(&end.record.kept).join("verdict.json")).unwrap();
    let verdict: serde_json::Value = serde_json::from_slice(&verdict).unwrap();
    assert_eq!(verdict["journal"], serde_json::to_value(summary.runs[0].head).unwrap());
    let kinds: Vec<&str> = third_party::records(&bytes).unwrap().iter().map(|record| record.kind).collect();
    for kind in ["run", "key", "entry", "content", "piece", "tree", "blob", "evidence"] {
        assert!(kinds.contains(&kind), "{kind}");
    }
}

/// Every byte of a journal and of the framing, and 2,000 of the files.
#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_an_export_can_be_changed() {
    let end = everything().run().await;
    let bytes = exported(&end.home.state(), &end.record.serial).await;
    let records = third_party::records(&bytes).unwrap();
    let in_files: usize = records.iter().filter(|record| record.kind == "blob").map(|record| record.bytes.len()).sum();
    let every = in_files / 2_000;
    let place = |at: usize| records.iter().rfind(|record| record.at[0] <= at);
    let mut flipped = bytes.clone();
    let (mut flips, mut in_framing) = (0, 0);
    for at in 0..bytes.len() {
        let record = place(at);
        let inside = record.filter(|record| (record.at[1]..record.at[1] + record.bytes.len()).contains(&at));
        if inside.is_some_and(|record| record.kind == "blob") && at % every != 0 {
            continue;
        }
        flipped[at] ^= 1;
        let what = format!("byte {at} of {:?}", record.map(|record| (record.kind, record.name)));
        let (ours, theirs) = refused_by_both(&flipped, &what);
        flipped[at] ^= 1;
        flips += 1;
        match inside {
            Some(record) if record.kind != "run" => {
                let (_, seq) = ours.clone().unwrap_or_else(|| panic!("{what}: no entry is named"));
                assert_eq!(ours, theirs, "{what}");
                match record.kind {
                    "entry" | "content" => assert_eq!(seq.to_string(), record.name, "{what}"),
                    "key" => assert_eq!(seq, 0, "{what}"),
                    _ => {}
                }
            }
            Some(_) | None => in_framing += 1,
        }
    }
    assert!(flips > 20_000 && in_framing > 1_500, "{flips} flips, {in_framing} in the framing");
    println!("{flips} bytes of {} flipped, {in_framing} of them in the framing", bytes.len());
    // Each blob is told by the first entry that needs it.
    let wrong_in = |kind: &str, is_it: &dyn Fn(&[u8]) -> bool| {
        let record = records.iter().find(|record| record.kind == kind && is_it(record.bytes)).unwrap();
        let mut flipped = bytes.clone();
        flipped[record.at[1]] ^= 1;
        refused_by_both(&flipped, kind).0.unwrap().1
    };
    let first = |kind: &str| {
        let is_it = |line: &String| line.contains(kind);
        trace(&end.home.state(), &end.record.serial).iter().position(is_it).unwrap() as u64
    };
    let has = |bytes: &[u8], text: &str| String::from_utf8_lossy(bytes).contains(text);
    assert_eq!(wrong_in("blob", &|bytes| bytes.starts_with(b"\0asm")), 0);
    assert_eq!(wrong_in("tree", &|tree| !has(tree, "src/a.txt")), 0);
    assert_eq!(wrong_in("blob", &|bytes| bytes == b"old"), 0);
    assert_eq!(wrong_in("blob", &|bytes| bytes == b"first"), first("{\"marked\":"));
    assert_eq!(wrong_in("evidence", &|bytes| bytes == b"proof"), first("\"attached\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_cannot_be_left_out_cut_off_doubled_or_exchanged() {
    let (end, fork) = forked().await;
    let bytes = exported(&end.home.state(), &fork).await;
    let records = third_party::records(&bytes).unwrap();
    assert_eq!(file(&records), bytes);
    for (place, record) in records.iter().enumerate() {
        let what = format!("record {place}, {} {}", record.kind, record.name);
        for at in record.at {
            refused_by_both(&bytes[..at], &format!("cut off before {what}"));
        }
        refused_by_both(&file(&records[..place]), &format!("an end before {what}"));
        let mut others = records.clone();
        others.remove(place);
        refused_by_both(&file(&others), &format!("without {what}"));
        let mut others = records.clone();
        others.insert(place, record.clone());
        refused_by_both(&file(&others), &format!("twice {what}"));
        others.swap_remove(place);
        if place + 1 < records.len() {
            let mut others = records.clone();
            others.swap(place, place + 1);
            refused_by_both(&file(&others), &format!("after the next, {what}"));
        }
    }
    refused_by_both(&bytes[..bytes.len() - 1], "without its last byte");
    refused_by_both(&[&bytes[..], b"\n"].concat(), "with one more byte");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_run_is_the_run_that_was_exported() {
    let (end, fork) = forked().await;
    let state = end.home.state();
    let bytes = exported(&state, &fork).await;
    let other = Home::new();
    let there = other.state();
    for _ in 0..2 {
        let summary = imported(&there, &bytes).await.unwrap();
        assert_eq!(summary, agree(&bytes));
    }
    for serial in [&fork, &end.record.serial] {
        assert_eq!(trace(&there, serial), trace(&state, serial));
        assert_eq!(exported(&there, serial).await, exported(&state, serial).await);
        replays(&state, serial).await;
        replays(&there, serial).await;
    }
    let rows = desk(&there).runs().await.unwrap();
    assert!(rows.len() == 2 && rows.iter().all(|row| row.imported));
    for (here, there) in desk(&state).runs().await.unwrap().into_iter().zip(rows) {
        assert_eq!(jidoka::doors::store::RunRow { imported: false, ..there }, here);
    }
    assert_eq!(imported(&state, &bytes).await.unwrap().runs.len(), 2, "it is here already");
    assert!(!desk(&state).runs().await.unwrap().iter().any(|row| row.imported));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_run_is_forked_and_never_resumed() {
    let end = told(&["ask one", "pull wait", "done ready"]).script(REPLY).run().await;
    end.expect("halted");
    let bytes = exported(&end.home.state(), &end.record.serial).await;
    let other = Home::new();
    let there = other.state();
    imported(&there, &bytes).await.unwrap();
    let past = past(&there, &end.record.serial).await;
    let (resumed, at) = (job(&other, &past, REPLY), past.entries[0].seq);
    let record = bench::runner(&there).resume(resumed, past, Apply::Never).verdict().await.unwrap();
    assert_eq!(record.verdict, "not-admitted");
    assert!(record.why.contains("was imported") && record.why.contains("fork it instead"), "{}", record.why);
    assert_eq!(exported(&there, &end.record.serial).await, bytes, "it is as it was");

    let past = desk(&there).past(&end.record.serial).await.unwrap();
    let (job, branch) = (job(&other, &past, REPLY), Branch { at, edits: Default::default() });
    let handle = bench::runner(&there).fork(job, past, branch, fresh_serial(), Apply::Never);
    assert_eq!(handle.verdict().await.unwrap().verdict, "halted");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_changes_no_run_that_is_here() {
    let end = told(&["ask one", "pull wait"]).script(REPLY).run().await;
    let state = end.home.state();
    let before = exported(&state, &end.record.serial).await;
    // The same run, which went on there and not here.
    let other = Home::new();
    imported(&other.state(), &before).await.unwrap();
    let past = past(&state, &end.record.serial).await;
    let job = job(&end.home, &past, REPLY);
    let because = Because { by: "ada".into(), reason: "it was nothing".into() };
    desk(&state).clear_line(&ScopeId::of_path("default/tests"), None, None, because).await.unwrap();
    drop(bench::runner(&state).resume(job, past, Apply::Never).verdict().await.unwrap());
    let after = exported(&state, &end.record.serial).await;
    assert_ne!(before, after, "it went on");
    for (state, other) in [(state, before), (other.state(), after)] {
        let was = exported(&state, &end.record.serial).await;
        let error = imported(&state, &other).await.unwrap_err();
        assert!(matches!(error, TransferError::Other { .. }), "{error}");
        assert_eq!(exported(&state, &end.record.serial).await, was);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_export_that_does_not_hold_is_kept() {
    let end = told(&["attach proof", "done ready"]).run().await;
    let mut bytes = exported(&end.home.state(), &end.record.serial).await;
    let at = bytes.len() - "\nend 00 0\n\n".len() - 1;
    bytes[at] ^= 1;
    let other = Home::new();
    assert!(matches!(imported(&other.state(), &bytes).await, Err(TransferError::Export(_))));
    assert_eq!(desk(&other.state()).runs().await.unwrap(), []);
    assert_eq!(bench::state(&other.state()).blobs().sizes().unwrap(), Default::default());
    assert_eq!(std::fs::read_dir(other.state().join("runs")).unwrap().count(), 0);
}

/// What four entries look like, to the last byte: written by hand and hashed by another program.
#[test]
fn a_line_has_the_bytes_that_the_format_says() {
    let piece = r#"{"message":{"role":"user","content":"one"}}"#;
    let expected = [
        (
            r#"{"seq":0,"at_ms":1700000000000,"entry":{"noted":{"level":"info"}},"content":"blake3:62fda9c359209b555551179ebd3fa94e14a7e43293d410de5a5339761a6c9598"}"#,
            "blake3:d64d7583f5b8525898edf3c17053cd22fe013a25c55a1ab78076901825b6e714",
            Some("{\"message\":\"a \u{1f980} \\u0007 \\\"q\\\" \\n\u{2028}\",\"fields\":[[\"k\",\"v\"]]}"),
        ),
        (
            r#"{"seq":1,"at_ms":1700000000001,"prev":"blake3:d64d7583f5b8525898edf3c17053cd22fe013a25c55a1ab78076901825b6e714","entry":{"intent":{"call":1,"kind":"model","reserved":{"tokens":9}}},"content":"blake3:9cf909f80ed51c43ebdc77e91b487b9b2c93e902965e9161203a287c2d4e329f"}"#,
            "blake3:190714b9ccab7e333286101d70965ad4e9d94bef17d4fdd0ae684b4d02844f0f",
            Some(
                r#"{"ask":{"model":"m","history":"blake3:db0ce268cf032e43dcce8dab0275d244a24bdb372255e439c676fc41ef2a2f39","max_output":10,"min_output":1}}"#,
            ),
        ),
        (
            r#"{"seq":2,"at_ms":1700000000002,"prev":"blake3:190714b9ccab7e333286101d70965ad4e9d94bef17d4fdd0ae684b4d02844f0f","entry":"applying","content":"blake3:a9bc9de4b611e467e68fe8241f55325a1580d932078eae1f233877fbb08663f5"}"#,
            "blake3:b0bb0e7ef0f559adee97c830ebe1ab13b9ba18554bc1f60e12770b1e142a5452",
            Some(r#"["a"]"#),
        ),
        (
            r#"{"seq":3,"at_ms":1700000000003,"prev":"blake3:b0bb0e7ef0f559adee97c830ebe1ab13b9ba18554bc1f60e12770b1e142a5452","entry":{"resumed":{"after":1,"resumption":1}}}"#,
            "blake3:78a6168d1e8998724f8caf8d526bfd4a0a89c05f8c8250402c9575470f3fe105",
            None,
        ),
    ];
    let message = Message::new(Role::User, "one");
    let request = Request {
        model: "m".into(),
        messages: vec![message],
        tools: vec![],
        max_output: 10,
        min_output: 1,
        schema: None,
    };
    let bodies = [
        Body::Noted {
            level: Level::Info,
            message: "a \u{1f980} \u{7} \"q\" \n\u{2028}".into(),
            fields: vec![("k".into(), "v".into())],
        },
        Body::Intent {
            call: 1,
            attempt: 1,
            effect: Effect::Model { request },
            max_output: None,
            sent: None,
            reserved: Amounts::of(Line::Tokens, 9),
        },
        Body::Applying { paths: vec!["a".into()] },
        Body::Resumed { after: 1, resumption: 1 },
    ];
    let mut sealer = Sealer::new(Key::from_bytes([7; 32]));
    for (seq, (body, (line, hash, content))) in (0..).zip(bodies.into_iter().zip(expected)) {
        let sealed = sealer.seal(bench::START_MS + seq, body);
        assert_eq!(sealed.row.line, line);
        assert_eq!(sealed.hash.to_string(), hash);
        assert_eq!(sealed.row.content.as_deref(), content);
        assert!(sealed.pieces.iter().all(|(_, text)| text == piece) && sealed.pieces.len() == usize::from(seq == 1));
    }
}

/// Goldens: what each is called, and what it came to.
const GOLDEN: [(&str, &str); 4] =
    [("accepted", "accepted"), ("refused", "exhausted"), ("fetched", "accepted"), ("caller", "accepted")];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{name}.run"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes tests/golden anew, which is to be done when the format changes and at no other time"]
async fn golden_journals_are_made() {
    let keep = |name: &str, bytes: Vec<u8>| {
        agree(&bytes);
        assert!(bytes.len() < 600_000, "{name} has {} bytes", bytes.len());
        std::fs::write(golden(name), bytes).unwrap();
    };
    let accepted = told(&["ask one", "write a.txt one", "done ready"]).script(REPLY).run().await;
    accepted.expect("accepted");
    keep("accepted", exported(&accepted.home.state(), &accepted.record.serial).await);
    let refused = told(&["ask one", "ask two"]).script(REPLY).set("budget", "model-calls = 1").run().await;
    refused.expect("exhausted");
    keep("refused", exported(&refused.home.state(), &refused.record.serial).await);
    let lines = [
        &format!("get {AT}/page"),
        &format!("post {AT}/form hello"),
        &format!("get-all {AT}/page {AT}/bytes"),
        "attach proof",
        "done ready",
    ];
    let web = Arc::new(FakeWeb::new(|request| match request.url.rsplit('/').next() {
        Some("bytes") => Page::ok([0xff, 0x00]),
        _ => Page::ok("text"),
    }));
    let fetched = told(&lines).web(web, &[grant(&["GET", "POST"], "/")]).run().await;
    fetched.expect("accepted");
    keep("fetched", exported(&fetched.home.state(), &fetched.record.serial).await);
    let helper = || told(&["unable nobody said what"]);
    let lines = [
        "write a.txt one",
        "child help tokens=0 write a.txt two | note inside | done mine",
        "child help fail as told",
        "child help disk-bytes=999999999 done",
        "child other done",
        "done all",
    ];
    let caller = told(&lines).child("help", helper()).run().await;
    caller.expect("accepted");
    keep("caller", exported(&caller.home.state(), &caller.record.serial).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn journals_of_this_format_are_read_and_replayed_for_ever() {
    for (name, verdict) in GOLDEN {
        let bytes = std::fs::read(golden(name)).unwrap();
        let summary = agree(&bytes);
        let last = summary.runs.last().unwrap();
        assert_eq!(last.verdict.as_deref(), Some(verdict), "{name}");
        let home = Home::new();
        imported(&home.state(), &bytes).await.unwrap();
        assert_eq!(exported(&home.state(), &last.serial).await, bytes, "{name}");
        let past = past(&home.state(), &last.serial).await;
        let replayed = bench::runner(&home.state()).replay(past, None, "golden").await.unwrap();
        assert_eq!((replayed.divergence, replayed.fault), (None, None), "{name}");
        assert_eq!(replayed.record.unwrap().verdict, verdict, "{name}");
    }
}

/// The file with another format in the first entry, and all hashes made anew.
fn of_format(bytes: &[u8], format: u32) -> Vec<u8> {
    let mut records = third_party::records(bytes).unwrap();
    let mut lines: Vec<String> = Vec::new();
    let mut hashes: Vec<[String; 2]> = Vec::new();
    for record in records.iter().filter(|record| record.kind == "entry") {
        let mut line = String::from_utf8(record.bytes.to_vec()).unwrap();
        line = line
            .replace(&format!("{{\"opened\":{{\"format\":{FORMAT},"), &format!("{{\"opened\":{{\"format\":{format},"));
        if let Some([old, new]) = hashes.last() {
            line = line.replace(old, new);
        }
        let hash = |bytes: &[u8]| format!("blake3:{}", blake3::hash(bytes).to_hex());
        hashes.push([hash(record.bytes), hash(line.as_bytes())]);
        lines.push(line);
    }
    let [old, new] = hashes.last().unwrap();
    let head = String::from_utf8(records[0].bytes.to_vec()).unwrap().replace(old, new);
    let mut lines = lines.iter();
    records[0].bytes = head.as_bytes();
    for record in records.iter_mut().filter(|record| record.kind == "entry") {
        record.bytes = lines.next().unwrap().as_bytes();
    }
    file(&records)
}

#[test]
fn a_journal_of_a_newer_format_says_which_version_is_needed() {
    let bytes = std::fs::read(golden("refused")).unwrap();
    assert_eq!(of_format(&bytes, FORMAT), bytes);
    let said = |format| export::check(&mut &*of_format(&bytes, format)).unwrap_err().to_string();
    assert!(said(8).contains("the journal has format 8; this version knows up to 7"), "{}", said(8));
    assert!(said(6).contains("the journal has format 6; this version reads 7 alone"), "{}", said(6));
}
