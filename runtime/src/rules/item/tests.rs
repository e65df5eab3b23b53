//! The whole product of states and events, the way of an item through verdicts, and its rests.

use super::*;
use crate::rules::andon::{Category, Pull, Puller};
use crate::rules::digest::Digest;
use crate::rules::ledger::Line;
use crate::rules::progress::{Mark, Seen};
use crate::rules::spec::MarkKind;

const RETRIES: Retries = Retries { max: 2, backoff: Backoff { first_ms: 100, most_ms: 150 } };

/// What is legal: state, event, and the state after it.
const LISTED: [(State, Event, State); 24] = [
    (State::Ready, Event::Start, State::Running),
    (State::Ready, Event::Resume, State::Running),
    (State::Ready, Event::Abandon, State::Abandoned),
    (State::Running, Event::Lost, State::Ready),
    (State::Running, Event::Accept, State::Accepted),
    (State::Running, Event::Retry, State::RetryWait),
    (State::Running, Event::GiveUp, State::Abandoned),
    (State::Running, Event::Halt, State::Halted),
    (State::Running, Event::Park, State::Parked),
    (State::Running, Event::Free, State::Ready),
    (State::Parked, Event::Resume, State::Running),
    (State::Parked, Event::Revive, State::Ready),
    (State::Parked, Event::Abandon, State::Abandoned),
    (State::RetryWait, Event::Due, State::Ready),
    (State::RetryWait, Event::Resume, State::Running),
    (State::RetryWait, Event::Revive, State::Ready),
    (State::RetryWait, Event::Abandon, State::Abandoned),
    (State::Running, Event::Defer, State::RetryWait),
    (State::Accepted, Event::Revive, State::Ready),
    (State::Abandoned, Event::Revive, State::Ready),
    (State::Halted, Event::Start, State::Running),
    (State::Halted, Event::Resume, State::Running),
    (State::Halted, Event::Revive, State::Ready),
    (State::Halted, Event::Abandon, State::Abandoned),
];

fn why(text: &str) -> String {
    text.to_owned()
}

/// A verdict of each kind.
fn verdicts() -> Vec<Verdict> {
    let pull = Pull { by: Puller::Worker, category: Category::Defect, reason: why("x"), evidence: vec![] };
    vec![
        Verdict::Accepted,
        Verdict::NoChangeNeeded,
        Verdict::Rejected { gate: why("tests"), findings: vec![] },
        Verdict::Unable { why: why("x") },
        Verdict::NeedsHuman { why: why("x") },
        Verdict::NoProgress { why: why("x") },
        Verdict::Exhausted { scope: why("attempt"), line: Line::Tokens },
        Verdict::Halted { pull },
        Verdict::Deferred { why: why("x"), retry_at_ms: 5 },
        Verdict::ConstraintViolation { rule: why("x"), paths: vec![] },
        Verdict::Trapped { why: why("x") },
        Verdict::Unverifiable { why: why("x") },
        Verdict::AttemptsExhausted { attempts: 1, max: 1 },
        Verdict::NotAdmitted { why: vec![] },
        Verdict::Cancelled,
        Verdict::Lost,
        Verdict::Fault { why: why("x") },
    ]
}

#[test]
fn every_pair_of_state_and_event_is_listed_or_illegal() {
    let mut illegal = 0;
    for state in State::ALL {
        for event in Event::ALL {
            let listed = LISTED.iter().find(|(from, by, _)| (*from, *by) == (state, event)).map(|(_, _, to)| *to);
            assert_eq!(state.after(event).ok(), listed, "{state:?} {event:?}");
            illegal += usize::from(listed.is_none());
        }
    }
    assert_eq!(illegal + LISTED.len(), State::ALL.len() * Event::ALL.len());
}

#[test]
fn what_is_illegal_changes_nothing() {
    for state in State::ALL {
        let item = ItemRecord { state, attempts: 1, why: why("it is so"), ..ItemRecord::default() };
        let mut other = item.clone();
        for event in Event::ALL.into_iter().filter(|event| state.after(*event).is_err()) {
            let refused = other.step(event, 7).expect_err("illegal");
            assert!(refused.to_string().ends_with(": it is so"), "{refused}");
            assert_eq!(other, item);
        }
    }
}

