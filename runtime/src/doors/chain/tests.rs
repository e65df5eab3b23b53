//! The format, entry by entry; and that nothing of it can be changed unseen.

use std::collections::BTreeMap;

use super::*;
use crate::rules::authored::{self, OperatorFile, Overrides};
use crate::rules::effect::{
    Answer, Cost, Failure, FailureKind, Kind, Level, Opening, OutcomeName, Reason, RunOrigin, Stream,
};
use crate::rules::ledger::{Amounts, LimitKind, Line as BudgetLine};
use crate::rules::model::{Reply, Role, Stop as ModelStop, ToolCall, Usage};
use crate::rules::progress::Mark;
use crate::rules::record::{LedgerRecord, RECORD_FORMAT};
use crate::rules::spec::MarkKind;
use crate::rules::verdict::{CheckResult, UsedUp, Verdict};

/// The key of all tests.
pub(crate) const KEY: Key = Key([7; 32]);

/// The first entry of a run.
pub(crate) fn opened(serial: &str) -> Body {
    let job = "line = \"l\"\n[worker]\ncomponent = \"w.wasm\"\n[task]\ntext = \"t\"\n[budget]\nwall = \"1s\"\n\
        [attempts]\nmax = 1\nbackoff = \"0s\"\n[done]\nmarks = [\"artifact\"]\n";
    let spec = authored::job(job, &OperatorFile::default(), &Overrides::default()).expect("a job");
    let digest = Digest::from_bytes([1; 32]);
    let origin = RunOrigin {
        format: FORMAT,
        serial: serial.into(),
        tenant: "t".into(),
        line: "l".into(),
        item: "i".into(),
        attempt: 1,
        component: digest,
        checks: vec![None, Some(digest)],
        tools: BTreeMap::from([("search".to_owned(), digest)]),
        children: BTreeMap::new(),
        caller: None,
        engine: "e".into(),
        seed: 7,
        start_ms: 5,
        base: None,
        tree: None,
        context: None,
        parent: None,
    };
    let job = OpenedJob {
        spec,
        dir: "/job".into(),
        item: "i".into(),
        attempt: 1,
        offers: BTreeMap::new(),
        tools: vec![],
        edits: BTreeMap::new(),
        passed: Default::default(),
        left_out: Default::default(),
        lost: None,
    };
    Body::Opened { opening: Box::new(Opening { origin, job }) }
}

/// The last entry of a run.
pub(crate) fn closed() -> Body {
    Body::Closed { record: record(&Verdict::Accepted) }
}

fn message(role: Role, content: &str) -> Message {
    Message::new(role, content)
}

fn request(contents: &[&str]) -> Request {
    Request {
        model: "m".into(),
        messages: contents.iter().map(|content| message(Role::User, content)).collect(),
        tools: vec![ToolDefinition { name: "t".into(), description: "d".into(), schema: "{}".into() }],
        max_output: 10,
        min_output: 1,
        schema: Some("{\"type\":\"object\"}".into()),
    }
}

fn ask(call: u64, contents: &[&str]) -> Body {
    let effect = Effect::Model { request: request(contents) };
    Body::Intent {
        call,
        attempt: 1,
        effect,
        max_output: None,
        sent: None,
        reserved: Amounts::of(BudgetLine::Tokens, 9),
    }
}

fn note(message: &str) -> Body {
    Body::Noted { level: Level::Info, message: message.into(), fields: vec![("k".into(), "v".into())] }
}

fn record(verdict: &Verdict) -> Box<Record> {
    let mut record = Record {
        format: RECORD_FORMAT,
        serial: "s".into(),
        tenant: Some("acme".into()),
        line: "l".into(),
        item: "i".into(),
        attempt: 1,
        verdict: String::new(),
        detail: serde_json::Value::Null,
        why: String::new(),
        exit_code: 0,
        report: None,
        marks: vec![],
        evidence: vec![],
        gates: vec![],
        changes: vec!["a".into()],
        applied: true,
        ledger: LedgerRecord::default(),
        waste: Amounts::default(),
        capabilities: Default::default(),
        component: None,
        wall: None,
        repaid: 0,
        resumptions: 0,
        kept: "runs/s".into(),
        host: "h".into(),
    };
    record.judge(verdict);
    Box::new(record)
}