#[test]
fn every_verdict_of_a_run_leads_to_one_state_that_is_not_running() {
    for verdict in verdicts() {
        let mut item = ItemRecord::default();
        item.start("run", 3, 0).expect("is ready");
        let Some(_) = Event::of(&verdict, true) else { continue };
        item.end(&verdict, true, Retries { max: 3, ..RETRIES }, 5).expect("a run may end so");
        let expected = match &verdict {
            Verdict::Accepted | Verdict::NoChangeNeeded => State::Accepted,
            Verdict::NeedsHuman { .. } => State::Parked,
            Verdict::NoProgress { .. } => State::Abandoned,
            Verdict::Halted { .. } => State::Halted,
            Verdict::Cancelled | Verdict::Lost | Verdict::Fault { .. } => State::Ready,
            Verdict::Rejected { .. }
            | Verdict::Unable { .. }
            | Verdict::Exhausted { .. }
            | Verdict::ConstraintViolation { .. }
            | Verdict::Trapped { .. }
            | Verdict::Deferred { .. }
            | Verdict::Unverifiable { .. } => State::RetryWait,
            Verdict::AttemptsExhausted { .. } | Verdict::NotAdmitted { .. } | Verdict::Diverged(_) => {
                unreachable!("no run of these here")
            }
        };
        assert_eq!((item.state, item.open), (expected, None), "{verdict:?}");
    }
}

#[test]
fn a_limit_of_the_attempts_own_without_a_mark_gives_the_item_up_and_a_shared_one_does_not() {
    let exhausted = |scope: &str| Verdict::Exhausted { scope: why(scope), line: Line::Tokens };
    for (scope, marked, event) in [
        ("attempt", false, Event::GiveUp),
        ("item", false, Event::Retry),
        ("attempt", true, Event::Retry),
        ("tenant", false, Event::Retry),
        ("host", false, Event::Retry),
    ] {
        assert_eq!(Event::of(&exhausted(scope), marked), Some(event), "{scope} {marked}");
    }
}

#[test]
fn the_cap_itself_is_allowed_and_one_more_is_not_whatever_the_causes() {
    let mut item = ItemRecord::default();
    assert_eq!(item.start("a", 2, 0), Ok(1));
    item.end(&Verdict::Trapped { why: why("x") }, false, RETRIES, 10).expect("ends");
    // The second one is lost with its process.
    assert_eq!(item.start("b", 2, 110), Ok(2));
    let before = item.clone();
    assert_eq!(item.start("c", 2, 500), Err(NotNow::Spent { attempts: 2, max: 2 }));
    assert_eq!(item, before);
    item.resume("b", 2, 600).expect("the same attempt goes on");
    item.end(&Verdict::Unable { why: why("x") }, false, RETRIES, 700).expect("ends");
    assert_eq!(item.state, State::Abandoned, "the last attempt came to nothing");
    assert_eq!(item.start("c", 2, 800), Err(NotNow::Spent { attempts: 2, max: 2 }));
    item.revive("the spec was wrong", 900).expect("is abandoned");
    assert_eq!((item.start("c", 2, 900), item.tried()), (Ok(3), 1));
}

#[test]
fn an_item_rests_twice_as_long_after_each_attempt_up_to_the_most() {
    let mut item = ItemRecord::default();
    let retries = Retries { max: 9, ..RETRIES };
    let mut now_ms = 0;
    for rest in [100, 150, 150] {
        item.start("run", 9, now_ms).expect("has rested");
        item.end(&Verdict::Unable { why: why("x") }, false, retries, now_ms).expect("ends");
        let early = item.start("run", 9, now_ms + rest - 1);
        assert!(matches!(early, Err(NotNow::Resting { for_ms: 1, .. })), "{early:?}");
        now_ms += rest;
    }
    assert_eq!(Backoff { first_ms: u64::MAX, most_ms: 1 }.after(64), u64::MAX, "no overflow");
    assert_eq!(Backoff { first_ms: 0, most_ms: 0 }.after(3), 0);
}