/// One entry of every kind, and of every form that its content has.
fn all() -> Vec<Body> {
    let refusal = Refusal { reason: Reason::TooLarge, asked: "a".into(), allowed: "b".into(), setting: "c".into() };
    let failure = Failure { kind: FailureKind::TimedOut, message: "late".into() };
    let tool_calls = vec![ToolCall { id: "1".into(), name: "t".into(), arguments: "{}".into() }];
    let reply = Reply::new("r", tool_calls, ModelStop::ToolCalls);
    let usage = Usage::of(1, 2);
    let cost = Cost { took_ms: 3, raw_usage: Some("{}".into()), ..Cost::default() };
    let mark = Mark { kind: MarkKind::Tree, digest: Digest::from_bytes([2; 32]) };
    let used_up =
        UsedUp { scope: "attempt".into(), line: BudgetLine::DiskBytes, limit: LimitKind::Total, opens_ms: None };
    let tree = Some(Digest::from_bytes([3; 32]));
    let edited = Some(Box::new(request(&["other"])));
    let sleep = Effect::Sleep { ms: 5 };
    let pulled =
        Stop::Exhausted { scope: "attempt".into(), line: BudgetLine::WallMs, limit: LimitKind::Total, opens_ms: None };
    let passed = CheckResult { name: "c".into(), end: CheckEnd::Passed { summary: "fine".into() } };
    vec![
        opened("s"),
        note("\u{1f980} \u{7} \"quoted\" \\ \u{2028}"),
        ask(1, &["one"]),
        Body::Answered {
            call: 1,
            kind: Kind::Model,
            heard: Ok(Answer::Model { reply, usage, micro_usd: u64::MAX }),
            cost: cost.clone(),
            tree: None,
        },
        Body::Intent {
            call: 2,
            attempt: 2,
            effect: Effect::Model { request: request(&["one", "two"]) },
            max_output: Some(4),
            sent: edited,
            reserved: Amounts::default(),
        },
        Body::Answered { call: 2, kind: Kind::Model, heard: Err(Denied::Failed(failure)), cost, tree: None },
        Body::Intent {
            call: 3,
            attempt: 1,
            effect: sleep.clone(),
            max_output: None,
            sent: None,
            reserved: Amounts::default(),
        },
        Body::Answered { call: 3, kind: Kind::Sleep, heard: Ok(Answer::Slept), cost: Cost::default(), tree: None },
        Body::Refused { call: 4, effect: sleep, refusal: refusal.clone() },
        Body::Refused { call: 5, effect: Effect::Model { request: request(&[]) }, refusal },
        Body::Full { used: 1, granted: 2, by: used_up },
        Body::Marked { call: Some(5), mark, tree },
        Body::Marked { call: None, mark, tree: None },
        Body::Printed { stream: Stream::Stderr, text: "p\n".into(), dropped_bytes: 1 },
        Body::Stopped { stop: pulled },
        Body::Ended { outcome: OutcomeName::Returned, changed: vec!["a".into()], tree, notes_dropped: 1 },
        Body::Checking { name: "c".into() },
        Body::Checked { result: passed },
        Body::Applying { paths: vec!["a".into()] },
        Body::Closed { record: record(&Verdict::Accepted) },
        Body::Resumed { after: 1, resumption: 1 },
        Body::Closed { record: record(&Verdict::NoProgress { why: "w".into() }) },
    ]
}

fn sealed(bodies: Vec<Body>) -> Vec<Sealed> {
    let mut sealer = Sealer::new(KEY);
    bodies.into_iter().enumerate().map(|(at, body)| sealer.seal(1_000 + at as u64, body)).collect()
}

fn kept(sealed: &[Sealed]) -> Kept {
    let last = sealed.last().expect("an entry");
    Kept {
        key: Some(KEY),
        head: Head { entries: last.seq + 1, hash: last.hash },
        rows: sealed.iter().map(|sealed| sealed.row.clone()).collect(),
        pieces: sealed.iter().flat_map(|sealed| sealed.pieces.iter().cloned()).collect(),
    }
}

#[test]
fn every_entry_is_read_back_as_it_was() {
    let entries = kept(&sealed(all())).open().expect("holds");
    for (entry, body) in entries.iter().zip(all()) {
        assert_eq!(entry.entry().expect("can be read").expect("is not erased").body, body);
    }
}

#[test]
fn every_byte_that_is_changed_is_found_at_its_entry() {
    let sealed = sealed(all());
    let mut flipped = 0;
    for place in 0..sealed.len() {
        for content in [false, true] {
            let row = &sealed[place].row;
            let Some(text) = (if content { row.content.as_ref() } else { Some(&row.line) }) else { continue };
            for byte in 0..text.len() {
                let mut bytes = text.clone().into_bytes();
                bytes[byte] ^= 1;
                // What is not UTF-8 is refused when it is read from its column.
                let Ok(changed) = String::from_utf8(bytes) else { continue };
                let mut kept = kept(&sealed);
                let target = &mut kept.rows[place];
                *(if content { target.content.as_mut().expect("has one") } else { &mut target.line }) = changed;
                let flaw = kept.open().expect_err("is found");
                let told = flaw.seq() as usize;
                assert_eq!(told, place, "byte {byte} ({content}): {flaw}");
                flipped += 1;
            }
        }
    }
    assert!(flipped > 5_000, "{flipped}");
}