#[test]
fn an_end_is_left_only_by_an_operator() {
    for verdict in [Verdict::Accepted, Verdict::NoProgress { why: why("x") }] {
        let mut item = ItemRecord::default();
        item.start("a", 5, 0).expect("is ready");
        item.end(&verdict, false, RETRIES, 1).expect("ends");
        assert!(matches!(item.start("b", 5, u64::MAX), Err(NotNow::Illegal { .. })));
        assert!(matches!(item.resume("a", 1, u64::MAX), Err(NotNow::Illegal { .. })));
        item.revive("look again", 2).expect("is at its end");
        assert_eq!(item.start("b", 5, 3), Ok(2));
    }
}

#[test]
fn a_run_goes_on_only_as_long_as_no_other_began() {
    let mut item = ItemRecord::default();
    item.start("a", 5, 0).expect("is ready");
    item.end(&Verdict::Cancelled, false, RETRIES, 1).expect("ends");
    item.start("b", 5, 2).expect("is ready");
    assert_eq!(item.resume("a", 1, 3), Err(NotNow::MovedOn { attempts: 2 }));
}

fn shown(byte: u8) -> ItemRecord {
    let mark = Mark { kind: MarkKind::Tree, digest: Digest::from_bytes([byte; 32]) };
    let judged = vec![Judged { of: Digest::from_bytes([byte; 32]), passed: false }];
    ItemRecord { seen: [mark].into_iter().collect(), judged, ..ItemRecord::default() }
}

#[test]
fn a_revival_forgets_what_the_item_has_shown() {
    let mut item = ItemRecord { state: State::Abandoned, attempts: 2, ..shown(7) };
    item.revive("the check was wrong", 5).expect("is abandoned");
    assert_eq!((item.seen, item.judged, item.forgiven), (Seen::default(), vec![], 2));
}

#[test]
fn what_other_checks_refused_is_not_judged_yet() {
    let digest = |byte: u8| Digest::from_bytes([byte; 32]);
    let mut item = shown(7);
    item.judged_by(digest(1));
    assert_eq!((&item.seen, item.judged.len()), (&shown(7).seen, 1), "there were none before");
    item.judged_by(digest(1));
    assert_eq!((&item.seen, item.judged.len()), (&shown(7).seen, 1), "they are the same");
    item.judged_by(digest(2));
    assert_eq!((&item.seen, item.judged.len()), (&Seen::default(), 0));
}

#[test]
fn judgements_are_remembered_up_to_n_and_the_oldest_goes_at_n_plus_1() {
    let judged = |number: usize| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Judged { of: Digest::from_bytes(bytes), passed: true }
    };
    let mut item = ItemRecord::default();
    item.was_judged((0..MAX_JUDGED).map(judged).collect());
    assert_eq!((item.judged.len(), item.judged[0]), (MAX_JUDGED, judged(0)));
    item.was_judged(vec![judged(MAX_JUDGED)]);
    assert_eq!((item.judged.len(), item.judged[0]), (MAX_JUDGED, judged(1)));
}

#[test]
fn a_deferred_attempt_counts_for_nothing_until_its_run_goes_on() {
    let retries = Retries { max: 1, ..RETRIES };
    let deferred = Verdict::Deferred { why: why("busy"), retry_at_ms: 500 };
    let mut item = ItemRecord::default();
    for number in 1..=3 {
        assert_eq!(item.start(&format!("run-{number}"), 1, 1_000 * u64::from(number)), Ok(number));
        item.end(&deferred, false, retries, 10).expect("ends");
        assert_eq!((item.state, item.rests_until_ms, item.tried()), (State::RetryWait, Some(500), 0));
    }
    // It waits until then, and no longer.
    assert!(matches!(item.clone().start("run-4", 1, 499), Err(NotNow::PutOff { until_ms: 500, .. })));
    assert_eq!(item.clone().start("run-4", 1, 500), Ok(4));
    // Its run may go on before that, and what it comes to counts.
    item.resume("run-3", 3, 20).expect("goes on");
    assert_eq!(item.tried(), 1);
    item.end(&Verdict::Unable { why: why("no") }, false, retries, 30).expect("ends");
    assert_eq!(item.state, State::Abandoned);
}