#[test]
fn entries_cannot_be_left_out_cut_off_exchanged_or_added() {
    let sealed = sealed(all());
    let count = sealed.len();
    let with = |change: &dyn Fn(&mut Kept)| {
        let mut kept = kept(&sealed);
        change(&mut kept);
        kept.open().expect_err("is found").seq()
    };
    assert_eq!(with(&|kept| drop(kept.rows.remove(5))), 5);
    assert_eq!(with(&|kept| drop(kept.rows.pop())), count as u64 - 1);
    assert_eq!(with(&|kept| kept.rows.swap(5, 6)), 5);
    assert_eq!(with(&|kept| kept.rows.push(kept.rows[5].clone())), count as u64);
    assert_eq!(with(&|kept| kept.head.hash = Digest::from_bytes([9; 32])), count as u64 - 1);
}

#[test]
fn a_chat_that_repeats_its_history_costs_what_is_new() {
    let mut sealer = Sealer::new(KEY);
    sealer.seal(0, opened("s"));
    let contents: Vec<String> = (0..100).map(|number| format!("{number}{}", "x".repeat(2_000))).collect();
    let mut bytes = 0;
    for turn in 1..=100_u64 {
        let so_far: Vec<&str> = contents[..turn as usize].iter().map(String::as_str).collect();
        bytes += sealer.seal(0, ask(turn, &so_far)).bytes();
    }
    let history: usize = contents.iter().map(String::len).sum();
    assert!(bytes < 2 * history, "{bytes} bytes for a history of {history}");
}

#[test]
fn erased_contents_leave_a_chain_that_holds() {
    let mut kept = kept(&sealed(all()));
    kept.key = None;
    kept.pieces.clear();
    kept.rows.iter_mut().for_each(|row| row.content = None);
    let entries = kept.clone().open().expect("holds");
    assert!(entries[1].is_erased() && entries[1].entry().expect("no flaw").is_none());
    assert!(matches!(entries[2].facts, Facts::Intent { call: 1, .. }));
    kept.rows[2].line = kept.rows[2].line.replace("\"call\":1", "\"call\":2");
    assert_eq!(kept.open().expect_err("is found").seq(), 2);
}

#[test]
fn a_journal_of_another_version_says_which_one_is_needed() {
    let with = |format: u32| {
        let mut kept = kept(&sealed(all()));
        kept.rows[0].line = kept.rows[0].line.replace(&format!("\"format\":{FORMAT}"), &format!("\"format\":{format}"));
        kept.open().expect_err("is another version's")
    };
    assert_eq!(with(FORMAT + 1), Flaw::Newer { found: FORMAT + 1, known: FORMAT });
    assert_eq!(with(FORMAT - 1), Flaw::Older { found: FORMAT - 1, known: FORMAT });
    // Also if nothing else of its first line can be understood.
    let mut kept = kept(&sealed(all()));
    kept.rows[0].line = r#"{"seq":0,"new":[],"entry":{"opened":{"format":9}}}"#.into();
    assert_eq!(kept.open().expect_err("is newer"), Flaw::Newer { found: 9, known: FORMAT });
}

#[test]
fn a_story_leaves_out_what_is_void() {
    let bodies = vec![opened("s"), note("a"), note("b"), Body::Resumed { after: 1, resumption: 1 }, note("c")];
    let told: Vec<u64> = story(kept(&sealed(bodies)).open().expect("holds")).iter().map(|entry| entry.seq).collect();
    assert_eq!(told, [0, 1, 4]);
}

#[test]
fn what_a_run_would_write_is_compared_by_its_address() {
    let mut sealer = Sealer::new(KEY);
    sealer.seal(0, opened("s"));
    let first = sealer.seal(0, ask(1, &["one"]));
    let second = sealer.seal(0, ask(2, &["one", "two"]));
    let mut comparer = Comparer::new(KEY);
    for (sealed, body) in [(&first, ask(1, &["one"])), (&second, ask(2, &["one", "two"]))] {
        let (facts, address) = comparer.address(body);
        assert_eq!(facts, sealed.facts);
        assert_eq!(address, sealed.row.content.as_deref().map(|content| KEY.address(content)));
    }
    let (_, other) = comparer.address(ask(2, &["one", "TWO"]));
    assert_ne!(other, second.row.content.as_deref().map(|content| KEY.address(content)));
}
